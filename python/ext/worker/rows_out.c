/*
 * rows_out.c: returned dicts to the columns of the output schema: rows, structs, lists and maps.
 *
 * What comes in was made by a statement and may be of any class: what is read is held by a reference, lists are read by
 * index against their size of the moment, and a dict that its own values change while it is read gives an error at worst.
 * Recursion goes down the schema, never down the data. A row that is refused leaves the columns as they were.
 */
#include "rows_private.h"

#include "base/memory.h"

#include <string.h>

#define FIRST_ROWS 256 /* room for rows that is made at first */

/* ---- making and freeing ---- */

static void field_dispose(struct rows__field *field)
{
    for (int64_t i = 0; i < field->n_children; i++) {
        field_dispose(&field->children[i]);
    }
    qn_free(field->children);
    qn_free(field->type);
    Py_CLEAR(field->key);
    Py_CLEAR(field->seen);
}

static int field_init(struct rows__field *field, struct qn_column *column, const struct ArrowSchema *schema,
                      const char *type, struct rows__field *parent);

static int init_children(struct rows__field *field, struct qn_column *columns, struct ArrowSchema **schemas,
                         const char *const *types, int64_t n)
{
    field->children = qn_calloc((size_t)(n > 0 ? n : 1), sizeof *field->children);
    if (field->children == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int64_t i = 0; i < n; i++) {
        field->n_children = i + 1;
        struct rows__field *child = &field->children[i];
        if (field_init(child, &columns[i], schemas[i], types != NULL ? types[i] : NULL, field) < 0) {
            return -1;
        }
        for (int64_t j = 0; j < i; j++) {
            if (field->children[j].key == child->key) {
                PyErr_Format(PyExc_ValueError, "there is more than one field \"%U\"", child->key);
                return -1;
            }
        }
    }
    return 0;
}

