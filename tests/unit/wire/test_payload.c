/* Frames, messages and the ring as one run of bytes, and the Arrow stream in it: whole, cut anywhere, and broken. */
#include "fixture.h"
#include "wire/ipc_stream.h"
#include "wire/payload.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROWS 5

static struct qn_buffer arrow; /* a stream of two batches of ROWS rows, with its end */

static int set_up(void **state)
{
    (void)state;
    append_arrow(&arrow, true, "id", 0, ROWS);
    append_arrow(&arrow, false, "id", ROWS, ROWS);
    qn_ipc_encode_end(&arrow);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    qn_buffer_dispose(&arrow);
    return 0;
}

/* ---- what connectors send ---- */

static void append_message(struct qn_buffer *out, uint32_t kind, const void *bytes, size_t size)
{
    qn_buffer_append_be32(out, kind << 28 | (uint32_t)size);
    qn_buffer_append(out, bytes, size);
}

static void append_text(struct qn_buffer *out, uint32_t kind, const char *text)
{
    append_message(out, kind, text, strlen(text));
}

static void append_slot(struct qn_buffer *out, uint32_t slot, uint32_t used)
{
    qn_buffer_append_be32(out, 3u << 28 | 8);
    qn_buffer_append_be32(out, slot);
    qn_buffer_append_be32(out, used);
}

/* A conversation: what was sent, and everything that reads it. */
struct talk {
    struct memory memory;
    struct qn_wire_input input;
    struct qn_payload payload;
    struct qn_ipc_stream stream;
};

static void begin(struct talk *talk, const struct qn_buffer *sent, size_t piece)
{
    *talk = (struct talk){ .memory = { .bytes = sent->data, .size = sent->size, .piece = piece } };
    qn_wire_input_init(&talk->input, memory_read, &talk->memory, "the peer");
    qn_payload_init_frame(&talk->payload, &talk->input);
    ok(qn_ipc_stream_init(&talk->stream, qn_payload_read, qn_payload_finish, &talk->payload, 0, &error));
}

static void begin_messages(struct talk *talk, const struct qn_buffer *sent, size_t piece, struct qn_ring *ring,
                           struct qn_payload_events events)
{
    begin(talk, sent, piece);
    qn_payload_init_messages(&talk->payload, &talk->input, ring, events);
}

static void end(struct talk *talk)
{
    qn_ipc_stream_dispose(&talk->stream);
    qn_wire_input_dispose(&talk->input);
}

/* Read to the end; the sum of the values and the number of rows. */
static enum qn_status read_all(struct talk *talk, int64_t *rows_out, int64_t *sum_out)
{
    *rows_out = *sum_out = 0;
    for (;;) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_ipc_stream_next(&talk->stream, &batch, &error));
        if (batch.release == NULL) {
            return QN_OK;
        }
        const int64_t *values = batch.children[0]->buffers[1];
        for (int64_t row = 0; row < batch.length; row++) {
            *sum_out += values[row];
        }
        *rows_out += batch.length;
    }
}

static void all_is_there(struct talk *talk)
{
    int64_t rows;
    int64_t sum;
    ok(read_all(talk, &rows, &sum));
    assert_int_equal(rows, 2 * ROWS);
    assert_int_equal(sum, 45);
    assert_true(talk->payload.ended);
}

/* Whatever was sent is refused so. */
static void broken(const struct qn_buffer *sent, int version, enum qn_status status, const char *text)
{
    const struct qn_payload_events none = { 0 };
    for (size_t piece = 1; piece < 10; piece += 4) {
        struct talk talk;
        int64_t rows;
        int64_t sum;
        begin(&talk, sent, piece);
        if (version == 2) {
            qn_payload_init_messages(&talk.payload, &talk.input, NULL, none);
        }
        refused(read_all(&talk, &rows, &sum), status, text);
        end(&talk);
    }
}

/* ---- version 1 ---- */

static void frame__gives_its_stream_in_any_pieces_and_stops_there(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    qn_buffer_append_be32(&sent, (uint32_t)arrow.size);
    qn_buffer_append(&sent, arrow.data, arrow.size);
    qn_buffer_append_text(&sent, "{\"the next\": \"reply\"}\n");
    for (size_t piece = 0; piece < 70; piece++) {
        struct talk talk;
        const char *line;
        size_t size;
        begin(&talk, &sent, piece);
        all_is_there(&talk);
        ok(qn_wire_read_line(&talk.input, 100, &line, &size, &error));
        assert_memory_equal(line, "{\"the next\"", 11);
        end(&talk);
    }
}

