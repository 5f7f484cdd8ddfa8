/*
 * execute_many.c: one statement, run once per row of a stream, pipelined.
 *
 * The statement is parsed once. Then Bind and Execute go out row after row without waiting, a Sync after every chunk;
 * the replies of a chunk are read while the server works on the next one. At most two chunks are under way, so the
 * replies to what was sent always have room (and a flush reads while the socket is full).
 *
 * Invariant: `answered` rows have succeeded; an error is that of the row after them. The engine's transaction is open:
 * what was sent after a failure fails with it.
 */
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/postgres/encode.h"
#include "db/postgres/postgres.h"

#include <inttypes.h>

#define CHUNK_ROWS  1000
#define CHUNK_BYTES ((size_t)64 << 10)

struct many {
    struct qn_pg *pg;
    const struct qn_statement *statement;
    struct qn_batch_reader readers;
    struct qn_pg_prepared *prepared;
    struct qn_pg_encoder *encoders; /* by placeholder */
    size_t n_placeholders;
    int64_t rows;     /* sent */
    int64_t answered; /* rows whose completion has been read */
    int64_t affected;
    int64_t chunk_rows;
};

static void many_dispose(struct many *many)
{
    qn_batch_reader_dispose(&many->readers);
    qn_free(many->encoders);
}

/* Parse, with the columns in the order of the placeholders as a hint for types that the server cannot tell. */
static enum qn_status prepare(struct many *many, const struct ArrowSchema *schema, const int32_t *column_of,
                              struct qn_error *err)
{
    size_t n = many->n_placeholders;
    qn_auto_free struct ArrowSchema **children = qn_malloc(n * sizeof *children);
    if (children == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        if (column_of[i] < 0 || column_of[i] >= schema->n_children) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "placeholder %zu has no column", i + 1);
        }
        children[i] = schema->children[column_of[i]];
    }
    struct ArrowSchema params = { .format = "+s", .name = "", .n_children = (int64_t)n, .children = children };
    QN_TRY(qn_pg_prepare(many->pg, many->statement->sql, many->statement->sql_size, &params, &many->prepared, err));
    const struct qn_pg_description *description = &many->prepared->description;
    if ((size_t)description->n_params != n) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the statement has %" PRId32 " placeholders, %zu were given",
                            description->n_params, n);
    }
    for (size_t i = 0; i < n; i++) {
        QN_TRY(qn_pg_encoder_choose(&many->readers.columns[column_of[i]], description->params[i], -1,
                                    &many->encoders[i], err));
    }
    return QN_OK;
}

/* ---- replies ---- */

/* Read until at most `left` ReadyForQuery are outstanding. After an error everything is read. */
static enum qn_status read_replies(struct many *many, int32_t left, struct qn_error *err)
{
    struct qn_pg *pg = many->pg;
    enum qn_status first = QN_OK;
    while (pg->ready_expected > (first == QN_OK ? left : 0)) {
        char type;
        const char *body;
        size_t size;
        enum qn_status status = qn_pg_message_next(pg, &type, &body, &size, first == QN_OK ? err : NULL);
        if (status != QN_OK) {
            qn_pg_recover(pg);
            return first != QN_OK ? first : status;
        }
        if (type == 'E' && first == QN_OK) {
            first = qn_pg_error_from_message(pg, body, size, many->statement->sql, err);
            if (err != NULL) {
                err->row = many->answered;
            }
        } else if (type == 'C' || type == 'I') {
            int64_t rows = type == 'C' ? qn_pg_tag_rows(body) : 0;
            qn_pg_note_tag(pg, type == 'C' ? body : "");
            many->affected += rows > 0 ? rows : 0;
            many->answered++;
        }
    }
    return first;
}

/* ---- rows ---- */

static void begin_bind(struct many *many)
{
    struct qn_buffer *out = &many->pg->out;
    size_t n = many->n_placeholders;
    qn_pg_message_begin(many->pg, 'B');
    qn_buffer_append_byte(out, '\0'); /* the unnamed portal */
    qn_buffer_append(out, many->prepared->name, strlen(many->prepared->name) + 1);
    qn_buffer_append_be16(out, (uint16_t)n);
    for (size_t i = 0; i < n; i++) {
        qn_buffer_append_be16(out, (uint16_t)many->encoders[i].format);
    }
    qn_buffer_append_be16(out, (uint16_t)n);
}

static void end_bind(struct many *many)
{
    static const char execute[5] = { 0 };     /* the unnamed portal, all rows */
    qn_buffer_append_be16(&many->pg->out, 0); /* results, if any, as text: they are dropped */
    qn_pg_message_end(many->pg);
    qn_pg_message(many->pg, 'E', execute, sizeof execute);
}

