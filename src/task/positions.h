/*
 * positions.h: how far each location of a task's source has been moved, as the sink keeps it.
 *
 * A location is known by the SHA-256 of its name, so that names of any length can be a key. Threads: one at a time.
 */
#ifndef QN_TASK_POSITIONS_H
#define QN_TASK_POSITIONS_H

#include "bundle/digest.h"

struct qn_position {
    struct qn_sha256 hash;
    char *version;
    int64_t rows;
    bool done;
};

struct qn_positions {
    struct qn_position *items;
    size_t n, capacity;
    bool sorted;
};

/* Add one; the version is copied. */
enum qn_status qn_positions_add(struct qn_positions *positions, const struct qn_position *position,
                                struct qn_error *err) QN_MUST_CHECK;
/* The one of that hash, or NULL. Borrowed until the next add. */
const struct qn_position *qn_positions_find(struct qn_positions *positions, const struct qn_sha256 *hash);
void qn_positions_dispose(struct qn_positions *positions);

#endif
