/*
 * type_field.c: type texts with children and nullability, to and from the fields of schemas.
 *
 *   type   = plain | "List<" type ">" | "Struct<" [ name ":" type { "," name ":" type } ] ">", then "?" or "!" or nothing
 *   plain  = what qn_type_from_text reads
 *   name   = characters other than , : < > " and spaces around it, or in double quotes, where "" is one quote
 *
 * Spaces may stand between the parts. Threads: no state.
 */
#include "arrow/type.h"

#include "arrow/type_parse.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "base/utf8.h"

#define MAX_DEPTH 16

struct scan {
    const char *at;
    const char *end;
    struct qn_error *err;
};

static const char hint[] =
    "lists are List<Int64>, structs Struct<a: Int64, b: Utf8>; after a type ? says that it may be null, "
    "which is so without it too, and ! that it may not";

static void skip_spaces(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t')) {
        scan->at++;
    }
}

static bool take(struct scan *scan, char wanted)
{
    skip_spaces(scan);
    if (scan->at < scan->end && *scan->at == wanted) {
        scan->at++;
        return true;
    }
    return false;
}

/* `word`, spaces and '<'. */
static bool take_open(struct scan *scan, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(scan->end - scan->at) < size || memcmp(scan->at, word, size) != 0) {
        return false;
    }
    struct scan after = { scan->at + size, scan->end, NULL };
    if (!take(&after, '<')) {
        return false;
    }
    scan->at = after.at;
    return true;
}

static enum qn_status expected(const struct scan *scan, const char *what)
{
    char quoted[QN__QUOTED_SIZE], rest[QN__QUOTED_SIZE];
    size_t size = (size_t)(scan->end - scan->at) < sizeof rest ? (size_t)(scan->end - scan->at) : sizeof rest - 1;
    memcpy(rest, scan->at, size);
    rest[size] = '\0';
    qn__type_quote(rest, quoted);
    enum qn_status status = size > 0
                                ? qn_error_set(scan->err, QN_ERR_CONFIG, "%s is expected before \"%s\"", what, quoted)
                                : qn_error_set(scan->err, QN_ERR_CONFIG, "%s is expected at the end of the type", what);
    qn_error_hint(scan->err, "%s", hint);
    return status;
}

/* A plain type: up to what ends it outside of its own parentheses. */
static enum qn_status take_plain(struct scan *scan, struct qn_type *out)
{
    const char *begin = scan->at;
    int open = 0;
    while (scan->at < scan->end && (open > 0 || strchr(",<>?!:", *scan->at) == NULL)) {
        open += *scan->at == '(' || *scan->at == '[' ? 1 : *scan->at == ')' || *scan->at == ']' ? -1 : 0;
        scan->at++;
    }
    const char *end = scan->at;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    char *text qn_auto_free = qn_strndup(begin, (size_t)(end - begin));
    if (text == NULL) {
        return qn__no_memory(scan->err);
    }
    enum qn_status status = qn_type_from_text(text, out, scan->err);
    if (status == QN_ERR_CONFIG) {
        qn_error_hint(scan->err, "%s", hint);
    }
    return status;
}

/* The name of a field, unquoted. */
static enum qn_status take_name(struct scan *scan, struct qn_buffer *out)
{
    skip_spaces(scan);
    if (scan->at < scan->end && *scan->at == '"') {
        for (scan->at++; scan->at < scan->end; scan->at++) {
            if (*scan->at == '"' && (scan->end - scan->at < 2 || scan->at[1] != '"')) {
                scan->at++;
                return qn_buffer_check(out, "the name of a field", scan->err);
            }
            scan->at += *scan->at == '"' ? 1 : 0;
            qn_buffer_append_byte(out, *scan->at);
        }
        return expected(scan, "the quote that ends a name");
    }
    const char *begin = scan->at;
    while (scan->at < scan->end && strchr(",:<>\"", *scan->at) == NULL) {
        scan->at++;
    }
    const char *end = scan->at;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    qn_buffer_append(out, begin, (size_t)(end - begin));
    return end > begin ? qn_buffer_check(out, "the name of a field", scan->err) : expected(scan, "the name of a field");
}

static enum qn_status take_type(struct scan *scan, struct ArrowSchema *parent, int64_t i, const char *name, int depth);

/* How many fields a struct has, whose text begins here: the commas at its own level, outside of parentheses and quotes. */
static int64_t count_fields(const struct scan *scan)
{
    int64_t count = 1;
    int open = 0;
    bool quoted = false;
    for (const char *at = scan->at; at < scan->end; at++) {
        quoted = *at == '"' ? !quoted : quoted;
        if (quoted) {
            continue;
        }
        open += strchr("<([", *at) != NULL ? 1 : strchr(">)]", *at) != NULL ? -1 : 0;
        if (open < 0) {
            break;
        }
        count += *at == ',' && open == 0 ? 1 : 0;
    }
    return count;
}

/* After "Struct<". */
static enum qn_status take_struct(struct scan *scan, struct ArrowSchema *field, int depth)
{
    if (take(scan, '>')) {
        return QN_OK;
    }
    int64_t count = count_fields(scan);
    QN_TRY(qn_schema_children(field, count, scan->err));
    for (int64_t i = 0; i < count; i++) {
        qn_auto_buffer name = QN_BUFFER_INIT;
        if (i > 0 && !take(scan, ',')) {
            return expected(scan, "a comma");
        }
        QN_TRY(take_name(scan, &name));
        if (qn_schema_find(field, qn_buffer_text(&name)) >= 0 && name.size > 0) {
            return qn_error_set(scan->err, QN_ERR_CONFIG, "a struct has two fields of the name \"%s\"", name.data);
        }
        if (!take(scan, ':')) {
            return expected(scan, "a colon after the name of a field");
        }
        skip_spaces(scan);
        QN_TRY(take_type(scan, field, i, qn_buffer_text(&name), depth + 1));
    }
    return take(scan, '>') ? QN_OK : expected(scan, "the \">\" of a struct");
}

