/*
 * broker.c: see broker.h. The half that answers notifications of connect().
 *
 * Order for each notification: copy the address out of the run's memory once; ask whether the notification still stands
 * (else the memory may have been another process's); decide on the copy; look at the run's socket through a duplicate;
 * dial; put the dialled socket at the run's number (ADDFD); answer. The answer is never "go on": the kernel does not run
 * the run's own connect(), whatever its memory says meanwhile. What the run's other threads do to that number meanwhile
 * hurts the run alone.
 *
 * A handed-over socket is of the host's network, so the run's filter must hold back bind, listen and MSG_FASTOPEN, with
 * which it could do more than use the connection; a second connect() on it comes here like the first.
 */
#include "processor/broker_private.h"

#include "base/memory.h"
#include "os/clock.h"
#include "sandbox/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define EVENTS_AT_ONCE   32
#define NANOS_PER_SECOND 1000000000

/* What the run wants. */
struct wish {
    uint64_t id;
    int target_fd;
    struct qn_network_address address;
    uint16_t port;
};

/* ---- epoll, timer, log ---- */

bool qn_broker__watch(struct qn_broker *broker, int fd, uint32_t events, uint64_t tag)
{
    struct epoll_event event = { .events = events, .data.u64 = tag };
    return epoll_ctl(broker->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void qn_broker__unwatch(struct qn_broker *broker, int fd)
{
    if (fd >= 0) {
        (void)epoll_ctl(broker->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    }
}

/* To the earliest deadline; off where there is none. */
void qn_broker__arm_timer(struct qn_broker *broker)
{
    int64_t earliest = broker->question_deadline;
    for (int i = 0; i < QN_BROKER_MAX_PENDING; i++) {
        if (broker->dials[i].fd >= 0 && broker->dials[i].deadline < earliest) {
            earliest = broker->dials[i].deadline;
        }
    }
    struct itimerspec when = { 0 };
    if (earliest != QN_NO_DEADLINE) {
        when.it_value.tv_sec = earliest / NANOS_PER_SECOND;
        when.it_value.tv_nsec = earliest % NANOS_PER_SECOND;
    }
    (void)timerfd_settime(broker->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void qn_broker__log(struct qn_broker *broker, const char *format, ...)
{
    if (broker->log == NULL || broker->n_logs > QN_BROKER_MAX_LOGS) {
        return;
    }
    char text[512] = "further refusals of connections and names are not logged";
    if (broker->n_logs++ < QN_BROKER_MAX_LOGS) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(text, sizeof text, format, args);
        va_end(args);
    }
    broker->log(broker->log_context, text);
}

/* ---- dials that a blocking socket waits for ---- */

static void free_dial(struct qn_broker *broker, struct qn_broker_dial *dial)
{
    qn_broker__unwatch(broker, dial->fd); /* the run may hold it too: closing ours does not take it out of the epoll */
    (void)close(dial->fd);
    dial->fd = -1;
    broker->n_dials--;
    if (!broker->listening && broker->listener_fd >= 0) {
        broker->listening = qn_broker__watch(broker, broker->listener_fd, EPOLLIN, TAG_LISTENER);
    }
}

static void finish_dial(struct qn_broker *broker, struct qn_broker_dial *dial)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
    struct sockaddr_storage peer;
    socklen_t peer_size = sizeof peer;
    if (error == 0 && getpeername(dial->fd, (struct sockaddr *)&peer, &peer_size) != 0) {
        return; /* an event of the dial that had this place before */
    }
    if (error == 0) {
        int flags = fcntl(dial->fd, F_GETFL);
        (void)fcntl(dial->fd, F_SETFL, flags & ~O_NONBLOCK);
        error = qn_sandbox_call_place(broker->listener_fd, dial->id, dial->fd, dial->target_fd);
    }
    qn_sandbox_call_answer(broker->listener_fd, dial->id, error);
    free_dial(broker, dial);
    qn_broker__arm_timer(broker);
}

/* 0, or the errno for the run. `fd` is the dial's from here on where it is 0. */
static int park(struct qn_broker *broker, const struct wish *wish, int fd)
{
    for (int i = 0; i < QN_BROKER_MAX_PENDING; i++) {
        struct qn_broker_dial *dial = &broker->dials[i];
        if (dial->fd >= 0) {
            continue;
        }
        if (!qn_broker__watch(broker, fd, EPOLLOUT, (uint64_t)TAG_DIAL + (uint64_t)i)) {
            return errno;
        }
        *dial = (struct qn_broker_dial){
            .fd = fd,
            .target_fd = wish->target_fd,
            .id = wish->id,
            .deadline = qn_deadline_after_ms(broker->dial_ms),
        };
        if (++broker->n_dials == QN_BROKER_MAX_PENDING) {
            qn_broker__unwatch(broker, broker->listener_fd);
            broker->listening = false;
        }
        qn_broker__arm_timer(broker);
        return 0;
    }
    return EAGAIN;
}

/* ---- the run's socket ---- */

static int int_option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

/* Is it a socket that could connect to an address of this family: 0 or the errno that says why not. */
static int check_socket(int fd, int family)
{
    int domain = int_option(fd, SOL_SOCKET, SO_DOMAIN);
    if (domain < 0) {
        return ENOTSOCK;
    }
    if (domain != family) {
        return EAFNOSUPPORT;
    }
    if (int_option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM || int_option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP) {
        return EPROTONOSUPPORT;
    }
    struct tcp_info info = { 0 };
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        return errno;
    }
    switch (info.tcpi_state) {
    case TCP_CLOSE:
        return 0;
    case TCP_SYN_SENT:
        return EALREADY;
    default:
        return EISCONN;
    }
}

/* What a program sets before it connects, and expects to find afterwards. */
static void copy_options(int from, int to)
{
    static const struct {
        int level, name;
    } options[] = {
        { SOL_SOCKET, SO_KEEPALIVE },   { IPPROTO_TCP, TCP_NODELAY }, { IPPROTO_TCP, TCP_KEEPIDLE },
        { IPPROTO_TCP, TCP_KEEPINTVL }, { IPPROTO_TCP, TCP_KEEPCNT }, { IPPROTO_TCP, TCP_USER_TIMEOUT },
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        int value = int_option(from, options[i].level, options[i].name);
        int now = int_option(to, options[i].level, options[i].name);
        if (value >= 0 && value != now) {
            (void)setsockopt(to, options[i].level, options[i].name, &value, sizeof value);
        }
    }
    static const int times[] = { SO_RCVTIMEO, SO_SNDTIMEO };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct timeval value = { 0 };
        socklen_t size = sizeof value;
        if (getsockopt(from, SOL_SOCKET, times[i], &value, &size) == 0 && (value.tv_sec != 0 || value.tv_usec != 0)) {
            (void)setsockopt(to, SOL_SOCKET, times[i], &value, sizeof value);
        }
    }
}

/* ---- connect ---- */

static socklen_t socket_address(const struct qn_network_address *address, uint16_t port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (address->family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, address->bytes, sizeof in->sin_addr);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, address->bytes, sizeof in6->sin6_addr);
    return sizeof *in6;
}

