/*
 * test_fetch.c: what a fetch takes, replaces, removes and sets aside, and what it says of it.
 */
#include "fetch_fixture.h"

#include <qanat/qanat.h>

/* Sum of first, first + 1 ... */
static int64_t sum(int64_t first, int64_t rows)
{
    return rows * first + rows * (rows - 1) / 2;
}

/* ---- modes ------------------------------------------------------------------------------------------------------ */

static void fetch__add_takes_what_is_new(void **state)
{
    (void)state;
    static const struct place before[] = { PLACE("b", 100, 10), PLACE("a", 0, 2500) };
    static const struct place after[] = { PLACE("b", 500, 10), PLACE("a", 0, 2500), PLACE("c\n../..", 7, 1) };
    json_t *all = NULL;
    ARRANGE(0, before);
    const json_t *result = fetched(QN_FETCH_ADD, NULL, &all);
    expect_member(result, "connector", "\"test.places0\"");
    expect_member(result, "pack", "\"base\"");
    assert_string_equal(json_string_value(json_object_get(result, "source_id")), source_ids[0]);
    expect_member(result, "added", "[\"b\",\"a\"]");
    expect_member(result, "replaced", "[]");
    expect_member(result, "removed", "[]");
    expect_member(result, "failed", "[]");
    expect_member(result, "rows", "2510");
    expect_member(result, "rows_after", "2510");
    expect_member(result, "dry_run", "false");
    json_decref(all);
    expect_rows("base", 2510, sum(100, 10) + sum(0, 2500));
    ok(qn_bundle_commit(bundle, "first", NULL, &error));
    ARRANGE(0, after);
    expect_fetch(QN_FETCH_ADD, "[\"c\\n../..\"]", "[]", "[]"); /* b has changed: add does not care */
    char *text = json_dumps(asked[0], JSON_COMPACT);
    assert_string_equal(text, "[\"b\",\"a\"]");
    free(text);
    expect_rows("base", 2511, sum(100, 10) + sum(0, 2500) + 7);
    expect_fetch(QN_FETCH_ADD, "[]", "[]", "[]");
    ok(qn_bundle_commit(bundle, "second", NULL, &error));
    open_again();
    expect_rows("base", 2511, sum(100, 10) + sum(0, 2500) + 7);
    expect_sound();
}

static void fetch__update_takes_what_has_another_version(void **state)
{
    (void)state;
    static const struct place before[] = { PLACE("a", 0, 3, .version = "1"), PLACE("b", 10, 3, .version = "1") };
    static const struct place after[] = { PLACE("a", 70, 3, .version = "1"), PLACE("b", 20, 3, .version = "2"),
                                          PLACE("c", 30, 3, .version = "1") };
    ARRANGE(0, before);
    expect_fetch(QN_FETCH_UPDATE, "[\"a\",\"b\"]", "[]", "[]");
    ARRANGE(0, after);
    asked_for_data = 0;
    expect_fetch(QN_FETCH_UPDATE, "[\"c\"]", "[\"b\"]", "[]");
    assert_int_equal(asked_for_data, 2); /* a says that it has not changed */
    expect_rows("base", 9, 3 + 63 + 93);
}

static void fetch__update_compares_content_where_there_is_no_version(void **state)
{
    (void)state;
    static const struct place before[] = { PLACE("a", 0, 3), PLACE("b", 10, 3) };
    static const struct place after[] = { PLACE("a", 0, 3), PLACE("b", 11, 3) };
    ARRANGE(0, before);
    expect_fetch(QN_FETCH_ADD, "[\"a\",\"b\"]", "[]", "[]");
    ok(qn_bundle_commit(bundle, "first", NULL, &error));
    expect_fetch(QN_FETCH_UPDATE, "[]", "[]", "[]");
    int64_t version = -1, undone = -1;
    ok(qn_bundle_reset(bundle, &undone, &error));
    assert_int_equal(undone, 0); /* same bytes: no change at all */
    ARRANGE(0, after);
    expect_fetch(QN_FETCH_UPDATE, "[]", "[\"b\"]", "[]");
    ok(qn_bundle_commit(bundle, "second", &version, &error));
    assert_int_equal(version, 2);
    expect_rows("base", 6, 3 + 36);
}

