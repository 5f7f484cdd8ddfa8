/* record.c: see record.h; what is written is docs/formats/cassette.md. Threads: the writer has the only lock. */
#include "connector/record.h"

#include "arrow/array.h"
#include "arrow/ipc.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "connector/cassette_ask.h"
#include "connector/cassette_file.h"
#include "connector/location_json.h"
#include "connector/masking.h"

#include <stdlib.h>

#define REPLY_LOCATIONS 4096 /* locations of a record, at most */

struct recorder {
    const struct qn_connector_runtime *runtime; /* that is recorded */
    void *self;
    struct qn_cassette_writer *writer;
    struct qn_mask mask;
};

/* ---- records ---- */

/* A record of JSON, which is masked and taken over. */
static enum qn_status put(struct recorder *recorder, enum qn_cassette_kind kind, uint64_t exchange, json_t *value,
                          struct qn_error *err)
{
    qn_auto_json *json = value;
    if (json == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn_mask_json(&recorder->mask, json, err));
    return qn_cassette_write_json(recorder->writer, kind, exchange, json, err);
}

/* Begin an exchange by what is asked, which is masked and taken over. */
static enum qn_status begin(struct recorder *recorder, json_t *value, uint64_t *exchange_out, struct qn_error *err)
{
    qn_auto_json *json = value;
    if (json == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn_mask_json(&recorder->mask, json, err));
    return qn_cassette_begin(recorder->writer, json, exchange_out, err);
}

/* End an exchange: `value` (taken over) is how it ended well. What was ours to end (an interrupt, a caller that wanted no
 * more) is no answer of the connector's. Returns the status of the exchange, or of recording it. */
static enum qn_status end(struct recorder *recorder, uint64_t exchange, enum qn_status status, bool by_us,
                          json_t *value, struct qn_error *err)
{
    qn_auto_json *well = value;
    struct qn_error local = QN_ERROR_INIT;
    json_t *how = NULL;
    if (status == QN_OK && !by_us) {
        return put(recorder, QN_CASSETTE_END, exchange, json_incref(well), err);
    }
    if (by_us || status == QN_ERR_CANCELLED || status == QN_ERR_NO_MEMORY) {
        how = json_pack("{s:b}", "released", 1);
    } else {
        const struct qn_error *why = err != NULL ? err : &local;
        how = json_pack("{s:{s:s, s:s, s:s, s:s, s:b, s:I}}", "error", "status", qn_status_name(status), "message",
                        why->message, "detail", why->detail, "hint", why->hint, "retryable", (int)why->retryable,
                        "retry_after_ms", (json_int_t)why->retry_after_ms);
    }
    if (status == QN_OK) {
        return put(recorder, QN_CASSETTE_END, exchange, how, err);
    }
    (void)put(recorder, QN_CASSETTE_END, exchange, how, NULL); /* the failure that there is goes first */
    return status;
}

/* ---- discover ---- */

struct listening {
    struct recorder *recorder;
    uint64_t exchange;
    json_t *locations; /* that are not yet written */
    qn_location_callback each;
    void *context;
    bool refused, unwritten; /* by the caller; by the cassette */
};

static enum qn_status flush(struct listening *listening, struct qn_error *err)
{
    json_t *locations = listening->locations;
    listening->locations = json_array();
    enum qn_status status = put(listening->recorder, QN_CASSETTE_REPLY, listening->exchange,
                                json_pack("{s:o}", "locations", locations), err);
    listening->unwritten = status != QN_OK;
    return status != QN_OK || listening->locations != NULL ? status : qn__no_memory(err);
}

static enum qn_status hear(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct listening *listening = context;
    if (json_array_append_new(listening->locations, qn_location_write(location)) != 0) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "a text of a location is not UTF-8");
    }
    if (json_array_size(listening->locations) == REPLY_LOCATIONS) {
        QN_TRY(flush(listening, err));
    }
    enum qn_status status = listening->each(listening->context, location, err);
    listening->refused = status != QN_OK;
    return status;
}

static enum qn_status record_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                      void *each_context, struct qn_error *err)
{
    struct recorder *recorder = self;
    struct listening listening = { .recorder = recorder, .each = each, .context = each_context };
    json_t *ask;
    QN_TRY(qn_cassette_ask_discover(attached, n, &ask, err));
    QN_TRY(begin(recorder, ask, &listening.exchange, err));
    listening.locations = json_array();
    enum qn_status status = recorder->runtime->discover(recorder->self, attached, n, hear, &listening, err);
    if (!listening.unwritten && json_array_size(listening.locations) > 0) {
        struct qn_error why = QN_ERROR_INIT;
        enum qn_status written = flush(&listening, &why);
        if (status == QN_OK && written != QN_OK) {
            status = written;
            if (err != NULL) {
                *err = why;
            }
        }
    }
    json_decref(listening.locations);
    return end(recorder, listening.exchange, status, listening.refused, json_object(), err);
}

