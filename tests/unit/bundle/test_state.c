/*
 * test_state.c: commits applied give what the bundle holds; two writers conflict where they touch the same, and only there.
 */
#include "bundle/state.h"

#include "base/fault.h"
#include "bundle_folder.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct qn_change block(enum qn_change_kind kind, const char *pack, const char *location, int64_t rows)
{
    return (struct qn_change){ .kind = kind,
                               .pack = pack,
                               .location = location,
                               .version = "v",
                               .source = "",
                               .format = "arrow",
                               .sha256 = HASH,
                               .rows = rows,
                               .bytes = 1,
                               .schema = -1 };
}

static struct qn_change set(enum qn_object_kind kind, const char *name, const char *value)
{
    return (struct qn_change){
        .kind = value != NULL ? QN_CHANGE_SET : QN_CHANGE_UNSET, .object = kind, .name = name, .value = value
    };
}

static struct qn_commit commit_of(struct qn_change *changes, size_t count)
{
    return (struct qn_commit){ .message = "x", .changes = changes, .n_changes = count };
}

static struct qn_bundle_state *new_state(void)
{
    struct qn_bundle_state *state = NULL;
    assert_int_equal(qn_bundle_state_new(&state, NULL), QN_OK);
    return state;
}

static enum qn_status apply_one(struct qn_bundle_state *state, int64_t version, struct qn_change change,
                                struct qn_error *err)
{
    struct qn_commit commit = commit_of(&change, 1);
    commit.version = version;
    return qn_bundle_state_apply(state, &commit, err);
}

static void state__holds_what_commits_made(void **unused)
{
    (void)unused;
    static const char *const schemas[] = { "first", "second" };
    struct qn_change changes[] = {
        block(QN_CHANGE_ADD, "base", "a", 1),        block(QN_CHANGE_ADD, "base", "b", 2),
        block(QN_CHANGE_ADD, "other", "a", 3),       set(QN_OBJECT_CONFIG, "a", "1"),
        set(QN_OBJECT_SOURCE, "a", "{\"x\":\"y\"}"),
    };
    changes[1].schema = 1;
    struct qn_commit commit = commit_of(changes, 5);
    commit.schemas = (const char **)(uintptr_t)schemas;
    commit.n_schemas = 2;
    commit.version = 4;
    struct qn_bundle_state *state = new_state();
    assert_int_equal(qn_bundle_state_apply(state, &commit, NULL), QN_OK);
    assert_int_equal(qn_bundle_state_block(state, "base", "a")->change.rows, 1);
    assert_null(qn_bundle_state_block(state, "base", "a")->schema);
    assert_string_equal(qn_bundle_state_block(state, "base", "b")->schema, "second");
    assert_int_equal(qn_bundle_state_block(state, "other", "a")->change.rows, 3);
    assert_null(qn_bundle_state_block(state, "other", "b"));
    assert_null(qn_bundle_state_block(state, "basea", ""));
    assert_string_equal(qn_bundle_state_object(state, QN_OBJECT_CONFIG, "a")->change.value, "1");
    assert_string_equal(qn_bundle_state_object(state, QN_OBJECT_SOURCE, "a")->change.value, "{\"x\":\"y\"}");
    assert_null(qn_bundle_state_object(state, QN_OBJECT_CONNECTOR, "a"));

    assert_int_equal(apply_one(state, 5, block(QN_CHANGE_REPLACE, "base", "a", 10), NULL), QN_OK);
    assert_int_equal(apply_one(state, 6, block(QN_CHANGE_REMOVE, "base", "b", 0), NULL), QN_OK);
    assert_int_equal(apply_one(state, 7, set(QN_OBJECT_CONFIG, "a", "2"), NULL), QN_OK);
    assert_int_equal(apply_one(state, 8, set(QN_OBJECT_SOURCE, "a", NULL), NULL), QN_OK);
    const struct qn_state_entry *entry = qn_bundle_state_block(state, "base", "a");
    assert_int_equal(entry->change.kind, QN_CHANGE_ADD);
    assert_int_equal(entry->change.rows, 10);
    assert_int_equal(entry->version, 5);
    assert_null(qn_bundle_state_block(state, "base", "b"));
    assert_null(qn_bundle_state_object(state, QN_OBJECT_SOURCE, "a"));
    assert_string_equal(qn_bundle_state_object(state, QN_OBJECT_CONFIG, "a")->change.value, "2");

    size_t place = 0; /* in the order of the commits that made them so, without what is gone */
    assert_string_equal(qn_bundle_state_next(state, &place)->change.pack, "other");
    assert_string_equal(qn_bundle_state_next(state, &place)->change.location, "a");
    assert_string_equal(qn_bundle_state_next(state, &place)->change.name, "a");
    assert_null(qn_bundle_state_next(state, &place));
    qn_bundle_state_free(state);
}