static void fetch__sync_removes_what_is_reported_no_more(void **state)
{
    (void)state;
    static const struct place mine[] = { PLACE("a", 0, 3), PLACE("b", 10, 3) };
    static const struct place other[] = { PLACE("x", 1000, 1) };
    static const struct place left[] = { PLACE("b", 10, 3) };
    struct ArrowArrayStream by_hand;
    const struct place hand = PLACE("hand", 5000, 1);
    add_source(1, "base");
    ARRANGE(0, mine);
    ARRANGE(1, other);
    json_t *all = NULL;
    (void)fetched(QN_FETCH_ADD, NULL, &all);
    json_decref(all);
    ok(numbers_of(&hand, &by_hand, &error));
    ok(qn_bundle_put(bundle, "base", "hand", "", "arrow", false, &by_hand, NULL, &error));
    ARRANGE(0, left);
    expect_fetch(QN_FETCH_UPDATE, "[]", "[]", "[]"); /* only sync removes */
    expect_rows("base", 8, 3 + 33 + 1000 + 5000);
    expect_fetch(QN_FETCH_SYNC, "[]", "[]", "[\"a\"]");
    expect_rows("base", 5, 33 + 1000 + 5000);
    ok(qn_bundle_commit(bundle, "all", NULL, &error));
    expect_sound();
}

static void fetch__dry_run_says_what_would_be(void **state)
{
    (void)state;
    static const struct place before[] = { PLACE("a", 0, 3, .version = "1"), PLACE("b", 10, 4), PLACE("c", 20, 5) };
    static const struct place after[] = { PLACE("a", 0, 30, .version = "2", .knows_rows = true), PLACE("b", 11, 6),
                                          PLACE("d", 0, 100, .knows_rows = true) };
    static const struct place unsure[] = { PLACE("e", 0, 100) };
    const struct qn_fetch_options options = { .struct_size = sizeof options, .dry_run = true };
    json_t *all = NULL;
    ARRANGE(0, before);
    expect_fetch(QN_FETCH_ADD, "[\"a\",\"b\",\"c\"]", "[]", "[]");
    ok(qn_bundle_commit(bundle, "first", NULL, &error));
    ARRANGE(0, after);
    const json_t *result = fetched(QN_FETCH_SYNC, &options, &all);
    expect_member(result, "added", "[\"d\"]");
    expect_member(result, "replaced", "[\"a\",\"b\"]");
    expect_member(result, "removed", "[\"c\"]");
    expect_member(result, "dry_run", "true");
    expect_member(result, "rows", "0");
    expect_member(result, "rows_after", "136");
    json_decref(all);
    int64_t undone = -1;
    ok(qn_bundle_reset(bundle, &undone, &error));
    assert_int_equal(undone, 0);
    expect_rows("base", 12, 3 + 46 + 110);
    ARRANGE(0, unsure);
    result = fetched(QN_FETCH_ADD, &options, &all);
    expect_member(result, "rows_after", "null");
    json_decref(all);
    json_t *list = failures();
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
}

static void fetch__no_data_is_a_location_without_rows(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3), PLACE("none", 0, 0, .trouble = NO_DATA),
                                          PLACE("empty", 0, 0) };
    ARRANGE(0, there);
    expect_fetch(QN_FETCH_ADD, "[\"a\",\"none\",\"empty\"]", "[]", "[]");
    expect_fetch(QN_FETCH_UPDATE, "[]", "[]", "[]");
    expect_rows("base", 3, 3);
}

/* ---- what fails ------------------------------------------------------------------------------------------------- */

