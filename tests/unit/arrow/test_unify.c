/*
 * test_unify.c: which type holds others exactly, schemas united by name, and the values after conversion; nanoarrow reads
 * the results.
 */
#include "arrow/unify.h"

#include "hand.h"

#include "base/fault.h"
#include "base/text.h"

#include <limits.h>

/* ---- types ------------------------------------------------------------------------------------------------------ */

#define MAX_SET 4

/* Formats of some types, and of the narrowest that holds them; NULL: there is none. In any order. */
static const struct {
    const char *of[MAX_SET];
    const char *is;
} unions[] = {
    { { "l" }, "l" },
    { { "n", "l" }, "l" },
    { { "n" }, "n" },
    { { "c", "s", "i" }, "i" },
    { { "C", "S" }, "S" },
    { { "c", "C" }, "s" },
    { { "i", "C" }, "i" },
    { { "i", "I" }, "l" },
    { { "l", "I" }, "l" },
    { { "L", "C" }, "L" },
    { { "L", "c" }, "d:20,0" },
    { { "L", "l" }, "d:20,0" },
    { { "s", "f" }, "f" },
    { { "S", "f" }, "f" },
    { { "i", "f" }, "g" },
    { { "i", "g" }, "g" },
    { { "I", "g" }, "g" },
    { { "I", "i", "g" }, "g" }, /* though I and i are l, which g does not hold */
    { { "l", "g" }, NULL },
    { { "L", "f" }, NULL },
    { { "e", "f" }, "f" },
    { { "e", "g" }, "g" },
    { { "e", "c" }, "f" },
    { { "f", "g" }, "g" },
    { { "d:10,2", "d:12,2" }, "d:12,2" },
    { { "d:10,2", "d:8,4" }, "d:12,4" },
    { { "d:10,2", "i" }, "d:12,2" },
    { { "d:3,0", "c" }, "d:3,0" },
    { { "d:10,2", "l" }, "d:21,2" },
    { { "d:38,30", "l" }, "d:49,30,256" },
    { { "d:76,70,256", "L" }, NULL },
    { { "d:9,2,32", "d:9,4,32" }, "d:11,4,64" },
    { { "d:9,2,32", "s" }, "d:9,2,32" },
    { { "d:18,2,64", "l" }, "d:21,2" },
    { { "d:5,-2", "d:3,0" }, "d:7,0" },
    { { "d:10,2", "g" }, NULL },
    { { "u", "U" }, "U" },
    { { "u", "vu" }, "vu" },
    { { "z", "Z", "vz" }, "vz" },
    { { "u", "z" }, NULL },
    { { "w:4", "w:4" }, "w:4" },
    { { "w:4", "w:5" }, "z" },
    { { "w:4", "z" }, "z" },
    { { "w:4", "vz" }, "Z" },
    { { "b", "c" }, NULL },
    { { "tdD", "tdm" }, "tdm" },
    { { "tdD", "tss:" }, "tss:" },
    { { "tdm", "tss:" }, "tsm:" },
    { { "tdD", "tsu:UTC" }, NULL },
    { { "tss:", "tsn:" }, "tsn:" },
    { { "tsm:UTC", "tsu:UTC" }, "tsu:UTC" },
    { { "tsu:UTC", "tsu:+00:00" }, "tsu:UTC" },
    { { "tsu:UTC", "tsu:Europe/Berlin" }, NULL },
    { { "tsu:", "tsu:UTC" }, NULL },
    { { "tts", "ttm" }, "ttm" },
    { { "tts", "ttn" }, "ttn" },
    { { "tDs", "tDu" }, "tDu" },
    { { "tiM", "tin" }, NULL },
    { { "tDs", "tts" }, NULL },
    { { "+l", "+L" }, "+L" },
    { { "+l", "+s" }, NULL },
    { { "+w:2", "+w:3" }, NULL },
};

static void types__the_narrowest_that_holds_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof unions / sizeof *unions; i++) {
        struct qn_type types[MAX_SET], back[MAX_SET], out;
        char format[QN_TYPE_MAX_FORMAT];
        size_t n = 0;
        for (; n < MAX_SET && unions[i].of[n] != NULL; n++) {
            ok(qn_type_from_format(unions[i].of[n], &types[n], &error));
        }
        for (size_t k = 0; k < n; k++) {
            back[k] = types[n - 1 - k];
        }
        for (int turned = 0; turned < 2; turned++) {
            bool found = qn_unify_types(turned ? back : types, n, &out);
            qn_type_to_format(&out, format);
            if (found != (unions[i].is != NULL) || (found && strcmp(format, unions[i].is) != 0)) {
                fail_msg("%s and %s: %s, not %s", unions[i].of[0], unions[i].of[1] ? unions[i].of[1] : "nothing",
                         found ? format : "none", unions[i].is ? unions[i].is : "none");
            }
        }
    }
}

/* ---- schemas ---------------------------------------------------------------------------------------------------- */

/* A schema of a text as "a Int64, b Utf8!". */
static void text_schema(struct ArrowSchema *out, int n, ...)
{
    va_list args;
    va_start(args, n);
    ok(qn_schema_struct(out, n, &error));
    for (int i = 0; i < n; i++) {
        const char *name = va_arg(args, const char *);
        ok(qn_schema_set_from_text(out, i, name, va_arg(args, const char *), &error));
    }
    va_end(args);
}

