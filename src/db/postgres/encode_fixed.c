/*
 * encode_fixed.c: values that take one, two, four or eight bytes in PostgreSQL's binary form, loaded many at a time.
 *
 * bool is a byte; int2, int4, int8, oid, float4 and float8 are themselves; date is an int32 of days, time, timestamp and
 * timestamptz an int64 of microseconds, from 2000-01-01 where they have a date. The extreme integers mean infinity in
 * PostgreSQL and are never made from a finite value. interval (int64 microseconds, int32 days, int32 months) is here too.
 *
 * Loads run over whole columns: convert all, test all at once, and look for the culprit only where the test fails.
 */
#include "base/calendar.h"
#include "base/decimal.h"
#include "db/postgres/encode_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DOUBLE_DIGITS 15 /* decimals of so many digits survive the way through a double */
#define FLOAT_DIGITS  6

/* ---- raw words ---- */

#define COPY_WORDS(ctype)                                                                                              \
    do {                                                                                                               \
        const uint8_t *at = reader->data + (size_t)(reader->offset + first) * sizeof(ctype);                           \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            ctype value;                                                                                               \
            memcpy(&value, at + (size_t)i * sizeof value, sizeof value);                                               \
            words[i] = (uint64_t)(int64_t)value;                                                                       \
        }                                                                                                              \
    } while (0)

/* Stored integers, sign-extended. */
static void load_words(const struct qn_reader *reader, int64_t first, int64_t n, uint64_t *words)
{
    if (reader->dictionary != NULL) {
        for (int64_t i = 0; i < n; i++) {
            bool null = qn_reader_is_null(reader, first + i);
            words[i] = null                                ? 0
                       : reader->type.id == QN_TYPE_UINT64 ? qn_reader_uint64(reader, first + i)
                                                           : (uint64_t)qn_reader_int64(reader, first + i);
        }
        return;
    }
    switch (reader->type.id) {
    case QN_TYPE_INT8:
        COPY_WORDS(int8_t);
        break;
    case QN_TYPE_INT16:
        COPY_WORDS(int16_t);
        break;
    case QN_TYPE_INT32:
    case QN_TYPE_DATE32:
    case QN_TYPE_TIME32:
        COPY_WORDS(int32_t);
        break;
    case QN_TYPE_UINT8:
        COPY_WORDS(uint8_t);
        break;
    case QN_TYPE_UINT16:
        COPY_WORDS(uint16_t);
        break;
    case QN_TYPE_UINT32:
        COPY_WORDS(uint32_t);
        break;
    default: /* 64 bits: integers, date64, time64, timestamps, durations */
        COPY_WORDS(int64_t);
        break;
    }
}

/* ---- integers ---- */

static enum qn_status refuse_value(const struct qn_pg_encoder *encoder, int64_t row, struct qn_error *err)
{
    char text[QN_PG_VALUE_TEXT], name[32];
    (void)qn_pg_value_text(encoder->reader, row, text);
    return qn_pg_encode_misfit(encoder, row, err, "%s does not fit %s", text,
                               qn_pg_encode_type_name(encoder->oid, name));
}

enum qn_status qn_pg_load_int(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                              struct qn_error *err)
{
    load_words(encoder->reader, first, n, words);
    int64_t low = encoder->low, high = encoder->high;
    bool bad = false;
    for (int64_t i = 0; i < n; i++) {
        bad |= (int64_t)words[i] < low || (int64_t)words[i] > high;
    }
    for (int64_t i = 0; bad && i < n; i++) {
        bool misfit = (int64_t)words[i] < low || (int64_t)words[i] > high;
        if (misfit && !qn_reader_is_null(encoder->reader, first + i)) {
            return refuse_value(encoder, first + i, err);
        }
    }
    return QN_OK;
}

