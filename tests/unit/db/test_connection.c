/* test_connection.c: who may use a connection when: streams, closing, cancel, threads, forks. */
#include "fake_driver.h"

#include <sys/wait.h>
#include <unistd.h>

static void assert_busy(enum qn_status status, const struct qn_error *err, const char *reason)
{
    assert_int_equal(status, QN_ERR_BUSY);
    assert_non_null(strstr(err->message, reason));
}

static void stream__keeps_the_connection_busy_to_its_end(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    struct qn_error err = QN_ERROR_INIT;
    int64_t rows;
    assert_int_equal(fake_stream(connection, "rows 2", &stream, NULL), QN_OK);
    assert_busy(fake_execute(connection, "insert", &err), &err, "has an open stream");
    assert_busy(qn_connection_begin(connection, QN_ISOLATION_DEFAULT, false, &err), &err, "has an open stream");
    assert_false(qn_connection_is_alive(connection));
    assert_false(qn_connection_is_closed(connection));
    assert_int_equal(qn_connection_rows_affected(connection), -1);
    assert_int_equal(fake_read(&stream, &rows, NULL), QN_OK);
    assert_int_equal(rows, 6);
    assert_int_equal(fake.open_cursors, 0); /* closed at the end, not at the release */
    assert_int_equal(qn_connection_rows_affected(connection), 6);
    assert_int_equal(fake_execute(connection, "insert", NULL), QN_OK);
    assert_int_equal(qn_connection_rows_affected(connection), 1);
    struct ArrowSchema schema;
    assert_int_equal(qn_stream_schema(&stream, &schema, NULL), QN_OK); /* still answered after the end */
    assert_string_equal(schema.children[0]->name, "n");
    schema.release(&schema);
    stream.release(&stream);
    assert_log("rows 2\ninsert\n");
    fake_disconnect(connection);
}

static void stream__released_early_cancels(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    struct ArrowArray batch = { 0 };
    assert_int_equal(fake_stream(connection, "rows 2", &stream, NULL), QN_OK);
    assert_int_equal(qn_stream_next(&stream, &batch, NULL), QN_OK);
    batch.release(&batch);
    stream.release(&stream);
    assert_log("rows 2\n(cursor cancelled)\n");
    assert_int_equal(fake_execute(connection, "insert", NULL), QN_OK);
    fake_disconnect(connection);
}

static void stream__that_fails_frees_the_connection(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    struct qn_error err = QN_ERROR_INIT;
    int64_t rows;
    assert_int_equal(fake_stream(connection, "rows 1 fail", &stream, NULL), QN_OK);
    assert_int_equal(fake_read(&stream, &rows, &err), QN_ERR_QUERY);
    assert_string_equal(err.message, "the rows failed");
    assert_int_equal(fake.open_cursors, 0);
    assert_int_equal(fake_execute(connection, "insert", NULL), QN_OK);
    struct qn_error again = QN_ERROR_INIT;
    assert_int_equal(qn_stream_error(&stream, &again), QN_ERR_QUERY);
    assert_string_equal(again.message, "the rows failed");
    stream.release(&stream);
    fake_disconnect(connection);
}

static void stream__without_columns_has_run_already(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    struct qn_query query = QN_QUERY_INIT;
    int64_t affected = 0, rows;
    query.sql = "insert";
    assert_int_equal(qn_connection_query(connection, &query, &stream, &affected, NULL), QN_OK);
    assert_int_equal(affected, 1);
    assert_int_equal(fake.open_cursors, 0);
    assert_int_equal(fake_execute(connection, "insert", NULL), QN_OK);
    assert_int_equal(fake_read(&stream, &rows, NULL), QN_OK);
    assert_int_equal(rows, 0);
    stream.release(&stream);
    assert_log("insert\ninsert\n");
    fake_disconnect(connection);
}

static void close__ends_an_open_stream(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowArray batch = { 0 };
    assert_int_equal(fake_stream(connection, "rows 2", &stream, NULL), QN_OK);
    assert_int_equal(qn_connection_close(connection, NULL), QN_OK);
    assert_int_equal(qn_connection_close(connection, NULL), QN_OK);
    assert_int_equal(fake.closed, 1);
    assert_true(qn_connection_is_closed(connection));
    assert_int_equal(qn_stream_next(&stream, &batch, &err), QN_ERR_CLOSED);
    assert_non_null(strstr(err.message, "was closed while the stream was open"));
    assert_int_equal(fake_execute(connection, "insert", &err), QN_ERR_CLOSED);
    assert_int_equal(qn_connection_cancel(connection, &err), QN_ERR_CLOSED);
    stream.release(&stream);
    assert_log("rows 2\n(cursor cancelled)\n");
    fake_disconnect(connection);
}

