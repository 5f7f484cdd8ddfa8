/*
 * read.c: reading a pack: its schema, its rows, its files, and all of it as one stream.
 *
 * The blocks of a pack stand in the order of their commits and, within one, of its changes; what is pending comes last. A
 * stream has copies of all that it needs of them and a descriptor of the bundle's folder of its own. Threads: see
 * bundle_private.h; a stream is its user's.
 */
#include "arrow/stream.h"
#include "arrow/unify.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/blocks.h"
#include "bundle/bundle_private.h"
#include "bundle/walk.h"

#include <fcntl.h>
#include <unistd.h>

#define DEFAULT_PACK "base"

/* ---- the blocks of a pack --------------------------------------------------------------------------------------- */

/* What is borrowed of the state. */
struct pack {
    const struct qn_state_entry **blocks;
    size_t n;
};

static bool feeds_pack(const struct qn_state_entry *entry, const char *pack)
{
    struct qn__source source;
    if (entry->change.kind != QN_CHANGE_SET || entry->change.object != QN_OBJECT_SOURCE ||
        qn__source_read(entry, &source, NULL) != QN_OK) {
        return false;
    }
    bool feeds = qn_text_equal(source.pack, pack);
    qn__source_dispose(&source);
    return feeds;
}

/* A pack is there once something feeds it; "base" always is. */
static enum qn_status check_pack(const struct qn_bundle_state *state, const char *pack, struct qn_error *err)
{
    size_t place = 0;
    const struct qn_state_entry *entry;
    if (qn_text_equal(pack, DEFAULT_PACK)) {
        return QN_OK;
    }
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        if (feeds_pack(entry, pack)) {
            return QN_OK;
        }
    }
    qn_error_set(err, QN_ERR_CONFIG, "there is no such pack");
    qn__bundle_hint_name(state, QN__NAMED_PACKS, pack, err);
    return QN_ERR_CONFIG;
}

static enum qn_status find_blocks(struct qn_bundle *bundle, const char *pack, struct pack *out, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    struct pack found = { .blocks = qn_calloc(qn_bundle_state_count(state) + 1, sizeof *found.blocks) };
    if (found.blocks == NULL) {
        return qn__no_memory(err);
    }
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        if (entry->change.kind == QN_CHANGE_ADD && qn_text_equal(entry->change.pack, pack)) {
            found.blocks[found.n++] = entry;
        }
    }
    enum qn_status status = found.n > 0 ? QN_OK : check_pack(state, pack, err);
    if (status != QN_OK) {
        qn_free(found.blocks);
        return status;
    }
    *out = found;
    return QN_OK;
}

enum qn_status qn__bundle_place(struct qn_bundle *bundle, struct qn__block_place *out, struct qn_error *err)
{
    *out = (struct qn__block_place){ .bundle_fd = bundle->fd, .folder = bundle->path };
    return qn__bundle_timeout(bundle, 0, &out->timeout, err);
}

#define SEEN 16

/* The texts of schemas that were taken in last: packs have few different ones. */
struct seen_schemas {
    const char *texts[SEEN];
    size_t n;
};

static bool see_schema(struct seen_schemas *seen, const char *text)
{
    for (size_t i = 0; text != NULL && i < SEEN && i < seen->n; i++) {
        if (qn_text_equal(seen->texts[i], text)) {
            return true;
        }
    }
    if (text != NULL) {
        seen->texts[seen->n++ % SEEN] = text;
    }
    return false;
}

