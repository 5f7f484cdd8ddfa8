/*
 * required.c: see required.h. Columns without a validity bitmap cost nothing.
 */
#include "processor/required.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <stdio.h>

#define PATH_SIZE 128

static bool is_required(const struct ArrowSchema *field)
{
    return (field->flags & ARROW_FLAG_NULLABLE) == 0;
}

/* Is anything in it required, itself included? Schemas of ours: their nesting is bounded. */
static bool has_required(const struct ArrowSchema *field)
{
    if (is_required(field)) {
        return true;
    }
    for (int64_t i = 0; i < field->n_children; i++) {
        if (has_required(field->children[i])) {
            return true;
        }
    }
    return false;
}

enum qn_status qn_required_init(struct qn_required *required, const struct ArrowSchema *want,
                                const struct ArrowSchema *got, struct qn_error *err)
{
    struct qn_required made = { .columns = qn_calloc((size_t)want->n_children, sizeof *made.columns) };
    if (made.columns == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < want->n_children; i++) {
        if (!has_required(want->children[i])) {
            continue;
        }
        struct qn_required_column *column = &made.columns[made.n];
        *column = (struct qn_required_column){ .want = want->children[i],
                                               .column = qn_schema_find(got, want->children[i]->name) };
        enum qn_status status = qn_reader_init(&column->reader, got->children[column->column], err);
        if (status != QN_OK) {
            qn_required_dispose(&made);
            return status;
        }
        made.n++;
    }
    *required = made;
    return QN_OK;
}

void qn_required_dispose(struct qn_required *required)
{
    for (int64_t i = 0; i < required->n; i++) {
        qn_reader_dispose(&required->columns[i].reader);
    }
    qn_free(required->columns);
    *required = (struct qn_required){ 0 };
}

/* The required field that is null in this row: itself or one below it. NULL: none. `path` is where it is. */
static const struct ArrowSchema *find_null(const struct ArrowSchema *want, const struct qn_reader *reader, int64_t row,
                                           char path[PATH_SIZE])
{
    if (qn_reader_is_null(reader, row)) {
        if (!is_required(want)) {
            return NULL;
        }
        (void)snprintf(path, PATH_SIZE, "%s", want->name);
        return want;
    }
    const struct qn_reader *plain = reader->dictionary != NULL ? reader->dictionary : reader;
    int64_t first = 0;
    int64_t count = 0;
    if (plain->type.id == QN_TYPE_STRUCT) {
        first = qn_reader_struct_row(reader, row);
        count = 1;
    } else if (want->n_children > 0 && !qn_reader_list(reader, row, &first, &count)) {
        return NULL; /* whoever reads the values refuses it */
    }
    for (int64_t i = 0; i < want->n_children && i < plain->n_children; i++) {
        for (int64_t item = first; item < first + count; item++) {
            char below[PATH_SIZE];
            const struct ArrowSchema *found = find_null(want->children[i], &plain->children[i], item, below);
            if (found != NULL) {
                (void)snprintf(path, PATH_SIZE, "%.60s.%.60s", want->name, below);
                return found;
            }
        }
    }
    return NULL;
}

static enum qn_status refuse(const struct qn_required_column *column, const struct ArrowSchema *field, const char *path,
                             int64_t row, struct qn_error *err)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_schema_field_to_text(field, &text);
    (void)qn_error_set(err, QN_ERR_DATA, "row %lld, field \"%s\": expected %s, found null", (long long)row, path,
                       qn_buffer_text(&text));
    qn_error_place(err, row, column->want->name);
    return QN_ERR_DATA;
}

enum qn_status qn_required_check(struct qn_required *required, const struct ArrowArray *batch, int64_t first_row,
                                 struct qn_error *err)
{
    for (int64_t i = 0; i < required->n; i++) {
        struct qn_required_column *column = &required->columns[i];
        const struct ArrowArray *array = batch->children[column->column];
        bool typed = column->reader.type.id != QN_TYPE_NULL;
        if (typed && array->null_count == 0 && column->want->n_children == 0 && array->dictionary == NULL) {
            continue;
        }
        QN_TRY(qn_reader_bind(&column->reader, array, err));
        for (int64_t row = 0; row < batch->length; row++) {
            char path[PATH_SIZE];
            const struct ArrowSchema *found = find_null(column->want, &column->reader, batch->offset + row, path);
            if (found != NULL) {
                return refuse(column, found, path, first_row + row, err);
            }
        }
    }
    return QN_OK;
}
