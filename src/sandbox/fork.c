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
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int parent_fd = -1;

int qn__sandbox_parent_fd(void)
{
    return parent_fd;
}

/* clone, and not clone3: containers have filters that cannot look into clone3's argument and refuse it altogether. */
static pid_t clone_process(unsigned long flags, int *pid_fd_out, uint64_t tid_address)
{
#if defined(__x86_64__)
    return (pid_t)syscall(SYS_clone, flags, 0, pid_fd_out, tid_address, 0);
#else /* the last two the other way round: arm64 and most others */
    return (pid_t)syscall(SYS_clone, flags, 0, pid_fd_out, 0, tid_address);
#endif
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
    unsigned long flags = CLONE_PIDFD | SIGCHLD;
    if (tier == QN_SANDBOX_FULL) {
        flags |= CLONE_NEWUSER | CLONE_NEWPID;
    }
    if (prctl(PR_GET_TID_ADDRESS, &tid_address, 0, 0, 0) == 0 && tid_address != 0) {
        flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    }
    pid_t pid = clone_process(flags, &pid_fd, tid_address);
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
