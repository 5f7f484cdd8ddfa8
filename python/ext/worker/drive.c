/*
 * drive.c: running a statement's coroutine function without an event loop.
 *
 * A coroutine that awaits nothing ends at its first send: one call, one send, no loop. What a statement returns is held
 * while it is read, and its size asked for anew at each row, because putting a row out may run the statement's own methods.
 * Time is taken around every SAMPLE-th row only and scaled, so that taking it does not cost what it measures.
 */
#include "drive.h"

#include "base/status.h"

#include <string.h>
#include <time.h>

#define STEP   256 /* rows whose dicts are made at once */
#define SAMPLE 16

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

static void close_coroutine(PyObject *coroutine)
{
    PyObject *closed = PyObject_CallMethod(coroutine, "close", NULL);
    if (closed == NULL) {
        PyErr_Clear(); /* it ignored that it was closed: nobody waits for it any more */
    }
    Py_XDECREF(closed);
}

enum drive_end drive_call(struct drive *drive, PyObject *rows_list, PyObject **result_out)
{
    PyObject *arguments[3] = { NULL, rows_list, drive->checkpoint };
    PyObject *coroutine = PyObject_Vectorcall(drive->function, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (coroutine == NULL) {
        return DRIVE_FAILED;
    }
    PyObject *result = NULL;
    enum drive_end end = DRIVE_FAILED;
    if (QN_UNLIKELY(!PyCoro_CheckExact(coroutine))) {
        PyErr_Format(PyExc_TypeError, "a statement is a coroutine function; calling it gave %.120s",
                     Py_TYPE(coroutine)->tp_name);
        Py_DECREF(coroutine);
        return DRIVE_FAILED;
    }
    switch (PyIter_Send(coroutine, Py_None, &result)) {
    case PYGEN_RETURN:
        *result_out = result;
        end = DRIVE_OK;
        break;
    case PYGEN_NEXT:
        Py_XDECREF(result);
        close_coroutine(coroutine);
        end = DRIVE_AWAITS;
        break;
    case PYGEN_ERROR:
        break;
    }
    Py_DECREF(coroutine);
    return end;
}

/* ---- what it returned ---- */

static int flush_if_full(struct drive *drive)
{
    if (QN_LIKELY((drive->flush_rows <= 0 || rows_out_length(drive->out) < drive->flush_rows) &&
                  (drive->flush_bytes <= 0 || rows_out_bytes(drive->out) < drive->flush_bytes))) {
        return 0;
    }
    return drive->flush != NULL ? drive->flush(drive->context, drive->out) : 0;
}

static int not_list(PyObject *returned)
{
    if (returned == Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        "the statement must return a list of dicts, and returned None: its last line has to "
                        "be `return` and the list");
    } else if (PyDict_Check(returned)) {
        PyErr_SetString(PyExc_TypeError, "the statement must return a list of dicts, and returned a dict; for one row "
                                         "return a list of it: [row]");
    } else {
        const char *type = Py_TYPE(returned)->tp_name;
        const char *advice = PyGen_Check(returned)               ? "; use list(x)"
                             : PyCoro_CheckExact(returned)       ? "; write 'await' before the call that made it"
                             : strstr(type, "DataFrame") != NULL ? "; a frame may be returned in mode bulk"
                                                                 : "";
        PyErr_Format(PyExc_TypeError, "the statement must return a list of dicts, and returned %.120s%s", type, advice);
    }
    return -1;
}

int drive_put(struct drive *drive, PyObject *returned)
{
    bool list = PyList_Check(returned);
    if (!list && !PyTuple_Check(returned)) {
        return not_list(returned);
    }
    for (Py_ssize_t i = 0; i < (list ? PyList_GET_SIZE(returned) : PyTuple_GET_SIZE(returned)); i++) {
        PyObject *row = list ? PyList_GET_ITEM(returned, i) : PyTuple_GET_ITEM(returned, i);
        if (QN_UNLIKELY(rows_out_put(drive->out, row, drive->rows_out) < 0)) {
            return -1;
        }
        drive->rows_out++;
        if (QN_UNLIKELY(flush_if_full(drive) < 0)) {
            return -1;
        }
    }
    return 0;
}

