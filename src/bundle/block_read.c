/*
 * block_read.c: the rows of one block, wherever its bytes are: in the bundle, or where a reference says.
 *
 * Errors name the block by its location. Threads: any; a stream is used by one at a time.
 */
#include "arrow/stream.h"
#include "bundle/blob.h"
#include "bundle/blocks.h"
#include "format/format.h"

#include <unistd.h>

enum qn_status qn__block_open(const struct qn__block_place *place, const struct qn_change *block, int *fd_out,
                              struct qn_error *err)
{
    if (block->url != NULL) {
        return qn__reference_open(block, place->folder, place->timeout, fd_out, err);
    }
    struct qn_sha256 hash;
    if (!qn_sha256_parse(block->sha256, &hash)) {
        return qn_error_set(err, QN_ERR_DATA, "the log has no digest of the block of \"%.200s\"", block->location);
    }
    enum qn_status status = qn_blob_open(place->bundle_fd, &hash, block->format, fd_out, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "location \"%.200s\"", block->location);
    }
    return status;
}

/* A block's format, and its bytes as what that reads. */
static enum qn_status open_input(const struct qn__block_place *place, const struct qn_change *block,
                                 const struct qn_format **format_out, struct qn_format_input *input,
                                 struct qn_error *err)
{
    QN_TRY(qn_format_get(block->format, format_out, err));
    *input = (struct qn_format_input){ .struct_size = sizeof *input, .fd = -1, .name = block->location };
    return qn__block_open(place, block, &input->fd, err);
}

enum qn_status qn__block_stream(const struct qn__block_place *place, const struct qn_change *block,
                                const char *const *columns, size_t n_columns, struct ArrowArrayStream *out,
                                struct qn_error *err)
{
    const struct qn_format *format = NULL;
    struct qn_format_input input;
    QN_TRY(open_input(place, block, &format, &input, err));
    input.columns = columns;
    input.n_columns = n_columns;
    enum qn_status status = qn_format_read(format, &input, out, err);
    (void)close(input.fd);
    return status;
}

enum qn_status qn__block_schema(const struct qn__block_place *place, const struct qn_state_entry *entry,
                                struct ArrowSchema *out, struct qn_error *err)
{
    if (entry->schema != NULL) {
        enum qn_status status = qn__schema_from_text(entry->schema, out, err);
        if (status != QN_OK) {
            qn_error_prefix(err, "location \"%.200s\"", entry->change.location);
        }
        return status;
    }
    qn_auto_stream stream = { 0 };
    QN_TRY(qn__block_stream(place, &entry->change, NULL, 0, &stream, err));
    return qn_stream_schema(&stream, out, err);
}

static enum qn_status count_by_reading(const struct qn__block_place *place, const struct qn_change *block, int64_t *out,
                                       struct qn_error *err)
{
    qn_auto_stream stream = { 0 };
    int64_t rows = 0;
    QN_TRY(qn__block_stream(place, block, NULL, 0, &stream, err));
    for (;;) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_stream_next(&stream, &batch, err));
        if (batch.release == NULL) {
            *out = rows;
            return QN_OK;
        }
        rows += batch.length;
    }
}

enum qn_status qn__block_rows(const struct qn__block_place *place, const struct qn_change *block, int64_t *out,
                              struct qn_error *err)
{
    if (block->rows >= 0) {
        *out = block->rows;
        return QN_OK;
    }
    const struct qn_format *format = NULL;
    struct qn_format_input input;
    int64_t rows = -1;
    QN_TRY(open_input(place, block, &format, &input, err));
    enum qn_status status = qn_format_count(format, &input, &rows, err);
    (void)close(input.fd);
    QN_TRY(status);
    if (rows < 0) {
        return count_by_reading(place, block, out, err);
    }
    *out = rows;
    return QN_OK;
}
