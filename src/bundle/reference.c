/*
 * reference.c: blocks whose bytes stay where they are: what they were when they were attached, and whether they still are.
 *
 * A reference is what it was where its size and its digest are. Where whoever keeps it gives it a version of its own (a
 * file's time, an ETag) that is the one recorded, the digest need not be made again. Threads: any.
 */
#include "connector/reference.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blocks.h"
#include "format/format.h"

#include <stdio.h>
#include <unistd.h>

bool qn__reference_is_readable(const char *url)
{
    const char *colon = strstr(url, "://");
    if (colon == NULL) {
        return url[0] != '\0';
    }
    return qn_text_starts_nocase(url, "file://") || qn_text_starts_nocase(url, "http://") ||
           qn_text_starts_nocase(url, "https://");
}

static enum qn_status digest_file(int fd, const char *url, struct qn_sha256 *hash_out, int64_t *size_out,
                                  struct qn_error *err)
{
    char what[320];
    (void)snprintf(what, sizeof what, "\"%.300s\"", url);
    return qn_digest_file(fd, what, hash_out, size_out, err);
}

static enum qn_status look_inside(int fd, const char *url, const char *format_name, struct qn__block *block,
                                  struct qn_error *err)
{
    const struct qn_format *format = NULL;
    const struct qn_format_input input = { .struct_size = sizeof input, .fd = fd, .name = url };
    QN_TRY(qn_format_get(format_name, &format, err));
    QN_TRY(qn_format_count(format, &input, &block->rows, err));
    if (lseek(fd, 0, SEEK_SET) != 0) {
        return qn_error_set(err, QN_ERR_IO, "reading \"%.300s\": %m", url);
    }
    qn_auto_stream stream = { 0 };
    qn_auto_schema schema = { 0 };
    QN_TRY(qn_format_read(format, &input, &stream, err));
    QN_TRY(qn_stream_schema(&stream, &schema, err));
    return qn__schema_to_text(&schema, &block->schema, err);
}

enum qn_status qn__reference_attach(const char *url, const char *folder, const char *format, double timeout,
                                    struct qn__block *out, struct qn_error *err)
{
    int fd = -1;
    struct qn__block block = { .rows = -1, .bytes = -1 };
    struct qn_sha256 hash;
    (void)snprintf(block.format, sizeof block.format, "%s", format);
    QN_TRY(qn_reference_open(url, folder, timeout, &fd, NULL, err));
    enum qn_status status = digest_file(fd, url, &hash, &block.bytes, err);
    if (status == QN_OK) {
        status = look_inside(fd, url, format, &block, err);
    }
    (void)close(fd);
    if (status != QN_OK) {
        qn__block_dispose(&block);
        return status;
    }
    qn_sha256_format(&hash, block.sha256);
    *out = block;
    return QN_OK;
}

static enum qn_status changed(const struct qn_change *block, const char *what, struct qn_error *err)
{
    enum qn_status status =
        qn_error_set(err, QN_ERR_DATA, "location \"%.200s\": \"%.300s\" is not what was attached: %s", block->location,
                     block->url, what);
    qn_error_hint(err, "fetch its source with update to attach it as it is now");
    return status;
}

static enum qn_status check_file(int fd, const struct qn_change *block, const struct qn_reference_facts *facts,
                                 struct qn_error *err)
{
    char what[128];
    if (block->bytes >= 0 && facts->size >= 0 && facts->size != block->bytes) {
        (void)snprintf(what, sizeof what, "it has %lld bytes, not %lld", (long long)facts->size,
                       (long long)block->bytes);
        return changed(block, what, err);
    }
    bool same_version = facts->version[0] != '\0' && qn_text_equal(facts->version, block->version);
    if (same_version || block->sha256[0] == '\0') {
        return QN_OK;
    }
    struct qn_sha256 hash;
    int64_t size = 0;
    char text[QN_SHA256_TEXT_SIZE];
    QN_TRY(digest_file(fd, block->url, &hash, &size, err));
    qn_sha256_format(&hash, text);
    if (!qn_text_equal(text, block->sha256)) {
        (void)snprintf(what, sizeof what, "its SHA-256 is %s", text);
        return changed(block, what, err);
    }
    return QN_OK;
}

enum qn_status qn__reference_open(const struct qn_change *block, const char *folder, double timeout, int *fd_out,
                                  struct qn_error *err)
{
    struct qn_reference_facts facts;
    int fd = -1;
    enum qn_status status = qn_reference_open(block->url, folder, timeout, &fd, &facts, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "location \"%.200s\"", block->location);
        return status;
    }
    status = check_file(fd, block, &facts, err);
    if (status != QN_OK) {
        (void)close(fd);
        return status;
    }
    *fd_out = fd;
    return QN_OK;
}
