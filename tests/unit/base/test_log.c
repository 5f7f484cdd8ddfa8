/*
 * test_log.c: messages to the callback, and to standard error as QANAT_LOG says. The environment is read once in a
 * process, so each case of it has a child of its own.
 */
#include "base/log.h"

#include "base/utf8.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int calls;
static int last_level;
static char last_area[32];
static char last_message[4096];

static void take_message(void *context, enum qn_log_level level, const char *area, const char *message)
{
    calls += *(int *)context;
    last_level = (int)level;
    (void)snprintf(last_area, sizeof last_area, "%s", area);
    (void)snprintf(last_message, sizeof last_message, "%s", message);
}

static void log__the_callback_gets_its_level_and_above(void **state)
{
    (void)state;
    int step = 1;
    calls = 0;
    qn_log_set(take_message, &step, QN_LOG_INFO);
    QN_LOG(QN_LOG_DEBUG, "task", "not %s", "this");
    assert_int_equal(calls, 0);
    QN_LOG(QN_LOG_INFO, "task", "run %d\nends", 3);
    assert_int_equal(calls, 1);
    assert_int_equal(last_level, QN_LOG_INFO);
    assert_string_equal(last_area, "task");
    assert_string_equal(last_message, "run 3 ends");
    QN_LOG(QN_LOG_ERROR, "sqlite", "x");
    assert_int_equal(last_level, QN_LOG_ERROR);
    qn_log_set(NULL, NULL, QN_LOG_DEBUG);
    QN_LOG(QN_LOG_ERROR, "sqlite", "not this");
    assert_int_equal(calls, 2);
}

static void log__arguments_are_evaluated_only_when_wanted(void **state)
{
    (void)state;
    int step = 1;
    int evaluated = 0;
    qn_log_set(take_message, &step, QN_LOG_ERROR);
    QN_LOG(QN_LOG_WARNING, "task", "%d", ++evaluated);
    assert_int_equal(evaluated, 0);
    QN_LOG(QN_LOG_ERROR, "task", "%d", ++evaluated);
    assert_int_equal(evaluated, 1);
    qn_log_set(NULL, NULL, QN_LOG_DEBUG);
}

static void log__long_messages_are_cut_between_characters_and_errno_is_kept(void **state)
{
    (void)state;
    static char text[6001];
    for (size_t i = 0; i < 6000; i += 3) {
        memcpy(text + i, "\xE2\x82\xAC", 3);
    }
    int step = 1;
    qn_log_set(take_message, &step, QN_LOG_INFO);
    errno = EBADF;
    for (int shift = 0; shift < 3; shift++) {
        QN_LOG(QN_LOG_INFO, "task", "%.*s%s", shift, "aa", text);
        assert_int_equal(errno, EBADF);
        assert_true(strlen(last_message) > 2000);
        assert_true(qn_utf8_valid(last_message, strlen(last_message)));
    }
    qn_log_set(NULL, NULL, QN_LOG_DEBUG);
}

/* What a fresh process with this QANAT_LOG writes to standard error. */
static void run_child(const char *wanted, char *out, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        if (wanted != NULL) {
            (void)setenv("QANAT_LOG", wanted, 1);
        } else {
            (void)unsetenv("QANAT_LOG");
        }
        QN_LOG(QN_LOG_DEBUG, "sqlite", "one");
        QN_LOG(QN_LOG_INFO, "sqlite", "two");
        QN_LOG(QN_LOG_WARNING, "task", "three\nlines");
        QN_LOG(QN_LOG_ERROR, "task", "four");
        _exit(0);
    }
    (void)close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], out + used, size - 1 - used)) > 0) {
        used += (size_t)got;
    }
    out[used] = '\0';
    (void)close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void log__the_environment_chooses_without_a_callback(void **state)
{
    (void)state;
    char out[1000];
    run_child(NULL, out, sizeof out);
    assert_string_equal(out, "");
    run_child("nonsense", out, sizeof out);
    assert_string_equal(out, "");
    run_child("Warning", out, sizeof out);
    assert_string_equal(out, "qanat warning task: three lines\nqanat error task: four\n");
    run_child("debug", out, sizeof out);
    assert_string_equal(out, "qanat debug sqlite: one\nqanat info sqlite: two\n"
                             "qanat warning task: three lines\nqanat error task: four\n");
    run_child("error", out, sizeof out);
    assert_string_equal(out, "qanat error task: four\n");
}

int main(void)
{
    /* The children first: until then nothing has read the environment. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log__the_environment_chooses_without_a_callback),
        cmocka_unit_test(log__the_callback_gets_its_level_and_above),
        cmocka_unit_test(log__arguments_are_evaluated_only_when_wanted),
        cmocka_unit_test(log__long_messages_are_cut_between_characters_and_errno_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
