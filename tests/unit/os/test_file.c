/*
 * test_file.c: whole files in and out; whatever fails, the old file or the new one is there, whole, and nothing else.
 */
#include "os/file.h"

#include "base/fault.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static int folder_fd;

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/qanat-test-file-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder_fd >= 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    DIR *entries = opendir(folder);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        (void)unlinkat(folder_fd, entry->d_name, 0);
    }
    (void)closedir(entries);
    (void)close(folder_fd);
    return rmdir(folder);
}

static int count_files(void)
{
    int count = 0;
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    (void)closedir(entries);
    return count;
}

static void expect_content(const char *name, const void *bytes, size_t size)
{
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_file_read(folder_fd, name, 1 << 24, &buffer, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(buffer.size, size);
    if (size > 0) {
        assert_memory_equal(buffer.data, bytes, size);
    }
}

static void replace(const char *name, const char *text)
{
    struct qn_error err = QN_ERROR_INIT;
    if (qn_file_replace(folder_fd, name, text, strlen(text), 0600, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
}

static void file__replace_makes_and_replaces(void **state)
{
    (void)state;
    replace("a", "first");
    expect_content("a", "first", 5);
    replace("a", "second, longer");
    expect_content("a", "second, longer", 14);
    replace("a", "");
    expect_content("a", "", 0);
    struct stat facts;
    assert_int_equal(fstatat(folder_fd, "a", &facts, 0), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
    assert_int_equal(count_files(), 1);
}

static void file__replace_takes_paths_with_folders(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/b", folder);
    assert_int_equal(qn_file_replace(AT_FDCWD, path, "x", 1, 0600, NULL), QN_OK);
    expect_content("b", "x", 1);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_file_replace(folder_fd, "nowhere/b", "x", 1, 0600, &err), QN_ERR_IO);
    assert_string_equal(err.message, "writing \"nowhere/b\": No such file or directory");
}

static void file__a_name_of_the_longest_length_can_be_replaced(void **state)
{
    (void)state;
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    replace(name, "x");
    expect_content(name, "x", 1);
}

static void file__large_content_survives(void **state)
{
    (void)state;
    size_t size = 3 << 20;
    char *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(i * 31 + (i >> 12));
    }
    assert_int_equal(qn_file_replace(folder_fd, "large", bytes, size, 0644, NULL), QN_OK);
    expect_content("large", bytes, size);
    free(bytes);
}

static void file__read_appends_and_knows_its_limit(void **state)
{
    (void)state;
    replace("c", "0123456789");
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    qn_buffer_append_text(&buffer, "before:");
    assert_int_equal(qn_file_read(folder_fd, "c", 9, &buffer, &err), QN_ERR_IO);
    assert_string_equal(err.message, "reading \"c\": more than the limit of 9 bytes");
    assert_string_equal(buffer.data, "before:");
    assert_int_equal(qn_buffer_check(&buffer, "text", NULL), QN_OK);
    assert_int_equal(qn_file_read(folder_fd, "c", 10, &buffer, &err), QN_OK);
    assert_string_equal(buffer.data, "before:0123456789");
    assert_int_equal(qn_file_read(folder_fd, "c", 0, &buffer, &err), QN_ERR_IO);
    assert_int_equal(qn_file_read(folder_fd, "c", SIZE_MAX, &buffer, &err), QN_OK);
    assert_string_equal(buffer.data, "before:01234567890123456789");
}

static void file__read_takes_files_whose_size_is_not_known(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    assert_int_equal(qn_file_read(AT_FDCWD, "/proc/self/status", 1 << 20, &buffer, NULL), QN_OK);
    assert_non_null(strstr(buffer.data, "Pid:"));
    qn_buffer_reset(&buffer);
    assert_int_equal(qn_file_read(AT_FDCWD, "/dev/zero", 200000, &buffer, NULL), QN_ERR_IO); /* endless */
    assert_int_equal(buffer.size, 0);
}

static void file__read_names_what_it_cannot_read(void **state)
{
    (void)state;
    qn_auto_buffer buffer = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_file_read(folder_fd, "absent", 100, &buffer, &err), QN_ERR_IO);
    assert_string_equal(err.message, "reading \"absent\": No such file or directory");
    assert_int_equal(qn_file_read(AT_FDCWD, folder, 100, &buffer, &err), QN_ERR_IO);
    assert_non_null(strstr(err.message, "Is a directory"));
    qn_auto_buffer small = QN_BUFFER_INIT;
    small.limit = 5;
    replace("d", "0123456789");
    assert_int_equal(qn_file_read(folder_fd, "d", 100, &small, &err), QN_ERR_NO_MEMORY);
    assert_string_equal(err.message, "d: more than the limit of 5 bytes");
    assert_int_equal(small.size, 0);
}

static void file__a_write_to_a_closed_pipe_raises_no_signal(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    (void)close(ends[0]);
    struct qn_error err = QN_ERROR_INIT;
    /* SIGPIPE has its default: it would end this program. */
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    assert_int_equal(qn_fd_write_all(ends[1], "x", 1, "the worker's input", &err), QN_ERR_IO);
    assert_string_equal(err.message, "writing the worker's input: Broken pipe");
    sigset_t pending;
    sigset_t blocked;
    assert_int_equal(sigpending(&pending), 0);
    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &blocked), 0);
    assert_int_equal(sigismember(&blocked, SIGPIPE), 0);
    (void)close(ends[1]);
}

