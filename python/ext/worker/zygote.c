/*
 * zygote.c: the loop of the zygote: fork requests in, forked children and how they ended out.
 *
 * Single-threaded, and it never runs a statement. Each request's descriptors are closed here once the fork is made, each
 * child is known by its pidfd and reaped by it alone. A child whose report socket is given up by the engine is killed; at
 * the end of file of control all are, and the zygote ends. Whatever comes in that is not a request is answered where it
 * can be, and forgotten.
 */
#include "worker.h"

#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define MAX_REQUEST_FDS 8
#define FD_CHANNEL      0 /* of the descriptors of a request */
#define FD_REPORT       1
#define FD_NAMES        2

struct run {
    int pid_fd;
    int report_fd; /* -1: given up by the engine */
};

struct loop {
    struct zygote *zygote;
    struct run *runs;
    struct pollfd *polled; /* control, then pidfd and report of each run */
    size_t n_runs, capacity;
};

struct request {
    struct qn_fork_request head;
    bool well_formed;
    int fds[MAX_REQUEST_FDS];
    size_t n_fds;
};

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static void send_report(int fd, const struct qn_run_report *report, int attach)
{
    struct iovec part = { .iov_base = (void *)(uintptr_t)report, .iov_len = sizeof *report };
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (attach >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &attach, sizeof attach);
    }
    ssize_t sent;
    do {
        /* Two messages at most on a socket of its own: a full one belongs to an engine that has gone wrong. */
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
}

