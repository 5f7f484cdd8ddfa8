/*
 * test_broker.c: connections of a child under a notifying filter: which are dialled, which refused, and what a child that
 * means harm gets out of it.
 */
#include "broker_fixture.h"

#include "base/fault.h"

#include <net/if.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>

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

static int connect_to(int fd, uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

/* 0, or the errno of a connect of a new socket. */
static int try_port(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int error = connect_to(fd, port) == 0 ? 0 : errno;
    (void)close(fd);
    return error;
}

static int try_text(const char *host, uint16_t port)
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

static void expect_hello(int fd)
{
    char bytes[8] = "";
    CHECK(recv(fd, bytes, 5, MSG_WAITALL) == 5);
    CHECK(memcmp(bytes, "hello", 5) == 0);
}

/* ---- allowed ---- */

static void connect_blocking(const struct world *world)
{
    int one = 1;
    int idle = 77;
    struct timeval patience = { .tv_sec = 9 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) == 0);
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(connect_to(fd, world->open) == 0);
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    CHECK(getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && ntohs(peer.sin_port) == world->open);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    int value = 0;
    size = sizeof value;
    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0 && value != 0);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &size) == 0 && value != 0);
    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, &size) == 0 && value == 77);
    struct timeval kept = { 0 };
    size = sizeof kept;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kept, &size) == 0 && kept.tv_sec == 9);
    expect_hello(fd);
    CHECK(connect_to(fd, world->open) == -1 && errno == EISCONN);
    CHECK(try_port(world->closed) == ECONNREFUSED);
}

/* trace: B7 */
static void broker__a_listed_address_is_dialled_for_a_blocking_socket(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    uint16_t ports[] = { run.world.open, run.world.closed };
    run_start(&run, ports, 2, connect_blocking);
    run_expect_end(&run, 0);
    assert_int_equal(run.n_hellos, 1);
    assert_string_equal(qn_buffer_text(&run.logs), "");
    run_close(&run);
}

static void connect_non_blocking(const struct world *world)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(connect_to(fd, world->open) == 0 || errno == EINPROGRESS);
    struct pollfd entry = { .fd = fd, .events = POLLOUT };
    CHECK(poll(&entry, 1, PATIENCE_MS) == 1);
    int error = -1;
    socklen_t size = sizeof error;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    entry.events = POLLIN;
    CHECK(poll(&entry, 1, PATIENCE_MS) == 1);
    expect_hello(fd);

    int slow = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(connect_to(slow, world->full) == -1 && errno == EINPROGRESS);
    CHECK(connect_to(slow, world->full) == -1 && errno == EALREADY);

    int nobody = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(connect_to(nobody, world->closed) == -1);
    if (errno == EINPROGRESS) {
        entry = (struct pollfd){ .fd = nobody, .events = POLLOUT };
        CHECK(poll(&entry, 1, PATIENCE_MS) == 1);
        CHECK(getsockopt(nobody, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == ECONNREFUSED);
    } else {
        CHECK(errno == ECONNREFUSED);
    }
}

static void broker__a_non_blocking_socket_is_handed_over_while_it_connects(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    uint16_t ports[] = { run.world.open, run.world.closed, run.world.full };
    run_start(&run, ports, 3, connect_non_blocking);
    run_expect_end(&run, 0);
    assert_int_equal(run.n_hellos, 1);
    run_close(&run);
}

#define THREADS 8

static void *connect_in_thread(void *context)
{
    const struct world *world = context;
    for (int i = 0; i < 20; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(connect_to(fd, world->open) == 0);
        expect_hello(fd);
        (void)close(fd);
    }
    return NULL;
}

static void connect_in_threads(const struct world *world)
{
    pthread_t threads[THREADS];
    struct world copy = *world;
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, connect_in_thread, &copy) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static void broker__threads_of_a_run_connect_at_once(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.open, 1, connect_in_threads);
    run_expect_end(&run, 0);
    assert_int_equal(run.n_hellos, THREADS * 20);
    run_close(&run);
}

/* ---- refused ---- */

static void connect_elsewhere(const struct world *world)
{
    CHECK(try_port(world->secret) == EACCES);
    CHECK(try_text("127.0.0.2", world->open) == EACCES);
    CHECK(try_text("0.0.0.0", world->open) == EACCES);
    CHECK(try_text("::1", world->open) == EACCES);
    CHECK(try_text("::", world->open) == EACCES);
    CHECK(try_text("::ffff:127.0.0.1", world->open) == EACCES);
    CHECK(try_text("::ffff:127.0.0.1", world->secret) == EACCES);
    CHECK(try_text("::127.0.0.1", world->secret) == EACCES);
    CHECK(try_text("169.254.169.254", 80) == EACCES);
    CHECK(try_text("8.8.8.8", 53) == EACCES);
    CHECK(try_port(0) == EACCES);
}

