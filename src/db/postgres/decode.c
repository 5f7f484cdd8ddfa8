/*
 * decode.c: DataRow messages into columns: the hot loop of reading.
 *
 * A DataRow's body is an int16 count of values, then for each an int32 length (-1: null) and its bytes. Room for the
 * values is reserved for many rows at once; fixed widths are stored directly at data[row], so that a column's length is
 * only brought up to date before a null, a string, or the end of the batch. The count must be that of the description and
 * every length must lie within its message; a wrong width of a fixed type is a broken protocol.
 *
 * Threads: one at a time.
 */
#include "db/postgres/decode.h"

#include "base/calendar.h"
#include "base/utf8.h"

#define FIRST_ROWS 64
#define QUICK_ROWS 65536 /* room grows fourfold up to here, then twofold */
#define HEADER     5     /* type and length of a message */

/* ---- room ---- */

static void fetch_buffers(struct qn_pg_rows *rows)
{
    for (int32_t i = 0; i < rows->n_columns; i++) {
        rows->columns[i].data = rows->columns[i].column->data;
        rows->columns[i].validity = rows->columns[i].column->validity;
    }
}

static void set_lengths(struct qn_pg_rows *rows, int64_t length)
{
    for (int32_t i = 0; i < rows->n_columns; i++) {
        rows->columns[i].column->length = length;
    }
}

enum qn_status qn_pg_rows_reserve(struct qn_pg_rows *rows, int64_t n, struct qn_error *err)
{
    set_lengths(rows, rows->row);
    QN_TRY(qn_batch_reserve(&rows->batch, n, err));
    rows->capacity = rows->row + n;
    fetch_buffers(rows);
    return QN_OK;
}

static enum qn_status grow(struct qn_pg_rows *rows, int64_t limit, struct qn_error *err)
{
    int64_t more = rows->row < FIRST_ROWS ? FIRST_ROWS : rows->row < QUICK_ROWS ? 3 * rows->row : rows->row;
    more = more > limit - rows->row ? limit - rows->row : more;
    return qn_pg_rows_reserve(rows, more, err);
}

int64_t qn_pg_rows_bytes(const struct qn_pg_rows *rows)
{
    int64_t bytes = 0;
    for (int32_t i = 0; i < rows->n_columns; i++) {
        const struct qn_column *column = rows->columns[i].column;
        bytes += column->total_bytes + rows->row * (int64_t)column->width;
    }
    return bytes;
}

enum qn_status qn_pg_rows_finish(struct qn_pg_rows *rows, struct ArrowArray *out, struct qn_error *err)
{
    set_lengths(rows, rows->row);
    QN_TRY(qn_batch_finish(&rows->batch, rows->row, out, err));
    rows->rows_before += rows->row;
    rows->row = 0;
    rows->capacity = 0;
    fetch_buffers(rows);
    return QN_OK;
}

/* ---- values that are no plain store ---- */

static void put_null(struct qn_pg_column *column, int64_t row)
{
    column->column->length = row;
    qn_column_put_null(column->column);
    column->data = column->column->data;
    column->validity = column->column->validity;
}

static inline void mark_valid(const struct qn_pg_column *column, int64_t row)
{
    if (QN_UNLIKELY(column->validity != NULL)) {
        column->validity[row >> 3] |= (uint8_t)(1U << (row & 7));
    }
}

#define STORE(ctype, number)                                                                                           \
    do {                                                                                                               \
        ctype stored_ = (ctype)(number);                                                                               \
        memcpy(column->data + (size_t)row * sizeof stored_, &stored_, sizeof stored_);                                 \
        mark_valid(column, row);                                                                                       \
    } while (0)

static enum qn_status misfit(const struct qn_pg_rows *rows, const struct qn_pg_column *column, const char *what,
                             const char *way_out, struct qn_error *err)
{
    int64_t row = rows->rows_before + rows->row;
    enum qn_status status =
        qn_error_set(err, QN_ERR_DATA, "row %lld, column \"%s\": %s", (long long)row, column->name, what);
    qn_error_place(err, row, column->name);
    qn_error_hint(err, "%s", way_out);
    return status;
}

