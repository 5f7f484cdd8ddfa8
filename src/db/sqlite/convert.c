/*
 * convert.c (sqlite): values into a type that somebody named (an override, DECIMAL(p,s)), and whole columns from one type
 * to a wider one.
 *
 * Every conversion is exact or refused with the reason.
 */
#include "db/sqlite/sqlite.h"

#include "base/calendar.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

bool qn_sqlite_text_valid(const char *bytes, size_t size)
{
    uint64_t bits = 0, word = 0;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        memcpy(&word, bytes + at, 8);
        bits |= word;
    }
    for (; at < size; at++) {
        bits |= (uint64_t)(unsigned char)bytes[at];
    }
    return (bits & UINT64_C(0x8080808080808080)) == 0 || qn_utf8_valid(bytes, size);
}

enum qn_status qn_sqlite_column_new(struct qn_column *column, const char *name, const struct qn_type *type,
                                    int64_t capacity, struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_schema_struct(&schema, 1, err));
    QN_TRY(qn_schema_set(&schema, 0, name, type, err));
    QN_TRY(qn_column_init(column, schema.children[0], err));
    enum qn_status status = qn_column_reserve(column, capacity, err);
    if (status != QN_OK) {
        qn_column_dispose(column);
    }
    return status;
}

/* ---- numbers ---- */

static bool value_text(sqlite3_value *value, const char **bytes, size_t *size)
{
    *bytes = (const char *)sqlite3_value_text(value);
    *size = (size_t)sqlite3_value_bytes(value);
    return *bytes != NULL;
}

/* A decimal, with spaces around it. */
static bool parse_spaced(const char *bytes, size_t size, qn_int128 *out, int *scale_out)
{
    for (; size > 0 && qn_ascii_space(*bytes); size--) {
        bytes++;
    }
    for (; size > 0 && qn_ascii_space(bytes[size - 1]); size--) {
    }
    return qn_decimal_parse(bytes, size, out, scale_out);
}

/* An integer out of an integer, a whole real or the text of an integer. */
static bool to_int64(sqlite3_value *value, int64_t *out, const char **why)
{
    *why = "is not a 64-bit integer";
    int kind = sqlite3_value_type(value);
    if (kind == SQLITE_TEXT) { /* not by way of SQLite, which makes a rounded double of what has a point */
        const char *bytes;
        size_t size;
        qn_int128 number, whole;
        int scale;
        if (!value_text(value, &bytes, &size) || !parse_spaced(bytes, size, &number, &scale) ||
            !qn_decimal_rescale(number, scale, 0, &whole) || whole < INT64_MIN || whole > INT64_MAX) {
            return false;
        }
        *out = (int64_t)whole;
        return true;
    }
    if (kind == SQLITE_INTEGER) {
        *out = sqlite3_value_int64(value);
        return true;
    }
    double number = kind == SQLITE_FLOAT ? sqlite3_value_double(value) : NAN;
    if (kind != SQLITE_FLOAT || !(number >= -9223372036854775808.0 && number < 9223372036854775808.0) ||
        number != nearbyint(number)) {
        return false;
    }
    *out = (int64_t)number;
    return true;
}

static bool put_integer(struct qn_column *column, sqlite3_value *value, const char **why)
{
    int64_t number;
    if (!to_int64(value, &number, why)) {
        return false;
    }
    *why = "is out of range";
#define PUT_IN_RANGE(name, low, high, ctype)                                                                           \
    if (number < (low) || number > (high)) {                                                                           \
        return false;                                                                                                  \
    }                                                                                                                  \
    qn_column_put_##name(column, (ctype)number);                                                                       \
    return true
    switch (column->type.id) {
    case QN_TYPE_INT8:
        PUT_IN_RANGE(int8, INT8_MIN, INT8_MAX, int8_t);
    case QN_TYPE_INT16:
        PUT_IN_RANGE(int16, INT16_MIN, INT16_MAX, int16_t);
    case QN_TYPE_INT32:
        PUT_IN_RANGE(int32, INT32_MIN, INT32_MAX, int32_t);
    case QN_TYPE_UINT8:
        PUT_IN_RANGE(uint8, 0, UINT8_MAX, uint8_t);
    case QN_TYPE_UINT16:
        PUT_IN_RANGE(uint16, 0, UINT16_MAX, uint16_t);
    case QN_TYPE_UINT32:
        PUT_IN_RANGE(uint32, 0, (int64_t)UINT32_MAX, uint32_t);
    case QN_TYPE_UINT64:
        PUT_IN_RANGE(uint64, 0, INT64_MAX, uint64_t);
    default:
        qn_column_put_int64(column, number);
        return true;
    }
#undef PUT_IN_RANGE
}

