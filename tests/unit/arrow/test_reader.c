/*
 * test_reader.c: readers against arrays that nanoarrow's appenders made and arrays written by hand, whole and sliced.
 */
#include "hand.h"

#include <float.h>
#include <math.h>

#define ROWS 40

static bool is_null_row(int64_t row)
{
    return row % 5 == 2;
}

/* Cut an array to the rows from `first` to ROWS - 1, as a slice shows itself: by offset and length. */
static void slice(struct ArrowArray *array, int64_t first)
{
    array->offset = first;
    array->length = ROWS - first;
    array->null_count = -1;
}

static void start(struct ArrowArray *array, const struct ArrowSchema *field)
{
    assert_int_equal(ArrowArrayInitFromSchema(array, field, NULL), NANOARROW_OK);
    assert_int_equal(ArrowArrayStartAppending(array), NANOARROW_OK);
}

static void finish(struct ArrowArray *array)
{
    struct ArrowError nano = { "" };
    if (ArrowArrayFinishBuildingDefault(array, &nano) != NANOARROW_OK) {
        fail_msg("nanoarrow: %s", nano.message);
    }
}

/* Both forms of every array: whole, and from row 9 (not on a byte border). */
static const int64_t starts[] = { 0, 9 };

static void reader__signed_integers_of_every_type(void **state)
{
    (void)state;
    static const char *const formats[] = {
        "c", "s", "i", "l", "tdD", "tdm", "tts", "ttm", "ttu", "ttn", "tsu:", "tDn"
    };
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
        qn_auto_schema schema = { 0 };
        qn_auto_array array = { 0 };
        struct qn_reader reader;
        make_schema(&schema, 1, "c", formats[f]);
        start(&array, schema.children[0]);
        for (int64_t row = 0; row < ROWS; row++) {
            int code = is_null_row(row) ? ArrowArrayAppendNull(&array, 1) : ArrowArrayAppendInt(&array, row * 3 - 60);
            assert_int_equal(code, NANOARROW_OK);
        }
        finish(&array);
        ok(qn_reader_init(&reader, schema.children[0], &error));
        for (int s = 0; s < 2; s++) {
            slice(&array, starts[s]);
            ok(qn_reader_bind(&reader, &array, &error));
            assert_true(reader.nullable_seen);
            for (int64_t row = 0; row < array.length; row++) {
                int64_t at = row + starts[s];
                assert_int_equal(qn_reader_is_null(&reader, row), is_null_row(at));
                assert_true(is_null_row(at) || qn_reader_int64(&reader, row) == at * 3 - 60);
            }
        }
        qn_reader_dispose(&reader);
    }
}

static void reader__unsigned_integers(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        uint64_t most;
    } cases[] = { { "C", UINT8_MAX }, { "S", UINT16_MAX }, { "I", UINT32_MAX }, { "L", UINT64_MAX } };
    for (int f = 0; f < 4; f++) {
        qn_auto_schema schema = { 0 };
        qn_auto_array array = { 0 };
        struct qn_reader reader;
        make_schema(&schema, 1, "c", cases[f].format);
        start(&array, schema.children[0]);
        assert_int_equal(ArrowArrayAppendUInt(&array, 1), NANOARROW_OK);
        assert_int_equal(ArrowArrayAppendUInt(&array, cases[f].most), NANOARROW_OK);
        finish(&array);
        ok(qn_reader_init(&reader, schema.children[0], &error));
        ok(qn_reader_bind(&reader, &array, &error));
        assert_false(reader.nullable_seen);
        assert_true(qn_reader_uint64(&reader, 0) == 1);
        assert_true(qn_reader_uint64(&reader, 1) == cases[f].most);
        assert_true(f == 3 || qn_reader_int64(&reader, 1) == (int64_t)cases[f].most);
        qn_reader_dispose(&reader);
    }
}

