/*
 * frame_cast.h: values of one Arrow column into a column of the output schema, where that is exact.
 *
 * Integers, floats and decimals into one another, strings and binaries of any layout, times in any unit: each value exactly, or
 * refused. No Python here. Threads: one at a time per cast.
 */
#ifndef QN_WORKER_FRAME_CAST_H
#define QN_WORKER_FRAME_CAST_H

#include "arrow/column.h"
#include "arrow/reader.h"

struct frame_cast {
    const struct qn_reader *from; /* borrowed */
    struct qn_column *to;         /* borrowed */
    const char *name;             /* of the column in the frame, for messages; borrowed */
    bool inside;                  /* `to` is an item or a field of that column */
    bool required;                /* `to` takes no null */
    struct frame_cast *children;  /* of `to`, in its order */
    int64_t n_children;
};

/* Prepare a cast into `to`, which was made for `field`. QN_ERR_DATA where values of such a type never go into the other;
 * `expected` is the output's type as the user wrote it. */
enum qn_status frame_cast_init(struct frame_cast *cast, const struct qn_reader *from, struct qn_column *to,
                               const struct ArrowSchema *field, const char *expected,
                               struct qn_error *err) QN_MUST_CHECK;
void frame_cast_dispose(struct frame_cast *cast);

/* Put rows `first` to first + n - 1 of the bound reader. QN_ERR_DATA naming the value; err->row is the reader's row. */
enum qn_status frame_cast_put(struct frame_cast *cast, int64_t first, int64_t n, const char *expected,
                              struct qn_error *err) QN_MUST_CHECK;

#endif
