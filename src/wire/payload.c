/*
 * payload.c: frames and messages as a plain run of bytes. See payload.h for the layout.
 *
 * A message other than a chunk is looked at as a whole before a byte of it is used up, so that a wait that fails in the
 * middle of one loses nothing. Threads: one at a time per payload.
 */
#include "wire/payload.h"

enum message_kind { CHUNK = 0, NOTIFICATION = 1, END = 2, SLOT = 3 };

#define HEADER 4

void qn_payload_init_frame(struct qn_payload *payload, struct qn_wire_input *input)
{
    *payload = (struct qn_payload){ .input = input, .version = 1, .rows = -1, .batches = -1 };
}

void qn_payload_init_messages(struct qn_payload *payload, struct qn_wire_input *input, struct qn_ring *ring,
                              struct qn_payload_events events)
{
    *payload =
        (struct qn_payload){ .input = input, .ring = ring, .events = events, .version = 2, .rows = -1, .batches = -1 };
    if (ring != NULL) {
        qn_ring_reset(ring);
    }
}

/* ---- version 1 ---- */

static enum qn_status begin_frame(struct qn_payload *payload, struct qn_error *err)
{
    const char *header;
    QN_TRY(qn_wire_look(payload->input, HEADER, "the length of its data", &header, err));
    payload->left = qn_load_be32(header);
    payload->begun = true;
    payload->ended = payload->left == 0;
    qn_wire_skip(payload->input, HEADER);
    return QN_OK;
}

/* ---- version 2 ---- */

static enum qn_status take_notification(struct qn_payload *payload, const char *text, size_t size, struct qn_error *err)
{
    struct qn_rpc_message message;
    QN_TRY(qn_rpc_read(text, size, &message, err));
    enum qn_status status = QN_OK;
    if (message.kind != QN_RPC_NOTIFICATION) {
        status = qn_error_set(err, QN_ERR_PROTOCOL, "%s sent a reply in the middle of its data", payload->input->what);
    } else if (payload->events.notify != NULL) {
        status = payload->events.notify(payload->events.context, &message, err);
    }
    qn_rpc_message_dispose(&message);
    return status;
}

static bool count_of(const json_t *end, const char *name, int64_t *out)
{
    const json_t *value = json_object_get(end, name);
    *out = json_is_integer(value) ? json_integer_value(value) : -1;
    return *out >= 0;
}

static enum qn_status take_end(struct qn_payload *payload, const char *text, size_t size, struct qn_error *err)
{
    qn_auto_json *end = NULL;
    QN_TRY(qn_json_parse(text, size, "the end of the data", &end, err));
    const json_t *error = json_object_get(end, "error");
    if (error != NULL) {
        QN_TRY(qn_rpc_error_read(error, &payload->failure, err));
        payload->failed = true;
    } else if (!count_of(end, "rows", &payload->rows) || !count_of(end, "batches", &payload->batches)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "the end of the data is not {\"rows\": n, \"batches\": n}");
    }
    payload->ended = true;
    return QN_OK;
}

static enum qn_status take_slot(struct qn_payload *payload, const char *bytes, size_t size, struct qn_error *err)
{
    if (payload->ring == NULL) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "%s sent a slot of a ring that was not agreed on",
                            payload->input->what);
    }
    if (size != 8) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "a slot is told in 8 bytes, not %zu", size);
    }
    uint32_t slot = qn_load_be32(bytes);
    uint32_t used = qn_load_be32(bytes + 4);
    QN_TRY(qn_ring_take(payload->ring, slot, used, err));
    payload->in_slot = true;
    payload->slot = slot;
    payload->slot_at = 0;
    payload->slot_used = used;
    return QN_OK;
}

static enum qn_status take_message(struct qn_payload *payload, enum message_kind kind, const char *bytes, size_t size,
                                   struct qn_error *err)
{
    switch (kind) {
    case NOTIFICATION:
        return take_notification(payload, bytes, size, err);
    case END:
        return take_end(payload, bytes, size, err);
    default:
        return take_slot(payload, bytes, size, err);
    }
}

