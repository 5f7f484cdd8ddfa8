/*
 * ffi.c: connectors that are shared libraries with the C functions of sdk/c/qanat_connector.h (`ffi::path.so[:prefix]`).
 *
 * A library runs in our process and is trusted with it; what it says in JSON is judged all the same, and a stream has to
 * hand out batches of the number of columns that its schema has. Libraries with the prefix bundlebase_ come from a world of
 * one thread: they are called one call at a time, streams included. Threads: any number.
 */
#include "arrow/array.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "connector/connector_private.h"
#include "connector/locate.h"
#include "connector/location_json.h"
#include "connector/registry.h"
#include "os/library.h"
#include "wire/input.h"

#include <pthread.h>
#include <stdatomic.h>

#define MAX_TEXT QN_WIRE_MAX_LINE /* bytes of a reply */

struct ffi {
    atomic_int references; /* the core's, and one for each stream */
    char *arguments;
    char *file; /* without its folders, for `describe` */
    int32_t (*discover)(const char *args, char **out);
    int32_t (*data)(const char *location, const char *args, struct ArrowArrayStream *out);
    int32_t (*stable_url)(const char *location, const char *args, char **out); /* or NULL */
    void (*free)(char *text);
    bool one_at_a_time;
    pthread_mutex_t lock; /* around every call, where one_at_a_time */
};

static void enter(struct ffi *ffi)
{
    if (ffi->one_at_a_time) {
        pthread_mutex_lock(&ffi->lock);
    }
}

static void leave(struct ffi *ffi)
{
    if (ffi->one_at_a_time) {
        pthread_mutex_unlock(&ffi->lock);
    }
}

static void drop(struct ffi *ffi)
{
    if (atomic_fetch_sub(&ffi->references, 1) == 1) {
        pthread_mutex_destroy(&ffi->lock);
        qn_free(ffi->arguments);
        qn_free(ffi->file);
        qn_free(ffi);
    }
}

/* ---- opening ---- */

/* A function of the library; false where there is none. A pointer to data cannot be made one to a function, but copied. */
static bool find(void *library, const char *prefix, const char *name, void *function_out)
{
    char symbol[QN_LOCATE_MAX_PREFIX + 16];
    (void)snprintf(symbol, sizeof symbol, "%s%s", prefix, name);
    void *found = qn_library_symbol(library, symbol);
    memcpy(function_out, &found, sizeof found);
    return found != NULL;
}

/* Look for all functions under a prefix; the name of one that is missing, or NULL. */
static const char *find_all(struct ffi *ffi, void *library, const char *prefix)
{
    if (!find(library, prefix, "discover", &ffi->discover)) {
        return "discover";
    }
    if (!find(library, prefix, "data", &ffi->data)) {
        return "data";
    }
    if (!find(library, prefix, "free", &ffi->free)) {
        return "free";
    }
    (void)find(library, prefix, "stable_url", &ffi->stable_url);
    ffi->one_at_a_time = qn_text_equal(prefix, "bundlebase_");
    return NULL;
}

/* `given`: the prefix of the URI, whose last _ may be left out; NULL: one of the two that are known. */
static enum qn_status bind(struct ffi *ffi, void *library, const char *path, const char *given, struct qn_error *err)
{
    char second[QN_LOCATE_MAX_PREFIX + 2];
    (void)snprintf(second, sizeof second, "%s_", given != NULL ? given : "bundlebase");
    const char *first = given != NULL ? given : "qanat_";
    const char *missing = find_all(ffi, library, first);
    if (missing == NULL) {
        return QN_OK;
    }
    const char *prefix = first;
    if (qn_text_equal(missing, "discover")) {
        missing = find_all(ffi, library, second);
        prefix = missing != NULL && qn_text_equal(missing, "discover") ? first : second;
    }
    if (missing == NULL) {
        return QN_OK;
    }
    qn_error_set(err, QN_ERR_CONFIG, "shared library \"%s\": no symbol \"%s%s\"", path, prefix, missing);
    qn_error_hint(err,
                  "it exports the functions of qanat_connector.h; another prefix than qanat_ and bundlebase_ stands "
                  "after the path: ffi::path.so:prefix_");
    return QN_ERR_CONFIG;
}

