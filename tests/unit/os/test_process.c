/*
 * test_process.c: child processes: what they are given, how they end, that nothing of them is left.
 */
#include "os/process.h"

#include "base/buffer.h"
#include "os/clock.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void start_shell(const char *script, const char *const *environment, struct qn_process *out)
{
    const char *const argv[] = { "sh", "-c", script, NULL };
    struct qn_error err = QN_ERROR_INIT;
    if (qn_process_start(argv, environment, out, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
}

/* All that comes from the descriptor until its end. */
static void read_all(int fd, struct qn_buffer *out)
{
    char bytes[4096];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof bytes)) > 0) {
        qn_buffer_append(out, bytes, (size_t)got);
    }
    assert_int_equal(got, 0);
}

static void read_line(int fd, char *out, size_t size)
{
    size_t used = 0;
    while (used + 1 < size && read(fd, out + used, 1) == 1 && out[used] != '\n') {
        used++;
    }
    out[used] = '\0';
}

static void expect_exit(struct qn_process *process, bool exited, int code)
{
    struct qn_exit how;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_process_wait(process, QN_NO_DEADLINE, &how, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(how.exited, exited);
    assert_int_equal(how.code, code);
}

static void process__three_pipes_carry_what_is_written(void **state)
{
    (void)state;
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("cat; echo problem >&2; exit 7", NULL, &child);
    assert_int_equal(qn_fd_write_all(child.stdin_fd, "hello\n", 6, "input", NULL), QN_OK);
    (void)close(child.stdin_fd);
    child.stdin_fd = -1;
    qn_auto_buffer out = QN_BUFFER_INIT;
    qn_auto_buffer err = QN_BUFFER_INIT;
    read_all(child.stdout_fd, &out);
    read_all(child.stderr_fd, &err);
    assert_string_equal(qn_buffer_text(&out), "hello\n");
    assert_string_equal(qn_buffer_text(&err), "problem\n");
    expect_exit(&child, true, 7);
    expect_exit(&child, true, 7); /* waiting again gives the same answer */
    qn_process_end(&child, 1000);
    assert_int_equal(child.pid, 0);
}

static void process__a_program_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct qn_process child = QN_PROCESS_INIT;
    struct qn_error err = QN_ERROR_INIT;
    const char *const absent[] = { "no-such-program-of-ours", NULL };
    assert_int_equal(qn_process_start(absent, NULL, &child, &err), QN_ERR_IO);
    assert_string_equal(err.message, "starting \"no-such-program-of-ours\": No such file or directory");
    const char *const no_program[] = { "/etc/passwd", NULL };
    assert_int_equal(qn_process_start(no_program, NULL, &child, &err), QN_ERR_IO);
    assert_string_equal(err.message, "starting \"/etc/passwd\": Permission denied");
    assert_int_equal(child.pid, 0);
    assert_int_equal(child.pid_fd, -1);
    qn_process_end(&child, 1000);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie is left */
    assert_int_equal(errno, ECHILD);
}

static void process__a_failed_start_leaks_no_descriptor(void **state)
{
    (void)state;
    const char *const absent[] = { "no-such-program-of-ours", NULL };
    int before = dup(STDERR_FILENO);
    (void)close(before);
    for (int i = 0; i < 20; i++) {
        struct qn_process child = QN_PROCESS_INIT;
        assert_int_equal(qn_process_start(absent, NULL, &child, NULL), QN_ERR_IO);
        start_shell("exit 0", NULL, &child);
        qn_process_end(&child, 1000);
    }
    int after = dup(STDERR_FILENO); /* the lowest free number */
    (void)close(after);
    assert_int_equal(after, before);
}

static void process__the_environment_is_what_was_given(void **state)
{
    (void)state;
    const char *const environment[] = { "QANAT_TEST=just this", NULL };
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("echo \"$QANAT_TEST,$HOME\"", environment, &child);
    char line[100];
    read_line(child.stdout_fd, line, sizeof line);
    assert_string_equal(line, "just this,");
    qn_process_end(&child, 1000);
}

static void process__no_other_descriptor_is_passed_on(void **state)
{
    (void)state;
    int leaky = open("/dev/null", O_RDONLY); /* not close-on-exec, as a careless host has them */
    int high = fcntl(leaky, F_DUPFD, 200);
    assert_true(leaky >= 0 && high >= 200);
    struct qn_process child = QN_PROCESS_INIT;
    start_shell(
        "cd /proc/self/fd && for f in *; do [ \"$f\" -gt 2 ] && [ -e \"/proc/$$/fd/$f\" ] && echo \"$f\"; done; exit 0",
        NULL, &child);
    qn_auto_buffer out = QN_BUFFER_INIT;
    read_all(child.stdout_fd, &out);
    assert_string_equal(qn_buffer_text(&out), "");
    expect_exit(&child, true, 0);
    qn_process_end(&child, 1000);
    (void)close(leaky);
    (void)close(high);
}

