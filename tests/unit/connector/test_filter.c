/*
 * test_filter.c: filter expressions: what is read, and what of it is true. The property test evaluates random expressions
 * over random rows twice, the second time without looking at a value: each type has a list of literals in rising order, with
 * literals between them where there are any, and a row or literal is known by its place in that list.
 */
#include "fixture.h"

#include "base/buffer.h"
#include "connector/filter.h"
#include "connector/shaping.h"

#include <math.h>

/* ---- reading ---- */

static void expressions__are_read(void **state)
{
    (void)state;
    static const char *const right[] = {
        "[\"=\",\"a\",1]",
        " [ \"in\" , \"a\" , [ ] ] ",
        "[\"and\",[\"=\",\"a\",1]]",
        "[\"or\",[\"=\",\"a\",\"x\"],[\"is_null\",\"b\"],[\"not\",[\"in\",\"a\",[true,false,-1.5e3]]]]",
        "[\">=\",\"\\u00e4\\\"]\",123456789012345678901234567890.5]",
    };
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        struct qn_filter *filter;
        const char *const *columns;
        ok(qn_filter_parse(right[i], &filter, &error));
        assert_int_equal(qn_filter_columns(filter, &columns), i == 3 ? 2 : 1);
        assert_string_equal(columns[0], i == 4 ? "\xc3\xa4\"]" : "a");
        qn_filter_free(filter);
    }
}

static void expressions__that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } wrong[] = {
        { "", "no expression: a list at its end" },
        { "[]", "no operator" },
        { "{}", "no expression: a list at byte 0: {}" },
        { "[\"like\",\"a\",\"b\"]", "no operator that is known" },
        { "[\"and\"]", "',' is missing" },
        { "[\"not\",[\"is_null\",\"a\"],[\"is_null\",\"a\"]]", "']' is missing at byte 22" },
        { "[\"=\",\"a\"]", "',' is missing" },
        { "[\"=\",\"a\",null]", "no value: a text, a number, true or false" },
        { "[\"=\",\"a\",[1]]", "no value" },
        { "[\"=\",\"a\",01]", "']' is missing" },
        { "[\"=\",\"a\",1.]", "no value" },
        { "[\"=\",\"a\",+1]", "no value" },
        { "[\"=\",\"a\",1e999]", "a number that is too large" },
        { "[\"=\",1,1]", "no name of a column" },
        { "[\"=\",\"a\",\"x]", "a text without an end" },
        { "[\"=\",\"a\",\"\\x\"]", "no text of JSON" },
        { "[\"=\",\"a\",\"\\u0000\"]", "no text of JSON" },
        { "[\"in\",\"a\",1]", "'[' is missing" },
        { "[\"in\",\"a\",[1,]]", "no value" },
        { "[\"=\",\"a\",1] x", "something follows at byte 12: x" },
        { "[\"is_null\",\"a\",1]", "']' is missing" },
    };
    struct qn_filter *filter;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        refused(qn_filter_parse(wrong[i].text, &filter, &error), QN_ERR_ARGUMENT, wrong[i].why);
    }
    qn_auto_buffer deep = QN_BUFFER_INIT;
    for (int i = 0; i < 100; i++) {
        qn_buffer_append_text(&deep, "[\"not\",");
    }
    refused(qn_filter_parse(deep.data, &filter, &error), QN_ERR_ARGUMENT, "nested too deep");
    qn_buffer_reset(&deep);
    qn_buffer_append_text(&deep, "[\"in\",\"a\",[1");
    for (int i = 0; i < 100000; i++) {
        qn_buffer_append_text(&deep, ",1");
    }
    qn_buffer_append_text(&deep, "]]");
    refused(qn_filter_parse(deep.data, &filter, &error), QN_ERR_ARGUMENT, "more values than a filter may have");
}

/* ---- columns with known orders ---- */

/* Literals in rising order; those that begin with "~" lie between values of the type: no row has them. */
struct domain {
    const char *type;
    const char *literals[12];
};

