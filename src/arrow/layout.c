/*
 * layout.c: streams whose string and binary columns are handed out in the layout that the taker asks for.
 *
 * A plan, made once from the two schemas, says which fields change; what does not change is moved from the source's
 * batches, not copied. Offsets become views over the source's own bytes, which the new array keeps alive; views become
 * offsets by copying. Only columns that change are looked into, and those are bound by a reader first (reader.h), since
 * they may come from outside. Threads: as any stream.
 */
#include "arrow/layout.h"

#include "arrow/array.h"
#include "arrow/stream.h"
#include "arrow/type_parse.h"
#include "base/memory.h"

#define BLOCK_STEP (INT64_C(1) << 30) /* bytes of a foreign buffer between the starts of two blocks of views */

/* What to do with a field: `changed` with no children is a string or binary that goes to `to`. */
struct plan {
    bool changed;
    struct qn_type to;
    struct plan *children;
    int64_t n_children;
};

struct layout_stream {
    struct ArrowArrayStream source;
    struct ArrowSchema schema;
    struct plan plan;          /* of the whole struct */
    struct qn_reader *readers; /* by column, of those that change */
    int64_t rows;              /* in the batches so far */
};

/* ---- plans ---- */

static void plan_dispose(struct plan *plan)
{
    for (int64_t i = 0; i < plan->n_children; i++) {
        plan_dispose(&plan->children[i]);
    }
    qn_free(plan->children);
    *plan = (struct plan){ 0 };
}

static bool same_nesting(const struct qn_type *a, const struct qn_type *b)
{
    switch (a->id) {
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_STRUCT:
    case QN_TYPE_MAP:
        return a->id == b->id;
    case QN_TYPE_FIXED_LIST:
        return a->id == b->id && a->width == b->width;
    default:
        return false;
    }
}

/* Both schemas have been checked. On failure the caller disposes of the plan. */
static enum qn_status plan_field(const struct ArrowSchema *from, const struct ArrowSchema *to, struct plan *plan,
                                 struct qn_error *err)
{
    struct qn_type have, want;
    if (from->dictionary != NULL || to->dictionary != NULL) {
        return QN_OK;
    }
    QN_TRY(qn_type_from_format(from->format, &have, err));
    QN_TRY(qn_type_from_format(to->format, &want, err));
    if ((qn__type_is_text(have.id) && qn__type_is_text(want.id)) ||
        (qn__type_is_binary(have.id) && qn__type_is_binary(want.id))) {
        plan->changed = have.id != want.id;
        plan->to = want;
        return QN_OK;
    }
    if (!same_nesting(&have, &want) || from->n_children != to->n_children || from->n_children == 0) {
        return QN_OK;
    }
    plan->children = qn_calloc((size_t)from->n_children, sizeof *plan->children);
    if (plan->children == NULL) {
        return qn__no_memory(err);
    }
    plan->n_children = from->n_children;
    for (int64_t i = 0; i < from->n_children; i++) {
        QN_TRY(plan_field(from->children[i], to->children[i], &plan->children[i], err));
        plan->changed = plan->changed || plan->children[i].changed;
    }
    return QN_OK;
}

/* Put the new formats into a copy of the source's schema. */
static enum qn_status apply_plan(const struct plan *plan, struct ArrowSchema *schema, struct qn_error *err)
{
    for (int64_t i = 0; i < plan->n_children; i++) {
        const struct plan *child = &plan->children[i];
        if (child->changed && child->n_children == 0) {
            QN_TRY(qn_schema_set(schema, i, schema->children[i]->name, &child->to, err));
        } else if (child->changed) {
            QN_TRY(apply_plan(child, schema->children[i], err));
        }
    }
    return QN_OK;
}

/* ---- values ---- */

enum qn_status qn__place_error(const struct qn__place *place, int64_t row, const char *what, struct qn_error *err)
{
    enum qn_status status = qn_error_set(err, QN_ERR_DATA, "column \"%s\": %s", place->column, what);
    int64_t in_stream = place->nested ? -1 : place->first_row + row;
    qn_error_place(err, in_stream >= 0 ? in_stream : -1, place->column);
    return status;
}

/* A dictionary has nulls of its own. */
static void validity_of_values(const struct qn_reader *reader, uint8_t *bits, struct ArrowArray *out)
{
    for (int64_t row = 0; row < reader->length; row++) {
        bool null = qn_reader_is_null(reader, row);
        bits[row >> 3] |= (uint8_t)((null ? 0U : 1U) << (row & 7));
        out->null_count += null;
    }
}

