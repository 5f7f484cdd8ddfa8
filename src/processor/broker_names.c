/*
 * broker_names.c: the broker's half that answers a run's questions for names (protocol.h, "names").
 *
 * A run that breaks the protocol loses its names socket, nothing else. One question is under way at a time. What was
 * answered is remembered where the policy is a list: a connection to a listed name may go only to an address that this
 * engine got for that name. Threads: that of the execution.
 */
#include "processor/broker_private.h"

#include "base/memory.h"
#include "os/clock.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void close_names(struct qn_broker *broker)
{
    if (broker->names_fd >= 0) {
        (void)close(broker->names_fd);
        broker->names_fd = -1;
    }
}

/* An answer that the run does not take is lost: it has asked more than it has read. */
static void send_answer(struct qn_broker *broker, const struct qn_name_answer *answer)
{
    if (send(broker->names_fd, answer, sizeof *answer, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
        close_names(broker);
    }
}

static void send_error(struct qn_broker *broker, int error, const char *text)
{
    struct qn_name_answer answer = { .error = error };
    QN_ERROR_COPY(answer.text, text, strlen(text));
    send_answer(broker, &answer);
}

static void refuse(struct qn_broker *broker, const char *text)
{
    qn_broker__log(broker, "%s", text);
    send_error(broker, EAI_FAIL, text);
}

static void add_address(struct qn_name_answer *answer, const struct qn_network_address *address)
{
    struct qn_name_address *out = &answer->addresses[answer->n_addresses++];
    out->family = (uint32_t)address->family;
    memcpy(out->bytes, address->bytes, sizeof out->bytes);
}

/* ---- what was answered ---- */

static bool same_address(const struct qn_network_address *a, const struct qn_network_address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* False where there is no memory: the answer is not given then. */
static bool remember(struct qn_broker *broker, const char *name, const struct qn_network_address *address)
{
    for (size_t i = 0; i < broker->n_addresses; i++) {
        if (same_address(&broker->addresses[i].address, address) && strcmp(broker->addresses[i].name, name) == 0) {
            return true;
        }
    }
    if (broker->n_addresses == broker->address_capacity && broker->address_capacity < QN_BROKER_MAX_ADDRESSES) {
        size_t capacity = broker->address_capacity == 0 ? 16 : broker->address_capacity * 2;
        void *grown = qn_realloc_array(broker->addresses, capacity, sizeof *broker->addresses);
        if (grown == NULL) {
            return false;
        }
        broker->addresses = grown;
        broker->address_capacity = capacity;
        broker->next_address = broker->n_addresses;
    }
    struct qn_broker_address *place = &broker->addresses[broker->next_address];
    QN_ERROR_COPY(place->name, name, sizeof place->name);
    place->address = *address;
    broker->next_address = (broker->next_address + 1) % broker->address_capacity;
    if (broker->n_addresses < broker->address_capacity) {
        broker->n_addresses++;
    }
    return true;
}

bool qn_broker__was_resolved(const struct qn_broker *broker, const struct qn_network_address *address,
                             enum qn_address_class class, uint16_t port)
{
    for (size_t i = 0; i < broker->n_addresses; i++) {
        if (same_address(&broker->addresses[i].address, address) &&
            qn_network_allows_resolved(broker->policy, broker->addresses[i].name, address, class, port)) {
            return true;
        }
    }
    return false;
}

/* ---- answers ---- */

static void answer_with(struct qn_broker *broker, const struct qn_names_answer *found)
{
    const char *host = broker->question_host;
    struct qn_name_answer answer = { 0 };
    char refused[QN_NETWORK_TEXT] = "";
    enum qn_address_class refused_class = QN_ADDRESS_PUBLIC;
    for (size_t i = 0; i < found->n_addresses; i++) {
        const struct qn_network_address *address = &found->addresses[i];
        enum qn_address_class class = qn_broker__class(address);
        if (!qn_network_allows_answer(broker->policy, host, class)) {
            refused_class = class;
            qn_network_host_text(address, refused);
        } else if (qn_network_policy_mode(broker->policy) != QN_NETWORK_LIST || remember(broker, host, address)) {
            add_address(&answer, address);
        }
    }
    if (answer.n_addresses > 0) {
        send_answer(broker, &answer);
    } else if (refused[0] != '\0') {
        char text[sizeof answer.text];
        (void)snprintf(text, sizeof text, "host \"%.100s\" stands for %s, %s: not allowed", host, refused,
                       qn_address_class_name(refused_class));
        refuse(broker, text);
    } else {
        send_error(broker, EAI_MEMORY, gai_strerror(EAI_MEMORY));
    }
}

/* The question is over: give up the thread, listen to the run again. */
static void end_question(struct qn_broker *broker)
{
    qn_broker__unwatch(broker, qn_names_fd(broker->question));
    qn_names_give_up(broker->question);
    broker->question = NULL;
    broker->question_deadline = QN_NO_DEADLINE;
    qn_broker__arm_timer(broker);
    if (broker->names_fd >= 0 && !qn_broker__watch(broker, broker->names_fd, EPOLLIN, TAG_NAMES)) {
        close_names(broker);
    }
}

void qn_broker__answer_ready(struct qn_broker *broker)
{
    struct qn_names_answer found;
    if (broker->question == NULL || !qn_names_take_answer(broker->question, &found)) {
        return;
    }
    if (found.error != 0) {
        send_error(broker, found.error, gai_strerror(found.error));
    } else {
        answer_with(broker, &found);
    }
    end_question(broker);
}

void qn_broker__question_late(struct qn_broker *broker)
{
    char text[sizeof((struct qn_name_answer *)0)->text];
    (void)snprintf(text, sizeof text, "host \"%.100s\": no answer in time", broker->question_host);
    send_error(broker, EAI_AGAIN, text);
    end_question(broker);
}

/* ---- questions ---- */

static void ask(struct qn_broker *broker, const struct qn_name_question *question)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_names_question *asked = NULL;
    if (qn_names_ask(question->host, (int)question->family, &asked, &err) != QN_OK) {
        send_error(broker, EAI_AGAIN, err.message);
        return;
    }
    if (!qn_broker__watch(broker, qn_names_fd(asked), EPOLLIN, TAG_ANSWER)) {
        qn_names_give_up(asked);
        send_error(broker, EAI_SYSTEM, "the engine is out of descriptors");
        return;
    }
    qn_broker__unwatch(broker, broker->names_fd);
    broker->question = asked;
    broker->question_deadline = qn_deadline_after_ms(broker->name_ms);
    QN_ERROR_COPY(broker->question_host, question->host, sizeof question->host);
    qn_broker__arm_timer(broker);
}

static void take_question(struct qn_broker *broker, const struct qn_name_question *question)
{
    struct qn_network_address number;
    char text[sizeof((struct qn_name_answer *)0)->text];
    if (++broker->n_questions > QN_BROKER_MAX_NAMES) {
        (void)snprintf(text, sizeof text, "more than %d names were asked for", QN_BROKER_MAX_NAMES);
        refuse(broker, text);
    } else if (qn_names_parse_number(question->host, &number)) {
        struct qn_name_answer answer = { 0 };
        if (question->family == AF_UNSPEC || (int)question->family == number.family) {
            add_address(&answer, &number); /* whether it may be connected to is decided when it is */
            send_answer(broker, &answer);
        } else {
            send_error(broker, EAI_ADDRFAMILY, gai_strerror(EAI_ADDRFAMILY));
        }
    } else if (!qn_network_name_is_proper(question->host)) {
        send_error(broker, EAI_NONAME, "not the name of a host");
    } else if (!qn_network_allows_name(broker->policy, question->host)) {
        (void)snprintf(text, sizeof text, "host \"%.100s\" is not in the list of this processor's network: not allowed",
                       question->host);
        refuse(broker, text);
    } else {
        ask(broker, question);
    }
}

void qn_broker__names_ready(struct qn_broker *broker)
{
    if (broker->names_fd < 0 || broker->question != NULL) {
        return;
    }
    struct {
        struct qn_name_question question;
        char more;
    } taken;
    ssize_t size = recv(broker->names_fd, &taken, sizeof taken, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    const struct qn_name_question *question = &taken.question;
    if (size != (ssize_t)sizeof *question || memchr(question->host, '\0', sizeof question->host) == NULL ||
        (question->family != AF_UNSPEC && question->family != AF_INET && question->family != AF_INET6)) {
        close_names(broker); /* its end, or not our protocol */
        return;
    }
    take_question(broker, question);
}