/* trace: B7 */
static void broker__what_is_not_listed_is_refused_and_logged(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.open, 1, connect_elsewhere);
    run_expect_end(&run, 0);
    assert_int_equal(run.n_hellos, 0);
    assert_non_null(strstr(qn_buffer_text(&run.logs),
                           "connection to 169.254.169.254:80 is not allowed: not in the list of "
                           "this processor's network\n"));
    assert_non_null(strstr(qn_buffer_text(&run.logs), "connection to [::ffff:127.0.0.1]:"));
    run_close(&run);
}

static void connect_within(const struct world *world)
{
    CHECK(try_port(world->open) == EACCES);
    CHECK(try_text("127.9.9.9", world->secret) == EACCES);
    CHECK(try_text("::1", 80) == EACCES);
    CHECK(try_text("10.0.0.1", 80) == EACCES);
    CHECK(try_text("192.168.1.1", 80) == EACCES);
    CHECK(try_text("100.64.0.1", 80) == EACCES);
    CHECK(try_text("169.254.169.254", 80) == EACCES);
    CHECK(try_text("fd00:ec2::254", 80) == EACCES);
    CHECK(try_text("fe80::1", 80) == EACCES);
    CHECK(try_text("::ffff:8.8.8.8", 80) == EACCES);
    CHECK(try_text("64:ff9b::7f00:1", 80) == EACCES);
    CHECK(try_text("2002:7f00:1::", 80) == EACCES);
    CHECK(try_text("224.0.0.1", 80) == EACCES);
    CHECK(try_text("255.255.255.255", 80) == EACCES);
}

/* trace: B7 */
static void broker__public_is_not_this_machine_nor_its_neighbours(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_fork(&run, QN_NETWORK_PUBLIC, NULL, 0, connect_within);
    run_join(&run);
    run_expect_end(&run, 0);
    const char *logs = qn_buffer_text(&run.logs);
    assert_non_null(
        strstr(logs, "connection to 169.254.169.254:80 is not allowed: an address where clouds keep secrets\n"));
    assert_non_null(strstr(logs, "connection to 10.0.0.1:80 is not allowed: a private address\n"));
    assert_non_null(strstr(logs, "connection to [64:ff9b::7f00:1]:80 is not allowed: an address behind a relay\n"));
    assert_int_equal(run.n_hellos, 0);
    run_close(&run);
}

static void connect_wrongly(const struct world *world)
{
    struct sockaddr_un local = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
    struct sockaddr_in address = loopback(world->open);
    struct sockaddr none = { .sa_family = AF_UNSPEC };
    int unix_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(unix_fd, (struct sockaddr *)&local, sizeof local) == -1 && errno == EACCES);
    CHECK(connect(unix_fd, (struct sockaddr *)&address, sizeof address) == -1 && errno == EAFNOSUPPORT);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(connect_to(udp, world->open) == -1 && errno == EPROTONOSUPPORT);
    int ipv6 = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(connect_to(ipv6, world->open) == -1 && errno == EAFNOSUPPORT);
    CHECK(connect_to(STDERR_FILENO, world->open) == -1 && errno == ENOTSOCK);
    CHECK(connect_to(999, world->open) == -1 && errno == EBADF);
    CHECK(connect_to(-1, world->open) == -1 && errno == EBADF);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, &none, sizeof none) == -1 && errno == EAFNOSUPPORT);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0); /* and that one works */
    expect_hello(fd);
}

static void broker__only_tcp_over_ip_is_dialled(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.open, 1, connect_wrongly);
    run_expect_end(&run, 0);
    assert_string_equal(qn_buffer_text(&run.logs), "connection to a Unix socket is not allowed\n");
    run_close(&run);
}

static long connect_raw(int fd, const void *address, unsigned long size)
{
    return syscall(SYS_connect, fd, address, size);
}

