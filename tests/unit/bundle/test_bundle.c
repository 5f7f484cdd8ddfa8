/*
 * test_bundle.c: a handle from the outside: versions, what is pending, configuration, connectors by name, sources.
 */
#include "bundle_handle.h"

#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#define HANDLE_TEST(name) cmocka_unit_test_setup_teardown(name, make_bundle_folder, remove_bundle_folder)

static void expect_error(enum qn_status status, enum qn_status expected, const struct qn_error *err, const char *part)
{
    if (status != expected || strstr(err->message, part) == NULL) {
        print_message("%s: %s\n", qn_status_name(status), err->message);
    }
    assert_int_equal(status, expected);
    assert_non_null(strstr(err->message, part));
}

static json_t *document(struct qn_bundle *bundle,
                        enum qn_status (*call)(struct qn_bundle *, char **, struct qn_error *))
{
    char *text = NULL;
    assert_int_equal(call(bundle, &text, NULL), QN_OK);
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    qn_text_free(text);
    return value;
}

static void bundle__is_made_and_opened(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_bundle_version(bundle), 0);
    assert_int_equal(commit(bundle, "nothing"), 0); /* nothing pending: no version */
    put(bundle, "base", "a", "1");
    assert_int_equal(commit(bundle, "first"), 1);
    struct qn_bundle *again = NULL;
    expect_error(qn_bundle_create(bundle_path, NULL, &again, &err), QN_ERR_CONFIG, &err, "there is one in this folder");
    expect_error(qn_bundle_open("/tmp/qanat-no-such-folder", NULL, &again, &err), QN_ERR_CONFIG, &err,
                 "bundle \"/tmp/qanat-no-such-folder\": there is no bundle");
    assert_null(again);
    again = open_handle(NULL);
    assert_int_equal(qn_bundle_version(again), 1);
    char *one = text_of(bundle);
    char *two = text_of(again);
    assert_string_equal(one, two);
    free(one);
    free(two);
    qn_bundle_free(again);
    qn_bundle_free(bundle);
    qn_bundle_free(NULL);
}

static void bundle__folders_above_it_are_made(void **state)
{
    (void)state;
    char path[128];
    struct qn_bundle *bundle = NULL;
    struct qn_error err = QN_ERROR_INIT;
    (void)snprintf(path, sizeof path, "%s/my/data/", bundle_path);
    assert_int_equal(qn_bundle_create(path, NULL, &bundle, &err), QN_OK);
    qn_bundle_free(bundle);
    assert_int_equal(faccessat(bundle_fd, "my/data/_qanat/log", F_OK, 0), 0);
    (void)snprintf(path, sizeof path, "%s/my/data/_qanat/head/below", bundle_path);
    expect_error(qn_bundle_create(path, NULL, &bundle, &err), QN_ERR_IO, &err, "making the folder");
}

/* trace: B14 */
static void bundle__opens_at_a_number_a_hash_or_a_time(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    char *texts[4];
    for (int i = 1; i <= 3; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%d", i);
        put(bundle, "base", name, name);
        assert_int_equal(commit(bundle, name), i);
        texts[i] = text_of(bundle);
    }
    for (int i = 1; i <= 3; i++) {
        char hash[QN_SHA256_TEXT_SIZE];
        char number[8];
        char second[64];
        qn_sha256_format(qn_commit_log_hash(bundle->log, i), hash);
        (void)snprintf(number, sizeof number, "%d", i);
        int64_t micros = qn_commit_log_timestamp(bundle->log, i);
        time_t whole = micros / 1000000;
        struct tm parts;
        assert_non_null(gmtime_r(&whole, &parts));
        size_t used = strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &parts);
        (void)snprintf(second + used, sizeof second - used, ".%06dZ", (int)(micros % 1000000));
        const char *const names[] = { number, hash, second };
        for (size_t k = 0; k < 3; k++) {
            struct qn_bundle *old = open_handle(names[k]);
            assert_int_equal(qn_bundle_version(old), i);
            char *text = text_of(old);
            assert_string_equal(text, texts[i]);
            free(text);
            if (i < 3) {
                expect_error(try_put(old, "base", "x", "x", &err), QN_ERR_CONFIG, &err, "read-only");
                assert_int_equal(qn_bundle_refresh(old, &err), QN_OK);
                assert_int_equal(qn_bundle_version(old), i);
            } else {
                put(old, "base", "x", "x"); /* the newest one by name can be changed */
            }
            qn_bundle_free(old);
        }
        free(texts[i]);
    }
    static const struct {
        const char *version;
        const char *part;
    } wrong[] = {
        { "4", "there is no version 4 (there are 0 to 3)" },
        { "1999-12-31T00:00:00Z", "the bundle is younger" },
        { "2100-01-31T00:00:00", "needs an offset" },
        { "xyz", "not the beginning of a hash" },
        { "", "not the beginning of a hash" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct qn_bundle_options options = QN_BUNDLE_OPTIONS_INIT;
        struct qn_bundle *none = NULL;
        options.version = wrong[i].version;
        expect_error(qn_bundle_open(bundle_path, &options, &none, &err), QN_ERR_ARGUMENT, &err, wrong[i].part);
    }
    qn_bundle_free(bundle);
}

