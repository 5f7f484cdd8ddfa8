/*
 * connection.c: opening, closing, taking and leaving a connection; cancel, forks, reference counts.
 *
 * It owns the state word that connection.h describes. A call takes a reference for as long as it runs, so that an owner
 * who frees a connection while another thread is in it does no harm: the last one out closes. In a forked child nothing
 * is locked, asked or sent.
 */
#include "db/connection.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/config.h"
#include "db/driver_table.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- who has the connection ---- */

enum qn_status qn__connection_check_process(const struct qn_connection *connection, struct qn_error *err)
{
    if (QN_LIKELY(getpid() == connection->pid)) {
        return QN_OK;
    }
    qn_error_set(err, QN_ERR_CLOSED, "the connection belongs to process %ld", (long)connection->pid);
    qn_error_hint(err, "open a connection of its own in every process, after the fork");
    return QN_ERR_CLOSED;
}

/* From IDLE to CALL; QN_ERR_BUSY where somebody else has it. */
static enum qn_status take_idle(struct qn_connection *connection, struct qn_error *err)
{
    int seen = QN_CONNECTION_IDLE;
    if (QN_LIKELY(atomic_compare_exchange_strong(&connection->state, &seen, QN_CONNECTION_CALL))) {
        return QN_OK;
    }
    if (seen == QN_CONNECTION_STREAM) {
        return qn_error_set(err, QN_ERR_BUSY,
                            "the connection has an open stream: read it to its end or close it first");
    }
    qn_error_set(err, QN_ERR_BUSY, "the connection is in use by another thread");
    qn_error_hint(err, "use one connection per thread");
    return QN_ERR_BUSY;
}

/* Take it whether it is idle or has an open stream; false where a call is running. */
static bool take_to_close(struct qn_connection *connection)
{
    int seen = QN_CONNECTION_IDLE;
    if (atomic_compare_exchange_strong(&connection->state, &seen, QN_CONNECTION_CALL)) {
        return true;
    }
    seen = QN_CONNECTION_STREAM;
    return atomic_compare_exchange_strong(&connection->state, &seen, QN_CONNECTION_STREAM_CALL);
}

enum qn_status qn__connection_enter(struct qn_connection *connection, struct qn_error *err)
{
    if (QN_UNLIKELY(connection == NULL)) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the connection is NULL");
    }
    QN_TRY(qn__connection_check_process(connection, err));
    if (QN_UNLIKELY(atomic_load(&connection->closed))) {
        return qn_error_set(err, QN_ERR_CLOSED, "the connection is closed");
    }
    QN_TRY(take_idle(connection, err));
    if (QN_UNLIKELY(connection->handle == NULL)) {
        atomic_store(&connection->state, QN_CONNECTION_IDLE);
        return qn_error_set(err, QN_ERR_CLOSED, "the connection is closed");
    }
    if (QN_UNLIKELY(!connection->driver->is_open(connection->handle))) {
        atomic_store(&connection->state, QN_CONNECTION_IDLE);
        qn_error_set(err, QN_ERR_CONNECTION, "the connection to the database is lost");
        qn_error_hint(err, "open a new one");
        return QN_ERR_CONNECTION;
    }
    qn__connection_ref(connection);
    return QN_OK;
}

/* Close what is open. The caller has the connection. */
static void close_now(struct qn_connection *connection)
{
    qn__result_detach(connection);
    (void)pthread_mutex_lock(&connection->lifetime);
    void *handle = connection->handle;
    connection->handle = NULL;
    (void)pthread_mutex_unlock(&connection->lifetime);
    atomic_store(&connection->closed, true);
    atomic_store(&connection->depth, 0);
    if (handle != NULL) {
        connection->driver->close(handle);
        QN_LOG(QN_LOG_DEBUG, connection->driver->name, "closed");
    }
}

/* Hand the connection back, and close it where its owner has freed it meanwhile: either we see `closing` here, or the
 * owner, who sets it before looking at the state, finds the connection free. */
