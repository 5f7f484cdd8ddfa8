/*
 * test_clock.c: deadlines.
 */
#include "os/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void clock__never_goes_back(void **state)
{
    (void)state;
    int64_t before = qn_clock_nanos();
    for (int i = 0; i < 10000; i++) {
        int64_t now = qn_clock_nanos();
        assert_true(now >= before);
        before = now;
    }
}

static void deadline__none_never_comes(void **state)
{
    (void)state;
    assert_true(qn_deadline_after_ms(0) == QN_NO_DEADLINE);
    assert_true(qn_deadline_after_ms(-5) == QN_NO_DEADLINE);
    assert_true(qn_deadline_after_ms(INT64_MAX) == QN_NO_DEADLINE);
    assert_int_equal(qn_deadline_remaining_ms(QN_NO_DEADLINE), INT32_MAX);
}

static void deadline__remaining_is_zero_only_once_it_has_passed(void **state)
{
    (void)state;
    assert_int_equal(qn_deadline_remaining_ms(qn_clock_nanos()), 0);
    assert_int_equal(qn_deadline_remaining_ms(0), 0);
    assert_int_equal(qn_deadline_remaining_ms(INT64_MIN), 0);
    int64_t left = qn_deadline_remaining_ms(qn_deadline_after_ms(1000000));
    assert_true(left > 900000 && left <= 1000000);
    int64_t deadline = qn_deadline_after_ms(2);
    while (qn_deadline_remaining_ms(deadline) > 0) {
    }
    assert_true(qn_clock_nanos() >= deadline);
}

static void deadline__remaining_fits_an_int(void **state)
{
    (void)state;
    assert_int_equal(qn_deadline_remaining_ms(qn_deadline_after_ms(INT64_C(1) << 40)), INT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock__never_goes_back),
        cmocka_unit_test(deadline__none_never_comes),
        cmocka_unit_test(deadline__remaining_is_zero_only_once_it_has_passed),
        cmocka_unit_test(deadline__remaining_fits_an_int),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
