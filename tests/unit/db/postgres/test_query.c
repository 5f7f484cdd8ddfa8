/*
 * test_query.c: what happens around rows, against a real server: parameters, errors, cancels, deadlines, lost servers,
 * early ends and the cache of statements.
 */
#include "reading.h"

#include "base/fault.h"
#include "db/postgres/decode.h"
#include "os/clock.h"

#include <pthread.h>
#include <qanat/qanat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- parameters ---- */

/* One row of parameters with one column. */
struct parameter {
    struct ArrowSchema schema;
    struct ArrowArray array;
};

static struct parameter parameter_of(enum qn_type_id id, int64_t number, const char *text)
{
    struct parameter made = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    struct qn_batch batch = { 0 };
    struct qn_type type = qn_type_of(id);
    assert_int_equal(qn_schema_struct(&made.schema, 1, &err), QN_OK);
    assert_int_equal(qn_schema_set(&made.schema, 0, "p", &type, &err), QN_OK);
    assert_int_equal(qn_batch_init(&batch, &made.schema, &err), QN_OK);
    assert_int_equal(qn_batch_reserve(&batch, 1, &err), QN_OK);
    if (text != NULL) {
        qn_column_put_bytes(&batch.columns[0], text, strlen(text));
    } else {
        qn_column_put_int64(&batch.columns[0], number);
    }
    assert_int_equal(qn_batch_finish(&batch, 1, &made.array, &err), QN_OK);
    qn_batch_dispose(&batch);
    return made;
}

static void expect_parameter(struct qn_pg *pg, const char *sql, struct parameter made, const char *schema,
                             const char *rows)
{
    struct answer answer = ask_params(pg, sql, NULL, &made.schema, &made.array);
    if (answer.status != QN_OK) {
        fail_msg("%s: %s", sql, answer.err.message);
    }
    assert_string_equal(qn_buffer_text(&answer.schema), schema);
    assert_string_equal(qn_buffer_text(&answer.rows), rows);
    answer_free(&answer);
    made.schema.release(&made.schema);
    made.array.release(&made.array);
}

static void query__infers_types_of_parameters(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect_parameter(pg, "select $1 as v", parameter_of(QN_TYPE_INT64, 5, NULL), "v:l", "5\n");
    expect_parameter(pg, "select $1 + 1::int2 as v", parameter_of(QN_TYPE_INT64, 5, NULL), "v:s", "6\n");
    expect_parameter(pg, "select $1 as v", parameter_of(QN_TYPE_STRING_VIEW, 0, "it's"), "v:vu", "\"it's\"\n");
    expect_parameter(pg, "select $1 is null as v", parameter_of(QN_TYPE_INT64, 5, NULL), "v:b", "false\n");
    expect_parameter(pg, "select date '2000-01-01' + $1::int4 as v", parameter_of(QN_TYPE_INT64, 59, NULL), "v:tdD",
                     "\"2000-02-29\"\n");
    expect_parameter(pg, "select $1 + $1 as v", parameter_of(QN_TYPE_INT64, 3, NULL), "v:l", "6\n");
    qn_pg_close(pg);
}

static void query__refuses_a_wrong_number_of_parameters(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    (void)expect_error(pg, NULL, "select $1::int4", QN_ERR_ARGUMENT);
    struct parameter made = parameter_of(QN_TYPE_INT64, 1, NULL);
    struct answer answer = ask_params(pg, "select 1", NULL, &made.schema, &made.array);
    assert_int_equal(answer.status, QN_ERR_ARGUMENT);
    answer_free(&answer);
    made.schema.release(&made.schema);
    made.array.release(&made.array);
    expect(pg, "select 7 as n", "n:i", "7\n");
    qn_pg_close(pg);
}

/* ---- shapes ---- */

static void query__rows_without_columns_and_columns_without_rows(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg, "create temp table nothing()", "", "");
    struct answer answer = ask(pg, "insert into nothing select from generate_series(1, 3)", NULL);
    assert_int_equal(answer.affected, 3);
    answer_free(&answer);
    answer = ask(pg, "select from nothing", NULL);
    assert_int_equal(answer.status, QN_OK);
    assert_int_equal(answer.n_rows, 3);
    answer_free(&answer);
    expect(pg, "select 1 as a, 'x' as a, 2.5::float8 as b where false", "a:i a:vu b:g", "");
    expect(pg, "select 1 as a, 'x' as a", "a:i a:vu", "1|\"x\"\n");
    struct qn_error err = expect_error(pg, NULL, "/* nothing */ ;", QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42601");
    expect(pg, "show server_encoding; -- with a comment", "server_encoding:vu", "\"UTF8\"\n");
    qn_pg_close(pg);
}

