/*
 * payload.h: what follows a reply to `data`, as a plain run of bytes (docs/protocol/connector.md).
 *
 * Version 1: one frame. Length N (4 bytes, big-endian), N bytes.
 * Version 2: messages. A header of 4 bytes, big-endian: the upper 4 bits a kind, the lower 28 bits a length N, then N
 * bytes: 0 chunk: N bytes of the run; 1 notification: JSON-RPC; 2 end: {"rows", "batches"} or {"error"}, the last one;
 * 3 slot: number (4) and bytes used (4) of a slot of the ring, whose bytes are the next of the run.
 * Nothing is trusted: lengths are held to limits before a byte is kept, slots are checked, and no more is held than one
 * notification. Threads: one at a time per payload.
 */
#ifndef QN_WIRE_PAYLOAD_H
#define QN_WIRE_PAYLOAD_H

#include "wire/input.h"
#include "wire/ring.h"
#include "wire/rpc.h"

#define QN_PAYLOAD_MAX_MESSAGE (16u << 20) /* bytes of a message of version 2 */

struct qn_payload_events {
    void *context;
    /* OPTIONAL: the other side tells something. An error ends the payload with it. */
    enum qn_status (*notify)(void *context, const struct qn_rpc_message *message, struct qn_error *err);
    /* REQUIRED with a ring: tell the other side that the slot is its again. */
    enum qn_status (*credit)(void *context, uint32_t slot, struct qn_error *err);
};

struct qn_payload {
    struct qn_wire_input *input;
    struct qn_ring *ring; /* NULL: none was agreed on */
    struct qn_payload_events events;
    int version;   /* of the protocol: 1 or 2 */
    bool begun;    /* version 1: the length is there */
    bool ended;    /* the last byte of it has been read: the conversation may go on */
    uint64_t left; /* of the frame, or of the chunk */
    bool in_slot;  /* bytes [slot_at, slot_used) of `slot` come next */
    uint32_t slot, slot_at, slot_used;
    int64_t rows, batches;       /* of the end of version 2; -1 before */
    bool failed;                 /* the other side said so, in its end */
    struct qn_rpc_error failure; /* what it said */
};

/* Everything is borrowed. `ring` NULL: slots are refused. */
void qn_payload_init_frame(struct qn_payload *payload, struct qn_wire_input *input);
void qn_payload_init_messages(struct qn_payload *payload, struct qn_wire_input *input, struct qn_ring *ring,
                              struct qn_payload_events events);

/* The next bytes of the run, at most `size` (never 0); *got_out 0: its end. A qn_wire_read. An end with an error gives that
 * error (and `failed`), every time; then and at the end `ended` is set. After any other failure the conversation is lost,
 * but for one of waiting for bytes (deadline, interrupt), which loses nothing: the call may be repeated. */
enum qn_status qn_payload_read(void *payload, void *into, size_t size, size_t *got_out,
                               struct qn_error *err) QN_MUST_CHECK;

/* Once the end was read: it agrees with what came. QN_ERR_PROTOCOL. Version 1 says nothing. A qn_ipc_finish. */
enum qn_status qn_payload_finish(void *payload, int64_t rows, int64_t batches, struct qn_error *err) QN_MUST_CHECK;

#endif
