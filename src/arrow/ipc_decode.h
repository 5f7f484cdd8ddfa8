/*
 * ipc_decode.h: what the files that decode batches of Arrow IPC share. Not for other folders.
 */
#ifndef QN_ARROW_IPC_DECODE_H
#define QN_ARROW_IPC_DECODE_H

#include "arrow/ipc_private.h"

#include <stdatomic.h>

#define QN__IPC_MAX_GATHERED     (INT64_C(512) << 20) /* bytes that values of dictionaries make in one batch */
#define QN__IPC_MAX_DICTIONARIES (INT64_C(256) << 20) /* bytes of all dictionaries of a stream */
#define QN__IPC_MAX_EXPANDED     (INT64_C(1) << 30)   /* bytes of a body that was compressed */

struct qn_ipc_decoder {
    uint64_t limit;
    bool has_schema;
    struct ArrowSchema schema;
    struct qn__ipc_fields fields;
    struct qn__ipc_dictionaries *dictionaries; /* NULL: no field has one */
    qn_ipc_decompress decompress;              /* NULL: compressed bodies are refused */
};

/* The bytes that arrays point into. */
struct qn__ipc_body {
    atomic_int references; /* one of the decoding itself, one of each array */
    struct qn_ipc_owner owner;
    void *copy;
    void **made; /* buffers that were expanded; one for each buffer of the message, or NULL */
    uint32_t n_made;
};

/* A message: its metadata, opened, and where the body lies. */
struct qn__ipc_opened {
    struct qn__flat flat;
    struct qn__flat_table header;
    int64_t header_type;
    const uint8_t *body;
    int64_t body_length;
};

struct qn__ipc_decoding {
    const struct qn_ipc_decoder *decoder;
    const struct qn__ipc_fields *fields;
    const struct qn__ipc_opened *message;
    struct qn__flat_vector nodes, buffers, variadic;
    uint32_t next_node, next_buffer, next_variadic;
    int codec;             /* of the body; -1: none */
    int64_t expanded_left; /* bytes that the body may still become */
    int64_t gathered_left;
    struct qn__ipc_body *body;
    struct qn_error *err;
};

struct qn__ipc_region {
    const uint8_t *bytes; /* never NULL */
    int64_t size;
};

enum qn_status qn__ipc_bad_column(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t row,
                                  const char *what) QN_MUST_CHECK;

/* The next buffer of the message, and one that holds at least `count` values of `width` bytes. */
enum qn_status qn__ipc_take_buffer(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field,
                                   struct qn__ipc_region *out) QN_MUST_CHECK;
enum qn_status qn__ipc_take_values(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t count,
                                   int64_t width, struct qn__ipc_region *out) QN_MUST_CHECK;

/* ipc_view.c: the views of a column and what they point into; `out` is replaced by an array that has room for all. */
enum qn_status qn__ipc_take_views(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t length,
                                  const uint8_t *validity, struct ArrowArray *out) QN_MUST_CHECK;
void qn__ipc_body_retain(struct qn__ipc_body *body, struct ArrowArray *array);
/* How many buffers of that column are of the variadic kind; *out -1: more than there are. */
int64_t qn__ipc_next_variadic(struct qn__ipc_decoding *decoding);

/* ---- ipc_dictionary.c ---- */

/* Room for the dictionaries of `n` fields. */
enum qn_status qn__ipc_dictionaries_new(const struct qn__ipc_encoded *encoded, int64_t n,
                                        struct qn__ipc_dictionaries **out, struct qn_error *err) QN_MUST_CHECK;
void qn__ipc_dictionaries_free(struct qn__ipc_dictionaries *dictionaries);

/* The values of dictionary `id`, as a field without name; NULL: no field has that dictionary. */
const struct qn__ipc_fields *qn__ipc_dictionary_fields(const struct qn__ipc_dictionaries *dictionaries, int64_t id);
/* Take over what a dictionary message holds, or add it. `values` is the column, which stays the caller's. */
enum qn_status qn__ipc_dictionary_put(struct qn__ipc_dictionaries *dictionaries, int64_t id, bool add,
                                      const struct ArrowArray *values, struct qn_error *err) QN_MUST_CHECK;

/* The values that the rows of an encoded column have, in *out, which is an empty array with the length set; *nulls_out: the
 * validity that was made, which belongs to it, or NULL. `indices_valid` is the validity of the indices or NULL. */
enum qn_status qn__ipc_gather(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t length,
                              const uint8_t *indices_valid, struct ArrowArray *out) QN_MUST_CHECK;

#endif
