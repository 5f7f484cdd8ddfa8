/*
 * buffer.c: growing of byte buffers.
 *
 * Invariant: where data is not NULL, data[size] is NUL and capacity + 1 bytes are allocated. A buffer that has failed
 * keeps what it had until it is reset or disposed of. Threads: one at a time.
 */
#include "base/buffer.h"

#include "base/memory.h"

#include <stdio.h>

#define SMALLEST_CAPACITY 63

void qn_buffer_dispose(struct qn_buffer *buffer)
{
    size_t limit = buffer->limit;
    qn_free(buffer->data);
    *buffer = (struct qn_buffer){ .limit = limit };
}

void qn_buffer_reset(struct qn_buffer *buffer)
{
    buffer->size = 0;
    buffer->failure = QN_BUFFER_FINE;
    if (buffer->data != NULL) {
        buffer->data[0] = '\0';
    }
}

static size_t limit_of(const struct qn_buffer *buffer)
{
    return buffer->limit != 0 && buffer->limit < QN_BUFFER_NO_LIMIT ? buffer->limit : QN_BUFFER_NO_LIMIT;
}

static bool grow(struct qn_buffer *buffer, size_t size)
{
    size_t limit = limit_of(buffer);
    if (buffer->size > limit || size > limit - buffer->size) {
        buffer->failure = QN_BUFFER_LIMIT;
        return false;
    }
    size_t needed = buffer->size + size;
    /* Neither sum overflows: both are at most SIZE_MAX / 2. */
    size_t capacity = buffer->capacity + buffer->capacity / 2;
    if (capacity < needed) {
        capacity = needed;
    }
    if (capacity < SMALLEST_CAPACITY) {
        capacity = SMALLEST_CAPACITY;
    }
    if (capacity > limit) {
        capacity = limit;
    }
    char *data = qn_realloc(buffer->data, capacity + 1);
    if (data == NULL) {
        buffer->failure = QN_BUFFER_NO_MEMORY;
        return false;
    }
    if (buffer->data == NULL) {
        data[0] = '\0';
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool qn_buffer_reserve(struct qn_buffer *buffer, size_t size)
{
    if (QN_UNLIKELY(buffer->failure != QN_BUFFER_FINE)) {
        return false;
    }
    if (QN_LIKELY(buffer->data != NULL && size <= buffer->capacity - buffer->size)) {
        return true;
    }
    return grow(buffer, size);
}

void qn_buffer_append(struct qn_buffer *buffer, const void *bytes, size_t size)
{
    if (size == 0 || !qn_buffer_reserve(buffer, size)) {
        return;
    }
    memcpy(buffer->data + buffer->size, bytes, size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
}

void qn_buffer_append_text(struct qn_buffer *buffer, const char *text)
{
    qn_buffer_append(buffer, text, strlen(text));
}

void qn_buffer_append_byte(struct qn_buffer *buffer, char byte)
{
    if (qn_buffer_reserve(buffer, 1)) {
        buffer->data[buffer->size++] = byte;
        buffer->data[buffer->size] = '\0';
    }
}

void qn_buffer_vprintf(struct qn_buffer *buffer, const char *format, va_list args)
{
    if (!qn_buffer_reserve(buffer, 0)) {
        return;
    }
    va_list again;
    va_copy(again, args);
    size_t room = buffer->capacity - buffer->size;
    int length = vsnprintf(buffer->data + buffer->size, room + 1, format, args);
    if (length < 0) {
        buffer->failure = QN_BUFFER_LIMIT; /* more than INT_MAX bytes */
    } else if ((size_t)length <= room) {
        buffer->size += (size_t)length;
    } else if (qn_buffer_reserve(buffer, (size_t)length)) {
        (void)vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, again);
        buffer->size += (size_t)length;
    }
    buffer->data[buffer->size] = '\0'; /* a try that did not fit has written past the end of the text */
    va_end(again);
}

void qn_buffer_printf(struct qn_buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    qn_buffer_vprintf(buffer, format, args);
    va_end(args);
}

void qn_buffer_append_be16(struct qn_buffer *buffer, uint16_t value)
{
    char bytes[sizeof value];
    qn_store_be16(bytes, value);
    qn_buffer_append(buffer, bytes, sizeof bytes);
}

void qn_buffer_append_be32(struct qn_buffer *buffer, uint32_t value)
{
    char bytes[sizeof value];
    qn_store_be32(bytes, value);
    qn_buffer_append(buffer, bytes, sizeof bytes);
}

void qn_buffer_append_be64(struct qn_buffer *buffer, uint64_t value)
{
    char bytes[sizeof value];
    qn_store_be64(bytes, value);
    qn_buffer_append(buffer, bytes, sizeof bytes);
}

enum qn_status qn_buffer_check(const struct qn_buffer *buffer, const char *what, struct qn_error *err)
{
    switch (buffer->failure) {
    case QN_BUFFER_FINE:
        return QN_OK;
    case QN_BUFFER_LIMIT:
        return qn_error_set(err, QN_ERR_NO_MEMORY, "%s: more than the limit of %zu bytes", what, limit_of(buffer));
    case QN_BUFFER_NO_MEMORY:
        break;
    }
    return qn_error_set(err, QN_ERR_NO_MEMORY, "%s: out of memory", what);
}

char *qn_buffer_steal(struct qn_buffer *buffer)
{
    if (!qn_buffer_reserve(buffer, 0)) {
        return NULL;
    }
    char *data = buffer->data;
    *buffer = (struct qn_buffer){ .limit = buffer->limit };
    return data;
}
