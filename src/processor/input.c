/*
 * input.c: see input.h.
 */
#include "processor/input.h"

#include "arrow/stream.h"
#include "os/clock.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

enum qn_status qn_input_open(const struct qn_processor *processor, struct ArrowArrayStream *take_stream,
                             struct qn_input *input, struct qn_error *err)
{
    *input = (struct qn_input){ .processor = processor, .stream = *take_stream };
    take_stream->release = NULL;
    QN_TRY(qn_stream_schema(&input->stream, &input->schema, err));
    QN_TRY(qn_ipc_encoder_new(&input->schema, &input->encoder, err));
    if (processor->input.release != NULL) {
        enum qn_status status = qn__input_schema_check(&processor->input, &input->schema, err);
        if (status == QN_OK) {
            status = qn_required_init(&input->required, &processor->input, &input->schema, err);
        }
        input->refused = status == QN_ERR_DATA;
        QN_TRY(status);
    }
    return QN_OK;
}

void qn_input_dispose(struct qn_input *input)
{
    qn_array_release(&input->batch);
    qn_ipc_encoder_free(input->encoder);
    qn_required_dispose(&input->required);
    qn_schema_release(&input->schema);
    qn_stream_release(&input->stream);
    qn_buffer_dispose(&input->message);
    *input = (struct qn_input){ 0 };
}

/* How many rows of the batch go into one message. */
static int64_t rows_of_message(const struct qn_input *input)
{
    int64_t bytes = qn_array_bytes(&input->schema, &input->batch);
    int64_t rows = input->batch.length;
    if (bytes > QN_INPUT_MESSAGE_BYTES && rows > 0) {
        int64_t each = (bytes + rows - 1) / rows;
        rows = QN_INPUT_MESSAGE_BYTES / each;
    }
    return rows > 0 ? rows : 1;
}

/* The next batch of the stream that has rows, looked at. */
static enum qn_status next_batch(struct qn_input *input, struct qn_error *err)
{
    while (!input->ended && input->batch.release == NULL) {
        QN_TRY(qn_stream_next(&input->stream, &input->batch, err));
        if (input->batch.release == NULL) {
            input->ended = true;
        } else if (input->batch.length == 0) {
            qn_array_release(&input->batch);
        }
    }
    if (input->ended) {
        return QN_OK;
    }
    input->at = 0;
    input->step = rows_of_message(input);
    enum qn_status status = qn_required_check(&input->required, &input->batch, input->rows, err);
    if (status == QN_ERR_DATA) {
        input->refused = true;
        qn_error_prefix(err, "input");
    }
    return status;
}

/* Rows from `at` on that make one message: not past the batch of the plan that they are in. */
static int64_t rows_now(const struct qn_input *input)
{
    int64_t rows = input->batch.length - input->at;
    rows = rows < input->step ? rows : input->step;
    int64_t of_batch = input->processor->batch_rows;
    if (of_batch > 0) {
        int64_t left = of_batch - input->rows % of_batch;
        rows = rows < left ? rows : left;
    }
    return rows;
}

static void keep_slice(struct ArrowArray *array)
{
    array->release = NULL; /* everything in it is the whole batch's */
}

/* Append the next message of the batch that is being cut. */
static enum qn_status write_slice(struct qn_input *input, struct qn_error *err)
{
    struct ArrowArray slice = input->batch;
    slice.release = keep_slice;
    slice.length = rows_now(input);
    if (slice.length != input->batch.length) {
        slice.offset += input->at;
        slice.null_count = slice.null_count == 0 ? 0 : -1;
    }
    QN_TRY(qn_ipc_encode_batch(input->encoder, &slice, &input->message, err));
    input->at += slice.length;
    input->rows += slice.length;
    if (input->at == input->batch.length) {
        qn_array_release(&input->batch);
    }
    return qn_buffer_check(&input->message, "the input", err);
}

enum qn_status qn_input_next(struct qn_input *input, bool *more_out, struct qn_error *err)
{
    qn_buffer_reset(&input->message);
    *more_out = false;
    if (input->batch.release == NULL) {
        QN_TRY(next_batch(input, err));
    }
    if (input->ended) {
        return QN_OK;
    }
    QN_TRY(write_slice(input, err));
    *more_out = true;
    return QN_OK;
}

static enum qn_status write_first(struct qn_input *input, int fd, uint64_t *size_out, struct qn_error *err)
{
    static const char what[] = "the input of a run";
    int64_t begun = qn_clock_nanos();
    uint64_t size = 0;
    bool more = true;
    qn_buffer_reset(&input->message);
    QN_TRY(qn_ipc_encode_schema(input->encoder, &input->message, err));
    while (more) {
        QN_TRY(qn_buffer_check(&input->message, what, err));
        QN_TRY(qn_fd_write_all(fd, input->message.data, input->message.size, what, err));
        size += input->message.size;
        bool enough = size >= QN_INPUT_FIRST_BYTES || (input->one_batch_first && input->rows > 0);
        if (enough || qn_clock_nanos() - begun > QN_INPUT_FIRST_NANOS) {
            break;
        }
        QN_TRY(qn_input_next(input, &more, err));
    }
    if (!more) {
        qn_ipc_encode_end(&input->message);
        QN_TRY(qn_buffer_check(&input->message, what, err));
        QN_TRY(qn_fd_write_all(fd, input->message.data, input->message.size, what, err));
        size += input->message.size;
    }
    *size_out = size;
    return QN_OK;
}

enum qn_status qn_input_first(struct qn_input *input, int *fd_out, uint64_t *size_out, struct qn_error *err)
{
    int fd = memfd_create("qanat-input", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "making the input of a run: %m");
    }
    enum qn_status status = write_first(input, fd, size_out, err);
    if (status == QN_OK && fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        status = qn_error_set(err, QN_ERR_IO, "sealing the input of a run: %m");
    }
    if (status != QN_OK) {
        (void)close(fd);
        return status;
    }
    *fd_out = fd;
    return QN_OK;
}
