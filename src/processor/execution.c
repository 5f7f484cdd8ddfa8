/*
 * execution.c: the loop of an execution: frames of the run in, input out, the deadline, the end.
 *
 * Invariant: while the run's clock runs, somebody is in qn__execution_pump, and the process is killed when the clock is up.
 * The clock stands while the run waits for us: for its input, and for the caller to take a batch; in a stream it begins anew
 * with each batch of input. Nothing that the run sends makes a call of ours fail: it makes the outcome of the execution.
 * See execution.h.
 */
#include "processor/execution.h"

#include "base/memory.h"
#include "os/clock.h"
#include "os/poll.h"
#include "processor/channel.h"

#include <errno.h>
#include <poll.h>
#include <qanat/plugin/driver.h>
#include <unistd.h>

#define FRAMES_AT_ONCE  64 /* before the clock is looked at again */
#define FLIGHT_PAUSE_MS 1
/* Others are forked in a run's place when it has gone on for so long, or has ended: a fork takes a small run's processor, and
 * keeps the zygote from telling that it ended. */
#define REFILL_AFTER_NANOS 2000000

/* ---- the clock ---- */

static void start_clock(struct qn_execution *self)
{
    if (self->since == 0) {
        self->since = qn_clock_nanos();
    }
}

static void stop_clock(struct qn_execution *self)
{
    if (self->since != 0) {
        self->time_left -= qn_clock_nanos() - self->since;
        self->since = 0;
    }
}

/* When it is up; the clock runs. */
static int64_t deadline_of(const struct qn_execution *self)
{
    return self->since + self->time_left;
}

static void refill(struct qn_execution *self)
{
    if (!self->refilled && self->taken.home != NULL) {
        self->refilled = true;
        qn_pool_refill(&self->taken);
    }
}

/* ---- the end ---- */

/* No process is left, and no descriptor: the outcome, where nothing has made one, is how the process ended. */
static void end_run_within(struct qn_execution *self, int64_t milliseconds)
{
    struct qn_child *child = &self->taken.child;
    if (self->taken.home != NULL) {
        qn_child_kill(child);
        bool known = qn_child_wait(child, milliseconds);
        self->end = known ? child->end : self->end;
        qn__execution_outcome_ended(self, known);
        qn_broker_free(self->broker);
        self->broker = NULL;
        refill(self);
        qn_pool_give_back(&self->taken);
    }
    self->ended_at = qn_clock_nanos();
    qn_input_dispose(&self->input);
    qn_frames_dispose(&self->frames);
    qn_buffer_dispose(&self->start);
    self->ended = true;
    qn__execution_outcome_settle(self);
}

static void end_run(struct qn_execution *self)
{
    end_run_within(self, QN_CHILD_END_MS);
}

/* It does nothing more from the kill on. Where it has much memory, the kernel frees that while the outcome is told already. */
static void end_timed_out(struct qn_execution *self)
{
    int64_t deadline = deadline_of(self);
    if (self->check_only) {
        qn__execution_outcome_format(self, QN_EXECUTION_TIMED_OUT,
                                     "the statement was stopped before it ran: compiling it takes longer than %.6g s. "
                                     "Make it shorter: give it large texts and tables as input",
                                     (double)QN_CHECK_TIMEOUT_NANOS / 1e9);
    } else {
        qn__execution_outcome_format(self, QN_EXECUTION_TIMED_OUT,
                                     "the statement was stopped: it ran for longer than %.6g s",
                                     (double)self->processor->timeout / 1e9);
    }
    self->end.peak_memory = qn_child_peak(&self->taken.child); /* a process that is dying does not tell */
    end_run_within(self, QN_CHILD_KILLED_MS);
    self->seconds_killed = (double)(self->ended_at - deadline) / 1e9;
}

/* The run says what a run does not say. */
static void end_broken(struct qn_execution *self, const char *what)
{
    qn__execution_outcome_format(self, QN_EXECUTION_CRASHED, "the process broke the channel to the engine: %s", what);
    end_run(self);
}

