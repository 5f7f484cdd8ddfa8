/* Types of results: declared types, values, widening, overrides, and values that do not fit. */
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

static struct qn_query_options stream_options(int64_t batch_rows)
{
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.batch_rows = batch_rows;
    return options;
}

static void declared_types__hold_for_empty_results_and_nulls(void **state)
{
    (void)state;
    run(db, "create table t (a integer, b bigint, c varchar(10), d double precision, e blob, f boolean, g date, "
            "h datetime, i time, j decimal(10,2), k timestamptz, l json, m uuid, n numeric, o, p float, "
            "q timestamp with time zone, r decimal_text(20, 4), s duration)");
    static const char columns[] = "a:l b:l c:vu d:g e:vz f:b g:tdD h:tsu: i:ttu j:d:10,2 k:tsu:UTC l:vu m:vu n:n o:n "
                                  "p:g q:tsu:UTC r:d:20,4 s:tDu";
    expect(db, "select * from t", columns);
    run(db, "insert into t (a) values (null)");
    expect(db, "select a, g, j, o from t", "a:l g:tdD j:d:10,2 o:n | null null null null");
    struct qn_query_options options = stream_options(10);
    expect_options(db, "select a, g, j, o from t", &options, "a:l g:tdD j:d:10,2 o:n | null null null null");
}

static void integers__are_exact_to_64_bits(void **state)
{
    (void)state;
    expect(db, "select 9223372036854775807 as a, -9223372036854775808 as b, 9007199254740993 as c",
           "a:l b:l c:l | 9223372036854775807 -9223372036854775808 9007199254740993");
}

static void undeclared_values__widen_over_the_whole_column(void **state)
{
    (void)state;
    expect(db, "select column1 as x from (values (1), (null), (2.5))", "x:g | 1 | null | 2.5");
    expect(db, "select column1 as x from (values (2.5), (1))", "x:g | 2.5 | 1");
    expect(db, "select column1 as x from (values (null), (1), (2.0), ('a'))", "x:vu | null | \"1\" | \"2\" | \"a\"");
    expect(db, "select column1 as x from (values (2.0), ('a'))", "x:vu | \"2.0\" | \"a\"");
    expect(db, "select column1 as x from (values ('a'), (1), (0.1))", "x:vu | \"a\" | \"1\" | \"0.1\"");
    expect(db, "select column1 as x from (values (1), ('a'))", "x:vu | \"1\" | \"a\"");
    /* 2^53 + 1 has no double: the column becomes text, in both orders */
    expect(db, "select column1 as x from (values (9007199254740993), (0.5))", "x:vu | \"9007199254740993\" | \"0.5\"");
    expect(db, "select column1 as x from (values (0.5), (9007199254740993))", "x:vu | \"0.5\" | \"9007199254740993\"");
    expect(db, "select column1 as x from (values (9223372036854775807), (0.5))",
           "x:vu | \"9223372036854775807\" | \"0.5\"");
    expect(db, "select column1 as x from (values (null), (x'00ff'))", "x:vz | null | \"AP8=\"");
}

static void declared_types__are_checked_against_the_values(void **state)
{
    (void)state;
    run(db, "create table t (i integer, b boolean, r real, x blob, s text)");
    run(db, "insert into t values (1, 1, 1, 'text', 5), ('word', 0, 2.5, null, 'a')");
    expect(db, "select * from t",
           "i:vu b:b r:g x:vu s:vu | \"1\" true 1 \"text\" \"5\" | \"word\" false 2.5 null \"a\"");
    run(db, "insert into t (b) values (2)");
    expect(db, "select b from t", "b:l | 1 | 0 | 2");
    run(db, "insert into t (b) values ('yes')");
    expect(db, "select b from t", "b:vu | \"1\" | \"0\" | \"2\" | \"yes\"");
    expect(db, "select i from t where rowid = 1", "i:l | 1");
    run(db, "create table n (i integer)");
    run(db, "insert into n values (1), (1.5)");
    expect(db, "select i from n", "i:g | 1 | 1.5");
}

