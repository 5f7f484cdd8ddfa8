/*
 * sqlite.h: what the files of the SQLite driver share: the connection, its statement cache, the decoder of results, the
 * encoder of Arrow values and the mapping of errors.
 *
 * A connection is used by one thread at a time (the engine sees to it; SQLite's own mutex is off); only
 * qn_sqlite_cancel comes from other threads, and takes `lock`.
 */
#ifndef QN_DB_SQLITE_SQLITE_H
#define QN_DB_SQLITE_SQLITE_H

#include "arrow/column.h"
#include "arrow/float_text.h"
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/buffer.h"

#include <qanat/plugin/driver.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#define QN_SQLITE_CACHED_STATEMENTS 32
#define QN_SQLITE_CACHED_SQL_MAX    65536 /* longer texts are prepared each time */
#define QN_SQLITE_BEGIN_READ_ONLY   "begin /* read only */"

/* ---- connection (connect.c) ---------------------------------------------------------------------------------- */

/* Why the progress or busy handler stopped a statement. */
enum qn_sqlite_stop { QN_SQLITE_GOES_ON, QN_SQLITE_CANCELLED, QN_SQLITE_INTERRUPTED, QN_SQLITE_TIMED_OUT };

struct qn_sqlite_plan;

struct qn_sqlite_statement {
    sqlite3_stmt *stmt; /* NULL: a free place of the cache */
    char *sql;
    size_t sql_size;
    struct qn_sqlite_plan *plan; /* of its result, once it has had one (decode.c); or NULL */
    uint64_t used;               /* the connection's tick when it was last taken */
    bool busy, alone;            /* taken by a cursor; not part of the cache */
    bool changes;                /* INSERT, UPDATE, DELETE or REPLACE: sqlite3_changes64 counts for it */
};

struct qn_sqlite {
    sqlite3 *db;
    char *path;           /* as given, for messages */
    pthread_mutex_t lock; /* guards running; cancelled is set under it */
    bool running;
    atomic_bool cancelled;
    enum qn_sqlite_stop stop;
    struct qn_error stop_error; /* of INTERRUPTED */
    int64_t busy_timeout_ms, statement_timeout_ms;
    int64_t deadline, busy_deadline, next_poll; /* of the running statement */
    bool query_only;                            /* a read-only transaction is open */
    uint64_t tick;
    struct qn_sqlite_statement statements[QN_SQLITE_CACHED_STATEMENTS];
};

enum qn_status qn_sqlite_open(const struct qn_config *config, void **connection_out, struct qn_error *err);
void qn_sqlite_close(void *connection);
void qn_sqlite_abandon(void *connection);
bool qn_sqlite_is_open(const void *connection);
enum qn_status qn_sqlite_ping(void *connection, struct qn_error *err);
enum qn_status qn_sqlite_cancel(void *connection, struct qn_error *err);
enum qn_transaction_state qn_sqlite_transaction_state(const void *connection);

/* Between these two a cancel counts and deadlines run. timeout_ms 0: the connection's own. */
void qn_sqlite_run_begin(struct qn_sqlite *self, int64_t timeout_ms);
void qn_sqlite_run_end(struct qn_sqlite *self);

/* Run SQL of ours that returns nothing. */
enum qn_status qn_sqlite_exec(struct qn_sqlite *self, const char *sql, struct qn_error *err) QN_MUST_CHECK;

/* ---- statements (statement.c) -------------------------------------------------------------------------------- */

/* Prepare one statement, or take it from the cache; *out is the caller's until it is put back. An empty text and more
 * than one statement are QN_ERR_QUERY. */
enum qn_status qn_sqlite_statement_take(struct qn_sqlite *self, const char *sql, size_t size,
                                        struct qn_sqlite_statement **out, struct qn_error *err) QN_MUST_CHECK;
/* Reset it and put it back. The outcome of the reset was that of the last step. NULL is allowed. */
void qn_sqlite_statement_put(struct qn_sqlite *self, struct qn_sqlite_statement *statement);
/* Finalize all. */
void qn_sqlite_statements_clear(struct qn_sqlite *self);

