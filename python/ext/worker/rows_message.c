/*
 * rows_message.c: what an author reads when a returned row does not fit the output schema.
 *
 * A message names row, field, expected and found. What was found is shown only where that calls nothing that a statement
 * could have defined: values of the built-in classes, cut to some characters; of anything else the class.
 */
#include "rows_private.h"

#include <string.h>

#define SHOWN_CHARACTERS 40
#define SHOWN_FIELDS     8
#define SHOWN_KEY        60
#define PATH_SIZE        256

/* ---- what was found ---- */

static PyObject *class_name(PyObject *value)
{
    return PyUnicode_FromFormat("%.120s", Py_TYPE(value)->tp_name);
}

/* repr of the first characters of a str or bytes. */
static PyObject *cut_repr(PyObject *value, Py_ssize_t size)
{
    if (size <= SHOWN_CHARACTERS) {
        return PyObject_Repr(value);
    }
    PyObject *head = PySequence_GetSlice(value, 0, SHOWN_CHARACTERS);
    PyObject *shown = head == NULL ? NULL : PyObject_Repr(head);
    PyObject *text = shown == NULL ? NULL : PyUnicode_FromFormat("%U... (%zd long)", shown, size);
    Py_XDECREF(head);
    Py_XDECREF(shown);
    return text;
}

static PyObject *int_text(PyObject *value)
{
    int overflow;
    long long small = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0) {
        return PyUnicode_FromFormat("int %lld", small);
    }
    PyObject *bits = PyObject_CallMethod(value, "bit_length", NULL);
    size_t n_bits = bits == NULL ? SIZE_MAX : PyLong_AsSize_t(bits);
    Py_XDECREF(bits);
    if (n_bits == SIZE_MAX) {
        PyErr_Clear();
    }
    return n_bits <= 256 ? PyUnicode_FromFormat("int %R", value) : PyUnicode_FromFormat("int of %zu bits", n_bits);
}

static PyObject *counted(const char *name, Py_ssize_t count, const char *what)
{
    return PyUnicode_FromFormat("%s of %zd %s%s", name, count, what, count == 1 ? "" : "s");
}

/* "class text", where there is a text. Takes it. */
static PyObject *named(PyObject *value, PyObject *text)
{
    if (text == NULL) {
        return NULL;
    }
    PyObject *both = PyUnicode_FromFormat("%.120s %U", Py_TYPE(value)->tp_name, text);
    Py_DECREF(text);
    return both;
}

PyObject *rows__found(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    if (value == Py_None) {
        return PyUnicode_FromString("None");
    }
    if (type == &PyBool_Type || type == &PyFloat_Type) {
        return named(value, PyObject_Repr(value));
    }
    if (type == &PyLong_Type) {
        return int_text(value);
    }
    if (type == &PyUnicode_Type) {
        return named(value, cut_repr(value, PyUnicode_GET_LENGTH(value)));
    }
    if (type == &PyBytes_Type) {
        return named(value, cut_repr(value, PyBytes_GET_SIZE(value)));
    }
    if (type == &PyList_Type || type == &PyTuple_Type) {
        return counted(type->tp_name, Py_SIZE(value), "item");
    }
    if (type == &PyDict_Type) {
        return counted("dict", PyDict_GET_SIZE(value), "key");
    }
    if (type == rows__types.decimal) {
        PyObject *text = type->tp_str(value);
        PyObject *cut = text == NULL ? NULL : PyUnicode_Substring(text, 0, 2 * SHOWN_CHARACTERS);
        PyObject *found = cut == NULL ? NULL : PyUnicode_FromFormat("Decimal %U", cut);
        Py_XDECREF(text);
        Py_XDECREF(cut);
        return found;
    }
    PyObject *time = rows__time_text(value);
    return time != NULL ? named(value, time) : class_name(value);
}

bool rows__is_missing(PyObject *value)
{
    static const char *const names[][2] = { { "NaTType", "NaT" }, { "NAType", "NA" } };
    if (!PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_HEAPTYPE)) {
        return false; /* soon told for the built-in classes */
    }
    const char *type = Py_TYPE(value)->tp_name;
    const char *dot = strrchr(type, '.');
    const char *name = dot != NULL ? dot + 1 : type;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i][0]) == 0) {
            PyObject *modules = PyImport_GetModuleDict(); /* borrowed */
            PyObject *pandas = modules == NULL ? NULL : PyDict_GetItemString(modules, "pandas");
            PyObject *mark = pandas == NULL || !PyModule_Check(pandas)
                                 ? NULL
                                 : PyDict_GetItemString(PyModule_GetDict(pandas), names[i][1]);
            return mark == value;
        }
    }
    return false;
}

/* ---- where ---- */

/* "a.b[2]" into `out`, cut where it is long. */
static void write_path(const struct rows__field *field, char *out, size_t size)
{
    if (field->parent == NULL || field->parent->column == NULL) {
        snprintf(out, size, "%s", field->column->name);
        return;
    }
    write_path(field->parent, out, size);
    size_t used = strlen(out);
    if (field->number_item) {
        snprintf(out + used, size - used, "[%lld]", (long long)field->at);
    } else {
        snprintf(out + used, size - used, ".%s", field->column->name);
    }
}

