/*
 * fuzz_log_mark.c: any bytes are a mark of a bundle's log, which is written again as those bytes, or none, and nothing is said
 * of it. Read as they are, and with the digest put right behind the first 85, so that what lies behind it is reached.
 */
#include "bundle/log_private.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY_SIZE 85

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const void *bytes, size_t size)
{
    struct qn__mark mark = { .version = -7 };
    char again[QN__MARK_SIZE + 1];
    if (!qn__mark_parse(bytes, size, &mark)) {
        if (mark.version != -7) {
            abort();
        }
        return;
    }
    if (mark.version < 0 || mark.version >= QN_COMMIT_LOG_MAX_COMMITS || size != QN__MARK_SIZE ||
        qn__mark_format(&mark, again, NULL) != QN_OK || memcmp(again, bytes, size) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_sha256 digest;
    char text[QN_SHA256_TEXT_SIZE];
    char file[QN__MARK_SIZE + 1];
    parse(data, size);
    if (size < BODY_SIZE) {
        return 0;
    }
    if (qn_sha256_of(data, BODY_SIZE, &digest, NULL) != QN_OK) {
        abort();
    }
    qn_sha256_format(&digest, text);
    memcpy(file, data, BODY_SIZE);
    (void)snprintf(file + BODY_SIZE, sizeof file - BODY_SIZE, " %s\n", text);
    parse(file, QN__MARK_SIZE);
    return 0;
}
