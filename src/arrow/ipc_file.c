/*
 * ipc_file.c: what the file format of Arrow IPC adds to the stream (columnar format, "IPC File Format"; File.fbs).
 *
 * A file: "ARROW1", two zeros, a stream with its end marker, the footer (a FlatBuffer: version, schema, blocks of
 * dictionaries, blocks of batches), its size as an i32, "ARROW1". A block is 24 bytes: i64 offset of a message in the file,
 * i32 bytes of its prefix and metadata, 4 bytes of padding, i64 bytes of its body. Blocks are believed as far as they lie
 * inside of the file and are no more than it in sum; what lies there is judged as any message is. Threads: no state.
 */
#include "arrow/ipc_private.h"

#include "base/memory.h"

enum footer_field { FOOTER_VERSION, FOOTER_SCHEMA, FOOTER_DICTIONARIES, FOOTER_BATCHES, FOOTER_FIELDS };

#define BLOCK_SIZE 24

static const char file_head[QN_IPC_FILE_HEAD] = QN_IPC_MAGIC "\0";

/* ---- writing ---- */

enum qn_status qn_ipc_encode_file_head(struct qn_ipc_encoder *encoder, struct qn_buffer *out, struct qn_error *err)
{
    static const char zeros[QN__IPC_ALIGN];
    qn_buffer_append(out, file_head, sizeof file_head);
    size_t message = out->size;
    QN_TRY(qn_ipc_encode_schema(encoder, out, err));
    /* The message is a multiple of 64 and begins behind the magic: lengthen its metadata by what is missing. */
    qn_buffer_append(out, zeros, QN__IPC_ALIGN - QN_IPC_FILE_HEAD);
    QN_TRY(qn_buffer_check(out, "an Arrow file", err));
    uint32_t metadata = (uint32_t)(out->size - message - QN__IPC_PREFIX);
    memcpy(out->data + message + 4, &metadata, sizeof metadata);
    return QN_OK;
}

static void put_blocks(const struct qn__flat_writer *to, size_t place, const struct qn_ipc_block *blocks, size_t n)
{
    qn__flat_patch(to, place, qn__flat_put_vector(to, (uint32_t)n));
    for (size_t i = 0; i < n; i++) {
        const int64_t block[3] = { blocks[i].offset, blocks[i].metadata, blocks[i].body };
        qn_buffer_append(to->out, block, sizeof block);
    }
}

enum qn_status qn_ipc_encode_file_tail(struct qn_ipc_encoder *encoder, const struct qn_ipc_block *batches,
                                       size_t n_batches, struct qn_buffer *out, struct qn_error *err)
{
    const struct qn__flat_slot slots[FOOTER_FIELDS] = {
        [FOOTER_VERSION] = { 2, QN__METADATA_V5 },
        [FOOTER_SCHEMA] = { 4, 0 },
        [FOOTER_DICTIONARIES] = { 4, 0 },
        [FOOTER_BATCHES] = { 4, 0 },
    };
    size_t places[QN__FLAT_MAX_FIELDS];
    if (n_batches > INT32_MAX / BLOCK_SIZE - 1) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "an Arrow file of %zu batches", n_batches);
    }
    qn_ipc_encode_end(out);
    const struct qn__flat_writer to = { out, out->size };
    size_t root = qn__flat_begin(&to);
    qn__flat_patch(&to, root, qn__flat_put_table(&to, slots, FOOTER_FIELDS, places));
    qn__flat_patch(&to, places[FOOTER_SCHEMA], qn__ipc_put_schema(&to, qn_ipc_encoder_schema(encoder)));
    put_blocks(&to, places[FOOTER_DICTIONARIES], NULL, 0);
    put_blocks(&to, places[FOOTER_BATCHES], batches, n_batches);
    qn__flat_pad(&to, 8);
    uint32_t size = (uint32_t)(out->size - to.begin);
    qn_buffer_append(out, &size, sizeof size);
    qn_buffer_append(out, QN_IPC_MAGIC, QN_IPC_MAGIC_SIZE);
    return qn_buffer_check(out, "an Arrow file", err);
}

/* ---- reading ---- */

