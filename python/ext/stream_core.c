/*
 * stream_core.c: a result that is being read, shared by a Stream object and by the Arrow streams exported from it.
 *
 * The core owns the engine's stream, keeps the handle of its connection (if any) alive, and remembers the typed error,
 * which the protocols between libraries would lose. One reader at a time: a second one is refused. Closing while
 * another thread reads cancels the statement and waits for that thread to leave, since the connection is free only then;
 * where there is no statement to cancel, or it does not end, the release is left to that thread. Threads: no function
 * needs the GIL; all may block.
 */
#include "native.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CANCELLED_S 5 /* what a cancelled statement is given to end: more than it takes to give its connection up */

enum core_state { CORE_OPEN = 0, CORE_ENDED, CORE_FAILED, CORE_CLOSED };

struct native_stream_core {
    atomic_int references;
    atomic_bool busy; /* guards what is neither atomic nor for waiting */
    atomic_bool close_asked;
    atomic_ulong reader; /* the thread that made the core busy last */
    atomic_int waiting;  /* threads in wait_until_left */
    pthread_mutex_t lock;
    pthread_cond_t left;
    atomic_int state;                    /* enum core_state; leaves CORE_OPEN once */
    struct ArrowArrayStream inner;       /* released unless CORE_OPEN */
    struct native_handle *handle;        /* or NULL: no connection to cancel */
    struct native_shared_schema *schema; /* with unique names; constant */
    bool renamed;
    struct qn_error err; /* constant once CORE_FAILED */
};

enum qn_status native_core_new(struct ArrowArrayStream *stream, struct native_handle *handle,
                               struct native_stream_core **out, struct qn_error *err)
{
    struct ArrowSchema schema;
    bool renamed = false;
    if (stream->get_schema(stream, &schema) != 0) {
        enum qn_status status = qn_stream_error(stream, err);
        return status == QN_OK ? qn_error_set(err, QN_ERR_INTERNAL, "a result has no schema") : status;
    }
    struct native_shared_schema *shared =
        native_schema_unique(&schema, &renamed) ? native_shared_schema_new(&schema) : NULL;
    /* not zeroed: most of it is an error's texts */
    struct native_stream_core *core = shared != NULL ? malloc(sizeof *core) : NULL;
    if (core == NULL) {
        native_shared_schema_unref(shared);
        if (schema.release != NULL) {
            schema.release(&schema);
        }
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    atomic_init(&core->references, 1);
    atomic_init(&core->busy, false);
    atomic_init(&core->close_asked, false);
    atomic_init(&core->reader, 0);
    atomic_init(&core->waiting, 0);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&core->left, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&core->lock, NULL);
    atomic_init(&core->state, CORE_OPEN);
    core->schema = shared;
    core->renamed = renamed;
    core->inner = *stream;
    stream->release = NULL;
    if (handle != NULL) {
        native_handle_ref(handle);
    }
    core->handle = handle;
    *out = core;
    return QN_OK;
}

static void finish(struct native_stream_core *core, enum core_state state)
{
    if (core->inner.release != NULL) {
        core->inner.release(&core->inner);
    }
    atomic_store(&core->state, state);
}

void native_core_unref(struct native_stream_core *core)
{
    if (core == NULL || atomic_fetch_sub(&core->references, 1) != 1) {
        return;
    }
    finish(core, CORE_CLOSED);
    native_shared_schema_unref(core->schema);
    native_handle_unref(core->handle);
    (void)pthread_cond_destroy(&core->left);
    (void)pthread_mutex_destroy(&core->lock);
    free(core);
}

static bool enter(struct native_stream_core *core)
{
    if (atomic_exchange(&core->busy, true)) {
        return false;
    }
    atomic_store(&core->reader, (unsigned long)pthread_self());
    return true;
}

static void set_free(struct native_stream_core *core)
{
    atomic_store(&core->busy, false);
    if (atomic_load(&core->waiting) > 0) {
        pthread_mutex_lock(&core->lock);
        pthread_cond_broadcast(&core->left);
        pthread_mutex_unlock(&core->lock);
    }
}

/* Returns false where the time has passed. */
static bool wait_until_left(struct native_stream_core *core, const struct timespec *until)
{
    bool in_time = true;
    atomic_fetch_add(&core->waiting, 1);
    pthread_mutex_lock(&core->lock);
    while (atomic_load(&core->busy) && in_time) {
        in_time = pthread_cond_timedwait(&core->left, &core->lock, until) == 0;
    }
    pthread_mutex_unlock(&core->lock);
    atomic_fetch_sub(&core->waiting, 1);
    return in_time;
}

static void leave(struct native_stream_core *core)
{
    set_free(core);
    /* A close that found the core busy left its request; whoever enters first serves it. */
    if (atomic_load(&core->close_asked) && atomic_load(&core->state) == CORE_OPEN && enter(core)) {
        finish(core, CORE_CLOSED);
        set_free(core);
    }
}

