/*
 * schema.c: making, copying and searching ArrowSchema structs, on nanoarrow.
 *
 * Every schema made here is released by nanoarrow's release. Its allocations do not come from base/memory.h, so each
 * function asks the allocation fault point once itself. Threads: a schema is changed by one at a time.
 */
#include "arrow/type.h"

#include "arrow/type_parse.h"
#include "base/fault.h"

#include <errno.h>
#include <nanoarrow/nanoarrow.h>
#include <string.h>

/* The status of a nanoarrow call. What is passed to it has been checked, so that any other code is a mistake of ours. */
static enum qn_status from_code(int code, const char *what, struct qn_error *err)
{
    if (code == NANOARROW_OK) {
        return QN_OK;
    }
    return code == ENOMEM ? qn__no_memory(err) : qn_error_set(err, QN_ERR_INTERNAL, "%s: code %d", what, code);
}

static enum qn_status check_level(const struct ArrowSchema *schema, int depth, struct qn_error *err)
{
    if (depth > QN__MAX_NESTING) {
        return qn_error_set(err, QN_ERR_DATA, "an Arrow schema nests deeper than %d levels", QN__MAX_NESTING);
    }
    if (schema == NULL || schema->release == NULL || schema->format == NULL) {
        return qn_error_set(err, QN_ERR_DATA, "an Arrow schema is released or has no format");
    }
    if (schema->n_children < 0 || schema->n_children > QN__MAX_CHILDREN ||
        (schema->n_children > 0 && schema->children == NULL)) {
        return qn_error_set(err, QN_ERR_DATA, "an Arrow schema has a bad number of children: %lld",
                            (long long)schema->n_children);
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        QN_TRY(check_level(schema->children[i], depth + 1, err));
    }
    return schema->dictionary != NULL ? check_level(schema->dictionary, depth + 1, err) : QN_OK;
}

enum qn_status qn__schema_check(const struct ArrowSchema *schema, struct qn_error *err)
{
    return check_level(schema, 0, err);
}

enum qn_status qn_schema_children(struct ArrowSchema *field, int64_t n_children, struct qn_error *err)
{
    if (n_children < 0 || n_children > QN__MAX_CHILDREN || field->n_children != 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a schema cannot get %lld children", (long long)n_children);
    }
    if (n_children == 0) {
        return QN_OK;
    }
    if (qn_fault_hit(QN_FAULT_ALLOC)) {
        return qn__no_memory(err);
    }
    QN_TRY(from_code(ArrowSchemaAllocateChildren(field, n_children), "children of a schema", err));
    for (int64_t i = 0; i < n_children; i++) {
        ArrowSchemaInit(field->children[i]);
        QN_TRY(from_code(ArrowSchemaSetFormat(field->children[i], "n"), "format of a schema", err));
        QN_TRY(from_code(ArrowSchemaSetName(field->children[i], ""), "name of a schema", err));
    }
    return QN_OK;
}

enum qn_status qn_schema_struct(struct ArrowSchema *out, int64_t n_fields, struct qn_error *err)
{
    qn_auto_schema schema;
    ArrowSchemaInit(&schema);
    if (qn_fault_hit(QN_FAULT_ALLOC)) {
        return qn__no_memory(err);
    }
    QN_TRY(from_code(ArrowSchemaSetFormat(&schema, "+s"), "format of a schema", err));
    QN_TRY(from_code(ArrowSchemaSetName(&schema, ""), "name of a schema", err));
    schema.flags = 0;
    QN_TRY(qn_schema_children(&schema, n_fields, err));
    ArrowSchemaMove(&schema, out);
    return QN_OK;
}

enum qn_status qn_schema_set(struct ArrowSchema *schema, int64_t i, const char *name, const struct qn_type *type,
                             struct qn_error *err)
{
    if (i < 0 || i >= schema->n_children) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a schema of %lld fields has no field %lld",
                            (long long)schema->n_children, (long long)i);
    }
    if (qn_fault_hit(QN_FAULT_ALLOC)) {
        return qn__no_memory(err);
    }
    char format[QN_TYPE_MAX_FORMAT];
    qn_type_to_format(type, format);
    struct ArrowSchema *field = schema->children[i];
    QN_TRY(from_code(ArrowSchemaSetFormat(field, format), "format of a schema", err));
    return field->name == name ? QN_OK : from_code(ArrowSchemaSetName(field, name), "name of a schema", err);
}

enum qn_status qn_schema_metadata_set(struct ArrowSchema *field, const char *key, const char *value,
                                      struct qn_error *err)
{
    if (qn_fault_hit(QN_FAULT_ALLOC)) {
        return qn__no_memory(err);
    }
    struct ArrowBuffer buffer;
    int code = ArrowMetadataBuilderInit(&buffer, field->metadata);
    if (code == NANOARROW_OK) {
        code = ArrowMetadataBuilderSet(&buffer, ArrowCharView(key), ArrowCharView(value));
    }
    if (code == NANOARROW_OK) {
        code = ArrowSchemaSetMetadata(field, (const char *)buffer.data);
    }
    ArrowBufferReset(&buffer);
    return from_code(code, "metadata of a schema", err);
}

enum qn_status qn__schema_metadata_copy(struct ArrowSchema *field, const char *metadata, struct qn_error *err)
{
    if (metadata == NULL) {
        return QN_OK;
    }
    if (qn_fault_hit(QN_FAULT_ALLOC)) {
        return qn__no_memory(err);
    }
    return from_code(ArrowSchemaSetMetadata(field, metadata), "metadata of a schema", err);
}

bool qn_schema_metadata_get(const struct ArrowSchema *field, const char *key, const char **value_out, size_t *size_out)
{
    struct ArrowStringView value = ArrowCharView(NULL);
    if (field->metadata == NULL || ArrowMetadataGetValue(field->metadata, ArrowCharView(key), &value) != NANOARROW_OK ||
        value.data == NULL) {
        return false;
    }
    *value_out = value.data;
    *size_out = (size_t)value.size_bytes;
    return true;
}

enum qn_status qn_schema_copy(const struct ArrowSchema *schema, struct ArrowSchema *out, struct qn_error *err)
{
    QN_TRY(qn__schema_check(schema, err));
    if (qn_fault_hit(QN_FAULT_ALLOC)) {
        return qn__no_memory(err);
    }
    struct ArrowSchema copy;
    QN_TRY(from_code(ArrowSchemaDeepCopy(schema, &copy), "copy of a schema", err));
    ArrowSchemaMove(&copy, out);
    return QN_OK;
}

int64_t qn_schema_find(const struct ArrowSchema *schema, const char *name)
{
    int64_t found = -1;
    for (int64_t i = 0; i < schema->n_children; i++) {
        const char *field = schema->children[i]->name;
        if (strcmp(field != NULL ? field : "", name) == 0) {
            if (found >= 0) {
                return -2;
            }
            found = i;
        }
    }
    return found;
}

void qn_schema_release(struct ArrowSchema *schema)
{
    if (schema != NULL && schema->release != NULL) {
        schema->release(schema);
        schema->release = NULL;
    }
}

void qn_array_release(struct ArrowArray *array)
{
    if (array != NULL && array->release != NULL) {
        array->release(array);
        array->release = NULL;
    }
}

void qn_stream_release(struct ArrowArrayStream *stream)
{
    if (stream != NULL && stream->release != NULL) {
        stream->release(stream);
        stream->release = NULL;
    }
}
