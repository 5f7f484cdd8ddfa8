/*
 * capsules.c: the Arrow PyCapsule protocol, both ways.
 *
 * A capsule owns the struct inside until a consumer has moved it out (its release is then NULL); the destructor frees
 * what nobody took.
 */
#include "native.h"

#include <string.h>

#define SCHEMA_CAPSULE "arrow_schema"
#define ARRAY_CAPSULE  "arrow_array"
#define STREAM_CAPSULE "arrow_array_stream"

static void schema_capsule_free(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, SCHEMA_CAPSULE);
    if (schema->release != NULL) {
        schema->release(schema);
    }
    PyMem_Free(schema);
}

static void array_capsule_free(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, ARRAY_CAPSULE);
    if (array->release != NULL) {
        array->release(array);
    }
    PyMem_Free(array);
}

static void stream_capsule_free(PyObject *capsule)
{
    struct ArrowArrayStream *stream = PyCapsule_GetPointer(capsule, STREAM_CAPSULE);
    if (stream->release != NULL) {
        Py_BEGIN_ALLOW_THREADS stream->release(stream);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(stream);
}

/* A capsule around a heap copy of `bytes`; the caller keeps its struct on failure. */
static PyObject *capsule_of(const void *bytes, size_t size, const char *name, PyCapsule_Destructor free_inside)
{
    void *copy = PyMem_Malloc(size);
    if (copy == NULL) {
        return PyErr_NoMemory();
    }
    memcpy(copy, bytes, size);
    PyObject *capsule = PyCapsule_New(copy, name, free_inside);
    if (capsule == NULL) {
        PyMem_Free(copy);
    }
    return capsule;
}

PyObject *native_schema_capsule(struct ArrowSchema *take)
{
    PyObject *capsule = capsule_of(take, sizeof *take, SCHEMA_CAPSULE, schema_capsule_free);
    if (capsule == NULL) {
        take->release(take);
    }
    return capsule;
}

PyObject *native_array_capsule(struct ArrowArray *take)
{
    PyObject *capsule = capsule_of(take, sizeof *take, ARRAY_CAPSULE, array_capsule_free);
    if (capsule == NULL) {
        take->release(take);
    }
    return capsule;
}

PyObject *native_stream_capsule(struct ArrowArrayStream *take)
{
    PyObject *capsule = capsule_of(take, sizeof *take, STREAM_CAPSULE, stream_capsule_free);
    if (capsule == NULL) {
        Py_BEGIN_ALLOW_THREADS take->release(take);
        Py_END_ALLOW_THREADS
    }
    return capsule;
}

const struct ArrowSchema *native_requested_schema(PyObject *capsule_or_none, bool *failed)
{
    *failed = false;
    if (capsule_or_none == NULL || capsule_or_none == Py_None) {
        return NULL;
    }
    const struct ArrowSchema *schema = PyCapsule_GetPointer(capsule_or_none, SCHEMA_CAPSULE);
    if (schema != NULL && schema->release == NULL) {
        PyErr_SetString(PyExc_ValueError, "requested_schema has been released");
        schema = NULL;
    }
    *failed = schema == NULL;
    return schema;
}

static int import_stream(PyObject *capsule, struct ArrowArrayStream *out)
{
    struct ArrowArrayStream *stream = PyCapsule_GetPointer(capsule, STREAM_CAPSULE);
    if (stream == NULL) {
        return -1;
    }
    if (stream->release == NULL) {
        PyErr_SetString(PyExc_ValueError, "__arrow_c_stream__ gave a stream that has been released");
        return -1;
    }
    *out = *stream;
    stream->release = NULL;
    return 0;
}

static int import_array(PyObject *pair, struct ArrowArrayStream *out)
{
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "__arrow_c_array__ must give a pair of capsules");
        return -1;
    }
    struct ArrowSchema *schema = PyCapsule_GetPointer(PyTuple_GET_ITEM(pair, 0), SCHEMA_CAPSULE);
    struct ArrowArray *array = schema == NULL ? NULL : PyCapsule_GetPointer(PyTuple_GET_ITEM(pair, 1), ARRAY_CAPSULE);
    if (array == NULL) {
        return -1;
    }
    if (schema->release == NULL || array->release == NULL) {
        PyErr_SetString(PyExc_ValueError, "__arrow_c_array__ gave an array that has been released");
        return -1;
    }
    if (!native_stream_of_one(schema, array, out)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* The attribute, or NULL without an exception where the object has none. */
static PyObject *method_of(PyObject *object, PyObject *name)
{
    PyObject *method = PyObject_GetAttr(object, name);
    if (method == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return method;
}

int native_rows_import(struct native_state *state, PyObject *data, struct ArrowArrayStream *out)
{
    int (*import)(PyObject *, struct ArrowArrayStream *) = import_stream;
    PyObject *method = method_of(data, state->text_c_stream);
    if (method == NULL && !PyErr_Occurred()) {
        import = import_array;
        method = method_of(data, state->text_c_array);
    }
    if (method == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError,
                         "data must have __arrow_c_stream__ or __arrow_c_array__, or be a dict of columns or a list of "
                         "dicts, not %.200s",
                         Py_TYPE(data)->tp_name);
        }
        return -1;
    }
    PyObject *capsules = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    if (capsules == NULL) {
        return -1;
    }
    int result = import(capsules, out);
    Py_DECREF(capsules);
    return result;
}
