/*
 * data.c: the stream of a location's data: asked for, shaped, and asked for again where that is right.
 *
 * What the caller wants is put to the runtime; what the runtime says that it has not applied is done here (shaping.h).
 * After a retryable failure the data is asked for again: before the first row as it was; after it only where the order of
 * rows is stable, with `skip_rows` raised by the rows that were handed out and `limit` lowered by them, so that no row
 * comes twice and none is lost; retries are counted anew once rows have come. Whoever gets an error that is still
 * retryable may start again from nothing.
 * Threads: `lock` is held during each call; qn_connector_free takes the runtime's stream away under it.
 */
#include "arrow/array.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "connector/connector_private.h"
#include "connector/shaping.h"

#include <qanat/plugin/driver.h>
#include <unistd.h>

struct qn__data {
    int references;
    struct qn_connector *connector;
    struct qn__data *next, **place; /* among the connector's streams; place NULL: no longer */
    pthread_mutex_t lock;
    struct ArrowArrayStream source; /* the runtime's; released between two attempts and at the end */
    bool source_done;               /* it has ended */
    struct qn_location location;    /* owned texts */
    char **columns;                 /* that are wanted; NULL: all */
    size_t n_columns;
    const char **asked; /* of the runtime: these and those of the filter; NULL: all */
    size_t n_asked;
    char *filter_text;
    struct qn_filter *filter;
    int64_t limit, skip;
    struct ArrowSchema schema; /* of what is handed out; frozen */
    struct qn_shaper shaper;   /* of the present attempt */
    int64_t rows;              /* that were handed out */
    struct qn__retries retries;
};

/* ---- memory ---- */

static void data_free(struct qn__data *data)
{
    qn_shaper_dispose(&data->shaper);
    qn_schema_release(&data->schema);
    qn_filter_free(data->filter);
    qn_free(data->filter_text);
    for (size_t i = 0; i < data->n_columns; i++) {
        qn_free(data->columns[i]);
    }
    qn_free(data->columns);
    qn_free(data->asked);
    qn__free_pointer(&data->location.location);
    qn__free_pointer(&data->location.format);
    qn__free_pointer(&data->location.version);
    (void)pthread_mutex_destroy(&data->lock);
    qn__connector_unref(data->connector);
    qn_free(data);
}

static void data_unref(struct qn__data *data)
{
    if (__atomic_sub_fetch(&data->references, 1, __ATOMIC_ACQ_REL) == 0) {
        data_free(data);
    }
}

static enum qn_status copy_columns(struct qn__data *data, const struct qn_data_request *request, struct qn_error *err)
{
    if (request->columns == NULL) {
        return QN_OK;
    }
    data->columns = qn_calloc(request->n_columns + 1, sizeof *data->columns);
    if (data->columns == NULL) {
        return qn__no_memory(err);
    }
    for (; data->n_columns < request->n_columns; data->n_columns++) {
        data->columns[data->n_columns] = qn_strdup(request->columns[data->n_columns]);
        if (data->columns[data->n_columns] == NULL) {
            return qn__no_memory(err);
        }
    }
    return QN_OK;
}

/* A runtime that leaves the filter to us has to send its columns too. */
static enum qn_status plan_columns(struct qn__data *data, struct qn_error *err)
{
    const char *const *used = NULL;
    size_t n_used = data->filter != NULL ? qn_filter_columns(data->filter, &used) : 0;
    if (data->columns == NULL) {
        return QN_OK;
    }
    data->asked = qn_calloc(data->n_columns + n_used + 1, sizeof *data->asked);
    if (data->asked == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < data->n_columns + n_used; i++) {
        const char *name = i < data->n_columns ? data->columns[i] : used[i - data->n_columns];
        bool there = false;
        for (size_t j = 0; j < data->n_asked && !there; j++) {
            there = qn_text_equal(data->asked[j], name);
        }
        if (there && i < data->n_columns) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "column \"%s\" is asked for twice", name);
        }
        if (!there) {
            data->asked[data->n_asked++] = name;
        }
    }
    return QN_OK;
}