static void free__leaves_a_stream_what_it_needs(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    struct ArrowArray batch = { 0 };
    assert_int_equal(fake_stream(connection, "rows 2", &stream, NULL), QN_OK);
    qn_connection_free(connection);
    assert_int_equal(fake.closed, 1);
    assert_int_equal(fake.open_cursors, 0);
    assert_int_equal(qn_stream_next(&stream, &batch, NULL), QN_ERR_CLOSED);
    stream.release(&stream);
    qn_connection_free(NULL);
    fake_reset();
}

static void enter__tells_a_lost_link_from_a_closed_one(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_error err = QN_ERROR_INIT;
    fake.lost = true;
    assert_int_equal(fake_execute(connection, "insert", &err), QN_ERR_CONNECTION);
    assert_true(qn_connection_is_closed(connection));
    assert_false(qn_connection_is_alive(connection));
    assert_log("");
    fake_disconnect(connection);
}

static void open__passes_the_drivers_error_on(void **state)
{
    (void)state;
    struct qn_connection *connection = NULL;
    struct qn_error err = QN_ERROR_INIT;
    fake_reset();
    assert_int_equal(qn_connection_open("fake://u:s3cret@h/db?refuse=yes", &connection, &err), QN_ERR_CONNECTION);
    assert_string_equal(err.message, "refused");
    assert_null(connection);
    assert_int_equal(fake.closed, 0);
}

static void open__says_to_write_four_slashes(void **state)
{
    (void)state;
    char folder[] = "/tmp/qanat-test-XXXXXX";
    char uri[128];
    struct qn_connection *connection = NULL;
    struct qn_error err = QN_ERROR_INIT;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(uri, sizeof uri, "sqlite://%s/x.db", folder); /* three slashes: relative */
    assert_int_equal(qn_connection_open(uri, &connection, &err), QN_ERR_CONFIG);
    assert_non_null(strstr(err.hint, "four slashes: sqlite:////tmp/qanat-test-"));
    assert_int_equal(rmdir(folder), 0);
}

/* ---- threads ---- */

static void *execute_wait(void *connection)
{
    struct qn_error *err = malloc(sizeof *err);
    assert_non_null(err);
    (void)!fake_execute(connection, "wait", err);
    return err;
}

static void await_waiting(void)
{
    (void)pthread_mutex_lock(&fake.mutex);
    while (!fake.waiting) {
        (void)pthread_cond_wait(&fake.changed, &fake.mutex);
    }
    (void)pthread_mutex_unlock(&fake.mutex);
}

static void cancel__reaches_a_running_call_only(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_error err = QN_ERROR_INIT;
    pthread_t thread;
    assert_int_equal(qn_connection_cancel(connection, NULL), QN_OK);
    assert_int_equal(fake.cancelled, 0); /* nothing runs */
    assert_int_equal(pthread_create(&thread, NULL, execute_wait, connection), 0);
    await_waiting();
    assert_busy(fake_execute(connection, "insert", &err), &err, "in use by another thread");
    assert_busy(qn_connection_close(connection, &err), &err, "in use by another thread");
    assert_false(qn_connection_is_closed(connection));
    assert_int_equal(qn_connection_cancel(connection, NULL), QN_OK);
    void *result = NULL;
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal(((struct qn_error *)result)->status, QN_ERR_CANCELLED);
    free(result);
    assert_int_equal(fake.cancelled, 1);
    assert_log("wait\n");
    fake_disconnect(connection);
}

static void free__during_a_call_closes_after_it(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, execute_wait, connection), 0);
    await_waiting();
    qn_connection_free(connection);
    assert_int_equal(fake.closed, 0);
    (void)fake_cancel(&fake, NULL);
    void *result = NULL;
    assert_int_equal(pthread_join(thread, &result), 0);
    free(result);
    assert_int_equal(fake.closed, 1);
    fake_reset();
}

