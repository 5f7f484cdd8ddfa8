/*
 * test_ipc.c: connectors in processes of their own, through the core: good ones, and every kind of bad one.
 * usage: test_ipc PYTHON HOSTILE_CONNECTOR
 */
#include "fixture.h"

#include "base/buffer.h"
#include "connector/connector_private.h"
#include "connector/launch.h"
#include "os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <qanat/qanat.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCHES       5
#define ROWS_EACH     4
#define ROWS          (BATCHES * ROWS_EACH)
#define MAX_PROCESSES 64

static const char *python, *script;
static char folder[] = "/tmp/qanat-test-ipc-XXXXXX";
static char messages_path[64], huge_path[64], tries_path[64];

static const struct qn_location good = { sizeof good, "good", true, "parquet", "", -1 };
static const struct qn_location bad = { sizeof bad, "bad", true, "parquet", "", -1 };

/* ---- what the processes say ---- */

static struct {
    pthread_mutex_t lock;
    pid_t started[MAX_PROCESSES];
    int n_started;
    int forked; /* a pidfd of what one of them forked; -1: none */
} heard = { .lock = PTHREAD_MUTEX_INITIALIZER, .forked = -1 };

static void hear(void *context, const char *level, const char *text)
{
    long pid;
    (void)context;
    if (qn_text_equal(level, "stderr") && sscanf(text, "pid %ld", &pid) == 1) {
        pthread_mutex_lock(&heard.lock);
        assert_true(heard.n_started < MAX_PROCESSES);
        heard.started[heard.n_started++] = (pid_t)pid;
        pthread_mutex_unlock(&heard.lock);
    } else if (sscanf(text, "forked %ld", &pid) == 1) {
        heard.forked = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
        assert_true(heard.forked >= 0);
    }
}

/* Whatever was started, and what that forked, is gone. What was forked may wait to be reaped by another than us. */
static void assert_nothing_left(void)
{
    for (int i = 0; i < heard.n_started; i++) {
        assert_int_equal(kill(heard.forked >= 0 ? heard.started[i] : -heard.started[i], 0), -1);
        assert_int_equal(errno, ESRCH);
    }
    if (heard.forked >= 0) {
        struct pollfd ended = { .fd = heard.forked, .events = POLLIN };
        assert_int_equal(poll(&ended, 1, 20000), 1);
        close(heard.forked);
        heard.forked = -1;
    }
}

static struct qn_connector *opened_as(const char *mode, const char *more, double timeout, int processes)
{
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector = NULL;
    char uri[512];
    heard.n_started = 0;
    (void)snprintf(uri, sizeof uri, "ipc::%s -S -E '%s' %s %s %s", python, script, mode, messages_path, more);
    options.name = "acme";
    options.allow_external_code = true;
    options.timeout = timeout;
    options.processes = processes;
    options.retries = -1;
    options.events.log = hear;
    ok(qn_connector_open(uri, &options, &connector, &error));
    return connector;
}

/* ---- use ---- */

static enum qn_status ignore_location(void *context, const struct qn_location *location, struct qn_error *err)
{
    (void)location;
    (void)err;
    ++*(int *)context;
    return QN_OK;
}

static enum qn_status discover(struct qn_connector *connector, int *n_out)
{
    *n_out = 0;
    return qn_connector_discover(connector, NULL, 0, ignore_location, n_out, &error);
}

/* Read the data of a location to its end or failure; ids must count up from 0. */
static enum qn_status read_all(struct qn_connector *connector, const struct qn_location *location, int64_t *rows_out)
{
    qn_auto_stream stream = { 0 };
    *rows_out = 0;
    QN_TRY(qn_connector_data(connector, location, NULL, &stream, &error));
    return read_numbers(&stream, 0, rows_out);
}

static void gives_its_rows(struct qn_connector *connector)
{
    int64_t rows;
    assert_int_equal(read_all(connector, &good, &rows), QN_OK);
    assert_int_equal(rows, ROWS);
}