static void blobs_and_others__do_not_mix(void **state)
{
    (void)state;
    struct qn_error err = expect_error(db, "select column1 as x from (values (null), ('a'), (x'00'))", QN_ERR_DATA, "",
                                       "row 2, column \"x\"");
    assert_int_equal(err.row, 2);
    assert_string_equal(err.column_name, "x");
    assert_non_null(strstr(err.hint, "types={\"x\": \"Binary\"}"));
    (void)expect_error(db, "select column1 as x from (values (x'00'), (1))", QN_ERR_DATA, "", "row 1");
    expect_typed(db, "select column1 as x from (values ('a'), (x'00'))", "x", "Binary", "x:vz | \"YQ==\" | \"AA==\"");
}

static void a_stream__keeps_the_types_of_its_first_batch(void **state)
{
    (void)state;
    static const char late[] = "select column1 as x from (values (1), (2), (3), ('late'))";
    struct qn_query_options options = stream_options(2);
    struct qn_error err = expect_error_options(db, late, &options, QN_ERR_DATA, "row 3, column \"x\": text \"late\"");
    assert_int_equal(err.row, 3);
    assert_non_null(strstr(err.hint, "types={\"x\": \"Utf8\"}"));
    expect_typed(db, late, "x", "Utf8", "x:vu | \"1\" | \"2\" | \"3\" | \"late\"");
    expect(db, late, "x:vu | \"1\" | \"2\" | \"3\" | \"late\"");
    options = stream_options(4);
    expect_options(db, late, &options, "x:vu | \"1\" | \"2\" | \"3\" | \"late\"");
    options = stream_options(1);
    expect_options(db, "select column1 as x from (values ('a'), (1), (0.5))", &options,
                   "x:vu | \"a\" | \"1\" | \"0.5\"");
    expect_options(db, "select column1 as x from (values (0.5), (1))", &options, "x:g | 0.5 | 1");
    (void)expect_error_options(db, "select column1 as x from (values (null), (1))", &options, QN_ERR_DATA, "row 1");
}

static void batches__respect_rows_and_bytes(void **state)
{
    (void)state;
    static const char series[] = "with recursive s(i) as (select 1 union all select i + 1 from s where i < 1000) "
                                 "select printf('%.*c', 1000, 'x') as s from s";
    struct qn_query_options options = stream_options(64);
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    query.sql = series;
    query.options = &options;
    for (int round = 0; round < 2; round++) {
        qn_auto_stream stream = { .release = NULL };
        int64_t rows = 0, most = round == 0 ? 64 : 10;
        options.batch_bytes = round == 0 ? 0 : 9500;
        assert_int_equal(qn_connection_query(db, &query, &stream, NULL, &err), QN_OK);
        for (;;) {
            qn_auto_array batch = { .release = NULL };
            assert_int_equal(qn_stream_next(&stream, &batch, &err), QN_OK);
            if (batch.release == NULL) {
                break;
            }
            assert_true(batch.length <= most && batch.length > 0);
            rows += batch.length;
        }
        assert_int_equal(rows, 1000);
    }
}

static void dates_and_times__are_iso_text_or_an_error(void **state)
{
    (void)state;
    run(db, "create table t (d date, m datetime, h time)");
    run(db, "insert into t values ('2024-02-29', '2024-02-29 12:34:56.789012', '23:59:59.999999'), "
            "('0001-01-01', '1969-12-31T23:59:59', '00:00'), (null, '2024-01-01', null)");
    expect(db, "select * from t",
           "d:tdD m:tsu: h:ttu | \"2024-02-29\" \"2024-02-29T12:34:56.789012\" \"23:59:59.999999\" | "
           "\"0001-01-01\" \"1969-12-31T23:59:59\" \"00:00:00\" | null \"2024-01-01T00:00:00\" null");
    run(db, "create table bad (d date)");
    run(db, "insert into bad values ('2024-02-28'), ('2023-02-29')");
    struct qn_error err = expect_error(db, "select d from bad", QN_ERR_DATA, "",
                                       "row 1, column \"d\": text \"2023-02-29\" is not a date");
    assert_non_null(strstr(err.hint, "types={\"d\": \"Utf8\"}"));
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.result_mode = QN_RESULT_WHOLE;
    options.invalid_date = QN_POLICY_NULL;
    expect_options(db, "select d from bad", &options, "d:tdD | \"2024-02-28\" | null");
    options.invalid_date = QN_POLICY_TEXT;
    expect_options(db, "select d from bad", &options, "d:vu | \"2024-02-28\" | \"2023-02-29\"");
    expect_options(db, "select d from bad where rowid = 1", &options, "d:tdD | \"2024-02-28\"");
    expect_options(db, "select m from t", &options,
                   "m:tsu: | \"2024-02-29T12:34:56.789012\" | \"1969-12-31T23:59:59\" | \"2024-01-01T00:00:00\"");
    options.result_mode = QN_RESULT_STREAM; /* the schema is promised first: text always */
    expect_options(db, "select d from bad where rowid = 1", &options, "d:vu | \"2024-02-28\"");
    options.invalid_date = QN_POLICY_SATURATE;
    (void)expect_error_options(db, "select 1", &options, QN_ERR_ARGUMENT, "invalid_date");
    run(db, "delete from bad");
    run(db, "insert into bad values (20240101)");
    (void)expect_error(db, "select d from bad", QN_ERR_DATA, "", "integer 20240101 is not a date");
}

