/*
 * fetch_fixture.h: bundles that fetch from a runtime of the tests' own, `places::N`: its connector number N has the places
 * that the test arranges, each with rows of its own, or with trouble.
 */
#ifndef QN_TESTS_FETCH_FIXTURE_H
#define QN_TESTS_FETCH_FIXTURE_H

#include "bundle_folder.h"

#include "arrow/column.h"
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blob.h"
#include "bundle/commit_log.h"

#include <jansson.h>
#include <pthread.h>
#include <qanat/bundle.h>
#include <qanat/plugin/connector.h>
#include <qanat/plugin/driver.h>
#include <stdatomic.h>

#define CONNECTORS 4

static struct qn_error error;

/* The call succeeds, or the test fails with the error's text. */
#define ok(call)                                                                                                       \
    do {                                                                                                               \
        error = (struct qn_error)QN_ERROR_INIT;                                                                        \
        if ((call) != QN_OK) {                                                                                         \
            fail_msg("%s: %s", #call, error.message);                                                                  \
        }                                                                                                              \
    } while (0)

/* The call fails so, with a message that has the text. */
#define refused(call, wanted, text)                                                                                    \
    do {                                                                                                               \
        error = (struct qn_error)QN_ERROR_INIT;                                                                        \
        enum qn_status got_ = (call);                                                                                  \
        if (got_ != (wanted) || strstr(error.message, (text)) == NULL) {                                               \
            fail_msg("%s: %s, \"%s\"", #call, qn_status_name(got_), error.message);                                    \
        }                                                                                                              \
    } while (0)

enum trouble {
    NO_TROUBLE,
    NO_DATA,    /* the connector says that there is none */
    FAILS,      /* asked for its data */
    FAILS_LATE, /* after its first batch */
    HANGS,      /* until somebody asks it to stop */
    MEETS,      /* waits until `meeting` of them are there */
};

struct place {
    const char *name;
    int64_t first, rows; /* numbers: first, first + 1 ... */
    const char *version; /* NULL: "" */
    enum trouble trouble;
    bool refer;       /* must_copy is false */
    const char *url;  /* stable; NULL: none */
    const char *type; /* of "id"; NULL: Int64 */
    bool knows_rows;  /* says them when it is discovered */
};

#define PLACE(name_, first_, rows_, ...)                                                                               \
    {                                                                                                                  \
        .name = (name_), .first = (first_), .rows = (rows_), __VA_ARGS__                                               \
    }

struct places {
    const struct place *list;
    size_t n;
    bool fails; /* cannot say what there is */
    bool hangs; /* does so for ever, after the first place */
};

static struct places places[CONNECTORS];
static json_t *asked[CONNECTORS]; /* attached locations, as they were given last */
static atomic_int meeting, arrived, running, most_running, asked_for_data;

__attribute__((unused)) static void arrange(int connector, const struct place *list, size_t n)
{
    places[connector] = (struct places){ .list = list, .n = n };
}
#define ARRANGE(connector, list) arrange((connector), (list), sizeof(list) / sizeof *(list))

/* ---- streams ---- */

struct number_stream {
    struct place place;
    int64_t done;
    bool failed;
};

static enum qn_status number_schema(void *context, struct ArrowSchema *out, struct qn_error *err)
{
    const struct number_stream *self = context;
    const char *type = self->place.type != NULL ? self->place.type : "Int64";
    qn_auto_schema schema = { 0 };
    QN_TRY(qn_schema_struct(&schema, 2, err));
    QN_TRY(qn_schema_set_from_text(&schema, 0, "id", type, err));
    QN_TRY(qn_schema_set_from_text(&schema, 1, "text", "Utf8", err));
    *out = schema;
    schema.release = NULL;
    return QN_OK;
}

static enum qn_status trouble_of(const struct place *place, struct qn_error *err)
{
    if (place->trouble == FAILS || place->trouble == FAILS_LATE) {
        return qn_error_set(err, QN_ERR_CONNECTION, "the well is dry");
    }
    if (place->trouble == MEETS) {
        atomic_fetch_add(&arrived, 1);
    }
    bool waits = place->trouble == HANGS || place->trouble == MEETS;
    while (waits && (place->trouble == HANGS || atomic_load(&arrived) < atomic_load(&meeting))) {
        QN_TRY(qn_interrupt_poll(err));
        (void)sched_yield();
    }
    return QN_OK;
}

static void put_row(struct qn_batch *batch, const struct number_stream *self, int64_t number)
{
    char text[32];
    int size = snprintf(text, sizeof text, "row %lld of a place", (long long)number);
    struct qn_column *id = &batch->columns[0];
    switch (id->type.id) {
    case QN_TYPE_INT32:
        qn_column_put_int32(id, (int32_t)number);
        break;
    case QN_TYPE_STRING_VIEW:
        qn_column_put_bytes(id, text, (size_t)size);
        break;
    case QN_TYPE_FLOAT64:
        qn_column_put_float64(id, (double)number);
        break;
    default:
        qn_column_put_int64(id, number);
        break;
    }
    qn_column_put_bytes(&batch->columns[1], text, (size_t)size);
    (void)self;
}

static enum qn_status number_next(void *context, struct ArrowArray *out, struct qn_error *err)
{
    struct number_stream *self = context;
    if (self->place.trouble == FAILS_LATE && self->done > 0) {
        return trouble_of(&self->place, err);
    }
    int64_t left = self->place.rows - self->done, n = left < 1000 ? left : 1000;
    if (n == 0) {
        return QN_OK;
    }
    qn_auto_schema schema = { 0 };
    struct qn_batch batch;
    QN_TRY(number_schema(self, &schema, err));
    QN_TRY(qn_batch_init(&batch, &schema, err));
    enum qn_status status = qn_batch_reserve(&batch, n, err);
    for (int64_t i = 0; i < n && status == QN_OK; i++) {
        put_row(&batch, self, self->place.first + self->done++);
    }
    if (status == QN_OK) {
        status = qn_batch_finish(&batch, n, out, err);
    }
    qn_batch_dispose(&batch);
    return status;
}

static const struct qn_stream_ops number_ops = { number_schema, number_next, qn_free };

static enum qn_status numbers_of(const struct place *place, struct ArrowArrayStream *out, struct qn_error *err)
{
    struct number_stream *self = qn_calloc(1, sizeof *self);
    if (self == NULL) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "out of memory");
    }
    self->place = *place;
    enum qn_status status = qn_stream_make(&number_ops, self, out, err);
    if (status != QN_OK) {
        qn_free(self);
    }
    return status;
}

