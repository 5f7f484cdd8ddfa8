/* Runs between SQLite files: what arrives, what stays when a run fails, is cancelled or killed at any of its stages. */
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/fault.h"
#include "base/memory.h"

#include <qanat/qanat.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static struct qn_connection *connect_to(const char *file)
{
    char uri[128];
    struct qn_connection *connection = NULL;
    struct qn_error err = QN_ERROR_INIT;
    (void)snprintf(uri, sizeof uri, "sqlite:///%s/%s", folder, file);
    if (qn_connection_open(uri, &connection, &err) != QN_OK) {
        fail_msg("%s: %s", uri, err.message);
    }
    return connection;
}

static void execute(const char *file, const char *sql)
{
    struct qn_connection *connection = connect_to(file);
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    query.sql = sql;
    if (qn_connection_execute(connection, &query, NULL, &err) != QN_OK) {
        fail_msg("%s: %s", sql, err.message);
    }
    qn_connection_free(connection);
}

/* The one text that a statement gives; free it with free(). */
static char *ask(const char *file, const char *sql)
{
    struct qn_connection *connection = connect_to(file);
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    query.sql = sql;
    char *answer = NULL;
    {
        qn_auto_stream stream = { .release = NULL };
        qn_auto_schema schema = { .release = NULL };
        qn_auto_array batch = { .release = NULL };
        struct qn_batch_reader reader;
        if (qn_connection_query(connection, &query, &stream, NULL, &err) != QN_OK ||
            qn_stream_schema(&stream, &schema, &err) != QN_OK || qn_stream_next(&stream, &batch, &err) != QN_OK) {
            fail_msg("%s: %s", sql, err.message);
        }
        assert_int_equal(qn_batch_reader_init(&reader, &schema, NULL), QN_OK);
        assert_int_equal(qn_batch_reader_bind(&reader, &batch, NULL), QN_OK);
        const char *text = NULL;
        size_t size = 0;
        assert_true(qn_reader_bytes(&reader.columns[0], 0, &text, &size));
        answer = strndup(text, size);
        qn_batch_reader_dispose(&reader);
    }
    qn_connection_free(connection);
    return answer;
}

static void expect(const char *file, const char *sql, const char *expected)
{
    char *answer = ask(file, sql);
    assert_string_equal(answer, expected);
    free(answer);
}

#define CONTENTS "select coalesce(group_concat(id || name, ' '), '') || '' from (select id, name from t order by rowid)"
#define CHECKPOINT                                                                                                     \
    "select value || ' ' || value_type || ' ' || commits || ' ' || moved_rows from qanat_checkpoints where task = "    \
    "'move'"

