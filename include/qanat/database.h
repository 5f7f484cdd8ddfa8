/*
 * database.h: connections, statements, streams of rows and bulk writes, the same for every database.
 *
 * Threads: a connection is used by one thread at a time; a call on one that another thread is using returns
 * QN_ERR_BUSY at once (qn_connection_cancel alone may be called from any thread at any time). A connection with an open
 * stream is busy until the stream ends or is released; releasing it early cancels the statement. After a fork, the
 * child's calls return QN_ERR_CLOSED and freeing touches neither socket nor file.
 *
 * Strings are UTF-8 and end in NUL. What a function takes is borrowed for the call, what comes out by a `**out` or an
 * Arrow struct is the caller's. Blocking calls ask the interrupt callback (qanat.h) at least every 100 ms.
 */
#ifndef QANAT_DATABASE_H
#define QANAT_DATABASE_H

#include <qanat/error.h>
#include <qanat/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- configuration -------------------------------------------------------------------------------------------- */

struct qn_config;     /* a database's type, address, credentials and options: key and value texts */
struct qn_connection; /* an open connection */

/* Keys with a meaning of their own: "type" ("postgres", "sqlite", ... after aliases are resolved), "host" (several are
 * separated by commas), "port", "database", "username", "password", "path". All others are options of the driver or
 * connection parameters (sslmode, timeout, statement_timeout, application_name, read_only, ...). */

/* An empty configuration of a type; aliases ("postgresql") are resolved. Unknown type: QN_ERR_CONFIG, listing those
 * that are known. */
QN_API enum qn_status qn_config_new(const char *type, struct qn_config **out, struct qn_error *err) QN_MUST_CHECK;

/* Parse a URI as libpq and SQLAlchemy write them: `postgresql://u:p@h:5432/db?sslmode=require`, `sqlite:///rel.db`,
 * `sqlite:////abs.db`, `sqlite://:memory:`. Percent-encoding, IPv6 in brackets, several hosts, Unix socket folders
 * (percent-encoded host, or ?host=). The error never shows the password. */
QN_API enum qn_status qn_config_from_uri(const char *uri, struct qn_config **out, struct qn_error *err) QN_MUST_CHECK;

/* Set a key, or remove it where value is NULL. Aliases of keys ("user", "server", "dbname") are resolved. */
QN_API enum qn_status qn_config_set(struct qn_config *config, const char *key, const char *value,
                                    struct qn_error *err) QN_MUST_CHECK;

/* The value of a key, or NULL. Borrowed until the next qn_config_set. */
QN_API const char *qn_config_get(const struct qn_config *config, const char *key);

/* The index-th key and value in order of setting; false past the last. Both outputs are borrowed. */
QN_API bool qn_config_at(const struct qn_config *config, size_t index, const char **key_out, const char **value_out);

/* The URI that qn_config_from_uri turns into an equal configuration, with the password, or with "***" in its place.
 * Free the text with qn_free_text. */
