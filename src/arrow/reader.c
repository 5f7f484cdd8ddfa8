/*
 * reader.c: preparing readers for fields and binding them to arrays from outside.
 *
 * Owns every check of an array's shape: lengths, offsets, numbers of buffers and children, pointers that may not be NULL,
 * the ends of offset buffers, the indices of dictionaries. What the interface cannot show (how long buffers really are)
 * is trusted. The getters are in reader_value.c. Threads: binding is done by one.
 */
#include "arrow/reader.h"

#include "arrow/stream.h"
#include "arrow/type_parse.h"
#include "base/memory.h"

#include <limits.h>

#define MAX_END (INT64_MAX / 64) /* of offset + length: no byte count of a fixed-width buffer overflows */

static enum qn_status init_level(struct qn_reader *reader, const struct ArrowSchema *field, struct qn_error *err);

static enum qn_status init_children(struct qn_reader *reader, const struct ArrowSchema *field, struct qn_error *err)
{
    bool list = reader->type.id == QN_TYPE_LIST || reader->type.id == QN_TYPE_LARGE_LIST ||
                reader->type.id == QN_TYPE_FIXED_LIST || reader->type.id == QN_TYPE_MAP;
    if (!list && reader->type.id != QN_TYPE_STRUCT) {
        return QN_OK;
    }
    if (list && field->n_children != 1) {
        return qn_error_set(err, QN_ERR_DATA, "column \"%s\": a list has one child, not %lld", reader->name,
                            (long long)field->n_children);
    }
    if (field->n_children == 0) {
        return QN_OK;
    }
    reader->children = qn_calloc((size_t)field->n_children, sizeof *reader->children);
    if (reader->children == NULL) {
        return qn__no_memory(err);
    }
    reader->n_children = field->n_children;
    for (int64_t i = 0; i < field->n_children; i++) {
        QN_TRY(init_level(&reader->children[i], field->children[i], err));
    }
    const struct qn_reader *entry = &reader->children[0];
    if (reader->type.id == QN_TYPE_MAP &&
        (entry->dictionary != NULL || entry->type.id != QN_TYPE_STRUCT || entry->n_children != 2)) {
        return qn_error_set(err, QN_ERR_DATA, "column \"%s\": the entries of a map are structs of a key and a value",
                            reader->name);
    }
    return QN_OK;
}

static bool is_integer(enum qn_type_id id)
{
    return id >= QN_TYPE_INT8 && id <= QN_TYPE_UINT64;
}

static enum qn_status init_level(struct qn_reader *reader, const struct ArrowSchema *field, struct qn_error *err)
{
    reader->name = qn_strdup(field->name != NULL ? field->name : "");
    if (reader->name == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_type_from_format(field->format, &reader->type, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "column \"%s\"", reader->name);
        return status;
    }
    if (field->dictionary == NULL) {
        return init_children(reader, field, err);
    }
    reader->index_type = reader->type;
    if (!is_integer(reader->index_type.id)) {
        return qn_error_set(err, QN_ERR_DATA, "column \"%s\": the indices of a dictionary are integers", reader->name);
    }
    reader->dictionary = qn_calloc(1, sizeof *reader->dictionary);
    if (reader->dictionary == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(init_level(reader->dictionary, field->dictionary, err));
    reader->type = reader->dictionary->type;
    reader->children = reader->dictionary->children;
    reader->n_children = reader->dictionary->n_children;
    return QN_OK;
}

enum qn_status qn_reader_init(struct qn_reader *reader, const struct ArrowSchema *field, struct qn_error *err)
{
    struct qn_reader made = { 0 };
    QN_TRY(qn__schema_check(field, err));
    enum qn_status status = init_level(&made, field, err);
    if (status != QN_OK) {
        qn_reader_dispose(&made);
        return status;
    }
    *reader = made;
    return QN_OK;
}

void qn_reader_dispose(struct qn_reader *reader)
{
    if (reader->dictionary != NULL) {
        qn_reader_dispose(reader->dictionary);
        qn_free(reader->dictionary);
    } else {
        for (int64_t i = 0; i < reader->n_children; i++) {
            qn_reader_dispose(&reader->children[i]);
        }
        qn_free(reader->children);
    }
    qn_free(reader->name);
    *reader = (struct qn_reader){ 0 };
}

/* ---- binding ---- */

static enum qn_status misshapen(const struct qn_reader *reader, const char *what, struct qn_error *err)
{
    enum qn_status status =
        qn_error_set(err, QN_ERR_DATA, "column \"%s\": malformed Arrow array: %s", reader->name, what);
    qn_error_place(err, -1, reader->name);
    return status;
}

static bool is_view(enum qn_type_id id)
{
    return id == QN_TYPE_STRING_VIEW || id == QN_TYPE_BINARY_VIEW;
}

/* Width of the offsets of a type; 0 where it has none. */
static size_t offset_width(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_STRING:
    case QN_TYPE_BINARY:
    case QN_TYPE_LIST:
    case QN_TYPE_MAP:
        return 4;
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_LARGE_LIST:
        return 8;
    default:
        return 0;
    }
}

