/*
 * into_python.c: what Python code that the library calls needs: formats (format.c) and connectors (python_runtime.c).
 *
 * The GIL, exceptions as errors, lists of texts, and an iterator of batches as a stream, by the Arrow PyCapsule protocol
 * without a copy. Threads: the library calls without the GIL, on any thread; a call that comes while the interpreter ends,
 * or after, fails and touches nothing.
 */
#include "native.h"

#include <stdlib.h>

static atomic_bool shut_down; /* no call enters the interpreter any more */

void native_into_python_init(void)
{
    atomic_store(&shut_down, false);
}

void native_into_python_shutdown(void)
{
    atomic_store(&shut_down, true);
}

bool native_into_python_begin(struct native_callback *call, struct qn_error *err)
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
    const char *column = NULL;
    long long retry_after = 0;
    long long row = -1;
    if (!PyArg_ParseTuple(told, "issspL|Lz:failure", &status, &message, &detail, &hint, &retryable, &retry_after, &row,
                          &column)) {
        return -1;
    }
    qn_error_set(err, (enum qn_status)status, "%s", message);
    if (hint[0] != '\0') {
        qn_error_hint(err, "%s", hint);
    }
    qn_error_place(err, row, column);
    PyOS_snprintf(err->detail, sizeof err->detail, "%s", detail); /* cut by failure() already */
    err->retryable = retryable != 0;
    err->retry_after_ms = retry_after;
    return 0;
}

enum qn_status native_into_python_fail(const struct native_code *code, struct qn_error *err)
{
    struct qn_error unused;
    err = err != NULL ? err : &unused;
    PyObject *exception = native_exception_take();
    if (exception == NULL) {
        return qn_error_set(err, QN_ERR_INTERNAL, "%s in Python failed without an exception", code->what);
    }
    PyObject *module = PyImport_ImportModule(code->module);
    PyObject *told = module == NULL ? NULL : PyObject_CallMethod(module, "failure", "(O)", exception);
    if (told == Py_None) {
        native_exception_set(Py_NewRef(exception));
        if (!native_interrupt_keep()) {
            PyErr_Clear();
        }
        qn_error_set(err, QN_ERR_CANCELLED, "interrupted");
    } else if (told == NULL || fill(told, err) < 0) {
        PyErr_Clear();
        qn_error_set(err, code->status, "%s, of which no more can be told", Py_TYPE(exception)->tp_name);
    }
    Py_XDECREF(told);
    Py_XDECREF(module);
    Py_DECREF(exception);
    return err->status;
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

PyObject *native_list_of_texts(const char *const *texts, size_t n)
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

/* ---- batches as a stream --------------------------------------------------------------------------------------- */

struct python_stream {
    const struct native_code *code;
    PyObject *batches; /* an iterator with close() */
    struct ArrowSchema schema;
};

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
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    enum qn_status status = QN_OK;
    PyObject *batch = PyIter_Next(self->batches);
    if (batch != NULL ? take_array(batch, out) < 0 : PyErr_Occurred() != NULL) {
        status = native_into_python_fail(self->code, err);
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
    if (native_into_python_begin(&call, NULL)) {
        PyObject *done = PyObject_CallMethod(self->batches, "close", NULL);
        if (done == NULL && !native_interrupt_keep()) {
            PyErr_WriteUnraisable(self->batches);
        }
        Py_XDECREF(done);
        Py_DECREF(self->batches);
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

enum qn_status native_stream_of_iterator(const struct native_code *code, PyObject *schema, PyObject *batches,
                                         struct ArrowArrayStream *out, struct qn_error *err)
{
    struct python_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    stream->code = code;
    stream->batches = Py_NewRef(batches);
    enum qn_status status = take_schema(schema, &stream->schema) < 0 ? native_into_python_fail(code, err) : QN_OK;
    if (status == QN_OK) {
        status = qn_stream_new(&stream_calls, stream, out, err);
    }
    if (status != QN_OK) {
        stream_free(stream);
    }
    return status;
}