/* Does the address belong to this machine? The kernel would take it as the source too; a UDP socket asks without a
 * packet. Where it cannot be asked the answer is yes. */
static bool is_own(const struct qn_network_address *address)
{
    struct sockaddr_storage to;
    struct sockaddr_storage source;
    socklen_t size = socket_address(address, 9, &to);
    socklen_t source_size = sizeof source;
    int fd = socket(address->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return true;
    }
    struct qn_network_address found;
    uint16_t port = 0;
    bool own = connect(fd, (struct sockaddr *)&to, size) == 0 &&
               getsockname(fd, (struct sockaddr *)&source, &source_size) == 0 &&
               qn_network_address_from((struct sockaddr *)&source, source_size, &found, &port) &&
               found.family == address->family && memcmp(found.bytes, address->bytes, sizeof found.bytes) == 0;
    (void)close(fd);
    return own;
}

enum qn_address_class qn_broker__class(const struct qn_network_address *address)
{
    enum qn_address_class class = qn_network_classify(address);
    bool may_be_own = class == QN_ADDRESS_PUBLIC || class == QN_ADDRESS_PRIVATE;
    return may_be_own && is_own(address) ? QN_ADDRESS_LOOPBACK : class;
}

static bool is_allowed(struct qn_broker *broker, const struct wish *wish)
{
    enum qn_address_class class = qn_broker__class(&wish->address);
    if (qn_network_allows_address(broker->policy, &wish->address, class, wish->port) ||
        qn_broker__was_resolved(broker, &wish->address, class, wish->port)) {
        return true;
    }
    char text[QN_NETWORK_TEXT];
    qn_network_address_text(&wish->address, wish->port, text);
    if (qn_network_policy_mode(broker->policy) == QN_NETWORK_PUBLIC) {
        qn_broker__log(broker, "connection to %s is not allowed: %s", text, qn_address_class_name(class));
    } else {
        qn_broker__log(broker, "connection to %s is not allowed: not in the list of this processor's network", text);
    }
    return false;
}