static enum qn_status copy_request(struct qn__data *data, const struct qn_location *location,
                                   const struct qn_data_request *request, struct qn_error *err)
{
    const char *format = location->format != NULL ? location->format : "parquet";
    data->location = *location;
    data->location.location = qn_strdup(location->location);
    data->location.format = qn_strdup(format);
    data->location.version = qn_strdup(location->version != NULL ? location->version : "");
    data->filter_text = qn_strdup(request->filter);
    data->limit = request->limit < 0 ? -1 : request->limit;
    data->skip = request->skip_rows;
    if (data->location.location == NULL || data->location.format == NULL || data->location.version == NULL ||
        (request->filter != NULL && data->filter_text == NULL)) {
        return qn__no_memory(err);
    }
    if (request->skip_rows < 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "skip_rows is %lld", (long long)request->skip_rows);
    }
    QN_TRY(copy_columns(data, request, err));
    if (data->filter_text != NULL) {
        QN_TRY(qn_filter_parse(data->filter_text, &data->filter, err));
    }
    return plan_columns(data, err);
}

static enum qn_status data_new(struct qn_connector *connector, const struct qn_location *location,
                               const struct qn_data_request *request, struct qn__data **out, struct qn_error *err)
{
    struct qn__data *data = qn_calloc(1, sizeof *data);
    if (data == NULL || pthread_mutex_init(&data->lock, NULL) != 0) {
        qn_free(data);
        return qn__no_memory(err);
    }
    data->references = 1;
    data->connector = connector;
    __atomic_add_fetch(&connector->references, 1, __ATOMIC_RELAXED);
    enum qn_status status = copy_request(data, location, request, err);
    if (status != QN_OK) {
        data_unref(data);
        return status;
    }
    *out = data;
    return QN_OK;
}

/* ---- one attempt ---- */

/* The runtime's stream is not needed any more. */
static void drop_source(struct qn__data *data)
{
    if (data->source.release != NULL) {
        qn__connector_begin_always(data->connector);
        qn_stream_release(&data->source);
        qn__connector_end(data->connector);
    }
    qn_shaper_dispose(&data->shaper);
}

/* Filter, skip, limit: what comes after a part that was left to us must have been left to us too. */
static enum qn_status check_applied(const struct qn_data_request *asked, uint32_t applied, struct qn_error *err)
{
    bool filter_here = asked->filter != NULL && (applied & QN_APPLIED_FILTER) == 0;
    bool skip_here = asked->skip_rows > 0 && (applied & QN_APPLIED_SKIP) == 0;
    if ((filter_here && asked->skip_rows > 0 && !skip_here) ||
        ((filter_here || skip_here) && asked->limit >= 0 && (applied & QN_APPLIED_LIMIT) != 0)) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "it applied \"%s\" but left \"%s\", which comes first, to us",
                            filter_here && asked->skip_rows > 0 && !skip_here ? "skip_rows" : "limit",
                            filter_here ? "filter" : "skip_rows");
    }
    return QN_OK;
}

static bool same_schema(const struct ArrowSchema *a, const struct ArrowSchema *b)
{
    bool dictionaries = (a->dictionary != NULL) == (b->dictionary != NULL);
    if (!dictionaries || !qn_text_equal(a->format, b->format) || a->n_children != b->n_children) {
        return false;
    }
    for (int64_t i = 0; i < a->n_children; i++) {
        const char *one = a->children[i]->name;
        const char *other = b->children[i]->name;
        if (!qn_text_equal(one != NULL ? one : "", other != NULL ? other : "") ||
            !same_schema(a->children[i], b->children[i])) {
            return false;
        }
    }
    return a->dictionary == NULL || same_schema(a->dictionary, b->dictionary);
}

/* The stream that has come, made what was asked for. */
static enum qn_status prepare_source(struct qn__data *data, const struct qn_data_request *asked, uint32_t applied,
                                     struct qn_error *err)
{
    qn_auto_schema schema = { 0 };
    QN_TRY(check_applied(asked, applied, err));
    QN_TRY(qn_stream_schema(&data->source, &schema, err));
    const struct qn_shaping shaping = {
        .columns = (const char *const *)data->columns,
        .n_columns = data->n_columns,
        .filter = (applied & QN_APPLIED_FILTER) == 0 ? data->filter : NULL,
        .skip = (applied & QN_APPLIED_SKIP) == 0 ? asked->skip_rows : 0,
        .limit = asked->limit,
    };
    QN_TRY(qn_shaper_init(&data->shaper, &schema, &shaping, err));
    if (data->schema.release == NULL) {
        QN_TRY(qn_schema_copy(&data->shaper.schema, &data->schema, err));
        return qn_schema_freeze(&data->schema, err);
    }
    if (!same_schema(&data->schema, &data->shaper.schema)) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "its schema has changed between two attempts");
    }
    return QN_OK;
}

