/* ring.c: see ring.h. Threads: one at a time per ring. */
#include "wire/ring.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t size_of(const struct qn_ring *ring)
{
    return (size_t)ring->slots * ring->slot_size;
}

enum qn_status qn_ring_open(uint32_t slots, uint32_t slot_size, struct qn_ring *out, struct qn_error *err)
{
    if (slots == 0 || slots > QN_RING_MAX_SLOTS || slot_size == 0 || slot_size > QN_RING_MAX_SLOT_SIZE) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a ring of %u slots of %u bytes: at most %d of %u", slots, slot_size,
                            QN_RING_MAX_SLOTS, QN_RING_MAX_SLOT_SIZE);
    }
    struct qn_ring ring = { .slots = slots, .slot_size = slot_size };
    ring.fd = memfd_create("qanat-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ring.fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "making shared memory: %m");
    }
    void *bytes = MAP_FAILED;
    if (ftruncate(ring.fd, (off_t)size_of(&ring)) == 0 &&
        fcntl(ring.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        bytes = mmap(NULL, size_of(&ring), PROT_READ, MAP_SHARED, ring.fd, 0);
    }
    if (bytes == MAP_FAILED) {
        enum qn_status status = qn_error_set(err, QN_ERR_IO, "shared memory of %zu bytes: %m", size_of(&ring));
        close(ring.fd);
        return status;
    }
    ring.bytes = bytes;
    *out = ring;
    return QN_OK;
}

void qn_ring_close(struct qn_ring *ring)
{
    if (ring->fd >= 0) {
        munmap(ring->bytes, size_of(ring));
        close(ring->fd);
        *ring = (struct qn_ring)QN_RING_INIT;
    }
}

void qn_ring_reset(struct qn_ring *ring)
{
    ring->ours = 0;
}

enum qn_status qn_ring_take(struct qn_ring *ring, uint32_t slot, uint32_t used, struct qn_error *err)
{
    if (slot >= ring->slots) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "slot %u of a ring of %u", slot, ring->slots);
    }
    if (ring->ours & (UINT64_C(1) << slot)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "slot %u of the ring was sent before it was given back", slot);
    }
    if (used > ring->slot_size) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "%u bytes in a slot of %u", used, ring->slot_size);
    }
    ring->ours |= UINT64_C(1) << slot;
    return QN_OK;
}

void qn_ring_copy(const struct qn_ring *ring, uint32_t slot, size_t from, void *into, size_t size)
{
    assert(slot < ring->slots && from <= ring->slot_size && size <= ring->slot_size - from);
    memcpy(into, ring->bytes + (size_t)slot * ring->slot_size + from, size);
}

void qn_ring_give(struct qn_ring *ring, uint32_t slot)
{
    assert(slot < ring->slots);
    ring->ours &= ~(UINT64_C(1) << slot);
}
