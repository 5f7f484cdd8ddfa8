/*
 * encode.c (sqlite): Arrow values as the values that SQLite has: integers, reals, texts and blobs.
 *
 * What SQLite would change without a word is refused: NaN (it stores NULL), unsigned integers past 63 bits, and what the
 * affinity of the target column would convert to something else (text that looks like a number, decimals past 15 digits,
 * integers that a REAL column rounds, the -0.0 that it stores as the integer 0, reals that a TEXT column would cut to 15
 * digits). Digits become doubles here, never in SQLite, whose conversion of text is at times off by one bit. Dates and
 * times are ISO text, durations microseconds, lists and structs JSON.
 */
#include "db/sqlite/sqlite.h"

#include "base/calendar.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static enum qn_sqlite_plain plain_kind(const struct qn_reader *reader, enum qn_sqlite_affinity affinity)
{
    if (reader->dictionary != NULL) {
        return QN_SQLITE_NOT_PLAIN;
    }
    switch (reader->type.id) {
    case QN_TYPE_INT64:
        return affinity != QN_SQLITE_AFFINITY_REAL ? QN_SQLITE_PLAIN_INT64 : QN_SQLITE_NOT_PLAIN;
    case QN_TYPE_FLOAT64:
        return affinity != QN_SQLITE_AFFINITY_TEXT ? QN_SQLITE_PLAIN_FLOAT64 : QN_SQLITE_NOT_PLAIN;
    case QN_TYPE_STRING_VIEW:
        return affinity == QN_SQLITE_AFFINITY_TEXT || affinity == QN_SQLITE_AFFINITY_BLOB ? QN_SQLITE_PLAIN_TEXT
                                                                                          : QN_SQLITE_NOT_PLAIN;
    default:
        return QN_SQLITE_NOT_PLAIN;
    }
}

void qn_sqlite_encoder_init(struct qn_sqlite_encoder *self, const struct qn_reader *reader,
                            const struct ArrowSchema *field, enum qn_sqlite_affinity affinity)
{
    const char *kind = NULL;
    size_t size = 0;
    *self = (struct qn_sqlite_encoder){ .reader = reader, .name = reader->name, .affinity = affinity };
    self->plain = plain_kind(reader, affinity);
    self->is_uuid =
        qn_schema_metadata_get(field, QN_KEY_KIND, &kind, &size) && size == 4 && memcmp(kind, "uuid", 4) == 0;
}

void qn_sqlite_encoder_dispose(struct qn_sqlite_encoder *self)
{
    qn_buffer_dispose(&self->text);
}

static bool is_numeric(enum qn_sqlite_affinity affinity)
{
    return affinity == QN_SQLITE_AFFINITY_NUMERIC || affinity == QN_SQLITE_AFFINITY_INTEGER ||
           affinity == QN_SQLITE_AFFINITY_REAL;
}

static enum qn_status refuse(const struct qn_sqlite_encoder *self, const char *why, struct qn_error *err)
{
    (void)qn_error_set(err, QN_ERR_DATA, "%s", why);
    qn_error_place(err, -1, self->name);
    return QN_ERR_DATA;
}

static void small_text(struct qn_sqlite_encoder *self, size_t size, struct qn_sqlite_cell *out)
{
    out->kind = QN_SQLITE_CELL_TEXT;
    out->transient = true;
    out->bytes = self->small;
    out->size = size;
}

/* ---- numbers ---- */

static enum qn_status encode_integer(struct qn_sqlite_encoder *self, int64_t number, struct qn_sqlite_cell *out,
                                     struct qn_error *err)
{
    if (self->affinity == QN_SQLITE_AFFINITY_REAL && !qn_sqlite_exact_in_double(number)) {
        (void)refuse(self, "an integer past 53 bits would be rounded in a column of type REAL", err);
        qn_error_hint(err, "declare the column INTEGER");
        return QN_ERR_DATA;
    }
    out->kind = QN_SQLITE_CELL_INT;
    out->integer = number;
    return QN_OK;
}

