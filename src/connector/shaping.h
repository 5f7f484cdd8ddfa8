/*
 * shaping.h: what of a stream is wanted, made of what a connector sends: filter, skip, limit and projection, in this order
 * (docs/protocol/connector.md, "What of the data").
 *
 * A shaper is made for one schema and fed batch after batch. Threads: one at a time.
 */
#ifndef QN_CONNECTOR_SHAPING_H
#define QN_CONNECTOR_SHAPING_H

#include "arrow/type.h"
#include "connector/filter.h"

struct qn_shaping {
    const char *const *columns; /* NULL: all */
    size_t n_columns;
    const struct qn_filter *filter; /* NULL: none */
    int64_t skip;
    int64_t limit; /* -1: all */
};

struct qn_shaper {
    struct ArrowSchema schema; /* of what comes out */
    struct ArrowSchema source; /* of what comes in, where there is a filter */
    int64_t n_in;              /* columns that come in */
    int64_t *picked;           /* for each column that goes out the one that comes in; NULL: all as they are */
    int64_t n_picked;
    struct qn_filter_plan *filter; /* NULL: none */
    int64_t skip;                  /* rows that are still to be dropped */
    int64_t left;                  /* rows that may still go out; -1: any number */
};

/* For batches of `schema` (a struct schema, borrowed). QN_ERR_ARGUMENT for a column that is not there, is there twice, or
 * cannot be compared as the filter does. On failure there is nothing to dispose of. */
enum qn_status qn_shaper_init(struct qn_shaper *shaper, const struct ArrowSchema *schema,
                              const struct qn_shaping *shaping, struct qn_error *err) QN_MUST_CHECK;
void qn_shaper_dispose(struct qn_shaper *shaper);

/* Shape one batch, which is taken over in any case; *out is released where nothing of it is left. QN_ERR_DATA where the
 * batch does not have the shape of its schema. */
enum qn_status qn_shaper_batch(struct qn_shaper *shaper, struct ArrowArray *batch, struct ArrowArray *out,
                               struct qn_error *err) QN_MUST_CHECK;

/* Nothing more will come out. */
static inline bool qn_shaper_done(const struct qn_shaper *shaper)
{
    return shaper->left == 0;
}

#endif
