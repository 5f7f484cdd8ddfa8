/* test_config.c: configurations: keys, typed options, URIs in and out. */
#include "base/text.h"
#include "db/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct qn_config *parse(const char *uri)
{
    struct qn_config *config = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_config_from_uri(uri, &config, &err) != QN_OK) {
        fail_msg("%s: %s", uri, err.message);
    }
    return config;
}

static size_t count(const struct qn_config *config)
{
    const char *key, *value;
    size_t n = 0;
    while (qn_config_at(config, n, &key, &value)) {
        n++;
    }
    return n;
}

static void assert_equal(const struct qn_config *a, const struct qn_config *b)
{
    const char *key, *value;
    assert_int_equal(count(a), count(b));
    for (size_t i = 0; qn_config_at(a, i, &key, &value); i++) {
        const char *other = qn_config_get(b, key);
        if (other == NULL) {
            fail_msg("no \"%s\"", key);
        }
        assert_string_equal(other, value);
    }
}

static void round_trip(const struct qn_config *config)
{
    char *uri = NULL;
    assert_int_equal(qn_config_to_uri(config, QN_PASSWORD_SHOWN, &uri, NULL), QN_OK);
    struct qn_config *again = parse(uri);
    assert_equal(config, again);
    qn_config_free(again);
    qn_free_text(uri);
}

/* `expected` is "key=value" pairs with newlines between them, besides the type. */
static void parses(const char *uri, const char *type, const char *expected)
{
    struct qn_config *config = parse(uri);
    assert_string_equal(qn_config_get(config, "type"), type);
    size_t pairs = 0;
    char text[1024];
    assert_true(strlen(expected) < sizeof text);
    strcpy(text, expected);
    char *rest = NULL;
    for (char *pair = strtok_r(text, "\n", &rest); pair != NULL; pair = strtok_r(NULL, "\n", &rest), pairs++) {
        char *equals = strchr(pair, '=');
        assert_non_null(equals);
        *equals = '\0';
        const char *value = qn_config_get(config, pair);
        if (value == NULL || !qn_text_equal(value, equals + 1)) {
            fail_msg("%s: %s is \"%s\", expected \"%s\"", uri, pair, value ? value : "(none)", equals + 1);
        }
    }
    assert_int_equal(count(config), pairs + 1);
    round_trip(config);
    qn_config_free(config);
}

static void refused(const char *uri, const char *message)
{
    struct qn_config *config = NULL;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_config_from_uri(uri, &config, &err);
    if (status != QN_ERR_CONFIG || strstr(err.message, message) == NULL) {
        fail_msg("%s: status %d, message \"%s\"", uri, (int)status, err.message);
    }
    assert_null(config);
    assert_null(strstr(err.message, "s3cret"));
    assert_null(strstr(err.hint, "s3cret"));
}

static void from_uri__reads_servers(void **state)
{
    (void)state;
    parses("postgresql://u:p@h:5432/db?sslmode=require", "postgres",
           "username=u\npassword=p\nhost=h\nport=5432\ndatabase=db\nsslmode=require");
    parses("postgres://h", "postgres", "host=h");
    parses("PostgreSQL://", "postgres", "");
    parses("postgresql:///db", "postgres", "database=db");
    parses("postgresql://u@/db", "postgres", "username=u\ndatabase=db");
    parses("postgresql://:5433/db", "postgres", "port=5433\ndatabase=db");
    parses("postgresql://h/", "postgres", "host=h");
    parses("postgresql://h?user=u&dbname=d", "postgres", "host=h\nusername=u\ndatabase=d");
    parses("postgresql://u:@h", "postgres", "username=u\npassword=\nhost=h");
    parses("postgresql://h/db?&a=1&&b=x=y&", "postgres", "host=h\ndatabase=db\na=1\nb=x=y");
}

