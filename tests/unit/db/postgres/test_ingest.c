/*
 * test_ingest.c: bulk writes into a real server, looked at through SQL that turns values into text.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "server.h"

#include <qanat/qanat.h>

static const char *uri;

static int open_server(void **state)
{
    struct qn_pg *pg = server_open(uri);
    server_run(pg, "create schema if not exists qanat_test_ingest");
    server_run(pg, "set search_path = qanat_test_ingest; set client_min_messages = warning");
    *state = pg;
    return 0;
}

static int close_server(void **state)
{
    struct qn_pg *pg = *state;
    if (pg->broken) {
        qn_pg_close(pg);
        pg = server_open(uri);
    }
    server_run(pg, "rollback; drop schema qanat_test_ingest cascade");
    qn_pg_close(pg);
    return 0;
}

/* Ingest in a transaction of its own, as the engine does it. */
static enum qn_status ingest(struct qn_pg *pg, const char *table, enum qn_ingest_mode mode, const char *const *key,
                             size_t n_key, struct ArrowArrayStream *rows, int64_t *rows_out, struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    assert_int_equal(qn_stream_schema(rows, &schema, err), QN_OK);
    struct qn_driver_ingest call = {
        .struct_size = sizeof call, .table = table, .mode = mode, .key = key, .n_key = n_key, .rows_schema = &schema
    };
    server_run(pg, "begin");
    enum qn_status status = qn_pg_ingest(pg, &call, rows, rows_out, err);
    if (!pg->broken) {
        assert_int_equal(pg->ready_expected, 0);
        server_run(pg, status == QN_OK ? "commit" : "rollback");
    }
    qn_stream_release(rows);
    return status;
}

static void expect_ok(enum qn_status status, const struct qn_error *err)
{
    if (status != QN_OK) {
        fail_msg("%s (%s)", err->message, err->detail);
    }
}

/* ---- append ---- */

static void fill_all(struct qn_batch *batch, int64_t row, void *context)
{
    (void)context;
    struct qn_column *c = batch->columns;
    if (row == 1) {
        for (int64_t i = 0; i < batch->n_columns; i++) {
            qn_column_put_null(&c[i]);
        }
        return;
    }
    qn_column_put_bool(&c[0], row == 0);
    qn_column_put_int64(&c[1], row == 0 ? -32768 : 32767);
    qn_column_put_int64(&c[2], row == 0 ? INT64_MIN : INT64_MAX);
    qn_column_put_float64(&c[3], row == 0 ? 0.1 : -(double)INFINITY);
    qn_column_put_decimal128(&c[4], row == 0 ? 1234567 : -1);
    if (row == 0) {
        qn_column_put_bytes(&c[5], "tsch\xc3\xbc\xc3\x9f, \"x\"\\N\t", 16);
    } else {
        qn_column_put_bytes(&c[5], "", 0);
    }
    qn_column_put_bytes(&c[6], "\x00\xff\x41", 3);
    qn_column_put_int32(&c[7], row == 0 ? -1 : 20000);
    qn_column_put_int64(&c[8], row == 0 ? -1 : INT64_C(1700000000123456));
    qn_column_put_int64(&c[9], row == 0 ? 0 : INT64_C(1700000000123456));
    qn_column_put_int64(&c[10], row == 0 ? 0 : INT64_C(86399999999));
    qn_column_put_bytes(&c[11], "00112233-4455-6677-8899-aabbccddeeff", 36);
    qn_column_put_bytes(&c[12], "{\"a\": [1, null]}", 16);
}