static void reader__floats(void **state)
{
    (void)state;
    static const double numbers[] = { 0.0, 1.5, -65504.0, 0.00006103515625 };
    static const char *const formats[] = { "e", "f", "g" };
    for (int f = 0; f < 3; f++) {
        qn_auto_schema schema = { 0 };
        qn_auto_array array = { 0 };
        struct qn_reader reader;
        make_schema(&schema, 1, "c", formats[f]);
        start(&array, schema.children[0]);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(ArrowArrayAppendDouble(&array, numbers[i]), NANOARROW_OK);
        }
        finish(&array);
        ok(qn_reader_init(&reader, schema.children[0], &error));
        ok(qn_reader_bind(&reader, &array, &error));
        for (int i = 0; i < 4; i++) {
            assert_true(qn_reader_float64(&reader, i) == numbers[i]);
        }
        qn_reader_dispose(&reader);
    }
}

/* Every binary16, by the formula of IEEE 754: (-1)^s * 2^(e-15) * (1 + f/1024), subnormal 2^-14 * f/1024. */
static void reader__every_half_float(void **state)
{
    (void)state;
    uint16_t *halves = malloc(65536 * sizeof *halves);
    assert_non_null(halves);
    for (uint32_t i = 0; i < 65536; i++) {
        halves[i] = (uint16_t)i;
    }
    struct hand hand;
    struct qn_reader reader;
    hand_make(&hand, 65536, 2);
    hand.buffers[1] = halves;
    make_reader(&reader, "e");
    ok(qn_reader_bind(&reader, &hand.array, &error));
    for (int i = 0; i < 65536; i++) {
        int exponent = (i >> 10) & 31, fraction = i & 1023;
        double sign = i >> 15 ? -1.0 : 1.0;
        double number = qn_reader_float64(&reader, i);
        if (exponent == 31) {
            assert_true(fraction != 0 ? isnan(number) : number == sign * (double)INFINITY);
        } else {
            double expected = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
            assert_true(number == sign * expected);
            assert_int_equal(signbit(number) != 0, i >> 15);
        }
    }
    qn_reader_dispose(&reader);
    free(halves);
}

static void reader__bools(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    qn_auto_array array = { 0 };
    struct qn_reader reader;
    make_schema(&schema, 1, "c", "b");
    start(&array, schema.children[0]);
    for (int64_t row = 0; row < ROWS; row++) {
        int code = is_null_row(row) ? ArrowArrayAppendNull(&array, 1) : ArrowArrayAppendInt(&array, row % 3 == 0);
        assert_int_equal(code, NANOARROW_OK);
    }
    finish(&array);
    ok(qn_reader_init(&reader, schema.children[0], &error));
    for (int s = 0; s < 2; s++) {
        slice(&array, starts[s]);
        ok(qn_reader_bind(&reader, &array, &error));
        for (int64_t row = 0; row < array.length; row++) {
            int64_t at = row + starts[s];
            assert_int_equal(qn_reader_is_null(&reader, row), is_null_row(at));
            assert_true(is_null_row(at) || qn_reader_bool(&reader, row) == (at % 3 == 0));
        }
    }
    qn_reader_dispose(&reader);
}

