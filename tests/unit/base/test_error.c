/*
 * test_error.c: filling errors: borders of texts, arguments inside the error itself, absent errors. Also the two small
 * things of the process that have no file of tests of their own: interrupts and the version.
 */
#include "base/status.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <qanat/plugin/driver.h>
#include <qanat/qanat.h>

static void error__set_fills_and_resets(void **state)
{
    (void)state;
    struct qn_error err;
    memset(&err, 0x55, sizeof err);
    assert_int_equal(qn_error_set(&err, QN_ERR_DATA, "column \"%s\": %d digits", "price", 39), QN_ERR_DATA);
    assert_int_equal(err.status, QN_ERR_DATA);
    assert_string_equal(err.message, "column \"price\": 39 digits");
    assert_int_equal(err.row, -1);
    assert_int_equal(err.position, 0);
    assert_false(err.retryable);
    const char *const texts[] = { err.sqlstate,    err.detail,     err.hint,       err.constraint_name,
                                  err.schema_name, err.table_name, err.column_name };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_string_equal(texts[i], "");
    }
}

static void error__an_absent_error_is_allowed_everywhere(void **state)
{
    (void)state;
    assert_int_equal(qn_error_set(NULL, QN_ERR_IO, "%s", "x"), QN_ERR_IO);
    assert_int_equal(qn__no_memory(NULL), QN_ERR_NO_MEMORY);
    qn_error_prefix(NULL, "%s", "x");
    qn_error_hint(NULL, "%s", "x");
    qn_error_place(NULL, 3, "x");
}

static void error__a_message_is_one_line(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    (void)qn_error_set(&err, QN_ERR_QUERY, "first\nsecond\r\nthird");
    assert_string_equal(err.message, "first second  third");
    qn_error_prefix(&err, "in\n%s", "task");
    assert_string_equal(err.message, "in task: first second  third");
}

static void error__long_texts_are_cut_between_characters(void **state)
{
    (void)state;
    /* The euro sign has three bytes: shift it over the border in all ways. */
    for (int shift = 0; shift < 4; shift++) {
        char text[2 * sizeof((struct qn_error *)0)->message];
        memset(text, 'a', sizeof text);
        for (size_t i = (size_t)shift; i + 3 < sizeof text; i += 3) {
            memcpy(text + i, "\xE2\x82\xAC", 3);
        }
        text[sizeof text - 1] = '\0';
        struct qn_error err = QN_ERROR_INIT;
        (void)qn_error_set(&err, QN_ERR_DATA, "%s", text);
        size_t size = strlen(err.message);
        assert_true(size <= sizeof err.message - 1 && size >= sizeof err.message - 3);
        assert_true(qn_utf8_valid(err.message, size));
        assert_memory_equal(err.message, text, size);

        qn_error_hint(&err, "%s", text);
        assert_true(qn_utf8_valid(err.hint, strlen(err.hint)));
        assert_true(strlen(err.hint) >= sizeof err.hint - 3);
        QN_ERROR_COPY(err.table_name, text, strlen(text));
        assert_true(qn_utf8_valid(err.table_name, strlen(err.table_name)));
        assert_true(strlen(err.table_name) >= sizeof err.table_name - 3);
    }
}

static void error__a_prefix_keeps_the_message_and_cuts_its_tail(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    (void)qn_error_set(&err, QN_ERR_CONFIG, "unknown key");
    err.row = 7;
    qn_error_prefix(&err, "loading \"%s\"", "x.toml");
    assert_string_equal(err.message, "loading \"x.toml\": unknown key");
    assert_int_equal(err.status, QN_ERR_CONFIG);
    assert_int_equal(err.row, 7);

    char text[1024];
    for (size_t i = 0; i + 1 < sizeof text; i += 2) {
        memcpy(text + i, "\xC3\xA9", 2);
    }
    text[sizeof text - 2] = '\0';
    for (int shift = 1; shift < 4; shift++) {
        (void)qn_error_set(&err, QN_ERR_CONFIG, "%s", text);
        qn_error_prefix(&err, "%0*d", shift, 0);
        assert_true(qn_utf8_valid(err.message, strlen(err.message)));
        assert_true(strlen(err.message) >= sizeof err.message - 2);
        assert_memory_equal(err.message + shift, ": \xC3\xA9", 4);
    }
    /* A prefix of any length leaves room for what it stands before. */
    (void)qn_error_set(&err, QN_ERR_CONFIG, "unknown key");
    qn_error_prefix(&err, "%s", text);
    assert_string_equal(err.message + strlen(err.message) - 13, ": unknown key");
}

