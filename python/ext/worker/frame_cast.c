/*
 * frame_cast.c: exact casts between the types of two Arrow columns.
 *
 * Types come in families; within what a pair of families allows, every value is tried and refused where it would change.
 * Recursion is as deep as the output schema, which is ours.
 */
#include "frame_cast.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <math.h>

enum family {
    FAMILY_NULL,
    FAMILY_BOOL,
    FAMILY_INTEGER,
    FAMILY_REAL,
    FAMILY_DECIMAL,
    FAMILY_STRING,
    FAMILY_BINARY,
    FAMILY_DATE,
    FAMILY_TIME,
    FAMILY_TIMESTAMP,
    FAMILY_DURATION,
    FAMILY_INTERVAL,
    FAMILY_LIST,
    FAMILY_STRUCT,
    FAMILY_OTHER
};

#define NANOS_PER_SECOND INT64_C(1000000000)
#define NANOS_PER_DAY    (86400 * NANOS_PER_SECOND)
#define FOUND_SIZE       64 /* bytes of a value in a message */

static enum family family_of(const struct qn_type *type)
{
    switch (type->id) {
    case QN_TYPE_NULL:
        return FAMILY_NULL;
    case QN_TYPE_BOOL:
        return FAMILY_BOOL;
    case QN_TYPE_INT8:
    case QN_TYPE_INT16:
    case QN_TYPE_INT32:
    case QN_TYPE_INT64:
    case QN_TYPE_UINT8:
    case QN_TYPE_UINT16:
    case QN_TYPE_UINT32:
    case QN_TYPE_UINT64:
        return FAMILY_INTEGER;
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        return FAMILY_REAL;
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return FAMILY_DECIMAL;
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return FAMILY_STRING;
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
    case QN_TYPE_FIXED_BINARY:
        return FAMILY_BINARY;
    case QN_TYPE_DATE32:
    case QN_TYPE_DATE64:
        return FAMILY_DATE;
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        return FAMILY_TIME;
    case QN_TYPE_TIMESTAMP:
        return FAMILY_TIMESTAMP;
    case QN_TYPE_DURATION:
        return FAMILY_DURATION;
    case QN_TYPE_INTERVAL_MONTHS:
    case QN_TYPE_INTERVAL_DAY_TIME:
    case QN_TYPE_INTERVAL_MONTH_DAY_NANO:
        return FAMILY_INTERVAL;
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
        return FAMILY_LIST;
    case QN_TYPE_STRUCT:
        return FAMILY_STRUCT;
    case QN_TYPE_MAP:
    case QN_TYPE_OTHER:
        break;
    }
    return FAMILY_OTHER;
}

static bool is_possible(const struct qn_type *from, const struct qn_type *to)
{
    enum family source = family_of(from);
    switch (family_of(to)) {
    case FAMILY_INTEGER:
        return source == FAMILY_INTEGER || source == FAMILY_REAL || source == FAMILY_DECIMAL;
    case FAMILY_REAL:
        return source == FAMILY_INTEGER || source == FAMILY_REAL;
    case FAMILY_DECIMAL:
        return source == FAMILY_INTEGER || source == FAMILY_DECIMAL;
    case FAMILY_DATE:
        return source == FAMILY_DATE || (source == FAMILY_TIMESTAMP && from->timezone[0] == '\0');
    case FAMILY_TIMESTAMP:
        return source == FAMILY_TIMESTAMP && (from->timezone[0] == '\0') == (to->timezone[0] == '\0');
    case FAMILY_INTERVAL:
        return from->id == to->id && from->id == QN_TYPE_INTERVAL_MONTH_DAY_NANO;
    case FAMILY_OTHER:
        return false;
    default:
        return source == family_of(to);
    }
}

/* ---- messages ---- */

static void type_name(const struct qn_reader *reader, char out[QN_TYPE_MAX_FORMAT])
{
    qn_type_to_text(&reader->type, out);
}

