/*
 * interrupt.c: Ctrl-C and other signals while a thread is blocked in the library.
 *
 * The library asks the callback at least every 100 ms, without the GIL, on the thread that blocks. Only the main thread
 * runs Python's signal handlers; there the callback takes the GIL, lets them run, and keeps what they raised, because
 * the code between here and the caller (which may be another library's) must not run with an exception set. The caller
 * takes it with native_interrupt_take, and no callback in between can (native_callback_begin); where the caller is not
 * ours, a pending call of the interpreter raises it. Nothing here relies on EINTR.
 */
#include "native.h"

#include <pthread.h>
#include <time.h>

#define ASK_EVERY_NS 20000000 /* taking the GIL more often than this would only cost */

static atomic_ulong main_thread;
static _Thread_local PyObject *raised; /* the exception that waits for its taker; only ever set on the main thread */
static _Thread_local int64_t asked_ns;

#if PY_VERSION_HEX >= 0x030D0000
#define interpreter_is_finalizing() Py_IsFinalizing()
#else
#define interpreter_is_finalizing() _Py_IsFinalizing()
#endif

static int interrupted(void *context)
{
    (void)context;
    if (PyThread_get_thread_ident() != atomic_load_explicit(&main_thread, memory_order_relaxed)) {
        return 0;
    }
    if (raised != NULL) {
        return 1;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (now_ns - asked_ns < ASK_EVERY_NS || !Py_IsInitialized() || interpreter_is_finalizing()) {
        return 0;
    }
    asked_ns = now_ns;
    PyGILState_STATE gil = PyGILState_Ensure();
    if (!PyErr_Occurred() && PyErr_CheckSignals() != 0) {
        raised = native_exception_take();
    }
    PyGILState_Release(gil);
    return raised != NULL;
}

bool native_interrupt_keep(void)
{
    if (raised != NULL || PyErr_ExceptionMatches(PyExc_Exception) ||
        PyThread_get_thread_ident() != atomic_load_explicit(&main_thread, memory_order_relaxed)) {
        return false;
    }
    raised = native_exception_take();
    return true;
}

bool native_interrupt_take(void)
{
    if (raised == NULL) {
        return false;
    }
    PyObject *exception = raised;
    raised = NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return true;
}

void native_callback_begin(struct native_callback *call)
{
    call->gil = PyGILState_Ensure();
    call->waiting = raised;
    call->set = native_exception_take();
    raised = NULL;
}

void native_callback_end(struct native_callback *call)
{
    if (raised == NULL) {
        raised = call->waiting;
    } else {
        Py_XDECREF(call->waiting);
    }
    if (call->set != NULL) {
        native_exception_set(call->set);
    }
    PyGILState_Release(call->gil);
}

static int raise_pending(void *unused)
{
    (void)unused;
    return native_interrupt_take() ? -1 : 0;
}

void native_interrupt_schedule(void)
{
    if (raised != NULL) {
        /* A full queue means that the interpreter is about to run pending calls anyway; the exception then stays until
         * the next call into the extension takes it. */
        (void)Py_AddPendingCall(raise_pending, NULL);
    }
}

static void forked(void)
{
    atomic_store(&main_thread, PyThread_get_thread_ident());
}

static unsigned long ident_of_main_thread(void)
{
    PyObject *threading = PyImport_ImportModule("threading");
    PyObject *thread = threading == NULL ? NULL : PyObject_CallMethod(threading, "main_thread", NULL);
    PyObject *ident = thread == NULL ? NULL : PyObject_GetAttrString(thread, "ident");
    unsigned long result = ident == NULL ? (unsigned long)-1 : PyLong_AsUnsignedLong(ident);
    Py_XDECREF(ident);
    Py_XDECREF(thread);
    Py_XDECREF(threading);
    return result;
}

int native_interrupt_init(void)
{
    static atomic_bool fork_handler;
    unsigned long ident = ident_of_main_thread();
    if (PyErr_Occurred()) {
        return -1;
    }
    atomic_store(&main_thread, ident);
    if (!atomic_exchange(&fork_handler, true) && pthread_atfork(NULL, NULL, forked) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    qn_interrupt_set(interrupted, NULL);
    return 0;
}

void native_interrupt_clear(void)
{
    qn_interrupt_set(NULL, NULL);
}