static void ingest__every_type_arrives(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table a (b bool, s int2, i int8, f float8, n numeric(12,3), t text, y bytea, d date, "
                   "ts timestamp, tz timestamptz, tm time, u uuid, j jsonb)");
    const struct made_column columns[] = {
        { "b", qn_type_of(QN_TYPE_BOOL) },
        { "s", qn_type_of(QN_TYPE_INT64) },
        { "i", qn_type_of(QN_TYPE_INT64) },
        { "f", qn_type_of(QN_TYPE_FLOAT64) },
        { "n", qn_type_decimal(20, 3) },
        { "t", qn_type_of(QN_TYPE_STRING_VIEW) },
        { "y", qn_type_of(QN_TYPE_BINARY) },
        { "d", qn_type_of(QN_TYPE_DATE32) },
        { "ts", qn_type_timestamp(QN_UNIT_MICRO, NULL) },
        { "tz", qn_type_timestamp(QN_UNIT_MICRO, "UTC") },
        { "tm", (struct qn_type){ .id = QN_TYPE_TIME64, .unit = QN_UNIT_MICRO } },
        { "u", qn_type_of(QN_TYPE_STRING) },
        { "j", qn_type_of(QN_TYPE_LARGE_STRING) },
    };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 13, 1, 3, fill_all, NULL, &rows);
    expect_ok(ingest(pg, "a", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), &err);
    assert_int_equal(written, 3);
    server_run(pg, "set timezone = 'UTC'; set datestyle = 'ISO'; set bytea_output = 'hex'");
    server_expect(
        pg, "select b::text, s::text, i::text, f::text, n::text, t, y::text, d::text from a",
        "true|-32768|-9223372036854775808|0.1|1234.567|tsch\xc3\xbc\xc3\x9f, \"x\"\\N\t|\\x00ff41|1969-12-31\n"
        "<null>|<null>|<null>|<null>|<null>|<null>|<null>|<null>\n"
        "false|32767|9223372036854775807|-Infinity|-0.001||\\x00ff41|2024-10-04");
    server_expect(pg, "select ts::text, tz::text, tm::text, u::text, j::text from a",
                  "1969-12-31 23:59:59.999999|1970-01-01 00:00:00+00|00:00:00|00112233-4455-6677-8899-aabbccddeeff|"
                  "{\"a\": [1, null]}\n"
                  "<null>|<null>|<null>|<null>|<null>\n"
                  "2023-11-14 22:13:20.123456|2023-11-14 22:13:20.123456+00|23:59:59.999999|"
                  "00112233-4455-6677-8899-aabbccddeeff|{\"a\": [1, null]}");
}

static void fill_mixed(struct qn_batch *batch, int64_t row, void *context)
{
    static const char filler[70000] = { 0 };
    struct qn_column *c = batch->columns;
    (void)context;
    qn_column_put_int64(&c[0], row);
    char text[100];
    size_t size = (size_t)(row % 61);
    memset(text, 'a' + (int)(row % 26), sizeof text);
    if (row % 7 == 3) {
        qn_column_put_null(&c[1]);
    } else if (row % 997 == 5) {
        char *long_text = malloc(sizeof filler);
        assert_non_null(long_text);
        memset(long_text, 'z', sizeof filler);
        qn_column_put_bytes(&c[1], long_text, sizeof filler);
        free(long_text);
    } else {
        qn_column_put_bytes(&c[1], text, size);
    }
    if (row % 3 == 0) {
        qn_column_put_null(&c[2]);
    } else {
        qn_column_put_int32(&c[2], (int32_t)row);
    }
    qn_column_put_decimal128(&c[3], (qn_int128)row * row);
}

