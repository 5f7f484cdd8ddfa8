/*
 * documents.c: what a bundle says of itself, as JSON (docs/formats/bundle_documents.md).
 *
 * Texts are written in the canonical form of commits, members in the order in which the documents list them; a number that
 * nobody knows is null. Values of objects are as the commits have them. Threads: see bundle_private.h.
 */
#include "base/memory.h"
#include "bundle/bundle_private.h"

#include <jansson.h>

enum qn_status qn__document_take(struct qn_buffer *buffer, char **out, struct qn_error *err)
{
    QN_TRY(qn_buffer_check(buffer, "a document of the bundle", err));
    char *text = qn_buffer_steal(buffer);
    if (text == NULL) {
        return qn__no_memory(err);
    }
    *out = text;
    return QN_OK;
}

static void put_member(struct qn_buffer *out, const char *key, const char *text)
{
    qn_buffer_append_text(out, key);
    qn_commit_put_text(out, text);
}

static void put_number(struct qn_buffer *out, const char *key, int64_t number)
{
    qn_buffer_append_text(out, key);
    if (number < 0) {
        qn_buffer_append_text(out, "null");
    } else {
        qn_buffer_printf(out, "%lld", (long long)number);
    }
}

static void put_change(struct qn_buffer *out, const struct qn_change *change)
{
    put_member(out, "{\"op\":", qn_change_kind_name(change->kind));
    if (change->kind >= QN_CHANGE_SET) {
        put_member(out, ",\"kind\":", qn_object_kind_name(change->object));
        put_member(out, ",\"name\":", change->name);
        if (change->kind == QN_CHANGE_SET) {
            qn_buffer_append_text(out, ",\"value\":");
            qn_buffer_append_text(out, change->value);
        }
    } else {
        put_member(out, ",\"pack\":", change->pack);
        put_member(out, ",\"location\":", change->location);
    }
    if (change->kind == QN_CHANGE_ADD || change->kind == QN_CHANGE_REPLACE) {
        put_member(out, ",\"version\":", change->version);
        put_member(out, ",\"source\":", change->source);
        put_member(out, ",\"format\":", change->format);
        put_member(out, ",\"sha256\":", change->sha256);
        if (change->url != NULL) {
            put_member(out, ",\"url\":", change->url);
        }
        if (change->origin != NULL) {
            put_member(out, ",\"origin\":", change->origin);
        }
        put_number(out, ",\"rows\":", change->rows);
        put_number(out, ",\"bytes\":", change->bytes);
    }
    qn_buffer_append_byte(out, '}');
}

/* ---- history ---------------------------------------------------------------------------------------------------- */

static void put_commit(struct qn_buffer *out, const struct qn_commit *commit, const struct qn_sha256 *hash)
{
    char text[QN_SHA256_TEXT_SIZE];
    char previous[QN_SHA256_TEXT_SIZE];
    qn_sha256_format(hash, text);
    qn_sha256_format(&commit->previous, previous);
    qn_buffer_printf(out, "{\"version\":%lld", (long long)commit->version);
    put_member(out, ",\"hash\":", text);
    put_member(out, ",\"previous\":", previous);
    qn_buffer_printf(out, ",\"timestamp\":%lld", (long long)commit->timestamp);
    put_member(out, ",\"message\":", commit->message);
    qn_buffer_append_text(out, ",\"changes\":[");
    for (size_t i = 0; i < commit->n_changes; i++) {
        qn_buffer_append_text(out, i > 0 ? "," : "");
        put_change(out, &commit->changes[i]);
    }
    qn_buffer_append_text(out, "]}");
}

static enum qn_status history(struct qn_bundle *bundle, int64_t first, int64_t last, char **out, struct qn_error *err)
{
    last = last == -1 ? bundle->version : last;
    if (first < 0 || last > bundle->version || first > last + 1) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "there are no versions %lld to %lld: the bundle shows 0 to %lld",
                            (long long)first, (long long)last, (long long)bundle->version);
    }
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_buffer_append_byte(&text, '[');
    for (int64_t version = first; version <= last; version++) {
        struct qn_commit commit;
        QN_TRY(qn_commit_log_read(bundle->log, version, &commit, err));
        qn_buffer_append_text(&text, version > first ? "," : "");
        put_commit(&text, &commit, qn_commit_log_hash(bundle->log, version));
        qn_commit_dispose(&commit);
    }
    qn_buffer_append_byte(&text, ']');
    return qn__document_take(&text, out, err);
}

