/*
 * filter.c: filter expressions read from JSON text.
 *
 * The text is read here and not by a JSON library because numbers have to stay as they are written: whole numbers of any
 * size and decimals with all their digits. Texts in quotes are left to the library. What is read may come from outside:
 * depth, nodes and bytes have limits. Threads: no state.
 */
#include "connector/filter_private.h"

#include "base/memory.h"
#include "base/text.h"
#include "wire/rpc.h"

#define SHOWN 40 /* bytes of the text in a message */

struct parser {
    const char *text, *at;
    struct qn_filter *filter;
    int depth;
    struct qn_error *err;
};

/* ---- memory ---- */

void qn_filter_free(struct qn_filter *filter)
{
    if (filter == NULL) {
        return;
    }
    for (size_t i = 0; i < filter->n_values; i++) {
        qn_free(filter->values[i].text);
    }
    for (size_t i = 0; i < filter->n_columns; i++) {
        qn_free(filter->columns[i]);
    }
    qn_free(filter->values);
    qn_free(filter->columns);
    qn_free(filter->nodes);
    qn_free(filter);
}

size_t qn_filter_columns(const struct qn_filter *filter, const char *const **out)
{
    *out = (const char *const *)filter->columns;
    return filter->n_columns;
}

/* Room for one more of `size` bytes. */
static bool grow(void *array, size_t n, size_t *room, size_t size)
{
    void *old;
    if (n < *room) {
        return true;
    }
    memcpy(&old, array, sizeof old);
    void *larger = qn_realloc_array(old, *room * 2 + 8, size);
    if (larger == NULL) {
        return false;
    }
    memcpy(array, &larger, sizeof larger);
    *room = *room * 2 + 8;
    return true;
}

/* ---- tokens ---- */

static enum qn_status wrong(const struct parser *parser, const char *what)
{
    char shown[SHOWN + 1];
    size_t size = strnlen(parser->at, SHOWN);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)parser->at[i];
        shown[i] = c < 0x20 || c >= 0x7f ? '?' : parser->at[i];
    }
    shown[size] = '\0';
    if (size == 0) {
        return qn_error_set(parser->err, QN_ERR_ARGUMENT, "filter: %s at its end", what);
    }
    return qn_error_set(parser->err, QN_ERR_ARGUMENT, "filter: %s at byte %lld: %s", what,
                        (long long)(parser->at - parser->text), shown);
}

static void skip_space(struct parser *parser)
{
    parser->at += strspn(parser->at, " \t\r\n");
}

/* The next byte is this one, and is passed. */
static bool passes(struct parser *parser, char c)
{
    skip_space(parser);
    if (*parser->at != c) {
        return false;
    }
    parser->at++;
    return true;
}

static enum qn_status expect(struct parser *parser, char c)
{
    char what[] = "',' is missing";
    what[1] = c;
    return passes(parser, c) ? QN_OK : wrong(parser, what);
}

/* A text in quotes: a new one of the caller's. */
static enum qn_status read_text(struct parser *parser, const char *what, char **out)
{
    skip_space(parser);
    const char *end = parser->at;
    if (*end != '"') {
        return wrong(parser, what);
    }
    do {
        end += *end == '\\' && end[1] != '\0' ? 2 : 1;
    } while (*end != '"' && *end != '\0');
    if (*end == '\0') {
        return wrong(parser, "a text without an end");
    }
    qn_auto_json *value = NULL;
    struct qn_error ignored;
    enum qn_status status = qn_json_parse(parser->at, (size_t)(end + 1 - parser->at), "a text", &value, &ignored);
    if (status == QN_ERR_NO_MEMORY) {
        return qn__no_memory(parser->err);
    }
    if (status != QN_OK) {
        return wrong(parser, "no text of JSON");
    }
    *out = qn_strdup(json_string_value(value));
    if (*out == NULL) {
        return qn__no_memory(parser->err);
    }
    parser->at = end + 1;
    return QN_OK;
}

/* ---- values ---- */

