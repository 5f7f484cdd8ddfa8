/*
 * reader_json.c: one value of a bound reader as JSON text (RFC 8259).
 *
 * Numbers are exact: integers and decimals with all their digits, floats as the shortest text that reads back. Binary is
 * base64 (RFC 4648), dates and times ISO 8601 text, durations and intervals ISO 8601 durations. Structs are objects, lists
 * arrays, maps with string keys objects and others arrays of their entries. What JSON cannot hold is an error. No state.
 */
#include "arrow/float_text.h"
#include "arrow/reader.h"
#include "arrow/type_parse.h"
#include "base/buffer.h"
#include "base/calendar.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>

#define NANOS_PER_SECOND INT64_C(1000000000)

static enum qn_status refuse(const struct qn_reader *reader, const char *what, struct qn_error *err)
{
    enum qn_status status = qn_error_set(err, QN_ERR_DATA, "column \"%s\": %s", reader->name, what);
    qn_error_place(err, -1, reader->name);
    return status;
}

static enum qn_status append_text(const struct qn_reader *reader, const char *bytes, size_t size, struct qn_buffer *out,
                                  struct qn_error *err)
{
    static const char escapes[32] = { ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't' };
    if (!qn_utf8_valid(bytes, size)) {
        return refuse(reader, "text is not valid UTF-8, which JSON cannot hold", err);
    }
    qn_buffer_append_byte(out, '"');
    size_t plain = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= ' ' && c != '"' && c != '\\') {
            continue;
        }
        qn_buffer_append(out, bytes + plain, i - plain);
        plain = i + 1;
        if (c >= ' ') {
            qn_buffer_append_byte(out, '\\');
            qn_buffer_append_byte(out, (char)c);
        } else if (escapes[c] != 0) {
            qn_buffer_append_byte(out, '\\');
            qn_buffer_append_byte(out, escapes[c]);
        } else {
            qn_buffer_printf(out, "\\u%04x", (unsigned)c);
        }
    }
    qn_buffer_append(out, bytes + plain, size - plain);
    qn_buffer_append_byte(out, '"');
    return QN_OK;
}

static void append_base64(const char *bytes, size_t size, struct qn_buffer *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    qn_buffer_append_byte(out, '"');
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t word = (uint32_t)(unsigned char)bytes[i] << 16;
        word |= left > 1 ? (uint32_t)(unsigned char)bytes[i + 1] << 8 : 0;
        word |= left > 2 ? (uint32_t)(unsigned char)bytes[i + 2] : 0;
        char group[4] = { digits[word >> 18], digits[(word >> 12) & 63], left > 1 ? digits[(word >> 6) & 63] : '=',
                          left > 2 ? digits[word & 63] : '=' };
        qn_buffer_append(out, group, sizeof group);
    }
    qn_buffer_append_byte(out, '"');
}

/* ---- numbers ---- */

static enum qn_status append_float(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                   struct qn_error *err)
{
    char text[QN_FLOAT_TEXT_SIZE];
    double number = qn_reader_float64(reader, row);
    if (!isfinite(number)) {
        return refuse(reader, "NaN and infinity cannot be written as JSON", err);
    }
    size_t size =
        reader->type.id == QN_TYPE_FLOAT64 ? qn__float64_text(number, text) : qn__float32_text((float)number, text);
    qn_buffer_append(out, text, size);
    return QN_OK;
}

static enum qn_status append_decimal(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                     struct qn_error *err)
{
    char text[QN_DECIMAL_TEXT_SIZE];
    qn_int128 value;
    int scale = reader->type.scale;
    if (!qn_reader_decimal(reader, row, &value)) {
        return refuse(reader, "a decimal has more than 38 digits", err);
    }
    bool plain = scale >= 0 && scale <= QN_DECIMAL_MAX_DIGITS;
    qn_buffer_append(out, text, qn_decimal_format(value, plain ? scale : 0, text));
    if (!plain) {
        qn_buffer_printf(out, "e%d", -scale);
    }
    return QN_OK;
}

/* ---- times ---- */

/* Whole seconds, rounded down, and the nanoseconds after them. */
static void split_seconds(int64_t value, enum qn_time_unit unit, int64_t *seconds_out, int64_t *nanos_out)
{
    static const int64_t per_second[] = { 1, 1000, 1000000, NANOS_PER_SECOND };
    int64_t per = per_second[unit & 3];
    int64_t seconds = value / per;
    int64_t rest = value % per;
    if (rest < 0) {
        rest += per;
        seconds--;
    }
    *seconds_out = seconds;
    *nanos_out = rest * (NANOS_PER_SECOND / per);
}

