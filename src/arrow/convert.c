/*
 * convert.c: batches of one schema turned into batches of another that holds their values exactly.
 *
 * A plan, made once from both schemas, has a step for each field: moved as it is, made of nulls, or converted. Only columns
 * that are converted are looked into, and those are bound by a reader first (reader.h). A batch's offset goes into its
 * columns, so that what comes out has none. Threads: one at a time per handle.
 */
#include "arrow/array.h"
#include "arrow/convert_values.h"
#include "arrow/type_parse.h"
#include "arrow/unify.h"
#include "base/memory.h"
#include "base/text.h"

enum step_kind {
    STEP_MOVE,
    STEP_NULLS,  /* the table lacks it, or has nothing but nulls */
    STEP_FIXED,  /* numbers, dates, times */
    STEP_TEXT,   /* another layout of texts and binaries */
    STEP_NEST,   /* a list, struct or map, some child of which changes */
    STEP_DECODE, /* a dictionary; children[0] goes on from its values */
};

struct step {
    enum step_kind kind;
    int64_t source;                  /* place among the source's children; -1: lacking */
    struct qn_type from, to;         /* of DECODE: of the values, before and after */
    const struct ArrowSchema *field; /* what it shall be; lives in the handle */
    struct step *children;
    int64_t n_children;
    struct qn_reader reader; /* of a column, and of the values of a dictionary */
};

struct qn_convert {
    struct ArrowSchema from, to;
    struct step *steps; /* by column of `to` */
    int64_t n_steps;
    int64_t rows; /* in the batches so far */
};

static void step_dispose(struct step *step)
{
    for (int64_t i = 0; i < step->n_children; i++) {
        step_dispose(&step->children[i]);
    }
    qn_free(step->children);
    qn_reader_dispose(&step->reader);
}

/* ---- plans ------------------------------------------------------------------------------------------------------ */

static const char *name_of(const struct ArrowSchema *field)
{
    return field->name != NULL ? field->name : "";
}

static enum qn_status not_exact(const struct qn_type *from, const struct ArrowSchema *to, const struct qn_type *to_type,
                                struct qn_error *err)
{
    char a[QN_TYPE_MAX_FORMAT], b[QN_TYPE_MAX_FORMAT];
    qn_type_to_text(from, a);
    qn_type_to_text(to_type, b);
    return qn_error_set(err, QN_ERR_DATA, "column \"%.200s\": %s does not hold every value of %s exactly", name_of(to),
                        b, a);
}

static enum qn_status plan_step(const struct ArrowSchema *from, const struct ArrowSchema *to, struct step *step,
                                struct qn_error *err);

static enum qn_status new_children(struct step *step, int64_t n, struct qn_error *err)
{
    step->children = qn_calloc((size_t)n, sizeof *step->children);
    if (step->children == NULL) {
        return qn__no_memory(err);
    }
    step->n_children = n;
    return QN_OK;
}

/* Where a field of `to` is in `from`: tables are mostly alike, so its own place is tried first. */
static int64_t find_source(const struct ArrowSchema *from, const struct ArrowSchema *to, int64_t i, bool by_name)
{
    const char *name = name_of(to->children[i]);
    if (i < from->n_children && (!by_name || qn_text_equal(name_of(from->children[i]), name))) {
        return i;
    }
    return by_name ? qn_schema_find(from, name) : -1;
}

static enum qn_status plan_children(const struct ArrowSchema *from, const struct ArrowSchema *to, bool by_name,
                                    struct step *step, struct qn_error *err)
{
    QN_TRY(new_children(step, to->n_children, err));
    for (int64_t i = 0; i < to->n_children; i++) {
        struct step *child = &step->children[i];
        child->source = find_source(from, to, i, by_name);
        child->field = to->children[i];
        child->kind = STEP_NULLS;
        if (child->source < -1) {
            return qn_error_set(err, QN_ERR_DATA, "column \"%.200s\" is there twice", name_of(to->children[i]));
        }
        if (child->source >= 0) {
            QN_TRY(plan_step(from->children[child->source], to->children[i], child, err));
        }
    }
    return QN_OK;
}

static bool is_list(enum qn_type_id id)
{
    return id == QN_TYPE_LIST || id == QN_TYPE_LARGE_LIST || id == QN_TYPE_FIXED_LIST || id == QN_TYPE_MAP;
}

