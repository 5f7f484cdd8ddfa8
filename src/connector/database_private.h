/*
 * database_private.h: what the files of the `database` connector share.
 *
 * A location is a table, as SQL would write its name, or a range of a table's key in brackets behind it:
 * `public.orders`, `public.orders[id >= 1 and id < 1001]`, `public.orders[id is null]`. The names are those that the
 * arguments give: a location never reaches another table. A range has both ends; the values in it are numbers or texts, and
 * are written into SQL only by qn__database_put_value.
 */
#ifndef QN_CONNECTOR_DATABASE_PRIVATE_H
#define QN_CONNECTOR_DATABASE_PRIVATE_H

#include "base/buffer.h"
#include "connector/builtin.h"

#include <pthread.h>
#include <qanat/database.h>
#include <qanat/plugin/driver.h>

#define DATABASE_MAX_TABLES 10000
#define DATABASE_MAX_IDLE   16 /* connections that are kept open between two calls */
#define DATABASE_MAX_TYPES  1000

enum database_kind { DATABASE_POSTGRES, DATABASE_SQLITE, DATABASE_OTHER };

struct database_table {
    char *schema; /* or NULL: by the search path */
    char *name;
    char *text; /* as a location has it */
};

struct database {
    struct qn_arguments arguments;
    struct qn_config *config;
    const struct qn_dialect *dialect;
    enum database_kind kind;
    const char *query, *schema, *key, *watermark, *where; /* of the arguments; or NULL */
    const char *query_name;
    bool views, count; /* count: rows are part of the version */
    int64_t rows_per_range;
    struct database_table *tables; /* those that are named */
    size_t n_tables;
    enum qn_numeric numeric;
    struct qn_type_override *types;
    size_t n_types;
    pthread_mutex_t lock; /* of what is below */
    struct qn_connection *idle[DATABASE_MAX_IDLE];
    size_t n_idle;
};

/* ---- values and ranges (database_range.c) ---- */

struct database_value {
    bool number; /* written as it is; otherwise a text */
    char *text;
};

enum database_bound { BOUND_NONE, BOUND_INCLUSIVE, BOUND_EXCLUSIVE };

struct database_range {
    bool nulls;                    /* only rows whose key is null */
    enum database_bound low, high; /* a range to be searched may have open ends; one of a location has none */
    struct database_value from, to;
};

void qn__database_range_dispose(struct database_range *range);

/* Append a value, or a condition on `column` (SQL of it), to SQL. */
void qn__database_put_value(const struct database *database, const struct database_value *value, struct qn_buffer *sql);
void qn__database_put_range(const struct database *database, const struct database_range *range, const char *column,
                            struct qn_buffer *sql);

/* The location of a range of a table. */
enum qn_status qn__database_location(const struct database *database, const struct database_table *table,
                                     const struct database_range *range, struct qn_buffer *out,
                                     struct qn_error *err) QN_MUST_CHECK;

/* Read what is in the brackets of a location. Where it is a range of the key, *right_out says so and *out is the caller's. */
enum qn_status qn__database_parse_range(const struct database *database, const char *text, struct database_range *out,
                                        bool *right_out, struct qn_error *err) QN_MUST_CHECK;

/* Take a value at *at, as a location or SQLite's quote() writes it; *taken_out says whether there is one. */
enum qn_status qn__database_take_value(const char **at, struct database_value *out, bool *taken_out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* Whether the location is this table or a range of it; *range_out (may be NULL) is what stands in brackets, or NULL. */
bool qn__database_is_of(const struct database_table *table, const char *location, const char **range_out);

/* ---- statements (database_sql.c) ---- */

/* Append the source, " from T q where ...", of the rows that a location has. `table` NULL: of the query. `range` may be
 * NULL. */
enum qn_status qn__database_put_source(const struct database *database, const struct database_table *table,
                                       const struct database_range *range, struct qn_buffer *sql,
                                       struct qn_error *err) QN_MUST_CHECK;

/* The quoted column of the source's alias: q."id". */
void qn__database_put_column(const struct database *database, const char *name, struct qn_buffer *sql);

/* Append " and (...)" for as much of the filter as the database answers exactly as the core would; *whole_out: all of it. */
enum qn_status qn__database_put_filter(const struct database *database, const char *filter,
                                       const struct ArrowSchema *schema, struct qn_buffer *sql, bool *whole_out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* Run a statement of ours; all of its columns arrive as texts (NULL: null) for each row. Few rows only. */
struct database_rows {
    char **values; /* row by row */
    size_t n_rows, n_columns;
};
enum qn_status qn__database_read(struct qn_connection *connection, const char *sql, const char *const *columns,
                                 size_t n_columns, struct database_rows *out, struct qn_error *err) QN_MUST_CHECK;
void qn__database_rows_dispose(struct database_rows *rows);

/* SQL of an expression's exact text: a cast, or SQLite's own literal. */
void qn__database_put_text_of(const struct database *database, const char *expression, struct qn_buffer *sql);

/* ---- discovery (database_discover.c) ---- */

enum qn_status qn__database_discover(struct database *database, struct qn_connection *connection,
                                     const char *const *attached, size_t n, qn_location_callback each, void *context,
                                     struct qn_error *err) QN_MUST_CHECK;

/* A table by its name: in `schema`, or (NULL) as it is written in SQL, schema included. Whether there is one is not asked. */
enum qn_status qn__database_table_new(const struct database *database, const char *schema, const char *name,
                                      struct database_table *out, struct qn_error *err) QN_MUST_CHECK;
void qn__database_table_dispose(struct database_table *table);

#endif
