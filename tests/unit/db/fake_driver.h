/*
 * fake_driver.h: a driver in memory that writes down what the core asks of it.
 *
 * Its SQL: begin, commit, rollback, savepoint and so on change the transaction state; "rows N" gives N batches of three
 * int64 rows; "rows N fail" fails after them; "fail" fails at once (and fails the transaction, as PostgreSQL does); "wait"
 * blocks until it is cancelled; "fake columns" answers with fake.columns; "insert" affects one row; all else affects none.
 */
#ifndef QN_TEST_FAKE_DRIVER_H
#define QN_TEST_FAKE_DRIVER_H

#include "arrow/column.h"
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/driver_table.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dialects.h"

static struct {
    struct qn_buffer log; /* one line per statement, ingest, close of a cursor */
    enum qn_transaction_state state;
    bool quiet;       /* parameters are not logged: memory is failing */
    bool lost;        /* is_open says no */
    bool fail_commit; /* and end the transaction, as a deferred constraint does */
    int opened, closed, abandoned, cancelled, open_cursors;
    int64_t ingested;
    int64_t fail_ingest_after;  /* batches; -1: never */
    const char *const *columns; /* of the table that the catalogue knows, or NULL */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool waiting, released;
} fake = { .fail_ingest_after = -1, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void fake_reset(void)
{
    qn_buffer_dispose(&fake.log);
    fake.log = (struct qn_buffer)QN_BUFFER_INIT;
    fake.state = QN_TRANSACTION_NONE;
    fake.quiet = fake.lost = fake.fail_commit = fake.waiting = fake.released = false;
    fake.opened = fake.closed = fake.abandoned = fake.cancelled = fake.open_cursors = 0;
    fake.ingested = 0;
    fake.fail_ingest_after = -1;
    fake.columns = NULL;
}

/* What was logged since the last look. */
static inline void assert_log(const char *expected)
{
    assert_string_equal(qn_buffer_text(&fake.log), expected);
    qn_buffer_reset(&fake.log);
}

struct fake_cursor {
    int batches; /* still to come */
    bool fails;
    int64_t affected;
    const char *const *texts; /* one column of texts instead of numbers */
    bool ended;
};

static enum qn_status fake_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct fake_cursor *cursor = self;
    struct qn_type type = qn_type_of(cursor->texts != NULL ? QN_TYPE_STRING_VIEW : QN_TYPE_INT64);
    bool any = cursor->batches > 0 || cursor->fails || cursor->texts != NULL;
    struct ArrowSchema schema = { 0 };
    QN_TRY(qn_schema_struct(&schema, any ? 1 : 0, err));
    enum qn_status status = any ? qn_schema_set(&schema, 0, cursor->texts != NULL ? "name" : "n", &type, err) : QN_OK;
    if (status != QN_OK) {
        qn_schema_release(&schema);
        return status;
    }
    *out = schema;
    return QN_OK;
}

static enum qn_status fake_batch(struct fake_cursor *cursor, struct ArrowArray *out, struct qn_error *err)
{
    struct ArrowSchema schema = { 0 };
    struct qn_batch batch = { 0 };
    int64_t rows = 3;
    for (rows = cursor->texts != NULL ? 0 : 3; cursor->texts != NULL && cursor->texts[rows] != NULL;) {
        rows++;
    }
    enum qn_status status = fake_schema(cursor, &schema, err);
    status = status == QN_OK ? qn_batch_init(&batch, &schema, err) : status;
    status = status == QN_OK ? qn_batch_reserve(&batch, rows, err) : status;
    for (int64_t i = 0; i < rows && status == QN_OK; i++) {
        if (cursor->texts != NULL) {
            qn_column_put_bytes(&batch.columns[0], cursor->texts[i], strlen(cursor->texts[i]));
        } else {
            qn_column_put_int64(&batch.columns[0], i);
        }
    }
    status = status == QN_OK ? qn_batch_finish(&batch, rows, out, err) : status;
    qn_batch_dispose(&batch);
    qn_schema_release(&schema);
    return status;
}

static enum qn_status fake_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct fake_cursor *cursor = self;
    assert_false(cursor->ended);
    if (cursor->batches > 0 || cursor->texts != NULL) {
        enum qn_status status = fake_batch(cursor, out, err);
        cursor->batches -= cursor->batches > 0;
        cursor->texts = NULL;
        return status;
    }
    cursor->ended = true;
    if (cursor->fails) {
        qn_error_set(err, QN_ERR_QUERY, "the rows failed");
        if (err != NULL) {
            err->position = 1;
        }
        return QN_ERR_QUERY;
    }
    return QN_OK;
}

static int64_t fake_rows_affected(void *self)
{
    const struct fake_cursor *cursor = self;
    return cursor->ended ? cursor->affected : -1;
}

