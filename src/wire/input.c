/*
 * input.c: lines and lengths out of bytes that come in any pieces.
 *
 * The stage is allocated by the first byte and grows for long lines only; it goes back to its size when the line has been
 * used. Threads: one at a time per input.
 */
#include "wire/input.h"

#include "base/fault.h"
#include "base/memory.h"
#include "os/clock.h"
#include "os/poll.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <qanat/plugin/driver.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- descriptors ---- */

/* Wait for the other side: until the deadline, or as long as it may be silent. */
static enum qn_status await(const struct qn_wire_fd *wire_fd, short events, struct qn_error *err)
{
    int64_t deadline = wire_fd->deadline;
    bool silence = false;
    if (wire_fd->silence_ms > 0) {
        int64_t patience = qn_deadline_after_ms(wire_fd->silence_ms);
        silence = patience < deadline;
        deadline = silence ? patience : deadline;
    }
    enum qn_status status = wire_fd->wait != NULL
                                ? wire_fd->wait(wire_fd->wait_context, wire_fd->fd, events, deadline, err)
                                : qn_poll_one(wire_fd->fd, events, deadline, err);
    if (status == QN_ERR_TIMEOUT) {
        return silence ? qn_error_set(err, QN_ERR_TIMEOUT, "%s gave no sign of life for %g s", wire_fd->what,
                                      (double)wire_fd->silence_ms / 1000)
                       : qn_error_set(err, QN_ERR_TIMEOUT, "%s: the time limit has passed", wire_fd->what);
    }
    return status;
}

/* Asked before every read and write, since a side that always has something to do is never waited for. */
static enum qn_status may_go_on(const struct qn_wire_fd *wire_fd, struct qn_error *err)
{
    QN_TRY(qn_interrupt_poll(err));
    if (wire_fd->deadline != QN_NO_DEADLINE && qn_deadline_remaining_ms(wire_fd->deadline) == 0) {
        return qn_error_set(err, QN_ERR_TIMEOUT, "%s: the time limit has passed", wire_fd->what);
    }
    return QN_OK;
}

enum qn_status qn_wire_fd_read(void *context, void *into, size_t size, size_t *got_out, struct qn_error *err)
{
    const struct qn_wire_fd *wire_fd = context;
    for (;;) {
        QN_TRY(may_go_on(wire_fd, err));
        ssize_t got = -1;
        if (qn_fault_hit(QN_FAULT_READ)) {
            errno = EIO;
        } else {
            got = read(wire_fd->fd, into, size);
        }
        if (got >= 0) {
            *got_out = (size_t)got;
            return QN_OK;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            QN_TRY(await(wire_fd, POLLIN, err));
        } else if (errno != EINTR) {
            return qn_error_set(err, QN_ERR_IO, "reading from %s: %m", wire_fd->what);
        }
    }
}

