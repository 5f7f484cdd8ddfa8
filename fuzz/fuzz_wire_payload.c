/*
 * fuzz_wire_payload.c: the data of a hostile connector: frames, messages, slots of the ring, and the Arrow stream in them.
 *
 * The first byte is how large the pieces are; the second: its lowest bit the version less 1, the next whether version 2 has
 * a ring. The ring holds the input itself. Whatever comes, memory stays in proportion to the bytes, what is refused is
 * refused by type, every slot is given back, and the batches that are let through are counted.
 */
#include "wire_source.h"

#include "base/memory.h"
#include "wire/ipc_stream.h"
#include "wire/payload.h"

#include <sys/mman.h>

#define SLOTS     4
#define SLOT_SIZE 256
#define LIMIT     (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum qn_status notify(void *context, const struct qn_rpc_message *message, struct qn_error *err)
{
    (void)context;
    (void)err;
    must(message->kind == QN_RPC_NOTIFICATION && message->method != NULL);
    return QN_OK;
}

static enum qn_status credit(void *context, uint32_t slot, struct qn_error *err)
{
    (void)err;
    must(slot < SLOTS);
    ++*(int64_t *)context;
    return QN_OK;
}

/* A ring with the input in it, as often as there is room. */
static struct qn_ring *ring_of(const uint8_t *data, size_t size)
{
    static struct qn_ring ring = QN_RING_INIT;
    static uint8_t *theirs;
    if (theirs == NULL) {
        must(qn_ring_open(SLOTS, SLOT_SIZE, &ring, NULL) == QN_OK);
        theirs = mmap(NULL, (size_t)SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0);
        must(theirs != MAP_FAILED);
    }
    for (size_t i = 0; i < (size_t)SLOTS * SLOT_SIZE; i++) {
        theirs[i] = data[i % size];
    }
    return &ring;
}

static void read_all(struct qn_ipc_stream *stream, const struct qn_payload *payload, size_t size)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t rows = 0;
    for (;;) {
        struct ArrowArray batch = { 0 };
        if (qn_ipc_stream_next(stream, &batch, &err) != QN_OK) {
            must(err.message[0] != '\0' && batch.release == NULL && !stream->ended);
            return;
        }
        if (batch.release == NULL) {
            must(payload->ended && !payload->failed);
            must(payload->version == 1 || (payload->rows == rows && payload->batches == stream->batches));
            return;
        }
        rows += batch.length;
        must(rows == stream->rows);
        batch.release(&batch);
        must(stream->capacity <= 4 * size + (64 << 10));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    struct source source = { .bytes = data + 2, .size = size - 2, .piece = (size_t)data[0] + 1 };
    struct qn_ring *ring = (data[1] & 3) == 3 ? ring_of(data + 2, size - 2) : NULL;
    struct qn_wire_input input;
    struct qn_payload payload;
    struct qn_ipc_stream stream;
    int64_t credits = 0;
    const struct qn_payload_events events = { .context = &credits, .notify = notify, .credit = credit };
    qn_wire_input_init(&input, read_source, &source, "the fuzzer");
    if (data[1] & 1) {
        qn_payload_init_messages(&payload, &input, ring, events);
    } else {
        qn_payload_init_frame(&payload, &input);
    }
    must(qn_ipc_stream_init(&stream, qn_payload_read, qn_payload_finish, &payload, LIMIT, NULL) == QN_OK);
    read_all(&stream, &payload, size);
    must(!payload.ended || ring == NULL || ring->ours == 0);
    must(input.capacity <= 2 * size + QN_WIRE_STAGE);
    qn_ipc_stream_dispose(&stream);
    qn_wire_input_dispose(&input);
    return 0;
}
