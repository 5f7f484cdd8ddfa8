/*
 * test_golden.c: the conversations of docs/protocol/golden, as a host reads them: every byte of the connector is a reply, a
 * notification or data.
 * usage: test_golden FOLDER
 */
#include "fixture.h"
#include "os/file.h"
#include "wire/ipc_stream.h"
#include "wire/payload.h"

#include <fcntl.h>
#include <stdio.h>

static const char *folder;

static void append_hex(struct qn_buffer *out, const char *text)
{
    unsigned int byte;
    int used;
    while (sscanf(text, " %2x%n", &byte, &used) == 1) {
        qn_buffer_append_byte(out, (char)byte);
        text += used;
    }
}

/* What one answer has. */
struct heard {
    int notifications;
    enum qn_rpc_kind kind;
    bool is_data, failed;
    struct qn_error failure;
    int64_t rows, batches;
};

static void read_data(struct qn_wire_input *input, int version, struct heard *heard)
{
    struct qn_payload payload;
    struct qn_ipc_stream stream;
    enum qn_status status;
    qn_payload_init_frame(&payload, input);
    if (version == 2) {
        qn_payload_init_messages(&payload, input, NULL, (struct qn_payload_events){ 0 });
    }
    ok(qn_ipc_stream_init(&stream, qn_payload_read, qn_payload_finish, &payload, 0, &error));
    bool more = true;
    do {
        qn_auto_array batch = { 0 };
        status = qn_ipc_stream_next(&stream, &batch, &heard->failure);
        more = status == QN_OK && batch.release != NULL;
    } while (more);
    heard->is_data = true;
    heard->failed = status != QN_OK;
    heard->rows = stream.rows;
    heard->batches = stream.batches;
    assert_true(payload.ended);
    qn_ipc_stream_dispose(&stream);
}

/* Read the answer to a request; nothing may be left of it. */
static void listen(const char *request, const struct qn_buffer *answer, int *version, size_t piece, struct heard *heard)
{
    struct memory memory = { .bytes = answer->data, .size = answer->size, .piece = piece };
    struct qn_wire_input input;
    struct qn_rpc_message message = { .kind = QN_RPC_NOTIFICATION };
    qn_auto_json *asked = NULL;
    const char *line;
    size_t size;
    *heard = (struct heard){ 0 };
    ok(qn_json_parse(request, strlen(request), "a request", &asked, &error));
    qn_wire_input_init(&input, memory_read, &memory, "the connector");
    for (;;) {
        ok(qn_wire_read_line(&input, QN_WIRE_MAX_LINE, &line, &size, &error));
        assert_non_null(line);
        ok(qn_rpc_read(line, size, &message, &error));
        if (message.kind != QN_RPC_NOTIFICATION) {
            break;
        }
        heard->notifications++;
        qn_rpc_message_dispose(&message);
    }
    heard->kind = message.kind;
    assert_int_equal(message.id, json_integer_value(json_object_get(asked, "id")));
    const char *method = json_string_value(json_object_get(asked, "method"));
    if (message.kind == QN_RPC_RESULT && strcmp(method, "handshake") == 0) {
        json_t *ours = json_object_get(message.result, "qanat");
        *version = ours != NULL ? (int)json_integer_value(json_object_get(ours, "version")) : 1;
    }
    if (message.kind == QN_RPC_RESULT && strcmp(method, "data") == 0) {
        read_data(&input, *version, heard);
    }
    assert_int_equal(qn_wire_input_pending(&input) + memory.size - memory.at, 0);
    qn_rpc_message_dispose(&message);
    qn_wire_input_dispose(&input);
}

struct totals {
    int exchanges, results, errors, notifications, data, failures;
    int64_t rows, batches;
    int version;
};

static void add(const char *request, const struct qn_buffer *answer, size_t piece, struct totals *totals)
{
    struct heard heard;
    listen(request, answer, &totals->version, piece, &heard);
    totals->exchanges++;
    totals->results += heard.kind == QN_RPC_RESULT;
    totals->errors += heard.kind == QN_RPC_ERROR;
    totals->notifications += heard.notifications;
    totals->data += heard.is_data;
    totals->failures += heard.failed;
    totals->rows += heard.rows;
    totals->batches += heard.batches;
    if (heard.failed) {
        assert_int_equal(heard.failure.status, QN_ERR_QUERY);
        assert_string_equal(heard.failure.message, "slow down");
        assert_true(heard.failure.retryable);
    }
}

/* Replay a file of golden/: "> " a line of the host, "< " one of the connector, "<x" bytes of it. */
static struct totals replay(const char *name, size_t piece)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_auto_buffer answer = QN_BUFFER_INIT;
    struct totals totals = { 0 };
    char path[4096];
    const char *request = NULL;
    char *rest = NULL;
    assert_true(snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path);
    ok(qn_file_read(AT_FDCWD, path, 1 << 20, &text, &error));
    for (char *line = strtok_r(text.data, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (line[0] == '>') {
            if (request != NULL) {
                add(request, &answer, piece, &totals);
            }
            request = line + 2;
            qn_buffer_reset(&answer);
        } else if (strncmp(line, "<x", 2) == 0) {
            append_hex(&answer, line + 2);
        } else if (line[0] == '<') {
            qn_buffer_append_text(&answer, line + 2);
            qn_buffer_append_byte(&answer, '\n');
        }
    }
    assert_non_null(request);
    add(request, &answer, piece, &totals);
    return totals;
}

static void golden__version_1_is_understood(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 600; piece += 59) {
        struct totals totals = replay("version_1.txt", piece);
        assert_int_equal(totals.version, 1);
        assert_true(totals.exchanges >= 10);
        assert_int_equal(totals.errors, 2);
        assert_int_equal(totals.results, totals.exchanges - 2);
        assert_true(totals.data >= 2 && totals.rows >= 2);
        assert_int_equal(totals.failures, 0);
    }
}

static void golden__version_2_is_understood(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 600; piece += 59) {
        struct totals totals = replay("version_2.txt", piece);
        assert_int_equal(totals.version, 2);
        assert_int_equal(totals.exchanges, 10);
        assert_int_equal(totals.errors, 1);
        assert_int_equal(totals.notifications, 1);
        assert_int_equal(totals.data, 5);
        assert_int_equal(totals.failures, 1); /* in the middle: its first batch came whole */
        assert_int_equal(totals.rows, 2 + 1 + 2 + 0 + 2);
        assert_int_equal(totals.batches, 4);
    }
}

static void golden__pages_are_understood(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 600; piece += 59) {
        struct totals totals = replay("version_2_pages.txt", piece);
        assert_int_equal(totals.version, 2);
        assert_int_equal(totals.exchanges, 6);
        assert_int_equal(totals.errors, 1);
        assert_int_equal(totals.data, 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden__version_1_is_understood),
        cmocka_unit_test(golden__version_2_is_understood),
        cmocka_unit_test(golden__pages_are_understood),
    };
    if (argc != 2) {
        print_error("usage: test_golden FOLDER\n");
        return 2;
    }
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
