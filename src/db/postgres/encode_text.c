/*
 * encode_text.c: what is sent as its bytes: strings, bytea, uuid, json and jsonb (a version byte 1, then the text), and
 * other values where the target is text.
 *
 * A text must be valid UTF-8 without NUL, which PostgreSQL cannot store. A text longer than varchar(n) is refused even
 * where only spaces would be cut.
 */
#include "base/calendar.h"
#include "base/decimal.h"
#include "base/utf8.h"
#include "db/postgres/encode_parts.h"
#include "db/postgres/postgres.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define UUID_SIZE     16
#define EXCERPT_BYTES 40

enum qn_status qn_pg_put_null(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                              struct qn_error *err)
{
    (void)encoder;
    (void)row;
    (void)err;
    qn_buffer_append_be32(out, UINT32_MAX);
    return QN_OK;
}

/* ---- checks ---- */

/* True where all bytes are ASCII without NUL, tested eight at a time. */
static inline bool plain_text(const char *bytes, size_t size)
{
    const uint64_t high = UINT64_C(0x8080808080808080), ones = UINT64_C(0x0101010101010101);
    uint64_t seen = 0;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof word);
        seen |= word | ((word - ones) & ~word);
    }
    if (at < size) {
        uint64_t word = ones;
        memcpy(&word, bytes + at, size - at);
        seen |= word | ((word - ones) & ~word);
    }
    return (seen & high) == 0;
}

enum qn_status qn_pg_encode_check_text(const struct qn_pg_encoder *encoder, int64_t row, const char *bytes, size_t size,
                                       struct qn_error *err)
{
    if (QN_LIKELY(plain_text(bytes, size))) {
        return QN_OK;
    }
    const char *nul = memchr(bytes, '\0', size);
    if (nul != NULL) {
        enum qn_status status =
            qn_pg_encode_misfit(encoder, row, err, "the text has a NUL character at byte %zu", (size_t)(nul - bytes));
        qn_error_hint(err, "PostgreSQL cannot store NUL in text: remove it, or use a bytea column");
        return status;
    }
    size_t valid = qn_utf8_valid_prefix(bytes, size);
    if (valid < size) {
        return qn_pg_encode_misfit(encoder, row, err, "the text is not valid UTF-8 at byte %zu (0x%02x)", valid,
                                   (unsigned)(unsigned char)bytes[valid]);
    }
    return QN_OK;
}

static enum qn_status check_length(const struct qn_pg_encoder *encoder, int64_t row, const char *bytes, size_t size,
                                   struct qn_error *err)
{
    if (QN_UNLIKELY(size > QN_PG_VALUE_MAX)) {
        return qn_pg_encode_misfit(encoder, row, err, "%zu bytes exceed PostgreSQL's limit of 1 GiB for a value", size);
    }
    if (encoder->oid != QN_PG_VARCHAR || encoder->typmod < 4 || size <= (size_t)encoder->typmod - 4) {
        return QN_OK;
    }
    size_t characters = 0;
    for (size_t i = 0; i < size; i++) {
        characters += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    }
    if (characters > (size_t)encoder->typmod - 4) {
        return qn_pg_encode_misfit(encoder, row, err, "a text of %zu characters does not fit character varying(%d)",
                                   characters, (int)(encoder->typmod - 4));
    }
    return QN_OK;
}

static enum qn_status read_bytes(const struct qn_pg_encoder *encoder, int64_t row, const char **bytes, size_t *size,
                                 struct qn_error *err)
{
    if (QN_UNLIKELY(!qn_reader_bytes(encoder->reader, row, bytes, size))) {
        return qn_pg_encode_misfit(encoder, row, err, "the Arrow value points outside of its buffers");
    }
    return QN_OK;
}

static void append_value(uint8_t version, const char *bytes, size_t size, struct qn_buffer *out)
{
    size_t extra = version != 0 ? 1 : 0;
    if (!qn_buffer_reserve(out, size + extra + 4)) {
        return;
    }
    qn_buffer_append_be32(out, (uint32_t)(size + extra));
    if (extra != 0) {
        qn_buffer_append_byte(out, (char)version);
    }
    qn_buffer_append(out, bytes, size);
}

/* ---- strings and bytes ---- */

enum qn_status qn_pg_encode_text_value(const struct qn_pg_encoder *encoder, int64_t row, const char **bytes,
                                       size_t *size, struct qn_error *err)
{
    QN_TRY(read_bytes(encoder, row, bytes, size, err));
    QN_TRY(check_length(encoder, row, *bytes, *size, err));
    return qn_pg_encode_check_text(encoder, row, *bytes, *size, err);
}

