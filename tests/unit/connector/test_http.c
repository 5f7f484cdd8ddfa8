/*
 * test_http.c: the built-in connector `http` and references by HTTP, against a server that misbehaves.
 * usage: test_http PYTHON ODD_SERVER
 */
#include "builtin_fixture.h"

#include "base/fault.h"
#include "connector/reference.h"
#include "os/clock.h"
#include "os/process.h"

static const char *python, *script;
static struct qn_process server = QN_PROCESS_INIT;
static int port;
static char arguments[2048];

static int start_server(void **state)
{
    int other = 0;
    char line[64] = "";
    if (make_folder(state) != 0) {
        return 1;
    }
    const char *const argv[] = { python, script, folder, NULL };
    ok(qn_process_start(argv, NULL, &server, &error));
    for (size_t used = 0; used + 1 < sizeof line && strchr(line, '\n') == NULL;) {
        ssize_t size = read(server.stdout_fd, line + used, sizeof line - 1 - used);
        if (size <= 0) {
            return 1;
        }
        used += (size_t)size;
    }
    write_arrow("a.arrow", 1, 1000);
    return sscanf(line, "%d %d", &port, &other) != 2;
}

static int stop_server(void **state)
{
    qn_process_end(&server, 5000);
    return remove_folder(state);
}

/* {"url": "http://127.0.0.1:PORT/PATH", ...more} */
static const char *with(const char *path, const char *more)
{
    (void)snprintf(arguments, sizeof arguments, "{\"url\": \"http://127.0.0.1:%d/%s\"%s%s}", port, path,
                   more[0] != '\0' ? ", " : "", more);
    return arguments;
}

static struct qn_connector *opened(const char *path, const char *more)
{
    struct qn_connector *connector = NULL;
    ok(open_with("http", with(path, more), &connector));
    return connector;
}

/* The location of that path. */
static const char *location_of(const char *path)
{
    static char url[512];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/%s", port, path);
    return url;
}

static enum qn_status get(const char *path, const char *more)
{
    struct total total = { 0 };
    struct qn_connector *connector = opened(path, more);
    enum qn_status status = read_location(connector, location_of(path), "", NULL, &total);
    if (status == QN_OK) {
        assert_int_equal(total.rows, 1000);
        assert_int_equal(total.sum, 500500);
    }
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
    return status;
}

static enum qn_status discover_it(const char *path, const char *more, struct seen *out)
{
    struct qn_connector *connector = opened(path, more);
    qn_buffer_dispose(&out->text);
    *out = (struct seen){ 0 };
    enum qn_status status = qn_connector_discover(connector, NULL, 0, see, out, &error);
    qn_connector_free(connector);
    return status;
}

/* What the server was asked for since the last time. */
static const char *asked(void)
{
    static char text[8192];
    int fd = -1;
    ok(qn_reference_open(location_of("asked"), NULL, 5, &fd, NULL, &error));
    ssize_t size = read(fd, text, sizeof text - 1);
    assert_true(size >= 0);
    text[size] = '\0';
    assert_int_equal(close(fd), 0);
    return text;
}

static enum qn_status count_one(void *context, const struct qn_location *location, struct qn_error *err)
{
    (void)location;
    (void)err;
    ((struct seen *)context)->n++;
    return QN_OK;
}

/* ---- discovery ---- */

static void discover__reads_version_and_format(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    ok(discover_it("ok/a.arrow", "", &seen));
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.last, location_of("ok/a.arrow"));
    assert_string_equal(seen.version, "etag:\"one\"");
    assert_string_equal(seen.format, "arrow");
    assert_true(seen.must_copy);
    ok(discover_it("modified/a.arrow", "", &seen));
    assert_string_equal(seen.version, "modified:Tue, 14 Nov 2023 22:13:20 GMT");
    ok(discover_it("plain/a.arrow", "", &seen));
    assert_string_equal(seen.version, "");
    ok(discover_it("ok/a.arrow", "\"version\": \"none\"", &seen));
    assert_string_equal(seen.version, "");
    qn_buffer_dispose(&seen.text);
}

