/*
 * http_target.c: the target of HTTP requests, and what of it is a secret.
 *
 * Secrets are user information, all headers but a few that are known to be harmless, and values of the query whose names
 * say so. They are collected when the target is made, so that they can be struck from whatever a server sends back.
 */
#include "base/memory.h"
#include "base/text.h"
#include "connector/http_private.h"

#include <ctype.h>
#include <pthread.h>
#include <strings.h>

#define SECRET_MIN 3 /* shorter ones are not looked for: they would be found everywhere */

/* ---- libcurl ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode started;

static void start(void)
{
    started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Once a process. */
static enum qn_status start_curl(struct qn_error *err)
{
    (void)pthread_once(&once, start);
    if (started != CURLE_OK) {
        return qn_error_set(err, QN_ERR_INTERNAL, "libcurl cannot be used: %s", curl_easy_strerror(started));
    }
    return QN_OK;
}

/* ---- secrets ---- */

static bool header_is_harmless(const char *name)
{
    static const char *const harmless[] = {
        "accept",        "accept-charset", "accept-language", "cache-control", "content-type",
        "if-none-match", "pragma",         "user-agent",      "accept-ranges", NULL
    };
    for (size_t i = 0; harmless[i] != NULL; i++) {
        if (qn_text_equal_nocase(harmless[i], name)) {
            return true;
        }
    }
    return false;
}

/* Whether the value of a name in a query is a secret. */
static bool name_is_secret(const char *name, size_t size)
{
    static const char *const parts[] = { "token",         "secret",  "passw", "pwd",    "credential",
                                         "signature",     "session", "jwt",   "apikey", "accesskey",
                                         "authorization", "oauth",   NULL };
    static const char *const names[] = { "auth", "sig", "sas", "code", NULL };
    char lower[128];
    if (size >= sizeof lower) {
        return true;
    }
    for (size_t i = 0; i < size; i++) {
        lower[i] = qn_ascii_lower(name[i]);
    }
    lower[size] = '\0';
    for (size_t i = 0; names[i] != NULL; i++) {
        if (qn_text_equal(lower, names[i])) {
            return true;
        }
    }
    for (size_t i = 0; parts[i] != NULL; i++) {
        if (strstr(lower, parts[i]) != NULL) {
            return true;
        }
    }
    return size >= 3 && qn_text_equal(lower + size - 3, "key");
}

static enum qn_status add_secret(struct qn_http *http, const char *text, size_t size, struct qn_error *err)
{
    if (size < SECRET_MIN) {
        return QN_OK;
    }
    if (http->n_secrets == HTTP_MAX_SECRETS) {
        return qn_error_set(err, QN_ERR_CONFIG, "more than %d headers and secret values in the URL", HTTP_MAX_SECRETS);
    }
    char *copy = qn_strndup(text, size);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    http->secrets[http->n_secrets++] = copy;
    return QN_OK;
}

void qn__http_scrub(const struct qn_http *http, char *text)
{
    for (size_t i = 0; i < http->n_secrets; i++) {
        size_t size = strlen(http->secrets[i]);
        for (char *at = text; (at = strstr(at, http->secrets[i])) != NULL; at += 3) {
            at[0] = at[1] = at[2] = '*'; /* SECRET_MIN: there is room */
            memmove(at + 3, at + size, strlen(at + size) + 1);
        }
    }
}

/* ---- URLs ---- */

