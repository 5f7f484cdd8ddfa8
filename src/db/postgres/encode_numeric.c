/*
 * encode_numeric.c: integers, decimals and floats into numeric.
 *
 * Binary form (numeric_recv): int16 number of base-10000 digits, int16 weight of the first, uint16 sign (0x0000 plus,
 * 0x4000 minus, 0xC000 NaN, 0xD000 infinity, 0xF000 minus infinity), uint16 decimal places to show, then the digits as
 * int16. The server would round to the column's scale without a word: a value that has more places is refused here.
 * A float becomes the shortest decimal that reads back as the same float, which is what every tool shows for it.
 */
#include "base/decimal.h"
#include "db/postgres/encode_parts.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGN_MINUS          0x4000
#define SIGN_NAN            0xC000
#define SIGN_INFINITY       0xD000
#define SIGN_MINUS_INFINITY 0xF000

#define MAX_DIGITS      24 /* base 10000, of 2^256 times 1000 */
#define DECIMAL256_SIZE 32

struct numeric {
    bool negative;
    int32_t scale;               /* of the source: places to show */
    int32_t count;               /* digits, the least first */
    int32_t least_weight;        /* of digits[0] */
    uint16_t digits[MAX_DIGITS]; /* base 10000 */
};

/* Digits of magnitude * 10^-scale, the magnitude given as words, the least first. They are used up. */
static void split_wide(struct numeric *to, uint64_t *words, int n_words, int scale)
{
    int over = ((scale % 4) + 4) % 4;
    uint64_t times = over == 0 ? 1 : over == 1 ? 1000 : over == 2 ? 100 : 10;
    uint64_t carry = 0;
    for (int i = 0; i < n_words; i++) {
        qn_uint128 product = (qn_uint128)words[i] * times + carry;
        words[i] = (uint64_t)product;
        carry = (uint64_t)(product >> 64);
    }
    words[n_words++] = carry;
    to->scale = scale;
    to->least_weight = -((scale + (over == 0 ? 0 : 4 - over)) / 4);
    to->count = 0;
    while (n_words > 0 && words[n_words - 1] == 0) {
        n_words--;
    }
    while (n_words > 1) {
        uint64_t rest = 0;
        for (int i = n_words - 1; i >= 0; i--) {
            qn_uint128 part = ((qn_uint128)rest << 64) | words[i];
            words[i] = (uint64_t)(part / 10000);
            rest = (uint64_t)(part % 10000);
        }
        to->digits[to->count++] = (uint16_t)rest;
        if (words[n_words - 1] == 0) {
            n_words--;
        }
    }
    for (uint64_t word = n_words > 0 ? words[0] : 0; word != 0; word /= 10000) {
        to->digits[to->count++] = (uint16_t)(word % 10000);
    }
}

static void split(struct numeric *to, qn_uint128 magnitude, int scale)
{
    if (scale == 0 && magnitude <= UINT64_MAX) {
        to->scale = 0;
        to->least_weight = 0;
        to->count = 0;
        for (uint64_t rest = (uint64_t)magnitude; rest != 0; rest /= 10000) {
            to->digits[to->count++] = (uint16_t)(rest % 10000);
        }
        return;
    }
    uint64_t words[3] = { (uint64_t)magnitude, (uint64_t)(magnitude >> 64), 0 };
    split_wide(to, words, 2, scale);
}

/* Does the value fit numeric(digits, scale) exactly? `first` is the first digit that is not zero, from the least. */
static bool fits(const struct qn_pg_encoder *encoder, const struct numeric *value, int first)
{
    if (encoder->digits == 0 || value->count == first) {
        return true;
    }
    int last = value->digits[first], zeros = 0;
    while (last % 10 == 0) {
        last /= 10;
        zeros++;
    }
    if (-(4 * (value->least_weight + first) + zeros) > encoder->scale) {
        return false;
    }
    int top = value->digits[value->count - 1];
    int top_digits = top >= 1000 ? 4 : top >= 100 ? 3 : top >= 10 ? 2 : 1;
    return 4 * (value->least_weight + value->count - 1) + top_digits <= encoder->digits - encoder->scale;
}