static bool put_float(struct qn_column *column, sqlite3_value *value, const char **why)
{
    int kind = sqlite3_value_type(value);
    double number = 0;
    const char *bytes;
    size_t size;
    if (kind == SQLITE_BLOB ||
        (kind == SQLITE_TEXT && (!value_text(value, &bytes, &size) || !qn_sqlite_looks_numeric(bytes, size)))) {
        *why = "is not a number";
        return false;
    }
    *why = "is not exact as a float";
    if (kind == SQLITE_TEXT) {
        if (!qn_sqlite_text_to_double(bytes, size, &number)) {
            return false;
        }
    } else if (kind == SQLITE_INTEGER && !qn_sqlite_exact_in_double(sqlite3_value_int64(value))) {
        return false;
    } else {
        number = sqlite3_value_double(value);
    }
    if (column->type.id == QN_TYPE_FLOAT64) {
        qn_column_put_float64(column, number);
        return true;
    }
    if ((double)(float)number != number) {
        *why = "is not exact as a 32-bit float";
        return false;
    }
    qn_column_put_float32(column, (float)number);
    return true;
}

bool qn_sqlite_put_decimal(struct qn_column *column, sqlite3_value *value, const char **why)
{
    const char *bytes;
    size_t size;
    qn_int128 number = 0, scaled = 0;
    int scale = 0;
    const struct qn_type *type = &column->type;
    *why = "does not fit the decimal exactly";
    switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
        number = sqlite3_value_int64(value);
        break;
    case SQLITE_FLOAT:
        if (!qn_sqlite_double_to_decimal(sqlite3_value_double(value), type->precision, type->scale, &scaled)) {
            return false;
        }
        qn_column_put_decimal128(column, scaled);
        return true;
    case SQLITE_TEXT:
        if (!value_text(value, &bytes, &size) || !qn_decimal_parse(bytes, size, &number, &scale)) {
            *why = "is not a decimal number";
            return false;
        }
        break;
    default:
        *why = "is not a decimal number";
        return false;
    }
    if (!qn_decimal_rescale(number, scale, type->scale, &scaled) || qn_decimal_digits(scaled) > type->precision) {
        return false;
    }
    qn_column_put_decimal128(column, scaled);
    return true;
}

/* ---- dates and times ---- */

/* Microseconds to the unit of the column, exactly. */
static bool put_micros(struct qn_column *column, int64_t micros, const char **why)
{
    static const int64_t divisors[] = { 1000000, 1000, 1 };
    int64_t number = micros;
    *why = "does not fit the unit of the type exactly";
    if (column->type.unit == QN_UNIT_NANO) {
        if (__builtin_mul_overflow(micros, INT64_C(1000), &number)) {
            return false;
        }
    } else {
        int64_t divisor = divisors[column->type.unit];
        if (micros % divisor != 0) {
            return false;
        }
        number = micros / divisor;
    }
    if (column->type.id == QN_TYPE_TIME32) {
        qn_column_put_int32(column, (int32_t)number);
    } else {
        qn_column_put_int64(column, number);
    }
    return true;
}

static bool put_time_text(struct qn_column *column, const char *bytes, size_t size, const char **why)
{
    int32_t days;
    int64_t micros;
    enum qn_zone zone = QN_ZONE_NONE;
    const char *timezone = column->type.timezone;
    switch (column->type.id) {
    case QN_TYPE_DATE32:
        *why = "is not a date (YYYY-MM-DD)";
        if (!qn_date_parse(bytes, size, &days)) {
            return false;
        }
        qn_column_put_int32(column, days);
        return true;
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        *why = "is not a time (HH:MM:SS)";
        return qn_time_parse(bytes, size, &micros) && put_micros(column, micros, why);
    default:
        *why = "is not a timestamp (YYYY-MM-DD HH:MM:SS)";
        if (!qn_timestamp_parse(bytes, size, &micros, &zone)) {
            return false;
        }
        if (zone == QN_ZONE_OFFSET && timezone[0] == '\0') {
            *why = "has an offset from UTC, which a timestamp without a zone cannot hold";
            return false;
        }
        if (zone == QN_ZONE_NONE && timezone[0] != '\0' && strcmp(timezone, "UTC") != 0) {
            *why = "has no offset from UTC";
            return false; /* in UTC the caller has said by the type what it is */
        }
        return put_micros(column, micros, why);
    }
}

