/*
 * rows_types.c: the classes and names that conversions need, looked up once, before lock-down.
 */
#include "rows_private.h"

struct rows__types rows__types;

static PyObject *attribute(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *found = imported == NULL ? NULL : PyObject_GetAttrString(imported, name);
    Py_XDECREF(imported);
    return found;
}

static int intern(PyObject **place, const char *name)
{
    *place = PyUnicode_InternFromString(name);
    return *place == NULL ? -1 : 0;
}

int rows_init(void)
{
    struct rows__types *types = &rows__types;
    if (types->decimal != NULL) {
        return 0;
    }
    PyObject *decimal = attribute("decimal", "Decimal");
    if (decimal == NULL || !PyType_Check(decimal)) {
        Py_XDECREF(decimal);
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ImportError, "decimal.Decimal is not a class");
        }
        return -1;
    }
    types->zone_info = attribute("zoneinfo", "ZoneInfo");
    if (types->zone_info == NULL || intern(&types->utcoffset, "utcoffset") < 0 ||
        intern(&types->fromutc, "fromutc") < 0 || intern(&types->nanosecond, "nanosecond") < 0 ||
        intern(&types->nanoseconds, "nanoseconds") < 0 || intern(&types->year, "year") < 0 ||
        intern(&types->days, "days") < 0 || rows__time_init() < 0) {
        Py_DECREF(decimal);
        return -1;
    }
    types->decimal = (PyTypeObject *)decimal;
    rows__decimal_object_init();
    return 0;
}

int rows__raise(const struct qn_error *err)
{
    if (err->status == QN_ERR_NO_MEMORY) {
        PyErr_NoMemory();
    } else {
        PyErr_SetString(PyExc_ValueError, err->message);
    }
    return -1;
}
