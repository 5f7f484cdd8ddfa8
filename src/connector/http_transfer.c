/*
 * http_transfer.c: see http_transfer.h. libcurl moves the bytes; redirects, limits, silence and interrupts are ours.
 *
 * Redirects are not left to libcurl: it would send the caller's headers to wherever a server points. Where the host, port
 * or scheme changes, user information and all headers that could be secrets stay behind.
 */
#include "connector/http_transfer.h"

#include "base/memory.h"
#include "base/text.h"
#include "connector/builtin.h"
#include "os/clock.h"
#include "os/file.h"

#include <errno.h>
#include <pthread.h>
#include <qanat/plugin/driver.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define SLICE_MS            50
#define NANOS_PER_MS        INT64_C(1000000)
#define MAX_RETRY_AFTER_MS  (INT64_C(24) * 3600 * 1000)
#define CONNECT_DEFAULT_SEC 300
#define MAX_DROPPED         ((size_t)1 << 20) /* bytes of the bodies of redirects */

/* ---- what comes ---- */

static size_t fail(struct qn_http_exchange *exchange, enum qn_status status)
{
    exchange->failure = status;
    return 0; /* not the number of bytes: libcurl ends the transfer */
}

static void copy_value(char *field, size_t size, const char *value, size_t value_size)
{
    char shown[512];
    (void)snprintf(field, size, "%s", qn_shown(value, value_size, shown, sizeof shown));
}
#define COPY_VALUE(field, value, size) copy_value((field), sizeof(field), (value), (size))

/* A validator or type that is not whole, or has bytes that it may not, is none. */
static void keep_exact(char *field, size_t size, const char *value, size_t value_size)
{
    bool right = value_size < size;
    for (size_t i = 0; right && i < value_size; i++) {
        right = (unsigned char)value[i] >= 0x20 && (unsigned char)value[i] < 0x7f;
    }
    memcpy(field, right ? value : "", right ? value_size : 0);
    field[right ? value_size : 0] = '\0';
}
#define KEEP_EXACT(field, value, size) keep_exact((field), sizeof(field), (value), (size))

/* "bytes 5-99/100", "bytes 5-99/" and a star, "bytes" with a star and "/100". */
static void read_content_range(struct qn_http_exchange *exchange, const char *value, size_t size)
{
    char text[128];
    long long start = -1;
    long long end = -1;
    long long total = -1;
    KEEP_EXACT(text, value, size);
    if (sscanf(text, "bytes %lld-%lld/%lld", &start, &end, &total) >= 2) {
        exchange->range_start = start;
        exchange->total = total;
    } else if (sscanf(text, "bytes */%lld", &total) == 1) {
        exchange->total = total;
    }
}

/* Seconds, or the date when. */
static void read_retry_after(struct qn_http_exchange *exchange, const char *value, size_t size)
{
    char text[128];
    long long seconds = 0;
    KEEP_EXACT(text, value, size);
    if (!qn_text_to_int64(text, 0, MAX_RETRY_AFTER_MS / 1000, &seconds)) {
        time_t at = curl_getdate(text, NULL);
        seconds = at >= 0 ? (long long)(at - time(NULL)) : 0;
    }
    seconds = seconds < 0 ? 0 : seconds;
    exchange->retry_after_ms = seconds * 1000 < MAX_RETRY_AFTER_MS ? seconds * 1000 : MAX_RETRY_AFTER_MS;
}

static void begin_reply(struct qn_http_exchange *exchange, const char *line, size_t size)
{
    const char *space = memchr(line, ' ', size);
    exchange->status = space != NULL ? atoi(space + 1) : 0;
    const char *reason = space != NULL ? memchr(space + 1, ' ', size - (size_t)(space + 1 - line)) : NULL;
    COPY_VALUE(exchange->reason, reason != NULL ? reason + 1 : "",
               reason != NULL ? size - (size_t)(reason + 1 - line) : 0);
    exchange->etag[0] = exchange->modified[0] = exchange->content_type[0] = '\0';
    exchange->total = exchange->range_start = -1;
    exchange->encoded = exchange->begun = false;
    exchange->retry_after_ms = 0;
    exchange->piece_size = 0;
}

