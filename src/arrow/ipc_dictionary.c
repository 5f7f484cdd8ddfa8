/*
 * ipc_dictionary.c: dictionaries of Arrow IPC: kept as they come, and gathered into the values of each batch.
 *
 * A dictionary is what its messages made of it: a new one of the same id takes its place, a delta is added. Batches are
 * handed out as values: 16 bytes of view for a text or binary, whatever its length, so that a small message cannot grow;
 * other types as they are, up to QN__IPC_MAX_GATHERED a batch. The bytes that views point into stand in chunks, which are
 * only ever appended to and which batches keep alive. Threads: one at a time per decoder; chunks are counted atomically,
 * since arrays are released anywhere.
 */
#include "arrow/ipc_decode.h"

#include "arrow/array.h"
#include "arrow/reader.h"
#include "arrow/type_parse.h"
#include "base/memory.h"

#define CHUNK ((size_t)1 << 20)

struct chunk {
    atomic_int references;
    size_t used, capacity;
    char bytes[];
};

struct dictionary {
    int64_t id;
    struct qn_type type; /* of the values as they are written */
    struct qn__ipc_fields fields;
    struct qn__ipc_field field;
    struct ArrowSchema schema; /* of one field of that type */
    struct qn_reader reader;
    int64_t length;
    struct qn_buffer values; /* views; values of fixed width; a byte for each boolean */
    struct qn_buffer valid;  /* a byte for each value */
    bool nulls;
    struct chunk **chunks;
    size_t n_chunks;
};

struct qn__ipc_dictionaries {
    struct dictionary *list;
    int64_t count;
    int64_t left; /* bytes that all of them may still take */
};

/* ---- chunks ---- */

static void chunk_unref(struct chunk *chunk)
{
    if (atomic_fetch_sub_explicit(&chunk->references, 1, memory_order_acq_rel) == 1) {
        qn_free(chunk);
    }
}

static void drop_values(struct dictionary *dictionary)
{
    for (size_t i = 0; i < dictionary->n_chunks; i++) {
        chunk_unref(dictionary->chunks[i]);
    }
    qn_free(dictionary->chunks);
    dictionary->chunks = NULL;
    dictionary->n_chunks = 0;
    qn_buffer_dispose(&dictionary->values);
    qn_buffer_dispose(&dictionary->valid);
    dictionary->length = 0;
    dictionary->nulls = false;
}

/* A chunk with room for `size` bytes: the last one, or a new one. NULL: no memory. */
static struct chunk *room_for(struct dictionary *dictionary, size_t size)
{
    struct chunk *last = dictionary->n_chunks > 0 ? dictionary->chunks[dictionary->n_chunks - 1] : NULL;
    if (last != NULL && size <= last->capacity - last->used) {
        return last;
    }
    size_t capacity = size > CHUNK ? size : CHUNK;
    struct chunk **longer = qn_realloc_array(dictionary->chunks, dictionary->n_chunks + 1, sizeof *longer);
    if (longer == NULL) {
        return NULL;
    }
    dictionary->chunks = longer;
    struct chunk *chunk = qn_malloc(sizeof *chunk + capacity);
    if (chunk == NULL) {
        return NULL;
    }
    atomic_init(&chunk->references, 1);
    chunk->used = 0;
    chunk->capacity = capacity;
    dictionary->chunks[dictionary->n_chunks++] = chunk;
    return chunk;
}

/* ---- the table ---- */

static enum qn_status dictionary_init(struct dictionary *dictionary, const struct qn__ipc_encoded *encoded,
                                      struct qn_error *err)
{
    dictionary->id = encoded->dictionary;
    dictionary->type = encoded->value_type;
    dictionary->field = (struct qn__ipc_field){ .type = encoded->value_type, .name = "a dictionary" };
    dictionary->fields = (struct qn__ipc_fields){ .list = &dictionary->field,
                                                  .count = 1,
                                                  .n_buffers = qn__ipc_buffers(encoded->value_type.id) };
    QN_TRY(qn_schema_struct(&dictionary->schema, 1, err));
    QN_TRY(qn_schema_set(&dictionary->schema, 0, "", &dictionary->type, err));
    return qn_reader_init(&dictionary->reader, dictionary->schema.children[0], err);
}

void qn__ipc_dictionaries_free(struct qn__ipc_dictionaries *dictionaries)
{
    if (dictionaries != NULL) {
        for (int64_t i = 0; i < dictionaries->count; i++) {
            drop_values(&dictionaries->list[i]);
            qn_reader_dispose(&dictionaries->list[i].reader);
            qn_schema_release(&dictionaries->list[i].schema);
        }
        qn_free(dictionaries->list);
        qn_free(dictionaries);
    }
}

