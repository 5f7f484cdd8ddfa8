/*
 * take.c: see take.h.
 *
 * A run is the source's own columns with another offset and length. Chosen rows are copied column by column, nested ones
 * by the rows of their children; what is shared is held by a count (`holder`) per column. Rows rise and are taken once, so
 * that no offset grows past those of the source. Offsets that fall are an error: arrays may come from outside.
 */
#include "connector/take.h"

#include "arrow/array.h"
#include "base/memory.h"

#include <string.h>

/* A column of the source that taken arrays point into. */
struct holder {
    int references;
    struct ArrowArray source;
};

struct taking {
    const char *column; /* for messages */
    struct holder *holder;
};

/* Rows of an array: those that are listed, `shift` further on. */
struct rows {
    const int64_t *at;
    int64_t n, shift;
};

static enum qn_status take(const struct taking *taking, const struct ArrowSchema *field,
                           const struct ArrowArray *source, const struct rows *rows, struct ArrowArray *out,
                           struct qn_error *err);

/* ---- runs ---- */

enum qn_status qn_take_run(struct ArrowArray *batch, int64_t first, int64_t n, struct ArrowArray *out,
                           struct qn_error *err)
{
    struct ArrowArray made = { 0 };
    enum qn_status status = qn__array_new(1, batch->n_children, &made, err);
    for (int64_t i = 0; status == QN_OK && i < batch->n_children; i++) {
        struct ArrowArray *column = made.children[i];
        qn__array_move(batch->children[i], column);
        column->offset += batch->offset + first;
        column->length = n;
        column->null_count = column->null_count == 0 ? 0 : -1;
    }
    qn_array_release(batch);
    if (status == QN_OK) {
        made.length = n;
        qn__array_move(&made, out);
    }
    return status;
}

/* ---- what is shared ---- */

static void holder_unref(struct holder *holder)
{
    if (__atomic_sub_fetch(&holder->references, 1, __ATOMIC_ACQ_REL) == 0) {
        qn_array_release(&holder->source);
        qn_free(holder);
    }
}

static void release_guard(struct ArrowArray *guard)
{
    holder_unref(guard->private_data);
    guard->release = NULL;
}

/* `array` keeps the source column. */
static void hold(const struct taking *taking, struct ArrowArray *array)
{
    __atomic_add_fetch(&taking->holder->references, 1, __ATOMIC_RELAXED);
    struct ArrowArray guard = { .release = release_guard, .private_data = taking->holder };
    qn__array_retain(array, &guard);
}

/* ---- buffers ---- */

static enum qn_status misshapen(const struct taking *taking, const char *what, struct qn_error *err)
{
    enum qn_status status =
        qn_error_set(err, QN_ERR_DATA, "column \"%s\": malformed Arrow array: %s", taking->column, what);
    qn_error_place(err, -1, taking->column);
    return status;
}

/* A new buffer of an array; an empty one is not NULL. */
static void *new_buffer(struct ArrowArray *array, int64_t i, size_t size)
{
    if (size == 0) {
        qn__array_borrow(array, i, qn__empty_buffer);
        return (void *)(uintptr_t)qn__empty_buffer; /* nothing is written to it */
    }
    void *bytes = qn_calloc(1, size);
    array->buffers[i] = bytes;
    return bytes;
}

static bool bit_at(const uint8_t *bits, int64_t at)
{
    return (bits[at >> 3] >> (at & 7) & 1) != 0;
}

static enum qn_status take_bits(const uint8_t *bits, const struct ArrowArray *source, const struct rows *rows,
                                struct ArrowArray *out, int64_t buffer, int64_t *set_out, struct qn_error *err)
{
    uint8_t *taken = new_buffer(out, buffer, (size_t)(rows->n + 7) / 8);
    int64_t set = 0;
    if (taken == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < rows->n; i++) {
        if (bit_at(bits, source->offset + rows->shift + rows->at[i])) {
            taken[i >> 3] |= (uint8_t)(1U << (i & 7));
            set++;
        }
    }
    *set_out = set;
    return QN_OK;
}

static enum qn_status take_validity(const struct ArrowArray *source, const struct rows *rows, struct ArrowArray *out,
                                    struct qn_error *err)
{
    int64_t valid = rows->n;
    if (source->buffers[0] != NULL && source->null_count != 0) {
        QN_TRY(take_bits(source->buffers[0], source, rows, out, 0, &valid, err));
    }
    out->null_count = rows->n - valid;
    return QN_OK;
}

/* Values of `width` bytes in buffer 1. */
static enum qn_status take_fixed(const struct ArrowArray *source, size_t width, const struct rows *rows,
                                 struct ArrowArray *out, struct qn_error *err)
{
    char *taken = new_buffer(out, 1, (size_t)rows->n * width);
    if (taken == NULL) {
        return qn__no_memory(err);
    }
    const char *values = (const char *)source->buffers[1] + (size_t)(source->offset + rows->shift) * width;
    for (int64_t i = 0; i < rows->n; i++) {
        memcpy(taken + (size_t)i * width, values + (size_t)rows->at[i] * width, width);
    }
    return QN_OK;
}

