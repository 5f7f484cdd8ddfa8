/*
 * test_allocation_faults.c: the n-th allocation fails, for every n, once and from then on. Whatever is run either works (a
 * failed attempt to give memory back is no failure) or is QN_ERR_NO_MEMORY, and leaks nothing (the leak sanitizer looks).
 */
#include "arrow/ipc.h"
#include "base/buffer.h"
#include "base/fault.h"
#include "base/memory.h"
#include "hand.h"

#define ROWS 300

/* One thing to do; every struct it leaves behind is released by itself. */
typedef enum qn_status (*scenario)(struct qn_error *err);

static int64_t sweep(scenario run, enum qn_fault_span span)
{
    int64_t failures = 0;
    for (int64_t n = 1; n < 5000; n++) {
        struct qn_error err = QN_ERROR_INIT;
        assert_true(qn_fault_arm(QN_FAULT_ALLOC, n, span));
        enum qn_status status = run(&err);
        bool reached = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        if (!reached) {
            if (status != QN_OK) {
                fail_msg("without a fault: %s", err.message);
            }
            return failures;
        }
        if (status != QN_OK) {
            assert_int_equal(status, QN_ERR_NO_MEMORY);
            assert_int_equal(err.status, QN_ERR_NO_MEMORY);
            assert_string_not_equal(err.message, "");
            failures++;
        }
    }
    fail_msg("the sweep does not end");
    return 0;
}

/* At least `least` of the allocations matter. */
static void check(scenario run, int64_t least)
{
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without fault points\n");
        skip();
    }
    assert_true(sweep(run, QN_FAULT_ONCE) >= least);
    assert_true(sweep(run, QN_FAULT_FROM_THEN_ON) >= least);
}

/* ---- schemas ---- */

static enum qn_status set_field(struct ArrowSchema *schema, int64_t i, const char *name, enum qn_type_id id,
                                struct qn_error *err)
{
    struct qn_type type = qn_type_of(id);
    return qn_schema_set(schema, i, name, &type, err);
}

/* number, views, texts, tags: list of views, who: struct of number and flag */
static enum qn_status wide_schema(struct ArrowSchema *out, struct qn_error *err)
{
    qn_auto_schema schema = { 0 };
    QN_TRY(qn_schema_struct(&schema, 5, err));
    QN_TRY(set_field(&schema, 0, "number", QN_TYPE_INT64, err));
    QN_TRY(set_field(&schema, 1, "views", QN_TYPE_STRING_VIEW, err));
    QN_TRY(set_field(&schema, 2, "texts", QN_TYPE_STRING, err));
    QN_TRY(set_field(&schema, 3, "tags", QN_TYPE_LIST, err));
    QN_TRY(set_field(&schema, 4, "who", QN_TYPE_STRUCT, err));
    QN_TRY(qn_schema_children(schema.children[3], 1, err));
    QN_TRY(set_field(schema.children[3], 0, "item", QN_TYPE_STRING_VIEW, err));
    QN_TRY(qn_schema_children(schema.children[4], 2, err));
    QN_TRY(set_field(schema.children[4], 0, "number", QN_TYPE_INT64, err));
    QN_TRY(set_field(schema.children[4], 1, "flag", QN_TYPE_BOOL, err));
    QN_TRY(qn_schema_metadata_set(schema.children[1], QN_KEY_SQL_TYPE, "text", err));
    *out = schema;
    schema.release = NULL;
    return QN_OK;
}

static enum qn_status run_schema(struct qn_error *err)
{
    qn_auto_schema schema = { 0 }, copy = { 0 };
    QN_TRY(wide_schema(&schema, err));
    return qn_schema_copy(&schema, &copy, err);
}

static void schema__survives_every_failed_allocation(void **state)
{
    (void)state;
    check(run_schema, 10);
}

/* ---- building ---- */

static size_t value_size(int64_t row)
{
    return row == 250 ? 70000 : (size_t)(row * 7 % 400);
}

static char value_bytes[70000];

static enum qn_status put_row(struct qn_batch *batch, int64_t row, struct qn_error *err)
{
    struct qn_column *columns = batch->columns;
    QN_TRY(qn_batch_reserve(batch, 1, err));
    if (row % 50 == 49) {
        for (int i = 0; i < 5; i++) {
            qn_column_put_null(&columns[i]);
        }
        return QN_OK;
    }
    qn_column_put_int64(&columns[0], row);
    qn_column_put_bytes(&columns[1], value_bytes, value_size(row));
    qn_column_put_bytes(&columns[2], value_bytes, value_size(row));
    QN_TRY(qn_column_reserve(&columns[3].children[0], 1, err));
    qn_column_put_bytes(&columns[3].children[0], value_bytes, value_size(row));
    QN_TRY(qn_column_end_list(&columns[3], err));
    QN_TRY(qn_column_reserve(&columns[4].children[0], 1, err));
    QN_TRY(qn_column_reserve(&columns[4].children[1], 1, err));
    qn_column_put_int64(&columns[4].children[0], row);
    qn_column_put_bool(&columns[4].children[1], row % 2 == 0);
    qn_column_end_struct(&columns[4]);
    return QN_OK;
}

