/*
 * rows_decimal.c: decimals as Arrow stores them (integers of 4 to 32 bytes, little-endian two's complement, and a scale) to
 * decimal text and back. Exact or refused. No state, no Python.
 */
#include "rows_private.h"

#include <string.h>

#define LIMBS        4
#define CHUNK        18 /* decimal digits that are handled at once: 10^18 fits 64 bits */
#define MAX_DIGITS   76
#define EXPONENT_MAX 1000000 /* past all that can fit; keeps sums small */

static const uint64_t chunk_base = UINT64_C(1000000000000000000);

static size_t write_number(uint64_t number, char *end)
{
    size_t size = 0;
    do {
        end[-(ptrdiff_t)++size] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return size;
}

/* Divide in place by 10^18; the remainder is returned. */
static uint64_t divide_chunk(uint64_t limbs[LIMBS])
{
    qn_uint128 rest = 0;
    for (int i = LIMBS - 1; i >= 0; i--) {
        qn_uint128 part = rest << 64 | limbs[i];
        limbs[i] = (uint64_t)(part / chunk_base);
        rest = part % chunk_base;
    }
    return (uint64_t)rest;
}

static void negate(uint64_t limbs[LIMBS])
{
    uint64_t carry = 1;
    for (int i = 0; i < LIMBS; i++) {
        limbs[i] = ~limbs[i] + carry;
        carry = carry != 0 && limbs[i] == 0;
    }
}

/* Digits of the magnitude, ending at `end`. */
static size_t write_limbs(uint64_t limbs[LIMBS], char *end)
{
    size_t size = 0;
    while ((limbs[1] | limbs[2] | limbs[3]) != 0 || limbs[0] >= chunk_base) {
        size_t written = write_number(divide_chunk(limbs), end - size);
        memset(end - size - CHUNK, '0', CHUNK - written);
        size += CHUNK;
    }
    return size + write_number(limbs[0], end - size);
}

size_t rows__decimal_text(const void *bytes, size_t width, int scale, char out[ROWS__DECIMAL_TEXT])
{
    uint64_t limbs[LIMBS];
    bool negative = (((const uint8_t *)bytes)[width - 1] & 0x80) != 0;
    memset(limbs, negative ? 0xFF : 0, sizeof limbs);
    memcpy(limbs, bytes, width);
    if (negative) {
        negate(limbs);
    }
    char digits[CHUNK * 5];
    size_t count = write_limbs(limbs, digits + sizeof digits), size = 0;
    if (negative) {
        out[size++] = '-';
    }
    memcpy(out + size, digits + sizeof digits - count, count);
    size += count;
    if (scale != 0) {
        out[size++] = 'E';
        out[size++] = scale > 0 ? '-' : '+';
        char exponent[20];
        count = write_number((uint64_t)(scale > 0 ? scale : -(int64_t)scale), exponent + sizeof exponent);
        memcpy(out + size, exponent + sizeof exponent - count, count);
        size += count;
    }
    out[size] = '\0';
    return size;
}

/* ---- back ---- */

struct number {
    bool negative;
    int n_digits;     /* without leading and trailing zeros */
    int64_t exponent; /* of the last digit */
    char digits[MAX_DIGITS];
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool parse_exponent(const char *at, const char *end, int64_t *exponent)
{
    bool negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    if (at == end) {
        return false;
    }
    int64_t value = 0;
    for (; at < end; at++) {
        if (!is_digit(*at)) {
            return false;
        }
        value = value >= EXPONENT_MAX ? EXPONENT_MAX : value * 10 + (*at - '0');
    }
    *exponent += negative ? -value : value;
    return true;
}

/* Digits as they count. More than MAX_DIGITS of them: *long_out. */
static bool parse_number(const char *at, const char *end, struct number *out, bool *long_out)
{
    int64_t zeros = 0; /* since the last digit that counts */
    bool fraction = false, some = false;
    for (; at < end && (is_digit(*at) || (*at == '.' && !fraction)); at++) {
        if (*at == '.') {
            fraction = true;
            continue;
        }
        some = true;
        out->exponent -= fraction;
        if (*at == '0') {
            zeros++;
            continue;
        }
        zeros = out->n_digits == 0 ? 0 : zeros;
        if (zeros + 1 > MAX_DIGITS - out->n_digits) {
            *long_out = true;
            return true;
        }
        memset(out->digits + out->n_digits, '0', (size_t)zeros);
        out->n_digits += (int)zeros;
        out->digits[out->n_digits++] = *at;
        zeros = 0;
    }
    out->exponent += zeros;
    if (some && at < end && (*at == 'E' || *at == 'e')) {
        return parse_exponent(at + 1, end, &out->exponent);
    }
    return some && at == end;
}

static void multiply_add(uint64_t limbs[LIMBS], uint64_t factor, uint64_t addend)
{
    qn_uint128 carry = addend;
    for (int i = 0; i < LIMBS; i++) {
        carry += (qn_uint128)limbs[i] * factor;
        limbs[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

/* The digits, then `zeros` zeros, as an integer. */
static void to_limbs(const struct number *number, int zeros, uint64_t limbs[LIMBS])
{
    uint64_t chunk = 0, power = 1;
    memset(limbs, 0, LIMBS * sizeof *limbs);
    for (int i = 0; i < number->n_digits + zeros; i++) {
        chunk = chunk * 10 + (i < number->n_digits ? (uint64_t)(number->digits[i] - '0') : 0);
        power *= 10;
        if (power == chunk_base) {
            multiply_add(limbs, power, chunk);
            chunk = 0;
            power = 1;
        }
    }
    multiply_add(limbs, power, chunk);
    if (number->negative) {
        negate(limbs);
    }
}

enum rows__decimal_fit rows__decimal_parse(const char *text, size_t size, int precision, int scale, size_t width,
                                           uint8_t out[32])
{
    const char *at = text, *end = text + size;
    struct number number = { .negative = size > 0 && *text == '-' };
    at += at < end && (*at == '-' || *at == '+');
    if (at < end && !is_digit(*at) && *at != '.') {
        return ROWS__DECIMAL_NOT_FINITE;
    }
    bool too_long = false;
    if (!parse_number(at, end, &number, &too_long)) {
        return ROWS__DECIMAL_MALFORMED;
    }
    uint64_t limbs[LIMBS] = { 0 };
    if (number.n_digits > 0) {
        int64_t zeros = number.exponent + scale;
        if (too_long || zeros < 0) {
            const char *point = memchr(text, '.', size);
            return too_long && point == NULL ? ROWS__DECIMAL_WHOLE_LONG : ROWS__DECIMAL_FRACTION_LONG;
        }
        if (number.n_digits + zeros > precision) {
            return ROWS__DECIMAL_WHOLE_LONG;
        }
        to_limbs(&number, (int)zeros, limbs);
    }
    memcpy(out, limbs, width);
    return ROWS__DECIMAL_FITS;
}
