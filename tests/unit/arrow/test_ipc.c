/*
 * test_ipc.c: Arrow IPC messages against damage, hostile metadata, odd memory and the rules of owners. What the values are
 * is compared with pyarrow, by check_ipc.py.
 */
#include "arrow/ipc_private.h"
#include "hand.h"

#define ROWS 20

static struct ArrowSchema schema;
static struct ArrowArray batch;
static struct qn_buffer schema_message, batch_message;

/* number, text (views, long and short), flag, price, tags: list of text, who: struct of number */
static void make_wide(void)
{
    static const char *const fields[][2] = { { "number", "Int64!" },   { "text", "Utf8" },
                                             { "flag", "Boolean" },    { "price", "Decimal(5,2)" },
                                             { "tags", "List<Utf8>" }, { "who", "Struct<age: Int32!>" } };
    struct qn_batch made;
    ok(qn_schema_struct(&schema, 6, &error));
    for (int i = 0; i < 6; i++) {
        ok(qn_schema_set_from_text(&schema, i, fields[i][0], fields[i][1], &error));
    }
    ok(qn_schema_metadata_set(schema.children[1], "key", "value", &error));
    ok(qn_batch_init(&made, &schema, &error));
    for (int64_t row = 0; row < ROWS; row++) {
        ok(qn_batch_reserve(&made, 1, &error));
        qn_column_put_int64(&made.columns[0], row);
        if (row % 4 == 3) {
            for (int i = 1; i < 6; i++) {
                qn_column_put_null(&made.columns[i]);
            }
            continue;
        }
        qn_column_put_bytes(&made.columns[1], "Zürich, and a text of some length", row % 2 == 0 ? 34 : 3);
        qn_column_put_bool(&made.columns[2], row % 2 == 0);
        qn_column_put_decimal128(&made.columns[3], -row);
        ok(qn_column_reserve(&made.columns[4].children[0], 1, &error));
        qn_column_put_bytes(&made.columns[4].children[0], "tag", 3);
        ok(qn_column_end_list(&made.columns[4], &error));
        ok(qn_column_reserve(&made.columns[5].children[0], 1, &error));
        qn_column_put_int32(&made.columns[5].children[0], (int32_t)row);
        qn_column_end_struct(&made.columns[5]);
    }
    ok(qn_batch_finish(&made, ROWS, &batch, &error));
    qn_batch_dispose(&made);
}