static void process__signals_are_as_new(void **state)
{
    (void)state;
    sigset_t blocked;
    sigset_t before;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &blocked, &before), 0);
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* as Python has it */
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("while read name value; do case $name in SigBlk:|SigIgn:) echo $value;; esac; done < /proc/self/status",
                NULL, &child);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    char line[100];
    read_line(child.stdout_fd, line, sizeof line);
    assert_string_equal(line, "0000000000000000"); /* blocked */
    read_line(child.stdout_fd, line, sizeof line);
    /* glibc ignores signals 32 and 33, its own, in what it spawns. */
    assert_int_equal(strtoull(line, NULL, 16) & ~UINT64_C(0x180000000), 0);
    qn_process_end(&child, 1000);
}

static void process__pipes_work_where_the_host_closed_its_own(void **state)
{
    (void)state;
    int saved_in = dup(STDIN_FILENO);
    int saved_out = dup(STDOUT_FILENO);
    (void)close(STDIN_FILENO);
    (void)close(STDOUT_FILENO);
    const char *const argv[] = { "sh", "-c", "read line; echo got $line", NULL };
    struct qn_process child = QN_PROCESS_INIT;
    enum qn_status status = qn_process_start(argv, NULL, &child, NULL);
    (void)dup2(saved_in, STDIN_FILENO);
    (void)dup2(saved_out, STDOUT_FILENO);
    (void)close(saved_in);
    (void)close(saved_out);
    assert_int_equal(status, QN_OK);
    assert_true(child.stdin_fd > 2 && child.stdout_fd > 2 && child.stderr_fd > 2);
    assert_int_equal(qn_fd_write_all(child.stdin_fd, "it\n", 3, "input", NULL), QN_OK);
    char line[100];
    read_line(child.stdout_fd, line, sizeof line);
    assert_string_equal(line, "got it");
    qn_process_end(&child, 1000);
}

static void process__wait_has_a_deadline(void **state)
{
    (void)state;
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("read line; exit 3", NULL, &child);
    struct qn_exit how;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_process_wait(&child, qn_deadline_after_ms(20), &how, &err), QN_ERR_TIMEOUT);
    assert_int_equal(qn_fd_write_all(child.stdin_fd, "\n", 1, "input", NULL), QN_OK);
    expect_exit(&child, true, 3);
    qn_process_end(&child, 1000);
    assert_int_equal(qn_process_wait(&child, QN_NO_DEADLINE, &how, &err), QN_ERR_CLOSED);
}

static void process__a_signal_is_told_from_an_exit(void **state)
{
    (void)state;
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("kill -9 $$", NULL, &child);
    expect_exit(&child, false, SIGKILL);
    qn_process_end(&child, 1000);
}

static void process__end_asks_before_it_kills(void **state)
{
    (void)state;
    char path[] = "/tmp/qanat-test-process-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char script[200];
    (void)snprintf(script, sizeof script, "trap 'echo asked > %s; exit 0' TERM; echo ready; sleep 1000 & wait", path);
    struct qn_process child = QN_PROCESS_INIT;
    start_shell(script, NULL, &child);
    char line[100];
    read_line(child.stdout_fd, line, sizeof line);
    assert_string_equal(line, "ready");
    qn_process_end(&child, 60000);
    char said[10] = { 0 };
    assert_int_equal(read(fd, said, sizeof said - 1), 6);
    assert_string_equal(said, "asked\n");
    (void)close(fd);
    (void)unlink(path);
}

