/*
 * server.h: tests against a real server. QANAT_TEST_POSTGRES holds its URI; where it is unset the tests say so and are
 * skipped. Everything is done in a schema of the test's own, which is dropped again.
 */
#ifndef QN_TESTS_UNIT_DB_POSTGRES_SERVER_H
#define QN_TESTS_UNIT_DB_POSTGRES_SERVER_H

#include "arrow/column.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "db/postgres/lookup.h"
#include "db/postgres/postgres.h"

#include <qanat/database.h>

static inline struct qn_pg *server_open(const char *uri)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_config *config = NULL;
    struct qn_pg *pg = NULL;
    if (qn_config_from_uri(uri, &config, &err) != QN_OK || qn_pg_open(config, &pg, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    qn_config_free(config);
    return pg;
}

static inline void server_run(struct qn_pg *pg, const char *sql)
{
    struct qn_error err = QN_ERROR_INIT;
    if (qn_pg_simple(pg, sql, NULL, &err) != QN_OK) {
        fail_msg("%s: %s", sql, err.message);
    }
}

struct server_texts {
    struct qn_buffer text;
};
static inline enum qn_status server_take(void *context, const struct qn_pg_lookup_row *row, struct qn_error *err)
{
    (void)err;
    struct qn_buffer *text = context;
    qn_buffer_append_text(text, text->size > 0 ? "\n" : "");
    for (int i = 0; i < row->n_fields; i++) {
        qn_buffer_append_text(text, i > 0 ? "|" : "");
        if (row->text[i] == NULL) {
            qn_buffer_append_text(text, "<null>");
        } else {
            qn_buffer_append(text, row->text[i], row->size[i]);
        }
    }
    return QN_OK;
}

/* The rows of a query as text: fields separated by |, rows by newlines. */
static inline void server_expect(struct qn_pg *pg, const char *sql, const char *expected)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_buffer text = QN_BUFFER_INIT;
    if (qn_pg_lookup(pg, sql, server_take, &text, &err) != QN_OK) {
        fail_msg("%s: %s", sql, err.message);
    }
    assert_string_equal(qn_buffer_text(&text), expected);
    qn_buffer_dispose(&text);
}

/* ---- streams of rows that a function fills ---- */

struct made_rows {
    struct ArrowSchema schema;
    struct qn_batch batch;
    int64_t n_batches, batch_rows, given;
    void (*fill)(struct qn_batch *batch, int64_t row, void *context); /* puts one value into every column */
    void (*before)(int64_t batch, void *context);                     /* or NULL */
    int64_t fail_at;                                                  /* a batch whose reading fails, or -1 */
    void *context;
};

static inline enum qn_status made_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct made_rows *made = self;
    return qn_schema_copy(&made->schema, out, err);
}

static inline enum qn_status made_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct made_rows *made = self;
    out->release = NULL;
    if (made->given == made->n_batches) {
        return QN_OK;
    }
    if (made->given == made->fail_at) {
        return qn_error_set(err, QN_ERR_IO, "the source has run dry");
    }
    if (made->before != NULL) {
        made->before(made->given, made->context);
    }
    QN_TRY(qn_batch_reserve(&made->batch, made->batch_rows, err));
    for (int64_t i = 0; i < made->batch_rows; i++) {
        made->fill(&made->batch, made->given * made->batch_rows + i, made->context);
    }
    made->given++;
    return qn_batch_finish(&made->batch, made->batch_rows, out, err);
}

static inline void made_free(void *self)
{
    struct made_rows *made = self;
    qn_batch_dispose(&made->batch);
    qn_schema_release(&made->schema);
    qn_free(made);
}

struct made_column {
    const char *name;
    struct qn_type type;
};

/* A stream of n_batches of batch_rows each. */
static inline struct made_rows *made_stream(const struct made_column *columns, int64_t n_columns, int64_t n_batches,
                                            int64_t batch_rows, void (*fill)(struct qn_batch *, int64_t, void *),
                                            void *context, struct ArrowArrayStream *out)
{
    static const struct qn_stream_ops ops = { .schema = made_schema, .next = made_next, .free = made_free };
    struct qn_error err = QN_ERROR_INIT;
    struct made_rows *made = qn_calloc(1, sizeof *made);
    assert_non_null(made);
    made->n_batches = n_batches;
    made->batch_rows = batch_rows;
    made->fill = fill;
    made->context = context;
    made->fail_at = -1;
    enum qn_status status = qn_schema_struct(&made->schema, n_columns, &err);
    for (int64_t i = 0; status == QN_OK && i < n_columns; i++) {
        status = qn_schema_set(&made->schema, i, columns[i].name, &columns[i].type, &err);
    }
    if (status != QN_OK || qn_batch_init(&made->batch, &made->schema, &err) != QN_OK ||
        qn_stream_make(&ops, made, out, &err) != QN_OK) {
        fail_msg("the test's own stream: %s", err.message);
    }
    return made;
}

#endif
