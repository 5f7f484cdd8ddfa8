/*
 * frame.c: a frame that a bulk statement returned, batches of whatever schema, as BATCH frames of the output schema.
 *
 * Columns go by their names. Where the stream's types are those of the output already, batches are encoded as they are;
 * otherwise each value is cast, exactly or not at all (frame_cast.c). Needs the GIL; lets go of it only while the stream
 * makes its next batch.
 */
#include "worker.h"

#include "arrow/stream.h"
#include "base/memory.h"
#include "frame_cast.h"

#define STEP_ROWS 1024 /* that are cast before the size of the batch is looked at */

struct frame {
    struct child *child;
    const struct ArrowSchema *output; /* borrowed */
    struct ArrowSchema schema;        /* of the stream */
    struct qn_batch_reader reader;
    struct qn_batch batch; /* of the output schema */
    struct frame_cast *casts;
    int64_t n_casts;
    int64_t *from; /* which column of the stream goes into each of the output */
    /* where nothing has to be cast: */
    struct qn_ipc_encoder *encoder;
    struct ArrowSchema picked; /* the stream's fields in the output's order; borrowed children */
    struct ArrowSchema **picked_fields;
    struct ArrowArray **picked_columns;
};

void frame_close(struct frame *frame)
{
    if (frame == NULL) {
        return;
    }
    for (int64_t i = 0; i < frame->n_casts; i++) {
        frame_cast_dispose(&frame->casts[i]);
    }
    qn_free(frame->casts);
    qn_free(frame->from);
    qn_batch_dispose(&frame->batch);
    qn_batch_reader_dispose(&frame->reader);
    qn_ipc_encoder_free(frame->encoder);
    qn_free(frame->picked_fields);
    qn_free(frame->picked_columns);
    qn_schema_release(&frame->schema);
    qn_free(frame);
}

static const char *expected_type(const struct frame *frame, int64_t i)
{
    return frame->child->output.types[i];
}

/* ---- columns by name ---- */

static enum qn_status find_columns(struct frame *frame, struct qn_error *err)
{
    const struct ArrowSchema *output = frame->output;
    const struct ArrowSchema *schema = &frame->schema;
    frame->from = qn_calloc((size_t)output->n_children, sizeof *frame->from);
    if (frame->from == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < output->n_children; i++) {
        const char *name = output->children[i]->name;
        int64_t found = qn_schema_find(schema, name);
        if (found == -2) {
            return qn_error_set(err, QN_ERR_DATA, "the frame has two columns named \"%s\"", name);
        }
        if (found < 0) {
            return qn_error_set(err, QN_ERR_DATA, "field \"%s\": missing: the frame has no column of that name%s", name,
                                frame->child->output.hint);
        }
        frame->from[i] = found;
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (qn_schema_find(output, schema->children[i]->name) < 0) {
            return qn_error_set(err, QN_ERR_DATA, "field \"%s\": not in the output schema: drop the column",
                                schema->children[i]->name);
        }
    }
    return QN_OK;
}

/* ---- as they are ---- */

static bool is_same_layout(const struct ArrowSchema *a, const struct ArrowSchema *b)
{
    return strcmp(a->format, b->format) == 0 && a->n_children == 0 && b->n_children == 0 && a->dictionary == NULL;
}

