/*
 * sql_token.c: the tokeniser of sql_token.h.
 *
 * It knows of SQL only what hides or resembles a placeholder: literals ('' doubled, E'' with backslashes, $tag$), quoted
 * identifiers, comments (nested where the dialect has it), casts (::), assignments (:=), question operators. A word is
 * taken whole, so `a:b`, `a[1:n]`, `x$1` and `t@p1` hold no placeholder.
 * What cannot be told apart: `a[:n]` is read as the placeholder :n (write a[1:n]); with standard_conforming_strings off a
 * backslash in a plain '' literal is not seen as an escape.
 * Bytes past ASCII are parts of words: UTF-8 passes through whole.
 */
#include "db/sql_token.h"

#include "base/text.h"
#include "db/sql.h"

#include <string.h>

bool qn__sql_is_word(char c)
{
    return qn_ascii_letter(c) || qn_ascii_digit(c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static bool starts_name(char c)
{
    return qn_ascii_letter(c) || c == '_' || (unsigned char)c >= 0x80;
}

int32_t qn__sql_character(const char *sql, size_t offset)
{
    int32_t characters = 1;
    for (size_t i = 0; i < offset; i++) {
        characters += ((unsigned char)sql[i] & 0xC0) != 0x80;
    }
    return characters;
}

static enum qn_status unterminated(const char *sql, size_t start, const char *what, struct qn_error *err)
{
    qn_error_set(err, QN_ERR_QUERY, "%s is not closed", what);
    if (err != NULL) {
        err->position = qn__sql_character(sql, start);
        QN_ERROR_COPY(err->sqlstate, "42601", 5);
    }
    return QN_ERR_QUERY;
}

/* All scanners return the offset behind the piece, or 0 where it has no end. */

static size_t scan_quoted(const char *sql, size_t size, size_t at, char quote, bool backslashes)
{
    for (size_t i = at + 1; i < size; i++) {
        if (backslashes && sql[i] == '\\') {
            i++;
        } else if (sql[i] == quote) {
            if (i + 1 < size && sql[i + 1] == quote) {
                i++;
            } else {
                return i + 1;
            }
        }
    }
    return 0;
}

static size_t scan_line_comment(const char *sql, size_t size, size_t at)
{
    const char *end = memchr(sql + at, '\n', size - at);
    return end != NULL ? (size_t)(end - sql) + 1 : size;
}

static size_t scan_block_comment(const char *sql, size_t size, size_t at, bool nested)
{
    size_t depth = 1;
    for (size_t i = at + 2; i + 1 < size; i++) {
        if (sql[i] == '*' && sql[i + 1] == '/') {
            if (--depth == 0) {
                return i + 2;
            }
            i++;
        } else if (nested && sql[i] == '/' && sql[i + 1] == '*') {
            depth++;
            i++;
        }
    }
    return 0;
}

/* The size of "$tag$" at `at`, or 0 where there is none. */
static size_t dollar_tag(const char *sql, size_t size, size_t at)
{
    size_t i = at + 1;
    if (i < size && starts_name(sql[i])) {
        while (i < size && sql[i] != '$' && qn__sql_is_word(sql[i])) {
            i++;
        }
    }
    return i < size && sql[i] == '$' ? i + 1 - at : 0;
}

static size_t scan_dollar_quote(const char *sql, size_t size, size_t at, size_t tag)
{
    const char *end = memmem(sql + at + tag, size - at - tag, sql + at, tag);
    return end != NULL ? (size_t)(end - sql) + tag : 0;
}

static size_t scan_word(const char *sql, size_t size, size_t at)
{
    while (at < size && qn__sql_is_word(sql[at])) {
        at++;
    }
    return at;
}

/* Digits at `at` as a number (capped); the offset behind them. */
static size_t scan_number(const char *sql, size_t size, size_t at, int64_t *out)
{
    int64_t number = 0;
    while (at < size && qn_ascii_digit(sql[at])) {
        if (number <= QN_SQL_MAX_PLACEHOLDERS) {
            number = number * 10 + (sql[at] - '0');
        }
        at++;
    }
    *out = number;
    return at;
}

static char at_or_nul(const char *sql, size_t size, size_t at)
{
    return at < size ? sql[at] : '\0';
}

static void set(struct qn_sql_token *token, enum qn_sql_token_kind kind, size_t end)
{
    token->kind = kind;
    token->size = end - token->start;
}

static void question_token(const struct qn_dialect *dialect, const char *sql, size_t size, struct qn_sql_token *token)
{
    size_t at = token->start;
    char next = at_or_nul(sql, size, at + 1);
    char after = at_or_nul(sql, size, at + 2);
    if (dialect->placeholder == QN_PLACEHOLDER_NUMBERED && qn_ascii_digit(next)) {
        set(token, QN_SQL_NATIVE, scan_number(sql, size, at + 1, &token->number));
    } else if (dialect->question_operators && next == '?') {
        set(token, QN_SQL_ESCAPED_MARK, at + 2);
    } else if (dialect->question_operators && ((next == '|' && after != '|') || next == '&')) {
        set(token, QN_SQL_OPERATOR_MARK, at + 2);
    } else {
        set(token, QN_SQL_QUESTION, at + 1);
    }
}

static enum qn_status dollar_token(const struct qn_dialect *dialect, const char *sql, size_t size,
                                   struct qn_sql_token *token, struct qn_error *err)
{
    size_t at = token->start;
    size_t tag = dialect->dollar_quotes ? dollar_tag(sql, size, at) : 0;
    if (tag > 0) {
        size_t end = scan_dollar_quote(sql, size, at, tag);
        if (end == 0) {
            return unterminated(sql, at, "a dollar-quoted string", err);
        }
        set(token, QN_SQL_LITERAL, end);
    } else if (dialect->placeholder == QN_PLACEHOLDER_DOLLAR && qn_ascii_digit(at_or_nul(sql, size, at + 1))) {
        set(token, QN_SQL_NATIVE, scan_number(sql, size, at + 1, &token->number));
    } else {
        set(token, QN_SQL_TEXT, at + 1);
    }
    return QN_OK;
}

static void colon_token(const char *sql, size_t size, struct qn_sql_token *token)
{
    size_t at = token->start;
    char next = at_or_nul(sql, size, at + 1);
    if (starts_name(next)) {
        size_t end = at + 1;
        while (end < size && sql[end] != '$' && qn__sql_is_word(sql[end])) {
            end++;
        }
        set(token, QN_SQL_NAMED, end);
    } else {
        set(token, QN_SQL_TEXT, next == ':' || next == '=' ? at + 2 : at + 1);
    }
}

static void at_token(const struct qn_dialect *dialect, const char *sql, size_t size, struct qn_sql_token *token)
{
    size_t at = token->start;
    char next = at_or_nul(sql, size, at + 1);
    if (dialect->question_operators && next == '?') {
        set(token, QN_SQL_OPERATOR_MARK, at + 2); /* jsonb @? path */
    } else if (dialect->placeholder == QN_PLACEHOLDER_AT && qn_ascii_lower(next) == 'p' &&
               qn_ascii_digit(at_or_nul(sql, size, at + 2))) {
        int64_t number;
        size_t end = scan_number(sql, size, at + 2, &number);
        if (end < size && qn__sql_is_word(sql[end])) {
            set(token, QN_SQL_TEXT, scan_word(sql, size, end)); /* @p1x is a variable */
        } else {
            token->number = number;
            set(token, QN_SQL_NATIVE, end);
        }
    } else {
        set(token, QN_SQL_TEXT, scan_word(sql, size, at + 1 + (next == '@')));
    }
}

static enum qn_status word_token(const struct qn_dialect *dialect, const char *sql, size_t size,
                                 struct qn_sql_token *token, struct qn_error *err)
{
    size_t at = token->start;
    if (dialect->escape_strings && qn_ascii_lower(sql[at]) == 'e' && at_or_nul(sql, size, at + 1) == '\'') {
        size_t end = scan_quoted(sql, size, at + 1, '\'', true);
        if (end == 0) {
            return unterminated(sql, at, "a string literal", err);
        }
        set(token, QN_SQL_LITERAL, end);
        return QN_OK;
    }
    set(token, QN_SQL_WORD, scan_word(sql, size, at));
    /* A slice or label `word:name`: the colon belongs to the word. `word::type` and `word:=` are left to colon_token. */
    size_t end = token->start + token->size;
    if (at_or_nul(sql, size, end) == ':' && starts_name(at_or_nul(sql, size, end + 1))) {
        token->size += 1;
    }
    return QN_OK;
}

/* The closing quote of an identifier that `c` opens, or NUL. */
static char closing_quote(const struct qn_dialect *dialect, char c)
{
    if (c == '"') {
        return '"';
    }
    if (c == dialect->quote_open) {
        return dialect->quote_close;
    }
    if (c == '[' && dialect->bracket_quotes) {
        return ']';
    }
    return c == '`' && dialect->backtick_quotes ? '`' : '\0';
}

static enum qn_status quoted_token(const char *sql, size_t size, char quote, enum qn_sql_token_kind kind,
                                   struct qn_sql_token *token, struct qn_error *err)
{
    size_t end = scan_quoted(sql, size, token->start, quote, false);
    if (end == 0) {
        return unterminated(sql, token->start, kind == QN_SQL_LITERAL ? "a string literal" : "a quoted identifier",
                            err);
    }
    set(token, kind, end);
    return QN_OK;
}

static enum qn_status comment_token(const struct qn_dialect *dialect, const char *sql, size_t size,
                                    struct qn_sql_token *token, struct qn_error *err)
{
    size_t at = token->start;
    size_t end =
        sql[at] == '-' ? scan_line_comment(sql, size, at) : scan_block_comment(sql, size, at, dialect->nested_comments);
    if (end == 0) {
        return unterminated(sql, at, "a comment", err);
    }
    set(token, QN_SQL_COMMENT, end);
    return QN_OK;
}

enum qn_status qn__sql_token(const struct qn_dialect *dialect, const char *sql, size_t size, size_t start,
                             struct qn_sql_token *token, struct qn_error *err)
{
    *token = (struct qn_sql_token){ .kind = QN_SQL_END, .start = start };
    if (start >= size) {
        return QN_OK;
    }
    char c = sql[start];
    char next = at_or_nul(sql, size, start + 1);
    char closing = closing_quote(dialect, c);
    if (c == '\'') {
        return quoted_token(sql, size, c, QN_SQL_LITERAL, token, err);
    }
    if (closing != '\0') {
        return quoted_token(sql, size, closing, QN_SQL_QUOTED, token, err);
    }
    if ((c == '-' && next == '-') || (c == '/' && next == '*')) {
        return comment_token(dialect, sql, size, token, err);
    }
    if (c == '$') {
        return dollar_token(dialect, sql, size, token, err);
    }
    if (qn__sql_is_word(c)) {
        return word_token(dialect, sql, size, token, err);
    }
    if (c == '?') {
        question_token(dialect, sql, size, token);
    } else if (c == ':') {
        colon_token(sql, size, token);
    } else if (c == '@') {
        at_token(dialect, sql, size, token);
    } else {
        set(token, QN_SQL_TEXT, start + 1);
    }
    return QN_OK;
}
