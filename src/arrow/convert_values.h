/*
 * convert_values.h: values of fixed width turned into a wider type, for convert.c. Not for other folders.
 */
#ifndef QN_ARROW_CONVERT_VALUES_H
#define QN_ARROW_CONVERT_VALUES_H

#include "arrow/layout.h"

/* Whether qn__convert_fixed knows the pair: numbers, dates and times that `to` holds exactly. */
bool qn__convert_is_fixed(const struct qn_type *from, const struct qn_type *to);

/* The values of a bound reader without dictionary in such a type. QN_ERR_DATA of a row where its value does not fit. */
enum qn_status qn__convert_fixed(const struct qn_reader *reader, const struct qn_type *to,
                                 const struct qn__place *place, struct ArrowArray *out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* The values that a dictionary-encoded reader stands for, of a type of fixed width or bool, as they are. */
enum qn_status qn__decode_fixed(const struct qn_reader *reader, struct ArrowArray *out,
                                struct qn_error *err) QN_MUST_CHECK;

#endif
