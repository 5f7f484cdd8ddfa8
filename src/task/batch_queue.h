/*
 * batch_queue.h: the bounded queue between the thread that reads the source and the one that writes the sink.
 *
 * The reader waits while the queue is full; the writer waits while it is empty, asking the interrupt callback. Either
 * side ends it: the reader with qn_batch_queue_finish (with its error, where it failed), the writer with
 * qn_batch_queue_stop. Threads: one reader, one writer.
 */
#ifndef QN_TASK_BATCH_QUEUE_H
#define QN_TASK_BATCH_QUEUE_H

#include "arrow/stream.h"

#include <pthread.h>

#define QN_QUEUE_BATCHES    4
#define QN_QUEUE_BYTES      (INT64_C(64) << 20)
#define QN_QUEUE_HELD_BYTES (INT64_C(256) << 20) /* where all must be read before anything is written */

struct qn_batch_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct ArrowArray *batches; /* a ring */
    int64_t *sizes;             /* bytes of each */
    size_t capacity, first, count;
    int64_t bytes;
    bool hold;             /* grow instead of waiting; the writer begins when the reader has ended */
    bool finished;         /* by the reader */
    bool stopped;          /* by the writer */
    struct qn_error error; /* of the reader */
};

enum qn_status qn_batch_queue_init(struct qn_batch_queue *queue, bool hold, struct qn_error *err) QN_MUST_CHECK;
void qn_batch_queue_dispose(struct qn_batch_queue *queue);

/* Reader: put a batch in (moved, also on failure). False where the writer has stopped. A queue that holds all and is
 * full is QN_ERR_UNSUPPORTED. */
enum qn_status qn_batch_queue_push(struct qn_batch_queue *queue, struct ArrowArray *batch, int64_t bytes,
                                   bool *going_on_out, struct qn_error *err) QN_MUST_CHECK;
/* Reader: no more batches; `err` (status QN_OK: the end) is copied. */
void qn_batch_queue_finish(struct qn_batch_queue *queue, const struct qn_error *err);

/* Reader: whether the writer wants no more. */
bool qn_batch_queue_stopped(struct qn_batch_queue *queue);

/* Writer: wait for a batch for at most `slice_ms`. */
enum qn_queue_answer { QN_QUEUE_BATCH, QN_QUEUE_END, QN_QUEUE_FAILED, QN_QUEUE_WAITING };
enum qn_queue_answer qn_batch_queue_pop(struct qn_batch_queue *queue, int64_t slice_ms, struct ArrowArray *out,
                                        int64_t *bytes_out);
/* Writer: drop what is there and refuse more. */
void qn_batch_queue_stop(struct qn_batch_queue *queue);
/* Writer: whether the reader failed of itself, and how. */
bool qn_batch_queue_failed(struct qn_batch_queue *queue, struct qn_error *err);

#endif
