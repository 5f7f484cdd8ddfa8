/*
 * test_cassette.c: conversations recorded and replayed without the source; files that are damaged or broken off.
 */
#include "../wire/fixture.h"
#include "arrow/stream.h"
#include "base/fault.h"
#include "base/text.h"
#include "connector/cassette_file.h"
#include "connector/masking.h"
#include "os/file.h"

#include <fcntl.h>
#include <pthread.h>
#include <qanat/plugin/connector.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define ROWS 4 /* of a batch */

static char folder[] = "/tmp/qanat-test-cassette-XXXXXX";
static char path[64];

/* ---- a source that exists only while it is recorded ---- */

static atomic_int calls; /* of the source: a replay makes none */

struct source {
    int discovered;
    atomic_int failures_left;
};

static enum qn_status source_open(void *context, const struct qn_connector_opening *opening, void **out,
                                  struct qn_error *err)
{
    (void)context;
    (void)opening;
    (void)err;
    struct source *source = calloc(1, sizeof *source);
    assert_non_null(source);
    atomic_init(&source->failures_left, 1);
    *out = source;
    return QN_OK;
}

static void source_close(void *self)
{
    free(self);
}

/* "a", "b" and how many are attached, in a new version each time; "many" attached brings 10,000. */
static enum qn_status source_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                      void *context, struct qn_error *err)
{
    struct source *source = self;
    struct qn_location location = QN_LOCATION_INIT;
    char name[64], version[16];
    atomic_fetch_add(&calls, 1);
    if (n == 1 && qn_text_equal(attached[0], "broken")) {
        return qn_error_set(err, QN_ERR_QUERY, "no list today for hunter22");
    }
    size_t locations = n == 1 && qn_text_equal(attached[0], "many") ? 10000 : 3;
    (void)snprintf(version, sizeof version, "v%d", ++source->discovered);
    for (size_t i = 0; i < locations; i++) {
        if (i == 2) {
            (void)snprintf(name, sizeof name, "attached %zu of hunter22", n);
        } else {
            (void)snprintf(name, sizeof name, "%c%zu", (char)('a' + i % 2), i / 2);
        }
        location.location = name;
        location.version = version;
        location.num_rows = i == 0 ? 8 : -1;
        location.must_copy = i != 1;
        QN_TRY(each(context, &location, err));
    }
    return QN_OK;
}

struct rows {
    int64_t next, end, fails_at;
};

static enum qn_status rows_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    qn_auto_schema schema = { 0 };
    (void)self;
    QN_TRY(qn_schema_struct(&schema, 2, err));
    QN_TRY(qn_schema_set_from_text(&schema, 0, "n", "Int64!", err));
    QN_TRY(qn_schema_set_from_text(&schema, 1, "twice", "Int64!", err));
    *out = schema;
    schema.release = NULL;
    return QN_OK;
}

static enum qn_status rows_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct rows *rows = self;
    qn_auto_schema schema = { 0 };
    struct qn_batch made;
    if (rows->next == rows->fails_at) {
        return qn_error_set(err, QN_ERR_QUERY, "the line was cut at row %lld", (long long)rows->next);
    }
    if (rows->next == rows->end) {
        return QN_OK;
    }
    QN_TRY(rows_schema(self, &schema, err));
    QN_TRY(qn_batch_init(&made, &schema, err));
    enum qn_status status = qn_batch_reserve(&made, ROWS, err);
    for (int64_t i = 0; status == QN_OK && i < ROWS; i++, rows->next++) {
        qn_column_put_int64(&made.columns[0], rows->next);
        qn_column_put_int64(&made.columns[1], 2 * rows->next);
    }
    if (status == QN_OK) {
        status = qn_batch_finish(&made, ROWS, out, err);
    }
    qn_batch_dispose(&made);
    return status;
}

