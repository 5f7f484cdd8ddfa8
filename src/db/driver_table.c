/*
 * driver_table.c: the drivers of this process: an array of built-in ones, and those that were registered.
 *
 * Registration happens before other threads use the library (driver.h), so nothing here locks.
 */
#include "db/driver_table.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define QN_DRIVERS_MAX 32 /* registered ones */

static const struct qn_driver *const built_in[] = {
    &qn__driver_postgres,
    &qn__driver_sqlite,
    NULL,
};
static const struct qn_driver *registered[QN_DRIVERS_MAX];
static size_t n_registered;

const struct qn_driver *qn_driver_at(size_t index)
{
    size_t n_built_in = sizeof built_in / sizeof built_in[0] - 1;
    if (index < n_built_in) {
        return built_in[index];
    }
    return index - n_built_in < n_registered ? registered[index - n_built_in] : NULL;
}

static bool has_name(const struct qn_driver *driver, const char *name)
{
    if (qn_text_equal_nocase(driver->name, name)) {
        return true;
    }
    for (size_t i = 0; driver->aliases != NULL && driver->aliases[i] != NULL; i++) {
        if (qn_text_equal_nocase(driver->aliases[i], name)) {
            return true;
        }
    }
    return false;
}

const struct qn_driver *qn_driver_find(const char *name)
{
    const struct qn_driver *driver;
    for (size_t i = 0; (driver = qn_driver_at(i)) != NULL; i++) {
        if (has_name(driver, name)) {
            return driver;
        }
    }
    return NULL;
}

void qn_driver_names(char *out, size_t size)
{
    const struct qn_driver *driver;
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; (driver = qn_driver_at(i)) != NULL && used < size; i++) {
        int wrote = snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", driver->name);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}

/* Names are what a URI scheme may be: that is where they are used. */
static bool is_scheme(const char *name)
{
    if (name == NULL || !qn_ascii_letter(name[0])) {
        return false;
    }
    for (const char *c = name; *c != '\0'; c++) {
        if (!qn_ascii_letter(*c) && !qn_ascii_digit(*c) && *c != '-' && *c != '.') {
            return false;
        }
    }
    return true;
}

static enum qn_status check_name(const char *name, struct qn_error *err)
{
    if (!is_scheme(name)) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "driver: \"%s\" is not a name that a URI scheme may have",
                            name != NULL ? name : "");
    }
    if (qn_driver_find(name) != NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "driver \"%s\": a driver of this name is registered already", name);
    }
    return QN_OK;
}

static enum qn_status check_dialect(const struct qn_driver *driver, struct qn_error *err)
{
    const struct qn_dialect *dialect = driver->dialect;
    const char *missing = NULL;
    if (dialect == NULL) {
        missing = "a dialect";
    } else if (dialect->struct_size < sizeof *dialect) {
        missing = "a dialect of this version's size";
    } else if (dialect->name == NULL) {
        missing = "dialect.name";
    } else if (dialect->placeholder < QN_PLACEHOLDER_DOLLAR || dialect->placeholder > QN_PLACEHOLDER_AT) {
        missing = "dialect.placeholder";
    } else if (dialect->quote_open == '\0' || dialect->quote_close == '\0') {
        missing = "dialect.quote_open and quote_close";
    } else if (dialect->begin[QN_ISOLATION_DEFAULT] == NULL) {
        missing = "dialect.begin";
    } else if (dialect->column_type == NULL) {
        missing = "dialect.column_type";
    }
    if (missing != NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "driver \"%s\" lacks %s", driver->name, missing);
    }
    return QN_OK;
}

static enum qn_status check_functions(const struct qn_driver *driver, struct qn_error *err)
{
    const struct {
        const char *name;
        bool present;
    } required[] = {
        { "open", driver->open != NULL },
        { "close", driver->close != NULL },
        { "abandon", driver->abandon != NULL },
        { "is_open", driver->is_open != NULL },
        { "ping", driver->ping != NULL },
        { "cancel", driver->cancel != NULL },
        { "transaction_state", driver->transaction_state != NULL },
        { "query", driver->query != NULL },
        { "ingest", driver->ingest != NULL },
    };
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        if (!required[i].present) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "driver \"%s\" lacks the required function %s", driver->name,
                                required[i].name);
        }
    }
    return QN_OK;
}

enum qn_status qn_driver_register(const struct qn_driver *driver, struct qn_error *err)
{
    if (driver == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "driver: NULL was given");
    }
    if (driver->struct_size < sizeof *driver || driver->version != QN_DRIVER_VERSION) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "driver: made for version %u of the interface, this library has %d",
                            (unsigned)driver->version, QN_DRIVER_VERSION);
    }
    QN_TRY(check_name(driver->name, err));
    for (size_t i = 0; driver->aliases != NULL && driver->aliases[i] != NULL; i++) {
        QN_TRY(check_name(driver->aliases[i], err));
    }
    QN_TRY(check_dialect(driver, err));
    QN_TRY(check_functions(driver, err));
    if (n_registered == QN_DRIVERS_MAX) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "driver \"%s\": %d drivers are registered, which is the most",
                            driver->name, QN_DRIVERS_MAX);
    }
    registered[n_registered++] = driver;
    return QN_OK;
}
