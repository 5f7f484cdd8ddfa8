/*
 * rows_out_value.c: plain Python values into columns, exactly or refused.
 *
 * The rules: a bool is no number and a number no bool; whole numbers come from int and what has __index__ (numpy), never from
 * float; a float column takes an int where the double is the same number (authors write 0 for 0.0, and no value changes);
 * Float32 and Float16 round a Python float to the nearest, as their names say, but not past their range; a decimal takes
 * Decimal and int, never float; times are naive or aware as the column is. Subclasses count as what they derive from.
 */
#include "rows_private.h"

#include "base/calendar.h"

#include <math.h>
#include <string.h>

static int wrong_type(struct rows_out *rows, struct rows__field *field, PyObject *value, const char *hint)
{
    return rows__misfit(rows, field, PyExc_TypeError, value, hint);
}

static int wrong_value(struct rows_out *rows, struct rows__field *field, PyObject *value, const char *hint)
{
    return rows__misfit(rows, field, PyExc_ValueError, value, hint);
}

static bool is_numpy(PyObject *value, const char *name)
{
    const char *type = Py_TYPE(value)->tp_name;
    return strncmp(type, "numpy.", 6) == 0 && strcmp(type + 6, name) == 0;
}

static bool is_numpy_bool(PyObject *value)
{
    return is_numpy(value, "bool_") || is_numpy(value, "bool");
}

/* ---- whole numbers ---- */

