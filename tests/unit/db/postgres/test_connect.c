/*
 * test_connect.c: ways to connect and ways to fail. QANAT_TEST_POSTGRES_TCP is a URI with a password over TCP,
 * QANAT_TEST_POSTGRES_CA the certificate of the server's authority.
 */
#include "reading.h"

#include "os/clock.h"

#include <arpa/inet.h>
#include <qanat/qanat.h>
#include <unistd.h>

static const char *tcp_uri(void)
{
    const char *uri = getenv("QANAT_TEST_POSTGRES_TCP");
    if (uri == NULL) {
        print_message("skipped: QANAT_TEST_POSTGRES_TCP names no server\n");
        skip();
    }
    return uri;
}

/* A listening socket that never answers, and its port as text. */
static int silent_server(char port[16])
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(port, 16, "%d", ntohs(address.sin_port));
    return fd;
}

static struct qn_error refused(enum qn_status status, enum qn_status expected, struct qn_pg *pg, struct qn_error err)
{
    if (status != expected) {
        fail_msg("%s, not %s: %s", qn_status_name(status), qn_status_name(expected), err.message);
    }
    assert_null(pg);
    assert_true(err.message[0] != 0 && strchr(err.message, '\n') == NULL);
    return err;
}

#define REFUSED(expected, uri, ...)                                                                                    \
    do {                                                                                                               \
        pg = NULL;                                                                                                     \
        enum qn_status status_ = connect_with((uri), &pg, &err, __VA_ARGS__, NULL);                                    \
        err = refused(status_, (expected), pg, err);                                                                   \
    } while (0)

static void connect__wrong_password_and_name(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    REFUSED(QN_ERR_CONNECTION, tcp_uri(), "password", "not-the-Secret");
    assert_string_equal(err.sqlstate, "28P01");
    assert_false(err.retryable);
    assert_null(strstr(err.message, "not-the-Secret"));
    assert_null(strstr(err.message, "28P01"));
    assert_null(strstr(err.message, "LOCATION"));
    REFUSED(QN_ERR_CONNECTION, server_uri(), "database", "no such database");
    assert_string_equal(err.sqlstate, "3D000");
    assert_non_null(strstr(err.message, "no such database"));
    REFUSED(QN_ERR_CONNECTION, server_uri(), "username", "nobody here");
    assert_string_equal(err.sqlstate, "28000");
}

static void connect__nobody_there(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    char port[16];
    (void)close(silent_server(port)); /* free now */
    REFUSED(QN_ERR_CONNECTION, "postgresql://127.0.0.1/x", "port", port, "username", "u");
    assert_string_equal(err.sqlstate, "08001");
    assert_true(err.retryable);
    assert_non_null(strstr(err.message, port));
    REFUSED(QN_ERR_CONNECTION, "postgresql://no-such-host.invalid/x", "username", "u");
    assert_string_equal(err.sqlstate, "08001");
    assert_non_null(strstr(err.message, "no-such-host.invalid"));
    REFUSED(QN_ERR_CONNECTION, "postgresql://u@/x?host=/nowhere/at/all", "username", "u");
    assert_string_equal(err.sqlstate, "08001");
}

static void connect__silence_ends_at_the_timeout(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    char port[16];
    int fd = silent_server(port);
    int64_t began = qn_clock_nanos();
    REFUSED(QN_ERR_CONNECTION, "postgresql://u@127.0.0.1/x", "port", port, "timeout", "150ms");
    assert_string_equal(err.sqlstate, "08001");
    assert_true(err.retryable);
    assert_true(qn_clock_nanos() - began >= INT64_C(150000000));
    (void)close(fd);
}

static int stop_at_once(void *context)
{
    (void)context;
    return 1;
}

static void connect__interrupt(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    char port[16];
    int fd = silent_server(port);
    qn_interrupt_set(stop_at_once, NULL);
    enum qn_status status = connect_with("postgresql://u@127.0.0.1/x", &pg, &err, "port", port, NULL);
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(status, QN_ERR_CANCELLED);
    (void)close(fd);
}

static void connect__options_are_checked(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    REFUSED(QN_ERR_CONFIG, server_uri(), "colour", "green");
    assert_non_null(strstr(err.message, "colour"));
    assert_true(err.hint[0] != 0);
    REFUSED(QN_ERR_CONFIG, server_uri(), "sslmode", "perhaps");
    assert_non_null(strstr(err.message, "perhaps"));
    REFUSED(QN_ERR_CONFIG, server_uri(), "client_encoding", "LATIN1");
    REFUSED(QN_ERR_CONFIG, server_uri(), "timeout", "soon");
    REFUSED(QN_ERR_CONFIG, server_uri(), "read_only", "maybe");
    REFUSED(QN_ERR_CONFIG, server_uri(), "service", "no_such_service");
}