/* ---- what is pending -------------------------------------------------------------------------------------------- */

static void pending__is_seen_undone_and_reset(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    int64_t undone = -1;
    put(bundle, "base", "a", "1");
    put(bundle, "base", "b", "2");
    (void)commit(bundle, "x");
    char *before = text_of(bundle);
    put(bundle, "base", "a", "other");
    put(bundle, "base", "b", NULL);
    assert_int_equal(qn_bundle_set_checkpoint(bundle, "task", " { \"b\" : 1, \"a\" : [ ] } ", NULL), QN_OK);
    json_t *status = document(bundle, qn_bundle_status);
    json_t *operations = json_object_get(status, "operations");
    assert_int_equal(json_integer_value(json_object_get(status, "version")), 1);
    assert_int_equal(json_array_size(operations), 3);
    json_t *last = json_array_get(operations, 2);
    assert_string_equal(json_string_value(json_object_get(last, "operation")), "set_checkpoint");
    json_decref(status);
    char *value = NULL;
    assert_int_equal(qn_bundle_checkpoint(bundle, "task", &value, NULL), QN_OK);
    assert_string_equal(value, "{\"a\":[],\"b\":1}");
    qn_text_free(value);
    assert_int_equal(qn_bundle_undo(bundle, &undone, NULL), QN_OK);
    assert_int_equal(undone, 1);
    assert_int_equal(qn_bundle_checkpoint(bundle, "task", &value, NULL), QN_OK);
    assert_null(value);
    assert_true(bundle->lock_fd >= 0); /* a block is pending */
    assert_int_equal(qn_bundle_reset(bundle, &undone, NULL), QN_OK);
    assert_int_equal(undone, 2);
    assert_int_equal(bundle->lock_fd, -1);
    char *after = text_of(bundle);
    assert_string_equal(after, before);
    assert_int_equal(qn_bundle_undo(bundle, &undone, NULL), QN_OK);
    assert_int_equal(undone, 0);
    assert_int_equal(commit(bundle, "nothing"), 1);
    free(before);
    free(after);
    qn_bundle_free(bundle);
}

/* What a commit holds of a series of changes; the handle's state is the one that the log gives. */
static void pending__several_changes_of_one_thing_are_one(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    put(bundle, "base", "kept", "1");
    put(bundle, "base", "removed", "1");
    put(bundle, "base", "again", "1");
    (void)commit(bundle, "first");
    put(bundle, "base", "new", "1");
    put(bundle, "base", "new", "2"); /* added */
    put(bundle, "base", "passing", "1");
    put(bundle, "base", "passing", NULL); /* nothing */
    put(bundle, "base", "removed", "2");
    put(bundle, "base", "removed", NULL); /* removed */
    put(bundle, "base", "again", NULL);
    put(bundle, "base", "again", "1"); /* replaced */
    assert_int_equal(qn_bundle_set_checkpoint(bundle, "task", "1", NULL), QN_OK);
    assert_int_equal(qn_bundle_set_checkpoint(bundle, "task", NULL, NULL), QN_OK); /* nothing */
    assert_int_equal(commit(bundle, "second"), 2);
    struct qn_commit made;
    assert_int_equal(qn_commit_log_read(bundle->log, 2, &made, NULL), QN_OK);
    assert_int_equal(made.n_changes, 3);
    assert_int_equal(made.n_schemas, 2);
    static const struct {
        enum qn_change_kind kind;
        const char *location;
    } expected[] = { { QN_CHANGE_ADD, "new" }, { QN_CHANGE_REMOVE, "removed" }, { QN_CHANGE_REPLACE, "again" } };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(made.changes[i].kind, expected[i].kind);
        assert_string_equal(made.changes[i].location, expected[i].location);
    }
    qn_commit_dispose(&made);
    char *ours = text_of(bundle);
    char *logged = text_of_log(bundle, 2);
    assert_string_equal(ours, logged);
    free(ours);
    free(logged);
    put(bundle, "base", "passing", "1");
    put(bundle, "base", "passing", NULL);
    assert_int_equal(commit(bundle, "nothing is left"), 2);
    qn_bundle_free(bundle);
    expect_no_problem();
}