/* Copy a query, the values of secrets as "***"; each goes to `http` too where that is given. */
static enum qn_status show_query(struct qn_http *http, const char *query, struct qn_buffer *out, struct qn_error *err)
{
    for (const char *at = query; *at != '\0';) {
        size_t pair = strcspn(at, "&;");
        size_t name = strcspn(at, "=&;");
        bool secret = name < pair && name_is_secret(at, name);
        qn_buffer_append(out, at, secret ? name + 1 : pair);
        qn_buffer_append_text(out, secret ? "***" : "");
        if (secret && http != NULL) {
            const char *value = at + name + 1;
            size_t size = pair - name - 1;
            int plain_size = 0;
            http->url_has_secrets = true;
            QN_TRY(add_secret(http, value, size, err));
            char *plain = curl_easy_unescape(NULL, value, (int)size, &plain_size);
            enum qn_status status = plain != NULL ? add_secret(http, plain, (size_t)plain_size, err) : QN_OK;
            curl_free(plain);
            QN_TRY(status);
        }
        at += pair;
        if (*at != '\0') {
            qn_buffer_append_byte(out, *at++);
        }
    }
    return QN_OK;
}

/* The whole URL of a handle; NULL where there is no memory. curl_free. */
static char *whole(CURLU *handle)
{
    char *text = NULL;
    return curl_url_get(handle, CURLUPART_URL, &text, 0) == CURLUE_OK ? text : NULL;
}

/* The URL in `handle`, which has no user information, for messages. */
static enum qn_status show(struct qn_http *http, CURLU *handle, char **out, struct qn_error *err)
{
    char *query = NULL;
    qn_auto_buffer text = QN_BUFFER_INIT;
    (void)curl_url_get(handle, CURLUPART_QUERY, &query, 0);
    (void)curl_url_set(handle, CURLUPART_QUERY, NULL, 0);
    (void)curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0);
    char *rest = whole(handle);
    qn_buffer_append_text(&text, rest != NULL ? rest : "");
    enum qn_status status = QN_OK;
    if (query != NULL) {
        qn_buffer_append_byte(&text, '?');
        status = show_query(http, query, &text, err);
    }
    curl_free(query);
    curl_free(rest);
    QN_TRY(status);
    QN_TRY(qn_buffer_check(&text, "a URL", err));
    *out = qn_buffer_steal(&text);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

