/*
 * test_encode.c: the bytes that go to PostgreSQL. Expected bytes are written by hand from the documented formats: big-endian
 * integers, IEEE floats, days and microseconds from 2000-01-01, numeric as base-10000 digits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arrays.h"
#include "db/postgres/encode.h"
#include "db/postgres/postgres.h"

#define NAIVE_US "tsu:"
#define UTC_US   "tsu:UTC"

struct outcome {
    enum qn_status status;
    struct qn_error err;
    int16_t format;
    char hex[2048];
};

static struct outcome encode_typed(struct one_column *column, int64_t row, uint32_t oid, int32_t typmod)
{
    struct outcome outcome = { .err = QN_ERROR_INIT };
    struct qn_pg_encoder encoder;
    outcome.status = qn_pg_encoder_choose(&column->reader, oid, typmod, &encoder, &outcome.err);
    if (outcome.status != QN_OK) {
        return outcome;
    }
    struct qn_buffer out = QN_BUFFER_INIT;
    outcome.format = encoder.format;
    outcome.status = qn_pg_encoder_put(&encoder, row, &out, &outcome.err);
    assert_true(out.size * 2 < sizeof outcome.hex);
    for (size_t i = 0; i < out.size; i++) {
        (void)snprintf(outcome.hex + 2 * i, 3, "%02x", (unsigned)(unsigned char)out.data[i]);
    }
    qn_buffer_dispose(&out);
    return outcome;
}

/* The value at `data` of an Arrow format into a type: expect these bytes. */
static void expect_typed(const char *format, const void *data, uint32_t oid, int32_t typmod, const char *hex)
{
    struct one_column column;
    one_column_init(&column, "qty", format, NULL, data, NULL, 1);
    struct outcome outcome = encode_typed(&column, 0, oid, typmod);
    assert_string_equal(outcome.err.message, "");
    assert_int_equal(outcome.status, QN_OK);
    assert_int_equal(outcome.format, 1);
    assert_string_equal(outcome.hex, hex);
    one_column_dispose(&column);
}

static void expect(const char *format, const void *data, uint32_t oid, const char *hex)
{
    expect_typed(format, data, oid, -1, hex);
}

static void refuse_typed(const char *format, const void *data, uint32_t oid, int32_t typmod, const char *message)
{
    struct one_column column;
    one_column_init(&column, "qty", format, NULL, data, NULL, 1);
    struct outcome outcome = encode_typed(&column, 0, oid, typmod);
    assert_string_equal(outcome.err.message, message);
    assert_int_equal(outcome.status, QN_ERR_DATA);
    assert_string_equal(outcome.err.column_name, "qty");
    one_column_dispose(&column);
}

static void refuse(const char *format, const void *data, uint32_t oid, const char *message)
{
    refuse_typed(format, data, oid, -1, message);
}

static struct outcome encode_text(const char *text, size_t size, uint32_t oid, int32_t typmod)
{
    struct one_column column;
    int32_t offsets[2] = { 0, (int32_t)size };
    one_column_init(&column, "name", "u", NULL, offsets, text, 1);
    struct outcome outcome = encode_typed(&column, 0, oid, typmod);
    one_column_dispose(&column);
    return outcome;
}

#define VALUE(ctype, ...) (&(const ctype){ __VA_ARGS__ })

static void encode__integers_widen_and_narrow(void **state)
{
    (void)state;
    expect("s", VALUE(int16_t, -2), QN_PG_INT2, "00000002fffe");
    expect("l", VALUE(int64_t, 32767), QN_PG_INT2, "000000027fff");
    expect("c", VALUE(int8_t, -1), QN_PG_INT4, "00000004ffffffff");
    expect("I", VALUE(uint32_t, 2147483647), QN_PG_INT4, "000000047fffffff");
    expect("C", VALUE(uint8_t, 255), QN_PG_INT8, "0000000800000000000000ff");
    expect("l", VALUE(int64_t, INT64_MIN), QN_PG_INT8, "000000088000000000000000");
    expect("L", VALUE(uint64_t, INT64_MAX), QN_PG_INT8, "000000087fffffffffffffff");
    expect("L", VALUE(uint64_t, 4294967295), QN_PG_OID, "00000004ffffffff");
    refuse("i", VALUE(int32_t, 70000), QN_PG_INT2, "row 0, column \"qty\": 70000 does not fit smallint");
    refuse("l", VALUE(int64_t, -2147483649), QN_PG_INT4, "row 0, column \"qty\": -2147483649 does not fit integer");
    refuse("L", VALUE(uint64_t, UINT64_MAX), QN_PG_INT8,
           "row 0, column \"qty\": 18446744073709551615 does not fit bigint");
    refuse("L", VALUE(uint64_t, UINT64_MAX), QN_PG_INT2,
           "row 0, column \"qty\": 18446744073709551615 does not fit smallint");
    refuse("i", VALUE(int32_t, -1), QN_PG_OID, "row 0, column \"qty\": -1 does not fit oid");
}