/* The engine's own limit is not the run's to understand as its own. */
static int translate_shortage(struct qn_broker *broker, int error)
{
    if (error != EMFILE) {
        return error;
    }
    qn_broker__log(broker, "a connection was not made: the engine has no descriptor left");
    return ENFILE;
}

/* Dial and hand over, or park; 0 where the answer is given or will be, else the errno for the run. */
static int dial(struct qn_broker *broker, const struct wish *wish, int theirs)
{
    struct sockaddr_storage to;
    socklen_t size = socket_address(&wish->address, wish->port, &to);
    int fd = socket(wish->address.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (fd < 0) {
        return translate_shortage(broker, errno);
    }
    copy_options(theirs, fd);
    bool blocks = (fcntl(theirs, F_GETFL) & O_NONBLOCK) == 0;
    int error = connect(fd, (struct sockaddr *)&to, size) == 0 ? 0 : errno;
    if (blocks && error == EINPROGRESS) {
        error = park(broker, wish, fd);
        if (error != 0) {
            (void)close(fd);
        }
        return error;
    }
    if (error == 0 || error == EINPROGRESS) {
        if (blocks) {
            (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        }
        int failure = qn_sandbox_call_place(broker->listener_fd, wish->id, fd, wish->target_fd);
        error = failure != 0 ? failure : error;
    }
    (void)close(fd);
    if (error == 0) {
        qn_sandbox_call_answer(broker->listener_fd, wish->id, 0);
    }
    return error;
}

/* The address as the run's memory has it now; 0 or the errno for the run. */
static int read_wish(struct qn_broker *broker, const struct qn_sandbox_call *call, struct wish *out)
{
    struct sockaddr_storage copy;
    memset(&copy, 0, sizeof copy);
    *out = (struct wish){ .id = call->id, .target_fd = (int)call->arguments[0] };
    int size = (int)call->arguments[2];
    if (size < 0 || (size_t)size > sizeof copy) {
        return EINVAL;
    }
    struct iovec here = { .iov_base = &copy, .iov_len = (size_t)size };
    struct iovec there = { .iov_base = (void *)(uintptr_t)call->arguments[1], .iov_len = (size_t)size };
    if (size > 0 && process_vm_readv(call->pid, &here, 1, &there, 1, 0) != size) {
        return EFAULT;
    }
    if (!qn_sandbox_call_stands(broker->listener_fd, call->id)) {
        return ENOENT;
    }
    if ((size_t)size < sizeof copy.ss_family) {
        return EINVAL;
    }
    if (copy.ss_family == AF_UNIX) {
        qn_broker__log(broker, "connection to a Unix socket is not allowed");
        return EACCES;
    }
    if (copy.ss_family != AF_INET && copy.ss_family != AF_INET6) {
        return EAFNOSUPPORT;
    }
    bool whole = qn_network_address_from((struct sockaddr *)&copy, (size_t)size, &out->address, &out->port);
    return whole ? 0 : EINVAL;
}

/* 0 where the answer is given or will be, else the errno for the run. */
static int serve(struct qn_broker *broker, const struct qn_sandbox_call *call)
{
    if (call->number != SYS_connect || call->pid == 0) { /* other architectures' calls are not let this far */
        return EPERM;
    }
    struct wish wish;
    int error = read_wish(broker, call, &wish);
    if (error != 0) {
        return error;
    }
    if (!is_allowed(broker, &wish)) {
        return EACCES;
    }
    if (++broker->n_connections > QN_BROKER_MAX_CONNECTIONS) {
        qn_broker__log(broker, "more than %d connections are not allowed", QN_BROKER_MAX_CONNECTIONS);
        return EACCES;
    }
    int theirs = (int)syscall(SYS_pidfd_getfd, broker->pid_fd, wish.target_fd, 0);
    if (theirs < 0) {
        return translate_shortage(broker, errno);
    }
    error = check_socket(theirs, wish.address.family);
    if (error == 0) {
        error = dial(broker, &wish, theirs);
    }
    (void)close(theirs);
    return error;
}

/* The run is gone: nobody waits for its dials any more. */
static void close_listener(struct qn_broker *broker)
{
    qn_broker__unwatch(broker, broker->listener_fd);
    (void)close(broker->listener_fd);
    broker->listener_fd = -1;
    broker->listening = false;
    for (int i = 0; i < QN_BROKER_MAX_PENDING; i++) {
        if (broker->dials[i].fd >= 0) {
            free_dial(broker, &broker->dials[i]);
        }
    }
    qn_broker__arm_timer(broker);
}

/* There is one to take, or there was: then the kernel says ENOENT and does not wait. */
static enum qn_status listener_ready(struct qn_broker *broker, uint32_t events, struct qn_error *err)
{
    if (broker->listener_fd < 0 || !broker->listening) {
        return QN_OK;
    }
    if ((events & EPOLLIN) == 0) {
        close_listener(broker);
        return QN_OK;
    }
    struct qn_sandbox_call call;
    bool taken = false;
    enum qn_status status = qn_sandbox_call_take(broker->listener_fd, &call, &taken, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "network broker");
        return status;
    }
    int error = taken ? serve(broker, &call) : 0;
    if (error != 0) {
        qn_sandbox_call_answer(broker->listener_fd, call.id, error);
    }
    return QN_OK;
}

static void timer_ready(struct qn_broker *broker)
{
    uint64_t count = 0;
    if (read(broker->timer_fd, &count, sizeof count) < 0) {
        return; /* armed anew since */
    }
    int64_t now = qn_clock_nanos();
    for (int i = 0; i < QN_BROKER_MAX_PENDING; i++) {
        struct qn_broker_dial *late = &broker->dials[i];
        if (late->fd >= 0 && late->deadline <= now) {
            qn_sandbox_call_answer(broker->listener_fd, late->id, ETIMEDOUT);
            free_dial(broker, late);
        }
    }
    if (broker->question != NULL && broker->question_deadline <= now) {
        qn_broker__question_late(broker);
    }
    qn_broker__arm_timer(broker);
}

/* ---- life ---- */

enum qn_status qn_broker_new(const struct qn_network_policy *policy, qn_broker_log log, void *context,
                             struct qn_broker **out, struct qn_error *err)
{
    enum qn_status usable = qn_sandbox_calls_check(err);
    if (usable != QN_OK) {
        qn_error_prefix(err, "network");
        return usable;
    }
    struct qn_broker *broker = qn_calloc(1, sizeof *broker);
    if (broker == NULL) {
        return qn__no_memory(err);
    }
    broker->policy = policy;
    broker->log = log;
    broker->log_context = context;
    broker->listener_fd = broker->names_fd = broker->pid_fd = -1;
    broker->question_deadline = QN_NO_DEADLINE;
    qn_broker_set_times(broker, QN_BROKER_DIAL_MS, QN_BROKER_NAME_MS);
    for (int i = 0; i < QN_BROKER_MAX_PENDING; i++) {
        broker->dials[i].fd = -1;
    }
    broker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    broker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (broker->epoll_fd < 0 || broker->timer_fd < 0 ||
        !qn_broker__watch(broker, broker->timer_fd, EPOLLIN, TAG_TIMER)) {
        enum qn_status status = qn_error_set(err, QN_ERR_IO, "network broker: %m");
        qn_broker_free(broker);
        return status;
    }
    *out = broker;
    return QN_OK;
}

void qn_broker_set_times(struct qn_broker *broker, int64_t dial_ms, int64_t name_ms)
{
    broker->dial_ms = dial_ms;
    broker->name_ms = name_ms;
}

/* The pid as this process sees it, which the kernel tells of a pidfd. */
static pid_t pid_of(int pid_fd)
{
    char path[64];
    char line[128];
    long pid = -1;
    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pid_fd);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return -1;
    }
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Pid: %ld", &pid) != 1) {
    }
    (void)fclose(file);
    return (pid_t)pid;
}