static void ingest__rows_of_any_length_arrive_whole(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table m (i int8, t text, k int4, n numeric)");
    const struct made_column columns[] = { { "i", qn_type_of(QN_TYPE_INT64) },
                                           { "t", qn_type_of(QN_TYPE_STRING_VIEW) },
                                           { "k", qn_type_of(QN_TYPE_INT32) },
                                           { "n", qn_type_decimal(38, 4) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 4, 7, 3001, fill_mixed, NULL, &rows);
    expect_ok(ingest(pg, "m", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), &err);
    assert_int_equal(written, 21007);
    server_expect(pg,
                  "select count(*) from m where t is distinct from case when i % 7 = 3 then null "
                  "when i % 997 = 5 then repeat('z', 70000) else repeat(chr(97 + (i % 26)::int), (i % 61)::int) end "
                  "or k is distinct from case when i % 3 = 0 then null else i end or n <> i * i / 10000.0",
                  "0");
    server_expect(pg, "select count(distinct i), min(i), max(i) from m", "21007|0|21006");
}

static void fill_one(struct qn_batch *batch, int64_t row, void *context)
{
    const int64_t *misfit = context;
    qn_column_put_int64(&batch->columns[0], row == *misfit ? 70000 : row % 100);
}

static void ingest__a_value_that_does_not_fit_names_its_row_and_nothing_is_kept(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table q (qty int2)");
    const struct made_column columns[] = { { "qty", qn_type_of(QN_TYPE_INT64) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1, misfit = 1234567;
    (void)made_stream(columns, 1, 20, 65536, fill_one, &misfit, &rows);
    assert_int_equal(ingest(pg, "q", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_DATA);
    assert_string_equal(err.message, "row 1234567, column \"qty\": 70000 does not fit smallint");
    assert_int_equal(err.row, 1234567);
    assert_string_equal(err.column_name, "qty");
    assert_int_equal(written, -1);
    server_expect(pg, "select count(*) from q", "0");
}

static void fill_twin(struct qn_batch *batch, int64_t row, void *context)
{
    const int64_t *twin = context;
    qn_column_put_int64(&batch->columns[0], row == *twin ? 17 : row);
}

static void ingest__a_unique_violation_names_constraint_table_and_row(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table un (id int8 constraint only_once unique)");
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1, twin = 300001;
    (void)made_stream(columns, 1, 10, 65536, fill_twin, &twin, &rows);
    assert_int_equal(ingest(pg, "un", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_CONSTRAINT);
    assert_string_equal(err.sqlstate, "23505");
    assert_string_equal(err.constraint_name, "only_once");
    assert_string_equal(err.table_name, "un");
    assert_int_equal(err.row, 300001);
    server_expect(pg, "select count(*) from un", "0");
}

static void ingest__a_null_in_a_not_null_column_names_the_column(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table nn (i int8, t text, k int4 not null, n numeric)");
    const struct made_column columns[] = { { "i", qn_type_of(QN_TYPE_INT64) },
                                           { "t", qn_type_of(QN_TYPE_STRING_VIEW) },
                                           { "k", qn_type_of(QN_TYPE_INT32) },
                                           { "n", qn_type_decimal(38, 4) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 4, 1, 10, fill_mixed, NULL, &rows);
    assert_int_equal(ingest(pg, "nn", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_CONSTRAINT);
    assert_string_equal(err.sqlstate, "23502");
    assert_string_equal(err.column_name, "k");
    assert_int_equal(err.row, 0);
}

struct killer {
    struct qn_pg *other;
    char sql[80];
};

static void kill_backend(int64_t batch, void *context)
{
    const struct killer *killer = context;
    if (batch == 3) {
        server_run(killer->other, killer->sql);
    }
}

static enum qn_status take_number(void *context, const struct qn_pg_lookup_row *row, struct qn_error *err)
{
    (void)err;
    char text[24] = "";
    assert_true(row->size[0] < sizeof text);
    memcpy(text, row->text[0], row->size[0]);
    *(long *)context = strtol(text, NULL, 10);
    return QN_OK;
}

static void fill_id(struct qn_batch *batch, int64_t row, void *context)
{
    (void)context;
    qn_column_put_int64(&batch->columns[0], row);
}

static void ingest__a_server_process_killed_in_mid_copy_is_a_connection_error(void **state)
{
    struct qn_pg *pg = *state;
    struct qn_error err = QN_ERROR_INIT;
    long process = 0;
    server_run(pg, "create table k (id int8)");
    assert_int_equal(qn_pg_lookup(pg, "select pg_backend_pid()", take_number, &process, &err), QN_OK);
    struct killer killer = { .other = server_open(uri) };
    (void)snprintf(killer.sql, sizeof killer.sql, "select pg_terminate_backend(%ld, 5000)", process);
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) } };
    struct ArrowArrayStream rows;
    int64_t written = -1;
    struct made_rows *made = made_stream(columns, 1, 40, 65536, fill_id, &killer, &rows);
    made->before = kill_backend;
    assert_int_equal(ingest(pg, "k", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_CONNECTION);
    assert_string_equal(err.sqlstate, "57P01");
    assert_true(pg->broken);
    assert_int_equal(written, -1);
    server_expect(killer.other, "select count(*) from qanat_test_ingest.k", "0");
    qn_pg_close(killer.other);
}

static void ingest__a_source_that_fails_leaves_the_connection_usable(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table sf (id int8)");
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    struct made_rows *made = made_stream(columns, 1, 40, 65536, fill_id, NULL, &rows);
    made->fail_at = 5;
    assert_int_equal(ingest(pg, "sf", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_IO);
    assert_string_equal(err.message, "the source has run dry");
    server_expect(pg, "select count(*) from sf", "0");
}

static int interrupts_left;
static int interrupt(void *context)
{
    (void)context;
    return interrupts_left-- <= 0;
}

static void ingest__ctrl_c_in_mid_copy_leaves_the_connection_usable(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table cc (id int8)");
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 1, 4000, 65536, fill_id, NULL, &rows);
    interrupts_left = 5;
    qn_interrupt_set(interrupt, NULL);
    qn_auto_schema schema = { .release = NULL };
    assert_int_equal(qn_stream_schema(&rows, &schema, &err), QN_OK);
    struct qn_driver_ingest call = { .struct_size = sizeof call, .table = "cc", .rows_schema = &schema };
    interrupts_left = 1000000;
    server_run(pg, "begin");
    interrupts_left = 5;
    enum qn_status status = qn_pg_ingest(pg, &call, &rows, &written, &err);
    qn_interrupt_set(NULL, NULL);
    qn_stream_release(&rows);
    assert_int_equal(status, QN_ERR_CANCELLED);
    assert_false(pg->broken);
    server_run(pg, "rollback");
    server_expect(pg, "select count(*) from cc", "0");
}

static void ingest__a_missing_column_is_named_and_the_transaction_goes_on(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table mc (id int8, \"Name\" text)");
    const struct made_column columns[] = { { "name", qn_type_of(QN_TYPE_STRING) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 1, 0, 0, NULL, NULL, &rows);
    assert_int_equal(ingest(pg, "mc", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_QUERY);
    assert_string_equal(err.message, "table \"mc\" has no column \"name\"");
    assert_string_equal(err.sqlstate, "42703");
    assert_string_equal(err.table_name, "mc");
    assert_string_equal(err.column_name, "name");
    assert_string_equal(err.hint, "it has \"id\", \"Name\"; the case of letters counts");
    (void)made_stream(columns, 1, 0, 0, NULL, NULL, &rows);
    assert_int_equal(ingest(pg, "nowhere", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42P01");
}

static void ingest__no_rows_and_no_columns(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table nr (id int8)");
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 1, 0, 0, NULL, NULL, &rows);
    expect_ok(ingest(pg, "nr", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), &err);
    assert_int_equal(written, 0);
    (void)made_stream(columns, 1, 3, 0, fill_id, NULL, &rows);
    expect_ok(ingest(pg, "nr", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), &err);
    assert_int_equal(written, 0);
    (void)made_stream(columns, 0, 0, 0, NULL, NULL, &rows);
    assert_int_equal(ingest(pg, "nr", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_ARGUMENT);
}

static void fill_names(struct qn_batch *batch, int64_t row, void *context)
{
    (void)context;
    qn_column_put_int64(&batch->columns[0], row);
    qn_column_put_bytes(&batch->columns[1], row == 0 ? "a" : "b", 1);
}

static void ingest__names_are_quoted(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table \"Se\"\"lect, line 7\" (\"we\"\"ird\" int8 primary key, \"Gr\xc3\xb6\xc3\x9f"
                   "e\" text)");
    const struct made_column columns[] = { { "we\"ird", qn_type_of(QN_TYPE_INT64) },
                                           { "Gr\xc3\xb6\xc3\x9f"
                                             "e",
                                             qn_type_of(QN_TYPE_STRING) } };
    static const char *const key[] = { "we\"ird" };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 2, 1, 2, fill_names, NULL, &rows);
    expect_ok(ingest(pg, "Se\"lect, line 7", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), &err);
    (void)made_stream(columns, 2, 1, 2, fill_names, NULL, &rows);
    expect_ok(ingest(pg, "Se\"lect, line 7", QN_INGEST_UPSERT, key, 1, &rows, &written, &err), &err);
    (void)made_stream(columns, 2, 1, 2, fill_names, NULL, &rows);
    assert_int_equal(ingest(pg, "Se\"lect, line 7", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err),
                     QN_ERR_CONSTRAINT);
    assert_int_equal(err.row, 0);
    server_expect(pg,
                  "select \"we\"\"ird\", \"Gr\xc3\xb6\xc3\x9f"
                  "e\" from \"Se\"\"lect, line 7\"",
                  "0|a\n1|b");
}

/* ---- types that go through the staging table ---- */

static void fill_texts(struct qn_batch *batch, int64_t row, void *context)
{
    const char *const *texts = context;
    for (int64_t i = 0; i < batch->n_columns; i++) {
        const char *text = row == 0 ? texts[i] : NULL;
        if (text == NULL) {
            qn_column_put_null(&batch->columns[i]);
        } else {
            qn_column_put_bytes(&batch->columns[i], text, strlen(text));
        }
    }
}

static void ingest__text_goes_into_types_that_are_written_as_text(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create type mood as enum ('sad', 'ok'); create domain short as varchar(5) check (value <> 'bad'); "
                   "create table st (a inet, m mood, x xml, b bit(3), r int4range, l int4[], s short, z timetz)");
    const char *const names[] = { "a", "m", "x", "b", "r", "l", "s", "z" };
    const char *const texts[] = { "10.0.0.1/8", "ok",   "<a>\xc3\xbc</a>", "101", "[1,5)",
                                  "{1,NULL,3}", "good", "10:00:00+02" };
    struct made_column columns[8];
    for (int i = 0; i < 8; i++) {
        columns[i] = (struct made_column){ names[i], qn_type_of(QN_TYPE_STRING_VIEW) };
    }
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 8, 1, 2, fill_texts, (void *)(uintptr_t)texts, &rows);
    expect_ok(ingest(pg, "st", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), &err);
    assert_int_equal(written, 2);
    server_expect(pg, "select a::text, m::text, x::text, b::text, r::text, l::text, s::text, z::text from st",
                  "10.0.0.1/8|ok|<a>\xc3\xbc</a>|101|[1,5)|{1,NULL,3}|good|10:00:00+02\n"
                  "<null>|<null>|<null>|<null>|<null>|<null>|<null>|<null>");
    server_expect(pg, "select count(*) from pg_class where relnamespace = pg_my_temp_schema()", "0");
    const char *const too_long[] = { NULL, NULL, NULL, "10101", NULL, NULL, NULL, NULL };
    (void)made_stream(columns, 8, 1, 1, fill_texts, (void *)(uintptr_t)too_long, &rows);
    assert_int_equal(ingest(pg, "st", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_DATA);
    assert_string_equal(err.sqlstate, "22026");
    const char *const no_mood[] = { NULL, "angry", NULL, NULL, NULL, NULL, NULL, NULL };
    (void)made_stream(columns, 8, 1, 1, fill_texts, (void *)(uintptr_t)no_mood, &rows);
    assert_int_equal(ingest(pg, "st", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_DATA);
    assert_string_equal(err.sqlstate, "22P02");
}

static void ingest__text_of_numerics_and_intervals_is_never_rounded(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table nt (n numeric, p numeric(6,2), h numeric(6,-2), i interval)");
    const char *const names[] = { "n", "p", "h", "i" };
    struct made_column columns[4];
    for (int i = 0; i < 4; i++) {
        columns[i] = (struct made_column){ names[i], qn_type_of(QN_TYPE_STRING_VIEW) };
    }
    struct ArrowArrayStream rows;
    int64_t written = -1;
    struct qn_error err = QN_ERROR_INIT;
    const char *const texts[] = { "-1e-20", " +1.5000", "12.E2", "1 day 00:00:00.0000010" };
    (void)made_stream(columns, 4, 1, 2, fill_texts, (void *)(uintptr_t)texts, &rows);
    expect_ok(ingest(pg, "nt", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), &err);
    server_expect(pg, "select n::text, p::text, h::text, i::text from nt",
                  "-0.00000000000000000001|1.50|1200|1 day 00:00:00.000001\n<null>|<null>|<null>|<null>");
    static const char *const bad[][4] = {
        { "", NULL, NULL, NULL },      { "-", NULL, NULL, NULL },
        { "1e", NULL, NULL, NULL },    { ".", NULL, NULL, NULL },
        { "0x1F", NULL, NULL, NULL },  { "1e-99999999999999999999", NULL, NULL, NULL },
        { NULL, "1.005", NULL, NULL }, { NULL, "1005e-3", NULL, NULL },
        { NULL, NULL, "150", NULL },   { NULL, NULL, NULL, "0.1234567 s" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err = (struct qn_error)QN_ERROR_INIT;
        (void)made_stream(columns, 4, 1, 1, fill_texts, (void *)(uintptr_t)bad[i], &rows);
        assert_int_equal(ingest(pg, "nt", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_DATA);
        assert_int_equal(err.row, 0);
        assert_string_not_equal(err.column_name, "");
    }
    server_expect(pg, "select count(*) from nt", "2");
}

static void ingest__text_never_becomes_a_date_on_the_quiet(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table td (d date)");
    const struct made_column columns[] = { { "d", qn_type_of(QN_TYPE_STRING_VIEW) } };
    struct ArrowArrayStream rows;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    (void)made_stream(columns, 1, 0, 0, NULL, NULL, &rows);
    assert_int_equal(ingest(pg, "td", QN_INGEST_APPEND, NULL, 0, &rows, &written, &err), QN_ERR_DATA);
    assert_string_equal(err.message, "column \"d\": Utf8 does not go into date");
    assert_string_not_equal(err.hint, "");
}

/* ---- upsert and ignore ---- */

struct pairs {
    const int64_t *keys; /* INT64_MIN: null */
    int64_t value;
};

static void fill_pairs(struct qn_batch *batch, int64_t row, void *context)
{
    const struct pairs *pairs = context;
    if (pairs->keys[row] == INT64_MIN) {
        qn_column_put_null(&batch->columns[0]);
    } else {
        qn_column_put_int64(&batch->columns[0], pairs->keys[row]);
    }
    qn_column_put_int64(&batch->columns[1], pairs->value + row);
}

static enum qn_status put_pairs(struct qn_pg *pg, const char *table, enum qn_ingest_mode mode, const int64_t *keys,
                                int64_t n, int64_t value, int64_t *written, struct qn_error *err)
{
    static const char *const key[] = { "id" };
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) }, { "v", qn_type_of(QN_TYPE_INT64) } };
    struct pairs pairs = { .keys = keys, .value = value };
    struct ArrowArrayStream rows;
    (void)made_stream(columns, 2, 1, n, fill_pairs, &pairs, &rows);
    return ingest(pg, table, mode, key, 1, &rows, written, err);
}

static void ingest__upsert_inserts_and_updates(void **state)
{
    struct qn_pg *pg = *state;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    server_run(pg, "create table up (id int4 primary key, v int8, untouched text default 'x')");
    expect_ok(put_pairs(pg, "up", QN_INGEST_UPSERT, (const int64_t[]){ 1, 2 }, 2, 10, &written, &err), &err);
    assert_int_equal(written, 2);
    expect_ok(put_pairs(pg, "up", QN_INGEST_UPSERT, (const int64_t[]){ 2, 3 }, 2, 20, &written, &err), &err);
    assert_int_equal(written, 2);
    server_expect(pg, "select * from up order by 1", "1|10|x\n2|20|x\n3|21|x");
    expect_ok(put_pairs(pg, "up", QN_INGEST_IGNORE, (const int64_t[]){ 3, 4, 5 }, 3, 30, &written, &err), &err);
    assert_int_equal(written, 2);
    server_expect(pg, "select * from up order by 1", "1|10|x\n2|20|x\n3|21|x\n4|31|x\n5|32|x");
    server_expect(pg, "select count(*) from pg_class where relnamespace = pg_my_temp_schema()", "0");
}

static void ingest__a_key_twice_in_a_call_names_both_rows(void **state)
{
    struct qn_pg *pg = *state;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    server_run(pg, "create table tw (id int4 unique, v int8)");
    const enum qn_ingest_mode modes[] = { QN_INGEST_UPSERT, QN_INGEST_IGNORE };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(put_pairs(pg, "tw", modes[i], (const int64_t[]){ 9, 5, 7, 5, 9, 5 }, 6, 0, &written, &err),
                         QN_ERR_DATA);
        assert_string_equal(err.message, "rows 0 and 4 have the same key (\"id\")");
        assert_int_equal(err.row, 4);
        assert_string_equal(err.column_name, "id");
        server_expect(pg, "select count(*) from tw", "0");
    }
    /* null is no key: it never meets another */
    expect_ok(put_pairs(pg, "tw", QN_INGEST_IGNORE, (const int64_t[]){ INT64_MIN, 1, INT64_MIN }, 3, 0, &written, &err),
              &err);
    assert_int_equal(written, 3);
}

static void ingest__a_key_twice_is_refused_where_there_is_only_the_key(void **state)
{
    struct qn_pg *pg = *state;
    server_run(pg, "create table ko (id int8 primary key)");
    static const char *const key[] = { "id" };
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) } };
    const enum qn_ingest_mode modes[] = { QN_INGEST_UPSERT, QN_INGEST_IGNORE };
    for (int i = 0; i < 2; i++) {
        struct ArrowArrayStream rows;
        struct qn_error err = QN_ERROR_INIT;
        int64_t written = -1, twin = 20;
        (void)made_stream(columns, 1, 1, 30, fill_twin, &twin, &rows);
        assert_int_equal(ingest(pg, "ko", modes[i], key, 1, &rows, &written, &err), QN_ERR_DATA);
        assert_string_equal(err.message, "rows 17 and 20 have the same key (\"id\")");
        server_expect(pg, "select count(*) from ko", "0");
    }
}

static void ingest__a_key_without_an_index_says_what_to_do(void **state)
{
    struct qn_pg *pg = *state;
    struct qn_error err = QN_ERROR_INIT;
    int64_t written = -1;
    server_run(pg, "create table ni (id int4, v int8)");
    assert_int_equal(put_pairs(pg, "ni", QN_INGEST_UPSERT, (const int64_t[]){ 1 }, 1, 0, &written, &err), QN_ERR_QUERY);
    assert_string_equal(err.sqlstate, "42P10");
    assert_non_null(strstr(err.hint, "unique index"));
}

/* ---- faults ---- */

static void ingest__any_allocation_may_fail(void **state)
{
    struct qn_pg *pg = *state;
    if (!qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE)) {
        print_message("built without fault points: nothing to arm\n");
        skip();
    }
    server_run(pg, "create table fa (id int4 primary key, v int8)");
    bool done = false;
    for (int n = 1; !done; n++) {
        assert_true(n < 2000);
        static const char *const key[] = { "id" };
        const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) },
                                               { "v", qn_type_of(QN_TYPE_INT64) } };
        struct pairs pairs = { .keys = (const int64_t[]){ n, n + 1 } };
        struct ArrowArrayStream rows;
        struct qn_error err = QN_ERROR_INIT;
        int64_t written = -1;
        (void)made_stream(columns, 2, 1, 2, fill_pairs, &pairs, &rows);
        qn_auto_schema schema = { .release = NULL };
        assert_int_equal(qn_stream_schema(&rows, &schema, &err), QN_OK);
        struct qn_driver_ingest call = { .struct_size = sizeof call,
                                         .table = "fa",
                                         .mode = n % 2 != 0 ? QN_INGEST_UPSERT : QN_INGEST_APPEND,
                                         .key = n % 2 != 0 ? key : NULL,
                                         .n_key = n % 2,
                                         .rows_schema = &schema };
        server_run(pg, "begin");
        (void)qn_fault_arm(QN_FAULT_ALLOC, (n + 1) / 2, QN_FAULT_ONCE);
        enum qn_status status = qn_pg_ingest(pg, &call, &rows, &written, &err);
        done = qn_fault_count(QN_FAULT_ALLOC) < n / 2 && n % 2 == 0;
        (void)qn_fault_arm(QN_FAULT_ALLOC, 0, QN_FAULT_ONCE);
        qn_stream_release(&rows);
        if (pg->broken) {
            assert_int_not_equal(status, QN_OK);
            qn_pg_close(pg);
            pg = server_open(uri);
            server_run(pg, "set search_path = qanat_test_ingest; set client_min_messages = warning");
            *state = pg;
        } else {
            assert_int_equal(pg->ready_expected, 0);
            server_run(pg, "rollback");
        }
        assert_true(status == QN_OK || status == QN_ERR_NO_MEMORY);
    }
    server_expect(pg, "select count(*) from fa", "0");
}

