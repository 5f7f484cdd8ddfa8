/*
 * rows_time.c: dates and times: Arrow's numbers to Python's objects and back, exactly.
 *
 * All use of the datetime C API stands here. Days count from 1970-01-01, microseconds from its midnight; Python's years are
 * 1 to 9999. Values of a statement may be of subclasses that say anything: what they answer is checked, not believed.
 */
#include "rows_private.h"

#include "base/calendar.h"

#include <datetime.h>

#define MIN_DAYS         (-719162) /* 0001-01-01 */
#define MAX_DAYS         2932896   /* 9999-12-31 */
#define MAX_DELTA_DAYS   INT64_C(999999999)
#define OFFSET_TEXT_SIZE 6 /* +HH:MM */

int rows__time_init(void)
{
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

/* ---- to Python ---- */

static void split_days(int64_t micros, int64_t *days_out, int64_t *rest_out)
{
    *days_out = micros / QN_MICROS_PER_DAY;
    *rest_out = micros % QN_MICROS_PER_DAY;
    if (*rest_out < 0) {
        *rest_out += QN_MICROS_PER_DAY;
        (*days_out)--;
    }
}

PyObject *rows__date(int64_t days, const char **why_out)
{
    if (days < MIN_DAYS || days > MAX_DAYS) {
        *why_out = "the year is outside of 1 to 9999, which datetime.date holds";
        return NULL;
    }
    int64_t year;
    int month, day;
    qn_civil_from_days(days, &year, &month, &day);
    return PyDate_FromDate((int)year, month, day);
}

PyObject *rows__time(int64_t micros, const char **why_out)
{
    if (micros < 0 || micros >= QN_MICROS_PER_DAY) {
        *why_out = "the time of day is outside of 00:00 to 24:00";
        return NULL;
    }
    int seconds = (int)(micros / QN_MICROS_PER_SECOND), fraction = (int)(micros % QN_MICROS_PER_SECOND);
    return PyTime_FromTime(seconds / 3600, seconds / 60 % 60, seconds % 60, fraction);
}

PyObject *rows__delta(int64_t micros, const char **why_out)
{
    int64_t days, rest;
    (void)why_out; /* all of int64 fits */
    split_days(micros, &days, &rest);
    return PyDelta_FromDSU((int)days, (int)(rest / QN_MICROS_PER_SECOND), (int)(rest % QN_MICROS_PER_SECOND));
}

PyObject *rows__datetime(int64_t micros, PyObject *zone, const char **why_out)
{
    static const char *const outside = "the year is outside of 1 to 9999, which datetime.datetime holds";
    int64_t days, rest, year;
    int month, day;
    split_days(micros, &days, &rest);
    if (days < MIN_DAYS || days > MAX_DAYS) {
        *why_out = outside;
        return NULL;
    }
    qn_civil_from_days(days, &year, &month, &day);
    int seconds = (int)(rest / QN_MICROS_PER_SECOND), fraction = (int)(rest % QN_MICROS_PER_SECOND);
    PyObject *made =
        PyDateTimeAPI->DateTime_FromDateAndTime((int)year, month, day, seconds / 3600, seconds / 60 % 60, seconds % 60,
                                                fraction, zone != NULL ? zone : Py_None, PyDateTimeAPI->DateTimeType);
    if (made == NULL || zone == NULL || zone == PyDateTime_TimeZone_UTC) {
        return made;
    }
    PyObject *local = PyObject_CallMethodOneArg(zone, rows__types.fromutc, made);
    Py_DECREF(made);
    if (local == NULL && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        *why_out = outside;
    }
    return local;
}

static bool two_digits(const char *text, int *out)
{
    if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') {
        return false;
    }
    *out = (text[0] - '0') * 10 + text[1] - '0';
    return true;
}

