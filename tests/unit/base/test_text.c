/*
 * test_text.c: comparisons and small values in text.
 */
#include "base/text.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void text__compares_ascii_letters_whatever_their_case(void **state)
{
    (void)state;
    assert_true(qn_text_equal_nocase("Select", "sELECT"));
    assert_true(qn_text_equal_nocase("", ""));
    assert_false(qn_text_equal_nocase("select", "selec"));
    assert_false(qn_text_equal_nocase("selec", "select"));
    assert_false(qn_text_equal_nocase("[", "{")); /* differ in the bit that a letter's case is */
    assert_false(qn_text_equal_nocase("\xC3\x84", "\xC3\xA4"));
    assert_true(qn_text_starts_nocase("PostgreSQL://x", "postgresql:"));
    assert_true(qn_text_starts_nocase("abc", ""));
    assert_false(qn_text_starts_nocase("ab", "abc"));
    assert_false(qn_text_starts_nocase("abd", "abc"));
}

static void text__booleans_are_the_known_words(void **state)
{
    (void)state;
    static const char *const yes[] = { "true", "TRUE", "Yes", "on", "1" };
    static const char *const no[] = { "false", "No", "OFF", "0" };
    static const char *const neither[] = { "", "2", "t", "y", "tru", "truee", " true", "01" };
    bool out = false;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        out = false;
        assert_true(qn_text_to_bool(yes[i], &out) && out);
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        out = true;
        assert_true(qn_text_to_bool(no[i], &out) && !out);
    }
    for (size_t i = 0; i < sizeof neither / sizeof neither[0]; i++) {
        assert_false(qn_text_to_bool(neither[i], &out));
    }
}

static void text__integers_are_whole_and_in_range(void **state)
{
    (void)state;
    long long out = 7;
    assert_true(qn_text_to_int64("0", 0, 10, &out) && out == 0);
    assert_true(qn_text_to_int64("-12", -20, 10, &out) && out == -12);
    assert_true(qn_text_to_int64("+0012", 0, 12, &out) && out == 12);
    assert_true(qn_text_to_int64("9223372036854775807", LLONG_MIN, LLONG_MAX, &out) && out == LLONG_MAX);
    assert_true(qn_text_to_int64("-9223372036854775808", LLONG_MIN, LLONG_MAX, &out) && out == LLONG_MIN);
    static const char *const bad[] = { "",
                                       "-",
                                       "+",
                                       " 1",
                                       "1 ",
                                       "1x",
                                       "0x1",
                                       "1.0",
                                       "1e3",
                                       "--1",
                                       "9223372036854775808",
                                       "-9223372036854775809",
                                       "99999999999999999999999" };
    out = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(qn_text_to_int64(bad[i], LLONG_MIN, LLONG_MAX, &out));
    }
    assert_false(qn_text_to_int64("11", 0, 10, &out));
    assert_false(qn_text_to_int64("-1", 0, 10, &out));
    assert_int_equal(out, 7);
}

static void text__classes_are_ascii(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        assert_int_equal(qn_ascii_digit((char)c), c >= '0' && c <= '9');
        assert_int_equal(qn_ascii_letter((char)c), (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
        assert_int_equal(qn_ascii_space((char)c), c != 0 && strchr(" \t\n\v\f\r", c) != NULL);
        int lower = c >= 'A' && c <= 'Z' ? c + 32 : c;
        assert_int_equal(qn_ascii_lower((char)c), (char)lower);
    }
}

static void text__distance_counts_letters(void **state)
{
    (void)state;
    assert_int_equal(qn_text_distance("files", "files"), 0);
    assert_int_equal(qn_text_distance("fils", "files"), 1);
    assert_int_equal(qn_text_distance("", "http"), 4);
    assert_int_equal(qn_text_distance("kitten", "sitting"), 3);
    assert_int_equal(qn_text_distance("Files", "files"), 1);
    assert_int_equal(qn_text_distance_nocase("FILS", "files"), 1);
    assert_int_equal(qn_text_distance("a", "a text that is longer than sixty-four bytes, too long to be mistyped"),
                     QN_TEXT_FAR);
    assert_true(qn_text_is_near("abc", 1));
    assert_false(qn_text_is_near("abc", 2));
    assert_true(qn_text_is_near("abcd", 2));
    assert_false(qn_text_is_near("abcd", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text__compares_ascii_letters_whatever_their_case),
        cmocka_unit_test(text__booleans_are_the_known_words),
        cmocka_unit_test(text__integers_are_whole_and_in_range),
        cmocka_unit_test(text__classes_are_ascii),
        cmocka_unit_test(text__distance_counts_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
