/*
 * test_lockdown.c: the layers besides seccomp, with a filter that allows everything, and the limits of a run.
 *
 * LAUNCHER JAIL --times prints what the start of a run takes.
 */
#include "jail_fixture.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void landlock__alone_lets_nothing_but_the_readable_be_read(void **state)
{
    (void)state;
    char other[PATH_MAX];
    (void)snprintf(other, sizeof other, "%s/other", folder);
    static const struct expectation OTHER[] = {
        { "open_readable", ENOENT, EACCES }, { "open_passwd", ENOENT, EACCES }, { "open_root", EACCES, EACCES },
        { "open_proc", ENOENT, EACCES },     { "open_null", ENOENT, EACCES },   { "open_new", EROFS, EACCES },
        { "mkdir", EROFS, EACCES },
    };
    EXPECT_ALL("none", "strict", other, OTHER);
    /* Everybody may write to this file. */
    static const struct expectation READABLE[] = {
        { "open_readable", 0, 0 },
        { "open_writing", EROFS, EACCES },
        { "open_both", EROFS, EACCES },
    };
    EXPECT_ALL("none", "strict", readable_file, READABLE);
    /* And were it not for Landlock, the root could be listed. */
    static const struct expectation WITHOUT[] = { { "open_root", 0, 0 }, { "execve", ENOENT, ENOENT } };
    EXPECT_ALL("none", "open", "", WITHOUT);
}

static void landlock__alone_refuses_tcp(void **state)
{
    (void)state;
    if (support.landlock_abi < 4) {
        print_message("skipped: Landlock ABI %d knows nothing of TCP\n", support.landlock_abi);
        return;
    }
    static const struct expectation LIST[] = { { "connect", EACCES, EACCES } };
    EXPECT_ALL("none", "strict", "1", LIST);
}

static void network_namespace__alone_reaches_nobody(void **state)
{
    (void)state;
    if (tier == QN_SANDBOX_REDUCED) {
        return; /* has none */
    }
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server, 1), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&address, &size), 0);
    char port[16];
    (void)snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", "connect", port, &outcome);
    assert_int_equal(said(&outcome, "connect"), ENETUNREACH);
    (void)close(server);
}

static void pid_namespace__hides_everybody_else(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("state", "none", "strict", "", "", &outcome);
    if (tier == QN_SANDBOX_FULL) {
        assert_int_equal(said(&outcome, "pid"), 1);
        assert_int_equal(said(&outcome, "thread"), 1);
        assert_int_equal(said(&outcome, "thread_of_libc"), 1);
        assert_int_equal(said(&outcome, "parent"), 0);
    } else {
        assert_true(said(&outcome, "pid") > 1);
    }
    if (tier == QN_SANDBOX_REDUCED && support.landlock_abi < 6) {
        print_message("skipped: Landlock ABI %d knows nothing of signals\n", support.landlock_abi);
        return;
    }
    char other[16]; /* a process of ours, of the same user where we are an ordinary one */
    (void)snprintf(other, sizeof other, "%ld", (long)getpid());
    static const struct expectation LIST[] = { { "tkill_argument", ESRCH, EPERM } };
    EXPECT_ALL("none", "strict", other, LIST);
}

static void lockdown__leaves_no_rights(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("state", "none", "strict", "", "", &outcome);
    assert_int_equal(said(&outcome, "capabilities"), 0);
    assert_int_equal(said(&outcome, "no_new_privs"), 1);
    assert_int_equal(said(&outcome, "dumpable"), 0);
    assert_int_equal(said(&outcome, "death_signal"), SIGKILL);
    assert_int_equal(said(&outcome, "seccomp"), 2);
    if (tier == QN_SANDBOX_FULL) {
        assert_int_equal(said(&outcome, "bounding"), 0);
        assert_int_equal(said(&outcome, "securebits"), 0xef); /* all, locked; but keep_caps is off, locked */
    }
    static const struct expectation LIST[] = {
        { "become_root", EINVAL, EPERM }, { "setgroups", EPERM, EPERM },   { "hostname", EPERM, EPERM },
        { "chroot", EFAULT, EFAULT },     { "raise_limit", EPERM, EPERM },
    };
    EXPECT_ALL("none", "strict", "", LIST);
}

/* Without a launcher before it: what the launcher has set already does not hide that it is not set again. */
static void lockdown__stands_on_its_own(void **state)
{
    (void)state;
    static const char *const READABLE[] = { "/usr", NULL };
    static const struct sock_filter ALLOW = { .code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW };
    struct qn_lockdown lockdown = {
        .tier = tier, .files = 64, .threads = 8, .proc_fd = -1, .filter = &ALLOW, .filter_size = sizeof ALLOW
    };
    int pid_fd = -1;
    assert_int_equal(qn_lockdown_ruleset(READABLE, &lockdown.ruleset_fd, NULL), QN_OK);
    pid_t pid = qn_sandbox_fork(tier, &pid_fd);
    if (pid == 0) {
        int listener = -1;
        if (qn_lockdown_apply(&lockdown, &listener, NULL) != QN_OK) {
            _exit(2);
        }
        _exit(listener == -1 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1);
    }
    assert_true(pid > 0);
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    (void)close(pid_fd);
    (void)close(lockdown.ruleset_fd);
}

static void lockdown__keeps_only_the_descriptors_that_it_is_told(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("descriptors", "off", "strict", "", "", &outcome);
    assert_string_equal(qn_buffer_text(&outcome.said),
                        "\ndevice 0\ndevice 1\ndevice 2\ndescriptor 3\ndescriptor 50\nexited 0\n");
}