static void encode__floats_become_integers_where_whole(void **state)
{
    (void)state;
    expect("g", VALUE(double, -7.0), QN_PG_INT4, "00000004fffffff9");
    expect("f", VALUE(float, 16777216.0F), QN_PG_INT8, "000000080000000001000000");
    refuse("g", VALUE(double, 1.5), QN_PG_INT4, "row 0, column \"qty\": 1.5 does not fit integer");
    refuse("g", VALUE(double, (double)NAN), QN_PG_INT4, "row 0, column \"qty\": NaN does not fit integer");
    refuse("g", VALUE(double, 0x1p63), QN_PG_INT8, "row 0, column \"qty\": 9.223372036854776e+18 does not fit bigint");
    refuse("g", VALUE(double, -1e300), QN_PG_INT8, "row 0, column \"qty\": -1e+300 does not fit bigint");
}

static void encode__decimals_become_integers_where_whole(void **state)
{
    (void)state;
    expect("d:10,2", VALUE(qn_int128, 1200), QN_PG_INT4, "000000040000000c");
    refuse("d:10,2", VALUE(qn_int128, 1250), QN_PG_INT4, "row 0, column \"qty\": 12.50 does not fit integer");
}

static void encode__bool_takes_bits_and_zero_and_one(void **state)
{
    (void)state;
    expect("b", VALUE(uint8_t, 1), QN_PG_BOOL, "0000000101");
    expect("b", VALUE(uint8_t, 0xFE), QN_PG_BOOL, "0000000100");
    expect("l", VALUE(int64_t, 1), QN_PG_BOOL, "0000000101");
    refuse("l", VALUE(int64_t, 2), QN_PG_BOOL, "row 0, column \"qty\": 2 does not fit boolean");
    refuse("b", VALUE(uint8_t, 1), QN_PG_INT4, "column \"qty\": Boolean does not go into integer");
}

static void encode__floats_keep_their_value(void **state)
{
    (void)state;
    expect("g", VALUE(double, 1.0), QN_PG_FLOAT8, "000000083ff0000000000000");
    expect("f", VALUE(float, -2.0F), QN_PG_FLOAT8, "00000008c000000000000000");
    expect("e", VALUE(uint16_t, 0x3C00), QN_PG_FLOAT4, "000000043f800000");
    expect("g", VALUE(double, (double)INFINITY), QN_PG_FLOAT4, "000000047f800000");
    expect("l", VALUE(int64_t, INT64_C(1) << 62), QN_PG_FLOAT8, "0000000843d0000000000000");
    refuse("l", VALUE(int64_t, (INT64_C(1) << 53) + 1), QN_PG_FLOAT8,
           "row 0, column \"qty\": 9007199254740993 does not fit double precision");
    refuse("i", VALUE(int32_t, 16777217), QN_PG_FLOAT4, "row 0, column \"qty\": 16777217 does not fit real");
}

static void encode__a_double_becomes_real_where_it_is_written_the_same(void **state)
{
    (void)state;
    expect("g", VALUE(double, 0.1), QN_PG_FLOAT4, "000000043dcccccd");
    expect("g", VALUE(double, 0.5), QN_PG_FLOAT4, "000000043f000000");
    refuse("g", VALUE(double, 0.123456789012), QN_PG_FLOAT4, "row 0, column \"qty\": 0.123456789012 does not fit real");
    refuse("g", VALUE(double, 1e300), QN_PG_FLOAT4, "row 0, column \"qty\": 1e+300 does not fit real");
    refuse("g", VALUE(double, 1e-300), QN_PG_FLOAT4, "row 0, column \"qty\": 1e-300 does not fit real");
}