static const char *whole_hint(PyObject *value)
{
    if (PyFloat_Check(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        if (isnan(number)) {
            return "NaN is not a whole number; return None where there is no value";
        }
        if (isinf(number)) {
            return "infinity is not a whole number";
        }
        return number == floor(number) ? "a float is not an int; use int(x)"
                                       : "it is not a whole number; use round(x) or int(x)";
    }
    if (PyUnicode_Check(value)) {
        return "use int(x)";
    }
    if (PyBool_Check(value) || is_numpy_bool(value)) {
        return "a bool is not a number; use int(x)";
    }
    return PyObject_TypeCheck(value, rows__types.decimal) ? "use int(x)" : NULL;
}

/* An int of any class: new reference, or NULL with an exception set. */
static PyObject *whole_number(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    if (PyLong_Check(value) && !PyBool_Check(value)) {
        return Py_NewRef(value);
    }
    if (!PyBool_Check(value) && PyIndex_Check(value) && !is_numpy_bool(value)) {
        return PyNumber_Index(value);
    }
    (void)wrong_type(rows, field, value, whole_hint(value));
    return NULL;
}

static int out_of_range(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    char hint[96];
    snprintf(hint, sizeof hint, "it is outside of %lld to %llu", (long long)field->low,
             (unsigned long long)field->high);
    return wrong_value(rows, field, value, hint);
}

static void store_whole(struct qn_column *column, uint64_t bits)
{
    switch (column->width) {
    case 1:
        qn_column_put_uint8(column, (uint8_t)bits);
        break;
    case 2:
        qn_column_put_uint16(column, (uint16_t)bits);
        break;
    case 4:
        qn_column_put_uint32(column, (uint32_t)bits);
        break;
    default:
        qn_column_put_uint64(column, bits);
    }
}

static int put_whole(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    PyObject *number = whole_number(rows, field, value);
    if (number == NULL) {
        return -1;
    }
    int overflow, result = 0;
    long long whole = PyLong_AsLongLongAndOverflow(number, &overflow);
    uint64_t bits = (uint64_t)whole;
    if (overflow > 0 && field->high > INT64_MAX) {
        bits = PyLong_AsUnsignedLongLong(number);
        if (bits == UINT64_MAX && PyErr_Occurred()) {
            PyErr_Clear();
        } else {
            overflow = 0;
        }
    } else if (overflow == 0 && (whole < field->low || (whole > 0 && bits > field->high))) {
        overflow = 1;
    }
    if (overflow != 0) {
        result = out_of_range(rows, field, value);
    } else {
        store_whole(field->column, bits);
    }
    Py_DECREF(number);
    return result;
}

static int put_bool(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    int truth;
    if (PyBool_Check(value)) {
        truth = value == Py_True;
    } else if (is_numpy_bool(value)) {
        truth = PyObject_IsTrue(value);
    } else {
        return wrong_type(rows, field, value, PyLong_Check(value) ? "a number is not a bool; use bool(x)" : NULL);
    }
    if (truth < 0) {
        return -1;
    }
    qn_column_put_bool(field->column, truth != 0);
    return 0;
}

/* ---- floats ---- */

/* A double that is exactly the value; 1, 0 where it is not a number of that kind, -1 with an exception set. */
static int exact_double(struct rows_out *rows, struct rows__field *field, PyObject *value, double *out)
{
    if (PyFloat_Check(value)) {
        *out = PyFloat_AS_DOUBLE(value);
        return 1;
    }
    if (is_numpy(value, "float32") || is_numpy(value, "float16")) {
        *out = PyFloat_AsDouble(value);
        return *out == -1.0 && PyErr_Occurred() ? -1 : 1;
    }
    if (PyBool_Check(value) || is_numpy_bool(value) || !PyIndex_Check(value)) {
        return 0;
    }
    PyObject *number = PyNumber_Index(value);
    if (number == NULL) {
        return -1;
    }
    *out = PyLong_AsDouble(number);
    PyObject *back = NULL;
    if (*out == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
    } else {
        back = PyLong_FromDouble(*out);
    }
    int same = back == NULL ? 0 : PyObject_RichCompareBool(back, number, Py_EQ);
    Py_DECREF(number);
    Py_XDECREF(back);
    PyErr_Clear();
    return same == 1 ? 1 : wrong_value(rows, field, value, "a float cannot hold this number exactly; use float(x)");
}

static int float_refused(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    const char *hint = NULL;
    if (PyBool_Check(value) || is_numpy_bool(value)) {
        hint = "a bool is not a number; use float(x)";
    } else if (PyUnicode_Check(value) || Py_TYPE(value)->tp_as_number != NULL) {
        hint = PyNumber_Check(value) || PyUnicode_Check(value) ? "use float(x)" : NULL;
    }
    return wrong_type(rows, field, value, hint);
}

static int put_float64(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    double number;
    int told = exact_double(rows, field, value, &number);
    if (told <= 0) {
        return told < 0 ? -1 : float_refused(rows, field, value);
    }
    qn_column_put_float64(field->column, number);
    return 0;
}

static int put_float32(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    double number;
    int told = exact_double(rows, field, value, &number);
    if (told <= 0) {
        return told < 0 ? -1 : float_refused(rows, field, value);
    }
    float rounded = isfinite(number) && fabs(number) > 3.4028235677973366e38 ? INFINITY : (float)number;
    if (isfinite(number) && isinf(rounded)) {
        return wrong_value(rows, field, value, "it is outside of what Float32 holds; use Float64");
    }
    if (!PyFloat_Check(value) && !isnan(number) && (double)rounded != number) {
        return wrong_value(rows, field, value, "Float32 cannot hold this number exactly; use float(x), or Float64");
    }
    qn_column_put_float32(field->column, rounded);
    return 0;
}

static int put_float16(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    double number;
    uint16_t half;
    int told = exact_double(rows, field, value, &number);
    if (told <= 0) {
        return told < 0 ? -1 : float_refused(rows, field, value);
    }
    if (PyFloat_Pack2(number, (char *)&half, 1) < 0) {
        PyErr_Clear();
        return wrong_value(rows, field, value, "it is outside of what Float16 holds; use Float64");
    }
    if (!PyFloat_Check(value) && !isnan(number) && PyFloat_Unpack2((const char *)&half, 1) != number) {
        return wrong_value(rows, field, value, "Float16 cannot hold this number exactly; use float(x), or Float64");
    }
    qn_column_put_uint16(field->column, half);
    return 0;
}

/* ---- decimals ---- */

/* Text of a Decimal or an int, without calling what a subclass redefines; NULL with an exception set. */
static PyObject *number_text(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    if (PyObject_TypeCheck(value, rows__types.decimal)) {
        return rows__types.decimal->tp_str(value);
    }
    if (PyFloat_Check(value)) {
        (void)wrong_type(rows, field, value,
                         "a float is seldom exact; allow the module decimal and use decimal.Decimal(str(x))");
        return NULL;
    }
    if (PyBool_Check(value) || is_numpy_bool(value) || !PyIndex_Check(value)) {
        (void)wrong_type(rows, field, value,
                         PyUnicode_Check(value) ? "allow the module decimal and use decimal.Decimal(x)" : NULL);
        return NULL;
    }
    PyObject *number = whole_number(rows, field, value);
    PyObject *text = number == NULL ? NULL : PyNumber_ToBase(number, 10);
    Py_XDECREF(number);
    if (text == NULL && number != NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* longer than Python turns into text */
        (void)wrong_value(rows, field, value, "it has too many digits");
    }
    return text;
}

static int decimal_refused(struct rows_out *rows, struct rows__field *field, PyObject *value,
                           enum rows__decimal_fit fit)
{
    char hint[120];
    int precision = field->column->type.precision, scale = field->column->type.scale;
    if (fit == ROWS__DECIMAL_FRACTION_LONG) {
        snprintf(hint, sizeof hint, "it has more than %d digits after the point; use round(x, %d)", scale, scale);
    } else if (fit == ROWS__DECIMAL_WHOLE_LONG) {
        snprintf(hint, sizeof hint, "it has more than %d digits before the point", precision - scale);
    } else {
        snprintf(hint, sizeof hint, "a decimal column holds numbers only; return None where there is no value");
    }
    return wrong_value(rows, field, value, hint);
}

static int put_decimal(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    struct qn_column *column = field->column;
    qn_int128 number;
    if (column->width <= sizeof number && PyObject_TypeCheck(value, rows__types.decimal) &&
        rows__decimal_read(value, column->type.scale, column->type.precision, &number)) {
        qn_column_put_fixed(column, &number); /* little-endian: its first bytes are the narrower number */
        return 0;
    }
    PyObject *text = number_text(rows, field, value);
    if (text == NULL) {
        return -1;
    }
    Py_ssize_t size;
    uint8_t bytes[32];
    const char *digits = PyUnicode_AsUTF8AndSize(text, &size);
    int result = -1;
    if (digits != NULL) {
        enum rows__decimal_fit fit =
            rows__decimal_parse(digits, (size_t)size, column->type.precision, column->type.scale, column->width, bytes);
        result = fit == ROWS__DECIMAL_FITS ? 0 : decimal_refused(rows, field, value, fit);
    }
    Py_DECREF(text);
    if (result == 0) {
        qn_column_put_fixed(column, bytes);
    }
    return result;
}

/* ---- texts and bytes ---- */

/* How a text is made of something else; NULL where that is not plain. */
static const char *way_to_text(PyObject *value)
{
    if (PyBytes_Check(value)) {
        return "use x.decode()";
    }
    if (PyDict_Check(value) || PyList_Check(value) || PyTuple_Check(value)) {
        return "use json.dumps(x)";
    }
    return PyNumber_Check(value) || strncmp(Py_TYPE(value)->tp_name, "datetime.", 9) == 0 ? "use str(x)" : NULL;
}

static int put_text(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    if (!PyUnicode_Check(value)) {
        return wrong_type(rows, field, value, way_to_text(value));
    }
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(value, &size);
    if (bytes == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return -1;
        }
        PyErr_Clear();
        return wrong_value(rows, field, value,
                           "it has a lone surrogate, which is no text; use x.encode('utf-8', 'replace').decode()");
    }
    qn_column_put_bytes(field->column, bytes, (size_t)size);
    rows->bytes += size;
    return 0;
}