static enum qn_status put_bad_text(const struct qn_pg_rows *rows, const struct qn_pg_column *column,
                                   struct qn_error *err)
{
    return misfit(rows, column, "the server sent text that is not valid UTF-8",
                  "the database's encoding does not say what its bytes are: look at server_encoding, or read the "
                  "column as bytea with convert_to()",
                  err);
}

/* infinity, or past what Arrow can count. `top`: towards the future. */
static enum qn_status put_beyond(struct qn_pg_rows *rows, struct qn_pg_column *column, bool top, struct qn_error *err)
{
    int64_t row = rows->row;
    switch (rows->infinity) {
    case QN_POLICY_NULL:
        put_null(column, row);
        return QN_OK;
    case QN_POLICY_SATURATE:
        if (column->decoder == QN_PG_DECODE_DATE) {
            STORE(int32_t, top ? INT32_MAX : INT32_MIN);
        } else {
            STORE(int64_t, top ? INT64_MAX : INT64_MIN);
        }
        return QN_OK;
    default:
        return misfit(rows, column,
                      top ? "infinity, or a time past what the Arrow type can hold"
                          : "-infinity, or a time before what the Arrow type can hold",
                      "choose infinity=\"null\", \"saturate\" or \"text\", or read the column as Utf8", err);
    }
}

static enum qn_status put_time(struct qn_pg_rows *rows, struct qn_pg_column *column, int64_t micros,
                               struct qn_error *err)
{
    int64_t row = rows->row;
    if (micros == QN_MICROS_PER_DAY) {
        return misfit(rows, column, "24:00:00 is past what the Arrow type can hold",
                      "read the column as Utf8, or choose infinity=\"text\"", err);
    }
    if (micros < 0 || micros > QN_MICROS_PER_DAY) {
        return misfit(rows, column, "the server sent a time of day that is none", "this is a fault of the server", err);
    }
    STORE(int64_t, micros);
    return QN_OK;
}

static void put_uuid(struct qn_pg_column *column, int64_t row, const char *bytes)
{
    static const char hex[] = "0123456789abcdef";
    char text[36];
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text[at++] = '-';
        }
        text[at++] = hex[(uint8_t)bytes[i] >> 4];
        text[at++] = hex[bytes[i] & 15];
    }
    column->column->length = row;
    qn_column_put_bytes(column->column, text, sizeof text);
}

/* ---- strings ---- */

/* A short string straight into its view: two loads that may reach past the value (the receive buffer has room for that),
 * masked. False where it is not plain ASCII. */
static inline bool put_short(struct qn_pg_column *column, int64_t row, const char *bytes, uint32_t size)
{
    uint32_t head;
    uint64_t tail;
    memcpy(&head, bytes, sizeof head);
    memcpy(&tail, bytes + sizeof head, sizeof tail);
    uint32_t head_bits = size >= 4 ? 32 : size * 8;
    uint32_t tail_bits = size > 4 ? (size - 4) * 8 : 0;
    head &= (uint32_t)((UINT64_C(1) << head_bits) - 1);
    tail = tail_bits == 64 ? tail : tail & ((UINT64_C(1) << tail_bits) - 1);
    if (QN_UNLIKELY(((head & 0x80808080U) | (tail & UINT64_C(0x8080808080808080))) != 0)) {
        return false;
    }
    uint64_t words[2] = { size | ((uint64_t)head << 32), tail };
    memcpy(column->data + (size_t)row * sizeof words, words, sizeof words);
    mark_valid(column, row);
    return true;
}

static enum qn_status put_text(struct qn_pg_rows *rows, struct qn_pg_column *column, const char *bytes, uint32_t size,
                               struct qn_error *err)
{
    if (size <= QN_VIEW_INLINE && put_short(column, rows->row, bytes, size)) {
        return QN_OK;
    }
    if (!qn_utf8_valid(bytes, size)) {
        return put_bad_text(rows, column, err);
    }
    column->column->length = rows->row;
    qn_column_put_bytes(column->column, bytes, size);
    return QN_OK;
}

