/*
 * query.c: what a C program does with qanat, from start to end, with the public headers only.
 *
 *   query sqlite:///demo.db
 *   query postgresql://user@host/database
 *
 * Opens the database that its argument names, writes an Arrow stream into a table, reads some of it back with a bound
 * parameter, and shows what a typed error says.
 */
#include <inttypes.h>
#include <qanat/qanat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- an Arrow stream made by hand: two columns, three rows, one batch ---- */

static void keep_schema(struct ArrowSchema *schema)
{
    schema->release = NULL; /* everything below is static: there is nothing to free */
}
static void keep_array(struct ArrowArray *array)
{
    array->release = NULL;
}
static void keep_stream(struct ArrowArrayStream *stream)
{
    stream->release = NULL;
}

static int flights_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    static struct ArrowSchema fields[2];
    static struct ArrowSchema *children[2] = { &fields[0], &fields[1] };
    (void)stream;
    fields[0] = (struct ArrowSchema){ .format = "l", .name = "id", .release = keep_schema };
    fields[1] = (struct ArrowSchema){ .format = "u", .name = "city", .flags = 2, .release = keep_schema };
    *out = (struct ArrowSchema){ .format = "+s", .name = "", .n_children = 2, .children = children };
    out->release = keep_schema;
    return 0;
}

static int flights_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    static const int64_t ids[] = { 1, 2, 3 };
    static const int32_t offsets[] = { 0, 6, 12, 16 };
    static const char text[] = "LisbonMalm\xC3\xB6Oslo";
    static const void *id_buffers[] = { NULL, ids };
    static const void *city_buffers[] = { NULL, offsets, text };
    static const void *row_buffers[] = { NULL };
    static struct ArrowArray columns[2];
    static struct ArrowArray *children[2] = { &columns[0], &columns[1] };
    bool *done = stream->private_data;
    *out = (struct ArrowArray){ .release = NULL };
    if (*done) {
        return 0; /* the end */
    }
    *done = true;
    columns[0] = (struct ArrowArray){ .length = 3, .n_buffers = 2, .buffers = id_buffers, .release = keep_array };
    columns[1] = (struct ArrowArray){ .length = 3, .n_buffers = 3, .buffers = city_buffers, .release = keep_array };
    *out = (struct ArrowArray){ .length = 3, .n_buffers = 1, .n_children = 2, .buffers = row_buffers };
    out->children = children;
    out->release = keep_array;
    return 0;
}

static const char *flights_error(struct ArrowArrayStream *stream)
{
    (void)stream;
    return NULL;
}

/* ---- the steps ---- */

static enum qn_status write_rows(struct qn_connection *connection, struct qn_error *err)
{
    bool done = false;
    struct ArrowArrayStream rows = { flights_schema, flights_next, flights_error, keep_stream, &done };
    struct qn_ingest ingest = QN_INGEST_INIT;
    int64_t written = 0;
    ingest.table = "cities";
    ingest.mode = QN_INGEST_REPLACE;
    enum qn_status status = qn_connection_ingest(connection, &ingest, &rows, &written, err);
    if (status == QN_OK) {
        printf("%" PRId64 " rows written\n", written);
    }
    rows.release(&rows);
    return status;
}

/* The text of a string column, which comes as string views: short ones lie in the view itself. */
static void print_text(const struct ArrowArray *column, int64_t row)
{
    const char *view = (const char *)column->buffers[1] + 16 * (column->offset + row);
    int32_t size, block, offset;
    memcpy(&size, view, 4);
    if (size <= 12) {
        printf("%.*s", (int)size, view + 4);
        return;
    }
    memcpy(&block, view + 8, 4);
    memcpy(&offset, view + 12, 4);
    printf("%.*s", (int)size, (const char *)column->buffers[2 + block] + offset);
}

static void print_batch(const struct ArrowArray *batch)
{
    for (int64_t row = 0; row < batch->length; row++) {
        const struct ArrowArray *id = batch->children[0];
        const int64_t *ids = id->buffers[1];
        printf("  id %" PRId64 ", city ", ids[id->offset + row]);
        print_text(batch->children[1], row);
        printf("\n");
    }
}

static enum qn_status read_rows(struct qn_connection *connection, struct qn_error *err)
{
    struct qn_value least = { .kind = QN_VALUE_INT64, .as = { .int64 = 2 } };
    struct qn_query query = QN_QUERY_INIT;
    struct ArrowArrayStream stream;
    query.sql = "select id, city from cities where id >= ? order by id";
    query.values = &least;
    query.n_values = 1;
    enum qn_status status = qn_connection_query(connection, &query, &stream, NULL, err);
    if (status != QN_OK) {
        return status;
    }
    bool ended = false;
    while (status == QN_OK && !ended) {
        struct ArrowArray batch;
        if (stream.get_next(&stream, &batch) != 0) {
            status = qn_stream_error(&stream, err);
        } else if (batch.release == NULL) {
            ended = true;
        } else {
            print_batch(&batch);
            batch.release(&batch);
        }
    }
    stream.release(&stream);
    return status;
}

static enum qn_status read_wrong_table(struct qn_connection *connection)
{
    struct qn_error err = QN_ERROR_INIT;
    struct qn_query query = QN_QUERY_INIT;
    query.sql = "select * from citys";
    enum qn_status status = qn_connection_execute(connection, &query, NULL, &err);
    printf("%s (SQLSTATE %s): %s\n", qn_status_name(status), err.sqlstate, err.message);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s URI\n", argv[0]);
        return 2;
    }
    struct qn_error err = QN_ERROR_INIT;
    struct qn_connection *connection = NULL;
    enum qn_status status = qn_connection_open(argv[1], &connection, &err);
    if (status == QN_OK) {
        status = write_rows(connection, &err);
    }
    if (status == QN_OK) {
        status = read_rows(connection, &err);
    }
    if (status == QN_OK && read_wrong_table(connection) != QN_ERR_QUERY) {
        status = qn_error_set(&err, QN_ERR_INTERNAL, "a table that does not exist was read");
    }
    qn_connection_free(connection);
    if (status != QN_OK) {
        (void)fprintf(stderr, "%s: %s\n%s%s", qn_status_name(status), err.message, err.hint, err.hint[0] ? "\n" : "");
    }
    return status == QN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
