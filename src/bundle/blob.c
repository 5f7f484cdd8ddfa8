/*
 * blob.c: content-addressed blocks: written with a running digest, read, verified, swept.
 *
 * A block is written to a temporary file in data/, since its folder is only known once its digest is; then fsynced, renamed
 * into data/ab/, and the folder is fsynced. Threads: no state.
 */
#include "bundle/blob.h"

#include "base/memory.h"
#include "bundle/commit.h"
#include "bundle/folder.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HASH_LENGTH (QN_SHA256_TEXT_SIZE - 1)
#define SYNC_STEP   ((int64_t)8 << 20)                       /* bytes after which the disk begins on what was written */
#define MAX_NAME    (HASH_LENGTH + 1 + QN_COMMIT_MAX_SUFFIX) /* "<sha256>.<format>" */

struct qn_blob_writer {
    int data_fd;
    struct qn_temporary file;
    struct evp_md_ctx_st *digest;
    int64_t written, begun; /* bytes: of the file so far, and those that the disk was told to begin on */
    enum qn_status failure; /* sticky */
    char format[QN_COMMIT_MAX_SUFFIX + 1];
};

static enum qn_status check_format(const char *format, struct qn_error *err)
{
    if (!qn_commit_format_is_valid(format)) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "\"%.40s\" is not a name of a format: 1 to %d of a-z and 0-9", format,
                            QN_COMMIT_MAX_SUFFIX);
    }
    return QN_OK;
}

