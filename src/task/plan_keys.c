/*
 * plan_keys.c: the keys of a plan's tables: held against rules, and taken as texts and numbers.
 *
 * Every refusal names the path of the key, "sink.mode", and where a key is not known the one that may have been meant.
 * What keys there are and what values mean together is for plan.c and those beside it. Threads: no state.
 */
#include "task/plan_private.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"

#include <stdio.h>

#define PATH_SIZE QN__PATH_SIZE

/* ---- keys ----------------------------------------------------------------------------------------------------- */

const char *qn__task_toml_name(json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "a table";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a float";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static int toml_type(json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return QN__AS_TABLE;
    case JSON_ARRAY:
        return QN__AS_ARRAY;
    case JSON_STRING:
        return QN__AS_TEXT;
    case JSON_INTEGER:
        return QN__AS_INTEGER;
    case JSON_REAL:
        return QN__AS_FLOAT;
    case JSON_TRUE:
    case JSON_FALSE:
        return QN__AS_BOOLEAN;
    default:
        return 0;
    }
}

static void allowed_types(int types, char *out, size_t size)
{
    static const struct {
        int type;
        const char *name;
    } names[] = { { QN__AS_TEXT, "a string" },     { QN__AS_INTEGER, "an integer" }, { QN__AS_FLOAT, "a float" },
                  { QN__AS_BOOLEAN, "a boolean" }, { QN__AS_TABLE, "a table" },      { QN__AS_ARRAY, "an array" } };
    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (types & names[i].type) {
            size_t used = strlen(out);
            (void)snprintf(out + used, size - used, "%s%s", used > 0 ? " or " : "", names[i].name);
        }
    }
}

static bool known_now(const struct qn__key_rule *rule)
{
    return rule->types != 0;
}

static void known_keys(const struct qn__key_rule *rules, struct qn_buffer *out)
{
    for (; rules->name != NULL; rules++) {
        if (known_now(rules)) {
            qn_buffer_printf(out, "%s%s", out->size > 0 ? ", " : "", rules->name);
        }
    }
}

static const char *nearest_key(const char *key, const struct qn__key_rule *rules)
{
    const char *best = NULL;
    size_t least = QN_TEXT_FAR;
    for (; rules->name != NULL; rules++) {
        size_t far = qn_text_distance(key, rules->name);
        if (far < least && qn_text_is_near(key, far)) {
            least = far;
            best = rules->name;
        }
    }
    return best;
}

void qn__task_join_path(char path[PATH_SIZE], const char *prefix, const char *key)
{
    int size = snprintf(path, PATH_SIZE, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
    if (size >= PATH_SIZE) {
        path[qn_utf8_floor(path, PATH_SIZE - 1)] = '\0'; /* only messages see it */
    }
}

static enum qn_status refuse_unknown(const char *prefix, const char *key, const struct qn__key_rule *rules,
                                     struct qn_error *err)
{
    char path[PATH_SIZE];
    qn__task_join_path(path, prefix, key);
    const char *near = nearest_key(key, rules);
    enum qn_status status;
    if (near != NULL) {
        char suggested[PATH_SIZE];
        qn__task_join_path(suggested, prefix, near);
        status = qn_error_set(err, QN_ERR_CONFIG, "%s is not known here; did you mean %s?", path, suggested);
    } else {
        status = qn_error_set(err, QN_ERR_CONFIG, "%s is not known here", path);
    }
    qn_auto_buffer known = QN_BUFFER_INIT;
    known_keys(rules, &known);
    if (prefix[0] != '\0') {
        qn_error_hint(err, "[%s] has the keys %s", prefix, qn_buffer_text(&known));
    } else {
        qn_error_hint(err, "a task file has the tables %s", qn_buffer_text(&known));
    }
    return status;
}

enum qn_status qn__task_check_shape(json_t *table, const char *prefix, const struct qn__key_rule *rules,
                                    struct qn_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(table, key, value)
    {
        const struct qn__key_rule *rule = rules;
        while (rule->name != NULL && strcmp(rule->name, key) != 0) {
            rule++;
        }
        char path[PATH_SIZE];
        qn__task_join_path(path, prefix, key);
        if (rule->name == NULL) {
            return refuse_unknown(prefix, key, rules, err);
        }
        if (!known_now(rule)) {
            return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s: this version does not run %s yet", path, rule->later);
        }
        if ((toml_type(value) & rule->types) == 0) {
            char allowed[96];
            allowed_types(rule->types, allowed, sizeof allowed);
            return qn_error_set(err, QN_ERR_CONFIG, "%s is %s; it must be %s", path, qn__task_toml_name(value),
                                allowed);
        }
    }
    return QN_OK;
}

/* ---- values --------------------------------------------------------------------------------------------------- */

enum qn_status qn__task_refuse_value(const char *path, enum qn_status status, struct qn_error *err)
{
    if (status == QN_ERR_NO_MEMORY) {
        return status;
    }
    qn_error_prefix(err, "%s", path);
    if (err != NULL) {
        err->status = QN_ERR_CONFIG;
    }
    return QN_ERR_CONFIG;
}

enum qn_status qn__task_copy_text(const char *text, char **out, struct qn_error *err)
{
    *out = qn_strdup(text);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

enum qn_status qn__task_take_text(json_t *root, const char *table, const char *key, char **out, struct qn_error *err)
{
    json_t *value = json_object_get(json_object_get(root, table), key);
    if (value == NULL) {
        return QN_OK;
    }
    if (json_string_length(value) == 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s.%s is empty", table, key);
    }
    return qn__task_copy_text(json_string_value(value), out, err);
}

enum qn_status qn__task_require_text(json_t *root, const char *table, const char *key, char **out, struct qn_error *err)
{
    if (json_object_get(root, table) == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the table [%s] is missing", table);
    }
    QN_TRY(qn__task_take_text(root, table, key, out, err));
    return *out != NULL ? QN_OK : qn_error_set(err, QN_ERR_CONFIG, "%s.%s is missing", table, key);
}

enum qn_status qn__task_take_integer(json_t *root, const char *table, const char *key, int64_t low, int64_t high,
                                     int64_t *out, struct qn_error *err)
{
    json_t *value = json_object_get(json_object_get(root, table), key);
    if (value == NULL) {
        return QN_OK;
    }
    int64_t number = json_integer_value(value);
    if (number < low || number > high) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s.%s is %lld; it must be from %lld to %lld", table, key,
                            (long long)number, (long long)low, (long long)high);
    }
    *out = number;
    return QN_OK;
}

enum qn_status qn__task_option_text(const char *path, json_t *value, char number[64], const char **out,
                                    struct qn_error *err)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        *out = json_string_value(value);
        return QN_OK;
    case JSON_INTEGER:
        (void)snprintf(number, 64, "%lld", (long long)json_integer_value(value));
        *out = number;
        return QN_OK;
    case JSON_REAL:
        (void)snprintf(number, 64, "%.15g", json_real_value(value));
        *out = number;
        return QN_OK;
    case JSON_TRUE:
        *out = "true";
        return QN_OK;
    case JSON_FALSE:
        *out = "false";
        return QN_OK;
    default:
        return qn_error_set(err, QN_ERR_CONFIG, "%s is %s; it must be a string, an integer, a float or a boolean", path,
                            qn__task_toml_name(value));
    }
}
