/*
 * statement.c: from the caller's SQL and values to the driver's statement: rewriting (cached), matching values with
 * placeholders, options, running.
 *
 * Every function that takes a qn_connection without the qn_connection_ prefix runs inside of a call.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/connection.h"

#include <stdint.h>
#include <string.h>

/* ---- options ---- */

static bool policy_known(enum qn_policy policy)
{
    return (int)policy >= QN_POLICY_ERROR && (int)policy <= QN_POLICY_TEXT;
}

enum qn_status qn__query_options(const struct qn_query_options *given, struct qn_query_options *out,
                                 struct qn_error *err)
{
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    if (given != NULL) {
        size_t size = given->struct_size < sizeof options ? given->struct_size : sizeof options;
        memcpy(&options, given, size);
        options.struct_size = sizeof options;
    }
    const char *wrong = NULL;
    if ((int)options.result_mode < QN_RESULT_STREAM || (int)options.result_mode > QN_RESULT_WHOLE) {
        wrong = "result_mode";
    } else if (options.batch_rows < 0 || options.batch_rows > INT32_MAX) {
        wrong = "batch_rows";
    } else if (options.batch_bytes < 0) {
        wrong = "batch_bytes";
    } else if ((int)options.numeric < QN_NUMERIC_DECIMAL || (int)options.numeric > QN_NUMERIC_FLOAT64) {
        wrong = "numeric";
    } else if (!policy_known(options.numeric_special)) {
        wrong = "numeric_special";
    } else if (!policy_known(options.infinity)) {
        wrong = "infinity";
    } else if (!policy_known(options.invalid_date)) {
        wrong = "invalid_date";
    } else if (options.statement_timeout_ms < 0) {
        wrong = "statement_timeout_ms";
    } else if (options.n_types > 0 && options.types == NULL) {
        wrong = "types";
    }
    if (wrong != NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "query options: %s is out of range", wrong);
    }
    options.batch_rows = options.batch_rows > 0 ? options.batch_rows : QN_DEFAULT_BATCH_ROWS;
    options.batch_bytes = options.batch_bytes > 0 ? options.batch_bytes : QN_DEFAULT_BATCH_BYTES;
    *out = options;
    return QN_OK;
}

/* The caller's struct, or as much of it as its version has. */
static enum qn_status copy_query(const struct qn_query *given, struct qn_query *out, struct qn_error *err)
{
    if (given == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the query is NULL");
    }
    size_t size = given->struct_size < sizeof *out ? given->struct_size : sizeof *out;
    memcpy(out, given, size);
    if (size < sizeof *out) {
        memset((char *)out + size, 0, sizeof *out - size);
    }
    if (out->sql == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the query has no SQL text");
    }
    if (out->n_values > 0 && out->values == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the query counts %zu values but has none", out->n_values);
    }
    return QN_OK;
}

/* ---- the cache ---- */

static uint64_t hash_text(const char *text, size_t size)
{
    uint64_t hash = size * UINT64_C(0x9E3779B97F4A7C15);
    while (size >= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
        text += 8;
        size -= 8;
    }
    uint64_t rest = 0;
    memcpy(&rest, text, size);
    hash = (hash ^ rest) * UINT64_C(0xc4ceb9fe1a85ec53);
    return hash ^ (hash >> 29);
}

void qn__prepared_unref(struct qn_prepared *prepared)
{
    if (prepared != NULL && --prepared->refs == 0) {
        qn_rewritten_dispose(&prepared->rewritten);
        qn_free(prepared->given);
        qn_free(prepared);
    }
}

static enum qn_status new_prepared(const struct qn_dialect *dialect, const char *sql, size_t size, bool allow_question,
                                   struct qn_prepared **out, struct qn_error *err)
{
    struct qn_prepared *prepared = qn_calloc(1, sizeof *prepared);
    if (prepared == NULL || (prepared->given = qn_strndup(sql, size)) == NULL) {
        qn_free(prepared);
        return qn__no_memory(err);
    }
    prepared->refs = 1;
    prepared->size = size;
    prepared->allow_question = allow_question;
    enum qn_status status = qn_sql_rewrite(dialect, sql, size, allow_question, &prepared->rewritten, err);
    if (status != QN_OK) {
        qn_free(prepared->given);
        qn_free(prepared);
        return status;
    }
    *out = prepared;
    return QN_OK;
}

