/* task_table.c: see task_table.h. */
#include "task/task_table.h"

#include "arrow/stream.h"
#include "base/memory.h"
#include "db/sql.h"
#include "task/plan.h"

/* ---- the table ---- */

static enum qn_status drain(struct ArrowArrayStream *stream, int64_t *rows_out, struct qn_error *err)
{
    *rows_out = 0;
    for (;;) {
        qn_auto_array batch = { .release = NULL };
        QN_TRY(qn_stream_next(stream, &batch, err));
        if (batch.release == NULL) {
            return QN_OK;
        }
        *rows_out += batch.length;
    }
}

enum qn_status qn_task_table_exists(struct qn_connection *connection, const char *table, bool *out,
                                    struct qn_error *err)
{
    const struct qn_dialect *dialect = NULL;
    QN_TRY(qn_task_dialect(qn_connection_config(connection), &dialect, err));
    qn_auto_free char *schema_part = NULL;
    qn_auto_free char *table_part = NULL;
    QN_TRY(qn_sql_split_table(dialect, table, &schema_part, &table_part, err));
    struct qn_error problem = QN_ERROR_INIT;
    qn_auto_stream stream = { .release = NULL };
    int64_t columns = 0;
    enum qn_status status = qn_connection_columns(connection, schema_part, table_part, &stream, &problem);
    if (status == QN_OK) {
        status = drain(&stream, &columns, &problem);
    }
    if (status == QN_OK) {
        *out = true;
        return QN_OK;
    }
    if (status == QN_ERR_QUERY && strcmp(problem.sqlstate, "42P01") == 0) {
        *out = false;
        return QN_OK;
    }
    if (err != NULL) {
        *err = problem;
    }
    return status;
}

enum qn_status qn_task_table_schema(const struct qn_task_field *fields, size_t n, struct ArrowSchema *out,
                                    struct qn_error *err)
{
    QN_TRY(qn_schema_struct(out, (int64_t)n, err));
    for (size_t i = 0; i < n; i++) {
        struct qn_type type =
            fields[i].type == QN_TYPE_TIMESTAMP ? qn_type_timestamp(QN_UNIT_MICRO, "UTC") : qn_type_of(fields[i].type);
        QN_TRY(qn_schema_set(out, (int64_t)i, fields[i].name, &type, err));
    }
    return QN_OK;
}

enum qn_status qn_task_table_make(struct qn_connection *sink, const char *table, const struct ArrowSchema *schema,
                                  const char *const *key, size_t n_key, struct qn_error *err)
{
    const struct qn_dialect *dialect = NULL;
    QN_TRY(qn_task_dialect(qn_connection_config(sink), &dialect, err));
    qn_auto_buffer sql = QN_BUFFER_INIT;
    QN_TRY(qn_sql_create_table(dialect, NULL, table, schema, key, n_key, &sql, err));
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    struct qn_query query = QN_QUERY_INIT;
    query.sql = qn_buffer_text(&sql);
    return qn_connection_execute(sink, &query, NULL, err);
}

/* ---- its rows ---- */

struct qn_value qn_task_text_value(const char *text)
{
    struct qn_value value = { .kind = QN_VALUE_TEXT };
    value.as.bytes.data = text;
    value.as.bytes.size = strlen(text);
    return value;
}

enum qn_status qn_task_table_read(struct qn_connection *sink, const char *sql, const char *task,
                                  const struct qn_type_override *types, size_t n_types, qn_batch_callback each,
                                  void *context, struct qn_error *err)
{
    static const char *const names[] = { "task" };
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.types = types;
    options.n_types = n_types;
    struct qn_value value = qn_task_text_value(task);
    struct qn_query query = QN_QUERY_INIT;
    query.sql = sql;
    query.values = &value;
    query.names = names;
    query.n_values = 1;
    query.options = &options;
    qn_auto_stream stream = { .release = NULL };
    QN_TRY(qn_connection_query(sink, &query, &stream, NULL, err));
    return qn_stream_each_batch(&stream, each, context, err);
}

static enum qn_status refuse_null(const char *table, const struct qn_reader *values, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "%s.%s is null", table, values->name);
}

enum qn_status qn_task_table_text(const char *table, const struct qn_batch_reader *rows, int column, int64_t row,
                                  const char **out, size_t *size_out, struct qn_error *err)
{
    const struct qn_reader *values = &rows->columns[column];
    bool there = !qn_reader_is_null(values, row) && qn_reader_bytes(values, row, out, size_out);
    return there ? QN_OK : refuse_null(table, values, err);
}

enum qn_status qn_task_table_int64(const char *table, const struct qn_batch_reader *rows, int column, int64_t row,
                                   int64_t *out, struct qn_error *err)
{
    const struct qn_reader *values = &rows->columns[column];
    if (qn_reader_is_null(values, row)) {
        return refuse_null(table, values, err);
    }
    *out = qn_reader_int64(values, row);
    return QN_OK;
}
