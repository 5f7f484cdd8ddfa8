/*
 * pool.c: see pool.h.
 *
 * A slot is free (no peer, not busy), kept (a peer, not busy), or busy (lent, being started or being ended): only who made
 * it busy touches its peer. Nothing is started, ended or waited for under the lock.
 */
#include "connector/pool.h"

#include "base/memory.h"
#include "os/clock.h"

#include <poll.h>
#include <pthread.h>
#include <qanat/plugin/driver.h>
#include <time.h>

#define GRACE_MS       2000 /* to end by itself; then again after SIGTERM */
#define SLICE_MS       50
#define FIRST_PAUSE_MS 50 /* before a start after two losses in a row; it doubles */
#define MAX_DOUBLINGS  5

struct slot {
    struct qn_peer *peer;
    bool busy;
    pthread_t user; /* of a busy one */
};

struct qn_peer_pool {
    const struct qn_peer_options *options;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a slot is no longer busy */
    int losses;             /* in a row, over all slots */
    int64_t lost_at;        /* the last one, by qn_clock_nanos */
    int n;
    struct slot slots[];
};

enum qn_status qn_peer_pool_new(const struct qn_peer_options *options, int max, struct qn_peer_pool **out,
                                struct qn_error *err)
{
    struct qn_peer_pool *pool = qn_calloc(1, sizeof *pool + (size_t)max * sizeof pool->slots[0]);
    pthread_condattr_t monotonic;
    if (pool == NULL || pthread_condattr_init(&monotonic) != 0) {
        qn_free(pool);
        return qn__no_memory(err);
    }
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int failure = pthread_cond_init(&pool->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (failure == 0 && pthread_mutex_init(&pool->lock, NULL) != 0) {
        (void)pthread_cond_destroy(&pool->changed);
        failure = -1;
    }
    if (failure != 0) {
        qn_free(pool);
        return qn__no_memory(err);
    }
    pool->options = options;
    pool->n = max;
    *out = pool;
    return QN_OK;
}

void qn_peer_pool_free(struct qn_peer_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    for (int i = 0; i < pool->n; i++) {
        if (pool->slots[i].peer != NULL) {
            qn_peer_hang_up(pool->slots[i].peer);
        }
    }
    int64_t deadline = qn_deadline_after_ms(GRACE_MS);
    for (int i = 0; i < pool->n; i++) {
        int64_t left = qn_deadline_remaining_ms(deadline);
        qn_peer_end(pool->slots[i].peer, left > 0 ? left : 1);
    }
    (void)pthread_cond_destroy(&pool->changed);
    (void)pthread_mutex_destroy(&pool->lock);
    qn_free(pool);
}

/* ---- slots (under the lock) ---- */

/* One that can be had now: kept ones first; NULL: none. */
static struct slot *find_slot(struct qn_peer_pool *pool)
{
    struct slot *free_slot = NULL;
    for (int i = 0; i < pool->n; i++) {
        struct slot *slot = &pool->slots[i];
        if (!slot->busy && slot->peer != NULL) {
            return slot;
        }
        free_slot = free_slot == NULL && !slot->busy ? slot : free_slot;
    }
    return free_slot;
}

static struct slot *slot_of(struct qn_peer_pool *pool, const struct qn_peer *peer)
{
    int i = 0;
    while (pool->slots[i].peer != peer) {
        i++;
    }
    return &pool->slots[i];
}

/* Every process is lent to this thread, which would wait for itself. */
static bool all_are_mine(const struct qn_peer_pool *pool)
{
    for (int i = 0; i < pool->n; i++) {
        if (!pthread_equal(pool->slots[i].user, pthread_self())) {
            return false;
        }
    }
    return true;
}

static enum qn_status wait_for_change(struct qn_peer_pool *pool, struct qn_error *err)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += SLICE_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
    pthread_mutex_unlock(&pool->lock);
    enum qn_status status = qn_interrupt_poll(err);
    pthread_mutex_lock(&pool->lock);
    return status;
}

