/*
 * params.c: Python values to one row of struct qn_value.
 *
 * Exact or an error that names the parameter. Texts and bytes are borrowed from Python objects that `owners` keeps alive
 * (and from buffers that stay exported), because the GIL is released while they are read. Classes of decimal and uuid are
 * looked up only when a value's type is none of the built-in ones.
 */
#include "native.h"

#include <datetime.h>
#include <string.h>

#define DECIMAL_DIGITS_MAX 38
#define MICROSECONDS_A_DAY INT64_C(86400000000)
#define NAME_FOR_MESSAGES  80

typedef unsigned __int128 uint128;

/* Where a value stands, for messages: "parameter 2" or "parameter :name". */
struct place {
    struct native_state *state;
    Py_ssize_t index; /* from 0 */
    const char *name; /* or NULL */
};

int native_params_init_types(struct native_state *state)
{
    (void)state;
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

static void place_text(const struct place *place, char out[NAME_FOR_MESSAGES])
{
    if (place->name != NULL) {
        snprintf(out, NAME_FOR_MESSAGES, "parameter :%.60s", place->name);
    } else {
        snprintf(out, NAME_FOR_MESSAGES, "parameter %zd", place->index + 1);
    }
}

/* Set a DataError "parameter 2: ..."; returns -1. */
static int misfit(const struct place *place, const char *what)
{
    char where[NAME_FOR_MESSAGES];
    place_text(place, where);
    native_fail(place->state, QN_ERR_DATA, "%s: %s", where, what);
    return -1;
}

static int wrong_type(const struct place *place, PyObject *value)
{
    char where[NAME_FOR_MESSAGES];
    place_text(place, where);
    PyErr_Format(PyExc_TypeError, "%s has type %.200s, which no database takes", where, Py_TYPE(value)->tp_name);
    return -1;
}

static int keep(struct native_params *params, PyObject *owner)
{
    if (params->owners == NULL) {
        params->owners = PyList_New(0);
    }
    return params->owners == NULL ? -1 : PyList_Append(params->owners, owner);
}

static int bind_text(const struct place *place, struct native_params *params, PyObject *text, enum qn_value_kind kind,
                     struct qn_value *out)
{
    Py_ssize_t size = 0;
    const char *data = PyUnicode_AsUTF8AndSize(text, &size);
    if (data == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return -1;
        }
        PyErr_Clear();
        return misfit(place, "the text has a lone surrogate, which no UTF-8 text can hold");
    }
    out->kind = kind;
    out->as.bytes.data = data;
    out->as.bytes.size = (size_t)size;
    return keep(params, text);
}