/* "rows N": N rows; "cut N": as many, then a failure; "retry": fails once; "none"; "fails". */
static enum qn_status source_data(void *self, const struct qn_location *location, const struct qn_data_request *request,
                                  struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { rows_schema, rows_next, free };
    struct source *source = self;
    long long n = 8;
    (void)request;
    atomic_fetch_add(&calls, 1);
    *applied_out = 0;
    if (qn_text_equal(location->location, "none")) {
        out->release = NULL;
        return QN_OK;
    }
    if (qn_text_equal(location->location, "fails")) {
        qn_error_set(err, QN_ERR_DATA, "a value of hunter22 does not fit");
        qn_error_hint(err, "make it fit");
        return QN_ERR_DATA;
    }
    if (qn_text_equal(location->location, "retry") && atomic_fetch_sub(&source->failures_left, 1) > 0) {
        qn_error_set(err, QN_ERR_CONNECTION, "come back");
        err->retryable = true;
        err->retry_after_ms = 1;
        return QN_ERR_CONNECTION;
    }
    struct rows *rows = calloc(1, sizeof *rows);
    (void)sscanf(location->location, "%*[a-z] %lld", &n);
    *rows = (struct rows){ .end = n, .fails_at = strncmp(location->location, "cut", 3) == 0 ? n : -1 };
    enum qn_status status = qn_stream_make(&ops, rows, out, err);
    if (status != QN_OK) {
        free(rows);
    }
    return status;
}

static enum qn_status source_stable_url(void *self, const struct qn_location *location, char **out,
                                        struct qn_error *err)
{
    (void)self;
    (void)err;
    atomic_fetch_add(&calls, 1);
    *out = qn_text_equal(location->location, "a") ? strdup("https://u:hunter22@example.com/a?token=t0ps3cret") : NULL;
    return QN_OK;
}

static enum qn_status source_describe(void *self, char **out, struct qn_error *err)
{
    (void)self;
    (void)err;
    *out = strdup("{\"name\":\"Source\",\"arguments\":{},\"capabilities\":[],\"protocol\":7}");
    return QN_OK;
}

static const struct qn_connector_runtime source_runtime = {
    .struct_size = sizeof source_runtime,
    .abi = QN_CONNECTOR_ABI,
    .name = "source",
    .open = source_open,
    .close = source_close,
    .discover = source_discover,
    .data = source_data,
    .stable_url = source_stable_url,
    .describe = source_describe,
};

/* ---- talking ---- */

#define SECRETS                                                                                                        \
    "{\"city\":\"Oslo\",\"db_password\":\"hunter22\",\"apiKey\":\"t0ps3cret\",\"key\":\"id\",\"url\":"                 \
    "\"postgresql://me:pw9999@host/db\"}"

static struct qn_connector *opened(const char *uri, const char *arguments, const char *record)
{
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector;
    options.name = "acme";
    options.arguments = arguments;
    options.record = record;
    ok(qn_connector_open(uri, &options, &connector, &error));
    return connector;
}

static struct qn_connector *recording(const char *arguments)
{
    return opened("source::x", arguments, path);
}

static char *cassette_uri(void)
{
    static char uri[128];
    (void)snprintf(uri, sizeof uri, "cassette::%s", path);
    return uri;
}

static struct qn_connector *replaying(const char *arguments)
{
    return opened(cassette_uri(), arguments, NULL);
}

struct heard {
    int n, refuse_at;
    char text[1024];
};

static enum qn_status hear(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct heard *heard = context;
    size_t used = strlen(heard->text);
    if (heard->n == heard->refuse_at) {
        return qn_error_set(err, QN_ERR_CANCELLED, "enough");
    }
    heard->n++;
    (void)snprintf(heard->text + used, sizeof heard->text - used, "%s|%d|%s|%s|%lld\n", location->location,
                   location->must_copy, location->format, location->version, (long long)location->num_rows);
    return QN_OK;
}

static enum qn_status discover(struct qn_connector *connector, const char *attached, struct heard *heard)
{
    *heard = (struct heard){ .refuse_at = heard->refuse_at };
    error = (struct qn_error)QN_ERROR_INIT;
    return qn_connector_discover(connector, &attached, attached != NULL ? 1 : 0, hear, heard, &error);
}

/* Rows and checksum of all values, or the failure after them. `stop`: rows after which the stream is let go; -1: none. */
struct fetched {
    enum qn_status status;
    int64_t rows, columns;
    uint64_t sum;
    char message[1024];
    bool nothing;
};

