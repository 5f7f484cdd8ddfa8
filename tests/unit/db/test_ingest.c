/* test_ingest.c: what each mode of a bulk write asks of the database, and that a failure keeps nothing. Also the same
 * for execute_many. */
#include "fake_driver.h"

/* A stream of `batches` batches of three rows (i = 0, 1, 2; t = "a", null, "b"), which then ends or fails. */
struct rows {
    int batches;
    bool fails;
    const char *names[2];
};

static enum qn_status rows_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct rows *rows = self;
    struct qn_type int64 = qn_type_of(QN_TYPE_INT64), text = qn_type_of(QN_TYPE_STRING);
    QN_TRY(qn_schema_struct(out, rows->names[0] == NULL ? 0 : 2, err));
    if (rows->names[0] != NULL) {
        QN_TRY(qn_schema_set(out, 0, rows->names[0], &int64, err));
        QN_TRY(qn_schema_set(out, 1, rows->names[1], &text, err));
    }
    return QN_OK;
}

static enum qn_status rows_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct rows *rows = self;
    if (rows->batches == 0 && rows->fails) {
        qn_error_set(err, QN_ERR_IO, "the source is gone");
        if (err != NULL) {
            err->retryable = true;
        }
        return QN_ERR_IO;
    }
    if (rows->batches-- == 0) {
        return QN_OK;
    }
    struct ArrowSchema schema = { 0 };
    struct qn_batch batch = { 0 };
    QN_TRY(rows_schema(rows, &schema, err));
    QN_TRY(qn_batch_init(&batch, &schema, err));
    QN_TRY(qn_batch_reserve(&batch, 3, err));
    for (int64_t i = 0; i < 3; i++) {
        qn_column_put_int64(&batch.columns[0], i);
        if (i == 1) {
            qn_column_put_null(&batch.columns[1]);
        } else {
            qn_column_put_bytes(&batch.columns[1], i == 0 ? "a" : "b", 1);
        }
    }
    enum qn_status status = qn_batch_finish(&batch, 3, out, err);
    qn_batch_dispose(&batch);
    qn_schema_release(&schema);
    return status;
}

static void rows_free(void *self)
{
    (void)self;
}

static const struct qn_stream_ops rows_ops = { .schema = rows_schema, .next = rows_next, .free = rows_free };

static const char *const key_i[] = { "i" };

static enum qn_status ingest(struct qn_connection *connection, enum qn_ingest_mode mode, size_t n_key,
                             struct rows *rows, int64_t *rows_out, struct qn_error *err)
{
    struct ArrowArrayStream stream;
    struct qn_ingest ingest = QN_INGEST_INIT;
    ingest.table = "t";
    ingest.mode = mode;
    ingest.key = key_i;
    ingest.n_key = n_key;
    assert_int_equal(qn_stream_make(&rows_ops, rows, &stream, NULL), QN_OK);
    enum qn_status status = qn_connection_ingest(connection, &ingest, &stream, rows_out, err);
    assert_non_null(stream.release); /* read, not released */
    stream.release(&stream);
    return status;
}

static void logs(enum qn_ingest_mode mode, size_t n_key, const char *const *columns, const char *expected)
{
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 2, .names = { "i", "t" } };
    int64_t written = -1;
    fake.columns = columns;
    assert_int_equal(ingest(connection, mode, n_key, &rows, &written, NULL), QN_OK);
    assert_int_equal(written, 6);
    assert_int_equal(qn_connection_rows_affected(connection), 6);
    assert_int_equal(fake.state, QN_TRANSACTION_NONE);
    assert_log(expected);
    fake_disconnect(connection);
}