static void end_over_limit(struct qn_execution *self, const char *what, int64_t limit)
{
    qn__execution_outcome_format(self, QN_EXECUTION_OUTPUT_LIMIT, "the statement was stopped: %s more than %lld bytes",
                                 what, (long long)limit);
    end_run(self);
}

/* An input that is not what the plan says is the execution's failure; others are the caller's. */
static enum qn_status input_failed(struct qn_execution *self, enum qn_status status, const struct qn_error *error,
                                   struct qn_error *err)
{
    if (!self->input.refused) {
        if (err != NULL) {
            *err = *error;
        }
        return status;
    }
    qn__execution_outcome_format(self, QN_EXECUTION_FAILED, "%s", error->message);
    self->row = error->row;
    end_run(self);
    return QN_OK;
}

/* ---- to the run ---- */

static bool sending(const struct qn_execution *self)
{
    return self->sender.head.kind != 0;
}

static void send_frame(struct qn_execution *self, uint32_t kind, const struct qn_buffer *body)
{
    self->sender = (struct qn_sender){ .head = { .kind = kind, .size = body != NULL ? body->size : 0 },
                                       .body = body != NULL ? body->data : NULL,
                                       .attach = -1 };
}

/* Send what the socket takes. A run that is gone takes nothing: how it ended is found out by reading. */
static void send_some(struct qn_execution *self)
{
    struct qn_sender *sender = &self->sender;
    while (sending(self)) {
        size_t head_sent = sender->sent < sizeof sender->head ? sender->sent : sizeof sender->head;
        size_t body_sent = sender->sent - head_sent;
        size_t body_size = (size_t)sender->head.size;
        struct iovec pieces[] = { { (char *)&sender->head + head_sent, sizeof sender->head - head_sent },
                                  { (char *)(uintptr_t)sender->body + body_sent, body_size - body_sent } };
        ssize_t sent = qn_channel_send(self->taken.child.channel, pieces, 2, &sender->attach, sender->attach >= 0);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (sent < 0 && errno == ETOOMANYREFS) { /* of all this user's processes, for a moment */
            (void)poll(NULL, 0, FLIGHT_PAUSE_MS);
            return;
        }
        if (sent > 0) {
            qn_channel_close(&sender->attach);
        }
        sender->sent += sent > 0 ? (size_t)sent : 0;
        if (sent < 0 || sender->sent == sizeof sender->head + body_size) {
            sender->head.kind = 0;
        }
    }
}

static enum qn_status give_input(struct qn_execution *self, struct qn_error *err)
{
    struct qn_error error = QN_ERROR_INIT;
    bool more = false;
    stop_clock(self);
    enum qn_status status = qn_input_next(&self->input, &more, &error);
    start_clock(self);
    if (status != QN_OK) {
        return input_failed(self, status, &error, err);
    }
    if (more && self->timeout_per_batch) {
        self->time_left = self->processor->timeout;
    }
    self->rows_in = self->input.rows;
    self->need = false;
    self->input_over = !more;
    send_frame(self, more ? QN_FRAME_INPUT : QN_FRAME_INPUT_END, more ? &self->input.message : NULL);
    return QN_OK;
}

/* ---- from the run ---- */

static void handle_log(struct qn_execution *self, const struct qn_frame_taken *frame)
{
    struct qn_frame_log head;
    memcpy(&head, frame->payload, sizeof head);
    if (head.level > QN_RUN_ERROR) {
        end_broken(self, "a log message of an unknown level");
    } else if (!qn__execution_log(self, &head, frame->payload + sizeof head, frame->size - sizeof head)) {
        end_over_limit(self, "it logged", self->processor->log_limit);
    }
}

static void handle_need(struct qn_execution *self)
{
    if (self->need || self->input_over) {
        end_broken(self, self->need ? "it asks for input twice" : "it asks for input after the end of it");
    } else {
        self->need = true;
    }
}

