/*
 * batch_table.c (sqlite): the rows of a running bulk write as a virtual table, "qn_batch", with the columns c0, c1, ...
 *
 * `insert into T (...) select * from qn_batch` moves a row without a call of sqlite3_step and without binding. The module is
 * registered for one bulk write and taken away after it; triggers and views cannot name it (DIRECTONLY). Texts are handed over
 * without a copy: SQLite copies them into the record before it asks for the next row, and the batch before the current one is
 * kept until then all the same.
 *
 * A value that does not fit, and a failure of the stream, stops the statement; the typed error is kept in `error`.
 */
#include "db/sqlite/sqlite.h"

#include "base/memory.h"

#include <inttypes.h>
#include <math.h>

struct table {
    sqlite3_vtab base; /* first, as SQLite asks for */
    struct qn_sqlite_batch_table *rows;
};

struct scan {
    sqlite3_vtab_cursor base; /* first */
    struct qn_sqlite_batch_table *rows;
};

/* ---- the stream ---- */

static int stop(struct qn_sqlite_batch_table *self, enum qn_status status)
{
    self->status = status;
    return SQLITE_ABORT;
}

/* Go on to a batch that has rows, or to the end. */
static int load_batch(struct qn_sqlite_batch_table *self)
{
    do {
        self->first_row += self->reader.length;
        self->reader.length = 0;
        qn_array_release(&self->previous);
        self->previous = self->current;
        self->current.release = NULL;
        enum qn_status status = qn_stream_next(self->rows, &self->current, &self->error);
        if (status == QN_OK && self->current.release != NULL) {
            status = qn_batch_reader_bind(&self->reader, &self->current, &self->error);
        }
        if (status != QN_OK) {
            return stop(self, status);
        }
        self->ended = self->current.release == NULL;
    } while (!self->ended && self->reader.length == 0);
    self->at = 0;
    return SQLITE_OK;
}

/* ---- what SQLite calls ---- */

static int on_connect(sqlite3 *db, void *context, int argc, const char *const *argv, sqlite3_vtab **out, char **message)
{
    struct qn_sqlite_batch_table *rows = context;
    qn_auto_buffer sql = QN_BUFFER_INIT;
    (void)argc;
    (void)argv;
    (void)message;
    qn_buffer_append_text(&sql, "create table x(");
    for (int64_t i = 0; i < rows->n_columns; i++) {
        qn_buffer_printf(&sql, "%sc%" PRId64, i > 0 ? ", " : "", i);
    }
    qn_buffer_append_text(&sql, ")");
    struct table *table = qn_calloc(1, sizeof *table);
    if (table == NULL || sql.failure != QN_BUFFER_FINE) {
        qn_free(table);
        return SQLITE_NOMEM;
    }
    int code = sqlite3_declare_vtab(db, sql.data);
    if (code != SQLITE_OK) {
        qn_free(table);
        return code;
    }
    (void)sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    table->rows = rows;
    *out = &table->base;
    return SQLITE_OK;
}

static int on_disconnect(sqlite3_vtab *table)
{
    qn_free(table);
    return SQLITE_OK;
}

static int on_best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
    (void)table;
    info->estimatedCost = 1e6;
    info->estimatedRows = 1000000;
    return SQLITE_OK;
}

static int on_open(sqlite3_vtab *table, sqlite3_vtab_cursor **out)
{
    struct scan *scan = qn_calloc(1, sizeof *scan);
    if (scan == NULL) {
        return SQLITE_NOMEM;
    }
    scan->rows = ((struct table *)table)->rows;
    *out = &scan->base;
    return SQLITE_OK;
}

static int on_close(sqlite3_vtab_cursor *scan)
{
    qn_free(scan);
    return SQLITE_OK;
}