static const struct domain domains[] = {
    { "Boolean", { "false", "true" } },
    { "Int8", { "~-129", "-128", "~-0.5", "0", "~1e-30", "5", "127", "~128", "~1e30" } },
    { "UInt8", { "~-1", "0", "~0.99999", "1", "255", "~255.5" } },
    { "Int16", { "-32768", "0", "7", "32767" } },
    { "UInt16", { "0", "7", "65535", "~65536" } },
    { "Int32", { "-2147483648", "-1", "0", "2147483647", "~2147483648" } },
    { "UInt32", { "0", "4294967295", "~4294967295.1" } },
    { "Int64",
      { "~-9223372036854775809", "-9223372036854775808", "-9007199254740993", "-9007199254740992", "0",
        "9007199254740992", "~9007199254740992.5", "9007199254740993", "9223372036854775807",
        "~9223372036854775808" } },
    { "UInt64", { "~-1", "0", "9223372036854775808", "18446744073709551614", "18446744073709551615", "~1e20" } },
    { "Float64", { "-1e300", "-0.5", "0", "5e-324", "0.1", "0.30000000000000004", "1e22", "1e308" } },
    { "Float32", { "-2.5", "0", "~0.1", "0.5", "16777216", "~16777217" } },
    { "Decimal(10,2)",
      { "~-1e30", "-99999999.99", "-0.01", "~-0.005", "0", "~1e-35", "0.01", "1.5", "~1.505", "99999999.99",
        "~1e37" } },
    { "Decimal(38,0)",
      { "-99999999999999999999999999999999999999", "0", "~0.5", "1", "99999999999999999999999999999999999999" } },
    { "Utf8",
      { "\"\"", "\"A\"", "\"a\"", "\"a\\u0001\"", "\"aa and more than twelve bytes\"",
        "\"aa and more than twelve bytes!\"", "\"\\u00e4\"", "\"\\uffff\"", "\"\\ud83d\\ude00\"" } },
    { "Binary", { "\"\"", "\"AA==\"", "\"AAA=\"", "\"AAAA\"", "\"/w==\"", "\"//8=\"" } },
    { "Date32", { "\"0001-01-01\"", "\"1969-12-31\"", "\"1970-01-01\"", "\"2026-01-31\"" } },
    { "Timestamp[us]",
      { "\"1969-12-31T23:59:59.999999\"", "\"1970-01-01\"", "~\"1970-01-01T00:00:00.0000005\"",
        "\"1970-01-01 00:00:00.000001\"", "\"2026-01-31T12:00:00\"" } },
    { "Timestamp[us, UTC]",
      { "\"1970-01-01T01:00:00+02:00\"", "\"1970-01-01T00:00:00Z\"", "\"2026-01-31T12:00:00.5+00:00\"" } },
    { "Timestamp[s]", { "\"1969-12-31T23:59:59\"", "~\"1969-12-31T23:59:59.5\"", "\"1970-01-01T00:00:00\"" } },
    { "Timestamp[ns]",
      { "\"1970-01-01T00:00:00.000000001\"", "\"1970-01-01T00:00:00.0000000020\"",
        "\"1970-01-01T00:00:00.000001002\"" } },
    { "Time[us]", { "\"00:00:00\"", "\"00:00:00.000001\"", "~\"00:00:00.0000011\"", "\"23:59:59.999999\"" } },
    { "Duration[ms]", { "\"-P1DT0.5S\"", "\"PT-0.001S\"", "\"PT0S\"", "~\"PT0.0005S\"", "\"PT1H2M3.5S\"", "\"P1D\"" } },
};
#define N_DOMAINS (sizeof domains / sizeof domains[0])
#define ROWS      300
#define NO_PLACE  (-1) /* null */
#define NAN_PLACE (-2)

static int places[N_DOMAINS][ROWS];

static int literals_of(const struct domain *domain)
{
    int n = 0;
    while (n < 12 && domain->literals[n] != NULL) {
        n++;
    }
    return n;
}

static const char *literal_at(const struct domain *domain, int place)
{
    const char *literal = domain->literals[place];
    return literal + (literal[0] == '~');
}

static uint64_t seed = 20260131;