enum qn_status qn__http_show_url(const char *url, char **out, struct qn_error *err)
{
    CURLU *handle = curl_url();
    if (handle == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = QN_OK;
    if (curl_url_set(handle, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
        (void)curl_url_set(handle, CURLUPART_USER, NULL, 0);
        (void)curl_url_set(handle, CURLUPART_PASSWORD, NULL, 0);
        status = show(NULL, handle, out, err);
    } else {
        *out = qn_strdup("");
        status = *out != NULL ? QN_OK : qn__no_memory(err);
    }
    curl_url_cleanup(handle);
    return status;
}

/* Take one part of the user information out of the URL: decoded into *out, both spellings among the secrets. */
static enum qn_status take_user_part(struct qn_http *http, CURLU *handle, CURLUPart part, char **out,
                                     struct qn_error *err)
{
    char *raw = NULL;
    char *plain = NULL;
    if (curl_url_get(handle, part, &raw, 0) != CURLUE_OK || raw == NULL) {
        return QN_OK;
    }
    enum qn_status status = QN_OK;
    if (curl_url_get(handle, part, &plain, CURLU_URLDECODE) != CURLUE_OK) {
        status = qn_error_set(err, QN_ERR_CONFIG, "the user information of the URL cannot be decoded");
    } else {
        *out = qn_strdup(plain);
        status = *out == NULL ? qn__no_memory(err) : add_secret(http, raw, strlen(raw), err);
        status = status == QN_OK ? add_secret(http, plain, strlen(plain), err) : status;
    }
    http->url_has_secrets = true;
    curl_free(raw);
    curl_free(plain);
    (void)curl_url_set(handle, part, NULL, 0);
    return status;
}

/* What goes over the line for user and password: base64 of them. */
static enum qn_status add_basic(struct qn_http *http, struct qn_error *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    qn_auto_buffer plain = QN_BUFFER_INIT;
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_buffer_printf(&plain, "%s:%s", http->user != NULL ? http->user : "",
                     http->password != NULL ? http->password : "");
    QN_TRY(qn_buffer_check(&plain, "user information", err));
    for (size_t i = 0; i < plain.size; i += 3) {
        unsigned left = (unsigned)(plain.size - i);
        unsigned value = (unsigned)(unsigned char)plain.data[i] << 16;
        value |= left > 1 ? (unsigned)(unsigned char)plain.data[i + 1] << 8 : 0;
        value |= left > 2 ? (unsigned)(unsigned char)plain.data[i + 2] : 0;
        qn_buffer_append_byte(&text, digits[value >> 18]);
        qn_buffer_append_byte(&text, digits[value >> 12 & 63]);
        qn_buffer_append_byte(&text, left > 1 ? digits[value >> 6 & 63] : '=');
        qn_buffer_append_byte(&text, left > 2 ? digits[value & 63] : '=');
    }
    QN_TRY(qn_buffer_check(&text, "user information", err));
    return add_secret(http, text.data, text.size, err);
}

static enum qn_status read_url(struct qn_http *http, CURLU *handle, const char *url, struct qn_error *err)
{
    char *scheme = NULL;
    CURLUcode code = curl_url_set(handle, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
    if (code == CURLUE_OUT_OF_MEMORY) {
        return qn__no_memory(err);
    }
    if (code != CURLUE_OK) { /* the URL is not shown: nothing tells what of it is a secret */
        return qn_error_set(err, QN_ERR_CONFIG, "the URL cannot be read: %s", curl_url_strerror(code));
    }
    (void)curl_url_get(handle, CURLUPART_SCHEME, &scheme, 0);
    bool right = scheme != NULL && (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0);
    enum qn_status status =
        right ? QN_OK
              : qn_error_set(err, QN_ERR_CONFIG, "a URL with \"%.20s://\" is neither http:// nor https://", scheme);
    curl_free(scheme);
    QN_TRY(status);
    QN_TRY(take_user_part(http, handle, CURLUPART_USER, &http->user, err));
    QN_TRY(take_user_part(http, handle, CURLUPART_PASSWORD, &http->password, err));
    if (http->user != NULL || http->password != NULL) {
        QN_TRY(add_basic(http, err));
    }
    char *text = whole(handle);
    http->url = qn_strdup(text);
    curl_free(text);
    return http->url != NULL ? show(http, handle, &http->shown, err) : qn__no_memory(err);
}

/* ---- headers ---- */

static bool header_is_right(const struct qn_http_header *header)
{
    for (const char *c = header->name; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr("!#$%&'*+-.^_`|~", *c) == NULL) {
            return false;
        }
    }
    return header->name[0] != '\0' && strpbrk(header->value, "\r\n") == NULL;
}

static enum qn_status add_header(struct qn_http *http, const char *line, bool harmless, struct qn_error *err)
{
    struct curl_slist *longer = curl_slist_append(http->headers, line);
    if (longer == NULL) {
        return qn__no_memory(err);
    }
    http->headers = longer;
    if (harmless) {
        longer = curl_slist_append(http->harmless_headers, line);
        if (longer == NULL) {
            return qn__no_memory(err);
        }
        http->harmless_headers = longer;
    }
    return QN_OK;
}

/* The whole value is a secret, and what follows a word in it: "Bearer abc". */
static enum qn_status add_header_secrets(struct qn_http *http, const char *value, struct qn_error *err)
{
    size_t word = strcspn(value, " ");
    QN_TRY(add_secret(http, value, strlen(value), err));
    return value[word] != '\0' ? add_secret(http, value + word + 1, strlen(value + word + 1), err) : QN_OK;
}

static enum qn_status read_headers(struct qn_http *http, const struct qn_http_options *options, struct qn_error *err)
{
    for (size_t i = 0; i < options->n_headers; i++) {
        const struct qn_http_header *header = &options->headers[i];
        if (!header_is_right(header)) {
            return qn_error_set(err, QN_ERR_CONFIG,
                                "header \"%.64s\": its name or value has characters that it may not", header->name);
        }
        if (qn_text_equal_nocase(header->name, "range") || qn_text_equal_nocase(header->name, "if-range") ||
            qn_text_equal_nocase(header->name, "accept-encoding") ||
            qn_text_equal_nocase(header->name, "content-length") ||
            qn_text_equal_nocase(header->name, "transfer-encoding")) {
            return qn_error_set(err, QN_ERR_CONFIG, "header \"%s\" is set by the connector itself", header->name);
        }
        bool harmless = header_is_harmless(header->name);
        QN_TRY(harmless ? QN_OK : add_header_secrets(http, header->value, err));
        qn_auto_buffer line = QN_BUFFER_INIT;
        bool empty = header->value[0] == '\0'; /* which libcurl writes so */
        qn_buffer_printf(&line, "%s%s%s", header->name, empty ? ";" : ": ", header->value);
        QN_TRY(qn_buffer_check(&line, "a header", err));
        QN_TRY(add_header(http, line.data, harmless, err));
    }
    return add_header(http, "Expect:", true, err); /* no waiting for a "100 Continue" */
}

/* ---- the target ---- */

static enum qn_status copy_options(struct qn_http *http, const struct qn_http_options *options, struct qn_error *err)
{
    http->compressed = options->compressed;
    http->max_size = options->max_size > 0 ? options->max_size : HTTP_MAX_SIZE;
    http->silence_ms = options->silence_ms;
    http->time_limit_ms = options->time_limit_ms;
    http->method = qn_strdup(options->method != NULL ? options->method : "GET");
    http->body = qn_strdup(options->body);
    http->ca_file = qn_strdup(options->ca_file);
    if (http->method == NULL || (options->body != NULL && http->body == NULL) ||
        (options->ca_file != NULL && http->ca_file == NULL)) {
        return qn__no_memory(err);
    }
    if (!qn_text_equal(http->method, "GET") && !qn_text_equal(http->method, "POST")) {
        return qn_error_set(err, QN_ERR_CONFIG, "method \"%.20s\" is neither GET nor POST", http->method);
    }
    if (http->body != NULL && !qn_text_equal(http->method, "POST")) {
        return qn_error_set(err, QN_ERR_CONFIG, "a GET has no body: the argument \"method\" has to be POST");
    }
    return QN_OK;
}

enum qn_status qn_http_new(const struct qn_http_options *options, struct qn_http **out, struct qn_error *err)
{
    QN_TRY(start_curl(err));
    CURLU *handle = curl_url();
    struct qn_http *http = qn_calloc(1, sizeof *http);
    enum qn_status status = handle != NULL && http != NULL ? copy_options(http, options, err) : qn__no_memory(err);
    status = status == QN_OK ? read_url(http, handle, options->url, err) : status;
    status = status == QN_OK ? read_headers(http, options, err) : status;
    curl_url_cleanup(handle);
    if (status != QN_OK) {
        qn_http_free(http);
        return status;
    }
    *out = http;
    return QN_OK;
}

void qn_http_free(struct qn_http *http)
{
    if (http == NULL) {
        return;
    }
    curl_slist_free_all(http->headers);
    curl_slist_free_all(http->harmless_headers);
    for (size_t i = 0; i < http->n_secrets; i++) {
        qn_free_secret(http->secrets[i], strlen(http->secrets[i]));
    }
    if (http->password != NULL) {
        qn_free_secret(http->password, strlen(http->password));
    }
    qn_free(http->user);
    qn_free(http->url);
    qn_free(http->shown);
    qn_free(http->method);
    qn_free(http->body);
    qn_free(http->ca_file);
    qn_free(http);
}

const char *qn_http_shown(const struct qn_http *http)
{
    return http->shown;
}

const char *qn_http_url(const struct qn_http *http)
{
    return http->url;
}

bool qn_http_has_secrets(const struct qn_http *http)
{
    return http->url_has_secrets;
}