static struct qn_task *make_task(const char *sink_file, const char *more)
{
    char json[2048];
    struct qn_task *task = NULL;
    struct qn_error err = QN_ERROR_INIT;
    int size = snprintf(json, sizeof json,
                        "{\"connections\": {\"a\": {\"type\": \"sqlite\", \"path\": \"%s/a.db\"},"
                        "\"b\": {\"type\": \"sqlite\", \"path\": \"%s/%s\", \"timeout\": \"200ms\"}},"
                        "\"task\": {\"name\": \"move\"},"
                        "\"source\": {\"connection\": \"a\", \"batch_rows\": 3,"
                        "  \"query\": \"select id, name from s where id > :checkpoint order by id\"},"
                        "\"sink\": {\"connection\": \"b\", \"table\": \"t\"},"
                        "\"checkpoint\": {\"column\": \"id\", \"initial\": 0%s}}",
                        folder, folder, sink_file, more);
    if (qn_task_new(json, (size_t)size, &task, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return task;
}

static struct qn_task_result run_fine(struct qn_task *task)
{
    struct qn_task_result result = QN_TASK_RESULT_INIT;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_task_run(task, NULL, &result, &err) != QN_OK) {
        fail_msg("%s (%s)", err.message, err.hint);
    }
    return result;
}

static bool make_folder_in(const char *parent)
{
    (void)snprintf(folder, sizeof folder, "%s/qanat-run-XXXXXX", parent);
    return mkdtemp(folder) != NULL;
}

/* In memory, where that is to be had: thousands of commits would wait for a disk. */
static int set_up(void **state)
{
    (void)state;
    if (!make_folder_in("/dev/shm") && !make_folder_in("/tmp")) {
        return -1;
    }
    execute("a.db", "create table s (id integer primary key, name text)");
    execute("a.db", "insert into s values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e'), (6, 'f'), (7, 'g')");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const files[] = { "a.db", "a.db-journal", "a.db-wal", "a.db-shm", "b.db", "b.db-journal" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static void run__moves_what_is_new_once(void **state)
{
    (void)state;
    struct qn_task *task = make_task("b.db", "");
    struct qn_task_result result = run_fine(task);
    assert_int_equal(result.rows, 7);
    assert_int_equal(result.commits, 1);
    assert_string_equal(result.checkpoint_before, "0");
    assert_string_equal(result.checkpoint_after, "7");
    expect("b.db", CONTENTS, "1a 2b 3c 4d 5e 6f 7g");
    expect("b.db", CHECKPOINT, "7 Int64 1 7");
    result = run_fine(task);
    assert_int_equal(result.rows, 0);
    assert_int_equal(result.commits, 0);
    expect("b.db", CHECKPOINT, "7 Int64 1 7");
    execute("a.db", "insert into s values (8, 'h'), (9, 'i')");
    result = run_fine(task);
    assert_int_equal(result.rows, 2);
    assert_string_equal(result.checkpoint_before, "7");
    assert_string_equal(result.checkpoint_after, "9");
    expect("b.db", CONTENTS, "1a 2b 3c 4d 5e 6f 7g 8h 9i");
    expect("b.db", CHECKPOINT, "9 Int64 2 9");
    qn_task_free(task);
}

static void run__without_rows_writes_nothing(void **state)
{
    (void)state;
    execute("a.db", "delete from s");
    struct qn_task *task = make_task("b.db", "");
    assert_int_equal(run_fine(task).rows, 0);
    expect("b.db", "select count(*) || '' from sqlite_schema", "0");
    qn_task_free(task);
}

static void slices__that_were_committed_stay_when_a_later_one_fails(void **state)
{
    (void)state;
    execute("b.db", "create table t (id integer, name text check (name <> 'f'))");
    struct qn_task *task = make_task("b.db", ", \"every_rows\": 2");
    struct qn_task_result result = QN_TASK_RESULT_INIT;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_task_run(task, NULL, &result, &err), QN_ERR_CONSTRAINT);
    assert_non_null(strstr(err.message, "sink \"b\""));
    assert_int_equal(result.rows, 4);
    assert_int_equal(result.commits, 2);
    assert_string_equal(result.checkpoint_after, "4");
    expect("b.db", CONTENTS, "1a 2b 3c 4d");
    expect("b.db", CHECKPOINT, "4 Int64 2 4");
    execute("a.db", "update s set name = 'x' where name = 'f'");
    assert_int_equal(run_fine(task).rows, 3);
    expect("b.db", CONTENTS, "1a 2b 3c 4d 5e 6x 7g");
    qn_task_free(task);
}

static int cancel_at_write(void *context, const struct qn_task_progress *progress)
{
    (void)context;
    return strcmp(progress->stage, "write") == 0;
}

static void cancel__by_the_callback_rolls_back(void **state)
{
    (void)state;
    struct qn_task *task = make_task("b.db", "");
    struct qn_task_run_options options = QN_TASK_RUN_OPTIONS_INIT;
    struct qn_task_result result = QN_TASK_RESULT_INIT;
    struct qn_error err = QN_ERROR_INIT;
    options.progress = cancel_at_write;
    assert_int_equal(qn_task_run(task, &options, &result, &err), QN_ERR_CANCELLED);
    assert_int_equal(result.rows, 0);
    expect("b.db", "select count(*) || '' from sqlite_schema", "0");
    assert_int_equal(run_fine(task).rows, 7);
    qn_task_free(task);
}

/* ---- killed at every stage ------------------------------------------------------------------------------------ */

static int die_at(void *context, const struct qn_task_progress *progress)
{
    (void)progress;
    int *left = context;
    if (--*left == 0) {
        (void)kill(getpid(), SIGKILL);
    }
    return 0;
}

/* Run the task in a child that kills itself at the n-th report; true where it was killed. */
static bool run_and_die(const char *sink_file, const char *more, int n)
{
    pid_t child = fork();
    if (child == 0) {
        struct qn_task *task = make_task(sink_file, more);
        struct qn_task_run_options options = QN_TASK_RUN_OPTIONS_INIT;
        struct qn_error err = QN_ERROR_INIT;
        options.progress = die_at;
        options.progress_context = &n;
        _exit(qn_task_run(task, &options, NULL, &err) == QN_OK ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), 0);
        return false;
    }
    assert_int_equal(WTERMSIG(status), SIGKILL);
    return true;
}

/* With the source's own file as the sink, a kill leaves it a journal that the next run has to roll back. */
static void kill__at_every_stage_loses_and_doubles_nothing(void **state)
{
    (void)state;
    static const char slices[] = ", \"every_rows\": 2";
    static const char *const sinks[] = { "b.db", "a.db" };
    for (int i = 0; i < 2; i++) {
        int kills = 0;
        for (int n = 1;; n++) {
            execute(sinks[i], "drop table if exists t");
            execute(sinks[i], "drop table if exists qanat_checkpoints");
            bool killed = run_and_die(sinks[i], slices, n);
            struct qn_task *task = make_task(sinks[i], slices);
            struct qn_task_result result = run_fine(task);
            expect(sinks[i], CONTENTS, "1a 2b 3c 4d 5e 6f 7g");
            expect(sinks[i], "select value || ' ' || commits from qanat_checkpoints", "7 4");
            qn_task_free(task);
            if (!killed) {
                assert_int_equal(result.rows, 0);
                break;
            }
            kills++;
        }
        /* connect, read, then write, commit and read for each of four slices, at least */
        assert_true(kills >= 2 + 4 * 3);
    }
}

/* The source's own writer was killed in the middle of a transaction: its journal is rolled back, its rows never were. */
static void source__whose_writer_was_killed_is_read(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct qn_connection *connection = connect_to("a.db");
        struct qn_query small_cache = QN_QUERY_INIT;
        struct qn_query query = QN_QUERY_INIT;
        small_cache.sql = "pragma cache_size = 5"; /* so that pages reach the file before the commit */
        query.sql = "with recursive c(i) as (select 8 union all select i + 1 from c where i < 5000) "
                    "insert into s select i, 'never committed, but written to the file' from c";
        if (qn_connection_execute(connection, &small_cache, NULL, NULL) == QN_OK &&
            qn_connection_begin(connection, QN_ISOLATION_DEFAULT, false, NULL) == QN_OK &&
            qn_connection_execute(connection, &query, NULL, NULL) == QN_OK) {
            (void)kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    char journal[128];
    (void)snprintf(journal, sizeof journal, "%s/a.db-journal", folder);
    assert_int_equal(access(journal, F_OK), 0);
    struct qn_task *task = make_task("b.db", "");
    assert_int_equal(run_fine(task).rows, 7);
    qn_task_free(task);
}

/* ---- failed allocations --------------------------------------------------------------------------------------- */

static void allocations__that_fail_lose_and_double_nothing(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without fault points (-Dfaults=true)\n");
        skip();
    }
    struct qn_task *task = make_task("b.db", ", \"every_rows\": 3");
    int failures = 0;
    for (int64_t n = 1;; n++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/b.db", folder);
        (void)unlink(path);
        struct qn_error err = QN_ERROR_INIT;
        struct qn_task_result result = QN_TASK_RESULT_INIT;
        assert_true(qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE));
        enum qn_status status = qn_task_run(task, NULL, &result, &err);
        bool reached = qn_fault_count(QN_FAULT_ALLOC) >= n;
        assert_true(qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE));
        if (status != QN_OK) {
            failures++;
            assert_int_equal(err.status, status);
            assert_true(err.message[0] != '\0');
            assert_int_equal(result.rows + run_fine(task).rows, 7);
        }
        expect("b.db", CONTENTS, "1a 2b 3c 4d 5e 6f 7g");
        if (!reached) {
            assert_int_equal(status, QN_OK);
            break;
        }
    }
    assert_true(failures > 50);
    qn_task_free(task);
}