/* Cut "path[:prefix]"; *path_out, from `folder` on, is the caller's, *prefix_out lies in `entrypoint` or is NULL. */
static enum qn_status cut(const struct qn_connector_opening *opening, char **path_out, const char **prefix_out,
                          struct qn_error *err)
{
    qn_auto_free char *library = NULL;
    const char *prefix = NULL;
    QN_TRY(qn_locate_library(opening->entrypoint, &library, &prefix, err));
    qn_auto_buffer path = QN_BUFFER_INIT;
    /* A path without a "/" would be looked for among the system's libraries. */
    QN_TRY(qn_locate_path(opening->folder != NULL ? opening->folder : ".", library, &path, err));
    *path_out = qn_buffer_steal(&path);
    *prefix_out = prefix;
    return QN_OK;
}

static enum qn_status ffi_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                               struct qn_error *err)
{
    (void)context;
    qn_auto_free char *path = NULL;
    const char *prefix = NULL;
    void *library;
    QN_TRY(cut(opening, &path, &prefix, err));
    QN_TRY(qn_library_load(path, &library, err));
    struct ffi *ffi = qn_calloc(1, sizeof *ffi);
    if (ffi == NULL) {
        return qn__no_memory(err);
    }
    const char *slash = strrchr(path, '/');
    atomic_init(&ffi->references, 1);
    pthread_mutex_init(&ffi->lock, NULL);
    ffi->arguments = qn_strdup(opening->arguments);
    ffi->file = qn_strdup(slash != NULL ? slash + 1 : path);
    enum qn_status status =
        ffi->arguments == NULL || ffi->file == NULL ? qn__no_memory(err) : bind(ffi, library, path, prefix, err);
    if (status != QN_OK) {
        drop(ffi);
        return status;
    }
    *self_out = ffi;
    return QN_OK;
}

static void ffi_close(void *self)
{
    drop(self);
}

/* ---- what libraries say ---- */

/* Set the error that a library tells of: a text, or an object as the protocol has it. */
static enum qn_status failed(const char *what, int32_t code, const char *text, struct qn_error *err)
{
    if (text == NULL || text[0] == '\0') {
        return qn_error_set(err, QN_ERR_QUERY, "%s returned %d and does not say why", what, (int)code);
    }
    size_t size = strnlen(text, sizeof err->message);
    qn_auto_json *object = NULL;
    struct qn_rpc_error said;
    if (text[0] == '{' && qn_json_parse(text, strnlen(text, MAX_TEXT), what, &object, NULL) == QN_OK &&
        qn_rpc_error_read(object, &said, NULL) == QN_OK) {
        enum qn_status status = qn_rpc_error_raise(&said, err);
        if (err != NULL) {
            err->retry_after_ms = said.retry_after_ms;
        }
        return status;
    }
    char line[sizeof err->message];
    size = size < sizeof line ? size : qn_utf8_floor(text, sizeof line - 1);
    memcpy(line, text, size);
    line[size] = '\0';
    for (size_t at = 0; (at += qn_utf8_valid_prefix(line + at, size - at)) < size; at++) {
        line[at] = '?';
    }
    for (char *at = line; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
    }
    return qn_error_set(err, QN_ERR_QUERY, "%s", line);
}

/* What a function returned and put into *out_json: an error, or JSON (*reply_out NULL: nothing). Gives the text back. */
static enum qn_status read_reply(struct ffi *ffi, const char *what, int32_t code, char *text, json_t **reply_out,
                                 struct qn_error *err)
{
    enum qn_status status = QN_OK;
    *reply_out = NULL;
    if (code != 0) {
        status = failed(what, code, text, err);
    } else if (text != NULL) {
        size_t size = strnlen(text, (size_t)MAX_TEXT + 1);
        if (size > MAX_TEXT) {
            status = qn_error_set(err, QN_ERR_PROTOCOL, "%s gave a text of more than %u bytes", what, MAX_TEXT);
            qn_error_hint(err, "locations may come in pages: see \"next\" in qanat_connector.h");
        } else {
            status = qn_json_parse(text, size, what, reply_out, err);
        }
    }
    if (text != NULL) {
        enter(ffi);
        ffi->free(text);
        leave(ffi);
    }
    return status;
}

