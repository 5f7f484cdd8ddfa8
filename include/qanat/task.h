/*
 * task.h: a task moves what is new from a source to a sink, exactly once.
 *
 * A plan is the task file (docs/formats/task.md) as JSON: the same tables and keys. It is checked whole before anything
 * is opened. A run reads the checkpoint from the sink, binds it to `:checkpoint` in the source's query, and writes rows
 * and the new checkpoint in one transaction of the sink.
 */
#ifndef QANAT_TASK_H
#define QANAT_TASK_H

#include <qanat/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qn_task;

/* Check a plan and make a task of it. Errors are QN_ERR_CONFIG and name the key path (`sink.mode`), what was found and
 * what is allowed. Nothing is opened. `json` is borrowed for the call. */
QN_API enum qn_status qn_task_new(const char *json, size_t size, struct qn_task **out,
                                  struct qn_error *err) QN_MUST_CHECK;
QN_API void qn_task_free(struct qn_task *task);

/* The task's name; borrowed. */
QN_API const char *qn_task_name(const struct qn_task *task);

/* How a run stands. Texts are borrowed for the call. */
struct qn_task_progress {
    size_t struct_size;
    const char *stage; /* "connect", "read", "write", "commit", "done" */
    int64_t rows;      /* that have gone to the sink, committed or not */
    int64_t bytes;     /* Arrow bytes of those rows */
    double seconds;    /* since the run began */
};
/* Called at every change of stage and about ten times a second, on the thread that runs the task. A non-zero answer
 * cancels the run: it returns QN_ERR_CANCELLED and rolls back what is not committed. */
typedef int (*qn_task_progress_callback)(void *context, const struct qn_task_progress *progress);

struct qn_task_run_options {
    size_t struct_size;
    bool full;                /* start from checkpoint.initial, or with no location moved, whatever is stored */
    bool allow_external_code; /* for a connector as the source: never a task's own decision */
    const char *interpreter;  /* of a connector that is a bare script.py; NULL: python3 */
    double connector_timeout; /* as qn_connector_options.timeout */
    qn_task_progress_callback progress; /* or NULL */
    void *progress_context;
};
#define QN_TASK_RUN_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_task_run_options)                                                              \
    }

struct qn_task_result {
    size_t struct_size;
    int64_t rows; /* rows written to the sink */
    int64_t batches;
    int64_t commits;
    double seconds;
    double seconds_reading;      /* spent in the source */
    double seconds_writing;      /* spent in the sink */
    char checkpoint_before[256]; /* as text; "" where there is none */
    char checkpoint_after[256];
};
#define QN_TASK_RESULT_INIT                                                                                            \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_task_result)                                                                   \
    }

/* Run the task once, on this thread and those it starts. On failure nothing of the slice that failed is in the sink
 * and the checkpoint is that of the last commit; *result (may be NULL) is filled either way. */
QN_API enum qn_status qn_task_run(struct qn_task *task, const struct qn_task_run_options *options,
                                  struct qn_task_result *result, struct qn_error *err) QN_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
