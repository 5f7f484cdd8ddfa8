/*
 * query.c (sqlite): running the caller's statements: one with a cursor, or one many times.
 *
 * QN_RESULT_WHOLE reads everything inside of qn_sqlite_query; QN_RESULT_STREAM reads the first batch there, by which the
 * types are decided. A statement that returns no rows has run when the function returns. A write with RETURNING has made all
 * its changes before its first row: closing the cursor early drops rows, not changes.
 */
#include "db/sqlite/sqlite.h"

#include "base/memory.h"

struct cursor {
    struct qn_sqlite *connection;
    struct qn_sqlite_statement *statement; /* NULL once it has ended */
    struct qn_sqlite_decoder decoder;
    struct qn_query_options options; /* without the overrides, which only the beginning needs */
    int64_t total_changes;           /* of the connection before the statement */
    int64_t rows_affected;
    bool has_columns, has_batch; /* a batch is in the decoder that has not been handed out */
};

/* ---- parameters ---- */

static enum qn_status check_count(sqlite3_stmt *stmt, int64_t given, struct qn_error *err)
{
    int wanted = sqlite3_bind_parameter_count(stmt);
    if (wanted == given) {
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_ARGUMENT, "the statement has %d placeholders, %lld values were given", wanted,
                        (long long)given);
}

static enum qn_status bind_row(struct cursor *self, const struct qn_statement *statement, struct qn_error *err)
{
    sqlite3_stmt *stmt = self->statement->stmt;
    const struct ArrowSchema *schema = statement->params_schema;
    QN_TRY(check_count(stmt, schema != NULL ? schema->n_children : 0, err));
    if (schema == NULL || schema->n_children == 0) {
        return QN_OK;
    }
    struct qn_batch_reader reader;
    QN_TRY(qn_batch_reader_init(&reader, schema, err));
    enum qn_status status = qn_batch_reader_bind(&reader, statement->params, err);
    for (int64_t i = 0; i < schema->n_children && status == QN_OK; i++) {
        struct qn_sqlite_encoder encoder;
        qn_sqlite_encoder_init(&encoder, &reader.columns[i], schema->children[i], QN_SQLITE_AFFINITY_BLOB);
        status = qn_sqlite_bind(self->connection, stmt, (int)i + 1, &encoder, 0, err);
        if (status == QN_ERR_DATA) {
            qn_error_prefix(err, "parameter %lld", (long long)i + 1);
        }
        qn_sqlite_encoder_dispose(&encoder);
    }
    qn_batch_reader_dispose(&reader);
    return status;
}

/* ---- the end of a statement ---- */

static int64_t count_changes(struct qn_sqlite *connection, int64_t total_before)
{
    return sqlite3_total_changes64(connection->db) != total_before ? sqlite3_changes64(connection->db) : 0;
}

/* The statement has ended, well or not: its locks go, the connection is free. */
static void end_statement(struct cursor *self)
{
    if (self->statement != NULL) {
        qn_sqlite_statement_put(self->connection, self->statement);
        self->statement = NULL;
        qn_sqlite_run_end(self->connection);
    }
}

static enum qn_status step_failed(struct cursor *self, int code, struct qn_error *err)
{
    enum qn_status status = qn_sqlite_error(self->connection, code, sqlite3_sql(self->statement->stmt), err);
    end_statement(self);
    return status;
}

/* After the last row. */
static void finish_statement(struct cursor *self)
{
    if (self->statement->changes) {
        self->rows_affected = count_changes(self->connection, self->total_changes);
    } else if (self->has_columns) {
        self->rows_affected = self->decoder.row;
    }
    end_statement(self);
}

/* ---- the cursor ---- */

static enum qn_status cursor_schema(void *cursor, struct ArrowSchema *out, struct qn_error *err)
{
    struct cursor *self = cursor;
    return self->has_columns ? qn_sqlite_decoder_schema(&self->decoder, out, err) : qn_schema_struct(out, 0, err);
}

