/*
 * column_private.h: what the files of column builders share. Not for other folders.
 */
#ifndef QN_ARROW_COLUMN_PRIVATE_H
#define QN_ARROW_COLUMN_PRIVATE_H

#include "arrow/column.h"

enum qn__column_failure { QN__FAIL_MEMORY, QN__FAIL_LIMIT };

/* Set the sticky failure at the current row; the first one stays. */
void qn__column_fail(struct qn_column *column, enum qn__column_failure failure);

/* The sticky failure of a column or of one below it, or QN_OK. */
enum qn_status qn__column_check(const struct qn_column *column, struct qn_error *err) QN_MUST_CHECK;

#endif
