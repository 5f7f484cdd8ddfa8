/* The pool of interpreters: starts that fail, many threads at once, bounds, forks of the host. No interpreter is started:
 * fake_launcher.c. */
#include "processor/pool.h"

#include "run_fixture.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* Pids of the children of a process that has one thread; their number. */
static size_t children_of(pid_t pid, pid_t *out, size_t most)
{
    char path[64];
    char line[4096] = "";
    size_t n = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    if (file != NULL && fgets(line, sizeof line, file) != NULL) {
        for (char *at = strtok(line, " \n"); at != NULL && n < most; at = strtok(NULL, " \n")) {
            out[n++] = (pid_t)strtol(at, NULL, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return n;
}

/* Children of this process, whatever their state. */
static size_t child_processes(void)
{
    pid_t children[64];
    return children_of(getpid(), children, 64);
}

/* ---- starts that fail ---- */

static void start__that_fails_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        enum qn_status status;
        const char *part;
    } cases[] = {
        { "failed", QN_ERR_UNSUPPORTED, "the sandbox cannot be started: ImportError: numpy is broken" },
        { "silent", QN_ERR_UNSUPPORTED, "ImportError: no module named 'x' (exit status 3)" },
        { "crash", QN_ERR_UNSUPPORTED, "its process ended (signal 9)" },
        { "version", QN_ERR_CONFIG, "the worker of the runtime \"fake\" is of another release" },
        { "python", QN_ERR_CONFIG, "described as Python 3.11; its interpreter is 3.12" },
        { "unready", QN_ERR_UNSUPPORTED, "the sandbox of the run does not hold: seccomp: not there" },
        { "unforked", QN_ERR_IO, "a process for the run cannot be made: Resource temporarily unavailable" },
        { "stillborn", QN_ERR_IO,
          "no process for the run can be had: a run ended before it was ready (exit status 73: the interpreter "
          "could not go on after the fork)" },
        { "once", QN_ERR_IO, "no process for the run can be had: the interpreter ended before a run was ready" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_processor *processor = processor_of("done 0", cases[i].mode, "");
        struct qn_execution *execution = NULL;
        struct qn_error err = QN_ERROR_INIT;
        struct ArrowArrayStream rows = { 0 };
        numbers(1, 1, &rows);
        enum qn_status status = qn_execution_start(processor, &rows, NULL, &execution, &err);
        if (status != cases[i].status || strstr(err.message, cases[i].part) == NULL) {
            fail_msg("%s: %s: %s", cases[i].mode, qn_status_name(status), err.message);
        }
        assert_null(execution);
        assert_non_null(rows.release); /* still the caller's */
        qn_stream_release(&rows);
        qn_processor_free(processor);
    }
    qn_processor_shutdown();
    assert_int_equal(qn__pool_size(), 0);
    assert_int_equal(child_processes(), 0);
}

static void start__of_a_runtime_that_is_not_there_names_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *more, *part;
    } cases[] = {
        { "\"runtime\": {\"name\": \"standard\", \"python\": \"/nowhere/python\", \"worker\": \"/\", \"extension\": "
          "\"/bin/sh\", \"launcher\": \"/bin/sh\"}",
          "the runtime \"standard\" is broken: its interpreter /nowhere/python: No such file or directory" },
        { "\"runtime\": {\"name\": \"standard\", \"python\": \"/bin/sh\", \"worker\": \"/\", \"extension\": "
          "\"/nowhere/x.so\", \"launcher\": \"/bin/sh\"}",
          "its worker extension /nowhere/x.so" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_processor *processor = processor_of("done 0", "", cases[i].more);
        struct qn_error err = QN_ERROR_INIT;
        assert_int_equal(qn_processor_check(processor, NULL, &err), QN_ERR_CONFIG);
        expect_text(err.message, cases[i].part);
        expect_text(err.hint, "qanat runtime check standard");
        qn_processor_free(processor);
    }
}

/* More on standard error than a pipe holds. */
static void start__reads_what_the_interpreter_says(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 1\ndone 0", "noisy", "");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    assert_int_equal(take_all(execution), 1);
    qn_execution_free(execution);
    qn_processor_free(processor);
}

/* ---- interpreters that end ---- */

/* The process of one's only interpreter; a pidfd. */
static int only_interpreter(void)
{
    pid_t children[64];
    assert_int_equal(children_of(getpid(), children, 64), 1);
    int fd = (int)syscall(SYS_pidfd_open, children[0], 0);
    assert_true(fd >= 0);
    return fd;
}

static void wait_for_end(int pid_fd)
{
    struct pollfd entry = { .fd = pid_fd, .events = POLLIN };
    assert_int_equal(poll(&entry, 1, 60000), 1);
}

/* It ends itself when nobody asks for anything, and what stands ready with it; the next run does not notice. */
static void idle__interpreter_ends_and_is_replaced(void **state)
{
    (void)state;
    qn_processor_shutdown();
    struct qn_processor *processor = processor_of("rows 1\ndone 0", "idles", "\"allow\": [\"json\"]");
    for (int i = 0; i < 5; i++) {
        struct qn_execution *execution = begin_with(processor, NULL, NULL);
        assert_int_equal(take_all(execution), 1);
        struct qn_execution_result result;
        qn_execution_result(execution, &result);
        assert_int_equal(result.status, QN_EXECUTION_OK);
        qn_execution_free(execution);
        assert_int_equal(qn__pool_size(), 1);
        int pid_fd = only_interpreter();
        wait_for_end(pid_fd);
        (void)close(pid_fd);
    }
    qn_processor_free(processor);
    qn_processor_shutdown();
}

/* Longer than an interpreter without work stays. */
static void idle__interpreter_stays_for_a_run(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 1\nhang", "idles", "\"allow\": [\"json\"], \"timeout\": 0.5");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    (void)take_all(execution);
    struct qn_execution_result result;
    qn_execution_result(execution, &result);
    assert_int_equal(result.status, QN_EXECUTION_TIMED_OUT);
    qn_execution_free(execution);
    qn_processor_free(processor);
    qn_processor_shutdown();
}

