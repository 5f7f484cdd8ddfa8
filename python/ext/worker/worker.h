/*
 * worker.h: what the files of the worker extension share.
 *
 * The module `_worker` lives in a zygote: `serve` answers fork requests until it returns in a child, with the Child object
 * through which that one run talks to the engine. Threads: the zygote has one; a child may have more, and everything here
 * needs the GIL, which no function lets go of: so frames never mix.
 */
#ifndef QN_WORKER_H
#define QN_WORKER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "arrow/ipc.h"
#include "processor/protocol.h"
#include "sandbox/sandbox.h"

#include "drive.h"
#include "rows.h"

#include <sys/uio.h>

/* How a process of ours exits where nobody is left to be told. The engine sees a run without DONE. */
enum worker_exit {
    WORKER_EXIT_DONE = 0,    /* DONE was said */
    WORKER_EXIT_LOCK = 70,   /* FAILED was said */
    WORKER_EXIT_BROKEN = 71, /* the channel is broken */
    WORKER_EXIT_ENDED = 72,  /* the engine ended the channel before it began */
    WORKER_EXIT_FORK = 73,   /* the interpreter could not go on after the fork */
    WORKER_EXIT_FLIGHT = 74  /* the sandbox's user has too many descriptors in flight for the listener to be sent */
};

/* ---- channel.c: frames on the channel ---- */

/* Write a frame of `n` parts (at most 3) whole. Does not return where the channel is broken. `attach`: a descriptor to send
 * along, or -1. */
void channel_send(int fd, uint32_t kind, const struct iovec *parts, size_t n, int attach);

struct channel_in {
    int fd;
    int attached; /* a descriptor that came with a frame; -1: none. The receiver takes it out */
};

/* Read one frame whole. *payload_out (NULL where the size is 0) is freed by qn_free, 16-byte aligned. 0 at the end of file;
 * -1 with errno ENOMEM. A channel that breaks otherwise ends the process. */
int channel_receive(struct channel_in *channel, struct qn_frame *frame_out, void **payload_out);

/* ---- zygote.c: the loop that forks ---- */

struct zygote {
    int control_fd;
    enum qn_sandbox_tier tier;
    int ruleset_fd, proc_fd;
    void *filter, *filter_net;
    size_t filter_size, filter_net_size;
    uint64_t idle_nanos; /* without a request until it ends; 0: it does not */
};

/* What a child got to know at its fork. */
struct zygote_child {
    int channel_fd;
    int names_fd; /* -1: no network */
    struct qn_fork_request request;
};

/* Say hello. `failure` NULL: warm and ready. -1 with an exception. */
int zygote_hello(int control_fd, const char *failure);

/* Answer fork requests. Returns 0 in a child, with *out; -1 with an exception where the zygote cannot go on. Ends the process
 * at the end of file of control. */
int zygote_serve(struct zygote *zygote, struct zygote_child *out);

/* ---- child.c: the type Child ---- */

struct child_input {
    struct qn_ipc_decoder *decoder; /* NULL: there is no input at all */
    struct rows_in *rows;
    void *map;
    size_t map_size, map_at; /* the input so far, and how much of it was read */
    bool ended;
    struct ArrowArray batch; /* that read hands out in slices; released: none */
    int64_t batch_at;
    int64_t rows_read; /* rows of the batches before `batch` */
    uint64_t nanos;
};

struct child_output {
    struct qn_ipc_encoder *encoder;
    struct rows_out *rows;
    char **types; /* as the user wrote them, one a field */
    int64_t n_types;
    char hint[256]; /* what to add where a frame lacks a column */
    struct qn_buffer buffer;
    int64_t frame_rows; /* of frames written without `rows` */
    uint64_t frame_nanos;
};

struct child {
    PyObject_HEAD
    struct zygote *zygote;
    struct zygote_child forked;
    struct channel_in channel;
    bool locked, started;
    struct qn_run_options_part options;
    struct child_input input;
    struct child_output output;
    struct drive drive;
};

extern PyType_Spec child_spec;

/* Make the Child of this process. `zygote` is borrowed for ever. */
PyObject *child_new(PyTypeObject *type, struct zygote *zygote, const struct zygote_child *forked);

/* start.c: wait for START and take it apart: a dict of statement, name, allow, flags, concurrency, batch_rows, checkpoint and
 * has_input. */
PyObject *child_start(struct child *child);

/* input.c: the batches of the memfd, then those that the engine sends when it is asked. */
int child_input_open(struct child *child, int fd, uint64_t size);
/* The next batch; 0 at the end of the input; -1 with an exception. */
int child_input_next(struct child *child, struct ArrowArray *out);
/* The next rows as a list, at most `rows` of them (0: what is left of the batch); None at the end. */
PyObject *child_input_read(struct child *child, int64_t rows);
void child_input_close(struct child_input *input);

/* output.c: rows and frames to BATCH frames. */
int child_output_open(struct child *child, const void *schema, size_t size, const char *types, size_t types_size);
/* Send what `rows` hold. The drive's flush, with the child as its context. */
int child_output_flush(void *context, struct rows_out *rows);
/* Send one batch in the encoder's schema. */
int child_output_send(struct child *child, struct qn_ipc_encoder *encoder, const struct ArrowArray *batch);
void child_output_close(struct child_output *output);

/* frame.c: frames of other libraries. All set a Python exception on failure. */
struct frame;
struct frame *frame_open(struct child *child, struct ArrowSchema *take_schema);
int frame_put(struct frame *frame, const struct ArrowArray *batch);         /* borrowed for the call */
void frame_close(struct frame *frame);                                      /* NULL is allowed */
int child_put_stream(struct child *child, struct ArrowArrayStream *stream); /* which stays the caller's */

/* columns.c: put out `rows` rows of columns, a list of tuples (name, format, values, nulls): `format` as in the Arrow C data
 * interface with `values` a contiguous buffer ("b": a byte a value) and `nulls` None or a buffer of a byte a row; or None, with
 * `values` a list of objects. */
int child_put_columns(struct child *child, int64_t rows, PyObject *columns);

/* warm_up.c: a run of `function` over rows of our own, which goes nowhere. -1 with an exception. */
int child_warm_up(PyObject *function);

/* refused.c: watch the interpreter's allocator from now on; whether this process may have been refused memory, of which it has
 * `limit` bytes. */
void refused_watch(void);
bool refused_memory(uint64_t limit);

/* The exception for a failure of the library: MemoryError, or RuntimeError with its message. Returns NULL. */
PyObject *worker_raise(const struct qn_error *err);

uint64_t worker_nanos(void); /* of the monotonic clock */

#endif
