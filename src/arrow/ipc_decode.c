/*
 * ipc_decode.c: Arrow IPC messages from whoever wrote them.
 *
 * Nothing is believed: metadata is read with every access checked (ipc_flat.h), each buffer has to lie inside of the body
 * at a multiple of 8 and be as long as its column needs, offsets rise and end inside, text is UTF-8, decimals have the
 * digits of their type, null counts are counted, and what is required is not null. Only then is there an array. It points
 * into the message where that lies aligned. Threads: one at a time per decoder; arrays are released anywhere.
 */
#include "arrow/ipc_decode.h"

#include "arrow/array.h"
#include "arrow/type_parse.h"
#include "base/decimal.h"
#include "base/memory.h"

#define DEFAULT_LIMIT (UINT64_C(2) << 30)

enum qn_status qn_ipc_decoder_new(uint64_t limit, struct qn_ipc_decoder **out, struct qn_error *err)
{
    struct qn_ipc_decoder *decoder = qn_calloc(1, sizeof *decoder);
    if (decoder == NULL) {
        return qn__no_memory(err);
    }
    decoder->limit = limit != 0 ? limit : DEFAULT_LIMIT;
    *out = decoder;
    return QN_OK;
}

void qn_ipc_decoder_free(struct qn_ipc_decoder *decoder)
{
    if (decoder != NULL) {
        qn_schema_release(&decoder->schema);
        qn__ipc_fields_dispose(&decoder->fields);
        qn__ipc_dictionaries_free(decoder->dictionaries);
        qn_free(decoder);
    }
}

const struct ArrowSchema *qn_ipc_decoder_schema(const struct qn_ipc_decoder *decoder)
{
    return decoder->has_schema ? &decoder->schema : NULL;
}

void qn_ipc_decoder_expand(struct qn_ipc_decoder *decoder, qn_ipc_decompress decompress)
{
    decoder->decompress = decompress;
}

enum qn_status qn__ipc_decoder_take(struct qn_ipc_decoder *decoder, struct ArrowSchema *wire,
                                    const struct qn_buffer *encoded, struct qn_error *err)
{
    const struct qn__ipc_encoded *list = (const void *)encoded->data;
    int64_t n = (int64_t)(encoded->size / sizeof *list);
    enum qn_status status = qn__ipc_fields_init(&decoder->fields, wire, err);
    if (status == QN_OK && n > 0) {
        status = qn__ipc_dictionaries_new(list, n, &decoder->dictionaries, err);
    }
    if (status != QN_OK) {
        qn__ipc_fields_dispose(&decoder->fields);
        qn_schema_release(wire);
        return status;
    }
    for (int64_t i = 0; i < n; i++) {
        struct qn__ipc_field *field = &decoder->fields.list[list[i].field];
        decoder->fields.n_buffers += 2 - qn__ipc_buffers(field->type.id);
        field->encoded = true;
        field->dictionary = list[i].dictionary;
        field->index_type = list[i].index_type;
    }
    qn__schema_move(wire, &decoder->schema);
    decoder->has_schema = true;
    return QN_OK;
}

enum qn_status qn_ipc_decoder_set_schema(struct qn_ipc_decoder *decoder, const struct ArrowSchema *schema,
                                         struct qn_error *err)
{
    if (decoder->has_schema) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the decoder has a schema");
    }
    struct ArrowSchema wire;
    const struct qn_buffer none = QN_BUFFER_INIT;
    QN_TRY(qn__ipc_wire_schema(schema, &wire, err));
    return qn__ipc_decoder_take(decoder, &wire, &none, err);
}

/* ---- messages ---- */

static enum qn_status malformed(const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_PROTOCOL, "Arrow IPC: malformed message: %s", what);
}

