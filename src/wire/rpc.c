/*
 * rpc.c: JSON-RPC messages, judged.
 *
 * A message is an object with "jsonrpc": "2.0" and either an integer "id" and one of "result" and "error", or no "id" and a
 * "method". Members that nobody knows are left alone. Threads: no state.
 */
#include "wire/rpc.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "wire/input.h"

#define EXCERPT 80 /* bytes of a text that is shown in a message */

/* ---- texts to values ---- */

/* The beginning of a text, fit for a message. */
static const char *excerpt(const char *text, size_t size, char into[EXCERPT + 4])
{
    size_t shown = qn_utf8_floor(text, size < EXCERPT ? size : EXCERPT);
    shown = qn_utf8_valid_prefix(text, shown);
    for (size_t i = 0; i < shown; i++) {
        into[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
    }
    memcpy(into + shown, shown < size ? "..." : "", shown < size ? 4 : 1);
    return into;
}

/* A text that a parser wrote about bytes that may be anything, made fit for a message. */
static const char *fit(char *text)
{
    text[qn_utf8_valid_prefix(text, strlen(text))] = '\0';
    for (char *at = text; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
    }
    return text;
}

/* Depth and number of values, so that no text grows into more than its size allows. Quotes and brackets are all that has to
 * be understood; whether it is JSON is the parser's question. */
static enum qn_status measure(const char *text, size_t size, const char *what, struct qn_error *err)
{
    size_t depth = 0;
    size_t values = 1;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                quoted = false;
            }
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            values++;
            if (++depth > QN_RPC_MAX_DEPTH) {
                return qn_error_set(err, QN_ERR_PROTOCOL, "%s is nested deeper than %d levels", what, QN_RPC_MAX_DEPTH);
            }
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        } else if (c == ',') {
            values++;
        }
        if (values > QN_RPC_MAX_VALUES) {
            return qn_error_set(err, QN_ERR_PROTOCOL, "%s has more than %u values", what, QN_RPC_MAX_VALUES);
        }
    }
    return QN_OK;
}

static enum qn_status check_names(json_t *value, const char *what, struct qn_error *err)
{
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            QN_TRY(check_names(json_array_get(value, i), what, err));
        }
    } else if (json_is_object(value)) {
        for (void *at = json_object_iter(value); at != NULL; at = json_object_iter_next(value, at)) {
            if (strlen(json_object_iter_key(at)) > QN_RPC_MAX_NAME) {
                return qn_error_set(err, QN_ERR_PROTOCOL, "%s: a name is longer than %u bytes", what, QN_RPC_MAX_NAME);
            }
            QN_TRY(check_names(json_object_iter_value(at), what, err));
        }
    }
    return QN_OK;
}

enum qn_status qn_json_parse(const char *text, size_t size, const char *what, json_t **out, struct qn_error *err)
{
    QN_TRY(measure(text, size, what, err));
    json_error_t problem;
    qn_auto_json *json = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (json == NULL) {
        if (json_error_code(&problem) == json_error_out_of_memory) {
            return qn__no_memory(err);
        }
        char shown[EXCERPT + 4];
        return qn_error_set(err, QN_ERR_PROTOCOL, "%s is not JSON (%s): %s", what, fit(problem.text),
                            excerpt(text, size, shown));
    }
    QN_TRY(check_names(json, what, err));
    *out = json_incref(json);
    return QN_OK;
}

/* ---- errors of the other side ---- */

static enum qn_rpc_failure failure_kind(const char *name)
{
    static const struct {
        const char *name;
        enum qn_rpc_failure kind;
    } kinds[] = {
        { "authentication", QN_RPC_AUTHENTICATION },
        { "not_found", QN_RPC_NOT_FOUND },
        { "rate_limited", QN_RPC_RATE_LIMITED },
        { "unavailable", QN_RPC_UNAVAILABLE },
        { "invalid", QN_RPC_INVALID },
        { "cancelled", QN_RPC_CANCELLED },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (qn_text_equal(name, kinds[i].name)) {
            return kinds[i].kind;
        }
    }
    return QN_RPC_FAILED;
}

/* The member, where it is there; a null counts as missing. False: it has another type. */
static bool member(const json_t *object, const char *name, json_type type, const json_t **out)
{
    const json_t *value = json_object_get(object, name);
    *out = json_is_null(value) ? NULL : value;
    return *out == NULL || json_typeof(*out) == type;
}

enum qn_status qn_rpc_error_read(const json_t *error, struct qn_rpc_error *out, struct qn_error *err)
{
    const json_t *code;
    const json_t *message;
    const json_t *data = json_object_get(error, "data");
    if (!json_is_object(error) || !member(error, "code", JSON_INTEGER, &code) ||
        !member(error, "message", JSON_STRING, &message)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "an error is not {\"code\": integer, \"message\": text}");
    }
    struct qn_rpc_error read = { .code = code != NULL ? json_integer_value(code) : 0 };
    const char *text = message != NULL ? json_string_value(message) : "";
    QN_ERROR_COPY(read.message, text[0] != '\0' ? text : "(no message)", text[0] != '\0' ? strlen(text) : 12);
    for (char *at = read.message; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
    }
    /* `data` may be anything in JSON-RPC: only what has our form is understood. */
    const json_t *retry_after = json_object_get(data, "retry_after_ms");
    const char *kind = json_string_value(json_object_get(data, "kind"));
    read.kind = kind != NULL ? failure_kind(kind) : QN_RPC_FAILED;
    read.retryable = json_is_true(json_object_get(data, "retryable"));
    if (json_is_integer(retry_after) && json_integer_value(retry_after) > 0) {
        read.retry_after_ms = json_integer_value(retry_after);
    }
    *out = read;
    return QN_OK;
}