static enum qn_status plan_nest(const struct ArrowSchema *from, const struct ArrowSchema *to, struct step *step,
                                struct qn_error *err)
{
    step->kind = STEP_NEST;
    if (is_list(step->to.id) && (from->n_children != 1 || to->n_children != 1)) {
        return qn_error_set(err, QN_ERR_DATA, "column \"%.200s\": a list has one child", name_of(to));
    }
    QN_TRY(plan_children(from, to, !is_list(step->to.id), step, err));
    struct step *entries = step->to.id == QN_TYPE_MAP ? &step->children[0] : NULL;
    if (entries != NULL && entries->kind == STEP_NEST) { /* keys and values, whatever they are called */
        for (int64_t i = 0; i < entries->n_children; i++) {
            step_dispose(&entries->children[i]);
        }
        qn_free(entries->children);
        entries->n_children = 0;
        return plan_children(from->children[0], to->children[0], false, entries, err);
    }
    return QN_OK;
}

/* The values of a dictionary first, as they are; then as any other column. */
static enum qn_status plan_decode(const struct ArrowSchema *from, const struct ArrowSchema *to, struct step *step,
                                  struct qn_error *err)
{
    step->kind = STEP_DECODE;
    bool text = qn__type_is_text(step->from.id), binary = qn__type_is_binary(step->from.id);
    struct qn_type plain = step->from;
    if ((text || binary) && step->to.id != QN_TYPE_STRING && step->to.id != QN_TYPE_BINARY) {
        plain.id = text ? QN_TYPE_LARGE_STRING : QN_TYPE_LARGE_BINARY;
    } else if (text || binary) {
        plain.id = text ? QN_TYPE_STRING : QN_TYPE_BINARY;
    } else if (qn_type_width(&plain) == 0 && plain.id != QN_TYPE_BOOL && plain.id != QN_TYPE_FIXED_BINARY) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%.200s\": a dictionary of nested values", name_of(to));
    }
    qn_auto_schema holder = { 0 };
    QN_TRY(qn_schema_struct(&holder, 1, err));
    QN_TRY(qn_schema_set(&holder, 0, name_of(from), &plain, err));
    QN_TRY(new_children(step, 1, err));
    step->children[0].field = to;
    QN_TRY(qn_reader_init(&step->children[0].reader, holder.children[0], err));
    return plan_step(holder.children[0], to, &step->children[0], err);
}

static bool both_text(const struct qn_type *a, const struct qn_type *b)
{
    return (qn__type_is_text(a->id) && qn__type_is_text(b->id)) ||
           (qn__type_is_binary(a->id) && qn__type_is_binary(b->id));
}

/* Whether `to` holds all values of `from`: then it is what holds both. */
static bool holds(const struct qn_type *to, const struct qn_type *from)
{
    struct qn_type pair[2] = { *from, *to }, both;
    char a[QN_TYPE_MAX_FORMAT], b[QN_TYPE_MAX_FORMAT];
    if (!qn_unify_types(pair, 2, &both)) {
        return false;
    }
    qn_type_to_format(&both, a);
    qn_type_to_format(to, b);
    return both.id == to->id && qn_text_equal(a, b);
}

static enum qn_status plan_step(const struct ArrowSchema *from, const struct ArrowSchema *to, struct step *step,
                                struct qn_error *err)
{
    step->kind = STEP_MOVE;
    step->field = to;
    if (qn__schema_alike(from, to)) {
        return QN_OK;
    }
    const struct ArrowSchema *values = from->dictionary != NULL ? from->dictionary : from;
    QN_TRY(qn_type_from_format(values->format, &step->from, err));
    QN_TRY(qn_type_from_format(to->format, &step->to, err));
    if (step->from.id == QN_TYPE_NULL) {
        step->kind = STEP_NULLS;
        return QN_OK;
    }
    bool same_layout = both_text(&step->from, &step->to);
    if (to->dictionary != NULL || step->to.id == QN_TYPE_OTHER || (!same_layout && !holds(&step->to, &step->from))) {
        return not_exact(&step->from, to, &step->to, err);
    }
    if (from->dictionary != NULL) {
        return plan_decode(from, to, step, err);
    }
    if (same_layout || qn__type_is_binary(step->to.id)) {
        step->kind = STEP_TEXT;
        return QN_OK;
    }
    if (is_list(step->to.id) || step->to.id == QN_TYPE_STRUCT) {
        return plan_nest(from, to, step, err);
    }
    if (qn__convert_is_fixed(&step->from, &step->to)) {
        step->kind = STEP_FIXED;
        return QN_OK;
    }
    return not_exact(&step->from, to, &step->to, err);
}

