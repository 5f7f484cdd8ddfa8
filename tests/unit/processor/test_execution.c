/* Executions of runs that do what they should, and of runs that break every rule of the channel. No interpreter is started:
 * fake_launcher.c. trace: P16 B7 */
#include "processor/execution.h"

#include "base/fault.h"

#include "run_fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what goes well ---- */

static void execution__hands_out_batches_and_a_result(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("info hello\nrows 3\nrows 2\ndone 0", "", "\"checkpoint\": \"id\"");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    assert_int_equal(result_of(execution).status, QN_EXECUTION_RUNNING);
    assert_int_equal(take_all(execution), 5);
    struct qn_execution_result result = result_of(execution);
    assert_int_equal(result.status, QN_EXECUTION_OK);
    assert_string_equal(result.message, "");
    assert_string_equal(result.tier, "full");
    assert_int_equal(result.rows_out, 5); /* counted here, whatever DONE says */
    assert_int_equal(result.rows_in, 0);
    assert_int_equal(result.n_logs, 1);
    expect_log(execution, 0, "info", "hello");
    struct ArrowArrayStream checkpoint = { 0 };
    assert_int_equal(qn_execution_checkpoint(execution, &checkpoint, NULL), QN_OK);
    struct ArrowArray row = { 0 };
    assert_int_equal(qn_stream_next(&checkpoint, &row, NULL), QN_OK);
    assert_int_equal(row.length, 1);
    assert_int_equal(((const int64_t *)row.children[0]->buffers[1])[row.children[0]->offset], 4);
    qn_array_release(&row);
    qn_stream_release(&checkpoint);
    qn_execution_free(execution);
    qn_processor_free(processor);
}

static void execution__without_rows_has_no_data(void **state)
{
    (void)state;
    struct qn_execution *execution = ended_with("rows 0\ndone 0", "\"checkpoint\": \"id\"");
    assert_int_equal(result_of(execution).status, QN_EXECUTION_NO_DATA);
    struct ArrowArrayStream checkpoint = { 0 };
    assert_int_equal(qn_execution_checkpoint(execution, &checkpoint, NULL), QN_OK);
    assert_null(checkpoint.release);
    qn_execution_free(execution);
}

static void count_rows(int64_t batches, int64_t rows, const char *more, const char *expected)
{
    struct qn_processor *processor = processor_of("count\ndone 0", "", more);
    struct ArrowArrayStream stream = { 0 };
    numbers(batches, rows, &stream);
    struct qn_execution *execution = begin_with(processor, &stream, NULL);
    assert_null(stream.release); /* taken over */
    (void)take_all(execution);
    expect_log(execution, 0, "info", expected);
    qn_execution_free(execution);
    qn_processor_free(processor);
}

static void input__arrives_whole(void **state)
{
    (void)state;
    count_rows(0, 0, "", "rows 0 messages 0 checkpoint 0");
    count_rows(1, 1, "", "rows 1 messages 1 checkpoint 0");
    count_rows(3, 5, "", "rows 15 messages 3 checkpoint 0");
    count_rows(2, 5, "\"mode\": \"bulk\", \"batch_rows\": 3", "rows 10 messages 5 checkpoint 0"); /* 3 2+1 3 1 */
}

/* More than the memfd takes: 8 million numbers are 64 MiB. The rest is asked for, and comes. */
static void input__of_more_than_the_first_file_is_asked_for(void **state)
{
    (void)state;
    count_rows(8, 1 << 20, "", "rows 8388608 messages 8 checkpoint 0");
    count_rows(1, 6 << 20, "", "rows 6291456 messages 6 checkpoint 0"); /* cut to about 8 MiB each */
}

