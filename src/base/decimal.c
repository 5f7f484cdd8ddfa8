/*
 * decimal.c: exact decimals as 128-bit integers with a scale.
 *
 * Invariant: what is handed out has at most 38 digits and a scale of 0 to 38. No floating-point arithmetic is used; a
 * double is taken apart into its bits. Threads: no state.
 */
#include "base/decimal.h"

#include "base/text.h"

#include <string.h>

#define E19 UINT64_C(10000000000000000000)
/* 10^(19 + n) and 10^n from a power that 64 bits hold. */
#define HIGH(low) ((qn_int128)E19 * UINT64_C(low))
#define LOW(low)  ((qn_int128)UINT64_C(low))

static const qn_int128 powers[QN_DECIMAL_MAX_DIGITS + 1] = {
    LOW(1),
    LOW(10),
    LOW(100),
    LOW(1000),
    LOW(10000),
    LOW(100000),
    LOW(1000000),
    LOW(10000000),
    LOW(100000000),
    LOW(1000000000),
    LOW(10000000000),
    LOW(100000000000),
    LOW(1000000000000),
    LOW(10000000000000),
    LOW(100000000000000),
    LOW(1000000000000000),
    LOW(10000000000000000),
    LOW(100000000000000000),
    LOW(1000000000000000000),
    HIGH(1),
    HIGH(10),
    HIGH(100),
    HIGH(1000),
    HIGH(10000),
    HIGH(100000),
    HIGH(1000000),
    HIGH(10000000),
    HIGH(100000000),
    HIGH(1000000000),
    HIGH(10000000000),
    HIGH(100000000000),
    HIGH(1000000000000),
    HIGH(10000000000000),
    HIGH(100000000000000),
    HIGH(1000000000000000),
    HIGH(10000000000000000),
    HIGH(100000000000000000),
    HIGH(1000000000000000000),
    HIGH(10000000000000000000),
};

static const char digit_pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142"
    "43444546474849505152535455565758596061626364656667686970717273747576777879808182838485"
    "86878889909192939495969798"
    "99";

static qn_uint128 magnitude(qn_int128 value)
{
    return value < 0 ? -(qn_uint128)value : (qn_uint128)value;
}

qn_int128 qn_decimal_power(int n)
{
    return powers[n];
}

int qn_decimal_digits(qn_int128 value)
{
    qn_uint128 number = magnitude(value);
    if (number == 0) {
        return 1;
    }
    uint64_t upper = (uint64_t)(number >> 64);
    int bits = upper != 0 ? 128 - __builtin_clzll(upper) : 64 - __builtin_clzll((uint64_t)number);
    /* 1233 / 4096 is log10(2) to five digits: the guess is the number of digits or one less. */
    int guess = (bits * 1233) >> 12;
    return guess <= QN_DECIMAL_MAX_DIGITS && number >= (qn_uint128)powers[guess] ? guess + 1 : guess;
}

bool qn_decimal_rescale(qn_int128 value, int from_scale, int to_scale, qn_int128 *out)
{
    if (value == 0) {
        *out = 0;
        return true;
    }
    int64_t steps = (int64_t)to_scale - from_scale;
    if (steps >= 0) {
        if (qn_decimal_digits(value) + steps > QN_DECIMAL_MAX_DIGITS) {
            return false;
        }
        *out = value * powers[steps];
        return true;
    }
    if (steps < -QN_DECIMAL_MAX_DIGITS || value % powers[-steps] != 0) {
        return false;
    }
    qn_int128 result = value / powers[-steps]; /* at least one digit fewer than 39 */
    *out = result;
    return true;
}

/* The parts of a number's text: significand * 10^(zeros - scale), the significand without its trailing zeros. */
struct number_text {
    qn_uint128 significand;
    int digits;    /* of the significand, 0 where it is 0 */
    int64_t zeros; /* that follow the significand in the text */
    int64_t scale;
};