static void connect_with_bad_pointers(const struct world *world)
{
    struct sockaddr_in address = loopback(world->open);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char large[256] = { 0 };
    memcpy(large, &address, sizeof address);
    CHECK(connect_raw(fd, NULL, sizeof address) == -1 && errno == EFAULT);
    CHECK(connect_raw(fd, (void *)(uintptr_t)0xffffffffffff0000, sizeof address) == -1 && errno == EFAULT);
    for (size_t size = 0; size < sizeof address; size++) {
        CHECK(connect_raw(fd, &address, size) == -1 && errno == EINVAL);
    }
    CHECK(connect_raw(fd, large, 129) == -1 && errno == EINVAL);
    CHECK(connect_raw(fd, large, 1UL << 20) == -1 && errno == EINVAL);
    CHECK(connect_raw(fd, large, 0xffffffff) == -1 && errno == EINVAL);
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
    memcpy(pages + 4096 - 8, &address, 8);
    CHECK(connect_raw(fd, pages + 4096 - 8, sizeof address) == -1 && errno == EFAULT); /* half of it is there */
    memcpy(pages + 4096 - sizeof address, &address, sizeof address);
    CHECK(connect_raw(fd, pages + 4096 - sizeof address, sizeof address) == 0);
    expect_hello(fd);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect_raw(other, large, 128) == 0); /* longer than it has to be, as the kernel allows */
    expect_hello(other);
}

static void broker__bad_pointers_and_lengths_are_errors_of_the_run(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.open, 1, connect_with_bad_pointers);
    run_expect_end(&run, 0);
    assert_int_equal(run.n_hellos, 2);
    run_close(&run);
}

/* ---- harm ---- */

struct flip {
    struct sockaddr_in address;
    uint16_t ports[2];
    atomic_bool stop;
};

static void *flip_port(void *context)
{
    struct flip *flip = context;
    uint16_t *port = &flip->address.sin_port;
    while (!atomic_load_explicit(&flip->stop, memory_order_relaxed)) {
        __atomic_store_n(port, htons(flip->ports[0]), __ATOMIC_RELAXED);
        __atomic_store_n(port, htons(flip->ports[1]), __ATOMIC_RELAXED);
    }
    return NULL;
}

#define FLIPS 3000

static void connect_while_it_changes(const struct world *world)
{
    struct flip flip = { .address = loopback(world->open), .ports = { world->open, world->secret } };
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, flip_port, &flip) == 0);
    int allowed = 0;
    for (int i = 0; i < FLIPS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&flip.address, sizeof flip.address) == 0) {
            struct sockaddr_in peer;
            socklen_t size = sizeof peer;
            CHECK(getpeername(fd, (struct sockaddr *)&peer, &size) == 0);
            CHECK(ntohs(peer.sin_port) == world->open);
            allowed++;
        } else {
            CHECK(errno == EACCES);
        }
        (void)close(fd);
    }
    atomic_store_explicit(&flip.stop, true, memory_order_relaxed);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(allowed > 0 && allowed < FLIPS);
}

/* The address is read once: what is dialled is what was judged. trace: B7 */
static void broker__an_address_that_changes_meanwhile_gains_nothing(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.open, 1, connect_while_it_changes);
    run_expect_end(&run, 0);
    run_close(&run); /* asserts that the other server was not reached */
}

static void connect_and_wait(const struct world *world)
{
    (void)try_port(world->full);
    _exit(1);
}

static void *connect_and_wait_in_thread(void *context)
{
    (void)try_port(*(uint16_t *)context);
    return NULL;
}

static void connect_many_and_die(const struct world *world)
{
    uint16_t port = world->full;
    pthread_t thread;
    for (int i = 0; i < QN_BROKER_MAX_PENDING - 1; i++) {
        CHECK(pthread_create(&thread, NULL, connect_and_wait_in_thread, &port) == 0);
    }
    struct sockaddr_in address = loopback(world->open);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0); /* all before it were taken or will be */
    (void)kill(getpid(), SIGKILL);
}

static void broker__a_run_that_dies_while_it_connects_leaves_nothing(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    uint16_t ports[] = { run.world.full, run.world.open };
    run_start(&run, ports, 2, connect_many_and_die);
    run_expect_end(&run, SIGKILL);
    struct qn_error err = QN_ERROR_INIT;
    struct pollfd entry = { .fd = qn_broker_fd(run.broker), .events = POLLIN };
    while (poll(&entry, 1, 0) == 1) { /* the listener's end, then nothing more to do */
        assert_int_equal(qn_broker_handle(run.broker, &err), QN_OK);
    }
    run_close(&run);
}

