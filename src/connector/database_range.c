/*
 * database_range.c: values, ranges and locations as texts, in and out.
 *
 * What is read back comes from a bundle or a caller, so it is taken apart and written anew: no text of a location gets into
 * a statement as it is. Threads: no state.
 */
#include "base/memory.h"
#include "base/text.h"
#include "connector/database_private.h"
#include "db/sql.h"

/* ---- names ---- */

/* Names that need no quotes in a location: lower-case letters, digits and underscores. */
static bool is_plain(const char *name)
{
    bool plain = name[0] != '\0' && !qn_ascii_digit(name[0]);
    for (const char *c = name; plain && *c != '\0'; c++) {
        plain = (*c >= 'a' && *c <= 'z') || qn_ascii_digit(*c) || *c == '_';
    }
    return plain;
}

static void put_name(const char *name, struct qn_buffer *out)
{
    if (is_plain(name)) {
        qn_buffer_append_text(out, name);
        return;
    }
    qn_buffer_append_byte(out, '"');
    for (const char *c = name; *c != '\0'; c++) {
        qn_buffer_append(out, "\"\"", *c == '"' ? 2 : 0);
        qn_buffer_append(out, c, *c == '"' ? 0 : 1);
    }
    qn_buffer_append_byte(out, '"');
}

enum qn_status qn__database_table_new(const struct database *database, const char *schema, const char *name,
                                      struct database_table *out, struct qn_error *err)
{
    struct database_table table = { 0 };
    qn_auto_buffer text = QN_BUFFER_INIT;
    enum qn_status status = QN_OK;
    if (schema != NULL) {
        table.schema = qn_strdup(schema);
        table.name = qn_strdup(name);
        status = table.schema != NULL && table.name != NULL ? QN_OK : qn__no_memory(err);
    } else {
        status = qn_sql_split_table(database->dialect, name, &table.schema, &table.name, err);
    }
    if (status == QN_OK) {
        if (table.schema != NULL) {
            put_name(table.schema, &text);
            qn_buffer_append_byte(&text, '.');
        }
        put_name(table.name, &text);
        status = qn_buffer_check(&text, "the name of a table", err);
        table.text = status == QN_OK ? qn_buffer_steal(&text) : NULL;
        status = status == QN_OK && table.text == NULL ? qn__no_memory(err) : status;
    }
    if (status != QN_OK) {
        qn__database_table_dispose(&table);
        return status;
    }
    *out = table;
    return QN_OK;
}

void qn__database_table_dispose(struct database_table *table)
{
    qn_free(table->schema);
    qn_free(table->name);
    qn_free(table->text);
    *table = (struct database_table){ 0 };
}

bool qn__database_is_of(const struct database_table *table, const char *location, const char **range_out)
{
    size_t size = strlen(table->text);
    size_t whole = strlen(location);
    bool same = strncmp(location, table->text, size) == 0;
    bool ranged = same && location[size] == '[' && location[whole - 1] == ']';
    if (!same || (location[size] != '\0' && !ranged)) {
        return false;
    }
    if (range_out != NULL) {
        *range_out = ranged ? location + size : NULL;
    }
    return true;
}

/* ---- writing ---- */

void qn__database_range_dispose(struct database_range *range)
{
    qn_free(range->from.text);
    qn_free(range->to.text);
    *range = (struct database_range){ 0 };
}

/* '...' with quotes doubled. */
static void put_text(const char *text, struct qn_buffer *out)
{
    qn_buffer_append_byte(out, '\'');
    for (const char *c = text; *c != '\0'; c++) {
        qn_buffer_append(out, "''", *c == '\'' ? 2 : 0);
        qn_buffer_append(out, c, *c == '\'' ? 0 : 1);
    }
    qn_buffer_append_byte(out, '\'');
}

void qn__database_put_value(const struct database *database, const struct database_value *value, struct qn_buffer *sql)
{
    if (value->number) {
        qn_buffer_append_text(sql, value->text);
    } else if (database->dialect->escape_strings && strchr(value->text, '\\') != NULL) {
        qn_buffer_append_text(sql, " E'"); /* means the same whatever standard_conforming_strings is */
        for (const char *c = value->text; *c != '\0'; c++) {
            qn_buffer_append(sql, c, *c == '\'' || *c == '\\' ? 1 : 0);
            qn_buffer_append_byte(sql, *c);
        }
        qn_buffer_append_byte(sql, '\'');
    } else {
        put_text(value->text, sql);
    }
}

/* One end of a range: `write` puts the value. */
static void put_end(const struct database *database, const char *column, const char *symbol,
                    const struct database_value *value, struct qn_buffer *out)
{
    qn_buffer_printf(out, "%s %s ", column, symbol);
    if (database != NULL) {
        qn__database_put_value(database, value, out);
    } else if (value->number) {
        qn_buffer_append_text(out, value->text);
    } else {
        put_text(value->text, out);
    }
}

