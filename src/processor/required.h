/*
 * required.h: are the fields that a schema marks as required ("Int64!") without nulls in a batch of the input, whose
 * columns may stand in another order and layout?
 *
 * Nested fields count too: a required field of a struct in every struct that is not null, a required item in every
 * list. Threads: one at a time.
 */
#ifndef QN_PROCESSOR_REQUIRED_H
#define QN_PROCESSOR_REQUIRED_H

#include "arrow/reader.h"

struct qn_required_column {
    const struct ArrowSchema *want; /* borrowed */
    int64_t column;                 /* in the batch */
    struct qn_reader reader;
};

struct qn_required {
    struct qn_required_column *columns; /* those with something required in them */
    int64_t n;
};

/* `want` is borrowed for the life of the checker. `got`: the schema of the batches, which has each field of `want` once, of
 * its type. */
enum qn_status qn_required_init(struct qn_required *required, const struct ArrowSchema *want,
                                const struct ArrowSchema *got, struct qn_error *err) QN_MUST_CHECK;
void qn_required_dispose(struct qn_required *required);

/* QN_ERR_DATA: `row 3, field "id": expected Int64!, found null`, with the row and the column set. `first_row`: rows of earlier
 * batches. */
enum qn_status qn_required_check(struct qn_required *required, const struct ArrowArray *batch, int64_t first_row,
                                 struct qn_error *err) QN_MUST_CHECK;

#endif
