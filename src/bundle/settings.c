/*
 * settings.c: configuration: set on the handle, passed at opening, of the environment, stored in the bundle, in this order.
 *
 * A key is "section.key"; in the environment QANAT_SECTION_KEY. The section "system" is for whoever runs the engine: it is
 * never written to a bundle nor read from one, so that a bundle of a stranger cannot grant itself rights. Threads: see
 * bundle_private.h.
 */
#include "base/memory.h"
#include "base/text.h"
#include "bundle/bundle_private.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#define SYSTEM          "system."
#define MAX_KEY         128
#define ENVIRONMENT     "QANAT_"
#define SYSTEM_VARIABLE "QANAT_SYSTEM_"
#define MAX_VARIABLE    (sizeof ENVIRONMENT + MAX_KEY)
#define MIN_TIMEOUT     0.001
#define MAX_TIMEOUT     1e9
#define MAX_DIGITS      15 /* of a number: a double holds them */

static bool key_char(char c)
{
    return qn_ascii_letter(c) || qn_ascii_digit(c) || c == '_' || c == '-';
}

static bool is_system(const char *key)
{
    return strncmp(key, SYSTEM, sizeof SYSTEM - 1) == 0;
}

static const char *const system_keys[] = { "system.allow_external_code", "system.connector_timeout",
                                           "system.fetch_parallel" };
#define N_SYSTEM_KEYS (sizeof system_keys / sizeof *system_keys)

/* The key of the system that is meant, which is `key` itself where there is such a one; NULL: nothing is like it. */
static const char *nearest_system_key(const char *key)
{
    const char *near = NULL;
    size_t least = QN_TEXT_FAR;
    for (size_t i = 0; i < N_SYSTEM_KEYS; i++) {
        size_t far = qn_text_distance(key, system_keys[i]);
        if (far < least && qn_text_is_near(key, far)) {
            least = far;
            near = system_keys[i];
        }
    }
    return near;
}

/* What is mistyped here would be passed over without a word. */
static enum qn_status check_system(const char *key, struct qn_error *err)
{
    const char *near = is_system(key) ? nearest_system_key(key) : key;
    if (near != NULL && qn_text_equal(near, key)) {
        return QN_OK;
    }
    if (near != NULL) {
        qn_error_set(err, QN_ERR_CONFIG, "there is no \"%.80s\" in the configuration; did you mean \"%s\"?", key, near);
    } else {
        qn_error_set(err, QN_ERR_CONFIG, "there is no \"%.80s\" in the configuration", key);
    }
    qn_error_hint(err, "the section \"system\" has %s, %s and %s", system_keys[0] + sizeof SYSTEM - 1,
                  system_keys[1] + sizeof SYSTEM - 1, system_keys[2] + sizeof SYSTEM - 1);
    return QN_ERR_CONFIG;
}

/* "section.key": both of letters, digits, '_' and '-'. */
static enum qn_status check_key(const char *key, struct qn_error *err)
{
    size_t size = strnlen(key, MAX_KEY + 1);
    size_t dots = 0;
    bool good = size <= MAX_KEY && size >= 3 && key[0] != '.' && key[size - 1] != '.';
    for (size_t i = 0; i < size && good; i++) {
        dots += key[i] == '.';
        good = key[i] == '.' || key_char(key[i]);
    }
    if (!good || dots != 1) {
        return qn_error_set(
            err, QN_ERR_CONFIG,
            "\"%.80s\" is not a key of the configuration: it is \"section.key\", of letters, digits, _ and -", key);
    }
    return QN_OK;
}

/* ---- what is passed --------------------------------------------------------------------------------------------- */

