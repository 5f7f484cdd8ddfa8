/*
 * test_commit_log_crash.c: a log whose writers fail, or are killed, at every step, and logs with many writers at once.
 */
#include "base/fault.h"
#include "bundle/commit_log.h"
#include "bundle_folder.h"

#include <signal.h>
#include <sys/wait.h>

#define ROUNDS 25 /* commits of each of several writers */

static const struct {
    enum qn_fault_kind kind;
    const char *name;
} faults[] = {
    { QN_FAULT_WRITE, "write" }, { QN_FAULT_FSYNC, "fsync" }, { QN_FAULT_RENAME, "rename" },
    { QN_FAULT_LINK, "link" },   { QN_FAULT_READ, "read" },
};

static int count_problem_lines;

static void count_problem(const struct qn_log_problem *problem, void *context)
{
    (void)context;
    print_message("%s: expected %s, found %s\n", problem->object, problem->expected, problem->found);
    count_problem_lines++;
}

static int64_t head(void)
{
    struct qn_commit_log *log = NULL;
    enum qn_status status = qn_commit_log_open(bundle_fd, &log, NULL);
    if (status == QN_ERR_CONFIG) {
        return -1; /* the bundle was not created yet */
    }
    assert_int_equal(status, QN_OK);
    int64_t version = qn_commit_log_head(log);
    qn_commit_log_free(log);
    return version;
}

static void expect_whole(void)
{
    if (head() < 0) {
        return; /* nothing to verify yet */
    }
    count_problem_lines = 0;
    assert_int_equal(qn_commit_log_verify(bundle_fd, count_problem, NULL, NULL), QN_OK);
    assert_int_equal(count_problem_lines, 0);
}

/* Open (or create) the log and add a commit. */
static enum qn_status write_once(const char *message)
{
    struct qn_commit_log *log = NULL;
    struct qn_commit commit = { .message = message };
    bool lost = false;
    enum qn_status status = qn_commit_log_open(bundle_fd, &log, NULL);
    if (status == QN_ERR_CONFIG) {
        struct qn_commit first = { .message = "created" };
        status = qn_commit_log_create(bundle_fd, &first, &log, NULL);
    }
    if (status == QN_OK) {
        status = qn_commit_log_append(log, &commit, &lost, NULL);
    }
    qn_commit_log_free(log);
    return status;
}

static void log__every_step_may_fail(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("skipped: a build without fault points (-Dfaults=true)\n");
        skip();
    }
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        bool hit = true;
        for (int64_t n = 1; hit; n++) {
            int64_t before = head();
            (void)qn_fault_arm(faults[i].kind, n, QN_FAULT_ONCE);
            enum qn_status status = write_once("x");
            hit = qn_fault_count(faults[i].kind) >= n;
            (void)qn_fault_arm(faults[i].kind, 0, QN_FAULT_ONCE);
            int64_t after = head();
            expect_whole();
            assert_int_equal(count_beginning("_qanat/log", "."), 0);
            assert_true(after >= before);
            if (!hit) {
                assert_int_equal(status, QN_OK);
            }
            if (status == QN_OK) {
                assert_true(after > before);
            }
        }
    }
}

/* Run write_once in a child that kills itself at the n-th fault point; whether it came that far. */
static bool killed_at(enum qn_fault_kind kind, int64_t n)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)qn_fault_arm(kind, n, QN_FAULT_KILL);
        _exit(write_once("y") == QN_OK ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    if (WIFSIGNALED(how)) {
        assert_int_equal(WTERMSIG(how), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(how), 0);
    return false;
}

static void sweep_kills(int64_t *versions, size_t n_kinds)
{
    for (size_t i = 0; i < n_kinds; i++) {
        int64_t before = *versions;
        for (int64_t n = 1; killed_at(faults[i].kind, n); n++) {
            *versions = head();
            assert_in_range(*versions - before + 1, 0, 3); /* created and added, or less */
            before = *versions;
            expect_whole();
        }
        *versions = head();
        assert_true(*versions > before);
        expect_whole();
    }
}

/* Add commits up to a version. */
static void fill(int64_t version)
{
    struct qn_commit_log *log = NULL;
    assert_int_equal(qn_commit_log_open(bundle_fd, &log, NULL), QN_OK);
    while (qn_commit_log_head(log) < version) {
        struct qn_commit commit = { .message = "filling" };
        bool lost = true;
        assert_int_equal(qn_commit_log_append(log, &commit, &lost, NULL), QN_OK);
        assert_false(lost);
    }
    qn_commit_log_free(log);
}

static void log__a_writer_may_be_killed_at_every_step(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("skipped: a build without fault points (-Dfaults=true)\n");
        skip();
    }
    int64_t version = -1;
    sweep_kills(&version, sizeof faults / sizeof *faults); /* begins without a bundle */
    fill(QN_COMMIT_LOG_STEP - 2);
    version = head();
    sweep_kills(&version, sizeof faults / sizeof *faults - 1); /* goes over a checkpoint */
    assert_true(version >= QN_COMMIT_LOG_STEP);
    int64_t removed = 0;
    assert_int_equal(qn_commit_log_sweep(bundle_fd, 0, &removed, NULL), QN_OK);
    assert_true(removed > 0); /* what the killed ones left */
    assert_int_equal(count_beginning("_qanat/log", "."), 0);
    assert_int_equal(count_beginning("_qanat/checkpoint", "."), 0);
    expect_whole();
}

