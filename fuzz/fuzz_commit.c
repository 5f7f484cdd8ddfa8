/*
 * fuzz_commit.c: any bytes are a commit, whose encoding is those bytes, or a typed error with a message. The digest is put
 * right for half of the inputs, so that what lies behind it is reached.
 */
#include "bundle/commit.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const void *bytes, size_t size)
{
    struct qn_commit commit = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_commit_parse(bytes, size, &commit, &err);
    if (status != QN_OK) {
        if (commit.owner != NULL || err.status != status || err.message[0] == '\0') {
            abort();
        }
        return;
    }
    qn_auto_buffer again = QN_BUFFER_INIT;
    if (qn_commit_encode(&commit, &again, &err) != QN_OK || again.size != size ||
        memcmp(again.data, bytes, size) != 0) {
        abort();
    }
    qn_commit_dispose(&commit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(data, size);
    qn_auto_buffer file = QN_BUFFER_INIT;
    struct qn_sha256 digest;
    char text[QN_SHA256_TEXT_SIZE];
    if (qn_sha256_of(data, size, &digest, NULL) != QN_OK) {
        abort();
    }
    qn_sha256_format(&digest, text);
    qn_buffer_append_text(&file, "{\"commit\":");
    qn_buffer_append(&file, data, size);
    qn_buffer_append_text(&file, ",\"sha256\":\"");
    qn_buffer_append_text(&file, text);
    qn_buffer_append_text(&file, "\"}\n");
    parse(qn_buffer_text(&file), file.size);
    return 0;
}
