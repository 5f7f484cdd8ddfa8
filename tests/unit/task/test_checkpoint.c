/* Checkpoints as values: what is stored as text comes back the same, order, and the rows of a run. */
#include "arrow/stream.h"
#include "task/checkpoint.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void check_text(const char *type, const char *text, enum qn_value_kind kind)
{
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_checkpoint checkpoint = { .kind = QN_CHECKPOINT_NONE };
    enum qn_status status = qn_checkpoint_parse(type, text, strlen(text), &checkpoint, &err);
    if (status != QN_OK) {
        fail_msg("%s %s: %s", type, text, err.message);
    }
    qn_auto_buffer out = QN_BUFFER_INIT;
    qn_checkpoint_format(&checkpoint, &out);
    assert_string_equal(qn_buffer_text(&out), text);
    char type_out[QN_TYPE_MAX_FORMAT];
    qn_type_to_text(&checkpoint.type, type_out);
    assert_string_equal(type_out, type);
    struct qn_value value;
    qn_checkpoint_bind(&checkpoint, &value);
    assert_int_equal(value.kind, kind);
}

static void stored_text__gives_the_same_value(void **state)
{
    (void)state;
    check_text("Int64", "0", QN_VALUE_INT64);
    check_text("Int64", "-9223372036854775808", QN_VALUE_INT64);
    check_text("Int64", "9223372036854775807", QN_VALUE_INT64);
    check_text("Int16", "-32768", QN_VALUE_INT64);
    check_text("UInt64", "18446744073709551615", QN_VALUE_UINT64);
    check_text("Decimal(38,10)", "-1234567890123456789012345678.0123456789", QN_VALUE_DECIMAL);
    check_text("Decimal(5,2)", "100.10", QN_VALUE_DECIMAL);
    check_text("Float64", "0.10000000000000001", QN_VALUE_FLOAT64);
    check_text("Float64", "1.7976931348623157e+308", QN_VALUE_FLOAT64);
    check_text("Float64", "4.9406564584124654e-324", QN_VALUE_FLOAT64);
    check_text("Date32", "2013-12-31", QN_VALUE_DATE);
    check_text("Date32", "1969-12-31", QN_VALUE_DATE);
    check_text("Timestamp[us]", "2013-01-31 23:59:59.000001", QN_VALUE_TIMESTAMP);
    check_text("Timestamp[us, UTC]", "2013-01-31 10:00:00Z", QN_VALUE_INSTANT);
    check_text("Timestamp[us, America/New_York]", "2013-01-31 10:00:00Z", QN_VALUE_INSTANT);
    check_text("Utf8", "", QN_VALUE_TEXT);
    check_text("Utf8", "a\nb \xc3\xa9", QN_VALUE_TEXT);
}

static void bad_text__is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *type, *text;
    } bad[] = {
        { "Int64", "9223372036854775808" },
        { "Int64", "1.5" },
        { "Int64", "" },
        { "UInt8", "-1" },
        { "Decimal(5,2)", "1.001" },
        { "Float64", "nan" },
        { "Float64", "inf" },
        { "Float64", "1x" },
        { "Date32", "2013-02-29" },
        { "Timestamp[us]", "2013-01-31 10:00:00Z" },
        { "Timestamp[us, UTC]", "2013-01-31 10:00:00" },
        { "Binary", "x" },
        { "Boolean", "true" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qn_error err = QN_ERROR_INIT;
        qn_auto_checkpoint checkpoint = { .kind = QN_CHECKPOINT_NONE };
        enum qn_status status = qn_checkpoint_parse(bad[i].type, bad[i].text, strlen(bad[i].text), &checkpoint, &err);
        if (status == QN_OK) {
            fail_msg("%s took \"%s\"", bad[i].type, bad[i].text);
        }
        assert_int_equal(checkpoint.kind, QN_CHECKPOINT_NONE);
    }
}