/* The Message table of metadata that is there as a whole. */
static enum qn_status open_metadata(struct qn__ipc_opened *message, const uint8_t *bytes, size_t size,
                                    struct qn_error *err)
{
    message->flat = (struct qn__flat){ .bytes = bytes, .size = size };
    struct qn__flat *flat = &message->flat;
    struct qn__flat_table root = qn__flat_root(flat);
    int64_t version = qn__flat_int(flat, &root, QN__MESSAGE_VERSION, 2, 0);
    message->header_type = qn__flat_int(flat, &root, QN__MESSAGE_HEADER_TYPE, 1, 0);
    message->header = qn__flat_child(flat, &root, QN__MESSAGE_HEADER);
    message->body_length = qn__flat_int(flat, &root, QN__MESSAGE_BODY_LENGTH, 8, 0);
    if (flat->bad || message->header.vtable_size == 0) {
        return malformed("its metadata is no FlatBuffer", err);
    }
    if (version != QN__METADATA_V4 && version != QN__METADATA_V5) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "Arrow IPC: metadata version %lld is not read",
                            (long long)version + 1);
    }
    return message->body_length >= 0 && message->body_length % 8 == 0 ? QN_OK
                                                                      : malformed("the length of its body", err);
}

static enum qn_status too_large(const struct qn_ipc_decoder *decoder, struct qn_error *err)
{
    qn_error_set(err, QN_ERR_PROTOCOL, "Arrow IPC: a message is larger than the limit of %llu bytes",
                 (unsigned long long)decoder->limit);
    qn_error_hint(err, "divide the data into smaller batches");
    return QN_ERR_PROTOCOL;
}

/* What the metadata tells. */
static enum qn_status peek_metadata(const struct qn_ipc_decoder *decoder, const uint8_t *bytes,
                                    struct qn_ipc_head *head, struct qn_error *err)
{
    struct qn__ipc_opened message = { 0 };
    QN_TRY(open_metadata(&message, bytes + QN__IPC_PREFIX, (size_t)head->metadata - QN__IPC_PREFIX, err));
    if ((uint64_t)message.body_length > decoder->limit - head->metadata) {
        return too_large(decoder, err);
    }
    bool known = message.header_type >= QN__HEADER_SCHEMA && message.header_type <= QN__HEADER_BATCH;
    head->kind = known ? (enum qn_ipc_kind)message.header_type : QN_IPC_OTHER;
    head->size = head->metadata + (uint64_t)message.body_length;
    if (head->kind == QN_IPC_BATCH) {
        head->rows = qn__flat_int(&message.flat, &message.header, QN__BATCH_LENGTH, 8, 0);
        if (message.flat.bad || head->rows < 0 || head->rows > QN__IPC_MAX_ROWS) {
            return malformed("the number of its rows", err);
        }
    }
    return QN_OK;
}

enum qn_status qn_ipc_peek(const struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                           struct qn_ipc_head *out, struct qn_error *err)
{
    uint32_t prefix[2] = { 0 };
    struct qn_ipc_head head = { .needed = QN__IPC_PREFIX };
    if (size > 0) {
        memcpy(prefix, bytes, size < sizeof prefix ? size : sizeof prefix);
    }
    if (size >= 4 && prefix[0] != UINT32_MAX) {
        return malformed("it does not begin with 0xFFFFFFFF", err);
    }
    if (size >= sizeof prefix && prefix[1] == 0) {
        head = (struct qn_ipc_head){ .kind = QN_IPC_END, .metadata = QN__IPC_PREFIX, .size = QN__IPC_PREFIX };
    } else if (size >= sizeof prefix) {
        if (prefix[1] > INT32_MAX || prefix[1] % 8 != 0) {
            return malformed("the size of its metadata", err);
        }
        head.needed = head.metadata = QN__IPC_PREFIX + (uint64_t)prefix[1];
        if (head.metadata > decoder->limit) {
            return too_large(decoder, err);
        }
        if (size >= head.metadata) {
            QN_TRY(peek_metadata(decoder, bytes, &head, err));
        }
    }
    *out = head;
    return QN_OK;
}

enum qn_status qn_ipc_message_size(const struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                   uint64_t *size_out, bool *end_out, struct qn_error *err)
{
    struct qn_ipc_head head = { .kind = QN_IPC_OTHER };
    *size_out = 0;
    *end_out = false;
    QN_TRY(qn_ipc_peek(decoder, bytes, size, &head, err));
    *size_out = head.size;
    *end_out = head.size != 0 && head.kind == QN_IPC_END;
    return QN_OK;
}

