/*
 * unify.h: tables that are read as one: a schema that holds the columns of all of them by name, and their batches in it.
 *
 * Types are widened only where the wider one holds every value of the narrower exactly: integers to wider integers, to
 * decimals, to floats whose digits suffice; floats to wider floats; decimals to more digits; units of time to finer ones
 * and dates to timestamps (a value that a finer unit cannot count is an error of its row); texts and binaries to another
 * layout; dictionaries to their values; nulls to anything; lists, structs and maps by what they hold. The outcome does not
 * depend on the order of the tables, but for the order of the columns.
 * Threads: one at a time per handle.
 */
#ifndef QN_ARROW_UNIFY_H
#define QN_ARROW_UNIFY_H

#include "arrow/type.h"

struct qn_unify;

enum qn_status qn_unify_new(struct qn_unify **out, struct qn_error *err) QN_MUST_CHECK;
void qn_unify_free(struct qn_unify *unify); /* NULL is allowed */

/* Take in the schema of one more table; `who` names it in messages (copied). QN_ERR_DATA: a name that the table has twice,
 * or a column whose types no type holds exactly, which names two tables and their types. After a failure the handle is
 * only to be freed. */
enum qn_status qn_unify_add(struct qn_unify *unify, const struct ArrowSchema *schema, const char *who,
                            struct qn_error *err) QN_MUST_CHECK;

/* The schema of all: columns in the order in which they first came; nullable where one is, or where a table lacks it;
 * metadata where all that have the column agree. No table: no columns. */
enum qn_status qn_unify_schema(const struct qn_unify *unify, struct ArrowSchema *out,
                               struct qn_error *err) QN_MUST_CHECK;

/* The type that holds all values of n types exactly; false where there is none. Nested types only by their kind. */
bool qn_unify_types(const struct qn_type *types, size_t n, struct qn_type *out);

/* Whether two fields have the same type, down to the last child; names count in structs only, flags and metadata nowhere. */
bool qn__schema_alike(const struct ArrowSchema *a, const struct ArrowSchema *b);

/* ---- batches ---- */

struct qn_convert;

/* From batches of one schema to those of another, columns by name: what `from` lacks is null, what `to` lacks is left out.
 * Both are copied. QN_ERR_DATA names a column whose values the other type does not hold exactly. */
enum qn_status qn_convert_new(const struct ArrowSchema *from, const struct ArrowSchema *to, struct qn_convert **out,
                              struct qn_error *err) QN_MUST_CHECK;
void qn_convert_free(struct qn_convert *convert); /* NULL is allowed */

/* The batch, which may be of any origin, is used up on success; columns that fit are moved, not copied. */
enum qn_status qn_convert_batch(struct qn_convert *convert, struct ArrowArray *batch, struct ArrowArray *out,
                                struct qn_error *err) QN_MUST_CHECK;

/* A column of n nulls. */
enum qn_status qn_array_of_nulls(const struct ArrowSchema *field, int64_t n, struct ArrowArray *out,
                                 struct qn_error *err) QN_MUST_CHECK;

#endif
