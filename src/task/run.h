/*
 * run.h: one run of a task, shared by the files that carry it out: prepare.c finds out where the run begins, runner.c
 * moves the rows. Threads: the fields belong to the thread that runs the task, but for `queue` and `rows`, which the
 * reader thread has until it is joined.
 */
#ifndef QN_TASK_RUN_H
#define QN_TASK_RUN_H

#include "task/feed.h"
#include "task/plan.h"

#include <qanat/bundle.h>

struct qn_sink_ops;

struct qn_run {
    const struct qn_task *task;
    struct qn_task_run_options options;
    struct qn_task_result result;
    const struct qn_sink_ops *to;
    struct qn_connection *source, *sink; /* of databases; otherwise NULL */
    struct qn_connector *connector;
    struct qn_bundle *source_bundle, *sink_bundle;
    struct qn_locations locations; /* of a source that has them */
    struct qn_positions positions; /* what the sink knows of them */
    bool has_locations;
    bool keeps; /* how far the run came is kept: a checkpoint column, or locations */
    struct qn_checkpoint_row stored;
    struct qn_checkpoint start; /* bound to :checkpoint; kind NONE: nothing is bound */
    bool sink_exists;
    bool one_file; /* source and sink are one SQLite file whose readers block writers */
    struct ArrowArrayStream rows;
    struct ArrowSchema source_schema;
    struct ArrowSchema schema; /* of rows: the source's, or what the last step returns */
    bool goes_on;              /* from the stored checkpoint, which is DATA_CHECKPOINT */
    bool source_failed;        /* with steps: it was not one of them. The reader's */
    struct qn_batch_queue queue;
    bool queue_made;
    struct qn_feed feed;
    pthread_t reader;
    bool reader_runs;
    int64_t reading_nanos; /* written by the reader thread, read after joining it */
    int64_t began, last_progress;
    bool cancelled; /* by the progress callback, which is not called again */
    const char *stage;
};

/* Open both connections, read the checkpoint, check it against the plan, run the source's statement. */
enum qn_status qn_run_prepare(struct qn_run *run, struct qn_error *err) QN_MUST_CHECK;

/* Run the source's statement with :checkpoint bound. */
enum qn_status qn_run_statement(struct qn_run *run, const struct qn_query_options *options,
                                struct ArrowArrayStream *out, struct qn_error *err) QN_MUST_CHECK;

/* process.c: the statements keep the rules of the language; the first one's input is what the source returns; executions are
 * begun over run->rows, which become the last one's. */
enum qn_status qn_run_check_processes(struct qn_run *run, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_run_check_input(const struct qn_run *run, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_run_start_processes(struct qn_run *run, struct qn_error *err) QN_MUST_CHECK;

/* sqlite_source.c */
bool qn_task_is_sqlite(const struct qn_config *config);
/* Set `one_file`: in one SQLite file a reader keeps a writer from committing, unless the file is in WAL mode. */
enum qn_status qn_run_check_one_file(struct qn_run *run, struct qn_error *err) QN_MUST_CHECK;
/* Refuse a checkpoint whose values SQLite would compare otherwise than we do. Where *probed_out comes out true, `rows`
 * has been released for it and must be asked for again. */
enum qn_status qn_run_check_order(struct qn_run *run, bool *probed_out, struct qn_error *err) QN_MUST_CHECK;

/* Report progress where the stage is a new one or a tenth of a second has passed; QN_ERR_CANCELLED where the callback
 * says so. */
enum qn_status qn_run_progress(struct qn_run *run, const char *stage, struct qn_error *err);

#endif
