/*
 * test_blob.c: a block appears whole under the name of its bytes, or leaves nothing.
 */
#include "bundle/blob.h"

#include "base/fault.h"
#include "bundle/folder.h"
#include "bundle_folder.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* SHA-256 of "abc" (FIPS 180-2, appendix B.1). */
#define ABC_NAME "data/ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.arrow"

static enum qn_status write_blob(const char *text, struct qn_sha256 *hash_out, struct qn_error *err)
{
    struct qn_blob_writer *writer = NULL;
    enum qn_status status = qn_blob_writer_new(bundle_fd, "arrow", &writer, err);
    size_t half = strlen(text) / 2;
    if (status == QN_OK) {
        status = qn_blob_writer_write(writer, text, half, err);
    }
    if (status == QN_OK) {
        status = qn_blob_writer_write(writer, text + half, strlen(text) - half, err);
    }
    if (status == QN_OK) {
        status = qn_blob_writer_finish(writer, hash_out, err);
    }
    qn_blob_writer_free(writer);
    return status;
}

static struct qn_sha256 keep(const char *text)
{
    struct qn_sha256 hash;
    struct qn_error err = QN_ERROR_INIT;
    if (write_blob(text, &hash, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return hash;
}

static void expect_no_leftovers(void)
{
    assert_int_equal(count_beginning("data", QN_TEMPORARY_PREFIX), 0);
}

static void blob__has_the_name_of_its_bytes(void **state)
{
    (void)state;
    struct qn_sha256 hash = keep("abc");
    assert_int_equal(faccessat(bundle_fd, ABC_NAME, F_OK, 0), 0);
    expect_no_leftovers();
    int fd = -1;
    char bytes[8] = "";
    assert_int_equal(qn_blob_open(bundle_fd, &hash, "arrow", &fd, NULL), QN_OK);
    assert_int_equal(read(fd, bytes, sizeof bytes), 3);
    assert_string_equal(bytes, "abc");
    (void)close(fd);
    assert_int_equal(qn_blob_verify(bundle_fd, &hash, "arrow", 3, NULL), QN_OK);
    assert_int_equal(qn_blob_verify(bundle_fd, &hash, "arrow", -1, NULL), QN_OK);
    struct qn_sha256 nothing = keep("");
    assert_int_equal(qn_blob_verify(bundle_fd, &nothing, "arrow", 0, NULL), QN_OK);
}

static void blob__damage_is_found_and_healed_by_writing_again(void **state)
{
    (void)state;
    struct qn_sha256 hash = keep("abc");
    int fd = openat(bundle_fd, ABC_NAME, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "B", 1, 1), 1);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_blob_verify(bundle_fd, &hash, "arrow", 3, &err), QN_ERR_DATA);
    assert_non_null(strstr(err.message, "was altered"));
    assert_int_equal(ftruncate(fd, 2), 0);
    (void)close(fd);
    assert_int_equal(qn_blob_verify(bundle_fd, &hash, "arrow", 3, &err), QN_ERR_DATA);
    assert_non_null(strstr(err.message, "has 2 bytes, not 3"));
    (void)keep("abc");
    assert_int_equal(qn_blob_verify(bundle_fd, &hash, "arrow", 3, NULL), QN_OK);
    assert_int_equal(unlinkat(bundle_fd, ABC_NAME, 0), 0);
    assert_int_equal(qn_blob_verify(bundle_fd, &hash, "arrow", 3, &err), QN_ERR_DATA);
    assert_non_null(strstr(err.message, "is missing"));
}

