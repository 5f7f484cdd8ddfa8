/* test_statement.c: values and placeholders, parameters as Arrow, positions of errors, the catalogue. */
#include "fake_driver.h"

static struct qn_value text_value(const char *text)
{
    struct qn_value value = { .kind = QN_VALUE_TEXT };
    value.as.bytes.data = text;
    value.as.bytes.size = strlen(text);
    return value;
}

static struct qn_value int_value(int64_t number)
{
    struct qn_value value = { .kind = QN_VALUE_INT64 };
    value.as.int64 = number;
    return value;
}

static enum qn_status run(struct qn_connection *connection, const char *sql, const struct qn_value *values,
                          const char *const *names, size_t n, struct qn_error *err)
{
    struct qn_query query = QN_QUERY_INIT;
    query.sql = sql;
    query.values = values;
    query.names = names;
    query.n_values = n;
    return qn_connection_execute(connection, &query, NULL, err);
}

static void refused(struct qn_connection *connection, const char *sql, const char *const *names, size_t n,
                    const char *message)
{
    struct qn_value values[3] = { int_value(1), int_value(2), int_value(3) };
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = run(connection, sql, values, names, n, &err);
    if (status != QN_ERR_ARGUMENT || strstr(err.message, message) == NULL) {
        fail_msg("%s: status %d, message \"%s\"", sql, (int)status, err.message);
    }
}

static void values__are_bound_in_the_order_of_placeholders(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_value values[3] = { int_value(7), text_value("a\xC3\xA9"), { .kind = QN_VALUE_NULL } };
    const char *names[] = { "x", "y", "z" };
    assert_int_equal(run(connection, "select ?, ?, ?", values, NULL, 3, NULL), QN_OK);
    assert_int_equal(run(connection, "select :z, :x, :z, :y", values, names, 3, NULL), QN_OK);
    assert_int_equal(run(connection, "select $2, $1", values, NULL, 2, NULL), QN_OK);
    assert_log("select $1, $2, $3 [l 7, u a\xC3\xA9, n null]\n"
               "select $1, $2, $1, $3 [n null, l 7, u a\xC3\xA9]\n"
               "select $2, $1 [l 7, u a\xC3\xA9]\n");
    fake_disconnect(connection);
}

static void values__that_do_not_match_are_refused(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    const char *names[] = { "a", "b", "c" };
    refused(connection, "select ?, ?", NULL, 3, "the statement has 2 placeholders, 3 values were given");
    refused(connection, "select ?, ?", NULL, 1, "the statement has 2 placeholders, 1 value was given");
    refused(connection, "select 1", NULL, 1, "the statement has 0 placeholders, 1 value was given");
    refused(connection, "select $1", NULL, 0, "the statement has 1 placeholder, 0 values were given");
    refused(connection, "select :a", NULL, 0, "the statement has 1 placeholder, 0 values were given");
    refused(connection, "select :a, :q", names, 1, "no value was given for the placeholder :q");
    refused(connection, "select :b", names, 3, "no placeholder for: :a, :c");
    refused(connection, "select 1", names, 2, "no placeholder for: :a, :b");
    refused(connection, "select :a", NULL, 1, "named placeholders (:a), values without names");
    refused(connection, "select ?", names, 1, "no :name placeholders");
    refused(connection, "select :a", (const char *const[]){ "a", "a" }, 2, "two values are named \"a\"");
    assert_log("");
    assert_int_equal(run(connection, "prepare p as select $1", NULL, NULL, 0, NULL), QN_OK);
    assert_int_equal(run(connection, "select j ? 'k'", NULL, NULL, 0, NULL), QN_OK);
    assert_log("prepare p as select $1\nselect j ? 'k'\n");
    fake_disconnect(connection);
}

/* More statements than the cache has slots, each twice: what is found there is the right one. */
static void statements__are_not_mixed_up_by_the_cache(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    for (int i = 0; i < 600; i++) {
        char sql[64], expected[80];
        struct qn_value value = int_value(i);
        (void)snprintf(sql, sizeof sql, "select %d + ?", i % 300);
        (void)snprintf(expected, sizeof expected, "select %d + $1 [l %d]\n", i % 300, i);
        assert_int_equal(run(connection, sql, &value, NULL, 1, NULL), QN_OK);
        assert_log(expected);
    }
    /* The same text with and without values: `?` is an operator without. */
    struct qn_value value = int_value(1);
    assert_int_equal(run(connection, "select j ? a", NULL, NULL, 0, NULL), QN_OK);
    assert_int_equal(run(connection, "select j ? a", &value, NULL, 1, NULL), QN_OK);
    assert_log("select j ? a\nselect j $1 a [l 1]\n");
    fake_disconnect(connection);
}

