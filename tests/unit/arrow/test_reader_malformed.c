/*
 * test_reader_malformed.c: arrays that do not have the shape of their schema are refused, or the getter says so.
 */
#include "hand.h"

static const int64_t numbers[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
static const uint8_t bits[] = { 0x55 };

/* A right array of 4 int64, to be spoilt. */
static void right_numbers(struct hand *hand)
{
    hand_make(hand, 4, 2);
    hand->buffers[0] = bits;
    hand->buffers[1] = numbers;
}

static void bind__refuses_bad_heads(void **state)
{
    (void)state;
    struct hand hand;
    struct qn_reader reader;
    make_reader(&reader, "l");
    right_numbers(&hand);
    ok(qn_reader_bind(&reader, &hand.array, &error));

    hand.array.length = -1;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "column \"c\": malformed");
    assert_string_equal(error.column_name, "c");
    hand.array.length = 4;
    hand.array.offset = -1;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "length or offset");
    hand.array.offset = INT64_MAX;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "length or offset");
    hand.array.length = INT64_MAX;
    hand.array.offset = 0;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "length or offset");
    right_numbers(&hand);
    hand.array.null_count = -2;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "null count");
    hand.array.null_count = 5;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "null count");
    hand.array.null_count = 2;
    hand.buffers[0] = NULL;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "nulls without");
    right_numbers(&hand);
    hand.array.n_buffers = 1;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "number of buffers");
    hand.array.n_buffers = 3;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "number of buffers");
    hand.array.n_buffers = 2;
    hand.array.buffers = NULL;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "number of buffers");
    right_numbers(&hand);
    hand.buffers[1] = NULL;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "no values");
    hand.array.length = 0;
    ok(qn_reader_bind(&reader, &hand.array, &error));
    hand.array.release = NULL;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "released");
    refused(qn_reader_bind(&reader, NULL, &error), QN_ERR_DATA, "missing");
    right_numbers(&hand);
    struct hand other;
    right_numbers(&other);
    hand.array.dictionary = &other.array;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "dictionary");
    qn_reader_dispose(&reader);
}

static void bind__refuses_widths_that_overflow(void **state)
{
    (void)state;
    struct hand hand;
    struct qn_reader reader;
    hand_make(&hand, INT64_MAX / 1024, 2);
    hand.buffers[1] = numbers;
    make_reader(&reader, "w:2147483647");
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "cannot be counted");
    qn_reader_dispose(&reader);
}

static void bind__refuses_bad_ends_of_offsets(void **state)
{
    (void)state;
    int32_t offsets[] = { 0, 2, 4 };
    int64_t wide[] = { 0, 2, 4 };
    for (int f = 0; f < 2; f++) {
        struct hand hand;
        struct qn_reader reader;
        hand_make(&hand, 2, 3);
        hand.buffers[1] = f == 0 ? (const void *)offsets : (const void *)wide;
        hand.buffers[2] = "abcd";
        make_reader(&reader, f == 0 ? "u" : "U");
        ok(qn_reader_bind(&reader, &hand.array, &error));
        expect_bytes(&reader, 1, "cd", 2);
        hand.buffers[2] = NULL;
        refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "no bytes");
        hand.buffers[2] = "abcd";
        offsets[2] = -4;
        wide[2] = -4;
        refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "backwards");
        offsets[0] = -1;
        wide[0] = -1;
        offsets[2] = 4;
        wide[2] = 4;
        refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "negative");
        offsets[0] = 0;
        wide[0] = 0;
        hand.buffers[1] = NULL;
        refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "no offsets");
        hand.array.length = 0;
        ok(qn_reader_bind(&reader, &hand.array, &error)); /* some producers give none for no rows */
        hand.array.length = 2;
        qn_reader_dispose(&reader);
    }
}

