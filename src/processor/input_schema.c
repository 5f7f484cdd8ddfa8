/*
 * input_schema.c: is the schema of the input the one that the plan asks for?
 *
 * Fields are found by name, in any order. Types are the same where their values are: the layouts of text, of binary and of
 * lists count as one, so does a dictionary as what it holds; a column of nulls alone serves for every type: its rows,
 * where there are any, are looked at by required.h.
 * Threads: no state.
 */
#include "processor/input.h"

static enum qn_type_id plain_id(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return QN_TYPE_STRING;
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
        return QN_TYPE_BINARY;
    case QN_TYPE_LARGE_LIST:
        return QN_TYPE_LIST;
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL256:
        return QN_TYPE_DECIMAL128;
    default:
        return id;
    }
}

static bool same_parameters(const struct qn_type *a, const struct qn_type *b)
{
    return a->unit == b->unit && a->precision == b->precision && a->scale == b->scale && a->width == b->width &&
           strcmp(a->timezone, b->timezone) == 0;
}

static const char *name_of(const struct ArrowSchema *field)
{
    return field->name != NULL ? field->name : "";
}

static bool same_type(const struct ArrowSchema *want, const struct ArrowSchema *got)
{
    const struct ArrowSchema *plain = got->dictionary != NULL ? got->dictionary : got;
    struct qn_type a, b;
    if (qn_type_from_format(want->format, &a, NULL) != QN_OK || qn_type_from_format(plain->format, &b, NULL) != QN_OK) {
        return false;
    }
    if (b.id == QN_TYPE_NULL) {
        return true; /* a database may have had no row to tell a type by */
    }
    if (plain_id(a.id) != plain_id(b.id) || !same_parameters(&a, &b) || want->n_children != plain->n_children) {
        return false;
    }
    for (int64_t i = 0; i < want->n_children; i++) {
        if (a.id == QN_TYPE_STRUCT && strcmp(name_of(want->children[i]), name_of(plain->children[i])) != 0) {
            return false;
        }
        if (!same_type(want->children[i], plain->children[i])) {
            return false;
        }
    }
    return true;
}

/* The type of what a column holds. */
static const struct ArrowSchema *values_of(const struct ArrowSchema *field)
{
    return field->dictionary != NULL ? field->dictionary : field;
}

static enum qn_status check_field(const struct ArrowSchema *want, const struct ArrowSchema *got, struct qn_error *err)
{
    qn_auto_buffer expected = QN_BUFFER_INIT;
    qn_auto_buffer found = QN_BUFFER_INIT;
    qn_schema_field_to_text(want, &expected);
    int64_t at = qn_schema_find(got, want->name);
    if (at == -1) {
        return qn_error_set(err, QN_ERR_DATA, "input: field \"%s\": expected %s, found no such field", want->name,
                            qn_buffer_text(&expected));
    }
    if (at < 0) {
        return qn_error_set(err, QN_ERR_DATA, "input: field \"%s\" is there more than once", want->name);
    }
    if (!same_type(want, got->children[at])) {
        qn_schema_field_to_text(values_of(got->children[at]), &found);
        return qn_error_set(err, QN_ERR_DATA, "input: field \"%s\": expected %s, found %s", want->name,
                            qn_buffer_text(&expected), qn_buffer_text(&found));
    }
    return QN_OK;
}

enum qn_status qn__input_schema_check(const struct ArrowSchema *want, const struct ArrowSchema *got,
                                      struct qn_error *err)
{
    for (int64_t i = 0; i < want->n_children; i++) {
        QN_TRY(check_field(want->children[i], got, err));
    }
    for (int64_t i = 0; i < got->n_children; i++) {
        if (qn_schema_find(want, name_of(got->children[i])) < 0) {
            return qn_error_set(err, QN_ERR_DATA, "input: field \"%s\" is not in the input schema",
                                name_of(got->children[i]));
        }
    }
    return QN_OK;
}
