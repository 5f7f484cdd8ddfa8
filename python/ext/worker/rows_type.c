/*
 * rows_type.c: RowsIn, RowsOut and drive() as Python sees them: for tests, and for the modes that are written in Python.
 *
 * Arrow things travel as the capsules of the Arrow PyCapsule protocol. A schema is copied; an array is borrowed while a call
 * lasts. What finish() gives belongs to its capsules.
 */
#include "drive.h"
#include "rows_private.h"

#include "base/memory.h"

#include <string.h>

#define SCHEMA_CAPSULE "arrow_schema"
#define ARRAY_CAPSULE  "arrow_array"

/* ---- capsules ---- */

static const struct ArrowSchema *capsule_schema(PyObject *capsule)
{
    const struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, SCHEMA_CAPSULE);
    if (schema != NULL && schema->release == NULL) {
        PyErr_SetString(PyExc_ValueError, "the schema has been released");
        return NULL;
    }
    return schema;
}

static const struct ArrowArray *capsule_array(PyObject *capsule)
{
    const struct ArrowArray *array = PyCapsule_GetPointer(capsule, ARRAY_CAPSULE);
    if (array != NULL && array->release == NULL) {
        PyErr_SetString(PyExc_ValueError, "the array has been released");
        return NULL;
    }
    return array;
}

static void free_schema(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, SCHEMA_CAPSULE);
    qn_schema_release(schema);
    qn_free(schema);
}

static void free_array(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, ARRAY_CAPSULE);
    qn_array_release(array);
    qn_free(array);
}

/* A capsule of a copy of `schema`. */
static PyObject *schema_capsule(const struct ArrowSchema *schema)
{
    struct ArrowSchema *copy = qn_calloc(1, sizeof *copy);
    struct qn_error err = QN_ERROR_INIT;
    if (copy == NULL || qn_schema_copy(schema, copy, &err) != QN_OK) {
        qn_free(copy);
        return PyErr_NoMemory();
    }
    PyObject *capsule = PyCapsule_New(copy, SCHEMA_CAPSULE, free_schema);
    if (capsule == NULL) {
        qn_schema_release(copy);
        qn_free(copy);
    }
    return capsule;
}

/* ---- RowsIn ---- */

struct rows_in_object {
    PyObject_HEAD
    struct rows_in *rows;
};

static PyObject *in_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = { "schema", NULL };
    PyObject *capsule;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O:RowsIn", names, &capsule)) {
        return NULL;
    }
    const struct ArrowSchema *schema = capsule_schema(capsule);
    if (schema == NULL) {
        return NULL;
    }
    struct rows_in *rows = rows_in_new(schema);
    PyObject *self = rows == NULL ? NULL : type->tp_alloc(type, 0);
    if (self == NULL) {
        rows_in_free(rows);
        return NULL;
    }
    ((struct rows_in_object *)self)->rows = rows;
    return self;
}

static void in_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    rows_in_free(((struct rows_in_object *)self)->rows);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *in_list(PyObject *self, PyObject *arguments)
{
    PyObject *capsule;
    long long first_row = 0;
    if (!PyArg_ParseTuple(arguments, "O|L:list", &capsule, &first_row)) {
        return NULL;
    }
    const struct ArrowArray *array = capsule_array(capsule);
    return array == NULL ? NULL : rows_in_list(((struct rows_in_object *)self)->rows, array, first_row);
}

static PyObject *in_value(PyObject *self, PyObject *capsule)
{
    const struct ArrowArray *array = capsule_array(capsule);
    return array == NULL ? NULL : rows_in_value(((struct rows_in_object *)self)->rows, array);
}

static PyMethodDef in_methods[] = {
    { "list", in_list, METH_VARARGS, "list(array, first_row=0): a dict for each row of a batch" },
    { "value", in_value, METH_O, "value(array): the one value of a batch of one row and one column" },
    { 0 }
};
static PyType_Slot in_slots[] = { { Py_tp_new, in_new },
                                  { Py_tp_dealloc, in_dealloc },
                                  { Py_tp_methods, in_methods },
                                  { Py_tp_doc, "RowsIn(schema): Arrow batches to lists of dicts" },
                                  { 0 } };
static PyType_Spec in_spec = { .name = "_worker.RowsIn",
                               .basicsize = sizeof(struct rows_in_object),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
                               .slots = in_slots };

/* ---- RowsOut ---- */

