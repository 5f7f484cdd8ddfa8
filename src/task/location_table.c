/*
 * location_table.c: the table qanat_locations in the sink's database: how far each location of a task has been moved.
 *
 *   qanat_locations: task, location_hash (primary key: both), location, version, moved_rows, finished (0 or 1)
 *
 * Written inside the transaction that writes the rows, behind the task's row of qanat_checkpoints, which settles who of two
 * runs may. The key is the SHA-256 of the name, since names are longer than a key may be. Threads: as the connection.
 */
#include "arrow/stream.h"
#include "base/memory.h"
#include "task/sink.h"
#include "task/task_table.h"

#define TABLE "qanat_locations"

enum field { TASK, HASH, LOCATION, VERSION, ROWS, FINISHED, FIELDS };

static const struct qn_task_field fields[FIELDS] = {
    { "task", QN_TYPE_STRING },    { "location_hash", QN_TYPE_STRING }, { "location", QN_TYPE_STRING },
    { "version", QN_TYPE_STRING }, { "moved_rows", QN_TYPE_INT64 },     { "finished", QN_TYPE_INT64 },
};
static const char *const key[] = { "task", "location_hash" };

static enum qn_status have_table(struct qn_connection *sink, const struct ArrowSchema *schema, struct qn_error *err)
{
    bool exists = false;
    QN_TRY(qn_task_table_exists(sink, TABLE, &exists, err));
    return exists ? QN_OK : qn_task_table_make(sink, TABLE, schema, key, 2, err);
}

/* ---- read ----------------------------------------------------------------------------------------------------- */

static enum qn_status take_row(const struct qn_batch_reader *rows, int64_t row, struct qn_positions *out,
                               struct qn_error *err)
{
    const char *hash = NULL;
    const char *version = NULL;
    size_t hash_size = 0;
    size_t version_size = 0;
    int64_t finished = 0;
    struct qn_position position = { .rows = 0 };
    QN_TRY(qn_task_table_text(TABLE, rows, 0, row, &hash, &hash_size, err));
    QN_TRY(qn_task_table_text(TABLE, rows, 1, row, &version, &version_size, err));
    QN_TRY(qn_task_table_int64(TABLE, rows, 2, row, &position.rows, err));
    QN_TRY(qn_task_table_int64(TABLE, rows, 3, row, &finished, err));
    position.done = finished != 0;
    char text[QN_SHA256_TEXT_SIZE];
    if (hash_size != sizeof text - 1) {
        return qn_error_set(err, QN_ERR_DATA, TABLE ".location_hash is not a SHA-256");
    }
    memcpy(text, hash, hash_size);
    text[hash_size] = '\0';
    if (!qn_sha256_parse(text, &position.hash) || position.rows < 0) {
        return qn_error_set(err, QN_ERR_DATA, TABLE " has a row that no task has written");
    }
    qn_auto_free char *copy = qn_strndup(version, version_size);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    position.version = copy;
    return qn_positions_add(out, &position, err);
}

static enum qn_status take_rows(void *context, const struct qn_batch_reader *rows, struct qn_error *err)
{
    for (int64_t row = 0; row < rows->length; row++) {
        QN_TRY(take_row(rows, row, context, err));
    }
    return QN_OK;
}

enum qn_status qn_location_table_load(struct qn_connection *sink, const char *task, struct qn_positions *out,
                                      struct qn_error *err)
{
    static const struct qn_type_override types[] = {
        { "location_hash", "Utf8" }, { "version", "Utf8" }, { "moved_rows", "Int64" }, { "finished", "Int64" }
    };
    static const char sql[] = "select location_hash, version, moved_rows, finished from " TABLE " where task = :task";
    bool exists = false;
    QN_TRY(qn_task_table_exists(sink, TABLE, &exists, err));
    if (!exists) {
        return QN_OK;
    }
    return qn_task_table_read(sink, sql, task, types, sizeof types / sizeof *types, take_rows, out, err);
}

/* ---- written -------------------------------------------------------------------------------------------------- */

static void put_text(struct qn_column *column, const char *text)
{
    qn_column_put_bytes(column, text, strlen(text));
}

static enum qn_status touched_batch(const char *task, const struct qn_locations *locations,
                                    const struct ArrowSchema *schema, struct ArrowArray *out, struct qn_error *err)
{
    struct qn_batch batch;
    QN_TRY(qn_batch_init(&batch, schema, err));
    enum qn_status status = qn_batch_reserve(&batch, (int64_t)locations->touched, err);
    int64_t rows = 0;
    for (size_t i = locations->first_touched; status == QN_OK && rows < (int64_t)locations->touched; i++) {
        const struct qn_task_location *item = &locations->items[i];
        if (!item->touched) {
            continue;
        }
        char hash[QN_SHA256_TEXT_SIZE];
        qn_sha256_format(&item->hash, hash);
        put_text(&batch.columns[TASK], task);
        put_text(&batch.columns[HASH], hash);
        put_text(&batch.columns[LOCATION], item->location);
        put_text(&batch.columns[VERSION], item->version);
        qn_column_put_int64(&batch.columns[ROWS], item->rows);
        qn_column_put_int64(&batch.columns[FINISHED], item->done ? 1 : 0);
        rows++;
    }
    if (status == QN_OK) {
        status = qn_batch_finish(&batch, rows, out, err);
    }
    qn_batch_dispose(&batch);
    return status;
}

static enum qn_status forget(struct qn_connection *sink, const char *task, struct qn_error *err)
{
    static const char *const names[] = { "task" };
    struct qn_value value = qn_task_text_value(task);
    struct qn_query query = QN_QUERY_INIT;
    query.sql = "delete from " TABLE " where task = :task";
    query.values = &value;
    query.names = names;
    query.n_values = 1;
    return qn_connection_execute(sink, &query, NULL, err);
}

enum qn_status qn_location_table_store(struct qn_connection *sink, const char *task,
                                       const struct qn_locations *locations, bool anew, struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    qn_auto_array batch = { .release = NULL };
    qn_auto_stream stream = { .release = NULL };
    QN_TRY(qn_task_table_schema(fields, FIELDS, &schema, err));
    QN_TRY(have_table(sink, &schema, err));
    if (anew) {
        QN_TRY(forget(sink, task, err));
    }
    QN_TRY(touched_batch(task, locations, &schema, &batch, err));
    QN_TRY(qn_stream_from_arrays(&schema, &batch, 1, &stream, err));
    struct qn_ingest ingest = QN_INGEST_INIT;
    ingest.table = TABLE;
    ingest.mode = QN_INGEST_UPSERT;
    ingest.key = key;
    ingest.n_key = 2;
    return qn_connection_ingest(sink, &ingest, &stream, NULL, err);
}
