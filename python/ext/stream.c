/*
 * stream.c: the type Stream, a result that is read once: by iteration, or by whoever takes its Arrow stream.
 *
 * A Stream keeps its connection open. It is given away once (exported, or iterated); what it was given to may be read
 * without the GIL on any thread. The error that ended it stays here in full, because the protocols between libraries
 * carry only a text.
 */
#include "native.h"

struct stream_object {
    PyObject_HEAD
    struct native_state *state;
    struct native_stream_core *core;
    PyObject *connection;
    PyObject *sql;    /* or NULL */
    PyObject *schema; /* made on demand */
    bool exported;
};

PyObject *native_stream_new(struct native_state *state, struct native_stream_core *core, PyObject *connection,
                            PyObject *sql)
{
    struct stream_object *self = (struct stream_object *)state->stream_type->tp_alloc(state->stream_type, 0);
    if (self == NULL) {
        Py_BEGIN_ALLOW_THREADS native_core_unref(core);
        Py_END_ALLOW_THREADS return NULL;
    }
    self->state = state;
    self->core = core;
    self->connection = Py_NewRef(connection);
    self->sql = Py_XNewRef(sql);
    return (PyObject *)self;
}

struct native_stream_core *native_stream_take(struct native_state *state, PyObject *stream)
{
    struct stream_object *self = (struct stream_object *)stream;
    if (self->exported) {
        native_fail(state, QN_ERR_CLOSED, "the stream has been handed out already: a stream is read once");
        return NULL;
    }
    self->exported = true;
    return self->core;
}

/* A capsule with a stream over the core, in the layouts of `requested` where there is one. */
static PyObject *export(struct stream_object *self, const struct ArrowSchema *requested)
{
    struct qn_error err;
    qn_error_clear(&err);
    struct ArrowArrayStream stream;
    struct native_stream_core *core = native_stream_take(self->state, (PyObject *)self);
    if (core == NULL) {
        return NULL;
    }
    if (native_core_export(core, &stream, &err) != QN_OK) {
        return native_raise(self->state, &err, NULL);
    }
    if (requested != NULL) {
        struct ArrowArrayStream converted;
        if (qn_stream_with_layout(&stream, requested, &converted, &err) != QN_OK) {
            Py_BEGIN_ALLOW_THREADS stream.release(&stream);
            Py_END_ALLOW_THREADS return native_raise(self->state, &err, NULL);
        }
        stream = converted;
    }
    return native_stream_capsule(&stream);
}

PyDoc_STRVAR(stream_c_stream_doc,
             "__arrow_c_stream__(requested_schema=None)\n--\n\n"
             "The rows as an Arrow PyCapsule: string views, or the layouts that requested_schema asks for. Once.");

static PyObject *stream_c_stream(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = { "requested_schema", NULL };
    PyObject *capsule = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:__arrow_c_stream__", names, &capsule)) {
        return NULL;
    }
    bool failed = false;
    const struct ArrowSchema *requested = native_requested_schema(capsule, &failed);
    return failed ? NULL : export((struct stream_object *)object, requested);
}

PyDoc_STRVAR(stream_offsets_doc, "_export_offsets()\n--\n\n"
                                 "As __arrow_c_stream__, with strings and binaries in offset layout.");

static PyObject *stream_export_offsets(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct stream_object *self = (struct stream_object *)object;
    struct ArrowSchema wanted;
    if (!native_schema_copy(native_core_schema(self->core), NATIVE_LAYOUT_OFFSETS, &wanted)) {
        return PyErr_NoMemory();
    }
    PyObject *capsule = export(self, &wanted);
    wanted.release(&wanted);
    return capsule;
}

PyDoc_STRVAR(stream_c_schema_doc, "__arrow_c_schema__()\n--\n\nThe schema as an Arrow PyCapsule.");

static PyObject *stream_c_schema(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct ArrowSchema copy;
    const struct stream_object *self = (const struct stream_object *)object;
    if (!native_schema_copy(native_core_schema(self->core), NATIVE_LAYOUT_SAME, &copy)) {
        return PyErr_NoMemory();
    }
    return native_schema_capsule(&copy);
}

static PyObject *stream_schema(PyObject *object, void *closure)
{
    (void)closure;
    struct stream_object *self = (struct stream_object *)object;
    if (self->schema == NULL) {
        self->schema = native_schema_new(self->state, native_core_shared_schema(self->core));
    }
    return Py_XNewRef(self->schema);
}

