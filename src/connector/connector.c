/*
 * connector.c: connectors opened by their URI, and the calls that are nothing but calls.
 *
 * Opening decides what may run: a runtime that runs code from outside needs the caller's word, and arguments are held to
 * what every connector can take: an object of texts without the protocol's own names. Threads: connector_private.h.
 */
#include "connector/connector_private.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "connector/record.h"
#include "connector/registry.h"
#include "wire/rpc.h"

#include <math.h>
#include <qanat/plugin/driver.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT   300.0 /* seconds */
#define DEFAULT_PROCESSES 16
#define DEFAULT_RETRIES   3
#define MAX_PROCESSES     1024
#define MAX_TIMEOUT       1e9 /* seconds; more is a mistake */
#define TURN_SLICE_MS     50

/* ---- texts ---- */

void qn_text_free(char *text)
{
    free(text); /* runtimes make them with malloc */
}

void qn__shown_name(const char *text, char out[QN__SHOWN_NAME])
{
    size_t size = strlen(text);
    size_t shown = size < QN__SHOWN_NAME ? size : QN__SHOWN_NAME - 4;
    bool cut = shown < size;
    size_t used = 0;
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)text[i];
        out[used++] = c < 0x20 || c == 0x7f ? '?' : text[i];
    }
    for (size_t at = 0; (at += qn_utf8_valid_prefix(out + at, used - at)) < used;) {
        if (cut && used - at < 4) {
            used = at; /* the beginning of a character */
        } else {
            out[at] = '?';
        }
    }
    memcpy(out + used, cut ? "..." : "", cut ? 4 : 1);
}

enum qn_status qn__connector_failed(const struct qn_connector *connector, const char *location, enum qn_status status,
                                    struct qn_error *err)
{
    if (status == QN_ERR_QUERY || status == QN_ERR_CONNECTION || status == QN_ERR_PROTOCOL) {
        status = QN_ERR_CONNECTOR;
    }
    if (err == NULL) {
        return status;
    }
    err->status = status;
    for (char *at = err->message; *at != '\0'; at++) { /* names that came from outside may be in it */
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
    }
    if (location != NULL) {
        char shown[QN__SHOWN_NAME];
        qn__shown_name(location, shown);
        qn_error_prefix(err, "connector \"%s\": location \"%s\"", connector->name, shown);
    } else {
        qn_error_prefix(err, "connector \"%s\"", connector->name);
    }
    return status;
}

/* ---- opening ---- */

/* The runtime that a URI names, and what follows its name. */
static enum qn_status find_runtime(const char *uri, const struct qn_connector_runtime **runtime_out,
                                   const char **entrypoint_out, struct qn_error *err)
{
    char shown[QN__SHOWN_NAME];
    const char *colons = strstr(uri, "::");
    size_t size = colons != NULL ? (size_t)(colons - uri) : strlen(uri);
    const struct qn_connector_runtime *runtime = qn_connector_runtime_find(uri, size);
    qn__shown_name(uri, shown);
    if (runtime == NULL && colons != NULL && size == strlen("python") && memcmp(uri, "python", size) == 0) {
        qn_error_set(err, QN_ERR_UNSUPPORTED, "connector \"%s\": this program has no Python in it", shown);
        qn_error_hint(err, "a Python connector runs in a process of its own as ipc::script.py");
        return QN_ERR_UNSUPPORTED;
    }
    if (runtime == NULL) {
        qn_auto_buffer names = QN_BUFFER_INIT;
        qn_connector_runtime_names(&names);
        enum qn_status status = colons != NULL ? QN_ERR_UNSUPPORTED : QN_ERR_CONFIG;
        qn_error_set(err, status,
                     colons != NULL ? "connector \"%s\": no such runtime; there are %s"
                                    : "connector \"%s\": a connector's URI is runtime::entrypoint; there are %s",
                     shown, qn_buffer_text(&names));
        if (colons == NULL && strpbrk(uri, "./: ") != NULL) {
            qn_error_hint(err, "did you mean \"%s::%s\"?", strchr(uri, ':') != NULL ? "python" : "ipc", shown);
        }
        return status;
    }
    *entrypoint_out = colons != NULL ? colons + 2 : "";
    if (runtime->external && (*entrypoint_out)[strspn(*entrypoint_out, " \t\r\n")] == '\0') {
        return qn_error_set(err, QN_ERR_CONFIG, "connector \"%s\": nothing follows \"%s::\"", shown, runtime->name);
    }
    *runtime_out = runtime;
    return QN_OK;
}