static void blob__nothing_leads_out_of_the_bundle(void **state)
{
    (void)state;
    struct qn_blob_writer *writer = NULL;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_blob_writer_new(bundle_fd, "../x", &writer, &err), QN_ERR_ARGUMENT);
    assert_null(writer);
    struct qn_sha256 hash = keep("abc");
    int fd = -1;
    assert_int_equal(qn_blob_open(bundle_fd, &hash, "../x", &fd, NULL), QN_ERR_ARGUMENT);
    assert_int_equal(unlinkat(bundle_fd, ABC_NAME, 0), 0);
    assert_int_equal(symlinkat("/etc/passwd", bundle_fd, ABC_NAME), 0);
    assert_int_equal(qn_blob_open(bundle_fd, &hash, "arrow", &fd, NULL), QN_ERR_IO);
    assert_int_equal(renameat(bundle_fd, "data", bundle_fd, "elsewhere"), 0);
    assert_int_equal(symlinkat("elsewhere", bundle_fd, "data"), 0);
    assert_int_equal(qn_blob_open(bundle_fd, &hash, "arrow", &fd, NULL), QN_ERR_IO);
    assert_int_equal(qn_blob_writer_new(bundle_fd, "arrow", &writer, NULL), QN_ERR_IO);
    assert_int_equal(fd, -1);
}

static void blob__one_that_is_not_finished_leaves_nothing(void **state)
{
    (void)state;
    struct qn_blob_writer *writer = NULL;
    assert_int_equal(qn_blob_writer_new(bundle_fd, "arrow", &writer, NULL), QN_OK);
    assert_int_equal(qn_blob_writer_write(writer, "abc", 3, NULL), QN_OK);
    assert_int_equal(count_beginning("data", QN_TEMPORARY_PREFIX), 1);
    qn_blob_writer_free(writer);
    assert_int_equal(count_beginning("data", ""), 0);
}

static void blob__every_step_may_fail(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("skipped: a build without fault points (-Dfaults=true)\n");
        skip();
    }
    static const enum qn_fault_kind kinds[] = { QN_FAULT_ALLOC, QN_FAULT_WRITE, QN_FAULT_FSYNC, QN_FAULT_RENAME };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool hit = true;
        for (int64_t n = 1; hit; n++) {
            char text[32];
            struct qn_sha256 hash;
            struct qn_error err = QN_ERROR_INIT;
            (void)snprintf(text, sizeof text, "%zu %lld", i, (long long)n);
            (void)qn_fault_arm(kinds[i], n, QN_FAULT_ONCE);
            enum qn_status status = write_blob(text, &hash, &err);
            hit = qn_fault_count(kinds[i]) >= n;
            (void)qn_fault_arm(kinds[i], 0, QN_FAULT_ONCE);
            assert_int_equal(status == QN_OK, !hit);
            expect_no_leftovers();
            if (status == QN_OK) {
                assert_int_equal(qn_blob_verify(bundle_fd, &hash, "arrow", (int64_t)strlen(text), NULL), QN_OK);
            } else {
                assert_int_equal(err.status, status);
            }
        }
    }
}

static bool nobody_needs(const struct qn_sha256 *hash, const char *format, void *context)
{
    (void)hash;
    (void)format;
    (void)context;
    return false;
}

static bool is_needed(const struct qn_sha256 *hash, const char *format, void *context)
{
    assert_string_equal(format, "arrow");
    return qn_sha256_equal(hash, context);
}

static void blob__a_writer_may_be_killed_at_every_step(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("skipped: a build without fault points (-Dfaults=true)\n");
        skip();
    }
    static const enum qn_fault_kind kinds[] = { QN_FAULT_WRITE, QN_FAULT_FSYNC, QN_FAULT_RENAME };
    struct qn_sha256 abc;
    assert_int_equal(qn_sha256_of("abc", 3, &abc, NULL), QN_OK);
    int kills = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (int64_t n = 1;; n++) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                struct qn_sha256 hash;
                (void)qn_fault_arm(kinds[i], n, QN_FAULT_KILL);
                _exit(write_blob("abc", &hash, NULL) == QN_OK ? 0 : 1);
            }
            int how = 0;
            assert_int_equal(waitpid(child, &how, 0), child);
            if (!WIFSIGNALED(how)) {
                assert_int_equal(WEXITSTATUS(how), 0);
                break;
            }
            kills++;
            if (faccessat(bundle_fd, ABC_NAME, F_OK, 0) == 0) { /* there, so whole */
                assert_int_equal(qn_blob_verify(bundle_fd, &abc, "arrow", 3, NULL), QN_OK);
            }
        }
    }
    assert_true(kills >= 8);
    struct qn_blob_sweep swept;
    assert_true(count_beginning("data", QN_TEMPORARY_PREFIX) > 0);
    assert_int_equal(qn_blob_sweep(bundle_fd, 0, is_needed, &abc, &swept, NULL), QN_OK);
    expect_no_leftovers();
    assert_int_equal(qn_blob_verify(bundle_fd, &abc, "arrow", 3, NULL), QN_OK);
}