static void process__end_kills_what_does_not_listen_with_all_its_children(void **state)
{
    (void)state;
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("trap '' TERM; sleep 1000 & echo $!; while :; do sleep 1000; done", NULL, &child);
    char line[100];
    read_line(child.stdout_fd, line, sizeof line);
    pid_t pid = child.pid;
    /* The grandchild holds a pipe of ours: its end is told by the end of that pipe. */
    int held = dup(child.stderr_fd);
    int64_t begin = qn_clock_nanos();
    qn_process_end(&child, 50);
    assert_true(qn_clock_nanos() - begin >= INT64_C(50000000));
    char byte;
    assert_int_equal(read(held, &byte, 1), 0);
    (void)close(held);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

static void process__end_without_grace_kills_at_once(void **state)
{
    (void)state;
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("trap '' TERM; echo ready; while :; do sleep 1000; done", NULL, &child);
    char line[100];
    read_line(child.stdout_fd, line, sizeof line);
    int held = dup(child.stderr_fd);
    qn_process_end(&child, 0);
    char byte;
    assert_int_equal(read(held, &byte, 1), 0);
    (void)close(held);
    qn_process_end(&child, 0); /* again is safe */
}

static void process__end_kills_grandchildren_of_one_that_has_ended(void **state)
{
    (void)state;
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("sleep 1000 & exit 0", NULL, &child);
    expect_exit(&child, true, 0);
    int held = dup(child.stderr_fd);
    qn_process_end(&child, 1000);
    char byte;
    assert_int_equal(read(held, &byte, 1), 0);
    (void)close(held);
}

static void process__another_process_after_a_fork_touches_nothing(void **state)
{
    (void)state;
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("read line; echo alive", NULL, &child);
    pid_t fork_pid = fork();
    assert_true(fork_pid >= 0);
    if (fork_pid == 0) {
        struct qn_exit how;
        enum qn_status status = qn_process_wait(&child, QN_NO_DEADLINE, &how, NULL);
        qn_process_end(&child, 0);
        _exit(status == QN_ERR_CLOSED ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(fork_pid, &how, 0), fork_pid);
    assert_int_equal(how, 0);
    assert_int_equal(qn_fd_write_all(child.stdin_fd, "\n", 1, "input", NULL), QN_OK);
    char line[100];
    read_line(child.stdout_fd, line, sizeof line);
    assert_string_equal(line, "alive");
    qn_process_end(&child, 1000);
}

static void process__children_of_others_are_not_reaped(void **state)
{
    (void)state;
    pid_t other = fork();
    assert_true(other >= 0);
    if (other == 0) {
        _exit(42);
    }
    struct qn_process child = QN_PROCESS_INIT;
    start_shell("exit 0", NULL, &child);
    expect_exit(&child, true, 0);
    qn_process_end(&child, 1000);
    int how;
    assert_int_equal(waitpid(other, &how, 0), other);
    assert_int_equal(WEXITSTATUS(how), 42);
}

/* A descriptor of a file that holds `text`, at the number `at` where that is not -1. */
static int file_with(const char *text, int at)
{
    int fd = memfd_create("qanat-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(qn_fd_write_all(fd, text, strlen(text), "memfd", NULL), QN_OK);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    if (at >= 0 && fd != at) {
        assert_int_equal(dup3(fd, at, O_CLOEXEC), at);
        (void)close(fd);
        fd = at;
    }
    return fd;
}

static void process__extra_descriptors_are_given_from_3_on_whatever_their_numbers(void **state)
{
    (void)state;
    pid_t tester = fork(); /* numbers 3, 4 and 5 have to be free to be taken */
    assert_true(tester >= 0);
    if (tester == 0) {
        for (int fd = 3; fd < 64; fd++) {
            (void)close(fd);
        }
        /* Each stands where another is to go; the last is far away. */
        const int fds[] = { file_with("a", 5), file_with("b", 3), file_with("c", 4), file_with("d", 50) };
        const char *const argv[] = { "sh", "-c", "cat <&3; cat <&4; cat <&5; cat <&6; ls /proc/self/fd | wc -l", NULL };
        struct qn_process child = QN_PROCESS_INIT;
        assert_int_equal(qn_process_start_with(argv, NULL, fds, 4, &child, NULL), QN_OK);
        qn_auto_buffer out = QN_BUFFER_INIT;
        read_all(child.stdout_fd, &out);
        qn_process_end(&child, 1000);
        for (size_t i = 0; i < 4; i++) { /* ours are still ours */
            assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        }
        /* ls has 0, 1, 2, the four, and the folder that it reads. */
        _exit(strcmp(qn_buffer_text(&out), "abcd8\n") == 0 ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(tester, &how, 0), tester);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

static void process__extra_descriptors_that_cannot_be_given_are_refused(void **state)
{
    (void)state;
    const char *const argv[] = { "true", NULL };
    int fds[QN_PROCESS_MAX_FDS + 1] = { 0 };
    struct qn_process child = QN_PROCESS_INIT;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_process_start_with(argv, NULL, fds, QN_PROCESS_MAX_FDS + 1, &child, &err), QN_ERR_ARGUMENT);
    assert_string_equal(err.message, "starting \"true\": 17 descriptors exceed 16");
    const int bad[] = { 0, -1 };
    int before = dup(STDERR_FILENO);
    (void)close(before);
    assert_int_equal(qn_process_start_with(argv, NULL, bad, 2, &child, &err), QN_ERR_IO);
    assert_string_equal(err.message, "starting \"true\": Bad file descriptor");
    int after = dup(STDERR_FILENO);
    (void)close(after);
    assert_int_equal(after, before);
    assert_int_equal(child.pid, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(process__three_pipes_carry_what_is_written),
        cmocka_unit_test(process__a_program_that_is_not_there_is_named),
        cmocka_unit_test(process__a_failed_start_leaks_no_descriptor),
        cmocka_unit_test(process__the_environment_is_what_was_given),
        cmocka_unit_test(process__no_other_descriptor_is_passed_on),
        cmocka_unit_test(process__signals_are_as_new),
        cmocka_unit_test(process__pipes_work_where_the_host_closed_its_own),
        cmocka_unit_test(process__wait_has_a_deadline),
        cmocka_unit_test(process__a_signal_is_told_from_an_exit),
        cmocka_unit_test(process__end_asks_before_it_kills),
        cmocka_unit_test(process__end_kills_what_does_not_listen_with_all_its_children),
        cmocka_unit_test(process__end_without_grace_kills_at_once),
        cmocka_unit_test(process__end_kills_grandchildren_of_one_that_has_ended),
        cmocka_unit_test(process__another_process_after_a_fork_touches_nothing),
        cmocka_unit_test(process__children_of_others_are_not_reaped),
        cmocka_unit_test(process__extra_descriptors_are_given_from_3_on_whatever_their_numbers),
        cmocka_unit_test(process__extra_descriptors_that_cannot_be_given_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
