/*
 * state.h: what a bundle holds at a version: its blocks by (pack, location), its sources, connectors and configuration.
 *
 * A state is the commits applied in order; each has to fit what is there, so that a history that contradicts itself is
 * found. Threads: one at a time per state.
 */
#ifndef QN_BUNDLE_STATE_H
#define QN_BUNDLE_STATE_H

#include "bundle/commit_log.h"

/* A block or an object that is there. The texts live as long as the entry. */
struct qn_state_entry {
    struct qn_change change; /* a block: kind ADD, with `schema` -1; an object: kind SET */
    const char *schema;      /* of a block; NULL: unknown */
    int64_t version;         /* of the commit that made it so */
};

struct qn_bundle_state;

/* The state before commit 0: nothing. */
enum qn_status qn_bundle_state_new(struct qn_bundle_state **out, struct qn_error *err) QN_MUST_CHECK;
void qn_bundle_state_free(struct qn_bundle_state *state);

/* Apply a commit. QN_ERR_DATA names the change that does not fit: an add of what is there, a replace, remove or unset of
 * what is not. After a failure the state is only to be freed. */
enum qn_status qn_bundle_state_apply(struct qn_bundle_state *state, const struct qn_commit *commit,
                                     struct qn_error *err) QN_MUST_CHECK;

/* The state at a version of a log. */
enum qn_status qn_bundle_state_at(const struct qn_commit_log *log, int64_t version, struct qn_bundle_state **out,
                                  struct qn_error *err) QN_MUST_CHECK;

/* One entry, or NULL. Borrowed until the next apply. */
const struct qn_state_entry *qn_bundle_state_block(const struct qn_bundle_state *state, const char *pack,
                                                   const char *location);
const struct qn_state_entry *qn_bundle_state_object(const struct qn_bundle_state *state, enum qn_object_kind kind,
                                                    const char *name);

/* All entries, in the order in which they came: begin with *place 0; NULL ends. Borrowed until the next apply. */
const struct qn_state_entry *qn_bundle_state_next(const struct qn_bundle_state *state, size_t *place);

/* Whether a commit that was made against version `since` can follow the log's head: the commits that came after touch no
 * (pack, location) and no object that it touches. QN_ERR_BUSY, retryable, names the first few that both touch, and the
 * commit; the caller has to look again before it decides. */
enum qn_status qn_commit_rebase(const struct qn_commit_log *log, const struct qn_commit *pending, int64_t since,
                                struct qn_error *err) QN_MUST_CHECK;

#endif
