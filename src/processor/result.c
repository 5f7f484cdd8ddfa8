/*
 * result.c: how an execution ended, said so that the author of a statement understands it, and its log.
 *
 * Numbers and texts of a run are what the run says: texts are made valid UTF-8, numbers are held to what they can be.
 * See execution.h.
 */
#include "base/memory.h"
#include "base/utf8.h"
#include "processor/execution.h"

#include <signal.h>
#include <stdio.h>

#define MAX_LOG_ENTRIES (1 << 20)
#define REPLACEMENT     "\xEF\xBF\xBD" /* U+FFFD */

/* ---- texts ---- */

/* Append text that may be anything: bad bytes and NULs become U+FFFD. */
static void append_clean(struct qn_buffer *out, const char *text, size_t size)
{
    while (size > 0) {
        size_t good = qn_utf8_valid_prefix(text, size);
        const char *nul = memchr(text, '\0', good);
        if (nul != NULL) {
            good = (size_t)(nul - text);
        }
        qn_buffer_append(out, text, good);
        text += good;
        size -= good;
        if (size > 0) {
            qn_buffer_append_text(out, REPLACEMENT);
            text++;
            size--;
        }
    }
}

/* "512 MiB", "1.5 GiB", "900 bytes" */
static void size_text(int64_t bytes, char out[32])
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, 32, "%.4g %s", value, units[unit]);
}

const char *qn_execution_status_name(enum qn_execution_status status)
{
    switch (status) {
    case QN_EXECUTION_RUNNING:
        return "running";
    case QN_EXECUTION_OK:
        return "ok";
    case QN_EXECUTION_NO_DATA:
        return "no_data";
    case QN_EXECUTION_FAILED:
        return "failed";
    case QN_EXECUTION_TIMED_OUT:
        return "timed_out";
    case QN_EXECUTION_MEMORY:
        return "memory_exceeded";
    case QN_EXECUTION_OUTPUT_LIMIT:
        return "output_limit";
    case QN_EXECUTION_CRASHED:
        return "crashed";
    case QN_EXECUTION_REJECTED:
        return "rejected";
    }
    return "unknown";
}

/* ---- the outcome ---- */

void qn__execution_outcome(struct qn_execution *self, enum qn_execution_status status, const char *text, size_t size)
{
    if (self->status != QN_EXECUTION_RUNNING) {
        return;
    }
    self->status = status;
    append_clean(&self->message, text, size);
}

void qn__execution_outcome_format(struct qn_execution *self, enum qn_execution_status status, const char *format, ...)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    va_list args;
    va_start(args, format);
    qn_buffer_vprintf(&text, format, args);
    va_end(args);
    qn__execution_outcome(self, status, qn_buffer_text(&text), text.size);
}

static void out_of_memory(struct qn_execution *self)
{
    char limit[32];
    size_text(self->processor->memory, limit);
    qn__execution_outcome_format(self, QN_EXECUTION_MEMORY, "the statement needed more than %s of memory", limit);
}

static int32_t place_of(uint32_t number)
{
    return number <= INT32_MAX ? (int32_t)number : 0;
}

bool qn__execution_outcome_done(struct qn_execution *self, const char *payload, size_t size)
{
    memcpy(&self->done, payload, sizeof self->done); /* frames.c has looked at the size */
    const char *text = payload + sizeof self->done;
    size_t text_size = size - sizeof self->done;
    self->line = place_of(self->done.line);
    self->column = place_of(self->done.column);
    self->row = self->done.row >= 0 ? self->done.row : -1;
    switch (self->done.kind) {
    case QN_DONE_OK:
        if (!self->check_only) {
            qn__execution_outcome(self, QN_EXECUTION_OK, "", 0);
        }
        return !self->check_only;
    case QN_DONE_CHECKED:
        if (self->check_only) {
            qn__execution_outcome(self, QN_EXECUTION_OK, text, text_size);
        }
        return self->check_only;
    case QN_DONE_FAILED:
        qn__execution_outcome(self, QN_EXECUTION_FAILED, text, text_size);
        return true;
    case QN_DONE_REJECTED:
        qn__execution_outcome(self, QN_EXECUTION_REJECTED, text, text_size);
        return true;
    case QN_DONE_MEMORY:
        out_of_memory(self);
        return true;
    default:
        return false;
    }
}