/* ---- nulls ------------------------------------------------------------------------------------------------------ */

/* A buffer of zeros in its place. */
static enum qn_status zeros(struct ArrowArray *array, int64_t at, int64_t n, size_t width, struct qn_error *err)
{
    void *room = qn_calloc((size_t)n, width);
    if (room == NULL) {
        return qn__no_memory(err);
    }
    array->buffers[at] = room;
    return QN_OK;
}

static enum qn_status nulls_level(const struct ArrowSchema *field, int64_t n, struct ArrowArray *out,
                                  struct qn_error *err);

static enum qn_status null_children(const struct ArrowSchema *field, const struct qn_type *type, int64_t n,
                                    struct ArrowArray *made, struct qn_error *err)
{
    int64_t items = type->id == QN_TYPE_STRUCT ? n : 0;
    if (type->id == QN_TYPE_FIXED_LIST && __builtin_mul_overflow(n, (int64_t)type->width, &items)) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < field->n_children; i++) {
        QN_TRY(nulls_level(field->children[i], items, made->children[i], err));
    }
    return QN_OK;
}

static enum qn_status null_dictionary(const struct ArrowSchema *field, struct ArrowArray *made, struct qn_error *err)
{
    qn_auto_array holder = { 0 };
    QN_TRY(nulls_level(field->dictionary, 0, &holder, err));
    qn__array_dictionary(made, &holder);
    return QN_OK;
}

static enum qn_status nulls_level(const struct ArrowSchema *field, int64_t n, struct ArrowArray *out,
                                  struct qn_error *err)
{
    struct qn_type type;
    QN_TRY(qn_type_from_format(field->format, &type, err));
    if (type.id == QN_TYPE_OTHER) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%.200s\": a type that has no nulls of its own",
                            name_of(field));
    }
    size_t width = qn_type_width(&type);
    bool texts = qn__type_is_text(type.id) || qn__type_is_binary(type.id);
    bool views = texts && width > 0;
    bool offsets = (texts && !views) || (is_list(type.id) && type.id != QN_TYPE_FIXED_LIST);
    bool wide = type.id == QN_TYPE_LARGE_STRING || type.id == QN_TYPE_LARGE_BINARY || type.id == QN_TYPE_LARGE_LIST;
    bool nothing = type.id == QN_TYPE_NULL, bare = type.id == QN_TYPE_STRUCT || type.id == QN_TYPE_FIXED_LIST;
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(nothing ? 0 : (bare ? 1 : (texts ? 3 : 2)), field->n_children, &made, err));
    if (!nothing && n > 0) {
        QN_TRY(zeros(&made, 0, n / 8 + 1, 1, err));
    }
    if (offsets) {
        QN_TRY(zeros(&made, 1, n + 1, wide ? sizeof(int64_t) : sizeof(int32_t), err));
    } else if (type.id == QN_TYPE_BOOL) {
        QN_TRY(zeros(&made, 1, n / 8 + 1, 1, err));
    } else if (!nothing && !bare) {
        QN_TRY(zeros(&made, 1, n, width > 0 ? width : 1, err));
    }
    if (texts) {
        QN_TRY(zeros(&made, 2, 1, sizeof(int64_t), err)); /* no bytes, or the sizes of no blocks */
    }
    QN_TRY(null_children(field, &type, n, &made, err));
    if (field->dictionary != NULL) {
        QN_TRY(null_dictionary(field, &made, err));
    }
    made.length = made.null_count = n;
    qn__array_move(&made, out);
    return QN_OK;
}

enum qn_status qn_array_of_nulls(const struct ArrowSchema *field, int64_t n, struct ArrowArray *out,
                                 struct qn_error *err)
{
    QN_TRY(qn__schema_check(field, err));
    if (n < 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a column of %lld nulls", (long long)n);
    }
    return nulls_level(field, n, out, err);
}

/* ---- arrays ----------------------------------------------------------------------------------------------------- */

/* Takes `source` on success. */
static enum qn_status run_step(struct step *step, const struct qn_reader *reader, const struct qn__place *place,
                               struct ArrowArray *source, struct ArrowArray *out, struct qn_error *err);