static int random_below(int below)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)((seed >> 33) % (uint64_t)below);
}

/* ---- physical values of the literals, written down once more by hand ---- */

static void put(struct qn_column *column, size_t domain, int place)
{
    static const int64_t numbers[N_DOMAINS][12] = {
        { 0, 1 },
        { 0, -128, 0, 0, 0, 5, 127 },
        { 0, 0, 0, 1, 255 },
        { -32768, 0, 7, 32767 },
        { 0, 7, 65535 },
        { INT32_MIN, -1, 0, INT32_MAX },
        { 0, UINT32_MAX },
        { 0, INT64_MIN, -9007199254740993, -9007199254740992, 0, 9007199254740992, 0, 9007199254740993, INT64_MAX },
        { 0, 0, INT64_MIN, -2, -1 },
        { 0 },
        { 0 },
        { 0, -9999999999, -1, 0, 0, 0, 1, 150, 0, 9999999999 },
        { 0, 0, 0, 1, 0 },
        { 0 },
        { 0 },
        { -719162, -1, 0, 20484 },
        { -1, 0, 0, 1, INT64_C(1769860800000000) },
        { -3600000000, 0, INT64_C(1769860800500000) },
        { -1, 0, 0 },
        { 1, 2, 1002 },
        { 0, 1, 0, INT64_C(86399999999) },
        { -86400500, -1, 0, 0, 3723500, 86400000 },
    };
    static const double floats[2][12] = { { -1e300, -0.5, 0, 5e-324, 0.1, 0.1 + 0.2, 1e22, 1e308 },
                                          { -2.5, 0, 0, 0.5, 16777216 } };
    static const char *const texts[] = { "",
                                         "A",
                                         "a",
                                         "a\x01",
                                         "aa and more than twelve bytes",
                                         "aa and more than twelve bytes!",
                                         "\xc3\xa4",
                                         "\xef\xbf\xbf",
                                         "\xf0\x9f\x98\x80" };
    static const struct {
        const char *bytes;
        size_t size;
    } binaries[] = { { "", 0 }, { "\0", 1 }, { "\0\0", 2 }, { "\0\0\0", 3 }, { "\xff", 1 }, { "\xff\xff", 2 } };
    const char *type = domains[domain].type;
    int64_t number = numbers[domain][place < 0 ? 0 : place];
    if (place == NO_PLACE) {
        qn_column_put_null(column);
    } else if (qn_text_equal(type, "Boolean")) {
        qn_column_put_bool(column, number != 0);
    } else if (qn_text_equal(type, "Float64")) {
        qn_column_put_float64(column, place == NAN_PLACE ? NAN : floats[0][place]);
    } else if (qn_text_equal(type, "Float32")) {
        qn_column_put_float32(column, place == NAN_PLACE ? NAN : (float)floats[1][place]);
    } else if (strncmp(type, "Decimal", 7) == 0) {
        qn_int128 value = number;
        if (qn_text_equal(type, "Decimal(38,0)") && (place == 0 || place == 4)) {
            value = (qn_decimal_power(38) - 1) * (place == 0 ? -1 : 1);
        }
        qn_column_put_decimal128(column, value);
    } else if (qn_text_equal(type, "Utf8")) {
        qn_column_put_bytes(column, texts[place], strlen(texts[place]));
    } else if (qn_text_equal(type, "Binary")) {
        qn_column_put_bytes(column, binaries[place].bytes, binaries[place].size);
    } else if (column->width == 1) {
        qn_column_put_int8(column, (int8_t)number);
    } else if (column->width == 2) {
        qn_column_put_int16(column, (int16_t)number);
    } else if (column->width == 4) {
        qn_column_put_int32(column, (int32_t)number);
    } else {
        assert_int_equal(column->width, 8);
        qn_column_put_int64(column, number);
    }
}

/* A place that a row can have. */
static int random_place(size_t domain)
{
    bool is_float = strncmp(domains[domain].type, "Float", 5) == 0;
    int roll = random_below(10);
    if (roll == 0) {
        return NO_PLACE;
    }
    if (roll == 1 && is_float) {
        return NAN_PLACE;
    }
    for (;;) {
        int place = random_below(literals_of(&domains[domain]));
        if (domains[domain].literals[place][0] != '~') {
            return place;
        }
    }
}