static void query__small_batches_of_many_rows(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.batch_rows = 7;
    struct answer answer = ask(pg, "select i, 'row ' || i as t from generate_series(1, 100000) i", &options);
    assert_int_equal(answer.status, QN_OK);
    assert_int_equal(answer.n_rows, 100000);
    assert_int_equal(answer.n_batches, (100000 + 6) / 7);
    assert_int_equal(answer.affected, 100000);
    answer_free(&answer);
    options.batch_rows = 0;
    options.batch_bytes = 1 << 20;
    answer = ask(pg, "select repeat('x', 100000) as t from generate_series(1, 100) i", &options);
    assert_int_equal(answer.n_rows, 100);
    assert_true(answer.n_batches >= 5 && answer.n_batches <= 10); /* 10 MB in batches of at least 1 and at most 2 MB */
    answer_free(&answer);
    qn_pg_close(pg);
}

static void query__returning_and_counts(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg, "create temp table t (i int primary key, v text)", "", "");
    expect(pg, "insert into t select g, 'v' || g from generate_series(1, 3) g returning i, v", "i:i v:vu",
           "1|\"v1\"\n2|\"v2\"\n3|\"v3\"\n");
    struct answer answer = ask(pg, "update t set v = 'w' where i > 1", NULL);
    assert_int_equal(answer.affected, 2);
    answer_free(&answer);
    answer = ask(pg, "delete from t", NULL);
    assert_int_equal(answer.affected, 3);
    answer_free(&answer);
    qn_pg_close(pg);
}

/* ---- errors ---- */

static void query__errors_say_where_and_what(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_error err = expect_error(pg, NULL, "select * frm x", QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42601");
    assert_int_equal(err.position, 10);
    err = expect_error(pg, NULL, "select 1; select 2", QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42601");
    assert_true(err.hint[0] != 0);
    expect(pg, "create temp table parent (id int constraint parent_key primary key, n int not null check (n > 0))", "",
           "");
    expect(pg, "create temp table child (p int constraint child_parent references parent)", "", "");
    expect(pg, "insert into parent values (1, 1)", "", "");
    err = expect_error(pg, NULL, "insert into parent values (1, 1)", QN_ERR_CONSTRAINT);
    assert_string_equal(err.sqlstate, "23505");
    assert_string_equal(err.constraint_name, "parent_key");
    assert_string_equal(err.table_name, "parent");
    assert_string_equal(err.detail, "Key (id)=(1) already exists.");
    assert_false(err.retryable);
    err = expect_error(pg, NULL, "insert into parent values (2, null)", QN_ERR_CONSTRAINT);
    assert_string_equal(err.sqlstate, "23502");
    assert_string_equal(err.column_name, "n");
    err = expect_error(pg, NULL, "insert into child values (9)", QN_ERR_CONSTRAINT);
    assert_string_equal(err.constraint_name, "child_parent");
    err = expect_error(pg, NULL, "select 1 / (3 - i) from generate_series(1, 5) i", QN_ERR_DATA);
    assert_string_equal(err.sqlstate, "22012");
    qn_pg_close(pg);
}

static void query__error_in_mid_stream(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.batch_rows = 1000;
    struct answer answer = ask(pg, "select 1 / (50000 - i) from generate_series(1, 60000) i", &options);
    assert_int_equal(answer.status, QN_ERR_DATA);
    assert_string_equal(answer.err.sqlstate, "22012");
    assert_true(answer.n_rows >= 40000 && answer.n_rows < 50000);
    answer_free(&answer);
    expect(pg, "select 1 as n", "n:i", "1\n");
    qn_pg_close(pg);
}

static void query__failed_transaction_stays_failed(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg, "begin", "", "");
    assert_int_equal(pg->transaction_status, 'T');
    (void)expect_error(pg, NULL, "select 1/0", QN_ERR_DATA);
    assert_int_equal(pg->transaction_status, 'E');
    struct qn_error err = expect_error(pg, NULL, "select 1", QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "25P02");
    expect(pg, "rollback", "", "");
    assert_int_equal(pg->transaction_status, 'I');
    qn_pg_close(pg);
}

static void query__refuses_copy_and_encodings(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg, "create temp table t (i int)", "", "");
    (void)expect_error(pg, NULL, "copy t from stdin", QN_ERR_UNSUPPORTED);
    (void)expect_error(pg, NULL, "copy (select generate_series(1, 100000)) to stdout", QN_ERR_UNSUPPORTED);
    (void)expect_error(pg, NULL, "set client_encoding to 'LATIN1'", QN_ERR_UNSUPPORTED);
    expect(pg, "select 'ü' as u", "u:vu", "\"ü\"\n");
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_pg_simple(pg, "copy t from stdin", NULL, &err), QN_ERR_UNSUPPORTED);
    assert_int_equal(qn_pg_simple(pg, "copy (select 1) to stdout", NULL, &err), QN_ERR_UNSUPPORTED);
    expect(pg, "select 1 as n", "n:i", "1\n");
    qn_pg_close(pg);
}

