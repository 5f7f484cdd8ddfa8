/*
 * ipc.c: the runtimes whose connectors are processes of their own: ipc::, java:: and docker::.
 *
 * Each call borrows a process of the pool; data keeps it until its stream has ended. What the process says of itself in an
 * error is passed on as it is; what becomes of the process is said by peer.c. Threads: any.
 */
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "connector/launch.h"
#include "connector/location_json.h"
#include "connector/pool.h"
#include "connector/registry.h"

#include <math.h>
#include <pthread.h>

#define RING_SLOTS         4
#define RING_SLOT_SIZE     (512u << 10)
#define CANCEL_PATIENCE_MS 1000

struct ipc {
    struct qn_launch launch;
    struct qn_peer_options peer;
    struct qn_connector_events events;
    struct qn_peer_pool *pool;
    json_t *arguments;
    char *name;
    char *folder; /* where processes run; or NULL */
    pthread_mutex_t lock;
    json_t *description; /* under the lock; NULL: not asked yet */
};

/* ---- opening ---- */

static void ipc_close(void *self)
{
    struct ipc *ipc = self;
    qn_peer_pool_free(ipc->pool);
    qn_launch_dispose(&ipc->launch);
    json_decref(ipc->arguments);
    json_decref(ipc->description);
    qn_free(ipc->name);
    qn_free(ipc->folder);
    (void)pthread_mutex_destroy(&ipc->lock);
    qn_free(ipc);
}

static enum qn_status fill(struct ipc *ipc, const struct qn_connector_opening *opening, bool ring, struct qn_error *err)
{
    QN_TRY(qn_json_parse(opening->arguments, strlen(opening->arguments), "arguments", &ipc->arguments, err));
    ipc->name = qn_strdup(opening->name);
    ipc->folder = qn_strdup(opening->working_folder);
    if (ipc->name == NULL || (opening->working_folder != NULL && ipc->folder == NULL)) {
        return qn__no_memory(err);
    }
    ipc->events = opening->events != NULL ? *opening->events : (struct qn_connector_events){ 0 };
    ipc->peer = (struct qn_peer_options){
        .name = "the process",
        .argv = (const char *const *)ipc->launch.argv,
        .folder = ipc->folder,
        .silence_ms = (int64_t)ceil(opening->timeout * 1e3),
        .slots = ring ? RING_SLOTS : 0,
        .slot_size = RING_SLOT_SIZE,
        .events = { .context = ipc->events.context, .log = ipc->events.log, .progress = ipc->events.progress },
    };
    return qn_peer_pool_new(&ipc->peer, opening->processes, &ipc->pool, err);
}

/* A connector of the command line, which is taken over in any case. */
static enum qn_status open_with(struct qn_launch *launch, const struct qn_connector_opening *opening, bool ring,
                                void **self_out, struct qn_error *err)
{
    struct ipc *ipc = qn_calloc(1, sizeof *ipc);
    if (ipc == NULL || pthread_mutex_init(&ipc->lock, NULL) != 0) {
        qn_free(ipc);
        qn_launch_dispose(launch);
        return qn__no_memory(err);
    }
    ipc->launch = *launch;
    enum qn_status status = fill(ipc, opening, ring, err);
    if (status != QN_OK) {
        ipc_close(ipc);
        return status;
    }
    *self_out = ipc;
    return QN_OK;
}

static enum qn_status ipc_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                               struct qn_error *err)
{
    struct qn_launch launch;
    (void)context;
    QN_TRY(qn_launch_ipc(opening->entrypoint, opening->folder, opening->interpreter, &launch, err));
    return open_with(&launch, opening, true, self_out, err);
}

static enum qn_status java_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                struct qn_error *err)
{
    struct qn_launch launch;
    (void)context;
    QN_TRY(qn_launch_java(opening->entrypoint, opening->folder, &launch, err));
    return open_with(&launch, opening, true, self_out, err);
}

/* A container inherits no descriptor: there is no ring. */
static enum qn_status docker_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                  struct qn_error *err)
{
    struct qn_launch launch;
    (void)context;
    QN_TRY(qn_launch_docker(opening->entrypoint, &launch, err));
    return open_with(&launch, opening, false, self_out, err);
}

/* ---- calls ---- */

/* What a connector said before it gave an answer that is none. */
static void keep_last_words(struct qn_peer *peer, struct qn_error *err)
{
    if (err != NULL) {
        const char *tail = qn_peer_tail(peer);
        QN_ERROR_COPY(err->detail, tail, strlen(tail));
    }
}

