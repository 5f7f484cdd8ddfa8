/*
 * test_bundle_crash.c: bundles whose writers fail or are killed at every step, many writers and a gc at once, a full disk.
 *
 * Each test ends by the same questions: is every commit that was reported as made there, once, in its writer's order; is the
 * log a whole chain; are all blocks there. With QANAT_TORTURE=1 the writers run for a minute each.
 */
#include "base/fault.h"
#include "bundle_handle.h"
#include "os/clock.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define HANDLE_TEST(name)  cmocka_unit_test_setup_teardown(name, make_bundle_folder, remove_bundle_folder)
#define ON_DISK_TEST(name) cmocka_unit_test_setup_teardown(name, make_bundle_folder_on_disk, remove_bundle_folder)
#define MAX_WRITERS        8
#define SAMPLE_MS          1200
#define TORTURE_MS         60000

static const struct {
    enum qn_fault_kind kind;
    const char *name;
} faults[] = {
    { QN_FAULT_WRITE, "write" }, { QN_FAULT_FSYNC, "fsync" }, { QN_FAULT_RENAME, "rename" },
    { QN_FAULT_LINK, "link" },   { QN_FAULT_READ, "read" },   { QN_FAULT_ALLOC, "allocation" },
};
#define N_FAULTS (sizeof faults / sizeof *faults)

static void needs_faults(void)
{
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("skipped: a build without fault points (-Dfaults=true)\n");
        skip();
    }
}

/* ---- every step fails, or kills --------------------------------------------------------------------------------- */

/* A session: open, put two blocks, a checkpoint with them, commit, revert. What succeeded is the number of its steps. */
static int session(int64_t *version_out)
{
    struct qn_bundle *bundle = NULL;
    char text[32];
    char version[32];
    int done = 0;
    if (qn_bundle_open(bundle_path, NULL, &bundle, NULL) != QN_OK) {
        return done;
    }
    *version_out = qn_bundle_version(bundle);
    (void)snprintf(text, sizeof text, "text %lld", (long long)*version_out);
    (void)snprintf(version, sizeof version, "%lld", (long long)*version_out);
    bool good = try_put(bundle, "base", "a", text, NULL) == QN_OK;
    good = good && try_put(bundle, "base", text, text, NULL) == QN_OK;
    good = good && qn_bundle_set_checkpoint(bundle, "task", version, NULL) == QN_OK;
    done += good;
    good = good && qn_bundle_commit(bundle, "session", version_out, NULL) == QN_OK;
    done += good;
    good = good && qn_bundle_revert(bundle, version, NULL, version_out, NULL) == QN_OK;
    done += good;
    qn_bundle_free(bundle);
    return done;
}

/* The newest version, which is whole: block and checkpoint are of the same session, or of none. */
static int64_t expect_whole(void)
{
    struct qn_bundle *bundle = open_handle(NULL);
    const struct qn_bundle_state *state = NULL;
    int64_t version = qn_bundle_version(bundle);
    assert_int_equal(qn__bundle_state(bundle, &state, NULL), QN_OK);
    const struct qn_state_entry *block = qn_bundle_state_block(state, "base", "a");
    const struct qn_state_entry *checkpoint = qn_bundle_state_object(state, QN_OBJECT_CHECKPOINT, "task");
    assert_true((block == NULL) == (checkpoint == NULL));
    if (block != NULL) {
        char text[64];
        (void)snprintf(text, sizeof text, "text %s", checkpoint->change.value);
        assert_string_equal(block->schema, text);
        assert_int_equal(block->version, checkpoint->version);
    }
    char *ours = text_of_state(state);
    char *logged = text_of_log(bundle, version);
    assert_string_equal(ours, logged);
    free(ours);
    free(logged);
    qn_bundle_free(bundle);
    expect_no_problem();
    return version;
}

/* A bundle with one session, in the place of the one that is there. */
static void begin_anew(void)
{
    int64_t version = 0;
    remove_tree(bundle_fd, "_qanat");
    remove_tree(bundle_fd, "data");
    qn_bundle_free(new_handle());
    assert_int_equal(session(&version), 3);
}

