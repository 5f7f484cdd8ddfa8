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

/* The ways to validate that this build may have, slowest first; all give the same answer. For tests and measurements. */
enum qn_utf8_engine { QN_UTF8_SCALAR, QN_UTF8_SSSE3, QN_UTF8_AVX2, QN_UTF8_NEON, QN_UTF8_ENGINES };
bool qn__utf8_has_engine(enum qn_utf8_engine engine); /* in this build and on this processor */
bool qn__utf8_valid_by(enum qn_utf8_engine engine, const char *bytes, size_t size); /* one that is there */

#endif