static void position__of_an_error_is_in_the_given_text(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_error err = QN_ERROR_INIT;
    struct qn_value values[2] = { int_value(1), int_value(2) };
    const char *names[] = { "long_name", "b" };
    assert_int_equal(run(connection, "fail :long_name, :b here", values, names, 2, &err), QN_ERR_QUERY);
    assert_int_equal(err.position, 21);
    assert_int_equal(run(connection, "fail ?, ? here", values, NULL, 2, &err), QN_ERR_QUERY);
    assert_int_equal(err.position, 11);
    fake_disconnect(connection);
}

static void query__refuses_options_out_of_range(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    query.sql = "insert";
    query.options = &options;
    options.batch_rows = -1;
    assert_int_equal(qn_connection_execute(connection, &query, NULL, &err), QN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "batch_rows"));
    options.batch_rows = 0;
    options.infinity = (enum qn_policy)9;
    assert_int_equal(qn_connection_execute(connection, &query, NULL, &err), QN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "infinity"));
    options.struct_size = offsetof(struct qn_query_options, infinity); /* an older caller: what it has not is ignored */
    assert_int_equal(qn_connection_execute(connection, &query, NULL, &err), QN_OK);
    query.sql = NULL;
    assert_int_equal(qn_connection_execute(connection, &query, NULL, &err), QN_ERR_ARGUMENT);
    assert_int_equal(qn_connection_execute(connection, NULL, NULL, &err), QN_ERR_ARGUMENT);
    query.sql = "insert";
    assert_int_equal(qn_connection_execute(NULL, &query, NULL, &err), QN_ERR_ARGUMENT);
    fake_disconnect(connection);
}

static void value_refused(struct qn_connection *connection, struct qn_value value, const char *message)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_value values[2] = { int_value(1), value };
    assert_int_equal(run(connection, "select ?, ?", values, NULL, 2, &err), QN_ERR_DATA);
    if (strstr(err.message, "parameter 2") == NULL || strstr(err.message, message) == NULL) {
        fail_msg("expected \"%s\", message \"%s\"", message, err.message);
    }
}

static void values__that_arrow_cannot_hold_are_refused(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_value value = text_value("\xff");
    value_refused(connection, value, "not valid UTF-8");
    value = (struct qn_value){ .kind = QN_VALUE_DATE, .as = { .int64 = INT64_C(1) << 31 } };
    value_refused(connection, value, "date is out of range");
    value = (struct qn_value){ .kind = QN_VALUE_TIME, .as = { .int64 = INT64_C(86400000000) } };
    value_refused(connection, value, "not within a day");
    value = (struct qn_value){ .kind = QN_VALUE_DECIMAL, .scale = 39 };
    value_refused(connection, value, "scale of a decimal");
    value = (struct qn_value){ .kind = QN_VALUE_DECIMAL, .as = { .decimal = { .low = 0, .high = INT64_MAX } } };
    value_refused(connection, value, "more than 38 digits");
    value = text_value("0123456789abcde");
    value.kind = QN_VALUE_UUID;
    value_refused(connection, value, "uuid has 16 bytes");
    value = (struct qn_value){ .kind = (enum qn_value_kind)99 };
    value_refused(connection, value, "kind of the value is unknown");
    assert_log("");
    fake_disconnect(connection);
}

/* ---- what the driver sees of each kind ---- */

static struct {
    struct qn_type type;
    int64_t int64;
    uint64_t uint64;
    double float64;
    qn_int128 decimal;
    char text[64];
    char kind[8];
} seen;

static enum qn_status look(void *connection, const struct qn_statement *statement, struct qn_cursor *out,
                           struct qn_error *err)
{
    struct qn_batch_reader reader = { 0 };
    assert_int_equal(qn_batch_reader_init(&reader, statement->params_schema, NULL), QN_OK);
    assert_int_equal(qn_batch_reader_bind(&reader, statement->params, NULL), QN_OK);
    const struct qn_reader *column = &reader.columns[0];
    const char *bytes = NULL;
    size_t size = 0;
    memset(&seen, 0, sizeof seen);
    seen.type = column->type;
    assert_false(qn_reader_is_null(column, 0));
    switch (column->type.id) {
    case QN_TYPE_BOOL:
        seen.int64 = qn_reader_bool(column, 0);
        break;
    case QN_TYPE_UINT64:
        seen.uint64 = qn_reader_uint64(column, 0);
        break;
    case QN_TYPE_FLOAT64:
        seen.float64 = qn_reader_float64(column, 0);
        break;
    case QN_TYPE_DECIMAL128:
        assert_true(qn_reader_decimal(column, 0, &seen.decimal));
        break;
    case QN_TYPE_STRING:
    case QN_TYPE_BINARY:
        assert_true(qn_reader_bytes(column, 0, &bytes, &size));
        assert_true(size < sizeof seen.text);
        memcpy(seen.text, bytes, size);
        break;
    default:
        seen.int64 = qn_reader_int64(column, 0);
    }
    if (qn_schema_metadata_get(statement->params_schema->children[0], QN_KEY_KIND, &bytes, &size)) {
        memcpy(seen.kind, bytes, size);
    }
    qn_batch_reader_dispose(&reader);
    struct qn_statement plain = *statement;
    plain.params_schema = NULL;
    plain.params = NULL;
    return fake_query(connection, &plain, out, err);
}