static void checkpoint__is_told(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("count\ndone 0", "", "");
    struct qn_execution_options options = QN_EXECUTION_OPTIONS_INIT;
    struct ArrowArrayStream checkpoint = { 0 };
    numbers(1, 1, &checkpoint);
    options.checkpoint = &checkpoint;
    struct qn_execution *execution = begin_with(processor, NULL, &options);
    assert_null(checkpoint.release);
    (void)take_all(execution);
    struct qn_execution_log log;
    assert_int_equal(qn_execution_log(execution, 0, &log, NULL), QN_OK);
    expect_text(log.message, "rows 0 messages 0 checkpoint ");
    assert_true(atoi(strrchr(log.message, ' ')) > 0);
    qn_execution_free(execution);
    for (int64_t rows = 0; rows < 3; rows += 2) { /* no row, two rows */
        struct qn_error err = QN_ERROR_INIT;
        numbers(1, rows, &checkpoint);
        assert_int_equal(qn_execution_start(processor, NULL, &options, &execution, &err), QN_ERR_ARGUMENT);
        expect_text(err.message, "one row of one column");
        assert_non_null(checkpoint.release); /* still the caller's */
        qn_stream_release(&checkpoint);
    }
    qn_processor_free(processor);
}

static void stream__gives_the_rows_or_the_failure(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 2\nrows 3\ndone 0", "", "");
    struct ArrowArrayStream rows = { 0 };
    struct ArrowArrayStream out = { 0 };
    numbers(1, 1, &rows);
    assert_int_equal(qn_processor_stream(processor, &rows, NULL, &out, NULL), QN_OK);
    int64_t n = 0;
    for (;;) {
        qn_auto_array batch = { 0 };
        assert_int_equal(qn_stream_next(&out, &batch, NULL), QN_OK);
        if (batch.release == NULL) {
            break;
        }
        n += batch.length;
    }
    assert_int_equal(n, 5);
    qn_stream_release(&out);
    qn_processor_free(processor);

    static const struct {
        const char *script;
        enum qn_status status;
        const char *part;
    } failures[] = { { "rows 2\ndone 1 it broke", QN_ERR_QUERY, "failed: it broke" },
                     { "rows 2\ndone 3", QN_ERR_NO_MEMORY, "memory_exceeded" },
                     { "rows 2\nkill 11", QN_ERR_QUERY, "crashed: the process crashed: signal SIGSEGV" } };
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        struct qn_error err = QN_ERROR_INIT;
        qn_auto_array batch = { 0 };
        processor = processor_of(failures[i].script, "", "");
        assert_int_equal(qn_processor_stream(processor, NULL, NULL, &out, NULL), QN_OK);
        qn_processor_free(processor);
        assert_int_equal(qn_stream_next(&out, &batch, &err), QN_OK);
        assert_int_equal(batch.length, 2);
        qn_array_release(&batch);
        assert_int_equal(qn_stream_next(&out, &batch, &err), failures[i].status);
        expect_text(err.message, failures[i].part);
        qn_stream_release(&out);
    }
}

/* ---- how executions end ---- */

struct ending {
    const char *script, *more;
    enum qn_execution_status status;
    const char *part; /* of the message */
};

static void expect_endings(const struct ending *endings, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct qn_execution *execution = ended_with(endings[i].script, endings[i].more);
        struct qn_execution_result result = result_of(execution);
        if (result.status != endings[i].status) {
            fail_msg("%s: %s: %s", endings[i].script, qn_execution_status_name(result.status), result.message);
        }
        expect_text(result.message, endings[i].part);
        qn_execution_free(execution);
    }
}

