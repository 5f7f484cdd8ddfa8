/*
 * log_mark.c: marks: small files of _qanat that name a commit: `head`, the newest that somebody saw; `floor`, the oldest whose
 * blocks gc has kept.
 *
 * Layout (docs/formats/bundle.md, "Marks"): one line of 20 digits, the SHA-256 of that commit's file, and the SHA-256 of the
 * 85 bytes before, in hexadecimal, between spaces. It is written in place, by one write: what is torn has a wrong digest,
 * counts as damaged, and is whole again after the next write. Threads: no state.
 */
#include "base/text.h"
#include "bundle/folder.h"
#include "bundle/log_private.h"
#include "os/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define DIGITS    20
#define HASH_SIZE (QN_SHA256_TEXT_SIZE - 1)
#define BODY_SIZE (DIGITS + 1 + HASH_SIZE)
#define MAX_SIZE  ((size_t)4096) /* of a file that could be one */
#define MARK_SIZE QN__MARK_SIZE

_Static_assert(MARK_SIZE == BODY_SIZE + 1 + HASH_SIZE + 1, "a mark is its body, its digest and what is around them");

enum qn_status qn__mark_format(const struct qn__mark *mark, char out[MARK_SIZE + 1], struct qn_error *err)
{
    char text[QN_SHA256_TEXT_SIZE];
    struct qn_sha256 check;
    qn_sha256_format(&mark->hash, text);
    (void)snprintf(out, MARK_SIZE + 1, "%020lld %s", (long long)mark->version, text);
    QN_TRY(qn_sha256_of(out, BODY_SIZE, &check, err));
    qn_sha256_format(&check, text);
    (void)snprintf(out + BODY_SIZE, MARK_SIZE + 1 - BODY_SIZE, " %s\n", text);
    return QN_OK;
}

/* What is parsed is written again and compared. */
bool qn__mark_parse(const char *bytes, size_t size, struct qn__mark *out)
{
    char digits[DIGITS + 1] = { 0 };
    char hash[QN_SHA256_TEXT_SIZE] = { 0 };
    char again[MARK_SIZE + 1];
    if (size != MARK_SIZE) {
        return false;
    }
    memcpy(digits, bytes, DIGITS);
    memcpy(hash, bytes + DIGITS + 1, HASH_SIZE);
    long long version = 0;
    struct qn__mark mark;
    if (!qn_text_to_int64(digits, 0, QN_COMMIT_LOG_MAX_COMMITS - 1, &version) || !qn_sha256_parse(hash, &mark.hash)) {
        return false;
    }
    mark.version = version;
    if (qn__mark_format(&mark, again, NULL) != QN_OK || memcmp(again, bytes, MARK_SIZE) != 0) {
        return false;
    }
    *out = mark;
    return true;
}

enum qn_status qn__mark_read(int own_fd, const char *name, struct qn__mark *out, enum qn__mark_state *state_out,
                             struct qn_error *err)
{
    qn_auto_buffer file = QN_BUFFER_INIT;
    bool missing = false;
    QN_TRY(qn_folder_read(own_fd, name, MAX_SIZE, &file, &missing, err));
    struct qn__mark mark = { 0 };
    missing = missing || file.size == 0; /* its writer ended before it wrote */
    bool good = !missing && qn__mark_parse(qn_buffer_text(&file), file.size, &mark);
    *state_out = missing ? QN__MARK_ABSENT : good ? QN__MARK_GOOD : QN__MARK_DAMAGED;
    *out = mark;
    return QN_OK;
}

/* A mark never goes back: another writer may have written a newer one since. */
static bool is_older(int fd, const struct qn__mark *mark)
{
    char bytes[MARK_SIZE + 1];
    struct qn__mark there;
    ssize_t got = pread(fd, bytes, sizeof bytes, 0);
    return got > 0 && qn__mark_parse(bytes, (size_t)got, &there) && there.version > mark->version;
}

static enum qn_status write_mark(int fd, const struct qn__mark *mark, struct qn_error *err)
{
    char text[MARK_SIZE + 1];
    if (is_older(fd, mark)) {
        return QN_OK;
    }
    QN_TRY(qn__mark_format(mark, text, err));
    if (lseek(fd, 0, SEEK_SET) != 0) {
        return qn_error_set(err, QN_ERR_IO, "writing a mark of the bundle: %m");
    }
    return qn_fd_write_all(fd, text, MARK_SIZE, "a mark of the bundle", err);
}

enum qn_status qn__mark_write(int own_fd, const char *name, const struct qn__mark *mark, bool durable,
                              struct qn_error *err)
{
    int fd = openat(own_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "opening \"%s\" of the bundle: %m", name);
    }
    enum qn_status status = write_mark(fd, mark, err);
    if (status == QN_OK && durable && (qn_fault_hit(QN_FAULT_FSYNC) || fsync(fd) != 0)) {
        status = qn_error_set(err, QN_ERR_IO, "writing \"%s\" of the bundle: %m", name);
    }
    if (close(fd) != 0 && status == QN_OK) {
        status = qn_error_set(err, QN_ERR_IO, "writing \"%s\" of the bundle: %m", name);
    }
    if (status == QN_OK && durable) {
        status = qn_folder_sync(own_fd, name, err);
    }
    return status;
}