/* Set frame->encoder where every column goes out in the layout that the output schema has. */
static enum qn_status prepare_direct(struct frame *frame, struct qn_error *err)
{
    int64_t n = frame->output->n_children;
    frame->picked_fields = qn_calloc((size_t)n + 1, sizeof *frame->picked_fields);
    frame->picked_columns = qn_calloc((size_t)n + 1, sizeof *frame->picked_columns);
    if (frame->picked_fields == NULL || frame->picked_columns == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < n; i++) {
        frame->picked_fields[i] = frame->schema.children[frame->from[i]];
    }
    frame->picked = (struct ArrowSchema){
        .format = "+s", .name = "", .n_children = n, .children = frame->picked_fields, .release = NULL
    };
    struct qn_ipc_encoder *encoder = NULL;
    if (qn_ipc_encoder_new(&frame->picked, &encoder, NULL) != QN_OK) {
        return QN_OK; /* the casts say which type it is */
    }
    const struct ArrowSchema *written = qn_ipc_encoder_schema(encoder);
    for (int64_t i = 0; i < n; i++) {
        if (!is_same_layout(written->children[i], frame->output->children[i])) {
            qn_ipc_encoder_free(encoder);
            return QN_OK;
        }
    }
    frame->encoder = encoder;
    return QN_OK;
}

