/*
 * checkpoint_table.c: the table qanat_checkpoints in the sink's database.
 *
 * One row a task. It is read before a run and written inside the transaction that writes the rows, so that both are
 * there or neither is. `commits` counts the transactions of the task: an update that does not find the number read
 * before means that another run has committed meanwhile, and this one must not. Threads: as the connection.
 */
#include "base/memory.h"
#include "os/clock.h"
#include "task/sink.h"
#include "task/task_table.h"

#define TABLE "qanat_checkpoints"

void qn_checkpoint_row_dispose(struct qn_checkpoint_row *row)
{
    qn_free(row->column);
    qn_free(row->sink_table);
    qn_checkpoint_dispose(&row->value);
    *row = (struct qn_checkpoint_row){ .exists = false };
}

static enum qn_status row_copy(const struct qn_batch_reader *rows, int column, char **out, struct qn_error *err)
{
    const char *text = NULL;
    size_t size = 0;
    QN_TRY(qn_task_table_text(TABLE, rows, column, 0, &text, &size, err));
    *out = qn_strndup(text, size);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

/* The task has one row. */
static enum qn_status take_row(void *context, const struct qn_batch_reader *rows, struct qn_error *err)
{
    struct qn_checkpoint_row *out = context;
    qn_auto_free char *value = NULL;
    qn_auto_free char *type = NULL;
    const char *bytes = NULL;
    size_t size = 0;
    if (rows->length == 0) {
        return QN_OK;
    }
    QN_TRY(row_copy(rows, 0, &out->column, err));
    QN_TRY(qn_task_table_text(TABLE, rows, 1, 0, &bytes, &size, err));
    QN_TRY(row_copy(rows, 1, &value, err));
    QN_TRY(row_copy(rows, 2, &type, err));
    QN_TRY(row_copy(rows, 3, &out->sink_table, err));
    QN_TRY(qn_task_table_int64(TABLE, rows, 4, 0, &out->commits, err));
    enum qn_status status = qn_checkpoint_parse(type, value, size, &out->value, err);
    if (status != QN_OK) {
        qn_error_prefix(err, TABLE);
        return status;
    }
    out->exists = true;
    return QN_OK;
}

enum qn_status qn_checkpoint_load(struct qn_connection *sink, const char *task, struct qn_checkpoint_row *out,
                                  struct qn_error *err)
{
    static const struct qn_type_override types[] = { { "column_name", "Utf8" },
                                                     { "value", "Utf8" },
                                                     { "value_type", "Utf8" },
                                                     { "sink_table", "Utf8" },
                                                     { "commits", "Int64" } };
    static const char sql[] =
        "select column_name, value, value_type, sink_table, commits from " TABLE " where task = :task";
    QN_TRY(qn_task_table_exists(sink, TABLE, &out->table_exists, err));
    if (!out->table_exists) {
        return QN_OK;
    }
    return qn_task_table_read(sink, sql, task, types, sizeof types / sizeof *types, take_row, out, err);
}

static enum qn_status make_table(struct qn_connection *sink, struct qn_error *err)
{
    static const struct qn_task_field fields[] = {
        { "task", QN_TYPE_STRING },       { "column_name", QN_TYPE_STRING }, { "value", QN_TYPE_STRING },
        { "value_type", QN_TYPE_STRING }, { "sink_table", QN_TYPE_STRING },  { "commits", QN_TYPE_INT64 },
        { "moved_rows", QN_TYPE_INT64 },  { "updated", QN_TYPE_TIMESTAMP },
    };
    static const char *const key[] = { "task" };
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_task_table_schema(fields, sizeof fields / sizeof *fields, &schema, err));
    return qn_task_table_make(sink, TABLE, &schema, key, 1, err);
}

/* Make the table where nobody has made it since. Of two runs that make it at the same time one fails. */
static enum qn_status have_table(struct qn_connection *sink, const char *task, struct qn_error *err)
{
    bool exists = false;
    QN_TRY(qn_task_table_exists(sink, TABLE, &exists, err));
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
    "insert into " TABLE " (column_name, value, value_type, sink_table, moved_rows, updated, task, "
    "commits) values (:column_name, :value, :value_type, :sink_table, :moved_rows, :updated, :task, :commits)";
static const char update_sql[] =
    "update " TABLE " set column_name = :column_name, value = :value, value_type = :value_type, "
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
        qn_task_text_value(update->column),
        { .kind = QN_VALUE_TEXT, .as.bytes = { qn_buffer_text(&text), text.size } },
        qn_task_text_value(type),
        qn_task_text_value(update->sink_table),
        { .kind = QN_VALUE_INT64, .as.int64 = update->moved_rows },
        { .kind = QN_VALUE_INSTANT, .as.int64 = qn_clock_wall_micros() },
        qn_task_text_value(update->task),
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
