/*
 * block_pool.h: large blocks of memory that come back to be used again.
 *
 * Whoever reads batch after batch would otherwise have the system map, zero and unmap their memory each time, which costs
 * more than filling it. A block is given back on any thread, also after its pool's owner has gone. A pool keeps at most 64
 * free blocks; all pools of the process keep 16 MiB together (a row group that was gathered comes back at once) and two
 * blocks each. Threads: the owner asks from one thread at a time; blocks are given back from any.
 */
#ifndef QN_BASE_BLOCK_POOL_H
#define QN_BASE_BLOCK_POOL_H

#include <stdbool.h>
#include <stddef.h>

#define QN_BLOCK_ALIGN 64

struct qn_block_pool;

/* NULL where there is no memory. */
struct qn_block_pool *qn_block_pool_new(void);
/* The owner goes: what is free is freed, what comes back later too. NULL is allowed. */
void qn_block_pool_free(struct qn_block_pool *pool);

/* A block of at least `size` bytes at a multiple of QN_BLOCK_ALIGN; *capacity_out is what it has. NULL: no memory. */
void *qn_block_pool_take(struct qn_block_pool *pool, size_t size, size_t *capacity_out);
/* Whether a free block of that size is there, so that taking it costs no memory. */
bool qn_block_pool_has(struct qn_block_pool *pool, size_t size);
/* Give a block back. NULL is allowed. */
void qn_block_pool_give(void *block);

#endif
