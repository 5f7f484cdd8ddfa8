/*
 * zygote.c: the loop of the zygote: fork requests in, forked children and how they ended out.
 *
 * Single-threaded, and it never runs a statement. Each request's descriptors are closed here once the fork is made, each
 * child is known by its pidfd and reaped by it alone. A child whose report socket is given up by the engine is killed; at
 * the end of file of control all are, and the zygote ends. It ends too when it has been asked for nothing for a while and
 * no child of it has been claimed by the engine (protocol.h): who uses no processor any more keeps no interpreter.
 * Whatever comes in that is not a request is answered where it can be, and forgotten.
 */
#include "worker.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#define N_SPARE         (FD_NAMES + 1)
/* For what passes, such as too many descriptors in flight: so often, so many milliseconds apart. */
#define MAX_TRIES   50
#define TRY_WAIT_MS 10

struct run {
    int pid_fd;
    int report_fd; /* -1: given up by the engine */
    bool claimed;  /* as far as we have looked */
};

struct loop {
    struct zygote *zygote;
    struct run *runs;
    struct pollfd *polled; /* control, then pidfd and report of each run */
    size_t n_runs, capacity;
    int spare[N_SPARE]; /* so that the descriptors of a request can always be taken, and it be answered; -1: none */
    uint64_t used_at;   /* when something was asked for, or a run ended */
};

struct request {
    struct qn_fork_request head;
    bool well_formed;
    bool cut; /* there was no room for all of its descriptors */
    int fds[MAX_REQUEST_FDS];
    size_t n_fds;
};

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static void pause_for(int milliseconds)
{
    (void)poll(NULL, 0, milliseconds);
}

/* False where it cannot be sent, with errno. */
static bool send_report(int fd, const struct qn_run_report *report, int attach)
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
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        /* Two messages at most on a socket of its own: a full one belongs to an engine that has gone wrong. */
        if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
            return true;
        }
        if (errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM) {
            int number = errno;
            pause_for(TRY_WAIT_MS);
            errno = number;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return false;
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

/* Descriptors that are closed when those of a request come. False where they cannot be had. */
static bool hold_spare(struct loop *loop)
{
    bool all = true;
    for (size_t i = 0; i < N_SPARE; i++) {
        if (loop->spare[i] < 0) {
            loop->spare[i] = fcntl(loop->zygote->control_fd, F_DUPFD_CLOEXEC, 0);
        }
        all = all && loop->spare[i] >= 0;
    }
    return all;
}

static void let_go_of_spare(struct loop *loop)
{
    for (size_t i = 0; i < N_SPARE; i++) {
        close_fd(loop->spare[i]);
        loop->spare[i] = -1;
    }
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
        if (errno == ENOMEM || errno == ENOBUFS) {
            pause_for(TRY_WAIT_MS);
            return -1;
        }
        return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK ? -1 : 0;
    }
    request->n_fds = 0;
    take_fds(request, &message);
    request->cut = (message.msg_flags & MSG_CTRUNC) && request->n_fds < MAX_REQUEST_FDS;
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
        (void)send_report(request->fds[FD_REPORT], &report, -1);
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
    let_go_of_spare(loop);
    close_fd(loop->zygote->control_fd);
    close_fd(request->fds[FD_REPORT]);
    *out = (struct zygote_child){ .channel_fd = request->fds[FD_CHANNEL],
                                  .names_fd = request->n_fds > FD_NAMES ? request->fds[FD_NAMES] : -1,
                                  .request = request->head };
}

static void kill_run(const struct run *run)
{
    (void)syscall(SYS_pidfd_send_signal, run->pid_fd, SIGKILL, NULL, 0);
}

/* 0, or why there is no fork to be made: an errno. */
static int refusal(struct loop *loop, const struct request *request)
{
    if (request->cut || !hold_spare(loop)) {
        return EMFILE;
    }
    if (!request->well_formed) {
        return EPROTO;
    }
    return make_room(loop) ? 0 : ENOMEM;
}

