/*
 * columns.c: columns that Python has as buffers (numpy) or lists of objects, as batches for frame.c.
 *
 * Buffers are used where they lie, a batch being a slice of them; only bits (null maps, booleans) are made here. Lists of
 * objects go through rows_out, a column at a time, so that they are held to the same rules as rows are. Needs the GIL.
 */
#include "worker.h"

#include "base/memory.h"

#define BATCH_ROWS 65536

struct column {
    PyObject *values;        /* borrowed from the list of columns, which the caller keeps */
    Py_buffer data, nulls;   /* of buffers; obj NULL: none */
    bool is_bool;            /* data has a byte a value */
    struct rows_out *out;    /* of objects */
    PyObject *row;           /* of objects: the dict that rows_out takes */
    PyObject *name;          /* its key */
    uint8_t *valid, *bits;   /* of the batch */
    const void *buffers[2];  /* of the batch */
    struct ArrowArray array; /* of the batch */
};

struct columns {
    struct column *all;
    int64_t n, rows;
    struct ArrowSchema schema;
    struct frame *frame;
};

static void release_nothing(struct ArrowArray *array)
{
    array->release = NULL;
}

static void dispose(struct columns *columns)
{
    for (int64_t i = 0; i < columns->n; i++) {
        struct column *column = &columns->all[i];
        qn_array_release(&column->array);
        PyBuffer_Release(&column->data);
        PyBuffer_Release(&column->nulls);
        rows_out_free(column->out);
        Py_XDECREF(column->row);
        qn_free(column->valid);
        qn_free(column->bits);
    }
    qn_free(columns->all);
    frame_close(columns->frame);
    qn_schema_release(&columns->schema);
}

/* ---- schema ---- */

