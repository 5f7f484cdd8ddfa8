/*
 * filter_private.h: a filter as it was read. For filter.c and filter_plan.c.
 *
 * Nodes stand in one array in the order in which they were read: a node, then all below it. The first child of a node is the
 * next one, and `end` is the node after its last.
 */
#ifndef QN_CONNECTOR_FILTER_PRIVATE_H
#define QN_CONNECTOR_FILTER_PRIVATE_H

#include "base/decimal.h"
#include "connector/filter.h"

enum qn__filter_kind {
    QN__FILTER_AND,
    QN__FILTER_OR,
    QN__FILTER_NOT,
    QN__FILTER_COMPARE,
    QN__FILTER_NULL,
    QN__FILTER_IN
};

enum qn__filter_operator { QN__EQUAL, QN__NOT_EQUAL, QN__LESS, QN__LESS_EQUAL, QN__GREATER, QN__GREATER_EQUAL };

enum qn__value_kind { QN__VALUE_TEXT, QN__VALUE_NUMBER, QN__VALUE_BOOL };

struct qn__filter_value {
    enum qn__value_kind kind;
    bool truth;      /* BOOL */
    char *text;      /* TEXT, owned; for NUMBER as it was written */
    size_t size;     /* of text */
    bool exact;      /* NUMBER: value * 10^-scale is what was written; otherwise it has too many digits for that */
    qn_int128 value; /* NUMBER */
    int scale;
    double nearest; /* NUMBER */
};

struct qn__filter_node {
    enum qn__filter_kind kind;
    enum qn__filter_operator operator;
    size_t end;
    size_t column;                /* index in `columns`: COMPARE, NULL, IN */
    size_t first_value, n_values; /* COMPARE (one), IN */
};

struct qn_filter {
    struct qn__filter_node *nodes;
    size_t n_nodes, nodes_room;
    struct qn__filter_value *values;
    size_t n_values, values_room;
    char **columns;
    size_t n_columns, columns_room;
};

#endif
