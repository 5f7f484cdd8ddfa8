/* test_connector.c: opening, permission, arguments, discovery, data and errors of the core, with a runtime of our own. */
#include "fixture.h"

#include "base/fault.h"
#include "connector/connector_private.h"
#include "os/clock.h"

#include <pthread.h>
#include <qanat/qanat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const nothing[] = { NULL };

static int reset(void **state)
{
    (void)state;
    arranged = (struct arranged){
        .rows = 1000,
        .batch = 100,
        .fail_at = -1,
        .failed_before = -1,
        .failure = QN_ERR_QUERY,
        .applies = 0,
    };
    return 0;
}

static enum qn_status open_uri(const char *uri, const char *arguments, bool allow)
{
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector = NULL;
    options.arguments = arguments;
    options.allow_external_code = allow;
    enum qn_status status = qn_connector_open(uri, &options, &connector, &error);
    qn_connector_free(connector);
    return status;
}

/* ---- opening ---- */

/* trace: D17 */
static void registration__refuses_what_is_incomplete(void **state)
{
    (void)state;
    struct qn_connector_runtime runtime = arranged_runtime;
    refused(qn_connector_runtime_register(NULL, &error), QN_ERR_ARGUMENT, "NULL was given");
    refused(qn_connector_runtime_register(&runtime, &error), QN_ERR_ARGUMENT, "registered already");
    runtime.name = "with space";
    refused(qn_connector_runtime_register(&runtime, &error), QN_ERR_ARGUMENT, "\"with space\" is not a name");
    runtime.name = "half";
    runtime.data = NULL;
    refused(qn_connector_runtime_register(&runtime, &error), QN_ERR_ARGUMENT, "lacks the required function data");
    runtime.abi = 99;
    refused(qn_connector_runtime_register(&runtime, &error), QN_ERR_ARGUMENT, "version 99 of the interface");
}

/* trace: C2 */
static void external_code__needs_a_word(void **state)
{
    (void)state;
    refused(open_uri("test::x", NULL, false), QN_ERR_FORBIDDEN, "External code execution is disabled");
    assert_ptr_equal(strstr(error.message, "External"), error.message);
    assert_non_null(strstr(error.hint, "allow_external_code"));
    assert_non_null(strstr(error.hint, "QANAT_SYSTEM_ALLOW_EXTERNAL_CODE=true"));
    assert_int_equal(arranged.opened, 0);
    ok(open_uri("test::x", NULL, true));
    assert_int_equal(arranged.opened, 1);
    assert_int_equal(arranged.closed, 1);
}

static void uris__that_are_wrong_are_refused(void **state)
{
    (void)state;
    refused(open_uri("perl::x", NULL, true), QN_ERR_UNSUPPORTED, "\"perl::x\": no such runtime; there are ");
    assert_non_null(strstr(error.message, "test::"));
    refused(open_uri("example.py", NULL, true), QN_ERR_CONFIG, "a connector's URI is runtime::entrypoint");
    refused(open_uri("", NULL, true), QN_ERR_CONFIG, "a connector's URI is runtime::entrypoint");
    refused(open_uri("test:: ", NULL, true), QN_ERR_CONFIG, "nothing follows \"test::\"");
    refused(open_uri("test", NULL, true), QN_ERR_CONFIG, "nothing follows \"test::\"");
    refused(open_uri("python::m:C", NULL, true), QN_ERR_UNSUPPORTED, "no Python in it");
    refused(open_uri("test::fails", NULL, true), QN_ERR_CONFIG, "connector \"test::fails\": no such thing");
}

