/* shaping.c: see shaping.h. Columns are moved, not copied; rows are copied only where a filter leaves gaps. */
#include "connector/shaping.h"

#include "arrow/array.h"
#include "base/memory.h"
#include "base/text.h"
#include "connector/take.h"

/* ---- projection ---- */

/* Which columns go out. */
static enum qn_status pick(struct qn_shaper *shaper, const struct ArrowSchema *schema, const struct qn_shaping *shaping,
                           struct qn_error *err)
{
    bool same = (int64_t)shaping->n_columns == schema->n_children;
    shaper->picked = qn_calloc(shaping->n_columns + 1, sizeof *shaper->picked);
    if (shaper->picked == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < shaping->n_columns; i++) {
        int64_t index = qn_schema_find(schema, shaping->columns[i]);
        if (index < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT,
                                index == -1 ? "there is no column \"%s\" in the data"
                                            : "there is more than one column \"%s\" in the data",
                                shaping->columns[i]);
        }
        shaper->picked[i] = index;
        same = same && index == (int64_t)i;
    }
    shaper->n_picked = (int64_t)shaping->n_columns;
    if (same) {
        qn_free(shaper->picked);
        shaper->picked = NULL;
    }
    return QN_OK;
}

static enum qn_status project_schema(struct qn_shaper *shaper, const struct ArrowSchema *schema, struct qn_error *err)
{
    if (shaper->picked == NULL) {
        return qn_schema_copy(schema, &shaper->schema, err);
    }
    qn_auto_schema made = { 0 };
    QN_TRY(qn_schema_struct(&made, shaper->n_picked, err));
    for (int64_t i = 0; i < shaper->n_picked; i++) {
        struct ArrowSchema field = { 0 };
        QN_TRY(qn_schema_copy(schema->children[shaper->picked[i]], &field, err));
        qn_schema_release(made.children[i]);
        qn__schema_move(&field, made.children[i]);
    }
    qn__schema_move(&made, &shaper->schema);
    return QN_OK;
}

/* Move the picked columns into a batch of their own; the others go with `batch`. */
static enum qn_status project(const struct qn_shaper *shaper, struct ArrowArray *batch, struct qn_error *err)
{
    struct ArrowArray made = { 0 };
    if (shaper->picked == NULL) {
        return QN_OK;
    }
    QN_TRY(qn__array_new(1, shaper->n_picked, &made, err));
    made.length = batch->length;
    for (int64_t i = 0; i < shaper->n_picked; i++) {
        qn__array_move(batch->children[shaper->picked[i]], made.children[i]);
    }
    qn_array_release(batch);
    qn__array_move(&made, batch);
    return QN_OK;
}

/* ---- shapers ---- */

static enum qn_status init(struct qn_shaper *shaper, const struct ArrowSchema *schema, const struct qn_shaping *shaping,
                           struct qn_error *err)
{
    if (shaping->columns != NULL) {
        QN_TRY(pick(shaper, schema, shaping, err));
    }
    QN_TRY(project_schema(shaper, schema, err));
    if (shaping->filter != NULL) {
        QN_TRY(qn_schema_copy(schema, &shaper->source, err));
        QN_TRY(qn_filter_plan_new(shaping->filter, schema, &shaper->filter, err));
    }
    return QN_OK;
}

enum qn_status qn_shaper_init(struct qn_shaper *shaper, const struct ArrowSchema *schema,
                              const struct qn_shaping *shaping, struct qn_error *err)
{
    if (!qn_text_equal(schema->format, "+s")) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "its data is no table but of type \"%s\"", schema->format);
    }
    *shaper = (struct qn_shaper){ .n_in = schema->n_children, .skip = shaping->skip, .left = shaping->limit };
    enum qn_status status = init(shaper, schema, shaping, err);
    if (status != QN_OK) {
        qn_shaper_dispose(shaper);
    }
    return status;
}

void qn_shaper_dispose(struct qn_shaper *shaper)
{
    qn_filter_plan_free(shaper->filter);
    qn_schema_release(&shaper->schema);
    qn_schema_release(&shaper->source);
    qn_free(shaper->picked);
    *shaper = (struct qn_shaper){ 0 };
}

/* ---- batches ---- */

/* Whether rows of the batch are null as a whole; their number need not be known. */
static bool has_null_rows(const struct ArrowArray *batch)
{
    if (batch->n_buffers == 0 || batch->buffers[0] == NULL || batch->null_count >= 0) {
        return batch->null_count > 0;
    }
    const uint8_t *valid = batch->buffers[0];
    for (int64_t at = batch->offset; at < batch->offset + batch->length; at++) {
        if ((valid[at >> 3] >> (at & 7) & 1) == 0) {
            return true;
        }
    }
    return false;
}

/* A batch of another number of columns, or with columns that are too short, is no batch of the schema. */
static enum qn_status check(const struct qn_shaper *shaper, const struct ArrowArray *batch, struct qn_error *err)
{
    if (batch->n_children != shaper->n_in) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "a batch has %lld columns where its schema has %lld",
                            (long long)batch->n_children, (long long)shaper->n_in);
    }
    for (int64_t i = 0; i < batch->n_children; i++) {
        if (batch->offset < 0 || batch->length < 0 || batch->children[i]->length - batch->offset < batch->length) {
            return qn_error_set(err, QN_ERR_CONNECTOR, "a batch of %lld rows has a column of %lld",
                                (long long)batch->length, (long long)batch->children[i]->length);
        }
    }
    if (has_null_rows(batch)) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "a batch has rows that are null as a whole");
    }
    return QN_OK;
}

/* The rows of the batch that are wanted: [*first, *first + *n) of all, or of `rows` where that is not NULL. */
static void window(struct qn_shaper *shaper, int64_t *first, int64_t *n)
{
    int64_t skipped = shaper->skip < *n ? shaper->skip : *n;
    *first = skipped;
    *n -= skipped;
    shaper->skip -= skipped;
    if (shaper->left >= 0) {
        *n = shaper->left < *n ? shaper->left : *n;
        shaper->left -= *n;
    }
}

static enum qn_status shape(struct qn_shaper *shaper, struct ArrowArray *batch, struct ArrowArray *out,
                            struct qn_error *err)
{
    const int64_t *rows = NULL;
    int64_t n = batch->length;
    int64_t first = 0;
    QN_TRY(check(shaper, batch, err));
    if (shaper->filter != NULL) {
        QN_TRY(qn_filter_plan_rows(shaper->filter, batch, &rows, &n, err));
    }
    window(shaper, &first, &n);
    if (n == 0) {
        return QN_OK;
    }
    if (rows != NULL && rows[first + n - 1] - rows[first] != n - 1) {
        QN_TRY(qn_take_rows(&shaper->source, batch, rows + first, n, batch, err));
    } else if (n < batch->length || batch->offset != 0) {
        QN_TRY(qn_take_run(batch, rows != NULL ? rows[first] : first, n, batch, err));
    }
    QN_TRY(project(shaper, batch, err));
    qn__array_move(batch, out);
    return QN_OK;
}

enum qn_status qn_shaper_batch(struct qn_shaper *shaper, struct ArrowArray *batch, struct ArrowArray *out,
                               struct qn_error *err)
{
    enum qn_status status = shape(shaper, batch, out, err);
    qn_array_release(batch);
    return status;
}
