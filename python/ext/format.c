/*
 * format.c: file formats that are written in Python: parquet, csv, json and jsonl (qanat/_formats.py) in the library's table.
 *
 * Everything that can be said in Python is said there; the GIL, exceptions and batches are into_python.c's. Here: the table's
 * functions, and the type FormatSink, the file that a writer writes to. A batch that is written is shared, not copied: the
 * caller keeps its struct, whose memory lives until the writer has let go of it too. Threads: every function of a format is
 * called without the GIL, on any thread, and takes it; the library is called without it.
 */
#include "native.h"

#include <stdlib.h>

#include <qanat/plugin/format.h>

#define MODULE "qanat._formats"

static const struct native_code code = { MODULE, "a format", QN_ERR_INTERNAL };

/* A registered format; it lives as long as the process. */
struct python_format {
    struct qn_format format;
    char *texts; /* name, suffixes, content types and options, NULs between */
    char *magic;
    struct native_state *state;
    PyObject *object; /* has read(), and count() and writer() where the format has these */
};

struct python_writer {
    struct native_state *state;
    PyObject *object; /* has write() and finish() */
    PyObject *schema; /* a Schema of ours */
    PyObject *sink;
};

static enum qn_status fail(struct qn_error *err)
{
    return native_into_python_fail(&code, err);
}

/* ---- the file that a writer writes to -------------------------------------------------------------------------- */

struct sink_object {
    PyObject_HEAD
    struct native_state *state;
    const struct qn_format_sink *sink; /* NULL: closed, or its writer is gone */
    long long written;
    struct qn_error failure; /* of the sink; QN_OK: none */
};

PyDoc_STRVAR(sink_write_doc, "write(data)\n--\n\nHand bytes to whoever keeps the file; returns how many.");

static PyObject *sink_write(PyObject *object, PyObject *data)
{
    struct sink_object *self = (struct sink_object *)object;
    Py_buffer bytes;
    if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (self->sink == NULL) {
        PyBuffer_Release(&bytes);
        return native_fail(self->state, QN_ERR_CLOSED, "the file is closed");
    }
    enum qn_status status = self->failure.status;
    const struct qn_format_sink *sink = self->sink;
    if (status == QN_OK) {
        struct qn_error err = QN_ERROR_INIT;
        Py_BEGIN_ALLOW_THREADS;
        status = sink->write(sink->context, bytes.buf, (size_t)bytes.len, &err);
        Py_END_ALLOW_THREADS;
        if (status != QN_OK) {
            err.status = status;
            self->failure = err;
        }
    }
    Py_ssize_t size = bytes.len;
    PyBuffer_Release(&bytes);
    if (status != QN_OK) {
        return native_raise(self->state, &self->failure, NULL);
    }
    self->written += size;
    return PyLong_FromSsize_t(size);
}

static PyObject *sink_nothing(PyObject *object, PyObject *unused)
{
    (void)object;
    (void)unused;
    Py_RETURN_NONE;
}

static PyObject *sink_tell(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLongLong(((struct sink_object *)object)->written);
}

static PyObject *sink_yes(PyObject *object, PyObject *unused)
{
    (void)object;
    (void)unused;
    Py_RETURN_TRUE;
}

static PyObject *sink_no(PyObject *object, PyObject *unused)
{
    (void)object;
    (void)unused;
    Py_RETURN_FALSE;
}

static PyObject *sink_closed(PyObject *object, void *closure)
{
    (void)closure;
    return PyBool_FromLong(((struct sink_object *)object)->sink == NULL);
}

