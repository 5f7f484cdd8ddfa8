/*
 * task_table.h: what the tables that tasks keep in the sink's database share: checkpoint_table.c, location_table.c.
 *
 * Such a table has a column "task". What is read of it may have been written by anybody: a value that cannot be is
 * QN_ERR_DATA and names the table and the column. Threads: as the connection.
 */
#ifndef QN_TASK_TASK_TABLE_H
#define QN_TASK_TASK_TABLE_H

#include "arrow/reader.h"

#include <qanat/database.h>

/* Whether a table exists (by the catalogue). */
enum qn_status qn_task_table_exists(struct qn_connection *connection, const char *table, bool *out,
                                    struct qn_error *err) QN_MUST_CHECK;

struct qn_task_field {
    const char *name;
    enum qn_type_id type; /* a timestamp is of microseconds, in UTC */
};
enum qn_status qn_task_table_schema(const struct qn_task_field *fields, size_t n, struct ArrowSchema *out,
                                    struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_task_table_make(struct qn_connection *sink, const char *table, const struct ArrowSchema *schema,
                                  const char *const *key, size_t n_key, struct qn_error *err) QN_MUST_CHECK;

/* A text as the value of a parameter; borrowed. */
struct qn_value qn_task_text_value(const char *text);
/* Run a query whose one parameter is :task, and hand its rows on; `types` are those of its columns. */
enum qn_status qn_task_table_read(struct qn_connection *sink, const char *sql, const char *task,
                                  const struct qn_type_override *types, size_t n_types, qn_batch_callback each,
                                  void *context, struct qn_error *err) QN_MUST_CHECK;
/* A value of a row, which is not null. The text is borrowed from the batch. */
enum qn_status qn_task_table_text(const char *table, const struct qn_batch_reader *rows, int column, int64_t row,
                                  const char **out, size_t *size_out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_task_table_int64(const char *table, const struct qn_batch_reader *rows, int column, int64_t row,
                                   int64_t *out, struct qn_error *err) QN_MUST_CHECK;

#endif