static enum qn_status refuse_value(const struct frame_cast *cast, int64_t row, const char *expected,
                                   struct qn_error *err)
{
    char type[QN_TYPE_MAX_FORMAT];
    type_name(cast->from, type);
    qn_auto_buffer text = QN_BUFFER_INIT;
    text.limit = 1 << 16;
    if (qn_reader_is_null(cast->from, row)) {
        qn_buffer_append_text(&text, "null");
    } else if (family_of(&cast->from->type) == FAMILY_REAL && !isfinite(qn_reader_float64(cast->from, row))) {
        qn_buffer_printf(&text, "%g", qn_reader_float64(cast->from, row));
    } else if (qn_reader_to_json(cast->from, row, &text, NULL) != QN_OK) {
        qn_buffer_reset(&text);
        qn_buffer_append_text(&text, "a value");
    }
    char found[FOUND_SIZE];
    QN_ERROR_COPY(found, qn_buffer_text(&text), strlen(qn_buffer_text(&text)));
    enum qn_status status = qn_error_set(
        err, QN_ERR_DATA, "field \"%s\": expected %s, found %s%s of type %s%s", cast->name, expected, found,
        strlen(found) < strlen(qn_buffer_text(&text)) ? "..." : "", type, cast->inside ? " in it" : "");
    qn_error_place(err, row, cast->name);
    return status;
}

static enum qn_status refuse_type(const struct frame_cast *cast, const char *expected, struct qn_error *err)
{
    const struct qn_reader *from = cast->from;
    const struct qn_column *to = cast->to;
    char type[QN_TYPE_MAX_FORMAT];
    type_name(from, type);
    const char *timezone = "";
    if (family_of(&from->type) == FAMILY_TIMESTAMP && family_of(&to->type) == FAMILY_TIMESTAMP) {
        timezone = to->type.timezone[0] == '\0' ? " (the output has no time zone, the values have one)"
                                                : " (the output has a time zone, the values have none)";
    }
    enum qn_status status = qn_error_set(err, QN_ERR_DATA, "field \"%s\": expected %s, found %s of type %s%s",
                                         cast->name, expected, cast->inside ? "values" : "a column", type, timezone);
    qn_error_place(err, -1, cast->name);
    return status;
}

/* ---- plans ---- */

void frame_cast_dispose(struct frame_cast *cast)
{
    for (int64_t i = 0; i < cast->n_children; i++) {
        frame_cast_dispose(&cast->children[i]);
    }
    qn_free(cast->children);
    *cast = (struct frame_cast){ .from = NULL };
}

/* The reader of a struct or list whose children hold the values: that of the dictionary where there is one. */
static const struct qn_reader *plain(const struct qn_reader *reader)
{
    return reader->dictionary != NULL ? plain(reader->dictionary) : reader;
}

static const struct qn_reader *child_named(const struct qn_reader *reader, const char *name)
{
    for (int64_t i = 0; i < reader->n_children; i++) {
        if (strcmp(reader->children[i].name, name) == 0) {
            return &reader->children[i];
        }
    }
    return NULL;
}

static enum qn_status init(struct frame_cast *cast, const struct ArrowSchema *field, const char *expected,
                           struct qn_error *err);

static enum qn_status init_children(struct frame_cast *cast, const struct ArrowSchema *field, const char *expected,
                                    struct qn_error *err)
{
    const struct qn_reader *from = plain(cast->from);
    bool is_list = family_of(&cast->to->type) == FAMILY_LIST;
    if (!is_list && from->n_children != cast->to->n_children) {
        return refuse_type(cast, expected, err);
    }
    cast->children = qn_calloc((size_t)cast->to->n_children, sizeof *cast->children);
    if (cast->children == NULL) {
        return qn__no_memory(err);
    }
    cast->n_children = cast->to->n_children;
    for (int64_t i = 0; i < cast->n_children; i++) {
        struct qn_column *to = &cast->to->children[i];
        const struct qn_reader *child = is_list ? &from->children[0] : child_named(from, to->name);
        if (child == NULL) {
            return refuse_type(cast, expected, err);
        }
        cast->children[i] = (struct frame_cast){ .from = child, .to = to, .name = cast->name, .inside = true };
        QN_TRY(init(&cast->children[i], field->children[i], expected, err));
    }
    return QN_OK;
}

static enum qn_status init(struct frame_cast *cast, const struct ArrowSchema *field, const char *expected,
                           struct qn_error *err)
{
    cast->required = !(field->flags & ARROW_FLAG_NULLABLE);
    if (family_of(&cast->from->type) == FAMILY_NULL) {
        return QN_OK;
    }
    if (!is_possible(&cast->from->type, &cast->to->type)) {
        return refuse_type(cast, expected, err);
    }
    enum family family = family_of(&cast->to->type);
    return family == FAMILY_LIST || family == FAMILY_STRUCT ? init_children(cast, field, expected, err) : QN_OK;
}

enum qn_status frame_cast_init(struct frame_cast *cast, const struct qn_reader *from, struct qn_column *to,
                               const struct ArrowSchema *field, const char *expected, struct qn_error *err)
{
    *cast = (struct frame_cast){ .from = from, .to = to, .name = to->name };
    enum qn_status status = init(cast, field, expected, err);
    if (status != QN_OK) {
        frame_cast_dispose(cast);
    }
    return status;
}

