/*
 * broker.h: the network of one execution. The run has no way out; the engine dials for it.
 *
 * A run whose network is on is locked down with a filter that turns each connect() into a notification. The broker reads
 * the address out of the run's memory once, decides on that copy (network_policy.h), dials a fresh socket of its own, and
 * puts it in the place of the run's descriptor. Names come as questions over a socket, and are resolved by a thread
 * (names.h). Nothing here blocks: one descriptor (an epoll) becomes readable whenever qn_broker_handle has something to do,
 * deadlines included.
 *
 * Sockets that do not block get EINPROGRESS and the socket that is connecting, as from the kernel; blocking ones wait
 * for the end of the dial. Refused is EACCES, with a line for the log of the execution.
 *
 * Threads: one at a time, that of the execution.
 */
#ifndef QN_PROCESSOR_BROKER_H
#define QN_PROCESSOR_BROKER_H

#include "processor/network_policy.h"

#include "base/status.h"

#include <stdint.h>

#define QN_BROKER_MAX_PENDING     16 /* dials of blocking sockets at once; further notifications wait in the kernel */
#define QN_BROKER_MAX_CONNECTIONS 10000 /* of one run */
#define QN_BROKER_MAX_NAMES       10000 /* questions of one run */
#define QN_BROKER_MAX_ADDRESSES   1024  /* of the answers remembered; the oldest is forgotten */
#define QN_BROKER_MAX_LOGS        100   /* lines about refusals of one run */
#define QN_BROKER_DIAL_MS         30000 /* then ETIMEDOUT */
#define QN_BROKER_NAME_MS         10000 /* then EAI_AGAIN */

struct qn_broker;

/* A line for the author of the statement: "connection to 169.254.169.254:80 is not allowed: a link-local address". At
 * level warn. Borrowed for the call. */
typedef void (*qn_broker_log)(void *context, const char *message);

/* `policy` is borrowed and outlives the broker. `log` may be NULL. */
enum qn_status qn_broker_new(const struct qn_network_policy *policy, qn_broker_log log, void *context,
                             struct qn_broker **out, struct qn_error *err) QN_MUST_CHECK;

/* Other time limits than QN_BROKER_DIAL_MS and QN_BROKER_NAME_MS, for what begins from here on. */
void qn_broker_set_times(struct qn_broker *broker, int64_t dial_ms, int64_t name_ms);

/* Join a run: the listener of its filter (came with READY), its pidfd (borrowed: copied), and the engine's end of its
 * names socket (SOCK_SEQPACKET). `take`: listener and names socket are the broker's from here on, also on failure. Where
 * the kernel does not let this process look into the run (QN_ERR_UNSUPPORTED, with a hint), there can be no network. */
enum qn_status qn_broker_take_run(struct qn_broker *broker, int listener_fd, int pid_fd, int names_fd,
                                  struct qn_error *err) QN_MUST_CHECK;

/* To poll for POLLIN; the same for the broker's life. */
int qn_broker_fd(const struct qn_broker *broker);

/* Do what there is to do; does not block. Failures of a single connection are the run's to see; an error is ours. */
enum qn_status qn_broker_handle(struct qn_broker *broker, struct qn_error *err) QN_MUST_CHECK;

/* Closes everything; dials under way are given up. Connections that were handed over are the run's. NULL is allowed. */
void qn_broker_free(struct qn_broker *broker);

#endif
