/*
 * channel.c: bytes and messages on the link that libpq has opened.
 *
 * A message is one byte of type, four of length (big-endian, counting themselves but not the type), and the body. The
 * socket never blocks: every wait goes through channel_wait, which knows the deadline and asks the interrupt callback.
 * While rows flow, a read that finds the socket empty takes a short nap before it asks again: the server sends 8 KB at a
 * time, and being woken for each of them costs more than the rows do.
 *
 * Invariant: in_start always stands at the first byte of a message. Threads: one at a time per connection.
 */
#include "db/postgres/decode.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/poll.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define IN_CAPACITY     ((size_t)1 << 20)   /* of the receive buffer at rest */
#define IN_WHILE_WRITES ((size_t)64 << 20)  /* what is taken in while we only want to send */
#define OUT_KEPT        ((size_t)4 << 20)   /* send buffers past this are freed after use */
#define GATHER_ENOUGH   ((size_t)192 << 10) /* a flowing read is satisfied with this */
#define NAP_NANOS       60000
#define NAPS_IN_A_ROW   4
#define POLL_NANOS      (50 * INT64_C(1000000))

/* ---- transports ---- */

static enum qn_pg_io io_of_errno(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? QN_PG_IO_WANT_READ : QN_PG_IO_ERROR;
}

static enum qn_pg_io plain_read(struct qn_pg *pg, char *bytes, size_t size, size_t *done_out)
{
    ssize_t done = qn_fault_hit(QN_FAULT_READ) ? (errno = ECONNRESET, -1) : recv(pg->fd, bytes, size, 0);
    if (done > 0) {
        *done_out = (size_t)done;
        return QN_PG_IO_DONE;
    }
    return done == 0 ? QN_PG_IO_END : io_of_errno();
}

static enum qn_pg_io plain_write(struct qn_pg *pg, const char *bytes, size_t size, size_t *done_out)
{
    ssize_t done = qn_fault_hit(QN_FAULT_WRITE) ? (errno = EPIPE, -1) : send(pg->fd, bytes, size, MSG_NOSIGNAL);
    if (done >= 0) {
        *done_out = (size_t)done;
        return QN_PG_IO_DONE;
    }
    enum qn_pg_io io = io_of_errno();
    return io == QN_PG_IO_WANT_READ ? QN_PG_IO_WANT_WRITE : io;
}

static enum qn_pg_io io_of_ssl(struct qn_pg *pg, int result)
{
    switch (SSL_get_error(pg->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return QN_PG_IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return QN_PG_IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return QN_PG_IO_END;
    default:
        return QN_PG_IO_ERROR;
    }
}

static enum qn_pg_io tls_read(struct qn_pg *pg, char *bytes, size_t size, size_t *done_out)
{
    if (qn_fault_hit(QN_FAULT_READ)) {
        errno = ECONNRESET;
        return QN_PG_IO_ERROR;
    }
    ERR_clear_error();
    errno = 0;
    int result = SSL_read_ex(pg->ssl, bytes, size, done_out);
    return result == 1 ? QN_PG_IO_DONE : io_of_ssl(pg, result);
}

static enum qn_pg_io tls_write(struct qn_pg *pg, const char *bytes, size_t size, size_t *done_out)
{
    if (qn_fault_hit(QN_FAULT_WRITE)) {
        errno = EPIPE;
        return QN_PG_IO_ERROR;
    }
    ERR_clear_error();
    errno = 0;
    int result = SSL_write_ex(pg->ssl, bytes, size, done_out);
    return result == 1 ? QN_PG_IO_DONE : io_of_ssl(pg, result);
}

const struct qn_pg_transport qn__pg_plain = { .read = plain_read, .write = plain_write };
const struct qn_pg_transport qn__pg_tls = { .read = tls_read, .write = tls_write };

/* ---- failure ---- */

enum qn_status qn_pg_break(struct qn_pg *pg, struct qn_error *err, enum qn_status status, const char *format, ...)
{
    if (!pg->broken) {
        pg->broken = true;
        if (pg->fd >= 0) {
            (void)shutdown(pg->fd, SHUT_RDWR); /* the number stays libpq's until PQfinish */
        }
    }
    pg->ready_expected = 0;
    pg->copying_in = false;
    char text[sizeof err->message];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)qn_error_set(err, status, "%s", size < 0 ? "the connection failed" : text);
    if (err != NULL && status == QN_ERR_CONNECTION) {
        err->retryable = true;
        QN_ERROR_COPY(err->sqlstate, "08006", 5);
    } else if (err != NULL && status == QN_ERR_PROTOCOL) {
        QN_ERROR_COPY(err->sqlstate, "08P01", 5);
    }
    return status;
}