static enum qn_status check_permission(const struct qn_connector_runtime *runtime, const char *uri, bool allowed,
                                       struct qn_error *err)
{
    if (!runtime->external || allowed) {
        return QN_OK;
    }
    char shown[QN__SHOWN_NAME];
    qn__shown_name(uri, shown);
    qn_error_set(err, QN_ERR_FORBIDDEN,
                 "External code execution is disabled: connector \"%s\" would run code from outside", shown);
    qn_error_hint(err, "allow it in the configuration, {\"system\": {\"allow_external_code\": \"true\"}}, or in the "
                       "environment, QANAT_SYSTEM_ALLOW_EXTERNAL_CODE=true");
    return QN_ERR_FORBIDDEN;
}

/* Names that the protocol itself gives to parameters (docs/protocol/connector.md). */
static bool is_reserved(const char *name)
{
    static const char *const reserved[] = { "location", "attached_locations", "_columns", "_filter", "_limit",
                                            "_page",    "_skip_rows" };
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (qn_text_equal(name, reserved[i])) {
            return true;
        }
    }
    return false;
}

static enum qn_status check_arguments(const char *name, const char *text, struct qn_error *err)
{
    qn_auto_json *arguments = NULL;
    char shown[QN__SHOWN_NAME];
    struct qn_error why = QN_ERROR_INIT;
    enum qn_status status = qn_json_parse(text, strlen(text), "the text", &arguments, &why);
    if (status != QN_OK) {
        status = status == QN_ERR_PROTOCOL ? QN_ERR_CONFIG : status;
        return qn_error_set(err, status, "connector \"%s\": arguments: %s", name, why.message);
    }
    if (!json_is_object(arguments)) {
        return qn_error_set(err, QN_ERR_CONFIG, "connector \"%s\": arguments are a JSON object of texts", name);
    }
    for (void *at = json_object_iter(arguments); at != NULL; at = json_object_iter_next(arguments, at)) {
        const char *key = json_object_iter_key(at);
        qn__shown_name(key, shown);
        if (key[0] == '\0' || is_reserved(key)) {
            return qn_error_set(err, QN_ERR_CONFIG, "connector \"%s\": argument \"%s\": %s", name, shown,
                                key[0] == '\0' ? "a name is not empty" : "the name is reserved by the protocol");
        }
        if (!json_is_string(json_object_iter_value(at))) {
            return qn_error_set(err, QN_ERR_CONFIG, "connector \"%s\": argument \"%s\" is not a text", name, shown);
        }
    }
    return QN_OK;
}

static enum qn_status check_options(const struct qn_connector *connector, const struct qn_connector_options *options,
                                    struct qn_error *err)
{
    if (!(options->timeout >= 0 && options->timeout <= MAX_TIMEOUT)) {
        return qn_error_set(err, QN_ERR_CONFIG, "connector \"%s\": timeout %g is not a number of seconds",
                            connector->name, options->timeout);
    }
    if (options->processes < 0 || options->processes > MAX_PROCESSES) {
        return qn_error_set(err, QN_ERR_CONFIG, "connector \"%s\": processes %d is not within 1 and %d",
                            connector->name, options->processes, MAX_PROCESSES);
    }
    if (options->retries < -1) {
        return qn_error_set(err, QN_ERR_CONFIG, "connector \"%s\": retries %d is less than -1", connector->name,
                            options->retries);
    }
    return options->arguments != NULL ? check_arguments(connector->name, options->arguments, err) : QN_OK;
}

static enum qn_status init_locks(struct qn_connector *connector, struct qn_error *err)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) {
        return qn__no_memory(err);
    }
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int failure = pthread_cond_init(&connector->turn_ended, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (failure != 0) {
        return qn__no_memory(err);
    }
    if (pthread_mutex_init(&connector->lock, NULL) != 0) {
        (void)pthread_cond_destroy(&connector->turn_ended);
        return qn__no_memory(err);
    }
    return QN_OK;
}

static void dispose_locks(struct qn_connector *connector)
{
    (void)pthread_mutex_destroy(&connector->lock);
    (void)pthread_cond_destroy(&connector->turn_ended);
}

