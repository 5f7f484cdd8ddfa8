/* test_sql_rewrite.c: placeholders of every spelling, and everything in SQL that only looks like one. */
#include "db/sql.h"

#include "dialects.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct qn_rewritten rewrite(const struct qn_dialect *dialect, const char *sql)
{
    struct qn_rewritten result;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_sql_rewrite(dialect, sql, strlen(sql), true, &result, &err);
    if (status != QN_OK) {
        fail_msg("%s: %s", sql, err.message);
    }
    return result;
}

static void gives(const struct qn_dialect *dialect, const char *sql, const char *expected, size_t n)
{
    struct qn_rewritten result = rewrite(dialect, sql);
    assert_string_equal(qn_buffer_text(&result.sql), expected);
    assert_int_equal(result.n_placeholders, n);
    qn_rewritten_dispose(&result);
}

static void unchanged(const struct qn_dialect *dialect, const char *sql)
{
    struct qn_rewritten result = rewrite(dialect, sql);
    assert_string_equal(qn_buffer_text(&result.sql), sql);
    assert_int_equal(result.spelling, QN_SPELLING_NONE);
    assert_int_equal(result.n_placeholders, 0);
    qn_rewritten_dispose(&result);
}

static void refused(const struct qn_dialect *dialect, const char *sql, const char *message, int32_t position)
{
    struct qn_rewritten result;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_sql_rewrite(dialect, sql, strlen(sql), true, &result, &err), QN_ERR_QUERY);
    assert_non_null(strstr(err.message, message));
    assert_int_equal(err.position, position);
    assert_string_equal(err.sqlstate, "42601");
}

static void rewrite__numbers_question_marks(void **state)
{
    (void)state;
    gives(&dollar_dialect, "select ?, ? + ?", "select $1, $2 + $3", 3);
    gives(&numbered_dialect, "select ?, ?", "select ?1, ?2", 2);
    gives(&at_dialect, "select ?,?", "select @p1,@p2", 2);
    gives(&dollar_dialect, "?", "$1", 1);
}

static void rewrite__gives_a_repeated_name_one_number(void **state)
{
    (void)state;
    struct qn_rewritten result = rewrite(&dollar_dialect, "select :a, :b_2, :a where :B_2 = :n\xC3\xA9");
    assert_string_equal(qn_buffer_text(&result.sql), "select $1, $2, $1 where $3 = $4");
    assert_int_equal(result.spelling, QN_SPELLING_NAMED);
    assert_int_equal(result.n_placeholders, 4);
    assert_string_equal(result.names[0], "a");
    assert_string_equal(result.names[1], "b_2");
    assert_string_equal(result.names[2], "B_2");
    assert_string_equal(result.names[3], "n\xC3\xA9");
    qn_rewritten_dispose(&result);
}

static void rewrite__counts_native_placeholders_by_the_highest(void **state)
{
    (void)state;
    gives(&dollar_dialect, "select $2, $1, $2", "select $2, $1, $2", 2);
    gives(&numbered_dialect, "select ?3, ?1", "select ?3, ?1", 3);
    gives(&at_dialect, "select @p1, @P2, @@rowcount, @page, @p3x", "select @p1, @P2, @@rowcount, @page, @p3x", 2);
}

static void rewrite__leaves_literals_and_comments_alone(void **state)
{
    (void)state;
    unchanged(&dollar_dialect, "select '?:a$1', 'it''s ?', \"a?b\"\"?\" -- ? :a $1\n/* ? /* :a */ $1 */");
    unchanged(&dollar_dialect, "select E'a\\'? :b', e'\\\\', 'x'");
    unchanged(&dollar_dialect, "select $$ ? :a $1 $$, $tag$ $$ ? $tag $tag$, $\xC3\xA9$?$\xC3\xA9$");
    unchanged(&numbered_dialect, "select `?`, [?:a], \"?\", '?' -- ?");
    unchanged(&at_dialect, "select [a]]?], 'x?' /* ? */");
    gives(&dollar_dialect, "select '\\', ?", "select '\\', $1", 1);   /* no escape in a plain literal */
    gives(&numbered_dialect, "/* /* */ ?", "/* /* */ ?1", 1);         /* comments do not nest */
    gives(&dollar_dialect, "/* /* */ ? */ ?", "/* /* */ ? */ $1", 1); /* here they do */
    gives(&dollar_dialect, "select nE'\\' || ? || 'x'", "select nE'\\' || $1 || 'x'", 1); /* nE is a word */
}

