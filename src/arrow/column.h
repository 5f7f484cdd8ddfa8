/*
 * column.h: building Arrow arrays, with direct stores for the hot loops.
 *
 * A column collects the values of one field; a batch is the columns of a struct schema. Layouts: fixed width in one
 * buffer, bool in bits, strings and binary as views (short ones inline, long ones copied into blocks of 32 KiB to 1 MiB
 * that are never moved, a first of 1 KiB where few are expected) or with 32/64-bit offsets, lists with 32-bit offsets,
 * structs by their children. A validity bitmap exists from the first null on.
 *
 * The fast way, per batch: qn_column_reserve(n) once, then qn_column_put_* n times: these check nothing. View and
 * offset layouts may run out of memory inside a put: that is sticky (`failed`) and comes out of qn_batch_finish.
 * Strings are not validated here: who puts bytes that may be bad validates them (base/utf8.h).
 * Threads: one at a time.
 */
#ifndef QN_ARROW_COLUMN_H
#define QN_ARROW_COLUMN_H

#include "arrow/type.h"
#include "base/decimal.h"

#include <string.h>

enum qn_layout {
    QN_LAYOUT_NULL,
    QN_LAYOUT_FIXED,
    QN_LAYOUT_BITS,
    QN_LAYOUT_VIEW,
    QN_LAYOUT_OFFSETS32,
    QN_LAYOUT_OFFSETS64,
    QN_LAYOUT_LIST,
    QN_LAYOUT_STRUCT
};

/* One element of a view array, as the Arrow columnar format has it. */
union qn_view {
    struct {
        int32_t size;
        char data[12];
    } inlined;
    struct {
        int32_t size;
        char prefix[4];
        int32_t block;
        int32_t offset;
    } reference;
    uint64_t words[2];
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "views are written as words: little-endian only");
#define QN_VIEW_INLINE     12
#define QN_VALUE_MAX_BYTES INT32_MAX /* of one string or binary value */

struct qn_column {
    enum qn_layout layout;
    struct qn_type type;
    uint32_t width;  /* bytes a value, of fixed widths and views (16) */
    bool failed;     /* sticky: out of memory or past a limit of Arrow */
    bool over_limit; /* the failure was a limit, not memory */
    int64_t failed_row;
    bool name_lent;   /* the name is somebody's who outlives the column; otherwise it is owned */
    char *name;       /* of the field, for errors */
    int64_t length;   /* values so far */
    int64_t capacity; /* values that fit without reserve */
    int64_t null_count;
    uint8_t *data;     /* values, bits, views or offsets (length + 1 of them) */
    uint8_t *validity; /* NULL while there is no null */
    /* bytes of OFFSETS layouts, or the current block of views */
    char *bytes;
    int64_t bytes_used, bytes_capacity;
    int64_t bytes_hint; /* what the last batch used: the first size of the next */
    /* full blocks of views; the current one has the index n_blocks */
    char **blocks;
    int64_t *block_sizes;
    int32_t n_blocks, blocks_capacity;
    int64_t total_bytes; /* variable bytes put since the last finish: for batch limits */
    struct qn_column *children;
    int64_t n_children;
};

/* Prepare an empty column for a field (its type and children). Unhandled type: QN_ERR_UNSUPPORTED naming the field. */
enum qn_status qn_column_init(struct qn_column *column, const struct ArrowSchema *field,
                              struct qn_error *err) QN_MUST_CHECK;
void qn_column_dispose(struct qn_column *column);

/* Make room for n more values (not recursive: children grow by their own reserve). */
enum qn_status qn_column_reserve(struct qn_column *column, int64_t n, struct qn_error *err) QN_MUST_CHECK;

/* Move the values out as an array (offset 0, exact length); the column is empty again and keeps its type. */
enum qn_status qn_column_finish(struct qn_column *column, struct ArrowArray *out, struct qn_error *err) QN_MUST_CHECK;

/* Drop the values after `length` (of this column and, for lists and structs, of the children accordingly). */
void qn_column_truncate(struct qn_column *column, int64_t length);

/* ---- puts: room must have been reserved ---- */

void qn__column_start_validity(struct qn_column *column); /* all so far valid; sticky failure */

static inline void qn__column_mark_valid(struct qn_column *column)
{
    if (QN_UNLIKELY(column->validity != NULL)) {
        column->validity[column->length >> 3] |= (uint8_t)(1U << (column->length & 7));
    }
}

/* A null: data is zeroed; for lists the list is empty, for structs each child gets a null too. */
void qn_column_put_null(struct qn_column *column);

#define QN__PUT_FIXED(name, ctype)                                                                                     \
    static inline void qn_column_put_##name(struct qn_column *column, ctype value)                                     \
    {                                                                                                                  \
        qn__column_mark_valid(column);                                                                                 \
        memcpy(column->data + (size_t)column->length * sizeof value, &value, sizeof value);                            \
        column->length++;                                                                                              \
    }
QN__PUT_FIXED(int8, int8_t)
QN__PUT_FIXED(int16, int16_t)
QN__PUT_FIXED(int32, int32_t)
QN__PUT_FIXED(int64, int64_t)
QN__PUT_FIXED(uint8, uint8_t)
QN__PUT_FIXED(uint16, uint16_t)
QN__PUT_FIXED(uint32, uint32_t)
QN__PUT_FIXED(uint64, uint64_t)
QN__PUT_FIXED(float32, float)
QN__PUT_FIXED(float64, double)
QN__PUT_FIXED(decimal128, qn_int128)
#undef QN__PUT_FIXED

