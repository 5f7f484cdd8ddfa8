/*
 * catalogue.c: tables and columns by the dialect's SQL.
 *
 * The answers are small: they are read at once and handed out as streams in memory, so that looking at the catalogue does
 * not keep the connection busy.
 */
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/connection.h"

#include <stdio.h>
#include <string.h>

#define CATALOGUE_MAX_BATCHES 4096

struct answer {
    struct ArrowSchema schema;
    struct ArrowArray *batches;
    int64_t n_batches, capacity, n_rows;
};

static void answer_dispose(struct answer *answer)
{
    for (int64_t i = 0; i < answer->n_batches; i++) {
        qn_array_release(&answer->batches[i]);
    }
    qn_free(answer->batches);
    qn_schema_release(&answer->schema);
}

static enum qn_status answer_add(struct answer *answer, struct ArrowArray *take_batch, struct qn_error *err)
{
    if (answer->n_batches == answer->capacity) {
        int64_t capacity = answer->capacity > 0 ? answer->capacity * 2 : 4;
        struct ArrowArray *grown = capacity <= CATALOGUE_MAX_BATCHES
                                       ? qn_realloc_array(answer->batches, (size_t)capacity, sizeof *answer->batches)
                                       : NULL;
        if (grown == NULL) {
            qn_array_release(take_batch);
            return qn__no_memory(err);
        }
        answer->batches = grown;
        answer->capacity = capacity;
    }
    answer->n_rows += take_batch->length;
    answer->batches[answer->n_batches++] = *take_batch;
    return QN_OK;
}

static enum qn_status read_all(struct qn_cursor *cursor, struct answer *answer, struct qn_error *err)
{
    QN_TRY(cursor->ops->schema(cursor->self, &answer->schema, err));
    for (;;) {
        struct ArrowArray batch = { .release = NULL };
        QN_TRY(cursor->ops->next(cursor->self, &batch, err));
        if (batch.release == NULL) {
            return QN_OK;
        }
        QN_TRY(answer_add(answer, &batch, err));
    }
}

/* What is no text has one type whatever the database: not all have a boolean, or know the type of an expression. */
static const struct qn_type_override column_types[] = {
    { .column = "nullable", .type = "Boolean" },
    { .column = "primary_key", .type = "Int32" },
};

/* Ask with texts (NULL: null) as parameters. Inside of a call. */
static enum qn_status ask(struct qn_connection *connection, const char *sql, const char *const *texts, size_t n,
                          const struct qn_type_override *types, size_t n_types, struct answer *answer,
                          struct qn_error *err)
{
    struct qn_query_options options;
    QN_TRY(qn__query_options(NULL, &options, err));
    options.result_mode = QN_RESULT_WHOLE;
    options.types = types;
    options.n_types = n_types;
    struct qn_value values[2];
    for (size_t i = 0; i < n; i++) {
        values[i] = (struct qn_value){ .kind = QN_VALUE_NULL };
        if (texts[i] != NULL) {
            values[i].kind = QN_VALUE_TEXT;
            values[i].as.bytes.data = texts[i];
            values[i].as.bytes.size = strlen(texts[i]);
        }
    }
    qn_auto_params params = { .memory = NULL };
    if (n > 0) {
        QN_TRY(qn__params_make(values, NULL, NULL, n, &params, err));
    }
    struct qn_statement statement = {
        .struct_size = sizeof statement,
        .sql = sql,
        .sql_size = strlen(sql),
        .sql_given = sql,
        .params_schema = n > 0 ? &params.schema : NULL,
        .params = n > 0 ? &params.array : NULL,
        .options = &options,
    };
    struct qn_cursor cursor = { .ops = NULL };
    QN_TRY(connection->driver->query(connection->handle, &statement, &cursor, err));
    enum qn_status status = read_all(&cursor, answer, err);
    cursor.ops->close(cursor.self);
    return status;
}

static enum qn_status no_catalogue(const struct qn_connection *connection, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s has no catalogue to ask", connection->driver->dialect->name);
}

static enum qn_status ask_for_columns(struct qn_connection *connection, const char *schema, const char *table,
                                      struct answer *answer, struct qn_error *err)
{
    return ask(connection, connection->driver->dialect->columns_sql, (const char *const[]){ schema, table }, 2,
               column_types, sizeof column_types / sizeof column_types[0], answer, err);
}

static enum qn_status ask_columns(struct qn_connection *connection, const char *schema, const char *table,
                                  struct answer *answer, struct qn_error *err)
{
    const struct qn_dialect *dialect = connection->driver->dialect;
    if (dialect->columns_sql == NULL) {
        return no_catalogue(connection, err);
    }
    if (schema != NULL) {
        return ask_for_columns(connection, schema, table, answer, err);
    }
    char *split_schema = NULL, *split_table = NULL;
    QN_TRY(qn_sql_split_table(dialect, table, &split_schema, &split_table, err));
    enum qn_status status = ask_for_columns(connection, split_schema, split_table, answer, err);
    qn_free(split_schema);
    qn_free(split_table);
    return status;
}

static enum qn_status answer_stream(struct answer *answer, struct ArrowArrayStream *out, struct qn_error *err)
{
    QN_TRY(qn_stream_from_arrays(&answer->schema, answer->batches, answer->n_batches, out, err));
    answer->n_batches = 0; /* moved into the stream */
    return QN_OK;
}

