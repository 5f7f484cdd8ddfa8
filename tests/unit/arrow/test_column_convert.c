/*
 * test_column_convert.c: columns whose type widens while they are read: exact, or refused with nothing changed.
 */
#include "fixture.h"

#include <math.h>

static void put_decimals(struct qn_column *column, const char *format, int n, const qn_int128 *values)
{
    make_column(column, format);
    ok(qn_column_reserve(column, n + 1, &error));
    for (int i = 0; i < n; i++) {
        qn_column_put_decimal128(column, values[i]);
    }
    qn_column_put_null(column);
}

static qn_int128 decimal_at(const struct qn_column *column, int64_t i)
{
    qn_int128 value;
    memcpy(&value, column->data + (size_t)i * sizeof value, sizeof value);
    return value;
}

static void rescale__multiplies_every_value(void **state)
{
    (void)state;
    const qn_int128 values[] = { 0, 1, -25, qn_decimal_power(35) - 1, 1 - qn_decimal_power(35) };
    struct qn_column column;
    put_decimals(&column, "d:38,2", 5, values);
    assert_true(qn_column_rescale(&column, 5));
    assert_int_equal(column.type.scale, 5);
    assert_int_equal(column.type.precision, 38);
    for (int i = 0; i < 5; i++) {
        assert_true(decimal_at(&column, i) == values[i] * 1000);
    }
    assert_true(decimal_at(&column, 5) == 0);
    qn_column_put_decimal128(&column, 7); /* it goes on as a column of the new scale */
    qn_auto_array array = { 0 };
    struct ArrowArrayView view;
    view_column(&column, "d:38,5", &array, &view);
    assert_int_equal(array.null_count, 1);
    ArrowArrayViewReset(&view);
    qn_column_dispose(&column);
}

static void rescale__refuses_39_digits_and_changes_nothing(void **state)
{
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2) {
        const qn_int128 values[] = { 1, sign * qn_decimal_power(35) };
        struct qn_column column;
        put_decimals(&column, "d:38,2", 2, values);
        assert_false(qn_column_rescale(&column, 5));
        assert_int_equal(column.type.scale, 2);
        assert_true(decimal_at(&column, 0) == 1);
        assert_true(decimal_at(&column, 1) == values[1]);
        assert_false(qn_column_rescale(&column, 1)); /* only to larger scales */
        assert_true(qn_column_rescale(&column, 2));
        qn_column_dispose(&column);
    }
    struct qn_column column;
    make_column(&column, "l");
    assert_false(qn_column_rescale(&column, 1));
    qn_column_dispose(&column);
}

static void to_float64__exact_integers(void **state)
{
    (void)state;
    static const int64_t values[] = { 0, -1, INT64_C(1) << 53, -(INT64_C(1) << 53), INT64_C(1) << 62, INT64_MIN };
    struct qn_column column;
    make_column(&column, "l");
    ok(qn_column_reserve(&column, 7, &error));
    for (int i = 0; i < 6; i++) {
        qn_column_put_int64(&column, values[i]);
    }
    qn_column_put_null(&column);
    ok(qn_column_to_float64(&column, &error));
    qn_auto_array array = { 0 };
    struct ArrowArrayView view;
    view_column(&column, "g", &array, &view);
    static const double expected[] = {
        0, -1, 9007199254740992.0, -9007199254740992.0, 4611686018427387904.0, -9223372036854775808.0
    };
    for (int i = 0; i < 6; i++) {
        assert_true(ArrowArrayViewGetDoubleUnsafe(&view, i) == expected[i]);
    }
    assert_true(ArrowArrayViewIsNull(&view, 6));
    ArrowArrayViewReset(&view);
    qn_column_dispose(&column);
}

static void to_float64__refuses_what_is_not_exact(void **state)
{
    (void)state;
    static const int64_t values[] = { (INT64_C(1) << 53) + 1, INT64_MAX, INT64_MAX - 1, INT64_MIN + 1 };
    for (int i = 0; i < 4; i++) {
        struct qn_column column;
        make_column(&column, "l");
        ok(qn_column_reserve(&column, 2, &error));
        qn_column_put_int64(&column, 5);
        qn_column_put_int64(&column, values[i]);
        refused(qn_column_to_float64(&column, &error), QN_ERR_DATA, "column \"c\": the integer");
        assert_int_equal(error.row, 1);
        qn_auto_array array = { 0 };
        struct ArrowArrayView view;
        view_column(&column, "l", &array, &view); /* as it was */
        assert_int_equal(ArrowArrayViewGetIntUnsafe(&view, 0), 5);
        assert_true(ArrowArrayViewGetIntUnsafe(&view, 1) == values[i]);
        ArrowArrayViewReset(&view);
        qn_column_dispose(&column);
    }
}

