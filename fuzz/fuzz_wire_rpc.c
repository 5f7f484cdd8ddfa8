/*
 * fuzz_wire_rpc.c: lines and JSON-RPC of a hostile connector.
 *
 * The first byte is how large the pieces are, the second a limit of lines. What is refused is refused by type; what is let
 * through is a reply or a notification, and its parts can be written again and read back as the same.
 */
#include "wire_source.h"

#include "wire/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const struct qn_rpc_message *message)
{
    qn_auto_buffer line = QN_BUFFER_INIT;
    struct qn_rpc_message again;
    must(qn_rpc_write_notification(message->method, message->params, &line, NULL) == QN_OK);
    must(memchr(line.data, '\n', line.size) == line.data + line.size - 1);
    must(qn_rpc_read(line.data, line.size, &again, NULL) == QN_OK && again.kind == QN_RPC_NOTIFICATION);
    must(strcmp(again.method, message->method) == 0 && json_equal(again.params, message->params) != 0);
    qn_rpc_message_dispose(&again);
}

static void take(const char *line, size_t size)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_rpc_message message;
    if (qn_rpc_read(line, size, &message, &err) != QN_OK) {
        must(err.status == QN_ERR_PROTOCOL && err.message[0] != '\0');
        return;
    }
    switch (message.kind) {
    case QN_RPC_RESULT:
        must(message.has_id && message.result != NULL && message.method == NULL);
        break;
    case QN_RPC_ERROR:
        must(message.error.message[0] != '\0' && strchr(message.error.message, '\n') == NULL);
        must(qn_rpc_error_raise(&message.error, &err) != QN_OK && err.message[0] != '\0');
        break;
    default:
        must(message.kind == QN_RPC_NOTIFICATION && message.method != NULL);
        if (message.params != NULL) {
            write_again(&message);
        }
    }
    qn_rpc_message_dispose(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct source source = { .bytes = data + 2, .size = size - 2, .piece = (size_t)data[0] + 1 };
    size_t limit = data[1] == 0 ? QN_WIRE_MAX_LINE : (size_t)data[1] * 8;
    struct qn_wire_input input;
    struct qn_error err = QN_ERROR_INIT;
    const char *line = NULL;
    size_t line_size = 0;
    qn_wire_input_init(&input, read_source, &source, "the fuzzer");
    enum qn_status status = qn_wire_read_line(&input, limit, &line, &line_size, &err);
    while (status == QN_OK && line != NULL) {
        must(line_size <= limit);
        take(line, line_size);
        status = qn_wire_read_line(&input, limit, &line, &line_size, &err);
    }
    must(status == QN_OK || status == QN_ERR_PROTOCOL || status == QN_ERR_CONNECTION);
    must(input.capacity <= 2 * size + QN_WIRE_STAGE);
    qn_wire_input_dispose(&input);
    return 0;
}