enum qn_status qn__prepare(struct qn_connection *connection, const char *sql, bool allow_question,
                           struct qn_prepared **out, struct qn_error *err)
{
    size_t size = strlen(sql);
    uint64_t hash = hash_text(sql, size) + (allow_question ? 1 : 0);
    struct qn_prepared **slot = &connection->cache[hash % QN_STATEMENT_CACHE];
    struct qn_prepared *found = *slot;
    if (found != NULL && found->hash == hash && found->size == size && found->allow_question == allow_question &&
        memcmp(found->given, sql, size) == 0) {
        found->refs++;
        *out = found;
        return QN_OK;
    }
    QN_TRY(new_prepared(connection->driver->dialect, sql, size, allow_question, out, err));
    (*out)->hash = hash;
    if (size <= QN_STATEMENT_CACHE_MAX) {
        qn__prepared_unref(*slot);
        *slot = *out;
        (*out)->refs++;
    }
    return QN_OK;
}

void qn__prepared_position(const struct qn_prepared *prepared, struct qn_error *err)
{
    if (err != NULL && prepared != NULL && err->position > 0) {
        err->position = qn_sql_position(prepared->given, qn_buffer_text(&prepared->rewritten.sql), err->position);
    }
}

/* ---- values and placeholders ---- */

int64_t qn__name_index(char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (qn_text_equal(names[i], name)) {
            return (int64_t)i;
        }
    }
    return -1;
}

static enum qn_status count_error(size_t n_placeholders, size_t n_values, const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_ARGUMENT, "the statement has %zu placeholder%s, %zu %s%s", n_placeholders,
                        n_placeholders == 1 ? "" : "s", n_values, what, n_values == 1 ? " was given" : "s were given");
}

/* Report the values that no placeholder asks for. */
static enum qn_status check_unused(const struct qn_rewritten *rewritten, const char *const *names, size_t n_names,
                                   struct qn_error *err)
{
    qn_auto_buffer unused = { .limit = 512 };
    size_t n_unused = 0;
    for (size_t i = 0; i < n_names; i++) {
        if (qn__name_index(rewritten->names, rewritten->n_placeholders, names[i]) < 0) {
            qn_buffer_append_text(&unused, n_unused++ > 0 ? ", :" : ":");
            qn_buffer_append_text(&unused, names[i]);
        }
    }
    if (n_unused > 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "values that the statement has no placeholder for: %s%s",
                            qn_buffer_text(&unused), unused.failure != QN_BUFFER_FINE ? ", ..." : "");
    }
    return QN_OK;
}

/* order_out[i] = index of the value of placeholder i. `what` is "value" or "column". */
static enum qn_status match_names(const struct qn_rewritten *rewritten, const char *const *names, size_t n_names,
                                  const char *what, int32_t *order_out, struct qn_error *err)
{
    for (size_t i = 0; i < rewritten->n_placeholders; i++) {
        order_out[i] = -1;
        for (size_t j = 0; j < n_names; j++) {
            if (!qn_text_equal(names[j], rewritten->names[i])) {
                continue;
            }
            if (order_out[i] >= 0) {
                return qn_error_set(err, QN_ERR_ARGUMENT, "two %ss are named \"%s\"", what, names[j]);
            }
            order_out[i] = (int32_t)j;
        }
        if (order_out[i] < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "no %s was given for the placeholder :%s", what,
                                rewritten->names[i]);
        }
    }
    return n_names > rewritten->n_placeholders ? check_unused(rewritten, names, n_names, err) : QN_OK;
}