static enum qn_status open_runtime(struct qn_connector *connector, const char *entrypoint,
                                   const struct qn_connector_options *options, struct qn_error *err)
{
    double timeout = options->timeout > 0 ? options->timeout : DEFAULT_TIMEOUT;
    connector->events = options->events;
    connector->patience_ms = (int64_t)ceil(timeout * 1e3);
    connector->retries = options->retries == 0 ? DEFAULT_RETRIES : options->retries < 0 ? 0 : options->retries;
    const struct qn_connector_opening opening = {
        .struct_size = sizeof opening,
        .name = connector->name,
        .entrypoint = entrypoint,
        .arguments = options->arguments != NULL ? options->arguments : "{}",
        .folder = options->folder,
        .interpreter = options->interpreter,
        .timeout = timeout,
        .processes = options->processes > 0 ? options->processes : DEFAULT_PROCESSES,
        .events = &connector->events,
        .working_folder = options->working_folder,
    };
    QN_TRY(init_locks(connector, err));
    enum qn_status status = connector->runtime->open(connector->runtime->context, &opening, &connector->self, err);
    if (status == QN_OK && options->record != NULL) {
        status = qn_recorder_wrap(options->record, options->name, &opening, &connector->runtime, &connector->self, err);
        if (status != QN_OK) {
            connector->runtime->close(connector->self);
        }
    }
    if (status != QN_OK) {
        dispose_locks(connector);
        return qn__connector_failed(connector, NULL, status, err);
    }
    return QN_OK;
}

enum qn_status qn_connector_open(const char *uri, const struct qn_connector_options *options, struct qn_connector **out,
                                 struct qn_error *err)
{
    static const struct qn_connector_options defaults = QN_CONNECTOR_OPTIONS_INIT;
    const char *entrypoint;
    struct qn_error local = QN_ERROR_INIT;
    err = err != NULL ? err : &local;
    options = options != NULL ? options : &defaults;
    if (uri == NULL || out == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "qn_connector_open: no %s", uri == NULL ? "URI" : "place for it");
    }
    qn_auto_free struct qn_connector *connector = qn_calloc(1, sizeof *connector);
    if (connector == NULL) {
        return qn__no_memory(err);
    }
    connector->references = 1;
    connector->owner = getpid();
    qn__shown_name(options->name != NULL ? options->name : uri, connector->name);
    QN_TRY(find_runtime(uri, &connector->runtime, &entrypoint, err));
    QN_TRY(check_permission(connector->runtime, uri, options->allow_external_code, err));
    QN_TRY(check_options(connector, options, err));
    QN_TRY(open_runtime(connector, entrypoint, options, err));
    *out = qn_steal(&connector);
    return QN_OK;
}

/* ---- its end ---- */

void qn__connector_unref(struct qn_connector *connector)
{
    if (__atomic_sub_fetch(&connector->references, 1, __ATOMIC_ACQ_REL) == 0) {
        dispose_locks(connector);
        qn_free(connector);
    }
}

void qn_connector_free(struct qn_connector *connector)
{
    if (connector == NULL) {
        return;
    }
    if (connector->owner == getpid()) {
        pthread_mutex_lock(&connector->lock);
        connector->closed = true;
        pthread_mutex_unlock(&connector->lock);
        qn__data_close_all(connector);
        connector->runtime->close(connector->self);
        qn__connector_unref(connector);
    }
    /* In another process the locks may be held by threads that are not here: what is left is left. */
}

enum qn_status qn__connector_usable(struct qn_connector *connector, struct qn_error *err)
{
    if (connector->owner != getpid()) {
        return qn_error_set(err, QN_ERR_CLOSED, "connector \"%s\" belongs to another process", connector->name);
    }
    pthread_mutex_lock(&connector->lock);
    bool closed = connector->closed;
    pthread_mutex_unlock(&connector->lock);
    return closed ? qn_error_set(err, QN_ERR_CLOSED, "connector \"%s\" was closed", connector->name) : QN_OK;
}

/* ---- turns ---- */

/* Under the lock: the turn is another thread's. */
static bool is_taken(const struct qn_connector *connector)
{
    return connector->turns > 0 && !pthread_equal(connector->turn, pthread_self());
}