/* trace: B9 */
static void fetch__sets_aside_what_fails_and_drives_it_again(void **state)
{
    (void)state;
    static const struct place bad[] = { PLACE("a", 0, 3), PLACE("b", 10, 3, .trouble = FAILS),
                                        PLACE("c", 20, 3000, .trouble = FAILS_LATE, .version = "v"),
                                        PLACE("d", 30, 3) };
    static const struct place better[] = { PLACE("a", 0, 3), PLACE("b", 10, 3),
                                           PLACE("c", 20, 3000, .trouble = FAILS_LATE, .version = "v"),
                                           PLACE("d", 99, 3) };
    static const struct place good[] = { PLACE("a", 0, 3), PLACE("b", 10, 3), PLACE("c", 20, 3000, .version = "v"),
                                         PLACE("d", 30, 3) };
    struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true };
    json_t *all = NULL, *list = NULL;
    char *text = NULL;
    ARRANGE(0, bad);
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CONNECTOR,
            "connector \"test.places0\": location \"b\": the well is dry");
    assert_non_null(strstr(error.detail, "2 failed in all"));
    all = take_json(text);
    const json_t *result = json_array_get(all, 0);
    expect_member(result, "added", "[\"a\",\"d\"]");
    const json_t *failed = json_object_get(result, "failed");
    assert_int_equal(json_array_size(failed), 2);
    expect_member(json_array_get(failed, 0), "location", "\"b\"");
    expect_member(json_array_get(failed, 1), "location", "\"c\"");
    expect_member(json_array_get(failed, 1), "error",
                  "\"connector \\\"test.places0\\\": location \\\"c\\\": the well is dry\"");
    expect_member(json_array_get(failed, 1), "retryable", "false");
    json_decref(all);
    expect_rows("base", 6, 3 + 93);
    ok(qn_bundle_commit(bundle, "what there was", NULL, &error));
    expect_sound(); /* nothing is left of the half of c */
    open_again();   /* the list is the bundle's */
    list = failures();
    assert_int_equal(json_array_size(list), 2);
    expect_member(json_array_get(list, 0), "location", "\"b\"");
    expect_member(json_array_get(list, 0), "attempts", "1");
    expect_member(json_array_get(list, 1), "version", "\"v\"");
    json_decref(list);
    ARRANGE(0, better);
    options.retry = true;
    asked_for_data = 0;
    result = fetched(QN_FETCH_ADD, &options, &all);
    assert_int_equal(asked_for_data, 2); /* not d, which has changed, but is not on the list */
    expect_member(result, "added", "[\"b\"]");
    expect_member(result, "replaced", "[]");
    json_decref(all);
    list = failures();
    assert_int_equal(json_array_size(list), 1);
    expect_member(json_array_get(list, 0), "attempts", "2");
    json_decref(list);
    ARRANGE(0, good);
    expect_fetch(QN_FETCH_ADD, "[\"c\"]", "[]", "[]"); /* without the option too */
    list = failures();
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    expect_rows("base", 3009, 3 + 33 + sum(20, 3000) + 93);
}

static void fetch__forgets_failures_of_what_is_reported_no_more(void **state)
{
    (void)state;
    static const struct place bad[] = { PLACE("b", 10, 3, .trouble = FAILS) };
    static const struct place good[] = { PLACE("a", 0, 3) };
    const struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true };
    json_t *all = NULL;
    ARRANGE(0, bad);
    (void)fetched(QN_FETCH_ADD, &options, &all);
    json_decref(all);
    json_t *list = failures();
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    ARRANGE(0, good);
    expect_fetch(QN_FETCH_ADD, "[\"a\"]", "[]", "[]");
    list = failures();
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
}

static void fetch__a_failed_update_keeps_what_was_there(void **state)
{
    (void)state;
    static const struct place before[] = { PLACE("a", 0, 3, .version = "1") };
    static const struct place after[] = { PLACE("a", 50, 3000, .version = "2", .trouble = FAILS_LATE) };
    const struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true };
    json_t *all = NULL;
    ARRANGE(0, before);
    expect_fetch(QN_FETCH_ADD, "[\"a\"]", "[]", "[]");
    ARRANGE(0, after);
    const json_t *result = fetched(QN_FETCH_UPDATE, &options, &all);
    expect_member(result, "replaced", "[]");
    assert_int_equal(json_array_size(json_object_get(result, "failed")), 1);
    json_decref(all);
    expect_rows("base", 3, 3);
}

static void fetch__locations_that_cannot_be_taken_fail_alone(void **state)
{
    (void)state;
    static char much[(64 << 10) + 2];
    memset(much, 'x', sizeof much - 1);
    const struct place there[] = { PLACE("twice", 0, 1), PLACE("good", 7, 1),
                                   PLACE("twice", 0, 1), PLACE("much", 0, 1, .version = much),
                                   PLACE("other", 0, 1), PLACE("twice", 0, 1) };
    static const struct place other[] = { PLACE("other", 1, 1) };
    const struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true };
    static const char *const said[] = { "reports it more than once",
                                        "a version of a location is longer than 65536 bytes",
                                        "another source has put it" };
    json_t *all = NULL;
    add_source(1, "base");
    ARRANGE(1, other);
    struct qn_fetch_options one = { .struct_size = sizeof one, .source = source_ids[1] };
    const json_t *result = fetched(QN_FETCH_ADD, &one, &all);
    expect_member(result, "added", "[\"other\"]");
    json_decref(all);
    arrange(0, there, sizeof there / sizeof *there);
    result = fetched(QN_FETCH_SYNC, &options, &all);
    expect_member(result, "added", "[\"good\"]");
    expect_member(result, "removed", "[]");
    const json_t *failed = json_object_get(result, "failed");
    assert_int_equal(json_array_size(failed), 3);
    for (size_t i = 0; i < 3; i++) {
        const char *text = json_string_value(json_object_get(json_array_get(failed, i), "error"));
        if (strstr(text, said[i]) == NULL) {
            fail_msg("%s lacks %s", text, said[i]);
        }
    }
    json_decref(all);
    ok(qn_bundle_commit(bundle, "", NULL, &error));
    expect_rows("base", 2, 8);
}

