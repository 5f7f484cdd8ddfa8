/*
 * fixture.h: databases in fresh files, results as text ("i:l s:vu | 1 "a" | null null"), expected errors.
 *
 * A result is shown as its columns with their Arrow formats, then each row after a bar, values as JSON.
 */
#ifndef QN_TESTS_DB_SQLITE_FIXTURE_H
#define QN_TESTS_DB_SQLITE_FIXTURE_H

#include "arrow/column.h"
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/buffer.h"
#include "base/memory.h"

#include <qanat/qanat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE 256

static char test_folder[PATH_SIZE];

static inline int make_folder(void **state)
{
    const char *root = getenv("TMPDIR");
    (void)state;
    (void)snprintf(test_folder, sizeof test_folder, "%s/qanat_sqlite_XXXXXX", root != NULL ? root : "/tmp");
    return mkdtemp(test_folder) != NULL ? 0 : -1;
}

static inline int drop_folder(void **state)
{
    char command[PATH_SIZE + 16];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", test_folder);
    return system(command);
}

/* "sqlite:///folder/name" + options. */
static inline const char *file_uri(const char *name, const char *options)
{
    static char uri[PATH_SIZE * 2];
    (void)snprintf(uri, sizeof uri, "sqlite:///%s/%s%s", test_folder, name, options);
    return uri;
}

static inline struct qn_connection *open_uri(const char *uri)
{
    struct qn_connection *connection = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_connection_open(uri, &connection, &err) != QN_OK) {
        fail_msg("%s: %s", uri, err.message);
    }
    return connection;
}

static inline struct qn_connection *open_memory(void)
{
    return open_uri("sqlite://:memory:");
}

/* ---- results as text ---- */

static inline enum qn_status show_rows(struct ArrowArrayStream *stream, struct qn_buffer *out, struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_stream_schema(stream, &schema, err));
    for (int64_t i = 0; i < schema.n_children; i++) {
        qn_buffer_printf(out, "%s%s:%s", i > 0 ? " " : "", schema.children[i]->name, schema.children[i]->format);
    }
    struct qn_batch_reader reader;
    QN_TRY(qn_batch_reader_init(&reader, &schema, err));
    enum qn_status status = QN_OK;
    for (bool more = true; more && status == QN_OK;) {
        qn_auto_array batch = { .release = NULL };
        status = qn_stream_next(stream, &batch, err);
        more = status == QN_OK && batch.release != NULL;
        if (more) {
            status = qn_batch_reader_bind(&reader, &batch, err);
        }
        for (int64_t row = 0; more && status == QN_OK && row < reader.length; row++) {
            qn_buffer_append_text(out, " |");
            for (int64_t i = 0; i < reader.n_columns && status == QN_OK; i++) {
                qn_buffer_append_byte(out, ' ');
                if (qn_reader_is_null(&reader.columns[i], row)) {
                    qn_buffer_append_text(out, "null");
                } else {
                    status = qn_reader_to_json(&reader.columns[i], row, out, err);
                }
            }
        }
    }
    qn_batch_reader_dispose(&reader);
    return status;
}

static inline enum qn_status show_query(struct qn_connection *connection, const struct qn_query *query,
                                        struct qn_buffer *out, struct qn_error *err)
{
    qn_auto_stream stream = { .release = NULL };
    QN_TRY(qn_connection_query(connection, query, &stream, NULL, err));
    return show_rows(&stream, out, err);
}

static inline void expect_options(struct qn_connection *connection, const char *sql,
                                  const struct qn_query_options *options, const char *expected)
{
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_buffer out = QN_BUFFER_INIT;
    query.sql = sql;
    query.options = options;
    if (show_query(connection, &query, &out, &err) != QN_OK) {
        fail_msg("%s: %s", sql, err.message);
    }
    assert_string_equal(qn_buffer_text(&out), expected);
}

static inline void expect(struct qn_connection *connection, const char *sql, const char *expected)
{
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.result_mode = QN_RESULT_WHOLE;
    expect_options(connection, sql, &options, expected);
}

static inline void expect_typed(struct qn_connection *connection, const char *sql, const char *column, const char *type,
                                const char *expected)
{
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_type_override override = { .column = column, .type = type };
    options.types = &override;
    options.n_types = 1;
    expect_options(connection, sql, &options, expected);
}

