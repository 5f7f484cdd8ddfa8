/*
 * blocks.h: the tables behind a bundle's blocks: written as they stream, read again, put side by side. Not for other folders.
 */
#ifndef QN_BUNDLE_BLOCKS_H
#define QN_BUNDLE_BLOCKS_H

#include "arrow/type.h"
#include "bundle/digest.h"
#include "bundle/state.h"

/* ---- location.c ------------------------------------------------------------------------------------------------- */

/* Whether a commit can hold a location and its version: UTF-8 of at most QN_COMMIT_MAX_TEXT bytes, the location not empty.
 * Else QN_ERR_DATA. */
enum qn_status qn__location_check(const char *location, const char *version, struct qn_error *err) QN_MUST_CHECK;

/* The same of where its bytes are. */
enum qn_status qn__url_check(const char *url, struct qn_error *err) QN_MUST_CHECK;

/* The name of a location's entry in the retry list: the SHA-256 of the source's id, a NUL and the location. */
enum qn_status qn__failure_name(const char *source, const char *location, char out[QN_SHA256_TEXT_SIZE],
                                struct qn_error *err) QN_MUST_CHECK;

/* ---- schema_text.c: schemas as a commit keeps them: base64 of an Arrow IPC schema message ----------------------- */

/* *out is the caller's (qn_free); NULL where the schema cannot be kept: it is then read from the block. */
enum qn_status qn__schema_to_text(const struct ArrowSchema *schema, char **out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__schema_from_text(const char *text, struct ArrowSchema *out, struct qn_error *err) QN_MUST_CHECK;

/* ---- block_write.c ---------------------------------------------------------------------------------------------- */

struct qn__block {
    char sha256[QN_SHA256_TEXT_SIZE];
    char format[QN_COMMIT_MAX_SUFFIX + 1]; /* "arrow" where there are no columns, which not every format has */
    int64_t rows, bytes;                   /* of the file */
    char *schema;                          /* qn_free; NULL: unknown */
};

/* How it is written, and who watches. */
struct qn__block_writing {
    int bundle_fd;
    const char *format;
    bool digest_only; /* nothing is kept: only what it would be is found */
    /* Asked after each batch with what came, in Arrow bytes; may be NULL. An error ends the writing. */
    enum qn_status (*watch)(void *context, int64_t rows, int64_t bytes, struct qn_error *err);
    void *context;
};

/* Write all of a stream, which stays the caller's. Any number of threads at once. *bundle_failed_out says that not the
 * stream but the bundle's folder failed: a full disk, for one. A block that failed leaves nothing. */
enum qn_status qn__block_write(const struct qn__block_writing *writing, struct ArrowArrayStream *stream,
                               struct qn__block *out, bool *bundle_failed_out, struct qn_error *err) QN_MUST_CHECK;
void qn__block_dispose(struct qn__block *block);

/* ---- reference.c ------------------------------------------------------------------------------------------------ */

/* Whether a reference is of the kinds that can be read: a path, a file:// or an http(s):// URL. */
bool qn__reference_is_readable(const char *url);

/* What a reference is at this moment, its bytes read once: size, SHA-256, rows (-1: the format does not count) and schema.
 * A format that is not registered, or a file that is not of it, fails. `folder` as in qn_reference_open. */
enum qn_status qn__reference_attach(const char *url, const char *folder, const char *format, double timeout,
                                    struct qn__block *out, struct qn_error *err) QN_MUST_CHECK;

/* Open a block that is a reference, and see that it is what it was when it was attached: else QN_ERR_DATA. */
enum qn_status qn__reference_open(const struct qn_change *block, const char *folder, double timeout, int *fd_out,
                                  struct qn_error *err) QN_MUST_CHECK;

/* ---- block_read.c ----------------------------------------------------------------------------------------------- */

/* Where blocks are read from. */
struct qn__block_place {
    int bundle_fd;
    const char *folder; /* of relative references: the bundle's */
    double timeout;     /* seconds, as in qn_reference_open */
};

struct qn_bundle;
enum qn_status qn__bundle_place(struct qn_bundle *bundle, struct qn__block_place *out,
                                struct qn_error *err) QN_MUST_CHECK;

/* Messages name a block by its location. */
enum qn_status qn__block_open(const struct qn__block_place *place, const struct qn_change *block, int *fd_out,
                              struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__block_stream(const struct qn__block_place *place, const struct qn_change *block,
                                const char *const *columns, size_t n_columns, struct ArrowArrayStream *out,
                                struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__block_schema(const struct qn__block_place *place, const struct qn_state_entry *entry,
                                struct ArrowSchema *out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__block_rows(const struct qn__block_place *place, const struct qn_change *block, int64_t *out,
                              struct qn_error *err) QN_MUST_CHECK;

/* ---- union.c: tables read as one, one after another ------------------------------------------------------------- */

#define QN__COLUMN_LOCATION "_location"
#define QN__COLUMN_VERSION  "_version"
#define QN__COLUMN_COMMIT   "_commit"

struct qn__union_part {
    const char *location, *version;
    int64_t commit; /* QN_VERSION_PENDING: null */
    int64_t rows;   /* -1: unknown */
};

/* Where the parts come from. All is called by the stream, on its thread. */
struct qn__union_source {
    void *self; /* the stream's; freed by `free`, also where making the stream fails */
    size_t n_parts;
    struct qn__union_part (*part)(void *self, size_t i); /* texts live as long as `self` */
    /* Its schema as far as it is known without reading; out->release stays NULL where it is not. */
    enum qn_status (*schema)(void *self, size_t i, struct ArrowSchema *out, struct qn_error *err);
    /* Its rows; columns NULL: all. With n_columns 0 and columns not NULL only that it is there is looked at. */
    enum qn_status (*open)(void *self, size_t i, const char *const *columns, size_t n_columns,
                           struct ArrowArrayStream *out, struct qn_error *err);
    void (*free)(void *self);
};

/* A stream of all parts with the columns asked for (NULL: all of `schema`, which holds those of every part): provenance
 * columns by their names before any of the data. QN_ERR_ARGUMENT: a column that is not there or asked for twice. */
enum qn_status qn__union_stream(const struct qn__union_source *source, const struct ArrowSchema *schema,
                                const char *const *columns, size_t n_columns, struct ArrowArrayStream *out,
                                struct qn_error *err) QN_MUST_CHECK;

#endif