/* Open one message that has to be there as a whole, and of that type. */
static enum qn_status open_message(const struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                   enum qn__ipc_header type, struct qn__ipc_opened *out, struct qn_error *err)
{
    uint64_t needed;
    bool end;
    uint32_t metadata;
    QN_TRY(qn_ipc_message_size(decoder, bytes, size, &needed, &end, err));
    if (needed == 0 || needed != size || end) {
        return malformed(end ? "it is the end of the stream" : "it has another length than it says", err);
    }
    memcpy(&metadata, (const uint8_t *)bytes + 4, sizeof metadata);
    QN_TRY(open_metadata(out, (const uint8_t *)bytes + QN__IPC_PREFIX, metadata, err));
    out->body = (const uint8_t *)bytes + QN__IPC_PREFIX + metadata;
    static const char *const wrong[] = { [QN__HEADER_SCHEMA] = "it is no schema",
                                         [QN__HEADER_DICTIONARY] = "it is no dictionary",
                                         [QN__HEADER_BATCH] = "it is no batch" };
    return out->header_type == (int64_t)type ? QN_OK : malformed(wrong[type], err);
}

enum qn_status qn_ipc_decode_schema(struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                    struct qn_error *err)
{
    struct qn__ipc_opened message;
    struct ArrowSchema wire;
    qn_auto_buffer encoded = QN_BUFFER_INIT;
    QN_TRY(open_message(decoder, bytes, size, QN__HEADER_SCHEMA, &message, err));
    if (decoder->has_schema) {
        return malformed("a second schema", err);
    }
    QN_TRY(qn__ipc_get_schema(&message.flat, &message.header, &wire, &encoded, err));
    return qn__ipc_decoder_take(decoder, &wire, &encoded, err);
}

/* ---- the bytes that arrays point into ---- */

static void body_unref(struct qn__ipc_body *body)
{
    if (atomic_fetch_sub_explicit(&body->references, 1, memory_order_acq_rel) == 1) {
        if (body->owner.release != NULL) {
            body->owner.release(body->owner.context);
        }
        for (uint32_t i = 0; i < body->n_made; i++) {
            qn_free(body->made[i]);
        }
        qn_free(body->made);
        qn_free(body->copy);
        qn_free(body);
    }
}

static void release_retained(struct ArrowArray *array)
{
    body_unref(array->private_data);
    array->release = NULL;
}

void qn__ipc_body_retain(struct qn__ipc_body *body, struct ArrowArray *array)
{
    struct ArrowArray holder = { .release = release_retained, .private_data = body };
    (void)atomic_fetch_add_explicit(&body->references, 1, memory_order_relaxed);
    qn__array_retain(array, &holder);
}

/* ---- columns ---- */

enum qn_status qn__ipc_bad_column(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t row,
                                  const char *what)
{
    enum qn_status status =
        qn_error_set(decoding->err, QN_ERR_PROTOCOL, "Arrow IPC: column \"%s\": %s", field->name, what);
    qn_error_place(decoding->err, row, field->name);
    return status;
}

/* A buffer of a compressed body: the length of what is in it (8 bytes; -1: it is not compressed), then that. */
static enum qn_status expand(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field,
                             struct qn__ipc_region *region)
{
    int64_t size;
    if (region->size < 8) {
        return qn__ipc_bad_column(decoding, field, -1, "a compressed buffer is too short");
    }
    memcpy(&size, region->bytes, sizeof size);
    const struct qn__ipc_region rest = { region->bytes + 8, region->size - 8 };
    if (size == -1) {
        *region = rest;
        return QN_OK;
    }
    if (size < 0 || size > decoding->expanded_left) {
        return qn__ipc_bad_column(decoding, field, -1, "a compressed buffer is too large");
    }
    decoding->expanded_left -= size;
    uint8_t *made = qn_malloc((size_t)size);
    if (made == NULL) {
        return qn__no_memory(decoding->err);
    }
    decoding->body->made[decoding->next_buffer - 1] = made;
    enum qn_status status = decoding->decoder->decompress((enum qn_ipc_codec)decoding->codec, rest.bytes,
                                                          (size_t)rest.size, made, (size_t)size, decoding->err);
    if (status != QN_OK) {
        qn_error_prefix(decoding->err, "Arrow IPC: column \"%s\": ", field->name);
        return status;
    }
    *region = (struct qn__ipc_region){ made, size };
    return QN_OK;
}

