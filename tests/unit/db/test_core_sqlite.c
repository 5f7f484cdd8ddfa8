/* test_core_sqlite.c: the core's promises on a real database: forks, atomic bulk writes, SQLSTATEs. */
#include "arrow/column.h"
#include "arrow/reader.h"
#include "arrow/stream.h"

#include <qanat/database.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/qanat-test-XXXXXX";

static struct qn_connection *open_file(void)
{
    char uri[128];
    struct qn_connection *connection = NULL;
    struct qn_error err = QN_ERROR_INIT;
    (void)snprintf(uri, sizeof uri, "sqlite:///%s/x.db", folder);
    if (qn_connection_open(uri, &connection, &err) != QN_OK) {
        fail_msg("%s: %s", uri, err.message);
    }
    return connection;
}

static enum qn_status execute(struct qn_connection *connection, const char *sql, struct qn_error *err)
{
    struct qn_query query = QN_QUERY_INIT;
    query.sql = sql;
    return qn_connection_execute(connection, &query, NULL, err);
}

static int64_t number(struct qn_connection *connection, const char *sql)
{
    struct qn_query query = QN_QUERY_INIT;
    struct ArrowArrayStream stream;
    qn_auto_schema schema = { 0 };
    qn_auto_array batch = { 0 };
    struct qn_batch_reader reader = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    query.sql = sql;
    if (qn_connection_query(connection, &query, &stream, NULL, &err) != QN_OK) {
        fail_msg("%s: %s", sql, err.message);
    }
    assert_int_equal(qn_stream_schema(&stream, &schema, NULL), QN_OK);
    assert_int_equal(qn_stream_next(&stream, &batch, NULL), QN_OK);
    assert_int_equal(qn_batch_reader_init(&reader, &schema, NULL), QN_OK);
    assert_int_equal(qn_batch_reader_bind(&reader, &batch, NULL), QN_OK);
    int64_t result = qn_reader_int64(&reader.columns[0], 0);
    qn_batch_reader_dispose(&reader);
    stream.release(&stream);
    return result;
}

/* One column "i" of `n` numbers from `first` on; the last one repeats the first where `twice`. */
static struct ArrowArrayStream numbers(int64_t first, int64_t n, bool twice)
{
    struct ArrowSchema schema = { 0 };
    struct ArrowArray array = { 0 };
    struct qn_batch batch = { 0 };
    struct ArrowArrayStream stream;
    struct qn_type int64 = qn_type_of(QN_TYPE_INT64);
    assert_int_equal(qn_schema_struct(&schema, 1, NULL), QN_OK);
    assert_int_equal(qn_schema_set(&schema, 0, "i", &int64, NULL), QN_OK);
    assert_int_equal(qn_batch_init(&batch, &schema, NULL), QN_OK);
    assert_int_equal(qn_batch_reserve(&batch, n, NULL), QN_OK);
    for (int64_t i = 0; i < n; i++) {
        qn_column_put_int64(&batch.columns[0], twice && i == n - 1 ? first : first + i);
    }
    assert_int_equal(qn_batch_finish(&batch, n, &array, NULL), QN_OK);
    assert_int_equal(qn_stream_from_arrays(&schema, &array, 1, &stream, NULL), QN_OK);
    qn_batch_dispose(&batch);
    return stream;
}

static enum qn_status ingest(struct qn_connection *connection, enum qn_ingest_mode mode, int64_t first, int64_t n,
                             bool twice, struct qn_error *err)
{
    static const char *const key[] = { "i" };
    struct ArrowArrayStream rows = numbers(first, n, twice);
    struct qn_ingest ingest = QN_INGEST_INIT;
    int64_t written = -1;
    ingest.table = "t";
    ingest.mode = mode;
    ingest.key = key;
    ingest.n_key = mode == QN_INGEST_APPEND || mode == QN_INGEST_TRUNCATE ? 0 : 1;
    enum qn_status status = qn_connection_ingest(connection, &ingest, &rows, &written, err);
    rows.release(&rows);
    return status;
}

