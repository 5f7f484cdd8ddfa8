/*
 * native.h: what the files of the extension share: module state, the objects, and the helpers between Python and C.
 *
 * The extension adds nothing but types to include/qanat: no SQL, no I/O. One file holds one Python type; every type is a
 * heap type whose objects keep a pointer to the module's state (an object keeps its type alive, the type its module).
 * Threads: everything runs with the GIL held except what is marked "no GIL". Whatever blocks is called without the GIL.
 */
#ifndef QANAT_NATIVE_H
#define QANAT_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <sys/types.h>

#include <qanat/qanat.h>

#define NATIVE_STATUSES 19 /* entries of enum qn_status */

struct native_state {
    PyTypeObject *config_type;
    PyTypeObject *connection_type;
    PyTypeObject *stream_type;
    PyTypeObject *batch_type;
    PyTypeObject *bundle_type;
    PyTypeObject *schema_type;
    PyTypeObject *task_type;
    PyTypeObject *processor_type;
    PyTypeObject *execution_type;
    PyTypeObject *connector_type;
    PyTypeObject *sink_type;
    PyObject *errors[NATIVE_STATUSES]; /* exception classes by enum qn_status; NULL for QN_OK */
    PyObject *decimal_type;            /* decimal.Decimal and so on: NULL until the first value that may be one */
    PyObject *uuid_type;
    PyObject *json_dumps;
    PyObject *json_options;
    PyObject *logger;        /* logging.getLogger("qanat") */
    PyObject *is_enabled;    /* its method isEnabledFor */
    PyObject *debug_level;   /* 10 */
    PyObject *log_areas;     /* dict: area -> child logger */
    int log_threshold;       /* what qn_log_set was last told */
    PyObject *text_c_stream; /* interned "__arrow_c_stream__", "__arrow_c_array__" */
    PyObject *text_c_array;
};

/* ---- errors.c ------------------------------------------------------------------------------------------------- */

int native_errors_init(struct native_state *state);
/* Set the Python exception for *err (or the exception of a signal handler that interrupted the call) and return NULL.
 * `sql` is a str or NULL. */
PyObject *native_raise(struct native_state *state, const struct qn_error *err, PyObject *sql);
/* The same for an error that the extension finds itself. */
PyObject *native_fail(struct native_state *state, enum qn_status status, const char *format, ...) QN_PRINTF(3, 4);
/* The exception that is set, normalised and with its traceback, which is set no longer: a new reference, or NULL where none
 * is. Setting one takes the caller's reference; an exception that is set already is dropped. */
PyObject *native_exception_take(void);
void native_exception_set(PyObject *take);
/* UTF-8 of a str, borrowed from it. A text with NUL or lone surrogates is an ArgumentError naming `what`. */
const char *native_text(struct native_state *state, PyObject *text, const char *what);
/* As native_text, where None (or NULL) gives *out == NULL. Returns -1 with an exception set. */
int native_optional_text(struct native_state *state, PyObject *text, const char *what, const char **out);
/* The texts of a list or tuple, borrowed from its items, and NULL; the array is for PyMem_Free. NULL with an exception set. */
const char **native_texts(struct native_state *state, PyObject *sequence, const char *what);

/* ---- interrupt.c ---------------------------------------------------------------------------------------------- */

int native_interrupt_init(void);
void native_interrupt_clear(void);
/* The exception that a signal handler raised while this thread blocked in the library: make it the current one and
 * return true; false where there is none. */
bool native_interrupt_take(void);
/* With the GIL. Where the exception that is set is one that stops a program (KeyboardInterrupt, SystemExit) and this is
 * the main thread: keep it for native_interrupt_take, make the library's next question stop the call, and return true. For
 * callbacks that run Python code, in the middle of which a signal handler may have run. */
bool native_interrupt_keep(void);
/* No GIL. The same exception will be raised by the interpreter as soon as the main thread runs Python again: for calls
 * that other libraries made. */
void native_interrupt_schedule(void);

/* A callback of the library that runs Python code. Begin takes the GIL and lays two exceptions aside: the one that waits for
 * its taker, which nothing that the code calls, a destructor say, may take and lose, and the one that is set, where the
 * library was called while one is, as a destructor may be. End puts both back, the first unless the code has left another,
 * and gives the GIL up. */
struct native_callback {
    PyGILState_STATE gil;
    PyObject *waiting, *set;
};
void native_callback_begin(struct native_callback *call);
void native_callback_end(struct native_callback *call);

/* ---- log_bridge.c --------------------------------------------------------------------------------------------- */

int native_log_init(struct native_state *state);
void native_log_clear(struct native_state *state);
/* Tell the library what Python's logging wants to hear; called before calls that may log. Never fails. */
void native_log_refresh(struct native_state *state);

/* ---- arrow_share.c: Arrow structs that several owners share (no GIL needed) ------------------------------------ */

