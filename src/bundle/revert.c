/*
 * revert.c: a new version that holds what an old one held.
 *
 * What differs is changed: blocks and objects that were not there go, those that were come back. A pack is read in the order
 * of its changes, so from the first block of a pack that is not where it was on all of them are put again; a reader finds the
 * rows in the order of the old version. Threads: see bundle_private.h.
 */
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blob.h"
#include "bundle/bundle_private.h"

#include <jansson.h>
#include <qanat/plugin/driver.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What is done with what is there now: its entries in their order, and by address. */
struct place {
    const struct qn_state_entry *entry;
    size_t order;
};

struct plan {
    const struct qn_bundle_state *now;
    const struct qn_bundle_state *then;
    struct place *places; /* sorted by address */
    size_t n_places;
    json_t *packs; /* {pack: the place of its last block that stays; -1: no more stay} */
    struct qn_change *changes;
    const char **schemas;
    size_t n_changes;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *left = a;
    const struct place *right = b;
    return (left->entry > right->entry) - (left->entry < right->entry);
}

static json_int_t place_of(const struct plan *plan, const struct qn_state_entry *entry)
{
    const struct place key = { .entry = entry };
    const struct place *found = bsearch(&key, plan->places, plan->n_places, sizeof key, compare_places);
    return (json_int_t)found->order;
}

static bool texts_equal(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : qn_text_equal(a, b);
}

static bool blocks_equal(const struct qn_state_entry *a, const struct qn_state_entry *b)
{
    const struct qn_change *x = &a->change;
    const struct qn_change *y = &b->change;
    return texts_equal(x->version, y->version) && texts_equal(x->source, y->source) &&
           texts_equal(x->format, y->format) && texts_equal(x->sha256, y->sha256) && texts_equal(x->url, y->url) &&
           texts_equal(x->origin, y->origin) && x->rows == y->rows && x->bytes == y->bytes &&
           texts_equal(a->schema, b->schema);
}

static void add(struct plan *plan, const struct qn_state_entry *entry, enum qn_change_kind kind)
{
    struct qn_change *change = &plan->changes[plan->n_changes];
    *change = entry->change;
    change->kind = kind;
    plan->schemas[plan->n_changes++] = entry->schema;
}

/* What was not there then. */
static void plan_removals(struct plan *plan)
{
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(plan->now, &place)) != NULL) {
        if (qn_bundle_state_same(plan->then, &entry->change) == NULL) {
            add(plan, entry, entry->change.kind == QN_CHANGE_SET ? QN_CHANGE_UNSET : QN_CHANGE_REMOVE);
        }
    }
}

/* Whether a block stays: it is the same, and no block before it in its pack has to be put again. */
static enum qn_status stays(struct plan *plan, const struct qn_state_entry *then, const struct qn_state_entry *now,
                            bool *out, struct qn_error *err)
{
    const json_t *last = json_object_get(plan->packs, then->change.pack);
    json_int_t before = last != NULL ? json_integer_value(last) : 0; /* places count from 1 */
    json_int_t here = now != NULL && blocks_equal(then, now) ? place_of(plan, now) : 0;
    *out = before >= 0 && here > before;
    json_t *next = json_integer(*out ? here : -1);
    return next != NULL && json_object_set_new(plan->packs, then->change.pack, next) == 0 ? QN_OK : qn__no_memory(err);
}

static enum qn_status plan_entries(struct plan *plan, struct qn_error *err)
{
    size_t place = 0;
    const struct qn_state_entry *then;
    while ((then = qn_bundle_state_next(plan->then, &place)) != NULL) {
        const struct qn_state_entry *now = qn_bundle_state_same(plan->now, &then->change);
        if (then->change.kind == QN_CHANGE_SET) {
            if (now == NULL || !qn_text_equal(then->change.value, now->change.value)) {
                add(plan, then, QN_CHANGE_SET);
            }
            continue;
        }
        bool stay = false;
        QN_TRY(stays(plan, then, now, &stay, err));
        if (!stay) {
            add(plan, then, now != NULL ? QN_CHANGE_REPLACE : QN_CHANGE_ADD);
        }
    }
    return QN_OK;
}