static int bind_buffer(struct native_params *params, PyObject *value, struct qn_value *out)
{
    Py_buffer *grown = PyMem_Resize(params->buffers, Py_buffer, params->buffer_count + 1);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    params->buffers = grown;
    Py_buffer *buffer = &params->buffers[params->buffer_count];
    if (PyObject_GetBuffer(value, buffer, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    params->buffer_count++;
    out->kind = QN_VALUE_BYTES;
    out->as.bytes.data = buffer->buf;
    out->as.bytes.size = (size_t)buffer->len;
    return 0;
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Take the digits of "123.4500E-2" off: value without leading zeros, and the power of ten that it is multiplied by. */
static bool parse_digits(const char *text, uint128 *value, int64_t *exponent)
{
    int digits = 0;
    int64_t zeros = 0; /* seen after the last digit that counts */
    int64_t power = 0;
    bool fraction = false;
    *value = 0;
    for (; is_digit(*text) || *text == '.'; text++) {
        if (*text == '.') {
            fraction = true;
            continue;
        }
        power -= fraction ? 1 : 0;
        if (*text == '0') {
            zeros++;
            continue;
        }
        int64_t step = *value == 0 ? 0 : zeros;
        if (digits + (*value == 0 ? 1 : step + 1) > DECIMAL_DIGITS_MAX) {
            return false;
        }
        for (int64_t i = 0; i < step; i++) {
            *value *= 10;
        }
        digits += (int)(*value == 0 ? 1 : step + 1);
        *value = *value * 10 + (uint128)(*text - '0');
        zeros = 0;
    }
    *exponent = power + zeros;
    if (*text == 'E' || *text == 'e') {
        *exponent += strtoll(text + 1, NULL, 10);
    }
    return true;
}

static int count_digits(uint128 value)
{
    int count = 0;
    for (; value != 0; value /= 10) {
        count++;
    }
    return count;
}

/* `text` as Python writes a Decimal or an int. `places` is how many decimal places it is written with, kept as the scale
 * where they fit: 1.10 stays 1.10. */
static int bind_decimal_text(const struct place *place, const char *text, struct qn_value *out)
{
    bool negative = *text == '-';
    text += negative || *text == '+';
    if (!is_digit(*text) && *text != '.') {
        return misfit(place, "a decimal that is not a number has no exact value; pass float('nan') or float('inf')");
    }
    uint128 value = 0;
    int64_t exponent = 0; /* with trailing zeros taken off the value */
    if (!parse_digits(text, &value, &exponent)) {
        return misfit(place, "the number has more than 38 digits");
    }
    const char *point = strchr(text, '.');
    const char *e = strpbrk(text, "Ee");
    int64_t written = point == NULL ? 0 : (e == NULL ? (int64_t)strlen(point) : e - point) - 1;
    written -= e == NULL ? 0 : strtoll(e + 1, NULL, 10);
    int64_t scale = written < 0 ? 0 : written;
    int64_t padding = exponent + scale; /* zeros to put back */
    int digits = count_digits(value);
    if (value == 0) {
        scale = scale > DECIMAL_DIGITS_MAX ? DECIMAL_DIGITS_MAX : scale;
        padding = 0;
    } else if (scale > DECIMAL_DIGITS_MAX || digits + padding > DECIMAL_DIGITS_MAX) {
        scale = exponent < 0 ? -exponent : 0;
        padding = exponent + scale;
    }
    if (scale > DECIMAL_DIGITS_MAX || digits + padding > DECIMAL_DIGITS_MAX) {
        return misfit(place, "the number has more than 38 digits");
    }
    for (int64_t i = 0; i < padding; i++) {
        value *= 10;
    }
    uint128 bits = negative ? -value : value;
    out->kind = QN_VALUE_DECIMAL;
    out->scale = (int32_t)scale;
    out->as.decimal.low = (uint64_t)bits;
    out->as.decimal.high = (int64_t)(uint64_t)(bits >> 64);
    return 0;
}

static int bind_decimal(const struct place *place, PyObject *value, struct qn_value *out)
{
    PyObject *text = PyObject_Str(value);
    const char *digits = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    int result = digits == NULL ? -1 : bind_decimal_text(place, digits, out);
    Py_XDECREF(text);
    return result;
}

static int bind_int(const struct place *place, PyObject *value, struct qn_value *out)
{
    int overflow = 0;
    out->kind = QN_VALUE_INT64;
    out->as.int64 = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (out->as.int64 == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow == 0) {
        return 0;
    }
    if (overflow > 0) {
        out->kind = QN_VALUE_UINT64;
        out->as.uint64 = PyLong_AsUnsignedLongLong(value);
        if (!(out->as.uint64 == (unsigned long long)-1 && PyErr_Occurred())) {
            return 0;
        }
        PyErr_Clear();
    }
    PyObject *plain = PyNumber_ToBase(value, 10); /* not str(): a subclass may say something else */
    if (plain == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
            return -1;
        }
        PyErr_Clear(); /* longer than Python turns into text */
        return misfit(place, "the number has more than 38 digits");
    }
    const char *digits = PyUnicode_AsUTF8(plain);
    int result = digits == NULL ? -1 : bind_decimal_text(place, digits, out);
    Py_DECREF(plain);
    return result;
}

/* ---- dates and times -------------------------------------------------------------------------------------------- */

/* Days from 1970-01-01 in the proleptic Gregorian calendar; the year is 1 to 9999. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int64_t microseconds_of(int hour, int minute, int second, int microsecond)
{
    return ((int64_t)hour * 3600 + (int64_t)minute * 60 + second) * 1000000 + microsecond;
}

static bool delta_microseconds(PyObject *delta, int64_t *out)
{
    int64_t rest = (int64_t)PyDateTime_DELTA_GET_SECONDS(delta) * 1000000 + PyDateTime_DELTA_GET_MICROSECONDS(delta);
    int64_t days = PyDateTime_DELTA_GET_DAYS(delta);
    return !__builtin_mul_overflow(days, MICROSECONDS_A_DAY, out) && !__builtin_add_overflow(*out, rest, out);
}

/* pandas' Timestamp and Timedelta are datetimes and timedeltas that also have nanoseconds. */
static int refuse_nanoseconds(const struct place *place, PyObject *value, const char *attribute)
{
    PyObject *number = PyObject_GetAttrString(value, attribute);
    if (number == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    int some = PyObject_IsTrue(number);
    Py_DECREF(number);
    if (some < 0) {
        return -1;
    }
    return some ? misfit(place, "nanoseconds would be lost: a parameter has microseconds") : 0;
}

static int bind_datetime(const struct place *place, PyObject *value, struct qn_value *out)
{
    if (!PyDateTime_CheckExact(value) && refuse_nanoseconds(place, value, "nanosecond") < 0) {
        return -1;
    }
    int64_t days = days_from_civil(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
    int64_t time = microseconds_of(PyDateTime_DATE_GET_HOUR(value), PyDateTime_DATE_GET_MINUTE(value),
                                   PyDateTime_DATE_GET_SECOND(value), PyDateTime_DATE_GET_MICROSECOND(value));
    out->kind = QN_VALUE_TIMESTAMP;
    out->as.int64 = days * MICROSECONDS_A_DAY + time;
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(value);
    if (zone == Py_None) {
        return 0;
    }
    if (zone == PyDateTime_TimeZone_UTC) {
        out->kind = QN_VALUE_INSTANT;
        return 0;
    }
    PyObject *offset = PyObject_CallMethod(value, "utcoffset", NULL);
    if (offset == NULL) {
        return -1;
    }
    int64_t shift = 0;
    if (offset != Py_None) { /* a tzinfo may say that it does not know: Python then calls the value naive */
        delta_microseconds(offset, &shift); /* less than a day by Python's own rule */
        out->kind = QN_VALUE_INSTANT;
        out->as.int64 -= shift;
    }
    Py_DECREF(offset);
    return 0;
}

static int bind_time(const struct place *place, PyObject *value, struct qn_value *out)
{
    if (PyDateTime_TIME_GET_TZINFO(value) != Py_None) {
        return misfit(place, "a time with a zone has no counterpart; pass a text, or a datetime");
    }
    out->kind = QN_VALUE_TIME;
    out->as.int64 = microseconds_of(PyDateTime_TIME_GET_HOUR(value), PyDateTime_TIME_GET_MINUTE(value),
                                    PyDateTime_TIME_GET_SECOND(value), PyDateTime_TIME_GET_MICROSECOND(value));
    return 0;
}

static int bind_delta(const struct place *place, PyObject *value, struct qn_value *out)
{
    if (!PyDelta_CheckExact(value) && refuse_nanoseconds(place, value, "nanoseconds") < 0) {
        return -1;
    }
    out->kind = QN_VALUE_DURATION;
    return delta_microseconds(value, &out->as.int64) ? 0 : misfit(place, "the duration is out of range");
}

static int bind_date(PyObject *value, struct qn_value *out)
{
    out->kind = QN_VALUE_DATE;
    out->as.int64 = days_from_civil(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
    return 0;
}

/* ---- other classes ----------------------------------------------------------------------------------------------- */

/* A class of a module that is only looked at where the program has imported it: otherwise no value can be of it. */
static int class_of(PyObject **cache, const char *module, const char *name)
{
    if (*cache != NULL) {
        return 0;
    }
    PyObject *modules = PyImport_GetModuleDict(); /* borrowed, lives as long as the interpreter */
    PyObject *found = PyDict_GetItemString(modules, module);
    if (found == NULL) {
        return 0;
    }
    Py_INCREF(found);
    *cache = PyObject_GetAttrString(found, name);
    Py_DECREF(found);
    return *cache == NULL ? -1 : 0;
}

static int is_instance(PyObject *value, PyObject *class)
{
    return class == NULL ? 0 : PyObject_IsInstance(value, class);
}

static int bind_uuid(struct native_params *params, PyObject *value, struct qn_value *out)
{
    PyObject *bytes = PyObject_GetAttrString(value, "bytes");
    if (bytes == NULL) {
        return -1;
    }
    int result = -1;
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != 16) {
        PyErr_SetString(PyExc_TypeError, "a uuid's bytes must be 16 bytes");
    } else {
        out->kind = QN_VALUE_UUID;
        out->as.bytes.data = PyBytes_AS_STRING(bytes);
        out->as.bytes.size = 16;
        result = keep(params, bytes);
    }
    Py_DECREF(bytes);
    return result;
}

static int load_json(struct native_state *state)
{
    if (state->json_dumps != NULL) {
        return 0;
    }
    PyObject *json = PyImport_ImportModule("json");
    if (json == NULL) {
        return -1;
    }
    state->json_options =
        Py_BuildValue("{sOsOs(ss)}", "ensure_ascii", Py_False, "allow_nan", Py_False, "separators", ",", ":");
    state->json_dumps = state->json_options == NULL ? NULL : PyObject_GetAttrString(json, "dumps");
    Py_DECREF(json);
    return state->json_dumps == NULL ? -1 : 0;
}

static int bind_json(const struct place *place, struct native_params *params, PyObject *value, struct qn_value *out)
{
    if (load_json(place->state) < 0) {
        return -1;
    }
    PyObject *arguments = PyTuple_Pack(1, value);
    PyObject *text =
        arguments == NULL ? NULL : PyObject_Call(place->state->json_dumps, arguments, place->state->json_options);
    Py_XDECREF(arguments);
    if (text == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_ValueError)) {
            return -1;
        }
        PyErr_Clear();
        return misfit(place, "the list or dict holds what JSON cannot: only str, int, finite float, bool, None, "
                             "lists and dicts can be inside");
    }
    int result = bind_text(place, params, text, QN_VALUE_JSON, out);
    Py_DECREF(text);
    return result;
}

static int bind_value(const struct place *place, struct native_params *params, PyObject *value, struct qn_value *out,
                      bool unwrapped);

/* A scalar of numpy's that is a bool, an integer, a float or a text: item() gives the same value as Python's own. Other
 * kinds (datetime64 loses its unit, longdouble its digits) are refused. */
static int bind_numpy(const struct place *place, struct native_params *params, PyObject *value, struct qn_value *out)
{
    PyObject *type = PyObject_GetAttrString(value, "dtype");
    PyObject *kind = type == NULL ? NULL : PyObject_GetAttrString(type, "kind");
    Py_XDECREF(type);
    if (kind == NULL || !PyUnicode_Check(kind) || PyUnicode_GET_LENGTH(kind) != 1 ||
        strchr("biufUS", (int)PyUnicode_READ_CHAR(kind, 0)) == NULL) {
        Py_XDECREF(kind);
        PyErr_Clear();
        return wrong_type(place, value);
    }
    Py_DECREF(kind);
    PyObject *item = PyObject_CallMethod(value, "item", NULL);
    if (item == NULL) {
        PyErr_Clear();
        return wrong_type(place, value);
    }
    int result = bind_value(place, params, item, out, true);
    Py_DECREF(item);
    return result;
}

static int bind_other(const struct place *place, struct native_params *params, PyObject *value, struct qn_value *out,
                      bool unwrapped)
{
    struct native_state *state = place->state;
    if (class_of(&state->decimal_type, "decimal", "Decimal") < 0 || class_of(&state->uuid_type, "uuid", "UUID") < 0) {
        return -1;
    }
    int matches = is_instance(value, state->decimal_type);
    if (matches != 0) {
        return matches < 0 ? -1 : bind_decimal(place, value, out);
    }
    matches = is_instance(value, state->uuid_type);
    if (matches != 0) {
        return matches < 0 ? -1 : bind_uuid(params, value, out);
    }
    if (PyObject_CheckBuffer(value) && (PyByteArray_Check(value) || PyMemoryView_Check(value))) {
        return bind_buffer(params, value, out);
    }
    const char *type_name = Py_TYPE(value)->tp_name;
    if (!unwrapped && strncmp(type_name, "numpy.", 6) == 0 && strcmp(type_name, "numpy.ndarray") != 0) {
        return bind_numpy(place, params, value, out);
    }
    return wrong_type(place, value);
}

static int bind_temporal(const struct place *place, PyObject *value, struct qn_value *out)
{
    if (strcmp(Py_TYPE(value)->tp_name, "NaTType") == 0) { /* pandas' missing time; its fields mean nothing */
        out->kind = QN_VALUE_NULL;
        return 0;
    }
    if (PyDateTime_Check(value)) {
        return bind_datetime(place, value, out);
    }
    if (PyDate_Check(value)) {
        return bind_date(value, out);
    }
    return PyTime_Check(value) ? bind_time(place, value, out) : bind_delta(place, value, out);
}

static int bind_value(const struct place *place, struct native_params *params, PyObject *value, struct qn_value *out,
                      bool unwrapped)
{
    if (value == Py_None) {
        out->kind = QN_VALUE_NULL;
        return 0;
    }
    if (PyUnicode_Check(value)) {
        return bind_text(place, params, value, QN_VALUE_TEXT, out);
    }
    if (PyBool_Check(value)) {
        out->kind = QN_VALUE_BOOL;
        out->as.boolean = value == Py_True;
        return 0;
    }
    if (PyLong_Check(value)) {
        return bind_int(place, value, out);
    }
    if (PyFloat_Check(value)) {
        out->kind = QN_VALUE_FLOAT64;
        out->as.float64 = PyFloat_AS_DOUBLE(value);
        return 0;
    }
    if (PyBytes_Check(value)) {
        out->kind = QN_VALUE_BYTES;
        out->as.bytes.data = PyBytes_AS_STRING(value);
        out->as.bytes.size = (size_t)PyBytes_GET_SIZE(value);
        return keep(params, value);
    }
    if (PyDate_Check(value) || PyTime_Check(value) || PyDelta_Check(value)) {
        return bind_temporal(place, value, out);
    }
    if (PyList_Check(value) || PyTuple_Check(value) || PyDict_Check(value)) {
        return bind_json(place, params, value, out);
    }
    return bind_other(place, params, value, out, unwrapped);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static int reserve(struct native_state *state, struct native_params *out, Py_ssize_t count, bool named)
{
    if (count > NATIVE_PARAMS_MAX) {
        native_fail(state, QN_ERR_ARGUMENT, "%zd parameters exceed %d", count, NATIVE_PARAMS_MAX);
        return -1;
    }
    out->count = (size_t)count;
    out->values = out->inline_values;
    if (count > NATIVE_PARAMS_INLINE) {
        out->values = PyMem_Calloc((size_t)count, sizeof *out->values);
    }
    if (named) {
        out->names = PyMem_Calloc((size_t)count + 1, sizeof *out->names);
    }
    if (out->values == NULL || (named && out->names == NULL)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int bind_sequence(struct native_state *state, PyObject *params, struct native_params *out)
{
    PyObject *items = PySequence_Tuple(params); /* a snapshot: item conversions may run Python code */
    if (items == NULL) {
        return -1;
    }
    int result = reserve(state, out, PyTuple_GET_SIZE(items), false);
    for (size_t i = 0; result == 0 && i < out->count; i++) {
        struct place place = { .state = state, .index = (Py_ssize_t)i };
        result = bind_value(&place, out, PyTuple_GET_ITEM(items, (Py_ssize_t)i), &out->values[i], false);
    }
    Py_DECREF(items);
    return result;
}

static int bind_mapping(struct native_state *state, PyObject *params, struct native_params *out)
{
    PyObject *items = PyDict_Items(params);
    if (items == NULL) {
        return -1;
    }
    int result = reserve(state, out, PyList_GET_SIZE(items), true);
    for (size_t i = 0; result == 0 && i < out->count; i++) {
        PyObject *pair = PyList_GET_ITEM(items, (Py_ssize_t)i);
        PyObject *name = PyTuple_GET_ITEM(pair, 0);
        out->names[i] = native_text(state, name, "a parameter's name");
        struct place place = { .state = state, .name = out->names[i] };
        result = out->names[i] == NULL || keep(out, name) < 0
                     ? -1
                     : bind_value(&place, out, PyTuple_GET_ITEM(pair, 1), &out->values[i], false);
    }
    Py_DECREF(items);
    return result;
}

int native_params_init(struct native_state *state, PyObject *params, struct native_params *out)
{
    memset(out, 0, sizeof *out);
    int result = 0;
    if (params == NULL || params == Py_None) {
        return 0;
    }
    if (PyList_Check(params) || PyTuple_Check(params)) {
        result = bind_sequence(state, params, out);
    } else if (PyDict_Check(params)) {
        result = bind_mapping(state, params, out);
    } else {
        PyErr_Format(PyExc_TypeError, "params must be a list, a tuple or a dict, not %.200s", Py_TYPE(params)->tp_name);
        result = -1;
    }
    if (result < 0) {
        native_params_dispose(out);
    }
    return result;
}

void native_params_dispose(struct native_params *params)
{
    for (size_t i = 0; i < params->buffer_count; i++) {
        PyBuffer_Release(&params->buffers[i]);
    }
    PyMem_Free(params->buffers);
    if (params->values != params->inline_values) {
        PyMem_Free(params->values);
    }
    PyMem_Free(params->names);
    Py_CLEAR(params->owners);
}
