/*
 * pending.c: what a handle has changed and not committed: operations, and the state with them applied.
 *
 * Each change is kept with its texts and applied to the state when it is added. Taking back drops the state: it is made
 * anew, from the log and what is left, where it is needed. The commit that is made of it all has one change a (pack,
 * location) and object: what is left of what happened to it. Threads: see bundle_private.h.
 */
#include "base/memory.h"
#include "bundle/bundle_private.h"
#include "bundle/folder.h"
#include "os/clock.h"

#include <stdlib.h>
#include <unistd.h>

#define LOCK_WAIT_MS   60000
#define RECENT_SCHEMAS 16 /* that a block's is compared with */

/* ---- the state -------------------------------------------------------------------------------------------------- */

static enum qn_status apply_operation(struct qn_bundle_state *state, const struct qn__operation *operation,
                                      struct qn_error *err)
{
    for (size_t i = 0; i < operation->n_changes; i++) {
        const struct qn_state_entry *made = operation->changes[i].made;
        QN_TRY(qn_bundle_state_change(state, &made->change, made->schema, QN_VERSION_PENDING, err));
    }
    return QN_OK;
}

static enum qn_status load_state(struct qn_bundle *bundle, struct qn_error *err)
{
    struct qn_bundle_state *state = NULL;
    QN_TRY(qn_bundle_state_at(bundle->log, bundle->version, &state, &bundle->state_applied, err));
    enum qn_status status = QN_OK;
    for (size_t i = 0; i < bundle->n_operations && status == QN_OK; i++) {
        status = apply_operation(state, &bundle->operations[i], err);
    }
    if (status != QN_OK) {
        qn_bundle_state_free(state);
        return status;
    }
    bundle->state = state;
    return QN_OK;
}

enum qn_status qn__bundle_state(struct qn_bundle *bundle, const struct qn_bundle_state **out, struct qn_error *err)
{
    if (bundle->state == NULL) {
        QN_TRY(load_state(bundle, err));
    }
    *out = bundle->state;
    return QN_OK;
}

void qn__bundle_drop_state(struct qn_bundle *bundle)
{
    qn_bundle_state_free(bundle->state);
    bundle->state = NULL;
}

/* ---- operations ------------------------------------------------------------------------------------------------- */

static void dispose_operation(struct qn__operation *operation)
{
    for (size_t i = 0; i < operation->n_changes; i++) {
        qn_free(operation->changes[i].made);
    }
    qn_free(operation->changes);
    qn_free(operation->name);
    *operation = (struct qn__operation){ 0 };
}

static void release_lock(struct qn_bundle *bundle)
{
    if (bundle->lock_fd >= 0) {
        (void)close(bundle->lock_fd);
        bundle->lock_fd = -1;
    }
}

static struct qn__operation *last_operation(struct qn_bundle *bundle)
{
    return &bundle->operations[bundle->n_operations - 1];
}

/* Take the last operation away; whether it had changed anything. */
static bool drop_last(struct qn_bundle *bundle)
{
    struct qn__operation *operation = last_operation(bundle);
    bool changed = operation->n_changes > 0;
    dispose_operation(operation);
    bundle->n_operations--;
    if (bundle->n_operations == 0) {
        release_lock(bundle);
    }
    return changed;
}

enum qn_status qn__bundle_begin(struct qn_bundle *bundle, const char *name, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    if (bundle->operation_open) {
        return qn_error_set(err, QN_ERR_INTERNAL, "an operation of a bundle began inside another");
    }
    QN_TRY(qn__bundle_state(bundle, &state, err)); /* what the changes are to fit */
    struct qn__operation *operations =
        qn_realloc_array(bundle->operations, bundle->n_operations + 1, sizeof *operations);
    if (operations == NULL) {
        return qn__no_memory(err);
    }
    bundle->operations = operations;
    char *copy = qn_strdup(name);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    operations[bundle->n_operations++] = (struct qn__operation){ .name = copy };
    bundle->operation_open = true;
    return QN_OK;
}

static enum qn_status reserve_change(struct qn__operation *operation, struct qn_error *err)
{
    if (operation->n_changes < operation->capacity) {
        return QN_OK;
    }
    size_t capacity = operation->capacity < 8 ? 8 : operation->capacity * 2;
    struct qn__pending_change *changes = qn_realloc_array(operation->changes, capacity, sizeof *changes);
    if (changes == NULL) {
        return qn__no_memory(err);
    }
    operation->changes = changes;
    operation->capacity = capacity;
    return QN_OK;
}