static void discover__tells_the_format_by_type_suffix_or_content(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    (void)rename(path_of("a.arrow"), path_of("b"));
    ok(discover_it("type/b", "", &seen));
    assert_string_equal(seen.format, "arrow");
    write_arrow("a.arrow", 1, 1000);
    (void)asked();
    ok(discover_it("octets/a", "", &seen));
    assert_string_equal(seen.format, "arrow");
    assert_string_equal(asked(), "HEAD /octets/a -\nGET /octets/a bytes=0-63");
    ok(discover_it("ok/b?file=x.csv", "", &seen)); /* the query has no suffix */
    assert_string_equal(seen.format, "arrow");
    ok(get("octets/a", ""));
    qn_buffer_dispose(&seen.text);
}

static void discover__asks_otherwise_where_head_is_refused(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    (void)asked();
    ok(discover_it("nohead/a.arrow", "", &seen));
    assert_string_equal(seen.version, "etag:\"one\"");
    assert_string_equal(asked(), "HEAD /nohead/a.arrow -\nGET /nohead/a.arrow bytes=0-0");
    ok(discover_it("headdrop/a.arrow", "", &seen));
    assert_string_equal(seen.version, "etag:\"one\"");
    refused(discover_it("status/404", "", &seen), QN_ERR_CONNECTOR, "status 404 Not Found");
    qn_buffer_dispose(&seen.text);
}

static void stable_url__is_the_url_when_asked(void **state)
{
    (void)state;
    char *url = NULL;
    struct qn_location location = QN_LOCATION_INIT;
    struct qn_connector *connector = opened("ok/a.arrow", "\"stable\": \"true\"");
    location.location = location_of("ok/a.arrow");
    ok(qn_connector_stable_url(connector, &location, &url, &error));
    assert_string_equal(url, location.location);
    qn_text_free(url);
    qn_connector_free(connector);
    connector = opened("ok/a.arrow", "");
    ok(qn_connector_stable_url(connector, &location, &url, &error));
    assert_null(url);
    qn_connector_free(connector);
    refused(open_with("http", with("ok/a.arrow?api_key=abcdef", "\"stable\": \"true\""), &connector), QN_ERR_CONFIG,
            "a URL with secrets in it");
    refused(open_with("http", with("ok/a.arrow", "\"copy\": \"false\", \"method\": \"POST\""), &connector),
            QN_ERR_CONFIG, "what a POST gives");
}

/* ---- data ---- */

static void data__reads_what_comes(void **state)
{
    (void)state;
    ok(get("ok/a.arrow", ""));
    ok(get("chunked/a.arrow", ""));
    ok(get("gzip/a.arrow", "")); /* though nobody asked for it */
    ok(get("negotiated/a.arrow", "\"compressed\": \"true\""));
    refused(get("negotiated/a.arrow", ""), QN_ERR_CONNECTOR, "status 406 Not Acceptable: compressed only");
    ok(get("query/a.arrow", "\"method\": \"POST\", \"body\": \"{\\\"from\\\": 1}\", "
                            "\"header.Content-Type\": \"application/json\""));
    refused(get("query/a.arrow", "\"method\": \"POST\", \"body\": \"{}\""), QN_ERR_CONNECTOR,
            "status 400 Bad Request: not like this");
}