/* A list of objects gets the type that the output wants of it. */
static int init_objects(struct column *column, const struct ArrowSchema *output, const char *expected,
                        struct ArrowSchema *field)
{
    struct qn_error err = QN_ERROR_INIT;
    qn_auto_schema one = { .release = NULL };
    if (!PyList_Check(column->values)) {
        PyErr_SetString(PyExc_TypeError, "a column of objects is a list");
        return -1;
    }
    if (qn_schema_copy(output, field, &err) != QN_OK || qn_schema_struct(&one, 1, &err) != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    one.children[0]->release(one.children[0]);
    if (qn_schema_copy(output, one.children[0], &err) != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    column->out = rows_out_new(&one, &expected);
    column->row = PyDict_New();
    return column->out == NULL || column->row == NULL ? -1 : 0;
}

static int init_buffers(struct column *column, PyObject *nulls, int64_t rows, const struct qn_type *type,
                        uint32_t width)
{
    if (PyObject_GetBuffer(column->values, &column->data, PyBUF_SIMPLE) < 0 ||
        (nulls != Py_None && PyObject_GetBuffer(nulls, &column->nulls, PyBUF_SIMPLE) < 0)) {
        return -1;
    }
    column->is_bool = type->id == QN_TYPE_BOOL;
    if (column->data.len != rows * (int64_t)width || (column->nulls.obj != NULL && column->nulls.len != rows)) {
        PyErr_SetString(PyExc_ValueError, "a column is not as long as its frame");
        return -1;
    }
    return 0;
}

static uint32_t width_of(const struct ArrowSchema *field)
{
    struct qn_column column;
    if (qn_column_init(&column, field, NULL) != QN_OK) {
        return 0;
    }
    uint32_t width = column.layout == QN_LAYOUT_BITS ? 1 : column.layout == QN_LAYOUT_FIXED ? column.width : 0;
    qn_column_dispose(&column);
    return width;
}

static int init_column(struct child *child, struct columns *columns, int64_t i, PyObject *tuple)
{
    struct column *column = &columns->all[i];
    const struct ArrowSchema *output = qn_ipc_encoder_schema(child->output.encoder);
    struct ArrowSchema *field = columns->schema.children[i];
    struct qn_error err = QN_ERROR_INIT;
    const char *name = NULL;
    const char *format = NULL;
    PyObject *nulls = NULL;
    if (!PyArg_ParseTuple(tuple, "UzOO:column", &column->name, &format, &column->values, &nulls)) {
        return -1;
    }
    if ((name = PyUnicode_AsUTF8(column->name)) == NULL) {
        return -1;
    }
    struct qn_type type = qn_type_of(QN_TYPE_NULL);
    int64_t at = format == NULL ? qn_schema_find(output, name) : -1;
    if (at >= 0) {
        field->release(field);
        return init_objects(column, output->children[at], child->output.types[at], field);
    }
    if (format != NULL && qn_type_from_format(format, &type, &err) != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    if (qn_schema_set(&columns->schema, i, name, &type, &err) != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    /* A list that is in no output column has no type; frame_open names it. */
    return format == NULL ? 0 : init_buffers(column, nulls, columns->rows, &type, width_of(field));
}

/* ---- batches ---- */

static uint8_t *bits_of(const uint8_t *bytes, int64_t n, bool inverted, int64_t *ones_out)
{
    uint8_t *bits = qn_calloc((size_t)(n + 7) / 8, 1);
    if (bits == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    int64_t ones = 0;
    for (int64_t i = 0; i < n; i++) {
        bool one = (bytes[i] != 0) != inverted;
        bits[i >> 3] |= (uint8_t)(one << (i & 7));
        ones += one;
    }
    *ones_out = ones;
    return bits;
}

static int slice_buffers(struct column *column, int64_t first, int64_t n, int64_t rows)
{
    int64_t valid = n;
    int64_t set;
    qn_free(column->valid);
    qn_free(column->bits);
    column->valid = column->bits = NULL;
    const uint8_t *data = (const uint8_t *)column->data.buf + first * (column->data.len / (rows > 0 ? rows : 1));
    if (column->nulls.obj != NULL) {
        column->valid = bits_of((const uint8_t *)column->nulls.buf + first, n, true, &valid);
        if (column->valid == NULL) {
            return -1;
        }
    }
    if (column->is_bool && (data = column->bits = bits_of(data, n, false, &set)) == NULL) {
        return -1;
    }
    column->buffers[0] = column->valid;
    column->buffers[1] = data;
    column->array = (struct ArrowArray){
        .length = n, .null_count = n - valid, .n_buffers = 2, .buffers = column->buffers, .release = release_nothing
    };
    return 0;
}

static int convert_objects(struct column *column, int64_t first, int64_t n)
{
    qn_auto_array batch = { .release = NULL };
    for (int64_t i = first; i < first + n; i++) {
        if (i >= PyList_GET_SIZE(column->values)) {
            PyErr_SetString(PyExc_ValueError, "a column is not as long as its frame");
            return -1;
        }
        if (PyDict_SetItem(column->row, column->name, PyList_GET_ITEM(column->values, i)) < 0 ||
            rows_out_put(column->out, column->row, i) < 0) {
            return -1;
        }
    }
    if (rows_out_finish(column->out, &batch) < 0) {
        return -1;
    }
    column->array = *batch.children[0]; /* moved out */
    batch.children[0]->release = NULL;
    return 0;
}

static int put_batch(struct columns *columns, int64_t first, int64_t n)
{
    const void *no_buffers[1] = { NULL };
    struct ArrowArray **children = qn_calloc((size_t)columns->n + 1, sizeof *children);
    if (children == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int result = 0;
    for (int64_t i = 0; i < columns->n && result == 0; i++) {
        struct column *column = &columns->all[i];
        qn_array_release(&column->array);
        result =
            column->out != NULL ? convert_objects(column, first, n) : slice_buffers(column, first, n, columns->rows);
        children[i] = &column->array;
    }
    if (result == 0) {
        struct ArrowArray batch = { .length = n,
                                    .n_buffers = 1,
                                    .buffers = no_buffers,
                                    .n_children = columns->n,
                                    .children = children,
                                    .release = release_nothing };
        result = frame_put(columns->frame, &batch);
    }
    qn_free(children);
    return result;
}

static int put_all(struct child *child, struct columns *columns, PyObject *list)
{
    struct qn_error err = QN_ERROR_INIT;
    if (qn_schema_struct(&columns->schema, columns->n, &err) != QN_OK) {
        worker_raise(&err);
        return -1;
    }
    for (int64_t i = 0; i < columns->n; i++) {
        if (init_column(child, columns, i, PyList_GET_ITEM(list, i)) < 0) {
            return -1;
        }
    }
    columns->frame = frame_open(child, &columns->schema);
    if (columns->frame == NULL) {
        return -1;
    }
    for (int64_t at = 0; at < columns->rows; at += BATCH_ROWS) {
        int64_t left = columns->rows - at;
        if (put_batch(columns, at, left < BATCH_ROWS ? left : BATCH_ROWS) < 0) {
            return -1;
        }
    }
    return 0;
}

int child_put_columns(struct child *child, int64_t rows, PyObject *list)
{
    struct columns columns = { .n = PyList_GET_SIZE(list), .rows = rows };
    uint64_t begun = worker_nanos();
    columns.all = qn_calloc((size_t)columns.n + 1, sizeof *columns.all);
    if (columns.all == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int result = put_all(child, &columns, list);
    dispose(&columns);
    child->output.frame_nanos += worker_nanos() - begun;
    return result;
}
