/* clock.h: time that only moves forward, for deadlines and durations, and the time of day, for records. */
#ifndef QN_OS_CLOCK_H
#define QN_OS_CLOCK_H

#include <stdint.h>

int64_t qn_clock_nanos(void);       /* CLOCK_MONOTONIC */
int64_t qn_clock_wall_micros(void); /* CLOCK_REALTIME: since 1970, UTC; it may be set back */

/* A point in time that blocking calls must not pass. QN_NO_DEADLINE never comes. */
#define QN_NO_DEADLINE INT64_MAX
int64_t qn_deadline_after_ms(int64_t milliseconds); /* 0 or less: QN_NO_DEADLINE */
int64_t qn_deadline_remaining_ms(int64_t deadline); /* 0 once it has passed; at most INT32_MAX */

#endif