static void read_header(struct qn_http_exchange *exchange, const char *name, size_t name_size, const char *value,
                        size_t size)
{
    char key[32];
    if (name_size >= sizeof key) {
        return;
    }
    memcpy(key, name, name_size);
    key[name_size] = '\0';
    if (qn_text_equal_nocase(key, "etag")) {
        KEEP_EXACT(exchange->etag, value, size);
    } else if (qn_text_equal_nocase(key, "last-modified")) {
        KEEP_EXACT(exchange->modified, value, size);
    } else if (qn_text_equal_nocase(key, "content-type")) {
        KEEP_EXACT(exchange->content_type, value, size);
    } else if (qn_text_equal_nocase(key, "content-encoding")) {
        exchange->encoded = !(size == strlen("identity") && strncasecmp(value, "identity", size) == 0);
    } else if (qn_text_equal_nocase(key, "content-range")) {
        read_content_range(exchange, value, size);
    } else if (qn_text_equal_nocase(key, "retry-after")) {
        read_retry_after(exchange, value, size);
    }
}

static size_t take_header(char *line, size_t one, size_t size, void *context)
{
    struct qn_http_exchange *exchange = context;
    size_t used = size * one;
    exchange->last_sign = qn_clock_nanos();
    exchange->header_bytes += used;
    if (exchange->header_bytes > HTTP_MAX_HEADERS) {
        return fail(exchange, qn_error_set(&exchange->error, QN_ERR_PROTOCOL,
                                           "the headers of the reply have more than %zu bytes", HTTP_MAX_HEADERS));
    }
    size_t end = used;
    while (end > 0 && qn_ascii_space(line[end - 1])) {
        end--;
    }
    const char *colon = memchr(line, ':', end);
    if (end >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        begin_reply(exchange, line, end);
    } else if (colon != NULL) {
        const char *value = colon + 1;
        while (value < line + end && qn_ascii_space(*value)) {
            value++;
        }
        read_header(exchange, line, (size_t)(colon - line), value, (size_t)(line + end - value));
    }
    return used;
}

/* The first bytes of a body that belongs into the file. */
static bool begin_body(struct qn_http_exchange *exchange)
{
    exchange->begun = true;
    if (exchange->status == 206 && exchange->range_start != exchange->offset) {
        (void)fail(exchange, qn_error_set(&exchange->error, QN_ERR_PROTOCOL,
                                          "bytes from %lld on were asked for, the reply begins at %lld",
                                          (long long)exchange->offset, (long long)exchange->range_start));
        return false;
    }
    if (exchange->status == 206 || exchange->offset == 0) {
        return true;
    }
    exchange->written = 0; /* the whole of it comes, since it has changed or ranges are not known there */
    exchange->offset = 0;
    if (ftruncate(exchange->fd, 0) != 0 || lseek(exchange->fd, 0, SEEK_SET) != 0) {
        (void)fail(exchange, qn_error_set(&exchange->error, QN_ERR_IO, "the temporary file cannot be emptied"));
        return false;
    }
    return true;
}

static size_t take_body(char *bytes, size_t one, size_t size, void *context)
{
    struct qn_http_exchange *exchange = context;
    size_t count = size * one;
    exchange->last_sign = qn_clock_nanos();
    if (exchange->status >= 300 && exchange->status < 400) { /* of a redirect, which nobody reads */
        exchange->dropped += count;
        return exchange->dropped <= MAX_DROPPED ? count : 0;
    }
    if (exchange->kind != QN_HTTP_BODY || (exchange->status != 200 && exchange->status != 206)) {
        size_t room = HTTP_PIECE - exchange->piece_size;
        size_t kept = count < room ? count : room;
        memcpy(exchange->piece + exchange->piece_size, bytes, kept);
        exchange->piece_size += kept;
        return kept; /* enough of it: the rest is not wanted */
    }
    if (!exchange->begun && !begin_body(exchange)) {
        return 0;
    }
    if ((int64_t)count > exchange->http->max_size - exchange->written) {
        enum qn_status status = qn_error_set(&exchange->error, QN_ERR_DATA, "it has more than %lld bytes",
                                             (long long)exchange->http->max_size);
        qn_error_hint(&exchange->error, "a larger limit is the argument \"max_size\"");
        return fail(exchange, status);
    }
    enum qn_status status = qn_fd_write_all(exchange->fd, bytes, count, "a temporary file", &exchange->error);
    if (status != QN_OK) {
        return fail(exchange, status);
    }
    exchange->written += (int64_t)count;
    return count;
}

