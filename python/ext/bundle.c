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

/* Begin a call of the library; NULL with an exception set where there can be none. */
static struct qn_bundle *enter(struct bundle_object *self)
{
    if (self->bundle == NULL) {
        native_fail(self->state, QN_ERR_CLOSED, "the bundle is closed");
        return NULL;
    }
    if (self->running) {
        native_fail(self->state, QN_ERR_BUSY, "the bundle is in use by another call: one at a time");
        return NULL;
    }
    self->running = true;
    native_log_refresh(self->state);
    return self->bundle;
}

/* End it; false with an exception set where it failed, or where a signal handler raised one. */
static bool leave(struct bundle_object *self, enum qn_status status, const struct qn_error *err)
{
    self->running = false;
    if (status != QN_OK) {
        native_raise(self->state, err, NULL);
        return false;
    }
    return !native_interrupt_take();
}

/* Call the library without the GIL: CALL(status = qn_bundle_...(bundle, ..., &err)). */
#define CALL(expression)                                                                                               \
    do {                                                                                                               \
        PyThreadState *thread_state = PyEval_SaveThread();                                                             \
        expression;                                                                                                    \
        PyEval_RestoreThread(thread_state);                                                                            \
    } while (false)

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
    struct bundle_object *self = bundle_of(object);
    if (self->bundle == NULL) {
        Py_RETURN_NONE;
    }
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    self->bundle = NULL;
    CALL(qn_bundle_free(bundle));
    self->running = false;
    if (native_interrupt_take()) {
        return NULL;
    }
    Py_RETURN_NONE;
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
    struct bundle_object *self = bundle_of(object);
    PyObject *key = NULL;
    PyObject *value = NULL;
    int store = 0;
    const char *value_text = NULL;
    if (!PyArg_ParseTuple(args, "OOp:set_config", &key, &value, &store) ||
        native_optional_text(self->state, value, "value", &value_text) < 0) {
        return NULL;
    }
    const char *key_text = native_text(self->state, key, "key");
    struct qn_bundle *bundle = key_text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status;
    CALL(status = qn_bundle_set_config(bundle, key_text, value_text, store != 0, &err));
    return leave(self, status, &err) ? Py_NewRef(Py_None) : NULL;
}

typedef enum qn_status (*named_function)(struct qn_bundle *, const char *, char **, struct qn_error *);

/* A call with one text (or None) that gives one. */
static PyObject *call_named(PyObject *object, PyObject *name, const char *what, named_function function)
{
    struct bundle_object *self = bundle_of(object);
    const char *text = NULL;
    if (native_optional_text(self->state, name, what, &text) < 0) {
        return NULL;
    }
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    char *out = NULL;
    enum qn_status status;
    CALL(status = function(bundle, text, &out, &err));
    if (!leave(self, status, &err)) {
        qn_text_free(status == QN_OK ? out : NULL);
        return NULL;
    }
    return text_out(out);
}

PyDoc_STRVAR(config_doc, "config(key)\n--\n\nThe value of \"section.key\" that counts, or None.");

static PyObject *bundle_config(PyObject *object, PyObject *key)
{
    if (native_text(bundle_of(object)->state, key, "key") == NULL) {
        return NULL;
    }
    return call_named(object, key, "key", qn_bundle_config);
}

PyDoc_STRVAR(import_connector_doc, "import_connector(name, uri, platform, temporary)\n--\n\nName a connector.");

static PyObject *bundle_import_connector(PyObject *object, PyObject *args)
{
    struct bundle_object *self = bundle_of(object);
    PyObject *name = NULL;
    PyObject *uri = NULL;
    PyObject *platform = NULL;
    int temporary = 0;
    const char *platform_text = NULL;
    if (!PyArg_ParseTuple(args, "OOOp:import_connector", &name, &uri, &platform, &temporary) ||
        native_optional_text(self->state, platform, "platform", &platform_text) < 0) {
        return NULL;
    }
    const char *name_text = native_text(self->state, name, "name");
    const char *uri_text = name_text == NULL ? NULL : native_text(self->state, uri, "uri");
    struct qn_bundle *bundle = uri_text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status;
    CALL(status = qn_bundle_import_connector(bundle, name_text, uri_text, platform_text, temporary != 0, &err));
    return leave(self, status, &err) ? Py_NewRef(Py_None) : NULL;
}