enum qn_status qn_pg_load_bool(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                               struct qn_error *err)
{
    (void)err;
    const struct qn_reader *reader = encoder->reader;
    for (int64_t i = 0; i < n; i++) {
        if (QN_UNLIKELY(reader->dictionary != NULL)) {
            words[i] = !qn_reader_is_null(reader, first + i) && qn_reader_bool(reader, first + i);
            continue;
        }
        int64_t at = reader->offset + first + i;
        words[i] = (reader->data[at >> 3] >> (at & 7)) & 1;
    }
    return QN_OK;
}

enum qn_status qn_pg_load_bool_from_int(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                                        struct qn_error *err)
{
    return qn_pg_load_int(encoder, first, n, words, err); /* the range is 0 to 1 */
}

enum qn_status qn_pg_load_int_from_float(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                                         struct qn_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        words[i] = 0;
        if (qn_reader_is_null(encoder->reader, first + i)) {
            continue;
        }
        double number = qn_reader_float64(encoder->reader, first + i);
        bool in_range = number >= -0x1p63 && number < 0x1p63;
        if (!in_range || number != trunc(number) || (int64_t)number < encoder->low || (int64_t)number > encoder->high) {
            return refuse_value(encoder, first + i, err);
        }
        words[i] = (uint64_t)(int64_t)number;
    }
    return QN_OK;
}

enum qn_status qn_pg_load_int_from_decimal(const struct qn_pg_encoder *encoder, int64_t first, int64_t n,
                                           uint64_t *words, struct qn_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        words[i] = 0;
        if (qn_reader_is_null(encoder->reader, first + i)) {
            continue;
        }
        qn_int128 value, whole;
        if (!qn_reader_decimal(encoder->reader, first + i, &value) ||
            !qn_decimal_rescale(value, encoder->reader->type.scale, 0, &whole) || whole < encoder->low ||
            whole > encoder->high) {
            return refuse_value(encoder, first + i, err);
        }
        words[i] = (uint64_t)(int64_t)whole;
    }
    return QN_OK;
}

/* ---- floats ---- */

static uint64_t double_word(double number)
{
    uint64_t word;
    memcpy(&word, &number, sizeof word);
    return word;
}

static uint64_t float_word(float number)
{
    uint32_t word;
    memcpy(&word, &number, sizeof word);
    return word;
}

/* The float that a double may become: equal, or the one that is written with the same digits (0.1). */
static bool double_to_float(double number, float *out)
{
    *out = (float)number;
    if ((double)*out == number || isnan(number)) {
        return true;
    }
    if (isinf(*out) || *out == 0) {
        return false;
    }
    char digits[24], text[48];
    int point;
    int count = qn_pg_shortest(fabs((double)*out), true, digits, &point);
    (void)snprintf(text, sizeof text, "%se%d", digits, point - count);
    return strtod(text, NULL) == fabs(number);
}

static enum qn_status load_float4(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                                  struct qn_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        words[i] = 0;
        if (qn_reader_is_null(encoder->reader, first + i)) {
            continue;
        }
        float value;
        if (!double_to_float(qn_reader_float64(encoder->reader, first + i), &value)) {
            enum qn_status status = refuse_value(encoder, first + i, err);
            qn_error_hint(err, "cast the column to Float32 where its precision is enough, or make the target double "
                               "precision");
            return status;
        }
        words[i] = float_word(value);
    }
    return QN_OK;
}

enum qn_status qn_pg_load_float(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                                struct qn_error *err)
{
    const struct qn_reader *reader = encoder->reader;
    bool direct = reader->dictionary == NULL;
    const uint8_t *at = reader->data;
    if (direct && encoder->width == 8 && reader->type.id == QN_TYPE_FLOAT64) {
        memcpy(words, at + (size_t)(reader->offset + first) * sizeof *words, (size_t)n * sizeof *words);
        return QN_OK;
    }
    if (direct && encoder->width == 4 && reader->type.id == QN_TYPE_FLOAT32) {
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, at + (size_t)(reader->offset + first + i) * sizeof bits, sizeof bits);
            words[i] = bits;
        }
        return QN_OK;
    }
    if (encoder->width == 4) {
        return load_float4(encoder, first, n, words, err);
    }
    for (int64_t i = 0; i < n; i++) {
        bool null = qn_reader_is_null(reader, first + i);
        words[i] = null ? 0 : double_word(qn_reader_float64(reader, first + i));
    }
    return QN_OK;
}

