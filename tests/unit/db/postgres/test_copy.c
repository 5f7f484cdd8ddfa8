/*
 * test_copy.c: what COPY reads from the server, without a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "db/postgres/copy.h"
#include "db/postgres/lookup.h"

static void copy_context__finds_row_and_column(void **state)
{
    (void)state;
    char column[16];
    int64_t row = -1;
    assert_true(qn_pg_copy_context("COPY t, line 17, column x: \"abc\"", "t", &row, column, sizeof column));
    assert_int_equal(row, 16);
    assert_string_equal(column, "x");
    assert_true(qn_pg_copy_context("COPY a, line 3, Zeile 12\nSQL function", "a, line 3", &row, column, sizeof column));
    assert_int_equal(row, 11);
    assert_string_equal(column, "");
    const char *const bad[] = { "",
                                "COPY",
                                "COPY t",
                                "COPY t,",
                                "COPY t, line",
                                "COPY t, line ",
                                "COPY t, line x",
                                "COPY tt, line 1",
                                "COPY t, line 0",
                                "COPY t, line 99999999999999999999999" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(qn_pg_copy_context(bad[i], "t", &row, column, sizeof column));
    }
}

static void lookup__parses_a_row(void **state)
{
    (void)state;
    struct qn_pg_lookup_row row;
    static const char good[] = "\0\2\0\0\0\1x\377\377\377\377";
    assert_true(qn_pg_lookup_parse(good, sizeof good - 1, &row));
    assert_int_equal(row.n_fields, 2);
    assert_int_equal(row.size[0], 1);
    assert_memory_equal(row.text[0], "x", 1);
    assert_null(row.text[1]);
    for (size_t size = 0; size < sizeof good - 1; size++) {
        assert_false(qn_pg_lookup_parse(good, size, &row));
    }
    assert_false(qn_pg_lookup_parse(good, sizeof good, &row)); /* a byte too many */
    assert_false(qn_pg_lookup_parse("\0\1\177\377\377\377x", 7, &row));
    assert_false(qn_pg_lookup_parse("\0\1\377\377\377\376", 6, &row));
    assert_false(qn_pg_lookup_parse("\0\11", 2, &row));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_context__finds_row_and_column),
        cmocka_unit_test(lookup__parses_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