static void encode__decimals_become_floats_up_to_their_digits(void **state)
{
    (void)state;
    expect("d:38,1", VALUE(qn_int128, 1), QN_PG_FLOAT8, "000000083fb999999999999a");
    expect("d:38,20", VALUE(qn_int128, 0), QN_PG_FLOAT8, "000000080000000000000000");
    refuse("d:38,0", VALUE(qn_int128, 1234567890123456), QN_PG_FLOAT8,
           "row 0, column \"qty\": 1234567890123456 does not fit double precision");
    refuse("d:38,0", VALUE(qn_int128, 1234567), QN_PG_FLOAT4, "row 0, column \"qty\": 1234567 does not fit real");
}

static void encode__numeric_has_base_10000_digits(void **state)
{
    (void)state;
    expect("d:38,3", VALUE(qn_int128, 12345678), QN_PG_NUMERIC, "0000000e0003000100000003000109291a7c");
    expect("d:38,4", VALUE(qn_int128, 1), QN_PG_NUMERIC, "0000000a0001ffff000000040001");
    expect("d:38,1", VALUE(qn_int128, -5), QN_PG_NUMERIC, "0000000a0001ffff400000011388");
    expect("l", VALUE(int64_t, 100000000), QN_PG_NUMERIC, "0000000a00010002000000000001");
    expect("L", VALUE(uint64_t, UINT64_MAX), QN_PG_NUMERIC,
           "000000120005000400000000"
           "07341a5802e103bb064f");
    expect("l", VALUE(int64_t, INT64_MIN), QN_PG_NUMERIC,
           "000000120005000440000000"
           "039a0d2c0170156516b0");
    expect("d:38,2", VALUE(qn_int128, 150), QN_PG_NUMERIC, "0000000c000200000000000200011388");
    expect("d:38,3", VALUE(qn_int128, 10000), QN_PG_NUMERIC, "0000000a0001000000000003000a");
    expect("d:38,2", VALUE(qn_int128, 0), QN_PG_NUMERIC, "000000080000000000000002");
    expect("d:5,-6", VALUE(qn_int128, 12), QN_PG_NUMERIC,
           "0000000a0001000100000000"
           "04b0");
    expect("d:38,0", VALUE(qn_int128, qn_decimal_power(38) - 1), QN_PG_NUMERIC,
           "0000001c000a000900000000"
           "0063270f270f270f270f270f270f270f270f270f");
    expect("d:9,2,32", VALUE(int32_t, -150), QN_PG_NUMERIC, "0000000c000200004000000200011388");
    expect("d:18,2,64", VALUE(int64_t, 150), QN_PG_NUMERIC, "0000000c000200000000000200011388");
}

static void encode__numeric_takes_76_digits(void **state)
{
    (void)state;
    /* 2^192, in words from the least: 6277101735386680763835789423207666416102355444464034512896 */
    const uint64_t words[4] = { 0, 0, 0, 1 };
    expect("d:76,0,256", words, QN_PG_NUMERIC,
           "00000026000f000e00000000003e1e1e06c70f1a1f8c0efb1ed609101df2104100eb154412200d7b0b50");
}

static void encode__numeric_of_a_float_is_what_is_written(void **state)
{
    (void)state;
    expect("g", VALUE(double, 0.1), QN_PG_NUMERIC, "0000000a0001ffff0000000103e8");
    expect("f", VALUE(float, 0.1F), QN_PG_NUMERIC, "0000000a0001ffff0000000103e8");
    expect("g", VALUE(double, 1e-7), QN_PG_NUMERIC, "0000000a0001fffe00000007000a");
    expect("g", VALUE(double, 1e22), QN_PG_NUMERIC, "0000000a00010005000000000064");
    expect("g", VALUE(double, -0.0), QN_PG_NUMERIC, "000000080000000000000000");
    expect("g", VALUE(double, (double)NAN), QN_PG_NUMERIC, "0000000800000000c0000000");
    expect("g", VALUE(double, (double)INFINITY), QN_PG_NUMERIC, "0000000800000000d0000000");
    expect("g", VALUE(double, -(double)INFINITY), QN_PG_NUMERIC, "0000000800000000f0000000");
}

#define NUMERIC(precision, scale) ((((precision) << 16) | ((scale)&0x7FF)) + 4)