static enum qn_status channel_refuse_broken(const struct qn_pg *pg, struct qn_error *err)
{
    if (QN_LIKELY(!pg->broken)) {
        return QN_OK;
    }
    enum qn_status status = qn_error_set(err, QN_ERR_CONNECTION, "the connection to the server is gone");
    if (err != NULL) {
        err->retryable = true;
        QN_ERROR_COPY(err->sqlstate, "08003", 5);
    }
    return status;
}

/* The body of the first whole ErrorResponse that has arrived and not been taken, or NULL. */
static const char *waiting_error(const struct qn_pg *pg, size_t *size_out)
{
    size_t at = pg->in_start;
    while (pg->in_end - at >= 5) {
        size_t length = qn_load_be32(pg->in + at + 1);
        if (length < 4 || length >= pg->in_end - at) {
            return NULL;
        }
        if (pg->in[at] == 'E') {
            *size_out = length - 4;
            return pg->in + at + 5;
        }
        at += 1 + length;
    }
    return NULL;
}

static void channel_absorb(struct qn_pg *pg);

/* The link is gone: find what the server said about it, if anything, and mark the connection broken. */
static enum qn_status channel_lost(struct qn_pg *pg, struct qn_error *err)
{
    int reason = errno;
    size_t before;
    do { /* after EPIPE the server's last words are still to be read */
        before = pg->in_end - pg->in_start;
        channel_absorb(pg);
    } while (pg->in_end - pg->in_start > before);
    size_t size = 0;
    const char *body = waiting_error(pg, &size);
    if (body != NULL) {
        enum qn_status status = qn_pg_error_from_message(pg, body, size, NULL, err);
        (void)qn_pg_break(pg, NULL, QN_ERR_CONNECTION, "%s", "");
        return status;
    }
    if (reason != 0 && reason != EPIPE) {
        char text[128];
        return qn_pg_break(pg, err, QN_ERR_CONNECTION, "the server closed the connection: %s",
                           strerror_r(reason, text, sizeof text));
    }
    return qn_pg_break(pg, err, QN_ERR_CONNECTION, "the server closed the connection without a word");
}

/* ---- waiting ---- */

static enum qn_status channel_timeout(struct qn_error *err)
{
    (void)qn_error_set(err, QN_ERR_TIMEOUT, "the statement did not end within its time limit");
    if (err != NULL) {
        err->retryable = true;
        QN_ERROR_COPY(err->sqlstate, "57014", 5);
    }
    return QN_ERR_TIMEOUT;
}

/* While data flows nothing waits for long: deadline and interrupt are looked at by the clock. A wait that was short has
 * asked nobody, so only this moves next_poll on. */
static enum qn_status channel_tick(struct qn_pg *pg, struct qn_error *err)
{
    int64_t now = qn_clock_nanos();
    if (now < pg->next_poll) {
        return QN_OK;
    }
    pg->next_poll = now + POLL_NANOS;
    if (pg->deadline != QN_NO_DEADLINE && qn_deadline_remaining_ms(pg->deadline) == 0) {
        return channel_timeout(err);
    }
    return pg->draining ? QN_OK : qn_interrupt_poll(err);
}

static enum qn_status channel_wait(struct qn_pg *pg, short events, short *revents_out, struct qn_error *err)
{
    struct pollfd entry = { .fd = pg->fd, .events = events };
    if (pg->fd < 0) {
        errno = 0;
        return channel_lost(pg, err);
    }
    if (pg->draining) { /* the interrupt has been answered already */
        int ready = poll(&entry, 1, (int)qn_deadline_remaining_ms(pg->deadline));
        if (ready == 0) {
            return channel_timeout(err);
        }
    } else {
        struct qn_error inner = QN_ERROR_INIT;
        enum qn_status status = qn_poll_many(&entry, 1, pg->deadline, &inner);
        if (status == QN_ERR_TIMEOUT) {
            return channel_timeout(err);
        }
        if (status != QN_OK) {
            if (err != NULL) {
                *err = inner;
            }
            return status;
        }
    }
    *revents_out = entry.revents;
    return QN_OK;
}

/* ---- receiving ---- */