/* Buffers that an array of this type has; views have at least this many. */
static int64_t expected_buffers(const struct qn_type *type)
{
    if (type->id == QN_TYPE_NULL) {
        return 0;
    }
    if (type->id == QN_TYPE_STRUCT || type->id == QN_TYPE_FIXED_LIST) {
        return 1;
    }
    if (is_view(type->id) || qn__type_is_text(type->id) || qn__type_is_binary(type->id)) {
        return 3;
    }
    return 2;
}

static enum qn_status check_head(const struct qn_reader *reader, const struct qn_type *type,
                                 const struct ArrowArray *array, struct qn_error *err)
{
    if (array == NULL || array->release == NULL) {
        return misshapen(reader, "it is missing or released", err);
    }
    if (array->length < 0 || array->offset < 0 || array->length > MAX_END || array->offset > MAX_END - array->length) {
        return misshapen(reader, "bad length or offset", err);
    }
    if (array->null_count < -1 || array->null_count > array->length) {
        return misshapen(reader, "bad null count", err);
    }
    int64_t expected = expected_buffers(type);
    bool good_count = is_view(type->id) ? array->n_buffers >= expected && array->n_buffers <= INT32_MAX
                                        : array->n_buffers == expected;
    if (type->id == QN_TYPE_NULL) {
        good_count = array->n_buffers == 0 || array->n_buffers == 1; /* polars writes a validity bitmap: never read */
    }
    if (!good_count || (expected > 0 && array->buffers == NULL)) {
        return misshapen(reader, "bad number of buffers", err);
    }
    if (expected > 0 && array->buffers[0] == NULL && array->null_count > 0) {
        return misshapen(reader, "nulls without a validity buffer", err);
    }
    if ((array->dictionary != NULL) != (reader->dictionary != NULL)) {
        return misshapen(reader, "a dictionary that the schema does not have, or none", err);
    }
    return QN_OK;
}

static int64_t load_offset(const uint8_t *offsets, size_t width, int64_t i)
{
    if (width == 4) {
        int32_t offset;
        memcpy(&offset, offsets + (size_t)i * 4, 4);
        return offset;
    }
    int64_t offset;
    memcpy(&offset, offsets + (size_t)i * 8, 8);
    return offset;
}

/* The ends of the offsets in use; the pairs between are checked by the getters. */
static enum qn_status bind_offsets(struct qn_reader *reader, const struct ArrowArray *array, struct qn_error *err)
{
    size_t width = offset_width(reader->type.id);
    reader->bytes_size = 0;
    if (reader->data == NULL) {
        return array->length > 0 ? misshapen(reader, "no offsets", err) : QN_OK;
    }
    if (array->length == 0) {
        return QN_OK;
    }
    int64_t first = load_offset(reader->data, width, array->offset);
    int64_t last = load_offset(reader->data, width, array->offset + array->length);
    if (first < 0 || last < first) {
        return misshapen(reader, "offsets are negative or run backwards", err);
    }
    reader->bytes_size = last;
    return QN_OK;
}