/* ---- numerics ---- */

static enum qn_status put_numeric_special(struct qn_pg_rows *rows, struct qn_pg_column *column,
                                          const struct qn_pg_numeric *numeric, struct qn_error *err)
{
    int64_t row = rows->row;
    if (rows->numeric_special == QN_POLICY_NULL) {
        put_null(column, row);
        return QN_OK;
    }
    if (rows->numeric_special == QN_POLICY_SATURATE && numeric->kind != QN_PG_NUMERIC_NAN &&
        column->decoder == QN_PG_DECODE_NUMERIC) {
        qn_int128 most = qn_decimal_power(column->precision) - 1;
        STORE(qn_int128, numeric->kind == QN_PG_NUMERIC_PLUS ? most : -most);
        return QN_OK;
    }
    return misfit(rows, column, "NaN or infinity does not fit a decimal",
                  "choose numeric_special=\"null\" or \"text\", or read the column as Float64 or Utf8", err);
}

static enum qn_status put_numeric_text(struct qn_pg_rows *rows, struct qn_pg_column *column,
                                       const struct qn_pg_numeric *numeric, struct qn_error *err)
{
    static const char *const special[] = { "", "NaN", "Infinity", "-Infinity" };
    qn_buffer_reset(&rows->scratch);
    if (numeric->kind != QN_PG_NUMERIC_FINITE) {
        if (rows->numeric_special != QN_POLICY_TEXT) {
            return put_numeric_special(rows, column, numeric, err);
        }
        qn_buffer_append_text(&rows->scratch, special[numeric->kind]);
    } else {
        qn_pg_numeric_to_text(numeric, &rows->scratch);
    }
    QN_TRY(qn_buffer_check(&rows->scratch, "a numeric", err));
    column->column->length = rows->row;
    qn_column_put_bytes(column->column, qn_buffer_text(&rows->scratch), rows->scratch.size);
    return QN_OK;
}

/* From here on the column is exact text. */
static enum qn_status widen_to_text(struct qn_pg_rows *rows, struct qn_pg_column *column,
                                    const struct qn_pg_numeric *numeric, struct qn_error *err)
{
    column->column->length = rows->row;
    QN_TRY(qn_column_to_text(column->column, err));
    QN_TRY(qn_column_reserve(column->column, rows->capacity - rows->row, err));
    column->decoder = QN_PG_DECODE_NUMERIC_TEXT;
    column->data = column->column->data;
    column->validity = column->column->validity;
    return put_numeric_text(rows, column, numeric, err);
}

static enum qn_status put_numeric_widened(struct qn_pg_rows *rows, struct qn_pg_column *column,
                                          const struct qn_pg_numeric *numeric, struct qn_error *err)
{
    int64_t row = rows->row;
    qn_int128 value = 0;
    if (numeric->kind != QN_PG_NUMERIC_FINITE) {
        return rows->numeric_special == QN_POLICY_TEXT ? widen_to_text(rows, column, numeric, err)
                                                       : put_numeric_special(rows, column, numeric, err);
    }
    if (numeric->scale > column->scale) {
        column->column->length = row;
        if (numeric->scale > QN_DECIMAL_MAX_DIGITS || !qn_column_rescale(column->column, numeric->scale)) {
            return widen_to_text(rows, column, numeric, err);
        }
        column->scale = numeric->scale;
    }
    if (!qn_pg_numeric_to_decimal(numeric, column->scale, &value)) {
        return widen_to_text(rows, column, numeric, err);
    }
    STORE(qn_int128, value);
    return QN_OK;
}