/* The n-th read or write of the link fails, for every n: a connection error, and never a success that is none. */
static void ingest__any_read_or_write_may_fail(void **state)
{
    struct qn_pg *pg = *state;
    if (!qn_fault_arm(QN_FAULT_WRITE, 0, QN_FAULT_ONCE)) {
        print_message("built without fault points: nothing to arm\n");
        skip();
    }
    server_run(pg, "create table fr (id int8)");
    const struct made_column columns[] = { { "id", qn_type_of(QN_TYPE_INT64) } };
    const enum qn_fault_kind kinds[] = { QN_FAULT_WRITE, QN_FAULT_READ };
    for (int k = 0; k < 2; k++) {
        bool done = false;
        for (int64_t n = 1; !done; n++) {
            assert_true(n < 500);
            struct ArrowArrayStream rows;
            struct qn_error err = QN_ERROR_INIT;
            int64_t written = -1;
            (void)made_stream(columns, 1, 3, 5000, fill_id, NULL, &rows);
            qn_auto_schema schema = { .release = NULL };
            assert_int_equal(qn_stream_schema(&rows, &schema, &err), QN_OK);
            struct qn_driver_ingest call = { .struct_size = sizeof call, .table = "fr", .rows_schema = &schema };
            server_run(pg, "begin");
            (void)qn_fault_arm(kinds[k], n, QN_FAULT_ONCE);
            enum qn_status status = qn_pg_ingest(pg, &call, &rows, &written, &err);
            bool hit = qn_fault_count(kinds[k]) >= n;
            (void)qn_fault_arm(kinds[k], 0, QN_FAULT_ONCE);
            qn_stream_release(&rows);
            done = !hit;
            if (status == QN_OK) {
                assert_int_equal(written, 15000);
                server_expect(pg, "select count(*) from fr", "15000");
                server_run(pg, "rollback");
                continue;
            }
            assert_true(hit);
            assert_int_equal(status, QN_ERR_CONNECTION);
            assert_true(pg->broken);
            qn_pg_close(pg);
            pg = server_open(uri);
            server_run(pg, "set search_path = qanat_test_ingest; set client_min_messages = warning");
            *state = pg;
        }
    }
    server_expect(pg, "select count(*) from fr", "0");
}

