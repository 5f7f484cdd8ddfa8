/*
 * test_fetch_faults.c: fetches that run out of disk or memory, or whose process is killed, at every step: what was attached
 * is whole, what was not leaves nothing, and the next fetch goes on.
 */
#include "fetch_fixture.h"

#include "base/fault.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const struct place there[] = { PLACE("a", 0, 3), PLACE("b", 10, 1500), PLACE("bad", 0, 1, .trouble = FAILS),
                                      PLACE("c", 20, 3) };
#define ALL_ROWS 1506
#define ALL_SUM  (3 + (1500 * 10 + 1500 * 1499 / 2) + 63)

static const struct {
    enum qn_fault_kind kind;
    const char *name;
} faults[] = { { QN_FAULT_WRITE, "write" },
               { QN_FAULT_FSYNC, "fsync" },
               { QN_FAULT_RENAME, "rename" },
               { QN_FAULT_LINK, "link" },
               { QN_FAULT_READ, "read" } };

static int in_results(const json_t *results, const char *list)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(results); i++) {
        n += (int)json_array_size(json_object_get(json_array_get(results, i), list));
    }
    return n;
}

static enum qn_status fetch_all(json_t **out)
{
    const struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true, .parallel = 2 };
    char *text = NULL;
    error = (struct qn_error)QN_ERROR_INIT;
    enum qn_status status = qn_bundle_fetch(bundle, "base", QN_FETCH_UPDATE, &options, &text, &error);
    *out = text != NULL ? take_json(text) : json_array();
    return status;
}

/* What is attached can be read, and is no more than what was said. */
static void expect_consistent(const json_t *results)
{
    char *text = NULL;
    ok(qn_bundle_files(bundle, "base", &text, &error));
    json_t *files = take_json(text);
    assert_int_equal(json_array_size(files), in_results(results, "added"));
    json_decref(files);
    int64_t counted = 0, read = 0;
    ok(qn_bundle_rows(bundle, "base", &counted, &error));
    if (counted > 0) {
        (void)sum_of_ids("base", &read);
        assert_int_equal(read, counted);
    }
    assert_int_equal(count_beginning("data", ".qanat-"), 0);
}

/* After whatever happened: all of it, by another fetch, and it can be committed. */
static void expect_to_go_on(void)
{
    json_t *results = NULL;
    ok(fetch_all(&results));
    json_decref(results);
    expect_rows("base", ALL_ROWS, ALL_SUM);
    ok(qn_bundle_commit(bundle, "all", NULL, &error));
    open_again();
    expect_rows("base", ALL_ROWS, ALL_SUM);
    expect_sound();
}

static void begin(void)
{
    assert_int_equal(set_up(NULL), 0);
    ARRANGE(0, there);
}

static void faults__every_step_of_the_disk(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        for (int64_t n = 1;; n++) {
            json_t *results = NULL;
            begin();
            if (!qn_fault_arm(faults[i].kind, n, QN_FAULT_ONCE)) {
                print_message("skipped: this build has no fault points\n");
                assert_int_equal(tear_down(NULL), 0);
                return;
            }
            enum qn_status status = fetch_all(&results);
            int64_t hits = qn_fault_count(faults[i].kind);
            (void)qn_fault_arm(faults[i].kind, 0, QN_FAULT_ONCE);
            if (hits >= n && status != QN_OK && status != QN_ERR_IO && status != QN_ERR_DATA) {
                fail_msg("%s %lld: %s", faults[i].name, (long long)n, error.message);
            }
            expect_consistent(results);
            json_decref(results);
            expect_to_go_on();
            assert_int_equal(tear_down(NULL), 0);
            if (hits < n) {
                print_message("%s: %lld steps\n", faults[i].name, (long long)n - 1);
                break; /* it was never reached */
            }
        }
    }
}

static void faults__a_disk_that_stays_full(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 8; n++) {
        json_t *results = NULL;
        begin();
        if (!qn_fault_arm(QN_FAULT_WRITE, n, QN_FAULT_FROM_THEN_ON)) {
            print_message("skipped: this build has no fault points\n");
            assert_int_equal(tear_down(NULL), 0);
            return;
        }
        enum qn_status status = fetch_all(&results);
        bool hit = qn_fault_count(QN_FAULT_WRITE) >= n;
        (void)qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE);
        assert_int_equal(status, hit ? QN_ERR_IO : QN_OK); /* not a failure of locations: it ends the fetch */
        expect_consistent(results);
        json_decref(results);
        if (hit) {
            json_t *list = failures();
            for (size_t i = 0; i < json_array_size(list); i++) {
                expect_member(json_array_get(list, i), "location", "\"bad\"");
            }
            json_decref(list);
        }
        expect_to_go_on();
        assert_int_equal(tear_down(NULL), 0);
    }
}

