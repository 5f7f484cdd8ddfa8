/*
 * output.c: the output of a run: what rows_out collected, or batches of a frame, as BATCH frames of the output schema.
 *
 * Needs the GIL.
 */
#include "worker.h"

#include "base/memory.h"

/* The bounds of one frame where the engine names none: small enough to be on its way early, and far below
 * QN_FRAME_MAX_FROM_RUN. */
#define FRAME_ROWS  65536
#define FRAME_BYTES (4 << 20)

/* The type texts, "name\ttype" a line: the names are those of the schema, so a name may hold anything. */
static char **read_types(const struct ArrowSchema *schema, const char *text, size_t size)
{
    size_t n = (size_t)schema->n_children;
    char **types = qn_calloc(n + 1, sizeof *types);
    if (types == NULL) {
        return NULL;
    }
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = schema->children[i]->name;
        size_t name_size = name != NULL ? strlen(name) : 0;
        const char *type = text + at + name_size + 1;
        if (name_size + 1 > size - at || memcmp(text + at, name, name_size) != 0 || type[-1] != '\t') {
            goto malformed;
        }
        const char *end = memchr(type, '\n', size - (size_t)(type - text));
        size_t type_size = (size_t)((end != NULL ? end : text + size) - type);
        types[i] = qn_strndup(type, type_size);
        if (types[i] == NULL) {
            goto malformed;
        }
        at = (size_t)(type - text) + type_size + (end != NULL);
    }
    return types;
malformed:
    for (size_t i = 0; i < n; i++) {
        qn_free(types[i]);
    }
    qn_free(types);
    return NULL;
}

void child_output_close(struct child_output *output)
{
    rows_out_free(output->rows);
    qn_ipc_encoder_free(output->encoder);
    qn_buffer_dispose(&output->buffer);
    *output = (struct child_output){ .rows = NULL };
}

int child_output_open(struct child *child, const void *schema, size_t size, const char *types, size_t types_size)
{
    struct child_output *output = &child->output;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_ipc_decoder *decoder = NULL;
    int result = -1;
    if (qn_ipc_decoder_new(0, &decoder, &err) != QN_OK || qn_ipc_decode_schema(decoder, schema, size, &err) != QN_OK ||
        qn_ipc_encoder_new(qn_ipc_decoder_schema(decoder), &output->encoder, &err) != QN_OK) {
        worker_raise(&err);
        goto out;
    }
    const struct ArrowSchema *fields = qn_ipc_encoder_schema(output->encoder);
    char **texts = NULL;
    if (types != NULL && (texts = read_types(fields, types, types_size)) == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the output types do not match the output schema");
        goto out;
    }
    output->rows = rows_out_new(fields, (const char *const *)texts);
    for (int64_t i = 0; texts != NULL && i < fields->n_children; i++) {
        qn_free(texts[i]);
    }
    qn_free(texts);
    if (output->rows == NULL) {
        goto out;
    }
    int64_t asked = child->options.batch_rows;
    child->drive.out = output->rows;
    child->drive.flush = child_output_flush;
    child->drive.context = child;
    child->drive.flush_rows = asked > 0 && asked < FRAME_ROWS ? asked : FRAME_ROWS;
    child->drive.flush_bytes = FRAME_BYTES;
    result = 0;
out:
    qn_ipc_decoder_free(decoder);
    return result;
}

static int send_batch(struct child *child, const struct ArrowArray *batch)
{
    struct child_output *output = &child->output;
    struct qn_error err = QN_ERROR_INIT;
    qn_buffer_reset(&output->buffer);
    if (qn_ipc_encode_batch(output->encoder, batch, &output->buffer, &err) != QN_OK ||
        qn_buffer_check(&output->buffer, "an output batch", &err) != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    if (output->buffer.size > QN_FRAME_MAX_FROM_RUN) {
        PyErr_Format(PyExc_ValueError, "%lld rows of output have %zu bytes: a row may not have more than 256 MiB",
                     (long long)batch->length, output->buffer.size);
        return -1;
    }
    struct iovec part = { .iov_base = output->buffer.data, .iov_len = output->buffer.size };
    channel_send(child->channel.fd, QN_FRAME_BATCH, &part, 1, -1);
    return 0;
}

int child_output_flush(void *context, struct rows_out *rows)
{
    struct child *child = context;
    if (rows_out_length(rows) == 0) {
        return 0;
    }
    qn_auto_array batch = { .release = NULL };
    return rows_out_finish(rows, &batch) < 0 ? -1 : send_batch(child, &batch);
}
