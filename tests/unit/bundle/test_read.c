/*
 * test_read.c: a pack as one table: columns by name, where rows came from, blocks that stay where they are, tables put in by
 * hand.
 */
#include "fetch_fixture.h"

/* ---- where rows came from --------------------------------------------------------------------------------------- */

struct seen_row {
    int64_t id;
    char location[64];
    char version[16];
    int64_t commit; /* -1: null */
};

/* All rows of "base" with their provenance, as they come. */
static size_t read_rows(struct seen_row *out, size_t room)
{
    static const char *const columns[] = { "_commit", "id", "_location", "_version" };
    struct ArrowArrayStream stream;
    qn_auto_schema schema = { 0 };
    struct qn_batch_reader reader;
    size_t n = 0;
    ok(qn_bundle_stream(bundle, "base", columns, 4, &stream, &error));
    ok(qn_stream_schema(&stream, &schema, &error));
    assert_string_equal(schema.children[0]->name, "_commit");
    assert_string_equal(schema.children[2]->name, "_location");
    ok(qn_batch_reader_init(&reader, &schema, &error));
    for (;;) {
        qn_auto_array batch = { 0 };
        ok(qn_stream_next(&stream, &batch, &error));
        if (batch.release == NULL) {
            break;
        }
        ok(qn_batch_reader_bind(&reader, &batch, &error));
        for (int64_t i = 0; i < reader.length; i++, n++) {
            const char *text;
            size_t size;
            assert_true(n < room);
            out[n] = (struct seen_row){ .id = qn_reader_int64(&reader.columns[1], i), .commit = -1 };
            if (!qn_reader_is_null(&reader.columns[0], i)) {
                out[n].commit = qn_reader_int64(&reader.columns[0], i);
            }
            assert_true(qn_reader_bytes(&reader.columns[2], i, &text, &size));
            (void)snprintf(out[n].location, sizeof out[n].location, "%.*s", (int)size, text);
            assert_true(qn_reader_bytes(&reader.columns[3], i, &text, &size));
            (void)snprintf(out[n].version, sizeof out[n].version, "%.*s", (int)size, text);
        }
    }
    qn_batch_reader_dispose(&reader);
    qn_stream_release(&stream);
    return n;
}

static void expect_row(const struct seen_row *row, int64_t id, const char *location, const char *version,
                       int64_t commit)
{
    assert_int_equal(row->id, id);
    assert_string_equal(row->location, location);
    assert_string_equal(row->version, version);
    assert_int_equal(row->commit, commit);
}

/* trace: B15 */
static void read__says_where_a_row_came_from(void **state)
{
    (void)state;
    static const struct place before[] = { PLACE("a place with a long name", 0, 1, .version = "v1"),
                                           PLACE("b", 10, 2, .version = "v1") };
    static const struct place after[] = { PLACE("a place with a long name", 5, 1, .version = "v2"),
                                          PLACE("b", 10, 2, .version = "v1"), PLACE("c", 20, 1) };
    struct seen_row rows[8];
    int64_t first = -1, second = -1;
    ARRANGE(0, before);
    expect_fetch(QN_FETCH_ADD, "[\"a place with a long name\",\"b\"]", "[]", "[]");
    assert_int_equal(read_rows(rows, 8), 3);
    expect_row(&rows[0], 0, "a place with a long name", "v1", -1); /* pending */
    ok(qn_bundle_commit(bundle, "one", &first, &error));
    assert_int_equal(read_rows(rows, 8), 3);
    expect_row(&rows[0], 0, "a place with a long name", "v1", first);
    expect_row(&rows[2], 11, "b", "v1", first);
    ARRANGE(0, after);
    expect_fetch(QN_FETCH_UPDATE, "[\"c\"]", "[\"a place with a long name\"]", "[]");
    ok(qn_bundle_commit(bundle, "two", &second, &error));
    open_again();
    assert_int_equal(read_rows(rows, 8), 4);
    expect_row(&rows[0], 10, "b", "v1", first); /* in the order of commits */
    expect_row(&rows[1], 11, "b", "v1", first);
    expect_row(&rows[2], 5, "a place with a long name", "v2", second);
    expect_row(&rows[3], 20, "c", "", second);
}

