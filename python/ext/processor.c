/*
 * processor.c: the Python type _native.Processor: a statement with its schema and limits, which can be run.
 *
 * The plan comes as JSON text; qanat/processor.py writes it. Immutable after construction, so any number of threads may
 * run it at once. No GIL is held while a statement is checked or runs.
 */
#include "native.h"

#include <string.h>

struct processor_object {
    PyObject_HEAD
    struct native_state *state;
    struct qn_processor *processor;
    struct native_shared_schema *schema; /* of the output */
};

static struct processor_object *processor_of(PyObject *object)
{
    return (struct processor_object *)object;
}

static enum qn_status make(const char *json, struct qn_processor **processor_out,
                           struct native_shared_schema **schema_out, struct qn_error *err)
{
    struct qn_processor *processor = NULL;
    struct ArrowSchema schema = { .release = NULL };
    enum qn_status status = qn_processor_new(json, strlen(json), &processor, err);
    if (status != QN_OK) {
        return status;
    }
    status = qn_processor_schema(processor, &schema, err);
    struct native_shared_schema *shared = status == QN_OK ? native_shared_schema_new(&schema) : NULL;
    if (shared == NULL) {
        if (status == QN_OK) {
            schema.release(&schema);
            status = qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
        }
        qn_processor_free(processor);
        return status;
    }
    *processor_out = processor;
    *schema_out = shared;
    return QN_OK;
}

static PyObject *processor_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = { "plan", NULL };
    PyObject *plan = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "U:Processor", names, &plan)) {
        return NULL;
    }
    struct native_state *state = native_state_of_type(type);
    const char *json = state == NULL ? NULL : native_text(state, plan, "plan");
    if (json == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    struct qn_processor *processor = NULL;
    struct native_shared_schema *schema = NULL;
    if (make(json, &processor, &schema, &err) != QN_OK) {
        return native_raise(state, &err, NULL);
    }
    struct processor_object *self = (struct processor_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        qn_processor_free(processor);
        native_shared_schema_unref(schema);
        return NULL;
    }
    self->state = state;
    self->processor = processor;
    self->schema = schema;
    return (PyObject *)self;
}

static void processor_dealloc(PyObject *object)
{
    struct processor_object *self = processor_of(object);
    PyTypeObject *type = Py_TYPE(object);
    Py_BEGIN_ALLOW_THREADS qn_processor_free(self->processor);
    Py_END_ALLOW_THREADS native_shared_schema_unref(self->schema);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(processor_check_doc,
             "_check()\n--\n\nHave the statement checked in the sandbox, without running it. None where it is fine, "
             "otherwise (line, column, message).");

static PyObject *processor_check(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct processor_object *self = processor_of(object);
    struct qn_statement_problem problem = QN_STATEMENT_PROBLEM_INIT;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = QN_OK;
    native_log_refresh(self->state);
    Py_BEGIN_ALLOW_THREADS status = qn_processor_check(self->processor, &problem, &err);
    Py_END_ALLOW_THREADS if (status == QN_OK)
    {
        Py_RETURN_NONE;
    }
    if (status != QN_ERR_QUERY || native_interrupt_take()) {
        return PyErr_Occurred() ? NULL : native_raise(self->state, &err, NULL);
    }
    const char *message = problem.message[0] != '\0' ? problem.message : err.message;
    PyObject *text = PyUnicode_DecodeUTF8(message, (Py_ssize_t)strlen(message), "replace");
    return text == NULL ? NULL : Py_BuildValue("(iiN)", (int)problem.line, (int)problem.column, text);
}

/* The rows and the checkpoint of a call; released where None was given. */
static int import_arguments(struct processor_object *self, PyObject *const *args, Py_ssize_t count,
                            struct ArrowArrayStream *rows, struct ArrowArrayStream *checkpoint)
{
    rows->release = NULL;
    checkpoint->release = NULL;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "rows and a checkpoint are needed");
        return -1;
    }
    if (args[1] != Py_None && native_rows_import(self->state, args[1], checkpoint) < 0) {
        return -1;
    }
    if (args[0] != Py_None && native_rows_import(self->state, args[0], rows) < 0) {
        if (checkpoint->release != NULL) {
            checkpoint->release(checkpoint);
        }
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(processor_run_doc,
             "_run(rows, checkpoint)\n--\n\nRun once over objects with an Arrow interface (rows: None for a statement "
             "without input; checkpoint: one row, one column, or None) and return the Execution.");

static PyObject *processor_run(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct processor_object *self = processor_of(object);
    struct ArrowArrayStream rows;
    struct ArrowArrayStream checkpoint;
    if (import_arguments(self, args, count, &rows, &checkpoint) < 0) {
        return NULL;
    }
    native_log_refresh(self->state);
    return native_execution_run(self->state, self->processor, self->schema, &rows, &checkpoint);
}

PyDoc_STRVAR(processor_stream_doc, "_stream(rows, checkpoint)\n--\n\nThe same as a Stream, with bounded memory.");

static enum qn_status open_stream(struct processor_object *self, struct ArrowArrayStream *rows,
                                  struct ArrowArrayStream *checkpoint, struct native_stream_core **out,
                                  struct qn_error *err)
{
    struct qn_execution_options options = QN_EXECUTION_OPTIONS_INIT;
    struct ArrowArrayStream stream;
    options.checkpoint = checkpoint->release != NULL ? checkpoint : NULL;
    struct ArrowArrayStream *given = rows->release != NULL ? rows : NULL;
    enum qn_status status = qn_processor_stream(self->processor, given, &options, &stream, err);
    if (status != QN_OK) {
        if (given != NULL) {
            rows->release(rows);
        }
        if (checkpoint->release != NULL) {
            checkpoint->release(checkpoint);
        }
        return status;
    }
    status = native_core_new(&stream, NULL, out, err);
    if (status != QN_OK) {
        stream.release(&stream);
    }
    return status;
}

static PyObject *processor_stream(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct processor_object *self = processor_of(object);
    struct ArrowArrayStream rows;
    struct ArrowArrayStream checkpoint;
    if (import_arguments(self, args, count, &rows, &checkpoint) < 0) {
        return NULL;
    }
    struct native_stream_core *core = NULL;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = QN_OK;
    native_log_refresh(self->state);
    Py_BEGIN_ALLOW_THREADS status = open_stream(self, &rows, &checkpoint, &core, &err);
    Py_END_ALLOW_THREADS if (status != QN_OK)
    {
        return native_raise(self->state, &err, NULL);
    }
    return native_stream_new(self->state, core, Py_None, NULL);
}

static PyObject *processor_schema(PyObject *object, void *closure)
{
    (void)closure;
    return native_schema_new(processor_of(object)->state, processor_of(object)->schema);
}

#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef processor_methods[] = {
    { "_check", processor_check, METH_NOARGS, processor_check_doc },
    { "_run", FASTCALL(processor_run), METH_FASTCALL, processor_run_doc },
    { "_stream", FASTCALL(processor_stream), METH_FASTCALL, processor_stream_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef processor_attributes[] = {
    { "schema", processor_schema, NULL, "The columns of the output, a Schema.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot processor_slots[] = {
    { Py_tp_new, processor_new },
    { Py_tp_dealloc, processor_dealloc },
    { Py_tp_methods, processor_methods },
    { Py_tp_getset, processor_attributes },
    { Py_tp_doc, "A statement, its schema and its limits." },
    { 0, NULL },
};

PyType_Spec native_processor_spec = {
    .name = "qanat._native.Processor",
    .basicsize = sizeof(struct processor_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = processor_slots,
};
