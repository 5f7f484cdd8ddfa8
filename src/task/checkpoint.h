/*
 * checkpoint.h: how far a task has come, as an exact value; and the table in the sink that keeps it.
 *
 * A checkpoint is a value of the checkpoint column: an integer, a decimal, a float, a text, a date or a timestamp. It is
 * kept in the table qanat_checkpoints of the sink's database as a type string and an exact text, written in the same
 * transaction as the rows that it follows. Threads: one at a time.
 *
 * qanat_checkpoints: task (primary key), column_name, value, value_type, sink_table, commits, moved_rows, updated. See
 * docs/formats/task.md, "The checkpoint".
 */
#ifndef QN_TASK_CHECKPOINT_H
#define QN_TASK_CHECKPOINT_H

#include "arrow/reader.h"
#include "base/buffer.h"

#include <qanat/database.h>

#define QN_CHECKPOINT_LOCATIONS                                                                                        \
    "(locations)"                    /* column_name of a task whose source has locations; value counts the moved ones */
#define QN_CHECKPOINT_TEXT_MAX 65536 /* bytes of a text that can be a checkpoint */

enum qn_checkpoint_kind {
    QN_CHECKPOINT_NONE = 0,
    QN_CHECKPOINT_NUMBER, /* integers, decimals (scaled by type.scale), days of dates, microseconds of timestamps */
    QN_CHECKPOINT_REAL,
    QN_CHECKPOINT_TEXT
};

struct qn_checkpoint {
    enum qn_checkpoint_kind kind;
    struct qn_type type; /* timestamps are in microseconds, dates are date32, strings are string views */
    qn_int128 number;
    double real;
    struct qn_buffer text;
};

void qn_checkpoint_dispose(struct qn_checkpoint *checkpoint);
#define qn_auto_checkpoint __attribute__((cleanup(qn_checkpoint_dispose))) struct qn_checkpoint

enum qn_status qn_checkpoint_copy(struct qn_checkpoint *to, const struct qn_checkpoint *from,
                                  struct qn_error *err) QN_MUST_CHECK;

/* The type that checkpoints of a column have; QN_ERR_UNSUPPORTED naming the column where it cannot be one. */
enum qn_status qn_checkpoint_type(const struct qn_reader *column, struct qn_type *type_out,
                                  enum qn_checkpoint_kind *kind_out, struct qn_error *err) QN_MUST_CHECK;

/* Whether a database compares a value exactly with a column of this type: numbers with numbers, otherwise like with like,
 * where a date, a timestamp and an instant are three things. */
bool qn_checkpoint_suits(const struct qn_checkpoint *checkpoint, const struct qn_type *column);

/* "a date", "a timestamp with an offset", ... */
const char *qn_checkpoint_noun(const struct qn_type *type);

/* The literal of a task file that says the same for a column of this type, or a low one where nothing does. */
void qn_checkpoint_literal(const struct qn_checkpoint *checkpoint, const struct qn_type *column, struct qn_buffer *out);

/* From and to the form that is stored. The text of a value is exact: parsing it gives the same value. */
enum qn_status qn_checkpoint_parse(const char *type, const char *text, size_t size, struct qn_checkpoint *out,
                                   struct qn_error *err) QN_MUST_CHECK;
void qn_checkpoint_format(const struct qn_checkpoint *checkpoint, struct qn_buffer *out);

/* The parameter that `:checkpoint` is bound to. A text is borrowed from the checkpoint. */
void qn_checkpoint_bind(const struct qn_checkpoint *checkpoint, struct qn_value *out);

/* Less than, equal to or greater than 0. Both must be of one kind. Texts compare by their bytes. */
int qn_checkpoint_compare(const struct qn_checkpoint *a, const struct qn_checkpoint *b);

/* ---- the rows of one run ---- */

/* Follows the checkpoint column through the rows that go to the sink. */
struct qn_checkpoint_watch {
    struct qn_reader column; /* of the checkpoint column */
    enum qn_checkpoint_kind kind;
    bool ordered;               /* every_rows is on: the column must not decrease */
    bool from_statement;        /* a statement makes the column: for hints */
    bool any_order;             /* the last row need not have the highest value */
    struct qn_checkpoint floor; /* append: a row at or below it has been moved before; kind NONE: no floor */
    struct qn_checkpoint last, highest;
    int64_t row; /* of the run, of the next row looked at */
    int64_t highest_row;
};

/* A column of type Null, as SQLite has for an expression without rows, is watched with the kind NONE: none of its rows is
 * taken. */
enum qn_status qn_checkpoint_watch_init(struct qn_checkpoint_watch *watch, const struct ArrowSchema *field,
                                        struct qn_error *err) QN_MUST_CHECK;
void qn_checkpoint_watch_dispose(struct qn_checkpoint_watch *watch);

/* Look at rows first to first + count - 1 of the bound column. From the row `cut` (counted from `first`) on, stop before
 * the first row whose value is not that of the row before it. *taken_out is how many rows were taken in. */
enum qn_status qn_checkpoint_watch_rows(struct qn_checkpoint_watch *watch, int64_t first, int64_t count, int64_t cut,
                                        int64_t *taken_out, struct qn_error *err) QN_MUST_CHECK;

/* The last row must hold the highest value, otherwise rows would be moved again by the next run. */
enum qn_status qn_checkpoint_watch_end(const struct qn_checkpoint_watch *watch, struct qn_error *err) QN_MUST_CHECK;

/* ---- the table ---- */

struct qn_checkpoint_row {
    bool table_exists, exists;
    int64_t commits;
    char *column, *sink_table; /* owned */
    struct qn_checkpoint value;
};
void qn_checkpoint_row_dispose(struct qn_checkpoint_row *row);

/* Read the task's row. */
enum qn_status qn_checkpoint_load(struct qn_connection *sink, const char *task, struct qn_checkpoint_row *out,
                                  struct qn_error *err) QN_MUST_CHECK;

/* Write the task's row inside the open transaction, making the table where it is absent. `row` is what was read before:
 * where another run has committed since, this is an error (retryable) and the caller rolls back. */
struct qn_checkpoint_update {
    const char *task, *column, *sink_table;
    const struct qn_checkpoint *value;
    int64_t moved_rows;
};
enum qn_status qn_checkpoint_store(struct qn_connection *sink, const struct qn_checkpoint_update *update,
                                   const struct qn_checkpoint_row *row, struct qn_error *err) QN_MUST_CHECK;

#endif