/* Both of what each connection will need; an address that is not mapped tells permission from the rest. */
static enum qn_status check_access(int pid_fd, struct qn_error *err)
{
    char byte = 0;
    struct iovec here = { .iov_base = &byte, .iov_len = 1 };
    struct iovec there = { .iov_base = NULL, .iov_len = 1 };
    const char *what = "its memory may not be read";
    bool denied = process_vm_readv(pid_of(pid_fd), &here, 1, &there, 1, 0) < 0 && errno != EFAULT && errno != ESRCH;
    if (!denied) {
        what = "its descriptors may not be duplicated";
        int fd = (int)syscall(SYS_pidfd_getfd, pid_fd, 0, 0);
        denied = fd < 0 && errno != EBADF && errno != ESRCH;
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    if (!denied) {
        return QN_OK;
    }
    (void)qn_error_set(err, QN_ERR_UNSUPPORTED, "network: the run cannot be given one, %s: %m", what);
    qn_error_hint(err, "run this process as an ordinary user, or give it CAP_SYS_PTRACE");
    return QN_ERR_UNSUPPORTED;
}

enum qn_status qn_broker_take_run(struct qn_broker *broker, int listener_fd, int pid_fd, int names_fd,
                                  struct qn_error *err)
{
    broker->listener_fd = listener_fd;
    broker->names_fd = names_fd;
    broker->pid_fd = fcntl(pid_fd, F_DUPFD_CLOEXEC, 0);
    if (broker->pid_fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "network broker: the run's pidfd: %m");
    }
    QN_TRY(check_access(broker->pid_fd, err));
    broker->listening = qn_broker__watch(broker, listener_fd, EPOLLIN, TAG_LISTENER);
    if (!broker->listening || (names_fd >= 0 && !qn_broker__watch(broker, names_fd, EPOLLIN, TAG_NAMES))) {
        return qn_error_set(err, QN_ERR_IO, "network broker: watching the run: %m");
    }
    return QN_OK;
}

