/*
 * test_utf8.c: every engine of utf8.h against a naive decoder that knows only what a code point is.
 */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The decoder: puts the bits together, then asks whether that code point is allowed and has that length. */
static size_t naive_character(const uint8_t *at, size_t left)
{
    size_t size = at[0] < 0x80             ? 1
                  : (at[0] & 0xE0) == 0xC0 ? 2
                  : (at[0] & 0xF0) == 0xE0 ? 3
                  : (at[0] & 0xF8) == 0xF0 ? 4
                                           : 0;
    if (size == 0 || size > left) {
        return 0;
    }
    uint32_t point = size == 1 ? at[0] : at[0] & (0xFFu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            return 0;
        }
        point = point << 6 | (at[i] & 0x3Fu);
    }
    size_t shortest = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    return shortest == size && !surrogate && point <= 0x10FFFF ? size : 0;
}

static size_t naive_prefix(const uint8_t *bytes, size_t size)
{
    size_t i = 0;
    while (i < size) {
        size_t step = naive_character(bytes + i, size - i);
        if (step == 0) {
            break;
        }
        i += step;
    }
    return i;
}

static void check(const uint8_t *bytes, size_t size)
{
    size_t prefix = naive_prefix(bytes, size);
    const char *text = (const char *)bytes;
    for (int engine = 0; engine < QN_UTF8_ENGINES; engine++) {
        if (qn__utf8_has_engine((enum qn_utf8_engine)engine) &&
            qn__utf8_valid_by((enum qn_utf8_engine)engine, text, size) != (prefix == size)) {
            fail_msg("engine %d is wrong about %zu bytes; the first is %02x, the valid prefix %zu", engine, size,
                     size > 0 ? bytes[0] : 0, prefix);
        }
    }
    if (qn_utf8_valid(text, size) != (prefix == size) || qn_utf8_valid_prefix(text, size) != prefix) {
        fail_msg("wrong about %zu bytes; the valid prefix is %zu", size, prefix);
    }
}

/* The sequence alone, and in ASCII at places around the borders of vectors and steps. */
static void check_everywhere(const uint8_t *sequence, size_t size)
{
    static const size_t places[] = { 0, 1, 13, 14, 15, 16, 29, 30, 31, 32, 45, 60, 61, 62, 63, 64, 125, 126, 127 };
    uint8_t text[192];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        memset(text, 'a', sizeof text);
        memcpy(text + places[i], sequence, size);
        check(text, places[i] + size);
        check(text, sizeof text);
    }
}

static void utf8__all_sequences_of_one_and_two_bytes(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        uint8_t bytes[2] = { (uint8_t)first, 0 };
        check(bytes, 1);
        check_everywhere(bytes, 1);
        for (unsigned second = 0; second < 256; second++) {
            bytes[1] = (uint8_t)second;
            check(bytes, 2);
            if (first >= 0x80 || second >= 0x80) {
                check_everywhere(bytes, 2);
            }
        }
    }
}

static void utf8__all_sequences_of_three_bytes(void **state)
{
    (void)state;
    uint8_t text[70];
    memset(text, 'z', sizeof text);
    for (uint32_t number = 0; number < 1u << 24; number++) {
        uint8_t *at = text + 61; /* across the border of a step */
        at[0] = (uint8_t)(number >> 16);
        at[1] = (uint8_t)(number >> 8);
        at[2] = (uint8_t)number;
        bool valid = naive_prefix(at, 3) == 3;
        if (qn_utf8_valid((const char *)at, 3) != valid || qn_utf8_valid((const char *)text, sizeof text) != valid) {
            fail_msg("wrong about %06x", number);
        }
    }
}

static void utf8__three_bytes_at_the_borders_in_every_engine(void **state)
{
    (void)state;
    static const uint8_t leads[] = {
        0x7F, 0x80, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xFF
    };
    for (size_t lead = 0; lead < sizeof leads; lead++) {
        for (unsigned rest = 0; rest < 1u << 16; rest++) {
            uint8_t bytes[3] = { leads[lead], (uint8_t)(rest >> 8), (uint8_t)rest };
            check(bytes, 3);
        }
    }
}

static void utf8__four_bytes_at_every_border(void **state)
{
    (void)state;
    static const uint8_t leads[] = { 0xE0, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFC, 0xFF };
    static const uint8_t edges[] = { 0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF0, 0xFF };
    for (size_t lead = 0; lead < sizeof leads; lead++) {
        for (unsigned second = 0; second < 256; second++) {
            for (size_t i = 0; i < sizeof edges * sizeof edges; i++) {
                uint8_t bytes[4] = { leads[lead], (uint8_t)second, edges[i / sizeof edges], edges[i % sizeof edges] };
                check(bytes, 4);
            }
        }
    }
}

