/*
 * statement.c: parsing and describing statements, and the cache of those that the server keeps for us.
 *
 * Every statement is parsed under a name and described at first sight (one round trip); from then on Bind, Execute and
 * Sync are enough. Parameters are declared with type 0, so that the server infers each from its context; where it could
 * only say "text" for a value that is no text, or nothing at all, the statement is parsed again with the types that the
 * values have. Threads: one at a time per connection.
 */
#include "db/postgres/postgres.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"

#include <inttypes.h>

void qn_pg_description_dispose(struct qn_pg_description *description)
{
    for (int32_t i = 0; i < description->n_fields; i++) {
        qn_free(description->fields[i].name);
    }
    qn_free(description->fields);
    qn_free(description->params);
    *description = (struct qn_pg_description){ 0 };
}

static enum qn_status malformed(struct qn_pg *pg, const char *what, struct qn_error *err)
{
    return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "the server sent a malformed %s", what);
}

static enum qn_status take_parameters(struct qn_pg *pg, const char *bytes, size_t size, struct qn_pg_description *out,
                                      struct qn_error *err)
{
    struct qn_pg_body body = qn_pg_body_of(bytes, size);
    uint16_t count = (uint16_t)qn_pg_body_int16(&body);
    if (body.failed || size != 2 + (size_t)count * 4 || out->params != NULL) {
        return malformed(pg, "parameter description", err);
    }
    out->params = qn_calloc(count + 1U, sizeof *out->params);
    if (out->params == NULL) {
        return qn__no_memory(err);
    }
    for (uint16_t i = 0; i < count; i++) {
        out->params[i] = (uint32_t)qn_pg_body_int32(&body);
    }
    out->n_params = count;
    return QN_OK;
}

enum qn_status qn_pg_take_fields(struct qn_pg *pg, const char *bytes, size_t size, struct qn_pg_description *out,
                                 struct qn_error *err)
{
    struct qn_pg_body body = qn_pg_body_of(bytes, size);
    int16_t count = qn_pg_body_int16(&body);
    if (body.failed || count < 0 || (size_t)count * 19 > size || out->returns_rows) {
        return malformed(pg, "row description", err);
    }
    out->returns_rows = true;
    out->fields = qn_calloc((size_t)count + 1, sizeof *out->fields);
    if (out->fields == NULL) {
        return qn__no_memory(err);
    }
    for (int16_t i = 0; i < count; i++) {
        const char *name = qn_pg_body_text(&body);
        struct qn_pg_field *field = &out->fields[i];
        field->table_oid = (uint32_t)qn_pg_body_int32(&body);
        field->attribute = qn_pg_body_int16(&body);
        field->oid = (uint32_t)qn_pg_body_int32(&body);
        (void)qn_pg_body_int16(&body); /* size of the type */
        field->typmod = qn_pg_body_int32(&body);
        (void)qn_pg_body_int16(&body); /* format: always 0 before Bind */
        if (body.failed || !qn_utf8_valid(name, strlen(name))) {
            return malformed(pg, "row description", err);
        }
        field->name = qn_strdup(name);
        if (field->name == NULL) {
            return qn__no_memory(err);
        }
        out->n_fields = i + 1;
    }
    return body.at == body.end ? QN_OK : malformed(pg, "row description", err);
}

static void send_parse(struct qn_pg *pg, const char *name, const char *sql, size_t sql_size, const uint32_t *oids,
                       int32_t n_oids)
{
    qn_pg_message_begin(pg, 'P');
    qn_buffer_append(&pg->out, name, strlen(name) + 1);
    qn_buffer_append(&pg->out, sql, sql_size);
    qn_buffer_append_byte(&pg->out, 0);
    qn_buffer_append_be16(&pg->out, (uint16_t)n_oids);
    for (int32_t i = 0; i < n_oids; i++) {
        qn_buffer_append_be32(&pg->out, oids[i]);
    }
    qn_pg_message_end(pg);
}

static void send_named(struct qn_pg *pg, char type, const char *name)
{
    qn_pg_message_begin(pg, type); /* Describe or Close */
    qn_buffer_append_byte(&pg->out, 'S');
    qn_buffer_append(&pg->out, name, strlen(name) + 1);
    qn_pg_message_end(pg);
}

