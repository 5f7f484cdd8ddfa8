/*
 * qanat_connector.h: a connector as a shared library, in C or in whatever exports C functions. This header is all it needs.
 *
 * A connector says which pieces of data there are (locations) and gives the data of each as an Arrow stream. A host loads
 * the library (`ffi::./weather.so`) and calls the functions below, in its own process: nothing is copied, and nothing
 * protects the host from a library that crashes. Which locations there are and what arguments mean is told in JSON, as in
 * the protocol for connectors in processes of their own (docs/protocol/connector.md); data goes as an ArrowArrayStream
 * (https://arrow.apache.org/docs/format/CStreamInterface.html).
 *
 * OWNERSHIP. Texts that a function is given are the host's and valid during the call. A text that a function puts into
 * *out_json is the library's memory until the host gives it back to qanat_free, once. A stream that qanat_data filled in is
 * the host's: it calls `release` once, perhaps before the end (that is how it cancels), on any thread, and perhaps after
 * other calls of the library. Batches and schemas that a stream gave may outlive it.
 *
 * ERRORS. A function returns 0, or another number and a text that says why: in *out_json, or, for qanat_data, by a stream
 * whose get_last_error returns it (qanat_fail makes one). The text is a plain message, or a JSON object that says more:
 *     {"message": "too many requests", "data": {"kind": "rate_limited", "retryable": true, "retry_after_ms": 1500}}
 * with the kinds of the protocol. A stream that fails in the middle returns an errno from get_next and has such a text too:
 * the batches before are good. No function may throw through, exit or abort.
 *
 * THREADS. The host calls the functions on any thread and several at a time. One stream is used by one thread at a time, but
 * not always the same one. A library that cannot do this takes a lock. (Libraries with the names `bundlebase_...` are called
 * by one thread at a time, streams included.) The library is never unloaded: threads and exit handlers of its own are safe.
 *
 * LIMITS. No call can be interrupted from outside: a function that waits for a network has time-outs of its own.
 */
#ifndef QANAT_CONNECTOR_SDK_H
#define QANAT_CONNECTOR_SDK_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the Arrow C data and C stream interfaces, as the specification has them ---- */

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE           2
#define ARROW_FLAG_MAP_KEYS_SORTED    4

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};
#endif

/* ---- what a library exports ---- */

/* Another beginning of the names than qanat_: `#define QANAT_PREFIX weather_` before this header is included, and
 * `ffi::./connectors.so:weather_` in the host. So a library can hold several connectors. */
#ifndef QANAT_PREFIX
#define QANAT_PREFIX qanat_
#endif
#define QANAT_JOIN_(a, b) a##b
#define QANAT_JOIN(a, b)  QANAT_JOIN_(a, b)
#define QANAT_NAME(name)  QANAT_JOIN(QANAT_PREFIX, name)

#define QANAT_EXPORT __attribute__((visibility("default")))

/* REQUIRED. Which locations there are. args_json: an object of the source's arguments, all of them texts, and
 * "attached_locations", a list of the names that the host has already. *out_json: {"locations": [location...]}, where a
 * location is {"location": "its name"} and, where it is known, "must_copy" (true), "format" ("parquet"), "version" ("") and
 * "num_rows" (null). Beside the list may stand "next": a text; then the host calls again, with the same arguments
 * and "_page": that text, in place of "attached_locations", until an answer has no "next". */
QANAT_EXPORT int32_t QANAT_NAME(discover)(const char *args_json, char **out_json);

/* REQUIRED. The data of a location. location_json: the object as it was told; what it left out is filled in. args_json: the
 * arguments, and perhaps "_columns", a list of the columns that are needed, which may be ignored. *out is zeroed; it is
 * filled in, or left as it is: no data for this location. The stream's schema is a struct ("+s"), whose children are the
 * columns. */
QANAT_EXPORT int32_t QANAT_NAME(data)(const char *location_json, const char *args_json, struct ArrowArrayStream *out);

/* REQUIRED. Free a text that was put into an *out_json. Never called with NULL. */
QANAT_EXPORT void QANAT_NAME(free)(char *text);

/* OPTIONAL: a library may leave it out. *out_json: {"url": "..."}, under which the data can be had without the connector,
 * or null, or nothing (NULL) where there is none. */
QANAT_EXPORT int32_t QANAT_NAME(stable_url)(const char *location_json, const char *args_json, char **out_json);

/* ---- helpers: nobody has to use them ---- */

/* A copy by malloc, for *out_json; qanat_free is `free` then. NULL where memory is out. */
static inline char *qanat_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = (char *)malloc(size);
    return copy != NULL ? (char *)memcpy(copy, text, size) : NULL;
}

