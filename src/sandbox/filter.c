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
#include <linux/membarrier.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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

/* Whatever their arguments are. */
static const int ALLOWED[] = {
#define C(name) SCMP_SYS(name)
    /* descriptors that are there */
    C(read), C(readv), C(pread64), C(preadv), C(write), C(writev), C(lseek), C(close), C(dup), C(dup2), C(dup3),
    C(pipe), C(eventfd2), C(poll), C(ppoll), C(select), C(pselect6), C(epoll_create1), C(epoll_ctl), C(epoll_wait),
    C(epoll_pwait), C(epoll_pwait2), C(recvfrom), C(recvmsg),
    /* looking at files */
    C(stat), C(lstat), C(fstat), C(newfstatat), C(statx), C(access), C(faccessat), C(faccessat2), C(getdents64),
    C(readlink), C(readlinkat), C(getcwd),
    /* memory and threads */
    C(brk), C(munmap), C(futex), C(set_robust_list), C(rseq), C(sched_yield), C(sched_getaffinity), C(getcpu),
    C(gettid), C(exit), C(exit_group),
    /* signals; kill and tgkill: see above */
    C(kill), C(tgkill), C(rt_sigaction), C(rt_sigprocmask), C(rt_sigreturn), C(rt_sigpending), C(rt_sigtimedwait),
    C(rt_sigsuspend), C(sigaltstack), C(pause), C(restart_syscall),
    /* time, chance, and who we are */
    C(clock_gettime), C(clock_getres), C(clock_nanosleep), C(nanosleep), C(gettimeofday), C(time), C(times),
    C(getrusage), C(getrlimit), C(getrandom), C(uname), C(getpid), C(getppid), C(getuid), C(geteuid), C(getgid),
    C(getegid), C(getresuid), C(getresgid), C(getgroups), C(getpgrp), C(getpgid), C(getsid)
};

/* Calls that libraries try first, with another way where the kernel does not have them. */
static const int ABSENT[] = { C(clone3), C(openat2), C(futex_waitv), C(io_uring_setup) };

#define READING   (O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
#define PLACEMENT (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_DENYWRITE)
#define MEMORY    (PLACEMENT | MAP_ANONYMOUS | MAP_STACK)
#define OF_THIS_PROCESS                                                                                                \
    (MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |                                    \
     MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE)
/* What pthread_create asks for, no more and no less: a thread of this process. */
#define THREAD                                                                                                         \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |                 \
     CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static const struct rule ALLOWED_IF[] = {
    { C(close_range), { { 2, ONLY(CLOSE_RANGE_CLOEXEC), 0 } } },
    { C(pipe2), { { 1, ONLY(O_CLOEXEC | O_NONBLOCK), 0 } } },
    { C(fcntl), { { 1, ALL, F_DUPFD } } },
    { C(fcntl), { { 1, ALL, F_DUPFD_CLOEXEC } } },
    { C(fcntl), { { 1, ALL, F_GETFD } } },
    { C(fcntl), { { 1, ALL, F_SETFD } } },
    { C(fcntl), { { 1, ALL, F_GETFL } } },
    { C(fcntl), { { 1, ALL, F_SETFL }, { 2, O_ASYNC, 0 } } },
    { C(ioctl), { { 1, ALL, FIONBIO } } },
    { C(ioctl), { { 1, ALL, FIONREAD } } },
    { C(ioctl), { { 1, ALL, FIOCLEX } } },
    { C(ioctl), { { 1, ALL, FIONCLEX } } },
    { C(ioctl), { { 1, ALL, TCGETS } } },
    /* sockets that are there: no address, no TCP fast open (it connects) */
    { C(sendto), { { 3, MSG_FASTOPEN, 0 }, { 4, ALL, 0 } } },
    { C(sendmsg), { { 2, MSG_FASTOPEN, 0 } } },
    /* files, for reading */
    { C(open), { { 1, ONLY(READING), 0 } } },
    { C(openat), { { 2, ONLY(READING), 0 } } },
    /* memory: private, or a shared view of a file for reading; executable only as a file is, never what was written.
     * Nothing that RLIMIT_DATA does not count: no MAP_GROWSDOWN, no huge pages, no shared anonymous memory. */
    { C(mmap), { { 2, ONLY(PROT_READ | PROT_WRITE), 0 }, { 3, ONLY(MEMORY), MAP_PRIVATE } } },
    { C(mmap), { { 2, ONLY(PROT_READ), 0 }, { 3, ONLY(PLACEMENT), MAP_SHARED } } },
    { C(mmap), { { 2, ONLY(PROT_READ), PROT_EXEC }, { 3, ONLY(PLACEMENT), MAP_PRIVATE } } },
    { C(mprotect), { { 2, ONLY(PROT_READ | PROT_WRITE), 0 } } },
    { C(mremap), { { 3, ONLY(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP), 0 } } },
    { C(madvise), { { 2, ONLY(7), 0 } } }, /* normal, random, sequential, willneed, dontneed; 5 to 7 are none */
    { C(madvise), { { 2, ALL, MADV_FREE } } },
    { C(madvise), { { 2, ALL, MADV_HUGEPAGE } } },
    { C(madvise), { { 2, ALL, MADV_NOHUGEPAGE } } },
    { C(madvise), { { 2, ALL, MADV_DONTDUMP } } },
    { C(madvise), { { 2, ALL, MADV_DODUMP } } },
    /* threads, as many as the limit allows; and their names */
    { C(clone), { { 0, ALL, THREAD } } },
    { C(membarrier), { { 0, ONLY(OF_THIS_PROCESS), 0 } } },
    { C(prctl), { { 0, ALL, PR_SET_NAME } } },
    { C(prctl), { { 0, ALL, PR_GET_NAME } } },
    /* its own limits, reading */
    { C(prlimit64), { { 0, ALL, 0 }, { 2, ALL, 0 } } },
};

