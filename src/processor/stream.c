/*
 * stream.c: an execution as an Arrow stream. Rows are handed on as they come; an execution that does not end well is an error
 * before the end of the stream. Threads: as a stream.
 */
#include "arrow/stream.h"
#include "processor/execution.h"

static enum qn_status stream_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct qn_execution *execution = self;
    return qn_processor_schema(execution->processor, out, err);
}

/* What an outcome is as an error; QN_OK where it is none. */
static enum qn_status status_of(enum qn_execution_status status)
{
    switch (status) {
    case QN_EXECUTION_OK:
    case QN_EXECUTION_NO_DATA:
        return QN_OK;
    case QN_EXECUTION_TIMED_OUT:
        return QN_ERR_TIMEOUT;
    case QN_EXECUTION_MEMORY:
    case QN_EXECUTION_OUTPUT_LIMIT:
        return QN_ERR_NO_MEMORY;
    default:
        return QN_ERR_QUERY;
    }
}

static enum qn_status stream_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct qn_execution *execution = self;
    QN_TRY(qn_execution_next(execution, out, err));
    if (out->release != NULL) {
        return QN_OK;
    }
    enum qn_status status = status_of(execution->status);
    if (status == QN_OK) {
        return QN_OK;
    }
    (void)qn_error_set(err, status, "%s: %s: %s", execution->processor->name,
                       qn_execution_status_name(execution->status), qn_buffer_text(&execution->message));
    qn_error_place(err, execution->row, NULL);
    return status;
}

static void stream_free(void *self)
{
    qn_execution_free(self);
}

enum qn_status qn_processor_stream(struct qn_processor *processor, struct ArrowArrayStream *rows,
                                   const struct qn_execution_options *options, struct ArrowArrayStream *out,
                                   struct qn_error *err)
{
    static const struct qn_stream_ops ops = { stream_schema, stream_next, stream_free };
    struct qn_execution *execution = NULL;
    QN_TRY(qn_execution_start(processor, rows, options, &execution, err));
    enum qn_status status = qn_stream_make(&ops, execution, out, err);
    if (status != QN_OK) {
        qn_execution_free(execution);
    }
    return status;
}
