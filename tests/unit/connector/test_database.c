/*
 * test_database.c: the built-in connector `database` over SQLite and, where QANAT_TEST_POSTGRES holds its URI, PostgreSQL:
 * tables, queries, and ranges of keys, which lose no row and double none, whatever is written between.
 */
#include "builtin_fixture.h"

#include "connector/registry.h"

#include <stdarg.h>

#define SCHEMA   "qanat_connector"
#define MAX_ROWS 4096

static char uri[512];
static bool postgres;
static struct qn_connection *connection;
static char arguments[4096];

/* ---- the database ---- */

static void run(const char *sql)
{
    struct qn_query query = QN_QUERY_INIT;
    query.sql = sql;
    ok(qn_connection_execute(connection, &query, NULL, &error));
}

__attribute__((format(printf, 1, 2))) static void runf(const char *format, ...)
{
    char sql[2048];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    run(sql);
}

static int open_sqlite(void **state)
{
    postgres = false;
    if (make_folder(state) != 0) {
        return 1;
    }
    (void)snprintf(uri, sizeof uri, "sqlite:///%s", path_of("test.db"));
    ok(qn_connection_open(uri, &connection, &error));
    return 0;
}

static int close_sqlite(void **state)
{
    qn_connection_free(connection);
    return remove_folder(state);
}

static int open_postgres(void **state)
{
    (void)state;
    const char *given = getenv("QANAT_TEST_POSTGRES");
    postgres = true;
    connection = NULL;
    if (given == NULL) {
        return 0;
    }
    (void)snprintf(uri, sizeof uri, "%s%sapplication_name=" SCHEMA "&options=-csearch_path%%3D" SCHEMA, given,
                   strchr(given, '?') ? "&" : "?");
    ok(qn_connection_open(uri, &connection, &error));
    run("drop schema if exists " SCHEMA " cascade");
    run("create schema " SCHEMA);
    return 0;
}

static int close_postgres(void **state)
{
    (void)state;
    if (connection != NULL) {
        run("drop schema " SCHEMA " cascade");
        qn_connection_free(connection);
    }
    return 0;
}