/* The schema of all. */
static enum qn_status unify_blocks(const struct qn__block_place *place, const struct pack *pack,
                                   struct ArrowSchema *out, struct qn_error *err)
{
    struct qn_unify *unify = NULL;
    QN_TRY(qn_unify_new(&unify, err));
    enum qn_status status = QN_OK;
    struct seen_schemas seen = { .n = 0 };
    for (size_t i = 0; i < pack->n && status == QN_OK; i++) {
        const struct qn_state_entry *block = pack->blocks[i];
        if (see_schema(&seen, block->schema)) {
            continue;
        }
        qn_auto_schema schema = { 0 };
        status = qn__block_schema(place, block, &schema, err);
        if (status == QN_OK) {
            status = qn_unify_add(unify, &schema, block->change.location, err);
            if (status == QN_ERR_DATA) {
                qn_error_hint(err,
                              "give the source the types (of CSV files: \"csv.types\"), have it feed another pack, or "
                              "remove one of the two");
            }
        }
    }
    if (status == QN_OK) {
        status = qn_unify_schema(unify, out, err);
    }
    qn_unify_free(unify);
    return status;
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

/* What a stream has of its pack. */
struct kept_pack {
    struct qn__block_place place;
    char *folder;
    struct qn_state_entry **blocks;
    size_t n;
};

static void kept_free(void *self)
{
    struct kept_pack *kept = self;
    for (size_t i = 0; i < kept->n; i++) {
        qn_free(kept->blocks[i]);
    }
    if (kept->place.bundle_fd >= 0) {
        (void)close(kept->place.bundle_fd);
    }
    qn_free(kept->blocks);
    qn_free(kept->folder);
    qn_free(kept);
}

static struct qn__union_part kept_part(void *self, size_t i)
{
    const struct kept_pack *kept = self;
    const struct qn_state_entry *block = kept->blocks[i];
    return (struct qn__union_part){ .location = block->change.location,
                                    .version = block->change.version,
                                    .commit = block->version,
                                    .rows = block->change.rows };
}

static enum qn_status kept_schema(void *self, size_t i, struct ArrowSchema *out, struct qn_error *err)
{
    const struct kept_pack *kept = self;
    if (kept->blocks[i]->schema == NULL) {
        out->release = NULL;
        return QN_OK;
    }
    return qn__block_schema(&kept->place, kept->blocks[i], out, err);
}

static enum qn_status kept_open(void *self, size_t i, const char *const *columns, size_t n_columns,
                                struct ArrowArrayStream *out, struct qn_error *err)
{
    const struct kept_pack *kept = self;
    const struct qn_change *block = &kept->blocks[i]->change;
    if (columns == NULL || n_columns > 0) {
        return qn__block_stream(&kept->place, block, columns, n_columns, out, err);
    }
    int fd = -1; /* none of its columns is needed: it only has to be there */
    QN_TRY(qn__block_open(&kept->place, block, &fd, err));
    (void)close(fd);
    out->release = NULL;
    return QN_OK;
}

static enum qn_status keep_pack(const struct qn__block_place *place, const struct pack *pack, struct kept_pack **out,
                                struct qn_error *err)
{
    struct kept_pack *kept = qn_calloc(1, sizeof *kept);
    if (kept == NULL) {
        return qn__no_memory(err);
    }
    kept->place = *place;
    kept->place.bundle_fd = fcntl(place->bundle_fd, F_DUPFD_CLOEXEC, 3);
    kept->place.folder = kept->folder = qn_strdup(place->folder);
    kept->blocks = qn_calloc(pack->n + 1, sizeof *kept->blocks);
    enum qn_status status = QN_OK;
    if (kept->place.bundle_fd < 0) {
        status = qn_error_set(err, QN_ERR_IO, "opening the folder of the bundle: %m");
    } else if (kept->folder == NULL || kept->blocks == NULL) {
        status = qn__no_memory(err);
    }
    for (size_t i = 0; i < pack->n && status == QN_OK; i++) {
        const struct qn_state_entry *block = pack->blocks[i];
        status = qn_state_entry_copy(&block->change, block->schema, block->version, &kept->blocks[i], err);
        kept->n += status == QN_OK;
    }
    if (status != QN_OK) {
        kept_free(kept);
        return status;
    }
    *out = kept;
    return QN_OK;
}

/* The columns asked for (NULL: all of the schema), from blocks that the stream keeps. */
static enum qn_status stream_blocks(const struct qn__block_place *place, const struct pack *pack,
                                    const struct ArrowSchema *schema, const char *const *columns, size_t n_columns,
                                    struct ArrowArrayStream *out, struct qn_error *err)
{
    struct kept_pack *kept = NULL;
    QN_TRY(keep_pack(place, pack, &kept, err));
    const struct qn__union_source source = {
        .self = kept, .n_parts = kept->n, .part = kept_part, .schema = kept_schema, .open = kept_open, .free = kept_free
    };
    return qn__union_stream(&source, schema, columns, n_columns, out, err);
}

static enum qn_status stream_pack(struct qn_bundle *bundle, const char *name, const char *const *columns,
                                  size_t n_columns, struct ArrowArrayStream *out, struct qn_error *err)
{
    struct qn__block_place place;
    struct pack pack;
    qn_auto_schema schema = { 0 };
    QN_TRY(qn__bundle_place(bundle, &place, err));
    QN_TRY(find_blocks(bundle, name, &pack, err));
    enum qn_status status = unify_blocks(&place, &pack, &schema, err);
    if (status == QN_OK) {
        status = stream_blocks(&place, &pack, &schema, columns, n_columns, out, err);
    }
    qn_free(pack.blocks);
    return status;
}

enum qn_status qn_bundle_stream(struct qn_bundle *bundle, const char *pack, const char *const *columns,
                                size_t n_columns, struct ArrowArrayStream *out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = stream_pack(bundle, pack, columns, n_columns, out, err);
    qn__bundle_leave(bundle);
    if (status != QN_OK) {
        qn_error_prefix(err, "pack \"%.200s\"", pack);
    }
    return status;
}

static enum qn_status stream_block(struct qn_bundle *bundle, const char *pack, const char *location,
                                   const struct ArrowSchema *schema, struct ArrowArrayStream *out, struct qn_error *err)
{
    struct qn__block_place place;
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_place(bundle, &place, err));
    QN_TRY(qn__bundle_state(bundle, &state, err));
    const struct qn_state_entry *entry = qn_bundle_state_block(state, pack, location);
    if (entry == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "there is no block \"%.200s\"", location);
    }
    const struct pack one = { .blocks = &entry, .n = 1 };
    return stream_blocks(&place, &one, schema, NULL, 0, out, err);
}

