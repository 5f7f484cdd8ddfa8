/*
 * pool.h: the processes of one connector: started as they are needed, lent for one conversation at a time, kept for the next.
 *
 * A process that was lost is ended and replaced by a new one when it is needed; while processes are lost one after the
 * other, each start waits longer than the one before. Threads: any number at once, but for opening and closing.
 */
#ifndef QN_CONNECTOR_POOL_H
#define QN_CONNECTOR_POOL_H

#include "connector/peer.h"

struct qn_peer_pool;

/* `options` (its texts and argv too) is borrowed as long as the pool is there. Starts nothing. */
enum qn_status qn_peer_pool_new(const struct qn_peer_options *options, int max, struct qn_peer_pool **out,
                                struct qn_error *err) QN_MUST_CHECK;

/* Ends every process that is not lent: all are asked at once, those that do not end by themselves are ended. Nothing may be
 * lent any more. NULL is allowed. */
void qn_peer_pool_free(struct qn_peer_pool *pool);

/* A peer to speak to: one that is kept, else a new one, else the next that comes back (asking qn_interrupt_poll).
 * QN_ERR_BUSY where this thread has them all. */
enum qn_status qn_peer_pool_take(struct qn_peer_pool *pool, struct qn_peer **out, struct qn_error *err) QN_MUST_CHECK;

/* Give it back: it is kept, or ended where it is lost. */
void qn_peer_pool_give(struct qn_peer_pool *pool, struct qn_peer *peer);

/* This thread uses the peer now. */
void qn_peer_pool_use(struct qn_peer_pool *pool, struct qn_peer *peer);

#endif