static void encode__numeric_is_never_rounded(void **state)
{
    (void)state;
    expect_typed("d:38,4", VALUE(qn_int128, 1500000), QN_PG_NUMERIC, NUMERIC(10, 2), "0000000a00010000000000040096");
    expect_typed("d:38,4", VALUE(qn_int128, 999999900), QN_PG_NUMERIC, NUMERIC(7, 2),
                 "0000000e000300010000000400092"
                 "70f26ac");
    refuse_typed("d:38,3", VALUE(qn_int128, 1505), QN_PG_NUMERIC, NUMERIC(10, 2),
                 "row 0, column \"qty\": 1.505 does not fit numeric(10,2)");
    refuse_typed("d:38,2", VALUE(qn_int128, 10000000), QN_PG_NUMERIC, NUMERIC(7, 2),
                 "row 0, column \"qty\": 100000.00 does not fit numeric(7,2)");
    refuse_typed("l", VALUE(int64_t, 1000), QN_PG_NUMERIC, NUMERIC(3, 0),
                 "row 0, column \"qty\": 1000 does not fit numeric(3,0)");
    refuse_typed("g", VALUE(double, 0.30000000000000004), QN_PG_NUMERIC, NUMERIC(10, 2),
                 "row 0, column \"qty\": 0.30000000000000004 does not fit numeric(10,2)");
    refuse_typed("l", VALUE(int64_t, 12345), QN_PG_NUMERIC, NUMERIC(5, -2),
                 "row 0, column \"qty\": 12345 does not fit numeric(5,-2)");
    expect_typed("l", VALUE(int64_t, 12300), QN_PG_NUMERIC, NUMERIC(5, -2),
                 "0000000c000200010000000000010"
                 "8fc");
    refuse_typed("g", VALUE(double, (double)INFINITY), QN_PG_NUMERIC, NUMERIC(5, 2),
                 "row 0, column \"qty\": Infinity does not fit numeric(5,2)");
    expect_typed("g", VALUE(double, (double)NAN), QN_PG_NUMERIC, NUMERIC(5, 2), "0000000800000000c0000000");
}

static void encode__dates_count_from_2000(void **state)
{
    (void)state;
    expect("tdD", VALUE(int32_t, 10957), QN_PG_DATE, "0000000400000000");
    expect("tdD", VALUE(int32_t, 0), QN_PG_DATE, "00000004ffffd533");
    expect("tdm", VALUE(int64_t, INT64_C(10958) * 86400000), QN_PG_DATE, "0000000400000001");
    expect(NAIVE_US, VALUE(int64_t, INT64_C(10956) * 86400000000), QN_PG_DATE, "00000004ffffffff");
    refuse("tdm", VALUE(int64_t, INT64_C(10958) * 86400000 + 1), QN_PG_DATE,
           "row 0, column \"qty\": 2000-01-02 00:00:00.001000 has a time of day, which date cannot hold");
    refuse(NAIVE_US, VALUE(int64_t, 3600000000), QN_PG_DATE,
           "row 0, column \"qty\": 1970-01-01 01:00:00 has a time of day, which date cannot hold");
    refuse(UTC_US, VALUE(int64_t, 0), QN_PG_DATE, "column \"qty\": Timestamp[us, UTC] does not go into date");
    /* the extreme integers mean infinity to PostgreSQL */
    struct one_column column;
    one_column_init(&column, "day", "tdD", NULL, VALUE(int32_t, INT32_MAX), NULL, 1);
    struct outcome outcome = encode_typed(&column, 0, QN_PG_DATE, -1);
    assert_int_equal(outcome.status, QN_ERR_DATA);
    assert_non_null(strstr(outcome.err.message, "is outside of what date can hold"));
    one_column_dispose(&column);
}

