/*
 * error.c (sqlite): SQLite's extended result codes and messages as the one family of errors.
 *
 * SQLite has no SQLSTATE: the code is chosen by meaning. Table and column come out of the message ("UNIQUE constraint
 * failed: t.a, t.b"), which is the only place that has them. A table that does not exist brings the names that are near.
 * A file that is damaged or that the system cannot read is QN_ERR_IO; at connect every such failure is QN_ERR_CONNECTION.
 */
#include "db/sqlite/sqlite.h"

#include "base/text.h"

#include <stdio.h>

#define NEAR_TABLES_MAX 1000 /* names looked at for a hint */

static void set_state(struct qn_error *err, const char *sqlstate)
{
    if (err != NULL) {
        QN_ERROR_COPY(err->sqlstate, sqlstate, 5);
    }
}

/* "t.a, t.b" or "index 'name'": table and first column, or the index as the constraint. */
static void place_constraint(struct qn_error *err, const char *at)
{
    if (err == NULL) {
        return;
    }
    if (strncmp(at, "index '", 7) == 0) {
        QN_ERROR_COPY(err->constraint_name, at + 7, strcspn(at + 7, "'"));
        return;
    }
    size_t size = strcspn(at, ",");
    const char *dot = memrchr(at, '.', size);
    if (dot != NULL) {
        QN_ERROR_COPY(err->table_name, at, (size_t)(dot - at));
        QN_ERROR_COPY(err->column_name, dot + 1, size - (size_t)(dot - at) - 1);
    }
}

/* A table of constraint messages: the words that SQLite says before the place. */
static enum qn_status constraint_error(int code, const char *message, struct qn_error *err)
{
    const char *colon = strstr(message, "failed: ");
    const char *place = colon != NULL ? colon + 8 : "";
    (void)qn_error_set(err, QN_ERR_CONSTRAINT, "%s", message);
    switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        set_state(err, "23505");
        place_constraint(err, place);
        break;
    case SQLITE_CONSTRAINT_NOTNULL:
        set_state(err, "23502");
        place_constraint(err, place);
        break;
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        set_state(err, "23503");
        break;
    case SQLITE_CONSTRAINT_CHECK:
        set_state(err, "23514");
        if (err != NULL) {
            QN_ERROR_COPY(err->constraint_name, place, strlen(place));
        }
        break;
    case SQLITE_CONSTRAINT_DATATYPE: /* a STRICT table: "cannot store TEXT value in INTEGER column t.c" */
        set_state(err, "22000");
        if (err != NULL && strstr(message, " column ") != NULL) {
            place_constraint(err, strstr(message, " column ") + 8);
        }
        break;
    default:
        set_state(err, "23000");
        break;
    }
    return QN_ERR_CONSTRAINT;
}

/* ---- names that are near ---- */

/* Name the tables whose names are like `name` in the hint. Runs a statement of its own on the connection. */
static void hint_near_tables(struct qn_sqlite *self, const char *name, struct qn_error *err)
{
    sqlite3_stmt *stmt = NULL;
    char near[256] = "";
    size_t used = 0;
    int seen = 0;
    if (err == NULL || sqlite3_prepare_v2(self->db,
                                          "select name from sqlite_schema where type in ('table', 'view') union "
                                          "select name from sqlite_temp_schema where type in ('table', 'view')",
                                          -1, &stmt, NULL) != SQLITE_OK) {
        return;
    }
    while (seen++ < NEAR_TABLES_MAX && sqlite3_step(stmt) == SQLITE_ROW) {
        const char *other = (const char *)sqlite3_column_text(stmt, 0);
        if (other == NULL || !qn_text_is_near(name, qn_text_distance_nocase(name, other)) ||
            used + strlen(other) + 5 > sizeof near) {
            continue;
        }
        used += (size_t)snprintf(near + used, sizeof near - used, "%s\"%s\"", used > 0 ? ", " : "", other);
    }
    sqlite3_finalize(stmt);
    if (used > 0) {
        qn_error_hint(err, "did you mean %s?", near);
    }
}

/* ---- SQLITE_ERROR, whose message alone says what it is ---- */

static bool starts(const char *message, const char *prefix)
{
    return strncmp(message, prefix, strlen(prefix)) == 0;
}

static void classify_message(struct qn_sqlite *self, const char *message, struct qn_error *err)
{
    if (starts(message, "no such table: ")) {
        const char *name = message + 15;
        const char *dot = strchr(name, '.');
        set_state(err, "42P01");
        if (err != NULL) {
            QN_ERROR_COPY(err->table_name, dot != NULL ? dot + 1 : name, strlen(dot != NULL ? dot + 1 : name));
        }
        hint_near_tables(self, dot != NULL ? dot + 1 : name, err);
    } else if (starts(message, "no such column: ") || strstr(message, " has no column named ") != NULL ||
               starts(message, "no such table column: ")) {
        const char *name = starts(message, "no such column: ") ? message + 16 : strrchr(message, ' ') + 1;
        const char *dot = strrchr(name, '.');
        set_state(err, "42703");
        if (err != NULL) {
            QN_ERROR_COPY(err->column_name, dot != NULL ? dot + 1 : name, strlen(dot != NULL ? dot + 1 : name));
        }
    } else if (strstr(message, "already exists") != NULL) {
        set_state(err, strstr(message, "index ") != NULL ? "42710" : "42P07");
    } else if (strstr(message, "syntax error") != NULL || starts(message, "incomplete input") ||
               starts(message, "unrecognized token")) {
        set_state(err, "42601");
    } else if (starts(message, "ambiguous column name")) {
        set_state(err, "42702");
    } else if (starts(message, "no such function")) {
        set_state(err, "42883");
    } else if (strstr(message, "cannot start a transaction within") != NULL) {
        set_state(err, "25001");
    } else if (strstr(message, "no transaction is active") != NULL) {
        set_state(err, "25P01");
    } else if (starts(message, "no such savepoint")) {
        set_state(err, "3B001");
    } else if (starts(message, "ON CONFLICT clause does not match")) {
        set_state(err, "42P10");
        qn_error_hint(err, "the key needs a primary key or a unique index over exactly these columns");
    } else {
        set_state(err, "42000");
    }
}

