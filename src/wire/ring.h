/*
 * ring.h: a few slots of memory that a connector writes and we read (docs/protocol/connector.md, "Ring").
 *
 * The memory is a memfd that is sealed against every change of its size, so that no access of ours can fault, and mapped
 * for reading only. The other side may write to it at any time: what a slot holds is copied before it is looked at.
 * Threads: one at a time per ring.
 */
#ifndef QN_WIRE_RING_H
#define QN_WIRE_RING_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define QN_RING_MAX_SLOTS     64
#define QN_RING_MAX_SLOT_SIZE (16u << 20)

struct qn_ring {
    int fd; /* to be handed to the child; -1: none */
    uint32_t slots, slot_size;
    uint8_t *bytes; /* mapped for reading only */
    uint64_t ours;  /* a bit for each slot that the connector has given us */
};
#define QN_RING_INIT                                                                                                   \
    {                                                                                                                  \
        .fd = -1                                                                                                       \
    }

/* QN_ERR_ARGUMENT for numbers over the limits or 0. */
enum qn_status qn_ring_open(uint32_t slots, uint32_t slot_size, struct qn_ring *out,
                            struct qn_error *err) QN_MUST_CHECK;
void qn_ring_close(struct qn_ring *ring);

/* All slots are the connector's: its data begins, or ends. */
void qn_ring_reset(struct qn_ring *ring);

/* The connector gives us a slot with `used` bytes in it. QN_ERR_PROTOCOL where there is no such slot, where it is ours
 * already, or where it has less room. */
enum qn_status qn_ring_take(struct qn_ring *ring, uint32_t slot, uint32_t used, struct qn_error *err) QN_MUST_CHECK;

/* Copy bytes out of a slot that is ours. */
void qn_ring_copy(const struct qn_ring *ring, uint32_t slot, size_t from, void *into, size_t size);

/* It is the connector's again; telling it so is the caller's part. */
void qn_ring_give(struct qn_ring *ring, uint32_t slot);

#endif
