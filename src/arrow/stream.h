/*
 * stream.h (arrow): making Arrow streams out of callbacks that report typed errors, and small streams in memory.
 *
 * A stream of ours keeps the typed error of its last failure (qn_stream_error, include/qanat/stream.h). Threads: a stream
 * is used by one at a time.
 */
#ifndef QN_ARROW_STREAM_H
#define QN_ARROW_STREAM_H

#include "arrow/type.h"

struct qn_stream_ops {
    enum qn_status (*schema)(void *self, struct ArrowSchema *out, struct qn_error *err);
    /* out->release stays NULL at the end. After the end or a failure it is not called again. */
    enum qn_status (*next)(void *self, struct ArrowArray *out, struct qn_error *err);
    void (*free)(void *self);
};

/* Make a stream; on success it owns `self`, on failure the caller still does. */
enum qn_status qn_stream_make(const struct qn_stream_ops *ops, void *self, struct ArrowArrayStream *out,
                              struct qn_error *err) QN_MUST_CHECK;

/* A stream of one schema and n arrays, all moved in (the sources are marked released). */
enum qn_status qn_stream_from_arrays(struct ArrowSchema *schema, struct ArrowArray *arrays, int64_t n,
                                     struct ArrowArrayStream *out, struct qn_error *err) QN_MUST_CHECK;

/* Calls on any stream, with the typed error. At the end out->release is NULL. */
enum qn_status qn_stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out,
                                struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out,
                              struct qn_error *err) QN_MUST_CHECK;

/* Arrow bytes of an array and all below it: buffers as their lengths imply, and a byte for what has none (nulls, structs
 * without fields). For progress and limits. */
int64_t qn_array_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array);

#endif