/* A run with network: TCP sockets, which the supervisor connects (ASKED), and what clients do with them. */
static const int NETWORK_ALLOWED[] = { C(getsockname), C(getpeername), C(shutdown) };
static const int NETWORK_ASKED[] = { C(connect) };
#define TCP(family, protocol)                                                                                          \
    {                                                                                                                  \
        C(socket),                                                                                                     \
        {                                                                                                              \
            { 0, ALL, family }, { 1, ONLY(SOCK_CLOEXEC | SOCK_NONBLOCK), SOCK_STREAM },                                \
            {                                                                                                          \
                2, ALL, protocol                                                                                       \
            }                                                                                                          \
        }                                                                                                              \
    }
#define READ_OPTION(level, name)                                                                                       \
    {                                                                                                                  \
        C(getsockopt),                                                                                                 \
        {                                                                                                              \
            { 1, ALL, level },                                                                                         \
            {                                                                                                          \
                2, ALL, name                                                                                           \
            }                                                                                                          \
        }                                                                                                              \
    }
#define OPTION(level, name) { C(setsockopt), { { 1, ALL, level }, { 2, ALL, name } } }, READ_OPTION(level, name)
static const struct rule NETWORK_ALLOWED_IF[] = {
    { C(prlimit64), { { 0, ALL, 0 }, { 1, ALL, RLIMIT_NOFILE } } }, /* qn_lockdown_finish; it can only be lowered */
    TCP(AF_INET, 0),
    TCP(AF_INET, IPPROTO_TCP),
    TCP(AF_INET6, 0),
    TCP(AF_INET6, IPPROTO_TCP),
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
    READ_OPTION(SOL_SOCKET, SO_ERROR),
    READ_OPTION(SOL_SOCKET, SO_TYPE),
    READ_OPTION(SOL_SOCKET, SO_DOMAIN),
    READ_OPTION(SOL_SOCKET, SO_PROTOCOL),
    READ_OPTION(SOL_SOCKET, SO_ACCEPTCONN),
};

/* ---- compiling them ---- */

static int add_calls(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t n_calls)
{
    int failure = 0;
    for (size_t i = 0; failure == 0 && i < n_calls; i++) {
        failure = seccomp_rule_add_array(filter, action, calls[i], 0, NULL);
    }
    return failure;
}

static int add_rules(scmp_filter_ctx filter, const struct rule *rules, size_t n_rules)
{
    int failure = 0;
    for (size_t i = 0; failure == 0 && i < n_rules; i++) {
        struct scmp_arg_cmp checks[MAX_CHECKS];
        unsigned n = 0;
        for (; n < MAX_CHECKS && rules[i].checks[n].mask != 0; n++) {
            const struct check *check = &rules[i].checks[n];
            checks[n] = (struct scmp_arg_cmp){ check->argument, SCMP_CMP_MASKED_EQ, check->mask, check->value };
        }
        failure = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, n, checks);
    }
    return failure;
}
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* 0 or a negative errno, as libseccomp has it. */
static int compile(scmp_filter_ctx filter, bool network, int fd)
{
    int failure = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (failure == 0) {
        failure = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
    }
    if (failure == 0) {
        failure = add_calls(filter, SCMP_ACT_ALLOW, ALLOWED, COUNT(ALLOWED));
    }
    if (failure == 0) {
        failure = add_calls(filter, SCMP_ACT_ERRNO(ENOSYS), ABSENT, COUNT(ABSENT));
    }
    if (failure == 0) {
        failure = add_rules(filter, ALLOWED_IF, COUNT(ALLOWED_IF));
    }
    if (failure == 0 && network) {
        failure = add_calls(filter, SCMP_ACT_ALLOW, NETWORK_ALLOWED, COUNT(NETWORK_ALLOWED));
    }
    if (failure == 0 && network) {
        failure = add_calls(filter, SCMP_ACT_NOTIFY, NETWORK_ASKED, COUNT(NETWORK_ASKED));
    }
    if (failure == 0 && network) {
        failure = add_rules(filter, NETWORK_ALLOWED_IF, COUNT(NETWORK_ALLOWED_IF));
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