static void getter__tells_bad_offsets_between(void **state)
{
    (void)state;
    static const struct {
        int32_t offsets[4];
        bool good[3];
    } cases[] = {
        { { 0, 3, 2, 4 }, { true, false, true } },
        { { 0, 9, 2, 4 }, { false, false, true } },
        { { 0, -1, 2, 4 }, { false, false, true } },
        { { 0, INT32_MAX, INT32_MIN, 4 }, { false, false, false } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hand hand;
        struct qn_reader reader;
        hand_make(&hand, 3, 3);
        hand.buffers[1] = cases[i].offsets;
        hand.buffers[2] = "abcd";
        make_reader(&reader, "u");
        ok(qn_reader_bind(&reader, &hand.array, &error));
        for (int64_t row = 0; row < 3; row++) {
            const char *bytes;
            size_t size;
            assert_int_equal(qn_reader_bytes(&reader, row, &bytes, &size), cases[i].good[row]);
        }
        qn_reader_dispose(&reader);
    }
}

static void getter__tells_views_outside_of_their_blocks(void **state)
{
    (void)state;
    static const char block[20] = "a block of 20 bytes.";
    static const int64_t block_sizes[] = { 20, 0 };
    union qn_view views[8];
    static const struct {
        int32_t size, block, offset;
        bool good;
    } cases[] = {
        { 20, 0, 0, true },          { 21, 0, 0, false },         { 13, 0, 7, true },  { 13, 0, 8, false },
        { 13, 0, -1, false },        { INT32_MAX, 0, 5, false },  { 13, 1, 0, false }, { 13, 2, 0, false },
        { 13, -1, 0, false },        { 13, INT32_MAX, 0, false }, { -1, 0, 0, false }, { INT32_MIN, 0, 0, false },
        { 13, 0, INT32_MAX, false },
    };
    struct hand hand;
    struct qn_reader reader;
    hand_make(&hand, 1, 5);
    hand.buffers[1] = views;
    hand.buffers[2] = block;
    hand.buffers[3] = NULL;
    hand.buffers[4] = block_sizes;
    make_reader(&reader, "vu");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *bytes;
        size_t size;
        views[0] = (union qn_view){ .reference = { cases[i].size, "a bl", cases[i].block, cases[i].offset } };
        ok(qn_reader_bind(&reader, &hand.array, &error));
        assert_int_equal(qn_reader_bytes(&reader, 0, &bytes, &size), cases[i].good);
        assert_true(!cases[i].good || bytes == block + cases[i].offset);
    }
    qn_reader_dispose(&reader);
}

static void bind__refuses_views_without_blocks_or_sizes(void **state)
{
    (void)state;
    static const union qn_view views[2];
    int64_t block_sizes[] = { 4 };
    struct hand hand;
    struct qn_reader reader;
    make_reader(&reader, "vz");
    hand_make(&hand, 2, 3);
    hand.buffers[1] = views;
    ok(qn_reader_bind(&reader, &hand.array, &error)); /* no blocks: their sizes may be missing */
    hand.array.n_buffers = 2;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "number of buffers");
    hand.array.n_buffers = 4;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "without their sizes");
    hand.buffers[3] = block_sizes;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "block of views is missing");
    hand.buffers[2] = "abcd";
    ok(qn_reader_bind(&reader, &hand.array, &error));
    block_sizes[0] = -1;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "block of views is missing");
    block_sizes[0] = 4;
    hand.buffers[1] = NULL;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "no views");
    qn_reader_dispose(&reader);
}

static void make_nested(struct qn_reader *reader, const char *format)
{
    qn_auto_schema schema = { 0 };
    struct qn_type number = qn_type_of(QN_TYPE_INT64);
    make_schema(&schema, 1, "c", format);
    ok(qn_schema_children(schema.children[0], 1, &error));
    ok(qn_schema_set(schema.children[0], 0, "item", &number, &error));
    ok(qn_reader_init(reader, schema.children[0], &error));
}

