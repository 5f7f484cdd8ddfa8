/*
 * column.c: memory of column builders: preparing, growing, moving out, cutting off.
 *
 * Owns the life of a column's buffers; the puts that are not inline are in column_put.c, changes of type in
 * column_convert.c. Invariants: data has room for `capacity` values (offsets: one more), bits and validity for as many
 * bits, and those past `length` are zero. n_blocks full blocks, then the current one in `bytes`. Threads: one at a time.
 */
#include "arrow/column.h"

#include "arrow/array.h"
#include "arrow/column_private.h"
#include "arrow/type_parse.h"
#include "base/memory.h"

#include <string.h>

#define MAX_HINT     (INT64_C(64) << 20) /* bytes asked for at once on the strength of the last batch */
#define MIN_CAPACITY 64                  /* values; capacities are multiples of it, so that bitmaps are whole words */

static bool is_bitmap(const struct qn_column *column)
{
    return column->layout == QN_LAYOUT_BITS;
}

static size_t bitmap_bytes(int64_t bits)
{
    return (size_t)((bits + 7) / 8);
}

/* Bytes of `data` for so many values. */
static bool data_bytes(const struct qn_column *column, int64_t values, size_t *out)
{
    switch (column->layout) {
    case QN_LAYOUT_BITS:
        *out = bitmap_bytes(values);
        return true;
    case QN_LAYOUT_FIXED:
    case QN_LAYOUT_VIEW:
        return qn_size_mul((size_t)values, column->width, out);
    case QN_LAYOUT_OFFSETS32:
    case QN_LAYOUT_OFFSETS64:
    case QN_LAYOUT_LIST:
        return qn_size_mul((size_t)values + 1, column->width, out);
    default:
        *out = 0;
        return true;
    }
}

static enum qn_status set_layout(struct qn_column *column, const struct ArrowSchema *field, struct qn_error *err)
{
    column->width = qn_type_width(&column->type);
    switch (column->type.id) {
    case QN_TYPE_NULL:
        column->layout = QN_LAYOUT_NULL;
        return QN_OK;
    case QN_TYPE_BOOL:
        column->layout = QN_LAYOUT_BITS;
        return QN_OK;
    case QN_TYPE_STRING_VIEW:
    case QN_TYPE_BINARY_VIEW:
        column->layout = QN_LAYOUT_VIEW;
        return QN_OK;
    case QN_TYPE_STRING:
    case QN_TYPE_BINARY:
        column->layout = QN_LAYOUT_OFFSETS32;
        column->width = 4;
        return QN_OK;
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_LARGE_BINARY:
        column->layout = QN_LAYOUT_OFFSETS64;
        column->width = 8;
        return QN_OK;
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_MAP:
        column->layout = QN_LAYOUT_LIST;
        column->width = column->type.id == QN_TYPE_LARGE_LIST ? 8 : 4;
        if (field->n_children != 1) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "column \"%s\": a list has one child, not %lld", column->name,
                                (long long)field->n_children);
        }
        return QN_OK;
    case QN_TYPE_STRUCT:
        column->layout = QN_LAYOUT_STRUCT;
        return QN_OK;
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_OTHER:
        break;
    default:
        column->layout = QN_LAYOUT_FIXED;
        return QN_OK;
    }
    char quoted[QN__QUOTED_SIZE];
    qn__type_quote(field->format, quoted);
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%s\": values of Arrow format \"%s\" cannot be built",
                        column->name, quoted);
}

static enum qn_status init_level(struct qn_column *column, const struct ArrowSchema *field, struct qn_error *err)
{
    *column = (struct qn_column){ .failed_row = -1 };
    QN_TRY(qn_type_from_format(field->format, &column->type, err));
    column->name = qn_strdup(field->name != NULL ? field->name : "");
    if (column->name == NULL) {
        return qn__no_memory(err);
    }
    if (field->dictionary != NULL) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%s\": dictionary-encoded values cannot be built",
                            column->name);
    }
    QN_TRY(set_layout(column, field, err));
    if (field->n_children > 0 && (column->layout == QN_LAYOUT_LIST || column->layout == QN_LAYOUT_STRUCT)) {
        column->children = qn_calloc((size_t)field->n_children, sizeof *column->children);
        if (column->children == NULL) {
            return qn__no_memory(err);
        }
        column->n_children = field->n_children;
        for (int64_t i = 0; i < field->n_children; i++) {
            QN_TRY(init_level(&column->children[i], field->children[i], err));
        }
    }
    return QN_OK;
}