static void blob__a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit small = { .rlim_cur = 10000, .rlim_max = 10000 };
        char text[8192];
        memset(text, 'x', sizeof text);
        struct qn_blob_writer *writer = NULL;
        struct qn_error err = QN_ERROR_INIT;
        struct qn_sha256 hash;
        (void)signal(SIGXFSZ, SIG_IGN);
        bool right =
            setrlimit(RLIMIT_FSIZE, &small) == 0 && qn_blob_writer_new(bundle_fd, "arrow", &writer, NULL) == QN_OK &&
            qn_blob_writer_write(writer, text, sizeof text, NULL) == QN_OK &&
            qn_blob_writer_write(writer, text, sizeof text, &err) == QN_ERR_IO &&
            strstr(err.message, "File too large") != NULL && qn_blob_writer_write(writer, text, 1, NULL) == QN_ERR_IO &&
            qn_blob_writer_finish(writer, &hash, NULL) == QN_ERR_IO;
        qn_blob_writer_free(writer);
        _exit(right ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    assert_int_equal(count_beginning("data", ""), 0);
}

static void blob__sweep_takes_what_is_old_and_not_needed(void **state)
{
    (void)state;
    struct qn_blob_sweep swept;
    assert_int_equal(qn_blob_sweep(bundle_fd, 0, nobody_needs, NULL, &swept, NULL), QN_OK); /* no data yet */
    assert_int_equal(swept.removed, 0);
    struct qn_sha256 abc = keep("abc");
    struct qn_sha256 other = keep("other");
    int foreign = openat(bundle_fd, "data/ba/README", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(foreign >= 0);
    (void)close(foreign);
    assert_int_equal(qn_blob_sweep(bundle_fd, 3600, nobody_needs, NULL, &swept, NULL), QN_OK);
    assert_int_equal(swept.removed, 0); /* young */
    assert_int_equal(qn_blob_sweep(bundle_fd, 0, is_needed, &abc, &swept, NULL), QN_OK);
    assert_int_equal(swept.removed, 1);
    assert_int_equal(swept.bytes, 5);
    assert_int_equal(qn_blob_verify(bundle_fd, &abc, "arrow", 3, NULL), QN_OK);
    assert_int_equal(qn_blob_verify(bundle_fd, &other, "arrow", 5, NULL), QN_ERR_DATA);
    const struct timespec long_ago[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    assert_int_equal(utimensat(bundle_fd, ABC_NAME, long_ago, 0), 0);
    (void)keep("abc"); /* wanted again: young again */
    assert_int_equal(qn_blob_sweep(bundle_fd, 3600, nobody_needs, NULL, &swept, NULL), QN_OK);
    assert_int_equal(swept.removed, 0);
    assert_int_equal(utimensat(bundle_fd, ABC_NAME, long_ago, 0), 0);
    assert_int_equal(qn_blob_sweep(bundle_fd, 3600, nobody_needs, NULL, &swept, NULL), QN_OK);
    assert_int_equal(swept.removed, 1);
    assert_int_equal(faccessat(bundle_fd, "data/ba/README", F_OK, 0), 0);
}

#define BLOB_TEST(name) cmocka_unit_test_setup_teardown(name, make_bundle_folder, remove_bundle_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BLOB_TEST(blob__has_the_name_of_its_bytes),
        BLOB_TEST(blob__damage_is_found_and_healed_by_writing_again),
        BLOB_TEST(blob__nothing_leads_out_of_the_bundle),
        BLOB_TEST(blob__one_that_is_not_finished_leaves_nothing),
        BLOB_TEST(blob__every_step_may_fail),
        BLOB_TEST(blob__a_writer_may_be_killed_at_every_step),
        BLOB_TEST(blob__a_full_disk_leaves_nothing),
        BLOB_TEST(blob__sweep_takes_what_is_old_and_not_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