/* The arguments of a call as a text of the caller's: those of the source, and a member, whose value is taken over. */
static enum qn_status arguments_with(const struct ffi *ffi, const char *name, json_t *value, char **out,
                                     struct qn_error *err)
{
    qn_auto_json *member = value;
    qn_auto_json *arguments = json_loads(ffi->arguments, 0, NULL);
    if (arguments == NULL || (member != NULL && json_object_set(arguments, name, member) != 0)) {
        return qn__no_memory(err);
    }
    *out = json_dumps(arguments, JSON_COMPACT);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status texts(const char *const *items, size_t n, json_t **out, struct qn_error *err)
{
    qn_auto_json *list = json_array();
    for (size_t i = 0; list != NULL && i < n; i++) {
        if (json_array_append_new(list, json_string(items[i])) != 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "a name is not UTF-8, or memory is out");
        }
    }
    *out = json_incref(list);
    return list != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status location_text(const struct qn_location *location, char **out, struct qn_error *err)
{
    qn_auto_json *object = qn_location_write(location);
    *out = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    return *out != NULL ? QN_OK : qn_error_set(err, QN_ERR_ARGUMENT, "the location is not UTF-8, or memory is out");
}

/* ---- discover, stable_url, describe ---- */

/* One page: the first, asked for by what is attached (taken over), or by *next, its name, which becomes that of the next. */
static enum qn_status discover_page(struct ffi *ffi, json_t *attached, char **next, qn_location_callback each,
                                    void *context, struct qn_error *err)
{
    qn_auto_free char *arguments = NULL;
    qn_auto_json *reply = NULL;
    char *text = NULL;
    const char *after;
    const char *name = attached != NULL ? "attached_locations" : "_page";
    QN_TRY(arguments_with(ffi, name, attached != NULL ? attached : json_string(*next), &arguments, err));
    enter(ffi);
    int32_t code = ffi->discover(arguments, &text);
    leave(ffi);
    QN_TRY(read_reply(ffi, "discover", code, text, &reply, err));
    QN_TRY(qn_locations_read(reply, each, context, &after, err));
    if (after != NULL && *next != NULL && qn_text_equal(after, *next)) {
        char shown[QN__SHOWN_NAME];
        qn__shown_name(after, shown);
        return qn_error_set(err, QN_ERR_PROTOCOL, "discover says that page \"%s\" comes after itself", shown);
    }
    char *kept = qn_strdup(after);
    if (after != NULL && kept == NULL) {
        return qn__no_memory(err);
    }
    qn_free(*next);
    *next = kept;
    return QN_OK;
}

static enum qn_status ffi_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                   void *each_context, struct qn_error *err)
{
    qn_auto_json *names = NULL;
    qn_auto_free char *next = NULL;
    QN_TRY(texts(attached, n, &names, err));
    QN_TRY(discover_page(self, json_incref(names), &next, each, each_context, err));
    while (next != NULL) {
        QN_TRY(discover_page(self, NULL, &next, each, each_context, err));
    }
    return QN_OK;
}

static enum qn_status ffi_stable_url(void *self, const struct qn_location *location, char **out, struct qn_error *err)
{
    struct ffi *ffi = self;
    qn_auto_free char *asked = NULL;
    qn_auto_free char *arguments = NULL;
    qn_auto_json *reply = NULL;
    char *text = NULL;
    *out = NULL;
    if (ffi->stable_url == NULL) {
        return QN_OK;
    }
    QN_TRY(location_text(location, &asked, err));
    QN_TRY(arguments_with(ffi, NULL, NULL, &arguments, err));
    enter(ffi);
    int32_t code = ffi->stable_url(asked, arguments, &text);
    leave(ffi);
    QN_TRY(read_reply(ffi, "stable_url", code, text, &reply, err));
    if (reply == NULL || json_is_null(reply)) {
        return QN_OK;
    }
    const json_t *url = json_object_get(reply, "url");
    if (json_is_object(reply) && (url == NULL || json_is_null(url))) {
        return QN_OK;
    }
    if (!json_is_string(url)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "its reply to \"stable_url\" is neither {\"url\": text} nor null");
    }
    *out = qn_strdup(json_string_value(url));
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status ffi_describe(void *self, char **out, struct qn_error *err)
{
    const struct ffi *ffi = self;
    qn_auto_json *said = json_pack("{s:s, s:{s:s}, s:[s], s:s}", "name", ffi->file, "arguments", "type", "object",
                                   "capabilities", "pages", "protocol", "ffi");
    *out = said != NULL ? json_dumps(said, JSON_COMPACT) : NULL;
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status ffi_capabilities(void *self, uint32_t *out, struct qn_error *err)
{
    (void)self;
    (void)err;
    *out = 1U << QN_CAN_DISCOVER_MUCH;
    return QN_OK;
}

/* ---- data ---- */

struct ffi_stream {
    struct ffi *ffi;
    struct ArrowArrayStream inner;
    struct ArrowSchema schema;
};

static enum qn_status stream_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct ffi_stream *stream = self;
    return qn_schema_copy(&stream->schema, out, err);
}