static void good_connectors__serve_from_processes_that_are_kept(void **state)
{
    (void)state;
    static const char *const modes[] = { "v1_good", "good" };
    for (int i = 0; i < 2; i++) {
        struct qn_connector *connector = opened_as(modes[i], "", 30, 4);
        int n;
        char *text;
        bool can;
        assert_int_equal(heard.n_started, 0); /* the first call starts one */
        ok(discover(connector, &n));
        assert_int_equal(n, 4);
        gives_its_rows(connector);
        static const char *const odd_names[] = { "../up", "two\nlines", "\"\\", "\xc3\xa4" };
        for (int j = 0; j < 4; j++) {
            struct qn_location odd = good;
            int64_t rows;
            odd.location = odd_names[j];
            assert_int_equal(read_all(connector, &odd, &rows), QN_OK);
            assert_int_equal(rows, ROWS);
        }
        ok(qn_connector_stable_url(connector, &good, &text, &error));
        assert_null(text);
        ok(qn_connector_can(connector, QN_CAN_RESUME, &can, &error));
        assert_int_equal(can, i == 1);
        ok(qn_connector_describe(connector, &text, &error));
        assert_string_equal(
            text, i == 0 ? "{\"name\":\"acme\",\"arguments\":null,\"capabilities\":[],\"protocol\":1}"
                         : "{\"name\":\"hostile\",\"arguments\":{},\"capabilities\":[\"pages\",\"stable_order\"],"
                           "\"protocol\":2}");
        qn_text_free(text);
        qn_connector_free(connector);
        assert_int_equal(heard.n_started, 1);
        assert_nothing_left();
    }
}

static void data__that_is_let_go_of_early_is_cancelled(void **state)
{
    (void)state;
    static const char *const modes[] = { "v1_good", "good" };
    for (int i = 0; i < 2; i++) {
        struct qn_connector *connector = opened_as(modes[i], "", 30, 1);
        struct ArrowArrayStream stream = { 0 };
        ok(qn_connector_data(connector, &good, NULL, &stream, &error));
        qn_stream_release(&stream);
        gives_its_rows(connector);
        struct ArrowArrayStream none = { 0 };
        ok(qn_connector_data(connector, &good, NULL, &stream, &error));
        refused(qn_connector_data(connector, &good, NULL, &none, &error), QN_ERR_BUSY,
                "connector \"acme\": location \"good\": its 1 process is in the middle of data that this thread reads");
        qn_connector_free(connector);
        assert_nothing_left();
        struct ArrowArray batch;
        refused(qn_stream_next(&stream, &batch, &error), QN_ERR_CLOSED, "connector \"acme\" was closed");
        qn_stream_release(&stream);
    }
}

/* ---- faults ---- */

struct fault {
    const char *mode;
    double timeout;
    enum { IN_DISCOVER, IN_CAN, IN_DATA, IN_URL } where;
    enum qn_status status;
    const char *message; /* after connector and location */
    const char *detail;  /* a part of it */
};

