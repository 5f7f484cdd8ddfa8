/*
 * execute_many.c: one statement for every row of a stream, all or nothing.
 *
 * Where the driver has no way of its own, each row becomes a one-row view of the batch's columns in the order of the
 * placeholders: the structs are made once, per row only offsets change. The views own nothing.
 */
#include "base/memory.h"
#include "base/text.h"
#include "db/connection.h"
#include "db/source.h"

#include <string.h>

/* The columns of the rows that placeholders 1 to n ask for. */
static enum qn_status match_by_name(const struct qn_rewritten *rewritten, const struct ArrowSchema *rows,
                                    int32_t *column_of, struct qn_error *err)
{
    for (size_t i = 0; i < rewritten->n_placeholders; i++) {
        int64_t column = qn_schema_find(rows, rewritten->names[i]);
        if (column < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "the rows have no column for the placeholder :%s",
                                rewritten->names[i]);
        }
        column_of[i] = (int32_t)column;
    }
    for (int64_t i = 0; i < rows->n_children; i++) {
        const char *name = rows->children[i]->name;
        if (qn__name_index(rewritten->names, rewritten->n_placeholders, name) < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "the rows have the column \"%s\", which no placeholder asks for",
                                name);
        }
    }
    return QN_OK;
}

static enum qn_status match_columns(const struct qn_rewritten *rewritten, const struct ArrowSchema *rows,
                                    int32_t **column_of_out, struct qn_error *err)
{
    size_t n = rewritten->n_placeholders;
    if (n == 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the statement has no placeholders, the rows have %lld column%s",
                            (long long)rows->n_children, rows->n_children == 1 ? "" : "s");
    }
    if (rewritten->spelling != QN_SPELLING_NAMED && (int64_t)n != rows->n_children) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the statement has %zu placeholder%s, the rows have %lld column%s", n,
                            n == 1 ? "" : "s", (long long)rows->n_children, rows->n_children == 1 ? "" : "s");
    }
    qn_auto_free int32_t *column_of = qn_realloc_array(NULL, n, sizeof *column_of);
    if (column_of == NULL) {
        return qn__no_memory(err);
    }
    if (rewritten->spelling == QN_SPELLING_NAMED) {
        QN_TRY(match_by_name(rewritten, rows, column_of, err));
    } else {
        for (size_t i = 0; i < n; i++) {
            column_of[i] = (int32_t)i;
        }
    }
    *column_of_out = qn_steal(&column_of);
    return QN_OK;
}

/* ---- row by row ---- */

struct row_view {
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct ArrowSchema **schemas; /* of the rows' schema, in the order of placeholders */
    struct ArrowArray *columns;   /* shallow copies */
    struct ArrowArray **pointers;
    const void *no_buffer[1];
};

static void keep_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}
static void keep_array(struct ArrowArray *array)
{
    array->release = NULL;
}

static void row_view_dispose(struct row_view *view)
{
    qn_free(view->schemas);
    qn_free(view->columns);
    qn_free(view->pointers);
}

static enum qn_status row_view_init(struct row_view *view, const struct ArrowSchema *rows, const int32_t *column_of,
                                    size_t n, struct qn_error *err)
{
    *view = (struct row_view){ .schemas = qn_calloc(n, sizeof *view->schemas),
                               .columns = qn_calloc(n, sizeof *view->columns),
                               .pointers = qn_calloc(n, sizeof *view->pointers) };
    if (view->schemas == NULL || view->columns == NULL || view->pointers == NULL) {
        row_view_dispose(view);
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        view->schemas[i] = rows->children[column_of[i]];
        view->pointers[i] = &view->columns[i];
    }
    view->schema = (struct ArrowSchema){
        .format = "+s", .name = "", .n_children = (int64_t)n, .children = view->schemas, .release = keep_schema
    };
    view->array = (struct ArrowArray){ .length = 1,
                                       .n_buffers = 1,
                                       .n_children = (int64_t)n,
                                       .buffers = view->no_buffer,
                                       .children = view->pointers,
                                       .release = keep_array };
    return QN_OK;
}

static enum qn_status row_view_bind(struct row_view *view, const struct ArrowArray *batch, const int32_t *column_of,
                                    struct qn_error *err)
{
    if (batch->null_count != 0 && batch->n_buffers > 0 && batch->buffers[0] != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "a row of the batch is null as a whole");
    }
    for (int64_t i = 0; i < view->array.n_children; i++) {
        const struct ArrowArray *column = batch->children[column_of[i]];
        if (column->length < batch->offset + batch->length) {
            return qn_error_set(err, QN_ERR_DATA, "column %d of a batch is shorter than the batch", column_of[i] + 1);
        }
        view->columns[i] = *column;
        view->columns[i].release = keep_array;
        view->columns[i].null_count = column->null_count == 0 ? 0 : -1;
    }
    return QN_OK;
}

static void row_view_move(struct row_view *view, const struct ArrowArray *batch, const int32_t *column_of, int64_t row)
{
    for (int64_t i = 0; i < view->array.n_children; i++) {
        view->columns[i].offset = batch->children[column_of[i]]->offset + batch->offset + row;
        view->columns[i].length = 1;
    }
}