static struct fetched fetch_as(struct qn_connector *connector, const char *name, const struct qn_data_request *request,
                               int64_t stop)
{
    struct fetched fetched = { 0 };
    struct qn_location location = QN_LOCATION_INIT;
    struct ArrowArrayStream stream = { 0 };
    struct qn_error why = QN_ERROR_INIT;
    location.location = name;
    fetched.status = qn_connector_data(connector, &location, request, &stream, &why);
    fetched.nothing = fetched.status == QN_OK && stream.release == NULL;
    while (fetched.status == QN_OK && stream.release != NULL && fetched.rows != stop) {
        struct ArrowArray batch = { 0 };
        fetched.status = qn_stream_next(&stream, &batch, &why);
        if (fetched.status != QN_OK || batch.release == NULL) {
            break;
        }
        fetched.rows += batch.length;
        fetched.columns = batch.n_children;
        for (int64_t column = 0; column < batch.n_children; column++) {
            const int64_t *values = batch.children[column]->buffers[1];
            for (int64_t row = 0; row < batch.length; row++) {
                fetched.sum = fetched.sum * 31 + (uint64_t)values[batch.children[column]->offset + row];
            }
        }
        batch.release(&batch);
    }
    if (stream.release != NULL) {
        stream.release(&stream);
    }
    (void)snprintf(fetched.message, sizeof fetched.message, "%s", fetched.status != QN_OK ? why.message : "");
    return fetched;
}

static struct fetched fetch(struct qn_connector *connector, const char *name)
{
    return fetch_as(connector, name, NULL, -1);
}

static void same(const struct fetched *a, const struct fetched *b)
{
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->columns, b->columns);
    assert_int_equal(a->sum, b->sum);
    assert_int_equal(a->nothing, b->nothing);
}

static int begin(void **state)
{
    (void)state;
    static int n;
    (void)snprintf(path, sizeof path, "%s/%d", folder, ++n);
    return 0;
}

/* ---- record and replay (trace: B8) ---- */

static void replay__is_what_was_recorded(void **state)
{
    (void)state;
    static const char *const names[] = { "rows 12", "none", "fails", "cut 8", "retry", "rows 0" };
    struct fetched fetched[6];
    struct heard first = { .refuse_at = -1 }, second = { .refuse_at = -1 }, again = { .refuse_at = -1 };
    struct qn_connector *connector = recording(NULL);
    ok(discover(connector, NULL, &first));
    ok(discover(connector, NULL, &second));
    for (int i = 0; i < 6; i++) {
        fetched[i] = fetch(connector, names[i]);
    }
    qn_connector_free(connector);
    assert_int_equal(fetched[0].rows, 12);
    assert_true(fetched[1].nothing);
    assert_int_equal(fetched[2].status, QN_ERR_DATA);
    assert_int_equal(fetched[3].status, QN_ERR_CONNECTOR);
    assert_int_equal(fetched[3].rows, 8);
    assert_int_equal(fetched[4].rows, 8);
    assert_int_equal(fetched[5].status, QN_OK);
    int before = atomic_load(&calls);
    for (int round = 0; round < 2; round++) {
        connector = replaying(NULL);
        for (int i = 5; i >= 0; i--) { /* in any order */
            struct fetched now = fetch(connector, names[i]);
            same(&now, &fetched[i]);
            assert_string_equal(now.message, fetched[i].message);
        }
        ok(discover(connector, NULL, &again));
        assert_string_equal(again.text, first.text);
        ok(discover(connector, NULL, &again));
        assert_string_equal(again.text, second.text);
        ok(discover(connector, NULL, &again)); /* the last answer stays */
        assert_string_equal(again.text, second.text);
        qn_connector_free(connector);
    }
    assert_string_not_equal(first.text, second.text);
    assert_int_equal(atomic_load(&calls), before);
}

static void replay__makes_of_a_whole_location_what_is_asked(void **state)
{
    (void)state;
    static const char *const columns[] = { "twice" };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    struct qn_connector *connector = recording(NULL);
    (void)fetch(connector, "rows 40");
    request.columns = columns;
    request.n_columns = 1;
    request.filter = "[\">=\",\"n\",6]";
    request.limit = 9;
    struct fetched shaped = fetch_as(connector, "rows 20", &request, -1);
    qn_connector_free(connector);
    assert_int_equal(shaped.rows, 9);
    connector = replaying(NULL);
    struct fetched now = fetch_as(connector, "rows 20", &request, -1); /* the very request */
    same(&now, &shaped);
    now = fetch_as(connector, "rows 40", &request, -1); /* of the whole location */
    same(&now, &shaped);
    request.skip_rows = 2;
    request.limit = -1;
    request.filter = NULL;
    now = fetch_as(connector, "rows 40", &request, -1);
    assert_int_equal(now.rows, 38);
    assert_int_equal(fetch(connector, "rows 20").status, QN_ERR_CONNECTOR); /* it was not recorded whole */
    qn_connector_free(connector);
}

