/*
 * result.c: a driver's cursor as an Arrow stream that keeps its connection busy.
 *
 * While `open`, the connection's state is STREAM or STREAM_CALL and connection->stream is this result; the cursor and
 * `open` change only under STREAM_CALL (or CALL, while the stream is made). When the cursor ends or fails it is closed at
 * once and the connection is free. The result holds a reference to its connection, so that it may outlive the owner's.
 */
#include "arrow/stream.h"
#include "base/memory.h"
#include "db/connection.h"

#include <sched.h>

struct qn_result {
    struct qn_connection *connection;
    struct qn_cursor cursor;
    struct qn_prepared *prepared; /* NULL once the cursor is closed */
    struct ArrowSchema schema;
    atomic_bool open;     /* the cursor is */
    atomic_bool detached; /* the connection was closed while the cursor was open */
};

/* Close the cursor and note what it counted. The caller has the connection. */
static void close_cursor(struct qn_result *result)
{
    struct qn_connection *connection = result->connection;
    atomic_store(&connection->rows_affected, result->cursor.ops->rows_affected(result->cursor.self));
    result->cursor.ops->close(result->cursor.self);
    result->cursor.self = NULL;
    qn__prepared_unref(result->prepared);
    result->prepared = NULL;
    if (connection->stream == result) {
        connection->stream = NULL;
    }
    atomic_store(&result->open, false);
}

void qn__result_detach(struct qn_connection *connection)
{
    if (connection->stream != NULL) {
        atomic_store(&connection->stream->detached, true);
        close_cursor(connection->stream);
    }
}

static enum qn_status result_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct qn_result *result = self;
    return qn_schema_share(&result->schema, out, err);
}

static enum qn_status check_readable(struct qn_result *result, struct qn_error *err)
{
    QN_TRY(qn__connection_check_process(result->connection, err));
    if (atomic_load(&result->detached)) {
        return qn_error_set(err, QN_ERR_CLOSED, "the connection was closed while the stream was open");
    }
    return QN_OK;
}

static enum qn_status result_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct qn_result *result = self;
    struct qn_connection *connection = result->connection;
    QN_TRY(check_readable(result, err));
    if (!atomic_load(&result->open)) {
        return QN_OK; /* a statement without rows */
    }
    int seen = QN_CONNECTION_STREAM;
    if (!atomic_compare_exchange_strong(&connection->state, &seen, QN_CONNECTION_STREAM_CALL)) {
        QN_TRY(check_readable(result, err));
        return qn_error_set(err, QN_ERR_BUSY, "the stream is in use by another thread");
    }
    if (!atomic_load(&result->open)) { /* closed between the two looks; now the state is another stream's */
        qn__connection_leave_stream(connection);
        return check_readable(result, err);
    }
    enum qn_status status = result->cursor.ops->next(result->cursor.self, out, err);
    if (status != QN_OK) {
        qn__prepared_position(result->prepared, err);
    }
    if (status != QN_OK || out->release == NULL) {
        close_cursor(result);
    }
    qn__connection_leave_stream(connection);
    return status;
}

static void result_free(void *self)
{
    struct qn_result *result = self;
    struct qn_connection *connection = result->connection;
    /* In a forked child the cursor is left alone: closing it could speak to the parent's server. */
    bool ours = qn__connection_check_process(connection, NULL) == QN_OK;
    while (ours && atomic_load(&result->open)) {
        int seen = QN_CONNECTION_STREAM;
        if (!atomic_compare_exchange_strong(&connection->state, &seen, QN_CONNECTION_STREAM_CALL)) {
            (void)sched_yield(); /* another thread is closing the connection: it ends the cursor */
            continue;
        }
        if (atomic_load(&result->open)) {
            close_cursor(result);
        }
        qn__connection_leave_stream(connection);
    }
    qn__prepared_unref(result->prepared);
    qn_schema_release(&result->schema);
    qn__connection_unref(connection);
    qn_free(result);
}

static const struct qn_stream_ops result_ops = { .schema = result_schema, .next = result_next, .free = result_free };

enum qn_status qn__result_stream(struct qn_connection *connection, struct qn_cursor *take_cursor,
                                 struct qn_prepared *prepared, struct ArrowArrayStream *out, struct qn_error *err)
{
    struct qn_result *result = qn_calloc(1, sizeof *result);
    if (result == NULL) {
        take_cursor->ops->close(take_cursor->self);
        return qn__no_memory(err);
    }
    result->connection = connection;
    result->cursor = *take_cursor;
    enum qn_status status = result->cursor.ops->schema(result->cursor.self, &result->schema, err);
    int64_t rows = -1;
    if (status == QN_OK && result->schema.n_children == 0) {
        /* Nothing to read: run it to its end now, so that releasing the stream cannot cancel it. */
        status = qn__cursor_drain(&result->cursor, &rows, err);
    } else if (status == QN_OK) {
        rows = result->cursor.ops->rows_affected(result->cursor.self);
        atomic_init(&result->open, true);
    }
    if (status != QN_OK) {
        qn__prepared_position(prepared, err);
    } else {
        status = qn_stream_make(&result_ops, result, out, err);
    }
    if (status != QN_OK) {
        if (result->cursor.self != NULL) {
            result->cursor.ops->close(result->cursor.self);
        }
        qn_schema_release(&result->schema);
        qn_free(result);
        return status;
    }
    atomic_store(&connection->rows_affected, rows);
    qn__connection_ref(connection);
    if (atomic_load(&result->open)) {
        connection->stream = result;
        result->prepared = prepared;
        if (prepared != NULL) {
            prepared->refs++;
        }
    }
    return QN_OK;
}
