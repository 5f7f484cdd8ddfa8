/*
 * bundle.c: the type Bundle, an open bundle. qanat.bundle.Bundle (Python) has one and gives it its public face.
 *
 * Documents come out as JSON texts and tables as Streams; paths and times are Python's to make. One call at a time per
 * object: `running` is guarded by the GIL, so that close() never frees what another thread uses. The GIL is released
 * around every call of the library; connectors and formats that are written in Python take it on threads of their own.
 */
#include "native.h"

#include <string.h>

struct bundle_object {
    PyObject_HEAD
    struct native_state *state;
    struct qn_bundle *bundle; /* NULL: closed */
    bool running;
    PyObject *results; /* JSON of the last fetch, set where it failed too; NULL: none */
};

static struct bundle_object *bundle_of(PyObject *object)
{
    return (struct bundle_object *)object;
}

/* A text of the library as a str; it is freed. NULL gives None. */
static PyObject *text_out(char *text)
{
    if (text == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *result = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), NULL);
    qn_text_free(text);
    return result;
}

/* One call of the library: begun by enter(), made by CALL, and ended by the leave() of what it gives. */
struct call {
    struct bundle_object *self;
    struct qn_bundle *bundle;
    struct qn_error err;
    enum qn_status status;
};

/* Begin a call; false with an exception set where there can be none. */
static bool enter(PyObject *object, struct call *call)
{
    struct bundle_object *self = bundle_of(object);
    if (self->bundle == NULL) {
        native_fail(self->state, QN_ERR_CLOSED, "the bundle is closed");
        return false;
    }
    if (self->running) {
        native_fail(self->state, QN_ERR_BUSY, "the bundle is in use by another call: one at a time");
        return false;
    }
    self->running = true;
    native_log_refresh(self->state);
    *call = (struct call){ .self = self, .bundle = self->bundle, .err = QN_ERROR_INIT };
    return true;
}

/* End it; false with an exception set where it failed, or where a signal handler raised one. */
static bool leave(struct call *call)
{
    call->self->running = false;
    if (call->status != QN_OK) {
        native_raise(call->self->state, &call->err, NULL);
        return false;
    }
    return !native_interrupt_take();
}

