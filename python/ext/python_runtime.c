/*
 * python_runtime.c: the runtime python:: of connectors: a Python class in this process, called by the library.
 *
 * Everything that can be said in Python is said in qanat/_native_connector.py, which is imported by the first connector
 * that is opened. Here: the GIL, exceptions, and batches by the Arrow PyCapsule protocol, without a copy. Threads: every
 * function is called without the GIL, on any thread, and takes it; what the library gave us to call is called without it.
 * A call that comes while the interpreter ends, or after, fails and touches nothing.
 */
#include "native.h"

#include <stdlib.h>

#include <qanat/plugin/connector.h>

#define ADAPTER        "qanat._native_connector"
#define EVENTS_CAPSULE "qanat.connector_events"

static atomic_bool shut_down; /* no call enters the interpreter any more */

struct python_connector {
    PyObject *object; /* an Adapter of _native_connector.py */
};

struct python_stream {
    PyObject *batches; /* an iterator with close() */
    struct ArrowSchema schema;
};

/* Take the GIL; false where there is no interpreter to run in. */
static bool enter(struct native_callback *call, struct qn_error *err)
{
    if (atomic_load(&shut_down) || !Py_IsInitialized()) {
        qn_error_set(err, QN_ERR_CLOSED, "the Python interpreter has ended");
        return false;
    }
    native_callback_begin(call);
    return true;
}

/* ---- exceptions ------------------------------------------------------------------------------------------------ */

/* The answer of failure() in *err. -1 with an exception set. */
static int fill(PyObject *told, struct qn_error *err)
{
    int status = 0;
    int retryable = 0;
    const char *message = NULL;
    const char *detail = NULL;
    const char *hint = NULL;
    long long retry_after = 0;
    if (!PyArg_ParseTuple(told, "isssiL:failure", &status, &message, &detail, &hint, &retryable, &retry_after)) {
        return -1;
    }
    qn_error_set(err, (enum qn_status)status, "%s", message);
    if (hint[0] != '\0') {
        qn_error_hint(err, "%s", hint);
    }
    if (err != NULL) {
        PyOS_snprintf(err->detail, sizeof err->detail, "%s", detail); /* cut by failure() already */
        err->retryable = retryable != 0;
        err->retry_after_ms = retry_after;
    }
    return 0;
}

