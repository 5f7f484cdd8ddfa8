/*
 * test_layout.c: streams handed out in the layout that the taker asks for; nanoarrow reads the results.
 */
#include "hand.h"

#include <errno.h>
#include <sys/mman.h>

#define ROWS 50

static bool is_null_row(int64_t row)
{
    return row % 7 == 3;
}

static size_t fill_value(char *out, int64_t row)
{
    size_t size = (size_t)(row * 2 % 40);
    for (size_t i = 0; i < size; i++) {
        out[i] = (char)('a' + (row + (int64_t)i) % 26);
    }
    return size;
}

static void fill_column(struct qn_column *column, bool with_nulls)
{
    char value[40];
    ok(qn_column_reserve(column, ROWS, &error));
    for (int64_t row = 0; row < ROWS; row++) {
        if (with_nulls && is_null_row(row)) {
            qn_column_put_null(column);
        } else {
            qn_column_put_bytes(column, value, fill_value(value, row));
        }
    }
}

/* Rows from `first` on of what fill_column put. */
static void check_column(const struct ArrowArrayView *view, int64_t first, int64_t length, bool with_nulls)
{
    char expected[40];
    for (int64_t row = 0; row < length; row++) {
        bool null = with_nulls && is_null_row(row + first);
        assert_int_equal(ArrowArrayViewIsNull(view, row), null);
        if (!null) {
            size_t size = fill_value(expected, row + first);
            struct ArrowBufferView value = ArrowArrayViewGetBytesUnsafe(view, row);
            assert_int_equal(value.size_bytes, size);
            assert_true(size == 0 || memcmp(value.data.data, expected, size) == 0);
        }
    }
}

/* A stream of one batch of one column, cut to begin at row `first` in the column or in the batch. */
static void one_column_stream(const char *format, bool with_nulls, int64_t first, bool cut_batch,
                              struct ArrowArrayStream *out)
{
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct qn_batch batch;
    make_schema(&schema, 1, "text", format);
    ok(qn_schema_metadata_set(schema.children[0], QN_KEY_SQL_TYPE, "varchar", &error));
    ok(qn_batch_init(&batch, &schema, &error));
    fill_column(&batch.columns[0], with_nulls);
    ok(qn_batch_finish(&batch, ROWS, &array, &error));
    qn_batch_dispose(&batch);
    array.length = ROWS - first;
    if (cut_batch) {
        array.offset = first;
    } else {
        array.children[0]->offset = first;
        array.children[0]->length = ROWS - first;
        array.children[0]->null_count = -1;
    }
    ok(qn_stream_from_arrays(&schema, &array, 1, out, &error));
}

static void check_conversion(const char *from, const char *to, bool with_nulls, int64_t first, bool cut_batch)
{
    struct ArrowArrayStream stream, converted;
    qn_auto_schema requested = { 0 }, schema = { 0 };
    qn_auto_array array = { 0 };
    make_schema(&requested, 1, "whatever", to);
    one_column_stream(from, with_nulls, first, cut_batch, &stream);
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    assert_null(stream.release);
    ok(qn_stream_schema(&converted, &schema, &error));
    assert_string_equal(schema.children[0]->format, to);
    assert_string_equal(schema.children[0]->name, "text"); /* names and metadata stay those of the source */
    const char *sql_type;
    size_t size;
    assert_true(qn_schema_metadata_get(schema.children[0], QN_KEY_SQL_TYPE, &sql_type, &size));
    assert_int_equal(size, 7);
    ok(qn_stream_next(&converted, &array, &error));
    struct ArrowArray end = { 0 };
    ok(qn_stream_next(&converted, &end, &error));
    assert_null(end.release);
    converted.release(&converted); /* the batch lives on without the stream */
    struct ArrowArrayView view;
    make_view(&view, &schema, &array);
    assert_int_equal(array.length, ROWS - first);
    if (cut_batch) {
        assert_int_equal(array.offset, first);
        check_column(view.children[0], 0, ROWS, with_nulls); /* the batch has the offset, its column not */
    } else {
        check_column(view.children[0], first, ROWS - first, with_nulls);
    }
    ArrowArrayViewReset(&view);
}