static void from_uri__decodes_percent_and_utf8(void **state)
{
    (void)state;
    parses("postgresql://us%65r:p%40ss%2Fw%3A%25@h/d%20b%C3%A9", "postgres",
           "username=user\npassword=p@ss/w:%\nhost=h\ndatabase=d b\xC3\xA9");
    parses("postgresql://u:p@ss@h/db", "postgres", "username=u\npassword=p@ss\nhost=h\ndatabase=db");
    parses("postgresql://h/db?application_name=a+b%26c", "postgres", "host=h\ndatabase=db\napplication_name=a+b&c");
    parses("postgresql://\xC3\xBC:x@h", "postgres", "username=\xC3\xBC\npassword=x\nhost=h");
}

static void from_uri__reads_hosts_of_every_kind(void **state)
{
    (void)state;
    parses("postgresql://[::1]/db", "postgres", "host=::1\ndatabase=db");
    parses("postgresql://u@[2001:db8::1]:5433", "postgres", "username=u\nhost=2001:db8::1\nport=5433");
    parses("postgresql://a,b/db", "postgres", "host=a,b\ndatabase=db");
    parses("postgresql://a:1,b:2/db", "postgres", "host=a,b\nport=1,2\ndatabase=db");
    parses("postgresql://a,b:5433,[::1]:7/db", "postgres", "host=a,b,::1\nport=,5433,7\ndatabase=db");
    parses("postgresql://%2Frun%2Fpg/db", "postgres", "host=/run/pg\ndatabase=db");
    parses("postgresql://%2Frun%2Fpg:5433/db", "postgres", "host=/run/pg\nport=5433\ndatabase=db");
    parses("postgresql:///db?host=/run/pg", "postgres", "database=db\nhost=/run/pg");
    parses("postgresql:///db?host=a,b&port=5432", "postgres", "database=db\nhost=a,b\nport=5432");
}

static void from_uri__reads_files(void **state)
{
    (void)state;
    parses("sqlite:///rel.db", "sqlite", "path=rel.db");
    parses("sqlite:///dir/rel.db", "sqlite", "path=dir/rel.db");
    parses("sqlite:////abs/x.db", "sqlite", "path=/abs/x.db");
    parses("sqlite://./rel.db", "sqlite", "path=./rel.db");
    parses("sqlite://../rel.db", "sqlite", "path=../rel.db");
    parses("sqlite://demo.db", "sqlite", "path=demo.db");
    parses("sqlite://:memory:", "sqlite", "path=:memory:");
    parses("sqlite:///:memory:", "sqlite", "path=:memory:");
    parses("sqlite:///a%20b%3Fc%23.db?read_only=true&timeout=5s", "sqlite",
           "path=a b?c#.db\nread_only=true\ntimeout=5s");
    parses("sqlite:///x#y@z:1.db", "sqlite", "path=x#y@z:1.db");
}

static void from_uri__refuses_with_a_reason(void **state)
{
    (void)state;
    refused("", "no ://");
    refused("just/a/path.db", "no ://");
    refused("://h", "is not a scheme");
    refused("oracle://u:s3cret@h/db", "\"oracle\" is unknown; known are: postgres, sqlite");
    refused("u:s3cret@h://x", "is not a scheme");
    refused("postgresql+psycopg2://u:s3cret@h/db", "drop the +driver");
    refused("sqlite+pysqlite:///x.db", "drop the +driver");
    refused("sqlite://", "names no file");
    refused("sqlite:///", "names no file");
    refused("sqlite:///?timeout=5", "names no file");
    refused("postgresql://u:s3cret%zz@h/db", "a % in the password");
    refused("postgresql://u:s3cret%4@h/db", "a % in the password");
    refused("postgresql://u:s3cret%@h/db", "a % in the password");
    refused("postgresql://u:s3cret%00@h/db", "holds %00");
    refused("postgresql://u:s3cret%ff@h/db", "password is not valid UTF-8");
    refused("postgresql://u:s3cret@h:port/db", "\"port\" is not a number from 1 to 65535");
    refused("postgresql://u:s3cret@h:0/db", "\"0\" is not a number");
    refused("postgresql://u:s3cret@h:65536/db", "\"65536\" is not a number");
    refused("postgresql://h:99999999999999999999/db", "is not a number");
    refused("postgresql://u:s3cret@::1:5432/db", "more than one :");
    refused("postgresql://u:s3cret@[::1/db", "has no ]");
    refused("postgresql://u:s3cret@[]/db", "[] is empty");
    refused("postgresql://u:s3cret@[::1]x/db", "only :port");
    refused("postgresql://a%2Cb/db", "holds a comma");
    refused("postgresql://u:s3cret@h/db?sslmode", "\"sslmode\" has no value");
    refused("postgresql://u:s3cret@h/db?=x", "has no name");
    refused("postgresql://u:s3cret@h/db?a=1&a=2", "\"a\" is given twice");
    refused("postgresql://u:s3cret@h/db?password=s3cret", "\"password\" is given twice");
    refused("postgresql://u:s3cret@h/db?type=sqlite", "the scheme says");
}

