/*
 * output.h: BATCH frames of a run to batches of the output schema.
 *
 * The frames come from code that nobody trusts: src/arrow/ipc.h decodes them against the schema of the plan, nulls
 * in required fields included; bytes are counted against the limit before and after they are unpacked. Of each batch the
 * value of the checkpoint column in its last row is kept. Threads: one at a time.
 */
#ifndef QN_PROCESSOR_OUTPUT_H
#define QN_PROCESSOR_OUTPUT_H

#include "arrow/ipc.h"
#include "processor/plan.h"

struct qn_output {
    const struct qn_processor *processor;
    struct qn_ipc_decoder *decoder;
    int64_t rows, bytes;
    bool over_limit;                     /* more bytes than the plan allows */
    struct qn_ipc_encoder *last_encoder; /* of the checkpoint column; NULL: there is none */
    struct ArrowSchema last_schema;      /* one column */
    struct qn_buffer last;               /* the last row of it, as a message; empty: no row yet */
};

enum qn_status qn_output_init(const struct qn_processor *processor, struct qn_output *output,
                              struct qn_error *err) QN_MUST_CHECK;
void qn_output_dispose(struct qn_output *output);

/* How many bytes the next frame may have. */
uint64_t qn_output_left(const struct qn_output *output);

/* Decode the payload of a frame, which is the output's from here on (qn_free). A batch without rows gives none (out->release
 * NULL), so does one that is over the limit (`over_limit`). QN_ERR_PROTOCOL: not a batch of the schema. */
enum qn_status qn_output_take(struct qn_output *output, char *take_payload, size_t size, struct ArrowArray *out,
                              struct qn_error *err) QN_MUST_CHECK;

/* The last row's value as a stream of one row and one column; out->release NULL where there is none. */
enum qn_status qn_output_checkpoint(const struct qn_output *output, struct ArrowArrayStream *out,
                                    struct qn_error *err) QN_MUST_CHECK;

#endif
