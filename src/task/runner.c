/*
 * runner.c: a run: a thread reads the source into a bounded queue, this thread writes slices of it into the sink.
 *
 * A slice is one transaction of the sink: the rows, and the checkpoint of the last of them. What fails rolls its slice
 * back; slices that were committed before stay, and the checkpoint is that of the last commit. Whichever side fails
 * stops the other: the writer by stopping the queue and cancelling the source's statement, the reader by handing its
 * error through the queue, where it fails the sink's call.
 */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "os/clock.h"
#include "task/sink.h"

#include <signal.h>

#define PROGRESS_NANOS   INT64_C(100000000)
#define NANOS_PER_SECOND 1e9

/* ---- progress ------------------------------------------------------------------------------------------------- */

enum qn_status qn_run_progress(struct qn_run *run, const char *stage, struct qn_error *err)
{
    int64_t now = qn_clock_nanos();
    bool changed = run->stage == NULL || strcmp(run->stage, stage) != 0;
    run->stage = stage;
    if (run->options.progress == NULL || run->cancelled || (!changed && now - run->last_progress < PROGRESS_NANOS)) {
        return QN_OK;
    }
    run->last_progress = now;
    struct qn_task_progress progress = { .struct_size = sizeof progress,
                                         .stage = stage,
                                         .rows = run->feed.rows,
                                         .bytes = run->feed.bytes,
                                         .seconds = (double)(now - run->began) / NANOS_PER_SECOND };
    if (run->options.progress(run->options.progress_context, &progress) != 0) {
        run->cancelled = true;
        return qn_error_set(err, QN_ERR_CANCELLED, "the run was cancelled");
    }
    return QN_OK;
}

/* While a statement of the source or the sink keeps this thread waiting. */
static enum qn_status on_wait(void *context, struct qn_error *err)
{
    struct qn_run *run = context;
    return qn_run_progress(run, run->stage, err);
}

static enum qn_status tick(void *context, struct qn_error *err)
{
    struct qn_run *run = context;
    QN_TRY(qn_run_progress(run, run->stage, err));
    return qn_interrupt_poll(err);
}

static void show_checkpoint(const struct qn_checkpoint *checkpoint, char out[256])
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_checkpoint_format(checkpoint, &text);
    size_t size = text.size < 256 ? text.size : qn_utf8_floor(qn_buffer_text(&text), 255);
    if (size > 0) {
        memcpy(out, qn_buffer_text(&text), size);
    }
    out[size] = '\0';
}

/* ---- the reader thread ---------------------------------------------------------------------------------------- */

static enum qn_status read_rows(struct qn_run *run, struct qn_error *err)
{
    bool going_on = true;
    while (going_on) {
        qn_auto_array batch = { .release = NULL };
        int64_t began = qn_clock_nanos();
        enum qn_status status = qn_stream_next(&run->rows, &batch, err);
        run->reading_nanos += qn_clock_nanos() - began;
        if (status != QN_OK) {
            if (run->task->n_processes == 0 || run->source_failed) {
                qn_error_prefix(err, "source \"%s\"", run->task->source.connection);
            }
            return status;
        }
        if (batch.release == NULL) {
            return QN_OK;
        }
        int64_t bytes = batch.length > 0 ? qn_array_bytes(&run->schema, &batch) : 0;
        QN_TRY(qn_batch_queue_push(&run->queue, &batch, bytes, &going_on, err));
    }
    return QN_OK;
}

/* While the reader waits for the source or for a statement, the writer may have given up. */
static enum qn_status while_reading(void *context, struct qn_error *err)
{
    struct qn_run *run = context;
    return qn_batch_queue_stopped(&run->queue) ? qn_error_set(err, QN_ERR_CANCELLED, "the run has ended") : QN_OK;
}

static void *reader_main(void *argument)
{
    struct qn_run *run = argument;
    struct qn_error err = QN_ERROR_INIT;
    qn_wait_hook_set(while_reading, run);
    if (read_rows(run, &err) == QN_OK) {
        err.status = QN_OK;
    }
    qn_wait_hook_set(NULL, NULL);
    qn_stream_release(&run->rows); /* before the end is told: the source's locks are gone then */
    qn_batch_queue_finish(&run->queue, &err);
    return NULL;
}

