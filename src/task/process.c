/*
 * process.c: the steps of a run: executions one behind the other between the source's stream and the queue.
 *
 * The reader thread pulls at the last of them, and so drives all; each statement runs in a process of its own, so that they
 * overlap. A step that does not end well is an error of its stream, which fails the slice that is being written. What a
 * statement logs goes to the log of the area "task". Threads: made on the thread that runs the task, then the reader's.
 */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "processor/input.h"
#include "processor/plan.h"
#include "processor/told.h"
#include "task/run.h"

#include <stdio.h>

/* ---- DATA_CHECKPOINT ------------------------------------------------------------------------------------------ */

static void put_checkpoint(struct qn_column *column, const struct qn_checkpoint *value)
{
    int64_t number = (int64_t)value->number;
    switch (value->type.id) {
    case QN_TYPE_INT8:
    case QN_TYPE_UINT8:
        qn_column_put_int8(column, (int8_t)number);
        return;
    case QN_TYPE_INT16:
    case QN_TYPE_UINT16:
        qn_column_put_int16(column, (int16_t)number);
        return;
    case QN_TYPE_INT32:
    case QN_TYPE_UINT32:
    case QN_TYPE_DATE32:
        qn_column_put_int32(column, (int32_t)number);
        return;
    case QN_TYPE_DECIMAL128:
        qn_column_put_decimal128(column, value->number);
        return;
    case QN_TYPE_FLOAT64:
        qn_column_put_float64(column, value->real);
        return;
    case QN_TYPE_STRING_VIEW:
        qn_column_put_bytes(column, qn_buffer_text(&value->text), value->text.size);
        return;
    default: /* int64, uint64, timestamps */
        qn_column_put_int64(column, number);
        return;
    }
}

/* One row with the stored value. */
static enum qn_status checkpoint_stream(const struct qn_checkpoint *value, struct ArrowArrayStream *out,
                                        struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    qn_auto_array array = { .release = NULL };
    struct qn_batch batch;
    QN_TRY(qn_schema_struct(&schema, 1, err));
    QN_TRY(qn_schema_set(&schema, 0, "checkpoint", &value->type, err));
    QN_TRY(qn_batch_init(&batch, &schema, err));
    enum qn_status status = qn_batch_reserve(&batch, 1, err);
    if (status == QN_OK) {
        put_checkpoint(&batch.columns[0], value);
        status = qn_batch_finish(&batch, 1, &array, err);
    }
    qn_batch_dispose(&batch);
    QN_TRY(status);
    return qn_stream_from_arrays(&schema, &array, 1, out, err);
}

/* ---- the source, watched -------------------------------------------------------------------------------------- */

/* The stream of the source as the first step reads it: so that it is known which side has failed. */
struct tap {
    struct qn_run *run;
    struct ArrowArrayStream stream;
};

static enum qn_status tap_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct tap *tap = self;
    return qn_stream_schema(&tap->stream, out, err);
}

static enum qn_status tap_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct tap *tap = self;
    enum qn_status status = qn_stream_next(&tap->stream, out, err);
    tap->run->source_failed = status != QN_OK;
    return status;
}

static void tap_free(void *self)
{
    struct tap *tap = self;
    qn_stream_release(&tap->stream);
    qn_free(tap);
}

/* Put a tap around the rows of the run. */
static enum qn_status tap_rows(struct qn_run *run, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { tap_schema, tap_next, tap_free };
    struct tap *tap = qn_calloc(1, sizeof *tap);
    if (tap == NULL) {
        return qn__no_memory(err);
    }
    tap->run = run;
    tap->stream = run->rows;
    run->rows.release = NULL;
    enum qn_status status = qn_stream_make(&ops, tap, &run->rows, err);
    if (status != QN_OK) {
        tap_free(tap);
    }
    return status;
}

/* ---- a step --------------------------------------------------------------------------------------------------- */

struct step {
    struct qn_run *run;
    const struct qn_task_process *process;
    struct qn_execution *execution;
    int64_t told; /* log messages */
};

/* What the statement has said since the last time. */
static void tell(struct step *step)
{
    qn_auto_buffer prefix = QN_BUFFER_INIT;
    qn_buffer_printf(&prefix, "%s: ", step->run->task->name);
    qn_told_log(step->execution, step->process->name, "task", qn_buffer_text(&prefix), &step->told);
}

/* How it ended. */
static void tell_end(const struct step *step, const struct qn_execution_result *result)
{
    const char *task = step->run->task->name;
    const char *name = step->process->name;
    if (result->logs_dropped > 0) {
        QN_LOG(QN_LOG_WARNING, "task", "%s: %s: %lld log messages past the limit were dropped", task, name,
               (long long)result->logs_dropped);
    }
    QN_LOG(QN_LOG_INFO, "task", "%s: %s: %s: %lld rows in, %lld rows out, %.3f s, %.1f MiB at most (%s sandbox)", task,
           name, qn_execution_status_name(result->status), (long long)result->rows_in, (long long)result->rows_out,
           result->seconds, (double)result->peak_memory / (1 << 20), result->tier);
}

