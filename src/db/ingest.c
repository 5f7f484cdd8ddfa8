/*
 * ingest.c: bulk writes: what each mode does to the table before the driver writes, all in one transaction.
 *
 * A real transaction where none is open, otherwise a savepoint, so that a failure keeps nothing of the call and the
 * caller's transaction lives on. Errors of the source come out as the source gave them.
 */
#include "base/memory.h"
#include "base/text.h"
#include "db/connection.h"
#include "db/source.h"

#include <stdlib.h>
#include <string.h>

struct job {
    struct qn_connection *connection;
    struct qn_ingest ingest;
    struct qn_source source;
};

static enum qn_status check_key(const struct qn_ingest *ingest, struct qn_error *err)
{
    bool needed = ingest->mode == QN_INGEST_UPSERT || ingest->mode == QN_INGEST_IGNORE;
    bool allowed = needed || ingest->mode == QN_INGEST_CREATE || ingest->mode == QN_INGEST_REPLACE;
    if (needed && ingest->n_key == 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "%s into \"%s\" needs the key: the columns that identify a row",
                            ingest->mode == QN_INGEST_UPSERT ? "upsert" : "ignore", ingest->table);
    }
    if (!allowed && ingest->n_key > 0) {
        qn_error_set(err, QN_ERR_ARGUMENT, "a key was given, but %s into \"%s\" does not look at keys",
                     ingest->mode == QN_INGEST_APPEND ? "append" : "truncate", ingest->table);
        qn_error_hint(err, "the modes upsert and ignore do");
        return QN_ERR_ARGUMENT;
    }
    return QN_OK;
}

static enum qn_status copy_ingest(const struct qn_ingest *given, struct qn_ingest *out, struct qn_error *err)
{
    if (given == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the ingest is NULL");
    }
    size_t size = given->struct_size < sizeof *out ? given->struct_size : sizeof *out;
    *out = (struct qn_ingest)QN_INGEST_INIT;
    memcpy(out, given, size);
    if (out->table == NULL || out->table[0] == '\0') {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the name of the table is empty");
    }
    if ((int)out->mode < QN_INGEST_APPEND || (int)out->mode > QN_INGEST_TRUNCATE) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "ingest mode %d is unknown", (int)out->mode);
    }
    for (size_t i = 0; i < out->n_key; i++) {
        if (out->key == NULL || out->key[i] == NULL || out->key[i][0] == '\0') {
            return qn_error_set(err, QN_ERR_ARGUMENT, "column %zu of the key has no name", i + 1);
        }
    }
    return check_key(out, err);
}

static enum qn_status check_key_columns(const struct qn_ingest *ingest, const struct ArrowSchema *rows,
                                        struct qn_error *err)
{
    for (size_t i = 0; i < ingest->n_key; i++) {
        if (qn_schema_find(rows, ingest->key[i]) < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "the rows have no column \"%s\", which the key names",
                                ingest->key[i]);
        }
        for (size_t j = 0; j < i; j++) {
            if (qn_text_equal(ingest->key[i], ingest->key[j])) {
                return qn_error_set(err, QN_ERR_ARGUMENT, "the key names the column \"%s\" twice", ingest->key[i]);
            }
        }
    }
    return QN_OK;
}

/* ---- what the modes do first ---- */

/* "delete from T", "drop table T". */
static enum qn_status run_on_table(const struct job *job, const char *before, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_buffer_append_text(&sql, before);
    QN_TRY(qn_sql_table(job->connection->driver->dialect, job->ingest.schema, job->ingest.table, &sql, err));
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    return qn__connection_run(job->connection, qn_buffer_text(&sql), err);
}

static enum qn_status create_table(const struct job *job, struct qn_error *err)
{
    const struct qn_ingest *ingest = &job->ingest;
    qn_auto_buffer sql = QN_BUFFER_INIT;
    QN_TRY(qn_sql_create_table(job->connection->driver->dialect, ingest->schema, ingest->table, &job->source.schema,
                               ingest->key, ingest->n_key, &sql, err));
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    return qn__connection_run(job->connection, qn_buffer_text(&sql), err);
}

/* The rows have no name twice, so equal counts and every name found means equal sets. */
static bool same_columns(const struct ArrowSchema *rows, char *const *names, size_t n)
{
    if ((size_t)rows->n_children != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (qn_schema_find(rows, names[i]) < 0) {
            return false;
        }
    }
    return true;
}

