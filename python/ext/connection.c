/*
 * connection.c: the type Connection, an open connection. qanat.Connection (Python) is a subclass with the public names.
 *
 * Every call that may block runs without the GIL; the engine refuses a second thread. The handle is shared with streams,
 * so that what was exported outlives the object. After each call an exception that a signal handler raised meanwhile
 * comes first.
 */
#include "native.h"

struct connection_object {
    PyObject_HEAD
    struct native_state *state;
    struct native_handle *handle; /* NULL until _open has succeeded */
};

/* ---- the shared handle -------------------------------------------------------------------------------------------- */

void native_handle_ref(struct native_handle *handle)
{
    atomic_fetch_add(&handle->references, 1);
}

void native_handle_unref(struct native_handle *handle)
{
    if (handle != NULL && atomic_fetch_sub(&handle->references, 1) == 1) {
        qn_connection_free(handle->connection);
        PyMem_RawFree(handle);
    }
}

/* The engine's connection, or NULL with an exception set where it was never opened. */
static struct qn_connection *opened(struct connection_object *self)
{
    if (self->handle == NULL) {
        native_fail(self->state, QN_ERR_CLOSED, "the connection was never opened");
        return NULL;
    }
    return self->handle->connection;
}

/* The end of every call: the exception for a failure or an interrupt, or true. */
static bool succeeded(struct connection_object *self, enum qn_status status, const struct qn_error *err, PyObject *sql)
{
    if (status != QN_OK) {
        native_raise(self->state, err, sql);
        return false;
    }
    return !native_interrupt_take();
}

PyDoc_STRVAR(connection_open_doc, "_open(config)\n--\n\nConnect to what a Config names.");

