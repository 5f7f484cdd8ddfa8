/*
 * The n-th allocation fails, for every n: each call ends with an error or did all of its work, nothing leaks (ASan), and the
 * database is as before or as after.
 */
#include "fixture.h"

#include "base/fault.h"

#define SWEEP_MAX 5000 /* more allocations than any of the calls makes */

/* Arm the n-th allocation; false at the end of the sweep, when the last run had fewer. */
static bool next_fault(int64_t *n)
{
    int64_t hits = qn_fault_count(QN_FAULT_ALLOC);
    (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
    if (*n > 0 && hits < *n) {
        return false;
    }
    assert_true(++*n < SWEEP_MAX);
    return qn_fault_arm(QN_FAULT_ALLOC, *n, QN_FAULT_ONCE);
}

static void need_faults(void)
{
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without fault points (-Dfaults=true)\n");
        skip();
    }
}

static void open__fails_cleanly(void **state)
{
    (void)state;
    need_faults();
    struct qn_connection *connection = NULL;
    struct qn_error err = QN_ERROR_INIT;
    for (int64_t n = 0; next_fault(&n);) {
        connection = NULL;
        enum qn_status status = qn_connection_open("sqlite://:memory:?foreign_keys=true", &connection, &err);
        if (qn_fault_count(QN_FAULT_ALLOC) >= n) {
            assert_true(status == QN_ERR_NO_MEMORY || status == QN_OK);
        } else {
            assert_int_equal(status, QN_OK);
        }
        qn_connection_free(connection);
    }
}

static void query__fails_cleanly(void **state)
{
    (void)state;
    need_faults();
    struct qn_connection *db = open_memory();
    run(db, "create table t (i integer, s text, d date, n decimal(10,2))");
    run(db, "insert into t values (1, 'a text of more than twelve bytes', '2024-01-01', 1.5), (2.5, 'b', null, 2)");
    static const enum qn_result_mode modes[] = { QN_RESULT_WHOLE, QN_RESULT_STREAM };
    for (int mode = 0; mode < 2; mode++) {
        for (int64_t n = 0; next_fault(&n);) {
            struct qn_query query = QN_QUERY_INIT;
            struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
            struct qn_error err = QN_ERROR_INIT;
            struct qn_value value = { .kind = QN_VALUE_INT64, .as.int64 = 0 };
            qn_auto_stream stream = { .release = NULL };
            enum qn_status status;
            options.result_mode = modes[mode];
            query.sql = "select * from t where i > ?";
            query.values = &value;
            query.n_values = 1;
            query.options = &options;
            status = qn_connection_query(db, &query, &stream, NULL, &err);
            for (bool more = status == QN_OK; more;) {
                qn_auto_array batch = { .release = NULL };
                status = qn_stream_next(&stream, &batch, &err);
                more = status == QN_OK && batch.release != NULL;
            }
            assert_true(status == QN_OK || status == QN_ERR_NO_MEMORY);
        }
    }
    expect(db, "select count(*) as n from t", "n:l | 2");
    qn_connection_free(db);
}

static void sweep_ingest(struct qn_connection *db, enum qn_ingest_mode mode)
{
    for (int64_t n = 0; true;) {
        struct rows rows;
        struct qn_error err = QN_ERROR_INIT;
        qn_auto_stream stream = { .release = NULL };
        struct qn_ingest ingest = QN_INGEST_INIT;
        const char *key = "i";
        int64_t before = 0, after = 0;
        rows_init(&rows, 2, "i", "Int64", "s", "Utf8", NULL);
        for (int i = 0; i < 2; i++) {
            qn_column_put_int64(&rows.batch.columns[0], n * 2 + i + (mode == QN_INGEST_UPSERT ? 1000000 : 0));
            put_text(&rows, 1, "a text of more than twelve bytes");
        }
        rows_stream(&rows, &stream);
        ingest.table = "t";
        ingest.mode = mode;
        ingest.key = &key;
        ingest.n_key = mode == QN_INGEST_UPSERT ? 1 : 0;
        struct qn_query count = QN_QUERY_INIT;
        count.sql = "update t set s = s";
        assert_int_equal(qn_connection_execute(db, &count, &before, &err), QN_OK);
        /* counts of hits go on after arming: the sweep ends where the ingest itself stayed under n */
        if (!qn_fault_arm(QN_FAULT_ALLOC, ++n, QN_FAULT_ONCE)) {
            return;
        }
        enum qn_status status = qn_connection_ingest(db, &ingest, &stream, NULL, &err);
        bool reached = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        assert_int_equal(qn_connection_execute(db, &count, &after, &err), QN_OK);
        if (status != QN_OK && status != QN_ERR_NO_MEMORY) {
            fail_msg("allocation %d: %s %s", (int)n, qn_status_name(status), err.message);
        }
        assert_int_equal(after - before, status == QN_OK ? 2 : 0);
        assert_int_equal(qn_connection_depth(db), 0);
        if (!reached) {
            assert_int_equal(status, QN_OK);
            return;
        }
        assert_true(n < SWEEP_MAX);
    }
}

static void ingest__fails_cleanly_and_keeps_nothing(void **state)
{
    (void)state;
    need_faults();
    struct qn_connection *db = open_memory();
    run(db, "create table t (i integer primary key, s text)");
    sweep_ingest(db, QN_INGEST_APPEND);
    sweep_ingest(db, QN_INGEST_UPSERT);
    qn_connection_free(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open__fails_cleanly),
        cmocka_unit_test(query__fails_cleanly),
        cmocka_unit_test(ingest__fails_cleanly_and_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
