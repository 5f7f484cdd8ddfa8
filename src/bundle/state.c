/*
 * state.c: commits applied, and conflicts between them.
 *
 * Entries stand in a list in the order in which they came, found by an open-addressed table of indices. An entry that
 * is removed or replaced leaves a hole (NULL) in the list and its slot in the table, until both are built anew; a key
 * is (kind, a, b): the pack and location of a block, or the object's kind and name. Each entry is one allocation with
 * its texts behind it. Keys come from outside, so the hash is keyed at random. Threads: one at a time per state.
 */
#include "bundle/state.h"

#include "base/memory.h"
#include "base/text.h"
#include "bundle/state_file.h"

#include <stdio.h>
#include <sys/random.h>

#define FIRST_SLOTS   ((size_t)64)
#define KIND_BLOCK    255
#define INDEX_BITS    40
#define NAMED         3 /* conflicts that a message names */
#define CONFLICT_TEXT 600

struct qn_bundle_state {
    struct qn_state_entry **entries;
    size_t n_entries; /* with holes */
    size_t n_live;
    size_t capacity;
    uint64_t *slots; /* index + 1 and, above INDEX_BITS, a part of the key's hash; 0: empty */
    size_t n_slots;  /* a power of two, more than twice n_entries */
    uint64_t key[2];
    /* Entries that came together, in one array, and their texts. */
    struct qn_state_entry *items;
    size_t n_items;
    char *texts;
};

struct entry_key {
    int kind; /* an object's, or KIND_BLOCK */
    const char *a;
    const char *b; /* "" for an object */
};

static struct entry_key key_of(const struct qn_change *change)
{
    if (change->kind >= QN_CHANGE_SET) {
        return (struct entry_key){ .kind = (int)change->object, .a = change->name, .b = "" };
    }
    return (struct entry_key){ .kind = KIND_BLOCK, .a = change->pack, .b = change->location };
}

/* ---- finding ---------------------------------------------------------------------------------------------------- */

static inline uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static void sip_text(uint64_t v[4], const char *text)
{
    size_t size = strlen(text);
    sip_word(v, size);
    while (size > 0) {
        uint64_t word = 0;
        size_t part = size < sizeof word ? size : sizeof word;
        memcpy(&word, text, part);
        sip_word(v, word);
        text += part;
        size -= part;
    }
}

