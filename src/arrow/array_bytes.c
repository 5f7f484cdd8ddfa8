/*
 * array_bytes.c: how many bytes an array's values take, for progress and limits. It reads only offsets and block sizes; a
 * malformed array gives a wrong number, not a crash, as far as the interface can show. No state.
 */
#include "arrow/reader.h"
#include "arrow/stream.h"

static int64_t times(int64_t count, int64_t width)
{
    int64_t bytes;
    return __builtin_mul_overflow(count, width, &bytes) ? INT64_MAX / 4 : bytes;
}

/* Offsets and, for strings and binaries, the bytes between the first and the last. */
static int64_t offsets_bytes(const struct ArrowArray *array, bool wide, bool has_bytes)
{
    int64_t bytes = times(array->length + 1, wide ? 8 : 4);
    if (has_bytes && array->n_buffers == 3 && array->buffers[1] != NULL && array->length > 0) {
        const struct qn_reader ends = { .data = array->buffers[1], .offset = array->offset };
        bytes += wide ? qn_reader_at_int64(&ends, array->length) - qn_reader_at_int64(&ends, 0)
                      : qn_reader_at_int32(&ends, array->length) - qn_reader_at_int32(&ends, 0);
    }
    return bytes;
}

static int64_t views_bytes(const struct ArrowArray *array)
{
    int64_t bytes = times(array->length, sizeof(union qn_view));
    if (array->n_buffers >= 3 && array->buffers[array->n_buffers - 1] != NULL) {
        const int64_t *sizes = array->buffers[array->n_buffers - 1];
        for (int64_t i = 0; i < array->n_buffers - 3; i++) {
            bytes += sizes[i];
        }
    }
    return bytes;
}

static int64_t own_bytes(const struct qn_type *type, const struct ArrowArray *array)
{
    switch (type->id) {
    case QN_TYPE_BOOL:
        return (array->length + 7) / 8;
    case QN_TYPE_STRING_VIEW:
    case QN_TYPE_BINARY_VIEW:
        return views_bytes(array);
    case QN_TYPE_STRING:
    case QN_TYPE_BINARY:
        return offsets_bytes(array, false, true);
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_LARGE_BINARY:
        return offsets_bytes(array, true, true);
    case QN_TYPE_LIST:
    case QN_TYPE_MAP:
        return offsets_bytes(array, false, false);
    case QN_TYPE_LARGE_LIST:
        return offsets_bytes(array, true, false);
    default: {
        /* What takes no bytes by itself counts one: batches of it could have any number of rows within any limit. */
        int64_t width = qn_type_width(type);
        return times(array->length, width == 0 && array->n_children == 0 ? 1 : width);
    }
    }
}

int64_t qn_array_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array)
{
    struct qn_type type;
    if (array->release == NULL || array->length < 0 || qn_type_from_format(schema->format, &type, NULL) != QN_OK) {
        return 0;
    }
    int64_t bytes = own_bytes(&type, array);
    if (array->n_buffers > 0 && array->buffers[0] != NULL && type.id != QN_TYPE_OTHER) {
        bytes += (array->length + 7) / 8;
    }
    for (int64_t i = 0; i < array->n_children && i < schema->n_children; i++) {
        bytes += qn_array_bytes(schema->children[i], array->children[i]);
    }
    if (schema->dictionary != NULL && array->dictionary != NULL) {
        bytes += qn_array_bytes(schema->dictionary, array->dictionary);
    }
    return bytes;
}
