/*
 * connect.c: opening, closing, abandoning and cancelling: the only file that calls libpq.
 *
 * libpq does addresses, TLS in every sslmode, SCRAM, .pgpass, service files and several hosts; we wait for it in our own
 * poll loop. Before the socket is taken over one statement goes through libpq (the barrier): when its ReadyForQuery has
 * come, nothing of the dialogue is left in libpq's buffer.
 *
 * Threads: one at a time; qn_pg_cancel from any, on the immutable key.
 */
#include "db/postgres/postgres.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/config.h"
#include "os/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS (30 * INT64_C(1000))
#define MAX_KEYWORDS       128

/* Keywords and values for PQconnectStartParams: borrowed from the configuration, but for `options`. */
struct keywords {
    const char *names[MAX_KEYWORDS + 1];
    const char *values[MAX_KEYWORDS + 1];
    int n;
    struct qn_buffer options;
    int64_t timeout_ms, statement_timeout_ms;
};

static void keywords_set(struct keywords *keywords, const char *name, const char *value)
{
    for (int i = 0; i < keywords->n; i++) {
        if (qn_text_equal(keywords->names[i], name)) {
            keywords->values[i] = value;
            return;
        }
    }
    if (keywords->n < MAX_KEYWORDS) {
        keywords->names[keywords->n] = name;
        keywords->values[keywords->n++] = value;
    }
}

static bool keywords_have(const struct keywords *keywords, const char *name)
{
    for (int i = 0; i < keywords->n; i++) {
        if (qn_text_equal(keywords->names[i], name)) {
            return true;
        }
    }
    return false;
}

/* libpq's word for a key of the configuration, or NULL where libpq has no such parameter. */
static const char *libpq_keyword(const PQconninfoOption *known, const char *key)
{
    static const char *const renamed[][2] = { { "database", "dbname" }, { "username", "user" } };
    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0]; i++) {
        if (qn_text_equal(key, renamed[i][0])) {
            key = renamed[i][1];
        }
    }
    for (; known->keyword != NULL; known++) {
        if (qn_text_equal(known->keyword, key)) {
            return known->keyword;
        }
    }
    return NULL;
}

/* Keys that are the engine's own and mean nothing to the server. */
static bool engine_key(const char *key)
{
    static const char *const keys[] = { "type",      "timeout",   "connect_timeout", "statement_timeout",
                                        "read_only", "pool_size", "options",         "client_encoding" };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (qn_text_equal(key, keys[i])) {
            return true;
        }
    }
    return false;
}

static enum qn_status keywords_engine(struct keywords *keywords, const struct qn_config *config, struct qn_error *err)
{
    const char *encoding = qn_config_get(config, "client_encoding");
    if (encoding != NULL && !qn_text_equal_nocase(encoding, "utf8") && !qn_text_equal_nocase(encoding, "utf-8") &&
        !qn_text_equal_nocase(encoding, "auto")) {
        return qn_error_set(err, QN_ERR_CONFIG, "client_encoding \"%s\": only UTF8 is possible", encoding);
    }
    QN_TRY(qn_config_duration_ms(config, "connect_timeout", CONNECT_TIMEOUT_MS, &keywords->timeout_ms, err));
    QN_TRY(qn_config_duration_ms(config, "timeout", keywords->timeout_ms, &keywords->timeout_ms, err));
    QN_TRY(qn_config_duration_ms(config, "statement_timeout", 0, &keywords->statement_timeout_ms, err));
    bool read_only = false;
    QN_TRY(qn_config_bool(config, "read_only", false, &read_only, err));
    if (keywords->statement_timeout_ms > INT32_MAX) {
        return qn_error_set(err, QN_ERR_CONFIG, "statement_timeout: more than %d ms", INT32_MAX);
    }
    const char *given = qn_config_get(config, "options");
    qn_buffer_append_text(&keywords->options, given != NULL ? given : "");
    if (read_only) {
        qn_buffer_append_text(&keywords->options, " -c default_transaction_read_only=on");
    }
    if (keywords->statement_timeout_ms > 0) {
        qn_buffer_printf(&keywords->options, " -c statement_timeout=%lld", (long long)keywords->statement_timeout_ms);
    }
    QN_TRY(qn_buffer_check(&keywords->options, "the connection's options", err));
    if (keywords->options.size > 0) {
        keywords_set(keywords, "options", qn_buffer_text(&keywords->options));
    }
    return QN_OK;
}

