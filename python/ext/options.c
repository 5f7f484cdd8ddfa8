/*
 * options.c: the keyword options of a query, out of the dict that qanat.Connection makes of them.
 */
#include "native.h"

#include <math.h>
#include <string.h>

struct choice {
    const char *text;
    int value;
};

static const struct choice numerics[] = {
    { "decimal", QN_NUMERIC_DECIMAL },
    { "text", QN_NUMERIC_TEXT },
    { "float64", QN_NUMERIC_FLOAT64 },
    { NULL, 0 },
};
static const struct choice policies[] = {
    { "error", QN_POLICY_ERROR },
    { "null", QN_POLICY_NULL },
    { "saturate", QN_POLICY_SATURATE },
    { "text", QN_POLICY_TEXT },
    { NULL, 0 },
};

static void list_choices(const struct choice *choices, char *out, size_t size)
{
    size_t used = 0;
    for (; choices->text != NULL && used < size; choices++) {
        used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", used == 0 ? "" : ", ", choices->text);
    }
}

/* The value of a choice; the one at 0 where the option is absent. -1 with an exception set. */
static int choose(struct native_state *state, PyObject *options, const char *name, const struct choice *choices,
                  int *out)
{
    PyObject *given = PyDict_GetItemString(options, name);
    *out = 0;
    if (given == NULL || given == Py_None) {
        return 0;
    }
    const char *text = native_text(state, given, name);
    if (text == NULL) {
        return -1;
    }
    for (const struct choice *each = choices; each->text != NULL; each++) {
        if (strcmp(each->text, text) == 0) {
            *out = each->value;
            return 0;
        }
    }
    char known[128];
    list_choices(choices, known, sizeof known);
    native_fail(state, QN_ERR_ARGUMENT, "%s must be one of %s, not \"%.100s\"", name, known, text);
    return -1;
}

static int count_option(struct native_state *state, PyObject *options, const char *name, int64_t *out)
{
    PyObject *given = PyDict_GetItemString(options, name);
    if (given == NULL || given == Py_None) {
        return 0;
    }
    if (!PyLong_Check(given) || PyBool_Check(given)) {
        PyErr_Format(PyExc_TypeError, "%s must be an int, not %.200s", name, Py_TYPE(given)->tp_name);
        return -1;
    }
    int overflow = 0;
    *out = PyLong_AsLongLongAndOverflow(given, &overflow);
    if (overflow != 0 || *out < 1) {
        native_fail(state, QN_ERR_ARGUMENT, "%s must be at least 1 and fit 64 bits", name);
        return -1;
    }
    return 0;
}

static int timeout_option(struct native_state *state, PyObject *options, int64_t *out)
{
    PyObject *given = PyDict_GetItemString(options, "timeout");
    if (given == NULL || given == Py_None) {
        return 0;
    }
    double seconds = PyFloat_AsDouble(given);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds > 0.0 && seconds < 1e12)) {
        native_fail(state, QN_ERR_ARGUMENT, "timeout must be a number of seconds above 0");
        return -1;
    }
    *out = (int64_t)ceil(seconds * 1000.0);
    return 0;
}

static int types_option(struct native_state *state, PyObject *options, struct native_options *out)
{
    PyObject *types = PyDict_GetItemString(options, "types");
    if (types == NULL || types == Py_None) {
        return 0;
    }
    if (!PyDict_Check(types)) {
        PyErr_Format(PyExc_TypeError, "types must be a dict of column names and types, not %.200s",
                     Py_TYPE(types)->tp_name);
        return -1;
    }
    out->owner = PyDict_Items(types);
    if (out->owner == NULL) {
        return -1;
    }
    Py_ssize_t count = PyList_GET_SIZE(out->owner);
    if (count > NATIVE_OVERRIDES_MAX) {
        native_fail(state, QN_ERR_ARGUMENT, "types names %zd columns, more than %d", count, NATIVE_OVERRIDES_MAX);
        return -1;
    }
    out->overrides = PyMem_Calloc((size_t)count + 1, sizeof *out->overrides);
    if (out->overrides == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GET_ITEM(out->owner, i);
        out->overrides[i].column = native_text(state, PyTuple_GET_ITEM(pair, 0), "a column in types");
        out->overrides[i].type =
            out->overrides[i].column == NULL ? NULL : native_text(state, PyTuple_GET_ITEM(pair, 1), "a type in types");
        if (out->overrides[i].type == NULL) {
            return -1;
        }
    }
    out->query.types = out->overrides;
    out->query.n_types = (size_t)count;
    return 0;
}

int native_options_init(struct native_state *state, PyObject *options, struct native_options *out)
{
    *out = (struct native_options){ .query = QN_QUERY_OPTIONS_INIT };
    if (options == NULL || options == Py_None) {
        return 0;
    }
    if (!PyDict_Check(options)) {
        PyErr_SetString(PyExc_TypeError, "options must be a dict");
        return -1;
    }
    if (count_option(state, options, "batch_rows", &out->query.batch_rows) < 0 ||
        count_option(state, options, "batch_bytes", &out->query.batch_bytes) < 0) {
        return -1;
    }
    if (PyDict_GET_SIZE(options) == (out->query.batch_rows > 0) + (out->query.batch_bytes > 0)) {
        return 0; /* these two come with every call, and mostly no other */
    }
    int numeric = 0;
    int special = 0;
    int infinity = 0;
    int invalid_date = 0;
    if (choose(state, options, "numeric", numerics, &numeric) < 0 ||
        choose(state, options, "numeric_special", policies, &special) < 0 ||
        choose(state, options, "infinity", policies, &infinity) < 0 ||
        choose(state, options, "invalid_date", policies, &invalid_date) < 0 ||
        timeout_option(state, options, &out->query.statement_timeout_ms) < 0 || types_option(state, options, out) < 0) {
        native_options_dispose(out);
        return -1;
    }
    out->query.numeric = (enum qn_numeric)numeric;
    out->query.numeric_special = (enum qn_policy)special;
    out->query.infinity = (enum qn_policy)infinity;
    out->query.invalid_date = (enum qn_policy)invalid_date;
    return 0;
}

void native_options_dispose(struct native_options *options)
{
    PyMem_Free(options->overrides);
    options->overrides = NULL;
    Py_CLEAR(options->owner);
}