static PyObject *leave_none(struct call *call)
{
    return leave(call) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *leave_number(struct call *call, int64_t number)
{
    return leave(call) ? PyLong_FromLongLong(number) : NULL;
}

/* `text` is the library's, or NULL where it gave none. */
static PyObject *leave_text(struct call *call, char *text)
{
    if (!leave(call)) {
        qn_text_free(call->status == QN_OK ? text : NULL);
        return NULL;
    }
    return text_out(text);
}

/* Call the library without the GIL: CALL(call.status = qn_bundle_...(call.bundle, ..., &call.err)). */
#define CALL(expression)                                                                                               \
    do {                                                                                                               \
        PyThreadState *thread_state = PyEval_SaveThread();                                                             \
        expression;                                                                                                    \
        PyEval_RestoreThread(thread_state);                                                                            \
    } while (false)

/* An argument that is a text, for "O&" of PyArg_ParseTuple; borrowed from it. */
struct text {
    struct native_state *state;
    const char *what;
    const char *text;
};
#define TEXT(object, name) ((struct text){ .state = bundle_of(object)->state, .what = (name) })

static int read_text(PyObject *value, void *out)
{
    struct text *text = out;
    text->text = native_text(text->state, value, text->what);
    return text->text != NULL;
}

/* The same, where None gives NULL. */
static int read_optional(PyObject *value, void *out)
{
    struct text *text = out;
    return native_optional_text(text->state, value, text->what, &text->text) == 0;
}

/* ---- open and close -------------------------------------------------------------------------------------------- */

typedef enum qn_status (*open_function)(const char *, const struct qn_bundle_options *, struct qn_bundle **,
                                        struct qn_error *);

static PyObject *bundle_make(PyTypeObject *type, open_function open, PyObject *path, PyObject *version,
                             PyObject *config, PyObject *interpreter)
{
    struct native_state *state = native_state_of_type(type);
    const char *path_text = state == NULL ? NULL : native_text(state, path, "path");
    struct qn_bundle_options options = QN_BUNDLE_OPTIONS_INIT;
    if (path_text == NULL || native_optional_text(state, version, "version", &options.version) < 0 ||
        native_optional_text(state, config, "config", &options.config) < 0 ||
        native_optional_text(state, interpreter, "interpreter", &options.interpreter) < 0) {
        return NULL;
    }
    struct bundle_object *self = (struct bundle_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    native_log_refresh(state);
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status;
    CALL(status = open(path_text, &options, &self->bundle, &err));
    if (status != QN_OK) {
        self->bundle = NULL;
        native_raise(state, &err, NULL);
    }
    if (status != QN_OK || native_interrupt_take()) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

PyDoc_STRVAR(create_doc, "create(path, config, interpreter)\n--\n\nMake a bundle; `config` is JSON or None.");

static PyObject *bundle_create(PyObject *type, PyObject *args)
{
    PyObject *path = NULL;
    PyObject *config = NULL;
    PyObject *interpreter = NULL;
    if (!PyArg_ParseTuple(args, "OOO:create", &path, &config, &interpreter)) {
        return NULL;
    }
    return bundle_make((PyTypeObject *)type, qn_bundle_create, path, Py_None, config, interpreter);
}

PyDoc_STRVAR(open_doc, "open(path, version, config, interpreter)\n--\n\nOpen a bundle at a version, or None: newest.");

static PyObject *bundle_open(PyObject *type, PyObject *args)
{
    PyObject *path = NULL;
    PyObject *version = NULL;
    PyObject *config = NULL;
    PyObject *interpreter = NULL;
    if (!PyArg_ParseTuple(args, "OOOO:open", &path, &version, &config, &interpreter)) {
        return NULL;
    }
    return bundle_make((PyTypeObject *)type, qn_bundle_open, path, version, config, interpreter);
}

PyDoc_STRVAR(close_doc, "close()\n--\n\nDrop what is pending and close. Closing twice is allowed.");

static PyObject *bundle_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct call call;
    if (bundle_of(object)->bundle == NULL) {
        Py_RETURN_NONE;
    }
    if (!enter(object, &call)) {
        return NULL;
    }
    call.self->bundle = NULL;
    CALL(qn_bundle_free(call.bundle));
    return leave_none(&call);
}

static int bundle_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static void bundle_dealloc(PyObject *object)
{
    struct bundle_object *self = bundle_of(object);
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->bundle != NULL) {
        CALL(qn_bundle_free(self->bundle));
    }
    Py_XDECREF(self->results);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- configuration, connectors and sources ---------------------------------------------------------------------- */

PyDoc_STRVAR(set_config_doc, "set_config(key, value, store)\n--\n\nSet \"section.key\"; value None: unset.");

static PyObject *bundle_set_config(PyObject *object, PyObject *args)
{
    struct text key = TEXT(object, "key");
    struct text value = TEXT(object, "value");
    int store = 0;
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O&p:set_config", read_text, &key, read_optional, &value, &store) ||
        !enter(object, &call)) {
        return NULL;
    }
    CALL(call.status = qn_bundle_set_config(call.bundle, key.text, value.text, store != 0, &call.err));
    return leave_none(&call);
}

typedef enum qn_status (*named_function)(struct qn_bundle *, const char *, char **, struct qn_error *);

/* A call with one text that gives one. */
static PyObject *call_named(PyObject *object, PyObject *name, const char *what, named_function function)
{
    struct text text = TEXT(object, what);
    struct call call;
    if (!read_text(name, &text) || !enter(object, &call)) {
        return NULL;
    }
    char *out = NULL;
    CALL(call.status = function(call.bundle, text.text, &out, &call.err));
    return leave_text(&call, out);
}

PyDoc_STRVAR(config_doc, "config(key)\n--\n\nThe value of \"section.key\" that counts, or None.");

static PyObject *bundle_config(PyObject *object, PyObject *key)
{
    return call_named(object, key, "key", qn_bundle_config);
}

PyDoc_STRVAR(import_connector_doc, "import_connector(name, uri, platform, temporary)\n--\n\nName a connector.");

static PyObject *bundle_import_connector(PyObject *object, PyObject *args)
{
    struct text name = TEXT(object, "name");
    struct text uri = TEXT(object, "uri");
    struct text platform = TEXT(object, "platform");
    int temporary = 0;
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O&O&p:import_connector", read_text, &name, read_text, &uri, read_optional, &platform,
                          &temporary) ||
        !enter(object, &call)) {
        return NULL;
    }
    CALL(call.status =
             qn_bundle_import_connector(call.bundle, name.text, uri.text, platform.text, temporary != 0, &call.err));
    return leave_none(&call);
}