static void replay__of_small_calls(void **state)
{
    (void)state;
    struct qn_location location = QN_LOCATION_INIT;
    struct qn_connector *connector = recording("{}");
    char *text;
    bool can;
    location.location = "a";
    ok(qn_connector_stable_url(connector, &location, &text, &error));
    qn_text_free(text);
    location.location = "b";
    ok(qn_connector_stable_url(connector, &location, &text, &error));
    assert_null(text);
    ok(qn_connector_describe(connector, &text, &error));
    qn_text_free(text);
    qn_connector_free(connector);
    connector = replaying("{}");
    ok(qn_connector_stable_url(connector, &location, &text, &error));
    assert_null(text);
    location.location = "a";
    ok(qn_connector_stable_url(connector, &location, &text, &error));
    assert_string_equal(text, "https://u:hunter22@example.com/a?token=t0ps3cret");
    qn_text_free(text);
    ok(qn_connector_describe(connector, &text, &error));
    assert_non_null(strstr(text, "\"Source\""));
    qn_text_free(text);
    ok(qn_connector_can(connector, QN_CAN_RESUME, &can, &error));
    assert_true(can);
    location.location = "c";
    refused(qn_connector_stable_url(connector, &location, &text, &error), QN_ERR_CONNECTOR, "no answer to stable_url");
    qn_connector_free(connector);
}

static void replay__of_many_locations(void **state)
{
    (void)state;
    struct heard heard = { .refuse_at = -1 };
    struct qn_connector *connector = recording(NULL);
    ok(discover(connector, "many", &heard));
    heard.refuse_at = 5000;
    assert_int_equal(discover(connector, "many", &heard), QN_ERR_CANCELLED);
    qn_connector_free(connector);
    connector = replaying(NULL);
    heard.refuse_at = -1;
    for (int i = 0; i < 2; i++) { /* the one that was not broken off, both times */
        ok(discover(connector, "many", &heard));
        assert_int_equal(heard.n, 10000);
    }
    qn_connector_free(connector);
}

static void replay__says_what_was_not_recorded(void **state)
{
    (void)state;
    struct heard heard = { .refuse_at = -1 };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    struct qn_connector *connector = recording(NULL);
    ok(discover(connector, "x", &heard));
    (void)fetch(connector, "rows 4");
    (void)fetch(connector, "none");
    (void)fetch_as(connector, "rows 12", NULL, 4);
    qn_connector_free(connector);
    connector = replaying(NULL);
    struct fetched missing = fetch(connector, "rows 8");
    assert_int_equal(missing.status, QN_ERR_CONNECTOR);
    assert_non_null(strstr(missing.message, "has no answer to data of \"rows 8\"; recorded are: data of \"rows 4\"; "
                                            "data of \"none\"; data of \"rows 12\""));
    refused(discover(connector, NULL, &heard), QN_ERR_CONNECTOR,
            "no answer to discover; recorded are: discover, attached [\"x\"]");
    struct fetched cut = fetch(connector, "rows 12");
    assert_int_equal(cut.status, QN_ERR_CONNECTOR);
    assert_int_equal(cut.rows, 4);
    assert_non_null(strstr(cut.message, "the recording goes no further: no more was wanted then"));
    cut = fetch_as(connector, "rows 12", NULL, 4); /* who wants no more is served */
    assert_int_equal(cut.status, QN_OK);
    request.limit = 3;
    missing = fetch_as(connector, "rows 8", &request, -1);
    assert_non_null(strstr(missing.message, "data of \"rows 8\", limit 3; recorded"));
    qn_connector_free(connector);
}