/* ".123", ".123456" or ".123456789", nothing for 0. */
static void append_fraction(int64_t nanos, struct qn_buffer *out)
{
    if (nanos == 0) {
        return;
    }
    if (nanos % 1000 == 0) {
        qn_buffer_printf(out, ".%06" PRId64, nanos / 1000);
    } else {
        qn_buffer_printf(out, ".%09" PRId64, nanos);
    }
}

static enum qn_status append_timestamp(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                       struct qn_error *err)
{
    char text[QN_CALENDAR_TEXT_SIZE];
    int64_t seconds, nanos, micros;
    split_seconds(qn_reader_int64(reader, row), reader->type.unit, &seconds, &nanos);
    if (__builtin_mul_overflow(seconds, QN_MICROS_PER_SECOND, &micros)) {
        return refuse(reader, "a timestamp is outside of the calendar", err);
    }
    size_t size = qn_timestamp_format(micros, text);
    char *space = memchr(text, ' ', size);
    if (space != NULL) {
        *space = 'T';
    }
    qn_buffer_append_byte(out, '"');
    qn_buffer_append(out, text, size);
    append_fraction(nanos, out);
    qn_buffer_append_text(out, reader->type.timezone[0] != '\0' ? "Z\"" : "\"");
    return QN_OK;
}

static enum qn_status append_time(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                  struct qn_error *err)
{
    char text[QN_CALENDAR_TEXT_SIZE];
    int64_t seconds, nanos;
    split_seconds(qn_reader_int64(reader, row), reader->type.unit, &seconds, &nanos);
    if (seconds < 0 || seconds >= 86400) {
        return refuse(reader, "a time is outside of the day", err);
    }
    qn_buffer_append_byte(out, '"');
    qn_buffer_append(out, text, qn_time_format(seconds * QN_MICROS_PER_SECOND, text));
    append_fraction(nanos, out);
    qn_buffer_append_byte(out, '"');
    return QN_OK;
}

static enum qn_status append_date(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                  struct qn_error *err)
{
    char text[QN_CALENDAR_TEXT_SIZE];
    int64_t value = qn_reader_int64(reader, row);
    if (reader->type.id == QN_TYPE_DATE64) {
        const int64_t per_day = QN_MICROS_PER_DAY / 1000;
        if (value % per_day != 0 || value / per_day < INT32_MIN || value / per_day > INT32_MAX) {
            return refuse(reader, "a date in milliseconds is not a whole day of the calendar", err);
        }
        value /= per_day;
    }
    qn_buffer_append_byte(out, '"');
    qn_buffer_append(out, text, qn_date_format((int32_t)value, text));
    qn_buffer_append_byte(out, '"');
    return QN_OK;
}

/* Seconds with their fraction and sign: "-0.5S". */
static void append_seconds(int64_t value, enum qn_time_unit unit, struct qn_buffer *out)
{
    int64_t seconds, nanos;
    split_seconds(value, unit, &seconds, &nanos);
    bool borrowed = seconds < 0 && nanos > 0;
    seconds += borrowed ? 1 : 0;
    nanos = borrowed ? NANOS_PER_SECOND - nanos : nanos;
    qn_buffer_append_text(out, borrowed && seconds == 0 ? "-" : "");
    qn_buffer_printf(out, "%" PRId64, seconds);
    append_fraction(nanos, out);
    qn_buffer_append_byte(out, 'S');
}

static void append_interval(const struct qn_reader *reader, int64_t row, struct qn_buffer *out)
{
    int32_t months, days;
    int64_t nanos;
    qn_reader_interval(reader, row, &months, &days, &nanos);
    qn_buffer_printf(out, "\"P%dM%dDT", (int)months, (int)days);
    append_seconds(nanos, QN_UNIT_NANO, out);
    qn_buffer_append_byte(out, '"');
}

/* ---- nested values ---- */

static enum qn_status append_value(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                   struct qn_error *err);

static enum qn_status append_struct(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                    struct qn_error *err)
{
    int64_t at = qn_reader_struct_row(reader, row);
    qn_buffer_append_byte(out, '{');
    for (int64_t i = 0; i < reader->n_children; i++) {
        const struct qn_reader *child = &reader->children[i];
        qn_buffer_append_text(out, i > 0 ? ", " : "");
        QN_TRY(append_text(child, child->name, strlen(child->name), out, err));
        qn_buffer_append_text(out, ": ");
        QN_TRY(append_value(child, at, out, err));
    }
    qn_buffer_append_byte(out, '}');
    return QN_OK;
}

