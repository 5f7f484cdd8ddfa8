/*
 * format.h: the table of file formats (include/qanat/plugin/format.h), and what asks it.
 *
 * Owns which formats there are, which one a file is, and that a read gives exactly the columns asked for. A format itself is
 * a struct of functions: Arrow IPC in this folder, the others registered by whoever brings them. Errors of a read name the
 * file. Threads: the table may be used by any; a stream and a writer by one at a time.
 */
#ifndef QN_FORMAT_FORMAT_H
#define QN_FORMAT_FORMAT_H

#include "base/status.h"

#include <qanat/plugin/format.h>

/* The format of that name; NULL where none is registered. Valid for ever. */
const struct qn_format *qn_format_find(const char *name);

/* The same, or QN_ERR_UNSUPPORTED that says what is registered and, for parquet csv json jsonl, that they come with the
 * Python package. */
enum qn_status qn_format_get(const char *name, const struct qn_format **out, struct qn_error *err) QN_MUST_CHECK;

/* By content type, then suffix of `name` (a path or URL without query), then the first bytes; each may be NULL. NULL:
 * unknown. */
const struct qn_format *qn_format_guess(const char *content_type, const char *name, const void *head, size_t head_size);

/* Read with exactly the columns asked for (projection done here where the format did not). QN_ERR_DATA where the file does
 * not have one of them, or has it twice. Keeps nothing of `input`; *out is the caller's. */
enum qn_status qn_format_read(const struct qn_format *format, const struct qn_format_input *input,
                              struct ArrowArrayStream *out, struct qn_error *err) QN_MUST_CHECK;

/* The rows of a file without reading them; -1 in *rows_out: unknown. */
enum qn_status qn_format_count(const struct qn_format *format, const struct qn_format_input *input, int64_t *rows_out,
                               struct qn_error *err) QN_MUST_CHECK;

struct qn_format_writer;

/* Begin a file of batches of `schema` (a struct schema, borrowed for the call); `sink` is borrowed until the writer is freed.
 * QN_ERR_UNSUPPORTED where the format does not write, or not such a column. */
enum qn_status qn_format_writer_new(const struct qn_format *format, const struct ArrowSchema *schema,
                                    const struct qn_format_sink *sink, struct qn_format_writer **out,
                                    struct qn_error *err) QN_MUST_CHECK;

/* The batch stays the caller's. A failure is sticky. */
enum qn_status qn_format_writer_write(struct qn_format_writer *writer, struct ArrowArray *batch,
                                      struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_format_writer_finish(struct qn_format_writer *writer, struct qn_error *err) QN_MUST_CHECK;

/* NULL is allowed. What was not finished is no file. */
void qn_format_writer_free(struct qn_format_writer *writer);

/* Arrow IPC, the one that is built in. */
extern const struct qn_format qn__format_arrow;

#endif
