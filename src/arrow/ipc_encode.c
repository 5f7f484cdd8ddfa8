/*
 * ipc_encode.c: batches as Arrow IPC messages, from arrays of any layout.
 *
 * The source is read through bound readers (reader.h), which have checked its shape; what binding cannot see (each pair of
 * offsets, each view, UTF-8) is checked on the way. The number of nodes and buffers is the schema's, so that the metadata
 * is written first and filled in when the body is there. Threads: one at a time per encoder.
 */
#include "arrow/ipc_private.h"

#include "arrow/reader.h"
#include "arrow/type_parse.h"
#include "base/memory.h"

#include <assert.h>

struct pair { /* FieldNode and Buffer of Message.fbs */
    int64_t first, second;
};

struct qn_ipc_encoder {
    struct ArrowSchema wire;
    struct qn__ipc_fields fields;
    struct qn_batch_reader reader;
    struct pair *nodes, *buffers;
};

/* One batch being written. */
struct writing {
    struct qn_ipc_encoder *encoder;
    struct qn_buffer *out;
    size_t body; /* where it begins in out */
    int64_t n_nodes, n_buffers;
    struct qn_error *err;
};

void qn_ipc_encoder_free(struct qn_ipc_encoder *encoder)
{
    if (encoder != NULL) {
        qn_schema_release(&encoder->wire);
        qn__ipc_fields_dispose(&encoder->fields);
        qn_batch_reader_dispose(&encoder->reader);
        qn_free(encoder->nodes);
        qn_free(encoder->buffers);
        qn_free(encoder);
    }
}

static enum qn_status prepare(struct qn_ipc_encoder *encoder, const struct ArrowSchema *schema, struct qn_error *err)
{
    QN_TRY(qn__ipc_wire_schema(schema, &encoder->wire, err));
    QN_TRY(qn__ipc_fields_init(&encoder->fields, &encoder->wire, err));
    QN_TRY(qn_batch_reader_init(&encoder->reader, schema, err));
    encoder->nodes = qn_calloc((size_t)encoder->fields.count, sizeof *encoder->nodes);
    encoder->buffers = qn_calloc((size_t)encoder->fields.n_buffers, sizeof *encoder->buffers);
    return encoder->nodes != NULL && encoder->buffers != NULL ? QN_OK : qn__no_memory(err);
}

