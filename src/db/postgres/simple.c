/*
 * simple.c: statements of our own by the simple protocol: transactions, look-ups in the catalogue, pings.
 *
 * Threads: one at a time per connection.
 */
#include "db/postgres/postgres.h"

#include "base/log.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SIMPLE_COLUMNS 16

int64_t qn_pg_tag_rows(const char *tag)
{
    static const char *const counted[] = { "INSERT ", "UPDATE ", "DELETE ", "SELECT ", "MERGE ",
                                           "COPY ",   "MOVE ",   "FETCH ",  NULL };
    const char *last = strrchr(tag, ' ');
    long long rows = -1;
    for (size_t i = 0; counted[i] != NULL && last != NULL; i++) {
        if (strncmp(tag, counted[i], strlen(counted[i])) == 0 && qn_text_to_int64(last + 1, 0, INT64_MAX, &rows)) {
            return rows;
        }
    }
    return -1;
}

static bool begins_with_one(const char *tag, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        size_t size = strlen(words[i]);
        if (strncmp(tag, words[i], size) == 0 && (tag[size] == ' ' || tag[size] == '\0')) {
            return true;
        }
    }
    return false;
}

void qn_pg_note_tag(struct qn_pg *pg, const char *tag)
{
    static const char *const changing[] = { "CREATE", "ALTER", "DROP", "DO", "CALL", "SET", "RESET", "IMPORT", NULL };
    static const char *const ending[] = { "COMMIT", "ROLLBACK", NULL };
    if (begins_with_one(tag, changing)) {
        pg->prepared_stale = true;
        pg->names_changed = true;
    } else if (qn_text_equal(tag, "BEGIN")) {
        pg->names_changed = false;
    } else if (pg->names_changed && begins_with_one(tag, ending)) { /* changes may be undone */
        pg->prepared_stale = true;
    }
}

struct simple {
    int64_t rows;
    qn_pg_row_callback callback;
    void *context;
};

static enum qn_status take_row(struct qn_pg *pg, const char *bytes, size_t size, const struct simple *simple,
                               struct qn_error *err)
{
    const char *values[MAX_SIMPLE_COLUMNS];
    size_t sizes[MAX_SIMPLE_COLUMNS];
    struct qn_pg_body body = qn_pg_body_of(bytes, size);
    int16_t n = qn_pg_body_int16(&body);
    if (simple->callback == NULL) {
        return QN_OK;
    }
    if (body.failed || n < 0 || n > MAX_SIMPLE_COLUMNS) {
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a malformed row");
    }
    for (int16_t i = 0; i < n; i++) {
        int32_t length = qn_pg_body_int32(&body);
        if (body.failed || length < -1 || length > body.end - body.at) {
            return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a malformed row");
        }
        values[i] = length < 0 ? NULL : body.at;
        sizes[i] = length < 0 ? 0 : (size_t)length;
        body.at += sizes[i];
    }
    return simple->callback(simple->context, pg, values, sizes, n, err);
}

/* Read the answer up to ReadyForQuery; the first failure is the result. */
static enum qn_status read_answer(struct qn_pg *pg, const char *sql, struct simple *simple, struct qn_error *err)
{
    enum qn_status first = QN_OK;
    while (pg->ready_expected > 0) {
        char type = 0;
        const char *body = NULL;
        size_t size = 0;
        struct qn_error *place = first == QN_OK ? err : NULL;
        enum qn_status status = qn_pg_message_next(pg, &type, &body, &size, place);
        if (status != QN_OK) {
            return first != QN_OK ? first : status;
        }
        if (type == 'E') {
            status = qn_pg_error_from_message(pg, body, size, sql, place);
        } else if (type == 'D') {
            status = take_row(pg, body, size, simple, place);
        } else if (type == 'C') {
            struct qn_pg_body tag = qn_pg_body_of(body, size);
            const char *text = qn_pg_body_text(&tag);
            simple->rows = qn_pg_tag_rows(text);
            qn_pg_note_tag(pg, text);
        } else if (type == 'G' || type == 'H') {
            status = qn_error_set(place, QN_ERR_UNSUPPORTED, "COPY to or from the client cannot be run as a statement");
            qn_pg_recover(pg);
        }
        first = first != QN_OK ? first : status;
    }
    return first;
}

static enum qn_status simple_run(struct qn_pg *pg, const char *sql, struct simple *simple, struct qn_error *err)
{
    QN_LOG(QN_LOG_DEBUG, "postgres", "%s", sql);
    qn_pg_message(pg, 'Q', sql, strlen(sql) + 1);
    enum qn_status status = qn_pg_flush(pg, err);
    if (status == QN_OK) {
        status = read_answer(pg, sql, simple, err);
    }
    if (status != QN_OK && !pg->broken && pg->ready_expected > 0) {
        qn_pg_recover(pg);
    }
    return status;
}

enum qn_status qn_pg_simple(struct qn_pg *pg, const char *sql, int64_t *rows_out, struct qn_error *err)
{
    struct simple simple = { .rows = -1 };
    QN_TRY(simple_run(pg, sql, &simple, err));
    if (rows_out != NULL) {
        *rows_out = simple.rows;
    }
    return QN_OK;
}

enum qn_status qn_pg_simple_rows(struct qn_pg *pg, const char *sql, qn_pg_row_callback callback, void *context,
                                 struct qn_error *err)
{
    struct simple simple = { .rows = -1, .callback = callback, .context = context };
    return simple_run(pg, sql, &simple, err);
}