static void arguments__are_texts_with_names_of_their_own(void **state)
{
    (void)state;
    ok(open_uri("test::x", "{\"a\": \"1\", \"_x\": \"\"}", true));
    refused(open_uri("test::x", "[]", true), QN_ERR_CONFIG, "arguments are a JSON object of texts");
    refused(open_uri("test::x", "{", true), QN_ERR_CONFIG, "arguments: the text is not JSON");
    refused(open_uri("test::x", "{\"n\": 1}", true), QN_ERR_CONFIG, "argument \"n\" is not a text");
    refused(open_uri("test::x", "{\"a\": \"\", \"a\": \"\"}", true), QN_ERR_CONFIG, "is not JSON");
    refused(open_uri("test::x", "{\"\": \"1\"}", true), QN_ERR_CONFIG, "a name is not empty");
    static const char *const reserved[] = { "location", "attached_locations", "_columns", "_filter",
                                            "_limit",   "_skip_rows" };
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "{\"%s\": \"1\"}", reserved[i]);
        refused(open_uri("test::x", text, true), QN_ERR_CONFIG, "the name is reserved by the protocol");
        assert_non_null(strstr(error.message, reserved[i]));
    }
    assert_int_equal(arranged.opened, 1);
}

static void options__that_mean_nothing_are_refused(void **state)
{
    (void)state;
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector = NULL;
    options.allow_external_code = true;
    options.timeout = -1;
    refused(qn_connector_open("test::x", &options, &connector, &error), QN_ERR_CONFIG, "timeout -1");
    options.timeout = 0;
    options.processes = -1;
    refused(qn_connector_open("test::x", &options, &connector, &error), QN_ERR_CONFIG, "processes -1");
    options.processes = 0;
    options.retries = -2;
    refused(qn_connector_open("test::x", &options, &connector, &error), QN_ERR_CONFIG, "retries -2");
    refused(qn_connector_open(NULL, &options, &connector, &error), QN_ERR_ARGUMENT, "no URI");
    assert_null(connector);
}

/* ---- discovery ---- */

struct collected {
    size_t n;
    char names[4][16];
    bool refuse;
};

static enum qn_status collect(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct collected *collected = context;
    if (collected->refuse) {
        return qn_error_set(err, QN_ERR_DATA, "not this one");
    }
    assert_true(collected->n < 4);
    (void)snprintf(collected->names[collected->n++], 16, "%.15s", location->location);
    assert_string_equal(location->format, "parquet");
    assert_true(location->must_copy);
    assert_int_equal(location->num_rows, 0);
    return QN_OK;
}

static void discovery__hands_on_what_is_there(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    struct collected collected = { 0 };
    const char *names[] = { "a", "b", "../../c\nd" };
    arranged.locations = names;
    arranged.n_locations = 3;
    ok(qn_connector_discover(connector, nothing, 0, collect, &collected, &error));
    assert_int_equal(collected.n, 3);
    assert_string_equal(collected.names[2], "../../c\nd");
    collected = (struct collected){ .refuse = true };
    refused(qn_connector_discover(connector, nothing, 0, collect, &collected, &error), QN_ERR_DATA, "not this one");
    assert_string_equal(error.message, "not this one"); /* the caller's own error stays as it is */
    qn_connector_free(connector);
}

static void discovery__refuses_locations_that_are_none(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    struct collected collected = { 0 };
    char *long_name = calloc(1, (64u << 10) + 2);
    memset(long_name, 'x', (64u << 10) + 1);
    const char *twice[] = { "a", "b\n", "a", "b\n" };
    const char *empty[] = { "" };
    const char *bad[] = { "\xff" };
    const char *endless[] = { long_name };
    arranged.locations = twice;
    arranged.n_locations = 4;
    refused(qn_connector_discover(connector, nothing, 0, collect, &collected, &error), QN_ERR_CONNECTOR,
            "connector \"acme.numbers\": location \"a\" is there more than once");
    assert_int_equal(collected.n, 2);
    arranged.n_locations = 1;
    arranged.locations = empty;
    refused(qn_connector_discover(connector, nothing, 0, collect, &collected, &error), QN_ERR_CONNECTOR,
            "a location without a name");
    arranged.locations = bad;
    refused(qn_connector_discover(connector, nothing, 0, collect, &collected, &error), QN_ERR_CONNECTOR,
            "not valid UTF-8");
    arranged.locations = endless;
    refused(qn_connector_discover(connector, nothing, 0, collect, &collected, &error), QN_ERR_CONNECTOR,
            "longer than 65536 bytes");
    free(long_name);
    qn_connector_free(connector);
}