static void data__applies_columns(void **state)
{
    (void)state;
    const char *columns[] = { "name" };
    struct total total = { 0 };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    struct qn_connector *connector = opened("ok/a.arrow", "");
    request.columns = columns;
    request.n_columns = 1;
    request.limit = 2;
    ok(read_location(connector, location_of("ok/a.arrow"), "", &request, &total));
    assert_string_equal(qn_buffer_text(&total.text), "\"name 1\"\n\"name 2\"\n");
    refused(read_location(connector, "http://elsewhere/", "", NULL, &total), QN_ERR_ARGUMENT, "has one location");
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

static void data__refuses_another_version(void **state)
{
    (void)state;
    struct total total = { 0 };
    struct seen seen = { 0 };
    struct qn_connector *connector = opened("fresh/a.arrow", "");
    discover_given(connector, NULL, 0, &seen);
    refused(read_location(connector, seen.last, seen.version, NULL, &total), QN_ERR_CONNECTOR,
            "it changed since it was discovered");
    assert_non_null(strstr(error.hint, "\"none\""));
    qn_connector_free(connector);
    connector = opened("fresh/a.arrow", "\"version\": \"none\"");
    ok(read_location(connector, seen.last, seen.version, NULL, &total));
    qn_connector_free(connector);
    connector = opened("ok/a.arrow", "");
    discover_given(connector, NULL, 0, &seen);
    ok(read_location(connector, seen.last, seen.version, NULL, &total));
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
    qn_buffer_dispose(&seen.text);
}

/* ---- broken transfers ---- */

static void broken__is_resumed_where_the_server_allows_it(void **state)
{
    (void)state;
    struct stat found;
    assert_int_equal(stat(path_of("a.arrow"), &found), 0);
    (void)asked();
    ok(get("break/10000/a.arrow", "")); /* never more than 10,000 bytes at a time */
    const char *lines = asked();
    assert_non_null(strstr(lines, "GET /break/10000/a.arrow -\nGET /break/10000/a.arrow bytes=10000-\n"));
    assert_non_null(strstr(lines, "bytes=20000-"));
    ok(get("breakdate/10000/a.arrow", ""));
    ok(get("norange/10000/a.arrow", "")); /* the whole again, in place of the rest */
    ok(get("change/10000/a.arrow", ""));  /* the server sends the whole of what is there now */
}

static void broken__never_mixes_two_states(void **state)
{
    (void)state;
    refused(get("mixed/10000/a.arrow", ""), QN_ERR_CONNECTOR, "it changed while it was read");
    assert_true(error.retryable);
    refused(get("wrongrange/10000/a.arrow", ""), QN_ERR_CONNECTOR, "the reply begins at 5");
    refused(get("breakweak/10000/a.arrow", ""), QN_ERR_CONNECTOR, "http://127.0.0.1");
    assert_true(error.retryable);
    refused(get("breakonce/10000/a.arrow", ""), QN_ERR_CONNECTOR, "10000");
    assert_true(error.retryable);
}

static void broken__begins_anew_where_it_cannot_be_resumed(void **state)
{
    (void)state;
    write_arrow("b.arrow", 1, 1000);
    connector_options.retries = 2;
    (void)asked();
    ok(get("breakonce/10001/b.arrow", ""));
    assert_string_equal(asked(), "GET /breakonce/10001/b.arrow -\nGET /breakonce/10001/b.arrow -");
    ok(get("breakweak/10001/b.arrow", ""));
    ok(get("busy/2/b.arrow", ""));
    connector_options.retries = -1;
}

static void broken__is_an_error_otherwise(void **state)
{
    (void)state;
    refused(get("short/a.arrow", ""), QN_ERR_CONNECTOR, "GET http://127.0.0.1");
    assert_true(error.retryable);
    refused(get("chunkedbreak/a.arrow", ""), QN_ERR_CONNECTOR, "GET http://127.0.0.1");
    refused(get("reset/a.arrow", ""), QN_ERR_CONNECTOR, "GET http://127.0.0.1");
    assert_true(error.retryable);
    refused(get("badgzip/a.arrow", ""), QN_ERR_CONNECTOR, "GET http://127.0.0.1");
    refused(get("garbage/a.arrow", ""), QN_ERR_CONNECTOR, "GET http://127.0.0.1");
    refused(get("empty/a.arrow", ""), QN_ERR_DATA, "a.arrow");
    refused(get("break/0/a.arrow", ""), QN_ERR_CONNECTOR,
            "GET http://127.0.0.1"); /* no progress, no resuming for ever */
}

/* ---- errors ---- */

static void status__is_in_the_error(void **state)
{
    (void)state;
    refused(get("status/404", ""), QN_ERR_CONNECTOR,
            "/status/404: status 404 Not Found: <h1>what went wrong</h1>\\xff");
    assert_false(error.retryable);
    refused(get("status/429/7", ""), QN_ERR_CONNECTOR, "status 429 Too Many Requests");
    assert_true(error.retryable);
    assert_int_equal(error.retry_after_ms, 7000);
    refused(get("status/503/Fri,_31_Dec_1999_23:59:59_GMT", ""), QN_ERR_CONNECTOR, "status 503");
    assert_true(error.retryable);
    assert_int_equal(error.retry_after_ms, 0);
    refused(get("status/503/Fri,_31_Dec_9999_23:59:59_GMT", ""), QN_ERR_CONNECTOR, "status 503");
    assert_int_equal(error.retry_after_ms, INT64_C(24) * 3600 * 1000); /* nobody waits for longer */
    refused(get("status/500", ""), QN_ERR_CONNECTOR, "status 500");
    assert_true(error.retryable);
    refused(get("status/500", "\"method\": \"POST\""), QN_ERR_CONNECTOR, "status 500");
    assert_false(error.retryable); /* it may have done what was asked */
    refused(get("status/503", "\"method\": \"POST\""), QN_ERR_CONNECTOR, "status 503");
    assert_true(error.retryable);
    refused(get("status/401", ""), QN_ERR_CONNECTOR, "status 401");
    assert_non_null(strstr(error.hint, "header.Authorization"));
}

static void limits__hold(void **state)
{
    (void)state;
    refused(get("endless/a.arrow", "\"max_size\": \"1000000\""), QN_ERR_DATA, "more than 1000000 bytes");
    assert_non_null(strstr(error.hint, "max_size"));
    refused(get("bigheader/a.arrow", ""), QN_ERR_CONNECTOR, "headers of the reply have more than 262144 bytes");
    connector_options.timeout = 0.3;
    struct seen seen = { 0 };
    refused(get("silent/a.arrow", ""), QN_ERR_TIMEOUT, "nothing came for 0.3 seconds");
    assert_true(error.retryable);
    refused(get("stall/5000/a.arrow", ""), QN_ERR_TIMEOUT, "nothing came for 0.3 seconds");
    refused(discover_it("silent/a.arrow", "", &seen), QN_ERR_TIMEOUT, "HEAD http://127.0.0.1");
    connector_options.timeout = 0;
    refused(get("endless/a.arrow", "\"time_limit\": \"1\""), QN_ERR_TIMEOUT, "the time limit of 1.0 seconds");
    qn_buffer_dispose(&seen.text);
}

static int interrupted(void *context)
{
    (void)context;
    return 1;
}

static void wait__is_ended_by_the_interrupt(void **state)
{
    (void)state;
    struct qn_connector *connector = opened("silent/a.arrow", "");
    struct total total = { 0 };
    qn_interrupt_set(interrupted, NULL);
    enum qn_status status = read_location(connector, location_of("silent/a.arrow"), "", NULL, &total);
    qn_interrupt_set(NULL, NULL);
    assert_int_equal(status, QN_ERR_CANCELLED);
    qn_connector_free(connector);
}

static void connect__fails_as_retryable(void **state)
{
    (void)state;
    struct qn_connector *connector = NULL;
    struct total total = { 0 };
    ok(open_with("http", "{\"url\": \"http://127.0.0.1:1/x.arrow\", \"method\": \"POST\"}", &connector));
    refused(read_location(connector, "http://127.0.0.1:1/x.arrow", "", NULL, &total), QN_ERR_CONNECTOR,
            "POST http://127.0.0.1:1/x.arrow: Failed to connect");
    assert_true(error.retryable); /* nothing was sent */
    qn_connector_free(connector);
    ok(open_with("http", with("ok/a.arrow", ""), &connector));
    qn_connector_free(connector);
    (void)snprintf(arguments, sizeof arguments, "{\"url\": \"https://127.0.0.1:%d/ok/a.arrow\"}", port);
    ok(open_with("http", arguments, &connector)); /* TLS to what has none */
    (void)snprintf(arguments, sizeof arguments, "https://127.0.0.1:%d/ok/a.arrow", port);
    refused(read_location(connector, arguments, "", NULL, &total), QN_ERR_CONNECTOR, "GET https://");
    qn_connector_free(connector);
}

/* Open, discover, ask for the data, close. */
static enum qn_status use(struct qn_error *err)
{
    struct seen seen = { 0 };
    struct qn_location location = QN_LOCATION_INIT;
    struct qn_connector *connector = NULL;
    qn_auto_stream stream = { 0 };
    location.location = location_of("break/20000/a.arrow");
    QN_TRY(qn_connector_open("http", &connector_options, &connector, err));
    enum qn_status status = qn_connector_discover(connector, NULL, 0, count_one, &seen, err);
    status = status == QN_OK ? qn_connector_data(connector, &location, NULL, &stream, err) : status;
    qn_stream_release(&stream);
    qn_connector_free(connector);
    return status;
}

static void each_allocation__may_fail(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    connector_options.arguments =
        with("break/20000/a.arrow", "\"header.Authorization\": \"Bearer 1\", \"ca_file\": \"x\"");
    connector_options.retries = -1;
    for (int64_t n = 1;; n++) {
        struct qn_error failure = QN_ERROR_INIT;
        (void)qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE);
        enum qn_status status = use(&failure);
        bool reached = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        if (status != QN_OK && (status != QN_ERR_NO_MEMORY || failure.status != status)) {
            fail_msg("allocation %lld: %s, %s", (long long)n, qn_status_name(status), failure.message);
        }
        if (!reached) {
            assert_int_equal(status, QN_OK);
            assert_true(n > 30);
            return;
        }
    }
}