static void unify_two(const struct ArrowSchema *a, const struct ArrowSchema *b, struct ArrowSchema *out)
{
    struct qn_unify *unify = NULL;
    ok(qn_unify_new(&unify, &error));
    ok(qn_unify_add(unify, a, "a", &error));
    ok(qn_unify_add(unify, b, "b", &error));
    ok(qn_unify_schema(unify, out, &error));
    qn_unify_free(unify);
}

static void schema__columns_in_the_order_in_which_they_come(void **state)
{
    (void)state;
    qn_auto_schema a = { 0 }, b = { 0 }, both = { 0 };
    text_schema(&a, 3, "x", "Int64!", "y", "Utf8", "only", "Int8!");
    text_schema(&b, 3, "z", "Float64!", "y", "Null", "x", "Int32!");
    unify_two(&a, &b, &both);
    static const struct {
        const char *name, *format;
        bool nullable;
    } wanted[] = { { "x", "l", false }, { "y", "vu", true }, { "only", "c", true }, { "z", "g", true } };
    assert_int_equal(both.n_children, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(both.children[i]->name, wanted[i].name);
        assert_string_equal(both.children[i]->format, wanted[i].format);
        assert_int_equal((both.children[i]->flags & ARROW_FLAG_NULLABLE) != 0, wanted[i].nullable);
    }
}

static void schema__nested_types_are_united_inside(void **state)
{
    (void)state;
    qn_auto_schema a = { 0 }, b = { 0 }, both = { 0 };
    text_schema(&a, 2, "l", "List<Int32!>", "s", "Struct<p: Int64!, q: Utf8>");
    text_schema(&b, 2, "l", "List<Int64>", "s", "Struct<q: Utf8, r: Boolean>");
    unify_two(&a, &b, &both);
    assert_string_equal(both.children[0]->format, "+l");
    assert_string_equal(both.children[0]->children[0]->format, "l");
    assert_true((both.children[0]->children[0]->flags & ARROW_FLAG_NULLABLE) != 0);
    const struct ArrowSchema *s = both.children[1];
    assert_int_equal(s->n_children, 3);
    assert_string_equal(s->children[0]->name, "p");
    assert_true((s->children[0]->flags & ARROW_FLAG_NULLABLE) != 0); /* b lacks it */
    assert_string_equal(s->children[2]->name, "r");
}

static void schema__metadata_stays_where_all_agree(void **state)
{
    (void)state;
    qn_auto_schema a = { 0 }, b = { 0 }, both = { 0 };
    text_schema(&a, 2, "x", "Int64", "y", "Int64");
    text_schema(&b, 2, "x", "Int64", "y", "Int64");
    ok(qn_schema_metadata_set(a.children[0], "unit", "m", &error));
    ok(qn_schema_metadata_set(b.children[0], "unit", "m", &error));
    ok(qn_schema_metadata_set(a.children[1], "unit", "m", &error));
    ok(qn_schema_metadata_set(b.children[1], "unit", "ft", &error));
    unify_two(&a, &b, &both);
    const char *value;
    size_t size;
    assert_true(qn_schema_metadata_get(both.children[0], "unit", &value, &size));
    assert_int_equal(size, 1);
    assert_false(qn_schema_metadata_get(both.children[1], "unit", &value, &size));
}

static void schema__what_does_not_go_together_is_named(void **state)
{
    (void)state;
    struct qn_unify *unify = NULL;
    qn_auto_schema a = { 0 }, b = { 0 }, c = { 0 }, twice = { 0 };
    text_schema(&a, 1, "x", "Int32");
    text_schema(&b, 1, "x", "Int64");
    text_schema(&c, 1, "x", "Float64");
    text_schema(&twice, 2, "x", "Int32", "x", "Int32");
    ok(qn_unify_new(&unify, &error));
    ok(qn_unify_add(unify, &a, "first", &error));
    ok(qn_unify_add(unify, &b, "second", &error));
    refused(qn_unify_add(unify, &c, "third", &error), QN_ERR_DATA,
            "column \"x\" is Int64 in \"second\" and Float64 in \"third\": no type holds both exactly");
    assert_string_equal(error.column_name, "x");
    qn_unify_free(unify);
    ok(qn_unify_new(&unify, &error));
    refused(qn_unify_add(unify, &twice, "first", &error), QN_ERR_DATA, "\"first\" has two columns with the name \"x\"");
    qn_unify_free(unify);
}

static void schema__many_columns_in_another_order(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    qn_auto_schema a = { 0 }, b = { 0 }, both = { 0 };
    char name[16];
    struct qn_type type = qn_type_of(QN_TYPE_INT64);
    ok(qn_schema_struct(&a, MANY, &error));
    ok(qn_schema_struct(&b, MANY, &error));
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "c%d", i);
        ok(qn_schema_set(&a, i, name, &type, &error));
        ok(qn_schema_set(&b, MANY - 1 - i, name, &type, &error));
    }
    unify_two(&a, &b, &both);
    assert_int_equal(both.n_children, MANY);
    assert_string_equal(both.children[MANY - 1]->name, "c19999");
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* Convert a batch of one column that is given as buffers, from one format to another. The result is of nanoarrow's view. */
struct converted {
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct ArrowArrayView view;
};

