/*
 * test_bundle_history.c: several handles at once, reverts, snapshots, damage found by verify, and gc.
 */
#include "bundle/log_private.h"
#include "bundle/state_file.h"
#include "bundle_handle.h"

#define HANDLE_TEST(name) cmocka_unit_test_setup_teardown(name, make_bundle_folder, remove_bundle_folder)

static void expect_error(enum qn_status status, enum qn_status expected, const struct qn_error *err, const char *part)
{
    if (status != expected || strstr(err->message, part) == NULL) {
        print_message("%s: %s\n", qn_status_name(status), err->message);
    }
    assert_int_equal(status, expected);
    assert_non_null(strstr(err->message, part));
}

static void expect_equal(char *one, char *two)
{
    assert_string_equal(one, two);
    free(one);
    free(two);
}

/* The handle's state is what the log gives at its version. */
static void expect_as_logged(struct qn_bundle *bundle)
{
    expect_equal(text_of(bundle), text_of_log(bundle, qn_bundle_version(bundle)));
}

/* ---- two handles ------------------------------------------------------------------------------------------------ */

/* trace: B14 */
static void writers__that_touch_other_things_both_commit(void **state)
{
    (void)state;
    struct qn_bundle *one = new_handle();
    put(one, "base", "a", "1");
    put(one, "base", "b", "1");
    (void)commit(one, "first");
    struct qn_bundle *two = open_handle(NULL);
    put(one, "base", "new", "1");
    put(one, "base", "a", "2");
    put(two, "base", "b", NULL);
    put(two, "other", "new", "1");
    assert_int_equal(qn_bundle_set_checkpoint(two, "task", "1", NULL), QN_OK);
    assert_int_equal(commit(one, "one"), 2);
    assert_int_equal(commit(two, "two"), 3); /* the second one looks again, and takes the next number */
    expect_as_logged(two);
    put(one, "third", "x", "1");
    assert_int_equal(qn_bundle_refresh(one, NULL), QN_OK);
    assert_int_equal(qn_bundle_version(one), 3);
    assert_int_equal(commit(one, "again"), 4);
    expect_as_logged(one);
    assert_int_equal(qn_bundle_refresh(two, NULL), QN_OK);
    expect_equal(text_of(one), text_of(two));
    qn_bundle_free(one);
    qn_bundle_free(two);
    expect_no_problem();
}

/* trace: B14 */
static void writers__that_touch_the_same_conflict(void **state)
{
    (void)state;
    struct qn_bundle *one = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    put(one, "base", "a", "1");
    (void)commit(one, "first");
    struct qn_bundle *two = open_handle(NULL);
    put(one, "base", "a", "2");
    put(one, "base", "new", "2");
    (void)commit(one, "one");
    put(two, "base", "x", "3");
    put(two, "base", "a", "3");
    put(two, "base", "new", "3");
    char *pending = text_of(two);
    for (int i = 0; i < 2; i++) { /* also at the second try, when the handle knows the log */
        expect_error(qn_bundle_commit(two, "two", NULL, &err), QN_ERR_CONFLICT, &err,
                     "conflict with commit 2 of another writer: both change (\"base\", \"a\"), (\"base\", \"new\")");
        expect_error(qn_bundle_refresh(two, &err), QN_ERR_CONFLICT, &err, "conflict with commit 2");
        assert_false(err.retryable);
        assert_int_equal(qn_bundle_version(two), 1);
        char *still = text_of(two);
        assert_string_equal(still, pending); /* nothing was lost */
        free(still);
    }
    free(pending);
    int64_t undone = 0;
    assert_int_equal(qn_bundle_undo(two, &undone, NULL), QN_OK);
    expect_error(qn_bundle_commit(two, "two", NULL, &err), QN_ERR_CONFLICT, &err, "both change (\"base\", \"a\")");
    assert_int_equal(qn_bundle_undo(two, &undone, NULL), QN_OK);
    assert_int_equal(commit(two, "two"), 3); /* what is left touches nothing of theirs */
    expect_as_logged(two);
    qn_bundle_free(one);
    qn_bundle_free(two);
    expect_no_problem();
}

