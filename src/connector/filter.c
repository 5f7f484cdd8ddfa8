/* filter.c: see filter.h. This build refuses every filter. */
#include "connector/filter.h"

enum qn_status qn_filter_parse(const char *text, struct qn_filter **out, struct qn_error *err)
{
    (void)text;
    (void)out;
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "filters are not part of this build");
}

void qn_filter_free(struct qn_filter *filter)
{
    (void)filter;
}

size_t qn_filter_columns(const struct qn_filter *filter, const char *const **out)
{
    (void)filter;
    *out = NULL;
    return 0;
}

enum qn_status qn_filter_plan_new(const struct qn_filter *filter, const struct ArrowSchema *schema,
                                  struct qn_filter_plan **out, struct qn_error *err)
{
    (void)filter;
    (void)schema;
    (void)out;
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "filters are not part of this build");
}

void qn_filter_plan_free(struct qn_filter_plan *plan)
{
    (void)plan;
}

enum qn_status qn_filter_plan_rows(struct qn_filter_plan *plan, const struct ArrowArray *batch,
                                   const int64_t **rows_out, int64_t *n_out, struct qn_error *err)
{
    (void)plan;
    (void)batch;
    (void)rows_out;
    (void)n_out;
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "filters are not part of this build");
}
