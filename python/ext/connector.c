/*
 * connector.c: the Python type _native.Connector: a connector that is open.
 *
 * Turning URIs, arguments and locations into what the library takes is qanat/_connector.py's. The handle below is shared
 * with the streams that were handed out: it ends when the last of them does, or at close(), after the calls that other
 * threads are in. Threads: `calls` and `closing` are guarded by the GIL; `references` is not.
 */
#include "native.h"

#include <stdlib.h>

struct native_connector {
    atomic_int references;
    int calls;    /* threads that are inside of the library with it */
    bool closing; /* no call begins any more */
    struct qn_connector *connector;
    PyObject *log, *progress; /* callables, or NULL */
};

struct connector_object {
    PyObject_HEAD
    struct native_state *state;
    struct native_connector *handle;
};

static struct connector_object *connector_of(PyObject *object)
{
    return (struct connector_object *)object;
}

/* ---- the handle ------------------------------------------------------------------------------------------------ */

/* With or without the GIL. */
static void handle_unref(struct native_connector *handle)
{
    if (handle == NULL || atomic_fetch_sub(&handle->references, 1) != 1 || !Py_IsInitialized()) {
        return;
    }
    struct native_callback call;
    native_callback_begin(&call);
    PyThreadState *thread = PyEval_SaveThread();
    qn_connector_free(handle->connector);
    PyEval_RestoreThread(thread);
    Py_XDECREF(handle->log);
    Py_XDECREF(handle->progress);
    native_callback_end(&call);
    free(handle);
}

/* The connector for a call, or NULL with an exception set. leave() ends the call. */
static struct qn_connector *enter(struct connector_object *self)
{
    if (self->handle->closing) {
        native_fail(self->state, QN_ERR_CLOSED, "the connector is closed");
        return NULL;
    }
    self->handle->calls++;
    native_log_refresh(self->state);
    return self->handle->connector;
}

/* What close() left, where this was the last call. */
static void leave(struct connector_object *self)
{
    struct native_connector *handle = self->handle;
    if (--handle->calls > 0 || !handle->closing) {
        return;
    }
    struct qn_connector *connector = handle->connector;
    handle->connector = NULL;
    Py_BEGIN_ALLOW_THREADS;
    qn_connector_free(connector);
    Py_END_ALLOW_THREADS;
}

/* ---- what it says while it works ------------------------------------------------------------------------------- */

/* With the GIL. Nobody is there to take an exception of a callback. */
static void told(PyObject *callback, PyObject *answer)
{
    if (answer == NULL && !native_interrupt_keep()) {
        PyErr_WriteUnraisable(callback);
    }
    Py_XDECREF(answer);
}

static void on_log(void *context, const char *level, const char *message)
{
    struct native_connector *handle = context;
    if (!Py_IsInitialized()) {
        return;
    }
    struct native_callback call;
    native_callback_begin(&call);
    PyObject *text = PyUnicode_DecodeUTF8(message, (Py_ssize_t)strlen(message), "replace");
    if (handle->log != NULL) {
        told(handle->log, text == NULL ? NULL : PyObject_CallFunction(handle->log, "sO", level, text));
    }
    Py_XDECREF(text);
    native_callback_end(&call);
}

static void on_progress(void *context, int64_t rows, int64_t total, const char *message)
{
    struct native_connector *handle = context;
    if (!Py_IsInitialized()) {
        return;
    }
    struct native_callback call;
    native_callback_begin(&call);
    PyObject *text = PyUnicode_DecodeUTF8(message, (Py_ssize_t)strlen(message), "replace");
    PyObject *all = total < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(total);
    if (handle->progress != NULL) {
        told(handle->progress, text == NULL || all == NULL
                                   ? NULL
                                   : PyObject_CallFunction(handle->progress, "LOO", (long long)rows, all, text));
    }
    Py_XDECREF(text);
    Py_XDECREF(all);
    native_callback_end(&call);
}

/* ---- opening and closing --------------------------------------------------------------------------------------- */

/* What __new__ was given, as objects. */
struct opening {
    PyObject *uri, *name, *arguments, *folder, *interpreter, *record, *log, *progress;
    int allow;
};

static int read_texts(struct native_state *state, const struct opening *given, const char **uri,
                      struct qn_connector_options *options)
{
    *uri = native_text(state, given->uri, "uri");
    if (*uri == NULL || native_optional_text(state, given->name, "name", &options->name) < 0 ||
        native_optional_text(state, given->arguments, "arguments", &options->arguments) < 0 ||
        native_optional_text(state, given->folder, "folder", &options->folder) < 0 ||
        native_optional_text(state, given->interpreter, "interpreter", &options->interpreter) < 0 ||
        native_optional_text(state, given->record, "record", &options->record) < 0) {
        return -1;
    }
    options->allow_external_code = given->allow != 0;
    return 0;
}

