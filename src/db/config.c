/*
 * config.c: a configuration: keys and values in order of setting, "type" first.
 *
 * Keys are stored under their canonical name. What is a secret (password, and every key with "password", "secret" or
 * "token" in it) never appears in an error; all values are overwritten before their memory is freed. Threads: one at a time.
 */
#include "db/config.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "db/config_entry.h"
#include "db/driver_table.h"

#include <string.h>

static const struct {
    const char *alias, *key;
} aliases[] = {
    { "db_type", "type" },    { "user", "username" },   { "server", "host" },
    { "dbname", "database" }, { "passwd", "password" },
};

static const char *canonical(const char *key)
{
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
        if (qn_text_equal(key, aliases[i].alias)) {
            return aliases[i].key;
        }
    }
    return key;
}

bool qn__config_is_secret(const char *key)
{
    return strstr(key, "password") != NULL || strstr(key, "secret") != NULL || strstr(key, "token") != NULL;
}

static void free_value(char *value)
{
    qn_free_secret(value, value != NULL ? strlen(value) : 0);
}

static size_t find(const struct qn_config *config, const char *key)
{
    size_t i = 0;
    while (i < config->n && !qn_text_equal(config->entries[i].key, key)) {
        i++;
    }
    return i;
}

static void drop(struct qn_config *config, size_t index)
{
    qn_free(config->entries[index].key);
    free_value(config->entries[index].value);
    config->n--;
    memmove(&config->entries[index], &config->entries[index + 1], (config->n - index) * sizeof config->entries[0]);
}

static enum qn_status put(struct qn_config *config, const char *key, const char *value, struct qn_error *err)
{
    size_t at = find(config, key);
    if (at == QN_CONFIG_MAX_KEYS) {
        return qn_error_set(err, QN_ERR_CONFIG, "a configuration has at most %d keys", QN_CONFIG_MAX_KEYS);
    }
    char *copy = qn_strdup(value);
    char *name = at == config->n ? qn_strdup(key) : NULL;
    if (copy == NULL || (at == config->n && name == NULL)) {
        free_value(copy);
        qn_free(name);
        return qn__no_memory(err);
    }
    if (at == config->n) {
        config->entries[config->n++].key = name;
    } else {
        free_value(config->entries[at].value);
    }
    config->entries[at].value = copy;
    return QN_OK;
}

static enum qn_status put_type(struct qn_config *config, const char *type, struct qn_error *err)
{
    const struct qn_driver *driver = qn_driver_find(type);
    if (driver == NULL) {
        char names[512];
        qn_driver_names(names, sizeof names);
        return qn_error_set(err, QN_ERR_CONFIG, "the database type \"%s\" is unknown; known are: %s", type, names);
    }
    return put(config, "type", driver->name, err);
}

/* A port, or several with commas between them (empty ones mean the default) for as many hosts. */
static enum qn_status check_port(const char *value, struct qn_error *err)
{
    const char *at = value;
    for (;;) {
        char number[8];
        size_t size = strcspn(at, ",");
        bool fits = size < sizeof number;
        memcpy(number, at, fits ? size : 0);
        number[fits ? size : 0] = '\0';
        long long port;
        bool empty_of_several = size == 0 && strchr(value, ',') != NULL;
        if (!empty_of_several && (!fits || !qn_text_to_int64(number, 1, 65535, &port))) {
            return qn_error_set(err, QN_ERR_CONFIG, "port: \"%s\" is not a number from 1 to 65535", value);
        }
        if (at[size] == '\0') {
            return QN_OK;
        }
        at += size + 1;
    }
}

enum qn_status qn_config_set(struct qn_config *config, const char *key, const char *value, struct qn_error *err)
{
    if (config == NULL || key == NULL || key[0] == '\0') {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a configuration's key may not be empty");
    }
    if (!qn_utf8_valid(key, strlen(key)) || (value != NULL && !qn_utf8_valid(value, strlen(value)))) {
        return qn_error_set(err, QN_ERR_CONFIG, "the key or the value of a configuration is not valid UTF-8");
    }
    key = canonical(key);
    if (qn_text_equal(key, "type")) {
        return value != NULL ? put_type(config, value, err)
                             : qn_error_set(err, QN_ERR_CONFIG, "a configuration cannot be without its type");
    }
    if (value == NULL) {
        size_t at = find(config, key);
        if (at < config->n) {
            drop(config, at);
        }
        return QN_OK;
    }
    if (qn_text_equal(key, "port")) {
        QN_TRY(check_port(value, err));
    }
    return put(config, key, value, err);
}

