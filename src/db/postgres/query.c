/*
 * query.c: running a statement and reading its rows as the caller asks for them.
 *
 * A statement that is prepared (statement.c) is run by Bind, Execute and Sync in one go. Rows are read from the socket
 * batch by batch; what the caller does not ask for waits in the kernel and then stops the server, so that memory stays
 * bounded. A cursor that ends early cancels on the server and reads up to ReadyForQuery, within QN_PG_DRAIN_MS.
 *
 * Invariant: when qn_pg_query returns an error, or a cursor has ended or been closed, ready_expected is 0 or the
 * connection is broken. Threads: one at a time per connection.
 */
#include "db/postgres/decode.h"
#include "db/postgres/encode.h"

#include "arrow/reader.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

#define BATCH_ROWS  65536
#define BATCH_BYTES ((int64_t)16 << 20)
#define WHOLE_ROWS  ((int64_t)1 << 20) /* of a batch where the caller wants the whole result: few and large */
#define WHOLE_BYTES ((int64_t)256 << 20)
#define FLOW_BYTES  ((int64_t)64 << 10) /* after this much of a result reads may gather */
#define DRAIN_BYTES ((int64_t)1 << 20)  /* what is read rather than cancelled when a cursor is closed early */
#define DRAIN_SOON  10                  /* ... and for how many milliseconds */

struct cursor {
    struct qn_pg *pg;
    struct qn_pg_rows rows;
    bool returns_rows, ended, failed, whole, loaded;
    int64_t affected;
    int64_t batch_rows, batch_bytes;
    struct ArrowArray all; /* of a result whose schema its values decide */
};

/* ---- sending ---- */

static enum qn_status check_count(const struct qn_pg_prepared *prepared, int64_t given, struct qn_error *err)
{
    if (prepared->description.n_params == given) {
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_ARGUMENT, "the statement has %d parameters, %lld were given",
                        prepared->description.n_params, (long long)given);
}

static enum qn_status bind_values(struct qn_pg *pg, const struct qn_pg_prepared *prepared,
                                  const struct qn_statement *statement, struct qn_error *err)
{
    int64_t n = statement->params_schema != NULL ? statement->params_schema->n_children : 0;
    QN_TRY(check_count(prepared, n, err));
    if (n == 0) {
        qn_buffer_append_be32(&pg->out, 0); /* no formats, no values */
        return QN_OK;
    }
    struct qn_batch_reader reader = { 0 };
    QN_TRY(qn_batch_reader_init(&reader, statement->params_schema, err));
    struct qn_pg_encoder *encoders = qn_calloc((size_t)n, sizeof *encoders);
    if (encoders == NULL) {
        qn_batch_reader_dispose(&reader);
        return qn__no_memory(err);
    }
    enum qn_status status = qn_batch_reader_bind(&reader, statement->params, err);
    if (status == QN_OK && reader.length != 1) {
        status = qn_error_set(err, QN_ERR_ARGUMENT, "%lld rows of parameters, not one", (long long)reader.length);
    }
    for (int64_t i = 0; i < n && status == QN_OK; i++) {
        status = qn_pg_encoder_choose(&reader.columns[i], prepared->description.params[i], -1, &encoders[i], err);
        encoders[i].parameter = (int32_t)i + 1;
    }
    if (status == QN_OK) {
        qn_buffer_append_be16(&pg->out, (uint16_t)n);
        for (int64_t i = 0; i < n; i++) {
            qn_buffer_append_be16(&pg->out, (uint16_t)encoders[i].format);
        }
        qn_buffer_append_be16(&pg->out, (uint16_t)n);
        for (int64_t i = 0; i < n && status == QN_OK; i++) {
            status = encoders[i].put(&encoders[i], 0, &pg->out, err);
        }
    }
    qn_free(encoders);
    qn_batch_reader_dispose(&reader);
    return status;
}

/* Bind, Execute, Sync into the send buffer; on failure the buffer is what it was. */
static enum qn_status collect(struct qn_pg *pg, const struct qn_pg_prepared *prepared, const struct qn_pg_rows *rows,
                              const struct qn_statement *statement, struct qn_error *err)
{
    size_t before = pg->out.size;
    qn_pg_message_begin(pg, 'B');
    qn_buffer_append_byte(&pg->out, 0); /* the unnamed portal */
    qn_buffer_append(&pg->out, prepared->name, strlen(prepared->name) + 1);
    enum qn_status status = bind_values(pg, prepared, statement, err);
    if (status != QN_OK) {
        pg->out.size = before;
        return status;
    }
    qn_buffer_append_be16(&pg->out, (uint16_t)rows->n_columns);
    for (int32_t i = 0; i < rows->n_columns; i++) {
        qn_buffer_append_be16(&pg->out, (uint16_t)qn_pg_decoder_format(rows->columns[i].decoder));
    }
    qn_pg_message_end(pg);
    static const char execute[5] = { 0 }; /* the unnamed portal, no limit of rows */
    qn_pg_message(pg, 'E', execute, sizeof execute);
    qn_pg_message(pg, 'S', "", 0);
    return QN_OK;
}

