/* Opening SQLite files: what is there, what is not, what is no database, and what the options do. */
#include "fixture.h"

#include <sys/stat.h>
#include <sys/wait.h>

static struct qn_error expect_no_open(const char *uri, enum qn_status status, const char *says)
{
    struct qn_connection *connection = NULL;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status found = qn_connection_open(uri, &connection, &err);
    if (found != status || strstr(err.message, says) == NULL) {
        fail_msg("%s: wanted %s \"%s\", found %s \"%s\"", uri, qn_status_name(status), says, qn_status_name(found),
                 err.message);
    }
    assert_null(connection);
    return err;
}

static void write_file(const char *name, const char *text)
{
    char path[PATH_SIZE * 2];
    (void)snprintf(path, sizeof path, "%s/%s", test_folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_new_file__is_made_and_keeps_its_rows(void **state)
{
    (void)state;
    struct qn_connection *connection = open_uri(file_uri("new.db", ""));
    run(connection, "create table t (i integer)");
    run(connection, "insert into t values (1)");
    qn_connection_free(connection);
    connection = open_uri(file_uri("new.db", ""));
    expect(connection, "select * from t", "i:l | 1");
    qn_connection_free(connection);
}

static void a_missing_file__is_an_error_without_create(void **state)
{
    (void)state;
    struct qn_error err = expect_no_open(file_uri("missing.db", "?create=false"), QN_ERR_CONNECTION, "missing.db");
    assert_non_null(strstr(err.hint, "create=true"));
    (void)expect_no_open(file_uri("missing.db", "?read_only=true"), QN_ERR_CONNECTION, "No such file");
    (void)expect_no_open(file_uri("no/such/folder.db", ""), QN_ERR_CONNECTION, "no/such/folder.db");
    char path[PATH_SIZE * 2];
    (void)snprintf(path, sizeof path, "%s/missing.db", test_folder);
    assert_int_equal(access(path, F_OK), -1);
}

static void what_is_no_database__is_an_error_at_connect(void **state)
{
    (void)state;
    write_file("text.db", "this is a letter to my aunt, and longer than a hundred bytes, since shorter files are taken "
                          "for new databases by some versions");
    (void)expect_no_open(file_uri("text.db", ""), QN_ERR_CONNECTION, "text.db\": file is not a database");
    (void)expect_no_open(file_uri("", ""), QN_ERR_CONNECTION, "is a directory");
}

static void options__are_checked(void **state)
{
    (void)state;
    (void)expect_no_open(file_uri("o.db", "?colour=red"), QN_ERR_CONFIG, "colour");
    (void)expect_no_open(file_uri("o.db", "?timeout=soon"), QN_ERR_CONFIG, "timeout");
    (void)expect_no_open(file_uri("o.db", "?read_only=perhaps"), QN_ERR_CONFIG, "read_only");
    (void)expect_no_open("sqlite://:memory:?read_only=true", QN_ERR_CONFIG, "memory");
}

static void a_read_only_connection__reads_and_refuses_writes(void **state)
{
    (void)state;
    struct qn_connection *connection = open_uri(file_uri("ro.db", ""));
    run(connection, "create table t (i integer)");
    qn_connection_free(connection);
    static const char *const options[] = { "?read_only=true", "?immutable=true" };
    for (int i = 0; i < 2; i++) {
        connection = open_uri(file_uri("ro.db", options[i]));
        expect(connection, "select * from t", "i:l");
        (void)expect_error(connection, "insert into t values (1)", QN_ERR_QUERY, "25006", "ro.db");
        qn_connection_free(connection);
    }
}

static void a_file_without_write_permission__is_read(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        print_message("skipped: root may write every file\n");
        skip();
    }
    char path[PATH_SIZE * 2];
    struct qn_connection *connection = open_uri(file_uri("locked.db", ""));
    run(connection, "create table t (i integer)");
    qn_connection_free(connection);
    (void)snprintf(path, sizeof path, "%s/locked.db", test_folder);
    assert_int_equal(chmod(path, 0400), 0);
    connection = open_uri(file_uri("locked.db", ""));
    expect(connection, "select * from t", "i:l");
    (void)expect_error(connection, "insert into t values (1)", QN_ERR_QUERY, "25006", "locked.db");
    qn_connection_free(connection);
}

static void a_path_that_looks_like_a_uri__is_a_path(void **state)
{
    (void)state;
    struct qn_config *config = NULL;
    struct qn_connection *connection = NULL;
    char here[PATH_SIZE * 4];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(test_folder), 0);
    assert_int_equal(qn_config_new("sqlite", &config, NULL), QN_OK);
    assert_int_equal(qn_config_set(config, "path", "file:x.db?mode=memory", NULL), QN_OK);
    assert_int_equal(qn_connection_open_config(config, &connection, NULL), QN_OK);
    run(connection, "create table t (i integer)");
    assert_int_equal(access("file:x.db?mode=memory", F_OK), 0);
    qn_connection_free(connection);
    qn_config_free(config);
    assert_int_equal(chdir(here), 0);
}

