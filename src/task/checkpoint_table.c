/*
 * checkpoint_table.c: the table qanat_checkpoints in the sink's database.
 *
 * One row a task. It is read before a run and written inside the transaction that writes the rows, so that both are
 * there or neither is. `commits` counts the transactions of the task: an update that does not find the number read
 * before means that another run has committed meanwhile, and this one must not. Threads: as the connection.
 */
#include "arrow/stream.h"
#include "base/memory.h"
#include "db/sql.h"
#include "os/clock.h"
#include "task/sink.h"

void qn_checkpoint_row_dispose(struct qn_checkpoint_row *row)
{
    qn_free(row->column);
    qn_free(row->sink_table);
    qn_checkpoint_dispose(&row->value);
    *row = (struct qn_checkpoint_row){ .exists = false };
}

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

/* A text of the row; QN_ERR_DATA where it is null: somebody else has written the table. */
static enum qn_status row_text(const struct qn_batch_reader *reader, int column, const char **text_out,
                               size_t *size_out, struct qn_error *err)
{
    const struct qn_reader *values = &reader->columns[column];
    if (qn_reader_is_null(values, 0) || !qn_reader_bytes(values, 0, text_out, size_out)) {
        return qn_error_set(err, QN_ERR_DATA, QN_CHECKPOINT_TABLE ".%s is null", values->name);
    }
    return QN_OK;
}

static enum qn_status row_copy(const struct qn_batch_reader *reader, int column, char **out, struct qn_error *err)
{
    const char *text = NULL;
    size_t size = 0;
    QN_TRY(row_text(reader, column, &text, &size, err));
    *out = qn_strndup(text, size);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status take_row(const struct qn_batch_reader *reader, struct qn_checkpoint_row *out,
                               struct qn_error *err)
{
    qn_auto_free char *value = NULL;
    qn_auto_free char *type = NULL;
    const char *bytes = NULL;
    size_t size = 0;
    QN_TRY(row_copy(reader, 0, &out->column, err));
    QN_TRY(row_text(reader, 1, &bytes, &size, err));
    QN_TRY(row_copy(reader, 1, &value, err));
    QN_TRY(row_copy(reader, 2, &type, err));
    QN_TRY(row_copy(reader, 3, &out->sink_table, err));
    if (qn_reader_is_null(&reader->columns[4], 0)) {
        return qn_error_set(err, QN_ERR_DATA, QN_CHECKPOINT_TABLE ".commits is null");
    }
    out->commits = qn_reader_int64(&reader->columns[4], 0);
    enum qn_status status = qn_checkpoint_parse(type, value, size, &out->value, err);
    if (status != QN_OK) {
        qn_error_prefix(err, QN_CHECKPOINT_TABLE "");
        return status;
    }
    out->exists = true;
    return QN_OK;
}

static enum qn_status read_rows(struct ArrowArrayStream *stream, struct qn_checkpoint_row *out, struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_stream_schema(stream, &schema, err));
    struct qn_batch_reader reader = { .n_columns = 0 };
    enum qn_status status = qn_batch_reader_init(&reader, &schema, err);
    while (status == QN_OK) {
        qn_auto_array batch = { .release = NULL };
        status = qn_stream_next(stream, &batch, err);
        if (status != QN_OK || batch.release == NULL) {
            break;
        }
        status = qn_batch_reader_bind(&reader, &batch, err);
        if (status == QN_OK && reader.length > 0) {
            status = take_row(&reader, out, err);
        }
    }
    qn_batch_reader_dispose(&reader);
    return status;
}

enum qn_status qn_checkpoint_load(struct qn_connection *sink, const char *task, struct qn_checkpoint_row *out,
                                  struct qn_error *err)
{
    QN_TRY(qn_task_table_exists(sink, QN_CHECKPOINT_TABLE, &out->table_exists, err));
    if (!out->table_exists) {
        return QN_OK;
    }
    static const char *const names[] = { "task" };
    static const struct qn_type_override types[] = { { "column_name", "Utf8" },
                                                     { "value", "Utf8" },
                                                     { "value_type", "Utf8" },
                                                     { "sink_table", "Utf8" },
                                                     { "commits", "Int64" } };
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.types = types;
    options.n_types = sizeof types / sizeof *types;
    struct qn_value value = { .kind = QN_VALUE_TEXT };
    value.as.bytes.data = task;
    value.as.bytes.size = strlen(task);
    struct qn_query query = QN_QUERY_INIT;
    query.sql =
        "select column_name, value, value_type, sink_table, commits from " QN_CHECKPOINT_TABLE " where task = :task";
    query.values = &value;
    query.names = names;
    query.n_values = 1;
    query.options = &options;
    qn_auto_stream stream = { .release = NULL };
    QN_TRY(qn_connection_query(sink, &query, &stream, NULL, err));
    return read_rows(&stream, out, err);
}