static void broker__freed_in_the_middle_of_a_dial(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.full, 1, connect_and_wait);
    assert_false(run_turn(&run)); /* the notification is taken: the dial is under way */
    qn_broker_free(run.broker);
    run.broker = NULL;
    assert_int_equal(kill(run.pid, SIGKILL), 0);
    assert_int_equal(waitpid(run.pid, NULL, 0), run.pid);
    run_close(&run);
}

static void *expect_timeout(void *context)
{
    CHECK(try_port(*(uint16_t *)context) == ETIMEDOUT);
    return NULL;
}

#define CROWD (QN_BROKER_MAX_PENDING + 10)

static void connect_more_than_fit(const struct world *world)
{
    pthread_t threads[CROWD];
    uint16_t port = world->full;
    for (int i = 0; i < CROWD; i++) {
        CHECK(pthread_create(&threads[i], NULL, expect_timeout, &port) == 0);
    }
    for (int i = 0; i < CROWD; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static void broker__dials_have_a_deadline_and_those_beyond_the_bound_wait(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    char entry[32];
    const char *entries[] = { entry };
    (void)snprintf(entry, sizeof entry, "127.0.0.1:%u", (unsigned)run.world.full);
    run_fork(&run, QN_NETWORK_LIST, entries, 1, connect_more_than_fit);
    qn_broker_set_times(run.broker, 100, 100);
    run_join(&run);
    run_expect_end(&run, 0);
    run_close(&run);
}

static void connect_refused_often(const struct world *world)
{
    for (int i = 0; i < QN_BROKER_MAX_LOGS * 3; i++) {
        CHECK(try_port(world->secret) == EACCES);
    }
}

static void broker__refusals_do_not_flood_the_log(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.open, 1, connect_refused_often);
    run_expect_end(&run, 0);
    int lines = 0;
    for (const char *at = qn_buffer_text(&run.logs); (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, QN_BROKER_MAX_LOGS + 1);
    assert_non_null(strstr(qn_buffer_text(&run.logs), "further refusals of connections and names are not logged\n"));
    run_close(&run);
}

static void connect_too_often(const struct world *world)
{
    for (int i = 0; i < QN_BROKER_MAX_CONNECTIONS; i++) {
        CHECK(try_port(world->closed) == ECONNREFUSED);
    }
    CHECK(try_port(world->closed) == EACCES);
}

static void broker__connections_of_a_run_are_counted(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.closed, 1, connect_too_often);
    run_expect_end(&run, 0);
    assert_string_equal(qn_buffer_text(&run.logs), "more than 10000 connections are not allowed\n");
    run_close(&run);
}

/* ---- names ---- */

static void ask(const struct world *world, const char *host, uint32_t family, struct qn_name_answer *out)
{
    struct qn_name_question question = { .port = world->open, .family = family };
    (void)snprintf(question.host, sizeof question.host, "%s", host);
    CHECK(send(world->names, &question, sizeof question, 0) == (ssize_t)sizeof question);
    CHECK(recv(world->names, out, sizeof *out, 0) == (ssize_t)sizeof *out);
}

/* What names stand for in these tests; one that is not here has no address. */
static void fake_resolver(const char *host, int family, struct qn_names_answer *out)
{
    static const struct {
        const char *host, *address;
    } names[] = {
        { "localhost", "127.0.0.1" },          { "house.test", "127.0.0.1" },  { "meta.test", "169.254.169.254" },
        { "mapped.test", "::ffff:127.0.0.1" }, { "private.test", "10.0.0.7" }, { "mixed.test", "10.0.0.8" },
        { "mixed.test", "127.0.0.1" },         { "public.test", "8.8.8.8" },
    };
    (void)family;
    *out = (struct qn_names_answer){ .error = 0 };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i].host, host) == 0) {
            bool is_ipv6 = strchr(names[i].address, ':') != NULL;
            struct qn_network_address *address = &out->addresses[out->n_addresses++];
            *address = (struct qn_network_address){ .family = is_ipv6 ? AF_INET6 : AF_INET };
            (void)inet_pton(address->family, names[i].address, address->bytes);
        }
    }
    out->error = out->n_addresses == 0 ? EAI_NONAME : 0;
}