/* The folder's two digits and the file's name in it. */
static void name_blob(const struct qn_sha256 *hash, const char *format, char folder[3], char name[MAX_NAME + 1])
{
    char text[QN_SHA256_TEXT_SIZE];
    qn_sha256_format(hash, text);
    memcpy(folder, text, 2);
    folder[2] = '\0';
    (void)snprintf(name, MAX_NAME + 1, "%s.%s", text, format);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

enum qn_status qn_blob_writer_new(int bundle_fd, const char *format, struct qn_blob_writer **out, struct qn_error *err)
{
    QN_TRY(check_format(format, err));
    struct qn_blob_writer *writer = qn_calloc(1, sizeof *writer);
    if (writer == NULL) {
        return qn__no_memory(err);
    }
    writer->data_fd = -1;
    writer->file = (struct qn_temporary)QN_TEMPORARY_INIT;
    memcpy(writer->format, format, strlen(format) + 1);
    enum qn_status status = qn_digest_new(&writer->digest, err);
    if (status == QN_OK) {
        status = qn_folder_make(bundle_fd, "data", &writer->data_fd, err);
    }
    if (status == QN_OK) {
        status = qn_temporary_create(writer->data_fd, &writer->file, err);
    }
    if (status != QN_OK) {
        qn_blob_writer_free(writer);
        return status;
    }
    *out = writer;
    return QN_OK;
}

static enum qn_status not_usable(const struct qn_blob_writer *writer, struct qn_error *err)
{
    return qn_error_set(err, writer->failure, "writing a block: it was finished, or failed before");
}

enum qn_status qn_blob_writer_write(struct qn_blob_writer *writer, const void *bytes, size_t size, struct qn_error *err)
{
    if (writer->failure != QN_OK) {
        return not_usable(writer, err);
    }
    enum qn_status status = qn_digest_update(writer->digest, bytes, size, err);
    if (status == QN_OK) {
        status = qn_fd_write_all(writer->file.fd, bytes, size, "a block of the bundle", err);
    }
    if (status == QN_OK) {
        writer->written += (int64_t)size;
        if (writer->written - writer->begun >= SYNC_STEP) {
            qn_fd_begin_to_sync(writer->file.fd, writer->begun, writer->written - writer->begun);
            writer->begun = writer->written;
        }
    }
    writer->failure = status;
    return status;
}

static enum qn_status put_in_place(struct qn_blob_writer *writer, const struct qn_sha256 *hash, struct qn_error *err)
{
    char folder[3];
    char name[MAX_NAME + 1];
    int fd = -1;
    name_blob(hash, writer->format, folder, name);
    QN_TRY(qn_temporary_sync(&writer->file, err));
    QN_TRY(qn_folder_make(writer->data_fd, folder, &fd, err));
    enum qn_status status = qn_temporary_rename(&writer->file, fd, name, err);
    if (status == QN_OK) {
        status = qn_folder_sync(fd, name, err);
    }
    (void)close(fd);
    return status;
}

enum qn_status qn_blob_writer_finish(struct qn_blob_writer *writer, struct qn_sha256 *hash_out, struct qn_error *err)
{
    if (writer->failure != QN_OK) {
        return not_usable(writer, err);
    }
    writer->failure = QN_ERR_CLOSED;
    struct qn_sha256 hash;
    QN_TRY(qn_digest_finish(writer->digest, &hash, err));
    QN_TRY(put_in_place(writer, &hash, err));
    *hash_out = hash;
    return QN_OK;
}

void qn_blob_writer_free(struct qn_blob_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    qn_temporary_discard(&writer->file);
    if (writer->data_fd >= 0) {
        (void)close(writer->data_fd);
    }
    qn_digest_free(writer->digest);
    qn_free(writer);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static enum qn_status blob_missing(const char *name, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "block %s of the bundle is missing", name);
}

/* data/ab; QN_ERR_DATA where it is not there. */
static enum qn_status open_folder(int bundle_fd, const char *folder, const char *name, int *fd_out,
                                  struct qn_error *err)
{
    const char *const parts[] = { "data", folder };
    int fd = bundle_fd;
    for (size_t i = 0; i < 2; i++) {
        int next = openat(fd, parts[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int failure = errno;
        if (fd != bundle_fd) {
            (void)close(fd);
        }
        if (next < 0) {
            errno = failure;
            return failure == ENOENT ? blob_missing(name, err)
                                     : qn_error_set(err, QN_ERR_IO, "opening block %s of the bundle: %m", name);
        }
        fd = next;
    }
    *fd_out = fd;
    return QN_OK;
}

enum qn_status qn_blob_open(int bundle_fd, const struct qn_sha256 *hash, const char *format, int *fd_out,
                            struct qn_error *err)
{
    QN_TRY(check_format(format, err));
    char folder[3];
    char name[MAX_NAME + 1];
    int folder_fd = -1;
    name_blob(hash, format, folder, name);
    QN_TRY(open_folder(bundle_fd, folder, name, &folder_fd, err));
    int fd = qn_fault_hit(QN_FAULT_READ) ? (errno = EIO, -1)
                                         : openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int failure = errno;
    (void)close(folder_fd);
    if (fd < 0) {
        errno = failure;
        return failure == ENOENT ? blob_missing(name, err)
                                 : qn_error_set(err, QN_ERR_IO, "opening block %s of the bundle: %m", name);
    }
    struct stat facts;
    if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        (void)close(fd);
        return qn_error_set(err, QN_ERR_DATA, "block %s of the bundle is not a file", name);
    }
    *fd_out = fd;
    return QN_OK;
}

enum qn_status qn_blob_verify(int bundle_fd, const struct qn_sha256 *hash, const char *format, int64_t bytes,
                              struct qn_error *err)
{
    int fd = -1;
    QN_TRY(qn_blob_open(bundle_fd, hash, format, &fd, err));
    struct qn_sha256 found;
    int64_t size = 0;
    enum qn_status status = qn_digest_file(fd, "a block of the bundle", &found, &size, err);
    (void)close(fd);
    QN_TRY(status);
    char folder[3];
    char name[MAX_NAME + 1];
    name_blob(hash, format, folder, name);
    if (bytes >= 0 && size != bytes) {
        return qn_error_set(err, QN_ERR_DATA, "block %s of the bundle has %lld bytes, not %lld", name, (long long)size,
                            (long long)bytes);
    }
    if (!qn_sha256_equal(&found, hash)) {
        char text[QN_SHA256_TEXT_SIZE];
        qn_sha256_format(&found, text);
        return qn_error_set(err, QN_ERR_DATA, "block %s of the bundle was altered: its SHA-256 is %s", name, text);
    }
    return QN_OK;
}

/* ---- sweeping --------------------------------------------------------------------------------------------------- */

struct sweep {
    int64_t min_age;
    qn_blob_needed_fn needed;
    void *context;
    struct qn_blob_sweep total;
    const char *folder; /* two digits, while in it */
};

static bool is_old(const struct stat *facts, int64_t min_age)
{
    struct timespec now;
    return min_age <= 0 || (clock_gettime(CLOCK_REALTIME, &now) == 0 && now.tv_sec - facts->st_mtim.tv_sec >= min_age);
}

static enum qn_status sweep_block(int fd, const char *name, void *context, struct qn_error *err)
{
    struct sweep *sweep = context;
    char text[QN_SHA256_TEXT_SIZE] = { 0 };
    struct qn_sha256 hash;
    size_t length = strnlen(name, MAX_NAME + 1);
    if (length <= HASH_LENGTH + 1 || length > MAX_NAME || name[HASH_LENGTH] != '.') {
        return QN_OK;
    }
    memcpy(text, name, HASH_LENGTH);
    const char *format = name + HASH_LENGTH + 1;
    struct stat facts;
    if (!qn_sha256_parse(text, &hash) || memcmp(text, sweep->folder, 2) != 0 || !qn_commit_format_is_valid(format) ||
        fstatat(fd, name, &facts, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(facts.st_mode)) {
        return QN_OK;
    }
    if (!is_old(&facts, sweep->min_age) || sweep->needed(&hash, format, sweep->context)) {
        return QN_OK;
    }
    if (unlinkat(fd, name, 0) != 0 && errno != ENOENT) {
        return qn_error_set(err, QN_ERR_IO, "removing block %s of the bundle: %m", name);
    }
    sweep->total.removed++;
    sweep->total.bytes += facts.st_size;
    return QN_OK;
}

static enum qn_status sweep_folder(int data_fd, const char *name, void *context, struct qn_error *err)
{
    struct sweep *sweep = context;
    static const char digits[] = "0123456789abcdef";
    if (strnlen(name, 3) != 2 || strchr(digits, name[0]) == NULL || strchr(digits, name[1]) == NULL) {
        return QN_OK;
    }
    int fd = -1;
    QN_TRY(qn_folder_open(data_fd, name, &fd, err));
    sweep->folder = name;
    enum qn_status status = qn_folder_each(fd, sweep_block, sweep, err);
    (void)close(fd);
    return status;
}

enum qn_status qn_blob_sweep(int bundle_fd, int64_t min_age, qn_blob_needed_fn needed, void *context,
                             struct qn_blob_sweep *out, struct qn_error *err)
{
    struct sweep sweep = { .min_age = min_age, .needed = needed, .context = context };
    int data_fd = openat(bundle_fd, "data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (data_fd < 0 && errno == ENOENT) {
        *out = sweep.total; /* nothing was ever kept */
        return QN_OK;
    }
    if (data_fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "opening the folder \"data\" of the bundle: %m");
    }
    int64_t leftovers = 0;
    enum qn_status status = qn_folder_sweep(data_fd, min_age, &leftovers, err);
    sweep.total.temporary = leftovers;
    if (status == QN_OK) {
        status = qn_folder_each(data_fd, sweep_folder, &sweep, err);
    }
    (void)close(data_fd);
    if (status == QN_OK) {
        *out = sweep.total;
    }
    return status;
}