/* ---- offsets ---- */

static int64_t offset_at(const void *offsets, bool wide, int64_t i)
{
    return wide ? ((const int64_t *)offsets)[i] : ((const int32_t *)offsets)[i];
}

/* The offsets of the rows, counted from 0, in buffer 1, and what they come to. */
static enum qn_status take_offsets(const struct taking *taking, const struct ArrowArray *source, bool wide,
                                   const struct rows *rows, struct ArrowArray *out, int64_t *total_out,
                                   struct qn_error *err)
{
    const void *offsets = source->buffers[1];
    void *taken = new_buffer(out, 1, ((size_t)rows->n + 1) * (wide ? sizeof(int64_t) : sizeof(int32_t)));
    int64_t total = 0;
    if (taken == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < rows->n; i++) {
        int64_t row = source->offset + rows->shift + rows->at[i];
        int64_t begin = offset_at(offsets, wide, row);
        int64_t end = offset_at(offsets, wide, row + 1);
        if (begin < 0 || end < begin) {
            return misshapen(taking, "offsets run backwards", err);
        }
        total += end - begin;
        if (!wide && total > INT32_MAX) {
            return misshapen(taking, "offsets overlap", err);
        }
        if (wide) {
            ((int64_t *)taken)[i + 1] = total;
        } else {
            ((int32_t *)taken)[i + 1] = (int32_t)total;
        }
    }
    *total_out = total;
    return QN_OK;
}

static enum qn_status take_bytes(const struct taking *taking, const struct ArrowArray *source, bool wide,
                                 const struct rows *rows, struct ArrowArray *out, struct qn_error *err)
{
    int64_t total;
    QN_TRY(take_offsets(taking, source, wide, rows, out, &total, err));
    char *taken = new_buffer(out, 2, (size_t)total);
    if (taken == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < rows->n && total > 0; i++) {
        int64_t row = source->offset + rows->shift + rows->at[i];
        int64_t begin = offset_at(source->buffers[1], wide, row);
        size_t size = (size_t)(offset_at(source->buffers[1], wide, row + 1) - begin);
        if (size > 0) {
            memcpy(taken, (const char *)source->buffers[2] + begin, size);
            taken += size;
        }
    }
    return QN_OK;
}

/* Views stay views; their blocks stay in the source. */
static enum qn_status take_views(const struct taking *taking, const struct ArrowArray *source, const struct rows *rows,
                                 struct ArrowArray *out, struct qn_error *err)
{
    QN_TRY(take_fixed(source, 16, rows, out, err));
    hold(taking, out);
    for (int64_t i = 2; i < source->n_buffers; i++) {
        qn__array_borrow(out, i, source->buffers[i]);
    }
    return QN_OK;
}

/* ---- nested columns ---- */

static enum qn_status take_items(const struct taking *taking, const struct ArrowSchema *field,
                                 const struct ArrowArray *source, const struct rows *lists, bool wide, int64_t total,
                                 struct ArrowArray *out, struct qn_error *err)
{
    qn_auto_free int64_t *at = qn_malloc((size_t)total * sizeof *at);
    int64_t n = 0;
    if (at == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < lists->n; i++) {
        int64_t row = source->offset + lists->shift + lists->at[i];
        int64_t end = offset_at(source->buffers[1], wide, row + 1);
        for (int64_t item = offset_at(source->buffers[1], wide, row); item < end; item++) {
            at[n++] = item;
        }
    }
    const struct rows items = { at, n, 0 };
    return take(taking, field->children[0], source->children[0], &items, out->children[0], err);
}

static enum qn_status take_list(const struct taking *taking, const struct ArrowSchema *field,
                                const struct ArrowArray *source, bool wide, const struct rows *rows,
                                struct ArrowArray *out, struct qn_error *err)
{
    int64_t total;
    QN_TRY(take_offsets(taking, source, wide, rows, out, &total, err));
    return take_items(taking, field, source, rows, wide, total, out, err);
}

static enum qn_status take_fixed_list(const struct taking *taking, const struct ArrowSchema *field,
                                      const struct ArrowArray *source, int64_t width, const struct rows *rows,
                                      struct ArrowArray *out, struct qn_error *err)
{
    size_t count;
    if (!qn_size_mul((size_t)rows->n, (size_t)width, &count)) {
        return qn__no_memory(err);
    }
    qn_auto_free int64_t *at = qn_malloc(count * sizeof *at);
    if (at == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0, n = 0; i < rows->n; i++) {
        int64_t first = (source->offset + rows->shift + rows->at[i]) * width;
        for (int64_t j = 0; j < width; j++) {
            at[n++] = first + j;
        }
    }
    const struct rows items = { at, (int64_t)count, 0 };
    return take(taking, field->children[0], source->children[0], &items, out->children[0], err);
}

