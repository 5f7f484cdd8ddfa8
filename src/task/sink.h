/*
 * sink.h: where a run puts its rows: a database or a bundle.
 *
 * A slice is written between `begin` and `commit`: rows, then what says how far they came. What fails is taken back whole by
 * `rollback`. Threads: the one that runs the task.
 */
#ifndef QN_TASK_SINK_H
#define QN_TASK_SINK_H

#include "task/run.h"

struct qn_sink_ops {
    enum qn_status (*open)(struct qn_run *run, struct qn_error *err);
    /* Set run->sink_exists, run->stored and, of a source with locations, run->positions. */
    enum qn_status (*load)(struct qn_run *run, struct qn_error *err);
    /* Whether rows are there that a second run of an appending task would double. */
    enum qn_status (*has_rows)(struct qn_run *run, bool *out, struct qn_error *err);
    enum qn_status (*begin)(struct qn_run *run, struct qn_error *err);
    enum qn_status (*write)(struct qn_run *run, struct ArrowArrayStream *slice, struct qn_error *err);
    /* Keep run->feed's last value, or the touched locations. */
    enum qn_status (*keep)(struct qn_run *run, struct qn_error *err);
    enum qn_status (*commit)(struct qn_run *run, struct qn_error *err);
    void (*rollback)(struct qn_run *run);
    void (*close)(struct qn_run *run);
};

extern const struct qn_sink_ops qn_sink_database, qn_sink_bundle;

/* location_table.c: the table qanat_locations. `anew`: what is there of the task goes first. */
enum qn_status qn_location_table_load(struct qn_connection *sink, const char *task, struct qn_positions *out,
                                      struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_location_table_store(struct qn_connection *sink, const char *task,
                                       const struct qn_locations *locations, bool anew,
                                       struct qn_error *err) QN_MUST_CHECK;

/* QN_ERR_QUERY, retryable: of two runs of a task at once one fails. */
enum qn_status qn_sink_refuse_other_run(const char *task, struct qn_error *err);

#endif
