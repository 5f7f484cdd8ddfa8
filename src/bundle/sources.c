/*
 * sources.c: sources of a bundle: connectors with arguments that feed packs.
 *
 * A source is an object of the bundle, its id is its name. Threads: see bundle_private.h.
 */
#include "base/memory.h"
#include "base/text.h"
#include "bundle/bundle_private.h"

#include "format/format.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define ID_BYTES 8
#define ID_TRIES 16

/* ---- as it is kept ---------------------------------------------------------------------------------------------- */

void qn__source_dispose(struct qn__source *source)
{
    qn_free(source->id);
    qn_free(source->connector);
    qn_free(source->arguments);
    qn_free(source->pack);
    qn_free(source->save_as);
    qn_free(source->folder);
    *source = (struct qn__source){ 0 };
}

static bool are_texts(const json_t *arguments)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)arguments, key, value)
    {
        if (!json_is_string(value)) {
            return false;
        }
    }
    return json_is_object(arguments);
}

static enum qn_status read_members(const json_t *value, const char *id, struct qn__source *out, struct qn_error *err)
{
    const char *connector = json_string_value(json_object_get(value, "connector"));
    const char *pack = json_string_value(json_object_get(value, "pack"));
    const char *save_as = json_string_value(json_object_get(value, "save_as"));
    const json_t *arguments = json_object_get(value, "arguments");
    const json_t *folder = json_object_get(value, "folder");
    if ((folder != NULL && (!json_is_string(folder) || json_string_value(folder)[0] != '/')) || connector == NULL ||
        pack == NULL || save_as == NULL || !qn_commit_name_is_valid(pack) || !qn_commit_format_is_valid(save_as) ||
        !are_texts(arguments)) {
        return qn_error_set(err, QN_ERR_DATA, "source \"%.80s\" of the bundle is not what a source should be", id);
    }
    char *text = json_dumps(arguments, JSON_COMPACT | JSON_SORT_KEYS);
    out->id = qn_strdup(id);
    out->connector = qn_strdup(connector);
    out->pack = qn_strdup(pack);
    out->save_as = qn_strdup(save_as);
    out->arguments = qn_strdup(text);
    out->folder = qn_strdup(json_string_value(folder));
    free(text); /* jansson's */
    bool all = out->id != NULL && out->connector != NULL && out->pack != NULL && out->save_as != NULL &&
               out->arguments != NULL && (folder == NULL || out->folder != NULL);
    return all ? QN_OK : qn__no_memory(err);
}

enum qn_status qn__source_read(const struct qn_state_entry *entry, struct qn__source *out, struct qn_error *err)
{
    struct qn__source source = { 0 };
    json_t *value = json_loads(entry->change.value, 0, NULL);
    enum qn_status status = read_members(value, entry->change.name, &source, err);
    json_decref(value);
    if (status != QN_OK) {
        qn__source_dispose(&source);
        return status;
    }
    *out = source;
    return QN_OK;
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

static enum qn_status new_id(const struct qn_bundle_state *state, char out[2 * ID_BYTES + 1], struct qn_error *err)
{
    for (int i = 0; i < ID_TRIES; i++) {
        unsigned char bytes[ID_BYTES];
        if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
            return qn_error_set(err, QN_ERR_IO, "asking for random bytes: %m");
        }
        for (size_t k = 0; k < sizeof bytes; k++) {
            (void)snprintf(out + 2 * k, 3, "%02x", bytes[k]);
        }
        if (qn_bundle_state_object(state, QN_OBJECT_SOURCE, out) == NULL) {
            return QN_OK;
        }
    }
    return qn_error_set(err, QN_ERR_INTERNAL, "no id for a source was free");
}

/* NULL: none. *out is a new reference. */
static enum qn_status check_arguments(const char *arguments, json_t **out, struct qn_error *err)
{
    json_t *object = arguments != NULL ? json_loads(arguments, JSON_REJECT_DUPLICATES, NULL) : json_object();
    if (object == NULL || !are_texts(object)) {
        json_decref(object);
        return qn_error_set(err, QN_ERR_CONFIG, "the arguments of a source are not a JSON object of texts");
    }
    *out = object;
    return QN_OK;
}

static enum qn_status choose_format(const char *save_as, const char **out, struct qn_error *err)
{
    const struct qn_format *format = NULL;
    if (save_as == NULL) {
        *out = qn_format_find("parquet") != NULL ? "parquet" : "arrow";
        return QN_OK;
    }
    QN_TRY(qn_format_get(save_as, &format, err));
    if (format->writer_new == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "a source cannot be kept as \"%.40s\": this format is only read",
                            save_as);
    }
    *out = save_as;
    return QN_OK;
}

