/*
 * ipc_stream.c: messages of Arrow IPC, one after the other, out of a run of bytes.
 *
 * An encapsulated message: 0xFFFFFFFF, the length of the metadata (4 bytes, little-endian; 0: the end of the stream), the
 * metadata, the body, whose length the metadata tells (Arrow columnar format, "Encapsulated message format"). A stream may
 * also just end after a message. Threads: one at a time.
 */
#include "wire/ipc_stream.h"

#include "base/memory.h"

#include <assert.h>
#include <endian.h>

#define PREFIX      8
#define FIRST_PIECE ((size_t)64 << 10)

enum qn_status qn_ipc_stream_init(struct qn_ipc_stream *stream, qn_wire_read read, qn_ipc_finish finish, void *context,
                                  uint64_t limit, struct qn_error *err)
{
    struct qn_ipc_decoder *decoder;
    QN_TRY(qn_ipc_decoder_new(limit, &decoder, err));
    *stream = (struct qn_ipc_stream){ .read = read, .finish = finish, .context = context, .decoder = decoder };
    return QN_OK;
}

void qn_ipc_stream_dispose(struct qn_ipc_stream *stream)
{
    qn_ipc_decoder_free(stream->decoder);
    qn_free(stream->message);
    *stream = (struct qn_ipc_stream){ 0 };
}

/* Read until the message has `size` bytes, or the source ends. */
static enum qn_status gather(struct qn_ipc_stream *stream, size_t size, struct qn_error *err)
{
    while (stream->have < size) {
        if (stream->have == stream->capacity) {
            size_t capacity = stream->capacity < FIRST_PIECE / 2 ? FIRST_PIECE : 2 * stream->capacity;
            capacity = capacity < size ? capacity : size;
            char *message = qn_realloc(stream->message, capacity);
            if (message == NULL) {
                return qn__no_memory(err);
            }
            stream->message = message;
            stream->capacity = capacity;
        }
        size_t most = (stream->capacity < size ? stream->capacity : size) - stream->have;
        size_t got = 0;
        QN_TRY(stream->read(stream->context, stream->message + stream->have, most, &got, err));
        if (got == 0) {
            return QN_OK;
        }
        stream->have += got;
    }
    return QN_OK;
}

/* The end of the stream was read: nothing may follow, and the source has to agree. */
static enum qn_status end_stream(struct qn_ipc_stream *stream, struct qn_error *err)
{
    char more;
    size_t got = 0;
    QN_TRY(stream->read(stream->context, &more, 1, &got, err));
    if (got > 0) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "bytes follow the end of the Arrow stream");
    }
    if (stream->finish != NULL) {
        QN_TRY(stream->finish(stream->context, stream->rows, stream->batches, err));
    }
    stream->ended = true;
    return QN_OK;
}

/* One whole message is in `message`, of `have` bytes; or the stream has ended. */
static enum qn_status next_message(struct qn_ipc_stream *stream, struct qn_error *err)
{
    uint64_t size = PREFIX;
    for (;;) {
        QN_TRY(gather(stream, (size_t)size, err));
        if (stream->have == 0) {
            return end_stream(stream, err);
        }
        if (stream->have < size) {
            return qn_error_set(err, QN_ERR_CONNECTION, "the data ended in the middle of a message");
        }
        bool end;
        uint64_t whole;
        QN_TRY(qn_ipc_message_size(stream->decoder, stream->message, stream->have, &whole, &end, err));
        if (end) {
            return end_stream(stream, err);
        }
        if (whole == stream->have) {
            return QN_OK;
        }
        uint32_t metadata; /* has to be there to tell the size of the whole */
        memcpy(&metadata, stream->message + 4, sizeof metadata);
        size = whole != 0 ? whole : PREFIX + (uint64_t)le32toh(metadata);
        assert(size > stream->have);
    }
}

enum qn_status qn_ipc_stream_schema(struct qn_ipc_stream *stream, const struct ArrowSchema **out, struct qn_error *err)
{
    if (qn_ipc_decoder_schema(stream->decoder) == NULL && !stream->ended) {
        QN_TRY(next_message(stream, err));
        if (!stream->ended) {
            QN_TRY(qn_ipc_decode_schema(stream->decoder, stream->message, stream->have, err));
            stream->have = 0;
        }
    }
    *out = qn_ipc_decoder_schema(stream->decoder);
    return QN_OK;
}

enum qn_status qn_ipc_stream_next(struct qn_ipc_stream *stream, struct ArrowArray *out, struct qn_error *err)
{
    const struct ArrowSchema *schema;
    struct ArrowArray batch = { 0 };
    QN_TRY(qn_ipc_stream_schema(stream, &schema, err));
    if (!stream->ended) {
        QN_TRY(next_message(stream, err));
    }
    if (!stream->ended) {
        char *message = stream->message;
        size_t size = stream->have;
        stream->message = NULL;
        stream->have = stream->capacity = 0;
        const struct qn_ipc_owner owner = { .release = qn_free, .context = message };
        QN_TRY(qn_ipc_decode_batch(stream->decoder, message, size, owner, &batch, err));
        stream->batches++;
        stream->rows += batch.length;
    }
    *out = batch;
    return QN_OK;
}
