/*
 * test_policy.c: the launcher's policy: what is written is what is read, and nothing that is wrong is written or read.
 */
#include "sandbox/launcher.h"

#include "os/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const NONE[] = { NULL };
static const char *const PYTHON[] = { "/usr/bin/python3", NULL };

static enum qn_status read_bytes(const void *bytes, size_t size, struct qn_policy_file *out, struct qn_error *err)
{
    int fd = memfd_create("policy", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(qn_fd_write_all(fd, bytes, size, "policy", NULL), QN_OK);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    enum qn_status status = qn__policy_read(fd, out, err);
    (void)close(fd);
    return status;
}

static void expect_list(const char *const *list, const char *const *expected)
{
    size_t i = 0;
    for (; expected[i] != NULL; i++) {
        assert_non_null(list[i]);
        assert_string_equal(list[i], expected[i]);
    }
    assert_null(list[i]);
}

static void policy__comes_back_as_it_was_written(void **state)
{
    (void)state;
    static const char *const READABLE[] = { "/usr/lib", "/opt/a=b", "/srv/.hidden/..x", NULL };
    static const char *const LINKS[] = { "/lib=usr/lib", "/x=a=b", NULL };
    static const char *const ARGV[] = { "/usr/bin/python3", "", "-c", "line 1\nline 2 = ü", NULL };
    static const char *const ENVIRONMENT[] = { "A=", "B=tier=full", NULL };
    const struct qn_sandbox_policy policy = {
        .tier = QN_SANDBOX_REDUCED, .readable = READABLE, .links = LINKS, .argv = ARGV, .environment = ENVIRONMENT
    };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    qn_buffer_append_text(&bytes, "before");
    assert_int_equal(qn_sandbox_policy_write(&policy, &bytes, NULL), QN_OK);
    assert_memory_equal(bytes.data, "before", 6); /* it appends */
    struct qn_policy_file file;
    struct qn_error err = QN_ERROR_INIT;
    if (read_bytes(bytes.data + 6, bytes.size - 6, &file, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(file.policy.tier, QN_SANDBOX_REDUCED);
    expect_list(file.policy.readable, READABLE);
    expect_list(file.policy.links, LINKS);
    expect_list(file.policy.argv, ARGV);
    expect_list(file.policy.environment, ENVIRONMENT);
    qn__policy_dispose(&file);
}

static void policy__refuses_paths_that_are_not_plain(void **state)
{
    (void)state;
    static const char *const BAD[] = { "",    "/",     "relative", "/a/../b", "/a/.", "/..",      "/a//b",
                                       "/a/", "/proc", "/proc/1",  "/sys/fs", "/dev", "/dev/null" };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        const char *const readable[] = { "/usr", BAD[i], NULL };
        const struct qn_sandbox_policy policy = {
            .readable = readable, .links = NONE, .argv = PYTHON, .environment = NONE
        };
        qn_auto_buffer bytes = QN_BUFFER_INIT;
        struct qn_error err = QN_ERROR_INIT;
        char message[128];
        (void)snprintf(message, sizeof message, "sandbox policy: \"readable=%s\" is not allowed", BAD[i]);
        assert_int_equal(qn_sandbox_policy_write(&policy, &bytes, &err), QN_ERR_ARGUMENT);
        assert_string_equal(err.message, message);
        assert_int_equal(bytes.size, 0);
    }
    char *long_path = malloc(5000);
    assert_non_null(long_path);
    memset(long_path, 'a', 5000);
    long_path[0] = '/';
    long_path[4999] = '\0';
    const char *const readable[] = { long_path, NULL };
    const struct qn_sandbox_policy policy = {
        .readable = readable, .links = NONE, .argv = PYTHON, .environment = NONE
    };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    assert_int_equal(qn_sandbox_policy_write(&policy, &bytes, NULL), QN_ERR_ARGUMENT);
    free(long_path);
    static const char *const FINE[] = { "/processes", "/devices/x", "/system", "/a/...", NULL };
    const struct qn_sandbox_policy fine = { .readable = FINE, .links = NONE, .argv = PYTHON, .environment = NONE };
    assert_int_equal(qn_sandbox_policy_write(&fine, &bytes, NULL), QN_OK);
}

static void policy__refuses_links_and_variables_without_a_value(void **state)
{
    (void)state;
    static const char *const LINKS[][2] = {
        { "/lib", NULL }, { "/lib=", NULL }, { "lib=x", NULL }, { "/a/../b=x", NULL }
    };
    static const char *const VARIABLES[][2] = { { "A", NULL }, { "=x", NULL }, { "", NULL } };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    for (size_t i = 0; i < sizeof LINKS / sizeof *LINKS; i++) {
        const struct qn_sandbox_policy policy = {
            .readable = NONE, .links = LINKS[i], .argv = PYTHON, .environment = NONE
        };
        assert_int_equal(qn_sandbox_policy_write(&policy, &bytes, NULL), QN_ERR_ARGUMENT);
    }
    for (size_t i = 0; i < sizeof VARIABLES / sizeof *VARIABLES; i++) {
        const struct qn_sandbox_policy policy = {
            .readable = NONE, .links = NONE, .argv = PYTHON, .environment = VARIABLES[i]
        };
        assert_int_equal(qn_sandbox_policy_write(&policy, &bytes, NULL), QN_ERR_ARGUMENT);
    }
    assert_int_equal(bytes.size, 0);
}

static void policy__needs_an_interpreter(void **state)
{
    (void)state;
    static const char *const RELATIVE[] = { "python3", NULL };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    const struct qn_sandbox_policy none = { .readable = NONE, .links = NONE, .argv = NONE, .environment = NONE };
    const struct qn_sandbox_policy relative = {
        .readable = NONE, .links = NONE, .argv = RELATIVE, .environment = NONE
    };
    assert_int_equal(qn_sandbox_policy_write(&none, &bytes, NULL), QN_ERR_ARGUMENT);
    assert_int_equal(qn_sandbox_policy_write(&relative, &bytes, NULL), QN_ERR_ARGUMENT);
}

static void policy__has_a_limit_on_paths_and_on_bytes(void **state)
{
    (void)state;
    const char **many = calloc(QN_SANDBOX_MAX_PATHS + 2, sizeof *many);
    char *huge = malloc(QN_SANDBOX_MAX_POLICY + 1);
    assert_non_null(many);
    assert_non_null(huge);
    for (size_t i = 0; i < QN_SANDBOX_MAX_PATHS; i++) {
        many[i] = "/usr";
    }
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    struct qn_sandbox_policy policy = { .readable = many, .links = NONE, .argv = PYTHON, .environment = NONE };
    assert_int_equal(qn_sandbox_policy_write(&policy, &bytes, &err), QN_OK);
    struct qn_policy_file file;
    assert_int_equal(read_bytes(bytes.data, bytes.size, &file, &err), QN_OK);
    qn__policy_dispose(&file);
    many[QN_SANDBOX_MAX_PATHS] = "/usr";
    assert_int_equal(qn_sandbox_policy_write(&policy, &bytes, &err), QN_ERR_ARGUMENT);
    assert_string_equal(err.message, "sandbox policy: 1025 records \"readable=\" exceed 1024");
    memset(huge, 'a', QN_SANDBOX_MAX_POLICY);
    huge[QN_SANDBOX_MAX_POLICY] = '\0';
    const char *const argv[] = { "/usr/bin/python3", huge, NULL };
    policy = (struct qn_sandbox_policy){ .readable = NONE, .links = NONE, .argv = argv, .environment = NONE };
    assert_int_equal(qn_sandbox_policy_write(&policy, &bytes, &err), QN_ERR_NO_MEMORY);
    assert_int_equal(read_bytes(huge, QN_SANDBOX_MAX_POLICY + 1, &file, &err), QN_ERR_NO_MEMORY);
    free(many);
    free(huge);
}

static void policy__refuses_records_that_it_does_not_know(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *message;
    } BAD[] = {
        { "", 0, "sandbox policy: it is cut off" },
        { "tier=full", 9, "sandbox policy: it is cut off" },
        { "tier=none", 10, "sandbox policy: record \"tier=none\" is not known" },
        { "tier=full\0tier=full", 20, "sandbox policy: record \"tier=full\" is not known" },
        { "tier=full\0\0arg=/x", 18, "sandbox policy: record \"\" is not known" },
        { "tier=full\0other=x", 18, "sandbox policy: record \"other=x\" is not known" },
        { "arg=/x", 7, "sandbox policy: no tier" },
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct qn_policy_file file;
        struct qn_error err = QN_ERROR_INIT;
        assert_int_equal(read_bytes(BAD[i].bytes, BAD[i].size, &file, &err), QN_ERR_ARGUMENT);
        assert_string_equal(err.message, BAD[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy__comes_back_as_it_was_written),
        cmocka_unit_test(policy__refuses_paths_that_are_not_plain),
        cmocka_unit_test(policy__refuses_links_and_variables_without_a_value),
        cmocka_unit_test(policy__needs_an_interpreter),
        cmocka_unit_test(policy__has_a_limit_on_paths_and_on_bytes),
        cmocka_unit_test(policy__refuses_records_that_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