static enum qn_status encode_real(struct qn_sqlite_encoder *self, double number, struct qn_sqlite_cell *out,
                                  struct qn_error *err)
{
    if (isnan(number)) {
        (void)refuse(self, "NaN: SQLite would store NULL", err);
        qn_error_hint(err, "write NULL, or keep NaN as text");
        return QN_ERR_DATA;
    }
    if (self->affinity == QN_SQLITE_AFFINITY_TEXT) { /* SQLite's own text has 15 digits */
        small_text(self, qn_sqlite_float_text(number, self->small), out);
        return QN_OK;
    }
    if (self->affinity == QN_SQLITE_AFFINITY_REAL && number == 0 && signbit(number)) {
        (void)refuse(self, "-0.0: SQLite would store 0.0", err);
        qn_error_hint(err, "add 0.0 to the column, which makes -0.0 0.0, or keep it in a column declared BLOB");
        return QN_ERR_DATA;
    }
    out->kind = QN_SQLITE_CELL_REAL;
    out->real = number;
    return QN_OK;
}

static enum qn_status encode_decimal(struct qn_sqlite_encoder *self, int64_t row, struct qn_sqlite_cell *out,
                                     struct qn_error *err)
{
    qn_int128 number, whole;
    int scale = self->reader->type.scale;
    if (!qn_reader_decimal(self->reader, row, &number) || scale < 0 || scale > QN_DECIMAL_MAX_DIGITS) {
        return refuse(self, "a decimal of more than 38 digits", err);
    }
    if (!is_numeric(self->affinity)) {
        small_text(self, qn_decimal_format(number, scale, self->small), out);
        return QN_OK;
    }
    bool is_whole = qn_decimal_rescale(number, scale, 0, &whole);
    if (is_whole && whole >= INT64_MIN && whole <= INT64_MAX &&
        (self->affinity != QN_SQLITE_AFFINITY_REAL || qn_sqlite_exact_in_double((int64_t)whole))) {
        out->kind = QN_SQLITE_CELL_INT;
        out->integer = (int64_t)whole;
        return QN_OK;
    }
    if (!qn_sqlite_decimal_to_double(number, scale, &out->real)) {
        (void)refuse(self, "a decimal of more than 15 digits would become a rounded double in this column", err);
        qn_error_hint(err, "declare the column DECIMAL_TEXT(p, s) or TEXT, which keep every digit");
        return QN_ERR_DATA;
    }
    out->kind = QN_SQLITE_CELL_REAL;
    return QN_OK;
}

/* ---- text ---- */

/* Text that a numeric column would turn into a number is only let through where the number prints as the same text, and
 * as that number. False in *number_out: it stays text. */
static enum qn_status encode_numeric_text(struct qn_sqlite_encoder *self, const char *bytes, size_t size,
                                          struct qn_sqlite_cell *out, bool *number_out, struct qn_error *err)
{
    char canonical[QN_DECIMAL_TEXT_SIZE] = "";
    qn_int128 value, whole;
    int scale;
    *number_out = qn_sqlite_looks_numeric(bytes, size);
    if (!*number_out) {
        return QN_OK;
    }
    if (qn_decimal_parse(bytes, size, &value, &scale) && scale >= 0 && scale <= QN_DECIMAL_MAX_DIGITS) {
        size_t length = qn_decimal_format(value, scale, canonical);
        bool same = length == size && memcmp(canonical, bytes, size) == 0;
        bool fits_integer = value >= INT64_MIN && value <= INT64_MAX;
        if (same && scale == 0 && fits_integer && self->affinity != QN_SQLITE_AFFINITY_REAL) {
            out->kind = QN_SQLITE_CELL_INT;
            out->integer = (int64_t)value;
            return QN_OK;
        }
        bool becomes_integer = self->affinity != QN_SQLITE_AFFINITY_REAL && qn_decimal_rescale(value, scale, 0, &whole);
        if (same && scale > 0 && !becomes_integer && qn_sqlite_decimal_to_double(value, scale, &out->real) &&
            qn_sqlite_float_text(out->real, self->small) == size && memcmp(self->small, bytes, size) == 0) {
            out->kind = QN_SQLITE_CELL_REAL;
            return QN_OK;
        }
    }
    (void)refuse(self, "text that looks like a number would be changed in a column of numeric type", err);
    qn_error_hint(err, "declare the column TEXT, or write numbers");
    return QN_ERR_DATA;
}

