/*
 * child.c: the type Child: one run, from its fork to DONE.
 *
 * In this order: lock_down (READY), start (START), then any number of log, read, run_rows, call, put and flush, and at last
 * done, which does not return. Needs the GIL.
 */
#include "worker.h"

#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <structmember.h>
#include <time.h>
#include <unistd.h>

#define MAX_KEPT 16
/* Of a message in a DONE frame: a traceback of a statement that has deep ones. */
#define MAX_DONE_TEXT (256 << 10)

uint64_t worker_nanos(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

PyObject *worker_raise(const struct qn_error *err)
{
    PyErr_SetString(err->status == QN_ERR_NO_MEMORY ? PyExc_MemoryError : PyExc_RuntimeError, err->message);
    return NULL;
}

PyObject *child_new(PyTypeObject *type, struct zygote *zygote, const struct zygote_child *forked)
{
    struct child *child = PyObject_New(struct child, type);
    if (child == NULL) {
        return NULL;
    }
    memset((char *)child + sizeof(PyObject), 0, sizeof *child - sizeof(PyObject));
    child->zygote = zygote;
    child->forked = *forked;
    child->channel = (struct channel_in){ .fd = forked->channel_fd, .attached = -1 };
    child->input.ended = true;
    child->drive.row = -1;
    return (PyObject *)child;
}

static void dealloc(PyObject *self)
{
    struct child *child = (struct child *)self;
    PyTypeObject *type = Py_TYPE(self);
    child_input_close(&child->input);
    child_output_close(&child->output);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* ---- lock-down ---- */

static int compare_ints(const void *a, const void *b)
{
    int left = *(const int *)a;
    int right = *(const int *)b;
    return (left > right) - (left < right);
}

/* The descriptors that stay, sorted: the caller's, the channel, the names. Their number; -1 with an exception. */
static Py_ssize_t kept_descriptors(struct child *child, PyObject *keep, int kept[MAX_KEPT])
{
    PyObject *items = PySequence_Fast(keep, "keep is a sequence of descriptors");
    if (items == NULL) {
        return -1;
    }
    Py_ssize_t n = PySequence_Fast_GET_SIZE(items);
    if (n > MAX_KEPT - 2) {
        PyErr_Format(PyExc_ValueError, "at most %d descriptors are kept", MAX_KEPT - 2);
        n = -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        long fd = PyLong_AsLong(PySequence_Fast_GET_ITEM(items, i));
        if (fd < 3 || fd > INT_MAX) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "not a descriptor above 2");
            }
            n = -1;
            break;
        }
        kept[i] = (int)fd;
    }
    Py_DECREF(items);
    if (n < 0) {
        return -1;
    }
    kept[n++] = child->forked.channel_fd;
    if (child->forked.names_fd >= 0) {
        kept[n++] = child->forked.names_fd;
    }
    qsort(kept, (size_t)n, sizeof *kept, compare_ints);
    return n;
}

/* Tell why the walls do not stand, and end. */
static _Noreturn void fail_lock_down(const struct child *child, const char *text)
{
    struct iovec part = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
    channel_send(child->channel.fd, QN_FRAME_FAILED, &part, 1, -1);
    _exit(WORKER_EXIT_LOCK);
}

PyDoc_STRVAR(lock_down_doc,
             "lock_down(keep, /)\n--\n\nLock this process down for ever, prove it, and say READY. Only the "
             "descriptors of `keep` and our own stay open. Ends the process where a layer fails.");

static PyObject *lock_down(PyObject *self, PyObject *keep)
{
    struct child *child = (struct child *)self;
    struct zygote *zygote = child->zygote;
    const struct qn_fork_request *request = &child->forked.request;
    bool network = request->flags & QN_FORK_NETWORK;
    int kept[MAX_KEPT];
    Py_ssize_t n = kept_descriptors(child, keep, kept);
    if (n < 0) {
        return NULL;
    }
    struct qn_lockdown lockdown = { .tier = zygote->tier,
                                    .network = network,
                                    .memory = request->memory,
                                    .files = request->files,
                                    .threads = request->threads,
                                    .keep = kept,
                                    .n_keep = (size_t)n,
                                    .proc_fd = zygote->proc_fd,
                                    .ruleset_fd = zygote->ruleset_fd,
                                    .filter = network ? zygote->filter_net : zygote->filter,
                                    .filter_size = network ? zygote->filter_net_size : zygote->filter_size };
    struct qn_error err = QN_ERROR_INIT;
    int listener = -1;
    if (qn_lockdown_apply(&lockdown, &listener, &err) != QN_OK || qn_lockdown_probe(&lockdown, &err) != QN_OK) {
        fail_lock_down(child, err.message);
    }
    child->locked = true;
    channel_send(child->channel.fd, QN_FRAME_READY, NULL, 0, listener);
    if (listener >= 0) {
        close(listener);
    }
    if (qn_lockdown_finish(&lockdown, &err) != QN_OK) {
        fail_lock_down(child, err.message);
    }
    Py_RETURN_NONE;
}

