/*
 * encode_cast.c: texts for numeric and interval columns of tables, which the server casts from a staging table.
 *
 * PostgreSQL streams a numeric without precision and an interval as text, and takes that text back. Its input rounds
 * what has more places than the column or the type keeps: such a text is refused here, with its row. Formats: "Numeric
 * Types" and "Interval Input" of PostgreSQL's documentation.
 */
#include "base/text.h"
#include "db/postgres/encode_parts.h"
#include "db/postgres/postgres.h"

#define NUMERIC_PLACES  16383 /* of a numeric without a typmod */
#define EXPONENT_MAX    100000
#define INTERVAL_PLACES 6

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool special(const char *at, size_t size)
{
    static const char *const names[] = { "nan", "infinity", "inf" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i]) == size && strncasecmp(at, names[i], size) == 0) {
            return true;
        }
    }
    return false;
}

/* "e-12" from *at to `end`; false where it is not that. */
static bool read_exponent(const char *at, const char *end, int64_t *out)
{
    bool negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    if (at == end) {
        return false;
    }
    int64_t value = 0;
    for (; at < end && qn_ascii_digit(*at); at++) {
        value = value < EXPONENT_MAX ? value * 10 + (*at - '0') : value;
    }
    *out = negative ? -value : value;
    return at == end;
}

/* The power of ten of the last digit that is not 0 (INT64_MAX: there is none); false where the text is no number. */
static bool last_power(const char *at, const char *end, int64_t *power_out)
{
    int64_t digits = 0, point = -1, last = -1, exponent = 0;
    at += at < end && (*at == '-' || *at == '+');
    if (special(at, (size_t)(end - at))) {
        *power_out = INT64_MAX;
        return true;
    }
    for (; at < end && (qn_ascii_digit(*at) || (*at == '.' && point < 0)); at++) {
        if (*at == '.') {
            point = digits;
            continue;
        }
        last = *at != '0' ? digits : last;
        digits++;
    }
    if (digits == 0 || (at < end && ((*at != 'e' && *at != 'E') || !read_exponent(at + 1, end, &exponent)))) {
        return false;
    }
    point = point < 0 ? digits : point;
    *power_out = last < 0 ? INT64_MAX : point - 1 - last + exponent;
    return true;
}

static enum qn_status put_numeric(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                  struct qn_error *err)
{
    if (!qn_reader_is_null(encoder->reader, row)) {
        const char *bytes;
        size_t size;
        QN_TRY(qn_pg_encode_text_value(encoder, row, &bytes, &size, err));
        const char *end = bytes + size;
        while (bytes < end && blank(*bytes)) {
            bytes++;
        }
        while (bytes < end && blank(end[-1])) {
            end--;
        }
        int64_t power;
        if (!last_power(bytes, end, &power)) {
            return qn_pg_encode_misfit(encoder, row, err, "the text is not a number");
        }
        if (power < -encoder->scale) {
            return qn_pg_encode_misfit(encoder, row, err, "the number has more places than the column keeps (%d)",
                                       (int)encoder->scale);
        }
    }
    return qn_pg_put_text(encoder, row, out, err);
}

static enum qn_status put_interval(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                   struct qn_error *err)
{
    if (!qn_reader_is_null(encoder->reader, row)) {
        const char *bytes;
        size_t size;
        QN_TRY(qn_pg_encode_text_value(encoder, row, &bytes, &size, err));
        int places = -1; /* before a point */
        for (size_t i = 0; i < size; i++) {
            bool digit = qn_ascii_digit(bytes[i]);
            places = bytes[i] == '.' ? 0 : !digit || places < 0 ? -1 : places <= INTERVAL_PLACES ? places + 1 : places;
            if (places > INTERVAL_PLACES && bytes[i] != '0') {
                return qn_pg_encode_misfit(encoder, row, err, "the interval has parts of a microsecond");
            }
        }
    }
    return qn_pg_put_text(encoder, row, out, err);
}

const char *qn_pg_encoder_cast(struct qn_pg_encoder *encoder)
{
    if (encoder->format != 0) {
        return NULL;
    }
    if (encoder->oid == QN_PG_NUMERIC) {
        int32_t packed = encoder->typmod - 4;
        encoder->scale = packed < 0 ? NUMERIC_PLACES : ((packed & 0x7FF) ^ 1024) - 1024;
        encoder->put = put_numeric;
        return "pg_catalog.numeric";
    }
    if (encoder->oid == QN_PG_INTERVAL && encoder->typmod < 0) { /* with a typmod the server would cut */
        encoder->put = put_interval;
        return "pg_catalog.interval";
    }
    return NULL;
}