static enum qn_status put_numeric_fixed(struct qn_pg_rows *rows, struct qn_pg_column *column,
                                        const struct qn_pg_numeric *numeric, struct qn_error *err)
{
    int64_t row = rows->row;
    qn_int128 value = 0;
    if (QN_UNLIKELY(numeric->kind != QN_PG_NUMERIC_FINITE)) {
        return put_numeric_special(rows, column, numeric, err);
    }
    qn_int128 limit = qn_decimal_power(column->precision);
    if (QN_UNLIKELY(!qn_pg_numeric_to_decimal(numeric, column->scale, &value) || value >= limit || value <= -limit)) {
        char what[96];
        (void)snprintf(what, sizeof what, "the value does not fit Decimal(%d,%d)", column->precision, column->scale);
        return misfit(rows, column, what, "read the column as a wider Decimal(p,s) or as Utf8", err);
    }
    STORE(qn_int128, value);
    return QN_OK;
}

static enum qn_status put_numeric(struct qn_pg_rows *rows, struct qn_pg_column *column, const char *bytes,
                                  uint32_t size, struct qn_error *err)
{
    int64_t row = rows->row;
    struct qn_pg_numeric numeric;
    double number = 0;
    if (QN_UNLIKELY(!qn_pg_numeric_open(bytes, size, &numeric))) {
        return misfit(rows, column, "the server sent a malformed numeric", "this is a fault of the server", err);
    }
    switch (column->decoder) {
    case QN_PG_DECODE_NUMERIC:
        return put_numeric_fixed(rows, column, &numeric, err);
    case QN_PG_DECODE_NUMERIC_WIDENED:
        return put_numeric_widened(rows, column, &numeric, err);
    case QN_PG_DECODE_NUMERIC_FLOAT8:
        if (!qn_pg_numeric_to_double(&numeric, &rows->scratch, &number)) {
            return qn__no_memory(err);
        }
        STORE(double, number);
        return QN_OK;
    default:
        return put_numeric_text(rows, column, &numeric, err);
    }
}

/* ---- the loop ---- */

static enum qn_status put_rare(struct qn_pg_rows *rows, struct qn_pg_column *column, const char *bytes, uint32_t size,
                               struct qn_error *err)
{
    switch (column->decoder) {
    case QN_PG_DECODE_TIME:
        return put_time(rows, column, (int64_t)qn_load_be64(bytes), err);
    case QN_PG_DECODE_UUID:
        put_uuid(column, rows->row, bytes);
        return QN_OK;
    case QN_PG_DECODE_BYTES:
        column->column->length = rows->row;
        qn_column_put_bytes(column->column, bytes, size);
        return QN_OK;
    default:
        return put_numeric(rows, column, bytes, size, err);
    }
}

/* The width that a decoder's values have; 0: any. */
static uint32_t width_of(enum qn_pg_decoder decoder)
{
    static const uint8_t widths[] = {
        [QN_PG_DECODE_BOOL] = 1,  [QN_PG_DECODE_INT2] = 2,      [QN_PG_DECODE_INT4] = 4,   [QN_PG_DECODE_INT8] = 8,
        [QN_PG_DECODE_UINT4] = 4, [QN_PG_DECODE_FLOAT4] = 4,    [QN_PG_DECODE_FLOAT8] = 8, [QN_PG_DECODE_DATE] = 4,
        [QN_PG_DECODE_TIME] = 8,  [QN_PG_DECODE_TIMESTAMP] = 8, [QN_PG_DECODE_UUID] = 16,
    };
    return (size_t)decoder < sizeof widths ? widths[decoder] : 0;
}