enum qn_status qn_rpc_error_raise(const struct qn_rpc_error *error, struct qn_error *err)
{
    enum qn_status status = QN_ERR_QUERY;
    if (error->kind == QN_RPC_CANCELLED) {
        status = QN_ERR_CANCELLED;
    } else if (error->kind == QN_RPC_UNAVAILABLE) {
        status = QN_ERR_CONNECTION;
    } else if (error->code == QN_RPC_UNKNOWN_METHOD) {
        status = QN_ERR_UNSUPPORTED;
    }
    qn_error_set(err, status, "%s", error->message);
    if (err != NULL) {
        err->retryable = error->retryable;
    }
    return status;
}

/* ---- messages in ---- */

static enum qn_status no_message(const char *why, const char *text, size_t size, struct qn_error *err)
{
    char shown[EXCERPT + 4];
    return qn_error_set(err, QN_ERR_PROTOCOL, "no message of JSON-RPC (%s): %s", why, excerpt(text, size, shown));
}

/* What the object is; a text that says why it is none, or NULL. */
static const char *classify(struct qn_rpc_message *message)
{
    const json_t *root = message->root;
    if (!json_is_object(root)) {
        return "it is no object";
    }
    const char *version = json_string_value(json_object_get(root, "jsonrpc"));
    if (version == NULL || !qn_text_equal(version, "2.0")) {
        return "\"jsonrpc\" is not \"2.0\"";
    }
    const json_t *id = json_object_get(root, "id");
    const json_t *method = json_object_get(root, "method");
    message->result = json_object_get(root, "result");
    bool is_error = json_object_get(root, "error") != NULL;
    if (method != NULL) {
        message->params = json_object_get(root, "params");
        message->method = json_string_value(method);
        message->kind = QN_RPC_NOTIFICATION;
        if (id != NULL) {
            return "it is a request";
        }
        if (message->method == NULL || strlen(message->method) > QN_RPC_MAX_NAME) {
            return "its method is no name";
        }
        if (message->params != NULL && !json_is_object(message->params) && !json_is_array(message->params)) {
            return "its params are neither object nor array";
        }
        return message->result == NULL && !is_error ? NULL : "it is a reply and a notification at once";
    }
    if ((message->result != NULL) == is_error) {
        return is_error ? "it has a result and an error" : "it has neither method, result nor error";
    }
    message->kind = is_error ? QN_RPC_ERROR : QN_RPC_RESULT;
    message->has_id = json_is_integer(id);
    message->id = message->has_id ? json_integer_value(id) : 0;
    return message->has_id || (is_error && (id == NULL || json_is_null(id))) ? NULL : "its id is no integer";
}

enum qn_status qn_rpc_read(const char *text, size_t size, struct qn_rpc_message *out, struct qn_error *err)
{
    qn_auto_json *root = NULL;
    QN_TRY(qn_json_parse(text, size, "a message", &root, err));
    struct qn_rpc_message message = { .root = root };
    const char *why = classify(&message);
    if (why != NULL) {
        return no_message(why, text, size, err);
    }
    if (message.kind == QN_RPC_ERROR) {
        QN_TRY(qn_rpc_error_read(json_object_get(root, "error"), &message.error, err));
    }
    *out = message;
    json_incref(out->root);
    return QN_OK;
}

void qn_rpc_message_dispose(struct qn_rpc_message *message)
{
    json_decref(message->root);
    *message = (struct qn_rpc_message){ 0 };
}

/* ---- messages out ---- */

static int append(const char *bytes, size_t size, void *line)
{
    qn_buffer_append(line, bytes, size);
    return ((struct qn_buffer *)line)->failure == QN_BUFFER_FINE ? 0 : -1;
}

static enum qn_status write_line(const json_t *message, const char *method, struct qn_buffer *out, struct qn_error *err)
{
    qn_auto_buffer line = { .limit = (size_t)QN_WIRE_MAX_LINE + 1 };
    bool dumped = message != NULL && json_dump_callback(message, append, &line, JSON_COMPACT) == 0;
    qn_buffer_append_byte(&line, '\n');
    if (line.failure == QN_BUFFER_LIMIT) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the parameters of \"%s\" are longer than %u bytes", method,
                            QN_WIRE_MAX_LINE);
    }
    if (!dumped || line.failure != QN_BUFFER_FINE || !qn_buffer_reserve(out, line.size)) {
        return qn__no_memory(err);
    }
    qn_buffer_append(out, line.data, line.size);
    return QN_OK;
}

enum qn_status qn_rpc_write_request(int64_t id, const char *method, json_t *params, struct qn_buffer *out,
                                    struct qn_error *err)
{
    qn_auto_json *message =
        json_pack("{s:s, s:I, s:s, s:O}", "jsonrpc", "2.0", "id", (json_int_t)id, "method", method, "params", params);
    return write_line(message, method, out, err);
}

enum qn_status qn_rpc_write_notification(const char *method, json_t *params, struct qn_buffer *out,
                                         struct qn_error *err)
{
    qn_auto_json *message = json_pack("{s:s, s:s, s:O}", "jsonrpc", "2.0", "method", method, "params", params);
    return write_line(message, method, out, err);
}
