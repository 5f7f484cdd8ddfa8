/*
 * sql_rewrite.c: placeholders of every spelling into the dialect's own.
 *
 * Two passes over the tokens, both linear: the first counts spellings (a native placeholder late in the text decides what
 * a `?` before it means), the second writes. Everything that is not a placeholder is copied byte by byte, except that `??`
 * becomes `?` where question marks are placeholders, and that a space is put between a placeholder and a word that it would
 * be a part of (`limit?and` becomes `limit $1 and`).
 */
#include "db/sql.h"

#include "base/memory.h"
#include "base/text.h"
#include "db/sql_token.h"

#include <string.h>

struct census {
    size_t question, named;
    int64_t native_highest; /* 0: none */
    size_t escaped;
    size_t first_mark, first_named, first_native; /* offsets of the first of each */
};

static enum qn_status error_at(const char *sql, size_t offset, struct qn_error *err)
{
    if (err != NULL) {
        err->position = qn__sql_character(sql, offset);
        QN_ERROR_COPY(err->sqlstate, "42601", 5);
    }
    return QN_ERR_QUERY;
}

static enum qn_status too_many(const char *sql, size_t offset, struct qn_error *err)
{
    qn_error_set(err, QN_ERR_QUERY, "the statement has more than %d placeholders", QN_SQL_MAX_PLACEHOLDERS);
    return error_at(sql, offset, err);
}

static enum qn_status count(const struct qn_dialect *dialect, const char *sql, size_t size, struct census *census,
                            struct qn_error *err)
{
    struct qn_sql_token token = { .kind = QN_SQL_TEXT };
    for (size_t at = 0; token.kind != QN_SQL_END; at = token.start + token.size) {
        QN_TRY(qn__sql_token(dialect, sql, size, at, &token, err));
        if (token.kind == QN_SQL_QUESTION) {
            census->first_mark = census->question++ == 0 ? at : census->first_mark;
        } else if (token.kind == QN_SQL_ESCAPED_MARK) {
            census->escaped++;
        } else if (token.kind == QN_SQL_NAMED) {
            census->first_named = census->named++ == 0 ? at : census->first_named;
        } else if (token.kind == QN_SQL_NATIVE) {
            census->first_native = census->native_highest == 0 ? at : census->first_native;
            if (token.number > QN_SQL_MAX_PLACEHOLDERS) {
                return too_many(sql, at, err);
            }
            census->native_highest = token.number > census->native_highest ? token.number : census->native_highest;
        }
    }
    return QN_OK;
}

static enum qn_status mixed(const struct qn_dialect *dialect, const char *sql, size_t offset, const char *one,
                            const char *other, struct qn_error *err)
{
    qn_error_set(err, QN_ERR_QUERY, "the statement mixes %s and %s placeholders", one, other);
    if (dialect->question_operators && one[0] == '?') {
        qn_error_hint(err, "the operator ? is written ??");
    }
    return error_at(sql, offset, err);
}

/* Which of the spellings the statement has. */
static enum qn_status decide(const struct qn_dialect *dialect, const char *sql, bool allow_question,
                             const struct census *census, enum qn_spelling *out, struct qn_error *err)
{
    static const char *const native_names[] = { "", "$1", "?1", "@p1" };
    const char *native = native_names[dialect->placeholder];
    bool has_native = census->native_highest > 0;
    bool marks = census->question > 0 && allow_question && !(dialect->question_operators && has_native);
    if (has_native && census->named > 0) {
        return mixed(dialect, sql, census->first_named, ":name", native, err);
    }
    if (marks && census->named > 0) {
        return mixed(dialect, sql, census->first_mark, "?", ":name", err);
    }
    if (marks && has_native) {
        return mixed(dialect, sql, census->first_mark, "?", native, err);
    }
    if (has_native) {
        *out = QN_SPELLING_NATIVE;
    } else if (census->named > 0) {
        *out = QN_SPELLING_NAMED;
    } else {
        *out = marks ? QN_SPELLING_QUESTION : QN_SPELLING_NONE;
    }
    return QN_OK;
}

/* ---- names: an open-addressing table of numbers, so that many names cost no more than few ---- */