static const struct fault faults[] = {
    { "exits", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "the process ended with status 3: it ended its output", "no key" },
    { "killed", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "the process was ended by signal 9", "pid" },
    { "garbage", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "a message is not JSON", "pid" },
    { "hangs_in_handshake", 0.6, IN_DISCOVER, QN_ERR_TIMEOUT, "it gave no sign of life for 0.6 s", "pid" },
    { "hangs_in_discover", 0.6, IN_DISCOVER, QN_ERR_TIMEOUT, "it gave no sign of life for 0.6 s", "pid" },
    { "endless_line", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "a line is longer than 67108864 bytes", "pid" },
    { "duplicates", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "location \"two?lines\" is there more than once", "" },
    { "no_list", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "is not {\"locations\": [...]}", "asked for all" },
    { "no_name", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "a location has no \"location\"", "asked for all" },
    { "huge_name", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "is longer than 65536 bytes", "asked for all" },
    { "wrong_id", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "a reply to request 7 in place of 2", "pid" },
    { "deep", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "nested deeper than 64 levels", "pid" },
    { "closes_stdin", 30, IN_DISCOVER, QN_ERR_CONNECTOR, "it no longer reads", "pid" },
    { "hangs_in_describe", 0.6, IN_CAN, QN_ERR_TIMEOUT, "it gave no sign of life for 0.6 s", "pid" },
    { "hangs_in_stable_url", 0.6, IN_URL, QN_ERR_TIMEOUT, "it gave no sign of life for 0.6 s", "asked for bad" },
    { "ignores_term", 0.6, IN_URL, QN_ERR_TIMEOUT, "it gave no sign of life for 0.6 s", "asked for bad" },
    { "bad_url", 30, IN_URL, QN_ERR_CONNECTOR, "is neither null nor {\"url\": text}", "asked for bad" },
    { "hangs_before_data", 0.6, IN_DATA, QN_ERR_TIMEOUT, "it gave no sign of life for 0.6 s", "let me think" },
    { "hangs_in_data", 0.6, IN_DATA, QN_ERR_TIMEOUT, "it gave no sign of life for 0.6 s", "asked for bad" },
    { "prints", 30, IN_DATA, QN_ERR_CONNECTOR, "hello, world", "asked for bad" },
    { "raises", 30, IN_DATA, QN_ERR_CONNECTOR, "no such city: Atlantis", "Traceback: it is in there" },
    { "fails_late", 30, IN_DATA, QN_ERR_CONNECTOR, "the source is gone", "asked for bad" },
    { "segfaults", 30, IN_DATA, QN_ERR_CONNECTOR, "the process was ended by signal 11", "about to fall" },
    { "not_ok", 30, IN_DATA, QN_ERR_CONNECTOR, "is not {\"ok\": true}", "asked for bad" },
    { "no_reply_but_end", 30, IN_DATA, QN_ERR_CONNECTOR, "the process ended with status 0", "asked for bad" },
    { "dies_in_chunk", 30, IN_DATA, QN_ERR_CONNECTOR, "the process ended with status 7", "out of something" },
    { "no_end", 30, IN_DATA, QN_ERR_CONNECTOR, "the process ended with status 7", "forgot the end" },
    { "second_schema", 30, IN_DATA, QN_ERR_CONNECTOR, "malformed message: it is no batch", "asked for bad" },
    { "five_gib", 30, IN_DATA, QN_ERR_CONNECTOR, "larger than the limit of 2147483648 bytes", "asked for bad" },
    { "big_message", 30, IN_DATA, QN_ERR_CONNECTOR, "a message of 16777217 bytes: at most 16777216", "asked for bad" },
    { "strange_kind", 30, IN_DATA, QN_ERR_CONNECTOR, "a message of the unknown kind 9", "asked for bad" },
    { "slot_without_ring", 30, IN_DATA, QN_ERR_CONNECTOR, "a slot of a ring that was not agreed on", "asked for bad" },
    { "wrong_rows", 30, IN_DATA, QN_ERR_CONNECTOR, "it sent 1 rows in 5 batches; 20 in 5 came", "asked for bad" },
    { "v1_dies_in_frame", 30, IN_DATA, QN_ERR_CONNECTOR, "it ended in the middle of its data", "out of something" },
    { "v1_hangs_in_frame", 0.6, IN_DATA, QN_ERR_TIMEOUT, "it gave no sign of life for 0.6 s", "asked for bad" },
    { "v1_announces_much", 30, IN_DATA, QN_ERR_CONNECTOR, "it ended in the middle of its data", "that was all" },
    { "v1_longer", 30, IN_DATA, QN_ERR_CONNECTOR, "bytes follow the end of the Arrow stream", "asked for bad" },
    { "v1_shorter", 30, IN_DATA, QN_ERR_CONNECTOR, "the data ended in the middle of a message", "asked for bad" },
    { "v1_truncated", 30, IN_DATA, QN_ERR_CONNECTOR, "the data ended in the middle of a message", "asked for bad" },
    { "v1_corrupt", 30, IN_DATA, QN_ERR_CONNECTOR, "Arrow IPC", "asked for bad" },
    { "v1_no_arrow", 30, IN_DATA, QN_ERR_CONNECTOR, "Arrow IPC", "asked for bad" },
};

