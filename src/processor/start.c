/*
 * start.c: what a run is told first.
 *
 * START carries parts (protocol.h) and, attached, the beginning of the input. See execution.h.
 */
#include "arrow/stream.h"
#include "base/memory.h"
#include "processor/channel.h"
#include "processor/execution.h"

#include <stdlib.h>

/* ---- the process ---- */

static void broker_log(void *context, const char *message)
{
    struct qn_execution *self = context;
    const struct qn_frame_log head = { .level = QN_RUN_WARN, .row = -1 };
    (void)qn__execution_log(self, &head, message, strlen(message)); /* the broker bounds what it says */
}

static enum qn_status join_broker(struct qn_execution *self, struct qn_error *err)
{
    struct qn_child *child = &self->taken.child;
    if (!child->kind.network) {
        return QN_OK;
    }
    QN_TRY(qn_broker_new(self->processor->network, broker_log, self, &self->broker, err));
    int listener = child->listener;
    int names = child->names;
    child->listener = child->names = -1;
    return qn_broker_take_run(self->broker, listener, child->pid_fd, names, err);
}

enum qn_status qn__execution_take_child(struct qn_execution *self, const char *modules, struct qn_error *err)
{
    const struct qn_processor *processor = self->processor;
    const char *launcher = processor->runtime.launcher;
    QN_TRY(qn_tier_choose(launcher, &self->tier, err));
    const struct qn_zygote_spec spec = { .runtime = &processor->runtime, .tier = self->tier, .modules = modules };
    const struct qn_child_kind kind = {
        .network = !self->check_only && qn_network_policy_mode(processor->network) != QN_NETWORK_OFF,
        .memory = (uint64_t)processor->memory,
    };
    struct qn_error error = QN_ERROR_INIT;
    enum qn_status status = qn_pool_take(&spec, &processor->zygote_key, kind, &self->taken, &error);
    if (status == QN_OK) {
        status = join_broker(self, &error);
    } else {
        qn_tier_explain(launcher, self->tier, &error);
    }
    if (status != QN_OK && err != NULL) {
        *err = error;
    }
    return status;
}

/* ---- the parts of START ---- */

static void put_part(struct qn_buffer *out, uint32_t kind, const void *bytes, size_t size)
{
    static const char padding[8];
    const struct qn_part head = { .kind = kind, .size = size };
    qn_buffer_append(out, &head, sizeof head);
    qn_buffer_append(out, bytes, size);
    qn_buffer_append(out, padding, -size & 7);
}

static void put_allow(const struct qn_texts *allow, struct qn_buffer *out)
{
    qn_auto_buffer lines = QN_BUFFER_INIT;
    for (size_t i = 0; i < allow->n; i++) {
        qn_buffer_append_text(&lines, allow->items[i]);
        qn_buffer_append_byte(&lines, '\n');
    }
    put_part(out, QN_PART_ALLOW, qn_buffer_text(&lines), lines.size);
    if (lines.failure != QN_BUFFER_FINE) {
        out->failure = lines.failure;
    }
}

/* The one switch that takes the language rules away, for tests of what the kernel alone stops. */
static bool rules_are_off(void)
{
#ifdef QN_FAULTS
    const char *text = getenv("QANAT_TEST_LANGUAGE_RULES");
    return text != NULL && strcmp(text, "off") == 0;
#else
    return false;
#endif
}

static void put_options(const struct qn_execution *self, uint64_t input_bytes, struct qn_buffer *out)
{
    const struct qn_processor *processor = self->processor;
    uint32_t flags = processor->bulk ? QN_RUN_BULK : 0;
    flags |= self->check_only ? QN_RUN_CHECK_ONLY : 0;
    flags |= rules_are_off() ? QN_RUN_RULES_OFF : 0;
    flags |= processor->bulk && processor->batch_rows == 0 ? QN_RUN_INPUT_WHOLE : 0;
    const struct qn_run_options_part options = { .version = QN_WORKER_VERSION,
                                                 .flags = flags,
                                                 .concurrency = (uint32_t)processor->concurrency,
                                                 .batch_rows = processor->batch_rows,
                                                 .input_bytes = input_bytes };
    put_part(out, QN_PART_OPTIONS, &options, sizeof options);
}