/* The exception that is set as an error. One that stops the program is kept for whoever called the library. */
static enum qn_status fail(struct qn_error *err)
{
    struct qn_error unused;
    err = err != NULL ? err : &unused;
    PyObject *exception = native_exception_take();
    if (exception == NULL) {
        return qn_error_set(err, QN_ERR_INTERNAL, "a connector in Python failed without an exception");
    }
    PyObject *adapter = PyImport_ImportModule(ADAPTER);
    PyObject *told = adapter == NULL ? NULL : PyObject_CallMethod(adapter, "failure", "(O)", exception);
    if (told == Py_None) {
        native_exception_set(Py_NewRef(exception));
        if (!native_interrupt_keep()) {
            PyErr_Clear();
        }
        qn_error_set(err, QN_ERR_CANCELLED, "interrupted");
    } else if (told == NULL || fill(told, err) < 0) {
        PyErr_Clear();
        qn_error_set(err, QN_ERR_CONNECTOR, "%s, of which no more can be told", Py_TYPE(exception)->tp_name);
    }
    Py_XDECREF(told);
    Py_XDECREF(adapter);
    Py_DECREF(exception);
    return err->status;
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
    if (!enter(&call, err)) {
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
    if (enter(&call, NULL)) {
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

/* With the GIL. A list of str. */
static PyObject *list_of_texts(const char *const *texts, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *text = PyUnicode_FromString(texts[i]);
        if (text == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, text);
        }
    }
    return list;
}

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
    if (!enter(&call, err)) {
        return QN_ERR_CLOSED;
    }
    enum qn_status status = QN_OK;
    PyObject *known = list_of_texts(attached, n);
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

/* Move the struct out of a capsule that an object's Arrow method gave. -1 with an exception set. */
static int take_schema(PyObject *object, struct ArrowSchema *out)
{
    PyObject *capsule = PyObject_CallMethod(object, "__arrow_c_schema__", NULL);
    struct ArrowSchema *schema = capsule == NULL ? NULL : PyCapsule_GetPointer(capsule, "arrow_schema");
    if (schema != NULL) {
        *out = *schema;
        schema->release = NULL;
    }
    Py_XDECREF(capsule);
    return schema == NULL ? -1 : 0;
}

static int take_array(PyObject *batch, struct ArrowArray *out)
{
    PyObject *pair = PyObject_CallMethod(batch, "__arrow_c_array__", NULL);
    struct ArrowArray *array = NULL;
    if (pair != NULL && (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2)) {
        PyErr_SetString(PyExc_TypeError, "__arrow_c_array__ must give a pair of capsules");
    } else if (pair != NULL) {
        array = PyCapsule_GetPointer(PyTuple_GET_ITEM(pair, 1), "arrow_array");
    }
    if (array != NULL) {
        *out = *array;
        array->release = NULL;
    }
    Py_XDECREF(pair);
    return array == NULL ? -1 : 0;
}

static enum qn_status stream_schema(void *context, struct ArrowSchema *out, struct qn_error *err)
{
    const struct python_stream *self = context;
    if (!native_schema_copy(&self->schema, NATIVE_LAYOUT_SAME, out)) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    return QN_OK;
}

static enum qn_status stream_next(void *context, struct ArrowArray *out, struct qn_error *err)
{
    struct python_stream *self = context;
    struct native_callback call;
    if (!enter(&call, err)) {
        return QN_ERR_CLOSED;
    }
    enum qn_status status = QN_OK;
    PyObject *batch = PyIter_Next(self->batches);
    if (batch != NULL ? take_array(batch, out) < 0 : PyErr_Occurred() != NULL) {
        status = fail(err);
    }
    Py_XDECREF(batch);
    native_callback_end(&call);
    return status;
}

static void stream_free(void *context)
{
    struct python_stream *self = context;
    struct native_callback call;
    if (self->schema.release != NULL) {
        self->schema.release(&self->schema);
    }
    if (enter(&call, NULL)) {
        PyObject *done = self->batches == NULL ? Py_NewRef(Py_None) : PyObject_CallMethod(self->batches, "close", NULL);
        if (done == NULL && !native_interrupt_keep()) {
            PyErr_WriteUnraisable(self->batches);
        }
        Py_XDECREF(done);
        Py_XDECREF(self->batches);
        native_callback_end(&call);
    }
    free(self);
}

static const struct qn_stream_calls stream_calls = {
    .struct_size = sizeof stream_calls,
    .schema = stream_schema,
    .next = stream_next,
    .free = stream_free,
};

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
    struct python_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    stream->batches = Py_NewRef(batches);
    enum qn_status status = take_schema(schema, &stream->schema) < 0 ? fail(err) : QN_OK;
    if (status == QN_OK) {
        status = qn_stream_new(&stream_calls, stream, out, err);
    }
    if (status != QN_OK) {
        stream_free(stream);
        return status;
    }
    *applied_out = applied;
    return QN_OK;
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
    if (!enter(&call, err)) {
        return QN_ERR_CLOSED;
    }
    out->release = NULL;
    PyObject *columns =
        request->columns == NULL ? Py_NewRef(Py_None) : list_of_texts(request->columns, request->n_columns);
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
    if (!enter(&call, err)) {
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
    if (!enter(&call, err)) {
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
    if (!enter(&call, err)) {
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
    atomic_store(&shut_down, false);
    if (!registered && qn_connector_runtime_register(&runtime, &err) != QN_OK) {
        native_raise(state, &err, NULL);
        return -1;
    }
    registered = true;
    return 0;
}

void native_python_runtime_shutdown(void)
{
    atomic_store(&shut_down, true);
}