static void utf8__every_code_point(void **state)
{
    (void)state;
    for (uint32_t point = 0; point <= 0x110000; point++) {
        uint8_t bytes[4];
        size_t size;
        if (point < 0x80) {
            bytes[0] = (uint8_t)point;
            size = 1;
        } else if (point < 0x800) {
            bytes[0] = (uint8_t)(0xC0 | point >> 6);
            size = 2;
        } else if (point < 0x10000) {
            bytes[0] = (uint8_t)(0xE0 | point >> 12);
            size = 3;
        } else {
            bytes[0] = (uint8_t)(0xF0 | point >> 18);
            size = 4;
        }
        for (size_t i = 1; i < size; i++) {
            bytes[i] = (uint8_t)(0x80 | (point >> 6 * (size - 1 - i) & 0x3F));
        }
        bool allowed = (point < 0xD800 || point > 0xDFFF) && point <= 0x10FFFF;
        if (qn_utf8_valid((const char *)bytes, size) != allowed) {
            fail_msg("wrong about U+%X", point);
        }
        for (int engine = 0; engine < QN_UTF8_ENGINES; engine++) {
            if (qn__utf8_has_engine((enum qn_utf8_engine)engine) &&
                qn__utf8_valid_by((enum qn_utf8_engine)engine, (const char *)bytes, size) != allowed) {
                fail_msg("engine %d is wrong about U+%X", engine, point);
            }
        }
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Valid text of characters of all lengths, runs of ASCII among them. */
static size_t random_text(uint8_t *out, size_t size, uint64_t *seed)
{
    static const char *const characters[] = { "a",
                                              "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                                              "\xC2\x80",
                                              "\xDF\xBF",
                                              "\xE0\xA0\x80",
                                              "\xED\x9F\xBF",
                                              "\xEF\xBF\xBF",
                                              "\xF0\x90\x80\x80",
                                              "\xF4\x8F\xBF\xBF" };
    size_t used = 0;
    for (;;) {
        const char *next = characters[next_random(seed) % (sizeof characters / sizeof characters[0])];
        if (used + strlen(next) > size) {
            return used;
        }
        memcpy(out + used, next, strlen(next));
        used += strlen(next);
    }
}

static void utf8__long_mixes_with_one_bad_byte_anywhere(void **state)
{
    (void)state;
    uint64_t seed = 0x9E3779B97F4A7C15;
    for (int round = 0; round < 300; round++) {
        /* Memory of the exact size at any alignment, so that a read past the end is seen. */
        size_t size = next_random(&seed) % 400;
        size_t shift = next_random(&seed) % 64;
        uint8_t *memory = malloc(shift + size + 1);
        assert_non_null(memory);
        uint8_t *text = memory + shift;
        size = random_text(text, size, &seed);
        assert_int_equal(naive_prefix(text, size), size);
        check(text, size);
        for (size_t i = 0; i < size; i++) {
            uint8_t kept = text[i];
            text[i] = (uint8_t)next_random(&seed);
            check(text, size);
            check(text, i); /* cut anywhere */
            text[i] = kept;
        }
        free(memory);
    }
}

static void utf8__random_bytes_of_high_density(void **state)
{
    (void)state;
    static const uint8_t alphabet[] = { 'a',  0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                                        0xC2, 0xE0, 0xE1, 0xED, 0xF0, 0xF1, 0xF4 };
    uint64_t seed = 88172645463325252;
    uint8_t text[130];
    for (int round = 0; round < 100000; round++) {
        size_t size = next_random(&seed) % sizeof text;
        /* Valid up to a point: errors late in the text are what engines get wrong. */
        size_t valid = random_text(text, size, &seed);
        for (size_t i = valid; i < size; i++) {
            text[i] = alphabet[next_random(&seed) % sizeof alphabet];
        }
        check(text, size);
    }
}

static void utf8__an_empty_text_is_valid(void **state)
{
    (void)state;
    assert_true(qn_utf8_valid("", 0));
    assert_int_equal(qn_utf8_valid_prefix("", 0), 0);
    assert_int_equal(qn_utf8_floor("", 0), 0);
}

static void utf8__floor_keeps_whole_characters(void **state)
{
    (void)state;
    static const char text[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z"; /* 1 + 2 + 3 + 4 + 1 bytes */
    static const size_t floors[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11 };
    assert_int_equal(sizeof text, 12);
    for (size_t size = 0; size < sizeof floors / sizeof floors[0]; size++) {
        assert_int_equal(qn_utf8_floor(text, size), floors[size]);
    }
}

static void utf8__floor_never_loops_over_text_that_is_none(void **state)
{
    (void)state;
    char bad[8];
    memset(bad, 0x80, sizeof bad);
    assert_int_equal(qn_utf8_floor(bad, sizeof bad), sizeof bad);
    assert_int_equal(qn_utf8_floor(bad, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8__all_sequences_of_one_and_two_bytes),
        cmocka_unit_test(utf8__all_sequences_of_three_bytes),
        cmocka_unit_test(utf8__three_bytes_at_the_borders_in_every_engine),
        cmocka_unit_test(utf8__four_bytes_at_every_border),
        cmocka_unit_test(utf8__every_code_point),
        cmocka_unit_test(utf8__long_mixes_with_one_bad_byte_anywhere),
        cmocka_unit_test(utf8__random_bytes_of_high_density),
        cmocka_unit_test(utf8__an_empty_text_is_valid),
        cmocka_unit_test(utf8__floor_keeps_whole_characters),
        cmocka_unit_test(utf8__floor_never_loops_over_text_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