static void frame__of_no_bytes_is_no_data(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    qn_buffer_append_be32(&sent, 0);
    struct talk talk;
    const struct ArrowSchema *schema;
    struct ArrowArray batch;
    begin(&talk, &sent, 0);
    ok(qn_ipc_stream_schema(&talk.stream, &schema, &error));
    assert_null(schema);
    ok(qn_ipc_stream_next(&talk.stream, &batch, &error));
    assert_null(batch.release);
    assert_true(talk.payload.ended);
    end(&talk);
}

static void frame__may_leave_the_end_marker_out(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    qn_buffer_append_be32(&sent, (uint32_t)arrow.size - 8);
    qn_buffer_append(&sent, arrow.data, arrow.size - 8);
    struct talk talk;
    begin(&talk, &sent, 0);
    all_is_there(&talk);
    end(&talk);
}

static void frame__cut_anywhere_is_a_lost_connection(void **state)
{
    (void)state;
    for (size_t size = 0; size < arrow.size; size++) {
        qn_auto_buffer sent = QN_BUFFER_INIT;
        qn_buffer_append_be32(&sent, (uint32_t)arrow.size);
        qn_buffer_append(&sent, arrow.data, size);
        struct talk talk;
        int64_t rows;
        int64_t sum;
        begin(&talk, &sent, 0);
        refused(read_all(&talk, &rows, &sum), QN_ERR_CONNECTION, "ended in the middle of its data");
        assert_false(talk.payload.ended);
        end(&talk);
    }
}

static void frame__of_another_length_is_refused(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    qn_buffer_append_be32(&sent, (uint32_t)arrow.size + 3);
    qn_buffer_append(&sent, arrow.data, arrow.size);
    qn_buffer_append_text(&sent, "abc");
    broken(&sent, 1, QN_ERR_PROTOCOL, "bytes follow the end of the Arrow stream");
    qn_buffer_reset(&sent);
    qn_buffer_append_be32(&sent, (uint32_t)arrow.size - 9);
    qn_buffer_append(&sent, arrow.data, arrow.size);
    broken(&sent, 1, QN_ERR_CONNECTION, "in the middle of a message");
}

static void frame__of_garbage_is_refused(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    qn_buffer_append_text(&sent, "printed by a careless connector, and more of it\n");
    broken(&sent, 1, QN_ERR_PROTOCOL, "Arrow IPC: malformed message");
}

static void frame__that_announces_much_costs_what_comes(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    qn_buffer_append_be32(&sent, UINT32_MAX);
    qn_buffer_append_be32(&sent, UINT32_MAX);
    qn_buffer_append(&sent, "\xf8\xff\xff\x7f", 4); /* metadata of nearly 2 GiB, of which little comes */
    qn_buffer_append_text(&sent, "little");
    struct talk talk;
    const struct ArrowSchema *schema;
    begin(&talk, &sent, 0);
    refused(qn_ipc_stream_schema(&talk.stream, &schema, &error), QN_ERR_CONNECTION, "in the middle of its data");
    assert_true(talk.stream.capacity <= 128 << 10);
    end(&talk);
}

static void frame__with_a_schema_between_its_batches_is_refused(void **state)
{
    (void)state;
    qn_auto_buffer stream = QN_BUFFER_INIT;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    append_arrow(&stream, true, "id", 0, ROWS);
    append_arrow(&stream, true, "other", 0, ROWS);
    qn_buffer_append_be32(&sent, (uint32_t)stream.size);
    qn_buffer_append(&sent, stream.data, stream.size);
    broken(&sent, 1, QN_ERR_PROTOCOL, "it is no batch");
}

static void frame__survives_a_wait_that_failed_anywhere(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    qn_buffer_append_be32(&sent, (uint32_t)arrow.size);
    qn_buffer_append(&sent, arrow.data, arrow.size);
    for (size_t stall = 1; stall < sent.size; stall++) {
        struct talk talk;
        int64_t rows = 0;
        begin(&talk, &sent, 3);
        talk.memory.stall = stall;
        for (bool more = true; more;) {
            qn_auto_array batch = { 0 };
            enum qn_status status = qn_ipc_stream_next(&talk.stream, &batch, &error);
            assert_true(status == QN_OK || status == QN_ERR_TIMEOUT);
            more = status == QN_ERR_TIMEOUT || batch.release != NULL;
            rows += status == QN_OK && more ? batch.length : 0;
        }
        assert_int_equal(rows, 2 * ROWS);
        assert_int_equal(talk.memory.stall, 0);
        end(&talk);
    }
}