static void error__arguments_may_be_inside_the_error(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    (void)qn_error_set(&err, QN_ERR_QUERY, "no such table");
    qn_error_hint(&err, "try again");
    (void)qn_error_set(&err, QN_ERR_DATA, "%s (%s)", err.message, err.hint);
    assert_string_equal(err.message, "no such table (try again)");
    assert_string_equal(err.hint, "");
    qn_error_hint(&err, "%s!", err.message);
    qn_error_hint(&err, "%s?", err.hint);
    assert_string_equal(err.hint, "no such table (try again)!?");
    qn_error_prefix(&err, "[%s]", err.message);
    assert_string_equal(err.message, "[no such table (try again)]: no such table (try again)");
    qn_error_place(&err, 1, "id");
    qn_error_place(&err, 2, err.column_name);
    assert_string_equal(err.column_name, "id");
    assert_int_equal(err.row, 2);
}

static void error__place_sets_row_and_column(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    qn_error_place(&err, 12, "price");
    assert_int_equal(err.row, 12);
    assert_string_equal(err.column_name, "price");
    qn_error_place(&err, -1, NULL);
    assert_int_equal(err.row, -1);
    assert_string_equal(err.column_name, "");
}

static void error__copy_takes_no_more_than_it_is_given(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    QN_ERROR_COPY(err.sqlstate, "23505junk", 5);
    assert_string_equal(err.sqlstate, "23505");
    QN_ERROR_COPY(err.sqlstate, "4200", 9);
    assert_string_equal(err.sqlstate, "4200");
    QN_ERROR_COPY(err.sqlstate, NULL, 5);
    assert_string_equal(err.sqlstate, "");
    QN_ERROR_COPY(err.detail, "x", 0);
    assert_string_equal(err.detail, "");
}

static void error__every_status_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(qn_status_name(QN_OK), "QN_OK");
    assert_string_equal(qn_status_name(QN_ERR_DATA), "QN_ERR_DATA");
    assert_string_equal(qn_status_name(QN_ERR_INTERNAL), "QN_ERR_INTERNAL");
    for (int a = QN_OK; a <= QN_ERR_FORBIDDEN; a++) {
        assert_string_not_equal(qn_status_name((enum qn_status)a), "QN_ERR_UNKNOWN");
        for (int b = QN_OK; b < a; b++) {
            assert_string_not_equal(qn_status_name((enum qn_status)a), qn_status_name((enum qn_status)b));
        }
    }
}

static int answer;
static int asked;
static int interrupt(void *context)
{
    asked += *(int *)context;
    return answer;
}

static void interrupt__asks_the_callback_that_is_set(void **state)
{
    (void)state;
    int step = 10;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_interrupt_poll(&err), QN_OK);
    qn_interrupt_set(interrupt, &step);
    assert_int_equal(qn_interrupt_poll(&err), QN_OK);
    assert_int_equal(asked, 10);
    answer = 1;
    assert_int_equal(qn_interrupt_poll(&err), QN_ERR_CANCELLED);
    assert_string_equal(err.message, "interrupted");
    assert_int_equal(qn_interrupt_poll(NULL), QN_ERR_CANCELLED);
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(qn_interrupt_poll(&err), QN_OK);
    assert_int_equal(asked, 30);
}

static void version__has_three_numbers(void **state)
{
    (void)state;
    int major;
    int minor;
    int patch;
    char more;
    assert_int_equal(sscanf(qn_version(), "%d.%d.%d%c", &major, &minor, &patch, &more), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error__set_fills_and_resets),
        cmocka_unit_test(error__an_absent_error_is_allowed_everywhere),
        cmocka_unit_test(error__a_message_is_one_line),
        cmocka_unit_test(error__long_texts_are_cut_between_characters),
        cmocka_unit_test(error__a_prefix_keeps_the_message_and_cuts_its_tail),
        cmocka_unit_test(error__arguments_may_be_inside_the_error),
        cmocka_unit_test(error__place_sets_row_and_column),
        cmocka_unit_test(error__copy_takes_no_more_than_it_is_given),
        cmocka_unit_test(error__every_status_has_its_name),
        cmocka_unit_test(interrupt__asks_the_callback_that_is_set),
        cmocka_unit_test(version__has_three_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