static void encode__timestamps_count_microseconds_from_2000(void **state)
{
    (void)state;
    expect(NAIVE_US, VALUE(int64_t, INT64_C(946684800000001)), QN_PG_TIMESTAMP, "000000080000000000000001");
    expect("tss:", VALUE(int64_t, 946684801), QN_PG_TIMESTAMP, "0000000800000000000f4240");
    expect("tsm:", VALUE(int64_t, INT64_C(946684800001)), QN_PG_TIMESTAMP, "0000000800000000000003e8");
    expect("tsn:", VALUE(int64_t, INT64_C(946684799999999000)), QN_PG_TIMESTAMP, "00000008ffffffffffffffff");
    expect("tdD", VALUE(int32_t, 10957), QN_PG_TIMESTAMP, "000000080000000000000000");
    expect("tsu:Europe/Vienna", VALUE(int64_t, INT64_C(946684800000001)), QN_PG_TIMESTAMPTZ,
           "000000080000000000000001");
    refuse("tsn:", VALUE(int64_t, INT64_C(946684800000000001)), QN_PG_TIMESTAMP,
           "row 0, column \"qty\": 2000-01-01 00:00:00.000000001 is not a whole number of microseconds");
    refuse("tsn:", VALUE(int64_t, -1), QN_PG_TIMESTAMP,
           "row 0, column \"qty\": 1969-12-31 23:59:59.999999999 is not a whole number of microseconds");
    refuse_typed(
        "tsm:", VALUE(int64_t, INT64_C(946684800001)), QN_PG_TIMESTAMP, 2,
        "row 0, column \"qty\": 2000-01-01 00:00:00.001000 has more decimals of a second than timestamp(2) can hold");
    expect_typed("tsm:", VALUE(int64_t, INT64_C(946684800010)), QN_PG_TIMESTAMP, 2, "000000080000000000002710");
    refuse(NAIVE_US, VALUE(int64_t, 0), QN_PG_TIMESTAMPTZ,
           "column \"qty\": Timestamp[us] does not go into timestamp with time zone");
    refuse(UTC_US, VALUE(int64_t, 0), QN_PG_TIMESTAMP, "column \"qty\": Timestamp[us, UTC] does not go into timestamp");
}

static void encode__far_timestamps_are_refused(void **state)
{
    (void)state;
    const int64_t far[] = { INT64_MIN, INT64_C(-211813488000000001) + INT64_C(946684800000000) };
    for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
        struct one_column column;
        one_column_init(&column, "at", NAIVE_US, NULL, &far[i], NULL, 1);
        struct outcome outcome = encode_typed(&column, 0, QN_PG_TIMESTAMP, -1);
        assert_int_equal(outcome.status, QN_ERR_DATA);
        assert_non_null(strstr(outcome.err.message, "is outside of what timestamp can hold"));
        one_column_dispose(&column);
    }
    struct one_column column;
    one_column_init(&column, "at", "tss:", NULL, VALUE(int64_t, INT64_MAX), NULL, 1);
    struct outcome outcome = encode_typed(&column, 0, QN_PG_TIMESTAMP, -1);
    assert_int_equal(outcome.status, QN_ERR_DATA);
    assert_string_equal(outcome.hex, "");
    one_column_dispose(&column);
}

static void encode__times_and_intervals(void **state)
{
    (void)state;
    expect("ttu", VALUE(int64_t, 1), QN_PG_TIME, "000000080000000000000001");
    expect("tts", VALUE(int32_t, 1), QN_PG_TIME, "0000000800000000000f4240");
    expect("ttn", VALUE(int64_t, 2000), QN_PG_TIME, "000000080000000000000002");
    refuse("ttn", VALUE(int64_t, 2001), QN_PG_TIME,
           "row 0, column \"qty\": 00:00:00.000002001 is not a whole number of microseconds");
    expect("tDs", VALUE(int64_t, -1), QN_PG_INTERVAL, "00000010fffffffffff0bdc00000000000000000");
    const struct {
        int32_t months, days;
        int64_t nanos;
    } interval = { 14, -3, 5000 };
    expect("tin", &interval, QN_PG_INTERVAL, "000000100000000000000005fffffffd0000000e");
    expect("tiM", VALUE(int32_t, 7), QN_PG_INTERVAL,
           "00000010000000000000000000000000"
           "00000007");
    refuse("tDn", VALUE(int64_t, 1), QN_PG_INTERVAL,
           "row 0, column \"qty\": 1 units of 1/1000000000 s is not exact in the microseconds of interval");
}

static void encode__texts_are_their_bytes(void **state)
{
    (void)state;
    assert_string_equal(encode_text("gr\xc3\xbc\xc3\x9f", 6, QN_PG_TEXT, -1).hex, "000000066772c3bcc39f");
    assert_string_equal(encode_text("", 0, QN_PG_TEXT, -1).hex, "00000000");
    assert_string_equal(encode_text("[1]", 3, QN_PG_JSON, -1).hex, "000000035b315d");
    assert_string_equal(encode_text("[1]", 3, QN_PG_JSONB, -1).hex, "00000004015b315d");
    assert_string_equal(encode_text("x", 1, QN_PG_CHAR, -1).hex, "0000000178");
    assert_string_equal(encode_text("abc", 3, QN_PG_VARCHAR, 4 + 3).hex, "00000003616263");
    assert_string_equal(encode_text("\xc3\xbc\xc3\xbc", 4, QN_PG_VARCHAR, 4 + 2).hex, "00000004c3bcc3bc");
    assert_string_equal(encode_text("ab ", 3, QN_PG_VARCHAR, 4 + 2).err.message,
                        "row 0, column \"name\": a text of 3 characters does not fit character varying(2)");
}