enum qn_status qn_column_init(struct qn_column *column, const struct ArrowSchema *field, struct qn_error *err)
{
    struct qn_column made = { 0 };
    QN_TRY(qn__schema_check(field, err));
    enum qn_status status = init_level(&made, field, err);
    if (status != QN_OK) {
        qn_column_dispose(&made);
        return status;
    }
    *column = made;
    return QN_OK;
}

/* Free all values; type, name and children stay. */
static void drop_values(struct qn_column *column)
{
    for (int32_t i = 0; i < column->n_blocks; i++) {
        qn_free(column->blocks[i]);
    }
    qn_free(column->blocks);
    qn_free(column->block_sizes);
    qn_free(column->bytes);
    qn_free(column->data);
    qn_free(column->validity);
}

/* The empty state after the values have been freed or moved out. */
static void forget_values(struct qn_column *column)
{
    int64_t used = column->layout == QN_LAYOUT_VIEW ? 0 : column->bytes_used + column->bytes_used / 8;
    *column = (struct qn_column){ .layout = column->layout,
                                  .type = column->type,
                                  .width = column->width,
                                  .failed_row = -1,
                                  .name_lent = column->name_lent,
                                  .name = column->name,
                                  .bytes_hint = used < MAX_HINT ? used : MAX_HINT,
                                  .children = column->children,
                                  .n_children = column->n_children };
}

void qn_column_dispose(struct qn_column *column)
{
    for (int64_t i = 0; i < column->n_children; i++) {
        qn_column_dispose(&column->children[i]);
    }
    qn_free(column->children);
    if (!column->name_lent) {
        qn_free(column->name);
    }
    drop_values(column);
    *column = (struct qn_column){ 0 };
}

enum qn_status qn_column_reserve(struct qn_column *column, int64_t n, struct qn_error *err)
{
    if (n <= column->capacity - column->length) {
        return QN_OK;
    }
    int64_t wanted;
    if (n < 0 || __builtin_add_overflow(column->length, n, &wanted) || wanted > INT64_MAX / 2) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "column \"%s\": %lld more values are too many", column->name,
                            (long long)n);
    }
    int64_t capacity = column->capacity + column->capacity / 2;
    capacity = capacity < wanted ? wanted : capacity;
    capacity = (capacity + MIN_CAPACITY - 1) / MIN_CAPACITY * MIN_CAPACITY;
    size_t size = 0, old_bits = bitmap_bytes(column->capacity), bits = bitmap_bytes(capacity);
    if (!data_bytes(column, capacity, &size)) {
        return qn__no_memory(err);
    }
    if (column->validity != NULL) {
        uint8_t *validity = qn_realloc(column->validity, bits);
        if (validity == NULL) {
            return qn__no_memory(err);
        }
        memset(validity + old_bits, 0, bits - old_bits);
        column->validity = validity;
    }
    if (column->layout != QN_LAYOUT_NULL && column->layout != QN_LAYOUT_STRUCT) {
        uint8_t *data = qn_realloc(column->data, size > 0 ? size : 1);
        if (data == NULL) {
            return qn__no_memory(err);
        }
        if (is_bitmap(column)) {
            memset(data + old_bits, 0, bits - old_bits);
        } else if (column->data == NULL) {
            memset(data, 0, column->width < size ? column->width : size); /* the first offset */
        }
        column->data = data;
    }
    column->capacity = capacity;
    return QN_OK;
}

void qn__column_start_validity(struct qn_column *column)
{
    size_t size = bitmap_bytes(column->capacity);
    uint8_t *validity = qn_malloc(size > 0 ? size : 1);
    if (validity == NULL) {
        qn__column_fail(column, QN__FAIL_MEMORY);
        return;
    }
    size_t whole = (size_t)(column->length / 8);
    memset(validity, 0xFF, whole);
    if (size > whole) {
        memset(validity + whole, 0, size - whole);
        validity[whole] = (uint8_t)((1U << (column->length & 7)) - 1);
    }
    column->validity = validity;
}