struct many {
    struct qn_connection *connection;
    struct qn_prepared *prepared;
    struct qn_statement statement;
    struct qn_source source;
    int32_t *column_of;
    int64_t done; /* rows before the batch */
    int64_t affected;
};

static enum qn_status run_batch(struct many *many, struct row_view *view, const struct ArrowArray *batch,
                                struct qn_error *err)
{
    const struct qn_driver *driver = many->connection->driver;
    QN_TRY(row_view_bind(view, batch, many->column_of, err));
    for (int64_t row = 0; row < batch->length; row++) {
        struct qn_cursor cursor = { .ops = NULL };
        int64_t rows = -1;
        row_view_move(view, batch, many->column_of, row);
        enum qn_status status = driver->query(many->connection->handle, &many->statement, &cursor, err);
        if (status == QN_OK) {
            status = qn__cursor_drain(&cursor, &rows, err);
        }
        if (status != QN_OK) {
            if (err != NULL) {
                err->row = many->done + row;
            }
            return status;
        }
        many->affected = rows < 0 || many->affected < 0 ? -1 : many->affected + rows;
    }
    return QN_OK;
}

static enum qn_status run_rows(struct many *many, struct qn_error *err)
{
    struct row_view view;
    size_t n = many->prepared->rewritten.n_placeholders;
    QN_TRY(row_view_init(&view, &many->source.schema, many->column_of, n, err));
    many->statement.params_schema = &view.schema;
    many->statement.params = &view.array;
    enum qn_status status = QN_OK;
    bool ended = false;
    while (status == QN_OK && !ended) {
        qn_auto_array batch = { .release = NULL };
        status = qn_stream_next(&many->source.watched, &batch, err);
        ended = batch.release == NULL;
        if (status == QN_OK && !ended) {
            status = run_batch(many, &view, &batch, err);
            many->done += batch.length;
        }
    }
    row_view_dispose(&view);
    return status;
}

static enum qn_status run_all(struct many *many, struct qn_error *err)
{
    const struct qn_driver *driver = many->connection->driver;
    struct qn_implicit transaction;
    QN_TRY(qn__implicit_begin(many->connection, &transaction, err));
    enum qn_status status;
    if (driver->execute_many != NULL) {
        status =
            driver->execute_many(many->connection->handle, &many->statement, many->column_of,
                                 many->prepared->rewritten.n_placeholders, &many->source.watched, &many->affected, err);
    } else {
        status = run_rows(many, err);
    }
    if (status != QN_OK) {
        qn__prepared_position(many->prepared, err);
        status = qn__source_status(&many->source, status, err);
    }
    return qn__implicit_end(many->connection, &transaction, status, err);
}

/* Inside of a call. */
static enum qn_status execute_many(struct many *many, const char *sql, const struct qn_query_options *options,
                                   struct ArrowArrayStream *rows, struct qn_error *err)
{
    QN_TRY(qn__prepare(many->connection, sql, true, &many->prepared, err));
    many->statement = (struct qn_statement){
        .struct_size = sizeof many->statement,
        .sql = qn_buffer_text(&many->prepared->rewritten.sql),
        .sql_size = many->prepared->rewritten.sql.size,
        .sql_given = many->prepared->given,
        .options = options,
    };
    QN_TRY(qn__source_open(&many->source, rows, err));
    enum qn_status status = QN_OK;
    if (many->prepared->rewritten.spelling == QN_SPELLING_NAMED) {
        status = qn__source_check_names(&many->source, err);
    }
    if (status == QN_OK) {
        status = match_columns(&many->prepared->rewritten, &many->source.schema, &many->column_of, err);
    }
    if (status == QN_OK) {
        status = run_all(many, err);
    }
    qn__source_close(&many->source);
    qn_free(many->column_of);
    return status;
}

enum qn_status qn_connection_execute_many(struct qn_connection *connection, const struct qn_query *query,
                                          struct ArrowArrayStream *rows, int64_t *rows_affected_out,
                                          struct qn_error *err)
{
    if (query == NULL || query->sql == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the query has no SQL text");
    }
    bool has_options = query->struct_size >= offsetof(struct qn_query, options) + sizeof query->options;
    struct qn_query_options options;
    QN_TRY(qn__query_options(has_options ? query->options : NULL, &options, err));
    struct many *many = qn_calloc(1, sizeof *many);
    if (many == NULL) {
        return qn__no_memory(err);
    }
    many->connection = connection;
    enum qn_status status = qn__connection_enter(connection, err);
    if (status == QN_OK) {
        atomic_store(&connection->rows_affected, -1);
        status = execute_many(many, query->sql, &options, rows, err);
        if (status == QN_OK) {
            atomic_store(&connection->rows_affected, many->affected);
        }
        qn__prepared_unref(many->prepared);
        qn__connection_leave(connection);
    }
    if (status == QN_OK && rows_affected_out != NULL) {
        *rows_affected_out = many->affected;
    }
    qn_free(many);
    return status;
}
