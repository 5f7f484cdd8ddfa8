/*
 * protocol.h: what the engine, the zygote and a run say to each other. Shared by src/processor and the worker extension.
 *
 * Both sides are of the same release on the same machine, so structs travel as they are; the version in each first message
 * is checked all the same. The engine trusts the zygote (it never runs a statement) and nothing that a run says: every
 * frame of a run is capped, and checked when it is used.
 *
 * Control (engine <-> zygote), SOCK_SEQPACKET, descriptor QN_SANDBOX_FD_CONTROL. The zygote says struct qn_zygote_hello
 * once it is warm (the launcher says it with a failure before that). Each struct qn_fork_request carries descriptors:
 * the run's channel, the run's report and, with network, the run's names socket. End of file: the zygote ends, and with it
 * every run.
 *
 * Report (zygote -> engine), SOCK_SEQPACKET, one a run: struct qn_run_report with QN_RUN_FORKED (and the pidfd attached) or
 * QN_RUN_NOT_FORKED; then, once, QN_RUN_ENDED, where it is known how the run ended. The engine sends one byte to claim the
 * run: what it has not claimed is killed when nothing has been asked of the zygote for a while, and cannot be claimed then
 * (EPIPE); a zygote without a claimed run ends.
 *
 * Channel (engine <-> run), SOCK_STREAM: frames, a struct qn_frame and `size` bytes.
 *   run -> engine   READY (network: the notification listener attached), then after START: LOG, NEED, BATCH, DONE
 *   engine -> run   START (with a sealed memfd attached: the input so far), INPUT, INPUT_END
 */
#ifndef QN_PROCESSOR_PROTOCOL_H
#define QN_PROCESSOR_PROTOCOL_H

#include <stdint.h>

#define QN_WORKER_VERSION 1

/* ---- control ---- */

struct qn_zygote_hello {
    uint32_t version; /* QN_WORKER_VERSION */
    uint32_t failed;  /* 0, or 1: `text` says why, and the process ends */
    uint32_t python;  /* 0x030b: CPython 3.11 */
    uint32_t landlock_abi;
    char text[1024]; /* where it failed: the message; NUL-ended */
};

#define QN_FORK_NETWORK 1U
struct qn_fork_request {
    uint32_t version;
    uint32_t flags;
    uint64_t memory; /* struct qn_lockdown */
    uint32_t files;
    uint32_t threads;
};

enum qn_run_report_kind { QN_RUN_FORKED = 1, QN_RUN_NOT_FORKED = 2, QN_RUN_ENDED = 3 };
struct qn_run_report {
    uint32_t kind;
    int32_t code;   /* ENDED: exit status; NOT_FORKED: errno */
    int32_t signal; /* ENDED: signal that ended it, or 0 */
    uint32_t reserved;
    uint64_t peak_memory; /* ENDED: bytes resident at the peak */
    uint64_t cpu_nanos;   /* ENDED: user and system */
};

/* ---- channel ---- */

enum qn_frame_kind {
    /* run -> engine */
    QN_FRAME_READY = 1,  /* locked down and probed. No payload */
    QN_FRAME_FAILED = 2, /* could not lock down; payload: the message */
    QN_FRAME_LOG = 3,    /* struct qn_frame_log and the message, UTF-8 */
    QN_FRAME_NEED = 4,   /* wants the next INPUT. No payload */
    QN_FRAME_BATCH = 5,  /* output rows: one Arrow IPC record batch message of the output schema */
    QN_FRAME_DONE = 6,   /* struct qn_frame_done and the message, UTF-8. The last one */
    /* engine -> run */
    QN_FRAME_START = 16,     /* parts: struct qn_part and its bytes, padded to 8 */
    QN_FRAME_INPUT = 17,     /* one Arrow IPC record batch message of the input schema */
    QN_FRAME_INPUT_END = 18, /* no more rows. No payload */
};

struct qn_frame {
    uint32_t kind;
    uint32_t reserved;
    uint64_t size;
};