enum qn_status qn_pg_put_text(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                              struct qn_error *err)
{
    if (qn_reader_is_null(encoder->reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    const char *bytes;
    size_t size;
    QN_TRY(qn_pg_encode_text_value(encoder, row, &bytes, &size, err));
    append_value(encoder->version, bytes, size, out);
    return QN_OK;
}

enum qn_status qn_pg_put_bytes(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                               struct qn_error *err)
{
    if (qn_reader_is_null(encoder->reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    const char *bytes;
    size_t size;
    QN_TRY(read_bytes(encoder, row, &bytes, &size, err));
    QN_TRY(check_length(encoder, row, bytes, size, err));
    append_value(0, bytes, size, out);
    return QN_OK;
}

/* "char": one byte, the empty text is a zero byte. */
enum qn_status qn_pg_put_char(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                              struct qn_error *err)
{
    if (qn_reader_is_null(encoder->reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    const char *bytes;
    size_t size;
    QN_TRY(read_bytes(encoder, row, &bytes, &size, err));
    QN_TRY(qn_pg_encode_check_text(encoder, row, bytes, size, err));
    if (size > 1) {
        return qn_pg_encode_misfit(encoder, row, err, "a text of %zu bytes does not fit \"char\", which holds one",
                                   size);
    }
    append_value(0, size == 1 ? bytes : "", 1, out);
    return QN_OK;
}

/* ---- uuid ---- */

enum qn_status qn_pg_put_uuid_bytes(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                    struct qn_error *err)
{
    if (qn_reader_is_null(encoder->reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    const char *bytes;
    size_t size;
    QN_TRY(read_bytes(encoder, row, &bytes, &size, err));
    if (size != UUID_SIZE) {
        return qn_pg_encode_misfit(encoder, row, err, "%zu bytes are not the 16 of a uuid", size);
    }
    append_value(0, bytes, size, out);
    return QN_OK;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* 32 hexadecimal digits, or 8-4-4-4-12 of them. */
static bool parse_uuid(const char *text, size_t size, char out[UUID_SIZE])
{
    if (size != 32 && size != 36) {
        return false;
    }
    size_t at = 0;
    for (int i = 0; i < UUID_SIZE; i++) {
        if (size == 36 && (i == 4 || i == 6 || i == 8 || i == 10) && text[at++] != '-') {
            return false;
        }
        int high = hex_value(text[at]), low = hex_value(text[at + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (char)(unsigned char)(high * 16 + low);
        at += 2;
    }
    return true;
}

/* The start of a text for a message: printable ASCII, the rest as '?'. */
static void excerpt(const char *bytes, size_t size, char out[EXCERPT_BYTES + 4])
{
    size_t shown = size < EXCERPT_BYTES ? size : EXCERPT_BYTES;
    for (size_t i = 0; i < shown; i++) {
        out[i] = bytes[i] >= ' ' && bytes[i] < 127 ? bytes[i] : '?';
    }
    memcpy(out + shown, shown < size ? "..." : "", shown < size ? 4 : 1);
}

enum qn_status qn_pg_put_uuid_text(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                   struct qn_error *err)
{
    if (qn_reader_is_null(encoder->reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    const char *bytes;
    size_t size;
    char uuid[UUID_SIZE];
    QN_TRY(read_bytes(encoder, row, &bytes, &size, err));
    if (!parse_uuid(bytes, size, uuid)) {
        char shown[EXCERPT_BYTES + 4];
        excerpt(bytes, size, shown);
        return qn_pg_encode_misfit(encoder, row, err, "\"%s\" is not a uuid", shown);
    }
    append_value(0, uuid, sizeof uuid, out);
    return QN_OK;
}

/* ---- json from values that are not text ---- */

enum qn_status qn_pg_put_json(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                              struct qn_error *err)
{
    if (qn_reader_is_null(encoder->reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    size_t start = out->size;
    qn_buffer_append_be32(out, 0);
    if (encoder->version != 0) {
        qn_buffer_append_byte(out, (char)encoder->version);
    }
    enum qn_status status = qn_reader_to_json(encoder->reader, row, out, err);
    if (status != QN_OK) {
        qn_error_place(err, encoder->row_base + row, encoder->reader->name);
        return status;
    }
    if (out->failure != QN_BUFFER_FINE) {
        return QN_OK; /* sticky: the caller's check reports it */
    }
    size_t size = out->size - start - 4;
    if (size > QN_PG_VALUE_MAX) {
        return qn_pg_encode_misfit(encoder, row, err, "%zu bytes of JSON exceed PostgreSQL's limit of 1 GiB", size);
    }
    qn_store_be32(out->data + start, (uint32_t)size);
    return QN_OK;
}

/* ---- values as text ---- */

/* As float8out writes: the shortest digits, with an exponent from 1e+15 (1e+06 for real) on and below 1e-04. */
static void float_text(double number, bool single, char out[QN_PG_VALUE_TEXT])
{
    if (!isfinite(number) || number == 0) {
        const char *text = isnan(number)     ? "NaN"
                           : isinf(number)   ? (number > 0 ? "Infinity" : "-Infinity")
                           : signbit(number) ? "-0"
                                             : "0";
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%s", text);
        return;
    }
    char digits[24];
    int point;
    int count = qn_pg_shortest(fabs(number), single, digits, &point);
    int exponent = point - 1;
    const char *sign = number < 0 ? "-" : "";
    if (exponent < -4 || exponent >= (single ? 6 : 15)) {
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%s%c%s%se%c%02d", sign, digits[0], count > 1 ? "." : "", digits + 1,
                       exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
    } else if (exponent < 0) {
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%s0.%.*s%s", sign, -exponent - 1, "0000", digits);
    } else if (point >= count) {
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%s%s%.*s", sign, digits, point - count, "0000000000000000");
    } else {
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%s%.*s.%s", sign, point, digits, digits + point);
    }
}

static int64_t per_second(enum qn_time_unit unit)
{
    return unit == QN_UNIT_SECOND ? 1 : unit == QN_UNIT_MILLI ? 1000 : unit == QN_UNIT_MICRO ? 1000000 : 1000000000;
}

/* Times and timestamps of any unit; a fraction with as many digits as it needs of six and nine. False: outside of the
 * calendar or the day, and told as a number. */
static bool clock_text(const struct qn_reader *reader, int64_t value, char out[QN_PG_VALUE_TEXT])
{
    bool stamp = reader->type.id == QN_TYPE_TIMESTAMP || reader->type.id == QN_TYPE_DATE64;
    int64_t units = per_second(reader->type.id == QN_TYPE_DATE64 ? QN_UNIT_MILLI : reader->type.unit);
    int64_t rest = value % units;
    int64_t seconds = value / units - (rest < 0 ? 1 : 0);
    int64_t nanos = (rest < 0 ? rest + units : rest) * (1000000000 / units);
    const char *zone = reader->type.id == QN_TYPE_TIMESTAMP && reader->type.timezone[0] != '\0' ? "+00" : "";
    char text[QN_CALENDAR_TEXT_SIZE], fraction[32] = "";
    bool far = seconds > INT64_MAX / QN_MICROS_PER_SECOND || seconds < INT64_MIN / QN_MICROS_PER_SECOND;
    if (far || (!stamp && (seconds < 0 || seconds >= 86400))) {
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%" PRId64 " units of 1/%" PRId64 " s", value, units);
        return false;
    }
    if (stamp) {
        (void)qn_timestamp_format(seconds * QN_MICROS_PER_SECOND, text);
    } else {
        (void)qn_time_format(seconds * QN_MICROS_PER_SECOND, text);
    }
    if (nanos != 0) {
        int places = nanos % 1000 != 0 ? 9 : 6;
        (void)snprintf(fraction, sizeof fraction, ".%0*" PRId64, places, places == 9 ? nanos : nanos / 1000);
    }
    (void)snprintf(out, QN_PG_VALUE_TEXT, "%s%s%s", text, fraction, zone);
    return true;
}

bool qn_pg_value_text(const struct qn_reader *reader, int64_t row, char out[QN_PG_VALUE_TEXT])
{
    switch (reader->type.id) {
    case QN_TYPE_BOOL:
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%s", qn_reader_bool(reader, row) ? "true" : "false");
        return true;
    case QN_TYPE_UINT64:
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%" PRIu64, qn_reader_uint64(reader, row));
        return true;
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        float_text(qn_reader_float64(reader, row), reader->type.id != QN_TYPE_FLOAT64, out);
        return true;
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return qn_pg_decimal_text(reader, row, out);
    case QN_TYPE_DATE32:
        (void)qn_date_format((int32_t)qn_reader_int64(reader, row), out);
        return true;
    case QN_TYPE_DATE64:
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
    case QN_TYPE_TIMESTAMP:
        return clock_text(reader, qn_reader_int64(reader, row), out);
    case QN_TYPE_DURATION:
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%" PRId64 " units of 1/%" PRId64 " s", qn_reader_int64(reader, row),
                       per_second(reader->type.unit));
        return true;
    case QN_TYPE_INTERVAL_MONTHS:
    case QN_TYPE_INTERVAL_DAY_TIME:
    case QN_TYPE_INTERVAL_MONTH_DAY_NANO: {
        int32_t months, days;
        int64_t nanos;
        qn_reader_interval(reader, row, &months, &days, &nanos);
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%d months %d days %" PRId64 " ns", (int)months, (int)days, nanos);
        return true;
    }
    default: /* integers; nothing else is asked for */
        (void)snprintf(out, QN_PG_VALUE_TEXT, "%" PRId64, qn_reader_int64(reader, row));
        return true;
    }
}

enum qn_status qn_pg_put_as_text(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                 struct qn_error *err)
{
    if (qn_reader_is_null(encoder->reader, row)) {
        return qn_pg_put_null(encoder, row, out, err);
    }
    char text[QN_PG_VALUE_TEXT];
    if (!qn_pg_value_text(encoder->reader, row, text)) {
        return qn_pg_encode_misfit(encoder, row, err, "%s cannot be written as text", text);
    }
    size_t size = strlen(text);
    QN_TRY(check_length(encoder, row, text, size, err));
    append_value(0, text, size, out);
    return QN_OK;
}
