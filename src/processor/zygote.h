/*
 * zygote.h: one interpreter that stands ready and forks runs, and the children that it forks. See protocol.h.
 *
 * A zygote is started by the launcher in a sandbox of its own and lives until it is ended, or until its control socket is
 * closed: when this process dies, so does it, and with it every child. Threads: one at a time per zygote and per child;
 * who shares them is the business of pool.h.
 */
#ifndef QN_PROCESSOR_ZYGOTE_H
#define QN_PROCESSOR_ZYGOTE_H

#include "os/process.h"
#include "processor/plan.h"
#include "processor/protocol.h"
#include "sandbox/sandbox.h"

#define QN_ZYGOTE_START_MS     60000 /* imports of heavy modules included */
#define QN_ZYGOTE_IDLE_SECONDS 300   /* without a request, and without a claimed child: it ends by itself */
#define QN_CHILD_START_MS      30000 /* a fork and its lock-down, on a machine under load */
#define QN_CHILD_END_MS        10000 /* a process that was killed */
#define QN_CHILD_KILLED_MS     5     /* the same at a deadline: the kernel may take longer to free its memory */
#define QN_CHILD_FILES         64
/* With network every row in flight may have a connection. Besides, the kernel counts the descriptors that all processes of
 * the sandbox's user have sent and nobody has received yet against this limit, when a child sends its listener. */
#define QN_CHILD_FILES_NETWORK 1024
#define QN_CHILD_THREADS       64
#define QN_ZYGOTE_TAIL_SIZE    2048

/* What an interpreter is started with. Borrowed. */
struct qn_zygote_spec {
    const struct qn_runtime *runtime;
    enum qn_sandbox_tier tier;
    const char *modules; /* to import before runs, one a line; "" */
};

struct qn_zygote {
    struct qn_process process;
    int control;                    /* -1: none */
    char tail[QN_ZYGOTE_TAIL_SIZE]; /* the end of what it wrote to standard error */
    size_t tail_size;
};
#define QN_ZYGOTE_INIT                                                                                                 \
    {                                                                                                                  \
        .process = QN_PROCESS_INIT, .control = -1                                                                      \
    }

/* Start the launcher; does not wait for the interpreter. A runtime whose files are not there is QN_ERR_CONFIG. */
enum qn_status qn_zygote_launch(const struct qn_zygote_spec *spec, struct qn_zygote *out,
                                struct qn_error *err) QN_MUST_CHECK;
/* Wait until it says hello. Blocks; asks for interrupts. After a failure only qn_zygote_end is left to call. */
enum qn_status qn_zygote_await(struct qn_zygote *zygote, const struct qn_zygote_spec *spec,
                               struct qn_error *err) QN_MUST_CHECK;
/* Its end of the control socket is closed: it has ended. */
bool qn_zygote_gone(const struct qn_zygote *zygote);
/* One that has gone has ended because nobody used it. */
bool qn_zygote_was_idle(struct qn_zygote *zygote);
/* Read what it wrote to standard error, so that it never waits for a reader. Does not block. */
void qn_zygote_drain(struct qn_zygote *zygote);
/* The last of that as one printable line: the exception of a traceback stands at its end. */
void qn_zygote_last_words(const struct qn_zygote *zygote, char *out, size_t size);
/* Nothing of it is left. In another process than that which started it only descriptors are closed. */
void qn_zygote_end(struct qn_zygote *zygote);

/* ---- children ---- */

struct qn_child_kind {
    bool network;
    uint64_t memory;
};

struct qn_child {
    struct qn_child_kind kind;
    pid_t owner; /* the process that may signal it */
    int channel, report;
    int names;    /* network: our end of the socket for questions; -1 */
    int listener; /* network: of the filter's notifications; -1 */
    int pid_fd;   /* -1 until the zygote has told of the fork */
    bool ready, ended;
    struct qn_run_report end; /* once `ended` */
};
#define QN_CHILD_INIT                                                                                                  \
    {                                                                                                                  \
        .channel = -1, .report = -1, .names = -1, .listener = -1, .pid_fd = -1                                         \
    }

/* Ask for a child; does not wait. QN_ERR_BUSY where the zygote has not read earlier requests: poll `control` for POLLOUT.
 * QN_ERR_CLOSED where it has ended. */
enum qn_status qn_child_request(struct qn_zygote *zygote, struct qn_child_kind kind, struct qn_child *out,
                                struct qn_error *err) QN_MUST_CHECK;
/* Wait until it is locked down. Blocks; asks for interrupts. QN_ERR_CLOSED where it, or its zygote, has ended;
 * QN_ERR_UNSUPPORTED where a wall does not stand. */
enum qn_status qn_child_await(struct qn_child *child, struct qn_error *err) QN_MUST_CHECK;
/* Say that the child is used: it does not go with the others when its zygote is idle. Does not block. False where it has gone
 * already: it can do nothing any more, and another serves as well. */
bool qn_child_claim(const struct qn_child *child);
/* Look whether the zygote has told of the child's end; does not block. */
void qn_child_look(struct qn_child *child);
/* SIGKILL. Nothing where it has ended, or belongs to another process. */
void qn_child_kill(const struct qn_child *child);
/* Wait for the end of one that was killed; not interrupted. False where it is not known how it ended. */
bool qn_child_wait(struct qn_child *child, int64_t milliseconds);
/* The most memory that it has had resident so far; 0 where that cannot be found out. */
uint64_t qn_child_peak(const struct qn_child *child);
/* Close all; one that still runs is killed by its zygote. */
void qn_child_close(struct qn_child *child);

#endif