static void state__refuses_a_history_that_contradicts_itself(void **unused)
{
    (void)unused;
    static const char *const expected[] = {
        "commit 9 adds (\"base\", \"a\"), which is there already",
        "commit 9 replaces (\"base\", \"b\"), which is not there",
        "commit 9 removes (\"base\", \"b\"), which is not there",
        "commit 9 unsets source \"b\", which is not there",
    };
    struct qn_change wrong[] = {
        block(QN_CHANGE_ADD, "base", "a", 1),
        block(QN_CHANGE_REPLACE, "base", "b", 1),
        block(QN_CHANGE_REMOVE, "base", "b", 1),
        set(QN_OBJECT_SOURCE, "b", NULL),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct qn_bundle_state *state = new_state();
        struct qn_error err = QN_ERROR_INIT;
        assert_int_equal(apply_one(state, 1, block(QN_CHANGE_ADD, "base", "a", 1), NULL), QN_OK);
        assert_int_equal(apply_one(state, 9, wrong[i], &err), QN_ERR_DATA);
        assert_string_equal(err.message, expected[i]);
        qn_bundle_state_free(state);
    }
}

/* Against an array that says the same, through growth, holes and second lives. */
static void state__agrees_with_a_plain_model(void **unused)
{
    (void)unused;
    enum { LOCATIONS = 500, STEPS = 20000 };
    int64_t model[LOCATIONS];
    int64_t live = 0;
    for (int i = 0; i < LOCATIONS; i++) {
        model[i] = -1;
    }
    struct qn_bundle_state *state = new_state();
    uint32_t random = 12345;
    for (int64_t step = 1; step <= STEPS; step++) {
        random = random * 1664525 + 1013904223;
        int which = (int)((random >> 8) % LOCATIONS);
        bool there = model[which] >= 0;
        bool away = there && (random >> 28) < 8;
        char location[16];
        (void)snprintf(location, sizeof location, "%d", which);
        enum qn_change_kind kind = away ? QN_CHANGE_REMOVE : there ? QN_CHANGE_REPLACE : QN_CHANGE_ADD;
        assert_int_equal(apply_one(state, step, block(kind, "base", location, step), NULL), QN_OK);
        live += away ? -1 : there ? 0 : 1;
        model[which] = away ? -1 : step;
    }
    size_t place = 0;
    for (const struct qn_state_entry *entry = qn_bundle_state_next(state, &place); entry != NULL;
         entry = qn_bundle_state_next(state, &place)) {
        assert_int_equal(entry->change.rows, model[atoi(entry->change.location)]);
        live--;
    }
    assert_int_equal(live, 0);
    for (int i = 0; i < LOCATIONS; i++) {
        char location[16];
        (void)snprintf(location, sizeof location, "%d", i);
        const struct qn_state_entry *entry = qn_bundle_state_block(state, "base", location);
        assert_int_equal(entry != NULL ? entry->change.rows : -1, model[i]);
    }
    qn_bundle_state_free(state);
}

static void state__memory_may_run_out(void **unused)
{
    (void)unused;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("skipped: a build without fault points (-Dfaults=true)\n");
        skip();
    }
    struct qn_change changes[] = { block(QN_CHANGE_ADD, "base", "a", 1), set(QN_OBJECT_CONFIG, "a", "1") };
    struct qn_commit commit = commit_of(changes, 2);
    bool hit = true;
    for (int64_t n = 1; hit; n++) {
        struct qn_bundle_state *state = NULL;
        (void)qn_fault_arm(QN_FAULT_ALLOC, n, QN_FAULT_ONCE);
        enum qn_status status = qn_bundle_state_new(&state, NULL);
        if (status == QN_OK) {
            status = qn_bundle_state_apply(state, &commit, NULL);
        }
        hit = qn_fault_count(QN_FAULT_ALLOC) >= n;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        assert_int_equal(status, hit ? QN_ERR_NO_MEMORY : QN_OK);
        qn_bundle_state_free(state);
    }
}

