/*
 * unify.c: one schema for several tables: a tree of columns that remembers which types each has had, and in which table.
 *
 * A column's type is made anew of all types seen (unify_type.c), so that order does not matter. Fields of structs are
 * matched by name, those of lists and maps by position. What this engine does not read inside (unions, run ends, list
 * views) is matched only with itself. Threads: one at a time per handle.
 */
#include "arrow/unify.h"

#include "arrow/array.h"
#include "arrow/type_parse.h"
#include "base/fault.h"
#include "base/memory.h"
#include "base/text.h"

#include <nanoarrow/nanoarrow.h>

#define MAX_TYPES 256 /* different types of one column: what there may be that have a type in common */

struct node {
    char *name;
    int64_t met;           /* how often the parent had it */
    int64_t last;          /* the parent's round in which it did so last */
    int64_t rounds;        /* how often it was met as something that has children */
    struct qn_type *types; /* different ones, as they came */
    char **whos;           /* the table that had each first */
    size_t n_types;
    struct qn_type type; /* that holds them all */
    bool nullable;
    bool by_position;         /* its children are known by their place */
    bool plain;               /* a table has it without a dictionary, or the dictionaries differ */
    struct qn_type index;     /* of the dictionaries */
    int64_t flags;            /* those that all have, nullability apart */
    char *metadata;           /* of the first; NULL: none, or they differ */
    struct ArrowSchema whole; /* of one that is not looked into: the field; else released */
    struct node *children;
    uint32_t *by_name; /* indices of children, in the order of their names */
    size_t n_children, capacity;
};

struct qn_unify {
    struct node root;
};

static void node_dispose(struct node *node)
{
    for (size_t i = 0; i < node->n_children; i++) {
        node_dispose(&node->children[i]);
    }
    for (size_t i = 0; i < node->n_types; i++) {
        qn_free(node->whos[i]);
    }
    qn_free(node->children);
    qn_free(node->by_name);
    qn_free(node->types);
    qn_free(node->whos);
    qn_free(node->metadata);
    qn_free(node->name);
    qn_schema_release(&node->whole);
}

/* ---- metadata --------------------------------------------------------------------------------------------------- */

/* The bytes of a field's metadata as the C data interface encodes it; 0: none. */
static size_t metadata_size(const char *metadata)
{
    int64_t size = metadata != NULL ? ArrowMetadataSizeOf(metadata) : 0;
    return size > 4 ? (size_t)size : 0; /* 4: a count of no pairs */
}

static enum qn_status meet_metadata(struct node *node, const struct ArrowSchema *field, bool first,
                                    struct qn_error *err)
{
    size_t size = metadata_size(field->metadata);
    if (first) {
        if (size > 0) {
            node->metadata = qn_malloc(size);
            if (node->metadata == NULL) {
                return qn__no_memory(err);
            }
            memcpy(node->metadata, field->metadata, size);
        }
        return QN_OK;
    }
    if (node->metadata != NULL &&
        (metadata_size(node->metadata) != size || memcmp(node->metadata, field->metadata, size) != 0)) {
        qn_free(node->metadata);
        node->metadata = NULL;
    }
    return QN_OK;
}

/* ---- types ------------------------------------------------------------------------------------------------------ */

static const char *text_of(const char *name)
{
    return name != NULL ? name : "";
}

/* Say which two tables do not go together. */
static enum qn_status cannot_unify(const struct node *node, const struct qn_type *type, const char *who,
                                   struct qn_error *err)
{
    size_t culprit = 0;
    for (size_t i = 0; i < node->n_types; i++) {
        struct qn_type pair[2] = { node->types[i], *type };
        struct qn_type both;
        if (!qn_unify_types(pair, 2, &both)) {
            culprit = i;
            break;
        }
    }
    char a[QN_TYPE_MAX_FORMAT], b[QN_TYPE_MAX_FORMAT];
    qn_type_to_text(&node->types[culprit], a);
    qn_type_to_text(type, b);
    enum qn_status status = qn_error_set(
        err, QN_ERR_DATA, "column \"%s\" is %s in \"%.200s\" and %s in \"%.200s\": no type holds both exactly",
        node->name, a, node->whos[culprit], b, who);
    qn_error_place(err, -1, node->name);
    return status;
}

static bool same_type(const struct qn_type *a, const struct qn_type *b)
{
    char x[QN_TYPE_MAX_FORMAT], y[QN_TYPE_MAX_FORMAT];
    qn_type_to_format(a, x);
    qn_type_to_format(b, y);
    return a->id == b->id && qn_text_equal(x, y);
}

