/*
 * ingest.c (sqlite): bulk writes into an existing table, inside the transaction that the engine has opened.
 *
 * Append is one INSERT ... SELECT from the virtual table over the stream (batch_table.c). Upsert and ignore stage the rows in a
 * temporary table with their numbers first, with the types and collations of the target's columns, so that a key that
 * occurs twice is found by the rules of the target and both rows are named; then one INSERT ... SELECT ... ON CONFLICT.
 */
#include "db/sqlite/sqlite.h"

#include "base/memory.h"
#include "base/text.h"
#include "db/driver_table.h"
#include "db/sql.h"

#include <inttypes.h>

#define STAGE "temp.qanat_stage"

struct ingest {
    struct qn_sqlite *connection;
    const struct qn_driver_ingest *what;
    const struct qn_dialect *dialect;
    char *schema, *table;  /* unquoted; schema may be NULL */
    const char **declared; /* of each column, borrowed from SQLite's schema: copied */
    const char **collation;
    enum qn_sqlite_affinity *affinities;
    struct qn_sqlite_batch_table rows;
    bool attached, staged;
};

static int64_t n_columns(const struct ingest *self)
{
    return self->what->rows_schema->n_children;
}

static const char *column_name(const struct ingest *self, int64_t i)
{
    return self->what->rows_schema->children[i]->name;
}

/* ---- the target ---- */

static enum qn_status missing_table(const struct ingest *self, struct qn_error *err)
{
    (void)qn_error_set(err, QN_ERR_QUERY, "table \"%s\" does not exist", self->table);
    if (err != NULL) {
        QN_ERROR_COPY(err->sqlstate, "42P01", 5);
        QN_ERROR_COPY(err->table_name, self->table, strlen(self->table));
        QN_ERROR_COPY(err->schema_name, self->schema, self->schema != NULL ? strlen(self->schema) : 0);
    }
    return QN_ERR_QUERY;
}

static enum qn_status missing_column(const struct ingest *self, int64_t i, struct qn_error *err)
{
    (void)qn_error_set(err, QN_ERR_QUERY, "table \"%s\" has no column \"%s\"", self->table, column_name(self, i));
    if (err != NULL) {
        QN_ERROR_COPY(err->sqlstate, "42703", 5);
        QN_ERROR_COPY(err->table_name, self->table, strlen(self->table));
        QN_ERROR_COPY(err->column_name, column_name(self, i), strlen(column_name(self, i)));
    }
    return QN_ERR_QUERY;
}

/* Declared type and collation of every column; copies, since SQLite's own go with its schema. */
static enum qn_status look_up_columns(struct ingest *self, struct qn_error *err)
{
    sqlite3 *db = self->connection->db;
    int64_t n = n_columns(self);
    self->declared = qn_calloc((size_t)n + 1, sizeof *self->declared);
    self->collation = qn_calloc((size_t)n + 1, sizeof *self->collation);
    self->affinities = qn_calloc((size_t)n + 1, sizeof *self->affinities);
    if (self->declared == NULL || self->collation == NULL || self->affinities == NULL) {
        return qn__no_memory(err);
    }
    int code = sqlite3_table_column_metadata(db, self->schema, self->table, NULL, NULL, NULL, NULL, NULL, NULL);
    if (code != SQLITE_OK) {
        return code == SQLITE_ERROR ? missing_table(self, err) : qn_sqlite_error(self->connection, code, NULL, err);
    }
    for (int64_t i = 0; i < n; i++) {
        const char *declared = NULL, *collation = NULL;
        code = sqlite3_table_column_metadata(db, self->schema, self->table, column_name(self, i), &declared, &collation,
                                             NULL, NULL, NULL);
        if (code != SQLITE_OK) {
            return code == SQLITE_ERROR ? missing_column(self, i, err)
                                        : qn_sqlite_error(self->connection, code, NULL, err);
        }
        self->affinities[i] = qn_sqlite_affinity_of(declared);
        self->declared[i] = qn_strdup(declared != NULL ? declared : "");
        self->collation[i] = qn_strdup(collation != NULL ? collation : "BINARY");
        if (self->declared[i] == NULL || self->collation[i] == NULL) {
            return qn__no_memory(err);
        }
    }
    return QN_OK;
}

/* ---- SQL ---- */

