/*
 * pool.h: the interpreters of this process, and the children that stand ready in them.
 *
 * One zygote for each key (runtime, allow list, tier, heavy modules); of each kind of child that is asked for, a few are
 * forked and locked down ahead of their runs. Interpreters that nobody uses are ended after a while, or when there are too
 * many. The table is shared by all threads under one lock, which nothing waits under; a forked process begins with an
 * empty table and leaves the interpreters to its parent.
 */
#ifndef QN_PROCESSOR_POOL_H
#define QN_PROCESSOR_POOL_H

#include "processor/zygote.h"

#define QN_POOL_MAX_ZYGOTES  8 /* idle ones beyond are ended, the least recently used first */
#define QN_POOL_IDLE_NANOS   (QN_ZYGOTE_IDLE_SECONDS * INT64_C(1000000000)) /* one that has not ended itself is ended */
#define QN_POOL_READY        2                                              /* children of one kind that stand ready */
#define QN_POOL_MAX_READY    4                                              /* of all kinds of one zygote */
#define QN_POOL_MAX_ATTEMPTS 3 /* at a child, where processes end under our hands */

struct qn_pool_entry;

/* A child that is ready, and whose it is. */
struct qn_pool_child {
    struct qn_child child;
    struct qn_pool_entry *home;
};

/* Take a child of the zygote that `key` (bytes; those of the tier and the modules are put to it here) names, starting one
 * where there is none. Any thread; blocks; asks for interrupts. */
enum qn_status qn_pool_take(const struct qn_zygote_spec *spec, const struct qn_buffer *key, struct qn_child_kind kind,
                            struct qn_pool_child *out, struct qn_error *err) QN_MUST_CHECK;

/* Have others forked in its place. Once the run has begun: it costs the caller one system call or two. */
void qn_pool_refill(const struct qn_pool_child *taken);

/* Close the child and leave its zygote. */
void qn_pool_give_back(struct qn_pool_child *taken);

/* How many zygotes there are, those that are starting included. For tests. */
size_t qn__pool_size(void);

#endif
