/*
 * decode.h: DataRow messages into Arrow batches, and the plan of which column goes into which type.
 *
 * A plan is made from a row description and the caller's options before Bind, because it decides the format (text or
 * binary) that each column is asked in. Threads: one at a time.
 */
#ifndef QN_DB_POSTGRES_DECODE_H
#define QN_DB_POSTGRES_DECODE_H

#include "db/postgres/postgres.h"

#define QN_PG_IN_SLACK 16 /* bytes past the receive buffer that may be read (and are ignored) by wide loads */

struct qn_pg_column {
    enum qn_pg_decoder decoder;
    struct qn_column *column; /* of the batch */
    uint8_t *data, *validity; /* its buffers, fetched after each reserve and each null */
    uint32_t width;           /* that every value must have; 0: any */
    int32_t precision, scale; /* of decimals; the scale of a WIDENED one grows */
    bool empty;               /* WIDENED: no value yet */
    const char *name;
    uint32_t oid;
};

struct qn_pg_rows {
    struct qn_pg_column *columns;
    int32_t n_columns;
    bool by_values; /* some column's type is only known once all rows are read */
    struct qn_batch batch;
    int64_t row, capacity; /* of the batch that is being built */
    int64_t rows_before;   /* in the batches that have gone */
    int64_t taken_bytes;   /* of DataRows, in all */
    enum qn_policy numeric_special, infinity;
    struct ArrowSchema schema;
    struct qn_buffer scratch;
};

/* What was chosen for a statement's result the last time, with the options that it depends on. */
struct qn_pg_plan {
    enum qn_numeric numeric;
    enum qn_policy numeric_special, infinity;
    bool whole;
    int32_t n_columns;
    struct qn_pg_column *columns;
    struct qn_batch batch;     /* never filled: the columns of others are made like these */
    struct ArrowSchema schema; /* frozen */
};

/* Choose decoders and make the schema. `pg` is asked for the names of types (cached). What was chosen is kept with the
 * statement, for the next time with the same options. */
enum qn_status qn_pg_rows_init(struct qn_pg_rows *rows, struct qn_pg *pg, struct qn_pg_prepared *prepared,
                               const struct qn_query_options *options, struct qn_error *err) QN_MUST_CHECK;
void qn_pg_rows_dispose(struct qn_pg_rows *rows);

/* Decode the DataRows that stand complete in the receive buffer, until `limit` rows are in the batch or another message
 * comes. Consumes what it decodes. */
enum qn_status qn_pg_rows_take(struct qn_pg_rows *rows, struct qn_pg *pg, int64_t limit,
                               struct qn_error *err) QN_MUST_CHECK;

/* Bytes of the values in the batch, about. */
int64_t qn_pg_rows_bytes(const struct qn_pg_rows *rows);

/* Make room for the next batch where its size is known to be `n`. */
enum qn_status qn_pg_rows_reserve(struct qn_pg_rows *rows, int64_t n, struct qn_error *err) QN_MUST_CHECK;

/* Move the batch out. */
enum qn_status qn_pg_rows_finish(struct qn_pg_rows *rows, struct ArrowArray *out, struct qn_error *err) QN_MUST_CHECK;

/* The schema; where by_values is set it is final once all rows have been read. */
enum qn_status qn_pg_rows_schema(const struct qn_pg_rows *rows, struct ArrowSchema *out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* ---- numeric.c: the binary form of numeric: ndigits, weight, sign, dscale as int16, then digits of base 10000 ---- */

enum qn_pg_numeric_kind { QN_PG_NUMERIC_FINITE, QN_PG_NUMERIC_NAN, QN_PG_NUMERIC_PLUS, QN_PG_NUMERIC_MINUS };
struct qn_pg_numeric {
    enum qn_pg_numeric_kind kind;
    int32_t n_digits, weight, scale; /* scale: digits after the point that are shown */
    bool negative;
    const char *digits; /* borrowed */
};

/* False where the bytes are malformed. */
bool qn_pg_numeric_open(const char *bytes, size_t size, struct qn_pg_numeric *out);
/* The value times 10^scale; false where it is no integer then or has more than 38 digits. */
bool qn_pg_numeric_to_decimal(const struct qn_pg_numeric *numeric, int32_t scale, qn_int128 *out);
/* Exact text of a finite numeric, with `scale` digits after the point as the server shows it. */
void qn_pg_numeric_to_text(const struct qn_pg_numeric *numeric, struct qn_buffer *out);
/* The nearest double (scratch is overwritten). False: no memory. */
bool qn_pg_numeric_to_double(const struct qn_pg_numeric *numeric, struct qn_buffer *scratch, double *out);

#endif
