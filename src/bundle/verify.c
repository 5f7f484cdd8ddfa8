/*
 * verify.c: everything read again: the log and its chain, whether the history contradicts itself, snapshots, blocks, and
 * references to files of this machine.
 *
 * Nothing is trusted and nothing stops at the first problem; what cannot be read is reported and passed over. Blocks that
 * only versions before the mark `floor` name may be gone: gc has taken them on purpose. Threads: no state.
 */
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blob.h"
#include "bundle/block_list.h"
#include "bundle/blocks.h"
#include "bundle/bundle_private.h"
#include "bundle/folder.h"
#include "bundle/log_private.h"
#include "bundle/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <qanat/plugin/driver.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct verify {
    int bundle_fd;
    int own_fd;
    int log_fd;
    int checkpoint_fd; /* -1: there is none */
    char *path;
    struct qn_buffer problems;
    int64_t n_problems;
    int64_t floor;
    struct qn_bundle_state *state; /* of the commits so far; NULL once they contradict themselves */
    struct qn__block_list blocks;
    int64_t *snapshots; /* sorted */
    int64_t n_snapshots;
    int64_t next_snapshot;
};

static void report(struct verify *self, int64_t version, const char *object, const char *expected, const char *found)
{
    struct qn_buffer *out = &self->problems;
    qn_buffer_append_text(out, self->n_problems++ > 0 ? ",{\"object\":" : "{\"object\":");
    qn_commit_put_text(out, object);
    qn_buffer_append_text(out, ",\"expected\":");
    qn_commit_put_text(out, expected);
    qn_buffer_append_text(out, ",\"found\":");
    qn_commit_put_text(out, found);
    if (version >= 0) {
        qn_buffer_printf(out, ",\"version\":%lld}", (long long)version);
    } else {
        qn_buffer_append_text(out, ",\"version\":null}");
    }
}

static void report_of_log(const struct qn_log_problem *problem, void *context)
{
    report(context, problem->version, problem->object, problem->expected, problem->found);
}

/* ---- commits and snapshots -------------------------------------------------------------------------------------- */

static enum qn_status check_snapshot(struct verify *self, int64_t version, const struct qn_sha256 *hash,
                                     struct qn_error *err)
{
    char object[64];
    qn_auto_buffer found = QN_BUFFER_INIT;
    qn_auto_buffer expected = QN_BUFFER_INIT;
    struct qn_error why = QN_ERROR_INIT;
    (void)snprintf(object, sizeof object, "snapshot %lld", (long long)version);
    enum qn_status status = qn__snapshot_read(self->checkpoint_fd, version, &found, &why);
    if (status != QN_OK) {
        if (qn__log_has(self->checkpoint_fd, version,
                        QN__LOG_STATE)) { /* else a writer has put a newer one in its place */
            report(self, version, object, "a whole snapshot", why.message);
        }
        return status == QN_ERR_NO_MEMORY ? qn__no_memory(err) : QN_OK;
    }
    QN_TRY(qn__snapshot_encode(self->state, version, hash, &expected, err));
    if (found.size != expected.size || memcmp(found.data, expected.data, found.size) != 0) {
        report(self, version, object, "what the commits make of the bundle", "something else");
    }
    return QN_OK;
}

static enum qn_status list_snapshots(struct verify *self, struct qn_error *err)
{
    if (self->checkpoint_fd >= 0) {
        QN_TRY(qn__log_scan(self->checkpoint_fd, QN__LOG_STATE, &self->snapshots, &self->n_snapshots, err));
        qn__log_sort(self->snapshots, self->n_snapshots);
    }
    return QN_OK;
}

/* The state is that of `version`. */
static enum qn_status compare_version(struct verify *self, int64_t version, const struct qn_sha256 *hash,
                                      struct qn_error *err)
{
    if (version == self->floor) {
        QN_TRY(qn__block_list_add_state(&self->blocks, self->state, true, err));
    }
    while (self->next_snapshot < self->n_snapshots && self->snapshots[self->next_snapshot] < version) {
        self->next_snapshot++; /* of a commit that is not there: that is reported */
    }
    if (self->next_snapshot < self->n_snapshots && self->snapshots[self->next_snapshot] == version) {
        self->next_snapshot++;
        return check_snapshot(self, version, hash, err);
    }
    return QN_OK;
}

