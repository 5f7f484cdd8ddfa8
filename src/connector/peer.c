/*
 * peer.c: the conversation with one connector's process.
 *
 * All waiting for its standard output or input goes through wait_for, which reads its standard error meanwhile: a process
 * whose standard error is not read would block. What comes there counts as a sign of life; until the hands are shaken work
 * does too, since an interpreter that loads its modules beside others may take long. Threads: one at a time per peer.
 */
#include "connector/peer.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "os/clock.h"
#include "os/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <qanat/plugin/driver.h>
#include <time.h>
#include <unistd.h>

#define RING_FD       3     /* the child's number of it */
#define STDERR_LINE   4096  /* bytes of a line that is told; longer ones are told in pieces */
#define TAIL_READS    64    /* of what is there already: it may be written faster than it is read */
#define LAST_WORDS_MS 1000  /* how long we wait to learn how a process ended that has closed its standard output */
#define START_MS      60000 /* how long it may work before it answers the handshake */

enum peer_state { READY, IN_DATA, LOST };

struct qn_peer {
    char *name;
    struct qn_process process;
    struct qn_peer_events events;
    struct qn_wire_fd in, out; /* its standard input and output */
    struct qn_wire_input input;
    struct qn_ring ring;
    bool ring_agreed;
    int64_t start_deadline; /* 0: it has started */
    int64_t worked;         /* ns of its processor time, as of the last look; while it starts */
    int version;
    enum peer_state state;
    int64_t last_id;
    struct qn_rpc_error failure;
    struct qn_payload payload; /* IN_DATA */
    struct qn_ipc_stream stream;
    char line[STDERR_LINE + 1]; /* of standard error, as far as it has come */
    size_t line_size;
    char tail[QN_PEER_TAIL + 1]; /* the last lines of standard error */
    size_t tail_size;
};

int qn_peer_version(const struct qn_peer *peer)
{
    return peer->version;
}

bool qn_peer_lost(const struct qn_peer *peer)
{
    return peer->state == LOST;
}

void qn_peer_set_silence(struct qn_peer *peer, int64_t silence_ms)
{
    peer->in.silence_ms = peer->out.silence_ms = silence_ms;
}

const struct qn_rpc_error *qn_peer_failure(const struct qn_peer *peer)
{
    return &peer->failure;
}

/* ---- standard error ---- */

static void keep_tail(struct qn_peer *peer, const char *line, size_t size)
{
    if (size + 1 > QN_PEER_TAIL) {
        line += size + 1 - QN_PEER_TAIL;
        size = QN_PEER_TAIL - 1;
        for (; size > 0 && (*line & 0xc0) == 0x80; line++) {
            size--; /* not the rest of a character */
        }
    }
    if (peer->tail_size + size + 1 > QN_PEER_TAIL) {
        size_t drop = peer->tail_size + size + 1 - QN_PEER_TAIL;
        const char *end = memchr(peer->tail + drop - 1, '\n', peer->tail_size - drop + 1);
        drop = end != NULL ? (size_t)(end + 1 - peer->tail) : peer->tail_size; /* whole lines go */
        memmove(peer->tail, peer->tail + drop, peer->tail_size - drop);
        peer->tail_size -= drop;
    }
    memcpy(peer->tail + peer->tail_size, line, size);
    peer->tail_size += size;
    peer->tail[peer->tail_size++] = '\n';
    peer->tail[peer->tail_size] = '\0';
}

/* The line that has come: told, and kept. What is not UTF-8 and what moves a terminal becomes "?". */
static void tell_line(struct qn_peer *peer)
{
    char *at = peer->line;
    char *end = peer->line + peer->line_size;
    while ((at += qn_utf8_valid_prefix(at, (size_t)(end - at))) < end) {
        *at++ = '?';
    }
    for (at = peer->line; at < end; at++) {
        *at = ((unsigned char)*at < 0x20 && *at != '\t') || *at == 0x7f ? '?' : *at;
    }
    *end = '\0';
    keep_tail(peer, peer->line, peer->line_size);
    if (peer->events.log != NULL) {
        peer->events.log(peer->events.context, "stderr", peer->line);
    }
    peer->line_size = 0;
}