/* PREPARE, CREATE FUNCTION and EXPLAIN (GENERIC_PLAN) have $1 in them that is not for this call to bind. */
static bool may_keep_native(const struct qn_dialect *dialect, const char *sql)
{
    static const char *const words[] = { "prepare", "create", "explain" };
    while (qn_ascii_space(*sql)) {
        sql++;
    }
    for (size_t i = 0; dialect->placeholder == QN_PLACEHOLDER_DOLLAR && i < sizeof words / sizeof words[0]; i++) {
        if (qn_text_starts_nocase(sql, words[i])) {
            return true;
        }
    }
    return false;
}

static enum qn_status check_count(const struct qn_dialect *dialect, const struct qn_prepared *prepared,
                                  const struct qn_query *query, struct qn_error *err)
{
    const struct qn_rewritten *rewritten = &prepared->rewritten;
    if (rewritten->spelling == QN_SPELLING_NAMED && query->names == NULL && query->n_values > 0) {
        qn_error_set(err, QN_ERR_ARGUMENT,
                     "the statement has named placeholders (:%s), values without names were given",
                     rewritten->names[0]);
        return QN_ERR_ARGUMENT;
    }
    if (rewritten->spelling != QN_SPELLING_NAMED && query->names != NULL && query->n_values > 0) {
        if (rewritten->spelling == QN_SPELLING_NONE) {
            return check_unused(rewritten, query->names, query->n_values, err);
        }
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            "values with names were given, but the statement has no :name placeholders");
    }
    if (query->names != NULL && rewritten->spelling == QN_SPELLING_NAMED) {
        return QN_OK; /* the names tell more than the count */
    }
    if (query->n_values != rewritten->n_placeholders &&
        !(query->n_values == 0 && rewritten->spelling == QN_SPELLING_NATIVE && may_keep_native(dialect, query->sql))) {
        return count_error(rewritten->n_placeholders, query->n_values, "value", err);
    }
    return QN_OK;
}

static enum qn_status make_params(const struct qn_prepared *prepared, const struct qn_query *query,
                                  struct qn_params *out, struct qn_error *err)
{
    const struct qn_rewritten *rewritten = &prepared->rewritten;
    if (rewritten->spelling != QN_SPELLING_NAMED) {
        return qn__params_make(query->values, NULL, NULL, query->n_values, out, err);
    }
    int32_t few[32];
    qn_auto_free int32_t *many = NULL;
    int32_t *order = few;
    if (rewritten->n_placeholders > sizeof few / sizeof few[0]) {
        order = many = qn_realloc_array(NULL, rewritten->n_placeholders, sizeof *many);
        if (many == NULL) {
            return qn__no_memory(err);
        }
    }
    QN_TRY(match_names(rewritten, query->names, query->n_values, "value", order, err));
    return qn__params_make(query->values, order, rewritten->names, rewritten->n_placeholders, out, err);
}

/* ---- running ---- */

static enum qn_status start(struct qn_connection *connection, const struct qn_query *query,
                            const struct qn_query_options *options, struct qn_prepared **prepared_out,
                            struct qn_cursor *out, struct qn_error *err)
{
    const struct qn_driver *driver = connection->driver;
    struct qn_prepared *prepared = NULL;
    bool allow_question = query->n_values > 0 || !driver->dialect->question_operators;
    atomic_store_explicit(&connection->rows_affected, -1, memory_order_relaxed);
    QN_TRY(qn__prepare(connection, query->sql, allow_question, &prepared, err));
    enum qn_status status = check_count(driver->dialect, prepared, query, err);
    qn_auto_params params = { .memory = NULL };
    if (status == QN_OK && query->n_values > 0) {
        status = make_params(prepared, query, &params, err);
    }
    if (status == QN_OK) {
        struct qn_statement statement = {
            .struct_size = sizeof statement,
            .sql = qn_buffer_text(&prepared->rewritten.sql),
            .sql_size = prepared->rewritten.sql.size,
            .sql_given = prepared->given,
            .params_schema = query->n_values > 0 ? &params.schema : NULL,
            .params = query->n_values > 0 ? &params.array : NULL,
            .options = options,
        };
        QN_LOG(QN_LOG_DEBUG, driver->name, "%s", prepared->given);
        status = driver->query(connection->handle, &statement, out, err);
        if (status != QN_OK) {
            qn__prepared_position(prepared, err);
        }
    }
    if (status != QN_OK) {
        qn__prepared_unref(prepared);
        return status;
    }
    *prepared_out = prepared;
    return QN_OK;
}

