/*
 * ipc_values.c: what both sides of Arrow IPC check of values: bits, text, nulls where none may be. Threads: no state.
 */
#include "arrow/ipc_private.h"

#include "base/utf8.h"

int64_t qn__ipc_count_bits(const uint8_t *bits, int64_t first, int64_t n)
{
    int64_t count = 0, at = first, end = first + n;
    for (; at < end && (at & 7) != 0; at++) {
        count += qn__ipc_bit(bits, at);
    }
    for (; end - at >= 64; at += 64) {
        uint64_t word;
        memcpy(&word, bits + (at >> 3), sizeof word);
        count += __builtin_popcountll(word);
    }
    for (; at < end; at++) {
        count += qn__ipc_bit(bits, at);
    }
    return count;
}

static int64_t offset_at(const void *offsets, bool wide, int64_t i)
{
    if (wide) {
        int64_t offset;
        memcpy(&offset, (const char *)offsets + i * 8, 8);
        return offset;
    }
    int32_t offset;
    memcpy(&offset, (const char *)offsets + i * 4, 4);
    return offset;
}

int64_t qn__ipc_bad_text(const void *offsets, bool wide, const char *bytes, const uint8_t *validity, int64_t n)
{
    if (n == 0) {
        return -1;
    }
    /* All of it at once, then that no value begins inside of a character. */
    int64_t begin = offset_at(offsets, wide, 0), end = offset_at(offsets, wide, n);
    bool good = qn_utf8_valid(bytes + begin, (size_t)(end - begin));
    for (int64_t i = 0; i < n && good; i++) {
        int64_t at = offset_at(offsets, wide, i);
        good = at >= end || ((unsigned char)bytes[at] & 0xC0) != 0x80;
    }
    /* Null rows may hold anything. */
    for (int64_t i = 0; i < n && !good; i++) {
        int64_t at = offset_at(offsets, wide, i), next = offset_at(offsets, wide, i + 1);
        if ((validity == NULL || qn__ipc_bit(validity, i)) && !qn_utf8_valid(bytes + at, (size_t)(next - at))) {
            return i;
        }
    }
    return -1;
}

static bool null_above(const struct qn__ipc_level *level, int64_t row)
{
    for (; level->parent != NULL; level = level->parent) {
        row /= level->per_row;
        const struct qn__ipc_level *parent = level->parent;
        if (parent->validity != NULL && !qn__ipc_bit(parent->validity, parent->first + row)) {
            return true;
        }
    }
    return false;
}

int64_t qn__ipc_unwanted_null(const struct qn__ipc_level *level, int64_t n)
{
    for (int64_t row = 0; row < n && level->validity != NULL; row++) {
        if (!qn__ipc_bit(level->validity, level->first + row) && !null_above(level, row)) {
            return row;
        }
    }
    return -1;
}
