/*
 * filter.h: filter expressions (docs/protocol/connector.md, "A filter expression"): read, bound to a schema, evaluated.
 *
 * A filter is read once from its JSON text; a plan binds it to the columns of one schema and says for each row of a batch
 * whether the expression is true. Logic has three values: a comparison with a null is unknown, `not` of it too, and only
 * true keeps a row. Values are compared exactly: whole numbers and decimals by their digits, however they are written;
 * floats with the nearest double; texts by code points; binaries (base64), dates, times and timestamps (ISO 8601) by what
 * they mean. Threads: a filter is never changed; a plan is used by one at a time.
 */
#ifndef QN_CONNECTOR_FILTER_H
#define QN_CONNECTOR_FILTER_H

#include "arrow/type.h"

#define QN_FILTER_MAX_DEPTH 64
#define QN_FILTER_MAX_NODES 100000
#define QN_FILTER_MAX_BYTES (16u << 20)

struct qn_filter;

/* QN_ERR_ARGUMENT says what is wrong, and where. */
enum qn_status qn_filter_parse(const char *text, struct qn_filter **out, struct qn_error *err) QN_MUST_CHECK;
void qn_filter_free(struct qn_filter *filter);

/* The names of the columns that it looks at, each once; borrowed. */
size_t qn_filter_columns(const struct qn_filter *filter, const char *const **out);

struct qn_filter_plan;

/* `filter` is borrowed as long as the plan lives, `schema` for the call. QN_ERR_ARGUMENT names a column that is not there or
 * a value that cannot be compared with it; QN_ERR_UNSUPPORTED a column whose type has no order (lists, structs...). */
enum qn_status qn_filter_plan_new(const struct qn_filter *filter, const struct ArrowSchema *schema,
                                  struct qn_filter_plan **out, struct qn_error *err) QN_MUST_CHECK;
void qn_filter_plan_free(struct qn_filter_plan *plan);

/* The rows of a batch for which the filter is true, rising; borrowed until the next call. */
enum qn_status qn_filter_plan_rows(struct qn_filter_plan *plan, const struct ArrowArray *batch,
                                   const int64_t **rows_out, int64_t *n_out, struct qn_error *err) QN_MUST_CHECK;

#endif
