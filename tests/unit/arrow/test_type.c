/*
 * test_type.c: format strings (those of the Arrow specification's table) and type strings, both ways.
 */
#include "base/buffer.h"
#include "fixture.h"

struct pair {
    const char *format;
    enum qn_type_id id;
    const char *text;
};

static const struct pair pairs[] = {
    { "n", QN_TYPE_NULL, "Null" },
    { "b", QN_TYPE_BOOL, "Boolean" },
    { "c", QN_TYPE_INT8, "Int8" },
    { "C", QN_TYPE_UINT8, "UInt8" },
    { "s", QN_TYPE_INT16, "Int16" },
    { "S", QN_TYPE_UINT16, "UInt16" },
    { "i", QN_TYPE_INT32, "Int32" },
    { "I", QN_TYPE_UINT32, "UInt32" },
    { "l", QN_TYPE_INT64, "Int64" },
    { "L", QN_TYPE_UINT64, "UInt64" },
    { "e", QN_TYPE_FLOAT16, "Float16" },
    { "f", QN_TYPE_FLOAT32, "Float32" },
    { "g", QN_TYPE_FLOAT64, "Float64" },
    { "d:9,2,32", QN_TYPE_DECIMAL32, "Decimal(9,2)" },
    { "d:18,4,64", QN_TYPE_DECIMAL64, "Decimal(18,4)" },
    { "d:38,10", QN_TYPE_DECIMAL128, "Decimal(38,10)" },
    { "d:5,-3", QN_TYPE_DECIMAL128, "Decimal(5,-3)" },
    { "d:76,76,256", QN_TYPE_DECIMAL256, "Decimal(76,76)" },
    { "u", QN_TYPE_STRING, "Utf8" },
    { "U", QN_TYPE_LARGE_STRING, "Utf8" },
    { "vu", QN_TYPE_STRING_VIEW, "Utf8" },
    { "z", QN_TYPE_BINARY, "Binary" },
    { "Z", QN_TYPE_LARGE_BINARY, "Binary" },
    { "vz", QN_TYPE_BINARY_VIEW, "Binary" },
    { "w:16", QN_TYPE_FIXED_BINARY, "FixedBinary(16)" },
    { "tdD", QN_TYPE_DATE32, "Date32" },
    { "tdm", QN_TYPE_DATE64, "Date64" },
    { "tts", QN_TYPE_TIME32, "Time[s]" },
    { "ttm", QN_TYPE_TIME32, "Time[ms]" },
    { "ttu", QN_TYPE_TIME64, "Time[us]" },
    { "ttn", QN_TYPE_TIME64, "Time[ns]" },
    { "tss:", QN_TYPE_TIMESTAMP, "Timestamp[s]" },
    { "tsm:", QN_TYPE_TIMESTAMP, "Timestamp[ms]" },
    { "tsu:UTC", QN_TYPE_TIMESTAMP, "Timestamp[us, UTC]" },
    { "tsn:Europe/Berlin", QN_TYPE_TIMESTAMP, "Timestamp[ns, Europe/Berlin]" },
    { "tsu:+05:30", QN_TYPE_TIMESTAMP, "Timestamp[us, +05:30]" },
    { "tDs", QN_TYPE_DURATION, "Duration[s]" },
    { "tDm", QN_TYPE_DURATION, "Duration[ms]" },
    { "tDu", QN_TYPE_DURATION, "Duration[us]" },
    { "tDn", QN_TYPE_DURATION, "Duration[ns]" },
    { "tiM", QN_TYPE_INTERVAL_MONTHS, "Interval[months]" },
    { "tiD", QN_TYPE_INTERVAL_DAY_TIME, "Interval[days, ms]" },
    { "tin", QN_TYPE_INTERVAL_MONTH_DAY_NANO, "Interval[months, days, ns]" },
    { "+l", QN_TYPE_LIST, "List" },
    { "+L", QN_TYPE_LARGE_LIST, "List" },
    { "+w:3", QN_TYPE_FIXED_LIST, "List" },
    { "+s", QN_TYPE_STRUCT, "Struct" },
    { "+m", QN_TYPE_MAP, "Map" },
};