static void discovery__goes_on_after_a_retry_without_telling_twice(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    struct collected collected = { 0 };
    const char *names[] = { "a", "b", "c" };
    arranged.locations = names;
    arranged.n_locations = 3;
    arranged.fail_discover = 1;
    arranged.discover_fails_after = 2;
    arranged.retryable = true;
    ok(qn_connector_discover(connector, nothing, 0, collect, &collected, &error));
    assert_int_equal(arranged.discover_calls, 2);
    assert_int_equal(collected.n, 3);
    assert_string_equal(collected.names[2], "c");
    arranged.fail_discover = 9;
    arranged.retryable = false;
    collected.n = 0;
    refused(qn_connector_discover(connector, nothing, 0, collect, &collected, &error), QN_ERR_CONNECTOR,
            "connector \"acme.numbers\": out of luck");
    assert_int_equal(arranged.discover_calls, 3);
    qn_connector_free(connector);
}

/* ---- data ---- */

static void data__is_all_rows_in_order(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    qn_auto_stream stream = { 0 };
    int64_t rows;
    ok(qn_connector_data(connector, &location_a, NULL, &stream, &error));
    ok(read_numbers(&stream, 0, &rows));
    assert_int_equal(rows, 1000);
    assert_int_equal(arranged.streams, 0); /* let go of at the end */
    arranged.no_data = true;
    struct ArrowArrayStream none = { .release = (void (*)(struct ArrowArrayStream *))1 };
    ok(qn_connector_data(connector, &location_a, NULL, &none, &error));
    assert_null(none.release);
    qn_connector_free(connector);
}

static void data__is_skipped_and_limited_whoever_does_it(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    static const uint32_t applies[] = { 0, QN_APPLIED_SKIP, QN_APPLIED_SKIP | QN_APPLIED_LIMIT };
    static const int64_t skips[] = { 0, 1, 99, 100, 101, 250, 999, 1000, 1001 };
    static const int64_t limits[] = { -1, 0, 1, 99, 100, 101, 750, 5000 };
    arranged.stable = true;
    for (size_t i = 0; i < 3 * 9 * 8; i++) {
        struct qn_data_request request = QN_DATA_REQUEST_INIT;
        qn_auto_stream stream = { 0 };
        int64_t rows;
        arranged.applies = applies[i % 3];
        request.skip_rows = skips[i / 3 % 9];
        request.limit = limits[i / 27];
        int64_t left = request.skip_rows < 1000 ? 1000 - request.skip_rows : 0;
        ok(qn_connector_data(connector, &location_a, &request, &stream, &error));
        ok(read_numbers(&stream, request.skip_rows, &rows));
        assert_int_equal(rows, request.limit >= 0 && request.limit < left ? request.limit : left);
        assert_int_equal(arranged.streams, 0);
    }
    arranged.stable = false;
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    struct ArrowArrayStream none = { 0 };
    request.skip_rows = 1;
    refused(qn_connector_data(connector, &location_a, &request, &none, &error), QN_ERR_UNSUPPORTED,
            "connector \"acme.numbers\": location \"a\": rows cannot be skipped: their order is not stable");
    arranged.stable = true;
    arranged.applies = QN_APPLIED_LIMIT;
    request.limit = 10;
    refused(qn_connector_data(connector, &location_a, &request, &none, &error), QN_ERR_CONNECTOR,
            "it applied \"limit\" but left \"skip_rows\"");
    assert_int_equal(arranged.streams, 0);
    qn_connector_free(connector);
}

