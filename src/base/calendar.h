/*
 * calendar.h: dates and times of the proleptic Gregorian calendar (ISO 8601), to and from text.
 *
 * Days count from 1970-01-01, microseconds from its midnight. Parsing is strict: what is not a date is refused, never
 * guessed. Fractions of more than six digits are refused unless the rest are zeros.
 */
#ifndef QN_BASE_CALENDAR_H
#define QN_BASE_CALENDAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QN_MICROS_PER_SECOND  INT64_C(1000000)
#define QN_MICROS_PER_DAY     INT64_C(86400000000)
#define QN_CALENDAR_TEXT_SIZE 48

/* Days of a civil date; any year that an int32 of days reaches. month 1-12, day 1-31, unchecked. */
int64_t qn_days_from_civil(int64_t year, int month, int day);
void qn_civil_from_days(int64_t days, int64_t *year_out, int *month_out, int *day_out);

/* "YYYY-MM-DD" (years 0000-9999, or with a sign and more digits). */
bool qn_date_parse(const char *text, size_t size, int32_t *days_out);
/* "HH:MM[:SS[.ffffff]]", 00:00:00 to 23:59:59.999999. */
bool qn_time_parse(const char *text, size_t size, int64_t *micros_out);

enum qn_zone { QN_ZONE_NONE, QN_ZONE_OFFSET };
/* A date, then where present a 'T' or space and a time, then where present "Z", "+HH", "+HH:MM" or "+HHMM". With an offset the
 * result is in UTC and *zone_out is QN_ZONE_OFFSET. */
bool qn_timestamp_parse(const char *text, size_t size, int64_t *micros_out, enum qn_zone *zone_out);

/* Write ISO text and a NUL; return the length. A timestamp has a space between date and time, six digits of fraction only
 * where it is not zero. */
size_t qn_date_format(int32_t days, char out[QN_CALENDAR_TEXT_SIZE]);
size_t qn_time_format(int64_t micros, char out[QN_CALENDAR_TEXT_SIZE]);
size_t qn_timestamp_format(int64_t micros, char out[QN_CALENDAR_TEXT_SIZE]);

#endif
