/*
 * fuzz_run_frames.c: what a hostile run can send: frames in pieces of any size, and the batches in them.
 *
 * The first byte is how large the pieces are, the second a limit of the output. Whatever comes, memory stays in proportion to
 * the bytes, every frame keeps to the limits of its kind, and what is decoded is a batch of the output schema.
 */
#include "arrow/reader.h"
#include "base/memory.h"
#include "processor/frames.h"
#include "processor/output.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char plan[] =
    "{\"statement\": \"\", \"checkpoint\": \"id\", \"output_limit\": 1048576,"
    " \"output\": [{\"name\": \"id\", \"type\": \"Int64!\"}, {\"name\": \"t\", \"type\": \"Utf8\"},"
    "              {\"name\": \"l\", \"type\": \"List<Struct<a: Int32, b: Utf8!>>\"}],"
    " \"runtime\": {\"python\": \"/p\", \"worker\": \"/w\", \"extension\": \"/e\", \"launcher\": \"/l\"}}";

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static struct qn_processor *processor(void)
{
    static struct qn_processor *made;
    if (made == NULL) {
        must(qn_processor_new(plan, sizeof plan - 1, &made, NULL) == QN_OK);
    }
    return made;
}

/* Read every value: a batch that was let through must be sound. */
static void walk(const struct qn_output *output, const struct ArrowArray *batch)
{
    struct qn_batch_reader reader;
    must(qn_batch_reader_init(&reader, &output->processor->output, NULL) == QN_OK);
    must(qn_batch_reader_bind(&reader, batch, NULL) == QN_OK);
    volatile uint64_t sum = 0;
    for (int64_t row = 0; row < batch->length; row++) {
        must(!qn_reader_is_null(&reader.columns[0], row));
        sum += (uint64_t)qn_reader_int64(&reader.columns[0], row);
        const char *bytes;
        size_t size;
        if (!qn_reader_is_null(&reader.columns[1], row)) {
            must(qn_reader_bytes(&reader.columns[1], row, &bytes, &size));
            sum += size > 0 ? (uint8_t)bytes[size - 1] : 0;
        }
    }
    qn_batch_reader_dispose(&reader);
}

static void take_batch(struct qn_output *output, struct qn_frame_taken *frame)
{
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_array batch = { 0 };
    int64_t rows = output->rows;
    char *payload = frame->payload;
    frame->payload = NULL;
    if (qn_output_take(output, payload, frame->size, &batch, &err) != QN_OK) {
        must(err.message[0] != '\0' && batch.release == NULL);
    } else if (batch.release != NULL) {
        must(output->rows == rows + batch.length && !output->over_limit);
        walk(output, &batch);
        struct ArrowArrayStream last = { 0 };
        must(qn_output_checkpoint(output, &last, NULL) == QN_OK && last.release != NULL);
        qn_stream_release(&last);
    }
}

static void feed(struct qn_frames *frames, struct qn_output *output, const uint8_t *data, size_t size, size_t piece)
{
    size_t at = 0;
    for (;;) {
        struct qn_frame_taken frame = { 0 };
        struct qn_error err = QN_ERROR_INIT;
        enum qn_frames_verdict verdict = qn_frames_take(frames, &frame, &err);
        if (verdict == QN_FRAMES_ONE) {
            must(frame.size <= size && qn_frame_kind_name(frame.kind)[0] != 'u');
            if (frame.kind == QN_FRAME_BATCH) {
                must(frame.size <= frames->batch_limit);
                take_batch(output, &frame);
            }
            qn_free(frame.payload);
            continue;
        }
        if (verdict != QN_FRAMES_WANT || at == size) {
            must(verdict != QN_FRAMES_BROKEN || err.status == QN_ERR_PROTOCOL);
            return;
        }
        size_t room = 0;
        char *into = qn_frames_room(frames, &room);
        must(room > 0);
        size_t give = size - at < room ? size - at : room;
        give = give < piece ? give : piece;
        memcpy(into, data + at, give);
        qn_frames_filled(frames, give);
        at += give;
        must(frames->capacity <= 2 * size + (64 << 10));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct qn_frames frames;
    struct qn_output output;
    must(qn_frames_init(&frames, NULL) == QN_OK);
    must(qn_output_init(processor(), &output, NULL) == QN_OK);
    frames.batch_limit = data[1] == 0 ? QN_FRAME_MAX_FROM_RUN : (uint64_t)data[1] * 16;
    feed(&frames, &output, data + 2, size - 2, (size_t)data[0] * 8 + 1);
    qn_output_dispose(&output);
    qn_frames_dispose(&frames);
    return 0;
}
