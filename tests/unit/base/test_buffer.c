/*
 * test_buffer.c: growth, limits and sticky failures of byte buffers.
 */
#include "base/buffer.h"

#include "base/fault.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void buffer__is_empty_text_before_the_first_byte(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    assert_string_equal(qn_buffer_text(&buffer), "");
    assert_int_equal(qn_buffer_check(&buffer, "text", NULL), QN_OK);
    qn_buffer_append(&buffer, NULL, 0);
    assert_null(buffer.data);
}

static void buffer__keeps_every_byte_and_a_nul_behind_them(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    for (int i = 0; i < 100000; i++) {
        qn_buffer_append_byte(&buffer, (char)(i * 7));
        assert_int_equal(buffer.data[buffer.size], '\0');
        assert_true(buffer.capacity >= buffer.size);
    }
    assert_int_equal(buffer.size, 100000);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(buffer.data[i], (char)(i * 7));
    }
}

static void buffer__prints_text_of_any_length(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    size_t expected = 0;
    for (int width = 0; width < 300; width++) {
        qn_buffer_printf(&buffer, "%0*d", width, 0);
        expected += width > 0 ? (size_t)width : 1;
        assert_int_equal(buffer.size, expected);
        assert_int_equal(strlen(buffer.data), expected);
    }
    qn_buffer_reset(&buffer);
    qn_buffer_printf(&buffer, "%s", "");
    assert_int_equal(buffer.size, 0);
    qn_buffer_printf(&buffer, "%d-%s", 42, "x");
    assert_string_equal(buffer.data, "42-x");
}

static void buffer__integers_are_big_endian(void **state)
{
    (void)state;
    static const unsigned char expected[] = { 0x12, 0x34, 0xDE, 0xAD, 0xBE, 0xEF, 0x01,
                                              0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF };
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    qn_buffer_append_be16(&buffer, 0x1234);
    qn_buffer_append_be32(&buffer, 0xDEADBEEF);
    qn_buffer_append_be64(&buffer, UINT64_C(0x0123456789ABCDEF));
    assert_int_equal(buffer.size, sizeof expected);
    assert_memory_equal(buffer.data, expected, sizeof expected);
    assert_int_equal(qn_load_be16(expected), 0x1234);
    assert_int_equal(qn_load_be32(expected + 2), 0xDEADBEEF);
    assert_true(qn_load_be64(expected + 6) == UINT64_C(0x0123456789ABCDEF));
    unsigned char stored[8];
    qn_store_be64(stored, UINT64_C(0x0123456789ABCDEF));
    assert_memory_equal(stored, expected + 6, 8);
}

static void buffer__a_limit_is_reached_but_never_passed(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    buffer.limit = 100;
    char bytes[100] = { 1 };
    qn_buffer_append(&buffer, bytes, 99);
    qn_buffer_append_byte(&buffer, 'x');
    assert_int_equal(qn_buffer_check(&buffer, "text", NULL), QN_OK);
    assert_int_equal(buffer.size, 100);
    qn_buffer_append_byte(&buffer, 'y');
    assert_int_equal(buffer.size, 100);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_buffer_check(&buffer, "the reply", &err), QN_ERR_NO_MEMORY);
    assert_string_equal(err.message, "the reply: more than the limit of 100 bytes");
}

static void buffer__a_failure_sticks_until_reset(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    buffer.limit = 4;
    qn_buffer_append_text(&buffer, "abc");
    qn_buffer_append_text(&buffer, "defg");
    qn_buffer_append_text(&buffer, "h"); /* would fit, but something before it is missing */
    qn_buffer_printf(&buffer, "%d", 1);
    qn_buffer_append_be16(&buffer, 1);
    assert_string_equal(buffer.data, "abc");
    assert_false(qn_buffer_reserve(&buffer, 1));
    assert_null(qn_buffer_steal(&buffer));
    qn_buffer_reset(&buffer);
    assert_string_equal(qn_buffer_text(&buffer), "");
    qn_buffer_append_text(&buffer, "defg");
    assert_int_equal(qn_buffer_check(&buffer, "text", NULL), QN_OK);
    assert_int_equal(buffer.limit, 4);
}

static void buffer__a_printf_over_the_limit_leaves_the_text_before(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    buffer.limit = 80;
    qn_buffer_append_text(&buffer, "abc");
    qn_buffer_printf(&buffer, "%0*d", 78, 0);
    assert_int_equal(buffer.failure, QN_BUFFER_LIMIT);
    assert_string_equal(buffer.data, "abc");
    assert_int_equal(buffer.size, 3);
}

static void buffer__sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    qn_buffer_append_text(&buffer, "abc");
    assert_false(qn_buffer_reserve(&buffer, SIZE_MAX));
    assert_int_equal(buffer.failure, QN_BUFFER_LIMIT);
    assert_string_equal(buffer.data, "abc");
}

static void buffer__steal_hands_out_and_empties(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    buffer.limit = 50;
    qn_auto_free char *nothing = qn_buffer_steal(&buffer);
    assert_string_equal(nothing, "");
    qn_buffer_append_text(&buffer, "abc");
    qn_auto_free char *text = qn_buffer_steal(&buffer);
    assert_string_equal(text, "abc");
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.limit, 50);
}

/* What a writer does; its result is the text or NULL. */
static char *write_everything(void)
{
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    for (int i = 0; i < 200; i++) {
        qn_buffer_append_text(&buffer, "0123456789");
        qn_buffer_printf(&buffer, "%d,", i);
        qn_buffer_append_byte(&buffer, '.');
    }
    struct qn_error err = QN_ERROR_INIT;
    if (qn_buffer_check(&buffer, "everything", &err) != QN_OK) {
        assert_int_equal(err.status, QN_ERR_NO_MEMORY);
        assert_string_equal(err.message, "everything: out of memory");
        assert_null(qn_buffer_steal(&buffer));
        return NULL;
    }
    return qn_buffer_steal(&buffer);
}

static void buffer__any_allocation_may_fail(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without -Dfaults=true\n");
        skip();
    }
    qn_auto_free char *expected = write_everything();
    assert_non_null(expected);
    int failed = 0;
    for (int64_t n = 1;; n++) {
        assert_true(qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE));
        qn_auto_free char *text = write_everything();
        int64_t hits = qn_fault_count(QN_FAULT_ALLOC);
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        if (hits < n) {
            assert_string_equal(text, expected);
            break;
        }
        assert_null(text);
        failed++;
    }
    assert_true(failed >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer__is_empty_text_before_the_first_byte),
        cmocka_unit_test(buffer__keeps_every_byte_and_a_nul_behind_them),
        cmocka_unit_test(buffer__prints_text_of_any_length),
        cmocka_unit_test(buffer__integers_are_big_endian),
        cmocka_unit_test(buffer__a_limit_is_reached_but_never_passed),
        cmocka_unit_test(buffer__a_failure_sticks_until_reset),
        cmocka_unit_test(buffer__a_printf_over_the_limit_leaves_the_text_before),
        cmocka_unit_test(buffer__sizes_that_overflow_are_refused),
        cmocka_unit_test(buffer__steal_hands_out_and_empties),
        cmocka_unit_test(buffer__any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