/* ---- ends before the end ---- */

static void query__early_close_leaves_the_connection_ready(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.batch_rows = 10;
    for (int i = 0; i < 3; i++) {
        struct qn_cursor cursor;
        struct qn_error err = QN_ERROR_INIT;
        struct ArrowArray array;
        const char *sql = "select i, repeat('x', 1000) from generate_series(1, 100000000) i";
        assert_int_equal(start(pg, sql, &options, &cursor, &err), QN_OK);
        assert_int_equal(cursor.ops->next(cursor.self, &array, &err), QN_OK);
        assert_int_equal(array.length, 10);
        array.release(&array);
        cursor.ops->close(cursor.self);
        expect(pg, "select 1 as n", "n:i", "1\n");
    }
    qn_pg_close(pg);
}

static void query__early_close_of_a_small_rest_spares_the_transaction(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_cursor cursor;
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowArray array;
    options.batch_rows = 10;
    expect(pg, "begin", "", "");
    assert_int_equal(start(pg, "select i from generate_series(1, 100) i", &options, &cursor, &err), QN_OK);
    assert_int_equal(cursor.ops->next(cursor.self, &array, &err), QN_OK);
    array.release(&array);
    cursor.ops->close(cursor.self);
    assert_int_equal(pg->transaction_status, 'T');
    expect(pg, "commit", "", "");
    qn_pg_close(pg);
}

static void query__deadline_cancels(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.statement_timeout_ms = 100;
    int64_t began = qn_clock_nanos();
    struct qn_error err = expect_error(pg, &options, "select pg_sleep(60)", QN_ERR_TIMEOUT);
    assert_true(err.message[0] != 0);
    /* while rows flow, too */
    (void)expect_error(pg, &options, "select i from generate_series(1, 10000000000) i", QN_ERR_TIMEOUT);
    assert_true(qn_clock_nanos() - began < INT64_C(20000000000));
    qn_pg_close(pg);
}

static void query__servers_own_limit_is_a_timeout(void **state)
{
    (void)state;
    struct qn_pg *pg = NULL;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(connect_with(server_uri(), &pg, &err, "statement_timeout", "100ms", NULL), QN_OK);
    err = expect_error(pg, NULL, "select pg_sleep(60)", QN_ERR_TIMEOUT);
    assert_string_equal(err.sqlstate, "57014");
    qn_pg_close(pg);
}

static int ask_to_stop(void *context)
{
    return ++*(int *)context > 1;
}

static void query__interrupt_cancels(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    int asked = 0;
    qn_interrupt_set(ask_to_stop, &asked);
    struct answer answer = ask(pg, "select pg_sleep(60)", NULL);
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(answer.status, QN_ERR_CANCELLED);
    assert_false(pg->broken);
    answer_free(&answer);
    asked = 0;
    qn_interrupt_set(ask_to_stop, &asked);
    answer = ask(pg, "select i from generate_series(1, 10000000000) i", NULL);
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(answer.status, QN_ERR_CANCELLED);
    answer_free(&answer);
    expect(pg, "select 1 as n", "n:i", "1\n");
    qn_pg_close(pg);
}

/* A cancel may come when the server takes none (between two messages, or while it loads a library): the statement here
 * catches the first one itself and goes on. */
static void query__lost_cancel_is_repeated(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    int asked = 0;
    qn_interrupt_set(ask_to_stop, &asked);
    struct answer answer = ask(pg,
                               "do $$ begin "
                               "begin perform pg_sleep(60); exception when query_canceled then null; end; "
                               "perform pg_sleep(60); end $$",
                               NULL);
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(answer.status, QN_ERR_CANCELLED);
    answer_free(&answer);
    expect(pg, "select 1 as n", "n:i", "1\n");
    qn_pg_close(pg);
}