/* ---- the run ---- */

PyDoc_STRVAR(start_doc, "start()\n--\n\nWait for START; what is to be done, as a dict.");

static PyObject *start(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct child *child = (struct child *)self;
    if (!child->locked || child->started) {
        PyErr_SetString(PyExc_RuntimeError, "start comes once, after lock_down");
        return NULL;
    }
    child->started = true;
    return child_start(child);
}

/* The text as UTF-8, lone surrogates escaped, at most `limit` bytes, cut at the border of a character. *owner_out keeps it. */
static const char *text_bytes(PyObject *text, size_t limit, size_t *size_out, PyObject **owner_out)
{
    Py_ssize_t size = 0;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);
    *owner_out = NULL;
    if (bytes == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return NULL;
        }
        PyErr_Clear();
        *owner_out = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
        if (*owner_out == NULL) {
            return NULL;
        }
        bytes = PyBytes_AS_STRING(*owner_out);
        size = PyBytes_GET_SIZE(*owner_out);
    }
    size_t kept = (size_t)size;
    if (kept > limit) {
        kept = limit;
        while (kept > 0 && ((unsigned char)bytes[kept] & 0xC0) == 0x80) {
            kept--;
        }
    }
    *size_out = kept;
    return bytes;
}

PyDoc_STRVAR(
    log_doc,
    "log(level, text, line, row=None, /)\n--\n\nOne message at once. `level`: 0 trace to 4 error; `line` of the "
    "statement, 0 unknown; `row` of the input, the current one where it is not given.");

static PyObject *log_message(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    struct child *child = (struct child *)self;
    if (n < 3 || n > 4 || !PyUnicode_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "log takes a level, a text, a line and perhaps a row");
        return NULL;
    }
    long level = PyLong_AsLong(args[0]);
    long line = PyLong_AsLong(args[2]);
    long long row = n > 3 && args[3] != Py_None ? PyLong_AsLongLong(args[3]) : child->drive.row;
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (level < QN_RUN_TRACE || level > QN_RUN_ERROR) {
        PyErr_SetString(PyExc_ValueError, "a level is 0 to 4");
        return NULL;
    }
    struct qn_frame_log head = { .level = (uint32_t)level,
                                 .line = line > 0 && line <= INT32_MAX ? (uint32_t)line : 0,
                                 .row = row };
    PyObject *owner = NULL;
    size_t size = 0;
    const char *text = text_bytes(args[1], QN_FRAME_MAX_LOG - sizeof head, &size, &owner);
    if (text == NULL) {
        return NULL;
    }
    struct iovec parts[] = { { .iov_base = &head, .iov_len = sizeof head },
                             { .iov_base = (void *)(uintptr_t)text, .iov_len = size } };
    channel_send(child->channel.fd, QN_FRAME_LOG, parts, 2, -1);
    Py_XDECREF(owner);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    read_doc,
    "read(rows=0, /)\n--\n\nThe next rows of the input as a list of dicts, at most `rows` of them; None at the "
    "end.");

static PyObject *read_rows(PyObject *self, PyObject *args)
{
    long long rows = 0;
    if (!PyArg_ParseTuple(args, "|L:read", &rows)) {
        return NULL;
    }
    return child_input_read((struct child *)self, rows);
}

static PyObject *ended(enum drive_end end)
{
    if (end == DRIVE_FAILED) {
        return NULL;
    }
    return PyBool_FromLong(end == DRIVE_OK);
}

PyDoc_STRVAR(run_rows_doc,
             "run_rows(function, checkpoint, /)\n--\n\nRow mode over all of the input: function(INPUT_DATA, "
             "DATA_CHECKPOINT) once "
             "a row; what it returns is put out. False where the statement awaits something that is not there.");