int zygote_hello(int control_fd, const char *failure)
{
    struct qn_zygote_hello hello = { .version = QN_WORKER_VERSION,
                                     .failed = failure != NULL,
                                     .python = PY_MAJOR_VERSION << 8 | PY_MINOR_VERSION };
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);
    hello.landlock_abi = abi > 0 ? (uint32_t)abi : 0;
    if (failure != NULL) {
        qn__error_copy(hello.text, sizeof hello.text, failure, strlen(failure));
    }
    ssize_t sent;
    do {
        sent = send(control_fd, &hello, sizeof hello, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent != (ssize_t)sizeof hello) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* ---- requests ---- */

static void take_fds(struct request *request, struct msghdr *message)
{
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t n = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
            if (request->n_fds < MAX_REQUEST_FDS) {
                request->fds[request->n_fds++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

static void close_fds(struct request *request)
{
    for (size_t i = 0; i < request->n_fds; i++) {
        close_fd(request->fds[i]);
    }
    request->n_fds = 0;
}

/* 1: a request; 0: the end of file; -1: nothing yet. */
static int receive_request(int control_fd, struct request *request)
{
    char bytes[sizeof(struct qn_fork_request) + 8]; /* room to see that a message is too long */
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(MAX_REQUEST_FDS * sizeof(int))];
    } control;
    struct iovec part = { .iov_base = bytes, .iov_len = sizeof bytes };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
    };
    ssize_t got = recvmsg(control_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0) {
        return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK ? -1 : 0;
    }
    request->n_fds = 0;
    take_fds(request, &message);
    if (got == 0) {
        close_fds(request);
        return 0;
    }
    request->well_formed = got == sizeof request->head;
    if (request->well_formed) {
        memcpy(&request->head, bytes, sizeof request->head);
        bool network = request->head.flags & QN_FORK_NETWORK;
        request->well_formed = request->head.version == QN_WORKER_VERSION &&
                               (request->head.flags & ~QN_FORK_NETWORK) == 0 &&
                               request->n_fds == (network ? FD_NAMES + 1U : FD_REPORT + 1U);
    }
    return 1;
}

static void refuse(struct request *request, int number)
{
    if (request->n_fds > FD_REPORT) {
        struct qn_run_report report = { .kind = QN_RUN_NOT_FORKED, .code = number };
        send_report(request->fds[FD_REPORT], &report, -1);
    }
    close_fds(request);
}

static bool make_room(struct loop *loop)
{
    if (loop->n_runs < loop->capacity) {
        return true;
    }
    size_t capacity = loop->capacity > 0 ? loop->capacity * 2 : 64;
    struct run *runs = qn_realloc_array(loop->runs, capacity, sizeof *runs);
    if (runs == NULL) {
        return false;
    }
    loop->runs = runs;
    struct pollfd *polled = qn_realloc_array(loop->polled, 1 + 2 * capacity, sizeof *polled);
    if (polled == NULL) {
        return false;
    }
    loop->polled = polled;
    loop->capacity = capacity;
    return true;
}

/* In the child: nothing of the other runs stays open. */
static void become_child(struct loop *loop, struct request *request, struct zygote_child *out)
{
    PyOS_AfterFork_Child();
    for (size_t i = 0; i < loop->n_runs; i++) {
        close_fd(loop->runs[i].pid_fd);
        close_fd(loop->runs[i].report_fd);
    }
    close_fd(loop->zygote->control_fd);
    close_fd(request->fds[FD_REPORT]);
    *out = (struct zygote_child){ .channel_fd = request->fds[FD_CHANNEL],
                                  .names_fd = request->n_fds > FD_NAMES ? request->fds[FD_NAMES] : -1,
                                  .request = request->head };
}

/* True in the child. */
static bool fork_run(struct loop *loop, struct request *request, struct zygote_child *out)
{
    if (!request->well_formed || !make_room(loop)) {
        refuse(request, request->well_formed ? ENOMEM : EPROTO);
        return false;
    }
    int pid_fd = -1;
    PyOS_BeforeFork();
    pid_t pid = qn_sandbox_fork(loop->zygote->tier, &pid_fd);
    int number = errno;
    if (pid == 0) {
        become_child(loop, request, out);
        return true;
    }
    PyOS_AfterFork_Parent();
    if (pid < 0) {
        refuse(request, number);
        return false;
    }
    struct qn_run_report report = { .kind = QN_RUN_FORKED };
    send_report(request->fds[FD_REPORT], &report, pid_fd);
    loop->runs[loop->n_runs++] = (struct run){ .pid_fd = pid_fd, .report_fd = request->fds[FD_REPORT] };
    request->fds[FD_REPORT] = -1; /* the run's */
    close_fds(request);
    return false;
}

/* ---- children ---- */

static void kill_run(const struct run *run)
{
    (void)syscall(SYS_pidfd_send_signal, run->pid_fd, SIGKILL, NULL, 0);
}

static uint64_t nanos_of(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000000U + (uint64_t)time->tv_usec * 1000U;
}

/* Reap a child that has ended, and tell. False where it has not ended. */
static bool reap(struct run *run, int options)
{
    siginfo_t info = { .si_pid = 0 };
    struct rusage usage = { .ru_maxrss = 0 };
    long result;
    do {
        /* glibc's waitid does not give the usage */
        result = syscall(SYS_waitid, P_PIDFD, run->pid_fd, &info, WEXITED | options, &usage);
    } while (result < 0 && errno == EINTR);
    if (result == 0 && info.si_pid == 0) {
        return false;
    }
    bool exited = info.si_code == CLD_EXITED;
    struct qn_run_report report = { .kind = QN_RUN_ENDED,
                                    .code = exited ? info.si_status : 0,
                                    .signal = exited ? 0 : info.si_status,
                                    .peak_memory = (uint64_t)usage.ru_maxrss * 1024,
                                    .cpu_nanos = nanos_of(&usage.ru_utime) + nanos_of(&usage.ru_stime) };
    if (run->report_fd >= 0) {
        send_report(run->report_fd, &report, -1);
    }
    close_fd(run->report_fd);
    close_fd(run->pid_fd);
    return true;
}

static void look_after_runs(struct loop *loop)
{
    for (size_t i = loop->n_runs; i-- > 0;) {
        struct run *run = &loop->runs[i];
        if (loop->polled[1 + 2 * i].revents != 0 && reap(run, WNOHANG)) {
            *run = loop->runs[--loop->n_runs];
        } else if (loop->polled[2 + 2 * i].revents != 0) {
            kill_run(run); /* nobody waits for it any more */
            close_fd(run->report_fd);
            run->report_fd = -1;
        }
    }
}

static _Noreturn void end_all(struct loop *loop)
{
    for (size_t i = 0; i < loop->n_runs; i++) {
        kill_run(&loop->runs[i]);
    }
    for (size_t i = 0; i < loop->n_runs; i++) {
        (void)reap(&loop->runs[i], 0);
    }
    _exit(0);
}

static nfds_t prepare_poll(struct loop *loop)
{
    nfds_t n = 0;
    loop->polled[n++] = (struct pollfd){ .fd = loop->zygote->control_fd, .events = POLLIN };
    for (size_t i = 0; i < loop->n_runs; i++) {
        loop->polled[n++] = (struct pollfd){ .fd = loop->runs[i].pid_fd, .events = POLLIN };
        loop->polled[n++] = (struct pollfd){ .fd = loop->runs[i].report_fd }; /* a hang-up is always told */
    }
    return n;
}

int zygote_serve(struct zygote *zygote, struct zygote_child *out)
{
    struct loop loop = { .zygote = zygote };
    if (!make_room(&loop)) {
        PyErr_NoMemory();
        return -1;
    }
    for (;;) {
        if (poll(loop.polled, prepare_poll(&loop), -1) < 0) {
            if (errno == EINTR) {
                continue;
            }
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        look_after_runs(&loop);
        if (loop.polled[0].revents == 0) {
            continue;
        }
        struct request request;
        int got = receive_request(zygote->control_fd, &request);
        if (got == 0) {
            end_all(&loop);
        }
        if (got > 0 && fork_run(&loop, &request, out)) {
            qn_free(loop.runs);
            qn_free(loop.polled);
            return 0;
        }
    }
}
