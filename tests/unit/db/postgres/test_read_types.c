/*
 * test_read_types.c: every type that is decoded, at its extremes, against a real server. Expected values are those that
 * PostgreSQL's documentation gives for the type's range, or the literal in the statement.
 */
#include "reading.h"

static void read_types__integers_at_their_ends(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg,
           "select 32767::int2 a, '-32768'::int2 b, 2147483647 c, '-2147483648'::int4 d, 9223372036854775807 e, "
           "'-9223372036854775808'::int8 f, 4294967295::oid g",
           "a:s b:s c:i d:i e:l f:l g:I",
           "32767|-32768|2147483647|-2147483648|9223372036854775807|-9223372036854775808|4294967295\n");
    expect(pg, "select true a, false b, null::bool c, null::int8 d, null::text e", "a:b b:b c:b d:l e:vu",
           "true|false|null|null|null\n");
    qn_pg_close(pg);
}

static void read_types__floats_keep_every_bit(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_cursor cursor;
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowSchema schema;
    struct ArrowArray array;
    const char *sql = "select v::float8, v::float8::float4 from (values ('NaN'), ('Infinity'), ('-Infinity'), ('-0'), "
                      "('1.5'), ('0.1')) t(v)";
    assert_int_equal(start(pg, sql, NULL, &cursor, &err), QN_OK);
    assert_int_equal(cursor.ops->schema(cursor.self, &schema, &err), QN_OK);
    assert_string_equal(schema.children[0]->format, "g");
    assert_string_equal(schema.children[1]->format, "f");
    assert_int_equal(cursor.ops->next(cursor.self, &array, &err), QN_OK);
    const double *wide = array.children[0]->buffers[1];
    const float *narrow = array.children[1]->buffers[1];
    assert_true(wide[0] != wide[0] && narrow[0] != narrow[0]);
    assert_true(wide[1] > 1.7e308 && wide[2] < -1.7e308 && narrow[1] > 3.4e38F && narrow[2] < -3.4e38F);
    assert_true(wide[3] == 0 && 1 / wide[3] < 0 && 1 / narrow[3] < 0);
    assert_true(wide[4] == 1.5 && wide[5] == 0.1 && narrow[4] == 1.5F && narrow[5] == 0.1F);
    array.release(&array);
    schema.release(&schema);
    cursor.ops->close(cursor.self);
    qn_pg_close(pg);
}

static void read_types__numerics_by_typmod(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg,
           "select 0.0001::numeric(10,4) a, 10000::numeric(10,0) b, 100000000::numeric(9) c, '-0.5'::numeric(3,1) d, "
           "12345::numeric(3,-2) e, 0.001::numeric(2,3) f",
           "a:d:10,4 b:d:10,0 c:d:9,0 d:d:3,1 e:d:5,0 f:d:3,3", "0.0001|10000|100000000|-0.5|12300|0.001\n");
    qn_pg_close(pg);
}

static void read_types__numerics_of_38_digits(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg,
           "select 99999999999999999999999999999999999999::numeric(38,0) a, "
           "'-99999999999999999999999999999999999999'::numeric(38,0) b, "
           "0.00000000000000000000000000000000000001::numeric(38,38) c, "
           "1234567890123456789012345678.0123456789::numeric(38,10) d, 5e37::numeric(38,0) e",
           "a:d:38,0 b:d:38,0 c:d:38,38 d:d:38,10 e:d:38,0",
           "99999999999999999999999999999999999999|-99999999999999999999999999999999999999|"
           "0.00000000000000000000000000000000000001|1234567890123456789012345678.0123456789|"
           "50000000000000000000000000000000000000\n");
    expect(pg, "select 1.5::numeric(39,1) a, 1e-39::numeric(5,40) b", "a:vu b:vu",
           "\"1.5\"|\"0.0000000000000000000000000000000000000010\"\n");
    qn_pg_close(pg);
}