static void ingest__that_fails_keeps_nothing(void **state)
{
    (void)state;
    struct qn_connection *connection = open_file();
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(ingest(connection, QN_INGEST_CREATE, 0, 10, false, NULL), QN_OK);
    assert_int_equal(ingest(connection, QN_INGEST_CREATE, 0, 10, false, &err), QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42P07");
    assert_int_equal(ingest(connection, QN_INGEST_APPEND, 100, 10, true, &err), QN_ERR_CONSTRAINT);
    assert_int_equal(ingest(connection, QN_INGEST_TRUNCATE, 100, 10, true, &err), QN_ERR_CONSTRAINT);
    assert_int_equal(ingest(connection, QN_INGEST_REPLACE, 100, 10, true, &err), QN_ERR_CONSTRAINT);
    assert_int_equal(number(connection, "select sum(i) from t"), 45);
    assert_int_equal(ingest(connection, QN_INGEST_IGNORE, 5, 10, false, NULL), QN_OK);
    assert_int_equal(number(connection, "select sum(i) from t"), 105);
    assert_int_equal(ingest(connection, QN_INGEST_REPLACE, 1, 4, false, NULL), QN_OK);
    assert_int_equal(number(connection, "select sum(i) from t"), 10);
    qn_connection_free(connection);
}

static void ingest__that_fails_leaves_the_callers_rows(void **state)
{
    (void)state;
    struct qn_connection *connection = open_file();
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(execute(connection, "begin", NULL), QN_OK);
    assert_int_equal(execute(connection, "insert into t values (1000)", NULL), QN_OK);
    assert_int_equal(ingest(connection, QN_INGEST_APPEND, 100, 10, true, &err), QN_ERR_CONSTRAINT);
    assert_int_equal(qn_connection_depth(connection), 1);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_OK);
    assert_int_equal(number(connection, "select sum(i) from t"), 1010);
    qn_connection_free(connection);
}

static int child(struct qn_connection *connection, struct ArrowArrayStream *stream)
{
    struct ArrowArray batch = { 0 };
    if (execute(connection, "delete from t", NULL) != QN_ERR_CLOSED) {
        return 1;
    }
    if (qn_stream_next(stream, &batch, NULL) != QN_ERR_CLOSED) {
        return 2;
    }
    stream->release(stream);
    qn_connection_free(connection);
    /* A connection of the child's own works, and is the one to commit. */
    struct qn_connection *own = open_file();
    int64_t sum = number(own, "select sum(i) from t");
    qn_connection_free(own);
    return sum == 1010 ? 0 : 3;
}

static void fork__leaves_the_parents_connection_working(void **state)
{
    (void)state;
    struct qn_connection *connection = open_file();
    struct qn_query query = QN_QUERY_INIT;
    struct ArrowArrayStream stream;
    query.sql = "select i from t order by i";
    assert_int_equal(qn_connection_begin(connection, QN_ISOLATION_DEFAULT, false, NULL), QN_OK);
    assert_int_equal(execute(connection, "insert into t values (2000)", NULL), QN_OK);
    assert_int_equal(qn_connection_query(connection, &query, &stream, NULL, NULL), QN_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(child(connection, &stream));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    qn_auto_array batch = { 0 };
    assert_int_equal(qn_stream_next(&stream, &batch, NULL), QN_OK);
    assert_int_equal(batch.length, 6);
    stream.release(&stream);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_OK);
    assert_int_equal(number(connection, "select sum(i) from t"), 3010);
    qn_connection_free(connection);
}

static void query__with_the_wrong_table_says_so(void **state)
{
    (void)state;
    struct qn_connection *connection = open_file();
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowArrayStream stream;
    assert_int_equal(execute(connection, "select * from nope", &err), QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42P01");
    assert_int_equal(qn_connection_columns(connection, NULL, "nope", &stream, &err), QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42P01");
    assert_int_equal(ingest(connection, QN_INGEST_APPEND, 0, 1, false, NULL), QN_OK);
    qn_connection_free(connection);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/x.db", folder);
    (void)unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ingest__that_fails_keeps_nothing),
        cmocka_unit_test(ingest__that_fails_leaves_the_callers_rows),
        cmocka_unit_test(fork__leaves_the_parents_connection_working),
        cmocka_unit_test(query__with_the_wrong_table_says_so),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