static void rewrite__knows_casts_assignments_and_slices(void **state)
{
    (void)state;
    unchanged(&dollar_dialect, "select a::int, f(x := 1), a[1:2], a[lo:hi], '1' ::text");
    gives(&dollar_dialect, "select :a::int, x::text = :b", "select $1::int, x::text = $2", 2);
    gives(&dollar_dialect, "select a[1:2], :b", "select a[1:2], $1", 1);
    unchanged(&dollar_dialect, "select x$1, \xC3\xA9$1 from t");
}

static void rewrite__knows_question_operators(void **state)
{
    (void)state;
    gives(&dollar_dialect, "j ?| a and j ?& b and x = ?", "j ?| a and j ?& b and x = $1", 1);
    gives(&dollar_dialect, "j ?? 'k' and x = ?", "j ? 'k' and x = $1", 1);
    gives(&dollar_dialect, "j ??| a and x = ?", "j ?| a and x = $1", 1);
    gives(&dollar_dialect, "j @? '$.a' and j @> '{}' and x = ?", "j @? '$.a' and j @> '{}' and x = $1", 1);
    gives(&dollar_dialect, "j ? 'k' and x = $1", "j ? 'k' and x = $1", 1);
    gives(&dollar_dialect, "select ?||'x'", "select $1||'x'", 1);
    gives(&numbered_dialect, "select ?|?", "select ?1|?2", 2);
}

static void rewrite__looks_at_question_marks_only_where_asked(void **state)
{
    (void)state;
    const char *sql = "select j ? 'a', j ?? 'b', '?"
                      "?'";
    struct qn_rewritten result;
    assert_int_equal(qn_sql_rewrite(&dollar_dialect, sql, strlen(sql), false, &result, NULL), QN_OK);
    assert_string_equal(qn_buffer_text(&result.sql), sql);
    assert_int_equal(result.n_placeholders, 0);
    qn_rewritten_dispose(&result);
}

static void rewrite__keeps_numbers_apart(void **state)
{
    (void)state;
    gives(&dollar_dialect, "select ?5, ?and", "select $1 5, $2 and", 2);
    gives(&dollar_dialect, "select 1 limit?", "select 1 limit $1", 1);
    gives(&at_dialect, "select x?and", "select x @p1 and", 1);
    gives(&numbered_dialect, "x=?and y=?", "x=?1 and y=?2", 2);
}

static void rewrite__refuses_mixed_spellings(void **state)
{
    (void)state;
    refused(&dollar_dialect, "select ?, :a", "mixes ? and :name", 8);
    refused(&dollar_dialect, "select \xC3\xA9, :a, $1", "mixes :name and $1", 11);
    refused(&numbered_dialect, "select ?, ?1", "mixes ? and ?1", 8);
}

static void rewrite__refuses_what_is_not_closed(void **state)
{
    (void)state;
    refused(&dollar_dialect, "select 'abc", "a string literal is not closed", 8);
    refused(&dollar_dialect, "select E'abc\\'", "a string literal is not closed", 8);
    refused(&dollar_dialect, "select \"abc", "a quoted identifier is not closed", 8);
    refused(&numbered_dialect, "select [abc", "a quoted identifier is not closed", 8);
    refused(&dollar_dialect, "x /* /* */", "a comment is not closed", 3);
    refused(&dollar_dialect, "\xC3\xA9\xC3\xA9 $a$ $b$", "a dollar-quoted string is not closed", 4);
    refused(&dollar_dialect, "'", "a string literal is not closed", 1);
    refused(&dollar_dialect, "/*", "a comment is not closed", 1);
}