static PyObject *stream_next(PyObject *object)
{
    struct stream_object *self = (struct stream_object *)object;
    if (self->exported) {
        return native_fail(self->state, QN_ERR_CLOSED, "the stream has been handed out already: a stream is read once");
    }
    PyObject *schema = stream_schema(object, NULL);
    if (schema == NULL) {
        return NULL;
    }
    struct ArrowArray batch = { .release = NULL };
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = native_core_next(self->core, &batch, &err);
    Py_END_ALLOW_THREADS PyObject *result = NULL;
    if (status != QN_OK) {
        native_raise(self->state, &err, self->sql);
    } else if (batch.release != NULL && !native_interrupt_take()) {
        result = native_batch_new(self->state, &batch, schema);
    }
    if (batch.release != NULL) {
        batch.release(&batch);
    }
    Py_DECREF(schema);
    return result;
}

PyDoc_STRVAR(
    stream_close_doc,
    "close()\n--\n\nCancel the query where it still runs. The connection is free then. Closing twice is allowed.");

static PyObject *stream_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct stream_object *self = (struct stream_object *)object;
    Py_BEGIN_ALLOW_THREADS native_core_close(self->core);
    Py_END_ALLOW_THREADS if (native_interrupt_take())
    {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_raise_doc, "_raise_failure()\n--\n\nRaise what ended the stream: a signal handler's exception, or "
                               "the query's error. Nothing where it has not failed.");

static PyObject *stream_raise_failure(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct stream_object *self = (struct stream_object *)object;
    if (native_interrupt_take()) {
        return NULL;
    }
    const struct qn_error *err = native_core_error(self->core);
    if (err != NULL) {
        return native_raise(self->state, err, self->sql);
    }
    Py_RETURN_NONE;
}

static PyObject *stream_closed(PyObject *object, void *closure)
{
    (void)closure;
    return PyBool_FromLong(native_core_is_closed(((struct stream_object *)object)->core));
}

static PyObject *stream_renamed(PyObject *object, void *closure)
{
    (void)closure;
    return PyBool_FromLong(native_core_renamed(((struct stream_object *)object)->core));
}

static PyObject *stream_connection(PyObject *object, void *closure)
{
    (void)closure;
    return Py_NewRef(((struct stream_object *)object)->connection);
}

static int stream_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct stream_object *self = (struct stream_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->connection);
    return 0;
}

static int stream_clear(PyObject *object)
{
    Py_CLEAR(((struct stream_object *)object)->connection);
    return 0;
}

static void stream_dealloc(PyObject *object)
{
    struct stream_object *self = (struct stream_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    /* A stream that was exported lives on with whoever has it; one that was not ends here, with its statement. */
    Py_BEGIN_ALLOW_THREADS native_core_unref(self->core);
    Py_END_ALLOW_THREADS Py_XDECREF(self->connection);
    Py_XDECREF(self->sql);
    Py_XDECREF(self->schema);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef stream_methods[] = {
    { "__arrow_c_stream__", (PyCFunction)(void (*)(void))stream_c_stream, METH_VARARGS | METH_KEYWORDS,
      stream_c_stream_doc },
    { "__arrow_c_schema__", stream_c_schema, METH_NOARGS, stream_c_schema_doc },
    { "_export_offsets", stream_export_offsets, METH_NOARGS, stream_offsets_doc },
    { "_raise_failure", stream_raise_failure, METH_NOARGS, stream_raise_doc },
    { "close", stream_close, METH_NOARGS, stream_close_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef stream_attributes[] = {
    { "schema", stream_schema, NULL, "The columns, a Schema.", NULL },
    { "closed", stream_closed, NULL, "Whether no more rows will come: read to the end, failed or closed.", NULL },
    { "_renamed", stream_renamed, NULL, "Whether columns were renamed because their names were not unique.", NULL },
    { "_connection", stream_connection, NULL, "The connection that the rows come from.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot stream_slots[] = {
    { Py_tp_dealloc, stream_dealloc }, { Py_tp_traverse, stream_traverse },          { Py_tp_clear, stream_clear },
    { Py_tp_methods, stream_methods }, { Py_tp_getset, stream_attributes },          { Py_tp_iter, PyObject_SelfIter },
    { Py_tp_iternext, stream_next },   { Py_tp_doc, "A result that is read once." }, { 0, NULL },
};

PyType_Spec native_stream_spec = {
    .name = "qanat._native.Stream",
    .basicsize = sizeof(struct stream_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = stream_slots,
};