PyDoc_STRVAR(drop_connector_doc, "drop_connector(name, platform, temporary)\n--\n\nForget a connector.");

static PyObject *bundle_drop_connector(PyObject *object, PyObject *args)
{
    struct text name = TEXT(object, "name");
    struct text platform = TEXT(object, "platform");
    int temporary = 0;
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O&p:drop_connector", read_text, &name, read_optional, &platform, &temporary) ||
        !enter(object, &call)) {
        return NULL;
    }
    CALL(call.status = qn_bundle_drop_connector(call.bundle, name.text, platform.text, temporary != 0, &call.err));
    return leave_none(&call);
}

PyDoc_STRVAR(rename_connector_doc, "rename_connector(name, new_name, temporary)\n--\n\nGive a connector a new name.");

static PyObject *bundle_rename_connector(PyObject *object, PyObject *args)
{
    struct text name = TEXT(object, "name");
    struct text new_name = TEXT(object, "new_name");
    int temporary = 0;
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O&p:rename_connector", read_text, &name, read_text, &new_name, &temporary) ||
        !enter(object, &call)) {
        return NULL;
    }
    CALL(call.status = qn_bundle_rename_connector(call.bundle, name.text, new_name.text, temporary != 0, &call.err));
    return leave_none(&call);
}

PyDoc_STRVAR(create_source_doc, "create_source(connector, arguments, pack, save_as)\n--\n\nMake a source; its id.");

static PyObject *bundle_create_source(PyObject *object, PyObject *args)
{
    struct text connector = TEXT(object, "connector");
    struct text arguments = TEXT(object, "arguments");
    struct text pack = TEXT(object, "pack");
    struct text save_as = TEXT(object, "save_as");
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O&O&O&:create_source", read_text, &connector, read_optional, &arguments, read_text,
                          &pack, read_optional, &save_as) ||
        !enter(object, &call)) {
        return NULL;
    }
    char *id = NULL;
    CALL(call.status = qn_bundle_create_source(call.bundle, connector.text, arguments.text, pack.text, save_as.text,
                                               &id, &call.err));
    return leave_text(&call, id);
}

PyDoc_STRVAR(drop_source_doc, "drop_source(id)\n--\n\nForget a source; its blocks stay.");

static PyObject *bundle_drop_source(PyObject *object, PyObject *id)
{
    struct text text = TEXT(object, "id");
    struct call call;
    if (!read_text(id, &text) || !enter(object, &call)) {
        return NULL;
    }
    CALL(call.status = qn_bundle_drop_source(call.bundle, text.text, &call.err));
    return leave_none(&call);
}

/* ---- fetch ------------------------------------------------------------------------------------------------------- */

struct progress {
    PyObject *callback;
    PyObject *raised; /* by the callback; NULL: nothing */
};

/* On the thread of the call, without the GIL. */
static int report(void *context, const struct qn_fetch_progress *now)
{
    struct progress *progress = context;
    struct native_callback call;
    native_callback_begin(&call);
    PyObject *answer = NULL;
    if (progress->raised == NULL) {
        answer = PyObject_CallFunction(progress->callback, "sLLLLd", now->source == NULL ? "" : now->source,
                                       (long long)now->locations, (long long)now->locations_total, (long long)now->rows,
                                       (long long)now->bytes, now->seconds);
        if (answer == NULL) {
            progress->raised = native_exception_take();
        }
        Py_XDECREF(answer);
    }
    native_callback_end(&call);
    return progress->raised != NULL;
}