static void layout__every_pair_whole_and_sliced(void **state)
{
    (void)state;
    static const char *const families[][3] = { { "vu", "u", "U" }, { "vz", "z", "Z" } };
    static const int64_t firsts[] = { 0, 8, 13, ROWS };
    for (int family = 0; family < 2; family++) {
        for (int from = 0; from < 3; from++) {
            for (int to = 0; to < 3; to++) {
                for (int cut = 0; from != to && cut < 16; cut++) {
                    check_conversion(families[family][from], families[family][to], cut & 1, firsts[cut / 4],
                                     (cut & 2) != 0);
                }
            }
        }
    }
}

static void layout__null_counts_are_exact(void **state)
{
    (void)state;
    struct ArrowArrayStream stream, converted;
    qn_auto_schema requested = { 0 };
    qn_auto_array array = { 0 };
    make_schema(&requested, 1, "c", "U");
    one_column_stream("vu", true, 5, false, &stream);
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    ok(qn_stream_next(&converted, &array, &error));
    int64_t nulls = 0;
    for (int64_t row = 5; row < ROWS; row++) {
        nulls += is_null_row(row);
    }
    assert_int_equal(array.children[0]->null_count, nulls);
    converted.release(&converted);
}

/* Requests that are not another layout of the same values leave the stream as it is, pointers and all. */
static void layout__what_is_not_a_layout_is_left_alone(void **state)
{
    (void)state;
    static const char *const formats[] = { "vu", "vz", "l", "n", "+s", "w:3" };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct ArrowArrayStream stream, converted;
        qn_auto_schema requested = { 0 };
        make_schema(&requested, 1, "c", formats[i]);
        one_column_stream("vu", false, 0, false, &stream);
        void *before = stream.private_data;
        ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
        assert_null(stream.release);
        assert_ptr_equal(converted.private_data, before);
        converted.release(&converted);
    }
}

static void layout__other_columns_are_moved_not_copied(void **state)
{
    (void)state;
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct qn_batch batch;
    struct ArrowArrayStream stream, converted;
    qn_auto_schema requested = { 0 };
    qn_auto_array out = { 0 };
    make_schema(&schema, 3, "n", "l", "a", "vu", "b", "vu");
    make_schema(&requested, 3, "n", "l", "a", "U", "b", "vu");
    ok(qn_batch_init(&batch, &schema, &error));
    ok(qn_batch_reserve(&batch, ROWS, &error));
    for (int64_t row = 0; row < ROWS; row++) {
        qn_column_put_int64(&batch.columns[0], row);
    }
    fill_column(&batch.columns[1], true);
    fill_column(&batch.columns[2], true);
    ok(qn_batch_finish(&batch, ROWS, &array, &error));
    qn_batch_dispose(&batch);
    const void *numbers = array.children[0]->buffers[1], *views = array.children[2]->buffers[1];
    ok(qn_stream_from_arrays(&schema, &array, 1, &stream, &error));
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    ok(qn_stream_next(&converted, &out, &error));
    assert_ptr_equal(out.children[0]->buffers[1], numbers);
    assert_ptr_equal(out.children[2]->buffers[1], views);
    struct ArrowArrayView view;
    make_view(&view, &requested, &out);
    check_column(view.children[1], 0, ROWS, true);
    check_column(view.children[2], 0, ROWS, true);
    ArrowArrayViewReset(&view);
    converted.release(&converted);
}