static void ingest__modes_prepare_the_table(void **state)
{
    (void)state;
    static const char *const same[] = { "t", "i", NULL };
    static const char *const fewer[] = { "i", NULL };
    static const char *const other[] = { "i", "u", NULL };
    const char *replace_by_create = "begin\nfake columns $1 $2 [n null, u t]\ndrop table \"t\"\n"
                                    "create table \"t\" (\"i\" bigint, \"t\" text)\ningest t mode 0 key 0\ncommit\n";
    logs(QN_INGEST_APPEND, 0, NULL, "begin\ningest t mode 0 key 0\ncommit\n");
    logs(QN_INGEST_CREATE, 0, NULL,
         "begin\ncreate table \"t\" (\"i\" bigint, \"t\" text)\ningest t mode 0 key 0\ncommit\n");
    logs(QN_INGEST_CREATE, 1, NULL,
         "begin\ncreate table \"t\" (\"i\" bigint, \"t\" text, primary key (\"i\"))\ningest t mode 0 key 0\ncommit\n");
    logs(QN_INGEST_REPLACE, 0, same,
         "begin\nfake columns $1 $2 [n null, u t]\ndelete from \"t\"\ningest t mode 0 key 0\ncommit\n");
    logs(QN_INGEST_REPLACE, 0, fewer, replace_by_create);
    logs(QN_INGEST_REPLACE, 0, other, replace_by_create);
    logs(QN_INGEST_REPLACE, 0, NULL,
         "begin\nfake columns $1 $2 [n null, u t]\ncreate table \"t\" (\"i\" bigint, \"t\" text)\n"
         "ingest t mode 0 key 0\ncommit\n");
    logs(QN_INGEST_TRUNCATE, 0, NULL, "begin\ndelete from \"t\"\ningest t mode 0 key 0\ncommit\n");
    logs(QN_INGEST_UPSERT, 1, NULL, "begin\ningest t mode 3 key 1\ncommit\n");
    logs(QN_INGEST_IGNORE, 1, NULL, "begin\ningest t mode 4 key 1\ncommit\n");
}

static void refused(enum qn_ingest_mode mode, size_t n_key, const char *first, const char *second, const char *message)
{
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 1, .names = { first, second } };
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    assert_int_equal(ingest(connection, mode, n_key, &rows, &written, &err), QN_ERR_ARGUMENT);
    if (strstr(err.message, message) == NULL) {
        fail_msg("expected \"%s\", message \"%s\"", message, err.message);
    }
    assert_int_equal(written, -1);
    assert_log("");
    assert_int_equal(fake_execute(connection, "insert", NULL), QN_OK); /* not left busy */
    fake_disconnect(connection);
}

static void ingest__refuses_before_it_begins(void **state)
{
    (void)state;
    refused(QN_INGEST_APPEND, 0, "i", "i", "two columns of the rows are named \"i\"");
    refused(QN_INGEST_APPEND, 0, "i", "", "column 2 of the rows has no name");
    refused(QN_INGEST_APPEND, 0, NULL, NULL, "no columns");
    refused(QN_INGEST_UPSERT, 0, "i", "t", "upsert into \"t\" needs the key");
    refused(QN_INGEST_IGNORE, 0, "i", "t", "ignore into \"t\" needs the key");
    refused(QN_INGEST_UPSERT, 1, "j", "t", "no column \"i\", which the key names");
    refused(QN_INGEST_APPEND, 1, "i", "t", "does not look at keys");
    refused((enum qn_ingest_mode)6, 0, "i", "t", "mode 6 is unknown");
}

static void ingest__that_fails_rolls_back(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 2, .names = { "i", "t" } };
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    fake.fail_ingest_after = 1;
    assert_int_equal(ingest(connection, QN_INGEST_TRUNCATE, 0, &rows, &written, &err), QN_ERR_DATA);
    assert_string_equal(err.message, "a value does not fit");
    assert_int_equal(written, -1);
    assert_log("begin\ndelete from \"t\"\ningest t mode 0 key 0\nrollback\n");
    assert_int_equal(qn_connection_depth(connection), 0);
    fake_disconnect(connection);
}

static void ingest__that_fails_leaves_the_callers_transaction(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 1, .names = { "i", "t" } };
    struct rows more = rows;
    int64_t written = -1;
    assert_int_equal(fake_execute(connection, "begin", NULL), QN_OK); /* by SQL */
    fake.fail_ingest_after = 0;
    assert_int_equal(ingest(connection, QN_INGEST_APPEND, 0, &rows, &written, NULL), QN_ERR_DATA);
    assert_int_equal(fake.state, QN_TRANSACTION_OPEN);
    assert_int_equal(qn_connection_depth(connection), 1);
    fake.fail_ingest_after = -1;
    assert_int_equal(ingest(connection, QN_INGEST_APPEND, 0, &more, &written, NULL), QN_OK);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_OK);
    assert_log("begin\nsavepoint qn_implicit\ningest t mode 0 key 0\n"
               "rollback to savepoint qn_implicit\nrelease savepoint qn_implicit\n"
               "savepoint qn_implicit\ningest t mode 0 key 0\nrelease savepoint qn_implicit\ncommit\n");
    fake_disconnect(connection);
}

