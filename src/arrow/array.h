/*
 * array.h: ArrowArray structs that own buffers of base/memory.h: for whoever makes arrays out of arrays.
 *
 * An array made here frees its buffers with qn_free, except the one empty buffer that all share and those marked
 * borrowed, which live in the array that it retains. Children may be moved out by whoever takes the array.
 */
#ifndef QN_ARROW_ARRAY_H
#define QN_ARROW_ARRAY_H

#include "arrow/type.h"

#define QN__BUFFER_ALIGN 64

/* Zero bytes, for buffers of arrays without values: consumers want pointers that are not NULL. */
extern const uint8_t qn__empty_buffer[QN__BUFFER_ALIGN];

/* An array with room for n_buffers buffers (all NULL) and n_children children (all released); the rest is zero. Release
 * it with qn_array_release. Buffers put into it belong to it. */
enum qn_status qn__array_new(int64_t n_buffers, int64_t n_children, struct ArrowArray *out,
                             struct qn_error *err) QN_MUST_CHECK;

/* Put a buffer that the array does not own, because `retained` (qn__array_retain) does. */
void qn__array_borrow(struct ArrowArray *array, int64_t i, const void *buffer);

/* Move `source` into an array of qn__array_new: it is released with it. Once per array. */
void qn__array_retain(struct ArrowArray *array, struct ArrowArray *source);

/* Move `values` into an array of qn__array_new as its dictionary. Once per array. */
void qn__array_dictionary(struct ArrowArray *array, struct ArrowArray *values);

/* Move: the source is marked released. */
void qn__array_move(struct ArrowArray *from, struct ArrowArray *to);
void qn__schema_move(struct ArrowSchema *from, struct ArrowSchema *to);

#endif
