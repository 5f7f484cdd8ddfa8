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

/* The type texts, "name\ttype" a line: the names are those of the schema, so a name may hold anything. False where they are
 * not that. */
static bool read_types(struct child_output *output, const struct ArrowSchema *schema, const char *text, size_t size)
{
    size_t at = 0;
    for (int64_t i = 0; i < schema->n_children; i++) {
        const char *name = schema->children[i]->name != NULL ? schema->children[i]->name : "";
        size_t name_size = strlen(name);
        if (name_size + 1 > size - at || memcmp(text + at, name, name_size) != 0 || text[at + name_size] != '\t') {
            return false;
        }
        at += name_size + 1;
        const char *end = memchr(text + at, '\n', size - at);
        size_t type_size = end != NULL ? (size_t)(end - text) - at : size - at;
        output->types[i] = qn_strndup(text + at, type_size);
        if (output->types[i] == NULL) {
            return false;
        }
        at += type_size + (end != NULL);
    }
    return true;
}

/* Where the engine does not tell: from the schema. */
static bool write_types(struct child_output *output, const struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        struct qn_type type;
        char text[QN_TYPE_MAX_FORMAT] = "?";
        if (qn_type_from_format(schema->children[i]->format, &type, NULL) == QN_OK) {
            qn_type_to_text(&type, text);
        }
        output->types[i] = qn_strdup(text);
        if (output->types[i] == NULL) {
            return false;
        }
    }
    return true;
}

void child_output_close(struct child_output *output)
{
    for (int64_t i = 0; i < output->n_types; i++) {
        qn_free(output->types[i]);
    }
    qn_free(output->types);
    rows_out_free(output->rows);
    qn_ipc_encoder_free(output->encoder);
    qn_buffer_dispose(&output->buffer);
    *output = (struct child_output){ .rows = NULL };
}

static int open_encoder(struct child_output *output, const void *schema, size_t size)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_ipc_decoder *decoder = NULL;
    enum qn_status status = qn_ipc_decoder_new(0, &decoder, &err);
    if (status == QN_OK) {
        status = qn_ipc_decode_schema(decoder, schema, size, &err);
    }
    if (status == QN_OK) {
        status = qn_ipc_encoder_new(qn_ipc_decoder_schema(decoder), &output->encoder, &err);
    }
    qn_ipc_decoder_free(decoder);
    if (status != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    return 0;
}

int child_output_open(struct child *child, const void *schema, size_t size, const char *types, size_t types_size)
{
    struct child_output *output = &child->output;
    if (open_encoder(output, schema, size) < 0) {
        return -1;
    }
    const struct ArrowSchema *fields = qn_ipc_encoder_schema(output->encoder);
    output->types = qn_calloc((size_t)fields->n_children + 1, sizeof *output->types);
    if (output->types == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    output->n_types = fields->n_children;
    if (!(types != NULL ? read_types(output, fields, types, types_size) : write_types(output, fields))) {
        PyErr_SetString(PyExc_RuntimeError, "the output types do not match the output schema");
        return -1;
    }
    output->rows = rows_out_new(fields, (const char *const *)output->types);
    if (output->rows == NULL) {
        return -1;
    }
    int64_t asked = child->options.flags & QN_RUN_BULK ? 0 : child->options.batch_rows;
    child->drive.out = output->rows;
    child->drive.flush = child_output_flush;
    child->drive.context = child;
    child->drive.flush_rows = asked > 0 && asked < FRAME_ROWS ? asked : FRAME_ROWS;
    child->drive.flush_bytes = FRAME_BYTES;
    return 0;
}

int child_output_send(struct child *child, struct qn_ipc_encoder *encoder, const struct ArrowArray *batch)
{
    struct child_output *output = &child->output;
    struct qn_error err = QN_ERROR_INIT;
    qn_buffer_reset(&output->buffer);
    if (qn_ipc_encode_batch(encoder, batch, &output->buffer, &err) != QN_OK ||
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
    return rows_out_finish(rows, &batch) < 0 ? -1 : child_output_send(child, child->output.encoder, &batch);
}