static void data__has_the_columns_that_were_asked_for(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    static const char *const reversed[] = { "text", "id" };
    static const char *const wrong[] = { "id", "nothing" };
    static const char *const twice[] = { "id", "id" };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    request.columns = reversed;
    for (request.n_columns = 0; request.n_columns < 3; request.n_columns++) {
        qn_auto_stream stream = { 0 };
        qn_auto_schema schema = { 0 };
        qn_auto_array batch = { 0 };
        ok(qn_connector_data(connector, &location_a, &request, &stream, &error));
        assert_string_equal(arranged.columns, request.n_columns == 0   ? ""
                                              : request.n_columns == 1 ? "text"
                                                                       : "text,id");
        ok(qn_stream_schema(&stream, &schema, &error));
        assert_int_equal(schema.n_children, request.n_columns);
        ok(qn_stream_next(&stream, &batch, &error));
        assert_int_equal(batch.n_children, request.n_columns);
        assert_int_equal(batch.length, 100);
        for (size_t i = 0; i < request.n_columns; i++) {
            assert_string_equal(schema.children[i]->name, reversed[i]);
        }
    }
    struct ArrowArrayStream none = { 0 };
    request.n_columns = 2;
    request.columns = wrong;
    refused(qn_connector_data(connector, &location_a, &request, &none, &error), QN_ERR_ARGUMENT,
            "location \"a\": there is no column \"nothing\" in the data");
    request.columns = twice;
    refused(qn_connector_data(connector, &location_a, &request, &none, &error), QN_ERR_ARGUMENT,
            "column \"id\" is asked for twice");
    assert_int_equal(arranged.streams, 0);
    qn_connector_free(connector);
}

/* trace: C28 */
static void failures__name_connector_and_location(void **state)
{
    (void)state;
    static const enum qn_status from[] = { QN_ERR_QUERY, QN_ERR_CONNECTION, QN_ERR_PROTOCOL, QN_ERR_TIMEOUT,
                                           QN_ERR_DATA };
    struct qn_connector *connector = opened_with(0);
    for (size_t i = 0; i < 5; i++) {
        struct ArrowArrayStream none = { 0 };
        qn_auto_stream stream = { 0 };
        int64_t rows;
        enum qn_status to = i < 3 ? QN_ERR_CONNECTOR : from[i];
        arranged.failure = from[i];
        arranged.fail_data = 1;
        refused(qn_connector_data(connector, &location_a, NULL, &none, &error), to,
                "connector \"acme.numbers\": location \"a\": out of luck");
        assert_null(none.release);
        arranged.fail_at = arranged.given + 3;
        ok(qn_connector_data(connector, &location_a, NULL, &stream, &error));
        refused(read_numbers(&stream, 0, &rows), to, "connector \"acme.numbers\": location \"a\": out of luck");
        assert_ptr_equal(strstr(error.message, "connector"), error.message);
        assert_int_equal(rows, 300);
        assert_int_equal(arranged.streams, 0);
    }
    struct qn_location odd = location_a;
    char *url = NULL;
    odd.location = "bad\nname";
    arranged.failure = QN_ERR_QUERY;
    refused(qn_connector_stable_url(connector, &odd, &url, &error), QN_ERR_CONNECTOR,
            "location \"bad?name\": out of luck");
    odd.location = "none";
    ok(qn_connector_stable_url(connector, &odd, &url, &error));
    assert_null(url);
    ok(qn_connector_stable_url(connector, &location_a, &url, &error));
    assert_string_equal(url, "https://localhost/x");
    qn_text_free(url);
    ok(qn_connector_describe(connector, &url, &error));
    assert_non_null(strstr(url, "acme.numbers"));
    qn_text_free(url);
    qn_connector_free(connector);
}

/* ---- filters ---- */

