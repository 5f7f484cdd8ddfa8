/*
 * test_stream.c: streams of callbacks: errors with their codes, ends that repeat, streams in memory, foreign streams.
 */
#include "hand.h"

#include <errno.h>

/* A source that gives `batches` arrays of one int64 column and then fails so, or ends. */
struct script {
    int batches, given, frees, calls;
    enum qn_status schema_status, last_status;
};

static enum qn_status script_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct script *script = self;
    if (script->schema_status != QN_OK) {
        return qn_error_set(err, script->schema_status, "no schema today");
    }
    make_schema(out, 1, "n", "l");
    return QN_OK;
}

static void one_batch(struct ArrowArray *out, int64_t value)
{
    qn_auto_schema schema = { 0 };
    struct qn_batch batch;
    make_schema(&schema, 1, "n", "l");
    ok(qn_batch_init(&batch, &schema, &error));
    ok(qn_batch_reserve(&batch, 1, &error));
    qn_column_put_int64(&batch.columns[0], value);
    ok(qn_batch_finish(&batch, 1, out, &error));
    qn_batch_dispose(&batch);
}

static enum qn_status script_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct script *script = self;
    script->calls++;
    if (script->given < script->batches) {
        one_batch(out, script->given++);
        return QN_OK;
    }
    if (script->last_status == QN_OK) {
        return QN_OK;
    }
    enum qn_status status = qn_error_set(err, script->last_status, "call %d failed", script->calls);
    qn_error_place(err, 17, "price");
    return status;
}

static void script_free(void *self)
{
    struct script *script = self;
    script->frees++;
}

static const struct qn_stream_ops script_ops = { script_schema, script_next, script_free };

static void stream__gives_batches_and_ends_again_and_again(void **state)
{
    (void)state;
    struct script script = { .batches = 2 };
    struct ArrowArrayStream stream;
    ok(qn_stream_make(&script_ops, &script, &stream, &error));
    for (int i = 0; i < 4; i++) {
        qn_auto_array array = { 0 };
        array.release = hand_release; /* must be overwritten at the end */
        assert_int_equal(stream.get_next(&stream, &array), 0);
        assert_int_equal(array.release != NULL, i < 2);
        if (i < 2) {
            assert_int_equal(((const int64_t *)array.children[0]->buffers[1])[0], i);
        }
    }
    assert_int_equal(script.calls, 3); /* not asked again after the end */
    assert_null(stream.get_last_error(&stream));
    assert_int_equal(qn_stream_error(&stream, &error), QN_OK);
    stream.release(&stream);
    assert_null(stream.release);
    assert_int_equal(script.frees, 1);
}

static void stream__failures_have_codes_and_keep_their_error(void **state)
{
    (void)state;
    static const struct {
        enum qn_status status;
        int code;
    } cases[] = {
        { QN_ERR_NO_MEMORY, ENOMEM },
        { QN_ERR_CANCELLED, ECANCELED },
        { QN_ERR_TIMEOUT, ETIMEDOUT },
        { QN_ERR_CONNECTION, EIO },
        { QN_ERR_IO, EIO },
        { QN_ERR_PROTOCOL, EIO },
        { QN_ERR_CLOSED, EIO },
        { QN_ERR_DATA, EINVAL },
        { QN_ERR_QUERY, EINVAL },
        { QN_ERR_BUSY, EBUSY },
        { QN_ERR_UNSUPPORTED, ENOTSUP },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct script script = { .batches = 1, .last_status = cases[i].status };
        struct ArrowArrayStream stream;
        struct ArrowArray array = { 0 };
        ok(qn_stream_make(&script_ops, &script, &stream, &error));
        ok(qn_stream_next(&stream, &array, &error));
        qn_array_release(&array);
        for (int again = 0; again < 2; again++) {
            array.release = hand_release;
            assert_int_equal(stream.get_next(&stream, &array), cases[i].code);
            assert_null(array.release);
            assert_string_equal(stream.get_last_error(&stream), "call 2 failed");
            assert_int_equal(qn_stream_error(&stream, &error), cases[i].status);
            assert_int_equal(error.status, cases[i].status);
            assert_int_equal(error.row, 17);
            assert_string_equal(error.column_name, "price");
        }
        refused(qn_stream_next(&stream, &array, &error), cases[i].status, "call 2 failed");
        assert_int_equal(script.calls, 2);
        assert_int_equal(qn_stream_error(&stream, NULL), cases[i].status);
        stream.release(&stream);
        assert_int_equal(script.frees, 1);
    }
}

