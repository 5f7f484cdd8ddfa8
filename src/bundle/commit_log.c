/*
 * commit_log.c: opening, reading and adding to the chain of commits.
 *
 * _qanat/log/NUMBER.json, numbered without gaps from 0. A commit appears by the link of an fsynced temporary file, which
 * fails where the number is taken: of any number of writers one wins each number, and nobody ever sees a part of a commit.
 * Each names the digest of the bytes of the one before. See docs/formats/bundle.md. Threads: one at a time per handle.
 */
#include "bundle/commit_log.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/folder.h"
#include "bundle/log_private.h"
#include "os/clock.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct qn_commit_log {
    int own_fd; /* _qanat */
    int log_fd;
    int checkpoint_fd;
    struct qn__log_entries entries;
};

/* ---- names and entries ------------------------------------------------------------------------------------------ */

void qn__log_name(int64_t version, const char *suffix, char out[QN__LOG_NAME_SIZE])
{
    (void)snprintf(out, QN__LOG_NAME_SIZE, "%020lld%s", (long long)version, suffix);
}

/* Room for one more, so that the next push cannot fail. */
static enum qn_status reserve_entry(struct qn__log_entries *entries, struct qn_error *err)
{
    if (entries->count >= QN_COMMIT_LOG_MAX_COMMITS) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "the log has %lld commits, which is the limit",
                            (long long)entries->count);
    }
    if (entries->count < entries->capacity) {
        return QN_OK;
    }
    int64_t capacity = entries->capacity < 64 ? 64 : entries->capacity * 2;
    struct qn__log_entry *items = qn_realloc_array(entries->items, (size_t)capacity, sizeof *items);
    if (items == NULL) {
        return qn__no_memory(err);
    }
    entries->items = items;
    entries->capacity = capacity;
    return QN_OK;
}

static void push_entry(struct qn__log_entries *entries, const struct qn_sha256 *hash, int64_t timestamp)
{
    entries->items[entries->count++] = (struct qn__log_entry){ .hash = *hash, .timestamp = timestamp };
}

struct scan {
    const char *suffix;
    int64_t *numbers;
    int64_t count;
    int64_t capacity;
};

static enum qn_status scan_one(int fd, const char *name, void *context, struct qn_error *err)
{
    (void)fd;
    struct scan *scan = context;
    int64_t number = 0;
    for (int i = 0; i < 20; i++) {
        if (!qn_ascii_digit(name[i]) || number > QN_COMMIT_LOG_MAX_COMMITS) {
            return QN_OK;
        }
        number = number * 10 + (name[i] - '0');
    }
    if (!qn_text_equal(name + 20, scan->suffix) || number >= QN_COMMIT_LOG_MAX_COMMITS) {
        return QN_OK;
    }
    if (scan->count == scan->capacity) {
        int64_t capacity = scan->capacity < 64 ? 64 : scan->capacity * 2;
        int64_t *numbers = qn_realloc_array(scan->numbers, (size_t)capacity, sizeof *numbers);
        if (numbers == NULL) {
            return qn__no_memory(err);
        }
        scan->numbers = numbers;
        scan->capacity = capacity;
    }
    scan->numbers[scan->count++] = number;
    return QN_OK;
}

enum qn_status qn__log_scan(int folder_fd, const char *suffix, int64_t **out, int64_t *count_out, struct qn_error *err)
{
    struct scan scan = { .suffix = suffix };
    enum qn_status status = qn_folder_each(folder_fd, scan_one, &scan, err);
    if (status != QN_OK) {
        qn_free(scan.numbers);
        return status;
    }
    *out = scan.numbers;
    *count_out = scan.count;
    return QN_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    const int64_t *left = a;
    const int64_t *right = b;
    return (*left > *right) - (*left < *right);
}

