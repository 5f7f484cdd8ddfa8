/*
 * plan_process.c: the steps of a task: [[process]], each the plan of a processor (qanat/processor.h).
 *
 * A step's keys are checked here for what the file format has, then by the processor itself. That the steps fit together is
 * checked when the task is planned: the output of each with the input of the next, and what the checkpoint and the sink ask
 * for with the output of the last. Nothing is started. Threads: no state.
 */
#include "task/plan_private.h"

#include "base/memory.h"
#include "processor/input.h"
#include "processor/plan.h"

#include <stdio.h>
#include <stdlib.h>

static const struct qn__key_rule process_rules[] = {
    { "statement", QN__AS_TEXT, NULL },
    { "name", QN__AS_TEXT, NULL },
    { "output", QN__AS_ARRAY, NULL },
    { "input", QN__AS_ARRAY, NULL },
    { "mode", QN__AS_TEXT, NULL },
    { "batch_rows", QN__AS_INTEGER, NULL },
    { "concurrency", QN__AS_INTEGER, NULL },
    { "allow", QN__AS_ARRAY, NULL },
    { "network", QN__AS_TEXT | QN__AS_ARRAY, NULL },
    { "timeout", QN__AS_INTEGER | QN__AS_FLOAT, NULL },
    { "memory", QN__AS_INTEGER, NULL },
    { "output_limit", QN__AS_INTEGER, NULL },
    { "log_limit", QN__AS_INTEGER, NULL },
    { "runtime", QN__AS_TABLE, NULL },
    { NULL, 0, NULL },
};

static enum qn_status read_process(json_t *entry, const char *path, struct qn_task_process *out, struct qn_error *err)
{
    if (!json_is_object(entry)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s is %s; it must be a table", path, qn__task_toml_name(entry));
    }
    if (json_object_get(entry, "checkpoint") != NULL) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "%s.checkpoint: a task has one checkpoint, which is set in [checkpoint]", path);
    }
    QN_TRY(qn__task_check_shape(entry, path, process_rules, err));
    char *text = json_dumps(entry, JSON_COMPACT);
    if (text == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_processor_new(text, strlen(text), &out->processor, err);
    free(text);                                   /* jansson's */
    if (status == QN_ERR_CONFIG && err != NULL) { /* its message begins with the key */
        struct qn_error problem = *err;
        (void)qn_error_set(err, status, "%s.%s", path, problem.message);
        qn_error_hint(err, "%s", problem.hint);
    }
    if (status == QN_OK) {
        out->name = out->processor->name;
    }
    return status;
}

/* The output of each step with the input of the next. */
static enum qn_status check_steps(const struct qn_task *task, struct qn_error *err)
{
    for (size_t i = 1; i < task->n_processes; i++) {
        const struct qn_processor *before = task->processes[i - 1].processor;
        const struct qn_processor *after = task->processes[i].processor;
        if (after->input.release != NULL && qn__input_schema_check(&after->input, &before->output, err) != QN_OK) {
            qn_error_prefix(err, "process[%zu].input is not what process[%zu] returns", i, i - 1);
            if (err != NULL) {
                err->status = QN_ERR_CONFIG;
            }
            return QN_ERR_CONFIG;
        }
    }
    return QN_OK;
}

enum qn_status qn__task_read_processes(json_t *root, struct qn_task *task, struct qn_error *err)
{
    json_t *list = json_object_get(root, "process");
    size_t n = json_array_size(list);
    if (n == 0) {
        return QN_OK;
    }
    if (n > QN_TASK_MAX_PROCESSES) {
        return qn_error_set(err, QN_ERR_CONFIG, "process has %zu steps; at most %d are allowed", n,
                            QN_TASK_MAX_PROCESSES);
    }
    task->processes = qn_calloc(n, sizeof *task->processes);
    if (task->processes == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "process[%zu]", i);
        QN_TRY(read_process(json_array_get(list, i), path, &task->processes[i], err));
        task->n_processes++;
    }
    return check_steps(task, err);
}

static enum qn_status check_column(const struct ArrowSchema *output, const char *key, const char *column, size_t step,
                                   struct qn_error *err)
{
    if (qn_schema_find(output, column) >= 0) {
        return QN_OK;
    }
    qn_auto_buffer known = QN_BUFFER_INIT;
    for (int64_t i = 0; i < output->n_children; i++) {
        qn_buffer_printf(&known, "%s%s", i > 0 ? ", " : "", output->children[i]->name);
    }
    (void)qn_error_set(err, QN_ERR_CONFIG, "%s: the column \"%s\" is not in process[%zu].output", key, column, step);
    qn_error_hint(err, "the last step returns the columns %s", qn_buffer_text(&known));
    return QN_ERR_CONFIG;
}

enum qn_status qn__task_check_output(const struct qn_task *task, struct qn_error *err)
{
    if (task->n_processes == 0) {
        return QN_OK;
    }
    size_t last = task->n_processes - 1;
    const struct ArrowSchema *output = &task->processes[last].processor->output;
    for (size_t i = 0; i < task->sink.n_key; i++) {
        QN_TRY(check_column(output, "sink.key", task->sink.key[i], last, err));
    }
    const char *column = task->checkpoint.column;
    if (column == NULL) {
        return QN_OK;
    }
    QN_TRY(check_column(output, "checkpoint.column", column, last, err));
    struct qn_checkpoint_watch watch;
    enum qn_status status = qn_checkpoint_watch_init(&watch, output->children[qn_schema_find(output, column)], err);
    qn_checkpoint_watch_dispose(&watch);
    return status;
}
