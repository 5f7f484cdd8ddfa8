/*
 * utf8.c: UTF-8 validation.
 *
 * One engine goes character by character, the others by table lookups on vectors (utf8_lookup.h); which ones the
 * processor has is asked at run time. All give the same answers. Threads: no state.
 */
#include "base/utf8.h"

#include "base/status.h"

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define SHORT_TEXT 8 /* below this a loop over characters is faster than a vector engine's set-up */

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

/* Bytes at the beginning that are ASCII, counted in words and then one by one. */
static size_t ascii_prefix(const uint8_t *bytes, size_t size)
{
    size_t i = 0;
    uint64_t word;
    for (; size - i >= sizeof word; i += sizeof word) {
        memcpy(&word, bytes + i, sizeof word);
        if ((word & ASCII_MASK) != 0) {
            break;
        }
    }
    while (i < size && bytes[i] < 0x80) {
        i++;
    }
    return i;
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

#define STEP 64 /* bytes that a vector engine looks at together */

enum {
    TOO_SHORT = 1 << 0,    /* a lead without its continuation */
    TOO_LONG = 1 << 1,     /* a continuation after ASCII */
    OVERLONG_3 = 1 << 2,   /* E0 80..9F */
    TOO_LARGE = 1 << 3,    /* F4 90.. and F5.. */
    SURROGATE = 1 << 4,    /* ED A0.. */
    OVERLONG_2 = 1 << 5,   /* C0 and C1 */
    OVERLONG_4 = 1 << 6,   /* F0 80..8F, */
    LARGE_1000 = 1 << 6,   /* and F5.. 80..8F, told apart by the first byte's lower half */
    CONTINUATIONS = 1 << 7 /* two in a row */
};
#define ANY_LOW (TOO_SHORT | TOO_LONG | CONTINUATIONS) /* mistakes that do not hang on the lower half */
#define LARGE   (ANY_LOW | TOO_LARGE | LARGE_1000)
#define TRAIL   (TOO_LONG | OVERLONG_2 | CONTINUATIONS)

#if defined(__x86_64__) || defined(__aarch64__)
static const uint8_t first_upper[16] = {
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG,
    TOO_LONG, /* 0..7: ASCII */
    CONTINUATIONS,
    CONTINUATIONS,
    CONTINUATIONS,
    CONTINUATIONS, /* 8..B */
    TOO_SHORT | OVERLONG_2,
    TOO_SHORT,                                       /* C, D: leads of two */
    TOO_SHORT | OVERLONG_3 | SURROGATE,              /* E: of three */
    TOO_SHORT | TOO_LARGE | LARGE_1000 | OVERLONG_4, /* F: of four */
};
static const uint8_t first_lower[16] = {
    ANY_LOW | OVERLONG_3 | OVERLONG_2 | OVERLONG_4, /* 0 */
    ANY_LOW | OVERLONG_2,
    ANY_LOW,
    ANY_LOW,             /* 1..3 */
    ANY_LOW | TOO_LARGE, /* 4 */
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE,
    LARGE, /* 5..C */
    LARGE | SURROGATE,
    LARGE,
    LARGE, /* D..F */
};
static const uint8_t second_upper[16] = {
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,                                    /* 0..7 */
    TRAIL | OVERLONG_3 | LARGE_1000 | OVERLONG_4, /* 8 */
    TRAIL | OVERLONG_3 | TOO_LARGE,               /* 9 */
    TRAIL | SURROGATE | TOO_LARGE,
    TRAIL | SURROGATE | TOO_LARGE, /* A, B */
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT,
    TOO_SHORT, /* C..F */
};
/* The largest bytes that may stand last: what is greater begins a character that goes on. */
static const uint8_t last_bytes[32] = {
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xEF, 0xDF, 0xBF,
};
#endif

#if defined(__x86_64__)

#define NAME(x)                    ssse3_##x
#define TARGET                     __attribute__((target("ssse3")))
#define VECTOR                     __m128i
#define LANES                      16
#define V_LOAD(at)                 _mm_loadu_si128((const __m128i *)(const void *)(at))
#define V_TABLE(table)             V_LOAD(table)
#define V_SPLAT(byte)              _mm_set1_epi8((char)(byte))
#define V_AND(a, b)                _mm_and_si128(a, b)
#define V_OR(a, b)                 _mm_or_si128(a, b)
#define V_XOR(a, b)                _mm_xor_si128(a, b)
#define V_MINUS(a, b)              _mm_subs_epu8(a, b)
#define V_UPPER_HALF(a)            _mm_and_si128(_mm_srli_epi16(a, 4), _mm_set1_epi8(0x0F))
#define V_LOOKUP(table, index)     _mm_shuffle_epi8(table, index)
#define V_BEFORE(bytes, before, n) _mm_alignr_epi8(bytes, before, 16 - (n))
#define V_ANY_HIGH(a)              (_mm_movemask_epi8(a) != 0)
#define V_ANY(a)                   (_mm_movemask_epi8(_mm_cmpeq_epi8(a, _mm_setzero_si128())) != 0xFFFF)
#include "base/utf8_lookup.h"

#define NAME(x)                avx2_##x
#define TARGET                 __attribute__((target("avx2")))
#define VECTOR                 __m256i
#define LANES                  32
#define V_LOAD(at)             _mm256_loadu_si256((const __m256i *)(const void *)(at))
#define V_TABLE(table)         _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(table)))
#define V_SPLAT(byte)          _mm256_set1_epi8((char)(byte))
#define V_AND(a, b)            _mm256_and_si256(a, b)
#define V_OR(a, b)             _mm256_or_si256(a, b)
#define V_XOR(a, b)            _mm256_xor_si256(a, b)
#define V_MINUS(a, b)          _mm256_subs_epu8(a, b)
#define V_UPPER_HALF(a)        _mm256_and_si256(_mm256_srli_epi16(a, 4), _mm256_set1_epi8(0x0F))
#define V_LOOKUP(table, index) _mm256_shuffle_epi8(table, index)
/* alignr works in each half of a vector: the half that stands before comes first. */
#define V_BEFORE(bytes, before, n) _mm256_alignr_epi8(bytes, _mm256_permute2x128_si256(before, bytes, 0x21), 16 - (n))
#define V_ANY_HIGH(a)              (_mm256_movemask_epi8(a) != 0)
#define V_ANY(a)                   (!_mm256_testz_si256(a, a))
#include "base/utf8_lookup.h"

#elif defined(__aarch64__)

#define NAME(x) neon_##x
#define TARGET
#define VECTOR                     uint8x16_t
#define LANES                      16
#define V_LOAD(at)                 vld1q_u8(at)
#define V_TABLE(table)             vld1q_u8(table)
#define V_SPLAT(byte)              vdupq_n_u8((uint8_t)(byte))
#define V_AND(a, b)                vandq_u8(a, b)
#define V_OR(a, b)                 vorrq_u8(a, b)
#define V_XOR(a, b)                veorq_u8(a, b)
#define V_MINUS(a, b)              vqsubq_u8(a, b)
#define V_UPPER_HALF(a)            vshrq_n_u8(a, 4)
#define V_LOOKUP(table, index)     vqtbl1q_u8(table, index)
#define V_BEFORE(bytes, before, n) vextq_u8(before, bytes, 16 - (n))
#define V_ANY_HIGH(a)              (vmaxvq_u8(a) >= 0x80)
#define V_ANY(a)                   (vmaxvq_u8(a) != 0)
#include "base/utf8_lookup.h"

#endif

bool qn__utf8_has_engine(enum qn_utf8_engine engine)
{
    switch (engine) {
    case QN_UTF8_SCALAR:
        return true;
#if defined(__x86_64__)
    case QN_UTF8_SSSE3:
        return __builtin_cpu_supports("ssse3") != 0;
    case QN_UTF8_AVX2:
        return __builtin_cpu_supports("avx2") != 0;
#elif defined(__aarch64__)
    case QN_UTF8_NEON:
        return true;
#endif
    default:
        return false;
    }
}

bool qn__utf8_valid_by(enum qn_utf8_engine engine, const char *bytes, size_t size)
{
    const uint8_t *at = (const uint8_t *)bytes;
    switch (engine) {
#if defined(__x86_64__)
    case QN_UTF8_SSSE3:
        return ssse3_valid(at, size);
    case QN_UTF8_AVX2:
        return avx2_valid(at, size);
#elif defined(__aarch64__)
    case QN_UTF8_NEON:
        return neon_valid(at, size);
#endif
    default:
        return scalar_prefix(at, size) == size;
    }
}

static enum qn_utf8_engine best_engine(void)
{
    /* Asking costs a load and a test: the answer is kept by the compiler's own run-time library. */
    for (enum qn_utf8_engine engine = QN_UTF8_ENGINES - 1; engine > QN_UTF8_SCALAR; engine--) {
        if (qn__utf8_has_engine(engine)) {
            return engine;
        }
    }
    return QN_UTF8_SCALAR;
}

bool qn_utf8_valid(const char *bytes, size_t size)
{
    const uint8_t *at = (const uint8_t *)bytes;
    size_t ascii = size < STEP ? ascii_prefix(at, size) : 0;
    if (ascii == size) {
        return true;
    }
    size_t left = size - ascii;
    if (left < SHORT_TEXT) {
        return scalar_prefix(at + ascii, left) == left;
    }
    enum qn_utf8_engine engine = best_engine();
    /* Less than a step of it is padded to a vector: with short ones there is less to pad. */
    engine = engine == QN_UTF8_AVX2 && left < STEP ? QN_UTF8_SSSE3 : engine;
    return qn__utf8_valid_by(engine, bytes + ascii, left);
}

size_t qn_utf8_valid_prefix(const char *bytes, size_t size)
{
    return qn_utf8_valid(bytes, size) ? size : scalar_prefix((const uint8_t *)bytes, size);
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
