/*
 * test_decimal.c: exactness of decimals; expected values are written as text or follow from arithmetic on integers.
 */
#include "base/decimal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NINES_38 "99999999999999999999999999999999999999"

static qn_int128 nines(void)
{
    return qn_decimal_power(38) - 1;
}

static void decimal__powers_are_products_of_ten(void **state)
{
    (void)state;
    qn_int128 power = 1;
    for (int n = 0; n <= 38; n++) {
        assert_true(qn_decimal_power(n) == power);
        power = n < 38 ? power * 10 : power;
    }
}

static void decimal__digits_around_every_power(void **state)
{
    (void)state;
    assert_int_equal(qn_decimal_digits(0), 1);
    for (int n = 0; n <= 38; n++) {
        assert_int_equal(qn_decimal_digits(qn_decimal_power(n)), n + 1);
        assert_int_equal(qn_decimal_digits(-qn_decimal_power(n)), n + 1);
        if (n > 0) {
            assert_int_equal(qn_decimal_digits(qn_decimal_power(n) - 1), n);
        }
    }
    for (int bit = 0; bit < 127; bit++) {
        qn_int128 value = (qn_int128)1 << bit;
        int digits = 0;
        for (qn_int128 left = value; left > 0; left /= 10) {
            digits++;
        }
        assert_int_equal(qn_decimal_digits(value), digits);
    }
    assert_int_equal(qn_decimal_digits((qn_int128)((qn_uint128)1 << 127)), 39); /* the smallest number */
}

static void decimal__rescale_is_exact_or_refused(void **state)
{
    (void)state;
    qn_int128 out = 77;
    assert_true(qn_decimal_rescale(12345, 2, 4, &out));
    assert_true(out == 1234500);
    assert_true(qn_decimal_rescale(-1234500, 4, 2, &out));
    assert_true(out == -12345);
    assert_true(qn_decimal_rescale(0, 38, 0, &out) && out == 0);
    assert_true(qn_decimal_rescale(0, 0, 400, &out) && out == 0);
    out = 77;
    assert_false(qn_decimal_rescale(12345, 2, 1, &out));   /* would lose a 5 */
    assert_false(qn_decimal_rescale(nines(), 0, 1, &out)); /* 39 digits */
    assert_false(qn_decimal_rescale(1, 0, 38, &out));      /* 10^38 has 39 digits */
    assert_false(qn_decimal_rescale(1, 0, 1000, &out));
    assert_false(qn_decimal_rescale(1, 1000, 0, &out));
    assert_false(qn_decimal_rescale(qn_decimal_power(38), 0, 0, &out));
    assert_true(out == 77);
    assert_true(qn_decimal_rescale(1, 0, 37, &out) && out == qn_decimal_power(37));
    assert_true(qn_decimal_rescale(nines(), 5, 5, &out) && out == nines());
}

static void accepts(const char *text, const char *written)
{
    qn_int128 value;
    int scale;
    char out[QN_DECIMAL_TEXT_SIZE];
    if (!qn_decimal_parse(text, strlen(text), &value, &scale)) {
        fail_msg("refused %s", text);
    }
    assert_int_equal(qn_decimal_format(value, scale, out), strlen(written));
    assert_string_equal(out, written);
}

static void refuses(const char *text)
{
    qn_int128 value = 5;
    int scale = 7;
    if (qn_decimal_parse(text, strlen(text), &value, &scale)) {
        fail_msg("accepted %s", text);
    }
    assert_true(value == 5 && scale == 7);
}

static void decimal__parse_keeps_the_scale_of_the_text(void **state)
{
    (void)state;
    accepts("0", "0");
    accepts("-0.00", "0.00");
    accepts("-123.450", "-123.450");
    accepts("+.5", "0.5");
    accepts("5.", "5");
    accepts("000123", "123");
    accepts("100", "100");
    accepts("1000000000000000000000", "1000000000000000000000");
    accepts(NINES_38, NINES_38);
    accepts("-0." NINES_38, "-0." NINES_38);
    accepts("1234567890123456789.0123456789012345678", "1234567890123456789.0123456789012345678");
    accepts("0.00000000000000000000000000000000000001", "0.00000000000000000000000000000000000001");
    accepts("00000000000000000000000000000000000000000000000000001.5", "1.5");
}