static void fake_cursor_close(void *self)
{
    const struct fake_cursor *cursor = self;
    if (!cursor->ended) {
        qn_buffer_append_text(&fake.log, "(cursor cancelled)\n");
    }
    fake.open_cursors--;
    qn_free(self);
}

static const struct qn_cursor_ops fake_cursor_ops = { .struct_size = sizeof(struct qn_cursor_ops),
                                                      .schema = fake_schema,
                                                      .next = fake_next,
                                                      .rows_affected = fake_rows_affected,
                                                      .close = fake_cursor_close };

/* " [l 7, u abc, n]" for a row of parameters. */
static void fake_log_params(const struct qn_statement *statement)
{
    if (statement->params_schema == NULL || fake.quiet) {
        return;
    }
    struct qn_batch_reader reader = { 0 };
    assert_int_equal(qn_batch_reader_init(&reader, statement->params_schema, NULL), QN_OK);
    assert_int_equal(qn_batch_reader_bind(&reader, statement->params, NULL), QN_OK);
    assert_int_equal(reader.length, 1);
    for (int64_t i = 0; i < reader.n_columns; i++) {
        const struct qn_reader *column = &reader.columns[i];
        const char *format = statement->params_schema->children[i]->format;
        const char *bytes;
        size_t size;
        qn_buffer_printf(&fake.log, "%s%s", i > 0 ? ", " : " [", format);
        if (qn_reader_is_null(column, 0)) {
            qn_buffer_append_text(&fake.log, " null");
        } else if (column->type.id == QN_TYPE_INT64) {
            qn_buffer_printf(&fake.log, " %lld", (long long)qn_reader_int64(column, 0));
        } else {
            assert_true(qn_reader_bytes(column, 0, &bytes, &size));
            qn_buffer_printf(&fake.log, " %.*s", (int)size, bytes);
        }
    }
    qn_buffer_append_byte(&fake.log, ']');
    qn_batch_reader_dispose(&reader);
}

static void fake_change_state(const char *sql)
{
    if (qn_text_starts_nocase(sql, "begin")) {
        fake.state = QN_TRANSACTION_OPEN;
    } else if (qn_text_starts_nocase(sql, "rollback to")) {
        fake.state = QN_TRANSACTION_OPEN;
    } else if (qn_text_starts_nocase(sql, "commit") || qn_text_starts_nocase(sql, "rollback")) {
        fake.state = QN_TRANSACTION_NONE;
    }
}

static enum qn_status fake_wait(struct qn_error *err)
{
    (void)pthread_mutex_lock(&fake.mutex);
    fake.waiting = true;
    (void)pthread_cond_broadcast(&fake.changed);
    while (!fake.released) {
        (void)pthread_cond_wait(&fake.changed, &fake.mutex);
    }
    fake.waiting = fake.released = false;
    (void)pthread_mutex_unlock(&fake.mutex);
    return qn_error_set(err, QN_ERR_CANCELLED, "cancelled");
}

static enum qn_status fake_query(void *connection, const struct qn_statement *statement, struct qn_cursor *out,
                                 struct qn_error *err)
{
    const char *sql = statement->sql;
    assert_ptr_equal(connection, &fake);
    assert_int_equal(strlen(sql), statement->sql_size);
    assert_non_null(statement->options);
    qn_buffer_append_text(&fake.log, sql);
    fake_log_params(statement);
    qn_buffer_append_byte(&fake.log, '\n');
    if (qn_text_starts_nocase(sql, "wait")) {
        return fake_wait(err);
    }
    bool fails = qn_text_starts_nocase(sql, "fail") || (fake.fail_commit && qn_text_starts_nocase(sql, "commit"));
    if (fails) {
        fake.state =
            fake.state == QN_TRANSACTION_NONE || fake.fail_commit ? QN_TRANSACTION_NONE : QN_TRANSACTION_FAILED;
        qn_error_set(err, QN_ERR_QUERY, "the statement failed");
        const char *here = strstr(sql, "here");
        if (err != NULL && here != NULL) {
            err->position = (int32_t)(here - sql) + 1;
        }
        return QN_ERR_QUERY;
    }
    struct fake_cursor *cursor = qn_calloc(1, sizeof *cursor);
    if (cursor == NULL) {
        return qn__no_memory(err);
    }
    if (qn_text_starts_nocase(sql, "rows ")) {
        cursor->batches = atoi(sql + 5);
        cursor->affected = 3 * cursor->batches;
        cursor->fails = strstr(sql, "fail") != NULL;
    } else if (qn_text_starts_nocase(sql, "fake columns") && fake.columns != NULL) {
        cursor->texts = fake.columns;
    } else if (qn_text_starts_nocase(sql, "fake")) {
        static const char *const none[] = { NULL };
        cursor->texts = none;
    } else if (qn_text_starts_nocase(sql, "insert")) {
        cursor->affected = 1;
    }
    fake_change_state(sql);
    fake.open_cursors++;
    *out = (struct qn_cursor){ .ops = &fake_cursor_ops, .self = cursor };
    return QN_OK;
}