/* ---- the whole ---- */

/* The statement was stopped by us: say by whom. */
static enum qn_status stop_error(struct qn_sqlite *self, struct qn_error *err)
{
    switch (self->stop) {
    case QN_SQLITE_INTERRUPTED:
        if (err != NULL) {
            *err = self->stop_error;
        }
        return self->stop_error.status;
    case QN_SQLITE_TIMED_OUT:
        (void)qn_error_set(err, QN_ERR_TIMEOUT, "the statement passed its time limit");
        set_state(err, "57014");
        if (err != NULL) {
            err->retryable = true;
        }
        return QN_ERR_TIMEOUT;
    default:
        (void)qn_error_set(err, QN_ERR_CANCELLED, "the statement was cancelled");
        set_state(err, "57014");
        return QN_ERR_CANCELLED;
    }
}

static enum qn_status locked_error(struct qn_sqlite *self, int code, const char *message, struct qn_error *err)
{
    bool stale = code == SQLITE_BUSY_SNAPSHOT;
    if ((code & 0xFF) == SQLITE_BUSY && !stale) {
        (void)qn_error_set(err, QN_ERR_QUERY, "\"%s\" is locked by another connection: %s", self->path, message);
        qn_error_hint(err, "the option timeout says how long to wait for a lock");
    } else {
        (void)qn_error_set(err, QN_ERR_QUERY, "\"%s\": %s", self->path, message);
    }
    set_state(err, stale ? "40001" : "55P03");
    if (err != NULL) {
        err->retryable = true;
    }
    return QN_ERR_QUERY;
}

/* Failures of the file or the system, which name the path. */
static enum qn_status file_error(struct qn_sqlite *self, int code, const char *message, struct qn_error *err)
{
    enum qn_status status = QN_ERR_IO;
    const char *state = "58030";
    switch (code & 0xFF) {
    case SQLITE_READONLY:
        status = QN_ERR_QUERY;
        state = "25006";
        break;
    case SQLITE_FULL:
        status = QN_ERR_QUERY;
        state = "53100";
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        state = "XX001";
        break;
    default:
        break;
    }
    int reason = (code & 0xFF) == SQLITE_IOERR || (code & 0xFF) == SQLITE_CANTOPEN ? sqlite3_system_errno(self->db) : 0;
    (void)qn_error_set(err, status, "\"%s\": %s%s%s", self->path, message, reason != 0 ? ": " : "",
                       reason != 0 ? strerror(reason) : "");
    set_state(err, state);
    return status;
}

/* The text before SQLite's own words may hold values; SQLite's messages do not. */
enum qn_status qn_sqlite_error(struct qn_sqlite *self, int code, const char *sql, struct qn_error *err)
{
    char message[512];
    int offset = sql != NULL ? sqlite3_error_offset(self->db) : -1;
    (void)snprintf(message, sizeof message, "%s", sqlite3_errmsg(self->db));
    if (sqlite3_errcode(self->db) != SQLITE_OK && (sqlite3_errcode(self->db) & 0xFF) == (code & 0xFF)) {
        code = sqlite3_extended_errcode(self->db);
    } else if (sqlite3_errcode(self->db) == SQLITE_OK) {
        (void)snprintf(message, sizeof message, "%s", sqlite3_errstr(code));
    }
    bool stopped = self->stop != QN_SQLITE_GOES_ON || atomic_load(&self->cancelled);
    if ((code & 0xFF) == SQLITE_INTERRUPT || ((code & 0xFF) == SQLITE_BUSY && stopped)) {
        return stop_error(self, err);
    }
    switch (code & 0xFF) {
    case SQLITE_NOMEM:
        return qn__no_memory(err);
    case SQLITE_CONSTRAINT:
        return constraint_error(code, message, err);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return locked_error(self, code, message, err);
    case SQLITE_READONLY:
    case SQLITE_FULL:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
        return file_error(self, code, message, err);
    case SQLITE_TOOBIG:
        (void)qn_error_set(err, QN_ERR_DATA, "%s: SQLite's limit is %d bytes", message,
                           sqlite3_limit(self->db, SQLITE_LIMIT_LENGTH, -1));
        set_state(err, "54000");
        return QN_ERR_DATA;
    case SQLITE_MISMATCH:
        (void)qn_error_set(err, QN_ERR_DATA, "%s: the value cannot be a row id", message);
        set_state(err, "42804");
        return QN_ERR_DATA;
    case SQLITE_MISUSE:
        return qn_error_set(err, QN_ERR_INTERNAL, "sqlite was misused: %s", message);
    default:
        (void)qn_error_set(err, QN_ERR_QUERY, "%s", message);
        if (offset >= 0 && err != NULL) {
            err->position = qn_sqlite_position(sql, offset);
        }
        classify_message(self, message, err);
        return QN_ERR_QUERY;
    }
}
