/*
 * test_memory.c: allocation with checked sizes, cleanup, and the fault points under it.
 */
#include "base/memory.h"

#include "base/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <qanat/qanat.h>

static void memory__nothing_is_still_a_pointer(void **state)
{
    (void)state;
    void *memory[] = { qn_malloc(0), qn_calloc(0, 8), qn_calloc(8, 0), qn_realloc(NULL, 0), qn_strndup("x", 0) };
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        assert_non_null(memory[i]);
        qn_free(memory[i]);
    }
    qn_free(NULL);
    qn_free_secret(NULL, 10);
    qn_free_text(NULL);
}

static void memory__sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    volatile size_t most = SIZE_MAX; /* the compiler warns where it can see the size */
    assert_null(qn_calloc(most / 2, 3));
    assert_null(qn_realloc_array(NULL, most / 2, 3));
    assert_null(qn_strndup("x", most));
    size_t out = 5;
    assert_false(qn_size_add(SIZE_MAX, 1, &out));
    assert_false(qn_size_mul(SIZE_MAX, 2, &out));
    assert_true(qn_size_add(2, 3, &out) && out == 5);
    assert_true(qn_size_mul(2, 3, &out) && out == 6);
}

static void memory__calloc_gives_zeros(void **state)
{
    (void)state;
    qn_auto_free unsigned char *memory = qn_calloc(100, 10);
    assert_non_null(memory);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(memory[i], 0);
    }
}

static void memory__copies_of_text(void **state)
{
    (void)state;
    assert_null(qn_strdup(NULL));
    qn_auto_free char *whole = qn_strdup("abc");
    assert_string_equal(whole, "abc");
    qn_auto_free char *part = qn_strndup("abcdef", 2);
    assert_string_equal(part, "ab");
    qn_auto_free char *bytes = qn_strndup("a\0b", 3);
    assert_memory_equal(bytes, "a\0b", 4);
}

static char *made_or_null(bool give)
{
    qn_auto_free char *text = qn_strdup("text");
    return give ? qn_steal(&text) : NULL;
}

static void memory__steal_takes_out_of_a_scope(void **state)
{
    (void)state;
    assert_null(made_or_null(false)); /* the leak checker of the sanitizer build watches */
    char *text = made_or_null(true);
    assert_string_equal(text, "text");
    qn_free_secret(text, strlen(text));
}

static void skip_without_faults(void)
{
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without -Dfaults=true\n");
        skip();
    }
}

static void memory__realloc_that_fails_keeps_what_was(void **state)
{
    (void)state;
    skip_without_faults();
    qn_auto_free char *text = qn_strdup("text");
    (void)qn_fault_arm(QN_FAULT_ALLOC, 1, QN_FAULT_ONCE);
    void *grown = qn_realloc_array(text, 1000, 10);
    (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
    assert_null(grown);
    assert_string_equal(text, "text");
}

static void fault__the_nth_hit_fails_once_or_from_then_on(void **state)
{
    (void)state;
    skip_without_faults();
    assert_true(qn_fault_arm(QN_FAULT_READ, 3, QN_FAULT_ONCE));
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(qn_fault_hit(QN_FAULT_READ), i == 3);
    }
    assert_int_equal(qn_fault_count(QN_FAULT_READ), 5);
    assert_true(qn_fault_arm(QN_FAULT_READ, 3, QN_FAULT_FROM_THEN_ON));
    assert_int_equal(qn_fault_count(QN_FAULT_READ), 0);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(qn_fault_hit(QN_FAULT_READ), i >= 3);
        assert_false(qn_fault_hit(QN_FAULT_WRITE)); /* kinds are counted apart */
    }
    assert_true(qn_fault_arm(QN_FAULT_READ, 0, QN_FAULT_ONCE));
    for (int i = 1; i <= 5; i++) {
        assert_false(qn_fault_hit(QN_FAULT_READ));
    }
    assert_int_equal(qn_fault_count(QN_FAULT_READ), 5);
}

static void fault__every_allocation_is_a_point(void **state)
{
    (void)state;
    skip_without_faults();
    (void)qn_fault_arm(QN_FAULT_ALLOC, 1, QN_FAULT_FROM_THEN_ON);
    void *memory[] = { qn_malloc(1),   qn_calloc(1, 1),   qn_realloc(NULL, 1), qn_realloc_array(NULL, 1, 1),
                       qn_strdup("x"), qn_strndup("x", 1) };
    (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        assert_null(memory[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory__nothing_is_still_a_pointer),
        cmocka_unit_test(memory__sizes_that_overflow_are_refused),
        cmocka_unit_test(memory__calloc_gives_zeros),
        cmocka_unit_test(memory__copies_of_text),
        cmocka_unit_test(memory__steal_takes_out_of_a_scope),
        cmocka_unit_test(memory__realloc_that_fails_keeps_what_was),
        cmocka_unit_test(fault__the_nth_hit_fails_once_or_from_then_on),
        cmocka_unit_test(fault__every_allocation_is_a_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
