/*
 * checkpoint.c: checkpoints as values: read from rows, compared, written as exact text and read back, bound to a query.
 *
 * Integers, decimals, days and microseconds are one 128-bit number with a type, so that they are compared and printed in
 * one way. Nothing here touches a database. Threads: no state.
 */
#include "task/checkpoint.h"

#include "base/calendar.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void qn_checkpoint_dispose(struct qn_checkpoint *checkpoint)
{
    qn_buffer_dispose(&checkpoint->text);
    *checkpoint = (struct qn_checkpoint){ .kind = QN_CHECKPOINT_NONE };
}

static enum qn_status set_text(struct qn_checkpoint *checkpoint, const char *text, size_t size, struct qn_error *err)
{
    qn_buffer_reset(&checkpoint->text);
    qn_buffer_append(&checkpoint->text, text, size);
    return qn_buffer_check(&checkpoint->text, "a checkpoint", err);
}

enum qn_status qn_checkpoint_copy(struct qn_checkpoint *to, const struct qn_checkpoint *from, struct qn_error *err)
{
    if (from->kind == QN_CHECKPOINT_TEXT) {
        QN_TRY(set_text(to, qn_buffer_text(&from->text), from->text.size, err));
    }
    to->kind = from->kind;
    to->type = from->type;
    to->number = from->number;
    to->real = from->real;
    return QN_OK;
}

static bool is_integer(enum qn_type_id id)
{
    return id >= QN_TYPE_INT8 && id <= QN_TYPE_UINT64;
}

static bool is_decimal(enum qn_type_id id)
{
    return id == QN_TYPE_DECIMAL32 || id == QN_TYPE_DECIMAL64 || id == QN_TYPE_DECIMAL128 || id == QN_TYPE_DECIMAL256;
}

/* The kind of checkpoint that a type makes; *type becomes the type that the checkpoint has. */
static enum qn_checkpoint_kind kind_of(struct qn_type *type)
{
    if (is_integer(type->id)) {
        return QN_CHECKPOINT_NUMBER;
    }
    if (is_decimal(type->id)) {
        type->id = QN_TYPE_DECIMAL128;
        return type->precision <= QN_DECIMAL_MAX_DIGITS && type->scale >= 0 && type->scale <= QN_DECIMAL_MAX_DIGITS
                   ? QN_CHECKPOINT_NUMBER
                   : QN_CHECKPOINT_NONE;
    }
    switch (type->id) {
    case QN_TYPE_DATE32:
        return QN_CHECKPOINT_NUMBER;
    case QN_TYPE_TIMESTAMP:
        type->unit = QN_UNIT_MICRO;
        return QN_CHECKPOINT_NUMBER;
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        *type = qn_type_of(QN_TYPE_FLOAT64);
        return QN_CHECKPOINT_REAL;
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        *type = qn_type_of(QN_TYPE_STRING_VIEW);
        return QN_CHECKPOINT_TEXT;
    default:
        return QN_CHECKPOINT_NONE;
    }
}

enum qn_status qn_checkpoint_type(const struct qn_reader *column, struct qn_type *type_out,
                                  enum qn_checkpoint_kind *kind_out, struct qn_error *err)
{
    struct qn_type type = column->type;
    enum qn_checkpoint_kind kind = kind_of(&type);
    if (kind == QN_CHECKPOINT_NONE) {
        char name[QN_TYPE_MAX_FORMAT];
        qn_type_to_text(&column->type, name);
        return qn_error_set(err, QN_ERR_UNSUPPORTED,
                            "checkpoint.column \"%s\" is of type %s; a checkpoint is an integer, a decimal, a float, a "
                            "text, a date or a timestamp",
                            column->name, name);
    }
    *type_out = type;
    *kind_out = kind;
    return QN_OK;
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

/* Seventeen digits name a double exactly; the C locale keeps the point a point. */
static void format_real(double real, struct qn_buffer *out)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t before = plain != (locale_t)0 ? uselocale(plain) : (locale_t)0;
    qn_buffer_printf(out, "%.17g", real);
    if (plain != (locale_t)0) {
        (void)uselocale(before);
        freelocale(plain);
    }
}