void qn__log_sort(int64_t *numbers, int64_t count)
{
    if (count > 0) {
        qsort(numbers, (size_t)count, sizeof *numbers, compare_numbers);
    }
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static enum qn_status read_commit(int log_fd, int64_t version, struct qn_commit *out, struct qn_sha256 *hash_out,
                                  bool *missing_out, struct qn_error *err)
{
    char name[QN__LOG_NAME_SIZE];
    qn__log_name(version, QN__LOG_COMMIT, name);
    qn_auto_buffer file = QN_BUFFER_INIT;
    bool missing = false;
    QN_TRY(qn_folder_read(log_fd, name, QN_COMMIT_MAX_BYTES, &file, &missing, err));
    *missing_out = missing;
    if (missing) {
        return QN_OK;
    }
    struct qn_sha256 hash;
    struct qn_commit commit;
    QN_TRY(qn_sha256_of(qn_buffer_text(&file), file.size, &hash, err));
    enum qn_status status = qn_commit_parse(qn_buffer_text(&file), file.size, &commit, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "commit %lld of the log", (long long)version);
        return status;
    }
    if (commit.version != version) {
        status = qn_error_set(err, QN_ERR_DATA, "commit %lld of the log: it says that it is commit %lld",
                              (long long)version, (long long)commit.version);
        qn_commit_dispose(&commit);
        return status;
    }
    *out = commit;
    *hash_out = hash;
    return QN_OK;
}

enum qn_status qn__log_read(int log_fd, int64_t version, struct qn_commit *out, struct qn_sha256 *hash_out,
                            struct qn_error *err)
{
    bool missing = false;
    QN_TRY(read_commit(log_fd, version, out, hash_out, &missing, err));
    return missing ? qn_error_set(err, QN_ERR_DATA, "commit %lld of the log is missing", (long long)version) : QN_OK;
}

enum qn_status qn_commit_log_read(const struct qn_commit_log *log, int64_t version, struct qn_commit *out,
                                  struct qn_error *err)
{
    if (version < 0 || version >= log->entries.count) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the bundle has no version %lld (it has 0 to %lld)",
                            (long long)version, (long long)log->entries.count - 1);
    }
    struct qn_commit commit;
    struct qn_sha256 hash;
    QN_TRY(qn__log_read(log->log_fd, version, &commit, &hash, err));
    if (!qn_sha256_equal(&hash, &log->entries.items[version].hash)) {
        qn_commit_dispose(&commit);
        return qn_error_set(err, QN_ERR_DATA,
                            "commit %lld of the log was altered: its SHA-256 is not that of the chain",
                            (long long)version);
    }
    *out = commit;
    return QN_OK;
}

/* Take in the next commit, where there is one. */
static enum qn_status take_next(struct qn_commit_log *log, bool *missing_out, struct qn_error *err)
{
    struct qn__log_entries *entries = &log->entries;
    int64_t version = entries->count;
    QN_TRY(reserve_entry(entries, err));
    struct qn_commit commit;
    struct qn_sha256 hash;
    bool missing = false;
    QN_TRY(read_commit(log->log_fd, version, &commit, &hash, &missing, err));
    *missing_out = missing;
    if (missing) {
        return QN_OK;
    }
    static const struct qn_sha256 none;
    const struct qn_sha256 *previous = version > 0 ? &entries->items[version - 1].hash : &none;
    enum qn_status status = QN_OK;
    if (!qn_sha256_equal(&commit.previous, previous)) {
        status = qn_error_set(err, QN_ERR_DATA,
                              "commit %lld of the log does not follow commit %lld: one of them was altered",
                              (long long)version, (long long)version - 1);
    } else if (version > 0 && commit.timestamp <= entries->items[version - 1].timestamp) {
        status = qn_error_set(err, QN_ERR_DATA, "commit %lld of the log is not later than commit %lld",
                              (long long)version, (long long)version - 1);
    } else {
        push_entry(entries, &hash, commit.timestamp);
    }
    qn_commit_dispose(&commit);
    return status;
}

enum qn_status qn_commit_log_refresh(struct qn_commit_log *log, struct qn_error *err)
{
    bool missing = false;
    while (!missing) {
        QN_TRY(take_next(log, &missing, err));
    }
    return QN_OK;
}

/* ---- listing ---------------------------------------------------------------------------------------------------- */