static void stream__of_a_plugin_keeps_its_whole_error(void **state)
{
    (void)state;
    struct qn_stream_calls calls = {
        .struct_size = sizeof calls, .schema = script_schema, .next = script_next, .free = script_free
    };
    struct script script = { .batches = 1, .last_status = QN_ERR_CONNECTOR };
    struct ArrowArrayStream stream = { 0 };
    struct ArrowArray array = { 0 };
    ok(qn_stream_new(&calls, &script, &stream, &error));
    calls.next = NULL; /* a stream has taken what it needs */
    ok(qn_stream_next(&stream, &array, &error));
    qn_array_release(&array);
    refused(qn_stream_next(&stream, &array, &error), QN_ERR_CONNECTOR, "call 2 failed");
    assert_int_equal(error.row, 17);
    stream.release(&stream);
    assert_int_equal(script.frees, 1);
    refused(qn_stream_new(&calls, &script, &stream, &error), QN_ERR_ARGUMENT,
            "a stream needs the calls schema, next and free");
    calls.next = script_next;
    calls.struct_size = 8;
    assert_int_equal(qn_stream_new(&calls, &script, &stream, NULL), QN_ERR_ARGUMENT);
    assert_int_equal(script.frees, 1);
}

static void stream__schema_that_fails_is_an_error_of_the_call(void **state)
{
    (void)state;
    struct script script = { .batches = 1, .schema_status = QN_ERR_TIMEOUT };
    struct ArrowArrayStream stream;
    struct ArrowSchema schema = { 0 };
    struct ArrowArray array = { 0 };
    ok(qn_stream_make(&script_ops, &script, &stream, &error));
    assert_int_equal(stream.get_schema(&stream, &schema), ETIMEDOUT);
    assert_null(schema.release);
    refused(qn_stream_schema(&stream, &schema, &error), QN_ERR_TIMEOUT, "no schema today");
    script.schema_status = QN_OK;
    ok(qn_stream_schema(&stream, &schema, &error));
    qn_schema_release(&schema);
    ok(qn_stream_next(&stream, &array, &error));
    qn_array_release(&array);
    qn_stream_release(&stream);
    refused(qn_stream_schema(&stream, &schema, &error), QN_ERR_ARGUMENT, "released");
    refused(qn_stream_next(&stream, &array, &error), QN_ERR_ARGUMENT, "released");
}

static void stream__in_memory_moves_what_it_is_given(void **state)
{
    (void)state;
    struct ArrowSchema schema;
    struct ArrowArray arrays[3];
    struct ArrowArrayStream stream;
    make_schema(&schema, 1, "n", "l");
    for (int i = 0; i < 3; i++) {
        one_batch(&arrays[i], i + 40);
    }
    refused(qn_stream_from_arrays(&schema, arrays, -1, &stream, &error), QN_ERR_ARGUMENT, "-1 arrays");
    ok(qn_stream_from_arrays(&schema, arrays, 3, &stream, &error));
    assert_null(schema.release);
    assert_null(arrays[2].release);
    for (int i = 0; i < 2; i++) { /* the third stays inside, to be released with the stream */
        qn_auto_array array = { 0 };
        ok(qn_stream_next(&stream, &array, &error));
        assert_int_equal(((const int64_t *)array.children[0]->buffers[1])[0], i + 40);
    }
    qn_auto_schema first = { 0 }, second = { 0 };
    ok(qn_stream_schema(&stream, &first, &error));
    ok(qn_stream_schema(&stream, &second, &error));
    assert_string_equal(second.children[0]->name, "n");
    stream.release(&stream);
}