static int on_filter(sqlite3_vtab_cursor *scan, int number, const char *text, int argc, sqlite3_value **argv)
{
    struct qn_sqlite_batch_table *rows = ((struct scan *)scan)->rows;
    (void)number;
    (void)text;
    (void)argc;
    (void)argv;
    if (rows->started) { /* a stream is read once */
        (void)qn_error_set(&rows->error, QN_ERR_INTERNAL, "the rows of a bulk write were asked for twice");
        return stop(rows, QN_ERR_INTERNAL);
    }
    rows->started = true;
    return load_batch(rows);
}

static int on_next(sqlite3_vtab_cursor *scan)
{
    struct qn_sqlite_batch_table *rows = ((struct scan *)scan)->rows;
    if (QN_LIKELY(++rows->at < rows->reader.length)) {
        return SQLITE_OK;
    }
    return load_batch(rows);
}

static int on_eof(sqlite3_vtab_cursor *scan)
{
    return ((struct scan *)scan)->rows->ended;
}

static int on_rowid(sqlite3_vtab_cursor *scan, sqlite3_int64 *out)
{
    *out = qn_sqlite_batch_table_row(((struct scan *)scan)->rows);
    return SQLITE_OK;
}

static int value_failed(struct qn_sqlite_batch_table *rows, enum qn_status status, const char *column)
{
    int64_t row = qn_sqlite_batch_table_row(rows);
    if (status == QN_ERR_DATA) {
        qn_error_prefix(&rows->error, "row %" PRId64 ", column \"%s\"", row, column);
    }
    rows->error.row = row;
    return stop(rows, status);
}

/* A text in a view; false where it is not plain after all. */
static bool give_view(const struct qn_reader *reader, int64_t row, sqlite3_context *context)
{
    const uint8_t *at = reader->data + (size_t)(reader->offset + row) * sizeof(union qn_view);
    uint64_t words[2];
    memcpy(words, at, sizeof words);
    const char *bytes = (const char *)at + 4;
    size_t size = (uint32_t)words[0];
    if (size <= QN_VIEW_INLINE) {
        const uint64_t high = UINT64_C(0x8080808080808080);
        bool ascii = ((words[0] >> 32 | words[1]) & high) == 0; /* all twelve bytes are */
        if (!ascii && !qn_sqlite_text_valid(bytes, size)) {
            return false;
        }
    } else if (!qn_reader_bytes(reader, row, &bytes, &size) || size > INT32_MAX || !qn_sqlite_text_valid(bytes, size)) {
        return false;
    }
    sqlite3_result_text(context, bytes, (int)size, SQLITE_STATIC);
    return true;
}

/* The three types that most columns have, where SQLite takes every value as it is; false leaves it to the encoder. */
static inline __attribute__((always_inline)) bool give_plain(const struct qn_sqlite_encoder *encoder, int64_t row,
                                                             sqlite3_context *context)
{
    const struct qn_reader *reader = encoder->reader;
    int64_t at = reader->offset + row;
    double real;
    if (encoder->plain == QN_SQLITE_NOT_PLAIN) {
        return false;
    }
    if (reader->validity != NULL && !((reader->validity[at >> 3] >> (at & 7)) & 1)) {
        sqlite3_result_null(context);
        return true;
    }
    switch (encoder->plain) {
    case QN_SQLITE_PLAIN_INT64:
        sqlite3_result_int64(context, qn_reader_at_int64(reader, row));
        return true;
    case QN_SQLITE_PLAIN_FLOAT64:
        real = qn_reader_at_float64(reader, row);
        if (real != real || (real == 0 && signbit(real))) {
            return false;
        }
        sqlite3_result_double(context, real);
        return true;
    default:
        return give_view(reader, row, context);
    }
}

