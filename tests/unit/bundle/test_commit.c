/*
 * test_commit.c: one commit has one file; anything else is refused, whole.
 */
#include "bundle/commit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const schemas[] = { "c2NoZW1h" };

static struct qn_change block(void)
{
    return (struct qn_change){ .kind = QN_CHANGE_ADD,
                               .pack = "base",
                               .location = "a/b \"c\"\n\x01\xc3\xa9",
                               .version = "v1",
                               .source = "orders",
                               .format = "parquet",
                               .sha256 = HASH,
                               .rows = 10,
                               .bytes = 2000,
                               .schema = 0 };
}

static struct qn_commit with(struct qn_change *changes, size_t count)
{
    return (struct qn_commit){ .version = 3,
                               .timestamp = 1700000000000000,
                               .message = "first load",
                               .schemas = (const char **)(uintptr_t)schemas,
                               .n_schemas = 1,
                               .changes = changes,
                               .n_changes = count };
}

static void encode(const struct qn_commit *commit, struct qn_buffer *out)
{
    struct qn_error err = QN_ERROR_INIT;
    if (qn_commit_encode(commit, out, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
}

static void commit__bytes_are_those_of_the_document(void **state)
{
    (void)state;
    struct qn_change changes[] = {
        block(),
        { .kind = QN_CHANGE_REMOVE, .pack = "base", .location = "old" },
        { .kind = QN_CHANGE_SET,
          .object = QN_OBJECT_CONFIG,
          .name = "system.x",
          .value = " { \"b\": 1, \"a\": [\"/\"] } " },
        { .kind = QN_CHANGE_UNSET, .object = QN_OBJECT_SOURCE, .name = "orders" },
    };
    struct qn_commit commit = with(changes, 4);
    qn_auto_buffer out = QN_BUFFER_INIT;
    encode(&commit, &out);
    static const char body[] =
        "{\"changes\":[{\"bytes\":2000,\"format\":\"parquet\",\"location\":\"a/b "
        "\\\"c\\\"\\n\\u0001\xc3\xa9\",\"op\":\"add\","
        "\"pack\":\"base\",\"rows\":10,\"schema\":0,\"sha256\":\"" HASH "\",\"source\":\"orders\",\"version\":\"v1\"},"
        "{\"location\":\"old\",\"op\":\"remove\",\"pack\":\"base\"},"
        "{\"kind\":\"config\",\"name\":\"system.x\",\"op\":\"set\",\"value\":{\"a\":[\"/\"],\"b\":1}},"
        "{\"kind\":\"source\",\"name\":\"orders\",\"op\":\"unset\"}],\"format\":1,\"message\":\"first load\","
        "\"previous\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"schemas\":[\"c2NoZW1h\"],"
        "\"timestamp\":1700000000000000,\"version\":3}";
    struct qn_sha256 digest;
    char text[QN_SHA256_TEXT_SIZE];
    assert_int_equal(qn_sha256_of(body, strlen(body), &digest, NULL), QN_OK);
    qn_sha256_format(&digest, text);
    char expected[2048];
    (void)snprintf(expected, sizeof expected, "{\"commit\":%s,\"sha256\":\"%s\"}\n", body, text);
    assert_string_equal(qn_buffer_text(&out), expected);
}

static void commit__digest_is_sha256(void **state)
{
    (void)state;
    struct qn_sha256 digest; /* FIPS 180-2, appendix B.1 */
    char text[QN_SHA256_TEXT_SIZE];
    assert_int_equal(qn_sha256_of("abc", 3, &digest, NULL), QN_OK);
    qn_sha256_format(&digest, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct qn_sha256 back;
    assert_true(qn_sha256_parse(text, &back) && qn_sha256_equal(&back, &digest));
    text[5] = 'F';
    assert_false(qn_sha256_parse(text, NULL));
    assert_false(qn_sha256_parse("", NULL));
}

static void commit__is_read_back(void **state)
{
    (void)state;
    struct qn_change changes[] = {
        block(),
        block(),
        { .kind = QN_CHANGE_SET, .object = QN_OBJECT_CONNECTOR, .name = "acme.weather", .value = "\"x\"" },
    };
    changes[0].origin = "https://example.com/exports/one-v2";
    changes[1].kind = QN_CHANGE_REPLACE;
    changes[1].url = "https://example.com/x";
    changes[1].sha256 = "";
    changes[1].rows = changes[1].bytes = changes[1].schema = -1;
    struct qn_commit commit = with(changes, 3);
    commit.previous.bytes[0] = 0xab;
    qn_auto_buffer out = QN_BUFFER_INIT;
    encode(&commit, &out);
    struct qn_commit back;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_commit_parse(out.data, out.size, &back, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(back.version, 3);
    assert_int_equal(back.timestamp, commit.timestamp);
    assert_string_equal(back.message, "first load");
    assert_int_equal(back.previous.bytes[0], 0xab);
    assert_int_equal(back.n_schemas, 1);
    assert_string_equal(back.schemas[0], schemas[0]);
    assert_int_equal(back.n_changes, 3);
    assert_string_equal(back.changes[0].location, changes[0].location);
    assert_string_equal(back.changes[0].sha256, HASH);
    assert_null(back.changes[0].url);
    assert_string_equal(back.changes[0].origin, changes[0].origin);
    assert_null(back.changes[1].origin);
    assert_int_equal(back.changes[0].rows, 10);
    assert_int_equal(back.changes[1].kind, QN_CHANGE_REPLACE);
    assert_string_equal(back.changes[1].url, changes[1].url);
    assert_int_equal(back.changes[1].schema, -1);
    assert_int_equal(back.changes[2].object, QN_OBJECT_CONNECTOR);
    assert_string_equal(back.changes[2].value, "\"x\"");
    qn_commit_dispose(&back);
    assert_null(back.changes);
}

static void commit__refuses_every_flipped_bit_and_every_truncation(void **state)
{
    (void)state;
    struct qn_change changes[] = { block() };
    struct qn_commit commit = with(changes, 1);
    qn_auto_buffer out = QN_BUFFER_INIT;
    encode(&commit, &out);
    struct qn_commit back;
    for (size_t bit = 0; bit < out.size * 8; bit++) {
        out.data[bit / 8] ^= (char)(1 << bit % 8);
        struct qn_error err = QN_ERROR_INIT;
        assert_int_equal(qn_commit_parse(out.data, out.size, &back, &err), QN_ERR_DATA);
        out.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t size = 0; size < out.size; size++) {
        assert_int_equal(qn_commit_parse(out.data, size, &back, NULL), QN_ERR_DATA);
    }
    assert_int_equal(qn_commit_parse(out.data, out.size, &back, NULL), QN_OK);
    qn_commit_dispose(&back);
}

/* A body with the right digest around it. */
static enum qn_status parse_body(const char *body, struct qn_error *err)
{
    qn_auto_buffer file = QN_BUFFER_INIT;
    struct qn_sha256 digest;
    char text[QN_SHA256_TEXT_SIZE];
    assert_int_equal(qn_sha256_of(body, strlen(body), &digest, NULL), QN_OK);
    qn_sha256_format(&digest, text);
    qn_buffer_printf(&file, "{\"commit\":%s,\"sha256\":\"%s\"}\n", body, text);
    struct qn_commit commit;
    enum qn_status status = qn_commit_parse(file.data, file.size, &commit, err);
    if (status == QN_OK) {
        qn_commit_dispose(&commit);
    }
    return status;
}

#define BODY_END "\"message\":\"\",\"previous\":\"" HASH "\",\"schemas\":[],\"timestamp\":1,\"version\":1}"

static void commit__refuses_bodies_that_are_not_canonical(void **state)
{
    (void)state;
    assert_int_equal(parse_body("{\"changes\":[],\"format\":1," BODY_END, NULL), QN_OK);
    static const char *const wrong[] = {
        "[]",
        "{}",
        "{\"changes\":[], \"format\":1," BODY_END,
        "{\"format\":1,\"changes\":[]," BODY_END,
        "{\"changes\":[],\"extra\":1,\"format\":1," BODY_END,
        "{\"changes\":[],\"changes\":[],\"format\":1," BODY_END,
        "{\"changes\":[],\"format\":1.0," BODY_END,
        "{\"changes\":{},\"format\":1," BODY_END,
        "{\"changes\":[{}],\"format\":1," BODY_END,
        "{\"changes\":[{\"location\":\"a\",\"op\":\"remove\",\"pack\":\"../x\"}],\"format\":1," BODY_END,
        "{\"changes\":[{\"location\":\"\",\"op\":\"remove\",\"pack\":\"base\"}],\"format\":1," BODY_END,
        "{\"changes\":[{\"location\":\"\\u0061\",\"op\":\"remove\",\"pack\":\"base\"}],\"format\":1," BODY_END,
        "{\"changes\":[{\"kind\":\"config\",\"name\":\"a\",\"op\":\"set\",\"value\":1.5}],\"format\":1," BODY_END,
        "{\"changes\":[{\"kind\":\"other\",\"name\":\"a\",\"op\":\"unset\"}],\"format\":1," BODY_END,
        "{\"changes\":[{\"kind\":\"config\",\"name\":\"a\",\"op\":\"set\",\"value\":[[[[[[[[[1]]]]]]]]]}],\"format\":"
        "1," BODY_END,
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct qn_error err = QN_ERROR_INIT;
        if (parse_body(wrong[i], &err) != QN_ERR_DATA || err.status != QN_ERR_DATA) {
            fail_msg("%s: %s", wrong[i], err.message);
        }
    }
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(parse_body("{\"changes\":[],\"format\":2," BODY_END, &err), QN_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "a commit of format 2; this version reads format 1");
}

static void commit__refuses_to_write_what_would_leave_the_bundle(void **state)
{
    (void)state;
    static const char *const packs[] = { "", ".", "..", "a/b", "../a", "/", "a\\b", "a\nb", "\xff" };
    static const char *const formats[] = { "", "../x", "par/quet", "Parquet", "a.b", "aaaaaaaaaaaaaaaaa" };
    static const char *const hashes[] = { "", "..", HASH "0", "0123456789ABCDEF" };
    for (size_t i = 0;
         i < sizeof packs / sizeof *packs + sizeof formats / sizeof *formats + sizeof hashes / sizeof *hashes; i++) {
        struct qn_change changes[] = { block() };
        size_t n_packs = sizeof packs / sizeof *packs;
        size_t n_formats = sizeof formats / sizeof *formats;
        if (i < n_packs) {
            changes[0].pack = packs[i];
        } else if (i < n_packs + n_formats) {
            changes[0].format = formats[i - n_packs];
        } else {
            changes[0].sha256 = hashes[i - n_packs - n_formats];
        }
        struct qn_commit commit = with(changes, 1);
        qn_auto_buffer out = QN_BUFFER_INIT;
        assert_int_equal(qn_commit_encode(&commit, &out, NULL), QN_ERR_ARGUMENT);
        assert_int_equal(out.size, 0);
    }
    struct qn_change changes[] = { block() };
    changes[0].schema = 1;
    struct qn_commit commit = with(changes, 1);
    qn_auto_buffer out = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_commit_encode(&commit, &out, &err), QN_ERR_ARGUMENT);
    assert_string_equal(err.message, "change 0 of the commit: a schema that the commit does not have");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commit__bytes_are_those_of_the_document),
        cmocka_unit_test(commit__digest_is_sha256),
        cmocka_unit_test(commit__is_read_back),
        cmocka_unit_test(commit__refuses_every_flipped_bit_and_every_truncation),
        cmocka_unit_test(commit__refuses_bodies_that_are_not_canonical),
        cmocka_unit_test(commit__refuses_to_write_what_would_leave_the_bundle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