static void query__what_was_not_sent_is_not_run(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    static const char sql[] = "create table never_sent (n int)";
    qn_pg_message(pg, 'Q', sql, sizeof sql);
    qn_pg_recover(pg);
    assert_false(pg->broken);
    expect(pg, "select to_regclass('never_sent') is null as absent", "absent:b", "true\n");
    qn_pg_close(pg);
}

/* Waits until the session sleeps, then cancels it: the event is in the server's own view of its sessions. */
struct canceller {
    struct qn_pg *watcher, *victim;
    char sql[200];
};

static void *cancel_when_active(void *context)
{
    struct canceller *canceller = context;
    for (bool active = false; !active;) {
        struct answer answer = ask(canceller->watcher, canceller->sql, NULL);
        active = answer.n_rows == 1;
        answer_free(&answer);
    }
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_pg_cancel(canceller->victim, &err), QN_OK);
    return NULL;
}

static void query__cancel_from_another_thread(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct canceller canceller = { .watcher = connected(), .victim = pg };
    (void)snprintf(canceller.sql, sizeof canceller.sql,
                   "select 1 from pg_stat_activity where pid = %d and wait_event = 'PgSleep'", PQbackendPID(pg->pg));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_active, &canceller), 0);
    struct answer answer = ask(pg, "select pg_sleep(60)", NULL);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(answer.status, QN_ERR_CANCELLED);
    assert_string_equal(answer.err.sqlstate, "57014");
    answer_free(&answer);
    expect(pg, "select 1 as n", "n:i", "1\n");
    qn_pg_close(canceller.watcher);
    qn_pg_close(pg);
}

/* ---- lost servers ---- */

static void end_session(struct qn_pg *other, const struct qn_pg *victim)
{
    char sql[100];
    (void)snprintf(sql, sizeof sql, "select pg_terminate_backend(%d, 10000)", PQbackendPID(victim->pg));
    struct answer answer = ask(other, sql, NULL);
    assert_int_equal(answer.status, QN_OK);
    answer_free(&answer);
}

static void query__session_ended_in_mid_read(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_pg *other = connected();
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_cursor cursor;
    struct qn_error err = QN_ERROR_INIT;
    options.batch_rows = 10;
    const char *sql = "select i, repeat('x', 1000) from generate_series(1, 100000000) i";
    assert_int_equal(start(pg, sql, &options, &cursor, &err), QN_OK);
    end_session(other, pg);
    enum qn_status status = QN_OK;
    while (status == QN_OK) {
        struct ArrowArray array = { 0 };
        status = cursor.ops->next(cursor.self, &array, &err);
        assert_true(status != QN_OK || array.release != NULL); /* it never ends as if it were complete */
        if (status == QN_OK) {
            array.release(&array);
        }
    }
    assert_int_equal(status, QN_ERR_CONNECTION);
    assert_true(err.retryable);
    assert_true(strcmp(err.sqlstate, "57P01") == 0 || strcmp(err.sqlstate, "08006") == 0);
    assert_true(pg->broken);
    cursor.ops->close(cursor.self);
    assert_int_equal(start(pg, "select 1", NULL, &cursor, &err), QN_ERR_CONNECTION);
    qn_pg_close(pg);
    qn_pg_close(other);
}

static void query__session_ended_while_idle_explains_itself(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    struct qn_pg *other = connected();
    end_session(other, pg);
    struct answer answer = ask(pg, "select 1", NULL);
    assert_int_equal(answer.status, QN_ERR_CONNECTION);
    assert_string_equal(answer.err.sqlstate, "57P01");
    assert_true(answer.err.retryable);
    assert_true(pg->broken);
    answer_free(&answer);
    qn_pg_close(pg);
    qn_pg_close(other);
}

/* The n-th read or write of the socket fails, for every n that the statement reaches. */
static void query__any_read_or_write_may_fail(void **state)
{
    (void)state;
    (void)server_uri();
    if (!qn_fault_arm(QN_FAULT_READ, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points (-Dfaults=true)\n");
        skip();
    }
    static const enum qn_fault_kind kinds[] = { QN_FAULT_READ, QN_FAULT_WRITE };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool met = true;
        for (int64_t n = 1; met && n < 50; n++) {
            struct qn_pg *pg = connected();
            (void)qn_fault_arm(kinds[k], n, QN_FAULT_ONCE);
            struct answer answer = ask(pg, "select i from generate_series(1, 20000) i", NULL);
            met = qn_fault_count(kinds[k]) >= n;
            (void)qn_fault_arm(kinds[k], 0, QN_FAULT_ONCE);
            assert_int_equal(answer.status, met ? QN_ERR_CONNECTION : QN_OK);
            assert_int_equal(pg->broken, met);
            answer_free(&answer);
            qn_pg_close(pg);
        }
    }
}

