/*
 * postgres.h: a connection to a PostgreSQL server and the v3 protocol spoken on it (PostgreSQL documentation, chapter
 * "Frontend/Backend Protocol").
 *
 * libpq opens and authenticates the link; from then on for the life of the connection its socket (and its TLS session)
 * is ours alone and libpq is asked for nothing but cancel keys. Every byte that arrives is taken as hostile: lengths
 * have limits, counts are compared with what was announced, and a violation marks the connection broken. Once `broken`
 * is set, every call returns QN_ERR_CONNECTION and nothing is sent or read any more.
 *
 * Invariant: outside of a call, `ready_expected` is 0 and `in` holds only asynchronous messages, or a cursor is open.
 * Threads: one at a time per connection; qn_pg_cancel alone from any thread.
 */
#ifndef QN_DB_POSTGRES_POSTGRES_H
#define QN_DB_POSTGRES_POSTGRES_H

#include "arrow/column.h"
#include "arrow/type.h"
#include "base/buffer.h"
#include "os/clock.h"

#include <qanat/plugin/driver.h>

#include <libpq-fe.h>
#include <sys/types.h>

/* ---- limits of what a server may send ---- */

#define QN_PG_MAX_ROW         ((size_t)0x7fffffff) /* a DataRow or CopyData message: rows of several values of 1 GiB fail */
#define QN_PG_MAX_REPORT      ((size_t)64 << 20) /* errors, notices, notifications, row descriptions */
#define QN_PG_MAX_CONTROL     ((size_t)1 << 20)  /* everything else */
#define QN_PG_MAX_SENT        (((size_t)1 << 30) + ((size_t)1 << 20)) /* messages of ours: the server takes 1 GiB */
#define QN_PG_MAX_COLUMNS     32767
#define QN_PG_MAX_PARAMETERS  65535
#define QN_PG_MAX_QUEUED      1024 /* notifications kept for whoever asks; older ones are dropped with a warning */
#define QN_PG_CACHE_SIZE      64   /* prepared statements kept per connection */
#define QN_PG_DRAIN_MS        3000 /* how long a cancelled statement may take to end before the connection is given up */
#define QN_PG_CANCEL_AGAIN_MS 250  /* the server drops a cancel that comes when no statement runs: ask again */

/* ---- type OIDs (src/include/catalog/pg_type.dat, fixed for all time) ---- */

#define QN_PG_BOOL        16U
#define QN_PG_BYTEA       17U
#define QN_PG_CHAR        18U
#define QN_PG_NAME        19U
#define QN_PG_INT8        20U
#define QN_PG_INT2        21U
#define QN_PG_INT4        23U
#define QN_PG_TEXT        25U
#define QN_PG_OID         26U
#define QN_PG_JSON        114U
#define QN_PG_XML         142U
#define QN_PG_FLOAT4      700U
#define QN_PG_FLOAT8      701U
#define QN_PG_UNKNOWN     705U
#define QN_PG_MONEY       790U
#define QN_PG_INET        869U
#define QN_PG_BPCHAR      1042U
#define QN_PG_VARCHAR     1043U
#define QN_PG_DATE        1082U
#define QN_PG_TIME        1083U
#define QN_PG_TIMESTAMP   1114U
#define QN_PG_TIMESTAMPTZ 1184U
#define QN_PG_INTERVAL    1186U
#define QN_PG_TIMETZ      1266U
#define QN_PG_BIT         1560U
#define QN_PG_VARBIT      1562U
#define QN_PG_NUMERIC     1700U
#define QN_PG_UUID        2950U
#define QN_PG_JSONB       3802U

/* Days from 1970-01-01 to PostgreSQL's epoch 2000-01-01. */
#define QN_PG_EPOCH_DAYS   10957
#define QN_PG_EPOCH_MICROS (QN_PG_EPOCH_DAYS * INT64_C(86400000000))

struct qn_pg;
struct qn_pg_prepared;
struct qn_pg_plan;

/* How bytes reach the server: plain, TLS, or (tests, fuzzing) memory. Each call does what it can at once. */
enum qn_pg_io { QN_PG_IO_DONE, QN_PG_IO_WANT_READ, QN_PG_IO_WANT_WRITE, QN_PG_IO_END, QN_PG_IO_ERROR };
struct qn_pg_transport {
    enum qn_pg_io (*read)(struct qn_pg *pg, char *bytes, size_t size, size_t *done_out);
    enum qn_pg_io (*write)(struct qn_pg *pg, const char *bytes, size_t size, size_t *done_out);
};
extern const struct qn_pg_transport qn__pg_plain, qn__pg_tls;

