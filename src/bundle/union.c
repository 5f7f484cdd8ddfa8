/*
 * union.c: the blocks of a pack as one stream: one after another, in one schema, with where each row came from.
 *
 * One part is open at a time, with the columns that are needed and it has. Its batches are converted (arrow/unify.h); what
 * already fits is moved. Of parts none of whose columns are needed nothing is read where their rows are known. Threads: one
 * at a time per stream.
 */
#include "arrow/array.h"
#include "arrow/column.h"
#include "arrow/stream.h"
#include "arrow/unify.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blocks.h"

#include <qanat/plugin/driver.h>

#define BARE_ROWS 65536 /* a batch of a part that is not read */

enum column_kind { COLUMN_DATA, COLUMN_LOCATION, COLUMN_VERSION, COLUMN_COMMIT };

struct union_stream {
    struct qn__union_source source;
    struct ArrowSchema data;    /* the columns of data, in their order among those asked for */
    struct ArrowSchema schema;  /* all that goes out */
    enum column_kind *kinds;    /* by column that goes out */
    const char **names;         /* of `data` */
    size_t next;                /* part */
    struct qn__union_part part; /* the open one, while `open` */
    bool open;
    bool bare;         /* it is not read: its rows are known, and none of its columns needed */
    int64_t rows_left; /* of a bare one */
    struct ArrowArrayStream stream;
    struct qn_convert *convert;
};

static void close_part(struct union_stream *self)
{
    qn_stream_release(&self->stream);
    qn_convert_free(self->convert);
    self->convert = NULL;
    self->open = self->bare = false;
}

static void union_free(void *context)
{
    struct union_stream *self = context;
    close_part(self);
    self->source.free(self->source.self);
    qn_schema_release(&self->data);
    qn_schema_release(&self->schema);
    qn_free(self->kinds);
    qn_free(self->names);
    qn_free(self);
}

static enum qn_status union_schema(void *context, struct ArrowSchema *out, struct qn_error *err)
{
    const struct union_stream *self = context;
    return qn_schema_copy(&self->schema, out, err);
}

/* ---- one part --------------------------------------------------------------------------------------------------- */

/* Those of the needed columns that a part has; *all_out: its schema is not known, so all have to be read. */
static enum qn_status part_columns(struct union_stream *self, size_t i, const char ***columns_out, size_t *n_out,
                                   bool *all_out, struct qn_error *err)
{
    qn_auto_schema known = { 0 };
    QN_TRY(self->source.schema(self->source.self, i, &known, err));
    *all_out = known.release == NULL;
    qn_auto_free const char **columns = qn_calloc((size_t)self->data.n_children + 1, sizeof *columns);
    if (columns == NULL) {
        return qn__no_memory(err);
    }
    size_t n = 0;
    for (int64_t k = 0; !*all_out && k < self->data.n_children; k++) {
        if (qn_schema_find(&known, self->names[k]) >= 0) {
            columns[n++] = self->names[k];
        }
    }
    *columns_out = qn_steal(&columns);
    *n_out = n;
    return QN_OK;
}

static enum qn_status start_reading(struct union_stream *self, size_t i, const char *const *columns, size_t n,
                                    struct qn_error *err)
{
    qn_auto_schema have = { 0 };
    QN_TRY(self->source.open(self->source.self, i, columns, n, &self->stream, err));
    QN_TRY(qn_stream_schema(&self->stream, &have, err));
    enum qn_status status = qn_convert_new(&have, &self->data, &self->convert, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "location \"%.200s\"", self->part.location);
    }
    return status;
}

static enum qn_status open_part(struct union_stream *self, struct qn_error *err)
{
    size_t i = self->next;
    self->part = self->source.part(self->source.self, i);
    qn_auto_free const char **columns = NULL;
    size_t n = 0;
    bool all;
    QN_TRY(part_columns(self, i, &columns, &n, &all, err));
    if (!all && n == 0 && self->part.rows >= 0) {
        QN_TRY(self->source.open(self->source.self, i, columns, 0, &self->stream, err));
        self->bare = true;
        self->rows_left = self->part.rows;
    } else {
        bool everything = all || n == 0; /* rows without columns can only be counted by reading them */
        QN_TRY(start_reading(self, i, everything ? NULL : columns, everything ? 0 : n, err));
    }
    self->open = true;
    self->next++;
    return QN_OK;
}