static enum qn_status bind_views(struct qn_reader *reader, const struct ArrowArray *array, struct qn_error *err)
{
    reader->n_blocks = array->n_buffers - 3;
    reader->blocks = (const char *const *)(array->buffers + 2);
    reader->block_sizes = array->buffers[array->n_buffers - 1];
    if (reader->n_blocks > 0 && reader->block_sizes == NULL) {
        return misshapen(reader, "blocks of views without their sizes", err);
    }
    for (int64_t i = 0; i < reader->n_blocks; i++) {
        if (reader->block_sizes[i] < 0 || (reader->blocks[i] == NULL && reader->block_sizes[i] > 0)) {
            return misshapen(reader, "a block of views is missing", err);
        }
    }
    return reader->data == NULL && array->length > 0 ? misshapen(reader, "no views", err) : QN_OK;
}

static enum qn_status bind_fixed(struct qn_reader *reader, const struct ArrowArray *array, uint32_t width,
                                 struct qn_error *err)
{
    int64_t bytes;
    if (__builtin_mul_overflow(array->offset + array->length, (int64_t)width, &bytes)) {
        return misshapen(reader, "its bytes cannot be counted", err);
    }
    return reader->data == NULL && array->length > 0 && (width > 0 || reader->type.id == QN_TYPE_BOOL)
               ? misshapen(reader, "no values", err)
               : QN_OK;
}

static enum qn_status bind_level(struct qn_reader *reader, const struct ArrowArray *array, struct qn_error *err);

/* Children of structs and lists, which must hold what their parent points at. */
static enum qn_status bind_children(struct qn_reader *reader, const struct ArrowArray *array, struct qn_error *err)
{
    if (array->n_children != reader->n_children || (array->n_children > 0 && array->children == NULL)) {
        return misshapen(reader, "bad number of children", err);
    }
    int64_t end = array->offset + array->length;
    int64_t needed = reader->type.id == QN_TYPE_STRUCT ? end : reader->bytes_size;
    if (reader->type.id == QN_TYPE_FIXED_LIST && __builtin_mul_overflow(end, (int64_t)reader->type.width, &needed)) {
        return misshapen(reader, "its items cannot be counted", err);
    }
    for (int64_t i = 0; i < reader->n_children; i++) {
        QN_TRY(bind_level(&reader->children[i], array->children[i], err));
        if (reader->children[i].length < needed) {
            return misshapen(reader, "a child is shorter than what it needs", err);
        }
    }
    return QN_OK;
}

/* Every index of a row that is not null must be in the dictionary. */
static enum qn_status bind_dictionary(struct qn_reader *reader, const struct ArrowArray *array, struct qn_error *err)
{
    QN_TRY(bind_fixed(reader, array, qn_type_width(&reader->index_type), err));
    QN_TRY(bind_level(reader->dictionary, array->dictionary, err));
    for (int64_t row = 0; row < array->length; row++) {
        int64_t at = array->offset + row;
        bool valid = reader->validity == NULL || ((reader->validity[at >> 3] >> (at & 7)) & 1);
        if (valid && qn__reader_index(reader, row) < 0) {
            enum qn_status status = misshapen(reader, "an index outside of the dictionary", err);
            qn_error_place(err, row, reader->name);
            return status;
        }
    }
    return QN_OK;
}

static enum qn_status bind_level(struct qn_reader *reader, const struct ArrowArray *array, struct qn_error *err)
{
    bool encoded = reader->dictionary != NULL;
    const struct qn_type *type = encoded ? &reader->index_type : &reader->type;
    if (type->id == QN_TYPE_OTHER) { /* nothing reads its values */
        reader->length = array != NULL ? array->length : 0;
        return array == NULL || array->release == NULL || array->length < 0 ? misshapen(reader, "bad length", err)
                                                                            : QN_OK;
    }
    QN_TRY(check_head(reader, type, array, err));
    int64_t n_buffers = expected_buffers(type);
    reader->length = array->length;
    reader->offset = array->offset;
    reader->validity = n_buffers > 0 && array->null_count != 0 ? array->buffers[0] : NULL;
    reader->data = n_buffers > 1 ? array->buffers[1] : NULL;
    reader->nullable_seen = reader->validity != NULL || type->id == QN_TYPE_NULL;
    if (encoded) {
        return bind_dictionary(reader, array, err);
    }
    if (is_view(type->id)) {
        return bind_views(reader, array, err);
    }
    if (offset_width(type->id) > 0) {
        QN_TRY(bind_offsets(reader, array, err));
        if (n_buffers == 3) {
            reader->bytes = array->buffers[2];
            return reader->bytes == NULL && reader->bytes_size > 0 ? misshapen(reader, "no bytes", err) : QN_OK;
        }
        return bind_children(reader, array, err);
    }
    if (n_buffers == 1) {
        return bind_children(reader, array, err);
    }
    return n_buffers == 0 ? QN_OK : bind_fixed(reader, array, qn_type_width(type), err);
}