static int order_of(const char *type_a, const char *a, const char *type_b, const char *b)
{
    qn_auto_checkpoint left = { .kind = QN_CHECKPOINT_NONE };
    qn_auto_checkpoint right = { .kind = QN_CHECKPOINT_NONE };
    assert_int_equal(qn_checkpoint_parse(type_a, a, strlen(a), &left, NULL), QN_OK);
    assert_int_equal(qn_checkpoint_parse(type_b, b, strlen(b), &right, NULL), QN_OK);
    int order = qn_checkpoint_compare(&left, &right);
    int other = qn_checkpoint_compare(&right, &left);
    assert_true((order > 0) - (order < 0) == (other < 0) - (other > 0));
    return (order > 0) - (order < 0);
}

static void compare__is_by_value(void **state)
{
    (void)state;
    assert_int_equal(order_of("Int64", "-2", "Int64", "1"), -1);
    assert_int_equal(order_of("Decimal(5,2)", "1.50", "Decimal(5,1)", "1.5"), 0);
    assert_int_equal(order_of("Decimal(38,0)", "99999999999999999999999999999999999999", "Decimal(38,30)", "1"), 1);
    assert_int_equal(order_of("Decimal(38,0)", "-99999999999999999999999999999999999999", "Decimal(38,30)", "1"), -1);
    assert_int_equal(order_of("Int64", "2", "Decimal(5,1)", "1.9"), 1);
    assert_int_equal(order_of("Utf8", "a", "Utf8", "ab"), -1);
    assert_int_equal(order_of("Utf8", "\xc3\xa9", "Utf8", "z"), 1);
    assert_int_equal(order_of("Float64", "-0", "Float64", "0"), 0);
}

/* ---- watching rows -------------------------------------------------------------------------------------------- */

struct rows {
    struct ArrowSchema schema;
    struct qn_batch batch;
    struct ArrowArray array;
    struct qn_checkpoint_watch watch;
};

/* A batch of one int64 column "id"; INT64_MIN stands for null. */
static void make_rows(struct rows *rows, const int64_t *values, int64_t n, bool ordered)
{
    struct qn_type type = qn_type_of(QN_TYPE_INT64);
    *rows = (struct rows){ .schema = { .release = NULL } };
    assert_int_equal(qn_schema_struct(&rows->schema, 1, NULL), QN_OK);
    assert_int_equal(qn_schema_set(&rows->schema, 0, "id", &type, NULL), QN_OK);
    assert_int_equal(qn_batch_init(&rows->batch, &rows->schema, NULL), QN_OK);
    assert_int_equal(qn_batch_reserve(&rows->batch, n, NULL), QN_OK);
    for (int64_t i = 0; i < n; i++) {
        if (values[i] == INT64_MIN) {
            qn_column_put_null(&rows->batch.columns[0]);
        } else {
            qn_column_put_int64(&rows->batch.columns[0], values[i]);
        }
    }
    assert_int_equal(qn_batch_finish(&rows->batch, n, &rows->array, NULL), QN_OK);
    assert_int_equal(qn_checkpoint_watch_init(&rows->watch, rows->schema.children[0], NULL), QN_OK);
    rows->watch.ordered = ordered;
    assert_int_equal(qn_reader_bind(&rows->watch.column, rows->array.children[0], NULL), QN_OK);
}

static void drop_rows(struct rows *rows)
{
    qn_checkpoint_watch_dispose(&rows->watch);
    qn_array_release(&rows->array);
    qn_batch_dispose(&rows->batch);
    qn_schema_release(&rows->schema);
}

static void watch__cuts_only_where_the_value_changes(void **state)
{
    (void)state;
    static const int64_t values[] = { 1, 2, 2, 2, 3, 3, 4 };
    struct rows rows;
    make_rows(&rows, values, 7, true);
    int64_t taken = 0;
    assert_int_equal(qn_checkpoint_watch_rows(&rows.watch, 0, 7, 2, &taken, NULL), QN_OK);
    assert_int_equal(taken, 4); /* past two rows, but 2 is not finished before row 4 */
    assert_true(rows.watch.last.number == 2);
    assert_int_equal(qn_checkpoint_watch_rows(&rows.watch, 4, 3, 2, &taken, NULL), QN_OK);
    assert_int_equal(taken, 2);
    assert_true(rows.watch.last.number == 3);
    assert_int_equal(qn_checkpoint_watch_rows(&rows.watch, 6, 1, 0, &taken, NULL), QN_OK);
    assert_int_equal(taken, 0); /* already past the cut, and 4 is not 3 */
    assert_int_equal(qn_checkpoint_watch_rows(&rows.watch, 6, 1, 2, &taken, NULL), QN_OK);
    assert_int_equal(taken, 1);
    assert_int_equal(rows.watch.row, 7);
    drop_rows(&rows);
}

