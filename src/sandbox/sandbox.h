/*
 * sandbox.h: the walls around code that nobody trusts, built by the kernel.
 *
 * Three processes, each with less than the one before:
 *   launcher  a small program, spawned by the engine: enters namespaces of its own, builds a read-only root that holds an
 *             interpreter and nothing else of the host, becomes an unprivileged user, and executes
 *   zygote    the interpreter: imports what runs may import, single-threaded, and forks (qn_sandbox_fork)
 *   child     one run: locks itself down (qn_lockdown_apply), proves it (qn_lockdown_probe), and only then runs anything
 * Policy is data: the launcher's is struct qn_sandbox_policy, a child's is struct qn_lockdown. This folder knows nothing
 * of Python, frames or Arrow. Used by the engine (to write policies and to see what the kernel has), by the launcher, and
 * by the worker extension (fork and lock-down). Threads: see each function.
 */
#ifndef QN_SANDBOX_H
#define QN_SANDBOX_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* FULL: every layer. REDUCED: no namespaces (Landlock, seccomp, limits, an unprivileged user where one can be taken); only
 * by an administrator's word, never without Landlock and seccomp. */
enum qn_sandbox_tier { QN_SANDBOX_FULL = 0, QN_SANDBOX_REDUCED = 1 };

/* ---- what this kernel gives (engine) ---- */

enum qn_sandbox_layer {
    QN_LAYER_USER_NAMESPACE,
    QN_LAYER_MOUNT_NAMESPACE,
    QN_LAYER_PID_NAMESPACE,
    QN_LAYER_NETWORK_NAMESPACE,
    QN_LAYER_LANDLOCK,
    QN_LAYER_SECCOMP,
    QN_LAYERS
};

struct qn_sandbox_support {
    bool has[QN_LAYERS];
    int landlock_abi;    /* 0: none */
    char cause[256];     /* how the first that is missing was found to be; "" */
    char remedy[512];    /* what to do about it; "" */
    const char *missing; /* its name; NULL where all are there. Static. */
};

const char *qn_sandbox_layer_name(enum qn_sandbox_layer layer); /* "user namespaces"; static */

/* Find out by trying, in a child process that the launcher program at `launcher` makes of itself (`launcher --probe`). Any
 * thread. */
enum qn_status qn_sandbox_support_probe(const char *launcher, struct qn_sandbox_support *out,
                                        struct qn_error *err) QN_MUST_CHECK;

/* ---- the launcher's policy (written by the engine, read by the launcher) ---- */

#define QN_SANDBOX_MAX_POLICY (1 << 20)
#define QN_SANDBOX_MAX_PATHS  1024

/* Texts are borrowed. Arrays of texts end with NULL. Paths are absolute. */
struct qn_sandbox_policy {
    enum qn_sandbox_tier tier;
    const char *const *readable;    /* files and folders that the root holds, at the same places, read-only */
    const char *const *links;       /* "path=target": symbolic links that the root holds */
    const char *const *argv;        /* argv[0] is the interpreter's path */
    const char *const *environment; /* all of it */
};

/* Check a policy (paths absolute, without "..", counts within limits: QN_ERR_ARGUMENT) and write it as bytes: NUL-ended
 * "key=value" records. */
