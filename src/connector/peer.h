/*
 * peer.h: one connector in a process of its own: started, spoken to, read, ended (docs/protocol/connector.md).
 *
 * A peer is in one conversation: one request after the other. It is lost once it broke the protocol, was silent for too
 * long, ended, or data was left in the middle: then every call fails and it only remains to end it. What it writes to
 * standard error is read whenever we wait for it, told line by line, and its tail is the detail of the error of a lost peer.
 * Threads: one at a time per peer. After a fork, a peer can only be ended.
 */
#ifndef QN_CONNECTOR_PEER_H
#define QN_CONNECTOR_PEER_H

#include "os/process.h"
#include "wire/ipc_stream.h"
#include "wire/payload.h"

#define QN_PEER_TAIL 480 /* bytes of standard error that are kept */

struct qn_peer_events {
    void *context;
    void (*log)(void *context, const char *level, const char *message); /* also lines of standard error, as "stderr" */
    void (*progress)(void *context, int64_t rows, int64_t total, const char *text); /* total -1: unknown */
};

struct qn_peer_options {
    const char *name;          /* begins messages: "the process"; borrowed */
    const char *const *argv;   /* borrowed for the start */
    const char *folder;        /* its current folder; NULL: ours. Borrowed for the start */
    int64_t silence_ms;        /* how long it may give no sign of life while we wait; 0: for ever */
    uint32_t slots, slot_size; /* of the ring that is offered; 0: none */
    bool version_1;            /* offer nothing */
    struct qn_peer_events events;
};

struct qn_peer;

/* Start the process and shake hands. As long as it works it may take a minute for that, whatever silence_ms says. QN_ERR_IO
 * where the program cannot be started. */
enum qn_status qn_peer_start(const struct qn_peer_options *options, struct qn_peer **out,
                             struct qn_error *err) QN_MUST_CHECK;

/* End of file on its standard input and up to `grace_ms` to end by itself, unless it is lost; then SIGTERM and again
 * `grace_ms`; then SIGKILL, both to its process group. Nothing is left of it. NULL is allowed. */
void qn_peer_end(struct qn_peer *peer, int64_t grace_ms);

/* End of file on its standard input, for peers that are to end at the same time; qn_peer_end has to follow. */
void qn_peer_hang_up(struct qn_peer *peer);

int qn_peer_version(const struct qn_peer *peer); /* of the protocol: 1 or 2 */
bool qn_peer_lost(const struct qn_peer *peer);
bool qn_peer_alive(const struct qn_peer *peer); /* its process runs */

/* The tail of its standard error, with what is there by now; borrowed. Forget it: what comes next has another cause. */
const char *qn_peer_tail(struct qn_peer *peer);
void qn_peer_forget_tail(struct qn_peer *peer);

/* How long it may give no sign of life from now on. */
void qn_peer_set_silence(struct qn_peer *peer, int64_t silence_ms);

/* A request and its reply; `params` (an object) is borrowed, *result_out the caller's. An error reply is the error
 * (qn_rpc_error_raise), and qn_peer_failure what it said; the peer is not lost. */
enum qn_status qn_peer_call(struct qn_peer *peer, const char *method, json_t *params, json_t **result_out,
                            struct qn_error *err) QN_MUST_CHECK;

/* What the last error reply, or the end of data with an error, said. */
const struct qn_rpc_error *qn_peer_failure(const struct qn_peer *peer);

/* The request `data`, whose result must say {"ok": true}; then its stream, by the two calls below until its end or an
 * error. Until then no other call is allowed (QN_ERR_BUSY). */
enum qn_status qn_peer_data(struct qn_peer *peer, json_t *params, json_t **result_out,
                            struct qn_error *err) QN_MUST_CHECK;

/* As qn_ipc_stream_schema and qn_ipc_stream_next. */
enum qn_status qn_peer_schema(struct qn_peer *peer, const struct ArrowSchema **out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_peer_next(struct qn_peer *peer, struct ArrowArray *out, struct qn_error *err) QN_MUST_CHECK;

/* The stream is not wanted any more. With version 2 the peer is asked to stop, and what it still sends is read past, for
 * `patience_ms` at most; otherwise, and where that fails, the peer is lost. */
void qn_peer_cancel(struct qn_peer *peer, int64_t patience_ms);

#endif
