/*
 * commit.h: one commit in memory, and its bytes on disk (docs/formats/bundle.md).
 *
 * A commit that was parsed owns its texts; one that a caller builds borrows them. Threads: one at a time per commit.
 */
#ifndef QN_BUNDLE_COMMIT_H
#define QN_BUNDLE_COMMIT_H

#include "base/buffer.h"
#include "bundle/digest.h"

#define QN_COMMIT_FORMAT      1
#define QN_COMMIT_MAX_BYTES   ((size_t)256 << 20) /* of a file */
#define QN_COMMIT_MAX_VERSION INT64_C(999999999999999999)
#define QN_COMMIT_MIN_TIME    INT64_C(-62135596800000000) /* year 1 */
#define QN_COMMIT_MAX_TIME    INT64_C(253402300799999999) /* the end of year 9999 */
#define QN_COMMIT_MAX_NAME    255                         /* bytes of a pack, a source, an object's name */
#define QN_COMMIT_MAX_TEXT    ((size_t)64 << 10)          /* of a location, a version, a URL, a message */
#define QN_COMMIT_MAX_SCHEMA  ((size_t)4 << 20)           /* of a schema, of a value */
#define QN_COMMIT_MAX_DEPTH   8                           /* of a value */
#define QN_COMMIT_MAX_SUFFIX  16                          /* of a format: it becomes a file's suffix */
#define QN_COMMIT_MAX_SCHEMAS 100000

enum qn_change_kind {
    QN_CHANGE_ADD,     /* a block at a (pack, location) that had none */
    QN_CHANGE_REPLACE, /* another block for one that is there */
    QN_CHANGE_REMOVE,  /* the block is there no longer */
    QN_CHANGE_SET,     /* an object (a source, a connector, an entry of the configuration ...) is this now */
    QN_CHANGE_UNSET,   /* ... is gone */
    QN_CHANGE_KINDS
};

enum qn_object_kind {
    QN_OBJECT_CONFIG,
    QN_OBJECT_CONNECTOR,
    QN_OBJECT_SOURCE,
    QN_OBJECT_FAILURE,    /* an entry of the retry list: a location that could not be fetched */
    QN_OBJECT_CHECKPOINT, /* what a task keeps with its rows */
    QN_OBJECT_KINDS
};

struct qn_change {
    enum qn_change_kind kind;
    /* ADD, REPLACE, REMOVE */
    const char *pack;
    const char *location;
    /* ADD, REPLACE */
    const char *version; /* as the connector gave it; may be "" */
    const char *source;  /* the source's id; "": none */
    const char *format;  /* "parquet", "arrow": also the suffix of the file */
    const char *sha256;  /* of the block's bytes; "" where url is set and nobody knows */
    const char *url;     /* NULL: the bundle keeps the bytes; else where they are */
    const char *origin;  /* of bytes that the bundle keeps: their stable URL, which is not read; NULL: none */
    int64_t rows;        /* -1: unknown */
    int64_t bytes;       /* -1: unknown */
    int64_t schema;      /* index into the commit's schemas; -1: unknown */
    /* SET, UNSET */
    enum qn_object_kind object;
    const char *name;
    const char *value; /* SET: JSON text; in a commit that was parsed, canonical */
};

struct qn_commit {
    int64_t version;
    struct qn_sha256 previous; /* of the bytes of the commit before; zeros in version 0 */
    int64_t timestamp;         /* microseconds since 1970-01-01 UTC */
    const char *message;
    const char **schemas; /* texts that blocks name by index */
    size_t n_schemas;
    struct qn_change *changes;
    size_t n_changes;
    void *owner; /* what a parsed commit's texts live in; NULL otherwise */
};

/* The file's bytes, appended to `out`. QN_ERR_ARGUMENT names what a commit cannot hold. */
enum qn_status qn_commit_encode(const struct qn_commit *commit, struct qn_buffer *out,
                                struct qn_error *err) QN_MUST_CHECK;

/* Parse a file's bytes, trusting nothing: QN_ERR_DATA where they are not exactly what qn_commit_encode writes. */
enum qn_status qn_commit_parse(const void *bytes, size_t size, struct qn_commit *out,
                               struct qn_error *err) QN_MUST_CHECK;

/* Free what a parsed commit owns; it is empty afterwards. Not for one that a caller has built. */
void qn_commit_dispose(struct qn_commit *commit);

/* The canonical text of a value, malloc'ed; QN_ERR_ARGUMENT where it is not JSON of at most QN_COMMIT_MAX_SCHEMA bytes and
 * QN_COMMIT_MAX_DEPTH levels without fractions. */
enum qn_status qn_commit_value(const char *text, char **out, struct qn_error *err) QN_MUST_CHECK;

/* Whether a commit can hold a change, but for its schema and its value; QN_ERR_ARGUMENT says what is wrong. */
enum qn_status qn_commit_check_change(const struct qn_change *change, struct qn_error *err) QN_MUST_CHECK;

/* Append a text as a JSON string in the canonical form, quotes included. */
void qn_commit_put_text(struct qn_buffer *out, const char *text);

/* "add", "config": what kinds are called on disk and in documents. */
const char *qn_change_kind_name(enum qn_change_kind kind);
const char *qn_object_kind_name(enum qn_object_kind kind);

/* A pack's or an object's name: 1 to 255 bytes of UTF-8 without control characters, '/' and '\\', and not "." or "..". */
bool qn_commit_name_is_valid(const char *name);

/* A format's name: 1 to 16 of a-z and 0-9; it becomes the suffix of a file. */
bool qn_commit_format_is_valid(const char *format);

#endif
