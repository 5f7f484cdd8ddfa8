/*
 * filter.c: which system calls a run may make, and with which arguments; the launcher alone compiles it (libseccomp).
 *
 * Everything that no line below allows fails with EPERM; another architecture's calls (i386, x32) kill the process. A line
 * with conditions holds where every one of them does: (argument & mask) == value. Several lines for one call are
 * alternatives. Arguments behind pointers cannot be seen here: nothing below relies on one.
 * kill and tgkill are narrowed to the process itself by a filter of its own (lockdown.c).
 */
#include "sandbox/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the rules ---- */

#define ALL           UINT64_MAX
#define ONLY(allowed) (~(uint64_t)(allowed)) /* mask for "no other bit than these" */
#define MAX_CHECKS    3

struct check {
    unsigned argument;
    uint64_t mask, value;
};
struct rule {
    int call;
    struct check checks[MAX_CHECKS]; /* up to one with mask 0 */
};
#define CALL(name)                                                                                                     \
    {                                                                                                                  \
        SCMP_SYS(name),                                                                                                \
        {                                                                                                              \
            {                                                                                                          \
                0, 0, 0                                                                                                \
            }                                                                                                          \
        }                                                                                                              \
    }
#define CALL_IF(name, ...)                                                                                             \
    {                                                                                                                  \
        SCMP_SYS(name),                                                                                                \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

#define READING   (O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_LARGEFILE | 0100000)
#define PLACEMENT (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_DENYWRITE)
#define MEMORY    (PLACEMENT | MAP_ANONYMOUS | MAP_STACK)
/* What pthread_create asks for, no more and no less: a thread of this process. CLONE_DETACHED means nothing to the kernel. */
#define THREAD                                                                                                         \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |                 \
     CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static const struct rule RULES[] = {
    /* descriptors that are there */
    CALL(read),
    CALL(readv),
    CALL(pread64),
    CALL(preadv),
    CALL(write),
    CALL(writev),
    CALL(lseek),
    CALL(close),
    CALL_IF(close_range, { 2, ONLY(CLOSE_RANGE_CLOEXEC), 0 }),
    CALL(dup),
    CALL(dup2),
    CALL(dup3),
    CALL_IF(pipe2, { 1, ONLY(O_CLOEXEC | O_NONBLOCK), 0 }),
    CALL(pipe),
    CALL(eventfd2),
    CALL(poll),
    CALL(ppoll),
    CALL(select),
    CALL(pselect6),
    CALL(epoll_create1),
    CALL(epoll_ctl),
    CALL(epoll_wait),
    CALL(epoll_pwait),
    CALL(epoll_pwait2),
    CALL_IF(fcntl, { 1, ALL, F_DUPFD }),
    CALL_IF(fcntl, { 1, ALL, F_DUPFD_CLOEXEC }),
    CALL_IF(fcntl, { 1, ALL, F_GETFD }),
    CALL_IF(fcntl, { 1, ALL, F_SETFD }),
    CALL_IF(fcntl, { 1, ALL, F_GETFL }),
    CALL_IF(fcntl, { 1, ALL, F_SETFL }, { 2, O_ASYNC, 0 }),
    CALL_IF(ioctl, { 1, ALL, FIONBIO }),
    CALL_IF(ioctl, { 1, ALL, FIONREAD }),
    CALL_IF(ioctl, { 1, ALL, FIOCLEX }),
    CALL_IF(ioctl, { 1, ALL, FIONCLEX }),
    CALL_IF(ioctl, { 1, ALL, TCGETS }),

    /* sockets that are there: no address, no TCP fast open (it connects) */
    CALL_IF(sendto, { 3, MSG_FASTOPEN, 0 }, { 4, ALL, 0 }),
    CALL(recvfrom),
    CALL_IF(sendmsg, { 2, MSG_FASTOPEN, 0 }),
    CALL(recvmsg),

    /* files, for reading */
    CALL_IF(open, { 1, ONLY(READING), 0 }),
    CALL_IF(openat, { 2, ONLY(READING), 0 }),
    CALL(stat),
    CALL(lstat),
    CALL(fstat),
    CALL(newfstatat),
    CALL(statx),
    CALL(access),
    CALL(faccessat),
    CALL(faccessat2),
    CALL(getdents64),
    CALL(readlink),
    CALL(readlinkat),
    CALL(getcwd),

    /* memory: private, or a shared view of a file for reading; executable only as a file is, never what was written.
     * Nothing that RLIMIT_DATA does not count: no MAP_GROWSDOWN, no huge pages, no shared anonymous memory. */
    CALL(brk),
    CALL(munmap),
    CALL_IF(mremap, { 3, ONLY(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP), 0 }),
    CALL_IF(mmap, { 2, ONLY(PROT_READ | PROT_WRITE), 0 }, { 3, ONLY(MEMORY), MAP_PRIVATE }),
    CALL_IF(mmap, { 2, ONLY(PROT_READ), 0 }, { 3, ONLY(PLACEMENT), MAP_SHARED }),
    CALL_IF(mmap, { 2, ONLY(PROT_READ), PROT_EXEC }, { 3, ONLY(PLACEMENT), MAP_PRIVATE }),
    CALL_IF(mprotect, { 2, ONLY(PROT_READ | PROT_WRITE), 0 }),
    CALL_IF(madvise, { 2, ONLY(7), 0 }), /* normal ... willneed, dontneed: 0 to 4; 5 to 7 are none */
    CALL_IF(madvise, { 2, ALL, MADV_FREE }),
    CALL_IF(madvise, { 2, ALL, MADV_HUGEPAGE }),
    CALL_IF(madvise, { 2, ALL, MADV_NOHUGEPAGE }),
    CALL_IF(madvise, { 2, ALL, MADV_DONTDUMP }),
    CALL_IF(madvise, { 2, ALL, MADV_DODUMP }),
    CALL_IF(madvise, { 2, ALL, MADV_WIPEONFORK }),
    CALL_IF(madvise, { 2, ALL, MADV_COLD }),
    CALL_IF(madvise, { 2, ALL, MADV_PAGEOUT }),

    /* threads of this process, as many as the limit allows */
    CALL_IF(clone, { 0, ONLY(0x400000), THREAD }),
    CALL(set_robust_list),
    CALL(rseq),
    CALL(futex),
    CALL(membarrier),
    CALL(sched_yield),
    CALL(sched_getaffinity),
    CALL(getcpu),
    CALL(gettid),
    CALL_IF(prctl, { 0, ALL, PR_SET_NAME }),
    CALL_IF(prctl, { 0, ALL, PR_GET_NAME }),
    CALL(exit),
    CALL(exit_group),

    /* signals, to itself */
    CALL(kill),
    CALL(tgkill),
    CALL(rt_sigaction),
    CALL(rt_sigprocmask),
    CALL(rt_sigreturn),
    CALL(rt_sigpending),
    CALL(rt_sigtimedwait),
    CALL(rt_sigsuspend),
    CALL(sigaltstack),
    CALL(pause),
    CALL(restart_syscall),

    /* time, chance, and who we are */
    CALL(clock_gettime),
    CALL(clock_getres),
    CALL(clock_nanosleep),
    CALL(nanosleep),
    CALL(gettimeofday),
    CALL(time),
    CALL(times),
    CALL(getrusage),
    CALL(getrlimit),
    CALL(getrandom),
    CALL(uname),
    CALL_IF(prlimit64, { 0, ALL, 0 }, { 2, ALL, 0 }), /* of itself, reading */
    CALL(getpid),
    CALL(getppid),
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
    CALL(getresuid),
    CALL(getresgid),
    CALL(getgroups),
    CALL(getpgrp),
    CALL(getpgid),
    CALL(getsid),
};

/* Calls that libraries try first, with another way where the kernel does not have them. */
static const struct rule ABSENT[] = { CALL(clone3), CALL(openat2), CALL(futex_waitv), CALL(io_uring_setup) };

/* A run with network: TCP sockets that the supervisor connects (ASKED), and what clients do with them. */
#define TCP(family, protocol)                                                                                          \
    CALL_IF(socket, { 0, ALL, family }, { 1, ONLY(SOCK_CLOEXEC | SOCK_NONBLOCK), SOCK_STREAM }, { 2, ALL, protocol })
#define OPTION(level, name)                                                                                            \
    CALL_IF(setsockopt, { 1, ALL, level }, { 2, ALL, name }), CALL_IF(getsockopt, { 1, ALL, level }, { 2, ALL, name })
static const struct rule NETWORK_RULES[] = {
    TCP(AF_INET, 0),
    TCP(AF_INET, IPPROTO_TCP),
    TCP(AF_INET6, 0),
    TCP(AF_INET6, IPPROTO_TCP),
    CALL(getsockname),
    CALL(getpeername),
    CALL(shutdown),
    OPTION(SOL_SOCKET, SO_KEEPALIVE),
    OPTION(SOL_SOCKET, SO_REUSEADDR),
    OPTION(SOL_SOCKET, SO_SNDBUF),
    OPTION(SOL_SOCKET, SO_RCVBUF),
    OPTION(SOL_SOCKET, SO_LINGER),
    OPTION(SOL_SOCKET, SO_RCVTIMEO),
    OPTION(SOL_SOCKET, SO_SNDTIMEO),
    OPTION(IPPROTO_TCP, TCP_NODELAY),
    OPTION(IPPROTO_TCP, TCP_KEEPIDLE),
    OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
    OPTION(IPPROTO_TCP, TCP_KEEPCNT),
    OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT),
    OPTION(IPPROTO_TCP, TCP_QUICKACK),
    OPTION(IPPROTO_IPV6, IPV6_V6ONLY),
    CALL_IF(getsockopt, { 1, ALL, SOL_SOCKET }, { 2, ALL, SO_ERROR }),
    CALL_IF(getsockopt, { 1, ALL, SOL_SOCKET }, { 2, ALL, SO_TYPE }),
    CALL_IF(getsockopt, { 1, ALL, SOL_SOCKET }, { 2, ALL, SO_DOMAIN }),
    CALL_IF(getsockopt, { 1, ALL, SOL_SOCKET }, { 2, ALL, SO_PROTOCOL }),
    CALL_IF(getsockopt, { 1, ALL, SOL_SOCKET }, { 2, ALL, SO_ACCEPTCONN }),
};
static const struct rule ASKED[] = { CALL(connect) };

