/*
 * test_ffi.c: connectors that are shared libraries, such that behave and such that do not.
 * usage: test_ffi ODD_QANAT ODD_BUNDLEBASE ODD_OTHER ODD_WITHOUT_DATA
 */
#include "../wire/fixture.h"
#include "connector/location_json.h"
#include "connector/registry.h"
#include "os/library.h"

#include "base/text.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { QANAT, BUNDLEBASE, OTHER, WITHOUT_DATA, LIBRARIES };
static const char *paths[LIBRARIES];

static const struct qn_connector_runtime *const ffi = &qn__runtime_ffi;

/* A counter that the library exports. */
static int counter(int which, const char *name)
{
    void *library;
    ok(qn_library_load(paths[which], &library, &error));
    atomic_int *found = qn_library_symbol(library, name);
    assert_non_null(found);
    return atomic_load(found);
}

static enum qn_status open_at(const char *entrypoint, const char *folder, const char *arguments, void **out)
{
    const struct qn_connector_opening opening = {
        .struct_size = sizeof opening,
        .name = "odd",
        .entrypoint = entrypoint,
        .arguments = arguments,
        .folder = folder,
        .timeout = 60,
        .processes = 1,
    };
    return ffi->open(ffi->context, &opening, out, &error);
}

static void *opened(int which, const char *arguments)
{
    void *self = NULL;
    ok(open_at(paths[which], NULL, arguments, &self));
    return self;
}

/* ---- opening ---- */

static void open__takes_both_prefixes_and_any_other_by_name(void **state)
{
    (void)state;
    char entrypoint[4096];
    void *self;
    ffi->close(opened(QANAT, "{}"));
    ffi->close(opened(BUNDLEBASE, "{}"));
    (void)snprintf(entrypoint, sizeof entrypoint, "%s:acme_", paths[OTHER]);
    ok(open_at(entrypoint, NULL, "{}", &self));
    ffi->close(self);
    (void)snprintf(entrypoint, sizeof entrypoint, "%s:acme", paths[OTHER]);
    ok(open_at(entrypoint, NULL, "{}", &self));
    ffi->close(self);
    (void)snprintf(entrypoint, sizeof entrypoint, "%s:bundlebase", paths[BUNDLEBASE]);
    ok(open_at(entrypoint, NULL, "{}", &self));
    ffi->close(self);
}

static void open__names_the_symbol_that_is_missing(void **state)
{
    (void)state;
    char entrypoint[4096];
    void *self;
    refused(open_at(paths[OTHER], NULL, "{}", &self), QN_ERR_CONFIG, "no symbol \"qanat_discover\"");
    assert_non_null(strstr(error.message, paths[OTHER]));
    assert_non_null(strstr(error.hint, "ffi::path.so:prefix_"));
    refused(open_at(paths[WITHOUT_DATA], NULL, "{}", &self), QN_ERR_CONFIG, "no symbol \"qanat_data\"");
    (void)snprintf(entrypoint, sizeof entrypoint, "%s:acme", paths[QANAT]);
    refused(open_at(entrypoint, NULL, "{}", &self), QN_ERR_CONFIG, "no symbol \"acmediscover\"");
}

static void open__says_what_is_not_there(void **state)
{
    (void)state;
    void *self;
    refused(open_at("nowhere.so", NULL, "{}", &self), QN_ERR_CONFIG, "shared library \"./nowhere.so\": not found");
    refused(open_at("nowhere.so:acme", "/some/folder", "{}", &self), QN_ERR_CONFIG,
            "\"/some/folder/nowhere.so\": not found");
    refused(open_at("/", NULL, "{}", &self), QN_ERR_CONFIG, "no file");
    refused(open_at(":acme", NULL, "{}", &self), QN_ERR_CONFIG, "names no shared library");
    refused(open_at("a:b.so", NULL, "{}", &self), QN_ERR_CONFIG, "./a:b.so"); /* no prefix has a dot */
    refused(open_at("/proc/self/comm", NULL, "{}", &self), QN_ERR_CONFIG, "cannot be loaded");
}

static void open__begins_relative_paths_at_the_folder(void **state)
{
    (void)state;
    char *path = strdup(paths[QANAT]);
    char *slash = strrchr(path, '/');
    void *self;
    assert_non_null(slash);
    *slash = '\0';
    ok(open_at(slash + 1, path, "{}", &self));
    ffi->close(self);
    free(path);
}

/* ---- discover ---- */

struct found {
    int n;
    char names[16][16];
    struct qn_location last;
    bool refuse;
};