#define QN_FRAME_MAX_FROM_RUN ((uint64_t)256 << 20) /* one output batch at most; a batch of more is cut by the worker */
#define QN_FRAME_MAX_LOG      ((uint64_t)1 << 20)   /* one message with its header; longer ones are cut by the worker */

enum qn_run_log_level { QN_RUN_TRACE = 0, QN_RUN_DEBUG, QN_RUN_INFO, QN_RUN_WARN, QN_RUN_ERROR };
struct qn_frame_log {
    uint32_t level;
    uint32_t line; /* of the statement, from 1; 0: unknown */
    int64_t row;   /* of the input, from 0; -1: none (bulk) */
};

/* How a run that came to its end says that it ended; what did not come to its end the engine finds out by itself. */
enum qn_done_kind {
    QN_DONE_OK = 0,
    QN_DONE_FAILED = 1, /* an exception, or a return value that is not what it has to be; the message is a traceback */
    QN_DONE_REJECTED = 2, /* the statement breaks a rule of the language; line and column are set */
    QN_DONE_MEMORY = 3,   /* MemoryError */
    QN_DONE_CHECKED = 4,  /* QN_PART_CHECK_ONLY: the statement is fine; message: its imports, one a line; flags below */
};
struct qn_frame_done {
    uint32_t kind;
    uint32_t line, column; /* of the statement, from 1; 0: unknown */
    uint32_t flags;        /* CHECKED: QN_STATEMENT_AWAITS */
    int64_t row;           /* of the input, from 0; -1: none */
    int64_t rows_in, rows_out;
    uint64_t compile_nanos, read_nanos, run_nanos, write_nanos;
};
#define QN_STATEMENT_AWAITS 1U

enum qn_part_kind {
    QN_PART_STATEMENT = 1,     /* UTF-8 */
    QN_PART_NAME = 2,          /* of the statement's file, for tracebacks */
    QN_PART_ALLOW = 3,         /* modules, one a line */
    QN_PART_OPTIONS = 4,       /* struct qn_run_options_part */
    QN_PART_OUTPUT_SCHEMA = 5, /* Arrow IPC schema message */
    QN_PART_CHECKPOINT = 6,    /* Arrow IPC: schema message and one batch of one row, one column; absent: None */
    QN_PART_OUTPUT_TYPES = 7,  /* the output schema's type texts as the user wrote them: "name\ttype" a line */
};
struct qn_part {
    uint32_t kind;
    uint32_t reserved;
    uint64_t size;
};

#define QN_RUN_BULK        1U /* else row by row */
#define QN_RUN_CHECK_ONLY  2U /* check the statement, do not run it */
#define QN_RUN_RULES_OFF   4U /* test builds only: neither language rules nor guarded imports */
#define QN_RUN_INPUT_WHOLE 8U /* bulk: one call for all the input, not one a batch */
struct qn_run_options_part {
    uint32_t version;
    uint32_t flags;
    uint32_t concurrency;
    uint32_t reserved;
    int64_t
        batch_rows; /* row mode: of an output batch at most, 0: the worker's own choice. Bulk: of one call; no message of
                             the input crosses from one call into the next */
    uint64_t input_bytes; /* of the memfd: a schema message, then batch messages; more may follow as INPUT */
};

/* ---- names (run -> engine and back), SOCK_SEQPACKET, one question at a time ---- */

struct qn_name_question {
    char host[256]; /* NUL-ended */
    uint32_t port;
    uint32_t family; /* AF_UNSPEC, AF_INET or AF_INET6 */
};
#define QN_NAME_MAX_ADDRESSES 16
struct qn_name_address {
    uint32_t family;
    uint8_t bytes[16]; /* network order */
};
struct qn_name_answer {
    int32_t error; /* 0, or an EAI_ number; EAI_FAIL with text where policy refuses */
    uint32_t n_addresses;
    struct qn_name_address addresses[QN_NAME_MAX_ADDRESSES];
    char text[256];
};

#endif