/* End a fetch: its results are kept also where it failed. */
static PyObject *leave_fetch(struct call *call, char *results, struct progress *progress)
{
    struct bundle_object *self = call->self;
    self->running = false;
    PyObject *text = text_out(results);
    if (text != NULL) {
        Py_XSETREF(self->results, Py_NewRef(text));
    }
    if (progress->raised != NULL) {
        native_exception_set(progress->raised);
        Py_CLEAR(text);
    } else if (text != NULL && call->status != QN_OK) {
        Py_CLEAR(text);
        native_raise(self->state, &call->err, NULL);
    } else if (native_interrupt_take()) {
        Py_CLEAR(text);
    }
    return text;
}

PyDoc_STRVAR(
    fetch_doc,
    "fetch(pack, mode, dry_run, quarantine, retry, parallel, source, progress)\n--\n\n"
    "Run the sources of a pack (None: all). JSON, which `results` has where it failed too. `progress` is called "
    "as progress(source, locations, locations_total, rows, bytes, seconds); what it raises ends the fetch.");

static PyObject *bundle_fetch(PyObject *object, PyObject *args)
{
    struct text pack = TEXT(object, "pack");
    struct text source = TEXT(object, "source");
    int mode = 0;
    int dry_run = 0;
    int quarantine = 0;
    int retry = 0;
    struct progress progress = { .callback = Py_None };
    struct qn_fetch_options options = QN_FETCH_OPTIONS_INIT;
    struct call call;
    if (!PyArg_ParseTuple(args, "O&ipppiO&O:fetch", read_optional, &pack, &mode, &dry_run, &quarantine, &retry,
                          &options.parallel, read_optional, &source, &progress.callback) ||
        !enter(object, &call)) {
        return NULL;
    }
    options.source = source.text;
    options.dry_run = dry_run != 0;
    options.quarantine = quarantine != 0;
    options.retry = retry != 0;
    if (progress.callback != Py_None) {
        options.progress = report;
        options.progress_context = &progress;
    }
    Py_CLEAR(call.self->results);
    char *results = NULL;
    CALL(call.status =
             qn_bundle_fetch(call.bundle, pack.text, (enum qn_fetch_mode)mode, &options, &results, &call.err));
    return leave_fetch(&call, results, &progress);
}

static PyObject *bundle_results(PyObject *object, void *closure)
{
    (void)closure;
    PyObject *results = bundle_of(object)->results;
    return Py_NewRef(results == NULL ? Py_None : results);
}

PyDoc_STRVAR(put_doc, "put(pack, location, version, format, replace, data)\n--\n\nPut a table into a pack; its rows.");

static PyObject *bundle_put(PyObject *object, PyObject *args)
{
    struct text pack = TEXT(object, "pack");
    struct text location = TEXT(object, "location");
    struct text version = TEXT(object, "version");
    struct text format = TEXT(object, "format");
    PyObject *data = NULL;
    int replace = 0;
    struct ArrowArrayStream stream;
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O&O&O&pO:put", read_text, &pack, read_text, &location, read_text, &version,
                          read_optional, &format, &replace, &data) ||
        native_rows_import(bundle_of(object)->state, data, &stream) < 0) {
        return NULL;
    }
    if (!enter(object, &call)) {
        CALL(stream.release(&stream));
        return NULL;
    }
    int64_t rows = -1;
    CALL(call.status = qn_bundle_put(call.bundle, pack.text, location.text, version.text, format.text, replace != 0,
                                     &stream, &rows, &call.err));
    return leave_number(&call, rows);
}

PyDoc_STRVAR(remove_doc, "remove(pack, location)\n--\n\nTake a block out of a pack.");

static PyObject *bundle_remove(PyObject *object, PyObject *args)
{
    struct text pack = TEXT(object, "pack");
    struct text location = TEXT(object, "location");
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O&:remove", read_text, &pack, read_text, &location) || !enter(object, &call)) {
        return NULL;
    }
    CALL(call.status = qn_bundle_remove(call.bundle, pack.text, location.text, &call.err));
    return leave_none(&call);
}

