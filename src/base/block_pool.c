/*
 * block_pool.c: blocks with a header before them, and a short list of free ones under a lock. Threads: see block_pool.h.
 */
#include "base/block_pool.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#define MOST_FREE  64                 /* blocks of a pool */
#define MOST_KEPT  ((size_t)16 << 20) /* bytes of the free blocks of all pools: a row group is given back at once ... */
#define LEAST_FREE 2                  /* ... but so many of any size in a pool */
#define MOST_OVER  4                  /* a block is used for no less than a quarter of it, and a page */
#define PAGE       4096

struct header {
    struct qn_block_pool *pool;
    void *allocated;
    size_t capacity;
};

struct qn_block_pool {
    pthread_mutex_t lock;
    bool owned;
    size_t n_out;
    struct header *free[MOST_FREE];
    size_t n_free;
};

static size_t kept_by_all; /* bytes of the free blocks of all pools; atomic */

struct qn_block_pool *qn_block_pool_new(void)
{
    struct qn_block_pool *pool = qn_calloc(1, sizeof *pool);
    if (pool != NULL) {
        (void)pthread_mutex_init(&pool->lock, NULL);
        pool->owned = true;
    }
    return pool;
}

static void destroy(struct qn_block_pool *pool)
{
    (void)pthread_mutex_destroy(&pool->lock);
    qn_free(pool);
}

void qn_block_pool_free(struct qn_block_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->owned = false;
    while (pool->n_free > 0) {
        struct header *header = pool->free[--pool->n_free];
        (void)__atomic_sub_fetch(&kept_by_all, header->capacity, __ATOMIC_RELAXED);
        qn_free(header->allocated);
    }
    bool last = pool->n_out == 0;
    pthread_mutex_unlock(&pool->lock);
    if (last) {
        destroy(pool);
    }
}

/* The smallest free block that `size` bytes may have; MOST_FREE: none. Under the lock. */
static size_t find_free(const struct qn_block_pool *pool, size_t size)
{
    size_t best = MOST_FREE;
    for (size_t i = 0; i < pool->n_free; i++) {
        size_t capacity = pool->free[i]->capacity;
        if (capacity >= size && capacity / MOST_OVER <= size + PAGE &&
            (best == MOST_FREE || capacity < pool->free[best]->capacity)) {
            best = i;
        }
    }
    return best;
}

bool qn_block_pool_has(struct qn_block_pool *pool, size_t size)
{
    pthread_mutex_lock(&pool->lock);
    bool found = find_free(pool, size) != MOST_FREE;
    pthread_mutex_unlock(&pool->lock);
    return found;
}

/* The header of a block, which stands right before it. */
static struct header *header_of(void *block)
{
    return (struct header *)block - 1;
}

static struct header *make(struct qn_block_pool *pool, size_t size)
{
    size_t whole;
    void *allocated = qn_size_add(size, sizeof(struct header) + QN_BLOCK_ALIGN, &whole) ? qn_malloc(whole) : NULL;
    if (allocated == NULL) {
        return NULL;
    }
    uintptr_t first = (uintptr_t)allocated + sizeof(struct header) + QN_BLOCK_ALIGN - 1;
    char *block = (char *)allocated + (first / QN_BLOCK_ALIGN * QN_BLOCK_ALIGN - (uintptr_t)allocated);
    struct header *header = header_of(block);
    *header = (struct header){ .pool = pool, .allocated = allocated, .capacity = size };
    return header;
}

void *qn_block_pool_take(struct qn_block_pool *pool, size_t size, size_t *capacity_out)
{
    struct header *found = NULL;
    pthread_mutex_lock(&pool->lock);
    size_t i = find_free(pool, size);
    if (i != MOST_FREE) {
        found = pool->free[i];
        (void)__atomic_sub_fetch(&kept_by_all, found->capacity, __ATOMIC_RELAXED);
        pool->n_free--;
        memmove(&pool->free[i], &pool->free[i + 1], (pool->n_free - i) * sizeof *pool->free);
        pool->n_out++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (found == NULL) {
        found = make(pool, size);
        if (found == NULL) {
            return NULL;
        }
        pthread_mutex_lock(&pool->lock);
        pool->n_out++;
        pthread_mutex_unlock(&pool->lock);
    }
    *capacity_out = found->capacity;
    return found + 1;
}

/* Keep a block; those that are too many then, the oldest ones, come out: the newest sizes are the likeliest. Under the lock. */
static size_t keep(struct qn_block_pool *pool, struct header *header, struct header *spare[MOST_FREE])
{
    size_t n = 0;
    size_t kept = __atomic_add_fetch(&kept_by_all, header->capacity, __ATOMIC_RELAXED);
    while (pool->n_free - n > 0 &&
           (pool->n_free - n == MOST_FREE || (pool->n_free - n >= LEAST_FREE && kept > MOST_KEPT))) {
        spare[n] = pool->free[n];
        kept = __atomic_sub_fetch(&kept_by_all, spare[n]->capacity, __ATOMIC_RELAXED);
        n++;
    }
    pool->n_free -= n;
    memmove(pool->free, pool->free + n, pool->n_free * sizeof *pool->free);
    pool->free[pool->n_free++] = header;
    return n;
}

void qn_block_pool_give(void *block)
{
    if (block == NULL) {
        return;
    }
    struct header *spare[MOST_FREE] = { header_of(block) };
    size_t n_spare = 1;
    struct qn_block_pool *pool = spare[0]->pool;
    pthread_mutex_lock(&pool->lock);
    if (pool->owned) {
        n_spare = keep(pool, spare[0], spare);
    }
    pool->n_out--;
    bool last = !pool->owned && pool->n_out == 0;
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < n_spare; i++) {
        qn_free(spare[i]->allocated);
    }
    if (last) {
        destroy(pool);
    }
}
