/* Bulk writes and parameters: what arrives in the table, what is refused, and that nothing of a failed call is kept. */
#include "fixture.h"

static struct qn_connection *db;

static int open_db(void **state)
{
    (void)state;
    db = open_memory();
    return 0;
}

static int close_db(void **state)
{
    (void)state;
    qn_connection_free(db);
    return 0;
}

/* One column "x" of one value, that `put` puts. */
static void one(struct rows *rows, const char *type)
{
    rows_init(rows, 4, "x", type, NULL);
}

static void append__matches_columns_by_name(void **state)
{
    (void)state;
    struct rows rows;
    run(db, "create table t (i integer, s text, f real)");
    rows_init(&rows, 3, "s", "Utf8", "i", "Int64", NULL);
    put_text(&rows, 0, "a");
    put_text(&rows, 0, "a text of more than twelve bytes");
    qn_column_put_null(&rows.batch.columns[0]);
    qn_column_put_int64(&rows.batch.columns[1], 1);
    qn_column_put_int64(&rows.batch.columns[1], INT64_MAX);
    qn_column_put_null(&rows.batch.columns[1]);
    ingest_ok(db, &rows, "t", QN_INGEST_APPEND, NULL, 3);
    expect(db, "select * from t",
           "i:l s:vu f:g | 1 \"a\" null | 9223372036854775807 "
           "\"a text of more than twelve bytes\" null | null null null");
    /* the virtual table is gone after the call */
    (void)expect_error(db, "select * from qn_batch", QN_ERR_QUERY, "42P01", "qn_batch");
}

static void create__keeps_the_arrow_types(void **state)
{
    (void)state;
    struct rows rows;
    rows_init(&rows, 1, "b", "Boolean", "i", "Int32", "f", "Float64", "s", "Utf8", "x", "Binary", "d", "Date32", "h",
              "Time[us]", "m", "Timestamp[us]", "z", "Timestamp[us, UTC]", "n", "Decimal(12,2)", "w", "Decimal(38,10)",
              "p", "Duration[us]", NULL);
    struct qn_column *columns = rows.batch.columns;
    qn_column_put_bool(&columns[0], true);
    qn_column_put_int32(&columns[1], -7);
    qn_column_put_float64(&columns[2], 0.1);
    put_text(&rows, 3, "1e3");
    qn_column_put_bytes(&columns[4], "\0\xff", 2);
    qn_column_put_int32(&columns[5], -719162);
    qn_column_put_int64(&columns[6], 86399999999);
    qn_column_put_int64(&columns[7], -1);
    qn_column_put_int64(&columns[8], 1717243200000000);
    qn_column_put_decimal128(&columns[9], -123456789012);
    qn_column_put_decimal128(&columns[10], qn_decimal_power(38) - 1);
    qn_column_put_int64(&columns[11], -5);
    ingest_ok(db, &rows, "t", QN_INGEST_CREATE, NULL, 1);
    expect(db, "select b, i, f, s, x, d, h, m, z, n, w from t",
           "b:b i:l f:g s:vu x:vz d:tdD h:ttu m:tsu: z:tsu:UTC n:d:12,2 w:d:38,10 | true -7 0.1 \"1e3\" \"AP8=\" "
           "\"0001-01-01\" \"23:59:59.999999\" \"1969-12-31T23:59:59.999999\" \"2024-06-01T12:00:00Z\" -1234567890.12 "
           "9999999999999999999999999999.9999999999");
    expect_typed(db, "select p from t", "p", "Int64", "p:l | -5");
    expect(db, "select typeof(w) as w, typeof(n) as n, typeof(s) as s from t",
           "w:vu n:vu s:vu | \"text\" \"real\" \"text\"");
    one(&rows, "Int64");
    qn_column_put_int64(&rows.batch.columns[0], 1);
    struct qn_error err = ingest_fails(db, &rows, "t", QN_INGEST_CREATE, NULL, QN_ERR_QUERY, "t");
    assert_string_equal(err.sqlstate, "42P07");
}