static void connect_by_name(const struct world *world)
{
    struct qn_name_answer answer;
    CHECK(try_port(world->open) == EACCES); /* not asked for yet */
    ask(world, "localhost", AF_UNSPEC, &answer);
    CHECK(answer.error == 0 && answer.n_addresses == 1 && answer.addresses[0].family == AF_INET);
    CHECK(memcmp(answer.addresses[0].bytes, "\x7f\0\0\x01", 4) == 0);
    CHECK(try_port(world->open) == 0);
    CHECK(try_port(world->secret) == EACCES); /* the name is listed with one port */

    ask(world, "house.test", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_FAIL && answer.n_addresses == 0);
    CHECK(strcmp(answer.text, "host \"house.test\" stands for 127.0.0.1, an address of this machine: not allowed") ==
          0);
    ask(world, "meta.test", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_FAIL);
    ask(world, "mapped.test", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_FAIL);
    ask(world, "mixed.test", AF_UNSPEC, &answer);
    CHECK(answer.error == 0 && answer.n_addresses == 1 && memcmp(answer.addresses[0].bytes, "\x0a\0\0\x08", 4) == 0);
    ask(world, "public.test", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_FAIL && strstr(answer.text, "is not in the list of this processor's network") != NULL);
    ask(world, "nobody.test", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_NONAME && answer.text[0] != '\0');
    ask(world, "no name", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_NONAME);
    ask(world, "2130706433", AF_UNSPEC, &answer); /* a number stands for itself; connecting is another matter */
    CHECK(answer.error == 0 && memcmp(answer.addresses[0].bytes, "\x7f\0\0\x01", 4) == 0);
    ask(world, "0x7f.1", AF_INET6, &answer);
    CHECK(answer.error == EAI_ADDRFAMILY);
}

/* trace: B7 */
static void broker__names_are_resolved_by_the_engine_within_the_list(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    char open_entry[32];
    (void)snprintf(open_entry, sizeof open_entry, "localhost:%u", (unsigned)run.world.open);
    const char *entries[] = { open_entry,      "house.test:*", "meta.test:*",
                              "mapped.test:*", "mixed.test:*", "nobody.test:1" };
    qn_names_set_resolver(fake_resolver);
    run_fork(&run, QN_NETWORK_LIST, entries, 6, connect_by_name);
    run_join(&run);
    run_expect_end(&run, 0);
    run_close(&run);
}

static void ask_public(const struct world *world)
{
    static const char *const refused[] = { "localhost", "meta.test", "mapped.test", "private.test", "mixed.test" };
    struct qn_name_answer answer;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        ask(world, refused[i], AF_UNSPEC, &answer);
        CHECK(answer.error == EAI_FAIL && strstr(answer.text, "not allowed") != NULL);
    }
    ask(world, "public.test", AF_UNSPEC, &answer);
    CHECK(answer.error == 0 && answer.n_addresses == 1);
    ask(world, "nobody.test", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_NONAME);
}

static void broker__public_names_never_stand_for_what_is_not_public(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    qn_names_set_resolver(fake_resolver);
    run_fork(&run, QN_NETWORK_PUBLIC, NULL, 0, ask_public);
    run_join(&run);
    run_expect_end(&run, 0);
    run_close(&run);
}

static int resolver_gate[2]; /* a pipe: the resolver answers once its writing end is closed */
static atomic_bool resolver_passed;

static void late_resolver(const char *host, int family, struct qn_names_answer *out)
{
    char byte;
    (void)!read(resolver_gate[0], &byte, 1);
    atomic_store(&resolver_passed, true);
    fake_resolver(host, family, out);
}

static void ask_late(const struct world *world)
{
    struct qn_name_answer answer;
    ask(world, "public.test", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_AGAIN);
    CHECK(strcmp(answer.text, "host \"public.test\": no answer in time") == 0);
    ask(world, "127.0.0.1", AF_UNSPEC, &answer); /* the socket still serves */
    CHECK(answer.error == 0);
}

static void broker__a_name_that_takes_too_long_is_given_up(void **state)
{
    (void)state;
    struct run run;
    assert_int_equal(pipe2(resolver_gate, O_CLOEXEC), 0);
    run_open(&run);
    qn_names_set_resolver(late_resolver);
    run_fork(&run, QN_NETWORK_PUBLIC, NULL, 0, ask_late);
    qn_broker_set_times(run.broker, 100, 100);
    run_join(&run);
    run_expect_end(&run, 0);
    run_close(&run);
    (void)close(resolver_gate[1]);
    /* The thread ends by itself, and with it its descriptor goes. */
    int64_t deadline = qn_deadline_after_ms(PATIENCE_MS);
    while ((!atomic_load(&resolver_passed) || count_fds() != open_fds + 1) && qn_deadline_remaining_ms(deadline) > 0) {
        (void)sched_yield();
    }
    (void)close(resolver_gate[0]);
}