/* Read what is there on standard error; false at its end. */
static bool read_stderr(struct qn_peer *peer)
{
    char bytes[4096];
    ssize_t got = read(peer->process.stderr_fd, bytes, sizeof bytes);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == '\n' || peer->line_size == STDERR_LINE) {
            tell_line(peer);
        }
        if (bytes[i] != '\n' && bytes[i] != '\r') {
            peer->line[peer->line_size++] = bytes[i];
        }
    }
    if (got <= 0) {
        if (peer->line_size > 0) {
            tell_line(peer);
        }
        close(peer->process.stderr_fd);
        peer->process.stderr_fd = -1;
    }
    return got > 0;
}

const char *qn_peer_tail(struct qn_peer *peer)
{
    struct pollfd entry = { .fd = peer->process.stderr_fd, .events = POLLIN };
    for (int i = 0; i < TAIL_READS && peer->process.stderr_fd >= 0 && poll(&entry, 1, 0) > 0; i++) {
        read_stderr(peer);
    }
    return peer->tail;
}

void qn_peer_forget_tail(struct qn_peer *peer)
{
    peer->tail_size = 0;
    peer->tail[0] = '\0';
}

bool qn_peer_alive(const struct qn_peer *peer)
{
    struct pollfd entry = { .fd = peer->process.pid_fd, .events = POLLIN };
    return poll(&entry, 1, 0) == 0;
}