enum qn_status qn__ipc_take_buffer(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field,
                                   struct qn__ipc_region *out)
{
    const struct qn__ipc_opened *message = decoding->message;
    if (decoding->next_buffer >= decoding->buffers.count) {
        return qn__ipc_bad_column(decoding, field, -1, "a buffer is missing");
    }
    size_t at = decoding->buffers.at + 16 * (size_t)decoding->next_buffer++;
    int64_t offset = qn__flat_load64(&message->flat, at), size = qn__flat_load64(&message->flat, at + 8);
    if (size < 0 || offset < 0 || offset > message->body_length || size > message->body_length - offset) {
        return qn__ipc_bad_column(decoding, field, -1, "a buffer lies outside of the message");
    }
    if (offset % 8 != 0) {
        return qn__ipc_bad_column(decoding, field, -1, "a buffer is not aligned");
    }
    *out = (struct qn__ipc_region){ size > 0 ? message->body + offset : qn__empty_buffer, size };
    return decoding->codec >= 0 && size > 0 ? expand(decoding, field, out) : QN_OK;
}

enum qn_status qn__ipc_take_values(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t count,
                                   int64_t width, struct qn__ipc_region *out)
{
    QN_TRY(qn__ipc_take_buffer(decoding, field, out));
    return out->size / (width > 0 ? width : 1) >= (width > 0 ? count : 0)
               ? QN_OK
               : qn__ipc_bad_column(decoding, field, -1, "a buffer is too short");
}

int64_t qn__ipc_next_variadic(struct qn__ipc_decoding *decoding)
{
    if (decoding->next_variadic >= decoding->variadic.count) {
        return -1;
    }
    size_t at = decoding->variadic.at + 8 * (size_t)decoding->next_variadic++;
    int64_t count = qn__flat_load64(&decoding->message->flat, at);
    return count <= (int64_t)(decoding->buffers.count - decoding->next_buffer) ? count : -1;
}

/* The validity of a column whose node says `null_count`; *out NULL where no row is null. */
static enum qn_status take_validity(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field,
                                    int64_t length, int64_t null_count, const uint8_t **out)
{
    struct qn__ipc_region bits = { 0 };
    QN_TRY(qn__ipc_take_buffer(decoding, field, &bits));
    *out = NULL;
    if (bits.size == 0) {
        return null_count == 0 ? QN_OK : qn__ipc_bad_column(decoding, field, -1, "nulls without a validity buffer");
    }
    if (bits.size < (length + 7) / 8) {
        return qn__ipc_bad_column(decoding, field, -1, "its validity buffer is too short");
    }
    if (length - qn__ipc_count_bits(bits.bytes, 0, length) != null_count) {
        return qn__ipc_bad_column(decoding, field, -1, "its null count is not that of its validity buffer");
    }
    *out = null_count > 0 ? bits.bytes : NULL;
    return QN_OK;
}

static int64_t load_offset(const uint8_t *offsets, size_t width, int64_t i)
{
    int64_t wide = 0;
    if (width == 4) {
        int32_t narrow;
        memcpy(&narrow, offsets + i * 4, 4);
        return narrow;
    }
    memcpy(&wide, offsets + i * 8, 8);
    return wide;
}