static struct qn_driver looking_driver;

static void see(struct qn_connection *connection, struct qn_value value)
{
    assert_int_equal(run(connection, "select ?", &value, NULL, 1, NULL), QN_OK);
}

static void values__of_every_kind_reach_the_driver(void **state)
{
    (void)state;
    struct qn_connection *connection = NULL;
    fake_reset();
    assert_int_equal(qn_connection_open("looking://h", &connection, NULL), QN_OK);
    see(connection, (struct qn_value){ .kind = QN_VALUE_BOOL, .as = { .boolean = true } });
    assert_int_equal(seen.type.id, QN_TYPE_BOOL);
    assert_int_equal(seen.int64, 1);
    see(connection, int_value(INT64_MIN));
    assert_true(seen.type.id == QN_TYPE_INT64 && seen.int64 == INT64_MIN);
    see(connection, (struct qn_value){ .kind = QN_VALUE_UINT64, .as = { .uint64 = UINT64_MAX } });
    assert_true(seen.type.id == QN_TYPE_UINT64 && seen.uint64 == UINT64_MAX);
    see(connection, (struct qn_value){ .kind = QN_VALUE_FLOAT64, .as = { .float64 = 0.1 } });
    assert_true(seen.type.id == QN_TYPE_FLOAT64 && seen.float64 == 0.1);
    see(connection, (struct qn_value){ .kind = QN_VALUE_DECIMAL,
                                       .scale = 2,
                                       .as = { .decimal = { .low = (uint64_t)-12345, .high = -1 } } });
    assert_true(seen.type.id == QN_TYPE_DECIMAL128 && seen.type.scale == 2 && seen.decimal == -12345);
    see(connection, (struct qn_value){ .kind = QN_VALUE_DATE, .as = { .int64 = -1 } });
    assert_true(seen.type.id == QN_TYPE_DATE32 && seen.int64 == -1);
    see(connection, (struct qn_value){ .kind = QN_VALUE_TIME, .as = { .int64 = 86399999999 } });
    assert_true(seen.type.id == QN_TYPE_TIME64 && seen.type.unit == QN_UNIT_MICRO && seen.int64 == 86399999999);
    see(connection, (struct qn_value){ .kind = QN_VALUE_TIMESTAMP, .as = { .int64 = 5 } });
    assert_true(seen.type.id == QN_TYPE_TIMESTAMP && seen.int64 == 5);
    assert_string_equal(seen.type.timezone, "");
    see(connection, (struct qn_value){ .kind = QN_VALUE_INSTANT, .as = { .int64 = 6 } });
    assert_true(seen.type.id == QN_TYPE_TIMESTAMP && seen.int64 == 6);
    assert_string_equal(seen.type.timezone, "UTC");
    see(connection, (struct qn_value){ .kind = QN_VALUE_DURATION, .as = { .int64 = -7 } });
    assert_true(seen.type.id == QN_TYPE_DURATION && seen.int64 == -7);
    fake_disconnect(connection);
}

static void values__of_bytes_reach_the_driver(void **state)
{
    (void)state;
    struct qn_connection *connection = NULL;
    fake_reset();
    assert_int_equal(qn_connection_open("looking://h", &connection, NULL), QN_OK);
    see(connection, text_value(""));
    assert_true(seen.type.id == QN_TYPE_STRING);
    assert_string_equal(seen.text, "");
    struct qn_value value = text_value("\xff\x01");
    value.kind = QN_VALUE_BYTES;
    see(connection, value);
    assert_true(seen.type.id == QN_TYPE_BINARY);
    assert_string_equal(seen.text, "\xff\x01");
    assert_string_equal(seen.kind, "");
    value = text_value("{\"a\":1}");
    value.kind = QN_VALUE_JSON;
    see(connection, value);
    assert_string_equal(seen.text, "{\"a\":1}");
    assert_string_equal(seen.kind, "json");
    value.kind = QN_VALUE_UUID;
    value.as.bytes.data = "\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00";
    value.as.bytes.size = 16;
    see(connection, value);
    assert_string_equal(seen.text, "123e4567-e89b-12d3-a456-426614174000"); /* the example of RFC 4122's URN */
    assert_string_equal(seen.kind, "uuid");
    fake_disconnect(connection);
}