static void stream__in_memory_of_nothing_ends_at_once(void **state)
{
    (void)state;
    struct ArrowSchema schema;
    struct ArrowArray array = { 0 };
    struct ArrowArrayStream stream;
    make_schema(&schema, 1, "n", "l");
    ok(qn_stream_from_arrays(&schema, NULL, 0, &stream, &error));
    ok(qn_stream_next(&stream, &array, &error));
    assert_null(array.release);
    stream.release(&stream);
}

/* ---- a stream that somebody else made ---- */

static const char *foreign_text;

static int foreign_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    (void)stream;
    out->release = NULL;
    return 0; /* success without a schema: a mistake of theirs */
}

static int foreign_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    (void)stream;
    out->release = hand_release; /* rubbish that must not be handed on */
    return 5;
}

static const char *foreign_error(struct ArrowArrayStream *stream)
{
    (void)stream;
    return foreign_text;
}

static void foreign_release(struct ArrowArrayStream *stream)
{
    stream->release = NULL;
}

static void stream__foreign_errors_are_data_errors_with_their_text(void **state)
{
    (void)state;
    struct ArrowArrayStream stream = { foreign_schema, foreign_next, foreign_error, foreign_release, NULL };
    struct ArrowArray array = { 0 };
    struct ArrowSchema schema = { 0 };
    foreign_text = "disk 100%s full";
    refused(qn_stream_next(&stream, &array, &error), QN_ERR_DATA, "disk 100%s full");
    assert_null(array.release);
    foreign_text = NULL;
    refused(qn_stream_next(&stream, &array, &error), QN_ERR_DATA, "gave no reason");
    refused(qn_stream_schema(&stream, &schema, &error), QN_ERR_DATA, "no schema");
    qn_stream_release(&stream);
}

/* ---- bytes ---- */

static void array_bytes__counts_what_the_lengths_imply(void **state)
{
    (void)state;
    static const int64_t numbers[20];
    static const int32_t offsets[] = { 5, 10, 15, 20, 25 };
    static const uint8_t bits[4];
    static const union qn_view views[4];
    static const int64_t block_sizes[] = { 100, 50 };
    static const struct {
        const char *format;
        int64_t length, n_buffers, expected;
    } cases[] = {
        { "l", 10, 2, 10 * 8 + 2 },       { "b", 10, 2, 2 + 2 }, { "u", 3, 3, 4 * 4 + 15 + 1 },
        { "vu", 4, 5, 4 * 16 + 150 + 1 }, { "n", 10, 0, 10 },    { "d:10,2", 2, 2, 32 + 1 },
        { "w:7", 3, 2, 21 + 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_auto_schema schema = { 0 };
        struct hand hand;
        make_schema(&schema, 1, "c", cases[i].format);
        hand_make(&hand, cases[i].length, cases[i].n_buffers);
        hand.buffers[0] = bits;
        hand.buffers[1] = numbers;
        if (cases[i].n_buffers == 3) {
            hand.buffers[1] = offsets;
            hand.buffers[2] = "bytes";
        } else if (cases[i].n_buffers == 5) {
            hand.buffers[1] = views;
            hand.buffers[4] = block_sizes;
        }
        assert_int_equal(qn_array_bytes(schema.children[0], &hand.array), cases[i].expected);
    }
    qn_auto_schema schema = { 0 };
    struct hand batch, column;
    make_schema(&schema, 1, "c", "l");
    hand_make(&column, 10, 2);
    column.buffers[1] = numbers;
    hand_make(&batch, 10, 1);
    batch.array.n_children = 1;
    batch.children[0] = &column.array;
    assert_int_equal(qn_array_bytes(&schema, &batch.array), 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream__gives_batches_and_ends_again_and_again),
        cmocka_unit_test(stream__failures_have_codes_and_keep_their_error),
        cmocka_unit_test(stream__of_a_plugin_keeps_its_whole_error),
        cmocka_unit_test(stream__schema_that_fails_is_an_error_of_the_call),
        cmocka_unit_test(stream__in_memory_moves_what_it_is_given),
        cmocka_unit_test(stream__in_memory_of_nothing_ends_at_once),
        cmocka_unit_test(stream__foreign_errors_are_data_errors_with_their_text),
        cmocka_unit_test(array_bytes__counts_what_the_lengths_imply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