/* A source that ends our interpreter when it is asked for rows: the process has been taken, and was told nothing yet. */
struct killing_source {
    struct ArrowArrayStream inner;
    int times;
};

static int killing_schema(struct ArrowArrayStream *self, struct ArrowSchema *out)
{
    struct killing_source *source = self->private_data;
    return source->inner.get_schema(&source->inner, out);
}

static int killing_next(struct ArrowArrayStream *self, struct ArrowArray *out)
{
    struct killing_source *source = self->private_data;
    if (source->times-- > 0) {
        int pid_fd = only_interpreter();
        assert_int_equal(syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0), 0);
        wait_for_end(pid_fd);
        (void)close(pid_fd);
    }
    return source->inner.get_next(&source->inner, out);
}

static const char *killing_error(struct ArrowArrayStream *self)
{
    (void)self;
    return NULL;
}

static void killing_release(struct ArrowArrayStream *self)
{
    struct killing_source *source = self->private_data;
    qn_stream_release(&source->inner);
    self->release = NULL;
}

static void run__outlives_an_interpreter_that_ends_before_it_began(void **state)
{
    (void)state;
    qn_processor_shutdown();
    struct qn_processor *processor = processor_of("count\nrows 2\ndone 0", "", "\"allow\": [\"json\"]");
    struct killing_source source = { .times = 1 };
    numbers(1, 1, &source.inner);
    struct ArrowArrayStream rows = { .get_schema = killing_schema,
                                     .get_next = killing_next,
                                     .get_last_error = killing_error,
                                     .release = killing_release,
                                     .private_data = &source };
    struct qn_execution *execution = begin_with(processor, &rows, NULL);
    assert_int_equal(take_all(execution), 2);
    struct qn_execution_result result;
    qn_execution_result(execution, &result);
    if (result.status != QN_EXECUTION_OK) {
        fail_msg("%s: %s", qn_execution_status_name(result.status), result.message);
    }
    struct qn_execution_log entry;
    assert_int_equal(qn_execution_log(execution, 0, &entry, NULL), QN_OK);
    assert_string_equal(entry.message, "rows 1 messages 1 checkpoint 0"); /* the input was not lost either */
    qn_execution_free(execution);
    qn_processor_free(processor);
    qn_processor_shutdown();
}