/* A batch of all domains, c0, c1..., and the row's number in the last column. */
static void make_rows(struct ArrowSchema *schema, struct ArrowArray *array)
{
    struct qn_batch batch;
    ok(qn_schema_struct(schema, N_DOMAINS + 1, &error));
    for (size_t i = 0; i < N_DOMAINS; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "c%zu", i);
        ok(qn_schema_set_from_text(schema, (int64_t)i, name, domains[i].type, &error));
    }
    ok(qn_schema_set_from_text(schema, N_DOMAINS, "id", "Int64!", &error));
    ok(qn_batch_init(&batch, schema, &error));
    ok(qn_batch_reserve(&batch, ROWS, &error));
    for (int row = 0; row < ROWS; row++) {
        for (size_t i = 0; i < N_DOMAINS; i++) {
            places[i][row] = random_place(i);
            put(&batch.columns[i], i, places[i][row]);
        }
        qn_column_put_int64(&batch.columns[N_DOMAINS], row);
    }
    ok(qn_batch_finish(&batch, ROWS, array, &error));
    qn_batch_dispose(&batch);
}

/* ---- expressions, written and evaluated at once ---- */

enum { FALSE, UNKNOWN, TRUE };

static void write_leaf(struct qn_buffer *text, int truths[ROWS])
{
    static const char *const operators[] = { "=", "!=", "<", "<=", ">", ">=" };
    size_t domain = (size_t)random_below(N_DOMAINS);
    int n = literals_of(&domains[domain]);
    int kind = random_below(10);
    int operator= random_below(6);
    int wanted[8];
    int n_wanted = kind == 0 ? 0 : kind <= 3 ? random_below(6) : 1;
    if (kind == 0) {
        qn_buffer_printf(text, "[\"is_null\",\"c%zu\"]", domain);
    } else {
        qn_buffer_printf(text, "[\"%s\",\"c%zu\",%s", kind <= 3 ? "in" : operators[operator], domain,
                         kind <= 3 ? "[" : "");
        for (int i = 0; i < n_wanted; i++) {
            wanted[i] = random_below(n);
            qn_buffer_printf(text, "%s%s", i > 0 ? "," : "", literal_at(&domains[domain], wanted[i]));
        }
        qn_buffer_append_text(text, kind <= 3 ? "]]" : "]");
    }
    for (int row = 0; row < ROWS; row++) {
        int place = places[domain][row];
        bool truth = false;
        for (int i = 0; kind > 0 && kind <= 3 && i < n_wanted; i++) {
            truth = truth || place == wanted[i];
        }
        if (kind > 3 && place == NAN_PLACE) {
            truth = operator== 1;
        } else if (kind > 3) {
            int order = (place > wanted[0]) - (place < wanted[0]);
            truth = operator== 0 ? order == 0 :
                    operator== 1 ? order != 0
                    :
                    operator== 2 ? order < 0
                    :
                    operator== 3 ? order <= 0
                    :
                    operator== 4 ? order > 0
                                 : order >= 0;
        }
        truths[row] = kind == 0           ? (place == NO_PLACE ? TRUE : FALSE)
                      : place == NO_PLACE ? UNKNOWN
                      : truth             ? TRUE
                                          : FALSE;
    }
}

static void write_expression(struct qn_buffer *text, int depth, int truths[ROWS])
{
    int kind = depth == 0 ? 3 : random_below(5);
    if (kind >= 3) {
        write_leaf(text, truths);
        return;
    }
    int n = kind == 2 ? 1 : 1 + random_below(3);
    qn_buffer_printf(text, "[\"%s\"", kind == 0 ? "and" : kind == 1 ? "or" : "not");
    for (int i = 0; i < n; i++) {
        int below[ROWS];
        qn_buffer_append_text(text, ",");
        write_expression(text, depth - 1, below);
        for (int row = 0; row < ROWS; row++) {
            bool take = i == 0 || (kind == 0 && below[row] < truths[row]) || (kind == 1 && below[row] > truths[row]);
            truths[row] = take ? below[row] : truths[row];
        }
    }
    for (int row = 0; kind == 2 && row < ROWS; row++) {
        truths[row] = truths[row] == TRUE ? FALSE : truths[row] == FALSE ? TRUE : UNKNOWN;
    }
    qn_buffer_append_text(text, "]");
}

