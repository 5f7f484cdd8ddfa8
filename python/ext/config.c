/*
 * config.c: the type Config, a struct qn_config. qanat.DatabaseConfig (Python) is written over it.
 *
 * No method blocks. Threads: the GIL guards the struct; nothing here releases it.
 */
#include "native.h"

struct config_object {
    PyObject_HEAD
    struct native_state *state;
    struct qn_config *config;
};

static PyObject *config_wrap(PyTypeObject *type, struct qn_config *config)
{
    struct native_state *state = native_state_of_type(type);
    struct config_object *self = state == NULL ? NULL : (struct config_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        qn_config_free(config);
        return NULL;
    }
    self->state = state;
    self->config = config;
    return (PyObject *)self;
}

PyDoc_STRVAR(config_new_doc, "new(db_type)\n--\n\nAn empty configuration of a database type; aliases are resolved.");

static PyObject *config_new(PyObject *type, PyObject *db_type)
{
    struct native_state *state = native_state_of_type((PyTypeObject *)type);
    const char *text = state == NULL ? NULL : native_text(state, db_type, "db_type");
    if (text == NULL) {
        return NULL;
    }
    struct qn_config *config = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_config_new(text, &config, &err) != QN_OK) {
        return native_raise(state, &err, NULL);
    }
    return config_wrap((PyTypeObject *)type, config);
}

PyDoc_STRVAR(config_from_uri_doc, "from_uri(uri)\n--\n\nThe configuration that a URI names.");

static PyObject *config_from_uri(PyObject *type, PyObject *uri)
{
    struct native_state *state = native_state_of_type((PyTypeObject *)type);
    const char *text = state == NULL ? NULL : native_text(state, uri, "uri");
    if (text == NULL) {
        return NULL;
    }
    struct qn_config *config = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_config_from_uri(text, &config, &err) != QN_OK) {
        return native_raise(state, &err, NULL);
    }
    return config_wrap((PyTypeObject *)type, config);
}

PyDoc_STRVAR(config_set_doc, "set(key, value)\n--\n\nSet a key to a text, or remove it where the value is None.");

static PyObject *config_set(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct config_object *self = (struct config_object *)object;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "set takes a key and a value, not %zd arguments", count);
    }
    const char *value = NULL;
    const char *key = native_text(self->state, args[0], "the key");
    if (key == NULL || native_optional_text(self->state, args[1], "the value", &value) < 0) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    if (qn_config_set(self->config, key, value, &err) != QN_OK) {
        return native_raise(self->state, &err, NULL);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(config_get_doc, "get(key)\n--\n\nThe value of a key, or None.");

static PyObject *config_get(PyObject *object, PyObject *name)
{
    struct config_object *self = (struct config_object *)object;
    const char *key = native_text(self->state, name, "the key");
    if (key == NULL) {
        return NULL;
    }
    const char *value = qn_config_get(self->config, key);
    if (value == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(value);
}

PyDoc_STRVAR(config_items_doc, "items()\n--\n\nKeys and values in order of setting, as a list of pairs.");

static PyObject *config_items(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct config_object *self = (struct config_object *)object;
    PyObject *items = PyList_New(0);
    const char *key = NULL;
    const char *value = NULL;
    for (size_t i = 0; items != NULL && qn_config_at(self->config, i, &key, &value); i++) {
        PyObject *pair = Py_BuildValue("(ss)", key, value);
        if (pair == NULL || PyList_Append(items, pair) < 0) {
            Py_CLEAR(items);
        }
        Py_XDECREF(pair);
    }
    return items;
}

PyDoc_STRVAR(config_to_uri_doc, "to_uri(show_password)\n--\n\nThe URI, with the password or with *** in its place.");

static PyObject *config_to_uri(PyObject *object, PyObject *show)
{
    struct config_object *self = (struct config_object *)object;
    int shown = PyObject_IsTrue(show);
    if (shown < 0) {
        return NULL;
    }
    char *uri = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_config_to_uri(self->config, shown ? QN_PASSWORD_SHOWN : QN_PASSWORD_MASKED, &uri, &err) != QN_OK) {
        return native_raise(self->state, &err, NULL);
    }
    PyObject *text = PyUnicode_FromString(uri);
    qn_free_text(uri);
    return text;
}

const struct qn_config *native_config_of(PyObject *config)
{
    return ((struct config_object *)config)->config;
}

static void config_dealloc(PyObject *object)
{
    struct config_object *self = (struct config_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    qn_config_free(self->config);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef config_methods[] = {
    { "new", config_new, METH_O | METH_CLASS, config_new_doc },
    { "from_uri", config_from_uri, METH_O | METH_CLASS, config_from_uri_doc },
    { "set", (PyCFunction)(void (*)(void))config_set, METH_FASTCALL, config_set_doc },
    { "get", config_get, METH_O, config_get_doc },
    { "items", config_items, METH_NOARGS, config_items_doc },
    { "to_uri", config_to_uri, METH_O, config_to_uri_doc },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot config_slots[] = {
    { Py_tp_dealloc, config_dealloc },
    { Py_tp_methods, config_methods },
    { Py_tp_doc, "A database's type, address, credentials and options, as key and value texts." },
    { 0, NULL },
};

PyType_Spec native_config_spec = {
    .name = "qanat._native.Config",
    .basicsize = sizeof(struct config_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = config_slots,
};