static enum qn_status convert_hand(struct hand *column, const char *from, const char *to, struct converted *out)
{
    struct ArrowSchema source;
    struct hand batch;
    struct qn_convert *convert = NULL;
    *out = (struct converted){ 0 };
    make_schema(&source, 1, "c", from);
    make_schema(&out->schema, 1, "c", to);
    hand_make(&batch, column->array.length, 1);
    batch.children[0] = &column->array;
    batch.array.n_children = 1;
    batch.array.null_count = 0;
    enum qn_status status = qn_convert_new(&source, &out->schema, &convert, &error);
    if (status == QN_OK) {
        status = qn_convert_batch(convert, &batch.array, &out->array, &error);
    }
    if (status == QN_OK) {
        make_view(&out->view, &out->schema, &out->array);
    }
    qn_convert_free(convert);
    qn_schema_release(&source);
    return status;
}

static void converted_dispose(struct converted *converted)
{
    ArrowArrayViewReset(&converted->view);
    qn_array_release(&converted->array);
    qn_schema_release(&converted->schema);
}

/* Numbers of one type: the lowest, a null, -1 or 1, the highest; sliced, with bits before them. */
static void check_numbers(const char *from, const void *values, size_t width, const char *to, const double *wanted)
{
    struct hand column;
    struct converted converted;
    static const uint8_t validity[] = { 0xB7 }; /* 1, 1, 1, 0 | 1, 1, 0, 1: from row 3 on null, 1, 1, null */
    (void)width;
    hand_make(&column, 4, 2);
    column.buffers[0] = validity;
    column.buffers[1] = values;
    column.array.offset = 3;
    column.array.null_count = -1;
    ok(convert_hand(&column, from, to, &converted));
    const struct ArrowArrayView *view = converted.view.children[0];
    assert_int_equal(view->length, 4);
    for (int64_t i = 0; i < 4; i++) {
        bool null = i == 0 || i == 3;
        assert_int_equal(ArrowArrayViewIsNull(view, i), null);
        if (!null) {
            assert_true(ArrowArrayViewGetDoubleUnsafe(view, i) == wanted[i]);
        }
    }
    assert_int_equal(converted.array.children[0]->null_count, 2);
    converted_dispose(&converted);
}

static void values__integers_and_floats(void **state)
{
    (void)state;
    static const int8_t int8[] = { 9, 9, 9, 9, INT8_MIN, INT8_MAX, 9 };
    static const uint8_t uint8[] = { 9, 9, 9, 9, 1, UINT8_MAX, 9 };
    static const int16_t int16[] = { 9, 9, 9, 9, INT16_MIN, INT16_MAX, 9 };
    static const uint16_t uint16[] = { 9, 9, 9, 9, 1, UINT16_MAX, 9 };
    static const int32_t int32[] = { 9, 9, 9, 9, INT32_MIN, INT32_MAX, 9 };
    static const uint32_t uint32[] = { 9, 9, 9, 9, 1, UINT32_MAX, 9 };
    static const float float32[] = { 9, 9, 9, 9, -0.1F, 3e38F, 9 };
    static const uint16_t float16[] = { 9, 9, 9, 9, 0xBC00, 0x7BFF, 9 }; /* -1, 65504 */
    static const double of_int8[] = { 0, INT8_MIN, INT8_MAX }, of_uint8[] = { 0, 1, UINT8_MAX };
    static const double of_int16[] = { 0, INT16_MIN, INT16_MAX }, of_uint16[] = { 0, 1, UINT16_MAX };
    static const double of_int32[] = { 0, INT32_MIN, INT32_MAX }, of_uint32[] = { 0, 1, UINT32_MAX };
    const double of_float32[] = { 0, (double)-0.1F, (double)3e38F };
    static const double of_float16[] = { 0, -1, 65504 };
    static const char *const above_int8[] = { "s", "i", "l", "f", "g", "d:5,1", "d:9,1,64", "d:40,1,256" };
    for (size_t i = 0; i < sizeof above_int8 / sizeof *above_int8; i++) {
        if (above_int8[i][0] != 'd') {
            check_numbers("c", int8, 1, above_int8[i], of_int8);
        }
    }
    static const char *const above_uint8[] = { "S", "I", "L", "s", "i", "l", "f", "g" };
    for (size_t i = 0; i < sizeof above_uint8 / sizeof *above_uint8; i++) {
        check_numbers("C", uint8, 1, above_uint8[i], of_uint8);
    }
    static const char *const above_int16[] = { "i", "l", "f", "g" };
    for (size_t i = 0; i < sizeof above_int16 / sizeof *above_int16; i++) {
        check_numbers("s", int16, 2, above_int16[i], of_int16);
    }
    static const char *const above_uint16[] = { "I", "L", "i", "l", "f", "g" };
    for (size_t i = 0; i < sizeof above_uint16 / sizeof *above_uint16; i++) {
        check_numbers("S", uint16, 2, above_uint16[i], of_uint16);
    }
    check_numbers("i", int32, 4, "l", of_int32);
    check_numbers("i", int32, 4, "g", of_int32);
    check_numbers("I", uint32, 4, "l", of_uint32);
    check_numbers("I", uint32, 4, "L", of_uint32);
    check_numbers("I", uint32, 4, "g", of_uint32);
    check_numbers("f", float32, 4, "g", of_float32);
    check_numbers("e", float16, 2, "f", of_float16);
    check_numbers("e", float16, 2, "g", of_float16);
}

