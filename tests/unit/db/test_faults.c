/* test_faults.c: the n-th allocation of a whole session fails, for every n: a typed error, and nothing is left behind. */
#include "base/fault.h"

#include "fake_driver.h"

/* One batch of two rows, "k" and "v". */
static enum qn_status make_rows(struct ArrowArrayStream *out, struct qn_error *err)
{
    struct ArrowSchema schema = { 0 };
    struct ArrowArray array = { 0 };
    struct qn_batch batch = { 0 };
    struct qn_type int64 = qn_type_of(QN_TYPE_INT64);
    enum qn_status status = qn_schema_struct(&schema, 2, err);
    status = status == QN_OK ? qn_schema_set(&schema, 0, "k", &int64, err) : status;
    status = status == QN_OK ? qn_schema_set(&schema, 1, "v", &int64, err) : status;
    status = status == QN_OK ? qn_batch_init(&batch, &schema, err) : status;
    status = status == QN_OK ? qn_batch_reserve(&batch, 2, err) : status;
    for (int64_t i = 0; i < 4 && status == QN_OK; i++) {
        qn_column_put_int64(&batch.columns[i % 2], i);
    }
    status = status == QN_OK ? qn_batch_finish(&batch, 2, &array, err) : status;
    status = status == QN_OK ? qn_stream_from_arrays(&schema, &array, 1, out, err) : status;
    qn_batch_dispose(&batch);
    qn_array_release(&array);
    qn_schema_release(&schema);
    return status;
}

static enum qn_status query(struct qn_connection *connection, struct qn_error *err)
{
    struct qn_value values[2] = { { .kind = QN_VALUE_INT64, .as = { .int64 = 1 } }, { .kind = QN_VALUE_NULL } };
    const char *names[] = { "a", "b" };
    struct qn_query query = QN_QUERY_INIT;
    struct ArrowArrayStream stream;
    int64_t rows;
    query.sql = "rows 2, :a, :b";
    query.values = values;
    query.names = names;
    query.n_values = 2;
    QN_TRY(qn_connection_query(connection, &query, &stream, NULL, err));
    enum qn_status status = fake_read(&stream, &rows, err);
    stream.release(&stream);
    return status;
}

static enum qn_status write_rows(struct qn_connection *connection, struct qn_error *err)
{
    struct ArrowArrayStream rows;
    struct qn_ingest ingest = QN_INGEST_INIT;
    struct qn_query insert = QN_QUERY_INIT;
    ingest.table = "s.t";
    ingest.mode = QN_INGEST_REPLACE;
    insert.sql = "insert :v, :k";
    QN_TRY(make_rows(&rows, err));
    enum qn_status status = qn_connection_ingest(connection, &ingest, &rows, NULL, err);
    rows.release(&rows);
    QN_TRY(status);
    QN_TRY(make_rows(&rows, err));
    status = qn_connection_execute_many(connection, &insert, &rows, NULL, err);
    rows.release(&rows);
    return status;
}

static enum qn_status catalogue(struct qn_connection *connection, struct qn_error *err)
{
    struct ArrowArrayStream stream;
    char *text = NULL;
    QN_TRY(qn_connection_columns(connection, NULL, "s.t", &stream, err));
    stream.release(&stream);
    QN_TRY(qn_connection_quote_table(connection, NULL, "a.b", &text, err));
    qn_free_text(text);
    QN_TRY(qn_config_to_uri(qn_connection_config(connection), QN_PASSWORD_SHOWN, &text, err));
    qn_free_text(text);
    return QN_OK;
}

static enum qn_status session(struct qn_error *err)
{
    struct qn_connection *connection = NULL;
    QN_TRY(qn_connection_open("fake://u:p@a:1,[::1]:2/db?x=y", &connection, err));
    enum qn_status status = query(connection, err);
    status = status == QN_OK ? write_rows(connection, err) : status;
    status = status == QN_OK ? catalogue(connection, err) : status;
    /* Whatever has failed, the connection is free and works. */
    if (status != QN_OK) {
        assert_int_equal(fake_execute(connection, "insert", NULL), QN_OK);
    }
    assert_int_equal(qn_connection_depth(connection), 0);
    qn_connection_free(connection);
    return status;
}

static void session__survives_every_failed_allocation(void **state)
{
    (void)state;
    static const char *const columns[] = { "k", "w", NULL };
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points (-Dfaults=true)\n");
        skip();
    }
    enum qn_status status = QN_ERR_NO_MEMORY;
    int64_t n = 0;
    for (bool hit = true; hit;) {
        struct qn_error err = QN_ERROR_INIT;
        fake_reset();
        fake.quiet = true;
        fake.columns = columns;
        n++;
        (void)qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE);
        status = session(&err);
        hit = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        assert_int_equal(fake.closed, fake.opened);
        assert_int_equal(fake.open_cursors, 0);
        if (status != QN_OK && status != QN_ERR_NO_MEMORY) {
            fail_msg("allocation %lld: %s: %s", (long long)n, qn_status_name(status), err.message);
        }
    }
    assert_int_equal(status, QN_OK);
    assert_true(n > 100);
    fake_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(session__survives_every_failed_allocation) };
    return cmocka_run_group_tests(tests, fake_register, NULL);
}