/* Offsets that rise from 0 or more; *end_out is the last. */
static enum qn_status take_offsets(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t length,
                                   struct qn__ipc_region *out, int64_t *end_out)
{
    size_t width = qn__ipc_offset_width(field->type.id);
    QN_TRY(qn__ipc_take_buffer(decoding, field, out));
    *end_out = 0;
    if (length == 0 && out->size < (int64_t)width) { /* it may be left out where there are no rows */
        out->bytes = qn__empty_buffer;
        return QN_OK;
    }
    if (out->size / (int64_t)width < length + 1) {
        return qn__ipc_bad_column(decoding, field, -1, "its offsets are too short");
    }
    int64_t before = load_offset(out->bytes, width, 0);
    bool good = before >= 0;
    for (int64_t i = 1; i <= length; i++) {
        int64_t offset = load_offset(out->bytes, width, i);
        good &= offset >= before;
        before = offset;
    }
    *end_out = before;
    return good ? QN_OK : qn__ipc_bad_column(decoding, field, -1, "its offsets are negative or run backwards");
}

/* 10^digits as four words, the lowest first; below 2^255 for what a type may have. */
static void wide_power(int digits, uint64_t out[4])
{
    memset(out, 0, 4 * sizeof *out);
    out[0] = 1;
    for (int i = 0; i < digits; i++) {
        qn_uint128 carry = 0;
        for (int word = 0; word < 4; word++) {
            carry += (qn_uint128)out[word] * 10;
            out[word] = (uint64_t)carry;
            carry >>= 64;
        }
    }
}

/* As bad_decimal, for 256 bits. */
static int64_t bad_wide_decimal(const struct qn_type *type, const uint8_t *values, const uint8_t *validity, int64_t n)
{
    uint64_t limit[4], value[4];
    wide_power(type->precision, limit);
    for (int64_t i = 0; i < n; i++) {
        memcpy(value, values + i * 32, 32);
        bool negative = value[3] >> 63;
        unsigned carry = negative ? 1 : 0;
        for (int word = 0; word < 4 && negative; word++) { /* its magnitude */
            value[word] = ~value[word] + carry;
            carry = carry != 0 && value[word] == 0;
        }
        int word = 3;
        while (word > 0 && value[word] == limit[word]) {
            word--;
        }
        if (value[word] >= limit[word] && (validity == NULL || qn__ipc_bit(validity, i))) {
            return i;
        }
    }
    return -1;
}

/* The first value that is not null and has more digits than its type; -1: none. */
static int64_t bad_decimal(const struct qn_type *type, const uint8_t *values, const uint8_t *validity, int64_t n)
{
    uint32_t width = qn_type_width(type);
    qn_int128 limit = qn_decimal_power(type->precision);
    for (int64_t i = 0; i < n; i++) {
        qn_int128 value = 0;
        if (width == 16) {
            memcpy(&value, values + i * 16, 16);
        } else if (width == 8) {
            int64_t narrow;
            memcpy(&narrow, values + i * 8, 8);
            value = narrow;
        } else {
            int32_t narrow;
            memcpy(&narrow, values + i * 4, 4);
            value = narrow;
        }
        if ((value >= limit || value <= -limit) && (validity == NULL || qn__ipc_bit(validity, i))) {
            return i;
        }
    }
    return -1;
}

static enum qn_status take_fixed(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t length,
                                 const uint8_t *validity, struct ArrowArray *array)
{
    struct qn__ipc_region values;
    QN_TRY(qn__ipc_take_values(decoding, field, length, qn_type_width(&field->type), &values));
    qn__array_borrow(array, 1, values.bytes);
    if (field->type.id >= QN_TYPE_DECIMAL32 && field->type.id <= QN_TYPE_DECIMAL256) {
        int64_t row = field->type.id == QN_TYPE_DECIMAL256
                          ? bad_wide_decimal(&field->type, values.bytes, validity, length)
                          : bad_decimal(&field->type, values.bytes, validity, length);
        if (row >= 0) {
            return qn__ipc_bad_column(decoding, field, row, "a decimal has more digits than its type");
        }
    }
    return QN_OK;
}