static void bundle__every_step_may_fail(void **state)
{
    (void)state;
    needs_faults();
    for (size_t i = 0; i < N_FAULTS; i++) {
        bool hit = true;
        for (int64_t n = 1; hit; n++) {
            begin_anew();
            int64_t before = 2;
            int64_t told = before;
            (void)qn_fault_arm(faults[i].kind, n, QN_FAULT_ONCE);
            int done = session(&told);
            hit = qn_fault_count(faults[i].kind) >= n;
            (void)qn_fault_arm(faults[i].kind, 0, QN_FAULT_ONCE);
            int64_t after = expect_whole();
            assert_true(after >= told && after >= before && after <= before + 2);
            assert_true(hit || done == 3);
            assert_true(done < 3 || after == before + 2);
            assert_int_equal(count_beginning("_qanat/log", "."), 0); /* who fails cleans up */
            assert_int_equal(count_beginning("data", "."), 0);
        }
    }
}

/* Run a session in a child that kills itself at the n-th fault point; whether it came that far. */
static bool killed_at(enum qn_fault_kind kind, int64_t n)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int64_t version = 0;
        (void)qn_fault_arm(kind, n, QN_FAULT_KILL);
        _exit(session(&version) == 3 ? 0 : 1);
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

static void sweep_kills(void)
{
    for (size_t i = 0; i < N_FAULTS; i++) {
        if (faults[i].kind == QN_FAULT_READ || faults[i].kind == QN_FAULT_ALLOC) {
            continue; /* nothing is changed there; a bundle that grows has more of them at each try */
        }
        for (int64_t n = 1; killed_at(faults[i].kind, n); n++) {
            (void)expect_whole();
        }
    }
}

static void bundle__a_writer_may_be_killed_at_every_step(void **state)
{
    (void)state;
    needs_faults();
    struct qn_bundle *bundle = new_handle();
    sweep_kills();
    /* And where the log gets a checkpoint and the state a snapshot. */
    while (qn_bundle_version(bundle) < QN_COMMIT_LOG_STEP - 2) {
        char value[32];
        assert_int_equal(qn_bundle_refresh(bundle, NULL), QN_OK);
        (void)snprintf(value, sizeof value, "%lld", (long long)qn_bundle_version(bundle));
        assert_int_equal(qn_bundle_set_checkpoint(bundle, "other", value, NULL), QN_OK);
        (void)commit(bundle, "filling");
    }
    sweep_kills();
    assert_true(expect_whole() > QN_COMMIT_LOG_STEP);
    char *swept = NULL;
    assert_int_equal(qn_bundle_gc(bundle, 0, -1, 10, &swept, NULL), QN_OK);
    qn_text_free(swept);
    static const char *const folders[] = { "data", "_qanat", "_qanat/log", "_qanat/checkpoint" };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        assert_int_equal(count_beginning(folders[i], "."), 0); /* what the killed ones left */
    }
    qn_bundle_free(bundle);
    (void)expect_whole();
}

/* ---- many at once ----------------------------------------------------------------------------------------------- */

static int64_t duration_ms(void)
{
    const char *torture = getenv("QANAT_TORTURE");
    return torture != NULL && strcmp(torture, "1") == 0 ? TORTURE_MS : SAMPLE_MS;
}

/* Read the whole bundle, holding no lock: what gives gc its turn. */
static enum qn_status look_around(void)
{
    char *text = NULL;
    QN_TRY(qn_bundle_verify(bundle_path, &text, NULL));
    bool well = strcmp(text, "[]") == 0;
    if (!well) {
        (void)fprintf(stderr, "verify found %s\n", text);
    }
    qn_text_free(text);
    return well ? QN_OK : QN_ERR_DATA;
}

/* A writer's rounds until the deadline: a block of its own, and its count in a checkpoint of its own. It says how many
 * commits it has made. */
static int64_t write_rounds(int writer, int64_t deadline, bool shared_block)
{
    struct qn_bundle *bundle = NULL;
    char task[16];
    int64_t rounds = 0;
    if (qn_bundle_open(bundle_path, NULL, &bundle, NULL) != QN_OK) {
        return -1;
    }
    (void)snprintf(task, sizeof task, "%d", writer);
    while (qn_deadline_remaining_ms(deadline) > 0) {
        char value[32];
        char text[64];
        struct qn_error err = QN_ERROR_INIT;
        (void)snprintf(value, sizeof value, "%lld", (long long)rounds);
        (void)snprintf(text, sizeof text, "%d %lld", writer, (long long)rounds);
        enum qn_status status = try_put(bundle, "base", task, text, &err);
        if (status == QN_OK && shared_block) {
            status = try_put(bundle, "shared", "one", text, &err);
        }
        if (status == QN_OK) {
            status = qn_bundle_set_checkpoint(bundle, task, value, &err);
        }
        if (status == QN_OK) {
            status = qn_bundle_commit(bundle, text, NULL, &err);
        }
        if (status == QN_OK && shared_block) {
            status = look_around();
        }
        if (status == QN_ERR_CONFLICT && shared_block) { /* look again, decide again */
            status = qn_bundle_reset(bundle, NULL, &err);
            rounds--;
            if (status == QN_OK) {
                status = qn_bundle_refresh(bundle, &err);
            }
        }
        if (status != QN_OK) {
            (void)fprintf(stderr, "writer %d: %s: %s\n", writer, qn_status_name(status), err.message);
            qn_bundle_free(bundle);
            return -1;
        }
        rounds++;
    }
    qn_bundle_free(bundle);
    return rounds;
}

