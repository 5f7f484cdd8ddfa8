/*
 * log_private.h: what the files of the commit log share: names, entries, checkpoints. Not for other folders.
 */
#ifndef QN_BUNDLE_LOG_PRIVATE_H
#define QN_BUNDLE_LOG_PRIVATE_H

#include "bundle/commit_log.h"

#define QN__LOG_NAME_SIZE 32 /* 20 digits, a suffix and a NUL */
#define QN__LOG_COMMIT    ".json"
#define QN__LOG_INDEX     ".index"

struct qn__log_entry {
    struct qn_sha256 hash; /* of the commit's file */
    int64_t timestamp;
};

struct qn__log_entries {
    struct qn__log_entry *items;
    int64_t count;
    int64_t capacity;
};

/* "00000000000000000007.json" */
void qn__log_name(int64_t version, const char *suffix, char out[QN__LOG_NAME_SIZE]);

/* The numbers that have a file of this suffix in a folder, in the order of the folder; the caller frees *out. */
enum qn_status qn__log_scan(int folder_fd, const char *suffix, int64_t **out, int64_t *count_out,
                            struct qn_error *err) QN_MUST_CHECK;
void qn__log_sort(int64_t *numbers, int64_t count);

/* The numbers of the commits, sorted. Others may add to the folder while it is listed, and a listing then shows some of what
 * they added and not all: numbers between those that it shows are asked for by name (a few: a real gap is no race). */
enum qn_status qn__log_scan_commits(int log_fd, int64_t **out, int64_t *count_out, struct qn_error *err) QN_MUST_CHECK;

/* Whether a file of the log, or a checkpoint, is there now. */
bool qn__log_has(int folder_fd, int64_t version, const char *suffix);

/* Read, hash and parse a commit's file, and check that it is this version. */
enum qn_status qn__log_read(int log_fd, int64_t version, struct qn_commit *out, struct qn_sha256 *hash_out,
                            struct qn_error *err) QN_MUST_CHECK;

/* log_mark.c: a small file of _qanat that names a commit. */
struct qn__mark {
    int64_t version;
    struct qn_sha256 hash; /* of the commit's file */
};
#define QN__MARK_HEAD  "head"
#define QN__MARK_FLOOR "floor"
#define QN__MARK_SIZE  151 /* bytes of the file */
enum qn__mark_state { QN__MARK_ABSENT, QN__MARK_DAMAGED, QN__MARK_GOOD };
enum qn_status qn__mark_read(int own_fd, const char *name, struct qn__mark *out, enum qn__mark_state *state_out,
                             struct qn_error *err) QN_MUST_CHECK;
/* durable: it outlasts a power cut. */
enum qn_status qn__mark_write(int own_fd, const char *name, const struct qn__mark *mark, bool durable,
                              struct qn_error *err) QN_MUST_CHECK;
/* The bytes of the file, and a NUL; and back, strictly: false for what is no mark, and *out as it was. */
enum qn_status qn__mark_format(const struct qn__mark *mark, char out[QN__MARK_SIZE + 1],
                               struct qn_error *err) QN_MUST_CHECK;
bool qn__mark_parse(const char *bytes, size_t size, struct qn__mark *out);

/* Folders of a log; -1: there is none. Borrowed. */
int qn__log_own_fd(const struct qn_commit_log *log);
int qn__log_checkpoint_fd(const struct qn_commit_log *log);

/* log_index.c: a checkpoint of the log: the entries of versions 0 to `version`. On failure entries stay as they were. */
enum qn_status qn__log_index_read(int checkpoint_fd, int64_t version, struct qn__log_entries *out,
                                  struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__log_index_write(int checkpoint_fd, const struct qn__log_entries *entries,
                                   struct qn_error *err) QN_MUST_CHECK;
/* The same, of the file's bytes: what one takes the other would have written. */
enum qn_status qn__log_index_decode(const struct qn_buffer *file, int64_t version, struct qn__log_entries *out,
                                    struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__log_index_encode(const struct qn__log_entries *entries, struct qn_buffer *out,
                                    struct qn_error *err) QN_MUST_CHECK;

#endif