/* write() to a pipe without the signal that a missing reader raises: it is held back, and taken if it was ours. */
static ssize_t write_quietly(int fd, const void *bytes, size_t size)
{
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigemptyset(&pending);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ssize_t written = write(fd, bytes, size);
    int code = errno;
    if (written < 0 && code == EPIPE && !was_pending) {
        const struct timespec at_once = { 0 };
        while (sigtimedwait(&pipe_signal, NULL, &at_once) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return written;
}

enum qn_status qn_wire_fd_write(struct qn_wire_fd *wire_fd, const void *bytes, size_t size, struct qn_error *err)
{
    size_t done = 0;
    while (done < size) {
        QN_TRY(may_go_on(wire_fd, err));
        ssize_t written = -1;
        if (qn_fault_hit(QN_FAULT_WRITE)) {
            errno = EIO;
        } else {
            written = write_quietly(wire_fd->fd, (const char *)bytes + done, size - done);
        }
        if (written >= 0) {
            done += (size_t)written;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            QN_TRY(await(wire_fd, POLLOUT, err));
        } else if (errno == EPIPE) {
            return qn_error_set(err, QN_ERR_CONNECTION, "%s no longer reads", wire_fd->what);
        } else if (errno != EINTR) {
            return qn_error_set(err, QN_ERR_IO, "writing to %s: %m", wire_fd->what);
        }
    }
    return QN_OK;
}

/* ---- inputs ---- */

void qn_wire_input_init(struct qn_wire_input *input, qn_wire_read read, void *context, const char *what)
{
    *input = (struct qn_wire_input){ .read = read, .context = context, .what = what };
}

void qn_wire_input_dispose(struct qn_wire_input *input)
{
    qn_free(input->bytes);
    *input = (struct qn_wire_input){ 0 };
}

size_t qn_wire_input_pending(const struct qn_wire_input *input)
{
    return input->end - input->begin;
}

/* Room for more at the end of the stage, which may have `most` bytes. */
static enum qn_status make_room(struct qn_wire_input *input, size_t most, struct qn_error *err)
{
    size_t pending = qn_wire_input_pending(input);
    if (pending == 0 && input->capacity > QN_WIRE_STAGE) {
        qn_free(input->bytes); /* a long line was here */
        input->bytes = NULL;
        input->capacity = 0;
    }
    if (input->begin > 0) {
        if (pending > 0) {
            memmove(input->bytes, input->bytes + input->begin, pending);
        }
        input->begin = 0;
        input->end = pending;
    }
    if (pending < input->capacity) {
        return QN_OK;
    }
    size_t capacity = input->capacity == 0 ? QN_WIRE_STAGE : 2 * input->capacity;
    if (input->capacity > 0 && capacity > most) {
        capacity = most;
    }
    char *bytes = qn_realloc(input->bytes, capacity);
    if (bytes == NULL) {
        return qn__no_memory(err);
    }
    input->bytes = bytes;
    input->capacity = capacity;
    return QN_OK;
}

static enum qn_status fill(struct qn_wire_input *input, size_t most, struct qn_error *err)
{
    QN_TRY(make_room(input, most, err));
    size_t got = 0;
    QN_TRY(input->read(input->context, input->bytes + input->end, input->capacity - input->end, &got, err));
    input->end += got;
    input->ended = got == 0;
    return QN_OK;
}

enum qn_status qn_wire_read_line(struct qn_wire_input *input, size_t limit, const char **line_out, size_t *size_out,
                                 struct qn_error *err)
{
    size_t searched = 0;
    for (;;) {
        size_t pending = qn_wire_input_pending(input);
        const char *line = pending > 0 ? input->bytes + input->begin : NULL;
        const char *end = pending > searched ? memchr(line + searched, '\n', pending - searched) : NULL;
        size_t size = end != NULL ? (size_t)(end - line) : pending;
        if (size > limit) {
            return qn_error_set(err, QN_ERR_PROTOCOL, "%s: a line is longer than %zu bytes", input->what, limit);
        }
        if (end != NULL) {
            input->begin += size + 1;
            *line_out = line;
            *size_out = size;
            return QN_OK;
        }
        if (input->ended) {
            if (pending > 0) {
                return qn_error_set(err, QN_ERR_CONNECTION, "%s ended in the middle of a line", input->what);
            }
            *line_out = NULL;
            *size_out = 0;
            return QN_OK;
        }
        searched = pending;
        QN_TRY(fill(input, limit + 1 > QN_WIRE_STAGE ? limit + 1 : QN_WIRE_STAGE, err));
    }
}

enum qn_status qn_wire_read_some(struct qn_wire_input *input, void *into, size_t size, size_t *got_out,
                                 struct qn_error *err)
{
    if (qn_wire_input_pending(input) == 0) {
        if (input->ended) {
            *got_out = 0;
            return QN_OK;
        }
        if (size >= QN_WIRE_STAGE) {
            size_t got = 0;
            QN_TRY(input->read(input->context, into, size, &got, err));
            input->ended = got == 0;
            *got_out = got;
            return QN_OK;
        }
        QN_TRY(fill(input, QN_WIRE_STAGE, err));
    }
    size_t pending = qn_wire_input_pending(input);
    size_t give = size < pending ? size : pending;
    if (give > 0) {
        memcpy(into, input->bytes + input->begin, give);
        input->begin += give;
    }
    *got_out = give;
    return QN_OK;
}

enum qn_status qn_wire_look(struct qn_wire_input *input, size_t size, const char *part, const char **bytes_out,
                            struct qn_error *err)
{
    while (qn_wire_input_pending(input) < size) {
        if (input->ended) {
            return qn_error_set(err, QN_ERR_CONNECTION, "%s ended in the middle of %s", input->what, part);
        }
        QN_TRY(fill(input, size > QN_WIRE_STAGE ? size : QN_WIRE_STAGE, err));
    }
    *bytes_out = input->bytes + input->begin;
    return QN_OK;
}

void qn_wire_skip(struct qn_wire_input *input, size_t size)
{
    assert(size <= qn_wire_input_pending(input));
    input->begin += size;
}