static void endings__are_told_apart(void **state)
{
    (void)state;
    static const struct ending endings[] = {
        { "done 1 Traceback: line 2", "", QN_EXECUTION_FAILED, "Traceback: line 2" },
        { "done 2 import of 'os'", "", QN_EXECUTION_REJECTED, "import of 'os'" },
        { "done 3", "\"memory\": 67108864", QN_EXECUTION_MEMORY, "more than 64 MiB of memory" },
        { "exit 0", "", QN_EXECUTION_CRASHED, "exit status 0" },
        { "exit 3", "", QN_EXECUTION_CRASHED, "exit status 3" },
        { "exit 134", "", QN_EXECUTION_CRASHED, "signal SIGABRT" },
        { "kill 11", "", QN_EXECUTION_CRASHED, "signal SIGSEGV" },
        { "kill 9", "", QN_EXECUTION_CRASHED, "signal SIGKILL" },
        { "kill 31", "", QN_EXECUTION_CRASHED, "signal SIGSYS" },
        { "kill 9", "\"memory\": 1048576", QN_EXECUTION_MEMORY, "more than 1 MiB" }, /* it had more than half of it */
        { "rows 10\nerror it is bad\nrows 1\ndone 0", "", QN_EXECUTION_FAILED, "log.error: it is bad" },
        { "rows 10000\nhang", "\"output_limit\": 1000", QN_EXECUTION_OUTPUT_LIMIT, "returned more than 1000 bytes" },
        { "rows 10\nrows 10\nrows 10\nhang", "\"output_limit\": 700", QN_EXECUTION_OUTPUT_LIMIT, "700" },
        { "info 123456\nhang", "\"log_limit\": 5", QN_EXECUTION_OUTPUT_LIMIT, "logged more than 5 bytes" },
        { "flood", "", QN_EXECUTION_OUTPUT_LIMIT, "logged more than 1048576 bytes" },
    };
    expect_endings(endings, sizeof endings / sizeof *endings);
}

/* Everything here would hang or hurt an engine that believes what it is told. */
static void endings__of_runs_that_break_the_channel_are_crashes(void **state)
{
    (void)state;
    static const struct ending endings[] = {
        { "junk 16\nhang", "", QN_EXECUTION_CRASHED, "broke the channel to the engine: a frame of unknown kind" },
        { "junk 100000\nhang", "", QN_EXECUTION_CRASHED, "unknown kind" },
        { "head 5 268435457\nhang", "", QN_EXECUTION_CRASHED, "a frame BATCH of 268435457 bytes" },
        { "head 5 -1\nhang", "", QN_EXECUTION_CRASHED, "a frame BATCH of 18446744073709551615 bytes" },
        { "head 5 0\nhang", "", QN_EXECUTION_CRASHED, "a frame BATCH of 0 bytes" },
        { "head 3 1048577\nhang", "", QN_EXECUTION_CRASHED, "a frame LOG" },
        { "head 3 15\nhang", "", QN_EXECUTION_CRASHED, "a frame LOG of 15 bytes" },
        { "head 4 1\nhang", "", QN_EXECUTION_CRASHED, "a frame NEED of 1 bytes" },
        { "head 6 1\nhang", "", QN_EXECUTION_CRASHED, "a frame DONE of 1 bytes" },
        { "head 1 0\nhang", "", QN_EXECUTION_CRASHED, "before the start" },
        { "head 2 0\nhang", "", QN_EXECUTION_CRASHED, "before the start" },
        { "head 16 0\nhang", "", QN_EXECUTION_CRASHED, "unknown kind 16" },
        { "head 17 0\nhang", "", QN_EXECUTION_CRASHED, "unknown kind 17" },
        { "head 0 0\nhang", "", QN_EXECUTION_CRASHED, "unknown kind 0" },
        { "junkbatch 1\nhang", "", QN_EXECUTION_CRASHED, "broke the channel" },
        { "junkbatch 100000\nhang", "", QN_EXECUTION_CRASHED, "broke the channel" },
        { "nulls 3\ndone 0", "", QN_EXECUTION_CRASHED, "column \"id\": a null where none may be" },
        { "needs 1\nhang", "", QN_EXECUTION_CRASHED, "input after the end of it" }, /* there is no input */
        { "badlog\nhang", "", QN_EXECUTION_CRASHED, "unknown level" },
        { "done 4\nhang", "", QN_EXECUTION_CRASHED, "an end of an unknown kind" }, /* CHECKED */
        { "done 77\nhang", "", QN_EXECUTION_CRASHED, "an end of an unknown kind" },
        { "head 5 100", "", QN_EXECUTION_CRASHED, "exit status 0" }, /* torn, then the end */
        { "close\nhang", "", QN_EXECUTION_CRASHED, "SIGKILL" },
    };
    expect_endings(endings, sizeof endings / sizeof *endings);
}

