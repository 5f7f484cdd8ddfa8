/*
 * qanat.h: all of the public C API, and what belongs to the process: version, log, interrupts.
 *
 * The library never prints, exits, aborts or installs a signal handler. Everything named qn_ or QN_ is public; what
 * starts with qn__ is not.
 */
#ifndef QANAT_QANAT_H
#define QANAT_QANAT_H

#include <qanat/bundle.h>
#include <qanat/connector.h>
#include <qanat/database.h>
#include <qanat/error.h>
#include <qanat/processor.h>
#include <qanat/stream.h>
#include <qanat/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is linked: "0.1.0". Static. */
QN_API const char *qn_version(void);

enum qn_log_level { QN_LOG_DEBUG = 10, QN_LOG_INFO = 20, QN_LOG_WARNING = 30, QN_LOG_ERROR = 40 };

/* Called for every message of at least the level set, on the thread that the message is about. `area` is "postgres",
 * "sqlite", "task" and so on. Must not call back into the library. Neither text holds a password or a parameter value. */
typedef void (*qn_log_callback)(void *context, enum qn_log_level level, const char *area, const char *message);

/* Set, or with NULL remove, the process's log callback. Without one, and with QANAT_LOG=debug|info|warning|error in the
 * environment, messages go to standard error. Call before other threads use the library. */
QN_API void qn_log_set(qn_log_callback callback, void *context, enum qn_log_level level);

/* Called at least every 100 ms by calls that block, on the thread that made them: a non-zero answer makes the call
 * return QN_ERR_CANCELLED. Must not call back into the library. */
typedef int (*qn_interrupt_callback)(void *context);

/* Set, or with NULL remove, the process's interrupt callback. Call before other threads use the library. */
QN_API void qn_interrupt_set(qn_interrupt_callback callback, void *context);

#ifdef __cplusplus
}
#endif
#endif