/* ---- what goes out ---- */

struct request {
    CURL *easy;
    CURLM *multi;
    char *url;    /* where it goes now */
    bool foreign; /* another host than the target's */
    bool post;
    char curl_text[CURL_ERROR_SIZE];
    struct curl_slist *range_headers;
};

static void request_dispose(struct request *request)
{
    if (request->multi != NULL && request->easy != NULL) {
        (void)curl_multi_remove_handle(request->multi, request->easy);
    }
    curl_easy_cleanup(request->easy);
    curl_multi_cleanup(request->multi);
    curl_slist_free_all(request->range_headers);
    qn_free(request->url);
}

static void set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* The caller's headers and, where it is to be resumed, If-Range. */
static enum qn_status set_headers(struct qn_http_exchange *exchange, struct request *request, struct qn_error *err)
{
    struct curl_slist *given = request->foreign ? exchange->http->harmless_headers : exchange->http->headers;
    curl_slist_free_all(request->range_headers);
    request->range_headers = NULL;
    if (exchange->kind == QN_HTTP_BODY && exchange->offset > 0) {
        char line[sizeof exchange->etag + 16];
        (void)snprintf(line, sizeof line, "If-Range: %s", exchange->if_range);
        for (struct curl_slist *each = given; each != NULL; each = each->next) {
            struct curl_slist *longer = curl_slist_append(request->range_headers, each->data);
            if (longer == NULL) {
                return qn__no_memory(err);
            }
            request->range_headers = longer;
        }
        struct curl_slist *longer = curl_slist_append(request->range_headers, line);
        if (longer == NULL) {
            return qn__no_memory(err);
        }
        request->range_headers = longer;
        given = longer;
    }
    (void)curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, given);
    return QN_OK;
}

static void set_range(struct qn_http_exchange *exchange, CURL *easy)
{
    char range[64] = "";
    if (exchange->kind == QN_HTTP_FIRST) {
        (void)snprintf(range, sizeof range, "0-%lld", (long long)exchange->first - 1);
    } else if (exchange->kind == QN_HTTP_BODY && exchange->offset > 0) {
        (void)snprintf(range, sizeof range, "%lld-", (long long)exchange->offset);
    }
    (void)curl_easy_setopt(easy, CURLOPT_RANGE, range[0] != '\0' ? range : NULL);
}

static void set_method(struct qn_http_exchange *exchange, struct request *request)
{
    const char *body = exchange->http->body != NULL ? exchange->http->body : "";
    if (exchange->kind == QN_HTTP_HEAD) {
        (void)curl_easy_setopt(request->easy, CURLOPT_NOBODY, 1L);
    } else if (request->post) {
        (void)curl_easy_setopt(request->easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        (void)curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, body);
    } else {
        (void)curl_easy_setopt(request->easy, CURLOPT_HTTPGET, 1L);
    }
}

static enum qn_status prepare(struct qn_http_exchange *exchange, struct request *request, struct qn_error *err)
{
    const struct qn_http *http = exchange->http;
    CURL *easy = request->easy;
    int64_t patience = http->silence_ms > 0 ? http->silence_ms : CONNECT_DEFAULT_SEC * INT64_C(1000);
    curl_easy_reset(easy);
    set_protocols(easy);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* whoever cancels does not wait for a slow name server */
#endif
    (void)curl_easy_setopt(easy, CURLOPT_URL, request->url);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->curl_text);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "qanat");
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(patience < INT32_MAX ? patience : INT32_MAX));
    /* "identity" too makes libcurl decode what comes compressed although nobody asked for it. */
    (void)curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, http->compressed ? "" : "identity");
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    if (http->ca_file != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
    }
    if (!request->foreign && (http->user != NULL || http->password != NULL)) {
        (void)curl_easy_setopt(easy, CURLOPT_USERNAME, http->user != NULL ? http->user : "");
        (void)curl_easy_setopt(easy, CURLOPT_PASSWORD, http->password != NULL ? http->password : "");
    }
    set_range(exchange, easy);
    set_method(exchange, request);
    return set_headers(exchange, request, err);
}