struct writers {
    pid_t pids[MAX_WRITERS];
    int pipes[MAX_WRITERS];
    int count;
};

static void start_writers(struct writers *writers, int count, bool shared_block)
{
    int64_t deadline = qn_deadline_after_ms(duration_ms());
    writers->count = count;
    for (int i = 0; i < count; i++) {
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        writers->pids[i] = fork();
        assert_true(writers->pids[i] >= 0);
        if (writers->pids[i] == 0) {
            int64_t rounds = write_rounds(i, deadline, shared_block);
            _exit(write(ends[1], &rounds, sizeof rounds) == (ssize_t)sizeof rounds ? 0 : 1);
        }
        (void)close(ends[1]);
        writers->pipes[i] = ends[0];
    }
}

static void end_writers(const struct writers *writers, int64_t rounds[MAX_WRITERS])
{
    for (int i = 0; i < writers->count; i++) {
        int how = 0;
        assert_int_equal(read(writers->pipes[i], &rounds[i], sizeof rounds[i]), sizeof rounds[i]);
        (void)close(writers->pipes[i]);
        assert_int_equal(waitpid(writers->pids[i], &how, 0), writers->pids[i]);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
        assert_true(rounds[i] >= 0); /* 0: the others were always faster */
    }
}

/* Linear and complete: each writer's commits are there, once and in its order; nothing else is. */
static void expect_history(const struct writers *writers, const int64_t rounds[MAX_WRITERS])
{
    int64_t next[MAX_WRITERS] = { 0 };
    int64_t total = 0;
    struct qn_bundle *bundle = open_handle(NULL);
    for (int64_t version = 1; version <= qn_bundle_version(bundle); version++) {
        struct qn_commit made;
        int writer = -1;
        long long round = -1;
        assert_int_equal(qn_commit_log_read(bundle->log, version, &made, NULL), QN_OK);
        assert_int_equal(sscanf(made.message, "%d %lld", &writer, &round), 2);
        assert_in_range(writer, 0, writers->count - 1);
        assert_int_equal(round, next[writer]++);
        qn_commit_dispose(&made);
    }
    for (int i = 0; i < writers->count; i++) {
        assert_int_equal(next[i], rounds[i]);
        total += rounds[i];
    }
    assert_true(total > 0);
    print_message("%d writers made %lld commits\n", writers->count, (long long)total);
    char *ours = text_of(bundle);
    char *logged = text_of_log(bundle, qn_bundle_version(bundle));
    assert_string_equal(ours, logged);
    free(ours);
    free(logged);
    qn_bundle_free(bundle);
    assert_int_equal(count_beginning("_qanat/log", "."), 0);
    expect_no_problem();
}

static void run_writers(int count, bool shared_block)
{
    struct writers writers;
    int64_t rounds[MAX_WRITERS];
    qn_bundle_free(new_handle());
    start_writers(&writers, count, shared_block);
    end_writers(&writers, rounds);
    expect_history(&writers, rounds);
}

/* trace: B14 */
static void writers__two_at_once(void **state)
{
    (void)state;
    run_writers(2, false);
}

/* trace: B14 */
static void writers__eight_at_once(void **state)
{
    (void)state;
    run_writers(8, false);
}

/* trace: B14 */
static void writers__that_all_want_the_same_take_turns(void **state)
{
    (void)state;
    run_writers(4, true);
}