static enum qn_status put_entry(json_t *into, const char *section, const char *key, const json_t *value,
                                struct qn_error *err)
{
    char name[2 * MAX_KEY + 2];
    (void)snprintf(name, sizeof name, "%.*s.%.*s", MAX_KEY, section, MAX_KEY, key);
    QN_TRY(check_key(name, err));
    QN_TRY(check_system(name, err));
    json_t *text = NULL;
    switch (json_typeof(value)) {
    case JSON_STRING:
        text = json_string(json_string_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        text = json_string(json_is_true(value) ? "true" : "false");
        break;
    case JSON_INTEGER:
        text = json_sprintf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    default:
        return qn_error_set(err, QN_ERR_CONFIG, "\"%s\" of the configuration is not a text", name);
    }
    return text != NULL && json_object_set_new(into, name, text) == 0 ? QN_OK : qn__no_memory(err);
}

static enum qn_status put_sections(json_t *into, json_t *sections, struct qn_error *err)
{
    const char *section;
    const char *key;
    json_t *keys;
    json_t *value;
    json_object_foreach(sections, section, keys)
    {
        if (!json_is_object(keys)) {
            return qn_error_set(err, QN_ERR_CONFIG, "section \"%.80s\" of the configuration is not an object", section);
        }
        json_object_foreach(keys, key, value)
        {
            QN_TRY(put_entry(into, section, key, value, err));
        }
    }
    return QN_OK;
}

enum qn_status qn__bundle_read_config(const char *text, json_t **out, struct qn_error *err)
{
    json_error_t failure;
    json_t *sections = text != NULL ? json_loads(text, JSON_REJECT_DUPLICATES, &failure) : json_object();
    json_t *entries = json_object();
    enum qn_status status = QN_OK;
    if (!json_is_object(sections)) {
        status = qn_error_set(err, QN_ERR_CONFIG,
                              "the configuration is not a JSON object {\"section\": {\"key\": \"text\"}}");
    } else {
        status = entries != NULL ? put_sections(entries, sections, err) : qn__no_memory(err);
    }
    json_decref(sections);
    if (status != QN_OK) {
        json_decref(entries);
        return status;
    }
    *out = entries;
    return QN_OK;
}

/* ---- finding ---------------------------------------------------------------------------------------------------- */

/* The variable of a key: QANAT_SECTION_KEY. */
static void variable_of(const char *key, char out[MAX_VARIABLE])
{
    size_t used = sizeof ENVIRONMENT - 1;
    memcpy(out, ENVIRONMENT, used);
    for (; *key != '\0' && used < MAX_VARIABLE - 1; key++) {
        bool lower = *key >= 'a' && *key <= 'z';
        char c = lower ? (char)(*key - 'a' + 'A') : *key;
        out[used++] = c == '.' || c == '-' ? '_' : c;
    }
    out[used] = '\0';
}

static const char *of_environment(const char *key)
{
    char name[MAX_VARIABLE];
    variable_of(key, name);
    return getenv(name);
}

/* A variable "QANAT_SYSTEM_...=...": what follows the prefix up to the equals sign has to be that of a key. */
static enum qn_status check_variable(const char *variable, struct qn_error *err)
{
    char shown[MAX_VARIABLE];
    char key[MAX_KEY + 1] = SYSTEM;
    char meant[MAX_VARIABLE];
    char keys[N_SYSTEM_KEYS][MAX_VARIABLE];
    size_t used = sizeof SYSTEM - 1;
    size_t size = strcspn(variable, "=");
    for (size_t i = sizeof SYSTEM_VARIABLE - 1; i < size && used < MAX_KEY; i++) {
        key[used++] = qn_ascii_lower(variable[i]);
    }
    key[used] = '\0';
    const char *near = nearest_system_key(key);
    if (near != NULL && qn_text_equal(near, key)) {
        return QN_OK;
    }
    (void)snprintf(shown, sizeof shown, "%.*s", (int)(size < MAX_KEY ? size : MAX_KEY), variable);
    if (near != NULL) {
        variable_of(near, meant);
        qn_error_set(err, QN_ERR_CONFIG, "there is no setting %.80s in the environment; did you mean %s?", shown,
                     meant);
    } else {
        qn_error_set(err, QN_ERR_CONFIG, "there is no setting %.80s in the environment", shown);
    }
    for (size_t i = 0; i < N_SYSTEM_KEYS; i++) {
        variable_of(system_keys[i], keys[i]);
    }
    qn_error_hint(err, "there are %s, %s and %s", keys[0], keys[1], keys[2]);
    return QN_ERR_CONFIG;
}

enum qn_status qn__bundle_check_environment(struct qn_error *err)
{
    for (char *const *variable = environ; variable != NULL && *variable != NULL; variable++) {
        if (strncmp(*variable, SYSTEM_VARIABLE, sizeof SYSTEM_VARIABLE - 1) == 0) {
            QN_TRY(check_variable(*variable, err));
        }
    }
    return QN_OK;
}

/* What the bundle keeps is a JSON text; *out is malloc'ed by qn_. */
static enum qn_status of_bundle(struct qn_bundle *bundle, const char *key, char **out, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    const struct qn_state_entry *entry = qn_bundle_state_object(state, QN_OBJECT_CONFIG, key);
    *out = NULL;
    if (entry == NULL) {
        return QN_OK;
    }
    json_t *value = json_loads(entry->change.value, JSON_DECODE_ANY, NULL);
    if (!json_is_string(value)) {
        json_decref(value);
        return qn_error_set(err, QN_ERR_DATA, "\"%s\" of the bundle's configuration is not a text", key);
    }
    *out = qn_strdup(json_string_value(value));
    json_decref(value);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

/* The value of a key by precedence; *out is NULL where it is set nowhere, else the caller's (qn_free). */
static enum qn_status find_config(struct qn_bundle *bundle, const char *key, char **out, struct qn_error *err)
{
    QN_TRY(check_key(key, err));
    QN_TRY(check_system(key, err));
    const char *text = json_string_value(json_object_get(bundle->set_config, key));
    if (text == NULL) {
        text = json_string_value(json_object_get(bundle->given_config, key));
    }
    if (text == NULL) {
        text = of_environment(key);
    }
    if (text == NULL && !is_system(key)) {
        return of_bundle(bundle, key, out, err);
    }
    char *copy = qn_strdup(text);
    if (text != NULL && copy == NULL) {
        return qn__no_memory(err);
    }
    *out = copy;
    return QN_OK;
}

enum qn_status qn__bundle_flag(struct qn_bundle *bundle, const char *key, bool otherwise, bool *out,
                               struct qn_error *err)
{
    qn_auto_free char *text = NULL;
    QN_TRY(find_config(bundle, key, &text, err));
    bool value = otherwise;
    if (text != NULL && !qn_text_to_bool(text, &value)) {
        return qn_error_set(err, QN_ERR_CONFIG, "\"%s\" of the configuration is \"%.40s\", which is not true or false",
                            key, text);
    }
    *out = value;
    return QN_OK;
}

/* Digits, and where present a point and digits, whatever the locale. */
static bool parse_number(const char *text, double *out)
{
    double value = 0;
    double unit = 0; /* of the next digit behind the point; 0: before it */
    size_t digits = 0;
    for (; *text != '\0'; text++) {
        if (*text == '.' && unit == 0 && digits > 0) {
            unit = 0.1;
        } else if (!qn_ascii_digit(*text) || digits++ == MAX_DIGITS) {
            return false;
        } else if (unit == 0) {
            value = value * 10 + (*text - '0');
        } else {
            value += (*text - '0') * unit;
            unit /= 10;
        }
    }
    *out = value;
    return digits > 0;
}

enum qn_status qn__bundle_number(struct qn_bundle *bundle, const char *key, double low, double high, double otherwise,
                                 double *out, struct qn_error *err)
{
    qn_auto_free char *text = NULL;
    QN_TRY(find_config(bundle, key, &text, err));
    double value = otherwise;
    if (text != NULL && (!parse_number(text, &value) || value < low || value > high)) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "\"%s\" of the configuration is \"%.40s\", which is not a number from %g to %g", key, text,
                            low, high);
    }
    *out = value;
    return QN_OK;
}