/* Room for at least one byte more, and for a message of `wanted` bytes as far as what has arrived justifies it: a length
 * alone never makes us allocate more than twice what the server has really sent. */
static enum qn_status channel_make_room(struct qn_pg *pg, size_t wanted, struct qn_error *err)
{
    size_t held = pg->in_end - pg->in_start;
    if (pg->in_start > 0 && (held == 0 || pg->in_capacity - pg->in_end < GATHER_ENOUGH)) {
        memmove(pg->in, pg->in + pg->in_start, held);
        pg->in_start = 0;
        pg->in_end = held;
    }
    size_t capacity = pg->in_capacity;
    if (capacity == 0 || (held == 0 && capacity > IN_CAPACITY && wanted <= IN_CAPACITY)) {
        capacity = IN_CAPACITY;
    } else if (pg->in_end == capacity) {
        capacity = wanted > capacity * 2 || wanted <= capacity ? capacity * 2 : wanted;
    }
    if (capacity == pg->in_capacity) {
        return QN_OK;
    }
    char *moved = qn_realloc(pg->in, capacity + QN_PG_IN_SLACK);
    if (moved == NULL) {
        (void)qn_pg_break(pg, NULL, QN_ERR_CONNECTION, "%s", "");
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory: a message of %zu bytes from the server", wanted);
    }
    pg->in = moved;
    pg->in_capacity = capacity;
    return QN_OK;
}

/* Take in what is there without waiting. Failures show again, and are reported, at the next read. */
static void channel_absorb(struct qn_pg *pg)
{
    if (pg->in_end - pg->in_start >= IN_WHILE_WRITES || channel_make_room(pg, 0, NULL) != QN_OK) {
        return;
    }
    size_t done = 0;
    if (pg->transport->read(pg, pg->in + pg->in_end, pg->in_capacity - pg->in_end, &done) == QN_PG_IO_DONE) {
        pg->in_end += done;
    }
}

static void channel_nap(void)
{
    struct timespec nap = { .tv_nsec = NAP_NANOS };
    (void)nanosleep(&nap, NULL);
}

/* Read until `wanted` bytes are held (in_start on), and, while rows flow, as much more as comes easily. */
static enum qn_status channel_fill(struct qn_pg *pg, size_t wanted, struct qn_error *err)
{
    QN_TRY(channel_refuse_broken(pg, err));
    QN_TRY(channel_tick(pg, err));
    int naps = 0;
    for (;;) {
        QN_TRY(channel_make_room(pg, wanted, err));
        size_t done = 0;
        enum qn_pg_io io = pg->transport->read(pg, pg->in + pg->in_end, pg->in_capacity - pg->in_end, &done);
        if (io == QN_PG_IO_DONE) {
            pg->in_end += done;
            naps = 0;
        } else if (io == QN_PG_IO_END || io == QN_PG_IO_ERROR) {
            errno = io == QN_PG_IO_END ? 0 : errno;
            return channel_lost(pg, err);
        }
        size_t held = pg->in_end - pg->in_start;
        if (held >= wanted && (!pg->flowing || held >= GATHER_ENOUGH || naps > 0)) {
            return QN_OK;
        }
        if (io == QN_PG_IO_DONE && (!pg->flowing || pg->ssl != NULL || pg->in_end == pg->in_capacity)) {
            continue; /* a TLS session hands out one record at a time, and must be empty before the socket is waited for */
        }
        if (pg->flowing && naps < NAPS_IN_A_ROW) {
            channel_nap();
            naps++;
            continue;
        }
        if (held >= wanted) {
            return QN_OK; /* never wait for more than was asked: it may not come */
        }
        if (io != QN_PG_IO_DONE) {
            short ready = 0;
            QN_TRY(channel_wait(pg, io == QN_PG_IO_WANT_WRITE ? POLLOUT : POLLIN, &ready, err));
        }
    }
}

static size_t message_limit(char type)
{
    switch (type) {
    case 'D':
    case 'd':
        return QN_PG_MAX_ROW;
    case 'E':
    case 'N':
    case 'A':
    case 'T':
        return QN_PG_MAX_REPORT;
    default:
        return QN_PG_MAX_CONTROL;
    }
}