static void read_types__numerics_without_typmod(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_query_options whole = QN_QUERY_OPTIONS_INIT;
    whole.result_mode = QN_RESULT_WHOLE;
    const char *widens = "select v from (values (1.5::numeric), (null), (20000), (0.0625)) t(v)";
    expect(pg, widens, "v:vu", "\"1.5\"\nnull\n\"20000\"\n\"0.0625\"\n");
    expect_with(pg, &whole, widens, "v:d:38,4", "1.5000\nnull\n20000.0000\n0.0625\n");
    expect_with(pg, &whole, "select v from (values (1.5::numeric), (1e37), (-0.001), (1e-40), (1e40)) t(v)", "v:vu",
                "\"1.5\"\n\"10000000000000000000000000000000000000\"\n\"-0.001\"\n"
                "\"0.0000000000000000000000000000000000000001\"\n\"10000000000000000000000000000000000000000\"\n");
    expect_with(pg, &whole, "select 1::numeric as v where false", "v:d:38,0", "");
    struct qn_query_options doubles = QN_QUERY_OPTIONS_INIT;
    doubles.numeric = QN_NUMERIC_FLOAT64;
    expect_with(pg, &doubles, "select v from (values (0.1::numeric), (-12345678.25), (0), (1e20)) t(v)", "v:g",
                "0.1\n-12345678.25\n0\n1e+20\n");
    qn_pg_close(pg);
}

static void read_types__numeric_specials_by_policy(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    const char *sql = "select v::numeric(5,2) as price from (values ('1.25'), ('NaN')) t(v)";
    struct qn_error err = expect_error(pg, NULL, sql, QN_ERR_DATA);
    assert_int_equal(err.row, 1);
    assert_string_equal(err.column_name, "price");
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.numeric_special = QN_POLICY_NULL;
    expect_with(pg, &options, sql, "price:d:5,2", "1.25\nnull\n");
    options.numeric_special = QN_POLICY_TEXT;
    expect_with(pg, &options, sql, "price:vu", "\"1.25\"\n\"NaN\"\n");
    options.numeric_special = QN_POLICY_SATURATE;
    (void)expect_error(pg, &options, sql, QN_ERR_DATA);
    expect_with(pg, &options, "select v::numeric v from (values ('Infinity')) t(v)", "v:vu", "\"Infinity\"\n");
    options.numeric_special = QN_POLICY_TEXT;
    options.result_mode = QN_RESULT_WHOLE;
    expect_with(pg, &options, "select v::numeric v from (values ('1.5'), ('-Infinity'), ('2')) t(v)", "v:vu",
                "\"1.5\"\n\"-Infinity\"\n\"2\"\n");
    qn_pg_close(pg);
}

static void read_types__dates_and_times(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg, "select '0001-01-01'::date a, '2000-02-29'::date b, '5874897-12-31'::date c, '4713-01-01 BC'::date d",
           "a:tdD b:tdD c:tdD d:tdD", "\"0001-01-01\"|\"2000-02-29\"|\"+5874897-12-31\"|\"-4712-01-01\"\n");
    expect(pg,
           "select '1969-12-31 23:59:59.999999'::timestamp a, '1999-12-31 23:59:59.000001'::timestamp b, "
           "'2000-01-01 12:00+02'::timestamptz c, '294246-12-31 23:59:59.999999'::timestamp d, "
           "'4713-01-01 00:00:00 BC'::timestamp e",
           "a:tsu: b:tsu: c:tsu:UTC d:tsu: e:tsu:",
           "\"1969-12-31T23:59:59.999999\"|\"1999-12-31T23:59:59.000001\"|\"2000-01-01T10:00:00Z\"|"
           "\"+294246-12-31T23:59:59.999999\"|\"-4712-01-01T00:00:00\"\n");
    expect(pg,
           "select '00:00'::time a, '23:59:59.999999'::time b, '04:05:06-08'::timetz c, "
           "'1 year 2 months 3 days 04:05:06.5'::interval d",
           "a:ttu b:ttu c:vu d:vu",
           "\"00:00:00\"|\"23:59:59.999999\"|\"04:05:06-08\"|"
           "\"1 year 2 mons 3 days 04:05:06.5\"\n");
    qn_pg_close(pg);
}