enum qn_status qn__validity_copy(const struct qn_reader *reader, struct ArrowArray *out, struct qn_error *err)
{
    out->null_count = 0;
    if ((reader->validity == NULL && reader->dictionary == NULL) || reader->length == 0) {
        return QN_OK;
    }
    int64_t n_bytes = (reader->length + 7) / 8;
    uint8_t *bits = qn_calloc(1, (size_t)n_bytes);
    if (bits == NULL) {
        return qn__no_memory(err);
    }
    out->buffers[0] = bits;
    if (reader->dictionary != NULL) {
        validity_of_values(reader, bits, out);
        return QN_OK;
    }
    const uint8_t *source = reader->validity + reader->offset / 8;
    unsigned shift = (unsigned)(reader->offset % 8);
    int64_t last = (reader->offset + reader->length - 1) / 8 - reader->offset / 8;
    int64_t valid = 0;
    for (int64_t i = 0; i < n_bytes; i++) {
        unsigned byte = (unsigned)source[i] >> shift;
        if (shift > 0 && i < last) {
            byte |= (unsigned)source[i + 1] << (8 - shift);
        }
        if (i == n_bytes - 1 && reader->length % 8 != 0) {
            byte &= (1U << (reader->length % 8)) - 1;
        }
        bits[i] = (uint8_t)byte;
        valid += __builtin_popcount(byte & 0xFF);
    }
    out->null_count = reader->length - valid;
    return QN_OK;
}

/* First pass: the bytes of all values, each of which is checked. */
static enum qn_status count_bytes(const struct qn_reader *reader, bool wide, const struct qn__place *place,
                                  int64_t *total_out, struct qn_error *err)
{
    int64_t total = 0;
    for (int64_t row = 0; row < reader->length; row++) {
        const char *bytes;
        size_t size = 0;
        if (qn_reader_is_null(reader, row)) {
            continue;
        }
        if (!qn_reader_bytes(reader, row, &bytes, &size)) {
            return qn__place_error(place, row, "a value lies outside of its buffers", err);
        }
        if (__builtin_add_overflow(total, (int64_t)size, &total)) {
            return qn__place_error(place, row, "the batch has more bytes than can be counted", err);
        }
        if (!wide && total > INT32_MAX) {
            enum qn_status status =
                qn__place_error(place, row, "the batch has more bytes than 32-bit offsets can count", err);
            qn_error_hint(err, "ask for 64-bit offsets or views, or for smaller batches");
            return status;
        }
    }
    *total_out = total;
    return QN_OK;
}

static void store_offset(void *offsets, bool wide, int64_t i, int64_t value)
{
    if (wide) {
        ((int64_t *)offsets)[i] = value;
    } else {
        ((int32_t *)offsets)[i] = (int32_t)value;
    }
}

static enum qn_status to_offsets(const struct qn_reader *reader, bool wide, const struct qn__place *place,
                                 struct ArrowArray *out, struct qn_error *err)
{
    int64_t total = 0;
    QN_TRY(count_bytes(reader, wide, place, &total, err));
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(3, 0, &made, err));
    QN_TRY(qn__validity_copy(reader, &made, err));
    void *offsets = qn_malloc(((size_t)reader->length + 1) * (wide ? sizeof(int64_t) : sizeof(int32_t)));
    made.buffers[1] = offsets;
    char *all = qn_malloc((size_t)total);
    made.buffers[2] = all;
    if (offsets == NULL || all == NULL) {
        return qn__no_memory(err);
    }
    int64_t used = 0;
    store_offset(offsets, wide, 0, 0);
    for (int64_t row = 0; row < reader->length; row++) {
        const char *bytes;
        size_t size = 0;
        if (!qn_reader_is_null(reader, row) && qn_reader_bytes(reader, row, &bytes, &size) && size > 0) {
            memcpy(all + used, bytes, size);
            used += (int64_t)size;
        }
        store_offset(offsets, wide, row + 1, used);
    }
    made.length = reader->length;
    qn__array_move(&made, out);
    return QN_OK;
}

