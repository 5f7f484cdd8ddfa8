/*
 * driver.h: what a database driver implements. Version 1.
 *
 * A driver is a static const struct of functions, each marked REQUIRED or OPTIONAL (NULL), that the engine calls only
 * through checked wrappers. The engine does what is the same everywhere: URIs, placeholders, quoting, SQL of the
 * catalogue and of transactions, one thread at a time, fork safety, matching columns by name. A driver gets statements
 * in its own placeholders, and returns rows as Arrow.
 *
 * Threads: the engine calls a driver's connection from one thread at a time; `cancel` alone comes from any thread at any
 * time between open and close. After a fork the engine calls nothing but `abandon` in the child.
 * Interrupts: a call that blocks asks qn_interrupt_poll() at least every 100 ms.
 */
#ifndef QANAT_PLUGIN_DRIVER_H
#define QANAT_PLUGIN_DRIVER_H

#include <qanat/database.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QN_DRIVER_VERSION 1

enum qn_placeholder_style {
    QN_PLACEHOLDER_DOLLAR = 1, /* $1: PostgreSQL */
    QN_PLACEHOLDER_NUMBERED,   /* ?1: SQLite */
    QN_PLACEHOLDER_AT          /* @p1: SQL Server */
};

/* How SQL is written for this database. Everything here is data; a NULL text means that the database has no such thing. */
struct qn_dialect {
    size_t struct_size;
    const char *name;
    enum qn_placeholder_style placeholder;
    char quote_open, quote_close; /* of identifiers; the closing one is doubled inside */
    bool bracket_quotes;          /* [x] also quotes an identifier */
    bool backtick_quotes;         /* `x` also quotes an identifier */
    bool dollar_quotes;           /* $tag$ ... $tag$ is a string literal */
    bool escape_strings;          /* E'...' has backslash escapes */
    bool nested_comments;         /* block comments nest */
    bool question_operators;      /* ?, ?| and ?& may be operators: ?? writes a literal ? */
    const char *default_schema;   /* of unqualified names, where a fixed one exists */
    const char *begin[4];         /* by enum qn_isolation; NULL: unsupported */
    const char *begin_read_only[4];
    /* One statement, no parameters: the catalogue's tables (schema, name, kind), without and with one parameter. */
    const char *tables_sql, *tables_in_schema_sql;
    /* Two parameters, schema (null: by search path) and table: name, type, nullable, default, primary_key. */
    const char *columns_sql;
    /* The SQL type that a new table's column gets for an Arrow type, or NULL for an error. `field` is the column's
     * schema. `buffer` is for types with parameters. */
    const char *(*column_type)(const struct ArrowSchema *field, char buffer[64]);
    /* Bytes of the longest name where the database cuts longer ones without a word: they are refused. 0: no limit. */
    size_t max_identifier;
};

/* A statement ready for the database. All of it, options and parameters included, is borrowed for the call. */
struct qn_statement {
    size_t struct_size;
    const char *sql; /* in the driver's own placeholders, NUL-terminated */
    size_t sql_size;
    const char *sql_given; /* the text before placeholders were rewritten, for errors */
    /* Parameters: a struct schema and an array of as many rows as the call takes (one for query), or NULL. Column i is
     * placeholder i + 1, whatever the columns' names. A field whose metadata has "qanat.kind" = "json" or "uuid" is a
     * text that the database should take as that type. */
    const struct ArrowSchema *params_schema;
    const struct ArrowArray *params;
    const struct qn_query_options *options; /* never NULL, defaults filled in */
};

