/*
 * feed.h: what goes to the sink: the queue's batches as an Arrow stream, cut into slices of one transaction each.
 *
 * The feed follows the checkpoint column: after a slice has been read to its end, `watch.last` is the checkpoint of the
 * last row that went out. A slice ends at the first row past every_rows where the checkpoint's value changes, or with
 * the source. Of a source with locations it ends after every_rows exactly where the location can be resumed, otherwise
 * between two locations; a batch without rows is the end of one. Threads: the writer's.
 */
#ifndef QN_TASK_FEED_H
#define QN_TASK_FEED_H

#include "task/batch_queue.h"
#include "task/checkpoint.h"
#include "task/locations.h"

struct qn_shared_array; /* a batch that several slices refer to */

struct qn_feed {
    struct qn_batch_queue *queue;
    const struct ArrowSchema *schema; /* borrowed */
    int64_t column;                   /* of the checkpoint; -1: none */
    struct qn_checkpoint_watch watch;
    struct qn_locations *locations; /* borrowed; NULL: the rows have none, or nothing tells any more which */
    int64_t every_rows;             /* 0: one slice */
    /* Called while waiting and after every batch; not NULL. */
    enum qn_status (*tick)(void *context, struct qn_error *err);
    void *tick_context;

    struct qn_shared_array *batch; /* being cut up, or NULL */
    int64_t position;              /* its rows that went out */
    bool slice_done, ended;
    int64_t slice_rows, rows, batches, bytes;
    int64_t waited_nanos;    /* for the source */
    struct qn_error problem; /* what the feed itself refused; status QN_OK: nothing */
};

void qn_feed_dispose(struct qn_feed *feed);

/* Begin the next slice, waiting for its first row. *more_out is false where the source has ended and nothing is left to
 * keep. */
enum qn_status qn_feed_begin(struct qn_feed *feed, bool *more_out, struct qn_error *err) QN_MUST_CHECK;

/* The slice as a stream; the feed must outlive it. */
enum qn_status qn_feed_stream(struct qn_feed *feed, struct ArrowArrayStream *out, struct qn_error *err) QN_MUST_CHECK;

#endif