static enum qn_status keywords_fill(struct keywords *keywords, const PQconninfoOption *known,
                                    const struct qn_config *config, struct qn_error *err)
{
    const char *key = NULL;
    const char *value = NULL;
    for (size_t i = 0; qn_config_at(config, i, &key, &value); i++) {
        if (engine_key(key)) {
            continue;
        }
        const char *keyword = libpq_keyword(known, key);
        if (keyword == NULL || keywords->n >= MAX_KEYWORDS - 8) {
            enum qn_status status =
                qn_error_set(err, QN_ERR_CONFIG, "option \"%s\" is not one that a PostgreSQL connection has", key);
            qn_error_hint(err, "options are timeout, statement_timeout, read_only, application_name and the connection "
                               "parameters of libpq (sslmode, sslrootcert, target_session_attrs, ...)");
            return status;
        }
        keywords_set(keywords, keyword, value);
    }
    if (!keywords_have(keywords, "application_name")) {
        keywords_set(keywords, "fallback_application_name", "qanat");
    }
    if (!keywords_have(keywords, "gssencmode")) {
        keywords_set(keywords, "gssencmode", "disable");
    }
    keywords_set(keywords, "client_encoding", "UTF8");
    return keywords_engine(keywords, config, err);
}

/* ---- errors of the connect phase ---- */

/* libpq gives a text only. With verbosity "verbose" a server's part of it reads "FATAL:  28P01: password ..." and ends in
 * a LOCATION line: the state is taken out, the line is dropped, lines are joined. */
static void connect_message(const char *text, char *out, size_t size, char sqlstate[6])
{
    size_t used = 0;
    sqlstate[0] = 0;
    while (*text != 0) {
        const char *end = strchrnul(text, '\n');
        if (strncmp(text, "LOCATION:", 9) != 0 && end > text) {
            if (used > 0 && used + 2 < size) {
                memcpy(out + used, "; ", 2);
                used += 2;
            }
            for (const char *c = text; c < end && used + 1 < size; c++) {
                bool state = end - c > 9 && memcmp(c, ":  ", 3) == 0 && c[8] == ':';
                for (int i = 3; state && i < 8; i++) {
                    state = qn_ascii_digit(c[i]) || (c[i] >= 'A' && c[i] <= 'Z');
                }
                if (state) {
                    memcpy(sqlstate, c + 3, 5);
                    sqlstate[5] = 0;
                    c += 8; /* keeps the second colon */
                }
                out[used++] = *c == '\t' || *c == '\r' ? ' ' : *c;
            }
        }
        text = *end != 0 ? end + 1 : end;
    }
    out[used] = 0;
}

static bool any_of(const char *text, const char *const *pieces)
{
    for (; *pieces != NULL; pieces++) {
        if (strstr(text, *pieces) != NULL) {
            return true;
        }
    }
    return false;
}

static enum qn_status connect_failed(PGconn *conn, struct qn_error *err)
{
    static const char *const wrong[] = { "invalid sslmode value",
                                         "invalid port number",
                                         "invalid integer value",
                                         "invalid connection option",
                                         "invalid channel_binding",
                                         "invalid gssencmode",
                                         "invalid target_session_attrs",
                                         "definition of service",
                                         "could not match",
                                         "service file \"",
                                         "invalid ssl_",
                                         "ssl_min_protocol",
                                         NULL };
    static const char *const lasting[] = { "SSL",
                                           "certificate",
                                           "Name or service not known",
                                           "no password supplied",
                                           "does not support",
                                           "No such file",
                                           "Permission denied",
                                           NULL };
    char text[900];
    char sqlstate[6];
    connect_message(PQerrorMessage(conn), text, sizeof text, sqlstate);
    bool retryable = false;
    if (sqlstate[0] != 0) {
        (void)qn_pg_status_of(sqlstate, &retryable);
    } else if (any_of(text, wrong)) {
        return qn_error_set(err, QN_ERR_CONFIG, "cannot connect: %s", text);
    } else {
        bool password = strstr(text, "no password supplied") != NULL;
        memcpy(sqlstate, password ? "28000" : "08001", sizeof sqlstate);
        retryable = !any_of(text, lasting) || strstr(text, "SSL SYSCALL error: EOF") != NULL;
    }
    enum qn_status status = qn_error_set(err, QN_ERR_CONNECTION, "cannot connect: %s", text);
    if (err != NULL) {
        err->retryable = retryable;
        QN_ERROR_COPY(err->sqlstate, sqlstate, 5);
    }
    return status;
}

