/*
 * reading.h: asking a real server through the driver's own functions, and the answer as text.
 *
 * QANAT_TEST_POSTGRES holds the server's URI; where it is unset the tests say so and are skipped.
 */
#ifndef QN_TESTS_UNIT_DB_POSTGRES_READING_H
#define QN_TESTS_UNIT_DB_POSTGRES_READING_H

#include "arrow/reader.h"
#include "base/buffer.h"
#include "db/postgres/postgres.h"

#include <qanat/database.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct answer {
    enum qn_status status;
    struct qn_error err;
    struct qn_buffer schema; /* "name:format name:format" */
    struct qn_buffer rows;   /* values as JSON, "|" between columns, a newline after each row */
    int64_t n_rows, n_batches, affected;
};

static inline const char *server_uri(void)
{
    const char *uri = getenv("QANAT_TEST_POSTGRES");
    if (uri == NULL) {
        print_message(
            "skipped: QANAT_TEST_POSTGRES names no server (scripts/postgres_server.py -- COMMAND starts one)\n");
        skip();
    }
    return uri;
}

/* Connect with more options, as "key", "value", ..., NULL. */
static inline enum qn_status connect_with(const char *uri, struct qn_pg **out, struct qn_error *err, ...)
{
    struct qn_config *config = NULL;
    enum qn_status status = qn_config_from_uri(uri, &config, err);
    va_list args;
    va_start(args, err);
    for (const char *key = va_arg(args, const char *); key != NULL && status == QN_OK;
         key = va_arg(args, const char *)) {
        status = qn_config_set(config, key, va_arg(args, const char *), err);
    }
    va_end(args);
    if (status == QN_OK) {
        status = qn_pg_open(config, out, err);
    }
    qn_config_free(config);
    return status;
}

static inline struct qn_pg *connected(void)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_pg *pg = NULL;
    if (connect_with(server_uri(), &pg, &err, NULL) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return pg;
}

static inline enum qn_status start_params(struct qn_pg *pg, const char *sql, const struct qn_query_options *options,
                                          const struct ArrowSchema *schema, const struct ArrowArray *array,
                                          struct qn_cursor *out, struct qn_error *err)
{
    static const struct qn_query_options defaults = QN_QUERY_OPTIONS_INIT;
    struct qn_statement statement = {
        .struct_size = sizeof statement,
        .sql = sql,
        .sql_size = strlen(sql),
        .sql_given = sql,
        .params_schema = schema,
        .params = array,
        .options = options != NULL ? options : &defaults,
    };
    return qn_pg_query(pg, &statement, out, err);
}

static inline enum qn_status start(struct qn_pg *pg, const char *sql, const struct qn_query_options *options,
                                   struct qn_cursor *out, struct qn_error *err)
{
    return start_params(pg, sql, options, NULL, NULL, out, err);
}

static inline void write_row(const struct qn_batch_reader *reader, int64_t row, struct qn_buffer *out)
{
    struct qn_error err = QN_ERROR_INIT;
    for (int64_t i = 0; i < reader->n_columns; i++) {
        qn_buffer_append_text(out, i > 0 ? "|" : "");
        if (qn_reader_to_json(&reader->columns[i], row, out, &err) != QN_OK) {
            qn_buffer_append_text(out, err.message);
        }
    }
    qn_buffer_append_byte(out, '\n');
}

static inline void read_all(struct qn_cursor *cursor, struct answer *answer)
{
    struct ArrowSchema schema = { 0 };
    struct qn_batch_reader reader = { 0 };
    answer->status = cursor->ops->schema(cursor->self, &schema, &answer->err);
    if (answer->status != QN_OK) {
        return;
    }
    assert_int_equal(qn_batch_reader_init(&reader, &schema, &answer->err), QN_OK);
    for (int64_t i = 0; i < schema.n_children; i++) {
        qn_buffer_printf(&answer->schema, "%s%s:%s", i > 0 ? " " : "", schema.children[i]->name,
                         schema.children[i]->format);
    }
    for (;;) {
        struct ArrowArray array = { 0 };
        answer->status = cursor->ops->next(cursor->self, &array, &answer->err);
        if (answer->status != QN_OK || array.release == NULL) {
            break;
        }
        assert_int_equal(qn_batch_reader_bind(&reader, &array, &answer->err), QN_OK);
        for (int64_t row = 0; row < array.length && answer->n_rows + row < 1000; row++) {
            write_row(&reader, row, &answer->rows);
        }
        answer->n_rows += array.length;
        answer->n_batches++;
        array.release(&array);
    }
    answer->affected = cursor->ops->rows_affected(cursor->self);
    qn_batch_reader_dispose(&reader);
    schema.release(&schema);
}

static inline struct answer ask_params(struct qn_pg *pg, const char *sql, const struct qn_query_options *options,
                                       const struct ArrowSchema *schema, const struct ArrowArray *array)
{
    struct answer answer = { .err = QN_ERROR_INIT, .affected = -1 };
    struct qn_cursor cursor = { 0 };
    answer.status = start_params(pg, sql, options, schema, array, &cursor, &answer.err);
    if (answer.status == QN_OK) {
        read_all(&cursor, &answer);
        cursor.ops->close(cursor.self);
    }
    return answer;
}

static inline struct answer ask(struct qn_pg *pg, const char *sql, const struct qn_query_options *options)
{
    return ask_params(pg, sql, options, NULL, NULL);
}

static inline void answer_free(struct answer *answer)
{
    qn_buffer_dispose(&answer->schema);
    qn_buffer_dispose(&answer->rows);
}

/* The statement gives this schema and these rows; NULL: not looked at. */
static inline void expect_with(struct qn_pg *pg, const struct qn_query_options *options, const char *sql,
                               const char *schema, const char *rows)
{
    struct answer answer = ask(pg, sql, options);
    if (answer.status != QN_OK) {
        fail_msg("%s: %s", sql, answer.err.message);
    }
    if (schema != NULL) {
        assert_string_equal(qn_buffer_text(&answer.schema), schema);
    }
    if (rows != NULL) {
        assert_string_equal(qn_buffer_text(&answer.rows), rows);
    }
    answer_free(&answer);
}

static inline void expect(struct qn_pg *pg, const char *sql, const char *schema, const char *rows)
{
    expect_with(pg, NULL, sql, schema, rows);
}

/* The statement fails, at its start or while it is read, and the connection can be used afterwards. */
static inline struct qn_error expect_error(struct qn_pg *pg, const struct qn_query_options *options, const char *sql,
                                           enum qn_status status)
{
    struct answer answer = ask(pg, sql, options);
    if (answer.status != status) {
        fail_msg("%s: %s, not %s: %s", sql, qn_status_name(answer.status), qn_status_name(status), answer.err.message);
    }
    assert_int_equal(answer.err.status, status);
    struct qn_error err = answer.err;
    answer_free(&answer);
    if (!pg->broken) {
        assert_int_equal(pg->ready_expected, 0);
        if (pg->transaction_status != 'E') {
            expect(pg, "select 41 + 1 as n", "n:i", "42\n");
        }
    }
    return err;
}

#endif
