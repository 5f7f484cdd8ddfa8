/*
 * cassette.c: recorded conversations replayed as a connector, without the source (`cassette::file`).
 *
 * The n-th time that something is asked, the n-th recorded answer is given; once there are no more, the last one again.
 * Whole answers go before those that were broken off, and an answer to the very request before one to the whole location,
 * of which the core makes what was asked for. Nothing recorded is guessed at: a request that has no answer is an error that
 * names it and what there is. Threads: a lock around the choice of an answer; a stream reads the file by itself.
 */
#include "arrow/array.h"
#include "arrow/ipc.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "connector/cassette_ask.h"
#include "connector/cassette_file.h"
#include "connector/connector_private.h"
#include "connector/locate.h"
#include "connector/location_json.h"
#include "connector/masking.h"
#include "connector/registry.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#define SHOWN 8 /* recorded requests that a message names */

struct cassette {
    atomic_int references; /* the core's, and one for each stream */
    int fd;
    char *name; /* the file's, for messages */
    struct qn_cassette_index index;
    bool *fits; /* for each session: its arguments are those that were given */
    bool *used; /* for each exchange: it was an answer already */
    pthread_mutex_t lock;
};

static void drop(struct cassette *cassette)
{
    if (atomic_fetch_sub(&cassette->references, 1) == 1) {
        if (cassette->fd >= 0) {
            close(cassette->fd);
        }
        qn_cassette_index_dispose(&cassette->index);
        pthread_mutex_destroy(&cassette->lock);
        qn_free(cassette->fits);
        qn_free(cassette->used);
        qn_free(cassette->name);
        qn_free(cassette);
    }
}

/* A part of a text that any message can hold. */
static void put_shown(struct qn_buffer *out, const char *text, size_t most)
{
    char shown[QN__SHOWN_NAME];
    qn__shown_name(text, shown);
    size_t size = strlen(shown);
    qn_buffer_append(out, shown, size <= most ? size : qn_utf8_floor(shown, most));
}

/* ---- opening ---- */

/* The first argument that was recorded otherwise; NULL: all that are given were recorded so. What is masked, and what is not
 * given, is not compared. */
static const char *other_argument(const json_t *session, json_t *given)
{
    const json_t *recorded = json_object_get(session, "arguments");
    for (void *at = json_object_iter(given); at != NULL; at = json_object_iter_next(given, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *value = json_object_get(recorded, name);
        if (value == NULL || !json_equal(value, json_object_iter_value(at))) {
            return name;
        }
    }
    return NULL;
}

/* No session has the argument `name` as it is given. */
static enum qn_status no_session(const struct cassette *cassette, const json_t *given, const char *name,
                                 struct qn_error *err)
{
    const json_t *last = json_object_get(cassette->index.sessions[cassette->index.n_sessions - 1], "arguments");
    const char *value = json_string_value(json_object_get(last, name));
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_buffer_printf(&text, "cassette \"%s\": nothing was recorded with the argument ", cassette->name);
    put_shown(&text, name, 100);
    qn_buffer_append_text(&text, " = \"");
    put_shown(&text, json_string_value(json_object_get(given, name)), 100);
    qn_buffer_append_byte(&text, '"');
    if (value != NULL) {
        qn_buffer_append_text(&text, ", but with \"");
        put_shown(&text, value, 100);
        qn_buffer_append_byte(&text, '"');
    }
    QN_TRY(qn_buffer_check(&text, "a message", err));
    return qn_error_set(err, QN_ERR_CONFIG, "%s", qn_buffer_text(&text));
}

static enum qn_status compare_arguments(struct cassette *cassette, const char *text, struct qn_error *err)
{
    struct qn_mask mask = { 0 };
    qn_auto_json *given = NULL;
    qn_auto_json *arguments = json_loads(text, 0, NULL);
    if (arguments == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn_mask_init(&mask, arguments, &given, err)); /* as they were masked when they were recorded */
    qn_mask_dispose(&mask);
    bool any = cassette->index.n_sessions == 0;
    const char *other = NULL;
    for (size_t i = 0; i < cassette->index.n_sessions; i++) {
        const char *differs = other_argument(cassette->index.sessions[i], given);
        cassette->fits[i] = differs == NULL;
        any = any || differs == NULL;
        other = differs != NULL ? differs : other;
    }
    return any ? QN_OK : no_session(cassette, given, other, err);
}

static enum qn_status read_cassette(struct cassette *cassette, const struct qn_connector_opening *opening,
                                    struct qn_error *err)
{
    enum qn_status status = qn_cassette_index_read(cassette->fd, &cassette->index, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "cassette \"%s\"", cassette->name);
        return status;
    }
    cassette->fits = qn_calloc(cassette->index.n_sessions + 1, sizeof *cassette->fits);
    cassette->used = qn_calloc(cassette->index.n_exchanges + 1, sizeof *cassette->used);
    if (cassette->fits == NULL || cassette->used == NULL) {
        return qn__no_memory(err);
    }
    return compare_arguments(cassette, opening->arguments, err);
}

