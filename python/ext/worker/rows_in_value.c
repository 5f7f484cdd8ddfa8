/*
 * rows_in_value.c: the fills of plain values: one loop for each stored type, chosen once per column.
 */
#include "rows_in.h"

#include "base/memory.h"

#include <string.h>

/* A fill whose object of row `row` is `make`, which may use `why`. */
#define FILL(name, make)                                                                                               \
    static int name(struct rows__value *value, int64_t first, int64_t count, PyObject **out)                           \
    {                                                                                                                  \
        const struct qn_reader *reader = value->reader;                                                                \
        for (int64_t i = 0; i < count; i++) {                                                                          \
            int64_t row = first + i;                                                                                   \
            const char *why = NULL;                                                                                    \
            out[i] = qn_reader_is_null(reader, row) ? Py_NewRef(Py_None) : (make);                                     \
            if (QN_UNLIKELY(out[i] == NULL)) {                                                                         \
                return rows__fill_failed(value, i, why);                                                               \
            }                                                                                                          \
        }                                                                                                              \
        return 0;                                                                                                      \
    }

/* ---- numbers ---- */

FILL(fill_null, Py_NewRef(Py_None))
FILL(fill_bool, PyBool_FromLong(qn_reader_bool(reader, row)))
FILL(fill_int8, PyLong_FromLong(qn_reader_at_int8(reader, row)))
FILL(fill_int16, PyLong_FromLong(qn_reader_at_int16(reader, row)))
FILL(fill_int32, PyLong_FromLong(qn_reader_at_int32(reader, row)))
FILL(fill_int64, PyLong_FromLongLong(qn_reader_at_int64(reader, row)))
FILL(fill_uint8, PyLong_FromLong(qn_reader_at_uint8(reader, row)))
FILL(fill_uint16, PyLong_FromLong(qn_reader_at_uint16(reader, row)))
FILL(fill_uint32, PyLong_FromUnsignedLong(qn_reader_at_uint32(reader, row)))
FILL(fill_uint64, PyLong_FromUnsignedLongLong(qn_reader_at_uint64(reader, row)))
FILL(fill_float, PyFloat_FromDouble(qn_reader_float64(reader, row)))
FILL(fill_float64, PyFloat_FromDouble(qn_reader_at_float64(reader, row)))

static PyObject *make_decimal(const struct qn_reader *reader, int64_t row, size_t width)
{
    qn_int128 value;
    bool made;
    if (qn_reader_decimal(reader, row, &value)) {
        PyObject *decimal = rows__decimal_make(value, reader->type.scale, &made);
        if (made) {
            return decimal;
        }
    }
    char digits[ROWS__DECIMAL_TEXT];
    size_t size =
        rows__decimal_text(reader->data + (size_t)(reader->offset + row) * width, width, reader->type.scale, digits);
    PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
    if (text == NULL) {
        return NULL;
    }
    memcpy(PyUnicode_1BYTE_DATA(text), digits, size);
    PyObject *decimal = PyObject_CallOneArg((PyObject *)rows__types.decimal, text);
    Py_DECREF(text);
    return decimal;
}
FILL(fill_decimal32, make_decimal(reader, row, 4))
FILL(fill_decimal64, make_decimal(reader, row, 8))
FILL(fill_decimal128, make_decimal(reader, row, 16))
FILL(fill_decimal256, make_decimal(reader, row, 32))

/* ---- texts ---- */

static bool is_ascii(const char *bytes, size_t size)
{
    uint64_t seen = 0, word;
    size_t i = 0;
    if (size >= sizeof word) {
        for (; i + sizeof word <= size; i += sizeof word) {
            memcpy(&word, bytes + i, sizeof word);
            seen |= word;
        }
        memcpy(&word, bytes + size - sizeof word, sizeof word); /* overlaps */
        seen |= word;
    } else {
        for (; i < size; i++) {
            seen |= (uint64_t)(unsigned char)bytes[i];
        }
    }
    return (seen & UINT64_C(0x8080808080808080)) == 0;
}

