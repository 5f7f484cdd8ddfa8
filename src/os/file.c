/*
 * file.c: whole files in and out.
 *
 * Replacing works on a descriptor of the file's folder, so that the temporary file, the rename and the fsync that makes
 * it last all mean the same folder. Where `path` is a symbolic link, the link is replaced. Threads: no state but a
 * counter, which is atomic.
 */
#include "os/file.h"

#include "base/fault.h"
#include "base/memory.h"
#include "os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <qanat/plugin/driver.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_STEP            ((size_t)64 * 1024)
#define TEMPORARY_NAME_SIZE  64
#define TEMPORARY_NAME_TRIES 16

/* Fail as an operation of the system does where the fault point says so. */
static bool faulty(enum qn_fault_kind kind)
{
    if (qn_fault_hit(kind)) {
        errno = EIO;
        return true;
    }
    return false;
}

static ssize_t read_some(int fd, void *bytes, size_t size)
{
    return faulty(QN_FAULT_READ) ? -1 : read(fd, bytes, size);
}

static enum qn_status read_all(int fd, const char *path, size_t limit, struct qn_buffer *out, struct qn_error *err)
{
    struct stat facts;
    size_t expected = 0;
    if (fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0) {
        expected = (size_t)facts.st_size < limit ? (size_t)facts.st_size : limit;
    }
    size_t before = out->size;
    /* One more than expected, so that the end of the file is found without growing. */
    if (!qn_buffer_reserve(out, expected) || !qn_buffer_reserve(out, expected + 1)) {
        return qn_buffer_check(out, path, err);
    }
    for (;;) {
        size_t taken = out->size - before;
        size_t room = out->capacity - out->size;
        /* One byte past the limit tells a file that is too long. */
        size_t wanted = limit - taken < SIZE_MAX && limit - taken + 1 < room ? limit - taken + 1 : room;
        ssize_t got = read_some(fd, out->data + out->size, wanted);
        if (got == 0) {
            out->data[out->size] = '\0';
            return QN_OK;
        }
        if (got < 0) {
            if (errno != EINTR) {
                return qn_error_set(err, QN_ERR_IO, "reading \"%s\": %m", path);
            }
            QN_TRY(qn_interrupt_poll(err));
            continue;
        }
        if ((size_t)got > limit - taken) {
            return qn_error_set(err, QN_ERR_IO, "reading \"%s\": more than the limit of %zu bytes", path, limit);
        }
        out->size += (size_t)got;
        if (out->size == out->capacity && !qn_buffer_reserve(out, READ_STEP)) {
            return qn_buffer_check(out, path, err);
        }
    }
}

enum qn_status qn_file_read(int folder_fd, const char *path, size_t limit, struct qn_buffer *out, struct qn_error *err)
{
    QN_TRY(qn_buffer_check(out, path, err));
    int fd = faulty(QN_FAULT_READ) ? -1 : openat(folder_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "reading \"%s\": %m", path);
    }
    size_t before = out->size;
    enum qn_status status = read_all(fd, path, limit, out, err);
    (void)close(fd);
    if (status != QN_OK) {
        out->size = before;
        out->failure = QN_BUFFER_FINE;
        if (out->data != NULL) {
            out->data[before] = '\0';
        }
    }
    return status;
}

/* Where the reader of a pipe is gone, write raises SIGPIPE, which is the host's: hold it back and take it out. */
struct pipe_signal {
    sigset_t before;
    bool was_pending;
};

static void hold_pipe_signal(struct pipe_signal *held)
{
    sigset_t pipe_only;
    sigset_t pending;
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)sigemptyset(&pending);
    (void)sigpending(&pending);
    held->was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &held->before);
}

static void release_pipe_signal(const struct pipe_signal *held, bool raised)
{
    if (raised && !held->was_pending) {
        sigset_t pipe_only;
        const struct timespec at_once = { 0 };
        (void)sigemptyset(&pipe_only);
        (void)sigaddset(&pipe_only, SIGPIPE);
        while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR) {
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &held->before, NULL);
}

/* 0, or the errno of the write that failed; ECANCELED where the interrupt callback says so. */
static int write_loop(int fd, const char *bytes, size_t size, struct qn_error *err)
{
    while (size > 0) {
        ssize_t written = faulty(QN_FAULT_WRITE) ? -1 : write(fd, bytes, size);
        if (written >= 0) {
            bytes += written;
            size -= (size_t)written;
        } else if (errno != EINTR) {
            return errno;
        } else if (qn_interrupt_poll(err) != QN_OK) {
            return ECANCELED;
        }
    }
    return 0;
}

