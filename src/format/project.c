/*
 * project.c: reading through the table, and streams with exactly the columns asked for.
 *
 * A format may leave columns unread, or give all of them: what it gives is compared by name with what was asked for, and
 * columns are moved out of each batch where it differs. Threads: one at a time per stream.
 */
#include "format/format.h"

#include "arrow/array.h"
#include "arrow/stream.h"
#include "arrow/type_parse.h"
#include "base/memory.h"

#include <string.h>

struct projection {
    struct ArrowArrayStream from;
    struct ArrowSchema schema;
    int64_t *columns; /* of what comes, for each one that goes out */
    int64_t n_columns;
};

static void projection_free(void *self)
{
    struct projection *projection = self;
    qn_stream_release(&projection->from);
    qn_schema_release(&projection->schema);
    qn_free(projection->columns);
    qn_free(projection);
}

static enum qn_status projection_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct projection *projection = self;
    return qn_schema_copy(&projection->schema, out, err);
}

static enum qn_status projection_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct projection *projection = self;
    qn_auto_array batch = { 0 };
    struct ArrowArray made;
    QN_TRY(qn_stream_next(&projection->from, &batch, err));
    if (batch.release == NULL) {
        return QN_OK;
    }
    for (int64_t i = 0; i < projection->n_columns; i++) {
        if (projection->columns[i] >= batch.n_children) {
            return qn_error_set(err, QN_ERR_DATA, "a batch has %lld columns, fewer than its schema",
                                (long long)batch.n_children);
        }
    }
    QN_TRY(qn__array_new(1, projection->n_columns, &made, err));
    made.length = batch.length;
    made.offset = batch.offset;
    made.null_count = batch.null_count;
    if (batch.n_buffers > 0) {
        qn__array_borrow(&made, 0, batch.buffers[0]);
    }
    for (int64_t i = 0; i < projection->n_columns; i++) {
        qn__array_move(batch.children[projection->columns[i]], made.children[i]);
    }
    qn__array_retain(&made, &batch);
    *out = made;
    return QN_OK;
}

/* Which columns of `have` those asked for are. */
static enum qn_status find_columns(const struct ArrowSchema *have, const struct qn_format_input *input,
                                   struct projection *projection, struct qn_error *err)
{
    for (size_t i = 0; i < input->n_columns; i++) {
        int64_t found = qn_schema_find(have, input->columns[i]);
        if (found < 0) {
            return qn_error_set(err, QN_ERR_DATA, "\"%s\" has %s column \"%s\"", input->name,
                                found == -1 ? "no" : "more than one", input->columns[i]);
        }
        for (size_t j = 0; j < i; j++) {
            if (projection->columns[j] == found) {
                return qn_error_set(err, QN_ERR_ARGUMENT, "column \"%s\" is asked for twice", input->columns[i]);
            }
        }
        projection->columns[i] = found;
    }
    return QN_OK;
}

/* Take the fields asked for out of `have`. */
static enum qn_status take_fields(struct ArrowSchema *have, struct projection *projection, struct qn_error *err)
{
    QN_TRY(qn_schema_struct(&projection->schema, projection->n_columns, err));
    for (int64_t i = 0; i < projection->n_columns; i++) {
        qn_schema_release(projection->schema.children[i]);
        qn__schema_move(have->children[projection->columns[i]], projection->schema.children[i]);
    }
    return qn__schema_metadata_copy(&projection->schema, have->metadata, err);
}

/* Make `from` one with the columns asked for, which it has not exactly; on success it is taken over. */
static enum qn_status project(struct ArrowArrayStream *from, struct ArrowSchema *have,
                              const struct qn_format_input *input, struct ArrowArrayStream *out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { projection_schema, projection_next, projection_free };
    struct projection *projection = qn_calloc(1, sizeof *projection);
    if (projection == NULL) {
        return qn__no_memory(err);
    }
    projection->n_columns = (int64_t)input->n_columns;
    projection->columns = qn_calloc(input->n_columns, sizeof *projection->columns);
    enum qn_status status =
        projection->columns != NULL ? find_columns(have, input, projection, err) : qn__no_memory(err);
    status = status != QN_OK ? status : take_fields(have, projection, err);
    status = status != QN_OK ? status : qn_stream_make(&ops, projection, out, err);
    if (status != QN_OK) {
        projection_free(projection);
        return status;
    }
    projection->from = *from;
    from->release = NULL;
    return QN_OK;
}

static bool has_exactly(const struct ArrowSchema *have, const struct qn_format_input *input)
{
    bool same = have->n_children == (int64_t)input->n_columns;
    for (size_t i = 0; i < input->n_columns && same; i++) {
        const char *name = have->children[i]->name;
        same = name != NULL && strcmp(name, input->columns[i]) == 0 && qn_schema_find(have, name) == (int64_t)i;
    }
    return same;
}

enum qn_status qn_format_read(const struct qn_format *format, const struct qn_format_input *input,
                              struct ArrowArrayStream *out, struct qn_error *err)
{
    qn_auto_stream stream = { 0 };
    qn_auto_schema have = { 0 };
    bool all = true;
    QN_TRY(format->read(format->context, input, &stream, &all, err));
    if (input->columns != NULL) {
        QN_TRY(qn_stream_schema(&stream, &have, err));
    }
    if (input->columns != NULL && !has_exactly(&have, input)) {
        return project(&stream, &have, input, out, err);
    }
    *out = stream;
    stream.release = NULL;
    return QN_OK;
}