/* A call of the peer failed: give the peer back. Where the connector told of it itself, its words alone are the message. */
static enum qn_status give_failed(struct ipc *ipc, struct qn_peer *peer, enum qn_status status, struct qn_error *err)
{
    bool told = !qn_peer_lost(peer) && (status == QN_ERR_QUERY || status == QN_ERR_CONNECTION ||
                                        status == QN_ERR_UNSUPPORTED || status == QN_ERR_CANCELLED);
    if (told) {
        const struct qn_rpc_error *failure = qn_peer_failure(peer);
        status = qn_rpc_error_raise(failure, err);
        keep_last_words(peer, err);
        if (err != NULL) {
            err->retry_after_ms = failure->retry_after_ms;
        }
    }
    qn_peer_pool_give(ipc->pool, peer);
    return status;
}

/* What it says of itself, and in which version of the protocol. Version 1 has no such request: nothing is sent. */
static enum qn_status ask_description(struct ipc *ipc, json_t **told_out, int *version_out, struct qn_error *err)
{
    struct qn_peer *peer;
    qn_auto_json *params = json_object();
    QN_TRY(qn_peer_pool_take(ipc->pool, &peer, err));
    *version_out = qn_peer_version(peer);
    enum qn_status status = *version_out >= 2 ? qn_peer_call(peer, "describe", params, told_out, err) : QN_OK;
    if (status != QN_OK) {
        status = give_failed(ipc, peer, status, err);
        return status == QN_ERR_UNSUPPORTED ? QN_OK : status;
    }
    qn_peer_pool_give(ipc->pool, peer);
    return QN_OK;
}

/* The arguments and one member more, which is taken over. */
static enum qn_status params_with(const struct ipc *ipc, const char *name, json_t *value, json_t **out,
                                  struct qn_error *err)
{
    json_t *params = json_copy(ipc->arguments);
    if (value == NULL || params == NULL || json_object_set_new(params, name, value) != 0) {
        if (params == NULL) {
            json_decref(value);
        }
        json_decref(params);
        return qn__no_memory(err);
    }
    *out = params;
    return QN_OK;
}

/* Page after page of one process, which alone knows what its pages mean; it is given back. */
static enum qn_status discover_pages(struct ipc *ipc, struct qn_peer *peer, json_t *first, qn_location_callback each,
                                     void *context, struct qn_error *err)
{
    qn_auto_json *params = json_incref(first);
    for (;;) {
        qn_auto_json *result = NULL;
        const char *next = NULL;
        enum qn_status status = qn_peer_call(peer, "discover", params, &result, err);
        if (status != QN_OK) {
            return give_failed(ipc, peer, status, err);
        }
        status = qn_locations_read(result, each, context, &next, err);
        if (status == QN_ERR_PROTOCOL) {
            keep_last_words(peer, err);
        }
        json_decref(params);
        params = NULL;
        if (status == QN_OK && next != NULL && qn_peer_version(peer) == 2) {
            status = params_with(ipc, "_page", json_string(next), &params, err);
        }
        if (params == NULL) {
            qn_peer_pool_give(ipc->pool, peer);
            return status;
        }
    }
}

static enum qn_status ipc_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                   void *context, struct qn_error *err)
{
    struct ipc *ipc = self;
    struct qn_peer *peer;
    qn_auto_json *list = json_array();
    qn_auto_json *params = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!qn_utf8_valid(attached[i], strlen(attached[i]))) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "the name of an attached location is not valid UTF-8");
        }
        if (json_array_append_new(list, json_string(attached[i])) != 0) {
            return qn__no_memory(err);
        }
    }
    QN_TRY(params_with(ipc, "attached_locations", json_incref(list), &params, err));
    QN_TRY(qn_peer_pool_take(ipc->pool, &peer, err));
    return discover_pages(ipc, peer, params, each, context, err);
}

