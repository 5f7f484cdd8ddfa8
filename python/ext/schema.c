/*
 * schema.c: the type Schema, the columns of a result. Immutable; it shares the Arrow schema with its stream.
 */
#include "native.h"

#include <string.h>

struct schema_object {
    PyObject_HEAD
    struct native_shared_schema *shared;
};

PyObject *native_schema_new(struct native_state *state, struct native_shared_schema *shared)
{
    struct schema_object *self = (struct schema_object *)state->schema_type->tp_alloc(state->schema_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->shared = native_shared_schema_ref(shared);
    return (PyObject *)self;
}

const struct ArrowSchema *native_schema_of(PyObject *schema)
{
    return &((struct schema_object *)schema)->shared->schema;
}

static PyObject *schema_names(PyObject *object, void *closure)
{
    (void)closure;
    const struct ArrowSchema *schema = native_schema_of(object);
    PyObject *names = PyList_New((Py_ssize_t)schema->n_children);
    for (int64_t i = 0; names != NULL && i < schema->n_children; i++) {
        PyObject *name = PyUnicode_FromString(schema->children[i]->name);
        if (name == NULL) {
            Py_CLEAR(names);
        } else {
            PyList_SET_ITEM(names, (Py_ssize_t)i, name);
        }
    }
    return names;
}

static PyObject *schema_formats(PyObject *object, void *closure)
{
    (void)closure;
    const struct ArrowSchema *schema = native_schema_of(object);
    PyObject *formats = PyList_New((Py_ssize_t)schema->n_children);
    for (int64_t i = 0; formats != NULL && i < schema->n_children; i++) {
        PyObject *format = PyUnicode_FromString(schema->children[i]->format);
        if (format == NULL) {
            Py_CLEAR(formats);
        } else {
            PyList_SET_ITEM(formats, (Py_ssize_t)i, format);
        }
    }
    return formats;
}

/* The next text of a metadata block, decoded; *at moves past it. */
static PyObject *metadata_text(const char **at)
{
    int32_t size = 0;
    memcpy(&size, *at, sizeof size);
    PyObject *text = PyUnicode_DecodeUTF8(*at + sizeof size, size, "replace");
    *at += sizeof size + (size_t)size;
    return text;
}

PyDoc_STRVAR(schema_metadata_doc, "metadata(index)\n--\n\nThe metadata of a column, as a dict of texts.");

static PyObject *schema_metadata(PyObject *object, PyObject *number)
{
    const struct ArrowSchema *schema = native_schema_of(object);
    Py_ssize_t index = PyNumber_AsSsize_t(number, PyExc_IndexError);
    if (index == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (index < 0 || index >= schema->n_children) {
        PyErr_Format(PyExc_IndexError, "there is no column %zd", index);
        return NULL;
    }
    PyObject *pairs = PyDict_New();
    const char *at = schema->children[index]->metadata;
    int32_t count = 0;
    if (at != NULL) {
        memcpy(&count, at, sizeof count);
        at += sizeof count;
    }
    for (int32_t i = 0; pairs != NULL && i < count; i++) {
        PyObject *key = metadata_text(&at);
        PyObject *value = key == NULL ? NULL : metadata_text(&at);
        if (value == NULL || PyDict_SetItem(pairs, key, value) < 0) {
            Py_CLEAR(pairs);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return pairs;
}

PyDoc_STRVAR(schema_capsule_doc, "__arrow_c_schema__()\n--\n\nThe schema as an Arrow PyCapsule.");

static PyObject *schema_capsule(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct ArrowSchema copy;
    if (!native_schema_copy(native_schema_of(object), NATIVE_LAYOUT_SAME, &copy)) {
        return PyErr_NoMemory();
    }
    return native_schema_capsule(&copy);
}

static Py_ssize_t schema_length(PyObject *object)
{
    return (Py_ssize_t)native_schema_of(object)->n_children;
}

static void schema_dealloc(PyObject *object)
{
    struct schema_object *self = (struct schema_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    native_shared_schema_unref(self->shared);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef schema_methods[] = {
    { "metadata", schema_metadata, METH_O, schema_metadata_doc },
    { "__arrow_c_schema__", schema_capsule, METH_NOARGS, schema_capsule_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef schema_attributes[] = {
    { "names", schema_names, NULL, "The columns' names.", NULL },
    { "formats", schema_formats, NULL, "The columns' types as format strings of the Arrow C data interface.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot schema_slots[] = {
    { Py_tp_dealloc, schema_dealloc },
    { Py_tp_methods, schema_methods },
    { Py_tp_getset, schema_attributes },
    { Py_sq_length, schema_length },
    { Py_tp_doc, "The columns of a result: names, types and metadata." },
    { 0, NULL },
};

PyType_Spec native_schema_spec = {
    .name = "qanat._native.Schema",
    .basicsize = sizeof(struct schema_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = schema_slots,
};