static void reader__decimals_of_every_width(void **state)
{
    (void)state;
    static const struct {
        const char *format, *digits;
    } cases[] = { { "d:9,2,32", "-999999999" },
                  { "d:18,0,64", "999999999999999999" },
                  { "d:38,5", "-99999999999999999999999999999999999999" },
                  { "d:76,5,256", "-99999999999999999999999999999999999999" },
                  { "d:76,0,256", "17" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_auto_schema schema = { 0 };
        qn_auto_array array = { 0 };
        struct qn_reader reader;
        struct ArrowDecimal decimal;
        struct ArrowSchemaView view;
        qn_int128 value, expected;
        int scale;
        make_schema(&schema, 1, "c", cases[i].format);
        assert_int_equal(ArrowSchemaViewInit(&view, schema.children[0], NULL), NANOARROW_OK);
        ArrowDecimalInit(&decimal, view.decimal_bitwidth, view.decimal_precision, view.decimal_scale);
        assert_int_equal(ArrowDecimalSetDigits(&decimal, ArrowCharView(cases[i].digits)), NANOARROW_OK);
        start(&array, schema.children[0]);
        assert_int_equal(ArrowArrayAppendNull(&array, 1), NANOARROW_OK);
        assert_int_equal(ArrowArrayAppendDecimal(&array, &decimal), NANOARROW_OK);
        finish(&array);
        ok(qn_reader_init(&reader, schema.children[0], &error));
        ok(qn_reader_bind(&reader, &array, &error));
        assert_true(qn_reader_is_null(&reader, 0));
        assert_true(qn_reader_decimal(&reader, 1, &value));
        assert_true(qn_decimal_parse(cases[i].digits, strlen(cases[i].digits), &expected, &scale));
        assert_true(value == expected);
        qn_reader_dispose(&reader);
    }
}

static void reader__decimal256_past_38_digits_is_told(void **state)
{
    (void)state;
    qn_int128 words[] = { qn_decimal_power(38), 0, qn_decimal_power(38) - 1, 0, 5, 1, -5, -1, 5, -1 };
    struct hand hand;
    struct qn_reader reader;
    qn_int128 value;
    hand_make(&hand, 5, 2);
    hand.buffers[1] = words;
    make_reader(&reader, "d:76,0,256");
    ok(qn_reader_bind(&reader, &hand.array, &error));
    assert_false(qn_reader_decimal(&reader, 0, &value)); /* 10^38 */
    assert_true(qn_reader_decimal(&reader, 1, &value));
    assert_false(qn_reader_decimal(&reader, 2, &value)); /* 2^128 + 5 */
    assert_true(qn_reader_decimal(&reader, 3, &value));
    assert_true(value == -5);
    assert_false(qn_reader_decimal(&reader, 4, &value)); /* -2^128 + 5 */
    qn_reader_dispose(&reader);
}

/* Of `size` bytes that differ by row. */
static void fill_value(char *out, size_t size, int64_t row)
{
    for (size_t i = 0; i < size; i++) {
        out[i] = (char)('A' + (row + (int64_t)i) % 26);
    }
}

static void reader__strings_and_binaries_in_every_layout(void **state)
{
    (void)state;
    static const char *const formats[] = { "u", "U", "vu", "z", "Z", "vz", "w:20" };
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
        qn_auto_schema schema = { 0 };
        qn_auto_array array = { 0 };
        struct qn_reader reader;
        char value[64];
        make_schema(&schema, 1, "c", formats[f]);
        start(&array, schema.children[0]);
        for (int64_t row = 0; row < ROWS; row++) {
            size_t size = formats[f][0] == 'w' ? 20 : (size_t)row;
            fill_value(value, size, row);
            struct ArrowBufferView bytes = { .data.as_char = value, .size_bytes = (int64_t)size };
            int code = is_null_row(row) ? ArrowArrayAppendNull(&array, 1) : ArrowArrayAppendBytes(&array, bytes);
            assert_int_equal(code, NANOARROW_OK);
        }
        finish(&array);
        ok(qn_reader_init(&reader, schema.children[0], &error));
        for (int s = 0; s < 2; s++) {
            slice(&array, starts[s]);
            ok(qn_reader_bind(&reader, &array, &error));
            for (int64_t row = 0; row < array.length; row++) {
                int64_t at = row + starts[s];
                assert_int_equal(qn_reader_is_null(&reader, row), is_null_row(at));
                if (!is_null_row(at)) {
                    size_t size = formats[f][0] == 'w' ? 20 : (size_t)at;
                    fill_value(value, size, at);
                    expect_bytes(&reader, row, value, size);
                }
            }
        }
        qn_reader_dispose(&reader);
    }
}