static enum qn_status stream_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct ffi_stream *stream = self;
    struct ArrowArray batch = { 0 };
    enum qn_status status = QN_OK;
    enter(stream->ffi);
    int code = stream->inner.get_next(&stream->inner, &batch);
    if (code != 0) {
        status = failed("get_next", code, stream->inner.get_last_error(&stream->inner), err);
    } else if (batch.release != NULL &&
               (batch.length < 0 || batch.offset < 0 || batch.n_children != stream->schema.n_children)) {
        status = qn_error_set(
            err, QN_ERR_PROTOCOL, "a batch of %lld rows and %lld columns, where the schema has %lld columns",
            (long long)batch.length, (long long)batch.n_children, (long long)stream->schema.n_children);
        batch.release(&batch);
    }
    leave(stream->ffi);
    if (status == QN_OK) {
        qn__array_move(&batch, out);
    }
    return status;
}

static void stream_free(void *self)
{
    struct ffi_stream *stream = self;
    qn_schema_release(&stream->schema);
    enter(stream->ffi);
    stream->inner.release(&stream->inner);
    leave(stream->ffi);
    drop(stream->ffi);
    qn_free(stream);
}

/* Ask the library's stream for its schema, which must be one of columns. */
static enum qn_status take_schema(struct ffi_stream *stream, struct qn_error *err)
{
    enum qn_status status = QN_OK;
    enter(stream->ffi);
    int code = stream->inner.get_schema(&stream->inner, &stream->schema);
    if (code != 0) {
        status = failed("get_schema", code, stream->inner.get_last_error(&stream->inner), err);
        stream->schema.release = NULL;
    } else if (stream->schema.release == NULL || stream->schema.format == NULL ||
               !qn_text_equal(stream->schema.format, "+s")) {
        status = qn_error_set(err, QN_ERR_PROTOCOL, "the schema of its stream is none of columns (\"+s\")");
    }
    leave(stream->ffi);
    return status;
}

/* If the columns are those that were asked for, in that order. */
static bool projected(const struct ArrowSchema *schema, const struct qn_data_request *request)
{
    bool same = (size_t)schema->n_children == request->n_columns;
    for (size_t i = 0; same && i < request->n_columns; i++) {
        const char *name = schema->children[i]->name;
        same = name != NULL && qn_text_equal(name, request->columns[i]);
    }
    return same;
}

/* Make a stream of ours of the library's, which is taken over in any case. */
static enum qn_status wrap(struct ffi *ffi, struct ArrowArrayStream *inner, const struct qn_data_request *request,
                           struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { stream_schema, stream_next, stream_free };
    struct ffi_stream *stream = qn_calloc(1, sizeof *stream);
    if (stream == NULL) {
        inner->release(inner);
        return qn__no_memory(err);
    }
    *stream = (struct ffi_stream){ .ffi = ffi, .inner = *inner };
    atomic_fetch_add(&ffi->references, 1);
    enum qn_status status = take_schema(stream, err);
    if (status == QN_OK) {
        *applied_out = request->columns != NULL && projected(&stream->schema, request) ? QN_APPLIED_PROJECTION : 0;
        status = qn_stream_make(&ops, stream, out, err);
    }
    if (status != QN_OK) {
        stream_free(stream);
    }
    return status;
}

static enum qn_status ffi_data(void *self, const struct qn_location *location, const struct qn_data_request *request,
                               struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    struct ffi *ffi = self;
    qn_auto_free char *asked = NULL;
    qn_auto_free char *arguments = NULL;
    json_t *columns = NULL;
    struct ArrowArrayStream inner = { 0 };
    QN_TRY(location_text(location, &asked, err));
    if (request->columns != NULL) {
        QN_TRY(texts(request->columns, request->n_columns, &columns, err));
    }
    QN_TRY(arguments_with(ffi, "_columns", columns, &arguments, err));
    enter(ffi);
    int32_t code = ffi->data(asked, arguments, &inner);
    enum qn_status status = QN_OK;
    if (code != 0) {
        status = failed("data", code, inner.release != NULL ? inner.get_last_error(&inner) : NULL, err);
        if (inner.release != NULL) {
            inner.release(&inner);
        }
    }
    leave(ffi);
    QN_TRY(status);
    *applied_out = 0;
    if (inner.release == NULL) {
        out->release = NULL;
        return QN_OK;
    }
    return wrap(ffi, &inner, request, out, applied_out, err);
}

const struct qn_connector_runtime qn__runtime_ffi = {
    .struct_size = sizeof(struct qn_connector_runtime),
    .abi = QN_CONNECTOR_ABI,
    .name = "ffi",
    .external = true,
    .open = ffi_open,
    .close = ffi_close,
    .discover = ffi_discover,
    .data = ffi_data,
    .stable_url = ffi_stable_url,
    .describe = ffi_describe,
    .capabilities = ffi_capabilities,
};
