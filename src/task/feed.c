/*
 * feed.c: slices of Arrow batches. A batch that is cut stays whole behind a reference count; each piece has its own
 * ArrowArray structs over the same buffers, with other offsets and lengths.
 */
#include "task/feed.h"

#include "base/memory.h"
#include "os/clock.h"

#include <stdatomic.h>

#define WAIT_SLICE_MS 50

/* ---- pieces of a batch ---------------------------------------------------------------------------------------- */

struct qn_shared_array {
    struct ArrowArray array;
    int64_t bytes;
    atomic_int references;
};

static void unref(struct qn_shared_array *shared)
{
    if (shared != NULL && atomic_fetch_sub(&shared->references, 1) == 1) {
        qn_array_release(&shared->array);
        qn_free(shared);
    }
}

struct piece {
    struct qn_shared_array *shared;
    const void *no_buffers[1];
    struct ArrowArray **children;
    struct ArrowArray columns[];
};

static void release_column(struct ArrowArray *array)
{
    array->release = NULL; /* its memory is the piece's */
}

static void release_piece(struct ArrowArray *array)
{
    struct piece *piece = array->private_data;
    array->release = NULL;
    unref(piece->shared);
    qn_free((void *)piece->children);
    qn_free(piece);
}

/* Rows position to position + count - 1 of the batch as an array of its own. */
static enum qn_status cut_piece(struct qn_shared_array *shared, int64_t position, int64_t count, struct ArrowArray *out,
                                struct qn_error *err)
{
    const struct ArrowArray *whole = &shared->array;
    size_t n = (size_t)whole->n_children;
    struct piece *piece = qn_calloc(1, sizeof *piece + n * sizeof *piece->columns);
    struct ArrowArray **children = qn_calloc(n + 1, sizeof(struct ArrowArray *));
    if (piece == NULL || children == NULL) {
        qn_free(piece);
        qn_free((void *)children);
        return qn__no_memory(err);
    }
    piece->children = children;
    piece->shared = shared;
    (void)atomic_fetch_add(&shared->references, 1);
    for (size_t i = 0; i < n; i++) {
        struct ArrowArray *column = &piece->columns[i];
        *column = *whole->children[i];
        column->offset += whole->offset + position;
        column->length = count;
        column->null_count = column->null_count == 0 ? 0 : -1;
        column->release = release_column;
        column->private_data = NULL;
        children[i] = column;
    }
    *out = (struct ArrowArray){ .length = count,
                                .n_buffers = 1,
                                .n_children = (int64_t)n,
                                .buffers = piece->no_buffers,
                                .children = children,
                                .release = release_piece,
                                .private_data = piece };
    return QN_OK;
}

/* ---- slices --------------------------------------------------------------------------------------------------- */

void qn_feed_dispose(struct qn_feed *feed)
{
    unref(feed->batch);
    feed->batch = NULL;
    qn_checkpoint_watch_dispose(&feed->watch);
}

static enum qn_status take_batch(struct qn_feed *feed, struct ArrowArray *batch, int64_t bytes, struct qn_error *err)
{
    if (batch->length == 0) {
        if (feed->locations != NULL) {
            qn_locations_end_one(feed->locations);
        }
        return QN_OK;
    }
    if (batch->null_count != 0 && batch->n_buffers > 0 && batch->buffers[0] != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "a row of the source is null as a whole");
    }
    if (feed->column >= 0) {
        QN_TRY(qn_reader_bind(&feed->watch.column, batch->children[feed->column], err));
    }
    struct qn_shared_array *shared = qn_calloc(1, sizeof *shared);
    if (shared == NULL) {
        return qn__no_memory(err);
    }
    shared->array = *batch;
    shared->bytes = bytes;
    atomic_init(&shared->references, 1);
    batch->release = NULL;
    feed->batch = shared;
    feed->position = 0;
    return QN_OK;
}

/* Have a batch with rows left, or be at the end. */
static enum qn_status await_batch(struct qn_feed *feed, struct qn_error *err)
{
    int64_t began = qn_clock_nanos();
    enum qn_status status = QN_OK;
    while (status == QN_OK && feed->batch == NULL && !feed->ended) {
        qn_auto_array batch = { .release = NULL };
        int64_t bytes = 0;
        switch (qn_batch_queue_pop(feed->queue, WAIT_SLICE_MS, &batch, &bytes)) {
        case QN_QUEUE_BATCH:
            status = take_batch(feed, &batch, bytes, err);
            break;
        case QN_QUEUE_END:
            feed->ended = true;
            break;
        case QN_QUEUE_FAILED: {
            struct qn_error problem = QN_ERROR_INIT;
            (void)qn_batch_queue_failed(feed->queue, &problem);
            status = problem.status;
            if (err != NULL) {
                *err = problem;
            }
            break;
        }
        case QN_QUEUE_WAITING:
            status = feed->tick(feed->tick_context, err);
            break;
        }
    }
    feed->waited_nanos += qn_clock_nanos() - began;
    return status;
}

