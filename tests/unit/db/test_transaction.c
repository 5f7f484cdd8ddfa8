/* test_transaction.c: transactions, savepoints, and SQL that changes them behind the core's back. */
#include "fake_driver.h"

static enum qn_status begin(struct qn_connection *connection)
{
    return qn_connection_begin(connection, QN_ISOLATION_DEFAULT, false, NULL);
}

static void nested__are_savepoints(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    assert_int_equal(qn_connection_depth(connection), 0);
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(qn_connection_depth(connection), 3);
    assert_int_equal(qn_connection_rollback(connection, NULL), QN_OK);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_OK);
    assert_int_equal(qn_connection_depth(connection), 1);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_OK);
    assert_int_equal(qn_connection_depth(connection), 0);
    assert_log("begin\nsavepoint qn_1\nsavepoint qn_2\n"
               "rollback to savepoint qn_2\nrelease savepoint qn_2\n"
               "release savepoint qn_1\ncommit\n");
    fake_disconnect(connection);
}

static void begin__takes_isolation_and_access(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_connection_begin(connection, QN_ISOLATION_SERIALIZABLE, false, NULL), QN_OK);
    assert_int_equal(qn_connection_begin(connection, QN_ISOLATION_SERIALIZABLE, false, &err), QN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "savepoint"));
    assert_int_equal(qn_connection_rollback(connection, NULL), QN_OK);
    assert_int_equal(qn_connection_begin(connection, QN_ISOLATION_DEFAULT, true, NULL), QN_OK);
    assert_int_equal(qn_connection_rollback(connection, NULL), QN_OK);
    assert_int_equal(qn_connection_begin(connection, QN_ISOLATION_SERIALIZABLE, true, &err), QN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "read-only transactions with the isolation \"serializable\""));
    assert_int_equal(qn_connection_begin(connection, (enum qn_isolation)4, false, &err), QN_ERR_ARGUMENT);
    assert_log("begin isolation level serializable\nrollback\nbegin read only\nrollback\n");
    fake_disconnect(connection);
}

static void commit__outside_of_a_transaction_is_an_error(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_connection_commit(connection, &err), QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "25P01");
    assert_int_equal(qn_connection_rollback(connection, &err), QN_ERR_QUERY);
    assert_log("");
    fake_disconnect(connection);
}

static void commit__of_a_failed_transaction_rolls_back_and_says_so(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(fake_execute(connection, "fail", NULL), QN_ERR_QUERY);
    assert_int_equal(qn_connection_commit(connection, &err), QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "25P02");
    assert_int_equal(qn_connection_depth(connection), 0);
    assert_log("begin\nfail\nrollback\n");
    fake_disconnect(connection);
}

static void commit__of_a_failed_savepoint_keeps_the_outer_one(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(fake_execute(connection, "fail", NULL), QN_ERR_QUERY);
    assert_int_equal(qn_connection_commit(connection, &err), QN_ERR_QUERY);
    assert_int_equal(qn_connection_depth(connection), 1);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_OK);
    assert_log("begin\nsavepoint qn_1\nfail\nrollback to savepoint qn_1\nrelease savepoint qn_1\ncommit\n");
    fake_disconnect(connection);
}

static void commit__that_the_database_refuses_ends_the_transaction(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    fake.fail_commit = true;
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_ERR_QUERY);
    assert_int_equal(qn_connection_depth(connection), 0);
    fake_disconnect(connection);
}

static void sql__that_ends_or_begins_is_seen(void **state)
{
    (void)state;
    struct qn_connection *connection = fake_connect();
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(fake_execute(connection, "commit", NULL), QN_OK);
    assert_int_equal(qn_connection_depth(connection), 0);
    assert_int_equal(fake_execute(connection, "begin", NULL), QN_OK);
    assert_int_equal(qn_connection_depth(connection), 1);
    assert_int_equal(begin(connection), QN_OK);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_OK);
    assert_int_equal(qn_connection_commit(connection, NULL), QN_OK);
    assert_log("begin\nsavepoint qn_1\ncommit\nbegin\nsavepoint qn_1\nrelease savepoint qn_1\ncommit\n");
    fake_disconnect(connection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested__are_savepoints),
        cmocka_unit_test(begin__takes_isolation_and_access),
        cmocka_unit_test(commit__outside_of_a_transaction_is_an_error),
        cmocka_unit_test(commit__of_a_failed_transaction_rolls_back_and_says_so),
        cmocka_unit_test(commit__of_a_failed_savepoint_keeps_the_outer_one),
        cmocka_unit_test(commit__that_the_database_refuses_ends_the_transaction),
        cmocka_unit_test(sql__that_ends_or_begins_is_seen),
    };
    return cmocka_run_group_tests(tests, fake_register, NULL);
}
