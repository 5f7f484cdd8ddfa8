/*
 * test_poll.c: waiting for descriptors, with deadlines and interrupts.
 */
#include "os/poll.h"

#include "os/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
#include <qanat/qanat.h>

static int ends[2];

static int open_pipe(void **state)
{
    (void)state;
    return pipe(ends);
}

static int close_pipe(void **state)
{
    (void)state;
    (void)close(ends[0]);
    return close(ends[1]);
}

static void poll__what_is_ready_wins_over_a_deadline(void **state)
{
    (void)state;
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(qn_poll_one(ends[0], POLLIN, 0, NULL), QN_OK);
    assert_int_equal(qn_poll_one(ends[1], POLLOUT, QN_NO_DEADLINE, NULL), QN_OK);
}

static void poll__a_deadline_ends_the_wait(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    int64_t begin = qn_clock_nanos();
    int64_t deadline = qn_deadline_after_ms(120); /* longer than two slices */
    assert_int_equal(qn_poll_one(ends[0], POLLIN, deadline, &err), QN_ERR_TIMEOUT);
    assert_string_equal(err.message, "the time limit has passed");
    assert_true(qn_clock_nanos() - begin >= INT64_C(120000000));
    assert_int_equal(qn_poll_one(ends[0], POLLIN, begin, NULL), QN_ERR_TIMEOUT); /* one that has passed */
}

static void poll__a_closed_other_end_counts_as_ready(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    (void)close(pair[1]);
    assert_int_equal(qn_poll_one(pair[0], POLLIN, QN_NO_DEADLINE, NULL), QN_OK);
    (void)close(pair[0]);
}

static void poll__several_report_which_is_ready(void **state)
{
    (void)state;
    assert_int_equal(write(ends[1], "x", 1), 1);
    int quiet[2];
    assert_int_equal(pipe(quiet), 0);
    struct pollfd entries[] = { { .fd = quiet[0], .events = POLLIN },
                                { .fd = -1, .events = POLLIN },
                                { .fd = ends[0], .events = POLLIN } };
    assert_int_equal(qn_poll_many(entries, 3, QN_NO_DEADLINE, NULL), QN_OK);
    assert_int_equal(entries[0].revents, 0);
    assert_int_equal(entries[1].revents, 0);
    assert_int_equal(entries[2].revents, POLLIN);
    (void)close(quiet[0]);
    (void)close(quiet[1]);
}

struct asking {
    int asked;
    int say_yes_at;
    int64_t longest_gap;
    int64_t last;
};

static int interrupt(void *context)
{
    struct asking *asking = context;
    int64_t now = qn_clock_nanos();
    if (asking->last != 0 && now - asking->last > asking->longest_gap) {
        asking->longest_gap = now - asking->last;
    }
    asking->last = now;
    return ++asking->asked == asking->say_yes_at;
}

static void poll__an_interrupt_ends_the_wait(void **state)
{
    (void)state;
    struct asking asking = { .say_yes_at = 3 };
    struct qn_error err = QN_ERROR_INIT;
    qn_interrupt_set(interrupt, &asking);
    enum qn_status status = qn_poll_one(ends[0], POLLIN, QN_NO_DEADLINE, &err);
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(status, QN_ERR_CANCELLED);
    assert_int_equal(err.status, QN_ERR_CANCELLED);
    assert_int_equal(asking.asked, 3);
    assert_true(asking.longest_gap >= INT64_C(1000000) * (QN_POLL_SLICE_MS - 10)); /* it slept in between */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(poll__what_is_ready_wins_over_a_deadline, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(poll__a_deadline_ends_the_wait, open_pipe, close_pipe),
        cmocka_unit_test(poll__a_closed_other_end_counts_as_ready),
        cmocka_unit_test_setup_teardown(poll__several_report_which_is_ready, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(poll__an_interrupt_ends_the_wait, open_pipe, close_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
