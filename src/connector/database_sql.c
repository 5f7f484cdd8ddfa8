/*
 * database_sql.c: the statements of the `database` connector.
 *
 * Every source has the alias q and every column is written as q."name": SQLite takes a quoted name that no column has for a
 * text, unless it is qualified. A filter goes into SQL only where the database's answer is certain to be the core's: whole
 * numbers against whole numbers, texts by their bytes, nulls; the rest is left, which costs time and nothing else.
 * Threads: no state.
 */
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "connector/database_private.h"
#include "db/sql.h"

#include <jansson.h>

#define MAX_ROWS         10000000 /* of a statement of ours */
#define MAX_FILTER_DEPTH 64

/* ---- sources ---- */

void qn__database_put_column(const struct database *database, const char *name, struct qn_buffer *sql)
{
    qn_buffer_append_text(sql, "q.");
    qn_sql_identifier(database->dialect, name, sql);
}

/* The size of a query without the semicolons and blanks at its end. */
static size_t query_size(const char *query)
{
    size_t size = strlen(query);
    while (size > 0 && (qn_ascii_space(query[size - 1]) || query[size - 1] == ';')) {
        size--;
    }
    return size;
}

enum qn_status qn__database_put_source(const struct database *database, const struct database_table *table,
                                       const struct database_range *range, struct qn_buffer *sql, struct qn_error *err)
{
    qn_buffer_append_text(sql, " from ");
    if (table == NULL) {
        qn_buffer_append_byte(sql, '(');
        qn_buffer_append(sql, database->query, query_size(database->query));
        qn_buffer_append_text(sql, "\n)"); /* the query may end in a comment */
    } else if (table->schema != NULL) {
        QN_TRY(qn_sql_table(database->dialect, table->schema, table->name, sql, err));
    } else {
        qn_sql_identifier(database->dialect, table->name, sql);
    }
    qn_buffer_append_text(sql, " q where 1 = 1");
    if (table != NULL && database->where != NULL) {
        qn_buffer_printf(sql, " and (%s\n)", database->where);
    }
    if (range != NULL) {
        qn_auto_buffer column = QN_BUFFER_INIT;
        qn__database_put_column(database, database->key, &column);
        QN_TRY(qn_buffer_check(&column, "a column", err));
        qn_buffer_append_text(sql, " and ");
        qn__database_put_range(database, range, column.data, sql);
    }
    return qn_buffer_check(sql, "a statement", err);
}

void qn__database_put_text_of(const struct database *database, const char *expression, struct qn_buffer *sql)
{
    qn_buffer_printf(sql, database->kind == DATABASE_SQLITE ? "quote(%s)" : "cast(%s as text)", expression);
}

/* ---- reading few rows ---- */

void qn__database_rows_dispose(struct database_rows *rows)
{
    for (size_t i = 0; i < rows->n_rows * rows->n_columns; i++) {
        qn_free(rows->values[i]);
    }
    qn_free(rows->values);
    *rows = (struct database_rows){ 0 };
}

static enum qn_status copy_value(const struct qn_reader *reader, int64_t row, char **out, struct qn_error *err)
{
    const char *text = NULL;
    size_t size = 0;
    *out = NULL;
    if (qn_reader_is_null(reader, row)) {
        return QN_OK;
    }
    if (!qn_reader_bytes(reader, row, &text, &size) || memchr(text, '\0', size) != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "column \"%s\": a value that is no text", reader->name);
    }
    *out = qn_strndup(text, size);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status copy_batch(void *context, const struct qn_batch_reader *reader, struct qn_error *err)
{
    struct database_rows *rows = context;
    size_t n = (size_t)reader->length;
    if (rows->n_rows + n > MAX_ROWS) {
        return qn_error_set(err, QN_ERR_NO_MEMORY, "more than %d ranges: the argument \"rows_per_range\" is too small",
                            MAX_ROWS);
    }
    char **longer = qn_realloc_array(rows->values, (rows->n_rows + n) * rows->n_columns + 1, sizeof *longer);
    if (longer == NULL) {
        return qn__no_memory(err);
    }
    rows->values = longer;
    for (size_t row = 0; row < n; row++) {
        char **to = rows->values + rows->n_rows * rows->n_columns;
        memset(to, 0, rows->n_columns * sizeof *to);
        rows->n_rows++;
        for (size_t i = 0; i < rows->n_columns; i++) {
            QN_TRY(copy_value(&reader->columns[i], (int64_t)row, &to[i], err));
        }
    }
    return QN_OK;
}