static void give_back(struct qn_connection *connection)
{
    int next = connection->stream != NULL ? QN_CONNECTION_STREAM : QN_CONNECTION_IDLE;
    atomic_store(&connection->state, next);
    if (QN_UNLIKELY(atomic_load(&connection->closing)) && take_to_close(connection)) {
        close_now(connection);
        atomic_store(&connection->state, QN_CONNECTION_IDLE);
    }
}

void qn__connection_leave(struct qn_connection *connection)
{
    qn__connection_leave_stream(connection);
    qn__connection_unref(connection);
}

void qn__connection_leave_stream(struct qn_connection *connection)
{
    qn__connection_sync_depth(connection);
    give_back(connection);
}

void qn__connection_sync_depth(struct qn_connection *connection)
{
    if (connection->handle == NULL) {
        return;
    }
    bool inside = connection->driver->transaction_state(connection->handle) != QN_TRANSACTION_NONE;
    int depth = atomic_load_explicit(&connection->depth, memory_order_relaxed);
    if (QN_UNLIKELY(inside != (depth > 0))) {
        atomic_store(&connection->depth, inside ? 1 : 0);
    }
}

/* ---- life ---- */

void qn__connection_ref(struct qn_connection *connection)
{
    atomic_fetch_add_explicit(&connection->refs, 1, memory_order_relaxed);
}

void qn__connection_unref(struct qn_connection *connection)
{
    if (atomic_fetch_sub(&connection->refs, 1) != 1) {
        return;
    }
    if (getpid() != connection->pid) {
        /* A call that ran on another thread while the process forked leaves the driver's memory in the middle of a
         * change: then it is left alone. */
        int state = atomic_load(&connection->state);
        if (connection->handle != NULL && (state == QN_CONNECTION_IDLE || state == QN_CONNECTION_STREAM)) {
            connection->driver->abandon(connection->handle);
        }
    } else {
        (void)pthread_mutex_destroy(&connection->lifetime);
    }
    for (size_t i = 0; i < QN_STATEMENT_CACHE; i++) {
        qn__prepared_unref(connection->cache[i]);
    }
    qn_config_free(connection->config);
    qn_free(connection);
}

/* SQLAlchemy's three slashes are a relative path, which surprises: say so where the absolute one is what exists. */
static enum qn_status check_path(const struct qn_config *config, struct qn_error *err)
{
    const char *path = qn_config_get(config, "path");
    const char *last = path != NULL ? strrchr(path, '/') : NULL;
    if (last == NULL || path[0] == '/') {
        return QN_OK;
    }
    qn_auto_free char *folder = qn_malloc((size_t)(last - path) + 2);
    if (folder == NULL) {
        return qn__no_memory(err);
    }
    folder[0] = '/';
    memcpy(folder + 1, path, (size_t)(last - path));
    folder[1 + (last - path)] = '\0';
    struct stat unused;
    bool relative_exists = stat(folder + 1, &unused) == 0;
    if (relative_exists || stat(folder, &unused) != 0) {
        return QN_OK;
    }
    qn_error_set(err, QN_ERR_CONFIG, "\"%s\" is a path from the current folder, where \"%s\" does not exist", path,
                 folder + 1);
    qn_error_hint(err, "an absolute path has four slashes: sqlite:////%s", path);
    return QN_ERR_CONFIG;
}