static void expect_refusal(const int64_t *values, int64_t n, bool ordered, int64_t floor, int64_t row)
{
    struct rows rows;
    make_rows(&rows, values, n, ordered);
    if (floor >= 0) {
        rows.watch.floor.kind = QN_CHECKPOINT_NUMBER;
        rows.watch.floor.type = qn_type_of(QN_TYPE_INT64);
        rows.watch.floor.number = floor;
    }
    struct qn_error err = QN_ERROR_INIT;
    int64_t taken = 0;
    assert_int_equal(qn_checkpoint_watch_rows(&rows.watch, 0, n, INT64_MAX, &taken, &err), QN_ERR_DATA);
    assert_int_equal(err.row, row);
    assert_string_equal(err.column_name, "id");
    assert_true(err.hint[0] != '\0');
    drop_rows(&rows);
}

static void watch__refuses_what_cannot_be_resumed(void **state)
{
    (void)state;
    static const int64_t falling[] = { 1, 3, 2 };
    static const int64_t with_null[] = { 1, 2, INT64_MIN };
    static const int64_t seen_before[] = { 8, 7 };
    expect_refusal(falling, 3, true, -1, 2);
    expect_refusal(with_null, 3, false, -1, 2);
    expect_refusal(seen_before, 2, false, 7, 1);
}

static void watch__wants_the_highest_value_in_the_last_row(void **state)
{
    (void)state;
    static const int64_t fine[] = { 3, 1, 3 };
    static const int64_t bad[] = { 3, 1, 2 };
    struct rows rows;
    int64_t taken = 0;
    make_rows(&rows, fine, 3, false);
    assert_int_equal(qn_checkpoint_watch_rows(&rows.watch, 0, 3, INT64_MAX, &taken, NULL), QN_OK);
    assert_int_equal(qn_checkpoint_watch_end(&rows.watch, NULL), QN_OK);
    drop_rows(&rows);
    make_rows(&rows, bad, 3, false);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_checkpoint_watch_rows(&rows.watch, 0, 3, INT64_MAX, &taken, NULL), QN_OK);
    assert_int_equal(qn_checkpoint_watch_end(&rows.watch, &err), QN_ERR_DATA);
    assert_int_equal(err.row, 0);
    drop_rows(&rows);
}

static void watch__refuses_types_that_have_no_order(void **state)
{
    (void)state;
    static const enum qn_type_id bad[] = { QN_TYPE_BOOL, QN_TYPE_BINARY, QN_TYPE_TIME64, QN_TYPE_LIST };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qn_type type = qn_type_of(bad[i]);
        qn_auto_schema schema = { .release = NULL };
        assert_int_equal(qn_schema_struct(&schema, 1, NULL), QN_OK);
        if (bad[i] == QN_TYPE_TIME64) {
            type.unit = QN_UNIT_MICRO;
        }
        assert_int_equal(qn_schema_set(&schema, 0, "c", &type, NULL), QN_OK);
        if (bad[i] == QN_TYPE_LIST) {
            struct qn_type item = qn_type_of(QN_TYPE_INT64);
            assert_int_equal(qn_schema_children(schema.children[0], 1, NULL), QN_OK);
            assert_int_equal(qn_schema_set(schema.children[0], 0, "item", &item, NULL), QN_OK);
        }
        struct qn_checkpoint_watch watch;
        struct qn_error err = QN_ERROR_INIT;
        assert_int_equal(qn_checkpoint_watch_init(&watch, schema.children[0], &err), QN_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "\"c\""));
        qn_checkpoint_watch_dispose(&watch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_text__gives_the_same_value),
        cmocka_unit_test(bad_text__is_refused),
        cmocka_unit_test(compare__is_by_value),
        cmocka_unit_test(watch__cuts_only_where_the_value_changes),
        cmocka_unit_test(watch__refuses_what_cannot_be_resumed),
        cmocka_unit_test(watch__wants_the_highest_value_in_the_last_row),
        cmocka_unit_test(watch__refuses_types_that_have_no_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
