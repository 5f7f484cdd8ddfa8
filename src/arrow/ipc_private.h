/*
 * ipc_private.h: what the files of Arrow IPC share. Not for other folders.
 *
 * A message (columnar format, "Encapsulated message format"): 0xFFFFFFFF, the i32 size of the metadata (a multiple of 8),
 * the metadata as FlatBuffers (Message.fbs), the body of Message.bodyLength bytes. Ours are padded so that body and
 * message both begin at multiples of 64 from where the first message begins.
 */
#ifndef QN_ARROW_IPC_PRIVATE_H
#define QN_ARROW_IPC_PRIVATE_H

#include "arrow/ipc.h"
#include "arrow/ipc_flat.h"

#define QN__IPC_ALIGN      64
#define QN__IPC_PREFIX     8
#define QN__IPC_MAX_ROWS   INT32_MAX          /* of a batch, and items of any column in it */
#define QN__IPC_MAX_FIELDS 65536              /* of a schema, at all levels together */
#define QN__IPC_MAX_TEXT   (16 * 1024 * 1024) /* bytes of names and metadata of a schema */

/* Message.fbs. */
enum qn__ipc_message_field {
    QN__MESSAGE_VERSION,
    QN__MESSAGE_HEADER_TYPE,
    QN__MESSAGE_HEADER,
    QN__MESSAGE_BODY_LENGTH,
    QN__MESSAGE_FIELDS
};
enum qn__ipc_header { QN__HEADER_SCHEMA = 1, QN__HEADER_DICTIONARY = 2, QN__HEADER_BATCH = 3 };
enum qn__ipc_batch_field {
    QN__BATCH_LENGTH,
    QN__BATCH_NODES,
    QN__BATCH_BUFFERS,
    QN__BATCH_COMPRESSION,
    QN__BATCH_VARIADIC,
    QN__BATCH_FIELDS
};
enum qn__ipc_dictionary_field { QN__DICTIONARY_ID, QN__DICTIONARY_DATA, QN__DICTIONARY_IS_DELTA };
#define QN__METADATA_V4 3
#define QN__METADATA_V5 4

/* A field of a schema as it is written, parents before children. */
struct qn__ipc_field {
    struct qn_type type;
    const char *name; /* the schema's */
    bool required;    /* may not be null where its parents are not */
    int64_t n_children;
    bool encoded; /* read only: the message has indices of a dictionary */
    int64_t dictionary;
    struct qn_type index_type;
};

/* What a schema message says of a field whose values are in a dictionary. */
struct qn__ipc_encoded {
    int64_t field; /* parents before children, from 0 */
    int64_t dictionary;
    struct qn_type index_type, value_type; /* the values' as they are written */
};

struct qn__ipc_fields {
    struct qn__ipc_field *list;
    int64_t count;
    int64_t n_buffers; /* of a batch, all fields together */
};

/* Offsets, values and validity that a column has in a body. */
int64_t qn__ipc_buffers(enum qn_type_id id);
/* Bytes of one offset; 0 for types without. */
size_t qn__ipc_offset_width(enum qn_type_id id);

/* The schema as it is written: views as offsets, dictionaries as their values. */
enum qn_status qn__ipc_wire_schema(const struct ArrowSchema *schema, struct ArrowSchema *out,
                                   struct qn_error *err) QN_MUST_CHECK;
/* List the fields of a schema as it is written, which must outlive the list. */
enum qn_status qn__ipc_fields_init(struct qn__ipc_fields *fields, const struct ArrowSchema *wire,
                                   struct qn_error *err) QN_MUST_CHECK;
void qn__ipc_fields_dispose(struct qn__ipc_fields *fields);

/* Begin a message at the end of `out`: prefix and Message table, whose header and body length are to be patched and stored. */
struct qn__ipc_message {
    struct qn__flat_writer to;
    size_t header;      /* the offset to patch with where the header table stands */
    size_t body_length; /* where the i64 stands */
};
struct qn__ipc_message qn__ipc_message_begin(struct qn_buffer *out, enum qn__ipc_header type);
/* End its metadata: padding, size in the prefix. The body begins behind it. */
void qn__ipc_message_end(const struct qn__ipc_message *message);

/* The Schema table of a schema as it is written. */
size_t qn__ipc_put_schema(const struct qn__flat_writer *to, const struct ArrowSchema *wire);
/* A Schema table as a struct schema; QN_ERR_PROTOCOL, QN_ERR_UNSUPPORTED. Fields with dictionaries have the type that their
 * values are handed out as (views of texts), and stand in `encoded`, an array of struct qn__ipc_encoded. */
enum qn_status qn__ipc_get_schema(struct qn__flat *flat, const struct qn__flat_table *table, struct ArrowSchema *out,
                                  struct qn_buffer *encoded, struct qn_error *err) QN_MUST_CHECK;
/* The type that values behind a dictionary are handed out as. */
struct qn_type qn__ipc_gathered_type(const struct qn_type *values);

/* Take a schema as it is written over into a decoder that has none, and what it says of dictionaries (an array of struct
 * qn__ipc_encoded); on failure it is released. */
enum qn_status qn__ipc_decoder_take(struct qn_ipc_decoder *decoder, struct ArrowSchema *wire,
                                    const struct qn_buffer *encoded, struct qn_error *err) QN_MUST_CHECK;

/* ---- values, alike on both sides ---- */

static inline bool qn__ipc_bit(const uint8_t *bits, int64_t at)
{
    return (bits[at >> 3] >> (at & 7)) & 1;
}

/* Bits that are set among the n from `first` on. */
int64_t qn__ipc_count_bits(const uint8_t *bits, int64_t first, int64_t n);

/* The first of n rows whose bytes, between its offset and the next, are not UTF-8; -1: none. Offsets rise and lie inside of
 * `bytes`; validity (or NULL) begins with the first row. `wide`: 64-bit offsets. */
int64_t qn__ipc_bad_text(const void *offsets, bool wide, const char *bytes, const uint8_t *validity, int64_t n);

/* The rows of one column among those of what it is nested in. */
struct qn__ipc_level {
    const struct qn__ipc_level *parent; /* NULL: the rows of the batch, or the items of lists of any length */
    const uint8_t *validity;            /* or NULL: no row is null */
    int64_t first;                      /* where row 0 stands in validity */
    int64_t per_row;                    /* rows for each of the parent's: 1, or the length of a fixed list */
};

/* The first of n rows that is null though none that it is nested in is; -1: none. */
int64_t qn__ipc_unwanted_null(const struct qn__ipc_level *level, int64_t n);

#endif