static enum qn_status prepare_replace(const struct job *job, struct qn_error *err)
{
    char **names = NULL;
    size_t n = 0;
    QN_TRY(qn__catalogue_columns(job->connection, job->ingest.schema, job->ingest.table, &names, &n, err));
    bool same = same_columns(&job->source.schema, names, n);
    qn__names_free(names, n);
    if (n > 0 && same) {
        return run_on_table(job, "delete from ", err);
    }
    if (n > 0) {
        QN_TRY(run_on_table(job, "drop table ", err));
    }
    return create_table(job, err);
}

static enum qn_status prepare_table(const struct job *job, struct qn_error *err)
{
    switch (job->ingest.mode) {
    case QN_INGEST_CREATE:
        return create_table(job, err);
    case QN_INGEST_REPLACE:
        return prepare_replace(job, err);
    case QN_INGEST_TRUNCATE:
        return run_on_table(job, "delete from ", err);
    case QN_INGEST_APPEND:
    case QN_INGEST_UPSERT:
    case QN_INGEST_IGNORE:
        break;
    }
    return QN_OK;
}

/* A database that has no SQLSTATE of its own for it still has the table: say 42P07 there too. */
static void name_existing_table(const struct job *job, enum qn_status status, struct qn_error *err)
{
    if (err == NULL || job->ingest.mode != QN_INGEST_CREATE || status != QN_ERR_QUERY ||
        qn_text_equal(err->sqlstate, "42P07") || job->source.n_rows > 0) {
        return;
    }
    char **names = NULL;
    size_t n = 0;
    if (qn__catalogue_columns(job->connection, job->ingest.schema, job->ingest.table, &names, &n, NULL) == QN_OK &&
        n > 0) {
        QN_ERROR_COPY(err->sqlstate, "42P07", 5);
        QN_ERROR_COPY(err->table_name, job->ingest.table, strlen(job->ingest.table));
    }
    qn__names_free(names, n);
}

static enum qn_status write_rows(struct job *job, int64_t *rows_out, struct qn_error *err)
{
    bool keyed = job->ingest.mode == QN_INGEST_UPSERT || job->ingest.mode == QN_INGEST_IGNORE;
    if (keyed) {
        QN_TRY(qn__source_watch_key(&job->source, job->ingest.key, job->ingest.n_key, err));
    }
    struct qn_driver_ingest ingest = {
        .struct_size = sizeof ingest,
        .schema = job->ingest.schema,
        .table = job->ingest.table,
        .mode = keyed ? job->ingest.mode : QN_INGEST_APPEND,
        .key = keyed ? job->ingest.key : NULL,
        .n_key = keyed ? job->ingest.n_key : 0,
        .rows_schema = &job->source.schema,
    };
    return job->connection->driver->ingest(job->connection->handle, &ingest, &job->source.watched, rows_out, err);
}

static enum qn_status run_job(struct job *job, int64_t *rows_out, struct qn_error *err)
{
    struct qn_implicit transaction;
    QN_TRY(qn__implicit_begin(job->connection, &transaction, err));
    enum qn_status prepared = prepare_table(job, err);
    enum qn_status status = prepared;
    if (status == QN_OK) {
        status = write_rows(job, rows_out, err);
        status = qn__source_status(&job->source, status, err);
    }
    status = qn__implicit_end(job->connection, &transaction, status, err);
    if (prepared != QN_OK) {
        name_existing_table(job, prepared, err);
    }
    return status;
}

enum qn_status qn_connection_ingest(struct qn_connection *connection, const struct qn_ingest *ingest,
                                    struct ArrowArrayStream *rows, int64_t *rows_out, struct qn_error *err)
{
    struct job *job = qn_calloc(1, sizeof *job);
    if (job == NULL) {
        return qn__no_memory(err);
    }
    job->connection = connection;
    int64_t written = 0;
    bool opened = false;
    enum qn_status status = copy_ingest(ingest, &job->ingest, err);
    if (status == QN_OK) {
        status = qn__connection_enter(connection, err);
    }
    if (status == QN_OK) {
        atomic_store(&connection->rows_affected, -1);
        status = qn__source_open(&job->source, rows, err);
        opened = status == QN_OK;
        if (status == QN_OK) {
            status = qn__source_check_names(&job->source, err);
        }
        if (status == QN_OK) {
            status = check_key_columns(&job->ingest, &job->source.schema, err);
        }
        if (status == QN_OK) {
            status = run_job(job, &written, err);
        }
        if (status == QN_OK) {
            atomic_store(&connection->rows_affected, written);
        }
        if (opened) {
            qn__source_close(&job->source);
        }
        qn__connection_leave(connection);
    }
    if (status == QN_OK && rows_out != NULL) {
        *rows_out = written;
    }
    qn_free(job);
    return status;
}
