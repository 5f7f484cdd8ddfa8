/* positions.c: a sorted array: it is filled once and then asked. */
#include "task/positions.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void qn_positions_dispose(struct qn_positions *positions)
{
    for (size_t i = 0; i < positions->n; i++) {
        qn_free(positions->items[i].version);
    }
    qn_free(positions->items);
    *positions = (struct qn_positions){ .items = NULL };
}

enum qn_status qn_positions_add(struct qn_positions *positions, const struct qn_position *position,
                                struct qn_error *err)
{
    if (positions->n == positions->capacity) {
        size_t capacity = positions->capacity > 0 ? positions->capacity * 2 : 64;
        struct qn_position *items = qn_realloc(positions->items, capacity * sizeof *items);
        if (items == NULL) {
            return qn__no_memory(err);
        }
        positions->items = items;
        positions->capacity = capacity;
    }
    char *version = qn_strdup(position->version);
    if (version == NULL) {
        return qn__no_memory(err);
    }
    positions->items[positions->n] = *position;
    positions->items[positions->n++].version = version;
    positions->sorted = false;
    return QN_OK;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct qn_sha256)); /* the hash is the first member */
}

const struct qn_position *qn_positions_find(struct qn_positions *positions, const struct qn_sha256 *hash)
{
    _Static_assert(offsetof(struct qn_position, hash) == 0, "entries are compared by their beginning");
    if (positions->n == 0) {
        return NULL;
    }
    if (!positions->sorted) {
        qsort(positions->items, positions->n, sizeof *positions->items, compare);
        positions->sorted = true;
    }
    return bsearch(hash, positions->items, positions->n, sizeof *positions->items, compare);
}