static void read__provenance_alone_reads_no_block(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 70000) };
    static const char *const columns[] = { "_location" };
    struct ArrowArrayStream stream;
    int64_t rows = 0;
    ARRANGE(0, there);
    expect_fetch(QN_FETCH_ADD, "[\"a\"]", "[]", "[]");
    ok(qn_bundle_stream(bundle, "base", columns, 1, &stream, &error));
    for (;;) {
        qn_auto_array batch = { 0 };
        ok(qn_stream_next(&stream, &batch, &error));
        if (batch.release == NULL) {
            break;
        }
        assert_int_equal(batch.n_children, 1);
        rows += batch.length;
    }
    assert_int_equal(rows, 70000);
    qn_stream_release(&stream);
}

/* ---- columns ---------------------------------------------------------------------------------------------------- */

/* A table of one row whose columns are of these types. */
static void put_one_row(const char *location, size_t n, const char *const (*columns)[2], int64_t value)
{
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct ArrowArrayStream stream;
    struct qn_batch batch;
    ok(qn_schema_struct(&schema, (int64_t)n, &error));
    for (size_t i = 0; i < n; i++) {
        ok(qn_schema_set_from_text(&schema, (int64_t)i, columns[i][0], columns[i][1], &error));
    }
    ok(qn_batch_init(&batch, &schema, &error));
    ok(qn_batch_reserve(&batch, 1, &error));
    for (size_t i = 0; i < n; i++) {
        struct qn_column *column = &batch.columns[i];
        switch (column->type.id) {
        case QN_TYPE_INT64:
            qn_column_put_int64(column, value);
            break;
        case QN_TYPE_INT32:
            qn_column_put_int32(column, (int32_t)value);
            break;
        case QN_TYPE_FLOAT64:
            qn_column_put_float64(column, (double)value);
            break;
        default:
            qn_column_put_bytes(column, "text", 4);
            break;
        }
    }
    ok(qn_batch_finish(&batch, 1, &array, &error));
    qn_batch_dispose(&batch);
    ok(qn_stream_from_arrays(&schema, &array, 1, &stream, &error));
    int64_t rows = 0;
    ok(qn_bundle_put(bundle, "base", location, NULL, "arrow", false, &stream, &rows, &error));
    assert_null(stream.release);
    assert_int_equal(rows, 1);
}

static void expect_schema(const char *const (*columns)[2], size_t n)
{
    qn_auto_schema schema = { 0 };
    ok(qn_bundle_schema(bundle, "base", &schema, &error));
    assert_int_equal(schema.n_children, n);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(schema.children[i]->name, columns[i][0]);
        assert_string_equal(schema.children[i]->format, columns[i][1]);
    }
}

static void read__columns_are_united_by_name(void **state)
{
    (void)state;
    static const char *const one[][2] = { { "id", "Int32" }, { "text", "Utf8" } };
    static const char *const two[][2] = { { "extra", "Float64" }, { "id", "Int64" } };
    static const char *const both[][2] = { { "id", "l" }, { "text", "u" }, { "extra", "g" } };
    put_one_row("one", 2, one, -7);
    put_one_row("two", 2, two, INT64_C(1) << 40);
    expect_schema(both, 3);
    struct ArrowArrayStream stream;
    qn_auto_schema schema = { 0 };
    struct qn_batch_reader reader;
    ok(qn_bundle_stream(bundle, "base", NULL, 0, &stream, &error));
    ok(qn_stream_schema(&stream, &schema, &error));
    ok(qn_batch_reader_init(&reader, &schema, &error));
    qn_auto_array first = { 0 }, second = { 0 }, end = { 0 };
    ok(qn_stream_next(&stream, &first, &error));
    ok(qn_batch_reader_bind(&reader, &first, &error));
    assert_int_equal(qn_reader_int64(&reader.columns[0], 0), -7);
    assert_false(qn_reader_is_null(&reader.columns[1], 0));
    assert_true(qn_reader_is_null(&reader.columns[2], 0));
    ok(qn_stream_next(&stream, &second, &error));
    ok(qn_batch_reader_bind(&reader, &second, &error));
    assert_int_equal(qn_reader_int64(&reader.columns[0], 0), INT64_C(1) << 40);
    assert_true(qn_reader_is_null(&reader.columns[1], 0));
    assert_true(qn_reader_float64(&reader.columns[2], 0) == 1099511627776.0);
    ok(qn_stream_next(&stream, &end, &error));
    assert_null(end.release);
    qn_batch_reader_dispose(&reader);
    qn_stream_release(&stream);
}