struct qn_pg_notification {
    struct qn_pg_notification *next;
    int32_t server_pid;
    char *channel, *payload; /* inside the same allocation */
};

struct qn_pg {
    PGconn *pg;           /* NULL in tests on memory */
    PGcancel *cancel_key; /* made at connect, read by any thread */
    int fd;               /* libpq's socket, non-blocking; -1 once closed */
    struct ssl_st *ssl;   /* libpq's, or NULL where the link is plain */
    const struct qn_pg_transport *transport;
    void *transport_context; /* of a test's transport */
    int server_version;      /* 150004 */
    bool broken;             /* the link is gone or its state unknown */

    /* sending: messages are collected in `out`, of which `out_sent` bytes have gone */
    struct qn_buffer out;
    size_t out_sent, message_at;

    /* receiving: in[in_start .. in_end) has arrived and not been taken */
    char *in;
    size_t in_start, in_end, in_capacity;
    bool flowing;     /* rows are streaming: reads may gather */
    size_t in_wanted; /* bytes that the message being waited for still needs, at least */

    /* state that the server reported */
    char transaction_status;      /* 'I', 'T' or 'E', of the last ReadyForQuery */
    int32_t ready_expected;       /* ReadyForQuery messages that are still to come */
    int32_t ready_queued;         /* those of them that are for messages in `out` */
    bool copying_in;              /* the server waits for CopyData */
    bool bad_encoding;            /* client_encoding was changed away from UTF8 */
    bool integer_datetimes;       /* always so since version 10 */
    bool draining;                /* after a cancel: waits ask no interrupt and end at the deadline */
    int64_t next_poll;            /* when the interrupt callback is asked again while data flows */
    int cancel_asked;             /* set by qn_pg_cancel (atomic), cleared when a statement starts */
    int64_t deadline;             /* of the statement that runs, or QN_NO_DEADLINE */
    int64_t statement_timeout_ms; /* the connection's own, client side; 0: none */
    struct qn_pg_notification *notifications, **notifications_end;
    int32_t n_notifications;
    struct qn_pg_prepared *prepared; /* most recently used first */
    int32_t n_prepared;
    bool prepared_stale;                     /* all of them */
    bool names_changed;                      /* in the open transaction, or outside of any */
    uint64_t statement_seed, next_statement; /* names of prepared statements */
    struct qn_pg_type_name *type_names;      /* looked up by OID, kept */
    int32_t n_type_names;
};

/* ---- connect.c ---- */

enum qn_status qn_pg_open(const struct qn_config *config, struct qn_pg **out, struct qn_error *err) QN_MUST_CHECK;
void qn_pg_close(struct qn_pg *pg);   /* Terminate, close, free; NULL is allowed */
void qn_pg_abandon(struct qn_pg *pg); /* the same without sending a byte: the child after a fork */
/* Ask the server, on a connection of its own, to stop what runs. Any thread; blocks for one short exchange. */
enum qn_status qn_pg_cancel(struct qn_pg *pg, struct qn_error *err);

/* ---- channel.c: messages out ---- */

/* Begin a message of `type`, append its body to pg->out, end it: the length is filled in. Nothing is sent before a flush.
 * The buffer's sticky failure is reported by the flush. Ending 'S' (Sync) or 'Q' (Query) counts one ReadyForQuery. */
void qn_pg_message_begin(struct qn_pg *pg, char type);
void qn_pg_message_end(struct qn_pg *pg);
/* A whole message at once. */
void qn_pg_message(struct qn_pg *pg, char type, const void *body, size_t size);

/* Send all that was collected. While the socket is full, what arrives is read into `in`, so that neither side waits for
 * the other for ever. QN_ERR_TIMEOUT and QN_ERR_CANCELLED leave the rest in `out` for the next flush (qn_pg_recover). A
 * lost link gives the server's own parting words where it left any. */
enum qn_status qn_pg_flush(struct qn_pg *pg, struct qn_error *err) QN_MUST_CHECK;

/* Send `out`, then bytes of the caller's, without copying them. On QN_ERR_TIMEOUT and QN_ERR_CANCELLED the server has
 * been asked to cancel and every byte has been sent all the same: the protocol's framing stays whole. */
enum qn_status qn_pg_send_bytes(struct qn_pg *pg, const void *bytes, size_t size, struct qn_error *err) QN_MUST_CHECK;

/* ---- channel.c: messages in ---- */

/* The next message of the dialogue. Asynchronous ones are consumed inside: notices are logged, parameters kept,
 * notifications queued. ReadyForQuery ('Z') and CopyInResponse ('G') are noted in *pg, then handed out. The body is
 * borrowed until the next call that reads or flushes. */
