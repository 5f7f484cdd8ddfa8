/*
 * child.c: asking a zygote for children, and ending them.
 *
 * A child's report socket tells of its fork and of its end; closing it, with the channel, makes the zygote kill the child.
 * See zygote.h.
 */
#include "base/memory.h"
#include "os/clock.h"
#include "os/poll.h"
#include "processor/channel.h"
#include "processor/frames.h"
#include "processor/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAILURE_WAIT_MS 1000 /* for the words of one that could not get ready */

/* ---- asking ---- */

struct far_ends {
    int fds[QN_CHANNEL_MAX_FDS]; /* channel, report, names */
    size_t n;
};

static enum qn_status open_pair(int type, int *near_out, struct far_ends *far, struct qn_error *err)
{
    int ends[2];
    QN_TRY(qn_channel_pair(type, ends, err));
    *near_out = ends[0];
    far->fds[far->n++] = ends[1];
    return QN_OK;
}

static enum qn_status open_sockets(struct qn_child *child, struct far_ends *far, struct qn_error *err)
{
    QN_TRY(open_pair(SOCK_STREAM, &child->channel, far, err));
    QN_TRY(open_pair(SOCK_SEQPACKET, &child->report, far, err));
    return child->kind.network ? open_pair(SOCK_SEQPACKET, &child->names, far, err) : QN_OK;
}

static enum qn_status send_request(struct qn_zygote *zygote, const struct qn_child *child, const struct far_ends *far,
                                   struct qn_error *err)
{
    struct qn_fork_request request = { .version = QN_WORKER_VERSION,
                                       .flags = child->kind.network ? QN_FORK_NETWORK : 0,
                                       .memory = child->kind.memory,
                                       .files = child->kind.network ? QN_CHILD_FILES_NETWORK : QN_CHILD_FILES,
                                       .threads = QN_CHILD_THREADS };
    struct iovec piece = { &request, sizeof request };
    if (qn_channel_send(zygote->control, &piece, 1, far->fds, far->n) == (ssize_t)sizeof request) {
        return QN_OK;
    }
    if (errno == ETOOMANYREFS) {
        return qn_error_set(err, QN_ERR_BUSY, "this user has too many descriptors in flight between processes");
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return qn_error_set(err, QN_ERR_BUSY, "the interpreter has too many requests to answer");
    }
    if (errno == EPIPE || errno == ECONNRESET || errno == EBADF) {
        return qn_error_set(err, QN_ERR_CLOSED, "the interpreter has ended");
    }
    return qn_error_set(err, QN_ERR_IO, "asking for a process: %m");
}

enum qn_status qn_child_request(struct qn_zygote *zygote, struct qn_child_kind kind, struct qn_child *out,
                                struct qn_error *err)
{
    struct qn_child made = QN_CHILD_INIT;
    made.kind = kind;
    made.owner = getpid();
    struct far_ends far = { .n = 0 };
    enum qn_status status = open_sockets(&made, &far, err);
    if (status == QN_OK) {
        status = send_request(zygote, &made, &far, err);
    }
    for (size_t i = 0; i < far.n; i++) {
        qn_channel_close(&far.fds[i]);
    }
    if (status != QN_OK) {
        qn_child_close(&made);
        return status;
    }
    *out = made;
    return QN_OK;
}

/* ---- getting ready ---- */

/* What the worker's exit statuses mean; "". */
static const char *exit_meaning(int code)
{
    switch (code) {
    case 71:
        return ": its channel was broken";
    case 73:
        return ": the interpreter could not go on after the fork";
    case 74:
        return ": the sandbox's user has too many descriptors in flight between processes";
    default:
        return "";
    }
}

static enum qn_status child_gone(const struct qn_child *child, struct qn_error *err)
{
    if (!child->ended) {
        return qn_error_set(err, QN_ERR_CLOSED, "the interpreter ended before a run was ready");
    }
    return qn_error_set(err, QN_ERR_CLOSED, "a run ended before it was ready (%s %d%s)",
                        child->end.signal != 0 ? "signal" : "exit status",
                        child->end.signal != 0 ? child->end.signal : child->end.code,
                        child->end.signal != 0 ? "" : exit_meaning(child->end.code));
}

/* A message of the report socket, where there is one. */
static enum qn_status take_report(struct qn_child *child, struct qn_error *err)
{
    struct qn_run_report report = { 0 };
    int fd = -1;
    ssize_t got = qn_channel_receive_fd(child->report, &report, sizeof report, &fd);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return QN_OK;
    }
    if (got == (ssize_t)sizeof report && report.kind == QN_RUN_FORKED && fd >= 0 && child->pid_fd < 0) {
        child->pid_fd = fd;
        return QN_OK;
    }
    qn_channel_close(&fd);
    if (got != (ssize_t)sizeof report) {
        return child_gone(child, err);
    }
    if (report.kind == QN_RUN_NOT_FORKED) {
        errno = report.code;
        return qn_error_set(err, QN_ERR_IO, "a process for the run cannot be made: %m");
    }
    if (report.kind == QN_RUN_ENDED) {
        child->ended = true;
        child->end = report;
    }
    return child_gone(child, err);
}