/* ---- many at once ---- */

#define N_THREADS  64
#define N_RUNS     20
#define N_VARIANTS 3

static struct qn_processor *shared[N_VARIANTS];

static void *run_many(void *context)
{
    size_t which = (size_t)(uintptr_t)context % N_VARIANTS;
    for (int i = 0; i < N_RUNS; i++) {
        struct qn_execution *execution = NULL;
        struct qn_error err = QN_ERROR_INIT;
        int64_t rows = 0;
        if (qn_execution_start(shared[which], NULL, NULL, &execution, &err) != QN_OK) {
            return strdup(err.message);
        }
        for (;;) {
            qn_auto_array batch = { 0 };
            if (qn_execution_next(execution, &batch, &err) != QN_OK) {
                return strdup(err.message);
            }
            if (batch.release == NULL) {
                break;
            }
            rows += batch.length;
        }
        struct qn_execution_result result;
        qn_execution_result(execution, &result);
        char *wrong = result.status == QN_EXECUTION_OK && rows == 2 ? NULL : strdup(result.message);
        qn_execution_free(execution);
        if (wrong != NULL) {
            return wrong;
        }
    }
    return NULL;
}

/* 64 threads over three interpreters, two of which differ in their allow list only; nothing is left afterwards. */
static void pool__serves_64_threads(void **state)
{
    (void)state;
    static const char *const more[N_VARIANTS] = { "", "\"allow\": [\"json\"]", "\"memory\": 10000000" };
    qn_processor_shutdown();
    size_t before = open_descriptors();
    for (size_t i = 0; i < N_VARIANTS; i++) {
        shared[i] = processor_of("info x\nrows 2\ndone 0", "", more[i]);
    }
    pthread_t threads[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, (void *)(uintptr_t)i), 0);
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        if (wrong != NULL) {
            fail_msg("%s", (char *)wrong);
        }
    }
    /* For each allow list one that checks, and one that has imported what the runs import (pandas, numpy); for the list of
     * json alone they are the same. */
    assert_int_equal(qn__pool_size(), 3);
    for (size_t i = 0; i < N_VARIANTS; i++) {
        qn_processor_free(shared[i]);
    }
    qn_processor_shutdown();
    assert_int_equal(qn__pool_size(), 0);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(child_processes(), 0);
}

/* Ended under the hands of runs: those go on. */
static void shutdown__lets_runs_go_on(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 1\nrows 1\nrows 1\ndone 0", "", "");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    qn_processor_shutdown();
    assert_int_equal(qn__pool_size(), 1); /* the one in use */
    struct qn_execution *next = begin_with(processor, NULL, NULL);
    assert_int_equal(qn__pool_size(), 2);
    assert_int_equal(take_all(execution), 3);
    qn_execution_free(execution);
    assert_int_equal(qn__pool_size(), 1);
    assert_int_equal(take_all(next), 3);
    qn_execution_free(next);
    qn_processor_free(processor);
    qn_processor_shutdown();
    assert_int_equal(child_processes(), 0);
}

