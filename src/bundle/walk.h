/*
 * walk.h: going through what a bundle holds, for tasks: the blocks of a pack one by one, and checkpoints by their names.
 *
 * Threads: as the handle's calls (qanat/bundle.h); a stream is its user's.
 */
#ifndef QN_BUNDLE_WALK_H
#define QN_BUNDLE_WALK_H

#include <qanat/bundle.h>

/* Call `each` for every block of a pack, in the order of reading, pending ones last: its location, whose version is the
 * SHA-256 of its bytes (of a reference: the version that it was attached with). `each` must not call the handle. */
enum qn_status qn_bundle_each_block(struct qn_bundle *bundle, const char *pack, qn_location_callback each,
                                    void *context, struct qn_error *err) QN_MUST_CHECK;

/* The rows of one block, with the columns of `schema` (that of its pack: qn_bundle_schema; borrowed for the call). In
 * read.c. */
enum qn_status qn_bundle_stream_block(struct qn_bundle *bundle, const char *pack, const char *location,
                                      const struct ArrowSchema *schema, struct ArrowArrayStream *out,
                                      struct qn_error *err) QN_MUST_CHECK;

/* Call `each` for every checkpoint whose name begins with `prefix`. */
typedef enum qn_status (*qn_checkpoint_callback)(void *context, const char *name, const char *value,
                                                 struct qn_error *err);
enum qn_status qn_bundle_each_checkpoint(struct qn_bundle *bundle, const char *prefix, qn_checkpoint_callback each,
                                         void *context, struct qn_error *err) QN_MUST_CHECK;

#endif
