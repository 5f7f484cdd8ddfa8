/*
 * lookup.c: small results for the driver's own use.
 *
 * DataRow (PostgreSQL documentation, "Message Formats"): int16 count of fields, then for each an int32 length (-1: null)
 * and its bytes, in text form here.
 */
#include "db/postgres/lookup.h"

bool qn_pg_lookup_parse(const char *body, size_t size, struct qn_pg_lookup_row *out)
{
    struct qn_pg_body at = qn_pg_body_of(body, size);
    int n_fields = qn_pg_body_int16(&at);
    if (at.failed || n_fields < 0 || n_fields > QN_PG_LOOKUP_FIELDS) {
        return false;
    }
    out->n_fields = n_fields;
    for (int i = 0; i < n_fields; i++) {
        int32_t length = qn_pg_body_int32(&at);
        if (at.failed || length < -1 || (int64_t)length > at.end - at.at) {
            return false;
        }
        out->text[i] = length < 0 ? NULL : at.at;
        out->size[i] = length < 0 ? 0 : (size_t)length;
        at.at += out->size[i];
    }
    return at.at == at.end;
}

enum qn_status qn_pg_lookup(struct qn_pg *pg, const char *sql, qn_pg_lookup_callback *callback, void *context,
                            struct qn_error *err)
{
    qn_pg_message(pg, 'Q', sql, strlen(sql) + 1);
    enum qn_status first = qn_pg_flush(pg, err);
    if (first != QN_OK) {
        qn_pg_recover(pg);
        return first;
    }
    while (pg->ready_expected > 0) {
        char type;
        const char *body;
        size_t size;
        enum qn_status status = qn_pg_message_next(pg, &type, &body, &size, first == QN_OK ? err : NULL);
        if (status != QN_OK) {
            qn_pg_recover(pg);
            return first != QN_OK ? first : status;
        }
        if (first != QN_OK) {
            continue;
        }
        if (type == 'E') {
            first = qn_pg_error_from_message(pg, body, size, sql, err);
        } else if (type == 'D') {
            struct qn_pg_lookup_row row;
            if (!qn_pg_lookup_parse(body, size, &row)) {
                return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a malformed row");
            }
            first = callback(context, &row, err);
        }
    }
    return first;
}
