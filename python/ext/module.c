/*
 * module.c: the module qanat._native: its state, its types, and the callbacks that it gives the library.
 *
 * The callbacks belong to the process, so the module lives in one interpreter only and says so. qanat/__init__.py calls
 * _shutdown at exit, before the interpreter can no longer run them.
 */
#include "native.h"

struct native_state *native_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &native_module);
    return module == NULL ? NULL : PyModule_GetState(module);
}

PyDoc_STRVAR(version_doc, "version()\n--\n\nThe version of the library.");

static PyObject *version(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyUnicode_FromString(qn_version());
}

PyDoc_STRVAR(shutdown_doc,
             "_shutdown()\n--\n\nEnd the interpreters that are kept ready and take the callbacks back: this "
             "interpreter is about to end.");

static PyObject *shutdown(PyObject *module, PyObject *unused)
{
    (void)unused;
    Py_BEGIN_ALLOW_THREADS qn_processor_shutdown();
    Py_END_ALLOW_THREADS native_into_python_shutdown();
    native_log_clear(PyModule_GetState(module));
    native_interrupt_clear();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(shut_down_processors_doc,
             "_processor_shutdown()\n--\n\nEnd the interpreters that are kept ready. Executions that run go on.");

static PyObject *shut_down_processors(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS qn_processor_shutdown();
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

PyDoc_STRVAR(allow_reduced_doc, "_sandbox_allow_reduced(allow)\n--\n\nThe administrator's word on the reduced tier.");

static PyObject *allow_reduced(PyObject *module, PyObject *allow)
{
    (void)module;
    int given = PyObject_IsTrue(allow);
    if (given < 0) {
        return NULL;
    }
    qn_sandbox_allow_reduced(given != 0);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(sandbox_report_doc, "_sandbox_report(launcher)\n--\n\nWhat this machine gives a sandbox, as a dict.");

static PyObject *sandbox_report(PyObject *module, PyObject *launcher)
{
    struct native_state *state = PyModule_GetState(module);
    const char *path = native_text(state, launcher, "launcher");
    if (path == NULL) {
        return NULL;
    }
    struct qn_sandbox_report report = QN_SANDBOX_REPORT_INIT;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = QN_OK;
    Py_BEGIN_ALLOW_THREADS status = qn_sandbox_report(path, &report, &err);
    Py_END_ALLOW_THREADS if (status != QN_OK)
    {
        return native_raise(state, &err, NULL);
    }
    return Py_BuildValue(
        "{s:z,s:s,s:i,s:N,s:N,s:N,s:N,s:N,s:N}", "tier", report.tier, "message", report.message, "landlock_abi",
        (int)report.landlock_abi, "user_namespaces", PyBool_FromLong(report.user_namespaces), "mount_namespaces",
        PyBool_FromLong(report.mount_namespaces), "pid_namespaces", PyBool_FromLong(report.pid_namespaces),
        "network_namespaces", PyBool_FromLong(report.network_namespaces), "landlock", PyBool_FromLong(report.landlock),
        "seccomp", PyBool_FromLong(report.seccomp));
}

PyDoc_STRVAR(format_register_doc,
             "_format_register(name, suffixes, content_types, options, magic, format)\n--\n\nPut a file "
             "format into the library's table.");

PyDoc_STRVAR(use_classes_doc, "_use_classes(stream, batch, schema)\n--\n\nThe Python subclasses of Stream, Batch and "
                              "Schema that results are made of.");

static int use_class(PyTypeObject **slot, PyObject *class)
{
    if (!PyType_Check(class) || !PyType_IsSubtype((PyTypeObject *)class, *slot)) {
        PyErr_Format(PyExc_TypeError, "a subclass of %s is needed", (*slot)->tp_name);
        return -1;
    }
    Py_INCREF(class);
    Py_XSETREF(*slot, (PyTypeObject *)class);
    return 0;
}

static PyObject *use_classes(PyObject *module, PyObject *args)
{
    struct native_state *state = PyModule_GetState(module);
    PyObject *stream = NULL;
    PyObject *batch = NULL;
    PyObject *schema = NULL;
    if (!PyArg_ParseTuple(args, "OOO:_use_classes", &stream, &batch, &schema) ||
        use_class(&state->stream_type, stream) < 0 || use_class(&state->batch_type, batch) < 0 ||
        use_class(&state->schema_type, schema) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **out)
{
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *out == NULL ? -1 : PyModule_AddType(module, *out);
}

static int execute(PyObject *module)
{
    struct native_state *state = PyModule_GetState(module);
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "qanat cannot be used in a subinterpreter: its callbacks belong to the "
                                           "process. Use threads, or processes");
        return -1;
    }
    native_into_python_init();
    state->text_c_stream = PyUnicode_InternFromString("__arrow_c_stream__");
    state->text_c_array = PyUnicode_InternFromString("__arrow_c_array__");
    if (state->text_c_stream == NULL || state->text_c_array == NULL || native_errors_init(state) < 0 ||
        native_params_init_types(state) < 0 || add_type(module, &native_config_spec, &state->config_type) < 0 ||
        add_type(module, &native_connection_spec, &state->connection_type) < 0 ||
        add_type(module, &native_stream_spec, &state->stream_type) < 0 ||
        add_type(module, &native_batch_spec, &state->batch_type) < 0 ||
        add_type(module, &native_schema_spec, &state->schema_type) < 0 ||
        add_type(module, &native_bundle_spec, &state->bundle_type) < 0 ||
        add_type(module, &native_task_spec, &state->task_type) < 0 ||
        add_type(module, &native_processor_spec, &state->processor_type) < 0 ||
        add_type(module, &native_execution_spec, &state->execution_type) < 0 ||
        add_type(module, &native_connector_spec, &state->connector_type) < 0 ||
        add_type(module, &native_sink_spec, &state->sink_type) < 0 || native_python_runtime_init(state) < 0) {
        return -1;
    }
    return native_log_init(state) < 0 || native_interrupt_init() < 0 ? -1 : 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct native_state *state = PyModule_GetState(module);
    Py_VISIT(state->config_type);
    Py_VISIT(state->connection_type);
    Py_VISIT(state->stream_type);
    Py_VISIT(state->batch_type);
    Py_VISIT(state->bundle_type);
    Py_VISIT(state->schema_type);
    Py_VISIT(state->task_type);
    Py_VISIT(state->processor_type);
    Py_VISIT(state->execution_type);
    Py_VISIT(state->connector_type);
    Py_VISIT(state->sink_type);
    for (size_t i = 0; i < NATIVE_STATUSES; i++) {
        Py_VISIT(state->errors[i]);
    }
    Py_VISIT(state->decimal_type);
    Py_VISIT(state->uuid_type);
    Py_VISIT(state->json_dumps);
    Py_VISIT(state->json_options);
    Py_VISIT(state->logger);
    Py_VISIT(state->is_enabled);
    Py_VISIT(state->log_areas);
    return 0;
}

static int clear(PyObject *module)
{
    struct native_state *state = PyModule_GetState(module);
    Py_CLEAR(state->config_type);
    Py_CLEAR(state->connection_type);
    Py_CLEAR(state->stream_type);
    Py_CLEAR(state->batch_type);
    Py_CLEAR(state->bundle_type);
    Py_CLEAR(state->schema_type);
    Py_CLEAR(state->task_type);
    Py_CLEAR(state->processor_type);
    Py_CLEAR(state->execution_type);
    Py_CLEAR(state->connector_type);
    Py_CLEAR(state->sink_type);
    for (size_t i = 0; i < NATIVE_STATUSES; i++) {
        Py_CLEAR(state->errors[i]);
    }
    Py_CLEAR(state->decimal_type);
    Py_CLEAR(state->uuid_type);
    Py_CLEAR(state->json_dumps);
    Py_CLEAR(state->json_options);
    Py_CLEAR(state->logger);
    Py_CLEAR(state->is_enabled);
    Py_CLEAR(state->debug_level);
    Py_CLEAR(state->log_areas);
    Py_CLEAR(state->text_c_stream);
    Py_CLEAR(state->text_c_array);
    return 0;
}

static void free_module(void *module)
{
    native_log_clear(PyModule_GetState(module));
    native_interrupt_clear();
    clear(module);
}

static PyMethodDef functions[] = {
    { "version", version, METH_NOARGS, version_doc },
    { "_shutdown", shutdown, METH_NOARGS, shutdown_doc },
    { "_processor_shutdown", shut_down_processors, METH_NOARGS, shut_down_processors_doc },
    { "_sandbox_allow_reduced", allow_reduced, METH_O, allow_reduced_doc },
    { "_sandbox_report", sandbox_report, METH_O, sandbox_report_doc },
    { "_format_register", native_format_register, METH_VARARGS, format_register_doc },
    { "_use_classes", use_classes, METH_VARARGS, use_classes_doc },
    { NULL, NULL, 0, NULL },
};

static PyModuleDef_Slot slots[] = {
    { Py_mod_exec, execute },
#ifdef Py_mod_multiple_interpreters
    { Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED },
#endif
    { 0, NULL },
};

PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "qanat._native",
    .m_doc = "The C library behind qanat.",
    .m_size = sizeof(struct native_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = free_module,
};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&native_module);
}
