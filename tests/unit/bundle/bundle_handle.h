/*
 * bundle_handle.h: a handle in a temporary folder, blocks of text in it, and what it holds as text. Included by one test
 * program each.
 *
 * A block's bytes are any text: nothing here reads them as a table.
 */
#ifndef QN_TESTS_BUNDLE_HANDLE_H
#define QN_TESTS_BUNDLE_HANDLE_H

#include "base/buffer.h"
#include "bundle/blob.h"
#include "bundle/bundle_private.h"
#include "bundle_folder.h"

#include <jansson.h>

static inline struct qn_bundle *new_handle(void)
{
    struct qn_bundle *bundle = NULL;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_bundle_create(bundle_path, NULL, &bundle, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, QN_OK);
    return bundle;
}

/* version NULL: the newest. */
static inline struct qn_bundle *open_handle(const char *version)
{
    struct qn_bundle *bundle = NULL;
    struct qn_bundle_options options = QN_BUNDLE_OPTIONS_INIT;
    struct qn_error err = QN_ERROR_INIT;
    options.version = version;
    enum qn_status status = qn_bundle_open(bundle_path, &options, &bundle, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, QN_OK);
    return bundle;
}

static inline enum qn_status write_block(struct qn_bundle *bundle, const char *text, char sha256[QN_SHA256_TEXT_SIZE],
                                         struct qn_error *err)
{
    struct qn_blob_writer *writer = NULL;
    struct qn_sha256 hash;
    QN_TRY(qn__bundle_lock_blocks(bundle, err));
    QN_TRY(qn_blob_writer_new(bundle->fd, "arrow", &writer, err));
    enum qn_status status = qn_blob_writer_write(writer, text, strlen(text), err);
    if (status == QN_OK) {
        status = qn_blob_writer_finish(writer, &hash, err);
    }
    qn_blob_writer_free(writer);
    if (status == QN_OK) {
        qn_sha256_format(&hash, sha256);
    }
    return status;
}

static inline enum qn_status add_block(struct qn_bundle *bundle, const char *pack, const char *location,
                                       const char *text, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    char sha256[QN_SHA256_TEXT_SIZE];
    QN_TRY(qn__bundle_state(bundle, &state, err));
    bool there = qn_bundle_state_block(state, pack, location) != NULL;
    struct qn_change change = { .kind = text == NULL ? QN_CHANGE_REMOVE
                                        : there      ? QN_CHANGE_REPLACE
                                                     : QN_CHANGE_ADD,
                                .pack = pack,
                                .location = location,
                                .version = "v",
                                .source = "",
                                .format = "arrow",
                                .sha256 = sha256,
                                .origin = text != NULL && strlen(text) % 2 == 0 ? "https://example.com/origin" : NULL,
                                .rows = 1,
                                .bytes = text != NULL ? (int64_t)strlen(text) : -1 };
    if (text != NULL) {
        QN_TRY(write_block(bundle, text, sha256, err));
    }
    return qn__bundle_add(bundle, &change, text, err); /* a schema that differs with the text */
}

/* One operation: `text` is the block of a location from now on; NULL: it has none. */
static inline enum qn_status try_put(struct qn_bundle *bundle, const char *pack, const char *location, const char *text,
                                     struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err));
    enum qn_status status = qn__bundle_begin(bundle, "put", err);
    if (status == QN_OK) {
        status = qn__bundle_close(bundle, add_block(bundle, pack, location, text, err));
    }
    qn__bundle_leave(bundle);
    return status;
}

static inline void put(struct qn_bundle *bundle, const char *pack, const char *location, const char *text)
{
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = try_put(bundle, pack, location, text, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, QN_OK);
}

static inline int64_t commit(struct qn_bundle *bundle, const char *message)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t version = -1;
    enum qn_status status = qn_bundle_commit(bundle, message, &version, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, QN_OK);
    return version;
}

/* What a state holds, in its order: "base/a=0123abcd base/b=..." and "config/a.b=value"; the caller frees it. */
static inline char *text_of_state(const struct qn_bundle_state *state)
{
    struct qn_buffer text = QN_BUFFER_INIT;
    size_t place = 0;
    const struct qn_state_entry *entry;
    qn_buffer_append_text(&text, "");
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        const struct qn_change *change = &entry->change;
        if (change->kind == QN_CHANGE_SET) {
            qn_buffer_printf(&text, "%s/%s=%s ", qn_object_kind_name(change->object), change->name, change->value);
        } else {
            qn_buffer_printf(&text, "%s/%s=%.8s(%s,%s,%s,%lld,%lld) ", change->pack, change->location, change->sha256,
                             entry->schema != NULL ? entry->schema : "-", change->origin != NULL ? change->origin : "-",
                             change->version, (long long)change->rows, (long long)change->bytes);
        }
    }
    qn_buffer_append_byte(&text, '.');
    assert_int_equal(qn_buffer_check(&text, "a state", NULL), QN_OK);
    return qn_buffer_steal(&text);
}

static inline char *text_of(struct qn_bundle *bundle)
{
    const struct qn_bundle_state *state = NULL;
    assert_int_equal(qn__bundle_state(bundle, &state, NULL), QN_OK);
    return text_of_state(state);
}

/* The same by applying every commit, without snapshots. */
static inline char *text_of_log(struct qn_bundle *bundle, int64_t version)
{
    struct qn_bundle_state *state = NULL;
    assert_int_equal(qn_bundle_state_new(&state, NULL), QN_OK);
    for (int64_t i = 0; i <= version; i++) {
        struct qn_commit made;
        assert_int_equal(qn_commit_log_read(bundle->log, i, &made, NULL), QN_OK);
        assert_int_equal(qn_bundle_state_apply(state, &made, NULL), QN_OK);
        qn_commit_dispose(&made);
    }
    char *text = text_of_state(state);
    qn_bundle_state_free(state);
    return text;
}

/* What verify says of the folder; the caller decrefs. */
static inline json_t *verify_folder(void)
{
    char *text = NULL;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_bundle_verify(bundle_path, &text, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, QN_OK);
    json_t *problems = json_loads(text, 0, NULL);
    assert_true(json_is_array(problems));
    qn_text_free(text);
    return problems;
}

static inline void expect_no_problem(void)
{
    json_t *problems = verify_folder();
    if (json_array_size(problems) > 0) {
        char *text = json_dumps(problems, 0);
        print_message("%s\n", text);
        free(text);
    }
    assert_int_equal(json_array_size(problems), 0);
    json_decref(problems);
}

/* Exactly one problem, of an object whose name begins so. */
static inline void expect_problem(const char *object, int64_t version)
{
    json_t *problems = verify_folder();
    char *text = json_dumps(problems, 0);
    const json_t *first = json_array_get(problems, 0);
    const char *named = json_string_value(json_object_get(first, "object"));
    if (json_array_size(problems) != 1 || strncmp(named, object, strlen(object)) != 0) {
        print_message("%s\n", text);
    }
    assert_int_equal(json_array_size(problems), 1);
    assert_memory_equal(named, object, strlen(object));
    const json_t *number = json_object_get(first, "version");
    assert_int_equal(json_is_integer(number) ? json_integer_value(number) : -1, version);
    free(text);
    json_decref(problems);
}

/* Overwrite one byte of a file. */
static inline void damage(const char *path, off_t at)
{
    int fd = openat(bundle_fd, path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    char byte = 0;
    if (at < 0) {
        at += lseek(fd, 0, SEEK_END);
    }
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (char)(byte ^ 1);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

#endif