static struct native_connector *handle_new(const struct opening *given, struct qn_connector_options *options)
{
    struct native_connector *handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    atomic_init(&handle->references, 1);
    options->events = (struct qn_connector_events){ .struct_size = sizeof options->events, .context = handle };
    if (given->log != Py_None) {
        handle->log = Py_NewRef(given->log);
        options->events.log = on_log;
    }
    if (given->progress != Py_None) {
        handle->progress = Py_NewRef(given->progress);
        options->events.progress = on_progress;
    }
    return handle;
}

static PyObject *connector_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = { "uri",     "name",      "arguments", "folder", "interpreter", "allow_external_code",
                             "timeout", "processes", "retries",   "record", "log",         "progress",
                             NULL };
    struct opening given = { .name = Py_None,
                             .arguments = Py_None,
                             .folder = Py_None,
                             .interpreter = Py_None,
                             .record = Py_None,
                             .log = Py_None,
                             .progress = Py_None };
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOOOpdiiOOO:Connector", names, &given.uri, &given.name,
                                     &given.arguments, &given.folder, &given.interpreter, &given.allow,
                                     &options.timeout, &options.processes, &options.retries, &given.record, &given.log,
                                     &given.progress)) {
        return NULL;
    }
    struct native_state *state = native_state_of_type(type);
    const char *uri = NULL;
    if (state == NULL || native_formats_ensure() < 0 || read_texts(state, &given, &uri, &options) < 0) {
        return NULL;
    }
    PyObject *object = type->tp_alloc(type, 0);
    struct native_connector *handle = object == NULL ? NULL : handle_new(&given, &options);
    if (handle == NULL) {
        Py_XDECREF(object);
        return NULL;
    }
    connector_of(object)->state = state;
    connector_of(object)->handle = handle;
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status;
    native_log_refresh(state);
    Py_BEGIN_ALLOW_THREADS;
    status = qn_connector_open(uri, &options, &handle->connector, &err);
    Py_END_ALLOW_THREADS;
    if (status != QN_OK) {
        Py_DECREF(object);
        return native_raise(state, &err, NULL);
    }
    return object;
}

PyDoc_STRVAR(close_doc,
             "close()\n--\n\nEnd the connector and its processes; streams that are open fail. Calls that other "
             "threads are in end first. Closing twice is allowed.");

static PyObject *connector_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct connector_object *self = connector_of(object);
    if (!self->handle->closing) {
        self->handle->closing = true;
        self->handle->calls++;
        leave(self);
    }
    if (native_interrupt_take()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *connector_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(connector_of(object)->handle->closing);
}

static int connector_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct native_connector *handle = connector_of(object)->handle;
    Py_VISIT(Py_TYPE(object));
    /* The callables belong to the handle, which streams may hold too: only an object that holds it alone tells of them. */
    if (handle != NULL && atomic_load(&handle->references) == 1) {
        Py_VISIT(handle->log);
        Py_VISIT(handle->progress);
    }
    return 0;
}

/* Only ever for an object that nobody can reach: no call is in the library with it. */
static int connector_clear(PyObject *object)
{
    struct native_connector *handle = connector_of(object)->handle;
    if (handle != NULL && atomic_load(&handle->references) == 1) {
        Py_CLEAR(handle->log);
        Py_CLEAR(handle->progress);
    }
    return 0;
}

static void connector_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    handle_unref(connector_of(object)->handle);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- discovery ------------------------------------------------------------------------------------------------- */

struct found {
    PyObject *each;
    PyObject *raised; /* by it; NULL: nothing */
};

/* No GIL. */
static enum qn_status on_location(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct found *found = context;
    struct native_callback call;
    native_callback_begin(&call);
    PyObject *rows = location->num_rows < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(location->num_rows);
    PyObject *answer = rows == NULL ? NULL
                                    : PyObject_CallFunction(found->each, "sOssO", location->location,
                                                            location->must_copy ? Py_True : Py_False, location->format,
                                                            location->version, rows);
    if (answer == NULL) {
        found->raised = native_exception_take();
    }
    enum qn_status status =
        answer != NULL ? QN_OK : qn_error_set(err, QN_ERR_CANCELLED, "the caller wants no more locations");
    Py_XDECREF(answer);
    Py_XDECREF(rows);
    native_callback_end(&call);
    return status;
}

PyDoc_STRVAR(discover_doc, "_discover(attached, each)\n--\n\n"
                           "Call each(location, must_copy, format, version, num_rows) once a location. `attached` is a "
                           "list of the caller's own: nobody else changes it.");