static enum qn_status make_table(struct qn_connection *sink, struct qn_error *err)
{
    static const struct {
        const char *name;
        enum qn_type_id type;
    } fields[] = { { "task", QN_TYPE_STRING },       { "column_name", QN_TYPE_STRING }, { "value", QN_TYPE_STRING },
                   { "value_type", QN_TYPE_STRING }, { "sink_table", QN_TYPE_STRING },  { "commits", QN_TYPE_INT64 },
                   { "moved_rows", QN_TYPE_INT64 },  { "updated", QN_TYPE_TIMESTAMP } };
    static const char *const key[] = { "task" };
    const struct qn_dialect *dialect = NULL;
    QN_TRY(qn_task_dialect(qn_connection_config(sink), &dialect, err));
    qn_auto_schema schema = { .release = NULL };
    int64_t n = sizeof fields / sizeof *fields;
    QN_TRY(qn_schema_struct(&schema, n, err));
    for (int64_t i = 0; i < n; i++) {
        struct qn_type type =
            fields[i].type == QN_TYPE_TIMESTAMP ? qn_type_timestamp(QN_UNIT_MICRO, "UTC") : qn_type_of(fields[i].type);
        QN_TRY(qn_schema_set(&schema, i, fields[i].name, &type, err));
    }
    qn_auto_buffer sql = QN_BUFFER_INIT;
    QN_TRY(qn_sql_create_table(dialect, NULL, QN_CHECKPOINT_TABLE, &schema, key, 1, &sql, err));
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    struct qn_query query = QN_QUERY_INIT;
    query.sql = qn_buffer_text(&sql);
    return qn_connection_execute(sink, &query, NULL, err);
}

static struct qn_value text_value(const char *text)
{
    struct qn_value value = { .kind = QN_VALUE_TEXT };
    value.as.bytes.data = text;
    value.as.bytes.size = strlen(text);
    return value;
}

/* Make the table where nobody has made it since. Of two runs that make it at the same time one fails. */
static enum qn_status have_table(struct qn_connection *sink, const char *task, struct qn_error *err)
{
    bool exists = false;
    QN_TRY(qn_task_table_exists(sink, QN_CHECKPOINT_TABLE, &exists, err));
    if (exists) {
        return QN_OK;
    }
    struct qn_error problem = QN_ERROR_INIT;
    enum qn_status status = make_table(sink, &problem);
    if (status == QN_ERR_CONSTRAINT || strcmp(problem.sqlstate, "42P07") == 0) {
        return qn_sink_refuse_other_run(task, err);
    }
    if (status != QN_OK && err != NULL) {
        *err = problem;
    }
    return status;
}

static const char insert_sql[] =
    "insert into " QN_CHECKPOINT_TABLE " (column_name, value, value_type, sink_table, moved_rows, updated, task, "
    "commits) values (:column_name, :value, :value_type, :sink_table, :moved_rows, :updated, :task, :commits)";
static const char update_sql[] =
    "update " QN_CHECKPOINT_TABLE " set column_name = :column_name, value = :value, value_type = :value_type, "
    "sink_table = :sink_table, moved_rows = moved_rows + :moved_rows, updated = :updated, commits = commits + 1 "
    "where task = :task and commits = :commits";

enum qn_status qn_checkpoint_store(struct qn_connection *sink, const struct qn_checkpoint_update *update,
                                   const struct qn_checkpoint_row *row, struct qn_error *err)
{
    if (!row->table_exists) {
        QN_TRY(have_table(sink, update->task, err));
    }
    qn_auto_buffer text = QN_BUFFER_INIT;
    char type[QN_TYPE_MAX_FORMAT];
    qn_checkpoint_format(update->value, &text);
    QN_TRY(qn_buffer_check(&text, "a checkpoint", err));
    qn_type_to_text(&update->value->type, type);
    static const char *const names[] = { "column_name", "value",   "value_type", "sink_table",
                                         "moved_rows",  "updated", "task",       "commits" };
    struct qn_value values[8] = {
        text_value(update->column),
        { .kind = QN_VALUE_TEXT, .as.bytes = { qn_buffer_text(&text), text.size } },
        text_value(type),
        text_value(update->sink_table),
        { .kind = QN_VALUE_INT64, .as.int64 = update->moved_rows },
        { .kind = QN_VALUE_INSTANT, .as.int64 = qn_clock_wall_micros() },
        text_value(update->task),
        { .kind = QN_VALUE_INT64, .as.int64 = row->exists ? row->commits : 1 },
    };
    struct qn_query query = QN_QUERY_INIT;
    query.sql = row->exists ? update_sql : insert_sql;
    query.values = values;
    query.names = names;
    query.n_values = 8;
    int64_t changed = 0;
    enum qn_status status = qn_connection_execute(sink, &query, &changed, err);
    if (!row->exists && status == QN_ERR_CONSTRAINT) {
        return qn_sink_refuse_other_run(update->task, err);
    }
    if (status == QN_OK && row->exists && changed != 1) {
        return qn_sink_refuse_other_run(update->task, err);
    }
    return status;
}