/* Its id has no part in it. *out is jansson's. */
static enum qn_status source_text(const struct qn__source *source, char **out, struct qn_error *err)
{
    json_t *arguments = NULL;
    QN_TRY(check_arguments(source->arguments, &arguments, err));
    json_t *value = json_pack("{s:o,s:s,s:s,s:s,s:s*}", "arguments", arguments, "connector", source->connector, "pack",
                              source->pack, "save_as", source->save_as, "folder", source->folder);
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(value);
    if (text == NULL) {
        return qn__no_memory(err);
    }
    *out = text;
    return QN_OK;
}

static enum qn_status set_source(struct qn_bundle *bundle, const char *id, const char *text, struct qn_error *err)
{
    const struct qn_change change = { .kind = QN_CHANGE_SET, .object = QN_OBJECT_SOURCE, .name = id, .value = text };
    return qn__bundle_add(bundle, &change, NULL, err);
}

/* The connector is opened, which shows that its name, arguments and permission are right, and closed again. */
static enum qn_status try_connector(struct qn_bundle *bundle, const struct qn__source *source, struct qn_error *err)
{
    struct qn_connector *opened = NULL;
    const struct qn__connecting what = {
        .name = source->connector, .arguments = source->arguments, .folder = source->folder, .processes = 1
    };
    QN_TRY(qn__bundle_connector(bundle, &what, &opened, err));
    qn_connector_free(opened);
    return QN_OK;
}

static enum qn_status add_source(struct qn_bundle *bundle, const char *text, char **id_out, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    char id[2 * ID_BYTES + 1];
    QN_TRY(qn__bundle_state(bundle, &state, err));
    QN_TRY(new_id(state, id, err));
    qn_auto_free char *copy = qn_strdup(id);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn__bundle_begin(bundle, "create_source", err));
    QN_TRY(qn__bundle_close(bundle, set_source(bundle, id, text, err)));
    if (id_out != NULL) {
        *id_out = qn_steal(&copy);
    }
    return QN_OK;
}

/* The arguments as they are kept: sorted. *out is jansson's. */
static enum qn_status canonical_arguments(const char *arguments, char **out, struct qn_error *err)
{
    json_t *object = NULL;
    QN_TRY(check_arguments(arguments, &object, err));
    *out = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(object);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

/* Whether two sources would have the same locations: relative paths are others in another folder. */
static bool is_same(const struct qn__source *a, const struct qn__source *b)
{
    if (!qn_text_equal(a->connector, b->connector) || !qn_text_equal(a->pack, b->pack) ||
        !qn_text_equal(a->arguments, b->arguments)) {
        return false;
    }
    json_t *arguments = json_loads(a->arguments, 0, NULL);
    const char *path = json_string_value(json_object_get(arguments, "path"));
    bool relative = path != NULL && path[0] != '/';
    json_decref(arguments);
    return !relative || a->folder == NULL || b->folder == NULL || qn_text_equal(a->folder, b->folder);
}

static enum qn_status refuse_twice(struct qn_bundle *bundle, const struct qn__source *source, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        struct qn__source other;
        if (entry->change.kind != QN_CHANGE_SET || entry->change.object != QN_OBJECT_SOURCE) {
            continue;
        }
        QN_TRY(qn__source_read(entry, &other, err));
        bool same = is_same(source, &other);
        qn__source_dispose(&other);
        if (same) {
            return qn_error_set(err, QN_ERR_CONFIG,
                                "source %.80s of pack \"%.80s\" is the same: connector \"%.80s\" with these arguments",
                                entry->change.name, source->pack, source->connector);
        }
    }
    return QN_OK;
}

static enum qn_status keep_source(struct qn_bundle *bundle, const struct qn__source *source, char **id_out,
                                  struct qn_error *err)
{
    char *text = NULL;
    QN_TRY(try_connector(bundle, source, err));
    QN_TRY(refuse_twice(bundle, source, err));
    QN_TRY(source_text(source, &text, err));
    enum qn_status status = add_source(bundle, text, id_out, err);
    free(text); /* jansson's */
    return status;
}

static enum qn_status create_source(struct qn_bundle *bundle, const char *connector, const char *arguments,
                                    const char *pack, const char *save_as, char **id_out, struct qn_error *err)
{
    const char *format = NULL;
    char *canonical = NULL;
    if (!qn_commit_name_is_valid(pack)) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "\"%.80s\" is not a name of a pack: 1 to 255 bytes without control characters, / and \\",
                            pack);
    }
    QN_TRY(choose_format(save_as, &format, err));
    QN_TRY(canonical_arguments(arguments, &canonical, err));
    qn_auto_free char *folder = qn__current_folder();
    /* Borrowed texts, for the calls below alone. */
    const struct qn__source source = { .connector = (char *)(uintptr_t)connector,
                                       .arguments = canonical,
                                       .pack = (char *)(uintptr_t)pack,
                                       .save_as = (char *)(uintptr_t)format,
                                       .folder = folder };
    enum qn_status status = keep_source(bundle, &source, id_out, err);
    free(canonical); /* jansson's */
    return status;
}