static int put_binary(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    if (!PyBytes_Check(value) && !PyByteArray_Check(value) && !PyMemoryView_Check(value)) {
        return wrong_type(rows, field, value, PyUnicode_Check(value) ? "use x.encode()" : NULL);
    }
    Py_buffer buffer;
    if (PyObject_GetBuffer(value, &buffer, PyBUF_SIMPLE) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError)) {
            return -1;
        }
        PyErr_Clear();
        return wrong_value(rows, field, value, "its bytes do not lie in a row; use bytes(x)");
    }
    int result = 0;
    if (field->column->layout != QN_LAYOUT_FIXED) {
        qn_column_put_bytes(field->column, buffer.buf, (size_t)buffer.len);
        rows->bytes += buffer.len;
    } else if (buffer.len == field->column->width) {
        qn_column_put_fixed(field->column, buffer.buf);
    } else {
        char hint[64];
        snprintf(hint, sizeof hint, "it has %zd bytes and needs %u", buffer.len, (unsigned)field->column->width);
        result = wrong_value(rows, field, value, hint);
    }
    PyBuffer_Release(&buffer);
    return result;
}

static int put_null_only(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    return wrong_type(rows, field, value, "a column of this type holds nothing but None");
}

/* ---- dates and times ---- */

static int put_date(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    const char *why = NULL;
    int64_t days;
    int told = rows__date_days(value, &days, &why);
    if (told <= 0) {
        return told < 0 ? -1 : wrong_type(rows, field, value, why);
    }
    if (field->column->type.id == QN_TYPE_DATE32) {
        qn_column_put_int32(field->column, (int32_t)days);
    } else {
        qn_column_put_int64(field->column, days * 86400000);
    }
    return 0;
}