static bool parse_real(const char *text, double *out)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0) {
        return false;
    }
    char *end = NULL;
    double real = strtod_l(text, &end, plain);
    freelocale(plain);
    if (end == text || *end != '\0' || !isfinite(real)) {
        return false;
    }
    *out = real;
    return true;
}

static int scale_of(const struct qn_type *type)
{
    return type->id == QN_TYPE_DECIMAL128 ? type->scale : 0;
}

static bool integer_fits(enum qn_type_id id, qn_int128 number)
{
    static const struct {
        enum qn_type_id id;
        qn_int128 low, high;
    } ranges[] = {
        { QN_TYPE_INT8, INT8_MIN, INT8_MAX },    { QN_TYPE_INT16, INT16_MIN, INT16_MAX },
        { QN_TYPE_INT32, INT32_MIN, INT32_MAX }, { QN_TYPE_INT64, INT64_MIN, INT64_MAX },
        { QN_TYPE_UINT8, 0, UINT8_MAX },         { QN_TYPE_UINT16, 0, UINT16_MAX },
        { QN_TYPE_UINT32, 0, UINT32_MAX },       { QN_TYPE_UINT64, 0, UINT64_MAX },
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (ranges[i].id == id) {
            return number >= ranges[i].low && number <= ranges[i].high;
        }
    }
    return true;
}

static bool parse_number(const struct qn_type *type, const char *text, size_t size, qn_int128 *out)
{
    if (type->id == QN_TYPE_DATE32) {
        int32_t days = 0;
        bool fine = qn_date_parse(text, size, &days);
        *out = days;
        return fine;
    }
    if (type->id == QN_TYPE_TIMESTAMP) {
        int64_t micros = 0;
        enum qn_zone zone = QN_ZONE_NONE;
        bool fine = qn_timestamp_parse(text, size, &micros, &zone);
        *out = micros;
        return fine && (zone == QN_ZONE_OFFSET) == (type->timezone[0] != '\0');
    }
    int scale = 0;
    qn_int128 value = 0;
    return qn_decimal_parse(text, size, &value, &scale) && qn_decimal_rescale(value, scale, scale_of(type), out) &&
           integer_fits(type->id, *out);
}

enum qn_status qn_checkpoint_parse(const char *type_text, const char *text, size_t size, struct qn_checkpoint *out,
                                   struct qn_error *err)
{
    struct qn_type type;
    QN_TRY(qn_type_from_text(type_text, &type, err));
    enum qn_checkpoint_kind kind = kind_of(&type);
    bool fine = size <= QN_CHECKPOINT_TEXT_MAX;
    switch (kind) {
    case QN_CHECKPOINT_NUMBER:
        fine = fine && parse_number(&type, text, size, &out->number);
        break;
    case QN_CHECKPOINT_REAL:
        fine = fine && parse_real(text, &out->real);
        break;
    case QN_CHECKPOINT_TEXT:
        if (fine) {
            QN_TRY(set_text(out, text, size, err));
        }
        break;
    default:
        return qn_error_set(err, QN_ERR_DATA, "a checkpoint cannot be of type %s", type_text);
    }
    if (!fine) {
        return qn_error_set(err, QN_ERR_DATA, "\"%.*s\" is no checkpoint of type %s",
                            (int)qn_utf8_floor(text, size < 100 ? size : 100), text, type_text);
    }
    out->kind = kind;
    out->type = type;
    return QN_OK;
}