/* Takes the payload. */
static enum qn_status handle_batch(struct qn_execution *self, struct qn_frame_taken *frame, struct qn_error *err)
{
    struct qn_error error = QN_ERROR_INIT;
    if (self->check_only) {
        end_broken(self, "rows, where there is nothing to run");
        return QN_OK;
    }
    char *payload = frame->payload;
    frame->payload = NULL;
    enum qn_status status = qn_output_take(&self->output, payload, frame->size, &self->batch, &error);
    if (status == QN_ERR_PROTOCOL || status == QN_ERR_UNSUPPORTED || status == QN_ERR_DATA) {
        end_broken(self, error.message);
    } else if (status != QN_OK) {
        if (err != NULL) {
            *err = error;
        }
        return status;
    } else if (self->output.over_limit) {
        end_over_limit(self, "it returned", self->processor->output_limit);
    }
    uint64_t left = qn_output_left(&self->output);
    self->frames.batch_limit = left < QN_FRAME_MAX_FROM_RUN ? left : QN_FRAME_MAX_FROM_RUN;
    return QN_OK;
}

static enum qn_status handle_frame(struct qn_execution *self, struct qn_frame_taken *frame, struct qn_error *err)
{
    switch (frame->kind) {
    case QN_FRAME_LOG:
        handle_log(self, frame);
        return QN_OK;
    case QN_FRAME_NEED:
        handle_need(self);
        return QN_OK;
    case QN_FRAME_BATCH:
        return handle_batch(self, frame, err);
    case QN_FRAME_DONE:
        if (qn__execution_outcome_done(self, frame->payload, frame->size)) {
            end_run(self);
        } else {
            end_broken(self, "an end of an unknown kind");
        }
        return QN_OK;
    default:
        end_broken(self, "a frame that has its place before the start");
        return QN_OK;
    }
}

/* Read once. False: nothing is there; the end of the channel ends the run. */
static bool read_some(struct qn_execution *self)
{
    size_t size = 0;
    char *room = qn_frames_room(&self->frames, &size);
    ssize_t got = qn_channel_receive(self->taken.child.channel, room, size);
    if (got > 0) {
        qn_frames_filled(&self->frames, (size_t)got);
        return true;
    }
    bool nothing_yet = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (!nothing_yet || self->gone) {
        end_run(self);
    }
    return false;
}

/* Take frames until there are no more for now, or something is to be done about one. */
static enum qn_status receive(struct qn_execution *self, bool *idle_out, struct qn_error *err)
{
    *idle_out = false;
    for (int i = 0; i < FRAMES_AT_ONCE && !self->ended && self->batch.release == NULL; i++) {
        struct qn_frame_taken frame = { 0 };
        struct qn_error error = QN_ERROR_INIT;
        enum qn_status status = QN_OK;
        switch (qn_frames_take(&self->frames, &frame, &error)) {
        case QN_FRAMES_ONE:
            status = handle_frame(self, &frame, err);
            qn_free(frame.payload);
            break;
        case QN_FRAMES_WANT:
            if (!read_some(self)) {
                *idle_out = true;
                return QN_OK;
            }
            break;
        case QN_FRAMES_LIMIT:
            end_over_limit(self, "it returned", self->processor->output_limit);
            break;
        case QN_FRAMES_BROKEN:
            if (error.status == QN_ERR_NO_MEMORY) {
                return qn__no_memory(err);
            }
            end_broken(self, error.message);
            break;
        }
        QN_TRY(status);
    }
    return QN_OK;
}

/* ---- the loop ---- */

/* Wait for anything to happen, the deadline included. */
static enum qn_status wait(struct qn_execution *self, struct qn_error *err)
{
    const struct qn_child *child = &self->taken.child;
    struct pollfd entries[] = {
        { .fd = child->channel, .events = (short)(POLLIN | (sending(self) ? POLLOUT : 0)) },
        { .fd = child->pid_fd, .events = POLLIN },
        { .fd = self->broker != NULL ? qn_broker_fd(self->broker) : -1, .events = POLLIN },
    };
    int64_t deadline = deadline_of(self), soon = self->ready_at + REFILL_AFTER_NANOS;
    enum qn_status status = qn_poll_many(entries, 3, !self->refilled && soon < deadline ? soon : deadline, err);
    if (status == QN_ERR_TIMEOUT) {
        refill(self);
        return QN_OK;
    }
    QN_TRY(status);
    self->gone = entries[1].revents != 0;
    return entries[2].revents != 0 ? qn_broker_handle(self->broker, err) : QN_OK;
}

