/*
 * fuzz_snapshot.c: any bytes are a snapshot of a bundle's state, which is written and read again as the same, or a typed error
 * with a message. The digest is put right, and version and hash are those that the input names, so that what lies behind
 * is reached.
 */
#include "base/memory.h"
#include "bundle/state_file.h"

#include <endian.h>
#include <stdint.h>
#include <stdlib.h>

#define VERSION_AT 16
#define HASH_AT    24
#define HEAD_SIZE  72

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct qn_bundle_state *decode(const void *bytes, size_t size, int64_t version, const struct qn_sha256 *hash)
{
    struct qn_buffer file = QN_BUFFER_INIT;
    struct qn_bundle_state *state = NULL;
    struct qn_error err = QN_ERROR_INIT;
    qn_buffer_append(&file, bytes, size);
    enum qn_status status = qn__snapshot_decode(&file, version, hash, &state, &err);
    if ((status == QN_OK) != (state != NULL) || err.status != status || (status != QN_OK && err.message[0] == '\0')) {
        abort();
    }
    qn_buffer_dispose(&file);
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qn_auto_buffer file = QN_BUFFER_INIT;
    struct qn_sha256 digest;
    struct qn_sha256 hash = { { 0 } };
    uint64_t version = 0;
    if (qn_sha256_of(data, size, &digest, NULL) != QN_OK) {
        abort();
    }
    qn_buffer_append(&file, data, size);
    qn_buffer_append(&file, digest.bytes, sizeof digest.bytes);
    if (size >= HEAD_SIZE) {
        memcpy(&version, data + VERSION_AT, sizeof version);
        memcpy(hash.bytes, data + HASH_AT, sizeof hash.bytes);
    }
    version = le64toh(version) & INT64_MAX;
    struct qn_bundle_state *state = decode(file.data, file.size, (int64_t)version, &hash);
    if (state == NULL) {
        return 0;
    }
    qn_auto_buffer once = QN_BUFFER_INIT;
    qn_auto_buffer twice = QN_BUFFER_INIT;
    if (qn__snapshot_encode(state, (int64_t)version, &hash, &once, NULL) != QN_OK) {
        abort();
    }
    struct qn_bundle_state *again = decode(once.data, once.size, (int64_t)version, &hash);
    if (again == NULL || qn__snapshot_encode(again, (int64_t)version, &hash, &twice, NULL) != QN_OK ||
        once.size != twice.size || memcmp(once.data, twice.data, once.size) != 0) {
        abort();
    }
    qn_bundle_state_free(state);
    qn_bundle_state_free(again);
    return 0;
}
