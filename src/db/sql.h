/*
 * sql.h: SQL text: placeholders, quoting, and the statements that the engine itself writes.
 *
 * The tokeniser knows literals, quoted identifiers, comments (nested where the dialect has it), dollar quotes and
 * PostgreSQL's `?` operators, for the dialect given. It never changes anything but placeholders. Threads: no state.
 */
#ifndef QN_DB_SQL_H
#define QN_DB_SQL_H

#include "base/buffer.h"

#include <qanat/plugin/driver.h>

#define QN_SQL_MAX_PLACEHOLDERS 65535

/* How the caller spelled placeholders: all in one statement must be of one spelling. */
enum qn_spelling { QN_SPELLING_NONE, QN_SPELLING_QUESTION, QN_SPELLING_NAMED, QN_SPELLING_NATIVE };

struct qn_rewritten {
    struct qn_buffer sql; /* with the dialect's placeholders */
    enum qn_spelling spelling;
    size_t n_placeholders; /* distinct, numbered from 1; a name used twice is one */
    char **names;          /* of NAMED, by number - 1 */
};

/* Rewrite. In PostgreSQL `?` is a placeholder unless doubled (`??`), or part of `?|` or `?&`, or where the statement has
 * native placeholders. `::` is never a name. Errors (QN_ERR_QUERY, position set): mixed spellings, an unterminated
 * literal or comment, more placeholders than allowed. A statement without placeholders is passed through unchanged
 * (except `??`, which is only looked at where `allow_question` is true: the caller passed parameters). */
enum qn_status qn_sql_rewrite(const struct qn_dialect *dialect, const char *sql, size_t size, bool allow_question,
                              struct qn_rewritten *out, struct qn_error *err) QN_MUST_CHECK;
void qn_rewritten_dispose(struct qn_rewritten *rewritten);

/* The 1-based character position in the given SQL for one in the rewritten SQL; 0 stays 0. */
int32_t qn_sql_position(const char *given, const char *rewritten, int32_t position);

/* QN_ERR_ARGUMENT naming the name where it is longer than the dialect's names are. `what` is "table", "column" ... */
enum qn_status qn_sql_check_identifier(const struct qn_dialect *dialect, const char *what, const char *name,
                                       struct qn_error *err) QN_MUST_CHECK;
/* Append a quoted identifier. A NUL or an empty name cannot happen in C strings from the engine; callers check. */
void qn_sql_identifier(const struct qn_dialect *dialect, const char *name, struct qn_buffer *out);
/* Append schema.table quoted; schema NULL: `table` is split at its unquoted dots (at most database.schema.table), the case
 * kept as given; parts that are already quoted are taken as they are. */
enum qn_status qn_sql_table(const struct qn_dialect *dialect, const char *schema, const char *table,
                            struct qn_buffer *out, struct qn_error *err) QN_MUST_CHECK;
/* Split a table name at its unquoted dots: schema_out (NULL where there is none) and table_out are malloc'ed, unquoted. */
enum qn_status qn_sql_split_table(const struct qn_dialect *dialect, const char *table, char **schema_out,
                                  char **table_out, struct qn_error *err) QN_MUST_CHECK;

/* "create table T (c type, ...)" for a struct schema; an unmappable type is QN_ERR_UNSUPPORTED naming the column. With
 * keys: a primary key of them. */
enum qn_status qn_sql_create_table(const struct qn_dialect *dialect, const char *schema, const char *table,
                                   const struct ArrowSchema *rows, const char *const *key, size_t n_key,
                                   struct qn_buffer *out, struct qn_error *err) QN_MUST_CHECK;

/* The end of an INSERT for upsert and ignore: " on conflict (k) do update set c = excluded.c, ..." or "do nothing". The
 * columns are the fields of `rows`; key columns must be among them (QN_ERR_ARGUMENT otherwise). */
enum qn_status qn_sql_on_conflict(const struct qn_dialect *dialect, const struct qn_driver_ingest *ingest,
                                  struct qn_buffer *out, struct qn_error *err) QN_MUST_CHECK;

#endif