void qn_checkpoint_format(const struct qn_checkpoint *checkpoint, struct qn_buffer *out)
{
    char text[QN_CALENDAR_TEXT_SIZE + QN_DECIMAL_TEXT_SIZE];
    switch (checkpoint->kind) {
    case QN_CHECKPOINT_NUMBER:
        if (checkpoint->type.id == QN_TYPE_DATE32) {
            (void)qn_date_format((int32_t)checkpoint->number, text);
        } else if (checkpoint->type.id == QN_TYPE_TIMESTAMP) {
            (void)qn_timestamp_format((int64_t)checkpoint->number, text);
        } else {
            (void)qn_decimal_format(checkpoint->number, scale_of(&checkpoint->type), text);
        }
        qn_buffer_append_text(out, text);
        if (checkpoint->type.id == QN_TYPE_TIMESTAMP && checkpoint->type.timezone[0] != '\0') {
            qn_buffer_append_text(out, "Z");
        }
        break;
    case QN_CHECKPOINT_REAL:
        format_real(checkpoint->real, out);
        break;
    case QN_CHECKPOINT_TEXT:
        qn_buffer_append(out, qn_buffer_text(&checkpoint->text), checkpoint->text.size);
        break;
    default:
        break;
    }
}

/* ---- beside a column ------------------------------------------------------------------------------------------ */

enum family { NUMBER, TEXT, DATE, TIMESTAMP, INSTANT };

static enum family family_of(const struct qn_type *type)
{
    switch (type->id) {
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return TEXT;
    case QN_TYPE_DATE32:
        return DATE;
    case QN_TYPE_TIMESTAMP:
        return type->timezone[0] != '\0' ? INSTANT : TIMESTAMP;
    default:
        return NUMBER;
    }
}

/* A database compares an integer with a float as floats, which keeps the order around every number up to 2^53. */
bool qn_checkpoint_suits(const struct qn_checkpoint *checkpoint, const struct qn_type *column)
{
    enum family family = family_of(&checkpoint->type);
    if (family != family_of(column)) {
        return false;
    }
    bool is_real = column->id == QN_TYPE_FLOAT32 || column->id == QN_TYPE_FLOAT64;
    if (family != NUMBER || is_decimal(column->id) || is_real == (checkpoint->kind == QN_CHECKPOINT_REAL)) {
        return true;
    }
    const int64_t most = INT64_C(1) << 53;
    return checkpoint->kind == QN_CHECKPOINT_REAL ? fabs(checkpoint->real) <= (double)most
                                                  : checkpoint->number >= -most && checkpoint->number <= most;
}

const char *qn_checkpoint_noun(const struct qn_type *type)
{
    static const char *const nouns[] = {
        [TEXT] = "a text", [DATE] = "a date", [TIMESTAMP] = "a timestamp", [INSTANT] = "a timestamp with an offset"
    };
    enum family family = family_of(type);
    if (family != NUMBER) {
        return nouns[family];
    }
    return is_integer(type->id) ? "an integer" : is_decimal(type->id) ? "a decimal" : "a float";
}

/* The moment that a checkpoint names, in microseconds; the year 1 where it names none. */
static int64_t moment_of(const struct qn_checkpoint *checkpoint)
{
    const char *text = qn_buffer_text(&checkpoint->text);
    int32_t days = 0;
    int64_t micros = 0;
    enum qn_zone zone = QN_ZONE_NONE;
    switch (family_of(&checkpoint->type)) {
    case DATE:
        return (int64_t)checkpoint->number * QN_MICROS_PER_DAY;
    case TIMESTAMP:
    case INSTANT:
        return (int64_t)checkpoint->number;
    case TEXT:
        if (qn_date_parse(text, checkpoint->text.size, &days)) {
            return days * QN_MICROS_PER_DAY;
        }
        if (qn_timestamp_parse(text, checkpoint->text.size, &micros, &zone)) {
            return micros;
        }
        break;
    default:
        break;
    }
    (void)qn_date_parse("0001-01-01", strlen("0001-01-01"), &days);
    return days * QN_MICROS_PER_DAY;
}

