/*
 * connection.h: the inside of a connection, shared by the files of this folder only.
 *
 * One atomic word says who has the connection: nobody (IDLE), a call (CALL), a stream that nobody is reading at the
 * moment (STREAM), or a stream that is being read (STREAM_CALL). Whoever moves it to one of the CALL states owns every
 * other field until it moves it back. `handle` is written under `lifetime` as well, so that cancel, which owns nothing,
 * can use it while another thread wants to close.
 */
#ifndef QN_DB_CONNECTION_H
#define QN_DB_CONNECTION_H

#include "base/status.h"

#include <pthread.h>
#include <qanat/plugin/driver.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "db/sql.h"

#define QN_DEFAULT_BATCH_ROWS  65536
#define QN_DEFAULT_BATCH_BYTES (16 << 20)
#define QN_STATEMENT_CACHE     64    /* slots, by hash of the text */
#define QN_STATEMENT_CACHE_MAX 16384 /* longer statements are not kept */

enum qn_connection_state { QN_CONNECTION_IDLE, QN_CONNECTION_CALL, QN_CONNECTION_STREAM, QN_CONNECTION_STREAM_CALL };

/* A statement whose placeholders were looked at; counted, because the cache and an open stream may both hold it. */
struct qn_prepared {
    int refs;
    uint64_t hash;
    bool allow_question;
    size_t size;
    char *given;
    struct qn_rewritten rewritten;
};

struct qn_result;

struct qn_connection {
    const struct qn_driver *driver;
    void *handle; /* the driver's; NULL once closed */
    struct qn_config *config;
    bool read_only; /* opened so */
    pid_t pid;      /* of the process that opened it */
    atomic_int refs;
    atomic_int state;    /* enum qn_connection_state */
    atomic_bool closing; /* freed by its owner while another thread was in a call */
    atomic_bool closed;
    atomic_int depth;
    atomic_llong rows_affected;
    pthread_mutex_t lifetime;
    struct qn_result *stream; /* whose cursor is open, or NULL */
    struct qn_prepared *cache[QN_STATEMENT_CACHE];
};

/* Take the connection for one call, or say why not: closed, lost, busy, of another process. On success the caller must
 * leave. */
enum qn_status qn__connection_enter(struct qn_connection *connection, struct qn_error *err) QN_MUST_CHECK;
/* End a call. */
void qn__connection_leave(struct qn_connection *connection);
/* End a call that has opened `connection->stream`, or a read of it. Ends as qn__connection_leave where there is none. */
void qn__connection_leave_stream(struct qn_connection *connection);

void qn__connection_ref(struct qn_connection *connection);
void qn__connection_unref(struct qn_connection *connection);

/* QN_ERR_CLOSED in a process other than the one that opened the connection. */
enum qn_status qn__connection_check_process(const struct qn_connection *connection, struct qn_error *err) QN_MUST_CHECK;

/* Make depth agree with what the database says: statements may have begun or ended a transaction. */
void qn__connection_sync_depth(struct qn_connection *connection);

/* ---- inside of a call ---- */

/* Copy the caller's options over the defaults and check them. */
enum qn_status qn__query_options(const struct qn_query_options *given, struct qn_query_options *out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* Run a statement of the engine's own and drop its rows. */
enum qn_status qn__connection_run(struct qn_connection *connection, const char *sql,
                                  struct qn_error *err) QN_MUST_CHECK;

/* Read a cursor to its end, drop its rows, close it. */
enum qn_status qn__cursor_drain(struct qn_cursor *cursor, int64_t *rows_affected_out,
                                struct qn_error *err) QN_MUST_CHECK;

/* The statement of the text, from the cache or rewritten now; the caller unrefs it. */
enum qn_status qn__prepare(struct qn_connection *connection, const char *sql, bool allow_question,
                           struct qn_prepared **out, struct qn_error *err) QN_MUST_CHECK;
void qn__prepared_unref(struct qn_prepared *prepared);
/* Turn a position in the rewritten text into one in the text that the caller gave. */
void qn__prepared_position(const struct qn_prepared *prepared, struct qn_error *err);

/* A cursor as a stream; takes the cursor over on success and on failure. `prepared` may be NULL. Where the statement has
 * no columns or the cursor has ended, the connection is free afterwards; otherwise connection->stream is set. */
enum qn_status qn__result_stream(struct qn_connection *connection, struct qn_cursor *take_cursor,
                                 struct qn_prepared *prepared, struct ArrowArrayStream *out,
                                 struct qn_error *err) QN_MUST_CHECK;
/* Close the cursor of the open stream; its reader is told QN_ERR_CLOSED. */
void qn__result_detach(struct qn_connection *connection);

/* A transaction of the engine's own around a bulk write: a real one, or a savepoint where one is open. */
struct qn_implicit {
    bool savepoint;
};
enum qn_status qn__implicit_begin(struct qn_connection *connection, struct qn_implicit *implicit,
                                  struct qn_error *err) QN_MUST_CHECK;
/* Commit where `status` is QN_OK, otherwise roll back and keep *err; returns the outcome. */
enum qn_status qn__implicit_end(struct qn_connection *connection, const struct qn_implicit *implicit,
                                enum qn_status status, struct qn_error *err) QN_MUST_CHECK;

/* ---- parameters (params.c) ---- */

/* One row of parameters as Arrow structs that point into the caller's values: valid as long as those are, never
 * released by a driver. */
struct qn_params {
    struct ArrowSchema schema;
    struct ArrowArray array;
    void *memory;
    size_t size; /* of memory: overwritten when it is freed, since parameters may be secrets */
};
/* `names` of the placeholders or NULL; `order[i]` is the value of placeholder i (NULL: i itself). */
enum qn_status qn__params_make(const struct qn_value *values, const int32_t *order, char *const *names, size_t n,
                               struct qn_params *out, struct qn_error *err) QN_MUST_CHECK;
void qn__params_dispose(struct qn_params *params);
#define qn_auto_params __attribute__((cleanup(qn__params_dispose))) struct qn_params

/* ---- columns of a table (catalogue.c) ---- */

/* The names of a table's columns in order, as an array of texts; *n_out is 0 where the table does not exist. */
enum qn_status qn__catalogue_columns(struct qn_connection *connection, const char *schema, const char *table,
                                     char ***names_out, size_t *n_out, struct qn_error *err) QN_MUST_CHECK;
void qn__names_free(char **names, size_t n);

/* The name that stands behind `index` in a list is asked for; -1 where it is not there. */
int64_t qn__name_index(char *const *names, size_t n, const char *name);

#endif