/* How long the number of JSON's grammar is that begins here; 0: none does. */
static size_t number_size(const char *text)
{
    const char *at = text + (*text == '-');
    if (*at == '0') {
        at++;
    } else {
        if (!qn_ascii_digit(*at)) {
            return 0;
        }
        at += strspn(at, "0123456789");
    }
    if (*at == '.') {
        if (!qn_ascii_digit(at[1])) {
            return 0;
        }
        at += 1 + strspn(at + 1, "0123456789");
    }
    if (*at == 'e' || *at == 'E') {
        at += at[1] == '+' || at[1] == '-' ? 2 : 1;
        if (!qn_ascii_digit(*at)) {
            return 0;
        }
        at += strspn(at, "0123456789");
    }
    return (size_t)(at - text);
}

static enum qn_status read_number(struct parser *parser, struct qn__filter_value *value)
{
    size_t size = number_size(parser->at);
    json_error_t problem;
    if (size == 0) {
        return wrong(parser, "no value: a text, a number, true or false");
    }
    qn_auto_json *nearest = json_loadb(parser->at, size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &problem);
    if (nearest == NULL) {
        return wrong(parser, "a number that is too large");
    }
    value->kind = QN__VALUE_NUMBER;
    value->nearest = json_number_value(nearest);
    value->exact = qn_decimal_parse(parser->at, size, &value->value, &value->scale);
    value->text = qn_strndup(parser->at, size);
    value->size = size;
    parser->at += size;
    return value->text != NULL ? QN_OK : qn__no_memory(parser->err);
}

static bool passes_word(struct parser *parser, const char *word)
{
    size_t size = strlen(word);
    if (strncmp(parser->at, word, size) != 0) {
        return false;
    }
    parser->at += size;
    return true;
}

static enum qn_status read_value(struct parser *parser)
{
    struct qn_filter *filter = parser->filter;
    if (filter->n_values == QN_FILTER_MAX_NODES) {
        return wrong(parser, "more values than a filter may have");
    }
    if (!grow(&filter->values, filter->n_values, &filter->values_room, sizeof *filter->values)) {
        return qn__no_memory(parser->err);
    }
    struct qn__filter_value value = { 0 };
    skip_space(parser);
    if (*parser->at == '"') {
        value.kind = QN__VALUE_TEXT;
        QN_TRY(read_text(parser, "no text", &value.text));
        value.size = strlen(value.text);
    } else if (passes_word(parser, "true")) {
        value.kind = QN__VALUE_BOOL;
        value.truth = true;
    } else if (passes_word(parser, "false")) {
        value.kind = QN__VALUE_BOOL;
    } else {
        QN_TRY(read_number(parser, &value));
    }
    filter->values[filter->n_values++] = value;
    return QN_OK;
}

/* ---- expressions ---- */

static enum qn_status read_expression(struct parser *parser);

static enum qn_status read_column(struct parser *parser, size_t *out)
{
    struct qn_filter *filter = parser->filter;
    char *name = NULL;
    QN_TRY(expect(parser, ','));
    QN_TRY(read_text(parser, "no name of a column", &name));
    for (size_t i = 0; i < filter->n_columns; i++) {
        if (qn_text_equal(filter->columns[i], name)) {
            qn_free(name);
            *out = i;
            return QN_OK;
        }
    }
    if (!grow(&filter->columns, filter->n_columns, &filter->columns_room, sizeof *filter->columns)) {
        qn_free(name);
        return qn__no_memory(parser->err);
    }
    *out = filter->n_columns;
    filter->columns[filter->n_columns++] = name;
    return QN_OK;
}

static enum qn_status read_list(struct parser *parser)
{
    QN_TRY(expect(parser, '['));
    if (passes(parser, ']')) {
        return QN_OK;
    }
    do {
        QN_TRY(read_value(parser));
    } while (passes(parser, ','));
    return expect(parser, ']');
}

static enum qn_status read_operands(struct parser *parser, size_t most)
{
    size_t n = 0;
    do {
        QN_TRY(expect(parser, ','));
        QN_TRY(read_expression(parser));
        skip_space(parser);
    } while (++n < most && *parser->at == ',');
    return QN_OK;
}