/* Blocks over the bytes of an offsets array, begun every BLOCK_STEP so that 32-bit offsets reach every value. */
static enum qn_status lend_blocks(const struct qn_reader *reader, struct ArrowArray *out, struct qn_error *err)
{
    int64_t n_blocks = out->n_buffers - 3;
    int64_t *sizes = qn_malloc((size_t)(n_blocks > 0 ? n_blocks : 1) * sizeof *sizes);
    if (sizes == NULL) {
        return qn__no_memory(err);
    }
    sizes[0] = 0;
    for (int64_t i = 0; i < n_blocks; i++) {
        int64_t left = reader->bytes_size - i * BLOCK_STEP;
        sizes[i] = left < BLOCK_STEP + INT32_MAX ? left : BLOCK_STEP + INT32_MAX;
        qn__array_borrow(out, 2 + i, reader->bytes + i * BLOCK_STEP);
    }
    out->buffers[2 + n_blocks] = sizes;
    return QN_OK;
}

static enum qn_status fill_views(const struct qn_reader *reader, const struct qn__place *place, union qn_view *views,
                                 struct qn_error *err)
{
    for (int64_t row = 0; row < reader->length; row++) {
        union qn_view view = { .words = { 0, 0 } };
        const char *bytes;
        size_t size = 0;
        if (!qn_reader_is_null(reader, row)) {
            if (!qn_reader_bytes(reader, row, &bytes, &size)) {
                return qn__place_error(place, row, "a value lies outside of its buffers", err);
            }
            if (size > QN_VALUE_MAX_BYTES) {
                return qn__place_error(place, row, "a value is longer than a view can be", err);
            }
            view.inlined.size = (int32_t)size;
            if (size <= QN_VIEW_INLINE) {
                memcpy(view.inlined.data, bytes, size);
            } else {
                int64_t at = bytes - reader->bytes;
                memcpy(view.reference.prefix, bytes, sizeof view.reference.prefix);
                view.reference.block = (int32_t)(at / BLOCK_STEP);
                view.reference.offset = (int32_t)(at % BLOCK_STEP);
            }
        }
        views[row] = view;
    }
    return QN_OK;
}

/* Takes `source` on success: the views point into its bytes. */
static enum qn_status to_views(const struct qn_reader *reader, const struct qn__place *place, struct ArrowArray *source,
                               struct ArrowArray *out, struct qn_error *err)
{
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(3 + (reader->bytes_size + BLOCK_STEP - 1) / BLOCK_STEP, 0, &made, err));
    QN_TRY(qn__validity_copy(reader, &made, err));
    QN_TRY(lend_blocks(reader, &made, err));
    union qn_view *views = qn_malloc((size_t)reader->length * sizeof *views);
    if (views == NULL) {
        return qn__no_memory(err);
    }
    made.buffers[1] = views;
    QN_TRY(fill_views(reader, place, views, err));
    made.length = reader->length;
    qn__array_retain(&made, source);
    qn__array_move(&made, out);
    return QN_OK;
}

enum qn_status qn__text_layout(const struct qn_reader *reader, enum qn_type_id to, const struct qn__place *place,
                               struct ArrowArray *source, struct ArrowArray *out, struct qn_error *err)
{
    if (to == QN_TYPE_STRING_VIEW || to == QN_TYPE_BINARY_VIEW) {
        return to_views(reader, place, source, out, err);
    }
    bool wide = to == QN_TYPE_LARGE_STRING || to == QN_TYPE_LARGE_BINARY;
    QN_TRY(to_offsets(reader, wide, place, out, err));
    qn_array_release(source);
    return QN_OK;
}

/* Convert one array, which is taken on success. */
static enum qn_status convert(const struct plan *plan, const struct qn_reader *reader, const struct qn__place *place,
                              struct ArrowArray *source, struct ArrowArray *out, struct qn_error *err)
{
    if (plan->n_children == 0) {
        return qn__text_layout(reader, plan->to.id, place, source, out, err);
    }
    const struct qn__place inside = { .column = place->column, .nested = true };
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(source->n_buffers, source->n_children, &made, err));
    for (int64_t i = 0; i < source->n_buffers; i++) {
        qn__array_borrow(&made, i, source->buffers[i]);
    }
    for (int64_t i = 0; i < source->n_children; i++) {
        if (plan->children[i].changed) {
            QN_TRY(
                convert(&plan->children[i], &reader->children[i], &inside, source->children[i], made.children[i], err));
        } else {
            qn__array_move(source->children[i], made.children[i]);
        }
    }
    made.length = source->length;
    made.offset = source->offset;
    made.null_count = source->buffers[0] != NULL ? source->null_count : 0; /* a count of -1 needs a validity buffer */
    qn__array_retain(&made, source);
    qn__array_move(&made, out);
    return QN_OK;
}

/* ---- the stream ---- */

static enum qn_status layout_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct layout_stream *layout = self;
    return qn_schema_copy(&layout->schema, out, err);
}