/* ---- version 2 ---- */

struct seen {
    int notifications;
    char method[20];
    uint32_t credits[8];
    size_t n_credits;
};

static enum qn_status notify(void *context, const struct qn_rpc_message *message, struct qn_error *err)
{
    (void)err;
    struct seen *seen = context;
    seen->notifications++;
    strncpy(seen->method, message->method, sizeof seen->method - 1);
    return QN_OK;
}

static enum qn_status credit(void *context, uint32_t slot, struct qn_error *err)
{
    struct seen *seen = context;
    if (seen->n_credits == 8) {
        return qn_error_set(err, QN_ERR_INTERNAL, "more credits than the test has slots");
    }
    seen->credits[seen->n_credits++] = slot;
    return QN_OK;
}

static const char the_end[] = "{\"rows\": 10, \"batches\": 2}";
static const char progress[] = "{\"jsonrpc\": \"2.0\", \"method\": \"progress\", \"params\": {\"rows\": 1}}";

static void messages__give_the_stream_whatever_the_cuts(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < arrow.size; cut += 7) {
        qn_auto_buffer sent = QN_BUFFER_INIT;
        struct seen seen = { 0 };
        const struct qn_payload_events events = { .context = &seen, .notify = notify };
        append_message(&sent, 0, arrow.data, cut);
        append_text(&sent, 1, progress);
        append_message(&sent, 0, "", 0);
        append_message(&sent, 0, arrow.data + cut, arrow.size - cut);
        append_text(&sent, 2, the_end);
        struct talk talk;
        begin_messages(&talk, &sent, cut, NULL, events);
        all_is_there(&talk);
        assert_int_equal(seen.notifications, 1);
        assert_string_equal(seen.method, "progress");
        assert_int_equal(qn_wire_input_pending(&talk.input), 0);
        end(&talk);
    }
}

static void messages__may_fail_in_the_middle_and_the_conversation_goes_on(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    append_message(&sent, 0, arrow.data, arrow.size - 100);
    append_text(&sent, 2,
                "{\"error\": {\"code\": -32000, \"message\": \"the source went away\","
                " \"data\": {\"kind\": \"unavailable\", \"retryable\": true}}}");
    qn_buffer_append_text(&sent, "next\n");
    struct talk talk;
    int64_t rows;
    int64_t sum;
    const char *line;
    size_t size;
    begin_messages(&talk, &sent, 0, NULL, (struct qn_payload_events){ 0 });
    refused(read_all(&talk, &rows, &sum), QN_ERR_CONNECTION, "the source went away");
    assert_true(error.retryable);
    assert_true(talk.payload.ended && talk.payload.failed);
    refused(read_all(&talk, &rows, &sum), QN_ERR_CONNECTION, "the source went away");
    ok(qn_wire_read_line(&talk.input, 100, &line, &size, &error));
    assert_memory_equal(line, "next", 4);
    end(&talk);
}

static void messages__that_break_the_page_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t kind;
        const char *text;
        const char *why;
    } cases[] = {
        { 4, "?", "unknown kind 4" },
        { 15, "", "unknown kind 15" },
        { 1, "printed", "is not JSON" },
        { 1, "{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": 1}", "a reply in the middle of its data" },
        { 2, "", "is not JSON" },
        { 2, "{}", "the end of the data is not" },
        { 2, "[]", "the end of the data is not" },
        { 2, "{\"rows\": -1, \"batches\": 0}", "the end of the data is not" },
        { 2, "{\"rows\": 1.5, \"batches\": 0}", "the end of the data is not" },
        { 2, "{\"error\": 1}", "an error is not" },
        { 2, "{\"rows\": 7, \"batches\": 1}", "it sent 7 rows in 1 batches; 0 in 0 came" },
        { 3, "8 bytes.", "a ring that was not agreed on" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qn_auto_buffer sent = QN_BUFFER_INIT;
        append_text(&sent, cases[i].kind, cases[i].text);
        broken(&sent, 2, QN_ERR_PROTOCOL, cases[i].why);
    }
}