/* Views over offsets point into the source's own bytes, which stay alive for them. */
static void layout__views_lend_the_bytes_of_the_source(void **state)
{
    (void)state;
    struct ArrowArrayStream stream, converted;
    qn_auto_schema requested = { 0 };
    struct ArrowArray array = { 0 };
    make_schema(&requested, 1, "c", "vu");
    one_column_stream("u", false, 0, false, &stream);
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    ok(qn_stream_next(&converted, &array, &error));
    converted.release(&converted);
    assert_int_equal(array.children[0]->n_buffers, 4);
    struct ArrowArray child = *array.children[0];
    array.children[0]->release = NULL;
    array.release(&array);
    struct ArrowArrayView view;
    make_view(&view, requested.children[0], &child);
    check_column(&view, 0, ROWS, false);
    ArrowArrayViewReset(&view);
    child.release(&child);
}

/* ---- nested ---- */

static void add_child(struct ArrowSchema *field, int64_t i, const char *name, const char *format)
{
    struct qn_type type;
    ok(qn_type_from_format(format, &type, &error));
    ok(qn_schema_set(field, i, name, &type, &error));
}

/* { tags: list of text, who: struct of id and name } */
static void nested_schema(struct ArrowSchema *schema, const char *text)
{
    make_schema(schema, 2, "tags", "+l", "who", "+s");
    ok(qn_schema_children(schema->children[0], 1, &error));
    add_child(schema->children[0], 0, "item", text);
    ok(qn_schema_children(schema->children[1], 2, &error));
    add_child(schema->children[1], 0, "id", "l");
    add_child(schema->children[1], 1, "name", text);
}

static void nested_batch(const struct ArrowSchema *schema, struct ArrowArray *out)
{
    struct qn_batch batch;
    char value[40];
    ok(qn_batch_init(&batch, schema, &error));
    ok(qn_batch_reserve(&batch, ROWS, &error));
    struct qn_column *tags = &batch.columns[0], *who = &batch.columns[1];
    ok(qn_column_reserve(&tags->children[0], ROWS * 2, &error));
    ok(qn_column_reserve(&who->children[0], ROWS, &error));
    ok(qn_column_reserve(&who->children[1], ROWS, &error));
    for (int64_t row = 0; row < ROWS; row++) {
        if (is_null_row(row)) {
            qn_column_put_null(tags);
            qn_column_put_null(who);
            continue;
        }
        qn_column_put_bytes(&tags->children[0], value, fill_value(value, row));
        qn_column_put_null(&tags->children[0]);
        ok(qn_column_end_list(tags, &error));
        qn_column_put_int64(&who->children[0], row);
        qn_column_put_bytes(&who->children[1], value, fill_value(value, row));
        qn_column_end_struct(who);
    }
    ok(qn_batch_finish(&batch, ROWS, out, &error));
    qn_batch_dispose(&batch);
}

static void layout__reaches_into_lists_and_structs(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "vu", "u" }, { "u", "vu" }, { "U", "vu" }, { "vz", "Z" } };
    for (int p = 0; p < 4; p++) {
        struct ArrowSchema schema;
        struct ArrowArray array;
        struct ArrowArrayStream stream, converted;
        qn_auto_schema requested = { 0 }, result = { 0 };
        qn_auto_array out = { 0 };
        nested_schema(&schema, pairs[p][0]);
        nested_schema(&requested, pairs[p][1]);
        nested_batch(&schema, &array);
        const void *ids = array.children[1]->children[0]->buffers[1];
        ok(qn_stream_from_arrays(&schema, &array, 1, &stream, &error));
        ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
        ok(qn_stream_schema(&converted, &result, &error));
        ok(qn_stream_next(&converted, &out, &error));
        converted.release(&converted);
        assert_string_equal(result.children[0]->children[0]->format, pairs[p][1]);
        assert_string_equal(result.children[1]->children[1]->format, pairs[p][1]);
        assert_ptr_equal(out.children[1]->children[0]->buffers[1], ids);
        struct ArrowArrayView view;
        make_view(&view, &result, &out);
        struct ArrowArrayView *items = view.children[0]->children[0], *names = view.children[1]->children[1];
        int64_t item = 0;
        for (int64_t row = 0; row < ROWS; row++) {
            char expected[40];
            assert_int_equal(ArrowArrayViewIsNull(view.children[0], row), is_null_row(row));
            assert_int_equal(ArrowArrayViewIsNull(names, row), is_null_row(row));
            if (is_null_row(row)) {
                continue;
            }
            size_t size = fill_value(expected, row);
            assert_int_equal(ArrowArrayViewListChildOffset(view.children[0], row), item);
            struct ArrowBufferView value = ArrowArrayViewGetBytesUnsafe(items, item);
            assert_int_equal(value.size_bytes, size);
            assert_true(size == 0 || memcmp(value.data.data, expected, size) == 0);
            assert_true(ArrowArrayViewIsNull(items, item + 1));
            item += 2;
            value = ArrowArrayViewGetBytesUnsafe(names, row);
            assert_int_equal(value.size_bytes, size);
            assert_true(size == 0 || memcmp(value.data.data, expected, size) == 0);
        }
        ArrowArrayViewReset(&view);
    }
}

