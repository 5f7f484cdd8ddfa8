/*
 * rows_private.h: what the files of rows share. Not for other files of the worker.
 *
 * The worker is one interpreter in a process of its own: what rows_init looks up is kept for the life of the process.
 */
#ifndef QN_WORKER_ROWS_PRIVATE_H
#define QN_WORKER_ROWS_PRIVATE_H

#include "rows.h"

#include "base/status.h"

/* ---- rows_types.c: classes that conversions need ---- */

struct rows__types {
    PyTypeObject *decimal; /* decimal.Decimal */
    PyObject *zone_info;   /* zoneinfo.ZoneInfo */
    PyObject *utcoffset;   /* interned names */
    PyObject *fromutc;
    PyObject *nanosecond;
    PyObject *nanoseconds;
    PyObject *year;
    PyObject *days;
};
extern struct rows__types rows__types;

/* Set the Python exception of an error of the library (ValueError, MemoryError); returns -1. */
int rows__raise(const struct qn_error *err);

/* ---- rows_decimal.c: decimals as digits ---- */

#define ROWS__DECIMAL_TEXT 112 /* sign, 78 digits, exponent, NUL */

/* The number that `bytes` (a little-endian two's complement integer of 4, 8, 16 or 32) is with this scale, as text that
 * Decimal reads exactly. Returns its length. */
size_t rows__decimal_text(const void *bytes, size_t width, int scale, char out[ROWS__DECIMAL_TEXT]);

enum rows__decimal_fit {
    ROWS__DECIMAL_FITS,
    ROWS__DECIMAL_NOT_FINITE,
    ROWS__DECIMAL_FRACTION_LONG, /* more digits than `scale` after the point */
    ROWS__DECIMAL_WHOLE_LONG,    /* more digits than precision - scale before it */
    ROWS__DECIMAL_MALFORMED
};
/* The other way: text as Decimal and int write it to an integer of `width` bytes. */
enum rows__decimal_fit rows__decimal_parse(const char *text, size_t size, int precision, int scale, size_t width,
                                           uint8_t out[32]);

/* ---- rows_decimal_object.c: Decimal objects without a text in between, where their layout is the one we know ---- */

void rows__decimal_object_init(void);
/* For tests: whether to go the direct way (where it is there); returns whether it was gone. */
bool rows__decimal_object_use(bool direct);
/* The number of a Decimal in units of 10^-scale. False where it has to be read from its text, which also tells what is wrong
 * with it. `decimal` is of the class or of a subclass. */
bool rows__decimal_read(PyObject *decimal, int scale, int precision, qn_int128 *out);
/* A Decimal of value * 10^-scale. *made_out false: not this way (and no exception). */
PyObject *rows__decimal_make(qn_int128 value, int scale, bool *made_out);

/* ---- rows_time.c: dates and times; needs the datetime API, so all use of it stands there ---- */

int rows__time_init(void);

/* Each makes the Python value of a stored number, or NULL: with an exception, or without one and *why_out says what is wrong
 * with the number. */
PyObject *rows__date(int64_t days, const char **why_out);
PyObject *rows__time(int64_t micros, const char **why_out);
PyObject *rows__delta(int64_t micros, const char **why_out);
/* zone: NULL for wall clock. */
PyObject *rows__datetime(int64_t micros, PyObject *zone, const char **why_out);
/* A tzinfo for the time zone of a column. NULL with an exception that does not name the column. */
PyObject *rows__zone(const char *name);

/* Each takes the exact number out of a Python value: 1 it did; 0 it does not fit and *why_out says why (NULL: it is
 * something else altogether); -1 a Python exception is set. */
int rows__date_days(PyObject *value, int64_t *days_out, const char **why_out);
int rows__time_nanos(PyObject *value, int64_t *nanos_out, const char **why_out);
/* Microseconds, and nanoseconds (0 to 999) on top. `aware`: what the column wants. */
int rows__datetime_micros(PyObject *value, bool aware, int64_t *micros_out, int *nanos_out, const char **why_out);
/* The same for a plain datetime that is naive, or in UTC: true, or false where it takes more. Calls nothing. */
bool rows__datetime_plain(PyObject *value, bool aware, int64_t *micros_out);
int rows__delta_micros(PyObject *value, int64_t *micros_out, int *nanos_out, const char **why_out);
/* A text for messages of dates and times, exact types only; NULL without an exception for anything else. New reference. */
PyObject *rows__time_text(PyObject *value);

/* ---- rows_out: a field of the schema ---- */

/* The kinds whose common values rows_out.c stores itself, without running anything of a statement's: then nothing needs to be
 * held, and the values' memory is only read. */
enum rows__fast {
    ROWS__SLOW,
    ROWS__INT64,
    ROWS__FLOAT64,
    ROWS__TEXT,
    ROWS__BOOL,
    ROWS__MICROS, /* a timestamp in microseconds */
    ROWS__DECIMAL /* of 128 bits */
};

struct rows__field {
    enum rows__fast fast;
    bool required;
    bool number_item; /* an item of a list: named by its index in messages */
    struct qn_column *column;
    /* Put one value that is not None: 0, or -1 with an exception set. */
    int (*put)(struct rows_out *rows, struct rows__field *field, PyObject *value);
    PyObject *key;  /* the name, interned */
    PyObject *seen; /* the last other str of the same text that was a key: rows mostly share theirs. Or NULL */
    char *type;     /* as the user wrote it, for messages */
    int64_t low;    /* of integers */
    uint64_t high;
    int64_t at; /* the item that is being read */
    struct rows__field *parent;
    struct rows__field *children;
    int64_t n_children;
};

struct rows_out {
    struct qn_batch batch;
    struct rows__field root; /* a struct without a column */
    int64_t length, room;
    int64_t hint;      /* rows of the last batch: the room of the next */
    int64_t row_width; /* bytes of a row in fixed widths */
    int64_t bytes;     /* besides */
    int64_t row;       /* the one that is being put, for messages */
    bool busy;
};

/* rows_out_value.c: choose `put`, `fast` and the bounds for the type of field->column. False: no such values. */
bool rows__field_choose(struct rows__field *field);

/* rows_out.c: put a value into a field, None included. */
int rows__field_put(struct rows_out *rows, struct rows__field *field, PyObject *value);
int rows__put_struct(struct rows_out *rows, struct rows__field *field, PyObject *value);
int rows__put_list(struct rows_out *rows, struct rows__field *field, PyObject *value);
int rows__put_map(struct rows_out *rows, struct rows__field *field, PyObject *value);

/* rows_message.c: `row 3, field "a.b[2]": expected Int64, found str 'abc'; hint`. hint may be NULL. All return -1. */
int rows__misfit(const struct rows_out *rows, const struct rows__field *field, PyObject *exception, PyObject *value,
                 const char *hint);
int rows__missing(const struct rows_out *rows, const struct rows__field *field, PyObject *dict);
int rows__extra(const struct rows_out *rows, const struct rows__field *parent, PyObject *key, PyObject *value);
int rows__not_dict(const struct rows_out *rows, const struct rows__field *field, PyObject *value);
/* "str 'abc'", "list of 3 items": calls nothing that a statement could have defined. NULL with an exception. */
PyObject *rows__found(PyObject *value);
/* pandas.NaT or pandas.NA. */
bool rows__is_missing(PyObject *value);

#endif