static void messages__over_the_limit_are_refused_unread(void **state)
{
    (void)state;
    for (uint32_t kind = 0; kind < 4; kind++) {
        qn_auto_buffer sent = QN_BUFFER_INIT;
        qn_buffer_append_be32(&sent, kind << 28 | (QN_PAYLOAD_MAX_MESSAGE + 1));
        broken(&sent, 2, QN_ERR_PROTOCOL, "a message of 16777217 bytes");
    }
}

static void messages__cut_anywhere_are_a_lost_connection(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    append_message(&sent, 0, arrow.data, arrow.size);
    append_text(&sent, 1, progress);
    append_text(&sent, 2, the_end);
    size_t whole = sent.size;
    for (sent.size = 0; sent.size < whole; sent.size++) {
        struct talk talk;
        int64_t rows;
        int64_t sum;
        begin_messages(&talk, &sent, 0, NULL, (struct qn_payload_events){ 0 });
        refused(read_all(&talk, &rows, &sum), QN_ERR_CONNECTION, "the peer ended in the middle of its data");
        end(&talk);
    }
}

static void messages__survive_a_wait_that_failed_anywhere(void **state)
{
    (void)state;
    qn_auto_buffer sent = QN_BUFFER_INIT;
    append_message(&sent, 0, arrow.data, arrow.size);
    append_text(&sent, 1, progress);
    append_text(&sent, 2, the_end);
    for (size_t stall = 1; stall < sent.size; stall++) {
        struct seen seen = { 0 };
        const struct qn_payload_events events = { .context = &seen, .notify = notify };
        struct talk talk;
        int64_t rows = 0;
        begin_messages(&talk, &sent, 3, NULL, events);
        talk.memory.stall = stall;
        for (bool more = true; more;) {
            qn_auto_array batch = { 0 };
            enum qn_status status = qn_ipc_stream_next(&talk.stream, &batch, &error);
            assert_true(status == QN_OK || status == QN_ERR_TIMEOUT);
            more = status == QN_ERR_TIMEOUT || batch.release != NULL;
            rows += status == QN_OK && more ? batch.length : 0;
        }
        assert_int_equal(rows, 2 * ROWS);
        assert_int_equal(seen.notifications, 1);
        end(&talk);
    }
}

/* ---- the ring ---- */

static void ring__carries_the_stream_and_gives_slots_back(void **state)
{
    (void)state;
    struct qn_ring ring = QN_RING_INIT;
    ok(qn_ring_open(3, 64, &ring, &error));
    char *theirs = mmap(NULL, (size_t)3 * 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0);
    assert_true(theirs != MAP_FAILED);
    memcpy(theirs + 128, arrow.data, 64); /* slot 2 first, then 0; then the rest as a chunk, and an empty slot */
    memcpy(theirs, arrow.data + 64, 40);
    qn_auto_buffer sent = QN_BUFFER_INIT;
    append_slot(&sent, 2, 64);
    append_slot(&sent, 0, 40);
    append_message(&sent, 0, arrow.data + 104, arrow.size - 104);
    append_slot(&sent, 2, 0);
    append_text(&sent, 2, the_end);
    struct seen seen = { 0 };
    struct talk talk;
    begin_messages(&talk, &sent, 5, &ring, (struct qn_payload_events){ .context = &seen, .credit = credit });
    all_is_there(&talk);
    assert_int_equal(seen.n_credits, 3);
    assert_int_equal(seen.credits[0], 2);
    assert_int_equal(seen.credits[1], 0);
    assert_int_equal(seen.credits[2], 2);
    assert_int_equal(ring.ours, 0);
    end(&talk);
    munmap(theirs, (size_t)3 * 64);
    qn_ring_close(&ring);
    assert_int_equal(ring.fd, -1);
}

