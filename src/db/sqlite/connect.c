/*
 * connect.c (sqlite): opening and closing a database file, and what stops a statement: cancel, deadlines, interrupts.
 *
 * Paths are opened as given: a name that begins with "file:" is a file of that name, not a URI. The schema version is read at
 * open, so that a file that is no database, a directory or a missing file is an error of the connect.
 *
 * A statement is stopped by the progress handler (every PROGRESS_STEPS instructions of SQLite's machine, about 10 us) and,
 * while it waits for a lock, by the busy handler; both look at the cancel flag and the deadlines and ask the interrupt
 * callback every POLL_NANOS. The reason is kept in `stop`, where error.c finds it.
 *
 * Threads: qn_sqlite_cancel alone comes from other threads. It only counts while a statement runs.
 */
#include "db/sqlite/sqlite.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/config.h"
#include "os/clock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_STEPS  1000
#define POLL_NANOS      INT64_C(40000000)
#define BUSY_NAP_MAX_MS 20
#define TIMEOUT_MAX_MS  INT64_C(31536000000) /* a year */

/* ---- stopping ---- */

/* True where the running statement has to end; the reason is in `stop`. */
static bool must_stop(struct qn_sqlite *self)
{
    if (atomic_load_explicit(&self->cancelled, memory_order_relaxed)) {
        self->stop = QN_SQLITE_CANCELLED;
        return true;
    }
    int64_t now = qn_clock_nanos();
    if (now >= self->deadline) {
        self->stop = QN_SQLITE_TIMED_OUT;
        return true;
    }
    if (now >= self->next_poll) {
        self->next_poll = now + POLL_NANOS;
        if (qn_interrupt_poll(&self->stop_error) != QN_OK) {
            self->stop = QN_SQLITE_INTERRUPTED;
            return true;
        }
    }
    return false;
}

static int on_progress(void *context)
{
    return must_stop(context);
}

/* Called by SQLite while another connection holds a lock: wait a little (0 ends the wait with SQLITE_BUSY). */
static int on_busy(void *context, int count)
{
    struct qn_sqlite *self = context;
    if (count == 0) {
        self->busy_deadline = qn_clock_nanos() + self->busy_timeout_ms * 1000000;
        QN_LOG(QN_LOG_DEBUG, "sqlite", "waiting for a lock of \"%s\"", self->path);
    }
    if (must_stop(self) || qn_clock_nanos() >= self->busy_deadline) {
        return 0;
    }
    int64_t nap = count < 4 ? 1 : count * 2;
    nap = nap > BUSY_NAP_MAX_MS ? BUSY_NAP_MAX_MS : nap;
    struct timespec pause = { .tv_sec = 0, .tv_nsec = (long)nap * 1000000 };
    (void)nanosleep(&pause, NULL); /* cut short by a signal: the next call looks again */
    return 1;
}

void qn_sqlite_run_begin(struct qn_sqlite *self, int64_t timeout_ms)
{
    int64_t now = qn_clock_nanos();
    self->stop = QN_SQLITE_GOES_ON;
    self->deadline = qn_deadline_after_ms(timeout_ms > 0 ? timeout_ms : self->statement_timeout_ms);
    self->next_poll = now + POLL_NANOS;
    pthread_mutex_lock(&self->lock);
    atomic_store_explicit(&self->cancelled, false, memory_order_relaxed);
    self->running = true;
    pthread_mutex_unlock(&self->lock);
}

void qn_sqlite_run_end(struct qn_sqlite *self)
{
    pthread_mutex_lock(&self->lock);
    self->running = false;
    pthread_mutex_unlock(&self->lock);
    self->deadline = QN_NO_DEADLINE;
}

enum qn_status qn_sqlite_cancel(void *connection, struct qn_error *err)
{
    struct qn_sqlite *self = connection;
    (void)err;
    pthread_mutex_lock(&self->lock);
    if (self->running) {
        atomic_store_explicit(&self->cancelled, true, memory_order_relaxed);
        sqlite3_interrupt(self->db);
    }
    pthread_mutex_unlock(&self->lock);
    return QN_OK;
}