static enum qn_status take_bytes(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t length,
                                 const uint8_t *validity, struct ArrowArray *array)
{
    struct qn__ipc_region offsets, bytes;
    int64_t end;
    QN_TRY(take_offsets(decoding, field, length, &offsets, &end));
    QN_TRY(qn__ipc_take_buffer(decoding, field, &bytes));
    if (end > bytes.size) {
        return qn__ipc_bad_column(decoding, field, -1, "its offsets end behind its bytes");
    }
    if (qn__type_is_text(field->type.id)) {
        int64_t row = qn__ipc_bad_text(offsets.bytes, qn__ipc_offset_width(field->type.id) == 8,
                                       (const char *)bytes.bytes, validity, length);
        if (row >= 0) {
            return qn__ipc_bad_column(decoding, field, row, "text that is not UTF-8");
        }
    }
    qn__array_borrow(array, 1, offsets.bytes);
    qn__array_borrow(array, 2, bytes.bytes);
    return QN_OK;
}

static enum qn_status take_column(struct qn__ipc_decoding *decoding, const struct qn__ipc_level *parent,
                                  int64_t per_row, int64_t at_least, struct ArrowArray *out);

/* The children of a list or struct, which have to hold what it points at. */
static enum qn_status take_children(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field,
                                    int64_t length, const struct qn__ipc_level *level, struct ArrowArray *array)
{
    struct qn__ipc_region offsets;
    int64_t needed = length;
    int64_t per_row = 1;
    switch (field->type.id) {
    case QN_TYPE_STRUCT:
        break;
    case QN_TYPE_FIXED_LIST:
        per_row = field->type.width;
        needed = length * per_row; /* neither is over 2^31 */
        break;
    default:
        level = NULL;
        QN_TRY(take_offsets(decoding, field, length, &offsets, &needed));
        qn__array_borrow(array, 1, offsets.bytes);
        break;
    }
    for (int64_t i = 0; i < field->n_children; i++) {
        QN_TRY(take_column(decoding, level, per_row, needed, array->children[i]));
    }
    return QN_OK;
}

/* A column of indices as the values that they stand for. */
static enum qn_status take_encoded(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field,
                                   const struct qn__ipc_level *parent, int64_t per_row, int64_t at_least,
                                   int64_t length, int64_t null_count, struct ArrowArray *out)
{
    const uint8_t *validity;
    QN_TRY(take_validity(decoding, field, length, null_count, &validity));
    QN_TRY(qn__ipc_gather(decoding, field, length, validity, out));
    const struct qn__ipc_level level = { parent, out->n_buffers > 0 ? out->buffers[0] : NULL, 0, per_row };
    int64_t unwanted = field->required ? qn__ipc_unwanted_null(&level, at_least) : -1;
    return unwanted < 0
               ? QN_OK
               : qn__ipc_bad_column(decoding, field, parent == NULL ? unwanted : -1, "a null where none may be");
}

/* The next column as an array of its own in *out, which is released also where this fails. */
static enum qn_status take_column(struct qn__ipc_decoding *decoding, const struct qn__ipc_level *parent,
                                  int64_t per_row, int64_t at_least, struct ArrowArray *out)
{
    const struct qn__ipc_field *field = &decoding->fields->list[decoding->next_node];
    size_t at = decoding->nodes.at + 16 * (size_t)decoding->next_node++;
    int64_t length = qn__flat_load64(&decoding->message->flat, at);
    int64_t null_count = qn__flat_load64(&decoding->message->flat, at + 8);
    if (length < at_least || length > QN__IPC_MAX_ROWS || null_count < 0 || null_count > length) {
        return qn__ipc_bad_column(decoding, field, -1, "a bad length or null count");
    }
    if (field->encoded) {
        return take_encoded(decoding, field, parent, per_row, at_least, length, null_count, out);
    }
    QN_TRY(qn__array_new(qn__ipc_buffers(field->type.id), field->n_children, out, decoding->err));
    qn__ipc_body_retain(decoding->body, out);
    out->length = length;
    if (field->type.id == QN_TYPE_NULL) {
        out->null_count = length;
        return QN_OK;
    }
    const uint8_t *validity;
    QN_TRY(take_validity(decoding, field, length, null_count, &validity));
    out->null_count = null_count;
    qn__array_borrow(out, 0, validity);
    const struct qn__ipc_level level = { parent, validity, 0, per_row };
    /* Rows past what the parent has are nobody's. */
    int64_t unwanted = field->required ? qn__ipc_unwanted_null(&level, at_least) : -1;
    if (unwanted >= 0) {
        return qn__ipc_bad_column(decoding, field, parent == NULL ? unwanted : -1, "a null where none may be");
    }
    switch (field->type.id) {
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
        return take_bytes(decoding, field, length, validity, out);
    case QN_TYPE_STRING_VIEW:
    case QN_TYPE_BINARY_VIEW:
        return qn__ipc_take_views(decoding, field, length, validity, out);
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_STRUCT:
    case QN_TYPE_MAP:
        return take_children(decoding, field, length, &level, out);
    case QN_TYPE_BOOL: {
        struct qn__ipc_region bits;
        QN_TRY(qn__ipc_take_values(decoding, field, (length + 7) / 8, 1, &bits));
        qn__array_borrow(out, 1, bits.bytes);
        return QN_OK;
    }
    default:
        return take_fixed(decoding, field, length, validity, out);
    }
}

