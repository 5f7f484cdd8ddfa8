/*
 * errors.c: from struct qn_error to the exceptions of qanat.errors.
 *
 * The classes are written in Python (qanat/errors.py) and looked up once. An exception that a signal handler raised
 * while the call was blocked always wins over the error that the call then returned.
 */
#include "native.h"

#include <stdarg.h>
#include <string.h>

static const char *const class_names[NATIVE_STATUSES] = {
    [QN_ERR_NO_MEMORY] = "OutOfMemoryError",
    [QN_ERR_ARGUMENT] = "ArgumentError",
    [QN_ERR_CONFIG] = "ConfigurationError",
    [QN_ERR_CONNECTION] = "DatabaseConnectionError",
    [QN_ERR_CLOSED] = "ConnectionClosedError",
    [QN_ERR_BUSY] = "ConnectionBusyError",
    [QN_ERR_QUERY] = "QueryExecutionError",
    [QN_ERR_CONSTRAINT] = "ConstraintViolationError",
    [QN_ERR_TIMEOUT] = "QueryTimeoutError",
    [QN_ERR_CANCELLED] = "QueryCancelledError",
    [QN_ERR_DATA] = "DataError",
    [QN_ERR_IO] = "FileError",
    [QN_ERR_UNSUPPORTED] = "NotSupportedError",
    [QN_ERR_PROTOCOL] = "DatabaseConnectionError",
    [QN_ERR_INTERNAL] = "InternalError",
    [QN_ERR_CONFLICT] = "ConflictError",
    [QN_ERR_CONNECTOR] = "ConnectorError",
    [QN_ERR_FORBIDDEN] = "ForbiddenError",
};

int native_errors_init(struct native_state *state)
{
    PyObject *module = PyImport_ImportModule("qanat.errors");
    if (module == NULL) {
        return -1;
    }
    int result = 0;
    for (size_t i = 1; i < NATIVE_STATUSES && result == 0; i++) {
        state->errors[i] = PyObject_GetAttrString(module, class_names[i]);
        result = state->errors[i] == NULL ? -1 : 0;
    }
    Py_DECREF(module);
    return result;
}

/* Add a text to the keyword arguments where there is one. Bytes that are not UTF-8 cannot come from the library; where
 * they do, they show as U+FFFD instead of hiding the error. */
static int put_text(PyObject *fields, const char *name, const char *text)
{
    if (text[0] == '\0') {
        return 0;
    }
    PyObject *value = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    if (value == NULL) {
        return -1;
    }
    int result = PyDict_SetItemString(fields, name, value);
    Py_DECREF(value);
    return result;
}

static int put_number(PyObject *fields, const char *name, int64_t number)
{
    PyObject *value = PyLong_FromLongLong(number);
    if (value == NULL) {
        return -1;
    }
    int result = PyDict_SetItemString(fields, name, value);
    Py_DECREF(value);
    return result;
}

static int put_fields(PyObject *fields, const struct qn_error *err, PyObject *sql)
{
    if (put_text(fields, "sqlstate", err->sqlstate) < 0 || put_text(fields, "detail", err->detail) < 0 ||
        put_text(fields, "hint", err->hint) < 0 || put_text(fields, "constraint", err->constraint_name) < 0 ||
        put_text(fields, "schema", err->schema_name) < 0 || put_text(fields, "table", err->table_name) < 0 ||
        put_text(fields, "column", err->column_name) < 0) {
        return -1;
    }
    if (err->row >= 0 && put_number(fields, "row", err->row) < 0) {
        return -1;
    }
    if (err->position > 0 && put_number(fields, "position", err->position) < 0) {
        return -1;
    }
    if (err->retryable && PyDict_SetItemString(fields, "retryable", Py_True) < 0) {
        return -1;
    }
    if (err->retry_after_ms > 0) {
        PyObject *seconds = PyFloat_FromDouble((double)err->retry_after_ms / 1000.0);
        int result = seconds == NULL ? -1 : PyDict_SetItemString(fields, "retry_after", seconds);
        Py_XDECREF(seconds);
        if (result < 0) {
            return -1;
        }
    }
    return sql == NULL ? 0 : PyDict_SetItemString(fields, "sql", sql);
}

static PyObject *exception_of(struct native_state *state, const struct qn_error *err, PyObject *sql)
{
    unsigned int status = (unsigned int)err->status;
    PyObject *class = state->errors[status > 0 && status < NATIVE_STATUSES ? status : QN_ERR_INTERNAL];
    PyObject *fields = PyDict_New();
    PyObject *message = PyUnicode_DecodeUTF8(err->message, (Py_ssize_t)strlen(err->message), "replace");
    PyObject *arguments = message == NULL ? NULL : PyTuple_Pack(1, message);
    PyObject *exception = NULL;
    if (fields != NULL && arguments != NULL && put_fields(fields, err, sql) == 0) {
        exception = PyObject_Call(class, arguments, fields);
    }
    Py_XDECREF(fields);
    Py_XDECREF(message);
    Py_XDECREF(arguments);
    return exception;
}

PyObject *native_raise(struct native_state *state, const struct qn_error *err, PyObject *sql)
{
    if (native_interrupt_take()) {
        return NULL;
    }
    PyObject *exception = exception_of(state, err, sql);
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return NULL;
}

PyObject *native_fail(struct native_state *state, enum qn_status status, const char *format, ...)
{
    struct qn_error err = QN_ERROR_INIT;
    va_list arguments;
    va_start(arguments, format);
    PyOS_vsnprintf(err.message, sizeof err.message, format, arguments);
    va_end(arguments);
    err.status = status;
    return native_raise(state, &err, NULL);
}

PyObject *native_exception_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *traceback = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL && value != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void native_exception_set(PyObject *take)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(take);
#else
    PyErr_Restore(Py_NewRef(Py_TYPE(take)), take, PyException_GetTraceback(take));
#endif
}

const char *native_text(struct native_state *state, PyObject *text, const char *what)
{
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "%s must be a str, not %.200s", what, Py_TYPE(text)->tp_name);
        return NULL;
    }
    Py_ssize_t size = 0;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);
    if (bytes == NULL) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            PyErr_Clear();
            native_fail(state, QN_ERR_ARGUMENT, "%s has a lone surrogate, which no UTF-8 text can hold", what);
        }
        return NULL;
    }
    if (strlen(bytes) != (size_t)size) {
        native_fail(state, QN_ERR_ARGUMENT, "%s has a NUL character", what);
        return NULL;
    }
    return bytes;
}

int native_optional_text(struct native_state *state, PyObject *text, const char *what, const char **out)
{
    *out = NULL;
    if (text == NULL || text == Py_None) {
        return 0;
    }
    *out = native_text(state, text, what);
    return *out == NULL ? -1 : 0;
}

const char **native_texts(struct native_state *state, PyObject *sequence, const char *what)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(sequence);
    const char **texts = PyMem_Calloc((size_t)n + 1, sizeof *texts);
    if (texts == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        texts[i] = native_text(state, PySequence_Fast_GET_ITEM(sequence, i), what);
        if (texts[i] == NULL) {
            PyMem_Free(texts);
            return NULL;
        }
    }
    return texts;
}