enum qn_status qn_pg_message_next(struct qn_pg *pg, char *type_out, const char **body_out, size_t *size_out,
                                  struct qn_error *err) QN_MUST_CHECK;

/* True where an ErrorResponse has arrived and not been taken: a COPY that goes on sending asks now and then. Never
 * waits; looks once at the socket. */
bool qn_pg_error_waits(struct qn_pg *pg);

/* Read and drop messages until no ReadyForQuery is outstanding. The first ErrorResponse on the way is not lost: it is
 * the result where `err` is not NULL. */
enum qn_status qn_pg_sync_to_ready(struct qn_pg *pg, struct qn_error *err) QN_MUST_CHECK;

/* After a call ended with QN_ERR_TIMEOUT, QN_ERR_CANCELLED or a misfit of ours in mid-dialogue: drop what was not sent at
 * all, end a COPY, finish what was half sent, cancel on the server (again and again: a cancel may get lost), read to
 * ReadyForQuery, all within QN_PG_DRAIN_MS; otherwise the connection is broken. */
void qn_pg_recover(struct qn_pg *pg);

/* Mark broken and close the socket; returns `status`. The message should say what was wrong. */
enum qn_status qn_pg_break(struct qn_pg *pg, struct qn_error *err, enum qn_status status, const char *format, ...)
    QN_PRINTF(4, 5);

/* A cursor over the bytes of one message: reads past the end return zeros and set `failed`. */
struct qn_pg_body {
    const char *at, *end;
    bool failed;
};
static inline struct qn_pg_body qn_pg_body_of(const char *bytes, size_t size)
{
    return (struct qn_pg_body){ .at = bytes, .end = bytes + size };
}
uint8_t qn_pg_body_byte(struct qn_pg_body *body);
int16_t qn_pg_body_int16(struct qn_pg_body *body);
int32_t qn_pg_body_int32(struct qn_pg_body *body);
const char *qn_pg_body_text(struct qn_pg_body *body); /* NUL-terminated inside the message; "" on failure */

/* ---- error.c ---- */

/* Turn the body of an ErrorResponse into *err (may be NULL); returns its status, never QN_OK. `sql` (may be NULL) is the
 * text that the server was given. */
enum qn_status qn_pg_error_from_message(struct qn_pg *pg, const char *body, size_t size, const char *sql,
                                        struct qn_error *err);
/* What a SQLSTATE means. */
enum qn_status qn_pg_status_of(const char *sqlstate, bool *retryable_out);
/* One field of an ErrorResponse or NoticeResponse by its code letter, or NULL. Borrowed from `body`. */
const char *qn_pg_report_field(const char *body, size_t size, char code);

/* ---- simple.c, statement.c, query.c ---- */

/* Run one statement by the simple protocol for its effect. *rows_out (may be NULL): the count of its command tag, or -1.
 * QN_OK means that the connection is ready again; any error leaves it ready too, or broken. */
enum qn_status qn_pg_simple(struct qn_pg *pg, const char *sql, int64_t *rows_out, struct qn_error *err) QN_MUST_CHECK;

/* The same for a statement that returns rows, in text form: the callback gets each row (a null is a NULL value); its
 * failure is the result, after the rest has been read. For small answers: nothing is limited but by the messages. */
typedef enum qn_status (*qn_pg_row_callback)(void *context, struct qn_pg *pg, const char *const *values,
                                             const size_t *sizes, int32_t n, struct qn_error *err);
enum qn_status qn_pg_simple_rows(struct qn_pg *pg, const char *sql, qn_pg_row_callback callback, void *context,
                                 struct qn_error *err) QN_MUST_CHECK;

struct qn_pg_field {
    char *name;
    uint32_t table_oid; /* 0: not a table's column */
    int16_t attribute;  /* its number there */
    uint32_t oid;       /* of the type; a domain's base type */
    int32_t typmod;     /* -1: none */
};
struct qn_pg_description {
    uint32_t *params; /* OIDs of the parameters */
    int32_t n_params;
    struct qn_pg_field *fields;
    int32_t n_fields;
    bool returns_rows; /* false: NoData; true with n_fields 0: rows without columns */
};
void qn_pg_description_dispose(struct qn_pg_description *description);

/* Parse and describe a statement without running it. */
enum qn_status qn_pg_describe(struct qn_pg *pg, const char *sql, struct qn_pg_description *out,
                              struct qn_error *err) QN_MUST_CHECK;

