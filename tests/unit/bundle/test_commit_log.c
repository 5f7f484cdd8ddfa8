/*
 * test_commit_log.c: a history is opened, added to, travelled and verified; damage is found and blamed on the right commit.
 */
#include "bundle/commit_log.h"

#include "bundle/folder.h"
#include "bundle_folder.h"
#include "os/clock.h"

#define FEW 7

static struct qn_commit empty(const char *message)
{
    return (struct qn_commit){ .message = message };
}

static struct qn_commit_log *create(void)
{
    struct qn_commit first = empty("created");
    struct qn_commit_log *log = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_commit_log_create(bundle_fd, &first, &log, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return log;
}

static void append(struct qn_commit_log *log, const char *message)
{
    struct qn_commit commit = empty(message);
    struct qn_error err = QN_ERROR_INIT;
    bool lost = true;
    if (qn_commit_log_append(log, &commit, &lost, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_false(lost);
}

static void create_with(int commits)
{
    struct qn_commit_log *log = create();
    for (int i = 1; i < commits; i++) {
        append(log, "more");
    }
    qn_commit_log_free(log);
}

static struct qn_commit_log *reopen(void)
{
    struct qn_commit_log *log = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_commit_log_open(bundle_fd, &log, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return log;
}

/* The problems that verify finds, one a line, without the hashes. */
static void collect(const struct qn_log_problem *problem, void *context)
{
    char *text = context;
    size_t used = strlen(text);
    (void)snprintf(text + used, 1000 - used, "%lld %s\n", (long long)problem->version, problem->object);
    assert_true(problem->expected[0] != '\0' && problem->found[0] != '\0');
}

static void expect_problems(const char *expected)
{
    char text[1000] = "";
    struct qn_error err = QN_ERROR_INIT;
    if (qn_commit_log_verify(bundle_fd, collect, text, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(text, expected);
}

static void expect_open_fails(enum qn_status status, const char *message)
{
    struct qn_commit_log *log = NULL;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_commit_log_open(bundle_fd, &log, &err), status);
    assert_null(log);
    assert_string_equal(err.message, message);
}

static void path_of(int version, char out[64])
{
    (void)snprintf(out, 64, "_qanat/log/%020d.json", version);
}

static void flip_bit(const char *path, long at)
{
    int fd = openat(bundle_fd, path, O_RDWR | O_CLOEXEC);
    char byte = 0;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

static void log__create_open_append_read(void **state)
{
    (void)state;
    expect_open_fails(QN_ERR_CONFIG, "opening the bundle: there is none in this folder");
    struct qn_commit_log *log = create();
    assert_int_equal(qn_commit_log_head(log), 0);
    append(log, "one");
    struct qn_commit_log *other = reopen();
    assert_int_equal(qn_commit_log_head(other), 1);
    append(log, "two");
    assert_int_equal(qn_commit_log_refresh(other, NULL), QN_OK);
    assert_int_equal(qn_commit_log_head(other), 2);
    struct qn_commit commit;
    assert_int_equal(qn_commit_log_read(other, 2, &commit, NULL), QN_OK);
    assert_string_equal(commit.message, "two");
    assert_true(qn_sha256_equal(&commit.previous, qn_commit_log_hash(log, 1)));
    assert_true(commit.timestamp > qn_commit_log_timestamp(log, 1));
    qn_commit_dispose(&commit);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_commit_log_read(other, 3, &commit, &err), QN_ERR_ARGUMENT);
    assert_string_equal(err.message, "the bundle has no version 3 (it has 0 to 2)");
    struct qn_commit first = empty("again");
    struct qn_commit_log *none = NULL;
    assert_int_equal(qn_commit_log_create(bundle_fd, &first, &none, &err), QN_ERR_CONFIG);
    expect_problems("");
    assert_int_equal(count_beginning("_qanat/log", ""), 3);
    qn_commit_log_free(log);
    qn_commit_log_free(other);
}

static void log__a_taken_number_is_a_lost_race(void **state)
{
    (void)state;
    struct qn_commit_log *log = create();
    struct qn_commit_log *other = reopen();
    append(log, "first");
    struct qn_commit commit = empty("second");
    bool lost = false;
    assert_int_equal(qn_commit_log_append(other, &commit, &lost, NULL), QN_OK);
    assert_true(lost);
    assert_int_equal(qn_commit_log_head(other), 0);
    assert_int_equal(qn_commit_log_refresh(other, NULL), QN_OK);
    append(other, "second");
    assert_int_equal(qn_commit_log_head(other), 2);
    assert_int_equal(count_beginning("_qanat/log", "."), 0);
    expect_problems("");
    qn_commit_log_free(log);
    qn_commit_log_free(other);
}

static void log__times_grow_even_where_clocks_do_not(void **state)
{
    (void)state;
    struct qn_commit_log *log = create();
    struct qn_commit commit = empty("from the future");
    bool lost = false;
    commit.timestamp = INT64_C(4000000000000000);
    assert_int_equal(qn_commit_log_append(log, &commit, &lost, NULL), QN_OK);
    append(log, "now");
    assert_int_equal(qn_commit_log_timestamp(log, 2), INT64_C(4000000000000001));
    int64_t version = -1;
    assert_int_equal(qn_commit_log_find_time(log, INT64_C(4000000000000000), &version, NULL), QN_OK);
    assert_int_equal(version, 1);
    assert_int_equal(qn_commit_log_find_time(log, INT64_C(3999999999999999), &version, NULL), QN_OK);
    assert_int_equal(version, 0);
    assert_int_equal(qn_commit_log_find_time(log, 5, &version, NULL), QN_ERR_ARGUMENT);
    qn_commit_log_free(log);
}

static void log__versions_are_found_by_hash(void **state)
{
    (void)state;
    create_with(FEW);
    struct qn_commit_log *log = reopen();
    for (int64_t i = 0; i < FEW; i++) {
        char text[QN_SHA256_TEXT_SIZE];
        qn_sha256_format(qn_commit_log_hash(log, i), text);
        int64_t version = -1;
        assert_int_equal(qn_commit_log_find_hash(log, text, &version, NULL), QN_OK);
        assert_int_equal(version, i);
        text[16] = '\0';
        assert_int_equal(qn_commit_log_find_hash(log, text, &version, NULL), QN_OK);
        assert_int_equal(version, i);
    }
    int64_t version = -1;
    assert_int_equal(qn_commit_log_find_hash(log, "", &version, NULL), QN_ERR_ARGUMENT);
    assert_int_equal(qn_commit_log_find_hash(log, "ABCD", &version, NULL), QN_ERR_ARGUMENT);
    assert_int_equal(qn_commit_log_find_hash(log, "0123456789abcdef", &version, NULL), QN_ERR_ARGUMENT);
    assert_int_equal(version, -1);
    qn_commit_log_free(log);
}

static void log__a_removed_commit_is_named(void **state)
{
    (void)state;
    create_with(FEW);
    char path[64];
    path_of(3, path);
    assert_int_equal(unlinkat(bundle_fd, path, 0), 0);
    expect_open_fails(QN_ERR_DATA, "commit 3 of the log is missing");
    expect_problems("3 commit 3\n");
    path_of(4, path);
    assert_int_equal(unlinkat(bundle_fd, path, 0), 0);
    expect_problems("3 commits 3 to 4\n");
}

static void log__a_truncated_commit_is_named(void **state)
{
    (void)state;
    create_with(FEW);
    char path[64];
    path_of(FEW - 1, path);
    int fd = openat(bundle_fd, path, O_RDWR | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 40), 0);
    (void)close(fd);
    expect_open_fails(QN_ERR_DATA, "commit 6 of the log: a malformed commit: truncated, or not a commit");
    expect_problems("6 commit 6\n");
}

static void log__a_flipped_bit_is_blamed_on_its_commit(void **state)
{
    (void)state;
    create_with(FEW);
    for (int version = 0; version < FEW; version++) {
        char path[64];
        char expected[32];
        path_of(version, path);
        (void)snprintf(expected, sizeof expected, "%d commit %d\n", version, version);
        flip_bit(path, 60);
        expect_problems(expected);
        flip_bit(path, 60);
    }
    expect_problems("");
}

static void log__a_rewritten_commit_is_blamed_by_the_one_after_it(void **state)
{
    (void)state;
    create_with(FEW);
    struct qn_commit_log *log = reopen();
    struct qn_commit commit;
    assert_int_equal(qn_commit_log_read(log, 2, &commit, NULL), QN_OK);
    commit.message = "history as somebody would like it";
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    assert_int_equal(qn_commit_encode(&commit, &bytes, NULL), QN_OK);
    qn_commit_dispose(&commit);
    char path[64];
    path_of(2, path);
    int fd = openat(bundle_fd, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, bytes.data, bytes.size), (ssize_t)bytes.size);
    (void)close(fd);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_commit_log_read(log, 2, &commit, &err), QN_ERR_DATA);
    assert_string_equal(err.message, "commit 2 of the log was altered: its SHA-256 is not that of the chain");
    expect_problems("2 commit 2\n");
    expect_open_fails(QN_ERR_DATA, "commit 3 of the log does not follow commit 2: one of them was altered");
    qn_commit_log_free(log);
}

static void log__a_commit_that_is_no_file_is_refused(void **state)
{
    (void)state;
    create_with(2);
    assert_int_equal(symlinkat("/etc/passwd", bundle_fd, "_qanat/log/00000000000000000002.json"), 0);
    struct qn_commit_log *log = NULL;
    assert_int_equal(qn_commit_log_open(bundle_fd, &log, NULL), QN_ERR_IO);
    expect_problems("2 commit 2\n");
}

static void log__folders_are_not_followed_out_of_the_bundle(void **state)
{
    (void)state;
    create_with(2);
    assert_int_equal(renameat(bundle_fd, "_qanat", bundle_fd, "elsewhere"), 0);
    assert_int_equal(symlinkat("elsewhere", bundle_fd, "_qanat"), 0);
    struct qn_commit_log *log = NULL;
    assert_int_equal(qn_commit_log_open(bundle_fd, &log, NULL), QN_ERR_IO);
}

static void log__checkpoints_are_used_and_distrusted(void **state)
{
    (void)state;
    create_with(2 * QN_COMMIT_LOG_STEP + 3);
    assert_int_equal(count_beginning("_qanat/checkpoint", ""), 2);
    static const char newest[] = "_qanat/checkpoint/00000000000000000511.index";
    char altered[64];
    path_of(9, altered);
    flip_bit(altered, 60); /* covered: opening does not read it */
    struct qn_commit_log *log = reopen();
    assert_int_equal(qn_commit_log_head(log), 2 * QN_COMMIT_LOG_STEP + 2);
    struct qn_commit commit;
    assert_int_equal(qn_commit_log_read(log, 9, &commit, NULL), QN_ERR_DATA);
    qn_commit_log_free(log);
    expect_problems("9 commit 9\n");
    flip_bit(altered, 60);
    expect_problems("");
    flip_bit(newest, 100);
    log = reopen(); /* by the one before */
    assert_int_equal(qn_commit_log_head(log), 2 * QN_COMMIT_LOG_STEP + 2);
    qn_commit_log_free(log);
    expect_problems("-1 checkpoint 511\n");
    assert_int_equal(unlinkat(bundle_fd, newest, 0), 0);
    assert_int_equal(unlinkat(bundle_fd, "_qanat/checkpoint/00000000000000000255.index", 0), 0);
    log = reopen(); /* from the log alone */
    assert_int_equal(qn_commit_log_head(log), 2 * QN_COMMIT_LOG_STEP + 2);
    qn_commit_log_free(log);
}

static void log__an_end_that_was_cut_off_is_told_by_the_checkpoint(void **state)
{
    (void)state;
    create_with(QN_COMMIT_LOG_STEP);
    char path[64];
    path_of(QN_COMMIT_LOG_STEP - 1, path);
    assert_int_equal(unlinkat(bundle_fd, path, 0), 0);
    expect_open_fails(QN_ERR_DATA, "commit 255 of the log is missing: a checkpoint has commits up to 255");
    expect_problems("255 commit 255\n");
}

static void log__gc_waits_for_writers_and_leaves_young_files(void **state)
{
    (void)state;
    create_with(2);
    int writer = -1;
    int alone = -1;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_bundle_lock(bundle_fd, QN_LOCK_WRITER, QN_NO_DEADLINE, &writer, NULL), QN_OK);
    int second = -1;
    assert_int_equal(qn_bundle_lock(bundle_fd, QN_LOCK_WRITER, QN_NO_DEADLINE, &second, NULL), QN_OK);
    (void)close(second);
    assert_int_equal(qn_bundle_lock(bundle_fd, QN_LOCK_ALONE, qn_deadline_after_ms(1), &alone, &err), QN_ERR_TIMEOUT);
    assert_true(err.retryable);
    (void)close(writer);
    assert_int_equal(qn_bundle_lock(bundle_fd, QN_LOCK_ALONE, QN_NO_DEADLINE, &alone, NULL), QN_OK);
    int left = openat(bundle_fd, "_qanat/log/.qanat-1-2-3.tmp", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(left >= 0);
    int64_t removed = -1;
    assert_int_equal(qn_commit_log_sweep(bundle_fd, 3600, &removed, NULL), QN_OK);
    assert_int_equal(removed, 0);
    const struct timespec long_ago[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    assert_int_equal(futimens(left, long_ago), 0);
    (void)close(left);
    assert_int_equal(qn_commit_log_sweep(bundle_fd, 3600, &removed, NULL), QN_OK);
    assert_int_equal(removed, 1);
    assert_int_equal(count_beginning("_qanat/log", ""), 2);
    (void)close(alone);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, make_bundle_folder, remove_bundle_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(log__create_open_append_read),
        LOG_TEST(log__a_taken_number_is_a_lost_race),
        LOG_TEST(log__times_grow_even_where_clocks_do_not),
        LOG_TEST(log__versions_are_found_by_hash),
        LOG_TEST(log__a_removed_commit_is_named),
        LOG_TEST(log__a_truncated_commit_is_named),
        LOG_TEST(log__a_flipped_bit_is_blamed_on_its_commit),
        LOG_TEST(log__a_rewritten_commit_is_blamed_by_the_one_after_it),
        LOG_TEST(log__a_commit_that_is_no_file_is_refused),
        LOG_TEST(log__folders_are_not_followed_out_of_the_bundle),
        LOG_TEST(log__checkpoints_are_used_and_distrusted),
        LOG_TEST(log__an_end_that_was_cut_off_is_told_by_the_checkpoint),
        LOG_TEST(log__gc_waits_for_writers_and_leaves_young_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