/* SipHash-1-3 of the key's parts, each with its length before it. */
static size_t hash_key(const struct qn_bundle_state *state, const struct entry_key *key)
{
    uint64_t v[4] = { state->key[0] ^ UINT64_C(0x736f6d6570736575), state->key[1] ^ UINT64_C(0x646f72616e646f6d),
                      state->key[0] ^ UINT64_C(0x6c7967656e657261), state->key[1] ^ UINT64_C(0x7465646279746573) };
    sip_word(v, (uint64_t)key->kind);
    sip_text(v, key->a);
    sip_text(v, key->b);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        sip_round(v);
    }
    return (size_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

static bool keys_equal(const struct entry_key *a, const struct entry_key *b)
{
    return a->kind == b->kind && qn_text_equal(a->a, b->a) && qn_text_equal(a->b, b->b);
}

static inline size_t index_of(uint64_t slot)
{
    return (size_t)(slot & ((UINT64_C(1) << INDEX_BITS) - 1)) - 1;
}

/* The slot of a key that hashes so: that of its entry, or the first empty one. There is always an empty one. */
static size_t find_slot(const struct qn_bundle_state *state, const struct entry_key *key, size_t hash)
{
    size_t mask = state->n_slots - 1;
    size_t slot = hash & mask;
    for (; state->slots[slot] != 0; slot = (slot + 1) & mask) {
        if (state->slots[slot] >> INDEX_BITS != hash >> INDEX_BITS) {
            continue; /* without a look at the entry, which is far away */
        }
        const struct qn_state_entry *entry = state->entries[index_of(state->slots[slot])];
        if (entry != NULL) {
            struct entry_key found = key_of(&entry->change);
            if (keys_equal(&found, key)) {
                return slot;
            }
        }
    }
    return slot;
}

/* The index of an entry; n_entries where it is not there. */
static size_t find(const struct qn_bundle_state *state, const struct entry_key *key)
{
    if (state->n_slots == 0) {
        return state->n_entries;
    }
    size_t slot = find_slot(state, key, hash_key(state, key));
    return state->slots[slot] != 0 ? index_of(state->slots[slot]) : state->n_entries;
}

/* Put an entry that is in the list into the table; false: its like is there. */
static bool insert_slot(struct qn_bundle_state *state, size_t index)
{
    struct entry_key key = key_of(&state->entries[index]->change);
    size_t hash = hash_key(state, &key);
    size_t slot = find_slot(state, &key, hash);
    if (state->slots[slot] != 0) {
        return false;
    }
    state->slots[slot] = (uint64_t)(index + 1) | (uint64_t)(hash >> INDEX_BITS) << INDEX_BITS;
    return true;
}

static void free_entry(const struct qn_bundle_state *state, struct qn_state_entry *entry)
{
    if (entry < state->items || entry >= state->items + state->n_items) {
        qn_free(entry);
    }
}

/* There is room for it; false: its like is there. */
static bool append_entry(struct qn_bundle_state *state, struct qn_state_entry *entry)
{
    state->entries[state->n_entries] = entry;
    if (!insert_slot(state, state->n_entries)) {
        return false;
    }
    state->n_entries++;
    state->n_live++;
    return true;
}

/* Build the list, without its holes, and a table that is at most half full anew, for so many entries and one more. */
static enum qn_status rebuild(struct qn_bundle_state *state, size_t count, struct qn_error *err)
{
    size_t n_slots = FIRST_SLOTS;
    while (n_slots < 4 * (count + 1)) {
        n_slots *= 2;
    }
    struct qn_state_entry **entries = qn_realloc_array(NULL, n_slots / 2, sizeof *entries);
    uint64_t *slots = qn_calloc(n_slots, sizeof *slots);
    if (entries == NULL || slots == NULL) {
        qn_free(entries);
        qn_free(slots);
        return qn__no_memory(err);
    }
    size_t live = 0;
    for (size_t i = 0; i < state->n_entries; i++) {
        if (state->entries[i] != NULL) {
            entries[live++] = state->entries[i];
        }
    }
    qn_free(state->entries);
    qn_free(state->slots);
    state->entries = entries;
    state->slots = slots;
    state->n_entries = live;
    state->capacity = n_slots / 2;
    state->n_slots = n_slots;
    for (size_t i = 0; i < live; i++) {
        (void)insert_slot(state, i); /* no two are alike */
    }
    return QN_OK;
}

static enum qn_status make_room(struct qn_bundle_state *state, struct qn_error *err)
{
    return state->n_entries < state->capacity ? QN_OK : rebuild(state, state->n_live, err);
}

/* ---- entries ---------------------------------------------------------------------------------------------------- */

/* Copy a text behind the entry, or only count what it takes. */
static const char *keep_text(char **room, size_t *size, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    size_t length = strlen(text) + 1;
    *size += length;
    if (*room == NULL) {
        return NULL;
    }
    char *kept = *room;
    memcpy(kept, text, length);
    *room += length;
    return kept;
}

static void keep_texts(struct qn_state_entry *to, const struct qn_state_entry *from, char *room, size_t *size)
{
    const struct qn_change *change = &from->change;
    to->change.pack = keep_text(&room, size, change->pack);
    to->change.location = keep_text(&room, size, change->location);
    to->change.version = keep_text(&room, size, change->version);
    to->change.source = keep_text(&room, size, change->source);
    to->change.format = keep_text(&room, size, change->format);
    to->change.sha256 = keep_text(&room, size, change->sha256);
    to->change.url = keep_text(&room, size, change->url);
    to->change.origin = keep_text(&room, size, change->origin);
    to->change.name = keep_text(&room, size, change->name);
    to->change.value = keep_text(&room, size, change->value);
    to->schema = keep_text(&room, size, from->schema);
}

enum qn_status qn_state_entry_copy(const struct qn_change *change, const char *schema, int64_t version,
                                   struct qn_state_entry **out, struct qn_error *err)
{
    struct qn_state_entry from = { .change = *change, .schema = schema, .version = version };
    from.change.schema = -1;
    struct qn_state_entry measured;
    size_t size = 0;
    keep_texts(&measured, &from, NULL, &size);
    struct qn_state_entry *entry = qn_malloc(sizeof *entry + size);
    if (entry == NULL) {
        return qn__no_memory(err);
    }
    *entry = from;
    size = 0;
    keep_texts(entry, &from, (char *)(entry + 1), &size);
    *out = entry;
    return QN_OK;
}

static void describe(const struct qn_change *change, char *out, size_t size)
{
    static const char *const objects[QN_OBJECT_KINDS] = { "configuration", "connector", "source", "failure",
                                                          "checkpoint" };
    char a[64];
    char b[104];
    if (change->kind >= QN_CHANGE_SET) {
        QN_ERROR_COPY(b, change->name, QN_COMMIT_MAX_NAME);
        (void)snprintf(out, size, "%s \"%s\"", objects[change->object], b);
    } else {
        QN_ERROR_COPY(a, change->pack, QN_COMMIT_MAX_NAME);
        QN_ERROR_COPY(b, change->location, QN_COMMIT_MAX_TEXT);
        (void)snprintf(out, size, "(\"%s\", \"%s\")", a, b);
    }
}

static enum qn_status does_not_fit(int64_t version, const struct qn_change *change, const char *what,
                                   struct qn_error *err)
{
    static const char *const verbs[QN_CHANGE_KINDS] = { "adds", "replaces", "removes", "sets", "unsets" };
    char object[256];
    describe(change, object, sizeof object);
    if (version == QN_VERSION_PENDING) {
        return qn_error_set(err, QN_ERR_DATA, "a pending change %s %s, which is %s", verbs[change->kind], object, what);
    }
    return qn_error_set(err, QN_ERR_DATA, "commit %lld %s %s, which is %s", (long long)version, verbs[change->kind],
                        object, what);
}

enum qn_status qn_bundle_state_change(struct qn_bundle_state *state, const struct qn_change *change, const char *schema,
                                      int64_t version, struct qn_error *err)
{
    struct entry_key key = key_of(change);
    QN_TRY(make_room(state, err));
    size_t index = find(state, &key);
    bool there = index < state->n_entries;
    if (there && change->kind == QN_CHANGE_ADD) {
        return does_not_fit(version, change, "there already", err);
    }
    if (!there && change->kind != QN_CHANGE_ADD && change->kind != QN_CHANGE_SET) {
        return does_not_fit(version, change, "not there", err);
    }
    struct qn_state_entry *entry = NULL;
    if (change->kind != QN_CHANGE_REMOVE && change->kind != QN_CHANGE_UNSET) {
        struct qn_change made = *change;
        made.kind = change->kind == QN_CHANGE_REPLACE ? QN_CHANGE_ADD : change->kind;
        QN_TRY(qn_state_entry_copy(&made, schema, version, &entry, err));
    }
    if (there) {
        free_entry(state, state->entries[index]);
        state->entries[index] = NULL; /* a hole: what replaces it comes last */
        state->n_live--;
    }
    if (entry != NULL) {
        (void)append_entry(state, entry); /* its like has just gone */
    }
    return QN_OK;
}

void qn_bundle_state_settle(struct qn_bundle_state *state, const struct qn_change *change, int64_t version)
{
    struct entry_key key = key_of(change);
    size_t index = find(state, &key);
    if (index < state->n_entries && state->entries[index]->version == QN_VERSION_PENDING) {
        state->entries[index]->version = version;
    }
}

enum qn_status qn_bundle_state_renew(struct qn_bundle_state *state, const struct qn_change *change,
                                     struct qn_error *err)
{
    struct entry_key key = key_of(change);
    QN_TRY(make_room(state, err));
    size_t index = find(state, &key);
    if (index < state->n_entries && state->entries[index]->version == QN_VERSION_PENDING) {
        struct qn_state_entry *entry = state->entries[index];
        state->entries[index] = NULL;
        state->n_live--;
        (void)append_entry(state, entry); /* its like has just gone */
    }
    return QN_OK;
}

enum qn_status qn_bundle_state_apply(struct qn_bundle_state *state, const struct qn_commit *commit,
                                     struct qn_error *err)
{
    for (size_t i = 0; i < commit->n_changes; i++) {
        const struct qn_change *change = &commit->changes[i];
        bool known = change->kind < QN_CHANGE_REMOVE && change->schema >= 0;
        QN_TRY(qn_bundle_state_change(state, change, known ? commit->schemas[change->schema] : NULL, commit->version,
                                      err));
    }
    return QN_OK;
}

/* ---- states ----------------------------------------------------------------------------------------------------- */

enum qn_status qn_bundle_state_new(struct qn_bundle_state **out, struct qn_error *err)
{
    struct qn_bundle_state *state = qn_calloc(1, sizeof *state);
    if (state == NULL) {
        return qn__no_memory(err);
    }
    if (getrandom(state->key, sizeof state->key, 0) != (ssize_t)sizeof state->key) {
        qn_free(state);
        return qn_error_set(err, QN_ERR_IO, "asking for random bytes: %m");
    }
    *out = state;
    return QN_OK;
}

void qn_bundle_state_free(struct qn_bundle_state *state)
{
    if (state == NULL) {
        return;
    }
    for (size_t i = 0; i < state->n_entries; i++) {
        free_entry(state, state->entries[i]);
    }
    qn_free(state->entries);
    qn_free(state->slots);
    qn_free(state->items);
    qn_free(state->texts);
    qn_free(state);
}

static enum qn_status add_items(struct qn_bundle_state *state, struct qn_state_entry *items, size_t count,
                                struct qn_error *err)
{
    QN_TRY(rebuild(state, count, err));
    for (size_t i = 0; i < count; i++) {
        if (!append_entry(state, &items[i])) {
            return qn_error_set(err, QN_ERR_DATA, "entry %zu of a state is there twice", i);
        }
    }
    return QN_OK;
}

enum qn_status qn_bundle_state_from(struct qn_state_entry *items, size_t count, char *texts,
                                    struct qn_bundle_state **out, struct qn_error *err)
{
    struct qn_bundle_state *state = NULL;
    QN_TRY(qn_bundle_state_new(&state, err));
    enum qn_status status = add_items(state, items, count, err);
    if (status != QN_OK) {
        state->n_entries = 0; /* they stay the caller's */
        qn_bundle_state_free(state);
        return status;
    }
    state->items = items;
    state->n_items = count;
    state->texts = texts;
    *out = state;
    return QN_OK;
}

enum qn_status qn_bundle_state_at(const struct qn_commit_log *log, int64_t version, struct qn_bundle_state **out,
                                  int64_t *applied_out, struct qn_error *err)
{
    struct qn_bundle_state *state = NULL;
    int64_t done = -1;
    QN_TRY(qn__snapshot_load(log, version, &state, &done, err));
    enum qn_status status = state == NULL ? qn_bundle_state_new(&state, err) : QN_OK;
    for (int64_t i = done + 1; i <= version && status == QN_OK; i++) {
        struct qn_commit commit;
        status = qn_commit_log_read(log, i, &commit, err);
        if (status == QN_OK) {
            status = qn_bundle_state_apply(state, &commit, err);
            qn_commit_dispose(&commit);
        }
    }
    if (status != QN_OK) {
        qn_bundle_state_free(state);
        return status;
    }
    if (applied_out != NULL) {
        *applied_out = version - done;
    }
    *out = state;
    return QN_OK;
}

static const struct qn_state_entry *look_up(const struct qn_bundle_state *state, const struct entry_key *key)
{
    size_t index = find(state, key);
    return index < state->n_entries ? state->entries[index] : NULL;
}

const struct qn_state_entry *qn_bundle_state_block(const struct qn_bundle_state *state, const char *pack,
                                                   const char *location)
{
    const struct entry_key key = { .kind = KIND_BLOCK, .a = pack, .b = location };
    return look_up(state, &key);
}

const struct qn_state_entry *qn_bundle_state_object(const struct qn_bundle_state *state, enum qn_object_kind kind,
                                                    const char *name)
{
    const struct entry_key key = { .kind = (int)kind, .a = name, .b = "" };
    return look_up(state, &key);
}

const struct qn_state_entry *qn_bundle_state_same(const struct qn_bundle_state *state, const struct qn_change *change)
{
    const struct entry_key key = key_of(change);
    return look_up(state, &key);
}

size_t qn_bundle_state_count(const struct qn_bundle_state *state)
{
    return state->n_live;
}

const struct qn_state_entry *qn_bundle_state_next(const struct qn_bundle_state *state, size_t *place)
{
    while (*place < state->n_entries) {
        const struct qn_state_entry *entry = state->entries[(*place)++];
        if (entry != NULL) {
            return entry;
        }
    }
    return NULL;
}

/* ---- conflicts -------------------------------------------------------------------------------------------------- */

/* A state whose entries are what a commit touches, whatever it does there. */
static enum qn_status touched_by(const struct qn_commit *commit, struct qn_bundle_state **out, struct qn_error *err)
{
    struct qn_bundle_state *touched = NULL;
    QN_TRY(qn_bundle_state_new(&touched, err));
    enum qn_status status = QN_OK;
    for (size_t i = 0; i < commit->n_changes && status == QN_OK; i++) {
        struct qn_change change = commit->changes[i];
        struct entry_key key = key_of(&change);
        if (look_up(touched, &key) == NULL) {
            change.kind = change.kind >= QN_CHANGE_SET ? QN_CHANGE_SET : QN_CHANGE_ADD;
            change.schema = -1;
            status = qn_bundle_state_change(touched, &change, NULL, QN_VERSION_PENDING, err);
        }
    }
    if (status != QN_OK) {
        qn_bundle_state_free(touched);
        return status;
    }
    *out = touched;
    return QN_OK;
}

static enum qn_status check_against(const struct qn_bundle_state *touched, const struct qn_commit *other,
                                    struct qn_error *err)
{
    char named[CONFLICT_TEXT] = "";
    size_t used = 0;
    size_t count = 0;
    for (size_t i = 0; i < other->n_changes; i++) {
        struct entry_key key = key_of(&other->changes[i]);
        if (look_up(touched, &key) == NULL) {
            continue;
        }
        if (count++ < NAMED) {
            char object[256];
            describe(&other->changes[i], object, sizeof object);
            int more = snprintf(named + used, sizeof named - used, "%s%s", count > 1 ? ", " : "", object);
            used = more > 0 && (size_t)more < sizeof named - used ? used + (size_t)more : sizeof named - 1;
        }
    }
    if (count == 0) {
        return QN_OK;
    }
    char rest[48] = "";
    if (count > NAMED) {
        (void)snprintf(rest, sizeof rest, " and %zu more", count - NAMED);
    }
    qn_error_set(err, QN_ERR_CONFLICT, "conflict with commit %lld of another writer: both change %s%s",
                 (long long)other->version, named, rest);
    qn_error_hint(err, "undo or reset what is pending, refresh the bundle, and decide again");
    return QN_ERR_CONFLICT;
}

enum qn_status qn_commit_rebase(const struct qn_commit_log *log, const struct qn_commit *pending, int64_t since,
                                struct qn_error *err)
{
    struct qn_bundle_state *touched = NULL;
    QN_TRY(touched_by(pending, &touched, err));
    enum qn_status status = QN_OK;
    for (int64_t version = since + 1; version <= qn_commit_log_head(log) && status == QN_OK; version++) {
        struct qn_commit other;
        status = qn_commit_log_read(log, version, &other, err);
        if (status == QN_OK) {
            status = check_against(touched, &other, err);
            qn_commit_dispose(&other);
        }
    }
    qn_bundle_state_free(touched);
    return status;
}
