/*
 * test_reader_json.c: values as JSON text. Expected texts follow RFC 8259, RFC 4648's own examples and ISO 8601; whatever
 * comes out is also given to jansson, which must accept it.
 */
#include "base/buffer.h"
#include "hand.h"

#include <jansson.h>
#include <math.h>

static void expect_json(const struct qn_reader *reader, int64_t row, const char *expected)
{
    qn_auto_buffer out = QN_BUFFER_INIT;
    ok(qn_reader_to_json(reader, row, &out, &error));
    assert_string_equal(qn_buffer_text(&out), expected);
    json_error_t problem;
    json_t *parsed = json_loads(out.data, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    if (parsed == NULL) {
        fail_msg("jansson on %s: %s", out.data, problem.text);
    }
    json_decref(parsed);
}

static void expect_no_json(const struct qn_reader *reader, int64_t row, enum qn_status status, const char *text)
{
    qn_auto_buffer out = QN_BUFFER_INIT;
    qn_buffer_append_text(&out, "before");
    refused(qn_reader_to_json(reader, row, &out, &error), status, text);
    assert_string_equal(qn_buffer_text(&out), "before"); /* nothing half-written */
}

/* One value over 16 bytes of memory. */
static void one_value(struct qn_reader *reader, struct hand *hand, const char *format, const void *value)
{
    hand_make(hand, 1, 2);
    hand->buffers[1] = value;
    make_reader(reader, format);
    ok(qn_reader_bind(reader, &hand->array, &error));
}

static void json__integers_have_all_digits(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        int64_t value;
        const char *expected;
    } cases[] = {
        { "c", -128, "-128" },
        { "C", 255, "255" },
        { "s", -32768, "-32768" },
        { "S", 65535, "65535" },
        { "i", INT32_MIN, "-2147483648" },
        { "I", UINT32_MAX, "4294967295" },
        { "l", INT64_MIN, "-9223372036854775808" },
        { "b", 1, "true" },
        { "b", 0, "false" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_reader reader;
        struct hand hand;
        one_value(&reader, &hand, cases[i].format, &cases[i].value);
        expect_json(&reader, 0, cases[i].expected);
        qn_reader_dispose(&reader);
    }
    static const uint64_t most = UINT64_MAX;
    struct qn_reader reader;
    struct hand hand;
    qn_auto_buffer out = QN_BUFFER_INIT; /* past what jansson reads as an integer */
    one_value(&reader, &hand, "L", &most);
    ok(qn_reader_to_json(&reader, 0, &out, &error));
    assert_string_equal(qn_buffer_text(&out), "18446744073709551615");
    qn_reader_dispose(&reader);
}

static void json__floats_read_back_the_same(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *expected;
    } cases[] = { { 0.1, "0.1" },
                  { -0.0, "-0" },
                  { 1.0, "1" },
                  { 1e300, "1e+300" },
                  { 1.0 / 3.0, "0.3333333333333333" },
                  { 5e-324, "4.94065645841247e-324" },
                  { 123456789.125, "123456789.125" },
                  { 0.30000000000000004, "0.30000000000000004" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_reader reader;
        struct hand hand;
        one_value(&reader, &hand, "g", &cases[i].value);
        expect_json(&reader, 0, cases[i].expected);
        assert_true(strtod(cases[i].expected, NULL) == cases[i].value);
        qn_reader_dispose(&reader);
    }
    uint64_t seed = 7;
    for (int i = 0; i < 2000; i++) {
        double number;
        do {
            uint64_t word = next_random(&seed);
            memcpy(&number, &word, sizeof number);
        } while (!isfinite(number));
        struct qn_reader reader;
        struct hand hand;
        qn_auto_buffer out = QN_BUFFER_INIT;
        one_value(&reader, &hand, "g", &number);
        ok(qn_reader_to_json(&reader, 0, &out, &error));
        assert_true(strtod(out.data, NULL) == number);
        qn_reader_dispose(&reader);
    }
    static const float single = 0.1F;
    struct qn_reader reader;
    struct hand hand;
    one_value(&reader, &hand, "f", &single);
    expect_json(&reader, 0, "0.1");
    qn_reader_dispose(&reader);
}

static void json__nan_and_infinity_are_errors(void **state)
{
    (void)state;
    static const double numbers[] = { NAN, INFINITY, -INFINITY };
    for (int i = 0; i < 3; i++) {
        struct qn_reader reader;
        struct hand hand;
        one_value(&reader, &hand, "g", &numbers[i]);
        expect_no_json(&reader, 0, QN_ERR_DATA, "NaN and infinity");
        assert_int_equal(error.row, 0);
        assert_string_equal(error.column_name, "c");
        qn_reader_dispose(&reader);
    }
}

static void json__decimals_have_all_digits(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        int64_t value;
        const char *expected;
    } cases[] = {
        { "d:10,2", 12345, "123.45" }, { "d:10,2", -5, "-0.05" }, { "d:18,0,64", 17, "17" },
        { "d:9,4,32", 1, "0.0001" },   { "d:5,-3", 42, "42e3" },  { "d:38,40", 7, "7e-40" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_reader reader;
        struct hand hand;
        qn_int128 value = cases[i].value;
        one_value(&reader, &hand, cases[i].format, &value);
        expect_json(&reader, 0, cases[i].expected);
        qn_reader_dispose(&reader);
    }
    qn_int128 wide[2] = { 0, 1 };
    struct qn_reader reader;
    struct hand hand;
    one_value(&reader, &hand, "d:76,2,256", wide);
    expect_no_json(&reader, 0, QN_ERR_DATA, "38 digits");
    qn_reader_dispose(&reader);
}

static void json__dates_and_times_in_iso(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        int64_t value;
        const char *expected;
    } cases[] = {
        { "tdD", 0, "\"1970-01-01\"" },
        { "tdD", 11016, "\"2000-02-29\"" },
        { "tdm", -86400000, "\"1969-12-31\"" },
        { "tts", 86399, "\"23:59:59\"" },
        { "ttm", 1, "\"00:00:00.001000\"" },
        { "ttu", 3661000001, "\"01:01:01.000001\"" },
        { "ttn", 1, "\"00:00:00.000000001\"" },
        { "tss:", 0, "\"1970-01-01T00:00:00\"" },
        { "tsm:", -1, "\"1969-12-31T23:59:59.999000\"" },
        { "tsu:UTC", 951782400000001, "\"2000-02-29T00:00:00.000001Z\"" },
        { "tsn:Europe/Berlin", 1, "\"1970-01-01T00:00:00.000000001Z\"" },
        { "tsn:", INT64_MIN, "\"1677-09-21T00:12:43.145224192\"" }, /* the least that nanoseconds reach */
        { "tDs", 90, "\"PT90S\"" },
        { "tDm", -500, "\"PT-0.500000S\"" },
        { "tDu", -1500000, "\"PT-1.500000S\"" },
        { "tDn", 1000000001, "\"PT1.000000001S\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_reader reader;
        struct hand hand;
        one_value(&reader, &hand, cases[i].format, &cases[i].value);
        expect_json(&reader, 0, cases[i].expected);
        qn_reader_dispose(&reader);
    }
    static const struct {
        const char *format;
        int64_t value;
        const char *text;
    } bad[] = {
        { "tdm", 1, "not a whole day" },        { "tdm", INT64_MAX / 86400000 * 86400000, "not a whole day" },
        { "tts", 86400, "outside of the day" }, { "ttu", -1, "outside of the day" },
        { "tss:", INT64_MAX, "calendar" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct qn_reader reader;
        struct hand hand;
        one_value(&reader, &hand, bad[i].format, &bad[i].value);
        expect_no_json(&reader, 0, QN_ERR_DATA, bad[i].text);
        qn_reader_dispose(&reader);
    }
}

static void json__intervals_in_iso(void **state)
{
    (void)state;
    static const struct {
        int32_t months, days;
        int64_t nanos;
    } mixed = { 14, -3, -1500000000 };
    static const int32_t months = 5, day_time[] = { 2, 250 };
    const void *values[] = { &mixed, &months, day_time };
    static const char *const formats[] = { "tin", "tiM", "tiD" };
    static const char *const expected[] = { "\"P14M-3DT-1.500000S\"", "\"P5M0DT0S\"", "\"P0M2DT0.250000S\"" };
    for (int i = 0; i < 3; i++) {
        struct qn_reader reader;
        struct hand hand;
        one_value(&reader, &hand, formats[i], values[i]);
        expect_json(&reader, 0, expected[i]);
        qn_reader_dispose(&reader);
    }
}

/* A bound reader over built texts; the array is the caller's to release. */
static void text_reader(struct qn_reader *reader, struct ArrowArray *array, const char *format, int n,
                        const char *const *texts, const size_t *sizes)
{
    struct qn_column column;
    make_column(&column, format);
    ok(qn_column_reserve(&column, n, &error));
    for (int i = 0; i < n; i++) {
        qn_column_put_bytes(&column, texts[i], sizes != NULL ? sizes[i] : strlen(texts[i]));
    }
    ok(qn_column_finish(&column, array, &error));
    qn_column_dispose(&column);
    make_reader(reader, format);
    ok(qn_reader_bind(reader, array, &error));
}

static void json__text_is_escaped(void **state)
{
    (void)state;
    static const char *const texts[] = { "",         "plain",     "say \"hi\" \\ now",           "a\nb\tc\rd\be\f",
                                         "\x01\x1f", "nul\0here", "caf\xc3\xa9 \xf0\x9f\x92\xa7" };
    static const size_t sizes[] = { 0, 5, 14, 10, 2, 8, 10 };
    static const char *const expected[] = { "\"\"",
                                            "\"plain\"",
                                            "\"say \\\"hi\\\" \\\\ now\"",
                                            "\"a\\nb\\tc\\rd\\be\\f\"",
                                            "\"\\u0001\\u001f\"",
                                            "\"nul\\u0000here\"",
                                            "\"caf\xc3\xa9 \xf0\x9f\x92\xa7\"" };
    static const char *const formats[] = { "vu", "u", "U" };
    for (int f = 0; f < 3; f++) {
        qn_auto_array array = { 0 };
        struct qn_reader reader;
        text_reader(&reader, &array, formats[f], 7, texts, sizes);
        for (int i = 0; i < 7; i++) {
            expect_json(&reader, i, expected[i]);
        }
        qn_reader_dispose(&reader);
    }
}

static void json__invalid_utf8_is_an_error(void **state)
{
    (void)state;
    static const char *const texts[] = { "fine", "bad \xff byte", "cut \xc3" };
    qn_auto_array array = { 0 };
    struct qn_reader reader;
    text_reader(&reader, &array, "vu", 3, texts, NULL);
    expect_no_json(&reader, 1, QN_ERR_DATA, "UTF-8");
    assert_int_equal(error.row, 1);
    expect_no_json(&reader, 2, QN_ERR_DATA, "UTF-8");
    qn_reader_dispose(&reader);
}

/* RFC 4648, section 10. */
static void json__binary_is_base64(void **state)
{
    (void)state;
    static const char *const bytes[] = { "", "f", "fo", "foo", "foob", "fooba", "foobar", "\xfb\xff\xfe" };
    static const char *const expected[] = { "\"\"",         "\"Zg==\"",     "\"Zm8=\"",     "\"Zm9v\"",
                                            "\"Zm9vYg==\"", "\"Zm9vYmE=\"", "\"Zm9vYmFy\"", "\"+//+\"" };
    qn_auto_array array = { 0 };
    struct qn_reader reader;
    text_reader(&reader, &array, "vz", 8, bytes, NULL);
    for (int i = 0; i < 8; i++) {
        expect_json(&reader, i, expected[i]);
    }
    qn_reader_dispose(&reader);
    struct hand hand;
    one_value(&reader, &hand, "w:3", "foo");
    expect_json(&reader, 0, "\"Zm9v\"");
    qn_reader_dispose(&reader);
}

static void add_child(struct ArrowSchema *field, int64_t i, const char *name, const char *format)
{
    struct qn_type type;
    ok(qn_type_from_format(format, &type, &error));
    ok(qn_schema_set(field, i, name, &type, &error));
}

static void json__lists_and_structs_nest(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    qn_auto_array array = { 0 };
    struct qn_column column;
    make_schema(&schema, 1, "c", "+l");
    ok(qn_schema_children(schema.children[0], 1, &error));
    add_child(schema.children[0], 0, "item", "+s");
    struct ArrowSchema *item = schema.children[0]->children[0];
    ok(qn_schema_children(item, 2, &error));
    add_child(item, 0, "n\"", "l");
    add_child(item, 1, "t", "vu");
    ok(qn_column_init(&column, schema.children[0], &error));
    struct qn_column *record = &column.children[0];
    ok(qn_column_reserve(&column, 3, &error));
    ok(qn_column_reserve(record, 3, &error));
    ok(qn_column_reserve(&record->children[0], 3, &error));
    ok(qn_column_reserve(&record->children[1], 3, &error));
    ok(qn_column_end_list(&column, &error));
    qn_column_put_null(&column);
    qn_column_put_int64(&record->children[0], 1);
    qn_column_put_bytes(&record->children[1], "x", 1);
    qn_column_end_struct(record);
    qn_column_put_null(record);
    qn_column_put_int64(&record->children[0], 2);
    qn_column_put_null(&record->children[1]);
    qn_column_end_struct(record);
    ok(qn_column_end_list(&column, &error));
    ok(qn_column_finish(&column, &array, &error));
    qn_column_dispose(&column);
    struct qn_reader reader;
    ok(qn_reader_init(&reader, schema.children[0], &error));
    ok(qn_reader_bind(&reader, &array, &error));
    expect_json(&reader, 0, "[]");
    expect_json(&reader, 1, "null");
    expect_json(&reader, 2, "[{\"n\\\"\": 1, \"t\": \"x\"}, null, {\"n\\\"\": 2, \"t\": null}]");
    qn_reader_dispose(&reader);
}

static void check_map(const char *key_format, bool null_key, const char *expected)
{
    qn_auto_schema schema = { 0 };
    qn_auto_array array = { 0 };
    struct qn_column column;
    make_schema(&schema, 1, "m", "+m");
    ok(qn_schema_children(schema.children[0], 1, &error));
    add_child(schema.children[0], 0, "entries", "+s");
    ok(qn_schema_children(schema.children[0]->children[0], 2, &error));
    add_child(schema.children[0]->children[0], 0, "key", key_format);
    add_child(schema.children[0]->children[0], 1, "value", "b");
    ok(qn_column_init(&column, schema.children[0], &error));
    struct qn_column *entry = &column.children[0];
    ok(qn_column_reserve(&column, 1, &error));
    ok(qn_column_reserve(entry, 2, &error));
    ok(qn_column_reserve(&entry->children[0], 2, &error));
    ok(qn_column_reserve(&entry->children[1], 2, &error));
    for (int i = 0; i < 2; i++) {
        if (null_key && i == 1) {
            qn_column_put_null(&entry->children[0]);
        } else if (key_format[0] == 'l') {
            qn_column_put_int64(&entry->children[0], i);
        } else {
            qn_column_put_bytes(&entry->children[0], i == 0 ? "a" : "b", 1);
        }
        qn_column_put_bool(&entry->children[1], i == 0);
        qn_column_end_struct(entry);
    }
    ok(qn_column_end_list(&column, &error));
    ok(qn_column_finish(&column, &array, &error));
    qn_column_dispose(&column);
    struct qn_reader reader;
    ok(qn_reader_init(&reader, schema.children[0], &error));
    ok(qn_reader_bind(&reader, &array, &error));
    if (null_key) {
        expect_no_json(&reader, 0, QN_ERR_DATA, expected);
    } else {
        expect_json(&reader, 0, expected);
    }
    qn_reader_dispose(&reader);
}

static void json__maps_are_objects_where_keys_are_text(void **state)
{
    (void)state;
    check_map("vu", false, "{\"a\": true, \"b\": false}");
    check_map("l", false, "[{\"key\": 0, \"value\": true}, {\"key\": 1, \"value\": false}]");
    check_map("vu", true, "key of a map is null");
}

static void json__dictionaries_read_as_their_values(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 1, "code", "c");
    assert_int_equal(ArrowSchemaAllocateDictionary(schema.children[0]), NANOARROW_OK);
    assert_int_equal(ArrowSchemaInitFromType(schema.children[0]->dictionary, NANOARROW_TYPE_DOUBLE), NANOARROW_OK);
    static const double numbers[] = { 1.5, 2.5 };
    static const int8_t indices[] = { 1, 0 };
    struct hand rows, values;
    hand_make(&values, 2, 2);
    values.buffers[1] = numbers;
    hand_make(&rows, 2, 2);
    rows.buffers[1] = indices;
    rows.array.dictionary = &values.array;
    struct qn_reader reader;
    ok(qn_reader_init(&reader, schema.children[0], &error));
    ok(qn_reader_bind(&reader, &rows.array, &error));
    expect_json(&reader, 0, "2.5");
    expect_json(&reader, 1, "1.5");
    qn_reader_dispose(&reader);
}

static void json__malformed_values_are_errors(void **state)
{
    (void)state;
    static const union qn_view view = { .reference = { 99, "xxxx", 0, 0 } };
    static const int64_t block_sizes[] = { 20 };
    struct hand hand;
    struct qn_reader reader;
    hand_make(&hand, 1, 4);
    hand.buffers[1] = &view;
    hand.buffers[2] = "a block of 20 bytes.";
    hand.buffers[3] = block_sizes;
    make_reader(&reader, "vu");
    ok(qn_reader_bind(&reader, &hand.array, &error));
    expect_no_json(&reader, 0, QN_ERR_DATA, "outside of its buffers");
    qn_reader_dispose(&reader);
    hand_make(&hand, 1, 0);
    make_reader(&reader, "+r");
    ok(qn_reader_bind(&reader, &hand.array, &error));
    expect_no_json(&reader, 0, QN_ERR_UNSUPPORTED, "cannot be written as JSON");
    qn_reader_dispose(&reader);
}

static void json__limit_of_the_buffer_is_told(void **state)
{
    (void)state;
    static const char *const texts[] = { "a text that does not fit" };
    qn_auto_array array = { 0 };
    struct qn_reader reader;
    text_reader(&reader, &array, "vu", 1, texts, NULL);
    qn_auto_buffer out = { .limit = 10 };
    refused(qn_reader_to_json(&reader, 0, &out, &error), QN_ERR_NO_MEMORY, "JSON text");
    qn_reader_dispose(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json__integers_have_all_digits),
        cmocka_unit_test(json__floats_read_back_the_same),
        cmocka_unit_test(json__nan_and_infinity_are_errors),
        cmocka_unit_test(json__decimals_have_all_digits),
        cmocka_unit_test(json__dates_and_times_in_iso),
        cmocka_unit_test(json__intervals_in_iso),
        cmocka_unit_test(json__text_is_escaped),
        cmocka_unit_test(json__invalid_utf8_is_an_error),
        cmocka_unit_test(json__binary_is_base64),
        cmocka_unit_test(json__lists_and_structs_nest),
        cmocka_unit_test(json__maps_are_objects_where_keys_are_text),
        cmocka_unit_test(json__dictionaries_read_as_their_values),
        cmocka_unit_test(json__malformed_values_are_errors),
        cmocka_unit_test(json__limit_of_the_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