static int field_init(struct rows__field *field, struct qn_column *column, const struct ArrowSchema *schema,
                      const char *type, struct rows__field *parent)
{
    char text[QN_TYPE_MAX_FORMAT];
    qn_type_to_text(&column->type, text);
    field->column = column;
    field->parent = parent;
    field->required = (schema->flags & ARROW_FLAG_NULLABLE) == 0;
    field->key = PyUnicode_FromString(column->name);
    if (field->key == NULL) {
        return -1;
    }
    PyUnicode_InternInPlace(&field->key);
    field->type = qn_strdup(type != NULL ? type : text);
    if (field->type == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (!rows__field_choose(field)) {
        PyErr_Format(PyExc_ValueError, "field \"%U\": values of type %s cannot be returned", field->key, field->type);
        return -1;
    }
    if (init_children(field, column->children, schema->children, NULL, column->n_children) < 0) {
        return -1;
    }
    if (column->layout == QN_LAYOUT_LIST) {
        field->children[0].number_item = true;
    }
    return 0;
}

struct rows_out *rows_out_new(const struct ArrowSchema *schema, const char *const *types)
{
    struct rows_out *rows = qn_calloc(1, sizeof *rows);
    if (rows == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    if (qn_batch_init(&rows->batch, schema, &err) != QN_OK) {
        rows__raise(&err);
        qn_free(rows);
        return NULL;
    }
    if (init_children(&rows->root, rows->batch.columns, schema->children, types, rows->batch.n_columns) < 0) {
        rows_out_free(rows);
        return NULL;
    }
    for (int64_t i = 0; i < rows->batch.n_columns; i++) {
        rows->row_width += rows->batch.columns[i].width + 1;
    }
    return rows;
}

void rows_out_free(struct rows_out *rows)
{
    if (rows != NULL) {
        field_dispose(&rows->root);
        qn_batch_dispose(&rows->batch);
        qn_free(rows);
    }
}

/* ---- one value ---- */

/* None; pandas.NaT and NA stand for it. */
static int put_none(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    if (QN_UNLIKELY(field->required)) {
        return rows__misfit(rows, field, PyExc_ValueError, value, "the field is required");
    }
    qn_column_put_null(field->column);
    return 0;
}

static int raise_column(const struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    if (!field->column->over_limit) {
        PyErr_NoMemory();
        return -1;
    }
    return rows__misfit(rows, field, PyExc_ValueError, value, "a value and a batch have at most 2 GiB of text");
}

/* Store a common value. False: nothing was done, and it takes more. Runs nothing of a statement's. */
static inline bool put_fast(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    struct qn_column *column = field->column;
    switch (field->fast) {
    case ROWS__INT64: {
        int overflow = 1;
        long long number = PyLong_CheckExact(value) ? PyLong_AsLongLongAndOverflow(value, &overflow) : 0;
        if (QN_UNLIKELY(overflow != 0)) {
            return false;
        }
        qn_column_put_int64(column, number);
        return true;
    }
    case ROWS__FLOAT64:
        if (QN_UNLIKELY(!PyFloat_CheckExact(value))) {
            return false;
        }
        qn_column_put_float64(column, PyFloat_AS_DOUBLE(value));
        return true;
    case ROWS__TEXT: {
        if (QN_UNLIKELY(!PyUnicode_CheckExact(value) || !PyUnicode_IS_COMPACT_ASCII(value) || column->failed)) {
            return false;
        }
        size_t size = (size_t)PyUnicode_GET_LENGTH(value);
        qn_column_put_bytes(column, (const char *)PyUnicode_1BYTE_DATA(value), size);
        rows->bytes += (int64_t)size;
        return true;
    }
    case ROWS__BOOL:
        if (QN_UNLIKELY(value != Py_True && value != Py_False)) {
            return false;
        }
        qn_column_put_bool(column, value == Py_True);
        return true;
    case ROWS__MICROS: {
        int64_t micros;
        if (QN_UNLIKELY(!rows__datetime_plain(value, column->type.timezone[0] != '\0', &micros))) {
            return false;
        }
        qn_column_put_int64(column, micros);
        return true;
    }
    case ROWS__DECIMAL: {
        qn_int128 number;
        if (QN_UNLIKELY(Py_TYPE(value) != rows__types.decimal ||
                        !rows__decimal_read(value, column->type.scale, column->type.precision, &number))) {
            return false;
        }
        qn_column_put_decimal128(column, number);
        return true;
    }
    case ROWS__SLOW:
        break;
    }
    return false;
}

int rows__field_put(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    int result = 0;
    if (!put_fast(rows, field, value)) {
        result =
            value == Py_None || rows__is_missing(value) ? put_none(rows, field, value) : field->put(rows, field, value);
    }
    if (QN_UNLIKELY(result == 0 && field->column->failed)) {
        return raise_column(rows, field, value);
    }
    return result;
}

/* ---- dicts ---- */

/* The same name, compared without calling anything of a statement's. */
static bool same_key(PyObject *key, PyObject *name)
{
    return key == name || (PyUnicode_CheckExact(key) && PyUnicode_GET_LENGTH(key) == PyUnicode_GET_LENGTH(name) &&
                           PyUnicode_Compare(key, name) == 0);
}

static int report_extra(const struct rows_out *rows, const struct rows__field *parent, PyObject *dict)
{
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &at, &key, &value)) {
        bool known = false;
        for (int64_t i = 0; i < parent->n_children && !known; i++) {
            known = same_key(key, parent->children[i].key);
        }
        if (!known) {
            Py_INCREF(key);
            Py_INCREF(value);
            (void)rows__extra(rows, parent, key, value);
            Py_DECREF(key);
            Py_DECREF(value);
            return -1;
        }
    }
    PyErr_Format(PyExc_ValueError, "row %lld: the dict changed while it was read", (long long)rows->row);
    return -1;
}

/* A value that its container may let go of meanwhile. */
static int put_held(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    Py_INCREF(value);
    int result = rows__field_put(rows, field, value);
    Py_DECREF(value);
    return result;
}

/* The fields from `i` on, each looked up by its name. */
static int put_fields_by_name(struct rows_out *rows, struct rows__field *parent, PyObject *dict, int64_t i)
{
    for (; i < parent->n_children; i++) {
        struct rows__field *field = &parent->children[i];
        PyObject *value = PyDict_GetItemWithError(dict, field->key);
        if (value == NULL) {
            return PyErr_Occurred() ? -1 : rows__missing(rows, field, dict);
        }
        if (put_held(rows, field, value) < 0) {
            return -1;
        }
    }
    return PyDict_GET_SIZE(dict) == parent->n_children ? 0 : report_extra(rows, parent, dict);
}

/* The fields of a dict into the children's columns. Authors mostly write the keys in the order of the schema. Nothing is held
 * until the first value that takes more than reading it. */