/* A second DONE, and what comes after the first, is not looked at. */
static void done__counts_once(void **state)
{
    (void)state;
    struct qn_execution *execution = ended_with("rows 1\ndone 0\ndone 1 no\njunk 50\nrows 5", "");
    assert_int_equal(result_of(execution).status, QN_EXECUTION_OK);
    assert_int_equal(result_of(execution).rows_out, 1);
    qn_execution_free(execution);
}

static void need__is_answered_once_at_a_time(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("needs 200000\nhang", "", "");
    struct ArrowArrayStream stream = { 0 };
    numbers(8, 1 << 20, &stream); /* there is more than what the file holds */
    struct qn_execution *execution = begin_with(processor, &stream, NULL);
    (void)take_all(execution);
    struct qn_execution_result result = result_of(execution);
    assert_int_equal(result.status, QN_EXECUTION_CRASHED);
    expect_text(result.message, "asks for input");
    qn_execution_free(execution);
    qn_processor_free(processor);
}

static void log__is_made_valid_utf8(void **state)
{
    (void)state;
    struct qn_execution *execution = ended_with("badtext\ndone 0", "");
    struct qn_execution_log log;
    expect_log(execution, 0, "warn",
               "a\xEF\xBF\xBD\xEF\xBF\xBD"
               "b\xEF\xBF\xBD\xEF\xBF\xBD");
    assert_int_equal(qn_execution_log(execution, 0, &log, NULL), QN_OK);
    assert_int_equal(log.line, 0); /* past what a line can be */
    assert_int_equal(log.row, -1);
    assert_int_equal(qn_execution_log(execution, 1, &log, NULL), QN_ERR_ARGUMENT);
    assert_int_equal(qn_execution_log(execution, -1, &log, NULL), QN_ERR_ARGUMENT);
    qn_execution_free(execution);
}

static void log__that_was_dropped_is_counted(void **state)
{
    (void)state;
    struct qn_execution *execution = ended_with("info 123\ninfo 12345678901234567890\nhang", "\"log_limit\": 32");
    struct qn_execution_result result = result_of(execution);
    assert_int_equal(result.n_logs, 1);
    assert_int_equal(result.logs_dropped, 1);
    assert_int_equal(result.log_bytes, 3);
    qn_execution_free(execution);
}

static void deadline__kills_and_says_so(void **state)
{
    (void)state;
    static const char *const scripts[] = { "hang", "rows 1\nhang", "head 5 100\nhang", "info x\nhang" };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct qn_execution *execution = ended_with(scripts[i], "\"timeout\": 0.05");
        struct qn_execution_result result = result_of(execution);
        assert_int_equal(result.status, QN_EXECUTION_TIMED_OUT);
        expect_text(result.message, "longer than 0.05 s");
        assert_true(result.seconds >= 0.05);
        assert_true(result.seconds_killed > 0);
        qn_execution_free(execution);
    }
}

/* ---- the input's failures ---- */

struct broken_source {
    int calls;
    enum qn_status status;
};

static enum qn_status broken_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    (void)self;
    const struct qn_type type = qn_type_of(QN_TYPE_INT64);
    QN_TRY(qn_schema_struct(out, 1, err));
    return qn_schema_set(out, 0, "x", &type, err);
}

static enum qn_status broken_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct broken_source *source = self;
    (void)out;
    source->calls++;
    return qn_error_set(err, source->status, "the source broke");
}