void qn__column_fail(struct qn_column *column, enum qn__column_failure failure)
{
    if (!column->failed) {
        column->failed = true;
        column->over_limit = failure == QN__FAIL_LIMIT;
        column->failed_row = column->length;
    }
}

/* ---- moving out ---- */

/* Give back memory that the values do not use, where it is worth a call. The old memory serves where that fails. */
static void *trim(void *memory, size_t used, size_t capacity)
{
    if (memory == NULL || capacity - used < 4096 || capacity - used < capacity / 4) {
        return memory;
    }
    void *trimmed = qn_realloc(memory, used > 0 ? used : 1);
    return trimmed != NULL ? trimmed : memory;
}

/* Move `data` (never NULL afterwards) and validity into the first buffers. */
static void hand_out(struct qn_column *column, struct ArrowArray *out, int64_t data_at)
{
    if (column->null_count > 0) {
        out->buffers[0] = trim(column->validity, bitmap_bytes(column->length), bitmap_bytes(column->capacity));
        column->validity = NULL;
    }
    if (data_at > 0) {
        size_t used = 0, capacity = 0;
        (void)data_bytes(column, column->length, &used);
        (void)data_bytes(column, column->capacity, &capacity);
        out->buffers[data_at] = column->data != NULL ? trim(column->data, used, capacity) : qn__empty_buffer;
        column->data = NULL;
    }
}