/* The lock keeps blocks that no commit names yet; gc runs without an age to wait for. */
static void gc__takes_nothing_from_writers(void **state)
{
    (void)state;
    struct writers writers;
    int64_t rounds[MAX_WRITERS];
    struct qn_bundle *bundle = new_handle();
    start_writers(&writers, 2, true);
    int64_t deadline = qn_deadline_after_ms(duration_ms());
    int swept = 0;
    while (qn_deadline_remaining_ms(deadline) > 0) {
        char *text = NULL;
        enum qn_status status = qn_bundle_gc(bundle, 0, -1, 0.001, &text, NULL);
        assert_true(status == QN_OK || status == QN_ERR_TIMEOUT); /* writers may hold the lock all the time */
        swept += status == QN_OK;
        if (status == QN_OK) {
            qn_text_free(text);
        }
    }
    end_writers(&writers, rounds);
    print_message("gc ran %d times\n", swept);
    qn_bundle_free(bundle);
    expect_history(&writers, rounds);
}

static void writers__killed_at_any_time_harm_nobody(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    for (int i = 0; i < 20; i++) {
        int64_t before = qn_bundle_version(bundle);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            int64_t version = 0;
            for (;;) {
                (void)session(&version);
            }
        }
        while (qn_bundle_version(bundle) < before + 1 + i % 4) { /* its commits are the event that is waited for */
            assert_int_equal(qn_bundle_refresh(bundle, NULL), QN_OK);
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        (void)expect_whole();
        assert_int_equal(qn_bundle_refresh(bundle, NULL), QN_OK);
    }
    qn_bundle_free(bundle);
}

/* Two versions of a block, and a block that nobody needs. */
static struct qn_bundle *begin_littered(void)
{
    remove_tree(bundle_fd, "_qanat");
    remove_tree(bundle_fd, "data");
    struct qn_bundle *bundle = new_handle();
    put(bundle, "base", "a", "old");
    (void)commit(bundle, "old");
    put(bundle, "base", "a", "new");
    (void)commit(bundle, "new");
    put(bundle, "base", "b", "abandoned");
    assert_int_equal(qn_bundle_reset(bundle, NULL, NULL), QN_OK);
    return bundle;
}

static enum qn_status collect(struct qn_bundle *bundle)
{
    char *swept = NULL;
    enum qn_status status = qn_bundle_gc(bundle, 0, 1, 10, &swept, NULL);
    if (status == QN_OK) {
        qn_text_free(swept);
    }
    return status;
}

/* gc fails, or is killed in a child, at the n-th fault point; whether it came that far. */
static bool collect_until(struct qn_bundle *bundle, enum qn_fault_kind kind, int64_t n, enum qn_fault_span span)
{
    if (span != QN_FAULT_KILL) {
        (void)qn_fault_arm(kind, n, span);
        enum qn_status status = collect(bundle);
        bool hit = qn_fault_count(kind) >= n;
        (void)qn_fault_arm(kind, 0, span);
        assert_true(hit || status == QN_OK);
        return hit;
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct qn_bundle *own = open_handle(NULL);
        (void)qn_fault_arm(kind, n, span);
        _exit(collect(own) == QN_OK ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) ? WTERMSIG(how) == SIGKILL : WEXITSTATUS(how) == 0);
    return WIFSIGNALED(how);
}

static int count_blocks(void)
{
    int count = 0;
    for (int i = 0; i < 256; i++) {
        char folder[16];
        (void)snprintf(folder, sizeof folder, "data/%02x", i);
        count += count_beginning(folder, "");
    }
    return count;
}

/* The newest version is whole whatever gc came to, no loss of an older one is taken for damage, and gc can go on. */
static void gc__may_fail_or_be_killed_at_every_step(void **state)
{
    (void)state;
    needs_faults();
    static const enum qn_fault_span spans[] = { QN_FAULT_ONCE, QN_FAULT_KILL };
    int stopped = 0;
    for (size_t i = 0; i < 2 * N_FAULTS; i++) {
        bool hit = true;
        for (int64_t n = 1; hit; n++) {
            struct qn_bundle *bundle = begin_littered();
            hit = collect_until(bundle, faults[i / 2].kind, n, spans[i % 2]);
            stopped += hit;
            expect_no_problem();
            assert_int_equal(collect(bundle), QN_OK);
            assert_int_equal(collect(bundle), QN_OK);
            expect_no_problem();
            const struct qn_bundle_state *now = NULL;
            assert_int_equal(qn__bundle_state(bundle, &now, NULL), QN_OK);
            assert_string_equal(qn_bundle_state_block(now, "base", "a")->schema, "new");
            assert_int_equal(count_blocks(), 1);
            qn_bundle_free(bundle);
        }
    }
    assert_true(stopped >= 16);
    print_message("gc was stopped %d times\n", stopped);
}