static void take_turn(struct qn_connector *connector)
{
    connector->turn = pthread_self();
    connector->turns++;
}

enum qn_status qn__connector_begin(struct qn_connector *connector, struct qn_error *err)
{
    if (!connector->runtime->one_at_a_time) {
        return QN_OK;
    }
    enum qn_status status = QN_OK;
    pthread_mutex_lock(&connector->lock);
    while (status == QN_OK && is_taken(connector)) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TURN_SLICE_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        if (pthread_cond_timedwait(&connector->turn_ended, &connector->lock, &until) != 0) {
            pthread_mutex_unlock(&connector->lock);
            status = qn_interrupt_poll(err);
            pthread_mutex_lock(&connector->lock);
        }
    }
    if (status == QN_OK) {
        take_turn(connector);
    }
    pthread_mutex_unlock(&connector->lock);
    return status;
}

void qn__connector_begin_always(struct qn_connector *connector)
{
    if (connector->runtime->one_at_a_time) {
        pthread_mutex_lock(&connector->lock);
        while (is_taken(connector)) {
            (void)pthread_cond_wait(&connector->turn_ended, &connector->lock);
        }
        take_turn(connector);
        pthread_mutex_unlock(&connector->lock);
    }
}

void qn__connector_end(struct qn_connector *connector)
{
    if (connector->runtime->one_at_a_time) {
        pthread_mutex_lock(&connector->lock);
        connector->turns--;
        (void)pthread_cond_signal(&connector->turn_ended);
        pthread_mutex_unlock(&connector->lock);
    }
}

/* ---- small calls ---- */

enum qn_status qn_connector_can(struct qn_connector *connector, enum qn_capability what, bool *out,
                                struct qn_error *err)
{
    struct qn_error local = QN_ERROR_INIT;
    uint32_t bits = 0;
    err = err != NULL ? err : &local;
    QN_TRY(qn__connector_usable(connector, err));
    if (connector->runtime->capabilities != NULL) {
        QN_TRY(qn__connector_begin(connector, err));
        enum qn_status status = connector->runtime->capabilities(connector->self, &bits, err);
        qn__connector_end(connector);
        if (status != QN_OK) {
            return qn__connector_failed(connector, NULL, status, err);
        }
    }
    *out = (unsigned)what < 32 && (bits >> (unsigned)what & 1U) != 0;
    return QN_OK;
}

enum qn_status qn_connector_stable_url(struct qn_connector *connector, const struct qn_location *location, char **out,
                                       struct qn_error *err)
{
    struct qn_error local = QN_ERROR_INIT;
    struct qn__retries retries = { 0 };
    err = err != NULL ? err : &local;
    QN_TRY(qn__connector_usable(connector, err));
    if (connector->runtime->stable_url == NULL) {
        *out = NULL;
        return QN_OK;
    }
    for (;;) {
        char *url = NULL;
        qn_error_clear(err);
        QN_TRY(qn__connector_begin(connector, err));
        enum qn_status status = connector->runtime->stable_url(connector->self, location, &url, err);
        qn__connector_end(connector);
        if (status == QN_OK) {
            *out = url;
            return QN_OK;
        }
        err->status = status;
        if (!qn__connector_retry(connector, &retries, err)) {
            return qn__connector_failed(connector, location->location, err->status, err);
        }
    }
}

enum qn_status qn_connector_describe(struct qn_connector *connector, char **out, struct qn_error *err)
{
    struct qn_error local = QN_ERROR_INIT;
    char *text = NULL;
    err = err != NULL ? err : &local;
    QN_TRY(qn__connector_usable(connector, err));
    if (connector->runtime->describe != NULL) {
        QN_TRY(qn__connector_begin(connector, err));
        enum qn_status status = connector->runtime->describe(connector->self, &text, err);
        qn__connector_end(connector);
        if (status != QN_OK) {
            return qn__connector_failed(connector, NULL, status, err);
        }
    }
    if (text == NULL) {
        qn_auto_json *nothing =
            json_pack("{s:s, s:{}, s:[], s:n}", "name", connector->name, "arguments", "capabilities", "protocol");
        text = nothing != NULL ? json_dumps(nothing, JSON_COMPACT) : NULL;
        if (text == NULL) {
            return qn__no_memory(err);
        }
    }
    *out = text;
    return QN_OK;
}