enum qn_status qn_config_new(const char *type, struct qn_config **out, struct qn_error *err)
{
    if (type == NULL || out == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a configuration needs a type");
    }
    struct qn_config *config = qn_calloc(1, sizeof *config);
    if (config == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = put_type(config, type, err);
    if (status != QN_OK) {
        qn_config_free(config);
        return status;
    }
    *out = config;
    return QN_OK;
}

enum qn_status qn_config_copy(const struct qn_config *config, struct qn_config **out, struct qn_error *err)
{
    struct qn_config *copy = qn_calloc(1, sizeof *copy);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < config->n; i++) {
        enum qn_status status = put(copy, config->entries[i].key, config->entries[i].value, err);
        if (status != QN_OK) {
            qn_config_free(copy);
            return status;
        }
    }
    *out = copy;
    return QN_OK;
}

const char *qn_config_get(const struct qn_config *config, const char *key)
{
    if (config == NULL || key == NULL) {
        return NULL;
    }
    size_t at = find(config, canonical(key));
    return at < config->n ? config->entries[at].value : NULL;
}

bool qn_config_at(const struct qn_config *config, size_t index, const char **key_out, const char **value_out)
{
    if (config == NULL || index >= config->n) {
        return false;
    }
    *key_out = config->entries[index].key;
    *value_out = config->entries[index].value;
    return true;
}

void qn_config_free(struct qn_config *config)
{
    if (config == NULL) {
        return;
    }
    while (config->n > 0) {
        drop(config, config->n - 1);
    }
    qn_free(config);
}

/* ---- typed readers ---- */

static enum qn_status wrong_value(const char *key, const char *value, const char *expected, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_CONFIG, "%s: \"%s\" is not %s", key, qn__config_is_secret(key) ? "***" : value,
                        expected);
}

enum qn_status qn_config_bool(const struct qn_config *config, const char *key, bool fallback, bool *out,
                              struct qn_error *err)
{
    const char *value = qn_config_get(config, key);
    if (value == NULL) {
        *out = fallback;
        return QN_OK;
    }
    bool parsed;
    if (!qn_text_to_bool(value, &parsed)) {
        return wrong_value(key, value, "true or false", err);
    }
    *out = parsed;
    return QN_OK;
}

enum qn_status qn_config_int64(const struct qn_config *config, const char *key, int64_t fallback, int64_t low,
                               int64_t high, int64_t *out, struct qn_error *err)
{
    const char *value = qn_config_get(config, key);
    if (value == NULL) {
        *out = fallback;
        return QN_OK;
    }
    long long parsed;
    if (!qn_text_to_int64(value, low, high, &parsed)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s: \"%s\" is not a number from %lld to %lld", key,
                            qn__config_is_secret(key) ? "***" : value, (long long)low, (long long)high);
    }
    *out = parsed;
    return QN_OK;
}

/* Milliseconds of a unit's text; 0 where it is unknown. */
static int64_t unit_ms(const char *unit)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "min", 60000 }, { "h", 3600000 } };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (qn_text_equal(unit, units[i].name)) {
            return units[i].ms;
        }
    }
    return 0;
}

/* "12", "1.5s": exact in milliseconds, at most about 24 days, so that it fits every API that takes a time limit. */
static bool parse_duration(const char *text, int64_t *out)
{
    int64_t whole = 0, fraction = 0, divisor = 1;
    const char *at = text;
    for (; qn_ascii_digit(*at) && whole < INT32_MAX; at++) {
        whole = whole * 10 + (*at - '0');
    }
    if (at == text) {
        return false;
    }
    if (*at == '.') {
        const char *first = ++at;
        for (; qn_ascii_digit(*at) && divisor < 1000000000; at++) {
            fraction = fraction * 10 + (*at - '0');
            divisor *= 10;
        }
        if (at == first) {
            return false;
        }
    }
    int64_t unit = unit_ms(at);
    if (unit == 0 || fraction * unit % divisor != 0) {
        return false;
    }
    int64_t ms = whole * unit + fraction * unit / divisor;
    if (ms > INT32_MAX) {
        return false;
    }
    *out = ms;
    return true;
}

enum qn_status qn_config_duration_ms(const struct qn_config *config, const char *key, int64_t fallback, int64_t *out,
                                     struct qn_error *err)
{
    const char *value = qn_config_get(config, key);
    if (value == NULL) {
        *out = fallback;
        return QN_OK;
    }
    int64_t parsed;
    if (!parse_duration(value, &parsed)) {
        return wrong_value(key, value, "a time such as 30, 1.5, 500ms, 30s or 5m, of at most 24 days", err);
    }
    *out = parsed;
    return QN_OK;
}
