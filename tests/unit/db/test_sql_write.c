/* test_sql_write.c: quoted names and the statements that the engine writes. */
#include "arrow/type.h"
#include "base/memory.h"
#include "db/sql.h"

#include "dialects.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void table_is(const struct qn_dialect *dialect, const char *schema, const char *table, const char *expected)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    assert_int_equal(qn_sql_table(dialect, schema, table, &sql, NULL), QN_OK);
    assert_string_equal(qn_buffer_text(&sql), expected);
}

static void table_refused(const char *schema, const char *table)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_sql_table(&dollar_dialect, schema, table, &sql, &err), QN_ERR_ARGUMENT);
    assert_string_not_equal(err.message, "");
}

static void table__is_split_at_unquoted_dots(void **state)
{
    (void)state;
    table_is(&dollar_dialect, NULL, "Flights", "\"Flights\"");
    table_is(&dollar_dialect, NULL, "a.B", "\"a\".\"B\"");
    table_is(&dollar_dialect, NULL, "d.s.t", "\"d\".\"s\".\"t\"");
    table_is(&dollar_dialect, NULL, "s.\"t.u\"", "\"s\".\"t.u\"");
    table_is(&dollar_dialect, NULL, "\"a\"\"b\"", "\"a\"\"b\"");
    table_is(&dollar_dialect, NULL, "my\"t", "\"my\"\"t\"");
    table_is(&dollar_dialect, NULL, "t\xC3\xA4g lich", "\"t\xC3\xA4g lich\"");
    table_is(&at_dialect, NULL, "dbo.[a]]b]", "[dbo].[a]]b]");
    table_is(&numbered_dialect, NULL, "`a.b`.[c]", "\"a.b\".\"c\"");
}

static void table__with_a_schema_is_taken_whole(void **state)
{
    (void)state;
    table_is(&dollar_dialect, "s", "a.b", "\"s\".\"a.b\"");
    table_is(&dollar_dialect, "s.x", "\"t\"", "\"s.x\".\"\"\"t\"\"\"");
}

static void table__refuses_empty_and_open_parts(void **state)
{
    (void)state;
    table_refused(NULL, "");
    table_refused(NULL, ".t");
    table_refused(NULL, "s.");
    table_refused(NULL, "a..b");
    table_refused(NULL, "\"\"");
    table_refused(NULL, "\"abc");
    table_refused(NULL, "\"a\"b");
    table_refused(NULL, "a.b.c.d");
    table_refused("", "t");
    table_refused("s", "");
}

static void split_table__unquotes(void **state)
{
    (void)state;
    char *schema = NULL, *table = NULL;
    assert_int_equal(qn_sql_split_table(&dollar_dialect, "\"s.1\".t", &schema, &table, NULL), QN_OK);
    assert_string_equal(schema, "s.1");
    assert_string_equal(table, "t");
    qn_free(schema);
    qn_free(table);
    assert_int_equal(qn_sql_split_table(&dollar_dialect, "t", &schema, &table, NULL), QN_OK);
    assert_null(schema);
    assert_string_equal(table, "t");
    qn_free(table);
    assert_int_equal(qn_sql_split_table(&dollar_dialect, "d.s.t", &schema, &table, NULL), QN_ERR_UNSUPPORTED);
}

static struct ArrowSchema two_columns(const char *first, const char *second, enum qn_type_id type)
{
    struct ArrowSchema rows;
    struct qn_type int64 = qn_type_of(QN_TYPE_INT64), other = qn_type_of(type);
    assert_int_equal(qn_schema_struct(&rows, 2, NULL), QN_OK);
    assert_int_equal(qn_schema_set(&rows, 0, first, &int64, NULL), QN_OK);
    assert_int_equal(qn_schema_set(&rows, 1, second, &other, NULL), QN_OK);
    return rows;
}

static void create_table__has_types_and_key(void **state)
{
    (void)state;
    struct ArrowSchema rows = two_columns("i\"d", "na me", QN_TYPE_STRING);
    const char *key[] = { "i\"d" };
    qn_auto_buffer sql = QN_BUFFER_INIT;
    assert_int_equal(qn_sql_create_table(&dollar_dialect, NULL, "s.t", &rows, NULL, 0, &sql, NULL), QN_OK);
    assert_string_equal(qn_buffer_text(&sql), "create table \"s\".\"t\" (\"i\"\"d\" bigint, \"na me\" text)");
    qn_buffer_reset(&sql);
    assert_int_equal(qn_sql_create_table(&dollar_dialect, NULL, "t", &rows, key, 1, &sql, NULL), QN_OK);
    assert_string_equal(qn_buffer_text(&sql),
                        "create table \"t\" (\"i\"\"d\" bigint, \"na me\" text, primary key (\"i\"\"d\"))");
    qn_schema_release(&rows);
}

static void create_table__names_the_column_without_a_type(void **state)
{
    (void)state;
    struct ArrowSchema rows = two_columns("id", "when", QN_TYPE_DATE32);
    qn_auto_buffer sql = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_sql_create_table(&dollar_dialect, NULL, "t", &rows, NULL, 0, &sql, &err), QN_ERR_UNSUPPORTED);
    assert_string_equal(err.column_name, "when");
    assert_non_null(strstr(err.message, "\"when\""));
    const char *key[] = { "nope" };
    qn_buffer_reset(&sql);
    assert_int_equal(qn_sql_create_table(&dollar_dialect, NULL, "t", &rows, key, 1, &sql, &err), QN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "nope"));
    qn_schema_release(&rows);
}

static void conflict_is(enum qn_ingest_mode mode, const char *const *key, size_t n_key, const char *expected)
{
    struct ArrowSchema rows = two_columns("id", "v\"", QN_TYPE_STRING);
    struct qn_driver_ingest ingest = { .mode = mode, .key = key, .n_key = n_key, .rows_schema = &rows };
    qn_auto_buffer sql = QN_BUFFER_INIT;
    assert_int_equal(qn_sql_on_conflict(&dollar_dialect, &ingest, &sql, NULL), QN_OK);
    assert_string_equal(qn_buffer_text(&sql), expected);
    qn_schema_release(&rows);
}

static void on_conflict__updates_what_is_not_the_key(void **state)
{
    (void)state;
    const char *one[] = { "id" };
    const char *both[] = { "id", "v\"" };
    conflict_is(QN_INGEST_UPSERT, one, 1, " on conflict (\"id\") do update set \"v\"\"\" = excluded.\"v\"\"\"");
    conflict_is(QN_INGEST_IGNORE, one, 1, " on conflict (\"id\") do nothing");
    conflict_is(QN_INGEST_UPSERT, both, 2, " on conflict (\"id\", \"v\"\"\") do nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table__is_split_at_unquoted_dots),
        cmocka_unit_test(table__with_a_schema_is_taken_whole),
        cmocka_unit_test(table__refuses_empty_and_open_parts),
        cmocka_unit_test(split_table__unquotes),
        cmocka_unit_test(create_table__has_types_and_key),
        cmocka_unit_test(create_table__names_the_column_without_a_type),
        cmocka_unit_test(on_conflict__updates_what_is_not_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
