/*
 * ipc.h: Arrow IPC messages in and out of memory (Apache Arrow columnar format 1.x, "Serialization and Interprocess
 * Communication"; metadata version 5, little-endian, encapsulated messages with the 0xFFFFFFFF marker).
 *
 * Writing takes arrays of any layout that src/arrow knows: views are turned into offsets and sliced arrays are made whole
 * on the way; dictionary-encoded columns go out as their values; so a schema as it is written (qn_ipc_schema) may differ
 * in layout, never in values. Reading trusts nothing: metadata is verified, buffers are checked to lie inside the message
 * and to have the size that their type and length demand, offsets to rise and stay inside, strings to be UTF-8 and
 * validity and null counts to agree, before an array is handed out. Dictionaries and compressed bodies are refused by type
 * (QN_ERR_UNSUPPORTED): no side of ours writes them, and a decompressor is much to trust with hostile bytes.
 * Threads: one at a time per encoder or decoder.
 */
#ifndef QN_ARROW_IPC_H
#define QN_ARROW_IPC_H

#include "arrow/type.h"
#include "base/buffer.h"

/* ---- out ---- */

struct qn_ipc_encoder;

/* For batches of `schema` (a struct schema; copied). QN_ERR_UNSUPPORTED names a field whose type cannot be written. */
enum qn_status qn_ipc_encoder_new(const struct ArrowSchema *schema, struct qn_ipc_encoder **out,
                                  struct qn_error *err) QN_MUST_CHECK;
void qn_ipc_encoder_free(struct qn_ipc_encoder *encoder);

/* The schema as it is written: no views, no dictionaries. Borrowed. */
const struct ArrowSchema *qn_ipc_encoder_schema(const struct qn_ipc_encoder *encoder);

/* Append one message: the schema, or a batch, or the end-of-stream marker. On failure `out` is as it was. */
enum qn_status qn_ipc_encode_schema(struct qn_ipc_encoder *encoder, struct qn_buffer *out,
                                    struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_ipc_encode_batch(struct qn_ipc_encoder *encoder, const struct ArrowArray *batch,
                                   struct qn_buffer *out, struct qn_error *err) QN_MUST_CHECK;
void qn_ipc_encode_end(struct qn_buffer *out);

/* ---- in ---- */

struct qn_ipc_decoder;

/* A decoder that waits for a schema message. `limit`: bytes of one message at most (0: 2 GiB). */
enum qn_status qn_ipc_decoder_new(uint64_t limit, struct qn_ipc_decoder **out, struct qn_error *err) QN_MUST_CHECK;
void qn_ipc_decoder_free(struct qn_ipc_decoder *decoder);

/* Fix the schema from outside (copied) instead of a message: batches are held to it. */
enum qn_status qn_ipc_decoder_set_schema(struct qn_ipc_decoder *decoder, const struct ArrowSchema *schema,
                                         struct qn_error *err) QN_MUST_CHECK;

/* Whose bytes a batch points into: `release(context)` is called once, when the last array of the batch is released (also
 * where decoding fails). release NULL: the bytes are copied. */
struct qn_ipc_owner {
    void (*release)(void *context);
    void *context;
};

/* How many bytes the message that begins at `bytes` has, prefix and body; 0 in *size_out where more of it must be there to
 * tell. *end_out: it is the end-of-stream marker. QN_ERR_PROTOCOL where it is none, or over the limit. */
enum qn_status qn_ipc_message_size(const struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                   uint64_t *size_out, bool *end_out, struct qn_error *err) QN_MUST_CHECK;

/* Decode one whole message (QN_ERR_PROTOCOL where it is not what it should be). Bodies must lie 8-byte aligned to be used in
 * place; otherwise they are copied. */
enum qn_status qn_ipc_decode_schema(struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                    struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_ipc_decode_batch(struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                   struct qn_ipc_owner owner, struct ArrowArray *out,
                                   struct qn_error *err) QN_MUST_CHECK;

/* The schema; borrowed; NULL while there is none. */
const struct ArrowSchema *qn_ipc_decoder_schema(const struct qn_ipc_decoder *decoder);

#endif
