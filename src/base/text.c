/*
 * text.c: comparisons and small values in text, by ASCII rules. Threads: no state.
 */
#include "base/text.h"

bool qn_text_equal_nocase(const char *a, const char *b)
{
    while (*a != '\0' && qn_ascii_lower(*a) == qn_ascii_lower(*b)) {
        a++;
        b++;
    }
    return qn_ascii_lower(*a) == qn_ascii_lower(*b);
}

bool qn_text_starts_nocase(const char *text, const char *prefix)
{
    while (*prefix != '\0' && qn_ascii_lower(*text) == qn_ascii_lower(*prefix)) {
        text++;
        prefix++;
    }
    return *prefix == '\0';
}

static bool same(char a, char b, bool nocase)
{
    return a == b || (nocase && qn_ascii_lower(a) == qn_ascii_lower(b));
}

static size_t distance(const char *a, const char *b, bool nocase)
{
    size_t n = strlen(a);
    size_t m = strlen(b);
    size_t row[QN_TEXT_FAR + 1];
    if (n > QN_TEXT_FAR || m > QN_TEXT_FAR) {
        return QN_TEXT_FAR;
    }
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t changed = diagonal + !same(a[i - 1], b[j - 1], nocase);
            diagonal = row[j];
            size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = changed < least ? changed : least;
        }
    }
    return row[m];
}

size_t qn_text_distance(const char *a, const char *b)
{
    return distance(a, b, false);
}

size_t qn_text_distance_nocase(const char *a, const char *b)
{
    return distance(a, b, true);
}

bool qn_text_is_near(const char *typed, size_t distance)
{
    return distance < (strlen(typed) <= 3 ? 2 : 3);
}

bool qn_text_to_bool(const char *text, bool *out)
{
    static const char *const words[][2] = { { "false", "true" }, { "no", "yes" }, { "off", "on" }, { "0", "1" } };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (int truth = 0; truth < 2; truth++) {
            if (qn_text_equal_nocase(text, words[i][truth])) {
                *out = truth != 0;
                return true;
            }
        }
    }
    return false;
}

bool qn_text_to_int64(const char *text, long long low, long long high, long long *out)
{
    bool negative = *text == '-';
    if (*text == '-' || *text == '+') {
        text++;
    }
    if (!qn_ascii_digit(*text)) {
        return false;
    }
    long long value = 0;
    for (; qn_ascii_digit(*text); text++) {
        int digit = *text - '0';
        /* Towards the sign, so that the smallest number fits too. */
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, negative ? -digit : digit, &value)) {
            return false;
        }
    }
    if (*text != '\0' || value < low || value > high) {
        return false;
    }
    *out = value;
    return true;
}
