/*
 * output.c: see output.h.
 */
#include "processor/output.h"

#include "arrow/stream.h"
#include "base/memory.h"
#include "processor/protocol.h"

/* A struct schema of the checkpoint column alone, and the encoder that keeps its last value. */
static enum qn_status init_last(struct qn_output *output, struct qn_error *err)
{
    const struct qn_processor *processor = output->processor;
    if (processor->checkpoint < 0) {
        return QN_OK;
    }
    QN_TRY(qn_schema_struct(&output->last_schema, 1, err));
    struct ArrowSchema *field = output->last_schema.children[0];
    qn_schema_release(field);
    QN_TRY(qn_schema_copy(processor->output.children[processor->checkpoint], field, err));
    return qn_ipc_encoder_new(&output->last_schema, &output->last_encoder, err);
}

static enum qn_status init(struct qn_output *output, struct qn_error *err)
{
    const struct qn_processor *processor = output->processor;
    QN_TRY(qn_ipc_decoder_new(QN_FRAME_MAX_FROM_RUN, &output->decoder, err));
    QN_TRY(qn_ipc_decoder_set_schema(output->decoder, &processor->output, err));
    return init_last(output, err);
}

enum qn_status qn_output_init(const struct qn_processor *processor, struct qn_output *output, struct qn_error *err)
{
    *output = (struct qn_output){ .processor = processor };
    enum qn_status status = init(output, err);
    if (status != QN_OK) {
        qn_output_dispose(output);
    }
    return status;
}

void qn_output_dispose(struct qn_output *output)
{
    qn_ipc_decoder_free(output->decoder);
    qn_ipc_encoder_free(output->last_encoder);
    qn_schema_release(&output->last_schema);
    qn_buffer_dispose(&output->last);
    *output = (struct qn_output){ 0 };
}

uint64_t qn_output_left(const struct qn_output *output)
{
    int64_t left = output->processor->output_limit - output->bytes;
    return left > 0 ? (uint64_t)left : 0;
}

static void free_payload(void *payload)
{
    qn_free(payload);
}

static void keep_borrowed(struct ArrowArray *array)
{
    array->release = NULL;
}

/* Keep the checkpoint column of the last row, as a message: the batch itself is going to be the caller's. */
static enum qn_status keep_last(struct qn_output *output, const struct ArrowArray *batch, struct qn_error *err)
{
    if (output->last_encoder == NULL) {
        return QN_OK;
    }
    struct ArrowArray column = *batch->children[output->processor->checkpoint];
    column.offset += batch->offset + batch->length - 1;
    column.length = 1;
    column.null_count = column.null_count == 0 ? 0 : -1;
    column.release = keep_borrowed;
    struct ArrowArray *children[1] = { &column };
    const void *buffers[1] = { NULL };
    const struct ArrowArray row = {
        .length = 1, .n_buffers = 1, .n_children = 1, .buffers = buffers, .children = children, .release = keep_borrowed
    };
    qn_buffer_reset(&output->last);
    QN_TRY(qn_ipc_encode_batch(output->last_encoder, &row, &output->last, err));
    return qn_buffer_check(&output->last, "the checkpoint", err);
}

/* Count the bytes: those of the frame, or those that it unpacks to. */
static bool within_limit(struct qn_output *output, size_t size, const struct ArrowArray *batch)
{
    int64_t unpacked = qn_array_bytes(&output->processor->output, batch);
    output->bytes += unpacked > (int64_t)size ? unpacked : (int64_t)size;
    output->over_limit = output->bytes > output->processor->output_limit;
    return !output->over_limit;
}

enum qn_status qn_output_take(struct qn_output *output, char *take_payload, size_t size, struct ArrowArray *out,
                              struct qn_error *err)
{
    const struct qn_ipc_owner owner = { .release = free_payload, .context = take_payload };
    qn_auto_array batch = { 0 };
    QN_TRY(qn_ipc_decode_batch(output->decoder, take_payload, size, owner, &batch, err));
    if (!within_limit(output, size, &batch) || batch.length == 0) {
        return QN_OK;
    }
    QN_TRY(keep_last(output, &batch, err));
    output->rows += batch.length;
    *out = batch;
    batch.release = NULL;
    return QN_OK;
}

enum qn_status qn_output_checkpoint(const struct qn_output *output, struct ArrowArrayStream *out, struct qn_error *err)
{
    if (output->last.size == 0) {
        out->release = NULL;
        return QN_OK;
    }
    struct qn_ipc_decoder *decoder = NULL;
    const struct qn_ipc_owner copied = { .release = NULL };
    qn_auto_schema schema = { 0 };
    qn_auto_array row = { 0 };
    enum qn_status status = qn_schema_copy(&output->last_schema, &schema, err);
    if (status == QN_OK) {
        status = qn_ipc_decoder_new(0, &decoder, err);
    }
    if (status == QN_OK) {
        status = qn_ipc_decoder_set_schema(decoder, &output->last_schema, err);
    }
    if (status == QN_OK) {
        status = qn_ipc_decode_batch(decoder, output->last.data, output->last.size, copied, &row, err);
    }
    qn_ipc_decoder_free(decoder);
    return status == QN_OK ? qn_stream_from_arrays(&schema, &row, 1, out, err) : status;
}