static enum qn_status keep(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct found *found = context;
    if (found->refuse) {
        return qn_error_set(err, QN_ERR_CANCELLED, "enough");
    }
    if (found->n < 16) {
        (void)snprintf(found->names[found->n], sizeof found->names[0], "%s", location->location);
    }
    found->n++;
    found->last = *location;
    return QN_OK;
}

static enum qn_status discover(void *self, struct found *found)
{
    static const char *const attached[] = { "one", "t\"wo" };
    *found = (struct found){ .refuse = found->refuse };
    return ffi->discover(self, attached, 2, keep, found, &error);
}

static enum qn_status discover_as(int which, const char *mode, struct found *found)
{
    char arguments[128];
    (void)snprintf(arguments, sizeof arguments, "{\"mode\":\"%s\"}", mode);
    void *self = opened(which, arguments);
    enum qn_status status = discover(self, found);
    struct qn_error kept = error;
    ffi->close(self);
    assert_int_equal(counter(which, "odd_live"), 0);
    error = kept;
    return status;
}

static enum qn_status check_fields(void *context, const struct qn_location *location, struct qn_error *err)
{
    int *n = context;
    (void)err;
    assert_string_equal(location->location, ((const char *const[]){ "a\xc3\xa4\n", "rows", "null" })[*n]);
    assert_true(location->must_copy == (*n != 1));
    assert_string_equal(location->format, *n == 1 ? "csv" : "parquet");
    assert_string_equal(location->version, *n == 1 ? "7" : "");
    assert_int_equal(location->num_rows, *n == 1 ? 4 : -1);
    ++*n;
    return QN_OK;
}

static void discover__gives_locations_with_their_defaults(void **state)
{
    (void)state;
    for (int which = QANAT; which <= BUNDLEBASE; which++) {
        int n = 0;
        void *self = opened(which, "{}");
        ok(ffi->discover(self, NULL, 0, check_fields, &n, &error));
        assert_int_equal(n, 3);
        ffi->close(self);
    }
}

static void discover__goes_through_all_pages(void **state)
{
    (void)state;
    struct found found = { 0 };
    ok(discover_as(QANAT, "pages", &found));
    assert_int_equal(found.n, 10);
    assert_string_equal(found.names[0], "p0");
    assert_string_equal(found.names[9], "p9");
}

static void discover__is_told_what_is_attached(void **state)
{
    (void)state;
    struct found found = { 0 };
    assert_int_equal(discover_as(QANAT, "echo", &found), QN_ERR_QUERY);
    assert_string_equal(error.message, "[\"one\",\"t\\\"wo\"]");
}

static void discover__stops_where_the_caller_does(void **state)
{
    (void)state;
    struct found found = { .refuse = true };
    refused(discover_as(QANAT, "list", &found), QN_ERR_CANCELLED, "enough");
}

static void discover__judges_what_it_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        enum qn_status status;
        const char *message;
    } cases[] = {
        { "fail_text", QN_ERR_QUERY, "no more today" },
        { "fail_bytes", QN_ERR_QUERY, "caf?" },
        { "fail_braces", QN_ERR_QUERY, "{not json" },
        { "fail", QN_ERR_QUERY, "discover returned 9 and does not say why" },
        { "not_json", QN_ERR_PROTOCOL, "discover is not JSON" },
        { "no_list", QN_ERR_PROTOCOL, "is not {\"locations\": [...]}" },
        { "a_list", QN_ERR_PROTOCOL, "is not {\"locations\": [...]}" },
        { "nothing", QN_ERR_PROTOCOL, "is not {\"locations\": [...]}" },
        { "nameless", QN_ERR_PROTOCOL, "a location has no \"location\"" },
        { "no_text", QN_ERR_PROTOCOL, "a location's \"location\" is no text" },
        { "bad_copy", QN_ERR_PROTOCOL, "location \"a\": \"must_copy\" is neither true nor false" },
        { "bad_rows", QN_ERR_PROTOCOL, "location \"a\": \"num_rows\" is no number of rows" },
        { "twice", QN_ERR_PROTOCOL, "duplicate object key" },
        { "bad_next", QN_ERR_PROTOCOL, "a \"next\" that is no text" },
        { "loop", QN_ERR_PROTOCOL, "page \"again\" comes after itself" },
    };
    struct found found = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        refused(discover_as(QANAT, cases[i].mode, &found), cases[i].status, cases[i].message);
        assert_int_equal(found.n, 0);
        assert_false(error.retryable);
    }
    refused(discover_as(QANAT, "fail_json", &found), QN_ERR_QUERY, "slow down");
    assert_true(error.retryable);
    assert_int_equal(error.retry_after_ms, 1500);
}

/* ---- data ---- */