/* The channel has ended: how the child did is told in a moment. */
static enum qn_status channel_ended(struct qn_child *child, struct qn_error *err)
{
    enum qn_status status = QN_OK;
    while (status == QN_OK) {
        status = qn_poll_one(child->report, POLLIN, qn_deadline_after_ms(FAILURE_WAIT_MS), err);
        if (status == QN_OK) {
            status = take_report(child, err);
        }
    }
    return status == QN_ERR_TIMEOUT ? child_gone(child, err) : status;
}

/* The message of a FAILED frame: why the child is not locked down. Nothing runs there yet: it comes at once. */
static enum qn_status take_failure(struct qn_child *child, uint64_t size, struct qn_error *err)
{
    char text[512];
    size_t wanted = size < sizeof text - 1 ? (size_t)size : sizeof text - 1;
    ssize_t got = 0;
    if (qn_poll_one(child->channel, POLLIN, qn_deadline_after_ms(FAILURE_WAIT_MS), NULL) == QN_OK) {
        got = qn_channel_receive(child->channel, text, wanted);
    }
    text[got > 0 ? got : 0] = '\0';
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "the sandbox of the run does not hold: %s", text);
}

static enum qn_status take_ready(struct qn_child *child, struct qn_error *err)
{
    struct qn_frame frame = { 0 };
    ssize_t got = qn_channel_receive_fd(child->channel, &frame, sizeof frame, &child->listener);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return QN_OK;
    }
    if (got != (ssize_t)sizeof frame) {
        return channel_ended(child, err);
    }
    if (frame.kind == QN_FRAME_FAILED) {
        return take_failure(child, frame.size, err);
    }
    if (frame.kind != QN_FRAME_READY || frame.size != 0 || (child->kind.network && child->listener < 0)) {
        return qn_error_set(err, QN_ERR_INTERNAL, "the worker does not begin with READY");
    }
    child->ready = true;
    return QN_OK;
}

enum qn_status qn_child_await(struct qn_child *child, struct qn_error *err)
{
    int64_t deadline = qn_deadline_after_ms(QN_CHILD_START_MS);
    for (;;) {
        if (child->pid_fd < 0) {
            QN_TRY(take_report(child, err));
        }
        if (!child->ready) {
            QN_TRY(take_ready(child, err));
        }
        if (child->ready && child->pid_fd >= 0) {
            return QN_OK;
        }
        struct pollfd entries[] = { { .fd = child->pid_fd < 0 ? child->report : -1, .events = POLLIN },
                                    { .fd = child->ready ? -1 : child->channel, .events = POLLIN } };
        enum qn_status status = qn_poll_many(entries, 2, deadline, err);
        if (status == QN_ERR_TIMEOUT) {
            return qn_error_set(err, QN_ERR_TIMEOUT, "a process for the run was not ready after %d s",
                                QN_CHILD_START_MS / 1000);
        }
        QN_TRY(status);
    }
}

bool qn_child_claim(const struct qn_child *child)
{
    ssize_t sent;
    do {
        sent = send(child->report, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == 1;
}

/* ---- the end ---- */

void qn_child_look(struct qn_child *child)
{
    if (!child->ended && child->report >= 0 && take_report(child, NULL) != QN_OK && !child->ended) {
        qn_channel_close(&child->report); /* the zygote is gone, and cannot tell any more */
    }
}

void qn_child_kill(const struct qn_child *child)
{
    if (!child->ended && child->pid_fd >= 0 && child->owner == getpid()) {
        (void)syscall(SYS_pidfd_send_signal, child->pid_fd, SIGKILL, NULL, 0);
    }
}

bool qn_child_wait(struct qn_child *child, int64_t milliseconds)
{
    int64_t deadline = qn_deadline_after_ms(milliseconds);
    while (!child->ended && child->owner == getpid()) {
        qn_child_look(child);
        int64_t left = qn_deadline_remaining_ms(deadline);
        if (child->ended || left == 0) {
            break;
        }
        struct pollfd entry = { .fd = child->report >= 0 ? child->report : child->pid_fd, .events = POLLIN };
        int ready = poll(&entry, 1, (int)left);
        if (ready > 0 && child->report < 0) {
            break; /* it has ended; nobody is left who knows how */
        }
    }
    return child->ended;
}

/* The number after `key` in a file of /proc; 0 where it is not there. */
static long long number_in(const char *path, const char *key)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    qn_channel_close(&fd);
    text[size > 0 ? size : 0] = '\0';
    const char *found = strstr(text, key);
    return found != NULL ? strtoll(found + strlen(key), NULL, 10) : 0;
}

uint64_t qn_child_peak(const struct qn_child *child)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", child->pid_fd);
    long long pid = number_in(path, "\nPid:");
    if (pid <= 0) {
        return 0;
    }
    (void)snprintf(path, sizeof path, "/proc/%lld/status", pid);
    long long kib = number_in(path, "\nVmHWM:");
    return kib > 0 ? (uint64_t)kib * 1024 : 0;
}

void qn_child_close(struct qn_child *child)
{
    qn_channel_close(&child->channel);
    qn_channel_close(&child->report);
    qn_channel_close(&child->names);
    qn_channel_close(&child->listener);
    qn_channel_close(&child->pid_fd);
}