/* End the chunk: send it, and read what the one before it was answered. */
static enum qn_status end_chunk(struct many *many, struct qn_error *err)
{
    qn_pg_message(many->pg, 'S', "", 0);
    many->chunk_rows = 0;
    enum qn_status status = qn_pg_flush(many->pg, err);
    if (status != QN_OK) {
        qn_pg_recover(many->pg);
        return status;
    }
    return read_replies(many, 1, err);
}

/* A value does not fit: what was sent of earlier rows is ended and read; a failure of the server is of an earlier row and
 * comes first. */
static enum qn_status end_misfit(struct many *many, size_t keep, enum qn_status status, struct qn_error *err)
{
    struct qn_buffer *out = &many->pg->out;
    if (out->failure == QN_BUFFER_FINE) {
        out->size = keep;
        qn_pg_message(many->pg, 'S', "", 0);
    }
    struct qn_error earlier = QN_ERROR_INIT;
    enum qn_status server = qn_pg_flush(many->pg, &earlier);
    if (server == QN_OK) {
        server = read_replies(many, 0, &earlier);
    } else {
        qn_pg_recover(many->pg);
    }
    if (server == QN_OK) {
        return status;
    }
    if (err != NULL) {
        *err = earlier;
    }
    return server;
}

static enum qn_status send_rows(struct many *many, struct qn_error *err)
{
    struct qn_buffer *out = &many->pg->out;
    for (size_t i = 0; i < many->n_placeholders; i++) {
        many->encoders[i].row_base = many->rows;
    }
    for (int64_t row = 0; row < many->readers.length; row++) {
        size_t before = out->size;
        begin_bind(many);
        for (size_t i = 0; i < many->n_placeholders; i++) {
            enum qn_status status = qn_pg_encoder_put(&many->encoders[i], row, out, err);
            if (QN_UNLIKELY(status != QN_OK)) {
                return end_misfit(many, before, status, err);
            }
        }
        end_bind(many);
        many->chunk_rows++;
        if (many->chunk_rows == CHUNK_ROWS || out->size >= CHUNK_BYTES || out->failure != QN_BUFFER_FINE) {
            QN_TRY(end_chunk(many, err));
        }
    }
    many->rows += many->readers.length;
    return QN_OK;
}

static enum qn_status send_stream(struct many *many, struct ArrowArrayStream *rows, struct qn_error *err)
{
    for (;;) {
        qn_auto_array array = { .release = NULL };
        enum qn_status status = qn_stream_next(rows, &array, err);
        if (status == QN_OK && array.release == NULL) {
            break;
        }
        if (status == QN_OK) {
            status = qn_batch_reader_bind(&many->readers, &array, err);
        }
        if (status != QN_OK) {
            return end_misfit(many, many->pg->out.size, status, err);
        }
        QN_TRY(send_rows(many, err));
    }
    if (many->chunk_rows > 0) {
        QN_TRY(end_chunk(many, err));
    }
    return read_replies(many, 0, err);
}

static bool is_stale(const struct qn_error *err)
{
    return qn_text_equal(err->sqlstate, "26000") || qn_text_equal(err->sqlstate, "0A000");
}

enum qn_status qn_pg_execute_many(void *connection, const struct qn_statement *statement, const int32_t *column_of,
                                  size_t n_placeholders, struct ArrowArrayStream *rows, int64_t *rows_affected_out,
                                  struct qn_error *err)
{
    struct qn_error failure = QN_ERROR_INIT;
    struct qn_pg *pg = connection;
    QN_LOG(QN_LOG_DEBUG, "postgres", "%s", statement->sql);
    __atomic_store_n(&pg->cancel_asked, 0, __ATOMIC_RELEASE);
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_stream_schema(rows, &schema, err));
    struct many many = { .pg = pg, .statement = statement, .n_placeholders = n_placeholders };
    many.encoders = qn_calloc(n_placeholders, sizeof *many.encoders);
    enum qn_status status = many.encoders == NULL ? qn__no_memory(&failure) : QN_OK;
    if (status == QN_OK) {
        status = qn_batch_reader_init(&many.readers, &schema, &failure);
    }
    if (status == QN_OK) {
        status = prepare(&many, &schema, column_of, &failure);
    }
    if (status == QN_OK) {
        many.pg->deadline = qn_deadline_after_ms(statement->options->statement_timeout_ms);
        status = send_stream(&many, rows, &failure);
        many.pg->deadline = QN_NO_DEADLINE;
        if (status != QN_OK && !many.pg->broken && is_stale(&failure)) {
            qn_pg_forget(many.pg, many.prepared);
        }
    }
    many_dispose(&many);
    if (status == QN_OK) {
        *rows_affected_out = many.affected;
    } else if (err != NULL) {
        *err = failure;
    }
    return status;
}