/* A disk that is full, or a file that cannot be written. */
static void each_write__may_fail(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    for (int64_t n = 1;; n++) {
        struct qn_error failure = QN_ERROR_INIT;
        int fd = -1;
        (void)qn_fault_arm(QN_FAULT_WRITE, n, QN_FAULT_ONCE);
        enum qn_status status = qn_reference_open(location_of("ok/a.arrow"), NULL, 5, &fd, NULL, &failure);
        bool reached = qn_fault_count(QN_FAULT_WRITE) >= n;
        (void)qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE);
        if (!reached) {
            assert_int_equal(status, QN_OK);
            assert_int_equal(close(fd), 0);
            assert_true(n > 1);
            return;
        }
        assert_int_equal(status, QN_ERR_IO);
        assert_non_null(strstr(failure.message, "a temporary file"));
        assert_false(failure.retryable);
    }
}

/* ---- redirects and secrets ---- */

static void redirects__are_followed_so_far(void **state)
{
    (void)state;
    ok(get("redirect/1/a.arrow", ""));
    ok(get("redirect/10/a.arrow", ""));
    refused(get("redirect/11/a.arrow", ""), QN_ERR_CONNECTOR, "more than 10 redirects");
    refused(get("loop", ""), QN_ERR_CONNECTOR, "more than 10 redirects");
    refused(get("tofile", ""), QN_ERR_CONNECTOR, "redirected to file:///etc/passwd, which is neither http:// nor");
}

