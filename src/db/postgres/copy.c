/*
 * copy.c: binary COPY into a table.
 *
 * Layout (PostgreSQL documentation, COPY, "Binary Format"): the signature "PGCOPY\n\377\r\n\0", int32 flags 0, int32
 * length of the extension 0; per row an int16 count of fields, then each field as an int32 length (-1: null) and its
 * bytes; int16 -1 at the end. CopyData messages may cut this anywhere.
 *
 * A chunk of rows is encoded in two passes: first every column says how long its values are (or puts them into its
 * scratch buffer), then, the place of every row being known, every column stores its values. Where all columns have a
 * fixed width and no nulls the rows are equally long and the places are a multiplication.
 *
 * Invariant: `used` counts the five bytes of the message head; between calls the copy is in progress on the server.
 */
#include "db/postgres/copy.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/postgres/encode_parts.h"

#include <stdio.h>

#define HEAD         ((size_t)5)        /* 'd' and the length */
#define SEND_AT      ((size_t)32 << 10) /* the buffer is sent once it holds so much */
#define CHUNK_BYTES  ((size_t)4 << 20)  /* of variable values in a chunk, all columns together */
#define COLUMN_BYTES ((size_t)4 << 10)  /* of a column at least, however many columns there are */
#define MESSAGE_MAX  ((size_t)32 << 10) /* of one CopyData: what the server takes in at once stays in its cache */
#define NO_STRIDE    ((size_t)0)

static const char signature[19] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0"; /* with flags and extension length */

/* ---- the dialogue ---- */

bool qn_pg_copy_context(const char *context, const char *table, int64_t *row_out, char *column, size_t column_size)
{
    static const char start[] = "COPY ";
    size_t name_size = strlen(table);
    if (strncmp(context, start, sizeof start - 1) != 0 || strncmp(context + sizeof start - 1, table, name_size) != 0) {
        return false;
    }
    const char *at = context + sizeof start - 1 + name_size;
    if (at[0] != ',' || at[1] != ' ') {
        return false;
    }
    at = strchr(at + 2, ' '); /* past the word for "line" */
    if (at == NULL || !qn_ascii_digit(at[1])) {
        return false;
    }
    int64_t line = 0;
    for (at++; qn_ascii_digit(*at); at++) {
        if (line > INT64_MAX / 100) {
            return false;
        }
        line = line * 10 + (*at - '0');
    }
    *row_out = line - 1;
    column[0] = '\0';
    const char *name = at[0] == ',' && at[1] == ' ' ? strchr(at + 2, ' ') : NULL;
    if (name != NULL) {
        size_t size = strcspn(name + 1, ":\n");
        qn__error_copy(column, column_size, name + 1, size);
    }
    return line > 0;
}

/* Read to ReadyForQuery; the first error on the way is the result, with the row and column of its context. */
static enum qn_status read_end(struct qn_pg_copy *copy, int64_t *rows_out, struct qn_error *err)
{
    enum qn_status first = QN_OK;
    struct qn_pg *pg = copy->pg;
    while (pg->ready_expected > 0) {
        char type;
        const char *body;
        size_t size;
        enum qn_status status = qn_pg_message_next(pg, &type, &body, &size, first == QN_OK ? err : NULL);
        if (status != QN_OK) {
            qn_pg_recover(pg);
            return first != QN_OK ? first : status;
        }
        if (type == 'C') {
            *rows_out = qn_pg_tag_rows(body);
        } else if (type == 'E' && first == QN_OK) {
            const char *context = qn_pg_report_field(body, size, 'W');
            int64_t row = -1;
            char column[sizeof err->column_name] = "";
            bool placed = context != NULL && qn_pg_copy_context(context, copy->table, &row, column, sizeof column);
            first = qn_pg_error_from_message(pg, body, size, copy->sql, err);
            if (err != NULL && placed) {
                err->row = row;
                if (err->column_name[0] == '\0') {
                    QN_ERROR_COPY(err->column_name, column, strlen(column));
                }
            }
        }
    }
    return first;
}

