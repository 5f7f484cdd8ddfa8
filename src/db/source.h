/*
 * source.h: a caller's stream on its way into a driver, watched so that its own failures are told from the database's.
 */
#ifndef QN_DB_SOURCE_H
#define QN_DB_SOURCE_H

#include "arrow/reader.h"
#include "arrow/stream.h"

struct qn_source {
    struct ArrowArrayStream *rows; /* the caller's: read, never released */
    struct ArrowSchema schema;
    struct ArrowArrayStream watched; /* what the driver reads */
    int64_t n_rows;                  /* that have passed */
    bool failed;
    struct qn_error error;  /* of the source, where it failed */
    const char *const *key; /* columns that may not be null; borrowed */
    size_t n_key;
    struct qn_batch_reader readers; /* where there is a key */
};

/* Read the schema: a struct with at least one column. */
enum qn_status qn__source_open(struct qn_source *source, struct ArrowArrayStream *rows,
                               struct qn_error *err) QN_MUST_CHECK;
/* QN_ERR_ARGUMENT where a column has no name or the name of another one. */
enum qn_status qn__source_check_names(const struct qn_source *source, struct qn_error *err) QN_MUST_CHECK;
/* Rows with a null in a column of the key, which the rows have, are QN_ERR_DATA: a null is never equal to another, so a row
 * with one would be added again by every run. The names are borrowed for the source's life. */
enum qn_status qn__source_watch_key(struct qn_source *source, const char *const *key, size_t n_key,
                                    struct qn_error *err) QN_MUST_CHECK;
/* Where the source has failed, put its error into *err and return its status; otherwise return `status`. */
enum qn_status qn__source_status(const struct qn_source *source, enum qn_status status, struct qn_error *err);
void qn__source_close(struct qn_source *source);

#endif
