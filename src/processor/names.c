/*
 * names.c: see names.h. A question has two owners, the asker and its thread; the count says who is left. What the thread
 * writes it writes before the eventfd, what the asker reads it reads after.
 */
#include "processor/names.h"

#include "base/memory.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STACK_SIZE ((size_t)512 << 10)

struct qn_names_question {
    atomic_int owners;
    int event_fd;
    int family;
    char host[QN_NETWORK_MAX_HOST + 2]; /* a dot at the end may be there */
    struct qn_names_answer answer;
};

static atomic_int threads_under_way;
static atomic_int counting_process; /* after a fork the other process has none of them */
static _Atomic(qn_names_resolver) test_resolver;

void qn_names_set_resolver(qn_names_resolver resolver)
{
    atomic_store(&test_resolver, resolver);
}

static void leave(struct qn_names_question *question)
{
    if (atomic_fetch_sub(&question->owners, 1) == 1) {
        (void)close(question->event_fd);
        qn_free(question);
    }
}

static bool is_known(const struct qn_names_answer *answer, const struct qn_network_address *address)
{
    for (size_t i = 0; i < answer->n_addresses; i++) {
        if (answer->addresses[i].family == address->family &&
            memcmp(answer->addresses[i].bytes, address->bytes, sizeof address->bytes) == 0) {
            return true;
        }
    }
    return false;
}

static void resolve(const char *host, int family, int flags, struct qn_names_answer *out)
{
    struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags };
    struct addrinfo *found = NULL;
    *out = (struct qn_names_answer){ .error = getaddrinfo(host, NULL, &hints, &found) };
    if (out->error != 0) {
        return;
    }
    for (const struct addrinfo *at = found; at != NULL && out->n_addresses < QN_NAME_MAX_ADDRESSES; at = at->ai_next) {
        struct qn_network_address address;
        uint16_t port = 0;
        if (qn_network_address_from(at->ai_addr, at->ai_addrlen, &address, &port) && !is_known(out, &address)) {
            out->addresses[out->n_addresses++] = address;
        }
    }
    freeaddrinfo(found);
    if (out->n_addresses == 0) {
        out->error = EAI_NONAME;
    }
}

static void *run_thread(void *context)
{
    struct qn_names_question *question = context;
    qn_names_resolver resolver = atomic_load(&test_resolver);
    if (resolver != NULL) {
        resolver(question->host, question->family, &question->answer);
    } else {
        resolve(question->host, question->family, 0, &question->answer);
    }
    atomic_fetch_sub(&threads_under_way, 1); /* whoever sees the answer finds the place free */
    uint64_t one = 1;
    while (write(question->event_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    leave(question);
    return NULL;
}

/* 0 or an errno. The thread takes no signal of the host's. */
static int start_thread(struct qn_names_question *question)
{
    pthread_attr_t attributes;
    int failure = pthread_attr_init(&attributes);
    if (failure != 0) {
        return failure;
    }
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    failure = pthread_create(&thread, &attributes, run_thread, question);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return failure;
}

bool qn_names_parse_number(const char *host, struct qn_network_address *out)
{
    struct qn_names_answer answer;
    resolve(host, AF_UNSPEC, AI_NUMERICHOST, &answer);
    if (answer.error == 0) {
        *out = answer.addresses[0];
    }
    return answer.error == 0;
}

static bool take_place(void)
{
    if (atomic_exchange(&counting_process, (int)getpid()) != (int)getpid()) {
        atomic_store(&threads_under_way, 0);
    }
    if (atomic_fetch_add(&threads_under_way, 1) < QN_NAMES_MAX_THREADS) {
        return true;
    }
    atomic_fetch_sub(&threads_under_way, 1);
    return false;
}

enum qn_status qn_names_ask(const char *host, int family, struct qn_names_question **out, struct qn_error *err)
{
    size_t size = strlen(host);
    if (size >= sizeof((struct qn_names_question *)0)->host) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a host name of %zu bytes is too long", size);
    }
    if (!take_place()) {
        return qn_error_set(err, QN_ERR_BUSY, "%d names are being resolved already", QN_NAMES_MAX_THREADS);
    }
    struct qn_names_question *question = qn_calloc(1, sizeof *question);
    int event_fd = question != NULL ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (event_fd < 0) {
        atomic_fetch_sub(&threads_under_way, 1);
        qn_free(question);
        return question == NULL ? qn__no_memory(err) : qn_error_set(err, QN_ERR_IO, "resolving a name: eventfd: %m");
    }
    atomic_init(&question->owners, 2);
    question->event_fd = event_fd;
    question->family = family;
    memcpy(question->host, host, size + 1);
    int failure = start_thread(question);
    if (failure != 0) {
        atomic_fetch_sub(&threads_under_way, 1);
        leave(question);
        leave(question);
        return qn_error_set(err, QN_ERR_NO_MEMORY, "resolving a name: no thread can be started: error %d", failure);
    }
    *out = question;
    return QN_OK;
}

int qn_names_fd(const struct qn_names_question *question)
{
    return question->event_fd;
}

bool qn_names_take_answer(struct qn_names_question *question, struct qn_names_answer *out)
{
    uint64_t count = 0;
    if (read(question->event_fd, &count, sizeof count) != (ssize_t)sizeof count) {
        return false;
    }
    *out = question->answer;
    return true;
}

void qn_names_give_up(struct qn_names_question *question)
{
    if (question != NULL) {
        leave(question);
    }
}
