/*
 * ipc_stream.h: an Arrow IPC stream out of bytes that are still arriving.
 *
 * One message is held at a time, and its memory grows with the bytes that have come, not with those that are announced;
 * a batch takes its message's memory with it, which comes back for another message when the batch is released.
 * Dictionaries are taken in on the way: batches have values. arrow/ipc.h judges what the messages hold. Threads: one at a
 * time.
 */
#ifndef QN_WIRE_IPC_STREAM_H
#define QN_WIRE_IPC_STREAM_H

#include "arrow/ipc.h"
#include "base/block_pool.h"
#include "wire/input.h"

/* What the source says of the whole, once it has been read. */
typedef enum qn_status (*qn_ipc_finish)(void *context, int64_t rows, int64_t batches, struct qn_error *err);

struct qn_ipc_stream {
    qn_wire_read read;
    qn_ipc_finish finish;
    void *context;
    struct qn_ipc_decoder *decoder;
    struct qn_block_pool
        *pool;     /* where the memory of messages comes from, and goes to when their batches are released */
    char *message; /* the one that is arriving */
    size_t have, capacity;
    bool ended;
    int64_t rows, batches; /* that have come */
};

/* `context` is borrowed and given to both callbacks; `finish` may be NULL. `limit`: bytes of one message at most (0: 2 GiB).
 * Reads nothing. */
enum qn_status qn_ipc_stream_init(struct qn_ipc_stream *stream, qn_wire_read read, qn_ipc_finish finish, void *context,
                                  uint64_t limit, struct qn_error *err) QN_MUST_CHECK;
void qn_ipc_stream_dispose(struct qn_ipc_stream *stream);

/* Read up to the schema; borrowed. NULL: it ended before one, hence there is no data. */
enum qn_status qn_ipc_stream_schema(struct qn_ipc_stream *stream, const struct ArrowSchema **out,
                                    struct qn_error *err) QN_MUST_CHECK;

/* The next batch; out->release is NULL at the end, when the source has been read to its end too. Bytes after the stream and
 * a second schema are QN_ERR_PROTOCOL. Where waiting fails (deadline, interrupt) the call may be repeated; after any other
 * failure it may not. */
enum qn_status qn_ipc_stream_next(struct qn_ipc_stream *stream, struct ArrowArray *out,
                                  struct qn_error *err) QN_MUST_CHECK;

#endif