struct rows_out_object {
    PyObject_HEAD
    struct rows_out *rows;
    struct ArrowSchema schema;
};

/* The texts of a sequence of str, borrowed from it; NULL with an exception set. */
static const char **texts_of(PyObject *sequence, int64_t wanted)
{
    Py_ssize_t size = PySequence_Fast_GET_SIZE(sequence);
    if (size != wanted) {
        PyErr_Format(PyExc_ValueError, "%zd types for %lld fields", size, (long long)wanted);
        return NULL;
    }
    const char **texts = qn_calloc((size_t)(size > 0 ? size : 1), sizeof *texts);
    if (texts == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        texts[i] = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(sequence, i));
        if (texts[i] == NULL) {
            qn_free(texts);
            return NULL;
        }
    }
    return texts;
}

static struct rows_out *make_out(const struct ArrowSchema *schema, PyObject *types)
{
    if (types == Py_None) {
        return rows_out_new(schema, NULL);
    }
    PyObject *sequence = PySequence_Tuple(types);
    const char **texts = sequence == NULL ? NULL : texts_of(sequence, schema->n_children);
    struct rows_out *rows = texts == NULL ? NULL : rows_out_new(schema, texts);
    qn_free(texts);
    Py_XDECREF(sequence);
    return rows;
}