enum qn_status qn_bundle_stream_block(struct qn_bundle *bundle, const char *pack, const char *location,
                                      const struct ArrowSchema *schema, struct ArrowArrayStream *out,
                                      struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = stream_block(bundle, pack, location, schema, out, err);
    qn__bundle_leave(bundle);
    if (status != QN_OK) {
        qn_error_prefix(err, "pack \"%.200s\"", pack);
    }
    return status;
}

/* ---- schema and rows -------------------------------------------------------------------------------------------- */

static enum qn_status schema_of(struct qn_bundle *bundle, const char *name, struct ArrowSchema *out,
                                struct qn_error *err)
{
    struct qn__block_place place;
    struct pack pack;
    QN_TRY(qn__bundle_place(bundle, &place, err));
    QN_TRY(find_blocks(bundle, name, &pack, err));
    enum qn_status status = unify_blocks(&place, &pack, out, err);
    qn_free(pack.blocks);
    return status;
}

enum qn_status qn_bundle_schema(struct qn_bundle *bundle, const char *pack, struct ArrowSchema *out,
                                struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = schema_of(bundle, pack, out, err);
    qn__bundle_leave(bundle);
    if (status != QN_OK) {
        qn_error_prefix(err, "pack \"%.200s\"", pack);
    }
    return status;
}

