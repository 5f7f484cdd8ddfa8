/*
 * publish.c: what is pending becomes the next version; what others made comes in.
 *
 * A commit that lost its number looks at what came in between: where that touches nothing of its own it takes the next one,
 * else it is a conflict and everything stays as it was. The state is carried along: what others did is applied to it, and
 * what is pending stays the last of its order, as it will be in the log. Threads: see bundle_private.h.
 */
#include "base/log.h"
#include "bundle/bundle_private.h"
#include "bundle/state_file.h"

#include <qanat/plugin/driver.h>

/* ---- taking in what others did ---------------------------------------------------------------------------------- */

static enum qn_status apply_others(struct qn_bundle *bundle, int64_t last, struct qn_error *err)
{
    for (int64_t version = bundle->version + 1; version <= last; version++) {
        struct qn_commit commit;
        QN_TRY(qn_commit_log_read(bundle->log, version, &commit, err));
        enum qn_status status = qn_bundle_state_apply(bundle->state, &commit, err);
        qn_commit_dispose(&commit);
        QN_TRY(status);
    }
    return QN_OK;
}

/* Show what others committed, up to `last`. They touched nothing that is pending. */
static enum qn_status advance(struct qn_bundle *bundle, const struct qn_commit *pending, int64_t last,
                              struct qn_error *err)
{
    if (last == bundle->version) {
        return QN_OK;
    }
    enum qn_status status = QN_OK;
    if (bundle->state != NULL) {
        status = apply_others(bundle, last, err);
        for (size_t i = 0; i < pending->n_changes && status == QN_OK; i++) {
            status = qn_bundle_state_renew(bundle->state, &pending->changes[i], err);
        }
    }
    if (status != QN_OK) {
        qn__bundle_drop_state(bundle); /* half done; the version stays */
        return status;
    }
    bundle->state_applied += last - bundle->version;
    bundle->version = last;
    return QN_OK;
}

/* Read what others added to the log, and check that what is pending may follow it. */
static enum qn_status look(struct qn_bundle *bundle, const struct qn_commit *pending, struct qn_error *err)
{
    QN_TRY(qn_commit_log_refresh(bundle->log, err));
    return qn_commit_rebase(bundle->log, pending, bundle->version, err);
}

enum qn_status qn__bundle_take_in(struct qn_bundle *bundle, struct qn_error *err)
{
    if (bundle->read_only) {
        return QN_OK; /* it shows the version that it was opened at */
    }
    struct qn_commit pending;
    QN_TRY(qn__pending_commit(bundle, &pending, err));
    enum qn_status status = look(bundle, &pending, err);
    if (status == QN_OK) {
        status = advance(bundle, &pending, qn_commit_log_head(bundle->log), err);
    }
    qn__pending_dispose(&pending);
    return status;
}

enum qn_status qn_bundle_refresh(struct qn_bundle *bundle, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = qn__bundle_take_in(bundle, err);
    qn__bundle_leave(bundle);
    return status;
}

/* ---- committing ------------------------------------------------------------------------------------------------- */

/* Until the commit has its number, or conflicts with what others made meanwhile. */
static enum qn_status append(struct qn_bundle *bundle, struct qn_commit *pending, struct qn_error *err)
{
    bool lost = true;
    while (lost) {
        QN_TRY(qn_interrupt_poll(err));
        QN_TRY(look(bundle, pending, err));
        pending->timestamp = 0;
        QN_TRY(qn_commit_log_append(bundle->log, pending, &lost, err));
    }
    return QN_OK;
}

/* Where the log has a checkpoint too, or it has been long: a snapshot was damaged, or its writer died. */
static void save_snapshot(struct qn_bundle *bundle)
{
    struct qn_error why = QN_ERROR_INIT;
    bool due = (bundle->version + 1) % QN_COMMIT_LOG_STEP == 0 || bundle->state_applied >= 2 * QN_COMMIT_LOG_STEP;
    if (bundle->state == NULL || !due) {
        return;
    }
    bundle->state_applied = 0; /* also where it fails: not again at each commit */
    if (qn__snapshot_save(bundle->log, bundle->version, bundle->state, &why) != QN_OK) {
        QN_LOG(QN_LOG_WARNING, "bundle", "no snapshot of the bundle: %s", why.message);
    }
}

/* It is in the log: nothing that fails from here on may say that it is not. */
static void settle(struct qn_bundle *bundle, const struct qn_commit *made)
{
    struct qn_error why = QN_ERROR_INIT;
    if (advance(bundle, made, made->version - 1, &why) != QN_OK) {
        QN_LOG(QN_LOG_WARNING, "bundle", "the state is read anew: %s", why.message);
    }
    for (size_t i = 0; i < made->n_changes && bundle->state != NULL; i++) {
        qn_bundle_state_settle(bundle->state, &made->changes[i], made->version);
    }
    bundle->state_applied += made->version - bundle->version;
    bundle->version = made->version;
    qn__pending_clear(bundle);
    save_snapshot(bundle);
}

/* The commit of all that is pending. */
static enum qn_status publish(struct qn_bundle *bundle, const char *message, struct qn_error *err)
{
    struct qn_commit pending;
    QN_TRY(qn__pending_commit(bundle, &pending, err));
    enum qn_status status = QN_OK;
    if (pending.n_changes == 0) { /* what was done was taken back by later calls */
        qn__pending_dispose(&pending);
        qn__pending_clear(bundle);
        return QN_OK;
    }
    pending.message = message != NULL ? message : "";
    status = append(bundle, &pending, err);
    if (status == QN_OK) {
        settle(bundle, &pending);
    }
    qn__pending_dispose(&pending);
    return status;
}

enum qn_status qn__bundle_publish_once(struct qn_bundle *bundle, const char *message, bool *lost_out,
                                       struct qn_error *err)
{
    struct qn_commit pending;
    bool lost = true;
    QN_TRY(qn_commit_log_refresh(bundle->log, err));
    if (qn_commit_log_head(bundle->log) > bundle->version) {
        *lost_out = true;
        return QN_OK;
    }
    QN_TRY(qn__pending_commit(bundle, &pending, err));
    pending.message = message;
    enum qn_status status = qn_commit_log_append(bundle->log, &pending, &lost, err);
    if (status == QN_OK && !lost) {
        settle(bundle, &pending);
    }
    qn__pending_dispose(&pending);
    if (status == QN_OK) {
        *lost_out = lost;
    }
    return status;
}

enum qn_status qn_bundle_commit(struct qn_bundle *bundle, const char *message, int64_t *version_out,
                                struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err));
    enum qn_status status = bundle->n_operations > 0 ? publish(bundle, message, err) : QN_OK;
    if (status == QN_OK && version_out != NULL) {
        *version_out = bundle->version;
    }
    qn__bundle_leave(bundle);
    return status;
}