enum qn_password_shown { QN_PASSWORD_MASKED = 0, QN_PASSWORD_SHOWN = 1 };
QN_API enum qn_status qn_config_to_uri(const struct qn_config *config, enum qn_password_shown shown, char **out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* NULL is allowed. The password is overwritten before its memory is freed. */
QN_API void qn_config_free(struct qn_config *config);
QN_API void qn_free_text(char *text);

/* ---- connections ---------------------------------------------------------------------------------------------- */

/* Open a connection to what `uri` names. */
QN_API enum qn_status qn_connection_open(const char *uri, struct qn_connection **out,
                                         struct qn_error *err) QN_MUST_CHECK;

/* Open a connection by a configuration, which is copied. */
QN_API enum qn_status qn_connection_open_config(const struct qn_config *config, struct qn_connection **out,
                                                struct qn_error *err) QN_MUST_CHECK;

/* Close: an open stream is cancelled, an open transaction is rolled back. Later calls return QN_ERR_CLOSED. Closing
 * twice is allowed. */
QN_API enum qn_status qn_connection_close(struct qn_connection *connection, struct qn_error *err);
QN_API bool qn_connection_is_closed(const struct qn_connection *connection);

/* Close where that has not happened, and free. A stream that is still open keeps what it needs alive and reports
 * QN_ERR_CLOSED. NULL is allowed. */
QN_API void qn_connection_free(struct qn_connection *connection);

/* Ask the server with a statement of its own whether the connection works. False also where it is busy or closed. */
QN_API bool qn_connection_is_alive(struct qn_connection *connection);

/* Cancel what the connection is doing now, from any thread; the call that is running returns QN_ERR_CANCELLED. Does
 * nothing where nothing runs. */
QN_API enum qn_status qn_connection_cancel(struct qn_connection *connection, struct qn_error *err);

/* The configuration it was opened with; borrowed, for the life of the connection. */
QN_API const struct qn_config *qn_connection_config(const struct qn_connection *connection);

/* ---- statements ----------------------------------------------------------------------------------------------- */

/* One value of a parameter row. Texts and bytes are borrowed for the call. */
enum qn_value_kind {
    QN_VALUE_NULL = 0,
    QN_VALUE_BOOL,
    QN_VALUE_INT64,
    QN_VALUE_UINT64,
    QN_VALUE_FLOAT64,
    QN_VALUE_DECIMAL, /* value = decimal.high * 2^64 + decimal.low (two's complement), times 10^-scale */
    QN_VALUE_TEXT,
    QN_VALUE_BYTES,
    QN_VALUE_DATE,      /* days since 1970-01-01 */
    QN_VALUE_TIME,      /* microseconds since midnight */
    QN_VALUE_TIMESTAMP, /* microseconds since 1970-01-01 00:00, wall clock without a zone */
    QN_VALUE_INSTANT,   /* microseconds since 1970-01-01 00:00 UTC */
    QN_VALUE_DURATION,  /* microseconds */
    QN_VALUE_UUID,      /* 16 bytes in `bytes` */
    QN_VALUE_JSON       /* JSON text in `bytes` */
};
struct qn_value {
    enum qn_value_kind kind;
    int32_t scale; /* of a decimal: 0 to 38 */
    union {
        bool boolean;
        int64_t int64; /* also dates, times, timestamps, instants, durations */
        uint64_t uint64;
        double float64;
        struct {
            uint64_t low;
            int64_t high;
        } decimal;
        struct {
            const char *data;
            size_t size;
        } bytes; /* also text, uuid, json */
    } as;
};

/* What to do with a value that the Arrow type cannot hold. The default is always the typed error. */
enum qn_policy { QN_POLICY_ERROR = 0, QN_POLICY_NULL, QN_POLICY_SATURATE, QN_POLICY_TEXT };

/* How a numeric without precision and scale arrives. */
enum qn_numeric { QN_NUMERIC_DECIMAL = 0, QN_NUMERIC_TEXT, QN_NUMERIC_FLOAT64 };

/* What `schema may be found from the values` means for a result: streams promise their schema first. */
enum qn_result_mode {
    QN_RESULT_STREAM = 0, /* batches of batch_rows as they arrive, bounded memory */
    QN_RESULT_WHOLE = 1   /* the whole result is read before the first batch is handed out: columns whose type only the
                             values tell (SQLite, numeric without scale) get the type that holds all of them exactly */
};

struct qn_type_override { /* the type that the caller wants for a result column, as a type string: "Utf8" */
    const char *column;
    const char *type;
};

struct qn_query_options {
    size_t struct_size;
    enum qn_result_mode result_mode;
    int64_t batch_rows;  /* rows per batch in stream mode; 0: 65,536 */
    int64_t batch_bytes; /* a batch ends early when its values pass this; 0: 16 MiB */
    enum qn_numeric numeric;
    enum qn_policy numeric_special; /* NaN and infinity in a numeric that goes to a decimal */
    enum qn_policy infinity;        /* infinity, -infinity and dates outside of Arrow's range */
    enum qn_policy invalid_date;    /* SQLite: text that does not parse as the declared date or time type */
    int64_t statement_timeout_ms;   /* 0: none besides the connection's own */
    const struct qn_type_override *types;
    size_t n_types;
};
#define QN_QUERY_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_query_options)                                                                 \
    }

/* A statement and its parameters. Placeholders are `?`, `:name` (with names) or the database's own ($1). Either no
 * parameters, or `values`: one row, with `names` for :name placeholders, otherwise NULL. */
struct qn_query {
    size_t struct_size;
    const char *sql;
    const struct qn_value *values;
    const char *const *names;
    size_t n_values;
    const struct qn_query_options *options; /* NULL: the defaults */
};
#define QN_QUERY_INIT                                                                                                  \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_query)                                                                         \
    }

/* Run a statement and stream its rows. A statement that returns no rows gives a stream of zero columns. The stream
 * shares the connection: it stays busy until the stream ends or is released. `rows_affected_out` (may be NULL) gets the
 * count that the database reports, -1 where it is not known yet or never. */
QN_API enum qn_status qn_connection_query(struct qn_connection *connection, const struct qn_query *query,
                                          struct ArrowArrayStream *out, int64_t *rows_affected_out,
                                          struct qn_error *err) QN_MUST_CHECK;