/* Both columns of every row of "select d, n from t" must be the same number. */
static int64_t expect_same_days(const struct qn_query_options *options)
{
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_stream stream = { .release = NULL };
    qn_auto_schema schema = { .release = NULL };
    int64_t rows = 0;
    query.sql = "select d, n from t";
    query.options = options;
    if (qn_connection_query(db, &query, &stream, NULL, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(qn_stream_schema(&stream, &schema, &err), QN_OK);
    struct qn_batch_reader reader;
    assert_int_equal(qn_batch_reader_init(&reader, &schema, &err), QN_OK);
    assert_int_equal(reader.columns[0].type.id, QN_TYPE_DATE32);
    for (bool more = true; more;) {
        qn_auto_array batch = { .release = NULL };
        assert_int_equal(qn_stream_next(&stream, &batch, &err), QN_OK);
        more = batch.release != NULL;
        if (more) {
            assert_int_equal(qn_batch_reader_bind(&reader, &batch, &err), QN_OK);
        }
        for (int64_t row = 0; more && row < reader.length; row++, rows++) {
            assert_int_equal(qn_reader_int64(&reader.columns[0], row), qn_reader_int64(&reader.columns[1], row));
        }
    }
    qn_batch_reader_dispose(&reader);
    return rows;
}

/* The short way for dates against two witnesses: SQLite's calendar (from 1600 on: it takes 0300-02-29 for a day) and, by an
 * override, the engine's own parser. */
static void dates__count_the_same_days_by_every_way(void **state)
{
    (void)state;
    run(db, "create table t (d date, n integer)");
    run(db, "with recursive s(i) as (select -135140 union all select i + 97 from s where i < 2932700) "
            "insert into t select date(i * 86400, 'unixepoch'), i from s");
    run(db, "with recursive y(i) as (select 1600 union all select i + 4 from y where i < 9996), "
            "d(k) as (values (-1), (0), (1)) insert into t select x, round(julianday(x) - 2440587.5) "
            "from (select date(printf('%04d-02-28', i), k || ' days') as x from y, d)");
    assert_int_equal(expect_same_days(NULL), 31629 + 2100 * 3);
    run(db, "drop table t");
    run(db, "create table t (d date, n date)");
    run(db, "with recursive y(i) as (select 0 union all select i + 1 from y where i < 2000), "
            "m(k) as (select 1 union all select k + 1 from m where k < 12), d(j) as (values (1), (28)) "
            "insert into t select x, x from (select printf('%04d-%02d-%02d', i, k, j) as x from y, m, d)");
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_type_override override = { .column = "n", .type = "Date32" };
    options.types = &override;
    options.n_types = 1;
    assert_int_equal(expect_same_days(&options), 2001 * 12 * 2);
    run(db, "delete from t");
    static const char *const bad[] = { "2023-02-29", "2024-02-30", "2024-13-01", "2024-00-10",
                                       "2024-04-31", "2024-01-00", "2024-1-01x", "20240-1-01" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char sql[64];
        (void)snprintf(sql, sizeof sql, "insert into t values ('%s', null)", bad[i]);
        run(db, sql);
        (void)expect_error(db, "select d from t", QN_ERR_DATA, "", "is not a date");
        run(db, "delete from t");
    }
}

static void zones__are_all_or_none(void **state)
{
    (void)state;
    run(db, "create table t (m timestamp)");
    run(db, "insert into t values ('2024-06-01 12:00:00+02:00'), ('2024-06-01 12:00:00Z')");
    expect(db, "select m from t", "m:tsu:UTC | \"2024-06-01T10:00:00Z\" | \"2024-06-01T12:00:00Z\"");
    run(db, "insert into t values ('2024-06-01 12:00:00')");
    (void)expect_error(db, "select m from t", QN_ERR_DATA, "", "row 2, column \"m\"");
    expect_typed(db, "select m from t where rowid = 3", "m", "Timestamp[us, UTC]",
                 "m:tsu:UTC | \"2024-06-01T12:00:00Z\"");
}

static void decimals__are_exact_from_every_storage_class(void **state)
{
    (void)state;
    run(db, "create table t (n decimal(12,2))");
    run(db, "insert into t values (1), (0.1), ('-1234567890.12'), (1e3), (9999999999.99), (null)");
    expect(db, "select n from t", "n:d:12,2 | 1.00 | 0.10 | -1234567890.12 | 1000.00 | 9999999999.99 | null");
    run(db, "insert into t values (0.125)");
    struct qn_error err = expect_error(db, "select n from t", QN_ERR_DATA, "", "row 6, column \"n\": real 0.125");
    assert_int_equal(err.row, 6);
    expect_typed(db, "select n from t where rowid = 7", "n", "Float64", "n:g | 0.125");
    run(db, "create table w (n decimal_text(38, 10))");
    run(db, "insert into w values ('1234567890123456789012345678.0123456789')");
    expect(db, "select n from w", "n:d:38,10 | 1234567890123456789012345678.0123456789");
    run(db, "insert into w values ('one')");
    (void)expect_error(db, "select n from w", QN_ERR_DATA, "", "is not a decimal number");
    (void)expect_error(db, "select n from w where rowid = 2", QN_ERR_DATA, "", "row 0");
}

static void text__is_validated_and_keeps_its_nuls(void **state)
{
    (void)state;
    struct qn_error err = expect_error(db, "select cast(x'61ff' as text) as s", QN_ERR_DATA, "", "is not valid UTF-8");
    assert_int_equal(err.row, 0);
    assert_non_null(strstr(err.hint, "Binary"));
    (void)expect_error(db, "select cast(x'6161616161616161616161616161eda080' as text) as s", QN_ERR_DATA, "", "UTF-8");
    expect_typed(db, "select cast(x'61ff' as text) as s", "s", "Binary", "s:vz | \"Yf8=\"");
    expect(db, "select cast(x'610062' as text) as s, '' as e, x'' as b, 'naïve ☕ and more of it' as l",
           "s:vu e:vu b:vz l:vu | \"a\\u0000b\" \"\" \"\" \"naïve ☕ and more of it\"");
}

static void overrides__convert_or_refuse(void **state)
{
    (void)state;
    static const struct {
        const char *value, *type, *expected;
    } good[] = {
        { "5", "Utf8", "x:vu | \"5\"" },
        { "0.1", "Utf8", "x:vu | \"0.1\"" },
        { "2.0", "Int64", "x:l | 2" },
        { "'12'", "Int64", "x:l | 12" },
        { "127", "Int8", "x:c | 127" },
        { "255", "UInt8", "x:C | 255" },
        { "5", "Float64", "x:g | 5" },
        { "0.5", "Float32", "x:f | 0.5" },
        { "1", "Boolean", "x:b | true" },
        { "'1.50'", "Decimal(10,2)", "x:d:10,2 | 1.50" },
        { "'2024-01-31'", "Date32", "x:tdD | \"2024-01-31\"" },
        { "'2024-01-31 10:00'", "Timestamp[ms]", "x:tsm: | \"2024-01-31T10:00:00\"" },
        { "null", "Int64", "x:l | null" },
    };
    static const struct {
        const char *value, *type;
    } bad[] = {
        { "x'00'", "Utf8" },
        { "1.5", "Int64" },
        { "'a'", "Int64" },
        { "9.3e18", "Int64" },
        { "128", "Int8" },
        { "-1", "UInt8" },
        { "-1", "UInt64" },
        { "9007199254740993", "Float64" },
        { "0.1", "Float32" },
        { "2", "Boolean" },
        { "'1.505'", "Decimal(10,2)" },
        { "20240131", "Date32" },
        { "'2024-01-32'", "Date32" },
        { "'2024-01-31 10:00:00.000001'", "Timestamp[ms]" },
        { "'2024-01-31 10:00Z'", "Timestamp[us]" },
        { "5", "Binary" },
        { "'25:00'", "Time[us]" },
    };
    char sql[128];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        (void)snprintf(sql, sizeof sql, "select %s as x", good[i].value);
        expect_typed(db, sql, "x", good[i].type, good[i].expected);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
        struct qn_type_override override = { .column = "x", .type = bad[i].type };
        options.types = &override;
        options.n_types = 1;
        (void)snprintf(sql, sizeof sql, "select %s as x", bad[i].value);
        struct qn_error err = expect_error_options(db, sql, &options, QN_ERR_DATA, "row 0, column \"x\"");
        assert_int_equal(err.row, 0);
    }
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_type_override override = { .column = "nope", .type = "Int64" };
    options.types = &override;
    options.n_types = 1;
    (void)expect_error_options(db, "select 1 as x", &options, QN_ERR_ARGUMENT, "nope");
}

static void the_declared_type__is_in_the_metadata(void **state)
{
    (void)state;
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_stream stream = { .release = NULL };
    qn_auto_schema schema = { .release = NULL };
    const char *value = NULL;
    size_t size = 0;
    run(db, "create table t (c varchar(10))");
    query.sql = "select c, c || 'x' as e from t";
    assert_int_equal(qn_connection_query(db, &query, &stream, NULL, &err), QN_OK);
    assert_int_equal(qn_stream_schema(&stream, &schema, &err), QN_OK);
    assert_true(qn_schema_metadata_get(schema.children[0], QN_KEY_SQL_TYPE, &value, &size));
    assert_int_equal(size, 11);
    assert_memory_equal(value, "varchar(10)", 11);
    assert_false(qn_schema_metadata_get(schema.children[1], QN_KEY_SQL_TYPE, &value, &size));
}

static void a_cached_statement__sees_a_changed_schema(void **state)
{
    (void)state;
    run(db, "create table t (a integer)");
    expect(db, "select * from t", "a:l");
    run(db, "alter table t add column b text");
    run(db, "insert into t values (1, 'x')");
    expect(db, "select * from t", "a:l b:vu | 1 \"x\"");
    for (int i = 0; i < 40; i++) { /* more than the cache holds */
        char sql[64], expected[64];
        (void)snprintf(sql, sizeof sql, "select %d as x", i);
        (void)snprintf(expected, sizeof expected, "x:l | %d", i);
        expect(db, sql, expected);
    }
    expect(db, "select * from t", "a:l b:vu | 1 \"x\"");
}

/* As many columns as before, of other names and types. */
static void a_cached_statement__sees_another_table_of_the_same_name(void **state)
{
    (void)state;
    run(db, "create table t (a integer, b date)");
    run(db, "insert into t values (1, '2020-01-02')");
    expect(db, "select * from t", "a:l b:tdD | 1 \"2020-01-02\"");
    run(db, "drop table t");
    run(db, "create table t (c text, d)");
    run(db, "insert into t values ('x', 2)");
    expect(db, "select * from t", "c:vu d:l | \"x\" 2");
}

/* What the values of one run made of a column is nothing to the next run. */
static void a_cached_statement__begins_with_the_declared_types(void **state)
{
    (void)state;
    run(db, "create table t (a integer, b)");
    run(db, "insert into t values ('text', 0.5)");
    expect(db, "select * from t", "a:vu b:g | \"text\" 0.5");
    run(db, "update t set a = 1, b = 2");
    expect(db, "select * from t", "a:l b:l | 1 2");
    run(db, "delete from t");
    expect(db, "select * from t", "a:l b:n");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_db, close_db)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(declared_types__hold_for_empty_results_and_nulls),
        CASE(integers__are_exact_to_64_bits),
        CASE(undeclared_values__widen_over_the_whole_column),
        CASE(declared_types__are_checked_against_the_values),
        CASE(blobs_and_others__do_not_mix),
        CASE(a_stream__keeps_the_types_of_its_first_batch),
        CASE(batches__respect_rows_and_bytes),
        CASE(dates_and_times__are_iso_text_or_an_error),
        CASE(dates__count_the_same_days_by_every_way),
        CASE(zones__are_all_or_none),
        CASE(decimals__are_exact_from_every_storage_class),
        CASE(text__is_validated_and_keeps_its_nuls),
        CASE(overrides__convert_or_refuse),
        CASE(the_declared_type__is_in_the_metadata),
        CASE(a_cached_statement__sees_a_changed_schema),
        CASE(a_cached_statement__sees_another_table_of_the_same_name),
        CASE(a_cached_statement__begins_with_the_declared_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
