/* What SQLite refuses, as the one family of errors; locks, time limits, cancel and interrupts. */
#include "fixture.h"

#include "os/clock.h"

#include <pthread.h>
#include <stdatomic.h>

static const char endless[] = "with recursive s(i) as (select 1 union all select i + 1 from s where i < 1000000000000) "
                              "select count(*) from s";

static void constraints__name_kind_table_and_column(void **state)
{
    (void)state;
    struct qn_connection *db = open_uri("sqlite://:memory:?foreign_keys=true");
    run(db, "create table p (i integer primary key)");
    run(db, "create table t (i integer primary key, u text unique, n text not null, c integer, f integer references p, "
            "constraint c_positive check (c > 0), unique (u, n))");
    run(db, "insert into t values (1, 'u', 'n', 1, null)");
    struct qn_error err =
        expect_error(db, "insert into t values (1, 'v', 'n', 1, null)", QN_ERR_CONSTRAINT, "23505", "t.i");
    assert_string_equal(err.table_name, "t");
    assert_string_equal(err.column_name, "i");
    assert_false(err.retryable);
    err = expect_error(db, "insert into t values (2, 'u', 'n', 1, null)", QN_ERR_CONSTRAINT, "23505", "UNIQUE");
    assert_string_equal(err.table_name, "t");
    assert_string_equal(err.column_name, "u");
    err = expect_error(db, "insert into t values (2, 'v', null, 1, null)", QN_ERR_CONSTRAINT, "23502", "NOT NULL");
    assert_string_equal(err.column_name, "n");
    err = expect_error(db, "insert into t values (2, 'v', 'n', -1, null)", QN_ERR_CONSTRAINT, "23514", "c_positive");
    assert_string_equal(err.constraint_name, "c_positive");
    (void)expect_error(db, "insert into t values (2, 'v', 'n', 1, 9)", QN_ERR_CONSTRAINT, "23503", "FOREIGN KEY");
    expect(db, "select count(*) as n from t", "n:l | 1");
    run(db, "create unique index t_lower on t (lower(u))");
    err = expect_error(db, "insert into t values (2, 'U', 'm', 1, null)", QN_ERR_CONSTRAINT, "23505", "t_lower");
    assert_string_equal(err.constraint_name, "t_lower");
    qn_connection_free(db);
}

static void names__that_are_missing_say_which(void **state)
{
    (void)state;
    struct qn_connection *db = open_memory();
    run(db, "create table orders (i integer)");
    struct qn_error err = expect_error(db, "select * from oders", QN_ERR_QUERY, "42P01", "oders");
    assert_string_equal(err.table_name, "oders");
    assert_string_equal(err.hint, "did you mean \"orders\"?");
    err = expect_error(db, "select * from invoices", QN_ERR_QUERY, "42P01", "invoices");
    assert_string_equal(err.hint, "");
    err = expect_error(db, "select nope from orders", QN_ERR_QUERY, "42703", "nope");
    assert_string_equal(err.column_name, "nope");
    assert_int_equal(err.position, 8);
    (void)expect_error(db, "select \"nope\" from orders", QN_ERR_QUERY, "42703", "nope"); /* not the text 'nope' */
    (void)expect_error(db, "insert into orders (j) values (1)", QN_ERR_QUERY, "42703", "j");
    (void)expect_error(db, "create table orders (i)", QN_ERR_QUERY, "42P07", "orders");
    (void)expect_error(db, "select nope(1)", QN_ERR_QUERY, "42883", "nope");
    qn_connection_free(db);
}

static void syntax_errors__have_a_character_position(void **state)
{
    (void)state;
    struct qn_connection *db = open_memory();
    struct qn_error err = expect_error(db, "select 'üü' as x frm t", QN_ERR_QUERY, "42601", "frm");
    assert_int_equal(err.position, 18);
    (void)expect_error(db, "select (1", QN_ERR_QUERY, "42601", "incomplete");
    qn_connection_free(db);
}