static void encode__bad_text_is_refused(void **state)
{
    (void)state;
    struct outcome nul = encode_text("abcdefghijk\0m", 13, QN_PG_TEXT, -1);
    assert_int_equal(nul.status, QN_ERR_DATA);
    assert_string_equal(nul.err.message, "row 0, column \"name\": the text has a NUL character at byte 11");
    struct outcome bad = encode_text("abcdefgh\xff", 9, QN_PG_TEXT, -1);
    assert_int_equal(bad.status, QN_ERR_DATA);
    assert_string_equal(bad.err.message, "row 0, column \"name\": the text is not valid UTF-8 at byte 8 (0xff)");
    assert_int_equal(bad.err.row, 0);
}

static void encode__text_for_other_types_is_left_to_the_servers_parser(void **state)
{
    (void)state;
    const uint32_t by_text[] = { QN_PG_DATE, QN_PG_INT4, QN_PG_INET, QN_PG_XML, 99999 };
    for (size_t i = 0; i < sizeof by_text / sizeof by_text[0]; i++) {
        struct outcome outcome = encode_text("x", 1, by_text[i], -1);
        assert_int_equal(outcome.status, QN_OK);
        assert_int_equal(outcome.format, 0);
    }
    assert_true(qn_pg_encode_type_strict(QN_PG_DATE));
    assert_true(qn_pg_encode_type_strict(QN_PG_INT4));
    assert_false(qn_pg_encode_type_strict(QN_PG_INET));
    assert_int_equal(encode_text("x", 1, QN_PG_BYTEA, -1).status, QN_ERR_DATA);
}

static void encode__uuids(void **state)
{
    (void)state;
    static const char hex[] = "00000010"
                              "0123456789abcdef0123456789abcdef";
    assert_string_equal(encode_text("01234567-89ab-cdef-0123-456789ABCDEF", 36, QN_PG_UUID, -1).hex, hex);
    assert_string_equal(encode_text("0123456789abcdef0123456789abcdef", 32, QN_PG_UUID, -1).hex, hex);
    expect("w:16", "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", QN_PG_UUID, hex);
    expect("w:2", "\x01\xff", QN_PG_BYTEA, "0000000201ff");
    refuse("w:2", "\x01\xff", QN_PG_UUID, "row 0, column \"qty\": 2 bytes are not the 16 of a uuid");
    refuse("w:2", "\x01\xff", QN_PG_TEXT, "column \"qty\": FixedBinary(2) does not go into text");
    assert_string_equal(encode_text("01234567-89ab-cdef-0123-456789abcdeg", 36, QN_PG_UUID, -1).err.message,
                        "row 0, column \"name\": \"01234567-89ab-cdef-0123-456789abcdeg\" is not a uuid");
    assert_int_equal(encode_text("0123456789ab-cdef-0123-456789abcdef0", 36, QN_PG_UUID, -1).status, QN_ERR_DATA);
}

static void expect_as_text(const char *format, const void *data, const char *text)
{
    struct one_column column;
    char hex[512];
    one_column_init(&column, "qty", format, NULL, data, NULL, 1);
    struct outcome outcome = encode_typed(&column, 0, QN_PG_TEXT, -1);
    (void)snprintf(hex, sizeof hex, "%08zx", strlen(text));
    for (size_t i = 0; text[i] != '\0'; i++) {
        (void)snprintf(hex + 8 + 2 * i, 3, "%02x", (unsigned)(unsigned char)text[i]);
    }
    assert_string_equal(outcome.hex, hex);
    one_column_dispose(&column);
}