static void read_types__infinity_by_policy(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    const char *sql = "select 'infinity'::date as d, '-infinity'::timestamp as t, 'infinity'::timestamptz as z";
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_error err = expect_error(pg, NULL, sql, QN_ERR_DATA);
    assert_string_equal(err.column_name, "d");
    assert_int_equal(err.row, 0);
    options.infinity = QN_POLICY_NULL;
    expect_with(pg, &options, sql, "d:tdD t:tsu: z:tsu:UTC", "null|null|null\n");
    options.infinity = QN_POLICY_TEXT;
    expect_with(pg, &options, sql, "d:vu t:vu z:vu", "\"infinity\"|\"-infinity\"|\"infinity\"\n");
    options.infinity = QN_POLICY_SATURATE;
    struct answer answer = ask(pg, sql, &options);
    assert_int_equal(answer.status, QN_OK);
    assert_int_equal(answer.n_rows, 1);
    answer_free(&answer);
    /* a finite timestamp that microseconds since 1970 cannot reach */
    (void)expect_error(pg, NULL, "select '294276-12-31'::timestamp as far", QN_ERR_DATA);
    qn_pg_close(pg);
}

static void read_types__midnight_at_the_end_of_the_day(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.infinity = QN_POLICY_NULL; /* a value all the same: never a null */
    (void)expect_error(pg, &options, "select '24:00:00'::time as t", QN_ERR_DATA);
    options.infinity = QN_POLICY_TEXT;
    expect_with(pg, &options, "select '24:00:00'::time as t", "t:vu", "\"24:00:00\"\n");
    qn_pg_close(pg);
}

static void read_types__strings_of_every_length(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg,
           "select '' a, 'x'::\"char\" b, 'abcd'::name c, 'ab'::char(5) d, 'twelve bytes' e, 'thirteen byte' f, "
           "'grün' g, '日本語テキスト' h",
           "a:vu b:vu c:vu d:vu e:vu f:vu g:vu h:vu",
           "\"\"|\"x\"|\"abcd\"|\"ab   \"|\"twelve bytes\"|\"thirteen byte\"|\"grün\"|\"日本語テキスト\"\n");
    expect(pg, "select (repeat('x', n) = repeat('x', n))::text || n as t from generate_series(0, 2) n", "t:vu",
           "\"true0\"\n\"true1\"\n\"true2\"\n");
    struct answer answer = ask(pg, "select repeat('é', 3000000) as t, repeat('y', 20)::bytea as b", NULL);
    assert_int_equal(answer.status, QN_OK);
    assert_int_equal(answer.rows.size, 6000000 + 2 + 1 + 2 + 28 + 1); /* quotes, bar, base64 of 20 bytes, newline */
    answer_free(&answer);
    qn_pg_close(pg);
}

static void read_types__text_forms(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg,
           "select '{\"a\": [1]}'::json a, '{\"a\":1}'::jsonb b, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid c, "
           "'10.1.0.0/16'::cidr d, b'101'::bit(3) e, '[1,5)'::int4range f, '{1,NULL,3}'::int[] g, row(1,'x') h, "
           "'<a/>'::xml i, '08:00:2b:01:02:03'::macaddr j",
           "a:vu b:vu c:vu d:vu e:vu f:vu g:vu h:vu i:vu j:vu",
           "\"{\\\"a\\\": [1]}\"|\"{\\\"a\\\": 1}\"|\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"|\"10.1.0.0/16\"|\"101\"|"
           "\"[1,5)\"|\"{1,NULL,3}\"|\"(1,x)\"|\"<a/>\"|\"08:00:2b:01:02:03\"\n");
    expect(pg, "select '\\x00ff10'::bytea a, ''::bytea b", "a:vz b:vz", "\"AP8Q\"|\"\"\n");
    qn_pg_close(pg);
}

static void expect_sql_type(struct qn_pg *pg, const char *sql, const char *expected)
{
    struct qn_cursor cursor;
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowSchema schema;
    const char *found = NULL;
    size_t size = 0;
    assert_int_equal(start(pg, sql, NULL, &cursor, &err), QN_OK);
    assert_int_equal(cursor.ops->schema(cursor.self, &schema, &err), QN_OK);
    assert_true(qn_schema_metadata_get(schema.children[0], QN_KEY_SQL_TYPE, &found, &size));
    char text[256];
    (void)snprintf(text, sizeof text, "%.*s", (int)size, found);
    assert_string_equal(text, expected);
    schema.release(&schema);
    cursor.ops->close(cursor.self);
}

