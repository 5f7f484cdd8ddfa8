/*
 * utf8.c: UTF-8 validation.
 *
 * ASCII is skipped in words. Threads: no state.
 */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#define ASCII_MASK UINT64_C(0x8080808080808080)

/* Valid sequences by first byte (RFC 3629, section 4): the length, and the bounds of the second byte; the others are
 * 80..BF. Returns the length of the valid character at `at`, 0 where it is not one. */
static size_t character_size(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    if (first < 0x80) {
        return 1;
    }
    size_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (first < 0xC2 || first > 0xF4 || size > left) {
        return 0;
    }
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return size;
}

static size_t scalar_prefix(const uint8_t *bytes, size_t size)
{
    size_t i = 0;
    while (i < size) {
        if (size - i >= 16) {
            uint64_t words[2];
            memcpy(words, bytes + i, sizeof words);
            if (((words[0] | words[1]) & ASCII_MASK) == 0) {
                i += sizeof words;
                continue;
            }
        }
        size_t step = character_size(bytes + i, size - i);
        if (step == 0) {
            return i;
        }
        i += step;
    }
    return size;
}

bool qn_utf8_valid(const char *bytes, size_t size)
{
    return scalar_prefix((const uint8_t *)bytes, size) == size;
}

size_t qn_utf8_valid_prefix(const char *bytes, size_t size)
{
    return scalar_prefix((const uint8_t *)bytes, size);
}

size_t qn_utf8_floor(const char *bytes, size_t size)
{
    /* The first byte of the last character is at most four bytes back; where there is none, the text is not UTF-8. */
    for (size_t back = 1; back <= 4 && back <= size; back++) {
        uint8_t byte = (uint8_t)bytes[size - back];
        if ((byte & 0xC0) == 0x80) {
            continue;
        }
        size_t whole = byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
        return whole > back ? size - back : size;
    }
    return size;
}