/* The columns of data of the next batch; released at the end of the part. */
static enum qn_status next_data(struct union_stream *self, struct ArrowArray *out, struct qn_error *err)
{
    qn_auto_array batch = { 0 };
    if (self->bare) {
        int64_t n = self->rows_left < BARE_ROWS ? self->rows_left : BARE_ROWS;
        self->rows_left -= n;
        if (n == 0) {
            return QN_OK;
        }
        QN_TRY(qn__array_new(1, self->data.n_children, &batch, err));
        for (int64_t i = 0; i < self->data.n_children; i++) {
            QN_TRY(qn_array_of_nulls(self->data.children[i], n, batch.children[i], err));
        }
        batch.length = n;
        qn__array_move(&batch, out);
        return QN_OK;
    }
    QN_TRY(qn_stream_next(&self->stream, &batch, err));
    if (batch.release == NULL) {
        return QN_OK;
    }
    enum qn_status status = qn_convert_batch(self->convert, &batch, out, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "location \"%.200s\"", self->part.location);
    }
    return status;
}

/* ---- where rows came from --------------------------------------------------------------------------------------- */

/* n times the same text, kept once: views of one block, or inline. */
static enum qn_status repeat_text(const char *text, int64_t n, struct ArrowArray *out, struct qn_error *err)
{
    size_t size = strlen(text);
    bool is_inline = size <= QN_VIEW_INLINE;
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(is_inline ? 3 : 4, 0, &made, err));
    union qn_view *views = qn_malloc((size_t)n * sizeof *views);
    made.buffers[1] = views;
    int64_t *sizes = qn_malloc(sizeof *sizes);
    made.buffers[is_inline ? 2 : 3] = sizes;
    char *block = is_inline ? NULL : qn_strdup(text);
    if (!is_inline) {
        made.buffers[2] = block;
    }
    if (views == NULL || sizes == NULL || (block == NULL && !is_inline)) {
        return qn__no_memory(err);
    }
    union qn_view view = { .words = { 0, 0 } };
    view.inlined.size = (int32_t)size;
    if (is_inline) {
        memcpy(view.inlined.data, text, size);
    } else {
        memcpy(view.reference.prefix, text, sizeof view.reference.prefix);
    }
    *sizes = (int64_t)size;
    for (int64_t i = 0; i < n; i++) {
        views[i] = view;
    }
    made.length = n;
    qn__array_move(&made, out);
    return QN_OK;
}

static enum qn_status repeat_number(int64_t number, int64_t n, struct ArrowArray *out, struct qn_error *err)
{
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(2, 0, &made, err));
    int64_t *values = qn_malloc((size_t)n * sizeof *values);
    if (values == NULL) {
        return qn__no_memory(err);
    }
    made.buffers[1] = values;
    for (int64_t i = 0; i < n; i++) {
        values[i] = number;
    }
    made.length = n;
    qn__array_move(&made, out);
    return QN_OK;
}

static enum qn_status provenance(const struct union_stream *self, int64_t column, int64_t n, struct ArrowArray *out,
                                 struct qn_error *err)
{
    switch (self->kinds[column]) {
    case COLUMN_LOCATION:
        return repeat_text(self->part.location, n, out, err);
    case COLUMN_VERSION:
        return repeat_text(self->part.version, n, out, err);
    default:
        return self->part.commit == QN_VERSION_PENDING ? qn_array_of_nulls(self->schema.children[column], n, out, err)
                                                       : repeat_number(self->part.commit, n, out, err);
    }
}

/* Takes `data` on success. */
static enum qn_status put_together(const struct union_stream *self, struct ArrowArray *data, struct ArrowArray *out,
                                   struct qn_error *err)
{
    if (self->data.n_children == self->schema.n_children) {
        qn__array_move(data, out);
        return QN_OK;
    }
    qn_auto_array made = { 0 };
    int64_t next = 0;
    QN_TRY(qn__array_new(1, self->schema.n_children, &made, err));
    for (int64_t i = 0; i < self->schema.n_children; i++) {
        if (self->kinds[i] == COLUMN_DATA) {
            qn__array_move(data->children[next++], made.children[i]);
        } else {
            QN_TRY(provenance(self, i, data->length, made.children[i], err));
        }
    }
    made.length = data->length;
    qn_array_release(data);
    qn__array_move(&made, out);
    return QN_OK;
}

static enum qn_status union_next(void *context, struct ArrowArray *out, struct qn_error *err)
{
    struct union_stream *self = context;
    for (;;) {
        if (!self->open) {
            if (self->next == self->source.n_parts) {
                return QN_OK;
            }
            QN_TRY(qn_interrupt_poll(err));
            enum qn_status status = open_part(self, err);
            if (status != QN_OK) {
                close_part(self);
                return status;
            }
        }
        qn_auto_array data = { 0 };
        QN_TRY(next_data(self, &data, err));
        if (data.release == NULL) {
            close_part(self);
        } else if (data.length > 0) {
            return put_together(self, &data, out, err);
        }
    }
}