static void fetch__a_source_that_fails_keeps_no_other_from_running(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3) };
    const struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true };
    char *text = NULL;
    add_source(1, "base");
    places[0].fails = true;
    ARRANGE(1, there);
    refused(qn_bundle_fetch(bundle, NULL, QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CONNECTOR,
            "connector \"test.places0\": nobody at home");
    json_t *all = take_json(text);
    assert_int_equal(json_array_size(all), 2);
    const json_t *failed = json_object_get(json_array_get(all, 0), "failed");
    expect_member(json_array_get(failed, 0), "location", "\"\"");
    expect_member(json_array_get(all, 1), "added", "[\"a\"]");
    json_decref(all);
    expect_rows("base", 3, 3);
    ok(qn_bundle_fetch(bundle, NULL, QN_FETCH_ADD, &options, &text, &error)); /* set aside as a location is */
    all = take_json(text);
    failed = json_object_get(json_array_get(all, 0), "failed");
    expect_member(json_array_get(failed, 0), "error", "\"connector \\\"test.places0\\\": nobody at home\"");
    json_decref(all);
    ok(qn_bundle_commit(bundle, "the good one", NULL, &error));
}

/* trace: B9 */
static void fetch__a_source_that_failed_is_asked_again_for_all(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3), PLACE("b", 10, 3) };
    struct qn_fetch_options options = { .struct_size = sizeof options, .quarantine = true };
    json_t *all = NULL, *list;
    places[0].fails = true;
    const json_t *result = fetched(QN_FETCH_ADD, &options, &all);
    assert_int_equal(json_array_size(json_object_get(result, "failed")), 1);
    json_decref(all);
    ok(qn_bundle_commit(bundle, "nobody was at home", NULL, &error));
    open_again();
    list = failures();
    assert_int_equal(json_array_size(list), 1);
    expect_member(json_array_get(list, 0), "location", "\"\"");
    expect_member(json_array_get(list, 0), "attempts", "1");
    expect_member(json_array_get(list, 0), "pack", "\"base\"");
    json_decref(list);
    options.retry = true;
    (void)fetched(QN_FETCH_ADD, &options, &all);
    json_decref(all);
    list = failures();
    expect_member(json_array_get(list, 0), "attempts", "2");
    json_decref(list);
    ARRANGE(0, there);
    result = fetched(QN_FETCH_ADD, &options, &all);
    expect_member(result, "added", "[\"a\",\"b\"]");
    json_decref(all);
    list = failures();
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    static const struct place more[] = { PLACE("a", 0, 3), PLACE("b", 10, 3), PLACE("c", 20, 3) };
    ARRANGE(0, more);
    result = fetched(QN_FETCH_ADD, &options, &all);
    expect_member(result, "added", "[]"); /* nothing is on the list any more */
    json_decref(all);
}