/* The 1-based character position of a byte offset. */
int32_t qn_sqlite_position(const char *sql, int offset);

/* ---- errors (error.c) ---------------------------------------------------------------------------------------- */

/* The typed error for what the last call on the connection returned. `sql` (may be NULL) is the text that its
 * position is found in. */
enum qn_status qn_sqlite_error(struct qn_sqlite *self, int code, const char *sql, struct qn_error *err);

/* ---- types (types.c) ----------------------------------------------------------------------------------------- */

/* What a declared type asks for. BY_VALUE: nothing, the values decide. */
enum qn_sqlite_kind {
    QN_SQLITE_BY_VALUE,
    QN_SQLITE_INT64,
    QN_SQLITE_FLOAT64,
    QN_SQLITE_TEXT,
    QN_SQLITE_BINARY,
    QN_SQLITE_BOOL,
    QN_SQLITE_DATE,
    QN_SQLITE_TIME,
    QN_SQLITE_TIMESTAMP, /* wall clock */
    QN_SQLITE_INSTANT,   /* with an offset, handed out in UTC */
    QN_SQLITE_DECIMAL,
    QN_SQLITE_DURATION,
    QN_SQLITE_OVERRIDE /* the type is the caller's: every value is converted or refused */
};

/* The five affinities of SQLite (https://www.sqlite.org/datatype3.html, section 3.1). */
enum qn_sqlite_affinity {
    QN_SQLITE_AFFINITY_BLOB,
    QN_SQLITE_AFFINITY_TEXT,
    QN_SQLITE_AFFINITY_NUMERIC,
    QN_SQLITE_AFFINITY_INTEGER,
    QN_SQLITE_AFFINITY_REAL
};

/* NULL (an expression) is BY_VALUE. Of DECIMAL and of none other, type_out has precision and scale. */
enum qn_sqlite_kind qn_sqlite_declared(const char *declared, struct qn_type *type_out);
enum qn_sqlite_affinity qn_sqlite_affinity_of(const char *declared);
struct qn_type qn_sqlite_kind_type(enum qn_sqlite_kind kind);
const char *qn_sqlite_column_type(const struct ArrowSchema *field, char buffer[64]);

/* The shortest decimal text that reads back as the same double ("0.1", "1e+300", "5.0"), whatever the locale. */
#define QN_SQLITE_FLOAT_TEXT (QN_FLOAT_TEXT_SIZE + 4)
size_t qn_sqlite_float_text(double number, char out[QN_SQLITE_FLOAT_TEXT]);
/* Text that SQLite would turn into a number in a column of numeric affinity (sqlite3AtoF's grammar). */
bool qn_sqlite_looks_numeric(const char *text, size_t size);
/* The double that prints as the text's digits, at most 17 of them; false where none does, or the text is no number. */
bool qn_sqlite_text_to_double(const char *text, size_t size, double *out);
/* The double nearest to a decimal of at most 15 digits; false where it has more. */
bool qn_sqlite_decimal_to_double(qn_int128 number, int scale, double *out);
/* The double whose shortest text has at most `scale` decimals, as that decimal; false otherwise. */
bool qn_sqlite_double_to_decimal(double number, int precision, int scale, qn_int128 *out);
/* A double that is exactly this integer? */
static inline bool qn_sqlite_exact_in_double(int64_t value)
{
    return value >= -(INT64_C(1) << 53) && value <= (INT64_C(1) << 53) ? true
           : value > INT64_MAX - 1024                                  ? false
                                                                       : (int64_t)(double)value == value;
}

/* ---- decoding results (decode.c, convert.c) ------------------------------------------------------------------ */

struct qn_sqlite_field {
    enum qn_sqlite_kind kind;
    bool text_at_last; /* invalid_date = text: read as text, turned into `wanted` at the end where every value parses */
    enum qn_sqlite_kind wanted;
    bool held_integers; /* a FLOAT64 column that integers have gone into */
    struct qn_type type;
    const char *name;     /* the plan's */
    const char *declared; /* or NULL */
};

/* What is known of a statement's result before its first row. It is kept with the statement, until SQLite has prepared that
 * anew, and by every decoder that was made of it. */
