/* cassette_file.c: see cassette_file.h. Threads: a writer's lock is held while a record is appended. */
#include "connector/cassette_file.h"

#include "base/crc32c.h"
#include "base/fault.h"
#include "base/memory.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

static enum qn_status damaged(uint64_t offset, const char *why, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "the record at byte %llu %s", (unsigned long long)offset, why);
}

/* All `size` bytes at `offset`; *got_out is less at the end of the file. */
static enum qn_status read_at(int fd, uint64_t offset, void *into, size_t size, size_t *got_out, struct qn_error *err)
{
    size_t got = 0;
    while (got < size) {
        if (qn_fault_hit(QN_FAULT_READ)) {
            errno = EIO;
            return qn_error_set(err, QN_ERR_IO, "reading: %m");
        }
        ssize_t n = pread(fd, (char *)into + got, size - got, (off_t)(offset + got));
        if (n < 0 && errno != EINTR) {
            return qn_error_set(err, QN_ERR_IO, "reading: %m");
        }
        if (n == 0) {
            break;
        }
        got += n > 0 ? (size_t)n : 0;
    }
    *got_out = got;
    return QN_OK;
}

enum qn_status qn_cassette_part_read(int fd, const struct qn_cassette_part *part, void **bytes_out,
                                     struct qn_error *err)
{
    size_t got = 0;
    qn_auto_free void *bytes = qn_malloc(part->size);
    if (bytes == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(read_at(fd, part->offset, bytes, part->size, &got, err));
    if (got != part->size || qn_crc32c(0, bytes, got) != part->checksum) {
        return damaged(part->offset - QN_CASSETTE_HEADER, "is damaged: its checksum is another", err);
    }
    *bytes_out = qn__steal(&bytes);
    return QN_OK;
}

enum qn_status qn_cassette_part_json(int fd, const struct qn_cassette_part *part, json_t **out, struct qn_error *err)
{
    qn_auto_free void *bytes = NULL;
    struct qn_error why = QN_ERROR_INIT;
    QN_TRY(qn_cassette_part_read(fd, part, &bytes, err));
    enum qn_status status = qn_json_parse(bytes, part->size, "the text", out, &why);
    if (status == QN_ERR_PROTOCOL) {
        return qn_error_set(err, QN_ERR_DATA, "the record at byte %llu: %s",
                            (unsigned long long)(part->offset - QN_CASSETTE_HEADER), why.message);
    }
    return status == QN_OK ? QN_OK : qn__no_memory(err);
}

/* Room for one element more of `size` bytes. */
static bool grow(void *items, size_t n, size_t *capacity, size_t size)
{
    void **place = items;
    if (n < *capacity) {
        return true;
    }
    size_t larger = *capacity > 0 ? *capacity * 2 : 8;
    void *moved = qn_realloc_array(*place, larger, size);
    if (moved == NULL) {
        return false;
    }
    *place = moved;
    *capacity = larger;
    return true;
}

static enum qn_status add_session(struct qn_cassette_index *index, json_t *session, struct qn_error *err)
{
    if (!grow(&index->sessions, index->n_sessions, &index->sessions_capacity, sizeof(json_t *))) {
        return qn__no_memory(err);
    }
    index->sessions[index->n_sessions++] = json_incref(session);
    return QN_OK;
}

static enum qn_status add_exchange(struct qn_cassette_index *index, uint64_t number, json_t *ask, uint64_t offset,
                                   struct qn_error *err)
{
    if (index->n_sessions == 0) {
        return damaged(offset, "is a request before any session", err);
    }
    if (number != index->n_exchanges + 1) {
        return damaged(offset, "begins an exchange that is not the next", err);
    }
    if (!grow(&index->exchanges, index->n_exchanges, &index->exchanges_capacity, sizeof *index->exchanges)) {
        return qn__no_memory(err);
    }
    index->exchanges[index->n_exchanges++] =
        (struct qn_cassette_exchange){ .session = index->n_sessions - 1, .ask = json_incref(ask) };
    return QN_OK;
}

/* A record of an exchange that has begun and not ended. */
static enum qn_status add_part(struct qn_cassette_index *index, uint64_t number, const struct qn_cassette_part *part,
                               json_t *end, struct qn_error *err)
{
    uint64_t offset = part->offset - QN_CASSETTE_HEADER;
    if (number == 0 || number > index->n_exchanges) {
        return damaged(offset, "belongs to an exchange that has not begun", err);
    }
    struct qn_cassette_exchange *exchange = &index->exchanges[number - 1];
    if (exchange->end != NULL || exchange->session + 1 != index->n_sessions) {
        return damaged(offset, "belongs to an exchange that has ended", err);
    }
    if (end != NULL) {
        exchange->end = json_incref(end);
        return QN_OK;
    }
    if (!grow(&exchange->parts, exchange->n_parts, &exchange->capacity, sizeof *exchange->parts)) {
        return qn__no_memory(err);
    }
    exchange->parts[exchange->n_parts++] = *part;
    return QN_OK;
}

static enum qn_status add_record(int fd, struct qn_cassette_index *index, uint64_t number,
                                 const struct qn_cassette_part *part, struct qn_error *err)
{
    qn_auto_json *json = NULL;
    uint64_t offset = part->offset - QN_CASSETTE_HEADER;
    if (part->kind == QN_CASSETTE_REPLY || part->kind == QN_CASSETTE_ARROW) {
        return add_part(index, number, part, NULL, err);
    }
    QN_TRY(qn_cassette_part_json(fd, part, &json, err));
    if (!json_is_object(json)) {
        return damaged(offset, "is no JSON object", err);
    }
    if (part->kind == QN_CASSETTE_SESSION) {
        return number == 0 ? add_session(index, json, err) : damaged(offset, "is a session with a number", err);
    }
    return part->kind == QN_CASSETTE_ASK ? add_exchange(index, number, json, offset, err)
                                         : add_part(index, number, part, json, err);
}

/* One record; *more_out false: the file ends before its end. */
static enum qn_status read_record(int fd, uint64_t file_size, struct qn_cassette_index *index, bool *more_out,
                                  struct qn_error *err)
{
    uint8_t header[QN_CASSETTE_HEADER];
    uint64_t offset = index->size;
    size_t got = 0;
    QN_TRY(read_at(fd, offset, header, sizeof header, &got, err));
    *more_out = false;
    if (got < sizeof header) {
        return QN_OK;
    }
    if (qn_crc32c(0, header + 4, sizeof header - 4) != qn_load_be32(header)) {
        return damaged(offset, "is damaged: the checksum of its header is another", err);
    }
    const struct qn_cassette_part part = {
        .kind = qn_load_be32(header + 4),
        .checksum = qn_load_be32(header + 24),
        .offset = offset + sizeof header,
        .size = qn_load_be64(header + 16),
    };
    if (part.kind < QN_CASSETTE_SESSION || part.kind > QN_CASSETTE_END || qn_load_be32(header + 28) != 0) {
        return damaged(offset, "is of no known kind", err);
    }
    if (part.size > (part.kind == QN_CASSETTE_ARROW ? QN_CASSETTE_MAX_ARROW : QN_CASSETTE_MAX_JSON)) {
        return damaged(offset, "is larger than its kind may be", err);
    }
    if (part.offset > file_size || part.size > file_size - part.offset) {
        return QN_OK;
    }
    QN_TRY(add_record(fd, index, qn_load_be64(header + 8), &part, err));
    index->size = part.offset + part.size;
    *more_out = true;
    return QN_OK;
}

enum qn_status qn_cassette_index_read(int fd, struct qn_cassette_index *out, struct qn_error *err)
{
    struct qn_cassette_index index = { .size = QN_CASSETTE_MAGIC_SIZE };
    char magic[QN_CASSETTE_MAGIC_SIZE];
    struct stat file;
    size_t got = 0;
    if (fstat(fd, &file) != 0) {
        return qn_error_set(err, QN_ERR_IO, "%m");
    }
    if (!S_ISREG(file.st_mode)) {
        return qn_error_set(err, QN_ERR_DATA, "no file");
    }
    QN_TRY(read_at(fd, 0, magic, sizeof magic, &got, err));
    if (got != sizeof magic || memcmp(magic, QN_CASSETTE_MAGIC, sizeof magic) != 0) {
        return qn_error_set(err, QN_ERR_DATA, "no cassette: it does not begin with \"qanat cassette 1\"");
    }
    bool more = true;
    enum qn_status status = QN_OK;
    while (status == QN_OK && more) {
        status = read_record(fd, (uint64_t)file.st_size, &index, &more, err);
    }
    if (status != QN_OK) {
        qn_cassette_index_dispose(&index);
        return status;
    }
    *out = index;
    return QN_OK;
}

void qn_cassette_index_dispose(struct qn_cassette_index *index)
{
    for (size_t i = 0; i < index->n_sessions; i++) {
        json_decref(index->sessions[i]);
    }
    for (size_t i = 0; i < index->n_exchanges; i++) {
        json_decref(index->exchanges[i].ask);
        json_decref(index->exchanges[i].end);
        qn_free(index->exchanges[i].parts);
    }
    qn_free(index->sessions);
    qn_free(index->exchanges);
    *index = (struct qn_cassette_index){ 0 };
}

/* ---- writing ---- */

struct qn_cassette_writer {
    int fd;
    char *path;
    pthread_mutex_t lock;
    uint64_t size;      /* of the file: whole records */
    uint64_t exchanges; /* that have begun */
    bool failed;
};

/* The file as it is: new, or with what it holds checked and its end cut clean. */
static enum qn_status prepare(struct qn_cassette_writer *writer, struct qn_error *err)
{
    struct stat file;
    if (flock(writer->fd, LOCK_EX | LOCK_NB) != 0) {
        return qn_error_set(err, errno == EWOULDBLOCK ? QN_ERR_CONFLICT : QN_ERR_IO,
                            errno == EWOULDBLOCK ? "somebody else is recording to it" : "it cannot be locked: %m");
    }
    if (fstat(writer->fd, &file) != 0) {
        return qn_error_set(err, QN_ERR_IO, "%m");
    }
    if (S_ISREG(file.st_mode) && file.st_size < QN_CASSETTE_MAGIC_SIZE) { /* new, or begun by one that was ended */
        char begun[QN_CASSETTE_MAGIC_SIZE];
        size_t got = 0;
        QN_TRY(read_at(writer->fd, 0, begun, (size_t)file.st_size, &got, err));
        if (memcmp(begun, QN_CASSETTE_MAGIC, got) == 0) {
            writer->size = QN_CASSETTE_MAGIC_SIZE;
            if (ftruncate(writer->fd, 0) != 0) {
                return qn_error_set(err, QN_ERR_IO, "%m");
            }
            return qn_fd_write_all(writer->fd, QN_CASSETTE_MAGIC, QN_CASSETTE_MAGIC_SIZE, writer->path, err);
        }
    }
    struct qn_cassette_index index;
    QN_TRY(qn_cassette_index_read(writer->fd, &index, err));
    writer->size = index.size;
    writer->exchanges = index.n_exchanges;
    qn_cassette_index_dispose(&index);
    if (ftruncate(writer->fd, (off_t)writer->size) != 0 || lseek(writer->fd, 0, SEEK_END) < 0) {
        return qn_error_set(err, QN_ERR_IO, "%m");
    }
    return QN_OK;
}

enum qn_status qn_cassette_writer_open(const char *path, struct qn_cassette_writer **out, struct qn_error *err)
{
    struct qn_cassette_writer *writer = qn_calloc(1, sizeof *writer);
    if (writer == NULL) {
        return qn__no_memory(err);
    }
    pthread_mutex_init(&writer->lock, NULL);
    writer->path = qn_strdup(path);
    writer->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    enum qn_status status = writer->path == NULL ? qn__no_memory(err)
                            : writer->fd < 0     ? qn_error_set(err, QN_ERR_IO, "%m")
                                                 : prepare(writer, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "cassette \"%s\"", path);
        qn_cassette_writer_close(writer);
        return status;
    }
    *out = writer;
    return QN_OK;
}