static enum qn_status expect_copy_in(struct qn_pg_copy *copy, struct qn_error *err)
{
    struct qn_pg *pg = copy->pg;
    char type;
    const char *bytes;
    size_t size;
    enum qn_status status = qn_pg_message_next(pg, &type, &bytes, &size, err);
    if (status != QN_OK) {
        qn_pg_recover(pg);
        return status;
    }
    if (type == 'E') {
        status = qn_pg_error_from_message(pg, bytes, size, copy->sql, err);
        int64_t rows;
        (void)read_end(copy, &rows, NULL);
        return status;
    }
    if (type != 'G') {
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server answered COPY with a message of type 0x%02x",
                           (unsigned)(unsigned char)type);
    }
    struct qn_pg_body body = qn_pg_body_of(bytes, size);
    bool binary = qn_pg_body_byte(&body) == 1;
    int columns = qn_pg_body_int16(&body);
    if (!binary || columns != copy->n_encoders + (copy->numbered ? 1 : 0)) {
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server takes %d columns where COPY names %d", columns,
                           (int)copy->n_encoders);
    }
    return QN_OK;
}

/* Send what the buffer holds, as messages of at most MESSAGE_MAX: each head overwrites bytes that are gone. */
static enum qn_status send_buffer(struct qn_pg_copy *copy, struct qn_error *err)
{
    for (size_t start = HEAD; start < copy->used;) {
        size_t size = copy->used - start < MESSAGE_MAX ? copy->used - start : MESSAGE_MAX;
        char *head = copy->buffer + start - HEAD;
        head[0] = 'd';
        qn_store_be32(head + 1, (uint32_t)(size + 4));
        QN_TRY(qn_pg_send_bytes(copy->pg, head, size + HEAD, err));
        start += size;
    }
    copy->used = HEAD;
    if (!qn_pg_error_waits(copy->pg)) {
        return QN_OK;
    }
    if (copy->pg->broken) {
        return qn_pg_flush(copy->pg, err); /* says that the link is gone */
    }
    int64_t rows;
    enum qn_status status = read_end(copy, &rows, err);
    if (status == QN_OK) {
        return qn_pg_break(copy->pg, err, QN_ERR_PROTOCOL, "the server ended COPY before its data did");
    }
    return status;
}

static bool make_room(struct qn_pg_copy *copy, size_t size)
{
    size_t needed;
    if (!qn_size_add(copy->used, size, &needed)) {
        return false;
    }
    if (needed <= copy->capacity) {
        return true;
    }
    char *moved = qn_realloc(copy->buffer, needed);
    if (moved == NULL) {
        return false;
    }
    copy->buffer = moved;
    copy->capacity = needed;
    return true;
}

enum qn_status qn_pg_copy_begin(struct qn_pg *pg, const char *sql, const char *table, struct qn_pg_encoder *encoders,
                                int32_t n_encoders, bool numbered, struct qn_pg_copy *out, struct qn_error *err)
{
    struct qn_pg_copy copy = { .pg = pg,
                               .sql = sql,
                               .table = table,
                               .encoders = encoders,
                               .n_encoders = n_encoders,
                               .numbered = numbered,
                               .used = HEAD };
    copy.scratch = qn_calloc((size_t)n_encoders, sizeof *copy.scratch);
    copy.at = qn_malloc((QN_PG_ENCODE_ROWS + 1) * sizeof *copy.at);
    copy.nulls = qn_calloc((size_t)n_encoders, sizeof *copy.nulls);
    if (copy.scratch == NULL || copy.at == NULL || copy.nulls == NULL || !make_room(&copy, 2 * SEND_AT)) {
        qn_pg_copy_dispose(&copy);
        return qn__no_memory(err);
    }
    QN_LOG(QN_LOG_DEBUG, "postgres", "%s", sql);
    __atomic_store_n(&pg->cancel_asked, 0, __ATOMIC_RELEASE);
    qn_pg_message(pg, 'Q', sql, strlen(sql) + 1);
    enum qn_status status = qn_pg_flush(pg, err);
    if (status != QN_OK) {
        qn_pg_recover(pg);
    } else {
        status = expect_copy_in(&copy, err);
    }
    if (status != QN_OK) {
        qn_pg_copy_dispose(&copy);
        return status;
    }
    memcpy(copy.buffer + copy.used, signature, sizeof signature);
    copy.used += sizeof signature;
    *out = copy;
    return QN_OK;
}

