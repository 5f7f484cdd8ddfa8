/*
 * test_fetch_ipc.c: fetching from connectors in processes of their own: one that dies, one that gives more than memory
 * holds, and an engine that is killed in the middle.
 * usage: test_fetch_ipc PYTHON CONNECTOR SDK
 */
#include "fetch_fixture.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define MIB 1024 /* kB */

static const char *python, *script;

/* A source of "base" with these places. */
static void add_places(const char *words, char **id_out)
{
    char uri[512], arguments[32768];
    (void)snprintf(uri, sizeof uri, "ipc::'%s' '%s'", python, script);
    (void)snprintf(arguments, sizeof arguments, "{\"places\": \"%s\"}", words);
    ok(qn_bundle_set_config(bundle, "system.allow_external_code", "true", false, &error));
    ok(qn_bundle_import_connector(bundle, "acme.places", uri, NULL, true, &error));
    ok(qn_bundle_create_source(bundle, "acme.places", arguments, "base", "arrow", id_out, &error));
}

static int set_up_bare(void **state)
{
    return make_bundle_folder(state) == 0 && qn_bundle_create(bundle_path, NULL, &bundle, &error) == QN_OK ? 0 : -1;
}

/* trace: C26 */
static void fetch__a_process_that_dies_harms_its_location_only(void **state)
{
    (void)state;
    char *text = NULL;
    add_places("rows:10:a crash:100 rows:10:b raise:0 rows:10:c rows:10:d", NULL);
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CONNECTOR,
            "connector \"acme.places\": location \"crash:100\"");
    json_t *all = take_json(text);
    const json_t *result = json_array_get(all, 0);
    expect_member(result, "added", "[\"rows:10:a\",\"rows:10:b\",\"rows:10:c\",\"rows:10:d\"]");
    const json_t *failed = json_object_get(result, "failed");
    assert_int_equal(json_array_size(failed), 2);
    const char *raised = json_string_value(json_object_get(json_array_get(failed, 1), "error"));
    assert_non_null(strstr(raised, "no such luck"));
    json_decref(all);
    expect_rows("base", 40, 180);
    ok(qn_bundle_commit(bundle, "the others", NULL, &error));
    expect_sound();
}

/* Peak of this process's own memory in kB; "reset" begins anew. */
static void reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "5", 1), 1);
    (void)close(fd);
}

static long peak_kb(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kb = -1;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "VmHWM: %ld", &kb);
    }
    (void)fclose(file);
    assert_true(kb > 0);
    return kb;
}

/* trace: B5 */
static void fetch__memory_is_bounded_by_the_batch(void **state)
{
    (void)state;
    json_t *all = NULL;
    add_places("rows:1", NULL);
    (void)fetched(QN_FETCH_ADD, NULL, &all); /* what is loaded once is loaded */
    json_decref(all);
    char *id = NULL;
    add_places("big:400", &id);
    const struct qn_fetch_options options = { .struct_size = sizeof options, .source = id };
    reset_peak();
    long idle = peak_kb();
    const json_t *result = fetched(QN_FETCH_ADD, &options, &all);
    expect_member(result, "added", "[\"big:400\"]");
    expect_member(result, "rows", "52428800");
    json_decref(all);
    assert_true(peak_kb() - idle < 64 * MIB);
    struct ArrowArrayStream stream;
    int64_t rows = 0;
    reset_peak();
    ok(qn_bundle_stream(bundle, "base", NULL, 0, &stream, &error));
    for (;;) {
        qn_auto_array batch = { 0 };
        ok(qn_stream_next(&stream, &batch, &error));
        if (batch.release == NULL) {
            break;
        }
        rows += batch.length;
    }
    qn_stream_release(&stream);
    assert_int_equal(rows, 52428801);
    assert_true(peak_kb() - idle < 64 * MIB);
    qn_text_free(id);
}

static int tell_rows(void *context, const struct qn_fetch_progress *progress)
{
    if (progress->rows > 200000) {
        (void)!write(*(int *)context, "x", 1);
    }
    return 0;
}

static _Noreturn void fetch_for_ever(int tell)
{
    const struct qn_fetch_options options = { .struct_size = sizeof options,
                                              .progress = tell_rows,
                                              .progress_context = &tell };
    struct qn_bundle *own = NULL;
    char uri[512];
    (void)snprintf(uri, sizeof uri, "ipc::'%s' '%s'", python, script);
    if (qn_bundle_open(bundle_path, NULL, &own, NULL) == QN_OK &&
        qn_bundle_set_config(own, "system.allow_external_code", "true", false, NULL) == QN_OK &&
        qn_bundle_import_connector(own, "acme.places", uri, NULL, true, NULL) == QN_OK) {
        char *text = NULL;
        (void)!qn_bundle_fetch(own, "base", QN_FETCH_ADD, &options, &text, NULL);
    }
    _exit(1); /* it did not wait to be killed */
}

static void fetch__an_engine_that_is_killed_leaves_the_last_commit(void **state)
{
    (void)state;
    int pipes[2], status = 0;
    char byte;
    json_t *all = NULL;
    char *id = NULL;
    add_places("rows:10", NULL);
    (void)fetched(QN_FETCH_ADD, NULL, &all);
    json_decref(all);
    add_places("rows:1000 wait:1 rows:2000", &id);
    int64_t version = -1;
    ok(qn_bundle_commit(bundle, "the last", &version, &error));
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fetch_for_ever(pipes[1]);
    }
    (void)close(pipes[1]);
    assert_int_equal(read(pipes[0], &byte, 1), 1); /* all that can come has come; a block is half written */
    assert_true(count_beginning("data", ".qanat-") > 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    (void)close(pipes[0]);
    qn_bundle_free(bundle);
    ok(qn_bundle_open(bundle_path, NULL, &bundle, &error));
    assert_int_equal(qn_bundle_version(bundle), version);
    expect_rows("base", 10, 45);
    ok(qn_commit_log_verify(bundle_fd, show_problem, NULL, &error));
    ok(qn_bundle_drop_source(bundle, id, &error));
    add_places("rows:1000 rows:2000", NULL);
    (void)fetched(QN_FETCH_SYNC, NULL, &all); /* and it goes on */
    json_decref(all);
    ok(qn_bundle_commit(bundle, "after", NULL, &error));
    expect_rows("base", 3010, 45 + 499500 + 1999000);
    qn_text_free(id);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_bare, tear_down)
        TEST(fetch__a_process_that_dies_harms_its_location_only),
        TEST(fetch__memory_is_bounded_by_the_batch),
        TEST(fetch__an_engine_that_is_killed_leaves_the_last_commit),
    };
    if (argc != 4 || setenv("PYTHONPATH", argv[3], 1) != 0) {
        (void)fprintf(stderr, "usage: test_fetch_ipc PYTHON CONNECTOR SDK\n");
        return 2;
    }
    python = argv[1];
    script = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