static int put_fields(struct rows_out *rows, struct rows__field *parent, PyObject *dict)
{
    Py_ssize_t at = 0;
    int64_t i = 0;
    int result = 0;
    PyObject *key, *value, *held = NULL;
    while (i < parent->n_children && PyDict_Next(dict, &at, &key, &value)) {
        struct rows__field *field = &parent->children[i];
        if (key != field->key && key != field->seen) {
            if (!same_key(key, field->key)) {
                break;
            }
            Py_XSETREF(field->seen, Py_NewRef(key));
        }
        i++;
        if (QN_LIKELY(put_fast(rows, field, value) && !field->column->failed)) {
            continue;
        }
        held = held != NULL ? held : Py_NewRef(dict);
        result = put_held(rows, field, value);
        if (QN_UNLIKELY(result < 0)) {
            break;
        }
    }
    if (result == 0 && QN_UNLIKELY(i < parent->n_children || PyDict_GET_SIZE(dict) != i)) {
        held = held != NULL ? held : Py_NewRef(dict);
        result = put_fields_by_name(rows, parent, dict, i);
    }
    Py_XDECREF(held);
    return result;
}

/* ---- nested values ---- */

static int reserve(struct qn_column *column, int64_t n)
{
    struct qn_error err = QN_ERROR_INIT;
    return qn_column_reserve(column, n, &err) == QN_OK ? 0 : rows__raise(&err);
}

int rows__put_struct(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    int64_t length = field->column->length;
    if (!PyDict_Check(value)) {
        return rows__not_dict(rows, field, value);
    }
    int result = 0;
    for (int64_t i = 0; result == 0 && i < field->n_children; i++) {
        result = reserve(field->children[i].column, 1);
        rows->bytes += field->children[i].column->width + 1;
    }
    if (result == 0 && put_fields(rows, field, value) == 0) {
        qn_column_end_struct(field->column);
        return 0;
    }
    for (int64_t i = 0; i < field->n_children; i++) {
        qn_column_truncate(field->children[i].column, length);
    }
    return -1;
}

static int end_list(struct rows__field *field)
{
    struct qn_error err = QN_ERROR_INIT;
    return qn_column_end_list(field->column, &err) == QN_OK ? 0 : rows__raise(&err);
}

static int changed_size(const struct rows_out *rows, const struct rows__field *field, PyObject *value)
{
    return rows__misfit(rows, field, PyExc_ValueError, value, "it changed while it was read");
}

static Py_ssize_t sequence_size(PyObject *sequence)
{
    return PyList_Check(sequence) ? PyList_GET_SIZE(sequence) : PyTuple_GET_SIZE(sequence);
}

/* New reference to an item; the sequence has it. */
static PyObject *sequence_item(PyObject *sequence, Py_ssize_t i)
{
    return Py_NewRef(PyList_Check(sequence) ? PyList_GET_ITEM(sequence, i) : PyTuple_GET_ITEM(sequence, i));
}

static int put_items(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    struct rows__field *items = &field->children[0];
    Py_ssize_t size = sequence_size(value);
    if (reserve(items->column, size) < 0) {
        return -1;
    }
    rows->bytes += (items->column->width + 1) * (int64_t)size;
    for (Py_ssize_t i = 0; i < size; i++) {
        if (sequence_size(value) != size) {
            return changed_size(rows, field, value);
        }
        PyObject *item = sequence_item(value, i);
        items->at = i;
        int result = rows__field_put(rows, items, item);
        Py_DECREF(item);
        if (result < 0) {
            return -1;
        }
    }
    return end_list(field);
}

int rows__put_list(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    int64_t items = field->children[0].column->length;
    if (!PyList_Check(value) && !PyTuple_Check(value)) {
        return rows__misfit(rows, field, PyExc_TypeError, value,
                            PyUnicode_Check(value) || PyBytes_Check(value) ? NULL : "use list(x)");
    }
    if (put_items(rows, field, value) < 0) {
        qn_column_truncate(field->children[0].column, items);
        return -1;
    }
    return 0;
}

/* ---- maps ---- */

static int put_pair(struct rows_out *rows, struct rows__field *entries, PyObject *key, PyObject *value)
{
    struct rows__field *sides = entries->children;
    rows->bytes += sides[0].column->width + sides[1].column->width + 2;
    if (reserve(entries->column, 1) < 0 || reserve(sides[0].column, 1) < 0 || reserve(sides[1].column, 1) < 0 ||
        rows__field_put(rows, &sides[0], key) < 0 || rows__field_put(rows, &sides[1], value) < 0) {
        return -1;
    }
    qn_column_end_struct(entries->column);
    return 0;
}