static void skip_without_faults(void)
{
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without -Dfaults=true\n");
        skip();
    }
}

/* Replace the file with the n-th operation of `kind` failing, for every n; returns how many failed. */
static int sweep_replace(enum qn_fault_kind kind, const char *path, int new_in_place_from)
{
    int failed = 0;
    for (int64_t n = 1;; n++) {
        replace("swept", "the old content");
        int files = count_files();
        assert_true(qn_fault_arm(kind, n, QN_FAULT_ONCE));
        struct qn_error err = QN_ERROR_INIT;
        enum qn_status status = qn_file_replace(folder_fd, path, "the new one", 11, 0600, &err);
        int64_t hits = qn_fault_count(kind);
        (void)qn_fault_arm(kind, 0, QN_FAULT_ONCE);
        assert_int_equal(count_files(), files);
        if (status == QN_OK) {
            assert_true(hits < n);
            expect_content("swept", "the new one", 11);
            return failed;
        }
        failed++;
        assert_int_equal(status, kind == QN_FAULT_ALLOC ? QN_ERR_NO_MEMORY : QN_ERR_IO);
        if (failed >= new_in_place_from) {
            expect_content("swept", "the new one", 11);
        } else {
            expect_content("swept", "the old content", 15);
        }
    }
}

static void file__a_replacement_that_fails_anywhere_leaves_one_whole_file(void **state)
{
    (void)state;
    skip_without_faults();
    char path[128];
    (void)snprintf(path, sizeof path, "%s/swept", folder);
    assert_int_equal(sweep_replace(QN_FAULT_WRITE, "swept", 99), 2); /* create, write */
    assert_int_equal(sweep_replace(QN_FAULT_FSYNC, "swept", 2), 2);  /* the file; the folder, after the rename */
    assert_int_equal(sweep_replace(QN_FAULT_RENAME, "swept", 99), 1);
    assert_int_equal(sweep_replace(QN_FAULT_ALLOC, path, 99), 1);
}

static void file__a_read_that_fails_anywhere_leaves_the_buffer(void **state)
{
    (void)state;
    skip_without_faults();
    replace("e", "some content");
    for (int kind = QN_FAULT_ALLOC; kind <= QN_FAULT_READ; kind++) {
        int failed = 0;
        for (int64_t n = 1;; n++) {
            qn_auto_buffer buffer = QN_BUFFER_INIT;
            qn_buffer_append_text(&buffer, "kept");
            if (kind == QN_FAULT_ALLOC) { /* no room left, so that it has to grow */
                while (buffer.size < buffer.capacity) {
                    qn_buffer_append_byte(&buffer, '.');
                }
            }
            size_t before = buffer.size;
            assert_true(qn_fault_arm((enum qn_fault_kind)kind, n, QN_FAULT_ONCE));
            enum qn_status status = qn_file_read(folder_fd, "e", 100, &buffer, NULL);
            (void)qn_fault_arm((enum qn_fault_kind)kind, 0, QN_FAULT_ONCE);
            assert_int_equal(qn_buffer_check(&buffer, "text", NULL), QN_OK);
            if (status == QN_OK) {
                assert_int_equal(buffer.size, before + 12);
                assert_string_equal(buffer.data + before, "some content");
                break;
            }
            failed++;
            assert_int_equal(buffer.size, before);
            assert_int_equal(strlen(buffer.data), before);
        }
        assert_true(failed >= 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(file__replace_makes_and_replaces, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(file__replace_takes_paths_with_folders, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(file__a_name_of_the_longest_length_can_be_replaced, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(file__large_content_survives, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(file__read_appends_and_knows_its_limit, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(file__read_takes_files_whose_size_is_not_known, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(file__read_names_what_it_cannot_read, make_folder, remove_folder),
        cmocka_unit_test(file__a_write_to_a_closed_pipe_raises_no_signal),
        cmocka_unit_test_setup_teardown(file__a_replacement_that_fails_anywhere_leaves_one_whole_file, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(file__a_read_that_fails_anywhere_leaves_the_buffer, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