static void replay__goes_by_arguments(void **state)
{
    (void)state;
    struct heard oslo = { .refuse_at = -1 }, bergen = { .refuse_at = -1 }, now = { .refuse_at = -1 };
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector = recording("{\"city\":\"Oslo\",\"token\":\"abcd\"}");
    ok(discover(connector, NULL, &oslo));
    ok(discover(connector, NULL, &oslo));
    qn_connector_free(connector);
    connector = recording("{\"city\":\"Bergen\"}"); /* appended */
    ok(discover(connector, NULL, &bergen));
    qn_connector_free(connector);
    connector = replaying("{\"city\":\"Bergen\"}");
    ok(discover(connector, NULL, &now));
    assert_string_equal(now.text, bergen.text);
    ok(discover(connector, NULL, &now));
    assert_string_equal(now.text, bergen.text);
    qn_connector_free(connector);
    connector = replaying("{\"token\":\"another\"}"); /* secrets are not compared, since they are not there */
    ok(discover(connector, NULL, &now));
    ok(discover(connector, NULL, &now));
    assert_string_equal(now.text, oslo.text);
    qn_connector_free(connector);
    options.arguments = "{\"city\":\"Rome\"}";
    refused(qn_connector_open(cassette_uri(), &options, &connector, &error), QN_ERR_CONFIG,
            "nothing was recorded with the argument city = \"Rome\", but with \"Bergen\"");
    options.arguments = "{\"country\":\"no\"}";
    refused(qn_connector_open(cassette_uri(), &options, &connector, &error), QN_ERR_CONFIG,
            "the argument country = \"no\"");
}

static void recordings__hold_no_secrets(void **state)
{
    (void)state;
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    struct heard heard = { .refuse_at = -1 };
    struct qn_location location = QN_LOCATION_INIT;
    char *url;
    struct qn_connector *connector = recording(SECRETS);
    ok(discover(connector, NULL, &heard));
    assert_non_null(strstr(heard.text, "hunter22")); /* while it is recorded nothing is kept from the caller */
    (void)discover(connector, "broken", &heard);
    (void)fetch(connector, "fails");
    location.location = "a";
    ok(qn_connector_stable_url(connector, &location, &url, &error));
    assert_non_null(strstr(url, "hunter22"));
    qn_text_free(url);
    qn_connector_free(connector);
    ok(qn_file_read(AT_FDCWD, path, 1 << 20, &bytes, &error));
    static const char *const secrets[] = { "hunter22", "t0ps3cret", "pw9999" };
    for (int i = 0; i < 3; i++) {
        assert_null(memmem(bytes.data, bytes.size, secrets[i], strlen(secrets[i])));
    }
    static const char *const kept[] = { "\"city\":\"Oslo\"",           "\"key\":\"***\"",
                                        "postgresql://me:***@host/db", "https://u:***@example.com/a?token=***",
                                        "attached 0 of ***",           "a value of *** does not fit" };
    for (int i = 0; i < 6; i++) {
        if (memmem(bytes.data, bytes.size, kept[i], strlen(kept[i])) == NULL) {
            fail_msg("the recording lacks %s", kept[i]);
        }
    }
    connector = replaying(SECRETS);
    ok(discover(connector, NULL, &heard));
    assert_non_null(strstr(heard.text, "attached 0 of ***"));
    qn_connector_free(connector);
}

static void names__of_secrets_are_known(void **state)
{
    (void)state;
    static const char *const secret[] = {
        "password",    "PASSWORD",     "db_password",   "dbPassword", "passwd", "token",         "access-token",
        "accessToken", "clientSecret", "credentials",   "api_key",    "APIKey", "key",           "sshKey",
        "x-auth",      "headers",      "Authorization", "pwd",        "pin",    "session_cookie"
    };
    static const char *const open_names[] = { "city", "author", "monkey", "keyboard", "compass", "tables", "spin", "" };
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++) {
        if (qn_mask_name(secret[i]) == 0) {
            fail_msg("%s is not held for a secret", secret[i]);
        }
    }
    for (size_t i = 0; i < sizeof open_names / sizeof open_names[0]; i++) {
        assert_int_equal(qn_mask_name(open_names[i]), 0);
    }
}

/* ---- the file ---- */

static void files__that_are_recorded_to_are_not_shared(void **state)
{
    (void)state;
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *other;
    struct qn_connector *connector = recording(NULL);
    options.record = path;
    refused(qn_connector_open("source::x", &options, &other, &error), QN_ERR_CONFLICT, "somebody else is recording");
    qn_connector_free(connector);
    qn_connector_free(recording(NULL));
    options.record = folder;
    assert_int_equal(qn_connector_open("source::x", &options, &other, &error), QN_ERR_IO);
    options.record = "/dev/null";
    assert_int_not_equal(qn_connector_open("source::x", &options, &other, &error), QN_OK);
    refused(qn_connector_open("cassette::/nowhere", NULL, &other, &error), QN_ERR_CONFIG, "No such file");
}