static enum qn_status new_connection(const struct qn_driver *driver, const struct qn_config *config,
                                     struct qn_connection **out, struct qn_error *err)
{
    struct qn_connection *connection = qn_calloc(1, sizeof *connection);
    if (connection == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_config_copy(config, &connection->config, err);
    if (status == QN_OK && pthread_mutex_init(&connection->lifetime, NULL) != 0) {
        qn_config_free(connection->config);
        status = qn__no_memory(err);
    }
    if (status != QN_OK) {
        qn_free(connection);
        return status;
    }
    connection->driver = driver;
    connection->pid = getpid();
    atomic_init(&connection->refs, 1);
    atomic_init(&connection->state, QN_CONNECTION_IDLE);
    atomic_init(&connection->rows_affected, -1);
    *out = connection;
    return QN_OK;
}

enum qn_status qn_connection_open_config(const struct qn_config *config, struct qn_connection **out,
                                         struct qn_error *err)
{
    if (config == NULL || out == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "opening a connection: NULL was given");
    }
    const char *type = qn_config_get(config, "type");
    const struct qn_driver *driver = type != NULL ? qn_driver_find(type) : NULL;
    if (driver == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "there is no driver for the type \"%s\"", type != NULL ? type : "");
    }
    QN_TRY(check_path(config, err));
    struct qn_connection *connection = NULL;
    QN_TRY(new_connection(driver, config, &connection, err));
    enum qn_status status = qn_config_bool(connection->config, "read_only", false, &connection->read_only, err);
    if (status == QN_OK) {
        status = driver->open(connection->config, &connection->handle, err);
    }
    if (status != QN_OK) {
        connection->handle = NULL;
        qn__connection_unref(connection);
        return status;
    }
    char *uri = NULL;
    if (QN_LOG_INFO >= qn__log_threshold && qn_config_to_uri(config, QN_PASSWORD_MASKED, &uri, NULL) == QN_OK) {
        QN_LOG(QN_LOG_INFO, driver->name, "connected to %s", uri);
        qn_free_text(uri);
    }
    *out = connection;
    return QN_OK;
}

enum qn_status qn_connection_open(const char *uri, struct qn_connection **out, struct qn_error *err)
{
    struct qn_config *config = NULL;
    QN_TRY(qn_config_from_uri(uri, &config, err));
    enum qn_status status = qn_connection_open_config(config, out, err);
    qn_config_free(config);
    return status;
}

enum qn_status qn_connection_close(struct qn_connection *connection, struct qn_error *err)
{
    if (connection == NULL) {
        return QN_OK;
    }
    QN_TRY(qn__connection_check_process(connection, err));
    if (!take_to_close(connection)) {
        return qn_error_set(err, QN_ERR_BUSY, "the connection is in use by another thread");
    }
    close_now(connection);
    atomic_store(&connection->state, QN_CONNECTION_IDLE);
    return QN_OK;
}

void qn_connection_free(struct qn_connection *connection)
{
    if (connection == NULL) {
        return;
    }
    if (getpid() == connection->pid) {
        atomic_store(&connection->closing, true);
        if (take_to_close(connection)) {
            close_now(connection);
            atomic_store(&connection->state, QN_CONNECTION_IDLE);
        }
    }
    qn__connection_unref(connection);
}

bool qn_connection_is_closed(const struct qn_connection *connection)
{
    if (connection == NULL || atomic_load(&connection->closed) || getpid() != connection->pid) {
        return true;
    }
    /* Asking the driver is a call like others; while one is running, the connection is open. */
    struct qn_connection *self = (struct qn_connection *)(uintptr_t)connection;
    if (take_idle(self, NULL) != QN_OK) {
        return false;
    }
    bool open = self->handle != NULL && self->driver->is_open(self->handle);
    give_back(self);
    return !open;
}

bool qn_connection_is_alive(struct qn_connection *connection)
{
    if (qn__connection_enter(connection, NULL) != QN_OK) {
        return false;
    }
    bool alive = connection->driver->ping(connection->handle, NULL) == QN_OK;
    qn__connection_leave(connection);
    return alive;
}

enum qn_status qn_connection_cancel(struct qn_connection *connection, struct qn_error *err)
{
    if (connection == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the connection is NULL");
    }
    QN_TRY(qn__connection_check_process(connection, err));
    if (atomic_load(&connection->closed)) {
        return qn_error_set(err, QN_ERR_CLOSED, "the connection is closed");
    }
    enum qn_status status = QN_OK;
    (void)pthread_mutex_lock(&connection->lifetime);
    if (connection->handle != NULL && atomic_load(&connection->state) != QN_CONNECTION_IDLE) {
        status = connection->driver->cancel(connection->handle, err);
    }
    (void)pthread_mutex_unlock(&connection->lifetime);
    return status;
}

const struct qn_config *qn_connection_config(const struct qn_connection *connection)
{
    return connection->config;
}

int64_t qn_connection_rows_affected(const struct qn_connection *connection)
{
    return connection != NULL ? atomic_load(&connection->rows_affected) : -1;
}

int qn_connection_depth(const struct qn_connection *connection)
{
    return connection != NULL ? atomic_load(&connection->depth) : 0;
}