enum qn_status qn_reader_bind(struct qn_reader *reader, const struct ArrowArray *array, struct qn_error *err)
{
    return bind_level(reader, array, err);
}

/* ---- batches ---- */

enum qn_status qn_batch_reader_init(struct qn_batch_reader *reader, const struct ArrowSchema *schema,
                                    struct qn_error *err)
{
    QN_TRY(qn__schema_check(schema, err));
    struct qn_type type;
    QN_TRY(qn_type_from_format(schema->format, &type, err));
    if (type.id != QN_TYPE_STRUCT || schema->dictionary != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "rows come as struct arrays; the schema's format is another");
    }
    struct qn_batch_reader made = { .columns = qn_calloc((size_t)schema->n_children, sizeof *made.columns) };
    if (made.columns == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        enum qn_status status = qn_reader_init(&made.columns[i], schema->children[i], err);
        if (status != QN_OK) {
            qn_batch_reader_dispose(&made);
            return status;
        }
        made.n_columns = i + 1;
    }
    *reader = made;
    return QN_OK;
}

/* The first row that is null at the struct level, or -1. */
static int64_t first_null_row(const struct ArrowArray *array)
{
    const uint8_t *validity = array->buffers[0];
    if (validity == NULL || array->null_count == 0) {
        return -1;
    }
    for (int64_t row = 0; row < array->length; row++) {
        int64_t at = array->offset + row;
        if (!((validity[at >> 3] >> (at & 7)) & 1)) {
            return row;
        }
    }
    return -1;
}

enum qn_status qn_batch_reader_bind(struct qn_batch_reader *reader, const struct ArrowArray *array,
                                    struct qn_error *err)
{
    char name[] = "";
    const struct qn_reader root = { .name = name, .type = { .id = QN_TYPE_STRUCT } };
    enum qn_status status = check_head(&root, &root.type, array, err);
    if (status == QN_OK &&
        (array->n_children != reader->n_columns || (array->n_children > 0 && array->children == NULL))) {
        status = qn_error_set(err, QN_ERR_DATA, "malformed Arrow array: %lld columns where the schema has %lld",
                              (long long)array->n_children, (long long)reader->n_columns);
    }
    QN_TRY(status);
    int64_t null_row = first_null_row(array);
    if (null_row >= 0) {
        status =
            qn_error_set(err, QN_ERR_DATA, "row %lld is null as a whole: rows are not nullable", (long long)null_row);
        qn_error_place(err, null_row, NULL);
        return status;
    }
    for (int64_t i = 0; i < reader->n_columns; i++) {
        struct qn_reader *column = &reader->columns[i];
        QN_TRY(bind_level(column, array->children[i], err));
        if (column->length < array->offset + array->length) {
            return misshapen(column, "it is shorter than its batch", err);
        }
        column->offset += array->offset;
        column->length = array->length;
    }
    reader->length = array->length;
    return QN_OK;
}

void qn_batch_reader_dispose(struct qn_batch_reader *reader)
{
    for (int64_t i = 0; i < reader->n_columns; i++) {
        qn_reader_dispose(&reader->columns[i]);
    }
    qn_free(reader->columns);
    *reader = (struct qn_batch_reader){ 0 };
}

enum qn_status qn_stream_each_batch(struct ArrowArrayStream *stream, qn_batch_callback each, void *context,
                                    struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_stream_schema(stream, &schema, err));
    struct qn_batch_reader reader = { .n_columns = 0 };
    enum qn_status status = qn_batch_reader_init(&reader, &schema, err);
    while (status == QN_OK) {
        qn_auto_array batch = { .release = NULL };
        status = qn_stream_next(stream, &batch, err);
        if (status != QN_OK || batch.release == NULL) {
            break;
        }
        status = qn_batch_reader_bind(&reader, &batch, err);
        status = status == QN_OK ? each(context, &reader, err) : status;
    }
    qn_batch_reader_dispose(&reader);
    return status;
}