static void broken_free(void *self)
{
    (void)self;
}

static void input__that_fails_is_the_error_of_the_next_calls(void **state)
{
    (void)state;
    static const struct qn_stream_ops ops = { broken_schema, broken_next, broken_free };
    struct broken_source source = { .status = QN_ERR_CONNECTION };
    struct qn_processor *processor = processor_of("count\ndone 0", "", "");
    struct ArrowArrayStream stream = { 0 };
    assert_int_equal(qn_stream_make(&ops, &source, &stream, NULL), QN_OK);
    struct qn_execution *execution = begin_with(processor, &stream, NULL);
    for (int i = 0; i < 2; i++) {
        struct qn_error err = QN_ERROR_INIT;
        struct ArrowArray batch = { 0 };
        assert_int_equal(qn_execution_next(execution, &batch, &err), QN_ERR_CONNECTION);
        assert_string_equal(err.message, "the source broke");
    }
    assert_int_equal(source.calls, 1);
    assert_int_equal(result_of(execution).status, QN_EXECUTION_FAILED);
    qn_execution_free(execution);
    qn_processor_free(processor);
}

static void input__that_breaks_its_schema_fails_the_execution(void **state)
{
    (void)state;
    static const struct {
        const char *input, *part;
        int64_t row;
    } cases[] = {
        { "\"input\": [{\"name\": \"x\", \"type\": \"Utf8\"}]", "field \"x\": expected Utf8, found Int64", -1 },
        { "\"input\": [{\"name\": \"y\", \"type\": \"Int64\"}]", "field \"y\": expected Int64, found no such field",
          -1 },
        { "\"input\": [{\"name\": \"x\", \"type\": \"Int64!\"}]", "row 3, field \"x\": expected Int64!, found null",
          3 },
        { "\"input\": [{\"name\": \"x\", \"type\": \"Int64\"}, {\"name\": \"y\", \"type\": \"Utf8\"}]",
          "field \"y\": expected Utf8, found no such field", -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_processor *processor = processor_of("count\ndone 0", "", cases[i].input);
        struct ArrowArrayStream stream = { 0 };
        numbers_with(2, 5, 3, &stream);
        struct qn_execution *execution = begin_with(processor, &stream, NULL);
        (void)take_all(execution);
        struct qn_execution_result result = result_of(execution);
        assert_int_equal(result.status, QN_EXECUTION_FAILED);
        expect_text(result.message, cases[i].part);
        assert_int_equal(result.row, cases[i].row);
        qn_execution_free(execution);
        qn_processor_free(processor);
    }
    count_rows(2, 5, "\"input\": [{\"name\": \"x\", \"type\": \"Int64!\"}]", "rows 10 messages 2 checkpoint 0");
}

/* ---- the caller's own ends ---- */

static int interrupted(void *context)
{
    (void)context;
    return 1;
}

static void interrupt__ends_the_run(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 1\nhang", "", "");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_array batch = { 0 };
    assert_int_equal(qn_execution_next(execution, &batch, &err), QN_OK);
    qn_array_release(&batch);
    qn_interrupt_set(interrupted, NULL);
    assert_int_equal(qn_execution_next(execution, &batch, &err), QN_ERR_CANCELLED);
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(result_of(execution).status, QN_EXECUTION_FAILED);
    assert_int_equal(qn_execution_next(execution, &batch, &err), QN_ERR_CANCELLED);
    qn_execution_free(execution);
    qn_processor_free(processor);
}

/* The source never ends, and the run never lets us wait. */
static enum qn_status endless_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct ArrowArrayStream one = { 0 };
    (void)self;
    numbers(1, 1000, &one);
    enum qn_status status = qn_stream_next(&one, out, err);
    qn_stream_release(&one);
    return status;
}