/* ---- row by row ---- */

/* One row: its dict in a list of its own to the statement, and what it returns to `out`. */
static enum drive_end drive_row(struct drive *drive, PyObject *dict, uint64_t *put_nanos)
{
    PyObject *input = PyList_New(1);
    if (input == NULL) {
        return DRIVE_FAILED;
    }
    PyList_SET_ITEM(input, 0, Py_NewRef(dict));
    PyObject *returned = NULL;
    enum drive_end end = drive_call(drive, input, &returned);
    Py_DECREF(input);
    if (QN_UNLIKELY(end != DRIVE_OK)) {
        return end;
    }
    drive->rows_in++;
    uint64_t start = put_nanos != NULL ? now() : 0;
    int result = drive_put(drive, returned);
    Py_DECREF(returned);
    if (put_nanos != NULL) {
        *put_nanos += now() - start;
    }
    return result < 0 ? DRIVE_FAILED : DRIVE_OK;
}

/* The dicts of `list`, which nobody but the caller has: each is let go of when its row is done. */
static enum drive_end drive_list(struct drive *drive, PyObject *list, int64_t first_row)
{
    uint64_t start = now(), sampled = 0, samples = 0;
    Py_ssize_t done = 0;
    enum drive_end end = DRIVE_OK;
    for (; end == DRIVE_OK && done < PyList_GET_SIZE(list); done++) {
        bool sample = done % SAMPLE == 0;
        drive->row = first_row + done;
        PyObject *dict = Py_NewRef(PyList_GET_ITEM(list, done));
        end = drive_row(drive, dict, sample ? &sampled : NULL);
        Py_DECREF(dict);
        samples += sample;
    }
    uint64_t all = now() - start;
    uint64_t put = samples > 0 ? sampled / samples * (uint64_t)done : 0;
    put = put < all ? put : all;
    drive->write_nanos += put;
    drive->run_nanos += all - put;
    return end;
}

enum drive_end drive_rows(struct drive *drive, PyObject *rows_list, int64_t first_row)
{
    if (!PyList_Check(rows_list)) {
        PyErr_SetString(PyExc_TypeError, "the rows must be a list of dicts");
        return DRIVE_FAILED;
    }
    return drive_list(drive, rows_list, first_row);
}

enum drive_end drive_batch(struct drive *drive, struct rows_in *rows, const struct ArrowArray *batch, int64_t first_row)
{
    if (rows_in_bind(rows, batch, first_row) < 0) {
        return DRIVE_FAILED;
    }
    enum drive_end end = DRIVE_OK;
    for (int64_t from = 0; end == DRIVE_OK && from < batch->length; from += STEP) {
        int64_t count = batch->length - from < STEP ? batch->length - from : STEP;
        uint64_t start = now();
        PyObject *list = rows_in_slice(rows, from, count);
        drive->read_nanos += now() - start;
        if (list == NULL) {
            return DRIVE_FAILED;
        }
        end = drive_list(drive, list, first_row + from);
        Py_DECREF(list);
    }
    return end;
}

enum drive_end drive_bulk(struct drive *drive, PyObject *rows_list)
{
    PyObject *returned = NULL;
    uint64_t start = now();
    Py_ssize_t given = PyList_Check(rows_list) ? PyList_GET_SIZE(rows_list) : 0; /* the statement may change the list */
    drive->row = -1;
    enum drive_end end = drive_call(drive, rows_list, &returned);
    uint64_t called = now();
    drive->run_nanos += called - start;
    if (end != DRIVE_OK) {
        return end;
    }
    drive->rows_in += given;
    int result = drive_put(drive, returned);
    Py_DECREF(returned);
    drive->write_nanos += now() - called;
    return result < 0 ? DRIVE_FAILED : DRIVE_OK;
}