static enum qn_status rows_of(struct qn_bundle *bundle, const char *name, int64_t *out, struct qn_error *err)
{
    struct qn__block_place place;
    struct pack pack;
    QN_TRY(qn__bundle_place(bundle, &place, err));
    QN_TRY(find_blocks(bundle, name, &pack, err));
    enum qn_status status = QN_OK;
    int64_t sum = 0;
    for (size_t i = 0; i < pack.n && status == QN_OK; i++) {
        int64_t rows = 0;
        status = qn__block_rows(&place, &pack.blocks[i]->change, &rows, err);
        if (status == QN_OK && __builtin_add_overflow(sum, rows, &sum)) {
            status = qn_error_set(err, QN_ERR_DATA, "it has more rows than can be counted");
        }
    }
    qn_free(pack.blocks);
    if (status == QN_OK) {
        *out = sum;
    }
    return status;
}

enum qn_status qn_bundle_rows(struct qn_bundle *bundle, const char *pack, int64_t *out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = rows_of(bundle, pack, out, err);
    qn__bundle_leave(bundle);
    if (status != QN_OK) {
        qn_error_prefix(err, "pack \"%.200s\"", pack);
    }
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void put_text(struct qn_buffer *out, const char *key, const char *text)
{
    qn_buffer_printf(out, "\"%s\":", key);
    qn_commit_put_text(out, text);
}

static void put_number(struct qn_buffer *out, const char *key, int64_t number)
{
    if (number < 0) {
        qn_buffer_printf(out, ",\"%s\":null", key); /* unknown, or pending */
    } else {
        qn_buffer_printf(out, ",\"%s\":%lld", key, (long long)number);
    }
}

static void put_file(const struct qn_bundle *bundle, const struct qn_state_entry *entry, struct qn_buffer *out)
{
    const struct qn_change *block = &entry->change;
    put_text(out, "location", block->location);
    qn_buffer_append_byte(out, ',');
    put_text(out, "version", block->version);
    qn_buffer_append_byte(out, ',');
    put_text(out, "source", block->source);
    qn_buffer_append_byte(out, ',');
    put_text(out, "format", block->format);
    qn_buffer_append_byte(out, ',');
    if (block->url != NULL) {
        put_text(out, "url", block->url);
    } else {
        qn_auto_buffer path = QN_BUFFER_INIT;
        qn_buffer_printf(&path, "%s/data/%.2s/%s.%s", bundle->path, block->sha256, block->sha256, block->format);
        out->failure = path.failure != QN_BUFFER_FINE ? path.failure : out->failure;
        put_text(out, "path", qn_buffer_text(&path));
    }
    if (block->origin != NULL) {
        qn_buffer_append_byte(out, ',');
        put_text(out, "origin", block->origin);
    }
    qn_buffer_append_byte(out, ',');
    put_text(out, "sha256", block->sha256);
    put_number(out, "rows", block->rows);
    put_number(out, "bytes", block->bytes);
    put_number(out, "commit", entry->version);
}

static enum qn_status files_of(struct qn_bundle *bundle, const char *name, char **out, struct qn_error *err)
{
    struct pack pack;
    qn_auto_buffer text = QN_BUFFER_INIT;
    QN_TRY(find_blocks(bundle, name, &pack, err));
    qn_buffer_append_byte(&text, '[');
    for (size_t i = 0; i < pack.n; i++) {
        qn_buffer_append_text(&text, i > 0 ? ",{" : "{");
        put_file(bundle, pack.blocks[i], &text);
        qn_buffer_append_byte(&text, '}');
    }
    qn_buffer_append_byte(&text, ']');
    qn_free(pack.blocks);
    return qn__document_take(&text, out, err);
}

enum qn_status qn_bundle_files(struct qn_bundle *bundle, const char *pack, char **out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = files_of(bundle, pack, out, err);
    qn__bundle_leave(bundle);
    if (status != QN_OK) {
        qn_error_prefix(err, "pack \"%.200s\"", pack);
    }
    return status;
}