static void decimal__parse_applies_exponents(void **state)
{
    (void)state;
    accepts("1e-3", "0.001");
    accepts("1E3", "1000");
    accepts("1.5e+2", "150");
    accepts("123e-2", "1.23");
    accepts("12.30e1", "123.0");
    accepts("1e37", "10000000000000000000000000000000000000");
    accepts("0e999999999999999999999", "0");
    accepts("1e0000000000000000000000000001", "10");
    accepts("0.0000000000000000000000000000000000000000000001e46", "1");
}

static void decimal__parse_drops_only_zeros_beyond_38_digits(void **state)
{
    (void)state;
    accepts("1.00000000000000000000000000000000000000000000000000", "1.0000000000000000000000000000000000000");
    accepts("0.0000000000000000000000000000000000000000000", "0.00000000000000000000000000000000000000");
    accepts("10e-39", "0.00000000000000000000000000000000000001");
}

static void decimal__parse_refuses_what_is_no_decimal(void **state)
{
    (void)state;
    static const char *const bad[] = { "",     "-",   "+",   ".",     "-.",   "e5",    "1e",    "1e+",
                                       "1e-",  " 1",  "1 ",  "1,5",   "1..2", "1.2.3", "--1",   "+-1",
                                       "0x10", "NaN", "inf", "1e5.5", "1e5x", "1_000", "1e--1", "\xD9\xA1" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refuses(bad[i]);
    }
    qn_int128 value;
    int scale;
    assert_false(qn_decimal_parse("1\0002", 3, &value, &scale));
    assert_true(qn_decimal_parse("12junk", 2, &value, &scale)); /* reads size bytes and no more */
    assert_true(value == 12 && scale == 0);
}

static void decimal__parse_refuses_more_than_38_digits(void **state)
{
    (void)state;
    refuses("100000000000000000000000000000000000000"); /* 10^38 */
    refuses(NINES_38 "9");
    refuses(NINES_38 ".5");
    refuses("0." NINES_38 "1");
    refuses("1e38");
    refuses("1e-39");
    refuses("1e999999999999999999999");
    refuses("1e-999999999999999999999");
    refuses("340282366920938463463374607431768211457"); /* 2^128 + 1 */
}

static void decimal__format_writes_every_scale(void **state)
{
    (void)state;
    char out[QN_DECIMAL_TEXT_SIZE];
    for (int scale = 0; scale <= 38; scale++) {
        char expected[64];
        if (scale == 0) {
            (void)snprintf(expected, sizeof expected, "-7");
        } else {
            (void)snprintf(expected, sizeof expected, "-0.%0*d", scale, 7);
        }
        assert_int_equal(qn_decimal_format(-7, scale, out), strlen(expected));
        assert_string_equal(out, expected);
    }
    assert_int_equal(qn_decimal_format((qn_int128)((qn_uint128)1 << 127), 38, out), 41);
    assert_string_equal(out, "-1.70141183460469231731687303715884105728"); /* -2^127 */
    qn_decimal_format((qn_int128)UINT64_MAX + 1, 0, out);
    assert_string_equal(out, "18446744073709551616");
    qn_decimal_format(qn_decimal_power(19), 19, out);
    assert_string_equal(out, "1.0000000000000000000");
}

static void decimal__format_then_parse_gives_the_same(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 200000; round++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        qn_int128 value = (qn_int128)seed * (int64_t)(seed ^ seed << 31);
        int digits = (int)(seed >> 40) % 38 + 1;
        value %= qn_decimal_power(digits);
        int scale = (int)(seed >> 50) % 39;
        char text[QN_DECIMAL_TEXT_SIZE];
        size_t size = qn_decimal_format(value, scale, text);
        qn_int128 value_back;
        int scale_back;
        assert_true(qn_decimal_parse(text, size, &value_back, &scale_back));
        assert_true(value_back == value && scale_back == scale);
    }
}

