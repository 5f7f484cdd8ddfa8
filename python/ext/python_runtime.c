/*
 * python_runtime.c: the runtime python:: of connectors: a Python class in this process, called by the library.
 *
 * Everything that can be said in Python is said in qanat/_native_connector.py, which is imported by the first connector
 * that is opened; the GIL, exceptions and batches are into_python.c's. Threads: every function is called without the GIL, on
 * any thread, and takes it; what the library gave us to call is called without it.
 */
#include "native.h"

#include <stdlib.h>

#include <qanat/plugin/connector.h>

#define ADAPTER        "qanat._native_connector"
#define EVENTS_CAPSULE "qanat.connector_events"

static const struct native_code code = { ADAPTER, "a connector", QN_ERR_CONNECTOR };

struct python_connector {
    PyObject *object; /* an Adapter of _native_connector.py */
};

static enum qn_status fail(struct qn_error *err)
{
    return native_into_python_fail(&code, err);
}

/* ---- what the connector says ----------------------------------------------------------------------------------- */

static const struct qn_connector_events *events_of(PyObject *capsule)
{
    return PyCapsule_GetPointer(capsule, EVENTS_CAPSULE);
}

static PyObject *tell_log(PyObject *capsule, PyObject *args)
{
    const struct qn_connector_events *events = events_of(capsule);
    const char *level = NULL;
    const char *message = NULL;
    if (events == NULL || !PyArg_ParseTuple(args, "ss:log", &level, &message)) {
        return NULL;
    }
    if (events->log != NULL) {
        Py_BEGIN_ALLOW_THREADS;
        events->log(events->context, level, message);
        Py_END_ALLOW_THREADS;
    }
    if (native_interrupt_take()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *tell_progress(PyObject *capsule, PyObject *args)
{
    const struct qn_connector_events *events = events_of(capsule);
    long long rows = 0;
    long long total = -1;
    const char *text = NULL;
    if (events == NULL || !PyArg_ParseTuple(args, "LLs:progress", &rows, &total, &text)) {
        return NULL;
    }
    if (events->progress != NULL) {
        Py_BEGIN_ALLOW_THREADS;
        events->progress(events->context, rows, total, text);
        Py_END_ALLOW_THREADS;
    }
    if (native_interrupt_take()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef log_method = { "log", tell_log, METH_VARARGS, NULL };
static PyMethodDef progress_method = { "progress", tell_progress, METH_VARARGS, NULL };

/* ---- open and close -------------------------------------------------------------------------------------------- */

/* With the GIL. A new reference, or NULL with an exception set. */
static PyObject *make_adapter(const struct qn_connector_opening *opening)
{
    PyObject *module = PyImport_ImportModule(ADAPTER);
    /* The struct lives until close(), after which the adapter calls neither. */
    PyObject *capsule = module == NULL ? NULL : PyCapsule_New((void *)(uintptr_t)opening->events, EVENTS_CAPSULE, NULL);
    PyObject *log = capsule == NULL ? NULL : PyCFunction_New(&log_method, capsule);
    PyObject *progress = log == NULL ? NULL : PyCFunction_New(&progress_method, capsule);
    PyObject *made = NULL;
    if (progress != NULL) {
        made = PyObject_CallMethod(module, "open_adapter", "szziOO", opening->entrypoint, opening->arguments,
                                   opening->folder, opening->processes, log, progress);
    }
    Py_XDECREF(progress);
    Py_XDECREF(log);
    Py_XDECREF(capsule);
    Py_XDECREF(module);
    return made;
}

static enum qn_status runtime_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                   struct qn_error *err)
{
    (void)context;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    enum qn_status status = QN_OK;
    struct python_connector *self = calloc(1, sizeof *self);
    if (self == NULL) {
        status = qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    } else {
        self->object = make_adapter(opening);
        status = self->object != NULL ? QN_OK : fail(err);
    }
    if (status == QN_OK) {
        *self_out = self;
    } else {
        free(self);
    }
    native_callback_end(&call);
    return status;
}

static void runtime_close(void *context)
{
    struct python_connector *self = context;
    struct native_callback call;
    if (native_into_python_begin(&call, NULL)) {
        PyObject *done = PyObject_CallMethod(self->object, "close", NULL);
        if (done == NULL && !native_interrupt_keep()) {
            PyErr_WriteUnraisable(self->object);
        }
        Py_XDECREF(done);
        Py_DECREF(self->object);
        native_callback_end(&call);
    }
    free(self);
}

/* ---- discovery ------------------------------------------------------------------------------------------------- */

/* One tuple of the adapter's to the library. False where it ends, with *status told. */
static bool pass_on(PyObject *tuple, qn_location_callback each, void *each_context, enum qn_status *status,
                    struct qn_error *err)
{
    struct qn_location location = QN_LOCATION_INIT;
    int must_copy = 1;
    long long rows = -1;
    if (!PyArg_ParseTuple(tuple, "spssL:location", &location.location, &must_copy, &location.format, &location.version,
                          &rows)) {
        *status = fail(err);
        return false;
    }
    location.must_copy = must_copy != 0;
    location.num_rows = rows;
    Py_BEGIN_ALLOW_THREADS;
    *status = each(each_context, &location, err);
    Py_END_ALLOW_THREADS;
    return *status == QN_OK;
}

static enum qn_status runtime_discover(void *context, const char *const *attached, size_t n, qn_location_callback each,
                                       void *each_context, struct qn_error *err)
{
    struct python_connector *self = context;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    enum qn_status status = QN_OK;
    PyObject *known = native_list_of_texts(attached, n);
    PyObject *found = known == NULL ? NULL : PyObject_CallMethod(self->object, "discover", "(O)", known);
    PyObject *iterator = found == NULL ? NULL : PyObject_GetIter(found);
    PyObject *tuple = NULL;
    while (iterator != NULL && (tuple = PyIter_Next(iterator)) != NULL) {
        bool more = pass_on(tuple, each, each_context, &status, err);
        Py_DECREF(tuple);
        if (!more) {
            break;
        }
    }
    if (status == QN_OK && PyErr_Occurred()) {
        status = fail(err);
    }
    Py_XDECREF(iterator);
    Py_XDECREF(found);
    Py_XDECREF(known);
    native_callback_end(&call);
    return status;
}

/* ---- data ------------------------------------------------------------------------------------------------------ */

/* The adapter's answer, (schema, batches, applied), as a stream. */
static enum qn_status make_stream(PyObject *answer, struct ArrowArrayStream *out, uint32_t *applied_out,
                                  struct qn_error *err)
{
    PyObject *schema = NULL;
    PyObject *batches = NULL;
    unsigned int applied = 0;
    if (!PyArg_ParseTuple(answer, "OOI:data", &schema, &batches, &applied)) {
        return fail(err);
    }
    enum qn_status status = native_stream_of_iterator(&code, schema, batches, out, err);
    if (status == QN_OK) {
        *applied_out = applied;
    }
    return status;
}

/* With the GIL. A location as the adapter has it. */
static PyObject *tuple_of(const struct qn_location *location)
{
    return Py_BuildValue("(sOssL)", location->location, location->must_copy ? Py_True : Py_False, location->format,
                         location->version, (long long)location->num_rows);
}

static enum qn_status runtime_data(void *context, const struct qn_location *location,
                                   const struct qn_data_request *request, struct ArrowArrayStream *out,
                                   uint32_t *applied_out, struct qn_error *err)
{
    struct python_connector *self = context;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    out->release = NULL;
    PyObject *columns =
        request->columns == NULL ? Py_NewRef(Py_None) : native_list_of_texts(request->columns, request->n_columns);
    PyObject *place = columns == NULL ? NULL : tuple_of(location);
    PyObject *answer = place == NULL
                           ? NULL
                           : PyObject_CallMethod(self->object, "data", "OOzLL", place, columns, request->filter,
                                                 (long long)request->limit, (long long)request->skip_rows);
    enum qn_status status = QN_OK;
    if (answer == NULL) {
        status = fail(err);
    } else if (answer != Py_None) {
        status = make_stream(answer, out, applied_out, err);
    }
    Py_XDECREF(answer);
    Py_XDECREF(place);
    Py_XDECREF(columns);
    native_callback_end(&call);
    return status;
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

/* With the GIL. A copy for the library of what a method returned, NULL for None; takes `text`. */
static enum qn_status take_text(PyObject *text, char **out, struct qn_error *err)
{
    enum qn_status status = QN_OK;
    const char *bytes = text == NULL || text == Py_None ? NULL : PyUnicode_AsUTF8(text);
    if (text == NULL || (bytes == NULL && text != Py_None)) {
        status = fail(err);
    } else {
        *out = bytes == NULL ? NULL : strdup(bytes);
        if (bytes != NULL && *out == NULL) {
            status = qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
        }
    }
    Py_XDECREF(text);
    return status;
}

static enum qn_status runtime_stable_url(void *context, const struct qn_location *location, char **out,
                                         struct qn_error *err)
{
    struct python_connector *self = context;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    PyObject *place = tuple_of(location);
    enum qn_status status =
        take_text(place == NULL ? NULL : PyObject_CallMethod(self->object, "stable_url", "(O)", place), out, err);
    Py_XDECREF(place);
    native_callback_end(&call);
    return status;
}

static enum qn_status runtime_describe(void *context, char **out, struct qn_error *err)
{
    struct python_connector *self = context;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    enum qn_status status = take_text(PyObject_CallMethod(self->object, "describe", NULL), out, err);
    native_callback_end(&call);
    return status;
}

static enum qn_status runtime_capabilities(void *context, uint32_t *out, struct qn_error *err)
{
    struct python_connector *self = context;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    PyObject *bits = PyObject_CallMethod(self->object, "capability_bits", NULL);
    unsigned long value = bits == NULL ? 0 : PyLong_AsUnsignedLong(bits);
    enum qn_status status = PyErr_Occurred() ? fail(err) : QN_OK;
    if (status == QN_OK) {
        *out = (uint32_t)value;
    }
    Py_XDECREF(bits);
    native_callback_end(&call);
    return status;
}

/* Calls of one connector may overlap: the adapter gives each an instance of the class for itself, as each process of ipc::
 * has its own, so that a class that was never meant for threads needs no change, and waiting overlaps all the same. */
static const struct qn_connector_runtime runtime = {
    .struct_size = sizeof runtime,
    .abi = QN_CONNECTOR_ABI,
    .name = "python",
    .external = true,
    .one_at_a_time = false,
    .open = runtime_open,
    .close = runtime_close,
    .discover = runtime_discover,
    .data = runtime_data,
    .stable_url = runtime_stable_url,
    .describe = runtime_describe,
    .capabilities = runtime_capabilities,
};

int native_python_runtime_init(struct native_state *state)
{
    static bool registered; /* under the GIL; it belongs to the process, however often the module is made */
    struct qn_error err;
    qn_error_clear(&err);
    if (!registered && qn_connector_runtime_register(&runtime, &err) != QN_OK) {
        native_raise(state, &err, NULL);
        return -1;
    }
    registered = true;
    return 0;
}
