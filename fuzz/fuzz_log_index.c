/*
 * fuzz_log_index.c: any bytes are a checkpoint of a bundle's log, which is written again as those bytes, or a typed error with a
 * message that leaves nothing behind. Read as they are, and with the digest put right behind them, so that what lies behind it
 * is reached; of the version that the input names.
 */
#include "base/memory.h"
#include "bundle/log_private.h"

#include <endian.h>
#include <stdint.h>
#include <stdlib.h>

#define COUNT_AT 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The version that the head names; one of any number where it is not there or no log is that long. */
static int64_t version_of(const struct qn_buffer *file)
{
    uint64_t count = 1;
    if (file->size >= COUNT_AT + sizeof count) {
        memcpy(&count, file->data + COUNT_AT, sizeof count);
    }
    count = le64toh(count);
    return count >= 1 && count <= QN_COMMIT_LOG_MAX_COMMITS ? (int64_t)count - 1 : 0;
}

static void decode(const struct qn_buffer *file)
{
    struct qn__log_entries entries = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    int64_t version = version_of(file);
    enum qn_status status = qn__log_index_decode(file, version, &entries, &err);
    if (status != QN_OK) {
        if (status != QN_ERR_DATA || err.status != status || err.message[0] == '\0' || entries.items != NULL) {
            abort();
        }
        return;
    }
    qn_auto_buffer again = QN_BUFFER_INIT;
    if (entries.count != version + 1 || qn__log_index_encode(&entries, &again, NULL) != QN_OK ||
        again.size != file->size || memcmp(again.data, file->data, again.size) != 0) {
        abort();
    }
    for (int64_t i = 1; i < entries.count; i++) {
        if (entries.items[i].timestamp <= entries.items[i - 1].timestamp) {
            abort();
        }
    }
    qn_free(entries.items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_auto_buffer file = QN_BUFFER_INIT;
    struct qn_sha256 digest;
    qn_buffer_append(&file, data, size);
    decode(&file);
    if (qn_sha256_of(data, size, &digest, NULL) != QN_OK) {
        abort();
    }
    qn_buffer_append(&file, digest.bytes, sizeof digest.bytes);
    decode(&file);
    return 0;
}