static enum qn_status provoke(struct qn_connector *connector, const struct fault *fault)
{
    int n;
    int64_t rows;
    char *url = NULL;
    bool can;
    error = (struct qn_error)QN_ERROR_INIT;
    return fault->where == IN_DISCOVER ? discover(connector, &n)
           : fault->where == IN_CAN    ? qn_connector_can(connector, QN_CAN_RESUME, &can, &error)
           : fault->where == IN_DATA   ? read_all(connector, &bad, &rows)
                                       : qn_connector_stable_url(connector, &bad, &url, &error);
}

/* trace: C26 C28 */
static void faults__are_typed_and_stay_with_their_location(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const struct fault *fault = &faults[i];
        struct qn_connector *connector = opened_as(fault->mode, huge_path, fault->timeout, 2);
        const char *prefix = fault->where <= IN_CAN ? "connector \"acme\": " : "connector \"acme\": location \"bad\": ";
        enum qn_status status = provoke(connector, fault);
        if (status != fault->status || error.status != status || strncmp(error.message, prefix, strlen(prefix)) != 0 ||
            strstr(error.message, fault->message) == NULL || strstr(error.detail, fault->detail) == NULL ||
            strchr(error.message, '\n') != NULL) {
            fail_msg("%s: status %s, message \"%s\", detail \"%s\"", fault->mode, qn_status_name(status), error.message,
                     error.detail);
        }
        if (status == QN_ERR_TIMEOUT) {
            assert_non_null(strstr(error.hint, "a longer timeout"));
        }
        if (qn_text_equal(fault->mode, "five_gib")) {
            assert_non_null(strstr(error.hint, "smaller batches"));
        }
        if (fault->where > IN_CAN) {
            gives_its_rows(connector); /* the others are as good as ever */
        }
        qn_connector_free(connector);
        assert_nothing_left();
    }
}

/* It works for a second before it answers, without a word. */
static void starts__may_take_longer_than_calls(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_as("starts_slowly", "", 0.4, 1);
    gives_its_rows(connector);
    assert_int_equal(heard.n_started, 1);
    qn_connector_free(connector);
    assert_nothing_left();
}

static void limits__say_what_the_way_out_is(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_as("endless_line", "", 30, 1);
    int n;
    assert_int_equal(discover(connector, &n), QN_ERR_CONNECTOR);
    assert_non_null(strstr(error.hint, "pages"));
    assert_int_equal(n, 0);
    qn_connector_free(connector);
    connector = opened_as("no_stable_url", "", 30, 1);
    char *url;
    ok(qn_connector_stable_url(connector, &good, &url, &error)); /* a method that it need not have */
    assert_null(url);
    qn_connector_free(connector);
    connector = opened_as("rate_limited", "", 30, 1);
    int64_t rows;
    assert_int_equal(read_all(connector, &bad, &rows), QN_ERR_CONNECTOR);
    assert_true(error.retryable);
    assert_int_equal(error.retry_after_ms, 3600000);
    qn_connector_free(connector);
    assert_nothing_left();
}