static void interrupt__ends_a_run_that_is_always_busy(void **state)
{
    (void)state;
    static const struct qn_stream_ops ops = { broken_schema, endless_next, broken_free };
    int unused = 0;
    struct qn_processor *processor = processor_of("count\ndone 0", "", "");
    struct ArrowArrayStream stream = { 0 };
    assert_int_equal(qn_stream_make(&ops, &unused, &stream, NULL), QN_OK);
    struct qn_execution *execution = begin_with(processor, &stream, NULL);
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowArray batch = { 0 };
    qn_interrupt_set(interrupted, NULL);
    assert_int_equal(qn_execution_next(execution, &batch, &err), QN_ERR_CANCELLED);
    qn_interrupt_set(NULL, NULL);
    qn_execution_free(execution);
    qn_processor_free(processor);
}

/* ---- failures of ours ---- */

static int64_t fault_at;

static size_t open_descriptors(void)
{
    size_t n = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        n++;
    }
    (void)closedir(folder);
    return n;
}

/* Make a processor, run it, take all. The first failure, or QN_OK; *execution_out may be NULL. */
static enum qn_status whole_run(const char *plan, struct qn_error *err)
{
    struct qn_processor *processor = NULL;
    QN_TRY(qn_processor_new(plan, strlen(plan), &processor, err));
    struct qn_execution *execution = NULL;
    struct ArrowArrayStream rows = { 0 };
    (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
    numbers(2, 3, &rows);
    struct ArrowArrayStream checkpoint = { 0 };
    numbers(1, 1, &checkpoint);
    struct qn_execution_options options = QN_EXECUTION_OPTIONS_INIT;
    options.checkpoint = &checkpoint;
    (void)qn_fault_arm(QN_FAULT_ALLOC, fault_at, QN_FAULT_ONCE);
    enum qn_status status = qn_execution_start(processor, &rows, &options, &execution, err);
    qn_processor_free(processor);
    if (status != QN_OK) {
        assert_non_null(rows.release); /* not taken over */
        qn_stream_release(&rows);
        qn_stream_release(&checkpoint);
        return status;
    }
    for (;;) {
        qn_auto_array batch = { 0 };
        status = qn_execution_next(execution, &batch, err);
        if (status != QN_OK || batch.release == NULL) {
            break;
        }
    }
    struct ArrowArrayStream last = { 0 };
    if (status == QN_OK) {
        status = qn_execution_checkpoint(execution, &last, err);
        qn_stream_release(&last);
    }
    qn_execution_free(execution);
    return status;
}

/* Whichever allocation fails, it is an error, and nothing is lost. */
static void memory__that_is_not_there_is_an_error(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    char *plan = plan_text("count\ninfo x\nrows 3\nrows 100\ndone 0", "", "\"checkpoint\": \"id\"");
    struct qn_error err = QN_ERROR_INIT;
    fault_at = 0;
    assert_int_equal(whole_run(plan, &err), QN_OK);
    size_t before = open_descriptors();
    bool all = false;
    for (fault_at = 1; !all; fault_at++) {
        (void)qn_fault_arm(QN_FAULT_ALLOC, fault_at, QN_FAULT_ONCE);
        struct qn_processor *processor = NULL;
        enum qn_status status = qn_processor_new(plan, strlen(plan), &processor, &err);
        all = qn_fault_count(QN_FAULT_ALLOC) < fault_at;
        assert_int_equal(status, all ? QN_OK : QN_ERR_NO_MEMORY);
        qn_processor_free(processor);
    }
    int failed = 0;
    for (fault_at = 1, all = false; !all; fault_at++) {
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        enum qn_status status = whole_run(plan, &err);
        all = qn_fault_count(QN_FAULT_ALLOC) < fault_at;
        if (status != QN_OK) {
            assert_int_equal(status, QN_ERR_NO_MEMORY);
            failed++;
        }
    }
    assert_true(failed > 50);
    fault_at = 0;
    (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
    assert_int_equal(whole_run(plan, &err), QN_OK);
    qn_processor_shutdown();
    assert_true(open_descriptors() <= before);
    free(plan);
}

/* Freed in the middle, after the first batch, at its end, before anything was asked. */
static void free__leaves_nothing(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 1\nrows 1\nhang", "", "");
    qn_execution_free(NULL);
    qn_processor_free(NULL);
    size_t before = 0;
    for (int i = 0; i < 12; i++) {
        struct ArrowArrayStream stream = { 0 };
        numbers(1, 3, &stream);
        struct qn_execution *execution = begin_with(processor, &stream, NULL);
        for (int taken = 0; taken < i % 3; taken++) {
            qn_auto_array batch = { 0 };
            assert_int_equal(qn_execution_next(execution, &batch, NULL), QN_OK);
        }
        qn_execution_free(execution);
        if (i == 5) {
            before = open_descriptors();
        }
    }
    assert_int_equal(open_descriptors(), before);
    qn_processor_free(processor);
}

/* A batch that was handed out outlives everything. */
static void batch__outlives_its_execution(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 3\ndone 0", "", "");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    struct ArrowArray batch = { 0 };
    assert_int_equal(qn_execution_next(execution, &batch, NULL), QN_OK);
    qn_execution_free(execution);
    qn_processor_free(processor);
    assert_int_equal(((const int64_t *)batch.children[0]->buffers[1])[batch.children[0]->offset + 2], 2);
    qn_array_release(&batch);
}

/* ---- checks ---- */

static void check__keeps_what_it_finds_out(void **state)
{
    (void)state;
    struct qn_processor *fine = processor_of("done 0", "", "");
    struct qn_statement_problem problem = QN_STATEMENT_PROBLEM_INIT;
    problem.line = 99;
    assert_int_equal(qn_processor_check(fine, &problem, NULL), QN_OK);
    assert_int_equal(problem.line, 0);
    qn_processor_free(fine);

    struct qn_processor *bad = processor_of("# check done 2 import of 'os' is not allowed", "", "");
    struct qn_error err = QN_ERROR_INIT;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(qn_processor_check(bad, &problem, &err), QN_ERR_QUERY);
        assert_int_equal(problem.line, 2);
        assert_int_equal(problem.column, 3);
        assert_string_equal(problem.message, "import of 'os' is not allowed");
        assert_string_equal(err.message, "statement.py: import of 'os' is not allowed");
    }
    struct qn_execution *execution = begin_with(bad, NULL, NULL);
    assert_int_equal(take_all(execution), 0);
    struct qn_execution_result result = result_of(execution);
    assert_int_equal(result.status, QN_EXECUTION_REJECTED);
    assert_string_equal(result.message, "import of 'os' is not allowed");
    assert_int_equal(result.line, 2);
    qn_execution_free(execution);
    qn_processor_free(bad);
}

/* As the engine does it, but with less time. */
static void check__at_its_deadline_says_what_to_do(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("# check hang", "", "");
    struct qn_execution *check = NULL;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn__execution_new(processor, &check, &err), QN_OK);
    check->check_only = true;
    check->time_left = 50000000;
    assert_int_equal(qn__execution_take_child(check, "", &err), QN_OK);
    assert_int_equal(qn__execution_begin(check, NULL, &err), QN_OK);
    assert_int_equal(qn__execution_tell(check, "", &err), QN_OK);
    assert_int_equal(qn__execution_pump(check, &err), QN_OK);
    struct qn_execution_result result = result_of(check);
    assert_int_equal(result.status, QN_EXECUTION_TIMED_OUT);
    expect_text(result.message, "compiling it takes longer than 30 s");
    expect_text(result.message, "give it large texts and tables as input");
    qn_execution_free(check);
    qn_processor_free(processor);
}

