/*
 * sql_token.h: cutting SQL into the few kinds of pieces that finding placeholders needs. One pass, no look-back, no memory.
 */
#ifndef QN_DB_SQL_TOKEN_H
#define QN_DB_SQL_TOKEN_H

#include "base/status.h"

#include <qanat/plugin/driver.h>

enum qn_sql_token_kind {
    QN_SQL_END,
    QN_SQL_TEXT,          /* anything that is none of the following: to be copied */
    QN_SQL_WORD,          /* an identifier, keyword or number */
    QN_SQL_LITERAL,       /* a string, in whichever quotes */
    QN_SQL_QUOTED,        /* a quoted identifier */
    QN_SQL_COMMENT,       /* of one line or in a block */
    QN_SQL_QUESTION,      /* ? as a placeholder, or an operator of one character */
    QN_SQL_OPERATOR_MARK, /* ?| ?& @? : never a placeholder (where the dialect has question operators) */
    QN_SQL_ESCAPED_MARK,  /* ?? */
    QN_SQL_NAMED,         /* :name */
    QN_SQL_NATIVE         /* the dialect's own: $1, ?1, @p1 */
};

struct qn_sql_token {
    enum qn_sql_token_kind kind;
    size_t start, size;
    int64_t number; /* of QN_SQL_NATIVE */
};

/* The token at `start` of `sql`. QN_ERR_QUERY where a literal, a quoted identifier or a block comment has no end; then
 * token->start is where it begins. */
enum qn_status qn__sql_token(const struct qn_dialect *dialect, const char *sql, size_t size, size_t start,
                             struct qn_sql_token *token, struct qn_error *err) QN_MUST_CHECK;

/* Letters, digits, _, $ and everything past ASCII: what continues an identifier. */
bool qn__sql_is_word(char c);

/* 1-based character position of a byte offset. */
int32_t qn__sql_character(const char *sql, size_t offset);

#endif