int main(void)
{
#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)
    const struct CMUnitTest tests[] = {
        SERVER_TEST(ingest__every_type_arrives),
        SERVER_TEST(ingest__rows_of_any_length_arrive_whole),
        SERVER_TEST(ingest__a_value_that_does_not_fit_names_its_row_and_nothing_is_kept),
        SERVER_TEST(ingest__a_unique_violation_names_constraint_table_and_row),
        SERVER_TEST(ingest__a_null_in_a_not_null_column_names_the_column),
        SERVER_TEST(ingest__a_server_process_killed_in_mid_copy_is_a_connection_error),
        SERVER_TEST(ingest__a_source_that_fails_leaves_the_connection_usable),
        SERVER_TEST(ingest__ctrl_c_in_mid_copy_leaves_the_connection_usable),
        SERVER_TEST(ingest__a_missing_column_is_named_and_the_transaction_goes_on),
        SERVER_TEST(ingest__no_rows_and_no_columns),
        SERVER_TEST(ingest__names_are_quoted),
        SERVER_TEST(ingest__text_goes_into_types_that_are_written_as_text),
        SERVER_TEST(ingest__text_of_numerics_and_intervals_is_never_rounded),
        SERVER_TEST(ingest__text_never_becomes_a_date_on_the_quiet),
        SERVER_TEST(ingest__upsert_inserts_and_updates),
        SERVER_TEST(ingest__a_key_twice_in_a_call_names_both_rows),
        SERVER_TEST(ingest__a_key_twice_is_refused_where_there_is_only_the_key),
        SERVER_TEST(ingest__a_key_without_an_index_says_what_to_do),
        SERVER_TEST(ingest__any_allocation_may_fail),
        SERVER_TEST(ingest__any_read_or_write_may_fail),
    };
    uri = getenv("QANAT_TEST_POSTGRES");
    if (uri == NULL) {
        print_message("QANAT_TEST_POSTGRES is not set: all of these tests need a server and are skipped\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