enum qn_status qn_connection_tables(struct qn_connection *connection, const char *schema, struct ArrowArrayStream *out,
                                    struct qn_error *err)
{
    if (out == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the catalogue needs a place for its stream");
    }
    QN_TRY(qn__connection_enter(connection, err));
    const struct qn_dialect *dialect = connection->driver->dialect;
    const char *sql = schema != NULL ? dialect->tables_in_schema_sql : dialect->tables_sql;
    struct answer answer = { .batches = NULL };
    enum qn_status status = sql != NULL ? ask(connection, sql, &schema, schema != NULL ? 1 : 0, NULL, 0, &answer, err)
                                        : no_catalogue(connection, err);
    if (status == QN_OK) {
        status = answer_stream(&answer, out, err);
    }
    answer_dispose(&answer);
    qn__connection_leave(connection);
    return status;
}

enum qn_status qn_connection_columns(struct qn_connection *connection, const char *schema, const char *table,
                                     struct ArrowArrayStream *out, struct qn_error *err)
{
    if (out == NULL || table == NULL || table[0] == '\0') {
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            out == NULL ? "the catalogue needs a place for its stream"
                                        : "the name of the table is empty");
    }
    QN_TRY(qn__connection_enter(connection, err));
    struct answer answer = { .batches = NULL };
    enum qn_status status = ask_columns(connection, schema, table, &answer, err);
    if (status == QN_OK && answer.n_rows == 0) {
        status = qn_error_set(err, QN_ERR_QUERY, "table \"%s\" does not exist", table);
        if (err != NULL) {
            QN_ERROR_COPY(err->sqlstate, "42P01", 5);
            QN_ERROR_COPY(err->table_name, table, strlen(table));
            QN_ERROR_COPY(err->schema_name, schema, schema != NULL ? strlen(schema) : 0);
        }
    }
    if (status == QN_OK) {
        status = answer_stream(&answer, out, err);
    }
    answer_dispose(&answer);
    qn__connection_leave(connection);
    return status;
}

void qn__names_free(char **names, size_t n)
{
    for (size_t i = 0; names != NULL && i < n; i++) {
        qn_free(names[i]);
    }
    qn_free(names);
}

/* The first column of every row. */
static enum qn_status answer_names(const struct answer *answer, char **names, struct qn_error *err)
{
    if (answer->schema.n_children < 1) {
        return qn_error_set(err, QN_ERR_INTERNAL, "the catalogue's columns have no name");
    }
    struct qn_batch_reader reader = { .columns = NULL };
    QN_TRY(qn_batch_reader_init(&reader, &answer->schema, err));
    enum qn_status status = QN_OK;
    size_t at = 0;
    for (int64_t i = 0; i < answer->n_batches && status == QN_OK; i++) {
        status = qn_batch_reader_bind(&reader, &answer->batches[i], err);
        for (int64_t row = 0; row < reader.length && status == QN_OK; row++) {
            const char *bytes = NULL;
            size_t size = 0;
            if (qn_reader_is_null(&reader.columns[0], row) ||
                !qn_reader_bytes(&reader.columns[0], row, &bytes, &size)) {
                status = qn_error_set(err, QN_ERR_INTERNAL, "the catalogue has a column without a name");
            } else if ((names[at++] = qn_strndup(bytes, size)) == NULL) {
                status = qn__no_memory(err);
            }
        }
    }
    qn_batch_reader_dispose(&reader);
    return status;
}

enum qn_status qn__catalogue_columns(struct qn_connection *connection, const char *schema, const char *table,
                                     char ***names_out, size_t *n_out, struct qn_error *err)
{
    struct answer answer = { .batches = NULL };
    enum qn_status status = ask_columns(connection, schema, table, &answer, err);
    size_t n = (size_t)answer.n_rows;
    char **names = NULL;
    if (status == QN_OK && n > 0) {
        names = qn_calloc(n, sizeof *names);
        status = names != NULL ? answer_names(&answer, names, err) : qn__no_memory(err);
    }
    answer_dispose(&answer);
    if (status != QN_OK) {
        qn__names_free(names, n);
        return status;
    }
    *names_out = names;
    *n_out = n;
    return QN_OK;
}

/* ---- quoting ---- */

enum qn_status qn_connection_quote(struct qn_connection *connection, const char *identifier, char **out,
                                   struct qn_error *err)
{
    if (connection == NULL || out == NULL || identifier == NULL || identifier[0] == '\0') {
        return qn_error_set(err, QN_ERR_ARGUMENT, "an identifier may not be empty");
    }
    QN_TRY(qn_sql_check_identifier(connection->driver->dialect, "column", identifier, err));
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_sql_identifier(connection->driver->dialect, identifier, &sql);
    QN_TRY(qn_buffer_check(&sql, "a quoted identifier", err));
    *out = qn_buffer_steal(&sql);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

enum qn_status qn_connection_quote_table(struct qn_connection *connection, const char *schema, const char *table,
                                         char **out, struct qn_error *err)
{
    if (connection == NULL || out == NULL || table == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the name of the table is empty");
    }
    qn_auto_buffer sql = QN_BUFFER_INIT;
    QN_TRY(qn_sql_table(connection->driver->dialect, schema, table, &sql, err));
    QN_TRY(qn_buffer_check(&sql, "a quoted name", err));
    *out = qn_buffer_steal(&sql);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}