static PyObject *run_rows(PyObject *self, PyObject *args)
{
    struct child *child = (struct child *)self;
    if (!PyArg_ParseTuple(args, "OO:run_rows", &child->drive.function, &child->drive.checkpoint)) {
        return NULL;
    }
    int64_t first = 0;
    enum drive_end end = DRIVE_OK;
    int got = 1;
    while (end == DRIVE_OK) {
        qn_auto_array batch = { .release = NULL };
        got = child_input_next(child, &batch);
        if (got <= 0) {
            break;
        }
        end = drive_batch(&child->drive, child->input.rows, &batch, first);
        first += batch.length;
    }
    return got < 0 ? NULL : ended(end);
}

PyDoc_STRVAR(call_doc,
             "call(function, rows, checkpoint, /)\n--\n\nOne call with a list of rows: what it returns, in a tuple; "
             "None where it awaits something that is not there.");

static PyObject *call(PyObject *self, PyObject *args)
{
    struct child *child = (struct child *)self;
    PyObject *rows = NULL;
    if (!PyArg_ParseTuple(args, "OO!O:call", &child->drive.function, &PyList_Type, &rows, &child->drive.checkpoint)) {
        return NULL;
    }
    PyObject *result = NULL;
    child->drive.row = -1;
    child->drive.rows_in += PyList_GET_SIZE(rows);
    uint64_t begun = worker_nanos();
    enum drive_end end = drive_call(&child->drive, rows, &result);
    child->drive.run_nanos += worker_nanos() - begun;
    if (end == DRIVE_FAILED) {
        return NULL;
    }
    if (end == DRIVE_AWAITS) {
        Py_RETURN_NONE;
    }
    PyObject *tuple = PyTuple_New(1);
    if (tuple == NULL) {
        Py_XDECREF(result);
        return NULL;
    }
    PyTuple_SET_ITEM(tuple, 0, result);
    return tuple;
}

PyDoc_STRVAR(put_doc, "put(returned, /)\n--\n\nPut out what a call returned: a list of dicts of the output schema.");

