/*
 * batch.c: the columns of a struct schema, filled and moved out together. Threads: one at a time.
 */
#include "arrow/array.h"
#include "arrow/column.h"
#include "arrow/column_private.h"
#include "arrow/type_parse.h"
#include "base/memory.h"

enum qn_status qn_batch_init(struct qn_batch *batch, const struct ArrowSchema *schema, struct qn_error *err)
{
    QN_TRY(qn__schema_check(schema, err));
    struct qn_type type;
    QN_TRY(qn_type_from_format(schema->format, &type, err));
    if (type.id != QN_TYPE_STRUCT) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a batch needs a struct schema");
    }
    struct qn_batch made = { .columns = qn_calloc((size_t)schema->n_children, sizeof *made.columns) };
    if (made.columns == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        enum qn_status status = qn_column_init(&made.columns[i], schema->children[i], err);
        if (status != QN_OK) {
            qn_batch_dispose(&made);
            return status;
        }
        made.n_columns = i + 1;
    }
    *batch = made;
    return QN_OK;
}

enum qn_status qn_batch_like(const struct qn_batch *like, struct qn_batch *out, struct qn_error *err)
{
    struct qn_batch made = { .columns = qn_realloc_array(NULL, (size_t)like->n_columns, sizeof *made.columns),
                             .n_columns = like->n_columns };
    if (made.columns == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < like->n_columns; i++) {
        const struct qn_column *column = &like->columns[i];
        if (column->n_children > 0) {
            qn_free(made.columns);
            return qn_error_set(err, QN_ERR_INTERNAL, "column \"%s\" has children", column->name);
        }
        made.columns[i] = (struct qn_column){ .layout = column->layout,
                                              .type = column->type,
                                              .width = column->width,
                                              .failed_row = -1,
                                              .name_lent = true,
                                              .name = column->name };
    }
    *out = made;
    return QN_OK;
}

void qn_batch_dispose(struct qn_batch *batch)
{
    for (int64_t i = 0; i < batch->n_columns; i++) {
        qn_column_dispose(&batch->columns[i]);
    }
    qn_free(batch->columns);
    *batch = (struct qn_batch){ 0 };
}

enum qn_status qn_batch_reserve(struct qn_batch *batch, int64_t rows, struct qn_error *err)
{
    for (int64_t i = 0; i < batch->n_columns; i++) {
        QN_TRY(qn_column_reserve(&batch->columns[i], rows, err));
    }
    return QN_OK;
}

/* A sticky failure, or columns of different lengths. */
static enum qn_status check_columns(const struct qn_batch *batch, int64_t rows, struct qn_error *err)
{
    for (int64_t i = 0; i < batch->n_columns; i++) {
        const struct qn_column *column = &batch->columns[i];
        enum qn_status status = qn__column_check(column, err);
        if (status == QN_ERR_NO_MEMORY) {
            qn_error_prefix(err, "column \"%s\"", column->name);
        }
        QN_TRY(status);
        if (column->length != rows) {
            return qn_error_set(err, QN_ERR_INTERNAL, "column \"%s\": %lld values for a batch of %lld rows",
                                column->name, (long long)column->length, (long long)rows);
        }
    }
    return QN_OK;
}

enum qn_status qn_batch_finish(struct qn_batch *batch, int64_t rows, struct ArrowArray *out, struct qn_error *err)
{
    QN_TRY(check_columns(batch, rows, err));
    struct ArrowArray array;
    QN_TRY(qn__array_new(1, batch->n_columns, &array, err));
    enum qn_status status = QN_OK;
    for (int64_t i = 0; status == QN_OK && i < batch->n_columns; i++) {
        status = qn_column_finish(&batch->columns[i], array.children[i], err);
    }
    if (status != QN_OK) {
        for (int64_t i = 0; i < batch->n_columns; i++) {
            qn__column_fail(&batch->columns[i],
                            QN__FAIL_MEMORY); /* some are gone: nothing more can come of these rows */
        }
        qn_array_release(&array);
        return status;
    }
    array.length = rows;
    *out = array;
    return QN_OK;
}
