/*
 * rows_in.c: Arrow batches to lists of dicts.
 *
 * A tree of values mirrors the schema; each has a fill, chosen once, that makes the Python objects of some rows of one
 * column. Rows are made CHUNK at a time: each column fills its part of a scratch table, then a dict per row is copied from
 * a template (one copy of a table of the right size, without hashing) and its values are set. Dicts of plain values stay
 * unknown to the garbage collector. The scratch belongs to the tree, so a rows_in is used by one caller at a time (`busy`).
 */
#include "rows_in.h"

#include "base/memory.h"

#include <string.h>

#define CHUNK 64

/* ---- making and freeing ---- */

static void value_dispose(struct rows__value *value)
{
    for (int64_t i = 0; i < value->n_children; i++) {
        value_dispose(&value->children[i]);
    }
    qn_free(value->children);
    qn_free(value->scratch);
    rows__value_forget(value);
    if (value->dictionary != NULL) {
        value_dispose(value->dictionary);
        qn_free(value->dictionary);
    }
    Py_CLEAR(value->key);
    Py_CLEAR(value->zone);
    Py_CLEAR(value->template);
}

static int make_zone(struct rows__value *value)
{
    if (value->reader->type.id != QN_TYPE_TIMESTAMP || value->reader->type.timezone[0] == '\0') {
        return 0;
    }
    value->zone = rows__zone(value->reader->type.timezone);
    if (value->zone != NULL || !PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return value->zone != NULL ? 0 : -1;
    }
    PyErr_Clear();
    PyErr_Format(
        PyExc_ValueError,
        "column \"%s\": the time zone \"%s\" is not known to this Python; give the input in UTC, or install tzdata",
        value->reader->name, value->reader->type.timezone);
    return -1;
}

/* A dict with the children's names in their order, which rows are copied from. */
static PyObject *make_template(struct rows__value *value)
{
    PyObject *template = PyDict_New();
    for (int64_t i = 0; template != NULL && i < value->n_children; i++) {
        if (PyDict_SetItem(template, value->children[i].key, Py_None) < 0) {
            Py_CLEAR(template);
        } else if (PyDict_GET_SIZE(template) != i + 1) {
            PyErr_Format(PyExc_ValueError, "there is more than one column \"%U\", and a dict holds one",
                         value->children[i].key);
            Py_CLEAR(template);
        }
    }
    return template;
}

static int value_init(struct rows__value *value, const struct qn_reader *reader, struct rows__value *parent);

static int init_children(struct rows__value *value, const struct qn_reader *readers, int64_t n)
{
    value->children = qn_calloc((size_t)(n > 0 ? n : 1), sizeof *value->children);
    if (value->children == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int64_t i = 0; i < n; i++) {
        value->n_children = i + 1;
        if (value_init(&value->children[i], &readers[i], value) < 0) {
            return -1;
        }
    }
    return 0;
}