static void read_types__names_of_types(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect_sql_type(pg, "select 1::numeric(10,2)", "numeric(10,2)");
    expect_sql_type(pg, "select 1::numeric(3,-2)", "numeric(3,-2)");
    expect_sql_type(pg, "select 'x'::varchar(7)", "character varying(7)");
    expect_sql_type(pg, "select now()::timestamptz(3)", "timestamp(3) with time zone");
    expect_sql_type(pg, "select array[1.5]::numeric(4,1)[]", "numeric(4,1)[]");
    expect(pg, "create type pg_temp.mood as enum ('sad', 'ok')", "", "");
    expect(pg, "create domain pg_temp.small as int2 check (value > 0)", "", "");
    expect_sql_type(pg, "select 'ok'::pg_temp.mood", "mood");
    expect(pg, "select 'ok'::pg_temp.mood m, 5::pg_temp.small s", "m:vu s:s", "\"ok\"|5\n");
    qn_pg_close(pg);
}

static void read_types__overrides(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_type_override types[] = { { "a", "Utf8" }, { "b", "Decimal(10,3)" }, { "c", "Float64" } };
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.types = types;
    options.n_types = 3;
    expect_with(pg, &options, "select 5 as a, 1.5::numeric as b, 2.25::numeric(9,4) as c", "a:vu b:d:10,3 c:g",
                "\"5\"|1.500|2.25\n");
    types[1].type = "Decimal(3,2)";
    struct qn_error err = expect_error(pg, &options, "select 5 as a, 10.5::numeric as b, 1.0 as c", QN_ERR_DATA);
    assert_string_equal(err.column_name, "b");
    types[2].type = "Date32";
    err = expect_error(pg, &options, "select 5 as a, 1.5 as b, 'x' as c", QN_ERR_UNSUPPORTED);
    assert_string_equal(err.column_name, "c");
    types[0].column = "no such";
    (void)expect_error(pg, &options, "select 1 as b, 2 as c", QN_ERR_ARGUMENT);
    qn_pg_close(pg);
}

static void read_types__nulls_from_any_row_on(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct answer answer =
        ask(pg,
            "select nullif(i, 3) a, nullif(i::text, '2') b, nullif(i % 2 = 0, true) c, "
            "(case when i > 998 then null else i end)::numeric(6,1) d from generate_series(1, 1000) i",
            NULL);
    assert_int_equal(answer.status, QN_OK);
    assert_int_equal(answer.n_rows, 1000);
    static const char first[] = "1|\"1\"|false|1.0\n2|null|null|2.0\nnull|\"3\"|false|3.0\n";
    const char *text = qn_buffer_text(&answer.rows);
    assert_int_equal(strncmp(text, first, sizeof first - 1), 0);
    static const char last[] = "998|\"998\"|null|998.0\n999|\"999\"|false|null\n1000|\"1000\"|null|null\n";
    assert_true(answer.rows.size > sizeof last);
    assert_string_equal(text + answer.rows.size - (sizeof last - 1), last);
    answer_free(&answer);
    qn_pg_close(pg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_types__integers_at_their_ends),
        cmocka_unit_test(read_types__floats_keep_every_bit),
        cmocka_unit_test(read_types__numerics_by_typmod),
        cmocka_unit_test(read_types__numerics_of_38_digits),
        cmocka_unit_test(read_types__numerics_without_typmod),
        cmocka_unit_test(read_types__numeric_specials_by_policy),
        cmocka_unit_test(read_types__dates_and_times),
        cmocka_unit_test(read_types__infinity_by_policy),
        cmocka_unit_test(read_types__midnight_at_the_end_of_the_day),
        cmocka_unit_test(read_types__strings_of_every_length),
        cmocka_unit_test(read_types__text_forms),
        cmocka_unit_test(read_types__names_of_types),
        cmocka_unit_test(read_types__overrides),
        cmocka_unit_test(read_types__nulls_from_any_row_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
