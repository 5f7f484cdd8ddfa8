/*
 * log_verify.c: the whole log read again: which commit is missing, truncated, altered, out of the chain; which checkpoint
 * disagrees.
 *
 * Nothing here trusts a checkpoint, and nothing stops at the first problem. A commit whose bytes are whole but not those
 * that the next one names is to blame itself: the next one's own digest vouches for what it says. Threads: no state.
 */
#include "base/memory.h"
#include "bundle/folder.h"
#include "bundle/log_private.h"

#include <stdio.h>
#include <unistd.h>

struct check {
    int own_fd;
    int log_fd;
    int checkpoint_fd;
    qn_log_problem_fn report;
    void *context;
    int64_t highest; /* number of a commit that is there */
    int64_t told;    /* ... or that was reported as missing behind it */
    /* What was found, by version; known is 0 where there is none or it could not be read. */
    struct qn_sha256 *hashes;
    char *known;
};

static void report(const struct check *self, int64_t version, const char *object, const char *expected,
                   const char *found)
{
    const struct qn_log_problem problem = {
        .version = version, .object = object, .expected = expected, .found = found
    };
    self->report(&problem, self->context);
}

static void report_commit(const struct check *self, int64_t version, const char *expected, const char *found)
{
    char object[64];
    (void)snprintf(object, sizeof object, "commit %lld", (long long)version);
    report(self, version, object, expected, found);
}

static void report_missing(const struct check *self, int64_t first, int64_t last)
{
    char object[96];
    if (first == last) {
        report_commit(self, first, "a file in the log", "none");
        return;
    }
    (void)snprintf(object, sizeof object, "commits %lld to %lld", (long long)first, (long long)last);
    report(self, first, object, "files in the log", "none");
}

static void report_hash(const struct check *self, int64_t version, const char *who, const struct qn_sha256 *expected)
{
    char text[QN_SHA256_TEXT_SIZE];
    char expected_text[QN_SHA256_TEXT_SIZE + 160];
    char found[QN_SHA256_TEXT_SIZE];
    qn_sha256_format(expected, text);
    qn_sha256_format(&self->hashes[version], found);
    (void)snprintf(expected_text, sizeof expected_text, "%s (%s)", text, who);
    report_commit(self, version, expected_text, found);
}

/* What commit `version` says of the one before. */
static void check_link(struct check *self, int64_t version, const struct qn_commit *commit, int64_t previous_time)
{
    static const struct qn_sha256 none;
    if (version == 0) {
        if (!qn_sha256_equal(&commit->previous, &none)) {
            report_commit(self, 0, "no previous commit", "it names one");
        }
        return;
    }
    if (!self->known[version - 1]) {
        return; /* reported */
    }
    if (!qn_sha256_equal(&commit->previous, &self->hashes[version - 1])) {
        report_hash(self, version - 1, "named by the commit after it", &commit->previous);
    } else if (commit->timestamp <= previous_time) {
        report_commit(self, version, "a time after that of the commit before", "one that is not");
    }
}

static enum qn_status check_commits(struct check *self, const int64_t *numbers, int64_t count, struct qn_error *err)
{
    int64_t next = 0;
    int64_t previous_time = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t version = numbers[i];
        if (version > next) {
            report_missing(self, next, version - 1);
        }
        next = version + 1;
        struct qn_commit commit;
        struct qn_error why = QN_ERROR_INIT;
        enum qn_status status = qn__log_read(self->log_fd, version, &commit, &self->hashes[version], &why);
        if (status == QN_ERR_NO_MEMORY) {
            return qn__no_memory(err);
        }
        if (status != QN_OK) {
            report_commit(self, version, "a whole commit", why.message);
            continue;
        }
        check_link(self, version, &commit, previous_time);
        self->known[version] = 1;
        previous_time = commit.timestamp;
        qn_commit_dispose(&commit);
    }
    return QN_OK;
}

/* Something has seen commits up to a version: they are missing, unless others have added them since the log was listed. */
static void report_end(struct check *self, int64_t version)
{
    if (version > self->told && !qn__log_has(self->log_fd, version, QN__LOG_COMMIT)) {
        report_missing(self, self->told + 1, version);
        self->told = version;
    }
}

