/*
 * reader.h: reading the values of Arrow arrays that came from outside, in any layout.
 *
 * A reader is made once per schema field and bound to each array in turn. Binding checks lengths, offsets and buffer
 * counts, so that the inline getters need not: after a successful bind no getter reads outside of the array's buffers
 * (given that the buffers are as long as the specification demands, which the C data interface cannot show).
 * Indices are logical rows: 0 to array->length - 1; offsets are the reader's business. Dictionary-encoded columns read as
 * their values. Threads: a bound reader may be read by several.
 */
#ifndef QN_ARROW_READER_H
#define QN_ARROW_READER_H

#include "arrow/column.h"
#include "arrow/type.h"

struct qn_reader {
    struct qn_type type; /* of the values: for a dictionary-encoded column that of the dictionary */
    char *name;          /* of the field, for errors; owned */
    bool nullable_seen;  /* the bound array has a validity bitmap (or is of null type) */
    int64_t length, offset;
    const uint8_t *validity;
    const uint8_t *data;       /* values, bits, views, or offsets */
    const char *bytes;         /* of offset layouts */
    int64_t bytes_size;        /* of offset layouts; of lists the items of children[0] */
    const char *const *blocks; /* of view layouts */
    const int64_t *block_sizes;
    int64_t n_blocks;
    struct qn_reader *children; /* of lists, structs, maps; of a dictionary-encoded column those of the dictionary */
    int64_t n_children;
    struct qn_reader *dictionary; /* or NULL; then `data` holds indices of type index_type */
    struct qn_type index_type;
};

enum qn_status qn_reader_init(struct qn_reader *reader, const struct ArrowSchema *field,
                              struct qn_error *err) QN_MUST_CHECK;
void qn_reader_dispose(struct qn_reader *reader);
/* QN_ERR_DATA naming the column where the array does not have the shape of its schema. The array is borrowed until the
 * next bind. */
enum qn_status qn_reader_bind(struct qn_reader *reader, const struct ArrowArray *array,
                              struct qn_error *err) QN_MUST_CHECK;

/* Readers for all fields of a struct schema, bound together. Rows that are null at the struct level are an error. */
struct qn_batch_reader {
    struct qn_reader *columns;
    int64_t n_columns, length;
};
enum qn_status qn_batch_reader_init(struct qn_batch_reader *reader, const struct ArrowSchema *schema,
                                    struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_batch_reader_bind(struct qn_batch_reader *reader, const struct ArrowArray *array,
                                    struct qn_error *err) QN_MUST_CHECK;
void qn_batch_reader_dispose(struct qn_batch_reader *reader);

/* Called with each batch of a stream, bound; the reader is borrowed for the call. What is not QN_OK ends the reading. */
typedef enum qn_status (*qn_batch_callback)(void *context, const struct qn_batch_reader *batch, struct qn_error *err);
/* Read a stream to its end. The stream stays the caller's, who releases it. */
enum qn_status qn_stream_each_batch(struct ArrowArrayStream *stream, qn_batch_callback each, void *context,
                                    struct qn_error *err) QN_MUST_CHECK;

/* For dictionary-encoded columns the row's index in the dictionary, bounds checked (-1: null or out of bounds). */
int64_t qn__reader_index(const struct qn_reader *reader, int64_t row);

static inline bool qn_reader_is_null(const struct qn_reader *reader, int64_t row)
{
    if (QN_UNLIKELY(reader->dictionary != NULL)) {
        int64_t index = qn__reader_index(reader, row);
        return index < 0 || qn_reader_is_null(reader->dictionary, index);
    }
    if (reader->type.id == QN_TYPE_NULL) {
        return true;
    }
    int64_t at = reader->offset + row;
    return reader->validity != NULL && !((reader->validity[at >> 3] >> (at & 7)) & 1);
}

/* Stored numbers of plain columns (dictionary == NULL) by the width of their type, for loops: one load each. */
#define QN__READER_AT(name, ctype)                                                                                     \
    static inline ctype qn_reader_at_##name(const struct qn_reader *reader, int64_t row)                               \
    {                                                                                                                  \
        ctype value;                                                                                                   \
        memcpy(&value, reader->data + (size_t)(reader->offset + row) * sizeof value, sizeof value);                    \
        return value;                                                                                                  \
    }
QN__READER_AT(int8, int8_t)
QN__READER_AT(int16, int16_t)
QN__READER_AT(int32, int32_t)
QN__READER_AT(int64, int64_t)
QN__READER_AT(uint8, uint8_t)
QN__READER_AT(uint16, uint16_t)
QN__READER_AT(uint32, uint32_t)
QN__READER_AT(uint64, uint64_t)
QN__READER_AT(float32, float)
QN__READER_AT(float64, double)
QN__READER_AT(decimal128, qn_int128)
#undef QN__READER_AT

/* Getters for rows that are not null. Types must match as named. */
bool qn_reader_bool(const struct qn_reader *reader, int64_t row);
int64_t qn_reader_int64(const struct qn_reader *reader, int64_t row);   /* int8..int64, uint8..uint32, dates, times,
                                                                            timestamps, durations: the stored number */
uint64_t qn_reader_uint64(const struct qn_reader *reader, int64_t row); /* uint8..uint64 */
double qn_reader_float64(const struct qn_reader *reader, int64_t row);  /* float16..float64 */
bool qn_reader_decimal(const struct qn_reader *reader, int64_t row,
                       qn_int128 *out); /* false: decimal256 past 38 digits */
/* Strings and binaries in every layout, and fixed binary. False where a view points outside of its blocks or an offset runs
 * backwards. */
bool qn_reader_bytes(const struct qn_reader *reader, int64_t row, const char **bytes_out, size_t *size_out);
void qn_reader_interval(const struct qn_reader *reader, int64_t row, int32_t *months, int32_t *days, int64_t *nanos);
/* Items of a list or map row: their first index and count in children[0]. False where the offsets are bad. */
bool qn_reader_list(const struct qn_reader *reader, int64_t row, int64_t *first_out, int64_t *count_out);
/* The row's index in the children of a struct. */
static inline int64_t qn_reader_struct_row(const struct qn_reader *reader, int64_t row)
{
    if (QN_UNLIKELY(reader->dictionary != NULL)) {
        return qn_reader_struct_row(reader->dictionary, qn__reader_index(reader, row));
    }
    return reader->offset + row;
}

/* Microseconds of a timestamp, time or duration in any unit; false where it is not exact or overflows. */
bool qn_reader_micros(const struct qn_reader *reader, int64_t row, int64_t *out);

/* Append the value as JSON text (lists and structs nested, decimals and int64 as numbers, binary as base64 text, dates and
 * times as ISO text, NaN and infinity as an error). */
struct qn_buffer;
enum qn_status qn_reader_to_json(const struct qn_reader *reader, int64_t row, struct qn_buffer *out,
                                 struct qn_error *err) QN_MUST_CHECK;

#endif