enum qn_status qn_bundle_history(struct qn_bundle *bundle, int64_t first, int64_t last, char **out,
                                 struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = history(bundle, first, last, out, err);
    qn__bundle_leave(bundle);
    return status;
}

/* ---- status ----------------------------------------------------------------------------------------------------- */

static enum qn_status pending_status(const struct qn_bundle *bundle, char **out, struct qn_error *err)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_buffer_printf(&text, "{\"version\":%lld,\"operations\":[", (long long)bundle->version);
    for (size_t i = 0; i < bundle->n_operations; i++) {
        const struct qn__operation *operation = &bundle->operations[i];
        qn_buffer_append_text(&text, i > 0 ? "," : "");
        put_member(&text, "{\"operation\":", operation->name);
        qn_buffer_append_text(&text, ",\"changes\":[");
        for (size_t k = 0; k < operation->n_changes; k++) {
            qn_buffer_append_text(&text, k > 0 ? "," : "");
            put_change(&text, &operation->changes[k].made->change);
        }
        qn_buffer_append_text(&text, "]}");
    }
    qn_buffer_append_text(&text, "]}");
    return qn__document_take(&text, out, err);
}

enum qn_status qn_bundle_status(struct qn_bundle *bundle, char **out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = pending_status(bundle, out, err);
    qn__bundle_leave(bundle);
    return status;
}

/* ---- describe --------------------------------------------------------------------------------------------------- */

/* Blocks, rows and bytes of a pack so far; -1: unknown. */
struct pack_sum {
    int64_t blocks;
    int64_t rows;
    int64_t bytes;
};

struct pack_sums {
    json_t *places; /* {pack: index}, in the order in which the packs came */
    struct pack_sum *items;
    size_t count;
};

static void add_known(int64_t *sum, int64_t number)
{
    if (number < 0 || *sum < 0 || __builtin_add_overflow(*sum, number, sum)) {
        *sum = -1;
    }
}

static enum qn_status sum_of_pack(struct pack_sums *sums, const char *pack, struct pack_sum **out, struct qn_error *err)
{
    const json_t *place = json_object_get(sums->places, pack);
    if (place == NULL) {
        struct pack_sum *items = qn_realloc_array(sums->items, sums->count + 1, sizeof *items);
        if (items == NULL) {
            return qn__no_memory(err);
        }
        sums->items = items;
        items[sums->count] = (struct pack_sum){ 0 };
        if (json_object_set_new(sums->places, pack, json_integer((json_int_t)sums->count)) != 0) {
            return qn__no_memory(err);
        }
        *out = &items[sums->count++];
        return QN_OK;
    }
    *out = &sums->items[json_integer_value(place)];
    return QN_OK;
}

/* A pack is what blocks or sources name. */
static enum qn_status sum_entry(struct pack_sums *sums, const struct qn_state_entry *entry, struct qn_error *err)
{
    struct pack_sum *sum = NULL;
    if (entry->change.kind != QN_CHANGE_SET) {
        QN_TRY(sum_of_pack(sums, entry->change.pack, &sum, err));
        sum->blocks++;
        add_known(&sum->rows, entry->change.rows);
        add_known(&sum->bytes, entry->change.bytes);
    } else if (entry->change.object == QN_OBJECT_SOURCE) {
        struct qn__source source;
        QN_TRY(qn__source_read(entry, &source, err));
        enum qn_status status = sum_of_pack(sums, source.pack, &sum, err);
        qn__source_dispose(&source);
        return status;
    }
    return QN_OK;
}

static void put_sums(struct qn_buffer *out, const struct pack_sums *sums)
{
    const char *pack;
    json_t *place;
    size_t n = 0;
    json_object_foreach(sums->places, pack, place)
    {
        const struct pack_sum *sum = &sums->items[json_integer_value(place)];
        qn_buffer_append_text(out, n++ > 0 ? "," : "");
        put_member(out, "{\"name\":", pack);
        put_number(out, ",\"blocks\":", sum->blocks);
        put_number(out, ",\"rows\":", sum->rows);
        put_number(out, ",\"bytes\":", sum->bytes);
        qn_buffer_append_byte(out, '}');
    }
}

