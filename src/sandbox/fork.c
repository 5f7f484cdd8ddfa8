/*
 * fork.c: forking a run.
 *
 * glibc's fork cannot make namespaces, so this is the bare system call. In a process with one thread that leaves out
 * nothing but the handlers of pthread_atfork and the thread id that glibc remembers; the kernel writes the latter where
 * glibc has it. In its pid namespace a run is pid 1: when it ends, the kernel ends whatever it may have started. Neither
 * namespace needs a capability: the user namespace is there first, and holds the other. It has no id map, so that no id
 * can be changed to another. Threads: the process has one.
 */
#include "sandbox/lockdown.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int parent_fd = -1;

int qn__sandbox_parent_fd(void)
{
    return parent_fd;
}

pid_t qn_sandbox_fork(enum qn_sandbox_tier tier, int *pid_fd_out)
{
    /* For the child: the one way to see whether its parent lives, from a pid namespace that does not have it. */
    int self_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self_fd < 0) {
        return -1;
    }
    int pid_fd = -1;
    uint64_t tid_address = 0;
    struct clone_args args = {
        .flags = CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&pid_fd,
        .exit_signal = SIGCHLD,
    };
    if (tier == QN_SANDBOX_FULL) {
        args.flags |= CLONE_NEWUSER | CLONE_NEWPID;
    }
    if (prctl(PR_GET_TID_ADDRESS, &tid_address, 0, 0, 0) == 0 && tid_address != 0) {
        args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
        args.child_tid = tid_address;
    }
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        parent_fd = self_fd;
        return 0;
    }
    int failure = errno;
    (void)close(self_fd);
    errno = failure;
    if (pid > 0) {
        *pid_fd_out = pid_fd;
    }
    return pid;
}