static void connect__options_take_effect(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    assert_int_equal(connect_with(server_uri(), &pg, &err, "read_only", "true", "application_name", "loader", "options",
                                  "-c search_path=pg_temp", NULL),
                     QN_OK);
    expect(pg, "select current_setting('application_name') a, current_setting('search_path') s", "a:vu s:vu",
           "\"loader\"|\"pg_temp\"\n");
    err = expect_error(pg, NULL, "create table t (i int)", QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "25006");
    qn_pg_close(pg);
    pg = connected();
    expect(pg, "select current_setting('application_name') a, current_setting('client_encoding') e", "a:vu e:vu",
           "\"qanat\"|\"UTF8\"\n");
    qn_pg_close(pg);
}

static void connect__styles_of_the_server_do_not_show(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    assert_int_equal(connect_with(server_uri(), &pg, &err, "options",
                                  "-c datestyle=German -c intervalstyle=iso_8601 -c timezone=Asia/Tokyo", NULL),
                     QN_OK);
    expect(pg, "select array['2000-01-31'::date] a, '1 day 02:00'::interval b, '2000-01-01 00:00Z'::timestamptz c",
           "a:vu b:vu c:tsu:UTC", "\"{2000-01-31}\"|\"1 day 02:00:00\"|\"2000-01-01T00:00:00Z\"\n");
    qn_pg_close(pg);
}

static void connect__several_hosts(void **state)
{
    (void)state;
    const char *uri = tcp_uri();
    struct qn_error err = QN_ERROR_INIT;
    struct qn_config *config = NULL;
    struct qn_pg *pg = NULL;
    char dead[16];
    char ports[40];
    (void)close(silent_server(dead));
    assert_int_equal(qn_config_from_uri(uri, &config, &err), QN_OK);
    (void)snprintf(ports, sizeof ports, "%s,%s", dead, qn_config_get(config, "port"));
    qn_config_free(config);
    assert_int_equal(connect_with(uri, &pg, &err, "host", "127.0.0.1,127.0.0.1", "port", ports, NULL), QN_OK);
    expect(pg, "select 1 as n", "n:i", "1\n");
    qn_pg_close(pg);
}

/* Rows in both directions over TLS: more than fits any buffer. */
static void expect_traffic(struct qn_pg *pg)
{
    struct answer answer = ask(pg, "select i, repeat('x', 100) from generate_series(1, 100000) i", NULL);
    assert_int_equal(answer.status, QN_OK);
    assert_int_equal(answer.n_rows, 100000);
    answer_free(&answer);
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_buffer_append_text(&sql, "select length('");
    for (int i = 0; i < 1 << 20; i++) {
        qn_buffer_append_text(&sql, "8 bytes ");
    }
    qn_buffer_append_text(&sql, "') as n");
    expect(pg, qn_buffer_text(&sql), "n:i", "8388608\n");
}

static void connect__tls(void **state)
{
    (void)state;
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    const char *authority = getenv("QANAT_TEST_POSTGRES_CA");
    assert_int_equal(connect_with(tcp_uri(), &pg, &err, "sslmode", "require", NULL), QN_OK);
    assert_non_null(pg->ssl);
    expect_traffic(pg);
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.statement_timeout_ms = 50;
    (void)expect_error(pg, &options, "select i from generate_series(1, 10000000000) i", QN_ERR_TIMEOUT);
    qn_pg_close(pg);
    assert_int_equal(connect_with(tcp_uri(), &pg, &err, "sslmode", "disable", NULL), QN_OK);
    assert_null(pg->ssl);
    expect_traffic(pg);
    qn_pg_close(pg);
    REFUSED(QN_ERR_CONNECTION, tcp_uri(), "sslmode", "disable", "username", "tls_only");
    assert_string_equal(err.sqlstate, "28000");
    if (authority == NULL) {
        print_message("QANAT_TEST_POSTGRES_CA is unset: verify-full is not tried\n");
        return;
    }
    assert_int_equal(connect_with(tcp_uri(), &pg, &err, "sslmode", "verify-full", "sslrootcert", authority, NULL),
                     QN_OK);
    assert_non_null(pg->ssl);
    qn_pg_close(pg);
    REFUSED(QN_ERR_CONNECTION, tcp_uri(), "sslmode", "verify-full", "sslrootcert", "/nowhere/authority.crt");
    assert_false(err.retryable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect__wrong_password_and_name),
        cmocka_unit_test(connect__nobody_there),
        cmocka_unit_test(connect__silence_ends_at_the_timeout),
        cmocka_unit_test(connect__interrupt),
        cmocka_unit_test(connect__options_are_checked),
        cmocka_unit_test(connect__options_take_effect),
        cmocka_unit_test(connect__styles_of_the_server_do_not_show),
        cmocka_unit_test(connect__several_hosts),
        cmocka_unit_test(connect__tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
