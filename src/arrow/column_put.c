/*
 * column_put.c: the puts that are not inline: nulls, long and offset values, ends of lists and structs.
 *
 * Owns the blocks of view columns while they are written: the current block is `bytes`, with index n_blocks; a block that
 * is full goes to `blocks` and is never written again. Threads: one at a time.
 */
#include "arrow/column.h"

#include "arrow/column_private.h"
#include "base/memory.h"

#define MIN_BLOCK   (INT64_C(32) << 10)
#define MAX_BLOCK   (INT64_C(1) << 20)
#define FIRST_BLOCK 1008 /* of a column that has room for FEW_VALUES at most */
#define FEW_VALUES  64
#define MIN_BYTES   INT64_C(1024) /* first size of the bytes of an offsets column */
#define BLOCK_TRIM  4             /* a block that leaves more than a fourth of itself unused is cut */

static bool grow_block_list(struct qn_column *column)
{
    if (column->n_blocks < column->blocks_capacity) {
        return true;
    }
    if (column->n_blocks >= INT32_MAX / 4) {
        return false;
    }
    int32_t capacity = column->blocks_capacity > 0 ? column->blocks_capacity * 2 : 8;
    char **blocks = qn_realloc_array(column->blocks, (size_t)capacity, sizeof *blocks);
    if (blocks == NULL) {
        return false;
    }
    column->blocks = blocks;
    int64_t *sizes = qn_realloc_array(column->block_sizes, (size_t)capacity, sizeof *sizes);
    if (sizes == NULL) {
        return false;
    }
    column->block_sizes = sizes;
    column->blocks_capacity = capacity;
    return true;
}

/* Put the current block away and begin one that takes at least `size` bytes. */
static bool next_block(struct qn_column *column, int64_t size)
{
    if (column->bytes_used > 0 && !grow_block_list(column)) {
        return false;
    }
    int32_t full_blocks = column->n_blocks + (column->bytes_used > 0 ? 1 : 0);
    int64_t capacity = full_blocks < 5 ? MIN_BLOCK << full_blocks : MAX_BLOCK;
    if (full_blocks == 0 && column->capacity <= FEW_VALUES) {
        capacity = FIRST_BLOCK;
    }
    capacity = capacity < size ? size : capacity;
    char *block = qn_malloc((size_t)capacity);
    if (block == NULL) {
        return false;
    }
    if (column->bytes_used > 0) {
        char *full = column->bytes;
        if (column->bytes_capacity - column->bytes_used > column->bytes_capacity / BLOCK_TRIM) {
            char *cut = qn_realloc(full, (size_t)column->bytes_used);
            full = cut != NULL ? cut : full;
        }
        column->blocks[column->n_blocks] = full;
        column->block_sizes[column->n_blocks] = column->bytes_used;
        column->n_blocks++;
    } else {
        qn_free(column->bytes);
    }
    column->bytes = block;
    column->bytes_used = 0;
    column->bytes_capacity = capacity;
    return true;
}

static bool grow_bytes(struct qn_column *column, int64_t size)
{
    int64_t wanted = column->bytes_used + size;
    int64_t least = column->bytes_hint > MIN_BYTES ? column->bytes_hint : MIN_BYTES;
    int64_t capacity = column->bytes_capacity * 2 < least ? least : column->bytes_capacity * 2;
    capacity = capacity < wanted ? wanted : capacity;
    char *bytes = qn_realloc(column->bytes, (size_t)capacity);
    if (bytes == NULL) {
        return false;
    }
    column->bytes = bytes;
    column->bytes_capacity = capacity;
    return true;
}

char *qn__column_bytes(struct qn_column *column, size_t size)
{
    if (size > QN_VALUE_MAX_BYTES ||
        (column->layout == QN_LAYOUT_OFFSETS32 && column->bytes_used + (int64_t)size > INT32_MAX)) {
        qn__column_fail(column, QN__FAIL_LIMIT);
        return NULL;
    }
    if (column->bytes == NULL || (size_t)(column->bytes_capacity - column->bytes_used) < size) {
        bool grown =
            column->layout == QN_LAYOUT_VIEW ? next_block(column, (int64_t)size) : grow_bytes(column, (int64_t)size);
        if (!grown) {
            qn__column_fail(column, QN__FAIL_MEMORY);
            return NULL;
        }
    }
    return column->bytes + column->bytes_used;
}

/* The offset at the end of the value that is being put. */
static void store_end(struct qn_column *column, int64_t end)
{
    if (column->width == 4) {
        int32_t offset = (int32_t)end;
        memcpy(column->data + (size_t)(column->length + 1) * sizeof offset, &offset, sizeof offset);
    } else {
        memcpy(column->data + (size_t)(column->length + 1) * sizeof end, &end, sizeof end);
    }
}