/* Ask the runtime; data->source stays released where there is no data. The error has no context yet. */
static enum qn_status ask(struct qn__data *data, struct qn_error *err)
{
    const struct qn_data_request request = {
        .struct_size = sizeof request,
        .columns = data->asked,
        .n_columns = data->n_asked,
        .filter = data->filter_text,
        .limit = data->limit >= 0 ? data->limit - data->rows : -1,
        .skip_rows = data->skip + data->rows,
    };
    struct qn_connector *connector = data->connector;
    uint32_t applied = 0;
    qn_error_clear(err);
    QN_TRY(qn__connector_begin(connector, err));
    enum qn_status status =
        connector->runtime->data(connector->self, &data->location, &request, &data->source, &applied, err);
    if (status != QN_OK) {
        data->source.release = NULL;
    } else if (data->source.release != NULL) {
        status = prepare_source(data, &request, applied, err);
    } else if (data->rows > 0) {
        status = qn_error_set(err, QN_ERR_CONNECTOR, "it has no data any more, after %lld rows", (long long)data->rows);
    }
    qn__connector_end(connector);
    if (status != QN_OK) {
        drop_source(data);
        err->status = status;
    }
    return status;
}

/* The failure in *err may be followed by another attempt, for which the time has come. */
static bool may_ask_again(struct qn__data *data, struct qn_error *err)
{
    bool stable = data->rows == 0;
    if (!stable && err->retryable) {
        struct qn_error ignored = QN_ERROR_INIT;
        if (qn_connector_can(data->connector, QN_CAN_RESUME, &stable, &ignored) != QN_OK) {
            stable = false;
        }
    }
    return stable && qn__connector_retry(data->connector, &data->retries, err);
}

/* Ask until there is a stream, no data, or a failure that stays. *err is complete. */
static enum qn_status ask_until(struct qn__data *data, struct qn_error *err)
{
    while (ask(data, err) != QN_OK) {
        if (!may_ask_again(data, err)) {
            return qn__connector_failed(data->connector, data->location.location, err->status, err);
        }
    }
    return QN_OK;
}

/* ---- the stream ---- */

/* One batch of the source, shaped; *out is released where nothing of it is left, or at the end. */
static enum qn_status read_one(struct qn__data *data, struct ArrowArray *out, struct qn_error *err)
{
    struct ArrowArray batch = { 0 };
    qn_error_clear(err);
    QN_TRY(qn__connector_begin(data->connector, err));
    enum qn_status status = qn_stream_next(&data->source, &batch, err);
    qn__connector_end(data->connector);
    QN_TRY(status);
    if (batch.release == NULL) {
        data->source_done = true;
        return QN_OK;
    }
    return qn_shaper_batch(&data->shaper, &batch, out, err);
}

static enum qn_status next_batch(struct qn__data *data, struct ArrowArray *out, struct qn_error *err)
{
    while (!data->source_done && !qn_shaper_done(&data->shaper)) {
        enum qn_status status = read_one(data, out, err);
        if (status == QN_OK && out->release == NULL) {
            status = qn_interrupt_poll(err); /* a source that is always ready may be one that goes on for ever */
        } else if (status == QN_OK) {
            data->retries.used = 0;
            data->rows += out->length;
            break;
        }
        if (status == QN_OK) {
            continue;
        }
        err->status = status;
        drop_source(data);
        if (!may_ask_again(data, err)) {
            return qn__connector_failed(data->connector, data->location.location, err->status, err);
        }
        QN_TRY(ask_until(data, err));
    }
    if (data->source_done || qn_shaper_done(&data->shaper)) {
        data->source_done = true;
        drop_source(data);
    }
    return QN_OK;
}

static enum qn_status stream_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct qn__data *data = self;
    pthread_mutex_lock(&data->lock);
    enum qn_status status = qn__connector_usable(data->connector, err);
    if (status == QN_OK) {
        status = next_batch(data, out, err);
    }
    pthread_mutex_unlock(&data->lock);
    return status;
}