/* ---- values: each returns false where the value does not fit exactly ---- */

static qn_int128 integer_of(const struct qn_reader *reader, int64_t row)
{
    return reader->type.id == QN_TYPE_UINT64 ? (qn_int128)qn_reader_uint64(reader, row)
                                             : (qn_int128)qn_reader_int64(reader, row);
}

/* The value as an integer, whatever kind of number it is. */
static bool whole_number(const struct qn_reader *reader, int64_t row, qn_int128 *out)
{
    switch (family_of(&reader->type)) {
    case FAMILY_INTEGER:
        *out = integer_of(reader, row);
        return true;
    case FAMILY_REAL: {
        double number = qn_reader_float64(reader, row);
        if (!(fabs(number) < 0x1p64) || number != trunc(number)) {
            return false;
        }
        *out = (qn_int128)number;
        return true;
    }
    default: {
        qn_int128 value;
        return qn_reader_decimal(reader, row, &value) && qn_decimal_rescale(value, reader->type.scale, 0, out);
    }
    }
}

#define PUT_WITHIN(name, ctype, low, high)                                                                             \
    do {                                                                                                               \
        if (value < (qn_int128)(low) || value > (qn_int128)(high)) {                                                   \
            return false;                                                                                              \
        }                                                                                                              \
        qn_column_put_##name(to, (ctype)value);                                                                        \
        return true;                                                                                                   \
    } while (0)

/* A number into whichever width stores it. */
static bool put_whole(struct qn_column *to, qn_int128 value)
{
    switch (to->type.id) {
    case QN_TYPE_INT8:
        PUT_WITHIN(int8, int8_t, INT8_MIN, INT8_MAX);
    case QN_TYPE_INT16:
        PUT_WITHIN(int16, int16_t, INT16_MIN, INT16_MAX);
    case QN_TYPE_INT32:
    case QN_TYPE_DATE32:
    case QN_TYPE_TIME32:
    case QN_TYPE_DECIMAL32:
        PUT_WITHIN(int32, int32_t, INT32_MIN, INT32_MAX);
    case QN_TYPE_UINT8:
        PUT_WITHIN(uint8, uint8_t, 0, UINT8_MAX);
    case QN_TYPE_UINT16:
        PUT_WITHIN(uint16, uint16_t, 0, UINT16_MAX);
    case QN_TYPE_UINT32:
        PUT_WITHIN(uint32, uint32_t, 0, UINT32_MAX);
    case QN_TYPE_UINT64:
        PUT_WITHIN(uint64, uint64_t, 0, UINT64_MAX);
    default:
        PUT_WITHIN(int64, int64_t, INT64_MIN, INT64_MAX);
    }
}

static bool put_real(const struct qn_reader *from, int64_t row, struct qn_column *to)
{
    double number;
    if (family_of(&from->type) == FAMILY_INTEGER) {
        qn_int128 whole = integer_of(from, row);
        number = (double)whole;
        if ((qn_int128)number != whole) {
            return false;
        }
    } else {
        number = qn_reader_float64(from, row);
    }
    if (to->type.id == QN_TYPE_FLOAT64) {
        qn_column_put_float64(to, number);
        return true;
    }
    /* The nearest, as its name says and rows have it, but for integers, and not past its range. */
    float rounded = (float)number;
    if (to->type.id != QN_TYPE_FLOAT32 || (isinf(rounded) && !isinf(number)) ||
        (family_of(&from->type) == FAMILY_INTEGER && (double)rounded != number)) {
        return false;
    }
    qn_column_put_float32(to, rounded);
    return true;
}

static bool put_decimal(const struct qn_reader *from, int64_t row, struct qn_column *to)
{
    qn_int128 value;
    int scale = 0;
    if (family_of(&from->type) == FAMILY_DECIMAL) {
        scale = from->type.scale;
        if (!qn_reader_decimal(from, row, &value)) {
            return false;
        }
    } else {
        value = integer_of(from, row);
    }
    if (!qn_decimal_rescale(value, scale, to->type.scale, &value) || qn_decimal_digits(value) > to->type.precision) {
        return false;
    }
    if (to->type.id == QN_TYPE_DECIMAL256) {
        qn_int128 halves[2] = { value, value < 0 ? -1 : 0 };
        qn_column_put_fixed(to, halves);
        return true;
    }
    if (to->type.id == QN_TYPE_DECIMAL128) {
        qn_column_put_decimal128(to, value);
        return true;
    }
    return put_whole(to, value);
}

