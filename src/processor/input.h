/*
 * input.h: the rows of an execution as Arrow IPC messages: the first of them in a sealed memfd, the others one by one.
 *
 * Owns the stream of the caller. Batches are cut so that a message is of moderate size and, where the plan asks for batches
 * of so many rows, never crosses from one of those into the next. An input that breaks the input schema of the plan is the
 * execution's failure, not the caller's: `refused` tells it from a stream that failed. Threads: one at a time.
 */
#ifndef QN_PROCESSOR_INPUT_H
#define QN_PROCESSOR_INPUT_H

#include "arrow/ipc.h"
#include "processor/plan.h"
#include "processor/required.h"

#define QN_INPUT_MESSAGE_BYTES (8 << 20)  /* about; a row of more is one message */
#define QN_INPUT_FIRST_BYTES   (32 << 20) /* of the memfd, about: then the run begins */
#define QN_INPUT_FIRST_NANOS   20000000   /* a source that is slow does not keep the run from beginning */

struct qn_input {
    const struct qn_processor *processor;
    struct ArrowArrayStream stream;
    struct qn_ipc_encoder *encoder;
    struct ArrowSchema schema; /* of the stream */
    struct qn_required required;
    struct ArrowArray batch; /* what is left of it from `at` on is still to be written */
    int64_t at, step;        /* rows of a message of this batch at most */
    int64_t rows;            /* written so far */
    bool one_batch_first;    /* the memfd gets no more than one message with rows */
    bool ended;
    bool refused; /* the last error is about the rows */
    struct qn_buffer message;
};

/* Take the stream over (also on failure: qn_input_dispose releases it) and look at its schema. QN_ERR_DATA and `refused` where
 * it is not that of the plan. */
enum qn_status qn_input_open(const struct qn_processor *processor, struct ArrowArrayStream *take_stream,
                             struct qn_input *input, struct qn_error *err) QN_MUST_CHECK;
void qn_input_dispose(struct qn_input *input);

/* The beginning of the input as a sealed memfd: schema, batches up to a bound and, where that is all, the end marker. */
enum qn_status qn_input_first(struct qn_input *input, int *fd_out, uint64_t *size_out,
                              struct qn_error *err) QN_MUST_CHECK;

/* The next message in input->message; *more_out false and nothing there at the end. Calls the stream, which may take long. */
enum qn_status qn_input_next(struct qn_input *input, bool *more_out, struct qn_error *err) QN_MUST_CHECK;

/* ---- input_schema.c ---- */

/* Does the schema have the fields that the plan wants, of the same types in any layout? QN_ERR_DATA naming the field, expected
 * and found. */
enum qn_status qn__input_schema_check(const struct ArrowSchema *want, const struct ArrowSchema *got,
                                      struct qn_error *err) QN_MUST_CHECK;

#endif
