/* walk.c: going through what a bundle holds, for tasks. */
#include "bundle/walk.h"

#include "bundle/bundle_private.h"

#include <string.h>

static enum qn_status each_block(struct qn_bundle *bundle, const char *pack, qn_location_callback each, void *context,
                                 struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        const struct qn_change *change = &entry->change;
        if (change->kind != QN_CHANGE_ADD || strcmp(change->pack, pack) != 0) {
            continue;
        }
        struct qn_location location = QN_LOCATION_INIT;
        location.location = change->location;
        location.format = change->format;
        location.version = change->sha256[0] != '\0' ? change->sha256 : change->version;
        location.num_rows = change->rows;
        QN_TRY(each(context, &location, err));
    }
    return QN_OK;
}

enum qn_status qn_bundle_each_block(struct qn_bundle *bundle, const char *pack, qn_location_callback each,
                                    void *context, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = each_block(bundle, pack, each, context, err);
    qn__bundle_leave(bundle);
    return status;
}

static enum qn_status each_checkpoint(struct qn_bundle *bundle, const char *prefix, qn_checkpoint_callback each,
                                      void *context, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    size_t place = 0;
    size_t size = strlen(prefix);
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        const struct qn_change *change = &entry->change;
        if (change->kind == QN_CHANGE_SET && change->object == QN_OBJECT_CHECKPOINT &&
            strncmp(change->name, prefix, size) == 0) {
            QN_TRY(each(context, change->name, change->value, err));
        }
    }
    return QN_OK;
}

enum qn_status qn_bundle_each_checkpoint(struct qn_bundle *bundle, const char *prefix, qn_checkpoint_callback each,
                                         void *context, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = each_checkpoint(bundle, prefix, each, context, err);
    qn__bundle_leave(bundle);
    return status;
}