/* By the encoder. Apart from on_column, which is small without it. */
static __attribute__((noinline)) int give_encoded(struct qn_sqlite_batch_table *rows, sqlite3_context *context, int i)
{
    struct qn_sqlite_cell cell;
    enum qn_status status = qn_sqlite_encode(&rows->encoders[i], rows->at, &cell, &rows->error);
    if (QN_UNLIKELY(status != QN_OK)) {
        return value_failed(rows, status, rows->encoders[i].name);
    }
    sqlite3_destructor_type life = cell.transient ? SQLITE_TRANSIENT : SQLITE_STATIC;
    switch (cell.kind) {
    case QN_SQLITE_CELL_INT:
        sqlite3_result_int64(context, cell.integer);
        break;
    case QN_SQLITE_CELL_REAL:
        sqlite3_result_double(context, cell.real);
        break;
    case QN_SQLITE_CELL_TEXT:
        sqlite3_result_text64(context, cell.bytes != NULL ? cell.bytes : "", cell.size, life, SQLITE_UTF8);
        break;
    case QN_SQLITE_CELL_BLOB:
        if (cell.size == 0) {
            sqlite3_result_zeroblob(context, 0);
        } else {
            sqlite3_result_blob64(context, cell.bytes, cell.size, life);
        }
        break;
    default:
        sqlite3_result_null(context);
        break;
    }
    return SQLITE_OK;
}

static int on_column(sqlite3_vtab_cursor *scan, sqlite3_context *context, int i)
{
    struct qn_sqlite_batch_table *rows = ((struct scan *)scan)->rows;
    if (QN_LIKELY(give_plain(&rows->encoders[i], rows->at, context))) {
        return SQLITE_OK;
    }
    return give_encoded(rows, context, i);
}

static const sqlite3_module module = {
    .iVersion = 0, /* no xCreate: the table exists by its name alone */
    .xConnect = on_connect,
    .xBestIndex = on_best_index,
    .xDisconnect = on_disconnect,
    .xOpen = on_open,
    .xClose = on_close,
    .xFilter = on_filter,
    .xNext = on_next,
    .xEof = on_eof,
    .xColumn = on_column,
    .xRowid = on_rowid,
};

/* ---- life ---- */

enum qn_status qn_sqlite_batch_table_init(struct qn_sqlite_batch_table *self, struct ArrowArrayStream *rows,
                                          const struct ArrowSchema *schema, const enum qn_sqlite_affinity *affinities,
                                          struct qn_error *err)
{
    *self = (struct qn_sqlite_batch_table){ .rows = rows, .error = QN_ERROR_INIT };
    QN_TRY(qn_batch_reader_init(&self->reader, schema, err));
    self->encoders = qn_calloc((size_t)schema->n_children, sizeof *self->encoders);
    if (self->encoders == NULL) {
        return qn__no_memory(err);
    }
    self->n_columns = schema->n_children;
    for (int64_t i = 0; i < self->n_columns; i++) {
        qn_sqlite_encoder_init(&self->encoders[i], &self->reader.columns[i], schema->children[i], affinities[i]);
    }
    return QN_OK;
}

void qn_sqlite_batch_table_dispose(struct qn_sqlite_batch_table *self)
{
    for (int64_t i = 0; i < self->n_columns; i++) {
        qn_sqlite_encoder_dispose(&self->encoders[i]);
    }
    qn_free(self->encoders);
    qn_batch_reader_dispose(&self->reader);
    qn_array_release(&self->current);
    qn_array_release(&self->previous);
}

enum qn_status qn_sqlite_batch_table_attach(struct qn_sqlite *connection, struct qn_sqlite_batch_table *self,
                                            struct qn_error *err)
{
    int code = sqlite3_create_module_v2(connection->db, "qn_batch", &module, self, NULL);
    return code == SQLITE_OK ? QN_OK : qn_sqlite_error(connection, code, NULL, err);
}

void qn_sqlite_batch_table_detach(struct qn_sqlite *connection)
{
    (void)sqlite3_create_module_v2(connection->db, "qn_batch", NULL, NULL, NULL);
}

int64_t qn_sqlite_batch_table_row(const struct qn_sqlite_batch_table *self)
{
    return self->started && !self->ended ? self->first_row + self->at : -1;
}