static void type_format__round_trips_and_has_a_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct qn_type type;
        char format[QN_TYPE_MAX_FORMAT], text[QN_TYPE_MAX_FORMAT];
        ok(qn_type_from_format(pairs[i].format, &type, &error));
        assert_int_equal(type.id, pairs[i].id);
        qn_type_to_format(&type, format);
        assert_string_equal(format, pairs[i].format);
        qn_type_to_text(&type, text);
        assert_string_equal(text, pairs[i].text);
    }
}

/* What nanoarrow takes a format for, for all that both know. */
static void type_format__agrees_with_nanoarrow(void **state)
{
    (void)state;
    static const struct {
        enum ArrowType nano;
        enum qn_type_id id;
    } same[] = {
        { NANOARROW_TYPE_NA, QN_TYPE_NULL },
        { NANOARROW_TYPE_BOOL, QN_TYPE_BOOL },
        { NANOARROW_TYPE_UINT8, QN_TYPE_UINT8 },
        { NANOARROW_TYPE_INT8, QN_TYPE_INT8 },
        { NANOARROW_TYPE_UINT16, QN_TYPE_UINT16 },
        { NANOARROW_TYPE_INT16, QN_TYPE_INT16 },
        { NANOARROW_TYPE_UINT32, QN_TYPE_UINT32 },
        { NANOARROW_TYPE_INT32, QN_TYPE_INT32 },
        { NANOARROW_TYPE_UINT64, QN_TYPE_UINT64 },
        { NANOARROW_TYPE_INT64, QN_TYPE_INT64 },
        { NANOARROW_TYPE_HALF_FLOAT, QN_TYPE_FLOAT16 },
        { NANOARROW_TYPE_FLOAT, QN_TYPE_FLOAT32 },
        { NANOARROW_TYPE_DOUBLE, QN_TYPE_FLOAT64 },
        { NANOARROW_TYPE_STRING, QN_TYPE_STRING },
        { NANOARROW_TYPE_BINARY, QN_TYPE_BINARY },
        { NANOARROW_TYPE_DATE32, QN_TYPE_DATE32 },
        { NANOARROW_TYPE_DATE64, QN_TYPE_DATE64 },
        { NANOARROW_TYPE_INTERVAL_MONTHS, QN_TYPE_INTERVAL_MONTHS },
        { NANOARROW_TYPE_INTERVAL_DAY_TIME, QN_TYPE_INTERVAL_DAY_TIME },
        { NANOARROW_TYPE_INTERVAL_MONTH_DAY_NANO, QN_TYPE_INTERVAL_MONTH_DAY_NANO },
        { NANOARROW_TYPE_LARGE_STRING, QN_TYPE_LARGE_STRING },
        { NANOARROW_TYPE_LARGE_BINARY, QN_TYPE_LARGE_BINARY },
        { NANOARROW_TYPE_BINARY_VIEW, QN_TYPE_BINARY_VIEW },
        { NANOARROW_TYPE_STRING_VIEW, QN_TYPE_STRING_VIEW },
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        qn_auto_schema schema = { 0 };
        struct qn_type type;
        assert_int_equal(ArrowSchemaInitFromType(&schema, same[i].nano), NANOARROW_OK);
        ok(qn_type_from_format(schema.format, &type, &error));
        assert_int_equal(type.id, same[i].id);
    }
}

static void type_format__knows_what_is_not_handled(void **state)
{
    (void)state;
    static const char *const formats[] = { "+ud:0,1", "+us:5", "+ud:", "+r", "+vl", "+vL" };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct qn_type type;
        ok(qn_type_from_format(formats[i], &type, &error));
        assert_int_equal(type.id, QN_TYPE_OTHER);
    }
}