/* A map with string keys: an object, its keys in the order of the entries. */
static enum qn_status append_object(const struct qn_reader *entries, int64_t first, int64_t count,
                                    struct qn_buffer *out, struct qn_error *err)
{
    const struct qn_reader *keys = &entries->children[0];
    qn_buffer_append_byte(out, '{');
    for (int64_t i = 0; i < count; i++) {
        int64_t at = qn_reader_struct_row(entries, first + i);
        if (qn_reader_is_null(entries, first + i) || qn_reader_is_null(keys, at)) {
            return refuse(keys, "the key of a map is null", err);
        }
        qn_buffer_append_text(out, i > 0 ? ", " : "");
        QN_TRY(append_value(keys, at, out, err));
        qn_buffer_append_text(out, ": ");
        QN_TRY(append_value(&entries->children[1], at, out, err));
    }
    qn_buffer_append_byte(out, '}');
    return QN_OK;
}

static enum qn_status append_list(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                  struct qn_error *err)
{
    const struct qn_reader *items = &reader->children[0];
    int64_t first, count;
    if (!qn_reader_list(reader, row, &first, &count)) {
        return refuse(reader, "malformed Arrow array: the offsets of a list are bad", err);
    }
    if (reader->type.id == QN_TYPE_MAP && qn__type_is_text(items->children[0].type.id)) {
        return append_object(items, first, count, out, err);
    }
    qn_buffer_append_byte(out, '[');
    for (int64_t i = 0; i < count; i++) {
        qn_buffer_append_text(out, i > 0 ? ", " : "");
        QN_TRY(append_value(items, first + i, out, err));
    }
    qn_buffer_append_byte(out, ']');
    return QN_OK;
}

static enum qn_status append_bytes(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                   struct qn_error *err)
{
    const char *bytes;
    size_t size;
    if (!qn_reader_bytes(reader, row, &bytes, &size)) {
        return refuse(reader, "malformed Arrow array: a value lies outside of its buffers", err);
    }
    if (qn__type_is_text(reader->type.id)) {
        return append_text(reader, bytes, size, out, err);
    }
    append_base64(bytes, size, out);
    return QN_OK;
}

static enum qn_status append_value(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                   struct qn_error *err)
{
    if (qn_reader_is_null(reader, row)) {
        qn_buffer_append_text(out, "null");
        return QN_OK;
    }
    switch (reader->type.id) {
    case QN_TYPE_BOOL:
        qn_buffer_append_text(out, qn_reader_bool(reader, row) ? "true" : "false");
        return QN_OK;
    case QN_TYPE_UINT64:
        qn_buffer_printf(out, "%" PRIu64, qn_reader_uint64(reader, row));
        return QN_OK;
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        return append_float(reader, row, out, err);
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return append_decimal(reader, row, out, err);
    case QN_TYPE_DATE32:
    case QN_TYPE_DATE64:
        return append_date(reader, row, out, err);
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        return append_time(reader, row, out, err);
    case QN_TYPE_TIMESTAMP:
        return append_timestamp(reader, row, out, err);
    case QN_TYPE_DURATION:
        qn_buffer_append_text(out, "\"PT");
        append_seconds(qn_reader_int64(reader, row), reader->type.unit, out);
        qn_buffer_append_byte(out, '"');
        return QN_OK;
    case QN_TYPE_INTERVAL_MONTHS:
    case QN_TYPE_INTERVAL_DAY_TIME:
    case QN_TYPE_INTERVAL_MONTH_DAY_NANO:
        append_interval(reader, row, out);
        return QN_OK;
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_MAP:
        return append_list(reader, row, out, err);
    case QN_TYPE_STRUCT:
        return append_struct(reader, row, out, err);
    case QN_TYPE_OTHER:
        return qn_error_set(err, QN_ERR_UNSUPPORTED,
                            "column \"%s\": values of this Arrow type cannot be written as JSON", reader->name);
    default:
        break;
    }
    if (reader->type.id >= QN_TYPE_INT8 && reader->type.id <= QN_TYPE_UINT32) {
        qn_buffer_printf(out, "%" PRId64, qn_reader_int64(reader, row));
        return QN_OK;
    }
    return append_bytes(reader, row, out, err);
}

enum qn_status qn_reader_to_json(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                 struct qn_error *err)
{
    size_t before = out->size;
    enum qn_status status = append_value(reader, row, out, err);
    if (status == QN_OK) {
        status = qn_buffer_check(out, "JSON text", err);
    }
    if (status != QN_OK) {
        if (out->data != NULL) {
            out->data[before] = '\0';
        }
        out->size = before;
        if (err != NULL && status == QN_ERR_DATA) {
            qn_error_place(err, row, reader->name);
        }
    }
    return status;
}