struct qn_sqlite_plan {
    int refs;
    int prepared_again; /* SQLite's count, when this was made */
    int32_t n_fields;
    struct qn_sqlite_field *fields;
    struct qn_batch batch;     /* never filled: the columns of others are made like these */
    struct ArrowSchema schema; /* frozen */
};
void qn_sqlite_plan_unref(struct qn_sqlite_plan *plan); /* NULL is allowed */

struct qn_sqlite_decoder {
    sqlite3_stmt *stmt; /* borrowed */
    struct qn_sqlite_plan *plan;
    const struct qn_query_options *options;
    struct qn_sqlite_field *fields;
    struct qn_batch batch;
    int32_t n_fields;
    bool changed;      /* the types are not those of the plan any more */
    bool promised;     /* the schema is out: no column may change its type any more */
    int64_t rows;      /* in the batch */
    int64_t row;       /* 0-based row of the result that is being decoded */
    int64_t reserved;  /* rows that the columns have room for */
    int64_t row_width; /* fixed bytes of a row */
};

/* Describe the columns of a statement that has been stepped once. */
enum qn_status qn_sqlite_decoder_init(struct qn_sqlite_decoder *self, struct qn_sqlite_statement *statement,
                                      const struct qn_query_options *options, struct qn_error *err) QN_MUST_CHECK;
void qn_sqlite_decoder_dispose(struct qn_sqlite_decoder *self);
/* Decode rows from the current one on until `max_rows` or `max_bytes` are passed or the statement ends: *code_out is the
 * last answer of sqlite3_step, SQLITE_ROW where a row is waiting. */
enum qn_status qn_sqlite_decoder_read(struct qn_sqlite_decoder *self, int64_t max_rows, int64_t max_bytes,
                                      int *code_out, struct qn_error *err) QN_MUST_CHECK;
