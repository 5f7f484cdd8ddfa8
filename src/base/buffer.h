/*
 * buffer.h: a byte buffer that grows, with a hard maximum and a sticky failure.
 *
 * Appending to a buffer that has failed does nothing; the writer checks once, at the end, with qn_buffer_check. The
 * bytes are always followed by a NUL that does not count. Threads: one at a time.
 */
#ifndef QN_BASE_BUFFER_H
#define QN_BASE_BUFFER_H

#include "base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define QN_BUFFER_NO_LIMIT (SIZE_MAX / 2)

enum qn_buffer_failure { QN_BUFFER_FINE = 0, QN_BUFFER_NO_MEMORY, QN_BUFFER_LIMIT };

struct qn_buffer {
    char *data; /* NULL until the first byte */
    size_t size;
    size_t capacity; /* without the NUL */
    size_t limit;    /* 0 means QN_BUFFER_NO_LIMIT */
    enum qn_buffer_failure failure;
};
#define QN_BUFFER_INIT                                                                                                 \
    {                                                                                                                  \
        0                                                                                                              \
    }

void qn_buffer_dispose(struct qn_buffer *buffer);
void qn_buffer_reset(struct qn_buffer *buffer); /* empty, keeps memory and limit, clears the failure */
#define qn_auto_buffer __attribute__((cleanup(qn_buffer_dispose))) struct qn_buffer

/* Make room for `size` more bytes; false (and sticky) where that fails. */
bool qn_buffer_reserve(struct qn_buffer *buffer, size_t size);

void qn_buffer_append(struct qn_buffer *buffer, const void *bytes, size_t size);
void qn_buffer_append_text(struct qn_buffer *buffer, const char *text);
void qn_buffer_append_byte(struct qn_buffer *buffer, char byte);
void qn_buffer_printf(struct qn_buffer *buffer, const char *format, ...) QN_PRINTF(2, 3);
void qn_buffer_vprintf(struct qn_buffer *buffer, const char *format, va_list args);

/* Big-endian integers, as network protocols have them. */
void qn_buffer_append_be16(struct qn_buffer *buffer, uint16_t value);
void qn_buffer_append_be32(struct qn_buffer *buffer, uint32_t value);
void qn_buffer_append_be64(struct qn_buffer *buffer, uint64_t value);

/* QN_OK, or the sticky failure as QN_ERR_NO_MEMORY naming `what`. */
enum qn_status qn_buffer_check(const struct qn_buffer *buffer, const char *what, struct qn_error *err) QN_MUST_CHECK;

/* Take the bytes (NUL-terminated, never NULL on success) out; the buffer is empty afterwards. NULL where it has failed. */
char *qn_buffer_steal(struct qn_buffer *buffer);

/* The text, "" where nothing was written. Borrowed until the next change. */
static inline const char *qn_buffer_text(const struct qn_buffer *buffer)
{
    return buffer->data ? buffer->data : "";
}

static inline uint16_t qn_load_be16(const void *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return __builtin_bswap16(value);
}
static inline uint32_t qn_load_be32(const void *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return __builtin_bswap32(value);
}
static inline uint64_t qn_load_be64(const void *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return __builtin_bswap64(value);
}
static inline void qn_store_be16(void *bytes, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(bytes, &value, sizeof value);
}
static inline void qn_store_be32(void *bytes, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(bytes, &value, sizeof value);
}
static inline void qn_store_be64(void *bytes, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(bytes, &value, sizeof value);
}

#endif
