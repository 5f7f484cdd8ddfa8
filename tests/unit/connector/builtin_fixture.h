/*
 * builtin_fixture.h: what the tests of the built-in connectors share: a folder of the test's own, Arrow files in it, and
 * what a connector discovers and delivers as texts that can be compared.
 */
#ifndef QN_TEST_CONNECTOR_BUILTIN_FIXTURE_H
#define QN_TEST_CONNECTOR_BUILTIN_FIXTURE_H

#include "../arrow/fixture.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/format.h"

#include <fcntl.h>
#include <ftw.h>
#include <qanat/qanat.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static bool make_folder_in(const char *parent)
{
    (void)snprintf(folder, sizeof folder, "%s/qanat-test-XXXXXX", parent);
    return mkdtemp(folder) != NULL;
}

/* In memory, where that is to be had: commits to tables would wait for a disk. */
__attribute__((unused)) static int make_folder(void **state)
{
    (void)state;
    return make_folder_in("/dev/shm") || make_folder_in("/tmp") ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *found, int kind, struct FTW *at)
{
    (void)found;
    (void)kind;
    (void)at;
    return remove(path);
}

__attribute__((unused)) static int remove_folder(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "folder/name"; one of a few places that are used in turn. */
__attribute__((unused)) static const char *path_of(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* ---- Arrow files ---- */

static enum qn_status append_bytes(void *context, const void *bytes, size_t size, struct qn_error *err)
{
    qn_buffer_append(context, bytes, size);
    return qn_buffer_check(context, "a file", err);
}

/* An Arrow file of ids `first` to `last` in one column "id" and their texts in "name", in batches of 100. */
__attribute__((unused)) static void arrow_bytes(int64_t first, int64_t last, struct qn_buffer *out)
{
    qn_auto_schema schema = { 0 };
    const struct qn_format *format;
    struct qn_format_writer *writer;
    struct qn_format_sink sink = { .struct_size = sizeof sink, .context = out, .write = append_bytes };
    make_schema(&schema, 2, "id", "l", "name", "vu");
    ok(qn_format_get("arrow", &format, &error));
    ok(qn_format_writer_new(format, &schema, &sink, &writer, &error));
    for (int64_t from = first; from <= last; from += 100) {
        struct qn_batch batch;
        qn_auto_array array = { 0 };
        int64_t n = last - from + 1 < 100 ? last - from + 1 : 100;
        ok(qn_batch_init(&batch, &schema, &error));
        ok(qn_batch_reserve(&batch, n, &error));
        for (int64_t id = from; id < from + n; id++) {
            char name[32];
            int size = snprintf(name, sizeof name, "name %lld", (long long)id);
            qn_column_put_int64(&batch.columns[0], id);
            qn_column_put_bytes(&batch.columns[1], name, (size_t)size);
        }
        ok(qn_batch_finish(&batch, n, &array, &error));
        ok(qn_format_writer_write(writer, &array, &error));
        qn_batch_dispose(&batch);
    }
    ok(qn_format_writer_finish(writer, &error));
    qn_format_writer_free(writer);
}

__attribute__((unused)) static void write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

__attribute__((unused)) static void write_arrow(const char *name, int64_t first, int64_t last)
{
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    arrow_bytes(first, last, &bytes);
    write_bytes(path_of(name), bytes.data, bytes.size);
}

/* ---- connectors ---- */

static struct qn_connector_options connector_options = QN_CONNECTOR_OPTIONS_INIT;

__attribute__((unused)) static enum qn_status open_with(const char *uri, const char *arguments,
                                                        struct qn_connector **out)
{
    connector_options.arguments = arguments;
    connector_options.name = "acme.test";
    connector_options.retries = connector_options.retries == 0 ? -1 : connector_options.retries;
    return qn_connector_open(uri, &connector_options, out, &error);
}

struct seen {
    struct qn_buffer text; /* a line a location */
    char last[1024], version[512], format[32];
    int n;
    int64_t rows;
    bool must_copy;
};

static enum qn_status see(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct seen *seen = context;
    (void)err;
    qn_buffer_printf(&seen->text, "%s\n", location->location);
    (void)snprintf(seen->last, sizeof seen->last, "%s", location->location);
    (void)snprintf(seen->version, sizeof seen->version, "%s", location->version);
    (void)snprintf(seen->format, sizeof seen->format, "%s", location->format);
    seen->must_copy = location->must_copy;
    seen->rows = location->num_rows;
    seen->n++;
    return QN_OK;
}

__attribute__((unused)) static void discover_given(struct qn_connector *connector, const char *const *attached,
                                                   size_t n, struct seen *out)
{
    qn_buffer_dispose(&out->text);
    *out = (struct seen){ 0 };
    ok(qn_connector_discover(connector, attached, n, see, out, &error));
}

/* Discover; the locations are these, a line each. */
__attribute__((unused)) static void discovers(struct qn_connector *connector, const char *wanted)
{
    struct seen seen = { 0 };
    discover_given(connector, NULL, 0, &seen);
    assert_string_equal(qn_buffer_text(&seen.text), wanted);
    qn_buffer_dispose(&seen.text);
}

/* What rows have come: their number, the sum of the ids, and all values, "1,name 1\n" and so on. */
struct total {
    int64_t rows, sum;
    struct qn_buffer text;
};

static enum qn_status add_batches(struct ArrowArrayStream *stream, struct total *total)
{
    qn_auto_schema schema = { 0 };
    struct qn_batch_reader reader;
    QN_TRY(qn_stream_schema(stream, &schema, &error));
    ok(qn_batch_reader_init(&reader, &schema, &error));
    enum qn_status status;
    for (;;) {
        qn_auto_array batch = { 0 };
        status = qn_stream_next(stream, &batch, &error);
        if (status != QN_OK || batch.release == NULL) {
            break;
        }
        ok(qn_batch_reader_bind(&reader, &batch, &error));
        for (int64_t row = 0; row < batch.length; row++, total->rows++) {
            for (int64_t i = 0; i < reader.n_columns; i++) {
                if (i == 0 && reader.columns[0].type.id == QN_TYPE_INT64 &&
                    !qn_reader_is_null(&reader.columns[0], row)) {
                    total->sum = (int64_t)((uint64_t)total->sum + (uint64_t)qn_reader_int64(&reader.columns[0], row));
                }
                qn_buffer_append_text(&total->text, i > 0 ? "," : "");
                ok(qn_reader_to_json(&reader.columns[i], row, &total->text, &error));
            }
            qn_buffer_append_byte(&total->text, '\n');
        }
    }
    qn_batch_reader_dispose(&reader);
    return status;
}

__attribute__((unused)) static enum qn_status read_location(struct qn_connector *connector, const char *name,
                                                            const char *version, const struct qn_data_request *request,
                                                            struct total *total)
{
    struct qn_location location = QN_LOCATION_INIT;
    qn_auto_stream stream = { 0 };
    location.location = name;
    location.version = version;
    total->rows = total->sum = 0;
    qn_buffer_reset(&total->text);
    QN_TRY(qn_connector_data(connector, &location, request, &stream, &error));
    assert_non_null(stream.release);
    return add_batches(&stream, total);
}

#endif