void qn_cassette_writer_close(struct qn_cassette_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    if (writer->fd >= 0) {
        (void)fdatasync(writer->fd);
        close(writer->fd);
    }
    pthread_mutex_destroy(&writer->lock);
    qn_free(writer->path);
    qn_free(writer);
}

static void make_header(uint8_t header[QN_CASSETTE_HEADER], enum qn_cassette_kind kind, uint64_t exchange,
                        const void *bytes, size_t size)
{
    qn_store_be32(header + 4, kind);
    qn_store_be64(header + 8, exchange);
    qn_store_be64(header + 16, size);
    qn_store_be32(header + 24, qn_crc32c(0, bytes, size));
    qn_store_be32(header + 28, 0);
    qn_store_be32(header, qn_crc32c(0, header + 4, QN_CASSETTE_HEADER - 4));
}

/* Under the lock. */
static enum qn_status append(struct qn_cassette_writer *writer, enum qn_cassette_kind kind, uint64_t exchange,
                             const void *bytes, size_t size, struct qn_error *err)
{
    uint8_t header[QN_CASSETTE_HEADER];
    if (writer->failed) {
        return qn_error_set(err, QN_ERR_IO, "cassette \"%s\": recording has failed before", writer->path);
    }
    if (size > (kind == QN_CASSETTE_ARROW ? QN_CASSETTE_MAX_ARROW : QN_CASSETTE_MAX_JSON)) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "cassette \"%s\": a record of %zu bytes is too large",
                            writer->path, size);
    }
    make_header(header, kind, exchange, bytes, size);
    enum qn_status status = qn_fd_write_all(writer->fd, header, sizeof header, writer->path, err);
    if (status == QN_OK) {
        status = qn_fd_write_all(writer->fd, bytes, size, writer->path, err);
    }
    if (status != QN_OK) {
        writer->failed = true;
        int cut = ftruncate(writer->fd, (off_t)writer->size);
        (void)cut; /* where that fails too, whoever reads the file finds an unfinished record at its end */
        qn_error_prefix(err, "cassette");
        return status;
    }
    writer->size += sizeof header + size;
    return QN_OK;
}