/* ---- failures ---- */

/* "GET http://host/x" before a message, and nothing secret anywhere in it. */
static enum qn_status finish_error(const struct qn_http_exchange *exchange, enum qn_status status, struct qn_error *err)
{
    if (err == NULL) {
        return status;
    }
    err->status = status;
    qn__http_scrub(exchange->http, err->message);
    qn__http_scrub(exchange->http, err->hint);
    const char *method = exchange->kind == QN_HTTP_HEAD ? "HEAD" : exchange->http->method;
    qn_error_prefix(err, "%s %.400s", method, exchange->http->shown);
    return status;
}

static bool status_is_retryable(int status)
{
    return status == 408 || status == 425 || status == 429 || status == 500 || status == 502 || status == 503 ||
           status == 504;
}

static enum qn_status status_error(const struct qn_http_exchange *exchange, struct qn_error *err)
{
    char piece[HTTP_PIECE + 1];
    char shown[HTTP_PIECE];
    struct qn_error local;
    err = err != NULL ? err : &local;
    size_t size = 0;
    for (size_t i = 0; i < exchange->piece_size; i++) { /* on one line */
        char c = exchange->piece[i];
        bool space = qn_ascii_space(c);
        if (c != '\0' && !(space && (size == 0 || piece[size - 1] == ' '))) {
            piece[size++] = space ? ' ' : c;
        }
    }
    piece[size] = '\0';
    qn__http_scrub(exchange->http, piece); /* before it is cut */
    (void)qn_shown(piece, strlen(piece), shown, 240);
    (void)qn_error_set(err, QN_ERR_CONNECTION, "status %d%s%s%s%s", exchange->status,
                       exchange->reason[0] != '\0' ? " " : "", exchange->reason, shown[0] != '\0' ? ": " : "", shown);
    bool told = exchange->status == 429 || exchange->status == 503; /* nothing was done */
    bool safe = !qn_text_equal(exchange->http->method, "POST");
    err->retryable = told || (safe && status_is_retryable(exchange->status));
    err->retry_after_ms = err->retryable ? exchange->retry_after_ms : 0;
    if (exchange->status == 401 || exchange->status == 403) {
        qn_error_hint(err, "credentials are arguments: \"header.Authorization\", or user information in the URL");
    }
    return finish_error(exchange, QN_ERR_CONNECTION, err);
}

static bool code_is_break(CURLcode code)
{
    return code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
           code == CURLE_GOT_NOTHING || code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM;
}

static enum qn_status curl_error(struct qn_http_exchange *exchange, const struct request *request, CURLcode code,
                                 struct qn_error *err)
{
    struct qn_error local;
    err = err != NULL ? err : &local;
    const char *text = request->curl_text[0] != '\0' ? request->curl_text : curl_easy_strerror(code);
    bool unsent =
        code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY;
    enum qn_status status = QN_ERR_CONNECTION;
    if (code == CURLE_OUT_OF_MEMORY) {
        return qn__no_memory(err);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        status = QN_ERR_TIMEOUT;
    } else if (code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_BAD_CONTENT_ENCODING) {
        status = QN_ERR_PROTOCOL;
    }
    (void)qn_error_set(err, status, "%.400s", text);
    exchange->broken = code_is_break(code);
    err->retryable =
        unsent || ((exchange->broken || status == QN_ERR_TIMEOUT) && !qn_text_equal(exchange->http->method, "POST"));
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
        qn_error_hint(err, "the certificate is always verified; an authority of your own is the argument \"ca_file\"");
    }
    return finish_error(exchange, status, err);
}

