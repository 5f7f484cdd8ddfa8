/*
 * fuzz_type.c: format strings, type strings and the types of fields. What is accepted must survive being written and
 * read again; what is refused must leave the output alone and give a message.
 */
#include "arrow/type.h"
#include "base/buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool same_type(const struct qn_type *a, const struct qn_type *b)
{
    return a->id == b->id && a->unit == b->unit && a->precision == b->precision && a->scale == b->scale &&
           a->width == b->width && strcmp(a->timezone, b->timezone) == 0;
}

static void try_format(const char *text)
{
    struct qn_error error = QN_ERROR_INIT;
    struct qn_type type = { .id = QN_TYPE_MAP }, again;
    char format[QN_TYPE_MAX_FORMAT], name[QN_TYPE_MAX_FORMAT];
    if (qn_type_from_format(text, &type, &error) != QN_OK) {
        must(error.status == QN_ERR_DATA && error.message[0] != '\0' && type.id == QN_TYPE_MAP);
        return;
    }
    qn_type_to_text(&type, name);
    must(name[0] != '\0');
    if (type.id == QN_TYPE_OTHER) {
        return;
    }
    qn_type_to_format(&type, format);
    must(qn_type_from_format(format, &again, &error) == QN_OK);
    must(same_type(&type, &again));
}

static void try_text(const char *text)
{
    struct qn_error error = QN_ERROR_INIT;
    struct qn_type type = { .id = QN_TYPE_MAP }, again;
    char format[QN_TYPE_MAX_FORMAT], name[QN_TYPE_MAX_FORMAT];
    if (qn_type_from_text(text, &type, &error) != QN_OK) {
        must(error.status == QN_ERR_CONFIG && strstr(error.message, "us, ns") != NULL && type.id == QN_TYPE_MAP);
        return;
    }
    qn_type_to_text(&type, name);
    must(qn_type_from_text(name, &again, &error) == QN_OK);
    must(same_type(&type, &again));
    qn_type_to_format(&type, format);
    must(qn_type_from_format(format, &again, &error) == QN_OK);
    must(same_type(&type, &again));
}

static void try_field(const char *text)
{
    struct qn_error error = QN_ERROR_INIT;
    qn_auto_schema schema = { 0 };
    qn_auto_buffer first = QN_BUFFER_INIT, second = QN_BUFFER_INIT;
    must(qn_schema_struct(&schema, 1, &error) == QN_OK);
    if (qn_schema_set_from_text(&schema, 0, "name", text, &error) != QN_OK) {
        must(error.status == QN_ERR_CONFIG && error.message[0] != '\0' && strcmp(schema.children[0]->format, "n") == 0);
        return;
    }
    qn_schema_field_to_text(schema.children[0], &first);
    if (first.size > QN_TYPE_TEXT_MAX) { /* what was left out is written out: spaces, units */
        return;
    }
    must(qn_schema_set_from_text(&schema, 0, "name", qn_buffer_text(&first), &error) == QN_OK);
    qn_schema_field_to_text(schema.children[0], &second);
    must(strcmp(qn_buffer_text(&first), qn_buffer_text(&second)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    try_format(text);
    try_text(text);
    try_field(text);
    free(text);
    return 0;
}