void qn_checkpoint_literal(const struct qn_checkpoint *checkpoint, const struct qn_type *column, struct qn_buffer *out)
{
    char text[QN_CALENDAR_TEXT_SIZE];
    int64_t moment = moment_of(checkpoint);
    switch (family_of(column)) {
    case TEXT:
        qn_buffer_append_text(out, "\"");
        qn_checkpoint_format(checkpoint, out);
        qn_buffer_append_text(out, "\"");
        break;
    case DATE:
        (void)qn_date_format((int32_t)(moment / QN_MICROS_PER_DAY - (moment % QN_MICROS_PER_DAY < 0)), text);
        qn_buffer_append_text(out, text);
        break;
    case TIMESTAMP:
    case INSTANT:
        (void)qn_timestamp_format(moment, text);
        text[strcspn(text, " ")] = 'T';
        qn_buffer_printf(out, "%s%s", text, column->timezone[0] != '\0' ? "Z" : "");
        break;
    default:
        qn_buffer_append_text(out, is_integer(column->id) || is_decimal(column->id) ? "0" : "0.0");
        break;
    }
}

void qn_checkpoint_bind(const struct qn_checkpoint *checkpoint, struct qn_value *out)
{
    *out = (struct qn_value){ .kind = QN_VALUE_NULL };
    if (checkpoint->kind == QN_CHECKPOINT_REAL) {
        out->kind = QN_VALUE_FLOAT64;
        out->as.float64 = checkpoint->real;
        return;
    }
    if (checkpoint->kind == QN_CHECKPOINT_TEXT) {
        out->kind = QN_VALUE_TEXT;
        out->as.bytes.data = qn_buffer_text(&checkpoint->text);
        out->as.bytes.size = checkpoint->text.size;
        return;
    }
    if (checkpoint->kind != QN_CHECKPOINT_NUMBER) {
        return;
    }
    out->as.int64 = (int64_t)checkpoint->number;
    switch (checkpoint->type.id) {
    case QN_TYPE_DATE32:
        out->kind = QN_VALUE_DATE;
        break;
    case QN_TYPE_TIMESTAMP:
        out->kind = checkpoint->type.timezone[0] != '\0' ? QN_VALUE_INSTANT : QN_VALUE_TIMESTAMP;
        break;
    case QN_TYPE_UINT64:
        out->kind = QN_VALUE_UINT64;
        out->as.uint64 = (uint64_t)checkpoint->number;
        break;
    case QN_TYPE_DECIMAL128:
        out->kind = QN_VALUE_DECIMAL;
        out->scale = checkpoint->type.scale;
        out->as.decimal.low = (uint64_t)checkpoint->number;
        out->as.decimal.high = (int64_t)(checkpoint->number >> 64);
        break;
    default:
        out->kind = QN_VALUE_INT64;
        break;
    }
}

/* ---- order ---------------------------------------------------------------------------------------------------- */

/* A value of the column, borrowed from its row. */
struct seen {
    qn_int128 number;
    double real;
    const char *text;
    size_t size;
};