static void encode__values_into_text_are_exact(void **state)
{
    (void)state;
    expect_as_text("l", VALUE(int64_t, INT64_MIN), "-9223372036854775808");
    expect_as_text("L", VALUE(uint64_t, UINT64_MAX), "18446744073709551615");
    expect_as_text("b", VALUE(uint8_t, 1), "true");
    expect_as_text("d:10,2", VALUE(qn_int128, -5), "-0.05");
    expect_as_text("d:10,6", VALUE(qn_int128, 12345000001), "12345.000001");
    expect_as_text("d:10,-3", VALUE(qn_int128, 12), "12000");
    expect_as_text("d:10,2", VALUE(qn_int128, 0), "0.00");
    expect_as_text("g", VALUE(double, 0.1), "0.1");
    expect_as_text("g", VALUE(double, 1e15), "1e+15");
    expect_as_text("g", VALUE(double, 123456789012345.0), "123456789012345");
    expect_as_text("g", VALUE(double, 100000000000000.0), "100000000000000");
    expect_as_text("g", VALUE(double, 1.25e-5), "1.25e-05");
    expect_as_text("g", VALUE(double, 0.000125), "0.000125");
    expect_as_text("g", VALUE(double, -0.0), "-0");
    expect_as_text("g", VALUE(double, (double)INFINITY), "Infinity");
    expect_as_text("f", VALUE(float, 0.1F), "0.1");
    expect_as_text("f", VALUE(float, 1234567.0F), "1.234567e+06");
    expect_as_text("tdD", VALUE(int32_t, 0), "1970-01-01");
    expect_as_text("tsn:", VALUE(int64_t, 1), "1970-01-01 00:00:00.000000001");
    expect_as_text("tsm:UTC", VALUE(int64_t, -1), "1969-12-31 23:59:59.999000+00");
    expect_as_text("tts", VALUE(int32_t, 3661), "01:01:01");
}

static void encode__nulls_are_minus_one_and_their_bytes_do_not_matter(void **state)
{
    (void)state;
    const int64_t values[3] = { 1, INT64_MAX, 3 };
    struct one_column column;
    one_column_init(&column, "qty", "l", VALUE(uint8_t, 0x05), values, NULL, 3);
    assert_string_equal(encode_typed(&column, 1, QN_PG_INT2, -1).hex, "ffffffff");
    assert_string_equal(encode_typed(&column, 2, QN_PG_INT2, -1).hex, "000000020003");
    struct qn_pg_encoder encoder;
    struct qn_error err = QN_ERROR_INIT;
    uint64_t words[3];
    assert_int_equal(qn_pg_encoder_choose(&column.reader, QN_PG_INT2, -1, &encoder, &err), QN_OK);
    assert_int_equal(encoder.load(&encoder, 0, 3, words, &err), QN_OK);
    assert_int_equal(words[2], 3);
    one_column_dispose(&column);
    one_column_init(&column, "qty", "n", NULL, NULL, NULL, 1);
    assert_string_equal(encode_typed(&column, 0, QN_PG_DATE, -1).hex, "ffffffff");
    one_column_dispose(&column);
}

static void encode__dictionaries_are_their_values(void **state)
{
    (void)state;
    static const int64_t values[2] = { 7, 70000 };
    static const int8_t indices[4] = { 1, 0, 0, 1 };
    const void *value_buffers[2] = { NULL, values };
    const void *index_buffers[2] = { VALUE(uint8_t, 0x0B), indices };
    struct ArrowSchema values_schema = { .format = "l", .name = "", .flags = ARROW_FLAG_NULLABLE };
    values_schema.release = schema_kept;
    struct ArrowSchema schema = { .format = "c", .name = "qty", .flags = ARROW_FLAG_NULLABLE };
    schema.release = schema_kept;
    schema.dictionary = &values_schema;
    struct ArrowArray values_array = { .length = 2, .n_buffers = 2, .buffers = value_buffers, .release = array_kept };
    struct ArrowArray array = { .length = 4, .null_count = 1, .n_buffers = 2, .buffers = index_buffers };
    array.release = array_kept;
    array.dictionary = &values_array;
    struct one_column column = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_reader_init(&column.reader, &schema, &err), QN_OK);
    assert_int_equal(qn_reader_bind(&column.reader, &array, &err), QN_OK);
    assert_string_equal(encode_typed(&column, 0, QN_PG_INT4, -1).hex, "0000000400011170");
    assert_string_equal(encode_typed(&column, 1, QN_PG_INT2, -1).hex, "000000020007");
    assert_string_equal(encode_typed(&column, 2, QN_PG_INT2, -1).hex, "ffffffff");
    assert_string_equal(encode_typed(&column, 1, QN_PG_NUMERIC, -1).hex, "0000000a00010000000000000007");
    struct outcome misfit = encode_typed(&column, 3, QN_PG_INT2, -1);
    assert_string_equal(misfit.err.message, "row 3, column \"qty\": 70000 does not fit smallint");
    assert_int_equal(misfit.err.row, 3);
    qn_reader_dispose(&column.reader);
}