/* ---- two runs at once ----------------------------------------------------------------------------------------- */

static int run_another(void *context, const struct qn_task_progress *progress)
{
    struct qn_task **other = context;
    /* the checkpoint has been looked at, and the sink is not locked yet */
    if (*other != NULL && strcmp(progress->stage, "read") == 0) {
        struct qn_task *task = *other;
        *other = NULL;
        assert_int_equal(run_fine(task).rows, 7);
    }
    return 0;
}

static void run__that_another_overtook_keeps_nothing(void **state)
{
    (void)state;
    for (int first_run = 1; first_run >= 0; first_run--) {
        struct qn_task *task = make_task("b.db", "");
        struct qn_task *other = make_task("b.db", "");
        struct qn_task *context = other;
        struct qn_task_run_options options = QN_TASK_RUN_OPTIONS_INIT;
        struct qn_error err = QN_ERROR_INIT;
        options.progress = run_another;
        options.progress_context = &context;
        assert_int_not_equal(qn_task_run(task, &options, NULL, &err), QN_OK);
        assert_true(err.retryable);
        char *count = ask("b.db", "select count(*) || ' ' || count(distinct id) from t");
        assert_string_equal(count, first_run ? "7 7" : "14 14");
        free(count);
        qn_task_free(task);
        qn_task_free(other);
        execute("a.db", "insert or ignore into s select id + 7, name from s");
    }
}