/* Read a batch into the decoder; the statement ends here where nothing is left. */
static enum qn_status read_batch(struct cursor *self, struct qn_error *err)
{
    bool whole = self->options.result_mode == QN_RESULT_WHOLE;
    int code = SQLITE_ROW;
    enum qn_status status = qn_sqlite_decoder_read(&self->decoder, whole ? INT64_MAX : self->options.batch_rows,
                                                   whole ? INT64_MAX : self->options.batch_bytes, &code, err);
    if (status != QN_OK) {
        end_statement(self);
        return status;
    }
    if (code == SQLITE_DONE) {
        finish_statement(self);
    } else if (code != SQLITE_ROW) {
        return step_failed(self, code, err);
    }
    self->has_batch = true;
    return QN_OK;
}

static enum qn_status cursor_next(void *cursor, struct ArrowArray *out, struct qn_error *err)
{
    struct cursor *self = cursor;
    out->release = NULL;
    if (!self->has_batch && self->statement == NULL) {
        return QN_OK;
    }
    if (!self->has_batch) {
        QN_TRY(read_batch(self, err));
    }
    self->has_batch = false;
    return qn_sqlite_decoder_finish(&self->decoder, out, err);
}

static int64_t cursor_rows_affected(void *cursor)
{
    return ((struct cursor *)cursor)->rows_affected;
}

static void cursor_close(void *cursor)
{
    struct cursor *self = cursor;
    end_statement(self);
    qn_sqlite_decoder_dispose(&self->decoder);
    qn_free(self);
}

static const struct qn_cursor_ops cursor_ops = {
    .struct_size = sizeof(struct qn_cursor_ops),
    .schema = cursor_schema,
    .next = cursor_next,
    .rows_affected = cursor_rows_affected,
    .close = cursor_close,
};

/* ---- query ---- */

/* "begin" has no read-only form: writes are switched off until the transaction has ended. */
static enum qn_status switch_query_only(struct qn_sqlite *self, const struct qn_statement *statement,
                                        struct qn_error *err)
{
    if (self->query_only && sqlite3_get_autocommit(self->db)) {
        QN_TRY(qn_sqlite_exec(self, "pragma query_only=off", err));
        self->query_only = false;
    }
    if (strcmp(statement->sql, QN_SQLITE_BEGIN_READ_ONLY) == 0 && sqlite3_get_autocommit(self->db)) {
        QN_TRY(qn_sqlite_exec(self, "pragma query_only=on", err));
        self->query_only = true;
    }
    return QN_OK;
}

/* The first step, by which SQLite has prepared the statement anew where the schema has changed, and the first batch. */
static enum qn_status start(struct cursor *self, struct qn_error *err)
{
    sqlite3_stmt *stmt = self->statement->stmt;
    int code = sqlite3_step(stmt);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        return step_failed(self, code, err);
    }
    self->has_columns = sqlite3_column_count(stmt) > 0;
    if (!self->has_columns) {
        finish_statement(self);
        return QN_OK;
    }
    enum qn_status status = qn_sqlite_decoder_init(&self->decoder, self->statement, &self->options, err);
    if (status == QN_OK && code == SQLITE_DONE) {
        finish_statement(self);
    } else if (status == QN_OK) {
        status = read_batch(self, err);
    }
    if (status == QN_OK) {
        status = qn_sqlite_decoder_promise(&self->decoder, err);
    }
    self->options.types = NULL; /* borrowed for the call only */
    self->options.n_types = 0;
    return status;
}

enum qn_status qn_sqlite_query(void *connection, const struct qn_statement *statement, struct qn_cursor *out,
                               struct qn_error *err)
{
    struct qn_sqlite *self = connection;
    struct cursor *cursor = qn_calloc(1, sizeof *cursor);
    if (cursor == NULL) {
        return qn__no_memory(err);
    }
    cursor->connection = self;
    cursor->options = *statement->options;
    cursor->rows_affected = -1;
    cursor->total_changes = sqlite3_total_changes64(self->db);
    qn_sqlite_run_begin(self, statement->options->statement_timeout_ms);
    enum qn_status status = switch_query_only(self, statement, err);
    if (status == QN_OK) {
        status = qn_sqlite_statement_take(self, statement->sql, statement->sql_size, &cursor->statement, err);
    }
    if (status != QN_OK) {
        qn_sqlite_run_end(self);
        qn_free(cursor);
        return status;
    }
    status = bind_row(cursor, statement, err);
    if (status == QN_OK) {
        status = start(cursor, err);
    }
    if (status != QN_OK) {
        cursor_close(cursor);
        return status;
    }
    *out = (struct qn_cursor){ .ops = &cursor_ops, .self = cursor };
    return QN_OK;
}