static enum qn_status fake_ingest(void *connection, const struct qn_driver_ingest *ingest,
                                  struct ArrowArrayStream *rows, int64_t *rows_out, struct qn_error *err)
{
    assert_ptr_equal(connection, &fake);
    assert_int_equal(fake.state, QN_TRANSACTION_OPEN);
    qn_buffer_printf(&fake.log, "ingest %s mode %d key %zu\n", ingest->table, (int)ingest->mode, ingest->n_key);
    int64_t n = 0;
    for (int64_t batches = 0;; batches++) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_stream_next(rows, &batch, err));
        if (batch.release == NULL) {
            break;
        }
        if (batches == fake.fail_ingest_after) {
            return qn_error_set(err, QN_ERR_DATA, "a value does not fit");
        }
        n += batch.length;
    }
    fake.ingested += n;
    *rows_out = n;
    return QN_OK;
}

static enum qn_status fake_open(const struct qn_config *config, void **out, struct qn_error *err)
{
    if (qn_config_get(config, "refuse") != NULL) {
        return qn_error_set(err, QN_ERR_CONNECTION, "refused");
    }
    fake.opened++;
    *out = &fake;
    return QN_OK;
}

static void fake_close(void *connection)
{
    assert_ptr_equal(connection, &fake);
    assert_int_equal(fake.open_cursors, 0);
    fake.closed++;
}

static void fake_abandon(void *connection)
{
    assert_ptr_equal(connection, &fake);
    fake.abandoned++;
}

static bool fake_is_open(const void *connection)
{
    (void)connection;
    return !fake.lost;
}

static enum qn_status fake_ping(void *connection, struct qn_error *err)
{
    (void)connection;
    (void)err;
    return QN_OK;
}

static enum qn_status fake_cancel(void *connection, struct qn_error *err)
{
    (void)connection;
    (void)err;
    (void)pthread_mutex_lock(&fake.mutex);
    fake.cancelled++;
    fake.released = fake.waiting;
    (void)pthread_cond_broadcast(&fake.changed);
    (void)pthread_mutex_unlock(&fake.mutex);
    return QN_OK;
}

static enum qn_transaction_state fake_state(const void *connection)
{
    (void)connection;
    return fake.state;
}

static const char *const fake_aliases[] = { "fakeql", NULL };
static const struct qn_driver fake_driver = {
    .struct_size = sizeof(struct qn_driver),
    .version = QN_DRIVER_VERSION,
    .name = "fake",
    .aliases = fake_aliases,
    .dialect = &dollar_dialect,
    .open = fake_open,
    .close = fake_close,
    .abandon = fake_abandon,
    .is_open = fake_is_open,
    .ping = fake_ping,
    .cancel = fake_cancel,
    .transaction_state = fake_state,
    .query = fake_query,
    .ingest = fake_ingest,
};

static inline int fake_register(void **state)
{
    (void)state;
    return qn_driver_register(&fake_driver, NULL) == QN_OK ? 0 : -1;
}

static inline struct qn_connection *fake_connect(void)
{
    struct qn_connection *connection = NULL;
    fake_reset();
    assert_int_equal(qn_connection_open("fake://host/db", &connection, NULL), QN_OK);
    return connection;
}

/* Free, and check that the driver was closed once and nothing of it is left. */
static inline void fake_disconnect(struct qn_connection *connection)
{
    qn_connection_free(connection);
    assert_int_equal(fake.closed, fake.opened);
    assert_int_equal(fake.open_cursors, 0);
    assert_int_equal(fake.abandoned, 0);
    fake_reset();
}

static inline enum qn_status fake_execute(struct qn_connection *connection, const char *sql, struct qn_error *err)
{
    struct qn_query query = QN_QUERY_INIT;
    query.sql = sql;
    return qn_connection_execute(connection, &query, NULL, err);
}

static inline enum qn_status fake_stream(struct qn_connection *connection, const char *sql,
                                         struct ArrowArrayStream *out, struct qn_error *err)
{
    struct qn_query query = QN_QUERY_INIT;
    query.sql = sql;
    return qn_connection_query(connection, &query, out, NULL, err);
}

/* Rows until the end or a failure. */
static inline enum qn_status fake_read(struct ArrowArrayStream *stream, int64_t *rows_out, struct qn_error *err)
{
    *rows_out = 0;
    for (;;) {
        qn_auto_array batch = { 0 };
        QN_TRY(qn_stream_next(stream, &batch, err));
        if (batch.release == NULL) {
            return QN_OK;
        }
        *rows_out += batch.length;
    }
}

#endif