static void stop_replay(struct verify *self)
{
    qn_bundle_state_free(self->state);
    self->state = NULL;
}

static enum qn_status replay_commit(struct verify *self, const struct qn_commit *commit, const struct qn_sha256 *hash,
                                    struct qn_error *err)
{
    QN_TRY(qn__block_list_add_commit(&self->blocks, commit, commit->version > self->floor, err));
    if (self->state == NULL) {
        return QN_OK;
    }
    struct qn_error why = QN_ERROR_INIT;
    enum qn_status status = qn_bundle_state_apply(self->state, commit, &why);
    if (status == QN_ERR_NO_MEMORY) {
        return qn__no_memory(err);
    }
    if (status != QN_OK) {
        char object[64];
        (void)snprintf(object, sizeof object, "commit %lld", (long long)commit->version);
        report(self, commit->version, object, "changes that fit what is there", why.message);
        stop_replay(self);
        return QN_OK;
    }
    return compare_version(self, commit->version, hash, err);
}

/* Read the commits that can be read, in their order; applied as far as none is missing. */
static enum qn_status replay(struct verify *self, struct qn_error *err)
{
    qn_auto_free int64_t *numbers = NULL;
    int64_t count = 0;
    QN_TRY(qn__log_scan_commits(self->log_fd, &numbers, &count, err));
    QN_TRY(list_snapshots(self, err));
    QN_TRY(qn_bundle_state_new(&self->state, err));
    for (int64_t i = 0; i < count; i++) {
        struct qn_commit commit;
        struct qn_sha256 hash;
        QN_TRY(qn_interrupt_poll(err));
        enum qn_status status = qn__log_read(self->log_fd, numbers[i], &commit, &hash, NULL);
        if (status == QN_ERR_NO_MEMORY) {
            return qn__no_memory(err);
        }
        if (status != QN_OK || numbers[i] != i) {
            stop_replay(self);
        }
        if (status == QN_OK) { /* else it is reported */
            status = replay_commit(self, &commit, &hash, err);
            qn_commit_dispose(&commit);
            QN_TRY(status);
        }
    }
    return QN_OK;
}

static enum qn_status read_floor(struct verify *self, struct qn_error *err)
{
    struct qn__mark mark;
    enum qn__mark_state state;
    QN_TRY(qn__mark_read(self->own_fd, QN__MARK_FLOOR, &mark, &state, err));
    if (state == QN__MARK_DAMAGED) {
        report(self, -1, "mark of the floor", "a line of number and digests", "something else");
    }
    self->floor = state == QN__MARK_GOOD ? mark.version : 0;
    return QN_OK;
}

/* ---- blocks and references -------------------------------------------------------------------------------------- */

/* gc may have begun to give up versions meanwhile. */
static bool is_given_up(const struct verify *self, const struct qn__named_block *block)
{
    struct qn__mark mark;
    enum qn__mark_state state;
    return qn__mark_read(self->own_fd, QN__MARK_FLOOR, &mark, &state, NULL) == QN_OK && state == QN__MARK_GOOD &&
           mark.version > self->floor && block->version < mark.version;
}

static enum qn_status check_block(struct verify *self, const struct qn__named_block *block, struct qn_error *err)
{
    char text[QN_SHA256_TEXT_SIZE];
    char object[128];
    struct qn_error why = QN_ERROR_INIT;
    int fd = -1;
    enum qn_status status = qn_blob_open(self->bundle_fd, &block->hash, block->format, &fd, &why);
    if (status == QN_OK) {
        (void)close(fd);
        status = qn_blob_verify(self->bundle_fd, &block->hash, block->format, -1, &why);
    } else if (status == QN_ERR_DATA && (!block->needed || is_given_up(self, block))) {
        return QN_OK;
    }
    if (status == QN_ERR_NO_MEMORY || status == QN_ERR_CANCELLED) {
        if (err != NULL) {
            *err = why;
        }
        return status;
    }
    if (status != QN_OK) {
        qn_sha256_format(&block->hash, text);
        (void)snprintf(object, sizeof object, "block %s.%s", text, block->format);
        report(self, block->version, object, text, why.message);
    }
    return QN_OK;
}

