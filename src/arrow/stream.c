/*
 * stream.c: Arrow streams made of callbacks, with the typed error of the last failure kept beside them.
 *
 * A stream of ours is known by its release function. After the end or a failure the callback is not called again: the
 * end repeats itself, and so does the error. Threads: one at a time.
 */
#include "arrow/stream.h"

#include "arrow/array.h"
#include "base/memory.h"

#include <errno.h>
#include <string.h>

struct stream {
    struct qn_stream_ops ops;
    void *self;
    bool ended, failed;
    struct qn_error error;
};

static int errno_of(enum qn_status status)
{
    switch (status) {
    case QN_OK:
        return 0;
    case QN_ERR_NO_MEMORY:
        return ENOMEM;
    case QN_ERR_CANCELLED:
        return ECANCELED;
    case QN_ERR_TIMEOUT:
        return ETIMEDOUT;
    case QN_ERR_BUSY:
        return EBUSY;
    case QN_ERR_UNSUPPORTED:
        return ENOTSUP;
    case QN_ERR_CONNECTION:
    case QN_ERR_CLOSED:
    case QN_ERR_IO:
    case QN_ERR_PROTOCOL:
        return EIO;
    default:
        return EINVAL;
    }
}

static int stream_get_schema(struct ArrowArrayStream *handle, struct ArrowSchema *out)
{
    struct stream *stream = handle->private_data;
    struct qn_error error;
    qn_error_clear(&error);
    struct ArrowSchema schema = { 0 };
    enum qn_status status = stream->ops.schema(stream->self, &schema, &error);
    out->release = NULL;
    if (status != QN_OK) {
        if (!stream->failed) {
            stream->error = error;
        }
        return errno_of(status);
    }
    qn__schema_move(&schema, out);
    return 0;
}

static int stream_get_next(struct ArrowArrayStream *handle, struct ArrowArray *out)
{
    struct stream *stream = handle->private_data;
    out->release = NULL;
    if (stream->failed) {
        return errno_of(stream->error.status);
    }
    if (stream->ended) {
        return 0;
    }
    struct qn_error error;
    qn_error_clear(&error);
    struct ArrowArray array = { 0 };
    enum qn_status status = stream->ops.next(stream->self, &array, &error);
    if (status != QN_OK) {
        stream->failed = true;
        stream->error = error;
        stream->error.status = status;
        return errno_of(status);
    }
    stream->ended = array.release == NULL;
    qn__array_move(&array, out);
    return 0;
}

static const char *stream_get_last_error(struct ArrowArrayStream *handle)
{
    struct stream *stream = handle->private_data;
    return stream->error.status != QN_OK ? stream->error.message : NULL;
}

static void stream_release(struct ArrowArrayStream *handle)
{
    struct stream *stream = handle->private_data;
    handle->release = NULL;
    handle->private_data = NULL;
    stream->ops.free(stream->self);
    qn_free(stream);
}

enum qn_status qn_stream_make(const struct qn_stream_ops *ops, void *self, struct ArrowArrayStream *out,
                              struct qn_error *err)
{
    struct stream *stream = qn_malloc(sizeof *stream); /* mostly an error's texts, which need no zeros */
    if (stream == NULL) {
        return qn__no_memory(err);
    }
    stream->ops = *ops;
    stream->self = self;
    stream->ended = stream->failed = false;
    qn_error_clear(&stream->error);
    *out = (struct ArrowArrayStream){ .get_schema = stream_get_schema,
                                      .get_next = stream_get_next,
                                      .get_last_error = stream_get_last_error,
                                      .release = stream_release,
                                      .private_data = stream };
    return QN_OK;
}

enum qn_status qn_stream_new(const struct qn_stream_calls *calls, void *self, struct ArrowArrayStream *out,
                             struct qn_error *err)
{
    if (calls->struct_size < sizeof *calls || calls->schema == NULL || calls->next == NULL || calls->free == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a stream needs the calls schema, next and free");
    }
    const struct qn_stream_ops ops = { .schema = calls->schema, .next = calls->next, .free = calls->free };
    return qn_stream_make(&ops, self, out, err);
}

enum qn_status qn_stream_error(struct ArrowArrayStream *stream, struct qn_error *err)
{
    if (stream->release == stream_release) {
        const struct stream *own = stream->private_data;
        if (own->error.status != QN_OK && err != NULL) {
            *err = own->error;
        }
        return own->error.status;
    }
    const char *text = stream->get_last_error(stream);
    return qn_error_set(err, QN_ERR_DATA, "%s", text != NULL && text[0] != '\0' ? text : "the stream gave no reason");
}

enum qn_status qn_stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out, struct qn_error *err)
{
    if (stream->release == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the stream has been released");
    }
    struct ArrowSchema schema = { 0 };
    int code = stream->get_schema(stream, &schema);
    if (code != 0) {
        return qn_stream_error(stream, err);
    }
    if (schema.release == NULL) {
        return qn_error_set(err, QN_ERR_DATA, "the stream gave no schema");
    }
    qn__schema_move(&schema, out);
    return QN_OK;
}

enum qn_status qn_stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out, struct qn_error *err)
{
    if (stream->release == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the stream has been released");
    }
    struct ArrowArray array = { 0 };
    int code = stream->get_next(stream, &array);
    if (code != 0) {
        return qn_stream_error(stream, err);
    }
    qn__array_move(&array, out);
    return QN_OK;
}

/* ---- streams in memory ---- */

struct memory_stream {
    struct ArrowSchema schema;
    struct ArrowArray *arrays;
    int64_t n, next;
};

static enum qn_status memory_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct memory_stream *memory = self;
    return qn_schema_copy(&memory->schema, out, err);
}

static enum qn_status memory_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct memory_stream *memory = self;
    (void)err;
    if (memory->next < memory->n) {
        qn__array_move(&memory->arrays[memory->next++], out);
    }
    return QN_OK;
}

static void memory_free(void *self)
{
    struct memory_stream *memory = self;
    for (int64_t i = 0; i < memory->n; i++) {
        qn_array_release(&memory->arrays[i]);
    }
    qn_schema_release(&memory->schema);
    qn_free(memory->arrays);
    qn_free(memory);
}

enum qn_status qn_stream_from_arrays(struct ArrowSchema *schema, struct ArrowArray *arrays, int64_t n,
                                     struct ArrowArrayStream *out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { memory_schema, memory_next, memory_free };
    if (n < 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a stream of %lld arrays", (long long)n);
    }
    struct memory_stream *memory = qn_calloc(1, sizeof *memory);
    if (memory == NULL) {
        return qn__no_memory(err);
    }
    memory->arrays = qn_calloc((size_t)n, sizeof *memory->arrays);
    if (memory->arrays == NULL || qn_stream_make(&ops, memory, out, err) != QN_OK) {
        qn_free(memory->arrays);
        qn_free(memory);
        return qn__no_memory(err);
    }
    qn__schema_move(schema, &memory->schema);
    for (int64_t i = 0; i < n; i++) {
        qn__array_move(&arrays[i], &memory->arrays[i]);
    }
    memory->n = n;
    return QN_OK;
}