static const char *signal_meaning(int number)
{
    switch (number) {
    case SIGSEGV:
    case SIGBUS:
        return "memory was used that is not there";
    case SIGABRT:
        return "the interpreter or a library gave up";
    case SIGSYS:
        return "a system call was made that the sandbox does not have";
    case SIGFPE:
        return "an impossible calculation";
    case SIGILL:
        return "an impossible instruction";
    case SIGKILL:
        return "it was killed from outside";
    default:
        return "it was ended";
    }
}

/* The signal that ended it, or 0. The worker turns an abort into an exit status of 128 and more: the first process of a pid
 * namespace cannot end by abort(). */
static int ending_signal(const struct qn_run_report *end)
{
    if (end->signal != 0) {
        return end->signal;
    }
    int number = end->code - 128;
    return number > 0 && number < NSIG ? number : 0;
}

/* The kernel's killer, or a library that was refused memory and gave up. */
static bool plausibly_memory(const struct qn_execution *self, int number)
{
    uint64_t limit = (uint64_t)self->processor->memory;
    uint64_t peak = self->end.peak_memory;
    if (number == SIGKILL) {
        return peak >= limit / 2;
    }
    return (number == SIGABRT || number == SIGSEGV || number == SIGBUS) && peak >= limit / 10 * 9;
}

void qn__execution_outcome_ended(struct qn_execution *self, bool known)
{
    if (!known) {
        qn__execution_outcome_format(self, QN_EXECUTION_CRASHED, "the process ended, and its interpreter with it");
        return;
    }
    int number = ending_signal(&self->end);
    if (number == 0) {
        qn__execution_outcome_format(self, QN_EXECUTION_CRASHED,
                                     "the process ended by itself, with exit status %d, before the statement did",
                                     self->end.code);
    } else if (plausibly_memory(self, number)) {
        out_of_memory(self);
    } else {
        const char *name = sigabbrev_np(number);
        qn__execution_outcome_format(self, QN_EXECUTION_CRASHED, "the process crashed: signal SIG%s (%s)",
                                     name != NULL ? name : "?", signal_meaning(number));
    }
}

void qn__execution_outcome_settle(struct qn_execution *self)
{
    if (self->check_only || self->status != QN_EXECUTION_OK) {
        return;
    }
    if (self->logs.first_error >= 0) { /* whatever DONE says */
        const struct qn_log_entry *entry = &self->logs.entries[self->logs.first_error];
        self->status = QN_EXECUTION_RUNNING;
        qn__execution_outcome_format(self, QN_EXECUTION_FAILED, "the statement called log.error: %s",
                                     self->logs.texts.data + entry->text);
        self->line = entry->line;
        self->row = entry->row;
    } else if (self->output.rows == 0) {
        self->status = QN_EXECUTION_NO_DATA;
    }
}

/* ---- the log ---- */