static enum qn_status silence(struct qn_http_exchange *exchange, struct qn_error *err)
{
    struct qn_error local;
    err = err != NULL ? err : &local;
    (void)qn_error_set(err, QN_ERR_TIMEOUT, "nothing came for %.1f seconds",
                       (double)exchange->http->silence_ms / 1000.0);
    err->retryable = !qn_text_equal(exchange->http->method, "POST");
    return finish_error(exchange, QN_ERR_TIMEOUT, err);
}

/* ---- running ---- */

/* Move bytes until the transfer has ended, one way or the other. */
static enum qn_status run(struct qn_http_exchange *exchange, struct request *request, int64_t deadline,
                          CURLcode *code_out, struct qn_error *err)
{
    int running = 1;
    exchange->last_sign = qn_clock_nanos();
    if (curl_multi_add_handle(request->multi, request->easy) != CURLM_OK) {
        return qn__no_memory(err);
    }
    while (running > 0) {
        if (curl_multi_perform(request->multi, &running) != CURLM_OK) {
            return qn__no_memory(err);
        }
        QN_TRY(qn_interrupt_poll(err));
        int64_t quiet_ms = (qn_clock_nanos() - exchange->last_sign) / NANOS_PER_MS;
        if (running > 0 && exchange->http->silence_ms > 0 && quiet_ms >= exchange->http->silence_ms) {
            return silence(exchange, err);
        }
        if (running > 0 && qn_deadline_remaining_ms(deadline) == 0) {
            (void)qn_error_set(err, QN_ERR_TIMEOUT, "the time limit of %.1f seconds has passed",
                               (double)exchange->http->time_limit_ms / 1000.0);
            return finish_error(exchange, QN_ERR_TIMEOUT, err);
        }
        if (running > 0 && curl_multi_poll(request->multi, NULL, 0, SLICE_MS, NULL) != CURLM_OK) {
            return qn__no_memory(err);
        }
    }
    int left = 0;
    const CURLMsg *message = curl_multi_info_read(request->multi, &left);
    *code_out = message != NULL ? message->data.result : CURLE_FAILED_INIT;
    return QN_OK;
}

/* Whether two URLs have one scheme, host and port. */
static bool same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = { CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT };
    CURLU *left = curl_url();
    CURLU *right = curl_url();
    bool same = left != NULL && right != NULL && curl_url_set(left, CURLUPART_URL, a, 0) == CURLUE_OK &&
                curl_url_set(right, CURLUPART_URL, b, 0) == CURLUE_OK;
    for (size_t i = 0; same && i < sizeof parts / sizeof *parts; i++) {
        char *one = NULL;
        char *other = NULL;
        same = curl_url_get(left, parts[i], &one, CURLU_DEFAULT_PORT) == CURLUE_OK &&
               curl_url_get(right, parts[i], &other, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(one, other) == 0;
        curl_free(one);
        curl_free(other);
    }
    curl_url_cleanup(left);
    curl_url_cleanup(right);
    return same;
}

/* Go where a reply points; *moved_out is false where it points nowhere. */
static enum qn_status follow(struct qn_http_exchange *exchange, struct request *request, bool *moved_out,
                             struct qn_error *err)
{
    char *to = NULL;
    int status = exchange->status;
    *moved_out = false;
    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308) {
        return QN_OK;
    }
    if (curl_easy_getinfo(request->easy, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || to == NULL) {
        return QN_OK;
    }
    bool again = request->post && (status == 307 || status == 308); /* the body, too */
    bool insecure = strncasecmp(request->url, "https:", 6) == 0 && strncasecmp(to, "https:", 6) != 0;
    bool web = strncasecmp(to, "http:", 5) == 0 || strncasecmp(to, "https:", 6) == 0;
    bool foreign = !same_origin(exchange->http->url, to);
    if (insecure || !web || (again && foreign)) {
        char *shown;
        QN_TRY(qn__http_show_url(to, &shown, err));
        (void)qn_error_set(err, QN_ERR_CONNECTION, "it is redirected to %.200s, which is %s", shown,
                           !web       ? "neither http:// nor https://"
                           : insecure ? "not encrypted"
                                      : "another host: the body is not sent there");
        qn_free(shown);
        return finish_error(exchange, QN_ERR_CONNECTION, err);
    }
    char *copy = qn_strdup(to);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    request->foreign = foreign;
    request->post = again;
    qn_free(request->url);
    request->url = copy;
    *moved_out = true;
    return QN_OK;
}

