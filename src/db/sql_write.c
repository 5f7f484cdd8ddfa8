/*
 * sql_write.c: the SQL that the engine writes: quoted names, CREATE TABLE, the conflict clause of an INSERT.
 *
 * Every identifier goes through qn_sql_identifier; no value ever becomes SQL text here.
 */
#include "arrow/type.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/sql.h"

#include <string.h>

#define MAX_PARTS 3 /* database.schema.table */

void qn_sql_identifier(const struct qn_dialect *dialect, const char *name, struct qn_buffer *out)
{
    qn_buffer_append_byte(out, dialect->quote_open);
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == dialect->quote_close) {
            qn_buffer_append_byte(out, *c);
        }
        qn_buffer_append_byte(out, *c);
    }
    qn_buffer_append_byte(out, dialect->quote_close);
}

enum qn_status qn_sql_check_identifier(const struct qn_dialect *dialect, const char *what, const char *name,
                                       struct qn_error *err)
{
    size_t size = strlen(name);
    if (dialect->max_identifier == 0 || size <= dialect->max_identifier) {
        return QN_OK;
    }
    (void)qn_error_set(err, QN_ERR_ARGUMENT, "the %s name \"%s\" has %zu bytes, names in %s have at most %zu", what,
                       name, size, dialect->name, dialect->max_identifier);
    if (qn_text_equal(what, "column")) {
        qn_error_place(err, -1, name);
    }
    qn_error_hint(err, "the database would cut it without a word: give a shorter name");
    return QN_ERR_ARGUMENT;
}

/* ---- names with dots ---- */

struct parts {
    char *texts[MAX_PARTS];
    size_t n;
};

static void parts_dispose(struct parts *parts)
{
    for (size_t i = 0; i < parts->n; i++) {
        qn_free(parts->texts[i]);
    }
}

static char closing_quote(const struct qn_dialect *dialect, char c)
{
    if (c == '"') {
        return '"';
    }
    if (c == dialect->quote_open) {
        return dialect->quote_close;
    }
    if (c == '[' && dialect->bracket_quotes) {
        return ']';
    }
    return c == '`' && dialect->backtick_quotes ? '`' : '\0';
}

/* Read a quoted part at *at into `out` and move *at behind it; false where the quote is not closed. */
static bool read_quoted(const char **at, char closing, struct qn_buffer *out)
{
    for (const char *c = *at + 1; *c != '\0'; c++) {
        if (*c == closing && c[1] == closing) {
            c++;
        } else if (*c == closing) {
            *at = c + 1;
            return true;
        }
        qn_buffer_append_byte(out, *c);
    }
    return false;
}

static enum qn_status read_part(const struct qn_dialect *dialect, const char *table, const char **at, char **out,
                                struct qn_error *err)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    char closing = closing_quote(dialect, **at);
    if (closing == '\0') {
        size_t size = strcspn(*at, ".");
        qn_buffer_append(&text, *at, size);
        *at += size;
    } else if (!read_quoted(at, closing, &text) || (**at != '.' && **at != '\0')) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "table name %s: a quote is not closed before the next dot", table);
    }
    QN_TRY(qn_buffer_check(&text, "a table name", err));
    if (text.size == 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "table name \"%s\": a part of it is empty", table);
    }
    *out = qn_buffer_steal(&text);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

/* On failure nothing is left in *parts. */
static enum qn_status split(const struct qn_dialect *dialect, const char *table, struct parts *parts,
                            struct qn_error *err)
{
    const char *at = table;
    enum qn_status status = QN_OK;
    *parts = (struct parts){ .n = 0 };
    for (;;) {
        if (parts->n == MAX_PARTS) {
            status =
                qn_error_set(err, QN_ERR_ARGUMENT, "table name \"%s\": more than database, schema and table", table);
            qn_error_hint(err, "quote a name that holds dots, or pass the schema by itself");
        } else {
            status = read_part(dialect, table, &at, &parts->texts[parts->n], err);
            parts->n += status == QN_OK;
            if (status == QN_OK) {
                status =
                    qn_sql_check_identifier(dialect, *at == '.' ? "schema" : "table", parts->texts[parts->n - 1], err);
            }
        }
        if (status != QN_OK) {
            parts_dispose(parts);
            return status;
        }
        if (*at == '\0') {
            return QN_OK;
        }
        at++; /* the dot */
    }
}

enum qn_status qn_sql_table(const struct qn_dialect *dialect, const char *schema, const char *table,
                            struct qn_buffer *out, struct qn_error *err)
{
    if (table == NULL || table[0] == '\0' || (schema != NULL && schema[0] == '\0')) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the name of the %s is empty",
                            table == NULL || table[0] == '\0' ? "table" : "schema");
    }
    if (schema != NULL) {
        QN_TRY(qn_sql_check_identifier(dialect, "schema", schema, err));
        QN_TRY(qn_sql_check_identifier(dialect, "table", table, err));
        qn_sql_identifier(dialect, schema, out);
        qn_buffer_append_byte(out, '.');
        qn_sql_identifier(dialect, table, out);
        return QN_OK;
    }
    struct parts parts;
    QN_TRY(split(dialect, table, &parts, err));
    for (size_t i = 0; i < parts.n; i++) {
        if (i > 0) {
            qn_buffer_append_byte(out, '.');
        }
        qn_sql_identifier(dialect, parts.texts[i], out);
    }
    parts_dispose(&parts);
    return QN_OK;
}