static bool is_local(const char *url)
{
    bool remote = url != NULL && (qn_text_starts_nocase(url, "http://") || qn_text_starts_nocase(url, "https://"));
    return url != NULL && !remote && qn__reference_is_readable(url);
}

/* With its version hidden, so that the digest is made in any case. */
static enum qn_status check_reference(struct verify *self, const struct qn_state_entry *entry, struct qn_error *err)
{
    struct qn_change block = entry->change;
    struct qn_error why = QN_ERROR_INIT;
    char object[320];
    int fd = -1;
    block.version = "";
    enum qn_status status = qn__reference_open(&block, self->path, 0, &fd, &why);
    if (status == QN_OK) {
        (void)close(fd);
        return QN_OK;
    }
    if (status == QN_ERR_NO_MEMORY || status == QN_ERR_CANCELLED) {
        if (err != NULL) {
            *err = why;
        }
        return status;
    }
    (void)snprintf(object, sizeof object, "reference (\"%.60s\", \"%.200s\")", block.pack, block.location);
    report(self, entry->version, object, block.sha256[0] != '\0' ? block.sha256 : "a file", why.message);
    return QN_OK;
}

static enum qn_status check_data(struct verify *self, struct qn_error *err)
{
    qn__block_list_sort(&self->blocks);
    for (size_t i = 0; i < self->blocks.count; i++) {
        QN_TRY(check_block(self, &self->blocks.items[i], err));
    }
    size_t place = 0;
    const struct qn_state_entry *entry;
    while (self->state != NULL && (entry = qn_bundle_state_next(self->state, &place)) != NULL) {
        if (entry->change.kind == QN_CHANGE_ADD && is_local(entry->change.url)) {
            QN_TRY(check_reference(self, entry, err));
        }
    }
    return QN_OK;
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

static enum qn_status open_folders(struct verify *self, const char *path, struct qn_error *err)
{
    self->bundle_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool none = self->bundle_fd < 0 && (errno == ENOENT || errno == ENOTDIR);
    if (self->bundle_fd < 0 && !none) {
        return qn_error_set(err, QN_ERR_IO, "opening the folder: %m");
    }
    if (none || (faccessat(self->bundle_fd, "_qanat/log", F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)) {
        return qn_error_set(err, QN_ERR_CONFIG, "there is no bundle in this folder");
    }
    self->path = realpath(path, NULL);
    if (self->path == NULL) {
        return qn_error_set(err, QN_ERR_IO, "finding the folder: %m");
    }
    QN_TRY(qn_folder_open(self->bundle_fd, "_qanat", &self->own_fd, err));
    QN_TRY(qn_folder_open(self->own_fd, "log", &self->log_fd, err));
    if (qn_folder_open(self->own_fd, "checkpoint", &self->checkpoint_fd, NULL) != QN_OK) {
        self->checkpoint_fd = -1; /* checkpoints only save reading */
    }
    return QN_OK;
}

static void close_folders(struct verify *self)
{
    const int fds[] = { self->checkpoint_fd, self->log_fd, self->own_fd, self->bundle_fd };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    free(self->path); /* realpath's */
}

static enum qn_status verify(struct verify *self, const char *path, struct qn_error *err)
{
    QN_TRY(open_folders(self, path, err));
    QN_TRY(read_floor(self, err));
    QN_TRY(qn_commit_log_verify(self->bundle_fd, report_of_log, self, err));
    QN_TRY(replay(self, err));
    return check_data(self, err);
}

enum qn_status qn_bundle_verify(const char *path, char **out, struct qn_error *err)
{
    struct verify self = { .bundle_fd = -1, .own_fd = -1, .log_fd = -1, .checkpoint_fd = -1 };
    qn_buffer_append_byte(&self.problems, '[');
    enum qn_status status = verify(&self, path, err);
    if (status == QN_OK) {
        qn_buffer_append_byte(&self.problems, ']');
        status = qn__document_take(&self.problems, out, err);
    }
    if (status != QN_OK) {
        qn_error_prefix(err, "bundle \"%.300s\"", path);
    }
    qn_buffer_dispose(&self.problems);
    qn_bundle_state_free(self.state);
    qn__block_list_dispose(&self.blocks);
    qn_free(self.snapshots);
    close_folders(&self);
    return status;
}