enum qn_status qn__bundle_timeout(struct qn_bundle *bundle, double otherwise, double *out, struct qn_error *err)
{
    return qn__bundle_number(bundle, "system.connector_timeout", MIN_TIMEOUT, MAX_TIMEOUT, otherwise, out, err);
}

enum qn_status qn_bundle_config(struct qn_bundle *bundle, const char *key, char **out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = find_config(bundle, key, out, err);
    qn__bundle_leave(bundle);
    return status;
}

/* ---- setting ---------------------------------------------------------------------------------------------------- */

static enum qn_status store(struct qn_bundle *bundle, const char *key, const char *value, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    if (value == NULL && qn_bundle_state_object(state, QN_OBJECT_CONFIG, key) == NULL) {
        return QN_OK;
    }
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_commit_put_text(&text, value != NULL ? value : "");
    QN_TRY(qn_buffer_check(&text, "a value of the configuration", err));
    const struct qn_change change = { .kind = value != NULL ? QN_CHANGE_SET : QN_CHANGE_UNSET,
                                      .object = QN_OBJECT_CONFIG,
                                      .name = key,
                                      .value = value != NULL ? qn_buffer_text(&text) : NULL };
    QN_TRY(qn__bundle_begin(bundle, "set_config", err));
    return qn__bundle_close(bundle, qn__bundle_add(bundle, &change, NULL, err));
}

static enum qn_status set(struct qn_bundle *bundle, const char *key, const char *value, bool stored,
                          struct qn_error *err)
{
    QN_TRY(check_key(key, err));
    QN_TRY(check_system(key, err));
    if (stored && is_system(key)) {
        qn_error_set(err, QN_ERR_CONFIG, "\"%s\" is not kept in a bundle: it is for whoever runs the engine to decide",
                     key);
        qn_error_hint(err, "set it without storing it, pass it at opening, or set the environment variable");
        return QN_ERR_CONFIG;
    }
    json_t *text = value != NULL ? json_string(value) : NULL;
    if (value != NULL && text == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the value of \"%s\" is not UTF-8", key);
    }
    enum qn_status status = stored ? store(bundle, key, value, err) : QN_OK;
    if (status == QN_OK && text != NULL) {
        return json_object_set_new(bundle->set_config, key, text) == 0 ? QN_OK : qn__no_memory(err);
    }
    json_decref(text);
    if (status == QN_OK) {
        (void)json_object_del(bundle->set_config, key); /* it may not be there */
    }
    return status;
}

enum qn_status qn_bundle_set_config(struct qn_bundle *bundle, const char *key, const char *value, bool stored,
                                    struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, stored ? QN__BUNDLE_CHANGES : QN__BUNDLE_READS, err));
    enum qn_status status = set(bundle, key, value, stored, err);
    qn__bundle_leave(bundle);
    return status;
}