static void writers__conflict_over_objects_too(void **state)
{
    (void)state;
    struct qn_bundle *one = new_handle();
    struct qn_bundle *two = open_handle(NULL);
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_bundle_set_checkpoint(one, "task", "1", NULL), QN_OK);
    assert_int_equal(qn_bundle_set_checkpoint(two, "task", "2", NULL), QN_OK);
    (void)commit(one, "one");
    expect_error(qn_bundle_commit(two, "two", NULL, &err), QN_ERR_CONFLICT, &err, "both change checkpoint \"task\"");
    assert_int_equal(qn_bundle_reset(two, NULL, NULL), QN_OK);
    assert_int_equal(qn_bundle_refresh(two, NULL), QN_OK);
    assert_int_equal(qn_bundle_set_checkpoint(two, "task", "2", NULL), QN_OK);
    assert_int_equal(commit(two, "two"), 2);
    qn_bundle_free(one);
    qn_bundle_free(two);
}

/* ---- reverts ---------------------------------------------------------------------------------------------------- */

#define VERSIONS 24

/* A history of random changes, the same at every run. */
static void make_history(struct qn_bundle *bundle, char *texts[VERSIONS + 1])
{
    uint32_t seed = 20260131;
    texts[0] = text_of(bundle);
    for (int64_t version = 1; version <= VERSIONS; version++) {
        for (int i = 0; i < 4; i++) {
            char location[16];
            char text[16];
            seed = seed * 1664525 + 1013904223;
            (void)snprintf(location, sizeof location, "%u", seed >> 24 & 7);
            (void)snprintf(text, sizeof text, "%u", seed >> 16 & 3);
            const char *pack = (seed >> 8 & 1) != 0 ? "base" : "other";
            const struct qn_bundle_state *now = NULL;
            assert_int_equal(qn__bundle_state(bundle, &now, NULL), QN_OK);
            bool there = qn_bundle_state_block(now, pack, location) != NULL;
            put(bundle, pack, location, there && (seed >> 10 & 1) != 0 ? NULL : text);
        }
        char value[16];
        (void)snprintf(value, sizeof value, "%u", seed >> 12 & 3);
        assert_int_equal(qn_bundle_set_checkpoint(bundle, "task", version % 5 != 0 ? value : NULL, NULL), QN_OK);
        assert_int_equal(commit(bundle, "random"), version);
        texts[version] = text_of(bundle);
    }
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The parts that begin so, in their order or sorted. */
static char *parts_of(const char *text, const char *beginning, bool sorted)
{
    char *copy = strdup(text);
    char *parts[256];
    size_t count = 0;
    char *rest = NULL;
    for (char *part = strtok_r(copy, " ", &rest); part != NULL; part = strtok_r(NULL, " ", &rest)) {
        if (strncmp(part, beginning, strlen(beginning)) == 0) {
            parts[count++] = part;
        }
    }
    if (sorted) {
        qsort(parts, count, sizeof *parts, compare_texts);
    }
    struct qn_buffer out = QN_BUFFER_INIT;
    qn_buffer_append_text(&out, "|");
    for (size_t i = 0; i < count; i++) {
        qn_buffer_append_text(&out, parts[i]);
        qn_buffer_append_byte(&out, '|');
    }
    free(copy);
    return qn_buffer_steal(&out);
}

/* trace: B14. Each pack has the same blocks in the same order; objects have no order. */
static void revert__to_each_version_equals_that_version(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    char *texts[VERSIONS + 1];
    make_history(bundle, texts);
    for (int64_t version = VERSIONS; version >= 0; version--) {
        char name[8];
        int64_t made = -1;
        (void)snprintf(name, sizeof name, "%d", (int)version);
        assert_int_equal(qn_bundle_revert(bundle, name, NULL, &made, NULL), QN_OK);
        assert_int_equal(made, VERSIONS + 1 + (VERSIONS - version));
        char *now = text_of(bundle);
        expect_equal(parts_of(now, "base/", false), parts_of(texts[version], "base/", false));
        expect_equal(parts_of(now, "other/", false), parts_of(texts[version], "other/", false));
        expect_equal(parts_of(now, "checkpoint/", true), parts_of(texts[version], "checkpoint/", true));
        free(now);
        expect_as_logged(bundle);
        assert_int_equal(bundle->lock_fd, -1);
        char *old = NULL; /* and the old version is what it was */
        struct qn_bundle *there = open_handle(name);
        old = text_of(there);
        assert_string_equal(old, texts[version]);
        free(old);
        qn_bundle_free(there);
    }
    for (int i = 0; i <= VERSIONS; i++) {
        free(texts[i]);
    }
    qn_bundle_free(bundle);
    expect_no_problem();
}

static void revert__is_refused_while_something_is_pending_or_gone(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    put(bundle, "base", "a", "1");
    (void)commit(bundle, "first");
    put(bundle, "base", "a", "2");
    expect_error(qn_bundle_revert(bundle, "0", NULL, NULL, &err), QN_ERR_CONFIG, &err, "changes are pending");
    (void)commit(bundle, "second");
    expect_error(qn_bundle_revert(bundle, "7", NULL, NULL, &err), QN_ERR_ARGUMENT, &err, "there is no version 7");
    char *swept = NULL;
    assert_int_equal(qn_bundle_gc(bundle, 0, 1, 1, &swept, NULL), QN_OK);
    qn_text_free(swept);
    char *before = text_of(bundle);
    expect_error(qn_bundle_revert(bundle, "1", NULL, NULL, &err), QN_ERR_DATA, &err, "is missing");
    assert_non_null(strstr(err.message, "(\"base\", \"a\")"));
    expect_equal(before, text_of(bundle));
    assert_int_equal(qn_bundle_version(bundle), 2);
    assert_int_equal(bundle->lock_fd, -1);
    assert_int_equal(qn_bundle_revert(bundle, "0", "none", NULL, NULL), QN_OK);
    expect_equal(strdup("."), text_of(bundle));
    qn_bundle_free(bundle);
    expect_no_problem();
}

static void revert__takes_back_what_others_did_too(void **state)
{
    (void)state;
    struct qn_bundle *one = new_handle();
    struct qn_bundle *two = open_handle(NULL);
    put(two, "base", "theirs", "1");
    (void)commit(two, "two");
    int64_t made = 0;
    assert_int_equal(qn_bundle_revert(one, "0", NULL, &made, NULL), QN_OK);
    assert_int_equal(made, 2);
    expect_equal(text_of(one), strdup("."));
    qn_bundle_free(one);
    qn_bundle_free(two);
}

/* ---- snapshots -------------------------------------------------------------------------------------------------- */

/* Versions 1 to `last`, a few of them with changes. */
static void fill(struct qn_bundle *bundle, int64_t last)
{
    while (qn_bundle_version(bundle) < last) {
        char location[32];
        int64_t version = qn_bundle_version(bundle) + 1;
        (void)snprintf(location, sizeof location, "%lld", (long long)(version % 64));
        const struct qn_change change = {
            .kind = QN_CHANGE_SET, .object = QN_OBJECT_CHECKPOINT, .name = location, .value = location
        };
        assert_int_equal(qn__bundle_begin(bundle, "x", NULL), QN_OK);
        assert_int_equal(qn__bundle_close(bundle, qn__bundle_add(bundle, &change, NULL, NULL)), QN_OK);
        if (version % 50 == 0) {
            put(bundle, "base", location, location);
        }
        assert_int_equal(commit(bundle, ""), version);
    }
}

static void expect_text(const char *found, const char *expected)
{
    assert_int_equal(found == NULL, expected == NULL);
    if (expected != NULL) {
        assert_string_equal(found, expected);
    }
}

static void snapshot__keeps_every_text_of_a_block(void **state)
{
    (void)state;
    static const char digest[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const struct qn_change blocks[] = {
        { .kind = QN_CHANGE_ADD,
          .pack = "p",
          .location = "copy",
          .version = "v1",
          .source = "s",
          .format = "arrow",
          .sha256 = digest,
          .origin = "https://example.com/exports/copy-v1",
          .rows = 3,
          .bytes = 4 },
        { .kind = QN_CHANGE_ADD,
          .pack = "p",
          .location = "reference",
          .version = "",
          .source = "",
          .format = "parquet",
          .sha256 = "",
          .url = "https://example.com/there",
          .rows = -1,
          .bytes = -1 },
        { .kind = QN_CHANGE_ADD,
          .pack = "p",
          .location = "plain",
          .version = "",
          .source = "",
          .format = "arrow",
          .sha256 = digest,
          .rows = 0,
          .bytes = 0 },
    };
    static const char *const schemas[] = { "schema", NULL, NULL };
    const struct qn_sha256 hash = { { 7 } };
    struct qn_bundle_state *made = NULL;
    struct qn_bundle_state *back = NULL;
    assert_int_equal(qn_bundle_state_new(&made, NULL), QN_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(qn_bundle_state_change(made, &blocks[i], schemas[i], 5, NULL), QN_OK);
    }
    qn_auto_buffer file = QN_BUFFER_INIT;
    qn_auto_buffer again = QN_BUFFER_INIT;
    assert_int_equal(qn__snapshot_encode(made, 9, &hash, &file, NULL), QN_OK);
    qn_bundle_state_free(made);
    assert_int_equal(qn__snapshot_decode(&file, 9, &hash, &back, NULL), QN_OK);
    for (size_t i = 0; i < 3; i++) {
        const struct qn_state_entry *found = qn_bundle_state_block(back, "p", blocks[i].location);
        assert_non_null(found);
        expect_text(found->change.version, blocks[i].version);
        expect_text(found->change.source, blocks[i].source);
        expect_text(found->change.format, blocks[i].format);
        expect_text(found->change.sha256, blocks[i].sha256);
        expect_text(found->change.url, blocks[i].url);
        expect_text(found->change.origin, blocks[i].origin);
        expect_text(found->schema, schemas[i]);
        assert_int_equal(found->change.rows, blocks[i].rows);
        assert_int_equal(found->change.bytes, blocks[i].bytes);
        assert_int_equal(found->version, 5);
    }
    assert_int_equal(qn__snapshot_encode(back, 9, &hash, &again, NULL), QN_OK);
    qn_bundle_state_free(back);
}

#define SNAPSHOT "_qanat/checkpoint/00000000000000000255.state"

static void snapshot__saves_reading_and_is_trusted_for_nothing_else(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    fill(bundle, 260);
    char *expected = text_of_log(bundle, 260);
    char *ours = text_of(bundle);
    assert_string_equal(ours, expected);
    free(ours);
    qn_bundle_free(bundle);
    assert_int_equal(faccessat(bundle_fd, SNAPSHOT, F_OK, 0), 0);
    bundle = open_handle(NULL);
    ours = text_of(bundle);
    assert_string_equal(ours, expected);
    assert_int_equal(bundle->state_applied, 5); /* it was used */
    free(ours);
    qn_bundle_free(bundle);
    expect_no_problem();

    int fd = openat(bundle_fd, SNAPSHOT, O_RDONLY | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    (void)close(fd);
    for (off_t at = 0; at < size; at += 1 + size / 97) { /* a bit anywhere */
        damage(SNAPSHOT, at);
        bundle = open_handle(NULL);
        ours = text_of(bundle);
        assert_string_equal(ours, expected);
        assert_int_equal(bundle->state_applied, 261); /* every commit was read */
        free(ours);
        qn_bundle_free(bundle);
        expect_problem("snapshot 255", 255);
        damage(SNAPSHOT, at); /* and whole again */
    }
    fd = openat(bundle_fd, SNAPSHOT, O_RDWR | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, size / 2), 0);
    (void)close(fd);
    bundle = open_handle(NULL);
    ours = text_of(bundle);
    assert_string_equal(ours, expected);
    free(ours);
    expect_problem("snapshot 255", 255);
    /* It is rebuilt by the next one that is due. */
    fill(bundle, 511);
    qn_bundle_free(bundle);
    assert_int_equal(unlinkat(bundle_fd, SNAPSHOT, 0), 0);
    bundle = open_handle(NULL);
    expect_as_logged(bundle);
    assert_int_equal(bundle->state_applied, 0);
    qn_bundle_free(bundle);
    expect_no_problem();
    free(expected);
}

static void snapshot__that_lies_is_found_by_verify(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    fill(bundle, 256);
    struct qn_bundle_state *lie = NULL;
    assert_int_equal(qn_bundle_state_at(bundle->log, 200, &lie, NULL, NULL), QN_OK);
    assert_int_equal(qn__snapshot_save(bundle->log, 255, lie, NULL), QN_OK);
    qn_bundle_state_free(lie);
    qn_bundle_free(bundle);
    expect_problem("snapshot 255", 255);
}

static void snapshot__old_ones_become_few(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    fill(bundle, QN_COMMIT_LOG_STEP * 12);
    qn_bundle_free(bundle);
    int64_t *numbers = NULL;
    int64_t count = 0;
    int fd = openat(bundle_fd, "_qanat/checkpoint", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(qn__log_scan(fd, QN__LOG_STATE, &numbers, &count, NULL), QN_OK);
    (void)close(fd);
    qn__log_sort(numbers, count);
    static const int64_t expected[] = { 4, 6, 8, 9, 10, 11, 12 }; /* steps: the newest two of each level */
    assert_int_equal(count, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(numbers[i], expected[i] * QN_COMMIT_LOG_STEP - 1);
    }
    free(numbers);
    bundle = open_handle("1600");
    expect_as_logged(bundle);
    assert_int_equal(bundle->state_applied, 1601 - 6 * QN_COMMIT_LOG_STEP);
    qn_bundle_free(bundle);
}

/* ---- damage ----------------------------------------------------------------------------------------------------- */

static void name_of_block(struct qn_bundle *bundle, const char *location, char out[128])
{
    const struct qn_bundle_state *state = NULL;
    assert_int_equal(qn__bundle_state(bundle, &state, NULL), QN_OK);
    const char *sha256 = qn_bundle_state_block(state, "base", location)->change.sha256;
    (void)snprintf(out, 128, "data/%.2s/%s.arrow", sha256, sha256);
}

/* trace: B14 */
static void verify__names_what_is_damaged(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    char block[128];
    char object[128];
    for (int i = 1; i <= 5; i++) {
        char text[8];
        (void)snprintf(text, sizeof text, "%d", i);
        put(bundle, "base", text, text);
        (void)commit(bundle, text);
    }
    name_of_block(bundle, "3", block);
    (void)snprintf(object, sizeof object, "block %s", block + 8);
    qn_bundle_free(bundle);
    expect_no_problem();
    damage(block, 0); /* a bit of a block */
    expect_problem(object, 3);
    damage(block, 0);
    assert_int_equal(unlinkat(bundle_fd, block, 0), 0); /* a block that is gone */
    expect_problem(object, 3);
    bundle = open_handle(NULL);
    put(bundle, "base", "other", "3"); /* the same bytes heal it */
    (void)commit(bundle, "x");
    qn_bundle_free(bundle);
    expect_no_problem();
    struct qn_bundle *none = NULL;
    struct qn_error err = QN_ERROR_INIT;
    damage("_qanat/head", 3); /* only a hint: ignored by readers, told by verify */
    qn_bundle_free(open_handle(NULL));
    expect_problem("mark of the head", -1);
    damage("_qanat/head", 3);
    damage("_qanat/log/00000000000000000002.json", 40);
    expect_error(qn_bundle_open(bundle_path, NULL, &none, &err), QN_ERR_DATA, &err, "commit 2 of the log");
    expect_problem("commit 2", 2);
    damage("_qanat/log/00000000000000000002.json", 40);
    expect_no_problem();
    assert_int_equal(unlinkat(bundle_fd, "_qanat/log/00000000000000000006.json", 0), 0); /* cut off at the end */
    expect_error(qn_bundle_open(bundle_path, NULL, &none, &err), QN_ERR_DATA, &err,
                 "commit 6 of the log is missing: its head was commit 6");
    assert_non_null(strstr(err.hint, "_qanat/head"));
    expect_problem("commit 6", 6);
    assert_int_equal(unlinkat(bundle_fd, "_qanat/head", 0), 0);
    qn_bundle_free(open_handle(NULL)); /* nobody knows any more */
    char *text = NULL;
    expect_error(qn_bundle_verify("/tmp", &text, &err), QN_ERR_CONFIG, &err, "there is no bundle");
}

static void verify__finds_a_history_that_contradicts_itself(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    put(bundle, "base", "a", "1");
    (void)commit(bundle, "first");
    struct qn_change wrong = { .kind = QN_CHANGE_REMOVE, .pack = "base", .location = "b" };
    struct qn_commit contradiction = { .message = "wrong", .changes = &wrong, .n_changes = 1 };
    bool lost = true;
    assert_int_equal(qn_commit_log_append(bundle->log, &contradiction, &lost, NULL), QN_OK);
    qn_bundle_free(bundle);
    expect_problem("commit 2", 2);
    bundle = open_handle(NULL);
    struct qn_error err = QN_ERROR_INIT;
    const struct qn_bundle_state *none = NULL;
    expect_error(qn__bundle_state(bundle, &none, &err), QN_ERR_DATA, &err, "commit 2 removes (\"base\", \"b\")");
    qn_bundle_free(bundle);
    bundle = open_handle("1"); /* what was before can be read */
    expect_as_logged(bundle);
    qn_bundle_free(bundle);
}

static void bundle__links_lead_nowhere(void **state)
{
    (void)state;
    char outside[96];
    struct qn_bundle *bundle = new_handle();
    struct qn_bundle *none = NULL;
    struct qn_error err = QN_ERROR_INIT;
    put(bundle, "base", "a", "1");
    (void)commit(bundle, "first");
    char block[128];
    name_of_block(bundle, "a", block);
    (void)snprintf(outside, sizeof outside, "%s.outside", bundle_path);
    assert_int_equal(mkdir(outside, 0700), 0);
    assert_int_equal(renameat(bundle_fd, "data", bundle_fd, "away"), 0);
    assert_int_equal(symlinkat(outside, bundle_fd, "data"), 0);
    expect_error(try_put(bundle, "base", "b", "2", &err), QN_ERR_IO, &err, "data");
    char *swept = NULL;
    expect_error(qn_bundle_gc(bundle, 0, -1, 1, &swept, &err), QN_ERR_IO, &err, "data");
    json_t *problems = verify_folder();
    assert_int_equal(json_array_size(problems), 1); /* the block cannot be read */
    json_decref(problems);
    assert_int_equal(unlinkat(bundle_fd, "data", 0), 0);
    assert_int_equal(renameat(bundle_fd, "away", bundle_fd, "data"), 0);
    qn_bundle_free(bundle);
    expect_no_problem();
    assert_int_equal(unlinkat(bundle_fd, "_qanat/head", 0), 0);
    (void)snprintf(outside + strlen(outside), 8, "/head");
    assert_int_equal(symlinkat(outside, bundle_fd, "_qanat/head"), 0);
    bundle = open_handle(NULL);
    put(bundle, "base", "b", "2");
    assert_int_equal(commit(bundle, "second"), 2); /* the commit stands; no mark was written through the link */
    assert_int_equal(access(outside, F_OK), -1);
    qn_bundle_free(bundle);
    assert_int_equal(unlinkat(bundle_fd, "_qanat/head", 0), 0);
    assert_int_equal(renameat(bundle_fd, "_qanat", bundle_fd, "elsewhere"), 0);
    assert_int_equal(symlinkat("elsewhere", bundle_fd, "_qanat"), 0);
    assert_int_equal(qn_bundle_open(bundle_path, NULL, &none, &err), QN_ERR_IO);
    *strrchr(outside, '/') = '\0';
    assert_int_equal(rmdir(outside), 0); /* nothing came there */
}

/* ---- gc --------------------------------------------------------------------------------------------------------- */

static void expect_gc(struct qn_bundle *bundle, int64_t min_age, int64_t keep, int removed, int temporary)
{
    char *text = NULL;
    struct qn_error err = QN_ERROR_INIT;
    expect_error(qn_bundle_gc(bundle, min_age, keep, 1, &text, &err), QN_OK, &err, "");
    json_t *swept = json_loads(text, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(swept, "removed")), removed);
    assert_int_equal(json_integer_value(json_object_get(swept, "temporary")), temporary);
    json_decref(swept);
    qn_text_free(text);
}

static void make_file(const char *path)
{
    int fd = openat(bundle_fd, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static void gc__takes_what_no_version_names(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_error err = QN_ERROR_INIT;
    char *text = NULL;
    expect_gc(bundle, 0, -1, 0, 0); /* no block was ever kept */
    put(bundle, "base", "a", "1");
    (void)commit(bundle, "first");
    put(bundle, "base", "a", "2");
    (void)commit(bundle, "second");
    put(bundle, "base", "b", "abandoned");
    expect_error(qn_bundle_gc(bundle, 0, -1, 1, &text, &err), QN_ERR_CONFIG, &err, "blocks are pending");
    assert_int_equal(qn_bundle_reset(bundle, NULL, NULL), QN_OK);
    make_file("_qanat/.qanat-1-2-3.tmp");
    make_file("_qanat/log/.qanat-1-2-3.tmp");
    make_file("data/.qanat-1-2-3.tmp");
    expect_gc(bundle, 3600, -1, 0, 0); /* all of it is young */
    expect_gc(bundle, 0, -1, 1, 3);
    expect_no_problem();
    expect_gc(bundle, 0, 2, 0, 0);
    expect_no_problem();
    expect_gc(bundle, 0, 1, 1, 0); /* version 1 loses its block */
    expect_no_problem();           /* on purpose */
    struct qn_bundle *old = open_handle("1");
    char block[128];
    name_of_block(old, "a", block);
    assert_int_equal(faccessat(bundle_fd, block, F_OK, 0), -1);
    qn_bundle_free(old);
    damage("_qanat/floor", 30); /* without the mark the block is missing */
    json_t *problems = verify_folder();
    assert_int_equal(json_array_size(problems), 2);
    json_decref(problems);
    static const struct {
        int64_t min_age;
        int64_t keep;
        double timeout;
    } wrong[] = { { -1, 1, 1 }, { 0, 0, 1 }, { 0, -2, 1 }, { 0, 1, -1 } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(qn_bundle_gc(bundle, wrong[i].min_age, wrong[i].keep, wrong[i].timeout, &text, &err),
                         QN_ERR_ARGUMENT);
    }
    qn_bundle_free(bundle);
}

static void gc__waits_for_whoever_has_blocks_pending(void **state)
{
    (void)state;
    struct qn_bundle *bundle = new_handle();
    struct qn_bundle *writer = open_handle(NULL);
    struct qn_error err = QN_ERROR_INIT;
    char *text = NULL;
    put(writer, "base", "a", "1");
    expect_error(qn_bundle_gc(bundle, 0, -1, 0, &text, &err), QN_ERR_TIMEOUT, &err, "has locked the bundle");
    assert_true(err.retryable);
    (void)commit(writer, "x");
    expect_gc(bundle, 0, -1, 0, 0);
    put(writer, "base", "b", "2");
    assert_int_equal(qn_bundle_undo(writer, NULL, NULL), QN_OK);
    expect_gc(bundle, 0, -1, 1, 0);
    qn_bundle_free(bundle);
    qn_bundle_free(writer);
    expect_no_problem();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HANDLE_TEST(writers__that_touch_other_things_both_commit),
        HANDLE_TEST(writers__that_touch_the_same_conflict),
        HANDLE_TEST(writers__conflict_over_objects_too),
        HANDLE_TEST(revert__to_each_version_equals_that_version),
        HANDLE_TEST(revert__is_refused_while_something_is_pending_or_gone),
        HANDLE_TEST(revert__takes_back_what_others_did_too),
        cmocka_unit_test(snapshot__keeps_every_text_of_a_block),
        HANDLE_TEST(snapshot__saves_reading_and_is_trusted_for_nothing_else),
        HANDLE_TEST(snapshot__that_lies_is_found_by_verify),
        HANDLE_TEST(snapshot__old_ones_become_few),
        HANDLE_TEST(verify__names_what_is_damaged),
        HANDLE_TEST(verify__finds_a_history_that_contradicts_itself),
        HANDLE_TEST(bundle__links_lead_nowhere),
        HANDLE_TEST(gc__takes_what_no_version_names),
        HANDLE_TEST(gc__waits_for_whoever_has_blocks_pending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