typedef enum qn_status (*pair_function)(struct qn_bundle *, const char *, const char *, bool, struct qn_error *);

/* A call with a name, a second text (None where `optional`) and whether the connector is a temporary one. */
static PyObject *call_pair(PyObject *object, PyObject *args, const char *what, bool optional, pair_function function)
{
    struct bundle_object *self = bundle_of(object);
    PyObject *name = NULL;
    PyObject *second = NULL;
    int temporary = 0;
    if (!PyArg_ParseTuple(args, "OOp", &name, &second, &temporary)) {
        return NULL;
    }
    const char *name_text = native_text(self->state, name, "name");
    const char *second_text = NULL;
    if (name_text == NULL || (optional && native_optional_text(self->state, second, what, &second_text) < 0) ||
        (!optional && (second_text = native_text(self->state, second, what)) == NULL)) {
        return NULL;
    }
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status;
    CALL(status = function(bundle, name_text, second_text, temporary != 0, &err));
    return leave(self, status, &err) ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(drop_connector_doc, "drop_connector(name, platform, temporary)\n--\n\nForget a connector.");

static PyObject *bundle_drop_connector(PyObject *object, PyObject *args)
{
    return call_pair(object, args, "platform", true, qn_bundle_drop_connector);
}

PyDoc_STRVAR(rename_connector_doc, "rename_connector(name, new_name, temporary)\n--\n\nGive a connector a new name.");

static PyObject *bundle_rename_connector(PyObject *object, PyObject *args)
{
    return call_pair(object, args, "new_name", false, qn_bundle_rename_connector);
}

PyDoc_STRVAR(create_source_doc, "create_source(connector, arguments, pack, save_as)\n--\n\nMake a source; its id.");

static PyObject *bundle_create_source(PyObject *object, PyObject *args)
{
    struct bundle_object *self = bundle_of(object);
    PyObject *connector = NULL;
    PyObject *arguments = NULL;
    PyObject *pack = NULL;
    PyObject *save_as = NULL;
    const char *arguments_text = NULL;
    const char *save_as_text = NULL;
    if (!PyArg_ParseTuple(args, "OOOO:create_source", &connector, &arguments, &pack, &save_as) ||
        native_optional_text(self->state, arguments, "arguments", &arguments_text) < 0 ||
        native_optional_text(self->state, save_as, "save_as", &save_as_text) < 0) {
        return NULL;
    }
    const char *connector_text = native_text(self->state, connector, "connector");
    const char *pack_text = connector_text == NULL ? NULL : native_text(self->state, pack, "pack");
    struct qn_bundle *bundle = pack_text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    char *id = NULL;
    enum qn_status status;
    CALL(status = qn_bundle_create_source(bundle, connector_text, arguments_text, pack_text, save_as_text, &id, &err));
    if (!leave(self, status, &err)) {
        qn_text_free(status == QN_OK ? id : NULL);
        return NULL;
    }
    return text_out(id);
}

PyDoc_STRVAR(drop_source_doc, "drop_source(id)\n--\n\nForget a source; its blocks stay.");

static PyObject *bundle_drop_source(PyObject *object, PyObject *id)
{
    struct bundle_object *self = bundle_of(object);
    const char *text = native_text(self->state, id, "id");
    struct qn_bundle *bundle = text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status;
    CALL(status = qn_bundle_drop_source(bundle, text, &err));
    return leave(self, status, &err) ? Py_NewRef(Py_None) : NULL;
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

/* What a fetch that has ended gives to Python: the results are kept also where it failed. */
static PyObject *fetched(struct bundle_object *self, enum qn_status status, char *results, const struct qn_error *err,
                         struct progress *progress)
{
    self->running = false;
    PyObject *text = text_out(results);
    if (text != NULL) {
        Py_XSETREF(self->results, Py_NewRef(text));
    }
    if (progress->raised != NULL) {
        native_exception_set(progress->raised);
        Py_CLEAR(text);
    } else if (text != NULL && status != QN_OK) {
        Py_CLEAR(text);
        native_raise(self->state, err, NULL);
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
    struct bundle_object *self = bundle_of(object);
    PyObject *pack = NULL;
    PyObject *source = NULL;
    int mode = 0;
    int dry_run = 0;
    int quarantine = 0;
    int retry = 0;
    const char *pack_text = NULL;
    struct progress progress = { .callback = Py_None };
    struct qn_fetch_options options = QN_FETCH_OPTIONS_INIT;
    if (!PyArg_ParseTuple(args, "OipppiOO:fetch", &pack, &mode, &dry_run, &quarantine, &retry, &options.parallel,
                          &source, &progress.callback) ||
        native_optional_text(self->state, pack, "pack", &pack_text) < 0 ||
        native_optional_text(self->state, source, "source", &options.source) < 0) {
        return NULL;
    }
    options.dry_run = dry_run != 0;
    options.quarantine = quarantine != 0;
    options.retry = retry != 0;
    if (progress.callback != Py_None) {
        options.progress = report;
        options.progress_context = &progress;
    }
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    Py_CLEAR(self->results);
    struct qn_error err = QN_ERROR_INIT;
    char *results = NULL;
    enum qn_status status;
    CALL(status = qn_bundle_fetch(bundle, pack_text, (enum qn_fetch_mode)mode, &options, &results, &err));
    return fetched(self, status, results, &err, &progress);
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
    struct bundle_object *self = bundle_of(object);
    PyObject *pack = NULL;
    PyObject *location = NULL;
    PyObject *version = NULL;
    PyObject *format = NULL;
    PyObject *data = NULL;
    int replace = 0;
    const char *format_text = NULL;
    if (!PyArg_ParseTuple(args, "OOOOpO:put", &pack, &location, &version, &format, &replace, &data) ||
        native_optional_text(self->state, format, "format", &format_text) < 0) {
        return NULL;
    }
    const char *pack_text = native_text(self->state, pack, "pack");
    const char *location_text = pack_text == NULL ? NULL : native_text(self->state, location, "location");
    const char *version_text = location_text == NULL ? NULL : native_text(self->state, version, "version");
    struct ArrowArrayStream stream;
    if (version_text == NULL || native_rows_import(self->state, data, &stream) < 0) {
        return NULL;
    }
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        CALL(stream.release(&stream));
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    int64_t rows = -1;
    enum qn_status status;
    CALL(status = qn_bundle_put(bundle, pack_text, location_text, version_text, format_text, replace != 0, &stream,
                                &rows, &err));
    return leave(self, status, &err) ? PyLong_FromLongLong(rows) : NULL;
}

PyDoc_STRVAR(remove_doc, "remove(pack, location)\n--\n\nTake a block out of a pack.");

static PyObject *bundle_remove(PyObject *object, PyObject *args)
{
    struct bundle_object *self = bundle_of(object);
    PyObject *pack = NULL;
    PyObject *location = NULL;
    if (!PyArg_ParseTuple(args, "OO:remove", &pack, &location)) {
        return NULL;
    }
    const char *pack_text = native_text(self->state, pack, "pack");
    const char *location_text = pack_text == NULL ? NULL : native_text(self->state, location, "location");
    struct qn_bundle *bundle = location_text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status;
    CALL(status = qn_bundle_remove(bundle, pack_text, location_text, &err));
    return leave(self, status, &err) ? Py_NewRef(Py_None) : NULL;
}

/* ---- history ----------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(commit_doc, "commit(message)\n--\n\nMake what is pending the next version; its number.");

static PyObject *bundle_commit(PyObject *object, PyObject *message)
{
    struct bundle_object *self = bundle_of(object);
    const char *text = native_text(self->state, message, "message");
    struct qn_bundle *bundle = text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    int64_t version = -1;
    enum qn_status status;
    CALL(status = qn_bundle_commit(bundle, text, &version, &err));
    return leave(self, status, &err) ? PyLong_FromLongLong(version) : NULL;
}

PyDoc_STRVAR(undo_doc, "undo(all)\n--\n\nDrop the last pending operation, or all; how many.");

static PyObject *bundle_undo(PyObject *object, PyObject *all)
{
    struct bundle_object *self = bundle_of(object);
    int everything = PyObject_IsTrue(all);
    struct qn_bundle *bundle = everything < 0 ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    int64_t undone = 0;
    enum qn_status status;
    CALL(status = everything != 0 ? qn_bundle_reset(bundle, &undone, &err) : qn_bundle_undo(bundle, &undone, &err));
    return leave(self, status, &err) ? PyLong_FromLongLong(undone) : NULL;
}

PyDoc_STRVAR(revert_doc, "revert(version, message)\n--\n\nCommit what `version` held; the new version's number.");

static PyObject *bundle_revert(PyObject *object, PyObject *args)
{
    struct bundle_object *self = bundle_of(object);
    PyObject *version = NULL;
    PyObject *message = NULL;
    const char *message_text = NULL;
    if (!PyArg_ParseTuple(args, "OO:revert", &version, &message) ||
        native_optional_text(self->state, message, "message", &message_text) < 0) {
        return NULL;
    }
    const char *version_text = native_text(self->state, version, "version");
    struct qn_bundle *bundle = version_text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    int64_t made = -1;
    enum qn_status status;
    CALL(status = qn_bundle_revert(bundle, version_text, message_text, &made, &err));
    return leave(self, status, &err) ? PyLong_FromLongLong(made) : NULL;
}

PyDoc_STRVAR(refresh_doc, "refresh()\n--\n\nTake in what others committed.");

static PyObject *bundle_refresh(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct bundle_object *self = bundle_of(object);
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status;
    CALL(status = qn_bundle_refresh(bundle, &err));
    return leave(self, status, &err) ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(history_doc, "history(first, last)\n--\n\nThe commits from `first` to `last` (-1: newest) as JSON.");

static PyObject *bundle_history(PyObject *object, PyObject *args)
{
    struct bundle_object *self = bundle_of(object);
    long long first = 0;
    long long last = -1;
    if (!PyArg_ParseTuple(args, "LL:history", &first, &last)) {
        return NULL;
    }
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    char *out = NULL;
    enum qn_status status;
    CALL(status = qn_bundle_history(bundle, first, last, &out, &err));
    if (!leave(self, status, &err)) {
        qn_text_free(status == QN_OK ? out : NULL);
        return NULL;
    }
    return text_out(out);
}

/* A document without arguments, called as the ones with a name are. */
static enum qn_status status_document(struct qn_bundle *bundle, const char *unused, char **out, struct qn_error *err)
{
    (void)unused;
    return qn_bundle_status(bundle, out, err);
}

static enum qn_status describe_document(struct qn_bundle *bundle, const char *unused, char **out, struct qn_error *err)
{
    (void)unused;
    return qn_bundle_describe(bundle, out, err);
}

PyDoc_STRVAR(status_doc, "status()\n--\n\nWhat is pending, as JSON.");

static PyObject *bundle_status(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_named(object, Py_None, "", status_document);
}

PyDoc_STRVAR(describe_doc, "describe()\n--\n\nPacks, connectors, sources, configuration and failures, as JSON.");

static PyObject *bundle_describe(PyObject *object, PyObject *unused)
{
    (void)unused;
    return call_named(object, Py_None, "", describe_document);
}

PyDoc_STRVAR(files_doc, "files(pack)\n--\n\nThe blocks of a pack, as JSON.");

static PyObject *bundle_files(PyObject *object, PyObject *pack)
{
    return call_named(object, pack, "pack", qn_bundle_files);
}

PyDoc_STRVAR(checkpoint_doc, "checkpoint(task)\n--\n\nThe checkpoint of a task as JSON, or None.");

static PyObject *bundle_checkpoint(PyObject *object, PyObject *task)
{
    if (native_text(bundle_of(object)->state, task, "task") == NULL) {
        return NULL;
    }
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
    struct bundle_object *self = bundle_of(object);
    long long min_age = 0;
    long long keep_versions = -1;
    double timeout = 0.0;
    if (!PyArg_ParseTuple(args, "LLd:gc", &min_age, &keep_versions, &timeout)) {
        return NULL;
    }
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    char *out = NULL;
    enum qn_status status;
    CALL(status = qn_bundle_gc(bundle, min_age, keep_versions, timeout, &out, &err));
    if (!leave(self, status, &err)) {
        qn_text_free(status == QN_OK ? out : NULL);
        return NULL;
    }
    return text_out(out);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

PyDoc_STRVAR(schema_doc, "schema(pack)\n--\n\nThe columns of a pack.");

static PyObject *bundle_schema(PyObject *object, PyObject *pack)
{
    struct bundle_object *self = bundle_of(object);
    const char *text = native_text(self->state, pack, "pack");
    struct qn_bundle *bundle = text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowSchema schema = { .release = NULL };
    enum qn_status status;
    CALL(status = qn_bundle_schema(bundle, text, &schema, &err));
    PyObject *result = NULL;
    if (leave(self, status, &err)) {
        struct native_shared_schema *shared = native_shared_schema_new(&schema);
        result = shared == NULL ? PyErr_NoMemory() : native_schema_new(self->state, shared);
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
    struct bundle_object *self = bundle_of(object);
    const char *text = native_text(self->state, pack, "pack");
    struct qn_bundle *bundle = text == NULL ? NULL : enter(self);
    if (bundle == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    int64_t rows = -1;
    enum qn_status status;
    CALL(status = qn_bundle_rows(bundle, text, &rows, &err));
    return leave(self, status, &err) ? PyLong_FromLongLong(rows) : NULL;
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
    Py_ssize_t count = PyTuple_GET_SIZE(columns);
    const char **names = PyMem_Calloc((size_t)count + 1, sizeof *names);
    if (names == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        names[i] = native_text(state, PyTuple_GET_ITEM(columns, i), "a name in columns");
        if (names[i] == NULL) {
            PyMem_Free(names);
            return -1;
        }
    }
    *out = names;
    *count_out = (size_t)count;
    return 0;
}

PyDoc_STRVAR(stream_doc, "stream(pack, columns)\n--\n\nThe rows of a pack: columns is a tuple of names, or None.");

static PyObject *bundle_stream(PyObject *object, PyObject *args)
{
    struct bundle_object *self = bundle_of(object);
    PyObject *pack = NULL;
    PyObject *columns = NULL;
    if (!PyArg_ParseTuple(args, "OO:stream", &pack, &columns)) {
        return NULL;
    }
    const char *text = native_text(self->state, pack, "pack");
    const char **names = NULL;
    size_t count = 0;
    if (text == NULL || columns_of(self->state, columns, &names, &count) < 0) {
        return NULL;
    }
    struct qn_bundle *bundle = enter(self);
    if (bundle == NULL) {
        PyMem_Free(names);
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowArrayStream stream = { .release = NULL };
    struct native_stream_core *core = NULL;
    enum qn_status status;
    CALL({
        status = qn_bundle_stream(bundle, text, names, count, &stream, &err);
        if (status == QN_OK && (status = native_core_new(&stream, NULL, &core, &err)) != QN_OK) {
            stream.release(&stream);
        }
    });
    PyMem_Free(names);
    if (leave(self, status, &err)) {
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
