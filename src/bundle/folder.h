/*
 * folder.h: folders of a bundle, files that appear in them whole, and leftovers.
 *
 * Folders are opened one name at a time, below a descriptor, and never through a symbolic link: no path leads out of the
 * bundle. Creating, writing, fsyncs, renames and links are fault points. Errors are QN_ERR_IO and name the file.
 */
#ifndef QN_BUNDLE_FOLDER_H
#define QN_BUNDLE_FOLDER_H

#include "base/buffer.h"
#include "base/fault.h"

#define QN_TEMPORARY_PREFIX    ".qanat-"
#define QN_TEMPORARY_NAME_SIZE 64

/* Open a folder that is there. */
enum qn_status qn_folder_open(int parent_fd, const char *name, int *fd_out, struct qn_error *err) QN_MUST_CHECK;

/* The same; it is made, and its entry fsynced, where it is not there. */
enum qn_status qn_folder_make(int parent_fd, const char *name, int *fd_out, struct qn_error *err) QN_MUST_CHECK;

/* fsync a folder: names that were made or removed in it last. */
enum qn_status qn_folder_sync(int fd, const char *name, struct qn_error *err) QN_MUST_CHECK;

/* Append a regular file of at most `limit` bytes (more is QN_ERR_IO) to `out`. Where there is none of that name *missing_out
 * says so, which is no error. */
enum qn_status qn_folder_read(int fd, const char *name, size_t limit, struct qn_buffer *out, bool *missing_out,
                              struct qn_error *err) QN_MUST_CHECK;

/* Call `visit` for each name in a folder, until it fails. */
typedef enum qn_status (*qn_folder_visit_fn)(int fd, const char *name, void *context, struct qn_error *err);
enum qn_status qn_folder_each(int fd, qn_folder_visit_fn visit, void *context, struct qn_error *err) QN_MUST_CHECK;

/* Remove the temporary files in a folder that nobody has written to for `min_age` seconds (0: all of them). The caller
 * holds the bundle's lock alone. */
enum qn_status qn_folder_sweep(int fd, int64_t min_age, int64_t *removed_out, struct qn_error *err) QN_MUST_CHECK;

/* A file that is being written, under a name that no reader looks at. */
struct qn_temporary {
    int folder_fd; /* borrowed */
    int fd;        /* -1 once it is synced */
    char name[QN_TEMPORARY_NAME_SIZE];
};

enum qn_status qn_temporary_create(int folder_fd, struct qn_temporary *out, struct qn_error *err) QN_MUST_CHECK;

/* fsync and close it: its bytes last from here on. */
enum qn_status qn_temporary_sync(struct qn_temporary *file, struct qn_error *err) QN_MUST_CHECK;

/* Give it a name of its own in its folder, unless something has that name: *taken_out says so, which is no error. The
 * temporary name is gone on success. */
enum qn_status qn_temporary_link(struct qn_temporary *file, const char *name, bool *taken_out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* Rename it into a folder, over what has that name there. */
enum qn_status qn_temporary_rename(struct qn_temporary *file, int folder_fd, const char *name,
                                   struct qn_error *err) QN_MUST_CHECK;

/* Close and remove it; safe on one that was linked, renamed, discarded or is all zeros but for fd -1. */
void qn_temporary_discard(struct qn_temporary *file);

#define QN_TEMPORARY_INIT                                                                                              \
    {                                                                                                                  \
        .folder_fd = -1, .fd = -1, .name = ""                                                                          \
    }

/* The bundle's lock (file _qanat/lock): those who write blocks and commits hold it together, gc holds it alone. */
enum qn_lock_kind { QN_LOCK_WRITER, QN_LOCK_ALONE };
/* Wait for it until the deadline (clock.h; QN_ERR_TIMEOUT), asking the interrupt callback. Closing *fd_out lets it go. */
enum qn_status qn_bundle_lock(int bundle_fd, enum qn_lock_kind kind, int64_t deadline, int *fd_out,
                              struct qn_error *err) QN_MUST_CHECK;

#endif