static void filters__are_applied_here_where_the_runtime_does_not(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    static const char *const text_only[] = { "text" };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    qn_auto_stream stream = { 0 };
    qn_auto_schema schema = { 0 };
    qn_auto_array batch = { 0 };
    request.filter = "[\"and\", [\">=\", \"id\", 250], [\"in\", \"id\", [3, 270, 290, 5000]]]";
    request.columns = text_only;
    request.n_columns = 1;
    ok(qn_connector_data(connector, &location_a, &request, &stream, &error));
    assert_string_equal(arranged.filter, request.filter);
    assert_string_equal(arranged.columns, "text,id"); /* the filter's columns have to come too */
    ok(qn_stream_schema(&stream, &schema, &error));
    assert_int_equal(schema.n_children, 1);
    ok(qn_stream_next(&stream, &batch, &error));
    assert_int_equal(batch.length, 2);
    struct qn_batch_reader reader;
    const char *bytes;
    size_t size;
    ok(qn_batch_reader_init(&reader, &schema, &error));
    ok(qn_batch_reader_bind(&reader, &batch, &error));
    assert_true(qn_reader_bytes(&reader.columns[0], 1, &bytes, &size));
    assert_int_equal(size, strlen("row 290 of many"));
    assert_memory_equal(bytes, "row 290 of many", size);
    qn_batch_reader_dispose(&reader);
    qn_array_release(&batch);
    ok(qn_stream_next(&stream, &batch, &error));
    assert_null(batch.release);
    struct ArrowArrayStream none = { 0 };
    request.filter = "[\"=\", \"id\"";
    refused(qn_connector_data(connector, &location_a, &request, &none, &error), QN_ERR_ARGUMENT,
            "connector \"acme.numbers\": location \"a\": filter: ',' is missing");
    request.filter = "[\"=\", \"id\", \"x\"]";
    refused(qn_connector_data(connector, &location_a, &request, &none, &error), QN_ERR_ARGUMENT, "a number is needed");
    assert_int_equal(arranged.streams, 0);
    qn_connector_free(connector);
}

/* ---- retries ---- */

/* trace: B2 */
static void streams__go_on_without_losing_or_repeating_a_row(void **state)
{
    static const uint32_t applies[] = { 0, QN_APPLIED_SKIP, QN_APPLIED_SKIP | QN_APPLIED_LIMIT };
    static const int64_t batches[] = { 1, 7, 20, 100 };
    for (int i = 0; i < 3 * 4 * 2 * 2; i++) {
        struct qn_data_request request = QN_DATA_REQUEST_INIT;
        qn_auto_stream stream = { 0 };
        int64_t rows;
        bool filtered = i / 12 % 2 == 1;
        reset(state);
        arranged.stable = arranged.retryable = true;
        arranged.rows = 60;
        arranged.applies = filtered ? 0 : applies[i % 3];
        arranged.batch = batches[arranged.applies == 0 && i / 3 % 4 == 0 ? 1 : i / 3 % 4];
        arranged.fail_each = true;
        struct qn_connector *connector = opened_with(5); /* of those without a row that is wanted */
        request.filter = filtered ? "[\">=\", \"id\", 20]" : NULL;
        request.skip_rows = 5;
        request.limit = i / 24 == 1 ? 23 : -1;
        ok(qn_connector_data(connector, &location_a, &request, &stream, &error));
        if (read_numbers(&stream, filtered ? 25 : 5, &rows) != QN_OK) {
            fail_msg("%d: %s", i, error.message);
        }
        assert_int_equal(rows, i / 24 == 1 ? 23 : filtered ? 35 : 55);
        assert_true(arranged.data_calls > 1);
        qn_connector_free(connector);
        assert_int_equal(arranged.streams, 0);
    }
}

static void streams__without_a_stable_order_are_not_gone_on_with(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(3);
    qn_auto_stream stream = { 0 };
    int64_t rows;
    arranged.retryable = true;
    arranged.fail_at = 0; /* before the first row all may begin anew */
    arranged.fail_data = 1;
    ok(qn_connector_data(connector, &location_a, NULL, &stream, &error));
    assert_int_equal(read_numbers(&stream, 0, &rows), QN_OK);
    assert_int_equal(rows, 1000);
    assert_int_equal(arranged.data_calls, 3);
    qn_stream_release(&stream);
    arranged.fail_at = arranged.given + 1;
    ok(qn_connector_data(connector, &location_a, NULL, &stream, &error));
    refused(read_numbers(&stream, 0, &rows), QN_ERR_CONNECTOR, "location \"a\": out of luck");
    assert_int_equal(rows, 100);
    assert_true(error.retryable); /* by whoever can drop those rows */
    assert_int_equal(arranged.data_calls, 4);
    qn_connector_free(connector);
}