static void read__types_without_a_common_one_are_named(void **state)
{
    (void)state;
    static const char *const one[][2] = { { "id", "Int64" } };
    static const char *const two[][2] = { { "id", "Float64" } };
    struct ArrowArrayStream stream;
    qn_auto_schema schema = { 0 };
    put_one_row("first place", 1, one, 1);
    put_one_row("second place", 1, two, 1);
    refused(qn_bundle_schema(bundle, "base", &schema, &error), QN_ERR_DATA,
            "column \"id\" is Int64 in \"first place\" and Float64 in \"second place\"");
    refused(qn_bundle_stream(bundle, "base", NULL, 0, &stream, &error), QN_ERR_DATA, "pack \"base\"");
    int64_t rows = 0;
    ok(qn_bundle_rows(bundle, "base", &rows, &error)); /* that does not depend on types */
    assert_int_equal(rows, 2);
}

static void read__wrong_columns_are_told(void **state)
{
    (void)state;
    static const char *const one[][2] = { { "id", "Int64" } };
    static const char *const unknown[] = { "id", "ID" };
    static const char *const twice[] = { "id", "_commit", "id" };
    struct ArrowArrayStream stream;
    put_one_row("one", 1, one, 1);
    refused(qn_bundle_stream(bundle, "base", unknown, 2, &stream, &error), QN_ERR_ARGUMENT, "no column \"ID\"");
    refused(qn_bundle_stream(bundle, "base", twice, 3, &stream, &error), QN_ERR_ARGUMENT, "\"id\" is asked for twice");
    refused(qn_bundle_stream(bundle, "bass", NULL, 0, &stream, &error), QN_ERR_CONFIG,
            "pack \"bass\": there is no such pack");
    assert_string_equal(error.hint,
                        "did you mean \"base\"? There are \"base\"; describe() or `qanat bundle status` lists all");
    put_one_row("b", 1, one, 1);
    for (int i = 0; i < 30; i++) {
        char pack[16];
        struct ArrowArrayStream rows;
        const struct place few = PLACE("", 0, 1);
        (void)snprintf(pack, sizeof pack, "pack_%d", i);
        ok(numbers_of(&few, &rows, &error));
        ok(qn_bundle_put(bundle, pack, "x", "", "arrow", false, &rows, NULL, &error));
    }
    refused(qn_bundle_stream(bundle, "pakc_29", NULL, 0, &stream, &error), QN_ERR_CONFIG, "there is no such pack");
    assert_ptr_equal(strstr(error.hint, "did you mean \"pack_29\"? There are \"base\", \"pack_0\""), error.hint);
    assert_non_null(strstr(error.hint, "\"pack_18\" ...; describe()"));
    refused(qn_bundle_stream(bundle, "elsewhere", NULL, 0, &stream, &error), QN_ERR_CONFIG, "there is no such pack");
    assert_ptr_equal(strstr(error.hint, "there are \"base\""), error.hint);
}

/* ---- tables put in by hand -------------------------------------------------------------------------------------- */

