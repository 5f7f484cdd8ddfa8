/*
 * arrow.h: the two halves of the format "arrow". Not for other folders.
 */
#ifndef QN_FORMAT_ARROW_H
#define QN_FORMAT_ARROW_H

#include "arrow/ipc.h"
#include "format/format.h"

enum qn_status qn__arrow_read(void *context, const struct qn_format_input *input, struct ArrowArrayStream *out,
                              bool *all_out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__arrow_count(void *context, const struct qn_format_input *input, int64_t *rows_out,
                               struct qn_error *err) QN_MUST_CHECK;

enum qn_status qn__arrow_writer_new(void *context, const struct ArrowSchema *schema, const struct qn_format_sink *sink,
                                    void **writer_out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__arrow_write(void *writer, struct ArrowArray *batch, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__arrow_finish(void *writer, struct qn_error *err) QN_MUST_CHECK;
void qn__arrow_writer_free(void *writer);

/* decompress.c: LZ4 frames and ZSTD, to exactly the size that was promised. A qn_ipc_decompress. */
enum qn_status qn__format_decompress(enum qn_ipc_codec codec, const void *bytes, size_t size, void *into,
                                     size_t into_size, struct qn_error *err) QN_MUST_CHECK;

#endif
