/*
 * log.h: messages to the process's log callback (qanat.h). Costs one load where the level is off. Never pass a password
 * or a parameter value.
 */
#ifndef QN_BASE_LOG_H
#define QN_BASE_LOG_H

#include <qanat/qanat.h>

extern int qn__log_threshold; /* read and written with __atomic, relaxed */

void qn__log_write(enum qn_log_level level, const char *area, const char *format, ...) QN_PRINTF(3, 4);

#define QN_LOG(level, area, ...)                                                                                       \
    do {                                                                                                               \
        if ((int)(level) >= __atomic_load_n(&qn__log_threshold, __ATOMIC_RELAXED)) {                                   \
            qn__log_write((level), (area), __VA_ARGS__);                                                               \
        }                                                                                                              \
    } while (0)

#endif