/* Whether a process that starts has used the processor since the last look. */
static bool is_starting(struct qn_peer *peer)
{
    clockid_t clock;
    struct timespec used;
    if (peer->start_deadline == 0 || qn_deadline_remaining_ms(peer->start_deadline) == 0 ||
        clock_getcpuclockid(peer->process.pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return false;
    }
    int64_t before = peer->worked;
    peer->worked = (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
    return peer->worked > before;
}

/* A wait of qn_wire_fd. */
static enum qn_status wait_for(void *context, int fd, short events, int64_t deadline, struct qn_error *err)
{
    struct qn_peer *peer = context;
    for (;;) {
        struct pollfd entries[] = { { .fd = fd, .events = events },
                                    { .fd = peer->process.stderr_fd, .events = POLLIN } };
        enum qn_status status = qn_poll_many(entries, 2, deadline, err);
        bool works = status == QN_ERR_TIMEOUT && is_starting(peer);
        if (!works) {
            QN_TRY(status);
        }
        if ((works || (entries[1].revents != 0 && read_stderr(peer))) && peer->in.silence_ms > 0) {
            deadline = qn_deadline_after_ms(peer->in.silence_ms);
            deadline = deadline < peer->in.deadline ? deadline : peer->in.deadline;
        }
        if (entries[0].revents != 0) {
            return QN_OK;
        }
        QN_TRY(qn_interrupt_poll(err));
    }
}

/* ---- losing a peer ---- */

/* Wait for the process, whose output has ended, to end too, and for its last words. */
static bool learn_the_end(struct qn_peer *peer, struct qn_exit *out)
{
    struct qn_error ignored;
    int64_t deadline = qn_deadline_after_ms(LAST_WORDS_MS);
    while (peer->process.stderr_fd >= 0) {
        struct pollfd entries[] = { { .fd = peer->process.stderr_fd, .events = POLLIN },
                                    { .fd = peer->process.pid_fd, .events = POLLIN } };
        if (qn_poll_many(entries, 2, deadline, &ignored) != QN_OK) {
            return false;
        }
        if (entries[0].revents == 0) {
            break; /* it has ended, and said all it had to say; a child of its own may hold the pipe open */
        }
        read_stderr(peer);
    }
    return qn_process_wait(&peer->process, deadline, out, &ignored) == QN_OK;
}

/* The conversation is over by `status`, whose error is in *err: make it one of the peer, with all that is known. */
static enum qn_status lose(struct qn_peer *peer, enum qn_status status, struct qn_error *err)
{
    struct qn_error why = QN_ERROR_INIT;
    struct qn_exit how;
    bool by_signal = false; /* it may be somebody else's doing, and pass */
    if (err != NULL) {
        why = *err;
    }
    peer->state = LOST;
    bool ended = status == QN_ERR_CONNECTION && learn_the_end(peer, &how);
    if (ended) {
        if (how.exited) {
            qn_error_set(err, status, "%s ended with status %d: %s", peer->name, how.code, why.message);
        } else {
            by_signal = true;
            qn_error_set(err, status, "%s was ended by signal %d: %s", peer->name, how.code, why.message);
        }
    } else {
        qn_error_set(err, status, "%s: %s", peer->name, why.message);
    }
    if (err != NULL) {
        err->retryable = why.retryable || by_signal;
        QN_ERROR_COPY(err->hint, why.hint, strlen(why.hint));
        if (peer->start_deadline != 0 && ended && how.exited && how.code == 0) {
            qn_error_hint(err, "it ended without an answer: does the script end with serve(YourConnector())?");
        }
        if (status == QN_ERR_TIMEOUT) {
            qn_error_hint(err, "work that takes longer without data tells of its progress, or gets a longer timeout");
        }
        const char *tail = qn_peer_tail(peer); /* what it said before it broke the page may not have been read yet */
        QN_ERROR_COPY(err->detail, tail, peer->tail_size);
    }
    return status;
}

static enum qn_status usable(const struct qn_peer *peer, enum peer_state wanted, struct qn_error *err)
{
    if (peer->process.owner != getpid()) {
        return qn_error_set(err, QN_ERR_CLOSED, "%s belongs to another process", peer->name);
    }
    if (peer->state == LOST) {
        return qn_error_set(err, QN_ERR_CLOSED, "%s is no longer spoken to, after an error", peer->name);
    }
    if (peer->state != wanted) {
        return qn_error_set(err, wanted == READY ? QN_ERR_BUSY : QN_ERR_CLOSED,
                            wanted == READY ? "%s is in the middle of its data" : "%s is not asked for data",
                            peer->name);
    }
    return QN_OK;
}

/* ---- requests and replies ---- */

static enum qn_status hear(void *context, const struct qn_rpc_message *message, struct qn_error *err)
{
    (void)err;
    struct qn_peer *peer = context;
    if (qn_text_equal(message->method, "log")) {
        const char *level = json_string_value(json_object_get(message->params, "level"));
        const char *text = json_string_value(json_object_get(message->params, "message"));
        if (text != NULL && peer->events.log != NULL) {
            peer->events.log(peer->events.context, level != NULL ? level : "info", text);
        }
    } else if (qn_text_equal(message->method, "progress") && peer->events.progress != NULL) {
        const json_t *rows = json_object_get(message->params, "rows");
        const json_t *total = json_object_get(message->params, "total");
        const char *text = json_string_value(json_object_get(message->params, "text"));
        peer->events.progress(peer->events.context, json_is_integer(rows) ? json_integer_value(rows) : 0,
                              json_is_integer(total) ? json_integer_value(total) : -1, text != NULL ? text : "");
    }
    return QN_OK;
}

static enum qn_status send_notification(struct qn_peer *peer, const char *method, json_t *params, struct qn_error *err)
{
    qn_auto_buffer line = QN_BUFFER_INIT;
    if (params == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn_rpc_write_notification(method, params, &line, err));
    return qn_wire_fd_write(&peer->in, line.data, line.size, err);
}

static enum qn_status give_credit(void *context, uint32_t slot, struct qn_error *err)
{
    qn_auto_json *params = json_pack("{s:I}", "slot", (json_int_t)slot);
    return send_notification(context, "credit", params, err);
}

/* The reply to the last request; what comes before it is heard. */
static enum qn_status read_reply(struct qn_peer *peer, struct qn_rpc_message *out, struct qn_error *err)
{
    for (;;) {
        const char *line;
        size_t size;
        enum qn_status status = qn_wire_read_line(&peer->input, QN_WIRE_MAX_LINE, &line, &size, err);
        if (status == QN_ERR_PROTOCOL) {
            qn_error_hint(err,
                          "a reply has at most %u bytes: more locations than that are told in pages (version 2 of the "
                          "protocol), or by connectors of fewer locations each",
                          QN_WIRE_MAX_LINE);
        }
        QN_TRY(status);
        if (line == NULL) {
            return qn_error_set(err, QN_ERR_CONNECTION, "it ended its output");
        }
        if (size == 0) {
            continue;
        }
        struct qn_rpc_message message;
        status = qn_rpc_read(line, size, &message, err);
        if (status != QN_OK) {
            qn_error_hint(err, "standard output is the protocol's alone: print to standard error, in Python with "
                               "print(..., file=sys.stderr)");
            return status;
        }
        if (message.kind == QN_RPC_NOTIFICATION) {
            status = hear(peer, &message, err);
        } else if (!message.has_id || message.id == peer->last_id) {
            *out = message;
            return QN_OK;
        } else {
            status = qn_error_set(err, QN_ERR_PROTOCOL, "a reply to request %lld in place of %lld",
                                  (long long)message.id, (long long)peer->last_id);
        }
        qn_rpc_message_dispose(&message);
        QN_TRY(status);
    }
}

static enum qn_status exchange(struct qn_peer *peer, const char *method, json_t *params, struct qn_rpc_message *out,
                               struct qn_error *err)
{
    qn_auto_buffer line = QN_BUFFER_INIT;
    QN_TRY(qn_rpc_write_request(peer->last_id + 1, method, params, &line, err)); /* nothing is lost by this */
    peer->last_id++;
    enum qn_status status = qn_wire_fd_write(&peer->in, line.data, line.size, err);
    if (status == QN_OK) {
        status = read_reply(peer, out, err);
    }
    return status == QN_OK ? QN_OK : lose(peer, status, err);
}

enum qn_status qn_peer_call(struct qn_peer *peer, const char *method, json_t *params, json_t **result_out,
                            struct qn_error *err)
{
    struct qn_rpc_message reply;
    QN_TRY(usable(peer, READY, err));
    QN_TRY(exchange(peer, method, params, &reply, err));
    enum qn_status status = QN_OK;
    if (reply.kind == QN_RPC_ERROR) {
        peer->failure = reply.error;
        status = qn_rpc_error_raise(&reply.error, err);
        qn_error_prefix(err, "%s, %s", peer->name, method);
    } else {
        *result_out = json_incref(reply.result);
    }
    qn_rpc_message_dispose(&reply);
    return status;
}

/* ---- data ---- */

enum qn_status qn_peer_data(struct qn_peer *peer, json_t *params, json_t **result_out, struct qn_error *err)
{
    qn_auto_json *result = NULL;
    QN_TRY(qn_peer_call(peer, "data", params, &result, err));
    if (!json_is_true(json_object_get(result, "ok"))) {
        qn_error_set(err, QN_ERR_PROTOCOL, "its reply to \"data\" is not {\"ok\": true}");
        return lose(peer, QN_ERR_PROTOCOL, err);
    }
    if (peer->version == 2) {
        const struct qn_payload_events events = { .context = peer, .notify = hear, .credit = give_credit };
        qn_payload_init_messages(&peer->payload, &peer->input, peer->ring_agreed ? &peer->ring : NULL, events);
    } else {
        qn_payload_init_frame(&peer->payload, &peer->input);
    }
    enum qn_status status =
        qn_ipc_stream_init(&peer->stream, qn_payload_read, qn_payload_finish, &peer->payload, 0, err);
    if (status != QN_OK) {
        return lose(peer, status, err);
    }
    peer->state = IN_DATA;
    *result_out = json_incref(result);
    return QN_OK;
}

/* The data has ended: as it should, or by what the peer said, or the peer is lost. */
static enum qn_status end_data(struct qn_peer *peer, enum qn_status status, struct qn_error *err)
{
    qn_ipc_stream_dispose(&peer->stream);
    peer->state = READY;
    if (status == QN_OK) {
        return QN_OK;
    }
    if (peer->payload.ended && peer->payload.failed) {
        peer->failure = peer->payload.failure;
        qn_error_prefix(err, "%s, data", peer->name);
        return status;
    }
    return lose(peer, status, err);
}

enum qn_status qn_peer_schema(struct qn_peer *peer, const struct ArrowSchema **out, struct qn_error *err)
{
    QN_TRY(usable(peer, IN_DATA, err));
    enum qn_status status = qn_ipc_stream_schema(&peer->stream, out, err);
    return status == QN_OK ? QN_OK : end_data(peer, status, err);
}

enum qn_status qn_peer_next(struct qn_peer *peer, struct ArrowArray *out, struct qn_error *err)
{
    struct ArrowArray batch = { 0 };
    QN_TRY(usable(peer, IN_DATA, err));
    enum qn_status status = qn_ipc_stream_next(&peer->stream, &batch, err);
    if (status != QN_OK || batch.release == NULL) {
        QN_TRY(end_data(peer, status, err));
    }
    *out = batch;
    return QN_OK;
}

/* Ask version 2 to stop and read past what it still sends; true where the conversation may go on. */
static bool stop_data(struct qn_peer *peer)
{
    struct qn_error ignored;
    char *scratch = qn_malloc(QN_WIRE_STAGE);
    qn_auto_json *params = json_pack("{s:I}", "id", (json_int_t)peer->last_id);
    enum qn_status status = scratch == NULL ? QN_ERR_NO_MEMORY : send_notification(peer, "cancel", params, &ignored);
    size_t got = 1;
    while (status == QN_OK && got > 0) {
        status = qn_payload_read(&peer->payload, scratch, QN_WIRE_STAGE, &got, &ignored);
    }
    qn_free(scratch);
    return peer->payload.ended;
}

void qn_peer_cancel(struct qn_peer *peer, int64_t patience_ms)
{
    if (peer->state != IN_DATA || peer->process.owner != getpid()) {
        return;
    }
    peer->in.deadline = peer->out.deadline = qn_deadline_after_ms(patience_ms > 0 ? patience_ms : 1);
    bool stopped = peer->payload.ended || (peer->version == 2 && stop_data(peer));
    peer->in.deadline = peer->out.deadline = QN_NO_DEADLINE;
    qn_ipc_stream_dispose(&peer->stream);
    peer->state = stopped ? READY : LOST;
}

/* ---- start and end ---- */

static json_t *offer(const struct qn_peer *peer, bool version_1)
{
    if (version_1) {
        return json_pack("{s:s}", "protocol_version", "1");
    }
    if (peer->ring.fd < 0) {
        return json_pack("{s:s, s:{s:[i]}}", "protocol_version", "1", "qanat", "versions", 2);
    }
    return json_pack("{s:s, s:{s:[i], s:{s:i, s:I, s:I}}}", "protocol_version", "1", "qanat", "versions", 2, "ring",
                     "fd", RING_FD, "slots", (json_int_t)peer->ring.slots, "slot_size",
                     (json_int_t)peer->ring.slot_size);
}

/* A connector that knows no handshake speaks version 1. */
static enum qn_status shake_hands(struct qn_peer *peer, bool version_1, struct qn_error *err)
{
    qn_auto_json *params = offer(peer, version_1);
    qn_auto_json *result = NULL;
    if (params == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_peer_call(peer, "handshake", params, &result, err);
    if (peer->state == LOST || status == QN_ERR_NO_MEMORY) {
        return status;
    }
    const json_t *taken = version_1 ? NULL : json_object_get(result, "qanat");
    peer->version = taken != NULL ? 2 : 1;
    peer->ring_agreed = peer->ring.fd >= 0 && json_is_true(json_object_get(taken, "ring"));
    if (taken != NULL && json_integer_value(json_object_get(taken, "version")) != 2) {
        qn_error_set(err, QN_ERR_PROTOCOL, "it took a version that was not offered");
        return lose(peer, QN_ERR_PROTOCOL, err);
    }
    return QN_OK;
}

static enum qn_status start(struct qn_peer *peer, const struct qn_peer_options *options, struct qn_error *err)
{
    peer->name = qn_strdup(options->name);
    if (peer->name == NULL) {
        return qn__no_memory(err);
    }
    if (options->slots > 0 && !options->version_1) {
        QN_TRY(qn_ring_open(options->slots, options->slot_size, &peer->ring, err));
    }
    enum qn_status status = qn_process_start_in(options->folder, options->argv, NULL, &peer->ring.fd,
                                                peer->ring.fd >= 0 ? 1 : 0, &peer->process, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "%s", peer->name);
        return status;
    }
    const int ends[] = { peer->process.stdin_fd, peer->process.stdout_fd, peer->process.stderr_fd };
    for (int i = 0; i < 3; i++) {
        if (fcntl(ends[i], F_SETFL, fcntl(ends[i], F_GETFL) | O_NONBLOCK) != 0) {
            return qn_error_set(err, QN_ERR_IO, "%s: its pipes: %m", peer->name);
        }
    }
    peer->in = (struct qn_wire_fd){ .fd = peer->process.stdin_fd,
                                    .what = "it",
                                    .wait = wait_for,
                                    .wait_context = peer,
                                    .deadline = QN_NO_DEADLINE,
                                    .silence_ms = options->silence_ms };
    peer->out = peer->in;
    peer->out.fd = peer->process.stdout_fd;
    qn_wire_input_init(&peer->input, qn_wire_fd_read, &peer->out, "it");
    peer->start_deadline = qn_deadline_after_ms(START_MS);
    status = shake_hands(peer, options->version_1, err);
    peer->start_deadline = 0;
    return status;
}

enum qn_status qn_peer_start(const struct qn_peer_options *options, struct qn_peer **out, struct qn_error *err)
{
    struct qn_peer *peer = qn_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return qn__no_memory(err);
    }
    peer->process = (struct qn_process)QN_PROCESS_INIT;
    peer->ring = (struct qn_ring)QN_RING_INIT;
    peer->events = options->events;
    enum qn_status status = start(peer, options, err);
    if (status != QN_OK) {
        peer->state = LOST;
        qn_peer_end(peer, 0);
        return status;
    }
    *out = peer;
    return QN_OK;
}

void qn_peer_hang_up(struct qn_peer *peer)
{
    if (peer->process.stdin_fd >= 0) {
        close(peer->process.stdin_fd);
        peer->process.stdin_fd = -1;
    }
}

/* End of file is what tells a connector to end. What it still prints is read, so that it is not held up by it. */
static void ask_to_end(struct qn_peer *peer, int64_t grace_ms)
{
    struct qn_error ignored;
    int64_t deadline = qn_deadline_after_ms(grace_ms);
    qn_peer_hang_up(peer);
    for (;;) {
        struct pollfd entries[] = { { .fd = peer->process.pid_fd, .events = POLLIN },
                                    { .fd = peer->process.stderr_fd, .events = POLLIN } };
        if (qn_poll_many(entries, 2, deadline, &ignored) != QN_OK) {
            return;
        }
        if (entries[1].revents != 0) {
            read_stderr(peer);
        } else if (entries[0].revents != 0) {
            return;
        }
    }
}

void qn_peer_end(struct qn_peer *peer, int64_t grace_ms)
{
    if (peer == NULL) {
        return;
    }
    if (peer->state == READY && grace_ms > 0 && peer->process.owner == getpid()) {
        ask_to_end(peer, grace_ms);
    }
    if (peer->state == IN_DATA) {
        qn_ipc_stream_dispose(&peer->stream);
    }
    qn_process_end(&peer->process, grace_ms);
    qn_wire_input_dispose(&peer->input);
    qn_ring_close(&peer->ring);
    qn_free(peer->name);
    qn_free(peer);
}