static bool grow_logs(struct qn_logs *logs)
{
    if (logs->n < logs->capacity) {
        return true;
    }
    size_t capacity = logs->capacity > 0 ? 2 * logs->capacity : 16;
    struct qn_log_entry *grown = qn_realloc_array(logs->entries, capacity, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    logs->entries = grown;
    logs->capacity = capacity;
    return true;
}

bool qn__execution_log(struct qn_execution *self, const struct qn_frame_log *head, const char *text, size_t size)
{
    struct qn_logs *logs = &self->logs;
    int64_t counted = logs->bytes + (int64_t)logs->n * QN_LOG_ENTRY_BYTES;
    int64_t left = self->processor->log_limit - counted;
    if ((int64_t)size > left || logs->n >= MAX_LOG_ENTRIES || !grow_logs(logs)) {
        logs->dropped++;
        return false;
    }
    size_t begin = logs->texts.size;
    append_clean(&logs->texts, text, size);
    qn_buffer_append_byte(&logs->texts, '\0');
    if (logs->texts.failure != QN_BUFFER_FINE) {
        logs->texts.size = begin;
        logs->texts.failure = QN_BUFFER_FINE;
        logs->dropped++;
        return false;
    }
    if (head->level >= QN_RUN_ERROR && logs->first_error < 0) {
        logs->first_error = (int64_t)logs->n;
    }
    logs->entries[logs->n++] = (struct qn_log_entry){
        .text = begin, .level = head->level, .line = place_of(head->line), .row = head->row >= 0 ? head->row : -1
    };
    logs->bytes += (int64_t)size;
    return true;
}

void qn__logs_dispose(struct qn_logs *logs)
{
    qn_free(logs->entries);
    qn_buffer_dispose(&logs->texts);
    *logs = (struct qn_logs){ 0 };
}

enum qn_status qn_execution_log(const struct qn_execution *execution, int64_t i, struct qn_execution_log *out,
                                struct qn_error *err)
{
    static const char *const levels[] = { "trace", "debug", "info", "warn", "error" };
    const struct qn_logs *logs = &execution->logs;
    if (i < 0 || (uint64_t)i >= logs->n) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "there are %zu log messages; %lld is not one of them", logs->n,
                            (long long)i);
    }
    const struct qn_log_entry *entry = &logs->entries[i];
    *out = (struct qn_execution_log){
        .level = levels[entry->level], .message = logs->texts.data + entry->text, .line = entry->line, .row = entry->row
    };
    return QN_OK;
}

/* ---- all of it ---- */

static double seconds_between(int64_t from, int64_t to)
{
    return from > 0 && to > from ? (double)(to - from) / 1e9 : 0;
}

/* A duration that the run measured: not longer than all of it. */
static double said_seconds(uint64_t nanos, double most)
{
    double seconds = (double)nanos / 1e9;
    return seconds < most ? seconds : most;
}

void qn_execution_result(const struct qn_execution *execution, struct qn_execution_result *out)
{
    const struct qn_frame_done *done = &execution->done;
    double seconds = seconds_between(execution->began, execution->ended_at);
    int64_t rows_in = execution->rows_in;
    if (done->rows_in >= 0 && done->rows_in < rows_in) {
        rows_in = done->rows_in;
    }
    *out = (struct qn_execution_result){
        .struct_size = sizeof *out,
        .status = execution->ended ? execution->status : QN_EXECUTION_RUNNING,
        .message = qn_buffer_text(&execution->message),
        .line = execution->line,
        .row = execution->row,
        .rows_in = rows_in,
        .rows_out = execution->output.rows,
        .tier = qn_tier_name(execution->tier),
        .seconds = seconds,
        .seconds_start = seconds_between(execution->began, execution->ready_at),
        .seconds_compile = said_seconds(done->compile_nanos, seconds),
        .seconds_read = said_seconds(done->read_nanos, seconds),
        .seconds_run = said_seconds(done->run_nanos, seconds),
        .seconds_write = said_seconds(done->write_nanos, seconds),
        .seconds_killed = execution->seconds_killed,
        .peak_memory = (int64_t)execution->end.peak_memory,
        .output_bytes = execution->output.bytes,
        .log_bytes = execution->logs.bytes,
        .n_logs = (int64_t)execution->logs.n,
        .logs_dropped = execution->logs.dropped,
    };
}

enum qn_status qn_execution_checkpoint(const struct qn_execution *execution, struct ArrowArrayStream *out,
                                       struct qn_error *err)
{
    if (!execution->ended || execution->status != QN_EXECUTION_OK) {
        out->release = NULL;
        return QN_OK;
    }
    return qn_output_checkpoint(&execution->output, out, err);
}
