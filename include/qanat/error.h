/*
 * error.h: the one family of errors, the same for every database and in C and Python.
 *
 * A function that can fail returns an enum qn_status and takes a `struct qn_error *err` as its last argument. The
 * struct belongs to the caller, may be NULL, holds its texts inside itself (setting it never allocates) and is only
 * written on failure. It may be copied by assignment. Messages are one line, lower case, and name the object.
 */
#ifndef QANAT_ERROR_H
#define QANAT_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QN_API                         __attribute__((visibility("default")))
#define QN_MUST_CHECK                  __attribute__((warn_unused_result))
#define QN_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define QN_API
#define QN_MUST_CHECK
#define QN_PRINTF(format_index, first)
#endif

/* What happened. The values are part of the ABI: new ones are added at the end. */
enum qn_status {
    QN_OK = 0,
    QN_ERR_NO_MEMORY = 1,    /* an allocation failed or a named limit of ours was reached */
    QN_ERR_ARGUMENT = 2,     /* the caller passed something that this function cannot take */
    QN_ERR_CONFIG = 3,       /* a URI, a configuration, an option or a task file is wrong */
    QN_ERR_CONNECTION = 4,   /* the database cannot be reached, or the connection is gone */
    QN_ERR_CLOSED = 5,       /* the connection or stream was closed by the caller, or belongs to another process */
    QN_ERR_BUSY = 6,         /* the connection is in use: by another thread, or by an open stream */
    QN_ERR_QUERY = 7,        /* the database refused a statement */
    QN_ERR_CONSTRAINT = 8,   /* ... because of a constraint (unique, foreign key, not null, check, exclusion) */
    QN_ERR_TIMEOUT = 9,      /* a time limit that the caller or the server set has passed */
    QN_ERR_CANCELLED = 10,   /* cancelled by the caller, an administrator or Ctrl-C */
    QN_ERR_DATA = 11,        /* a value does not fit or is malformed; row and column are named */
    QN_ERR_IO = 12,          /* a file or pipe failed; errno's text is in the message */
    QN_ERR_UNSUPPORTED = 13, /* a right request that this database, driver or build cannot serve */
    QN_ERR_PROTOCOL = 14,    /* the other side broke its protocol: the connection is closed */
    QN_ERR_INTERNAL = 15,    /* a mistake of ours */
    QN_ERR_CONFLICT = 16,    /* another writer changed the same thing since it was read: look again, then decide */
    QN_ERR_CONNECTOR = 17,   /* a connector failed: by its own word, or its process or its protocol broke */
    QN_ERR_FORBIDDEN = 18    /* the configuration does not allow it: code from outside may not run */
};

/* What went wrong. Unknown texts are "", unknown numbers are -1 (0 for position, which counts from 1). */
struct qn_error {
    enum qn_status status;
    int32_t position;       /* 1-based character position in the SQL text that the caller gave; 0: unknown */
    int64_t row;            /* 0-based row of the data of this call; -1: unknown */
    bool retryable;         /* the same call may succeed later without a change (deadlock, serialisation, lost link) */
    int64_t retry_after_ms; /* of a retryable one: not before so many milliseconds; 0: unknown */
    char sqlstate[6];       /* five characters, or "" */
    char message[1024];
    char detail[512];
    char hint[512];
    char constraint_name[128];
    char schema_name[128];
    char table_name[128];
    char column_name[128];
};

#define QN_ERROR_INIT                                                                                                  \
    {                                                                                                                  \
        .status = QN_OK, .row = -1                                                                                     \
    }

/* As QN_ERROR_INIT, but quick: the texts are emptied, not zeroed. */
static inline void qn_error_clear(struct qn_error *err)
{
    err->status = QN_OK;
    err->position = 0;
    err->row = -1;
    err->retryable = false;
    err->retry_after_ms = 0;
    err->sqlstate[0] = err->message[0] = err->detail[0] = err->hint[0] = '\0';
    err->constraint_name[0] = err->schema_name[0] = err->table_name[0] = err->column_name[0] = '\0';
}

/* Fill *err (may be NULL) with a status and a printf-style message; every other field is reset. Returns `status`, so
 * that `return qn_error_set(err, ...)` reads well. Texts that are too long are cut at a UTF-8 border. */
QN_API enum qn_status qn_error_set(struct qn_error *err, enum qn_status status, const char *format, ...)
    QN_PRINTF(3, 4);

/* Put a printf-style text and ": " before the message that is there, as a module's border does once: `loading "x.toml": `.
 * Does nothing where err is NULL. */
QN_API void qn_error_prefix(struct qn_error *err, const char *format, ...) QN_PRINTF(2, 3);

/* Set the hint: what the user can do about it. Does nothing where err is NULL. */
QN_API void qn_error_hint(struct qn_error *err, const char *format, ...) QN_PRINTF(2, 3);

/* Set row (0-based, -1 for unknown) and column name (may be NULL) of a value that failed. NULL err is allowed. */
QN_API void qn_error_place(struct qn_error *err, int64_t row, const char *column);

/* "QN_ERR_DATA" for QN_ERR_DATA, and so on; a static string, never NULL. */
QN_API const char *qn_status_name(enum qn_status status);

#ifdef __cplusplus
}
#endif
#endif