enum qn_status qn_sql_split_table(const struct qn_dialect *dialect, const char *table, char **schema_out,
                                  char **table_out, struct qn_error *err)
{
    struct parts parts;
    if (table == NULL || table[0] == '\0') {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the name of the table is empty");
    }
    QN_TRY(split(dialect, table, &parts, err));
    if (parts.n > 2) {
        parts_dispose(&parts);
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "table name \"%s\": tables of another database are not looked up",
                            table);
    }
    *schema_out = parts.n == 2 ? parts.texts[0] : NULL;
    *table_out = parts.texts[parts.n - 1];
    return QN_OK;
}

/* ---- statements ---- */

static enum qn_status check_keys(const struct ArrowSchema *rows, const char *const *key, size_t n_key,
                                 struct qn_error *err)
{
    for (size_t i = 0; i < n_key; i++) {
        if (qn_schema_find(rows, key[i]) < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "the rows have no column \"%s\", which the key names", key[i]);
        }
    }
    return QN_OK;
}

static void put_names(const struct qn_dialect *dialect, const char *const *names, size_t n, struct qn_buffer *out)
{
    for (size_t i = 0; i < n; i++) {
        qn_buffer_append_text(out, i > 0 ? ", " : "");
        qn_sql_identifier(dialect, names[i], out);
    }
}

static enum qn_status unmappable(const struct qn_dialect *dialect, const struct ArrowSchema *field,
                                 struct qn_error *err)
{
    struct qn_type type;
    char text[QN_TYPE_MAX_FORMAT] = "";
    const struct ArrowSchema *values = field->dictionary != NULL ? field->dictionary : field;
    if (qn_type_from_format(values->format, &type, NULL) == QN_OK) {
        qn_type_to_text(&type, text);
    }
    qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%s\": %s has no type for %s", field->name, dialect->name,
                 text[0] != '\0' ? text : values->format);
    qn_error_place(err, -1, field->name);
    return QN_ERR_UNSUPPORTED;
}

enum qn_status qn_sql_create_table(const struct qn_dialect *dialect, const char *schema, const char *table,
                                   const struct ArrowSchema *rows, const char *const *key, size_t n_key,
                                   struct qn_buffer *out, struct qn_error *err)
{
    if (rows->n_children == 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a table needs at least one column");
    }
    QN_TRY(check_keys(rows, key, n_key, err));
    qn_buffer_append_text(out, "create table ");
    QN_TRY(qn_sql_table(dialect, schema, table, out, err));
    qn_buffer_append_text(out, " (");
    for (int64_t i = 0; i < rows->n_children; i++) {
        const struct ArrowSchema *field = rows->children[i];
        char buffer[64];
        const char *type = dialect->column_type(field, buffer);
        if (field->name == NULL || field->name[0] == '\0') {
            return qn_error_set(err, QN_ERR_ARGUMENT, "column %lld of the rows has no name", (long long)i + 1);
        }
        if (type == NULL) {
            return unmappable(dialect, field, err);
        }
        QN_TRY(qn_sql_check_identifier(dialect, "column", field->name, err));
        qn_buffer_append_text(out, i > 0 ? ", " : "");
        qn_sql_identifier(dialect, field->name, out);
        qn_buffer_append_byte(out, ' ');
        qn_buffer_append_text(out, type);
    }
    if (n_key > 0) {
        qn_buffer_append_text(out, ", primary key (");
        put_names(dialect, key, n_key, out);
        qn_buffer_append_byte(out, ')');
    }
    qn_buffer_append_byte(out, ')');
    return QN_OK;
}

static bool in_key(const struct qn_driver_ingest *ingest, const char *name)
{
    for (size_t i = 0; i < ingest->n_key; i++) {
        if (qn_text_equal(ingest->key[i], name)) {
            return true;
        }
    }
    return false;
}

enum qn_status qn_sql_on_conflict(const struct qn_dialect *dialect, const struct qn_driver_ingest *ingest,
                                  struct qn_buffer *out, struct qn_error *err)
{
    const struct ArrowSchema *rows = ingest->rows_schema;
    if (ingest->n_key == 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "upsert and ignore need a key");
    }
    QN_TRY(check_keys(rows, ingest->key, ingest->n_key, err));
    qn_buffer_append_text(out, " on conflict (");
    put_names(dialect, ingest->key, ingest->n_key, out);
    qn_buffer_append_text(out, ") do ");
    size_t updated = 0;
    for (int64_t i = 0; ingest->mode == QN_INGEST_UPSERT && i < rows->n_children; i++) {
        const char *name = rows->children[i]->name;
        if (in_key(ingest, name)) {
            continue;
        }
        qn_buffer_append_text(out, updated++ > 0 ? ", " : "update set ");
        qn_sql_identifier(dialect, name, out);
        qn_buffer_append_text(out, " = excluded.");
        qn_sql_identifier(dialect, name, out);
    }
    if (updated == 0) {
        qn_buffer_append_text(out, "nothing"); /* all columns are the key: the row that is there is the same */
    }
    return QN_OK;
}