static enum qn_status refuse(const struct qn_pg_encoder *encoder, int64_t row, struct qn_error *err)
{
    char text[QN_PG_VALUE_TEXT];
    (void)qn_pg_value_text(encoder->reader, row, text);
    enum qn_status status = qn_pg_encode_misfit(encoder, row, err, "%s does not fit numeric(%d,%d)", text,
                                                (int)encoder->digits, (int)encoder->scale);
    qn_error_hint(err, "round the column to %d places, or give the target more digits", (int)encoder->scale);
    return status;
}

static enum qn_status write_numeric(const struct qn_pg_encoder *encoder, int64_t row, const struct numeric *value,
                                    struct qn_buffer *out, struct qn_error *err)
{
    int first = 0;
    while (first < value->count && value->digits[first] == 0) {
        first++;
    }
    if (QN_UNLIKELY(!fits(encoder, value, first))) {
        return refuse(encoder, row, err);
    }
    int count = value->count - first;
    char bytes[12 + 2 * MAX_DIGITS];
    qn_store_be32(bytes, (uint32_t)(8 + 2 * count));
    qn_store_be16(bytes + 4, (uint16_t)count);
    qn_store_be16(bytes + 6, (uint16_t)(count > 0 ? value->least_weight + value->count - 1 : 0));
    qn_store_be16(bytes + 8, value->negative && count > 0 ? SIGN_MINUS : 0);
    qn_store_be16(bytes + 10, (uint16_t)(value->scale > 0 ? value->scale : 0));
    for (int i = 0; i < count; i++) {
        qn_store_be16(bytes + 12 + 2 * i, value->digits[value->count - 1 - i]);
    }
    qn_buffer_append(out, bytes, 12 + 2 * (size_t)count);
    return QN_OK;
}

static void write_special(uint16_t sign, struct qn_buffer *out)
{
    char bytes[12] = { 0 };
    qn_store_be32(bytes, 8);
    qn_store_be16(bytes + 8, sign);
    qn_buffer_append(out, bytes, sizeof bytes);
}

