/*
 * state_file.h: snapshots of the state beside the checkpoints of the log (docs/formats/bundle.md, "Snapshots").
 *
 * They only save reading: their bytes are trusted for nothing but speed. Threads: no state.
 */
#ifndef QN_BUNDLE_STATE_FILE_H
#define QN_BUNDLE_STATE_FILE_H

#include "base/buffer.h"
#include "bundle/state.h"

#define QN__LOG_STATE ".state"

/* The newest snapshot of a log that can be trusted and is not newer than `version`; *version_out -1: there is none. */
enum qn_status qn__snapshot_load(const struct qn_commit_log *log, int64_t version, struct qn_bundle_state **out,
                                 int64_t *version_out, struct qn_error *err) QN_MUST_CHECK;

/* Write the snapshot of a version, whose state it is with nothing pending, and remove those that are too many. */
enum qn_status qn__snapshot_save(const struct qn_commit_log *log, int64_t version, const struct qn_bundle_state *state,
                                 struct qn_error *err) QN_MUST_CHECK;

/* The bytes of a snapshot; equal states have equal bytes. `hash` is that of the version's commit. */
enum qn_status qn__snapshot_encode(const struct qn_bundle_state *state, int64_t version, const struct qn_sha256 *hash,
                                   struct qn_buffer *out, struct qn_error *err) QN_MUST_CHECK;

/* Trusting nothing. On success the buffer's memory is the state's. */
enum qn_status qn__snapshot_decode(struct qn_buffer *file, int64_t version, const struct qn_sha256 *hash,
                                   struct qn_bundle_state **out, struct qn_error *err) QN_MUST_CHECK;

/* The file of a snapshot as it is. */
enum qn_status qn__snapshot_read(int checkpoint_fd, int64_t version, struct qn_buffer *out,
                                 struct qn_error *err) QN_MUST_CHECK;

#endif