/* Run a statement for its effect and drop its rows. */
QN_API enum qn_status qn_connection_execute(struct qn_connection *connection, const struct qn_query *query,
                                            int64_t *rows_affected_out, struct qn_error *err) QN_MUST_CHECK;

/* Run a statement once per row of `rows` (columns by position, or by name for :name placeholders), in one transaction
 * of its own unless one is open: all or nothing. `rows` is read to its end but not released. Only `sql` and `options`
 * of `query` are used. The error's row names the row that failed. */
QN_API enum qn_status qn_connection_execute_many(struct qn_connection *connection, const struct qn_query *query,
                                                 struct ArrowArrayStream *rows, int64_t *rows_affected_out,
                                                 struct qn_error *err) QN_MUST_CHECK;

/* Rows affected by the last statement, final once its stream has ended; -1: unknown. */
QN_API int64_t qn_connection_rows_affected(const struct qn_connection *connection);

/* ---- tables --------------------------------------------------------------------------------------------------- */

enum qn_ingest_mode {
    QN_INGEST_APPEND = 0,
    QN_INGEST_CREATE,  /* the table must not exist */
    QN_INGEST_REPLACE, /* the table's rows are replaced in one transaction: readers never see it empty */
    QN_INGEST_UPSERT,  /* insert, or update the row that has the same key */
    QN_INGEST_IGNORE,  /* insert, or keep the row that has the same key */
    QN_INGEST_TRUNCATE /* delete all rows, then append */
};

struct qn_ingest {
    size_t struct_size;
    const char *schema; /* NULL: `table` is split at its unquoted dots and the rest found by the search path */
    const char *table;
    enum qn_ingest_mode mode;
    const char *const *key; /* columns, for upsert and ignore */
    size_t n_key;
};
#define QN_INGEST_INIT                                                                                                 \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_ingest)                                                                        \
    }

/* Write a stream of struct batches into a table by the database's bulk path. Columns are matched by name; the table's
 * types decide what is sent; a value that does not fit is QN_ERR_DATA naming row and column, and nothing of the call is
 * kept. Runs inside the open transaction or in one of its own. `rows` is read to its end but not released.
 * `rows_out` (may be NULL) gets the rows written. */
QN_API enum qn_status qn_connection_ingest(struct qn_connection *connection, const struct qn_ingest *ingest,
                                           struct ArrowArrayStream *rows, int64_t *rows_out,
                                           struct qn_error *err) QN_MUST_CHECK;

/* The catalogue as a stream. Tables: schema, name, kind ("table", "view", ...) as strings; `schema` NULL: all but the
 * system's. Columns of a table, in order: name, type (SQL), nullable (boolean), default, primary_key (int32: position in
 * the key from 1, or null). A table that does not exist is QN_ERR_QUERY with SQLSTATE 42P01. */
QN_API enum qn_status qn_connection_tables(struct qn_connection *connection, const char *schema,
                                           struct ArrowArrayStream *out, struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_connection_columns(struct qn_connection *connection, const char *schema, const char *table,
                                            struct ArrowArrayStream *out, struct qn_error *err) QN_MUST_CHECK;

/* Quote an identifier, or a table name that is split at its unquoted dots, in the connection's dialect. Free the text
 * with qn_free_text. */
QN_API enum qn_status qn_connection_quote(struct qn_connection *connection, const char *identifier, char **out,
                                          struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_connection_quote_table(struct qn_connection *connection, const char *schema, const char *table,
                                                char **out, struct qn_error *err) QN_MUST_CHECK;

/* ---- transactions --------------------------------------------------------------------------------------------- */

enum qn_isolation {
    QN_ISOLATION_DEFAULT = 0,
    QN_ISOLATION_READ_COMMITTED,
    QN_ISOLATION_REPEATABLE_READ,
    QN_ISOLATION_SERIALIZABLE
};

/* Begin a transaction, or a savepoint inside the one that is open; commit or roll back the innermost. Outside of
 * transactions every statement commits by itself. A commit that the database turned into a rollback is an error. */
QN_API enum qn_status qn_connection_begin(struct qn_connection *connection, enum qn_isolation isolation, bool read_only,
                                          struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_connection_commit(struct qn_connection *connection, struct qn_error *err) QN_MUST_CHECK;
QN_API enum qn_status qn_connection_rollback(struct qn_connection *connection, struct qn_error *err) QN_MUST_CHECK;

/* How many transactions and savepoints are open: 0 outside. */
QN_API int qn_connection_depth(const struct qn_connection *connection);

#ifdef __cplusplus
}
#endif
#endif