static void one_text__is_one_statement(void **state)
{
    (void)state;
    struct qn_connection *db = open_memory();
    run(db, "create table t (i integer)");
    struct qn_error err =
        expect_error(db, "insert into t values (1); delete from t", QN_ERR_QUERY, "42601", "more than one");
    assert_int_equal(err.position, 27);
    (void)expect_error(db, "", QN_ERR_QUERY, "42601", "empty");
    (void)expect_error(db, " -- nothing\n /* at all */ ;", QN_ERR_QUERY, "42601", "empty");
    expect(db, "select count(*) as n from t; -- the end\n /* of it */ ;", "n:l | 0");
    qn_connection_free(db);
}

static void a_locked_database__is_an_error_that_a_retry_may_help(void **state)
{
    (void)state;
    struct qn_connection *first = open_uri(file_uri("lock.db", ""));
    struct qn_connection *second = open_uri(file_uri("lock.db", "?timeout=50ms"));
    run(first, "create table t (i integer)");
    run(first, "begin immediate");
    int64_t start = qn_clock_nanos();
    struct qn_error err = expect_error(second, "insert into t values (1)", QN_ERR_QUERY, "55P03", "lock.db");
    int64_t waited = (qn_clock_nanos() - start) / 1000000;
    assert_true(err.retryable);
    assert_true(waited >= 50);
    run(first, "rollback");
    run(second, "insert into t values (1)");
    qn_connection_free(second);
    second = open_uri(file_uri("lock.db", "?timeout=60"));
    run(first, "begin exclusive");
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT; /* a statement's limit ends the wait for a lock as well */
    options.statement_timeout_ms = 50;
    (void)expect_error_options(second, "insert into t values (1)", &options, QN_ERR_TIMEOUT, "time limit");
    run(first, "rollback");
    expect(second, "select count(*) as n from t", "n:l | 1");
    qn_connection_free(first);
    qn_connection_free(second);
}

static void a_time_limit__ends_the_statement_and_not_the_connection(void **state)
{
    (void)state;
    struct qn_connection *db = open_memory();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.statement_timeout_ms = 30;
    struct qn_error err = expect_error_options(db, endless, &options, QN_ERR_TIMEOUT, "time limit");
    assert_string_equal(err.sqlstate, "57014");
    assert_true(err.retryable);
    expect(db, "select 1 as x", "x:l | 1");
    qn_connection_free(db);
    db = open_uri("sqlite://:memory:?statement_timeout=30ms");
    (void)expect_error(db, endless, QN_ERR_TIMEOUT, "57014", "time limit");
    qn_connection_free(db);
}

/* ---- cancel ---- */

struct canceller {
    struct qn_connection *connection;
    atomic_bool done;
};

static void *cancel_until_done(void *context)
{
    struct canceller *self = context;
    while (!atomic_load(&self->done)) {
        (void)qn_connection_cancel(self->connection, NULL);
    }
    return NULL;
}

