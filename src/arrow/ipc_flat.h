/*
 * ipc_flat.h: the FlatBuffers encoding, as far as the metadata of Arrow IPC needs it. Not for other folders.
 *
 * Layout (FlatBuffers "internals"; little-endian): a root offset (u32) to a table; a table begins with an i32 that, taken
 * from its own position, gives its vtable; a vtable is u16 size of itself, u16 size of the table, then one u16 for each
 * field: where it stands in the table, 0 for absent. Strings, vectors and tables are reached by a u32 that counts from
 * where it stands. Vectors begin with their u32 count; strings are vectors of bytes and a NUL.
 *
 * Reading checks every access against the end of the buffer as it is made, so that there is nothing to verify first; the
 * first one that does not fit makes `bad` sticky and everything read from then on is zero, absent or empty. A reader of
 * hostile bytes has to bound its own recursion and what it copies: tables may be shared.
 * Writing goes forward: what a table points at is written after it and the pointer patched. Threads: no state.
 */
#ifndef QN_ARROW_IPC_FLAT_H
#define QN_ARROW_IPC_FLAT_H

#include "base/buffer.h"

/* ---- reading ---- */

struct qn__flat {
    const uint8_t *bytes;
    size_t size;
    bool bad; /* sticky */
};

struct qn__flat_table {
    size_t at;
    size_t size;
    size_t vtable;
    size_t vtable_size; /* 0: an absent table, whose fields are all absent */
};

struct qn__flat_vector {
    size_t at; /* of the first element */
    uint32_t count;
};

struct qn__flat_table qn__flat_root(struct qn__flat *flat);

/* A scalar of `width` bytes, sign-extended, or `absent`. */
int64_t qn__flat_int(struct qn__flat *flat, const struct qn__flat_table *table, int field, size_t width,
                     int64_t absent);
bool qn__flat_has(struct qn__flat *flat, const struct qn__flat_table *table, int field);
struct qn__flat_table qn__flat_child(struct qn__flat *flat, const struct qn__flat_table *table, int field);
/* A vector whose elements of `width` bytes all lie inside; absent: count 0. */
struct qn__flat_vector qn__flat_vector(struct qn__flat *flat, const struct qn__flat_table *table, int field,
                                       size_t width);
/* The i-th table of a vector of offsets (width 4). */
struct qn__flat_table qn__flat_item(struct qn__flat *flat, const struct qn__flat_vector *vector, uint32_t i);

/* Eight bytes at a place that is known to lie inside (an element of a vector). */
int64_t qn__flat_load64(const struct qn__flat *flat, size_t at);

/* ---- writing ---- */

#define QN__FLAT_MAX_FIELDS 8

/* One field of a table to write: width 0 for absent, 4 for what is patched later. */
struct qn__flat_slot {
    uint8_t width;
    int64_t value;
};

/* Where to: alignment counts from `begin`, which is to lie at a multiple of 8 where the bytes are read. */
struct qn__flat_writer {
    struct qn_buffer *out;
    size_t begin;
};

/* Append zeros up to a multiple of `align` (at most 64). */
void qn__flat_pad(const struct qn__flat_writer *to, size_t align);
/* Begin a FlatBuffer: the root offset, to be patched. */
size_t qn__flat_begin(const struct qn__flat_writer *to);
/* Append a table; places_out (QN__FLAT_MAX_FIELDS of them) tells where in `out` each field stands. Returns its place. */
size_t qn__flat_put_table(const struct qn__flat_writer *to, const struct qn__flat_slot *slots, int n_slots,
                          size_t *places_out);
/* Append the count of a vector, whose elements the caller appends next; they will be aligned to 8. Returns its place. */
size_t qn__flat_put_vector(const struct qn__flat_writer *to, uint32_t count);
size_t qn__flat_put_string(const struct qn__flat_writer *to, const char *text, size_t size);
/* Let the offset at `place` point at `target`, which was written after it. */
void qn__flat_patch(const struct qn__flat_writer *to, size_t place, size_t target);

#endif
