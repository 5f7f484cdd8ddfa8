/*
 * frames.c: see frames.h. Payloads of more than what has been read already are read straight into their own memory.
 */
#include "processor/frames.h"

#include "base/memory.h"

#include <string.h>

#define FIRST_CAPACITY ((size_t)64 << 10)

enum qn_status qn_frames_init(struct qn_frames *frames, struct qn_error *err)
{
    *frames = (struct qn_frames){ .batch_limit = QN_FRAME_MAX_FROM_RUN, .stage = qn_malloc(QN_FRAMES_STAGE) };
    return frames->stage != NULL ? QN_OK : qn__no_memory(err);
}

void qn_frames_dispose(struct qn_frames *frames)
{
    qn_free(frames->stage);
    qn_free(frames->payload);
    *frames = (struct qn_frames){ 0 };
}

const char *qn_frame_kind_name(uint32_t kind)
{
    switch (kind) {
    case QN_FRAME_READY:
        return "READY";
    case QN_FRAME_FAILED:
        return "FAILED";
    case QN_FRAME_LOG:
        return "LOG";
    case QN_FRAME_NEED:
        return "NEED";
    case QN_FRAME_BATCH:
        return "BATCH";
    case QN_FRAME_DONE:
        return "DONE";
    default:
        return "unknown";
    }
}

/* The most bytes that a frame of this kind may have, and the least. False: not a kind that a run sends. */
static bool size_limits(uint32_t kind, uint64_t *least, uint64_t *most)
{
    *least = 0;
    switch (kind) {
    case QN_FRAME_READY:
    case QN_FRAME_NEED:
        *most = 0;
        return true;
    case QN_FRAME_FAILED:
        *most = QN_FRAMES_MAX_MESSAGE;
        return true;
    case QN_FRAME_LOG:
        *least = sizeof(struct qn_frame_log);
        *most = QN_FRAME_MAX_LOG;
        return true;
    case QN_FRAME_DONE:
        *least = sizeof(struct qn_frame_done);
        *most = sizeof(struct qn_frame_done) + QN_FRAMES_MAX_MESSAGE;
        return true;
    case QN_FRAME_BATCH:
        *least = 1;
        *most = QN_FRAME_MAX_FROM_RUN;
        return true;
    default:
        return false;
    }
}

static enum qn_frames_verdict check_head(const struct qn_frames *frames, struct qn_error *err)
{
    const struct qn_frame *head = &frames->head;
    uint64_t least, most;
    if (!size_limits(head->kind, &least, &most) || head->reserved != 0) {
        (void)qn_error_set(err, QN_ERR_PROTOCOL, "a frame of unknown kind %u", head->kind);
        return QN_FRAMES_BROKEN;
    }
    if (head->kind == QN_FRAME_BATCH && head->size > frames->batch_limit &&
        frames->batch_limit < QN_FRAME_MAX_FROM_RUN) {
        return QN_FRAMES_LIMIT;
    }
    if (head->size < least || head->size > most) {
        (void)qn_error_set(err, QN_ERR_PROTOCOL, "a frame %s of %llu bytes; it has from %llu to %llu",
                           qn_frame_kind_name(head->kind), (unsigned long long)head->size, (unsigned long long)least,
                           (unsigned long long)most);
        return QN_FRAMES_BROKEN;
    }
    return QN_FRAMES_ONE;
}

/* Memory for the payload: what has come, doubled, up to what was announced. One byte more is kept for a NUL. */
static bool grow_payload(struct qn_frames *frames, size_t wanted)
{
    size_t size = (size_t)frames->head.size; /* at most QN_FRAME_MAX_FROM_RUN */
    size_t capacity = wanted < FIRST_CAPACITY ? FIRST_CAPACITY : wanted;
    capacity = capacity < size ? capacity : size;
    char *grown = qn_realloc(frames->payload, capacity + 1);
    if (grown == NULL) {
        return false;
    }
    frames->payload = grown;
    frames->capacity = capacity;
    return true;
}

char *qn_frames_room(struct qn_frames *frames, size_t *size_out)
{
    if (frames->in_payload) {
        *size_out = frames->capacity - frames->have;
        return frames->payload + frames->have;
    }
    if (frames->begin > 0) {
        memmove(frames->stage, frames->stage + frames->begin, frames->end - frames->begin);
        frames->end -= frames->begin;
        frames->begin = 0;
    }
    *size_out = QN_FRAMES_STAGE - frames->end;
    return frames->stage + frames->end;
}

void qn_frames_filled(struct qn_frames *frames, size_t size)
{
    if (frames->in_payload) {
        frames->have += size;
    } else {
        frames->end += size;
    }
}

static void take_payload(struct qn_frames *frames, struct qn_frame_taken *out)
{
    *out = (struct qn_frame_taken){ .kind = frames->head.kind, .payload = frames->payload, .size = frames->have };
    if (out->payload != NULL) {
        out->payload[out->size] = '\0';
    }
    frames->payload = NULL;
    frames->have = frames->capacity = 0;
    frames->in_payload = false;
}

/* Move what has been read ahead into the payload that has just begun. */
static bool begin_payload(struct qn_frames *frames)
{
    size_t ahead = frames->end - frames->begin;
    size_t size = (size_t)frames->head.size;
    size_t own = ahead < size ? ahead : size;
    if (size > 0 && !grow_payload(frames, own)) {
        return false;
    }
    if (own > 0) {
        memcpy(frames->payload, frames->stage + frames->begin, own);
    }
    frames->begin += own;
    frames->have = own;
    frames->in_payload = true;
    return true;
}

enum qn_frames_verdict qn_frames_take(struct qn_frames *frames, struct qn_frame_taken *out, struct qn_error *err)
{
    if (!frames->in_payload) {
        if (frames->end - frames->begin < sizeof frames->head) {
            return QN_FRAMES_WANT;
        }
        memcpy(&frames->head, frames->stage + frames->begin, sizeof frames->head);
        enum qn_frames_verdict verdict = check_head(frames, err);
        if (verdict != QN_FRAMES_ONE) {
            return verdict;
        }
        frames->begin += sizeof frames->head;
        if (!begin_payload(frames)) {
            (void)qn__no_memory(err);
            return QN_FRAMES_BROKEN;
        }
    }
    if (frames->have == frames->head.size) {
        take_payload(frames, out);
        return QN_FRAMES_ONE;
    }
    if (frames->have == frames->capacity && !grow_payload(frames, 2 * frames->capacity)) {
        (void)qn__no_memory(err);
        return QN_FRAMES_BROKEN;
    }
    return QN_FRAMES_WANT;
}

bool qn_frames_torn(const struct qn_frames *frames)
{
    return frames->in_payload || frames->begin < frames->end;
}