static void from_uri__refuses_one_that_is_too_long(void **state)
{
    (void)state;
    static char uri[QN_URI_MAX + 2];
    memset(uri, 'a', sizeof uri - 1);
    memcpy(uri, "postgresql://", 13);
    refused(uri, "longer than 65536 bytes");
    uri[QN_URI_MAX] = '\0';
    struct qn_config *config = parse(uri);
    assert_int_equal(strlen(qn_config_get(config, "host")), QN_URI_MAX - 13);
    qn_config_free(config);
}

static void uri_is(const struct qn_config *config, enum qn_password_shown shown, const char *expected)
{
    char *uri = NULL;
    assert_int_equal(qn_config_to_uri(config, shown, &uri, NULL), QN_OK);
    assert_string_equal(uri, expected);
    qn_free_text(uri);
}

static void to_uri__masks_every_secret(void **state)
{
    (void)state;
    struct qn_config *config = parse("postgresql://u:s3cret@h:1/d?sslpassword=s3cret&sslmode=require");
    uri_is(config, QN_PASSWORD_MASKED, "postgresql://u:***@h:1/d?sslpassword=***&sslmode=require");
    uri_is(config, QN_PASSWORD_SHOWN, "postgresql://u:s3cret@h:1/d?sslpassword=s3cret&sslmode=require");
    qn_config_free(config);
}

static void to_uri__writes_sqlites_slashes(void **state)
{
    (void)state;
    struct qn_config *config = NULL;
    assert_int_equal(qn_config_new("sqlite", &config, NULL), QN_OK);
    char *uri = NULL;
    assert_int_equal(qn_config_to_uri(config, QN_PASSWORD_SHOWN, &uri, NULL), QN_ERR_CONFIG);
    assert_int_equal(qn_config_set(config, "path", "/a b/x.db", NULL), QN_OK);
    uri_is(config, QN_PASSWORD_SHOWN, "sqlite:////a%20b/x.db");
    assert_int_equal(qn_config_set(config, "path", "x.db", NULL), QN_OK);
    uri_is(config, QN_PASSWORD_SHOWN, "sqlite:///x.db");
    assert_int_equal(qn_config_set(config, "path", ":memory:", NULL), QN_OK);
    uri_is(config, QN_PASSWORD_SHOWN, "sqlite://:memory:");
    assert_int_equal(qn_config_set(config, "path", "", NULL), QN_OK);
    round_trip(config);
    qn_config_free(config);
}

/* A generator of our own, so that a failure repeats: the seed is in the message. */
static uint32_t random_below(uint64_t *seed, uint32_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % n;
}