/* What dicts of the children need. */
static int init_dicts(struct rows__value *value)
{
    value->scratch = qn_calloc((size_t)(value->n_children > 0 ? value->n_children : 1), CHUNK * sizeof(PyObject *));
    if (value->scratch == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    value->template = make_template(value);
    return value->template == NULL ? -1 : 0;
}

static int value_init(struct rows__value *value, const struct qn_reader *reader, struct rows__value *parent)
{
    value->reader = reader;
    value->parent = parent;
    value->key = PyUnicode_FromString(reader->name);
    if (value->key == NULL) {
        return -1;
    }
    PyUnicode_InternInPlace(&value->key);
    if (reader->dictionary != NULL) {
        value->fill = rows__fill_dictionary;
        value->dictionary = qn_calloc(1, sizeof *value->dictionary);
        if (value->dictionary == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        return value_init(value->dictionary, reader->dictionary, parent);
    }
    value->fill = rows__fill_choose(reader);
    if (value->fill == NULL) {
        PyErr_Format(PyExc_ValueError, "column \"%s\": values of this Arrow type cannot be given to a statement",
                     reader->name);
        return -1;
    }
    if (make_zone(value) < 0) {
        return -1;
    }
    if (reader->n_children > 0 || reader->type.id == QN_TYPE_STRUCT) {
        if (init_children(value, reader->children, reader->n_children) < 0) {
            return -1;
        }
    }
    return reader->type.id == QN_TYPE_STRUCT ? init_dicts(value) : 0;
}

struct rows_in *rows_in_new(const struct ArrowSchema *schema)
{
    struct rows_in *rows = qn_calloc(1, sizeof *rows);
    if (rows == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    struct qn_error err = QN_ERROR_INIT;
    if (qn_batch_reader_init(&rows->batch, schema, &err) != QN_OK) {
        rows__raise(&err);
        qn_free(rows);
        return NULL;
    }
    if (init_children(&rows->root, rows->batch.columns, rows->batch.n_columns) < 0 || init_dicts(&rows->root) < 0) {
        rows_in_free(rows);
        return NULL;
    }
    return rows;
}

void rows_in_free(struct rows_in *rows)
{
    if (rows != NULL) {
        value_dispose(&rows->root);
        qn_batch_reader_dispose(&rows->batch);
        qn_free(rows);
    }
}

/* ---- rows ---- */

static void drop(PyObject **objects, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        Py_CLEAR(objects[i]);
    }
}

/* A dict of the scratch's values at `at`, which are used up. */
static PyObject *make_dict(struct rows__value *value, int64_t at)
{
    PyObject *dict = PyDict_Copy(value->template);
    for (int64_t i = 0; i < value->n_children; i++) {
        PyObject **place = &value->scratch[i * CHUNK + at];
        if (dict != NULL && PyDict_SetItem(dict, value->children[i].key, *place) < 0) {
            Py_CLEAR(dict);
        }
        Py_CLEAR(*place);
    }
    return dict;
}

/* Dicts of `count` rows of the children from `first`, at most CHUNK. */
static int fill_chunk(struct rows__value *value, int64_t first, int64_t count, PyObject **out)
{
    int result = 0;
    for (int64_t i = 0; result == 0 && i < value->n_children; i++) {
        struct rows__value *child = &value->children[i];
        if (child->fill(child, first, count, value->scratch + i * CHUNK) < 0) {
            result = rows__fill_pass(value, child->failed, child);
        }
    }
    for (int64_t at = 0; result == 0 && at < count; at++) {
        out[at] = make_dict(value, at);
        if (out[at] == NULL) {
            result = rows__fill_failed(value, at, NULL);
        }
    }
    if (result < 0) {
        for (int64_t i = 0; i < value->n_children; i++) {
            drop(value->scratch + i * CHUNK, count);
        }
    }
    return result;
}

static int fill_dicts(struct rows__value *value, int64_t first, int64_t count, PyObject **out)
{
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t some = count - done < CHUNK ? count - done : CHUNK;
        if (fill_chunk(value, first + done, some, out + done) < 0) {
            value->failed += done;
            return -1;
        }
    }
    return 0;
}

/* ---- nested values ---- */

int rows__fill_struct(struct rows__value *value, int64_t first, int64_t count, PyObject **out)
{
    const struct qn_reader *reader = value->reader;
    int64_t done = 0;
    while (done < count) {
        if (qn_reader_is_null(reader, first + done)) {
            out[done++] = Py_NewRef(Py_None);
            continue;
        }
        int64_t end = done + 1;
        while (end < count && !qn_reader_is_null(reader, first + end)) {
            end++;
        }
        if (fill_dicts(value, qn_reader_struct_row(reader, first + done), end - done, out + done) < 0) {
            value->failed += done;
            return -1;
        }
        done = end;
    }
    return 0;
}

int rows__fill_list(struct rows__value *value, int64_t first, int64_t count, PyObject **out)
{
    struct rows__value *items = &value->children[0];
    for (int64_t i = 0; i < count; i++) {
        int64_t begin, n_items;
        if (qn_reader_is_null(value->reader, first + i)) {
            out[i] = Py_NewRef(Py_None);
            continue;
        }
        if (!qn_reader_list(value->reader, first + i, &begin, &n_items)) {
            return rows__fill_failed(value, i, "the offsets of the list are malformed");
        }
        out[i] = PyList_New(n_items);
        if (out[i] == NULL) {
            return rows__fill_failed(value, i, NULL);
        }
        if (items->fill(items, begin, n_items, ((PyListObject *)out[i])->ob_item) < 0) {
            Py_CLEAR(out[i]); /* a list with holes is nobody's to see */
            return rows__fill_pass(value, i, items);
        }
    }
    return 0;
}

/* One (key, value) pair of a map's entries. */
static PyObject *make_pair(struct rows__value *entries, int64_t row)
{
    PyObject *sides[2] = { NULL, NULL };
    for (int side = 0; side < 2; side++) {
        struct rows__value *child = &entries->children[side];
        if (child->fill(child, row, 1, &sides[side]) < 0) {
            rows__fill_pass(entries, 0, child);
            drop(sides, 2);
            return NULL;
        }
    }
    PyObject *pair = PyTuple_New(2);
    if (pair == NULL) {
        rows__fill_failed(entries, 0, NULL);
        drop(sides, 2);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, sides[0]);
    PyTuple_SET_ITEM(pair, 1, sides[1]);
    return pair;
}

int rows__fill_map(struct rows__value *value, int64_t first, int64_t count, PyObject **out)
{
    struct rows__value *entries = &value->children[0];
    for (int64_t i = 0; i < count; i++) {
        int64_t begin, n_items;
        if (qn_reader_is_null(value->reader, first + i)) {
            out[i] = Py_NewRef(Py_None);
            continue;
        }
        if (!qn_reader_list(value->reader, first + i, &begin, &n_items)) {
            return rows__fill_failed(value, i, "the offsets of the map are malformed");
        }
        out[i] = PyList_New(n_items);
        if (out[i] == NULL) {
            return rows__fill_failed(value, i, NULL);
        }
        for (int64_t item = 0; item < n_items; item++) {
            PyObject *pair = make_pair(entries, qn_reader_struct_row(entries->reader, begin + item));
            if (pair == NULL) {
                Py_CLEAR(out[i]);
                return rows__fill_pass(value, i, entries);
            }
            PyList_SET_ITEM(out[i], item, pair);
        }
    }
    return 0;
}

/* ---- batches ---- */

/* "a.b[]": the names from the column down to a value. Cut where it is long. */
static void write_path(const struct rows__value *value, char *out, size_t size)
{
    if (value->parent == NULL || value->parent->reader == NULL) {
        snprintf(out, size, "%s", value->reader->name);
        return;
    }
    write_path(value->parent, out, size);
    size_t used = strlen(out);
    bool named = value->parent->reader->type.id == QN_TYPE_STRUCT;
    snprintf(out + used, size - used, named ? ".%s" : "[]", value->reader->name);
}

static void raise_failure(const struct rows_in *rows, const struct rows__value *value, int64_t row)
{
    char path[256];
    if (value->why == NULL) {
        return;
    }
    write_path(value->culprit, path, sizeof path);
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "row %lld, column \"%s\": %s", (long long)rows->first_row + row, path, value->why);
}

