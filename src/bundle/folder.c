/*
 * folder.c: folders, temporary files and the lock of a bundle.
 *
 * A file becomes visible by one link or rename, after its bytes were fsynced. A temporary file that is left by a process
 * that died has a name that readers skip and qn_folder_sweep finds. Threads: no state but a counter, which is atomic.
 */
#include "bundle/folder.h"

#include "os/clock.h"
#include "os/poll.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <qanat/plugin/driver.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_TRIES    16
#define READ_STEP     ((size_t)64 * 1024)
#define FOLDER_FLAGS  (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define LOCK_SLICE_MS 20
#define PREFIX_LENGTH (sizeof QN_TEMPORARY_PREFIX - 1)

static bool faulty(enum qn_fault_kind kind)
{
    if (qn_fault_hit(kind)) {
        errno = EIO;
        return true;
    }
    return false;
}

enum qn_status qn_folder_open(int parent_fd, const char *name, int *fd_out, struct qn_error *err)
{
    int fd = openat(parent_fd, name, FOLDER_FLAGS);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "opening the folder \"%s\" of the bundle: %m", name);
    }
    *fd_out = fd;
    return QN_OK;
}

enum qn_status qn_folder_make(int parent_fd, const char *name, int *fd_out, struct qn_error *err)
{
    bool failed = faulty(QN_FAULT_WRITE);
    if (failed || (mkdirat(parent_fd, name, 0777) != 0 && errno != EEXIST)) {
        return qn_error_set(err, QN_ERR_IO, "making the folder \"%s\" of the bundle: %m", name);
    }
    /* One that was there may be of a process that died before its fsync. */
    QN_TRY(qn_folder_sync(parent_fd, name, err));
    return qn_folder_open(parent_fd, name, fd_out, err);
}

enum qn_status qn_folder_sync(int fd, const char *name, struct qn_error *err)
{
    if (faulty(QN_FAULT_FSYNC) || fsync(fd) != 0) {
        return qn_error_set(err, QN_ERR_IO, "making \"%s\" of the bundle last: %m", name);
    }
    return QN_OK;
}

static bool is_old(int fd, const char *name, int64_t min_age)
{
    struct stat facts;
    struct timespec now;
    if (fstatat(fd, name, &facts, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(facts.st_mode)) {
        return false;
    }
    return min_age <= 0 || (clock_gettime(CLOCK_REALTIME, &now) == 0 && now.tv_sec - facts.st_mtim.tv_sec >= min_age);
}

static enum qn_status folder_unreadable(struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_IO, "reading a folder of the bundle: %m");
}

enum qn_status qn_folder_each(int fd, qn_folder_visit_fn visit, void *context, struct qn_error *err)
{
    int own = openat(fd, ".", FOLDER_FLAGS); /* a place of its own in the folder */
    if (own < 0) {
        return folder_unreadable(err);
    }
    DIR *entries = fdopendir(own);
    if (entries == NULL) {
        enum qn_status status = folder_unreadable(err);
        (void)close(own);
        return status;
    }
    enum qn_status status = QN_OK;
    while (status == QN_OK) {
        errno = 0;
        struct dirent *entry = readdir(entries);
        if (entry == NULL) {
            status = errno != 0 ? folder_unreadable(err) : QN_OK;
            break;
        }
        status = visit(fd, entry->d_name, context, err);
    }
    (void)closedir(entries);
    return status;
}

struct sweep {
    int64_t min_age;
    int64_t removed;
};

static enum qn_status sweep_one(int fd, const char *name, void *context, struct qn_error *err)
{
    (void)err;
    struct sweep *sweep = context;
    if (strncmp(name, QN_TEMPORARY_PREFIX, PREFIX_LENGTH) == 0 && is_old(fd, name, sweep->min_age) &&
        unlinkat(fd, name, 0) == 0) {
        sweep->removed++;
    }
    return QN_OK;
}

enum qn_status qn_folder_sweep(int fd, int64_t min_age, int64_t *removed_out, struct qn_error *err)
{
    struct sweep sweep = { .min_age = min_age };
    QN_TRY(qn_folder_each(fd, sweep_one, &sweep, err));
    *removed_out = sweep.removed;
    return QN_OK;
}

static enum qn_status read_rest(int fd, const char *name, size_t limit, struct qn_buffer *out, struct qn_error *err)
{
    struct stat facts;
    if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        return qn_error_set(err, QN_ERR_IO, "reading \"%s\" of the bundle: not a file", name);
    }
    if (facts.st_size < 0 || (uint64_t)facts.st_size > limit) {
        return qn_error_set(err, QN_ERR_IO, "reading \"%s\" of the bundle: more than %zu bytes", name, limit);
    }
    size_t expected = (size_t)facts.st_size;
    size_t taken = 0;
    for (;;) {
        size_t step = taken < expected ? expected - taken + 1 : READ_STEP;
        if (!qn_buffer_reserve(out, step)) {
            return qn_buffer_check(out, name, err);
        }
        ssize_t got = faulty(QN_FAULT_READ) ? -1 : read(fd, out->data + out->size, step);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return qn_error_set(err, QN_ERR_IO, "reading \"%s\" of the bundle: %m", name);
        }
        if (got == 0) {
            out->data[out->size] = '\0';
            return QN_OK;
        }
        if ((size_t)got > limit - taken) {
            return qn_error_set(err, QN_ERR_IO, "reading \"%s\" of the bundle: more than %zu bytes", name, limit);
        }
        taken += (size_t)got;
        out->size += (size_t)got;
    }
}