/* ---- overrides ---- */

static bool put_bytes(struct qn_column *column, sqlite3_value *value, bool as_text, const char **why)
{
    char small[QN_SQLITE_FLOAT_TEXT];
    const char *bytes = NULL;
    size_t size = 0;
    switch (sqlite3_value_type(value)) {
    case SQLITE_TEXT:
        if (!value_text(value, &bytes, &size)) {
            column->failed = true; /* SQLite has no memory for the text */
            return true;
        }
        break;
    case SQLITE_BLOB:
        bytes = sqlite3_value_blob(value);
        size = (size_t)sqlite3_value_bytes(value);
        *why = "is a blob, not text";
        if (as_text) {
            return false;
        }
        break;
    case SQLITE_INTEGER:
        size = (size_t)snprintf(small, sizeof small, "%" PRId64, (int64_t)sqlite3_value_int64(value));
        bytes = small;
        break;
    default:
        size = qn_sqlite_float_text(sqlite3_value_double(value), small);
        bytes = small;
        break;
    }
    if (!as_text && bytes == small) {
        *why = "is a number, not bytes";
        return false;
    }
    *why = "is not valid UTF-8";
    if (as_text && !qn_sqlite_text_valid(bytes, size)) {
        return false;
    }
    qn_column_put_bytes(column, bytes != NULL ? bytes : "", size);
    return true;
}

bool qn_sqlite_put_override(struct qn_column *column, sqlite3_value *value, const char **why)
{
    const char *bytes;
    size_t size;
    int kind = sqlite3_value_type(value);
    switch (column->type.id) {
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return put_bytes(column, value, true, why);
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
        return put_bytes(column, value, false, why);
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        return put_float(column, value, why);
    case QN_TYPE_DECIMAL128:
        return qn_sqlite_put_decimal(column, value, why);
    case QN_TYPE_BOOL:
        *why = "is neither 0 nor 1";
        if (kind != SQLITE_INTEGER || (uint64_t)sqlite3_value_int64(value) > 1) {
            return false;
        }
        qn_column_put_bool(column, sqlite3_value_int64(value) == 1);
        return true;
    case QN_TYPE_DATE32:
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
    case QN_TYPE_TIMESTAMP:
        *why = "is not text";
        return kind == SQLITE_TEXT && value_text(value, &bytes, &size) && put_time_text(column, bytes, size, why);
    case QN_TYPE_DURATION:
        *why = "is not an integer (microseconds)";
        return kind == SQLITE_INTEGER && put_micros(column, sqlite3_value_int64(value), why);
    default:
        return put_integer(column, value, why);
    }
}

/* ---- whole columns ---- */

static bool is_null_at(const struct qn_column *column, int64_t i)
{
    return column->validity != NULL && !((column->validity[i >> 3] >> (i & 7)) & 1);
}

static int64_t int64_at(const struct qn_column *column, int64_t i)
{
    int64_t value;
    memcpy(&value, column->data + (size_t)i * sizeof value, sizeof value);
    return value;
}

/* Put the new column, which is complete, in the place of the old one. */
static enum qn_status replace(struct qn_column *column, struct qn_column *fresh, struct qn_error *err)
{
    if (fresh->failed) {
        qn_column_dispose(fresh);
        return qn__no_memory(err);
    }
    qn_column_dispose(column);
    *column = *fresh;
    return QN_OK;
}

enum qn_status qn_sqlite_column_to_text(struct qn_column *column, const char *name, bool whole_plain,
                                        struct qn_error *err)
{
    struct qn_column fresh;
    struct qn_type type = qn_type_of(QN_TYPE_STRING_VIEW);
    QN_TRY(qn_sqlite_column_new(&fresh, name, &type, column->capacity, err));
    for (int64_t i = 0; i < column->length; i++) {
        char text[QN_SQLITE_FLOAT_TEXT];
        size_t size;
        if (is_null_at(column, i)) {
            qn_column_put_null(&fresh);
            continue;
        }
        if (column->type.id == QN_TYPE_FLOAT64) {
            double number;
            memcpy(&number, column->data + (size_t)i * sizeof number, sizeof number);
            bool plain = whole_plain && number >= -0x1p63 && number < 0x1p63 && number == trunc(number) &&
                         !(number == 0 && signbit(number));
            size = plain ? (size_t)snprintf(text, sizeof text, "%lld", (long long)number)
                         : qn_sqlite_float_text(number, text);
        } else {
            size = (size_t)snprintf(text, sizeof text, "%" PRId64, int64_at(column, i));
        }
        qn_column_put_bytes(&fresh, text, size);
    }
    return replace(column, &fresh, err);
}