static enum qn_status see_type(struct node *node, const struct qn_type *type, const char *who, struct qn_error *err)
{
    for (size_t i = 0; i < node->n_types; i++) {
        if (same_type(&node->types[i], type)) {
            return QN_OK;
        }
    }
    if (node->n_types == MAX_TYPES) {
        return qn_error_set(err, QN_ERR_DATA, "column \"%s\" has more than %d different types", node->name, MAX_TYPES);
    }
    struct qn_type *types = qn_realloc_array(node->types, node->n_types + 1, sizeof *types);
    if (types == NULL) {
        return qn__no_memory(err);
    }
    node->types = types;
    char **whos = qn_realloc_array(node->whos, node->n_types + 1, sizeof *whos);
    if (whos == NULL) {
        return qn__no_memory(err);
    }
    node->whos = whos;
    node->types[node->n_types] = *type;
    if (!qn_unify_types(node->types, node->n_types + 1, &node->type)) {
        return cannot_unify(node, type, who, err);
    }
    node->whos[node->n_types] = qn_strdup(who);
    if (node->whos[node->n_types] == NULL) {
        return qn__no_memory(err);
    }
    node->n_types++;
    return QN_OK;
}

/* ---- fields ----------------------------------------------------------------------------------------------------- */

static enum qn_status meet(struct node *node, const struct ArrowSchema *field, const char *who, struct qn_error *err);

static enum qn_status grow(struct node *node, struct qn_error *err)
{
    if (node->n_children < node->capacity) {
        return QN_OK;
    }
    size_t capacity = node->capacity > 0 ? 2 * node->capacity : 8;
    struct node *children = qn_realloc_array(node->children, capacity, sizeof *children);
    if (children == NULL) {
        return qn__no_memory(err);
    }
    node->children = children;
    uint32_t *by_name = qn_realloc_array(node->by_name, capacity, sizeof *by_name);
    if (by_name == NULL) {
        return qn__no_memory(err);
    }
    node->by_name = by_name;
    node->capacity = capacity;
    return QN_OK;
}

