/*
 * module.c: the module _worker: hello, serve, and what a zygote is made of.
 *
 * It belongs to one process and one interpreter: the zygote's, and after a fork the child's. So the little state there is, is
 * static.
 */
#include "worker.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_READABLE    QN_SANDBOX_MAX_PATHS
#define MAX_FILTER_SIZE (1 << 20)

static struct zygote zygote;

/* ---- signals ---- */

/* The first process of a pid namespace ignores what ends others by default, so abort() would be named SIGSEGV, by the
 * instruction that it falls back to. */
static void on_abort(int number)
{
    _exit(128 + number);
}

/* Where SIGCHLD is ignored, which is inherited, the kernel keeps nobody's end for us. */
static int handle_signals(void)
{
    struct sigaction action = { .sa_handler = on_abort };
    struct sigaction usual = { .sa_handler = SIG_DFL };
    sigemptyset(&action.sa_mask);
    sigemptyset(&usual.sa_mask);
    if (sigaction(SIGABRT, &action, NULL) < 0 || sigaction(SIGCHLD, &usual, NULL) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* ---- serve ---- */

/* Read a filter, which the launcher made, whole. */
static int read_filter(int fd, void **filter_out, size_t *size_out)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (status.st_size <= 0 || status.st_size > MAX_FILTER_SIZE || status.st_size % 8 != 0) {
        PyErr_Format(PyExc_ValueError, "a seccomp filter of %lld bytes", (long long)status.st_size);
        return -1;
    }
    size_t size = (size_t)status.st_size;
    void *filter = qn_malloc(size);
    if (filter == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (pread(fd, filter, size, 0) != status.st_size) {
        qn_free(filter);
        PyErr_SetString(PyExc_OSError, "a seccomp filter cannot be read");
        return -1;
    }
    *filter_out = filter;
    *size_out = size;
    return 0;
}

static int make_ruleset(PyObject *readable, int *fd_out)
{
    PyObject *items = PySequence_Fast(readable, "readable is a sequence of paths");
    if (items == NULL) {
        return -1;
    }
    int result = -1;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(items);
    const char **paths = n <= MAX_READABLE ? qn_calloc((size_t)n + 1, sizeof *paths) : NULL;
    if (paths == NULL) {
        PyErr_NoMemory();
        goto out;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        paths[i] = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(items, i));
        if (paths[i] == NULL) {
            goto out;
        }
    }
    struct qn_error err = QN_ERROR_INIT;
    if (qn_lockdown_ruleset(paths, fd_out, &err) != QN_OK) {
        worker_raise(&err);
        goto out;
    }
    result = 0;
out:
    qn_free(paths);
    Py_DECREF(items);
    return result;
}

static void close_read(int fd)
{
    if (fd > 2) {
        close(fd);
    }
}

PyDoc_STRVAR(
    serve_doc,
    "serve(readable, reduced, idle, /)\n--\n\nSay hello and answer fork requests; returns the Child in every process "
    "that is forked. Uses the descriptors that the launcher left. `readable`: the paths that children may read; "
    "`idle`: "
    "seconds without a request after which the process ends, 0 for never.");

static PyObject *serve(PyObject *module, PyObject *args)
{
    PyObject *readable = NULL;
    int reduced = 0;
    double idle = 0;
    if (!PyArg_ParseTuple(args, "Opd:serve", &readable, &reduced, &idle)) {
        return NULL;
    }
    if (!(idle >= 0 && idle < 1e9)) {
        PyErr_SetString(PyExc_ValueError, "idle is a number of seconds");
        return NULL;
    }
    zygote = (struct zygote){ .control_fd = QN_SANDBOX_FD_CONTROL,
                              .tier = reduced ? QN_SANDBOX_REDUCED : QN_SANDBOX_FULL,
                              .ruleset_fd = -1,
                              .proc_fd = QN_SANDBOX_FD_PROC,
                              .idle_nanos = (uint64_t)(idle * 1e9) };
    if (handle_signals() < 0 || read_filter(QN_SANDBOX_FD_FILTER, &zygote.filter, &zygote.filter_size) < 0 ||
        read_filter(QN_SANDBOX_FD_FILTER_NET, &zygote.filter_net, &zygote.filter_net_size) < 0 ||
        make_ruleset(readable, &zygote.ruleset_fd) < 0) {
        return NULL;
    }
    close_read(QN_SANDBOX_FD_FILTER);
    close_read(QN_SANDBOX_FD_FILTER_NET);
    refused_watch();
    struct zygote_child forked;
    if (zygote_hello(zygote.control_fd, NULL) < 0 || zygote_serve(&zygote, &forked) < 0) {
        return NULL;
    }
    PyTypeObject **child_type = PyModule_GetState(module);
    PyObject *child = child_new(*child_type, &zygote, &forked);
    if (child == NULL) {
        _exit(WORKER_EXIT_FORK);
    }
    return child;
}

/* ---- threads ---- */

PyDoc_STRVAR(threads_doc, "threads()\n--\n\nThe number of threads that this process has.");

/* Through the launcher's descriptor: the root has no /proc. */
static PyObject *threads(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    char text[8192];
    int fd = openat(QN_SANDBOX_FD_PROC, "self/status", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (size < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        close_read(fd);
        return NULL;
    }
    close_read(fd);
    text[size] = '\0';
    const char *line = strstr(text, "\nThreads:");
    if (line == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "/proc/self/status does not tell the number of threads");
        return NULL;
    }
    return PyLong_FromLong(strtol(line + strlen("\nThreads:"), NULL, 10));
}

PyDoc_STRVAR(
    warm_up_doc,
    "warm_up(function, /)\n--\n\nRun a coroutine function that returns its rows over some of our own, which go "
    "nowhere.");

static PyObject *warm_up(PyObject *module, PyObject *function)
{
    (void)module;
    if (child_warm_up(function) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- the module ---- */

static PyMethodDef methods[] = { { "serve", serve, METH_VARARGS, serve_doc },
                                 { "threads", threads, METH_NOARGS, threads_doc },
                                 { "warm_up", warm_up, METH_O, warm_up_doc },
                                 { NULL, NULL, 0, NULL } };

static int execute(PyObject *module)
{
    PyTypeObject **child_type = PyModule_GetState(module);
    *child_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &child_spec, NULL);
    if (*child_type == NULL || rows_init() < 0 || rows_type_add(module) < 0) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "VERSION", QN_WORKER_VERSION);
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    PyTypeObject **child_type = PyModule_GetState(module);
    Py_VISIT(*child_type);
    return 0;
}

static int clear(PyObject *module)
{
    PyTypeObject **child_type = PyModule_GetState(module);
    Py_CLEAR(*child_type);
    return 0;
}

static PyModuleDef_Slot slots[] = { { Py_mod_exec, execute }, { 0, NULL } };

static struct PyModuleDef definition = { PyModuleDef_HEAD_INIT,
                                         .m_name = "_worker",
                                         .m_doc = "The C side of the processor's worker.",
                                         .m_size = sizeof(PyTypeObject *),
                                         .m_methods = methods,
                                         .m_slots = slots,
                                         .m_traverse = traverse,
                                         .m_clear = clear };

PyMODINIT_FUNC PyInit__worker(void);

PyMODINIT_FUNC PyInit__worker(void)
{
    return PyModuleDef_Init(&definition);
}
