/*
 * transaction.c: transactions and savepoints by the dialect's SQL.
 *
 * `depth` counts what is open: 1 is the transaction, n > 1 the savepoint qn_<n-1>. The database has the last word: after
 * every call depth is made to agree with the driver's transaction state, so BEGIN and COMMIT by SQL are seen.
 */
#include "base/text.h"
#include "db/connection.h"

#include <stdio.h>

#define IMPLICIT_SAVEPOINT "qn_implicit"

static enum qn_transaction_state state_of(const struct qn_connection *connection)
{
    return connection->driver->transaction_state(connection->handle);
}

static enum qn_status run_numbered(struct qn_connection *connection, const char *format_before, int number,
                                   struct qn_error *err)
{
    char sql[64];
    (void)snprintf(sql, sizeof sql, "%s qn_%d", format_before, number);
    return qn__connection_run(connection, sql, err);
}

static const char *isolation_name(enum qn_isolation isolation)
{
    static const char *const names[] = { "default", "read committed", "repeatable read", "serializable" };
    return names[isolation];
}

/* On a connection that was opened to read only, every transaction is read-only: one that may write could take locks. */
static const char *begin_sql(const struct qn_connection *connection, enum qn_isolation isolation)
{
    const struct qn_dialect *dialect = connection->driver->dialect;
    const char *read_only = connection->read_only ? dialect->begin_read_only[isolation] : NULL;
    return read_only != NULL ? read_only : dialect->begin[isolation];
}

static enum qn_status begin_outer(struct qn_connection *connection, enum qn_isolation isolation, bool read_only,
                                  struct qn_error *err)
{
    const struct qn_dialect *dialect = connection->driver->dialect;
    const char *sql = read_only ? dialect->begin_read_only[isolation] : begin_sql(connection, isolation);
    if (sql == NULL) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s has no %stransactions with the isolation \"%s\"",
                            dialect->name, read_only ? "read-only " : "", isolation_name(isolation));
    }
    QN_TRY(qn__connection_run(connection, sql, err));
    atomic_store(&connection->depth, 1);
    return QN_OK;
}

static enum qn_status begin_inner(struct qn_connection *connection, enum qn_isolation isolation, bool read_only,
                                  struct qn_error *err)
{
    if (isolation != QN_ISOLATION_DEFAULT || read_only) {
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            "a transaction inside another one is a savepoint: it has the isolation and access mode of "
                            "the outer one");
    }
    int depth = atomic_load(&connection->depth);
    QN_TRY(run_numbered(connection, "savepoint", depth, err));
    atomic_store(&connection->depth, depth + 1);
    return QN_OK;
}

enum qn_status qn_connection_begin(struct qn_connection *connection, enum qn_isolation isolation, bool read_only,
                                   struct qn_error *err)
{
    if ((int)isolation < QN_ISOLATION_DEFAULT || (int)isolation > QN_ISOLATION_SERIALIZABLE) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "isolation %d is unknown", (int)isolation);
    }
    QN_TRY(qn__connection_enter(connection, err));
    qn__connection_sync_depth(connection);
    enum qn_status status = atomic_load(&connection->depth) == 0 ? begin_outer(connection, isolation, read_only, err)
                                                                 : begin_inner(connection, isolation, read_only, err);
    qn__connection_leave(connection);
    return status;
}

/* Roll back the innermost; the caller has seen that there is one. */
static enum qn_status rollback_innermost(struct qn_connection *connection, struct qn_error *err)
{
    int depth = atomic_load(&connection->depth);
    if (depth > 1) {
        QN_TRY(run_numbered(connection, "rollback to savepoint", depth - 1, err));
        QN_TRY(run_numbered(connection, "release savepoint", depth - 1, err));
    } else {
        QN_TRY(qn__connection_run(connection, "rollback", err));
    }
    atomic_store(&connection->depth, depth - 1);
    return QN_OK;
}

static enum qn_status commit_innermost(struct qn_connection *connection, struct qn_error *err)
{
    int depth = atomic_load(&connection->depth);
    if (state_of(connection) == QN_TRANSACTION_FAILED) {
        QN_TRY(rollback_innermost(connection, err));
        qn_error_set(err, QN_ERR_QUERY, "the transaction has failed and can only be rolled back, which was done");
        if (err != NULL) {
            QN_ERROR_COPY(err->sqlstate, "25P02", 5);
        }
        return QN_ERR_QUERY;
    }
    if (depth > 1) {
        QN_TRY(run_numbered(connection, "release savepoint", depth - 1, err));
    } else {
        QN_TRY(qn__connection_run(connection, "commit", err));
    }
    atomic_store(&connection->depth, depth - 1);
    return QN_OK;
}

static enum qn_status end_transaction(struct qn_connection *connection, const char *what,
                                      enum qn_status (*end)(struct qn_connection *, struct qn_error *),
                                      struct qn_error *err)
{
    QN_TRY(qn__connection_enter(connection, err));
    qn__connection_sync_depth(connection);
    enum qn_status status;
    if (atomic_load(&connection->depth) == 0) {
        status = qn_error_set(err, QN_ERR_QUERY, "%s: no transaction is open", what);
        if (err != NULL) {
            QN_ERROR_COPY(err->sqlstate, "25P01", 5);
        }
    } else {
        status = end(connection, err);
    }
    qn__connection_leave(connection);
    return status;
}

enum qn_status qn_connection_commit(struct qn_connection *connection, struct qn_error *err)
{
    return end_transaction(connection, "commit", commit_innermost, err);
}

enum qn_status qn_connection_rollback(struct qn_connection *connection, struct qn_error *err)
{
    return end_transaction(connection, "rollback", rollback_innermost, err);
}

/* ---- transactions of the engine's own ---- */

enum qn_status qn__implicit_begin(struct qn_connection *connection, struct qn_implicit *implicit, struct qn_error *err)
{
    implicit->savepoint = state_of(connection) != QN_TRANSACTION_NONE;
    return qn__connection_run(
        connection, implicit->savepoint ? "savepoint " IMPLICIT_SAVEPOINT : begin_sql(connection, QN_ISOLATION_DEFAULT),
        err);
}

/* What failed is what the caller hears about: a rollback that fails as well leaves a lost or failed connection, which the
 * next call reports. */
static void implicit_rollback(struct qn_connection *connection, const struct qn_implicit *implicit)
{
    if (!connection->driver->is_open(connection->handle) || state_of(connection) == QN_TRANSACTION_NONE) {
        return;
    }
    if (!implicit->savepoint) {
        (void)!qn__connection_run(connection, "rollback", NULL);
    } else if (qn__connection_run(connection, "rollback to savepoint " IMPLICIT_SAVEPOINT, NULL) == QN_OK) {
        (void)!qn__connection_run(connection, "release savepoint " IMPLICIT_SAVEPOINT, NULL);
    }
}

enum qn_status qn__implicit_end(struct qn_connection *connection, const struct qn_implicit *implicit,
                                enum qn_status status, struct qn_error *err)
{
    if (status == QN_OK) {
        status = qn__connection_run(connection,
                                    implicit->savepoint ? "release savepoint " IMPLICIT_SAVEPOINT : "commit", err);
    }
    if (status != QN_OK) {
        implicit_rollback(connection, implicit);
    }
    return status;
}