static void secrets__stay_with_their_host(void **state)
{
    (void)state;
    static const char headers[] = "\"header.Authorization\": \"Bearer abc\", \"header.X-Api-Key\": \"hush-hush\", "
                                  "\"header.Cookie\": \"a=b\", \"header.Accept-Language\": \"en\"";
    ok(get("away/a.arrow", headers));
    ok(get("home/a.arrow", headers)); /* the same host gets them */
    refused(get("away/a.arrow", "\"method\": \"POST\", \"body\": \"x\""), QN_ERR_CONNECTOR,
            "which is another host: the body is not sent there");
    struct qn_connector *connector = NULL;
    struct total total = { 0 };
    (void)snprintf(arguments, sizeof arguments, "{\"url\": \"http://user:pa%%3Ass@127.0.0.1:%d/home/a.arrow\"}", port);
    ok(open_with("http", arguments, &connector));
    discovers(connector, strcat(strcpy(arguments, location_of("home/a.arrow")), "\n")); /* no user information */
    ok(read_location(connector, location_of("home/a.arrow"), "", NULL, &total));
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

static void secrets__are_in_no_error(void **state)
{
    (void)state;
    struct qn_connector *connector = NULL;
    struct total total = { 0 };
    struct seen seen = { 0 };
    static const char *const secrets[] = {
        "open sesame", "sesame", "tell-nobody", "t0k%2Fen", "t0k/en", "p4ssw0rd", "QWxhZGRpbjpwNHNzdzByZA=="
    };
    (void)snprintf(arguments, sizeof arguments,
                   "{\"url\": \"http://Aladdin:p4ssw0rd@127.0.0.1:%d/tell?token=t0k%%2Fen&page=2\", "
                   "\"header.Authorization\": \"Bearer open sesame\", \"header.X-Api-Key\": \"tell-nobody\"}",
                   port);
    ok(open_with("http", arguments, &connector));
    enum qn_status status = qn_connector_discover(connector, NULL, 0, see, &seen, &error);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(status, QN_ERR_CONNECTOR);
        assert_non_null(
            strstr(error.message, "/tell?token=***&page=2: status 400 Bad Request: /tell?token=***&page=2"));
        for (size_t j = 0; j < sizeof secrets / sizeof *secrets; j++) {
            assert_null(strstr(error.message, secrets[j]));
            assert_null(strstr(error.hint, secrets[j]));
            assert_null(strstr(error.detail, secrets[j]));
        }
        char name[600];
        (void)snprintf(name, sizeof name, "%s?token=***&page=2", location_of("tell"));
        status = read_location(connector, name, "", NULL, &total);
    }
    qn_connector_free(connector);
    refused(open_with("http", "{\"url\": \"http://a:geheim@[::1/\"}", &connector), QN_ERR_CONFIG, "cannot be read");
    assert_null(strstr(error.message, "geheim"));
    qn_buffer_dispose(&seen.text);
}