/* Take one whole message of any kind. */
static enum qn_status message_take(struct qn_pg *pg, char *type_out, const char **body_out, size_t *size_out,
                                   struct qn_error *err)
{
    QN_TRY(channel_refuse_broken(pg, err));
    while (pg->in_end - pg->in_start < 5) {
        QN_TRY(channel_fill(pg, 5, err));
    }
    char type = pg->in[pg->in_start];
    size_t length = qn_load_be32(pg->in + pg->in_start + 1);
    if (length < 4 || length - 4 > message_limit(type)) {
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a message of type 0x%02x and length %zu",
                           (unsigned char)type, length);
    }
    while (pg->in_end - pg->in_start < length + 1) {
        QN_TRY(channel_fill(pg, length + 1, err));
    }
    *type_out = type;
    *body_out = pg->in + pg->in_start + 5;
    *size_out = length - 4;
    pg->in_start += length + 1;
    return QN_OK;
}

/* ---- asynchronous messages ---- */

static void take_notice(const char *body, size_t size)
{
    const char *severity = qn_pg_report_field(body, size, 'V');
    const char *text = qn_pg_report_field(body, size, 'M');
    const char *code = qn_pg_report_field(body, size, 'C');
    bool warning = severity != NULL && qn_text_equal(severity, "WARNING");
    QN_LOG(warning ? QN_LOG_WARNING : QN_LOG_INFO, "postgres", "%s %s: %s", severity != NULL ? severity : "NOTICE",
           code != NULL ? code : "", text != NULL ? text : "");
}

static enum qn_status take_parameter(struct qn_pg *pg, const char *bytes, size_t size, struct qn_error *err)
{
    struct qn_pg_body body = qn_pg_body_of(bytes, size);
    const char *name = qn_pg_body_text(&body);
    const char *value = qn_pg_body_text(&body);
    if (body.failed) {
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a malformed parameter status");
    }
    if (qn_text_equal(name, "client_encoding")) {
        pg->bad_encoding = !qn_text_equal_nocase(value, "UTF8");
    }
    return QN_OK;
}

static enum qn_status take_notification(struct qn_pg *pg, const char *bytes, size_t size, struct qn_error *err)
{
    struct qn_pg_body body = qn_pg_body_of(bytes, size);
    int32_t server_pid = qn_pg_body_int32(&body);
    const char *channel = qn_pg_body_text(&body);
    const char *payload = qn_pg_body_text(&body);
    if (body.failed) {
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a malformed notification");
    }
    if (pg->n_notifications == QN_PG_MAX_QUEUED) {
        struct qn_pg_notification *oldest = pg->notifications;
        pg->notifications = oldest->next;
        pg->n_notifications--;
        qn_free(oldest);
        QN_LOG(QN_LOG_WARNING, "postgres", "more than %d notifications wait: the oldest is dropped", QN_PG_MAX_QUEUED);
    }
    size_t channel_size = strlen(channel) + 1;
    size_t payload_size = strlen(payload) + 1;
    struct qn_pg_notification *added = qn_malloc(sizeof *added + channel_size + payload_size);
    if (added == NULL) {
        return qn__no_memory(err);
    }
    added->next = NULL;
    added->server_pid = server_pid;
    added->channel = (char *)(added + 1);
    added->payload = added->channel + channel_size;
    memcpy(added->channel, channel, channel_size);
    memcpy(added->payload, payload, payload_size);
    if (pg->notifications == NULL) {
        pg->notifications = added;
    } else {
        *pg->notifications_end = added;
    }
    pg->notifications_end = &added->next;
    pg->n_notifications++;
    return QN_OK;
}

static enum qn_status take_ready(struct qn_pg *pg, const char *body, size_t size, struct qn_error *err)
{
    if (size != 1 || (body[0] != 'I' && body[0] != 'T' && body[0] != 'E') || pg->ready_expected <= 0) {
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a ReadyForQuery that makes no sense here");
    }
    pg->transaction_status = body[0];
    pg->ready_expected--;
    pg->flowing = false;
    return QN_OK;
}

enum qn_status qn_pg_message_next(struct qn_pg *pg, char *type_out, const char **body_out, size_t *size_out,
                                  struct qn_error *err)
{
    for (;;) {
        char type = 0;
        const char *body = NULL;
        size_t size = 0;
        QN_TRY(message_take(pg, &type, &body, &size, err));
        switch (type) {
        case 'N':
            take_notice(body, size);
            continue;
        case 'S':
            QN_TRY(take_parameter(pg, body, size, err));
            continue;
        case 'A':
            QN_TRY(take_notification(pg, body, size, err));
            continue;
        case 'Z':
            QN_TRY(take_ready(pg, body, size, err));
            break;
        case 'G':
            pg->copying_in = true;
            break;
        case 'C':
        case 'E':
            pg->copying_in = false;
            break;
        default:
            break;
        }
        *type_out = type;
        *body_out = body;
        *size_out = size;
        return QN_OK;
    }
}