/* The nulls of required columns are refused by the cast, which says the row: is there none? */
static bool has_no_forbidden_null(const struct frame *frame)
{
    for (int64_t i = 0; i < frame->output->n_children; i++) {
        const struct qn_reader *reader = &frame->reader.columns[frame->from[i]];
        if (!(frame->output->children[i]->flags & ARROW_FLAG_NULLABLE) && reader->nullable_seen) {
            for (int64_t row = 0; row < reader->length; row++) {
                if (qn_reader_is_null(reader, row)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static int put_direct(struct frame *frame, const struct ArrowArray *batch)
{
    struct child *child = frame->child;
    int64_t n = frame->output->n_children;
    for (int64_t i = 0; i < n; i++) {
        frame->picked_columns[i] = batch->children[frame->from[i]];
    }
    struct ArrowArray picked = *batch;
    picked.n_children = n;
    picked.children = frame->picked_columns;
    int64_t bytes = qn_array_bytes(&frame->picked, &picked);
    int64_t rows = child->drive.flush_rows;
    if (bytes > child->drive.flush_bytes) {
        int64_t fitting = (int64_t)((double)child->drive.flush_bytes / (double)bytes * (double)batch->length);
        rows = fitting < 1 ? 1 : fitting < rows ? fitting : rows;
    }
    for (int64_t at = 0; at < batch->length; at += rows) {
        struct ArrowArray slice = picked;
        slice.offset = batch->offset + at;
        slice.length = batch->length - at < rows ? batch->length - at : rows;
        slice.null_count = -1;
        if (child_output_send(child, frame->encoder, &slice) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- cast ---- */

static enum qn_status prepare_casts(struct frame *frame, struct qn_error *err)
{
    int64_t n = frame->output->n_children;
    QN_TRY(qn_batch_init(&frame->batch, frame->output, err));
    frame->casts = qn_calloc((size_t)n, sizeof *frame->casts);
    if (frame->casts == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < n; i++) {
        QN_TRY(frame_cast_init(&frame->casts[i], &frame->reader.columns[frame->from[i]], &frame->batch.columns[i],
                               frame->output->children[i], expected_type(frame, i), err));
        frame->n_casts = i + 1;
    }
    return QN_OK;
}

static int64_t column_bytes(const struct qn_column *column)
{
    int64_t bytes = column->total_bytes + column->length * (int64_t)column->width;
    for (int64_t i = 0; i < column->n_children; i++) {
        bytes += column_bytes(&column->children[i]);
    }
    return bytes;
}

static int flush_cast(struct frame *frame, int64_t rows, struct qn_error *err)
{
    qn_auto_array batch = { .release = NULL };
    if (rows == 0) {
        return 0;
    }
    if (qn_batch_finish(&frame->batch, rows, &batch, err) != QN_OK) {
        worker_raise(err);
        return -1;
    }
    return child_output_send(frame->child, frame->child->output.encoder, &batch);
}

static int put_cast(struct frame *frame, int64_t length, int64_t first_row)
{
    struct child *child = frame->child;
    struct qn_error err = QN_ERROR_INIT;
    int64_t pending = 0;
    for (int64_t at = 0; at < length; at += STEP_ROWS) {
        int64_t n = length - at < STEP_ROWS ? length - at : STEP_ROWS;
        int64_t bytes = 0;
        for (int64_t i = 0; i < frame->n_casts; i++) {
            if (frame_cast_put(&frame->casts[i], at, n, expected_type(frame, i), &err) != QN_OK) {
                if (err.row >= 0) {
                    PyErr_Format(PyExc_ValueError, "row %lld, %s", (long long)first_row + (long long)err.row,
                                 err.message);
                } else {
                    worker_raise(&err);
                }
                return -1;
            }
            bytes += column_bytes(&frame->batch.columns[i]);
        }
        pending += n;
        if (bytes >= child->drive.flush_bytes || pending + STEP_ROWS > child->drive.flush_rows) {
            if (flush_cast(frame, pending, &err) < 0) {
                return -1;
            }
            pending = 0;
        }
    }
    return flush_cast(frame, pending, &err);
}

/* ---- frames ---- */

static int refuse(const struct qn_error *err)
{
    if (err->status == QN_ERR_NO_MEMORY) {
        PyErr_NoMemory();
    } else {
        PyErr_SetString(PyExc_ValueError, err->message);
    }
    return -1;
}

static enum qn_status prepare(struct frame *frame, struct qn_error *err)
{
    if (strcmp(frame->schema.format, "+s") != 0) {
        return qn_error_set(err, QN_ERR_DATA, "the statement returned one column, not a frame");
    }
    QN_TRY(find_columns(frame, err));
    QN_TRY(qn_batch_reader_init(&frame->reader, &frame->schema, err));
    QN_TRY(prepare_direct(frame, err));
    return prepare_casts(frame, err);
}

struct frame *frame_open(struct child *child, struct ArrowSchema *take_schema)
{
    struct frame *frame = qn_calloc(1, sizeof *frame);
    if (frame == NULL) {
        qn_schema_release(take_schema);
        PyErr_NoMemory();
        return NULL;
    }
    frame->child = child;
    frame->output = qn_ipc_encoder_schema(child->output.encoder);
    frame->schema = *take_schema;
    take_schema->release = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (prepare(frame, &err) != QN_OK) {
        refuse(&err);
        frame_close(frame);
        return NULL;
    }
    return frame;
}

int frame_put(struct frame *frame, const struct ArrowArray *batch)
{
    struct qn_error err = QN_ERROR_INIT;
    struct child_output *output = &frame->child->output;
    if (qn_batch_reader_bind(&frame->reader, batch, &err) != QN_OK) {
        return refuse(&err);
    }
    int result = frame->encoder != NULL && has_no_forbidden_null(frame)
                     ? put_direct(frame, batch)
                     : put_cast(frame, batch->length, output->frame_rows);
    output->frame_rows += batch->length;
    return result;
}

static int put_batches(struct frame *frame, struct ArrowArrayStream *stream)
{
    struct qn_error err = QN_ERROR_INIT;
    for (;;) {
        qn_auto_array batch = { .release = NULL };
        PyThreadState *thread = PyEval_SaveThread();
        enum qn_status status = qn_stream_next(stream, &batch, &err);
        PyEval_RestoreThread(thread);
        if (status != QN_OK) {
            return refuse(&err);
        }
        if (batch.release == NULL) {
            return 0;
        }
        if (frame_put(frame, &batch) < 0) {
            return -1;
        }
    }
}

int child_put_stream(struct child *child, struct ArrowArrayStream *stream)
{
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowSchema schema = { .release = NULL };
    uint64_t begun = worker_nanos();
    if (qn_stream_schema(stream, &schema, &err) != QN_OK) {
        return refuse(&err);
    }
    struct frame *frame = frame_open(child, &schema);
    int result = frame == NULL ? -1 : put_batches(frame, stream);
    frame_close(frame);
    child->output.frame_nanos += worker_nanos() - begun;
    return result;
}