static enum qn_status connect_timed_out(const PGconn *conn, int64_t timeout_ms, struct qn_error *err)
{
    const char *host = PQhost(conn);
    const char *port = PQport(conn);
    enum qn_status status =
        qn_error_set(err, QN_ERR_CONNECTION, "cannot connect to \"%s\", port %s: no answer within %.3g s",
                     host != NULL ? host : "", port != NULL ? port : "", (double)timeout_ms / 1000.0);
    if (err != NULL) {
        err->retryable = true;
        QN_ERROR_COPY(err->sqlstate, "08001", 5);
    }
    return status;
}

/* ---- the connect phase ---- */

static enum qn_status wait_for(PGconn *conn, short events, int64_t deadline, int64_t timeout_ms, struct qn_error *err)
{
    enum qn_status status = qn_poll_one(PQsocket(conn), events, deadline, err);
    return status == QN_ERR_TIMEOUT ? connect_timed_out(conn, timeout_ms, err) : status;
}

static enum qn_status establish(PGconn *conn, int64_t timeout_ms, int64_t deadline, struct qn_error *err)
{
    if (PQstatus(conn) == CONNECTION_BAD) {
        return connect_failed(conn, err);
    }
    (void)PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    while (step != PGRES_POLLING_OK) {
        if (step == PGRES_POLLING_FAILED) {
            return connect_failed(conn, err);
        }
        short events = step == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        QN_TRY(wait_for(conn, events, deadline, timeout_ms, err));
        step = PQconnectPoll(conn);
    }
    return QN_OK;
}

/* Text forms must read the same whatever the server's defaults are. */
static const char *barrier_statement(PGconn *conn)
{
    const char *date = PQparameterStatus(conn, "DateStyle");
    const char *interval = PQparameterStatus(conn, "IntervalStyle");
    bool iso = date != NULL && strncmp(date, "ISO", 3) == 0;
    bool plain = interval == NULL || qn_text_equal(interval, "postgres");
    return iso && plain ? "" : "set datestyle to iso; set intervalstyle to postgres";
}

/* One statement through libpq, after which nothing of the dialogue is under way. */
static enum qn_status barrier(PGconn *conn, int64_t timeout_ms, int64_t deadline, struct qn_error *err)
{
    if (PQsetnonblocking(conn, 1) != 0 || PQsendQuery(conn, barrier_statement(conn)) == 0) {
        return connect_failed(conn, err);
    }
    for (int unsent = PQflush(conn); unsent != 0; unsent = PQflush(conn)) {
        if (unsent < 0) {
            return connect_failed(conn, err);
        }
        QN_TRY(wait_for(conn, POLLOUT, deadline, timeout_ms, err));
    }
    for (;;) {
        while (PQisBusy(conn) != 0) {
            QN_TRY(wait_for(conn, POLLIN, deadline, timeout_ms, err));
            if (PQconsumeInput(conn) == 0) {
                return connect_failed(conn, err);
            }
        }
        PGresult *result = PQgetResult(conn);
        if (result == NULL) {
            break;
        }
        ExecStatusType kind = PQresultStatus(result);
        PQclear(result);
        if (kind != PGRES_EMPTY_QUERY && kind != PGRES_COMMAND_OK) {
            return connect_failed(conn, err);
        }
    }
    return PQtransactionStatus(conn) == PQTRANS_IDLE ? QN_OK : connect_failed(conn, err);
}

