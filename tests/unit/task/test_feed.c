/* The queue between the two threads, and the slices that are cut out of it. */
#include "arrow/column.h"
#include "base/memory.h"
#include "task/feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void make_schema(struct ArrowSchema *schema)
{
    struct qn_type id = qn_type_of(QN_TYPE_INT64);
    struct qn_type name = qn_type_of(QN_TYPE_STRING_VIEW);
    assert_int_equal(qn_schema_struct(schema, 2, NULL), QN_OK);
    assert_int_equal(qn_schema_set(schema, 0, "name", &name, NULL), QN_OK);
    assert_int_equal(qn_schema_set(schema, 1, "id", &id, NULL), QN_OK);
}

static void make_array(const struct ArrowSchema *schema, const int64_t *ids, int64_t n, struct ArrowArray *out)
{
    struct qn_batch batch;
    assert_int_equal(qn_batch_init(&batch, schema, NULL), QN_OK);
    assert_int_equal(qn_batch_reserve(&batch, n, NULL), QN_OK);
    for (int64_t i = 0; i < n; i++) {
        char text[64];
        int size = snprintf(text, sizeof text, "the name of row %lld", (long long)ids[i]);
        if (ids[i] % 3 == 0) {
            qn_column_put_null(&batch.columns[0]);
        } else {
            qn_column_put_bytes(&batch.columns[0], text, (size_t)size);
        }
        qn_column_put_int64(&batch.columns[1], ids[i]);
    }
    assert_int_equal(qn_batch_finish(&batch, n, out, NULL), QN_OK);
    qn_batch_dispose(&batch);
}

static enum qn_status no_tick(void *context, struct qn_error *err)
{
    (void)err;
    ++*(int *)context;
    return QN_OK;
}

/* The ids of a slice; every name must belong to its id. */
static int64_t read_slice(struct qn_feed *feed, int64_t *ids)
{
    qn_auto_stream stream = { .release = NULL };
    qn_auto_schema schema = { .release = NULL };
    struct qn_batch_reader reader;
    int64_t n = 0;
    assert_int_equal(qn_feed_stream(feed, &stream, NULL), QN_OK);
    assert_int_equal(qn_stream_schema(&stream, &schema, NULL), QN_OK);
    assert_int_equal(qn_batch_reader_init(&reader, &schema, NULL), QN_OK);
    for (;;) {
        qn_auto_array batch = { .release = NULL };
        assert_int_equal(qn_stream_next(&stream, &batch, NULL), QN_OK);
        if (batch.release == NULL) {
            break;
        }
        assert_int_equal(qn_batch_reader_bind(&reader, &batch, NULL), QN_OK);
        for (int64_t row = 0; row < reader.length; row++, n++) {
            ids[n] = qn_reader_int64(&reader.columns[1], row);
            char expected[64];
            (void)snprintf(expected, sizeof expected, "the name of row %lld", (long long)ids[n]);
            const char *text = NULL;
            size_t size = 0;
            assert_int_equal(qn_reader_is_null(&reader.columns[0], row), ids[n] % 3 == 0);
            if (ids[n] % 3 != 0) {
                assert_true(qn_reader_bytes(&reader.columns[0], row, &text, &size));
                assert_int_equal(size, strlen(expected));
                assert_memory_equal(text, expected, size);
            }
        }
    }
    qn_batch_reader_dispose(&reader);
    return n;
}

struct setting {
    struct ArrowSchema schema;
    struct qn_batch_queue queue;
    struct qn_feed feed;
    int ticks;
};

static void start(struct setting *setting, int64_t every_rows)
{
    *setting = (struct setting){ .schema = { .release = NULL } };
    make_schema(&setting->schema);
    assert_int_equal(qn_batch_queue_init(&setting->queue, false, NULL), QN_OK);
    struct qn_feed *feed = &setting->feed;
    feed->queue = &setting->queue;
    feed->schema = &setting->schema;
    feed->column = 1;
    feed->every_rows = every_rows;
    feed->tick = no_tick;
    feed->tick_context = &setting->ticks;
    assert_int_equal(qn_checkpoint_watch_init(&feed->watch, setting->schema.children[1], NULL), QN_OK);
    feed->watch.ordered = true;
}

