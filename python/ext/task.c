/*
 * task.c: the Python type _native.Task: a checked plan that can be run.
 *
 * The plan comes as JSON text; reading task files is qanat/task.py's. A run holds no GIL but while the progress callback
 * runs. An exception that the callback raises cancels the run and comes out of run(). One run at a time per object.
 */
#include "native.h"

#include <string.h>
#include <structmember.h>

struct task_object {
    PyObject_HEAD
    struct native_state *state;
    struct qn_task *task;
    bool running;
    PyObject *last; /* a dict of how the last run ended, or NULL */
};

static struct task_object *task_of(PyObject *object)
{
    return (struct task_object *)object;
}

static PyObject *task_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = { "plan", NULL };
    PyObject *plan = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "U:Task", names, &plan)) {
        return NULL;
    }
    struct native_state *state = native_state_of_type(type);
    const char *json = native_text(state, plan, "plan");
    if (state == NULL || json == NULL) {
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    struct qn_task *task = NULL;
    if (qn_task_new(json, strlen(json), &task, &err) != QN_OK) {
        return native_raise(state, &err, NULL);
    }
    PyObject *object = type->tp_alloc(type, 0);
    if (object == NULL) {
        qn_task_free(task);
        return NULL;
    }
    task_of(object)->state = state;
    task_of(object)->task = task;
    return object;
}

static int task_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(task_of(object)->last);
    return 0;
}

static int task_clear(PyObject *object)
{
    Py_CLEAR(task_of(object)->last);
    return 0;
}

static void task_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    (void)task_clear(object);
    qn_task_free(task_of(object)->task);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- running -------------------------------------------------------------------------------------------------- */

struct progress {
    PyObject *callback;
    PyObject *raised; /* by the callback; NULL: nothing */
};

/* Called without the GIL. */
static int report(void *context, const struct qn_task_progress *now)
{
    struct progress *progress = context;
    struct native_callback call;
    native_callback_begin(&call);
    PyObject *answer = PyObject_CallFunction(progress->callback, "sLLd", now->stage, (long long)now->rows,
                                             (long long)now->bytes, now->seconds);
    if (answer == NULL) {
        progress->raised = native_exception_take();
    }
    Py_XDECREF(answer);
    native_callback_end(&call);
    return progress->raised != NULL;
}

static PyObject *result_dict(const struct qn_task_result *result)
{
    return Py_BuildValue("{s:L,s:L,s:L,s:d,s:d,s:d,s:s,s:s}", "rows", (long long)result->rows, "batches",
                         (long long)result->batches, "commits", (long long)result->commits, "seconds", result->seconds,
                         "seconds_reading", result->seconds_reading, "seconds_writing", result->seconds_writing,
                         "checkpoint_before", result->checkpoint_before, "checkpoint_after", result->checkpoint_after);
}

PyDoc_STRVAR(run_doc, "run(full=False, progress=None, allow_external_code=False, interpreter=None, timeout=0.0)\n--\n\n"
                      "Run once. `progress` is called as progress(stage, rows, bytes, seconds). Returns the attribute "
                      "`last`, which is set on failure too.");

static PyObject *task_run(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = { "full", "progress", "allow_external_code", "interpreter", "timeout", NULL };
    struct task_object *self = task_of(object);
    struct qn_task_run_options options = QN_TASK_RUN_OPTIONS_INIT;
    int full = 0;
    int allowed = 0;
    struct progress progress = { .callback = Py_None };
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|pOpzd:run", names, &full, &progress.callback, &allowed,
                                     &options.interpreter, &options.connector_timeout)) {
        return NULL;
    }
    if (self->running) {
        return native_fail(self->state, QN_ERR_BUSY, "the task \"%s\" is running already", qn_task_name(self->task));
    }
    options.full = full;
    options.allow_external_code = allowed;
    if (progress.callback != Py_None) {
        options.progress = report;
        options.progress_context = &progress;
    }
    struct qn_error err = QN_ERROR_INIT;
    struct qn_task_result result = QN_TASK_RESULT_INIT;
    enum qn_status status;
    self->running = true;
    Py_CLEAR(self->last);
    native_log_refresh(self->state);
    Py_BEGIN_ALLOW_THREADS;
    status = qn_task_run(self->task, &options, &result, &err);
    Py_END_ALLOW_THREADS;
    self->running = false;
    self->last = result_dict(&result);
    if (progress.raised != NULL) {
        native_exception_set(progress.raised);
        return NULL;
    }
    if (self->last == NULL) {
        return NULL;
    }
    if (status != QN_OK) {
        return native_raise(self->state, &err, NULL);
    }
    return Py_NewRef(self->last);
}

/* ---- type ----------------------------------------------------------------------------------------------------- */

static PyObject *task_name(PyObject *object, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(qn_task_name(task_of(object)->task));
}

static PyObject *task_last(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *last = task_of(object)->last;
    return Py_NewRef(last != NULL ? last : Py_None);
}

static PyMethodDef task_methods[] = {
    { "run", (PyCFunction)(void (*)(void))task_run, METH_VARARGS | METH_KEYWORDS, run_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef task_getters[] = {
    { "name", task_name, NULL, "the task's name", NULL },
    { "last", task_last, NULL, "how the last run ended, or None", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot task_slots[] = {
    { Py_tp_new, task_new },          { Py_tp_traverse, task_traverse },
    { Py_tp_clear, task_clear },      { Py_tp_dealloc, task_dealloc },
    { Py_tp_methods, task_methods },  { Py_tp_getset, task_getters },
    { Py_tp_doc, "A checked task." }, { 0, NULL },
};

PyType_Spec native_task_spec = {
    .name = "qanat._native.Task",
    .basicsize = sizeof(struct task_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = task_slots,
};