static void pages__are_read_one_after_the_other(void **state)
{
    (void)state;
    const char *torture = getenv("QANAT_TORTURE");
    const char *pages = torture != NULL && qn_text_equal(torture, "1") ? "10000" : "50"; /* of a thousand */
    struct qn_connector *connector;
    int n;
    bool can;
    setenv("QANAT_TEST_PAGES", pages, 1);
    connector = opened_as("pages", "", 60, 2);
    ok(qn_connector_can(connector, QN_CAN_DISCOVER_MUCH, &can, &error));
    assert_true(can);
    ok(discover(connector, &n));
    assert_int_equal(n, 1000 * atoi(pages));
    assert_int_equal(heard.n_started, 1);
    qn_connector_free(connector);
    connector = opened_as("repeats_in_pages", "", 60, 2);
    assert_int_equal(discover(connector, &n), QN_ERR_CONNECTOR);
    assert_non_null(strstr(error.message, "location \"again\" is there more than once"));
    assert_int_equal(n, 1999);
    qn_connector_free(connector);
    unsetenv("QANAT_TEST_PAGES");
    assert_nothing_left();
}

static void endings__are_enforced(void **state)
{
    (void)state;
    static const char *const modes[] = { "forks", "ignores_the_end" };
    for (int i = 0; i < 2; i++) {
        struct qn_connector *connector = opened_as(modes[i], "", 30, 1);
        gives_its_rows(connector);
        assert_int_equal(kill(-heard.started[0], 0), 0);
        qn_connector_free(connector);
        assert_int_equal(heard.n_started, 1);
        assert_nothing_left();
    }
}

/* One that fell while nobody spoke to it is replaced without a word. */
static void processes__that_ended_while_idle_are_replaced(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_as("good", "", 30, 1);
    gives_its_rows(connector);
    assert_int_equal(kill(heard.started[0], SIGKILL), 0);
    siginfo_t how;
    assert_int_equal(waitid(P_PID, (id_t)heard.started[0], &how, WEXITED | WNOWAIT), 0);
    gives_its_rows(connector);
    assert_int_equal(heard.n_started, 2);
    qn_connector_free(connector);
    assert_nothing_left();
}

/* The first is replaced at once, the next ones after pauses of 50 and 100 ms. */
static void processes__that_keep_falling_are_started_more_slowly(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_as("exits", "", 30, 4);
    int n;
    int64_t begin = qn_clock_nanos();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(discover(connector, &n), QN_ERR_CONNECTOR);
    }
    assert_true(qn_clock_nanos() - begin >= INT64_C(150000000));
    assert_int_equal(heard.n_started, 4);
    qn_connector_free(connector);
    assert_nothing_left();
}

static int interrupt_once_started(void *context)
{
    (void)context;
    return heard.n_started > 0;
}

static void calls__that_wait_can_be_interrupted(void **state)
{
    (void)state;
    static const char *const modes[] = { "hangs_in_discover", "hangs_before_data" };
    for (int i = 0; i < 2; i++) {
        struct qn_connector *connector = opened_as(modes[i], "", 300, 1);
        int n;
        int64_t rows;
        qn_interrupt_set(interrupt_once_started, NULL);
        assert_int_equal(i == 0 ? discover(connector, &n) : read_all(connector, &bad, &rows), QN_ERR_CANCELLED);
        qn_interrupt_set(NULL, NULL);
        assert_non_null(strstr(error.message, "interrupted"));
        qn_connector_free(connector);
        assert_nothing_left();
    }
}

/* ---- resuming ---- */