/* ---- the runtime ---- */

static enum qn_status places_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                  struct qn_error *err)
{
    (void)context;
    int number = opening->entrypoint[0] - '0';
    if (number < 0 || number >= CONNECTORS) {
        return qn_error_set(err, QN_ERR_CONFIG, "there is no such connector");
    }
    *self_out = &places[number];
    return QN_OK;
}

static void places_close(void *self)
{
    (void)self;
}

static enum qn_status places_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                      void *context, struct qn_error *err)
{
    const struct places *there = self;
    json_t **list = &asked[there - places];
    json_decref(*list);
    *list = json_array();
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(json_array_append_new(*list, json_string(attached[i])), 0);
    }
    if (there->fails) {
        return qn_error_set(err, QN_ERR_CONNECTION, "nobody at home");
    }
    for (size_t i = 0; i < there->n; i++) {
        const struct place *place = &there->list[i];
        struct qn_location location = QN_LOCATION_INIT;
        location.location = place->name;
        location.version = place->version != NULL ? place->version : "";
        location.must_copy = !place->refer;
        location.format = "arrow";
        location.num_rows = place->knows_rows ? place->rows : -1;
        QN_TRY(each(context, &location, err));
        while (there->hangs) {
            QN_TRY(qn_interrupt_poll(err));
            (void)sched_yield();
        }
    }
    return QN_OK;
}

