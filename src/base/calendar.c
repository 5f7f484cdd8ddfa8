/*
 * calendar.c: dates and times of the proleptic Gregorian calendar, to and from text.
 *
 * Years are counted from March, so that the leap day is the last of its year; 400 years are one era of 146,097 days.
 * Threads: no state.
 */
#include "base/calendar.h"

#include "base/text.h"

#include <string.h>

#define DAYS_PER_ERA   146097
#define DAYS_TO_MARCH  719468 /* from 0000-03-01 to 1970-01-01 */
#define MICROS_PER_MIN (60 * QN_MICROS_PER_SECOND)
#define MICROS_PER_HR  (60 * MICROS_PER_MIN)

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int64_t qn_days_from_civil(int64_t year, int month, int day)
{
    int64_t march_year = month > 2 ? year : year - 1;
    int64_t era = floor_div(march_year, 400);
    int64_t year_of_era = march_year - era * 400;
    int march_month = month > 2 ? month - 3 : month + 9;
    /* Months from March have 31 30 31 30 31 days, over and over: 153 in five. */
    int64_t day_of_year = (153 * march_month + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - DAYS_TO_MARCH;
}

void qn_civil_from_days(int64_t days, int64_t *year_out, int *month_out, int *day_out)
{
    int64_t from_march = days + DAYS_TO_MARCH;
    int64_t era = floor_div(from_march, DAYS_PER_ERA);
    int64_t day_of_era = from_march - era * DAYS_PER_ERA;
    /* Take the leap days out (one in 1461 days, but not in 36524, but in 146097): what remains are years of 365. */
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int march_month = (int)((5 * day_of_year + 2) / 153);
    *day_out = (int)(day_of_year - (153 * march_month + 2) / 5 + 1);
    *month_out = march_month < 10 ? march_month + 3 : march_month - 9;
    *year_out = year_of_era + era * 400 + (*month_out <= 2);
}

static int days_in_month(int64_t year, int month)
{
    static const int8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* A reader of text that takes exactly what is asked for. */
struct reader {
    const char *at;
    const char *end;
};

static bool take(struct reader *in, char wanted)
{
    if (in->at < in->end && *in->at == wanted) {
        in->at++;
        return true;
    }
    return false;
}

/* Two digits of a number up to `most`. */
static bool take_two(struct reader *in, int most, int *out)
{
    if (in->end - in->at < 2 || !qn_ascii_digit(in->at[0]) || !qn_ascii_digit(in->at[1])) {
        return false;
    }
    *out = (in->at[0] - '0') * 10 + (in->at[1] - '0');
    in->at += 2;
    return *out <= most;
}

#define LONGEST_YEAR 7 /* an int32 of days ends in year 5881580 */

static bool take_date(struct reader *in, int64_t *days_out)
{
    bool negative = take(in, '-');
    bool sign = negative || take(in, '+');
    int64_t year = 0;
    int digits = 0;
    for (; in->at < in->end && qn_ascii_digit(*in->at) && digits <= LONGEST_YEAR; in->at++, digits++) {
        year = year * 10 + (*in->at - '0');
    }
    if (digits < 4 || digits > (sign ? LONGEST_YEAR : 4) || (negative && year == 0)) {
        return false;
    }
    year = negative ? -year : year;
    int month;
    int day;
    if (!take(in, '-') || !take_two(in, 12, &month) || month == 0 || !take(in, '-') ||
        !take_two(in, days_in_month(year, month), &day) || day == 0) {
        return false;
    }
    *days_out = qn_days_from_civil(year, month, day);
    return *days_out >= INT32_MIN && *days_out <= INT32_MAX;
}

/* The digits after the point, as microseconds. */
static bool take_fraction(struct reader *in, int *out)
{
    int micros = 0;
    int digits = 0;
    for (; in->at < in->end && qn_ascii_digit(*in->at); in->at++) {
        if (digits < 6) {
            micros = micros * 10 + (*in->at - '0');
            digits++;
        } else if (*in->at != '0') {
            return false;
        }
    }
    if (digits == 0) {
        return false;
    }
    for (; digits < 6; digits++) {
        micros *= 10;
    }
    *out = micros;
    return true;
}

static bool take_time(struct reader *in, int64_t *micros_out)
{
    int hour;
    int minute;
    int second = 0;
    int fraction = 0;
    if (!take_two(in, 23, &hour) || !take(in, ':') || !take_two(in, 59, &minute)) {
        return false;
    }
    if (take(in, ':')) {
        if (!take_two(in, 59, &second) || (take(in, '.') && !take_fraction(in, &fraction))) {
            return false;
        }
    }
    *micros_out = hour * MICROS_PER_HR + minute * MICROS_PER_MIN + second * QN_MICROS_PER_SECOND + fraction;
    return true;
}

/* "Z", or hours and where present minutes east of Greenwich. */
static bool take_zone(struct reader *in, int64_t *micros_out)
{
    if (take(in, 'Z')) {
        *micros_out = 0;
        return true;
    }
    bool west = take(in, '-');
    int hour;
    int minute = 0;
    if ((!west && !take(in, '+')) || !take_two(in, 23, &hour)) {
        return false;
    }
    if (in->at < in->end) {
        (void)take(in, ':');
        if (!take_two(in, 59, &minute)) {
            return false;
        }
    }
    int64_t offset = hour * MICROS_PER_HR + minute * MICROS_PER_MIN;
    *micros_out = west ? -offset : offset;
    return true;
}

bool qn_date_parse(const char *text, size_t size, int32_t *days_out)
{
    struct reader in = { text, text + size };
    int64_t days;
    if (!take_date(&in, &days) || in.at != in.end) {
        return false;
    }
    *days_out = (int32_t)days;
    return true;
}

bool qn_time_parse(const char *text, size_t size, int64_t *micros_out)
{
    struct reader in = { text, text + size };
    int64_t micros;
    if (!take_time(&in, &micros) || in.at != in.end) {
        return false;
    }
    *micros_out = micros;
    return true;
}

bool qn_timestamp_parse(const char *text, size_t size, int64_t *micros_out, enum qn_zone *zone_out)
{
    struct reader in = { text, text + size };
    int64_t days;
    int64_t time = 0;
    int64_t offset = 0;
    enum qn_zone zone = QN_ZONE_NONE;
    if (!take_date(&in, &days)) {
        return false;
    }
    if (in.at < in.end) {
        if ((!take(&in, 'T') && !take(&in, ' ')) || !take_time(&in, &time)) {
            return false;
        }
        if (in.at < in.end) {
            zone = QN_ZONE_OFFSET;
            if (!take_zone(&in, &offset) || in.at != in.end) {
                return false;
            }
        }
    }
    /* The earliest day that int64 reaches begins before it: count from the next midnight there. */
    int64_t micros;
    int64_t of_day = time - offset;
    if (days < 0) {
        days += 1;
        of_day -= QN_MICROS_PER_DAY;
    }
    if (__builtin_mul_overflow(days, QN_MICROS_PER_DAY, &micros) || __builtin_add_overflow(micros, of_day, &micros)) {
        return false;
    }
    *micros_out = micros;
    *zone_out = zone;
    return true;
}

/* Write `number` with at least `width` digits; returns what follows. */
static char *put_number(char *to, uint64_t number, int width)
{
    char digits[20];
    int count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0 || count < width);
    while (count > 0) {
        *to++ = digits[--count];
    }
    return to;
}

static char *put_date(char *to, int64_t days)
{
    int64_t year;
    int month;
    int day;
    qn_civil_from_days(days, &year, &month, &day);
    if (year < 0) {
        *to++ = '-';
    } else if (year > 9999) {
        *to++ = '+';
    }
    to = put_number(to, (uint64_t)(year < 0 ? -year : year), 4);
    *to++ = '-';
    to = put_number(to, (unsigned)month, 2);
    *to++ = '-';
    return put_number(to, (unsigned)day, 2);
}

static char *put_time(char *to, int64_t micros)
{
    uint64_t left = (uint64_t)micros;
    if (micros < 0) {
        *to++ = '-'; /* no time of day, but what is given is shown */
        left = -left;
    }
    to = put_number(to, left / (uint64_t)MICROS_PER_HR, 2);
    *to++ = ':';
    to = put_number(to, left / (uint64_t)MICROS_PER_MIN % 60, 2);
    *to++ = ':';
    to = put_number(to, left / (uint64_t)QN_MICROS_PER_SECOND % 60, 2);
    uint64_t fraction = left % (uint64_t)QN_MICROS_PER_SECOND;
    if (fraction != 0) {
        *to++ = '.';
        to = put_number(to, fraction, 6);
    }
    return to;
}

static size_t finish(const char *out, char *end)
{
    *end = '\0';
    return (size_t)(end - out);
}

size_t qn_date_format(int32_t days, char out[QN_CALENDAR_TEXT_SIZE])
{
    return finish(out, put_date(out, days));
}

size_t qn_time_format(int64_t micros, char out[QN_CALENDAR_TEXT_SIZE])
{
    return finish(out, put_time(out, micros));
}

size_t qn_timestamp_format(int64_t micros, char out[QN_CALENDAR_TEXT_SIZE])
{
    int64_t of_day = micros % QN_MICROS_PER_DAY;
    char *to = put_date(out, floor_div(micros, QN_MICROS_PER_DAY));
    *to++ = ' ';
    return finish(out, put_time(to, of_day < 0 ? of_day + QN_MICROS_PER_DAY : of_day));
}