enum qn_status qn_pg_copy_finish(struct qn_pg_copy *copy, int64_t *rows_out, struct qn_error *err)
{
    if (!make_room(copy, 2)) {
        qn_pg_copy_abort(copy);
        return qn__no_memory(err);
    }
    qn_store_be16(copy->buffer + copy->used, UINT16_MAX);
    copy->used += 2;
    enum qn_status status = send_buffer(copy, err);
    if (status == QN_OK) {
        qn_pg_message(copy->pg, 'c', "", 0);
        status = qn_pg_flush(copy->pg, err);
    }
    if (status != QN_OK) {
        qn_pg_recover(copy->pg);
        return status;
    }
    int64_t rows = -1;
    QN_TRY(read_end(copy, &rows, err));
    *rows_out = rows;
    return QN_OK;
}

void qn_pg_copy_abort(struct qn_pg_copy *copy)
{
    qn_pg_recover(copy->pg); /* sends CopyFail where the server still copies */
}

void qn_pg_copy_dispose(struct qn_pg_copy *copy)
{
    for (int32_t i = 0; copy->scratch != NULL && i < copy->n_encoders; i++) {
        qn_buffer_dispose(&copy->scratch[i]);
    }
    qn_free(copy->scratch);
    qn_free(copy->at);
    qn_free(copy->nulls);
    qn_free(copy->buffer);
    *copy = (struct qn_pg_copy){ .pg = copy->pg };
}

/* ---- first pass: lengths ---- */

/* Whether any of the rows may be null: an array may carry a bitmap and have no null here. */
static bool has_nulls(const struct qn_reader *reader, int64_t first, int64_t n)
{
    if (reader->dictionary != NULL || reader->type.id == QN_TYPE_NULL) {
        return true;
    }
    if (reader->validity == NULL) {
        return false;
    }
    int64_t at = reader->offset + first, end = at + n;
    for (; at < end && (at & 7) != 0; at++) {
        if (!((reader->validity[at >> 3] >> (at & 7)) & 1)) {
            return true;
        }
    }
    for (; at + 8 <= end; at += 8) {
        if (reader->validity[at >> 3] != 0xFF) {
            return true;
        }
    }
    for (; at < end; at++) {
        if (!((reader->validity[at >> 3] >> (at & 7)) & 1)) {
            return true;
        }
    }
    return false;
}

/* Text columns that are copied from where they lie. */
static bool is_direct_text(const struct qn_pg_encoder *encoder)
{
    return encoder->put == qn_pg_put_text;
}

/* Each of these adds the lengths of a column's values (with the four bytes before each) to sizes[0 .. n-1] and returns
 * how many rows it has done: fewer where the values are long. */
static int64_t size_fixed(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, size_t *sizes)
{
    for (int64_t i = 0; i < n; i++) {
        sizes[i] += qn_reader_is_null(encoder->reader, first + i) ? 4 : 4 + (size_t)encoder->width;
    }
    return n;
}

static enum qn_status size_text(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, size_t limit,
                                size_t *sizes, int64_t *done_out, struct qn_error *err)
{
    size_t total = 0;
    size_t extra = encoder->version != 0 ? 5 : 4;
    int64_t i = 0;
    for (; i < n && total < limit; i++) {
        if (qn_reader_is_null(encoder->reader, first + i)) {
            sizes[i] += 4;
            continue;
        }
        const char *bytes;
        size_t size;
        QN_TRY(qn_pg_encode_text_value(encoder, first + i, &bytes, &size, err));
        sizes[i] += size + extra;
        total += size;
    }
    *done_out = i;
    return QN_OK;
}

static enum qn_status size_scratch(const struct qn_pg_encoder *encoder, struct qn_buffer *scratch, int64_t first,
                                   int64_t n, size_t limit, size_t *sizes, int64_t *done_out, struct qn_error *err)
{
    qn_buffer_reset(scratch);
    int64_t i = 0;
    for (; i < n && scratch->size < limit; i++) {
        size_t before = scratch->size;
        QN_TRY(encoder->put(encoder, first + i, scratch, err));
        sizes[i] += scratch->size - before;
    }
    *done_out = i;
    return qn_buffer_check(scratch, "the values of a column", err);
}

/* ---- second pass: values ---- */

static inline char *store_value(char *to, uint64_t word, uint8_t width)
{
    qn_store_be32(to, width);
    switch (width) {
    case 1:
        to[4] = (char)(unsigned char)word;
        return to + 5;
    case 2:
        qn_store_be16(to + 4, (uint16_t)word);
        return to + 6;
    case 4:
        qn_store_be32(to + 4, (uint32_t)word);
        return to + 8;
    default:
        qn_store_be64(to + 4, word);
        return to + 12;
    }
}