static void retries__end(void **state)
{
    struct ArrowArrayStream none = { 0 };
    static const int given[] = { -1, 0, 1, 2 };
    static const int calls[] = { 1, 4, 2, 3 };
    for (int i = 0; i < 4; i++) {
        reset(state);
        arranged.retryable = true;
        arranged.fail_data = 1000;
        struct qn_connector *connector = opened_with(given[i]);
        refused(qn_connector_data(connector, &location_a, NULL, &none, &error), QN_ERR_CONNECTOR, "out of luck");
        assert_int_equal(arranged.data_calls, calls[i]);
        qn_connector_free(connector);
    }
}

static void retries__come_not_before_they_are_allowed(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(1);
    qn_auto_stream stream = { 0 };
    arranged.retryable = true;
    arranged.retry_after_ms = 150;
    arranged.fail_data = 1;
    int64_t begin = qn_clock_nanos();
    ok(qn_connector_data(connector, &location_a, NULL, &stream, &error));
    assert_true(qn_clock_nanos() - begin >= INT64_C(150000000));
    struct ArrowArrayStream none = { 0 };
    arranged.retry_after_ms = 86400000; /* longer than a call may take: the caller's to decide */
    arranged.fail_data = 1;
    refused(qn_connector_data(connector, &location_a, NULL, &none, &error), QN_ERR_CONNECTOR, "out of luck");
    assert_true(error.retryable);
    assert_int_equal(error.retry_after_ms, 86400000);
    qn_connector_free(connector);
}

static int interrupt_at_once(void *context)
{
    ++*(int *)context;
    return 1;
}

static void waits__can_be_interrupted(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(1);
    struct ArrowArrayStream none = { 0 };
    int asked = 0;
    arranged.retryable = true;
    arranged.retry_after_ms = 200000;
    arranged.fail_data = 1;
    qn_interrupt_set(interrupt_at_once, &asked);
    refused(qn_connector_data(connector, &location_a, NULL, &none, &error), QN_ERR_CANCELLED, "interrupted");
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(asked, 1);
    assert_int_equal(arranged.data_calls, 1);
    qn_connector_free(connector);
}

static void attempts__have_one_schema(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(1);
    qn_auto_stream stream = { 0 };
    int64_t rows;
    arranged.retryable = arranged.stable = arranged.changes_schema = true;
    arranged.fail_at = 2;
    ok(qn_connector_data(connector, &location_a, NULL, &stream, &error));
    refused(read_numbers(&stream, 0, &rows), QN_ERR_CONNECTOR, "its schema has changed between two attempts");
    assert_int_equal(rows, 200);
    assert_int_equal(arranged.streams, 0);
    qn_connector_free(connector);
}

/* ---- memory that runs out ---- */

static enum qn_status read_quietly(struct ArrowArrayStream *stream, int64_t *rows_out)
{
    for (;;) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_stream_next(stream, &batch, &error));
        if (batch.release == NULL) {
            return QN_OK;
        }
        *rows_out += batch.length;
    }
}

static enum qn_status count_location(void *context, const struct qn_location *location, struct qn_error *err)
{
    (void)location;
    (void)err;
    ++*(int64_t *)context;
    return QN_OK;
}

/* Open, discover and read with a filter, a projection and a break in the middle. */
static enum qn_status do_everything(int64_t *found_out, int64_t *rows_out)
{
    static const char *const columns[] = { "text" };
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    struct ArrowArrayStream stream = { 0 };
    struct qn_connector *connector = NULL;
    options.allow_external_code = true;
    options.arguments = "{\"a\": \"b\"}";
    request.columns = columns;
    request.n_columns = 1;
    request.filter = "[\"in\", \"id\", [1, 3, 30, 90, 250, 251, 252, 700]]";
    QN_TRY(qn_connector_open("test::x", &options, &connector, &error));
    enum qn_status status = qn_connector_discover(connector, nothing, 0, count_location, found_out, &error);
    if (status == QN_OK) {
        status = qn_connector_data(connector, &location_a, &request, &stream, &error);
    }
    if (status == QN_OK) {
        status = read_quietly(&stream, rows_out);
    }
    qn_stream_release(&stream);
    qn_connector_free(connector);
    return status;
}