static void rows__are_those_that_a_naive_evaluation_finds(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    qn_auto_array array = { 0 };
    int seen[3] = { 0 };
    make_rows(&schema, &array);
    for (int i = 0; i < 4000; i++) {
        qn_auto_buffer text = QN_BUFFER_INIT;
        int truths[ROWS];
        struct qn_filter *filter;
        struct qn_filter_plan *plan;
        const int64_t *rows;
        int64_t n;
        write_expression(&text, random_below(5), truths);
        ok(qn_filter_parse(text.data, &filter, &error));
        ok(qn_filter_plan_new(filter, &schema, &plan, &error));
        ok(qn_filter_plan_rows(plan, &array, &rows, &n, &error));
        int64_t at = 0;
        for (int row = 0; row < ROWS; row++) {
            bool found = at < n && rows[at] == row;
            if (found != (truths[row] == TRUE)) {
                fail_msg("row %d is %s, but %d: %s", row, found ? "kept" : "dropped", truths[row], text.data);
            }
            at += found;
            seen[truths[row]]++;
        }
        assert_int_equal(at, n);
        qn_filter_plan_free(plan);
        qn_filter_free(filter);
    }
    assert_true(seen[FALSE] > 100000 && seen[UNKNOWN] > 30000 &&
                seen[TRUE] > 100000); /* nothing is left out by chance */
}

/* ---- what cannot be compared ---- */

static void values__that_are_none_of_the_columns_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *type, *filter, *why;
        enum qn_status status;
    } wrong[] = {
        { "Int64", "[\"=\",\"a\",\"1\"]",
          "column \"a\" of type Int64 cannot be compared with \"1\": a number is needed", 2 },
        { "Int64", "[\"=\",\"a\",true]", "with true: a number is needed", 2 },
        { "Int64", "[\"=\",\"b\",1]", "there is no column \"b\" in the data", 2 },
        { "Int64", "[\"=\",\"a\",123456789012345678901234567890123456789]", "it has more than 38 digits", 2 },
        { "Float64", "[\"=\",\"a\",\"x\"]", "a number is needed", 2 },
        { "Utf8", "[\"in\",\"a\",[\"x\",1]]", "with 1: a text is needed", 2 },
        { "Boolean", "[\"=\",\"a\",1]", "true or false is needed", 2 },
        { "Binary", "[\"=\",\"a\",\"x\"]", "it is not base64", 2 },
        { "Binary", "[\"=\",\"a\",\"AB==\"]", "it is not base64", 2 },
        { "Date32", "[\"=\",\"a\",\"2026-02-30\"]", "a date is needed", 2 },
        { "Date32", "[\"=\",\"a\",5]", "a text of ISO 8601 is needed", 2 },
        { "Timestamp[us]", "[\"=\",\"a\",\"2026-01-01T00:00:00Z\"]", "the column has no time zone", 2 },
        { "Timestamp[us]", "[\"=\",\"a\",\"2026-01-01T00:00:00.0000000001\"]", "at most nine digits", 2 },
        { "Time[us]", "[\"=\",\"a\",\"24:00:00\"]", "a time is needed", 2 },
        { "Duration[ms]", "[\"=\",\"a\",\"P1Y\"]", "a duration of ISO 8601 is needed", 2 },
        { "Duration[ms]", "[\"=\",\"a\",\"PT\"]", "a duration of ISO 8601 is needed", 2 },
        { "List<Int64>", "[\"=\",\"a\",1]", "column \"a\" of type List cannot be compared", QN_ERR_UNSUPPORTED },
        { "Struct<x: Int64>", "[\"<\",\"a\",1]", "column \"a\" of type Struct cannot be compared", QN_ERR_UNSUPPORTED },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        qn_auto_schema schema = { 0 };
        struct qn_filter *filter;
        struct qn_filter_plan *plan = NULL;
        ok(qn_schema_struct(&schema, 1, &error));
        ok(qn_schema_set_from_text(&schema, 0, "a", wrong[i].type, &error));
        ok(qn_filter_parse(wrong[i].filter, &filter, &error));
        refused(qn_filter_plan_new(filter, &schema, &plan, &error), wrong[i].status, wrong[i].why);
        assert_null(plan);
        qn_filter_free(filter);
    }
}