static void reader__intervals_of_three_kinds(void **state)
{
    (void)state;
    static const int32_t months_only[] = { -14 };
    static const int32_t day_time[] = { 3, -250 };
    struct {
        int32_t months, days;
        int64_t nanos;
    } month_day_nano = { 1, -2, INT64_MIN };
    const void *data[] = { months_only, day_time, &month_day_nano };
    static const char *const formats[] = { "tiM", "tiD", "tin" };
    static const int64_t expected[][3] = { { -14, 0, 0 }, { 0, 3, -250000000 }, { 1, -2, INT64_MIN } };
    for (int i = 0; i < 3; i++) {
        struct hand hand;
        struct qn_reader reader;
        int32_t months, days;
        int64_t nanos;
        hand_make(&hand, 1, 2);
        hand.buffers[1] = data[i];
        make_reader(&reader, formats[i]);
        ok(qn_reader_bind(&reader, &hand.array, &error));
        qn_reader_interval(&reader, 0, &months, &days, &nanos);
        assert_int_equal(months, expected[i][0]);
        assert_int_equal(days, expected[i][1]);
        assert_true(nanos == expected[i][2]);
        qn_reader_dispose(&reader);
    }
}

static void reader__null_type(void **state)
{
    (void)state;
    struct hand hand;
    struct qn_reader reader;
    hand_make(&hand, 3, 0);
    hand.array.buffers = NULL;
    make_reader(&reader, "n");
    ok(qn_reader_bind(&reader, &hand.array, &error));
    assert_true(qn_reader_is_null(&reader, 2));
    assert_true(reader.nullable_seen);
    qn_reader_dispose(&reader);
}

/* ---- nested ---- */

static void make_list_schema(struct ArrowSchema *schema, const char *format)
{
    struct qn_type number = qn_type_of(QN_TYPE_INT64);
    make_schema(schema, 1, "c", format);
    ok(qn_schema_children(schema->children[0], 1, &error));
    ok(qn_schema_set(schema->children[0], 0, "item", &number, &error));
}

static void reader__lists(void **state)
{
    (void)state;
    static const char *const formats[] = { "+l", "+L", "+w:3" };
    for (int f = 0; f < 3; f++) {
        qn_auto_schema schema = { 0 };
        qn_auto_array array = { 0 };
        struct qn_reader reader;
        make_list_schema(&schema, formats[f]);
        start(&array, schema.children[0]);
        for (int64_t row = 0; row < ROWS; row++) {
            if (is_null_row(row)) {
                assert_int_equal(ArrowArrayAppendNull(&array, 1), NANOARROW_OK);
                continue;
            }
            for (int64_t item = 0; item < (f == 2 ? 3 : row % 4); item++) {
                assert_int_equal(ArrowArrayAppendInt(array.children[0], row * 10 + item), NANOARROW_OK);
            }
            assert_int_equal(ArrowArrayFinishElement(&array), NANOARROW_OK);
        }
        finish(&array);
        ok(qn_reader_init(&reader, schema.children[0], &error));
        for (int s = 0; s < 2; s++) {
            slice(&array, starts[s]);
            ok(qn_reader_bind(&reader, &array, &error));
            for (int64_t row = 0; row < array.length; row++) {
                int64_t at = row + starts[s], first, count;
                assert_int_equal(qn_reader_is_null(&reader, row), is_null_row(at));
                if (is_null_row(at)) {
                    continue;
                }
                assert_true(qn_reader_list(&reader, row, &first, &count));
                assert_int_equal(count, f == 2 ? 3 : at % 4);
                for (int64_t item = 0; item < count; item++) {
                    assert_int_equal(qn_reader_int64(&reader.children[0], first + item), at * 10 + item);
                }
            }
        }
        qn_reader_dispose(&reader);
    }
}