/* What the author of the task does about it. */
static const char *way_out(enum qn_execution_status status)
{
    switch (status) {
    case QN_EXECUTION_TIMED_OUT:
        return "give the step a longer `timeout`: it counts the statement's time over all rows of a run";
    case QN_EXECUTION_MEMORY:
        return "give the step more `memory`, or in mode bulk fewer rows at once (`batch_rows`)";
    case QN_EXECUTION_OUTPUT_LIMIT:
        return "return or log less, or give the step a higher `output_limit` or `log_limit`";
    case QN_EXECUTION_REJECTED:
        return "correct the statement; what it may import is the step's `allow`";
    case QN_EXECUTION_FAILED:
        return "correct the statement; `qanat process debug` tries one on a sample and shows everything";
    default:
        return "";
    }
}

static enum qn_status refuse(const struct step *step, const struct qn_execution_result *result, struct qn_error *err)
{
    enum qn_status status = qn_told_error(result, step->process->name, "statement ", err);
    qn_error_hint(err, "%s", way_out(result->status));
    return status;
}

static enum qn_status step_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct step *step = self;
    return qn_processor_schema(step->process->processor, out, err);
}

static enum qn_status step_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct step *step = self;
    struct qn_execution_result result = { .struct_size = sizeof result };
    QN_TRY(qn_execution_next(step->execution, out, err));
    qn_execution_result(step->execution, &result);
    tell(step);
    if (out->release != NULL) {
        return QN_OK;
    }
    tell_end(step, &result);
    bool well = result.status == QN_EXECUTION_OK || result.status == QN_EXECUTION_NO_DATA;
    return well ? QN_OK : refuse(step, &result, err);
}

static void step_free(void *self)
{
    struct step *step = self;
    qn_execution_free(step->execution);
    qn_free(step);
}

/* Begin a step over the rows of the run, which are then its own. */
static enum qn_status start_step(struct qn_run *run, const struct qn_task_process *process, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { step_schema, step_next, step_free };
    struct qn_execution_options options = QN_EXECUTION_OPTIONS_INIT;
    options.timeout_per_batch = true;
    qn_auto_stream checkpoint = { .release = NULL };
    if (run->goes_on) {
        QN_TRY(checkpoint_stream(&run->stored.value, &checkpoint, err));
        options.checkpoint = &checkpoint;
    }
    struct step *step = qn_calloc(1, sizeof *step);
    if (step == NULL) {
        return qn__no_memory(err);
    }
    step->run = run;
    step->process = process;
    enum qn_status status = qn_execution_start(process->processor, &run->rows, &options, &step->execution, err);
    if (status == QN_OK) {
        run->rows.release = NULL;
        status = qn_stream_make(&ops, step, &run->rows, err);
    }
    if (status != QN_OK) {
        step_free(step);
    }
    return status;
}

/* ---- all of them ---------------------------------------------------------------------------------------------- */

enum qn_status qn_run_check_processes(struct qn_run *run, struct qn_error *err)
{
    for (size_t i = 0; i < run->task->n_processes; i++) {
        const struct qn_task_process *process = &run->task->processes[i];
        struct qn_statement_problem problem = QN_STATEMENT_PROBLEM_INIT;
        enum qn_status status = qn_processor_check(process->processor, &problem, err);
        if (status == QN_ERR_QUERY && problem.line > 0) {
            (void)qn_error_set(err, QN_ERR_QUERY, "statement %s, line %d: rejected: %s", process->name,
                               (int)problem.line, qn_told_without_line(problem.message, problem.line));
            qn_error_hint(err, "%s", way_out(QN_EXECUTION_REJECTED));
            return QN_ERR_QUERY;
        }
        if (status != QN_OK) {
            qn_error_prefix(err, "statement %s", process->name);
            return status;
        }
    }
    return QN_OK;
}

enum qn_status qn_run_check_input(const struct qn_run *run, struct qn_error *err)
{
    const struct qn_processor *first = run->task->processes[0].processor;
    if (first->input.release == NULL || qn__input_schema_check(&first->input, &run->source_schema, err) == QN_OK) {
        return QN_OK;
    }
    qn_error_prefix(err, "process[0].input is not what the source returns");
    if (err != NULL) {
        err->status = QN_ERR_CONFIG;
    }
    return QN_ERR_CONFIG;
}

enum qn_status qn_run_start_processes(struct qn_run *run, struct qn_error *err)
{
    QN_TRY(tap_rows(run, err));
    for (size_t i = 0; i < run->task->n_processes; i++) {
        enum qn_status status = start_step(run, &run->task->processes[i], err);
        if (status != QN_OK) {
            qn_error_prefix(err, "statement %s", run->task->processes[i].name);
            return status;
        }
    }
    return QN_OK;
}
