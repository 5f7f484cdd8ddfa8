/*
 * rows_in.h: what rows_in.c and rows_in_value.c share. Not for other files.
 */
#ifndef QN_WORKER_ROWS_IN_H
#define QN_WORKER_ROWS_IN_H

#include "rows_private.h"

struct rows__value;

/* Make the objects of rows `first` to first + count - 1 into `out`, whose places are NULL. On failure -1: some places may be
 * filled, value->failed is the row (from `first`) and value->why says why, or is NULL and a Python exception is set. */
typedef int (*rows__fill)(struct rows__value *value, int64_t first, int64_t count, PyObject **out);

struct rows__value {
    const struct qn_reader *reader;
    rows__fill fill;
    PyObject *key;      /* the name, interned */
    PyObject *zone;     /* of timestamps with a time zone */
    PyObject *template; /* of structs: a dict of all names */
    PyObject **scratch; /* of structs: a part for each child; all NULL between calls */
    struct rows__value *parent;
    struct rows__value *children;
    int64_t n_children;
    struct rows__value *dictionary; /* of a dictionary-encoded column: its values */
    PyObject **objects;             /* those made so far of the bound array, or NULL; they are immutable and shared */
    int64_t n_objects;
    int64_t failed;
    const char *why;
    const struct rows__value *culprit; /* the value at the bottom that `why` is about */
};

struct rows_in {
    struct qn_batch_reader batch;
    struct rows__value root; /* a struct without a reader */
    int64_t first_row;       /* of the bound batch */
    bool busy;
};

/* NULL: no such values. */
rows__fill rows__fill_choose(const struct qn_reader *reader);
int rows__fill_dictionary(struct rows__value *value, int64_t first, int64_t count, PyObject **out);
int rows__fill_struct(struct rows__value *value, int64_t first, int64_t count, PyObject **out);
int rows__fill_list(struct rows__value *value, int64_t first, int64_t count, PyObject **out);
int rows__fill_map(struct rows__value *value, int64_t first, int64_t count, PyObject **out);

/* Drop the objects made of a bound dictionary. */
void rows__value_forget(struct rows__value *value);

/* Record a failure; returns -1. */
static inline int rows__fill_failed(struct rows__value *value, int64_t at, const char *why)
{
    value->failed = at;
    value->why = why;
    value->culprit = value;
    return -1;
}

/* Pass on the failure of a value below. */
static inline int rows__fill_pass(struct rows__value *value, int64_t at, const struct rows__value *below)
{
    value->failed = at;
    value->why = below->why;
    value->culprit = below->culprit;
    return -1;
}

#endif
