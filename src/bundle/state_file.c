/*
 * state_file.c: snapshots: the state at a version in one file, so that opening need not apply every commit.
 *
 * Layout (docs/formats/bundle.md, "Snapshots"), integers little-endian: "QANATSTA", u32 1, u32 0, u64 version, 32 bytes: the
 * SHA-256 of that commit's file, u64 count, u64 size of the texts, count times an entry of 64 bytes, the texts, 32 bytes: the
 * SHA-256 of all before. An entry: u32 kind (0: a block, else an object's kind plus one), nine u32 that say where in the texts
 * pack, location, version, source, format, sha256, url, origin and schema begin (0: none; an object has name and value), i64
 * rows, i64 bytes, i64 commit. A text ends with a NUL; the first byte of the texts is one too. One state has one file.
 * A snapshot only saves reading: one that is missing or wrong costs time, never an answer. Threads: no state.
 */
#include "bundle/state_file.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/folder.h"
#include "bundle/log_private.h"
#include "os/file.h"

#include <endian.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC      "QANATSTA"
#define HEAD_SIZE  72
#define ENTRY_SIZE 64
#define N_TEXTS    9
#define MAX_TEXTS  ((size_t)UINT32_MAX)
#define MAX_SIZE   ((size_t)16 << 30)
#define KEPT       2 /* snapshots of a level; see remove_old */

static enum qn_status wrong(int64_t version, const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "snapshot %lld of the bundle: %s", (long long)version, what);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

struct encoder {
    struct qn_buffer entries;
    struct qn_buffer texts;
    uint64_t count;
    const char *last[N_TEXTS]; /* of the entry before: most texts repeat */
    uint32_t place[N_TEXTS];
};

static void put_u32(struct qn_buffer *out, uint32_t value)
{
    const uint32_t bytes = htole32(value);
    qn_buffer_append(out, &bytes, sizeof bytes);
}

static void put_i64(struct qn_buffer *out, int64_t value)
{
    const uint64_t bytes = htole64((uint64_t)value);
    qn_buffer_append(out, &bytes, sizeof bytes);
}

static uint32_t place_text(struct encoder *self, int field, const char *text)
{
    if (text == NULL) {
        return 0;
    }
    if (self->last[field] == NULL || !qn_text_equal(self->last[field], text)) {
        self->place[field] = (uint32_t)self->texts.size;
        self->last[field] = text;
        qn_buffer_append(&self->texts, text, strlen(text) + 1);
    }
    return self->place[field];
}

static void put_entry(struct encoder *self, const struct qn_state_entry *entry)
{
    const struct qn_change *change = &entry->change;
    bool object = change->kind == QN_CHANGE_SET;
    const char *const texts[N_TEXTS] = {
        object ? change->name : change->pack, object ? change->value : change->location,
        object ? NULL : change->version,      object ? NULL : change->source,
        object ? NULL : change->format,       object ? NULL : change->sha256,
        object ? NULL : change->url,          object ? NULL : change->origin,
        object ? NULL : entry->schema,
    };
    put_u32(&self->entries, object ? (uint32_t)change->object + 1 : 0);
    for (int i = 0; i < N_TEXTS; i++) {
        put_u32(&self->entries, place_text(self, i, texts[i]));
    }
    put_i64(&self->entries, object ? 0 : change->rows);
    put_i64(&self->entries, object ? 0 : change->bytes);
    put_i64(&self->entries, entry->version);
    self->count++;
}

static void put_file(struct qn_buffer *out, const struct encoder *self, int64_t version, const struct qn_sha256 *hash)
{
    (void)qn_buffer_reserve(out, HEAD_SIZE + self->entries.size + self->texts.size + QN_SHA256_SIZE);
    qn_buffer_append(out, MAGIC, 8);
    put_u32(out, 1);
    put_u32(out, 0);
    put_i64(out, version);
    qn_buffer_append(out, hash->bytes, QN_SHA256_SIZE);
    put_i64(out, (int64_t)self->count);
    put_i64(out, (int64_t)self->texts.size);
    qn_buffer_append(out, self->entries.data, self->entries.size);
    qn_buffer_append(out, self->texts.data, self->texts.size);
}

enum qn_status qn__snapshot_encode(const struct qn_bundle_state *state, int64_t version, const struct qn_sha256 *hash,
                                   struct qn_buffer *out, struct qn_error *err)
{
    struct encoder self = { .texts = { .limit = MAX_TEXTS } };
    qn_buffer_append_byte(&self.texts, '\0');
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        put_entry(&self, entry);
    }
    enum qn_status status = qn_buffer_check(&self.entries, "a snapshot of the bundle", err);
    if (status == QN_OK) {
        status = qn_buffer_check(&self.texts, "a snapshot of the bundle", err);
    }
    if (status == QN_OK) {
        put_file(out, &self, version, hash);
        status = qn_buffer_check(out, "a snapshot of the bundle", err);
    }
    qn_buffer_dispose(&self.entries);
    qn_buffer_dispose(&self.texts);
    QN_TRY(status);
    struct qn_sha256 digest;
    QN_TRY(qn_sha256_of(out->data, out->size, &digest, err));
    qn_buffer_append(out, digest.bytes, QN_SHA256_SIZE);
    return qn_buffer_check(out, "a snapshot of the bundle", err);
}