static enum qn_status check_index(struct check *self, int64_t version, struct qn_error *err)
{
    char object[64];
    (void)snprintf(object, sizeof object, "checkpoint %lld", (long long)version);
    struct qn__log_entries entries = { 0 };
    struct qn_error why = QN_ERROR_INIT;
    enum qn_status status = qn__log_index_read(self->checkpoint_fd, version, &entries, &why);
    if (status == QN_ERR_NO_MEMORY) {
        return qn__no_memory(err);
    }
    if (status != QN_OK) {
        if (qn__log_has(self->checkpoint_fd, version,
                        QN__LOG_INDEX)) { /* else a writer has put a newer one in its place */
            report(self, -1, object, "a whole checkpoint", why.message);
        }
        return QN_OK;
    }
    report_end(self, version);
    for (int64_t i = 0; i <= version && i <= self->highest; i++) {
        if (self->known[i] && !qn_sha256_equal(&self->hashes[i], &entries.items[i].hash)) {
            report_hash(self, i, object, &entries.items[i].hash);
        }
    }
    qn_free(entries.items);
    return QN_OK;
}

static enum qn_status check_indexes(struct check *self, struct qn_error *err)
{
    qn_auto_free int64_t *numbers = NULL;
    int64_t count = 0;
    QN_TRY(qn__log_scan(self->checkpoint_fd, QN__LOG_INDEX, &numbers, &count, err));
    qn__log_sort(numbers, count);
    for (int64_t i = 0; i < count; i++) {
        QN_TRY(check_index(self, numbers[i], err));
    }
    return QN_OK;
}

/* A mark that goes further than the log, or names another commit than the one that is there. */
static enum qn_status check_head(struct check *self, struct qn_error *err)
{
    struct qn__mark mark;
    enum qn__mark_state state;
    QN_TRY(qn__mark_read(self->own_fd, QN__MARK_HEAD, &mark, &state, err));
    if (state == QN__MARK_DAMAGED) {
        report(self, -1, "mark of the head", "a line of number and digests", "something else");
    } else if (state == QN__MARK_GOOD && mark.version > self->highest) {
        report_end(self, mark.version);
    } else if (state == QN__MARK_GOOD && self->known[mark.version] &&
               !qn_sha256_equal(&self->hashes[mark.version], &mark.hash)) {
        report_hash(self, mark.version, "mark of the head", &mark.hash);
    }
    return QN_OK;
}

static enum qn_status check_all(struct check *self, struct qn_error *err)
{
    qn_auto_free int64_t *numbers = NULL;
    int64_t count = 0;
    QN_TRY(qn__log_scan_commits(self->log_fd, &numbers, &count, err));
    if (count == 0) {
        report(self, -1, "log", "commits", "none");
    }
    self->highest = self->told = count > 0 ? numbers[count - 1] : -1;
    self->hashes = qn_calloc((size_t)self->highest + 2, sizeof *self->hashes);
    self->known = qn_calloc((size_t)self->highest + 2, 1);
    if (self->hashes == NULL || self->known == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(check_commits(self, numbers, count, err));
    QN_TRY(self->checkpoint_fd >= 0 ? check_indexes(self, err) : QN_OK);
    return check_head(self, err);
}

enum qn_status qn_commit_log_verify(int bundle_fd, qn_log_problem_fn report_fn, void *context, struct qn_error *err)
{
    struct check self = { .own_fd = -1, .log_fd = -1, .checkpoint_fd = -1, .report = report_fn, .context = context };
    QN_TRY(qn_folder_open(bundle_fd, "_qanat", &self.own_fd, err));
    enum qn_status status = qn_folder_open(self.own_fd, "log", &self.log_fd, err);
    if (status == QN_OK && qn_folder_open(self.own_fd, "checkpoint", &self.checkpoint_fd, NULL) != QN_OK) {
        self.checkpoint_fd = -1; /* checkpoints only save reading */
    }
    if (status == QN_OK) {
        status = check_all(&self, err);
        (void)close(self.log_fd);
    }
    if (self.checkpoint_fd >= 0) {
        (void)close(self.checkpoint_fd);
    }
    (void)close(self.own_fd);
    qn_free(self.hashes);
    qn_free(self.known);
    return status;
}

enum qn_status qn_commit_log_sweep(int bundle_fd, int64_t min_age, int64_t *removed_out, struct qn_error *err)
{
    static const char *const names[] = { "log", "checkpoint" };
    int own = -1;
    QN_TRY(qn_folder_open(bundle_fd, "_qanat", &own, err));
    int64_t total = 0;
    enum qn_status status = qn_folder_sweep(own, min_age, &total, err);
    for (size_t i = 0; i < sizeof names / sizeof *names && status == QN_OK; i++) {
        int fd = -1;
        int64_t removed = 0;
        status = qn_folder_open(own, names[i], &fd, err);
        if (status == QN_OK) {
            status = qn_folder_sweep(fd, min_age, &removed, err);
            (void)close(fd);
            total += removed;
        }
    }
    (void)close(own);
    if (status == QN_OK) {
        *removed_out = total;
    }
    return status;
}
