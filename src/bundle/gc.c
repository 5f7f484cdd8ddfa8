/*
 * gc.c: removes what nobody needs: temporary files of processes that died, blocks that no version names any more.
 *
 * Whoever writes blocks holds the lock together with others from its first block to its commit; gc holds it alone, so that
 * it sees every commit that could name a block. Files younger than a minimum age stay in any case: some file systems do not
 * carry locks between machines. Where blocks of old versions are given up, the mark `floor` says so first. Threads: see
 * bundle_private.h.
 */
#include "bundle/blob.h"
#include "bundle/block_list.h"
#include "bundle/bundle_private.h"
#include "bundle/folder.h"
#include "bundle/log_private.h"
#include "os/clock.h"

#include <qanat/plugin/driver.h>
#include <unistd.h>

struct gc {
    int64_t min_age;
    int64_t floor; /* blocks of versions before it are given up */
    bool keep_all;
    struct qn__block_list blocks;
};

/* The blocks of versions `floor` to the head: what is there at `floor`, and what comes after. */
static enum qn_status list_needed(struct gc *self, const struct qn_commit_log *log, struct qn_error *err)
{
    struct qn_bundle_state *state = NULL;
    QN_TRY(qn_bundle_state_at(log, self->floor, &state, NULL, err));
    enum qn_status status = qn__block_list_add_state(&self->blocks, state, true, err);
    qn_bundle_state_free(state);
    for (int64_t version = self->floor + 1; version <= qn_commit_log_head(log) && status == QN_OK; version++) {
        struct qn_commit commit;
        status = qn_interrupt_poll(err);
        if (status == QN_OK) {
            status = qn_commit_log_read(log, version, &commit, err);
        }
        if (status == QN_OK) {
            status = qn__block_list_add_commit(&self->blocks, &commit, true, err);
            qn_commit_dispose(&commit);
        }
    }
    qn__block_list_sort(&self->blocks);
    return status;
}

static bool is_needed(const struct qn_sha256 *hash, const char *format, void *context)
{
    const struct gc *self = context;
    return qn__block_list_find(&self->blocks, hash, format) != NULL;
}

/* Say which versions lose their blocks, before they do. */
static enum qn_status raise_floor(const struct gc *self, const struct qn_commit_log *log, struct qn_error *err)
{
    const struct qn__mark mark = { .version = self->floor, .hash = *qn_commit_log_hash(log, self->floor) };
    if (self->keep_all || self->floor == 0) {
        return QN_OK;
    }
    return qn__mark_write(qn__log_own_fd(log), QN__MARK_FLOOR, &mark, true, err);
}

static enum qn_status sweep(struct gc *self, int bundle_fd, const struct qn_commit_log *log, int64_t keep_versions,
                            char **out, struct qn_error *err)
{
    int64_t head = qn_commit_log_head(log);
    struct qn_blob_sweep blobs;
    int64_t temporary = 0;
    self->keep_all = keep_versions < 0;
    self->floor = self->keep_all || keep_versions > head ? 0 : head + 1 - keep_versions;
    QN_TRY(list_needed(self, log, err));
    QN_TRY(raise_floor(self, log, err));
    QN_TRY(qn_blob_sweep(bundle_fd, self->min_age, is_needed, self, &blobs, err));
    QN_TRY(qn_commit_log_sweep(bundle_fd, self->min_age, &temporary, err));
    temporary += blobs.temporary;
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_buffer_printf(&text, "{\"removed\":%lld,\"bytes\":%lld,\"temporary\":%lld}", (long long)blobs.removed,
                     (long long)blobs.bytes, (long long)temporary);
    return qn__document_take(&text, out, err);
}

static enum qn_status gc(struct qn_bundle *bundle, int64_t min_age, int64_t keep_versions, double timeout, char **out,
                         struct qn_error *err)
{
    if (min_age < 0 || keep_versions < -1 || keep_versions == 0 || !(timeout >= 0 && timeout <= 1e9)) {
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            "gc takes an age and a timeout of 0 or more, and 1 or more versions to keep (-1: all)");
    }
    if (bundle->lock_fd >= 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "blocks are pending: commit them, or reset the bundle, before gc");
    }
    struct gc self = { .min_age = min_age, .blocks = QN__BLOCK_LIST_INIT };
    struct qn_commit_log *log = NULL;
    int lock = -1;
    int64_t milliseconds = (int64_t)(timeout * 1000);
    QN_TRY(qn_bundle_lock(bundle->fd, QN_LOCK_ALONE, qn_deadline_after_ms(milliseconds > 0 ? milliseconds : 1), &lock,
                          err));
    enum qn_status status = qn_commit_log_open(bundle->fd, &log, err); /* all that is there now */
    if (status == QN_OK) {
        status = sweep(&self, bundle->fd, log, keep_versions, out, err);
    }
    qn_commit_log_free(log);
    qn__block_list_dispose(&self.blocks);
    (void)close(lock);
    return status;
}

enum qn_status qn_bundle_gc(struct qn_bundle *bundle, int64_t min_age, int64_t keep_versions, double timeout,
                            char **out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = gc(bundle, min_age, keep_versions, timeout, out, err);
    qn__bundle_leave(bundle);
    return status;
}