static void put__replaces_only_where_told(void **state)
{
    (void)state;
    const struct place one = PLACE("", 0, 3), two = PLACE("", 10, 3);
    struct ArrowArrayStream stream;
    ok(numbers_of(&one, &stream, &error));
    ok(qn_bundle_put(bundle, "base", "x", "1", "arrow", false, &stream, NULL, &error));
    ok(numbers_of(&two, &stream, &error));
    refused(qn_bundle_put(bundle, "base", "x", "2", "arrow", false, &stream, NULL, &error), QN_ERR_CONFIG,
            "pack \"base\": location \"x\": the pack has a block of this location already");
    assert_null(stream.release);
    expect_rows("base", 3, 3);
    ok(numbers_of(&two, &stream, &error));
    ok(qn_bundle_put(bundle, "base", "x", "2", "arrow", true, &stream, NULL, &error));
    expect_rows("base", 3, 33);
    ok(qn_bundle_remove(bundle, "base", "x", &error));
    refused(qn_bundle_remove(bundle, "base", "x", &error), QN_ERR_CONFIG, "no block of this location");
    int64_t rows = -1;
    ok(qn_bundle_rows(bundle, "base", &rows, &error));
    assert_int_equal(rows, 0);
}

static void put__refuses_what_cannot_be_kept(void **state)
{
    (void)state;
    const struct place late = PLACE("", 0, 5000, .trouble = FAILS_LATE), one = PLACE("", 0, 3);
    struct ArrowArrayStream stream;
    ok(numbers_of(&late, &stream, &error));
    refused(qn_bundle_put(bundle, "base", "x", "1", "arrow", false, &stream, NULL, &error), QN_ERR_CONNECTION,
            "location \"x\": the well is dry");
    ok(numbers_of(&one, &stream, &error));
    refused(qn_bundle_put(bundle, "../base", "x", "1", "arrow", false, &stream, NULL, &error), QN_ERR_CONFIG, "pack");
    ok(numbers_of(&one, &stream, &error));
    refused(qn_bundle_put(bundle, "base", "", "1", "arrow", false, &stream, NULL, &error), QN_ERR_DATA, "empty");
    ok(numbers_of(&one, &stream, &error));
    refused(qn_bundle_put(bundle, "base", "x", "1", "stone", false, &stream, NULL, &error), QN_ERR_UNSUPPORTED,
            "stone");
    expect_sound();
    assert_int_equal(count_beginning("data", ""), 0);
}

/* ---- blocks that stay where they are ---------------------------------------------------------------------------- */

static char reference_path[128];

/* An Arrow file beside the bundle with the rows of a place: the block that a put of it makes. */
static void make_reference(const struct place *place)
{
    struct ArrowArrayStream stream;
    char *text = NULL;
    (void)snprintf(reference_path, sizeof reference_path, "%s/outside.arrow", bundle_path);
    ok(numbers_of(place, &stream, &error));
    ok(qn_bundle_put(bundle, "elsewhere", "x", NULL, "arrow", true, &stream, NULL, &error));
    ok(qn_bundle_files(bundle, "elsewhere", &text, &error));
    json_t *files = take_json(text);
    const char *path = json_string_value(json_object_get(json_array_get(files, 0), "path"));
    assert_int_equal(rename(path, reference_path), 0);
    json_decref(files);
    int64_t undone = 0;
    ok(qn_bundle_undo(bundle, &undone, &error));
}

static void reference__is_read_where_it_is(void **state)
{
    (void)state;
    struct place there[] = { PLACE("an id of some kind", 100, 4, .refer = true, .version = "1",
                                   .url = reference_path) };
    char *text = NULL;
    make_reference(&there[0]);
    arrange(0, there, 1);
    expect_fetch(QN_FETCH_ADD, "[\"an id of some kind\"]", "[]", "[]");
    assert_int_equal(asked_for_data, 0);
    expect_rows("base", 4, 406);
    ok(qn_bundle_files(bundle, "base", &text, &error));
    json_t *files = take_json(text);
    const json_t *file = json_array_get(files, 0);
    assert_string_equal(json_string_value(json_object_get(file, "url")), reference_path);
    assert_null(json_object_get(file, "path"));
    expect_member(file, "rows", "4");
    json_decref(files);
    ok(qn_bundle_commit(bundle, "a reference", NULL, &error));
    assert_int_equal(count_beginning("data", ""), 1); /* the folder that the file was made in */
    open_again();
    expect_rows("base", 4, 406);
}