static enum qn_status stream_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct qn__data *data = self;
    return qn_schema_share(&data->schema, out, err);
}

/* Among the connector's streams no more, where it was. */
static void unlink_data(struct qn__data *data)
{
    if (data->place == NULL) {
        return;
    }
    *data->place = data->next;
    if (data->next != NULL) {
        data->next->place = data->place;
    }
    data->place = NULL;
    data->next = NULL;
}

static void stream_free(void *self)
{
    struct qn__data *data = self;
    struct qn_connector *connector = data->connector;
    if (connector->owner != getpid()) {
        return; /* its locks may be held by threads that are not here */
    }
    pthread_mutex_lock(&connector->lock);
    unlink_data(data);
    pthread_mutex_unlock(&connector->lock);
    pthread_mutex_lock(&data->lock);
    drop_source(data);
    pthread_mutex_unlock(&data->lock);
    data_unref(data);
}

/* Put it among the connector's streams, unless that is closed meanwhile. */
static enum qn_status link_data(struct qn__data *data, struct qn_error *err)
{
    struct qn_connector *connector = data->connector;
    pthread_mutex_lock(&connector->lock);
    bool closed = connector->closed;
    if (!closed) {
        data->next = connector->streams;
        data->place = &connector->streams;
        if (data->next != NULL) {
            data->next->place = &data->next;
        }
        connector->streams = data;
    }
    pthread_mutex_unlock(&connector->lock);
    return closed ? qn__connector_usable(connector, err) : QN_OK;
}

void qn__data_close_all(struct qn_connector *connector)
{
    for (;;) {
        pthread_mutex_lock(&connector->lock);
        struct qn__data *data = connector->streams;
        if (data != NULL) {
            unlink_data(data);
            __atomic_add_fetch(&data->references, 1, __ATOMIC_RELAXED);
        }
        pthread_mutex_unlock(&connector->lock);
        if (data == NULL) {
            return;
        }
        pthread_mutex_lock(&data->lock);
        drop_source(data);
        pthread_mutex_unlock(&data->lock);
        data_unref(data);
    }
}

/* ---- asking ---- */

static enum qn_status check_resume(struct qn_connector *connector, const struct qn_location *location,
                                   const struct qn_data_request *request, struct qn_error *err)
{
    bool stable = true;
    if (request->skip_rows > 0) {
        QN_TRY(qn_connector_can(connector, QN_CAN_RESUME, &stable, err));
    }
    if (!stable) {
        qn_error_set(err, QN_ERR_UNSUPPORTED, "rows cannot be skipped: their order is not stable");
        return qn__connector_failed(connector, location->location, QN_ERR_UNSUPPORTED, err);
    }
    return QN_OK;
}

/* Streams of `data`, which is used up. */
static enum qn_status make_stream(struct qn__data *data, struct ArrowArrayStream *out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { stream_schema, stream_next, stream_free };
    struct ArrowArrayStream stream = { 0 };
    enum qn_status status = qn_stream_make(&ops, data, &stream, err);
    if (status == QN_OK) {
        status = link_data(data, err);
        if (status != QN_OK) {
            qn_stream_release(&stream);
            return status;
        }
        *out = stream;
        return QN_OK;
    }
    drop_source(data);
    data_unref(data);
    return status;
}

enum qn_status qn_connector_data(struct qn_connector *connector, const struct qn_location *location,
                                 const struct qn_data_request *request, struct ArrowArrayStream *out,
                                 struct qn_error *err)
{
    static const struct qn_data_request everything = QN_DATA_REQUEST_INIT;
    struct qn_error local = QN_ERROR_INIT;
    struct qn__data *data = NULL;
    err = err != NULL ? err : &local;
    request = request != NULL ? request : &everything;
    QN_TRY(qn__connector_usable(connector, err));
    if (location == NULL || location->location == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "connector \"%s\": no location is asked for", connector->name);
    }
    QN_TRY(check_resume(connector, location, request, err));
    enum qn_status status = data_new(connector, location, request, &data, err);
    if (status != QN_OK) {
        return qn__connector_failed(connector, location->location, status, err);
    }
    status = ask_until(data, err);
    if (status != QN_OK || data->source.release == NULL) {
        data_unref(data);
        if (status == QN_OK) {
            out->release = NULL;
        }
        return status;
    }
    return make_stream(data, out, err);
}
