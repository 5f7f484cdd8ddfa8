/*
 * plan_value.c: typed values of a plan's JSON, or QN_ERR_CONFIG that names the key. Threads: no state.
 */
#include "base/memory.h"
#include "processor/plan.h"

#include <jansson.h>

#define KEY_SIZE 128

const char *qn__plan_type_name(const struct json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static void key_path(char out[KEY_SIZE], const char *prefix, const char *key)
{
    (void)snprintf(out, KEY_SIZE, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
}

static enum qn_status refuse_type(const char *path, const json_t *value, const char *wanted, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_CONFIG, "%s is %s; it must be %s", path, qn__plan_type_name(value), wanted);
}

/* A string without NUL and not empty, copied. */
static enum qn_status copy_text(const char *path, const json_t *value, char **out, struct qn_error *err)
{
    if (!json_is_string(value)) {
        return refuse_type(path, value, "a string", err);
    }
    const char *text = json_string_value(value);
    size_t size = json_string_length(value);
    if (size == 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s is empty", path);
    }
    if (strlen(text) != size) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s holds a NUL character", path);
    }
    *out = qn_strndup(text, size);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

enum qn_status qn__plan_text(const struct json_t *table, const char *prefix, const char *key, char **out,
                             struct qn_error *err)
{
    const json_t *value = json_object_get(table, key);
    if (value == NULL || json_is_null(value)) {
        return QN_OK;
    }
    char path[KEY_SIZE];
    key_path(path, prefix, key);
    return copy_text(path, value, out, err);
}

void qn_texts_dispose(struct qn_texts *texts)
{
    for (size_t i = 0; i < texts->n; i++) {
        qn_free(texts->items[i]);
    }
    qn_free(texts->items);
    *texts = (struct qn_texts){ 0 };
}

enum qn_status qn__plan_texts(const struct json_t *table, const char *prefix, const char *key, struct qn_texts *out,
                              bool *found_out, struct qn_error *err)
{
    const json_t *array = json_object_get(table, key);
    bool found = array != NULL && !json_is_null(array);
    if (found_out != NULL) {
        *found_out = found;
    }
    char path[KEY_SIZE];
    key_path(path, prefix, key);
    if (found && !json_is_array(array)) {
        return refuse_type(path, array, "an array of strings", err);
    }
    size_t n = json_array_size(array);
    if (n > QN_PLAN_MAX_TEXTS) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s has %zu entries; at most %d are allowed", path, n,
                            QN_PLAN_MAX_TEXTS);
    }
    struct qn_texts texts = { .items = qn_calloc(n + 1, sizeof *texts.items) };
    if (texts.items == NULL) {
        return qn__no_memory(err);
    }
    for (; texts.n < n; texts.n++) {
        char place[KEY_SIZE + 24];
        (void)snprintf(place, sizeof place, "%s[%zu]", path, texts.n);
        enum qn_status status = copy_text(place, json_array_get(array, texts.n), &texts.items[texts.n], err);
        if (status != QN_OK) {
            qn_texts_dispose(&texts);
            return status;
        }
    }
    *out = texts;
    return QN_OK;
}

enum qn_status qn__plan_integer(const struct json_t *table, const char *key, int64_t low, int64_t high, int64_t *out,
                                struct qn_error *err)
{
    const json_t *value = json_object_get(table, key);
    if (value == NULL || json_is_null(value)) {
        return QN_OK;
    }
    if (!json_is_integer(value)) {
        return refuse_type(key, value, "an integer", err);
    }
    int64_t number = json_integer_value(value);
    if (number < low || number > high) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s is %lld; it must be from %lld to %lld", key, (long long)number,
                            (long long)low, (long long)high);
    }
    *out = number;
    return QN_OK;
}