/* How the body is compressed, and room for what it becomes. */
static enum qn_status open_compression(struct qn__ipc_decoding *decoding, struct qn__flat *flat,
                                       const struct qn__flat_table *header)
{
    decoding->codec = -1;
    if (!qn__flat_has(flat, header, QN__BATCH_COMPRESSION)) {
        return QN_OK;
    }
    struct qn__flat_table compression = qn__flat_child(flat, header, QN__BATCH_COMPRESSION);
    int64_t codec = qn__flat_int(flat, &compression, 0, 1, 0);
    int64_t method = qn__flat_int(flat, &compression, 1, 1, 0);
    if (flat->bad) {
        return malformed("its metadata lies outside of it", decoding->err);
    }
    if (decoding->decoder->decompress == NULL || method != 0 || codec < QN_IPC_LZ4_FRAME || codec > QN_IPC_ZSTD) {
        return qn_error_set(decoding->err, QN_ERR_UNSUPPORTED, "Arrow IPC: compressed bodies are not read%s",
                            decoding->decoder->decompress == NULL ? " here" : " but for LZ4 frames and ZSTD");
    }
    decoding->codec = (int)codec;
    decoding->expanded_left = QN__IPC_MAX_EXPANDED;
    decoding->body->made = qn_calloc(decoding->buffers.count, sizeof *decoding->body->made);
    decoding->body->n_made = decoding->body->made != NULL ? decoding->buffers.count : 0;
    return decoding->body->made != NULL ? QN_OK : qn__no_memory(decoding->err);
}

/* The columns that a RecordBatch table says, n_columns of them in `columns`. */
static enum qn_status take_columns(struct qn__ipc_decoding *decoding, struct qn__flat *flat,
                                   const struct qn__flat_table *header, struct ArrowArray **columns, int64_t n_columns,
                                   int64_t *rows_out)
{
    int64_t rows = qn__flat_int(flat, header, QN__BATCH_LENGTH, 8, 0);
    decoding->nodes = qn__flat_vector(flat, header, QN__BATCH_NODES, 16);
    decoding->buffers = qn__flat_vector(flat, header, QN__BATCH_BUFFERS, 16);
    decoding->variadic = qn__flat_vector(flat, header, QN__BATCH_VARIADIC, 8);
    decoding->gathered_left = QN__IPC_MAX_GATHERED;
    if (flat->bad) {
        return malformed("its metadata lies outside of it", decoding->err);
    }
    QN_TRY(open_compression(decoding, flat, header));
    if (rows < 0 || rows > QN__IPC_MAX_ROWS || decoding->nodes.count != decoding->fields->count ||
        decoding->buffers.count < decoding->fields->n_buffers) {
        return malformed("it does not have the columns of its schema", decoding->err);
    }
    for (int64_t i = 0; i < n_columns; i++) {
        QN_TRY(take_column(decoding, NULL, 1, rows, columns[i]));
        if (columns[i]->length != rows) {
            return malformed("a column has another length than the batch", decoding->err);
        }
    }
    if (decoding->next_buffer != decoding->buffers.count || decoding->next_variadic != decoding->variadic.count) {
        return malformed("it has buffers of no column", decoding->err);
    }
    *rows_out = rows;
    return QN_OK;
}

