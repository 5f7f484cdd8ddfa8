/*
 * http_fetch.c: what a server says of a target, and its bytes, however often the transfer breaks.
 *
 * A transfer that broke is resumed from where it is, with If-Range and the validator of what is there, as long as each
 * attempt brings something. Without a validator, or where bytes are compressed on the line, it is the caller's to begin
 * again. The version is the ETag, otherwise the time of the last modification, which is of whole seconds.
 */
#include "base/log.h"
#include "base/text.h"
#include "connector/builtin.h"
#include "connector/http_transfer.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void read_version(const struct qn_http_exchange *exchange, char *out, size_t size)
{
    out[0] = '\0';
    if (exchange->etag[0] != '\0') {
        (void)snprintf(out, size, "etag:%s", exchange->etag);
    } else if (exchange->modified[0] != '\0') {
        (void)snprintf(out, size, "modified:%s", exchange->modified);
    }
}

static void read_facts(const struct qn_http_exchange *exchange, struct qn_reference_facts *facts)
{
    facts->size = exchange->encoded ? -1 : exchange->total;
    read_version(exchange, facts->version, sizeof facts->version);
    memcpy(facts->content_type, exchange->content_type, sizeof facts->content_type);
}
_Static_assert(sizeof((struct qn_http_exchange *)0)->content_type ==
                   sizeof((struct qn_reference_facts *)0)->content_type,
               "copied as they are");

static int64_t deadline_of(const struct qn_http *http)
{
    return qn_deadline_after_ms(http->time_limit_ms);
}

/* ---- looking ---- */

/* Servers that do not have HEAD, or do not sign it, say so in many ways. */
static bool head_is_refused(const struct qn_http_exchange *exchange)
{
    int status = exchange->status;
    return status == 400 || status == 403 || status == 404 || status == 405 || status == 500 || status == 501 ||
           (status == 0 && exchange->broken);
}

enum qn_status qn_http_look(const struct qn_http *http, struct qn_reference_facts *facts, struct qn_error *err)
{
    struct qn_http_exchange exchange = { .http = http, .kind = QN_HTTP_HEAD, .fd = -1 };
    enum qn_status status = qn__http_exchange(&exchange, deadline_of(http), err);
    if (status != QN_OK && head_is_refused(&exchange)) {
        exchange = (struct qn_http_exchange){ .http = http, .kind = QN_HTTP_FIRST, .first = 1, .fd = -1 };
        status = qn__http_exchange(&exchange, deadline_of(http), err);
    }
    QN_TRY(status);
    read_facts(&exchange, facts);
    return QN_OK;
}

enum qn_status qn_http_head(const struct qn_http *http, char *head, size_t size, size_t *used_out, struct qn_error *err)
{
    struct qn_http_exchange exchange = {
        .http = http, .kind = QN_HTTP_FIRST, .first = size < HTTP_PIECE ? (int64_t)size : HTTP_PIECE, .fd = -1
    };
    QN_TRY(qn__http_exchange(&exchange, deadline_of(http), err));
    size_t used = exchange.status == 416 ? 0 : exchange.piece_size < size ? exchange.piece_size : size;
    memcpy(head, exchange.piece, used);
    *used_out = used;
    return QN_OK;
}

/* ---- fetching ---- */

/* What If-Range may hold: a strong ETag, or a date. */
static const char *validator(const struct qn_http_exchange *exchange)
{
    if (exchange->etag[0] != '\0') {
        return strncmp(exchange->etag, "W/", 2) != 0 ? exchange->etag : NULL;
    }
    return exchange->modified[0] != '\0' ? exchange->modified : NULL;
}

static enum qn_status changed(const struct qn_http *http, const char *before, const char *now, struct qn_error *err)
{
    (void)qn_error_set(err, QN_ERR_CONNECTION, "%.200s: it changed since it was discovered: version %.120s, now %.120s",
                       http->shown, before, now[0] != '\0' ? now : "unknown");
    qn_error_hint(err, "discover it again; where every reply has a version of its own, give the argument "
                       "\"version\" as \"none\"");
    return QN_ERR_CONNECTION;
}

/* What is known of the bytes that are in the file. */
struct known {
    char etag[sizeof((struct qn_http_exchange *)0)->etag];
    char modified[sizeof((struct qn_http_exchange *)0)->modified];
    char content_type[sizeof((struct qn_http_exchange *)0)->content_type];
    int64_t total;
};