#define STORE_STRIDE(width)                                                                                            \
    do {                                                                                                               \
        for (int64_t i = 0; i < n; i++, to += stride) {                                                                \
            (void)store_value(to, words[i], (width));                                                                  \
        }                                                                                                              \
    } while (0)

/* Equally long rows: the first value goes to `to`, the next one stride bytes on. */
static void store_stride(uint8_t width, const uint64_t *words, int64_t n, char *to, size_t stride)
{
    switch (width) {
    case 1:
        STORE_STRIDE(1);
        break;
    case 2:
        STORE_STRIDE(2);
        break;
    case 4:
        STORE_STRIDE(4);
        break;
    default:
        STORE_STRIDE(8);
        break;
    }
}

#define STORE_AT(width)                                                                                                \
    do {                                                                                                               \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            if (nulls && qn_reader_is_null(reader, first + i)) {                                                       \
                qn_store_be32(base + at[i], UINT32_MAX);                                                               \
                at[i] += 4;                                                                                            \
            } else {                                                                                                   \
                (void)store_value(base + at[i], words[i], (width));                                                    \
                at[i] += 4 + (width);                                                                                  \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

static void store_at(const struct qn_pg_encoder *encoder, bool nulls, int64_t first, int64_t n, const uint64_t *words,
                     char *base, size_t *at)
{
    const struct qn_reader *reader = encoder->reader;
    switch (encoder->width) {
    case 1:
        STORE_AT(1);
        break;
    case 2:
        STORE_AT(2);
        break;
    case 4:
        STORE_AT(4);
        break;
    default:
        STORE_AT(8);
        break;
    }
}

static inline void copy_short(char *to, const char *from, size_t size)
{
    if (size >= 8 && size <= 16) {
        uint64_t head, tail;
        memcpy(&head, from, 8);
        memcpy(&tail, from + size - 8, 8);
        memcpy(to, &head, 8);
        memcpy(to + size - 8, &tail, 8);
    } else if (size > 16) {
        memcpy(to, from, size);
    } else {
        for (size_t i = 0; i < size; i++) {
            to[i] = from[i];
        }
    }
}

static void store_text(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, char *base, size_t *at)
{
    const struct qn_reader *reader = encoder->reader;
    size_t extra = encoder->version != 0 ? 1 : 0;
    for (int64_t i = 0; i < n; i++) {
        char *to = base + at[i];
        const char *bytes;
        size_t size;
        if (qn_reader_is_null(reader, first + i) || !qn_reader_bytes(reader, first + i, &bytes, &size)) {
            qn_store_be32(to, UINT32_MAX);
            at[i] += 4;
            continue;
        }
        qn_store_be32(to, (uint32_t)(size + extra));
        to[4] = (char)encoder->version;
        copy_short(to + 4 + extra, bytes, size);
        at[i] += 4 + extra + size;
    }
}

static void store_scratch(const struct qn_buffer *scratch, int64_t n, char *base, size_t *at)
{
    const char *from = scratch->data;
    for (int64_t i = 0; i < n; i++) {
        uint32_t length = qn_load_be32(from);
        size_t size = length == UINT32_MAX ? 4 : (size_t)length + 4;
        copy_short(base + at[i], from, size);
        from += size;
        at[i] += size;
    }
}

/* ---- a chunk ---- */

/* Lengths of the rows from `first` on into copy->at; *n shrinks where values are long. *stride_out: the length that all
 * rows have, or NO_STRIDE. */
static enum qn_status measure(struct qn_pg_copy *copy, int64_t first, int64_t *n, size_t *stride_out,
                              struct qn_error *err)
{
    size_t fixed = 2 + (copy->numbered ? 12 : 0);
    bool variable = false;
    size_t limit = CHUNK_BYTES / (size_t)copy->n_encoders;
    limit = limit < COLUMN_BYTES ? COLUMN_BYTES : limit;
    memset(copy->at, 0, (size_t)*n * sizeof *copy->at);
    for (int32_t c = 0; c < copy->n_encoders; c++) {
        const struct qn_pg_encoder *encoder = &copy->encoders[c];
        copy->nulls[c] = has_nulls(encoder->reader, first, *n);
        if (encoder->width != 0 && !copy->nulls[c]) {
            fixed += 4 + (size_t)encoder->width;
            continue;
        }
        variable = true;
        if (encoder->width != 0) {
            *n = size_fixed(encoder, first, *n, copy->at);
        } else if (is_direct_text(encoder)) {
            QN_TRY(size_text(encoder, first, *n, limit, copy->at, n, err));
        } else {
            QN_TRY(size_scratch(encoder, &copy->scratch[c], first, *n, limit, copy->at, n, err));
        }
    }
    *stride_out = variable ? NO_STRIDE : fixed;
    for (int64_t i = 0; i < *n; i++) {
        copy->at[i] += fixed;
    }
    return QN_OK;
}

/* Where each row starts, from its length; returns the end of the last, or 0 where that overflows. */
static size_t place_rows(struct qn_pg_copy *copy, int64_t n)
{
    size_t place = copy->used;
    for (int64_t i = 0; i < n; i++) {
        size_t size = copy->at[i];
        copy->at[i] = place;
        if (!qn_size_add(place, size, &place)) {
            return 0;
        }
    }
    return place;
}

static void store_counts(struct qn_pg_copy *copy, int64_t n)
{
    uint16_t fields = (uint16_t)(copy->n_encoders + (copy->numbered ? 1 : 0));
    for (int64_t i = 0; i < n; i++) {
        qn_store_be16(copy->buffer + copy->at[i], fields);
        copy->at[i] += 2;
    }
}

static enum qn_status store_columns(struct qn_pg_copy *copy, int64_t first, int64_t n, size_t stride,
                                    struct qn_error *err)
{
    uint64_t words[QN_PG_ENCODE_ROWS];
    char *to = copy->buffer + copy->at[0];
    for (int32_t c = 0; c < copy->n_encoders; c++) {
        const struct qn_pg_encoder *encoder = &copy->encoders[c];
        if (encoder->width != 0) {
            QN_TRY(encoder->load(encoder, first, n, words, err));
        }
        if (stride != NO_STRIDE) {
            store_stride(encoder->width, words, n, to, stride);
            to += 4 + (size_t)encoder->width;
        } else if (encoder->width != 0) {
            store_at(encoder, copy->nulls[c], first, n, words, copy->buffer, copy->at);
        } else if (is_direct_text(encoder)) {
            store_text(encoder, first, n, copy->buffer, copy->at);
        } else {
            store_scratch(&copy->scratch[c], n, copy->buffer, copy->at);
        }
    }
    if (!copy->numbered) {
        return QN_OK;
    }
    size_t done = stride != NO_STRIDE ? (size_t)(to - (copy->buffer + copy->at[0])) : 0;
    for (int64_t i = 0; i < n; i++) {
        (void)store_value(copy->buffer + copy->at[i] + done, (uint64_t)(copy->rows + i), 8);
    }
    return QN_OK;
}

static enum qn_status encode_chunk(struct qn_pg_copy *copy, int64_t first, int64_t *n, struct qn_error *err)
{
    size_t stride;
    QN_TRY(measure(copy, first, n, &stride, err));
    size_t end = place_rows(copy, *n);
    if (end == 0 || !make_room(copy, end - copy->used)) {
        return qn__no_memory(err);
    }
    store_counts(copy, *n);
    QN_TRY(store_columns(copy, first, *n, stride, err));
    copy->used = end;
    copy->rows += *n;
    return QN_OK;
}

enum qn_status qn_pg_copy_rows(struct qn_pg_copy *copy, int64_t n, struct qn_error *err)
{
    for (int32_t c = 0; c < copy->n_encoders; c++) {
        copy->encoders[c].row_base = copy->rows;
    }
    for (int64_t first = 0; first < n;) {
        int64_t rows = n - first < QN_PG_ENCODE_ROWS ? n - first : QN_PG_ENCODE_ROWS;
        enum qn_status status = encode_chunk(copy, first, &rows, err);
        if (status != QN_OK) {
            qn_pg_copy_abort(copy); /* our error stands */
            return status;
        }
        first += rows;
        if (copy->used >= SEND_AT) {
            status = send_buffer(copy, err);
            if (status != QN_OK) {
                qn_pg_recover(copy->pg);
                return status;
            }
        }
    }
    return QN_OK;
}