/* ---- history ----------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(commit_doc, "commit(message)\n--\n\nMake what is pending the next version; its number.");

static PyObject *bundle_commit(PyObject *object, PyObject *message)
{
    struct text text = TEXT(object, "message");
    struct call call;
    if (!read_text(message, &text) || !enter(object, &call)) {
        return NULL;
    }
    int64_t version = -1;
    CALL(call.status = qn_bundle_commit(call.bundle, text.text, &version, &call.err));
    return leave_number(&call, version);
}

PyDoc_STRVAR(undo_doc, "undo(all)\n--\n\nDrop the last pending operation, or all; how many.");

static PyObject *bundle_undo(PyObject *object, PyObject *all)
{
    int everything = PyObject_IsTrue(all);
    struct call call;
    if (everything < 0 || !enter(object, &call)) {
        return NULL;
    }
    int64_t undone = 0;
    CALL(call.status = everything != 0 ? qn_bundle_reset(call.bundle, &undone, &call.err)
                                       : qn_bundle_undo(call.bundle, &undone, &call.err));
    return leave_number(&call, undone);
}

PyDoc_STRVAR(revert_doc, "revert(version, message)\n--\n\nCommit what `version` held; the new version's number.");

static PyObject *bundle_revert(PyObject *object, PyObject *args)
{
    struct text version = TEXT(object, "version");
    struct text message = TEXT(object, "message");
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O&:revert", read_text, &version, read_optional, &message) || !enter(object, &call)) {
        return NULL;
    }
    int64_t made = -1;
    CALL(call.status = qn_bundle_revert(call.bundle, version.text, message.text, &made, &call.err));
    return leave_number(&call, made);
}

PyDoc_STRVAR(refresh_doc, "refresh()\n--\n\nTake in what others committed.");

static PyObject *bundle_refresh(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct call call;
    if (!enter(object, &call)) {
        return NULL;
    }
    CALL(call.status = qn_bundle_refresh(call.bundle, &call.err));
    return leave_none(&call);
}

PyDoc_STRVAR(history_doc, "history(first, last)\n--\n\nThe commits from `first` to `last` (-1: newest) as JSON.");

static PyObject *bundle_history(PyObject *object, PyObject *args)
{
    long long first = 0;
    long long last = -1;
    struct call call;
    if (!PyArg_ParseTuple(args, "LL:history", &first, &last) || !enter(object, &call)) {
        return NULL;
    }
    char *out = NULL;
    CALL(call.status = qn_bundle_history(call.bundle, first, last, &out, &call.err));
    return leave_text(&call, out);
}

/* A document without arguments. */
static PyObject *call_document(PyObject *object,
                               enum qn_status (*function)(struct qn_bundle *, char **, struct qn_error *))
{
    struct call call;
    if (!enter(object, &call)) {
        return NULL;
    }
    char *out = NULL;
    CALL(call.status = function(call.bundle, &out, &call.err));
    return leave_text(&call, out);
}

PyDoc_STRVAR(status_doc, "status()\n--\n\nWhat is pending, as JSON.");

static PyObject *bundle_status(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_document(object, qn_bundle_status);
}

PyDoc_STRVAR(describe_doc, "describe()\n--\n\nPacks, connectors, sources, configuration and failures, as JSON.");

static PyObject *bundle_describe(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_document(object, qn_bundle_describe);
}

PyDoc_STRVAR(files_doc, "files(pack)\n--\n\nThe blocks of a pack, as JSON.");

static PyObject *bundle_files(PyObject *object, PyObject *pack)
{
    return call_named(object, pack, "pack", qn_bundle_files);
}

PyDoc_STRVAR(checkpoint_doc, "checkpoint(task)\n--\n\nThe checkpoint of a task as JSON, or None.");

static PyObject *bundle_checkpoint(PyObject *object, PyObject *task)
{
    return call_named(object, task, "task", qn_bundle_checkpoint);
}

PyDoc_STRVAR(verify_doc, "verify(path)\n--\n\nRead everything of a bundle again; what is wrong, as JSON.");