static enum qn_status run_decode(struct step *step, const struct qn_reader *reader, const struct qn__place *place,
                                 struct ArrowArray *source, struct ArrowArray *out, struct qn_error *err)
{
    struct step *rest = &step->children[0];
    qn_auto_array plain = { 0 };
    if (qn__type_is_text(step->from.id) ||
        (qn__type_is_binary(step->from.id) && step->from.id != QN_TYPE_FIXED_BINARY)) {
        qn_auto_array none = { 0 }; /* the offsets are made by copying: the source is not needed for them */
        QN_TRY(qn__text_layout(reader, rest->reader.type.id, place, &none, &plain, err));
    } else {
        QN_TRY(qn__decode_fixed(reader, &plain, err));
    }
    QN_TRY(qn_reader_bind(&rest->reader, &plain, err));
    QN_TRY(run_step(rest, &rest->reader, place, &plain, out, err));
    qn_array_release(source);
    return QN_OK;
}

/* 64-bit offsets of a list that had 32-bit ones; the new array begins at 0. */
static enum qn_status widen_offsets(const struct qn_reader *reader, struct ArrowArray *made, struct qn_error *err)
{
    QN_TRY(qn__validity_copy(reader, made, err));
    int64_t *offsets = qn_calloc((size_t)reader->length + 1, sizeof *offsets);
    if (offsets == NULL) {
        return qn__no_memory(err);
    }
    made->buffers[1] = offsets;
    for (int64_t row = 0; reader->length > 0 && row <= reader->length; row++) {
        offsets[row] = qn_reader_at_int32(reader, row);
    }
    made->length = reader->length;
    return QN_OK;
}

static void keep_shell(const struct ArrowArray *source, struct ArrowArray *made)
{
    for (int64_t i = 0; i < source->n_buffers; i++) {
        qn__array_borrow(made, i, source->buffers[i]);
    }
    made->length = source->length;
    made->offset = source->offset;
    made->null_count = source->buffers[0] != NULL ? source->null_count : 0; /* a count of -1 needs a validity buffer */
}

static enum qn_status run_nest(struct step *step, const struct qn_reader *reader, const struct qn__place *place,
                               struct ArrowArray *source, struct ArrowArray *out, struct qn_error *err)
{
    const struct qn__place inside = { .column = place->column, .nested = true };
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(source->n_buffers, step->n_children, &made, err));
    if (step->from.id == QN_TYPE_LIST && step->to.id == QN_TYPE_LARGE_LIST) {
        QN_TRY(widen_offsets(reader, &made, err));
    } else {
        keep_shell(source, &made);
    }
    for (int64_t i = 0; i < step->n_children; i++) {
        struct step *child = &step->children[i];
        int64_t at = child->source;
        if (at < 0) {
            QN_TRY(qn_array_of_nulls(child->field, source->offset + source->length, made.children[i], err));
        } else {
            QN_TRY(run_step(child, &reader->children[at], &inside, source->children[at], made.children[i], err));
        }
    }
    qn__array_retain(&made, source);
    qn__array_move(&made, out);
    return QN_OK;
}

static enum qn_status run_step(struct step *step, const struct qn_reader *reader, const struct qn__place *place,
                               struct ArrowArray *source, struct ArrowArray *out, struct qn_error *err)
{
    switch (step->kind) {
    case STEP_MOVE:
        qn__array_move(source, out);
        return QN_OK;
    case STEP_NULLS:
        QN_TRY(qn_array_of_nulls(step->field, source->length, out, err));
        break;
    case STEP_FIXED:
        QN_TRY(qn__convert_fixed(reader, &step->to, place, out, err));
        break;
    case STEP_TEXT:
        return qn__text_layout(reader, step->to.id, place, source, out, err);
    case STEP_NEST:
        return run_nest(step, reader, place, source, out, err);
    case STEP_DECODE:
        return run_decode(step, reader, place, source, out, err);
    }
    qn_array_release(source);
    return QN_OK;
}

/* ---- batches ---------------------------------------------------------------------------------------------------- */

static enum qn_status misshapen(const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "malformed Arrow array: %s", what);
}

static enum qn_status check_batch(const struct qn_convert *convert, const struct ArrowArray *batch,
                                  struct qn_error *err)
{
    if (batch->length < 0 || batch->offset < 0 || batch->offset > INT64_MAX - batch->length || batch->n_buffers != 1 ||
        batch->buffers == NULL || batch->n_children != convert->from.n_children ||
        (batch->n_children > 0 && batch->children == NULL) || batch->dictionary != NULL) {
        return misshapen("a batch does not have the shape of its schema", err);
    }
    const uint8_t *validity = batch->null_count != 0 ? batch->buffers[0] : NULL;
    for (int64_t row = 0; validity != NULL && row < batch->length; row++) {
        int64_t at = batch->offset + row;
        if (!((validity[at >> 3] >> (at & 7)) & 1)) {
            enum qn_status status =
                qn_error_set(err, QN_ERR_DATA, "row %lld is null as a whole: rows are not nullable", (long long)row);
            qn_error_place(err, convert->rows + row, NULL);
            return status;
        }
    }
    return QN_OK;
}

