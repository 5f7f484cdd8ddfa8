/*
 * cassette_file.h: the file of recorded conversations with a connector (docs/formats/cassette.md), written and indexed.
 *
 * Bytes: "qanat cassette 1\n", then records: a header of 32 bytes and a payload. Header, big-endian: checksum of what
 * follows of it (4), kind (4), number of the exchange (8, 0: none), size of the payload (8), checksum of the payload (4),
 * 0 (4). Checksums are CRC-32C. A file may end in the middle of a record: whoever wrote it was ended, and what is whole
 * before it counts. Everything else that does not fit is damage (QN_ERR_DATA, naming the byte).
 * Threads: a writer is used by any number; an index never changes.
 */
#ifndef QN_CONNECTOR_CASSETTE_FILE_H
#define QN_CONNECTOR_CASSETTE_FILE_H

#include "wire/rpc.h"

#include <pthread.h>

#define QN_CASSETTE_MAGIC      "qanat cassette 1\n"
#define QN_CASSETTE_MAGIC_SIZE 17
#define QN_CASSETTE_HEADER     32
#define QN_CASSETTE_MAX_JSON   (64u << 20)
#define QN_CASSETTE_MAX_ARROW  (UINT64_C(2) << 30) /* bytes of one Arrow message, as arrow/ipc.h reads them */

enum qn_cassette_kind {
    QN_CASSETTE_SESSION = 1, /* JSON: a connector was opened; what follows is said to it */
    QN_CASSETTE_ASK,         /* JSON: a request; begins the next exchange */
    QN_CASSETTE_REPLY,       /* JSON: a part of the answer */
    QN_CASSETTE_ARROW,       /* an Arrow IPC message of the data: the schema, then batches */
    QN_CASSETTE_END,         /* JSON: how the exchange ended */
};

/* Where a payload lies. */
struct qn_cassette_part {
    uint32_t kind;
    uint32_t checksum;
    uint64_t offset, size;
};

struct qn_cassette_exchange {
    size_t session;
    json_t *ask;
    json_t *end;                    /* NULL: none was recorded */
    struct qn_cassette_part *parts; /* REPLY and ARROW, in their order */
    size_t n_parts, capacity;
};

/* All of a file but the data itself. */
struct qn_cassette_index {
    json_t **sessions;
    size_t n_sessions, sessions_capacity;
    struct qn_cassette_exchange *exchanges; /* number N at N - 1 */
    size_t n_exchanges, exchanges_capacity;
    uint64_t size; /* bytes up to the last whole record */
};

/* Read the file behind `fd`, which stays the caller's. On failure there is nothing to dispose of. */
enum qn_status qn_cassette_index_read(int fd, struct qn_cassette_index *out, struct qn_error *err) QN_MUST_CHECK;
void qn_cassette_index_dispose(struct qn_cassette_index *index);

/* Read a payload into memory of the caller's (qn_free), and check it. */
enum qn_status qn_cassette_part_read(int fd, const struct qn_cassette_part *part, void **bytes_out,
                                     struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_cassette_part_json(int fd, const struct qn_cassette_part *part, json_t **out,
                                     struct qn_error *err) QN_MUST_CHECK;

/* ---- writing ---- */

struct qn_cassette_writer;

/* Open the file, or make it, readable for its owner alone; what stands there already is checked, and an unfinished record at
 * its end is cut off. QN_ERR_CONFLICT where somebody else is writing to it. */
enum qn_status qn_cassette_writer_open(const char *path, struct qn_cassette_writer **out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* Put it on the disk and close it. NULL is allowed. */
void qn_cassette_writer_close(struct qn_cassette_writer *writer);

/* Append a record. A failure is sticky: nothing is written after it, and the file ends with a whole record. */
enum qn_status qn_cassette_write(struct qn_cassette_writer *writer, enum qn_cassette_kind kind, uint64_t exchange,
                                 const void *bytes, size_t size, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_cassette_write_json(struct qn_cassette_writer *writer, enum qn_cassette_kind kind, uint64_t exchange,
                                      const json_t *json, struct qn_error *err) QN_MUST_CHECK;

/* Begin an exchange by its ASK; *exchange_out is its number. */
enum qn_status qn_cassette_begin(struct qn_cassette_writer *writer, const json_t *ask, uint64_t *exchange_out,
                                 struct qn_error *err) QN_MUST_CHECK;

#endif
