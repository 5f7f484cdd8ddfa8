/*
 * fault.h: fault points for test builds (-Dfaults=true).
 *
 * A fault point asks `qn_fault_hit(kind)` before the real operation and fails as that operation would where the answer
 * is true. A test arms a kind with n: the n-th hit from then on fails (and only that one, or all after it). Without
 * -Dfaults=true every point is a constant false. Threads: the counters are atomic.
 */
#ifndef QN_BASE_FAULT_H
#define QN_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum qn_fault_kind {
    QN_FAULT_ALLOC,
    QN_FAULT_READ,
    QN_FAULT_WRITE,
    QN_FAULT_FSYNC,
    QN_FAULT_RENAME,
    QN_FAULT_LINK,
    QN_FAULT_KINDS
};
/* QN_FAULT_KILL: the process kills itself (SIGKILL) at the n-th hit, before the operation; for children of a test. */
enum qn_fault_span { QN_FAULT_ONCE, QN_FAULT_FROM_THEN_ON, QN_FAULT_KILL };

#ifdef QN_FAULTS
bool qn_fault_hit(enum qn_fault_kind kind);
#else
static inline bool qn_fault_hit(enum qn_fault_kind kind)
{
    (void)kind;
    return false;
}
#endif

/* Arm: the n-th hit (from 1) fails; 0 disarms. Returns false in builds without fault points. */
bool qn_fault_arm(enum qn_fault_kind kind, int64_t n, enum qn_fault_span span);

/* Hits since the kind was last armed: a sweep ends when a run stays under its n. */
int64_t qn_fault_count(enum qn_fault_kind kind);

#endif