/* From here on the socket is ours. */
static enum qn_status take_over(struct qn_pg *pg, struct qn_error *err)
{
    PGconn *conn = pg->pg;
    if (PQgssEncInUse(conn) != 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED,
                            "GSSAPI encryption is not supported: use TLS (gssencmode=disable)");
    }
    if (PQprotocolVersion(conn) != 3 || PQserverVersion(conn) < 100000) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "the server's version %d is older than PostgreSQL 10",
                            PQserverVersion(conn));
    }
    const char *encoding = PQparameterStatus(conn, "client_encoding");
    if (encoding == NULL || !qn_text_equal_nocase(encoding, "UTF8")) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "the server speaks %s to us, not UTF8",
                            encoding != NULL ? encoding : "an unknown encoding");
    }
    pg->fd = PQsocket(conn);
    pg->ssl = PQgetssl(conn);
    pg->transport = &qn__pg_plain;
    if (pg->ssl != NULL) {
        pg->transport = &qn__pg_tls;
        (void)SSL_set_mode(pg->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    } else if (PQsslInUse(conn) != 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "libpq's TLS library is not OpenSSL");
    }
    int flags = fcntl(pg->fd, F_GETFL);
    if (flags < 0 || fcntl(pg->fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        return qn_error_set(err, QN_ERR_IO, "cannot make the socket non-blocking: errno %d", errno);
    }
    pg->server_version = PQserverVersion(conn);
    pg->transaction_status = 'I';
    pg->cancel_key = PQgetCancel(conn);
    return pg->cancel_key != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status open_with(struct qn_pg *pg, struct keywords *keywords, struct qn_error *err)
{
    int64_t deadline = qn_deadline_after_ms(keywords->timeout_ms);
    pg->pg = PQconnectStartParams(keywords->names, keywords->values, 0);
    if (pg->pg == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(establish(pg->pg, keywords->timeout_ms, deadline, err));
    QN_TRY(barrier(pg->pg, keywords->timeout_ms, deadline, err));
    QN_TRY(take_over(pg, err));
    pg->statement_timeout_ms = keywords->statement_timeout_ms;
    /* Behind a pooler that shares servers our statement names must not meet those of others. */
    if (RAND_bytes((unsigned char *)&pg->statement_seed, sizeof pg->statement_seed) != 1) {
        pg->statement_seed = (uint64_t)qn_clock_nanos();
    }
    QN_LOG(QN_LOG_INFO, "postgres", "connected to %s port %s, server version %d, %s", PQhost(pg->pg), PQport(pg->pg),
           pg->server_version, pg->ssl != NULL ? SSL_get_version(pg->ssl) : "no TLS");
    return QN_OK;
}

enum qn_status qn_pg_open(const struct qn_config *config, struct qn_pg **out, struct qn_error *err)
{
    PQconninfoOption *known = PQconndefaults();
    struct qn_pg *pg = qn_calloc(1, sizeof *pg);
    struct keywords *keywords = qn_calloc(1, sizeof *keywords);
    enum qn_status status = QN_OK;
    if (known == NULL || pg == NULL || keywords == NULL) {
        status = qn__no_memory(err);
    } else {
        pg->fd = -1;
        pg->out.limit = QN_PG_MAX_SENT;
        pg->deadline = QN_NO_DEADLINE;
        status = keywords_fill(keywords, known, config, err);
    }
    if (status == QN_OK) {
        status = open_with(pg, keywords, err);
    }
    if (keywords != NULL) {
        qn_buffer_dispose(&keywords->options);
        qn_free(keywords);
    }
    PQconninfoFree(known);
    if (status == QN_OK) {
        *out = pg;
    } else {
        qn_pg_close(pg);
    }
    return status;
}

/* ---- the end ---- */

static void pg_free(struct qn_pg *pg)
{
    PQfreeCancel(pg->cancel_key);
    qn_pg_forget_all(pg);
    while (pg->notifications != NULL) {
        struct qn_pg_notification *next = pg->notifications->next;
        qn_free(pg->notifications);
        pg->notifications = next;
    }
    for (int32_t i = 0; i < pg->n_type_names; i++) {
        qn_free(pg->type_names[i].name);
    }
    qn_free(pg->type_names);
    qn_buffer_dispose(&pg->out);
    qn_free(pg->in);
    qn_free(pg);
}

void qn_pg_close(struct qn_pg *pg)
{
    if (pg == NULL) {
        return;
    }
    PQfinish(pg->pg);
    pg_free(pg);
}

void qn_pg_abandon(struct qn_pg *pg)
{
    if (pg == NULL) {
        return;
    }
    /* PQfinish says goodbye to whatever the descriptor is: the parent's session must not hear it. So the number is first
     * made to stand for nothing; where not even that is possible libpq's struct is left behind. */
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing >= 0 && pg->fd >= 0 && dup2(nothing, pg->fd) == pg->fd) {
        PQfinish(pg->pg);
    } else if (pg->fd >= 0) {
        (void)close(pg->fd);
    }
    if (nothing >= 0) {
        (void)close(nothing);
    }
    pg_free(pg);
}

enum qn_status qn_pg_cancel(struct qn_pg *pg, struct qn_error *err)
{
    if (pg->cancel_key == NULL) {
        return QN_OK;
    }
    __atomic_store_n(&pg->cancel_asked, 1, __ATOMIC_RELEASE);
    char text[256] = "";
    if (PQcancel(pg->cancel_key, text, sizeof text) == 1) {
        return QN_OK;
    }
    text[strcspn(text, "\n")] = 0;
    enum qn_status status = qn_error_set(err, QN_ERR_CONNECTION, "cannot send a cancel request: %s", text);
    if (err != NULL) {
        err->retryable = true;
    }
    return status;
}