enum qn_status qn_ipc_encoder_new(const struct ArrowSchema *schema, struct qn_ipc_encoder **out, struct qn_error *err)
{
    struct qn_ipc_encoder *encoder = qn_calloc(1, sizeof *encoder);
    if (encoder == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = prepare(encoder, schema, err);
    if (status != QN_OK) {
        qn_ipc_encoder_free(encoder);
        return status;
    }
    *out = encoder;
    return QN_OK;
}

const struct ArrowSchema *qn_ipc_encoder_schema(const struct qn_ipc_encoder *encoder)
{
    return &encoder->wire;
}

/* ---- messages ---- */

struct qn__ipc_message qn__ipc_message_begin(struct qn_buffer *out, enum qn__ipc_header type)
{
    struct qn__ipc_message message = { .to = { out, out->size } };
    const uint32_t prefix[2] = { UINT32_MAX, 0 };
    qn_buffer_append(out, prefix, sizeof prefix);
    size_t root = qn__flat_begin(&message.to);
    const struct qn__flat_slot slots[QN__MESSAGE_FIELDS] = {
        [QN__MESSAGE_VERSION] = { 2, QN__METADATA_V5 },
        [QN__MESSAGE_HEADER_TYPE] = { 1, type },
        [QN__MESSAGE_HEADER] = { 4, 0 },
        [QN__MESSAGE_BODY_LENGTH] = { 8, 0 },
    };
    size_t places[QN__FLAT_MAX_FIELDS];
    qn__flat_patch(&message.to, root, qn__flat_put_table(&message.to, slots, QN__MESSAGE_FIELDS, places));
    message.header = places[QN__MESSAGE_HEADER];
    message.body_length = places[QN__MESSAGE_BODY_LENGTH];
    return message;
}

void qn__ipc_message_end(const struct qn__ipc_message *message)
{
    struct qn_buffer *out = message->to.out;
    qn__flat_pad(&message->to, QN__IPC_ALIGN);
    uint32_t size = (uint32_t)(out->size - message->to.begin - QN__IPC_PREFIX);
    if (out->failure == QN_BUFFER_FINE) {
        memcpy(out->data + message->to.begin + 4, &size, sizeof size);
    }
}

/* Make `out` what it was where `status` is a failure or out has failed. */
static enum qn_status finish(struct qn_buffer *out, size_t size_before, enum qn_status status, struct qn_error *err)
{
    if (status == QN_OK) {
        status = qn_buffer_check(out, "an Arrow IPC message", err);
    }
    if (status != QN_OK) {
        out->size = size_before;
        out->failure = QN_BUFFER_FINE;
        if (out->data != NULL) {
            out->data[size_before] = '\0';
        }
    }
    return status;
}

enum qn_status qn_ipc_encode_schema(struct qn_ipc_encoder *encoder, struct qn_buffer *out, struct qn_error *err)
{
    QN_TRY(qn_buffer_check(out, "an Arrow IPC message", err));
    size_t before = out->size;
    struct qn__ipc_message message = qn__ipc_message_begin(out, QN__HEADER_SCHEMA);
    qn__flat_patch(&message.to, message.header, qn__ipc_put_schema(&message.to, &encoder->wire));
    qn__ipc_message_end(&message);
    return finish(out, before, QN_OK, err);
}

void qn_ipc_encode_end(struct qn_buffer *out)
{
    const uint32_t marker[2] = { UINT32_MAX, 0 };
    qn_buffer_append(out, marker, sizeof marker);
}

/* ---- bodies ---- */

static enum qn_status bad_value(struct writing *writing, const struct qn_reader *column, int64_t row, const char *what)
{
    enum qn_status status = qn_error_set(writing->err, QN_ERR_DATA, "column \"%s\": %s", column->name, what);
    qn_error_place(writing->err, row, column->name);
    return status;
}

/* Room for the next buffer of the body, padded; NULL where there is no memory. Good until the next. */
static uint8_t *next_buffer(struct writing *writing, size_t size)
{
    struct qn_buffer *out = writing->out;
    size_t padded = (size + QN__IPC_ALIGN - 1) / QN__IPC_ALIGN * QN__IPC_ALIGN;
    writing->encoder->buffers[writing->n_buffers++] =
        (struct pair){ (int64_t)(out->size - writing->body), (int64_t)size };
    if (!qn_buffer_reserve(out, padded + 1)) { /* at least a byte: the pointer is not NULL */
        return NULL;
    }
    uint8_t *room = (uint8_t *)out->data + out->size;
    memset(room + size, 0, padded - size);
    out->size += padded;
    return room;
}

static uint8_t *buffer_again(struct writing *writing, int64_t i)
{
    return (uint8_t *)writing->out->data + writing->body + writing->encoder->buffers[i].first;
}

static void copy_bits(uint8_t *to, const uint8_t *from, int64_t first, int64_t n)
{
    int64_t size = (n + 7) / 8, from_size = ((first & 7) + n + 7) / 8;
    unsigned shift = first & 7;
    from += first >> 3;
    if (shift == 0) {
        memcpy(to, from, (size_t)size);
    } else {
        int64_t both = from_size - 1 < size ? from_size - 1 : size;
        for (int64_t i = 0; i < both; i++) {
            to[i] = (uint8_t)(from[i] >> shift | from[i + 1] << (8 - shift));
        }
        if (both < size) {
            to[both] = (uint8_t)(from[both] >> shift);
        }
    }
    if ((n & 7) != 0) {
        to[size - 1] &= (uint8_t)((1U << (n & 7)) - 1);
    }
}

/* Drop the room of the buffer that was just taken. */
static void empty_buffer(struct writing *writing)
{
    struct pair *buffer = &writing->encoder->buffers[writing->n_buffers - 1];
    writing->out->size = writing->body + (size_t)buffer->first;
    buffer->second = 0;
}

/* The validity of rows of a column, and its node. *valid_out: the bits written, NULL where no row is null. */
static enum qn_status put_validity(struct writing *writing, const struct qn_reader *column,
                                   const struct qn__ipc_field *field, const struct qn__ipc_level *level, int64_t first,
                                   int64_t n, bool *nulls_out)
{
    struct pair *node = &writing->encoder->nodes[writing->n_nodes++];
    *node = (struct pair){ n, 0 };
    *nulls_out = false;
    bool encoded = column->dictionary != NULL;
    if (n == 0 || (!encoded && column->validity == NULL)) {
        return next_buffer(writing, 0) != NULL ? QN_OK : QN_ERR_NO_MEMORY;
    }
    uint8_t *bits = next_buffer(writing, (size_t)(n + 7) / 8);
    if (bits == NULL) {
        return QN_ERR_NO_MEMORY;
    }
    if (encoded) {
        memset(bits, 0, (size_t)(n + 7) / 8);
        for (int64_t i = 0; i < n; i++) {
            bits[i >> 3] |= (uint8_t)(!qn_reader_is_null(column, first + i) << (i & 7));
        }
    } else {
        copy_bits(bits, column->validity, column->offset + first, n);
    }
    node->second = n - qn__ipc_count_bits(bits, 0, n);
    if (node->second == 0) {
        empty_buffer(writing);
        return QN_OK;
    }
    *nulls_out = true;
    if (field->required) {
        const struct qn__ipc_level written = { level->parent, bits, 0, level->per_row };
        int64_t row = qn__ipc_unwanted_null(&written, n);
        if (row >= 0) {
            return bad_value(writing, column, level->parent == NULL ? row : -1, "a null where none may be");
        }
    }
    return QN_OK;
}

/* Of a dictionary-encoded column that is not null there: the plain reader at the end and the row in it. */
static const struct qn_reader *plain_row(const struct qn_reader *column, int64_t *row)
{
    while (column->dictionary != NULL) {
        *row = qn__reader_index(column, *row);
        column = column->dictionary;
    }
    return column;
}

static enum qn_status put_bools(struct writing *writing, const struct qn_reader *column, int64_t first, int64_t n)
{
    uint8_t *bits = next_buffer(writing, (size_t)(n + 7) / 8);
    if (bits == NULL) {
        return QN_ERR_NO_MEMORY;
    }
    if (column->dictionary == NULL) {
        if (n > 0) {
            copy_bits(bits, column->data, column->offset + first, n);
        }
        return QN_OK;
    }
    memset(bits, 0, (size_t)(n + 7) / 8);
    for (int64_t i = 0; i < n; i++) {
        if (!qn_reader_is_null(column, first + i)) {
            bits[i >> 3] |= (uint8_t)(qn_reader_bool(column, first + i) << (i & 7));
        }
    }
    return QN_OK;
}

static enum qn_status put_fixed(struct writing *writing, const struct qn_reader *column, size_t width, int64_t first,
                                int64_t n)
{
    uint8_t *to = next_buffer(writing, (size_t)n * width);
    if (to == NULL) {
        return QN_ERR_NO_MEMORY;
    }
    if (n == 0 || width == 0) {
        return QN_OK;
    }
    if (column->dictionary == NULL) {
        memcpy(to, column->data + (size_t)(column->offset + first) * width, (size_t)n * width);
        return QN_OK;
    }
    memset(to, 0, (size_t)n * width);
    for (int64_t i = 0; i < n; i++) {
        if (!qn_reader_is_null(column, first + i)) {
            int64_t row = first + i;
            const struct qn_reader *plain = plain_row(column, &row);
            memcpy(to + (size_t)i * width, plain->data + (size_t)(plain->offset + row) * width, width);
        }
    }
    return QN_OK;
}

/* ---- offsets ---- */

static bool rebase32(const uint8_t *from, uint8_t *to, int64_t n, int64_t *begin_out, int64_t *end_out)
{
    int32_t begin, before, offset;
    memcpy(&begin, from, 4);
    before = begin;
    bool good = begin >= 0;
    for (int64_t i = 0; i <= n; i++) {
        memcpy(&offset, from + i * 4, 4);
        good &= offset >= before;
        before = offset;
        offset = (int32_t)((uint32_t)offset - (uint32_t)begin);
        memcpy(to + i * 4, &offset, 4);
    }
    *begin_out = begin;
    *end_out = before;
    return good;
}

static bool rebase64(const uint8_t *from, uint8_t *to, int64_t n, int64_t *begin_out, int64_t *end_out)
{
    int64_t begin, before, offset;
    memcpy(&begin, from, 8);
    before = begin;
    bool good = begin >= 0;
    for (int64_t i = 0; i <= n; i++) {
        memcpy(&offset, from + i * 8, 8);
        good &= offset >= before;
        before = offset;
        offset = (int64_t)((uint64_t)offset - (uint64_t)begin);
        memcpy(to + i * 8, &offset, 8);
    }
    *begin_out = begin;
    *end_out = before;
    return good;
}

/* The offsets of rows of a plain column, from 0 on, and what they span in its bytes or items. */
static enum qn_status put_offsets(struct writing *writing, const struct qn_reader *column, int64_t first, int64_t n,
                                  int64_t *begin_out, int64_t *end_out)
{
    size_t width = qn__ipc_offset_width(column->type.id);
    uint8_t *to = next_buffer(writing, (size_t)(n + 1) * width);
    *begin_out = *end_out = 0;
    if (to == NULL) {
        return QN_ERR_NO_MEMORY;
    }
    if (n == 0) {
        memset(to, 0, width);
        return QN_OK;
    }
    const uint8_t *from = column->data + (size_t)(column->offset + first) * width;
    bool good = width == 4 ? rebase32(from, to, n, begin_out, end_out) : rebase64(from, to, n, begin_out, end_out);
    return good && *end_out <= column->bytes_size
               ? QN_OK
               : bad_value(writing, column, -1, "malformed Arrow array: offsets run backwards");
}

/* Offsets of values that each row's reader gives: how long they are, before they are copied. */
static enum qn_status put_sizes(struct writing *writing, const struct qn_reader *column, size_t width, int64_t first,
                                int64_t n, int64_t *total_out)
{
    uint8_t *to = next_buffer(writing, (size_t)(n + 1) * width);
    if (to == NULL) {
        return QN_ERR_NO_MEMORY;
    }
    int64_t total = 0;
    memset(to, 0, width);
    for (int64_t i = 0; i < n; i++) {
        const char *bytes;
        size_t size = 0;
        if (!qn_reader_is_null(column, first + i) && !qn_reader_bytes(column, first + i, &bytes, &size)) {
            return bad_value(writing, column, -1, "malformed Arrow array: a value lies outside of its bytes");
        }
        total += (int64_t)size;
        memcpy(to + (size_t)(i + 1) * width, &total, width);
        if (width == 4 && total > INT32_MAX) {
            return bad_value(writing, column, -1, "more than 2 GiB in one batch");
        }
    }
    *total_out = total;
    return QN_OK;
}

static void copy_values(const struct qn_reader *column, int64_t first, int64_t n, uint8_t *to)
{
    for (int64_t i = 0; i < n; i++) {
        const char *bytes;
        size_t size = 0;
        if (!qn_reader_is_null(column, first + i) && qn_reader_bytes(column, first + i, &bytes, &size)) {
            memcpy(to, bytes, size);
            to += size;
        }
    }
}

/* As put_sizes and copy_values for views, the layout that this library makes. */
static enum qn_status put_view_sizes(struct writing *writing, const struct qn_reader *column, int64_t first, int64_t n,
                                     int64_t *total_out)
{
    uint8_t *to = next_buffer(writing, (size_t)(n + 1) * 4);
    if (to == NULL) {
        return QN_ERR_NO_MEMORY;
    }
    const uint8_t *views = n > 0 ? column->data + (size_t)(column->offset + first) * sizeof(union qn_view) : NULL;
    int64_t total = 0;
    bool good = true;
    memset(to, 0, 4);
    for (int64_t i = 0; i < n; i++) {
        union qn_view view;
        memcpy(&view, views + (size_t)i * sizeof view, sizeof view);
        if (!qn_reader_is_null(column, first + i)) {
            int64_t end = (int64_t)view.reference.offset + view.reference.size;
            good &= view.inlined.size >= 0 &&
                    (view.inlined.size <= QN_VIEW_INLINE ||
                     (view.reference.block >= 0 && view.reference.block < column->n_blocks &&
                      view.reference.offset >= 0 && end <= column->block_sizes[view.reference.block]));
            total += view.inlined.size;
        }
        memcpy(to + (size_t)(i + 1) * 4, &total, 4);
    }
    if (!good) {
        return bad_value(writing, column, -1, "malformed Arrow array: a view lies outside of its blocks");
    }
    *total_out = total;
    return total <= INT32_MAX ? QN_OK : bad_value(writing, column, -1, "more than 2 GiB in one batch");
}

/* `to` has room for the views whose ends are in `offsets`, and not a byte more. */
static void copy_views(const struct qn_reader *column, const uint8_t *offsets, int64_t first, int64_t n, uint8_t *to,
                       int64_t total)
{
    const uint8_t *views = n > 0 ? column->data + (size_t)(column->offset + first) * sizeof(union qn_view) : NULL;
    int32_t at = 0, next;
    for (int64_t i = 0; i < n; i++, at = next) {
        const uint8_t *view = views + (size_t)i * sizeof(union qn_view);
        memcpy(&next, offsets + (size_t)(i + 1) * 4, 4);
        size_t size = (size_t)(next - at);
        if (size > QN_VIEW_INLINE) {
            union qn_view reference;
            memcpy(&reference, view, sizeof reference);
            memcpy(to + at, column->blocks[reference.reference.block] + reference.reference.offset, size);
        } else if (total - at >= QN_VIEW_INLINE) {
            memcpy(to + at, view + 4, QN_VIEW_INLINE); /* what is too much is overwritten by the next */
        } else if (size > 0) {
            memcpy(to + at, view + 4, size);
        }
    }
}

static enum qn_status put_bytes(struct writing *writing, const struct qn_reader *column,
                                const struct qn__ipc_field *field, int64_t first, int64_t n, bool nulls)
{
    bool view = column->dictionary == NULL &&
                (column->type.id == QN_TYPE_STRING_VIEW || column->type.id == QN_TYPE_BINARY_VIEW);
    bool plain = column->dictionary == NULL && !view;
    size_t width = qn__ipc_offset_width(field->type.id);
    int64_t offsets = writing->n_buffers, begin = 0, end = 0;
    QN_TRY(plain  ? put_offsets(writing, column, first, n, &begin, &end)
           : view ? put_view_sizes(writing, column, first, n, &end)
                  : put_sizes(writing, column, width, first, n, &end));
    uint8_t *to = next_buffer(writing, (size_t)(end - begin));
    if (to == NULL) {
        return QN_ERR_NO_MEMORY;
    }
    if (end == begin) {
        return QN_OK;
    }
    const uint8_t *written = buffer_again(writing, offsets);
    if (plain) {
        memcpy(to, column->bytes + begin, (size_t)(end - begin));
    } else if (view) {
        copy_views(column, written, first, n, to, end);
    } else {
        copy_values(column, first, n, to);
    }
    if (qn__type_is_text(field->type.id)) {
        int64_t row = qn__ipc_bad_text(written, width == 8, (const char *)to,
                                       nulls ? buffer_again(writing, offsets - 1) : NULL, n);
        if (row >= 0) {
            return bad_value(writing, column, row, "text that is not UTF-8");
        }
    }
    return QN_OK;
}

/* ---- columns ---- */

static enum qn_status put_column(struct writing *writing, const struct qn_reader *column,
                                 const struct qn__ipc_level *parent, int64_t per_row, int64_t first, int64_t n);

static enum qn_status put_nested(struct writing *writing, const struct qn_reader *column,
                                 const struct qn__ipc_level *level, int64_t first, int64_t n)
{
    int64_t begin, end;
    switch (column->type.id) {
    case QN_TYPE_STRUCT:
        for (int64_t i = 0; i < column->n_children; i++) {
            QN_TRY(put_column(writing, &column->children[i], level, 1, column->offset + first, n));
        }
        return QN_OK;
    case QN_TYPE_FIXED_LIST:
        return put_column(writing, &column->children[0], level, column->type.width,
                          (column->offset + first) * column->type.width, n * column->type.width);
    default:
        QN_TRY(put_offsets(writing, column, first, n, &begin, &end));
        return put_column(writing, &column->children[0], NULL, 1, begin, end - begin);
    }
}

/* Write n rows of a column; `parent` is what it is nested in, with `per_row` rows of it for each of the parent's. */
static enum qn_status put_column(struct writing *writing, const struct qn_reader *column,
                                 const struct qn__ipc_level *parent, int64_t per_row, int64_t first, int64_t n)
{
    const struct qn__ipc_field *field = &writing->encoder->fields.list[writing->n_nodes];
    const struct qn__ipc_level level = { parent, column->validity, column->offset + first, per_row };
    if (n > QN__IPC_MAX_ROWS) {
        return bad_value(writing, column, -1, "more rows or items in one batch than Arrow IPC is written for");
    }
    if (field->type.id == QN_TYPE_NULL) {
        writing->encoder->nodes[writing->n_nodes++] = (struct pair){ n, n };
        return QN_OK;
    }
    bool nulls;
    QN_TRY(put_validity(writing, column, field, &level, first, n, &nulls));
    switch (field->type.id) {
    case QN_TYPE_BOOL:
        return put_bools(writing, column, first, n);
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
        return put_bytes(writing, column, field, first, n, nulls);
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_STRUCT:
    case QN_TYPE_MAP:
        return put_nested(writing, column, &level, first, n);
    default:
        return put_fixed(writing, column, qn_type_width(&field->type), first, n);
    }
}

/* A vector of `count` structs of two i64, to be filled in later. Returns where they stand. */
static size_t put_pairs(const struct qn__flat_writer *to, size_t place, int64_t count)
{
    static const struct pair zero;
    qn__flat_patch(to, place, qn__flat_put_vector(to, (uint32_t)count));
    size_t at = to->out->size;
    for (int64_t i = 0; i < count; i++) {
        qn_buffer_append(to->out, &zero, sizeof zero);
    }
    return at;
}

static enum qn_status put_batch(struct qn_ipc_encoder *encoder, int64_t first, int64_t rows, struct qn_buffer *out,
                                struct qn_error *err)
{
    struct qn__ipc_message message = qn__ipc_message_begin(out, QN__HEADER_BATCH);
    const struct qn__flat_slot slots[] = {
        [QN__BATCH_LENGTH] = { 8, rows },
        [QN__BATCH_NODES] = { 4, 0 },
        [QN__BATCH_BUFFERS] = { 4, 0 },
    };
    size_t places[QN__FLAT_MAX_FIELDS];
    qn__flat_patch(&message.to, message.header, qn__flat_put_table(&message.to, slots, 3, places));
    size_t nodes = put_pairs(&message.to, places[QN__BATCH_NODES], encoder->fields.count);
    size_t buffers = put_pairs(&message.to, places[QN__BATCH_BUFFERS], encoder->fields.n_buffers);
    qn__ipc_message_end(&message);
    struct writing writing = { .encoder = encoder, .out = out, .body = out->size, .err = err };
    for (int64_t i = 0; i < encoder->reader.n_columns; i++) {
        QN_TRY(put_column(&writing, &encoder->reader.columns[i], NULL, 1, first, rows));
    }
    int64_t body_length = (int64_t)(out->size - writing.body);
    if (out->failure == QN_BUFFER_FINE) {
        memcpy(out->data + nodes, encoder->nodes, (size_t)writing.n_nodes * sizeof *encoder->nodes);
        memcpy(out->data + buffers, encoder->buffers, (size_t)writing.n_buffers * sizeof *encoder->buffers);
        memcpy(out->data + message.body_length, &body_length, sizeof body_length);
    }
    return QN_OK;
}

enum qn_status qn_ipc_encode_bind(struct qn_ipc_encoder *encoder, const struct ArrowArray *batch, struct qn_error *err)
{
    return qn_batch_reader_bind(&encoder->reader, batch, err);
}

enum qn_status qn_ipc_encode_rows(struct qn_ipc_encoder *encoder, int64_t first, int64_t n, struct qn_buffer *out,
                                  struct qn_error *err)
{
    assert(first >= 0 && n >= 0 && first <= encoder->reader.length && n <= encoder->reader.length - first);
    QN_TRY(qn_buffer_check(out, "an Arrow IPC message", err));
    if (n > QN__IPC_MAX_ROWS) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "a batch of %lld rows is not written as Arrow IPC", (long long)n);
    }
    size_t before = out->size;
    enum qn_status status = put_batch(encoder, first, n, out, err);
    if (out->failure != QN_BUFFER_FINE) {
        status = QN_OK; /* the buffer's own failure says it */
    }
    return finish(out, before, status, err);
}

enum qn_status qn_ipc_encode_batch(struct qn_ipc_encoder *encoder, const struct ArrowArray *batch,
                                   struct qn_buffer *out, struct qn_error *err)
{
    QN_TRY(qn_buffer_check(out, "an Arrow IPC message", err));
    QN_TRY(qn_ipc_encode_bind(encoder, batch, err));
    return qn_ipc_encode_rows(encoder, 0, batch->length, out, err);
}
