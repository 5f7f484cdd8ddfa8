/*
 * broker_fixture.h: a child under a filter that brings its connect() before a broker, servers for it to find, and the loop
 * that an execution has.
 *
 * The child is forked from the test, makes itself unreadable as runs do, and runs one function of the test's; what it
 * CHECKs and finds wrong it prints and ends with 1. Files of broker tests include this: functions are static.
 */
#ifndef QN_TEST_BROKER_FIXTURE_H
#define QN_TEST_BROKER_FIXTURE_H

#include "processor/broker.h"
#include "processor/names.h"
#include "processor/protocol.h"

#include "base/buffer.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* In a child: what must hold. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            int check_errno_ = errno;                                                                                  \
            (void)dprintf(STDERR_FILENO, "child, line %d: not so: %s (errno %d)\n", __LINE__, #condition,              \
                          check_errno_);                                                                               \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

#define PATIENCE_MS 20000

/* What the child finds; addresses are of loopback. */
struct world {
    uint16_t open;   /* of a server that sends "hello" */
    uint16_t secret; /* of a server that must not be reached */
    uint16_t closed; /* where nobody listens */
    uint16_t full;   /* of a server that takes no further connection: a dial stays under way */
    int names;       /* in the child: its end of the names socket */
};

struct run {
    struct world world;
    int open_fd, secret_fd, closed_fd, full_fd, crowd_fds[2];
    struct qn_network_policy *policy;
    struct qn_broker *broker;
    struct qn_buffer logs; /* a line each */
    int n_hellos;          /* connections of the open server */
    pid_t pid;
    int pid_fd;
    int names_fd;  /* the broker's end, until it is the broker's */
    bool readable; /* the child is: only root, or the owner of its namespaces, may look into one that is not */
    int channel[2];
};

typedef void (*child_body)(const struct world *world);

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int listen_on_loopback(int backlog, uint16_t *port_out)
{
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    if (backlog >= 0) {
        assert_int_equal(listen(fd, backlog), 0);
    }
    *port_out = ntohs(address.sin_port);
    return fd;
}

/* Fill the queue of the server that accepts nobody: the kernel drops what comes after. */
static void crowd(struct run *run)
{
    struct sockaddr_in address = loopback(run->world.full);
    for (size_t i = 0; i < 2; i++) {
        run->crowd_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(run->crowd_fds[i], (struct sockaddr *)&address, sizeof address) != 0) {
            assert_int_equal(errno, EINPROGRESS);
        }
    }
}

static void keep_log(void *context, const char *message)
{
    struct qn_buffer *logs = context;
    qn_buffer_append_text(logs, message);
    qn_buffer_append_byte(logs, '\n');
}

/* Servers and sockets; the policy and its broker come with run_start. */
static void run_open(struct run *run)
{
    *run = (struct run){ .readable = getuid() != 0 };
    run->open_fd = listen_on_loopback(64, &run->world.open);
    run->secret_fd = listen_on_loopback(64, &run->world.secret);
    run->closed_fd = listen_on_loopback(-1, &run->world.closed); /* bound, so that nobody else gets the port */
    run->full_fd = listen_on_loopback(0, &run->world.full);
    crowd(run);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, run->channel), 0);
}

static void send_fd(int over, int fd)
{
    char byte = 0;
    struct iovec part = { .iov_base = &byte, .iov_len = 1 };
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    CHECK(sendmsg(over, &message, 0) == 1);
}

static int receive_fd(int over)
{
    char byte = 0;
    int fd = -1;
    struct iovec part = { .iov_base = &byte, .iov_len = 1 };
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room
    };
    assert_int_equal(recvmsg(over, &message, MSG_CMSG_CLOEXEC), 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    assert_non_null(header);
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

/* In the child: from here on connect() is the broker's. */
static int install_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    CHECK(listener >= 0);
    return listener;
}

static void be_child(struct run *run, int names_fd, child_body body)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_DUMPABLE, run->readable ? 1 : 0, 0, 0, 0);
    (void)close(run->open_fd);
    (void)close(run->secret_fd);
    (void)close(run->full_fd);
    run->world.names = names_fd;
    int listener = install_filter();
    send_fd(run->channel[1], listener);
    (void)close(listener);
    body(&run->world);
    _exit(0);
}