static enum qn_status read_url(const json_t *result, char **out, struct qn_error *err)
{
    const json_t *url = json_object_get(result, "url");
    if (json_is_null(result) || (json_is_object(result) && (url == NULL || json_is_null(url)))) {
        *out = NULL;
        return QN_OK;
    }
    if (!json_is_string(url)) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "its reply to \"stable_url\" is neither null nor {\"url\": text}");
    }
    *out = strdup(json_string_value(url));
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status ipc_stable_url(void *self, const struct qn_location *location, char **out, struct qn_error *err)
{
    struct ipc *ipc = self;
    struct qn_peer *peer;
    qn_auto_json *params = NULL;
    qn_auto_json *result = NULL;
    QN_TRY(params_with(ipc, "location", qn_location_write(location), &params, err));
    QN_TRY(qn_peer_pool_take(ipc->pool, &peer, err));
    enum qn_status status = qn_peer_call(peer, "stable_url", params, &result, err);
    if (status != QN_OK) {
        status = give_failed(ipc, peer, status, err);
        if (status == QN_ERR_UNSUPPORTED) { /* it has no such method */
            *out = NULL;
            return QN_OK;
        }
        return status;
    }
    status = read_url(result, out, err);
    if (status == QN_ERR_PROTOCOL) {
        keep_last_words(peer, err);
    }
    qn_peer_pool_give(ipc->pool, peer);
    return status;
}

/* ---- what it says of itself ---- */

static json_t *description_of(const struct ipc *ipc, const json_t *told, int version)
{
    json_t *name = json_object_get(told, "name");
    json_t *arguments = json_object_get(told, "arguments");
    json_t *capabilities = json_object_get(told, "capabilities");
    return json_pack("{s:o, s:O?, s:o, s:i}", "name", json_is_string(name) ? json_incref(name) : json_string(ipc->name),
                     "arguments", json_is_object(arguments) ? arguments : NULL, "capabilities",
                     json_is_array(capabilities) ? json_incref(capabilities) : json_array(), "protocol", version);
}

/* The description, asked for once; the caller's. */
static enum qn_status description(struct ipc *ipc, json_t **out, struct qn_error *err)
{
    qn_auto_json *told = NULL;
    int version = 0;
    pthread_mutex_lock(&ipc->lock);
    json_t *known = json_incref(ipc->description);
    pthread_mutex_unlock(&ipc->lock);
    if (known == NULL) {
        QN_TRY(ask_description(ipc, &told, &version, err));
        known = description_of(ipc, told, version);
        if (known == NULL) {
            return qn__no_memory(err);
        }
        pthread_mutex_lock(&ipc->lock);
        json_decref(ipc->description);
        ipc->description = json_incref(known);
        pthread_mutex_unlock(&ipc->lock);
    }
    *out = known;
    return QN_OK;
}

static enum qn_status ipc_describe(void *self, char **out, struct qn_error *err)
{
    qn_auto_json *known = NULL;
    QN_TRY(description(self, &known, err));
    *out = json_dumps(known, JSON_COMPACT);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static bool lists(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text != NULL && qn_text_equal(text, name)) {
            return true;
        }
    }
    return false;
}

static enum qn_status ipc_capabilities(void *self, uint32_t *out, struct qn_error *err)
{
    qn_auto_json *known = NULL;
    QN_TRY(description(self, &known, err));
    const json_t *capabilities = json_object_get(known, "capabilities");
    *out = (lists(capabilities, "stable_order") ? 1U << QN_CAN_RESUME : 0) |
           (lists(capabilities, "pages") ? 1U << QN_CAN_DISCOVER_MUCH : 0);
    return QN_OK;
}

/* ---- data ---- */

struct ipc_stream {
    struct ipc *ipc;
    struct qn_peer *peer; /* NULL once it has been given back */
    struct ArrowSchema schema;
};

static enum qn_status stream_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    return qn_schema_copy(&((struct ipc_stream *)self)->schema, out, err);
}

static enum qn_status stream_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct ipc_stream *stream = self;
    qn_peer_pool_use(stream->ipc->pool, stream->peer);
    enum qn_status status = qn_peer_next(stream->peer, out, err);
    if (status != QN_OK) {
        status = give_failed(stream->ipc, stream->peer, status, err);
        stream->peer = NULL;
    } else if (out->release == NULL) {
        qn_peer_pool_give(stream->ipc->pool, stream->peer);
        stream->peer = NULL;
    }
    return status;
}

static void stream_free(void *self)
{
    struct ipc_stream *stream = self;
    if (stream->peer != NULL) {
        qn_peer_cancel(stream->peer, CANCEL_PATIENCE_MS);
        qn_peer_pool_give(stream->ipc->pool, stream->peer);
    }
    qn_schema_release(&stream->schema);
    qn_free(stream);
}

