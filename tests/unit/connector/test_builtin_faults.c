/*
 * test_builtin_faults.c: the n-th allocation of a whole use of `files`, `database` and references fails, for every n: a typed
 * error, nothing left open, and the next use works. `http` is in test_http.
 */
#include "builtin_fixture.h"

#include "base/fault.h"
#include "connector/reference.h"

#include <dirent.h>

static char arguments[1024];

static int open_descriptors(void)
{
    int n = 0;
    DIR *open_ones = opendir("/proc/self/fd");
    assert_non_null(open_ones);
    while (readdir(open_ones) != NULL) {
        n++;
    }
    assert_int_equal(closedir(open_ones), 0);
    return n;
}

struct session {
    const char *uri, *location;
    const char *const *attached;
    size_t n_attached;
    int64_t locations, rows; /* that came */
};

static enum qn_status count_location(void *context, const struct qn_location *location, struct qn_error *err)
{
    (void)location;
    (void)err;
    ((struct session *)context)->locations++;
    return QN_OK;
}

static enum qn_status count_rows(struct ArrowArrayStream *stream, struct session *session, struct qn_error *err)
{
    for (;;) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_stream_next(stream, &batch, err));
        if (batch.release == NULL) {
            return QN_OK;
        }
        session->rows += batch.length;
    }
}

/* Open, discover, read, describe, close. */
static enum qn_status use(struct session *session, struct qn_error *err)
{
    static const char *const columns[] = { "id" };
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    struct qn_location location = QN_LOCATION_INIT;
    struct qn_connector *connector = NULL;
    char *text = NULL;
    qn_auto_stream stream = { 0 };
    session->locations = session->rows = 0;
    options.arguments = arguments;
    options.retries = -1;
    location.location = session->location;
    request.columns = columns;
    request.n_columns = 1;
    request.filter = "[\">\", \"id\", 3]";
    QN_TRY(qn_connector_open(session->uri, &options, &connector, err));
    enum qn_status status =
        qn_connector_discover(connector, session->attached, session->n_attached, count_location, session, err);
    status = status == QN_OK ? qn_connector_data(connector, &location, &request, &stream, err) : status;
    status = status == QN_OK ? count_rows(&stream, session, err) : status;
    qn_stream_release(&stream);
    status = status == QN_OK ? qn_connector_stable_url(connector, &location, &text, err) : status;
    qn_text_free(text);
    qn_connector_free(connector);
    return status;
}

static void every_allocation_fails(struct session *session, int64_t locations, int64_t rows)
{
    int before = open_descriptors();
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    for (int64_t n = 1;; n++) {
        struct qn_error failure = QN_ERROR_INIT;
        (void)qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE);
        enum qn_status status = use(session, &failure);
        bool reached = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        if (status == QN_OK) { /* either past the last one, or one that was only for a message or a cache */
            assert_int_equal(session->locations, locations);
            assert_int_equal(session->rows, rows);
        } else {
            assert_int_equal(failure.status, status);
            if (status != QN_ERR_NO_MEMORY) {
                fail_msg("allocation %lld: %s, %s", (long long)n, qn_status_name(status), failure.message);
            }
        }
        if (open_descriptors() != before) {
            fail_msg("allocation %lld leaves descriptors open", (long long)n);
        }
        if (!reached) {
            assert_int_equal(status, QN_OK);
            assert_true(n > 50);
            return;
        }
    }
}

static void files__survive_each_allocation(void **state)
{
    (void)state;
    struct session session = { .uri = "files", .location = "a.arrow" };
    write_arrow("a.arrow", 1, 10);
    write_arrow("b.arrow", 1, 10);
    (void)snprintf(arguments, sizeof arguments,
                   "{\"path\": \"%s\", \"pattern\": \"**/*.arrow\", \"copy\": \"false\", \"count\": \"true\", "
                   "\"version\": \"content\"}",
                   folder);
    every_allocation_fails(&session, 2, 7);
}

static void database__survives_each_allocation(void **state)
{
    (void)state;
    static const char *const attached[] = { "t[id >= 1 and id < 5]", "t[id >= 9 and id <= 10]" };
    struct session session = {
        .uri = "database", .location = "t[id >= 1 and id < 5]", .attached = attached, .n_attached = 2
    };
    struct qn_connection *connection = NULL;
    struct qn_query query = QN_QUERY_INIT;
    char uri[128];
    (void)snprintf(uri, sizeof uri, "sqlite:///%s", path_of("test.db"));
    ok(qn_connection_open(uri, &connection, &error));
    query.sql = "create table t as with recursive n(id) as (select 1 union all select id + 1 from n where id < 10) "
                "select cast(id as bigint) as id from n";
    ok(qn_connection_execute(connection, &query, NULL, &error));
    qn_connection_free(connection);
    (void)snprintf(arguments, sizeof arguments,
                   "{\"connection\": \"%s\", \"tables\": \"t\", \"key\": \"id\", \"rows_per_range\": \"2\", "
                   "\"watermark\": \"id\", \"version\": \"count\", \"types.id\": \"Int64\"}",
                   uri);
    every_allocation_fails(&session, 4, 1);
}

static void reference__survives_each_allocation(void **state)
{
    (void)state;
    char url[128];
    int before = open_descriptors();
    write_bytes(path_of("a b"), "x", 1);
    (void)snprintf(url, sizeof url, "file://%s/a%%20b", folder);
    for (int64_t n = 1;; n++) {
        struct qn_error failure = QN_ERROR_INIT;
        int fd = -1;
        if (!qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE)) {
            print_message("skipped: this build has no fault points\n");
            skip();
        }
        enum qn_status status = qn_reference_open(url, NULL, 1, &fd, NULL, &failure);
        bool reached = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        if (!reached) {
            assert_int_equal(status, QN_OK);
            assert_int_equal(close(fd), 0);
            break;
        }
        assert_int_equal(status, QN_ERR_NO_MEMORY);
    }
    assert_int_equal(open_descriptors(), before);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(files__survive_each_allocation),
        in_folder(database__survives_each_allocation),
        in_folder(reference__survives_each_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