/* ---- data ---- */

struct recorded {
    struct recorder *recorder;
    uint64_t exchange;
    struct ArrowArrayStream inner;
    struct qn_ipc_encoder *encoder;
    struct ArrowSchema schema;
    int64_t rows, batches;
    bool ended;
};

static enum qn_status put_message(struct recorded *recorded, const struct qn_buffer *bytes, struct qn_error *err)
{
    return qn_cassette_write(recorded->recorder->writer, QN_CASSETTE_ARROW, recorded->exchange, bytes->data,
                             bytes->size, err);
}

static enum qn_status recorded_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct recorded *recorded = self;
    return qn_schema_copy(&recorded->schema, out, err);
}

static enum qn_status recorded_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct recorded *recorded = self;
    struct ArrowArray batch = { 0 };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    enum qn_status status = qn_stream_next(&recorded->inner, &batch, err);
    if (status != QN_OK || batch.release == NULL) {
        recorded->ended = true;
        return end(
            recorded->recorder, recorded->exchange, status, false,
            json_pack("{s:I, s:I}", "rows", (json_int_t)recorded->rows, "batches", (json_int_t)recorded->batches), err);
    }
    status = qn_ipc_encode_batch(recorded->encoder, &batch, &bytes, err);
    if (status == QN_OK) {
        status = put_message(recorded, &bytes, err);
    }
    if (status != QN_OK) {
        qn_array_release(&batch);
        return status;
    }
    recorded->rows += batch.length;
    recorded->batches++;
    qn__array_move(&batch, out);
    return QN_OK;
}

static void recorded_free(void *self)
{
    struct recorded *recorded = self;
    if (!recorded->ended) {
        struct qn_error ignored = QN_ERROR_INIT; /* nobody is there to hear that it could not be written */
        (void)end(recorded->recorder, recorded->exchange, QN_OK, true, NULL, &ignored);
    }
    qn_ipc_encoder_free(recorded->encoder);
    qn_schema_release(&recorded->schema);
    if (recorded->inner.release != NULL) {
        qn_stream_release(&recorded->inner);
    }
    qn_free(recorded);
}

/* Take the stream over, in any case, and record its schema. */
static enum qn_status begin_stream(struct recorded *recorded, struct ArrowArrayStream *out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { recorded_schema, recorded_next, recorded_free };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    QN_TRY(qn_stream_schema(&recorded->inner, &recorded->schema, err));
    QN_TRY(qn_ipc_encoder_new(&recorded->schema, &recorded->encoder, err));
    QN_TRY(qn_ipc_encode_schema(recorded->encoder, &bytes, err));
    QN_TRY(put_message(recorded, &bytes, err));
    return qn_stream_make(&ops, recorded, out, err);
}

static enum qn_status record_data(void *self, const struct qn_location *location, const struct qn_data_request *request,
                                  struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    struct recorder *recorder = self;
    struct recorded *recorded = qn_calloc(1, sizeof *recorded);
    if (recorded == NULL) {
        return qn__no_memory(err);
    }
    json_t *ask;
    recorded->recorder = recorder;
    enum qn_status status = qn_cassette_ask_data(location, request, &ask, err);
    if (status == QN_OK) {
        status = begin(recorder, ask, &recorded->exchange, err);
    }
    if (status != QN_OK) {
        qn_free(recorded);
        return status;
    }
    status = recorder->runtime->data(recorder->self, location, request, &recorded->inner, applied_out, err);
    if (status != QN_OK) {
        recorded->inner.release = NULL;
    } else {
        status = put(recorder, QN_CASSETTE_REPLY, recorded->exchange,
                     json_pack("{s:b, s:I}", "data", (int)(recorded->inner.release != NULL), "applied",
                               (json_int_t)*applied_out),
                     err);
        if (status == QN_OK && recorded->inner.release != NULL) {
            status = begin_stream(recorded, out, err);
            if (status == QN_OK) {
                return QN_OK;
            }
        }
    }
    recorded->ended = true;
    status = end(recorder, recorded->exchange, status, false, json_pack("{s:i, s:i}", "rows", 0, "batches", 0), err);
    recorded_free(recorded);
    if (status == QN_OK) {
        out->release = NULL;
    }
    return status;
}

/* ---- the small calls ---- */

