/*
 * limits.c: the limits of a run, hard ones, so that nothing raises them again.
 *
 * Memory: RLIMIT_DATA bounds what can be written to (the filter lets no other kind of writable memory be made), relative
 * to what the process has as it is forked. RLIMIT_AS only bounds what addresses cost the kernel, so it leaves room for
 * what allocators reserve and never touch.
 * Threads: RLIMIT_NPROC counts per user and user namespace (Linux 5.14). FULL: a run has a namespace of its own, so it is
 * exact. REDUCED: all processes of the user count, so it can only be a bound for all runs together, and none for uid 0;
 * there memory bounds the threads of a run, since each needs a stack.
 */
#include "sandbox/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define RESERVED_ADDRESSES ((rlim_t)4 << 30)
#define SIGNALS            32
#define ALL_RUNS_THREADS   4096

/* Pages of address space and of private writable memory, as they are now. /proc sees us whatever our pid namespace. */
static enum qn_status present_size(int proc_fd, unsigned long long *addresses, unsigned long long *data,
                                   struct qn_error *err)
{
    char text[256];
    int fd = openat(proc_fd, "self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: limits: reading the size of the process: %m");
    }
    ssize_t got = read(fd, text, sizeof text - 1);
    (void)close(fd);
    text[got > 0 ? got : 0] = '\0';
    if (sscanf(text, "%llu %*u %*u %*u %*u %llu", addresses, data) != 2) {
        return qn_error_set(err, QN_ERR_INTERNAL, "lock-down: limits: the size of the process is not \"%s\"", text);
    }
    return QN_OK;
}

/* Both limits; a hard limit that is lower already stays. */
static enum qn_status limit(int resource, rlim_t value, struct qn_error *err)
{
    struct rlimit present;
    if (getrlimit((__rlimit_resource_t)resource, &present) == 0) {
        rlim_t bound = value < present.rlim_max ? value : present.rlim_max;
        struct rlimit wanted = { .rlim_cur = bound, .rlim_max = bound };
        if (setrlimit((__rlimit_resource_t)resource, &wanted) == 0) {
            return QN_OK;
        }
    }
    return qn_error_set(err, QN_ERR_IO, "lock-down: limits: number %d: %m", resource);
}

enum qn_status qn__limits_apply(const struct qn_lockdown *lockdown, struct qn_error *err)
{
    const struct {
        int resource;
        rlim_t value;
    } limits[] = {
        { RLIMIT_CORE, 0 },
        { RLIMIT_FSIZE, 0 },
        { RLIMIT_MEMLOCK, 0 },
        { RLIMIT_MSGQUEUE, 0 },
        { RLIMIT_NICE, 0 },
        { RLIMIT_RTPRIO, 0 },
        { RLIMIT_SIGPENDING, SIGNALS },
        { RLIMIT_STACK, QN_STACK_SIZE },
        { RLIMIT_NPROC, lockdown->tier == QN_SANDBOX_FULL ? lockdown->threads : ALL_RUNS_THREADS },
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        QN_TRY(limit(limits[i].resource, limits[i].value, err));
    }
    if (!lockdown->network) {
        QN_TRY(limit(RLIMIT_NOFILE, lockdown->files, err));
    }
    if (lockdown->memory == 0) {
        return QN_OK;
    }
    unsigned long long addresses;
    unsigned long long data;
    QN_TRY(present_size(lockdown->proc_fd, &addresses, &data, err));
    rlim_t page = (rlim_t)sysconf(_SC_PAGESIZE);
    rlim_t memory = lockdown->memory < RLIM_INFINITY / 4 ? lockdown->memory : RLIM_INFINITY / 4;
    QN_TRY(limit(RLIMIT_DATA, data * page + memory, err));
    return limit(RLIMIT_AS, addresses * page + memory + RESERVED_ADDRESSES, err);
}

enum qn_status qn_lockdown_finish(const struct qn_lockdown *lockdown, struct qn_error *err)
{
    return lockdown->network ? limit(RLIMIT_NOFILE, lockdown->files, err) : QN_OK;
}