static enum qn_status refuse_integer(const struct qn_pg_encoder *encoder, int64_t row, struct qn_error *err)
{
    enum qn_status status = refuse_value(encoder, row, err);
    qn_error_hint(err,
                  "%s holds whole numbers of this size only in part: cast the column, or make the target bigint "
                  "or numeric",
                  encoder->width == 4 ? "real" : "double precision");
    return status;
}

/* From integers, exactly: what is left without the trailing zero bits must fit the mantissa. */
enum qn_status qn_pg_load_float_from_int(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                                         struct qn_error *err)
{
    const struct qn_reader *reader = encoder->reader;
    load_words(reader, first, n, words);
    int mantissa = encoder->width == 4 ? 24 : 53;
    for (int64_t i = 0; i < n; i++) {
        bool negative = reader->type.id != QN_TYPE_UINT64 && (int64_t)words[i] < 0;
        uint64_t magnitude = negative ? 0 - words[i] : words[i];
        if (magnitude >> mantissa != 0 && (magnitude >> __builtin_ctzll(magnitude)) >> mantissa != 0) {
            if (!qn_reader_is_null(reader, first + i)) {
                return refuse_integer(encoder, first + i, err);
            }
        }
        double number = negative ? -(double)magnitude : (double)magnitude;
        words[i] = encoder->width == 4 ? float_word((float)number) : double_word(number);
    }
    return QN_OK;
}

/* From decimals that read back the same: at most 15 significant digits for double precision, 6 for real. */
enum qn_status qn_pg_load_float_from_decimal(const struct qn_pg_encoder *encoder, int64_t first, int64_t n,
                                             uint64_t *words, struct qn_error *err)
{
    int most = encoder->width == 4 ? FLOAT_DIGITS : DOUBLE_DIGITS;
    for (int64_t i = 0; i < n; i++) {
        words[i] = 0;
        if (qn_reader_is_null(encoder->reader, first + i)) {
            continue;
        }
        qn_int128 value = 0;
        int scale = encoder->reader->type.scale;
        bool fits = qn_reader_decimal(encoder->reader, first + i, &value);
        for (; value != 0 && value % 10 == 0; scale--) {
            value /= 10;
        }
        int digits = qn_decimal_digits(value);
        int top = digits - scale; /* 10^(top - 1) <= |value| < 10^top */
        if (!fits || digits > most || (value != 0 && encoder->width == 4 && (top > 38 || top < -36))) {
            enum qn_status status = refuse_value(encoder, first + i, err);
            qn_error_hint(err, "cast the column to a float, or make the target numeric");
            return status;
        }
        char text[48];
        (void)snprintf(text, sizeof text, "%llde%d", (long long)value, -scale);
        words[i] = encoder->width == 4 ? float_word(strtof(text, NULL)) : double_word(strtod(text, NULL));
    }
    return QN_OK;
}

/* ---- dates and times ---- */