static int write_rounds(int writer)
{
    struct qn_commit_log *log = NULL;
    if (qn_commit_log_open(bundle_fd, &log, NULL) != QN_OK) {
        return 1;
    }
    for (int round = 0; round < ROUNDS; round++) {
        char message[32];
        (void)snprintf(message, sizeof message, "%d %d", writer, round);
        bool lost = true;
        while (lost) {
            struct qn_commit commit = { .message = message };
            if (qn_commit_log_append(log, &commit, &lost, NULL) != QN_OK ||
                (lost && qn_commit_log_refresh(log, NULL) != QN_OK)) {
                return 1;
            }
        }
    }
    qn_commit_log_free(log);
    return 0;
}

static void run_writers(int writers)
{
    struct qn_commit first = { .message = "created" };
    struct qn_commit_log *log = NULL;
    assert_int_equal(qn_commit_log_create(bundle_fd, &first, &log, NULL), QN_OK);
    qn_commit_log_free(log);
    pid_t children[8];
    for (int i = 0; i < writers; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            _exit(write_rounds(i));
        }
    }
    for (int i = 0; i < writers; i++) {
        int how = 0;
        assert_int_equal(waitpid(children[i], &how, 0), children[i]);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    }
    /* Linear and complete: every writer's commits are there, in the order in which it made them. */
    assert_int_equal(qn_commit_log_open(bundle_fd, &log, NULL), QN_OK);
    assert_int_equal(qn_commit_log_head(log), writers * ROUNDS);
    int next[8] = { 0 };
    for (int64_t version = 1; version <= qn_commit_log_head(log); version++) {
        struct qn_commit commit;
        int writer = -1;
        int round = -1;
        assert_int_equal(qn_commit_log_read(log, version, &commit, NULL), QN_OK);
        assert_int_equal(sscanf(commit.message, "%d %d", &writer, &round), 2);
        assert_in_range(writer, 0, writers - 1);
        assert_int_equal(round, next[writer]++);
        qn_commit_dispose(&commit);
    }
    qn_commit_log_free(log);
    assert_int_equal(count_beginning("_qanat/log", "."), 0);
    expect_whole();
}

static void log__two_writers_at_once(void **state)
{
    (void)state;
    run_writers(2);
}

static void log__eight_writers_at_once(void **state)
{
    (void)state;
    run_writers(8);
}

static void log__a_writer_that_is_killed_at_any_time_harms_nobody(void **state)
{
    (void)state;
    struct qn_commit first = { .message = "created" };
    struct qn_commit_log *log = NULL;
    assert_int_equal(qn_commit_log_create(bundle_fd, &first, &log, NULL), QN_OK);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (;;) {
                (void)write_once("until killed");
            }
        }
        int64_t before = qn_commit_log_head(log);
        while (qn_commit_log_head(log) < before + 1 + i % 3) { /* its commits are the event that is waited for */
            assert_int_equal(qn_commit_log_refresh(log, NULL), QN_OK);
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        expect_whole();
        assert_int_equal(qn_commit_log_refresh(log, NULL), QN_OK);
    }
    qn_commit_log_free(log);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, make_bundle_folder, remove_bundle_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(log__every_step_may_fail),
        LOG_TEST(log__a_writer_may_be_killed_at_every_step),
        LOG_TEST(log__two_writers_at_once),
        LOG_TEST(log__eight_writers_at_once),
        LOG_TEST(log__a_writer_that_is_killed_at_any_time_harms_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
