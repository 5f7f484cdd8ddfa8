/*
 * clock.c: the clocks, and deadlines on the monotonic one. Threads: no state.
 */
#include "os/clock.h"

#include <time.h>

#define NANOS_PER_MS      INT64_C(1000000)
#define NANOS_PER_SECOND  INT64_C(1000000000)
#define NANOS_PER_MICRO   INT64_C(1000)
#define MICROS_PER_SECOND INT64_C(1000000)

int64_t qn_clock_nanos(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail on Linux */
    return (int64_t)now.tv_sec * NANOS_PER_SECOND + now.tv_nsec;
}

int64_t qn_clock_wall_micros(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail on Linux */
    return (int64_t)now.tv_sec * MICROS_PER_SECOND + now.tv_nsec / NANOS_PER_MICRO;
}

int64_t qn_deadline_after_ms(int64_t milliseconds)
{
    int64_t nanos;
    int64_t deadline;
    if (milliseconds <= 0 || __builtin_mul_overflow(milliseconds, NANOS_PER_MS, &nanos) ||
        __builtin_add_overflow(qn_clock_nanos(), nanos, &deadline)) {
        return QN_NO_DEADLINE;
    }
    return deadline;
}

int64_t qn_deadline_remaining_ms(int64_t deadline)
{
    if (deadline == QN_NO_DEADLINE) {
        return INT32_MAX;
    }
    int64_t now = qn_clock_nanos();
    if (deadline <= now) {
        return 0;
    }
    int64_t left = (deadline - now - 1) / NANOS_PER_MS + 1; /* rounded up: 0 only once it has passed */
    return left < INT32_MAX ? left : INT32_MAX;
}