static void files__of_others_are_left_alone(void **state)
{
    (void)state;
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    struct qn_connector *connector;
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    static const char *const texts[] = { "my letter", "a text that is longer than the first line of a cassette" };
    for (int i = 0; i < 2; i++) {
        ok(qn_file_replace(AT_FDCWD, path, texts[i], strlen(texts[i]), 0600, &error));
        options.record = path;
        refused(qn_connector_open("source::x", &options, &connector, &error), QN_ERR_DATA, "no cassette");
        refused(qn_connector_open(cassette_uri(), NULL, &connector, &error), QN_ERR_DATA, "no cassette");
        qn_buffer_reset(&bytes);
        ok(qn_file_read(AT_FDCWD, path, 1 << 20, &bytes, &error));
        assert_string_equal(bytes.data, texts[i]);
    }
}

/* A small recording, and its bytes. */
static void record_small(struct qn_buffer *out)
{
    struct heard heard = { .refuse_at = -1 };
    struct qn_connector *connector = recording("{\"city\":\"Oslo\"}");
    ok(discover(connector, NULL, &heard));
    (void)fetch(connector, "rows 4");
    (void)fetch(connector, "none");
    qn_connector_free(connector);
    qn_buffer_reset(out);
    ok(qn_file_read(AT_FDCWD, path, 1 << 20, out, &error));
}

static void write_file(const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    ok(qn_fd_write_all(fd, bytes, size, path, &error));
    close(fd);
}

static void change_byte(size_t at, char byte)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void files__that_break_off_are_good_up_to_there(void **state)
{
    (void)state;
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    record_small(&bytes);
    int answered = 0;
    for (size_t size = bytes.size; size >= QN_CASSETTE_MAGIC_SIZE; size--) {
        struct heard heard = { .refuse_at = -1 };
        assert_int_equal(truncate(path, (off_t)size), 0);
        struct qn_connector *connector = replaying(NULL);
        enum qn_status found = discover(connector, NULL, &heard);
        struct fetched rows = fetch(connector, "rows 4");
        assert_true(found == QN_OK || found == QN_ERR_CONNECTOR);
        assert_true(rows.status == QN_OK ? rows.rows == 4 : rows.status == QN_ERR_CONNECTOR);
        answered += rows.status == QN_OK;
        qn_connector_free(connector);
        if (size % 97 == 0 || size == bytes.size) { /* and can be gone on with */
            struct fetched now = fetch(connector = recording(NULL), "rows 12");
            qn_connector_free(connector);
            connector = replaying(NULL);
            struct fetched again = fetch(connector, "rows 12");
            qn_connector_free(connector);
            same(&again, &now);
            write_file(bytes.data, size);
        }
    }
    assert_true(answered > 0 && answered < (int)bytes.size);
}

static void files__that_are_damaged_are_found_out(void **state)
{
    (void)state;
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    struct qn_connector *connector;
    record_small(&bytes);
    for (size_t at = 0; at < bytes.size; at++) {
        struct heard heard = { .refuse_at = -1 };
        change_byte(at, (char)(bytes.data[at] ^ 0x10));
        error = (struct qn_error)QN_ERROR_INIT;
        enum qn_status status = qn_connector_open(cassette_uri(), NULL, &connector, &error);
        if (status == QN_OK) {
            status = discover(connector, NULL, &heard);
            struct fetched rows = fetch(connector, "rows 4");
            struct fetched none = fetch(connector, "none");
            status = status == QN_OK ? rows.status : status;
            status = status == QN_OK ? none.status : status;
            qn_connector_free(connector);
        }
        if (status != QN_ERR_DATA) {
            fail_msg("a changed byte at %zu: %s", at, qn_status_name(status));
        }
        change_byte(at, bytes.data[at]);
    }
}

static void *record_some(void *connector)
{
    for (int i = 0; i < 20; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "rows %d", 4 * (i + 1));
        assert_int_equal(fetch(connector, name).rows, 4 * (i + 1));
    }
    return NULL;
}