/* ---- making it -------------------------------------------------------------------------------------------------- */

static enum column_kind kind_of(const char *name)
{
    if (qn_text_equal(name, QN__COLUMN_LOCATION)) {
        return COLUMN_LOCATION;
    }
    if (qn_text_equal(name, QN__COLUMN_VERSION)) {
        return COLUMN_VERSION;
    }
    return qn_text_equal(name, QN__COLUMN_COMMIT) ? COLUMN_COMMIT : COLUMN_DATA;
}

/* A copy of a field in a place of a schema. */
static enum qn_status put_field(struct ArrowSchema *schema, int64_t i, const struct ArrowSchema *field,
                                struct qn_error *err)
{
    struct ArrowSchema copy;
    QN_TRY(qn_schema_copy(field, &copy, err));
    qn_schema_release(schema->children[i]);
    qn__schema_move(&copy, schema->children[i]);
    return QN_OK;
}

static enum qn_status put_provenance(struct union_stream *self, int64_t i, const char *name, struct qn_error *err)
{
    struct qn_type type = qn_type_of(self->kinds[i] == COLUMN_COMMIT ? QN_TYPE_INT64 : QN_TYPE_STRING_VIEW);
    QN_TRY(qn_schema_set(&self->schema, i, name, &type, err));
    if (self->kinds[i] != COLUMN_COMMIT) {
        self->schema.children[i]->flags &= ~(int64_t)ARROW_FLAG_NULLABLE;
    }
    return QN_OK;
}

static enum qn_status refuse_twice(const char *const *columns, size_t i, struct qn_error *err)
{
    for (size_t k = 0; k < i; k++) {
        if (qn_text_equal(columns[k], columns[i])) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "column \"%.200s\" is asked for twice", columns[i]);
        }
    }
    return QN_OK;
}

/* Which columns go out: of data, in their order, and of provenance. */
static enum qn_status choose(struct union_stream *self, const struct ArrowSchema *schema, const char *const *columns,
                             size_t n, struct qn_error *err)
{
    size_t n_data = 0;
    for (size_t i = 0; i < n; i++) {
        QN_TRY(refuse_twice(columns, i, err));
        self->kinds[i] = kind_of(columns[i]);
        n_data += self->kinds[i] == COLUMN_DATA;
    }
    QN_TRY(qn_schema_struct(&self->schema, (int64_t)n, err));
    QN_TRY(qn_schema_struct(&self->data, (int64_t)n_data, err));
    int64_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (self->kinds[i] != COLUMN_DATA) {
            QN_TRY(put_provenance(self, (int64_t)i, columns[i], err));
            continue;
        }
        int64_t found = qn_schema_find(schema, columns[i]);
        if (found < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "there is no column \"%.200s\"", columns[i]);
        }
        QN_TRY(put_field(&self->schema, (int64_t)i, schema->children[found], err));
        QN_TRY(put_field(&self->data, next++, schema->children[found], err));
    }
    return QN_OK;
}

static enum qn_status choose_all(struct union_stream *self, const struct ArrowSchema *schema, struct qn_error *err)
{
    QN_TRY(qn_schema_copy(schema, &self->schema, err));
    return qn_schema_copy(schema, &self->data, err);
}

static enum qn_status prepare(struct union_stream *self, const struct ArrowSchema *schema, const char *const *columns,
                              size_t n, struct qn_error *err)
{
    size_t n_out = columns != NULL ? n : (size_t)schema->n_children;
    self->kinds = qn_calloc(n_out + 1, sizeof *self->kinds);
    if (self->kinds == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(columns != NULL ? choose(self, schema, columns, n, err) : choose_all(self, schema, err));
    self->names = qn_calloc((size_t)self->data.n_children + 1, sizeof *self->names);
    if (self->names == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < self->data.n_children; i++) {
        self->names[i] = self->data.children[i]->name;
    }
    return QN_OK;
}

enum qn_status qn__union_stream(const struct qn__union_source *source, const struct ArrowSchema *schema,
                                const char *const *columns, size_t n_columns, struct ArrowArrayStream *out,
                                struct qn_error *err)
{
    static const struct qn_stream_ops ops = { union_schema, union_next, union_free };
    struct union_stream *self = qn_calloc(1, sizeof *self);
    if (self == NULL) {
        source->free(source->self);
        return qn__no_memory(err);
    }
    self->source = *source;
    enum qn_status status = prepare(self, schema, columns, n_columns, err);
    if (status == QN_OK) {
        status = qn_stream_make(&ops, self, out, err);
    }
    if (status != QN_OK) {
        union_free(self);
    }
    return status;
}
