/*
 * batch.c: the type Batch, some rows of a result. Immutable; every consumer gets structs of its own over the same
 * buffers, which live until the last of them is gone.
 */
#include "native.h"

struct batch_object {
    PyObject_HEAD
    struct native_state *state;
    struct native_shared_array *shared;
    PyObject *schema; /* a Schema */
};

PyObject *native_batch_new(struct native_state *state, struct ArrowArray *take, PyObject *schema)
{
    struct batch_object *self = (struct batch_object *)state->batch_type->tp_alloc(state->batch_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->schema = Py_NewRef(schema);
    self->shared = native_shared_array_new(take);
    if (self->shared == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

/* The batch's schema and rows in the layouts that `requested` asks for. */
static bool rows_in_layout(struct batch_object *self, const struct ArrowSchema *requested, struct ArrowSchema *schema,
                           struct ArrowArray *array)
{
    struct ArrowArrayStream one;
    struct ArrowArrayStream converted;
    struct qn_error err = QN_ERROR_INIT;
    if (!native_stream_of_one(schema, array, &one)) {
        schema->release(schema);
        array->release(array);
        PyErr_NoMemory();
        return false;
    }
    enum qn_status status = qn_stream_with_layout(&one, requested, &converted, &err);
    if (status != QN_OK) {
        one.release(&one);
        native_raise(self->state, &err, NULL);
        return false;
    }
    bool failed = converted.get_schema(&converted, schema) != 0;
    if (!failed && converted.get_next(&converted, array) != 0) {
        failed = true;
        schema->release(schema);
    }
    if (failed) {
        (void)qn_stream_error(&converted, &err);
        native_raise(self->state, &err, NULL);
    }
    converted.release(&converted);
    return !failed;
}

PyDoc_STRVAR(batch_c_array_doc,
             "__arrow_c_array__(requested_schema=None)\n--\n\nThe rows as a pair of Arrow PyCapsules, without a copy.");

static PyObject *batch_c_array(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = { "requested_schema", NULL };
    struct batch_object *self = (struct batch_object *)object;
    PyObject *capsule = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:__arrow_c_array__", names, &capsule)) {
        return NULL;
    }
    bool failed = false;
    const struct ArrowSchema *requested = native_requested_schema(capsule, &failed);
    if (failed) {
        return NULL;
    }
    struct ArrowSchema schema;
    struct ArrowArray array;
    if (!native_schema_copy(native_schema_of(self->schema), NATIVE_LAYOUT_SAME, &schema)) {
        return PyErr_NoMemory();
    }
    if (!native_shared_array_export(self->shared, &array)) {
        schema.release(&schema);
        return PyErr_NoMemory();
    }
    if (requested != NULL && !rows_in_layout(self, requested, &schema, &array)) {
        return NULL;
    }
    PyObject *schema_part = native_schema_capsule(&schema);
    PyObject *array_part = native_array_capsule(&array);
    PyObject *pair = schema_part == NULL || array_part == NULL ? NULL : PyTuple_Pack(2, schema_part, array_part);
    Py_XDECREF(schema_part);
    Py_XDECREF(array_part);
    return pair;
}

static Py_ssize_t batch_length(PyObject *object)
{
    return (Py_ssize_t)native_shared_array_get(((struct batch_object *)object)->shared)->length;
}

static PyObject *batch_num_rows(PyObject *object, void *closure)
{
    (void)closure;
    return PyLong_FromSsize_t(batch_length(object));
}

static PyObject *batch_num_columns(PyObject *object, void *closure)
{
    (void)closure;
    return PyLong_FromLongLong(native_schema_of(((struct batch_object *)object)->schema)->n_children);
}

static PyObject *batch_schema(PyObject *object, void *closure)
{
    (void)closure;
    return Py_NewRef(((struct batch_object *)object)->schema);
}

static void batch_dealloc(PyObject *object)
{
    struct batch_object *self = (struct batch_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    native_shared_array_unref(self->shared);
    Py_XDECREF(self->schema);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef batch_methods[] = {
    { "__arrow_c_array__", (PyCFunction)(void (*)(void))batch_c_array, METH_VARARGS | METH_KEYWORDS,
      batch_c_array_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef batch_attributes[] = {
    { "num_rows", batch_num_rows, NULL, "How many rows.", NULL },
    { "num_columns", batch_num_columns, NULL, "How many columns.", NULL },
    { "schema", batch_schema, NULL, "The columns, a Schema.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot batch_slots[] = {
    { Py_tp_dealloc, batch_dealloc }, { Py_tp_methods, batch_methods },        { Py_tp_getset, batch_attributes },
    { Py_sq_length, batch_length },   { Py_tp_doc, "Some rows of a result." }, { 0, NULL },
};

PyType_Spec native_batch_spec = {
    .name = "qanat._native.Batch",
    .basicsize = sizeof(struct batch_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};