static enum qn_status next_message(struct qn_payload *payload, struct qn_error *err)
{
    const char *bytes;
    QN_TRY(qn_wire_look(payload->input, HEADER, "its data", &bytes, err));
    uint32_t header = qn_load_be32(bytes);
    uint32_t kind = header >> 28;
    size_t size = header & 0x0fffffff;
    if (kind > SLOT) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "%s sent a message of the unknown kind %u", payload->input->what,
                            kind);
    }
    if (size > QN_PAYLOAD_MAX_MESSAGE) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "%s sent a message of %zu bytes: at most %u are allowed",
                            payload->input->what, size, QN_PAYLOAD_MAX_MESSAGE);
    }
    if (kind == CHUNK) {
        qn_wire_skip(payload->input, HEADER);
        payload->left = size;
        return QN_OK;
    }
    QN_TRY(qn_wire_look(payload->input, HEADER + size, "its data", &bytes, err));
    QN_TRY(take_message(payload, (enum message_kind)kind, bytes + HEADER, size, err));
    qn_wire_skip(payload->input, HEADER + size);
    return QN_OK;
}

/* The slot has been read: the connector may write to it again. */
static enum qn_status give_slot_back(struct qn_payload *payload, struct qn_error *err)
{
    payload->in_slot = false;
    qn_ring_give(payload->ring, payload->slot);
    return payload->events.credit(payload->events.context, payload->slot, err);
}

static enum qn_status read_slot(struct qn_payload *payload, void *into, size_t size, size_t *got_out,
                                struct qn_error *err)
{
    size_t left = payload->slot_used - payload->slot_at;
    size_t got = size < left ? size : left;
    qn_ring_copy(payload->ring, payload->slot, payload->slot_at, into, got);
    if (got == left) {
        QN_TRY(give_slot_back(payload, err));
    } else {
        payload->slot_at += (uint32_t)got;
    }
    *got_out = got;
    return QN_OK;
}

/* ---- both ---- */

static enum qn_status read_left(struct qn_payload *payload, void *into, size_t size, size_t *got_out,
                                struct qn_error *err)
{
    size_t got = 0;
    size_t most = size < payload->left ? size : (size_t)payload->left;
    QN_TRY(qn_wire_read_some(payload->input, into, most, &got, err));
    if (got == 0) {
        return qn_error_set(err, QN_ERR_CONNECTION, "%s ended in the middle of its data", payload->input->what);
    }
    payload->left -= got;
    payload->ended = payload->version == 1 && payload->left == 0;
    *got_out = got;
    return QN_OK;
}

enum qn_status qn_payload_read(void *context, void *into, size_t size, size_t *got_out, struct qn_error *err)
{
    struct qn_payload *payload = context;
    for (;;) {
        if (payload->left > 0) {
            return read_left(payload, into, size, got_out, err);
        }
        if (payload->in_slot && payload->slot_at < payload->slot_used) {
            return read_slot(payload, into, size, got_out, err);
        }
        if (payload->in_slot) {
            QN_TRY(give_slot_back(payload, err)); /* it was empty */
        } else if (payload->failed) {
            return qn_rpc_error_raise(&payload->failure, err);
        } else if (payload->ended) {
            *got_out = 0;
            return QN_OK;
        } else {
            QN_TRY(payload->version == 1 ? begin_frame(payload, err) : next_message(payload, err));
        }
    }
}

enum qn_status qn_payload_finish(void *context, int64_t rows, int64_t batches, struct qn_error *err)
{
    const struct qn_payload *payload = context;
    if (payload->version == 1 || (payload->rows == rows && payload->batches == batches)) {
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_PROTOCOL, "%s says that it sent %lld rows in %lld batches; %lld in %lld came",
                        payload->input->what, (long long)payload->rows, (long long)payload->batches, (long long)rows,
                        (long long)batches);
}
