/*
 * test_calendar.c: dates against known days and a calendar that only counts.
 */
#include "base/calendar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void calendar__known_days(void **state)
{
    (void)state;
    assert_int_equal(qn_days_from_civil(1970, 1, 1), 0);
    assert_int_equal(qn_days_from_civil(1969, 12, 31), -1);
    assert_int_equal(qn_days_from_civil(2000, 2, 29), 11016);
    assert_int_equal(qn_days_from_civil(2000, 3, 1), 11017);
    assert_int_equal(qn_days_from_civil(1900, 1, 1), -25567);      /* NTP's epoch: 2208988800 s before */
    assert_int_equal(qn_days_from_civil(1601, 1, 1), -134774);     /* Windows' FILETIME: 11644473600 s before */
    assert_int_equal(qn_days_from_civil(1, 1, 1), -719162);        /* SQL Server's datetime2 */
    assert_int_equal(qn_days_from_civil(2038, 1, 19), 24855);      /* 2^31 s are 24855 days and some hours */
    assert_int_equal(qn_days_from_civil(-4713, 11, 24), -2440588); /* Julian day 0 */
    assert_int_equal(qn_days_from_civil(9999, 12, 31), 2932896);
    assert_int_equal(qn_days_from_civil(2000, 1, 1), 10957); /* PostgreSQL's epoch */
}

static void calendar__every_day_from_minus_9999_to_9999(void **state)
{
    (void)state;
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t days = qn_days_from_civil(-9999, 1, 1);
    for (int64_t year = -9999; year <= 9999; year++) {
        bool leap = year % 400 == 0 || (year % 4 == 0 && year % 100 != 0);
        for (int month = 1; month <= 12; month++) {
            int length = lengths[month - 1] + (leap && month == 2);
            for (int day = 1; day <= length; day++, days++) {
                int64_t year_back;
                int month_back;
                int day_back;
                qn_civil_from_days(days, &year_back, &month_back, &day_back);
                if (qn_days_from_civil(year, month, day) != days || year_back != year || month_back != month ||
                    day_back != day) {
                    fail_msg("wrong about %lld-%d-%d", (long long)year, month, day);
                }
            }
        }
    }
    /* The count met the epoch on its way: it has seen 0001-01-01 at the known number. */
    assert_int_equal(days, 2932897);
}

static void calendar__text_of_every_day_reads_back(void **state)
{
    (void)state;
    for (int64_t days = INT32_MIN; days <= INT32_MAX; days += 99991) {
        char text[QN_CALENDAR_TEXT_SIZE];
        int32_t back = 1;
        size_t size = qn_date_format((int32_t)days, text);
        assert_int_equal(size, strlen(text));
        assert_true(qn_date_parse(text, size, &back));
        assert_int_equal(back, days);
    }
}

static void calendar__borders_of_int32(void **state)
{
    (void)state;
    char text[QN_CALENDAR_TEXT_SIZE];
    qn_date_format(INT32_MAX, text);
    assert_string_equal(text, "+5881580-07-11"); /* as java.time.LocalDate and PostgreSQL's documentation have it */
    qn_date_format(INT32_MIN, text);
    assert_string_equal(text, "-5877641-06-23");
    int32_t days = 3;
    assert_true(qn_date_parse("+5881580-07-11", 14, &days));
    assert_int_equal(days, INT32_MAX);
    assert_true(qn_date_parse("-5877641-06-23", 14, &days));
    assert_int_equal(days, INT32_MIN);
    days = 3;
    assert_false(qn_date_parse("+5881580-07-12", 14, &days));
    assert_false(qn_date_parse("-5877641-06-22", 14, &days));
    assert_int_equal(days, 3);
}

static void calendar__dates_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t days;
    } good[] = { { "1970-01-01", 0 },       { "2000-02-29", 11016 },  { "0000-01-01", -719528 },
                 { "0001-01-01", -719162 }, { "+2000-02-29", 11016 }, { "+02000-02-29", 11016 },
                 { "-0001-12-31", -719529 } };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int32_t days;
        if (!qn_date_parse(good[i].text, strlen(good[i].text), &days) || days != good[i].days) {
            fail_msg("wrong about %s", good[i].text);
        }
    }
    static const char *const bad[] = { "",
                                       "1970",
                                       "1970-1-1",
                                       "70-01-01",
                                       "1970-13-01",
                                       "1970-00-01",
                                       "1970-01-00",
                                       "1970-01-32",
                                       "1970-04-31",
                                       "1900-02-29",
                                       "2001-02-29",
                                       "2000-02-30",
                                       "1970/01/01",
                                       "1970-01-01 ",
                                       " 1970-01-01",
                                       "12345-01-01",
                                       "-0000-01-01",
                                       "19700101",
                                       "+123-01-01",
                                       "+12345678-01-01",
                                       "1970-01-0x",
                                       "1970-01",
                                       "1970-01-01T00:00",
                                       "today",
                                       "infinity",
                                       "--2000-01-01" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int32_t days;
        if (qn_date_parse(bad[i], strlen(bad[i]), &days)) {
            fail_msg("accepted %s", bad[i]);
        }
    }
}

static void calendar__times_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t micros;
    } good[] = {
        { "00:00", 0 },
        { "01:02", INT64_C(3720000000) },
        { "23:59:59", INT64_C(86399000000) },
        { "23:59:59.999999", INT64_C(86399999999) },
        { "00:00:00.5", 500000 },
        { "00:00:00.000001", 1 },
        { "00:00:00.123456000", 123456 },
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t micros;
        if (!qn_time_parse(good[i].text, strlen(good[i].text), &micros) || micros != good[i].micros) {
            fail_msg("wrong about %s", good[i].text);
        }
    }
    static const char *const bad[] = {
        "",         "1:00",      "24:00:00",  "23:60",     "23:59:60",         "12",
        "12:",      "12:00:",    "12:00:00.", "12:00.5",   "12:00:00.1234567", "12:00:00,5",
        "12:00:0x", "-01:00:00", " 12:00",    "12:00:00Z", "12:00 PM"
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t micros = 9;
        if (qn_time_parse(bad[i], strlen(bad[i]), &micros) || micros != 9) {
            fail_msg("accepted %s", bad[i]);
        }
    }
}

