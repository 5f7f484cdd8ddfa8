/*
 * compare.h: values of Arrow columns compared with values of filters, exactly. For filter_plan.c.
 *
 * What a value of a filter means is the column's type's question: the same forms as those in which such values are written as
 * JSON (arrow/reader.h): numbers as numbers, texts as texts, binaries as base64, dates and times as ISO 8601 texts, durations
 * as ISO 8601 durations. Threads: no state.
 */
#ifndef QN_CONNECTOR_COMPARE_H
#define QN_CONNECTOR_COMPARE_H

#include "arrow/reader.h"
#include "connector/filter_private.h"

enum qn__order { QN__ORDER_LESS, QN__ORDER_EQUAL, QN__ORDER_GREATER, QN__ORDER_NONE /* a NaN */ };

/* A filter's value as the column has its own. */
struct qn__comparand {
    enum { QN__AS_WHOLE, QN__AS_DOUBLE, QN__AS_BYTES } as;
    int beyond;      /* WHOLE: -1, 1: less or more than any value of the column */
    qn_int128 whole; /* WHOLE: in units of the column */
    bool above;      /* WHOLE: between `whole` and the next */
    double number;   /* DOUBLE */
    char *bytes;     /* BYTES; owned */
    size_t size;
};

/* QN_ERR_UNSUPPORTED for a column whose values have no order. */
enum qn_status qn__compare_check(const struct qn_reader *reader, struct qn_error *err) QN_MUST_CHECK;

/* QN_ERR_ARGUMENT for a value that is none of the column's. */
enum qn_status qn__comparand_init(struct qn__comparand *comparand, const struct qn_reader *reader,
                                  const struct qn__filter_value *value, struct qn_error *err) QN_MUST_CHECK;
void qn__comparand_dispose(struct qn__comparand *comparand);

/* Comparands of one column in the order of its values, for qsort. */
int qn__comparand_order(const void *a, const void *b);

/* The row's value, which is not null, against the comparand. */
enum qn_status qn__compare(const struct qn_reader *reader, int64_t row, const struct qn__comparand *comparand,
                           enum qn__order *out, struct qn_error *err) QN_MUST_CHECK;

#endif
