/*
 * test_broker_harm.c: what a child that means harm, dies or wants too much gets out of its connections, and an engine
 * that runs short.
 */
#include "broker_fixture.h"

#include <stdatomic.h>
#include <sys/resource.h>

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

/* ---- when the engine is short of something ---- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(broker__an_address_that_changes_meanwhile_gains_nothing, before, after),
        cmocka_unit_test_setup_teardown(broker__a_run_that_dies_while_it_connects_leaves_nothing, before, after),
        cmocka_unit_test_setup_teardown(broker__freed_in_the_middle_of_a_dial, before, after),
        cmocka_unit_test_setup_teardown(broker__dials_have_a_deadline_and_those_beyond_the_bound_wait, before, after),
        cmocka_unit_test_setup_teardown(broker__refusals_do_not_flood_the_log, before, after),
        cmocka_unit_test_setup_teardown(broker__connections_of_a_run_are_counted, before, after),
        cmocka_unit_test_setup_teardown(broker__an_engine_without_descriptors_says_so, before, after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