static const char *random_text(uint64_t *seed, char out[40])
{
    static const char *const pieces[] = {
        "a", "Z", "0",        "/", "//", ":",  "@",  "%", "?",  "&", "=",  "#",  "+", " ",  ",",
        "[", "]", "\xC3\xA9", "*", ".",  "..", "\"", "'", "\\", ";", "\n", "<>", "~", "{}", "\xF0\x9F\x90\x98"
    };
    size_t used = 0;
    for (uint32_t n = random_below(seed, 7); n > 0; n--) {
        const char *piece = pieces[random_below(seed, sizeof pieces / sizeof pieces[0])];
        memcpy(out + used, piece, strlen(piece));
        used += strlen(piece);
    }
    out[used] = '\0';
    return out;
}

static void uri__round_trips_random_configurations(void **state)
{
    (void)state;
    static const char *const keys[] = { "host", "port",  "database", "username", "password",
                                        "path", "a b=&", "sslmode",  "%41",      "\xC3\xBC" };
    static const char *const ports[] = { "5432", "1,2", ",7", ",", "65535", "1,,3" };
    uint64_t seed = 20261121;
    for (int i = 0; i < 20000; i++) {
        struct qn_config *config = NULL;
        char text[40];
        assert_int_equal(qn_config_new(i % 3 == 0 ? "sqlite" : "postgres", &config, NULL), QN_OK);
        if (i % 3 == 0) {
            assert_int_equal(qn_config_set(config, "path", random_text(&seed, text), NULL), QN_OK);
        }
        for (uint32_t n = random_below(&seed, 8); n > 0; n--) {
            const char *key = keys[random_below(&seed, sizeof keys / sizeof keys[0])];
            const char *value = qn_text_equal(key, "port") ? ports[random_below(&seed, 6)] : random_text(&seed, text);
            assert_int_equal(qn_config_set(config, key, value, NULL), QN_OK);
        }
        round_trip(config);
        qn_config_free(config);
    }
}

static void set__resolves_aliases_and_removes(void **state)
{
    (void)state;
    struct qn_config *config = NULL;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_config_new("postgresql", &config, NULL), QN_OK);
    assert_string_equal(qn_config_get(config, "db_type"), "postgres");
    assert_int_equal(qn_config_set(config, "user", "u", NULL), QN_OK);
    assert_int_equal(qn_config_set(config, "server", "h", NULL), QN_OK);
    assert_int_equal(qn_config_set(config, "dbname", "d", NULL), QN_OK);
    assert_string_equal(qn_config_get(config, "username"), "u");
    assert_string_equal(qn_config_get(config, "host"), "h");
    assert_string_equal(qn_config_get(config, "database"), "d");
    assert_int_equal(qn_config_set(config, "user", NULL, NULL), QN_OK);
    assert_null(qn_config_get(config, "username"));
    assert_int_equal(count(config), 3);
    assert_int_equal(qn_config_set(config, "type", NULL, &err), QN_ERR_CONFIG);
    assert_int_equal(qn_config_set(config, "type", "nosuch", &err), QN_ERR_CONFIG);
    assert_non_null(strstr(err.message, "known are: postgres, sqlite"));
    assert_int_equal(qn_config_set(config, "port", "x", &err), QN_ERR_CONFIG);
    assert_int_equal(qn_config_set(config, "", "x", &err), QN_ERR_ARGUMENT);
    assert_int_equal(qn_config_set(config, "a", "\xff", &err), QN_ERR_CONFIG);
    qn_config_free(config);
}

static void set__stops_at_the_most_keys(void **state)
{
    (void)state;
    struct qn_config *config = NULL;
    char key[16];
    assert_int_equal(qn_config_new("sqlite", &config, NULL), QN_OK);
    for (int i = 1; i < QN_CONFIG_MAX_KEYS; i++) {
        (void)snprintf(key, sizeof key, "key%d", i);
        assert_int_equal(qn_config_set(config, key, "1", NULL), QN_OK);
    }
    assert_int_equal(qn_config_set(config, "one_more", "1", NULL), QN_ERR_CONFIG);
    assert_int_equal(qn_config_set(config, "key7", "2", NULL), QN_OK);
    assert_string_equal(qn_config_get(config, "key7"), "2");
    qn_config_free(config);
}