static void pending__refuses_what_no_commit_can_hold(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    put(bundle, "base", "a", "1");
    char *before = text_of(bundle);
    static const char *const packs[] = { "", ".", "..", "a/b", "a\\b", "a\nb", "\xff" };
    for (size_t i = 0; i < sizeof packs / sizeof *packs; i++) {
        expect_error(try_put(bundle, packs[i], "x", "x", &err), QN_ERR_ARGUMENT, &err, "not a name of a pack");
        expect_error(qn_bundle_set_checkpoint(bundle, packs[i], "1", &err), QN_ERR_ARGUMENT, &err,
                     "not a name of a checkpoint");
    }
    expect_error(try_put(bundle, "base", "", "x", &err), QN_ERR_ARGUMENT, &err, "the location is empty");
    expect_error(try_put(bundle, "base", "none", NULL, &err), QN_ERR_DATA, &err, "which is not there");
    expect_error(qn_bundle_set_checkpoint(bundle, "t", "1.5", &err), QN_ERR_ARGUMENT, &err, "no fractions");
    expect_error(qn_bundle_set_checkpoint(bundle, "t", "{", &err), QN_ERR_ARGUMENT, &err, "not JSON");
    char *after = text_of(bundle);
    assert_string_equal(after, before); /* and the operation before is still there */
    put(bundle, "base", "../../etc/passwd\n", "any text is a location");
    assert_int_equal(commit(bundle, "x"), 1);
    free(before);
    free(after);
    qn_bundle_free(bundle);
    expect_no_problem();
    assert_int_equal(count_beginning(".", ""), 2); /* data and _qanat */
}