/* The parameters that the peer's version of the protocol knows. A filter that JSON cannot repeat as it is stays with us. */
static enum qn_status add_request(const struct qn_peer *peer, const struct qn_data_request *request, json_t *params,
                                  struct qn_error *err)
{
    int failure = 0;
    if (request->columns != NULL) {
        json_t *names = json_array();
        for (size_t i = 0; i < request->n_columns; i++) {
            const char *name = request->columns[i];
            if (!qn_utf8_valid(name, strlen(name))) {
                json_decref(names);
                return qn_error_set(err, QN_ERR_ARGUMENT, "the name of a column is not valid UTF-8");
            }
            failure |= json_array_append_new(names, json_string(name));
        }
        failure |= json_object_set_new(params, "_columns", names);
    }
    if (qn_peer_version(peer) == 2) {
        json_t *filter = request->filter != NULL ? json_loads(request->filter, 0, NULL) : NULL;
        if (filter != NULL) {
            failure |= json_object_set_new(params, "_filter", filter);
        }
        if (request->skip_rows > 0) {
            failure |= json_object_set_new(params, "_skip_rows", json_integer(request->skip_rows));
        }
        if (request->limit >= 0) {
            failure |= json_object_set_new(params, "_limit", json_integer(request->limit));
        }
    }
    return failure == 0 ? QN_OK : qn__no_memory(err);
}

static uint32_t applied_by(const json_t *result)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } parts[] = { { "projection", QN_APPLIED_PROJECTION },
                  { "filter", QN_APPLIED_FILTER },
                  { "limit", QN_APPLIED_LIMIT },
                  { "skip_rows", QN_APPLIED_SKIP } };
    uint32_t applied = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        applied |= lists(json_object_get(result, "applied"), parts[i].name) ? parts[i].bit : 0;
    }
    return applied;
}

/* The data has begun: its schema, and with it its stream. The peer is the stream's, or has been given back. */
static enum qn_status begin_stream(struct ipc *ipc, struct qn_peer *peer, struct ArrowArrayStream *out,
                                   struct qn_error *err)
{
    static const struct qn_stream_ops ops = { stream_schema, stream_next, stream_free };
    const struct ArrowSchema *schema;
    enum qn_status status = qn_peer_schema(peer, &schema, err);
    if (status != QN_OK) {
        return give_failed(ipc, peer, status, err);
    }
    if (schema == NULL) {
        struct ArrowArray none = { 0 };
        status = qn_peer_next(peer, &none, err);
        if (status != QN_OK) {
            return give_failed(ipc, peer, status, err);
        }
        qn_peer_pool_give(ipc->pool, peer);
        out->release = NULL;
        return QN_OK;
    }
    struct ipc_stream *stream = qn_calloc(1, sizeof *stream);
    if (stream == NULL) {
        qn_peer_cancel(peer, CANCEL_PATIENCE_MS);
        qn_peer_pool_give(ipc->pool, peer);
        return qn__no_memory(err);
    }
    *stream = (struct ipc_stream){ .ipc = ipc, .peer = peer };
    status = qn_schema_copy(schema, &stream->schema, err);
    if (status == QN_OK) {
        status = qn_stream_make(&ops, stream, out, err);
    }
    if (status != QN_OK) {
        stream_free(stream);
    }
    return status;
}

static enum qn_status ipc_data(void *self, const struct qn_location *location, const struct qn_data_request *request,
                               struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    struct ipc *ipc = self;
    struct qn_peer *peer;
    qn_auto_json *params = NULL;
    qn_auto_json *result = NULL;
    QN_TRY(params_with(ipc, "location", qn_location_write(location), &params, err));
    QN_TRY(qn_peer_pool_take(ipc->pool, &peer, err));
    enum qn_status status = add_request(peer, request, params, err);
    if (status == QN_OK) {
        status = qn_peer_data(peer, params, &result, err);
    }
    if (status != QN_OK) {
        return give_failed(ipc, peer, status, err);
    }
    *applied_out = qn_peer_version(peer) == 2 ? applied_by(result) : 0;
    return begin_stream(ipc, peer, out, err);
}

/* ---- runtimes ---- */

#define PROCESS_RUNTIME(runtime_name, open_function)                                                                   \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_connector_runtime), .abi = QN_CONNECTOR_ABI, .name = (runtime_name),           \
        .external = true, .open = (open_function), .close = ipc_close, .discover = ipc_discover, .data = ipc_data,     \
        .stable_url = ipc_stable_url, .describe = ipc_describe, .capabilities = ipc_capabilities                       \
    }

const struct qn_connector_runtime qn__runtime_docker = PROCESS_RUNTIME("docker", docker_open);
const struct qn_connector_runtime qn__runtime_ipc = PROCESS_RUNTIME("ipc", ipc_open);
const struct qn_connector_runtime qn__runtime_java = PROCESS_RUNTIME("java", java_open);
