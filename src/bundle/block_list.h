/*
 * block_list.h: the blocks that commits name, each once: for verify and gc.
 *
 * Threads: one at a time per list.
 */
#ifndef QN_BUNDLE_BLOCK_LIST_H
#define QN_BUNDLE_BLOCK_LIST_H

#include "bundle/state.h"

struct qn__named_block {
    struct qn_sha256 hash;
    char format[QN_COMMIT_MAX_SUFFIX + 1];
    bool needed;     /* by a version whose blocks are kept */
    int64_t version; /* the first that names it */
};

struct qn__block_list {
    struct qn__named_block *items;
    size_t count;
    size_t capacity;
};
#define QN__BLOCK_LIST_INIT                                                                                            \
    {                                                                                                                  \
        .items = NULL                                                                                                  \
    }

/* Add the blocks of the bundle's own that a commit names, or that a state holds. */
enum qn_status qn__block_list_add_commit(struct qn__block_list *list, const struct qn_commit *commit, bool needed,
                                         struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__block_list_add_state(struct qn__block_list *list, const struct qn_bundle_state *state, bool needed,
                                        struct qn_error *err) QN_MUST_CHECK;

/* Sort, and make one of those that are the same. Before it is searched. */
void qn__block_list_sort(struct qn__block_list *list);
const struct qn__named_block *qn__block_list_find(const struct qn__block_list *list, const struct qn_sha256 *hash,
                                                  const char *format);
void qn__block_list_dispose(struct qn__block_list *list);

#endif