static inline void qn_column_put_bool(struct qn_column *column, bool value)
{
    qn__column_mark_valid(column);
    if (value) {
        column->data[column->length >> 3] |= (uint8_t)(1U << (column->length & 7)); /* reserve zeroes the bits */
    }
    column->length++;
}

/* Month-day-nano interval. */
void qn_column_put_interval(struct qn_column *column, int32_t months, int32_t days, int64_t nanos);

/* Room for a value of `size` bytes in the current block of a view column, or in the bytes of an offsets column; NULL
 * (sticky failure) where there is no memory. Nothing is used up: what was written there is put by qn_column_put_bytes with
 * this very pointer (which then copies nothing that is longer than QN_VIEW_INLINE). */
char *qn__column_bytes(struct qn_column *column, size_t size);

/* Store the two words of a view. Not a copy of a union: its 16-byte load of two 8-byte stores would stall. */
static inline void qn__column_store_view(struct qn_column *column, uint64_t first, uint64_t second)
{
    uint8_t *at = column->data + (size_t)column->length * sizeof(union qn_view);
    memcpy(at, &first, sizeof first);
    memcpy(at + 8, &second, sizeof second);
}

/* Store the view of at most QN_VIEW_INLINE bytes, which is made in registers. Overlapping loads stay inside of the bytes
 * given. Little-endian, as the Arrow buffers are. */
static inline void qn__column_store_inline(struct qn_column *column, const char *bytes, size_t size)
{
    uint64_t low = 0, high = 0; /* bytes 0 to 7, 8 to 11 */
    if (size >= 8) {
        uint32_t tail;
        memcpy(&low, bytes, 8);
        memcpy(&tail, bytes + size - 4, 4);
        high = (uint64_t)tail >> (8 * (12 - size));
    } else if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, bytes, 4);
        memcpy(&tail, bytes + size - 4, 4);
        low = head | ((uint64_t)tail >> (8 * (8 - size))) << 32;
    } else if (size > 0) {
        low = (uint64_t)(unsigned char)bytes[0] | (uint64_t)(unsigned char)bytes[size / 2] << (8 * (size / 2)) |
              (uint64_t)(unsigned char)bytes[size - 1] << (8 * (size - 1));
    }
    qn__column_store_view(column, (uint64_t)size | low << 32, low >> 32 | high << 32);
}

/* A string or binary value, by copy, in whichever of the three layouts the column has. */
void qn__column_put_long(struct qn_column *column, const char *bytes, size_t size);
static inline void qn_column_put_bytes(struct qn_column *column, const char *bytes, size_t size)
{
    if (QN_LIKELY(column->layout == QN_LAYOUT_VIEW && size <= QN_VIEW_INLINE)) {
        qn__column_mark_valid(column);
        qn__column_store_inline(column, bytes, size);
        column->length++;
        return;
    }
    qn__column_put_long(column, bytes, size);
}

/* Fixed-size binary of exactly column->width bytes. */
void qn_column_put_fixed(struct qn_column *column, const void *bytes);

/* End one list value whose items have been put into children[0], or one struct value whose fields have been put. */
enum qn_status qn_column_end_list(struct qn_column *column, struct qn_error *err) QN_MUST_CHECK;
void qn_column_end_struct(struct qn_column *column);

/* ---- batches ---- */

struct qn_batch {
    struct qn_column *columns;
    int64_t n_columns;
};

/* Columns for the fields of a struct schema (zero fields are allowed). */
enum qn_status qn_batch_init(struct qn_batch *batch, const struct ArrowSchema *schema,
                             struct qn_error *err) QN_MUST_CHECK;
/* Empty columns of the same types as those of `like`, which have no children and whose names outlive the new batch. */
enum qn_status qn_batch_like(const struct qn_batch *like, struct qn_batch *out, struct qn_error *err) QN_MUST_CHECK;
void qn_batch_dispose(struct qn_batch *batch);
enum qn_status qn_batch_reserve(struct qn_batch *batch, int64_t rows, struct qn_error *err) QN_MUST_CHECK;
/* Move all out as a struct array of `rows` rows; a sticky failure of a column is reported here, naming it. */
enum qn_status qn_batch_finish(struct qn_batch *batch, int64_t rows, struct ArrowArray *out,
                               struct qn_error *err) QN_MUST_CHECK;

/* ---- decimals and integers whose type widens while the column is read ---- */

/* Multiply all decimals of a column from its scale to a larger one, in place; false where one would pass 38 digits
 * (nothing is changed then). */
bool qn_column_rescale(struct qn_column *column, int to_scale);
/* Replace the values of a column by their text (int, float, decimal, bool; exact), in the view layout. */
enum qn_status qn_column_to_text(struct qn_column *column, struct qn_error *err) QN_MUST_CHECK;
/* Replace int64 values by doubles where every one is exact; QN_ERR_DATA (row set) and nothing changed otherwise. */
enum qn_status qn_column_to_float64(struct qn_column *column, struct qn_error *err) QN_MUST_CHECK;

#endif