static PyObject *connector_discover(PyObject *object, PyObject *args)
{
    struct connector_object *self = connector_of(object);
    PyObject *attached = NULL;
    struct found found = { .each = NULL };
    if (!PyArg_ParseTuple(args, "O!O:_discover", &PyList_Type, &attached, &found.each)) {
        return NULL;
    }
    const char **texts = native_texts(self->state, attached, "an attached location");
    struct qn_connector *connector = texts == NULL ? NULL : enter(self);
    if (connector == NULL) {
        PyMem_Free(texts);
        return NULL;
    }
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status;
    size_t n = (size_t)PyList_GET_SIZE(attached);
    Py_BEGIN_ALLOW_THREADS;
    status = qn_connector_discover(connector, texts, n, on_location, &found, &err);
    Py_END_ALLOW_THREADS;
    PyMem_Free(texts);
    leave(self);
    if (found.raised != NULL) {
        native_exception_set(found.raised);
        return NULL;
    }
    if (status != QN_OK) {
        return native_raise(self->state, &err, NULL);
    }
    Py_RETURN_NONE;
}

/* ---- data ------------------------------------------------------------------------------------------------------ */

/* A connector's stream, with the handle that keeps the connector open for it. */
struct held_stream {
    struct ArrowArrayStream inner;
    struct native_connector *handle;
};

static enum qn_status held_schema(void *context, struct ArrowSchema *out, struct qn_error *err)
{
    struct held_stream *self = context;
    if (self->inner.get_schema(&self->inner, out) != 0) {
        return qn_stream_error(&self->inner, err);
    }
    return QN_OK;
}

static enum qn_status held_next(void *context, struct ArrowArray *out, struct qn_error *err)
{
    struct held_stream *self = context;
    if (self->inner.get_next(&self->inner, out) != 0) {
        return qn_stream_error(&self->inner, err);
    }
    return QN_OK;
}

static void held_free(void *context)
{
    struct held_stream *self = context;
    self->inner.release(&self->inner);
    handle_unref(self->handle);
    free(self);
}

static const struct qn_stream_calls held_calls = {
    .struct_size = sizeof held_calls,
    .schema = held_schema,
    .next = held_next,
    .free = held_free,
};

