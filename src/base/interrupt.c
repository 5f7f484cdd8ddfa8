/*
 * interrupt.c: the process's interrupt callback.
 *
 * Threads: set before other threads use the library, then only read.
 */
#include "base/status.h"

#include <qanat/plugin/driver.h>
#include <qanat/qanat.h>

static qn_interrupt_callback interrupt_callback;
static void *interrupt_context;

void qn_interrupt_set(qn_interrupt_callback callback, void *context)
{
    interrupt_callback = callback;
    interrupt_context = callback != NULL ? context : NULL;
}

enum qn_status qn_interrupt_poll(struct qn_error *err)
{
    if (QN_LIKELY(interrupt_callback == NULL) || interrupt_callback(interrupt_context) == 0) {
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_CANCELLED, "interrupted");
}