static void duration_is(const char *text, int64_t expected)
{
    struct qn_config *config = NULL;
    struct qn_error err = QN_ERROR_INIT;
    int64_t ms = -7;
    assert_int_equal(qn_config_new("sqlite", &config, NULL), QN_OK);
    assert_int_equal(qn_config_set(config, "timeout", text, NULL), QN_OK);
    enum qn_status status = qn_config_duration_ms(config, "timeout", 0, &ms, &err);
    if (expected < 0) {
        assert_int_equal(status, QN_ERR_CONFIG);
        assert_non_null(strstr(err.message, "timeout"));
        assert_int_equal(ms, -7);
    } else {
        assert_int_equal(status, QN_OK);
        assert_int_equal(ms, expected);
    }
    qn_config_free(config);
}

static void options__are_typed(void **state)
{
    (void)state;
    struct qn_config *config = parse("sqlite:///x?yes=on&no=FALSE&bad=maybe&n=42&big=99999999999999999999");
    struct qn_error err = QN_ERROR_INIT;
    bool flag = false;
    int64_t number = 0;
    assert_int_equal(qn_config_bool(config, "yes", false, &flag, NULL), QN_OK);
    assert_true(flag);
    assert_int_equal(qn_config_bool(config, "no", true, &flag, NULL), QN_OK);
    assert_false(flag);
    assert_int_equal(qn_config_bool(config, "absent", true, &flag, NULL), QN_OK);
    assert_true(flag);
    assert_int_equal(qn_config_bool(config, "bad", true, &flag, &err), QN_ERR_CONFIG);
    assert_non_null(strstr(err.message, "bad: \"maybe\""));
    assert_int_equal(qn_config_int64(config, "n", 0, 1, 42, &number, NULL), QN_OK);
    assert_int_equal(number, 42);
    assert_int_equal(qn_config_int64(config, "n", 0, 1, 41, &number, &err), QN_ERR_CONFIG);
    assert_int_equal(qn_config_int64(config, "big", 0, INT64_MIN, INT64_MAX, &number, &err), QN_ERR_CONFIG);
    assert_int_equal(qn_config_int64(config, "absent", 5, 0, 9, &number, NULL), QN_OK);
    assert_int_equal(number, 5);
    qn_config_free(config);
}

static void durations__have_units(void **state)
{
    (void)state;
    duration_is("30", 30000);
    duration_is("1.5", 1500);
    duration_is("0.001", 1);
    duration_is("500ms", 500);
    duration_is("30s", 30000);
    duration_is("5m", 300000);
    duration_is("0.5h", 1800000);
    duration_is("0", 0);
    duration_is("2147483647ms", INT32_MAX);
    duration_is("2147483648ms", -1);
    duration_is("0.0001", -1);
    duration_is("1.5ms", -1);
    duration_is("", -1);
    duration_is("-1", -1);
    duration_is("1.", -1);
    duration_is(".5", -1);
    duration_is("1 s", -1);
    duration_is("1d", -1);
    duration_is("99999999999999999999", -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_uri__reads_servers),
        cmocka_unit_test(from_uri__decodes_percent_and_utf8),
        cmocka_unit_test(from_uri__reads_hosts_of_every_kind),
        cmocka_unit_test(from_uri__reads_files),
        cmocka_unit_test(from_uri__refuses_with_a_reason),
        cmocka_unit_test(from_uri__refuses_one_that_is_too_long),
        cmocka_unit_test(to_uri__masks_every_secret),
        cmocka_unit_test(to_uri__writes_sqlites_slashes),
        cmocka_unit_test(uri__round_trips_random_configurations),
        cmocka_unit_test(set__resolves_aliases_and_removes),
        cmocka_unit_test(set__stops_at_the_most_keys),
        cmocka_unit_test(options__are_typed),
        cmocka_unit_test(durations__have_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
