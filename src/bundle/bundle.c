/*
 * bundle.c: handles of bundles: made, opened at a version, used by one thread at a time, freed.
 *
 * A handle keeps its folder open, so that it goes on where the folder is moved, and the log's entries up to the version that
 * it shows; the state is read when it is first needed. Threads: see bundle_private.h.
 */
#include "base/calendar.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/bundle_private.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_NUMBER_DIGITS 18 /* of a version in a text */

/* ---- use -------------------------------------------------------------------------------------------------------- */

enum qn_status qn__bundle_enter(struct qn_bundle *bundle, enum qn__bundle_use use, struct qn_error *err)
{
    if (bundle->owner != getpid()) {
        return qn_error_set(err, QN_ERR_CLOSED, "the bundle was opened by another process, before a fork");
    }
    if (atomic_flag_test_and_set_explicit(&bundle->in_use, memory_order_acquire)) {
        return qn_error_set(err, QN_ERR_BUSY, "the bundle is in use by another thread");
    }
    if (use == QN__BUNDLE_CHANGES && bundle->read_only) {
        qn__bundle_leave(bundle);
        qn_error_set(err, QN_ERR_CONFIG,
                     "the bundle was opened at version %lld, which is not the newest: it is read-only",
                     (long long)bundle->version);
        qn_error_hint(err, "open it without a version to change it");
        return QN_ERR_CONFIG;
    }
    return QN_OK;
}

void qn__bundle_leave(struct qn_bundle *bundle)
{
    atomic_flag_clear_explicit(&bundle->in_use, memory_order_release);
}

int64_t qn_bundle_version(const struct qn_bundle *bundle)
{
    return bundle->version;
}

void qn_bundle_free(struct qn_bundle *bundle)
{
    if (bundle == NULL) {
        return;
    }
    qn__pending_clear(bundle);
    qn_free(bundle->operations);
    qn__bundle_drop_state(bundle);
    qn_commit_log_free(bundle->log);
    if (bundle->fd >= 0) {
        (void)close(bundle->fd);
    }
    json_decref(bundle->given_config);
    json_decref(bundle->set_config);
    json_decref(bundle->temporary);
    json_decref(bundle->folders);
    qn_free(bundle->interpreter);
    free(bundle->path); /* realpath's */
    qn_free(bundle);
}

/* ---- making a handle -------------------------------------------------------------------------------------------- */

/* A member of the options, where the caller's struct is long enough to have it. */
#define OPTION(options, member)                                                                                        \
    ((options) != NULL &&                                                                                              \
             (options)->struct_size >= offsetof(struct qn_bundle_options, member) + sizeof(options)->member            \
         ? (options)->member                                                                                           \
         : NULL)

static enum qn_status open_folder(struct qn_bundle *bundle, const char *path, struct qn_error *err)
{
    bundle->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (bundle->fd < 0) {
        bool none = errno == ENOENT || errno == ENOTDIR;
        return none ? qn_error_set(err, QN_ERR_CONFIG, "there is no bundle: no such folder")
                    : qn_error_set(err, QN_ERR_IO, "opening the folder: %m");
    }
    bundle->path = realpath(path, NULL);
    if (bundle->path == NULL) {
        return qn_error_set(err, QN_ERR_IO, "finding the folder: %m");
    }
    return QN_OK;
}

/* A handle without its folder: whatever is wrong with the options is told before anything is made. */
static enum qn_status new_handle(const struct qn_bundle_options *options, struct qn_bundle **out, struct qn_error *err)
{
    struct qn_bundle *bundle = qn_calloc(1, sizeof *bundle);
    if (bundle == NULL) {
        return qn__no_memory(err);
    }
    bundle->fd = bundle->lock_fd = -1;
    bundle->owner = getpid();
    atomic_flag_clear(&bundle->in_use);
    bundle->set_config = json_object();
    bundle->temporary = json_object();
    bundle->folders = json_object();
    const char *interpreter = OPTION(options, interpreter);
    bundle->interpreter = qn_strdup(interpreter);
    enum qn_status status = QN_OK;
    if (bundle->set_config == NULL || bundle->temporary == NULL || bundle->folders == NULL ||
        (interpreter != NULL && bundle->interpreter == NULL)) {
        status = qn__no_memory(err);
    }
    if (status == QN_OK) {
        status = qn__bundle_read_config(OPTION(options, config), &bundle->given_config, err);
    }
    if (status == QN_OK) {
        status = qn__bundle_check_environment(err);
    }
    if (status != QN_OK) {
        qn_bundle_free(bundle);
        return status;
    }
    *out = bundle;
    return QN_OK;
}