static void decimal__from_double_is_exact_or_refused(void **state)
{
    (void)state;
    static const struct {
        double number;
        const char *written;
    } exact[] = {
        { 0.0, "0" },
        { -0.0, "0" },
        { 1.0, "1" },
        { -2.5, "-2.5" },
        { 0.125, "0.125" },
        { 9007199254740992.0, "9007199254740992" },
        { 0x1p126, "85070591730234615865843651857942052864" },
        { 0x1p-38, "0.00000000000363797880709171295166015625" },
        { 0x1.8p-37, "0.00000000001091393642127513885498046875" },
        { 1e22, "10000000000000000000000" },
        { 1e38, "99999999999999997748809823456034029568" }, /* the nearest double to 10^38 is below it */
    };
    qn_int128 value;
    int scale;
    char out[QN_DECIMAL_TEXT_SIZE];
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        assert_true(qn_decimal_from_double(exact[i].number, 38, &value, &scale));
        qn_decimal_format(value, scale, out);
        assert_string_equal(out, exact[i].written);
    }
    static const double inexact[] = { 0.1, 1e-7, 0x1p-39, 0x1p127, 1e39, 1e300, 5e-324, 0x1.0000000000001p0 };
    for (size_t i = 0; i < sizeof inexact / sizeof inexact[0]; i++) {
        assert_false(qn_decimal_from_double(inexact[i], 38, &value, &scale));
    }
    assert_false(qn_decimal_from_double(INFINITY, 38, &value, &scale));
    assert_false(qn_decimal_from_double(-INFINITY, 38, &value, &scale));
    assert_false(qn_decimal_from_double(NAN, 38, &value, &scale));
    assert_false(qn_decimal_from_double(0.25, 1, &value, &scale));
    assert_true(qn_decimal_from_double(0.25, 2, &value, &scale));
}

static void decimal__from_double_agrees_with_printf(void **state)
{
    (void)state;
    /* glibc prints every digit of a double: what it writes with 60 decimals is the exact value. */
    uint64_t seed = 42;
    int taken = 0;
    for (int round = 0; round < 100000; round++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        int bits = (int)(seed >> 58) % 53 + 1;
        double number = ldexp((double)(seed & ((UINT64_C(1) << bits) - 1)), (int)(seed >> 52) % 60 - 40);
        qn_int128 value;
        int scale;
        if (!qn_decimal_from_double(number, 38, &value, &scale)) {
            continue;
        }
        taken++;
        char expected[400];
        (void)snprintf(expected, sizeof expected, "%.*f", scale, number);
        char out[QN_DECIMAL_TEXT_SIZE];
        qn_decimal_format(value, scale, out);
        assert_string_equal(out, expected);
        assert_true(strtod(out, NULL) == number);
    }
    assert_true(taken > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimal__powers_are_products_of_ten),
        cmocka_unit_test(decimal__digits_around_every_power),
        cmocka_unit_test(decimal__rescale_is_exact_or_refused),
        cmocka_unit_test(decimal__parse_keeps_the_scale_of_the_text),
        cmocka_unit_test(decimal__parse_applies_exponents),
        cmocka_unit_test(decimal__parse_drops_only_zeros_beyond_38_digits),
        cmocka_unit_test(decimal__parse_refuses_what_is_no_decimal),
        cmocka_unit_test(decimal__parse_refuses_more_than_38_digits),
        cmocka_unit_test(decimal__format_writes_every_scale),
        cmocka_unit_test(decimal__format_then_parse_gives_the_same),
        cmocka_unit_test(decimal__from_double_is_exact_or_refused),
        cmocka_unit_test(decimal__from_double_agrees_with_printf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