static PyObject *connection_open(PyObject *object, PyObject *config)
{
    struct connection_object *self = (struct connection_object *)object;
    if (!PyObject_TypeCheck(config, self->state->config_type)) {
        return PyErr_Format(PyExc_TypeError, "a Config is needed, not %.200s", Py_TYPE(config)->tp_name);
    }
    if (self->handle != NULL) {
        return native_fail(self->state, QN_ERR_ARGUMENT, "the connection is open already");
    }
    struct native_handle *handle = PyMem_RawCalloc(1, sizeof *handle);
    if (handle == NULL) {
        return PyErr_NoMemory();
    }
    atomic_init(&handle->references, 1);
    native_log_refresh(self->state);
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = QN_OK;
    Py_INCREF(config);
    Py_BEGIN_ALLOW_THREADS status = qn_connection_open_config(native_config_of(config), &handle->connection, &err);
    Py_END_ALLOW_THREADS Py_DECREF(config);
    if (status != QN_OK) {
        PyMem_RawFree(handle);
        return native_raise(self->state, &err, NULL);
    }
    self->handle = handle;
    if (native_interrupt_take()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- statements --------------------------------------------------------------------------------------------------- */

/* A statement's arguments, converted. */
struct call {
    PyObject *sql;
    struct native_params params;
    struct native_options options;
    struct qn_query query;
};

static int call_init(struct connection_object *self, PyObject *sql, PyObject *params, PyObject *options,
                     struct call *out)
{
    const char *text = native_text(self->state, sql, "sql");
    if (text == NULL || native_params_init(self->state, params, &out->params) < 0) {
        return -1;
    }
    if (native_options_init(self->state, options, &out->options) < 0) {
        native_params_dispose(&out->params);
        return -1;
    }
    out->sql = sql;
    out->query = (struct qn_query){
        .struct_size = sizeof out->query,
        .sql = text,
        .values = out->params.values,
        .names = out->params.names,
        .n_values = out->params.count,
        .options = &out->options.query,
    };
    native_log_refresh(self->state);
    return 0;
}

static void call_dispose(struct call *call)
{
    native_params_dispose(&call->params);
    native_options_dispose(&call->options);
}

static enum qn_status drain(struct native_stream_core *core, struct qn_error *err)
{
    enum qn_status status = QN_OK;
    struct ArrowArray batch = { .release = NULL };
    do {
        status = native_core_next(core, &batch, err);
        if (status != QN_OK || batch.release == NULL) {
            return status;
        }
        batch.release(&batch);
    } while (true);
}

/* A Stream over what the engine returned. `drop_empty`: a result without columns is read to its end and becomes None. */
static PyObject *stream_of(struct connection_object *self, enum qn_status status, struct ArrowArrayStream *stream,
                           bool drop_empty, struct qn_error *err, PyObject *sql)
{
    struct native_stream_core *core = NULL;
    bool dropped = false;
    Py_BEGIN_ALLOW_THREADS if (status == QN_OK)
    {
        status = native_core_new(stream, self->handle, &core, err);
        if (status != QN_OK) {
            stream->release(stream);
        }
    }
    if (status == QN_OK && drop_empty && native_core_schema(core)->n_children == 0) {
        dropped = true;
        status = drain(core, err);
    }
    Py_END_ALLOW_THREADS if (!succeeded(self, status, err, sql) || dropped)
    {
        PyThreadState *thread = PyEval_SaveThread();
        native_core_unref(core);
        PyEval_RestoreThread(thread);
        return dropped && !PyErr_Occurred() ? Py_NewRef(Py_None) : NULL;
    }
    return native_stream_new(self->state, core, (PyObject *)self, sql);
}

PyDoc_STRVAR(connection_query_doc,
             "_query(sql, params, options, whole)\n--\n\n"
             "Run a statement: a Stream of its rows, or None where `whole` is true and it returns no columns.");

static PyObject *connection_query(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct connection_object *self = (struct connection_object *)object;
    if (count != 4) {
        return PyErr_Format(PyExc_TypeError, "_query takes 4 arguments, not %zd", count);
    }
    struct qn_connection *connection = opened(self);
    int whole = PyObject_IsTrue(args[3]);
    struct call call;
    if (connection == NULL || whole < 0 || call_init(self, args[0], args[1], args[2], &call) < 0) {
        return NULL;
    }
    call.options.query.result_mode = whole ? QN_RESULT_WHOLE : QN_RESULT_STREAM;
    struct ArrowArrayStream stream = { .release = NULL };
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = qn_connection_query(connection, &call.query, &stream, NULL, &err);
    Py_END_ALLOW_THREADS PyObject *result = stream_of(self, status, &stream, whole, &err, call.sql);
    call_dispose(&call);
    return result;
}

PyDoc_STRVAR(connection_execute_doc, "_execute(sql, params, options)\n--\n\n"
                                     "Run a statement for its effect; the rows affected, -1 where unknown.");

static PyObject *connection_execute(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct connection_object *self = (struct connection_object *)object;
    if (count != 3) {
        return PyErr_Format(PyExc_TypeError, "_execute takes 3 arguments, not %zd", count);
    }
    struct qn_connection *connection = opened(self);
    struct call call;
    if (connection == NULL || call_init(self, args[0], args[1], args[2], &call) < 0) {
        return NULL;
    }
    struct qn_error err;
    qn_error_clear(&err);
    int64_t rows = -1;
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = qn_connection_execute(connection, &call.query, &rows, &err);
    Py_END_ALLOW_THREADS call_dispose(&call);
    return succeeded(self, status, &err, args[0]) ? PyLong_FromLongLong(rows) : NULL;
}

/* Rows to write: a Stream of ours or any object with an Arrow interface. */
struct source {
    struct ArrowArrayStream stream;
    PyObject *owner; /* the Stream, whose typed error is better than what the protocol carries; or NULL */
};

static int source_init(struct connection_object *self, PyObject *data, struct source *out)
{
    out->owner = PyObject_TypeCheck(data, self->state->stream_type) ? data : NULL;
    return native_rows_import(self->state, data, &out->stream);
}

/* The exception of a write that failed. */
static PyObject *write_failed(struct connection_object *self, struct source *source, const struct qn_error *err,
                              PyObject *sql)
{
    if (source->owner != NULL) {
        PyObject *nothing = PyObject_CallMethod(source->owner, "_raise_failure", NULL);
        if (nothing == NULL) {
            return NULL;
        }
        Py_DECREF(nothing);
    }
    return native_raise(self->state, err, sql);
}

PyDoc_STRVAR(connection_execute_many_doc, "_execute_many(sql, rows, options)\n--\n\n"
                                          "Run a statement once per row of an Arrow stream; the rows affected.");

static PyObject *connection_execute_many(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct connection_object *self = (struct connection_object *)object;
    if (count != 3) {
        return PyErr_Format(PyExc_TypeError, "_execute_many takes 3 arguments, not %zd", count);
    }
    struct qn_connection *connection = opened(self);
    struct source source;
    struct call call;
    if (connection == NULL || call_init(self, args[0], NULL, args[2], &call) < 0) {
        return NULL;
    }
    if (source_init(self, args[1], &source) < 0) {
        call_dispose(&call);
        return NULL;
    }
    struct qn_error err;
    qn_error_clear(&err);
    int64_t rows = -1;
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = qn_connection_execute_many(connection, &call.query, &source.stream, &rows, &err);
    source.stream.release(&source.stream);
    Py_END_ALLOW_THREADS call_dispose(&call);
    if (status != QN_OK) {
        return write_failed(self, &source, &err, args[0]);
    }
    return native_interrupt_take() ? NULL : PyLong_FromLongLong(rows);
}

/* ---- tables ------------------------------------------------------------------------------------------------------- */

/* The key columns of an ingest. Returns the array (PyMem_Free) whose texts are borrowed from `names`, a tuple. */
static const char **key_columns(struct native_state *state, PyObject *names)
{
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    const char **columns = PyMem_Calloc((size_t)count + 1, sizeof *columns);
    if (columns == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        columns[i] = native_text(state, PyTuple_GET_ITEM(names, i), "a key column");
        if (columns[i] == NULL) {
            PyMem_Free(columns);
            return NULL;
        }
    }
    return columns;
}

static PyObject *ingest(struct connection_object *self, struct qn_ingest *request, PyObject *data)
{
    struct source source;
    if (source_init(self, data, &source) < 0) {
        return NULL;
    }
    struct qn_connection *connection = self->handle->connection;
    native_log_refresh(self->state);
    struct qn_error err;
    qn_error_clear(&err);
    int64_t rows = -1;
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = qn_connection_ingest(connection, request, &source.stream, &rows, &err);
    source.stream.release(&source.stream);
    Py_END_ALLOW_THREADS if (status != QN_OK)
    {
        return write_failed(self, &source, &err, NULL);
    }
    return native_interrupt_take() ? NULL : PyLong_FromLongLong(rows);
}

PyDoc_STRVAR(connection_ingest_doc, "_ingest(table, data, mode, key, schema)\n--\n\n"
                                    "Write rows into a table; mode is a number of enum qn_ingest_mode, key a tuple.");

static PyObject *connection_ingest(PyObject *object, PyObject *args)
{
    struct connection_object *self = (struct connection_object *)object;
    PyObject *table = NULL;
    PyObject *data = NULL;
    PyObject *key = NULL;
    PyObject *schema = NULL;
    int mode = 0;
    if (!PyArg_ParseTuple(args, "OOiO!O:_ingest", &table, &data, &mode, &PyTuple_Type, &key, &schema) ||
        opened(self) == NULL) {
        return NULL;
    }
    struct qn_ingest request = QN_INGEST_INIT;
    request.mode = (enum qn_ingest_mode)mode;
    request.table = native_text(self->state, table, "table");
    if (request.table == NULL || native_optional_text(self->state, schema, "schema", &request.schema) < 0) {
        return NULL;
    }
    const char **columns = key_columns(self->state, key);
    if (columns == NULL) {
        return NULL;
    }
    request.key = columns;
    request.n_key = (size_t)PyTuple_GET_SIZE(key);
    PyObject *result = ingest(self, &request, data);
    PyMem_Free(columns);
    return result;
}

PyDoc_STRVAR(connection_tables_doc, "_tables(schema)\n--\n\nThe catalogue's tables, a Stream.");

static PyObject *connection_tables(PyObject *object, PyObject *schema)
{
    struct connection_object *self = (struct connection_object *)object;
    struct qn_connection *connection = opened(self);
    const char *name = NULL;
    if (connection == NULL || native_optional_text(self->state, schema, "schema", &name) < 0) {
        return NULL;
    }
    native_log_refresh(self->state);
    struct ArrowArrayStream stream = { .release = NULL };
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = qn_connection_tables(connection, name, &stream, &err);
    Py_END_ALLOW_THREADS return stream_of(self, status, &stream, false, &err, NULL);
}

PyDoc_STRVAR(connection_columns_doc, "_columns(schema, table)\n--\n\nThe columns of a table, a Stream.");

static PyObject *connection_columns(PyObject *object, PyObject *args)
{
    struct connection_object *self = (struct connection_object *)object;
    PyObject *schema = NULL;
    PyObject *table = NULL;
    const char *schema_name = NULL;
    if (!PyArg_ParseTuple(args, "OO:_columns", &schema, &table) || opened(self) == NULL ||
        native_optional_text(self->state, schema, "schema", &schema_name) < 0) {
        return NULL;
    }
    const char *table_name = native_text(self->state, table, "table");
    if (table_name == NULL) {
        return NULL;
    }
    struct qn_connection *connection = self->handle->connection;
    native_log_refresh(self->state);
    struct ArrowArrayStream stream = { .release = NULL };
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = qn_connection_columns(connection, schema_name, table_name, &stream, &err);
    Py_END_ALLOW_THREADS return stream_of(self, status, &stream, false, &err, NULL);
}

static PyObject *text_out(struct connection_object *self, enum qn_status status, char *text, struct qn_error *err)
{
    if (!succeeded(self, status, err, NULL)) {
        if (status == QN_OK) {
            qn_free_text(text);
        }
        return NULL;
    }
    PyObject *result = PyUnicode_FromString(text);
    qn_free_text(text);
    return result;
}

PyDoc_STRVAR(connection_quote_doc, "_quote(identifier)\n--\n\nThe identifier, quoted in the database's dialect.");

static PyObject *connection_quote(PyObject *object, PyObject *identifier)
{
    struct connection_object *self = (struct connection_object *)object;
    struct qn_connection *connection = opened(self);
    const char *name = connection == NULL ? NULL : native_text(self->state, identifier, "an identifier");
    if (name == NULL) {
        return NULL;
    }
    char *text = NULL;
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = qn_connection_quote(connection, name, &text, &err);
    return text_out(self, status, text, &err);
}

PyDoc_STRVAR(connection_quote_table_doc, "_quote_table(schema, table)\n--\n\nThe table's name, quoted.");

static PyObject *connection_quote_table(PyObject *object, PyObject *args)
{
    struct connection_object *self = (struct connection_object *)object;
    PyObject *schema = NULL;
    PyObject *table = NULL;
    const char *schema_name = NULL;
    if (!PyArg_ParseTuple(args, "OO:_quote_table", &schema, &table) || opened(self) == NULL ||
        native_optional_text(self->state, schema, "schema", &schema_name) < 0) {
        return NULL;
    }
    const char *table_name = native_text(self->state, table, "table");
    if (table_name == NULL) {
        return NULL;
    }
    char *text = NULL;
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = qn_connection_quote_table(self->handle->connection, schema_name, table_name, &text, &err);
    return text_out(self, status, text, &err);
}

/* ---- transactions, cancel, close ----------------------------------------------------------------------------------- */

PyDoc_STRVAR(connection_begin_doc, "_begin(isolation, read_only)\n--\n\nBegin a transaction, or a savepoint in one.");

static PyObject *connection_begin(PyObject *object, PyObject *args)
{
    struct connection_object *self = (struct connection_object *)object;
    int isolation = 0;
    int read_only = 0;
    if (!PyArg_ParseTuple(args, "ip:_begin", &isolation, &read_only)) {
        return NULL;
    }
    struct qn_connection *connection = opened(self);
    if (connection == NULL) {
        return NULL;
    }
    native_log_refresh(self->state);
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = qn_connection_begin(connection, (enum qn_isolation)isolation, read_only != 0, &err);
    Py_END_ALLOW_THREADS return succeeded(self, status, &err, NULL) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *call_plain(PyObject *object, enum qn_status (*function)(struct qn_connection *, struct qn_error *))
{
    struct connection_object *self = (struct connection_object *)object;
    struct qn_connection *connection = opened(self);
    if (connection == NULL) {
        return NULL;
    }
    native_log_refresh(self->state);
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = function(connection, &err);
    Py_END_ALLOW_THREADS return succeeded(self, status, &err, NULL) ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(connection_commit_doc, "commit()\n--\n\nCommit the innermost transaction or savepoint.");

static PyObject *connection_commit(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_plain(object, qn_connection_commit);
}

PyDoc_STRVAR(connection_rollback_doc, "rollback()\n--\n\nRoll the innermost transaction or savepoint back.");

static PyObject *connection_rollback(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_plain(object, qn_connection_rollback);
}

PyDoc_STRVAR(connection_cancel_doc, "cancel()\n--\n\n"
                                    "Cancel what the connection is doing now. The one call that any thread may make at "
                                    "any time; the call that is running raises QueryCancelledError.");

static PyObject *connection_cancel(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_plain(object, qn_connection_cancel);
}

PyDoc_STRVAR(connection_close_doc, "close()\n--\n\nClose: an open stream is cancelled, an open transaction is rolled "
                                   "back. Closing twice is allowed.");

static PyObject *connection_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct connection_object *self = (struct connection_object *)object;
    struct qn_error err;
    qn_error_clear(&err);
    enum qn_status status = QN_OK;
    if (self->handle != NULL) {
        native_log_refresh(self->state);
        Py_BEGIN_ALLOW_THREADS status = qn_connection_close(self->handle->connection, &err);
        Py_END_ALLOW_THREADS
    }
    /* In the child of a fork the connection is the parent's: for this process it is closed already. */
    status = status == QN_ERR_CLOSED ? QN_OK : status;
    return succeeded(self, status, &err, NULL) ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(connection_is_closed_doc, "is_closed()\n--\n\nWhether the connection has been closed.");

static PyObject *connection_is_closed(PyObject *object, PyObject *unused)
{
    (void)unused;
    const struct connection_object *self = (const struct connection_object *)object;
    return PyBool_FromLong(self->handle == NULL || qn_connection_is_closed(self->handle->connection));
}

PyDoc_STRVAR(connection_is_alive_doc, "is_alive()\n--\n\nAsk the server whether the connection works. False also where "
                                      "it is busy or closed.");

static PyObject *connection_is_alive(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct connection_object *self = (struct connection_object *)object;
    bool alive = false;
    if (self->handle != NULL) {
        Py_BEGIN_ALLOW_THREADS alive = qn_connection_is_alive(self->handle->connection);
        Py_END_ALLOW_THREADS
    }
    return native_interrupt_take() ? NULL : PyBool_FromLong(alive);
}

static PyObject *connection_rowcount(PyObject *object, void *closure)
{
    (void)closure;
    const struct connection_object *self = (const struct connection_object *)object;
    return PyLong_FromLongLong(self->handle == NULL ? -1 : qn_connection_rows_affected(self->handle->connection));
}

static PyObject *connection_depth(PyObject *object, void *closure)
{
    (void)closure;
    const struct connection_object *self = (const struct connection_object *)object;
    return PyLong_FromLong(self->handle == NULL ? 0 : qn_connection_depth(self->handle->connection));
}

/* ---- the type ------------------------------------------------------------------------------------------------------ */

static PyObject *connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    struct native_state *state = native_state_of_type(type);
    struct connection_object *self = state == NULL ? NULL : (struct connection_object *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
    }
    return (PyObject *)self;
}

static void connection_dealloc(PyObject *object)
{
    struct connection_object *self = (struct connection_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->handle != NULL) {
        Py_BEGIN_ALLOW_THREADS native_handle_unref(self->handle);
        Py_END_ALLOW_THREADS
    }
    type->tp_free(object);
    Py_DECREF(type);
}

#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef connection_methods[] = {
    { "_open", connection_open, METH_O, connection_open_doc },
    { "_query", FASTCALL(connection_query), METH_FASTCALL, connection_query_doc },
    { "_execute", FASTCALL(connection_execute), METH_FASTCALL, connection_execute_doc },
    { "_execute_many", FASTCALL(connection_execute_many), METH_FASTCALL, connection_execute_many_doc },
    { "_ingest", connection_ingest, METH_VARARGS, connection_ingest_doc },
    { "_tables", connection_tables, METH_O, connection_tables_doc },
    { "_columns", connection_columns, METH_VARARGS, connection_columns_doc },
    { "_quote", connection_quote, METH_O, connection_quote_doc },
    { "_quote_table", connection_quote_table, METH_VARARGS, connection_quote_table_doc },
    { "_begin", connection_begin, METH_VARARGS, connection_begin_doc },
    { "commit", connection_commit, METH_NOARGS, connection_commit_doc },
    { "rollback", connection_rollback, METH_NOARGS, connection_rollback_doc },
    { "cancel", connection_cancel, METH_NOARGS, connection_cancel_doc },
    { "close", connection_close, METH_NOARGS, connection_close_doc },
    { "is_closed", connection_is_closed, METH_NOARGS, connection_is_closed_doc },
    { "is_alive", connection_is_alive, METH_NOARGS, connection_is_alive_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef connection_attributes[] = {
    { "rowcount", connection_rowcount, NULL, "Rows affected by the last statement; -1: unknown.", NULL },
    { "depth", connection_depth, NULL, "How many transactions and savepoints are open; 0 outside.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot connection_slots[] = {
    { Py_tp_new, connection_new },         { Py_tp_dealloc, connection_dealloc },
    { Py_tp_methods, connection_methods }, { Py_tp_getset, connection_attributes },
    { Py_tp_doc, "An open connection." },  { 0, NULL },
};

PyType_Spec native_connection_spec = {
    .name = "qanat._native.Connection",
    .basicsize = sizeof(struct connection_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = connection_slots,
};
