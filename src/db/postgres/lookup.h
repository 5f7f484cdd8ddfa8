/*
 * lookup.h: small results for the driver's own use, by the simple protocol: catalogue facts, rows of a staging table.
 * Threads: one at a time per connection.
 */
#ifndef QN_DB_POSTGRES_LOOKUP_H
#define QN_DB_POSTGRES_LOOKUP_H

#include "db/postgres/postgres.h"

#define QN_PG_LOOKUP_FIELDS 8

/* One row: texts, not NUL-terminated, borrowed for the call; NULL for null. */
struct qn_pg_lookup_row {
    int n_fields;
    const char *text[QN_PG_LOOKUP_FIELDS];
    size_t size[QN_PG_LOOKUP_FIELDS];
};
typedef enum qn_status qn_pg_lookup_callback(void *context, const struct qn_pg_lookup_row *row, struct qn_error *err);

/* Run `sql` and hand each of its rows, of at most QN_PG_LOOKUP_FIELDS fields, to the callback, whose failure is the
 * result. The connection is ready afterwards, or broken. */
enum qn_status qn_pg_lookup(struct qn_pg *pg, const char *sql, qn_pg_lookup_callback *callback, void *context,
                            struct qn_error *err) QN_MUST_CHECK;

/* A DataRow message's body; false where it is malformed or has too many fields. Bytes from outside. */
bool qn_pg_lookup_parse(const char *body, size_t size, struct qn_pg_lookup_row *out);

#endif
