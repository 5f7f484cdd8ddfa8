/*
 * broker_private.h: the broker's two halves, notifications of connect() (broker.c) and questions for names
 * (broker_names.c), over one epoll.
 */
#ifndef QN_PROCESSOR_BROKER_PRIVATE_H
#define QN_PROCESSOR_BROKER_PRIVATE_H

#include "processor/broker.h"
#include "processor/names.h"

#include <stdint.h>
#include <sys/types.h>

/* What became ready, as the epoll says it; TAG_DIAL and above: the dial of that index. */
enum qn_broker_tag { TAG_LISTENER, TAG_NAMES, TAG_ANSWER, TAG_TIMER, TAG_DIAL };

/* A dial for a blocking socket; the run's thread waits in its connect(). */
struct qn_broker_dial {
    int fd;           /* -1: free */
    int target_fd;    /* the run's number */
    uint64_t id;      /* of the notification */
    int64_t deadline; /* clock.h */
};

struct qn_broker_address {
    char name[QN_NETWORK_MAX_HOST + 2];
    struct qn_network_address address;
};

struct qn_broker {
    const struct qn_network_policy *policy;
    qn_broker_log log;
    void *log_context;
    int n_logs;

    int epoll_fd, timer_fd;
    int listener_fd, names_fd, pid_fd; /* -1: none, or closed */
    bool listening;                    /* the listener is in the epoll: it is not while all dials are taken */

    struct qn_broker_dial dials[QN_BROKER_MAX_PENDING];
    int n_dials;
    int n_connections; /* of the run so far */
    int64_t dial_ms, name_ms;

    struct qn_names_question *question; /* under way; the names socket is not in the epoll meanwhile */
    int64_t question_deadline;
    char question_host[QN_NETWORK_MAX_HOST + 2];
    int n_questions; /* of the run so far */

    struct qn_broker_address *addresses; /* a ring: the answers that the run got, where the policy is a list */
    size_t n_addresses, next_address, address_capacity;
};

/* broker.c */
void qn_broker__log(struct qn_broker *broker, const char *format, ...) QN_PRINTF(2, 3);
bool qn_broker__watch(struct qn_broker *broker, int fd, uint32_t events, uint64_t tag);
void qn_broker__unwatch(struct qn_broker *broker, int fd);
void qn_broker__arm_timer(struct qn_broker *broker);
enum qn_address_class qn_broker__class(const struct qn_network_address *address); /* knows the machine's own */

/* broker_names.c */
void qn_broker__names_ready(struct qn_broker *broker);
void qn_broker__answer_ready(struct qn_broker *broker);
void qn_broker__question_late(struct qn_broker *broker);
bool qn_broker__was_resolved(const struct qn_broker *broker, const struct qn_network_address *address,
                             enum qn_address_class class, uint16_t port);

#endif