static void handle__is_of_one_thread_and_one_process(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn__bundle_enter(bundle, QN__BUNDLE_READS, NULL), QN_OK); /* as a thread that is in a call */
    expect_error(qn_bundle_refresh(bundle, &err), QN_ERR_BUSY, &err, "in use by another thread");
    expect_error(qn_bundle_commit(bundle, "x", NULL, &err), QN_ERR_BUSY, &err, "in use by another thread");
    qn__bundle_leave(bundle);
    assert_int_equal(qn_bundle_refresh(bundle, &err), QN_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        enum qn_status status = qn_bundle_refresh(bundle, NULL);
        qn_bundle_free(bundle);
        _exit(status == QN_ERR_CLOSED ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    qn_bundle_free(bundle);
}

/* ---- configuration ---------------------------------------------------------------------------------------------- */

static void expect_config(struct qn_bundle *bundle, const char *key, const char *expected)
{
    char *value = NULL;
    assert_int_equal(qn_bundle_config(bundle, key, &value, NULL), QN_OK);
    if (expected == NULL) {
        assert_null(value);
    } else {
        assert_string_equal(value, expected);
    }
    qn_text_free(value);
}

static void config__set_counts_more_than_passed_than_environment_than_stored(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    expect_config(bundle, "some.key", NULL);
    assert_int_equal(qn_bundle_set_config(bundle, "some.key", "stored", true, NULL), QN_OK);
    (void)commit(bundle, "x");
    qn_bundle_free(bundle);
    struct qn_bundle_options options = QN_BUNDLE_OPTIONS_INIT;
    bundle = open_handle(NULL);
    expect_config(bundle, "some.key", "stored");
    assert_int_equal(setenv("QANAT_SOME_KEY", "environment", 1), 0);
    expect_config(bundle, "some.key", "environment");
    qn_bundle_free(bundle);
    options.config = "{\"some\": {\"key\": \"passed\", \"flag\": true, \"number\": 3}}";
    assert_int_equal(qn_bundle_open(bundle_path, &options, &bundle, NULL), QN_OK);
    expect_config(bundle, "some.key", "passed");
    expect_config(bundle, "some.flag", "true");
    expect_config(bundle, "some.number", "3");
    assert_int_equal(qn_bundle_set_config(bundle, "some.key", "set", false, NULL), QN_OK);
    expect_config(bundle, "some.key", "set");
    assert_int_equal(qn_bundle_set_config(bundle, "some.key", NULL, false, NULL), QN_OK);
    expect_config(bundle, "some.key", "passed");
    assert_int_equal(unsetenv("QANAT_SOME_KEY"), 0);
    qn_bundle_free(bundle);
    bundle = open_handle(NULL);
    assert_int_equal(qn_bundle_set_config(bundle, "some.key", NULL, true, NULL), QN_OK);
    (void)commit(bundle, "unset");
    qn_bundle_free(bundle);
    bundle = open_handle(NULL);
    expect_config(bundle, "some.key", NULL);
    qn_bundle_free(bundle);
}

static void config__a_bundle_grants_itself_no_rights(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    const char *key = "system.allow_external_code";
    expect_error(qn_bundle_set_config(bundle, key, "true", true, &err), QN_ERR_CONFIG, &err, "not kept in a bundle");
    /* A stranger's bundle may say it all the same. */
    const struct qn_change change = {
        .kind = QN_CHANGE_SET, .object = QN_OBJECT_CONFIG, .name = key, .value = "\"true\""
    };
    assert_int_equal(qn__bundle_begin(bundle, "x", NULL), QN_OK);
    assert_int_equal(qn__bundle_close(bundle, qn__bundle_add(bundle, &change, NULL, NULL)), QN_OK);
    (void)commit(bundle, "x");
    expect_config(bundle, key, NULL);
    expect_error(qn_bundle_import_connector(bundle, "a.b", "ipc::sh", NULL, false, &err), QN_OK, &err, "");
    expect_error(qn_bundle_create_source(bundle, "a.b", NULL, "base", NULL, NULL, &err), QN_ERR_FORBIDDEN, &err,
                 "External code execution is disabled");
    assert_non_null(strstr(err.hint, "QANAT_SYSTEM_ALLOW_EXTERNAL_CODE=true"));
    assert_int_equal(qn_bundle_set_config(bundle, key, "maybe", false, NULL), QN_OK);
    expect_error(qn_bundle_create_source(bundle, "a.b", NULL, "base", NULL, NULL, &err), QN_ERR_CONFIG, &err,
                 "not true or false");
    assert_int_equal(qn_bundle_set_config(bundle, key, "true", false, NULL), QN_OK);
    char *id = NULL;
    expect_error(qn_bundle_create_source(bundle, "a.b", NULL, "base", NULL, &id, &err), QN_OK, &err, "");
    qn_text_free(id);
    assert_int_equal(qn_bundle_set_config(bundle, "system.connector_timeout", "1e5", false, NULL), QN_OK);
    expect_error(qn_bundle_create_source(bundle, "a.b", NULL, "base", NULL, NULL, &err), QN_ERR_CONFIG, &err,
                 "not a number from");
    qn_bundle_free(bundle);
}

static void config__refuses_what_is_no_configuration(void **state)
{
    (void)state;
    static const char *const wrong[] = { "[]",
                                         "{",
                                         "{\"a\": 1}",
                                         "{\"a\": {\"b\": null}}",
                                         "{\"a\": {\"b.c\": \"x\"}}",
                                         "{\"\": {\"b\": \"x\"}}",
                                         "{\"a\": {\"b c\": \"x\"}}" };
    static const char *const keys[] = { "", "a", "a.", ".b", "a.b.c", "a b.c", "a.\n" };
    struct qn_bundle *bundle = new_handle();
    char beside[PATH_MAX];
    (void)snprintf(beside, sizeof beside, "%s beside", bundle_path);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct qn_bundle_options options = QN_BUNDLE_OPTIONS_INIT;
        struct qn_bundle *none = NULL;
        options.config = wrong[i];
        assert_int_equal(qn_bundle_open(bundle_path, &options, &none, NULL), QN_ERR_CONFIG);
        assert_int_equal(qn_bundle_create(beside, &options, &none, NULL), QN_ERR_CONFIG);
        assert_int_equal(access(beside, F_OK), -1); /* nothing is made of it */
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *value = NULL;
        assert_int_equal(qn_bundle_config(bundle, keys[i], &value, NULL), QN_ERR_CONFIG);
        assert_int_equal(qn_bundle_set_config(bundle, keys[i], "x", false, NULL), QN_ERR_CONFIG);
    }
    qn_bundle_free(bundle);
}