static enum qn_status take_struct(const struct taking *taking, const struct ArrowSchema *field,
                                  const struct ArrowArray *source, const struct rows *rows, struct ArrowArray *out,
                                  struct qn_error *err)
{
    const struct rows inside = { rows->at, rows->n, rows->shift + source->offset };
    for (int64_t i = 0; i < source->n_children; i++) {
        QN_TRY(take(taking, field->children[i], source->children[i], &inside, out->children[i], err));
    }
    return QN_OK;
}

/* ---- columns ---- */

static enum qn_status take_values(const struct taking *taking, const struct ArrowSchema *field,
                                  const struct qn_type *type, const struct ArrowArray *source, const struct rows *rows,
                                  struct ArrowArray *out, struct qn_error *err)
{
    int64_t ignored;
    switch (type->id) {
    case QN_TYPE_BOOL:
        return take_bits(source->buffers[1], source, rows, out, 1, &ignored, err);
    case QN_TYPE_STRING:
    case QN_TYPE_BINARY:
        return take_bytes(taking, source, false, rows, out, err);
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_LARGE_BINARY:
        return take_bytes(taking, source, true, rows, out, err);
    case QN_TYPE_STRING_VIEW:
    case QN_TYPE_BINARY_VIEW:
        return take_views(taking, source, rows, out, err);
    case QN_TYPE_LIST:
    case QN_TYPE_MAP:
        return take_list(taking, field, source, false, rows, out, err);
    case QN_TYPE_LARGE_LIST:
        return take_list(taking, field, source, true, rows, out, err);
    case QN_TYPE_FIXED_LIST:
        return take_fixed_list(taking, field, source, type->width, rows, out, err);
    case QN_TYPE_STRUCT:
        return take_struct(taking, field, source, rows, out, err);
    default:
        return take_fixed(source, qn_type_width(type), rows, out, err);
    }
}

/* The numbers of buffers and children that an array of the type has; views have at least so many buffers. */
static bool has_shape(const struct qn_type *type, const struct ArrowSchema *field, const struct ArrowArray *array)
{
    int64_t buffers = 2;
    switch (type->id) {
    case QN_TYPE_STRING:
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_LARGE_BINARY:
        buffers = 3;
        break;
    case QN_TYPE_STRING_VIEW:
    case QN_TYPE_BINARY_VIEW:
        buffers = array->n_buffers > 3 ? array->n_buffers : 3;
        break;
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_STRUCT:
        buffers = 1;
        break;
    default:
        break;
    }
    return array->n_buffers == buffers && array->n_children == field->n_children &&
           (array->dictionary != NULL) == (field->dictionary != NULL);
}

static enum qn_status take(const struct taking *taking, const struct ArrowSchema *field,
                           const struct ArrowArray *source, const struct rows *rows, struct ArrowArray *out,
                           struct qn_error *err)
{
    struct qn_type type;
    QN_TRY(qn_type_from_format(field->format, &type, err));
    if (type.id == QN_TYPE_OTHER) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%s\": rows of type \"%s\" cannot be chosen one by one",
                            taking->column, field->format);
    }
    if (type.id == QN_TYPE_NULL) {
        QN_TRY(qn__array_new(0, 0, out, err));
        out->length = out->null_count = rows->n;
        return QN_OK;
    }
    if (!has_shape(&type, field, source)) {
        return misshapen(taking, "its buffers or children are not those of its type", err);
    }
    QN_TRY(qn__array_new(source->n_buffers, source->n_children, out, err));
    out->length = rows->n;
    if (source->dictionary != NULL) {
        hold(taking, out);
        out->dictionary = source->dictionary; /* of the source, which releases it */
    }
    QN_TRY(take_validity(source, rows, out, err));
    return take_values(taking, field, &type, source, rows, out, err);
}

static enum qn_status take_column(const struct ArrowSchema *field, struct ArrowArray *column, const struct rows *rows,
                                  struct ArrowArray *out, struct qn_error *err)
{
    struct taking taking = { .column = field->name != NULL ? field->name : "" };
    taking.holder = qn_malloc(sizeof *taking.holder);
    if (taking.holder == NULL) {
        return qn__no_memory(err);
    }
    taking.holder->references = 1;
    qn__array_move(column, &taking.holder->source);
    enum qn_status status = take(&taking, field, &taking.holder->source, rows, out, err);
    holder_unref(taking.holder);
    return status;
}

enum qn_status qn_take_rows(const struct ArrowSchema *schema, struct ArrowArray *batch, const int64_t *rows, int64_t n,
                            struct ArrowArray *out, struct qn_error *err)
{
    const struct rows taken = { rows, n, batch->offset };
    struct ArrowArray made = { 0 };
    enum qn_status status = qn__array_new(1, batch->n_children, &made, err);
    for (int64_t i = 0; status == QN_OK && i < batch->n_children; i++) {
        status = take_column(schema->children[i], batch->children[i], &taken, made.children[i], err);
    }
    qn_array_release(batch);
    if (status != QN_OK) {
        qn_array_release(&made);
        return status;
    }
    made.length = n;
    qn__array_move(&made, out);
    return QN_OK;
}
