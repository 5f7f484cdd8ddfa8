/*
 * warm_up.c: everything that a small run does, done once in a child before it is ready.
 *
 * After a fork each page that is touched costs a fault, and each that is written to a copy: some hundred microseconds in all,
 * which nobody waits for here. Nothing is kept, and nothing goes out. Needs the GIL.
 */
#include "worker.h"

#define ROWS 4

static enum qn_status make_schema(struct ArrowSchema *out, struct qn_error *err)
{
    struct qn_type number = qn_type_of(QN_TYPE_INT64);
    struct qn_type text = qn_type_of(QN_TYPE_STRING);
    QN_TRY(qn_schema_struct(out, 2, err));
    QN_TRY(qn_schema_set(out, 0, "number", &number, err));
    return qn_schema_set(out, 1, "text", &text, err);
}

static enum qn_status make_batch(const struct ArrowSchema *schema, struct ArrowArray *out, struct qn_error *err)
{
    struct qn_batch batch;
    QN_TRY(qn_batch_init(&batch, schema, err));
    enum qn_status status = qn_batch_reserve(&batch, ROWS, err);
    for (int64_t row = 0; row < ROWS && status == QN_OK; row++) {
        qn_column_put_int64(&batch.columns[0], row);
        qn_column_put_bytes(&batch.columns[1], "warm", 4);
    }
    if (status == QN_OK) {
        status = qn_batch_finish(&batch, ROWS, out, err);
    }
    qn_batch_dispose(&batch);
    return status;
}

/* Both directions of IPC: the batch out, and in again. */
static enum qn_status there_and_back(const struct ArrowSchema *schema, const struct ArrowArray *batch,
                                     struct ArrowArray *out, struct qn_error *err)
{
    struct qn_ipc_encoder *encoder = NULL;
    struct qn_ipc_decoder *decoder = NULL;
    struct qn_ipc_owner copied = { .release = NULL };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    enum qn_status status = qn_ipc_encoder_new(schema, &encoder, err);
    if (status == QN_OK) {
        status = qn_ipc_encode_schema(encoder, &bytes, err);
    }
    size_t at = bytes.size;
    if (status == QN_OK) {
        status = qn_ipc_encode_batch(encoder, batch, &bytes, err);
    }
    if (status == QN_OK) {
        status = qn_ipc_decoder_new(0, &decoder, err);
    }
    if (status == QN_OK) {
        status = qn_ipc_decode_schema(decoder, bytes.data, at, err);
    }
    if (status == QN_OK) {
        status = qn_ipc_decode_batch(decoder, bytes.data + at, bytes.size - at, copied, out, err);
    }
    qn_ipc_decoder_free(decoder);
    qn_ipc_encoder_free(encoder);
    return status;
}

static int forget(void *context, struct rows_out *rows)
{
    (void)context;
    qn_auto_array batch = { .release = NULL };
    return rows_out_finish(rows, &batch);
}

static int drive_once(PyObject *function, const struct ArrowSchema *schema, const struct ArrowArray *batch)
{
    struct rows_in *in = rows_in_new(schema);
    struct rows_out *out = in != NULL ? rows_out_new(schema, NULL) : NULL;
    int result = -1;
    if (out != NULL) {
        struct drive drive = {
            .function = function, .checkpoint = Py_None, .out = out, .flush_rows = ROWS, .flush = forget
        };
        result = drive_batch(&drive, in, batch, 0) == DRIVE_OK ? 0 : -1;
    }
    rows_out_free(out);
    rows_in_free(in);
    return result;
}

int child_warm_up(PyObject *function)
{
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_schema schema = { .release = NULL };
    qn_auto_array made = { .release = NULL };
    qn_auto_array batch = { .release = NULL };
    if (make_schema(&schema, &err) != QN_OK || make_batch(&schema, &made, &err) != QN_OK ||
        there_and_back(&schema, &made, &batch, &err) != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    return drive_once(function, &schema, &batch);
}