/* Read the answers to Parse, Describe and Sync. */
static enum qn_status read_description(struct qn_pg *pg, const char *sql, struct qn_pg_description *out,
                                       struct qn_error *err)
{
    for (;;) {
        char type = 0;
        const char *body = NULL;
        size_t size = 0;
        QN_TRY(qn_pg_message_next(pg, &type, &body, &size, err));
        switch (type) {
        case '1': /* ParseComplete */
        case '3': /* CloseComplete, of a statement that fell out of the cache */
        case 'n': /* NoData */
            break;
        case 't':
            QN_TRY(take_parameters(pg, body, size, out, err));
            break;
        case 'T':
            QN_TRY(qn_pg_take_fields(pg, body, size, out, err));
            break;
        case 'E':
            return qn_pg_error_from_message(pg, body, size, sql, err);
        case 'Z':
            return out->params != NULL ? QN_OK : malformed(pg, "answer to a Describe", err);
        default:
            return qn_pg_break(pg, err, QN_ERR_PROTOCOL, "unexpected message 0x%02x while a statement is prepared",
                               (unsigned char)type);
        }
    }
}

static enum qn_status parse_and_describe(struct qn_pg *pg, const char *name, const char *sql, size_t sql_size,
                                         const uint32_t *oids, int32_t n_oids, struct qn_pg_description *out,
                                         struct qn_error *err)
{
    struct qn_pg_description found = { 0 };
    send_parse(pg, name, sql, sql_size, oids, n_oids);
    send_named(pg, 'D', name);
    qn_pg_message(pg, 'S', "", 0);
    enum qn_status status = qn_pg_flush(pg, err);
    if (status == QN_OK) {
        status = read_description(pg, sql, &found, err);
    }
    if (status == QN_OK) {
        *out = found;
        return QN_OK;
    }
    qn_pg_description_dispose(&found);
    if (status == QN_ERR_TIMEOUT || status == QN_ERR_CANCELLED) {
        qn_pg_recover(pg);
    }
    if (!pg->broken && qn_pg_sync_to_ready(pg, NULL) != QN_OK) {
        qn_pg_recover(pg);
    }
    return status;
}

enum qn_status qn_pg_describe(struct qn_pg *pg, const char *sql, struct qn_pg_description *out, struct qn_error *err)
{
    return parse_and_describe(pg, "", sql, strlen(sql), NULL, 0, out, err);
}

/* ---- the cache ---- */

static void prepared_free(struct qn_pg_prepared *prepared)
{
    qn_pg_plan_free(prepared->plan);
    qn_pg_description_dispose(&prepared->description);
    qn_free(prepared->key);
    qn_free(prepared);
}

static void prepared_unlink(struct qn_pg *pg, const struct qn_pg_prepared *prepared)
{
    for (struct qn_pg_prepared **place = &pg->prepared; *place != NULL; place = &(*place)->next) {
        if (*place == prepared) {
            *place = prepared->next;
            pg->n_prepared--;
            return;
        }
    }
}

void qn_pg_forget(struct qn_pg *pg, struct qn_pg_prepared *prepared)
{
    prepared_unlink(pg, prepared);
    send_named(pg, 'C', prepared->name);
    prepared_free(prepared);
}

void qn_pg_forget_all(struct qn_pg *pg)
{
    while (pg->prepared != NULL) {
        struct qn_pg_prepared *next = pg->prepared->next;
        prepared_free(pg->prepared);
        pg->prepared = next;
    }
    pg->n_prepared = 0;
}

/* What makes two uses of one text different statements: the types that the parameters would be declared with. */
static enum qn_status make_key(const char *sql, size_t sql_size, const struct ArrowSchema *params,
                               struct qn_buffer *out, struct qn_error *err)
{
    qn_buffer_append(out, sql, sql_size);
    qn_buffer_append_byte(out, 0);
    for (int64_t i = 0; params != NULL && i < params->n_children; i++) {
        qn_buffer_append_be32(out, qn_pg_oid_for_field(params->children[i]));
    }
    return qn_buffer_check(out, "the statement", err);
}

static struct qn_pg_prepared *cache_find(struct qn_pg *pg, const struct qn_buffer *key)
{
    for (struct qn_pg_prepared *at = pg->prepared; at != NULL; at = at->next) {
        if (at->key_size == key->size && memcmp(at->key, key->data, key->size) == 0) {
            prepared_unlink(pg, at);
            at->next = pg->prepared;
            pg->prepared = at;
            pg->n_prepared++;
            return at;
        }
    }
    return NULL;
}

