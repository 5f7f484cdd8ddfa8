/*
 * log_index.c: checkpoints of the log: digest and time of every commit so far, in one file.
 *
 * Layout (docs/formats/bundle.md, "Checkpoints of the log"), integers little-endian: "QANATLOG", u32 1, u32 0, u64 count,
 * count times {32 bytes of SHA-256, i64 microseconds}, 32 bytes: the SHA-256 of all before. A checkpoint only saves reading:
 * one that is missing or wrong costs time, never data. Threads: no state.
 */
#include "bundle/folder.h"
#include "bundle/log_private.h"

#include "base/memory.h"
#include "os/file.h"

#include <endian.h>
#include <unistd.h>

#define MAGIC      "QANATLOG"
#define HEAD_SIZE  24
#define ENTRY_SIZE (QN_SHA256_SIZE + 8)
#define KEPT       2 /* checkpoints; older ones are removed */

static enum qn_status wrong(int64_t version, const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "checkpoint %lld of the log: %s", (long long)version, what);
}

static enum qn_status read_entries(const char *bytes, int64_t count, struct qn__log_entries *out, struct qn_error *err)
{
    struct qn__log_entry *items = qn_realloc_array(NULL, (size_t)count, sizeof *items);
    if (items == NULL) {
        return qn__no_memory(err);
    }
    for (int64_t i = 0; i < count; i++, bytes += ENTRY_SIZE) {
        uint64_t timestamp;
        memcpy(items[i].hash.bytes, bytes, QN_SHA256_SIZE);
        memcpy(&timestamp, bytes + QN_SHA256_SIZE, sizeof timestamp);
        items[i].timestamp = (int64_t)le64toh(timestamp);
        if (i > 0 && items[i].timestamp <= items[i - 1].timestamp) {
            qn_free(items);
            return wrong(count - 1, "its times do not grow", err);
        }
    }
    qn_free(out->items);
    *out = (struct qn__log_entries){ .items = items, .count = count, .capacity = count };
    return QN_OK;
}

static size_t size_of(int64_t count)
{
    return HEAD_SIZE + (size_t)count * ENTRY_SIZE + QN_SHA256_SIZE;
}

static void put_head(int64_t count, struct qn_buffer *out)
{
    const uint32_t format[2] = { htole32(1), 0 };
    const uint64_t entries = htole64((uint64_t)count);
    qn_buffer_append(out, MAGIC, 8);
    qn_buffer_append(out, format, sizeof format);
    qn_buffer_append(out, &entries, sizeof entries);
}

enum qn_status qn__log_index_decode(const struct qn_buffer *file, int64_t version, struct qn__log_entries *out,
                                    struct qn_error *err)
{
    qn_auto_buffer head = QN_BUFFER_INIT;
    if (file->size != size_of(version + 1)) {
        return wrong(version, "it is truncated", err);
    }
    put_head(version + 1, &head);
    QN_TRY(qn_buffer_check(&head, "the head of a checkpoint of the log", err));
    if (memcmp(file->data, head.data, HEAD_SIZE) != 0) {
        return wrong(version, "it is not a checkpoint of this version", err);
    }
    struct qn_sha256 found;
    QN_TRY(qn_sha256_of(file->data, file->size - QN_SHA256_SIZE, &found, err));
    if (memcmp(found.bytes, file->data + file->size - QN_SHA256_SIZE, QN_SHA256_SIZE) != 0) {
        return wrong(version, "its bytes do not have the SHA-256 that it names", err);
    }
    return read_entries(file->data + HEAD_SIZE, version + 1, out, err);
}

enum qn_status qn__log_index_read(int checkpoint_fd, int64_t version, struct qn__log_entries *out, struct qn_error *err)
{
    char name[QN__LOG_NAME_SIZE];
    qn__log_name(version, QN__LOG_INDEX, name);
    qn_auto_buffer file = QN_BUFFER_INIT;
    bool missing = false;
    QN_TRY(qn_folder_read(checkpoint_fd, name, size_of(version + 1), &file, &missing, err));
    return missing ? wrong(version, "it is missing", err) : qn__log_index_decode(&file, version, out, err);
}

static void remove_old(int checkpoint_fd)
{
    int64_t *numbers = NULL;
    int64_t count = 0;
    if (qn__log_scan(checkpoint_fd, QN__LOG_INDEX, &numbers, &count, NULL) == QN_OK) {
        qn__log_sort(numbers, count);
        for (int64_t i = 0; i + KEPT < count; i++) {
            char name[QN__LOG_NAME_SIZE];
            qn__log_name(numbers[i], QN__LOG_INDEX, name);
            (void)unlinkat(checkpoint_fd, name, 0); /* another writer may have done it; one too many harms nothing */
        }
        qn_free(numbers);
    }
}

enum qn_status qn__log_index_encode(const struct qn__log_entries *entries, struct qn_buffer *out, struct qn_error *err)
{
    (void)qn_buffer_reserve(out, size_of(entries->count));
    put_head(entries->count, out);
    for (int64_t i = 0; i < entries->count; i++) {
        const uint64_t timestamp = htole64((uint64_t)entries->items[i].timestamp);
        qn_buffer_append(out, entries->items[i].hash.bytes, QN_SHA256_SIZE);
        qn_buffer_append(out, &timestamp, sizeof timestamp);
    }
    QN_TRY(qn_buffer_check(out, "a checkpoint of the log", err));
    struct qn_sha256 digest;
    QN_TRY(qn_sha256_of(out->data, out->size, &digest, err));
    qn_buffer_append(out, digest.bytes, QN_SHA256_SIZE);
    return qn_buffer_check(out, "a checkpoint of the log", err);
}

enum qn_status qn__log_index_write(int checkpoint_fd, const struct qn__log_entries *entries, struct qn_error *err)
{
    qn_auto_buffer file = QN_BUFFER_INIT;
    QN_TRY(qn__log_index_encode(entries, &file, err));
    char name[QN__LOG_NAME_SIZE];
    qn__log_name(entries->count - 1, QN__LOG_INDEX, name);
    QN_TRY(qn_file_replace(checkpoint_fd, name, file.data, file.size, 0666, err));
    remove_old(checkpoint_fd);
    return QN_OK;
}