/* ---- compiling them ---- */

static int add(scmp_filter_ctx filter, uint32_t action, const struct rule *rules, size_t n_rules)
{
    for (size_t i = 0; i < n_rules; i++) {
        struct scmp_arg_cmp checks[MAX_CHECKS];
        unsigned n_checks = 0;
        while (n_checks < MAX_CHECKS && rules[i].checks[n_checks].mask != 0) {
            const struct check *check = &rules[i].checks[n_checks];
            checks[n_checks++] =
                (struct scmp_arg_cmp){ check->argument, SCMP_CMP_MASKED_EQ, check->mask, check->value };
        }
        int failure = seccomp_rule_add_array(filter, action, rules[i].call, n_checks, checks);
        if (failure != 0) {
            return failure;
        }
    }
    return 0;
}
#define ADD(filter, action, rules) add(filter, action, rules, sizeof(rules) / sizeof *(rules))

/* 0 or a negative errno, as libseccomp has it. */
static int compile(scmp_filter_ctx filter, bool network, int fd)
{
    int failure = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (failure == 0) {
        failure = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
    }
    if (failure == 0) {
        failure = ADD(filter, SCMP_ACT_ALLOW, RULES);
    }
    if (failure == 0) {
        failure = ADD(filter, SCMP_ACT_ERRNO(ENOSYS), ABSENT);
    }
    if (failure == 0 && network) {
        failure = ADD(filter, SCMP_ACT_ALLOW, NETWORK_RULES);
        if (failure == 0) {
            failure = ADD(filter, SCMP_ACT_NOTIFY, ASKED);
        }
    }
    return failure != 0 ? failure : seccomp_export_bpf(filter, fd);
}

enum qn_status qn__filter_make(bool network, int *fd_out, struct qn_error *err)
{
    int fd = memfd_create("qanat-filter", MFD_ALLOW_SEALING);
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int failure = -EIO;
    if (fd >= 0 && filter != NULL) {
        failure = compile(filter, network, fd);
    }
    seccomp_release(filter);
    if (failure == 0 && (lseek(fd, 0, SEEK_SET) != 0 ||
                         fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)) {
        failure = -errno;
    }
    if (failure != 0) {
        (void)close(fd);
        errno = -failure;
        return qn__layer_failed(QN_LAYER_SECCOMP, -1, "compiling the filter", err);
    }
    *fd_out = fd;
    return QN_OK;
}