static struct dictionary *find(const struct qn__ipc_dictionaries *dictionaries, int64_t id)
{
    for (int64_t i = 0; i < dictionaries->count; i++) {
        if (dictionaries->list[i].id == id) {
            return &dictionaries->list[i];
        }
    }
    return NULL;
}

static bool same_type(const struct qn_type *a, const struct qn_type *b)
{
    char left[QN_TYPE_MAX_FORMAT], right[QN_TYPE_MAX_FORMAT];
    qn_type_to_format(a, left);
    qn_type_to_format(b, right);
    return strcmp(left, right) == 0;
}

enum qn_status qn__ipc_dictionaries_new(const struct qn__ipc_encoded *encoded, int64_t n,
                                        struct qn__ipc_dictionaries **out, struct qn_error *err)
{
    struct qn__ipc_dictionaries *made = qn_calloc(1, sizeof *made);
    if (made != NULL) {
        made->list = qn_calloc((size_t)n, sizeof *made->list);
    }
    if (made == NULL || made->list == NULL) {
        qn_free(made);
        return qn__no_memory(err);
    }
    made->left = QN__IPC_MAX_DICTIONARIES;
    enum qn_status status = QN_OK;
    for (int64_t i = 0; i < n && status == QN_OK; i++) {
        const struct dictionary *there = find(made, encoded[i].dictionary);
        if (there == NULL) {
            status = dictionary_init(&made->list[made->count++], &encoded[i], err);
        } else if (!same_type(&there->type, &encoded[i].value_type)) {
            status = qn_error_set(err, QN_ERR_PROTOCOL, "Arrow IPC: dictionary %lld has values of two types",
                                  (long long)encoded[i].dictionary);
        }
    }
    if (status != QN_OK) {
        qn__ipc_dictionaries_free(made);
        return status;
    }
    *out = made;
    return QN_OK;
}

const struct qn__ipc_fields *qn__ipc_dictionary_fields(const struct qn__ipc_dictionaries *dictionaries, int64_t id)
{
    const struct dictionary *found = find(dictionaries, id);
    return found != NULL ? &found->fields : NULL;
}

/* ---- values in ---- */

static bool has_bytes(enum qn_type_id id)
{
    return id >= QN_TYPE_STRING && id <= QN_TYPE_BINARY_VIEW;
}

static int64_t size_of(const struct dictionary *dictionary)
{
    int64_t size = (int64_t)(dictionary->values.size + dictionary->valid.size);
    for (size_t i = 0; i < dictionary->n_chunks; i++) {
        size += (int64_t)dictionary->chunks[i]->capacity;
    }
    return size;
}

/* Append a text or binary as a view. */
static enum qn_status put_bytes(struct dictionary *dictionary, const char *bytes, size_t size, struct qn_error *err)
{
    union qn_view view = { .inlined = { .size = (int32_t)size } };
    if (size <= QN_VIEW_INLINE) {
        memcpy(view.inlined.data, bytes, size);
    } else {
        struct chunk *chunk = room_for(dictionary, size);
        if (chunk == NULL) {
            return qn__no_memory(err);
        }
        memcpy(chunk->bytes + chunk->used, bytes, size);
        memcpy(view.reference.prefix, bytes, sizeof view.reference.prefix);
        view.reference.block = (int32_t)(dictionary->n_chunks - 1);
        view.reference.offset = (int32_t)chunk->used;
        chunk->used += size;
    }
    qn_buffer_append(&dictionary->values, &view, sizeof view);
    return QN_OK;
}

static enum qn_status put_value(struct dictionary *dictionary, int64_t row, int64_t *left, struct qn_error *err)
{
    static const char zeros[64];
    const struct qn_reader *reader = &dictionary->reader;
    size_t width = qn_type_width(&dictionary->type);
    bool null = qn_reader_is_null(reader, row);
    const char *bytes = zeros;
    size_t size = 0;
    qn_buffer_append_byte(&dictionary->valid, !null);
    dictionary->nulls = dictionary->nulls || null;
    if (dictionary->type.id == QN_TYPE_NULL) {
        return QN_OK;
    }
    if (dictionary->type.id == QN_TYPE_BOOL) {
        qn_buffer_append_byte(&dictionary->values, !null && qn_reader_bool(reader, row));
        return QN_OK;
    }
    if (!has_bytes(dictionary->type.id)) {
        qn_buffer_append(&dictionary->values, reader->data + (size_t)(reader->offset + row) * width, width);
        return QN_OK;
    }
    if (!null && !qn_reader_bytes(reader, row, &bytes, &size)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "Arrow IPC: a dictionary: a value lies outside of its bytes");
    }
    *left -= (int64_t)size;
    return *left < 0 || size > QN_VALUE_MAX_BYTES ? QN_OK : put_bytes(dictionary, bytes, size, err);
}

