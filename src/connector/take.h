/*
 * take.h: some rows of a batch as a new batch: a run of rows without copying, or chosen rows by copying.
 *
 * What is not copied (dictionaries, the blocks of views, all of a run) stays in the source batch, which is counted and
 * released with the last array that needs it; columns may be moved out of the new batch. Threads: as any array.
 */
#ifndef QN_CONNECTOR_TAKE_H
#define QN_CONNECTOR_TAKE_H

#include "arrow/type.h"

/* Rows [first, first + n), which are there, of a batch that is taken over in any case. */
enum qn_status qn_take_run(struct ArrowArray *batch, int64_t first, int64_t n, struct ArrowArray *out,
                           struct qn_error *err) QN_MUST_CHECK;

/* The rows with these numbers, all of which are there, of a batch of `schema`; the batch is taken over in any case. Offsets
 * in it must be right (reader.h). QN_ERR_UNSUPPORTED names a column whose type cannot be copied row by row. */
enum qn_status qn_take_rows(const struct ArrowSchema *schema, struct ArrowArray *batch, const int64_t *rows, int64_t n,
                            struct ArrowArray *out, struct qn_error *err) QN_MUST_CHECK;

#endif
