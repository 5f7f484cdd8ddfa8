/*
 * driver.c (sqlite): the driver's table of functions and the SQL of its dialect.
 *
 * SQLite is serialisable always, so every isolation level begins alike. A transaction that may write takes the write lock
 * at its beginning, where SQLite waits for it: one that has read cannot wait for the lock any more and would fail at once.
 * A read-only transaction begins with a text of its own that query.c knows: SQLite has no statement for it, but a switch
 * that refuses writes.
 */
#include "db/driver_table.h"
#include "db/sqlite/sqlite.h"

#define BEGIN "begin immediate"

/* The first SELECT of each union has no rows: it lends its declared types to the columns, which the table-valued pragmas do
 * not have. */
static const char tables_sql[] = "select type as \"schema\", name as name, type as kind from sqlite_schema where 0 "
                                 "union all select \"schema\", name, type from pragma_table_list "
                                 "where type <> 'shadow' and name not like 'sqlite\\_%' escape '\\' order by 1, 2";

static const char tables_in_schema_sql[] =
    "select type as \"schema\", name as name, type as kind from sqlite_schema where 0 "
    "union all select \"schema\", name, type from pragma_table_list "
    "where type <> 'shadow' and name not like 'sqlite\\_%' escape '\\' and \"schema\" = ?1 collate nocase order by 1, "
    "2";

static const char columns_sql[] =
    "select name as name, type as type, rootpage as nullable, type as \"default\", rootpage as primary_key "
    "from sqlite_schema where 0 union all select * from (select name, type, "
    "\"notnull\" = 0 and not (pk = 1 and upper(type) = 'INTEGER' and 1 = (select count(*) from pragma_table_xinfo(?2, "
    "?1) "
    "where pk > 0)), dflt_value, nullif(pk, 0) "
    "from pragma_table_xinfo(?2, ?1) where hidden <> 1 order by cid)";

static const struct qn_dialect dialect = {
    .struct_size = sizeof(struct qn_dialect),
    .name = "sqlite",
    .placeholder = QN_PLACEHOLDER_NUMBERED,
    .quote_open = '"',
    .quote_close = '"',
    .bracket_quotes = true,
    .backtick_quotes = true,
    .begin = { BEGIN, BEGIN, BEGIN, BEGIN },
    .begin_read_only = { QN_SQLITE_BEGIN_READ_ONLY, QN_SQLITE_BEGIN_READ_ONLY, QN_SQLITE_BEGIN_READ_ONLY,
                         QN_SQLITE_BEGIN_READ_ONLY },
    .tables_sql = tables_sql,
    .tables_in_schema_sql = tables_in_schema_sql,
    .columns_sql = columns_sql,
    .column_type = qn_sqlite_column_type,
};

static const char *const aliases[] = { "sqlite3", NULL };

const struct qn_driver qn__driver_sqlite = {
    .struct_size = sizeof(struct qn_driver),
    .version = QN_DRIVER_VERSION,
    .name = "sqlite",
    .aliases = aliases,
    .dialect = &dialect,
    .open = qn_sqlite_open,
    .close = qn_sqlite_close,
    .abandon = qn_sqlite_abandon,
    .is_open = qn_sqlite_is_open,
    .ping = qn_sqlite_ping,
    .cancel = qn_sqlite_cancel,
    .transaction_state = qn_sqlite_transaction_state,
    .query = qn_sqlite_query,
    .execute_many = qn_sqlite_execute_many,
    .ingest = qn_sqlite_ingest,
};