static void lockdown__ends_where_the_zygote_has_ended(void **state)
{
    (void)state;
    struct started started;
    auto_outcome outcome = { .how = { false, 0 } };
    start("orphan", "off", "strict", "", "", &started);
    finish(&started, &outcome);
    assert_string_equal(qn_buffer_text(&outcome.said), "failed: lock-down: the zygote has ended\n");
}

static void run__ends_with_its_zygote(void **state)
{
    (void)state;
    struct started started;
    auto_outcome outcome = { .how = { false, 0 } };
    start("block", "off", "strict", "", "", &started);
    read_until(started.control, "blocking 1\n", &outcome.said);
    assert_int_equal(kill(started.process.pid, SIGKILL), 0);
    read_until(started.control, NULL, &outcome.said); /* its end comes when the run is gone, too */
    finish(&started, &outcome);
    assert_false(outcome.how.exited);
    assert_string_equal(qn_buffer_text(&outcome.said), "blocking 1\n");
}

/* Whatever the shared filter says, signals go to the process itself only. */
static void lockdown__keeps_signals_to_itself(void **state)
{
    (void)state;
    static const struct expectation LIST[] = {
        { "kill_group", EPERM, EPERM }, { "kill_all", EPERM, EPERM }, { "tgkill_other", EPERM, EPERM },
        { "kill_self", 0, 0 },          { "tgkill_self", 0, 0 },
    };
    EXPECT_ALL("none", "strict", "", LIST);
}

/* ---- limits ---- */

static void limits__are_set_hard(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("state", "none", "strict", "", "", &outcome);
    assert_int_equal(said(&outcome, "core"), 0);
    assert_int_equal(said(&outcome, "fsize"), 0);
    assert_int_equal(said(&outcome, "memlock"), 0);
    assert_int_equal(said(&outcome, "msgqueue"), 0);
    assert_int_equal(said(&outcome, "rtprio"), 0);
    assert_int_equal(said(&outcome, "nofile"), 64);
    assert_int_equal(said(&outcome, "stack"), 8 << 20);
    assert_int_equal(said(&outcome, "sigpending"), 32);
    assert_int_equal(said(&outcome, "nproc"), tier == QN_SANDBOX_FULL ? 8 : 4096);
}

static void limits__memory_is_what_the_run_was_given(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("memory", "off", "strict", "100", "", &outcome);
    assert_true(said(&outcome, "mebibytes") >= 98 && said(&outcome, "mebibytes") <= 100);
    auto_outcome less;
    run_jail("memory", "none", "strict", "16", "", &less); /* the limit, not the filter */
    assert_true(said(&less, "mebibytes") >= 14 && said(&less, "mebibytes") <= 16);
}

static void limits__threads_are_counted_for_each_run(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("threads", "off", "strict", "", "", &outcome);
    if (tier == QN_SANDBOX_FULL) {
        assert_int_equal(said(&outcome, "threads"), 8);
        assert_int_equal(said(&outcome, "refused"), EAGAIN);
    } else { /* not per run here: bounded by memory, and by a number for all runs together */
        assert_int_equal(said(&outcome, "threads"), 200);
    }
}

static void limits__files_are_counted(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("files", "off", "strict", "", readable_file, &outcome);
    assert_int_equal(said(&outcome, "files"), 64 - 4);
    assert_int_equal(said(&outcome, "refused"), EMFILE);
}

static int run_group(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(landlock__alone_lets_nothing_but_the_readable_be_read),
        cmocka_unit_test(landlock__alone_refuses_tcp),
        cmocka_unit_test(network_namespace__alone_reaches_nobody),
        cmocka_unit_test(pid_namespace__hides_everybody_else),
        cmocka_unit_test(lockdown__leaves_no_rights),
        cmocka_unit_test(lockdown__stands_on_its_own),
        cmocka_unit_test(lockdown__keeps_only_the_descriptors_that_it_is_told),
        cmocka_unit_test(lockdown__ends_where_the_zygote_has_ended),
        cmocka_unit_test(run__ends_with_its_zygote),
        cmocka_unit_test(lockdown__keeps_signals_to_itself),
        cmocka_unit_test(limits__are_set_hard),
        cmocka_unit_test(limits__memory_is_what_the_run_was_given),
        cmocka_unit_test(limits__threads_are_counted_for_each_run),
        cmocka_unit_test(limits__files_are_counted),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

static int compare_longs(const void *a, const void *b)
{
    long x = *(const long *)a;
    long y = *(const long *)b;
    return (x > y) - (x < y);
}

/* Microseconds of each step of a run's start, in both tiers. */
static void print_times(void)
{
    static const char *const STEPS[] = { "fork", "apply", "probe", "ready" };
    for (int i = QN_SANDBOX_FULL; i <= QN_SANDBOX_REDUCED; i++) {
        auto_outcome outcome;
        tier = (enum qn_sandbox_tier)i;
        run_jail("bench", "off", "strict", "", "", &outcome);
        for (size_t step = 0; step < sizeof STEPS / sizeof *STEPS; step++) {
            static long times[1000];
            size_t count = 0;
            char line[32];
            (void)snprintf(line, sizeof line, "\n%s ", STEPS[step]);
            for (const char *at = qn_buffer_text(&outcome.said); (at = strstr(at, line)) != NULL && count < 1000;
                 at++) {
                times[count++] = strtol(at + strlen(line), NULL, 10);
            }
            qsort(times, count, sizeof *times, compare_longs);
            printf("%s tier: %s: p50 %ld us, p95 %ld us of %zu\n", i == QN_SANDBOX_FULL ? "full" : "reduced",
                   STEPS[step], times[count / 2], times[count * 95 / 100], count);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[3], "--times") == 0) {
        bool prepared = prepare_folder(argv);
        if (prepared) {
            print_times();
        }
        remove_folder();
        return prepared ? 0 : 1;
    }
    return run_in_every_role(argc, argv, run_group);
}
