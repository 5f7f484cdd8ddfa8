/*
 * frames.h: the bytes of a run's channel, cut into frames. No I/O: see channel.h.
 *
 * Layout (protocol.h): struct qn_frame, then `size` bytes. What comes from a run is hostile: kinds are known ones, sizes
 * are held to the maximum of their kind before a byte of them is kept, and memory grows with the bytes that have come,
 * not with those that are announced. Payloads lie 16-byte aligned. Threads: one at a time.
 */
#ifndef QN_PROCESSOR_FRAMES_H
#define QN_PROCESSOR_FRAMES_H

#include "base/status.h"
#include "processor/protocol.h"

#include <stdbool.h>
#include <stddef.h>

#define QN_FRAMES_STAGE       (16 << 10) /* bytes that are read at once where no large payload is on its way */
#define QN_FRAMES_MAX_MESSAGE (1 << 20)  /* payload of DONE and FAILED at most */

enum qn_frames_verdict {
    QN_FRAMES_WANT,   /* more bytes are needed */
    QN_FRAMES_ONE,    /* a whole frame */
    QN_FRAMES_LIMIT,  /* a BATCH of more bytes than batch_limit: its payload is not kept */
    QN_FRAMES_BROKEN, /* not what a run may send; *err is QN_ERR_PROTOCOL, or QN_ERR_NO_MEMORY */
};

struct qn_frames {
    uint64_t batch_limit; /* of one BATCH, where that is less than QN_FRAME_MAX_FROM_RUN; set by the owner */
    char *stage;          /* bytes that have come and belong to no payload yet: [begin, end) */
    size_t begin, end;
    bool in_payload; /* `head` is there, its payload is not */
    struct qn_frame head;
    char *payload;
    size_t have, capacity;
};

/* A whole frame. The payload is the caller's (qn_free); NULL where size is 0. It is followed by a NUL that does not count. */
struct qn_frame_taken {
    uint32_t kind;
    char *payload;
    size_t size;
};

enum qn_status qn_frames_init(struct qn_frames *frames, struct qn_error *err) QN_MUST_CHECK;
void qn_frames_dispose(struct qn_frames *frames);

/* Where the next bytes go, and how many: never 0. Call after qn_frames_take said WANT. */
char *qn_frames_room(struct qn_frames *frames, size_t *size_out);
/* `size` bytes have been put there. */
void qn_frames_filled(struct qn_frames *frames, size_t size);

/* The next frame of the bytes that have come. */
enum qn_frames_verdict qn_frames_take(struct qn_frames *frames, struct qn_frame_taken *out, struct qn_error *err);

/* A frame is half there: its sender stopped in the middle. */
bool qn_frames_torn(const struct qn_frames *frames);

/* "BATCH" and so on; static. */
const char *qn_frame_kind_name(uint32_t kind);

#endif