/* `row 3` or `row 3, field "a"`; new reference. */
static PyObject *place(const struct rows_out *rows, const struct rows__field *field)
{
    if (field->column == NULL) {
        return PyUnicode_FromFormat("row %lld", (long long)rows->row);
    }
    char path[PATH_SIZE];
    write_path(field, path, sizeof path);
    PyObject *name = PyUnicode_DecodeUTF8(path, (Py_ssize_t)strlen(path), "ignore");
    PyObject *text = name == NULL ? NULL : PyUnicode_FromFormat("row %lld, field \"%U\"", (long long)rows->row, name);
    Py_XDECREF(name);
    return text;
}

/* `"id", "name"` of the first fields of a schema; new reference. */
static PyObject *schema_names(const struct rows__field *parent)
{
    PyObject *text = PyUnicode_FromString(parent->n_children == 0 ? "no fields" : "");
    for (int64_t i = 0; text != NULL && i < parent->n_children && i <= SHOWN_FIELDS; i++) {
        const char *form = i == SHOWN_FIELDS ? "%U, ..." : (i == 0 ? "%U\"%U\"" : "%U, \"%U\"");
        PyObject *longer = PyUnicode_FromFormat(form, text, parent->children[i].key);
        Py_DECREF(text);
        text = longer;
    }
    return text;
}

/* The same of the keys that a dict has, which may be anything. */
static PyObject *dict_names(PyObject *dict)
{
    PyObject *text = PyUnicode_FromString(PyDict_GET_SIZE(dict) == 0 ? "an empty dict" : "a dict with ");
    Py_ssize_t at = 0, n = 0;
    PyObject *key, *value;
    while (text != NULL && n <= SHOWN_FIELDS && PyDict_Next(dict, &at, &key, &value)) {
        PyObject *shown = n == SHOWN_FIELDS                       ? PyUnicode_FromString("...")
                          : !PyUnicode_CheckExact(key)            ? rows__found(key)
                          : PyUnicode_GET_LENGTH(key) > SHOWN_KEY ? cut_repr(key, PyUnicode_GET_LENGTH(key))
                                                                  : PyUnicode_FromFormat("\"%U\"", key);
        PyObject *longer = shown == NULL ? NULL : PyUnicode_FromFormat(n == 0 ? "%U%U" : "%U, %U", text, shown);
        Py_XDECREF(shown);
        Py_DECREF(text);
        text = longer;
        n++;
    }
    return text;
}

/* ---- messages ---- */

/* All parts are used up; one that is NULL left an exception. */
static int set_message(PyObject *exception, PyObject *where, PyObject *expected, PyObject *found, const char *hint)
{
    if (where != NULL && expected != NULL && found != NULL) {
        PyErr_Format(exception, "%U: expected %U, found %U%s%s", where, expected, found, hint != NULL ? "; " : "",
                     hint != NULL ? hint : "");
    }
    Py_XDECREF(where);
    Py_XDECREF(expected);
    Py_XDECREF(found);
    return -1;
}

int rows__misfit(const struct rows_out *rows, const struct rows__field *field, PyObject *exception, PyObject *value,
                 const char *hint)
{
    PyObject *found = rows__found(value);
    if (PyCoro_CheckExact(value)) {
        hint = "write 'await' before the call that made it";
    }
    return set_message(exception, place(rows, field), PyUnicode_FromString(field->type), found, hint);
}

int rows__missing(const struct rows_out *rows, const struct rows__field *field, PyObject *dict)
{
    return set_message(PyExc_ValueError, place(rows, field), PyUnicode_FromString(field->type), dict_names(dict),
                       field->required ? "every row needs the field"
                                       : "every row needs the field; None stands for no value");
}

/* `row 3, field "a.key"` of a key that the schema does not have; new reference. */
static PyObject *extra_place(const struct rows_out *rows, const struct rows__field *parent, PyObject *key)
{
    PyObject *where = NULL;
    long long row = (long long)rows->row;
    char path[PATH_SIZE] = { 0 };
    if (parent->column != NULL) {
        write_path(parent, path, sizeof path - 1);
        path[strlen(path)] = '.';
    }
    PyObject *prefix = PyUnicode_DecodeUTF8(path, (Py_ssize_t)strlen(path), "ignore");
    if (prefix != NULL && PyUnicode_CheckExact(key) && PyUnicode_GET_LENGTH(key) <= SHOWN_KEY) {
        where = PyUnicode_FromFormat("row %lld, field \"%U%U\"", row, prefix, key);
    } else if (prefix != NULL) {
        PyObject *shown = rows__found(key);
        where = shown == NULL ? NULL : PyUnicode_FromFormat("row %lld, field %U%U", row, prefix, shown);
        Py_XDECREF(shown);
    }
    Py_XDECREF(prefix);
    return where;
}

int rows__extra(const struct rows_out *rows, const struct rows__field *parent, PyObject *key, PyObject *value)
{
    PyObject *where = extra_place(rows, parent, key);
    PyObject *names = schema_names(parent);
    PyObject *shown = rows__found(value);
    if (where != NULL && names != NULL && shown != NULL) {
        PyErr_Format(PyExc_ValueError, "%U: expected no such field, found %U; the schema has %U", where, shown, names);
    }
    Py_XDECREF(where);
    Py_XDECREF(names);
    Py_XDECREF(shown);
    return -1;
}

int rows__not_dict(const struct rows_out *rows, const struct rows__field *field, PyObject *value)
{
    PyObject *names = schema_names(field);
    PyObject *expected = names == NULL ? NULL : PyUnicode_FromFormat("a dict with %U", names);
    Py_XDECREF(names);
    return set_message(PyExc_TypeError, place(rows, field), expected, rows__found(value), NULL);
}
