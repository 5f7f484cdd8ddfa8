/*
 * checkpoint.c: what a task keeps beside its rows: a value that is committed with them.
 *
 * It is an object of the bundle; the task gives it its name and its meaning. Threads: see bundle_private.h.
 */
#include "base/memory.h"
#include "bundle/bundle_private.h"

static enum qn_status check_task(const char *task, struct qn_error *err)
{
    if (!qn_commit_name_is_valid(task)) {
        return qn_error_set(
            err, QN_ERR_ARGUMENT,
            "\"%.80s\" is not a name of a checkpoint: 1 to 255 bytes without control characters, / and \\", task);
    }
    return QN_OK;
}

static enum qn_status set_checkpoint(struct qn_bundle *bundle, const char *task, const char *value,
                                     struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(check_task(task, err));
    QN_TRY(qn__bundle_state(bundle, &state, err));
    if (value == NULL && qn_bundle_state_object(state, QN_OBJECT_CHECKPOINT, task) == NULL) {
        return QN_OK;
    }
    const struct qn_change change = { .kind = value != NULL ? QN_CHANGE_SET : QN_CHANGE_UNSET,
                                      .object = QN_OBJECT_CHECKPOINT,
                                      .name = task,
                                      .value = value };
    QN_TRY(qn__bundle_begin(bundle, "set_checkpoint", err));
    return qn__bundle_close(bundle, qn__bundle_add(bundle, &change, NULL, err));
}

enum qn_status qn_bundle_set_checkpoint(struct qn_bundle *bundle, const char *task, const char *value,
                                        struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err));
    enum qn_status status = set_checkpoint(bundle, task, value, err);
    qn__bundle_leave(bundle);
    return status;
}

static enum qn_status find_checkpoint(struct qn_bundle *bundle, const char *task, char **out, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(check_task(task, err));
    QN_TRY(qn__bundle_state(bundle, &state, err));
    const struct qn_state_entry *entry = qn_bundle_state_object(state, QN_OBJECT_CHECKPOINT, task);
    char *copy = entry != NULL ? qn_strdup(entry->change.value) : NULL;
    if (entry != NULL && copy == NULL) {
        return qn__no_memory(err);
    }
    *out = copy;
    return QN_OK;
}

enum qn_status qn_bundle_checkpoint(struct qn_bundle *bundle, const char *task, char **out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = find_checkpoint(bundle, task, out, err);
    qn__bundle_leave(bundle);
    return status;
}