static void config__refuses_keys_of_the_system_that_there_are_not(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_bundle_options options = QN_BUNDLE_OPTIONS_INIT;
    struct qn_bundle *none = NULL;
    struct qn_error err = QN_ERROR_INIT;
    options.config = "{\"system\": {\"allow_external_cod\": \"true\"}}";
    expect_error(qn_bundle_open(bundle_path, &options, &none, &err), QN_ERR_CONFIG, &err,
                 "did you mean \"system.allow_external_code\"?");
    expect_error(qn_bundle_set_config(bundle, "system.colour", "x", false, &err), QN_ERR_CONFIG, &err,
                 "there is no \"system.colour\" in the configuration");
    assert_string_equal(err.hint,
                        "the section \"system\" has allow_external_code, connector_timeout and fetch_parallel");
    assert_int_equal(qn_bundle_set_config(bundle, "systems.colour", "x", false, NULL), QN_OK);
    char *value = NULL;
    expect_error(qn_bundle_config(bundle, "system.fetch_paralell", &value, &err), QN_ERR_CONFIG, &err,
                 "did you mean \"system.fetch_parallel\"?");
    qn_bundle_free(bundle);
}

static void config__refuses_variables_of_the_system_that_there_are_not(void **state)
{
    (void)state;
    qn_bundle_free(new_handle());
    struct qn_bundle *none = NULL;
    struct qn_error err = QN_ERROR_INIT;
    char endless[1000];
    memset(endless, 'X', sizeof endless - 1);
    memcpy(endless, "QANAT_SYSTEM_", strlen("QANAT_SYSTEM_"));
    endless[sizeof endless - 1] = '\0';
    assert_int_equal(setenv("QANAT_SYSTEM_ALOW_EXTERNAL_CODE", "true", 1), 0);
    enum qn_status status = qn_bundle_open(bundle_path, NULL, &none, &err);
    assert_int_equal(unsetenv("QANAT_SYSTEM_ALOW_EXTERNAL_CODE"), 0);
    expect_error(status, QN_ERR_CONFIG, &err,
                 "there is no setting QANAT_SYSTEM_ALOW_EXTERNAL_CODE in the environment; did you mean "
                 "QANAT_SYSTEM_ALLOW_EXTERNAL_CODE?");
    assert_string_equal(err.hint, "there are QANAT_SYSTEM_ALLOW_EXTERNAL_CODE, QANAT_SYSTEM_CONNECTOR_TIMEOUT and "
                                  "QANAT_SYSTEM_FETCH_PARALLEL");
    assert_int_equal(setenv(endless, "", 1), 0);
    status = qn_bundle_open(bundle_path, NULL, &none, &err);
    assert_int_equal(unsetenv(endless), 0);
    expect_error(status, QN_ERR_CONFIG, &err, "there is no setting QANAT_SYSTEM_XXX");
    assert_int_equal(setenv("QANAT_SYSTEM_FETCH_PARALLEL", "3", 1), 0);
    assert_int_equal(setenv("QANAT_SYSTEMS_COLOUR", "x", 1), 0); /* another section, of anybody's */
    struct qn_bundle *bundle = NULL;
    assert_int_equal(qn_bundle_open(bundle_path, NULL, &bundle, &err), QN_OK);
    assert_int_equal(unsetenv("QANAT_SYSTEM_FETCH_PARALLEL"), 0);
    assert_int_equal(unsetenv("QANAT_SYSTEMS_COLOUR"), 0);
    qn_bundle_free(bundle);
}

/* ---- connectors and sources ------------------------------------------------------------------------------------- */

static char *uri_of(struct qn_bundle *bundle, const char *name, struct qn_error *err)
{
    char *uri = NULL;
    assert_true(qn__bundle_connector_uri(bundle, name, &uri, err) == QN_OK || uri == NULL);
    return uri;
}

static void expect_uri(struct qn_bundle *bundle, const char *name, const char *expected)
{
    char *uri = uri_of(bundle, name, NULL);
    assert_string_equal(uri, expected);
    free(uri);
}

static const char *our_platform(void)
{
    struct utsname facts;
    assert_int_equal(uname(&facts), 0);
    if (strcmp(facts.machine, "x86_64") == 0) {
        return "linux/amd64";
    }
    return strcmp(facts.machine, "aarch64") == 0 ? "linux/arm64" : NULL;
}