static enum qn_status cassette_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                    struct qn_error *err)
{
    (void)context;
    qn_auto_buffer path = QN_BUFFER_INIT;
    char shown[QN__SHOWN_NAME];
    struct cassette *cassette = qn_calloc(1, sizeof *cassette);
    if (cassette == NULL) {
        return qn__no_memory(err);
    }
    atomic_init(&cassette->references, 1);
    pthread_mutex_init(&cassette->lock, NULL);
    qn__shown_name(opening->entrypoint, shown);
    cassette->name = qn_strdup(shown);
    cassette->fd = -1;
    enum qn_status status = qn_locate_path(opening->folder, opening->entrypoint, &path, err);
    if (status == QN_OK) {
        cassette->fd = open(qn_buffer_text(&path), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        status = cassette->name == NULL ? qn__no_memory(err)
                 : cassette->fd < 0     ? qn_error_set(err, QN_ERR_CONFIG, "cassette \"%s\": %m", cassette->name)
                                        : read_cassette(cassette, opening, err);
    }
    if (status != QN_OK) {
        drop(cassette);
        return status;
    }
    *self_out = cassette;
    return QN_OK;
}

static void cassette_close(void *self)
{
    drop(self);
}

/* ---- choosing an answer ---- */

/* How good an answer a recorded exchange is to `ask`: 0 none. */
enum fit { NO_ANSWER, WHOLE_LOCATION, VERY_REQUEST };

static bool same_text(const json_t *a, const json_t *b, const char *name)
{
    const char *one = json_string_value(json_object_get(a, name));
    const char *other = json_string_value(json_object_get(b, name));
    return one != NULL && other != NULL && qn_text_equal(one, other);
}

/* The same location; a version that is not known to whoever asks may be any. */
static bool same_location(const json_t *asked, const json_t *recorded)
{
    const json_t *a = json_object_get(asked, "location");
    const json_t *b = json_object_get(recorded, "location");
    const char *version = json_string_value(json_object_get(a, "version"));
    return same_text(a, b, "location") && (version == NULL || version[0] == '\0' || same_text(a, b, "version"));
}

static enum fit fit_of(const json_t *asked, const json_t *recorded)
{
    static const char *const parts[] = { "columns", "filter", "limit", "skip_rows" };
    if (!same_text(asked, recorded, "method")) {
        return NO_ANSWER;
    }
    const char *method = json_string_value(json_object_get(asked, "method"));
    if (qn_text_equal(method, "discover")) {
        bool same = json_equal(json_object_get(asked, "attached"), json_object_get(recorded, "attached")) != 0;
        return same ? VERY_REQUEST : NO_ANSWER;
    }
    if (qn_text_equal(method, "describe")) {
        return VERY_REQUEST;
    }
    if (!same_location(asked, recorded)) {
        return NO_ANSWER;
    }
    bool whole = true;
    bool very = true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const json_t *a = json_object_get(asked, parts[i]);
        const json_t *b = json_object_get(recorded, parts[i]);
        whole = whole && b == NULL;
        very = very && (a == b || json_equal(a, b) != 0);
    }
    return very ? VERY_REQUEST : whole ? WHOLE_LOCATION : NO_ANSWER;
}