/* Take the body of a RowDescription into a description that has none yet. */
enum qn_status qn_pg_take_fields(struct qn_pg *pg, const char *bytes, size_t size, struct qn_pg_description *out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* The count of a command tag ("INSERT 0 5"), -1 where it has none. */
int64_t qn_pg_tag_rows(const char *tag);
/* Look at the tag of a statement that has run: where names may mean other tables and columns from now on, prepared
 * statements whose parameters have the types of the old ones are forgotten before the next is prepared. */
void qn_pg_note_tag(struct qn_pg *pg, const char *tag);

/* A statement that the server has parsed under a name, from the cache or new. Borrowed until the next prepare. */
struct qn_pg_prepared {
    struct qn_pg_prepared *next;
    char name[24];
    char *key; /* SQL text, a NUL, one byte per parameter kind */
    size_t key_size;
    struct qn_pg_description description;
    struct qn_pg_plan *plan; /* of its last result (plan.c); or NULL */
};
void qn_pg_plan_free(struct qn_pg_plan *plan); /* NULL is allowed */
/* `params` may be NULL; the kinds of its fields guide the types of the parameters that the server cannot tell. */
enum qn_status qn_pg_prepare(struct qn_pg *pg, const char *sql, size_t sql_size, const struct ArrowSchema *params,
                             struct qn_pg_prepared **out, struct qn_error *err) QN_MUST_CHECK;
/* Forget one (its Close is sent with the next flush), or all without a word to the server. */
void qn_pg_forget(struct qn_pg *pg, struct qn_pg_prepared *prepared);
void qn_pg_forget_all(struct qn_pg *pg);

/* qn_driver.query. */
enum qn_status qn_pg_query(void *connection, const struct qn_statement *statement, struct qn_cursor *out,
                           struct qn_error *err) QN_MUST_CHECK;

/* ---- types.c ---- */

/* How a column is decoded. Text: asked of the server in text form; all others: in binary form. */
enum qn_pg_decoder {
    QN_PG_DECODE_TEXT = 0,
    QN_PG_DECODE_BOOL,
    QN_PG_DECODE_INT2,
    QN_PG_DECODE_INT4,
    QN_PG_DECODE_INT8,
    QN_PG_DECODE_UINT4,
    QN_PG_DECODE_FLOAT4,
    QN_PG_DECODE_FLOAT8,
    QN_PG_DECODE_NUMERIC,         /* decimal128 of the column's scale */
    QN_PG_DECODE_NUMERIC_WIDENED, /* decimal128 whose scale grows with the values, or text */
    QN_PG_DECODE_NUMERIC_TEXT,    /* binary numeric into exact text */
    QN_PG_DECODE_NUMERIC_FLOAT8,
    QN_PG_DECODE_BYTES,
    QN_PG_DECODE_UUID,
    QN_PG_DECODE_DATE,
    QN_PG_DECODE_TIME,
    QN_PG_DECODE_TIMESTAMP
};
static inline int qn_pg_decoder_format(enum qn_pg_decoder decoder)
{
    return decoder == QN_PG_DECODE_TEXT ? 0 : 1;
}

struct qn_pg_type {
    uint32_t oid;
    const char *name;
    enum qn_pg_decoder decoder;
    enum qn_type_id arrow;
};
/* The table's entry, or NULL. */
const struct qn_pg_type *qn_pg_type_find(uint32_t oid);
/* True for the names of types (as format_type writes them) that are read as text and whose text, written back, is the same
 * value: what a table made from such a column may have. */
#define QN_PG_TYPE_TEXT_MAX 32
bool qn_pg_type_text_exact(const char *name, size_t size);

/* Names of types that are not in the table, asked of the server once. */
struct qn_pg_type_name {
    uint32_t oid;
    int32_t typmod;
    char *name;
};

/* The OID that a parameter of this Arrow field has where the server infers none (0: leave it to the server). */
uint32_t qn_pg_oid_for_field(const struct ArrowSchema *field);

/* ---- catalogue.c, driver.c ---- */

extern const struct qn_dialect qn__dialect_postgres;

/* ---- ingest.c ---- */

/* qn_driver.ingest. */
enum qn_status qn_pg_ingest(void *connection, const struct qn_driver_ingest *ingest, struct ArrowArrayStream *rows,
                            int64_t *rows_out, struct qn_error *err) QN_MUST_CHECK;

/* ---- execute_many.c ---- */

enum qn_status qn_pg_execute_many(void *connection, const struct qn_statement *statement, const int32_t *column_of,
                                  size_t n_placeholders, struct ArrowArrayStream *rows, int64_t *rows_affected_out,
                                  struct qn_error *err) QN_MUST_CHECK;

#endif