static void values__that_sqlite_would_change_are_refused(void **state)
{
    (void)state;
    struct rows rows;
    struct qn_error err;
    run(db, "create table t (x)");
    run(db, "create table n (x numeric)");
    run(db, "create table r (x real)");
    one(&rows, "UInt64");
    qn_column_put_uint64(&rows.batch.columns[0], INT64_MAX);
    qn_column_put_uint64(&rows.batch.columns[0], (uint64_t)INT64_MAX + 1);
    err = ingest_fails(db, &rows, "t", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "row 1, column \"x\"");
    assert_int_equal(err.row, 1);
    assert_string_equal(err.column_name, "x");
    one(&rows, "Float64");
    qn_column_put_float64(&rows.batch.columns[0], 0.0 / (double)(rows.batch.n_columns - 1));
    (void)ingest_fails(db, &rows, "t", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "NaN");
    one(&rows, "Int64");
    qn_column_put_int64(&rows.batch.columns[0], (INT64_C(1) << 53) + 1);
    (void)ingest_fails(db, &rows, "r", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "53 bits");
    one(&rows, "Float64");
    qn_column_put_float64(&rows.batch.columns[0], -0.0);
    (void)ingest_fails(db, &rows, "r", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "-0.0");
    one(&rows, "Utf8");
    put_text(&rows, 0, "9007199254740993");
    (void)ingest_fails(db, &rows, "r", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "looks like a number");
    one(&rows, "Decimal(20,4)");
    qn_column_put_decimal128(&rows.batch.columns[0], INT64_C(1234567890123456));
    err = ingest_fails(db, &rows, "n", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "15 digits");
    assert_non_null(strstr(err.hint, "DECIMAL_TEXT"));
    one(&rows, "Utf8");
    put_text(&rows, 0, "1e3");
    (void)ingest_fails(db, &rows, "n", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "looks like a number");
    static const char *const changed[] = { "007",
                                           "+1",
                                           " 1",
                                           "1.50",
                                           "1.",
                                           "-0",
                                           "99999999999999999999",
                                           ".5",
                                           "0.00001",
                                           "1.0",
                                           "0.123456789123456789123456789123456789" };
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        one(&rows, "Utf8");
        put_text(&rows, 0, changed[i]);
        (void)ingest_fails(db, &rows, "n", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "looks like a number");
    }
    one(&rows, "Utf8");
    qn_column_put_bytes(&rows.batch.columns[0], "\xff", 1);
    (void)ingest_fails(db, &rows, "t", QN_INGEST_APPEND, NULL, QN_ERR_DATA, "UTF-8");
    expect(db, "select (select count(*) from t) + (select count(*) from n) + (select count(*) from r) as n", "n:l | 0");
    static const char *const kept[] = { "7", "-12", "1.5", "abc", "1-2", "", "0x10" };
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        one(&rows, "Utf8");
        put_text(&rows, 0, kept[i]);
        ingest_ok(db, &rows, "n", QN_INGEST_APPEND, NULL, 1);
    }
    expect(db, "select x from n", "x:vu | \"7\" | \"-12\" | \"1.5\" | \"abc\" | \"1-2\" | \"\" | \"0x10\"");
}

static void reals__keep_all_digits_in_a_text_column(void **state)
{
    (void)state;
    struct rows rows;
    run(db, "create table t (x text)");
    one(&rows, "Float64");
    qn_column_put_float64(&rows.batch.columns[0], 0.1 + 0.2);
    ingest_ok(db, &rows, "t", QN_INGEST_APPEND, NULL, 1);
    expect(db, "select x from t", "x:vu | \"0.30000000000000004\"");
}

static void what_the_table_lacks__is_named(void **state)
{
    (void)state;
    struct rows rows;
    one(&rows, "Int64");
    struct qn_error err = ingest_fails(db, &rows, "nowhere", QN_INGEST_APPEND, NULL, QN_ERR_QUERY, "nowhere");
    assert_string_equal(err.sqlstate, "42P01");
    run(db, "create table t (i integer)");
    one(&rows, "Int64");
    qn_column_put_int64(&rows.batch.columns[0], 1);
    err = ingest_fails(db, &rows, "t", QN_INGEST_APPEND, NULL, QN_ERR_QUERY, "x");
    assert_string_equal(err.sqlstate, "42703");
}

static void put_pairs(struct rows *rows, const int64_t *keys, const char *const *texts, int n)
{
    rows_init(rows, n, "i", "Int64", "s", "Utf8", NULL);
    for (int i = 0; i < n; i++) {
        qn_column_put_int64(&rows->batch.columns[0], keys[i]);
        put_text(rows, 1, texts[i]);
    }
}