static void pool__ends_idle_ones_beyond_its_maximum(void **state)
{
    (void)state;
    qn_processor_shutdown();
    for (int i = 0; i < QN_POOL_MAX_ZYGOTES + 4; i++) {
        char more[64];
        (void)snprintf(more, sizeof more, "\"allow\": [\"m%d\"]", i);
        struct qn_processor *processor = processor_of("rows 1\ndone 0", "", more);
        struct qn_execution *execution = begin_with(processor, NULL, NULL);
        assert_int_equal(take_all(execution), 1);
        qn_execution_free(execution);
        qn_processor_free(processor);
        assert_true(qn__pool_size() <= QN_POOL_MAX_ZYGOTES);
        assert_int_equal(child_processes(), qn__pool_size());
    }
    qn_processor_shutdown();
}

/* What the parent has is the parent's: the child's copies of control sockets are closed, its shutdown ends nothing. */
static void fork__has_a_pool_of_its_own(void **state)
{
    (void)state;
    struct qn_processor *processor = processor_of("rows 1\ndone 0", "", "");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    (void)take_all(execution);
    qn_execution_free(execution);
    size_t parents = qn__pool_size();
    assert_true(parents > 0);
    size_t descriptors = open_descriptors();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool empty = qn__pool_size() == 0 && open_descriptors() < descriptors && child_processes() == 0;
        qn_processor_shutdown();
        _exit(empty ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(qn__pool_size(), parents);
    execution = begin_with(processor, NULL, NULL); /* its shutdown was its own */
    assert_int_equal(take_all(execution), 1);
    qn_execution_free(execution);
    qn_processor_free(processor);
    qn_processor_shutdown();
}

static _Noreturn void be_host(int ready_fd)
{
    struct qn_processor *processor = processor_of("rows 1\nhang", "", "");
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    qn_auto_array batch = { 0 };
    if (qn_execution_next(execution, &batch, NULL) == QN_OK && batch.length == 1) {
        (void)!write(ready_fd, "x", 1);
    }
    for (;;) {
        (void)pause();
    }
}

/* A host that dies in the middle of a run takes its interpreters and their runs with it. */
static void host__that_is_killed_leaves_nothing(void **state)
{
    (void)state;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t host = fork();
    assert_true(host >= 0);
    if (host == 0) {
        (void)close(ready[0]);
        be_host(ready[1]);
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    pid_t left[64];
    size_t n = children_of(host, left, 8);
    assert_true(n > 0);
    size_t zygotes = n;
    for (size_t i = 0; i < zygotes; i++) {
        n += children_of(left[i], left + n, 64 - n);
    }
    assert_true(n > zygotes); /* the run, and those that stand ready */
    int pid_fds[64];
    for (size_t i = 0; i < n; i++) {
        pid_fds[i] = (int)syscall(SYS_pidfd_open, left[i], 0);
        assert_true(pid_fds[i] >= 0);
    }
    assert_int_equal(kill(host, SIGKILL), 0);
    assert_int_equal(waitpid(host, NULL, 0), host);
    for (size_t i = 0; i < n; i++) {
        struct pollfd entry = { .fd = pid_fds[i], .events = POLLIN };
        assert_int_equal(poll(&entry, 1, 60000), 1); /* it has ended */
        (void)close(pid_fds[i]);
    }
    (void)close(ready[0]);
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
        cmocka_unit_test(start__that_fails_says_why),
        cmocka_unit_test(start__of_a_runtime_that_is_not_there_names_the_file),
        cmocka_unit_test(start__reads_what_the_interpreter_says),
        cmocka_unit_test(idle__interpreter_ends_and_is_replaced),
        cmocka_unit_test(idle__interpreter_stays_for_a_run),
        cmocka_unit_test(run__outlives_an_interpreter_that_ends_before_it_began),
        cmocka_unit_test(pool__serves_64_threads),
        cmocka_unit_test(shutdown__lets_runs_go_on),
        cmocka_unit_test(pool__ends_idle_ones_beyond_its_maximum),
        cmocka_unit_test(fork__has_a_pool_of_its_own),
        cmocka_unit_test(host__that_is_killed_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, end_of_group);
}
