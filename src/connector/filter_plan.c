/*
 * filter_plan.c: a filter bound to the columns of a schema, and evaluated over batches.
 *
 * Each value of the filter becomes what its column compares with: a truth, a whole number of the column's unit (with what
 * lies between two of them: `above`), a double, or bytes. A whole expression gives one byte for each row: FALSE, UNKNOWN or
 * TRUE, in this order, so that `and` is the least and `or` the greatest. Threads: one at a time per plan.
 */
#include "arrow/reader.h"
#include "base/memory.h"
#include "connector/compare.h"
#include "connector/filter_private.h"

#include <stdlib.h>

enum truth { FALSE = 0, UNKNOWN = 1, TRUE = 2 };

/* A comparison or a test of one column. */
struct leaf {
    struct qn__comparand *values; /* of IN: sorted, without such as nothing equals */
    size_t n_values;
};

struct qn_filter_plan {
    const struct qn_filter *filter;
    int64_t *columns;          /* for each column of the filter the one of the schema */
    struct qn_reader *readers; /* by column of the filter */
    struct leaf *leaves;       /* by node */
    int64_t *rows;
    int64_t rows_room;
};

void qn_filter_plan_free(struct qn_filter_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    for (size_t i = 0; plan->leaves != NULL && i < plan->filter->n_nodes; i++) {
        for (size_t j = 0; j < plan->leaves[i].n_values; j++) {
            qn__comparand_dispose(&plan->leaves[i].values[j]);
        }
        qn_free(plan->leaves[i].values);
    }
    for (size_t i = 0; plan->readers != NULL && i < plan->filter->n_columns; i++) {
        qn_reader_dispose(&plan->readers[i]);
    }
    qn_free(plan->leaves);
    qn_free(plan->readers);
    qn_free(plan->columns);
    qn_free(plan->rows);
    qn_free(plan);
}

/* ---- binding ---- */

static enum qn_status bind_column(struct qn_filter_plan *plan, size_t i, const struct ArrowSchema *schema,
                                  struct qn_error *err)
{
    const char *name = plan->filter->columns[i];
    int64_t index = qn_schema_find(schema, name);
    if (index < 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            index == -1 ? "filter: there is no column \"%s\" in the data"
                                        : "filter: there is more than one column \"%s\" in the data",
                            name);
    }
    plan->columns[i] = index;
    return qn_reader_init(&plan->readers[i], schema->children[index], err);
}

static enum qn_status bind_leaf(struct qn_filter_plan *plan, size_t i, struct qn_error *err)
{
    const struct qn__filter_node *node = &plan->filter->nodes[i];
    struct leaf *leaf = &plan->leaves[i];
    if (node->kind != QN__FILTER_COMPARE && node->kind != QN__FILTER_IN) {
        return QN_OK;
    }
    const struct qn_reader *reader = &plan->readers[node->column];
    QN_TRY(qn__compare_check(reader, err));
    leaf->values = qn_calloc(node->n_values + 1, sizeof *leaf->values);
    if (leaf->values == NULL) {
        return qn__no_memory(err);
    }
    for (size_t j = 0; j < node->n_values; j++) {
        QN_TRY(qn__comparand_init(&leaf->values[leaf->n_values], reader, &plan->filter->values[node->first_value + j],
                                  err));
        leaf->n_values++;
    }
    if (node->kind == QN__FILTER_IN) {
        qsort(leaf->values, leaf->n_values, sizeof *leaf->values, qn__comparand_order);
    }
    return QN_OK;
}

static enum qn_status bind(struct qn_filter_plan *plan, const struct ArrowSchema *schema, struct qn_error *err)
{
    const struct qn_filter *filter = plan->filter;
    plan->columns = qn_calloc(filter->n_columns, sizeof *plan->columns);
    plan->readers = qn_calloc(filter->n_columns, sizeof *plan->readers);
    plan->leaves = qn_calloc(filter->n_nodes, sizeof *plan->leaves);
    if (plan->columns == NULL || plan->readers == NULL || plan->leaves == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < filter->n_columns; i++) {
        QN_TRY(bind_column(plan, i, schema, err));
    }
    for (size_t i = 0; i < filter->n_nodes; i++) {
        QN_TRY(bind_leaf(plan, i, err));
    }
    return QN_OK;
}

enum qn_status qn_filter_plan_new(const struct qn_filter *filter, const struct ArrowSchema *schema,
                                  struct qn_filter_plan **out, struct qn_error *err)
{
    struct qn_filter_plan *plan = qn_calloc(1, sizeof *plan);
    if (plan == NULL) {
        return qn__no_memory(err);
    }
    plan->filter = filter;
    enum qn_status status = bind(plan, schema, err);
    if (status != QN_OK) {
        qn_filter_plan_free(plan);
        return status;
    }
    *out = plan;
    return QN_OK;
}

/* ---- evaluating ---- */