/* The decimal of row i as digits. */
static void expect_decimal(const struct converted *converted, int64_t i, const char *wanted)
{
    struct ArrowDecimal decimal;
    struct ArrowBuffer digits;
    const struct ArrowArrayView *view = converted->view.children[0];
    struct ArrowSchemaView type;
    struct ArrowError nano;
    assert_int_equal(ArrowSchemaViewInit(&type, converted->schema.children[0], &nano), NANOARROW_OK);
    ArrowDecimalInit(&decimal, type.decimal_bitwidth, type.decimal_precision, type.decimal_scale);
    ArrowArrayViewGetDecimalUnsafe(view, i, &decimal);
    ArrowBufferInit(&digits);
    assert_int_equal(ArrowDecimalAppendDigitsToBuffer(&decimal, &digits), NANOARROW_OK);
    assert_int_equal(digits.size_bytes, strlen(wanted));
    assert_memory_equal(digits.data, wanted, strlen(wanted));
    ArrowBufferReset(&digits);
}

static void check_decimals(const char *from, const void *values, const char *to, const char *first, const char *second)
{
    struct hand column;
    struct converted converted;
    hand_make(&column, 2, 2);
    column.buffers[1] = values;
    column.array.null_count = 0;
    ok(convert_hand(&column, from, to, &converted));
    expect_decimal(&converted, 0, first);
    expect_decimal(&converted, 1, second);
    converted_dispose(&converted);
}

static void values__decimals(void **state)
{
    (void)state;
    static const int64_t int64[] = { INT64_MIN, INT64_MAX };
    static const uint64_t uint64[] = { 0, UINT64_MAX };
    static const int8_t int8[] = { -128, 127 };
    static const int32_t decimal32[] = { -999999999, 999999999 };
    static const int64_t decimal64[] = { -999999999999999999, 999999999999999999 };
    const qn_int128 most = qn_decimal_power(38) - 1;
    const qn_int128 decimal128[] = { -most, most };
    check_decimals("l", int64, "d:19,0", "-9223372036854775808", "9223372036854775807");
    check_decimals("l", int64, "d:21,2", "-922337203685477580800", "922337203685477580700");
    check_decimals("l", int64, "d:49,30,256", "-9223372036854775808000000000000000000000000000000",
                   "9223372036854775807000000000000000000000000000000");
    check_decimals("L", uint64, "d:20,0", "0", "18446744073709551615");
    check_decimals("L", uint64, "d:40,3,256", "0", "18446744073709551615000");
    check_decimals("c", int8, "d:5,2,32", "-12800", "12700");
    check_decimals("c", int8, "d:18,2,64", "-12800", "12700");
    check_decimals("d:9,2,32", decimal32, "d:11,4,64", "-99999999900", "99999999900");
    check_decimals("d:9,2,32", decimal32, "d:11,4", "-99999999900", "99999999900");
    check_decimals("d:18,0,64", decimal64, "d:38,20", "-99999999999999999900000000000000000000",
                   "99999999999999999900000000000000000000");
    check_decimals("d:38,2", decimal128, "d:76,40,256",
                   "-9999999999999999999999999999999999999900000000000000000000000000000000000000",
                   "9999999999999999999999999999999999999900000000000000000000000000000000000000");
}

static void check_times(const char *from, const void *values, const char *to, int64_t first, int64_t second)
{
    struct hand column;
    struct converted converted;
    hand_make(&column, 2, 2);
    column.buffers[1] = values;
    column.array.null_count = 0;
    ok(convert_hand(&column, from, to, &converted));
    assert_int_equal(ArrowArrayViewGetIntUnsafe(converted.view.children[0], 0), first);
    assert_int_equal(ArrowArrayViewGetIntUnsafe(converted.view.children[0], 1), second);
    converted_dispose(&converted);
}

static void values__dates_and_times(void **state)
{
    (void)state;
    static const int32_t days[] = { -1, INT32_MAX }, few_days[] = { -1, 19000 };
    static const int64_t numbers[] = { -1, 1700000000 };
    static const int32_t of_day[] = { 0, 86399 };
    check_times("tdD", days, "tdm", -86400000, INT64_C(185542587100800000));
    check_times("tdD", days, "tss:", -86400, INT64_C(185542587100800));
    check_times("tdD", few_days, "tsn:", INT64_C(-86400000000000), INT64_C(1641600000000000000));
    check_times("tss:UTC", numbers, "tsn:UTC", -1000000000, INT64_C(1700000000000000000));
    check_times("tss:", numbers, "tsm:", -1000, INT64_C(1700000000000));
    check_times("tDs", numbers, "tDu", -1000000, INT64_C(1700000000000000));
    check_times("tts", of_day, "ttm", 0, 86399000);
    check_times("tts", of_day, "ttn", 0, INT64_C(86399000000000));
}