/* It fits a commit, fits the state, and is kept. */
static enum qn_status add_change(struct qn_bundle *bundle, const struct qn_change *change, const char *schema,
                                 struct qn_error *err)
{
    struct qn__operation *operation = last_operation(bundle);
    QN_TRY(qn_commit_check_change(change, err));
    QN_TRY(reserve_change(operation, err));
    struct qn__pending_change pending = { .was_there = qn_bundle_state_same(bundle->state, change) != NULL };
    QN_TRY(qn_state_entry_copy(change, schema, QN_VERSION_PENDING, &pending.made, err));
    /* The copy: what the caller gave may be of an entry that is replaced here. */
    enum qn_status status =
        qn_bundle_state_change(bundle->state, &pending.made->change, pending.made->schema, QN_VERSION_PENDING, err);
    if (status != QN_OK) {
        qn_free(pending.made);
        return status;
    }
    operation->changes[operation->n_changes++] = pending;
    return QN_OK;
}

enum qn_status qn__bundle_add(struct qn_bundle *bundle, const struct qn_change *change, const char *schema,
                              struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    if (!bundle->operation_open) {
        return qn_error_set(err, QN_ERR_INTERNAL, "a change of a bundle outside of an operation");
    }
    QN_TRY(qn__bundle_state(bundle, &state, err));
    if (change->kind != QN_CHANGE_SET) {
        return add_change(bundle, change, schema, err);
    }
    struct qn_change canonical = *change;
    char *value = NULL;
    QN_TRY(qn_commit_value(change->value, &value, err));
    canonical.value = value;
    enum qn_status status = add_change(bundle, &canonical, NULL, err);
    free(value); /* jansson's */
    return status;
}

void qn__bundle_end(struct qn_bundle *bundle)
{
    bundle->operation_open = false;
    if (last_operation(bundle)->n_changes == 0) {
        (void)drop_last(bundle);
    }
}

static void abandon(struct qn_bundle *bundle)
{
    bundle->operation_open = false;
    if (drop_last(bundle)) {
        qn__bundle_drop_state(bundle);
    }
}

enum qn_status qn__bundle_close(struct qn_bundle *bundle, enum qn_status status)
{
    if (status == QN_OK) {
        qn__bundle_end(bundle);
    } else {
        abandon(bundle);
    }
    return status;
}

enum qn_status qn__bundle_lock_blocks(struct qn_bundle *bundle, struct qn_error *err)
{
    if (bundle->lock_fd >= 0) {
        return QN_OK;
    }
    return qn_bundle_lock(bundle->fd, QN_LOCK_WRITER, qn_deadline_after_ms(LOCK_WAIT_MS), &bundle->lock_fd, err);
}

void qn__pending_clear(struct qn_bundle *bundle)
{
    while (bundle->n_operations > 0) {
        (void)drop_last(bundle);
    }
    bundle->operation_open = false;
    release_lock(bundle);
}

/* ---- taking back ------------------------------------------------------------------------------------------------ */

enum qn_status qn_bundle_undo(struct qn_bundle *bundle, int64_t *undone_out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    int64_t undone = bundle->n_operations > 0 ? 1 : 0;
    if (undone > 0) {
        (void)drop_last(bundle);
        qn__bundle_drop_state(bundle);
    }
    if (undone_out != NULL) {
        *undone_out = undone;
    }
    qn__bundle_leave(bundle);
    return QN_OK;
}

enum qn_status qn_bundle_reset(struct qn_bundle *bundle, int64_t *undone_out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    if (undone_out != NULL) {
        *undone_out = (int64_t)bundle->n_operations;
    }
    if (bundle->n_operations > 0) {
        qn__pending_clear(bundle);
        qn__bundle_drop_state(bundle);
    }
    qn__bundle_leave(bundle);
    return QN_OK;
}

/* ---- one commit of it all --------------------------------------------------------------------------------------- */

/* The changes of all operations, in their order. */
static const struct qn__pending_change **all_changes(const struct qn_bundle *bundle, size_t *count_out)
{
    size_t count = 0;
    for (size_t i = 0; i < bundle->n_operations; i++) {
        count += bundle->operations[i].n_changes;
    }
    const struct qn__pending_change **all = qn_calloc(count > 0 ? count : 1, sizeof *all);
    size_t next = 0;
    for (size_t i = 0; i < bundle->n_operations && all != NULL; i++) {
        for (size_t k = 0; k < bundle->operations[i].n_changes; k++) {
            all[next++] = &bundle->operations[i].changes[k];
        }
    }
    *count_out = count;
    return all;
}

