/*
 * schema_share.c: frozen schemas, whose copies share all texts: a copy costs one allocation however many fields there are.
 *
 * The structs of one copy lie in one block and each counts itself, because a consumer may move children out and release
 * them one by one; the texts (formats, names, metadata) of all copies lie in one other. A frozen schema is never changed:
 * who wants to change one makes a copy with qn_schema_copy. Threads: copies may be made and released on any thread.
 */
#include "arrow/array.h"
#include "arrow/type.h"
#include "arrow/type_parse.h"
#include "base/memory.h"

#include <nanoarrow/nanoarrow.h>
#include <stdatomic.h>
#include <string.h>

struct texts {
    atomic_size_t blocks;
    char bytes[];
};

struct block {
    atomic_size_t alive; /* structs that have not been released */
    struct texts *texts;
    struct ArrowSchema nodes[]; /* then the lists of pointers to children */
};

/* What a schema and all below it need. */
struct needs {
    size_t nodes, pointers, bytes;
};

/* Where the next piece of each kind goes. `bytes` is NULL where the texts are shared. */
struct places {
    struct block *block;
    struct ArrowSchema *node;
    struct ArrowSchema **pointer;
    char *bytes;
};

static size_t metadata_size(const char *metadata)
{
    return metadata != NULL ? (size_t)ArrowMetadataSizeOf(metadata) : 0;
}

static void count(const struct ArrowSchema *schema, bool with_texts, struct needs *out)
{
    out->nodes++;
    out->pointers += (size_t)schema->n_children;
    if (with_texts) {
        out->bytes += strlen(schema->format) + 1 + (schema->name != NULL ? strlen(schema->name) : 0) + 1 +
                      metadata_size(schema->metadata);
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        count(schema->children[i], with_texts, out);
    }
    if (schema->dictionary != NULL) {
        count(schema->dictionary, with_texts, out);
    }
}

static void release_frozen(struct ArrowSchema *schema)
{
    struct block *block = schema->private_data;
    for (int64_t i = 0; i < schema->n_children; i++) {
        qn_schema_release(schema->children[i]);
    }
    qn_schema_release(schema->dictionary);
    schema->release = NULL;
    if (atomic_fetch_sub_explicit(&block->alive, 1, memory_order_acq_rel) != 1) {
        return;
    }
    if (atomic_fetch_sub_explicit(&block->texts->blocks, 1, memory_order_acq_rel) == 1) {
        qn_free(block->texts);
    }
    qn_free(block);
}

static const char *put_bytes(struct places *places, const char *bytes, size_t size)
{
    char *at = places->bytes;
    memcpy(at, bytes, size);
    places->bytes += size;
    return at;
}

static void fill(const struct ArrowSchema *from, struct ArrowSchema *to, struct places *places)
{
    *to = *from;
    to->release = release_frozen;
    to->private_data = places->block;
    if (places->bytes != NULL) {
        const char *name = from->name != NULL ? from->name : "";
        to->format = put_bytes(places, from->format, strlen(from->format) + 1);
        to->name = put_bytes(places, name, strlen(name) + 1);
        to->metadata = from->metadata != NULL ? put_bytes(places, from->metadata, metadata_size(from->metadata)) : NULL;
    }
    struct ArrowSchema **list = places->pointer;
    places->pointer += from->n_children;
    to->children = from->n_children > 0 ? list : NULL;
    for (int64_t i = 0; i < from->n_children; i++) {
        list[i] = places->node++;
        fill(from->children[i], list[i], places);
    }
    if (from->dictionary != NULL) {
        to->dictionary = places->node++;
        fill(from->dictionary, to->dictionary, places);
    }
}

/* A block for `from`, over `texts` or, where that is NULL, over texts of its own. */
static enum qn_status make(const struct ArrowSchema *from, struct texts *texts, struct ArrowSchema *out,
                           struct qn_error *err)
{
    struct needs needs = { 0 };
    count(from, texts == NULL, &needs);
    /* the root's struct is the caller's; children and bytes are limited (type_parse.h), so no size overflows */
    struct block *block = qn_malloc(sizeof *block + (needs.nodes - 1) * sizeof(struct ArrowSchema) +
                                    needs.pointers * sizeof(struct ArrowSchema *));
    if (block == NULL) {
        return qn__no_memory(err);
    }
    struct places places = { .block = block, .node = block->nodes };
    places.pointer = (struct ArrowSchema **)(block->nodes + (needs.nodes - 1));
    if (texts == NULL) {
        texts = qn_malloc(sizeof *texts + needs.bytes);
        if (texts == NULL) {
            qn_free(block);
            return qn__no_memory(err);
        }
        atomic_init(&texts->blocks, 0);
        places.bytes = texts->bytes;
    }
    atomic_fetch_add_explicit(&texts->blocks, 1, memory_order_relaxed);
    atomic_init(&block->alive, needs.nodes);
    block->texts = texts;
    fill(from, out, &places);
    return QN_OK;
}

enum qn_status qn_schema_freeze(struct ArrowSchema *schema, struct qn_error *err)
{
    struct ArrowSchema frozen;
    QN_TRY(qn__schema_check(schema, err));
    QN_TRY(make(schema, NULL, &frozen, err));
    qn_schema_release(schema);
    qn__schema_move(&frozen, schema);
    return QN_OK;
}

enum qn_status qn_schema_share(const struct ArrowSchema *schema, struct ArrowSchema *out, struct qn_error *err)
{
    if (schema->release != release_frozen) {
        return qn_schema_copy(schema, out, err);
    }
    struct ArrowSchema copy;
    QN_TRY(make(schema, ((const struct block *)schema->private_data)->texts, &copy, err));
    qn__schema_move(&copy, out);
    return QN_OK;
}
