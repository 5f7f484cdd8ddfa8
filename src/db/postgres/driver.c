/*
 * driver.c: the driver's struct of functions (include/qanat/plugin/driver.h). Built in: db/driver_table.h names it.
 */
#include "db/driver_table.h"
#include "db/postgres/postgres.h"

static enum qn_status driver_open(const struct qn_config *config, void **connection_out, struct qn_error *err)
{
    struct qn_pg *pg = NULL;
    QN_TRY(qn_pg_open(config, &pg, err));
    *connection_out = pg;
    return QN_OK;
}

static void driver_close(void *connection)
{
    qn_pg_close(connection);
}

static void driver_abandon(void *connection)
{
    qn_pg_abandon(connection);
}

static bool driver_is_open(const void *connection)
{
    const struct qn_pg *pg = connection;
    return !pg->broken;
}

static enum qn_status driver_ping(void *connection, struct qn_error *err)
{
    return qn_pg_simple(connection, "", NULL, err);
}

static enum qn_status driver_cancel(void *connection, struct qn_error *err)
{
    return qn_pg_cancel(connection, err);
}

static enum qn_transaction_state driver_transaction_state(const void *connection)
{
    const struct qn_pg *pg = connection;
    switch (pg->transaction_status) {
    case 'T':
        return QN_TRANSACTION_OPEN;
    case 'E':
        return QN_TRANSACTION_FAILED;
    default:
        return QN_TRANSACTION_NONE;
    }
}

static const char *const aliases[] = { "postgresql", "pg", "psql", NULL };

const struct qn_driver qn__driver_postgres = {
    .struct_size = sizeof qn__driver_postgres,
    .version = QN_DRIVER_VERSION,
    .name = "postgres",
    .aliases = aliases,
    .dialect = &qn__dialect_postgres,
    .open = driver_open,
    .close = driver_close,
    .abandon = driver_abandon,
    .is_open = driver_is_open,
    .ping = driver_ping,
    .cancel = driver_cancel,
    .transaction_state = driver_transaction_state,
    .query = qn_pg_query,
    .execute_many = qn_pg_execute_many,
    .ingest = qn_pg_ingest,
};
