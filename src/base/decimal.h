/*
 * decimal.h: exact decimals of up to 38 digits as 128-bit integers with a scale.
 *
 * A decimal is value * 10^-scale. Every function is exact or says that it cannot be.
 */
#ifndef QN_BASE_DECIMAL_H
#define QN_BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

__extension__ typedef __int128 qn_int128;
__extension__ typedef unsigned __int128 qn_uint128;

#define QN_DECIMAL_MAX_DIGITS 38
#define QN_DECIMAL_TEXT_SIZE  48 /* sign, 38 digits, point, leading zero, NUL, and room */

/* 10^n for n in 0..38. */
qn_int128 qn_decimal_power(int n);

/* Decimal digits of |value|; 1 for 0. */
int qn_decimal_digits(qn_int128 value);

/* value * 10^(to - from) where that is exact and |result| < 10^38; false otherwise. */
bool qn_decimal_rescale(qn_int128 value, int from_scale, int to_scale, qn_int128 *out);

/* Parse "-123.450", "1e-3", "+.5" (no spaces, no NaN). False where it is malformed or has more than 38 digits. The scale is
 * that of the text (0 to 38; exponents are applied). */
bool qn_decimal_parse(const char *text, size_t size, qn_int128 *value_out, int *scale_out);

/* Write "-123.450" and a NUL; returns the length. scale is 0 to 38. */
size_t qn_decimal_format(qn_int128 value, int scale, char out[QN_DECIMAL_TEXT_SIZE]);

/* The decimal that a double is exactly, where it has at most 38 digits with a scale of at most `max_scale`. */
bool qn_decimal_from_double(double number, int max_scale, qn_int128 *value_out, int *scale_out);

#endif