static void fetch__takes_over_what_a_source_that_is_gone_has_left(void **state)
{
    (void)state;
    static const struct place before[] = { PLACE("same", 0, 3, .version = "1"), PLACE("newer", 10, 3, .version = "1"),
                                           PLACE("equal", 20, 3), PLACE("other", 30, 3) };
    static const struct place after[] = { PLACE("same", 0, 3, .version = "1"), PLACE("newer", 11, 3, .version = "2"),
                                          PLACE("equal", 20, 3), PLACE("other", 31, 3) };
    static const struct place none[] = { PLACE("same", 0, 3, .version = "1") };
    char *text = NULL;
    ARRANGE(0, before);
    expect_fetch(QN_FETCH_ADD, "[\"same\",\"newer\",\"equal\",\"other\"]", "[]", "[]");
    add_source(1, "base");
    ARRANGE(1, after);
    const struct qn_fetch_options second = { .struct_size = sizeof second, .source = source_ids[1] };
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, &second, &text, &error), QN_ERR_DATA,
            "another source has put it into the pack");
    assert_non_null(strstr(error.hint, source_ids[0]));
    qn_text_free(text);
    ok(qn_bundle_drop_source(bundle, source_ids[0], &error));
    ok(qn_bundle_commit(bundle, "dropped", NULL, &error));
    asked_for_data = 0;
    expect_fetch(QN_FETCH_ADD, "[]", "[\"newer\",\"other\"]", "[]");
    assert_int_equal(asked_for_data, 3); /* the version of one says that it is the same */
    expect_rows("base", 12, 3 + 36 + 63 + 96);
    json_t *list = failures();
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    ok(qn_bundle_commit(bundle, "taken over", NULL, &error));
    ARRANGE(1, none);
    expect_fetch(QN_FETCH_SYNC, "[]", "[]", "[\"newer\",\"equal\",\"other\"]"); /* all of them are its own */
    expect_rows("base", 3, 3);
    expect_sound();
}

static void fetch__unknown_names_are_told_with_those_that_there_are(void **state)
{
    (void)state;
    char *text = NULL;
    char hint[256], wrong[64];
    const char *id = source_ids[0];
    struct qn_fetch_options options = { .struct_size = sizeof options, .source = "nobody" };
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, &options, &text, &error), QN_ERR_CONFIG,
            "there is no source \"nobody\" of pack \"base\"");
    (void)snprintf(hint, sizeof hint, "there are \"%s\" (test.places0); describe() or `qanat bundle status` lists all",
                   id);
    assert_string_equal(error.hint, hint);
    (void)snprintf(wrong, sizeof wrong, "%s", id);
    wrong[3] = wrong[3] == '0' ? '1' : '0';
    (void)snprintf(
        hint, sizeof hint,
        "did you mean \"%s\"? There are \"%s\" (test.places0); describe() or `qanat bundle status` lists all", id, id);
    options.source = wrong;
    refused(qn_bundle_fetch(bundle, NULL, QN_FETCH_ADD, &options, &text, &error), QN_ERR_CONFIG, "there is no source");
    assert_string_equal(error.hint, hint);
    refused(qn_bundle_drop_source(bundle, wrong, &error), QN_ERR_CONFIG, "is unknown");
    assert_string_equal(error.hint, hint);
    refused(qn_bundle_fetch(bundle, "bsae", QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CONFIG,
            "pack \"bsae\" has no source");
    assert_string_equal(error.hint,
                        "did you mean \"base\"? There are \"base\"; describe() or `qanat bundle status` lists all");
    ok(qn_bundle_drop_source(bundle, id, &error));
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CONFIG, "has no source");
    assert_string_equal(error.hint, "no source feeds the bundle: create_source() makes one");
    refused(qn_bundle_drop_source(bundle, id, &error), QN_ERR_CONFIG, "is unknown");
    assert_string_equal(error.hint, "the bundle has no source: create_source() makes one");
    assert_null(text);
}

static void fetch__wrong_calls_are_told(void **state)
{
    (void)state;
    char *text = NULL;
    struct qn_fetch_options options = { .struct_size = sizeof options, .source = "nobody" };
    refused(qn_bundle_fetch(bundle, "nothing", QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CONFIG,
            "pack \"nothing\" has no source");
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, &options, &text, &error), QN_ERR_CONFIG,
            "there is no source \"nobody\"");
    refused(qn_bundle_fetch(bundle, "base", (enum qn_fetch_mode)9, NULL, &text, &error), QN_ERR_ARGUMENT,
            "9 is not a mode");
    options = (struct qn_fetch_options){ .struct_size = sizeof options, .parallel = 1000 };
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, &options, &text, &error), QN_ERR_ARGUMENT, "1000 locations");
    ok(qn_bundle_set_config(bundle, "system.fetch_parallel", "many", false, &error));
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CONFIG, "system.fetch_parallel");
    assert_null(text);
}

