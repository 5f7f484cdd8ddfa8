/*
 * files_pattern.c: patterns of paths, part by part between slashes.
 *
 * One backtracking point for * within a part and one for ** among parts: the time is bounded by the product of the lengths,
 * whatever the pattern. Names are bytes; ? and classes step over whole UTF-8 characters. Threads: no state.
 */
#include "connector/files_private.h"

bool qn__pattern_is_wild(const char *pattern)
{
    return strpbrk(pattern, "*?[") != NULL;
}

/* The character at `at`, as a number; a byte that begins none stands for itself. */
static unsigned take_character(const char **at, const char *end)
{
    unsigned char first = (unsigned char)*(*at)++;
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    unsigned value = more == 3 ? first & 7U : more == 2 ? first & 15U : more == 1 ? first & 31U : first;
    const char *next = *at;
    for (int i = 0; i < more; i++, next++) {
        if (next >= end || ((unsigned char)*next & 0xc0) != 0x80) {
            return first;
        }
        value = value << 6 | ((unsigned char)*next & 0x3fU);
    }
    *at = next;
    return value;
}

/* The end of a class that begins at `at` ("[...]"), or NULL where it has none: then [ is a character. */
static const char *class_end(const char *at, const char *end)
{
    const char *c = at + 1;
    c += c < end && (*c == '!' || *c == '^');
    c += c < end && *c == ']';
    while (c < end && *c != ']') {
        c++;
    }
    return c < end ? c : NULL;
}

static bool class_has(const char *at, const char *close, unsigned character)
{
    const char *c = at + 1;
    bool found = false;
    bool negated = *c == '!' || *c == '^';
    c += negated;
    while (c < close) {
        unsigned low = take_character(&c, close);
        unsigned high = low;
        if (c + 1 < close && *c == '-') {
            c++;
            high = take_character(&c, close);
        }
        found |= character >= low && character <= high;
    }
    return found != negated;
}

/* Match one element of a pattern other than * with one character. */
static bool match_one(const char **pattern, const char *pattern_end, const char **text, const char *text_end)
{
    const char *close = **pattern == '[' ? class_end(*pattern, pattern_end) : NULL;
    if (close != NULL || **pattern == '?') {
        const char *at = *pattern;
        unsigned character = take_character(text, text_end);
        *pattern = close != NULL ? close + 1 : at + 1;
        return close == NULL || class_has(at, close, character);
    }
    return *(*pattern)++ == *(*text)++;
}

static bool match_part(const char *pattern, size_t pattern_size, const char *text, size_t text_size, bool hidden)
{
    const char *pattern_end = pattern + pattern_size;
    const char *text_end = text + text_size;
    const char *star = NULL;
    const char *star_text = NULL;
    if (text_size > 0 && text[0] == '.' && !hidden && (pattern_size == 0 || pattern[0] != '.')) {
        return false;
    }
    while (text < text_end) {
        if (pattern < pattern_end && *pattern == '*') {
            star = ++pattern;
            star_text = text;
        } else if (!(pattern < pattern_end && match_one(&pattern, pattern_end, &text, text_end))) {
            if (star == NULL) {
                return false;
            }
            (void)take_character(&star_text, text_end);
            text = star_text;
            pattern = star;
        }
    }
    while (pattern < pattern_end && *pattern == '*') {
        pattern++;
    }
    return pattern == pattern_end;
}

static size_t part_size(const char *at)
{
    return strcspn(at, "/");
}

static const char *next_part(const char *at)
{
    at += part_size(at);
    return at + (*at == '/');
}

static bool is_deep(const char *at)
{
    return part_size(at) == 2 && at[0] == '*' && at[1] == '*';
}

/* `beginning`: it is enough that something below `path` could match. */
static bool match_parts(const char *pattern, const char *path, bool hidden, bool beginning)
{
    const char *deep = NULL;
    const char *deep_path = NULL;
    while (*path != '\0') {
        if (*pattern != '\0' && is_deep(pattern)) {
            pattern = deep = next_part(pattern);
            deep_path = path;
        } else if (*pattern != '\0' && match_part(pattern, part_size(pattern), path, part_size(path), hidden)) {
            pattern = next_part(pattern);
            path = next_part(path);
        } else if (deep != NULL && (hidden || deep_path[0] != '.')) {
            deep_path = next_part(deep_path);
            path = deep_path;
            pattern = deep;
        } else {
            return false;
        }
    }
    if (beginning) {
        return *pattern != '\0' || deep != NULL;
    }
    while (*pattern != '\0' && is_deep(pattern)) {
        pattern = next_part(pattern);
    }
    return *pattern == '\0';
}

bool qn__pattern_matches(const char *pattern, const char *path, bool hidden)
{
    return match_parts(pattern, path, hidden, false);
}

bool qn__pattern_leads_into(const char *pattern, const char *folder, bool hidden)
{
    return match_parts(pattern, folder, hidden, true);
}
