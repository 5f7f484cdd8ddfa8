/*
 * test_execute_many.c: one statement for many rows, against a real server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "server.h"

static const char *uri;

static int open_server(void **state)
{
    struct qn_pg *pg = server_open(uri);
    server_run(pg, "create schema if not exists qanat_test_many");
    server_run(pg, "set search_path = qanat_test_many; set client_min_messages = warning");
    server_run(pg, "create table t (id int4 primary key, v text, d numeric(10,2))");
    *state = pg;
    return 0;
}

static int close_server(void **state)
{
    struct qn_pg *pg = *state;
    if (pg->broken) {
        qn_pg_close(pg);
        pg = server_open(uri);
    }
    server_run(pg, "rollback; drop schema qanat_test_many cascade");
    qn_pg_close(pg);
    return 0;
}

struct plan {
    int64_t twin;   /* the row with an id that was there before, or -1 */
    int64_t misfit; /* the row whose id does not fit, or -1 */
};

static void fill(struct qn_batch *batch, int64_t row, void *context)
{
    const struct plan *plan = context;
    char text[64];
    int64_t id = row == plan->misfit ? INT64_C(1) << 40 : row == plan->twin ? row - 1 : row;
    qn_column_put_int64(&batch->columns[0], id);
    if (row % 5 == 4) {
        qn_column_put_null(&batch->columns[1]);
    } else {
        (void)snprintf(text, sizeof text, "value %lld", (long long)row);
        qn_column_put_bytes(&batch->columns[1], text, strlen(text));
    }
    qn_column_put_decimal128(&batch->columns[2], row);
}

static enum qn_status run_batches(struct qn_pg *pg, const char *sql, const int32_t *column_of, size_t n,
                                  int64_t n_batches, int64_t batch_rows, struct plan plan, int64_t *affected,
                                  struct qn_error *err)
{
    static const struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) },
                                           { "v", qn_type_of(QN_TYPE_STRING_VIEW) },
                                           { "d", qn_type_decimal(12, 2) } };
    struct qn_statement statement = {
        .struct_size = sizeof statement, .sql = sql, .sql_size = strlen(sql), .sql_given = sql, .options = &options
    };
    struct ArrowArrayStream rows;
    (void)made_stream(columns, 3, n_batches, batch_rows, fill, &plan, &rows);
    server_run(pg, "begin");
    enum qn_status status = qn_pg_execute_many(pg, &statement, column_of, n, &rows, affected, err);
    if (!pg->broken) {
        assert_int_equal(pg->ready_expected, 0);
        server_run(pg, status == QN_OK ? "commit" : "rollback");
    }
    qn_stream_release(&rows);
    return status;
}

static const struct plan fine = { .twin = -1, .misfit = -1 };
static const int32_t in_order[] = { 0, 1, 2 };
static const char insert[] = "insert into t values ($1, $2, $3)";

static void execute_many__runs_once_per_row(void **state)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t affected = -1;
    assert_int_equal(run_batches(*state, insert, in_order, 3, 4, 2500, fine, &affected, &err), QN_OK);
    assert_int_equal(affected, 10000);
    server_expect(*state,
                  "select count(*), count(v), sum(d) from t where v is not distinct from "
                  "case when id % 5 = 4 then null else 'value ' || id end and d = id / 100.0",
                  "10000|8000|499950.00");
}

static void execute_many__counts_what_changed_and_drops_rows(void **state)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t affected = -1;
    const int32_t twice[] = { 0, 0 };
    server_run(*state, "insert into t select i, '', 0 from generate_series(0, 99) i");
    assert_int_equal(run_batches(*state, "update t set v = v || 'x' where id in ($1, $2 + 1) returning v", twice, 2, 2,
                                 50, fine, &affected, &err),
                     QN_OK);
    assert_int_equal(affected, 199);
    server_expect(*state, "select sum(length(v)) from t", "199");
}

static void execute_many__no_rows(void **state)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t affected = -1;
    assert_int_equal(run_batches(*state, insert, in_order, 3, 0, 0, fine, &affected, &err), QN_OK);
    assert_int_equal(affected, 0);
}

static void execute_many__the_row_that_the_server_refuses_is_named(void **state)
{
    const int64_t rows[] = { 1, 999, 1000, 1001, 4321, 9999 };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qn_error err = QN_ERROR_INIT;
        int64_t affected = -1;
        const struct plan plan = { .twin = rows[i], .misfit = -1 };
        assert_int_equal(run_batches(*state, insert, in_order, 3, 4, 2500, plan, &affected, &err), QN_ERR_CONSTRAINT);
        assert_string_equal(err.sqlstate, "23505");
        assert_string_equal(err.constraint_name, "t_pkey");
        assert_int_equal(err.row, rows[i]);
        assert_int_equal(affected, -1);
        server_expect(*state, "select count(*) from t", "0");
    }
}

