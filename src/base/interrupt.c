/*
 * interrupt.c: the process's interrupt callback, and each thread's wait hook.
 *
 * Threads: the callback is set before other threads use the library, then only read. A hook is its thread's own.
 */
#include "base/interrupt.h"

#include <qanat/plugin/driver.h>
#include <qanat/qanat.h>

static qn_interrupt_callback interrupt_callback;
static void *interrupt_context;

static __thread qn_wait_hook wait_hook;
static __thread void *wait_context;

void qn_interrupt_set(qn_interrupt_callback callback, void *context)
{
    interrupt_callback = callback;
    interrupt_context = callback != NULL ? context : NULL;
}

void qn_wait_hook_set(qn_wait_hook hook, void *context)
{
    wait_hook = hook;
    wait_context = context;
}

static enum qn_status call_hook(struct qn_error *err)
{
    qn_wait_hook hook = wait_hook;
    wait_hook = NULL;
    enum qn_status status = hook(wait_context, err);
    if (status == QN_OK) {
        wait_hook = hook;
    }
    return status;
}

enum qn_status qn_interrupt_poll(struct qn_error *err)
{
    if (QN_UNLIKELY(wait_hook != NULL)) {
        QN_TRY(call_hook(err));
    }
    if (QN_LIKELY(interrupt_callback == NULL) || interrupt_callback(interrupt_context) == 0) {
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_CANCELLED, "interrupted");
}