/* `database` NULL: as a location has it. */
static void put_condition(const struct database *database, const struct database_range *range, const char *column,
                          struct qn_buffer *out)
{
    if (range->nulls) {
        qn_buffer_printf(out, "%s is null", column);
        return;
    }
    if (range->low != BOUND_NONE) {
        put_end(database, column, range->low == BOUND_INCLUSIVE ? ">=" : ">", &range->from, out);
    }
    qn_buffer_append_text(out, range->low != BOUND_NONE && range->high != BOUND_NONE ? " and " : "");
    if (range->high != BOUND_NONE) {
        put_end(database, column, range->high == BOUND_INCLUSIVE ? "<=" : "<", &range->to, out);
    }
    if (range->low == BOUND_NONE && range->high == BOUND_NONE) {
        qn_buffer_printf(out, "%s is not null", column);
    }
}

void qn__database_put_range(const struct database *database, const struct database_range *range, const char *column,
                            struct qn_buffer *sql)
{
    put_condition(database, range, column, sql);
}

enum qn_status qn__database_location(const struct database *database, const struct database_table *table,
                                     const struct database_range *range, struct qn_buffer *out, struct qn_error *err)
{
    qn_auto_buffer key = QN_BUFFER_INIT;
    qn_buffer_reset(out);
    put_name(database->key, &key);
    QN_TRY(qn_buffer_check(&key, "the name of a key", err));
    qn_buffer_printf(out, "%s[", table->text);
    put_condition(NULL, range, key.data, out);
    qn_buffer_append_byte(out, ']');
    return qn_buffer_check(out, "a location", err);
}

/* ---- reading ---- */

static bool take(const char **at, const char *text)
{
    size_t size = strlen(text);
    if (strncmp(*at, text, size) != 0) {
        return false;
    }
    *at += size;
    return true;
}

static size_t digits(const char *at)
{
    return strspn(at, "0123456789");
}

/* -12, 1.5, 9e+999: the size of the number at `at`; 0 where there is none. */
static size_t number_size(const char *at)
{
    const char *c = at + (*at == '-');
    size_t whole = digits(c);
    if (whole == 0) {
        return 0;
    }
    c += whole;
    if (*c == '.' && digits(c + 1) > 0) {
        c += 1 + digits(c + 1);
    }
    if (*c == 'e' || *c == 'E') {
        const char *exponent = c + 1 + (c[1] == '-' || c[1] == '+');
        c = digits(exponent) > 0 ? exponent + digits(exponent) : c;
    }
    return (size_t)(c - at);
}

enum qn_status qn__database_take_value(const char **at, struct database_value *out, bool *taken_out,
                                       struct qn_error *err)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    size_t size = number_size(*at);
    const char *end = *at + size;
    *taken_out = size > 0;
    if (size > 0) {
        qn_buffer_append(&text, *at, size);
    } else if (**at == '\'') {
        const char *c = *at + 1;
        for (; *c != '\0' && !(c[0] == '\'' && c[1] != '\''); c++) {
            c += *c == '\'';
            qn_buffer_append_byte(&text, *c);
        }
        *taken_out = *c == '\'';
        end = c + 1;
    }
    if (!*taken_out) {
        return QN_OK;
    }
    QN_TRY(qn_buffer_check(&text, "a key", err));
    out->number = size > 0;
    out->text = qn_strndup(qn_buffer_text(&text), text.size);
    *at = end;
    return out->text != NULL ? QN_OK : qn__no_memory(err);
}

/* " >= VALUE" or " > VALUE", and the other way round for the upper end. */
static enum qn_status take_end(const char **text, const char *inclusive, const char *exclusive,
                               enum database_bound *bound, struct database_value *value, bool *taken_out,
                               struct qn_error *err)
{
    *bound = take(text, inclusive) ? BOUND_INCLUSIVE : take(text, exclusive) ? BOUND_EXCLUSIVE : BOUND_NONE;
    *taken_out = false;
    return *bound != BOUND_NONE ? qn__database_take_value(text, value, taken_out, err) : QN_OK;
}

/* What follows the key in "[key >= 1 and key < 5]". */
static enum qn_status take_ends(const char *text, const char *key, struct database_range *out, bool *right_out,
                                struct qn_error *err)
{
    QN_TRY(take_end(&text, " >= ", " > ", &out->low, &out->from, right_out, err));
    if (!*right_out || !take(&text, " and ") || !take(&text, key)) {
        *right_out = false;
        return QN_OK;
    }
    QN_TRY(take_end(&text, " <= ", " < ", &out->high, &out->to, right_out, err));
    *right_out = *right_out && take(&text, "]") && *text == '\0';
    return QN_OK;
}

enum qn_status qn__database_parse_range(const struct database *database, const char *text, struct database_range *out,
                                        bool *right_out, struct qn_error *err)
{
    struct database_range range = { 0 };
    qn_auto_buffer key = QN_BUFFER_INIT;
    *right_out = false;
    if (database->key == NULL) {
        return QN_OK;
    }
    put_name(database->key, &key);
    QN_TRY(qn_buffer_check(&key, "the name of a key", err));
    if (!take(&text, "[") || !take(&text, key.data)) {
        return QN_OK;
    }
    enum qn_status status = QN_OK;
    if (take(&text, " is null]")) {
        range.nulls = true;
        *right_out = *text == '\0';
    } else {
        status = take_ends(text, key.data, &range, right_out, err);
    }
    if (status != QN_OK || !*right_out) {
        qn__database_range_dispose(&range);
        return status;
    }
    *out = range;
    return QN_OK;
}