bool qn_pg_error_waits(struct qn_pg *pg)
{
    size_t size = 0;
    if (pg->broken) {
        return true;
    }
    channel_absorb(pg);
    return waiting_error(pg, &size) != NULL;
}

enum qn_status qn_pg_sync_to_ready(struct qn_pg *pg, struct qn_error *err)
{
    enum qn_status first = QN_OK;
    while (pg->ready_expected > 0) {
        char type = 0;
        const char *body = NULL;
        size_t size = 0;
        enum qn_status status = qn_pg_message_next(pg, &type, &body, &size, first == QN_OK ? err : NULL);
        if (status != QN_OK) {
            return first != QN_OK ? first : status;
        }
        if (type == 'E' && first == QN_OK) {
            first = qn_pg_error_from_message(pg, body, size, NULL, err);
        }
        if (pg->broken) {
            break;
        }
    }
    return first;
}

/* ---- sending ---- */

void qn_pg_message_begin(struct qn_pg *pg, char type)
{
    qn_buffer_append_byte(&pg->out, type);
    pg->message_at = pg->out.size;
    qn_buffer_append_be32(&pg->out, 0);
}

void qn_pg_message_end(struct qn_pg *pg)
{
    if (pg->out.failure != QN_BUFFER_FINE) {
        return; /* the flush reports it */
    }
    char type = pg->out.data[pg->message_at - 1];
    qn_store_be32(pg->out.data + pg->message_at, (uint32_t)(pg->out.size - pg->message_at));
    if (type == 'S' || type == 'Q') {
        pg->ready_expected++;
        pg->ready_queued++;
    }
}

void qn_pg_message(struct qn_pg *pg, char type, const void *body, size_t size)
{
    qn_pg_message_begin(pg, type);
    qn_buffer_append(&pg->out, body, size);
    qn_pg_message_end(pg);
}

/* One step of sending: *sent grows, or the socket has been waited for. */
static enum qn_status channel_send_step(struct qn_pg *pg, const char *bytes, size_t size, size_t *sent,
                                        struct qn_error *err)
{
    size_t done = 0;
    enum qn_pg_io io = pg->transport->write(pg, bytes + *sent, size - *sent, &done);
    if (io == QN_PG_IO_DONE) {
        *sent += done;
        return channel_tick(pg, err);
    }
    if (io == QN_PG_IO_END || io == QN_PG_IO_ERROR) {
        return channel_lost(pg, err);
    }
    bool room = pg->in_end - pg->in_start < IN_WHILE_WRITES;
    short events = (short)((io == QN_PG_IO_WANT_WRITE ? POLLOUT : 0) | (room ? POLLIN : 0));
    short ready = 0;
    QN_TRY(channel_wait(pg, events, &ready, err));
    if ((ready & (POLLIN | POLLHUP | POLLERR)) != 0) {
        channel_absorb(pg);
    }
    return pg->broken ? channel_refuse_broken(pg, err) : QN_OK;
}

static void out_reset(struct qn_pg *pg)
{
    pg->out_sent = 0;
    pg->ready_queued = 0;
    if (pg->out.capacity > OUT_KEPT) {
        size_t limit = pg->out.limit;
        qn_buffer_dispose(&pg->out);
        pg->out.limit = limit;
    }
    qn_buffer_reset(&pg->out);
}

enum qn_status qn_pg_flush(struct qn_pg *pg, struct qn_error *err)
{
    QN_TRY(channel_refuse_broken(pg, err));
    if (pg->out.failure != QN_BUFFER_FINE) {
        /* What the statement was is lost; nothing of it has been sent, so the dialogue is where it was. */
        enum qn_status status = qn_buffer_check(&pg->out, "the message to the server", err);
        bool clean = pg->out_sent == 0;
        pg->ready_expected -= clean ? pg->ready_queued : 0;
        out_reset(pg);
        return clean ? status : qn_pg_break(pg, err, QN_ERR_CONNECTION, "out of memory in the middle of a message");
    }
    while (pg->out_sent < pg->out.size) {
        QN_TRY(channel_send_step(pg, pg->out.data, pg->out.size, &pg->out_sent, err));
    }
    out_reset(pg);
    return QN_OK;
}

