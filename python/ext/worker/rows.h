/*
 * rows.h: Arrow batches to lists of Python dicts and back. The hot loops of the processor.
 *
 * Values arrive exactly or raise: int, float, bool, str, bytes, decimal.Decimal, datetime.date/time/datetime/timedelta,
 * list, dict, None; a map is a list of (key, value) tuples, an interval a tuple of months, days and nanoseconds (both as in
 * pyarrow). A datetime is aware where the column has a time zone (UTC: datetime.timezone.utc, others: zoneinfo, offsets:
 * datetime.timezone) and naive where it has none. Nanoseconds that Python's types cannot hold raise, naming row and column.
 * Every function needs the GIL and, on failure, leaves a Python exception set. Depth is bound by the schema, never by data.
 */
#ifndef QN_WORKER_ROWS_H
#define QN_WORKER_ROWS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "arrow/column.h"
#include "arrow/reader.h"

/* Import what conversions need (datetime, decimal, zoneinfo). Once per process; before lock-down. */
int rows_init(void);
/* Add the types RowsIn and RowsOut and the function drive() to a module: for tests, and for the modes written in Python. */
int rows_type_add(PyObject *module);

/* ---- in: batches to dicts ---- */

struct rows_in; /* keys are interned once, converters chosen once per column */
struct rows_in *rows_in_new(const struct ArrowSchema *schema);
void rows_in_free(struct rows_in *rows);
/* A new list of one dict a row. `first_row` counts rows before this batch, for messages. */
PyObject *rows_in_list(struct rows_in *rows, const struct ArrowArray *batch, int64_t first_row);
/* The value of the only column in the only row: DATA_CHECKPOINT. */
PyObject *rows_in_value(struct rows_in *rows, const struct ArrowArray *batch);
/* The same in steps: bind a batch, which must stay until it is read; then lists of rows `from` to from + count - 1 of it.
 * Small steps (some hundred rows) keep dicts in the cache and memory bounded. */
int rows_in_bind(struct rows_in *rows, const struct ArrowArray *batch, int64_t first_row);
PyObject *rows_in_slice(struct rows_in *rows, int64_t from, int64_t count);

/* ---- out: dicts to batches ---- */

struct rows_out;
/* `types`: the schema's type texts as the user wrote them, for messages ("Int64"), n_fields of them, copied; NULL: they are
 * written from the schema. A field without ARROW_FLAG_NULLABLE is required. */
struct rows_out *rows_out_new(const struct ArrowSchema *schema, const char *const *types);
void rows_out_free(struct rows_out *rows);
/* Append one returned object, which must be a dict with exactly the schema's fields. -1: a ValueError or TypeError whose text
 * names row, field, expected and found: `row 3, field "id": expected Int64, found str 'abc'`. `row` counts the returned
 * rows of the whole execution. Nothing of a refused row is kept. `object` may be borrowed: where the statement's code is run
 * it is held. */
int rows_out_put(struct rows_out *rows, PyObject *object, int64_t row);
int64_t rows_out_length(const struct rows_out *rows);
int64_t rows_out_bytes(const struct rows_out *rows); /* about */
/* Move what was put out as a struct array; empty again. */
int rows_out_finish(struct rows_out *rows, struct ArrowArray *out);

#endif