/* The text as a JSON string, quotes included. By malloc; NULL where memory is out. The text is UTF-8. */
static inline char *qanat_quote(const char *text)
{
    char *quoted = (char *)malloc(6 * strlen(text) + 3);
    char *to = quoted;
    if (quoted == NULL) {
        return NULL;
    }
    *to++ = '"';
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20) {
            to += sprintf(to, "\\u%04x", c);
        } else {
            if (c == '"' || c == '\\') {
                *to++ = '\\';
            }
            *to++ = (char)c;
        }
    }
    *to++ = '"';
    *to = '\0';
    return quoted;
}

/* Where the string or the other value that begins at `at` ends. */
static inline const char *qanat_skip_(const char *at)
{
    int depth = 0;
    do {
        if (*at == '"') {
            for (at++; *at != '"' && *at != '\0'; at++) {
                at += *at == '\\' && at[1] != '\0';
            }
        }
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        at += *at != '\0';
    } while (*at != '\0' && (depth > 0 || strchr(",:}] \t\r\n", *at) == NULL));
    return at;
}

/* The character of "\u" and four digits, and of the pair that it may be the first half of; *at goes past them. */
static inline unsigned int qanat_escaped_(const char **at)
{
    unsigned int code = 0, low = 0;
    int used = 0;
    if (sscanf(*at, "\\u%4x%n", &code, &used) == 1) {
        *at += used;
    }
    if (code >= 0xd800 && code < 0xdc00 && sscanf(*at, "\\u%4x%n", &low, &used) == 1) {
        *at += used;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return code;
}

static inline char *qanat_put_utf8_(char *to, unsigned int code)
{
    if (code < 0x80) {
        *to++ = (char)code;
        return to;
    }
    if (code < 0x800) {
        *to++ = (char)(0xc0 | (code >> 6));
    } else {
        if (code < 0x10000) {
            *to++ = (char)(0xe0 | (code >> 12));
        } else {
            *to++ = (char)(0xf0 | (code >> 18));
            *to++ = (char)(0x80 | ((code >> 12) & 0x3f));
        }
        *to++ = (char)(0x80 | ((code >> 6) & 0x3f));
    }
    *to++ = (char)(0x80 | (code & 0x3f));
    return to;
}

/* The text of the string [at, end), quotes included. */
static inline char *qanat_unquote_(const char *at, const char *end, char *to)
{
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    for (at++; at < end - 1;) {
        const char *known;
        if (*at != '\\') {
            *to++ = *at++;
        } else if (at[1] == 'u') {
            to = qanat_put_utf8_(to, qanat_escaped_(&at));
        } else {
            known = strchr(names, at[1]);
            *to++ = known != NULL ? values[known - names] : at[1];
            at += 2;
        }
    }
    return to;
}

/* A member of a JSON object that the host has written: a string without quotes and escapes, or any other value as it stands
 * (`true`, `[1,2]`). By malloc; NULL where there is none, or memory is out. The name is plain ASCII. */
static inline char *qanat_member(const char *object, const char *name)
{
    static const char space[] = " \t\r\n";
    size_t size = strlen(name);
    const char *at = strchr(object, '{');
    while (at != NULL && (*at == '{' || *at == ',')) {
        const char *key = at + 1 + strspn(at + 1, space);
        const char *colon = qanat_skip_(key);
        int found = (size_t)(colon - key) == size + 2 && *key == '"' && memcmp(key + 1, name, size) == 0;
        const char *value = colon + strspn(colon, space);
        value += *value == ':';
        value += strspn(value, space);
        const char *end = qanat_skip_(value);
        if (found && end > value) {
            char *text = (char *)malloc((size_t)(end - value) + 1);
            if (text != NULL && *value == '"') {
                *qanat_unquote_(value, end, text) = '\0';
            } else if (text != NULL) {
                memcpy(text, value, (size_t)(end - value));
                text[end - value] = '\0';
            }
            return text;
        }
        at = end + strspn(end, space);
    }
    return NULL;
}

/* A stream that only says why there is none. */
static inline int qanat_failed_schema_(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    (void)stream;
    out->release = NULL;
    return EIO;
}
static inline int qanat_failed_next_(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    (void)stream;
    out->release = NULL;
    return EIO;
}
static inline const char *qanat_failed_text_(struct ArrowArrayStream *stream)
{
    return (const char *)stream->private_data;
}
static inline void qanat_failed_release_(struct ArrowArrayStream *stream)
{
    free(stream->private_data);
    stream->release = NULL;
}

/* `return qanat_fail(out, "no such city");` in qanat_data. The text is copied. */
static inline int32_t qanat_fail(struct ArrowArrayStream *out, const char *text)
{
    out->get_schema = qanat_failed_schema_;
    out->get_next = qanat_failed_next_;
    out->get_last_error = qanat_failed_text_;
    out->release = qanat_failed_release_;
    out->private_data = qanat_copy(text);
    return EIO;
}

#ifdef __cplusplus
}
#endif
#endif