int qn_broker_fd(const struct qn_broker *broker)
{
    return broker->epoll_fd;
}

enum qn_status qn_broker_handle(struct qn_broker *broker, struct qn_error *err)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(broker->epoll_fd, events, EVENTS_AT_ONCE, 0);
    for (int i = 0; i < count; i++) {
        uint64_t tag = events[i].data.u64;
        if (tag == TAG_LISTENER) {
            QN_TRY(listener_ready(broker, events[i].events, err));
        } else if (tag == TAG_NAMES) {
            qn_broker__names_ready(broker);
        } else if (tag == TAG_ANSWER) {
            qn_broker__answer_ready(broker);
        } else if (tag == TAG_TIMER) {
            timer_ready(broker);
        } else if (broker->dials[tag - TAG_DIAL].fd >= 0) {
            finish_dial(broker, &broker->dials[tag - TAG_DIAL]);
        }
    }
    return QN_OK;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

void qn_broker_free(struct qn_broker *broker)
{
    if (broker == NULL) {
        return;
    }
    for (int i = 0; i < QN_BROKER_MAX_PENDING; i++) {
        close_fd(broker->dials[i].fd);
    }
    qn_names_give_up(broker->question);
    close_fd(broker->listener_fd);
    close_fd(broker->names_fd);
    close_fd(broker->pid_fd);
    close_fd(broker->timer_fd);
    close_fd(broker->epoll_fd);
    qn_free(broker->addresses);
    qn_free(broker);
}