static enum qn_status start_reader(struct qn_run *run, struct qn_error *err)
{
    QN_TRY(qn_batch_queue_init(&run->queue, run->one_file, err));
    run->queue_made = true;
    run->feed.queue = &run->queue;
    run->feed.schema = &run->schema;
    run->feed.tick = tick;
    run->feed.tick_context = run;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are for the caller's threads */
    int failed = pthread_create(&run->reader, NULL, reader_main, run);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "cannot start a thread: %s", strerror(failed));
    }
    run->reader_runs = true;
    return QN_OK;
}

/* End the reader, wherever it is. */
static void stop_reader(struct qn_run *run, enum qn_status status)
{
    if (!run->reader_runs) {
        return;
    }
    qn_batch_queue_stop(&run->queue);
    if (status != QN_OK && run->source != NULL) {
        (void)qn_connection_cancel(run->source, NULL); /* other sources ask the reader's hook while they wait */
    }
    (void)pthread_join(run->reader, NULL);
    run->reader_runs = false;
}

/* ---- slices --------------------------------------------------------------------------------------------------- */

static enum qn_status write_rows(struct qn_run *run, struct qn_error *err)
{
    qn_auto_stream slice = { .release = NULL };
    QN_TRY(qn_feed_stream(&run->feed, &slice, err));
    QN_TRY(run->to->write(run, &slice, err));
    if (!run->feed.slice_done) {
        return qn_error_set(err, QN_ERR_INTERNAL, "the sink did not read its rows to their end");
    }
    return QN_OK;
}

/* How far the rows of the slice go. */
static enum qn_status keep_position(struct qn_run *run, struct qn_error *err)
{
    if (!run->keeps) {
        return QN_OK;
    }
    if (run->feed.column >= 0) {
        QN_TRY(qn_checkpoint_watch_end(&run->feed.watch, err));
    } else if (run->feed.locations == NULL) {
        qn_locations_end_all(&run->locations); /* behind statements there is one slice: all that there was */
    }
    return run->to->keep(run, err);
}

static enum qn_status fill_slice(struct qn_run *run, struct qn_error *err)
{
    QN_TRY(qn_run_progress(run, "write", err));
    QN_TRY(run->to->begin(run, err));
    if (run->feed.batch != NULL || !run->keeps) {
        QN_TRY(write_rows(run, err));
    }
    return keep_position(run, err);
}

static enum qn_status write_slice(struct qn_run *run, struct qn_error *err)
{
    qn_wait_hook_set(on_wait, run);
    enum qn_status status = fill_slice(run, err);
    qn_wait_hook_set(NULL, NULL); /* a commit is not cancelled halfway */
    QN_TRY(status);
    QN_TRY(qn_interrupt_poll(err));
    QN_TRY(qn_run_progress(run, "commit", err));
    return run->to->commit(run, err);
}

/* After a commit: what the next slice has to know, and what the caller is told. */
static void note_commit(struct qn_run *run)
{
    run->sink_exists = true;
    run->result.commits++;
    run->result.rows += run->feed.slice_rows;
    if (run->keeps) {
        run->stored.commits = run->stored.exists ? run->stored.commits + 1 : 1;
        run->stored.table_exists = true;
        run->stored.exists = true;
        qn_locations_kept(&run->locations);
    }
    if (run->feed.column >= 0) {
        show_checkpoint(&run->feed.watch.last, run->result.checkpoint_after);
    }
    QN_LOG(QN_LOG_INFO, "task", "%s: committed %lld rows", run->task->name, (long long)run->feed.slice_rows);
}

static enum qn_status fail_slice(struct qn_run *run, enum qn_status status, struct qn_error *err)
{
    run->to->rollback(run);
    if (run->feed.problem.status != QN_OK) {
        *err = run->feed.problem;
        return err->status;
    }
    if (run->result.rows > 0) {
        qn_error_prefix(err, "sink \"%s\", slice after %lld rows", run->task->sink.connection,
                        (long long)run->result.rows);
    } else {
        qn_error_prefix(err, "sink \"%s\"", run->task->sink.connection);
    }
    return status;
}

/* Whether a run without a row has something to write: a sink that is to be what the source is, or the word that statements
 * have seen locations and returned nothing of them. */