/* ---- one file ------------------------------------------------------------------------------------------------- */

static void one_file__works_in_every_journal_mode(void **state)
{
    (void)state;
    static const char *const modes[] = { "delete", "wal" };
    for (int i = 0; i < 2; i++) {
        char pragma[64];
        (void)snprintf(pragma, sizeof pragma, "pragma journal_mode = %s", modes[i]);
        execute("a.db", pragma);
        execute("a.db", "drop table if exists t");
        execute("a.db", "drop table if exists qanat_checkpoints");
        struct qn_task *task = make_task("a.db", ", \"every_rows\": 2");
        struct qn_task_result result = run_fine(task);
        assert_int_equal(result.rows, 7);
        assert_int_equal(result.commits, 4);
        expect("a.db", CONTENTS, "1a 2b 3c 4d 5e 6f 7g");
        qn_task_free(task);
    }
}

/* ---- the stored checkpoint against the plan ------------------------------------------------------------------- */

static void stored__checkpoint_must_fit_the_plan(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *message;
    } changes[] = {
        { "update qanat_checkpoints set column_name = 'other'", "checkpoint.column is \"id\", but the stored" },
        { "update qanat_checkpoints set column_name = 'id', sink_table = 'u'", "sink.table is \"t\", but the stored" },
        { "update qanat_checkpoints set sink_table = 't', value = 'x', value_type = 'Utf8'",
          "checkpoint.column \"id\" is now of type Int64, the stored checkpoint is of type Utf8" },
    };
    struct qn_task *task = make_task("b.db", "");
    (void)run_fine(task);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct qn_error err = QN_ERROR_INIT;
        execute("b.db", changes[i].sql);
        assert_int_equal(qn_task_run(task, NULL, NULL, &err), QN_ERR_CONFIG);
        if (strncmp(err.message, changes[i].message, strlen(changes[i].message)) != 0) {
            fail_msg("got \"%s\"", err.message);
        }
        assert_non_null(strstr(err.hint, "--full"));
    }
    execute("b.db", "update qanat_checkpoints set value = '7', value_type = 'Int64'");
    execute("b.db", "drop table t");
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_task_run(task, NULL, NULL, &err), QN_ERR_CONFIG);
    assert_non_null(strstr(err.message, "is gone"));
    struct qn_task_run_options options = QN_TASK_RUN_OPTIONS_INIT;
    options.full = true;
    struct qn_task_result result = QN_TASK_RESULT_INIT;
    assert_int_equal(qn_task_run(task, &options, &result, &err), QN_OK);
    assert_int_equal(result.rows, 7);
    expect("b.db", CHECKPOINT, "7 Int64 2 14");
    assert_int_equal(qn_task_run(task, &options, &result, &err), QN_ERR_CONFIG); /* it would append them again */
    assert_non_null(strstr(err.message, "a full run would append every row again"));
    expect("b.db", CONTENTS, "1a 2b 3c 4d 5e 6f 7g");
    qn_task_free(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(run__moves_what_is_new_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run__without_rows_writes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slices__that_were_committed_stay_when_a_later_one_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancel__by_the_callback_rolls_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kill__at_every_stage_loses_and_doubles_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(source__whose_writer_was_killed_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(allocations__that_fail_lose_and_double_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run__that_another_overtook_keeps_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_file__works_in_every_journal_mode, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stored__checkpoint_must_fit_the_plan, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