enum qn_status qn_sqlite_exec(struct qn_sqlite *self, const char *sql, struct qn_error *err)
{
    int code = sqlite3_exec(self->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? QN_OK : qn_sqlite_error(self, code, sql, err);
}

/* ---- options ---- */

struct open_options {
    const char *path;
    bool read_only, create, immutable, foreign_keys, has_foreign_keys;
    int64_t mmap_size;
};

/* Keys that the engine itself or every driver has; the rest would be a mistake that nobody sees. */
static enum qn_status refuse_unknown_keys(const struct qn_config *config, struct qn_error *err)
{
    static const char *const known[] = {
        "type",   "path",      "database",     "timeout",   "statement_timeout", "read_only",
        "create", "immutable", "foreign_keys", "mmap_size", "application_name",  "pool_size"
    };
    const char *key, *value;
    for (size_t i = 0; qn_config_at(config, i, &key, &value); i++) {
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof known[0] && !found; k++) {
            found = qn_text_equal(key, known[k]);
        }
        if (!found) {
            (void)qn_error_set(err, QN_ERR_CONFIG, "sqlite has no option \"%s\"", key);
            qn_error_hint(err, "options: path, timeout, statement_timeout, read_only, create, immutable, foreign_keys, "
                               "mmap_size");
            return QN_ERR_CONFIG;
        }
    }
    return QN_OK;
}

static enum qn_status read_options(const struct qn_config *config, struct qn_sqlite *self, struct open_options *out,
                                   struct qn_error *err)
{
    QN_TRY(refuse_unknown_keys(config, err));
    out->path = qn_config_get(config, "path");
    if (out->path == NULL) {
        out->path = qn_config_get(config, "database");
    }
    if (out->path == NULL || out->path[0] == '\0') {
        return qn_error_set(err, QN_ERR_CONFIG, "sqlite: no path is given (a file, or \":memory:\")");
    }
    bool memory = qn_text_equal(out->path, ":memory:");
    out->has_foreign_keys = qn_config_get(config, "foreign_keys") != NULL;
    QN_TRY(qn_config_bool(config, "read_only", false, &out->read_only, err));
    QN_TRY(qn_config_bool(config, "create", true, &out->create, err));
    QN_TRY(qn_config_bool(config, "immutable", false, &out->immutable, err));
    QN_TRY(qn_config_bool(config, "foreign_keys", false, &out->foreign_keys, err));
    QN_TRY(qn_config_int64(config, "mmap_size", 0, 0, INT64_C(1) << 40, &out->mmap_size, err));
    QN_TRY(qn_config_duration_ms(config, "timeout", 5000, &self->busy_timeout_ms, err));
    QN_TRY(qn_config_duration_ms(config, "statement_timeout", 0, &self->statement_timeout_ms, err));
    if (memory && (out->read_only || out->immutable || !out->create)) {
        return qn_error_set(err, QN_ERR_CONFIG, "sqlite: a new database in memory cannot be read-only");
    }
    if (self->busy_timeout_ms > TIMEOUT_MAX_MS) {
        self->busy_timeout_ms = TIMEOUT_MAX_MS;
    }
    return QN_OK;
}

/* ---- opening ---- */

static bool is_memory(const char *path)
{
    return qn_text_equal(path, ":memory:");
}

/* The reason why a file cannot be opened, in better words than "unable to open database file". */
static enum qn_status check_file(const struct open_options *options, struct qn_error *err)
{
    struct stat info;
    const char *path = options->path;
    if (is_memory(path)) {
        return QN_OK;
    }
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode)) {
            return qn_error_set(err, QN_ERR_CONNECTION, "\"%s\" is a directory, not a database file", path);
        }
        if (access(path, R_OK) != 0) {
            return qn_error_set(err, QN_ERR_CONNECTION, "\"%s\" cannot be read: %s", path, strerror(errno));
        }
        return QN_OK;
    }
    int reason = errno;
    if (reason == ENOENT && options->create && !options->read_only && !options->immutable) {
        return QN_OK; /* SQLite makes it, or says that the folder is missing */
    }
    (void)qn_error_set(err, QN_ERR_CONNECTION, "\"%s\" cannot be opened: %s", path, strerror(reason));
    if (reason == ENOENT && !options->create) {
        qn_error_hint(err, "create=true makes a missing file");
    }
    return QN_ERR_CONNECTION;
}

/* "file:" + the path percent-encoded + "?immutable=1": the one option that only a URI can carry. */
static void immutable_uri(const char *path, struct qn_buffer *out)
{
    qn_buffer_append_text(out, "file:");
    for (const char *at = path; *at; at++) {
        bool plain = qn_ascii_letter(*at) || qn_ascii_digit(*at) || strchr("/._-", *at) != NULL;
        if (plain) {
            qn_buffer_append_byte(out, *at);
        } else {
            qn_buffer_printf(out, "%%%02X", (unsigned)(unsigned char)*at);
        }
    }
    qn_buffer_append_text(out, "?mode=ro&immutable=1");
}