/* A state whose entries stand for what is touched: `rows` of an entry is 1 where it was there before the first change, and
 * `bytes` the index of the last change. */
static enum qn_status note_change(struct qn_bundle_state *touched, const struct qn__pending_change *pending,
                                  size_t index, struct qn_error *err)
{
    const struct qn_change *change = &pending->made->change;
    const struct qn_state_entry *known = qn_bundle_state_same(touched, change);
    struct qn_change note = *change;
    bool object = change->kind >= QN_CHANGE_SET;
    if (object) {
        note.kind = QN_CHANGE_SET;
    } else {
        note.kind = known != NULL ? QN_CHANGE_REPLACE : QN_CHANGE_ADD;
    }
    note.version = note.source = note.format = note.sha256 = note.url = note.origin = note.value = NULL;
    note.rows = known != NULL ? known->change.rows : pending->was_there;
    note.bytes = (int64_t)index;
    return qn_bundle_state_change(touched, &note, NULL, QN_VERSION_PENDING, err);
}

/* What is left of the changes of one thing, whose last is `change`; false: nothing. */
static bool net_change(const struct qn_change *change, bool was_there, struct qn_change *out)
{
    *out = *change;
    switch (change->kind) {
    case QN_CHANGE_ADD:
    case QN_CHANGE_REPLACE:
        out->kind = was_there ? QN_CHANGE_REPLACE : QN_CHANGE_ADD;
        return true;
    case QN_CHANGE_REMOVE:
    case QN_CHANGE_UNSET:
        return was_there;
    default:
        return true;
    }
}

/* Give a change the index of its schema in the commit; the same text as the one before is the usual case. */
static void name_schema(struct qn_commit *commit, struct qn_change *change, const char *schema)
{
    change->schema = -1;
    if (schema == NULL || change->kind > QN_CHANGE_REPLACE) {
        return;
    }
    size_t first = commit->n_schemas > RECENT_SCHEMAS ? commit->n_schemas - RECENT_SCHEMAS : 0;
    for (size_t i = commit->n_schemas; i-- > first;) {
        if (strcmp(commit->schemas[i], schema) == 0) {
            change->schema = (int64_t)i;
            return;
        }
    }
    if (commit->n_schemas < QN_COMMIT_MAX_SCHEMAS) { /* else unknown: it can be read from the block */
        change->schema = (int64_t)commit->n_schemas;
        commit->schemas[commit->n_schemas++] = schema;
    }
}

static enum qn_status gather(const struct qn__pending_change *const *all, size_t count, struct qn_commit *out,
                             struct qn_error *err)
{
    struct qn_bundle_state *touched = NULL;
    QN_TRY(qn_bundle_state_new(&touched, err));
    enum qn_status status = QN_OK;
    for (size_t i = 0; i < count && status == QN_OK; i++) {
        status = note_change(touched, all[i], i, err);
    }
    size_t place = 0;
    const struct qn_state_entry *note;
    while (status == QN_OK && (note = qn_bundle_state_next(touched, &place)) != NULL) {
        const struct qn_state_entry *made = all[note->change.bytes]->made;
        struct qn_change *change = &out->changes[out->n_changes];
        if (net_change(&made->change, note->change.rows != 0, change)) {
            name_schema(out, change, made->schema);
            out->n_changes++;
        }
    }
    qn_bundle_state_free(touched);
    return status;
}

enum qn_status qn__pending_commit(const struct qn_bundle *bundle, struct qn_commit *out, struct qn_error *err)
{
    size_t count = 0;
    qn_auto_free const struct qn__pending_change **all = all_changes(bundle, &count);
    struct qn_commit commit = { .message = "" };
    commit.changes = qn_calloc(count > 0 ? count : 1, sizeof *commit.changes);
    commit.schemas = qn_calloc(count > 0 ? count : 1, sizeof *commit.schemas);
    enum qn_status status = QN_OK;
    if (all == NULL || commit.changes == NULL || commit.schemas == NULL) {
        status = qn__no_memory(err);
    } else {
        status = gather(all, count, &commit, err);
    }
    if (status != QN_OK) {
        qn__pending_dispose(&commit);
        return status;
    }
    *out = commit;
    return QN_OK;
}

void qn__pending_dispose(struct qn_commit *commit)
{
    qn_free(commit->changes);
    qn_free(commit->schemas);
    *commit = (struct qn_commit){ 0 };
}