/* How much there is of an answer: all, what somebody wanted of it, or what was written before the recording broke off. */
static int completeness(const struct qn_cassette_exchange *exchange)
{
    if (exchange->end == NULL) {
        return 0;
    }
    return json_is_true(json_object_get(exchange->end, "released")) ? 1 : 2;
}

/* The place of the next answer; index.n_exchanges: there is none. Under the lock. */
static size_t choose(struct cassette *cassette, const json_t *asked, enum fit *fit_out)
{
    size_t best = cassette->index.n_exchanges;
    int best_rank = 0;
    for (size_t i = 0; i < cassette->index.n_exchanges; i++) {
        const struct qn_cassette_exchange *exchange = &cassette->index.exchanges[i];
        enum fit fit = cassette->fits[exchange->session] ? fit_of(asked, exchange->ask) : NO_ANSWER;
        if (fit == NO_ANSWER) {
            continue;
        }
        /* In this order: how much there is, how well it fits, not used before; of the used ones the last. */
        int rank = 1 + 4 * completeness(exchange) + (fit == VERY_REQUEST ? 2 : 0) + !cassette->used[i];
        if (rank > best_rank || (rank == best_rank && cassette->used[i])) {
            best = i;
            best_rank = rank;
            *fit_out = fit;
        }
    }
    return best;
}

/* "data of "a", columns ["x"]": for messages. */
static void show(const json_t *ask, struct qn_buffer *out)
{
    static const char *const parts[] = { "attached", "columns", "filter", "limit", "skip_rows" };
    const json_t *location = json_object_get(ask, "location");
    const char *method = json_string_value(json_object_get(ask, "method"));
    put_shown(out, method != NULL ? method : "?", 30);
    if (location != NULL) {
        const char *name = json_string_value(json_object_get(location, "location"));
        const char *version = json_string_value(json_object_get(location, "version"));
        qn_buffer_append_text(out, " of \"");
        put_shown(out, name != NULL ? name : "?", 60);
        if (version != NULL && version[0] != '\0') {
            qn_buffer_append_text(out, "\" version \"");
            put_shown(out, version, 30);
        }
        qn_buffer_append_byte(out, '"');
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const json_t *value = json_object_get(ask, parts[i]);
        if (json_is_array(value) && json_array_size(value) > 4) {
            qn_buffer_printf(out, ", %zu %s", json_array_size(value), parts[i]);
        } else if (value != NULL && !(json_is_array(value) && json_array_size(value) == 0)) {
            qn_auto_free char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
            qn_buffer_printf(out, ", %s ", parts[i]);
            put_shown(out, text != NULL ? text : "", 60);
        }
    }
}

static enum qn_status no_answer(const struct cassette *cassette, const json_t *asked, struct qn_error *err)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    const char *method = json_string_value(json_object_get(asked, "method"));
    size_t shown = 0;
    size_t alike = 0;
    qn_buffer_printf(&text, "cassette \"%s\" has no answer to ", cassette->name);
    show(asked, &text);
    qn_buffer_append_text(&text, "; recorded are: ");
    for (int same = 1; same >= 0 && shown == 0; same--) { /* what was asked by the same method, else anything */
        alike = 0;
        for (size_t i = 0; i < cassette->index.n_exchanges; i++) {
            const json_t *ask = cassette->index.exchanges[i].ask;
            const char *other = json_string_value(json_object_get(ask, "method"));
            if (!cassette->fits[cassette->index.exchanges[i].session] ||
                (same != 0 && (other == NULL || !qn_text_equal(other, method)))) {
                continue;
            }
            if (++alike <= SHOWN) {
                qn_buffer_append_text(&text, shown++ > 0 ? "; " : "");
                show(ask, &text);
            }
        }
    }
    if (alike > shown) {
        qn_buffer_printf(&text, "; and %zu more", alike - shown);
    }
    qn_buffer_append_text(&text, shown == 0 ? "nothing" : "");
    QN_TRY(qn_buffer_check(&text, "a message", err));
    return qn_error_set(err, QN_ERR_QUERY, "%s", qn_buffer_text(&text));
}