static enum qn_status encode_text(struct qn_sqlite_encoder *self, int64_t row, struct qn_sqlite_cell *out,
                                  struct qn_error *err)
{
    const char *bytes;
    size_t size;
    if (!qn_reader_bytes(self->reader, row, &bytes, &size)) {
        return refuse(self, "the Arrow array points outside of its buffers", err);
    }
    if (!qn_sqlite_text_valid(bytes, size)) {
        return refuse(self, "text that is not valid UTF-8", err);
    }
    if (is_numeric(self->affinity)) {
        bool number;
        QN_TRY(encode_numeric_text(self, bytes, size, out, &number, err));
        if (number) {
            return QN_OK;
        }
    }
    out->kind = QN_SQLITE_CELL_TEXT;
    out->bytes = bytes;
    out->size = size;
    return QN_OK;
}

static enum qn_status encode_blob(struct qn_sqlite_encoder *self, int64_t row, struct qn_sqlite_cell *out,
                                  struct qn_error *err)
{
    static const char digits[] = "0123456789abcdef";
    const char *bytes;
    size_t size;
    if (!qn_reader_bytes(self->reader, row, &bytes, &size)) {
        return refuse(self, "the Arrow array points outside of its buffers", err);
    }
    if (!self->is_uuid || size != 16) {
        out->kind = QN_SQLITE_CELL_BLOB;
        out->bytes = bytes;
        out->size = size;
        return QN_OK;
    }
    size_t n = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            self->small[n++] = '-';
        }
        self->small[n++] = digits[(unsigned char)bytes[i] >> 4];
        self->small[n++] = digits[(unsigned char)bytes[i] & 15];
    }
    small_text(self, n, out);
    return QN_OK;
}

/* ---- dates and times ---- */

static enum qn_status encode_date(struct qn_sqlite_encoder *self, int64_t row, struct qn_sqlite_cell *out,
                                  struct qn_error *err)
{
    int64_t days = qn_reader_int64(self->reader, row);
    if (self->reader->type.id == QN_TYPE_DATE64) {
        const int64_t millis_per_day = QN_MICROS_PER_DAY / 1000;
        if (days % millis_per_day != 0) {
            return refuse(self, "a date with a time of day", err);
        }
        days /= millis_per_day;
    }
    if (days < INT32_MIN || days > INT32_MAX) {
        return refuse(self, "a date out of range", err);
    }
    small_text(self, qn_date_format((int32_t)days, self->small), out);
    return QN_OK;
}

static enum qn_status encode_moment(struct qn_sqlite_encoder *self, int64_t row, struct qn_sqlite_cell *out,
                                    struct qn_error *err)
{
    int64_t micros;
    size_t size;
    const struct qn_type *type = &self->reader->type;
    if (!qn_reader_micros(self->reader, row, &micros)) {
        return refuse(self, "a time that microseconds cannot hold exactly", err);
    }
    if (type->id == QN_TYPE_DURATION) {
        return encode_integer(self, micros, out, err);
    }
    if (type->id != QN_TYPE_TIMESTAMP) {
        if (micros < 0 || micros >= QN_MICROS_PER_DAY) {
            return refuse(self, "a time of day outside of 00:00 to 23:59:59.999999", err);
        }
        small_text(self, qn_time_format(micros, self->small), out);
        return QN_OK;
    }
    size = qn_timestamp_format(micros, self->small);
    if (type->timezone[0] != '\0') {
        memcpy(self->small + size, "+00:00", 7);
        size += 6;
    }
    small_text(self, size, out);
    return QN_OK;
}

static enum qn_status encode_json(struct qn_sqlite_encoder *self, int64_t row, struct qn_sqlite_cell *out,
                                  struct qn_error *err)
{
    qn_buffer_reset(&self->text);
    QN_TRY(qn_reader_to_json(self->reader, row, &self->text, err));
    QN_TRY(qn_buffer_check(&self->text, "JSON text", err));
    out->kind = QN_SQLITE_CELL_TEXT;
    out->transient = true;
    out->bytes = qn_buffer_text(&self->text);
    out->size = self->text.size;
    return QN_OK;
}