static void type_format__refuses_what_is_malformed(void **state)
{
    (void)state;
    static const char *const formats[] = {
        "",
        "x",
        "ll",
        "v",
        "vx",
        "w",
        "w:",
        "w:-1",
        "w:1x",
        "w: 1",
        "d:",
        "d:0,0",
        "d:39,0",
        "d:77,0,256",
        "d:10,2,32",
        "d:19,0,64",
        "d:5,2,100",
        "d:5",
        "d:5,",
        "d:5,2,",
        "d:5,2x",
        "ts",
        "tsu",
        "tsx:",
        "ts:",
        "tdx",
        "tt",
        "tDx",
        "tix",
        "+",
        "+x",
        "+w:",
        "+w:-3",
        "+ud:1,,2",
        "+ud:128",
        "+us:a",
        "w:99999999999",
        "d:5,99999",
        "+ud:1,",
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct qn_type type = qn_type_of(QN_TYPE_MAP);
        refused(qn_type_from_format(formats[i], &type, &error), QN_ERR_DATA, "Arrow format");
        assert_int_equal(type.id, QN_TYPE_MAP); /* untouched */
    }
    struct qn_type type;
    refused(qn_type_from_format(NULL, &type, &error), QN_ERR_DATA, "no format");
}

static void type_format__timezone_has_a_limit(void **state)
{
    (void)state;
    char format[4 + QN_TIMEZONE_SIZE + 1] = "tsu:";
    struct qn_type type;
    memset(format + 4, 'Z', QN_TIMEZONE_SIZE - 1);
    ok(qn_type_from_format(format, &type, &error));
    assert_int_equal(strlen(type.timezone), QN_TIMEZONE_SIZE - 1);
    char back[QN_TYPE_MAX_FORMAT];
    qn_type_to_format(&type, back);
    assert_string_equal(back, format);
    format[4 + QN_TIMEZONE_SIZE - 1] = 'Z';
    refused(qn_type_from_format(format, &type, &error), QN_ERR_DATA, "tsu:ZZZ");
}

static void type_format__error_is_one_printable_line(void **state)
{
    (void)state;
    struct qn_type type;
    refused(qn_type_from_format("q\n\x01\xff", &type, &error), QN_ERR_DATA, "\"q???\"");
}

static void type_text__takes_the_names_of_the_sdk(void **state)
{
    (void)state;
    static const struct {
        const char *text, *format;
    } cases[] = {
        { "Utf8", "vu" },
        { "string", "vu" },
        { "Int64", "l" },
        { "int", "l" },
        { "Int8", "c" },
        { "Int16", "s" },
        { "Int32", "i" },
        { "UInt8", "C" },
        { "UInt16", "S" },
        { "UInt32", "I" },
        { "UInt64", "L" },
        { "Float64", "g" },
        { "float", "g" },
        { "double", "g" },
        { "Float16", "e" },
        { "Float32", "f" },
        { "Boolean", "b" },
        { "bool", "b" },
        { "Date32", "tdD" },
        { "date", "tdD" },
        { "Date64", "tdm" },
        { "Timestamp", "tsu:" },
        { "Binary", "vz" },
        { "bytes", "vz" },
        { "Null", "n" },
        { "Decimal(10,2)", "d:10,2" },
        { "Decimal(38, 38)", "d:38,38" },
        { "Decimal( 5 , 0 )", "d:5,0" },
        { "Timestamp[ns]", "tsn:" },
        { "Timestamp[us, UTC]", "tsu:UTC" },
        { "Timestamp[s,America/Argentina/Buenos_Aires]", "tss:America/Argentina/Buenos_Aires" },
        { "Time", "ttu" },
        { "Time[us]", "ttu" },
        { "Time[ns]", "ttn" },
        { "Time[ms]", "ttm" },
        { "Time[s]", "tts" },
        { "Duration", "tDu" },
        { "Duration[us]", "tDu" },
        { "Duration[ ms ]", "tDm" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_type type;
        char format[QN_TYPE_MAX_FORMAT];
        ok(qn_type_from_text(cases[i].text, &type, &error));
        qn_type_to_format(&type, format);
        assert_string_equal(format, cases[i].format);
    }
}

static void type_text__unknown_lists_the_known(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "int64",
        "UTF8",
        "Decimal",
        "Decimal()",
        "Decimal(10)",
        "Decimal(0,0)",
        "Decimal(39,0)",
        "Decimal(5,6)",
        "Decimal(5,-1)",
        "Decimal(5,2",
        "Decimal(5,2) ",
        "Timestamp[",
        "Timestamp[]",
        "Timestamp[xs]",
        "Timestamp[us,]",
        "Timestamp[us, ]",
        "Timestamp[us, A B]",
        "Time[us, UTC]",
        "Timestamps",
        "Duration[us",
        "Duration[us, UTC]",
        "Int64 ",
        "Time[sm]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct qn_type type = qn_type_of(QN_TYPE_MAP);
        refused(qn_type_from_text(texts[i], &type, &error), QN_ERR_CONFIG, "known are Utf8 (string)");
        assert_non_null(strstr(error.message, "Timestamp[unit, tz]"));
        assert_non_null(strstr(error.message, "us, ns")); /* the list is whole */
        assert_int_equal(type.id, QN_TYPE_MAP);
    }
}