/* A connector that reports more than can be attached. */
static void fetch__too_many_locations_are_refused(void **state)
{
    (void)state;
    static char names[500001][8];
    struct place *many = calloc(500001, sizeof *many);
    char *text = NULL;
    assert_non_null(many);
    for (size_t i = 0; i < 500001; i++) {
        (void)snprintf(names[i], sizeof names[i], "%zu", i);
        many[i].name = names[i];
    }
    arrange(0, many, 500001);
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CONNECTOR,
            "connector \"test.places0\"");
    assert_non_null(strstr(error.message, "more than 500000 locations"));
    qn_text_free(text);
    free(many);
}

/* ---- many at a time --------------------------------------------------------------------------------------------- */

static void fetch__takes_several_locations_at_a_time(void **state)
{
    (void)state;
    struct place there[64];
    char names[64][8];
    json_t *all = NULL;
    int64_t expected = 0;
    for (int i = 0; i < 64; i++) {
        (void)snprintf(names[i], sizeof names[i], "p%d", i);
        there[i] = (struct place)PLACE(names[i], 10 * i, 2, .trouble = i < 16 ? MEETS : NO_TROUBLE);
        expected += 20 * i + 1;
    }
    meeting = 16; /* each waits for 15 others */
    arrange(0, there, 64);
    const json_t *result = fetched(QN_FETCH_ADD, NULL, &all);
    const json_t *added = json_object_get(result, "added");
    assert_int_equal(json_array_size(added), 64);
    for (size_t i = 0; i < 64; i++) {
        assert_string_equal(json_string_value(json_array_get(added, i)), names[i]); /* in the order reported */
    }
    json_decref(all);
    expect_rows("base", 128, expected);
    char *text = NULL;
    ok(qn_bundle_files(bundle, "base", &text, &error));
    all = take_json(text);
    for (size_t i = 0; i < 64; i++) {
        assert_string_equal(json_string_value(json_object_get(json_array_get(all, i), "location")), names[i]);
    }
    json_decref(all);
}

static void fetch__takes_no_more_at_a_time_than_asked(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3000), PLACE("b", 0, 3000), PLACE("c", 0, 3000),
                                          PLACE("d", 0, 3000) };
    const struct qn_fetch_options options = { .struct_size = sizeof options, .parallel = 1 };
    json_t *all = NULL;
    ARRANGE(0, there);
    (void)fetched(QN_FETCH_ADD, &options, &all);
    assert_int_equal(most_running, 1);
    json_decref(all);
}

struct watched {
    int calls;
    bool cancel;
    struct qn_fetch_progress last;
};

static int watch(void *context, const struct qn_fetch_progress *progress)
{
    struct watched *watched = context;
    assert_string_equal(progress->source, "test.places0");
    assert_true(progress->locations >= watched->last.locations);
    watched->calls++;
    watched->last = *progress;
    return watched->cancel && progress->locations >= 2;
}

static void fetch__shows_progress(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3000), PLACE("b", 0, 10, .trouble = FAILS),
                                          PLACE("c", 0, 500) };
    struct watched watched = { 0 };
    const struct qn_fetch_options options = {
        .struct_size = sizeof options, .quarantine = true, .progress = watch, .progress_context = &watched
    };
    json_t *all = NULL;
    ARRANGE(0, there);
    (void)fetched(QN_FETCH_ADD, &options, &all);
    json_decref(all);
    assert_true(watched.calls >= 1);
    assert_int_equal(watched.last.locations, 3); /* what was set aside is done */
    assert_int_equal(watched.last.locations_total, 3);
    assert_int_equal(watched.last.rows, 3500);
    assert_true(watched.last.bytes >= 3500 * 24); /* an int64 and a view each */
    assert_true(watched.last.seconds >= 0);
}

static void fetch__cancelled_keeps_what_was_attached(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3), PLACE("hangs", 0, 3, .trouble = HANGS), PLACE("b", 10, 3) };
    struct watched watched = { .cancel = true };
    const struct qn_fetch_options options = { .struct_size = sizeof options,
                                              .progress = watch,
                                              .progress_context = &watched };
    char *text = NULL;
    ARRANGE(0, there);
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_SYNC, &options, &text, &error), QN_ERR_CANCELLED, "cancelled");
    json_t *all = take_json(text);
    expect_member(json_array_get(all, 0), "added", "[\"a\",\"b\"]");
    expect_member(json_array_get(all, 0), "failed", "[]");
    json_decref(all);
    expect_rows("base", 6, 36);
    json_t *list = failures();
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    ok(qn_bundle_commit(bundle, "", NULL, &error));
    expect_sound();
}

