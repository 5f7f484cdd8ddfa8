/*
 * state.h: what a bundle holds at a version: its blocks by (pack, location), its sources, connectors and configuration.
 *
 * A state is the commits applied in order; each has to fit what is there, so that a history that contradicts itself is
 * found. A handle's changes that are no commit yet are applied too, as of QN_VERSION_PENDING. Threads: one at a time per
 * state; several may read where nobody changes it.
 */
#ifndef QN_BUNDLE_STATE_H
#define QN_BUNDLE_STATE_H

#include "bundle/commit_log.h"

/* The version of what is not committed. */
#define QN_VERSION_PENDING INT64_C(-1)

/* A block or an object that is there. The texts live as long as the entry. */
struct qn_state_entry {
    struct qn_change change; /* a block: kind ADD, with `schema` -1; an object: kind SET */
    const char *schema;      /* of a block; NULL: unknown */
    int64_t version;         /* of the commit that made it so, or QN_VERSION_PENDING */
};

/* A copy of a change with its texts, in one allocation that qn_free frees. `schema` NULL: unknown. */
enum qn_status qn_state_entry_copy(const struct qn_change *change, const char *schema, int64_t version,
                                   struct qn_state_entry **out, struct qn_error *err) QN_MUST_CHECK;

struct qn_bundle_state;

/* The state before commit 0: nothing. */
enum qn_status qn_bundle_state_new(struct qn_bundle_state **out, struct qn_error *err) QN_MUST_CHECK;
void qn_bundle_state_free(struct qn_bundle_state *state);

/* A state of entries in their order, whose texts are in `texts`. Takes both arrays over on success. QN_ERR_DATA: two are the
 * same thing. */
enum qn_status qn_bundle_state_from(struct qn_state_entry *items, size_t count, char *texts,
                                    struct qn_bundle_state **out, struct qn_error *err) QN_MUST_CHECK;

/* Apply a commit. QN_ERR_DATA names the change that does not fit: an add of what is there, a replace, remove or unset of
 * what is not. After a failure the state is only to be freed. */
enum qn_status qn_bundle_state_apply(struct qn_bundle_state *state, const struct qn_commit *commit,
                                     struct qn_error *err) QN_MUST_CHECK;

/* Apply one change; the schema's text is given, not looked up. On failure the state stays as it was. */
enum qn_status qn_bundle_state_change(struct qn_bundle_state *state, const struct qn_change *change, const char *schema,
                                      int64_t version, struct qn_error *err) QN_MUST_CHECK;

/* What a change has made, where it is there and pending, is of this version from now on. */
void qn_bundle_state_settle(struct qn_bundle_state *state, const struct qn_change *change, int64_t version);

/* Make what a change has made the last in the order, where it is there and pending. On failure nothing has changed. */
enum qn_status qn_bundle_state_renew(struct qn_bundle_state *state, const struct qn_change *change,
                                     struct qn_error *err) QN_MUST_CHECK;

/* The state at a version of a log: from the nearest snapshot, where one can be trusted. *applied_out (may be NULL): the
 * commits that had to be applied one by one. */
enum qn_status qn_bundle_state_at(const struct qn_commit_log *log, int64_t version, struct qn_bundle_state **out,
                                  int64_t *applied_out, struct qn_error *err) QN_MUST_CHECK;

/* One entry, or NULL. Borrowed until the next apply. */
const struct qn_state_entry *qn_bundle_state_block(const struct qn_bundle_state *state, const char *pack,
                                                   const char *location);
const struct qn_state_entry *qn_bundle_state_object(const struct qn_bundle_state *state, enum qn_object_kind kind,
                                                    const char *name);

/* What a change is about, or NULL: a block of its pack and location, or the object of its kind and name. */
const struct qn_state_entry *qn_bundle_state_same(const struct qn_bundle_state *state, const struct qn_change *change);

size_t qn_bundle_state_count(const struct qn_bundle_state *state);

/* All entries, in the order in which they came as they are (by version, and in a version by the order of its changes; what
 * is pending last): begin with *place 0; NULL ends. Borrowed until the next apply. */
const struct qn_state_entry *qn_bundle_state_next(const struct qn_bundle_state *state, size_t *place);

/* Whether a commit that was made against version `since` can follow the log's head: the commits that came after touch no
 * (pack, location) and no object that it touches. QN_ERR_CONFLICT names the first few that both touch, and the commit; the
 * caller has to look again before it decides. */
enum qn_status qn_commit_rebase(const struct qn_commit_log *log, const struct qn_commit *pending, int64_t since,
                                struct qn_error *err) QN_MUST_CHECK;

#endif