/* The answer to a request, which is taken over. */
static enum qn_status answer_to(struct cassette *cassette, json_t *request,
                                const struct qn_cassette_exchange **exchange_out, enum fit *fit_out,
                                struct qn_error *err)
{
    qn_auto_json *asked = request;
    pthread_mutex_lock(&cassette->lock);
    size_t chosen = choose(cassette, asked, fit_out);
    if (chosen < cassette->index.n_exchanges) {
        cassette->used[chosen] = true;
    }
    pthread_mutex_unlock(&cassette->lock);
    if (chosen == cassette->index.n_exchanges) {
        return no_answer(cassette, asked, err);
    }
    *exchange_out = &cassette->index.exchanges[chosen];
    return QN_OK;
}

/* ---- how an exchange ended ---- */

static void copy_text(char *field, size_t size, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    qn__error_copy(field, size, text, text != NULL ? strlen(text) : 0);
}

static enum qn_status replay_error(const json_t *error, struct qn_error *err)
{
    const char *name = json_string_value(json_object_get(error, "status"));
    enum qn_status status = QN_ERR_QUERY;
    for (int code = QN_ERR_NO_MEMORY; code <= QN_ERR_FORBIDDEN; code++) {
        if (name != NULL && qn_text_equal(qn_status_name((enum qn_status)code), name)) {
            status = (enum qn_status)code;
        }
    }
    const char *message = json_string_value(json_object_get(error, "message"));
    qn_error_set(err, status, "%s", message != NULL && message[0] != '\0' ? message : "(no message)");
    if (err != NULL) {
        copy_text(err->detail, sizeof err->detail, error, "detail");
        copy_text(err->hint, sizeof err->hint, error, "hint");
        err->retryable = json_is_true(json_object_get(error, "retryable"));
        json_int_t after = json_integer_value(json_object_get(error, "retry_after_ms"));
        err->retry_after_ms = after > 0 ? after : 0;
    }
    return status;
}

/* What the exchange ended with, after all of its parts. */
static enum qn_status replay_end(const struct cassette *cassette, const struct qn_cassette_exchange *exchange,
                                 struct qn_error *err)
{
    const json_t *error = json_object_get(exchange->end, "error");
    if (exchange->end == NULL || json_is_true(json_object_get(exchange->end, "released"))) {
        return qn_error_set(err, QN_ERR_QUERY, "cassette \"%s\": the recording goes no further: %s", cassette->name,
                            exchange->end == NULL ? "it broke off here" : "no more was wanted then");
    }
    return json_is_object(error) ? replay_error(error, err) : QN_OK;
}

static enum qn_status damaged(const struct cassette *cassette, const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "cassette \"%s\" is damaged: %s", cassette->name, what);
}

/* A failure of reading a part, with the file's name. */
static enum qn_status unread(const struct cassette *cassette, enum qn_status status, struct qn_error *err)
{
    qn_error_prefix(err, "cassette \"%s\"", cassette->name);
    return status;
}

/* ---- discover, stable_url, describe ---- */

static enum qn_status discover_part(const struct cassette *cassette, const struct qn_cassette_part *part,
                                    qn_location_callback each, void *context, struct qn_error *err)
{
    qn_auto_json *reply = NULL;
    const char *next;
    if (part->kind != QN_CASSETTE_REPLY) {
        return damaged(cassette, "there is data in an answer to discover", err);
    }
    enum qn_status status = qn_cassette_part_json(cassette->fd, part, &reply, err);
    return status == QN_OK ? qn_locations_read(reply, each, context, &next, err) : unread(cassette, status, err);
}