/* True in the child. */
static bool fork_run(struct loop *loop, struct request *request, struct zygote_child *out)
{
    int why = refusal(loop, request);
    if (why != 0) {
        refuse(request, why);
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
    struct run run = { .pid_fd = pid_fd, .report_fd = request->fds[FD_REPORT] };
    struct qn_run_report report = { .kind = QN_RUN_FORKED };
    if (send_report(run.report_fd, &report, pid_fd)) {
        request->fds[FD_REPORT] = -1; /* the run's */
        close_fds(request);
    } else { /* nobody knows of it: it goes, and the request is answered */
        number = errno;
        kill_run(&run);
        run.report_fd = -1;
        refuse(request, number);
    }
    loop->runs[loop->n_runs++] = run;
    return false;
}

/* ---- children ---- */

static uint64_t nanos_of(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000000U + (uint64_t)time->tv_usec * 1000U;
}

/* How a child ended. 1; 0: it has not ended; -1: nobody can tell any more. */
static int wait_for(const struct run *run, int options, siginfo_t *info, struct rusage *usage)
{
    long result;
    do {
        *info = (siginfo_t){ .si_pid = 0 };
        /* glibc's waitid does not give the usage */
        result = syscall(SYS_waitid, P_PIDFD, run->pid_fd, info, WEXITED | options, usage);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        return errno == EAGAIN ? 0 : -1;
    }
    return info->si_pid != 0;
}

/* Take what the engine has said. A socket that is closed with something unread loses what the other end has not read. */
static void take_claim(struct run *run)
{
    char byte;
    if (run->report_fd >= 0 && recv(run->report_fd, &byte, sizeof byte, MSG_DONTWAIT) > 0) {
        run->claimed = true;
    }
}

/* Reap a child that has ended, and tell. Where its end is lost nothing is said: the report socket just ends. False where it
 * has not ended. */
static bool reap(struct run *run, int options)
{
    siginfo_t info;
    struct rusage usage = { .ru_maxrss = 0 };
    int known = wait_for(run, options, &info, &usage);
    if (known == 0) {
        return false;
    }
    take_claim(run);
    if (known > 0 && run->report_fd >= 0) {
        bool signalled = info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
        struct qn_run_report report = { .kind = QN_RUN_ENDED,
                                        .code = signalled ? 0 : info.si_status,
                                        .signal = signalled ? info.si_status : 0,
                                        .peak_memory = (uint64_t)usage.ru_maxrss * 1024,
                                        .cpu_nanos = nanos_of(&usage.ru_utime) + nanos_of(&usage.ru_stime) };
        (void)send_report(run->report_fd, &report, -1);
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
            loop->used_at = worker_nanos();
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

/* Whether the engine has claimed the run. What it has not claimed by now it cannot claim any more. */
static bool is_claimed(struct run *run)
{
    if (run->report_fd >= 0 && !run->claimed) {
        (void)shutdown(run->report_fd, SHUT_RD); /* what has come before can still be read */
        take_claim(run);
    }
    return run->report_fd >= 0 && run->claimed;
}

/* Nothing was asked for in a long time: what stands ready goes, and where nothing runs, the zygote. */
static void be_idle(struct loop *loop)
{
    bool all = true;
    for (size_t i = 0; i < loop->n_runs; i++) {
        if (is_claimed(&loop->runs[i])) {
            all = false;
        } else {
            kill_run(&loop->runs[i]);
        }
    }
    if (all) {
        end_all(loop);
    }
    loop->used_at = worker_nanos();
}

/* Milliseconds to poll for; -1: for ever. */
static int patience(const struct loop *loop)
{
    uint64_t idle = loop->zygote->idle_nanos;
    if (idle == 0) {
        return -1;
    }
    uint64_t passed = worker_nanos() - loop->used_at;
    uint64_t left = passed < idle ? (idle - passed + 999999) / 1000000 : 0;
    return left < INT_MAX ? (int)left : INT_MAX;
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
    struct loop loop = { .zygote = zygote, .spare = { -1, -1, -1 }, .used_at = worker_nanos() };
    if (!make_room(&loop)) {
        PyErr_NoMemory();
        return -1;
    }
    for (;;) {
        (void)hold_spare(&loop);
        int ready = poll(loop.polled, prepare_poll(&loop), patience(&loop));
        if (ready < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == ENOMEM) {
                pause_for(TRY_WAIT_MS);
                continue;
            }
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (ready == 0 && patience(&loop) == 0) {
            be_idle(&loop);
            continue;
        }
        look_after_runs(&loop);
        if (loop.polled[0].revents == 0) {
            continue;
        }
        struct request request;
        let_go_of_spare(&loop);
        int got = receive_request(zygote->control_fd, &request);
        if (got == 0) {
            end_all(&loop);
        }
        loop.used_at = worker_nanos();
        if (got > 0 && fork_run(&loop, &request, out)) {
            qn_free(loop.runs);
            qn_free(loop.polled);
            return 0;
        }
    }
}