/* Rows [first, first + n) of the columns. */
struct range {
    int64_t first, n;
};

static bool holds(enum qn__filter_operator operator, enum qn__order order)
{
    switch (operator) {
    case QN__EQUAL:
        return order == QN__ORDER_EQUAL;
    case QN__NOT_EQUAL:
        return order != QN__ORDER_EQUAL;
    case QN__LESS:
        return order == QN__ORDER_LESS;
    case QN__LESS_EQUAL:
        return order == QN__ORDER_LESS || order == QN__ORDER_EQUAL;
    case QN__GREATER:
        return order == QN__ORDER_GREATER;
    case QN__GREATER_EQUAL:
        return order == QN__ORDER_GREATER || order == QN__ORDER_EQUAL;
    }
    return false;
}

/* Whether the row's value is among the sorted ones. */
static enum qn_status is_among(const struct leaf *leaf, const struct qn_reader *reader, int64_t row, bool *out,
                               struct qn_error *err)
{
    size_t low = 0;
    size_t high = leaf->n_values;
    *out = false;
    while (low < high && !*out) {
        size_t middle = low + (high - low) / 2;
        enum qn__order order;
        QN_TRY(qn__compare(reader, row, &leaf->values[middle], &order, err));
        *out = order == QN__ORDER_EQUAL;
        if (order == QN__ORDER_NONE) {
            return QN_OK; /* a NaN is not among anything */
        }
        if (order == QN__ORDER_LESS) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return QN_OK;
}

static enum qn_status evaluate_leaf(const struct qn_filter_plan *plan, size_t i, const struct range *range,
                                    uint8_t *out, struct qn_error *err)
{
    const struct qn__filter_node *node = &plan->filter->nodes[i];
    const struct qn_reader *reader = &plan->readers[node->column];
    const struct leaf *leaf = &plan->leaves[i];
    for (int64_t j = 0; j < range->n; j++) {
        int64_t row = range->first + j;
        bool null = qn_reader_is_null(reader, row);
        bool truth = false;
        if (node->kind == QN__FILTER_NULL) {
            out[j] = null ? TRUE : FALSE;
            continue;
        }
        if (null) {
            out[j] = UNKNOWN;
            continue;
        }
        if (node->kind == QN__FILTER_IN) {
            QN_TRY(is_among(leaf, reader, row, &truth, err));
        } else {
            enum qn__order order;
            QN_TRY(qn__compare(reader, row, &leaf->values[0], &order, err));
            truth = holds(node->operator, order);
        }
        out[j] = truth ? TRUE : FALSE;
    }
    return QN_OK;
}

static enum qn_status evaluate(const struct qn_filter_plan *plan, size_t i, const struct range *range, uint8_t *out,
                               struct qn_error *err)
{
    const struct qn__filter_node *node = &plan->filter->nodes[i];
    if (node->kind > QN__FILTER_NOT) {
        return evaluate_leaf(plan, i, range, out, err);
    }
    size_t child = i + 1;
    QN_TRY(evaluate(plan, child, range, out, err));
    if (node->kind == QN__FILTER_NOT) {
        for (int64_t j = 0; j < range->n; j++) {
            out[j] = (uint8_t)(TRUE - out[j]);
        }
        return QN_OK;
    }
    qn_auto_free uint8_t *other = qn_malloc((size_t)range->n);
    if (other == NULL) {
        return qn__no_memory(err);
    }
    bool both = node->kind == QN__FILTER_AND;
    for (child = plan->filter->nodes[child].end; child < node->end; child = plan->filter->nodes[child].end) {
        QN_TRY(evaluate(plan, child, range, other, err));
        for (int64_t j = 0; j < range->n; j++) {
            out[j] = (out[j] < other[j]) == both ? out[j] : other[j];
        }
    }
    return QN_OK;
}

enum qn_status qn_filter_plan_rows(struct qn_filter_plan *plan, const struct ArrowArray *batch,
                                   const int64_t **rows_out, int64_t *n_out, struct qn_error *err)
{
    const struct range range = { batch->offset, batch->length };
    for (size_t i = 0; i < plan->filter->n_columns; i++) {
        QN_TRY(qn_reader_bind(&plan->readers[i], batch->children[plan->columns[i]], err));
    }
    if (plan->rows_room < range.n) {
        int64_t *rows = qn_realloc_array(plan->rows, (size_t)range.n, sizeof *rows);
        if (rows == NULL) {
            return qn__no_memory(err);
        }
        plan->rows = rows;
        plan->rows_room = range.n;
    }
    qn_auto_free uint8_t *truths = qn_malloc((size_t)range.n);
    if (truths == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(evaluate(plan, 0, &range, truths, err));
    int64_t n = 0;
    for (int64_t i = 0; i < range.n; i++) {
        if (truths[i] == TRUE) {
            plan->rows[n++] = i;
        }
    }
    *rows_out = plan->rows;
    *n_out = n;
    return QN_OK;
}
