/*
 * execution.c: the type Execution: one run of a statement that has ended, its rows, its log and how it went.
 *
 * The run happens without the GIL in native_execution_run; afterwards nothing changes, and the engine's execution is gone.
 * Rows are kept only of a run that ended well, and can be had as a Stream any number of times.
 */
#include "native.h"

#include <stdlib.h>
#include <string.h>

/* Batches that share a schema. */
struct kept_rows {
    struct native_shared_schema *schema; /* NULL: nothing is kept */
    struct native_shared_array **batches;
    size_t count, capacity;
};

struct execution_object {
    PyObject_HEAD
    struct native_state *state;
    struct kept_rows rows;
    struct kept_rows checkpoint; /* one batch of one row and one column, or nothing */
    PyObject *result;            /* a dict */
    PyObject *logs;              /* a list of (level, message, line, row) */
};

static struct execution_object *execution_of(PyObject *object)
{
    return (struct execution_object *)object;
}

/* ---- batches that are kept (no GIL needed) ------------------------------------------------------------------------- */

static void drop_batches(struct kept_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        native_shared_array_unref(rows->batches[i]);
    }
    free(rows->batches);
    rows->batches = NULL;
    rows->count = 0;
    rows->capacity = 0;
}

/* Takes `batch` over on success. */
static enum qn_status keep_batch(struct kept_rows *rows, struct ArrowArray *batch, struct qn_error *err)
{
    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity == 0 ? 8 : rows->capacity * 2;
        struct native_shared_array **batches = reallocarray(rows->batches, capacity, sizeof(*batches));
        if (batches == NULL) {
            return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
        }
        rows->batches = batches;
        rows->capacity = capacity;
    }
    struct native_shared_array *shared = native_shared_array_new(batch);
    if (shared == NULL) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    rows->batches[rows->count++] = shared;
    return QN_OK;
}

