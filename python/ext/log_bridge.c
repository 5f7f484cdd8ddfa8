/*
 * log_bridge.c: the library's messages to logging.getLogger("qanat.AREA").
 *
 * The library is told the level that Python's logging wants (native_log_refresh, before each call that may log), so that
 * a DEBUG message nobody wants is not even formatted. The callback runs on any thread without the GIL and takes it. It is
 * removed before the interpreter ends (qanat registers an atexit function).
 */
#include "native.h"

static void log_message(void *context, enum qn_log_level level, const char *area, const char *message);

int native_log_init(struct native_state *state)
{
    PyObject *logging = PyImport_ImportModule("logging");
    if (logging == NULL) {
        return -1;
    }
    state->logger = PyObject_CallMethod(logging, "getLogger", "s", "qanat");
    Py_DECREF(logging);
    if (state->logger == NULL) {
        return -1;
    }
    state->is_enabled = PyObject_GetAttrString(state->logger, "isEnabledFor");
    state->debug_level = PyLong_FromLong(QN_LOG_DEBUG);
    state->log_areas = PyDict_New();
    if (state->is_enabled == NULL || state->debug_level == NULL || state->log_areas == NULL) {
        return -1;
    }
    state->log_threshold = QN_LOG_INFO;
    qn_log_set(log_message, state, QN_LOG_INFO);
    native_log_refresh(state);
    return 0;
}

void native_log_clear(struct native_state *state)
{
    (void)state;
    qn_log_set(NULL, NULL, QN_LOG_ERROR);
}

void native_log_refresh(struct native_state *state)
{
    PyObject *enabled = PyObject_CallOneArg(state->is_enabled, state->debug_level);
    if (enabled == NULL) {
        PyErr_WriteUnraisable(state->is_enabled);
        return;
    }
    int threshold = enabled == Py_True ? QN_LOG_DEBUG : QN_LOG_INFO;
    Py_DECREF(enabled);
    if (threshold != state->log_threshold) {
        state->log_threshold = threshold;
        qn_log_set(log_message, state, (enum qn_log_level)threshold);
    }
}

/* The logger "qanat.AREA"; borrowed. */
static PyObject *logger_of_area(struct native_state *state, const char *area)
{
    PyObject *logger = PyDict_GetItemString(state->log_areas, area);
    if (logger != NULL) {
        return logger;
    }
    logger = PyObject_CallMethod(state->logger, "getChild", "s", area);
    if (logger == NULL || PyDict_SetItemString(state->log_areas, area, logger) < 0) {
        Py_XDECREF(logger);
        return NULL;
    }
    Py_DECREF(logger);
    return logger;
}

static void log_message(void *context, enum qn_log_level level, const char *area, const char *message)
{
    struct native_state *state = context;
    if (!Py_IsInitialized()) {
        return;
    }
    struct native_callback call;
    native_callback_begin(&call);
    PyObject *logger = logger_of_area(state, area);
    PyObject *done = logger == NULL ? NULL : PyObject_CallMethod(logger, "log", "is", (int)level, message);
    if (done == NULL && !native_interrupt_keep()) {
        PyErr_WriteUnraisable(state->logger);
    }
    Py_XDECREF(done);
    native_callback_end(&call);
}