static void reader__structs_sliced_with_sliced_children(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    struct qn_type number = qn_type_of(QN_TYPE_INT32);
    make_schema(&schema, 1, "s", "+s");
    ok(qn_schema_children(schema.children[0], 1, &error));
    ok(qn_schema_set(schema.children[0], 0, "n", &number, &error));
    static const int32_t numbers[] = { 100, 101, 102, 103, 104, 105, 106, 107 };
    struct hand parent, child;
    hand_make(&child, 6, 2); /* rows 2.. of the numbers */
    child.buffers[1] = numbers;
    child.array.offset = 2;
    hand_make(&parent, 4, 1); /* rows 1.. of the child */
    parent.array.offset = 1;
    parent.array.n_children = 1;
    parent.children[0] = &child.array;
    struct qn_reader reader;
    ok(qn_reader_init(&reader, schema.children[0], &error));
    ok(qn_reader_bind(&reader, &parent.array, &error));
    for (int64_t row = 0; row < 4; row++) {
        int64_t at = qn_reader_struct_row(&reader, row);
        assert_int_equal(qn_reader_int64(&reader.children[0], at), 103 + row);
    }
    qn_reader_dispose(&reader);
}

/* ---- dictionaries ---- */

static void put_index(void *indices, int width, int64_t at, int64_t index)
{
    memcpy((char *)indices + at * width, &index, (size_t)width); /* little-endian */
}

static void make_dictionary_schema(struct ArrowSchema *schema, const char *index_format)
{
    make_schema(schema, 1, "code", index_format);
    assert_int_equal(ArrowSchemaAllocateDictionary(schema->children[0]), NANOARROW_OK);
    assert_int_equal(ArrowSchemaInitFromType(schema->children[0]->dictionary, NANOARROW_TYPE_STRING), NANOARROW_OK);
}

static void reader__dictionaries_with_every_index_type(void **state)
{
    (void)state;
    static const char *const formats[] = { "c", "C", "s", "S", "i", "I", "l", "L" };
    static const int widths[] = { 1, 1, 2, 2, 4, 4, 8, 8 };
    static const int32_t offsets[] = { 0, 0, 3, 6, 11 };
    static const uint8_t words_valid = 0x0B; /* the third word is null */
    static const uint8_t rows_valid = 0x2F;  /* row 4 is null */
    for (int f = 0; f < 8; f++) {
        qn_auto_schema schema = { 0 };
        struct hand rows, words;
        struct qn_reader reader;
        int64_t indices[8] = { 0 };
        static const int64_t picks[] = { 3, 1, 2, 0, 99, 3 }; /* 99 stands under a null */
        make_dictionary_schema(&schema, formats[f]);
        for (int i = 0; i < 6; i++) {
            put_index(indices, widths[f], i, picks[i]);
        }
        hand_make(&words, 4, 3);
        words.buffers[0] = &words_valid;
        words.buffers[1] = offsets;
        words.buffers[2] = "onetwothree";
        hand_make(&rows, 5, 2);
        rows.array.offset = 1;
        rows.buffers[0] = &rows_valid;
        rows.buffers[1] = indices;
        rows.array.dictionary = &words.array;
        ok(qn_reader_init(&reader, schema.children[0], &error));
        assert_int_equal(reader.type.id, QN_TYPE_STRING);
        ok(qn_reader_bind(&reader, &rows.array, &error));
        expect_bytes(&reader, 0, "one", 3);
        assert_true(qn_reader_is_null(&reader, 1)); /* the word is null */
        expect_bytes(&reader, 2, "", 0);
        assert_true(qn_reader_is_null(&reader, 3)); /* the index is null */
        assert_false(qn_reader_is_null(&reader, 4));
        expect_bytes(&reader, 4, "three", 5);
        qn_reader_dispose(&reader);
    }
}

