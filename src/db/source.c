/*
 * source.c: the watched stream of source.h. Nothing is copied: batches pass through.
 */
#include "db/source.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static enum qn_status watched_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct qn_source *source = self;
    return qn_schema_copy(&source->schema, out, err);
}

/* The first row with a null in the key. */
static enum qn_status check_key(struct qn_source *source, const struct ArrowArray *batch, struct qn_error *err)
{
    enum qn_status status = qn_batch_reader_bind(&source->readers, batch, err);
    if (status != QN_OK && err != NULL && err->row >= 0) {
        err->row += source->n_rows;
    }
    int64_t first = source->readers.length;
    const char *column = NULL;
    for (size_t k = 0; k < source->n_key && status == QN_OK; k++) {
        const struct qn_reader *reader = &source->readers.columns[qn_schema_find(&source->schema, source->key[k])];
        int64_t row = 0;
        while (row < first && !qn_reader_is_null(reader, row)) {
            row++;
        }
        column = row < first ? source->key[k] : column;
        first = row;
    }
    if (column != NULL) {
        status = qn_error_set(err, QN_ERR_DATA, "row %lld: the column \"%s\" of the key is null",
                              (long long)source->n_rows + first, column);
        qn_error_hint(err,
                      "a null is never equal to another: the row would be added again by every run; fill the nulls "
                      "or leave these rows out");
        qn_error_place(err, source->n_rows + first, column);
    }
    return status;
}

static enum qn_status watched_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct qn_source *source = self;
    enum qn_status status = qn_stream_next(source->rows, out, err);
    if (status != QN_OK) {
        source->failed = true;
        source->error = (struct qn_error)QN_ERROR_INIT;
        (void)qn_stream_error(source->rows, &source->error);
        source->error.status = status;
        return status;
    }
    if (out->release != NULL && out->n_children != source->schema.n_children) {
        qn_array_release(out);
        return qn_error_set(err, QN_ERR_DATA, "a batch does not have the columns of its stream's schema");
    }
    if (out->release != NULL && source->n_key > 0) {
        source->error = (struct qn_error)QN_ERROR_INIT;
        status = check_key(source, out, &source->error);
        if (status != QN_OK) {
            qn_array_release(out);
            source->failed = true;
            if (err != NULL) {
                *err = source->error;
            }
            return status;
        }
    }
    source->n_rows += out->release != NULL ? out->length : 0;
    return QN_OK;
}

static void watched_free(void *self)
{
    (void)self;
}

static const struct qn_stream_ops watched_ops = { .schema = watched_schema,
                                                  .next = watched_next,
                                                  .free = watched_free };

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum qn_status check_schema(const struct ArrowSchema *schema, struct qn_error *err)
{
    if (schema->format == NULL || strcmp(schema->format, "+s") != 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the rows are not a stream of struct batches but of \"%s\"",
                            schema->format != NULL ? schema->format : "");
    }
    if (schema->n_children <= 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the rows have no columns");
    }
    return QN_OK;
}

enum qn_status qn__source_check_names(const struct qn_source *source, struct qn_error *err)
{
    size_t n = (size_t)source->schema.n_children;
    qn_auto_free const char **names = qn_realloc_array(NULL, n, sizeof *names);
    if (names == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        names[i] = source->schema.children[i]->name;
        if (names[i] == NULL || names[i][0] == '\0') {
            return qn_error_set(err, QN_ERR_ARGUMENT, "column %zu of the rows has no name", i + 1);
        }
    }
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            qn_error_set(err, QN_ERR_ARGUMENT, "two columns of the rows are named \"%s\"", names[i]);
            qn_error_place(err, -1, names[i]);
            return QN_ERR_ARGUMENT;
        }
    }
    return QN_OK;
}

enum qn_status qn__source_open(struct qn_source *source, struct ArrowArrayStream *rows, struct qn_error *err)
{
    *source = (struct qn_source){ .rows = rows };
    if (rows == NULL || rows->release == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the stream of rows is NULL or has been released");
    }
    QN_TRY(qn_stream_schema(rows, &source->schema, err));
    enum qn_status status = check_schema(&source->schema, err);
    if (status == QN_OK) {
        status = qn_stream_make(&watched_ops, source, &source->watched, err);
    }
    if (status != QN_OK) {
        qn_schema_release(&source->schema);
    }
    return status;
}

enum qn_status qn__source_watch_key(struct qn_source *source, const char *const *key, size_t n_key,
                                    struct qn_error *err)
{
    QN_TRY(qn_batch_reader_init(&source->readers, &source->schema, err));
    source->key = key;
    source->n_key = n_key;
    return QN_OK;
}

enum qn_status qn__source_status(const struct qn_source *source, enum qn_status status, struct qn_error *err)
{
    if (!source->failed) {
        return status;
    }
    if (err != NULL) {
        *err = source->error;
    }
    return source->error.status;
}

void qn__source_close(struct qn_source *source)
{
    qn_stream_release(&source->watched);
    qn_batch_reader_dispose(&source->readers);
    qn_schema_release(&source->schema);
}