static void calendar__timestamps_with_and_without_zone(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t micros;
        enum qn_zone zone;
    } good[] = {
        { "1970-01-01", 0, QN_ZONE_NONE },
        { "1970-01-01 00:00:01", 1000000, QN_ZONE_NONE },
        { "1970-01-01T00:00:01Z", 1000000, QN_ZONE_OFFSET },
        { "1970-01-01T02:00+02", 0, QN_ZONE_OFFSET },
        { "1970-01-01 02:30:00+02:30", 0, QN_ZONE_OFFSET },
        { "1969-12-31 19:00:00-0500", 0, QN_ZONE_OFFSET },
        { "1969-12-31 23:59:59.999999", -1, QN_ZONE_NONE },
        { "2001-09-09T01:46:40Z", INT64_C(1000000000000000), QN_ZONE_OFFSET }, /* 10^9 s */
        { "2038-01-19 03:14:08", INT64_C(2147483648000000), QN_ZONE_NONE },    /* 2^31 s */
        { "1969-12-31 23:59:59.999999-00:00", -1, QN_ZONE_OFFSET },
        { "+294247-01-10 04:00:54.775807", INT64_MAX, QN_ZONE_NONE },
        { "-290308-12-21 19:59:05.224192", INT64_MIN, QN_ZONE_NONE },
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t micros = 3;
        enum qn_zone zone = QN_ZONE_NONE;
        if (!qn_timestamp_parse(good[i].text, strlen(good[i].text), &micros, &zone) || micros != good[i].micros ||
            zone != good[i].zone) {
            fail_msg("wrong about %s: %lld", good[i].text, (long long)micros);
        }
    }
    static const char *const bad[] = { "",
                                       "1970-01-01 ",
                                       "1970-01-01T",
                                       "1970-01-01Z",
                                       "1970-01-01  00:00",
                                       "1970-01-01t00:00",
                                       "1970-01-01T00:00z",
                                       "1970-01-01T00:00+2",
                                       "1970-01-01T00:00+24",
                                       "1970-01-01T00:00+02:60",
                                       "1970-01-01T00:00+02:",
                                       "1970-01-01T00:00+02:3",
                                       "1970-01-01T00:00+023",
                                       "1970-01-01T00:00+02000",
                                       "1970-01-01T00:00 UTC",
                                       "1970-01-01T00:00Zx",
                                       "00:00:00",
                                       "+294247-01-10 04:00:54.775808",
                                       "-290308-12-21 19:59:05.224191" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t micros = 9;
        enum qn_zone zone = QN_ZONE_OFFSET;
        if (qn_timestamp_parse(bad[i], strlen(bad[i]), &micros, &zone) || micros != 9) {
            fail_msg("accepted %s", bad[i]);
        }
    }
}

static void calendar__writes_iso_text(void **state)
{
    (void)state;
    char out[QN_CALENDAR_TEXT_SIZE];
    assert_int_equal(qn_date_format(0, out), 10);
    assert_string_equal(out, "1970-01-01");
    qn_date_format(-719528, out);
    assert_string_equal(out, "0000-01-01");
    qn_date_format(-719529, out);
    assert_string_equal(out, "-0001-12-31");
    qn_date_format(2932897, out);
    assert_string_equal(out, "+10000-01-01");
    assert_int_equal(qn_time_format(INT64_C(3723000000), out), 8);
    assert_string_equal(out, "01:02:03");
    qn_time_format(7, out);
    assert_string_equal(out, "00:00:00.000007");
    qn_time_format(QN_MICROS_PER_DAY, out);
    assert_string_equal(out, "24:00:00"); /* PostgreSQL's time has it */
    qn_timestamp_format(-1, out);
    assert_string_equal(out, "1969-12-31 23:59:59.999999");
    qn_timestamp_format(INT64_C(1000000000000000), out);
    assert_string_equal(out, "2001-09-09 01:46:40");
    assert_int_equal(qn_timestamp_format(INT64_MAX, out), 29);
    assert_string_equal(out, "+294247-01-10 04:00:54.775807");
    qn_timestamp_format(INT64_MIN, out);
    assert_string_equal(out, "-290308-12-21 19:59:05.224192");
}

static void calendar__timestamps_read_back(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int round = 0; round < 200000; round++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        int64_t micros = (int64_t)seed >> (round % 40);
        char text[QN_CALENDAR_TEXT_SIZE];
        size_t size = qn_timestamp_format(micros, text);
        int64_t back;
        enum qn_zone zone;
        assert_true(qn_timestamp_parse(text, size, &back, &zone));
        assert_true(back == micros);
        assert_int_equal(zone, QN_ZONE_NONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calendar__known_days),
        cmocka_unit_test(calendar__every_day_from_minus_9999_to_9999),
        cmocka_unit_test(calendar__text_of_every_day_reads_back),
        cmocka_unit_test(calendar__borders_of_int32),
        cmocka_unit_test(calendar__dates_are_read_strictly),
        cmocka_unit_test(calendar__times_are_read_strictly),
        cmocka_unit_test(calendar__timestamps_with_and_without_zone),
        cmocka_unit_test(calendar__writes_iso_text),
        cmocka_unit_test(calendar__timestamps_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
