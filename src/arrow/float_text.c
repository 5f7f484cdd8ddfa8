/*
 * float_text.c: round-trip text of floats: the fewest digits of %g, from 15 (6) on, that read back as the same value.
 *
 * printf and strtod both write and read the locale's decimal point, so that the round trip is checked before the point is
 * put right. No state.
 */
#include "arrow/float_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Replace whatever the locale has as its decimal point (it may be several bytes) by a point. */
static size_t put_point(char *text)
{
    size_t before = strspn(text, "-0123456789");
    if (text[before] == '\0' || text[before] == 'e') {
        return strlen(text);
    }
    size_t point = strcspn(text + before, "0123456789");
    size_t rest = strlen(text + before + point);
    text[before] = '.';
    memmove(text + before + 1, text + before + point, rest + 1);
    return before + 1 + rest;
}

static size_t special(double number, char out[QN_FLOAT_TEXT_SIZE])
{
    const char *text = isnan(number) ? "nan" : number < 0 ? "-inf" : "inf";
    size_t size = strlen(text);
    memcpy(out, text, size + 1);
    return size;
}

size_t qn__float64_text(double number, char out[QN_FLOAT_TEXT_SIZE])
{
    if (!isfinite(number)) {
        return special(number, out);
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(out, QN_FLOAT_TEXT_SIZE, "%.*g", digits, number);
        if (digits == 17 || strtod(out, NULL) == number) {
            break;
        }
    }
    return put_point(out);
}

size_t qn__float32_text(float number, char out[QN_FLOAT_TEXT_SIZE])
{
    if (!isfinite(number)) {
        return special((double)number, out);
    }
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(out, QN_FLOAT_TEXT_SIZE, "%.*g", digits, (double)number);
        if (digits == 9 || strtof(out, NULL) == number) {
            break;
        }
    }
    return put_point(out);
}