enum qn_status qn__database_read(struct qn_connection *connection, const char *sql, const char *const *columns,
                                 size_t n_columns, struct database_rows *out, struct qn_error *err)
{
    struct qn_type_override types[8];
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_query query = QN_QUERY_INIT;
    qn_auto_stream stream = { .release = NULL };
    for (size_t i = 0; i < n_columns; i++) {
        types[i] = (struct qn_type_override){ .column = columns[i], .type = "Utf8" };
    }
    options.types = types;
    options.n_types = n_columns;
    query.sql = sql;
    query.options = &options;
    *out = (struct database_rows){ .n_columns = n_columns };
    QN_TRY(qn_connection_query(connection, &query, &stream, NULL, err));
    enum qn_status status = qn_stream_each_batch(&stream, copy_batch, out, err);
    if (status != QN_OK) {
        qn__database_rows_dispose(out);
    }
    return status;
}

/* ---- filters ---- */

enum column_class { CLASS_UNKNOWN, CLASS_WHOLE, CLASS_TEXT, CLASS_BOOL };

static bool begins_with_any(const char *text, size_t size, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strlen(words[i]) <= size && strncmp(text, words[i], strlen(words[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether the database compares the texts of a column as such: by its declared type. */
static bool is_text_column(const struct database *database, const struct ArrowSchema *field)
{
    static const char *const postgres[] = { "text", "character varying", "varchar", NULL };
    const char *declared = NULL;
    size_t size = 0;
    char upper[64];
    if (!qn_schema_metadata_get(field, QN_KEY_SQL_TYPE, &declared, &size) || size >= sizeof upper) {
        return false;
    }
    if (database->kind == DATABASE_POSTGRES) {
        return begins_with_any(declared, size, postgres) && memchr(declared, '[', size) == NULL;
    }
    for (size_t i = 0; i < size; i++) {
        char c = declared[i];
        upper[i] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    upper[size] = '\0'; /* the rule of SQLite for text affinity */
    return strstr(upper, "INT") == NULL &&
           (strstr(upper, "CHAR") != NULL || strstr(upper, "CLOB") != NULL || strstr(upper, "TEXT") != NULL);
}

static enum column_class class_of(const struct database *database, const struct ArrowSchema *schema, const char *name)
{
    struct qn_type type;
    int64_t i = qn_schema_find(schema, name);
    for (size_t j = 0; j < database->n_types; j++) {
        if (qn_text_equal(database->types[j].column, name)) {
            return CLASS_UNKNOWN; /* it arrives as something else than the database compares */
        }
    }
    if (i < 0 || database->kind == DATABASE_OTHER || schema->children[i]->dictionary != NULL ||
        qn_type_from_format(schema->children[i]->format, &type, NULL) != QN_OK) {
        return CLASS_UNKNOWN;
    }
    switch (type.id) {
    case QN_TYPE_INT8:
    case QN_TYPE_INT16:
    case QN_TYPE_INT32:
    case QN_TYPE_INT64:
        return CLASS_WHOLE;
    case QN_TYPE_BOOL:
        return database->kind == DATABASE_POSTGRES ? CLASS_BOOL : CLASS_UNKNOWN;
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return is_text_column(database, schema->children[i]) ? CLASS_TEXT : CLASS_UNKNOWN;
    default:
        return CLASS_UNKNOWN;
    }
}

struct filtering {
    const struct database *database;
    const struct ArrowSchema *schema;
    struct qn_buffer *sql;
};

/* The value as SQL, where it is one that a column of the class is compared with exactly. */
static bool put_literal(const struct filtering *to, enum column_class class, const json_t *value, struct qn_buffer *sql)
{
    if (class == CLASS_WHOLE && json_is_integer(value)) {
        long long number = json_integer_value(value);
        /* the digits of the smallest number, without its sign, are not one */
        qn_buffer_printf(sql, number == INT64_MIN ? "(-9223372036854775807 - 1)" : "%lld", number);
        return true;
    }
    if (class == CLASS_BOOL && json_is_boolean(value)) {
        qn_buffer_append_text(sql, json_is_true(value) ? "true" : "false");
        return true;
    }
    const char *text = class == CLASS_TEXT ? json_string_value(value) : NULL;
    if (text == NULL || strlen(text) != json_string_length(value)) {
        return false;
    }
    char *copy = qn_strdup(text);
    if (copy != NULL) {
        struct database_value written = { .number = false, .text = copy };
        qn__database_put_value(to->database, &written, sql);
    }
    qn_free(copy);
    return copy != NULL;
}

/* The column; of texts with the order of their bytes. */
static void put_operand(const struct filtering *to, enum column_class class, const char *name, struct qn_buffer *sql)
{
    qn__database_put_column(to->database, name, sql);
    if (class == CLASS_TEXT) {
        qn_buffer_append_text(sql, to->database->kind == DATABASE_POSTGRES ? " collate \"C\"" : " collate binary");
    }
}

static bool put_comparison(const struct filtering *to, const char *symbol, const json_t *expression,
                           struct qn_buffer *sql)
{
    const char *name = json_string_value(json_array_get(expression, 1));
    enum column_class class = name != NULL ? class_of(to->database, to->schema, name) : CLASS_UNKNOWN;
    if (class == CLASS_UNKNOWN || json_array_size(expression) != 3) {
        return false;
    }
    if (class == CLASS_TEXT && qn_text_equal(symbol, "=")) { /* so that an index may be used, too */
        qn__database_put_column(to->database, name, sql);
        qn_buffer_append_text(sql, " = ");
        if (!put_literal(to, class, json_array_get(expression, 2), sql)) {
            return false;
        }
        qn_buffer_append_text(sql, " and ");
    }
    put_operand(to, class, name, sql);
    qn_buffer_printf(sql, " %s ", qn_text_equal(symbol, "!=") ? "<>" : symbol);
    return put_literal(to, class, json_array_get(expression, 2), sql);
}

static bool put_in(const struct filtering *to, const json_t *expression, struct qn_buffer *sql)
{
    const char *name = json_string_value(json_array_get(expression, 1));
    const json_t *values = json_array_get(expression, 2);
    enum column_class class = name != NULL ? class_of(to->database, to->schema, name) : CLASS_UNKNOWN;
    size_t n = json_array_size(values);
    if (class == CLASS_UNKNOWN || n == 0 || n > 1000) {
        return false;
    }
    put_operand(to, class, name, sql);
    for (size_t i = 0; i < n; i++) {
        qn_buffer_append_text(sql, i == 0 ? " in (" : ", ");
        if (!put_literal(to, class, json_array_get(values, i), sql)) {
            return false;
        }
    }
    qn_buffer_append_byte(sql, ')');
    return true;
}

/* Write an expression in parentheses; false (and anything in `sql`) where it is not certain to mean the same. */
static bool put_expression(const struct filtering *to, const json_t *expression, int depth, struct qn_buffer *sql)
{
    static const char *const comparisons[] = { "=", "!=", "<", "<=", ">", ">=", NULL };
    const char *symbol = json_string_value(json_array_get(expression, 0));
    size_t n = json_array_size(expression);
    bool right = false;
    if (symbol == NULL || depth > MAX_FILTER_DEPTH || n < 2) {
        return false;
    }
    qn_buffer_append_byte(sql, '(');
    if (qn_text_equal(symbol, "and") || qn_text_equal(symbol, "or")) {
        right = true;
        for (size_t i = 1; right && i < n; i++) {
            qn_buffer_printf(sql, "%s%s%s", i > 1 ? " " : "", i > 1 ? symbol : "", i > 1 ? " " : "");
            right = put_expression(to, json_array_get(expression, i), depth + 1, sql);
        }
    } else if (qn_text_equal(symbol, "not") && n == 2) {
        qn_buffer_append_text(sql, "not ");
        right = put_expression(to, json_array_get(expression, 1), depth + 1, sql);
    } else if (qn_text_equal(symbol, "is_null") && n == 2) {
        const char *name = json_string_value(json_array_get(expression, 1));
        right = name != NULL && qn_schema_find(to->schema, name) >= 0;
        if (right) {
            qn__database_put_column(to->database, name, sql);
            qn_buffer_append_text(sql, " is null");
        }
    } else if (qn_text_equal(symbol, "in") && n == 3) {
        right = put_in(to, expression, sql);
    }
    for (size_t i = 0; !right && comparisons[i] != NULL; i++) {
        right = qn_text_equal(symbol, comparisons[i]) && put_comparison(to, symbol, expression, sql);
    }
    qn_buffer_append_byte(sql, ')');
    return right;
}

/* Append " and (...)" where the expression can be written; otherwise leave the SQL as it is. */
static bool add_expression(const struct filtering *to, const json_t *expression, struct qn_buffer *sql)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    bool right = put_expression(to, expression, 0, &text) && text.failure == QN_BUFFER_FINE;
    if (right) {
        qn_buffer_printf(sql, " and %s", text.data);
    }
    return right;
}

enum qn_status qn__database_put_filter(const struct database *database, const char *filter,
                                       const struct ArrowSchema *schema, struct qn_buffer *sql, bool *whole_out,
                                       struct qn_error *err)
{
    const struct filtering to = { .database = database, .schema = schema, .sql = sql };
    json_t *expression = json_loads(filter, 0, NULL);
    if (expression == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the filter is not JSON");
    }
    const char *symbol = json_string_value(json_array_get(expression, 0));
    *whole_out = add_expression(&to, expression, sql);
    if (!*whole_out && symbol != NULL && qn_text_equal(symbol, "and")) {
        for (size_t i = 1; i < json_array_size(expression); i++) { /* fewer rows for the core to look at */
            (void)add_expression(&to, json_array_get(expression, i), sql);
        }
    }
    json_decref(expression);
    return qn_buffer_check(sql, "a statement", err);
}