enum qn_status qn__cursor_drain(struct qn_cursor *cursor, int64_t *rows_affected_out, struct qn_error *err)
{
    enum qn_status status;
    bool ended = false;
    do {
        struct ArrowArray batch = { .release = NULL };
        status = cursor->ops->next(cursor->self, &batch, err);
        ended = status != QN_OK || batch.release == NULL;
        if (status == QN_OK && batch.release != NULL) {
            batch.release(&batch);
        }
    } while (!ended);
    if (status == QN_OK && rows_affected_out != NULL) {
        *rows_affected_out = cursor->ops->rows_affected(cursor->self);
    }
    cursor->ops->close(cursor->self);
    cursor->self = NULL;
    return status;
}

enum qn_status qn__connection_run(struct qn_connection *connection, const char *sql, struct qn_error *err)
{
    struct qn_query_options options;
    QN_TRY(qn__query_options(NULL, &options, err));
    struct qn_statement statement = {
        .struct_size = sizeof statement,
        .sql = sql,
        .sql_size = strlen(sql),
        .sql_given = sql,
        .options = &options,
    };
    struct qn_cursor cursor = { .ops = NULL };
    QN_LOG(QN_LOG_DEBUG, connection->driver->name, "%s", sql);
    QN_TRY(connection->driver->query(connection->handle, &statement, &cursor, err));
    return qn__cursor_drain(&cursor, NULL, err);
}

enum qn_status qn_connection_query(struct qn_connection *connection, const struct qn_query *query,
                                   struct ArrowArrayStream *out, int64_t *rows_affected_out, struct qn_error *err)
{
    struct qn_query copy;
    struct qn_query_options options;
    QN_TRY(copy_query(query, &copy, err));
    QN_TRY(qn__query_options(copy.options, &options, err));
    if (out == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a query needs a place for its stream");
    }
    QN_TRY(qn__connection_enter(connection, err));
    struct qn_prepared *prepared = NULL;
    struct qn_cursor cursor = { .ops = NULL };
    enum qn_status status = start(connection, &copy, &options, &prepared, &cursor, err);
    if (status == QN_OK) {
        status = qn__result_stream(connection, &cursor, prepared, out, err);
        qn__prepared_unref(prepared);
    }
    if (status == QN_OK && rows_affected_out != NULL) {
        *rows_affected_out = atomic_load(&connection->rows_affected);
    }
    qn__connection_leave(connection);
    return status;
}

enum qn_status qn_connection_execute(struct qn_connection *connection, const struct qn_query *query,
                                     int64_t *rows_affected_out, struct qn_error *err)
{
    struct qn_query copy;
    struct qn_query_options options;
    QN_TRY(copy_query(query, &copy, err));
    QN_TRY(qn__query_options(copy.options, &options, err));
    options.result_mode = QN_RESULT_STREAM; /* the rows are dropped: they need not be held */
    QN_TRY(qn__connection_enter(connection, err));
    struct qn_prepared *prepared = NULL;
    struct qn_cursor cursor = { .ops = NULL };
    enum qn_status status = start(connection, &copy, &options, &prepared, &cursor, err);
    if (status == QN_OK) {
        int64_t rows = -1;
        status = qn__cursor_drain(&cursor, &rows, err);
        if (status != QN_OK) {
            qn__prepared_position(prepared, err);
        } else {
            atomic_store(&connection->rows_affected, rows);
            if (rows_affected_out != NULL) {
                *rows_affected_out = rows;
            }
        }
        qn__prepared_unref(prepared);
    }
    qn__connection_leave(connection);
    return status;
}