static const struct place *find_place(const struct places *there, const char *name)
{
    for (size_t i = 0; i < there->n; i++) {
        if (qn_text_equal(there->list[i].name, name)) {
            return &there->list[i];
        }
    }
    return NULL;
}

static enum qn_status places_data(void *self, const struct qn_location *location, const struct qn_data_request *request,
                                  struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    (void)request;
    const struct place *place = find_place(self, location->location);
    *applied_out = 0;
    out->release = NULL;
    atomic_fetch_add(&asked_for_data, 1);
    if (place->trouble == NO_DATA) {
        return QN_OK;
    }
    int now = atomic_fetch_add(&running, 1) + 1;
    if (now > atomic_load(&most_running)) {
        atomic_store(&most_running, now);
    }
    enum qn_status status = place->trouble == FAILS_LATE ? QN_OK : trouble_of(place, err);
    atomic_fetch_sub(&running, 1);
    return status == QN_OK ? numbers_of(place, out, err) : status;
}

static enum qn_status places_url(void *self, const struct qn_location *location, char **out, struct qn_error *err)
{
    (void)err;
    *out = qn_strdup(find_place(self, location->location)->url);
    return QN_OK;
}

__attribute__((unused)) static void register_places(void)
{
    static const struct qn_connector_runtime runtime = { .struct_size = sizeof runtime,
                                                         .abi = QN_CONNECTOR_ABI,
                                                         .name = "places",
                                                         .open = places_open,
                                                         .close = places_close,
                                                         .discover = places_discover,
                                                         .data = places_data,
                                                         .stable_url = places_url };
    ok(qn_connector_runtime_register(&runtime, &error));
}

/* ---- bundles ---- */

static struct qn_bundle *bundle;
static char *source_ids[CONNECTORS];

/* A bundle with connector 0 as a source of "base". */
static void add_source(int connector, const char *pack)
{
    char name[32], uri[32];
    (void)snprintf(name, sizeof name, "test.places%d", connector);
    (void)snprintf(uri, sizeof uri, "places::%d", connector);
    ok(qn_bundle_import_connector(bundle, name, uri, NULL, true, &error));
    ok(qn_bundle_create_source(bundle, name, NULL, pack, "arrow", &source_ids[connector], &error));
}

__attribute__((unused)) static int set_up(void **state)
{
    if (make_bundle_folder(state) != 0) {
        return -1;
    }
    memset(places, 0, sizeof places);
    meeting = arrived = running = most_running = asked_for_data = 0;
    if (qn_bundle_create(bundle_path, NULL, &bundle, &error) != QN_OK) {
        return -1;
    }
    add_source(0, "base");
    return 0;
}

static int tear_down(void **state)
{
    qn_bundle_free(bundle);
    bundle = NULL;
    for (int i = 0; i < CONNECTORS; i++) {
        json_decref(asked[i]);
        asked[i] = NULL;
        qn_text_free(source_ids[i]);
        source_ids[i] = NULL;
    }
    return remove_bundle_folder(state);
}

/* Open it anew, as another process would; temporary connectors come along. */
__attribute__((unused)) static void open_again(void)
{
    qn_bundle_free(bundle);
    ok(qn_bundle_open(bundle_path, NULL, &bundle, &error));
    for (int i = 0; i < CONNECTORS; i++) {
        char name[32], uri[32];
        (void)snprintf(name, sizeof name, "test.places%d", i);
        (void)snprintf(uri, sizeof uri, "places::%d", i);
        ok(qn_bundle_import_connector(bundle, name, uri, NULL, true, &error));
    }
}

static json_t *take_json(char *text)
{
    json_error_t failure;
    json_t *value = json_loads(text, 0, &failure);
    if (value == NULL) {
        fail_msg("%s in %s", failure.text, text);
    }
    qn_text_free(text);
    return value;
}