static enum qn_status read_open(struct native_stream_core *core, struct ArrowArray *out, struct qn_error *err)
{
    struct ArrowArray batch = { .release = NULL };
    if (core->inner.get_next(&core->inner, &batch) != 0) {
        core->err = (struct qn_error)QN_ERROR_INIT;
        if (qn_stream_error(&core->inner, &core->err) == QN_OK) {
            qn_error_set(&core->err, QN_ERR_INTERNAL, "a result failed without an error");
        }
        *err = core->err;
        finish(core, CORE_FAILED);
        return err->status;
    }
    if (batch.release == NULL) {
        finish(core, CORE_ENDED);
    }
    *out = batch;
    return QN_OK;
}

enum qn_status native_core_next(struct native_stream_core *core, struct ArrowArray *out, struct qn_error *err)
{
    if (!enter(core)) {
        return atomic_load(&core->close_asked)
                   ? qn_error_set(err, QN_ERR_CLOSED, "the stream is closed")
                   : qn_error_set(err, QN_ERR_BUSY, "the stream is being read by another thread");
    }
    enum qn_status status = QN_OK;
    switch ((enum core_state)atomic_load(&core->state)) {
    case CORE_OPEN:
        status = read_open(core, out, err);
        break;
    case CORE_ENDED:
        out->release = NULL;
        break;
    case CORE_FAILED:
        *err = core->err;
        status = err->status;
        break;
    case CORE_CLOSED:
        status = qn_error_set(err, QN_ERR_CLOSED, "the stream is closed");
        break;
    }
    leave(core);
    return status;
}

void native_core_close(struct native_stream_core *core)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CANCELLED_S;
    atomic_store(&core->close_asked, true);
    for (bool cancelled = false; !enter(core); cancelled = true) {
        if (!cancelled && atomic_load(&core->state) == CORE_OPEN && core->handle != NULL) {
            struct qn_error ignored = QN_ERROR_INIT; /* the reader reports whatever becomes of the statement */
            (void)qn_connection_cancel(core->handle->connection, &ignored);
        }
        bool own = atomic_load(&core->reader) == (unsigned long)pthread_self(); /* a handler that runs while we read */
        if (core->handle == NULL || own || !wait_until_left(core, &until)) {
            return;
        }
    }
    if (atomic_load(&core->state) == CORE_OPEN) {
        finish(core, CORE_CLOSED);
    }
    leave(core);
}

bool native_core_is_closed(const struct native_stream_core *core)
{
    return atomic_load(&core->state) != CORE_OPEN;
}

const struct qn_error *native_core_error(const struct native_stream_core *core)
{
    return atomic_load(&core->state) == CORE_FAILED ? &core->err : NULL;
}

const struct ArrowSchema *native_core_schema(const struct native_stream_core *core)
{
    return &core->schema->schema;
}

struct native_shared_schema *native_core_shared_schema(const struct native_stream_core *core)
{
    return core->schema;
}

bool native_core_renamed(const struct native_stream_core *core)
{
    return core->renamed;
}

/* ---- exported streams -------------------------------------------------------------------------------------------- */

struct exported_stream {
    struct native_stream_core *core;
    struct qn_error err;
    char text[sizeof(((struct qn_error *)NULL)->message) + sizeof(((struct qn_error *)NULL)->hint) + 16];
};

static int exported_failure(struct exported_stream *self)
{
    native_interrupt_schedule();
    if (self->err.hint[0] != '\0') {
        snprintf(self->text, sizeof self->text, "%s (hint: %s)", self->err.message, self->err.hint);
    } else {
        snprintf(self->text, sizeof self->text, "%s", self->err.message);
    }
    switch (self->err.status) {
    case QN_ERR_NO_MEMORY:
        return ENOMEM;
    case QN_ERR_CANCELLED:
        return ECANCELED;
    case QN_ERR_TIMEOUT:
        return ETIMEDOUT;
    case QN_ERR_DATA:
    case QN_ERR_ARGUMENT:
        return EINVAL;
    default:
        return EIO;
    }
}

static int exported_get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct exported_stream *self = stream->private_data;
    if (!native_schema_copy(&self->core->schema->schema, NATIVE_LAYOUT_SAME, out)) {
        qn_error_set(&self->err, QN_ERR_NO_MEMORY, "out of memory");
        return exported_failure(self);
    }
    return 0;
}

static int exported_get_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct exported_stream *self = stream->private_data;
    if (native_core_next(self->core, out, &self->err) != QN_OK) {
        return exported_failure(self);
    }
    return 0;
}

static const char *exported_get_last_error(struct ArrowArrayStream *stream)
{
    const struct exported_stream *self = stream->private_data;
    return self->err.status == QN_OK ? NULL : self->text;
}

static void exported_release(struct ArrowArrayStream *stream)
{
    struct exported_stream *self = stream->private_data;
    native_core_close(self->core);
    native_core_unref(self->core);
    free(self);
    stream->release = NULL;
}

enum qn_status native_core_export(struct native_stream_core *core, struct ArrowArrayStream *out, struct qn_error *err)
{
    struct exported_stream *self = malloc(sizeof *self);
    if (self == NULL) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    self->core = core;
    qn_error_clear(&self->err);
    atomic_fetch_add(&core->references, 1);
    *out = (struct ArrowArrayStream){
        .get_schema = exported_get_schema,
        .get_next = exported_get_next,
        .get_last_error = exported_get_last_error,
        .release = exported_release,
        .private_data = self,
    };
    return QN_OK;
}
