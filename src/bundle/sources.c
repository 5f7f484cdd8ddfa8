/*
 * sources.c: sources of a bundle: connectors with arguments that feed packs; and what tasks keep beside their rows.
 *
 * A source is an object of the bundle, its id is its name. Threads: see bundle_private.h.
 */
#include "base/memory.h"
#include "base/text.h"
#include "bundle/bundle_private.h"

#include <jansson.h>
#include <stdlib.h>

/* ---- as it is kept ---------------------------------------------------------------------------------------------- */

void qn__source_dispose(struct qn__source *source)
{
    qn_free(source->id);
    qn_free(source->connector);
    qn_free(source->arguments);
    qn_free(source->pack);
    qn_free(source->save_as);
    *source = (struct qn__source){ 0 };
}

static bool are_texts(const json_t *arguments)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)arguments, key, value)
    {
        if (!json_is_string(value)) {
            return false;
        }
    }
    return json_is_object(arguments);
}

static enum qn_status read_members(const json_t *value, const char *id, struct qn__source *out, struct qn_error *err)
{
    const char *connector = json_string_value(json_object_get(value, "connector"));
    const char *pack = json_string_value(json_object_get(value, "pack"));
    const char *save_as = json_string_value(json_object_get(value, "save_as"));
    const json_t *arguments = json_object_get(value, "arguments");
    if (connector == NULL || pack == NULL || save_as == NULL || !qn_commit_name_is_valid(pack) ||
        !qn_commit_format_is_valid(save_as) || !are_texts(arguments)) {
        return qn_error_set(err, QN_ERR_DATA, "source \"%.80s\" of the bundle is not what a source should be", id);
    }
    char *text = json_dumps(arguments, JSON_COMPACT | JSON_SORT_KEYS);
    out->id = qn_strdup(id);
    out->connector = qn_strdup(connector);
    out->pack = qn_strdup(pack);
    out->save_as = qn_strdup(save_as);
    out->arguments = qn_strdup(text);
    free(text); /* jansson's */
    bool all = out->id != NULL && out->connector != NULL && out->pack != NULL && out->save_as != NULL &&
               out->arguments != NULL;
    return all ? QN_OK : qn__no_memory(err);
}

enum qn_status qn__source_read(const struct qn_state_entry *entry, struct qn__source *out, struct qn_error *err)
{
    struct qn__source source = { 0 };
    json_t *value = json_loads(entry->change.value, 0, NULL);
    enum qn_status status = read_members(value, entry->change.name, &source, err);
    json_decref(value);
    if (status != QN_OK) {
        qn__source_dispose(&source);
        return status;
    }
    *out = source;
    return QN_OK;
}

/* ---- checkpoints of tasks --------------------------------------------------------------------------------------- */

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
    QN_TRY(qn_commit_check_value(value != NULL ? value : "null", err));
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