static void ask_badly(const struct world *world)
{
    struct qn_name_question question;
    char byte;
    memset(&question, 'a', sizeof question); /* a host without an end */
    question.family = AF_UNSPEC;
    CHECK(send(world->names, &question, sizeof question, 0) == (ssize_t)sizeof question);
    CHECK(recv(world->names, &byte, 1, 0) == 0); /* that was all: the socket is closed */
    CHECK(try_port(world->open) == 0);           /* connections go on */
}

static void ask_in_part(const struct world *world)
{
    char byte = 'a';
    CHECK(send(world->names, &byte, 1, 0) == 1);
    CHECK(recv(world->names, &byte, 1, 0) == 0);
}

static void ask_too_much(const struct world *world)
{
    char large[sizeof(struct qn_name_question) + 1] = "localhost";
    CHECK(send(world->names, large, sizeof large, 0) == (ssize_t)sizeof large);
    CHECK(recv(world->names, large, 1, 0) == 0);
}

static void ask_another_family(const struct world *world)
{
    struct qn_name_question question = { .host = "localhost", .family = AF_UNIX };
    char byte;
    CHECK(send(world->names, &question, sizeof question, 0) == (ssize_t)sizeof question);
    CHECK(recv(world->names, &byte, 1, 0) == 0);
}

static void broker__a_broken_question_ends_the_names_and_nothing_else(void **state)
{
    (void)state;
    static const child_body bodies[] = { ask_badly, ask_in_part, ask_too_much, ask_another_family };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct run run;
        run_open(&run);
        run_start(&run, &run.world.open, 1, bodies[i]);
        run_expect_end(&run, 0);
        run_close(&run);
    }
}

static void ask_and_never_read(const struct world *world)
{
    struct qn_name_question question = { .host = "10.0.0.1", .family = AF_UNSPEC };
    for (int i = 0; i < 2000; i++) {
        CHECK(send(world->names, &question, sizeof question, 0) == (ssize_t)sizeof question);
    }
}

static void broker__a_run_that_reads_no_answers_loses_them(void **state)
{
    (void)state;
    struct run run;
    run_open(&run);
    run_start(&run, &run.world.open, 1, ask_and_never_read);
    run_expect_end(&run, 0);
    run_close(&run);
}

/* ---- when the engine is short of something ---- */

static void forgetful_resolver(const char *host, int family, struct qn_names_answer *out)
{
    fake_resolver(host, family, out);
    (void)qn_fault_arm(QN_FAULT_ALLOC, 1, QN_FAULT_ONCE); /* the next one is for remembering the address */
}

static void ask_the_forgetful(const struct world *world)
{
    struct qn_name_answer answer;
    ask(world, "localhost", AF_UNSPEC, &answer);
    CHECK(answer.error == EAI_MEMORY && answer.n_addresses == 0);
    CHECK(try_port(world->open) == EACCES); /* not told, so not allowed either */
    ask(world, "127.0.0.1", AF_UNSPEC, &answer);
    CHECK(answer.error == 0);
}

static void broker__an_address_that_cannot_be_remembered_is_not_told(void **state)
{
    (void)state;
    struct run run;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_broker *broker = NULL;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 1, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    assert_int_equal(qn_broker_new(NULL, NULL, NULL, &broker, &err), QN_ERR_NO_MEMORY);
    assert_null(broker);
    run_open(&run);
    const char *entries[] = { "localhost:*" };
    qn_names_set_resolver(forgetful_resolver);
    run_fork(&run, QN_NETWORK_LIST, entries, 1, ask_the_forgetful);
    run_join(&run);
    run_expect_end(&run, 0);
    assert_true(qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE));
    run_close(&run);
}

static void connect_without_descriptors(const struct world *world)
{
    CHECK(try_port(world->open) == ENFILE);
}

static void broker__an_engine_without_descriptors_says_so(void **state)
{
    (void)state;
    struct run run;
    struct rlimit before_that;
    run_open(&run);
    run_start(&run, &run.world.open, 1, connect_without_descriptors);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before_that), 0);
    struct rlimit few = { .rlim_cur = 3, .rlim_max = before_that.rlim_max }; /* all below are taken */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    bool ended = false;
    struct pollfd entry = { .fd = qn_broker_fd(run.broker), .events = POLLIN };
    struct qn_error err = QN_ERROR_INIT;
    while (!ended) { /* poll() of more descriptors than the limit is refused */
        assert_true(poll(&entry, 1, PATIENCE_MS) == 1);
        assert_int_equal(qn_broker_handle(run.broker, &err), QN_OK);
        ended = run.logs.size > 0;
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before_that), 0);
    run_expect_end(&run, 0);
    assert_string_equal(qn_buffer_text(&run.logs), "a connection was not made: the engine has no descriptor left\n");
    run_close(&run);
}

