/*
 * processor.h: Python statements over rows, in a sandbox that the kernel enforces.
 *
 * A processor is a statement (the body of an async Python function that returns rows), the schema of what it returns, and
 * its limits. An execution runs it once over an Arrow stream, in a process of its own that can read nothing of this
 * machine, reach nothing that was not allowed, and is killed at its deadline. What a statement does never becomes an error
 * of these functions: it is the status of the execution. Errors are of the caller's own making (a wrong plan, a sandbox
 * that this machine does not give).
 * Rules of the language, statuses and samples: docs/guides/processor.md. What holds the walls up: SECURITY.md.
 */
#ifndef QANAT_PROCESSOR_H
#define QANAT_PROCESSOR_H

#include <qanat/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qn_processor;
struct qn_execution;

/* Make a processor from a plan, a JSON document:
 *   statement    text; required
 *   name         of its file, for messages; default "statement.py"
 *   output       [{"name": "id", "type": "Int64!"}, ...]; required
 *   input        the same, or null
 *   mode         "row" (default) or "bulk"
 *   batch_rows   rows of an input batch; bulk: 0 (default) is one call for the whole input
 *   concurrency  rows in flight at once, 1 (default) to 10000; row mode
 *   checkpoint   a column of the output, or null
 *   allow        modules that may be imported; default: the standard list
 *   network      "off" (default), "public", or ["host:port", ...]
 *   timeout      seconds of statement time, of an execution or of a batch (qn_execution_options); default 30
 *   memory       bytes above the idle interpreter; default 512 MiB
 *   output_limit bytes of output rows; default 1 GiB      log_limit  bytes of log messages; default 1 MiB
 *   runtime      what `qanat runtime describe NAME` prints: interpreter, paths, worker, launcher; required
 * QN_ERR_CONFIG names the key. Nothing is started. `json` is borrowed for the call. Any thread. */
QN_API enum qn_status qn_processor_new(const char *json, size_t size, struct qn_processor **out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* Executions that are open go on; the processor is freed with the last of them. Any thread; NULL is allowed. */
QN_API void qn_processor_free(struct qn_processor *processor);

/* The output schema, as batches of executions have it. The copy is the caller's. */
QN_API enum qn_status qn_processor_schema(const struct qn_processor *processor, struct ArrowSchema *out,
                                          struct qn_error *err) QN_MUST_CHECK;

/* Where and why a statement breaks the rules of the language. */
struct qn_statement_problem {
    size_t struct_size;
    int32_t line, column; /* from 1; 0: none, the statement is fine */
    char message[1024];
};
#define QN_STATEMENT_PROBLEM_INIT                                                                                      \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_statement_problem)                                                             \
    }

/* Have the statement checked by the interpreter that will run it, inside the sandbox, without running it. A statement that
 * breaks a rule is QN_ERR_QUERY, and *problem (may be NULL) says where. Any thread; blocks. */
QN_API enum qn_status qn_processor_check(struct qn_processor *processor, struct qn_statement_problem *problem,
                                         struct qn_error *err) QN_MUST_CHECK;

/* How an execution ended. The values are part of the ABI. */
enum qn_execution_status {
    QN_EXECUTION_RUNNING = 0,
    QN_EXECUTION_OK = 1,
    QN_EXECUTION_NO_DATA = 2,      /* ended well, without a row */
    QN_EXECUTION_FAILED = 3,       /* an exception, log.error, or rows that are not of the output schema */
    QN_EXECUTION_TIMED_OUT = 4,    /* killed at its deadline */
    QN_EXECUTION_MEMORY = 5,       /* memory_exceeded */
    QN_EXECUTION_OUTPUT_LIMIT = 6, /* more output or log than allowed */
    QN_EXECUTION_CRASHED = 7,      /* the process ended by a signal, or broke the channel */
    QN_EXECUTION_REJECTED = 8      /* the statement breaks a rule of the language */
};
QN_API const char *qn_execution_status_name(enum qn_execution_status status); /* "timed_out"; static */

/* Texts are borrowed from the execution. */
struct qn_execution_log {
    const char *level; /* "trace", "debug", "info", "warn", "error" */
    const char *message;
    int32_t line; /* of the statement, from 1; 0: unknown */
    int64_t row;  /* of the input, from 0; -1: none */
};

