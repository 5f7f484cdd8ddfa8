/*
 * block_write.c: a stream of batches into a block: through a format's writer, into a file that is named for its bytes.
 *
 * Memory is bounded by what the format gathers (a row group). A block is whole or not there. Threads: any number of
 * blocks at once; they share the bundle's folder only.
 */
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blob.h"
#include "bundle/blocks.h"
#include "format/format.h"

#include <qanat/plugin/driver.h>
#include <stdio.h>

struct block_sink {
    struct qn_blob_writer *blob; /* NULL: only the digest is wanted */
    struct evp_md_ctx_st *digest;
    int64_t bytes;
    bool failed; /* the bundle's folder, not what is written to it */
};

static enum qn_status sink_write(void *context, const void *bytes, size_t size, struct qn_error *err)
{
    struct block_sink *sink = context;
    if (sink->blob == NULL) {
        QN_TRY(qn_digest_update(sink->digest, bytes, size, err));
    } else {
        enum qn_status status = qn_blob_writer_write(sink->blob, bytes, size, err);
        if (status != QN_OK) {
            sink->failed = true;
            return status;
        }
    }
    sink->bytes += (int64_t)size;
    return QN_OK;
}

static enum qn_status sink_open(const struct qn__block_writing *writing, const char *format, struct block_sink *sink,
                                struct qn_error *err)
{
    if (writing->digest_only) {
        return qn_digest_new(&sink->digest, err);
    }
    enum qn_status status = qn_blob_writer_new(writing->bundle_fd, format, &sink->blob, err);
    sink->failed = status != QN_OK;
    return status;
}

static enum qn_status sink_finish(struct block_sink *sink, struct qn__block *out, struct qn_error *err)
{
    struct qn_sha256 hash;
    if (sink->blob == NULL) {
        QN_TRY(qn_digest_finish(sink->digest, &hash, err));
    } else {
        enum qn_status status = qn_blob_writer_finish(sink->blob, &hash, err);
        if (status != QN_OK) {
            sink->failed = true;
            return status;
        }
    }
    qn_sha256_format(&hash, out->sha256);
    out->bytes = sink->bytes;
    return QN_OK;
}

static enum qn_status copy_batches(const struct qn__block_writing *writing, const struct ArrowSchema *schema,
                                   struct ArrowArrayStream *stream, struct qn_format_writer *writer, int64_t *rows_out,
                                   struct qn_error *err)
{
    int64_t rows = 0;
    for (;;) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_stream_next(stream, &batch, err));
        if (batch.release == NULL) {
            *rows_out = rows;
            return QN_OK;
        }
        QN_TRY(qn_interrupt_poll(err));
        if (batch.length > 0) {
            QN_TRY(qn_format_writer_write(writer, &batch, err));
        }
        rows += batch.length;
        if (writing->watch != NULL) {
            QN_TRY(writing->watch(writing->context, batch.length, qn_array_bytes(schema, &batch), err));
        }
    }
}

/* The schema as whoever reads the block gets it: only Arrow gives back every type as it was written. */
static enum qn_status schema_as_read(const struct qn__block_writing *writing, const struct ArrowSchema *schema,
                                     struct qn__block *block, struct qn_error *err)
{
    if (writing->digest_only) {
        return QN_OK;
    }
    if (qn_text_equal(block->format, "arrow")) {
        return qn__schema_to_text(schema, &block->schema, err);
    }
    const struct qn__block_place place = { .bundle_fd = writing->bundle_fd };
    const struct qn_state_entry entry = { .change = {
                                              .location = "", .format = block->format, .sha256 = block->sha256 } };
    qn_auto_schema made = { 0 };
    QN_TRY(qn__block_schema(&place, &entry, &made, err));
    return qn__schema_to_text(&made, &block->schema, err);
}

static enum qn_status write_block(const struct qn__block_writing *writing, const struct ArrowSchema *schema,
                                  struct ArrowArrayStream *stream, struct block_sink *sink, struct qn__block *out,
                                  struct qn_error *err)
{
    const struct qn_format *format = NULL;
    struct qn_format_writer *writer = NULL;
    const struct qn_format_sink to = { .struct_size = sizeof to, .context = sink, .write = sink_write };
    QN_TRY(qn_format_get(out->format, &format, err));
    QN_TRY(sink_open(writing, out->format, sink, err));
    QN_TRY(qn_format_writer_new(format, schema, &to, &writer, err));
    enum qn_status status = copy_batches(writing, schema, stream, writer, &out->rows, err);
    if (status == QN_OK) {
        status = qn_format_writer_finish(writer, err);
    }
    if (status == QN_OK) {
        status = sink_finish(sink, out, err);
    }
    qn_format_writer_free(writer);
    return status;
}

enum qn_status qn__block_write(const struct qn__block_writing *writing, struct ArrowArrayStream *stream,
                               struct qn__block *out, bool *bundle_failed_out, struct qn_error *err)
{
    struct qn__block block = { .rows = 0 };
    struct block_sink sink = { .failed = false };
    *bundle_failed_out = false;
    qn_auto_schema schema = { 0 };
    QN_TRY(qn_stream_schema(stream, &schema, err));
    (void)snprintf(block.format, sizeof block.format, "%s", schema.n_children > 0 ? writing->format : "arrow");
    enum qn_status status = write_block(writing, &schema, stream, &sink, &block, err);
    if (status == QN_OK) {
        status = schema_as_read(writing, &schema, &block, err);
    }
    qn_blob_writer_free(sink.blob);
    qn_digest_free(sink.digest);
    *bundle_failed_out = sink.failed;
    if (status != QN_OK) {
        qn__block_dispose(&block);
        return status;
    }
    *out = block;
    return QN_OK;
}

void qn__block_dispose(struct qn__block *block)
{
    qn_free(block->schema);
    block->schema = NULL;
}
