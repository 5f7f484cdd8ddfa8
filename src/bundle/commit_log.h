/*
 * commit_log.h: the history of a bundle: a chain of commits, each in a file that is created once and never changed.
 *
 * A handle knows the digest and the time of every commit up to its head; other processes may add more at any time.
 * Threads: one at a time per handle. Processes: any number, readers and writers.
 */
#ifndef QN_BUNDLE_COMMIT_LOG_H
#define QN_BUNDLE_COMMIT_LOG_H

#include "bundle/commit.h"

/* A checkpoint of the log is written where the number of commits is a multiple of this. */
#define QN_COMMIT_LOG_STEP        256
#define QN_COMMIT_LOG_MAX_COMMITS INT64_C(100000000)

struct qn_commit_log;

/* Begin the log of a new bundle in the folder `bundle_fd` (borrowed) with `first` as version 0. A folder that has a log is
 * QN_ERR_CONFIG. */
enum qn_status qn_commit_log_create(int bundle_fd, struct qn_commit *first, struct qn_commit_log **out,
                                    struct qn_error *err) QN_MUST_CHECK;

/* Open the log of the bundle in `bundle_fd` (borrowed; needed no longer after the call). What the newest checkpoint does
 * not cover is read and its chain checked; QN_ERR_DATA names the commit that is missing or wrong. */
enum qn_status qn_commit_log_open(int bundle_fd, struct qn_commit_log **out, struct qn_error *err) QN_MUST_CHECK;
void qn_commit_log_free(struct qn_commit_log *log);

/* Take in the commits that others have added. */
enum qn_status qn_commit_log_refresh(struct qn_commit_log *log, struct qn_error *err) QN_MUST_CHECK;

/* The newest version that the handle knows. */
int64_t qn_commit_log_head(const struct qn_commit_log *log);

/* The SHA-256 of a commit's file, and its time. `version` is 0 to head. */
const struct qn_sha256 *qn_commit_log_hash(const struct qn_commit_log *log, int64_t version);
int64_t qn_commit_log_timestamp(const struct qn_commit_log *log, int64_t version);

/* Read one commit; the caller disposes of it. QN_ERR_ARGUMENT where there is no such version, QN_ERR_DATA where its bytes
 * are not those of the chain. */
enum qn_status qn_commit_log_read(const struct qn_commit_log *log, int64_t version, struct qn_commit *out,
                                  struct qn_error *err) QN_MUST_CHECK;

/* Add a commit after the head; version, previous and, where it is 0 or not later than the head's, timestamp are filled in.
 * Once this returns QN_OK the commit outlasts a power cut, and is the handle's head. *lost_out says that another writer
 * has taken the number (QN_OK, nothing is written): refresh, look at what came, append again. After QN_ERR_IO the commit
 * is absent, except where only the last fsync failed: refresh shows which. */
enum qn_status qn_commit_log_append(struct qn_commit_log *log, struct qn_commit *commit, bool *lost_out,
                                    struct qn_error *err) QN_MUST_CHECK;

/* The version whose hash begins with `prefix` (4 to 64 hexadecimal digits). QN_ERR_ARGUMENT: none, or several. */
enum qn_status qn_commit_log_find_hash(const struct qn_commit_log *log, const char *prefix, int64_t *version_out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* The newest version that is not later than a time. QN_ERR_ARGUMENT: the bundle is younger. */
enum qn_status qn_commit_log_find_time(const struct qn_commit_log *log, int64_t timestamp, int64_t *version_out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* One thing that is wrong. The texts are valid during the call. */
struct qn_log_problem {
    int64_t version; /* -1: not of one commit */
    const char *object;
    const char *expected;
    const char *found;
};
typedef void (*qn_log_problem_fn)(const struct qn_log_problem *problem, void *context);

/* Read every file of the log and report all that is wrong, with the commit that is to blame: missing, truncated, altered,
 * not following the one before; and checkpoints that disagree. Works on a folder whose log cannot be opened. */
enum qn_status qn_commit_log_verify(int bundle_fd, qn_log_problem_fn report, void *context,
                                    struct qn_error *err) QN_MUST_CHECK;

/* Remove temporary files older than min_age seconds from the log's folders. The caller holds the lock alone. */
enum qn_status qn_commit_log_sweep(int bundle_fd, int64_t min_age, int64_t *removed_out,
                                   struct qn_error *err) QN_MUST_CHECK;

#endif
