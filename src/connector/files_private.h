/*
 * files_private.h: what the files of the `files` connector share, and what references use of it.
 */
#ifndef QN_CONNECTOR_FILES_PRIVATE_H
#define QN_CONNECTOR_FILES_PRIVATE_H

#include "base/buffer.h"
#include "base/status.h"

#include <sys/stat.h>

#define QN_FILE_VERSION_SIZE 96

/* "SIZE-SECONDS.NANOSECONDS" of the last modification. */
void qn__file_version(const struct stat *found, char out[QN_FILE_VERSION_SIZE]);

/* "sha256:" and the digest of the whole file, which is read from its beginning; its position is left there. */
enum qn_status qn__file_digest(int fd, const char *shown, char out[QN_FILE_VERSION_SIZE],
                               struct qn_error *err) QN_MUST_CHECK;

/* A regular file that was opened without blocking: its facts; blocking from here on. */
enum qn_status qn__file_check(int fd, const char *shown, struct stat *out, struct qn_error *err) QN_MUST_CHECK;

/* ---- patterns ---- */

/* Whether a pattern has characters that mean something: * ? [ */
bool qn__pattern_is_wild(const char *pattern);

/* Whether `path` (relative, parts between slashes) matches: * and ? within a part, [a-z] [!a], and ** for any number of
 * whole parts. A part that begins with a dot is matched only by one that does, unless `hidden`. */
bool qn__pattern_matches(const char *pattern, const char *path, bool hidden);

/* Whether something below `folder` could match. */
bool qn__pattern_leads_into(const char *pattern, const char *folder, bool hidden);

/* ---- walking ---- */

struct qn_files_walk {
    int root_fd;
    const char *root;    /* for messages */
    const char *pattern; /* of paths below the root; NULL: all */
    bool by_name;        /* the pattern is of names: it has no slash */
    bool recursive;
    bool hidden;
    bool follow_links; /* out of the folder, and into folders that are links */
};

/* Called for each file, in the order of bytes of each folder; `path` is relative to the root. */
typedef enum qn_status (*qn_files_callback)(void *context, const char *path, struct qn_error *err);
enum qn_status qn__files_walk(const struct qn_files_walk *walk, qn_files_callback each, void *context,
                              struct qn_error *err) QN_MUST_CHECK;

/* Open a path below the root, never outside of it unless links are followed. `shown` is for messages. */
enum qn_status qn__files_open(int root_fd, const char *path, bool follow_links, const char *shown, int *fd_out,
                              struct qn_error *err) QN_MUST_CHECK;

#endif