static void reference__that_changed_is_told_and_can_be_updated(void **state)
{
    (void)state;
    struct place there[] = { PLACE("x", 100, 4, .refer = true, .url = reference_path) };
    const struct place other = PLACE("x", 200, 4), longer = PLACE("x", 100, 400);
    struct ArrowArrayStream stream;
    make_reference(&there[0]);
    arrange(0, there, 1);
    expect_fetch(QN_FETCH_ADD, "[\"x\"]", "[]", "[]");
    expect_fetch(QN_FETCH_UPDATE, "[]", "[]", "[]"); /* no version, same bytes */
    make_reference(&other);                          /* of the same size */
    ok(qn_bundle_stream(bundle, "base", NULL, 0, &stream, &error));
    qn_auto_array batch = { 0 };
    refused(qn_stream_next(&stream, &batch, &error), QN_ERR_DATA, "is not what was attached: its SHA-256 is");
    assert_non_null(strstr(error.message, reference_path));
    assert_non_null(strstr(error.message, "location \"x\""));
    assert_non_null(strstr(error.hint, "fetch its source with update"));
    qn_stream_release(&stream);
    expect_fetch(QN_FETCH_UPDATE, "[]", "[\"x\"]", "[]");
    expect_rows("base", 4, 806);
    make_reference(&longer);
    ok(qn_bundle_stream(bundle, "base", NULL, 0, &stream, &error));
    refused(qn_stream_next(&stream, &batch, &error), QN_ERR_DATA, "bytes, not");
    qn_stream_release(&stream);
    assert_int_equal(unlink(reference_path), 0);
    ok(qn_bundle_stream(bundle, "base", NULL, 0, &stream, &error));
    refused(qn_stream_next(&stream, &batch, &error), QN_ERR_IO, "location \"x\"");
    qn_stream_release(&stream);
}

static void reference__of_no_readable_kind_fails_alone(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("odd", 0, 1, .refer = true, .url = "s3://bucket/key"),
                                          PLACE("gone", 0, 1, .refer = true, .url = "/nowhere/at/all.arrow"),
                                          PLACE("a", 0, 3) };
    const struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true };
    json_t *all = NULL;
    ARRANGE(0, there);
    const json_t *result = fetched(QN_FETCH_ADD, &options, &all);
    expect_member(result, "added", "[\"a\"]");
    const json_t *failed = json_object_get(result, "failed");
    const char *odd = json_string_value(json_object_get(json_array_get(failed, 0), "error"));
    const char *gone = json_string_value(json_object_get(json_array_get(failed, 1), "error"));
    assert_non_null(strstr(odd, "connector \"test.places0\": location \"odd\": it is not to be copied, and "
                                "\"s3://bucket/key\" is neither a file nor an http or https URL"));
    assert_non_null(strstr(gone, "connector \"test.places0\": location \"gone\""));
    assert_non_null(strstr(gone, "/nowhere/at/all.arrow"));
    json_decref(all);
}

