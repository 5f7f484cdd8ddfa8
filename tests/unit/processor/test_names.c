/*
 * test_names.c: questions for names: answers, bounds, giving up, and what a failed allocation leaves behind.
 */
#include "processor/names.h"

#include "base/fault.h"
#include "os/clock.h"
#include "os/poll.h"

#include <dirent.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

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

static struct qn_names_answer wait_for(struct qn_names_question *question)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_names_answer answer;
    assert_int_equal(qn_poll_one(qn_names_fd(question), POLLIN, qn_deadline_after_ms(PATIENCE_MS), &err), QN_OK);
    assert_true(qn_names_take_answer(question, &answer));
    qn_names_give_up(question);
    return answer;
}

static struct qn_names_question *ask(const char *host, int family)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_names_question *question = NULL;
    if (qn_names_ask(host, family, &question, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return question;
}

static void names__localhost_is_this_machine(void **state)
{
    (void)state;
    struct qn_names_answer answer = wait_for(ask("localhost", AF_INET));
    static const uint8_t loopback[16] = { 127, 0, 0, 1 };
    assert_int_equal(answer.error, 0);
    assert_int_equal(answer.n_addresses, 1); /* each address once, whatever it can be used for */
    assert_int_equal(answer.addresses[0].family, AF_INET);
    assert_memory_equal(answer.addresses[0].bytes, loopback, sizeof loopback);
}

static void names__numbers_are_read_in_every_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int family;
        uint8_t bytes[16];
    } cases[] = {
        { "127.0.0.1", AF_INET, { 127, 0, 0, 1 } },
        { "127.1", AF_INET, { 127, 0, 0, 1 } },
        { "2130706433", AF_INET, { 127, 0, 0, 1 } },
        { "0x7f000001", AF_INET, { 127, 0, 0, 1 } },
        { "0177.0.0.01", AF_INET, { 127, 0, 0, 1 } },
        { "0xa9.254.0xa9fe", AF_INET, { 169, 254, 169, 254 } },
        { "::1", AF_INET6, { [15] = 1 } },
        { "fe80::1%lo", AF_INET6, { 0xfe, 0x80, [15] = 1 } },
        { "::ffff:127.0.0.1", AF_INET6, { [10] = 0xff, 0xff, 127, 0, 0, 1 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_network_address address = { 0 };
        assert_true(qn_names_parse_number(cases[i].text, &address));
        assert_int_equal(address.family, cases[i].family);
        assert_memory_equal(address.bytes, cases[i].bytes, sizeof address.bytes);
    }
    static const char *const none[] = { "", "localhost", "example.com", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ", "[::1]" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct qn_network_address address = { .family = -1 };
        assert_false(qn_names_parse_number(none[i], &address));
        assert_int_equal(address.family, -1);
    }
}

static void names__a_host_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char host[QN_NETWORK_MAX_HOST + 3];
    memset(host, 'a', sizeof host);
    host[sizeof host - 1] = '\0';
    struct qn_error err = QN_ERROR_INIT;
    struct qn_names_question *question = NULL;
    assert_int_equal(qn_names_ask(host, AF_UNSPEC, &question, &err), QN_ERR_ARGUMENT);
    assert_string_equal(err.message, "a host name of 255 bytes is too long");
    assert_null(question);
}

static int gate[2]; /* a pipe: the resolver answers as many as there are bytes, all once its writing end is closed */
static atomic_int answered;

static void gated_resolver(const char *host, int family, struct qn_names_answer *out)
{
    char byte;
    (void)host;
    (void)family;
    (void)!read(gate[0], &byte, 1);
    *out = (struct qn_names_answer){ .error = EAI_NONAME };
    atomic_fetch_add(&answered, 1);
}

static void open_gate_and_wait(int n, int n_fds)
{
    (void)close(gate[1]);
    int64_t deadline = qn_deadline_after_ms(PATIENCE_MS);
    while ((atomic_load(&answered) < n || count_fds() > n_fds) && qn_deadline_remaining_ms(deadline) > 0) {
        (void)sched_yield();
    }
    assert_int_equal(atomic_load(&answered), n);
    assert_true(count_fds() <= n_fds); /* a thread of an earlier test may have ended meanwhile */
    (void)close(gate[0]);
    qn_names_set_resolver(NULL);
}

/* In another process none is under way, and asking begins anew. ThreadSanitizer allows no threads after such a fork. */
static void check_after_fork(void)
{
#ifndef __SANITIZE_THREAD__
    pid_t pid = fork();
    if (pid == 0) {
        struct qn_error err = QN_ERROR_INIT;
        struct qn_names_question *question = NULL;
        qn_names_set_resolver(NULL);
        _exit(qn_names_ask("localhost", AF_UNSPEC, &question, &err) == QN_OK ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
#endif
}

static void names__threads_under_way_are_bounded_also_when_given_up(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_names_question *question = NULL;
    assert_int_equal(pipe(gate), 0);
    int n_fds = count_fds() - 1; /* once the writing end is closed */
    atomic_store(&answered, 0);
    qn_names_set_resolver(gated_resolver);
    for (int i = 0; i < QN_NAMES_MAX_THREADS; i++) {
        qn_names_give_up(ask("slow.test", AF_UNSPEC));
    }
    assert_int_equal(qn_names_ask("slow.test", AF_UNSPEC, &question, &err), QN_ERR_BUSY);
    assert_string_equal(err.message, "64 names are being resolved already");
    check_after_fork();
    open_gate_and_wait(QN_NAMES_MAX_THREADS, n_fds);
    int64_t deadline = qn_deadline_after_ms(PATIENCE_MS); /* the last thread leaves its place after its descriptor */
    while (qn_names_ask("localhost", AF_UNSPEC, &question, &err) == QN_ERR_BUSY &&
           qn_deadline_remaining_ms(deadline) > 0) {
        (void)sched_yield();
    }
    assert_non_null(question);
    assert_int_equal(wait_for(question).error, 0);
}

static void names__no_answer_before_it_is_there(void **state)
{
    (void)state;
    assert_int_equal(pipe(gate), 0);
    int n_fds = count_fds() - 1;
    atomic_store(&answered, 0);
    qn_names_set_resolver(gated_resolver);
    struct qn_names_answer answer;
    struct qn_names_question *question = ask("slow.test", AF_UNSPEC);
    assert_false(qn_names_take_answer(question, &answer));
    assert_int_equal(write(gate[1], "x", 1), 1);
    assert_int_equal(wait_for(question).error, EAI_NONAME);
    open_gate_and_wait(1, n_fds);
    qn_names_give_up(NULL);
}

static void names__a_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_names_question *question = NULL;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 1, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    int n_fds = count_fds();
    assert_int_equal(qn_names_ask("localhost", AF_UNSPEC, &question, &err), QN_ERR_NO_MEMORY);
    assert_true(qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE));
    assert_null(question);
    assert_true(count_fds() <= n_fds); /* a thread of an earlier test may have ended meanwhile */
    assert_int_equal(wait_for(ask("localhost", AF_UNSPEC)).error, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names__localhost_is_this_machine),
        cmocka_unit_test(names__numbers_are_read_in_every_form),
        cmocka_unit_test(names__a_host_that_is_too_long_is_refused),
        cmocka_unit_test(names__no_answer_before_it_is_there),
        cmocka_unit_test(names__threads_under_way_are_bounded_also_when_given_up),
        cmocka_unit_test(names__a_failed_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