/* A member of a JSON value as compact text, for comparison. */
static void expect_member(const json_t *object, const char *key, const char *wanted)
{
    json_t *member = json_object_get(object, key);
    char *text = json_dumps(member, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL || !qn_text_equal(text, wanted)) {
        fail_msg("%s is %s, not %s", key, text != NULL ? text : "missing", wanted);
    }
    free(text);
}

/* Fetch "base"; the results of source `i`, borrowed from *all_out. */
__attribute__((unused)) static json_t *fetched(enum qn_fetch_mode mode, const struct qn_fetch_options *options,
                                               json_t **all_out)
{
    char *text = NULL;
    ok(qn_bundle_fetch(bundle, "base", mode, options, &text, &error));
    *all_out = take_json(text);
    return json_array_get(*all_out, 0);
}

__attribute__((unused)) static void expect_fetch(enum qn_fetch_mode mode, const char *added, const char *replaced,
                                                 const char *removed)
{
    json_t *all = NULL;
    const json_t *result = fetched(mode, NULL, &all);
    expect_member(result, "added", added);
    expect_member(result, "replaced", replaced);
    expect_member(result, "removed", removed);
    expect_member(result, "failed", "[]");
    json_decref(all);
}

/* All rows of a pack's column "id", summed, and counted. */
__attribute__((unused)) static int64_t sum_of_ids(const char *pack, int64_t *rows_out)
{
    struct ArrowArrayStream stream;
    const char *const columns[] = { "id" };
    qn_auto_schema schema = { 0 };
    struct qn_batch_reader reader;
    int64_t sum = 0, rows = 0;
    ok(qn_bundle_stream(bundle, pack, columns, 1, &stream, &error));
    ok(qn_stream_schema(&stream, &schema, &error));
    ok(qn_batch_reader_init(&reader, &schema, &error));
    for (;;) {
        qn_auto_array batch = { 0 };
        ok(qn_stream_next(&stream, &batch, &error));
        if (batch.release == NULL) {
            break;
        }
        ok(qn_batch_reader_bind(&reader, &batch, &error));
        for (int64_t i = 0; i < reader.length; i++) {
            sum += qn_reader_int64(&reader.columns[0], i);
        }
        rows += reader.length;
    }
    qn_batch_reader_dispose(&reader);
    qn_stream_release(&stream);
    *rows_out = rows;
    return sum;
}

__attribute__((unused)) static void expect_rows(const char *pack, int64_t rows, int64_t sum)
{
    int64_t read = 0, counted = 0;
    assert_int_equal(sum_of_ids(pack, &read), sum);
    assert_int_equal(read, rows);
    ok(qn_bundle_rows(bundle, pack, &counted, &error));
    assert_int_equal(counted, rows);
}

/* The retry list. */
__attribute__((unused)) static json_t *failures(void)
{
    char *text = NULL;
    ok(qn_bundle_describe(bundle, &text, &error));
    json_t *all = take_json(text);
    json_t *list = json_incref(json_object_get(all, "failures"));
    json_decref(all);
    return list;
}

static void show_problem(const struct qn_log_problem *problem, void *context)
{
    (void)context;
    fail_msg("%s: expected %s, found %s", problem->object, problem->expected, problem->found);
}

/* The log is whole, every block of it is what it was, and nothing half-written lies about. */
__attribute__((unused)) static void expect_sound(void)
{
    ok(qn_commit_log_verify(bundle_fd, show_problem, NULL, &error));
    char *text = NULL;
    ok(qn_bundle_files(bundle, "base", &text, &error));
    json_t *files = take_json(text);
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *file = json_array_get(files, i);
        struct qn_sha256 hash;
        if (json_object_get(file, "path") != NULL) {
            assert_true(qn_sha256_parse(json_string_value(json_object_get(file, "sha256")), &hash));
            ok(qn_blob_verify(bundle_fd, &hash, json_string_value(json_object_get(file, "format")),
                              json_integer_value(json_object_get(file, "bytes")), &error));
        }
    }
    json_decref(files);
    assert_int_equal(count_beginning("data", ".qanat-"), 0);
}

#endif