static enum qn_status take_slot(struct qn_peer_pool *pool, struct slot **out, struct qn_error *err)
{
    for (;;) {
        struct slot *slot = find_slot(pool);
        if (slot != NULL) {
            slot->busy = true;
            slot->user = pthread_self();
            *out = slot;
            return QN_OK;
        }
        if (all_are_mine(pool)) {
            qn_error_set(err, QN_ERR_BUSY, "its %d process%s in the middle of data that this thread reads", pool->n,
                         pool->n == 1 ? " is" : "es are");
            qn_error_hint(err, "read those streams to their ends or close them, or allow more processes");
            return QN_ERR_BUSY;
        }
        QN_TRY(wait_for_change(pool, err));
    }
}

static void free_slot(struct qn_peer_pool *pool, struct slot *slot, bool lost)
{
    pthread_mutex_lock(&pool->lock);
    slot->busy = false;
    if (lost) {
        slot->peer = NULL;
        pool->losses++;
        pool->lost_at = qn_clock_nanos();
    } else if (slot->peer != NULL) {
        pool->losses = 0;
    }
    (void)pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

/* Whose peer a slot is, is read by all. */
static void put_peer(struct qn_peer_pool *pool, struct slot *slot, struct qn_peer *peer)
{
    pthread_mutex_lock(&pool->lock);
    slot->peer = peer;
    pthread_mutex_unlock(&pool->lock);
}

/* ---- processes ---- */

/* Processes that are lost one after the other are not started as fast as they fall. */
static enum qn_status pause_before_start(struct qn_peer_pool *pool, struct qn_error *err)
{
    pthread_mutex_lock(&pool->lock);
    int losses = pool->losses;
    int64_t until = pool->lost_at;
    pthread_mutex_unlock(&pool->lock);
    if (losses < 2) {
        return QN_OK;
    }
    int doublings = losses - 2 < MAX_DOUBLINGS ? losses - 2 : MAX_DOUBLINGS;
    until += ((int64_t)FIRST_PAUSE_MS << doublings) * 1000000;
    for (;;) {
        int64_t left = (until - qn_clock_nanos() + 999999) / 1000000;
        if (left <= 0) {
            return QN_OK;
        }
        QN_TRY(qn_interrupt_poll(err));
        (void)poll(NULL, 0, (int)(left < SLICE_MS ? left : SLICE_MS));
    }
}

enum qn_status qn_peer_pool_take(struct qn_peer_pool *pool, struct qn_peer **out, struct qn_error *err)
{
    struct slot *slot = NULL;
    pthread_mutex_lock(&pool->lock);
    enum qn_status status = take_slot(pool, &slot, err);
    pthread_mutex_unlock(&pool->lock);
    QN_TRY(status);
    if (slot->peer != NULL && qn_peer_alive(slot->peer)) {
        *out = slot->peer;
        return QN_OK;
    }
    qn_peer_end(slot->peer, 0); /* it ended while nobody spoke to it */
    put_peer(pool, slot, NULL);
    status = pause_before_start(pool, err);
    if (status != QN_OK) {
        free_slot(pool, slot, false);
        return status;
    }
    struct qn_peer *peer = NULL;
    status = qn_peer_start(pool->options, &peer, err);
    if (status != QN_OK) {
        free_slot(pool, slot, true);
        return status;
    }
    put_peer(pool, slot, peer);
    *out = peer;
    return QN_OK;
}

void qn_peer_pool_give(struct qn_peer_pool *pool, struct qn_peer *peer)
{
    pthread_mutex_lock(&pool->lock);
    struct slot *slot = slot_of(pool, peer);
    pthread_mutex_unlock(&pool->lock);
    bool lost = qn_peer_lost(peer);
    if (lost) {
        qn_peer_end(peer, GRACE_MS);
    } else {
        qn_peer_forget_tail(peer);
    }
    free_slot(pool, slot, lost);
}

void qn_peer_pool_use(struct qn_peer_pool *pool, struct qn_peer *peer)
{
    pthread_mutex_lock(&pool->lock);
    slot_of(pool, peer)->user = pthread_self();
    pthread_mutex_unlock(&pool->lock);
}