enum qn_status qn_fd_write_all(int fd, const void *bytes, size_t size, const char *what, struct qn_error *err)
{
    struct pipe_signal held;
    hold_pipe_signal(&held);
    int failure = write_loop(fd, bytes, size, err);
    release_pipe_signal(&held, failure == EPIPE);
    if (failure == 0) {
        return QN_OK;
    }
    if (failure == ECANCELED) {
        return QN_ERR_CANCELLED; /* *err is set */
    }
    errno = failure;
    return qn_error_set(err, QN_ERR_IO, "writing %s: %m", what);
}

void qn_fd_begin_to_sync(int fd, int64_t offset, int64_t size)
{
    (void)sync_file_range(fd, offset, size, SYNC_FILE_RANGE_WRITE);
}

/* A file that is being replaced. */
struct replacement {
    int folder_fd;
    const char *path; /* for errors */
    const char *name; /* the last part of path */
    char temporary[TEMPORARY_NAME_SIZE];
};

static enum qn_status replace_failed(const struct replacement *self, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_IO, "writing \"%s\": %m", self->path);
}

/* Open the folder that `path` is in, below folder_fd. */
static enum qn_status open_folder(struct replacement *self, int folder_fd, struct qn_error *err)
{
    const char *slash = strrchr(self->path, '/');
    self->name = slash != NULL ? slash + 1 : self->path;
    qn_auto_free char *folder = NULL;
    if (slash != NULL) {
        folder = qn_strndup(self->path, (size_t)(slash - self->path) + 1); /* with the slash: the root stays itself */
        if (folder == NULL) {
            return qn__no_memory(err);
        }
    }
    self->folder_fd = openat(folder_fd, folder != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return self->folder_fd >= 0 ? QN_OK : replace_failed(self, err);
}

/* Create a file of a name that nobody has; its descriptor, or -1. */
static int create_temporary(struct replacement *self, unsigned mode)
{
    static _Atomic unsigned counter;
    for (int i = 0; i < TEMPORARY_NAME_TRIES; i++) {
        (void)snprintf(self->temporary, sizeof self->temporary, ".qanat-%lx-%llx-%x.tmp", (long)getpid(),
                       (unsigned long long)qn_clock_nanos(), atomic_fetch_add(&counter, 1));
        if (faulty(QN_FAULT_WRITE)) {
            return -1;
        }
        int fd = openat(self->folder_fd, self->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

static enum qn_status write_temporary(const struct replacement *self, int fd, const void *bytes, size_t size,
                                      struct qn_error *err)
{
    char what[256];
    (void)snprintf(what, sizeof what, "\"%s\"", self->path);
    enum qn_status status = qn_fd_write_all(fd, bytes, size, what, err);
    if (status == QN_OK && (faulty(QN_FAULT_FSYNC) || fsync(fd) != 0)) {
        status = replace_failed(self, err);
    }
    if (close(fd) != 0 && status == QN_OK) {
        status = replace_failed(self, err);
    }
    return status;
}

static enum qn_status put_in_place(const struct replacement *self, struct qn_error *err)
{
    if (faulty(QN_FAULT_RENAME) || renameat(self->folder_fd, self->temporary, self->folder_fd, self->name) != 0) {
        return replace_failed(self, err);
    }
    if (faulty(QN_FAULT_FSYNC) || fsync(self->folder_fd) != 0) {
        return replace_failed(self, err);
    }
    return QN_OK;
}

enum qn_status qn_file_replace(int folder_fd, const char *path, const void *bytes, size_t size, unsigned mode,
                               struct qn_error *err)
{
    struct replacement self = { .folder_fd = -1, .path = path };
    QN_TRY(open_folder(&self, folder_fd, err));
    enum qn_status status;
    int fd = create_temporary(&self, mode);
    if (fd < 0) {
        status = replace_failed(&self, err);
    } else {
        status = write_temporary(&self, fd, bytes, size, err);
        if (status == QN_OK) {
            status = put_in_place(&self, err);
        }
        if (status != QN_OK) {
            (void)unlinkat(self.folder_fd, self.temporary, 0); /* gone already where only the last fsync failed */
        }
    }
    (void)close(self.folder_fd);
    return status;
}