/* ---- the end of a statement ---- */

static enum qn_status refuse_copy(struct qn_pg *pg, char type, struct qn_error *err)
{
    enum qn_status status = qn_error_set(err, QN_ERR_UNSUPPORTED, "COPY %s the client cannot be run as a statement",
                                         type == 'G' ? "from" : "to");
    qn_error_hint(err, type == 'G' ? "insert() writes by COPY" : "stream() and execute() read tables and queries");
    if (type == 'G') { /* the Sync that was sent with Execute is swallowed by the copy mode: another one follows */
        static const char reason[] = "refused by the client";
        pg->copying_in = false;
        pg->ready_expected--;
        qn_pg_message(pg, 'f', reason, sizeof reason);
        qn_pg_message(pg, 'S', "", 0);
        if (qn_pg_flush(pg, NULL) != QN_OK || qn_pg_sync_to_ready(pg, NULL) == QN_OK) {
            qn_pg_recover(pg);
        }
    } else {
        qn_pg_recover(pg);
    }
    return status;
}

static void take_tag(struct cursor *cursor, const char *body, size_t size)
{
    struct qn_pg_body tag = qn_pg_body_of(body, size);
    const char *text = qn_pg_body_text(&tag);
    cursor->affected = qn_pg_tag_rows(text);
    qn_pg_note_tag(cursor->pg, text);
    if (qn_text_equal(text, "DISCARD ALL") || qn_text_equal(text, "DEALLOCATE ALL")) {
        qn_pg_forget_all(cursor->pg);
    }
}

/* A statement has changed the encoding of the connection: undo that, and say so. */
static enum qn_status check_encoding(struct qn_pg *pg, struct qn_error *err)
{
    if (QN_LIKELY(!pg->bad_encoding)) {
        return QN_OK;
    }
    if (qn_pg_simple(pg, "set client_encoding to 'UTF8'", NULL, NULL) != QN_OK || pg->bad_encoding) {
        (void)qn_pg_break(pg, NULL, QN_ERR_CONNECTION, "%s", "");
    }
    enum qn_status status =
        qn_error_set(err, QN_ERR_UNSUPPORTED, "client_encoding was changed by a statement: only UTF8 is possible");
    qn_error_hint(err, "leave client_encoding alone: texts are UTF-8 on this side whatever the database's encoding is");
    return status;
}

/* Handle one message that is no DataRow. Sets cursor->ended with ReadyForQuery. */
static enum qn_status take_other(struct cursor *cursor, char type, const char *body, size_t size, struct qn_error *err)
{
    struct qn_pg *pg = cursor->pg;
    enum qn_status status = QN_OK;
    switch (type) {
    case '2': /* BindComplete */
    case '3': /* CloseComplete */
        return QN_OK;
    case 'I': /* EmptyQueryResponse */
        (void)qn_error_set(err, QN_ERR_QUERY, "the statement is empty");
        if (err != NULL) {
            QN_ERROR_COPY(err->sqlstate, "42601", 5);
        }
        (void)!qn_pg_sync_to_ready(pg, NULL);
        return QN_ERR_QUERY;
    case 'C':
        take_tag(cursor, body, size);
        return QN_OK;
    case 'Z':
        if (pg->ready_expected == 0) {
            cursor->ended = true;
            pg->deadline = QN_NO_DEADLINE;
            return check_encoding(pg, err);
        }
        return QN_OK;
    case 'E':
        status = qn_pg_error_from_message(pg, body, size, NULL, err);
        if (!pg->broken) {
            (void)!qn_pg_sync_to_ready(pg, NULL);
        }
        return status;
    case 'G':
    case 'H':
        return refuse_copy(pg, type, err);
    default:
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "unexpected message 0x%02x in a result", (unsigned char)type);
    }
}

/* ---- reading ---- */