/* How the copy of a schema differs from the original. */
enum native_layout {
    NATIVE_LAYOUT_SAME,   /* as it is */
    NATIVE_LAYOUT_OFFSETS /* string and binary views become 32-bit offsets */
};
/* Deep copy. Returns false where memory is short. */
bool native_schema_copy(const struct ArrowSchema *from, enum native_layout layout, struct ArrowSchema *out);
/* Make the names of a struct schema's children unique: the second "a" becomes "a_2" (then "a_3", ...). `in` is moved
 * and replaced by a copy where something changes; *renamed_out tells. False where memory is short. */
bool native_schema_unique(struct ArrowSchema *in, bool *renamed_out);

/* A schema that a stream, its Schema object and its batches share; constant. */
struct native_shared_schema {
    atomic_int references;
    struct ArrowSchema schema;
};
/* Take a schema over; the caller's reference is the first. NULL where memory is short (the schema is untouched). */
struct native_shared_schema *native_shared_schema_new(struct ArrowSchema *take);
struct native_shared_schema *native_shared_schema_ref(struct native_shared_schema *shared);
void native_shared_schema_unref(struct native_shared_schema *shared);

struct native_shared_array;
/* Take an array over; the caller's reference is the first. NULL where memory is short (the array is untouched). */
struct native_shared_array *native_shared_array_new(struct ArrowArray *take);
void native_shared_array_unref(struct native_shared_array *shared);
const struct ArrowArray *native_shared_array_get(const struct native_shared_array *shared);
/* An array of the same buffers with its own structs, which keeps `shared` alive. */
bool native_shared_array_export(struct native_shared_array *shared, struct ArrowArray *out);

/* A stream of batches. Takes the schema and the arrays (not the memory they stand in) over on success. */
bool native_stream_of_batches(struct ArrowSchema *schema, struct ArrowArray *arrays, size_t count,
                              struct ArrowArrayStream *out);
/* The same of one batch. */
bool native_stream_of_one(struct ArrowSchema *schema, struct ArrowArray *array, struct ArrowArrayStream *out);

/* ---- capsules.c: the Arrow PyCapsule protocol ------------------------------------------------------------------ */

PyObject *native_schema_capsule(struct ArrowSchema *take);
PyObject *native_array_capsule(struct ArrowArray *take);
PyObject *native_stream_capsule(struct ArrowArrayStream *take);
/* The schema inside a capsule (borrowed), NULL for None or with an exception set (then *failed is true). */
const struct ArrowSchema *native_requested_schema(PyObject *capsule_or_none, bool *failed);
/* Make a stream of any object with __arrow_c_stream__ or __arrow_c_array__. Returns -1 with an exception set. */
int native_rows_import(struct native_state *state, PyObject *data, struct ArrowArrayStream *out);

/* ---- config.c -------------------------------------------------------------------------------------------------- */

extern PyType_Spec native_config_spec;
const struct qn_config *native_config_of(PyObject *config);

/* ---- connection.c ---------------------------------------------------------------------------------------------- */

/* A connection that Python objects and exported streams share. No GIL is needed to count. */
struct native_handle {
    atomic_int references;
    struct qn_connection *connection;
};
void native_handle_ref(struct native_handle *handle);
/* No GIL held while the last reference closes the connection: it may block. */
void native_handle_unref(struct native_handle *handle);
extern PyType_Spec native_connection_spec;

/* ---- stream.c and stream_core.c -------------------------------------------------------------------------------- */

/* A result being read, shared by a Stream and what was exported of it. All functions: no GIL needed, they may block. */
struct native_stream_core;
/* Take `stream` over; on failure it is untouched. `handle` is the connection that it reads from, or NULL. */
enum qn_status native_core_new(struct ArrowArrayStream *stream, struct native_handle *handle,
                               struct native_stream_core **out, struct qn_error *err);
void native_core_unref(struct native_stream_core *core);
enum qn_status native_core_next(struct native_stream_core *core, struct ArrowArray *out, struct qn_error *err);
void native_core_close(struct native_stream_core *core);
bool native_core_is_closed(const struct native_stream_core *core);
/* The error that ended the stream, or NULL. */
const struct qn_error *native_core_error(const struct native_stream_core *core);
/* Borrowed. */
struct native_shared_schema *native_core_shared_schema(const struct native_stream_core *core);
const struct ArrowSchema *native_core_schema(const struct native_stream_core *core);
bool native_core_renamed(const struct native_stream_core *core);
/* A stream over the core, which it keeps alive. Releasing it closes the core. */
enum qn_status native_core_export(struct native_stream_core *core, struct ArrowArrayStream *out, struct qn_error *err);

extern PyType_Spec native_stream_spec;
/* A Stream object; takes the caller's reference of `core`, also on failure. `sql` may be NULL. */
PyObject *native_stream_new(struct native_state *state, struct native_stream_core *core, PyObject *connection,
                            PyObject *sql);
/* The core behind a Stream that has not been read yet, or NULL with an exception set. Borrowed. */
struct native_stream_core *native_stream_take(struct native_state *state, PyObject *stream);