static int compare_bytes(const char *a, size_t a_size, const char *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_decimals(qn_int128 a, int a_scale, qn_int128 b, int b_scale)
{
    qn_int128 scaled = 0;
    if (a_scale < b_scale) {
        if (!qn_decimal_rescale(a, a_scale, b_scale, &scaled)) {
            return a < 0 ? -1 : 1; /* past 38 digits in the other's scale: larger in size than any other */
        }
        a = scaled;
    } else if (a_scale > b_scale) {
        if (!qn_decimal_rescale(b, b_scale, a_scale, &scaled)) {
            return b < 0 ? 1 : -1;
        }
        b = scaled;
    }
    return (a > b) - (a < b);
}

static int compare_seen(enum qn_checkpoint_kind kind, const struct seen *a, int a_scale, const struct qn_checkpoint *b)
{
    if (kind == QN_CHECKPOINT_TEXT) {
        return compare_bytes(a->text, a->size, qn_buffer_text(&b->text), b->text.size);
    }
    if (kind == QN_CHECKPOINT_REAL) {
        return (a->real > b->real) - (a->real < b->real);
    }
    if (a_scale == scale_of(&b->type)) {
        return (a->number > b->number) - (a->number < b->number);
    }
    return compare_decimals(a->number, a_scale, b->number, scale_of(&b->type));
}

int qn_checkpoint_compare(const struct qn_checkpoint *a, const struct qn_checkpoint *b)
{
    struct seen value = {
        .number = a->number, .real = a->real, .text = qn_buffer_text(&a->text), .size = a->text.size
    };
    return compare_seen(a->kind, &value, scale_of(&a->type), b);
}

/* ---- watching rows -------------------------------------------------------------------------------------------- */

enum qn_status qn_checkpoint_watch_init(struct qn_checkpoint_watch *watch, const struct ArrowSchema *field,
                                        struct qn_error *err)
{
    *watch = (struct qn_checkpoint_watch){ .kind = QN_CHECKPOINT_NONE };
    QN_TRY(qn_reader_init(&watch->column, field, err));
    if (watch->column.type.id == QN_TYPE_NULL) {
        watch->last.type = watch->highest.type = watch->column.type;
        return QN_OK; /* no value has told the type: no row at all, or a null, which is refused as a row */
    }
    enum qn_status status = qn_checkpoint_type(&watch->column, &watch->last.type, &watch->kind, err);
    watch->highest.type = watch->last.type;
    return status;
}

void qn_checkpoint_watch_dispose(struct qn_checkpoint_watch *watch)
{
    qn_reader_dispose(&watch->column);
    qn_checkpoint_dispose(&watch->floor);
    qn_checkpoint_dispose(&watch->last);
    qn_checkpoint_dispose(&watch->highest);
}

static enum qn_status refuse_row(const struct qn_checkpoint_watch *watch, const char *what, struct qn_error *err)
{
    (void)qn_error_set(err, QN_ERR_DATA, "checkpoint.column \"%s\", row %lld: %s", watch->column.name,
                       (long long)watch->row, what);
    qn_error_place(err, watch->row, watch->column.name);
    return QN_ERR_DATA;
}

static enum qn_status read_number(const struct qn_checkpoint_watch *watch, int64_t row, qn_int128 *out,
                                  struct qn_error *err)
{
    const struct qn_reader *column = &watch->column;
    if (column->type.id == QN_TYPE_TIMESTAMP) {
        int64_t micros = 0;
        if (!qn_reader_micros(column, row, &micros)) {
            return refuse_row(watch, "the timestamp is not a whole number of microseconds", err);
        }
        *out = micros;
    } else if (is_decimal(column->type.id)) {
        if (!qn_reader_decimal(column, row, out)) {
            return refuse_row(watch, "the decimal has more than 38 digits", err);
        }
    } else if (column->type.id == QN_TYPE_UINT64) {
        *out = qn_reader_uint64(column, row);
    } else {
        *out = qn_reader_int64(column, row);
    }
    return QN_OK;
}

static enum qn_status read_value(const struct qn_checkpoint_watch *watch, int64_t row, struct seen *out,
                                 struct qn_error *err)
{
    const struct qn_reader *column = &watch->column;
    if (QN_UNLIKELY(qn_reader_is_null(column, row))) {
        (void)refuse_row(watch, "the value is null: nothing tells whether the row has been moved", err);
        if (watch->from_statement) {
            qn_error_hint(err, "let the statement return rows only with a value of %s", column->name);
        } else {
            qn_error_hint(err, "add `where %s is not null` to the query", column->name);
        }
        return QN_ERR_DATA;
    }
    switch (watch->kind) {
    case QN_CHECKPOINT_NUMBER:
        return read_number(watch, row, &out->number, err);
    case QN_CHECKPOINT_REAL:
        out->real = qn_reader_float64(column, row);
        return isfinite(out->real) ? QN_OK : refuse_row(watch, "the value is not a finite number", err);
    default:
        if (!qn_reader_bytes(column, row, &out->text, &out->size)) {
            return refuse_row(watch, "the text lies outside of its buffer", err);
        }
        return out->size <= QN_CHECKPOINT_TEXT_MAX ? QN_OK : refuse_row(watch, "the text is too long", err);
    }
}

static enum qn_status keep(struct qn_checkpoint *checkpoint, enum qn_checkpoint_kind kind, const struct seen *value,
                           struct qn_error *err)
{
    if (kind == QN_CHECKPOINT_TEXT) {
        QN_TRY(set_text(checkpoint, value->text, value->size, err));
    }
    checkpoint->kind = kind;
    checkpoint->number = value->number;
    checkpoint->real = value->real;
    return QN_OK;
}

static enum qn_status refuse_order(const struct qn_checkpoint_watch *watch, struct qn_error *err)
{
    (void)refuse_row(watch, "the value is lower than the one before it", err);
    if (watch->from_statement) {
        qn_error_hint(err, "let the statement return its rows in the order of %s", watch->column.name);
    } else if (watch->kind == QN_CHECKPOINT_TEXT) {
        qn_error_hint(err, "order the query by it, byte by byte (PostgreSQL: order by %s collate \"C\")",
                      watch->column.name);
    } else {
        qn_error_hint(err, "order the query by it: `order by %s`", watch->column.name);
    }
    return QN_ERR_DATA;
}

static enum qn_status take_value(struct qn_checkpoint_watch *watch, const struct seen *value, struct qn_error *err)
{
    int scale = scale_of(&watch->last.type);
    if (watch->floor.kind == watch->kind && compare_seen(watch->kind, value, scale, &watch->floor) <= 0) {
        (void)refuse_row(watch, "the value is not past the checkpoint, so the row would be there twice", err);
        if (watch->from_statement) {
            qn_error_hint(err, "let the statement return only what is past DATA_CHECKPOINT, or use sink.mode upsert");
        } else {
            qn_error_hint(err, "compare with > in the query, or use sink.mode upsert");
        }
        return QN_ERR_DATA;
    }
    int order =
        watch->highest.kind == QN_CHECKPOINT_NONE ? 1 : compare_seen(watch->kind, value, scale, &watch->highest);
    if (order < 0 && watch->ordered) {
        return refuse_order(watch, err);
    }
    if (order > 0) {
        QN_TRY(keep(&watch->highest, watch->kind, value, err));
        watch->highest_row = watch->row;
    }
    return keep(&watch->last, watch->kind, value, err);
}

enum qn_status qn_checkpoint_watch_rows(struct qn_checkpoint_watch *watch, int64_t first, int64_t count, int64_t cut,
                                        int64_t *taken_out, struct qn_error *err)
{
    int scale = scale_of(&watch->last.type);
    for (int64_t i = 0; i < count; i++) {
        struct seen value = { .number = 0 };
        QN_TRY(read_value(watch, first + i, &value, err));
        if (i >= cut && watch->last.kind != QN_CHECKPOINT_NONE &&
            compare_seen(watch->kind, &value, scale, &watch->last) != 0) {
            *taken_out = i;
            return QN_OK;
        }
        QN_TRY(take_value(watch, &value, err));
        watch->row++;
    }
    *taken_out = count;
    return QN_OK;
}

enum qn_status qn_checkpoint_watch_end(const struct qn_checkpoint_watch *watch, struct qn_error *err)
{
    if (watch->any_order || watch->last.kind == QN_CHECKPOINT_NONE ||
        qn_checkpoint_compare(&watch->last, &watch->highest) >= 0) {
        return QN_OK;
    }
    (void)qn_error_set(err, QN_ERR_DATA,
                       "checkpoint.column \"%s\": the last row does not have the highest value (row %lld has it), so "
                       "the next run would move rows again",
                       watch->column.name, (long long)watch->highest_row);
    qn_error_place(err, watch->highest_row, watch->column.name);
    if (watch->from_statement) {
        qn_error_hint(err, "let the statement return its rows in the order of %s", watch->column.name);
    } else {
        qn_error_hint(err, "order the query by it: `order by %s`%s", watch->column.name,
                      watch->kind == QN_CHECKPOINT_TEXT ? ", byte by byte (PostgreSQL: collate \"C\")" : "");
    }
    return QN_ERR_DATA;
}