static int64_t unit_nanos(const struct qn_type *type)
{
    static const int64_t nanos[] = { [QN_UNIT_SECOND] = NANOS_PER_SECOND,
                                     [QN_UNIT_MILLI] = NANOS_PER_SECOND / 1000,
                                     [QN_UNIT_MICRO] = NANOS_PER_SECOND / 1000000,
                                     [QN_UNIT_NANO] = 1 };
    if (type->id == QN_TYPE_DATE32) {
        return NANOS_PER_DAY;
    }
    return type->id == QN_TYPE_DATE64 ? nanos[QN_UNIT_MILLI] : nanos[type->unit];
}

static bool put_time(const struct qn_reader *from, int64_t row, struct qn_column *to)
{
    qn_int128 value = (qn_int128)qn_reader_int64(from, row) * unit_nanos(&from->type);
    int64_t unit = family_of(&to->type) == FAMILY_DATE ? NANOS_PER_DAY : unit_nanos(&to->type);
    if (value % unit != 0) {
        return false;
    }
    value /= unit;
    if (to->type.id == QN_TYPE_DATE64) {
        value *= NANOS_PER_DAY / (NANOS_PER_SECOND / 1000);
    }
    return put_whole(to, value);
}

static bool put_bytes(const struct qn_reader *from, int64_t row, struct qn_column *to)
{
    const char *bytes;
    size_t size;
    if (!qn_reader_bytes(from, row, &bytes, &size)) {
        return false;
    }
    if (to->type.id != QN_TYPE_FIXED_BINARY) {
        qn_column_put_bytes(to, bytes, size);
        return true;
    }
    if (size != to->width) {
        return false;
    }
    qn_column_put_fixed(to, bytes);
    return true;
}

static bool put_flat(const struct qn_reader *from, int64_t row, struct qn_column *to)
{
    switch (family_of(&to->type)) {
    case FAMILY_BOOL:
        qn_column_put_bool(to, qn_reader_bool(from, row));
        return true;
    case FAMILY_INTEGER: {
        qn_int128 value;
        return whole_number(from, row, &value) && put_whole(to, value);
    }
    case FAMILY_REAL:
        return put_real(from, row, to);
    case FAMILY_DECIMAL:
        return put_decimal(from, row, to);
    case FAMILY_STRING:
    case FAMILY_BINARY:
        return put_bytes(from, row, to);
    case FAMILY_INTERVAL: {
        int32_t months;
        int32_t days;
        int64_t nanos;
        qn_reader_interval(from, row, &months, &days, &nanos);
        qn_column_put_interval(to, months, days, nanos);
        return true;
    }
    default:
        return put_time(from, row, to);
    }
}

/* ---- rows ---- */

static enum qn_status put_list(struct frame_cast *cast, int64_t row, const char *expected, struct qn_error *err)
{
    int64_t first = 0;
    int64_t count = 0;
    if (!qn_reader_list(cast->from, row, &first, &count)) {
        return refuse_value(cast, row, expected, err);
    }
    QN_TRY(frame_cast_put(&cast->children[0], first, count, expected, err));
    return qn_column_end_list(cast->to, err);
}

static enum qn_status put_struct(struct frame_cast *cast, int64_t row, const char *expected, struct qn_error *err)
{
    int64_t at = qn_reader_struct_row(cast->from, row);
    for (int64_t i = 0; i < cast->n_children; i++) {
        QN_TRY(frame_cast_put(&cast->children[i], at, 1, expected, err));
    }
    qn_column_end_struct(cast->to);
    return QN_OK;
}

enum qn_status frame_cast_put(struct frame_cast *cast, int64_t first, int64_t n, const char *expected,
                              struct qn_error *err)
{
    enum family family = family_of(&cast->to->type);
    QN_TRY(qn_column_reserve(cast->to, n, err));
    for (int64_t row = first; row < first + n; row++) {
        enum qn_status status = QN_OK;
        if (qn_reader_is_null(cast->from, row)) {
            if (cast->required) {
                return refuse_value(cast, row, expected, err);
            }
            qn_column_put_null(cast->to);
        } else if (family == FAMILY_LIST) {
            status = put_list(cast, row, expected, err);
        } else if (family == FAMILY_STRUCT) {
            status = put_struct(cast, row, expected, err);
        } else if (!put_flat(cast->from, row, cast->to)) {
            status = refuse_value(cast, row, expected, err);
        }
        if (status != QN_OK) {
            if (err != NULL) {
                err->row = row;
            }
            return status;
        }
    }
    return QN_OK;
}
