/*
 * column_convert.c: columns whose type widens while they are read: decimals to a larger scale, int64 to double, anything
 * plain to text. Each is exact, or changes nothing and says so. Threads: one at a time.
 */
#include "arrow/array.h"
#include "arrow/column.h"
#include "arrow/column_private.h"
#include "arrow/float_text.h"
#include "arrow/reader.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_null(const struct qn_column *column, int64_t row)
{
    return column->validity != NULL && !((column->validity[row >> 3] >> (row & 7)) & 1);
}

bool qn_column_rescale(struct qn_column *column, int to_scale)
{
    int by = to_scale - column->type.scale;
    if (column->type.id != QN_TYPE_DECIMAL128 || by < 0 || by > QN_DECIMAL_MAX_DIGITS) {
        return false;
    }
    qn_int128 factor = qn_decimal_power(by);
    qn_int128 limit = qn_decimal_power(QN_DECIMAL_MAX_DIGITS - by); /* |value| must be less; nulls are zero */
    for (int64_t i = 0; i < column->length; i++) {
        qn_int128 value;
        memcpy(&value, column->data + (size_t)i * sizeof value, sizeof value);
        if (value >= limit || value <= -limit) {
            return false;
        }
    }
    for (int64_t i = 0; i < column->length; i++) {
        qn_int128 value;
        memcpy(&value, column->data + (size_t)i * sizeof value, sizeof value);
        value *= factor;
        memcpy(column->data + (size_t)i * sizeof value, &value, sizeof value);
    }
    column->type.scale = to_scale;
    int precision = column->type.precision + by;
    column->type.precision = precision < QN_DECIMAL_MAX_DIGITS ? precision : QN_DECIMAL_MAX_DIGITS;
    return true;
}

/* A double within the range of int64 that is this integer. */
static bool exact_double(int64_t value, double *out)
{
    double number = (double)value;
    if (number >= 9223372036854775808.0 || (int64_t)number != value) {
        return false;
    }
    *out = number;
    return true;
}

enum qn_status qn_column_to_float64(struct qn_column *column, struct qn_error *err)
{
    if (column->type.id != QN_TYPE_INT64) {
        return qn_error_set(err, QN_ERR_INTERNAL, "column \"%s\": only int64 turns into float64", column->name);
    }
    double number;
    for (int64_t i = 0; i < column->length; i++) {
        int64_t value;
        memcpy(&value, column->data + (size_t)i * sizeof value, sizeof value);
        if (!exact_double(value, &number)) {
            enum qn_status status =
                qn_error_set(err, QN_ERR_DATA, "column \"%s\": the integer %" PRId64 " is not exact as float64",
                             column->name, value);
            qn_error_place(err, i, column->name);
            return status;
        }
    }
    for (int64_t i = 0; i < column->length; i++) {
        int64_t value;
        memcpy(&value, column->data + (size_t)i * sizeof value, sizeof value);
        number = (double)value;
        memcpy(column->data + (size_t)i * sizeof number, &number, sizeof number);
    }
    column->type = qn_type_of(QN_TYPE_FLOAT64);
    return QN_OK;
}

/* Types that become text. */
static bool has_text(enum qn_type_id id)
{
    return id == QN_TYPE_NULL || id == QN_TYPE_BOOL || (id >= QN_TYPE_INT8 && id <= QN_TYPE_FLOAT64) ||
           (id >= QN_TYPE_DECIMAL32 && id <= QN_TYPE_DECIMAL128);
}

/* The text of a value that is not null. */
static size_t value_text(const struct qn_reader *reader, int64_t row, char out[QN_DECIMAL_TEXT_SIZE])
{
    qn_int128 decimal = 0;
    switch (reader->type.id) {
    case QN_TYPE_BOOL:
        return (size_t)snprintf(out, QN_DECIMAL_TEXT_SIZE, "%s", qn_reader_bool(reader, row) ? "true" : "false");
    case QN_TYPE_FLOAT64:
        return qn__float64_text(qn_reader_float64(reader, row), out);
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
        return qn__float32_text((float)qn_reader_float64(reader, row), out);
    case QN_TYPE_UINT64:
        return (size_t)snprintf(out, QN_DECIMAL_TEXT_SIZE, "%" PRIu64, qn_reader_uint64(reader, row));
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
        (void)qn_reader_decimal(reader, row, &decimal); /* only decimal256 can refuse */
        return qn_decimal_format(decimal, reader->type.scale, out);
    default:
        return (size_t)snprintf(out, QN_DECIMAL_TEXT_SIZE, "%" PRId64, qn_reader_int64(reader, row));
    }
}

enum qn_status qn_column_to_text(struct qn_column *column, struct qn_error *err)
{
    bool bad_scale = column->type.scale < 0 || column->type.scale > QN_DECIMAL_MAX_DIGITS;
    if (!has_text(column->type.id) || bad_scale) {
        return qn_error_set(err, QN_ERR_INTERNAL, "column \"%s\": its type does not turn into text", column->name);
    }
    struct qn_column texts = { .layout = QN_LAYOUT_VIEW,
                               .type = qn_type_of(QN_TYPE_STRING_VIEW),
                               .width = sizeof(union qn_view),
                               .failed = column->failed,
                               .over_limit = column->over_limit,
                               .failed_row = column->failed_row };
    texts.name = column->name; /* lent, for messages */
    enum qn_status status = qn_column_reserve(&texts, column->capacity, err);
    const struct qn_reader reader = { .type = column->type, .data = column->data };
    for (int64_t i = 0; status == QN_OK && i < column->length; i++) {
        char text[QN_DECIMAL_TEXT_SIZE];
        if (column->layout == QN_LAYOUT_NULL || is_null(column, i)) {
            qn_column_put_null(&texts);
        } else {
            size_t size = value_text(&reader, i, text);
            qn_column_put_bytes(&texts, text, size);
        }
    }
    if (status == QN_OK && texts.failed && !column->failed) {
        status = qn__no_memory(err);
    }
    struct qn_column *drop = status == QN_OK ? column : &texts;
    char *name = column->name;
    bool lent = column->name_lent;
    drop->name = NULL;
    qn_column_dispose(drop);
    if (status == QN_OK) {
        *column = texts;
    }
    column->name = name;
    column->name_lent = lent;
    return status;
}
