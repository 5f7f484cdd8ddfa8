/*
 * copy.h: COPY ... FROM STDIN (FORMAT binary) on a connection's channel.
 *
 * Rows are encoded column by column, a chunk at a time, into one buffer that goes out as CopyData. The server is listened
 * to after every send: what it refuses ends the copy early. Memory: the buffer, one chunk, and a value of the largest
 * size. Threads: one at a time per connection, which nothing else may use between begin and the end.
 */
#ifndef QN_DB_POSTGRES_COPY_H
#define QN_DB_POSTGRES_COPY_H

#include "db/postgres/encode.h"
#include "db/postgres/postgres.h"

struct qn_pg_copy {
    struct qn_pg *pg;
    const char *sql;                /* the COPY statement, for errors; borrowed */
    const char *table;              /* the relation's bare name as the server writes it in contexts; borrowed */
    struct qn_pg_encoder *encoders; /* borrowed; bound readers */
    int32_t n_encoders;
    bool numbered; /* a last column of int8: the row's number in the call, from 0 */
    int64_t rows;  /* encoded so far */

    char *buffer; /* five bytes for the message's head, then data */
    size_t used, capacity;
    struct qn_buffer *scratch; /* one per encoder: values without a fixed width of this chunk */
    bool *nulls;               /* one per encoder: the chunk has nulls */
    size_t *at;                /* where each row of the chunk goes on, in `buffer` */
};

/* Send the statement and wait for the server to take data. On failure the connection is ready (or broken) and nothing
 * is held. */
enum qn_status qn_pg_copy_begin(struct qn_pg *pg, const char *sql, const char *table, struct qn_pg_encoder *encoders,
                                int32_t n_encoders, bool numbered, struct qn_pg_copy *out,
                                struct qn_error *err) QN_MUST_CHECK;

/* Encode and send n rows of the arrays that the encoders' readers are bound to. On failure the copy has ended and nothing
 * of it is kept by the server; call qn_pg_copy_dispose. */
enum qn_status qn_pg_copy_rows(struct qn_pg_copy *copy, int64_t n, struct qn_error *err) QN_MUST_CHECK;

/* End with success; *rows_out is the server's count. */
enum qn_status qn_pg_copy_finish(struct qn_pg_copy *copy, int64_t *rows_out, struct qn_error *err) QN_MUST_CHECK;

/* End with failure: nothing is kept, the connection is ready again or broken. For callers whose rows fail. */
void qn_pg_copy_abort(struct qn_pg_copy *copy);
void qn_pg_copy_dispose(struct qn_pg_copy *copy);

/* Row (0-based) and column of a COPY's CONTEXT text ("COPY t, line 17, column x: ..."), in any language of the server;
 * false where it has none. Column is "" where it names none. Bytes from outside. */
bool qn_pg_copy_context(const char *context, const char *table, int64_t *row_out, char *column, size_t column_size);

#endif
