/*
 * numeric.c: PostgreSQL's numeric in binary form into exact integers, texts and doubles.
 *
 * Layout (numeric_send in the server's numeric.c): int16 ndigits, int16 weight (power of 10000 of the first digit), int16
 * sign (0x0000 plus, 0x4000 minus, 0xC000 NaN, 0xD000 infinity, 0xF000 -infinity), int16 dscale, then ndigits int16
 * digits of 0 to 9999. Value = sum of digit[i] * 10000^(weight - i). Leading zero digits may occur in hostile input only,
 * and are harmless. Threads: no state.
 */
#include "db/postgres/decode.h"

#include <math.h>
#include <stdlib.h>

#define MAX_SCALE 16383 /* NUMERIC_DSCALE_MAX of the server */

static int32_t digit_at(const struct qn_pg_numeric *numeric, int32_t i)
{
    return qn_load_be16(numeric->digits + (size_t)i * 2);
}

bool qn_pg_numeric_open(const char *bytes, size_t size, struct qn_pg_numeric *out)
{
    if (size < 8) {
        return false;
    }
    uint32_t n_digits = qn_load_be16(bytes);
    uint32_t sign = qn_load_be16(bytes + 4);
    uint32_t scale = qn_load_be16(bytes + 6);
    if (size != 8 + (size_t)n_digits * 2) {
        return false;
    }
    *out = (struct qn_pg_numeric){
        .n_digits = (int32_t)n_digits,
        .weight = (int16_t)qn_load_be16(bytes + 2),
        .scale = (int32_t)scale,
        .negative = sign == 0x4000,
        .digits = bytes + 8,
    };
    switch (sign) {
    case 0xC000:
        out->kind = QN_PG_NUMERIC_NAN;
        return true;
    case 0xD000:
        out->kind = QN_PG_NUMERIC_PLUS;
        return true;
    case 0xF000:
        out->kind = QN_PG_NUMERIC_MINUS;
        return true;
    case 0x0000:
    case 0x4000:
        break;
    default:
        return false;
    }
    for (int32_t i = 0; i < out->n_digits; i++) {
        if (digit_at(out, i) > 9999) {
            return false;
        }
    }
    return scale <= MAX_SCALE;
}

/* Up to four digits with a small exponent: the numbers of everyday tables, in 64 bits. */
static bool small_decimal(const struct qn_pg_numeric *numeric, int32_t n, int32_t exponent, qn_int128 *out)
{
    static const uint64_t power[5] = { 1, 10, 100, 1000, 10000 };
    uint64_t sum = 0;
    for (int32_t i = 0; i < n - 1; i++) {
        sum = sum * 10000 + (uint64_t)digit_at(numeric, i);
    }
    uint64_t last = (uint64_t)digit_at(numeric, n - 1);
    uint64_t cut = exponent < 0 ? power[-exponent] : 1;
    if (cut != 1 && last % cut != 0) {
        return false;
    }
    uint64_t value = sum * (10000 / cut) + last / cut;
    qn_int128 scaled = (qn_int128)value * (exponent > 0 ? (int64_t)power[exponent] : 1);
    *out = numeric->negative ? -scaled : scaled;
    return true;
}