static PyObject *bundle_verify(PyObject *type, PyObject *path)
{
    struct native_state *state = native_state_of_type((PyTypeObject *)type);
    const char *text = state == NULL ? NULL : native_text(state, path, "path");
    if (text == NULL) {
        return NULL;
    }
    native_log_refresh(state);
    struct qn_error err = QN_ERROR_INIT;
    char *out = NULL;
    enum qn_status status;
    CALL(status = qn_bundle_verify(text, &out, &err));
    if (status != QN_OK) {
        return native_raise(state, &err, NULL);
    }
    if (native_interrupt_take()) {
        qn_text_free(out);
        return NULL;
    }
    return text_out(out);
}

PyDoc_STRVAR(gc_doc, "gc(min_age, keep_versions, timeout)\n--\n\nRemove what no version needs; what it did, as JSON.");

static PyObject *bundle_gc(PyObject *object, PyObject *args)
{
    long long min_age = 0;
    long long keep_versions = -1;
    double timeout = 0.0;
    struct call call;
    if (!PyArg_ParseTuple(args, "LLd:gc", &min_age, &keep_versions, &timeout) || !enter(object, &call)) {
        return NULL;
    }
    char *out = NULL;
    CALL(call.status = qn_bundle_gc(call.bundle, min_age, keep_versions, timeout, &out, &call.err));
    return leave_text(&call, out);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

PyDoc_STRVAR(schema_doc, "schema(pack)\n--\n\nThe columns of a pack.");

static PyObject *bundle_schema(PyObject *object, PyObject *pack)
{
    struct text text = TEXT(object, "pack");
    struct call call;
    if (!read_text(pack, &text) || !enter(object, &call)) {
        return NULL;
    }
    struct ArrowSchema schema = { .release = NULL };
    CALL(call.status = qn_bundle_schema(call.bundle, text.text, &schema, &call.err));
    PyObject *result = NULL;
    if (leave(&call)) {
        struct native_shared_schema *shared = native_shared_schema_new(&schema);
        result = shared == NULL ? PyErr_NoMemory() : native_schema_new(call.self->state, shared);
        native_shared_schema_unref(shared);
    }
    if (schema.release != NULL) {
        schema.release(&schema);
    }
    return result;
}

PyDoc_STRVAR(rows_doc, "rows(pack)\n--\n\nHow many rows a pack has.");

static PyObject *bundle_rows(PyObject *object, PyObject *pack)
{
    struct text text = TEXT(object, "pack");
    struct call call;
    if (!read_text(pack, &text) || !enter(object, &call)) {
        return NULL;
    }
    int64_t rows = -1;
    CALL(call.status = qn_bundle_rows(call.bundle, text.text, &rows, &call.err));
    return leave_number(&call, rows);
}

/* The names in a tuple (NULL for None), borrowed from its items. -1 with an exception set. */
static int columns_of(struct native_state *state, PyObject *columns, const char ***out, size_t *count_out)
{
    *out = NULL;
    *count_out = 0;
    if (columns == Py_None) {
        return 0;
    }
    if (!PyTuple_Check(columns)) {
        PyErr_SetString(PyExc_TypeError, "columns must be a tuple or None");
        return -1;
    }
    *out = native_texts(state, columns, "a name in columns");
    *count_out = (size_t)PyTuple_GET_SIZE(columns);
    return *out == NULL ? -1 : 0;
}

PyDoc_STRVAR(stream_doc, "stream(pack, columns)\n--\n\nThe rows of a pack: columns is a tuple of names, or None.");

static PyObject *bundle_stream(PyObject *object, PyObject *args)
{
    struct bundle_object *self = bundle_of(object);
    struct text pack = TEXT(object, "pack");
    PyObject *columns = NULL;
    const char **names = NULL;
    size_t count = 0;
    struct call call;
    if (!PyArg_ParseTuple(args, "O&O:stream", read_text, &pack, &columns) ||
        columns_of(self->state, columns, &names, &count) < 0) {
        return NULL;
    }
    if (!enter(object, &call)) {
        PyMem_Free(names);
        return NULL;
    }
    struct ArrowArrayStream stream = { .release = NULL };
    struct native_stream_core *core = NULL;
    CALL({
        call.status = qn_bundle_stream(call.bundle, pack.text, names, count, &stream, &call.err);
        if (call.status == QN_OK && (call.status = native_core_new(&stream, NULL, &core, &call.err)) != QN_OK) {
            stream.release(&stream);
        }
    });
    PyMem_Free(names);
    if (leave(&call)) {
        return native_stream_new(self->state, core, Py_None, NULL);
    }
    CALL(native_core_unref(core));
    return NULL;
}

/* ---- the type ----------------------------------------------------------------------------------------------------- */

static PyObject *bundle_version(PyObject *object, void *closure)
{
    (void)closure;
    struct bundle_object *self = bundle_of(object);
    if (self->bundle == NULL) {
        return native_fail(self->state, QN_ERR_CLOSED, "the bundle is closed");
    }
    return PyLong_FromLongLong(qn_bundle_version(self->bundle));
}

static PyObject *bundle_closed(PyObject *object, void *closure)
{
    (void)closure;
    return PyBool_FromLong(bundle_of(object)->bundle == NULL);
}

static PyMethodDef bundle_methods[] = {
    { "create", bundle_create, METH_VARARGS | METH_CLASS, create_doc },
    { "open", bundle_open, METH_VARARGS | METH_CLASS, open_doc },
    { "verify", bundle_verify, METH_O | METH_CLASS, verify_doc },
    { "close", bundle_close, METH_NOARGS, close_doc },
    { "set_config", bundle_set_config, METH_VARARGS, set_config_doc },
    { "config", bundle_config, METH_O, config_doc },
    { "import_connector", bundle_import_connector, METH_VARARGS, import_connector_doc },
    { "drop_connector", bundle_drop_connector, METH_VARARGS, drop_connector_doc },
    { "rename_connector", bundle_rename_connector, METH_VARARGS, rename_connector_doc },
    { "create_source", bundle_create_source, METH_VARARGS, create_source_doc },
    { "drop_source", bundle_drop_source, METH_O, drop_source_doc },
    { "fetch", bundle_fetch, METH_VARARGS, fetch_doc },
    { "put", bundle_put, METH_VARARGS, put_doc },
    { "remove", bundle_remove, METH_VARARGS, remove_doc },
    { "commit", bundle_commit, METH_O, commit_doc },
    { "undo", bundle_undo, METH_O, undo_doc },
    { "revert", bundle_revert, METH_VARARGS, revert_doc },
    { "refresh", bundle_refresh, METH_NOARGS, refresh_doc },
    { "history", bundle_history, METH_VARARGS, history_doc },
    { "status", bundle_status, METH_NOARGS, status_doc },
    { "describe", bundle_describe, METH_NOARGS, describe_doc },
    { "files", bundle_files, METH_O, files_doc },
    { "checkpoint", bundle_checkpoint, METH_O, checkpoint_doc },
    { "gc", bundle_gc, METH_VARARGS, gc_doc },
    { "schema", bundle_schema, METH_O, schema_doc },
    { "rows", bundle_rows, METH_O, rows_doc },
    { "stream", bundle_stream, METH_VARARGS, stream_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef bundle_attributes[] = {
    { "version", bundle_version, NULL, "The version that the handle shows, without what is pending.", NULL },
    { "closed", bundle_closed, NULL, "Whether it has been closed.", NULL },
    { "results", bundle_results, NULL, "The JSON of the last fetch, also where it failed; None where it has none.",
      NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot bundle_slots[] = {
    { Py_tp_dealloc, bundle_dealloc },   { Py_tp_traverse, bundle_traverse }, { Py_tp_methods, bundle_methods },
    { Py_tp_getset, bundle_attributes }, { Py_tp_doc, "An open bundle." },    { 0, NULL },
};

PyType_Spec native_bundle_spec = {
    .name = "qanat._native.Bundle",
    .basicsize = sizeof(struct bundle_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = bundle_slots,
};