/* How many times a version's number plus one can be halved. */
static int level_of(int64_t version)
{
    return __builtin_ctzll((unsigned long long)version + 1);
}

/* Of each level the newest few stay: an old part of the history has fewer than a new one, and all of them are few. */
static void remove_old(int checkpoint_fd)
{
    int64_t *numbers = NULL;
    int64_t count = 0;
    if (qn__log_scan(checkpoint_fd, QN__LOG_STATE, &numbers, &count, NULL) != QN_OK) {
        return;
    }
    qn__log_sort(numbers, count);
    for (int64_t i = 0; i < count; i++) {
        int newer = 0;
        for (int64_t k = i + 1; k < count; k++) {
            newer += level_of(numbers[k]) == level_of(numbers[i]);
        }
        if (newer >= KEPT) {
            char name[QN__LOG_NAME_SIZE];
            qn__log_name(numbers[i], QN__LOG_STATE, name);
            (void)unlinkat(checkpoint_fd, name, 0); /* another writer may have done it; one too many harms nothing */
        }
    }
    qn_free(numbers);
}

enum qn_status qn__snapshot_save(const struct qn_commit_log *log, int64_t version, const struct qn_bundle_state *state,
                                 struct qn_error *err)
{
    int checkpoint_fd = qn__log_checkpoint_fd(log);
    if (checkpoint_fd < 0) {
        return QN_OK; /* there is no folder for it */
    }
    qn_auto_buffer file = QN_BUFFER_INIT;
    char name[QN__LOG_NAME_SIZE];
    QN_TRY(qn__snapshot_encode(state, version, qn_commit_log_hash(log, version), &file, err));
    qn__log_name(version, QN__LOG_STATE, name);
    QN_TRY(qn_file_replace(checkpoint_fd, name, file.data, file.size, 0666, err));
    remove_old(checkpoint_fd);
    return QN_OK;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct decoder {
    int64_t version;
    const char *texts;
    uint64_t text_size;
};

static uint32_t get_u32(const char *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return le32toh(value);
}

static int64_t get_i64(const char *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return (int64_t)le64toh(value);
}

/* A value has to be as commits have it. */
static bool value_is_canonical(const char *value)
{
    char *canonical = NULL;
    if (qn_commit_value(value, &canonical, NULL) != QN_OK) {
        return false;
    }
    bool same = qn_text_equal(value, canonical);
    free(canonical); /* jansson's */
    return same;
}

static bool read_entry(const struct decoder *self, const char *bytes, struct qn_state_entry *out)
{
    const char *texts[N_TEXTS];
    uint32_t kind = get_u32(bytes);
    for (int i = 0; i < N_TEXTS; i++) {
        uint32_t place = get_u32(bytes + 4 + 4 * i);
        if (place >= self->text_size) {
            return false;
        }
        texts[i] = place > 0 ? self->texts + place : NULL;
    }
    struct qn_state_entry entry = { .version = get_i64(bytes + 56) };
    struct qn_change *change = &entry.change;
    change->schema = -1;
    if (texts[0] == NULL || texts[1] == NULL || entry.version < 0 || entry.version > self->version) {
        return false;
    }
    if (kind > 0) {
        change->kind = QN_CHANGE_SET;
        change->object = (enum qn_object_kind)(kind - 1);
        change->name = texts[0];
        change->value = texts[1];
    } else {
        change->kind = QN_CHANGE_ADD;
        change->pack = texts[0];
        change->location = texts[1];
        change->version = texts[2];
        change->source = texts[3];
        change->format = texts[4];
        change->sha256 = texts[5];
        change->url = texts[6];
        change->origin = texts[7];
        entry.schema = texts[8];
        change->rows = get_i64(bytes + 40);
        change->bytes = get_i64(bytes + 48);
    }
    bool whole = kind > 0 || (texts[2] != NULL && texts[3] != NULL && texts[4] != NULL && texts[5] != NULL);
    *out = entry;
    return whole && qn_commit_check_change(change, NULL) == QN_OK && (kind == 0 || value_is_canonical(texts[1]));
}

static enum qn_status read_entries(const struct decoder *self, const char *bytes, uint64_t count,
                                   struct qn_state_entry **out, struct qn_error *err)
{
    struct qn_state_entry *items = qn_realloc_array(NULL, count > 0 ? count : 1, sizeof *items);
    if (items == NULL) {
        return qn__no_memory(err);
    }
    for (uint64_t i = 0; i < count; i++) {
        if (!read_entry(self, bytes + i * ENTRY_SIZE, &items[i])) {
            qn_free(items);
            return wrong(self->version, "an entry is not what it should be", err);
        }
    }
    *out = items;
    return QN_OK;
}

/* The sizes that the head names fit the file, and its digest is right. */
static enum qn_status check_file(const struct qn_buffer *file, int64_t version, const struct qn_sha256 *hash,
                                 uint64_t *count_out, uint64_t *text_size_out, struct qn_error *err)
{
    if (file->size < HEAD_SIZE + 1 + QN_SHA256_SIZE || memcmp(file->data, MAGIC, 8) != 0 ||
        get_u32(file->data + 8) != 1 || get_u32(file->data + 12) != 0 || get_i64(file->data + 16) != version) {
        return wrong(version, "it is truncated, or not a snapshot of this version", err);
    }
    uint64_t rest = file->size - HEAD_SIZE - QN_SHA256_SIZE;
    uint64_t count = (uint64_t)get_i64(file->data + 56);
    uint64_t text_size = (uint64_t)get_i64(file->data + 64);
    if (text_size < 1 || text_size > rest || count != (rest - text_size) / ENTRY_SIZE ||
        (rest - text_size) % ENTRY_SIZE != 0) {
        return wrong(version, "its size is not the one that it names", err);
    }
    struct qn_sha256 found;
    QN_TRY(qn_sha256_of(file->data, file->size - QN_SHA256_SIZE, &found, err));
    if (memcmp(found.bytes, file->data + file->size - QN_SHA256_SIZE, QN_SHA256_SIZE) != 0) {
        return wrong(version, "its bytes do not have the SHA-256 that it names", err);
    }
    if (memcmp(file->data + 24, hash->bytes, QN_SHA256_SIZE) != 0) {
        return wrong(version, "it is of another history", err);
    }
    *count_out = count;
    *text_size_out = text_size;
    return QN_OK;
}

enum qn_status qn__snapshot_decode(struct qn_buffer *file, int64_t version, const struct qn_sha256 *hash,
                                   struct qn_bundle_state **out, struct qn_error *err)
{
    uint64_t count = 0;
    struct decoder self = { .version = version };
    QN_TRY(check_file(file, version, hash, &count, &self.text_size, err));
    self.texts = file->data + HEAD_SIZE + count * ENTRY_SIZE;
    if (self.texts[0] != '\0' || self.texts[self.text_size - 1] != '\0') {
        return wrong(version, "its texts have no end", err);
    }
    struct qn_state_entry *items = NULL;
    QN_TRY(read_entries(&self, file->data + HEAD_SIZE, count, &items, err));
    enum qn_status status = qn_bundle_state_from(items, count, file->data, out, err);
    if (status != QN_OK) {
        qn_free(items);
        return status == QN_ERR_DATA ? wrong(version, "an entry is there twice", err) : status;
    }
    (void)qn_buffer_steal(file); /* the state's now */
    return QN_OK;
}

enum qn_status qn__snapshot_read(int checkpoint_fd, int64_t version, struct qn_buffer *out, struct qn_error *err)
{
    char name[QN__LOG_NAME_SIZE];
    bool missing = false;
    qn__log_name(version, QN__LOG_STATE, name);
    QN_TRY(qn_folder_read(checkpoint_fd, name, MAX_SIZE, out, &missing, err));
    return missing ? wrong(version, "it is missing", err) : QN_OK;
}

static enum qn_status try_snapshot(const struct qn_commit_log *log, int64_t version, struct qn_bundle_state **out,
                                   struct qn_error *err)
{
    qn_auto_buffer file = QN_BUFFER_INIT;
    QN_TRY(qn__snapshot_read(qn__log_checkpoint_fd(log), version, &file, err));
    return qn__snapshot_decode(&file, version, qn_commit_log_hash(log, version), out, err);
}

enum qn_status qn__snapshot_load(const struct qn_commit_log *log, int64_t version, struct qn_bundle_state **out,
                                 int64_t *version_out, struct qn_error *err)
{
    qn_auto_free int64_t *numbers = NULL;
    int64_t count = 0;
    *version_out = -1;
    if (qn__log_checkpoint_fd(log) < 0) {
        return QN_OK;
    }
    QN_TRY(qn__log_scan(qn__log_checkpoint_fd(log), QN__LOG_STATE, &numbers, &count, err));
    qn__log_sort(numbers, count);
    for (int64_t i = count - 1; i >= 0; i--) {
        struct qn_error why = QN_ERROR_INIT;
        if (numbers[i] > version || numbers[i] > qn_commit_log_head(log)) {
            continue;
        }
        enum qn_status status = try_snapshot(log, numbers[i], out, &why);
        if (status == QN_OK) {
            *version_out = numbers[i];
            return QN_OK;
        }
        if (status == QN_ERR_NO_MEMORY) {
            return qn__no_memory(err);
        }
        QN_LOG(QN_LOG_WARNING, "bundle", "%s; commits are read instead", why.message);
    }
    return QN_OK;
}
