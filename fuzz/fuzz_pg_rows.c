/*
 * fuzz_pg_rows.c: everything that reads bytes from a PostgreSQL server: messages, descriptions, rows, errors, notices.
 *
 * The first two bytes choose how the conversation goes (below); the rest is what the server says: the answers to Parse
 * and Describe, then to Bind and Execute. The connection must end ready, or broken, and never with a batch whose arrays
 * do not hold what they announce.
 */
#include "arrow/reader.h"
#include "base/memory.h"
#include "db/postgres/postgres.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
    const uint8_t *bytes;
    size_t size, at, step;
};

static enum qn_pg_io script_read(struct qn_pg *pg, char *bytes, size_t size, size_t *done_out)
{
    struct script *script = pg->transport_context;
    size_t left = script->size - script->at;
    size = script->step > 0 && size > script->step ? script->step : size;
    size = size > left ? left : size;
    if (size == 0) {
        return QN_PG_IO_END;
    }
    memcpy(bytes, script->bytes + script->at, size);
    script->at += size;
    *done_out = size;
    return QN_PG_IO_DONE;
}

static enum qn_pg_io script_write(struct qn_pg *pg, const char *bytes, size_t size, size_t *done_out)
{
    (void)pg;
    (void)bytes;
    *done_out = size;
    return QN_PG_IO_DONE;
}

static const struct qn_pg_transport transport = { .read = script_read, .write = script_write };

/* Look at every value as a taker would. */
static void look(const struct ArrowSchema *schema, const struct ArrowArray *array)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_batch_reader reader = { 0 };
    if (qn_batch_reader_init(&reader, schema, &err) != QN_OK || qn_batch_reader_bind(&reader, array, &err) != QN_OK) {
        abort(); /* what we made, we must be able to read */
    }
    struct qn_buffer text = QN_BUFFER_INIT;
    for (int64_t row = 0; row < reader.length; row++) {
        for (int64_t i = 0; i < reader.n_columns; i++) {
            (void)!qn_reader_to_json(&reader.columns[i], row, &text, &err);
        }
        qn_buffer_reset(&text);
    }
    qn_buffer_dispose(&text);
    qn_batch_reader_dispose(&reader);
}

static void drain(const struct qn_cursor *cursor)
{
    struct qn_error err = QN_ERROR_INIT;
    struct ArrowSchema schema = { 0 };
    struct ArrowArray array = { 0 };
    if (cursor->ops->schema(cursor->self, &schema, &err) != QN_OK) {
        return;
    }
    while (cursor->ops->next(cursor->self, &array, &err) == QN_OK && array.release != NULL) {
        look(&schema, &array);
        array.release(&array);
    }
    schema.release(&schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct script script = { .bytes = data + 2, .size = size - 2, .step = data[0] & 15 };
    struct qn_pg *pg = qn_calloc(1, sizeof *pg);
    if (pg == NULL) {
        return 0;
    }
    pg->fd = -1;
    pg->transport = &transport;
    pg->transport_context = &script;
    pg->transaction_status = 'I';
    pg->deadline = QN_NO_DEADLINE;
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.batch_rows = 1 + (data[0] >> 4);
    options.result_mode = (data[1] & 1) != 0 ? QN_RESULT_WHOLE : QN_RESULT_STREAM;
    options.numeric = (enum qn_numeric)((data[1] >> 1 & 3) % 3);
    options.numeric_special = (enum qn_policy)(data[1] >> 3 & 3);
    options.infinity = (enum qn_policy)(data[1] >> 5 & 3);
    struct qn_statement statement = {
        .struct_size = sizeof statement, .sql = "select", .sql_size = 6, .sql_given = "select", .options = &options
    };
    struct qn_error err = QN_ERROR_INIT;
    struct qn_cursor cursor = { 0 };
    if (qn_pg_query(pg, &statement, &cursor, &err) == QN_OK) {
        if ((data[1] & 128) == 0) {
            drain(&cursor);
        }
        cursor.ops->close(cursor.self);
    }
    if (!pg->broken && pg->ready_expected != 0) {
        abort();
    }
    qn_pg_close(pg);
    return 0;
}