bool qn_pg_numeric_to_decimal(const struct qn_pg_numeric *numeric, int32_t scale, qn_int128 *out)
{
    int32_t n = numeric->n_digits;
    while (n > 0 && digit_at(numeric, n - 1) == 0) {
        n--;
    }
    /* the last digit stands for digit * 10^exponent of the scaled integer */
    int32_t exponent = (numeric->weight - n + 1) * 4 + scale;
    if (n == 0) {
        *out = 0;
        return true;
    }
    if (exponent < -3 || exponent > QN_DECIMAL_MAX_DIGITS) {
        return false;
    }
    if (QN_LIKELY(n <= 4 && exponent <= 4)) {
        return small_decimal(numeric, n, exponent, out);
    }
    /* Before each multiplication by 10^k the sum must not pass 10^(38 - k). */
    qn_uint128 sum = 0;
    qn_uint128 limit = (qn_uint128)qn_decimal_power(QN_DECIMAL_MAX_DIGITS - 4);
    for (int32_t i = 0; i < n - 1; i++) {
        if (sum > limit) {
            return false;
        }
        sum = sum * 10000 + (uint32_t)digit_at(numeric, i);
    }
    int32_t cut_digits = exponent < 0 ? -exponent : 0;
    uint32_t cut = (uint32_t)qn_decimal_power(cut_digits);
    uint32_t last = (uint32_t)digit_at(numeric, n - 1);
    if (last % cut != 0 || sum > (qn_uint128)qn_decimal_power(QN_DECIMAL_MAX_DIGITS - 4 + cut_digits)) {
        return false;
    }
    sum = sum * (10000 / cut) + last / cut;
    if (exponent > 0) {
        if (sum > (qn_uint128)qn_decimal_power(QN_DECIMAL_MAX_DIGITS - exponent)) {
            return false;
        }
        sum *= (qn_uint128)qn_decimal_power(exponent);
    }
    if (sum >= (qn_uint128)qn_decimal_power(QN_DECIMAL_MAX_DIGITS)) {
        return false;
    }
    *out = numeric->negative ? -(qn_int128)sum : (qn_int128)sum;
    return true;
}

/* Four decimal digits of the base-10000 digit with the given power; zero where there is none. */
static int32_t digit_of_power(const struct qn_pg_numeric *numeric, int32_t of_power)
{
    int32_t i = numeric->weight - of_power;
    return i >= 0 && i < numeric->n_digits ? digit_at(numeric, i) : 0;
}

static void append_four(struct qn_buffer *out, int32_t digit, int count)
{
    char text[4] = { (char)('0' + digit / 1000), (char)('0' + digit / 100 % 10), (char)('0' + digit / 10 % 10),
                     (char)('0' + digit % 10) };
    qn_buffer_append(out, text, (size_t)count);
}

void qn_pg_numeric_to_text(const struct qn_pg_numeric *numeric, struct qn_buffer *out)
{
    if (numeric->negative) {
        qn_buffer_append_byte(out, '-');
    }
    int32_t first = numeric->weight;
    while (first > 0 && digit_of_power(numeric, first) == 0) {
        first--;
    }
    if (first < 0) {
        qn_buffer_append_byte(out, '0');
    } else {
        qn_buffer_printf(out, "%d", digit_of_power(numeric, first));
        for (int32_t power = first - 1; power >= 0; power--) {
            append_four(out, digit_of_power(numeric, power), 4);
        }
    }
    if (numeric->scale > 0) {
        qn_buffer_append_byte(out, '.');
    }
    for (int32_t written = 0; written < numeric->scale; written += 4) {
        int32_t left = numeric->scale - written;
        append_four(out, digit_of_power(numeric, -1 - written / 4), left < 4 ? left : 4);
    }
}

bool qn_pg_numeric_to_double(const struct qn_pg_numeric *numeric, struct qn_buffer *scratch, double *out)
{
    if (numeric->kind != QN_PG_NUMERIC_FINITE) {
        *out = numeric->kind == QN_PG_NUMERIC_NAN ? NAN : (numeric->kind == QN_PG_NUMERIC_PLUS ? INFINITY : -INFINITY);
        return true;
    }
    /* An integer and an exponent: strtod rounds correctly, and no decimal point depends on the locale. */
    qn_buffer_reset(scratch);
    qn_buffer_append_text(scratch, numeric->negative ? "-0" : "0");
    for (int32_t i = 0; i < numeric->n_digits; i++) {
        append_four(scratch, digit_at(numeric, i), 4);
    }
    qn_buffer_printf(scratch, "e%d", (numeric->weight - numeric->n_digits + 1) * 4);
    if (scratch->failure != QN_BUFFER_FINE) {
        return false;
    }
    *out = strtod(qn_buffer_text(scratch), NULL);
    return true;
}