static void append(struct qn_commit_log *log, struct qn_change *changes, size_t count)
{
    struct qn_commit commit = commit_of(changes, count);
    bool lost = true;
    assert_int_equal(qn_commit_log_append(log, &commit, &lost, NULL), QN_OK);
    assert_false(lost);
}

static struct qn_commit_log *create(void)
{
    struct qn_commit first = { .message = "created" };
    struct qn_commit_log *log = NULL;
    assert_int_equal(qn_commit_log_create(bundle_fd, &first, &log, NULL), QN_OK);
    return log;
}

static void state__at_each_version_of_a_log(void **unused)
{
    (void)unused;
    struct qn_commit_log *log = create();
    struct qn_change add = block(QN_CHANGE_ADD, "base", "a", 1);
    struct qn_change replace = block(QN_CHANGE_REPLACE, "base", "a", 2);
    struct qn_change away = block(QN_CHANGE_REMOVE, "base", "a", 0);
    append(log, &add, 1);
    append(log, &replace, 1);
    append(log, &away, 1);
    static const int64_t rows[] = { -1, 1, 2, -1 };
    for (int64_t version = 0; version <= 3; version++) {
        struct qn_bundle_state *state = NULL;
        assert_int_equal(qn_bundle_state_at(log, version, &state, NULL, NULL), QN_OK);
        const struct qn_state_entry *entry = qn_bundle_state_block(state, "base", "a");
        assert_int_equal(entry != NULL ? entry->change.rows : -1, rows[version]);
        qn_bundle_state_free(state);
    }
    struct qn_bundle_state *none = NULL;
    assert_int_equal(qn_bundle_state_at(log, 4, &none, NULL, NULL), QN_ERR_ARGUMENT);
    assert_null(none);
    qn_commit_log_free(log);
}

static void rebase__follows_what_is_disjoint_and_names_what_is_not(void **unused)
{
    (void)unused;
    struct qn_commit_log *log = create();
    struct qn_change theirs[] = {
        block(QN_CHANGE_ADD, "base", "a", 1), block(QN_CHANGE_ADD, "base", "b", 1),
        block(QN_CHANGE_ADD, "base", "c", 1), block(QN_CHANGE_ADD, "base", "d", 1),
        set(QN_OBJECT_SOURCE, "s", "{}"),
    };
    append(log, theirs, 5);
    struct qn_change disjoint[] = {
        block(QN_CHANGE_ADD, "other", "a", 1),                                  /* the same location of another pack */
        block(QN_CHANGE_ADD, "base", "e", 1), set(QN_OBJECT_CONFIG, "s", "{}"), /* the same name of another kind */
    };
    struct qn_commit ours = commit_of(disjoint, 3);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_commit_rebase(log, &ours, 0, &err), QN_OK);
    assert_int_equal(ours.n_changes, 3);

    struct qn_change same[] = { block(QN_CHANGE_REMOVE, "base", "b", 0), set(QN_OBJECT_SOURCE, "s", NULL) };
    ours = commit_of(same, 2);
    assert_int_equal(qn_commit_rebase(log, &ours, 0, &err), QN_ERR_CONFLICT);
    assert_false(err.retryable); /* the same commit would conflict again */
    assert_string_equal(err.message,
                        "conflict with commit 1 of another writer: both change (\"base\", \"b\"), source \"s\"");
    assert_int_equal(qn_commit_rebase(log, &ours, 1, &err), QN_OK); /* made against that commit */

    ours = commit_of(theirs, 5);
    assert_int_equal(qn_commit_rebase(log, &ours, 0, &err), QN_ERR_CONFLICT);
    assert_string_equal(err.message, "conflict with commit 1 of another writer: both change (\"base\", \"a\"), "
                                     "(\"base\", \"b\"), (\"base\", \"c\") and 2 more");
    qn_commit_log_free(log);
}

#define FOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, make_bundle_folder, remove_bundle_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state__holds_what_commits_made),
        cmocka_unit_test(state__refuses_a_history_that_contradicts_itself),
        cmocka_unit_test(state__agrees_with_a_plain_model),
        cmocka_unit_test(state__memory_may_run_out),
        FOLDER_TEST(state__at_each_version_of_a_log),
        FOLDER_TEST(rebase__follows_what_is_disjoint_and_names_what_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
