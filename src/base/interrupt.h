/*
 * interrupt.h: what else a thread does while it waits.
 *
 * A call that blocks asks qn_interrupt_poll() at least every 100 ms (qanat/plugin/driver.h). Whoever made the call can
 * have a function of its own called there, on the same thread: to show progress, and to say that it wants no more.
 */
#ifndef QN_BASE_INTERRUPT_H
#define QN_BASE_INTERRUPT_H

#include "base/status.h"

/* An error ends the call that waits, as an interrupt does. */
typedef enum qn_status (*qn_wait_hook)(void *context, struct qn_error *err);

/* Set the hook of this thread; NULL: none. It is not called from inside itself, and not again after it has failed. */
void qn_wait_hook_set(qn_wait_hook hook, void *context);

#endif