/* ---- the cache of statements ---- */

static void query__statements_outlive_changes_of_their_tables(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg, "create temp table t (i int)", "", "");
    expect(pg, "insert into t values (1)", "", "");
    expect(pg, "select * from t", "i:i", "1\n");
    expect(pg, "alter table t add v text default 'new'", "", "");
    expect(pg, "select * from t", "i:i v:vu", "1|\"new\"\n");
    expect(pg, "alter table t alter i type int8", "", "");
    expect(pg, "select * from t", "i:l v:vu", "1|\"new\"\n");
    expect(pg, "deallocate all", "", "");
    expect(pg, "select * from t", "i:l v:vu", "1|\"new\"\n");
    expect(pg, "discard all", "", "");
    expect(pg, "select 1 as n", "n:i", "1\n");
    /* behind our back, as a pooler may do */
    assert_int_equal(qn_pg_simple(pg, "deallocate all", NULL, NULL), QN_OK);
    expect(pg, "select 1 as n", "n:i", "1\n");
    qn_pg_close(pg);
}

static void query__cache_keeps_its_size(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    for (int i = 0; i < 3 * QN_PG_CACHE_SIZE; i++) {
        char sql[40];
        char row[20];
        (void)snprintf(sql, sizeof sql, "select %d as n", i);
        (void)snprintf(row, sizeof row, "%d\n", i);
        expect(pg, sql, "n:i", row);
    }
    assert_int_equal(pg->n_prepared, QN_PG_CACHE_SIZE);
    expect(pg, "select (count(*) <= 65)::text as few from pg_prepared_statements", "few:vu", "\"true\"\n");
    qn_pg_close(pg);
}

/* ---- asynchronous messages ---- */

static void query__notices_and_notifications_in_mid_stream(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    expect(pg,
           "create function pg_temp.say(i int) returns int language plpgsql as "
           "$$ begin raise notice 'row %', i; return i; end $$",
           "", "");
    expect(pg, "select pg_temp.say(i) as n from generate_series(1, 3) i", "n:i", "1\n2\n3\n");
    expect(pg, "listen news", "", "");
    expect(pg, "notify news, 'grüße'", "", "");
    expect(pg, "set application_name to 'other'", "", "");
    assert_int_equal(pg->n_notifications, 1);
    assert_string_equal(pg->notifications->channel, "news");
    assert_string_equal(pg->notifications->payload, "grüße");
    qn_pg_close(pg);
}

static void query__child_of_a_fork_leaves_the_session_alone(void **state)
{
    (void)state;
    struct qn_pg *pg = connected();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        qn_pg_abandon(pg);
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    expect(pg, "select 1 as n", "n:i", "1\n");
    qn_pg_close(pg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query__infers_types_of_parameters),
        cmocka_unit_test(query__refuses_a_wrong_number_of_parameters),
        cmocka_unit_test(query__rows_without_columns_and_columns_without_rows),
        cmocka_unit_test(query__small_batches_of_many_rows),
        cmocka_unit_test(query__returning_and_counts),
        cmocka_unit_test(query__errors_say_where_and_what),
        cmocka_unit_test(query__error_in_mid_stream),
        cmocka_unit_test(query__failed_transaction_stays_failed),
        cmocka_unit_test(query__refuses_copy_and_encodings),
        cmocka_unit_test(query__early_close_leaves_the_connection_ready),
        cmocka_unit_test(query__early_close_of_a_small_rest_spares_the_transaction),
        cmocka_unit_test(query__deadline_cancels),
        cmocka_unit_test(query__servers_own_limit_is_a_timeout),
        cmocka_unit_test(query__interrupt_cancels),
        cmocka_unit_test(query__lost_cancel_is_repeated),
        cmocka_unit_test(query__what_was_not_sent_is_not_run),
        cmocka_unit_test(query__cancel_from_another_thread),
        cmocka_unit_test(query__session_ended_in_mid_read),
        cmocka_unit_test(query__session_ended_while_idle_explains_itself),
        cmocka_unit_test(query__any_read_or_write_may_fail),
        cmocka_unit_test(query__statements_outlive_changes_of_their_tables),
        cmocka_unit_test(query__cache_keeps_its_size),
        cmocka_unit_test(query__notices_and_notifications_in_mid_stream),
        cmocka_unit_test(query__child_of_a_fork_leaves_the_session_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