static void upsert_and_ignore__go_by_the_key(void **state)
{
    (void)state;
    struct rows rows;
    run(db, "create table t (i integer primary key, s text, f real)");
    run(db, "insert into t values (1, 'one', 0.5), (2, 'two', 1.5)");
    put_pairs(&rows, (const int64_t[]){ 2, 3 }, (const char *const[]){ "zwei", "drei" }, 2);
    ingest_ok(db, &rows, "t", QN_INGEST_UPSERT, "i", 2);
    expect(db, "select * from t order by i", "i:l s:vu f:g | 1 \"one\" 0.5 | 2 \"zwei\" 1.5 | 3 \"drei\" null");
    put_pairs(&rows, (const int64_t[]){ 3, 4 }, (const char *const[]){ "three", "four" }, 2);
    ingest_ok(db, &rows, "t", QN_INGEST_IGNORE, "i", 1);
    expect(db, "select s from t order by i", "s:vu | \"one\" | \"zwei\" | \"drei\" | \"four\"");
    expect(db, "select count(*) as n from sqlite_temp_schema", "n:l | 0"); /* the staging table is gone */
}

static void a_key_twice__names_both_rows_and_keeps_nothing(void **state)
{
    (void)state;
    struct rows rows;
    run(db, "create table t (i integer primary key, s text)");
    run(db, "insert into t values (1, 'one')");
    put_pairs(&rows, (const int64_t[]){ 7, 1, 8, 7, 7 }, (const char *const[]){ "a", "b", "c", "d", "e" }, 5);
    (void)ingest_fails(db, &rows, "t", QN_INGEST_UPSERT, "i", QN_ERR_DATA, "rows 0 and 3 have the same key (i)");
    put_pairs(&rows, (const int64_t[]){ 5, 6, 6 }, (const char *const[]){ "a", "b", "c" }, 3);
    (void)ingest_fails(db, &rows, "t", QN_INGEST_IGNORE, "i", QN_ERR_DATA, "rows 1 and 2");
    expect(db, "select * from t", "i:l s:vu | 1 \"one\"");
    expect(db, "select count(*) as n from sqlite_temp_schema", "n:l | 0");
    /* the same key by the target's collation */
    run(db, "create table c (s text collate nocase primary key)");
    rows_init(&rows, 2, "s", "Utf8", NULL);
    put_text(&rows, 0, "a");
    put_text(&rows, 0, "A");
    (void)ingest_fails(db, &rows, "c", QN_INGEST_UPSERT, "s", QN_ERR_DATA, "rows 0 and 1");
    rows_init(&rows, 2, "s", "Utf8", NULL); /* nulls are never the same: every run would add them again */
    put_text(&rows, 0, "a");
    qn_column_put_null(&rows.batch.columns[0]);
    struct qn_error err = ingest_fails(db, &rows, "c", QN_INGEST_UPSERT, "s", QN_ERR_DATA, "row 1: the column \"s\"");
    assert_int_equal(err.row, 1);
    assert_string_equal(err.column_name, "s");
    expect(db, "select count(*) as n from c", "n:l | 0");
}

static void a_constraint_in_the_middle__names_the_row_and_keeps_nothing(void **state)
{
    (void)state;
    struct rows rows;
    run(db, "create table t (i integer primary key, s text not null)");
    run(db, "insert into t values (2, 'two')");
    put_pairs(&rows, (const int64_t[]){ 1, 2, 3 }, (const char *const[]){ "a", "b", "c" }, 3);
    struct qn_error err = ingest_fails(db, &rows, "t", QN_INGEST_APPEND, NULL, QN_ERR_CONSTRAINT, "UNIQUE");
    assert_string_equal(err.sqlstate, "23505");
    assert_string_equal(err.table_name, "t");
    assert_int_equal(err.row, 1);
    expect(db, "select * from t", "i:l s:vu | 2 \"two\"");
    assert_int_equal(qn_connection_begin(db, QN_ISOLATION_DEFAULT, false, &err), QN_OK);
    put_pairs(&rows, (const int64_t[]){ 5 }, (const char *const[]){ "five" }, 1);
    ingest_ok(db, &rows, "t", QN_INGEST_APPEND, NULL, 1);
    put_pairs(&rows, (const int64_t[]){ 6, 5 }, (const char *const[]){ "six", "five" }, 2);
    (void)ingest_fails(db, &rows, "t", QN_INGEST_APPEND, NULL, QN_ERR_CONSTRAINT, "UNIQUE");
    assert_int_equal(qn_connection_commit(db, &err), QN_OK);
    expect(db, "select i from t order by i", "i:l | 2 | 5");
}

static void a_trigger__sees_every_row(void **state)
{
    (void)state;
    struct rows rows;
    run(db, "create table t (i integer, s text)");
    run(db, "create table log (i integer)");
    run(db, "create trigger copy after insert on t begin insert into log values (new.i); end");
    put_pairs(&rows, (const int64_t[]){ 1, 2 }, (const char *const[]){ "a", "b" }, 2);
    ingest_ok(db, &rows, "t", QN_INGEST_APPEND, NULL, 2);
    expect(db, "select i from log", "i:l | 1 | 2");
}