static void rewrite__refuses_too_many_placeholders(void **state)
{
    (void)state;
    size_t n = QN_SQL_MAX_PLACEHOLDERS + 1;
    char *sql = malloc(2 * n + 1);
    assert_non_null(sql);
    for (size_t i = 0; i < n; i++) {
        memcpy(sql + 2 * i, "?,", 2);
    }
    struct qn_rewritten result;
    assert_int_equal(qn_sql_rewrite(&dollar_dialect, sql, 2 * n, true, &result, NULL), QN_ERR_QUERY);
    assert_int_equal(qn_sql_rewrite(&dollar_dialect, sql, 2 * n - 2, true, &result, NULL), QN_OK);
    assert_int_equal(result.n_placeholders, QN_SQL_MAX_PLACEHOLDERS);
    qn_rewritten_dispose(&result);
    free(sql);
    refused(&dollar_dialect, "select $65536", "more than 65535", 8);
    refused(&dollar_dialect, "select $99999999999999999999", "more than 65535", 8);
}

/* 60,000 different names: a list searched from its start for each would take 1.8 billion comparisons. */
static void rewrite__takes_linear_time_over_names(void **state)
{
    (void)state;
    size_t n = 60000, used = 0;
    char *sql = malloc(n * 16);
    assert_non_null(sql);
    for (size_t i = 0; i < n; i++) {
        used += (size_t)sprintf(sql + used, ":name%zu,", i);
    }
    struct qn_rewritten result;
    assert_int_equal(qn_sql_rewrite(&dollar_dialect, sql, used, true, &result, NULL), QN_OK);
    assert_int_equal(result.n_placeholders, n);
    assert_string_equal(result.names[n - 1], "name59999");
    qn_rewritten_dispose(&result);
    free(sql);
}

static void position_of(const struct qn_dialect *dialect, const char *sql, const char *found_in_rewritten,
                        int32_t expected)
{
    struct qn_rewritten result = rewrite(dialect, sql);
    const char *text = qn_buffer_text(&result.sql);
    const char *found = strstr(text, found_in_rewritten);
    assert_non_null(found);
    int32_t position = 1;
    for (const char *c = text; c < found; c++) {
        position += ((unsigned char)*c & 0xC0) != 0x80;
    }
    assert_int_equal(qn_sql_position(sql, text, position), expected);
    qn_rewritten_dispose(&result);
}

static void position__leads_back_to_the_given_text(void **state)
{
    (void)state;
    position_of(&dollar_dialect, "select ?, ?, wrong", "wrong", 14);
    position_of(&dollar_dialect, "select :long_name, wrong", "wrong", 20);
    position_of(&dollar_dialect, "select '\xC3\xA9', :\xC3\xA9, wrong", "wrong", 17);
    position_of(&dollar_dialect, "select ?and, wrong", "wrong", 14);
    position_of(&dollar_dialect, "select 1 limit? wrong", "wrong", 17);
    position_of(&dollar_dialect, "j ?? ? wrong", "wrong", 8);
    position_of(&numbered_dialect, "select ?, ?, wrong", "wrong", 14);
    position_of(&numbered_dialect, "select '?1', ?, wrong", "wrong", 17);
    position_of(&at_dialect, "select ?, ? wrong", "wrong", 13);
    position_of(&dollar_dialect, "select :long_name, :b", "$2", 20);
    assert_int_equal(qn_sql_position("select ?", "select $1", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewrite__numbers_question_marks),
        cmocka_unit_test(rewrite__gives_a_repeated_name_one_number),
        cmocka_unit_test(rewrite__counts_native_placeholders_by_the_highest),
        cmocka_unit_test(rewrite__leaves_literals_and_comments_alone),
        cmocka_unit_test(rewrite__knows_casts_assignments_and_slices),
        cmocka_unit_test(rewrite__knows_question_operators),
        cmocka_unit_test(rewrite__looks_at_question_marks_only_where_asked),
        cmocka_unit_test(rewrite__keeps_numbers_apart),
        cmocka_unit_test(rewrite__refuses_mixed_spellings),
        cmocka_unit_test(rewrite__refuses_what_is_not_closed),
        cmocka_unit_test(rewrite__refuses_too_many_placeholders),
        cmocka_unit_test(rewrite__takes_linear_time_over_names),
        cmocka_unit_test(position__leads_back_to_the_given_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