enum qn_status qn_sandbox_policy_write(const struct qn_sandbox_policy *policy, struct qn_buffer *out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* The launcher's descriptors as it starts; the zygote finds CONTROL and the filters at the same numbers.
 * stdin, stdout and stderr are the pipes of its parent for diagnosis until it executes; the zygote gets /dev/null for
 * stdin and stdout, and keeps stderr. */
#define QN_SANDBOX_FD_CONTROL    3 /* a socket to the engine: its end of file is everybody's end */
#define QN_SANDBOX_FD_POLICY     4 /* a memfd with the policy; closed before the zygote */
#define QN_SANDBOX_FD_FILTER     5 /* made by the launcher: the seccomp filter without network, an array of sock_filter */
#define QN_SANDBOX_FD_FILTER_NET 6 /* made by the launcher: the filter of runs with network (user notification) */
#define QN_SANDBOX_FD_PROC       7 /* made by the launcher: O_PATH on the host's /proc, for qn_lockdown.proc_fd */

/* ---- zygote: fork (single-threaded, in the worker extension) ---- */

/* Fork a child: FULL in a new pid namespace and a user namespace of its own (so that limits on processes are its own);
 * REDUCED plainly. Returns the pid to the parent with *pid_fd_out (close-on-exec) set, 0 to the child, -1 with errno. The
 * caller does what its language needs before and after (PyOS_BeforeFork...). */
pid_t qn_sandbox_fork(enum qn_sandbox_tier tier, int *pid_fd_out);

/* ---- child: lock-down ---- */

struct qn_lockdown {
    enum qn_sandbox_tier tier;
    bool network;       /* install the filter with notification; otherwise there are no sockets at all */
    uint64_t memory;    /* bytes that the run may use above what the process has now; 0: no limit */
    uint32_t files;     /* descriptors at most */
    uint32_t threads;   /* threads at most, this one included */
    const int *keep;    /* descriptors that stay open, ascending, all above 2 */
    size_t n_keep;      /* 1 and 2 become copies of 0, which is /dev/null; every other descriptor is closed */
    int proc_fd;        /* QN_SANDBOX_FD_PROC, or -1; closed here */
    int ruleset_fd;     /* of qn_lockdown_ruleset, made once in the zygote; closed here */
    const void *filter; /* array of struct sock_filter */
    size_t filter_size; /* bytes */
};

/* Make the Landlock rule set that children restrict themselves to: only reading below `readable` (NULL-ended), no network
 * where the ABI knows it, no signals out where it knows them. Zygote. */
enum qn_status qn_lockdown_ruleset(const char *const *readable, int *ruleset_fd_out,
                                   struct qn_error *err) QN_MUST_CHECK;

/* In this order: limits, not dumpable, parent-death signal, capabilities, descriptors, no_new_privs, Landlock, seccomp.
 * *notify_fd_out: the listener of the network filter, or -1. A failure names the layer; the child must end then. */
enum qn_status qn_lockdown_apply(const struct qn_lockdown *lockdown, int *notify_fd_out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* After the listener has been sent, and before anything untrusted runs: set the limit on descriptors of a run with
 * network, which would have kept it from sending (the kernel compares it with what all runs of the user have under
 * way). Without network it is set already. */
enum qn_status qn_lockdown_finish(const struct qn_lockdown *lockdown, struct qn_error *err) QN_MUST_CHECK;

/* Try what must fail: opening a file of the host, a socket, a program, a fork. QN_ERR_INTERNAL naming what did not. */
enum qn_status qn_lockdown_probe(const struct qn_lockdown *lockdown, struct qn_error *err) QN_MUST_CHECK;

/* ---- engine: the calls that a run with network is held back in ---- */

/* A call that the filter of lockdown.network brings here (connect() alone). The run's thread waits in it until it is
 * answered, or dies. */
struct qn_sandbox_call {
    uint64_t id;
    pid_t pid;             /* the calling thread, as this process sees it; 0: it cannot */
    int number;            /* SYS_... */
    uint64_t arguments[6]; /* the run's own: pointers lead into its memory, which it may change meanwhile */
};

/* QN_ERR_UNSUPPORTED where this kernel cannot bring them. Any thread. */
enum qn_status qn_sandbox_calls_check(struct qn_error *err) QN_MUST_CHECK;

/* Take the next call of a listener (of qn_lockdown_apply) that is readable. *taken_out is false where it has gone
 * since. */
enum qn_status qn_sandbox_call_take(int listener_fd, struct qn_sandbox_call *out, bool *taken_out,
                                    struct qn_error *err) QN_MUST_CHECK;

/* Does it still wait? Where it does not, what was read by its pid before may have been another process's. */
bool qn_sandbox_call_stands(int listener_fd, uint64_t id);

/* Let it return 0, or -1 with the errno. One that is gone needs no answer. */
void qn_sandbox_call_answer(int listener_fd, uint64_t id, int error);

/* Put a copy of our `fd`, close-on-exec, at the run's number `target_fd`; 0 or an errno. */
int qn_sandbox_call_place(int listener_fd, uint64_t id, int fd, int target_fd) QN_MUST_CHECK;

#endif
