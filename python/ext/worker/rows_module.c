/*
 * rows_module.c: the module qanat._rows: the conversions of a statement's rows, for the engine's own Python.
 *
 * The same code that runs inside the sandbox, so that a list of dicts given to a processor is checked as what a statement
 * returns is, and `to_dicts()` gives the values that a statement would see. Everything runs with the GIL but the reading of
 * streams.
 */
#include "rows.h"

#include "arrow/type.h"

#include <stdlib.h>

#define SCHEMA_CAPSULE "arrow_schema"
#define ARRAY_CAPSULE  "arrow_array"
#define STREAM_CAPSULE "arrow_array_stream"

/* ---- Arrow to Python ----------------------------------------------------------------------------------------------- */

/* 1: a batch, 0: the end, -1 with an exception set. */
static int next_batch(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    int code = 0;
    Py_BEGIN_ALLOW_THREADS code = stream->get_next(stream, out);
    Py_END_ALLOW_THREADS if (code != 0)
    {
        const char *text = stream->get_last_error(stream);
        PyErr_Format(PyExc_ValueError, "the stream failed: %s", text != NULL ? text : "no reason given");
        return -1;
    }
    return out->release != NULL;
}

/* Extend `list` with the rows of one batch. */
static int append_batch(PyObject *list, struct rows_in *rows, const struct ArrowArray *batch)
{
    PyObject *part = rows_in_list(rows, batch, PyList_GET_SIZE(list));
    int result = part == NULL ? -1 : PyList_SetSlice(list, PyList_GET_SIZE(list), PyList_GET_SIZE(list), part);
    Py_XDECREF(part);
    return result;
}

static PyObject *read_rows(struct ArrowArrayStream *stream, struct rows_in *rows)
{
    PyObject *list = PyList_New(0);
    while (list != NULL) {
        struct ArrowArray batch = { .release = NULL };
        int found = next_batch(stream, &batch);
        if (found == 0) {
            break;
        }
        if (found < 0 || append_batch(list, rows, &batch) < 0) {
            Py_CLEAR(list);
        }
        if (batch.release != NULL) {
            batch.release(&batch);
        }
    }
    return list;
}

static PyObject *read_value(struct ArrowArrayStream *stream, struct rows_in *rows)
{
    struct ArrowArray batch = { .release = NULL };
    int found = next_batch(stream, &batch);
    PyObject *value = NULL;
    if (found > 0 && batch.length == 1 && batch.n_children == 1) {
        value = rows_in_value(rows, &batch);
    } else if (found >= 0) {
        PyErr_SetString(PyExc_ValueError, "one row with one column is needed");
    }
    if (batch.release != NULL) {
        batch.release(&batch);
    }
    return value;
}

static PyObject *read_stream(PyObject *capsule, PyObject *(*read)(struct ArrowArrayStream *, struct rows_in *))
{
    struct ArrowArrayStream *stream = PyCapsule_GetPointer(capsule, STREAM_CAPSULE);
    if (stream == NULL) {
        return NULL;
    }
    struct ArrowSchema schema = { .release = NULL };
    if (stream->release == NULL || stream->get_schema(stream, &schema) != 0) {
        PyErr_SetString(PyExc_ValueError, "the stream has been released, or has no schema");
        return NULL;
    }
    struct rows_in *rows = rows_in_new(&schema);
    PyObject *result = rows == NULL ? NULL : read(stream, rows);
    rows_in_free(rows);
    schema.release(&schema);
    return result;
}

PyDoc_STRVAR(to_dicts_doc, "to_dicts(stream)\n--\n\nThe rows of an Arrow stream capsule as a list of dicts.");

static PyObject *to_dicts(PyObject *module, PyObject *capsule)
{
    (void)module;
    return read_stream(capsule, read_rows);
}

PyDoc_STRVAR(to_value_doc, "to_value(stream)\n--\n\nThe value of a stream of one row and one column.");

static PyObject *to_value(PyObject *module, PyObject *capsule)
{
    (void)module;
    return read_stream(capsule, read_value);
}

/* ---- Python to Arrow ----------------------------------------------------------------------------------------------- */

