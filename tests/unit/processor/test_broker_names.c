/*
 * test_broker_names.c: the names that a run asks the broker for: which are answered, and what bad questions end.
 */
#include "broker_fixture.h"

#include "base/fault.h"

#include <sched.h>
#include <stdatomic.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(broker__names_are_resolved_by_the_engine_within_the_list, before, after),
        cmocka_unit_test_setup_teardown(broker__public_names_never_stand_for_what_is_not_public, before, after),
        cmocka_unit_test_setup_teardown(broker__a_name_that_takes_too_long_is_given_up, before, after),
        cmocka_unit_test_setup_teardown(broker__a_broken_question_ends_the_names_and_nothing_else, before, after),
        cmocka_unit_test_setup_teardown(broker__a_run_that_reads_no_answers_loses_them, before, after),
        cmocka_unit_test_setup_teardown(broker__an_address_that_cannot_be_remembered_is_not_told, before, after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
