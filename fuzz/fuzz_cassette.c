/*
 * fuzz_cassette.c: any bytes as a cassette: a connector that answers, or typed errors; never more than the file holds.
 *
 * The first byte decides whether checksums are put right first, so that what lies behind them is reached.
 */
#include "arrow/stream.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "connector/cassette_file.h"
#include "connector/location_json.h"
#include "connector/registry.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* Make the checksums of all records that lie inside of the file those of their bytes. */
static void put_right(uint8_t *bytes, size_t size)
{
    size_t at = QN_CASSETTE_MAGIC_SIZE;
    while (at + QN_CASSETTE_HEADER <= size) {
        uint8_t *header = bytes + at;
        uint64_t payload = qn_load_be64(header + 16);
        at += QN_CASSETTE_HEADER;
        if (payload <= size - at) {
            qn_store_be32(header + 24, qn_crc32c(0, bytes + at, (size_t)payload));
        }
        qn_store_be32(header, qn_crc32c(0, header + 4, QN_CASSETTE_HEADER - 4));
        if (payload > size - at) {
            return;
        }
        at += (size_t)payload;
    }
}

static enum qn_status count(void *context, const struct qn_location *location, struct qn_error *err)
{
    (void)err;
    must(location->location != NULL && location->format != NULL && location->version != NULL);
    ++*(int *)context;
    return QN_OK;
}

static void fails_well(enum qn_status status, const struct qn_error *err)
{
    must(status == QN_OK || err->message[0] != '\0');
}

static void read_stream(struct ArrowArrayStream *stream)
{
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowSchema schema = { 0 };
    enum qn_status status = qn_stream_schema(stream, &schema, &err);
    must(status == QN_OK);
    qn_schema_release(&schema);
    for (int i = 0; i < 1000 && status == QN_OK; i++) {
        struct ArrowArray batch = { 0 };
        status = qn_stream_next(stream, &batch, &err);
        if (batch.release == NULL) {
            break;
        }
        batch.release(&batch);
    }
    fails_well(status, &err);
    stream->release(stream);
}

/* Ask for everything that seems to have been recorded, by the names in its requests. */
static void ask(const struct qn_connector_runtime *runtime, void *self, const struct qn_cassette_index *index)
{
    struct qn_error err = QN_ERROR_INIT;
    const struct qn_data_request request = QN_DATA_REQUEST_INIT;
    int n = 0;
    char *text = NULL;
    fails_well(runtime->discover(self, NULL, 0, count, &n, &err), &err);
    must(runtime->describe(self, &text, &err) == QN_OK);
    free(text);
    for (size_t i = 0; i < index->n_exchanges && i < 100; i++) {
        struct qn_location location;
        struct ArrowArrayStream stream = { 0 };
        uint32_t applied = 0;
        if (qn_location_read(json_object_get(index->exchanges[i].ask, "location"), &location, NULL) != QN_OK) {
            continue;
        }
        err = (struct qn_error)QN_ERROR_INIT;
        enum qn_status status = runtime->data(self, &location, &request, &stream, &applied, &err);
        fails_well(status, &err);
        if (status == QN_OK && stream.release != NULL) {
            read_stream(&stream);
        }
        text = NULL;
        fails_well(runtime->stable_url(self, &location, &text, &err), &err);
        free(text);
    }
}

static void open_file(int fd)
{
    char path[32];
    void *self = NULL;
    struct qn_cassette_index index;
    struct qn_error err = QN_ERROR_INIT;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const struct qn_connector_opening opening = { .struct_size = sizeof opening,
                                                  .name = "fuzz",
                                                  .entrypoint = path,
                                                  .arguments = "{}",
                                                  .timeout = 1,
                                                  .processes = 1 };
    enum qn_status read = qn_cassette_index_read(fd, &index, &err);
    enum qn_status opened = qn__runtime_cassette.open(NULL, &opening, &self, &err);
    must(read == opened);
    fails_well(opened, &err);
    must(opened == QN_OK || opened == QN_ERR_DATA);
    if (opened == QN_OK) {
        ask(&qn__runtime_cassette, self, &index);
        qn__runtime_cassette.close(self);
        qn_cassette_index_dispose(&index);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (size < 1) {
        return 0;
    }
    fd = fd >= 0 ? fd : memfd_create("cassette", MFD_CLOEXEC);
    uint8_t *bytes = malloc(size);
    must(bytes != NULL && fd >= 0);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] % 2 != 0) {
        put_right(bytes, size - 1);
    }
    must(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size - 1, 0) == (ssize_t)(size - 1));
    free(bytes);
    open_file(fd);
    return 0;
}