/* Microseconds and nanoseconds on top in the column's unit; false with the reason where it is not exact. */
static bool in_unit(const struct qn_column *column, int64_t micros, int nanos, int64_t *out, const char **why)
{
    int64_t per_unit;
    switch (column->type.unit) {
    case QN_UNIT_MICRO:
        *out = micros;
        *why = "it has nanoseconds, which the column does not hold; use a column in ns, or x.floor('us')";
        return nanos == 0;
    case QN_UNIT_NANO:
        *why = column->type.id == QN_TYPE_TIMESTAMP
                   ? "nanoseconds since 1970 do not reach it: only the years 1678 to 2261 fit; use Timestamp[us]"
                   : "it is longer than 64 bits of nanoseconds";
        return !__builtin_mul_overflow(micros, INT64_C(1000), out) && !__builtin_add_overflow(*out, nanos, out);
    case QN_UNIT_MILLI:
        per_unit = 1000;
        break;
    default:
        per_unit = QN_MICROS_PER_SECOND;
    }
    *why = "it is more precise than the column; use a column of a smaller unit, or drop the fraction";
    *out = micros / per_unit;
    return nanos == 0 && micros % per_unit == 0;
}

static int put_time(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    const char *why = NULL;
    int64_t nanos, stored;
    int told = rows__time_nanos(value, &nanos, &why);
    if (told <= 0) {
        return told < 0 ? -1 : wrong_type(rows, field, value, why);
    }
    if (!in_unit(field->column, nanos / 1000, 0, &stored, &why)) {
        return wrong_value(rows, field, value, why);
    }
    if (field->column->width == 4) {
        qn_column_put_int32(field->column, (int32_t)stored);
    } else {
        qn_column_put_int64(field->column, stored);
    }
    return 0;
}

static int put_datetime(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    const char *why = NULL;
    int64_t micros, stored;
    int nanos;
    int told = rows__datetime_micros(value, field->column->type.timezone[0] != '\0', &micros, &nanos, &why);
    if (told <= 0) {
        return told < 0 ? -1 : wrong_type(rows, field, value, why);
    }
    if (!in_unit(field->column, micros, nanos, &stored, &why)) {
        return wrong_value(rows, field, value, why);
    }
    qn_column_put_int64(field->column, stored);
    return 0;
}

static int put_delta(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    const char *why = NULL;
    int64_t micros, stored;
    int nanos;
    int told = rows__delta_micros(value, &micros, &nanos, &why);
    if (told <= 0) {
        return told < 0 ? -1 : wrong_type(rows, field, value, why);
    }
    if (!in_unit(field->column, micros, nanos, &stored, &why)) {
        return wrong_value(rows, field, value, why);
    }
    qn_column_put_int64(field->column, stored);
    return 0;
}

/* An int within bounds, out of a tuple or list; false with or without an exception. */
static bool small_int(PyObject *value, int64_t low, int64_t high, int64_t *out)
{
    int overflow;
    if (!PyLong_Check(value) || PyBool_Check(value)) {
        return false;
    }
    *out = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0 && *out >= low && *out <= high;
}

