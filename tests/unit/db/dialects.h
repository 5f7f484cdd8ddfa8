/*
 * dialects.h: dialects of the three kinds that exist, for tests of what is the same for every driver.
 */
#ifndef QN_TEST_DIALECTS_H
#define QN_TEST_DIALECTS_H

#include <qanat/plugin/driver.h>
#include <stddef.h>
#include <string.h>

static inline const char *test_column_type(const struct ArrowSchema *field, char buffer[64])
{
    (void)buffer;
    if (strcmp(field->format, "l") == 0) {
        return "bigint";
    }
    return strcmp(field->format, "u") == 0 || strcmp(field->format, "vu") == 0 ? "text" : NULL;
}

static const struct qn_dialect dollar_dialect = {
    .struct_size = sizeof(struct qn_dialect),
    .name = "dollars",
    .placeholder = QN_PLACEHOLDER_DOLLAR,
    .quote_open = '"',
    .quote_close = '"',
    .dollar_quotes = true,
    .escape_strings = true,
    .nested_comments = true,
    .question_operators = true,
    .begin = { "begin", "begin isolation level read committed", "begin isolation level repeatable read",
               "begin isolation level serializable" },
    .begin_read_only = { "begin read only" },
    .tables_sql = "fake tables",
    .tables_in_schema_sql = "fake tables $1",
    .columns_sql = "fake columns $1 $2",
    .column_type = test_column_type,
};

static const struct qn_dialect numbered_dialect = {
    .struct_size = sizeof(struct qn_dialect),
    .name = "numbers",
    .placeholder = QN_PLACEHOLDER_NUMBERED,
    .quote_open = '"',
    .quote_close = '"',
    .bracket_quotes = true,
    .backtick_quotes = true,
    .begin = { "begin" },
    .column_type = test_column_type,
};

static const struct qn_dialect at_dialect = {
    .struct_size = sizeof(struct qn_dialect),
    .name = "ats",
    .placeholder = QN_PLACEHOLDER_AT,
    .quote_open = '[',
    .quote_close = ']',
    .bracket_quotes = true,
    .nested_comments = true,
    .begin = { "begin transaction" },
    .column_type = test_column_type,
};

#endif