/* One value to the target's units and epoch; false where that is not exact or out of range. */
static inline bool convert_time(const struct qn_pg_encoder *encoder, int64_t value, int64_t factor, uint64_t *out)
{
    if (factor > 0) {
        if (__builtin_mul_overflow(value, factor, &value)) {
            return false;
        }
    } else if (factor < 0) {
        int64_t divisor = -factor;
        if (value % divisor != 0) {
            return false;
        }
        value /= divisor;
    }
    if (encoder->precision > 1 && value % encoder->precision != 0) {
        return false;
    }
    if (__builtin_sub_overflow(value, encoder->shift, &value) || value < encoder->low || value > encoder->high) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

static enum qn_status refuse_time(const struct qn_pg_encoder *encoder, int64_t row, struct qn_error *err)
{
    char text[QN_PG_VALUE_TEXT], name[32];
    (void)qn_pg_value_text(encoder->reader, row, text);
    const char *target = qn_pg_encode_type_name(encoder->oid, name);
    int64_t stored = qn_reader_int64(encoder->reader, row);
    int64_t divisor = encoder->factor < 0 ? -encoder->factor : 1;
    if (stored % divisor == 0 && (encoder->precision <= 1 || stored / divisor % encoder->precision == 0)) {
        return qn_pg_encode_misfit(encoder, row, err, "%s is outside of what %s can hold", text, target);
    }
    if (encoder->width == 4) {
        return qn_pg_encode_misfit(encoder, row, err, "%s has a time of day, which %s cannot hold", text, target);
    }
    if (encoder->precision <= 1) {
        enum qn_status status =
            qn_pg_encode_misfit(encoder, row, err, "%s is not a whole number of microseconds", text);
        qn_error_hint(err, "%s holds microseconds: round the column to them", target);
        return status;
    }
    int places = 6;
    for (int64_t rest = encoder->precision; rest > 1; rest /= 10) {
        places--;
    }
    return qn_pg_encode_misfit(encoder, row, err, "%s has more decimals of a second than %s(%d) can hold", text, target,
                               places);
}

enum qn_status qn_pg_load_time(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                               struct qn_error *err)
{
    load_words(encoder->reader, first, n, words);
    int64_t factor = encoder->factor;
    for (int64_t i = 0; i < n; i++) {
        int64_t value = (int64_t)words[i];
        /* constants let the compiler divide by multiplication */
        bool fine = factor == 0       ? convert_time(encoder, value, 0, &words[i])
                    : factor == -1000 ? convert_time(encoder, value, -1000, &words[i])
                                      : convert_time(encoder, value, factor, &words[i]);
        if (QN_UNLIKELY(!fine) && !qn_reader_is_null(encoder->reader, first + i)) {
            return refuse_time(encoder, first + i, err);
        }
    }
    return QN_OK;
}

/* ---- one value ---- */

enum qn_status qn_pg_put_fixed(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                               struct qn_error *err)
{
    if (qn_reader_is_null(encoder->reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    uint64_t word;
    QN_TRY(encoder->load(encoder, row, 1, &word, err));
    char bytes[12];
    qn_store_be32(bytes, encoder->width);
    qn_store_be64(bytes + 4, word << (64 - 8 * encoder->width));
    qn_buffer_append(out, bytes, 4 + (size_t)encoder->width);
    return QN_OK;
}

/* ---- intervals ---- */

enum qn_status qn_pg_put_interval(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                  struct qn_error *err)
{
    const struct qn_reader *reader = encoder->reader;
    if (qn_reader_is_null(reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    int32_t months = 0, days = 0;
    int64_t micros = 0, nanos = 0;
    bool exact = true;
    if (reader->type.id == QN_TYPE_DURATION) {
        exact = qn_reader_micros(reader, row, &micros);
    } else {
        qn_reader_interval(reader, row, &months, &days, &nanos);
        exact = nanos % 1000 == 0;
        micros = nanos / 1000;
    }
    if (!exact || micros % encoder->precision != 0) {
        char text[QN_PG_VALUE_TEXT];
        (void)qn_pg_value_text(reader, row, text);
        return qn_pg_encode_misfit(encoder, row, err, "%s is not exact in the microseconds of interval", text);
    }
    char bytes[20];
    qn_store_be32(bytes, 16);
    qn_store_be64(bytes + 4, (uint64_t)micros);
    qn_store_be32(bytes + 12, (uint32_t)days);
    qn_store_be32(bytes + 16, (uint32_t)months);
    qn_buffer_append(out, bytes, sizeof bytes);
    return QN_OK;
}