static void sink_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef sink_methods[] = {
    { "write", sink_write, METH_O, sink_write_doc },
    { "tell", sink_tell, METH_NOARGS, "Bytes so far." },
    { "flush", sink_nothing, METH_NOARGS, "Nothing is held back." },
    { "close", sink_nothing, METH_NOARGS, "The file is closed by whoever keeps it." },
    { "writable", sink_yes, METH_NOARGS, "True." },
    { "readable", sink_no, METH_NOARGS, "False." },
    { "seekable", sink_no, METH_NOARGS, "False." },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef sink_attributes[] = {
    { "closed", sink_closed, NULL, "Whether nothing more can be written.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot sink_slots[] = {
    { Py_tp_dealloc, sink_dealloc },
    { Py_tp_methods, sink_methods },
    { Py_tp_getset, sink_attributes },
    { Py_tp_doc, "The file that a format writes to." },
    { 0, NULL },
};

PyType_Spec native_sink_spec = {
    .name = "qanat._native.FormatSink",
    .basicsize = sizeof(struct sink_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = sink_slots,
};

static PyObject *sink_new(struct native_state *state, const struct qn_format_sink *sink)
{
    struct sink_object *self = (struct sink_object *)state->sink_type->tp_alloc(state->sink_type, 0);
    if (self != NULL) {
        self->state = state;
        self->sink = sink;
        self->failure = (struct qn_error)QN_ERROR_INIT;
    }
    return (PyObject *)self;
}

/* The failure of a writer: its sink's own, where that is what failed. */
static enum qn_status writer_fail(const struct python_writer *writer, struct qn_error *err)
{
    const struct sink_object *sink = (const struct sink_object *)writer->sink;
    enum qn_status status = fail(err);
    if (sink != NULL && sink->failure.status != QN_OK && err != NULL) {
        *err = sink->failure;
        status = err->status;
    }
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* With the GIL. A stream of what read() gave: (schema, iterator of batches, whether all columns come). */
static enum qn_status make_stream(PyObject *told, struct ArrowArrayStream *out, bool *all_out, struct qn_error *err)
{
    PyObject *schema = NULL;
    PyObject *batches = NULL;
    int all = 1;
    if (!PyArg_ParseTuple(told, "OOp:read", &schema, &batches, &all)) {
        return fail(err);
    }
    enum qn_status status = native_stream_of_iterator(&code, schema, batches, out, err);
    if (status == QN_OK) {
        *all_out = all != 0;
    }
    return status;
}

static enum qn_status format_read(void *context, const struct qn_format_input *input, struct ArrowArrayStream *out,
                                  bool *all_out, struct qn_error *err)
{
    struct python_format *format = context;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    PyObject *columns =
        input->columns == NULL ? Py_NewRef(Py_None) : native_list_of_texts(input->columns, input->n_columns);
    PyObject *told = columns == NULL ? NULL
                                     : PyObject_CallMethod(format->object, "read", "isOz", input->fd, input->name,
                                                           columns, input->options);
    enum qn_status status = told == NULL ? fail(err) : make_stream(told, out, all_out, err);
    Py_XDECREF(told);
    Py_XDECREF(columns);
    native_callback_end(&call);
    return status;
}

static enum qn_status format_count(void *context, const struct qn_format_input *input, int64_t *rows_out,
                                   struct qn_error *err)
{
    struct python_format *format = context;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    PyObject *told = PyObject_CallMethod(format->object, "count", "isz", input->fd, input->name, input->options);
    long long rows = told == NULL ? -1 : PyLong_AsLongLong(told);
    enum qn_status status = PyErr_Occurred() != NULL ? fail(err) : QN_OK;
    if (status == QN_OK) {
        *rows_out = rows;
    }
    Py_XDECREF(told);
    native_callback_end(&call);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* With the GIL. */
static void writer_drop(struct python_writer *writer)
{
    if (writer->sink != NULL) {
        ((struct sink_object *)writer->sink)->sink = NULL;
    }
    Py_XDECREF(writer->object);
    Py_XDECREF(writer->schema);
    Py_XDECREF(writer->sink);
    free(writer);
}

static void format_writer_free(void *self)
{
    struct python_writer *writer = self;
    struct native_callback call;
    if (native_into_python_begin(&call, NULL)) {
        writer_drop(writer);
        native_callback_end(&call);
    } else {
        free(writer);
    }
}

/* A Schema of ours of a copy. */
static PyObject *schema_object(struct native_state *state, const struct ArrowSchema *schema)
{
    struct ArrowSchema copy;
    if (!native_schema_copy(schema, NATIVE_LAYOUT_SAME, &copy)) {
        return PyErr_NoMemory();
    }
    struct native_shared_schema *shared = native_shared_schema_new(&copy);
    if (shared == NULL) {
        copy.release(&copy);
        return PyErr_NoMemory();
    }
    PyObject *object = native_schema_new(state, shared);
    native_shared_schema_unref(shared);
    return object;
}

/* With the GIL. -1 with an exception set. */
static int writer_begin(struct python_format *format, const struct ArrowSchema *schema,
                        const struct qn_format_sink *sink, struct python_writer *writer)
{
    writer->state = format->state;
    writer->schema = schema_object(format->state, schema);
    writer->sink = writer->schema == NULL ? NULL : sink_new(format->state, sink);
    writer->object =
        writer->sink == NULL ? NULL : PyObject_CallMethod(format->object, "writer", "OO", writer->schema, writer->sink);
    return writer->object == NULL ? -1 : 0;
}

static enum qn_status format_writer_new(void *context, const struct ArrowSchema *schema,
                                        const struct qn_format_sink *sink, void **writer_out, struct qn_error *err)
{
    struct native_callback call;
    struct python_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    if (!native_into_python_begin(&call, err)) {
        free(writer);
        return QN_ERR_CLOSED;
    }
    enum qn_status status = QN_OK;
    if (writer_begin(context, schema, sink, writer) < 0) {
        status = writer_fail(writer, err);
        writer_drop(writer);
    } else {
        *writer_out = writer;
    }
    native_callback_end(&call);
    return status;
}

/* Share an array: *batch stays what it was, *out is another struct of the same memory. */
static bool share(struct ArrowArray *batch, struct ArrowArray *out)
{
    struct native_shared_array *shared = native_shared_array_new(batch);
    if (shared == NULL) {
        return false;
    }
    bool good = native_shared_array_export(shared, out);
    if (good && !native_shared_array_export(shared, batch)) {
        out->release(out);
        good = false;
    }
    native_shared_array_unref(shared);
    return good;
}

/* The result of a method of the writer, which is used up, as a status. */
static enum qn_status writer_done(const struct python_writer *writer, PyObject *done, struct qn_error *err)
{
    enum qn_status status = done == NULL ? writer_fail(writer, err) : QN_OK;
    Py_XDECREF(done);
    return status;
}

static enum qn_status format_write(void *self, struct ArrowArray *batch, struct qn_error *err)
{
    struct python_writer *writer = self;
    struct native_callback call;
    struct ArrowArray copy;
    if (!share(batch, &copy)) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    if (!native_into_python_begin(&call, err)) {
        copy.release(&copy);
        return QN_ERR_CLOSED;
    }
    PyObject *object = native_batch_new(writer->state, &copy, writer->schema);
    if (object == NULL && copy.release != NULL) {
        copy.release(&copy);
    }
    PyObject *done = object == NULL ? NULL : PyObject_CallMethod(writer->object, "write", "O", object);
    Py_XDECREF(object);
    enum qn_status status = writer_done(writer, done, err);
    native_callback_end(&call);
    return status;
}

static enum qn_status format_finish(void *self, struct qn_error *err)
{
    struct python_writer *writer = self;
    struct native_callback call;
    if (!native_into_python_begin(&call, err)) {
        return QN_ERR_CLOSED;
    }
    enum qn_status status = writer_done(writer, PyObject_CallMethod(writer->object, "finish", NULL), err);
    native_callback_end(&call);
    return status;
}

/* ---- registering ------------------------------------------------------------------------------------------------- */

static void format_drop(struct python_format *format)
{
    if (format != NULL) {
        Py_XDECREF(format->object);
        free(format->texts);
        free(format->magic);
        free(format);
    }
}

/* Copy the texts of a format, one after the other. */
static bool keep_texts(struct python_format *format, const char *name, const char *suffixes, const char *types,
                       const char *options, const char *magic, size_t magic_size)
{
    const char *const texts[] = { name, suffixes, types, options };
    const char **const places[] = { &format->format.name, &format->format.suffixes, &format->format.content_types,
                                    &format->format.options };
    size_t used = 0;
    format->texts = malloc(strlen(name) + strlen(suffixes) + strlen(types) + strlen(options) + 4);
    format->magic = malloc(magic_size + 1);
    if (format->texts == NULL || format->magic == NULL) {
        return false;
    }
    for (size_t i = 0; i < 4; i++) {
        *places[i] = memcpy(format->texts + used, texts[i], strlen(texts[i]) + 1);
        used += strlen(texts[i]) + 1;
    }
    memcpy(format->magic, magic, magic_size);
    format->format.magic = magic_size > 0 ? format->magic : NULL;
    format->format.magic_size = magic_size;
    return true;
}

/* What the object can do besides reading. -1 with an exception set. */
static int find_abilities(struct python_format *format)
{
    PyObject *count = PyObject_GetAttrString(format->object, "counts");
    PyObject *write = count == NULL ? NULL : PyObject_GetAttrString(format->object, "writes");
    int counts = count == NULL ? -1 : PyObject_IsTrue(count);
    int writes = write == NULL ? -1 : PyObject_IsTrue(write);
    Py_XDECREF(count);
    Py_XDECREF(write);
    if (counts < 0 || writes < 0) {
        return -1;
    }
    format->format.read = format_read;
    format->format.count = counts ? format_count : NULL;
    format->format.writer_new = writes ? format_writer_new : NULL;
    format->format.write = writes ? format_write : NULL;
    format->format.finish = writes ? format_finish : NULL;
    format->format.writer_free = writes ? format_writer_free : NULL;
    return 0;
}

PyObject *native_format_register(PyObject *module, PyObject *args)
{
    struct native_state *state = PyModule_GetState(module);
    const char *name = NULL;
    const char *suffixes = NULL;
    const char *types = NULL;
    const char *options = NULL;
    const char *magic = NULL;
    Py_ssize_t magic_size = 0;
    PyObject *object = NULL;
    if (!PyArg_ParseTuple(args, "ssssy#O:_format_register", &name, &suffixes, &types, &options, &magic, &magic_size,
                          &object)) {
        return NULL;
    }
    struct python_format *format = calloc(1, sizeof *format);
    if (format == NULL || !keep_texts(format, name, suffixes, types, options, magic, (size_t)magic_size)) {
        format_drop(format);
        return PyErr_NoMemory();
    }
    struct qn_error err = QN_ERROR_INIT;
    format->state = state;
    format->object = Py_NewRef(object);
    format->format.struct_size = sizeof format->format;
    format->format.abi = QN_FORMAT_ABI;
    format->format.context = format;
    if (find_abilities(format) < 0) {
        format_drop(format);
        return NULL;
    }
    if (qn_format_register(&format->format, &err) != QN_OK) {
        format_drop(format);
        return native_raise(state, &err, NULL);
    }
    Py_RETURN_NONE;
}

int native_formats_ensure(void)
{
    PyObject *module = PyImport_ImportModule(MODULE);
    PyObject *done = module == NULL ? NULL : PyObject_CallMethod(module, "register", NULL);
    Py_XDECREF(module);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}