static PyObject *make_text(const struct qn_reader *reader, int64_t row, const char **why)
{
    const char *bytes;
    size_t size;
    if (!qn_reader_bytes(reader, row, &bytes, &size)) {
        *why = "the offsets of the text are malformed";
        return NULL;
    }
    if (size > 1 && is_ascii(bytes, size)) {
        PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
        if (text != NULL) {
            memcpy(PyUnicode_1BYTE_DATA(text), bytes, size);
        }
        return text;
    }
    PyObject *text = PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)size, "strict");
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        *why = "the text is not UTF-8";
    }
    return text;
}
FILL(fill_text, make_text(reader, row, &why))

static PyObject *make_binary(const struct qn_reader *reader, int64_t row, const char **why)
{
    const char *bytes;
    size_t size;
    if (!qn_reader_bytes(reader, row, &bytes, &size)) {
        *why = "the offsets of the bytes are malformed";
        return NULL;
    }
    return PyBytes_FromStringAndSize(bytes, (Py_ssize_t)size);
}
FILL(fill_binary, make_binary(reader, row, &why))

/* ---- dates and times ---- */

#define MILLIS_A_DAY INT64_C(86400000)

static PyObject *make_date64(int64_t millis, const char **why)
{
    if (millis % MILLIS_A_DAY != 0) {
        *why = "the date has a time of day";
        return NULL;
    }
    return rows__date(millis / MILLIS_A_DAY, why);
}
FILL(fill_date32, rows__date(qn_reader_at_int32(reader, row), &why))
FILL(fill_date64, make_date64(qn_reader_at_int64(reader, row), &why))

/* Microseconds of a row, or false with the reason. */
static bool micros_of(const struct qn_reader *reader, int64_t row, int64_t *out, const char **why)
{
    if (qn_reader_micros(reader, row, out)) {
        return true;
    }
    *why = reader->type.unit == QN_UNIT_NANO
               ? "the value has nanoseconds, which Python's datetime cannot hold; give the input in microseconds"
               : "the value is outside of what Python's datetime holds";
    return false;
}

static PyObject *make_time(const struct qn_reader *reader, int64_t row, const char **why)
{
    int64_t micros;
    return micros_of(reader, row, &micros, why) ? rows__time(micros, why) : NULL;
}
FILL(fill_time, make_time(reader, row, &why))

static PyObject *make_delta(const struct qn_reader *reader, int64_t row, const char **why)
{
    int64_t micros;
    return micros_of(reader, row, &micros, why) ? rows__delta(micros, why) : NULL;
}
FILL(fill_delta, make_delta(reader, row, &why))

static PyObject *make_datetime(const struct qn_reader *reader, int64_t row, PyObject *zone, const char **why)
{
    int64_t micros;
    return micros_of(reader, row, &micros, why) ? rows__datetime(micros, zone, why) : NULL;
}
FILL(fill_datetime, make_datetime(reader, row, value->zone, &why))

static PyObject *make_interval(const struct qn_reader *reader, int64_t row)
{
    int32_t months, days;
    int64_t nanos;
    qn_reader_interval(reader, row, &months, &days, &nanos);
    return Py_BuildValue("(iiL)", (int)months, (int)days, (long long)nanos);
}
FILL(fill_interval, make_interval(reader, row))

/* ---- dictionaries ---- */

void rows__value_forget(struct rows__value *value)
{
    for (int64_t i = 0; i < value->n_objects; i++) {
        Py_XDECREF(value->objects[i]);
    }
    qn_free(value->objects);
    value->objects = NULL;
    value->n_objects = 0;
}

