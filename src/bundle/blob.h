/*
 * blob.h: blocks of a bundle, each in a file that is named for the SHA-256 of its bytes: data/ab/<sha256>.<format>.
 *
 * A block is written as it streams and appears whole, under its name, or not at all. Threads: one at a time per handle; any
 * number of handles and processes.
 */
#ifndef QN_BUNDLE_BLOB_H
#define QN_BUNDLE_BLOB_H

#include "bundle/digest.h"

struct qn_blob_writer;

/* Begin a block in the bundle in `bundle_fd` (borrowed until the writer is freed). The caller holds the writers' lock until
 * its commit (folder.h), so that gc does not take what no commit names yet. */
enum qn_status qn_blob_writer_new(int bundle_fd, const char *format, struct qn_blob_writer **out,
                                  struct qn_error *err) QN_MUST_CHECK;

/* Add bytes. A failure is sticky: the block cannot be finished any more. */
enum qn_status qn_blob_writer_write(struct qn_blob_writer *writer, const void *bytes, size_t size,
                                    struct qn_error *err) QN_MUST_CHECK;

/* fsync the block and put it in place; once this returns QN_OK it outlasts a power cut. A block of the same bytes that
 * is there is replaced by this one: it may be damaged, and is as young as this one then. The writer can only be freed
 * afterwards. */
enum qn_status qn_blob_writer_finish(struct qn_blob_writer *writer, struct qn_sha256 *hash_out,
                                     struct qn_error *err) QN_MUST_CHECK;

/* A block that was not finished leaves nothing. NULL is allowed. */
void qn_blob_writer_free(struct qn_blob_writer *writer);

/* Open a block to read from its beginning. QN_ERR_DATA where it is not there or is no file; QN_ERR_ARGUMENT where format is
 * no name of one. */
enum qn_status qn_blob_open(int bundle_fd, const struct qn_sha256 *hash, const char *format, int *fd_out,
                            struct qn_error *err) QN_MUST_CHECK;

/* Read a block whole and compare: QN_ERR_DATA says that it is missing, or has another digest, or another size than `bytes`
 * (-1: any). Asks the interrupt callback. */
enum qn_status qn_blob_verify(int bundle_fd, const struct qn_sha256 *hash, const char *format, int64_t bytes,
                              struct qn_error *err) QN_MUST_CHECK;

/* Whether somebody still needs a block. */
typedef bool (*qn_blob_needed_fn)(const struct qn_sha256 *hash, const char *format, void *context);

struct qn_blob_sweep {
    int64_t removed;   /* blocks */
    int64_t bytes;     /* that they had */
    int64_t temporary; /* files that were not finished */
};

/* Remove blocks that `needed` says false of, and temporary files, both only where they are older than `min_age` seconds. The
 * caller holds the lock alone. Files that are not of a bundle are left alone. */
enum qn_status qn_blob_sweep(int bundle_fd, int64_t min_age, qn_blob_needed_fn needed, void *context,
                             struct qn_blob_sweep *out, struct qn_error *err) QN_MUST_CHECK;

#endif