static void recordings__of_several_threads_are_whole(void **state)
{
    (void)state;
    pthread_t others[3];
    struct qn_connector *connector = recording(NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&others[i], NULL, record_some, connector), 0);
    }
    record_some(connector);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(others[i], NULL), 0);
    }
    qn_connector_free(connector);
    connector = replaying(NULL);
    for (int i = 0; i < 4; i++) {
        record_some(connector);
    }
    qn_connector_free(connector);
}

static void recordings__that_cannot_be_written_fail_the_call(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    bool failed = true;
    int sweeps = 0;
    for (int64_t n = 1; failed; n++, sweeps++) {
        struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
        struct heard heard = { .refuse_at = -1 };
        struct fetched rows = { 0 };
        struct qn_connector *connector;
        options.record = path;
        (void)unlink(path);
        (void)qn_fault_arm(QN_FAULT_WRITE, n, QN_FAULT_ONCE);
        enum qn_status status = qn_connector_open("source::x", &options, &connector, &error);
        if (status == QN_OK) {
            status = discover(connector, NULL, &heard);
            rows = fetch(connector, "rows 4");
            qn_connector_free(connector);
        }
        (void)qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE);
        failed = status != QN_OK || rows.status != QN_OK;
        assert_true(!failed || status == QN_ERR_IO || rows.status == QN_ERR_IO);
        connector = recording(NULL); /* what is there is a cassette, whatever happened */
        rows = fetch(connector, "rows 8");
        qn_connector_free(connector);
        assert_int_equal(rows.rows, 8);
        connector = replaying(NULL);
        assert_int_equal(fetch(connector, "rows 8").rows, 8);
        qn_connector_free(connector);
    }
    assert_true(sweeps > 10);
}

static void memory__that_is_out_is_an_error(void **state)
{
    (void)state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: this build has no fault points\n");
        skip();
    }
    bool failed = true;
    for (int64_t n = 1; failed; n++) {
        struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
        struct heard heard = { .refuse_at = -1 };
        struct qn_connector *connector;
        (void)unlink(path);
        failed = false;
        for (int replay = 0; replay < 2 && !failed; replay++) {
            options.record = replay != 0 ? NULL : path;
            (void)qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE);
            enum qn_status status =
                qn_connector_open(replay != 0 ? cassette_uri() : "source::x", &options, &connector, &error);
            bool opened_it = status == QN_OK;
            if (opened_it) {
                status = discover(connector, NULL, &heard);
                struct fetched rows = fetch(connector, "rows 4");
                status = status == QN_OK ? rows.status : status;
            }
            (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
            if (opened_it) {
                qn_connector_free(connector);
            }
            assert_true(status == QN_OK || status == QN_ERR_NO_MEMORY);
            failed = status != QN_OK;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(replay__is_what_was_recorded, begin),
        cmocka_unit_test_setup(replay__makes_of_a_whole_location_what_is_asked, begin),
        cmocka_unit_test_setup(replay__of_small_calls, begin),
        cmocka_unit_test_setup(replay__of_many_locations, begin),
        cmocka_unit_test_setup(replay__says_what_was_not_recorded, begin),
        cmocka_unit_test_setup(replay__goes_by_arguments, begin),
        cmocka_unit_test_setup(recordings__hold_no_secrets, begin),
        cmocka_unit_test_setup(names__of_secrets_are_known, begin),
        cmocka_unit_test_setup(files__that_are_recorded_to_are_not_shared, begin),
        cmocka_unit_test_setup(files__of_others_are_left_alone, begin),
        cmocka_unit_test_setup(files__that_break_off_are_good_up_to_there, begin),
        cmocka_unit_test_setup(files__that_are_damaged_are_found_out, begin),
        cmocka_unit_test_setup(recordings__of_several_threads_are_whole, begin),
        cmocka_unit_test_setup(recordings__that_cannot_be_written_fail_the_call, begin),
        cmocka_unit_test_setup(memory__that_is_out_is_an_error, begin),
    };
    if (mkdtemp(folder) == NULL || qn_connector_runtime_register(&source_runtime, &error) != QN_OK) {
        print_error("%s\n", error.message);
        return 2;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int n = 1; n < 100; n++) {
        (void)snprintf(path, sizeof path, "%s/%d", folder, n);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    return failed;
}