static enum qn_status cassette_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                        void *each_context, struct qn_error *err)
{
    struct cassette *cassette = self;
    const struct qn_cassette_exchange *exchange;
    enum fit fit;
    json_t *ask;
    QN_TRY(qn_cassette_ask_discover(attached, n, &ask, err));
    QN_TRY(answer_to(cassette, ask, &exchange, &fit, err));
    for (size_t i = 0; i < exchange->n_parts; i++) {
        QN_TRY(discover_part(cassette, &exchange->parts[i], each, each_context, err));
    }
    return replay_end(cassette, exchange, err);
}

static enum qn_status cassette_stable_url(void *self, const struct qn_location *location, char **out,
                                          struct qn_error *err)
{
    struct cassette *cassette = self;
    const struct qn_cassette_exchange *exchange;
    enum fit fit;
    json_t *ask;
    QN_TRY(qn_cassette_ask_stable_url(location, &ask, err));
    QN_TRY(answer_to(cassette, ask, &exchange, &fit, err));
    QN_TRY(replay_end(cassette, exchange, err));
    const char *url = json_string_value(json_object_get(exchange->end, "url"));
    *out = qn_strdup(url);
    return url == NULL || *out != NULL ? QN_OK : qn__no_memory(err);
}

/* What was recorded last; without it, what any cassette is. */
static enum qn_status cassette_describe(void *self, char **out, struct qn_error *err)
{
    struct cassette *cassette = self;
    const json_t *said = NULL;
    const json_t *name = NULL;
    for (size_t i = 0; i < cassette->index.n_exchanges; i++) {
        const struct qn_cassette_exchange *exchange = &cassette->index.exchanges[i];
        const json_t *description = json_object_get(exchange->end, "description");
        said = cassette->fits[exchange->session] && json_is_object(description) ? description : said;
    }
    for (size_t i = 0; i < cassette->index.n_sessions; i++) {
        const json_t *named = json_object_get(cassette->index.sessions[i], "name");
        name = cassette->fits[i] && json_is_string(named) ? named : name;
    }
    qn_auto_json *made =
        said != NULL
            ? NULL
            : json_pack("{s:s, s:{s:s}, s:[ss], s:s}", "name", name != NULL ? json_string_value(name) : cassette->name,
                        "arguments", "type", "object", "capabilities", "pages", "stable_order", "protocol", "cassette");
    *out = json_dumps(said != NULL ? said : made, JSON_COMPACT);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status cassette_capabilities(void *self, uint32_t *out, struct qn_error *err)
{
    (void)self;
    (void)err;
    *out = 1U << QN_CAN_RESUME | 1U << QN_CAN_DISCOVER_MUCH;
    return QN_OK;
}

/* ---- data ---- */

struct replay {
    struct cassette *cassette;
    const struct qn_cassette_exchange *exchange;
    struct qn_ipc_decoder *decoder;
    size_t next; /* part */
    int64_t rows;
};

static enum qn_status replay_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct replay *replay = self;
    return qn_schema_copy(qn_ipc_decoder_schema(replay->decoder), out, err);
}

/* The end is what the recording says it is. */
static enum qn_status check_rows(const struct replay *replay, struct qn_error *err)
{
    QN_TRY(replay_end(replay->cassette, replay->exchange, err));
    const json_t *rows = json_object_get(replay->exchange->end, "rows");
    return json_is_integer(rows) && json_integer_value(rows) == replay->rows
               ? QN_OK
               : damaged(replay->cassette, "the rows of an answer are not as many as it says", err);
}

static enum qn_status replay_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct replay *replay = self;
    if (replay->next == replay->exchange->n_parts) {
        return check_rows(replay, err);
    }
    const struct qn_cassette_part *part = &replay->exchange->parts[replay->next++];
    void *bytes;
    if (part->kind != QN_CASSETTE_ARROW) {
        return damaged(replay->cassette, "an answer has no data where it should", err);
    }
    enum qn_status status = qn_cassette_part_read(replay->cassette->fd, part, &bytes, err);
    if (status == QN_OK) {
        const struct qn_ipc_owner owner = { .release = qn_free, .context = bytes };
        status = qn_ipc_decode_batch(replay->decoder, bytes, part->size, owner, out, err);
    }
    if (status != QN_OK) {
        return unread(replay->cassette, status, err);
    }
    replay->rows += out->length;
    return QN_OK;
}