static void type_text__reads_what_it_writes(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "Decimal(38,38)", "Timestamp[s, +01:00]", "Time[ms]", "Time[ns]", "Duration[ns]", "Utf8", "Binary", "Boolean"
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct qn_type type;
        char text[QN_TYPE_MAX_FORMAT];
        ok(qn_type_from_text(texts[i], &type, &error));
        qn_type_to_text(&type, text);
        assert_string_equal(text, texts[i]);
    }
}

/* ---- types of fields ---- */

/* What a text becomes: the same as a tree of formats, "-" before one that may not be null. */
static void describe(const struct ArrowSchema *field, struct qn_buffer *out)
{
    qn_buffer_printf(out, "%s%s=%s", (field->flags & ARROW_FLAG_NULLABLE) != 0 ? "" : "-", field->name, field->format);
    for (int64_t i = 0; i < field->n_children; i++) {
        qn_buffer_append_text(out, i == 0 ? "(" : " ");
        describe(field->children[i], out);
    }
    qn_buffer_append_text(out, field->n_children > 0 ? ")" : "");
}

static void field_text__reads_children_and_nullability(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tree, *back; /* back NULL: as text */
    } cases[] = {
        { "Int64", "f=l", NULL },
        { "Utf8?", "f=vu", "Utf8" },
        { "int!", "-f=l", "Int64!" },
        { " string ", "f=vu", "Utf8" },
        { "Decimal(10,2)!", "-f=d:10,2", NULL },
        { "Timestamp[us, UTC]", "f=tsu:UTC", NULL },
        { "Timestamp[us, Europe/Berlin] !", "-f=tsu:Europe/Berlin", "Timestamp[us, Europe/Berlin]!" },
        { "List<Int64>", "f=+l(item=l)", NULL },
        { "List < Decimal( 10 , 2 )! > !", "-f=+l(-item=d:10,2)", "List<Decimal(10,2)!>!" },
        { "List<List<bytes>>", "f=+l(item=+l(item=vz))", "List<List<Binary>>" },
        { "Struct<>", "f=+s", NULL },
        { "Struct<a: Int64, b: Utf8!>", "f=+s(a=l -b=vu)", NULL },
        { "Struct<a:Timestamp[us, UTC],b:Decimal(5,1)?>!", "-f=+s(a=tsu:UTC b=d:5,1)",
          "Struct<a: Timestamp[us, UTC], b: Decimal(5,1)>!" },
        { "List<Struct<a: Int64, b: List<Utf8>>>", "f=+l(item=+s(a=l b=+l(item=vu)))", NULL },
        { "Struct<a b: bool, \"x,\"\":<>\": Null, \xC3\xBC: date>", "f=+s(a b=b x,\":<>=n \xC3\xBC=tdD)",
          "Struct<a b: Boolean, \"x,\"\":<>\": Null, \xC3\xBC: Date32>" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_auto_schema schema = { 0 };
        qn_auto_buffer tree = QN_BUFFER_INIT, back = QN_BUFFER_INIT;
        ok(qn_schema_struct(&schema, 1, &error));
        ok(qn_schema_set_from_text(&schema, 0, "f", cases[i].text, &error));
        describe(schema.children[0], &tree);
        assert_string_equal(tree.data, cases[i].tree);
        qn_schema_field_to_text(schema.children[0], &back);
        assert_string_equal(back.data, cases[i].back != NULL ? cases[i].back : cases[i].text);
    }
}