static void connectors__are_found_by_name_and_platform(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    const char *ours = our_platform();
    if (ours == NULL) {
        print_message("skipped: a machine whose platform the test does not know\n");
        qn_bundle_free(bundle);
        skip();
    }
    assert_int_equal(qn_bundle_import_connector(bundle, "a.b", "ipc::sh -c other", "plan9/mips", false, NULL), QN_OK);
    assert_null(uri_of(bundle, "a.b", &err));
    assert_non_null(strstr(err.message, "is not there for this platform, "));
    assert_non_null(strstr(err.message, "but for plan9/mips"));
    assert_int_equal(qn_bundle_import_connector(bundle, "a.b", "ipc::sh -c any", NULL, false, NULL), QN_OK);
    expect_uri(bundle, "a.b", "ipc::sh -c any");
    assert_int_equal(qn_bundle_import_connector(bundle, "a.b", "ipc::sh -c ours", ours, false, NULL), QN_OK);
    expect_uri(bundle, "a.b", "ipc::sh -c ours");
    assert_int_equal(qn_bundle_import_connector(bundle, "a.b", "ipc::sh -c mine", NULL, true, NULL), QN_OK);
    expect_uri(bundle, "a.b", "ipc::sh -c mine"); /* this handle's counts more */
    (void)commit(bundle, "x");
    struct qn_bundle *again = open_handle(NULL);
    expect_uri(again, "a.b", "ipc::sh -c ours");
    assert_int_equal(qn_bundle_drop_connector(again, "a.b", ours, false, NULL), QN_OK);
    expect_uri(again, "a.b", "ipc::sh -c any");
    expect_error(qn_bundle_drop_connector(again, "a.b", ours, false, &err), QN_ERR_CONFIG, &err,
                 "not imported for platform");
    assert_int_equal(qn_bundle_drop_connector(again, "a.b", NULL, false, NULL), QN_OK);
    assert_null(uri_of(again, "a.b", &err));
    assert_non_null(strstr(err.message, "connector \"a.b\" is unknown"));
    expect_error(qn_bundle_drop_connector(again, "a.b", NULL, false, &err), QN_ERR_CONFIG, &err, "is unknown");
    qn_bundle_free(again);
    assert_int_equal(qn_bundle_drop_connector(bundle, "a.b", NULL, true, NULL), QN_OK);
    expect_uri(bundle, "a.b", "ipc::sh -c ours");
    expect_uri(bundle, "files", "files");
    qn_bundle_free(bundle);
}

static void connectors__refuse_names_and_files_that_are_wrong(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    static const char *const names[] = { "", "a", "a.", ".b", "a.b.c", "a/b.c", "a .b", "a\n.b", "." };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        expect_error(qn_bundle_import_connector(bundle, names[i], "ipc::sh", NULL, i % 2 == 0, &err), QN_ERR_CONFIG,
                     &err, "exactly one dot");
    }
    static const char *const missing[] = { "ffi::./no-such.so", "ffi::./no-such.so:symbol", "java::no-such.jar -v",
                                           "ipc::no_such.py",   "ipc::no-such-program x",   "ipc::./no-such x",
                                           "cassette::no-such" };
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        expect_error(qn_bundle_import_connector(bundle, "a.b", missing[i], NULL, i % 2 == 0, &err), QN_ERR_CONFIG, &err,
                     "not found");
    }
    /* A jar may have arguments: they are no part of its name. */
    assert_int_equal(qn_bundle_import_connector(bundle, "a.jar", "java::/bin/sh -v", NULL, true, &err), QN_OK);
    static const char *const unknown[] = { "mod:Cls", "wat::x", "::x", "" };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        expect_error(qn_bundle_import_connector(bundle, "a.b", unknown[i], NULL, i % 2 == 0, &err), QN_ERR_CONFIG, &err,
                     "; there are cassette");
    }
    expect_error(qn_bundle_create_source(bundle, "fils", NULL, "base", "arrow", NULL, &err), QN_ERR_CONFIG, &err,
                 "exactly one dot");
    assert_string_equal(err.hint, "did you mean \"files\"? Built in are database, files, http");
    expect_error(qn_bundle_import_connector(bundle, "a.b", "python::m:C", NULL, false, &err), QN_ERR_CONFIG, &err,
                 "cannot be kept in a bundle");
    expect_error(qn_bundle_import_connector(bundle, "a.b", "python::m:C", NULL, true, &err), QN_OK, &err, "");
    expect_error(qn_bundle_import_connector(bundle, "a.b", "ipc::sh", "Linux AMD64", false, &err), QN_ERR_CONFIG, &err,
                 "not a platform");
    /* A library of another machine is not looked for; one in the bundle's folder is found. */
    expect_error(qn_bundle_import_connector(bundle, "c.d", "ffi::./no-such.so", "plan9/mips", false, &err), QN_OK, &err,
                 "");
    int fd = openat(bundle_fd, "there.so", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    expect_error(qn_bundle_import_connector(bundle, "e.f", "ffi::./there.so", NULL, false, &err), QN_OK, &err, "");
    qn_bundle_free(bundle);
}