/* Cut a column to the rows of its batch. */
static enum qn_status cut_column(const struct ArrowArray *batch, const struct ArrowSchema *field,
                                 struct ArrowArray *column, struct qn_error *err)
{
    if (column == NULL || column->release == NULL || column->offset < 0 ||
        column->length < batch->offset + batch->length || column->offset > INT64_MAX - column->length) {
        return misshapen("a column is shorter than its batch", err);
    }
    if (column->length != batch->length) {
        column->offset += batch->offset;
        column->length = batch->length;
        bool nothing = qn_text_equal(field->format, "n");
        column->null_count = nothing ? batch->length : (column->null_count == 0 ? 0 : -1);
    }
    return QN_OK;
}

static enum qn_status convert_column(struct qn_convert *convert, struct step *step, struct ArrowArray *batch,
                                     struct ArrowArray *out, struct qn_error *err)
{
    if (step->source < 0) {
        return qn_array_of_nulls(step->field, batch->length, out, err);
    }
    struct ArrowArray *column = batch->children[step->source];
    const struct ArrowSchema *field = convert->from.children[step->source];
    QN_TRY(cut_column(batch, field, column, err));
    if (step->kind != STEP_MOVE && step->kind != STEP_NULLS) {
        QN_TRY(qn_reader_bind(&step->reader, column, err));
    }
    const struct qn__place place = { .column = name_of(step->field), .first_row = convert->rows };
    return run_step(step, &step->reader, &place, column, out, err);
}

enum qn_status qn_convert_batch(struct qn_convert *convert, struct ArrowArray *batch, struct ArrowArray *out,
                                struct qn_error *err)
{
    QN_TRY(check_batch(convert, batch, err));
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(1, convert->n_steps, &made, err));
    for (int64_t i = 0; i < convert->n_steps; i++) {
        QN_TRY(convert_column(convert, &convert->steps[i], batch, made.children[i], err));
    }
    made.length = batch->length;
    convert->rows += batch->length;
    qn_array_release(batch); /* what was moved out of it lives on */
    qn__array_move(&made, out);
    return QN_OK;
}

/* ---- the handle ------------------------------------------------------------------------------------------------- */

void qn_convert_free(struct qn_convert *convert)
{
    if (convert == NULL) {
        return;
    }
    for (int64_t i = 0; i < convert->n_steps; i++) {
        step_dispose(&convert->steps[i]);
    }
    qn_free(convert->steps);
    qn_schema_release(&convert->from);
    qn_schema_release(&convert->to);
    qn_free(convert);
}

static enum qn_status prepare(struct qn_convert *convert, struct qn_error *err)
{
    struct step root = { 0 };
    enum qn_status status = plan_children(&convert->from, &convert->to, true, &root, err);
    convert->steps = root.children;
    convert->n_steps = root.n_children;
    for (int64_t i = 0; status == QN_OK && i < convert->n_steps; i++) {
        struct step *step = &convert->steps[i];
        if (step->kind != STEP_MOVE && step->kind != STEP_NULLS) {
            status = qn_reader_init(&step->reader, convert->from.children[step->source], err);
        }
    }
    return status;
}

enum qn_status qn_convert_new(const struct ArrowSchema *from, const struct ArrowSchema *to, struct qn_convert **out,
                              struct qn_error *err)
{
    QN_TRY(qn__schema_check(from, err));
    QN_TRY(qn__schema_check(to, err));
    if (!qn_text_equal(from->format, "+s") || !qn_text_equal(to->format, "+s")) {
        return qn_error_set(err, QN_ERR_DATA, "rows come as struct arrays; a schema's format is another");
    }
    struct qn_convert *convert = qn_calloc(1, sizeof *convert);
    if (convert == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_schema_copy(from, &convert->from, err);
    if (status == QN_OK) {
        status = qn_schema_copy(to, &convert->to, err);
    }
    if (status == QN_OK) {
        status = prepare(convert, err);
    }
    if (status != QN_OK) {
        qn_convert_free(convert);
        return status;
    }
    *out = convert;
    return QN_OK;
}