/* Every batch of a stream. */
static enum qn_status keep_stream(struct kept_rows *rows, struct ArrowArrayStream *stream, struct qn_error *err)
{
    struct ArrowSchema schema = { .release = NULL };
    if (stream->get_schema(stream, &schema) != 0) {
        return qn_stream_error(stream, err);
    }
    rows->schema = native_shared_schema_new(&schema);
    if (rows->schema == NULL) {
        schema.release(&schema);
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    for (;;) {
        struct ArrowArray batch = { .release = NULL };
        if (stream->get_next(stream, &batch) != 0) {
            return qn_stream_error(stream, err);
        }
        if (batch.release == NULL) {
            return QN_OK;
        }
        enum qn_status status = keep_batch(rows, &batch, err);
        if (status != QN_OK) {
            batch.release(&batch);
            return status;
        }
    }
}

/* ---- running (no GIL) ---------------------------------------------------------------------------------------------- */

static enum qn_status read_to_end(struct execution_object *self, struct qn_execution *execution, struct qn_error *err)
{
    for (;;) {
        struct ArrowArray batch = { .release = NULL };
        enum qn_status status = qn_execution_next(execution, &batch, err);
        if (status != QN_OK || batch.release == NULL) {
            return status;
        }
        status = keep_batch(&self->rows, &batch, err);
        if (status != QN_OK) {
            batch.release(&batch);
            return status;
        }
    }
}

static enum qn_status keep_checkpoint(struct execution_object *self, struct qn_execution *execution,
                                      struct qn_error *err)
{
    struct ArrowArrayStream stream = { .release = NULL };
    enum qn_status status = qn_execution_checkpoint(execution, &stream, err);
    if (status != QN_OK || stream.release == NULL) {
        return status;
    }
    status = keep_stream(&self->checkpoint, &stream, err);
    stream.release(&stream);
    return status;
}

static void release_both(struct ArrowArrayStream *rows, struct ArrowArrayStream *checkpoint)
{
    if (rows->release != NULL) {
        rows->release(rows);
    }
    if (checkpoint->release != NULL) {
        checkpoint->release(checkpoint);
    }
}

static enum qn_status run(struct execution_object *self, struct qn_processor *processor, struct ArrowArrayStream *rows,
                          struct ArrowArrayStream *checkpoint, struct qn_execution **out, struct qn_error *err)
{
    struct qn_execution_options options = QN_EXECUTION_OPTIONS_INIT;
    options.checkpoint = checkpoint->release != NULL ? checkpoint : NULL;
    enum qn_status status = qn_execution_start(processor, rows->release != NULL ? rows : NULL, &options, out, err);
    if (status != QN_OK) {
        release_both(rows, checkpoint);
        return status;
    }
    status = read_to_end(self, *out, err);
    if (status != QN_OK) {
        return status;
    }
    struct qn_execution_result result = { .struct_size = sizeof result };
    qn_execution_result(*out, &result);
    if (result.status == QN_EXECUTION_OK) {
        return keep_checkpoint(self, *out, err);
    }
    drop_batches(&self->rows); /* what a failed run returned does not count */
    return QN_OK;
}

/* ---- how it went --------------------------------------------------------------------------------------------------- */

static PyObject *text_of(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

/* A new reference; None for `nothing`. */
static PyObject *number_or_none(int64_t number, int64_t nothing)
{
    return number == nothing ? Py_NewRef(Py_None) : PyLong_FromLongLong((long long)number);
}

static PyObject *result_dict(const struct qn_execution *execution)
{
    struct qn_execution_result r = { .struct_size = sizeof r };
    qn_execution_result(execution, &r);
    return Py_BuildValue(
        "{s:s,s:N,s:N,s:N,s:L,s:L,s:s,s:d,s:d,s:d,s:d,s:d,s:d,s:d,s:L,s:L,s:L,s:L}", "status",
        qn_execution_status_name(r.status), "message", text_of(r.message), "line", number_or_none(r.line, 0), "row",
        number_or_none(r.row, -1), "rows_in", (long long)r.rows_in, "rows_out", (long long)r.rows_out, "tier", r.tier,
        "seconds", r.seconds, "seconds_start", r.seconds_start, "seconds_compile", r.seconds_compile, "seconds_read",
        r.seconds_read, "seconds_run", r.seconds_run, "seconds_write", r.seconds_write, "seconds_killed",
        r.seconds_killed, "peak_memory", (long long)r.peak_memory, "output_bytes", (long long)r.output_bytes,
        "log_bytes", (long long)r.log_bytes, "logs_dropped", (long long)r.logs_dropped);
}

static PyObject *log_list(struct native_state *state, const struct qn_execution *execution)
{
    struct qn_execution_result result = { .struct_size = sizeof result };
    qn_execution_result(execution, &result);
    PyObject *logs = PyList_New((Py_ssize_t)result.n_logs);
    for (int64_t i = 0; logs != NULL && i < result.n_logs; i++) {
        struct qn_execution_log log = { .level = "" };
        struct qn_error err = QN_ERROR_INIT;
        PyObject *entry = NULL;
        if (qn_execution_log(execution, i, &log, &err) != QN_OK) {
            native_raise(state, &err, NULL);
        } else {
            entry = Py_BuildValue("(sNNN)", log.level, text_of(log.message), number_or_none(log.line, 0),
                                  number_or_none(log.row, -1));
        }
        if (entry == NULL) {
            Py_CLEAR(logs);
        } else {
            PyList_SET_ITEM(logs, (Py_ssize_t)i, entry);
        }
    }
    return logs;
}

PyObject *native_execution_run(struct native_state *state, struct qn_processor *processor,
                               struct native_shared_schema *schema, struct ArrowArrayStream *rows,
                               struct ArrowArrayStream *checkpoint)
{
    struct execution_object *self =
        (struct execution_object *)state->execution_type->tp_alloc(state->execution_type, 0);
    if (self == NULL) {
        Py_BEGIN_ALLOW_THREADS release_both(rows, checkpoint);
        Py_END_ALLOW_THREADS return NULL;
    }
    self->state = state;
    self->rows.schema = native_shared_schema_ref(schema);
    struct qn_execution *execution = NULL;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = run(self, processor, rows, checkpoint, &execution, &err);
    Py_END_ALLOW_THREADS if (status != QN_OK)
    {
        native_raise(state, &err, NULL);
    }
    else if (!native_interrupt_take())
    {
        self->result = result_dict(execution);
        self->logs = self->result == NULL ? NULL : log_list(state, execution);
    }
    Py_BEGIN_ALLOW_THREADS qn_execution_free(execution);
    Py_END_ALLOW_THREADS if (self->logs == NULL)
    {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* ---- the type ------------------------------------------------------------------------------------------------------ */

/* A new Stream over batches that are kept. */
static PyObject *stream_of(struct native_state *state, const struct kept_rows *rows)
{
    struct ArrowSchema schema = { .release = NULL };
    struct ArrowArray *arrays = calloc(rows->count + 1, sizeof *arrays);
    bool copied = arrays != NULL && native_schema_copy(&rows->schema->schema, NATIVE_LAYOUT_SAME, &schema);
    size_t count = 0;
    while (copied && count < rows->count && native_shared_array_export(rows->batches[count], &arrays[count])) {
        count++;
    }
    struct ArrowArrayStream stream = { .release = NULL };
    PyObject *result = NULL;
    if (!copied || count < rows->count || !native_stream_of_batches(&schema, arrays, count, &stream)) {
        if (copied) {
            schema.release(&schema);
        }
        for (size_t i = 0; i < count; i++) {
            arrays[i].release(&arrays[i]);
        }
        PyErr_NoMemory();
    } else {
        struct native_stream_core *core = NULL;
        struct qn_error err = QN_ERROR_INIT;
        if (native_core_new(&stream, NULL, &core, &err) != QN_OK) {
            stream.release(&stream);
            native_raise(state, &err, NULL);
        } else {
            result = native_stream_new(state, core, Py_None, NULL);
        }
    }
    free(arrays);
    return result;
}

PyDoc_STRVAR(execution_rows_doc, "_rows()\n--\n\nThe rows as a new Stream: none where the run did not end well.");

static PyObject *execution_rows(PyObject *object, PyObject *unused)
{
    (void)unused;
    return stream_of(execution_of(object)->state, &execution_of(object)->rows);
}

PyDoc_STRVAR(execution_checkpoint_doc,
             "_checkpoint()\n--\n\nThe checkpoint as a new Stream of one row and one column, or None.");

static PyObject *execution_checkpoint(PyObject *object, PyObject *unused)
{
    (void)unused;
    const struct kept_rows *checkpoint = &execution_of(object)->checkpoint;
    return checkpoint->schema == NULL ? Py_NewRef(Py_None) : stream_of(execution_of(object)->state, checkpoint);
}

static PyObject *execution_result(PyObject *object, void *closure)
{
    (void)closure;
    return PyDict_Copy(execution_of(object)->result);
}

static PyObject *execution_logs(PyObject *object, void *closure)
{
    (void)closure;
    PyObject *logs = execution_of(object)->logs;
    return PyList_GetSlice(logs, 0, PyList_GET_SIZE(logs));
}

static void execution_dealloc(PyObject *object)
{
    struct execution_object *self = execution_of(object);
    PyTypeObject *type = Py_TYPE(object);
    drop_batches(&self->rows);
    drop_batches(&self->checkpoint);
    native_shared_schema_unref(self->rows.schema);
    native_shared_schema_unref(self->checkpoint.schema);
    Py_XDECREF(self->result);
    Py_XDECREF(self->logs);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef execution_methods[] = {
    { "_rows", execution_rows, METH_NOARGS, execution_rows_doc },
    { "_checkpoint", execution_checkpoint, METH_NOARGS, execution_checkpoint_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef execution_attributes[] = {
    { "result", execution_result, NULL, "How it went, a dict.", NULL },
    { "logs", execution_logs, NULL, "What the statement said: a list of (level, message, line, row).", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot execution_slots[] = {
    { Py_tp_dealloc, execution_dealloc },
    { Py_tp_methods, execution_methods },
    { Py_tp_getset, execution_attributes },
    { Py_tp_doc, "One run of a statement that has ended." },
    { 0, NULL },
};

PyType_Spec native_execution_spec = {
    .name = "qanat._native.Execution",
    .basicsize = sizeof(struct execution_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = execution_slots,
};