enum qn_status qn_pg_put_numeric_int(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                     struct qn_error *err)
{
    const struct qn_reader *reader = encoder->reader;
    if (qn_reader_is_null(reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    struct numeric value = { .negative = false };
    uint64_t magnitude;
    if (reader->type.id == QN_TYPE_UINT64) {
        magnitude = qn_reader_uint64(reader, row);
    } else {
        int64_t number = qn_reader_int64(reader, row);
        value.negative = number < 0;
        magnitude = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    }
    split(&value, magnitude, 0);
    return write_numeric(encoder, row, &value, out, err);
}

/* The magnitude of a decimal256 as words, the least first. */
static bool read_decimal256(const struct qn_reader *reader, int64_t row, uint64_t words[5])
{
    uint64_t bits[4];
    memcpy(bits, reader->data + (size_t)(reader->offset + row) * DECIMAL256_SIZE, sizeof bits);
    bool negative = (bits[3] >> 63) != 0;
    uint64_t carry = negative ? 1 : 0;
    for (int i = 0; i < 4; i++) {
        uint64_t word = negative ? ~bits[i] : bits[i];
        words[i] = word + carry;
        carry = carry != 0 && words[i] == 0 ? 1 : 0;
    }
    words[4] = 0;
    return negative;
}

/* False: more than the reader can tell (a decimal256 in a dictionary). */
static bool read_decimal(const struct qn_reader *reader, int64_t row, struct numeric *value)
{
    qn_int128 number;
    if (qn_reader_decimal(reader, row, &number)) {
        value->negative = number < 0;
        split(value, number < 0 ? 0 - (qn_uint128)number : (qn_uint128)number, reader->type.scale);
        return true;
    }
    if (reader->type.id != QN_TYPE_DECIMAL256 || reader->dictionary != NULL) {
        return false;
    }
    uint64_t words[5];
    value->negative = read_decimal256(reader, row, words);
    split_wide(value, words, 4, reader->type.scale);
    return true;
}

enum qn_status qn_pg_put_numeric_decimal(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                         struct qn_error *err)
{
    const struct qn_reader *reader = encoder->reader;
    if (qn_reader_is_null(reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    struct numeric value = { .negative = false };
    if (!read_decimal(reader, row, &value)) {
        return qn_pg_encode_misfit(encoder, row, err, "a decimal of more than 38 digits in a dictionary");
    }
    return write_numeric(encoder, row, &value, out, err);
}

bool qn_pg_decimal_text(const struct qn_reader *reader, int64_t row, char out[QN_PG_VALUE_TEXT])
{
    struct numeric value = { .negative = false };
    if (!read_decimal(reader, row, &value)) {
        (void)snprintf(out, QN_PG_VALUE_TEXT, "a decimal of more than 38 digits");
        return false;
    }
    int places = value.scale > 0 ? value.scale : 0, at = 0, written = 0;
    int top = value.least_weight + value.count - 1;
    if (value.negative) {
        out[at++] = '-';
    }
    bool started = false;
    for (int weight = top > 0 ? top : 0; weight >= 0; weight--) {
        int index = weight - value.least_weight;
        unsigned digit = index >= 0 && index < value.count ? value.digits[index] : 0;
        at += snprintf(out + at, QN_PG_VALUE_TEXT - (size_t)at, started ? "%04u" : "%u", digit);
        started = true;
    }
    for (int weight = -1; written < places; weight--) {
        int index = weight - value.least_weight;
        unsigned digit = index >= 0 && index < value.count ? value.digits[index] : 0;
        char group[16];
        (void)snprintf(group, sizeof group, "%04u", digit);
        int shown = places - written < 4 ? places - written : 4;
        at += snprintf(out + at, QN_PG_VALUE_TEXT - (size_t)at, "%s%.*s", written == 0 ? "." : "", shown, group);
        written += shown;
    }
    return true;
}

int qn_pg_shortest(double number, bool single, char digits[24], int *point_out)
{
    /* The fewest digits that read back are the nearest of their length, as printf rounds correctly; normal numbers are
     * told apart by no fewer than 15 (6). The decimal point is whatever the locale says: only digits and the exponent
     * are looked at. */
    char text[QN_PG_DIGITS_TEXT];
    int most = single ? 9 : 17;
    int least = number < (single ? (double)FLT_MIN : DBL_MIN) ? 1 : single ? 6 : 15;
    for (int precision = least; precision <= most; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision - 1, number);
        if (single ? strtof(text, NULL) == (float)number : strtod(text, NULL) == number) {
            break;
        }
    }
    int count = 0;
    const char *at = text;
    for (; *at != 'e' && *at != '\0'; at++) {
        if (*at >= '0' && *at <= '9' && count < 23) {
            digits[count++] = *at;
        }
    }
    *point_out = (*at == 'e' ? atoi(at + 1) : 0) + 1;
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    digits[count] = '\0';
    return count;
}

enum qn_status qn_pg_put_numeric_float(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                       struct qn_error *err)
{
    const struct qn_reader *reader = encoder->reader;
    if (qn_reader_is_null(reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    double number = qn_reader_float64(reader, row);
    if (isnan(number)) {
        write_special(SIGN_NAN, out);
        return QN_OK;
    }
    if (isinf(number)) {
        if (encoder->digits != 0) {
            return refuse(encoder, row, err);
        }
        write_special(number > 0 ? SIGN_INFINITY : SIGN_MINUS_INFINITY, out);
        return QN_OK;
    }
    struct numeric value = { .negative = number < 0 };
    if (number != 0) {
        char digits[24];
        int point;
        int count = qn_pg_shortest(fabs(number), reader->type.id != QN_TYPE_FLOAT64, digits, &point);
        split(&value, strtoull(digits, NULL, 10), count - point);
    }
    return write_numeric(encoder, row, &value, out, err);
}