/* Objects of a dictionary are made once and shared by the rows, where they cannot be changed. */
static bool start_sharing(struct rows__value *value)
{
    const struct qn_reader *dictionary = value->reader->dictionary;
    if (value->objects == NULL && value->dictionary->n_children == 0 && dictionary->dictionary == NULL) {
        value->objects = qn_calloc((size_t)(dictionary->length > 0 ? dictionary->length : 1), sizeof *value->objects);
        value->n_objects = value->objects != NULL ? dictionary->length : 0;
    }
    return value->objects != NULL;
}

int rows__fill_dictionary(struct rows__value *value, int64_t first, int64_t count, PyObject **out)
{
    struct rows__value *values = value->dictionary;
    bool shared = start_sharing(value);
    for (int64_t i = 0; i < count; i++) {
        int64_t index = qn__reader_index(value->reader, first + i);
        if (index < 0) {
            out[i] = Py_NewRef(Py_None);
            continue;
        }
        if (shared && value->objects[index] != NULL) {
            out[i] = Py_NewRef(value->objects[index]);
            continue;
        }
        if (values->fill(values, index, 1, &out[i]) < 0) {
            value->failed = i;
            value->why = values->why;
            value->culprit = values->culprit == values ? value : values->culprit;
            return -1;
        }
        if (shared) {
            value->objects[index] = Py_NewRef(out[i]);
        }
    }
    return 0;
}

/* ---- choosing ---- */

rows__fill rows__fill_choose(const struct qn_reader *reader)
{
    static const rows__fill fills[] = {
        [QN_TYPE_NULL] = fill_null,
        [QN_TYPE_BOOL] = fill_bool,
        [QN_TYPE_INT8] = fill_int8,
        [QN_TYPE_INT16] = fill_int16,
        [QN_TYPE_INT32] = fill_int32,
        [QN_TYPE_INT64] = fill_int64,
        [QN_TYPE_UINT8] = fill_uint8,
        [QN_TYPE_UINT16] = fill_uint16,
        [QN_TYPE_UINT32] = fill_uint32,
        [QN_TYPE_UINT64] = fill_uint64,
        [QN_TYPE_FLOAT16] = fill_float,
        [QN_TYPE_FLOAT32] = fill_float,
        [QN_TYPE_FLOAT64] = fill_float64,
        [QN_TYPE_DECIMAL32] = fill_decimal32,
        [QN_TYPE_DECIMAL64] = fill_decimal64,
        [QN_TYPE_DECIMAL128] = fill_decimal128,
        [QN_TYPE_DECIMAL256] = fill_decimal256,
        [QN_TYPE_STRING] = fill_text,
        [QN_TYPE_LARGE_STRING] = fill_text,
        [QN_TYPE_STRING_VIEW] = fill_text,
        [QN_TYPE_BINARY] = fill_binary,
        [QN_TYPE_LARGE_BINARY] = fill_binary,
        [QN_TYPE_BINARY_VIEW] = fill_binary,
        [QN_TYPE_FIXED_BINARY] = fill_binary,
        [QN_TYPE_DATE32] = fill_date32,
        [QN_TYPE_DATE64] = fill_date64,
        [QN_TYPE_TIME32] = fill_time,
        [QN_TYPE_TIME64] = fill_time,
        [QN_TYPE_TIMESTAMP] = fill_datetime,
        [QN_TYPE_DURATION] = fill_delta,
        [QN_TYPE_INTERVAL_MONTHS] = fill_interval,
        [QN_TYPE_INTERVAL_DAY_TIME] = fill_interval,
        [QN_TYPE_INTERVAL_MONTH_DAY_NANO] = fill_interval,
        [QN_TYPE_LIST] = rows__fill_list,
        [QN_TYPE_LARGE_LIST] = rows__fill_list,
        [QN_TYPE_FIXED_LIST] = rows__fill_list,
        [QN_TYPE_STRUCT] = rows__fill_struct,
        [QN_TYPE_MAP] = rows__fill_map,
        [QN_TYPE_OTHER] = NULL,
    };
    return fills[reader->type.id];
}