/* ---- schema.c and batch.c -------------------------------------------------------------------------------------- */

extern PyType_Spec native_schema_spec;
PyObject *native_schema_new(struct native_state *state, struct native_shared_schema *shared);
const struct ArrowSchema *native_schema_of(PyObject *schema);

extern PyType_Spec native_batch_spec;
/* A Batch of `take` (taken on success) with the Schema object. */
PyObject *native_batch_new(struct native_state *state, struct ArrowArray *take, PyObject *schema);

/* ---- params.c and options.c ------------------------------------------------------------------------------------ */

#define NATIVE_PARAMS_INLINE 8
#define NATIVE_PARAMS_MAX    65535

/* One row of parameters and what keeps its memory alive while the GIL is released. */
struct native_params {
    struct qn_value *values;
    const char **names; /* NULL: by position */
    size_t count;
    PyObject *owners; /* list of the objects that texts and names are borrowed from, or NULL */
    Py_buffer *buffers;
    size_t buffer_count;
    struct qn_value inline_values[NATIVE_PARAMS_INLINE];
};
/* From None, a list or tuple, or a dict. Returns -1 with an exception set; needs no dispose then. */
int native_params_init(struct native_state *state, PyObject *params, struct native_params *out);
void native_params_dispose(struct native_params *params);
int native_params_init_types(struct native_state *state);

/* Query options out of a dict or None; the texts are borrowed from it. */
#define NATIVE_OVERRIDES_MAX 4096
struct native_options {
    struct qn_query_options query;
    struct qn_type_override *overrides;
    PyObject *owner; /* a copy of `types` as a list of pairs, or NULL */
};
int native_options_init(struct native_state *state, PyObject *options, struct native_options *out);
void native_options_dispose(struct native_options *options);

/* ---- task.c ----------------------------------------------------------------------------------------------------- */

extern PyType_Spec native_task_spec;

/* ---- bundle.c --------------------------------------------------------------------------------------------------- */

extern PyType_Spec native_bundle_spec;

/* ---- processor.c and execution.c --------------------------------------------------------------------------------- */

extern PyType_Spec native_processor_spec;
extern PyType_Spec native_execution_spec;
/* Run to the end and return an Execution. Takes `rows` and `checkpoint` (released: None) over, also on failure; `schema` is
 * the processor's output. */
PyObject *native_execution_run(struct native_state *state, struct qn_processor *processor,
                               struct native_shared_schema *schema, struct ArrowArrayStream *rows,
                               struct ArrowArrayStream *checkpoint);

/* ---- into_python.c: Python code that the library calls ------------------------------------------------------------ */

/* Whose code it is. */
struct native_code {
    const char
        *module; /* its failure(exception) gives (status, message, detail, hint, retryable, retry_after_ms) and, where
                            * it is known, (row, column); None for an exception that stops the program */
    const char *what;      /* "a connector" */
    enum qn_status status; /* where failure() fails too */
};
/* Calls may come, and none any more: the interpreter is about to end, and what comes fails from now on. */
void native_into_python_init(void);
void native_into_python_shutdown(void);
/* No GIL. Begin a callback; false, with QN_ERR_CLOSED in *err, where there is no interpreter to run in. Whoever has begun ends
 * it by native_callback_end. */
bool native_into_python_begin(struct native_callback *call, struct qn_error *err);
/* The exception that is set, which is used up, as an error, whose status is returned. One that stops the program is kept for
 * whoever called the library. `err` may be NULL. */
enum qn_status native_into_python_fail(const struct native_code *code, struct qn_error *err);
/* A list of str, new; NULL with an exception set. */
PyObject *native_list_of_texts(const char *const *texts, size_t n);
/* A stream of an iterator of batches that has a method close(); `schema` and the batches are any objects of the PyCapsule
 * protocol. Both are borrowed, the stream holds what it needs, and it is read and released without the GIL. Where this fails
 * the iterator has been closed. `code` outlives the stream. */
enum qn_status native_stream_of_iterator(const struct native_code *code, PyObject *schema, PyObject *batches,
                                         struct ArrowArrayStream *out, struct qn_error *err);

/* ---- connector.c and python_runtime.c ---------------------------------------------------------------------------- */

extern PyType_Spec native_connector_spec;
/* Register the runtime python:: of connectors; it imports nothing until a connector is opened. */
int native_python_runtime_init(struct native_state *state);

/* ---- format.c ---------------------------------------------------------------------------------------------------- */

extern PyType_Spec native_sink_spec;
/* _format_register(name, suffixes, content_types, options, magic, format): put a format in Python into the library's table. */
PyObject *native_format_register(PyObject *module, PyObject *args);
/* Import qanat._formats and register what it has, once; without pyarrow that is nothing. -1 with an exception set. */
int native_formats_ensure(void);

/* ---- module.c -------------------------------------------------------------------------------------------------- */

extern PyModuleDef native_module;
/* The state behind a heap type of ours or a Python subclass of one. */
struct native_state *native_state_of_type(PyTypeObject *type);

#endif