static enum qn_status record_stable_url(void *self, const struct qn_location *location, char **out,
                                        struct qn_error *err)
{
    struct recorder *recorder = self;
    uint64_t exchange;
    char *url = NULL;
    json_t *ask;
    QN_TRY(qn_cassette_ask_stable_url(location, &ask, err));
    QN_TRY(begin(recorder, ask, &exchange, err));
    enum qn_status status = QN_OK;
    if (recorder->runtime->stable_url != NULL) {
        status = recorder->runtime->stable_url(recorder->self, location, &url, err);
    }
    status = end(recorder, exchange, status, false, json_pack("{s:s?}", "url", status == QN_OK ? url : NULL), err);
    if (status != QN_OK) {
        free(url);
        return status;
    }
    *out = url;
    return QN_OK;
}

static enum qn_status record_describe(void *self, char **out, struct qn_error *err)
{
    struct recorder *recorder = self;
    uint64_t exchange;
    char *text = NULL;
    qn_auto_json *said = NULL;
    if (recorder->runtime->describe == NULL) {
        *out = NULL;
        return QN_OK;
    }
    QN_TRY(begin(recorder, json_pack("{s:s}", "method", "describe"), &exchange, err));
    enum qn_status status = recorder->runtime->describe(recorder->self, &text, err);
    if (status == QN_OK && text != NULL) {
        status = qn_json_parse(text, strlen(text), "the description", &said, err);
    }
    json_t *ending = json_object();
    if (status == QN_OK && said != NULL) {
        (void)json_object_set(ending, "description", said);
    }
    status = end(recorder, exchange, status, false, ending, err);
    if (status != QN_OK) {
        free(text);
        return status;
    }
    *out = text;
    return QN_OK;
}

static enum qn_status record_capabilities(void *self, uint32_t *out, struct qn_error *err)
{
    struct recorder *recorder = self;
    if (recorder->runtime->capabilities == NULL) {
        *out = 0;
        return QN_OK;
    }
    return recorder->runtime->capabilities(recorder->self, out, err);
}

static void record_close(void *self)
{
    struct recorder *recorder = self;
    recorder->runtime->close(recorder->self);
    qn_cassette_writer_close(recorder->writer);
    qn_mask_dispose(&recorder->mask);
    qn_free(recorder);
}

/* A recorder is made by qn_recorder_wrap alone. */
static enum qn_status record_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                  struct qn_error *err)
{
    (void)context;
    (void)opening;
    (void)self_out;
    return qn_error_set(err, QN_ERR_INTERNAL, "a recorder was opened as a connector");
}

#define RECORDER(serial)                                                                                               \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_connector_runtime), .abi = QN_CONNECTOR_ABI, .name = "record",                 \
        .external = true, .one_at_a_time = (serial), .open = record_open, .close = record_close,                       \
        .discover = record_discover, .data = record_data, .stable_url = record_stable_url,                             \
        .describe = record_describe, .capabilities = record_capabilities                                               \
    }

/* ---- wrapping ---- */

static enum qn_status begin_session(struct recorder *recorder, const char *name,
                                    const struct qn_connector_opening *opening, struct qn_error *err)
{
    qn_auto_json *masked = NULL;
    qn_auto_json *arguments = json_loads(opening->arguments, 0, NULL);
    if (arguments == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn_mask_init(&recorder->mask, arguments, &masked, err));
    json_t *session = json_pack("{s:s, s:O}", "runtime", recorder->runtime->name, "arguments", masked);
    if (session != NULL && name != NULL && json_object_set_new(session, "name", json_string(name)) != 0) {
        json_decref(session);
        session = NULL;
    }
    return put(recorder, QN_CASSETTE_SESSION, 0, session, err);
}

enum qn_status qn_recorder_wrap(const char *path, const char *name, const struct qn_connector_opening *opening,
                                const struct qn_connector_runtime **runtime, void **self, struct qn_error *err)
{
    static const struct qn_connector_runtime several = RECORDER(false);
    static const struct qn_connector_runtime one_at_a_time = RECORDER(true);
    struct recorder *recorder = qn_calloc(1, sizeof *recorder);
    if (recorder == NULL) {
        return qn__no_memory(err);
    }
    recorder->runtime = *runtime;
    recorder->self = *self;
    enum qn_status status = qn_cassette_writer_open(path, &recorder->writer, err);
    if (status == QN_OK) {
        status = begin_session(recorder, name, opening, err);
    }
    if (status != QN_OK) {
        qn_cassette_writer_close(recorder->writer);
        qn_mask_dispose(&recorder->mask);
        qn_free(recorder);
        return status;
    }
    *runtime = recorder->runtime->one_at_a_time ? &one_at_a_time : &several;
    *self = recorder;
    return QN_OK;
}
