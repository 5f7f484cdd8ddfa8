/*
 * block_list.c: a sorted array of the blocks that commits name.
 *
 * It is filled, sorted once, then searched. Threads: one at a time per list.
 */
#include "bundle/block_list.h"

#include "base/memory.h"

#include <stdlib.h>

static enum qn_status add(struct qn__block_list *list, const struct qn_change *change, int64_t version, bool needed,
                          struct qn_error *err)
{
    struct qn__named_block block = { .needed = needed, .version = version };
    if (change->kind > QN_CHANGE_REPLACE || change->url != NULL || !qn_sha256_parse(change->sha256, &block.hash)) {
        return QN_OK;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity < 64 ? 64 : list->capacity * 2;
        struct qn__named_block *items = qn_realloc_array(list->items, capacity, sizeof *items);
        if (items == NULL) {
            return qn__no_memory(err);
        }
        list->items = items;
        list->capacity = capacity;
    }
    memcpy(block.format, change->format, strnlen(change->format, QN_COMMIT_MAX_SUFFIX));
    list->items[list->count++] = block;
    return QN_OK;
}

enum qn_status qn__block_list_add_commit(struct qn__block_list *list, const struct qn_commit *commit, bool needed,
                                         struct qn_error *err)
{
    for (size_t i = 0; i < commit->n_changes; i++) {
        QN_TRY(add(list, &commit->changes[i], commit->version, needed, err));
    }
    return QN_OK;
}

enum qn_status qn__block_list_add_state(struct qn__block_list *list, const struct qn_bundle_state *state, bool needed,
                                        struct qn_error *err)
{
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        QN_TRY(add(list, &entry->change, entry->version, needed, err));
    }
    return QN_OK;
}

static int compare(const void *a, const void *b)
{
    const struct qn__named_block *left = a;
    const struct qn__named_block *right = b;
    int order = memcmp(left->hash.bytes, right->hash.bytes, QN_SHA256_SIZE);
    return order != 0 ? order : strcmp(left->format, right->format);
}

void qn__block_list_sort(struct qn__block_list *list)
{
    size_t kept = 0;
    if (list->count == 0) {
        return;
    }
    qsort(list->items, list->count, sizeof *list->items, compare);
    for (size_t i = 1; i < list->count; i++) {
        struct qn__named_block *last = &list->items[kept];
        const struct qn__named_block *next = &list->items[i];
        if (compare(last, next) != 0) {
            list->items[++kept] = *next;
            continue;
        }
        last->needed = last->needed || next->needed;
        last->version = next->version < last->version ? next->version : last->version;
    }
    list->count = kept + 1;
}

const struct qn__named_block *qn__block_list_find(const struct qn__block_list *list, const struct qn_sha256 *hash,
                                                  const char *format)
{
    struct qn__named_block key = { .hash = *hash };
    if (list->count == 0 || strnlen(format, QN_COMMIT_MAX_SUFFIX + 1) > QN_COMMIT_MAX_SUFFIX) {
        return NULL;
    }
    memcpy(key.format, format, strlen(format));
    return bsearch(&key, list->items, list->count, sizeof key, compare);
}

void qn__block_list_dispose(struct qn__block_list *list)
{
    qn_free(list->items);
    *list = (struct qn__block_list)QN__BLOCK_LIST_INIT;
}