/* The rest has come, or more of it: is it of the same resource? What such a reply leaves out is as it was. */
static enum qn_status same_resource(struct qn_http_exchange *exchange, const struct known *known, struct qn_error *err)
{
    bool other = (exchange->etag[0] != '\0' && !qn_text_equal(exchange->etag, known->etag)) ||
                 (exchange->modified[0] != '\0' && !qn_text_equal(exchange->modified, known->modified)) ||
                 (exchange->total >= 0 && known->total >= 0 && exchange->total != known->total);
    if (other) {
        (void)qn_error_set(err, QN_ERR_CONNECTION, "%.400s: it changed while it was read", exchange->http->shown);
        if (err != NULL) {
            err->retryable = true;
        }
        return QN_ERR_CONNECTION;
    }
    memcpy(exchange->etag, known->etag, sizeof known->etag);
    memcpy(exchange->modified, known->modified, sizeof known->modified);
    memcpy(exchange->content_type, known->content_type, sizeof known->content_type);
    exchange->total = exchange->total >= 0 ? exchange->total : known->total;
    return QN_OK;
}

static void keep_known(const struct qn_http_exchange *exchange, struct known *known)
{
    memcpy(known->etag, exchange->etag, sizeof known->etag);
    memcpy(known->modified, exchange->modified, sizeof known->modified);
    memcpy(known->content_type, exchange->content_type, sizeof known->content_type);
    known->total = exchange->total;
}

/* Whether to go on from where a transfer broke. */
static bool is_resumable(const struct qn_http_exchange *exchange, int64_t before, int resumes)
{
    return exchange->broken && exchange->begun && !exchange->encoded && validator(exchange) != NULL &&
           !qn_text_equal(exchange->http->method, "POST") && exchange->written > before && resumes < HTTP_MAX_RESUMES;
}

/* One attempt after another into `fd`; `exchange` is the last one. */
static enum qn_status transfer(const struct qn_http *http, int fd, struct qn_http_exchange *exchange,
                               struct qn_error *err)
{
    struct known known = { .total = -1 };
    char if_range[sizeof known.etag] = "";
    int64_t deadline = deadline_of(http);
    *exchange = (struct qn_http_exchange){ .http = http, .kind = QN_HTTP_BODY, .fd = fd };
    for (int resumes = 0;; resumes++) {
        int64_t before = exchange->offset;
        enum qn_status status = qn__http_exchange(exchange, deadline, err);
        if (before > 0 && exchange->status == 206 && exchange->begun) {
            QN_TRY(same_resource(exchange, &known, err));
        }
        if (status == QN_OK && before > 0 && exchange->status == 416) {
            return qn_error_set(err, QN_ERR_PROTOCOL, "%.400s: the server has no bytes from %lld on any more",
                                http->shown, (long long)before);
        }
        if (status == QN_OK || !is_resumable(exchange, exchange->offset == 0 ? 0 : before, resumes)) {
            return status;
        }
        keep_known(exchange, &known);
        (void)snprintf(if_range, sizeof if_range, "%s", validator(exchange));
        QN_LOG(QN_LOG_INFO, "http", "%s: resumed after %lld bytes", http->shown, (long long)exchange->written);
        exchange->offset = exchange->written;
        exchange->if_range = if_range;
    }
}

/* What came is as long as the server said. */
static enum qn_status check_length(const struct qn_http_exchange *exchange, struct qn_error *err)
{
    if (exchange->encoded || exchange->total < 0 || exchange->written == exchange->total) {
        return QN_OK;
    }
    (void)qn_error_set(err, QN_ERR_CONNECTION, "%.400s: %lld of %lld bytes came", exchange->http->shown,
                       (long long)exchange->written, (long long)exchange->total);
    if (err != NULL) {
        err->retryable = !qn_text_equal(exchange->http->method, "POST");
    }
    return QN_ERR_CONNECTION;
}

enum qn_status qn_http_fetch(const struct qn_http *http, const char *version, int *fd_out,
                             struct qn_reference_facts *facts, struct qn_error *err)
{
    struct qn_http_exchange exchange;
    struct qn_reference_facts found;
    int fd = -1;
    QN_TRY(qn_spool_open(&fd, err));
    enum qn_status status = transfer(http, fd, &exchange, err);
    status = status == QN_OK ? check_length(&exchange, err) : status;
    if (status == QN_OK) {
        read_facts(&exchange, &found);
        found.size = exchange.written;
        if (version != NULL && version[0] != '\0' && !qn_text_equal(version, found.version)) {
            status = changed(http, version, found.version, err);
        }
    }
    if (status == QN_OK && lseek(fd, 0, SEEK_SET) != 0) {
        status = qn_error_set(err, QN_ERR_IO, "the temporary file cannot be read from its beginning");
    }
    if (status != QN_OK) {
        (void)close(fd);
        return status;
    }
    *fd_out = fd;
    if (facts != NULL) {
        *facts = found;
    }
    return QN_OK;
}