/* A limit on the size of files stands in for a full disk that no build option is needed for. */
static void faults__a_block_that_does_not_fit(void **state)
{
    (void)state;
    static const struct place large[] = { PLACE("small", 0, 3), PLACE("large", 0, 200000) };
    struct rlimit before;
    json_t *results = NULL;
    assert_int_equal(set_up(NULL), 0);
    ARRANGE(0, large);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit little = { .rlim_cur = 1 << 20, .rlim_max = before.rlim_max };
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    enum qn_status status = fetch_all(&results);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, QN_ERR_IO);
    assert_non_null(strstr(error.message, "a block of the bundle"));
    expect_consistent(results);
    json_decref(results);
    ok(fetch_all(&results));
    json_decref(results);
    ok(qn_bundle_commit(bundle, "both", NULL, &error));
    expect_rows("base", 200003, INT64_C(3) + INT64_C(200000) * 199999 / 2);
    expect_sound();
    assert_int_equal(tear_down(NULL), 0);
}

static void faults__every_allocation(void **state)
{
    (void)state;
    int64_t step = getenv("QANAT_TORTURE") != NULL ? 1 : 7;
    for (int64_t n = 1;; n += step) {
        json_t *results = NULL;
        begin();
        if (!qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE)) {
            print_message("skipped: this build has no fault points\n");
            assert_int_equal(tear_down(NULL), 0);
            return;
        }
        enum qn_status status = fetch_all(&results);
        int64_t hits = qn_fault_count(QN_FAULT_ALLOC);
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        if (status != QN_OK && status != QN_ERR_NO_MEMORY) {
            fail_msg("allocation %lld: %s", (long long)n, error.message);
        }
        if (json_array_size(results) > 0 || status == QN_OK) {
            expect_consistent(results);
        }
        json_decref(results);
        expect_to_go_on();
        assert_int_equal(tear_down(NULL), 0);
        if (hits < n) {
            print_message("%lld allocations\n", (long long)hits);
            break;
        }
    }
}

/* Reading asks for memory, too: a stream fails so, and the next one does not. */
static void faults__every_allocation_of_a_read(void **state)
{
    (void)state;
    static const char *const columns[] = { "text", "_location", "id", "_commit" };
    json_t *results = NULL;
    begin();
    ok(fetch_all(&results));
    json_decref(results);
    ok(qn_bundle_commit(bundle, "all", NULL, &error));
    for (int64_t n = 1;; n++) {
        struct ArrowArrayStream stream = { 0 };
        int64_t rows = 0;
        if (!qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE)) {
            print_message("skipped: this build has no fault points\n");
            break;
        }
        enum qn_status status = qn_bundle_stream(bundle, "base", columns, 4, &stream, &error);
        for (bool more = status == QN_OK; more;) {
            qn_auto_array batch = { 0 };
            status = qn_stream_next(&stream, &batch, &error);
            more = status == QN_OK && batch.release != NULL;
            rows += more ? batch.length : 0;
        }
        bool hit = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        qn_stream_release(&stream);
        assert_int_equal(status, hit ? QN_ERR_NO_MEMORY : QN_OK);
        if (!hit) {
            assert_int_equal(rows, ALL_ROWS);
            break;
        }
    }
    expect_rows("base", ALL_ROWS, ALL_SUM);
    assert_int_equal(tear_down(NULL), 0);
}

/* ---- killed ----------------------------------------------------------------------------------------------------- */

static _Noreturn void fetch_and_commit(enum qn_fault_kind kind, int64_t n)
{
    json_t *results = NULL;
    qn_bundle_free(bundle); /* of another process: frees memory only */
    bundle = NULL;
    open_again();
    (void)qn_fault_arm(kind, n, QN_FAULT_KILL);
    (void)!fetch_all(&results);
    (void)!qn_bundle_commit(bundle, "of the child", NULL, NULL);
    _exit(0);
}

static void faults__killed_at_every_step(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        return;
    }
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        bool killed = true;
        for (int64_t n = 1; killed; n++) {
            int status = 0;
            begin();
            ok(qn_bundle_commit(bundle, "the source", NULL, &error));
            int64_t before = qn_bundle_version(bundle);
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                fetch_and_commit(faults[i].kind, n);
            }
            assert_int_equal(waitpid(child, &status, 0), child);
            killed = WIFSIGNALED(status);
            assert_true(killed ? WTERMSIG(status) == SIGKILL : WIFEXITED(status));
            open_again();
            int64_t after = qn_bundle_version(bundle), rows = 0;
            ok(qn_commit_log_verify(bundle_fd, show_problem, NULL, &error));
            ok(qn_bundle_rows(bundle, "base", &rows, &error));
            assert_true(after == before ? rows == 0 && killed : rows == ALL_ROWS && after == before + 1);
            json_t *results = NULL;
            ok(fetch_all(&results));
            json_decref(results);
            expect_rows("base", ALL_ROWS, ALL_SUM);
            assert_int_equal(tear_down(NULL), 0);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults__every_step_of_the_disk),     cmocka_unit_test(faults__a_disk_that_stays_full),
        cmocka_unit_test(faults__a_block_that_does_not_fit),  cmocka_unit_test(faults__every_allocation),
        cmocka_unit_test(faults__every_allocation_of_a_read), cmocka_unit_test(faults__killed_at_every_step),
    };
    register_places();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