/* Ask from time to time, for a run that never lets us wait: waiting asks by itself. */
static enum qn_status ask_for_interrupts(struct qn_execution *self, int64_t now, struct qn_error *err)
{
    if (now - self->asked_at < QN_POLL_SLICE_MS * INT64_C(1000000)) {
        return QN_OK;
    }
    self->asked_at = now;
    return qn_interrupt_poll(err);
}

static enum qn_status step(struct qn_execution *self, struct qn_error *err)
{
    int64_t now = qn_clock_nanos();
    if (now >= deadline_of(self)) {
        end_timed_out(self);
        return QN_OK;
    }
    QN_TRY(ask_for_interrupts(self, now, err));
    if (self->need && !sending(self)) {
        QN_TRY(give_input(self, err));
    }
    if (self->ended) {
        return QN_OK;
    }
    send_some(self);
    bool idle = false;
    QN_TRY(receive(self, &idle, err));
    bool can_give = self->need && !sending(self);
    return idle && !self->ended && !can_give ? wait(self, err) : QN_OK;
}

/* A failure of ours, or of the caller's stream: the run ends with it, and every call after this one returns it. */
static enum qn_status give_up(struct qn_execution *self, enum qn_status status, const struct qn_error *error,
                              struct qn_error *err)
{
    qn__execution_outcome_format(self, QN_EXECUTION_FAILED, "the execution was given up: %s", error->message);
    end_run(self);
    self->failure = *error;
    self->failure.status = status;
    if (err != NULL) {
        *err = self->failure;
    }
    return status;
}

enum qn_status qn__execution_pump(struct qn_execution *self, struct qn_error *err)
{
    struct qn_error error = QN_ERROR_INIT;
    enum qn_status status = QN_OK;
    if (self->ended || self->batch.release != NULL) {
        return QN_OK;
    }
    start_clock(self);
    while (status == QN_OK && !self->ended && self->batch.release == NULL) {
        status = step(self, &error);
    }
    stop_clock(self);
    return status == QN_OK ? QN_OK : give_up(self, status, &error, err);
}

enum qn_status qn__execution_new(struct qn_processor *processor, struct qn_execution **out, struct qn_error *err)
{
    struct qn_execution *made = qn_calloc(1, sizeof *made);
    if (made == NULL) {
        return qn__no_memory(err);
    }
    made->processor = qn__processor_ref(processor);
    made->owner = getpid();
    made->began = made->asked_at = qn_clock_nanos();
    made->time_left = processor->timeout;
    made->row = -1;
    made->logs.first_error = -1;
    made->sender.attach = -1;
    made->done.rows_in = INT64_MAX; /* it says nothing */
    qn_error_clear(&made->failure);
    enum qn_status status = qn_frames_init(&made->frames, err);
    if (status == QN_OK) {
        status = qn_output_init(processor, &made->output, err);
    }
    if (status != QN_OK) {
        qn_execution_free(made);
        return status;
    }
    uint64_t left = qn_output_left(&made->output);
    made->frames.batch_limit = left < QN_FRAME_MAX_FROM_RUN ? left : QN_FRAME_MAX_FROM_RUN;
    *out = made;
    return QN_OK;
}

void qn_execution_free(struct qn_execution *execution)
{
    if (execution == NULL) {
        return;
    }
    if (!execution->ended) {
        qn__execution_outcome_format(execution, QN_EXECUTION_FAILED, "the execution was given up");
        end_run(execution);
    }
    qn_channel_close(&execution->sender.attach);
    qn_frames_dispose(&execution->frames); /* of one that ended before it began */
    qn_array_release(&execution->batch);
    qn_output_dispose(&execution->output);
    qn__logs_dispose(&execution->logs);
    qn_buffer_dispose(&execution->message);
    qn_processor_free(execution->processor);
    qn_free(execution);
}