static void values__a_time_that_the_finer_unit_cannot_count_is_told(void **state)
{
    (void)state;
    static const int64_t numbers[] = { 1, INT64_MAX / 1000000000 + 1 };
    static const uint8_t first_only[] = { 1 };
    struct hand column;
    struct converted converted;
    hand_make(&column, 2, 2);
    column.buffers[1] = numbers;
    column.array.null_count = 0;
    refused(convert_hand(&column, "tss:", "tsn:", &converted), QN_ERR_DATA, "column \"c\": a time is outside");
    assert_int_equal(error.row, 1);
    converted_dispose(&converted);
    hand_make(&column, 2, 2);
    column.buffers[0] = first_only; /* what a null has behind it does not matter */
    column.buffers[1] = numbers;
    ok(convert_hand(&column, "tss:", "tsn:", &converted));
    assert_true(ArrowArrayViewIsNull(converted.view.children[0], 1));
    converted_dispose(&converted);
}

static void values__texts_and_binaries(void **state)
{
    (void)state;
    static const int32_t offsets[] = { 0, 5, 5, 25 };
    static const char bytes[] = "shortmore than twelve byte";
    static const char *const texts[] = { "u", "U", "vu" }, *const binaries[] = { "z", "Z", "vz" };
    static const char fixed[] = "abcdefghi";
    for (int i = 0; i < 3; i++) {
        for (int kind = 0; kind < 2; kind++) {
            struct hand column;
            struct converted converted;
            hand_make(&column, 3, 3);
            column.buffers[1] = offsets;
            column.buffers[2] = bytes;
            column.array.null_count = 0;
            ok(convert_hand(&column, kind ? "z" : "u", (kind ? binaries : texts)[i], &converted));
            struct ArrowBufferView value = ArrowArrayViewGetBytesUnsafe(converted.view.children[0], 2);
            assert_int_equal(value.size_bytes, 20);
            assert_memory_equal(value.data.data, "more than twelve byt", 20);
            converted_dispose(&converted);
        }
        struct hand column;
        struct converted converted;
        hand_make(&column, 3, 2);
        column.buffers[1] = fixed;
        column.array.null_count = 0;
        if (i < 2) {
            ok(convert_hand(&column, "w:3", binaries[i], &converted));
            struct ArrowBufferView value = ArrowArrayViewGetBytesUnsafe(converted.view.children[0], 1);
            assert_int_equal(value.size_bytes, 3);
            assert_memory_equal(value.data.data, "def", 3);
            converted_dispose(&converted);
        }
    }
}

static void values__what_is_not_exact_is_refused(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "l", "i" }, { "l", "g" },          { "g", "f" }, { "d:10,2", "d:9,2" },
                                            { "u", "z" }, { "tsu:", "tss:" },    { "b", "c" }, { "L", "l" },
                                            { "l", "n" }, { "tsu:UTC", "tsu:" }, { "c", "L" } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        qn_auto_schema from = { 0 }, to = { 0 };
        struct qn_convert *convert = NULL;
        make_schema(&from, 1, "c", pairs[i][0]);
        make_schema(&to, 1, "c", pairs[i][1]);
        refused(qn_convert_new(&from, &to, &convert, &error), QN_ERR_DATA, "column \"c\": ");
        assert_non_null(strstr(error.message, "does not hold every value of"));
    }
}

/* ---- dictionaries ----------------------------------------------------------------------------------------------- */

/* A dictionary-encoded column of text or numbers with a null among its values and one among its indices. */
static void check_dictionary(const char *values_format, struct hand *values, const char *to, struct converted *out)
{
    static const uint8_t index_validity[] = { 0x0B }; /* 1, 1, 0, 1 */
    static const int8_t indices[] = { 1, 0, 0, 2 };
    struct hand column, batch;
    struct ArrowSchema source;
    struct qn_convert *convert = NULL;
    *out = (struct converted){ 0 };
    make_schema(&source, 1, "c", "c");
    assert_int_equal(ArrowSchemaAllocateDictionary(source.children[0]), NANOARROW_OK);
    ArrowSchemaInit(source.children[0]->dictionary);
    assert_int_equal(ArrowSchemaSetFormat(source.children[0]->dictionary, values_format), NANOARROW_OK);
    make_schema(&out->schema, 1, "c", to);
    hand_make(&column, 4, 2);
    column.buffers[0] = index_validity;
    column.buffers[1] = indices;
    column.array.dictionary = &values->array;
    hand_make(&batch, 4, 1);
    batch.children[0] = &column.array;
    batch.array.n_children = 1;
    batch.array.null_count = 0;
    ok(qn_convert_new(&source, &out->schema, &convert, &error));
    ok(qn_convert_batch(convert, &batch.array, &out->array, &error));
    qn_convert_free(convert);
    make_view(&out->view, &out->schema, &out->array);
    const struct ArrowArrayView *view = out->view.children[0];
    assert_false(ArrowArrayViewIsNull(view, 0));
    assert_false(ArrowArrayViewIsNull(view, 1));
    assert_true(ArrowArrayViewIsNull(view, 2));
    assert_true(ArrowArrayViewIsNull(view, 3)); /* a null of the dictionary */
    qn_schema_release(&source);
}