/* ---- all ---- */

enum qn_status qn_sqlite_encode(struct qn_sqlite_encoder *self, int64_t row, struct qn_sqlite_cell *out,
                                struct qn_error *err)
{
    const struct qn_reader *reader = self->reader;
    out->transient = false;
    if (qn_reader_is_null(reader, row)) {
        out->kind = QN_SQLITE_CELL_NULL;
        return QN_OK;
    }
    if (QN_UNLIKELY(reader->dictionary != NULL)) { /* the getters follow the index */
        int64_t index = qn__reader_index(reader, row);
        struct qn_sqlite_encoder values = *self;
        values.reader = reader->dictionary;
        enum qn_status status = qn_sqlite_encode(&values, index, out, err);
        self->text = values.text;
        if (out->transient && out->bytes == values.small) {
            memcpy(self->small, values.small, sizeof self->small);
            out->bytes = self->small;
        }
        return status;
    }
    switch (reader->type.id) {
    case QN_TYPE_BOOL:
        return encode_integer(self, qn_reader_bool(reader, row), out, err);
    case QN_TYPE_INT8:
    case QN_TYPE_INT16:
    case QN_TYPE_INT32:
    case QN_TYPE_INT64:
    case QN_TYPE_UINT8:
    case QN_TYPE_UINT16:
    case QN_TYPE_UINT32:
        return encode_integer(self, qn_reader_int64(reader, row), out, err);
    case QN_TYPE_UINT64:
        if (qn_reader_uint64(reader, row) > INT64_MAX) {
            return refuse(self, "an unsigned integer past 9223372036854775807, the largest that SQLite has", err);
        }
        return encode_integer(self, (int64_t)qn_reader_uint64(reader, row), out, err);
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        return encode_real(self, qn_reader_float64(reader, row), out, err);
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return encode_decimal(self, row, out, err);
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return encode_text(self, row, out, err);
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
    case QN_TYPE_FIXED_BINARY:
        return encode_blob(self, row, out, err);
    case QN_TYPE_DATE32:
    case QN_TYPE_DATE64:
        return encode_date(self, row, out, err);
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
    case QN_TYPE_TIMESTAMP:
    case QN_TYPE_DURATION:
        return encode_moment(self, row, out, err);
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_STRUCT:
    case QN_TYPE_MAP:
        return encode_json(self, row, out, err);
    default:
        (void)qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%s\": SQLite has no type for its values", self->name);
        qn_error_place(err, -1, self->name);
        return QN_ERR_UNSUPPORTED;
    }
}

enum qn_status qn_sqlite_bind(struct qn_sqlite *connection, sqlite3_stmt *stmt, int number,
                              struct qn_sqlite_encoder *encoder, int64_t row, struct qn_error *err)
{
    struct qn_sqlite_cell cell;
    int code;
    QN_TRY(qn_sqlite_encode(encoder, row, &cell, err));
    /* a cursor may outlive the caller's values: SQLite copies them */
    switch (cell.kind) {
    case QN_SQLITE_CELL_INT:
        code = sqlite3_bind_int64(stmt, number, cell.integer);
        break;
    case QN_SQLITE_CELL_REAL:
        code = sqlite3_bind_double(stmt, number, cell.real);
        break;
    case QN_SQLITE_CELL_TEXT:
        code = sqlite3_bind_text64(stmt, number, cell.bytes, cell.size, SQLITE_TRANSIENT, SQLITE_UTF8);
        break;
    case QN_SQLITE_CELL_BLOB:
        code = cell.size == 0 ? sqlite3_bind_zeroblob(stmt, number, 0)
                              : sqlite3_bind_blob64(stmt, number, cell.bytes, cell.size, SQLITE_TRANSIENT);
        break;
    default:
        code = sqlite3_bind_null(stmt, number);
        break;
    }
    return code == SQLITE_OK ? QN_OK : qn_sqlite_error(connection, code, NULL, err);
}