static void finish(struct setting *setting)
{
    qn_feed_dispose(&setting->feed);
    qn_batch_queue_dispose(&setting->queue);
    qn_schema_release(&setting->schema);
}

static void put(struct setting *setting, const int64_t *ids, int64_t n)
{
    struct ArrowArray array;
    bool going_on = false;
    make_array(&setting->schema, ids, n, &array);
    assert_int_equal(qn_batch_queue_push(&setting->queue, &array, n * 24, &going_on, NULL), QN_OK);
    assert_true(going_on);
    assert_null(array.release);
}

static void slices__end_where_the_checkpoint_changes(void **state)
{
    (void)state;
    static const int64_t first[] = { 1, 2, 3, 4, 5 };
    static const int64_t second[] = { 5, 5, 6 };
    static const int64_t third[] = { 7 };
    struct qn_error fine = QN_ERROR_INIT;
    struct setting setting;
    start(&setting, 2);
    put(&setting, first, 5);
    put(&setting, second, 3);
    put(&setting, third, 0);
    put(&setting, third, 1);
    qn_batch_queue_finish(&setting.queue, &fine);

    static const int64_t expected[4][4] = { { 1, 2 }, { 3, 4 }, { 5, 5, 5 }, { 6, 7 } };
    static const int64_t sizes[4] = { 2, 2, 3, 2 };
    bool more = false;
    for (int slice = 0; slice < 4; slice++) {
        int64_t ids[16];
        assert_int_equal(qn_feed_begin(&setting.feed, &more, NULL), QN_OK);
        assert_true(more);
        assert_int_equal(read_slice(&setting.feed, ids), sizes[slice]);
        assert_memory_equal(ids, expected[slice], (size_t)sizes[slice] * sizeof *ids);
        assert_true(setting.feed.watch.last.number == expected[slice][sizes[slice] - 1]);
        assert_int_equal(setting.feed.slice_rows, sizes[slice]);
    }
    assert_int_equal(qn_feed_begin(&setting.feed, &more, NULL), QN_OK);
    assert_false(more);
    assert_int_equal(setting.feed.rows, 9);
    finish(&setting);
}

static void slices__one_without_every_rows(void **state)
{
    (void)state;
    static const int64_t ids[] = { 1, 2, 3 };
    struct qn_error fine = QN_ERROR_INIT;
    struct setting setting;
    start(&setting, 0);
    put(&setting, ids, 3);
    put(&setting, ids + 2, 1);
    qn_batch_queue_finish(&setting.queue, &fine);
    int64_t read[16];
    bool more = false;
    assert_int_equal(qn_feed_begin(&setting.feed, &more, NULL), QN_OK);
    assert_int_equal(read_slice(&setting.feed, read), 4);
    assert_int_equal(qn_feed_begin(&setting.feed, &more, NULL), QN_OK);
    assert_false(more);
    finish(&setting);
}

static void reader_failure__comes_out_after_rows_that_wait(void **state)
{
    (void)state;
    static const int64_t ids[] = { 1, 2, 3 };
    struct qn_error bad = QN_ERROR_INIT;
    (void)qn_error_set(&bad, QN_ERR_CONNECTION, "the server has gone");
    struct setting setting;
    start(&setting, 0);
    put(&setting, ids, 3);
    qn_batch_queue_finish(&setting.queue, &bad);
    bool more = false;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_feed_begin(&setting.feed, &more, &err), QN_OK);
    assert_true(more);
    qn_auto_stream stream = { .release = NULL };
    qn_auto_array batch = { .release = NULL };
    qn_auto_array none = { .release = NULL };
    assert_int_equal(qn_feed_stream(&setting.feed, &stream, &err), QN_OK);
    assert_int_equal(qn_stream_next(&stream, &batch, &err), QN_OK);
    assert_int_equal(batch.length, 3);
    assert_int_equal(qn_stream_next(&stream, &none, &err), QN_ERR_CONNECTION);
    assert_string_equal(err.message, "the server has gone");
    finish(&setting);
}