enum qn_status qn_folder_read(int fd, const char *name, size_t limit, struct qn_buffer *out, bool *missing_out,
                              struct qn_error *err)
{
    int file = faulty(QN_FAULT_READ) ? -1 : openat(fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0 && errno == ENOENT) {
        *missing_out = true;
        return QN_OK;
    }
    if (file < 0) {
        return qn_error_set(err, QN_ERR_IO, "reading \"%s\" of the bundle: %m", name);
    }
    enum qn_status status = read_rest(file, name, limit, out, err);
    (void)close(file);
    if (status == QN_OK) {
        *missing_out = false;
    }
    return status;
}

/* ---- temporary files -------------------------------------------------------------------------------------------- */

enum qn_status qn_temporary_create(int folder_fd, struct qn_temporary *out, struct qn_error *err)
{
    static _Atomic unsigned counter;
    struct qn_temporary file = { .folder_fd = folder_fd, .fd = -1 };
    for (int i = 0; i < NAME_TRIES && file.fd < 0; i++) {
        (void)snprintf(file.name, sizeof file.name, QN_TEMPORARY_PREFIX "%lx-%llx-%x.tmp", (long)getpid(),
                       (unsigned long long)qn_clock_nanos(), atomic_fetch_add(&counter, 1));
        if (faulty(QN_FAULT_WRITE)) {
            break;
        }
        file.fd = openat(folder_fd, file.name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (file.fd < 0 && errno != EEXIST) {
            break;
        }
    }
    if (file.fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "creating a temporary file in the bundle: %m");
    }
    *out = file;
    return QN_OK;
}

enum qn_status qn_temporary_sync(struct qn_temporary *file, struct qn_error *err)
{
    int failure = faulty(QN_FAULT_FSYNC) || fsync(file->fd) != 0 ? errno : 0;
    if (close(file->fd) != 0 && failure == 0) {
        failure = errno;
    }
    file->fd = -1;
    if (failure != 0) {
        errno = failure;
        return qn_error_set(err, QN_ERR_IO, "writing a file of the bundle: %m");
    }
    return QN_OK;
}

/* Where the file system has no hard links, a rename that refuses to replace does the same. */
static int link_exclusively(const struct qn_temporary *file, const char *name)
{
    if (faulty(QN_FAULT_LINK)) {
        return -1;
    }
    if (linkat(file->folder_fd, file->name, file->folder_fd, name, 0) == 0) {
        return 0;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK) {
        return -1;
    }
    return renameat2(file->folder_fd, file->name, file->folder_fd, name, RENAME_NOREPLACE);
}

enum qn_status qn_temporary_link(struct qn_temporary *file, const char *name, bool *taken_out, struct qn_error *err)
{
    if (link_exclusively(file, name) == 0) {
        qn_temporary_discard(file); /* the other name stays */
        *taken_out = false;
        return QN_OK;
    }
    if (errno == EEXIST) {
        *taken_out = true;
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_IO, "writing \"%s\" of the bundle: %m", name);
}

enum qn_status qn_temporary_rename(struct qn_temporary *file, int folder_fd, const char *name, struct qn_error *err)
{
    if (faulty(QN_FAULT_RENAME) || renameat(file->folder_fd, file->name, folder_fd, name) != 0) {
        return qn_error_set(err, QN_ERR_IO, "writing \"%s\" of the bundle: %m", name);
    }
    file->name[0] = '\0';
    return QN_OK;
}

void qn_temporary_discard(struct qn_temporary *file)
{
    if (file->fd >= 0) {
        (void)close(file->fd);
        file->fd = -1;
    }
    if (file->name[0] != '\0') {
        (void)unlinkat(file->folder_fd, file->name, 0);
        file->name[0] = '\0';
    }
}

/* ---- the lock --------------------------------------------------------------------------------------------------- */

static enum qn_status take_lock(int fd, int operation, int64_t deadline, struct qn_error *err)
{
    while (flock(fd, operation | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return qn_error_set(err, QN_ERR_IO, "locking the bundle: %m");
        }
        QN_TRY(qn_interrupt_poll(err));
        int64_t left = qn_deadline_remaining_ms(deadline);
        if (left == 0) {
            enum qn_status status = qn_error_set(err, QN_ERR_TIMEOUT, "another process has locked the bundle");
            if (err != NULL) {
                err->retryable = true;
            }
            return status;
        }
        /* Nobody tells when a flock is let go, so it is asked for again. */
        (void)poll(NULL, 0, left < LOCK_SLICE_MS ? (int)left : LOCK_SLICE_MS);
    }
    return QN_OK;
}

enum qn_status qn_bundle_lock(int bundle_fd, enum qn_lock_kind kind, int64_t deadline, int *fd_out,
                              struct qn_error *err)
{
    int folder = -1;
    QN_TRY(qn_folder_open(bundle_fd, "_qanat", &folder, err));
    int fd = openat(folder, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    (void)close(folder);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "opening the lock of the bundle: %m");
    }
    enum qn_status status = take_lock(fd, kind == QN_LOCK_ALONE ? LOCK_EX : LOCK_SH, deadline, err);
    if (status != QN_OK) {
        (void)close(fd);
        return status;
    }
    *fd_out = fd;
    return QN_OK;
}