static enum qn_status build(const struct ArrowSchema *schema, struct ArrowArray *out, struct qn_error *err)
{
    struct qn_batch batch;
    QN_TRY(qn_batch_init(&batch, schema, err));
    enum qn_status status = QN_OK;
    for (int64_t row = 0; status == QN_OK && row < ROWS; row++) {
        status = put_row(&batch, row, err);
    }
    if (status == QN_OK) {
        status = qn_batch_finish(&batch, ROWS, out, err);
    }
    if (status == QN_OK) {
        status = qn_batch_reserve(&batch, 1, err); /* it goes on after a batch */
    }
    if (status != QN_OK) {
        qn_array_release(out);
    }
    qn_batch_dispose(&batch);
    return status;
}

/* What arrives in spite of a tolerated failure is whole. */
static void check_built(const struct ArrowSchema *schema, const struct ArrowArray *array)
{
    struct ArrowArrayView view;
    make_view(&view, schema, array);
    for (int64_t row = 0; row < ROWS; row++) {
        bool null = row % 50 == 49;
        assert_int_equal(ArrowArrayViewIsNull(view.children[1], row), null);
        assert_int_equal(ArrowArrayViewGetBytesUnsafe(view.children[1], row).size_bytes, null ? 0 : value_size(row));
        assert_int_equal(ArrowArrayViewGetBytesUnsafe(view.children[2], row).size_bytes, null ? 0 : value_size(row));
    }
    ArrowArrayViewReset(&view);
}

static enum qn_status run_build(struct qn_error *err)
{
    qn_auto_schema schema = { 0 };
    qn_auto_array array = { 0 };
    QN_TRY(wide_schema(&schema, err));
    QN_TRY(build(&schema, &array, err));
    check_built(&schema, &array);
    return QN_OK;
}

static void build__survives_every_failed_allocation(void **state)
{
    (void)state;
    check(run_build, 40);
}

/* ---- things done with a batch that is there ---- */

static struct ArrowSchema built_schema;

static enum qn_status run_read(struct qn_error *err)
{
    qn_auto_array array = { 0 };
    struct qn_batch_reader reader;
    QN_TRY(build(&built_schema, &array, err));
    QN_TRY(qn_batch_reader_init(&reader, &built_schema, err));
    qn_auto_buffer json = QN_BUFFER_INIT;
    enum qn_status status = qn_batch_reader_bind(&reader, &array, err);
    for (int64_t i = 0; status == QN_OK && i < reader.n_columns; i++) {
        status = qn_reader_to_json(&reader.columns[i], 48, &json, err);
    }
    qn_batch_reader_dispose(&reader);
    return status;
}

static void read__survives_every_failed_allocation(void **state)
{
    (void)state;
    check(run_read, 50);
}

static enum qn_status run_layout(struct qn_error *err)
{
    qn_auto_schema schema = { 0 }, requested = { 0 };
    qn_auto_array array = { 0 }, out = { 0 };
    QN_TRY(qn_schema_copy(&built_schema, &schema, err));
    QN_TRY(qn_schema_copy(&built_schema, &requested, err));
    QN_TRY(set_field(&requested, 1, "views", QN_TYPE_LARGE_STRING, err));
    QN_TRY(set_field(&requested, 2, "texts", QN_TYPE_STRING_VIEW, err));
    QN_TRY(set_field(requested.children[3], 0, "item", QN_TYPE_STRING, err));
    QN_TRY(build(&built_schema, &array, err));
    qn_auto_stream stream = { 0 }, converted = { 0 };
    QN_TRY(qn_stream_from_arrays(&schema, &array, 1, &stream, err));
    enum qn_status status = qn_stream_with_layout(&stream, &requested, &converted, err);
    if (status != QN_OK) {
        assert_non_null(stream.release); /* untouched */
        return status;
    }
    assert_null(stream.release);
    QN_TRY(qn_stream_next(&converted, &out, err));
    qn_stream_release(&converted);
    check_built(&requested, &out);
    return QN_OK;
}

static void layout__survives_every_failed_allocation(void **state)
{
    (void)state;
    check(run_layout, 70);
}

/* ---- Arrow IPC ---- */

static int64_t owned; /* messages that are not given back */

static void give_back(void *context)
{
    owned--;
    free(context);
}

static enum qn_status decode_copy(struct qn_ipc_decoder *decoder, const struct qn_buffer *message, bool in_place,
                                  struct ArrowArray *out, struct qn_error *err)
{
    char *copy = malloc(message->size);
    assert_non_null(copy);
    memcpy(copy, message->data, message->size);
    owned += in_place ? 1 : 0;
    struct qn_ipc_owner owner = { in_place ? give_back : NULL, copy };
    enum qn_status status = qn_ipc_decode_batch(decoder, copy, message->size, owner, out, err);
    if (!in_place) {
        free(copy);
    }
    return status;
}