static void dictionary__is_read_as_its_values(void **state)
{
    (void)state;
    static const uint8_t validity[] = { 0x03 };
    static const int32_t offsets[] = { 0, 3, 23, 23 };
    static const char bytes[] = "abcmore than twelve byte";
    static const int32_t numbers[] = { -7, 1 << 30, 9 };
    static const uint8_t bits[] = { 0x02 };
    static const char *const layouts[] = { "u", "U", "vu" };
    struct hand values;
    struct converted converted;
    for (int i = 0; i < 3; i++) {
        hand_make(&values, 3, 3);
        values.buffers[0] = validity;
        values.buffers[1] = offsets;
        values.buffers[2] = bytes;
        check_dictionary("u", &values, layouts[i], &converted);
        struct ArrowBufferView value = ArrowArrayViewGetBytesUnsafe(converted.view.children[0], 0);
        assert_int_equal(value.size_bytes, 20);
        assert_memory_equal(value.data.data, "more than twelve byt", 20);
        converted_dispose(&converted);
    }
    hand_make(&values, 3, 2);
    values.buffers[0] = validity;
    values.buffers[1] = numbers;
    check_dictionary("i", &values, "l", &converted);
    assert_int_equal(ArrowArrayViewGetIntUnsafe(converted.view.children[0], 0), 1 << 30);
    assert_int_equal(ArrowArrayViewGetIntUnsafe(converted.view.children[0], 1), -7);
    converted_dispose(&converted);
    hand_make(&values, 3, 2);
    values.buffers[0] = validity;
    values.buffers[1] = bits;
    check_dictionary("b", &values, "b", &converted);
    assert_int_equal(ArrowArrayViewGetIntUnsafe(converted.view.children[0], 0), 1);
    assert_int_equal(ArrowArrayViewGetIntUnsafe(converted.view.children[0], 1), 0);
    converted_dispose(&converted);
}

static void dictionary__stays_where_all_tables_have_the_like(void **state)
{
    (void)state;
    qn_auto_schema a = { 0 }, b = { 0 }, both = { 0 }, mixed = { 0 };
    make_schema(&a, 1, "c", "c");
    assert_int_equal(ArrowSchemaAllocateDictionary(a.children[0]), NANOARROW_OK);
    ArrowSchemaInit(a.children[0]->dictionary);
    assert_int_equal(ArrowSchemaSetFormat(a.children[0]->dictionary, "u"), NANOARROW_OK);
    make_schema(&b, 1, "c", "u");
    unify_two(&a, &a, &both);
    assert_string_equal(both.children[0]->format, "c");
    assert_string_equal(both.children[0]->dictionary->format, "u");
    unify_two(&a, &b, &mixed);
    assert_null(mixed.children[0]->dictionary);
    assert_string_equal(mixed.children[0]->format, "u");
}

/* ---- nested ----------------------------------------------------------------------------------------------------- */

/* Lists of structs of one table in the schema of both: a field is widened, one is added. */
static void nested__is_converted_inside(void **state)
{
    (void)state;
    qn_auto_schema a = { 0 }, b = { 0 }, both = { 0 };
    struct ArrowArray array, made;
    struct qn_batch batch;
    struct qn_convert *convert = NULL;
    text_schema(&a, 1, "l", "List<Struct<p: Int32, q: Utf8>>");
    text_schema(&b, 1, "l", "List<Struct<r: Boolean, p: Int64>>");
    unify_two(&a, &b, &both);
    ok(qn_batch_init(&batch, &a, &error));
    struct qn_column *list = &batch.columns[0], *items = &list->children[0];
    ok(qn_column_reserve(list, 3, &error));
    ok(qn_column_reserve(items, 3, &error));
    ok(qn_column_reserve(&items->children[0], 3, &error));
    ok(qn_column_reserve(&items->children[1], 3, &error));
    for (int i = 0; i < 3; i++) {
        qn_column_put_int32(&items->children[0], -i);
        qn_column_put_bytes(&items->children[1], "q", 1);
        qn_column_end_struct(items);
        if (i == 1) {
            ok(qn_column_end_list(list, &error)); /* two items */
            qn_column_put_null(list);
        }
    }
    ok(qn_column_end_list(list, &error)); /* one */
    ok(qn_batch_finish(&batch, 3, &array, &error));
    qn_batch_dispose(&batch);
    array.offset = 1; /* the batch is cut: a null and a list of one */
    array.length = 2;
    ok(qn_convert_new(&a, &both, &convert, &error));
    ok(qn_convert_batch(convert, &array, &made, &error));
    qn_convert_free(convert);
    struct ArrowArrayView view;
    make_view(&view, &both, &made);
    const struct ArrowArrayView *lists = view.children[0], *structs = lists->children[0];
    assert_int_equal(made.length, 2);
    assert_int_equal(made.offset, 0);
    assert_true(ArrowArrayViewIsNull(lists, 0));
    int64_t at = ArrowArrayViewListChildOffset(lists, lists->offset + 1); /* which does not add it */
    assert_int_equal(ArrowArrayViewListChildOffset(lists, lists->offset + 2), at + 1);
    assert_int_equal(ArrowArrayViewGetIntUnsafe(structs->children[0], at), -2);
    assert_true(ArrowArrayViewIsNull(structs->children[2], at)); /* r, which a lacks */
    ArrowArrayViewReset(&view);
    qn_array_release(&made);
}