/* What follows the operator. The node is copied back, since the array may move below. */
static enum qn_status read_rest(struct parser *parser, struct qn__filter_node *node)
{
    struct qn_filter *filter = parser->filter;
    if (node->kind == QN__FILTER_AND || node->kind == QN__FILTER_OR) {
        return read_operands(parser, QN_FILTER_MAX_NODES);
    }
    if (node->kind == QN__FILTER_NOT) {
        return read_operands(parser, 1);
    }
    QN_TRY(read_column(parser, &node->column));
    if (node->kind == QN__FILTER_NULL) {
        return QN_OK;
    }
    QN_TRY(expect(parser, ','));
    node->first_value = filter->n_values;
    if (node->kind == QN__FILTER_IN) {
        QN_TRY(read_list(parser));
    } else {
        QN_TRY(read_value(parser));
    }
    node->n_values = filter->n_values - node->first_value;
    return QN_OK;
}

static bool find_operator(const char *name, struct qn__filter_node *node)
{
    static const struct {
        const char *name;
        enum qn__filter_kind kind;
        enum qn__filter_operator operator;
    } known[] = {
        { "and", QN__FILTER_AND, 0 },
        { "or", QN__FILTER_OR, 0 },
        { "not", QN__FILTER_NOT, 0 },
        { "=", QN__FILTER_COMPARE, QN__EQUAL },
        { "!=", QN__FILTER_COMPARE, QN__NOT_EQUAL },
        { "<", QN__FILTER_COMPARE, QN__LESS },
        { "<=", QN__FILTER_COMPARE, QN__LESS_EQUAL },
        { ">", QN__FILTER_COMPARE, QN__GREATER },
        { ">=", QN__FILTER_COMPARE, QN__GREATER_EQUAL },
        { "is_null", QN__FILTER_NULL, 0 },
        { "in", QN__FILTER_IN, 0 },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (qn_text_equal(name, known[i].name)) {
            node->kind = known[i].kind;
            node->operator= known[i].operator;
            return true;
        }
    }
    return false;
}

static enum qn_status read_expression(struct parser *parser)
{
    struct qn_filter *filter = parser->filter;
    struct qn__filter_node node = { 0 };
    qn_auto_free char *name = NULL;
    if (++parser->depth > QN_FILTER_MAX_DEPTH) {
        return wrong(parser, "nested too deep");
    }
    if (filter->n_nodes == QN_FILTER_MAX_NODES) {
        return wrong(parser, "more expressions than a filter may have");
    }
    if (!grow(&filter->nodes, filter->n_nodes, &filter->nodes_room, sizeof *filter->nodes)) {
        return qn__no_memory(parser->err);
    }
    skip_space(parser);
    if (!passes(parser, '[')) {
        return wrong(parser, "no expression: a list");
    }
    const char *begin = parser->at;
    QN_TRY(read_text(parser, "no operator", &name));
    if (!find_operator(name, &node)) {
        parser->at = begin;
        return wrong(parser, "no operator that is known (and or not = != < <= > >= is_null in)");
    }
    size_t own = filter->n_nodes++;
    QN_TRY(read_rest(parser, &node));
    QN_TRY(expect(parser, ']'));
    node.end = filter->n_nodes;
    filter->nodes[own] = node;
    parser->depth--;
    return QN_OK;
}

enum qn_status qn_filter_parse(const char *text, struct qn_filter **out, struct qn_error *err)
{
    if (strnlen(text, QN_FILTER_MAX_BYTES + 1) > QN_FILTER_MAX_BYTES) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "filter: it is longer than %u bytes", QN_FILTER_MAX_BYTES);
    }
    struct qn_filter *filter = qn_calloc(1, sizeof *filter);
    if (filter == NULL) {
        return qn__no_memory(err);
    }
    struct parser parser = { .text = text, .at = text, .filter = filter, .err = err };
    enum qn_status status = read_expression(&parser);
    skip_space(&parser);
    if (status == QN_OK && *parser.at != '\0') {
        status = wrong(&parser, "something follows");
    }
    if (status != QN_OK) {
        qn_filter_free(filter);
        return status;
    }
    *out = filter;
    return QN_OK;
}