/* What the end of a transfer means. */
static enum qn_status judge(struct qn_http_exchange *exchange, const struct request *request, CURLcode code,
                            struct qn_error *err)
{
    if (exchange->failure != QN_OK) {
        if (err != NULL) {
            *err = exchange->error;
        }
        return finish_error(exchange, exchange->failure, err);
    }
    bool enough = code == CURLE_WRITE_ERROR && exchange->piece_size == HTTP_PIECE; /* we ended it */
    if (code != CURLE_OK && !enough) {
        bool known = exchange->status >= 400; /* its body broke off, which does not matter */
        return known ? status_error(exchange, err) : curl_error(exchange, request, code, err);
    }
    if (exchange->status != 200 && exchange->status != 206 && exchange->status != 416) {
        return status_error(exchange, err);
    }
    curl_off_t length = -1;
    if (exchange->status == 200 && !exchange->encoded &&
        curl_easy_getinfo(request->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) == CURLE_OK) {
        exchange->total = length;
    }
    return QN_OK;
}

static enum qn_status exchange_all(struct qn_http_exchange *exchange, struct request *request, int64_t deadline,
                                   struct qn_error *err)
{
    for (int redirects = 0;; redirects++) {
        CURLcode code = CURLE_OK;
        bool moved = false;
        exchange->status = 0;
        exchange->begun = false;
        exchange->header_bytes = exchange->piece_size = 0;
        request->curl_text[0] = '\0';
        QN_TRY(prepare(exchange, request, err));
        enum qn_status status = run(exchange, request, deadline, &code, err);
        if (status == QN_OK && exchange->failure == QN_OK) {
            status = follow(exchange, request, &moved, err);
        }
        (void)curl_multi_remove_handle(request->multi, request->easy);
        QN_TRY(status);
        if (!moved) {
            return judge(exchange, request, code, err);
        }
        if (redirects == HTTP_MAX_REDIRECTS) {
            (void)qn_error_set(err, QN_ERR_CONNECTION, "more than %d redirects", HTTP_MAX_REDIRECTS);
            return finish_error(exchange, QN_ERR_CONNECTION, err);
        }
    }
}

/* TLS writes to a connection that is gone raise SIGPIPE, which is the host's: it is held back, and taken out if it came. */
struct pipe_signal {
    sigset_t only, before;
    bool was_pending;
};

static void hold_pipe_signal(struct pipe_signal *held)
{
    sigset_t pending;
    (void)sigemptyset(&held->only);
    (void)sigaddset(&held->only, SIGPIPE);
    (void)sigemptyset(&pending);
    (void)sigpending(&pending);
    held->was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &held->only, &held->before);
}

static void release_pipe_signal(const struct pipe_signal *held)
{
    const struct timespec at_once = { 0 };
    while (!held->was_pending && sigtimedwait(&held->only, NULL, &at_once) < 0 && errno == EINTR) {
    }
    (void)pthread_sigmask(SIG_SETMASK, &held->before, NULL);
}

enum qn_status qn__http_exchange(struct qn_http_exchange *exchange, int64_t deadline, struct qn_error *err)
{
    struct request request = { .easy = curl_easy_init(),
                               .multi = curl_multi_init(),
                               .url = qn_strdup(exchange->http->url),
                               .post = qn_text_equal(exchange->http->method, "POST") };
    struct pipe_signal held;
    hold_pipe_signal(&held);
    exchange->broken = false;
    exchange->failure = QN_OK;
    exchange->written = exchange->offset;
    exchange->total = exchange->range_start = -1;
    enum qn_status status = request.easy == NULL || request.multi == NULL || request.url == NULL
                                ? qn__no_memory(err)
                                : exchange_all(exchange, &request, deadline, err);
    request_dispose(&request);
    release_pipe_signal(&held);
    return status;
}
