/*
 * arrow_share.c: copies of Arrow schemas, and arrays whose buffers several consumers share.
 *
 * A consumer may move the children out of an array that it was given, so what is exported are structs of its own over
 * shared buffers: every node counts one reference to the original. Threads: no GIL needed; the count is atomic.
 */
#include "native.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FEW_COLUMNS 24

/* ---- schemas ---------------------------------------------------------------------------------------------------- */

/* Everything that a copied schema owns. */
struct schema_node {
    char *format;
    char *name;
    char *metadata;
    struct ArrowSchema *children;
    struct ArrowSchema **child_pointers;
    struct ArrowSchema *dictionary;
};

static void schema_node_free(struct schema_node *node)
{
    free(node->format);
    free(node->name);
    free(node->metadata);
    free(node->children);
    free(node->child_pointers);
    free(node->dictionary);
    free(node);
}

static void schema_release(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (schema->children[i]->release != NULL) {
            schema->children[i]->release(schema->children[i]);
        }
    }
    if (schema->dictionary != NULL && schema->dictionary->release != NULL) {
        schema->dictionary->release(schema->dictionary);
    }
    schema_node_free(schema->private_data);
    schema->release = NULL;
}

/* The size of Arrow's metadata block: a count, then for each pair two lengths with their bytes, native byte order. */
static size_t metadata_size(const char *metadata)
{
    int32_t pairs = 0;
    memcpy(&pairs, metadata, sizeof pairs);
    size_t size = sizeof pairs;
    for (int64_t i = 0; i < (int64_t)pairs * 2; i++) {
        int32_t length = 0;
        memcpy(&length, metadata + size, sizeof length);
        size += sizeof length + (size_t)length;
    }
    return size;
}

static char *copy_text(const char *text)
{
    return strdup(text == NULL ? "" : text);
}

static const char *format_in(enum native_layout layout, const char *format)
{
    if (layout == NATIVE_LAYOUT_OFFSETS && strcmp(format, "vu") == 0) {
        return "u";
    }
    if (layout == NATIVE_LAYOUT_OFFSETS && strcmp(format, "vz") == 0) {
        return "z";
    }
    return format;
}

static bool copy_into_node(const struct ArrowSchema *from, enum native_layout layout, struct schema_node *node)
{
    node->format = copy_text(format_in(layout, from->format));
    node->name = copy_text(from->name);
    if (node->format == NULL || node->name == NULL) {
        return false;
    }
    if (from->metadata != NULL) {
        size_t size = metadata_size(from->metadata);
        node->metadata = malloc(size);
        if (node->metadata == NULL) {
            return false;
        }
        memcpy(node->metadata, from->metadata, size);
    }
    if (from->n_children > 0) {
        node->children = calloc((size_t)from->n_children, sizeof *node->children);
        node->child_pointers = calloc((size_t)from->n_children, sizeof(struct ArrowSchema *));
        if (node->children == NULL || node->child_pointers == NULL) {
            return false;
        }
    }
    if (from->dictionary != NULL) {
        node->dictionary = calloc(1, sizeof *node->dictionary);
    }
    return from->dictionary == NULL || node->dictionary != NULL;
}

bool native_schema_copy(const struct ArrowSchema *from, enum native_layout layout, struct ArrowSchema *out)
{
    struct schema_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        return false;
    }
    if (!copy_into_node(from, layout, node)) {
        schema_node_free(node);
        return false;
    }
    struct ArrowSchema copy = {
        .format = node->format,
        .name = node->name,
        .metadata = node->metadata,
        .flags = from->flags,
        .n_children = 0, /* counted up, so that a release half way frees what is there */
        .children = node->child_pointers,
        .release = schema_release,
        .private_data = node,
    };
    for (int64_t i = 0; i < from->n_children; i++) {
        node->child_pointers[i] = &node->children[i];
        if (!native_schema_copy(from->children[i], layout, &node->children[i])) {
            schema_release(&copy);
            return false;
        }
        copy.n_children++;
    }
    if (from->dictionary != NULL) {
        if (!native_schema_copy(from->dictionary, layout, node->dictionary)) {
            schema_release(&copy);
            return false;
        }
        copy.dictionary = node->dictionary;
    }
    *out = copy;
    return true;
}