static void memory__that_runs_out_is_an_error_and_nothing_more(void **state)
{
    static const char *names[200];
    static char texts[200][8];
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    for (int i = 0; i < 200; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "l%d", i);
        names[i] = texts[i];
    }
    for (int64_t n = 1;; n++) {
        int64_t found = 0;
        int64_t rows = 0;
        reset(state);
        arranged.locations = names;
        arranged.n_locations = 200;
        arranged.stable = arranged.retryable = true;
        arranged.fail_at = 3;
        error = (struct qn_error)QN_ERROR_INIT;
        assert_true(qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE));
        enum qn_status status = do_everything(&found, &rows);
        bool reached = qn_fault_count(QN_FAULT_ALLOC) >= n;
        assert_true(qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE));
        assert_int_equal(arranged.streams, 0);
        assert_int_equal(arranged.opened, arranged.closed);
        if (status == QN_OK) { /* also where what could not be had was not needed */
            assert_int_equal(found, 200);
            assert_int_equal(rows, 8);
        }
        if (!reached) {
            assert_int_equal(status, QN_OK);
            assert_true(n > 100);
            return;
        }
        if (status != QN_ERR_NO_MEMORY && status != QN_OK) {
            fail_msg("allocation %lld: %s: %s", (long long)n, qn_status_name(status), error.message);
        }
    }
}

/* ---- runtimes that take one call at a time ---- */

static int inside, most_inside;

static void come_in(void)
{
    int now = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    if (now > __atomic_load_n(&most_inside, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&most_inside, now, __ATOMIC_SEQ_CST);
    }
    for (volatile int i = 0; i < 2000; i++) {
    }
}

static void go_out(void)
{
    __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
}

static enum qn_status lonely_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct numbers *numbers = self;
    struct ArrowSchema schema = { 0 };
    struct qn_batch batch;
    come_in();
    QN_TRY(numbers_schema(self, &schema, err));
    QN_TRY(qn_batch_init(&batch, &schema, err));
    if (numbers->next < numbers->end) {
        QN_TRY(put_numbers(numbers, &batch, 1, out, err));
    }
    qn_batch_dispose(&batch);
    qn_schema_release(&schema);
    go_out();
    return QN_OK;
}

static void lonely_free(void *self)
{
    come_in();
    qn_free(self);
    go_out();
}

static enum qn_status lonely_data(void *self, const struct qn_location *location, const struct qn_data_request *request,
                                  struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { numbers_schema, lonely_next, lonely_free };
    (void)self;
    (void)location;
    (void)request;
    (void)applied_out;
    come_in();
    struct numbers *numbers = qn_calloc(1, sizeof *numbers);
    numbers->end = 50;
    enum qn_status status = qn_stream_make(&ops, numbers, out, err);
    go_out();
    return status;
}

static enum qn_status use_again(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct ArrowArrayStream stream = { 0 };
    QN_TRY(qn_connector_data(context, location, NULL, &stream, err)); /* from inside of a call */
    qn_stream_release(&stream);
    return QN_OK;
}

static enum qn_status lonely_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                      void *context, struct qn_error *err)
{
    (void)self;
    (void)attached;
    (void)n;
    return each(context, &location_a, err);
}

static void *read_lonely(void *context)
{
    for (int i = 0; i < 20; i++) {
        struct ArrowArrayStream stream = { 0 };
        struct ArrowArray batch;
        int64_t rows = 0;
        if (qn_connector_data(context, &location_a, NULL, &stream, NULL) != QN_OK) {
            return context;
        }
        while (qn_stream_next(&stream, &batch, NULL) == QN_OK && batch.release != NULL) {
            rows += batch.length;
            qn_array_release(&batch);
        }
        qn_stream_release(&stream);
        if (rows != 50) {
            return context;
        }
    }
    return NULL;
}