enum qn_status qn_bundle_create_source(struct qn_bundle *bundle, const char *connector, const char *arguments,
                                       const char *pack, const char *save_as, char **id_out, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err));
    enum qn_status status = create_source(bundle, connector, arguments, pack, save_as, id_out, err);
    qn__bundle_leave(bundle);
    return status;
}

/* ---- dropping and renaming -------------------------------------------------------------------------------------- */

/* Names of objects, copied: a change moves the entries of the state. */
struct names {
    char **items;
    size_t count;
};

static void dispose_names(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        qn_free(names->items[i]);
    }
    qn_free(names->items);
}

static enum qn_status add_name(struct names *names, const char *name, struct qn_error *err)
{
    char **items = qn_realloc_array(names->items, names->count + 1, sizeof *items);
    if (items == NULL) {
        return qn__no_memory(err);
    }
    names->items = items;
    items[names->count] = qn_strdup(name);
    if (items[names->count] == NULL) {
        return qn__no_memory(err);
    }
    names->count++;
    return QN_OK;
}

/* Objects of a kind whose value has this text as that member. */
static enum qn_status find_objects(struct qn_bundle *bundle, enum qn_object_kind kind, const char *member,
                                   const char *text, struct names *out, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        if (entry->change.kind != QN_CHANGE_SET || entry->change.object != kind) {
            continue;
        }
        json_t *value = json_loads(entry->change.value, JSON_DECODE_ANY, NULL);
        const char *found = json_string_value(json_object_get(value, member));
        enum qn_status status =
            found != NULL && qn_text_equal(found, text) ? add_name(out, entry->change.name, err) : QN_OK;
        json_decref(value);
        QN_TRY(status);
    }
    return QN_OK;
}

static enum qn_status follow(struct qn_bundle *bundle, const char *id, const char *new_name, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    struct qn__source source;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    QN_TRY(qn__source_read(qn_bundle_state_object(state, QN_OBJECT_SOURCE, id), &source, err));
    char *text = NULL;
    char *old_name = source.connector;
    source.connector = qn_strdup(new_name);
    enum qn_status status = source.connector != NULL ? source_text(&source, &text, err) : qn__no_memory(err);
    if (status == QN_OK) {
        status = set_source(bundle, id, text, err);
    }
    qn_free(old_name);
    free(text); /* jansson's */
    qn__source_dispose(&source);
    return status;
}

enum qn_status qn__sources_follow(struct qn_bundle *bundle, const char *connector, const char *new_name,
                                  struct qn_error *err)
{
    struct names ids = { 0 };
    enum qn_status status = find_objects(bundle, QN_OBJECT_SOURCE, "connector", connector, &ids, err);
    for (size_t i = 0; i < ids.count && status == QN_OK; i++) {
        status = follow(bundle, ids.items[i], new_name, err);
    }
    dispose_names(&ids);
    return status;
}

static enum qn_status unset(struct qn_bundle *bundle, enum qn_object_kind kind, const char *name, struct qn_error *err)
{
    const struct qn_change change = { .kind = QN_CHANGE_UNSET, .object = kind, .name = name };
    return qn__bundle_add(bundle, &change, NULL, err);
}

/* The source, and what the retry list has of it. */
static enum qn_status unset_source(struct qn_bundle *bundle, const char *id, struct qn_error *err)
{
    struct names failures = { 0 };
    enum qn_status status = find_objects(bundle, QN_OBJECT_FAILURE, "source", id, &failures, err);
    for (size_t i = 0; i < failures.count && status == QN_OK; i++) {
        status = unset(bundle, QN_OBJECT_FAILURE, failures.items[i], err);
    }
    dispose_names(&failures);
    return status == QN_OK ? unset(bundle, QN_OBJECT_SOURCE, id, err) : status;
}

static enum qn_status drop_source(struct qn_bundle *bundle, const char *id, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    if (qn_bundle_state_object(state, QN_OBJECT_SOURCE, id) == NULL) {
        qn_error_set(err, QN_ERR_CONFIG, "source \"%.80s\" is unknown", id);
        qn__bundle_hint_name(state, QN__NAMED_SOURCES, id, err);
        return QN_ERR_CONFIG;
    }
    QN_TRY(qn__bundle_begin(bundle, "drop_source", err));
    return qn__bundle_close(bundle, unset_source(bundle, id, err));
}

enum qn_status qn_bundle_drop_source(struct qn_bundle *bundle, const char *id, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err));
    enum qn_status status = drop_source(bundle, id, err);
    qn__bundle_leave(bundle);
    return status;
}