static void reader__dictionary_index_outside_is_refused_with_its_row(void **state)
{
    (void)state;
    static const char *const formats[] = { "c", "C", "i", "L" };
    static const int widths[] = { 1, 1, 4, 8 };
    static const int64_t bad[] = { -1, 200, 2, -1 };
    static const int32_t offsets[] = { 0, 1, 2 };
    for (int f = 0; f < 4; f++) {
        qn_auto_schema schema = { 0 };
        struct hand rows, words;
        struct qn_reader reader;
        int64_t indices[4] = { 0 };
        make_dictionary_schema(&schema, formats[f]);
        put_index(indices, widths[f], 2, bad[f]);
        hand_make(&words, 2, 3);
        words.buffers[1] = offsets;
        words.buffers[2] = "ab";
        hand_make(&rows, 3, 2);
        rows.buffers[1] = indices;
        rows.array.dictionary = &words.array;
        ok(qn_reader_init(&reader, schema.children[0], &error));
        refused(qn_reader_bind(&reader, &rows.array, &error), QN_ERR_DATA, "\"code\"");
        assert_int_equal(error.row, 2);
        rows.array.dictionary = NULL;
        refused(qn_reader_bind(&reader, &rows.array, &error), QN_ERR_DATA, "dictionary");
        qn_reader_dispose(&reader);
    }
}

static void reader__dictionary_of_structs(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 1, "code", "c");
    assert_int_equal(ArrowSchemaAllocateDictionary(schema.children[0]), NANOARROW_OK);
    make_schema(schema.children[0]->dictionary, 1, "n", "l");
    static const int64_t numbers[] = { 70, 71, 72 };
    static const int8_t indices[] = { 1, 0, 1 };
    struct hand rows, records, child;
    hand_make(&child, 3, 2);
    child.buffers[1] = numbers;
    hand_make(&records, 2, 1);
    records.array.offset = 1;
    records.array.n_children = 1;
    records.children[0] = &child.array;
    hand_make(&rows, 3, 2);
    rows.buffers[1] = indices;
    rows.array.dictionary = &records.array;
    struct qn_reader reader;
    ok(qn_reader_init(&reader, schema.children[0], &error));
    ok(qn_reader_bind(&reader, &rows.array, &error));
    assert_int_equal(reader.n_children, 1);
    assert_int_equal(qn_reader_int64(&reader.children[0], qn_reader_struct_row(&reader, 0)), 72);
    assert_int_equal(qn_reader_int64(&reader.children[0], qn_reader_struct_row(&reader, 1)), 71);
    qn_reader_dispose(&reader);
}

/* ---- microseconds ---- */

static void reader__micros_are_exact_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        int64_t value;
        bool good;
        int64_t micros;
    } cases[] = {
        { "tss:", 1, true, 1000000 },
        { "tss:", INT64_MAX / 1000000, true, INT64_MAX / 1000000 * 1000000 },
        { "tss:", INT64_MAX / 1000000 + 1, false, 0 },
        { "tss:", INT64_MIN / 1000000 - 1, false, 0 },
        { "tsm:", -1, true, -1000 },
        { "tsm:", INT64_MAX / 1000 + 1, false, 0 },
        { "tsu:UTC", INT64_MIN, true, INT64_MIN },
        { "tsn:", -2000, true, -2 },
        { "tsn:", 1, false, 0 },
        { "tsn:", -1999, false, 0 },
        { "ttn", 86399999999000, true, 86399999999 },
        { "tDs", -5, true, -5000000 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hand hand;
        struct qn_reader reader;
        int64_t micros;
        hand_make(&hand, 1, 2);
        hand.buffers[1] = &cases[i].value;
        make_reader(&reader, cases[i].format);
        ok(qn_reader_bind(&reader, &hand.array, &error));
        assert_int_equal(qn_reader_micros(&reader, 0, &micros), cases[i].good);
        assert_true(!cases[i].good || micros == cases[i].micros);
        qn_reader_dispose(&reader);
    }
}