/* No GIL. Takes `stream`, also on failure. */
static enum qn_status hold(struct native_connector *handle, struct ArrowArrayStream *stream,
                           struct native_stream_core **out, struct qn_error *err)
{
    struct held_stream *held = malloc(sizeof *held);
    struct ArrowArrayStream made = { .release = NULL };
    if (held == NULL || qn_stream_new(&held_calls, held, &made, err) != QN_OK) {
        stream->release(stream);
        free(held);
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    held->inner = *stream;
    held->handle = handle;
    atomic_fetch_add(&handle->references, 1);
    enum qn_status status = native_core_new(&made, NULL, out, err);
    if (status != QN_OK) {
        made.release(&made);
    }
    return status;
}

/* A location of five values; texts are borrowed from the tuple. */
static int location_of(struct native_state *state, PyObject *tuple, struct qn_location *out)
{
    PyObject *texts[3] = { NULL };
    PyObject *rows = NULL;
    int must_copy = 1;
    if (!PyArg_ParseTuple(tuple, "OpOOO:location", &texts[0], &must_copy, &texts[1], &texts[2], &rows)) {
        return -1;
    }
    *out = (struct qn_location)QN_LOCATION_INIT;
    out->location = native_text(state, texts[0], "location");
    out->format = out->location == NULL ? NULL : native_text(state, texts[1], "format");
    out->version = out->format == NULL ? NULL : native_text(state, texts[2], "version");
    out->must_copy = must_copy != 0;
    if (out->version == NULL) {
        return -1;
    }
    if (rows != Py_None) {
        out->num_rows = PyLong_AsLongLong(rows);
        if (out->num_rows == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

PyDoc_STRVAR(data_doc,
             "_data(location, columns, filter, limit, skip_rows)\n--\n\n"
             "The Stream of a location, a tuple of its five values; None where there is no data. `columns` is "
             "None or a list of the caller's own, `filter` None or JSON, `limit` -1 for all.");

static PyObject *call_data(struct connector_object *self, const struct qn_location *location,
                           const struct qn_data_request *request)
{
    struct qn_connector *connector = enter(self);
    if (connector == NULL) {
        return NULL;
    }
    struct qn_error err;
    qn_error_clear(&err);
    struct ArrowArrayStream stream = { .release = NULL };
    struct native_stream_core *core = NULL;
    enum qn_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = qn_connector_data(connector, location, request, &stream, &err);
    if (status == QN_OK && stream.release != NULL) {
        status = hold(self->handle, &stream, &core, &err);
    }
    Py_END_ALLOW_THREADS;
    leave(self);
    if (status != QN_OK) {
        return native_raise(self->state, &err, NULL);
    }
    if (core == NULL) {
        Py_RETURN_NONE;
    }
    return native_stream_new(self->state, core, (PyObject *)self, NULL);
}

static PyObject *connector_data(PyObject *object, PyObject *args)
{
    struct connector_object *self = connector_of(object);
    PyObject *given = NULL;
    PyObject *columns = NULL;
    PyObject *filter = NULL;
    long long limit = -1;
    long long skip = 0;
    if (!PyArg_ParseTuple(args, "O!OOLL:_data", &PyTuple_Type, &given, &columns, &filter, &limit, &skip)) {
        return NULL;
    }
    struct qn_location location;
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    if (location_of(self->state, given, &location) < 0 ||
        native_optional_text(self->state, filter, "filter", &request.filter) < 0) {
        return NULL;
    }
    request.limit = limit;
    request.skip_rows = skip;
    const char **names = NULL;
    if (columns != Py_None) {
        if (!PyList_Check(columns)) {
            PyErr_SetString(PyExc_TypeError, "columns must be a list of names");
            return NULL;
        }
        names = native_texts(self->state, columns, "a column");
        if (names == NULL) {
            return NULL;
        }
        request.columns = names;
        request.n_columns = (size_t)PyList_GET_SIZE(columns);
    }
    PyObject *result = call_data(self, &location, &request);
    PyMem_Free(names);
    return result;
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

static PyObject *text_result(struct connector_object *self, enum qn_status status, char *text,
                             const struct qn_error *err)
{
    leave(self);
    if (status != QN_OK) {
        return native_raise(self->state, err, NULL);
    }
    PyObject *result = text == NULL ? Py_NewRef(Py_None) : PyUnicode_FromString(text);
    qn_text_free(text);
    return result;
}

PyDoc_STRVAR(stable_url_doc, "_stable_url(location)\n--\n\nThe stable URL of a location, or None.");

static PyObject *connector_stable_url(PyObject *object, PyObject *tuple)
{
    struct connector_object *self = connector_of(object);
    struct qn_location location;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "a location must be a tuple");
        return NULL;
    }
    struct qn_connector *connector = location_of(self->state, tuple, &location) < 0 ? NULL : enter(self);
    if (connector == NULL) {
        return NULL;
    }
    struct qn_error err;
    qn_error_clear(&err);
    char *url = NULL;
    enum qn_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = qn_connector_stable_url(connector, &location, &url, &err);
    Py_END_ALLOW_THREADS;
    return text_result(self, status, url, &err);
}

PyDoc_STRVAR(describe_doc, "_describe()\n--\n\nWhat the connector says of itself: JSON.");

static PyObject *connector_describe(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct connector_object *self = connector_of(object);
    struct qn_connector *connector = enter(self);
    if (connector == NULL) {
        return NULL;
    }
    struct qn_error err;
    qn_error_clear(&err);
    char *text = NULL;
    enum qn_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = qn_connector_describe(connector, &text, &err);
    Py_END_ALLOW_THREADS;
    return text_result(self, status, text, &err);
}

PyDoc_STRVAR(can_doc, "_can(capability)\n--\n\nWhether it has a capability of enum qn_capability.");

static PyObject *connector_can(PyObject *object, PyObject *number)
{
    struct connector_object *self = connector_of(object);
    long what = PyLong_AsLong(number);
    struct qn_connector *connector = what == -1 && PyErr_Occurred() ? NULL : enter(self);
    if (connector == NULL) {
        return NULL;
    }
    struct qn_error err;
    qn_error_clear(&err);
    bool can = false;
    enum qn_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = qn_connector_can(connector, (enum qn_capability)what, &can, &err);
    Py_END_ALLOW_THREADS;
    leave(self);
    return status != QN_OK ? native_raise(self->state, &err, NULL) : PyBool_FromLong(can);
}

static PyMethodDef connector_methods[] = {
    { "_discover", connector_discover, METH_VARARGS, discover_doc },
    { "_data", connector_data, METH_VARARGS, data_doc },
    { "_stable_url", connector_stable_url, METH_O, stable_url_doc },
    { "_describe", connector_describe, METH_NOARGS, describe_doc },
    { "_can", connector_can, METH_O, can_doc },
    { "close", connector_close, METH_NOARGS, close_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef connector_getters[] = {
    { "closed", connector_closed, NULL, "Whether it has been closed.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot connector_slots[] = {
    { Py_tp_new, connector_new },
    { Py_tp_traverse, connector_traverse },
    { Py_tp_clear, connector_clear },
    { Py_tp_dealloc, connector_dealloc },
    { Py_tp_methods, connector_methods },
    { Py_tp_getset, connector_getters },
    { Py_tp_doc, "A connector that is open." },
    { 0, NULL },
};

PyType_Spec native_connector_spec = {
    .name = "qanat._native.Connector",
    .basicsize = sizeof(struct connector_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = connector_slots,
};
