/*
 * execution.h: one execution, as the files that carry it out see it.
 *
 *   start.c      what the run is told first: statement, schemas, options, input
 *   execution.c  the loop: frames in, input out, deadline, the end
 *   result.c     what is said about it: status, message, log
 *   check.c      the same loop with a statement that is only checked
 *   stream.c     the same as an Arrow stream
 * Threads: one at a time. After a fork the child process only frees.
 */
#ifndef QN_PROCESSOR_EXECUTION_H
#define QN_PROCESSOR_EXECUTION_H

#include "processor/broker.h"
#include "processor/frames.h"
#include "processor/input.h"
#include "processor/output.h"
#include "processor/pool.h"
#include "processor/tier.h"

#define QN_CHECK_TIMEOUT_NANOS 30000000000 /* for checking a statement */
#define QN_LOG_ENTRY_BYTES     16          /* what a message counts beside its text */

/* Offsets into `texts`: it moves as it grows. */
struct qn_log_entry {
    size_t text;
    uint32_t level;
    int32_t line;
    int64_t row;
};

struct qn_logs {
    struct qn_log_entry *entries;
    size_t n, capacity;
    struct qn_buffer texts; /* ended by NUL each */
    int64_t bytes;          /* of texts alone */
    int64_t dropped;
    int64_t first_error; /* index; -1: none */
};

/* A frame on its way to the run: head, then body. Only one at a time. */
struct qn_sender {
    struct qn_frame head;
    const char *body; /* borrowed */
    size_t sent;      /* of both together */
    int attach;       /* with the first byte; -1: none */
};

struct qn_execution {
    struct qn_processor *processor;
    pid_t owner;
    bool check_only;
    enum qn_sandbox_tier tier;

    struct qn_pool_child taken; /* home NULL: none */
    bool refilled;              /* others have been forked in its place */
    struct qn_broker *broker;   /* or NULL */
    struct qn_frames frames;
    struct qn_sender sender;
    struct qn_buffer start; /* payload of START */
    struct qn_input input;
    bool input_over; /* INPUT_END was said, or need not be */
    int64_t rows_in; /* handed to the run */
    bool need;       /* the run waits for input */
    struct qn_output output;
    struct ArrowArray batch; /* decoded, not handed out yet */

    int64_t time_left, since; /* of the deadline; since 0: the clock stands */
    bool timeout_per_batch;   /* time_left begins anew with each batch of input */
    int64_t began, ready_at, ended_at;
    int64_t asked_at; /* for interrupts */

    bool ended;
    struct qn_error failure; /* what every further call returns; status QN_OK: nothing */
    enum qn_execution_status status;
    struct qn_buffer message;
    int32_t line, column;
    int64_t row;
    struct qn_frame_done done; /* as it was sent: not to be trusted */
    bool gone;                 /* its pidfd says so */
    struct qn_run_report end;
    double seconds_killed;
    struct qn_logs logs;
};

/* ---- execution.c ---- */

/* Make an execution that is not begun. */
enum qn_status qn__execution_new(struct qn_processor *processor, struct qn_execution **out,
                                 struct qn_error *err) QN_MUST_CHECK;
/* Go on until there is a batch, or the end. */
enum qn_status qn__execution_pump(struct qn_execution *self, struct qn_error *err) QN_MUST_CHECK;

/* Send START, or the beginning of it, to a child of a zygote that has imported `modules`. Where the child has gone before it
 * was told anything, another one is taken, once. */
enum qn_status qn__execution_tell(struct qn_execution *self, const char *modules, struct qn_error *err) QN_MUST_CHECK;

/* ---- start.c ---- */

/* Take a child of a zygote that has imported `modules`, with the broker where the plan has network. */
enum qn_status qn__execution_take_child(struct qn_execution *self, const char *modules,
                                        struct qn_error *err) QN_MUST_CHECK;
/* Put the checkpoint (borrowed) to what the run will be told. */
enum qn_status qn__execution_checkpoint(struct qn_execution *self, struct ArrowArrayStream *checkpoint,
                                        struct qn_error *err) QN_MUST_CHECK;
/* Make START ready to be sent. `take_rows` (may be NULL: no input) is taken over, also on failure. */
enum qn_status qn__execution_begin(struct qn_execution *self, struct ArrowArrayStream *take_rows,
                                   struct qn_error *err) QN_MUST_CHECK;

/* ---- result.c ---- */

/* Set the outcome, if none is set yet. Text from a run is made valid UTF-8. */
void qn__execution_outcome(struct qn_execution *self, enum qn_execution_status status, const char *text, size_t size);
void qn__execution_outcome_format(struct qn_execution *self, enum qn_execution_status status, const char *format, ...)
    QN_PRINTF(3, 4);
/* The outcome of a DONE frame: kind, message, place. False: not what a run may say. */
bool qn__execution_outcome_done(struct qn_execution *self, const char *payload, size_t size);
/* The outcome of a process that ended without DONE. */
void qn__execution_outcome_ended(struct qn_execution *self, bool known);
/* The last word: an execution that was OK may have been without rows, or have called log.error. */
void qn__execution_outcome_settle(struct qn_execution *self);

/* Keep a message; false where the limit is passed by it. */
bool qn__execution_log(struct qn_execution *self, const struct qn_frame_log *head, const char *text, size_t size);
void qn__logs_dispose(struct qn_logs *logs);

/* ---- check.c ---- */

/* Have the interpreter look at the statement, once. Returns the execution of the check where the statement is not fine (with
 * its outcome), NULL in *out where it is. */
enum qn_status qn__processor_check(struct qn_processor *processor, struct qn_execution **out,
                                   struct qn_error *err) QN_MUST_CHECK;

#endif