/* trace: B2 */
static void data__goes_on_where_it_was_broken(void **state)
{
    (void)state;
    static const char *const modes[] = { "breaks_at_every_batch", "killed_at_every_batch" };
    for (int i = 0; i < 2; i++) {
        struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
        struct qn_connector *connector = NULL;
        int64_t rows;
        char uri[512];
        heard.n_started = 0;
        int tries = open(tries_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(tries >= 0);
        close(tries);
        (void)snprintf(uri, sizeof uri, "ipc::%s -S -E '%s' %s %s %s", python, script, modes[i], messages_path,
                       tries_path);
        options.allow_external_code = true;
        options.events.log = hear;
        options.retries = 1; /* of each break */
        ok(qn_connector_open(uri, &options, &connector, &error));
        assert_int_equal(read_all(connector, &good, &rows), QN_OK);
        assert_int_equal(rows, ROWS);
        struct stat made;
        assert_int_equal(stat(tries_path, &made), 0);
        assert_int_equal(made.st_size, BATCHES);
        assert_int_equal(heard.n_started, i == 0 ? 1 : BATCHES);
        qn_connector_free(connector);
        assert_nothing_left();
    }
}

/* ---- several at once ---- */

struct reader {
    pthread_t thread;
    struct qn_connector *connector;
    const struct qn_location *location;
    bool right;
};

static void *read_many(void *context)
{
    struct reader *reader = context;
    reader->right = true;
    for (int i = 0; i < 5; i++) {
        struct ArrowArrayStream stream = { 0 };
        struct qn_error err = QN_ERROR_INIT;
        enum qn_status status = qn_connector_data(reader->connector, reader->location, NULL, &stream, &err);
        int64_t rows = 0;
        while (status == QN_OK) {
            qn_auto_array batch = { 0 };
            status = qn_stream_next(&stream, &batch, &err);
            if (batch.release == NULL) {
                break;
            }
            rows += batch.length;
        }
        bool well = reader->location == &good ? status == QN_OK && rows == ROWS : status == QN_ERR_CONNECTOR;
        reader->right = reader->right && well;
        qn_stream_release(&stream);
    }
    return NULL;
}

/* trace: C26 */
static void threads__share_processes_and_not_their_failures(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_as("segfaults", "", 30, 3);
    struct reader readers[8];
    for (int i = 0; i < 8; i++) {
        readers[i] = (struct reader){ .connector = connector, .location = i == 0 ? &bad : &good };
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_many, &readers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
        assert_true(readers[i].right);
    }
    assert_true(heard.n_started >= 5 && heard.n_started <= 8); /* five fell; three at a time */
    qn_connector_free(connector);
    assert_nothing_left();
}

/* ---- command lines ---- */

static void put_file(const char *name, const char *text, int mode)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, mode);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
}

static void words_are(struct qn_launch *launch, const char *wanted)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    for (int i = 0; i < launch->n; i++) {
        size_t own = strlen(folder);
        bool below = strncmp(launch->argv[i], folder, own) == 0;
        qn_buffer_printf(&text, "%s%s%s", i > 0 ? "|" : "", below ? "F" : "", launch->argv[i] + (below ? own : 0));
    }
    assert_string_equal(qn_buffer_text(&text), wanted);
    assert_null(launch->argv[launch->n]);
    qn_launch_dispose(launch);
}

