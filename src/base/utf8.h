/*
 * utf8.h: UTF-8 validation at the speed of memory.
 *
 * Valid is what RFC 3629 allows: no overlong forms, no surrogates, nothing past U+10FFFF.
 */
#ifndef QN_BASE_UTF8_H
#define QN_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* True where the bytes are valid UTF-8. */
bool qn_utf8_valid(const char *bytes, size_t size);

/* The length of the longest valid prefix: where the first bad byte stands, or `size`. */
size_t qn_utf8_valid_prefix(const char *bytes, size_t size);

/* The largest length <= size that does not cut a character of (otherwise valid) text. */
size_t qn_utf8_floor(const char *bytes, size_t size);

#endif