/* Make a folder and those that it is in. */
static enum qn_status make_folders(const char *path, struct qn_error *err)
{
    size_t size = strlen(path);
    if (size == 0 || size >= PATH_MAX) {
        return qn_error_set(err, QN_ERR_CONFIG, "a path is empty or longer than %d bytes", PATH_MAX - 1);
    }
    char part[PATH_MAX];
    for (size_t i = 1; i <= size; i++) {
        if (i < size && path[i] != '/') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST && errno != EISDIR) {
            return qn_error_set(err, QN_ERR_IO, "making the folder \"%.300s\": %m", part);
        }
    }
    return QN_OK;
}

static enum qn_status create(const char *path, const struct qn_bundle_options *options, struct qn_bundle **out,
                             struct qn_error *err)
{
    if (OPTION(options, version) != NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a bundle that is made has no version to open it at");
    }
    struct qn_bundle *bundle = NULL;
    QN_TRY(new_handle(options, &bundle, err));
    struct qn_commit first = { .message = "created" };
    enum qn_status status = make_folders(path, err);
    if (status == QN_OK) {
        status = open_folder(bundle, path, err);
    }
    if (status == QN_OK) {
        status = qn_commit_log_create(bundle->fd, &first, &bundle->log, err);
    }
    if (status != QN_OK) {
        qn_bundle_free(bundle);
        return status;
    }
    *out = bundle;
    return QN_OK;
}

enum qn_status qn_bundle_create(const char *path, const struct qn_bundle_options *options, struct qn_bundle **out,
                                struct qn_error *err)
{
    enum qn_status status = create(path, options, out, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "bundle \"%.300s\"", path);
    }
    return status;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static bool all_digits(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!qn_ascii_digit(text[i])) {
            return false;
        }
    }
    return size > 0;
}

/* A number where there is such a version, else the beginning of a hash, else a time. */
enum qn_status qn__bundle_find_version(const struct qn_commit_log *log, const char *text, int64_t *out,
                                       struct qn_error *err)
{
    size_t size = strnlen(text, QN_SHA256_TEXT_SIZE);
    int64_t head = qn_commit_log_head(log);
    int64_t micros = 0;
    enum qn_zone zone = QN_ZONE_NONE;
    if (all_digits(text, size) && size <= MAX_NUMBER_DIGITS) {
        long long number = strtoll(text, NULL, 10);
        if (number <= head) {
            *out = number;
            return QN_OK;
        }
        if (size < 4 || qn_commit_log_find_hash(log, text, out, NULL) != QN_OK) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "there is no version %lld (there are 0 to %lld)", number,
                                (long long)head);
        }
        return QN_OK;
    }
    if (qn_timestamp_parse(text, strlen(text), &micros, &zone)) {
        if (zone != QN_ZONE_OFFSET) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "the time \"%.60s\" needs an offset, as in 2026-01-31T12:00:00Z",
                                text);
        }
        return qn_commit_log_find_time(log, micros, out, err);
    }
    enum qn_status status = qn_commit_log_find_hash(log, text, out, err);
    if (status == QN_ERR_ARGUMENT) {
        qn_error_hint(err, "a version is a number, the beginning of a hash (4 digits or more) or a time of RFC 3339");
    }
    return status;
}

static enum qn_status open_log(struct qn_bundle *bundle, const char *version, struct qn_error *err)
{
    QN_TRY(qn_commit_log_open(bundle->fd, &bundle->log, err));
    bundle->version = qn_commit_log_head(bundle->log);
    if (version != NULL) {
        int64_t found = 0;
        QN_TRY(qn__bundle_find_version(bundle->log, version, &found, err));
        bundle->read_only = found < bundle->version;
        bundle->version = found;
    }
    return QN_OK;
}

enum qn_status qn_bundle_open(const char *path, const struct qn_bundle_options *options, struct qn_bundle **out,
                              struct qn_error *err)
{
    struct qn_bundle *bundle = NULL;
    enum qn_status status = new_handle(options, &bundle, err);
    if (status == QN_OK) {
        status = open_folder(bundle, path, err);
    }
    if (status == QN_OK) {
        status = open_log(bundle, OPTION(options, version), err);
    }
    if (status != QN_OK) {
        qn_bundle_free(bundle);
        qn_error_prefix(err, "bundle \"%.300s\"", path);
        return status;
    }
    *out = bundle;
    return QN_OK;
}
