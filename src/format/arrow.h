/*
 * arrow.h: the two halves of the format "arrow". Not for other folders.
 */
#ifndef QN_FORMAT_ARROW_H
#define QN_FORMAT_ARROW_H

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

#endif
