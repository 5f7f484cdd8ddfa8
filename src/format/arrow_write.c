/*
 * arrow_write.c: Arrow IPC files.
 *
 * The file format, not the stream: every tool opens it (pyarrow.ipc.open_file, polars.read_ipc and scan_ipc, DuckDB, R),
 * its footer gives random access, and it costs a footer more than the stream, which it contains. Batches go out as they
 * come, in messages of at most PIECE bytes or a row, so that whoever reads them needs no more memory than that; small ones
 * are gathered to one write of FLUSH bytes. Threads: one at a time per writer.
 */
#include "format/arrow.h"

#include "arrow/ipc.h"
#include "arrow/stream.h"
#include "base/memory.h"

#include <string.h>

#define PIECE       ((int64_t)8 << 20)
#define FLUSH       ((size_t)1 << 20)
#define MAX_MESSAGE ((size_t)1 << 31) /* what is read again */
#define MAX_INDEX   ((size_t)1 << 30)
#define PREFIX      8

struct arrow_writer {
    const struct qn_format_sink *sink;
    struct ArrowSchema schema; /* of what comes */
    struct qn_ipc_encoder *encoder;
    struct qn_buffer out;    /* what the sink does not have yet */
    struct qn_buffer blocks; /* struct qn_ipc_block, one for each batch */
    int64_t at;              /* in the file, of the next byte of `out` */
};

void qn__arrow_writer_free(void *self)
{
    struct arrow_writer *writer = self;
    qn_schema_release(&writer->schema);
    qn_ipc_encoder_free(writer->encoder);
    qn_buffer_dispose(&writer->out);
    qn_buffer_dispose(&writer->blocks);
    qn_free(writer);
}

enum qn_status qn__arrow_writer_new(void *context, const struct ArrowSchema *schema, const struct qn_format_sink *sink,
                                    void **writer_out, struct qn_error *err)
{
    (void)context;
    struct arrow_writer *writer = qn_calloc(1, sizeof *writer);
    if (writer == NULL) {
        return qn__no_memory(err);
    }
    writer->sink = sink;
    writer->out.limit = MAX_MESSAGE;
    writer->blocks.limit = MAX_INDEX;
    enum qn_status status = qn_schema_copy(schema, &writer->schema, err);
    status = status != QN_OK ? status : qn_ipc_encoder_new(schema, &writer->encoder, err);
    status = status != QN_OK ? status : qn_ipc_encode_file_head(writer->encoder, &writer->out, err);
    if (status != QN_OK) {
        qn__arrow_writer_free(writer);
        return status;
    }
    *writer_out = writer;
    return QN_OK;
}

static enum qn_status flush(struct arrow_writer *writer, struct qn_error *err)
{
    if (writer->out.size > 0) {
        QN_TRY(writer->sink->write(writer->sink->context, writer->out.data, writer->out.size, err));
        writer->at += (int64_t)writer->out.size;
        qn_buffer_reset(&writer->out);
    }
    return QN_OK;
}

/* Rows of a batch of that size that make a message: a multiple of 8, so that bits are copied as bytes. */
static int64_t rows_a_piece(int64_t rows, int64_t bytes)
{
    if (bytes <= PIECE || rows <= 1) {
        return rows;
    }
    int64_t pieces = (bytes + PIECE - 1) / PIECE;
    int64_t n = rows / pieces + 1;
    return n < 8 ? n : (n + 7) / 8 * 8;
}

static enum qn_status write_piece(struct arrow_writer *writer, int64_t first, int64_t n, struct qn_error *err)
{
    uint32_t metadata;
    size_t before = writer->out.size;
    QN_TRY(qn_ipc_encode_rows(writer->encoder, first, n, &writer->out, err));
    memcpy(&metadata, writer->out.data + before + 4, sizeof metadata);
    struct qn_ipc_block block = { .offset = writer->at + (int64_t)before, .metadata = PREFIX + (int64_t)metadata };
    block.body = (int64_t)(writer->out.size - before) - block.metadata;
    qn_buffer_append(&writer->blocks, &block, sizeof block);
    QN_TRY(qn_buffer_check(&writer->blocks, "the footer of an Arrow file", err));
    return writer->out.size >= FLUSH ? flush(writer, err) : QN_OK;
}

enum qn_status qn__arrow_write(void *self, struct ArrowArray *batch, struct qn_error *err)
{
    struct arrow_writer *writer = self;
    QN_TRY(qn_ipc_encode_bind(writer->encoder, batch, err));
    int64_t step = rows_a_piece(batch->length, qn_array_bytes(&writer->schema, batch));
    for (int64_t first = 0; first < batch->length; first += step) {
        int64_t left = batch->length - first;
        QN_TRY(write_piece(writer, first, left < step ? left : step, err));
    }
    return QN_OK;
}

enum qn_status qn__arrow_finish(void *self, struct qn_error *err)
{
    struct arrow_writer *writer = self;
    const void *blocks = writer->blocks.data;
    size_t n_blocks = writer->blocks.size / sizeof(struct qn_ipc_block);
    QN_TRY(qn_ipc_encode_file_tail(writer->encoder, blocks, n_blocks, &writer->out, err));
    return flush(writer, err);
}
