/*
 * sink_database.c: a database as the sink: rows, checkpoint and locations in one transaction.
 */
#include "db/sql.h"
#include "task/sink.h"
#include "task/task_table.h"

static enum qn_status open_sink(struct qn_run *run, struct qn_error *err)
{
    return qn_connection_open_config(run->task->sink.config, &run->sink, err);
}

static enum qn_status load(struct qn_run *run, struct qn_error *err)
{
    QN_TRY(qn_task_table_exists(run->sink, run->task->sink.table, &run->sink_exists, err));
    if (!run->keeps) {
        return QN_OK;
    }
    QN_TRY(qn_checkpoint_load(run->sink, run->task->name, &run->stored, err));
    return run->has_locations && run->stored.exists
               ? qn_location_table_load(run->sink, run->task->name, &run->positions, err)
               : QN_OK;
}

static enum qn_status has_rows(struct qn_run *run, bool *out, struct qn_error *err)
{
    char *table = NULL;
    QN_TRY(qn_connection_quote_table(run->sink, NULL, run->task->sink.table, &table, err));
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_buffer_printf(&sql, "select 1 as one where exists (select 1 from %s)", table);
    qn_free_text(table);
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    struct qn_query query = QN_QUERY_INIT;
    query.sql = qn_buffer_text(&sql);
    qn_auto_stream stream = { .release = NULL };
    QN_TRY(qn_connection_query(run->sink, &query, &stream, NULL, err));
    *out = false;
    for (;;) {
        qn_auto_array batch = { .release = NULL };
        QN_TRY(qn_stream_next(&stream, &batch, err));
        if (batch.release == NULL) {
            return QN_OK;
        }
        *out = *out || batch.length > 0;
    }
}

/* ---- a slice -------------------------------------------------------------------------------------------------- */

static enum qn_status begin(struct qn_run *run, struct qn_error *err)
{
    return qn_connection_begin(run->sink, QN_ISOLATION_DEFAULT, false, err);
}

static enum qn_status create_sink_table(struct qn_run *run, struct qn_error *err)
{
    const struct qn_task_sink *sink = &run->task->sink;
    const struct qn_dialect *dialect = NULL;
    QN_TRY(qn_task_dialect(sink->config, &dialect, err));
    for (size_t i = 0; i < sink->n_key; i++) {
        if (qn_schema_find(&run->schema, sink->key[i]) < 0) {
            return qn_error_set(err, QN_ERR_CONFIG, "sink.key: the column \"%s\" is not in the result of the source",
                                sink->key[i]);
        }
    }
    qn_auto_buffer sql = QN_BUFFER_INIT;
    QN_TRY(qn_sql_create_table(dialect, NULL, sink->table, &run->schema, (const char *const *)sink->key, sink->n_key,
                               &sql, err));
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    struct qn_query query = QN_QUERY_INIT;
    query.sql = qn_buffer_text(&sql);
    return qn_connection_execute(run->sink, &query, NULL, err);
}

static enum qn_status write_slice(struct qn_run *run, struct ArrowArrayStream *slice, struct qn_error *err)
{
    const struct qn_task_sink *sink = &run->task->sink;
    if (!run->sink_exists && sink->mode != QN_INGEST_CREATE) {
        /* Asked again inside the transaction: somebody may have made it since. */
        QN_TRY(qn_task_table_exists(run->sink, sink->table, &run->sink_exists, err));
        if (!run->sink_exists) {
            QN_TRY(create_sink_table(run, err));
        }
    }
    struct qn_ingest ingest = QN_INGEST_INIT;
    ingest.table = sink->table;
    ingest.mode = sink->mode;
    ingest.key = (const char *const *)sink->key;
    ingest.n_key = sink->n_key;
    return qn_connection_ingest(run->sink, &ingest, slice, NULL, err);
}

/* Of a source with locations the row of qanat_checkpoints counts the moved ones; where they are is in qanat_locations. */
static enum qn_status keep(struct qn_run *run, struct qn_error *err)
{
    struct qn_checkpoint moved = { .kind = QN_CHECKPOINT_NUMBER, .type = qn_type_of(QN_TYPE_INT64) };
    moved.number = qn_locations_moved(&run->locations);
    struct qn_checkpoint_update update = { .task = run->task->name,
                                           .column = run->task->checkpoint.column,
                                           .sink_table = run->task->sink.table,
                                           .value = &run->feed.watch.last,
                                           .moved_rows = run->feed.slice_rows };
    if (run->has_locations) {
        update.column = QN_CHECKPOINT_LOCATIONS;
        update.value = &moved;
    }
    QN_TRY(qn_checkpoint_store(run->sink, &update, &run->stored, err));
    bool anew = run->options.full && run->result.commits == 0;
    return run->has_locations ? qn_location_table_store(run->sink, run->task->name, &run->locations, anew, err) : QN_OK;
}

static enum qn_status commit(struct qn_run *run, struct qn_error *err)
{
    return qn_connection_commit(run->sink, err);
}

static void rollback(struct qn_run *run)
{
    while (!qn_connection_is_closed(run->sink) && qn_connection_depth(run->sink) > 0) {
        if (qn_connection_rollback(run->sink, NULL) != QN_OK) {
            (void)qn_connection_close(run->sink, NULL); /* ends the transaction too */
            break;
        }
    }
}

static void close_sink(struct qn_run *run)
{
    qn_connection_free(run->sink);
}

const struct qn_sink_ops qn_sink_database = { open_sink, load,   has_rows, begin,     write_slice,
                                              keep,      commit, rollback, close_sink };

enum qn_status qn_sink_refuse_other_run(const char *task, struct qn_error *err)
{
    (void)qn_error_set(err, QN_ERR_QUERY, "another run of the task \"%s\" has committed since this one began", task);
    qn_error_hint(err, "nothing of this one's last slice was kept; run the task again");
    if (err != NULL) {
        err->retryable = true;
    }
    return QN_ERR_QUERY;
}