static enum qn_status data(void *self, const char *name, const char *const *columns, size_t n,
                           struct ArrowArrayStream *out, uint32_t *applied)
{
    struct qn_location location = QN_LOCATION_INIT;
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    location.location = name;
    request.columns = columns;
    request.n_columns = n;
    *out = (struct ArrowArrayStream){ 0 };
    return ffi->data(self, &location, &request, out, applied, &error);
}

/* Read to the end or the first failure; the rows that came, each checked. */
static enum qn_status drain(struct ArrowArrayStream *stream, int64_t *rows)
{
    for (*rows = 0;;) {
        struct ArrowArray batch;
        if (stream->get_next(stream, &batch) != 0) {
            error = (struct qn_error)QN_ERROR_INIT;
            return qn_stream_error(stream, &error);
        }
        if (batch.release == NULL) {
            return QN_OK;
        }
        for (int64_t i = 0; i < batch.length; i++) {
            assert_int_equal(((const int64_t *)batch.children[0]->buffers[1])[i], *rows);
            ++*rows;
        }
        batch.release(&batch);
    }
}

static void data__comes_as_it_is(void **state)
{
    (void)state;
    static const char *const both[] = { "a", "b" };
    static const char *const one[] = { "b" };
    for (int which = QANAT; which <= BUNDLEBASE; which++) {
        void *self = opened(which, "{}");
        struct ArrowArrayStream stream;
        struct ArrowSchema schema;
        uint32_t applied = 99;
        int64_t rows;
        ok(data(self, "rows", NULL, 0, &stream, &applied));
        assert_int_equal(applied, 0);
        assert_int_equal(stream.get_schema(&stream, &schema), 0);
        assert_int_equal(schema.n_children, 2);
        schema.release(&schema);
        ok(drain(&stream, &rows));
        assert_int_equal(rows, 12);
        stream.release(&stream);
        ok(data(self, "rows", both, 2, &stream, &applied));
        assert_int_equal(applied, QN_APPLIED_PROJECTION); /* it has these columns anyway */
        stream.release(&stream);
        ok(data(self, "rows", one, 1, &stream, &applied));
        assert_int_equal(applied, 0);
        stream.release(&stream);
        ok(data(self, "none", NULL, 0, &stream, &applied));
        assert_null(stream.release);
        ffi->close(self);
        assert_int_equal(counter(which, "odd_live"), 0);
    }
}

static void data__outlives_the_connector(void **state)
{
    (void)state;
    void *self = opened(QANAT, "{}");
    struct ArrowArrayStream stream;
    struct ArrowArray batch;
    uint32_t applied;
    ok(data(self, "rows", NULL, 0, &stream, &applied));
    assert_int_equal(stream.get_next(&stream, &batch), 0);
    ffi->close(self);
    stream.release(&stream);
    assert_int_equal(((const int64_t *)batch.children[1]->buffers[1])[3], 3);
    batch.release(&batch);
    assert_int_equal(counter(QANAT, "odd_live"), 0);
}

static void data__tells_why_there_is_none(void **state)
{
    (void)state;
    static const char *const columns[] = { "a\"b" };
    static const struct {
        const char *location;
        enum qn_status status;
        const char *message;
    } cases[] = {
        { "fails", QN_ERR_QUERY, "no such thing" },
        { "fails_quietly", QN_ERR_QUERY, "data returned 42 and does not say why" },
        { "schema_fails", QN_ERR_QUERY, "get_schema returned 5 and does not say why" },
        { "schema_none", QN_ERR_PROTOCOL, "the schema of its stream is none of columns" },
        { "no_columns", QN_ERR_PROTOCOL, "the schema of its stream is none of columns" },
    };
    void *self = opened(QANAT, "{}");
    struct ArrowArrayStream stream;
    uint32_t applied;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        refused(data(self, cases[i].location, NULL, 0, &stream, &applied), cases[i].status, cases[i].message);
        assert_null(stream.release);
        assert_int_equal(counter(QANAT, "odd_live"), 0);
    }
    refused(data(self, "fails", columns, 1, &stream, &applied), QN_ERR_QUERY, "[\"a\\\"b\"]");
    ffi->close(self);
}

static void data__that_breaks_in_the_middle_keeps_what_came(void **state)
{
    (void)state;
    void *self = opened(QANAT, "{}");
    struct ArrowArrayStream stream;
    uint32_t applied;
    int64_t rows;
    ok(data(self, "middle", NULL, 0, &stream, &applied));
    assert_int_equal(drain(&stream, &rows), QN_ERR_QUERY);
    assert_int_equal(rows, 4);
    assert_string_equal(error.message, "the line is cut");
    assert_true(error.retryable);
    stream.release(&stream);
    ok(data(self, "wrong_columns", NULL, 0, &stream, &applied));
    assert_int_equal(drain(&stream, &rows), QN_ERR_PROTOCOL);
    assert_string_equal(error.message, "a batch of 4 rows and 1 columns, where the schema has 2 columns");
    stream.release(&stream);
    ok(data(self, "wrong_rows", NULL, 0, &stream, &applied));
    assert_int_equal(drain(&stream, &rows), QN_ERR_PROTOCOL);
    stream.release(&stream);
    ffi->close(self);
    assert_int_equal(counter(QANAT, "odd_live"), 0);
}