static void encode__lists_go_into_json_only(void **state)
{
    (void)state;
    static const int64_t items[3] = { 1, 2, 3 };
    static const int32_t offsets[2] = { 0, 3 };
    const void *item_buffers[2] = { NULL, items };
    const void *list_buffers[2] = { NULL, offsets };
    struct ArrowSchema item = { .format = "l", .name = "item", .flags = ARROW_FLAG_NULLABLE, .release = schema_kept };
    struct ArrowSchema *item_schemas[1] = { &item };
    struct ArrowSchema schema = { .format = "+l", .name = "qty", .n_children = 1, .children = item_schemas };
    schema.release = schema_kept;
    struct ArrowArray item_array = { .length = 3, .n_buffers = 2, .buffers = item_buffers, .release = array_kept };
    struct ArrowArray *item_arrays[1] = { &item_array };
    struct ArrowArray array = { .length = 1, .n_buffers = 2, .buffers = list_buffers, .n_children = 1 };
    array.children = item_arrays;
    array.release = array_kept;
    struct one_column column = { 0 };
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_reader_init(&column.reader, &schema, &err), QN_OK);
    assert_int_equal(qn_reader_bind(&column.reader, &array, &err), QN_OK);
    assert_string_equal(encode_typed(&column, 0, QN_PG_JSON, -1).hex, "000000095b312c20322c20335d");
    assert_string_equal(encode_typed(&column, 0, QN_PG_JSONB, -1).hex, "0000000a015b312c20322c20335d");
    struct outcome array_type = encode_typed(&column, 0, 1007, -1);
    assert_int_equal(array_type.status, QN_ERR_UNSUPPORTED);
    assert_string_equal(array_type.err.message, "column \"qty\": List does not go into integer[]");
    assert_string_equal(array_type.err.column_name, "qty");
    qn_reader_dispose(&column.reader);
}

static void encode__errors_name_the_row_of_the_call(void **state)
{
    (void)state;
    const int32_t values[4] = { 1, 2, 70000, 4 };
    struct one_column column;
    one_column_init(&column, "qty", "i", NULL, values, NULL, 4);
    struct qn_pg_encoder encoder;
    struct qn_error err = QN_ERROR_INIT;
    uint64_t words[4];
    assert_int_equal(qn_pg_encoder_choose(&column.reader, QN_PG_INT2, -1, &encoder, &err), QN_OK);
    encoder.row_base = 1000;
    assert_int_equal(encoder.load(&encoder, 0, 4, words, &err), QN_ERR_DATA);
    assert_int_equal(err.row, 1002);
    assert_string_equal(err.column_name, "qty");
    one_column_dispose(&column);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode__integers_widen_and_narrow),
        cmocka_unit_test(encode__floats_become_integers_where_whole),
        cmocka_unit_test(encode__decimals_become_integers_where_whole),
        cmocka_unit_test(encode__bool_takes_bits_and_zero_and_one),
        cmocka_unit_test(encode__floats_keep_their_value),
        cmocka_unit_test(encode__a_double_becomes_real_where_it_is_written_the_same),
        cmocka_unit_test(encode__decimals_become_floats_up_to_their_digits),
        cmocka_unit_test(encode__numeric_has_base_10000_digits),
        cmocka_unit_test(encode__numeric_takes_76_digits),
        cmocka_unit_test(encode__numeric_of_a_float_is_what_is_written),
        cmocka_unit_test(encode__numeric_is_never_rounded),
        cmocka_unit_test(encode__dates_count_from_2000),
        cmocka_unit_test(encode__timestamps_count_microseconds_from_2000),
        cmocka_unit_test(encode__far_timestamps_are_refused),
        cmocka_unit_test(encode__times_and_intervals),
        cmocka_unit_test(encode__texts_are_their_bytes),
        cmocka_unit_test(encode__bad_text_is_refused),
        cmocka_unit_test(encode__text_for_other_types_is_left_to_the_servers_parser),
        cmocka_unit_test(encode__uuids),
        cmocka_unit_test(encode__values_into_text_are_exact),
        cmocka_unit_test(encode__nulls_are_minus_one_and_their_bytes_do_not_matter),
        cmocka_unit_test(encode__dictionaries_are_their_values),
        cmocka_unit_test(encode__lists_go_into_json_only),
        cmocka_unit_test(encode__errors_name_the_row_of_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