/* Turn a column into text and compare; the last value is a null. */
static void expect_texts(struct qn_column *column, int n, const char *const *expected)
{
    qn_column_put_null(column);
    ok(qn_column_to_text(column, &error));
    assert_int_equal(column->type.id, QN_TYPE_STRING_VIEW);
    assert_string_equal(column->name, "c");
    qn_column_put_bytes(column, "text from now on", 16); /* room stays as it was reserved */
    qn_auto_array array = { 0 };
    struct ArrowArrayView view;
    view_column(column, "vu", &array, &view);
    for (int i = 0; i < n; i++) {
        struct ArrowStringView text = ArrowArrayViewGetStringUnsafe(&view, i);
        assert_int_equal(text.size_bytes, strlen(expected[i]));
        assert_memory_equal(text.data, expected[i], (size_t)text.size_bytes);
    }
    assert_true(ArrowArrayViewIsNull(&view, n));
    assert_int_equal(ArrowArrayViewGetStringUnsafe(&view, n + 1).size_bytes, 16);
    ArrowArrayViewReset(&view);
    qn_column_dispose(column);
}

static void to_text__is_exact(void **state)
{
    (void)state;
    struct qn_column column;
    make_column(&column, "l");
    ok(qn_column_reserve(&column, 10, &error));
    qn_column_put_int64(&column, INT64_MIN);
    qn_column_put_int64(&column, 0);
    expect_texts(&column, 2, (const char *const[]){ "-9223372036854775808", "0" });

    make_column(&column, "L");
    ok(qn_column_reserve(&column, 10, &error));
    qn_column_put_uint64(&column, UINT64_MAX);
    expect_texts(&column, 1, (const char *const[]){ "18446744073709551615" });

    make_column(&column, "g");
    ok(qn_column_reserve(&column, 10, &error));
    qn_column_put_float64(&column, 0.1);
    qn_column_put_float64(&column, -1e300);
    qn_column_put_float64(&column, (double)NAN);
    qn_column_put_float64(&column, -(double)INFINITY);
    qn_column_put_float64(&column, 0.1 + 0.2);
    expect_texts(&column, 5, (const char *const[]){ "0.1", "-1e+300", "nan", "-inf", "0.30000000000000004" });

    make_column(&column, "f");
    ok(qn_column_reserve(&column, 10, &error));
    qn_column_put_float32(&column, 16777216.0F);
    qn_column_put_float32(&column, 0.1F);
    expect_texts(&column, 2, (const char *const[]){ "16777216", "0.1" });

    make_column(&column, "d:38,3");
    ok(qn_column_reserve(&column, 10, &error));
    qn_column_put_decimal128(&column, -1);
    qn_column_put_decimal128(&column, qn_decimal_power(38) - 1);
    expect_texts(&column, 2, (const char *const[]){ "-0.001", "99999999999999999999999999999999999.999" });

    make_column(&column, "b");
    ok(qn_column_reserve(&column, 10, &error));
    qn_column_put_bool(&column, true);
    qn_column_put_bool(&column, false);
    expect_texts(&column, 2, (const char *const[]){ "true", "false" });

    make_column(&column, "n");
    ok(qn_column_reserve(&column, 10, &error));
    expect_texts(&column, 0, NULL);
}

static void to_text__refuses_types_without_a_text(void **state)
{
    (void)state;
    static const char *const formats[] = { "vz", "tin", "tdD", "vu" };
    for (int i = 0; i < 4; i++) {
        struct qn_column column;
        make_column(&column, formats[i]);
        refused(qn_column_to_text(&column, &error), QN_ERR_INTERNAL, "\"c\"");
        refused(qn_column_to_float64(&column, &error), QN_ERR_INTERNAL, "\"c\"");
        qn_column_dispose(&column);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rescale__multiplies_every_value),
        cmocka_unit_test(rescale__refuses_39_digits_and_changes_nothing),
        cmocka_unit_test(to_float64__exact_integers),
        cmocka_unit_test(to_float64__refuses_what_is_not_exact),
        cmocka_unit_test(to_text__is_exact),
        cmocka_unit_test(to_text__refuses_types_without_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