bool qn__log_has(int folder_fd, int64_t version, const char *suffix)
{
    char name[QN__LOG_NAME_SIZE];
    qn__log_name(version, suffix, name);
    return faccessat(folder_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

enum qn_status qn__log_scan_commits(int log_fd, int64_t **out, int64_t *count_out, struct qn_error *err)
{
    enum { MOST_ASKED = 1000 };
    qn_auto_free int64_t *listed = NULL;
    int64_t n = 0;
    QN_TRY(qn__log_scan(log_fd, QN__LOG_COMMIT, &listed, &n, err));
    qn__log_sort(listed, n);
    int64_t *numbers = qn_calloc((size_t)n + MOST_ASKED + 1, sizeof *numbers);
    if (numbers == NULL) {
        return qn__no_memory(err);
    }
    int64_t count = 0;
    int64_t asked = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t v = i > 0 ? listed[i - 1] + 1 : 0; v < listed[i] && asked < MOST_ASKED; v++, asked++) {
            if (qn__log_has(log_fd, v, QN__LOG_COMMIT)) {
                numbers[count++] = v;
            }
        }
        numbers[count++] = listed[i];
    }
    *out = numbers;
    *count_out = count;
    return QN_OK;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

/* By errno; a creation that was cut short left no bundle either. */
static enum qn_status no_bundle(struct qn_error *err)
{
    if (errno == ENOENT) {
        return qn_error_set(err, QN_ERR_CONFIG, "opening the bundle: there is none in this folder");
    }
    return qn_error_set(err, QN_ERR_IO, "opening the bundle: %m");
}

static enum qn_status open_folders(int bundle_fd, struct qn_commit_log *log, struct qn_error *err)
{
    log->own_fd = openat(bundle_fd, "_qanat", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (log->own_fd < 0) {
        return no_bundle(err);
    }
    log->log_fd = openat(log->own_fd, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (log->log_fd < 0) {
        return no_bundle(err);
    }
    /* Without checkpoints, or the right to read them, there is only more to read. */
    if (qn_folder_open(log->own_fd, "checkpoint", &log->checkpoint_fd, NULL) != QN_OK) {
        log->checkpoint_fd = -1;
    }
    return QN_OK;
}

/* The newest commit that a writer has made, as far as it could say so: read before the log is listed, so that the log has
 * to have it. */
static struct qn__mark read_head_mark(const struct qn_commit_log *log)
{
    struct qn__mark mark = { 0 };
    enum qn__mark_state state = QN__MARK_ABSENT;
    struct qn_error why = QN_ERROR_INIT;
    if (qn__mark_read(log->own_fd, QN__MARK_HEAD, &mark, &state, &why) != QN_OK) {
        QN_LOG(QN_LOG_WARNING, "bundle", "%s; the log is believed", why.message);
    } else if (state == QN__MARK_DAMAGED) {
        QN_LOG(QN_LOG_WARNING, "bundle", "the mark of the bundle's head is damaged; the log is believed");
    }
    if (state != QN__MARK_GOOD) {
        mark.version = -1;
    }
    return mark;
}

static enum qn_status check_head_mark(const struct qn_commit_log *log, const struct qn__mark *mark,
                                      struct qn_error *err)
{
    enum qn_status status = QN_OK;
    if (mark->version >= log->entries.count) {
        status = qn_error_set(err, QN_ERR_DATA,
                              "commit %lld of the log is missing: its head was commit %lld when it was last written",
                              (long long)log->entries.count, (long long)mark->version);
    } else if (mark->version >= 0 && !qn_sha256_equal(&mark->hash, &log->entries.items[mark->version].hash)) {
        status = qn_error_set(err, QN_ERR_DATA,
                              "commit %lld of the log was altered: it is not the one that the mark of the head names",
                              (long long)mark->version);
    }
    if (status != QN_OK) {
        qn_error_hint(err, "where an older log was put back on purpose, remove _qanat/head");
    }
    return status;
}

/* The first number that is missing, of numbers without the whole of 0 to count-1. */
static int64_t first_gap(int64_t *numbers, int64_t count)
{
    qn__log_sort(numbers, count);
    for (int64_t i = 0; i < count; i++) {
        if (numbers[i] != i) {
            return i;
        }
    }
    return count;
}

static enum qn_status count_commits(const struct qn_commit_log *log, int64_t *count_out, struct qn_error *err)
{
    qn_auto_free int64_t *numbers = NULL;
    int64_t count = 0;
    QN_TRY(qn__log_scan(log->log_fd, QN__LOG_COMMIT, &numbers, &count, err));
    if (count == 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "opening the bundle: there is none in this folder");
    }
    int64_t highest = 0;
    for (int64_t i = 0; i < count; i++) {
        highest = numbers[i] > highest ? numbers[i] : highest;
    }
    if (highest != count - 1) {
        /* Writers may have added to the folder while it was listed: only a number that has no file is a gap. */
        int64_t gap = first_gap(numbers, count);
        if (!qn__log_has(log->log_fd, gap, QN__LOG_COMMIT)) {
            return qn_error_set(err, QN_ERR_DATA, "commit %lld of the log is missing", (long long)gap);
        }
    }
    *count_out = highest + 1;
    return QN_OK;
}

/* Begin with a checkpoint, where one can be trusted: its last entry is the file of that number. */
static enum qn_status try_index(struct qn_commit_log *log, int64_t version, struct qn_error *err)
{
    struct qn__log_entries entries = { 0 };
    struct qn_commit commit;
    struct qn_sha256 hash;
    enum qn_status status = qn__log_index_read(log->checkpoint_fd, version, &entries, err);
    if (status == QN_OK) {
        status = qn__log_read(log->log_fd, version, &commit, &hash, err);
        if (status == QN_OK) {
            qn_commit_dispose(&commit);
            if (!qn_sha256_equal(&hash, &entries.items[version].hash)) {
                status = qn_error_set(err, QN_ERR_DATA, "checkpoint %lld of the log is not that of commit %lld",
                                      (long long)version, (long long)version);
            }
        }
    }
    if (status != QN_OK) {
        qn_free(entries.items);
        return status;
    }
    log->entries = entries;
    return QN_OK;
}

static enum qn_status load_index(struct qn_commit_log *log, int64_t n_commits, struct qn_error *err)
{
    if (log->checkpoint_fd < 0) {
        return QN_OK;
    }
    qn_auto_free int64_t *numbers = NULL;
    int64_t count = 0;
    QN_TRY(qn__log_scan(log->checkpoint_fd, QN__LOG_INDEX, &numbers, &count, err));
    qn__log_sort(numbers, count);
    for (int64_t i = count - 1; i >= 0; i--) {
        if (numbers[i] >= n_commits && !qn__log_has(log->log_fd, numbers[i], QN__LOG_COMMIT)) {
            return qn_error_set(err, QN_ERR_DATA,
                                "commit %lld of the log is missing: a checkpoint has commits up to %lld",
                                (long long)n_commits, (long long)numbers[i]); /* else it is newer than the listing */
        }
        struct qn_error why = QN_ERROR_INIT;
        enum qn_status status = try_index(log, numbers[i], &why);
        if (status == QN_OK) {
            return QN_OK;
        }
        if (status == QN_ERR_NO_MEMORY) {
            return qn__no_memory(err);
        }
        QN_LOG(QN_LOG_WARNING, "bundle", "%s; the log is read instead", why.message);
    }
    return QN_OK;
}

static enum qn_status new_log(int bundle_fd, struct qn_commit_log **out, struct qn_error *err)
{
    struct qn_commit_log *log = qn_calloc(1, sizeof *log);
    if (log == NULL) {
        return qn__no_memory(err);
    }
    log->own_fd = log->log_fd = log->checkpoint_fd = -1;
    enum qn_status status = open_folders(bundle_fd, log, err);
    if (status != QN_OK) {
        qn_commit_log_free(log);
        return status;
    }
    *out = log;
    return QN_OK;
}

enum qn_status qn_commit_log_open(int bundle_fd, struct qn_commit_log **out, struct qn_error *err)
{
    struct qn_commit_log *log = NULL;
    QN_TRY(new_log(bundle_fd, &log, err));
    int64_t count = 0;
    const struct qn__mark mark = read_head_mark(log);
    enum qn_status status = count_commits(log, &count, err);
    if (status == QN_OK) {
        status = load_index(log, count, err);
    }
    if (status == QN_OK) {
        status = qn_commit_log_refresh(log, err);
    }
    if (status == QN_OK && log->entries.count < count) {
        status = qn_error_set(err, QN_ERR_DATA, "commit %lld of the log is missing", (long long)log->entries.count);
    }
    if (status == QN_OK) {
        status = check_head_mark(log, &mark, err);
    }
    if (status != QN_OK) {
        qn_commit_log_free(log);
        return status;
    }
    *out = log;
    return QN_OK;
}

void qn_commit_log_free(struct qn_commit_log *log)
{
    if (log == NULL) {
        return;
    }
    if (log->own_fd >= 0) {
        (void)close(log->own_fd);
    }
    if (log->log_fd >= 0) {
        (void)close(log->log_fd);
    }
    if (log->checkpoint_fd >= 0) {
        (void)close(log->checkpoint_fd);
    }
    qn_free(log->entries.items);
    qn_free(log);
}

int qn__log_own_fd(const struct qn_commit_log *log)
{
    return log->own_fd;
}

int qn__log_checkpoint_fd(const struct qn_commit_log *log)
{
    return log->checkpoint_fd;
}

int64_t qn_commit_log_head(const struct qn_commit_log *log)
{
    return log->entries.count - 1;
}

const struct qn_sha256 *qn_commit_log_hash(const struct qn_commit_log *log, int64_t version)
{
    return &log->entries.items[version].hash;
}

int64_t qn_commit_log_timestamp(const struct qn_commit_log *log, int64_t version)
{
    return log->entries.items[version].timestamp;
}

/* ---- adding ----------------------------------------------------------------------------------------------------- */

static void complete_commit(const struct qn_commit_log *log, struct qn_commit *commit)
{
    int64_t head = qn_commit_log_head(log);
    commit->version = head + 1;
    commit->previous = (struct qn_sha256){ { 0 } };
    if (commit->timestamp == 0) {
        commit->timestamp = qn_clock_wall_micros();
    }
    if (head >= 0) {
        commit->previous = log->entries.items[head].hash;
        if (commit->timestamp <= log->entries.items[head].timestamp) { /* the clock of another machine is ahead */
            commit->timestamp = log->entries.items[head].timestamp + 1;
        }
    }
}

static enum qn_status write_commit(const struct qn_commit_log *log, int64_t version, const struct qn_buffer *bytes,
                                   bool *lost_out, struct qn_error *err)
{
    char name[QN__LOG_NAME_SIZE];
    qn__log_name(version, QN__LOG_COMMIT, name);
    struct qn_temporary file = QN_TEMPORARY_INIT;
    QN_TRY(qn_temporary_create(log->log_fd, &file, err));
    enum qn_status status = qn_fd_write_all(file.fd, bytes->data, bytes->size, "a commit", err);
    if (status == QN_OK) {
        status = qn_temporary_sync(&file, err);
    }
    if (status == QN_OK) {
        status = qn_temporary_link(&file, name, lost_out, err);
    }
    qn_temporary_discard(&file);
    if (status == QN_OK && !*lost_out) {
        status = qn_folder_sync(log->log_fd, name, err);
    }
    return status;
}

enum qn_status qn_commit_log_append(struct qn_commit_log *log, struct qn_commit *commit, bool *lost_out,
                                    struct qn_error *err)
{
    QN_TRY(reserve_entry(&log->entries, err));
    complete_commit(log, commit);
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    struct qn_sha256 hash;
    bool lost = false;
    QN_TRY(qn_commit_encode(commit, &bytes, err));
    QN_TRY(qn_sha256_of(bytes.data, bytes.size, &hash, err));
    QN_TRY(write_commit(log, commit->version, &bytes, &lost, err));
    *lost_out = lost;
    if (lost) {
        return QN_OK;
    }
    push_entry(&log->entries, &hash, commit->timestamp);
    struct qn_error why = QN_ERROR_INIT;
    const struct qn__mark mark = { .version = commit->version, .hash = hash };
    if (qn__mark_write(log->own_fd, QN__MARK_HEAD, &mark, false, &why) != QN_OK) {
        QN_LOG(QN_LOG_WARNING, "bundle", "no mark of the head: %s", why.message); /* the commit stands */
    }
    if (log->checkpoint_fd >= 0 && log->entries.count % QN_COMMIT_LOG_STEP == 0 &&
        qn__log_index_write(log->checkpoint_fd, &log->entries, &why) != QN_OK) {
        QN_LOG(QN_LOG_WARNING, "bundle", "no checkpoint of the log: %s", why.message); /* the commit stands */
    }
    return QN_OK;
}

static enum qn_status make_folders(int bundle_fd, struct qn_error *err)
{
    int own = -1;
    QN_TRY(qn_folder_make(bundle_fd, "_qanat", &own, err));
    static const char *const names[] = { "log", "checkpoint" };
    enum qn_status status = QN_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == QN_OK; i++) {
        int fd = -1;
        status = qn_folder_make(own, names[i], &fd, err);
        if (status == QN_OK) {
            (void)close(fd);
        }
    }
    (void)close(own);
    return status;
}

enum qn_status qn_commit_log_create(int bundle_fd, struct qn_commit *first, struct qn_commit_log **out,
                                    struct qn_error *err)
{
    QN_TRY(make_folders(bundle_fd, err));
    struct qn_commit_log *log = NULL;
    QN_TRY(new_log(bundle_fd, &log, err));
    qn_auto_free int64_t *numbers = NULL;
    int64_t count = 0;
    bool taken = false;
    enum qn_status status = qn__log_scan(log->log_fd, QN__LOG_COMMIT, &numbers, &count, err);
    if (status == QN_OK && count == 0) {
        status = qn_commit_log_append(log, first, &taken, err);
    }
    if (status == QN_OK && (count > 0 || taken)) {
        status = qn_error_set(err, QN_ERR_CONFIG, "creating a bundle: there is one in this folder");
    }
    if (status != QN_OK) {
        qn_commit_log_free(log);
        return status;
    }
    *out = log;
    return QN_OK;
}

/* ---- finding ---------------------------------------------------------------------------------------------------- */

enum qn_status qn_commit_log_find_hash(const struct qn_commit_log *log, const char *prefix, int64_t *version_out,
                                       struct qn_error *err)
{
    size_t size = strnlen(prefix, QN_SHA256_TEXT_SIZE);
    bool digits = size >= 4 && size < QN_SHA256_TEXT_SIZE;
    for (size_t i = 0; i < size && digits; i++) {
        digits = qn_ascii_digit(prefix[i]) || (prefix[i] >= 'a' && prefix[i] <= 'f');
    }
    if (!digits) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "\"%.80s\" is not the beginning of a hash: 4 to 64 digits of 0-9a-f",
                            prefix);
    }
    int64_t found = -1;
    for (int64_t i = 0; i < log->entries.count; i++) {
        char text[QN_SHA256_TEXT_SIZE];
        qn_sha256_format(&log->entries.items[i].hash, text);
        if (memcmp(text, prefix, size) == 0) {
            if (found >= 0) {
                return qn_error_set(err, QN_ERR_ARGUMENT, "the hashes of versions %lld and %lld begin with \"%s\"",
                                    (long long)found, (long long)i, prefix);
            }
            found = i;
        }
    }
    if (found < 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "no version has a hash that begins with \"%s\"", prefix);
    }
    *version_out = found;
    return QN_OK;
}

enum qn_status qn_commit_log_find_time(const struct qn_commit_log *log, int64_t timestamp, int64_t *version_out,
                                       struct qn_error *err)
{
    int64_t low = 0; /* versions below are not later, from high on they are */
    int64_t high = log->entries.count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (log->entries.items[middle].timestamp <= timestamp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the bundle is younger than the time asked for");
    }
    *version_out = low - 1;
    return QN_OK;
}