/* "insert into T ("a", "b")" */
static enum qn_status insert_into(const struct ingest *self, struct qn_buffer *sql, struct qn_error *err)
{
    qn_buffer_append_text(sql, "insert into ");
    if (self->schema != NULL) {
        qn_sql_identifier(self->dialect, self->schema, sql);
        qn_buffer_append_byte(sql, '.');
    }
    qn_sql_identifier(self->dialect, self->table, sql);
    qn_buffer_append_text(sql, " (");
    for (int64_t i = 0; i < n_columns(self); i++) {
        qn_buffer_append_text(sql, i > 0 ? ", " : "");
        qn_sql_identifier(self->dialect, column_name(self, i), sql);
    }
    qn_buffer_append_text(sql, ")");
    return qn_buffer_check(sql, "a statement", err);
}

static void list_stage_columns(const struct ingest *self, struct qn_buffer *sql)
{
    for (int64_t i = 0; i < n_columns(self); i++) {
        qn_buffer_printf(sql, "%sc%" PRId64, i > 0 ? ", " : "", i);
    }
}

/* The type's affinity by a name of ours: the declared text may hold anything. */
static const char *affinity_name(enum qn_sqlite_affinity affinity)
{
    static const char *const names[] = { "BLOB", "TEXT", "NUMERIC", "INTEGER", "REAL" };
    return names[affinity];
}

static enum qn_status create_stage(struct ingest *self, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_buffer_append_text(&sql, "create temp table qanat_stage (n integer primary key");
    for (int64_t i = 0; i < n_columns(self); i++) {
        qn_buffer_printf(&sql, ", c%" PRId64 " %s collate ", i, affinity_name(self->affinities[i]));
        qn_sql_identifier(self->dialect, self->collation[i], &sql);
    }
    qn_buffer_append_text(&sql, ")");
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    QN_TRY(qn_sqlite_exec(self->connection, "drop table if exists " STAGE, err));
    QN_TRY(qn_sqlite_exec(self->connection, sql.data, err));
    self->staged = true;
    return QN_OK;
}

/* ---- running ---- */

/* Run a statement that reads qn_batch: its own errors come first. */
static enum qn_status run_over_rows(struct ingest *self, const char *sql, struct qn_error *err)
{
    int code = sqlite3_exec(self->connection->db, sql, NULL, NULL, NULL);
    if (code == SQLITE_OK) {
        return QN_OK;
    }
    if (self->rows.status != QN_OK) {
        if (err != NULL) {
            *err = self->rows.error;
        }
        return self->rows.status;
    }
    enum qn_status status = qn_sqlite_error(self->connection, code, NULL, err);
    if (status == QN_ERR_CONSTRAINT && err != NULL && strcmp(err->sqlstate, "23503") != 0) {
        err->row = qn_sqlite_batch_table_row(&self->rows);
    }
    return status;
}

static enum qn_status append(struct ingest *self, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    QN_TRY(insert_into(self, &sql, err));
    qn_buffer_append_text(&sql, " select * from qn_batch");
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    return run_over_rows(self, sql.data, err);
}

static int64_t column_of_key(const struct ingest *self, const char *key)
{
    int64_t found = qn_schema_find(self->what->rows_schema, key);
    for (int64_t i = 0; found < 0 && i < n_columns(self); i++) {
        found = qn_text_equal_nocase(column_name(self, i), key) ? i : -1;
    }
    return found;
}

/* QN_ERR_DATA naming the first two rows that have the same key. Keys with a null are never the same. */
static enum qn_status refuse_same_keys(struct ingest *self, struct qn_error *err)
{
    qn_auto_buffer keys = QN_BUFFER_INIT, given = QN_BUFFER_INIT, sql = QN_BUFFER_INIT;
    for (size_t k = 0; k < self->what->n_key; k++) {
        int64_t column = column_of_key(self, self->what->key[k]);
        if (column < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "the key column \"%s\" is not in the data", self->what->key[k]);
        }
        qn_buffer_printf(&keys, "%sc%" PRId64, k > 0 ? ", " : "", column);
        qn_buffer_printf(&given, "%sc%" PRId64 " is not null", k > 0 ? " and " : "", column);
    }
    QN_TRY(qn_buffer_check(&keys, "a statement", err));
    QN_TRY(qn_buffer_check(&given, "a statement", err));
    qn_buffer_printf(&sql,
                     "select min(n), (select min(b.n) from " STAGE
                     " b where b.n > a.low and (%s) = (select %s from " STAGE
                     " where n = a.low)) from (select min(n) as low from " STAGE
                     " where %s group by %s having count(*) > 1 order by 1 limit 1) a, " STAGE " where n = a.low",
                     qn_buffer_text(&keys), qn_buffer_text(&keys), qn_buffer_text(&given), qn_buffer_text(&keys));
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(self->connection->db, sql.data, -1, &stmt, NULL);
    code = code == SQLITE_OK ? sqlite3_step(stmt) : code;
    enum qn_status status = QN_OK;
    if (code == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL) {
        int64_t first = sqlite3_column_int64(stmt, 0) - 1, second = sqlite3_column_int64(stmt, 1) - 1;
        status = qn_error_set(err, QN_ERR_DATA, "rows %" PRId64 " and %" PRId64 " have the same key (%s)", first,
                              second, self->what->key[0]);
        qn_error_place(err, second, self->what->key[0]);
    } else if (code != SQLITE_ROW && code != SQLITE_DONE) {
        status = qn_sqlite_error(self->connection, code, NULL, err);
    }
    sqlite3_finalize(stmt);
    return status;
}

