/*
 * plan_schema.c: [{"name": "id", "type": "Int64!"}, ...] to a struct schema. Threads: no state.
 */
#include "base/memory.h"
#include "processor/plan.h"

#include <jansson.h>

/* Texts go to the worker one field a line, name and type with a tab between. */
static bool fits_line(const char *text)
{
    return strpbrk(text, "\t\n\r") == NULL;
}

static enum qn_status take_field(const char *key, size_t i, const json_t *field, struct ArrowSchema *out,
                                 struct qn_buffer *types, struct qn_error *err)
{
    char place[64];
    (void)snprintf(place, sizeof place, "%s[%zu]", key, i);
    if (!json_is_object(field)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s is %s; it must be an object with name and type", place,
                            qn__plan_type_name(field));
    }
    qn_auto_free char *name = NULL;
    qn_auto_free char *type = NULL;
    QN_TRY(qn__plan_text(field, place, "name", &name, err));
    QN_TRY(qn__plan_text(field, place, "type", &type, err));
    if (name == NULL || type == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s.%s is missing", place, name == NULL ? "name" : "type");
    }
    if (!fits_line(name) || !fits_line(type)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s: names and types may not hold tabs or line breaks", place);
    }
    if (qn_schema_find(out, name) != -1) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s.name is \"%s\"; that field is there already", place, name);
    }
    enum qn_status status = qn_schema_set_from_text(out, (int64_t)i, name, type, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "%s: the type of \"%.200s\"", key, name);
        return status;
    }
    if (types != NULL) {
        qn_buffer_printf(types, "%s\t%s\n", name, type);
    }
    return QN_OK;
}

enum qn_status qn__plan_schema(const char *key, const struct json_t *fields, struct ArrowSchema *out,
                               struct qn_buffer *types_out, struct qn_error *err)
{
    if (!json_is_array(fields)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s is %s; it must be an array of fields", key,
                            qn__plan_type_name(fields));
    }
    size_t n = json_array_size(fields);
    if (n == 0 || n > QN_PLAN_MAX_FIELDS) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s has %zu fields; it must have from 1 to %d", key, n,
                            QN_PLAN_MAX_FIELDS);
    }
    qn_auto_schema made = { 0 };
    QN_TRY(qn_schema_struct(&made, (int64_t)n, err));
    for (size_t i = 0; i < n; i++) {
        QN_TRY(take_field(key, i, json_array_get(fields, i), &made, types_out, err));
    }
    *out = made;
    made.release = NULL;
    return QN_OK;
}