static int put_interval(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    static const char *const form = "an interval is a tuple of three ints: months, days, nanoseconds";
    int64_t months, days, nanos;
    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 3 ||
        !small_int(PyTuple_GET_ITEM(value, 0), INT32_MIN, INT32_MAX, &months) ||
        !small_int(PyTuple_GET_ITEM(value, 1), INT32_MIN, INT32_MAX, &days) ||
        !small_int(PyTuple_GET_ITEM(value, 2), INT64_MIN, INT64_MAX, &nanos)) {
        return wrong_type(rows, field, value, form);
    }
    qn_column_put_interval(field->column, (int32_t)months, (int32_t)days, nanos);
    return 0;
}

/* ---- choosing ---- */

typedef int (*put_function)(struct rows_out *rows, struct rows__field *field, PyObject *value);

static void choose_bounds(struct rows__field *field)
{
    unsigned bits = field->column->width * 8;
    bool is_signed = field->column->type.id <= QN_TYPE_INT64;
    field->high = is_signed ? UINT64_MAX >> (65 - bits) : UINT64_MAX >> (64 - bits);
    field->low = is_signed ? -(int64_t)field->high - 1 : 0;
}

bool rows__field_choose(struct rows__field *field)
{
    static const put_function puts[] = {
        [QN_TYPE_NULL] = put_null_only,
        [QN_TYPE_BOOL] = put_bool,
        [QN_TYPE_INT8] = put_whole,
        [QN_TYPE_INT16] = put_whole,
        [QN_TYPE_INT32] = put_whole,
        [QN_TYPE_INT64] = put_whole,
        [QN_TYPE_UINT8] = put_whole,
        [QN_TYPE_UINT16] = put_whole,
        [QN_TYPE_UINT32] = put_whole,
        [QN_TYPE_UINT64] = put_whole,
        [QN_TYPE_FLOAT16] = put_float16,
        [QN_TYPE_FLOAT32] = put_float32,
        [QN_TYPE_FLOAT64] = put_float64,
        [QN_TYPE_DECIMAL32] = put_decimal,
        [QN_TYPE_DECIMAL64] = put_decimal,
        [QN_TYPE_DECIMAL128] = put_decimal,
        [QN_TYPE_DECIMAL256] = put_decimal,
        [QN_TYPE_STRING] = put_text,
        [QN_TYPE_LARGE_STRING] = put_text,
        [QN_TYPE_STRING_VIEW] = put_text,
        [QN_TYPE_BINARY] = put_binary,
        [QN_TYPE_LARGE_BINARY] = put_binary,
        [QN_TYPE_BINARY_VIEW] = put_binary,
        [QN_TYPE_FIXED_BINARY] = put_binary,
        [QN_TYPE_DATE32] = put_date,
        [QN_TYPE_DATE64] = put_date,
        [QN_TYPE_TIME32] = put_time,
        [QN_TYPE_TIME64] = put_time,
        [QN_TYPE_TIMESTAMP] = put_datetime,
        [QN_TYPE_DURATION] = put_delta,
        [QN_TYPE_INTERVAL_MONTH_DAY_NANO] = put_interval,
        [QN_TYPE_LIST] = rows__put_list,
        [QN_TYPE_LARGE_LIST] = rows__put_list,
        [QN_TYPE_STRUCT] = rows__put_struct,
        [QN_TYPE_MAP] = rows__put_map,
        [QN_TYPE_OTHER] = NULL,
    };
    const struct qn_type *type = &field->column->type;
    field->put = puts[type->id];
    if (field->put == put_whole) {
        choose_bounds(field);
    }
    if (type->id == QN_TYPE_INT64) {
        field->fast = ROWS__INT64;
    } else if (type->id == QN_TYPE_FLOAT64) {
        field->fast = ROWS__FLOAT64;
    } else if (type->id == QN_TYPE_BOOL) {
        field->fast = ROWS__BOOL;
    } else if (type->id == QN_TYPE_TIMESTAMP && type->unit == QN_UNIT_MICRO) {
        field->fast = ROWS__MICROS;
    } else if (type->id == QN_TYPE_DECIMAL128) {
        field->fast = ROWS__DECIMAL;
    } else if (field->put == put_text) {
        field->fast = ROWS__TEXT;
    }
    return field->put != NULL;
}