static void cache_make_room(struct qn_pg *pg)
{
    struct qn_pg_prepared *last = pg->prepared;
    while (last != NULL && last->next != NULL) {
        last = last->next;
    }
    if (last != NULL && pg->n_prepared >= QN_PG_CACHE_SIZE) {
        qn_pg_forget(pg, last);
    }
}

static bool is_text(uint32_t oid)
{
    return oid == QN_PG_TEXT || oid == QN_PG_VARCHAR || oid == QN_PG_UNKNOWN || oid == QN_PG_BPCHAR;
}

/* The types to declare where the server's own guess does not do. Returns false where it does. */
static bool types_to_declare(const struct ArrowSchema *params, const struct qn_pg_description *inferred, uint32_t *oids)
{
    bool any = false;
    for (int64_t i = 0; i < params->n_children; i++) {
        uint32_t own = qn_pg_oid_for_field(params->children[i]);
        uint32_t guess = inferred != NULL && i < inferred->n_params ? inferred->params[i] : 0;
        bool misfit = own != 0 && own != QN_PG_TEXT && is_text(guess);
        oids[i] = inferred == NULL ? own : (misfit ? own : 0);
        any = any || oids[i] != 0;
    }
    return any;
}

/* Parse with inferred types, then where that is not enough with those of the values. */
static enum qn_status prepare_new(struct qn_pg *pg, const char *sql, size_t sql_size, const struct ArrowSchema *params,
                                  struct qn_pg_prepared *prepared, struct qn_error *err)
{
    struct qn_error first;
    qn_error_clear(&first);
    enum qn_status status =
        parse_and_describe(pg, prepared->name, sql, sql_size, NULL, 0, &prepared->description, &first);
    /* indeterminate_datatype, ambiguous_function */
    bool untold = (qn_text_equal(first.sqlstate, "42P18") || qn_text_equal(first.sqlstate, "42725")) &&
                  status != QN_OK && pg->transaction_status == 'I';
    if (params == NULL || params->n_children == 0 || params->n_children > QN_PG_MAX_PARAMETERS ||
        (status != QN_OK && !untold)) {
        if (status != QN_OK && err != NULL) {
            *err = first;
        }
        return status;
    }
    uint32_t *oids = qn_calloc((size_t)params->n_children, sizeof *oids);
    if (oids == NULL) {
        return qn__no_memory(err);
    }
    bool declare = types_to_declare(params, status == QN_OK ? &prepared->description : NULL, oids);
    if (declare) {
        if (status == QN_OK) {
            send_named(pg, 'C', prepared->name);
        }
        qn_pg_description_dispose(&prepared->description);
        status = parse_and_describe(pg, prepared->name, sql, sql_size, oids, (int32_t)params->n_children,
                                    &prepared->description, err);
    } else if (status != QN_OK && err != NULL) {
        *err = first;
    }
    qn_free(oids);
    return status;
}

enum qn_status qn_pg_prepare(struct qn_pg *pg, const char *sql, size_t sql_size, const struct ArrowSchema *params,
                             struct qn_pg_prepared **out, struct qn_error *err)
{
    qn_auto_buffer key = QN_BUFFER_INIT;
    QN_TRY(make_key(sql, sql_size, params, &key, err));
    while (pg->prepared_stale && pg->prepared != NULL) {
        qn_pg_forget(pg, pg->prepared);
    }
    pg->prepared_stale = false;
    struct qn_pg_prepared *prepared = cache_find(pg, &key);
    if (prepared != NULL) {
        *out = prepared;
        return QN_OK;
    }
    cache_make_room(pg);
    prepared = qn_calloc(1, sizeof *prepared);
    if (prepared == NULL) {
        return qn__no_memory(err);
    }
    (void)snprintf(prepared->name, sizeof prepared->name, "qn%08" PRIx32 "_%" PRIu32, (uint32_t)pg->statement_seed,
                   (uint32_t)++pg->next_statement);
    enum qn_status status = prepare_new(pg, sql, sql_size, params, prepared, err);
    if (status != QN_OK) {
        prepared_free(prepared);
        return status;
    }
    prepared->key_size = key.size;
    prepared->key = qn_buffer_steal(&key);
    prepared->next = pg->prepared;
    pg->prepared = prepared;
    pg->n_prepared++;
    *out = prepared;
    return QN_OK;
}