/* Read digits and point from *at on; false where there is no digit, or the significand has more than 38. */
static bool parse_digits(const char **at, const char *end, struct number_text *out)
{
    bool any = false;
    bool fraction = false;
    const char *c = *at;
    for (; c < end; c++) {
        if (*c == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (!qn_ascii_digit(*c)) {
            break;
        }
        any = true;
        out->scale += fraction;
        if (*c == '0') {
            out->zeros += out->digits > 0;
            continue;
        }
        if (out->digits + out->zeros + 1 > QN_DECIMAL_MAX_DIGITS) {
            return false;
        }
        int64_t step = out->zeros + 1;
        out->significand = out->significand * (qn_uint128)powers[step] + (unsigned)(*c - '0');
        out->digits += (int)step;
        out->zeros = 0;
    }
    *at = c;
    return any;
}

#define EXPONENT_MAX INT64_C(1000000000000) /* no text in memory is long enough to balance a larger one */

/* Read what follows the 'e', up to the end. */
static bool parse_exponent(const char *c, const char *end, int64_t *out)
{
    bool negative = c < end && *c == '-';
    if (c < end && (*c == '-' || *c == '+')) {
        c++;
    }
    if (c == end) {
        return false;
    }
    int64_t exponent = 0;
    for (; c < end; c++) {
        if (!qn_ascii_digit(*c)) {
            return false;
        }
        exponent = exponent < EXPONENT_MAX ? exponent * 10 + (*c - '0') : EXPONENT_MAX;
    }
    *out = negative ? -exponent : exponent;
    return true;
}

/* Bring scale and trailing zeros into what 38 digits hold, dropping zeros only. */
static bool fit_number(struct number_text *number)
{
    if (number->digits == 0) {
        number->zeros = 0;
        number->scale = number->scale < 0 ? 0 : number->scale;
        number->scale = number->scale > QN_DECIMAL_MAX_DIGITS ? QN_DECIMAL_MAX_DIGITS : number->scale;
        return true;
    }
    if (number->scale < 0) {
        number->zeros -= number->scale;
        number->scale = 0;
    }
    int64_t too_many = number->digits + number->zeros - QN_DECIMAL_MAX_DIGITS;
    int64_t too_deep = number->scale - QN_DECIMAL_MAX_DIGITS;
    int64_t drop = too_many > too_deep ? too_many : too_deep;
    if (drop > 0) {
        number->zeros -= drop;
        number->scale -= drop;
    }
    return number->zeros >= 0 && number->scale >= 0;
}

bool qn_decimal_parse(const char *text, size_t size, qn_int128 *value_out, int *scale_out)
{
    const char *at = text;
    const char *end = text + size;
    bool negative = size > 0 && *at == '-';
    if (size > 0 && (*at == '-' || *at == '+')) {
        at++;
    }
    struct number_text number = { 0 };
    if (!parse_digits(&at, end, &number)) {
        return false;
    }
    if (at < end) {
        int64_t exponent;
        if ((*at != 'e' && *at != 'E') || !parse_exponent(at + 1, end, &exponent)) {
            return false;
        }
        number.scale -= exponent;
    }
    if (!fit_number(&number)) {
        return false;
    }
    qn_int128 value = (qn_int128)number.significand * powers[number.zeros];
    *value_out = negative ? -value : value;
    *scale_out = (int)number.scale;
    return true;
}

/* Write digits backwards, ending before `end`; returns the first. */
static char *write_digits(char *end, uint64_t number)
{
    while (number >= 100) {
        end -= 2;
        memcpy(end, digit_pairs + 2 * (number % 100), 2);
        number /= 100;
    }
    if (number >= 10) {
        end -= 2;
        memcpy(end, digit_pairs + 2 * number, 2);
        return end;
    }
    *--end = (char)('0' + number);
    return end;
}

size_t qn_decimal_format(qn_int128 value, int scale, char out[QN_DECIMAL_TEXT_SIZE])
{
    char digits[QN_DECIMAL_TEXT_SIZE];
    char *end = digits + sizeof digits;
    char *first;
    qn_uint128 number = magnitude(value);
    if (number <= UINT64_MAX) {
        first = write_digits(end, (uint64_t)number);
    } else {
        first = write_digits(end, (uint64_t)(number % E19));
        memset(end - 19, '0', (size_t)(first - (end - 19)));
        first = write_digits(end - 19, (uint64_t)(number / E19));
    }
    /* At least one digit stands before the point. */
    while (end - first < scale + 1) {
        *--first = '0';
    }
    size_t before_point = (size_t)(end - first - scale);
    char *to = out;
    if (value < 0) {
        *to++ = '-';
    }
    memcpy(to, first, before_point);
    to += before_point;
    if (scale > 0) {
        *to++ = '.';
        memcpy(to, first + before_point, (size_t)scale);
        to += scale;
    }
    *to = '\0';
    return (size_t)(to - out);
}

bool qn_decimal_from_double(double number, int max_scale, qn_int128 *value_out, int *scale_out)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    int biased = (int)(bits >> 52 & 0x7FF);
    bool negative = bits >> 63 != 0;
    if (biased == 0x7FF) {
        return false; /* infinity or NaN */
    }
    if (biased == 0 && fraction == 0) {
        *value_out = 0;
        *scale_out = 0;
        return true;
    }
    /* number = significand * 2^exponent, the significand odd. */
    uint64_t significand = biased == 0 ? fraction : fraction | UINT64_C(1) << 52;
    int exponent = (biased == 0 ? 1 : biased) - 1075;
    exponent += __builtin_ctzll(significand);
    significand >>= __builtin_ctzll(significand);

    qn_int128 value = (qn_int128)significand;
    int scale = exponent < 0 ? -exponent : 0; /* an odd number / 2^n has exactly n decimals */
    if (exponent > 126 || scale > QN_DECIMAL_MAX_DIGITS || scale > max_scale) {
        return false;
    }
    const qn_int128 most = powers[QN_DECIMAL_MAX_DIGITS] - 1;
    qn_int128 factor = exponent >= 0 ? (qn_int128)1 << exponent : powers[scale] >> scale; /* 2^n, or 10^n / 2^n */
    if (value > most / factor) {
        return false;
    }
    value *= factor;
    *value_out = negative ? -value : value;
    *scale_out = scale;
    return true;
}