struct qn_execution_result {
    size_t struct_size;
    enum qn_execution_status status;
    const char *message; /* "" where all is well; otherwise for the author of the statement, a traceback included */
    int32_t line;        /* of the statement, where one is to blame; 0: unknown */
    int64_t row;         /* of the input; -1: none */
    int64_t rows_in, rows_out;
    const char *tier;                                                 /* "full" or "reduced" */
    double seconds;                                                   /* all of it */
    double seconds_start;                                             /* until the process was ready */
    double seconds_compile, seconds_read, seconds_run, seconds_write; /* inside the process */
    double seconds_killed; /* from the deadline to the report of the kill; 0 where there was none */
    int64_t peak_memory;   /* bytes resident */
    int64_t output_bytes, log_bytes;
    int64_t n_logs, logs_dropped;
};

struct qn_execution_options {
    size_t struct_size;
    struct ArrowArrayStream *checkpoint; /* one row, one column: DATA_CHECKPOINT; NULL: None. Taken over on success */
    bool
        timeout_per_batch; /* the plan's timeout begins anew with each input batch: for streams of any length. Otherwise it is
                             * for all rows together */
};
#define QN_EXECUTION_OPTIONS_INIT                                                                                      \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_execution_options)                                                             \
    }

/* Begin. `rows` is taken over on success. NULL is no input: the statement is called once, with an empty list. An
 * input that breaks the input schema ends the execution as FAILED naming row and field, an input stream that fails makes the
 * next call fail with its error. Any thread; an execution is used by one thread at a time. */
QN_API enum qn_status qn_execution_start(struct qn_processor *processor, struct ArrowArrayStream *rows,
                                         const struct qn_execution_options *options, struct qn_execution **out,
                                         struct qn_error *err) QN_MUST_CHECK;

/* The next output batch; out->release is NULL once the execution has ended, however it ended. Blocks; asks for interrupts.
 * Batches that came before a failure have been handed out: look at the status before they count. */
QN_API enum qn_status qn_execution_next(struct qn_execution *execution, struct ArrowArray *out,
                                        struct qn_error *err) QN_MUST_CHECK;

/* After the end (before it the status is RUNNING). Borrowed texts live as long as the execution. */
QN_API void qn_execution_result(const struct qn_execution *execution, struct qn_execution_result *out);
QN_API enum qn_status qn_execution_log(const struct qn_execution *execution, int64_t i, struct qn_execution_log *out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* After the end with OK: the value of the checkpoint column in the last output row, as a stream of one row and one column;
 * out->release is NULL where there is no row or no checkpoint column. */
QN_API enum qn_status qn_execution_checkpoint(const struct qn_execution *execution, struct ArrowArrayStream *out,
                                              struct qn_error *err) QN_MUST_CHECK;

/* Ends the process where it still runs. NULL is allowed. */
QN_API void qn_execution_free(struct qn_execution *execution);

/* The same as a stream: rows in, rows out, bounded memory, the timeout for each batch whatever the options say. A status other
 * than OK and NO_DATA is an error of the stream (QN_ERR_QUERY, QN_ERR_TIMEOUT, QN_ERR_NO_MEMORY, QN_ERR_DATA for output_limit)
 * with the execution's message in one line, before the end; a traceback is its detail. What the statement logs goes to the log
 * of the area "processor". `rows` (NULL: no input, one call with an empty list) and options->checkpoint are taken over on
 * success. */
QN_API enum qn_status qn_processor_stream(struct qn_processor *processor, struct ArrowArrayStream *rows,
                                          const struct qn_execution_options *options, struct ArrowArrayStream *out,
                                          struct qn_error *err) QN_MUST_CHECK;

/* ---- the sandbox of this machine ---- */

/* The administrator's word that the reduced tier will do where a layer of the full one is missing. QANAT_SANDBOX=reduced in
 * the environment says the same; QANAT_SANDBOX=full takes it back. Any thread; counts for executions begun afterwards. */
QN_API void qn_sandbox_allow_reduced(bool allow);

struct qn_sandbox_report {
    size_t struct_size;
    const char *tier;   /* "full", "reduced", or NULL: nothing can run, see `message` */
    char message[1024]; /* what is missing and what to do about it; "" */
    int32_t landlock_abi;
    bool user_namespaces, mount_namespaces, pid_namespaces, network_namespaces, landlock, seccomp;
};
#define QN_SANDBOX_REPORT_INIT                                                                                         \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_sandbox_report)                                                                \
    }
/* What this machine gives, found out by trying; `launcher` is the path of the launcher program. Any thread; blocks. */
QN_API enum qn_status qn_sandbox_report(const char *launcher, struct qn_sandbox_report *out,
                                        struct qn_error *err) QN_MUST_CHECK;

/* End all idle interpreters that are kept ready. Executions that run go on. Any thread. */
QN_API void qn_processor_shutdown(void);

#ifdef __cplusplus
}
#endif
#endif
