/*
 * ipc_stream.c: messages of Arrow IPC, one after the other, out of a run of bytes.
 *
 * An encapsulated message: 0xFFFFFFFF, the length of the metadata (4 bytes, little-endian; 0: the end of the stream), the
 * metadata, the body, whose length the metadata tells (Arrow columnar format, "Encapsulated message format"). A stream may
 * also just end after a message. Threads: one at a time.
 */
#include "wire/ipc_stream.h"

#include <assert.h>
#include <string.h>

#define PREFIX      8
#define FIRST_PIECE ((size_t)64 << 10)

enum qn_status qn_ipc_stream_init(struct qn_ipc_stream *stream, qn_wire_read read, qn_ipc_finish finish, void *context,
                                  uint64_t limit, struct qn_error *err)
{
    struct qn_ipc_decoder *decoder;
    struct qn_block_pool *pool = qn_block_pool_new();
    if (pool == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_ipc_decoder_new(limit, &decoder, err);
    if (status != QN_OK) {
        qn_block_pool_free(pool);
        return status;
    }
    *stream =
        (struct qn_ipc_stream){ .read = read, .finish = finish, .context = context, .decoder = decoder, .pool = pool };
    return QN_OK;
}

void qn_ipc_stream_dispose(struct qn_ipc_stream *stream)
{
    qn_ipc_decoder_free(stream->decoder);
    qn_block_pool_give(stream->message);
    qn_block_pool_free(stream->pool);
    *stream = (struct qn_ipc_stream){ 0 };
}

/* Room for more of a message of `size` bytes: all of it where that costs no memory, else as it comes. */
static enum qn_status make_room(struct qn_ipc_stream *stream, size_t size, struct qn_error *err)
{
    size_t wanted = stream->have < FIRST_PIECE / 2 ? FIRST_PIECE : 2 * stream->have;
    wanted = size > wanted && qn_block_pool_has(stream->pool, size) ? size : wanted;
    size_t capacity;
    char *message = qn_block_pool_take(stream->pool, wanted, &capacity);
    if (message == NULL) {
        return qn__no_memory(err);
    }
    if (stream->have > 0) {
        memcpy(message, stream->message, stream->have);
    }
    qn_block_pool_give(stream->message);
    stream->message = message;
    stream->capacity = capacity;
    return QN_OK;
}

/* Read until the message has `size` bytes, or the source ends. */
static enum qn_status gather(struct qn_ipc_stream *stream, size_t size, struct qn_error *err)
{
    while (stream->have < size) {
        if (stream->have == stream->capacity) {
            QN_TRY(make_room(stream, size, err));
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
static enum qn_status next_message(struct qn_ipc_stream *stream, enum qn_ipc_kind *kind_out, struct qn_error *err)
{
    struct qn_ipc_head head = { .needed = PREFIX };
    uint64_t size = PREFIX;
    for (;;) {
        QN_TRY(gather(stream, (size_t)size, err));
        if (stream->have == 0) {
            return end_stream(stream, err);
        }
        if (stream->have < size) {
            return qn_error_set(err, QN_ERR_CONNECTION, "the data ended in the middle of a message");
        }
        QN_TRY(qn_ipc_peek(stream->decoder, stream->message, stream->have, &head, err));
        bool told = head.needed <= stream->have;
        if (told && head.kind == QN_IPC_END) {
            return end_stream(stream, err);
        }
        if (told && head.size == stream->have) {
            *kind_out = head.kind;
            return QN_OK;
        }
        size = told ? head.size : head.needed;
        assert(size > stream->have);
    }
}

enum qn_status qn_ipc_stream_schema(struct qn_ipc_stream *stream, const struct ArrowSchema **out, struct qn_error *err)
{
    if (qn_ipc_decoder_schema(stream->decoder) == NULL && !stream->ended) {
        enum qn_ipc_kind kind;
        QN_TRY(next_message(stream, &kind, err));
        if (!stream->ended) {
            QN_TRY(qn_ipc_decode_schema(stream->decoder, stream->message, stream->have, err));
            stream->have = 0;
        }
    }
    *out = qn_ipc_decoder_schema(stream->decoder);
    return QN_OK;
}

/* The message that has come, as a batch, which takes its memory with it. */
static enum qn_status take_batch(struct qn_ipc_stream *stream, struct ArrowArray *out, struct qn_error *err)
{
    char *message = stream->message;
    size_t size = stream->have;
    stream->message = NULL;
    stream->have = stream->capacity = 0;
    const struct qn_ipc_owner owner = { .release = qn_block_pool_give, .context = message };
    QN_TRY(qn_ipc_decode_batch(stream->decoder, message, size, owner, out, err));
    stream->batches++;
    stream->rows += out->length;
    return QN_OK;
}

enum qn_status qn_ipc_stream_next(struct qn_ipc_stream *stream, struct ArrowArray *out, struct qn_error *err)
{
    const struct ArrowSchema *schema;
    struct ArrowArray batch = { 0 };
    QN_TRY(qn_ipc_stream_schema(stream, &schema, err));
    while (!stream->ended && batch.release == NULL) {
        enum qn_ipc_kind kind;
        QN_TRY(next_message(stream, &kind, err));
        if (stream->ended) {
            break;
        }
        if (kind == QN_IPC_DICTIONARY) {
            QN_TRY(qn_ipc_decode_dictionary(stream->decoder, stream->message, stream->have, err));
            stream->have = 0;
        } else {
            QN_TRY(take_batch(stream, &batch, err));
        }
    }
    *out = batch;
    return QN_OK;
}
