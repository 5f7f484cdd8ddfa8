/*
 * ipc.h: Arrow IPC messages in and out of memory (Apache Arrow columnar format 1.x, "Serialization and Interprocess
 * Communication"; metadata version 5, little-endian, encapsulated messages with the 0xFFFFFFFF marker).
 *
 * Writing takes arrays of any layout that src/arrow knows: views are turned into offsets and sliced arrays are made whole
 * on the way; dictionary-encoded columns go out as their values; so a schema as it is written (qn_ipc_schema) may differ
 * in layout, never in values. Reading trusts nothing: metadata is verified, buffers are checked to lie inside the message
 * and to have the size that their type and length demand, offsets to rise and stay inside, strings to be UTF-8 and
 * validity and null counts to agree, before an array is handed out. Columns with dictionaries are handed out as their
 * values (texts as views into the dictionary), so that nobody who reads has to know of them. Compressed bodies are refused by
 * type (QN_ERR_UNSUPPORTED) unless the caller brings what expands them: a decompressor is much to trust with hostile bytes.
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

/* A batch in several messages: bind it (borrowed until the last of them), then append messages of n of its rows each, from
 * row `first` on. */
enum qn_status qn_ipc_encode_bind(struct qn_ipc_encoder *encoder, const struct ArrowArray *batch,
                                  struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_ipc_encode_rows(struct qn_ipc_encoder *encoder, int64_t first, int64_t n, struct qn_buffer *out,
                                  struct qn_error *err) QN_MUST_CHECK;

/* ---- in ---- */

struct qn_ipc_decoder;

/* A decoder that waits for a schema message. `limit`: bytes of one message at most (0: 2 GiB). */
enum qn_status qn_ipc_decoder_new(uint64_t limit, struct qn_ipc_decoder **out, struct qn_error *err) QN_MUST_CHECK;
void qn_ipc_decoder_free(struct qn_ipc_decoder *decoder);

/* Fix the schema from outside (copied) instead of a message: batches are held to it. */
enum qn_status qn_ipc_decoder_set_schema(struct qn_ipc_decoder *decoder, const struct ArrowSchema *schema,
                                         struct qn_error *err) QN_MUST_CHECK;

/* Expand `size` bytes to exactly `into_size`. */
enum qn_ipc_codec { QN_IPC_LZ4_FRAME = 0, QN_IPC_ZSTD = 1 };
typedef enum qn_status (*qn_ipc_decompress)(enum qn_ipc_codec codec, const void *bytes, size_t size, void *into,
                                            size_t into_size, struct qn_error *err);

/* From now on compressed bodies are read. A body is 1 GiB at most once it is expanded. */
void qn_ipc_decoder_expand(struct qn_ipc_decoder *decoder, qn_ipc_decompress decompress);

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

/* Decode a message of kind QN_IPC_DICTIONARY: batches from now on have its values. Keeps nothing of the bytes. All
 * dictionaries of a stream have 256 MiB at most. */
enum qn_status qn_ipc_decode_dictionary(struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                                        struct qn_error *err) QN_MUST_CHECK;

/* The schema; borrowed; NULL while there is none. */
const struct ArrowSchema *qn_ipc_decoder_schema(const struct qn_ipc_decoder *decoder);

/* ---- files ---- */

/* The file format: the magic and two zeros, messages as in a stream with the end-of-stream marker, a footer that tells where
 * each message is, its size (4 bytes) and the magic again. */
#define QN_IPC_MAGIC      "ARROW1"
#define QN_IPC_MAGIC_SIZE 6
#define QN_IPC_FILE_HEAD  8  /* bytes before the first message */
#define QN_IPC_FILE_TAIL  10 /* bytes behind the footer */

/* Where a message is in a file. */
struct qn_ipc_block {
    int64_t offset;
    int64_t metadata; /* bytes of prefix and metadata */
    int64_t body;
};

/* Append what a file begins with, the schema included, so that what comes next lies at a multiple of 64. */
enum qn_status qn_ipc_encode_file_head(struct qn_ipc_encoder *encoder, struct qn_buffer *out,
                                       struct qn_error *err) QN_MUST_CHECK;
/* Append what it ends with: the end-of-stream marker, and the footer with the batches' blocks. `out` lies at a multiple of
 * 8 in the file. */
enum qn_status qn_ipc_encode_file_tail(struct qn_ipc_encoder *encoder, const struct qn_ipc_block *batches,
                                       size_t n_batches, struct qn_buffer *out, struct qn_error *err) QN_MUST_CHECK;

struct qn_ipc_footer {
    struct qn_ipc_block *dictionaries, *batches; /* the caller's, to be freed with qn_ipc_footer_dispose */
    size_t n_dictionaries, n_batches;
};
void qn_ipc_footer_dispose(struct qn_ipc_footer *footer);

/* The size of the footer, from the last QN_IPC_FILE_TAIL bytes of a file; 0 where they are not such a tail. */
uint32_t qn_ipc_footer_size(const void *tail);

/* Decode a footer (its bytes alone): the schema goes to the decoder. QN_ERR_PROTOCOL also where a block lies outside of the
 * messages, which end at `end`, or where all blocks together are larger than these. */
enum qn_status qn_ipc_decode_footer(struct qn_ipc_decoder *decoder, const void *bytes, size_t size, int64_t end,
                                    struct qn_ipc_footer *out, struct qn_error *err) QN_MUST_CHECK;

/* What a message is, from its beginning. */
enum qn_ipc_kind { QN_IPC_END, QN_IPC_SCHEMA = 1, QN_IPC_DICTIONARY = 2, QN_IPC_BATCH = 3, QN_IPC_OTHER = 4 };

struct qn_ipc_head {
    enum qn_ipc_kind kind;
    uint64_t needed;   /* bytes that must be there to tell the rest; no more than were given: the rest is told */
    uint64_t metadata; /* bytes of prefix and metadata */
    uint64_t size;     /* of all of it */
    int64_t rows;      /* of a batch */
};
enum qn_status qn_ipc_peek(const struct qn_ipc_decoder *decoder, const void *bytes, size_t size,
                           struct qn_ipc_head *out, struct qn_error *err) QN_MUST_CHECK;

#endif
