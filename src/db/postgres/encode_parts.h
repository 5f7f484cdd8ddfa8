/*
 * encode_parts.h: what the files of the encoder share: encode.c chooses, encode_fixed.c has the values of fixed width,
 * encode_text.c strings and everything that is sent as its bytes, encode_numeric.c numeric.
 */
#ifndef QN_DB_POSTGRES_ENCODE_PARTS_H
#define QN_DB_POSTGRES_ENCODE_PARTS_H

#include "arrow/column.h"
#include "db/postgres/encode.h"

#define QN_PG_DIGITS_TEXT 64

typedef enum qn_status qn_pg_put(const struct qn_pg_encoder *encoder, int64_t row, struct qn_buffer *out,
                                 struct qn_error *err);
typedef enum qn_status qn_pg_load(const struct qn_pg_encoder *encoder, int64_t first, int64_t n, uint64_t *words,
                                  struct qn_error *err);

/* QN_ERR_DATA with row and column; the message starts with `column "name": `. */
enum qn_status qn_pg_encode_misfit(const struct qn_pg_encoder *encoder, int64_t row, struct qn_error *err,
                                   const char *format, ...) QN_PRINTF(4, 5) QN_MUST_CHECK;

/* ---- encode_fixed.c ---- */

qn_pg_put qn_pg_put_fixed, qn_pg_put_interval;
qn_pg_load qn_pg_load_bool, qn_pg_load_bool_from_int, qn_pg_load_int, qn_pg_load_int_from_float,
    qn_pg_load_int_from_decimal, qn_pg_load_float, qn_pg_load_float_from_int, qn_pg_load_float_from_decimal,
    qn_pg_load_time;

/* ---- encode_text.c ---- */

qn_pg_put qn_pg_put_text, qn_pg_put_bytes, qn_pg_put_char, qn_pg_put_uuid_bytes, qn_pg_put_uuid_text, qn_pg_put_json,
    qn_pg_put_as_text, qn_pg_put_null;

/* The bytes of a string that is not null, checked: inside its buffers, short enough, UTF-8, without NUL. */
enum qn_status qn_pg_encode_text_value(const struct qn_pg_encoder *encoder, int64_t row, const char **bytes,
                                       size_t *size, struct qn_error *err) QN_MUST_CHECK;

/* QN_ERR_DATA where a text holds a NUL or is not UTF-8. */
enum qn_status qn_pg_encode_check_text(const struct qn_pg_encoder *encoder, int64_t row, const char *bytes, size_t size,
                                       struct qn_error *err) QN_MUST_CHECK;

/* The value as text for a message or a text column: ISO dates, PostgreSQL's names of special floats. Always fits.
 * False: outside of the calendar or of 38 digits, and the text is for a message only. */
#define QN_PG_VALUE_TEXT 128
bool qn_pg_value_text(const struct qn_reader *reader, int64_t row, char out[QN_PG_VALUE_TEXT]);

/* ---- encode_numeric.c ---- */

qn_pg_put qn_pg_put_numeric_int, qn_pg_put_numeric_decimal, qn_pg_put_numeric_float;

/* A decimal as text with all the places of its scale. */
bool qn_pg_decimal_text(const struct qn_reader *reader, int64_t row, char out[QN_PG_VALUE_TEXT]);
/* Scales for which that text always fits. */
#define QN_PG_SCALE_MIN (-38)
#define QN_PG_SCALE_MAX 76

/* The shortest decimal digits that read back as the same number: value = 0.d1d2.. * 10^*point_out for a finite, positive
 * number; returns how many. `single`: as a float. */
int qn_pg_shortest(double number, bool single, char digits[24], int *point_out);

#endif