static void ring__refuses_slots_that_are_none(void **state)
{
    (void)state;
    struct qn_ring ring = QN_RING_INIT;
    ok(qn_ring_open(3, 64, &ring, &error));
    refused(qn_ring_take(&ring, 3, 1, &error), QN_ERR_PROTOCOL, "slot 3 of a ring of 3");
    refused(qn_ring_take(&ring, UINT32_MAX, 1, &error), QN_ERR_PROTOCOL, "of a ring of 3");
    refused(qn_ring_take(&ring, 2, 65, &error), QN_ERR_PROTOCOL, "65 bytes in a slot of 64");
    refused(qn_ring_take(&ring, 2, UINT32_MAX, &error), QN_ERR_PROTOCOL, "in a slot of 64");
    ok(qn_ring_take(&ring, 2, 64, &error));
    refused(qn_ring_take(&ring, 2, 1, &error), QN_ERR_PROTOCOL, "before it was given back");
    qn_ring_give(&ring, 2);
    ok(qn_ring_take(&ring, 2, 1, &error));
    qn_ring_reset(&ring);
    ok(qn_ring_take(&ring, 2, 1, &error));

    qn_auto_buffer sent = QN_BUFFER_INIT;
    qn_buffer_append_be32(&sent, 3u << 28 | 7);
    qn_buffer_append(&sent, "\0\0\0\0\0\0\0", 7);
    struct talk talk;
    int64_t rows;
    int64_t sum;
    begin_messages(&talk, &sent, 0, &ring, (struct qn_payload_events){ .credit = credit });
    refused(read_all(&talk, &rows, &sum), QN_ERR_PROTOCOL, "told in 8 bytes, not 7");
    end(&talk);
    qn_ring_close(&ring);
}

static void ring__cannot_shrink_under_us(void **state)
{
    (void)state;
    struct qn_ring ring = QN_RING_INIT;
    refused(qn_ring_open(0, 64, &ring, &error), QN_ERR_ARGUMENT, "a ring of 0 slots");
    refused(qn_ring_open(QN_RING_MAX_SLOTS + 1, 64, &ring, &error), QN_ERR_ARGUMENT, "a ring of 65 slots");
    refused(qn_ring_open(4, QN_RING_MAX_SLOT_SIZE + 1, &ring, &error), QN_ERR_ARGUMENT, "a ring of 4 slots");
    assert_int_equal(ring.fd, -1);
    ok(qn_ring_open(4, 1 << 20, &ring, &error));
    assert_int_equal(ftruncate(ring.fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(ring.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    char bytes[16] = "not zero";
    qn_ring_copy(&ring, 3, (1 << 20) - sizeof bytes, bytes, sizeof bytes);
    assert_int_equal(bytes[0], 0);
    qn_ring_close(&ring);
}

/* ---- memory that runs out ---- */

static void allocations__that_fail_are_typed(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    qn_auto_buffer sent = QN_BUFFER_INIT;
    append_message(&sent, 0, arrow.data, arrow.size);
    append_text(&sent, 2, the_end);
    int64_t failures = 0;
    for (int64_t n = 1;; n++) {
        struct talk talk;
        int64_t rows;
        int64_t sum;
        begin_messages(&talk, &sent, 0, NULL, (struct qn_payload_events){ 0 });
        qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE);
        enum qn_status status = read_all(&talk, &rows, &sum);
        bool hit = qn_fault_count(QN_FAULT_ALLOC) >= n;
        qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        end(&talk);
        if (!hit) {
            assert_int_equal(status, QN_OK);
            break;
        }
        assert_int_equal(status, QN_ERR_NO_MEMORY);
        failures++;
    }
    assert_true(failures > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame__gives_its_stream_in_any_pieces_and_stops_there),
        cmocka_unit_test(frame__of_no_bytes_is_no_data),
        cmocka_unit_test(frame__may_leave_the_end_marker_out),
        cmocka_unit_test(frame__cut_anywhere_is_a_lost_connection),
        cmocka_unit_test(frame__of_another_length_is_refused),
        cmocka_unit_test(frame__of_garbage_is_refused),
        cmocka_unit_test(frame__that_announces_much_costs_what_comes),
        cmocka_unit_test(frame__with_a_schema_between_its_batches_is_refused),
        cmocka_unit_test(frame__survives_a_wait_that_failed_anywhere),
        cmocka_unit_test(messages__give_the_stream_whatever_the_cuts),
        cmocka_unit_test(messages__may_fail_in_the_middle_and_the_conversation_goes_on),
        cmocka_unit_test(messages__that_break_the_page_are_refused),
        cmocka_unit_test(messages__over_the_limit_are_refused_unread),
        cmocka_unit_test(messages__cut_anywhere_are_a_lost_connection),
        cmocka_unit_test(messages__survive_a_wait_that_failed_anywhere),
        cmocka_unit_test(ring__carries_the_stream_and_gives_slots_back),
        cmocka_unit_test(ring__refuses_slots_that_are_none),
        cmocka_unit_test(ring__cannot_shrink_under_us),
        cmocka_unit_test(allocations__that_fail_are_typed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