static int interrupts_left;

static int interrupt(void *context)
{
    return pthread_equal(pthread_self(), *(pthread_t *)context) && interrupts_left-- <= 0;
}

static void fetch__an_interrupt_ends_all_threads(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("x", 0, 3, .trouble = HANGS), PLACE("y", 0, 3, .trouble = HANGS) };
    pthread_t self = pthread_self();
    char *text = NULL;
    ARRANGE(0, there);
    interrupts_left = 2;
    qn_interrupt_set(interrupt, &self);
    refused(qn_bundle_fetch(bundle, "base", QN_FETCH_ADD, NULL, &text, &error), QN_ERR_CANCELLED, "interrupted");
    qn_interrupt_set(NULL, NULL);
    json_t *all = take_json(text);
    expect_member(json_array_get(all, 0), "added", "[]");
    json_decref(all);
    assert_int_equal(running, 0);
}

static void fetch__an_interrupt_of_discovery_changes_nothing(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("x", 0, 3), PLACE("y", 0, 3) };
    struct qn_fetch_options options = { .struct_size = sizeof options };
    pthread_t self = pthread_self();
    for (int dry = 0; dry < 2; dry++) {
        char *text = NULL;
        int64_t undone = -1;
        ARRANGE(0, there);
        places[0].hangs = true;
        options.dry_run = dry == 1;
        interrupts_left = 3;
        qn_interrupt_set(interrupt, &self);
        enum qn_status status = qn_bundle_fetch(bundle, "base", QN_FETCH_SYNC, &options, &text, &error);
        qn_interrupt_set(NULL, NULL);
        assert_int_equal(status, QN_ERR_CANCELLED);
        assert_null(text);
        ok(qn_bundle_commit(bundle, "the source", NULL, &error));
        ok(qn_bundle_reset(bundle, &undone, &error));
        assert_int_equal(undone, 0);
        places[0].hangs = false;
    }
    expect_fetch(QN_FETCH_ADD, "[\"x\",\"y\"]", "[]", "[]");
}

static void fetch__undo_drops_all_of_it(void **state)
{
    (void)state;
    static const struct place there[] = { PLACE("a", 0, 3), PLACE("b", 0, 3) };
    int64_t undone = 0;
    ARRANGE(0, there);
    ok(qn_bundle_commit(bundle, "the source", NULL, &error));
    expect_fetch(QN_FETCH_ADD, "[\"a\",\"b\"]", "[]", "[]");
    ok(qn_bundle_undo(bundle, &undone, &error));
    assert_int_equal(undone, 1);
    int64_t rows = -1;
    ok(qn_bundle_rows(bundle, "base", &rows, &error));
    assert_int_equal(rows, 0);
    expect_fetch(QN_FETCH_ADD, "[\"a\",\"b\"]", "[]", "[]");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(fetch__add_takes_what_is_new),
        TEST(fetch__update_takes_what_has_another_version),
        TEST(fetch__update_compares_content_where_there_is_no_version),
        TEST(fetch__sync_removes_what_is_reported_no_more),
        TEST(fetch__dry_run_says_what_would_be),
        TEST(fetch__no_data_is_a_location_without_rows),
        TEST(fetch__sets_aside_what_fails_and_drives_it_again),
        TEST(fetch__forgets_failures_of_what_is_reported_no_more),
        TEST(fetch__a_failed_update_keeps_what_was_there),
        TEST(fetch__locations_that_cannot_be_taken_fail_alone),
        TEST(fetch__a_source_that_fails_keeps_no_other_from_running),
        TEST(fetch__a_source_that_failed_is_asked_again_for_all),
        TEST(fetch__takes_over_what_a_source_that_is_gone_has_left),
        TEST(fetch__unknown_names_are_told_with_those_that_there_are),
        TEST(fetch__wrong_calls_are_told),
        TEST(fetch__too_many_locations_are_refused),
        TEST(fetch__takes_several_locations_at_a_time),
        TEST(fetch__takes_no_more_at_a_time_than_asked),
        TEST(fetch__shows_progress),
        TEST(fetch__cancelled_keeps_what_was_attached),
        TEST(fetch__an_interrupt_ends_all_threads),
        TEST(fetch__an_interrupt_of_discovery_changes_nothing),
        TEST(fetch__undo_drops_all_of_it),
    };
    register_places();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