/* ---- two threads ---------------------------------------------------------------------------------------------- */

#define MANY 200

static void *push_many(void *argument)
{
    struct setting *setting = argument;
    struct qn_error fine = QN_ERROR_INIT;
    bool going_on = true;
    for (int64_t i = 0; i < MANY && going_on; i++) {
        struct ArrowArray array;
        make_array(&setting->schema, &i, 1, &array);
        if (qn_batch_queue_push(&setting->queue, &array, 24, &going_on, NULL) != QN_OK) {
            return NULL;
        }
    }
    qn_batch_queue_finish(&setting->queue, &fine);
    return going_on ? setting : NULL;
}

static void queue__keeps_order_and_bound(void **state)
{
    (void)state;
    struct setting setting;
    start(&setting, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, push_many, &setting), 0);
    int64_t seen = 0;
    for (;;) {
        qn_auto_array array = { .release = NULL };
        int64_t bytes = 0;
        enum qn_queue_answer answer = qn_batch_queue_pop(&setting.queue, 1000, &array, &bytes);
        if (answer == QN_QUEUE_END) {
            break;
        }
        assert_int_equal(answer, QN_QUEUE_BATCH);
        assert_int_equal(((const int64_t *)array.children[1]->buffers[1])[0], seen);
        seen++;
        (void)pthread_mutex_lock(&setting.queue.lock);
        assert_true(setting.queue.count <= QN_QUEUE_BATCHES);
        (void)pthread_mutex_unlock(&setting.queue.lock);
    }
    void *answer = NULL;
    assert_int_equal(pthread_join(thread, &answer), 0);
    assert_ptr_equal(answer, &setting);
    assert_int_equal(seen, MANY);
    finish(&setting);
}

static void queue__stopping_ends_a_reader_that_waits(void **state)
{
    (void)state;
    struct setting setting;
    start(&setting, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, push_many, &setting), 0);
    qn_batch_queue_stop(&setting.queue);
    void *answer = &setting;
    assert_int_equal(pthread_join(thread, &answer), 0);
    assert_null(answer);
    assert_false(qn_batch_queue_failed(&setting.queue, NULL));
    finish(&setting);
}

static void queue__that_holds_all_gives_nothing_before_the_end(void **state)
{
    (void)state;
    static const int64_t ids[] = { 1 };
    struct qn_error fine = QN_ERROR_INIT;
    struct setting setting;
    start(&setting, 0);
    setting.queue.hold = true;
    for (int i = 0; i < 3 * QN_QUEUE_BATCHES; i++) {
        put(&setting, ids, 1);
    }
    struct ArrowArray array = { .release = NULL };
    int64_t bytes = 0;
    assert_int_equal(qn_batch_queue_pop(&setting.queue, 1, &array, &bytes), QN_QUEUE_WAITING);
    struct ArrowArray large;
    bool going_on = true;
    struct qn_error err = QN_ERROR_INIT;
    make_array(&setting.schema, ids, 1, &large);
    assert_int_equal(qn_batch_queue_push(&setting.queue, &large, QN_QUEUE_HELD_BYTES, &going_on, &err),
                     QN_ERR_UNSUPPORTED);
    assert_null(large.release);
    assert_non_null(strstr(err.hint, "wal"));
    qn_batch_queue_finish(&setting.queue, &fine);
    for (int i = 0; i < 3 * QN_QUEUE_BATCHES; i++) {
        assert_int_equal(qn_batch_queue_pop(&setting.queue, 1000, &array, &bytes), QN_QUEUE_BATCH);
        qn_array_release(&array);
    }
    assert_int_equal(qn_batch_queue_pop(&setting.queue, 1000, &array, &bytes), QN_QUEUE_END);
    finish(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices__end_where_the_checkpoint_changes),
        cmocka_unit_test(slices__one_without_every_rows),
        cmocka_unit_test(reader_failure__comes_out_after_rows_that_wait),
        cmocka_unit_test(queue__keeps_order_and_bound),
        cmocka_unit_test(queue__stopping_ends_a_reader_that_waits),
        cmocka_unit_test(queue__that_holds_all_gives_nothing_before_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