enum qn_status qn_feed_begin(struct qn_feed *feed, bool *more_out, struct qn_error *err)
{
    QN_TRY(await_batch(feed, err));
    feed->slice_done = false;
    feed->slice_rows = 0;
    *more_out = feed->batch != NULL || (feed->locations != NULL && feed->locations->touched > 0);
    return QN_OK;
}

/* The same where rows have locations. */
static int64_t measure_location(const struct qn_feed *feed, int64_t left)
{
    const struct qn_locations *locations = feed->locations;
    const struct qn_task_location *at = &locations->items[locations->writing];
    if (feed->every_rows == 0) {
        return left;
    }
    int64_t room = feed->every_rows - feed->slice_rows;
    if (room <= 0) {
        return at->resumable || at->rows == at->start ? 0 : left;
    }
    return at->resumable && room < left ? room : left;
}

/* How many of the rows left in the batch belong to this slice. */
static enum qn_status measure(struct qn_feed *feed, int64_t left, int64_t *taken_out, struct qn_error *err)
{
    if (feed->locations != NULL) {
        *taken_out = measure_location(feed, left);
        qn_locations_take(feed->locations, *taken_out);
        return QN_OK;
    }
    if (feed->column < 0) {
        *taken_out = left;
        return QN_OK;
    }
    int64_t cut = INT64_MAX;
    if (feed->every_rows > 0) {
        cut = feed->slice_rows < feed->every_rows ? feed->every_rows - feed->slice_rows : 0;
    }
    int64_t first = feed->batch->array.offset + feed->position;
    return qn_checkpoint_watch_rows(&feed->watch, first, left, cut, taken_out, err);
}

static enum qn_status hand_out(struct qn_feed *feed, int64_t count, struct ArrowArray *out, struct qn_error *err)
{
    struct qn_shared_array *shared = feed->batch;
    int64_t length = shared->array.length;
    if (count == length) {
        *out = shared->array;
        shared->array.release = NULL;
    } else {
        QN_TRY(cut_piece(shared, feed->position, count, out, err));
    }
    feed->position += count;
    feed->slice_rows += count;
    feed->rows += count;
    feed->batches++;
    feed->bytes += (int64_t)((double)shared->bytes * (double)count / (double)length);
    if (feed->position == length) {
        feed->batch = NULL;
        unref(shared);
    }
    return QN_OK;
}

static enum qn_status next_piece(struct qn_feed *feed, struct ArrowArray *out, struct qn_error *err)
{
    if (feed->slice_done) {
        return QN_OK;
    }
    QN_TRY(await_batch(feed, err));
    if (feed->batch == NULL) {
        feed->slice_done = true;
        return QN_OK;
    }
    int64_t left = feed->batch->array.length - feed->position;
    int64_t taken = 0;
    QN_TRY(measure(feed, left, &taken, err));
    feed->slice_done = taken < left;
    if (taken == 0) {
        return QN_OK;
    }
    QN_TRY(hand_out(feed, taken, out, err));
    return feed->tick(feed->tick_context, err);
}

static enum qn_status stream_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct qn_feed *feed = self;
    return qn_schema_copy(feed->schema, out, err);
}

static enum qn_status stream_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct qn_feed *feed = self;
    struct qn_error problem = QN_ERROR_INIT;
    enum qn_status status = next_piece(feed, out, &problem);
    if (status == QN_OK) {
        return QN_OK;
    }
    if (out->release != NULL) {
        qn_array_release(out);
    }
    feed->problem = problem; /* kept here: the sink that reads the stream may wrap it */
    if (err != NULL) {
        *err = problem;
    }
    return status;
}

static void stream_free(void *self)
{
    (void)self; /* the feed belongs to the run */
}

enum qn_status qn_feed_stream(struct qn_feed *feed, struct ArrowArrayStream *out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { stream_schema, stream_next, stream_free };
    return qn_stream_make(&ops, feed, out, err);
}