static void nested__list_offsets_are_widened(void **state)
{
    (void)state;
    static const int32_t offsets[] = { 0, 2, 2, 3 };
    static const int32_t numbers[] = { 5, 6, 7 };
    struct hand items, list, batch;
    struct ArrowSchema from, to;
    struct ArrowArray made;
    struct qn_convert *convert = NULL;
    struct qn_type item = qn_type_of(QN_TYPE_INT32), wide = qn_type_of(QN_TYPE_INT64);
    make_schema(&from, 1, "c", "+l");
    ok(qn_schema_children(from.children[0], 1, &error));
    ok(qn_schema_set(from.children[0], 0, "item", &item, &error));
    make_schema(&to, 1, "c", "+L");
    ok(qn_schema_children(to.children[0], 1, &error));
    ok(qn_schema_set(to.children[0], 0, "element", &wide, &error)); /* what items are called does not matter */
    hand_make(&items, 3, 2);
    items.buffers[1] = numbers;
    items.array.null_count = 0;
    hand_make(&list, 2, 2);
    list.buffers[1] = offsets;
    list.array.offset = 1;
    list.array.null_count = 0;
    list.array.n_children = 1;
    list.children[0] = &items.array;
    hand_make(&batch, 2, 1);
    batch.array.n_children = 1;
    batch.array.null_count = 0;
    batch.children[0] = &list.array;
    ok(qn_convert_new(&from, &to, &convert, &error));
    ok(qn_convert_batch(convert, &batch.array, &made, &error));
    qn_convert_free(convert);
    struct ArrowArrayView view;
    make_view(&view, &to, &made);
    const struct ArrowArrayView *lists = view.children[0];
    assert_int_equal(ArrowArrayViewListChildOffset(lists, 1), ArrowArrayViewListChildOffset(lists, 0));
    int64_t at = ArrowArrayViewListChildOffset(lists, 1);
    assert_int_equal(ArrowArrayViewListChildOffset(lists, 2), at + 1);
    assert_int_equal(ArrowArrayViewGetIntUnsafe(lists->children[0], at), 7);
    ArrowArrayViewReset(&view);
    qn_array_release(&made);
    qn_schema_release(&from);
    qn_schema_release(&to);
}

/* ---- batches ---------------------------------------------------------------------------------------------------- */

static void batch__what_fits_is_moved_not_copied(void **state)
{
    (void)state;
    qn_auto_schema from = { 0 }, to = { 0 };
    struct ArrowArray array, made;
    struct qn_batch batch;
    struct qn_convert *convert = NULL;
    text_schema(&from, 3, "x", "Int64", "gone", "Int64", "y", "Utf8");
    text_schema(&to, 2, "y", "Utf8", "x", "Int64");
    ok(qn_batch_init(&batch, &from, &error));
    ok(qn_batch_reserve(&batch, 1, &error));
    qn_column_put_int64(&batch.columns[0], 4);
    qn_column_put_int64(&batch.columns[1], 5);
    qn_column_put_bytes(&batch.columns[2], "y", 1);
    ok(qn_batch_finish(&batch, 1, &array, &error));
    qn_batch_dispose(&batch);
    const void *x = array.children[0]->buffers[1], *y = array.children[2]->buffers[1];
    ok(qn_convert_new(&from, &to, &convert, &error));
    ok(qn_convert_batch(convert, &array, &made, &error));
    assert_null(array.release);
    assert_ptr_equal(made.children[0]->buffers[1], y);
    assert_ptr_equal(made.children[1]->buffers[1], x);
    qn_array_release(&made);
    qn_convert_free(convert);
}

static void batch__nulls_of_every_type(void **state)
{
    (void)state;
    static const char *const formats[] = { "n",   "b",   "c",        "s",      "i",          "l",   "e",
                                           "f",   "g",   "d:9,2,32", "d:10,2", "d:50,2,256", "u",   "U",
                                           "vu",  "z",   "Z",        "vz",     "w:5",        "tdD", "tdm",
                                           "tts", "ttu", "tsu:UTC",  "tDs",    "tiM",        "tiD", "tin" };
    static const char *const nested[] = { "List<Int64>", "Struct<a: Int64, b: List<Utf8>>",
                                          "List<Struct<a: Boolean>>" };
    size_t n_plain = sizeof formats / sizeof *formats, n_all = n_plain + sizeof nested / sizeof *nested;
    for (size_t i = 0; i < n_all; i++) {
        qn_auto_schema schema = { 0 }, lacks = { 0 };
        struct qn_convert *convert = NULL;
        if (i < n_plain) {
            make_schema(&schema, 1, "c", formats[i]);
        } else {
            text_schema(&schema, 1, "c", nested[i - n_plain]);
        }
        make_schema(&lacks, 0);
        for (int64_t length = 0; length < 20; length += 19) {
            struct hand batch;
            struct ArrowArray made;
            struct ArrowArrayView view;
            hand_make(&batch, length, 1);
            batch.array.null_count = 0;
            ok(qn_convert_new(&lacks, &schema, &convert, &error));
            ok(qn_convert_batch(convert, &batch.array, &made, &error));
            qn_convert_free(convert);
            make_view(&view, &schema, &made);
            for (int64_t row = 0; row < length; row++) {
                assert_true(ArrowArrayViewIsNull(view.children[0], row));
            }
            ArrowArrayViewReset(&view);
            qn_array_release(&made);
        }
    }
}