#define needs_database()                                                                                               \
    do {                                                                                                               \
        if (connection == NULL) {                                                                                      \
            print_message("skipped: QANAT_TEST_POSTGRES is not set\n");                                                \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

/* {"connection": URI, ...more}; `more` uses ' for ". */
static const char *with(const char *more)
{
    size_t used = (size_t)snprintf(arguments, sizeof arguments, "{\"connection\": \"%s\", ", uri);
    for (const char *c = more; *c != '\0'; c++) {
        arguments[used++] = *c == '\'' ? '"' : *c == '`' ? '\'' : *c;
    }
    memcpy(arguments + used, "}", 2);
    return arguments;
}

static struct qn_connector *opened(const char *more)
{
    struct qn_connector *connector = NULL;
    ok(open_with("database", with(more), &connector));
    return connector;
}

static void make_people(void)
{
    run("create table people (id bigint, name text, born date)");
    run("insert into people values (1, 'Ada', '1815-12-10'), (2, 'Grace', '1906-12-09'), (3, null, null)");
}

/* ---- tables and queries ---- */

static void tables__are_locations(void **state)
{
    (void)state;
    needs_database();
    struct total total = { 0 };
    struct seen seen = { 0 };
    make_people();
    run("create table \"Odd name[1]\" (id bigint)");
    run("insert into \"Odd name[1]\" values (7)");
    struct qn_connector *connector = opened("'tables': 'people, \\\"Odd name[1]\\\"'");
    discovers(connector, "people\n\"Odd name[1]\"\n");
    ok(read_location(connector, "people", "", NULL, &total));
    assert_string_equal(qn_buffer_text(&total.text),
                        "1,\"Ada\",\"1815-12-10\"\n2,\"Grace\",\"1906-12-09\"\n3,null,null\n");
    ok(read_location(connector, "\"Odd name[1]\"", "", NULL, &total));
    assert_int_equal(total.sum, 7);
    run("create table secret (id bigint)");
    refused(read_location(connector, "secret", "", NULL, &total), QN_ERR_ARGUMENT, "no location of the connector");
    refused(read_location(connector, "people[id >= 1 and id < 2]", "", NULL, &total), QN_ERR_ARGUMENT, "no location");
    qn_connector_free(connector);

    connector = opened("'table': 'people', 'where': 'name is not null -- all others'");
    ok(read_location(connector, "people", "", NULL, &total));
    assert_int_equal(total.rows, 2);
    qn_connector_free(connector);
    connector = opened("'table': 'missing'");
    refused(qn_connector_discover(connector, NULL, 0, see, &seen, &error), QN_ERR_CONNECTOR,
            "connector \"acme.test\": table missing: ");
    assert_int_equal(seen.n, 0);
    refused(read_location(connector, "missing", "", NULL, &total), QN_ERR_CONNECTOR, "missing");
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
    qn_buffer_dispose(&seen.text);
}

static void schema__gives_its_tables(void **state)
{
    (void)state;
    needs_database();
    struct total total = { 0 };
    make_people();
    run("create table \"B\" (id bigint)");
    run("create view v as select id from people");
    char more[128];
    const char *schema = postgres ? SCHEMA : "main";
    char wanted[256];
    (void)snprintf(more, sizeof more, "'schema': '%s'", schema);
    struct qn_connector *connector = opened(more);
    (void)snprintf(wanted, sizeof wanted, "%s.\"B\"\n%s.people\n", schema, schema);
    discovers(connector, wanted);
    (void)snprintf(wanted, sizeof wanted, "%s.people", schema);
    ok(read_location(connector, wanted, "", NULL, &total));
    assert_int_equal(total.sum, 6);
    refused(read_location(connector, "people", "", NULL, &total), QN_ERR_ARGUMENT, "no location");
    refused(read_location(connector, "pg_catalog.pg_authid", "", NULL, &total), QN_ERR_ARGUMENT, "no location");
    qn_connector_free(connector);
    (void)snprintf(more, sizeof more, "'schema': '%s', 'views': 'true'", schema);
    connector = opened(more);
    (void)snprintf(wanted, sizeof wanted, "%s.\"B\"\n%s.people\n%s.v\n", schema, schema, schema);
    discovers(connector, wanted);
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

static void query__is_one_location(void **state)
{
    (void)state;
    needs_database();
    struct total total = { 0 };
    make_people();
    struct qn_connector *connector = opened("'query': 'select id, name from people order by id desc; ', 'name': 'all'");
    discovers(connector, "all\n");
    ok(read_location(connector, "all", "", NULL, &total));
    assert_string_equal(qn_buffer_text(&total.text), "3,null\n2,\"Grace\"\n1,\"Ada\"\n");
    const char *columns[] = { "name" };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    request.columns = columns;
    request.n_columns = 1;
    request.limit = 1;
    ok(read_location(connector, "all", "", &request, &total));
    assert_int_equal(total.rows, 1);
    columns[0] = "missing"; /* which SQLite would take for a text, were it not qualified */
    refused(read_location(connector, "all", "", &request, &total), QN_ERR_CONNECTOR, "missing");
    qn_connector_free(connector);
    connector = opened("'query': 'select id from people -- whoever', 'version': 'count', 'watermark': 'id'");
    struct seen seen = { 0 };
    discover_given(connector, NULL, 0, &seen);
    assert_string_equal(seen.last, "query");
    assert_string_equal(seen.version, "max=3 rows=3");
    qn_connector_free(connector);
    connector = opened("'query': 'selec'");
    refused(read_location(connector, "query", "", NULL, &total), QN_ERR_CONNECTOR, "location \"query\": ");
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
    qn_buffer_dispose(&seen.text);
}

static void version__is_of_the_watermark_or_the_rows(void **state)
{
    (void)state;
    needs_database();
    struct seen seen = { 0 };
    make_people();
    struct qn_connector *connector = opened("'table': 'people', 'watermark': 'born'");
    discover_given(connector, NULL, 0, &seen);
    assert_string_equal(seen.version, postgres ? "max=1906-12-09" : "max='1906-12-09'");
    assert_int_equal(seen.rows, -1);
    qn_connector_free(connector);
    connector = opened("'table': 'people', 'version': 'count'");
    discover_given(connector, NULL, 0, &seen);
    assert_string_equal(seen.version, "rows=3");
    assert_int_equal(seen.rows, 3);
    run("delete from people where id = 3");
    discover_given(connector, NULL, 0, &seen);
    assert_string_equal(seen.version, "rows=2");
    qn_connector_free(connector);
    connector = opened("'table': 'people'");
    discover_given(connector, NULL, 0, &seen);
    assert_string_equal(seen.version, "");
    qn_connector_free(connector);
    qn_buffer_dispose(&seen.text);
}

/* ---- ranges ---- */

static void ranges__meet_and_keep_their_bounds(void **state)
{
    (void)state;
    needs_database();
    struct seen seen = { 0 };
    run("create table t (id bigint)");
    for (int i = 1; i <= 10; i++) {
        runf("insert into t values (%d)", i * 10);
    }
    struct qn_connector *connector = opened("'table': 't', 'key': 'id', 'rows_per_range': '4', 'version': 'count'");
    discovers(connector, "t[id >= 10 and id < 50]\nt[id >= 50 and id < 90]\nt[id >= 90 and id <= 100]\n");
    run("insert into t values (null), (5), (45), (101), (102), (103), (104), (105)");
    const char *attached[] = { "t[id >= 90 and id <= 100]", "t[id >= 10 and id < 50]", "other[x]" };
    discover_given(connector, attached, 3, &seen);
    assert_string_equal(qn_buffer_text(&seen.text), "t[id >= 5 and id < 10]\n"
                                                    "t[id >= 10 and id < 50]\n"
                                                    "t[id >= 50 and id < 90]\n"
                                                    "t[id >= 90 and id <= 100]\n"
                                                    "t[id > 100 and id < 105]\n"
                                                    "t[id >= 105 and id <= 105]\n"
                                                    "t[id is null]\n");
    assert_string_equal(seen.version, "rows=1");
    assert_int_equal(seen.rows, 1);
    run("delete from t");
    discover_given(connector, attached, 2, &seen); /* what was delivered is still told, with its new version */
    assert_string_equal(qn_buffer_text(&seen.text), "t[id >= 10 and id < 50]\nt[id >= 90 and id <= 100]\n");
    assert_string_equal(seen.version, "rows=0");
    discovers(connector, "");
    attached[0] = "t[id >= 90 or 1=1]";
    refused(qn_connector_discover(connector, attached, 1, see, &seen, &error), QN_ERR_CONFIG,
            "is not a range of key \"id\"");
    qn_connector_free(connector);
    qn_buffer_dispose(&seen.text);
}

static void ranges__never_cut_one_key_apart(void **state)
{
    (void)state;
    needs_database();
    run("create table t (id bigint)");
    run("insert into t values (1), (1), (1), (1), (1), (2), (2), (3)");
    struct qn_connector *connector = opened("'table': 't', 'key': 'id', 'rows_per_range': '2'");
    discovers(connector, "t[id >= 1 and id < 2]\nt[id >= 2 and id <= 3]\n");
    qn_connector_free(connector);
}

static void ranges__take_no_sql_from_a_location(void **state)
{
    (void)state;
    needs_database();
    struct total total = { 0 };
    run("create table t (k text)");
    run("insert into t values ('a'), ('b')");
    struct qn_connector *connector = opened("'table': 't', 'key': 'k'");
    static const char *const odd[] = {
        "t[k >= 'a' and k < 'z' or 1=1]",
        "t[k >= 'a' and k < ''z'']",
        "t[k >= a and k < b]",
        "t[k >= 'a']",
        "t[k is null or 1=1]",
        "t[k >= 'a' and k < 'b'] union select 1",
        "t[k >= (select 1) and k < 'b']",
        "t[j >= 'a' and j < 'b']",
        "t[]",
        "t[k >= 'a' and k < 'b'",
        "t[k >= 'a' and k <= 1;2]",
        "t[k >= 'a' and k <= 1 ]",
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        refused(read_location(connector, odd[i], "", NULL, &total), QN_ERR_ARGUMENT, "no location");
    }
    ok(read_location(connector, "t[k >= 'a' and k < 'it''s; drop table t; -- \\']", "", NULL, &total));
    assert_int_equal(total.rows, 2);
    ok(read_location(connector, "t[k > 'a' and k <= 'b']", "", NULL, &total));
    assert_string_equal(qn_buffer_text(&total.text), "\"b\"\n");
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

/* ---- exactness under writes ---- */

struct kind {
    const char *type;
    void (*key)(unsigned n, char out[128]); /* SQL of the n-th key */
    bool only_postgres, only_sqlite;
};

static void whole_key(unsigned n, char out[128])
{
    (void)snprintf(out, 128, "%d", (int)(n * 37 % 1000) - 500);
}

static void huge_key(unsigned n, char out[128])
{
    (void)snprintf(out, 128, n % 3 == 0 ? "9223372036854775%03u" : "-9223372036854775%03u", n * 7 % 800);
}

static void text_key(unsigned n, char out[128])
{
    static const char *const texts[] = {
        "a",  "B",  "\xc3\xa9",      "it''s", "[x]", "z\\", "", " ", "\xf0\x9f\x98\x80",
        "_1", "\n", "q and id < 5]", "-",     "10",  "9"
    };
    size_t i = n % (sizeof texts / sizeof *texts);
    (void)snprintf(out, 128, n % 2 == 0 ? "'%s'" : "'%s%u'", texts[i], n % 7);
}

static void time_key(unsigned n, char out[128])
{
    (void)snprintf(out, 128, "'20%02u-01-%02u 12:34:56.%06u'", n % 30, n % 28 + 1, n * 1237 % 1000000);
}

static void uuid_key(unsigned n, char out[128])
{
    (void)snprintf(out, 128, "'%08x-0000-4000-8000-%012x'", n * 2654435761U, n);
}

static void float_key(unsigned n, char out[128])
{
    (void)snprintf(out, 128, n % 17 == 0 ? "'Infinity'" : n % 19 == 0 ? "'NaN'" : "'%.17g'", (double)n / 7 - 3);
}

static void numeric_key(unsigned n, char out[128])
{
    (void)snprintf(out, 128, "%d.%02u", (int)(n % 50) - 25, n * 13 % 100);
}

static void mixed_key(unsigned n, char out[128])
{
    static const char *const values[] = { "1", "1.5", "'1'", "'a'", "-2", "9e999", "-9e999", "'1.50'", "''", "0.1" };
    (void)snprintf(out, 128, "%s", values[n % 10]);
}

static const struct kind kinds[] = {
    { "bigint", whole_key, false, false },
    { "bigint", huge_key, false, false },
    { "text", text_key, false, false },
    { "varchar(40) collate \"C\"", text_key, true, false },
    { "text collate nocase", text_key, false, true },
    { "timestamp", time_key, false, false },
    { "timestamptz", time_key, true, false },
    { "uuid", uuid_key, true, false },
    { "double precision", float_key, true, false },
    { "numeric(10,2)", numeric_key, false, false },
    { "", mixed_key, false, true },
};

static uint32_t random_state;

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % n;
}

struct model {
    bool there[MAX_ROWS]; /* by id */
    unsigned n;
    char *attached[MAX_ROWS];
    size_t n_attached;
};

static void insert_rows(struct model *model, const struct kind *kind, unsigned n)
{
    for (unsigned i = 0; i < n && model->n < MAX_ROWS; i++) {
        char key[128];
        kind->key(random_below(1000), key);
        bool null = random_below(12) == 0;
        model->there[model->n] = true;
        runf("insert into t values (%u, %s)", model->n++, null ? "null" : key);
    }
}

static void delete_rows(struct model *model, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned id = random_below(model->n);
        runf("delete from t where id = %u", id);
        model->there[id] = false;
    }
}

/* Keep what a discovery tells, each location with a chance: those that are left out were not fetched. */
static void attach(struct model *model, const struct seen *seen, unsigned percent)
{
    for (size_t i = 0; i < model->n_attached; i++) {
        qn_free(model->attached[i]);
    }
    model->n_attached = 0;
    const char *end;
    for (const char *line = qn_buffer_text(&seen->text); (end = strstr(line, "\n")) != NULL;) {
        while (end[1] != '\0' && !(end[1] == 't' && end[2] == '[')) { /* keys have line breaks too */
            end = strchr(end + 1, '\n');
        }
        if (random_below(100) < percent) {
            model->attached[model->n_attached++] = qn_strndup(line, (size_t)(end - line));
        }
        line = end + 1;
    }
}

/* Every row is in exactly one of the locations that are told. */
static void check_cover(struct qn_connector *connector, struct model *model)
{
    static int seen_ids[MAX_ROWS];
    static const char *const columns[] = { "id" };
    struct qn_data_request ids = QN_DATA_REQUEST_INIT;
    struct model all = { .n_attached = 0 };
    struct seen seen = { 0 };
    struct total total = { 0 };
    memset(seen_ids, 0, sizeof seen_ids);
    ids.columns = columns;
    ids.n_columns = 1;
    discover_given(connector, (const char *const *)model->attached, model->n_attached, &seen);
    attach(&all, &seen, 100);
    assert_int_equal(all.n_attached, seen.n);
    for (size_t i = 0; i < all.n_attached; i++) {
        ok(read_location(connector, all.attached[i], "", &ids, &total));
        for (const char *line = qn_buffer_text(&total.text); *line != '\0'; line = strchr(line, '\n') + 1) {
            seen_ids[atoi(line)]++;
        }
    }
    for (unsigned id = 0; id < model->n; id++) {
        if (seen_ids[id] != (int)model->there[id]) {
            fail_msg("row %u came %d times, it is %s\n%s", id, seen_ids[id], model->there[id] ? "there" : "not there",
                     qn_buffer_text(&seen.text));
        }
    }
    for (size_t i = 0; i < model->n_attached; i++) { /* what was delivered keeps its name */
        bool found = false;
        for (size_t j = 0; !found && j < all.n_attached; j++) {
            found = qn_text_equal(all.attached[j], model->attached[i]);
        }
        if (!found) {
            fail_msg("%s is not told any more\n%s", model->attached[i], qn_buffer_text(&seen.text));
        }
    }
    attach(model, &seen, 70);
    attach(&all, &seen, 0);
    qn_buffer_dispose(&seen.text);
    qn_buffer_dispose(&total.text);
}

static void ranges__lose_no_row_and_double_none(void **state)
{
    (void)state;
    needs_database();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct kind *kind = &kinds[i];
        if (postgres ? kind->only_sqlite : kind->only_postgres) {
            continue;
        }
        struct model *model = qn_calloc(1, sizeof *model);
        random_state = 12345 + (uint32_t)i;
        runf("create table t (id bigint, k %s)", kind->type);
        struct qn_connector *connector = opened("'table': 't', 'key': 'k', 'rows_per_range': '7'");
        for (int round = 0; round < 6; round++) {
            insert_rows(model, kind, 40);
            delete_rows(model, 8);
            check_cover(connector, model);
        }
        qn_connector_free(connector);
        struct seen none = { 0 };
        attach(model, &none, 0);
        qn_free(model);
        run("drop table t");
    }
}

/* ---- what goes into SQL ---- */

static void limit__and_columns_go_into_the_statement(void **state)
{
    (void)state;
    needs_database();
    struct total total = { 0 };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    const char *columns[] = { "name", "id" };
    make_people();
    struct qn_connector *connector = opened("'table': 'people', 'key': 'id'");
    request.columns = columns;
    request.n_columns = 2;
    request.limit = 1;
    ok(read_location(connector, "people[id >= 2 and id < 3]", "", &request, &total));
    assert_string_equal(qn_buffer_text(&total.text), "\"Grace\",2\n");
    request.limit = 0;
    ok(read_location(connector, "people[id >= 2 and id < 3]", "", &request, &total));
    assert_int_equal(total.rows, 0);
    request.limit = -1;
    request.skip_rows = 1;
    refused(read_location(connector, "people[id >= 2 and id < 3]", "", &request, &total), QN_ERR_UNSUPPORTED, "");
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

/* What the runtime itself applies of a filter; what it delivers in *rows_out. */
static uint32_t applied_of(struct qn_connector_opening *opening, const char *filter, int64_t *rows_out)
{
    void *self = NULL;
    uint32_t applied = 0;
    qn_auto_stream stream = { 0 };
    struct total total = { 0 };
    struct qn_location location = QN_LOCATION_INIT;
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    location.location = "t";
    request.filter = filter;
    request.limit = 1000;
    ok(qn__runtime_database.open(NULL, opening, &self, &error));
    ok(qn__runtime_database.data(self, &location, &request, &stream, &applied, &error));
    ok(add_batches(&stream, &total));
    *rows_out = total.rows;
    qn_stream_release(&stream);
    qn__runtime_database.close(self);
    qn_buffer_dispose(&total.text);
    return applied;
}

static void make_values(void)
{
    run("create table t (id bigint, small smallint, name text, flag boolean, price double precision, day date)");
    run("insert into t values (1, 1, 'a', true, 1.5, '2024-01-01'), (2, null, 'B', false, null, null), "
        "(3, 3, 'b', null, -0.0, '2024-01-03'), (null, -1, null, true, 3, '2024-01-04'), "
        "(9223372036854775807, 5, '\xc3\xa9', true, 5, null), (-9223372036854775807, 6, 'it''s', null, 6, null), "
        "(7, 7, 'z\\', false, 7, null), (8, 8, '', false, 8, null), (9, 9, 'a ', false, 9, null)");
}

/* The same rows, whether the database answers or, where a type is asked for by name, the core does. */
static void filter__means_the_same_in_sql(void **state)
{
    (void)state;
    needs_database();
    static const struct {
        const char *filter;
        bool whole; /* all of it goes into SQL */
        int rows;
    } cases[] = {
        { "[\"=\", \"id\", 3]", true, 1 },
        { "[\"!=\", \"id\", 3]", true, 7 },
        { "[\"not\", [\"=\", \"id\", 3]]", true, 7 },
        { "[\"<\", \"id\", 3]", true, 3 },
        { "[\">=\", \"id\", 9223372036854775807]", true, 1 },
        { "[\">=\", \"id\", -9223372036854775808]", true, 8 },
        { "[\">\", \"small\", 100000]", true, 0 },
        { "[\"is_null\", \"id\"]", true, 1 },
        { "[\"is_null\", \"day\"]", true, 6 },
        { "[\"in\", \"id\", [1, 2, 77]]", true, 2 },
        { "[\"=\", \"name\", \"a\"]", true, 1 },
        { "[\"<\", \"name\", \"a\"]", true, 2 },
        { "[\">\", \"name\", \"b\"]", true, 3 },
        { "[\"!=\", \"name\", \"it's\"]", true, 7 },
        { "[\"in\", \"name\", [\"z\\\\\", \"\\u00e9\", \"\"]]", true, 3 },
        { "[\"or\", [\"=\", \"id\", 1], [\"and\", [\">\", \"id\", 6], [\"<\", \"small\", 9]]]", true, 4 },
        { "[\"not\", [\"or\", [\"is_null\", \"small\"], [\"<\", \"id\", 3]]]", true, 5 },
        { "[\"<\", \"price\", 5.5]", false, 4 },
        { "[\"=\", \"id\", 3.0]", false, 1 },
        { "[\"in\", \"id\", []]", false, 0 },
        { "[\">\", \"day\", \"2024-01-02\"]", false, 2 },
        { "[\"and\", [\">\", \"day\", \"2024-01-02\"], [\"=\", \"id\", 3]]", false, 1 },
    };
    struct total total = { 0 };
    struct qn_data_request request = QN_DATA_REQUEST_INIT;
    make_values();
    struct qn_connector *in_sql = opened("'table': 't'");
    struct qn_connector_opening opening = { .struct_size = sizeof opening,
                                            .name = "acme.test",
                                            .entrypoint = "",
                                            .arguments = strdup(arguments),
                                            .timeout = 60,
                                            .processes = 1 };
    struct qn_connector *in_core =
        opened("'table': 't', 'types.id': 'Int64', 'types.small': 'Int16', 'types.name': 'Utf8'");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t rows = 0;
        uint32_t applied = applied_of(&opening, cases[i].filter, &rows);
        if (((applied & QN_APPLIED_FILTER) != 0) != cases[i].whole || (cases[i].whole && rows != cases[i].rows) ||
            ((applied & QN_APPLIED_LIMIT) != 0) != cases[i].whole) {
            fail_msg("%s: applied %u, %lld rows", cases[i].filter, (unsigned)applied, (long long)rows);
        }
        request.filter = cases[i].filter;
        ok(read_location(in_sql, "t", "", &request, &total));
        char *text = strdup(qn_buffer_text(&total.text));
        if (total.rows != cases[i].rows) {
            fail_msg("%s: %lld rows\n%s", cases[i].filter, (long long)total.rows, text);
        }
        ok(read_location(in_core, "t", "", &request, &total));
        assert_string_equal(text, qn_buffer_text(&total.text));
        free(text);
    }
    /* a part of it already leaves fewer rows to the core */
    int64_t rows = 0;
    assert_int_equal(applied_of(&opening, cases[sizeof cases / sizeof *cases - 1].filter, &rows), 0);
    assert_int_equal(rows, 1);
    request.filter = "[\"=\", \"missing\", 1]";
    refused(read_location(in_sql, "t", "", &request, &total), QN_ERR_ARGUMENT, "missing");
    qn_connector_free(in_sql);
    qn_connector_free(in_core);
    free((void *)(uintptr_t)opening.arguments);
    qn_buffer_dispose(&total.text);
}

/* ---- connections ---- */

static void connection__may_be_a_name(void **state)
{
    (void)state;
    needs_database();
    struct qn_connector *connector = NULL;
    struct total total = { 0 };
    make_people();
    assert_int_equal(setenv("QANAT_CONNECTION_WAREHOUSE_1", uri, 1), 0);
    ok(open_with("database", "{\"connection\": \"warehouse_1\", \"table\": \"people\"}", &connector));
    ok(read_location(connector, "people", "", NULL, &total));
    assert_int_equal(total.rows, 3);
    qn_connector_free(connector);
    assert_int_equal(unsetenv("QANAT_CONNECTION_WAREHOUSE_1"), 0);
    refused(open_with("database", "{\"connection\": \"warehouse_1\", \"table\": \"people\"}", &connector),
            QN_ERR_CONFIG, "connection \"warehouse_1\" is not known");
    assert_non_null(strstr(error.hint, "QANAT_CONNECTION_WAREHOUSE_1"));
    qn_buffer_dispose(&total.text);
}

/* Streams at once, each by its own connection; connections that are lost are not used again. */
static void connections__are_one_for_each_stream(void **state)
{
    (void)state;
    needs_database();
    struct total total = { 0 };
    struct ArrowArrayStream streams[3] = { 0 };
    struct qn_location location = QN_LOCATION_INIT;
    make_people();
    struct qn_connector *connector = opened("'table': 'people'");
    location.location = "people";
    for (int i = 0; i < 3; i++) {
        ok(qn_connector_data(connector, &location, NULL, &streams[i], &error));
    }
    for (int i = 2; i >= 0; i--) {
        total.rows = 0;
        if (i != 1) { /* one is not read at all */
            ok(add_batches(&streams[i], &total));
            assert_int_equal(total.rows, 3);
        }
        qn_stream_release(&streams[i]);
    }
    if (postgres) { /* all idle ones are lost, and none of them is used; other tests use the same server */
        run("select 1 / count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() and "
            "application_name = '" SCHEMA "'");
        ok(read_location(connector, "people", "", NULL, &total));
        assert_int_equal(total.rows, 3);
    }
    qn_connector_free(connector);
    qn_buffer_dispose(&total.text);
}

static void open__refuses_wrong_arguments(void **state)
{
    (void)state;
    struct qn_connector *connector = NULL;
    (void)snprintf(uri, sizeof uri, "sqlite://:memory:");
    refused(open_with("database", "{}", &connector), QN_ERR_CONFIG, "argument \"connection\" is missing");
    refused(open_with("database", "{\"connection\": \"a b\", \"table\": \"t\"}", &connector), QN_ERR_CONFIG,
            "neither a URI nor a name");
    refused(open_with("database", with("'name': 'x'"), &connector), QN_ERR_CONFIG, "one is needed of the arguments");
    refused(open_with("database", with("'query': 'select 1', 'table': 't'"), &connector), QN_ERR_CONFIG,
            "more than one is given of the arguments");
    refused(open_with("database", with("'query': 'select 1', 'key': 'id'"), &connector), QN_ERR_CONFIG, "for tables");
    refused(open_with("database", with("'table': 't', 'rows_per_range': '5'"), &connector), QN_ERR_CONFIG, "needs a");
    refused(open_with("database", with("'table': 't', 'key': 'id', 'rows_per_range': '0'"), &connector), QN_ERR_CONFIG,
            "whole number from 1");
    refused(open_with("database", with("'table': 't', 'version': 'x'"), &connector), QN_ERR_CONFIG, "neither count");
    refused(open_with("database", with("'table': 't', 'numeric': 'x'"), &connector), QN_ERR_CONFIG, "decimal, text");
    refused(open_with("database", with("'tables': 'a, b, a'"), &connector), QN_ERR_CONFIG, "table a is named twice");
    refused(open_with("database", with("'tables': 'a,,b'"), &connector), QN_ERR_ARGUMENT, "empty");
    refused(open_with("database", with("'tabel': 'a'"), &connector), QN_ERR_CONFIG, "argument \"tabel\" is not known");
    refused(open_with("database", "{\"connection\": \"postgresql://u:geheim@h:port/d\", \"table\": \"t\"}", &connector),
            QN_ERR_CONFIG, "");
    assert_null(strstr(error.message, "geheim"));
    refused(open_with("database", "{\"connection\": \"oracle://u:geheim@h/d\", \"table\": \"t\"}", &connector),
            QN_ERR_CONFIG, "oracle");
    assert_null(strstr(error.message, "geheim"));
    assert_null(connector);
}

static void open__makes_no_file(void **state)
{
    (void)state;
    struct qn_connector *connector = NULL;
    struct seen seen = { 0 };
    struct stat found;
    (void)snprintf(uri, sizeof uri, "sqlite:///%s", path_of("mistyped.db"));
    ok(open_with("database", with("'table': 'people'"), &connector));
    refused(qn_connector_discover(connector, NULL, 0, see, &seen, &error), QN_ERR_CONNECTOR, "mistyped.db");
    assert_non_null(strstr(error.message, "No such file"));
    assert_null(strstr(error.hint, "create"));
    assert_int_equal(stat(path_of("mistyped.db"), &found), -1);
    qn_connector_free(connector);
}

static void errors__have_no_password(void **state)
{
    (void)state;
    struct qn_connector *connector = NULL;
    struct total total = { 0 };
    ok(open_with("database",
                 "{\"connection\": \"postgresql://ada:geheim@127.0.0.1:1/d?connect_timeout=2\", \"table\": \"t\"}",
                 &connector));
    refused(read_location(connector, "t", "", NULL, &total), QN_ERR_CONNECTOR,
            "connector \"acme.test\": location \"t\": ");
    assert_null(strstr(error.message, "geheim"));
    assert_null(strstr(error.detail, "geheim"));
    qn_connector_free(connector);
}

#define on_sqlite(test)   cmocka_unit_test_setup_teardown(test, open_sqlite, close_sqlite)
#define on_postgres(test) cmocka_unit_test_setup_teardown(test, open_postgres, close_postgres)
#define on_both(test)     on_sqlite(test), on_postgres(test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(tables__are_locations),
        on_both(schema__gives_its_tables),
        on_both(query__is_one_location),
        on_both(version__is_of_the_watermark_or_the_rows),
        on_both(ranges__meet_and_keep_their_bounds),
        on_both(ranges__never_cut_one_key_apart),
        on_both(ranges__take_no_sql_from_a_location),
        on_both(ranges__lose_no_row_and_double_none),
        on_both(limit__and_columns_go_into_the_statement),
        on_both(filter__means_the_same_in_sql),
        on_both(connection__may_be_a_name),
        on_both(connections__are_one_for_each_stream),
        cmocka_unit_test(open__refuses_wrong_arguments),
        cmocka_unit_test_setup_teardown(open__makes_no_file, make_folder, remove_folder),
        cmocka_unit_test(errors__have_no_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