/* Buffers: validity, views, blocks, sizes of the blocks. */
static enum qn_status finish_view(struct qn_column *column, struct ArrowArray *out, struct qn_error *err)
{
    int64_t n_blocks = column->n_blocks + (column->bytes_used > 0 ? 1 : 0);
    int64_t *sizes = qn_malloc((size_t)(n_blocks > 0 ? n_blocks : 1) * sizeof *sizes);
    if (sizes == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn__array_new(n_blocks + 3, 0, out, err);
    if (status != QN_OK) {
        qn_free(sizes);
        return status;
    }
    sizes[0] = 0;
    for (int32_t i = 0; i < column->n_blocks; i++) {
        out->buffers[2 + i] = column->blocks[i];
        sizes[i] = column->block_sizes[i];
    }
    column->n_blocks = 0;
    if (column->bytes_used > 0) {
        out->buffers[1 + n_blocks] = trim(column->bytes, (size_t)column->bytes_used, (size_t)column->bytes_capacity);
        sizes[n_blocks - 1] = column->bytes_used;
        column->bytes = NULL;
    }
    out->buffers[2 + n_blocks] = sizes;
    hand_out(column, out, 1);
    return QN_OK;
}

static enum qn_status finish_nested(struct qn_column *column, struct ArrowArray *out, struct qn_error *err)
{
    bool list = column->layout == QN_LAYOUT_LIST;
    for (int64_t i = 0; i < column->n_children && !list; i++) {
        if (column->children[i].length != column->length) {
            return qn_error_set(err, QN_ERR_INTERNAL, "column \"%s\": %lld values, but %lld of field \"%s\"",
                                column->name, (long long)column->length, (long long)column->children[i].length,
                                column->children[i].name);
        }
    }
    QN_TRY(qn__array_new(list ? 2 : 1, column->n_children, out, err));
    for (int64_t i = 0; i < column->n_children; i++) {
        enum qn_status status = qn_column_finish(&column->children[i], out->children[i], err);
        if (status != QN_OK) {
            qn_array_release(out);
            return status;
        }
    }
    hand_out(column, out, list ? 1 : 0);
    return QN_OK;
}

enum qn_status qn__column_check(const struct qn_column *column, struct qn_error *err)
{
    for (int64_t i = 0; i < column->n_children; i++) {
        QN_TRY(qn__column_check(&column->children[i], err));
    }
    if (!column->failed) {
        return QN_OK;
    }
    if (!column->over_limit) {
        return qn__no_memory(err);
    }
    enum qn_status status =
        qn_error_set(err, QN_ERR_DATA, "column \"%s\": more than %d bytes in one value or one batch of this layout",
                     column->name, QN_VALUE_MAX_BYTES);
    qn_error_place(err, column->failed_row, column->name);
    return status;
}

static enum qn_status finish_layout(struct qn_column *column, struct ArrowArray *out, struct qn_error *err)
{
    switch (column->layout) {
    case QN_LAYOUT_NULL:
        return qn__array_new(0, 0, out, err);
    case QN_LAYOUT_VIEW:
        return finish_view(column, out, err);
    case QN_LAYOUT_OFFSETS32:
    case QN_LAYOUT_OFFSETS64:
        QN_TRY(qn__array_new(3, 0, out, err));
        out->buffers[2] = qn__empty_buffer;
        if (column->bytes != NULL) {
            out->buffers[2] = trim(column->bytes, (size_t)column->bytes_used, (size_t)column->bytes_capacity);
            column->bytes = NULL;
        }
        hand_out(column, out, 1);
        return QN_OK;
    case QN_LAYOUT_LIST:
    case QN_LAYOUT_STRUCT:
        return finish_nested(column, out, err);
    default:
        QN_TRY(qn__array_new(2, 0, out, err));
        hand_out(column, out, 1);
        return QN_OK;
    }
}

enum qn_status qn_column_finish(struct qn_column *column, struct ArrowArray *out, struct qn_error *err)
{
    struct ArrowArray array = { 0 };
    QN_TRY(qn__column_check(column, err));
    enum qn_status status = finish_layout(column, &array, err);
    if (status != QN_OK) {
        qn__column_fail(column, QN__FAIL_MEMORY); /* children may be gone: nothing more can come of these values */
        return status;
    }
    array.length = column->length;
    array.null_count = column->layout == QN_LAYOUT_NULL ? column->length : column->null_count;
    drop_values(column);
    forget_values(column);
    *out = array;
    return QN_OK;
}

/* ---- cutting off ---- */

static void truncate_views(struct qn_column *column, int64_t length)
{
    for (int64_t i = column->length - 1; i >= length; i--) {
        union qn_view view;
        memcpy(&view, column->data + (size_t)i * sizeof view, sizeof view);
        if (view.inlined.size > QN_VIEW_INLINE) {
            column->total_bytes -= view.inlined.size;
            if (view.reference.block == column->n_blocks) {
                column->bytes_used = view.reference.offset;
            }
        }
    }
}

static int64_t offset_at(const struct qn_column *column, int64_t i)
{
    if (column->data == NULL) {
        return 0;
    }
    if (column->width == 4) {
        int32_t offset;
        memcpy(&offset, column->data + (size_t)i * 4, 4);
        return offset;
    }
    int64_t offset;
    memcpy(&offset, column->data + (size_t)i * 8, 8);
    return offset;
}

/* Count the nulls that go, and clear the bits. */
static void truncate_bits(struct qn_column *column, int64_t length)
{
    for (int64_t i = length; i < column->length; i++) {
        uint8_t mask = (uint8_t) ~(1U << (i & 7));
        if (column->validity != NULL) {
            column->null_count -= !((column->validity[i >> 3] >> (i & 7)) & 1);
            column->validity[i >> 3] &= mask;
        }
        if (is_bitmap(column)) {
            column->data[i >> 3] &= mask;
        }
    }
}

void qn_column_truncate(struct qn_column *column, int64_t length)
{
    if (length >= column->length) {
        return;
    }
    truncate_bits(column, length);
    switch (column->layout) {
    case QN_LAYOUT_VIEW:
        truncate_views(column, length);
        break;
    case QN_LAYOUT_OFFSETS32:
    case QN_LAYOUT_OFFSETS64: {
        int64_t used = offset_at(column, length);
        column->total_bytes -= column->bytes_used - used;
        column->bytes_used = used;
        break;
    }
    case QN_LAYOUT_LIST:
        qn_column_truncate(&column->children[0], offset_at(column, length));
        break;
    case QN_LAYOUT_STRUCT:
        for (int64_t i = 0; i < column->n_children; i++) {
            qn_column_truncate(&column->children[i], length);
        }
        break;
    default:
        break;
    }
    column->length = length;
    column->null_count = column->layout == QN_LAYOUT_NULL ? length : column->null_count;
}