/* ---- shaping ---- */

static char *row_text(const struct qn_batch_reader *reader, int64_t row)
{
    struct qn_buffer text = QN_BUFFER_INIT;
    for (int64_t i = 0; i < reader->n_columns; i++) {
        const struct qn_reader *column = &reader->columns[i];
        if (qn_reader_is_null(column, row)) {
            qn_buffer_append_text(&text, "null;");
        } else if (strncmp(domains[i % N_DOMAINS].type, "Float", 5) == 0 && i < (int64_t)N_DOMAINS) {
            qn_buffer_printf(&text, "%a;", qn_reader_float64(column, row));
        } else {
            ok(qn_reader_to_json(column, row, &text, &error));
            qn_buffer_append_byte(&text, ';');
        }
    }
    return qn_buffer_steal(&text);
}

static void release_nothing(struct ArrowArray *array)
{
    array->release = NULL;
}

/* Filter, skip, limit and projection over several batches, against the same on row numbers. */
static void shaping__is_filter_skip_limit_and_projection_in_this_order(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    struct ArrowArray first = { 0 };
    make_rows(&schema, &first);
    struct qn_batch_reader whole;
    ok(qn_batch_reader_init(&whole, &schema, &error));
    ok(qn_batch_reader_bind(&whole, &first, &error));
    char *wanted[ROWS];
    for (int row = 0; row < ROWS; row++) {
        wanted[row] = row_text(&whole, row);
    }
    for (int i = 0; i < 600; i++) {
        qn_auto_buffer text = QN_BUFFER_INIT;
        int truths[ROWS];
        struct qn_filter *filter;
        struct qn_shaper shaper;
        bool filtered = random_below(4) > 0;
        write_expression(&text, random_below(4), truths);
        ok(qn_filter_parse(text.data, &filter, &error));
        const struct qn_shaping shaping = { .filter = filtered ? filter : NULL,
                                            .skip = random_below(3) > 0 ? 0 : random_below(ROWS),
                                            .limit = random_below(3) > 0 ? -1 : random_below(ROWS) };
        ok(qn_shaper_init(&shaper, &schema, &shaping, &error));
        int64_t skip = shaping.skip;
        int64_t left = shaping.limit < 0 ? ROWS : shaping.limit;
        int next = 0; /* the row that has to come next, once it is one that is wanted */
        for (int from = 0; from < ROWS;) {
            int n = 1 + random_below(ROWS - from);
            struct ArrowArray *columns[N_DOMAINS + 1];
            struct ArrowArray parts[N_DOMAINS + 1];
            const void *no_buffer[] = { NULL };
            for (size_t c = 0; c <= N_DOMAINS; c++) {
                parts[c] = *first.children[c]; /* a view of what stays */
                parts[c].release = release_nothing;
                columns[c] = &parts[c];
            }
            struct ArrowArray batch = { .length = n,
                                        .offset = from,
                                        .n_buffers = 1,
                                        .n_children = N_DOMAINS + 1,
                                        .buffers = no_buffer,
                                        .children = columns,
                                        .release = release_nothing };
            struct ArrowArray *source = &batch;
            qn_auto_array out = { 0 };
            ok(qn_shaper_batch(&shaper, source, &out, &error));
            struct qn_batch_reader reader;
            ok(qn_batch_reader_init(&reader, &schema, &error));
            if (out.release != NULL) {
                ok(qn_batch_reader_bind(&reader, &out, &error));
            }
            int64_t at = 0;
            for (; next < from + n; next++) {
                if (filtered && truths[next] != TRUE) {
                    continue;
                }
                if (skip > 0) {
                    skip--;
                    continue;
                }
                if (left == 0) {
                    continue;
                }
                left--;
                assert_non_null(out.release);
                assert_true(at < out.length);
                char *got = row_text(&reader, at++);
                assert_string_equal(got, wanted[next]);
                qn_free(got);
            }
            assert_int_equal(at, out.release != NULL ? out.length : 0);
            qn_batch_reader_dispose(&reader);
            from += n;
        }
        qn_shaper_dispose(&shaper);
        qn_filter_free(filter);
    }
    for (int row = 0; row < ROWS; row++) {
        qn_free(wanted[row]);
    }
    qn_batch_reader_dispose(&whole);
    qn_array_release(&first);
}

