/*
 * stream.h: the Arrow C data and C stream interfaces, and the typed error behind a stream of ours.
 *
 * The three structs are those of the Apache Arrow specification (https://arrow.apache.org/docs/format/CDataInterface.html
 * and CStreamInterface.html), whose include guards they share with every other implementation. A stream is used by one
 * thread at a time; a batch that get_next has handed out may go to any thread.
 */
#ifndef QANAT_STREAM_H
#define QANAT_STREAM_H

#include <qanat/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE           2
#define ARROW_FLAG_MAP_KEYS_SORTED    4

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};
#endif

/* Copy the typed error of the last call that failed on `stream` into *err. For a stream that qanat made this is the
 * whole error; for any other it is QN_ERR_DATA with the text of get_last_error. Returns the status (QN_OK where a stream
 * of ours has not failed). `stream` must not be released. */
QN_API enum qn_status qn_stream_error(struct ArrowArrayStream *stream, struct qn_error *err);

/* What a stream of the caller's own is made of. All of them REQUIRED; called by one thread at a time. */
struct qn_stream_calls {
    size_t struct_size;
    enum qn_status (*schema)(void *self, struct ArrowSchema *out, struct qn_error *err);
    /* out->release stays NULL at the end. After the end or a failure it is not called again. */
    enum qn_status (*next)(void *self, struct ArrowArray *out, struct qn_error *err);
    void (*free)(void *self); /* when the stream is released */
};

/* Make a stream whose failures keep their whole error (qn_stream_error), as streams of plugins should. On
 * success the stream owns `self`, on failure the caller still does; `calls` is copied. */
QN_API enum qn_status qn_stream_new(const struct qn_stream_calls *calls, void *self, struct ArrowArrayStream *out,
                                    struct qn_error *err) QN_MUST_CHECK;

/* Turn `stream` into one whose batches have the layouts of `requested` (a struct schema with the same number of
 * columns): string and binary views to 32-bit or 64-bit offsets or back, as the requested_schema of the Arrow PyCapsule
 * protocol asks. Columns whose requested type is not a layout of the same values are left as they are (the protocol
 * allows it). Takes `stream` over on success, where `*out` is the caller's; on failure `stream` is untouched. */
QN_API enum qn_status qn_stream_with_layout(struct ArrowArrayStream *stream, const struct ArrowSchema *requested,
                                            struct ArrowArrayStream *out, struct qn_error *err) QN_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