static void calls__come_one_at_a_time_where_the_runtime_wants_it(void **state)
{
    (void)state;
    static struct qn_connector_runtime lonely;
    struct qn_connector *connector;
    pthread_t threads[4];
    lonely = arranged_runtime;
    lonely.name = "lonely";
    lonely.external = false;
    lonely.one_at_a_time = true;
    lonely.data = lonely_data;
    lonely.discover = lonely_discover;
    ok(qn_connector_runtime_register(&lonely, &error));
    ok(qn_connector_open("lonely", NULL, &connector, &error));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_lonely, connector), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(most_inside, 1);
    ok(qn_connector_discover(connector, nothing, 0, use_again, connector, &error));
    qn_connector_free(connector);
}

/* ---- ends ---- */

static void streams__fail_once_the_connector_is_freed(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    struct ArrowArrayStream streams[3] = { 0 };
    struct ArrowArray batch = { 0 };
    for (int i = 0; i < 3; i++) {
        ok(qn_connector_data(connector, &location_a, NULL, &streams[i], &error));
        ok(qn_stream_next(&streams[i], &batch, &error));
        qn_array_release(&batch);
    }
    qn_stream_release(&streams[1]);
    assert_int_equal(arranged.streams, 2);
    qn_connector_free(connector);
    assert_int_equal(arranged.streams, 0);
    assert_int_equal(arranged.closed, 1);
    refused(qn_stream_next(&streams[0], &batch, &error), QN_ERR_CLOSED, "connector \"acme.numbers\" was closed");
    qn_stream_release(&streams[0]);
    qn_stream_release(&streams[2]);
    qn_connector_free(NULL);
}

static void a_fork_of_ours__may_not_use_it(void **state)
{
    (void)state;
    struct qn_connector *connector = opened_with(0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ArrowArrayStream stream;
        bool right = qn_connector_data(connector, &location_a, NULL, &stream, &error) == QN_ERR_CLOSED;
        qn_connector_free(connector);
        _exit(right && arranged.closed == 0 ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    qn_connector_free(connector);
    assert_int_equal(arranged.closed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(registration__refuses_what_is_incomplete, reset),
        cmocka_unit_test_setup(external_code__needs_a_word, reset),
        cmocka_unit_test_setup(uris__that_are_wrong_are_refused, reset),
        cmocka_unit_test_setup(arguments__are_texts_with_names_of_their_own, reset),
        cmocka_unit_test_setup(options__that_mean_nothing_are_refused, reset),
        cmocka_unit_test_setup(discovery__hands_on_what_is_there, reset),
        cmocka_unit_test_setup(discovery__refuses_locations_that_are_none, reset),
        cmocka_unit_test_setup(discovery__goes_on_after_a_retry_without_telling_twice, reset),
        cmocka_unit_test_setup(data__is_all_rows_in_order, reset),
        cmocka_unit_test_setup(data__is_skipped_and_limited_whoever_does_it, reset),
        cmocka_unit_test_setup(data__has_the_columns_that_were_asked_for, reset),
        cmocka_unit_test_setup(failures__name_connector_and_location, reset),
        cmocka_unit_test_setup(filters__are_applied_here_where_the_runtime_does_not, reset),
        cmocka_unit_test_setup(streams__go_on_without_losing_or_repeating_a_row, reset),
        cmocka_unit_test_setup(streams__without_a_stable_order_are_not_gone_on_with, reset),
        cmocka_unit_test_setup(retries__end, reset),
        cmocka_unit_test_setup(retries__come_not_before_they_are_allowed, reset),
        cmocka_unit_test_setup(waits__can_be_interrupted, reset),
        cmocka_unit_test_setup(attempts__have_one_schema, reset),
        cmocka_unit_test_setup(memory__that_runs_out_is_an_error_and_nothing_more, reset),
        cmocka_unit_test_setup(calls__come_one_at_a_time_where_the_runtime_wants_it, reset),
        cmocka_unit_test_setup(streams__fail_once_the_connector_is_freed, reset),
        cmocka_unit_test_setup(a_fork_of_ours__may_not_use_it, reset),
    };
    if (qn_connector_runtime_register(&arranged_runtime, &error) != QN_OK) {
        return 2;
    }
    qn__connector_first_wait_ms = 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