static void batch__of_another_shape_is_refused(void **state)
{
    (void)state;
    static const uint8_t hole[] = { 0x02 };
    static const int32_t numbers[] = { 1, 2 };
    qn_auto_schema from = { 0 }, to = { 0 };
    struct qn_convert *convert = NULL;
    struct hand column, batch;
    struct ArrowArray made;
    make_schema(&from, 1, "c", "i");
    make_schema(&to, 1, "c", "l");
    ok(qn_convert_new(&from, &to, &convert, &error));
    hand_make(&batch, 2, 1);
    refused(qn_convert_batch(convert, &batch.array, &made, &error), QN_ERR_DATA, "shape of its schema");
    hand_make(&column, 1, 2);
    column.buffers[1] = numbers;
    batch.array.n_children = 1;
    batch.children[0] = &column.array;
    refused(qn_convert_batch(convert, &batch.array, &made, &error), QN_ERR_DATA, "shorter than its batch");
    hand_make(&column, 2, 2);
    column.buffers[1] = numbers;
    batch.buffers[0] = hole;
    refused(qn_convert_batch(convert, &batch.array, &made, &error), QN_ERR_DATA, "row 0 is null as a whole");
    qn_convert_free(convert);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* Unite and convert a table with something of each kind of conversion. */
static enum qn_status do_all(void)
{
    qn_auto_schema a = { 0 }, b = { 0 }, both = { 0 };
    qn_auto_array array = { 0 }, made = { 0 };
    struct qn_batch batch;
    struct qn_unify *unify = NULL;
    struct qn_convert *convert = NULL;
    QN_TRY(qn_schema_struct(&a, 3, &error));
    QN_TRY(qn_schema_struct(&b, 4, &error));
    static const char *const types[][2] = { { "Int32", "Int64" }, { "Utf8", "Utf8" }, { "Date32", "Timestamp[s]" } };
    for (int64_t i = 0; i < 3; i++) {
        static const char *const names[] = { "x", "y", "z" };
        QN_TRY(qn_schema_set_from_text(&a, i, names[i], types[i][0], &error));
        QN_TRY(qn_schema_set_from_text(&b, i, names[i], types[i][1], &error));
    }
    QN_TRY(qn_schema_set_from_text(&b, 3, "s", "Struct<p: List<Int64>, q: Utf8>", &error));
    QN_TRY(qn_batch_init(&batch, &a, &error));
    enum qn_status status = qn_batch_reserve(&batch, 1, &error);
    if (status == QN_OK) {
        qn_column_put_int32(&batch.columns[0], 5);
        qn_column_put_bytes(&batch.columns[1], "a text of some length", 21);
        qn_column_put_int32(&batch.columns[2], 1);
        status = qn_batch_finish(&batch, 1, &array, &error);
    }
    qn_batch_dispose(&batch);
    QN_TRY(status);
    QN_TRY(qn_unify_new(&unify, &error));
    status = qn_unify_add(unify, &a, "a", &error);
    status = status != QN_OK ? status : qn_unify_add(unify, &b, "b", &error);
    status = status != QN_OK ? status : qn_unify_schema(unify, &both, &error);
    qn_unify_free(unify);
    QN_TRY(status);
    QN_TRY(qn_convert_new(&a, &both, &convert, &error));
    status = qn_convert_batch(convert, &array, &made, &error);
    qn_convert_free(convert);
    return status;
}

static void memory__every_allocation_may_fail(void **state)
{
    (void)state;
    int64_t n = 1;
    for (enum qn_status status = QN_ERR_NO_MEMORY; status != QN_OK; n++) {
        if (!qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE)) {
            print_message("skipped: this build has no fault points\n");
            return;
        }
        error = (struct qn_error)QN_ERROR_INIT;
        status = do_all();
        bool hit = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        assert_int_equal(status, hit ? QN_ERR_NO_MEMORY : QN_OK);
    }
    assert_true(n > 50);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(types__the_narrowest_that_holds_all),
        cmocka_unit_test(schema__columns_in_the_order_in_which_they_come),
        cmocka_unit_test(schema__nested_types_are_united_inside),
        cmocka_unit_test(schema__metadata_stays_where_all_agree),
        cmocka_unit_test(schema__what_does_not_go_together_is_named),
        cmocka_unit_test(schema__many_columns_in_another_order),
        cmocka_unit_test(values__integers_and_floats),
        cmocka_unit_test(values__decimals),
        cmocka_unit_test(values__dates_and_times),
        cmocka_unit_test(values__a_time_that_the_finer_unit_cannot_count_is_told),
        cmocka_unit_test(values__texts_and_binaries),
        cmocka_unit_test(values__what_is_not_exact_is_refused),
        cmocka_unit_test(dictionary__is_read_as_its_values),
        cmocka_unit_test(dictionary__stays_where_all_tables_have_the_like),
        cmocka_unit_test(nested__is_converted_inside),
        cmocka_unit_test(nested__list_offsets_are_widened),
        cmocka_unit_test(batch__what_fits_is_moved_not_copied),
        cmocka_unit_test(batch__nulls_of_every_type),
        cmocka_unit_test(batch__of_another_shape_is_refused),
        cmocka_unit_test(memory__every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
