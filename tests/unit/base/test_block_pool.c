/*
 * test_block_pool.c: blocks that come back, from any thread and after their pool's owner.
 */
#include "base/block_pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static void pool__gives_a_block_again(void **state)
{
    (void)state;
    size_t capacity;
    struct qn_block_pool *pool = qn_block_pool_new();
    assert_non_null(pool);
    assert_false(qn_block_pool_has(pool, MIB));
    char *first = qn_block_pool_take(pool, MIB, &capacity);
    assert_non_null(first);
    assert_int_equal(capacity, MIB);
    assert_int_equal((uintptr_t)first % QN_BLOCK_ALIGN, 0);
    memset(first, 1, capacity);
    char *second = qn_block_pool_take(pool, MIB, &capacity);
    assert_ptr_not_equal(first, second);
    qn_block_pool_give(first);
    assert_true(qn_block_pool_has(pool, MIB - 100));
    assert_false(qn_block_pool_has(pool, MIB + 1));
    assert_false(qn_block_pool_has(pool, 1000)); /* far too large for that */
    assert_ptr_equal(qn_block_pool_take(pool, MIB - 100, &capacity), first);
    assert_int_equal(capacity, MIB);
    qn_block_pool_give(first);
    qn_block_pool_give(second);
    qn_block_pool_give(NULL);
    qn_block_pool_free(pool);
    qn_block_pool_free(NULL);
}

static void pool__keeps_few(void **state)
{
    (void)state;
    size_t capacity;
    void *blocks[10];
    struct qn_block_pool *pool = qn_block_pool_new();
    for (size_t i = 0; i < 10; i++) {
        blocks[i] = qn_block_pool_take(pool, (i + 1) * MIB, &capacity);
        assert_non_null(blocks[i]);
    }
    for (size_t i = 0; i < 10; i++) {
        qn_block_pool_give(blocks[i]);
    }
    assert_false(qn_block_pool_has(pool, 11 * MIB));
    assert_true(qn_block_pool_has(pool, 10 * MIB)); /* the last ones that came back */
    assert_true(qn_block_pool_has(pool, 8 * MIB));
    assert_false(qn_block_pool_has(pool, MIB));
    qn_block_pool_free(pool);
}

/* A row group that was gathered comes back at once, and the next one is made of the same memory. */
static void pool__keeps_what_was_gathered(void **state)
{
    (void)state;
    enum { GATHERED = 16 };
    size_t capacity;
    void *blocks[GATHERED];
    struct qn_block_pool *pool = qn_block_pool_new();
    for (size_t i = 0; i < GATHERED; i++) {
        blocks[i] = qn_block_pool_take(pool, MIB, &capacity);
        assert_non_null(blocks[i]);
    }
    for (size_t i = 0; i < GATHERED; i++) {
        qn_block_pool_give(blocks[i]);
    }
    for (size_t i = 0; i < GATHERED; i++) {
        assert_true(qn_block_pool_has(pool, MIB));
        assert_ptr_equal(qn_block_pool_take(pool, MIB, &capacity), blocks[i]);
    }
    assert_false(qn_block_pool_has(pool, MIB));
    for (size_t i = 0; i < GATHERED; i++) {
        qn_block_pool_give(blocks[i]);
    }
    qn_block_pool_free(pool);
}

/* Many pools together keep no more than one does, but for two blocks each. */
static void pool__keeps_no_more_where_there_are_many(void **state)
{
    (void)state;
    enum { POOLS = 3, TAKEN = 12 };
    size_t capacity;
    size_t kept = 0;
    void *blocks[POOLS][TAKEN];
    struct qn_block_pool *pools[POOLS];
    for (size_t i = 0; i < POOLS; i++) {
        pools[i] = qn_block_pool_new();
        for (size_t j = 0; j < TAKEN; j++) {
            blocks[i][j] = qn_block_pool_take(pools[i], MIB, &capacity);
        }
    }
    for (size_t i = 0; i < POOLS * TAKEN; i++) {
        qn_block_pool_give(blocks[i / TAKEN][i % TAKEN]);
    }
    for (size_t i = 0; i < POOLS; i++) {
        for (size_t j = 0; qn_block_pool_has(pools[i], MIB); j++) {
            blocks[i][j] = qn_block_pool_take(pools[i], MIB, &capacity);
            kept++;
        }
    }
    assert_int_equal(kept, 12 + 4 + 2); /* 16 MiB, and the last one's own two */
    for (size_t i = 0; i < kept; i++) { /* the first pool's twelve, then those of the others */
        qn_block_pool_give(i < 12 ? blocks[0][i] : i < 16 ? blocks[1][i - 12] : blocks[2][i - 16]);
    }
    for (size_t i = 0; i < POOLS; i++) {
        qn_block_pool_free(pools[i]);
    }
}

static void pool__blocks_outlive_the_owner(void **state)
{
    (void)state;
    size_t capacity;
    struct qn_block_pool *pool = qn_block_pool_new();
    char *one = qn_block_pool_take(pool, 100, &capacity);
    char *other = qn_block_pool_take(pool, 100, &capacity);
    qn_block_pool_free(pool);
    memset(one, 1, 100);
    qn_block_pool_give(one);
    memset(other, 1, 100);
    qn_block_pool_give(other); /* and the pool with it */
}

struct many {
    void *blocks[1000];
};

static void *give_all(void *context)
{
    struct many *many = context;
    for (size_t i = 0; i < 1000; i++) {
        qn_block_pool_give(many->blocks[i]);
    }
    return NULL;
}

static void pool__takes_blocks_from_any_thread(void **state)
{
    (void)state;
    static struct many many[4];
    pthread_t threads[4];
    size_t capacity;
    struct qn_block_pool *pool = qn_block_pool_new();
    for (size_t t = 0; t < 4; t++) {
        for (size_t i = 0; i < 1000; i++) {
            many[t].blocks[i] = qn_block_pool_take(pool, 64 + i, &capacity);
            assert_non_null(many[t].blocks[i]);
        }
        assert_int_equal(pthread_create(&threads[t], NULL, give_all, &many[t]), 0);
    }
    qn_block_pool_free(pool); /* while they give back */
    for (size_t t = 0; t < 4; t++) {
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool__gives_a_block_again),      cmocka_unit_test(pool__keeps_few),
        cmocka_unit_test(pool__keeps_what_was_gathered),  cmocka_unit_test(pool__keeps_no_more_where_there_are_many),
        cmocka_unit_test(pool__blocks_outlive_the_owner), cmocka_unit_test(pool__takes_blocks_from_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