/* ---- limits and bad input ---- */

/* A stream of one batch over hand-written memory. */
static void hand_stream(const char *format, struct hand *batch, struct hand *column, struct ArrowArrayStream *out)
{
    struct ArrowSchema schema;
    make_schema(&schema, 1, "body", format);
    hand_make(batch, column->array.length, 1);
    batch->array.n_children = 1;
    batch->children[0] = &column->array;
    ok(qn_stream_from_arrays(&schema, &batch->array, 1, out, &error));
}

static void layout__32_bit_offsets_that_overflow_name_column_and_row(void **state)
{
    (void)state;
    enum { N = 2100, SIZE = 1 << 20 }; /* 2047 times 1 MiB is the last sum below 2^31 */
    char *block = malloc(SIZE);
    union qn_view *views = malloc(N * sizeof *views);
    assert_non_null(block);
    assert_non_null(views);
    memset(block, 'x', SIZE);
    for (int i = 0; i < N; i++) {
        views[i] = (union qn_view){ .reference = { SIZE, "xxxx", 0, 0 } };
    }
    int64_t block_sizes[] = { SIZE };
    struct hand batch, column;
    hand_make(&column, N, 4);
    column.buffers[1] = views;
    column.buffers[2] = block;
    column.buffers[3] = block_sizes;
    struct ArrowArrayStream stream, converted;
    struct ArrowArray array = { 0 };
    qn_auto_schema requested = { 0 };
    make_schema(&requested, 1, "c", "u");
    hand_stream("vu", &batch, &column, &stream);
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    refused(qn_stream_next(&converted, &array, &error), QN_ERR_DATA, "column \"body\"");
    assert_int_equal(error.row, 2047);
    assert_string_equal(error.column_name, "body");
    assert_non_null(strstr(error.hint, "64-bit"));
    assert_null(array.release);
    assert_int_equal(converted.get_next(&converted, &array), EINVAL);
    converted.release(&converted);
    free(views);
    free(block);
}