/* ---- one statement for many rows ---- */

struct many {
    struct qn_sqlite *connection;
    struct qn_sqlite_statement *statement;
    struct qn_batch_reader reader;
    struct qn_sqlite_encoder *encoders; /* by placeholder */
    size_t n;
    int64_t row, affected;
};

/* Run the statement for one row to its end; rows that it returns are dropped. */
static enum qn_status run_row(struct many *self, int64_t at, struct qn_error *err)
{
    sqlite3_stmt *stmt = self->statement->stmt;
    enum qn_status status = QN_OK;
    for (size_t i = 0; i < self->n && status == QN_OK; i++) {
        status = qn_sqlite_bind(self->connection, stmt, (int)i + 1, &self->encoders[i], at, err);
    }
    int64_t before = sqlite3_total_changes64(self->connection->db);
    int code = SQLITE_DONE;
    while (status == QN_OK && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
    }
    if (status == QN_OK && code != SQLITE_DONE) {
        status = qn_sqlite_error(self->connection, code, sqlite3_sql(stmt), err);
    } else if (status == QN_OK && self->statement->changes) {
        self->affected += count_changes(self->connection, before);
    }
    (void)sqlite3_reset(stmt); /* repeats the outcome of the step */
    if (status != QN_OK && err != NULL && err->row < 0) {
        err->row = self->row;
    }
    return status;
}

static enum qn_status run_rows(struct many *self, struct ArrowArrayStream *rows, struct qn_error *err)
{
    for (;;) {
        qn_auto_array batch = { .release = NULL };
        QN_TRY(qn_stream_next(rows, &batch, err));
        if (batch.release == NULL) {
            return QN_OK;
        }
        QN_TRY(qn_batch_reader_bind(&self->reader, &batch, err));
        for (int64_t at = 0; at < self->reader.length; at++, self->row++) {
            QN_TRY(run_row(self, at, err));
        }
    }
}

static enum qn_status prepare_many(struct many *self, const struct qn_statement *statement, const int32_t *column_of,
                                   struct ArrowArrayStream *rows, struct ArrowSchema *schema, struct qn_error *err)
{
    QN_TRY(qn_stream_schema(rows, schema, err));
    QN_TRY(qn_sqlite_statement_take(self->connection, statement->sql, statement->sql_size, &self->statement, err));
    QN_TRY(check_count(self->statement->stmt, (int64_t)self->n, err));
    QN_TRY(qn_batch_reader_init(&self->reader, schema, err));
    self->encoders = qn_calloc(self->n, sizeof *self->encoders);
    if (self->encoders == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < self->n; i++) {
        qn_sqlite_encoder_init(&self->encoders[i], &self->reader.columns[column_of[i]], schema->children[column_of[i]],
                               QN_SQLITE_AFFINITY_BLOB);
    }
    return QN_OK;
}

enum qn_status qn_sqlite_execute_many(void *connection, const struct qn_statement *statement, const int32_t *column_of,
                                      size_t n_placeholders, struct ArrowArrayStream *rows, int64_t *rows_affected_out,
                                      struct qn_error *err)
{
    struct many self = { .connection = connection, .n = n_placeholders };
    qn_auto_schema schema = { .release = NULL };
    qn_sqlite_run_begin(connection, statement->options->statement_timeout_ms);
    enum qn_status status = prepare_many(&self, statement, column_of, rows, &schema, err);
    if (status == QN_OK) {
        status = run_rows(&self, rows, err);
    }
    if (status == QN_OK && rows_affected_out != NULL) {
        *rows_affected_out = self.statement->changes ? self.affected : -1;
    }
    for (size_t i = 0; self.encoders != NULL && i < self.n; i++) {
        qn_sqlite_encoder_dispose(&self.encoders[i]);
    }
    qn_free(self.encoders);
    qn_batch_reader_dispose(&self.reader);
    qn_sqlite_statement_put(connection, self.statement);
    qn_sqlite_run_end(connection);
    return status;
}