/* The shape of a batch itself; its columns are bound by their readers. */
static enum qn_status check_batch(const struct layout_stream *layout, const struct ArrowArray *batch,
                                  struct qn_error *err)
{
    if (batch->length < 0 || batch->offset < 0 || batch->n_buffers != 1 || batch->buffers == NULL ||
        batch->n_children != layout->plan.n_children || (batch->n_children > 0 && batch->children == NULL) ||
        batch->dictionary != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "malformed Arrow array: a batch does not have the shape of its schema");
    }
    return QN_OK;
}

static enum qn_status layout_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct layout_stream *layout = self;
    qn_auto_array batch = { 0 };
    QN_TRY(qn_stream_next(&layout->source, &batch, err));
    if (batch.release == NULL) {
        return QN_OK;
    }
    QN_TRY(check_batch(layout, &batch, err));
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(1, batch.n_children, &made, err));
    for (int64_t i = 0; i < batch.n_children; i++) {
        if (!layout->plan.children[i].changed) {
            qn__array_move(batch.children[i], made.children[i]);
            continue;
        }
        struct qn_reader *reader = &layout->readers[i];
        const struct qn__place place = { .column = reader->name, .first_row = layout->rows - batch.offset };
        QN_TRY(qn_reader_bind(reader, batch.children[i], err));
        if (reader->length - batch.offset < batch.length) {
            return qn_error_set(err, QN_ERR_DATA, "column \"%s\": malformed Arrow array: it is shorter than its batch",
                                reader->name);
        }
        QN_TRY(convert(&layout->plan.children[i], reader, &place, batch.children[i], made.children[i], err));
    }
    qn__array_borrow(&made, 0, batch.buffers[0]);
    made.length = batch.length;
    made.offset = batch.offset;
    made.null_count = batch.buffers[0] != NULL ? batch.null_count : 0;
    layout->rows += batch.length;
    qn__array_retain(&made, &batch);
    qn__array_move(&made, out);
    return QN_OK;
}

static void layout_free(void *self)
{
    struct layout_stream *layout = self;
    qn_stream_release(&layout->source);
    qn_schema_release(&layout->schema);
    for (int64_t i = 0; layout->readers != NULL && i < layout->plan.n_children; i++) {
        qn_reader_dispose(&layout->readers[i]);
    }
    qn_free(layout->readers);
    plan_dispose(&layout->plan);
    qn_free(layout);
}

static const struct qn_stream_ops layout_ops = { layout_schema, layout_next, layout_free };

static enum qn_status prepare(struct layout_stream *layout, const struct ArrowSchema *requested, struct qn_error *err)
{
    struct ArrowSchema *schema = &layout->schema;
    QN_TRY(qn__schema_check(schema, err));
    QN_TRY(qn__schema_check(requested, err));
    if (requested->n_children != schema->n_children) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the requested schema has %lld columns, the stream %lld",
                            (long long)requested->n_children, (long long)schema->n_children);
    }
    QN_TRY(plan_field(schema, requested, &layout->plan, err));
    if (!layout->plan.changed) {
        return QN_OK;
    }
    layout->readers = qn_calloc((size_t)schema->n_children, sizeof *layout->readers);
    if (layout->readers == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (layout->plan.children[i].changed) {
            QN_TRY(qn_reader_init(&layout->readers[i], schema->children[i], err));
        }
    }
    struct ArrowSchema copy = { 0 };
    QN_TRY(qn_schema_copy(schema, &copy, err));
    qn_schema_release(schema);
    qn__schema_move(&copy, schema);
    return apply_plan(&layout->plan, schema, err);
}

enum qn_status qn_stream_with_layout(struct ArrowArrayStream *stream, const struct ArrowSchema *requested,
                                     struct ArrowArrayStream *out, struct qn_error *err)
{
    struct layout_stream *layout = qn_calloc(1, sizeof *layout);
    if (layout == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_stream_schema(stream, &layout->schema, err);
    if (status == QN_OK) {
        status = prepare(layout, requested, err);
    }
    if (status != QN_OK || !layout->plan.changed) {
        layout_free(layout);
        if (status == QN_OK) {
            struct ArrowArrayStream moved = *stream;
            stream->release = NULL;
            *out = moved;
        }
        return status;
    }
    struct ArrowArrayStream made;
    status = qn_stream_make(&layout_ops, layout, &made, err);
    if (status != QN_OK) {
        layout_free(layout);
        return status;
    }
    layout->source = *stream;
    stream->release = NULL;
    *out = made;
    return QN_OK;
}