/* ---- a stream that fails ---- */

static enum qn_status failing_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct qn_type type = qn_type_of(QN_TYPE_INT64);
    (void)self;
    QN_TRY(qn_schema_struct(out, 1, err));
    return qn_schema_set(out, 0, "x", &type, err);
}

static enum qn_status failing_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    int *calls = self;
    struct rows rows;
    if (++*calls > 2) {
        return qn_error_set(err, QN_ERR_IO, "the well is dry");
    }
    one(&rows, "Int64");
    qn_column_put_int64(&rows.batch.columns[0], *calls);
    enum qn_status status = qn_batch_finish(&rows.batch, 1, out, err);
    qn_batch_dispose(&rows.batch);
    qn_schema_release(&rows.schema);
    return status;
}

static void nothing_to_free(void *self)
{
    (void)self;
}

static void a_stream_that_fails__leaves_nothing(void **state)
{
    (void)state;
    static const struct qn_stream_ops ops = { failing_schema, failing_next, nothing_to_free };
    struct qn_ingest ingest = QN_INGEST_INIT;
    struct qn_error err = QN_ERROR_INIT;
    static const enum qn_ingest_mode modes[] = { QN_INGEST_APPEND, QN_INGEST_UPSERT };
    const char *key = "x";
    run(db, "create table t (x integer primary key)");
    for (int i = 0; i < 2; i++) {
        int calls = 0;
        qn_auto_stream stream = { .release = NULL };
        assert_int_equal(qn_stream_make(&ops, &calls, &stream, &err), QN_OK);
        ingest.table = "t";
        ingest.mode = modes[i];
        ingest.key = &key;
        ingest.n_key = i;
        assert_int_equal(qn_connection_ingest(db, &ingest, &stream, NULL, &err), QN_ERR_IO);
        assert_non_null(strstr(err.message, "the well is dry"));
        assert_int_equal(calls, 3);
        expect(db, "select count(*) as n from t", "n:l | 0");
    }
}

/* ---- parameters ---- */