static void expect_cancelled(struct qn_connection *db, const char *sql)
{
    pthread_t thread;
    struct canceller canceller = { .connection = db };
    assert_int_equal(pthread_create(&thread, NULL, cancel_until_done, &canceller), 0);
    (void)expect_error(db, sql, QN_ERR_CANCELLED, "57014", "cancelled");
    atomic_store(&canceller.done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void cancel__stops_what_runs_and_only_that(void **state)
{
    (void)state;
    struct qn_connection *db = open_memory();
    struct qn_error err = QN_ERROR_INIT;
    expect_cancelled(db, endless);
    expect(db, "select 1 as x", "x:l | 1");
    assert_int_equal(qn_connection_cancel(db, &err), QN_OK); /* nothing runs: nothing happens */
    expect(db, "select 1 as x", "x:l | 1");
    qn_connection_free(db);
}

static void cancel__stops_the_wait_for_a_lock(void **state)
{
    (void)state;
    struct qn_connection *first = open_uri(file_uri("wait.db", ""));
    struct qn_connection *second = open_uri(file_uri("wait.db", "?timeout=60"));
    run(first, "create table t (i integer)");
    run(first, "begin immediate");
    expect_cancelled(second, "insert into t values (1)");
    run(first, "rollback");
    run(second, "insert into t values (1)");
    qn_connection_free(first);
    qn_connection_free(second);
}

static int on_interrupt(void *context)
{
    int *asked = context;
    return ++*asked >= 2;
}

static void the_interrupt_callback__stops_a_statement(void **state)
{
    (void)state;
    struct qn_connection *db = open_memory();
    int asked = 0;
    qn_interrupt_set(on_interrupt, &asked);
    int64_t start = qn_clock_nanos();
    (void)expect_error(db, endless, QN_ERR_CANCELLED, "", "interrupted");
    int64_t took = (qn_clock_nanos() - start) / 1000000;
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(asked, 2);
    assert_true(took < 1000);
    expect(db, "select 1 as x", "x:l | 1");
    qn_connection_free(db);
}

static void an_open_stream__can_be_cancelled_and_closed_early(void **state)
{
    (void)state;
    struct qn_connection *db = open_memory();
    struct qn_query query = QN_QUERY_INIT;
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_error err = QN_ERROR_INIT;
    options.batch_rows = 2;
    query.options = &options;
    query.sql = "with recursive s(i) as (select 1 union all select i + 1 from s) select i from s";
    struct ArrowArrayStream stream = { .release = NULL };
    assert_int_equal(qn_connection_query(db, &query, &stream, NULL, &err), QN_OK);
    assert_int_equal(qn_connection_cancel(db, &err), QN_OK);
    enum qn_status status = QN_OK;
    for (int i = 0; i < 3 && status == QN_OK; i++) {
        qn_auto_array batch = { .release = NULL };
        status = qn_stream_next(&stream, &batch, &err);
    }
    assert_int_equal(status, QN_ERR_CANCELLED);
    stream.release(&stream);
    expect(db, "select 1 as x", "x:l | 1");
    run(db, "create table t (i integer)");
    query.sql = "insert into t values (1), (2), (3), (4), (5) returning i";
    assert_int_equal(qn_connection_query(db, &query, &stream, NULL, &err), QN_OK);
    stream.release(&stream); /* the rows are dropped, the changes were made */
    expect(db, "select count(*) as n from t", "n:l | 5");
    qn_connection_free(db);
}

static void rows_affected__are_those_of_the_statement(void **state)
{
    (void)state;
    struct qn_connection *db = open_memory();
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    static const struct {
        const char *sql;
        int64_t rows;
    } cases[] = {
        { "create table t (i integer)", -1 },
        { "insert into t values (1), (2), (3)", 3 },
        { "update t set i = i + 1 where i > 1", 2 },
        { "update t set i = 0 where i > 100", 0 },
        { "select * from t", 3 },
        { "insert into t values (7) returning i", 1 },
        { "with x as (select 1) delete from t", 4 },
        { "pragma user_version = 5", -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t rows = -7;
        query.sql = cases[i].sql;
        assert_int_equal(qn_connection_execute(db, &query, &rows, &err), QN_OK);
        assert_int_equal(rows, cases[i].rows);
    }
    qn_connection_free(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constraints__name_kind_table_and_column),
        cmocka_unit_test(names__that_are_missing_say_which),
        cmocka_unit_test(syntax_errors__have_a_character_position),
        cmocka_unit_test(one_text__is_one_statement),
        cmocka_unit_test(a_locked_database__is_an_error_that_a_retry_may_help),
        cmocka_unit_test(a_time_limit__ends_the_statement_and_not_the_connection),
        cmocka_unit_test(cancel__stops_what_runs_and_only_that),
        cmocka_unit_test(cancel__stops_the_wait_for_a_lock),
        cmocka_unit_test(the_interrupt_callback__stops_a_statement),
        cmocka_unit_test(an_open_stream__can_be_cancelled_and_closed_early),
        cmocka_unit_test(rows_affected__are_those_of_the_statement),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