static void ingest__reports_the_sources_own_error(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 1, .fails = true, .names = { "i", "t" } };
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(ingest(connection, QN_INGEST_APPEND, 0, &rows, NULL, &err), QN_ERR_IO);
    assert_string_equal(err.message, "the source is gone");
    assert_true(err.retryable);
    assert_log("begin\ningest t mode 0 key 0\nrollback\n");
    fake_disconnect(connection);
}

static void ingest__whose_commit_fails_is_an_error(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 1, .names = { "i", "t" } };
    fake.fail_commit = true;
    assert_int_equal(ingest(connection, QN_INGEST_APPEND, 0, &rows, NULL, NULL), QN_ERR_QUERY);
    assert_int_equal(fake.state, QN_TRANSACTION_NONE);
    fake_disconnect(connection);
}

/* ---- execute_many, row by row: the fake driver has no way of its own ---- */

static enum qn_status many(struct qn_connection *connection, const char *sql, struct rows *rows, int64_t *affected,
                           struct qn_error *err)
{
    struct ArrowArrayStream stream;
    struct qn_query query = QN_QUERY_INIT;
    query.sql = sql;
    assert_int_equal(qn_stream_make(&rows_ops, rows, &stream, NULL), QN_OK);
    enum qn_status status = qn_connection_execute_many(connection, &query, &stream, affected, err);
    stream.release(&stream);
    return status;
}

static void execute_many__binds_each_row(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 1, .names = { "i", "t" } };
    struct rows named = rows;
    int64_t affected = 0;
    assert_int_equal(many(connection, "insert ?, ?", &rows, &affected, NULL), QN_OK);
    assert_int_equal(affected, 3);
    assert_log("begin\ninsert $1, $2 [l 0, u a]\ninsert $1, $2 [l 1, u null]\ninsert $1, $2 [l 2, u b]\ncommit\n");
    assert_int_equal(many(connection, "insert :t, :i", &named, &affected, NULL), QN_OK);
    assert_log("begin\ninsert $1, $2 [u a, l 0]\ninsert $1, $2 [u null, l 1]\ninsert $1, $2 [u b, l 2]\ncommit\n");
    fake_disconnect(connection);
}

static void execute_many__names_the_row_that_failed(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 2, .names = { "i", "t" } };
    struct rows failing = { .batches = 1, .fails = true, .names = { "i", "t" } };
    struct qn_error err = QN_ERROR_INIT;
    int64_t affected = -5;
    assert_int_equal(many(connection, "fail ?, ? here", &rows, &affected, &err), QN_ERR_QUERY);
    assert_int_equal(err.row, 0);
    assert_int_equal(err.position, 11);
    assert_int_equal(affected, -5);
    assert_log("begin\nfail $1, $2 here [l 0, u a]\nrollback\n");
    assert_int_equal(many(connection, "insert ?, ?", &failing, &affected, &err), QN_ERR_IO);
    assert_string_equal(err.message, "the source is gone");
    fake_disconnect(connection);
}

static void many_refused(const char *sql, const char *message)
{
    struct qn_connection *connection = fake_connect();
    struct rows rows = { .batches = 1, .names = { "i", "t" } };
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(many(connection, sql, &rows, NULL, &err), QN_ERR_ARGUMENT);
    if (strstr(err.message, message) == NULL) {
        fail_msg("expected \"%s\", message \"%s\"", message, err.message);
    }
    assert_log("");
    fake_disconnect(connection);
}

static void execute_many__refuses_rows_that_do_not_match(void **state)
{
    (void)state;
    many_refused("insert ?", "1 placeholder, the rows have 2 columns");
    many_refused("insert ?, ?, ?", "3 placeholders, the rows have 2 columns");
    many_refused("insert 1", "no placeholders");
    many_refused("insert :i, :x", "no column for the placeholder :x");
    many_refused("insert :i", "the column \"t\", which no placeholder asks for");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ingest__modes_prepare_the_table),
        cmocka_unit_test(ingest__refuses_before_it_begins),
        cmocka_unit_test(ingest__that_fails_rolls_back),
        cmocka_unit_test(ingest__that_fails_leaves_the_callers_transaction),
        cmocka_unit_test(ingest__reports_the_sources_own_error),
        cmocka_unit_test(ingest__whose_commit_fails_is_an_error),
        cmocka_unit_test(execute_many__binds_each_row),
        cmocka_unit_test(execute_many__names_the_row_that_failed),
        cmocka_unit_test(execute_many__refuses_rows_that_do_not_match),
    };
    return cmocka_run_group_tests(tests, fake_register, NULL);
}