static bool name_is_taken(const struct ArrowSchema *schema, int64_t but, const char *name)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (i != but && strcmp(schema->children[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Rename child `index` of a schema that native_schema_copy made: "a" -> "a_2", or the first "a_N" that is free. */
static bool rename_child(struct ArrowSchema *schema, int64_t index)
{
    struct ArrowSchema *child = schema->children[index];
    size_t size = strlen(child->name) + 24;
    char *name = malloc(size);
    if (name == NULL) {
        return false;
    }
    int64_t number = 2;
    do {
        snprintf(name, size, "%s_%lld", child->name, (long long)number++);
    } while (name_is_taken(schema, index, name));
    struct schema_node *node = child->private_data;
    free(node->name);
    node->name = name;
    child->name = name;
    return true;
}

struct named_column {
    const char *name;
    int64_t index;
};

static int compare_names(const void *left, const void *right)
{
    const struct named_column *a = left;
    const struct named_column *b = right;
    int order = strcmp(a->name, b->name);
    return order != 0 ? order : (a->index > b->index) - (a->index < b->index);
}

/* Mark each column whose name an earlier column has. False where memory is short. */
static bool find_repeats(const struct ArrowSchema *schema, bool *repeats, bool *any)
{
    struct named_column *columns = calloc((size_t)schema->n_children, sizeof *columns);
    if (columns == NULL) {
        return false;
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        columns[i].name = schema->children[i]->name;
        columns[i].index = i;
    }
    qsort(columns, (size_t)schema->n_children, sizeof *columns, compare_names);
    *any = false;
    for (int64_t i = 1; i < schema->n_children; i++) {
        if (strcmp(columns[i].name, columns[i - 1].name) == 0) {
            repeats[columns[i].index] = true;
            *any = true;
        }
    }
    free(columns);
    return true;
}

/* Every pair is compared: for few columns only. */
static bool all_differ(const struct ArrowSchema *schema)
{
    for (int64_t i = 1; i < schema->n_children; i++) {
        const char *name = schema->children[i]->name;
        for (int64_t k = 0; k < i; k++) {
            const char *other = schema->children[k]->name;
            if (name[0] == other[0] && strcmp(name, other) == 0) {
                return false;
            }
        }
    }
    return true;
}

bool native_schema_unique(struct ArrowSchema *in, bool *renamed_out)
{
    *renamed_out = false;
    if (in->n_children < 2 || (in->n_children <= FEW_COLUMNS && all_differ(in))) {
        return true;
    }
    bool *repeats = calloc((size_t)in->n_children, sizeof *repeats);
    bool any = false;
    if (repeats == NULL || !find_repeats(in, repeats, &any)) {
        free(repeats);
        return false;
    }
    struct ArrowSchema copy = { .release = NULL };
    bool ok = !any || native_schema_copy(in, NATIVE_LAYOUT_SAME, &copy);
    for (int64_t i = 0; any && ok && i < copy.n_children; i++) {
        ok = !repeats[i] || rename_child(&copy, i);
    }
    free(repeats);
    if (any && ok) {
        in->release(in);
        *in = copy;
        *renamed_out = true;
    } else if (copy.release != NULL) {
        copy.release(&copy);
    }
    return ok;
}

struct native_shared_schema *native_shared_schema_new(struct ArrowSchema *take)
{
    struct native_shared_schema *shared = malloc(sizeof *shared);
    if (shared != NULL) {
        atomic_init(&shared->references, 1);
        shared->schema = *take;
        take->release = NULL;
    }
    return shared;
}

struct native_shared_schema *native_shared_schema_ref(struct native_shared_schema *shared)
{
    atomic_fetch_add(&shared->references, 1);
    return shared;
}

void native_shared_schema_unref(struct native_shared_schema *shared)
{
    if (shared != NULL && atomic_fetch_sub(&shared->references, 1) == 1) {
        shared->schema.release(&shared->schema);
        free(shared);
    }
}

/* ---- arrays ----------------------------------------------------------------------------------------------------- */

struct native_shared_array {
    atomic_size_t references;
    struct ArrowArray array;
};

/* Everything that an exported array owns besides its reference. */
struct array_node {
    struct native_shared_array *shared;
    struct ArrowArray *children;
    struct ArrowArray **child_pointers;
    struct ArrowArray *dictionary;
};

struct native_shared_array *native_shared_array_new(struct ArrowArray *take)
{
    struct native_shared_array *shared = malloc(sizeof *shared);
    if (shared != NULL) {
        atomic_init(&shared->references, 1);
        shared->array = *take;
        take->release = NULL;
    }
    return shared;
}

void native_shared_array_unref(struct native_shared_array *shared)
{
    if (shared != NULL && atomic_fetch_sub(&shared->references, 1) == 1) {
        shared->array.release(&shared->array);
        free(shared);
    }
}

const struct ArrowArray *native_shared_array_get(const struct native_shared_array *shared)
{
    return &shared->array;
}

static void array_release(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release != NULL) {
            array->children[i]->release(array->children[i]);
        }
    }
    if (array->dictionary != NULL && array->dictionary->release != NULL) {
        array->dictionary->release(array->dictionary);
    }
    struct array_node *node = array->private_data;
    native_shared_array_unref(node->shared);
    free(node->children);
    free(node->child_pointers);
    free(node->dictionary);
    free(node);
    array->release = NULL;
}

static struct array_node *array_node_new(const struct ArrowArray *from)
{
    struct array_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    bool ok = true;
    if (from->n_children > 0) {
        node->children = calloc((size_t)from->n_children, sizeof *node->children);
        node->child_pointers = calloc((size_t)from->n_children, sizeof(struct ArrowArray *));
        ok = node->children != NULL && node->child_pointers != NULL;
    }
    if (from->dictionary != NULL) {
        node->dictionary = calloc(1, sizeof *node->dictionary);
        ok = ok && node->dictionary != NULL;
    }
    if (!ok) {
        free(node->children);
        free(node->child_pointers);
        free(node->dictionary);
        free(node);
        return NULL;
    }
    return node;
}

static bool array_view(struct native_shared_array *shared, const struct ArrowArray *from, struct ArrowArray *out)
{
    struct array_node *node = array_node_new(from);
    if (node == NULL) {
        return false;
    }
    node->shared = shared;
    atomic_fetch_add(&shared->references, 1);
    struct ArrowArray view = *from;
    view.n_children = 0;
    view.children = node->child_pointers;
    view.dictionary = NULL;
    view.release = array_release;
    view.private_data = node;
    for (int64_t i = 0; i < from->n_children; i++) {
        node->child_pointers[i] = &node->children[i];
        if (!array_view(shared, from->children[i], &node->children[i])) {
            array_release(&view);
            return false;
        }
        view.n_children++;
    }
    if (from->dictionary != NULL) {
        if (!array_view(shared, from->dictionary, node->dictionary)) {
            array_release(&view);
            return false;
        }
        view.dictionary = node->dictionary;
    }
    *out = view;
    return true;
}

bool native_shared_array_export(struct native_shared_array *shared, struct ArrowArray *out)
{
    return array_view(shared, &shared->array, out);
}

/* ---- a stream of batches ----------------------------------------------------------------------------------------- */

struct stream_of_batches {
    struct ArrowSchema schema;
    const char *error;
    size_t count;
    size_t next;
    struct ArrowArray arrays[]; /* those before `next` have been handed out */
};

static int batches_get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct stream_of_batches *self = stream->private_data;
    if (!native_schema_copy(&self->schema, NATIVE_LAYOUT_SAME, out)) {
        self->error = "out of memory";
        return ENOMEM;
    }
    return 0;
}

