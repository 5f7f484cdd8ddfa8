/*
 * batch_queue.c: see batch_queue.h. A ring of arrays under one lock; the bound is a number of batches and of bytes, but
 * one batch always fits.
 */
#include "task/batch_queue.h"

#include "base/memory.h"

#include <string.h>
#include <time.h>

enum qn_status qn_batch_queue_init(struct qn_batch_queue *queue, bool hold, struct qn_error *err)
{
    *queue = (struct qn_batch_queue){ .capacity = QN_QUEUE_BATCHES, .hold = hold, .error = QN_ERROR_INIT };
    queue->batches = qn_calloc(queue->capacity, sizeof *queue->batches);
    queue->sizes = qn_calloc(queue->capacity, sizeof *queue->sizes);
    if (queue->batches == NULL || queue->sizes == NULL) {
        qn_free(queue->batches);
        qn_free(queue->sizes);
        return qn__no_memory(err);
    }
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&queue->lock, NULL);
    (void)pthread_cond_init(&queue->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return QN_OK;
}

static void take_first(struct qn_batch_queue *queue, struct ArrowArray *out, int64_t *bytes_out)
{
    *out = queue->batches[queue->first];
    *bytes_out = queue->sizes[queue->first];
    queue->bytes -= *bytes_out;
    queue->first = (queue->first + 1) % queue->capacity;
    queue->count--;
}

static void drop_all(struct qn_batch_queue *queue)
{
    while (queue->count > 0) {
        qn_auto_array batch = { .release = NULL };
        int64_t bytes = 0;
        take_first(queue, &batch, &bytes);
    }
}

void qn_batch_queue_dispose(struct qn_batch_queue *queue)
{
    drop_all(queue);
    qn_free(queue->batches);
    qn_free(queue->sizes);
    (void)pthread_cond_destroy(&queue->changed);
    (void)pthread_mutex_destroy(&queue->lock);
}

static bool is_full(const struct qn_batch_queue *queue, int64_t bytes)
{
    if (queue->count == 0) {
        return false;
    }
    return queue->count >= queue->capacity || queue->bytes + bytes > QN_QUEUE_BYTES;
}

/* Twice the room, the first batch at index 0. */
static enum qn_status grow(struct qn_batch_queue *queue, struct qn_error *err)
{
    size_t capacity = queue->capacity * 2;
    struct ArrowArray *batches = qn_calloc(capacity, sizeof *batches);
    int64_t *sizes = qn_calloc(capacity, sizeof *sizes);
    if (batches == NULL || sizes == NULL) {
        qn_free(batches);
        qn_free(sizes);
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < queue->count; i++) {
        size_t from = (queue->first + i) % queue->capacity;
        batches[i] = queue->batches[from];
        sizes[i] = queue->sizes[from];
    }
    qn_free(queue->batches);
    qn_free(queue->sizes);
    queue->batches = batches;
    queue->sizes = sizes;
    queue->capacity = capacity;
    queue->first = 0;
    return QN_OK;
}

static enum qn_status make_room(struct qn_batch_queue *queue, int64_t bytes, struct qn_error *err)
{
    if (!queue->hold) {
        while (!queue->stopped && is_full(queue, bytes)) {
            (void)pthread_cond_wait(&queue->changed, &queue->lock);
        }
        return QN_OK;
    }
    if (queue->bytes + bytes > QN_QUEUE_HELD_BYTES) {
        (void)qn_error_set(err, QN_ERR_UNSUPPORTED,
                           "source and sink are one SQLite file that is not in WAL mode: the result must fit into "
                           "%lld MiB, because reading has to end before writing begins",
                           (long long)(QN_QUEUE_HELD_BYTES >> 20));
        qn_error_hint(err, "run `pragma journal_mode = wal` on the file once, or move less in one run");
        return QN_ERR_UNSUPPORTED;
    }
    return queue->count < queue->capacity ? QN_OK : grow(queue, err);
}

enum qn_status qn_batch_queue_push(struct qn_batch_queue *queue, struct ArrowArray *batch, int64_t bytes,
                                   bool *going_on_out, struct qn_error *err)
{
    struct ArrowArray moved = *batch;
    batch->release = NULL;
    (void)pthread_mutex_lock(&queue->lock);
    enum qn_status status = make_room(queue, bytes, err);
    bool kept = status == QN_OK && !queue->stopped;
    if (kept) {
        size_t last = (queue->first + queue->count) % queue->capacity;
        queue->batches[last] = moved;
        queue->sizes[last] = bytes;
        queue->count++;
        queue->bytes += bytes;
        (void)pthread_cond_broadcast(&queue->changed);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    if (!kept) {
        qn_array_release(&moved);
    }
    *going_on_out = kept;
    return status;
}

void qn_batch_queue_finish(struct qn_batch_queue *queue, const struct qn_error *err)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->finished = true;
    if (!queue->stopped) {
        queue->error = *err;
    }
    (void)pthread_cond_broadcast(&queue->changed);
    (void)pthread_mutex_unlock(&queue->lock);
}

static enum qn_queue_answer answer(const struct qn_batch_queue *queue)
{
    bool failed = queue->finished && queue->error.status != QN_OK;
    if (queue->count > 0 && (queue->finished || !queue->hold) && !(failed && queue->hold)) {
        return QN_QUEUE_BATCH; /* what was read before a failure may still make a commit */
    }
    if (failed) {
        return QN_QUEUE_FAILED;
    }
    return queue->finished ? QN_QUEUE_END : QN_QUEUE_WAITING;
}

enum qn_queue_answer qn_batch_queue_pop(struct qn_batch_queue *queue, int64_t slice_ms, struct ArrowArray *out,
                                        int64_t *bytes_out)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nanos = until.tv_nsec + slice_ms * 1000000;
    until.tv_sec += nanos / 1000000000;
    until.tv_nsec = nanos % 1000000000;
    (void)pthread_mutex_lock(&queue->lock);
    int waited = 0;
    while (waited == 0 && answer(queue) == QN_QUEUE_WAITING) {
        waited = pthread_cond_timedwait(&queue->changed, &queue->lock, &until);
    }
    enum qn_queue_answer result = answer(queue);
    if (result == QN_QUEUE_BATCH) {
        take_first(queue, out, bytes_out);
        (void)pthread_cond_broadcast(&queue->changed);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return result;
}

bool qn_batch_queue_stopped(struct qn_batch_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    bool stopped = queue->stopped;
    (void)pthread_mutex_unlock(&queue->lock);
    return stopped;
}

void qn_batch_queue_stop(struct qn_batch_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->stopped = true;
    drop_all(queue);
    (void)pthread_cond_broadcast(&queue->changed);
    (void)pthread_mutex_unlock(&queue->lock);
}

bool qn_batch_queue_failed(struct qn_batch_queue *queue, struct qn_error *err)
{
    (void)pthread_mutex_lock(&queue->lock);
    bool failed = queue->error.status != QN_OK;
    if (failed && err != NULL) {
        *err = queue->error;
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return failed;
}