static enum qn_status malformed(const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_PROTOCOL, "Arrow IPC: malformed footer: %s", what);
}

void qn_ipc_footer_dispose(struct qn_ipc_footer *footer)
{
    qn_free(footer->dictionaries);
    qn_free(footer->batches);
    *footer = (struct qn_ipc_footer){ 0 };
}

uint32_t qn_ipc_footer_size(const void *tail)
{
    uint32_t size;
    memcpy(&size, tail, sizeof size);
    bool good = memcmp((const char *)tail + sizeof size, QN_IPC_MAGIC, QN_IPC_MAGIC_SIZE) == 0;
    return good && size <= INT32_MAX ? size : 0;
}

/* The blocks of a field; *left is what the messages have room for still. */
static enum qn_status get_blocks(struct qn__flat *flat, const struct qn__flat_table *footer, int field, int64_t end,
                                 int64_t *left, struct qn_ipc_block **out, size_t *n_out, struct qn_error *err)
{
    struct qn__flat_vector vector = qn__flat_vector(flat, footer, field, BLOCK_SIZE);
    struct qn_ipc_block *blocks qn_auto_free = qn_calloc(vector.count, sizeof *blocks);
    if (blocks == NULL) {
        return qn__no_memory(err);
    }
    for (uint32_t i = 0; i < vector.count; i++) {
        size_t at = vector.at + (size_t)i * BLOCK_SIZE;
        struct qn_ipc_block *block = &blocks[i];
        block->offset = qn__flat_load64(flat, at);
        block->metadata = (int32_t)qn__flat_load64(flat, at + 8);
        block->body = qn__flat_load64(flat, at + 16);
        if (block->offset < QN_IPC_FILE_HEAD || block->offset % 8 != 0 || block->metadata <= QN__IPC_PREFIX ||
            block->body < 0 || block->offset > end || block->metadata > end - block->offset ||
            block->body > end - block->offset - block->metadata) {
            return malformed("a block lies outside of the file", err);
        }
        *left -= block->metadata + block->body;
        if (*left < 0) {
            return malformed("its blocks overlap", err);
        }
    }
    *out = qn_steal(&blocks);
    *n_out = vector.count;
    return QN_OK;
}

enum qn_status qn_ipc_decode_footer(struct qn_ipc_decoder *decoder, const void *bytes, size_t size, int64_t end,
                                    struct qn_ipc_footer *out, struct qn_error *err)
{
    struct qn__flat flat = { .bytes = bytes, .size = size };
    struct qn__flat_table root = qn__flat_root(&flat);
    int64_t version = qn__flat_int(&flat, &root, FOOTER_VERSION, 2, 0);
    struct qn__flat_table schema = qn__flat_child(&flat, &root, FOOTER_SCHEMA);
    if (flat.bad || schema.vtable_size == 0) {
        return malformed("it is no FlatBuffer with a schema", err);
    }
    if (version != QN__METADATA_V4 && version != QN__METADATA_V5) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "Arrow IPC: metadata version %lld is not read",
                            (long long)version + 1);
    }
    if (qn_ipc_decoder_schema(decoder) != NULL) {
        return malformed("a second schema", err);
    }
    struct qn_ipc_footer footer = { 0 };
    struct ArrowSchema wire;
    qn_auto_buffer encoded = QN_BUFFER_INIT;
    int64_t left = end - QN_IPC_FILE_HEAD;
    enum qn_status status =
        get_blocks(&flat, &root, FOOTER_DICTIONARIES, end, &left, &footer.dictionaries, &footer.n_dictionaries, err);
    if (status == QN_OK) {
        status = get_blocks(&flat, &root, FOOTER_BATCHES, end, &left, &footer.batches, &footer.n_batches, err);
    }
    if (status == QN_OK && flat.bad) {
        status = malformed("it points outside of itself", err);
    }
    if (status == QN_OK) {
        status = qn__ipc_get_schema(&flat, &schema, &wire, &encoded, err);
    }
    if (status == QN_OK) {
        status = qn__ipc_decoder_take(decoder, &wire, &encoded, err);
    }
    if (status != QN_OK) {
        qn_ipc_footer_dispose(&footer);
        return status;
    }
    *out = footer;
    return QN_OK;
}