static bool ends_without_rows(const struct qn_run *run)
{
    if (!run->keeps) {
        return run->source_schema.n_children > 0;
    }
    return run->has_locations && run->feed.locations == NULL && run->locations.writing < run->locations.n;
}

static enum qn_status move_rows(struct qn_run *run, struct qn_error *err)
{
    for (bool first = true;; first = false) {
        bool more = false;
        QN_TRY(qn_run_progress(run, "read", err));
        QN_TRY(qn_feed_begin(&run->feed, &more, err));
        /* No row at all: with a checkpoint nothing is new and nothing is written; without one the sink is made what the
         * source is: a table without rows. */
        if (!more && !(first && ends_without_rows(run))) {
            return QN_OK;
        }
        int64_t began = qn_clock_nanos();
        int64_t waited = run->feed.waited_nanos;
        enum qn_status status = write_slice(run, err);
        int64_t spent = qn_clock_nanos() - began - (run->feed.waited_nanos - waited);
        run->result.seconds_writing += (double)spent / NANOS_PER_SECOND;
        if (status != QN_OK) {
            return fail_slice(run, status, err);
        }
        note_commit(run);
    }
}

static enum qn_status run_task(struct qn_run *run, struct qn_error *err)
{
    int64_t began = qn_clock_nanos();
    qn_wait_hook_set(on_wait, run);
    enum qn_status status = qn_run_prepare(run, err);
    qn_wait_hook_set(NULL, NULL);
    QN_TRY(status);
    run->reading_nanos = qn_clock_nanos() - began;
    show_checkpoint(&run->start, run->result.checkpoint_before);
    memcpy(run->result.checkpoint_after, run->result.checkpoint_before, sizeof run->result.checkpoint_after);
    QN_TRY(start_reader(run, err));
    QN_TRY(move_rows(run, err));
    (void)qn_run_progress(run, "done", NULL); /* too late to cancel: all is committed */
    return QN_OK;
}

static void finish_run(struct qn_run *run, enum qn_status status, struct qn_task_result *result)
{
    stop_reader(run, status);
    qn_stream_release(&run->rows);
    run->result.batches = run->feed.batches;
    run->result.seconds = (double)(qn_clock_nanos() - run->began) / NANOS_PER_SECOND;
    run->result.seconds_reading = (double)run->reading_nanos / NANOS_PER_SECOND;
    if (result != NULL) {
        *result = run->result;
    }
    qn_feed_dispose(&run->feed);
    if (run->queue_made) {
        qn_batch_queue_dispose(&run->queue);
    }
    qn_schema_release(&run->schema);
    qn_schema_release(&run->source_schema);
    qn_checkpoint_row_dispose(&run->stored);
    qn_checkpoint_dispose(&run->start);
    qn_positions_dispose(&run->positions);
    qn_source_locations_close(run);
    qn_connection_free(run->source);
    run->to->close(run);
}

enum qn_status qn_task_run(struct qn_task *task, const struct qn_task_run_options *options,
                           struct qn_task_result *result, struct qn_error *err)
{
    if (task == NULL || (options != NULL && options->struct_size != sizeof *options) ||
        (result != NULL && result->struct_size != sizeof *result)) {
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            "a task, and options and a result made with their QN_TASK_..._INIT, are needed");
    }
    if (result != NULL) {
        *result = (struct qn_task_result)QN_TASK_RESULT_INIT;
    }
    struct qn_run *run = qn_calloc(1, sizeof *run);
    if (run == NULL) {
        return qn__no_memory(err);
    }
    run->task = task;
    run->to = task->sink.place == QN_PLACE_BUNDLE ? &qn_sink_bundle : &qn_sink_database;
    run->has_locations = task->source.place != QN_PLACE_DATABASE;
    run->result.struct_size = sizeof run->result;
    run->began = qn_clock_nanos();
    run->feed.column = -1;
    if (options != NULL) {
        run->options = *options;
    }
    struct qn_error problem = QN_ERROR_INIT;
    enum qn_status status = run_task(run, &problem);
    finish_run(run, status, result);
    qn_free(run);
    if (status != QN_OK && err != NULL) {
        *err = problem;
    }
    return status;
}