enum qn_status qn_pg_send_bytes(struct qn_pg *pg, const void *bytes, size_t size, struct qn_error *err)
{
    QN_TRY(qn_pg_flush(pg, err));
    enum qn_status first = QN_OK;
    int64_t deadline = pg->deadline;
    size_t sent = 0;
    while (sent < size && !pg->broken) {
        enum qn_status status = channel_send_step(pg, bytes, size, &sent, first == QN_OK ? err : NULL);
        if (status == QN_OK) {
            continue;
        }
        bool stopped = status == QN_ERR_TIMEOUT || status == QN_ERR_CANCELLED;
        if (first != QN_OK || !stopped) {
            first = first != QN_OK ? first : status;
            break; /* the grace has passed too, or the link is gone */
        }
        first = status;
        (void)qn_pg_cancel(pg, NULL);
        pg->draining = true;
        pg->deadline = qn_deadline_after_ms(QN_PG_DRAIN_MS);
    }
    if (sent < size && !pg->broken) {
        (void)qn_pg_break(pg, NULL, QN_ERR_CONNECTION, "%s", "");
    }
    pg->draining = false;
    pg->deadline = deadline;
    return first;
}

/* What the server has seen nothing of need not be undone. Returns false where there is nothing else to end either. */
static bool drop_unsent(struct qn_pg *pg)
{
    if (pg->out_sent == 0 && pg->ready_queued > 0) {
        pg->ready_expected -= pg->ready_queued;
        out_reset(pg);
    }
    return pg->ready_expected > 0 || pg->out_sent > 0 || pg->copying_in;
}

void qn_pg_recover(struct qn_pg *pg)
{
    if (pg->broken || !drop_unsent(pg)) {
        return;
    }
    int64_t deadline = pg->deadline;
    int64_t end = qn_deadline_after_ms(QN_PG_DRAIN_MS);
    pg->draining = true;
    pg->deadline = end;
    if (pg->copying_in) {
        static const char reason[] = "stopped by the client";
        qn_pg_message(pg, 'f', reason, sizeof reason);
        pg->copying_in = false;
    } else {
        (void)qn_pg_cancel(pg, NULL);
    }
    bool lost = qn_pg_flush(pg, NULL) != QN_OK;
    while (!lost && pg->ready_expected > 0 && !pg->broken) {
        int64_t again = qn_deadline_after_ms(QN_PG_CANCEL_AGAIN_MS);
        pg->deadline = again < end ? again : end;
        (void)!qn_pg_sync_to_ready(pg, NULL);
        bool in_time = qn_deadline_remaining_ms(pg->deadline) > 0;
        lost = pg->ready_expected > 0 && (in_time || pg->deadline == end);
        if (!lost && pg->ready_expected > 0 && !pg->broken) {
            (void)qn_pg_cancel(pg, NULL); /* the last one found no statement, or one that caught it */
        }
    }
    if (lost && !pg->broken) {
        (void)qn_pg_break(pg, NULL, QN_ERR_CONNECTION, "%s", "");
    }
    pg->draining = false;
    pg->deadline = deadline;
}

/* ---- bodies ---- */

static const char *body_take(struct qn_pg_body *body, size_t size)
{
    if (body->failed || (size_t)(body->end - body->at) < size) {
        body->failed = true;
        return NULL;
    }
    const char *at = body->at;
    body->at += size;
    return at;
}

uint8_t qn_pg_body_byte(struct qn_pg_body *body)
{
    const char *at = body_take(body, 1);
    return at != NULL ? (uint8_t)*at : 0;
}

int16_t qn_pg_body_int16(struct qn_pg_body *body)
{
    const char *at = body_take(body, 2);
    return at != NULL ? (int16_t)qn_load_be16(at) : 0;
}

int32_t qn_pg_body_int32(struct qn_pg_body *body)
{
    const char *at = body_take(body, 4);
    return at != NULL ? (int32_t)qn_load_be32(at) : 0;
}

const char *qn_pg_body_text(struct qn_pg_body *body)
{
    const char *end =
        body->failed || body->at == body->end ? NULL : memchr(body->at, 0, (size_t)(body->end - body->at));
    if (end == NULL) {
        body->failed = true;
        return "";
    }
    const char *text = body->at;
    body->at = end + 1;
    return text;
}