/* Where a name stands, or would stand, in the order of names. */
static size_t place_of(const struct node *node, const char *name)
{
    size_t low = 0, high = node->n_children;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(node->children[node->by_name[middle]].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The child for field `at` of a table; tables are mostly alike, so the same place is tried first. */
static enum qn_status find_child(struct node *node, size_t at, const char *name, struct node **out,
                                 struct qn_error *err)
{
    if (at < node->n_children && (node->by_position || qn_text_equal(node->children[at].name, name))) {
        *out = &node->children[at];
        return QN_OK;
    }
    size_t place = place_of(node, name);
    if (!node->by_position && place < node->n_children &&
        qn_text_equal(node->children[node->by_name[place]].name, name)) {
        *out = &node->children[node->by_name[place]];
        return QN_OK;
    }
    QN_TRY(grow(node, err));
    struct node *child = &node->children[node->n_children];
    *child = (struct node){ .name = qn_strdup(name) };
    if (child->name == NULL) {
        return qn__no_memory(err);
    }
    memmove(&node->by_name[place + 1], &node->by_name[place], (node->n_children - place) * sizeof *node->by_name);
    node->by_name[place] = (uint32_t)node->n_children++;
    *out = child;
    return QN_OK;
}

static enum qn_status meet_children(struct node *node, const struct ArrowSchema *field, bool map, const char *who,
                                    struct qn_error *err)
{
    node->rounds++;
    for (int64_t i = 0; i < field->n_children; i++) {
        const struct ArrowSchema *part = field->children[i];
        struct node *child = NULL;
        QN_TRY(find_child(node, (size_t)i, text_of(part->name), &child, err));
        if (child->last == node->rounds) {
            return qn_error_set(err, QN_ERR_DATA, "\"%.200s\" has two columns with the name \"%.200s\"", who,
                                child->name);
        }
        child->last = node->rounds;
        child->met++;
        child->by_position = child->by_position || map;
        QN_TRY(meet(child, part, who, err));
    }
    return QN_OK;
}

/* What is not looked into: all that has been seen has to be this very field. */
static enum qn_status meet_whole(struct node *node, const struct ArrowSchema *field, const char *who,
                                 struct qn_error *err)
{
    if (node->n_types == 0) {
        QN_TRY(qn_schema_copy(field, &node->whole, err));
    } else if (node->whole.release == NULL || !qn__schema_alike(&node->whole, field)) {
        return qn_error_set(
            err, QN_ERR_DATA,
            "column \"%s\" has another type in \"%.200s\" than in \"%.200s\", and one of the two goes only "
            "with itself",
            node->name, who, node->whos[0]);
    }
    return QN_OK;
}

static void meet_dictionary(struct node *node, const struct ArrowSchema *field, const struct qn_type *index)
{
    if (node->n_types == 0) {
        node->index = *index;
    }
    node->plain = node->plain || field->dictionary == NULL || node->index.id != index->id;
}

static bool is_list(enum qn_type_id id)
{
    return id == QN_TYPE_LIST || id == QN_TYPE_LARGE_LIST || id == QN_TYPE_FIXED_LIST || id == QN_TYPE_MAP;
}

static enum qn_status meet(struct node *node, const struct ArrowSchema *field, const char *who, struct qn_error *err)
{
    bool first = node->n_types == 0;
    struct qn_type index, type;
    QN_TRY(qn_type_from_format(field->format, &index, err));
    const struct ArrowSchema *values = field->dictionary != NULL ? field->dictionary : field;
    QN_TRY(qn_type_from_format(values->format, &type, err));
    node->nullable = node->nullable || (field->flags & ARROW_FLAG_NULLABLE) != 0 || type.id == QN_TYPE_NULL;
    node->flags = (first ? field->flags : node->flags & field->flags) & ~(int64_t)ARROW_FLAG_NULLABLE;
    meet_dictionary(node, field, &index);
    QN_TRY(meet_metadata(node, field, first, err));
    if (type.id == QN_TYPE_OTHER || node->whole.release != NULL) {
        QN_TRY(meet_whole(node, field, who, err));
        return see_type(node, &type, who, err);
    }
    QN_TRY(see_type(node, &type, who, err));
    if (is_list(type.id) && values->n_children != 1) {
        return qn_error_set(err, QN_ERR_DATA, "column \"%s\" of \"%.200s\": a list has one child, not %lld", node->name,
                            who, (long long)values->n_children);
    }
    node->by_position = node->by_position || is_list(type.id);
    return is_list(type.id) || type.id == QN_TYPE_STRUCT ? meet_children(node, values, type.id == QN_TYPE_MAP, who, err)
                                                         : QN_OK;
}

/* ---- the outcome ------------------------------------------------------------------------------------------------ */

static enum qn_status write_children(const struct node *node, struct ArrowSchema *field, struct qn_error *err);

/* Dictionaries stay where every table has the like, and nothing but one. */
static bool stays_encoded(const struct node *node, bool lacking)
{
    return !node->plain && !lacking && node->n_types == 1 && node->n_children == 0 && node->whole.release == NULL;
}

static enum qn_status write_dictionary(const struct node *node, struct ArrowSchema *field, struct qn_error *err)
{
    char format[QN_TYPE_MAX_FORMAT], values[QN_TYPE_MAX_FORMAT];
    qn_type_to_format(&node->index, format);
    qn_type_to_format(&node->type, values);
    if (qn_fault_hit(QN_FAULT_ALLOC) || ArrowSchemaSetFormat(field, format) != NANOARROW_OK ||
        ArrowSchemaAllocateDictionary(field) != NANOARROW_OK) {
        return qn__no_memory(err);
    }
    ArrowSchemaInit(field->dictionary);
    return ArrowSchemaSetFormat(field->dictionary, values) == NANOARROW_OK ? QN_OK : qn__no_memory(err);
}

static enum qn_status write_field(const struct node *node, int64_t rounds, struct ArrowSchema *parent, int64_t i,
                                  struct qn_error *err)
{
    struct ArrowSchema *field = parent->children[i];
    bool lacking = node->met < rounds;
    if (node->whole.release != NULL) {
        struct ArrowSchema copy;
        QN_TRY(qn_schema_copy(&node->whole, &copy, err));
        qn_schema_release(field);
        qn__schema_move(&copy, field);
    } else {
        QN_TRY(qn_schema_set(parent, i, node->name, &node->type, err));
        if (stays_encoded(node, lacking)) {
            QN_TRY(write_dictionary(node, field, err));
        }
        QN_TRY(write_children(node, field, err));
        QN_TRY(qn__schema_metadata_copy(field, node->metadata, err));
    }
    field->flags = node->flags | (node->nullable || lacking ? ARROW_FLAG_NULLABLE : 0);
    return QN_OK;
}

static enum qn_status write_children(const struct node *node, struct ArrowSchema *field, struct qn_error *err)
{
    if (node->n_children == 0) {
        return QN_OK;
    }
    QN_TRY(qn_schema_children(field, (int64_t)node->n_children, err));
    for (size_t i = 0; i < node->n_children; i++) {
        QN_TRY(write_field(&node->children[i], node->rounds, field, (int64_t)i, err));
    }
    return QN_OK;
}

/* ---- the handle ------------------------------------------------------------------------------------------------- */

enum qn_status qn_unify_new(struct qn_unify **out, struct qn_error *err)
{
    struct qn_unify *unify = qn_calloc(1, sizeof *unify);
    if (unify == NULL) {
        return qn__no_memory(err);
    }
    unify->root.name = qn_strdup("");
    if (unify->root.name == NULL) {
        qn_free(unify);
        return qn__no_memory(err);
    }
    *out = unify;
    return QN_OK;
}

void qn_unify_free(struct qn_unify *unify)
{
    if (unify != NULL) {
        node_dispose(&unify->root);
        qn_free(unify);
    }
}

enum qn_status qn_unify_add(struct qn_unify *unify, const struct ArrowSchema *schema, const char *who,
                            struct qn_error *err)
{
    QN_TRY(qn__schema_check(schema, err));
    if (!qn_text_equal(schema->format, "+s") || schema->dictionary != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "\"%.200s\" has no columns: its Arrow format is another than a struct's",
                            who);
    }
    return meet(&unify->root, schema, who, err);
}

enum qn_status qn_unify_schema(const struct qn_unify *unify, struct ArrowSchema *out, struct qn_error *err)
{
    qn_auto_schema made = { 0 };
    QN_TRY(qn_schema_struct(&made, 0, err));
    QN_TRY(write_children(&unify->root, &made, err));
    QN_TRY(qn__schema_metadata_copy(&made, unify->root.metadata, err));
    qn__schema_move(&made, out);
    return QN_OK;
}