static void field_text__refuses_with_what_is_known_or_expected(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "", "known are Utf8 (string)" },
        { "Int65", "type \"Int65\" is not known" },
        { "int64", "type \"int64\" is not known" },
        { "List", "type \"List\" is not known" },
        { "List<Txt>", "type \"Txt\" is not known" },
        { "List<Int64", "the \">\" of a list is expected at the end" },
        { "List<>", "type \"\" is not known" },
        { "List<Int64>>", "the end of the type is expected before \">\"" },
        { "Int64!!", "the end of the type is expected before \"!\"" },
        { "Int64?!", "the end of the type is expected before \"!\"" },
        { "Struct<Int64>", "a colon after the name of a field is expected before \">\"" },
        { "Struct<a: Int64,>", "the name of a field is expected before \">\"" },
        { "Struct<: Int64>", "the name of a field is expected before \": Int64>\"" },
        { "Struct<a: Int64 b: Utf8>", "type \"Int64 b\" is not known" },
        { "Struct<a: Int64, a: Utf8>", "two fields of the name \"a\"" },
        { "Struct<\"a: Int64>", "the quote that ends a name" },
        { "Struct<a: Int64", "the \">\" of a struct is expected at the end" },
        { "Decimal(10,2", "is not known" },
        { "Timestamp[us, UTC]]", "is not known" },
        { "Null!", "no value" },
        { "\xFF", "UTF-8" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_auto_schema schema = { 0 };
        ok(qn_schema_struct(&schema, 1, &error));
        refused(qn_schema_set_from_text(&schema, 0, "f", cases[i].text, &error), QN_ERR_CONFIG, cases[i].message);
        assert_string_equal(schema.children[0]->format, "n"); /* untouched */
        assert_string_equal(schema.children[0]->name, "");
    }
}

static void field_text__depth_and_length_have_limits(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    qn_auto_buffer text = QN_BUFFER_INIT;
    ok(qn_schema_struct(&schema, 1, &error));
    for (int depth = 1; depth <= 17; depth++) {
        qn_buffer_reset(&text);
        for (int i = 1; i < depth; i++) {
            qn_buffer_append_text(&text, "List<");
        }
        qn_buffer_append_text(&text, "Int64");
        for (int i = 1; i < depth; i++) {
            qn_buffer_append_byte(&text, '>');
        }
        if (depth <= 16) {
            ok(qn_schema_set_from_text(&schema, 0, "f", text.data, &error));
        } else {
            refused(qn_schema_set_from_text(&schema, 0, "f", text.data, &error), QN_ERR_CONFIG, "deeper than 16");
        }
    }
    qn_buffer_reset(&text);
    for (int i = 0; i <= QN_TYPE_TEXT_MAX; i++) {
        qn_buffer_append_byte(&text, ' ');
    }
    refused(qn_schema_set_from_text(&schema, 0, "f", text.data, &error), QN_ERR_CONFIG, "at most 4096 bytes");
    refused(qn_schema_set_from_text(&schema, 1, "f", "Int64", &error), QN_ERR_ARGUMENT, "no field 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(type_format__round_trips_and_has_a_text),
        cmocka_unit_test(type_format__agrees_with_nanoarrow),
        cmocka_unit_test(type_format__knows_what_is_not_handled),
        cmocka_unit_test(type_format__refuses_what_is_malformed),
        cmocka_unit_test(type_format__timezone_has_a_limit),
        cmocka_unit_test(type_format__error_is_one_printable_line),
        cmocka_unit_test(type_text__takes_the_names_of_the_sdk),
        cmocka_unit_test(type_text__unknown_lists_the_known),
        cmocka_unit_test(type_text__reads_what_it_writes),
        cmocka_unit_test(field_text__reads_children_and_nullability),
        cmocka_unit_test(field_text__refuses_with_what_is_known_or_expected),
        cmocka_unit_test(field_text__depth_and_length_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