static enum qn_status checkpoint_refused(const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_ARGUMENT, "the checkpoint is one row of one column; this one has %s", what);
}

/* The one row of a checkpoint: schema message and batch message. */
static enum qn_status write_checkpoint(struct ArrowArrayStream *stream, struct qn_buffer *out, struct qn_error *err)
{
    qn_auto_schema schema = { 0 };
    QN_TRY(qn_stream_schema(stream, &schema, err));
    if (schema.n_children != 1) {
        return checkpoint_refused("another number of columns", err);
    }
    struct qn_ipc_encoder *encoder = NULL;
    QN_TRY(qn_ipc_encoder_new(&schema, &encoder, err));
    int64_t rows = 0;
    enum qn_status status = qn_ipc_encode_schema(encoder, out, err);
    while (status == QN_OK) {
        qn_auto_array batch = { 0 };
        status = qn_stream_next(stream, &batch, err);
        if (status != QN_OK || batch.release == NULL) {
            break;
        }
        rows += batch.length;
        if (rows > 1) {
            status = checkpoint_refused("more than one row", err);
        } else if (batch.length == 1) {
            status = qn_ipc_encode_batch(encoder, &batch, out, err);
        }
    }
    qn_ipc_encoder_free(encoder);
    if (status == QN_OK && rows == 0) {
        return checkpoint_refused("no row", err);
    }
    return status;
}

enum qn_status qn__execution_checkpoint(struct qn_execution *self, struct ArrowArrayStream *checkpoint,
                                        struct qn_error *err)
{
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    QN_TRY(write_checkpoint(checkpoint, &bytes, err));
    QN_TRY(qn_buffer_check(&bytes, "the checkpoint", err));
    put_part(&self->start, QN_PART_CHECKPOINT, bytes.data, bytes.size);
    return QN_OK;
}

static enum qn_status put_parts(struct qn_execution *self, uint64_t input_bytes, struct qn_error *err)
{
    const struct qn_processor *processor = self->processor;
    struct qn_buffer *out = &self->start;
    put_part(out, QN_PART_STATEMENT, processor->statement, processor->statement_size);
    put_part(out, QN_PART_NAME, processor->name, strlen(processor->name));
    put_allow(&processor->allow, out);
    put_options(self, input_bytes, out);
    if (!self->check_only) {
        put_part(out, QN_PART_OUTPUT_SCHEMA, processor->output_message.data, processor->output_message.size);
        put_part(out, QN_PART_OUTPUT_TYPES, processor->output_types, strlen(processor->output_types));
    }
    return qn_buffer_check(out, "what a run is told", err);
}

/* ---- the beginning ---- */

static enum qn_status begin(struct qn_execution *self, struct ArrowArrayStream *take_rows, int *input_fd,
                            struct qn_error *err)
{
    uint64_t input_bytes = 0;
    self->input_over = take_rows == NULL;
    if (take_rows != NULL) {
        QN_TRY(qn_input_open(self->processor, take_rows, &self->input, err));
        self->input.one_batch_first = self->timeout_per_batch;
        QN_TRY(qn_input_first(&self->input, input_fd, &input_bytes, err));
        self->input_over = self->input.ended;
    }
    return put_parts(self, input_bytes, err);
}

enum qn_status qn__execution_begin(struct qn_execution *self, struct ArrowArrayStream *take_rows, struct qn_error *err)
{
    int input_fd = -1;
    enum qn_status status = begin(self, take_rows, &input_fd, err);
    if (status != QN_OK) {
        qn_channel_close(&input_fd);
        return status;
    }
    self->sender = (struct qn_sender){ .head = { .kind = QN_FRAME_START, .size = self->start.size },
                                       .body = self->start.data,
                                       .attach = input_fd };
    return QN_OK;
}