/* Its process, or the interpreter that has to tell of it, is no more. */
static bool child_has_gone(const struct qn_execution *self)
{
    struct pollfd entries[] = { { .fd = self->taken.child.pid_fd, .events = POLLIN },
                                { .fd = self->taken.child.report, .events = POLLIN } };
    return poll(entries, 2, 0) > 0;
}

/* Send START, or the beginning of it. False where nobody was there to take a byte of it. */
static bool tell(struct qn_execution *self)
{
    if (child_has_gone(self)) {
        return false;
    }
    start_clock(self);
    send_some(self);
    stop_clock(self);
    return self->sender.sent > 0 || sending(self);
}

enum qn_status qn__execution_tell(struct qn_execution *self, const char *modules, struct qn_error *err)
{
    if (tell(self)) {
        return QN_OK;
    }
    qn_broker_free(self->broker);
    self->broker = NULL;
    qn_pool_give_back(&self->taken);
    QN_TRY(qn__execution_take_child(self, modules, err));
    self->ready_at = qn_clock_nanos();
    self->sender.head.kind = QN_FRAME_START;
    (void)tell(self); /* where this one has gone too, that is how it ends */
    return QN_OK;
}

/* The first step: the run is told to start, and the caller gets on. */
static void set_off(struct qn_execution *self, enum qn_status status, struct qn_error *error)
{
    if (status == QN_OK) {
        self->rows_in = self->input.rows;
        status = qn__execution_tell(self, self->processor->modules, error);
        if (status != QN_OK) {
            (void)give_up(self, status, error, NULL);
        }
        return;
    }
    if (input_failed(self, status, error, NULL) != QN_OK) {
        (void)give_up(self, status, error, NULL);
    }
}

static void release_inputs(struct ArrowArrayStream *rows, const struct qn_execution_options *options)
{
    qn_stream_release(rows);
    if (options != NULL) {
        qn_stream_release(options->checkpoint);
    }
}

enum qn_status qn_execution_start(struct qn_processor *processor, struct ArrowArrayStream *rows,
                                  const struct qn_execution_options *options, struct qn_execution **out,
                                  struct qn_error *err)
{
    if (options != NULL && options->struct_size != sizeof *options) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the options are of another version of the library");
    }
    struct ArrowArrayStream *checkpoint = options != NULL ? options->checkpoint : NULL;
    int64_t began = qn_clock_nanos();
    struct qn_execution *self = NULL;
    QN_TRY(qn__processor_check(processor, &self, err));
    if (self != NULL) { /* it was looked at, and that is how it ended */
        release_inputs(rows, options);
        *out = self;
        return QN_OK;
    }
    QN_TRY(qn__execution_new(processor, &self, err));
    self->began = began;
    self->timeout_per_batch = options != NULL && options->timeout_per_batch;
    enum qn_status status = qn__execution_take_child(self, processor->modules, err);
    if (status == QN_OK) {
        self->ready_at = qn_clock_nanos();
        status = checkpoint != NULL ? qn__execution_checkpoint(self, checkpoint, err) : QN_OK;
    }
    if (status != QN_OK) {
        qn_execution_free(self);
        return status;
    }
    struct qn_error error = QN_ERROR_INIT;
    status = qn__execution_begin(self, rows != NULL && rows->release != NULL ? rows : NULL, &error);
    release_inputs(NULL, options);
    set_off(self, status, &error);
    *out = self;
    return QN_OK;
}

enum qn_status qn_execution_next(struct qn_execution *execution, struct ArrowArray *out, struct qn_error *err)
{
    if (execution->owner != getpid()) {
        return qn_error_set(err, QN_ERR_CLOSED, "the execution belongs to another process");
    }
    if (execution->failure.status != QN_OK) {
        if (err != NULL) {
            *err = execution->failure;
        }
        return execution->failure.status;
    }
    QN_TRY(qn__execution_pump(execution, err));
    *out = execution->batch;
    execution->batch.release = NULL;
    return QN_OK;
}