/* The parser itself may be the victim. */
static void check__that_crashes_is_a_problem_of_the_statement(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        enum qn_execution_status status;
        const char *part;
    } cases[] = { { "# check kill 11", QN_EXECUTION_CRASHED, "SIGSEGV" },
                  { "# check done 3", QN_EXECUTION_MEMORY, "memory" },
                  { "# check head 5 1", QN_EXECUTION_CRASHED, "" },
                  { "# check done 0", QN_EXECUTION_CRASHED, "unknown kind" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_processor *processor = processor_of(cases[i].script, "", "");
        struct qn_statement_problem problem = QN_STATEMENT_PROBLEM_INIT;
        assert_int_equal(qn_processor_check(processor, &problem, NULL), QN_ERR_QUERY);
        assert_true(problem.line > 0);
        expect_text(problem.message, cases[i].part);
        struct qn_execution *execution = begin_with(processor, NULL, NULL);
        assert_int_equal(result_of(execution).status, cases[i].status);
        qn_execution_free(execution);
        qn_processor_free(processor);
    }
}

/* ---- forked hosts ---- */

static void fork__leaves_the_runs_to_the_parent(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 1\nneeds 0\nrows 1\ndone 0", "", "");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        qn_auto_array batch = { 0 };
        struct qn_error err = QN_ERROR_INIT;
        bool refused = qn_execution_next(execution, &batch, &err) == QN_ERR_CLOSED;
        qn_execution_free(execution);
        struct qn_execution *own = NULL; /* it may have its own */
        bool starts = qn_execution_start(processor, NULL, NULL, &own, &err) == QN_OK;
        int64_t rows = 0;
        while (starts && qn_execution_next(own, &batch, &err) == QN_OK && batch.release != NULL) {
            rows += batch.length;
            qn_array_release(&batch);
        }
        qn_execution_free(own);
        qn_processor_free(processor);
        qn_processor_shutdown();
        _exit(refused && starts && rows == 2 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(take_all(execution), 2); /* the child has killed nothing */
    assert_int_equal(result_of(execution).status, QN_EXECUTION_OK);
    qn_execution_free(execution);
    qn_processor_free(processor);
}

static int end_of_group(void **state)
{
    (void)state;
    qn_processor_shutdown();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(execution__hands_out_batches_and_a_result),
        cmocka_unit_test(execution__without_rows_has_no_data),
        cmocka_unit_test(input__arrives_whole),
        cmocka_unit_test(input__of_more_than_the_first_file_is_asked_for),
        cmocka_unit_test(checkpoint__is_told),
        cmocka_unit_test(stream__gives_the_rows_or_the_failure),
        cmocka_unit_test(endings__are_told_apart),
        cmocka_unit_test(endings__of_runs_that_break_the_channel_are_crashes),
        cmocka_unit_test(done__counts_once),
        cmocka_unit_test(need__is_answered_once_at_a_time),
        cmocka_unit_test(log__is_made_valid_utf8),
        cmocka_unit_test(log__that_was_dropped_is_counted),
        cmocka_unit_test(deadline__kills_and_says_so),
        cmocka_unit_test(input__that_fails_is_the_error_of_the_next_calls),
        cmocka_unit_test(input__that_breaks_its_schema_fails_the_execution),
        cmocka_unit_test(interrupt__ends_the_run),
        cmocka_unit_test(interrupt__ends_a_run_that_is_always_busy),
        cmocka_unit_test(memory__that_is_not_there_is_an_error),
        cmocka_unit_test(free__leaves_nothing),
        cmocka_unit_test(batch__outlives_its_execution),
        cmocka_unit_test(check__keeps_what_it_finds_out),
        cmocka_unit_test(check__at_its_deadline_says_what_to_do),
        cmocka_unit_test(check__that_crashes_is_a_problem_of_the_statement),
        cmocka_unit_test(fork__leaves_the_runs_to_the_parent),
    };
    return cmocka_run_group_tests(tests, NULL, end_of_group);
}
