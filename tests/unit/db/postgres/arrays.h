/*
 * arrays.h: one-column Arrow arrays over a test's own memory, bound to a reader.
 */
#ifndef QN_TESTS_UNIT_DB_POSTGRES_ARRAYS_H
#define QN_TESTS_UNIT_DB_POSTGRES_ARRAYS_H

#include "arrow/reader.h"

struct one_column {
    struct ArrowSchema schema;
    struct ArrowArray array;
    const void *buffers[8];
    struct qn_reader reader;
};

static inline void schema_kept(struct ArrowSchema *schema)
{
    schema->release = NULL;
}
static inline void array_kept(struct ArrowArray *array)
{
    array->release = NULL;
}

/* n values of `format` in `data` (NULL: of the null type), a NULL or a validity bitmap; `rest` is a third buffer or NULL. */
static inline void one_column_init(struct one_column *column, const char *name, const char *format,
                                   const void *validity, const void *data, const void *rest, int64_t n)
{
    struct qn_error err = QN_ERROR_INIT;
    *column = (struct one_column){
        .schema = { .format = format, .name = name, .flags = ARROW_FLAG_NULLABLE, .release = schema_kept },
        .buffers = { validity, data, rest }
    };
    column->array = (struct ArrowArray){ .length = n,
                                         .null_count = validity != NULL ? -1 : 0,
                                         .n_buffers = data == NULL   ? 0
                                                      : rest != NULL ? 3
                                                                     : 2,
                                         .buffers = column->buffers,
                                         .release = array_kept };
    if (qn_reader_init(&column->reader, &column->schema, &err) != QN_OK ||
        qn_reader_bind(&column->reader, &column->array, &err) != QN_OK) {
        fail_msg("the test's own array: %s", err.message);
    }
}

static inline void one_column_dispose(struct one_column *column)
{
    qn_reader_dispose(&column->reader);
}

#endif