static enum qn_status merge(struct ingest *self, struct qn_error *err)
{
    qn_auto_buffer fill = QN_BUFFER_INIT, sql = QN_BUFFER_INIT;
    QN_TRY(create_stage(self, err));
    qn_buffer_append_text(&fill, "insert into " STAGE " (");
    list_stage_columns(self, &fill);
    qn_buffer_append_text(&fill, ") select * from qn_batch");
    QN_TRY(qn_buffer_check(&fill, "a statement", err));
    QN_TRY(run_over_rows(self, fill.data, err));
    QN_TRY(refuse_same_keys(self, err));
    QN_TRY(insert_into(self, &sql, err));
    qn_buffer_append_text(&sql, " select ");
    list_stage_columns(self, &sql);
    qn_buffer_append_text(&sql, " from " STAGE " where true order by n"); /* "where" keeps ON from being a join's */
    QN_TRY(qn_sql_on_conflict(self->dialect, self->what, &sql, err));
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    return qn_sqlite_exec(self->connection, sql.data, err);
}

static void dispose(struct ingest *self)
{
    if (self->attached) {
        qn_sqlite_batch_table_detach(self->connection);
    }
    if (self->staged) { /* where this fails, the rollback that follows drops it */
        (void)sqlite3_exec(self->connection->db, "drop table if exists " STAGE, NULL, NULL, NULL);
    }
    for (int64_t i = 0; i < n_columns(self); i++) {
        qn_free(self->declared != NULL ? (void *)(uintptr_t)self->declared[i] : NULL);
        qn_free(self->collation != NULL ? (void *)(uintptr_t)self->collation[i] : NULL);
    }
    qn_free(self->declared);
    qn_free(self->collation);
    qn_free(self->affinities);
    qn_free(self->schema);
    qn_free(self->table);
    qn_sqlite_batch_table_dispose(&self->rows);
}

static enum qn_status run(struct ingest *self, struct ArrowArrayStream *rows, int64_t *rows_out, struct qn_error *err)
{
    if (n_columns(self) == 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the rows have no columns");
    }
    if (self->what->schema != NULL) {
        self->schema = qn_strdup(self->what->schema);
        self->table = qn_strdup(self->what->table);
        if (self->schema == NULL || self->table == NULL) {
            return qn__no_memory(err);
        }
    } else {
        QN_TRY(qn_sql_split_table(self->dialect, self->what->table, &self->schema, &self->table, err));
    }
    QN_TRY(look_up_columns(self, err));
    QN_TRY(qn_sqlite_batch_table_init(&self->rows, rows, self->what->rows_schema, self->affinities, err));
    QN_TRY(qn_sqlite_batch_table_attach(self->connection, &self->rows, err));
    self->attached = true;
    int64_t before = sqlite3_total_changes64(self->connection->db);
    QN_TRY(self->what->mode == QN_INGEST_APPEND ? append(self, err) : merge(self, err));
    if (rows_out != NULL) {
        *rows_out =
            sqlite3_total_changes64(self->connection->db) != before ? sqlite3_changes64(self->connection->db) : 0;
    }
    return QN_OK;
}

enum qn_status qn_sqlite_ingest(void *connection, const struct qn_driver_ingest *ingest, struct ArrowArrayStream *rows,
                                int64_t *rows_out, struct qn_error *err)
{
    struct ingest self = { .connection = connection, .what = ingest };
    self.dialect = qn__driver_sqlite.dialect;
    qn_sqlite_run_begin(connection, 0);
    enum qn_status status = run(&self, rows, rows_out, err);
    dispose(&self);
    qn_sqlite_run_end(connection);
    return status;
}
