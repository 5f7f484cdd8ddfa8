/*
 * encode.h: Arrow values into the bytes that PostgreSQL's binary (or, where there is no other way, text) input takes.
 *
 * An encoder is chosen once per column from the Arrow type and the target's type; what can never fit is refused there,
 * a value that does not fit when it is met, with row and column. No value is changed on its way: the rules stand in
 * encode.c. Formats: the *recv functions of PostgreSQL (its documentation, "Frontend/Backend Protocol" and COPY's
 * "Binary Format", leave them to the source). Threads: one at a time per encoder.
 */
#ifndef QN_DB_POSTGRES_ENCODE_H
#define QN_DB_POSTGRES_ENCODE_H

#include "arrow/reader.h"
#include "base/buffer.h"

#define QN_PG_ENCODE_ROWS 1024              /* rows of one call of `load` at most */
#define QN_PG_VALUE_MAX   ((size_t)1 << 30) /* PostgreSQL's limit for one value */

struct qn_pg_encoder {
    int16_t format; /* 1 binary; 0 text: a type whose binary form is not written here, its server parses */
    uint8_t width;  /* 1, 2, 4, 8: every value that is not null has so many bytes and `load` gives them; otherwise 0 */
    bool text;      /* the value is the string's own bytes (after `version` where that is not 0) */
    uint8_t version;
    uint32_t oid; /* the target's */
    int32_t typmod;
    const struct qn_reader *reader; /* borrowed; bound by the caller before every put */
    int64_t row_base;               /* added to rows in errors: rows of earlier batches */
    int32_t parameter;              /* set by a caller that binds one row: the placeholder's number, for errors */

    /* Append one value: its length as an int32 (-1: null), then its bytes. Failed memory is sticky in `out`. */
    enum qn_status (*put)(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                          struct qn_error *err);
    /* Where width is not 0: the values of rows first .. first + n - 1, n <= QN_PG_ENCODE_ROWS, each in the low bytes of
     * a word in the machine's order. Words of nulls are anything. */
    enum qn_status (*load)(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                           struct qn_error *err);

    /* what load and put need, set by the choice */
    int64_t low, high;     /* range of the target */
    int64_t factor;        /* units of the source in one of the target, negative: the other way round; 0: as it is */
    int64_t shift;         /* subtracted afterwards: PostgreSQL's epoch */
    int64_t precision;     /* microseconds that the value must be a multiple of; 1: any */
    int32_t digits, scale; /* of numeric by its typmod; digits 0: no typmod */
};

/* Choose how values of the reader's column go into a value of the target type (typmod -1: none). Types that cannot meet
 * are QN_ERR_DATA, types that are not handled yet QN_ERR_UNSUPPORTED, naming the column, both types and the way out.
 * The reader needs to be initialised, not bound; it must outlive the encoder, which owns nothing. */
enum qn_status qn_pg_encoder_choose(const struct qn_reader *reader, uint32_t target_oid, int32_t typmod,
                                    struct qn_pg_encoder *out, struct qn_error *err) QN_MUST_CHECK;

/* For an encoder of format 0 that writes into a table: the SQL type that the server casts its text to, with `put` made to
 * refuse what that would round; NULL for the types that have no such way. */
const char *qn_pg_encoder_cast(struct qn_pg_encoder *encoder);

/* put, for callers outside. */
static inline enum qn_status qn_pg_encoder_put(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                               struct qn_error *err)
{
    return encoder->put(encoder, row, out, err);
}

/* "smallint" for 21 and so on; "type 12345" is written into `buffer` for an OID without a name here. */
const char *qn_pg_encode_type_name(uint32_t oid, char buffer[32]);

/* True for the types whose binary form is written here. */
bool qn_pg_encode_type_binary(uint32_t oid);

/* True for the types that text is never turned into on the quiet: numbers, dates, times, bool, bytea. */
bool qn_pg_encode_type_strict(uint32_t oid);

/* The error of a column whose type does not go into the target's: for callers that do not take format 0. */
enum qn_status qn_pg_encode_refuse(const struct qn_pg_encoder *encoder, struct qn_error *err) QN_MUST_CHECK;

#endif
