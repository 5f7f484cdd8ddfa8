/*
 * file.h: whole files in and out; a replaced file is the old one or the new one, never a part of either.
 *
 * Every descriptor is close-on-exec. Reads, writes, fsyncs and renames are fault points. Errors are QN_ERR_IO and name
 * the path.
 */
#ifndef QN_OS_FILE_H
#define QN_OS_FILE_H

#include "base/buffer.h"

/* Read a whole file of at most `limit` bytes (more is QN_ERR_IO) and append it to `out`. */
enum qn_status qn_file_read(int folder_fd, const char *path, size_t limit, struct qn_buffer *out,
                            struct qn_error *err) QN_MUST_CHECK;

/* Write a temporary file beside `path`, fsync it, rename it over `path` and fsync the folder. On failure the old file is
 * untouched and the temporary one is gone; only where the last fsync, that of the folder, fails, the new file is in
 * place, whole, but may not outlast a power cut. `mode` is subject to the umask. folder_fd may be AT_FDCWD. */
enum qn_status qn_file_replace(int folder_fd, const char *path, const void *bytes, size_t size, unsigned mode,
                               struct qn_error *err) QN_MUST_CHECK;

/* Write all of the bytes to a blocking descriptor; short writes and EINTR are handled. `what` names it in errors. */
enum qn_status qn_fd_write_all(int fd, const void *bytes, size_t size, const char *what,
                               struct qn_error *err) QN_MUST_CHECK;
/* Let the disk begin on what was written there, so that little is left for the fsync that waits. Advice only. */
void qn_fd_begin_to_sync(int fd, int64_t offset, int64_t size);

#endif