/* The statement must fail with this status, and with `says` in its message; the error is returned. */
static inline struct qn_error expect_error_options(struct qn_connection *connection, const char *sql,
                                                   const struct qn_query_options *options, enum qn_status status,
                                                   const char *says)
{
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_buffer out = QN_BUFFER_INIT;
    query.sql = sql;
    query.options = options;
    enum qn_status found = show_query(connection, &query, &out, &err);
    if (found != status || strstr(err.message, says) == NULL) {
        fail_msg("%s: wanted %s \"%s\", found %s \"%s\" %s", sql, qn_status_name(status), says, qn_status_name(found),
                 err.message, qn_buffer_text(&out));
    }
    assert_int_equal(err.status, status);
    return err;
}

static inline struct qn_error expect_error(struct qn_connection *connection, const char *sql, enum qn_status status,
                                           const char *sqlstate, const char *says)
{
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.result_mode = QN_RESULT_WHOLE;
    struct qn_error err = expect_error_options(connection, sql, &options, status, says);
    assert_string_equal(err.sqlstate, sqlstate);
    return err;
}

static inline void run(struct qn_connection *connection, const char *sql)
{
    struct qn_query query = QN_QUERY_INIT;
    struct qn_error err = QN_ERROR_INIT;
    query.sql = sql;
    if (qn_connection_execute(connection, &query, NULL, &err) != QN_OK) {
        fail_msg("%s: %s", sql, err.message);
    }
}

/* ---- rows to write ---- */

struct rows {
    struct ArrowSchema schema;
    struct qn_batch batch;
};

/* Columns by name and type string, NULL at the end: rows_init(&rows, 8, "i", "Int64", "s", "Utf8", NULL). */
static inline void rows_init(struct rows *rows, int64_t capacity, ...)
{
    struct qn_error err = QN_ERROR_INIT;
    const char *names[16], *types[16];
    int64_t n = 0;
    va_list args;
    va_start(args, capacity);
    while ((names[n] = va_arg(args, const char *)) != NULL) {
        types[n++] = va_arg(args, const char *);
    }
    va_end(args);
    assert_int_equal(qn_schema_struct(&rows->schema, n, &err), QN_OK);
    for (int64_t i = 0; i < n; i++) {
        struct qn_type type;
        assert_int_equal(qn_type_from_text(types[i], &type, &err), QN_OK);
        assert_int_equal(qn_schema_set(&rows->schema, i, names[i], &type, &err), QN_OK);
    }
    assert_int_equal(qn_batch_init(&rows->batch, &rows->schema, &err), QN_OK);
    assert_int_equal(qn_batch_reserve(&rows->batch, capacity, &err), QN_OK);
}

static inline void put_text(struct rows *rows, int column, const char *text)
{
    qn_column_put_bytes(&rows->batch.columns[column], text, strlen(text));
}

/* Turn the rows into a stream; `rows` is empty afterwards. */
static inline void rows_stream(struct rows *rows, struct ArrowArrayStream *out)
{
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowArray array = { .release = NULL };
    int64_t n = rows->batch.columns[0].length;
    assert_int_equal(qn_batch_finish(&rows->batch, n, &array, &err), QN_OK);
    qn_batch_dispose(&rows->batch);
    assert_int_equal(qn_stream_from_arrays(&rows->schema, &array, 1, out, &err), QN_OK);
}

static inline enum qn_status ingest_rows(struct qn_connection *connection, struct rows *rows, const char *table,
                                         enum qn_ingest_mode mode, const char *key, int64_t *count,
                                         struct qn_error *err)
{
    qn_auto_stream stream = { .release = NULL };
    struct qn_ingest ingest = QN_INGEST_INIT;
    ingest.table = table;
    ingest.mode = mode;
    ingest.key = &key;
    ingest.n_key = key != NULL ? 1 : 0;
    rows_stream(rows, &stream);
    return qn_connection_ingest(connection, &ingest, &stream, count, err);
}

static inline void ingest_ok(struct qn_connection *connection, struct rows *rows, const char *table,
                             enum qn_ingest_mode mode, const char *key, int64_t expected)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t count = -1;
    if (ingest_rows(connection, rows, table, mode, key, &count, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(count, expected);
}

static inline struct qn_error ingest_fails(struct qn_connection *connection, struct rows *rows, const char *table,
                                           enum qn_ingest_mode mode, const char *key, enum qn_status status,
                                           const char *says)
{
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status found = ingest_rows(connection, rows, table, mode, key, NULL, &err);
    if (found != status || strstr(err.message, says) == NULL) {
        fail_msg("wanted %s \"%s\", found %s \"%s\"", qn_status_name(status), says, qn_status_name(found), err.message);
    }
    return err;
}

#endif
