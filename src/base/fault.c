/*
 * fault.c: the counters behind fault points.
 *
 * Hits count from the last arming. A kind that is armed with 0 counts and never fails. Threads: the counters are atomic;
 * arming while other threads hit points is for the test to avoid.
 */
#include "base/fault.h"

#ifdef QN_FAULTS

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static struct {
    _Atomic int64_t hits;
    _Atomic int64_t failing; /* the hit that fails; 0: none */
    _Atomic int span;
} counters[QN_FAULT_KINDS];

bool qn_fault_hit(enum qn_fault_kind kind)
{
    int64_t hit = atomic_fetch_add_explicit(&counters[kind].hits, 1, memory_order_relaxed) + 1;
    int64_t failing = atomic_load_explicit(&counters[kind].failing, memory_order_relaxed);
    if (failing == 0 || hit < failing) {
        return false;
    }
    int span = atomic_load_explicit(&counters[kind].span, memory_order_relaxed);
    if (span == QN_FAULT_KILL) {
        (void)kill(getpid(), SIGKILL);
    }
    return hit == failing || span == QN_FAULT_FROM_THEN_ON;
}

bool qn_fault_arm(enum qn_fault_kind kind, int64_t n, enum qn_fault_span span)
{
    atomic_store(&counters[kind].failing, 0);
    atomic_store(&counters[kind].span, (int)span);
    atomic_store(&counters[kind].hits, 0);
    atomic_store(&counters[kind].failing, n > 0 ? n : 0);
    return true;
}

int64_t qn_fault_count(enum qn_fault_kind kind)
{
    return atomic_load(&counters[kind].hits);
}

#else

bool qn_fault_arm(enum qn_fault_kind kind, int64_t n, enum qn_fault_span span)
{
    (void)kind;
    (void)n;
    (void)span;
    return false;
}

int64_t qn_fault_count(enum qn_fault_kind kind)
{
    (void)kind;
    return 0;
}

#endif