static enum qn_status make_plan(struct plan *plan, struct qn_error *err)
{
    size_t most = qn_bundle_state_count(plan->now) + qn_bundle_state_count(plan->then) + 1;
    plan->places = qn_calloc(most, sizeof *plan->places);
    plan->changes = qn_calloc(most, sizeof *plan->changes);
    plan->schemas = qn_calloc(most, sizeof *plan->schemas);
    plan->packs = json_object();
    if (plan->places == NULL || plan->changes == NULL || plan->schemas == NULL || plan->packs == NULL) {
        return qn__no_memory(err);
    }
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(plan->now, &place)) != NULL) {
        plan->places[plan->n_places] = (struct place){ .entry = entry, .order = plan->n_places + 1 };
        plan->n_places++;
    }
    qsort(plan->places, plan->n_places, sizeof *plan->places, compare_places);
    plan_removals(plan);
    return plan_entries(plan, err);
}

static void dispose_plan(struct plan *plan)
{
    qn_free(plan->places);
    qn_free(plan->changes);
    qn_free(plan->schemas);
    json_decref(plan->packs);
}

/* A block that comes back has to be there still. */
static enum qn_status check_block(const struct qn_bundle *bundle, const struct qn_change *change, struct qn_error *err)
{
    struct qn_sha256 hash;
    int fd = -1;
    if (change->kind > QN_CHANGE_REPLACE || change->url != NULL || !qn_sha256_parse(change->sha256, &hash)) {
        return QN_OK;
    }
    enum qn_status status = qn_blob_open(bundle->fd, &hash, change->format, &fd, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "(\"%.60s\", \"%.100s\")", change->pack, change->location);
        return status;
    }
    (void)close(fd);
    return QN_OK;
}

static enum qn_status apply_plan(struct qn_bundle *bundle, const struct plan *plan, struct qn_error *err)
{
    for (size_t i = 0; i < plan->n_changes; i++) {
        QN_TRY(check_block(bundle, &plan->changes[i], err));
        QN_TRY(qn__bundle_add(bundle, &plan->changes[i], plan->schemas[i], err));
    }
    return QN_OK;
}

/* One operation that makes the state that of `version`. */
static enum qn_status change_back(struct qn_bundle *bundle, int64_t version, struct qn_error *err)
{
    struct qn_bundle_state *then = NULL;
    struct plan plan = { 0 };
    QN_TRY(qn__bundle_state(bundle, &plan.now, err));
    QN_TRY(qn_bundle_state_at(bundle->log, version, &then, NULL, err));
    plan.then = then;
    enum qn_status status = make_plan(&plan, err);
    if (status == QN_OK) {
        status = qn__bundle_begin(bundle, "revert", err);
    }
    if (status == QN_OK) {
        status = qn__bundle_close(bundle, apply_plan(bundle, &plan, err));
    }
    dispose_plan(&plan);
    qn_bundle_state_free(then);
    return status;
}

/* Forget what a try has changed. */
static void take_back(struct qn_bundle *bundle)
{
    if (bundle->n_operations > 0) {
        qn__bundle_drop_state(bundle);
    }
    qn__pending_clear(bundle); /* the lock goes with it */
}

/* Change all back and commit, unless somebody has committed since the handle looked. */
static enum qn_status try_once(struct qn_bundle *bundle, int64_t version, const char *message, bool *lost_out,
                               struct qn_error *err)
{
    QN_TRY(qn_interrupt_poll(err));
    QN_TRY(qn__bundle_lock_blocks(bundle, err)); /* gc takes no block while it comes back */
    enum qn_status status = change_back(bundle, version, err);
    if (status == QN_OK) {
        status = qn__bundle_publish_once(bundle, message, lost_out, err);
    }
    take_back(bundle);
    return status;
}

static enum qn_status revert(struct qn_bundle *bundle, const char *text, const char *message, struct qn_error *err)
{
    int64_t version = 0;
    char usual[64];
    bool lost = true;
    if (bundle->n_operations > 0) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "changes are pending: commit them, or reset the bundle, before a revert");
    }
    QN_TRY(qn__bundle_take_in(bundle, err));
    QN_TRY(qn__bundle_find_version(bundle->log, text, &version, err));
    (void)snprintf(usual, sizeof usual, "revert to version %lld", (long long)version);
    while (lost) { /* what others commit meanwhile is changed back too */
        QN_TRY(qn__bundle_take_in(bundle, err));
        QN_TRY(try_once(bundle, version, message != NULL ? message : usual, &lost, err));
    }
    return QN_OK;
}

enum qn_status qn_bundle_revert(struct qn_bundle *bundle, const char *version, const char *message,
                                int64_t *version_out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err));
    enum qn_status status = revert(bundle, version, message, err);
    if (status == QN_OK && version_out != NULL) {
        *version_out = bundle->version;
    }
    qn__bundle_leave(bundle);
    return status;
}