static void replay_free(void *self)
{
    struct replay *replay = self;
    qn_ipc_decoder_free(replay->decoder);
    drop(replay->cassette);
    qn_free(replay);
}

/* The schema, which comes first. */
static enum qn_status read_schema(struct replay *replay, struct qn_error *err)
{
    qn_auto_free void *bytes = NULL;
    const struct qn_cassette_part *part = &replay->exchange->parts[replay->next++];
    enum qn_status status = qn_ipc_decoder_new(QN_CASSETTE_MAX_ARROW, &replay->decoder, err);
    if (status == QN_OK) {
        status = qn_cassette_part_read(replay->cassette->fd, part, &bytes, err);
    }
    if (status == QN_OK) {
        status = qn_ipc_decode_schema(replay->decoder, bytes, part->size, err);
    }
    return status == QN_OK ? QN_OK : unread(replay->cassette, status, err);
}

static enum qn_status begin_replay(struct cassette *cassette, const struct qn_cassette_exchange *exchange,
                                   struct ArrowArrayStream *out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { replay_schema, replay_next, replay_free };
    struct replay *replay = qn_calloc(1, sizeof *replay);
    if (replay == NULL) {
        return qn__no_memory(err);
    }
    *replay = (struct replay){ .cassette = cassette, .exchange = exchange, .next = 1 };
    atomic_fetch_add(&cassette->references, 1);
    enum qn_status status = read_schema(replay, err);
    if (status == QN_OK) {
        status = qn_stream_make(&ops, replay, out, err);
    }
    if (status != QN_OK) {
        replay_free(replay);
    }
    return status;
}

static enum qn_status cassette_data(void *self, const struct qn_location *location,
                                    const struct qn_data_request *request, struct ArrowArrayStream *out,
                                    uint32_t *applied_out, struct qn_error *err)
{
    struct cassette *cassette = self;
    const struct qn_cassette_exchange *exchange;
    qn_auto_json *reply = NULL;
    enum fit fit;
    json_t *ask;
    QN_TRY(qn_cassette_ask_data(location, request, &ask, err));
    QN_TRY(answer_to(cassette, ask, &exchange, &fit, err));
    if (exchange->n_parts == 0) { /* it failed, or nothing more was written */
        QN_TRY(replay_end(cassette, exchange, err));
        return damaged(cassette, "an answer to data has no beginning", err);
    }
    enum qn_status status = exchange->parts[0].kind == QN_CASSETTE_REPLY
                                ? qn_cassette_part_json(cassette->fd, &exchange->parts[0], &reply, err)
                                : damaged(cassette, "an answer to data has no beginning", err);
    if (status != QN_OK) {
        return reply == NULL && exchange->parts[0].kind == QN_CASSETTE_REPLY ? unread(cassette, status, err) : status;
    }
    json_int_t applied = json_integer_value(json_object_get(reply, "applied"));
    *applied_out = fit == VERY_REQUEST && applied > 0 && applied < 16 ? (uint32_t)applied : 0;
    if (json_is_true(json_object_get(reply, "data"))) {
        if (exchange->n_parts == 1) {
            QN_TRY(replay_end(cassette, exchange, err));
            return damaged(cassette, "an answer to data has no schema", err);
        }
        return begin_replay(cassette, exchange, out, err);
    }
    out->release = NULL;
    return replay_end(cassette, exchange, err);
}

const struct qn_connector_runtime qn__runtime_cassette = {
    .struct_size = sizeof(struct qn_connector_runtime),
    .abi = QN_CONNECTOR_ABI,
    .name = "cassette",
    .open = cassette_open,
    .close = cassette_close,
    .discover = cassette_discover,
    .data = cassette_data,
    .stable_url = cassette_stable_url,
    .describe = cassette_describe,
    .capabilities = cassette_capabilities,
};