/* Fix the types: from here on a value that does not fit is an error. */
enum qn_status qn_sqlite_decoder_promise(struct qn_sqlite_decoder *self, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_sqlite_decoder_schema(const struct qn_sqlite_decoder *self, struct ArrowSchema *out,
                                        struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_sqlite_decoder_finish(struct qn_sqlite_decoder *self, struct ArrowArray *out,
                                        struct qn_error *err) QN_MUST_CHECK;

/* Put one value into a column whose type is fixed by its kind or by an override; false where it does not fit, with the
 * reason ("is not a date") in *why. */
bool qn_sqlite_put_override(struct qn_column *column, sqlite3_value *value, const char **why);
bool qn_sqlite_put_decimal(struct qn_column *column, sqlite3_value *value, const char **why);
/* Replace the values of an INT64 or FLOAT64 column by their text ("5.0", or "5" where whole_plain), or by doubles where
 * all are exact (*exact_out). */
enum qn_status qn_sqlite_column_to_text(struct qn_column *column, const char *name, bool whole_plain,
                                        struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_sqlite_column_to_float64(struct qn_column *column, const char *name, bool *exact_out,
                                           struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_sqlite_column_bool_to_int64(struct qn_column *column, const char *name,
                                              struct qn_error *err) QN_MUST_CHECK;
/* Parse a text column into dates, times or timestamps where every value parses; otherwise nothing is changed. */
enum qn_status qn_sqlite_column_parse(struct qn_column *column, const char *name, enum qn_sqlite_kind *wanted,
                                      bool *parsed_out, struct qn_error *err) QN_MUST_CHECK;
/* An empty column of a type with room for `capacity` values. */
enum qn_status qn_sqlite_column_new(struct qn_column *column, const char *name, const struct qn_type *type,
                                    int64_t capacity, struct qn_error *err) QN_MUST_CHECK;

/* Valid UTF-8; short ASCII is told at once. */
bool qn_sqlite_text_valid(const char *bytes, size_t size);

/* ---- encoding Arrow values (encode.c) ------------------------------------------------------------------------ */

enum qn_sqlite_cell_kind {
    QN_SQLITE_CELL_NULL,
    QN_SQLITE_CELL_INT,
    QN_SQLITE_CELL_REAL,
    QN_SQLITE_CELL_TEXT,
    QN_SQLITE_CELL_BLOB
};

/* One value as SQLite takes it. Bytes are borrowed: from the Arrow array, or (transient) from the encoder. */
struct qn_sqlite_cell {
    enum qn_sqlite_cell_kind kind;
    bool transient;
    int64_t integer;
    double real;
    const char *bytes;
    size_t size;
};

/* A column whose every value SQLite takes as it is stored (NaN and invalid text are left to the encoder). */
enum qn_sqlite_plain {
    QN_SQLITE_NOT_PLAIN,
    QN_SQLITE_PLAIN_INT64,
    QN_SQLITE_PLAIN_FLOAT64,
    QN_SQLITE_PLAIN_TEXT /* views */
};

/* Encodes the values of one column. */
struct qn_sqlite_encoder {
    const struct qn_reader *reader; /* borrowed, bound */
    const char *name;               /* borrowed */
    enum qn_sqlite_affinity affinity;
    enum qn_sqlite_plain plain;
    bool is_uuid;
    char small[64];
    struct qn_buffer text;
};

void qn_sqlite_encoder_init(struct qn_sqlite_encoder *self, const struct qn_reader *reader,
                            const struct ArrowSchema *field, enum qn_sqlite_affinity affinity);
void qn_sqlite_encoder_dispose(struct qn_sqlite_encoder *self);
/* QN_ERR_DATA (without a row) where SQLite cannot hold the value exactly. */
enum qn_status qn_sqlite_encode(struct qn_sqlite_encoder *self, int64_t row, struct qn_sqlite_cell *out,
                                struct qn_error *err) QN_MUST_CHECK;
/* Encode and bind to placeholder `number`. */
enum qn_status qn_sqlite_bind(struct qn_sqlite *connection, sqlite3_stmt *stmt, int number,
                              struct qn_sqlite_encoder *encoder, int64_t row, struct qn_error *err) QN_MUST_CHECK;

/* ---- statements of the caller (query.c), bulk writes (ingest.c, batch_table.c) ---------------------------------- */

enum qn_status qn_sqlite_query(void *connection, const struct qn_statement *statement, struct qn_cursor *out,
                               struct qn_error *err);
enum qn_status qn_sqlite_execute_many(void *connection, const struct qn_statement *statement, const int32_t *column_of,
                                      size_t n_placeholders, struct ArrowArrayStream *rows, int64_t *rows_affected_out,
                                      struct qn_error *err);
enum qn_status qn_sqlite_ingest(void *connection, const struct qn_driver_ingest *ingest, struct ArrowArrayStream *rows,
                                int64_t *rows_out, struct qn_error *err);

/* The running bulk write as SQLite's virtual table "qn_batch". */
struct qn_sqlite_batch_table {
    struct ArrowArrayStream *rows; /* borrowed */
    struct qn_batch_reader reader;
    struct qn_sqlite_encoder *encoders;
    int64_t n_columns;
    struct ArrowArray current, previous; /* SQLite may still hold pointers into the one before */
    int64_t first_row;                   /* of the current batch in the stream */
    int64_t at;                          /* row in the current batch */
    bool started, ended;
    enum qn_status status;
    struct qn_error error; /* of the stream, or of a value */
};

/* `schema` is the stream's, affinities those of the target columns. */
enum qn_status qn_sqlite_batch_table_init(struct qn_sqlite_batch_table *self, struct ArrowArrayStream *rows,
                                          const struct ArrowSchema *schema, const enum qn_sqlite_affinity *affinities,
                                          struct qn_error *err) QN_MUST_CHECK;
void qn_sqlite_batch_table_dispose(struct qn_sqlite_batch_table *self);
/* Make it visible to the connection as qn_batch, and take it away again. */
enum qn_status qn_sqlite_batch_table_attach(struct qn_sqlite *connection, struct qn_sqlite_batch_table *self,
                                            struct qn_error *err) QN_MUST_CHECK;
void qn_sqlite_batch_table_detach(struct qn_sqlite *connection);
/* Rows that SQLite has begun to read, less one: the row that a failed statement was at; -1 before the first. */
int64_t qn_sqlite_batch_table_row(const struct qn_sqlite_batch_table *self);

#endif