/* ---- this machine ---- */

#define OWN_ADDRESS "8.8.4.4"

/* In a process of its own: a network with nothing but loopback, which has a second, public address. */
static bool make_network(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct ifreq request = { .ifr_name = "lo" };
    request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
    bool made = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "lo:1");
    (void)inet_pton(AF_INET, OWN_ADDRESS, &address.sin_addr);
    memcpy(&request.ifr_addr, &address, sizeof address);
    made = made && ioctl(fd, SIOCSIFADDR, &request) == 0;
    (void)inet_pton(AF_INET, "255.255.255.255", &address.sin_addr);
    memcpy(&request.ifr_netmask, &address, sizeof address);
    made = made && ioctl(fd, SIOCSIFNETMASK, &request) == 0;
    (void)close(fd);
    return made;
}

static void connect_to_own_address(const struct world *world)
{
    CHECK(try_text(OWN_ADDRESS, world->open) == EACCES);
    CHECK(try_text("8.8.8.8", 53) == ENETUNREACH); /* which was dialled, but there is nothing outside */
    CHECK(try_text("2606:4700:4700::1111", 443) == ENETUNREACH);
}

/* A public address of an interface leads to the services of this machine: "public" does not mean those. */
static void broker__public_is_not_the_machines_own_public_address(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct run run;
        if (!make_network()) {
            _exit(77);
        }
        run_open(&run);
        run.readable = true;
        run_fork(&run, QN_NETWORK_PUBLIC, NULL, 0, connect_to_own_address);
        run_join(&run);
        run_expect_end(&run, 0);
        char expected[128];
        (void)snprintf(expected, sizeof expected,
                       "connection to " OWN_ADDRESS ":%u is not allowed: an address of this machine\n",
                       (unsigned)run.world.open);
        _exit(strcmp(qn_buffer_text(&run.logs), expected) == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: this machine gives no network namespaces\n");
        skip();
    }
    assert_int_equal(status, 0);
}

/* ---- who may ---- */

#define RUN_CHANNEL 3 /* of a run that is executed, not only forked */

static void connect_once(const struct world *world)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect_to(fd, world->open) == 0);
    expect_hello(fd);
}

/* As an interpreter in the full tier is: its memory is of a user namespace that the engine's user owns, from its exec on. */
static int be_run_of_namespaces(const char *port_text)
{
    struct run run = { .channel = { -1, RUN_CHANNEL }, .open_fd = -1, .secret_fd = -1, .full_fd = -1 };
    run.world.open = (uint16_t)strtoul(port_text, NULL, 10);
    be_child(&run, -1, connect_once);
    return 1;
}

static void exec_run_of_namespaces(struct run *run)
{
    char port[16];
    char *const argv[] = { "test_broker", "--run", port, NULL };
    char *const environment[] = { NULL };
    (void)snprintf(port, sizeof port, "%u", (unsigned)run->world.open);
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (self < 0 || unshare(CLONE_NEWUSER) != 0 || dup2(run->channel[1], RUN_CHANNEL) < 0) {
        _exit(77);
    }
    (void)fexecve(self, argv, environment);
    _exit(77); /* not a program for every user, where this stands */
}

static _Noreturn void be_ordinary_engine(void)
{
    struct run run;
    struct qn_error err = QN_ERROR_INIT;
    char entry[32];
    const char *entries[] = { entry };
    if (getuid() == 0 && (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)) {
        _exit(2);
    }
    run_open(&run);
    (void)snprintf(entry, sizeof entry, "127.0.0.1:%u", (unsigned)run.world.open);
    assert_int_equal(qn_network_policy_new(QN_NETWORK_LIST, entries, 1, &run.policy, &err), QN_OK);
    assert_int_equal(qn_broker_new(run.policy, keep_log, &run.logs, &run.broker, &err), QN_OK);
    run.pid = fork();
    if (run.pid == 0) {
        exec_run_of_namespaces(&run);
    }
    (void)close(run.channel[1]);
    run.pid_fd = (int)syscall(SYS_pidfd_open, run.pid, 0);
    struct pollfd entry_of_channel = { .fd = run.channel[0], .events = POLLIN };
    char byte;
    if (poll(&entry_of_channel, 1, PATIENCE_MS) == 1 && recv(run.channel[0], &byte, 1, MSG_PEEK) == 0) {
        _exit(77);
    }
    int listener = receive_fd(run.channel[0]);
    if (qn_broker_take_run(run.broker, listener, run.pid_fd, -1, &err) != QN_OK) {
        (void)dprintf(STDERR_FILENO, "%s\n", err.message);
        _exit(1);
    }
    while (!run_turn(&run)) {
    }
    int status = 0;
    (void)waitpid(run.pid, &status, 0);
    _exit(status == 0 && run.n_hellos == 1 ? 0 : 1);
}