static int put_pairs_of_dict(struct rows_out *rows, struct rows__field *field, PyObject *dict)
{
    struct rows__field *entries = &field->children[0];
    Py_ssize_t at = 0, size = PyDict_GET_SIZE(dict);
    PyObject *key, *value;
    entries->at = 0;
    while (PyDict_Next(dict, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        int result = put_pair(rows, entries, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
        if (result < 0) {
            return -1;
        }
        entries->at++;
        if (PyDict_GET_SIZE(dict) != size || entries->at > size) {
            return changed_size(rows, field, dict);
        }
    }
    return 0;
}

static int put_pairs_of_list(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    struct rows__field *entries = &field->children[0];
    Py_ssize_t size = sequence_size(value);
    for (Py_ssize_t i = 0; i < size; i++) {
        if (sequence_size(value) != size) {
            return changed_size(rows, field, value);
        }
        PyObject *pair = sequence_item(value, i);
        entries->at = i;
        int result = -1;
        if (PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2) {
            result = put_pair(rows, entries, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
        } else {
            (void)rows__misfit(rows, entries, PyExc_TypeError, pair,
                               "a map is a dict, or a list of (key, value) tuples");
        }
        Py_DECREF(pair);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

int rows__put_map(struct rows_out *rows, struct rows__field *field, PyObject *value)
{
    struct rows__field *entries = &field->children[0];
    int64_t items = entries->column->length;
    int result = -1;
    if (PyDict_Check(value)) {
        result = put_pairs_of_dict(rows, field, value);
    } else if (PyList_Check(value) || PyTuple_Check(value)) {
        result = put_pairs_of_list(rows, field, value);
    } else {
        (void)rows__misfit(rows, field, PyExc_TypeError, value, "a map is a dict, or a list of (key, value) tuples");
    }
    if (result == 0) {
        result = end_list(field);
    }
    if (result < 0) {
        qn_column_truncate(entries->column, items);
        for (int side = 0; side < 2; side++) {
            qn_column_truncate(entries->children[side].column, items);
        }
    }
    return result;
}

/* ---- rows ---- */

static int make_room(struct rows_out *rows)
{
    struct qn_error err = QN_ERROR_INIT;
    int64_t more = rows->length < FIRST_ROWS ? FIRST_ROWS : rows->length / 2;
    if (rows->length == 0 && rows->hint > more) {
        more = rows->hint;
    }
    if (qn_batch_reserve(&rows->batch, more, &err) != QN_OK) {
        return rows__raise(&err);
    }
    rows->room = rows->length + more;
    return 0;
}

int rows_out_put(struct rows_out *rows, PyObject *object, int64_t row)
{
    if (QN_UNLIKELY(rows->busy)) {
        PyErr_SetString(PyExc_RuntimeError, "these rows are being written already");
        return -1;
    }
    if (QN_UNLIKELY(rows->length == rows->room) && make_room(rows) < 0) {
        return -1;
    }
    int64_t bytes = rows->bytes;
    rows->row = row;
    rows->busy = true;
    int result = QN_LIKELY(PyDict_Check(object)) ? put_fields(rows, &rows->root, object)
                                                 : rows__not_dict(rows, &rows->root, object);
    rows->busy = false;
    if (QN_LIKELY(result == 0)) {
        rows->length++;
        return 0;
    }
    for (int64_t i = 0; i < rows->batch.n_columns; i++) {
        qn_column_truncate(&rows->batch.columns[i], rows->length);
    }
    rows->bytes = bytes;
    return -1;
}

int64_t rows_out_length(const struct rows_out *rows)
{
    return rows->length;
}

int64_t rows_out_bytes(const struct rows_out *rows)
{
    return rows->length * rows->row_width + rows->bytes;
}

int rows_out_finish(struct rows_out *rows, struct ArrowArray *out)
{
    struct qn_error err = QN_ERROR_INIT;
    if (rows->busy) {
        PyErr_SetString(PyExc_RuntimeError, "these rows are being written");
        return -1;
    }
    if (qn_batch_finish(&rows->batch, rows->length, out, &err) != QN_OK) {
        return rows__raise(&err);
    }
    rows->hint = rows->length;
    rows->length = 0;
    rows->room = 0;
    rows->bytes = 0;
    return 0;
}