static void parameters__are_bound_exactly(void **state)
{
    (void)state;
    struct qn_value values[] = {
        { .kind = QN_VALUE_BOOL, .as.boolean = true },
        { .kind = QN_VALUE_INT64, .as.int64 = INT64_MIN },
        { .kind = QN_VALUE_FLOAT64, .as.float64 = 0.1 },
        { .kind = QN_VALUE_TEXT, .as.bytes = { "a\0b", 3 } },
        { .kind = QN_VALUE_BYTES, .as.bytes = { "\0\xff", 2 } },
        { .kind = QN_VALUE_DATE, .as.int64 = 19782 },
        { .kind = QN_VALUE_TIMESTAMP, .as.int64 = 1 },
        { .kind = QN_VALUE_INSTANT, .as.int64 = 0 },
        { .kind = QN_VALUE_DECIMAL, .scale = 2, .as.decimal = { 150, 0 } },
        { .kind = QN_VALUE_NULL },
        { .kind = QN_VALUE_UUID,
          .as.bytes = { "\x6f\x96\x19\xff\x8b\x86\xd0\x11\xb4\x2d\x00\xc0\x4f\xc9\x64\xff", 16 } },
        { .kind = QN_VALUE_BYTES, .as.bytes = { "", 0 } },
    };
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_buffer out = QN_BUFFER_INIT;
    query.sql = "select ? as a, ? as b, ? as c, ? as d, ? as e, ? as f, ? as g, ? as h, ? as i, ? as j, ? as k, ? as l";
    query.values = values;
    query.n_values = sizeof values / sizeof values[0];
    if (show_query(db, &query, &out, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(qn_buffer_text(&out),
                        "a:l b:l c:g d:vu e:vz f:vu g:vu h:vu i:vu j:n k:vu l:vz | 1 -9223372036854775808 0.1 "
                        "\"a\\u0000b\" \"AP8=\" \"2024-02-29\" \"1970-01-01 00:00:00.000001\" "
                        "\"1970-01-01 00:00:00+00:00\" \"1.50\" null \"6f9619ff-8b86-d011-b42d-00c04fc964ff\" \"\"");
    struct qn_value bad[] = { { .kind = QN_VALUE_UINT64, .as.uint64 = (uint64_t)INT64_MAX + 1 },
                              { .kind = QN_VALUE_FLOAT64, .as.float64 = 0.0 } };
    bad[1].as.float64 /= bad[1].as.float64;
    for (int i = 0; i < 2; i++) {
        qn_auto_buffer none = QN_BUFFER_INIT;
        query.sql = "select ?";
        query.values = &bad[i];
        query.n_values = 1;
        assert_int_equal(show_query(db, &query, &none, &err), QN_ERR_DATA);
        assert_non_null(strstr(err.message, "parameter 1"));
    }
}

static void execute_many__runs_once_a_row_and_names_the_row_that_fails(void **state)
{
    (void)state;
    struct rows rows;
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    int64_t affected = 0;
    run(db, "create table t (i integer primary key, s text)");
    query.sql = "insert into t (s, i) values (:s, :i)";
    for (int round = 0; round < 2; round++) {
        qn_auto_stream stream = { .release = NULL };
        put_pairs(&rows, (const int64_t[]){ 10 + round, 20, 30 + round }, (const char *const[]){ "a", "b", "c" }, 3);
        rows_stream(&rows, &stream);
        enum qn_status status = qn_connection_execute_many(db, &query, &stream, &affected, &err);
        assert_int_equal(status, round == 0 ? QN_OK : QN_ERR_CONSTRAINT);
    }
    assert_int_equal(affected, 3);
    assert_int_equal(err.row, 1);
    expect(db, "select * from t order by i", "i:l s:vu | 10 \"a\" | 20 \"b\" | 30 \"c\"");
}

/* ---- the catalogue ---- */

static void expect_stream(enum qn_status status, struct ArrowArrayStream *stream, const char *expected)
{
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_buffer out = QN_BUFFER_INIT;
    assert_int_equal(status, QN_OK);
    assert_int_equal(show_rows(stream, &out, &err), QN_OK);
    assert_string_equal(qn_buffer_text(&out), expected);
    qn_stream_release(stream);
}

static void the_catalogue__lists_tables_and_columns(void **state)
{
    (void)state;
    struct ArrowArrayStream stream = { .release = NULL };
    expect_stream(qn_connection_tables(db, NULL, &stream, NULL), &stream, "schema:vu name:vu kind:vu");
    run(db, "create table b (i integer primary key, s text not null default 'd', f)");
    run(db, "create view a as select i from b");
    run(db, "create table c (x text, y integer, primary key (y, x))");
    expect_stream(qn_connection_tables(db, NULL, &stream, NULL), &stream,
                  "schema:vu name:vu kind:vu | \"main\" \"a\" \"view\" | \"main\" \"b\" \"table\" | "
                  "\"main\" \"c\" \"table\"");
    expect_stream(qn_connection_tables(db, "temp", &stream, NULL), &stream, "schema:vu name:vu kind:vu");
    qn_auto_buffer out = QN_BUFFER_INIT;
    assert_int_equal(qn_connection_columns(db, NULL, "b", &stream, NULL), QN_OK);
    assert_int_equal(show_rows(&stream, &out, NULL), QN_OK);
    qn_stream_release(&stream);
    assert_non_null(strstr(qn_buffer_text(&out),
                           " | \"i\" \"INTEGER\" false null 1 | \"s\" \"TEXT\" false \"'d'\" null | "
                           "\"f\" \"\" true null null"));
    qn_buffer_reset(&out);
    assert_int_equal(qn_connection_columns(db, "main", "c", &stream, NULL), QN_OK);
    assert_int_equal(show_rows(&stream, &out, NULL), QN_OK);
    qn_stream_release(&stream);
    assert_non_null(strstr(qn_buffer_text(&out), " | \"x\" \"TEXT\" true null 2 | \"y\" \"INTEGER\" true null 1"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_db, close_db)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(append__matches_columns_by_name),
        CASE(create__keeps_the_arrow_types),
        CASE(values__that_sqlite_would_change_are_refused),
        CASE(reals__keep_all_digits_in_a_text_column),
        CASE(what_the_table_lacks__is_named),
        CASE(upsert_and_ignore__go_by_the_key),
        CASE(a_key_twice__names_both_rows_and_keeps_nothing),
        CASE(a_constraint_in_the_middle__names_the_row_and_keeps_nothing),
        CASE(a_trigger__sees_every_row),
        CASE(a_stream_that_fails__leaves_nothing),
        CASE(parameters__are_bound_exactly),
        CASE(execute_many__runs_once_a_row_and_names_the_row_that_fails),
        CASE(the_catalogue__lists_tables_and_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