/* After "List<". */
static enum qn_status take_list(struct scan *scan, struct ArrowSchema *field, int depth)
{
    QN_TRY(qn_schema_children(field, 1, scan->err));
    skip_spaces(scan);
    QN_TRY(take_type(scan, field, 0, "item", depth + 1));
    return take(scan, '>') ? QN_OK : expected(scan, "the \">\" of a list");
}

static enum qn_status take_type(struct scan *scan, struct ArrowSchema *parent, int64_t i, const char *name, int depth)
{
    if (depth > MAX_DEPTH) {
        return qn_error_set(scan->err, QN_ERR_CONFIG, "a type nests deeper than %d levels", MAX_DEPTH);
    }
    bool list = take_open(scan, "List"), structure = !list && take_open(scan, "Struct");
    struct qn_type type = qn_type_of(list ? QN_TYPE_LIST : QN_TYPE_STRUCT);
    if (!list && !structure) {
        QN_TRY(take_plain(scan, &type));
    }
    QN_TRY(qn_schema_set(parent, i, name, &type, scan->err));
    struct ArrowSchema *field = parent->children[i];
    if (list) {
        QN_TRY(take_list(scan, field, depth));
    } else if (structure) {
        QN_TRY(take_struct(scan, field, depth));
    }
    field->flags |= ARROW_FLAG_NULLABLE;
    if (take(scan, '!')) {
        if (type.id == QN_TYPE_NULL) {
            return qn_error_set(scan->err, QN_ERR_CONFIG, "Null! would have no value");
        }
        field->flags &= ~ARROW_FLAG_NULLABLE;
    } else {
        (void)take(scan, '?');
    }
    return QN_OK;
}

enum qn_status qn_schema_set_from_text(struct ArrowSchema *schema, int64_t i, const char *name, const char *text,
                                       struct qn_error *err)
{
    size_t size = strlen(text);
    if (i < 0 || i >= schema->n_children) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a schema of %lld fields has no field %lld",
                            (long long)schema->n_children, (long long)i);
    }
    if (size > QN_TYPE_TEXT_MAX || !qn_utf8_valid(text, size)) {
        return qn_error_set(err, QN_ERR_CONFIG, "a type is not UTF-8 text of at most %d bytes", QN_TYPE_TEXT_MAX);
    }
    /* Into a schema of its own first: what fails leaves nothing behind. */
    qn_auto_schema made = { 0 };
    struct scan scan = { text, text + size, err };
    QN_TRY(qn_schema_struct(&made, 1, err));
    skip_spaces(&scan);
    QN_TRY(take_type(&scan, &made, 0, name, 1));
    skip_spaces(&scan);
    if (scan.at < scan.end) {
        return expected(&scan, "the end of the type");
    }
    qn_schema_release(schema->children[i]);
    *schema->children[i] = *made.children[0];
    made.children[0]->release = NULL;
    return QN_OK;
}

/* ---- back ---- */

static void put_name(const char *name, struct qn_buffer *out)
{
    size_t size = strlen(name);
    bool plain = size > 0 && strpbrk(name, ",:<>\"") == NULL && strchr(" \t", name[0]) == NULL &&
                 strchr(" \t", name[size - 1]) == NULL;
    if (plain) {
        qn_buffer_append_text(out, name);
        return;
    }
    qn_buffer_append_byte(out, '"');
    for (const char *at = name; *at != '\0'; at++) {
        qn_buffer_append(out, "\"\"", *at == '"' ? 1 : 0);
        qn_buffer_append_byte(out, *at);
    }
    qn_buffer_append_byte(out, '"');
}

static void put_type(const struct ArrowSchema *field, int depth, struct qn_buffer *out)
{
    const struct ArrowSchema *values = field;
    struct qn_type type;
    char text[QN_TYPE_MAX_FORMAT];
    while (values->dictionary != NULL) {
        values = values->dictionary;
    }
    if (qn_type_from_format(values->format, &type, NULL) != QN_OK) {
        type = qn_type_of(QN_TYPE_OTHER);
    }
    qn_type_to_text(&type, text);
    qn_buffer_append_text(out, text);
    bool nested = type.id == QN_TYPE_STRUCT || strcmp(text, "List") == 0 || type.id == QN_TYPE_MAP;
    if (nested && depth < QN__MAX_NESTING) {
        qn_buffer_append_byte(out, '<');
        for (int64_t i = 0; i < values->n_children; i++) {
            qn_buffer_append(out, ", ", i > 0 ? 2 : 0);
            if (type.id == QN_TYPE_STRUCT) {
                put_name(values->children[i]->name != NULL ? values->children[i]->name : "", out);
                qn_buffer_append_text(out, ": ");
            }
            put_type(values->children[i], depth + 1, out);
        }
        qn_buffer_append_byte(out, '>');
    }
    qn_buffer_append(out, "!", (field->flags & ARROW_FLAG_NULLABLE) != 0 ? 0 : 1);
}

void qn_schema_field_to_text(const struct ArrowSchema *field, struct qn_buffer *out)
{
    put_type(field, 0, out);
}