/* 5 GiB of address space, of which only the touched pages exist. */
static void layout__views_reach_bytes_past_4_gib(void **state)
{
    (void)state;
    const size_t space = (size_t)5 << 30;
    char *bytes = mmap(NULL, space, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) {
        print_message("skipped: no 5 GiB of address space\n");
        skip();
    }
    static const int64_t at[] = { 0, ((int64_t)1 << 30) - 7, ((int64_t)1 << 31) + 3, ((int64_t)1 << 32) + 100 };
    static const char border[15] = "over the border";
    int64_t offsets[9];
    for (int i = 0; i < 4; i++) { /* odd rows are the gaps: too long to be views, so they are null */
        memcpy(bytes + at[i], border, sizeof border);
        offsets[i * 2] = at[i];
        offsets[i * 2 + 1] = at[i] + 15;
    }
    offsets[8] = (int64_t)space;
    uint8_t valid = 0x55;
    struct hand batch, column;
    hand_make(&column, 8, 3);
    column.buffers[0] = &valid;
    column.buffers[1] = offsets;
    column.buffers[2] = bytes;
    struct ArrowArrayStream stream, converted;
    qn_auto_array array = { 0 };
    qn_auto_schema requested = { 0 };
    make_schema(&requested, 1, "c", "vz");
    hand_stream("Z", &batch, &column, &stream);
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    ok(qn_stream_next(&converted, &array, &error));
    converted.release(&converted);
    struct ArrowArrayView view;
    make_view(&view, &requested, &array);
    for (int i = 0; i < 4; i++) {
        struct ArrowBufferView value = ArrowArrayViewGetBytesUnsafe(view.children[0], i * 2);
        assert_int_equal(value.size_bytes, 15);
        assert_memory_equal(value.data.data, "over the border", 15);
        assert_true(ArrowArrayViewIsNull(view.children[0], i * 2 + 1));
    }
    ArrowArrayViewReset(&view);
    qn_array_release(&array);

    uint8_t all_valid = 0xFF; /* the gap of 3 GiB in row 5 cannot be a view */
    column.buffers[0] = &all_valid;
    column.array.release = hand_release;
    offsets[5] = at[2] + 15;
    offsets[1] = offsets[2] = offsets[3] = offsets[4] = offsets[5] = 15;
    offsets[6] = ((int64_t)3 << 30) + 16;
    hand_stream("Z", &batch, &column, &stream);
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    refused(qn_stream_next(&converted, &array, &error), QN_ERR_DATA, "longer than a view");
    assert_int_equal(error.row, 5);
    converted.release(&converted);
    assert_int_equal(munmap(bytes, space), 0);
}

static void layout__refuses_malformed_columns(void **state)
{
    (void)state;
    static const union qn_view views[] = { { .inlined = { 2, "ok" } }, { .reference = { 99, "xxxx", 0, 0 } } };
    static const int64_t block_sizes[] = { 20 };
    for (int spoil = 0; spoil < 4; spoil++) {
        struct hand batch, column;
        hand_make(&column, 2, 4);
        column.buffers[1] = views;
        column.buffers[2] = "a block of 20 bytes.";
        column.buffers[3] = block_sizes;
        struct ArrowArrayStream stream, converted;
        struct ArrowArray array = { 0 };
        qn_auto_schema requested = { 0 };
        make_schema(&requested, 1, "c", "u");
        if (spoil == 1) {
            column.array.length = -5;
        }
        hand_stream("vu", &batch, &column, &stream);
        if (spoil == 2 || spoil == 3) {
            qn_stream_release(&stream);
            batch.array.release = hand_release;
            column.array.release = hand_release;
            batch.array.length = spoil == 2 ? 3 : 2;
            batch.array.n_children = spoil == 2 ? 1 : 0;
            struct ArrowSchema schema;
            make_schema(&schema, 1, "body", "vu");
            ok(qn_stream_from_arrays(&schema, &batch.array, 1, &stream, &error));
        }
        ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
        static const char *const texts[] = { "a value lies outside", "malformed", "shorter than its batch", "shape" };
        refused(qn_stream_next(&converted, &array, &error), QN_ERR_DATA, texts[spoil]);
        assert_int_equal(error.row, spoil == 0 ? 1 : -1);
        converted.release(&converted);
    }
}