/* ---- the catalogue ---- */

static void columns__of_a_missing_table_are_an_error(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    struct qn_error err = QN_ERROR_INIT;
    int64_t rows;
    assert_int_equal(qn_connection_columns(connection, NULL, "s.\"t.x\"", &stream, &err), QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42P01");
    assert_log("fake columns $1 $2 [u s, u t.x]\n");
    static const char *const columns[] = { "a", "b", NULL };
    fake.columns = columns;
    assert_int_equal(qn_connection_columns(connection, NULL, "t", &stream, NULL), QN_OK);
    assert_int_equal(fake_execute(connection, "insert", NULL), QN_OK); /* not busy */
    assert_int_equal(fake_read(&stream, &rows, NULL), QN_OK);
    assert_int_equal(rows, 2);
    stream.release(&stream);
    assert_log("fake columns $1 $2 [n null, u t]\ninsert\n");
    assert_int_equal(qn_connection_columns(connection, "s.1", "t.2", &stream, NULL), QN_OK);
    stream.release(&stream);
    assert_log("fake columns $1 $2 [u s.1, u t.2]\n");
    assert_int_equal(qn_connection_columns(connection, NULL, "", &stream, &err), QN_ERR_ARGUMENT);
    fake_disconnect(connection);
}

static void tables__are_those_of_a_schema_or_all(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    assert_int_equal(qn_connection_tables(connection, NULL, &stream, NULL), QN_OK);
    stream.release(&stream);
    assert_int_equal(qn_connection_tables(connection, "s", &stream, NULL), QN_OK);
    stream.release(&stream);
    assert_log("fake tables\nfake tables $1 [u s]\n");
    fake_disconnect(connection);
}

static void quote__is_the_dialects(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    char *text = NULL;
    assert_int_equal(qn_connection_quote(connection, "a\"b", &text, NULL), QN_OK);
    assert_string_equal(text, "\"a\"\"b\"");
    qn_free_text(text);
    assert_int_equal(qn_connection_quote_table(connection, NULL, "a.b", &text, NULL), QN_OK);
    assert_string_equal(text, "\"a\".\"b\"");
    qn_free_text(text);
    assert_int_equal(qn_connection_quote(connection, "", &text, NULL), QN_ERR_ARGUMENT);
    fake_disconnect(connection);
}

static void register__refuses_what_is_not_whole(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_driver driver = fake_driver;
    assert_int_equal(qn_driver_register(&driver, &err), QN_ERR_ARGUMENT); /* the name is taken */
    assert_non_null(strstr(err.message, "registered already"));
    driver.aliases = NULL;
    driver.name = "no scheme";
    assert_int_equal(qn_driver_register(&driver, &err), QN_ERR_ARGUMENT);
    driver.name = "other";
    driver.version = 2;
    assert_int_equal(qn_driver_register(&driver, &err), QN_ERR_ARGUMENT);
    driver.version = QN_DRIVER_VERSION;
    driver.ingest = NULL;
    assert_int_equal(qn_driver_register(&driver, &err), QN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "required function ingest"));
    assert_null(qn_driver_find("other"));
    assert_ptr_equal(qn_driver_find("FAKEQL"), &fake_driver);
    assert_ptr_equal(qn_driver_at(0), &qn__driver_postgres);
}

static int register_both(void **state)
{
    looking_driver = fake_driver;
    looking_driver.name = "looking";
    looking_driver.aliases = NULL;
    looking_driver.query = look;
    return fake_register(state) == 0 && qn_driver_register(&looking_driver, NULL) == QN_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values__are_bound_in_the_order_of_placeholders),
        cmocka_unit_test(values__that_do_not_match_are_refused),
        cmocka_unit_test(statements__are_not_mixed_up_by_the_cache),
        cmocka_unit_test(position__of_an_error_is_in_the_given_text),
        cmocka_unit_test(query__refuses_options_out_of_range),
        cmocka_unit_test(values__that_arrow_cannot_hold_are_refused),
        cmocka_unit_test(values__of_every_kind_reach_the_driver),
        cmocka_unit_test(values__of_bytes_reach_the_driver),
        cmocka_unit_test(columns__of_a_missing_table_are_an_error),
        cmocka_unit_test(tables__are_those_of_a_schema_or_all),
        cmocka_unit_test(quote__is_the_dialects),
        cmocka_unit_test(register__refuses_what_is_not_whole),
    };
    return cmocka_run_group_tests(tests, register_both, NULL);
}