/* ---- a full disk ------------------------------------------------------------------------------------------------ */

/* Fill the bundle until something fails; what was committed stays, and after room was made it goes on. */
static void fill_up(void)
{
    static char text[64 * 1024 + 1];
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = QN_OK;
    int64_t version = 0;
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 1000 && status == QN_OK; i++) {
        char location[16];
        (void)snprintf(location, sizeof location, "%d", i);
        (void)memcpy(text, location, strlen(location)); /* each its own bytes */
        status = try_put(bundle, "base", location, text, &err);
        if (status == QN_OK) {
            status = qn_bundle_commit(bundle, location, &version, &err);
        }
    }
    print_message("full after %lld commits: %s\n", (long long)version, err.message);
    assert_int_equal(status, QN_ERR_IO);
    assert_non_null(strstr(err.message, strerror(ENOSPC)));
    assert_true(version > 0);
    struct qn_bundle *again = open_handle(NULL);
    assert_int_equal(qn_bundle_version(again), version);
    qn_bundle_free(again);
    expect_no_problem();
    assert_int_equal(count_beginning("_qanat/log", "."), 0);
    /* Removing by hand, and gc, make room on a disk that is full. */
    assert_int_equal(qn_bundle_reset(bundle, NULL, NULL), QN_OK);
    char *swept = NULL;
    assert_int_equal(qn_bundle_gc(bundle, 0, -1, 1, &swept, NULL), QN_OK);
    qn_text_free(swept);
    assert_int_equal(qn_bundle_set_checkpoint(bundle, "task", "1", NULL), QN_OK);
    assert_int_equal(commit(bundle, "room again"), version + 1);
    qn_bundle_free(bundle);
    expect_no_problem();
}

static void bundle__a_full_disk_loses_nothing(void **state)
{
    (void)state;
    pid_t child = fork(); /* its mounts are its own */
    assert_true(child >= 0);
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("qanat-test", bundle_path, "tmpfs", 0, "size=1m") != 0) {
            _exit(errno == EPERM ? 77 : 2);
        }
        (void)close(bundle_fd);
        bundle_fd = open(bundle_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fill_up();
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    if (WEXITSTATUS(how) == 77) {
        print_message("skipped: not allowed to mount a small file system\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(how), 0);
}

/* Writes that are cut short, as on a disk that is full, for whoever may not mount one. */
static void bundle__a_file_that_may_not_grow_is_an_error(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    put(bundle, "base", "a", "1");
    (void)commit(bundle, "first");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit little = { .rlim_cur = 400, .rlim_max = 400 }; /* less than a commit of two blocks */
        struct qn_bundle *own = NULL;
        struct qn_error err = QN_ERROR_INIT;
        (void)signal(SIGXFSZ, SIG_IGN);
        bool good = setrlimit(RLIMIT_FSIZE, &little) == 0 && qn_bundle_open(bundle_path, NULL, &own, NULL) == QN_OK;
        good = good && try_put(own, "base", "b", "2", NULL) == QN_OK && try_put(own, "base", "c", "3", NULL) == QN_OK;
        good = good && qn_bundle_commit(own, "too big", NULL, &err) == QN_ERR_IO &&
               strstr(err.message, "a commit") != NULL;
        good = good && qn_bundle_version(own) == 1;
        qn_bundle_free(own);
        _exit(good ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_int_equal(count_beginning("_qanat/log", "."), 0);
    put(bundle, "base", "b", "2");
    assert_int_equal(commit(bundle, "second"), 2);
    qn_bundle_free(bundle);
    expect_no_problem();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HANDLE_TEST(bundle__every_step_may_fail),
        HANDLE_TEST(bundle__a_writer_may_be_killed_at_every_step),
        ON_DISK_TEST(writers__two_at_once),
        ON_DISK_TEST(writers__eight_at_once),
        ON_DISK_TEST(writers__that_all_want_the_same_take_turns),
        ON_DISK_TEST(gc__takes_nothing_from_writers),
        HANDLE_TEST(writers__killed_at_any_time_harm_nobody),
        HANDLE_TEST(gc__may_fail_or_be_killed_at_every_step),
        HANDLE_TEST(bundle__a_full_disk_loses_nothing),
        HANDLE_TEST(bundle__a_file_that_may_not_grow_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