enum qn_status qn_sqlite_column_to_float64(struct qn_column *column, const char *name, bool *exact_out,
                                           struct qn_error *err)
{
    struct qn_column fresh;
    struct qn_type type = qn_type_of(QN_TYPE_FLOAT64);
    *exact_out = false;
    for (int64_t i = 0; i < column->length; i++) {
        if (!is_null_at(column, i) && !qn_sqlite_exact_in_double(int64_at(column, i))) {
            return QN_OK;
        }
    }
    QN_TRY(qn_sqlite_column_new(&fresh, name, &type, column->capacity, err));
    for (int64_t i = 0; i < column->length; i++) {
        if (is_null_at(column, i)) {
            qn_column_put_null(&fresh);
        } else {
            qn_column_put_float64(&fresh, (double)int64_at(column, i));
        }
    }
    *exact_out = true;
    return replace(column, &fresh, err);
}

enum qn_status qn_sqlite_column_bool_to_int64(struct qn_column *column, const char *name, struct qn_error *err)
{
    struct qn_column fresh;
    struct qn_type type = qn_type_of(QN_TYPE_INT64);
    QN_TRY(qn_sqlite_column_new(&fresh, name, &type, column->capacity, err));
    for (int64_t i = 0; i < column->length; i++) {
        if (is_null_at(column, i)) {
            qn_column_put_null(&fresh);
        } else {
            qn_column_put_int64(&fresh, (column->data[i >> 3] >> (i & 7)) & 1);
        }
    }
    return replace(column, &fresh, err);
}

/* Bytes of a value of a view column, whose current block has the index n_blocks. */
static const char *view_at(const struct qn_column *column, int64_t i, size_t *size_out)
{
    const union qn_view *view = (const union qn_view *)(const void *)column->data + i;
    *size_out = (size_t)view->inlined.size;
    if (view->inlined.size <= QN_VIEW_INLINE) {
        return view->inlined.data;
    }
    const char *block =
        view->reference.block < column->n_blocks ? column->blocks[view->reference.block] : column->bytes;
    return block + view->reference.offset;
}

enum qn_status qn_sqlite_column_parse(struct qn_column *column, const char *name, enum qn_sqlite_kind *wanted,
                                      bool *parsed_out, struct qn_error *err)
{
    struct qn_column fresh;
    const char *why = NULL;
    int64_t micros;
    enum qn_zone zone = QN_ZONE_NONE;
    *parsed_out = true;
    for (int64_t i = 0; i < column->length && *wanted == QN_SQLITE_TIMESTAMP; i++) { /* the first value says which */
        size_t size;
        const char *bytes = view_at(column, i, &size);
        if (!is_null_at(column, i)) {
            *wanted = qn_timestamp_parse(bytes, size, &micros, &zone) && zone == QN_ZONE_OFFSET ? QN_SQLITE_INSTANT
                                                                                                : QN_SQLITE_TIMESTAMP;
            break;
        }
    }
    struct qn_type type = qn_sqlite_kind_type(*wanted);
    QN_TRY(qn_sqlite_column_new(&fresh, name, &type, column->capacity, err));
    for (int64_t i = 0; i < column->length && *parsed_out; i++) {
        size_t size;
        const char *bytes = view_at(column, i, &size);
        if (is_null_at(column, i)) {
            qn_column_put_null(&fresh);
            continue;
        }
        bool has_zone =
            *wanted != QN_SQLITE_INSTANT || (qn_timestamp_parse(bytes, size, &micros, &zone) && zone == QN_ZONE_OFFSET);
        *parsed_out = has_zone && put_time_text(&fresh, bytes, size, &why);
    }
    if (!*parsed_out) {
        qn_column_dispose(&fresh);
        return QN_OK;
    }
    return replace(column, &fresh, err);
}
