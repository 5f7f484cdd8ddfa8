/*
 * fuzz_format_arrow.c: an Arrow file or stream that anybody may have written. What is refused is refused by type, with the
 * name of the file. What is read has the rows that are counted; it can be written, and read again with the same rows.
 */
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "format/format.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST_ROWS    65536 /* that are written again: rows of columns without bytes cost nothing to claim */
#define MOST_BATCHES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static enum qn_status to_file(void *context, const void *bytes, size_t size, struct qn_error *err)
{
    (void)err;
    must(write(*(const int *)context, bytes, size) == (ssize_t)size);
    return QN_OK;
}

static void refused(enum qn_status status, const struct qn_error *error)
{
    must(status == QN_ERR_DATA || status == QN_ERR_UNSUPPORTED || status == QN_ERR_NO_MEMORY);
    must(strncmp(error->message, "\"fuzzed\": ", 10) == 0);
}

/* Read a file to its end, into `writer` where there is one; the number of rows, -1 where it was refused. */
static int64_t read_all(const struct qn_format_input *input, struct qn_format_writer *writer)
{
    struct qn_error error = QN_ERROR_INIT;
    qn_auto_stream stream = { 0 };
    enum qn_status status = qn_format_read(&qn__format_arrow, input, &stream, &error);
    int64_t rows = 0;
    for (int i = 0; status == QN_OK; i++) {
        qn_auto_array batch = { 0 };
        status = qn_stream_next(&stream, &batch, &error);
        if (status == QN_OK && batch.release == NULL) {
            return rows;
        }
        if (status == QN_OK) {
            rows += batch.length;
        }
        if (status == QN_OK && writer != NULL && rows <= MOST_ROWS && i < MOST_BATCHES) {
            must(qn_format_writer_write(writer, &batch, &error) == QN_OK);
        }
    }
    refused(status, &error);
    return -1;
}

static void write_again(const struct qn_format_input *input, int64_t rows)
{
    struct qn_error error = QN_ERROR_INIT;
    qn_auto_stream stream = { 0 };
    qn_auto_schema schema = { 0 };
    struct qn_format_writer *writer = NULL;
    int fd = memfd_create("again", MFD_CLOEXEC);
    must(fd >= 0);
    struct qn_format_sink sink = { .struct_size = sizeof sink, .context = &fd, .write = to_file };
    must(qn_format_read(&qn__format_arrow, input, &stream, &error) == QN_OK);
    must(qn_stream_schema(&stream, &schema, &error) == QN_OK);
    must(qn_format_writer_new(&qn__format_arrow, &schema, &sink, &writer, &error) == QN_OK);
    must(read_all(input, writer) == rows);
    must(qn_format_writer_finish(writer, &error) == QN_OK);
    qn_format_writer_free(writer);
    const struct qn_format_input again = { .struct_size = sizeof again, .fd = fd, .name = "fuzzed" };
    must(read_all(&again, NULL) == rows);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_error error = QN_ERROR_INIT;
    int fd = memfd_create("fuzzed", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    const struct qn_format_input input = { .struct_size = sizeof input, .fd = fd, .name = "fuzzed" };
    int64_t rows = read_all(&input, NULL), counted;
    enum qn_status status = qn_format_count(&qn__format_arrow, &input, &counted, &error);
    if (status != QN_OK) {
        refused(status, &error);
    }
    must(rows < 0 || (status == QN_OK && counted == rows)); /* what is read can be counted */
    if (rows >= 0 && rows <= MOST_ROWS) {
        write_again(&input, rows);
    }
    close(fd);
    return 0;
}