static void execute_many__the_value_that_does_not_fit_is_named(void **state)
{
    const int64_t rows[] = { 0, 999, 1000, 2500, 9999 };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qn_error err = QN_ERROR_INIT;
        int64_t affected = -1;
        const struct plan plan = { .twin = -1, .misfit = rows[i] };
        assert_int_equal(run_batches(*state, insert, in_order, 3, 4, 2500, plan, &affected, &err), QN_ERR_DATA);
        char message[128];
        (void)snprintf(message, sizeof message, "row %lld, column \"id\": 1099511627776 does not fit integer",
                       (long long)rows[i]);
        assert_string_equal(err.message, message);
        assert_int_equal(err.row, rows[i]);
        server_expect(*state, "select count(*) from t", "0");
    }
}

static void execute_many__an_earlier_refusal_comes_before_a_later_misfit(void **state)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t affected = -1;
    const struct plan plan = { .twin = 10, .misfit = 20 };
    assert_int_equal(run_batches(*state, insert, in_order, 3, 1, 100, plan, &affected, &err), QN_ERR_CONSTRAINT);
    assert_int_equal(err.row, 10);
}

static void execute_many__a_statement_that_does_not_parse(void **state)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t affected = -1;
    assert_int_equal(
        run_batches(*state, "insert into t valuess ($1, $2, $3)", in_order, 3, 1, 1, fine, &affected, &err),
        QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42601");
    assert_int_equal(err.position, 15);
}

/* Replies of many megabytes: the server stops reading unless we read while we send. */
static void execute_many__large_replies_do_not_lock_up(void **state)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t affected = -1;
    const int32_t one[] = { 0 };
    assert_int_equal(run_batches(*state, "select repeat('x', 20000 + $1 % 2)", one, 1, 2, 1500, fine, &affected, &err),
                     QN_OK);
    assert_int_equal(affected, 3000);
}

static void execute_many__any_allocation_may_fail(void **state)
{
    struct qn_pg *pg = *state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: built without fault points\n");
        skip();
    }
    bool done = false;
    for (int n = 1; !done; n++) {
        struct qn_error err = QN_ERROR_INIT;
        int64_t affected = -1;
        char sql[96];
        (void)snprintf(sql, sizeof sql, "/* %d */ insert into t values ($1, $2, $3)", n); /* new to the cache */
        static const struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
        const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) },
                                               { "v", qn_type_of(QN_TYPE_STRING_VIEW) },
                                               { "d", qn_type_decimal(12, 2) } };
        struct plan plan = fine;
        struct qn_statement statement = {
            .struct_size = sizeof statement, .sql = sql, .sql_size = strlen(sql), .sql_given = sql, .options = &options
        };
        struct ArrowArrayStream rows;
        (void)made_stream(columns, 3, 2, 3, fill, &plan, &rows);
        server_run(pg, "begin");
        (void)qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE);
        enum qn_status status = qn_pg_execute_many(pg, &statement, in_order, 3, &rows, &affected, &err);
        done = qn_fault_count(QN_FAULT_ALLOC) < n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        qn_stream_release(&rows);
        assert_true(status == QN_OK || status == QN_ERR_NO_MEMORY);
        assert_true(!done || status == QN_OK);
        if (pg->broken) {
            qn_pg_close(pg);
            pg = server_open(uri);
            server_run(pg, "set search_path = qanat_test_many");
            *state = pg;
        } else {
            assert_int_equal(pg->ready_expected, 0);
            server_run(pg, "rollback");
        }
        assert_true(n < 2000);
    }
    server_expect(pg, "select count(*) from t", "0");
}

int main(void)
{
#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)
    const struct CMUnitTest tests[] = {
        SERVER_TEST(execute_many__runs_once_per_row),
        SERVER_TEST(execute_many__counts_what_changed_and_drops_rows),
        SERVER_TEST(execute_many__no_rows),
        SERVER_TEST(execute_many__the_row_that_the_server_refuses_is_named),
        SERVER_TEST(execute_many__the_value_that_does_not_fit_is_named),
        SERVER_TEST(execute_many__an_earlier_refusal_comes_before_a_later_misfit),
        SERVER_TEST(execute_many__a_statement_that_does_not_parse),
        SERVER_TEST(execute_many__large_replies_do_not_lock_up),
        SERVER_TEST(execute_many__any_allocation_may_fail),
    };
    uri = getenv("QANAT_TEST_POSTGRES");
    if (uri == NULL) {
        print_message("QANAT_TEST_POSTGRES is not set: all of these tests need a server and are skipped\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
