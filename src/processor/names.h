/*
 * names.h: resolving a name without blocking.
 *
 * Owns a thread per question: getaddrinfo cannot be interrupted, so a question that is given up (a deadline, the end of
 * the execution) leaves its thread to end by itself; the two share the memory, and whoever is last frees it. Threads in
 * flight are bounded for the whole process. Policy is not known here. Threads: a question is used by one thread.
 */
#ifndef QN_PROCESSOR_NAMES_H
#define QN_PROCESSOR_NAMES_H

#include "processor/network_policy.h"
#include "processor/protocol.h"

#define QN_NAMES_MAX_THREADS 64

struct qn_names_question;

struct qn_names_answer {
    int error; /* 0, or an EAI_ number */
    size_t n_addresses;
    struct qn_network_address addresses[QN_NAME_MAX_ADDRESSES];
};

/* An address written as a number, in any of the forms that getaddrinfo takes ("127.1", "0x7f000001", "::1"). */
bool qn_names_parse_number(const char *host, struct qn_network_address *out);

/* Begin to ask for `host`; `family` AF_UNSPEC, AF_INET or AF_INET6. QN_ERR_BUSY where too many threads are under way. */
enum qn_status qn_names_ask(const char *host, int family, struct qn_names_question **out,
                            struct qn_error *err) QN_MUST_CHECK;

/* An eventfd, readable once the answer is there. Borrowed. */
int qn_names_fd(const struct qn_names_question *question);

/* Once it is readable; false before. */
bool qn_names_take_answer(struct qn_names_question *question, struct qn_names_answer *out);

/* Answered or not. NULL is allowed. */
void qn_names_give_up(struct qn_names_question *question);

/* Tests: what answers instead of getaddrinfo, in the question's thread; NULL: getaddrinfo again. */
typedef void (*qn_names_resolver)(const char *host, int family, struct qn_names_answer *out);
void qn_names_set_resolver(qn_names_resolver resolver);

#endif