static int set_up(void **state)
{
    (void)state;
    struct qn_ipc_encoder *encoder;
    make_wide();
    ok(qn_ipc_encoder_new(&schema, &encoder, &error));
    ok(qn_ipc_encode_schema(encoder, &schema_message, &error));
    ok(qn_ipc_encode_batch(encoder, &batch, &batch_message, &error));
    qn_ipc_encoder_free(encoder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    qn_schema_release(&schema);
    qn_array_release(&batch);
    qn_buffer_dispose(&schema_message);
    qn_buffer_dispose(&batch_message);
    return 0;
}

static struct qn_ipc_decoder *ready_decoder(uint64_t limit)
{
    struct qn_ipc_decoder *decoder;
    ok(qn_ipc_decoder_new(limit, &decoder, &error));
    ok(qn_ipc_decode_schema(decoder, schema_message.data, schema_message.size, &error));
    return decoder;
}

/* ---- owners ---- */

static int64_t given_back;

static void give_back(void *context)
{
    given_back++;
    free(context);
}

static void *exact_copy(const void *bytes, size_t size)
{
    void *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    return copy;
}

static enum qn_status decode(struct qn_ipc_decoder *decoder, const void *bytes, size_t size, struct ArrowArray *out)
{
    char *copy = exact_copy(bytes, size);
    error = (struct qn_error)QN_ERROR_INIT;
    return qn_ipc_decode_batch(decoder, copy, size, (struct qn_ipc_owner){ give_back, copy }, out, &error);
}

static void expect_values(const struct ArrowSchema *got_schema, const struct ArrowArray *got)
{
    struct qn_batch_reader wanted, reader;
    ok(qn_batch_reader_init(&wanted, &schema, &error));
    ok(qn_batch_reader_bind(&wanted, &batch, &error));
    ok(qn_batch_reader_init(&reader, got_schema, &error));
    ok(qn_batch_reader_bind(&reader, got, &error));
    assert_int_equal(got->length, ROWS);
    for (int64_t i = 0; i < 6; i++) {
        for (int64_t row = 0; row < ROWS; row++) {
            qn_auto_buffer a = QN_BUFFER_INIT, b = QN_BUFFER_INIT;
            ok(qn_reader_to_json(&wanted.columns[i], row, &a, &error));
            ok(qn_reader_to_json(&reader.columns[i], row, &b, &error));
            assert_string_equal(a.data, b.data);
        }
    }
    qn_batch_reader_dispose(&wanted);
    qn_batch_reader_dispose(&reader);
}

static void ipc__aligned_bytes_are_used_in_place_and_others_copied(void **state)
{
    (void)state;
    struct qn_ipc_decoder *decoder = ready_decoder(0);
    for (size_t shift = 0; shift <= 8; shift++) {
        char *memory = malloc(batch_message.size + shift);
        assert_non_null(memory);
        memcpy(memory + shift, batch_message.data, batch_message.size);
        qn_auto_array got = { 0 };
        given_back = 0;
        ok(qn_ipc_decode_batch(decoder, memory + shift, batch_message.size, (struct qn_ipc_owner){ give_back, memory },
                               &got, &error));
        const char *numbers = got.children[0]->buffers[1];
        assert_int_equal(numbers >= memory && numbers < memory + batch_message.size + shift, shift % 8 == 0);
        expect_values(qn_ipc_decoder_schema(decoder), &got);
        assert_int_equal(given_back, 0);
        qn_array_release(&got);
        assert_int_equal(given_back, 1);
    }
    qn_ipc_decoder_free(decoder);
}

static void ipc__bytes_without_an_owner_are_copied(void **state)
{
    (void)state;
    struct qn_ipc_decoder *decoder = ready_decoder(0);
    char *memory = exact_copy(batch_message.data, batch_message.size);
    qn_auto_array got = { 0 };
    ok(qn_ipc_decode_batch(decoder, memory, batch_message.size, (struct qn_ipc_owner){ 0 }, &got, &error));
    memset(memory, 0xAA, batch_message.size);
    free(memory);
    expect_values(qn_ipc_decoder_schema(decoder), &got);
    qn_ipc_decoder_free(decoder);
}

static void ipc__a_child_that_was_moved_out_keeps_the_bytes(void **state)
{
    (void)state;
    struct qn_ipc_decoder *decoder = ready_decoder(0);
    struct ArrowArray got = { 0 };
    given_back = 0;
    assert_int_equal(decode(decoder, batch_message.data, batch_message.size, &got), QN_OK);
    qn_ipc_decoder_free(decoder);
    struct ArrowArray numbers = *got.children[0];
    got.children[0]->release = NULL;
    qn_array_release(&got);
    assert_int_equal(given_back, 0);
    for (int64_t row = 0; row < ROWS; row++) {
        assert_int_equal(((const int64_t *)numbers.buffers[1])[row], row);
    }
    qn_array_release(&numbers);
    assert_int_equal(given_back, 1);
}

/* ---- damage ---- */

static void ipc__every_cut_is_refused(void **state)
{
    (void)state;
    struct qn_ipc_decoder *decoder = ready_decoder(0);
    for (size_t size = 0; size < batch_message.size; size++) {
        struct ArrowArray got = { 0 };
        given_back = 0;
        assert_int_equal(decode(decoder, batch_message.data, size, &got), QN_ERR_PROTOCOL);
        assert_int_equal(given_back, 1);
        assert_null(got.release);
    }
    qn_ipc_decoder_free(decoder);
    for (size_t size = 0; size < schema_message.size; size++) {
        char *copy = exact_copy(schema_message.data, size);
        ok(qn_ipc_decoder_new(0, &decoder, &error));
        refused(qn_ipc_decode_schema(decoder, copy, size, &error), QN_ERR_PROTOCOL, "Arrow IPC: ");
        assert_null(qn_ipc_decoder_schema(decoder));
        qn_ipc_decoder_free(decoder);
        free(copy);
    }
}

/* Whatever is accepted is in its bounds: every value of it is read. */
static void read_all(const struct ArrowSchema *got_schema, const struct ArrowArray *got)
{
    struct qn_batch_reader reader;
    ok(qn_batch_reader_init(&reader, got_schema, &error));
    ok(qn_batch_reader_bind(&reader, got, &error));
    for (int64_t i = 0; i < reader.n_columns; i++) {
        for (int64_t row = 0; row < got->length; row++) {
            qn_auto_buffer text = QN_BUFFER_INIT;
            ok(qn_reader_to_json(&reader.columns[i], row, &text, &error));
        }
    }
    qn_batch_reader_dispose(&reader);
}

static void ipc__every_flipped_bit_is_refused_or_harmless(void **state)
{
    (void)state;
    int64_t refusals = 0;
    struct qn_ipc_decoder *decoder = ready_decoder(0);
    for (size_t bit = 0; bit < batch_message.size * 8; bit++) {
        qn_auto_array got = { 0 };
        given_back = 0;
        batch_message.data[bit / 8] ^= (char)(1 << bit % 8);
        enum qn_status status = decode(decoder, batch_message.data, batch_message.size, &got);
        batch_message.data[bit / 8] ^= (char)(1 << bit % 8);
        if (status == QN_OK) {
            read_all(qn_ipc_decoder_schema(decoder), &got);
        } else {
            refusals++;
            assert_true(status == QN_ERR_PROTOCOL || status == QN_ERR_UNSUPPORTED);
            assert_int_equal(given_back, 1);
        }
    }
    qn_ipc_decoder_free(decoder);
    assert_true(refusals > 1000);
    for (size_t bit = 0; bit < schema_message.size * 8; bit++) {
        ok(qn_ipc_decoder_new(0, &decoder, &error));
        char *copy = exact_copy(schema_message.data, schema_message.size);
        copy[bit / 8] ^= (char)(1 << bit % 8);
        enum qn_status status = qn_ipc_decode_schema(decoder, copy, schema_message.size, &error);
        assert_true(status == QN_OK || status == QN_ERR_PROTOCOL || status == QN_ERR_UNSUPPORTED);
        free(copy);
        qn_ipc_decoder_free(decoder);
    }
}

/* ---- messages ---- */

static void message_size__waits_for_what_it_needs(void **state)
{
    (void)state;
    struct qn_ipc_decoder *decoder = ready_decoder(0);
    uint64_t size;
    bool end;
    uint32_t metadata;
    memcpy(&metadata, batch_message.data + 4, sizeof metadata);
    for (size_t have = 0; have <= batch_message.size; have++) {
        ok(qn_ipc_message_size(decoder, batch_message.data, have, &size, &end, &error));
        assert_int_equal(size, have < 8 + metadata ? 0 : batch_message.size);
        assert_false(end);
    }
    qn_auto_buffer marker = QN_BUFFER_INIT;
    qn_ipc_encode_end(&marker);
    ok(qn_ipc_message_size(decoder, marker.data, marker.size, &size, &end, &error));
    assert_int_equal(size, 8);
    assert_true(end);
    refused(qn_ipc_message_size(decoder, "ARROW1\0\0", 8, &size, &end, &error), QN_ERR_PROTOCOL, "0xFFFFFFFF");
    refused(qn_ipc_message_size(decoder, "\xFF\xFF\xFF\xFF\x07\0\0\0", 8, &size, &end, &error), QN_ERR_PROTOCOL,
            "size of its metadata");
    refused(qn_ipc_message_size(decoder, "\xFF\xFF\xFF\xFF\xF8\xFF\xFF\xFF", 8, &size, &end, &error), QN_ERR_PROTOCOL,
            "size of its metadata");
    qn_ipc_decoder_free(decoder);
}

static void message__larger_than_the_limit_is_refused_before_it_is_there(void **state)
{
    (void)state;
    uint64_t size;
    bool end;
    uint32_t metadata;
    struct qn_ipc_decoder *decoder = ready_decoder(batch_message.size - 1);
    memcpy(&metadata, batch_message.data + 4, sizeof metadata);
    refused(qn_ipc_message_size(decoder, batch_message.data, 8 + metadata, &size, &end, &error), QN_ERR_PROTOCOL,
            "larger than the limit");
    qn_ipc_decoder_free(decoder);
    decoder = ready_decoder(batch_message.size);
    ok(qn_ipc_message_size(decoder, batch_message.data, 8 + metadata, &size, &end, &error));
    refused(qn_ipc_message_size(decoder, "\xFF\xFF\xFF\xFF\0\0\0\x40", 8, &size, &end, &error), QN_ERR_PROTOCOL,
            "larger than the limit");
    qn_ipc_decoder_free(decoder);
}

static void message__of_another_kind_is_refused(void **state)
{
    (void)state;
    struct qn_ipc_decoder *decoder = ready_decoder(0);
    struct ArrowArray got = { 0 };
    assert_int_equal(decode(decoder, schema_message.data, schema_message.size, &got), QN_ERR_PROTOCOL);
    assert_non_null(strstr(error.message, "it is no batch"));
    refused(qn_ipc_decode_schema(decoder, batch_message.data, batch_message.size, &error), QN_ERR_PROTOCOL,
            "it is no schema");
    refused(qn_ipc_decode_schema(decoder, schema_message.data, schema_message.size, &error), QN_ERR_PROTOCOL,
            "a second schema");
    qn_ipc_decoder_free(decoder);
    ok(qn_ipc_decoder_new(0, &decoder, &error));
    assert_int_equal(decode(decoder, batch_message.data, batch_message.size, &got), QN_ERR_PROTOCOL);
    assert_non_null(strstr(error.message, "before the schema"));
    qn_ipc_decoder_free(decoder);
}

static void decoder__holds_batches_to_a_schema_from_outside(void **state)
{
    (void)state;
    struct qn_ipc_decoder *decoder;
    qn_auto_array got = { 0 };
    ok(qn_ipc_decoder_new(0, &decoder, &error));
    ok(qn_ipc_decoder_set_schema(decoder, &schema, &error));
    assert_string_equal(qn_ipc_decoder_schema(decoder)->children[1]->format, "u"); /* a view where it came from */
    assert_int_equal(decode(decoder, batch_message.data, batch_message.size, &got), QN_OK);
    expect_values(qn_ipc_decoder_schema(decoder), &got);
    refused(qn_ipc_decoder_set_schema(decoder, &schema, &error), QN_ERR_ARGUMENT, "has a schema");
    qn_ipc_decoder_free(decoder);

    qn_auto_schema other = { 0 };
    struct ArrowArray refused_array = { 0 };
    make_schema(&other, 1, "number", "l");
    ok(qn_ipc_decoder_new(0, &decoder, &error));
    ok(qn_ipc_decoder_set_schema(decoder, &other, &error));
    assert_int_equal(decode(decoder, batch_message.data, batch_message.size, &refused_array), QN_ERR_PROTOCOL);
    assert_non_null(strstr(error.message, "the columns of its schema"));
    qn_ipc_decoder_free(decoder);
}

static void encoder__leaves_the_output_as_it_was_on_failure(void **state)
{
    (void)state;
    static const char bad[] = "a\xFF";
    static const int32_t offsets[] = { 0, 1, 2 };
    struct hand root, text;
    struct qn_ipc_encoder *encoder;
    qn_auto_schema one = { 0 };
    make_schema(&one, 1, "text", "u");
    hand_make(&text, 2, 3);
    text.buffers[1] = offsets;
    text.buffers[2] = bad;
    hand_make(&root, 2, 1);
    root.array.n_children = 1;
    root.children[0] = &text.array;
    ok(qn_ipc_encoder_new(&one, &encoder, &error));
    qn_auto_buffer out = QN_BUFFER_INIT;
    qn_buffer_append_text(&out, "before");
    refused(qn_ipc_encode_batch(encoder, &root.array, &out, &error), QN_ERR_DATA, "column \"text\": text that is not");
    assert_int_equal(error.row, 1);
    assert_string_equal(out.data, "before");
    qn_auto_buffer narrow = { .limit = 100 };
    qn_buffer_append_text(&narrow, "before");
    text.buffers[2] = "ab";
    refused(qn_ipc_encode_batch(encoder, &root.array, &narrow, &error), QN_ERR_NO_MEMORY, "Arrow IPC");
    assert_string_equal(narrow.data, "before");
    assert_int_equal(narrow.failure, QN_BUFFER_FINE);
    ok(qn_ipc_encode_batch(encoder, &root.array, &out, &error));
    qn_ipc_encoder_free(encoder);
}

/* ---- hostile schemas ---- */

/* A Field table of a list (type 12) without a name, whose children vector of `n` offsets is patched by the caller. */
static size_t put_list_field(const struct qn__flat_writer *to, uint32_t n, size_t *first_child)
{
    const struct qn__flat_slot slots[] = { { 0, 0 }, { 1, 1 }, { 1, n == 1 ? 12 : 13 }, { 4, 0 }, { 0, 0 }, { 4, 0 } };
    size_t places[QN__FLAT_MAX_FIELDS], none[QN__FLAT_MAX_FIELDS];
    size_t field = qn__flat_put_table(to, slots, 6, places);
    qn__flat_patch(to, places[3], qn__flat_put_table(to, slots, 0, none));
    qn__flat_patch(to, places[5], qn__flat_put_vector(to, n));
    *first_child = to->out->size;
    for (uint32_t i = 0; i < n; i++) {
        qn_buffer_append(to->out, "\0\0\0", 4);
    }
    return field;
}

/* A schema of `levels` fields one in another, each with `n` children that are all the same next field. */
static void put_nested(struct qn_buffer *out, int levels, uint32_t n)
{
    struct qn__ipc_message message = qn__ipc_message_begin(out, QN__HEADER_SCHEMA);
    const struct qn__flat_slot slots[] = { { 0, 0 }, { 4, 0 } };
    size_t places[QN__FLAT_MAX_FIELDS], child;
    qn__flat_patch(&message.to, message.header, qn__flat_put_table(&message.to, slots, 2, places));
    qn__flat_patch(&message.to, places[1], qn__flat_put_vector(&message.to, 1));
    child = out->size;
    uint32_t of_parent = 1;
    qn_buffer_append(out, "\0\0\0", 4);
    for (int level = 1; level <= levels; level++) {
        size_t first = child;
        size_t field = put_list_field(&message.to, level < levels ? n : 0, &child);
        for (uint32_t i = 0; i < of_parent; i++) {
            qn__flat_patch(&message.to, first + 4 * (size_t)i, field);
        }
        of_parent = n;
    }
    qn__ipc_message_end(&message);
}

static void schema__tables_that_are_shared_do_not_multiply(void **state)
{
    (void)state;
    qn_auto_buffer small = QN_BUFFER_INIT, bomb = QN_BUFFER_INIT, deep = QN_BUFFER_INIT;
    struct qn_ipc_decoder *decoder;
    put_nested(&small, 5, 3);
    put_nested(&bomb, 40, 3);
    put_nested(&deep, 100, 1);
    ok(qn_ipc_decoder_new(0, &decoder, &error));
    refused(qn_ipc_decode_schema(decoder, bomb.data, bomb.size, &error), QN_ERR_PROTOCOL, "too many fields");
    refused(qn_ipc_decode_schema(decoder, deep.data, deep.size, &error), QN_ERR_PROTOCOL, "too many fields or levels");
    ok(qn_ipc_decode_schema(decoder, small.data, small.size,
                            &error)); /* so the others are not refused for their form */
    assert_int_equal(qn_ipc_decoder_schema(decoder)->children[0]->children[2]->children[0]->n_children, 3);
    qn_ipc_decoder_free(decoder);
}

/* ---- rows without bytes ---- */

static void batch__rows_that_cost_no_bytes_have_a_limit(void **state)
{
    (void)state;
    struct qn_ipc_decoder *decoder;
    qn_auto_schema none = { 0 };
    struct hand rows;
    struct qn_ipc_encoder *encoder;
    qn_auto_buffer out = QN_BUFFER_INIT;
    make_schema(&none, 0);
    ok(qn_ipc_encoder_new(&none, &encoder, &error));
    hand_make(&rows, 7, 1);
    ok(qn_ipc_encode_batch(encoder, &rows.array, &out, &error));
    hand_make(&rows, (int64_t)INT32_MAX + 1, 1);
    refused(qn_ipc_encode_batch(encoder, &rows.array, &out, &error), QN_ERR_UNSUPPORTED, "2147483648 rows");
    ok(qn_ipc_decoder_new(0, &decoder, &error));
    ok(qn_ipc_decoder_set_schema(decoder, &none, &error));
    qn_auto_array got = { 0 };
    assert_int_equal(decode(decoder, out.data, out.size, &got), QN_OK);
    assert_int_equal(got.length, 7);
    int64_t seven = 7, many = (int64_t)INT32_MAX + 1;
    char *length = memmem(out.data, out.size, &seven, sizeof seven);
    assert_non_null(length);
    memcpy(length, &many, sizeof many);
    struct ArrowArray refused_array = { 0 };
    assert_int_equal(decode(decoder, out.data, out.size, &refused_array), QN_ERR_PROTOCOL);
    qn_ipc_encoder_free(encoder);
    qn_ipc_decoder_free(decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipc__aligned_bytes_are_used_in_place_and_others_copied),
        cmocka_unit_test(ipc__bytes_without_an_owner_are_copied),
        cmocka_unit_test(ipc__a_child_that_was_moved_out_keeps_the_bytes),
        cmocka_unit_test(ipc__every_cut_is_refused),
        cmocka_unit_test(ipc__every_flipped_bit_is_refused_or_harmless),
        cmocka_unit_test(message_size__waits_for_what_it_needs),
        cmocka_unit_test(message__larger_than_the_limit_is_refused_before_it_is_there),
        cmocka_unit_test(message__of_another_kind_is_refused),
        cmocka_unit_test(decoder__holds_batches_to_a_schema_from_outside),
        cmocka_unit_test(encoder__leaves_the_output_as_it_was_on_failure),
        cmocka_unit_test(schema__tables_that_are_shared_do_not_multiply),
        cmocka_unit_test(batch__rows_that_cost_no_bytes_have_a_limit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