/* The body, in place where the owner keeps it and it lies aligned, or as a copy. The owner is taken over. */
static enum qn_status hold_body(struct qn__ipc_opened *message, struct qn_ipc_owner owner, struct qn__ipc_body **out,
                                struct qn_error *err)
{
    struct qn__ipc_body *body = qn_calloc(1, sizeof *body);
    bool in_place = owner.release != NULL && (uintptr_t)message->body % 8 == 0;
    void *copy = in_place ? NULL : qn_malloc((size_t)message->body_length);
    if (body == NULL || (!in_place && copy == NULL)) {
        qn_free(body);
        qn_free(copy);
        return qn__no_memory(err);
    }
    atomic_init(&body->references, 1);
    body->copy = copy;
    body->owner = owner; /* kept until the end also where it is copied: the metadata is still read */
    if (!in_place && message->body_length > 0) {
        memcpy(copy, message->body, (size_t)message->body_length);
    }
    message->body = in_place ? message->body : copy;
    *out = body;
    return QN_OK;
}

enum qn_status qn_ipc_decode_batch(struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                   struct qn_ipc_owner owner, struct ArrowArray *out, struct qn_error *err)
{
    struct qn__ipc_opened message;
    struct qn__ipc_body *body = NULL;
    enum qn_status status = open_message(decoder, bytes, size, QN__HEADER_BATCH, &message, err);
    if (status == QN_OK && !decoder->has_schema) {
        status = malformed("a batch before the schema", err);
    }
    if (status == QN_OK) {
        status = hold_body(&message, owner, &body, err);
    }
    if (status != QN_OK) {
        if (owner.release != NULL) {
            owner.release(owner.context);
        }
        return status;
    }
    qn_auto_array batch = { 0 };
    struct qn__ipc_decoding decoding = {
        .decoder = decoder, .fields = &decoder->fields, .message = &message, .body = body, .err = err
    };
    status = qn__array_new(1, decoder->schema.n_children, &batch, err);
    if (status == QN_OK) {
        qn__ipc_body_retain(body, &batch);
        status =
            take_columns(&decoding, &message.flat, &message.header, batch.children, batch.n_children, &batch.length);
    }
    if (status == QN_OK) {
        qn__array_move(&batch, out);
    }
    body_unref(body);
    return status;
}

enum qn_status qn_ipc_decode_dictionary(struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                        struct qn_error *err)
{
    struct qn__ipc_opened message;
    struct qn__ipc_body *body = NULL;
    QN_TRY(open_message(decoder, bytes, size, QN__HEADER_DICTIONARY, &message, err));
    struct qn__flat *flat = &message.flat;
    int64_t id = qn__flat_int(flat, &message.header, QN__DICTIONARY_ID, 8, 0);
    bool add = qn__flat_int(flat, &message.header, QN__DICTIONARY_IS_DELTA, 1, 0) != 0;
    struct qn__flat_table data = qn__flat_child(flat, &message.header, QN__DICTIONARY_DATA);
    const struct qn__ipc_fields *fields =
        decoder->dictionaries != NULL ? qn__ipc_dictionary_fields(decoder->dictionaries, id) : NULL;
    if (flat->bad || data.vtable_size == 0) {
        return malformed("a dictionary without values", err);
    }
    if (fields == NULL) {
        return malformed("a dictionary of no column", err);
    }
    QN_TRY(hold_body(&message, (struct qn_ipc_owner){ 0 }, &body, err));
    qn_auto_array values = { 0 };
    struct ArrowArray *column = &values;
    struct qn__ipc_decoding decoding = {
        .decoder = decoder, .fields = fields, .message = &message, .body = body, .err = err
    };
    int64_t rows;
    enum qn_status status = take_columns(&decoding, flat, &data, &column, 1, &rows);
    if (status == QN_OK) {
        status = qn__ipc_dictionary_put(decoder->dictionaries, id, add, &values, err);
    }
    body_unref(body);
    return status;
}