static void open__refuses_wrong_arguments(void **state)
{
    (void)state;
    struct qn_connector *connector = NULL;
    refused(open_with("http", "{}", &connector), QN_ERR_CONFIG, "argument \"url\" is missing");
    refused(open_with("http", "{\"url\": \"ftp://x/y\"}", &connector), QN_ERR_CONFIG, "neither http:// nor https://");
    refused(open_with("http", "{\"url\": \"x.arrow\"}", &connector), QN_ERR_CONFIG, "cannot be read");
    refused(open_with("http", with("", "\"method\": \"PUT\""), &connector), QN_ERR_CONFIG, "neither GET nor POST");
    refused(open_with("http", with("", "\"body\": \"x\""), &connector), QN_ERR_CONFIG, "a GET has no body");
    refused(open_with("http", with("", "\"header.A b\": \"x\""), &connector), QN_ERR_CONFIG, "header \"A b\"");
    refused(open_with("http", with("", "\"header.A\": \"x\\r\\nB: y\""), &connector), QN_ERR_CONFIG, "header \"A\"");
    refused(open_with("http", with("", "\"header.Range\": \"bytes=1-\""), &connector), QN_ERR_CONFIG,
            "set by the connector");
    refused(open_with("http", with("", "\"max_size\": \"0\""), &connector), QN_ERR_CONFIG, "whole number from 1");
    refused(open_with("http", with("", "\"version\": \"x\""), &connector), QN_ERR_CONFIG, "neither auto nor none");
    assert_null(connector);
}

/* ---- references ---- */

static void reference__opens_urls(void **state)
{
    (void)state;
    int fd = -1;
    struct stat file, found;
    struct qn_reference_facts facts;
    assert_int_equal(stat(path_of("a.arrow"), &file), 0);
    ok(qn_reference_open(location_of("break/10000/a.arrow"), NULL, 5, &fd, &facts, &error));
    assert_int_equal(fstat(fd, &found), 0);
    assert_int_equal(found.st_size, file.st_size);
    assert_int_equal(found.st_nlink, 0); /* nobody has to remove it */
    assert_int_equal(facts.size, file.st_size);
    assert_string_equal(facts.version, "etag:\"one\"");
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    assert_int_equal(close(fd), 0);
    refused(qn_reference_open(location_of("status/404"), NULL, 5, &fd, NULL, &error), QN_ERR_CONNECTION, "status 404");
    refused(qn_reference_open(location_of("silent"), NULL, 0.2, &fd, NULL, &error), QN_ERR_TIMEOUT, "nothing came");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(discover__reads_version_and_format),
        cmocka_unit_test(discover__tells_the_format_by_type_suffix_or_content),
        cmocka_unit_test(discover__asks_otherwise_where_head_is_refused),
        cmocka_unit_test(stable_url__is_the_url_when_asked),
        cmocka_unit_test(data__reads_what_comes),
        cmocka_unit_test(data__applies_columns),
        cmocka_unit_test(data__refuses_another_version),
        cmocka_unit_test(broken__is_resumed_where_the_server_allows_it),
        cmocka_unit_test(broken__never_mixes_two_states),
        cmocka_unit_test(broken__begins_anew_where_it_cannot_be_resumed),
        cmocka_unit_test(broken__is_an_error_otherwise),
        cmocka_unit_test(status__is_in_the_error),
        cmocka_unit_test(limits__hold),
        cmocka_unit_test(wait__is_ended_by_the_interrupt),
        cmocka_unit_test(connect__fails_as_retryable),
        cmocka_unit_test(each_allocation__may_fail),
        cmocka_unit_test(each_write__may_fail),
        cmocka_unit_test(redirects__are_followed_so_far),
        cmocka_unit_test(secrets__stay_with_their_host),
        cmocka_unit_test(secrets__are_in_no_error),
        cmocka_unit_test(open__refuses_wrong_arguments),
        cmocka_unit_test(reference__opens_urls),
    };
    if (argc != 3) {
        return 2;
    }
    python = argv[1];
    script = argv[2];
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
