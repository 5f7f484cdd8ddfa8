/*
 * process.h: child processes with pipes, ended by pid and reaped by pidfd.
 *
 * A child is started by posix_spawn (the engine may live in a process with threads) as the leader of a process group of
 * its own, with standard input, output and error as pipes of ours, the descriptors that it is given at 3, 4, ..., and no
 * other descriptor of ours. Threads: one at a time per child.
 */
#ifndef QN_OS_PROCESS_H
#define QN_OS_PROCESS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct qn_process {
    pid_t pid;                          /* 0: none */
    pid_t owner;                        /* the process that started it: nobody else signals or reaps it */
    int pid_fd;                         /* -1: none */
    int stdin_fd, stdout_fd, stderr_fd; /* our ends; -1 once closed */
};
#define QN_PROCESS_INIT                                                                                                \
    {                                                                                                                  \
        .pid = 0, .owner = 0, .pid_fd = -1, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1                           \
    }

struct qn_exit {
    bool exited; /* else ended by a signal */
    int code;    /* exit status or signal number */
};

/* Start argv[0], looked up on PATH. `environment` NULL: that of this process. A program that cannot be started is
 * QN_ERR_IO naming it. */
enum qn_status qn_process_start(const char *const *argv, const char *const *environment, struct qn_process *out,
                                struct qn_error *err) QN_MUST_CHECK;

/* The same for a child that also gets `n_fds` descriptors of ours (borrowed, any numbers; QN_PROCESS_MAX_FDS at most, else
 * QN_ERR_ARGUMENT): fds[0] is its descriptor 3, fds[1] its 4, and so on. */
#define QN_PROCESS_MAX_FDS 16
enum qn_status qn_process_start_with(const char *const *argv, const char *const *environment, const int *fds,
                                     size_t n_fds, struct qn_process *out, struct qn_error *err) QN_MUST_CHECK;

/* The same, in another current folder, from which a relative path of the program begins too; NULL: this process's. */
enum qn_status qn_process_start_in(const char *folder, const char *const *argv, const char *const *environment,
                                   const int *fds, size_t n_fds, struct qn_process *out,
                                   struct qn_error *err) QN_MUST_CHECK;

/* Wait for the end until the deadline (QN_ERR_TIMEOUT); *out says how it ended. The child stays to be reaped by
 * qn_process_end, so that its pid and group keep their meaning; waiting again gives the same answer. */
enum qn_status qn_process_wait(struct qn_process *process, int64_t deadline, struct qn_exit *out,
                               struct qn_error *err) QN_MUST_CHECK;

/* Close our pipe ends, SIGTERM to the group, SIGKILL to what is left of it once the child has ended or `grace_ms` (0: at
 * once) have passed, reap. Nothing is left. Safe on one that has ended or never started; in another process than that
 * which started it (after a fork) only descriptors are closed. Not interrupted. */
void qn_process_end(struct qn_process *process, int64_t grace_ms);

#endif