static const char *source_member(struct qn_bundle *bundle, const char *id, const char *member)
{
    static char found[256];
    json_t *all = document(bundle, qn_bundle_describe);
    size_t i;
    json_t *source;
    found[0] = '\0';
    json_array_foreach(json_object_get(all, "sources"), i, source)
    {
        if (strcmp(json_string_value(json_object_get(source, "id")), id) == 0) {
            (void)snprintf(found, sizeof found, "%s", json_string_value(json_object_get(source, member)));
        }
    }
    json_decref(all);
    return found;
}

static void sources__are_made_follow_their_connector_and_go(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    char *id = NULL;
    char arguments[128];
    (void)snprintf(arguments, sizeof arguments, "{\"path\": \"%s\"}", bundle_path);
    expect_error(qn_bundle_create_source(bundle, "files", arguments, "base", "arrow", &id, &err), QN_OK, &err, "");
    assert_int_equal(strlen(id), 16);
    assert_string_equal(source_member(bundle, id, "connector"), "files");
    assert_string_equal(source_member(bundle, id, "pack"), "base");
    assert_string_equal(source_member(bundle, id, "save_as"), "arrow");
    struct qn_change failure = { .kind = QN_CHANGE_SET, .object = QN_OBJECT_FAILURE, .name = "f" };
    char value[64];
    (void)snprintf(value, sizeof value, "{\"source\":\"%s\"}", id);
    failure.value = value;
    assert_int_equal(qn__bundle_begin(bundle, "x", NULL), QN_OK);
    assert_int_equal(qn__bundle_close(bundle, qn__bundle_add(bundle, &failure, NULL, NULL)), QN_OK);
    expect_error(qn_bundle_drop_source(bundle, id, &err), QN_OK, &err, "");
    char *text = text_of(bundle);
    assert_string_equal(text, "."); /* the retry list of it too */
    free(text);
    expect_error(qn_bundle_drop_source(bundle, id, &err), QN_ERR_CONFIG, &err, "is unknown");
    qn_text_free(id);

    assert_int_equal(qn_bundle_set_config(bundle, "system.allow_external_code", "true", false, NULL), QN_OK);
    expect_error(qn_bundle_create_source(bundle, "a.b", NULL, "base", NULL, NULL, &err), QN_ERR_CONFIG, &err,
                 "connector \"a.b\" is unknown");
    assert_int_equal(qn_bundle_import_connector(bundle, "a.b", "ipc::sh", NULL, false, NULL), QN_OK);
    assert_int_equal(qn_bundle_import_connector(bundle, "c.d", "ipc::sh", NULL, true, NULL), QN_OK);
    expect_error(qn_bundle_create_source(bundle, "a.b", "{\"k\":\"v\"}", "base", "arrow", &id, &err), QN_OK, &err, "");
    expect_error(qn_bundle_create_source(bundle, "a.b", "{ \"k\": \"v\" }", "base", NULL, NULL, &err), QN_ERR_CONFIG,
                 &err, id);
    expect_error(qn_bundle_create_source(bundle, "a.b", "{\"k\":\"v\"}", "other", "arrow", NULL, &err), QN_OK, &err,
                 "");
    expect_error(qn_bundle_create_source(bundle, "a.b", "{\"k\":1}", "base", NULL, NULL, &err), QN_ERR_CONFIG, &err,
                 "object of texts");
    expect_error(qn_bundle_create_source(bundle, "a.b", NULL, "a/b", NULL, NULL, &err), QN_ERR_CONFIG, &err,
                 "not a name of a pack");
    expect_error(qn_bundle_create_source(bundle, "a.b", NULL, "base", "nonsense", NULL, &err), QN_ERR_UNSUPPORTED, &err,
                 "nonsense");
    expect_error(qn_bundle_rename_connector(bundle, "a.b", "c.d", false, &err), QN_ERR_CONFIG, &err,
                 "there is a connector \"c.d\" already");
    expect_error(qn_bundle_rename_connector(bundle, "x.y", "z.z", true, &err), QN_ERR_CONFIG, &err, "is unknown");
    expect_error(qn_bundle_rename_connector(bundle, "a.b", "e.f", false, &err), QN_OK, &err, "");
    assert_string_equal(source_member(bundle, id, "connector"), "e.f");
    expect_uri(bundle, "e.f", "ipc::sh");
    qn_text_free(id);
    expect_error(qn_bundle_create_source(bundle, "c.d", NULL, "base", "arrow", &id, &err), QN_OK, &err, "");
    expect_error(qn_bundle_rename_connector(bundle, "c.d", "g.h", true, &err), QN_OK, &err, "");
    assert_string_equal(source_member(bundle, id, "connector"), "g.h");
    expect_uri(bundle, "g.h", "ipc::sh");
    assert_null(uri_of(bundle, "c.d", NULL));
    qn_text_free(id);
    qn_bundle_free(bundle);
}