enum qn_status qn_cassette_write(struct qn_cassette_writer *writer, enum qn_cassette_kind kind, uint64_t exchange,
                                 const void *bytes, size_t size, struct qn_error *err)
{
    pthread_mutex_lock(&writer->lock);
    enum qn_status status = append(writer, kind, exchange, bytes, size, err);
    pthread_mutex_unlock(&writer->lock);
    return status;
}

enum qn_status qn_cassette_write_json(struct qn_cassette_writer *writer, enum qn_cassette_kind kind, uint64_t exchange,
                                      const json_t *json, struct qn_error *err)
{
    qn_auto_free char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    return text != NULL ? qn_cassette_write(writer, kind, exchange, text, strlen(text), err) : qn__no_memory(err);
}

enum qn_status qn_cassette_begin(struct qn_cassette_writer *writer, const json_t *ask, uint64_t *exchange_out,
                                 struct qn_error *err)
{
    qn_auto_free char *text = ask != NULL ? json_dumps(ask, JSON_COMPACT) : NULL;
    if (text == NULL) {
        return qn__no_memory(err);
    }
    pthread_mutex_lock(&writer->lock);
    enum qn_status status = append(writer, QN_CASSETTE_ASK, writer->exchanges + 1, text, strlen(text), err);
    if (status == QN_OK) {
        *exchange_out = ++writer->exchanges;
    }
    pthread_mutex_unlock(&writer->lock);
    return status;
}