/* ---- batches ---- */

static void batch_reader__folds_the_batch_offset_into_its_columns(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 2, "a", "l", "b", "l");
    static const int64_t a[] = { 0, 1, 2, 3, 4, 5 }, b[] = { 10, 11, 12, 13, 14, 15, 16, 17 };
    struct hand batch, first, second;
    hand_make(&first, 6, 2);
    first.buffers[1] = a;
    hand_make(&second, 6, 2);
    second.buffers[1] = b;
    second.array.offset = 2;
    hand_make(&batch, 3, 1);
    batch.array.offset = 2;
    batch.array.n_children = 2;
    batch.children[0] = &first.array;
    batch.children[1] = &second.array;
    struct qn_batch_reader reader;
    ok(qn_batch_reader_init(&reader, &schema, &error));
    for (int again = 0; again < 2; again++) {
        ok(qn_batch_reader_bind(&reader, &batch.array, &error));
        assert_int_equal(reader.length, 3);
        for (int64_t row = 0; row < 3; row++) {
            assert_int_equal(qn_reader_int64(&reader.columns[0], row), 2 + row);
            assert_int_equal(qn_reader_int64(&reader.columns[1], row), 14 + row);
        }
    }
    batch.array.length = 5;
    refused(qn_batch_reader_bind(&reader, &batch.array, &error), QN_ERR_DATA, "\"a\"");
    batch.array.length = 3;
    batch.array.n_children = 1;
    refused(qn_batch_reader_bind(&reader, &batch.array, &error), QN_ERR_DATA, "1 columns where the schema has 2");
    qn_batch_reader_dispose(&reader);
    refused(qn_batch_reader_init(&reader, schema.children[0], &error), QN_ERR_DATA, "struct");
}

static void batch_reader__null_rows_are_refused(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 1, "a", "l");
    static const int64_t values[] = { 0, 1, 2, 3 };
    uint8_t valid = 0x0E; /* row 0 is null, outside of the slice */
    struct hand batch, column;
    hand_make(&column, 4, 2);
    column.buffers[1] = values;
    hand_make(&batch, 3, 1);
    batch.array.offset = 1;
    batch.array.n_children = 1;
    batch.children[0] = &column.array;
    batch.buffers[0] = &valid;
    struct qn_batch_reader reader;
    ok(qn_batch_reader_init(&reader, &schema, &error));
    ok(qn_batch_reader_bind(&reader, &batch.array, &error));
    valid = 0x0A; /* row 2, the slice's row 1 */
    refused(qn_batch_reader_bind(&reader, &batch.array, &error), QN_ERR_DATA, "row 1 is null as a whole");
    assert_int_equal(error.row, 1);
    qn_batch_reader_dispose(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader__signed_integers_of_every_type),
        cmocka_unit_test(reader__unsigned_integers),
        cmocka_unit_test(reader__floats),
        cmocka_unit_test(reader__every_half_float),
        cmocka_unit_test(reader__bools),
        cmocka_unit_test(reader__decimals_of_every_width),
        cmocka_unit_test(reader__decimal256_past_38_digits_is_told),
        cmocka_unit_test(reader__strings_and_binaries_in_every_layout),
        cmocka_unit_test(reader__intervals_of_three_kinds),
        cmocka_unit_test(reader__null_type),
        cmocka_unit_test(reader__lists),
        cmocka_unit_test(reader__structs_sliced_with_sliced_children),
        cmocka_unit_test(reader__dictionaries_with_every_index_type),
        cmocka_unit_test(reader__dictionary_index_outside_is_refused_with_its_row),
        cmocka_unit_test(reader__dictionary_of_structs),
        cmocka_unit_test(reader__micros_are_exact_or_refused),
        cmocka_unit_test(batch_reader__folds_the_batch_offset_into_its_columns),
        cmocka_unit_test(batch_reader__null_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
