/*
 * statement.c (sqlite): preparing statements, and the cache of the last ones.
 *
 * A text is one statement: what follows it may only be blanks, semicolons and comments. A cached statement that its schema
 * has outgrown is prepared again by SQLite inside its first step, so callers describe columns after that step.
 */
#include "db/sqlite/sqlite.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

int32_t qn_sqlite_position(const char *sql, int offset)
{
    int32_t position = 1;
    for (int i = 0; i < offset && sql[i]; i++) {
        position += (sql[i] & 0xC0) != 0x80; /* continuation bytes belong to the character before */
    }
    return position;
}

/* Past blanks, comments and semicolons. */
static const char *skip_blank(const char *at)
{
    for (;;) {
        if (qn_ascii_space(*at) || *at == ';') {
            at++;
        } else if (at[0] == '-' && at[1] == '-') {
            at += strcspn(at, "\n");
        } else if (at[0] == '/' && at[1] == '*') {
            const char *end = strstr(at + 2, "*/");
            at = end != NULL ? end + 2 : at + strlen(at);
        } else {
            return at;
        }
    }
}

/* Does sqlite3_changes64 speak of this statement? */
static bool counts_changes(const char *sql, sqlite3_stmt *stmt)
{
    static const char *const words[] = { "insert", "update", "delete", "replace", "with" };
    const char *at = skip_blank(sql);
    if (sqlite3_stmt_readonly(stmt) || sqlite3_stmt_isexplain(stmt)) {
        return false;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (qn_text_starts_nocase(at, words[i])) {
            return true;
        }
    }
    return false;
}

static enum qn_status prepare(struct qn_sqlite *self, const char *sql, size_t size, unsigned flags, sqlite3_stmt **out,
                              struct qn_error *err)
{
    const char *tail = sql;
    sqlite3_stmt *stmt = NULL;
    if (size > INT32_MAX - 1) {
        return qn_error_set(err, QN_ERR_QUERY, "the statement has %zu bytes: SQLite takes 2 GiB at most", size);
    }
    int code = sqlite3_prepare_v3(self->db, sql, (int)size + 1, flags, &stmt, &tail);
    if (code != SQLITE_OK) {
        return qn_sqlite_error(self, code, sql, err);
    }
    const char *rest = tail != NULL ? skip_blank(tail) : "";
    if (stmt == NULL) {
        (void)qn_error_set(err, QN_ERR_QUERY, "the statement is empty");
        if (err != NULL) {
            QN_ERROR_COPY(err->sqlstate, "42601", 5);
        }
        return QN_ERR_QUERY;
    }
    if (*rest != '\0') {
        sqlite3_finalize(stmt);
        (void)qn_error_set(err, QN_ERR_QUERY, "the text holds more than one statement");
        qn_error_hint(err, "run one statement a call");
        if (err != NULL) {
            QN_ERROR_COPY(err->sqlstate, "42601", 5);
            err->position = qn_sqlite_position(sql, (int)(rest - sql));
        }
        return QN_ERR_QUERY;
    }
    *out = stmt;
    return QN_OK;
}

static void forget(struct qn_sqlite_statement *statement)
{
    (void)sqlite3_finalize(statement->stmt);
    qn_sqlite_plan_unref(statement->plan);
    qn_free(statement->sql);
    *statement = (struct qn_sqlite_statement){ .stmt = NULL };
}

/* A statement of its own outside of the cache. */
static enum qn_status take_alone(struct qn_sqlite *self, const char *sql, size_t size, struct qn_sqlite_statement **out,
                                 struct qn_error *err)
{
    struct qn_sqlite_statement *statement = qn_calloc(1, sizeof *statement);
    if (statement == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = prepare(self, sql, size, 0, &statement->stmt, err);
    if (status != QN_OK) {
        qn_free(statement);
        return status;
    }
    statement->alone = true;
    statement->changes = counts_changes(sql, statement->stmt);
    *out = statement;
    return QN_OK;
}

enum qn_status qn_sqlite_statement_take(struct qn_sqlite *self, const char *sql, size_t size,
                                        struct qn_sqlite_statement **out, struct qn_error *err)
{
    struct qn_sqlite_statement *oldest = NULL;
    for (int i = 0; i < QN_SQLITE_CACHED_STATEMENTS; i++) {
        struct qn_sqlite_statement *it = &self->statements[i];
        if (it->busy) {
            continue;
        }
        if (it->stmt != NULL && it->sql_size == size && memcmp(it->sql, sql, size) == 0) {
            it->busy = true;
            it->used = ++self->tick;
            *out = it;
            return QN_OK;
        }
        if (oldest == NULL || it->used < oldest->used) {
            oldest = it;
        }
    }
    if (oldest == NULL || size > QN_SQLITE_CACHED_SQL_MAX) {
        return take_alone(self, sql, size, out, err);
    }
    char *qn_auto_free copy = qn_strndup(sql, size);
    sqlite3_stmt *stmt = NULL;
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(prepare(self, sql, size, SQLITE_PREPARE_PERSISTENT, &stmt, err));
    forget(oldest);
    *oldest = (struct qn_sqlite_statement){
        .stmt = stmt,
        .sql = qn_steal(&copy),
        .sql_size = size,
        .used = ++self->tick,
        .busy = true,
        .changes = counts_changes(sql, stmt),
    };
    *out = oldest;
    return QN_OK;
}

void qn_sqlite_statement_put(struct qn_sqlite *self, struct qn_sqlite_statement *statement)
{
    if (statement == NULL) {
        return;
    }
    /* After the end of a statement this repeats its outcome, which has been seen. A write with RETURNING that is closed
     * before its last row commits here, and nobody is left to hear that it could not. */
    bool open = sqlite3_stmt_busy(statement->stmt) && !sqlite3_stmt_readonly(statement->stmt);
    if (sqlite3_reset(statement->stmt) != SQLITE_OK && open) {
        QN_LOG(QN_LOG_WARNING, "sqlite", "\"%s\": a write that was closed early was not committed: %s", self->path,
               sqlite3_errmsg(self->db));
    }
    (void)sqlite3_clear_bindings(statement->stmt);
    if (statement->alone) {
        forget(statement);
        qn_free(statement);
        return;
    }
    statement->busy = false;
}

void qn_sqlite_statements_clear(struct qn_sqlite *self)
{
    for (int i = 0; i < QN_SQLITE_CACHED_STATEMENTS; i++) {
        forget(&self->statements[i]);
    }
}
