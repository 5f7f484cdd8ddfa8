/*
 * stream.c: an execution as an Arrow stream. Rows are handed on as they come; an execution that does not end well is an error
 * before the end of the stream. What the statement logs goes to the log of the area "processor". Threads: as a stream.
 */
#include "arrow/stream.h"
#include "base/memory.h"
#include "processor/execution.h"
#include "processor/told.h"

struct through {
    struct qn_execution *execution;
    int64_t told; /* log messages */
};

static enum qn_status through_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct through *through = self;
    return qn_processor_schema(through->execution->processor, out, err);
}

static enum qn_status through_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct through *through = self;
    struct qn_execution_result result = { .struct_size = sizeof result };
    const char *name = through->execution->processor->name;
    QN_TRY(qn_execution_next(through->execution, out, err));
    qn_told_log(through->execution, name, "processor", "", &through->told);
    if (out->release != NULL) {
        return QN_OK;
    }
    qn_execution_result(through->execution, &result);
    bool well = result.status == QN_EXECUTION_OK || result.status == QN_EXECUTION_NO_DATA;
    return well ? QN_OK : qn_told_error(&result, name, "", err);
}

static void through_free(void *self)
{
    struct through *through = self;
    qn_execution_free(through->execution);
    qn_free(through);
}

enum qn_status qn_processor_stream(struct qn_processor *processor, struct ArrowArrayStream *rows,
                                   const struct qn_execution_options *options, struct ArrowArrayStream *out,
                                   struct qn_error *err)
{
    static const struct qn_stream_ops ops = { through_schema, through_next, through_free };
    struct through *through = qn_calloc(1, sizeof *through);
    if (through == NULL) {
        return qn__no_memory(err);
    }
    struct qn_execution_options mine = QN_EXECUTION_OPTIONS_INIT;
    if (options != NULL) {
        mine = *options;
    }
    mine.timeout_per_batch = true;
    enum qn_status status = qn_execution_start(processor, rows, &mine, &through->execution, err);
    if (status == QN_OK) {
        status = qn_stream_make(&ops, through, out, err);
    }
    if (status != QN_OK) {
        through_free(through);
    }
    return status;
}
