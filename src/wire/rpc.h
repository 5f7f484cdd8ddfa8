/*
 * rpc.h: JSON-RPC 2.0 as connectors speak it: requests and notifications out, replies and notifications in.
 *
 * What comes is hostile: before a text is parsed, its depth and its number of values are counted; then duplicate keys,
 * numbers that are none or too big, texts with NUL or that are not UTF-8, and what is neither reply nor notification are
 * refused (QN_ERR_PROTOCOL). Threads: no state.
 */
#ifndef QN_WIRE_RPC_H
#define QN_WIRE_RPC_H

#include "base/buffer.h"

#include <jansson.h>

#define QN_RPC_MAX_DEPTH  64
#define QN_RPC_MAX_VALUES (8u << 20)  /* of one text: a million locations and their members */
#define QN_RPC_MAX_NAME   (64u << 10) /* bytes of a member's name */

static inline void qn__json_free(json_t **json)
{
    json_decref(*json);
    *json = NULL;
}
#define qn_auto_json __attribute__((cleanup(qn__json_free))) json_t

/* Any JSON value of whole numbers and texts that can be held exactly. `what` names the text in messages. The caller's. */
enum qn_status qn_json_parse(const char *text, size_t size, const char *what, json_t **out,
                             struct qn_error *err) QN_MUST_CHECK;

/* ---- errors of the other side ---- */

enum qn_rpc_failure {
    QN_RPC_FAILED = 0, /* nothing else is known */
    QN_RPC_AUTHENTICATION,
    QN_RPC_NOT_FOUND,
    QN_RPC_RATE_LIMITED,
    QN_RPC_UNAVAILABLE,
    QN_RPC_INVALID,
    QN_RPC_CANCELLED,
};
#define QN_RPC_UNKNOWN_METHOD (-32601)
#define QN_RPC_BAD_PARAMETERS (-32602)

struct qn_rpc_error {
    int64_t code;
    enum qn_rpc_failure kind;
    bool retryable;
    int64_t retry_after_ms; /* 0: not said */
    char message[1024];     /* of one line */
};

/* Read {"code", "message", "data"}: an `error` member. QN_ERR_PROTOCOL where it is none. */
enum qn_status qn_rpc_error_read(const json_t *error, struct qn_rpc_error *out, struct qn_error *err) QN_MUST_CHECK;

/* The same as an error of ours: QN_ERR_CANCELLED, QN_ERR_CONNECTION (unavailable), QN_ERR_UNSUPPORTED (unknown method),
 * else QN_ERR_QUERY. Returns its status. */
enum qn_status qn_rpc_error_raise(const struct qn_rpc_error *error, struct qn_error *err);

/* ---- messages ---- */

enum qn_rpc_kind { QN_RPC_RESULT, QN_RPC_ERROR, QN_RPC_NOTIFICATION };

struct qn_rpc_message {
    enum qn_rpc_kind kind;
    json_t *root;   /* owned: what follows is borrowed from it */
    bool has_id;    /* an error may be without: the other side could not read the request */
    int64_t id;     /* of RESULT and ERROR */
    json_t *result; /* RESULT */
    struct qn_rpc_error error;
    const char *method; /* NOTIFICATION */
    json_t *params;     /* an object or an array, or NULL */
};

/* One message. A request of the other side is refused, as it has none to make. On success the caller disposes of *out. */
enum qn_status qn_rpc_read(const char *text, size_t size, struct qn_rpc_message *out,
                           struct qn_error *err) QN_MUST_CHECK;
void qn_rpc_message_dispose(struct qn_rpc_message *message);

/* Append a line: a request, or a notification. `params` (not NULL) is borrowed. QN_ERR_ARGUMENT for a line over
 * QN_WIRE_MAX_LINE; on failure `out` is as it was. */
enum qn_status qn_rpc_write_request(int64_t id, const char *method, json_t *params, struct qn_buffer *out,
                                    struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_rpc_write_notification(const char *method, json_t *params, struct qn_buffer *out,
                                         struct qn_error *err) QN_MUST_CHECK;

#endif