static void command_lines__find_their_files(void **state)
{
    (void)state;
    struct qn_launch launch;
    put_file("conn.py", "", 0600);
    put_file("tool", "", 0700);
    put_file("x.jar", "", 0600);
    put_file("java", "#!/bin/sh\n", 0700);
    ok(qn_launch_ipc("conn.py --fast 'a b'", folder, "sh -e", &launch, &error));
    words_are(&launch, "sh|-e|F/conn.py|--fast|a b");
    ok(qn_launch_ipc("sh -u conn.py conn.py", folder, NULL, &launch, &error));
    words_are(&launch, "sh|-u|F/conn.py|conn.py");
    ok(qn_launch_ipc("./tool x", folder, NULL, &launch, &error));
    words_are(&launch, "F/./tool|x");
    refused(qn_launch_ipc("gone.py", folder, "sh", &launch, &error), QN_ERR_CONFIG, "/gone.py\" was not found");
    refused(qn_launch_ipc("./gone", folder, NULL, &launch, &error), QN_ERR_CONFIG, "/./gone\" was not found");
    refused(qn_launch_ipc("conn.py", folder, "gone-interpreter", &launch, &error), QN_ERR_CONFIG,
            "program \"gone-interpreter\" was not found on PATH");
    refused(qn_launch_ipc("gone-program x", folder, NULL, &launch, &error), QN_ERR_CONFIG,
            "program \"gone-program\" was not found on PATH");
    refused(qn_launch_ipc("'x", folder, NULL, &launch, &error), QN_ERR_CONFIG, "has no end");
    char *path = strdup(getenv("PATH"));
    setenv("PATH", folder, 1);
    ok(qn_launch_java("x.jar -v", folder, &launch, &error));
    words_are(&launch, "java|-jar|F/x.jar|-v");
    refused(qn_launch_java("y.jar", folder, &launch, &error), QN_ERR_CONFIG, "jar \"");
    refused(qn_launch_docker("acme/weather:1.2", &launch, &error), QN_ERR_CONFIG,
            "program \"docker\" was not found on PATH");
    assert_non_null(strstr(error.hint, "docker"));
    put_file("docker", "#!/bin/sh\n", 0700);
    ok(qn_launch_docker("acme/weather:1.2", &launch, &error));
    words_are(&launch, "docker|run|-i|--rm|acme/weather:1.2");
    refused(qn_launch_docker("--privileged x", &launch, &error), QN_ERR_CONFIG, "\"--privileged\" is not an image");
    setenv("PATH", path, 1);
    free(path);
}

/* trace: C27 */
static void java_and_docker__run_what_stands_in_for_them(void **state)
{
    (void)state;
    static const char *const uris[] = { "java::x.jar", "docker::acme/weather:1.2" };
    static const char *const names[] = { "java", "docker" };
    static const char *const wanted[] = { "-jar ", "run -i --rm acme/weather:1.2" };
    char *path = strdup(getenv("PATH"));
    for (int i = 0; i < 2; i++) {
        struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
        struct qn_connector *connector = NULL;
        char words[256], text[1024], with[512];
        (void)snprintf(words, sizeof words, "%s%s%s", wanted[i], i == 0 ? folder : "", i == 0 ? "/x.jar" : "");
        (void)snprintf(text, sizeof text,
                       "#!/bin/sh\n[ \"$*\" = \"%s\" ] || { echo \"called with $*\" >&2; exit 9; }\n"
                       "exec %s -S -E '%s' good %s\n",
                       words, python, script, messages_path);
        put_file(names[i], text, 0700);
        put_file("x.jar", "", 0600);
        (void)snprintf(with, sizeof with, "%s:%s", folder, path);
        setenv("PATH", with, 1);
        options.folder = folder;
        refused(qn_connector_open(uris[i], &options, &connector, &error), QN_ERR_FORBIDDEN,
                "External code execution is disabled");
        options.allow_external_code = true;
        options.events.log = hear;
        heard.n_started = 0;
        ok(qn_connector_open(uris[i], &options, &connector, &error));
        gives_its_rows(connector);
        qn_connector_free(connector);
        assert_nothing_left();
        setenv("PATH", path, 1);
    }
    free(path);
}

static void programs__that_are_missing_are_named_at_open(void **state)
{
    (void)state;
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector = NULL;
    options.allow_external_code = true;
    options.folder = folder;
    refused(qn_connector_open("ipc::nothing.py", &options, &connector, &error), QN_ERR_CONFIG,
            "connector \"ipc::nothing.py\": script \"");
    assert_non_null(strstr(error.message, "/nothing.py\" was not found"));
    put_file("no_program", "what?", 0700);
    ok(qn_connector_open("ipc::./no_program", &options, &connector, &error));
    int n;
    assert_int_equal(discover(connector, &n), QN_ERR_IO);
    assert_non_null(strstr(error.message, "starting \""));
    qn_connector_free(connector);
}

/* ---- the messages that the processes send ---- */

