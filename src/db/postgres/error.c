/*
 * error.c: ErrorResponse into struct qn_error, and what SQLSTATEs mean.
 *
 * The body is a list of fields: one byte of code, a NUL-terminated text; a zero byte ends the list. A server may leave
 * out, repeat or garble any of them: nothing is taken for granted but the NULs inside the message.
 */
#include "db/postgres/postgres.h"

#include "base/text.h"
#include "base/utf8.h"

#include <stdlib.h>

const char *qn_pg_report_field(const char *body, size_t size, char code)
{
    const char *end = body + size;
    while (body < end && *body != 0) {
        const char *text = body + 1;
        const char *stop = memchr(text, 0, (size_t)(end - text));
        if (stop == NULL) {
            return NULL;
        }
        if (*body == code) {
            return text;
        }
        body = stop + 1;
    }
    return NULL;
}

static bool starts(const char *sqlstate, const char *prefix)
{
    return strncmp(sqlstate, prefix, strlen(prefix)) == 0;
}

static bool among(const char *sqlstate, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (qn_text_equal(sqlstate, *list)) {
            return true;
        }
    }
    return false;
}

enum qn_status qn_pg_status_of(const char *sqlstate, bool *retryable_out)
{
    /* deadlock, serialisation, lock not available, shutdown, crash, starting up, database dropped meanwhile, idle limits,
     * too many connections, out of disk, memory or the like, read-only standby that may be promoted */
    static const char *const retry[] = { "40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57P05",
                                         "25P03", "53000", "53100", "53200", "53300", "53400", NULL };
    static const char *const gone[] = { "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", NULL };
    static const char *const data[] = { "22P02", "22P03", "22P04", "22P05", NULL };
    *retryable_out = among(sqlstate, retry) || (starts(sqlstate, "08") && !qn_text_equal(sqlstate, "08P01"));
    if (qn_text_equal(sqlstate, "08P01")) {
        return QN_ERR_PROTOCOL;
    }
    if (starts(sqlstate, "08") || starts(sqlstate, "28") || among(sqlstate, gone) || qn_text_equal(sqlstate, "53300")) {
        return QN_ERR_CONNECTION;
    }
    if (starts(sqlstate, "23")) {
        return QN_ERR_CONSTRAINT;
    }
    if (qn_text_equal(sqlstate, "57014")) {
        return QN_ERR_CANCELLED;
    }
    if (starts(sqlstate, "0A")) {
        return QN_ERR_UNSUPPORTED;
    }
    if (starts(sqlstate, "22") || among(sqlstate, data)) {
        return QN_ERR_DATA;
    }
    return QN_ERR_QUERY;
}

/* Text from the server into a field: one line, valid UTF-8. */
static void copy_field(char *field, size_t field_size, const char *body, size_t size, char code)
{
    const char *text = qn_pg_report_field(body, size, code);
    size_t length = text != NULL ? strnlen(text, field_size) : 0;
    if (text == NULL || !qn_utf8_valid(text, qn_utf8_valid_prefix(text, length))) {
        text = "";
        length = 0;
    }
    qn__error_copy(field, field_size, text, qn_utf8_valid_prefix(text, length));
    for (char *c = field; *c != 0; c++) {
        if (*c == '\n' || *c == '\r') {
            *c = ' ';
        }
    }
}

/* 57014 is a cancel by somebody, or a limit of the server's: its text tells, and where it is in another language, whether
 * we asked. */
static enum qn_status cancelled_or_timeout(struct qn_pg *pg, const char *text)
{
    if (__atomic_load_n(&pg->cancel_asked, __ATOMIC_ACQUIRE) != 0 || strstr(text, "user request") != NULL) {
        return QN_ERR_CANCELLED;
    }
    return strstr(text, "timeout") != NULL || pg->statement_timeout_ms > 0 ? QN_ERR_TIMEOUT : QN_ERR_CANCELLED;
}

static void add_hint(const char *sqlstate, const char *routine, struct qn_error *err)
{
    if (err == NULL || err->hint[0] != 0) {
        return;
    }
    if (qn_text_equal(sqlstate, "42P18")) {
        qn_error_hint(err, "say the parameter's type in the statement: $1::integer, or cast(? as integer)");
    } else if (qn_text_equal(sqlstate, "42601") && routine != NULL && qn_text_equal(routine, "exec_parse_message")) {
        qn_error_hint(err, "run several statements one by one");
    } else if (qn_text_equal(sqlstate, "25P02")) {
        qn_error_hint(err, "an earlier statement of this transaction failed: roll back first");
    }
}

enum qn_status qn_pg_error_from_message(struct qn_pg *pg, const char *body, size_t size, const char *sql,
                                        struct qn_error *err)
{
    (void)sql;
    struct qn_error local = QN_ERROR_INIT;
    const char *code = qn_pg_report_field(body, size, 'C');
    const char *severity = qn_pg_report_field(body, size, 'V');
    const char *text = qn_pg_report_field(body, size, 'M');
    if (code == NULL || strlen(code) != 5 || text == NULL) {
        return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a malformed error");
    }
    bool retryable = false;
    enum qn_status status = qn_pg_status_of(code, &retryable);
    if (status == QN_ERR_CANCELLED) {
        status = cancelled_or_timeout(pg, text);
    }
    bool fatal = severity != NULL && (qn_text_equal(severity, "FATAL") || qn_text_equal(severity, "PANIC"));
    if (fatal) {
        (void)qn_pg_break(pg, NULL, QN_ERR_CONNECTION, "%s", "");
        status = QN_ERR_CONNECTION;
    }
    (void)qn_error_set(&local, status, "%s", "");
    copy_field(local.message, sizeof local.message, body, size, 'M');
    copy_field(local.detail, sizeof local.detail, body, size, 'D');
    copy_field(local.hint, sizeof local.hint, body, size, 'H');
    copy_field(local.constraint_name, sizeof local.constraint_name, body, size, 'n');
    copy_field(local.schema_name, sizeof local.schema_name, body, size, 's');
    copy_field(local.table_name, sizeof local.table_name, body, size, 't');
    copy_field(local.column_name, sizeof local.column_name, body, size, 'c');
    copy_field(local.sqlstate, sizeof local.sqlstate, body, size, 'C');
    local.retryable = retryable || status == QN_ERR_TIMEOUT;
    const char *position = qn_pg_report_field(body, size, 'P');
    long long at = 0;
    if (position != NULL && qn_text_to_int64(position, 1, INT32_MAX, &at)) {
        local.position = (int32_t)at;
    }
    add_hint(code, qn_pg_report_field(body, size, 'R'), &local);
    if (err != NULL) {
        *err = local;
    }
    return status;
}