/* Read up to the first row or the end: errors of the start belong to the query, not to the first batch. */
static enum qn_status read_start(struct cursor *cursor, struct qn_error *err)
{
    struct qn_pg *pg = cursor->pg;
    while (!cursor->ended) {
        char type = 0;
        const char *body = NULL;
        size_t size = 0;
        QN_TRY(qn_pg_message_next(pg, &type, &body, &size, err));
        if (type == 'D') {
            if (!cursor->returns_rows) {
                return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent rows for a statement that has none");
            }
            pg->in_start -= size + 5; /* it is still there: to be decoded with its batch */
            return QN_OK;
        }
        QN_TRY(take_other(cursor, type, body, size, err));
    }
    return QN_OK;
}

static enum qn_status read_batch(struct cursor *cursor, int64_t max_rows, int64_t max_bytes, struct qn_error *err)
{
    struct qn_pg *pg = cursor->pg;
    while (!cursor->ended) {
        QN_TRY(qn_pg_rows_take(&cursor->rows, pg, max_rows, err));
        if (cursor->rows.row >= max_rows || qn_pg_rows_bytes(&cursor->rows) >= max_bytes) {
            return QN_OK;
        }
        pg->flowing = cursor->rows.taken_bytes > FLOW_BYTES;
        char type = 0;
        const char *body = NULL;
        size_t size = 0;
        QN_TRY(qn_pg_message_next(pg, &type, &body, &size, err));
        if (type == 'D') {
            pg->in_start -= size + 5; /* whole now */
        } else {
            QN_TRY(take_other(cursor, type, body, size, err));
        }
    }
    return QN_OK;
}

/* After a failure of `next`: leave the connection ready, or broken. */
static void settle(struct cursor *cursor)
{
    struct qn_pg *pg = cursor->pg;
    if (!pg->broken && (pg->ready_expected > 0 || pg->out.size > 0)) {
        qn_pg_recover(pg);
    }
    pg->flowing = false;
    pg->deadline = QN_NO_DEADLINE;
    cursor->ended = true;
    cursor->failed = true;
}

static enum qn_status cursor_load(struct cursor *cursor, struct qn_error *err)
{
    if (cursor->loaded || !cursor->rows.by_values) {
        return QN_OK;
    }
    enum qn_status status = read_batch(cursor, INT64_MAX, INT64_MAX, err);
    if (status == QN_OK) {
        status = qn_pg_rows_finish(&cursor->rows, &cursor->all, err);
    }
    if (status != QN_OK) {
        settle(cursor);
        return status;
    }
    cursor->loaded = true;
    return QN_OK;
}

static enum qn_status cursor_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct cursor *cursor = self;
    QN_TRY(cursor_load(cursor, err));
    return qn_pg_rows_schema(&cursor->rows, out, err);
}

static enum qn_status cursor_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct cursor *cursor = self;
    out->release = NULL;
    if (cursor->failed) {
        return qn_error_set(err, QN_ERR_CLOSED, "the result ended with an error");
    }
    if (cursor->rows.by_values) {
        QN_TRY(cursor_load(cursor, err));
        if (cursor->all.release != NULL && cursor->all.length > 0) {
            *out = cursor->all;
            cursor->all.release = NULL;
        }
        return QN_OK;
    }
    if (cursor->ended && cursor->rows.row == 0) {
        return QN_OK;
    }
    enum qn_status status = QN_OK;
    bool full_before = cursor->rows.rows_before >= cursor->batch_rows;
    if (full_before && !cursor->whole) {
        status = qn_pg_rows_reserve(&cursor->rows, cursor->batch_rows, err);
    }
    if (status == QN_OK) {
        status = read_batch(cursor, cursor->batch_rows, cursor->batch_bytes, err);
    }
    if (status == QN_OK && cursor->rows.row > 0) {
        status = qn_pg_rows_finish(&cursor->rows, out, err);
    }
    if (status != QN_OK) {
        settle(cursor);
    }
    return status;
}

static int64_t cursor_rows_affected(void *self)
{
    const struct cursor *cursor = self;
    return cursor->affected;
}

/* A result that has nearly arrived is read to its end: a cancel would spoil the open transaction. */
static void drain_soon(struct cursor *cursor)
{
    struct qn_pg *pg = cursor->pg;
    int64_t bytes = 0;
    pg->draining = true;
    pg->deadline = qn_deadline_after_ms(DRAIN_SOON);
    while (pg->ready_expected > 0 && bytes < DRAIN_BYTES && !pg->broken) {
        char type = 0;
        const char *body = NULL;
        size_t size = 0;
        if (qn_pg_message_next(pg, &type, &body, &size, NULL) != QN_OK) {
            break;
        }
        if (type == 'C') {
            take_tag(cursor, body, size);
        } else if (type == 'E') {
            (void)!qn_pg_error_from_message(pg, body, size, NULL, NULL);
        }
        bytes += (int64_t)size;
    }
    pg->draining = false;
}

