/*
 * test_broker.c: connections of a child under a notifying filter: which are dialled and which are refused.
 */
#include "broker_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(broker__a_listed_address_is_dialled_for_a_blocking_socket, before, after),
        cmocka_unit_test_setup_teardown(broker__a_non_blocking_socket_is_handed_over_while_it_connects, before, after),
        cmocka_unit_test_setup_teardown(broker__threads_of_a_run_connect_at_once, before, after),
        cmocka_unit_test_setup_teardown(broker__what_is_not_listed_is_refused_and_logged, before, after),
        cmocka_unit_test_setup_teardown(broker__public_is_not_this_machine_nor_its_neighbours, before, after),
        cmocka_unit_test_setup_teardown(broker__only_tcp_over_ip_is_dialled, before, after),
        cmocka_unit_test_setup_teardown(broker__bad_pointers_and_lengths_are_errors_of_the_run, before, after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
