/*
 * fuzz_values.c: dates, times, timestamps and decimals from text. What is accepted lies within its limits and is written as
 * text that is read as the same value; what is refused leaves the outputs alone.
 */
#include "base/calendar.h"
#include "base/decimal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define UNTOUCHED 0x5A5A5A5A

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void try_date(const char *text, size_t size)
{
    int32_t days = UNTOUCHED, again = 0;
    char out[QN_CALENDAR_TEXT_SIZE];
    if (!qn_date_parse(text, size, &days)) {
        must(days == UNTOUCHED);
        return;
    }
    size_t length = qn_date_format(days, out);
    must(length < sizeof out && strlen(out) == length);
    must(qn_date_parse(out, length, &again) && again == days);
    int64_t year;
    int month, day;
    qn_civil_from_days(days, &year, &month, &day);
    must(month >= 1 && month <= 12 && day >= 1 && day <= 31 && qn_days_from_civil(year, month, day) == days);
}

static void try_time(const char *text, size_t size)
{
    int64_t micros = UNTOUCHED, again = 0;
    char out[QN_CALENDAR_TEXT_SIZE];
    if (!qn_time_parse(text, size, &micros)) {
        must(micros == UNTOUCHED);
        return;
    }
    must(micros >= 0 && micros < QN_MICROS_PER_DAY);
    size_t length = qn_time_format(micros, out);
    must(length < sizeof out && strlen(out) == length);
    must(qn_time_parse(out, length, &again) && again == micros);
}

static void try_timestamp(const char *text, size_t size)
{
    int64_t micros = UNTOUCHED, again = 0;
    enum qn_zone zone = QN_ZONE_OFFSET, zone_again = QN_ZONE_OFFSET;
    char out[QN_CALENDAR_TEXT_SIZE];
    if (!qn_timestamp_parse(text, size, &micros, &zone)) {
        must(micros == UNTOUCHED && zone == QN_ZONE_OFFSET);
        return;
    }
    size_t length = qn_timestamp_format(micros, out);
    must(length + 1 < sizeof out && strlen(out) == length);
    must(qn_timestamp_parse(out, length, &again, &zone_again) && again == micros && zone_again == QN_ZONE_NONE);
    out[length] = 'Z';
    must(qn_timestamp_parse(out, length + 1, &again, &zone_again) && again == micros && zone_again == QN_ZONE_OFFSET);
}

static void try_decimal(const char *text, size_t size)
{
    qn_int128 value = UNTOUCHED, again = 0, scaled = 0;
    int scale = UNTOUCHED, scale_again = 0;
    char out[QN_DECIMAL_TEXT_SIZE];
    if (!qn_decimal_parse(text, size, &value, &scale)) {
        must(value == UNTOUCHED && scale == UNTOUCHED);
        return;
    }
    must(scale >= 0 && scale <= QN_DECIMAL_MAX_DIGITS && qn_decimal_digits(value) <= QN_DECIMAL_MAX_DIGITS);
    size_t length = qn_decimal_format(value, scale, out);
    must(length < sizeof out && strlen(out) == length);
    must(qn_decimal_parse(out, length, &again, &scale_again) && again == value && scale_again == scale);
    /* To any scale that holds it and back. */
    for (int to = 0; to <= QN_DECIMAL_MAX_DIGITS; to++) {
        if (qn_decimal_rescale(value, scale, to, &scaled)) {
            must(qn_decimal_digits(scaled) <= QN_DECIMAL_MAX_DIGITS);
            must(qn_decimal_rescale(scaled, to, scale, &again) && again == value);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = size > 0 ? (const char *)data : "";
    try_date(text, size);
    try_time(text, size);
    try_timestamp(text, size);
    try_decimal(text, size);
    return 0;
}