/* A result that is being read. The engine calls `next` until it ends or fails, then `close`. */
struct qn_cursor_ops {
    size_t struct_size;
    /* REQUIRED. The struct schema of the rows; zero children where the statement returns none. */
    enum qn_status (*schema)(void *cursor, struct ArrowSchema *out, struct qn_error *err);
    /* REQUIRED. The next batch (a struct array), or out->release == NULL at the end. */
    enum qn_status (*next)(void *cursor, struct ArrowArray *out, struct qn_error *err);
    /* REQUIRED. Rows that the statement changed, or returned; -1 while unknown. */
    int64_t (*rows_affected)(void *cursor);
    /* REQUIRED. Cancel what still runs, leave the connection ready for the next statement (or closed where that
     * fails), and free the cursor. */
    void (*close)(void *cursor);
};
struct qn_cursor {
    const struct qn_cursor_ops *ops;
    void *self;
};

/* A bulk write. The engine has resolved the mode to what the driver must do to an existing table. */
struct qn_driver_ingest {
    size_t struct_size;
    const char *schema; /* or NULL: by search path */
    const char *table;
    enum qn_ingest_mode mode; /* APPEND, UPSERT or IGNORE */
    const char *const *key;
    size_t n_key;
    const struct ArrowSchema *rows_schema; /* of the stream: its field names are the target columns */
};

enum qn_transaction_state {
    QN_TRANSACTION_NONE = 0,
    QN_TRANSACTION_OPEN,
    QN_TRANSACTION_FAILED /* only a rollback is possible */
};

struct qn_driver {
    size_t struct_size;
    uint32_t version;           /* QN_DRIVER_VERSION */
    const char *name;           /* "postgres" */
    const char *const *aliases; /* also URI schemes; NULL-terminated, or NULL */
    const struct qn_dialect *dialect;

    /* REQUIRED. Connect. `config` is borrowed for the call. */
    enum qn_status (*open)(const struct qn_config *config, void **connection_out, struct qn_error *err);
    /* REQUIRED. Say goodbye and free. No cursor is open. */
    void (*close)(void *connection);
    /* REQUIRED. Free memory and close descriptors, but send nothing and touch no file: the child after a fork. */
    void (*abandon)(void *connection);
    /* REQUIRED. False once the link is known to be gone; asks nobody. */
    bool (*is_open)(const void *connection);
    /* REQUIRED. Ask the server. */
    enum qn_status (*ping)(void *connection, struct qn_error *err);
    /* REQUIRED. Any thread. */
    enum qn_status (*cancel)(void *connection, struct qn_error *err);
    /* REQUIRED. */
    enum qn_transaction_state (*transaction_state)(const void *connection);
    /* REQUIRED. Run one statement with at most one row of parameters. */
    enum qn_status (*query)(void *connection, const struct qn_statement *statement, struct qn_cursor *out,
                            struct qn_error *err);
    /* OPTIONAL. Run one statement once per row of `rows`, inside the open transaction. params_schema and params of
     * `statement` are NULL. `column_of` maps placeholder i to a column of `rows`. Without it the engine calls query for
     * each row. */
    enum qn_status (*execute_many)(void *connection, const struct qn_statement *statement, const int32_t *column_of,
                                   size_t n_placeholders, struct ArrowArrayStream *rows, int64_t *rows_affected_out,
                                   struct qn_error *err);
    /* REQUIRED. Bulk write into an existing table, inside the open transaction, all or nothing (the engine rolls back). */
    enum qn_status (*ingest)(void *connection, const struct qn_driver_ingest *ingest, struct ArrowArrayStream *rows,
                             int64_t *rows_out, struct qn_error *err);
};

/* Add a driver to the process's table, for URIs with its name or aliases. Checks version and required functions.
 * `driver` and all it points to must live as long as the process. Call before other threads use the library. */
QN_API enum qn_status qn_driver_register(const struct qn_driver *driver, struct qn_error *err) QN_MUST_CHECK;

/* The index-th driver, built-in ones first, or NULL past the last. */
QN_API const struct qn_driver *qn_driver_at(size_t index);

/* QN_ERR_CANCELLED where the process's interrupt callback says so. */
QN_API enum qn_status qn_interrupt_poll(struct qn_error *err) QN_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
