/*
 * format_bridge.c: the table of formats behind plain C functions, for check_arrow.py, which calls them from Python by
 * address.
 *
 * Each returns the status; the text of the last error is in bridge_error (one thread).
 */
#include "format/format.h"

#include "arrow/stream.h"
#include "arrow/type.h"
#include "base/status.h"
#include "os/file.h"

#include <fcntl.h>
#include <unistd.h>

int bridge_write(const char *format, const char *path, struct ArrowArrayStream *stream);
int bridge_read(const char *format, const char *path, const char *const *columns, size_t n_columns,
                struct ArrowArrayStream *out, int64_t *rows_out);
const char *bridge_error(void);

static struct qn_error error = QN_ERROR_INIT;

const char *bridge_error(void)
{
    return error.message;
}

static enum qn_status to_file(void *context, const void *bytes, size_t size, struct qn_error *err)
{
    return qn_fd_write_all(*(const int *)context, bytes, size, "the file", err);
}

static enum qn_status write_all(struct qn_format_writer *writer, struct ArrowArrayStream *stream)
{
    for (;;) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_stream_next(stream, &batch, &error));
        if (batch.release == NULL) {
            return qn_format_writer_finish(writer, &error);
        }
        QN_TRY(qn_format_writer_write(writer, &batch, &error));
    }
}

/* All of a stream as a file; the stream is released. */
int bridge_write(const char *format, const char *path, struct ArrowArrayStream *stream)
{
    const struct qn_format *found;
    struct qn_format_writer *writer = NULL;
    qn_auto_stream from = *stream;
    stream->release = NULL;
    qn_auto_schema schema = { 0 };
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    struct qn_format_sink sink = { .struct_size = sizeof sink, .context = &fd, .write = to_file };
    enum qn_status status = qn_format_get(format, &found, &error);
    status = status != QN_OK ? status : qn_stream_schema(&from, &schema, &error);
    status = status != QN_OK ? status : qn_format_writer_new(found, &schema, &sink, &writer, &error);
    status = status != QN_OK ? status : write_all(writer, &from);
    qn_format_writer_free(writer);
    close(fd);
    return (int)status;
}

/* columns NULL: all. */
int bridge_read(const char *format, const char *path, const char *const *columns, size_t n_columns,
                struct ArrowArrayStream *out, int64_t *rows_out)
{
    const struct qn_format *found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct qn_format_input input = {
        .struct_size = sizeof input, .fd = fd, .name = path, .columns = columns, .n_columns = n_columns
    };
    enum qn_status status = qn_format_get(format, &found, &error);
    status = status != QN_OK ? status : qn_format_count(found, &input, rows_out, &error);
    status = status != QN_OK ? status : qn_format_read(found, &input, out, &error);
    close(fd);
    return (int)status;
}