/* Fork the child; the broker is there but does not know it yet. */
static void run_fork(struct run *run, enum qn_network_mode mode, const char *const *entries, size_t n_entries,
                     child_body body)
{
    struct qn_error err = QN_ERROR_INIT;
    int names[2];
    assert_int_equal(qn_network_policy_new(mode, entries, n_entries, &run->policy, &err), QN_OK);
    assert_int_equal(qn_broker_new(run->policy, keep_log, &run->logs, &run->broker, &err), QN_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, names), 0);
    run->pid = fork();
    if (run->pid == 0) {
        (void)close(names[0]);
        be_child(run, names[1], body);
    }
    assert_true(run->pid > 0);
    (void)close(names[1]);
    run->names_fd = names[0];
    run->pid_fd = (int)syscall(SYS_pidfd_open, run->pid, 0);
    assert_true(run->pid_fd >= 0);
}

static void run_join(struct run *run)
{
    struct qn_error err = QN_ERROR_INIT;
    int listener = receive_fd(run->channel[0]);
    if (qn_broker_take_run(run->broker, listener, run->pid_fd, run->names_fd, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
}

/* With "127.0.0.1:PORT" of the given ports as the list. */
__attribute__((unused)) static void run_start(struct run *run, const uint16_t *ports, size_t n_ports, child_body body)
{
    char texts[4][32];
    const char *entries[4];
    for (size_t i = 0; i < n_ports; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "127.0.0.1:%u", (unsigned)ports[i]);
        entries[i] = texts[i];
    }
    run_fork(run, QN_NETWORK_LIST, entries, n_ports, body);
    run_join(run);
}

static void greet(struct run *run)
{
    int fd = accept4(run->open_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        run->n_hellos++;
        (void)send(fd, "hello", 5, MSG_NOSIGNAL);
        (void)close(fd);
    }
}

/* One turn of the execution's loop; true once the child has ended. */
static bool run_turn(struct run *run)
{
    struct qn_error err = QN_ERROR_INIT;
    struct pollfd entries[] = {
        { .fd = qn_broker_fd(run->broker), .events = POLLIN },
        { .fd = run->open_fd, .events = POLLIN },
        { .fd = run->pid_fd, .events = POLLIN },
    };
    int ready = poll(entries, 3, PATIENCE_MS);
    if (ready <= 0) {
        fail_msg("nothing happens any more");
    }
    if (entries[0].revents != 0 && qn_broker_handle(run->broker, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    if (entries[1].revents != 0) {
        greet(run);
    }
    return entries[2].revents != 0;
}

static void run_expect_end(struct run *run, int signal)
{
    while (!run_turn(run)) {
    }
    int status = 0;
    assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
    if (signal == 0) {
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    } else {
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signal);
    }
    run->pid = 0;
}

static bool was_reached(int server_fd)
{
    int fd = accept4(server_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        (void)close(fd);
    }
    return fd >= 0;
}

__attribute__((unused)) static void run_close(struct run *run)
{
    assert_false(was_reached(run->secret_fd));
    qn_broker_free(run->broker);
    qn_network_policy_free(run->policy);
    qn_buffer_dispose(&run->logs);
    int fds[] = { run->open_fd,      run->secret_fd,  run->closed_fd,  run->full_fd, run->crowd_fds[0],
                  run->crowd_fds[1], run->channel[0], run->channel[1], run->pid_fd };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        (void)close(fds[i]);
    }
}

/* Descriptors of this process, so that a test sees its own leaks. */
static int count_fds(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

/* ---- around each test ---- */

static int open_fds; /* before the test */

static int before(void **state)
{
    (void)state;
    open_fds = count_fds();
    return 0;
}

static int after(void **state)
{
    (void)state;
    qn_names_set_resolver(NULL);
    return count_fds() == open_fds ? 0 : -1;
}

/* ---- in the child ---- */

static int connect_to(int fd, uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

/* 0, or the errno of a connect of a new socket. */
__attribute__((unused)) static int try_port(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int error = connect_to(fd, port) == 0 ? 0 : errno;
    (void)close(fd);
    return error;
}

__attribute__((unused)) static int try_text(const char *host, uint16_t port)
{
    struct sockaddr_storage address;
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
    memset(&address, 0, sizeof address);
    bool is_ipv6 = strchr(host, ':') != NULL;
    if (is_ipv6) {
        *in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
        CHECK(inet_pton(AF_INET6, host, &in6->sin6_addr) == 1);
    } else {
        *in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
        CHECK(inet_pton(AF_INET, host, &in->sin_addr) == 1);
    }
    int fd = socket(is_ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    int error = connect(fd, (struct sockaddr *)&address, is_ipv6 ? sizeof *in6 : sizeof *in) == 0 ? 0 : errno;
    (void)close(fd);
    return error;
}

__attribute__((unused)) static void expect_hello(int fd)
{
    char bytes[8] = "";
    CHECK(recv(fd, bytes, 5, MSG_WAITALL) == 5);
    CHECK(memcmp(bytes, "hello", 5) == 0);
}

#endif