static void put_offsets(struct qn_column *column, const char *bytes, size_t size)
{
    char *room = qn__column_bytes(column, size);
    if (room != NULL) {
        if (room != bytes && size > 0) {
            memcpy(room, bytes, size);
        }
        column->bytes_used += (int64_t)size;
        column->total_bytes += (int64_t)size;
    }
    qn__column_mark_valid(column);
    store_end(column, column->bytes_used);
    column->length++;
}

void qn__column_put_long(struct qn_column *column, const char *bytes, size_t size)
{
    if (column->layout != QN_LAYOUT_VIEW) {
        put_offsets(column, bytes, size);
        return;
    }
    uint64_t first = 0, second = 0;
    char *room = column->bytes + column->bytes_used;
    if (QN_UNLIKELY(column->bytes == NULL || (size_t)(column->bytes_capacity - column->bytes_used) < size)) {
        room = qn__column_bytes(column, size);
    }
    if (QN_LIKELY(room != NULL)) {
        if (room != bytes) {
            memcpy(room, bytes, size);
        }
        uint32_t prefix;
        memcpy(&prefix, bytes, sizeof prefix);
        first = (uint64_t)size | (uint64_t)prefix << 32;
        second = (uint64_t)(uint32_t)column->n_blocks | (uint64_t)column->bytes_used << 32;
        column->bytes_used += (int64_t)size;
        column->total_bytes += (int64_t)size;
    }
    qn__column_mark_valid(column);
    qn__column_store_view(column, first, second);
    column->length++;
}

/* A struct's null needs a null in every child; nobody has reserved room for it. */
static void put_null_child(struct qn_column *child)
{
    if (qn_column_reserve(child, 1, NULL) != QN_OK) {
        qn__column_fail(child, QN__FAIL_MEMORY);
        return;
    }
    qn_column_put_null(child);
}

void qn_column_put_null(struct qn_column *column)
{
    if (QN_UNLIKELY(column->validity == NULL && column->layout != QN_LAYOUT_NULL)) {
        qn__column_start_validity(column);
    }
    switch (column->layout) {
    case QN_LAYOUT_FIXED:
    case QN_LAYOUT_VIEW:
        if (column->width == 8) {
            memset(column->data + (size_t)column->length * 8, 0, 8);
        } else if (column->width == 4) {
            memset(column->data + (size_t)column->length * 4, 0, 4);
        } else {
            memset(column->data + (size_t)column->length * column->width, 0, column->width);
        }
        break;
    case QN_LAYOUT_OFFSETS32:
    case QN_LAYOUT_OFFSETS64:
    case QN_LAYOUT_LIST:
        memcpy(column->data + (size_t)(column->length + 1) * column->width,
               column->data + (size_t)column->length * column->width, column->width);
        break;
    case QN_LAYOUT_STRUCT:
        for (int64_t i = 0; i < column->n_children; i++) {
            put_null_child(&column->children[i]);
        }
        break;
    case QN_LAYOUT_NULL:
    case QN_LAYOUT_BITS:
        break;
    }
    column->length++;
    column->null_count++;
}

void qn_column_put_interval(struct qn_column *column, int32_t months, int32_t days, int64_t nanos)
{
    uint8_t *at = column->data + (size_t)column->length * 16;
    qn__column_mark_valid(column);
    memcpy(at, &months, sizeof months);
    memcpy(at + 4, &days, sizeof days);
    memcpy(at + 8, &nanos, sizeof nanos);
    column->length++;
}

void qn_column_put_fixed(struct qn_column *column, const void *bytes)
{
    qn__column_mark_valid(column);
    if (column->width > 0) {
        memcpy(column->data + (size_t)column->length * column->width, bytes, column->width);
    }
    column->length++;
}

enum qn_status qn_column_end_list(struct qn_column *column, struct qn_error *err)
{
    int64_t end = column->children[0].length;
    if (column->width == 4 && end > INT32_MAX) {
        enum qn_status status = qn_error_set(err, QN_ERR_DATA, "column \"%s\": more than %d list items in one batch",
                                             column->name, INT32_MAX);
        qn_error_place(err, column->length, column->name);
        return status;
    }
    qn__column_mark_valid(column);
    store_end(column, end);
    column->length++;
    return QN_OK;
}

void qn_column_end_struct(struct qn_column *column)
{
    qn__column_mark_valid(column);
    column->length++;
}