static enum qn_status open_file(struct qn_sqlite *self, const struct open_options *options, struct qn_error *err)
{
    qn_auto_buffer name = QN_BUFFER_INIT;
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (options->immutable) {
        immutable_uri(options->path, &name);
        flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
    } else {
        /* a library that is built to read URIs everywhere would take this for one */
        qn_buffer_printf(&name, "%s%s", strncmp(options->path, "file:", 5) == 0 ? "./" : "", options->path);
        flags |= options->read_only ? SQLITE_OPEN_READONLY
                 : options->create  ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                    : SQLITE_OPEN_READWRITE;
    }
    QN_TRY(qn_buffer_check(&name, "the path", err));
    int code = sqlite3_open_v2(name.data, &self->db, flags, NULL);
    if (self->db == NULL) {
        return qn__no_memory(err);
    }
    if (code != SQLITE_OK) {
        int reason = sqlite3_system_errno(self->db);
        return qn_error_set(err, QN_ERR_CONNECTION, "\"%s\" cannot be opened: %s", options->path,
                            reason != 0 ? strerror(reason) : sqlite3_errmsg(self->db));
    }
    return QN_OK;
}

/* Settings, and the first look into the file. */
static enum qn_status set_up(struct qn_sqlite *self, const struct open_options *options, struct qn_error *err)
{
    sqlite3_progress_handler(self->db, PROGRESS_STEPS, on_progress, self);
    sqlite3_busy_handler(self->db, on_busy, self);
    sqlite3_db_config(self->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    qn_sqlite_run_begin(self, 0);
    enum qn_status status = qn_sqlite_exec(self, "pragma schema_version", err);
    if (status == QN_OK && options->has_foreign_keys) {
        status =
            qn_sqlite_exec(self, options->foreign_keys ? "pragma foreign_keys=on" : "pragma foreign_keys=off", err);
    }
    if (status == QN_OK && options->mmap_size > 0) {
        char sql[64];
        (void)snprintf(sql, sizeof sql, "pragma mmap_size=%lld", (long long)options->mmap_size);
        status = qn_sqlite_exec(self, sql, err);
    }
    qn_sqlite_run_end(self);
    if (status != QN_OK && status != QN_ERR_NO_MEMORY && status != QN_ERR_CANCELLED && status != QN_ERR_TIMEOUT) {
        status = QN_ERR_CONNECTION; /* whatever the first look met, the database cannot be reached */
        if (err != NULL) {
            err->status = status;
        }
    }
    return status;
}

enum qn_status qn_sqlite_open(const struct qn_config *config, void **connection_out, struct qn_error *err)
{
    struct open_options options = { .path = NULL };
    struct qn_sqlite *self = qn_calloc(1, sizeof *self);
    if (self == NULL) {
        return qn__no_memory(err);
    }
    atomic_init(&self->cancelled, false);
    pthread_mutex_init(&self->lock, NULL);
    enum qn_status status = read_options(config, self, &options, err);
    if (status == QN_OK) {
        self->path = qn_strdup(options.path);
        status = self->path != NULL ? check_file(&options, err) : qn__no_memory(err);
    }
    if (status == QN_OK) {
        status = open_file(self, &options, err);
    }
    if (status == QN_OK) {
        status = set_up(self, &options, err);
    }
    if (status != QN_OK) {
        qn_sqlite_close(self);
        return status;
    }
    QN_LOG(QN_LOG_INFO, "sqlite", "opened \"%s\"", self->path);
    *connection_out = self;
    return QN_OK;
}

static void free_self(struct qn_sqlite *self)
{
    pthread_mutex_destroy(&self->lock);
    qn_free(self->path);
    qn_free(self);
}

void qn_sqlite_close(void *connection)
{
    struct qn_sqlite *self = connection;
    qn_sqlite_statements_clear(self);
    (void)sqlite3_close_v2(self->db); /* NULL is allowed */
    free_self(self);
}

/* Closing in the child of a fork would drop locks, checkpoint or delete the journal under the parent's feet: SQLite's own
 * handle, its statements and its descriptors are left alone on purpose, and leak. */
void qn_sqlite_abandon(void *connection)
{
    struct qn_sqlite *self = connection;
    for (int i = 0; i < QN_SQLITE_CACHED_STATEMENTS; i++) {
        qn_free(self->statements[i].sql);
        qn_sqlite_plan_unref(self->statements[i].plan);
    }
    free_self(self);
}

bool qn_sqlite_is_open(const void *connection)
{
    (void)connection;
    return true; /* a file does not hang up */
}

enum qn_status qn_sqlite_ping(void *connection, struct qn_error *err)
{
    struct qn_sqlite *self = connection;
    qn_sqlite_run_begin(self, 0);
    enum qn_status status = qn_sqlite_exec(self, "pragma schema_version", err);
    qn_sqlite_run_end(self);
    return status;
}

enum qn_transaction_state qn_sqlite_transaction_state(const void *connection)
{
    const struct qn_sqlite *self = connection;
    return sqlite3_get_autocommit(self->db) ? QN_TRANSACTION_NONE : QN_TRANSACTION_OPEN;
}