struct names {
    char **names;
    size_t n, capacity;
    uint32_t *slots; /* number, or 0 */
    size_t n_slots;  /* a power of two, at least twice n */
};

static size_t slot_of(const struct names *names, const char *name, size_t size)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (unsigned char)name[i]) * UINT64_C(1099511628211);
    }
    size_t slot = (size_t)(hash ^ (hash >> 32)) & (names->n_slots - 1);
    while (names->slots[slot] != 0) {
        const char *there = names->names[names->slots[slot] - 1];
        if (strncmp(there, name, size) == 0 && there[size] == '\0') {
            break;
        }
        slot = (slot + 1) & (names->n_slots - 1);
    }
    return slot;
}

static bool names_grow(struct names *names)
{
    size_t n_slots = names->n_slots > 0 ? names->n_slots * 2 : 16;
    char **grown = qn_realloc_array(names->names, n_slots / 2, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    names->names = grown;
    names->capacity = n_slots / 2;
    uint32_t *slots = qn_calloc(n_slots, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    qn_free(names->slots);
    names->slots = slots;
    names->n_slots = n_slots;
    for (size_t i = 0; i < names->n; i++) {
        slots[slot_of(names, names->names[i], strlen(names->names[i]))] = (uint32_t)(i + 1);
    }
    return true;
}

/* The number of the name, a new one where it is new; 0 where there is no memory. */
static size_t names_number(struct names *names, const char *name, size_t size)
{
    if (names->n_slots < 2 * (names->n + 1) && !names_grow(names)) {
        return 0;
    }
    size_t slot = slot_of(names, name, size);
    if (names->slots[slot] == 0) {
        names->names[names->n] = qn_strndup(name, size);
        if (names->names[names->n] == NULL) {
            return 0;
        }
        names->slots[slot] = (uint32_t)++names->n;
    }
    return names->slots[slot];
}

static void names_dispose(struct names *names)
{
    for (size_t i = 0; i < names->n; i++) {
        qn_free(names->names[i]);
    }
    qn_free(names->names);
    qn_free(names->slots);
}

/* ---- writing ---- */

/* Whether a $ or @ behind `c` would not begin a placeholder. */
static bool sticks(char c)
{
    return qn__sql_is_word(c) || c == '@';
}

static void put_placeholder(const struct qn_dialect *dialect, size_t number, char next, struct qn_buffer *out)
{
    static const char *const prefixes[] = { "", "$", "?", "@p" };
    if (dialect->placeholder != QN_PLACEHOLDER_NUMBERED && out->size > 0 && sticks(out->data[out->size - 1])) {
        qn_buffer_append_byte(out, ' ');
    }
    qn_buffer_printf(out, "%s%zu", prefixes[dialect->placeholder], number);
    if (qn__sql_is_word(next)) {
        qn_buffer_append_byte(out, ' ');
    }
}

static enum qn_status write_all(const struct qn_dialect *dialect, const char *sql, size_t size,
                                enum qn_spelling spelling, struct names *names, struct qn_rewritten *out,
                                struct qn_error *err)
{
    struct qn_sql_token token = { .kind = QN_SQL_TEXT };
    size_t copied = 0;
    for (size_t at = 0; token.kind != QN_SQL_END; at = token.start + token.size) {
        QN_TRY(qn__sql_token(dialect, sql, size, at, &token, err));
        size_t end = at + token.size;
        bool mark = spelling == QN_SPELLING_QUESTION && token.kind == QN_SQL_QUESTION;
        bool name = spelling == QN_SPELLING_NAMED && token.kind == QN_SQL_NAMED;
        bool escaped = spelling == QN_SPELLING_QUESTION && token.kind == QN_SQL_ESCAPED_MARK;
        if (!mark && !name && !escaped) {
            continue;
        }
        qn_buffer_append(&out->sql, sql + copied, at - copied);
        copied = end;
        if (escaped) {
            qn_buffer_append_byte(&out->sql, '?');
            continue;
        }
        size_t number = name ? names_number(names, sql + at + 1, token.size - 1) : out->n_placeholders + 1;
        if (number == 0) {
            return qn__no_memory(err);
        }
        if (number > QN_SQL_MAX_PLACEHOLDERS) {
            return too_many(sql, at, err);
        }
        out->n_placeholders = number > out->n_placeholders ? number : out->n_placeholders;
        put_placeholder(dialect, number, end < size ? sql[end] : '\0', &out->sql);
    }
    qn_buffer_append(&out->sql, sql + copied, size - copied);
    return qn_buffer_check(&out->sql, "the SQL text", err);
}

enum qn_status qn_sql_rewrite(const struct qn_dialect *dialect, const char *sql, size_t size, bool allow_question,
                              struct qn_rewritten *out, struct qn_error *err)
{
    struct census census = { 0 };
    struct qn_rewritten result = { .spelling = QN_SPELLING_NONE };
    struct names names = { .names = NULL };
    QN_TRY(count(dialect, sql, size, &census, err));
    if (census.question == 0 && census.escaped > 0 && allow_question && census.named == 0 &&
        census.native_highest == 0) {
        /* Only operators, all of them escaped: they are unescaped as they would be beside placeholders. */
        result.spelling = QN_SPELLING_QUESTION;
    } else {
        QN_TRY(decide(dialect, sql, allow_question, &census, &result.spelling, err));
    }
    enum qn_status status = write_all(dialect, sql, size, result.spelling, &names, &result, err);
    if (status != QN_OK) {
        names_dispose(&names);
        qn_buffer_dispose(&result.sql);
        return status;
    }
    if (result.spelling == QN_SPELLING_NATIVE) {
        result.n_placeholders = (size_t)census.native_highest;
    } else if (result.n_placeholders == 0) {
        result.spelling = QN_SPELLING_NONE;
    }
    result.names = names.names;
    qn_free(names.slots);
    *out = result;
    return QN_OK;
}

void qn_rewritten_dispose(struct qn_rewritten *rewritten)
{
    for (size_t i = 0; rewritten->names != NULL && i < rewritten->n_placeholders; i++) {
        qn_free(rewritten->names[i]);
    }
    qn_free(rewritten->names);
    qn_buffer_dispose(&rewritten->sql);
    *rewritten = (struct qn_rewritten){ .spelling = QN_SPELLING_NONE };
}

/* ---- positions ---- */

static const char *skip_digits(const char *text)
{
    while (qn_ascii_digit(*text)) {
        text++;
    }
    return text;
}

static const char *skip_name(const char *text)
{
    while (*text != '\0' && *text != '$' && qn__sql_is_word(*text)) {
        text++;
    }
    return text;
}

/* Two texts that differ only in placeholders, `??` and the spaces behind placeholders are walked in step. */
int32_t qn_sql_position(const char *given, const char *rewritten, int32_t position)
{
    if (position <= 0 || strcmp(given, rewritten) == 0) {
        return position;
    }
    const char *g = given;
    const char *r = rewritten;
    const char *start; /* of what *r came from */
    int32_t at = 0;    /* characters of `rewritten` up to and with r */
    while (*r != '\0') {
        const char *piece = r;
        start = g;
        if (*g == *r && !(*g == '?' && qn_ascii_digit(r[1]) && !qn_ascii_digit(g[1]))) {
            g++;
            r++;
        } else if (*r == ' ' && (*g == '?' || *g == ':') && r > rewritten && sticks(r[-1])) {
            r++; /* a space that was put in */
        } else if (*g == '?' && (*r == '$' || *r == '@' || *r == '?') && (qn_ascii_digit(r[1]) || r[1] == 'p')) {
            g++;
            r = skip_digits(r + (*r == '@' ? 2 : 1));
        } else if (*g == ':' && (*r == '$' || *r == '@' || *r == '?')) {
            g = skip_name(g + 1);
            r = skip_digits(r + (*r == '@' ? 2 : 1));
        } else if (*g == '?') {
            g++; /* the other half of ?? */
            continue;
        } else {
            g += *r != ' ' && *g != '\0';
            r++; /* a space that was put in */
        }
        for (const char *c = piece; c < r; c++) {
            at += ((unsigned char)*c & 0xC0) != 0x80;
        }
        if (at >= position) {
            return qn__sql_character(given, (size_t)(start - given));
        }
    }
    return qn__sql_character(given, strlen(given));
}