static void free_schema_capsule(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, SCHEMA_CAPSULE);
    qn_schema_release(schema);
    free(schema);
}

static void free_array_capsule(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, ARRAY_CAPSULE);
    if (array->release != NULL) {
        array->release(array);
    }
    free(array);
}

static PyObject *schema_capsule(const struct ArrowSchema *schema)
{
    struct ArrowSchema *copy = calloc(1, sizeof *copy);
    struct qn_error err = QN_ERROR_INIT;
    if (copy == NULL || qn_schema_copy(schema, copy, &err) != QN_OK) {
        free(copy);
        return PyErr_NoMemory();
    }
    PyObject *capsule = PyCapsule_New(copy, SCHEMA_CAPSULE, free_schema_capsule);
    if (capsule == NULL) {
        qn_schema_release(copy);
        free(copy);
    }
    return capsule;
}

/* The rows that were put, as a capsule. */
static PyObject *array_capsule(struct rows_out *rows)
{
    struct ArrowArray *array = calloc(1, sizeof *array);
    if (array == NULL) {
        return PyErr_NoMemory();
    }
    if (rows_out_finish(rows, array) < 0) {
        free(array);
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(array, ARRAY_CAPSULE, free_array_capsule);
    if (capsule == NULL) {
        array->release(array);
        free(array);
    }
    return capsule;
}

static PyObject *put_rows(const struct ArrowSchema *schema, const char *const *types, PyObject *list)
{
    struct rows_out *rows = rows_out_new(schema, types);
    bool good = rows != NULL;
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(list); i++) {
        PyObject *row = Py_NewRef(PyList_GET_ITEM(list, i)); /* a value's own code may change the list */
        good = rows_out_put(rows, row, (int64_t)i) == 0;
        Py_DECREF(row);
    }
    PyObject *array = good ? array_capsule(rows) : NULL;
    PyObject *names = array == NULL ? NULL : schema_capsule(schema);
    rows_out_free(rows);
    if (names == NULL) {
        Py_XDECREF(array);
        return NULL;
    }
    return Py_BuildValue("(NN)", names, array);
}

PyDoc_STRVAR(from_dicts_doc,
             "from_dicts(schema, types, rows)\n--\n\nDicts with exactly the fields of a schema capsule as a pair of "
             "capsules. `types` has the type texts, for messages. ValueError or TypeError names row and field.");

static PyObject *from_dicts(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *capsule = NULL;
    PyObject *texts = NULL;
    PyObject *list = NULL;
    if (!PyArg_ParseTuple(args, "OO!O!:from_dicts", &capsule, &PyList_Type, &texts, &PyList_Type, &list)) {
        return NULL;
    }
    const struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, SCHEMA_CAPSULE);
    if (schema == NULL || schema->release == NULL || schema->n_children != PyList_GET_SIZE(texts)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "a schema and one type text for each of its fields are needed");
        }
        return NULL;
    }
    const char **types = calloc((size_t)schema->n_children + 1, sizeof *types);
    bool good = types != NULL;
    if (!good) {
        PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(texts); i++) {
        types[i] = PyUnicode_AsUTF8(PyList_GET_ITEM(texts, i));
        good = types[i] != NULL;
    }
    PyObject *pair = good ? put_rows(schema, types, list) : NULL;
    free(types);
    return pair;
}

/* ---- the module ---------------------------------------------------------------------------------------------------- */

static int execute(PyObject *module)
{
    (void)module;
    return rows_init();
}

static PyMethodDef functions[] = {
    { "to_dicts", to_dicts, METH_O, to_dicts_doc },
    { "to_value", to_value, METH_O, to_value_doc },
    { "from_dicts", from_dicts, METH_VARARGS, from_dicts_doc },
    { NULL, NULL, 0, NULL },
};

static PyModuleDef_Slot slots[] = {
    { Py_mod_exec, execute },
    { 0, NULL },
};

static PyModuleDef rows_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "qanat._rows",
    .m_doc = "Arrow to Python values and back, as statements see them.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__rows(void);

PyMODINIT_FUNC PyInit__rows(void)
{
    return PyModuleDef_Init(&rows_module);
}