static void documents__say_what_is_there(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    put(bundle, "base", "a", "123");
    put(bundle, "other", "b\n\"\\\x01", "12");
    assert_int_equal(qn_bundle_set_checkpoint(bundle, "task", "{\"at\":5}", NULL), QN_OK);
    assert_int_equal(qn_bundle_set_config(bundle, "some.key", "v", true, NULL), QN_OK);
    (void)commit(bundle, "first \"quoted\"\n");
    json_t *all = document(bundle, qn_bundle_describe);
    json_t *expected = json_loads("{\"packs\":[{\"name\":\"base\",\"blocks\":1,\"rows\":1,\"bytes\":3},"
                                  "{\"name\":\"other\",\"blocks\":1,\"rows\":1,\"bytes\":2}],"
                                  "\"connectors\":[],\"sources\":[],\"config\":{\"some.key\":\"v\"},"
                                  "\"checkpoints\":{\"task\":{\"at\":5}},\"failures\":[]}",
                                  0, NULL);
    assert_non_null(expected);
    assert_true(json_equal(all, expected));
    json_decref(all);
    json_decref(expected);
    char *text = NULL;
    assert_int_equal(qn_bundle_history(bundle, 0, -1, &text, &err), QN_OK);
    json_t *history = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(history), 2);
    json_t *entry = json_array_get(history, 1);
    char hash[QN_SHA256_TEXT_SIZE];
    qn_sha256_format(qn_commit_log_hash(bundle->log, 0), hash);
    assert_string_equal(json_string_value(json_object_get(entry, "previous")), hash);
    assert_string_equal(json_string_value(json_object_get(json_array_get(history, 0), "hash")), hash);
    assert_string_equal(json_string_value(json_object_get(entry, "message")), "first \"quoted\"\n");
    json_t *changes = json_object_get(entry, "changes");
    assert_int_equal(json_array_size(changes), 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(changes, 1), "location")), "b\n\"\\\x01");
    json_decref(history);
    qn_text_free(text);
    assert_int_equal(qn_bundle_history(bundle, 1, 1, &text, &err), QN_OK);
    history = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(history), 1);
    json_decref(history);
    qn_text_free(text);
    assert_int_equal(qn_bundle_history(bundle, 2, -1, &text, &err), QN_OK); /* a page after the last */
    assert_string_equal(text, "[]");
    qn_text_free(text);
    expect_error(qn_bundle_history(bundle, 0, 2, &text, &err), QN_ERR_ARGUMENT, &err, "the bundle shows 0 to 1");
    expect_error(qn_bundle_history(bundle, -1, 1, &text, &err), QN_ERR_ARGUMENT, &err, "no versions");
    expect_error(qn_bundle_history(bundle, 0, INT64_MAX, &text, &err), QN_ERR_ARGUMENT, &err, "no versions");
    qn_bundle_free(bundle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HANDLE_TEST(bundle__is_made_and_opened),
        HANDLE_TEST(bundle__folders_above_it_are_made),
        HANDLE_TEST(bundle__opens_at_a_number_a_hash_or_a_time),
        HANDLE_TEST(pending__is_seen_undone_and_reset),
        HANDLE_TEST(pending__several_changes_of_one_thing_are_one),
        HANDLE_TEST(pending__refuses_what_no_commit_can_hold),
        HANDLE_TEST(handle__is_of_one_thread_and_one_process),
        HANDLE_TEST(config__set_counts_more_than_passed_than_environment_than_stored),
        HANDLE_TEST(config__a_bundle_grants_itself_no_rights),
        HANDLE_TEST(config__refuses_what_is_no_configuration),
        HANDLE_TEST(config__refuses_keys_of_the_system_that_there_are_not),
        HANDLE_TEST(config__refuses_variables_of_the_system_that_there_are_not),
        HANDLE_TEST(connectors__are_found_by_name_and_platform),
        HANDLE_TEST(connectors__refuse_names_and_files_that_are_wrong),
        HANDLE_TEST(sources__are_made_follow_their_connector_and_go),
        HANDLE_TEST(documents__say_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