PyObject *rows__zone(const char *name)
{
    if (PyOS_stricmp(name, "UTC") == 0 || strcmp(name, "Z") == 0 || strcmp(name, "+00:00") == 0) {
        return Py_NewRef(PyDateTime_TimeZone_UTC);
    }
    if (name[0] != '+' && name[0] != '-') {
        return PyObject_CallFunction(rows__types.zone_info, "s", name);
    }
    int hours, minutes;
    if (strlen(name) != OFFSET_TEXT_SIZE || name[3] != ':' || !two_digits(name + 1, &hours) ||
        !two_digits(name + 4, &minutes)) {
        PyErr_Format(PyExc_ValueError, "the offset \"%.60s\" is not of the form +HH:MM", name);
        return NULL;
    }
    int seconds = (hours * 60 + minutes) * 60;
    PyObject *offset = PyDelta_FromDSU(0, name[0] == '-' ? -seconds : seconds, 0);
    PyObject *zone = offset == NULL ? NULL : PyTimeZone_FromOffset(offset);
    Py_XDECREF(offset);
    return zone;
}

/* ---- from Python ---- */

int rows__date_days(PyObject *value, int64_t *days_out, const char **why_out)
{
    if (!PyDate_Check(value)) {
        *why_out = PyUnicode_Check(value) ? "use datetime.date.fromisoformat(x)" : NULL;
        return 0;
    }
    if (PyDateTime_Check(value)) {
        *why_out = "a datetime has a time of day; use x.date()";
        return 0;
    }
    *days_out = qn_days_from_civil(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
    return 1;
}

static int64_t micros_of(int hour, int minute, int second, int fraction)
{
    return ((int64_t)hour * 3600 + (int64_t)minute * 60 + second) * QN_MICROS_PER_SECOND + fraction;
}

int rows__time_nanos(PyObject *value, int64_t *nanos_out, const char **why_out)
{
    if (!PyTime_Check(value)) {
        *why_out = PyDateTime_Check(value)  ? "use x.time()"
                   : PyUnicode_Check(value) ? "use datetime.time.fromisoformat(x)"
                                            : NULL;
        return 0;
    }
    if (PyDateTime_TIME_GET_TZINFO(value) != Py_None) {
        *why_out = "a time of day with a time zone has no counterpart; use x.replace(tzinfo=None)";
        return 0;
    }
    *nanos_out = 1000 * micros_of(PyDateTime_TIME_GET_HOUR(value), PyDateTime_TIME_GET_MINUTE(value),
                                  PyDateTime_TIME_GET_SECOND(value), PyDateTime_TIME_GET_MICROSECOND(value));
    return 1;
}

/* An integer attribute of a subclass (pandas: nanosecond); `otherwise` where there is none. */
static int small_attribute(PyObject *value, PyObject *name, long otherwise, long *out)
{
    PyObject *found = PyObject_GetAttr(value, name);
    *out = otherwise;
    if (found == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    *out = PyLong_AsLong(found);
    Py_DECREF(found);
    return *out == -1 && PyErr_Occurred() ? -1 : 0;
}

static bool delta_micros(PyObject *delta, int64_t *out)
{
    int64_t rest =
        PyDateTime_DELTA_GET_SECONDS(delta) * QN_MICROS_PER_SECOND + PyDateTime_DELTA_GET_MICROSECONDS(delta);
    return !__builtin_mul_overflow((int64_t)PyDateTime_DELTA_GET_DAYS(delta), QN_MICROS_PER_DAY, out) &&
           !__builtin_add_overflow(*out, rest, out);
}

/* The offset from UTC of a datetime with a tzinfo: 1, or 0 where it says that it has none. */
static int offset_of(PyObject *value, PyObject *zone, int64_t *micros_out)
{
    *micros_out = 0;
    if (zone == PyDateTime_TimeZone_UTC) {
        return 1;
    }
    PyObject *offset = PyObject_CallMethodNoArgs(value, rows__types.utcoffset);
    if (offset == NULL) {
        return -1;
    }
    int result = 1;
    if (offset == Py_None) {
        result = 0;
    } else if (!PyDelta_Check(offset) || !delta_micros(offset, micros_out) || *micros_out <= -QN_MICROS_PER_DAY ||
               *micros_out >= QN_MICROS_PER_DAY) {
        PyErr_SetString(PyExc_ValueError, "utcoffset() must give a timedelta of less than a day");
        result = -1;
    }
    Py_DECREF(offset);
    return result;
}

/* What pandas' Timestamp has besides: nanoseconds, and years that datetime's own fields do not show. */
static int subclass_nanos(PyObject *value, int *nanos_out, const char **why_out)
{
    long nanos, year;
    if (small_attribute(value, rows__types.nanosecond, 0, &nanos) < 0 ||
        small_attribute(value, rows__types.year, 0, &year) < 0) {
        return -1;
    }
    if (year != PyDateTime_GET_YEAR(value) || nanos < 0 || nanos > 999) {
        *why_out = "its year is outside of 1 to 9999";
        return 0;
    }
    *nanos_out = (int)nanos;
    return 1;
}

/* Microseconds of the fields, whatever the zone. */
static int64_t fields_micros(PyObject *value)
{
    int64_t days =
        qn_days_from_civil(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
    return days * QN_MICROS_PER_DAY + micros_of(PyDateTime_DATE_GET_HOUR(value), PyDateTime_DATE_GET_MINUTE(value),
                                                PyDateTime_DATE_GET_SECOND(value),
                                                PyDateTime_DATE_GET_MICROSECOND(value));
}

bool rows__datetime_plain(PyObject *value, bool aware, int64_t *micros_out)
{
    if (!PyDateTime_CheckExact(value) ||
        PyDateTime_DATE_GET_TZINFO(value) != (aware ? PyDateTime_TimeZone_UTC : Py_None)) {
        return false;
    }
    *micros_out = fields_micros(value);
    return true;
}

int rows__datetime_micros(PyObject *value, bool aware, int64_t *micros_out, int *nanos_out, const char **why_out)
{
    *nanos_out = 0;
    if (!PyDateTime_Check(value)) {
        if (PyDate_Check(value)) {
            *why_out = "a date has no time of day; use datetime.datetime.combine(x, datetime.time())";
        } else if (PyUnicode_Check(value)) {
            *why_out = "use datetime.datetime.fromisoformat(x)";
        }
        return 0;
    }
    if (!PyDateTime_CheckExact(value)) {
        int told = subclass_nanos(value, nanos_out, why_out);
        if (told <= 0) {
            return told;
        }
    }
    int64_t offset = 0;
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(value);
    int has_zone = zone == Py_None ? 0 : offset_of(value, zone, &offset);
    if (has_zone < 0) {
        return -1;
    }
    if ((has_zone == 1) != aware) {
        *why_out =
            aware ? "it has no time zone, and the column has one; where it is UTC use "
                    "x.replace(tzinfo=datetime.timezone.utc)"
                  : "it has a time zone, and the column has none; use x.replace(tzinfo=None) for the wall clock, or "
                    "give the column a time zone: Timestamp[us, UTC]";
        return 0;
    }
    *micros_out = fields_micros(value) - offset;
    return 1;
}

int rows__delta_micros(PyObject *value, int64_t *micros_out, int *nanos_out, const char **why_out)
{
    *nanos_out = 0;
    if (!PyDelta_Check(value)) {
        return 0;
    }
    if (!PyDelta_CheckExact(value)) {
        long nanos, days;
        if (small_attribute(value, rows__types.nanoseconds, 0, &nanos) < 0 ||
            small_attribute(value, rows__types.days, 0, &days) < 0) {
            return -1;
        }
        if (days != PyDateTime_DELTA_GET_DAYS(value) || nanos < 0 || nanos > 999) {
            *why_out = "it is longer than datetime.timedelta holds";
            return 0;
        }
        *nanos_out = (int)nanos;
    }
    if (!delta_micros(value, micros_out)) {
        *why_out = "it is longer than 64 bits of microseconds";
        return 0;
    }
    return 1;
}

PyObject *rows__time_text(PyObject *value)
{
    PyObject *zone = NULL;
    if (PyDateTime_CheckExact(value)) {
        zone = PyDateTime_DATE_GET_TZINFO(value);
    } else if (PyTime_CheckExact(value)) {
        zone = PyDateTime_TIME_GET_TZINFO(value);
    } else if (!PyDate_CheckExact(value) && !PyDelta_CheckExact(value)) {
        return NULL;
    }
    if (zone != NULL && zone != Py_None && zone != PyDateTime_TimeZone_UTC) {
        return NULL; /* a tzinfo of the statement's own would be called */
    }
    PyObject *text = PyObject_Str(value);
    if (text == NULL) {
        PyErr_Clear();
    }
    return text;
}