/* Rows of errors count from the first row of the stream, not of the batch. */
static void layout__rows_count_through_batches(void **state)
{
    (void)state;
    static const union qn_view views[] = { { .inlined = { 2, "ok" } }, { .reference = { 99, "xxxx", 0, 0 } } };
    struct hand batches[2], columns[2];
    struct ArrowArray arrays[2];
    struct ArrowSchema schema;
    struct ArrowArrayStream stream, converted;
    qn_auto_schema requested = { 0 };
    make_schema(&schema, 1, "body", "vu");
    make_schema(&requested, 1, "c", "u");
    for (int i = 0; i < 2; i++) {
        hand_make(&columns[i], 1 + i, 3); /* the second batch has the view that points at no block */
        columns[i].buffers[1] = views;
        hand_make(&batches[i], 1 + i, 1);
        batches[i].array.n_children = 1;
        batches[i].children[0] = &columns[i].array;
        arrays[i] = batches[i].array;
    }
    ok(qn_stream_from_arrays(&schema, arrays, 2, &stream, &error));
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    struct ArrowArray array = { 0 };
    ok(qn_stream_next(&converted, &array, &error));
    qn_array_release(&array);
    refused(qn_stream_next(&converted, &array, &error), QN_ERR_DATA, "column \"body\"");
    assert_int_equal(error.row, 2);
    converted.release(&converted);
}

static void layout__refuses_another_number_of_columns(void **state)
{
    (void)state;
    struct ArrowArrayStream stream, converted = { 0 };
    qn_auto_schema requested = { 0 };
    make_schema(&requested, 2, "a", "u", "b", "u");
    one_column_stream("vu", false, 0, false, &stream);
    refused(qn_stream_with_layout(&stream, &requested, &converted, &error), QN_ERR_ARGUMENT, "2 columns, the stream 1");
    assert_non_null(stream.release); /* untouched: still readable */
    assert_null(converted.release);
    qn_auto_array array = { 0 };
    ok(qn_stream_next(&stream, &array, &error));
    assert_int_equal(array.length, ROWS);
    struct ArrowSchema released = { 0 };
    refused(qn_stream_with_layout(&stream, &released, &converted, &error), QN_ERR_DATA, "released");
    stream.release(&stream);
}

/* ---- the typed error of the source ---- */

static enum qn_status failing_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    (void)self;
    (void)err;
    make_schema(out, 1, "text", "vu");
    return QN_OK;
}

static enum qn_status failing_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    (void)self;
    (void)out;
    enum qn_status status = qn_error_set(err, QN_ERR_CONSTRAINT, "the server said no");
    if (err != NULL) {
        QN_ERROR_COPY(err->sqlstate, "23505", 5);
    }
    return status;
}

static void failing_free(void *self)
{
    (void)self;
}

static void layout__passes_the_typed_error_on(void **state)
{
    (void)state;
    static const struct qn_stream_ops ops = { failing_schema, failing_next, failing_free };
    struct ArrowArrayStream stream, converted;
    struct ArrowArray array = { 0 };
    qn_auto_schema requested = { 0 };
    make_schema(&requested, 1, "c", "U");
    ok(qn_stream_make(&ops, NULL, &stream, &error));
    ok(qn_stream_with_layout(&stream, &requested, &converted, &error));
    assert_int_equal(converted.get_next(&converted, &array), EINVAL);
    assert_int_equal(qn_stream_error(&converted, &error), QN_ERR_CONSTRAINT);
    assert_string_equal(error.sqlstate, "23505");
    assert_string_equal(converted.get_last_error(&converted), "the server said no");
    converted.release(&converted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout__every_pair_whole_and_sliced),
        cmocka_unit_test(layout__null_counts_are_exact),
        cmocka_unit_test(layout__what_is_not_a_layout_is_left_alone),
        cmocka_unit_test(layout__other_columns_are_moved_not_copied),
        cmocka_unit_test(layout__views_lend_the_bytes_of_the_source),
        cmocka_unit_test(layout__reaches_into_lists_and_structs),
        cmocka_unit_test(layout__32_bit_offsets_that_overflow_name_column_and_row),
        cmocka_unit_test(layout__views_reach_bytes_past_4_gib),
        cmocka_unit_test(layout__refuses_malformed_columns),
        cmocka_unit_test(layout__rows_count_through_batches),
        cmocka_unit_test(layout__refuses_another_number_of_columns),
        cmocka_unit_test(layout__passes_the_typed_error_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