static void bind__refuses_children_that_are_too_short(void **state)
{
    (void)state;
    static const int32_t offsets[] = { 0, 2, 5 };
    static const struct {
        const char *format;
        int64_t n_buffers, offset, needed;
    } cases[] = { { "+l", 2, 0, 5 }, { "+s", 1, 3, 5 }, { "+w:2", 1, 1, 6 } };
    for (int i = 0; i < 3; i++) {
        struct hand parent, child;
        struct qn_reader reader;
        right_numbers(&child);
        hand_make(&parent, 2, cases[i].n_buffers);
        parent.array.offset = cases[i].offset;
        parent.buffers[1] = offsets;
        parent.array.n_children = 1;
        parent.children[0] = &child.array;
        make_nested(&reader, cases[i].format);
        child.array.length = cases[i].needed;
        ok(qn_reader_bind(&reader, &parent.array, &error));
        child.array.length = cases[i].needed - 1;
        refused(qn_reader_bind(&reader, &parent.array, &error), QN_ERR_DATA, "shorter");
        child.array.length = -1;
        refused(qn_reader_bind(&reader, &parent.array, &error), QN_ERR_DATA, "\"item\"");
        parent.array.n_children = 0;
        refused(qn_reader_bind(&reader, &parent.array, &error), QN_ERR_DATA, "number of children");
        parent.array.n_children = 1;
        parent.children[0] = NULL;
        refused(qn_reader_bind(&reader, &parent.array, &error), QN_ERR_DATA, "missing");
        parent.array.children = NULL;
        refused(qn_reader_bind(&reader, &parent.array, &error), QN_ERR_DATA, "number of children");
        qn_reader_dispose(&reader);
    }
}

static void getter__tells_bad_list_offsets(void **state)
{
    (void)state;
    static const int32_t offsets[] = { 0, 3, 1, 4 };
    struct hand parent, child;
    struct qn_reader reader;
    int64_t first, count;
    right_numbers(&child);
    hand_make(&parent, 3, 2);
    parent.buffers[1] = offsets;
    parent.array.n_children = 1;
    parent.children[0] = &child.array;
    make_nested(&reader, "+l");
    ok(qn_reader_bind(&reader, &parent.array, &error));
    assert_true(qn_reader_list(&reader, 0, &first, &count));
    assert_false(qn_reader_list(&reader, 1, &first, &count));
    assert_true(qn_reader_list(&reader, 2, &first, &count));
    qn_reader_dispose(&reader);
}

static void reader_init__refuses_misshapen_schemas(void **state)
{
    (void)state;
    qn_auto_schema list = { 0 }, map = { 0 }, dictionary = { 0 };
    struct qn_reader reader;
    make_schema(&list, 1, "tags", "+l");
    refused(qn_reader_init(&reader, list.children[0], &error), QN_ERR_DATA, "\"tags\": a list has one child");
    make_schema(&map, 1, "m", "+m");
    ok(qn_schema_children(map.children[0], 1, &error));
    refused(qn_reader_init(&reader, map.children[0], &error), QN_ERR_DATA, "\"m\": the entries of a map");
    make_schema(&dictionary, 1, "d", "g");
    assert_int_equal(ArrowSchemaAllocateDictionary(dictionary.children[0]), NANOARROW_OK);
    assert_int_equal(ArrowSchemaInitFromType(dictionary.children[0]->dictionary, NANOARROW_TYPE_STRING), NANOARROW_OK);
    refused(qn_reader_init(&reader, dictionary.children[0], &error), QN_ERR_DATA, "\"d\": the indices");
    assert_int_equal(ArrowSchemaSetFormat(dictionary.children[0], "what"), NANOARROW_OK);
    refused(qn_reader_init(&reader, dictionary.children[0], &error), QN_ERR_DATA,
            "column \"d\": Arrow format \"what\"");
}

/* Types that nobody reads pass through: only their length is looked at. */
static void bind__lets_unknown_types_through(void **state)
{
    (void)state;
    struct hand hand;
    struct qn_reader reader;
    hand_make(&hand, 7, 0);
    make_reader(&reader, "+r");
    ok(qn_reader_bind(&reader, &hand.array, &error));
    assert_int_equal(reader.length, 7);
    hand.array.length = -7;
    refused(qn_reader_bind(&reader, &hand.array, &error), QN_ERR_DATA, "length");
    qn_reader_dispose(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bind__refuses_bad_heads),
        cmocka_unit_test(bind__refuses_widths_that_overflow),
        cmocka_unit_test(bind__refuses_bad_ends_of_offsets),
        cmocka_unit_test(getter__tells_bad_offsets_between),
        cmocka_unit_test(getter__tells_views_outside_of_their_blocks),
        cmocka_unit_test(bind__refuses_views_without_blocks_or_sizes),
        cmocka_unit_test(bind__refuses_children_that_are_too_short),
        cmocka_unit_test(getter__tells_bad_list_offsets),
        cmocka_unit_test(reader_init__refuses_misshapen_schemas),
        cmocka_unit_test(bind__lets_unknown_types_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