static enum qn_status put_packs(struct qn_buffer *out, const struct qn_bundle_state *state, struct qn_error *err)
{
    struct pack_sums sums = { .places = json_object() };
    enum qn_status status = sums.places != NULL ? QN_OK : qn__no_memory(err);
    size_t place = 0;
    const struct qn_state_entry *entry;
    while (status == QN_OK && (entry = qn_bundle_state_next(state, &place)) != NULL) {
        status = sum_entry(&sums, entry, err);
    }
    if (status == QN_OK) {
        put_sums(out, &sums);
    }
    json_decref(sums.places);
    qn_free(sums.items);
    return status;
}

/* One object of a kind, as the member of the document that its kind has. */
static enum qn_status put_object(struct qn_buffer *out, const struct qn_state_entry *entry, struct qn_error *err)
{
    const struct qn_change *change = &entry->change;
    struct qn__source source;
    switch (change->object) {
    case QN_OBJECT_CONNECTOR:
        put_member(out, "{\"name\":", change->name);
        qn_buffer_append_text(out, ",\"temporary\":false,\"platforms\":");
        qn_buffer_append_text(out, change->value);
        qn_buffer_append_byte(out, '}');
        return QN_OK;
    case QN_OBJECT_SOURCE:
        QN_TRY(qn__source_read(entry, &source, err));
        put_member(out, "{\"id\":", source.id);
        put_member(out, ",\"connector\":", source.connector);
        qn_buffer_append_text(out, ",\"arguments\":");
        qn_buffer_append_text(out, source.arguments);
        put_member(out, ",\"pack\":", source.pack);
        put_member(out, ",\"save_as\":", source.save_as);
        if (source.folder != NULL) {
            put_member(out, ",\"folder\":", source.folder);
        }
        qn_buffer_append_byte(out, '}');
        qn__source_dispose(&source);
        return QN_OK;
    case QN_OBJECT_FAILURE:
        qn_buffer_append_text(out, change->value);
        return QN_OK;
    default: /* {name: value} */
        put_member(out, "", change->name);
        qn_buffer_append_byte(out, ':');
        qn_buffer_append_text(out, change->value);
        return QN_OK;
    }
}

static enum qn_status put_objects(struct qn_buffer *out, const struct qn_bundle_state *state, enum qn_object_kind kind,
                                  bool *first, struct qn_error *err)
{
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        if (entry->change.kind == QN_CHANGE_SET && entry->change.object == kind) {
            qn_buffer_append_text(out, *first ? "" : ",");
            *first = false;
            QN_TRY(put_object(out, entry, err));
        }
    }
    return QN_OK;
}

static enum qn_status put_connectors(struct qn_buffer *out, const struct qn_bundle *bundle,
                                     const struct qn_bundle_state *state, struct qn_error *err)
{
    bool first = true;
    QN_TRY(put_objects(out, state, QN_OBJECT_CONNECTOR, &first, err));
    const char *name;
    const char *platform;
    json_t *uris;
    json_t *uri;
    json_object_foreach(bundle->temporary, name, uris)
    {
        qn_buffer_append_text(out, first ? "" : ",");
        first = false;
        put_member(out, "{\"name\":", name);
        qn_buffer_append_text(out, ",\"temporary\":true,\"platforms\":{");
        size_t n = 0;
        json_object_foreach(uris, platform, uri)
        {
            put_member(out, n++ > 0 ? "," : "", platform);
            put_member(out, ":", json_string_value(uri));
        }
        qn_buffer_append_text(out, "}}");
    }
    return QN_OK;
}

static enum qn_status describe(struct qn_bundle *bundle, char **out, struct qn_error *err)
{
    static const struct {
        enum qn_object_kind kind;
        const char *before;
    } members[] = {
        { QN_OBJECT_SOURCE, "],\"sources\":[" },
        { QN_OBJECT_CONFIG, "],\"config\":{" },
        { QN_OBJECT_CHECKPOINT, "},\"checkpoints\":{" },
        { QN_OBJECT_FAILURE, "},\"failures\":[" },
    };
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_buffer_append_text(&text, "{\"packs\":[");
    QN_TRY(put_packs(&text, state, err));
    qn_buffer_append_text(&text, "],\"connectors\":[");
    QN_TRY(put_connectors(&text, bundle, state, err));
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        bool first = true;
        qn_buffer_append_text(&text, members[i].before);
        QN_TRY(put_objects(&text, state, members[i].kind, &first, err));
    }
    qn_buffer_append_text(&text, "]}");
    return qn__document_take(&text, out, err);
}

enum qn_status qn_bundle_describe(struct qn_bundle *bundle, char **out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_READS, err));
    enum qn_status status = describe(bundle, out, err);
    qn__bundle_leave(bundle);
    return status;
}