static PyObject *put(PyObject *self, PyObject *returned)
{
    struct drive *drive = &((struct child *)self)->drive;
    uint64_t begun = worker_nanos();
    int result = drive_put(drive, returned);
    drive->write_nanos += worker_nanos() - begun;
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(put_stream_doc,
             "put_stream(capsule, hint='', /)\n--\n\nPut out a frame: a capsule of an Arrow stream. `hint` ends the "
             "message where it lacks a column.");

static PyObject *put_stream(PyObject *self, PyObject *args)
{
    struct child *child = (struct child *)self;
    PyObject *capsule = NULL;
    const char *hint = "";
    if (!PyArg_ParseTuple(args, "O|s:put_stream", &capsule, &hint)) {
        return NULL;
    }
    struct ArrowArrayStream *stream = PyCapsule_GetPointer(capsule, "arrow_array_stream");
    if (stream == NULL) {
        return NULL;
    }
    if (stream->release == NULL) {
        PyErr_SetString(PyExc_ValueError, "the stream was used up already");
        return NULL;
    }
    QN_ERROR_COPY(child->output.hint, hint, strlen(hint));
    if (child_output_flush(child, child->output.rows) < 0 || child_put_stream(child, stream) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(put_columns_doc,
             "put_columns(rows, columns, hint, /)\n--\n\nPut out a frame given as a list of tuples (name, format, "
             "values, nulls); see worker.h.");

static PyObject *put_columns(PyObject *self, PyObject *args)
{
    struct child *child = (struct child *)self;
    long long rows;
    PyObject *columns = NULL;
    const char *hint = "";
    if (!PyArg_ParseTuple(args, "LO!s:put_columns", &rows, &PyList_Type, &columns, &hint)) {
        return NULL;
    }
    QN_ERROR_COPY(child->output.hint, hint, strlen(hint));
    if (child_output_flush(child, child->output.rows) < 0 || child_put_columns(child, rows, columns) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(flush_doc, "flush()\n--\n\nSend the rows that are still here.");

static PyObject *flush(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct child *child = (struct child *)self;
    if (child->output.rows != NULL) {
        uint64_t begun = worker_nanos();
        if (child_output_flush(child, child->output.rows) < 0) {
            return NULL;
        }
        child->drive.write_nanos += worker_nanos() - begun;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(done_doc,
             "done(kind, text, line, column, row, flags, rows_in, compile_nanos, run_nanos, /)\n--\n\nSay how the run "
             "ended, and end the process: nothing of the interpreter is finalised. `rows_in` and `run_nanos` are added "
             "to what was driven from here.");

static PyObject *done(PyObject *self, PyObject *args)
{
    struct child *child = (struct child *)self;
    unsigned int kind;
    unsigned int line;
    unsigned int column;
    unsigned int flags;
    PyObject *text = NULL;
    long long row;
    long long rows_in;
    unsigned long long compile_nanos;
    unsigned long long run_nanos;
    if (!PyArg_ParseTuple(args, "IUIILILKK:done", &kind, &text, &line, &column, &row, &flags, &rows_in, &compile_nanos,
                          &run_nanos)) {
        return NULL;
    }
    const struct drive *drive = &child->drive;
    struct qn_frame_done head = { .kind = kind,
                                  .line = line,
                                  .column = column,
                                  .flags = flags,
                                  .row = row,
                                  .rows_in = drive->rows_in + rows_in,
                                  .rows_out = drive->rows_out + child->output.frame_rows,
                                  .compile_nanos = compile_nanos,
                                  .read_nanos = drive->read_nanos + child->input.nanos,
                                  .run_nanos = drive->run_nanos + run_nanos,
                                  .write_nanos = drive->write_nanos + child->output.frame_nanos };
    PyObject *owner = NULL;
    size_t size = 0;
    const char *bytes = text_bytes(text, MAX_DONE_TEXT, &size, &owner);
    if (bytes == NULL) {
        return NULL;
    }
    struct iovec parts[] = { { .iov_base = &head, .iov_len = sizeof head },
                             { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size } };
    channel_send(child->channel.fd, QN_FRAME_DONE, parts, 2, -1);
    _exit(WORKER_EXIT_DONE);
}

/* ---- attributes ---- */

static PyObject *get_row(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(((struct child *)self)->drive.row);
}

static int set_row(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    long long row = value != NULL ? PyLong_AsLongLong(value) : -1;
    if (row == -1 && PyErr_Occurred()) {
        return -1;
    }
    ((struct child *)self)->drive.row = row;
    return 0;
}

static PyObject *get_names_fd(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((struct child *)self)->forked.names_fd);
}

static PyObject *get_network(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct child *)self)->forked.request.flags & QN_FORK_NETWORK);
}

static PyObject *get_refused_memory(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(refused_memory(((struct child *)self)->forked.request.memory));
}

static PyObject *get_data_nanos(PyObject *self, void *unused)
{
    (void)unused;
    const struct child *child = (struct child *)self;
    return PyLong_FromUnsignedLongLong(child->input.nanos + child->drive.read_nanos + child->drive.write_nanos +
                                       child->output.frame_nanos);
}

static PyMethodDef methods[] = { { "lock_down", lock_down, METH_O, lock_down_doc },
                                 { "start", start, METH_NOARGS, start_doc },
                                 { "log", (PyCFunction)(void (*)(void))log_message, METH_FASTCALL, log_doc },
                                 { "read", read_rows, METH_VARARGS, read_doc },
                                 { "run_rows", run_rows, METH_VARARGS, run_rows_doc },
                                 { "call", call, METH_VARARGS, call_doc },
                                 { "put", put, METH_O, put_doc },
                                 { "put_stream", put_stream, METH_VARARGS, put_stream_doc },
                                 { "put_columns", put_columns, METH_VARARGS, put_columns_doc },
                                 { "flush", flush, METH_NOARGS, flush_doc },
                                 { "done", done, METH_VARARGS, done_doc },
                                 { NULL, NULL, 0, NULL } };

static PyGetSetDef attributes[] = {
    { "row", get_row, set_row, "The row of the input that runs now; -1: none.", NULL },
    { "data_nanos", get_data_nanos, NULL, "What reading and putting out rows has taken so far.", NULL },
    { "names_fd", get_names_fd, NULL, "The socket that answers names; -1 without network.", NULL },
    { "refused_memory", get_refused_memory, NULL, "Whether memory may have been refused to this process.", NULL },
    { "network", get_network, NULL, "Whether the run may connect.", NULL },
    { NULL, NULL, NULL, NULL, NULL }
};

PyDoc_STRVAR(child_doc, "One run, in the process that was forked for it. Made by serve().");

static PyType_Slot slots[] = { { Py_tp_doc, (void *)(uintptr_t)child_doc },
                               { Py_tp_dealloc, dealloc },
                               { Py_tp_methods, methods },
                               { Py_tp_getset, attributes },
                               { 0, NULL } };

PyType_Spec child_spec = { .name = "_worker.Child",
                           .basicsize = sizeof(struct child),
                           .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                           .slots = slots };