static void stable_url__is_a_url_or_nothing(void **state)
{
    (void)state;
    void *self = opened(QANAT, "{}");
    struct qn_location location = QN_LOCATION_INIT;
    char *url = NULL;
    location.location = "url";
    ok(ffi->stable_url(self, &location, &url, &error));
    assert_string_equal(url, "https://example.com/\xc3\xa4");
    free(url);
    static const char *const without[] = { "null", "nothing" };
    for (int i = 0; i < 2; i++) {
        location.location = without[i];
        ok(ffi->stable_url(self, &location, &url, &error));
        assert_null(url);
    }
    location.location = "number";
    refused(ffi->stable_url(self, &location, &url, &error), QN_ERR_PROTOCOL, "neither {\"url\": text} nor null");
    location.location = "fails";
    refused(ffi->stable_url(self, &location, &url, &error), QN_ERR_QUERY, "no address");
    ffi->close(self);
    assert_int_equal(counter(QANAT, "odd_live"), 0);
}

/* ---- threads ---- */

static void *meet(void *self)
{
    struct found found = { 0 };
    assert_int_equal(ffi->discover(self, NULL, 0, keep, &found, NULL), QN_OK);
    return NULL;
}

static void calls__overlap(void **state)
{
    (void)state;
    pthread_t other;
    void *self = opened(QANAT, "{\"mode\":\"meet\"}");
    assert_int_equal(pthread_create(&other, NULL, meet, self), 0);
    meet(self); /* neither comes back before both are there */
    assert_int_equal(pthread_join(other, NULL), 0);
    ffi->close(self);
    assert_true(counter(QANAT, "odd_most") >= 2);
}

static void *use(void *self)
{
    for (int i = 0; i < 200; i++) {
        struct found found = { 0 };
        struct qn_location location = QN_LOCATION_INIT;
        struct qn_data_request request = QN_DATA_REQUEST_INIT;
        struct ArrowArrayStream stream;
        uint32_t applied;
        int64_t rows;
        location.location = "rows";
        assert_int_equal(ffi->discover(self, NULL, 0, keep, &found, NULL), QN_OK);
        assert_int_equal(ffi->data(self, &location, &request, &stream, &applied, NULL), QN_OK);
        assert_int_equal(drain(&stream, &rows), QN_OK);
        stream.release(&stream);
    }
    return NULL;
}

static void calls__of_the_old_names_never_overlap(void **state)
{
    (void)state;
    pthread_t others[3];
    void *self = opened(BUNDLEBASE, "{}");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&others[i], NULL, use, self), 0);
    }
    use(self);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(others[i], NULL), 0);
    }
    ffi->close(self);
    assert_int_equal(counter(BUNDLEBASE, "odd_most"), 1);
    assert_int_equal(counter(BUNDLEBASE, "odd_live"), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open__takes_both_prefixes_and_any_other_by_name),
        cmocka_unit_test(open__names_the_symbol_that_is_missing),
        cmocka_unit_test(open__says_what_is_not_there),
        cmocka_unit_test(open__begins_relative_paths_at_the_folder),
        cmocka_unit_test(discover__gives_locations_with_their_defaults),
        cmocka_unit_test(discover__goes_through_all_pages),
        cmocka_unit_test(discover__is_told_what_is_attached),
        cmocka_unit_test(discover__stops_where_the_caller_does),
        cmocka_unit_test(discover__judges_what_it_is_told),
        cmocka_unit_test(data__comes_as_it_is),
        cmocka_unit_test(data__outlives_the_connector),
        cmocka_unit_test(data__tells_why_there_is_none),
        cmocka_unit_test(data__that_breaks_in_the_middle_keeps_what_came),
        cmocka_unit_test(stable_url__is_a_url_or_nothing),
        cmocka_unit_test(calls__overlap),
        cmocka_unit_test(calls__of_the_old_names_never_overlap),
    };
    if (argc != 1 + LIBRARIES) {
        print_error("usage: test_ffi ODD_QANAT ODD_BUNDLEBASE ODD_OTHER ODD_WITHOUT_DATA\n");
        return 2;
    }
    for (int i = 0; i < LIBRARIES; i++) {
        paths[i] = argv[i + 1];
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