static inline enum qn_status put_value(struct qn_pg_rows *rows, struct qn_pg_column *column, const char *bytes,
                                       uint32_t size, struct qn_error *err)
{
    int64_t row = rows->row;
    switch (column->decoder) {
    case QN_PG_DECODE_INT8:
    case QN_PG_DECODE_FLOAT8:
        STORE(uint64_t, qn_load_be64(bytes));
        return QN_OK;
    case QN_PG_DECODE_INT4:
    case QN_PG_DECODE_UINT4:
    case QN_PG_DECODE_FLOAT4:
        STORE(uint32_t, qn_load_be32(bytes));
        return QN_OK;
    case QN_PG_DECODE_INT2:
        STORE(uint16_t, qn_load_be16(bytes));
        return QN_OK;
    case QN_PG_DECODE_BOOL:
        if (*bytes != 0) {
            column->data[row >> 3] |= (uint8_t)(1U << (row & 7));
        }
        mark_valid(column, row);
        return QN_OK;
    case QN_PG_DECODE_TIMESTAMP: {
        int64_t micros = (int64_t)qn_load_be64(bytes);
        if (QN_UNLIKELY(micros > INT64_MAX - QN_PG_EPOCH_MICROS || micros == INT64_MIN)) {
            return put_beyond(rows, column, micros > 0, err);
        }
        STORE(int64_t, micros + QN_PG_EPOCH_MICROS);
        return QN_OK;
    }
    case QN_PG_DECODE_DATE: {
        int32_t days = (int32_t)qn_load_be32(bytes);
        if (QN_UNLIKELY(days > INT32_MAX - QN_PG_EPOCH_DAYS || days == INT32_MIN)) {
            return put_beyond(rows, column, days > 0, err);
        }
        STORE(int32_t, days + QN_PG_EPOCH_DAYS);
        return QN_OK;
    }
    case QN_PG_DECODE_TEXT:
        return put_text(rows, column, bytes, size, err);
    default:
        return put_rare(rows, column, bytes, size, err);
    }
}

static enum qn_status malformed_row(struct qn_pg *pg, const struct qn_pg_rows *rows, struct qn_error *err)
{
    return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a malformed row (row %lld)",
                       (long long)rows->rows_before + rows->row);
}

/* One DataRow: `at` to `end` is its body. */
static inline enum qn_status put_row(struct qn_pg_rows *rows, struct qn_pg *pg, const char *at, const char *end,
                                     struct qn_error *err)
{
    if (QN_UNLIKELY(end - at < 2 || qn_load_be16(at) != (uint32_t)rows->n_columns)) {
        return malformed_row(pg, rows, err);
    }
    at += 2;
    struct qn_pg_column *column = rows->columns;
    for (const struct qn_pg_column *last = column + rows->n_columns; column < last; column++) {
        if (QN_UNLIKELY(end - at < 4)) {
            return malformed_row(pg, rows, err);
        }
        uint32_t size = qn_load_be32(at);
        at += 4;
        if (QN_UNLIKELY(size == UINT32_MAX)) {
            put_null(column, rows->row);
            continue;
        }
        if (QN_UNLIKELY(size > (size_t)(end - at) || (column->width != 0 && size != column->width))) {
            return malformed_row(pg, rows, err);
        }
        QN_TRY(put_value(rows, column, at, size, err));
        at += size;
    }
    return QN_LIKELY(at == end) ? QN_OK : malformed_row(pg, rows, err);
}

enum qn_status qn_pg_rows_take(struct qn_pg_rows *rows, struct qn_pg *pg, int64_t limit, struct qn_error *err)
{
    size_t began = pg->in_start;
    size_t at = began;
    enum qn_status status = QN_OK;
    for (int32_t i = 0; i < rows->n_columns; i++) {
        rows->columns[i].width = width_of(rows->columns[i].decoder);
    }
    while (rows->row < limit && pg->in_end - at >= HEADER && pg->in[at] == 'D') {
        size_t length = qn_load_be32(pg->in + at + 1);
        if (length < 4 || length >= pg->in_end - at) {
            break; /* not here yet, or nonsense: the message reader knows */
        }
        if (QN_UNLIKELY(rows->row >= rows->capacity)) {
            status = grow(rows, limit, err);
        }
        if (QN_LIKELY(status == QN_OK)) {
            status = put_row(rows, pg, pg->in + at + HEADER, pg->in + at + 1 + length, err);
        }
        if (QN_UNLIKELY(status != QN_OK)) {
            break;
        }
        at += 1 + length;
        rows->row++;
    }
    pg->in_start = at;
    rows->taken_bytes += (int64_t)(at - began);
    return status;
}