static enum qn_status put_values(struct dictionary *dictionary, const struct ArrowArray *values, int64_t left,
                                 struct qn_error *err)
{
    QN_TRY(qn_reader_bind(&dictionary->reader, values, err));
    int64_t width = has_bytes(dictionary->type.id) ? (int64_t)sizeof(union qn_view) : qn_type_width(&dictionary->type);
    left -= values->length * (width + 1); /* neither is over 2^31 */
    for (int64_t row = 0; row < values->length && left >= 0; row++) {
        QN_TRY(put_value(dictionary, row, &left, err));
    }
    if (left < 0) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "Arrow IPC: the dictionaries have more than %lld bytes",
                            (long long)QN__IPC_MAX_DICTIONARIES);
    }
    QN_TRY(qn_buffer_check(&dictionary->valid, "a dictionary", err));
    QN_TRY(qn_buffer_check(&dictionary->values, "a dictionary", err));
    dictionary->length += values->length;
    return QN_OK;
}

enum qn_status qn__ipc_dictionary_put(struct qn__ipc_dictionaries *dictionaries, int64_t id, bool add,
                                      const struct ArrowArray *values, struct qn_error *err)
{
    struct dictionary *dictionary = find(dictionaries, id);
    dictionaries->left += size_of(dictionary);
    if (!add) {
        drop_values(dictionary);
    }
    enum qn_status status = put_values(dictionary, values, dictionaries->left - size_of(dictionary), err);
    if (status != QN_OK) {
        drop_values(dictionary);
    }
    dictionaries->left -= size_of(dictionary);
    return status;
}

/* ---- values out ---- */

/* What a batch keeps of the chunks that its views point into. */
struct kept {
    size_t n;
    struct chunk *chunks[];
};

static void release_kept(struct ArrowArray *array)
{
    struct kept *kept = array->private_data;
    for (size_t i = 0; i < kept->n; i++) {
        chunk_unref(kept->chunks[i]);
    }
    qn_free(kept);
    array->release = NULL;
}

/* Put the chunks behind the views: their bytes, and their sizes. */
static enum qn_status keep_chunks(const struct dictionary *dictionary, struct ArrowArray *out, struct qn_error *err)
{
    size_t n = dictionary->n_chunks;
    int64_t *sizes = qn_malloc((n > 0 ? n : 1) * sizeof *sizes);
    struct kept *kept = qn_malloc(sizeof *kept + n * sizeof(struct chunk *));
    if (sizes == NULL || kept == NULL) {
        qn_free(sizes);
        qn_free(kept);
        return qn__no_memory(err);
    }
    kept->n = n;
    for (size_t i = 0; i < n; i++) {
        struct chunk *chunk = dictionary->chunks[i];
        (void)atomic_fetch_add_explicit(&chunk->references, 1, memory_order_relaxed);
        kept->chunks[i] = chunk;
        sizes[i] = (int64_t)chunk->used;
        qn__array_borrow(out, 2 + (int64_t)i, chunk->bytes);
    }
    out->buffers[2 + n] = sizes;
    struct ArrowArray holder = { .release = release_kept, .private_data = kept };
    qn__array_retain(out, &holder);
    return QN_OK;
}

/* The index of a row; -1: outside of `length`. */
static int64_t index_at(const uint8_t *indices, const struct qn_type *type, int64_t row, int64_t length)
{
    size_t width = qn_type_width(type);
    uint64_t index = 0;
    memcpy(&index, indices + (size_t)row * width, width);
    unsigned shift = 64 - 8 * (unsigned)width;
    int64_t wide = type->id <= QN_TYPE_INT64 ? (int64_t)(index << shift) >> shift : (int64_t)index;
    return wide >= 0 && wide < length ? wide : -1;
}

