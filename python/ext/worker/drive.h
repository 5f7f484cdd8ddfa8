/*
 * drive.h: running a statement's coroutine function from C, without an event loop.
 *
 * The function takes a list of row dicts and the checkpoint, and its coroutine returns a list of dicts, which go straight to
 * rows_out. Row mode calls it once a row with a list of one dict; dicts are made, used and dropped a few hundred at a time.
 * A coroutine that awaits something that is not there yet cannot be driven: then DRIVE_AWAITS, and the asyncio way is for it.
 * Everything here needs the GIL. Statements run in here: they may do anything Python can, so nothing borrowed is kept.
 */
#ifndef QN_WORKER_DRIVE_H
#define QN_WORKER_DRIVE_H

#include "rows.h"

enum drive_end {
    DRIVE_FAILED = -1, /* a Python exception is set: the statement's, or one about what it returned, or flush's */
    DRIVE_OK = 0,
    DRIVE_AWAITS = 1 /* the coroutine of row drive->row awaits; it has been closed; no exception is set */
};

struct drive {
    /* set by the caller, borrowed */
    PyObject *function;   /* the coroutine function: f(INPUT_DATA, DATA_CHECKPOINT) */
    PyObject *checkpoint; /* or Py_None */
    struct rows_out *out;
    int64_t flush_rows, flush_bytes; /* flush is called when `out` holds as many, or more; 0: no bound */
    int (*flush)(void *context, struct rows_out *out); /* empties `out` (rows_out_finish); -1 with an exception set */
    void *context;
    /* kept by the drive */
    int64_t row;      /* of the input, from 0: the one that runs now; -1 in bulk. The logger reads it */
    int64_t rows_in;  /* rows that the statement has been given */
    int64_t rows_out; /* rows that it has returned and that were right */
    uint64_t read_nanos, run_nanos, write_nanos; /* Arrow to dicts; the statement; dicts to Arrow and flush */
};

/* Row mode over one batch. `first_row` counts input rows before it. */
enum drive_end drive_batch(struct drive *drive, struct rows_in *rows, const struct ArrowArray *batch,
                           int64_t first_row);
/* Row mode over a list of dicts. */
enum drive_end drive_rows(struct drive *drive, PyObject *rows_list, int64_t first_row);
/* Bulk: one call with the whole list. */
enum drive_end drive_bulk(struct drive *drive, PyObject *rows_list);

/* Call the function once; the coroutine's return value is a new reference in *result_out. Nothing is put out. */
enum drive_end drive_call(struct drive *drive, PyObject *rows_list, PyObject **result_out);
/* Put out what a call returned, which must be a list (or tuple) of dicts; flushes where a bound is reached. */
int drive_put(struct drive *drive, PyObject *returned);

#endif
