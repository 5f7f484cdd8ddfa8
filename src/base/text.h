/*
 * text.h: borrowed pieces of text and the comparisons that SQL and URIs need. ASCII rules, whatever the locale.
 */
#ifndef QN_BASE_TEXT_H
#define QN_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline char qn_ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}
static inline bool qn_ascii_digit(char c)
{
    return c >= '0' && c <= '9';
}
static inline bool qn_ascii_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool qn_ascii_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool qn_text_equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}
bool qn_text_equal_nocase(const char *a, const char *b);
bool qn_text_starts_nocase(const char *text, const char *prefix);

/* How many letters differ (Levenshtein), or QN_TEXT_FAR for texts that are too long to be mistyped. */
#define QN_TEXT_FAR 64
size_t qn_text_distance(const char *a, const char *b);
size_t qn_text_distance_nocase(const char *a, const char *b);
/* Whether `typed` may be meant for `name`, at that distance. */
bool qn_text_is_near(const char *typed, size_t distance);

/* "true", "yes", "on", "1" and their opposites, any case; false where it is none of them. */
bool qn_text_to_bool(const char *text, bool *out);
/* A decimal integer and nothing else, within [low, high]. */
bool qn_text_to_int64(const char *text, long long low, long long high, long long *out);

#endif