static void batches__that_are_not_those_of_their_schema_are_refused(void **state)
{
    (void)state;
    qn_auto_schema schema = { 0 };
    struct ArrowArray whole = { 0 };
    make_rows(&schema, &whole);
    static const uint8_t no_nulls[(ROWS + 7) / 8 + 1] = { [0 ...(ROWS + 7) / 8] = 0xff };
    static const uint8_t nulls[(ROWS + 7) / 8] = { 0x7f };
    static const struct {
        int64_t n_children, length, offset;
        const uint8_t *valid;
        int64_t null_count;
        const char *why;
    } cases[] = {
        { N_DOMAINS + 1, ROWS, 0, NULL, 0, NULL },
        { N_DOMAINS + 1, ROWS, 0, no_nulls, -1, NULL },
        { N_DOMAINS, ROWS, 0, NULL, 0, "columns where its schema has" },
        { N_DOMAINS + 1, ROWS + 1, 0, NULL, 0, "a batch of 301 rows has a column of 300" },
        { N_DOMAINS + 1, ROWS, 1, NULL, 0, "a batch of 300 rows has a column of 300" },
        { N_DOMAINS + 1, 8, 0, nulls, -1, "rows that are null as a whole" },
        { N_DOMAINS + 1, 7, 0, nulls, 1, "rows that are null as a whole" },
        { N_DOMAINS + 1, 7, 0, nulls, -1, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct qn_shaping everything = { .limit = -1 };
        struct qn_shaper shaper;
        struct ArrowArray parts[N_DOMAINS + 1];
        struct ArrowArray *columns[N_DOMAINS + 1];
        const void *buffers[] = { cases[i].valid };
        for (size_t c = 0; c <= N_DOMAINS; c++) {
            parts[c] = *whole.children[c];
            parts[c].release = release_nothing;
            columns[c] = &parts[c];
        }
        struct ArrowArray batch = { .length = cases[i].length,
                                    .null_count = cases[i].null_count,
                                    .offset = cases[i].offset,
                                    .n_buffers = 1,
                                    .n_children = cases[i].n_children,
                                    .buffers = buffers,
                                    .children = columns,
                                    .release = release_nothing };
        qn_auto_array out = { 0 };
        ok(qn_shaper_init(&shaper, &schema, &everything, &error));
        if (cases[i].why == NULL) {
            ok(qn_shaper_batch(&shaper, &batch, &out, &error));
            assert_int_equal(out.length, cases[i].length);
        } else {
            refused(qn_shaper_batch(&shaper, &batch, &out, &error), QN_ERR_CONNECTOR, cases[i].why);
            assert_null(batch.release);
            assert_null(out.release);
        }
        qn_shaper_dispose(&shaper);
    }
    qn_array_release(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions__are_read),
        cmocka_unit_test(expressions__that_are_none_are_refused),
        cmocka_unit_test(rows__are_those_that_a_naive_evaluation_finds),
        cmocka_unit_test(values__that_are_none_of_the_columns_are_refused),
        cmocka_unit_test(shaping__is_filter_skip_limit_and_projection_in_this_order),
        cmocka_unit_test(batches__that_are_not_those_of_their_schema_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
