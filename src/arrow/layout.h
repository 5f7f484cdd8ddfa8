/*
 * layout.h: pieces of layout.c that other conversions of this folder are made of. Not for other folders.
 */
#ifndef QN_ARROW_LAYOUT_H
#define QN_ARROW_LAYOUT_H

#include "arrow/reader.h"

/* Where values stand, for errors. */
struct qn__place {
    const char *column;
    bool nested;       /* the rows of a nested array are not those of the stream */
    int64_t first_row; /* the stream's row of the array's first; negative where the batch skips some */
};

/* QN_ERR_DATA of a value. */
enum qn_status qn__place_error(const struct qn__place *place, int64_t row, const char *what, struct qn_error *err);

/* Copy the validity bits of a bound reader, moved to bit 0, into buffer 0, and count the nulls. */
enum qn_status qn__validity_copy(const struct qn_reader *reader, struct ArrowArray *out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* A text or binary column, whose reader is bound to `source`, in another layout of its kind (fixed binaries: to offsets
 * only). `source` is used up on success. */
enum qn_status qn__text_layout(const struct qn_reader *reader, enum qn_type_id to, const struct qn__place *place,
                               struct ArrowArray *source, struct ArrowArray *out, struct qn_error *err) QN_MUST_CHECK;

#endif