static void broker__the_owner_of_the_runs_namespaces_may_look_in(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        be_ordinary_engine();
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: no user namespaces, or an ordinary user may not run this test's program\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void end_at_once(const struct world *world)
{
    (void)world;
    pause();
}

/* In a process of its own, which becomes an ordinary user: it owns no namespace of the child's and may not look into it. */
static void broker__where_the_kernel_denies_access_there_is_no_network(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct run run;
        struct qn_error err = QN_ERROR_INIT;
        if (getuid() == 0 && (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)) {
            _exit(2);
        }
        run_open(&run);
        run.readable = false;
        run_fork(&run, QN_NETWORK_PUBLIC, NULL, 0, end_at_once);
        int listener = receive_fd(run.channel[0]);
        enum qn_status status = qn_broker_take_run(run.broker, listener, run.pid_fd, run.names_fd, &err);
        bool told =
            status == QN_ERR_UNSUPPORTED && err.hint[0] != '\0' &&
            strcmp(err.message, "network: the run cannot be given one, its memory may not be read: Operation not "
                                "permitted") == 0;
        (void)kill(run.pid, SIGKILL);
        _exit(told ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--run") == 0) {
        return be_run_of_namespaces(argv[2]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(broker__a_listed_address_is_dialled_for_a_blocking_socket, before, after),
        cmocka_unit_test_setup_teardown(broker__a_non_blocking_socket_is_handed_over_while_it_connects, before, after),
        cmocka_unit_test_setup_teardown(broker__threads_of_a_run_connect_at_once, before, after),
        cmocka_unit_test_setup_teardown(broker__what_is_not_listed_is_refused_and_logged, before, after),
        cmocka_unit_test_setup_teardown(broker__public_is_not_this_machine_nor_its_neighbours, before, after),
        cmocka_unit_test_setup_teardown(broker__only_tcp_over_ip_is_dialled, before, after),
        cmocka_unit_test_setup_teardown(broker__bad_pointers_and_lengths_are_errors_of_the_run, before, after),
        cmocka_unit_test_setup_teardown(broker__an_address_that_changes_meanwhile_gains_nothing, before, after),
        cmocka_unit_test_setup_teardown(broker__a_run_that_dies_while_it_connects_leaves_nothing, before, after),
        cmocka_unit_test_setup_teardown(broker__freed_in_the_middle_of_a_dial, before, after),
        cmocka_unit_test_setup_teardown(broker__dials_have_a_deadline_and_those_beyond_the_bound_wait, before, after),
        cmocka_unit_test_setup_teardown(broker__refusals_do_not_flood_the_log, before, after),
        cmocka_unit_test_setup_teardown(broker__connections_of_a_run_are_counted, before, after),
        cmocka_unit_test_setup_teardown(broker__names_are_resolved_by_the_engine_within_the_list, before, after),
        cmocka_unit_test_setup_teardown(broker__public_names_never_stand_for_what_is_not_public, before, after),
        cmocka_unit_test_setup_teardown(broker__a_name_that_takes_too_long_is_given_up, before, after),
        cmocka_unit_test_setup_teardown(broker__a_broken_question_ends_the_names_and_nothing_else, before, after),
        cmocka_unit_test_setup_teardown(broker__a_run_that_reads_no_answers_loses_them, before, after),
        cmocka_unit_test_setup_teardown(broker__an_address_that_cannot_be_remembered_is_not_told, before, after),
        cmocka_unit_test_setup_teardown(broker__an_engine_without_descriptors_says_so, before, after),
        cmocka_unit_test_setup_teardown(broker__public_is_not_the_machines_own_public_address, before, after),
        cmocka_unit_test_setup_teardown(broker__the_owner_of_the_runs_namespaces_may_look_in, before, after),
        cmocka_unit_test_setup_teardown(broker__where_the_kernel_denies_access_there_is_no_network, before, after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