static void put_message(int file, const struct qn_buffer *bytes, size_t from)
{
    uint64_t size = bytes->size - from;
    assert_int_equal(write(file, &size, sizeof size), sizeof size);
    assert_int_equal(write(file, bytes->data + from, size), (ssize_t)size);
}

/* The head of a message whose body is announced with 5 GiB in place of what it has. */
static void put_huge_message(const struct qn_buffer *batch)
{
    uint32_t metadata;
    memcpy(&metadata, batch->data + 4, sizeof metadata);
    uint64_t body = batch->size - 8 - metadata;
    uint64_t huge = UINT64_C(5) << 30;
    bool found = false;
    for (size_t at = 8; at + 8 <= 8 + metadata && !found; at += 4) {
        found = memcmp(batch->data + at, &body, sizeof body) == 0;
        if (found) {
            memcpy(batch->data + at, &huge, sizeof huge);
        }
    }
    assert_true(found);
    int file = open(huge_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(file, batch->data, 8 + metadata), (ssize_t)(8 + metadata));
    close(file);
}

static int make_messages(void **state)
{
    (void)state;
    int file = open(messages_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    for (int64_t i = 0; i <= BATCHES; i++) {
        qn_auto_buffer with = QN_BUFFER_INIT;
        qn_auto_buffer without = QN_BUFFER_INIT;
        append_arrow(&with, true, "id", i * ROWS_EACH, ROWS_EACH);
        append_arrow(&without, false, "id", i * ROWS_EACH, ROWS_EACH);
        if (i == 0) {
            qn_auto_buffer schema = QN_BUFFER_INIT;
            qn_buffer_append(&schema, with.data, with.size - without.size);
            put_message(file, &schema, 0);
        }
        if (i < BATCHES) {
            put_message(file, &without, 0);
        } else {
            put_huge_message(&without);
        }
    }
    qn_auto_buffer end = QN_BUFFER_INIT;
    qn_ipc_encode_end(&end);
    put_message(file, &end, 0);
    close(file);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_connectors__serve_from_processes_that_are_kept),
        cmocka_unit_test(data__that_is_let_go_of_early_is_cancelled),
        cmocka_unit_test(faults__are_typed_and_stay_with_their_location),
        cmocka_unit_test(starts__may_take_longer_than_calls),
        cmocka_unit_test(limits__say_what_the_way_out_is),
        cmocka_unit_test(pages__are_read_one_after_the_other),
        cmocka_unit_test(endings__are_enforced),
        cmocka_unit_test(processes__that_ended_while_idle_are_replaced),
        cmocka_unit_test(processes__that_keep_falling_are_started_more_slowly),
        cmocka_unit_test(calls__that_wait_can_be_interrupted),
        cmocka_unit_test(data__goes_on_where_it_was_broken),
        cmocka_unit_test(threads__share_processes_and_not_their_failures),
        cmocka_unit_test(command_lines__find_their_files),
        cmocka_unit_test(java_and_docker__run_what_stands_in_for_them),
        cmocka_unit_test(programs__that_are_missing_are_named_at_open),
    };
    if (argc != 3 || mkdtemp(folder) == NULL) {
        print_error("usage: test_ipc PYTHON HOSTILE_CONNECTOR\n");
        return 2;
    }
    qn__connector_first_wait_ms = 1;
    python = argv[1];
    script = argv[2];
    (void)snprintf(messages_path, sizeof messages_path, "%s/messages", folder);
    (void)snprintf(huge_path, sizeof huge_path, "%s/huge", folder);
    (void)snprintf(tries_path, sizeof tries_path, "%s/tries", folder);
    int failed = cmocka_run_group_tests(tests, make_messages, NULL);
    static const char *const made[] = { "messages", "huge", "tries",  "conn.py",   "tool",
                                        "x.jar",    "java", "docker", "no_program" };
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", folder, made[i]);
        unlink(path);
    }
    rmdir(folder);
    return failed;
}