static void foreign_keys__are_as_the_option_says(void **state)
{
    (void)state;
    static const char ddl[] = "create table c (p integer references p (i))";
    struct qn_connection *connection = open_memory();
    run(connection, "create table p (i integer primary key)");
    run(connection, ddl);
    run(connection, "insert into c values (1)"); /* SQLite's default: not checked */
    qn_connection_free(connection);
    connection = open_uri("sqlite://:memory:?foreign_keys=true");
    run(connection, "create table p (i integer primary key)");
    run(connection, ddl);
    (void)expect_error(connection, "insert into c values (1)", QN_ERR_CONSTRAINT, "23503", "FOREIGN KEY");
    qn_connection_free(connection);
}

static void a_read_only_transaction__refuses_writes_until_it_ends(void **state)
{
    (void)state;
    struct qn_connection *connection = open_memory();
    struct qn_error err = QN_ERROR_INIT;
    run(connection, "create table t (i integer)");
    assert_int_equal(qn_connection_begin(connection, QN_ISOLATION_SERIALIZABLE, true, &err), QN_OK);
    expect(connection, "select * from t", "i:l");
    (void)expect_error(connection, "insert into t values (1)", QN_ERR_QUERY, "25006", "readonly");
    assert_int_equal(qn_connection_rollback(connection, &err), QN_OK);
    run(connection, "insert into t values (1)");
    expect(connection, "select * from t", "i:l | 1");
    qn_connection_free(connection);
}

static void a_forked_child__touches_nothing(void **state)
{
    (void)state;
    struct qn_connection *connection = open_uri(file_uri("fork.db", ""));
    run(connection, "pragma journal_mode = wal");
    run(connection, "create table t (i integer)");
    run(connection, "begin");
    run(connection, "insert into t values (1)");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct qn_query query = QN_QUERY_INIT;
        query.sql = "select 1";
        bool refused = qn_connection_execute(connection, &query, NULL, NULL) == QN_ERR_CLOSED;
        qn_connection_free(connection);
        _exit(refused ? 0 : 1); /* not exit: the test's own folder is the parent's */
    }
    int how = -1;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    run(connection, "insert into t values (2)");
    run(connection, "commit");
    expect(connection, "select i from t", "i:l | 1 | 2");
    qn_connection_free(connection);
    connection = open_uri(file_uri("fork.db", ""));
    expect(connection, "select i from t", "i:l | 1 | 2");
    qn_connection_free(connection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_file__is_made_and_keeps_its_rows),
        cmocka_unit_test(a_missing_file__is_an_error_without_create),
        cmocka_unit_test(what_is_no_database__is_an_error_at_connect),
        cmocka_unit_test(options__are_checked),
        cmocka_unit_test(a_read_only_connection__reads_and_refuses_writes),
        cmocka_unit_test(a_file_without_write_permission__is_read),
        cmocka_unit_test(a_path_that_looks_like_a_uri__is_a_path),
        cmocka_unit_test(foreign_keys__are_as_the_option_says),
        cmocka_unit_test(a_forked_child__touches_nothing),
        cmocka_unit_test(a_read_only_transaction__refuses_writes_until_it_ends),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