static enum qn_status pass_through(struct qn_ipc_encoder *encoder, struct qn_ipc_decoder *decoder, struct qn_error *err)
{
    qn_auto_array array = { 0 }, placed = { 0 }, copied = { 0 };
    qn_auto_buffer message = QN_BUFFER_INIT;
    QN_TRY(build(&built_schema, &array, err));
    QN_TRY(qn_ipc_encode_schema(encoder, &message, err));
    QN_TRY(qn_ipc_decode_schema(decoder, message.data, message.size, err));
    qn_buffer_reset(&message);
    QN_TRY(qn_ipc_encode_batch(encoder, &array, &message, err));
    QN_TRY(decode_copy(decoder, &message, true, &placed, err));
    QN_TRY(decode_copy(decoder, &message, false, &copied, err));
    check_built(qn_ipc_decoder_schema(decoder), &placed);
    check_built(qn_ipc_decoder_schema(decoder), &copied);
    return QN_OK;
}

static enum qn_status run_ipc(struct qn_error *err)
{
    struct qn_ipc_encoder *encoder = NULL;
    struct qn_ipc_decoder *decoder = NULL;
    owned = 0;
    enum qn_status status = qn_ipc_encoder_new(&built_schema, &encoder, err);
    if (status == QN_OK) {
        status = qn_ipc_decoder_new(0, &decoder, err);
    }
    if (status == QN_OK) {
        status = pass_through(encoder, decoder, err);
    }
    qn_ipc_encoder_free(encoder);
    qn_ipc_decoder_free(decoder);
    assert_int_equal(owned, 0);
    return status;
}

static void ipc__survives_every_failed_allocation(void **state)
{
    (void)state;
    check(run_ipc, 100);
}

static enum qn_status run_field_text(struct qn_error *err)
{
    qn_auto_schema schema = { 0 };
    QN_TRY(qn_schema_struct(&schema, 1, err));
    enum qn_status status =
        qn_schema_set_from_text(&schema, 0, "f", "List<Struct<a: Int64, \"b\": Decimal(10,2)!>>", err);
    assert_string_equal(schema.children[0]->format, status == QN_OK ? "+l" : "n");
    return status;
}

static void field_text__survives_every_failed_allocation(void **state)
{
    (void)state;
    check(run_field_text, 8);
}

static enum qn_status run_convert(struct qn_error *err)
{
    struct qn_column column;
    QN_TRY(qn_column_init(&column, built_schema.children[0], err));
    enum qn_status status = qn_column_reserve(&column, ROWS, err);
    for (int64_t row = 0; status == QN_OK && row < ROWS; row++) {
        qn_column_put_int64(&column, INT64_MAX - row);
    }
    if (status == QN_OK) {
        qn_column_put_null(&column);
        status = qn_column_to_text(&column, err);
        if (status != QN_OK) {
            assert_int_equal(column.type.id, QN_TYPE_INT64); /* nothing changed */
            assert_int_equal(column.length, ROWS + 1);
        }
    }
    qn_auto_array array = { 0 };
    if (status == QN_OK) {
        status = qn_column_finish(&column, &array, err);
    }
    qn_column_dispose(&column);
    return status;
}

static void convert__survives_every_failed_allocation(void **state)
{
    (void)state;
    check(run_convert, 5);
}

/* A column that failed in a put says so at the end, names itself, and stays failed. */
static void column__sticky_failure_names_its_column(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without fault points\n");
        skip();
    }
    struct qn_batch batch;
    struct ArrowArray array = { 0 };
    ok(qn_batch_init(&batch, &built_schema, &error));
    ok(qn_batch_reserve(&batch, 1, &error));
    (void)qn_fault_arm(QN_FAULT_ALLOC, 1, QN_FAULT_ONCE);
    qn_column_put_bytes(&batch.columns[1], value_bytes, 100);
    (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
    assert_int_equal(batch.columns[1].length, 1);
    for (int i = 0; i < 5; i++) {
        if (i != 1) {
            qn_column_put_null(&batch.columns[i]);
        }
    }
    for (int again = 0; again < 2; again++) {
        refused(qn_batch_finish(&batch, 1, &array, &error), QN_ERR_NO_MEMORY, "column \"views\"");
        assert_null(array.release);
    }
    qn_batch_dispose(&batch);
}

static int set_up(void **state)
{
    (void)state;
    memset(value_bytes, 'v', sizeof value_bytes);
    return wide_schema(&built_schema, NULL) == QN_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    qn_schema_release(&built_schema);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schema__survives_every_failed_allocation),
        cmocka_unit_test(build__survives_every_failed_allocation),
        cmocka_unit_test(read__survives_every_failed_allocation),
        cmocka_unit_test(layout__survives_every_failed_allocation),
        cmocka_unit_test(ipc__survives_every_failed_allocation),
        cmocka_unit_test(field_text__survives_every_failed_allocation),
        cmocka_unit_test(convert__survives_every_failed_allocation),
        cmocka_unit_test(column__sticky_failure_names_its_column),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