static void origin__of_a_copy_is_kept_beside_it(void **state)
{
    (void)state;
    static char much[(64 << 10) + 2];
    memset(much, 'x', sizeof much - 1);
    const struct place there[] = { PLACE("a", 0, 3, .url = "s3://bucket/a"), PLACE("b", 0, 3, .url = ""),
                                   PLACE("c", 0, 3, .url = much), PLACE("d", 0, 3) };
    const struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true };
    json_t *all = NULL;
    char *text = NULL;
    arrange(0, there, 4);
    const json_t *result = fetched(QN_FETCH_ADD, &options, &all);
    expect_member(result, "added", "[\"a\",\"d\"]");
    const json_t *failed = json_object_get(result, "failed");
    const char *said = json_string_value(json_object_get(json_array_get(failed, 0), "error"));
    assert_string_equal(said, "connector \"test.places0\": location \"b\": the URL of a location is empty");
    said = json_string_value(json_object_get(json_array_get(failed, 1), "error"));
    assert_non_null(strstr(said, "location \"c\": a URL of a location is longer than 65536 bytes"));
    json_decref(all);
    ok(qn_bundle_commit(bundle, "", NULL, &error)); /* which holds them */
    ok(qn_bundle_files(bundle, "base", &text, &error));
    all = take_json(text);
    expect_member(json_array_get(all, 0), "origin", "\"s3://bucket/a\"");
    assert_non_null(json_object_get(json_array_get(all, 0), "path"));
    assert_null(json_object_get(json_array_get(all, 1), "origin"));
    json_decref(all);
    expect_rows("base", 6, 6);
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

static void stream__outlives_its_handle(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3), PLACE("b", 10, 3) };
    struct ArrowArrayStream stream;
    int64_t rows = 0;
    ARRANGE(0, there);
    expect_fetch(QN_FETCH_ADD, "[\"a\",\"b\"]", "[]", "[]");
    ok(qn_bundle_stream(bundle, "base", NULL, 0, &stream, &error));
    ok(qn_bundle_commit(bundle, "", NULL, &error));
    qn_bundle_free(bundle);
    bundle = NULL;
    for (;;) {
        qn_auto_array batch = { 0 };
        ok(qn_stream_next(&stream, &batch, &error));
        if (batch.release == NULL) {
            break;
        }
        rows += batch.length;
    }
    assert_int_equal(rows, 6);
    qn_stream_release(&stream);
}

static void stream__a_block_that_is_gone_is_told(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3), PLACE("b", 10, 3) };
    static const char *const provenance[] = { "_location" };
    char *text = NULL;
    struct ArrowArrayStream stream;
    qn_auto_array batch = { 0 };
    ARRANGE(0, there);
    expect_fetch(QN_FETCH_ADD, "[\"a\",\"b\"]", "[]", "[]");
    ok(qn_bundle_files(bundle, "base", &text, &error));
    json_t *files = take_json(text);
    assert_int_equal(unlink(json_string_value(json_object_get(json_array_get(files, 0), "path"))), 0);
    json_decref(files);
    ok(qn_bundle_stream(bundle, "base", NULL, 0, &stream, &error));
    refused(qn_stream_next(&stream, &batch, &error), QN_ERR_DATA, "location \"a\": block ");
    refused(qn_stream_next(&stream, &batch, &error), QN_ERR_DATA, "is missing");
    qn_stream_release(&stream);
    ok(qn_bundle_stream(bundle, "base", provenance, 1, &stream, &error));
    refused(qn_stream_next(&stream, &batch, &error), QN_ERR_DATA,
            "is missing"); /* nothing of it is read, but it has to be there */
    qn_stream_release(&stream);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(read__says_where_a_row_came_from),
        TEST(read__provenance_alone_reads_no_block),
        TEST(read__columns_are_united_by_name),
        TEST(read__types_without_a_common_one_are_named),
        TEST(read__wrong_columns_are_told),
        TEST(put__replaces_only_where_told),
        TEST(put__refuses_what_cannot_be_kept),
        TEST(reference__is_read_where_it_is),
        TEST(reference__that_changed_is_told_and_can_be_updated),
        TEST(reference__of_no_readable_kind_fails_alone),
        TEST(origin__of_a_copy_is_kept_beside_it),
        TEST(stream__outlives_its_handle),
        TEST(stream__a_block_that_is_gone_is_told),
    };
    register_places();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