static int batches_get_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct stream_of_batches *self = stream->private_data;
    if (self->next == self->count) {
        out->release = NULL;
        return 0;
    }
    *out = self->arrays[self->next++];
    return 0;
}

static const char *batches_get_last_error(struct ArrowArrayStream *stream)
{
    const struct stream_of_batches *self = stream->private_data;
    return self->error;
}

static void batches_release(struct ArrowArrayStream *stream)
{
    struct stream_of_batches *self = stream->private_data;
    self->schema.release(&self->schema);
    for (size_t i = self->next; i < self->count; i++) {
        self->arrays[i].release(&self->arrays[i]);
    }
    free(self);
    stream->release = NULL;
}

bool native_stream_of_batches(struct ArrowSchema *schema, struct ArrowArray *arrays, size_t count,
                              struct ArrowArrayStream *out)
{
    size_t room = 0;
    if (__builtin_mul_overflow(count, sizeof *arrays, &room) || room > SIZE_MAX / 2) {
        return false;
    }
    struct stream_of_batches *self = calloc(1, sizeof *self + room);
    if (self == NULL) {
        return false;
    }
    self->schema = *schema;
    self->count = count;
    schema->release = NULL;
    for (size_t i = 0; i < count; i++) {
        self->arrays[i] = arrays[i];
        arrays[i].release = NULL;
    }
    *out = (struct ArrowArrayStream){
        .get_schema = batches_get_schema,
        .get_next = batches_get_next,
        .get_last_error = batches_get_last_error,
        .release = batches_release,
        .private_data = self,
    };
    return true;
}

bool native_stream_of_one(struct ArrowSchema *schema, struct ArrowArray *array, struct ArrowArrayStream *out)
{
    return native_stream_of_batches(schema, array, 1, out);
}