static void cursor_close(void *self)
{
    struct cursor *cursor = self;
    if (!cursor->ended && !cursor->pg->broken) {
        cursor->pg->flowing = false;
        drain_soon(cursor);
        settle(cursor);
        (void)!check_encoding(cursor->pg, NULL);
    }
    qn_array_release(&cursor->all);
    qn_pg_rows_dispose(&cursor->rows);
    qn_free(cursor);
}

static const struct qn_cursor_ops cursor_ops = {
    .struct_size = sizeof cursor_ops,
    .schema = cursor_schema,
    .next = cursor_next,
    .rows_affected = cursor_rows_affected,
    .close = cursor_close,
};

/* ---- the query ---- */

static int64_t limit_or(int64_t given, int64_t fallback)
{
    return given > 0 ? given : fallback;
}

static enum qn_status cursor_start(struct cursor *cursor, const struct qn_statement *statement,
                                   struct qn_pg_prepared *prepared, struct qn_error *err)
{
    const struct qn_query_options *options = statement->options;
    struct qn_pg *pg = cursor->pg;
    cursor->affected = -1;
    cursor->returns_rows = prepared->description.returns_rows;
    cursor->whole = options->result_mode == QN_RESULT_WHOLE;
    cursor->batch_rows = cursor->whole ? WHOLE_ROWS : limit_or(options->batch_rows, BATCH_ROWS);
    cursor->batch_bytes = cursor->whole ? WHOLE_BYTES : limit_or(options->batch_bytes, BATCH_BYTES);
    QN_TRY(qn_pg_rows_init(&cursor->rows, pg, prepared, options, err));
    QN_TRY(collect(pg, prepared, &cursor->rows, statement, err));
    enum qn_status status = qn_pg_flush(pg, err);
    if (status == QN_OK) {
        status = read_start(cursor, err);
    }
    if (status != QN_OK) {
        settle(cursor);
    }
    return status;
}

/* The server has lost or outgrown a statement of the cache, and no transaction is spoilt by that. */
static bool may_prepare_again(const struct qn_pg *pg, const struct qn_error *err)
{
    return !pg->broken && pg->transaction_status == 'I' &&
           (qn_text_equal(err->sqlstate, "26000") || qn_text_equal(err->sqlstate, "0A000"));
}

static enum qn_status try_query(struct qn_pg *pg, const struct qn_statement *statement, bool *cached_out,
                                struct qn_cursor *out, struct qn_error *err)
{
    struct qn_pg_prepared *prepared = NULL;
    uint64_t before = pg->next_statement;
    QN_TRY(qn_pg_prepare(pg, statement->sql, statement->sql_size, statement->params_schema, &prepared, err));
    *cached_out = before == pg->next_statement;
    struct cursor *cursor = qn_calloc(1, sizeof *cursor);
    if (cursor == NULL) {
        return qn__no_memory(err);
    }
    cursor->pg = pg;
    enum qn_status status = cursor_start(cursor, statement, prepared, err);
    if (status != QN_OK) {
        bool stale =
            err->sqlstate[0] != 0 && (qn_text_equal(err->sqlstate, "26000") || qn_text_equal(err->sqlstate, "0A000"));
        if (stale && *cached_out && pg->prepared == prepared && !pg->broken) {
            qn_pg_forget(pg, prepared);
        }
        cursor->ended = true;
        cursor_close(cursor);
        return status;
    }
    out->ops = &cursor_ops;
    out->self = cursor;
    return QN_OK;
}

enum qn_status qn_pg_query(void *connection, const struct qn_statement *statement, struct qn_cursor *out,
                           struct qn_error *err)
{
    struct qn_pg *pg = connection;
    struct qn_error failure;
    qn_error_clear(&failure);
    QN_LOG(QN_LOG_DEBUG, "postgres", "%s", statement->sql);
    __atomic_store_n(&pg->cancel_asked, 0, __ATOMIC_RELEASE);
    pg->deadline = qn_deadline_after_ms(statement->options->statement_timeout_ms);
    bool cached = false;
    enum qn_status status = try_query(pg, statement, &cached, out, &failure);
    if (status != QN_OK && cached && may_prepare_again(pg, &failure)) {
        pg->deadline = qn_deadline_after_ms(statement->options->statement_timeout_ms);
        status = try_query(pg, statement, &cached, out, &failure);
    }
    if (status == QN_OK) {
        return QN_OK;
    }
    pg->deadline = QN_NO_DEADLINE;
    if (err != NULL) {
        *err = failure;
    }
    return status;
}