static PyObject *out_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = { "schema", "types", NULL };
    PyObject *capsule, *types = Py_None;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|O:RowsOut", names, &capsule, &types)) {
        return NULL;
    }
    const struct ArrowSchema *schema = capsule_schema(capsule);
    if (schema == NULL) {
        return NULL;
    }
    struct rows_out_object *self = (struct rows_out_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    self->rows = make_out(schema, types);
    if (self->rows != NULL && qn_schema_copy(schema, &self->schema, &err) != QN_OK) {
        rows__raise(&err);
        Py_DECREF(self);
        return NULL;
    }
    if (self->rows == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void out_dealloc(PyObject *object)
{
    struct rows_out_object *self = (struct rows_out_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    rows_out_free(self->rows);
    qn_schema_release(&self->schema);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *out_put(PyObject *self, PyObject *arguments)
{
    PyObject *object;
    long long row = 0;
    if (!PyArg_ParseTuple(arguments, "O|L:put", &object, &row) ||
        rows_out_put(((struct rows_out_object *)self)->rows, object, row) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *out_put_all(PyObject *self, PyObject *arguments)
{
    PyObject *returned;
    long long row = 0;
    if (!PyArg_ParseTuple(arguments, "O|L:put_all", &returned, &row)) {
        return NULL;
    }
    struct drive drive = { .out = ((struct rows_out_object *)self)->rows, .rows_out = row };
    return drive_put(&drive, returned) < 0 ? NULL : PyLong_FromLongLong(drive.rows_out - row);
}

static PyObject *out_length(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromLongLong(rows_out_length(((struct rows_out_object *)self)->rows));
}

static PyObject *out_bytes(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromLongLong(rows_out_bytes(((struct rows_out_object *)self)->rows));
}

static PyObject *out_finish(PyObject *object, PyObject *ignored)
{
    struct rows_out_object *self = (struct rows_out_object *)object;
    (void)ignored;
    struct ArrowArray *array = qn_calloc(1, sizeof *array);
    if (array == NULL) {
        return PyErr_NoMemory();
    }
    if (rows_out_finish(self->rows, array) < 0) {
        qn_free(array);
        return NULL;
    }
    PyObject *second = PyCapsule_New(array, ARRAY_CAPSULE, free_array);
    if (second == NULL) {
        qn_array_release(array);
        qn_free(array);
        return NULL;
    }
    PyObject *first = schema_capsule(&self->schema);
    if (first == NULL) {
        Py_DECREF(second);
        return NULL;
    }
    return Py_BuildValue("(NN)", first, second);
}

static PyMethodDef out_methods[] = {
    { "put", out_put, METH_VARARGS, "put(row, number=0): append one row" },
    { "put_all", out_put_all, METH_VARARGS, "put_all(returned, number=0): append a list of rows; how many there were" },
    { "length", out_length, METH_NOARGS, "length(): rows since the last finish" },
    { "bytes", out_bytes, METH_NOARGS, "bytes(): about how many they take" },
    { "finish", out_finish, METH_NOARGS, "finish(): schema and array capsules of the rows; none are left" },
    { 0 }
};
static PyType_Slot out_slots[] = { { Py_tp_new, out_new },
                                   { Py_tp_dealloc, out_dealloc },
                                   { Py_tp_methods, out_methods },
                                   { Py_tp_doc, "RowsOut(schema, types=None): dicts to Arrow batches" },
                                   { 0 } };
static PyType_Spec out_spec = { .name = "_worker.RowsOut",
                                .basicsize = sizeof(struct rows_out_object),
                                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
                                .slots = out_slots };

/* ---- drive ---- */

struct flush_context {
    PyObject *out;     /* RowsOut */
    PyObject *batches; /* list of what finish gives */
};

static int flush_to_list(void *context, struct rows_out *rows)
{
    struct flush_context *flush = context;
    (void)rows; /* those of flush->out */
    PyObject *batch = out_finish(flush->out, NULL);
    int result = batch == NULL ? -1 : PyList_Append(flush->batches, batch);
    Py_XDECREF(batch);
    return result;
}

static PyObject *drive_summary(const struct drive *drive, enum drive_end end, PyObject *batches)
{
    return Py_BuildValue("{s:O,s:L,s:L,s:L,s:K,s:K,s:K,s:O}", "awaits", end == DRIVE_AWAITS ? Py_True : Py_False, "row",
                         (long long)drive->row, "rows_in", (long long)drive->rows_in, "rows_out",
                         (long long)drive->rows_out, "read_nanos", (unsigned long long)drive->read_nanos, "run_nanos",
                         (unsigned long long)drive->run_nanos, "write_nanos", (unsigned long long)drive->write_nanos,
                         "batches", batches);
}

/* drive(function, rows, checkpoint, out, flush_rows=0, flush_bytes=0): `rows` is a list of dicts, or a pair of a RowsIn and an
 * array capsule; out is a RowsOut. A dict of what happened; a failure raises. */
static PyObject *module_drive(PyObject *module, PyObject *arguments)
{
    PyObject *rows, *out, *in = NULL, *capsule = NULL;
    struct drive drive = { .flush = flush_to_list };
    long long flush_rows = 0, flush_bytes = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOOO|LL:drive", &drive.function, &rows, &drive.checkpoint, &out, &flush_rows,
                          &flush_bytes)) {
        return NULL;
    }
    if (Py_TYPE(out)->tp_dealloc != out_dealloc ||
        (PyTuple_Check(rows) &&
         (!PyArg_ParseTuple(rows, "OO", &in, &capsule) || Py_TYPE(in)->tp_dealloc != in_dealloc))) {
        PyErr_SetString(PyExc_TypeError,
                        "drive() takes a RowsOut, and a list or a pair of a RowsIn and an array capsule");
        return NULL;
    }
    struct flush_context context = { .out = out, .batches = PyList_New(0) };
    if (context.batches == NULL) {
        return NULL;
    }
    drive.out = ((struct rows_out_object *)out)->rows;
    drive.flush_rows = flush_rows;
    drive.flush_bytes = flush_bytes;
    drive.context = &context;
    enum drive_end end = DRIVE_FAILED;
    if (in == NULL) {
        end = drive_rows(&drive, rows, 0);
    } else {
        const struct ArrowArray *array = capsule_array(capsule);
        end = array == NULL ? DRIVE_FAILED : drive_batch(&drive, ((struct rows_in_object *)in)->rows, array, 0);
    }
    PyObject *summary = NULL;
    if (end != DRIVE_FAILED) {
        summary = drive_summary(&drive, end, context.batches);
    }
    Py_DECREF(context.batches);
    return summary;
}

static PyObject *module_decimals(PyObject *module, PyObject *direct)
{
    (void)module;
    int truth = PyObject_IsTrue(direct);
    return truth < 0 ? NULL : PyBool_FromLong(rows__decimal_object_use(truth != 0));
}

static PyMethodDef module_methods[] = {
    { "decimals_direct", module_decimals, METH_O,
      "decimals_direct(bool): for tests: read and make Decimal objects directly or by their text; what it was" },
    { "drive", module_drive, METH_VARARGS,
      "drive(function, rows, checkpoint, out, flush_rows=0, flush_bytes=0): call a coroutine function once a row" },
    { 0 }
};

static int add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int result = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return result;
}

int rows_type_add(PyObject *module)
{
    return add_type(module, &in_spec) < 0 || add_type(module, &out_spec) < 0 ||
                   PyModule_AddFunctions(module, module_methods) < 0
               ? -1
               : 0;
}