static int enter(struct rows_in *rows)
{
    if (rows->busy) {
        PyErr_SetString(PyExc_RuntimeError, "these rows are being read already");
        return -1;
    }
    rows->busy = true;
    return 0;
}

static void forget_objects(struct rows__value *value)
{
    rows__value_forget(value);
    if (value->dictionary != NULL) {
        forget_objects(value->dictionary);
    }
    for (int64_t i = 0; i < value->n_children; i++) {
        forget_objects(&value->children[i]);
    }
}

int rows_in_bind(struct rows_in *rows, const struct ArrowArray *batch, int64_t first_row)
{
    struct qn_error err = QN_ERROR_INIT;
    if (enter(rows) < 0) {
        return -1;
    }
    forget_objects(&rows->root);
    rows->busy = false;
    rows->first_row = first_row;
    rows->batch.length = 0;
    return qn_batch_reader_bind(&rows->batch, batch, &err) == QN_OK ? 0 : rows__raise(&err);
}

PyObject *rows_in_slice(struct rows_in *rows, int64_t from, int64_t count)
{
    if (from < 0 || count < 0 || from > rows->batch.length || count > rows->batch.length - from) {
        PyErr_SetString(PyExc_IndexError, "the batch has no such rows");
        return NULL;
    }
    PyObject *list = PyList_New(count);
    if (list == NULL || enter(rows) < 0) {
        Py_XDECREF(list);
        return NULL;
    }
    int collects = PyGC_Disable(); /* a collection in the middle would only walk what is being made */
    int result = fill_dicts(&rows->root, from, count, ((PyListObject *)list)->ob_item);
    if (collects) {
        PyGC_Enable();
    }
    rows->busy = false;
    if (result < 0) {
        raise_failure(rows, &rows->root, from + rows->root.failed);
        Py_CLEAR(list);
    }
    return list;
}

PyObject *rows_in_list(struct rows_in *rows, const struct ArrowArray *batch, int64_t first_row)
{
    return rows_in_bind(rows, batch, first_row) < 0 ? NULL : rows_in_slice(rows, 0, rows->batch.length);
}

PyObject *rows_in_value(struct rows_in *rows, const struct ArrowArray *batch)
{
    if (rows_in_bind(rows, batch, 0) < 0) {
        return NULL;
    }
    if (rows->batch.n_columns != 1 || rows->batch.length != 1) {
        PyErr_SetString(PyExc_ValueError, "a checkpoint is one value: one column of one row");
        return NULL;
    }
    struct rows__value *column = &rows->root.children[0];
    PyObject *value = NULL;
    if (enter(rows) < 0) {
        return NULL;
    }
    if (column->fill(column, 0, 1, &value) < 0) {
        raise_failure(rows, column, 0);
        Py_CLEAR(value);
    }
    rows->busy = false;
    return value;
}