/* Copy the value of one row. */
static inline void copy_value(uint8_t *to, int64_t row, const char *values, int64_t index, size_t width)
{
    switch (width) {
    case 0: /* a bit from a byte */
        to[row >> 3] |= (uint8_t)(values[index] << (row & 7));
        break;
    case 4:
        memcpy(to + row * 4, values + index * 4, 4);
        break;
    case 8:
        memcpy(to + row * 8, values + index * 8, 8);
        break;
    case 16:
        memcpy(to + row * 16, values + index * 16, 16);
        break;
    default:
        memcpy(to + (size_t)row * width, values + (size_t)index * width, width);
    }
}

struct gathering {
    const struct dictionary *dictionary;
    const uint8_t *indices;
    const uint8_t *indices_valid;
    uint8_t *values;
    uint8_t *valid; /* a bit for each row */
    size_t width;   /* 0: booleans */
};

/* Rows that are null; -1 where an index lies outside of the dictionary, *row_out says which. */
static int64_t gather_rows(const struct gathering *gathering, const struct qn_type *index_type, int64_t length,
                           int64_t *row_out)
{
    const struct dictionary *dictionary = gathering->dictionary;
    bool copies = dictionary->type.id != QN_TYPE_NULL &&
                  !(dictionary->type.id == QN_TYPE_FIXED_BINARY && dictionary->type.width == 0);
    int64_t nulls = 0;
    for (int64_t row = 0; row < length; row++) {
        if (gathering->indices_valid != NULL && !qn__ipc_bit(gathering->indices_valid, row)) {
            nulls++;
            continue;
        }
        int64_t index = index_at(gathering->indices, index_type, row, dictionary->length);
        if (index < 0) {
            *row_out = row;
            return -1;
        }
        if (dictionary->nulls && dictionary->valid.data[index] == 0) {
            nulls++;
            continue;
        }
        gathering->valid[row >> 3] |= (uint8_t)(1 << (row & 7));
        if (copies) {
            copy_value(gathering->values, row, dictionary->values.data, index, gathering->width);
        }
    }
    return nulls;
}

/* Make the buffers of `out` and fill them. */
static enum qn_status gather_into(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field,
                                  struct gathering *gathering, int64_t length, struct ArrowArray *out)
{
    enum qn_type_id id = field->type.id;
    size_t size = id == QN_TYPE_BOOL ? (size_t)(length + 7) / 8 : (size_t)length * gathering->width;
    int64_t row = -1;
    decoding->gathered_left -= (int64_t)size + length / 8;
    if (decoding->gathered_left < 0) {
        return qn__ipc_bad_column(decoding, field, -1, "the values of its dictionary are too many bytes in one batch");
    }
    out->length = length;
    uint8_t *valid = qn_calloc(1, (size_t)(length + 7) / 8 + 1);
    uint8_t *values = qn_calloc(1, size + 1);
    if (id != QN_TYPE_NULL) {
        out->buffers[0] = valid;
        out->buffers[1] = values;
    }
    if (valid == NULL || values == NULL) {
        return qn__no_memory(decoding->err);
    }
    gathering->valid = valid;
    gathering->values = values;
    out->null_count = gather_rows(gathering, &field->index_type, length, &row);
    if (id == QN_TYPE_NULL) {
        qn_free(valid);
        qn_free(values);
    } else if (out->null_count == 0) {
        qn_free(valid);
        out->buffers[0] = NULL;
    }
    return out->null_count >= 0 ? QN_OK
                                : qn__ipc_bad_column(decoding, field, row, "an index lies outside of its dictionary");
}

enum qn_status qn__ipc_gather(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t length,
                              const uint8_t *indices_valid, struct ArrowArray *out)
{
    const struct dictionary *dictionary = find(decoding->decoder->dictionaries, field->dictionary);
    bool views = has_bytes(field->type.id);
    int64_t n_buffers = field->type.id == QN_TYPE_NULL ? 0 : views ? 3 + (int64_t)dictionary->n_chunks : 2;
    struct qn__ipc_region indices;
    QN_TRY(qn__ipc_take_values(decoding, field, length, qn_type_width(&field->index_type), &indices));
    QN_TRY(qn__array_new(n_buffers, 0, out, decoding->err));
    struct gathering gathering = { .dictionary = dictionary, .indices = indices.bytes, .indices_valid = indices_valid };
    bool bits = field->type.id == QN_TYPE_BOOL || field->type.id == QN_TYPE_NULL;
    gathering.width = views ? sizeof(union qn_view) : bits ? 0 : (size_t)qn_type_width(&field->type);
    QN_TRY(gather_into(decoding, field, &gathering, length, out));
    return views ? keep_chunks(dictionary, out, decoding->err) : QN_OK;
}