struct worker {
    struct qn_connection *connection;
    int64_t done, busy, other;
};

static void *hammer(void *argument)
{
    struct worker *worker = argument;
    for (int i = 0; i < 20000; i++) {
        struct ArrowArrayStream stream;
        struct qn_error err = QN_ERROR_INIT;
        int64_t rows = 0;
        enum qn_status status = i % 3 == 0   ? fake_stream(worker->connection, "rows 1", &stream, &err)
                                : i % 3 == 1 ? fake_execute(worker->connection, "insert", &err)
                                             : qn_connection_cancel(worker->connection, &err);
        if (i % 3 == 0 && status == QN_OK) {
            status = i % 2 == 0 ? fake_read(&stream, &rows, &err) : QN_OK; /* read, or released early */
            worker->other += i % 2 == 0 && (status != QN_OK || rows != 3);
            stream.release(&stream);
        }
        worker->done += status == QN_OK;
        worker->busy += status == QN_ERR_BUSY;
        worker->other += status != QN_OK && status != QN_ERR_BUSY;
    }
    return NULL;
}

/* The fake driver's log and counts are plain memory: under the thread sanitizer this also shows that calls exclude each
 * other. A stream that one thread reads is never disturbed by the refused calls of the other. */
static void threads__on_one_connection_are_refused_cleanly(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct worker workers[2] = { { .connection = connection }, { .connection = connection } };
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &workers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(workers[i].other, 0);
        assert_int_equal(workers[i].done + workers[i].busy, 20000);
        assert_true(workers[i].done > 6000); /* at least the cancels */
    }
    assert_int_equal(fake.open_cursors, 0);
    assert_int_equal(fake_execute(connection, "insert", NULL), QN_OK);
    fake_disconnect(connection);
}

/* ---- forks ---- */

/* What fails in the child shows as its exit code: the number of the check. */
static int child_checks(struct qn_connection *connection, struct ArrowArrayStream *stream)
{
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowArray batch = { 0 };
    if (fake_execute(connection, "insert", &err) != QN_ERR_CLOSED ||
        strstr(err.message, "belongs to process") == NULL) {
        return 1;
    }
    if (qn_stream_next(stream, &batch, &err) != QN_ERR_CLOSED) {
        return 2;
    }
    if (qn_connection_close(connection, NULL) != QN_ERR_CLOSED || !qn_connection_is_closed(connection)) {
        return 3;
    }
    if (qn_connection_cancel(connection, NULL) != QN_ERR_CLOSED || qn_connection_is_alive(connection)) {
        return 4;
    }
    stream->release(stream);
    if (fake.abandoned != 0 || fake.closed != 0 || fake.cancelled != 0 || fake.open_cursors != 1) {
        return 5;
    }
    qn_connection_free(connection);
    return fake.abandoned == 1 && fake.closed == 0 && fake.cancelled == 0 && fake.open_cursors == 1 ? 0 : 6;
}

static void fork__leaves_the_child_only_its_memory(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct ArrowArrayStream stream;
    int64_t rows;
    assert_int_equal(fake_stream(connection, "rows 2", &stream, NULL), QN_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(child_checks(connection, &stream));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(fake_read(&stream, &rows, NULL), QN_OK);
    assert_int_equal(rows, 6);
    stream.release(&stream);
    fake_disconnect(connection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream__keeps_the_connection_busy_to_its_end),
        cmocka_unit_test(stream__released_early_cancels),
        cmocka_unit_test(stream__that_fails_frees_the_connection),
        cmocka_unit_test(stream__without_columns_has_run_already),
        cmocka_unit_test(close__ends_an_open_stream),
        cmocka_unit_test(free__leaves_a_stream_what_it_needs),
        cmocka_unit_test(enter__tells_a_lost_link_from_a_closed_one),
        cmocka_unit_test(open__passes_the_drivers_error_on),
        cmocka_unit_test(open__says_to_write_four_slashes),
        cmocka_unit_test(cancel__reaches_a_running_call_only),
        cmocka_unit_test(free__during_a_call_closes_after_it),
        cmocka_unit_test(threads__on_one_connection_are_refused_cleanly),
        cmocka_unit_test(fork__leaves_the_child_only_its_memory),
    };
    return cmocka_run_group_tests(tests, fake_register, NULL);
}
