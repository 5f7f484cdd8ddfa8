/*
 * http.c: the built-in connector `http`: what one URL gives, by GET or POST.
 *
 * Its only location is the URL without what is secret in it. The body comes into an unlinked temporary file, which the
 * format then reads: rows are never made of a transfer that broke. A POST is asked for once, in data: discovery says
 * nothing of its version. Threads: what is opened is never changed.
 */
#include "base/memory.h"
#include "base/text.h"
#include "connector/builtin.h"
#include "connector/http_client.h"
#include "connector/registry.h"
#include "format/format.h"

#include <unistd.h>

#define MAX_HEADERS   64
#define HEAD_SIZE     64
#define MAX_SECONDS   (INT64_C(7) * 24 * 3600)
#define MAX_MAX_SIZE  (INT64_C(1) << 50)
#define HEADER_PREFIX "header."

struct http {
    struct qn_arguments arguments;
    struct qn_http *target;
    const char *format;
    bool post, copy, stable, versioned;
};

static const char *const known[] = { "url",     "method",  "body",       HEADER_PREFIX, "format",     "copy", "stable",
                                     "version", "ca_file", "compressed", "max_size",    "time_limit", NULL };

/* ---- opening ---- */

static void http_close(void *self)
{
    struct http *http = self;
    qn_http_free(http->target);
    qn_arguments_dispose(&http->arguments);
    qn_free(http);
}

static enum qn_status read_headers(const struct http *http, struct qn_http_header headers[MAX_HEADERS], size_t *n_out,
                                   struct qn_error *err)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    json_object_foreach(http->arguments.object, key, value)
    {
        if (strncmp(key, HEADER_PREFIX, strlen(HEADER_PREFIX)) != 0) {
            continue;
        }
        if (n == MAX_HEADERS) {
            return qn_error_set(err, QN_ERR_CONFIG, "more than %d headers", MAX_HEADERS);
        }
        headers[n++] =
            (struct qn_http_header){ .name = key + strlen(HEADER_PREFIX), .value = json_string_value(value) };
    }
    *n_out = n;
    return QN_OK;
}

static enum qn_status read_target(struct http *http, const struct qn_connector_opening *opening, struct qn_error *err)
{
    const struct qn_arguments *arguments = &http->arguments;
    struct qn_http_header headers[MAX_HEADERS];
    int64_t time_limit = 0;
    struct qn_http_options options = { .url = qn_arguments_text(arguments, "url"),
                                       .method = qn_arguments_text(arguments, "method"),
                                       .body = qn_arguments_text(arguments, "body"),
                                       .headers = headers,
                                       .ca_file = qn_arguments_text(arguments, "ca_file") };
    if (options.url == NULL && opening->entrypoint != NULL && opening->entrypoint[0] != '\0') {
        options.url = opening->entrypoint;
    }
    if (options.url == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the argument \"url\" is missing");
    }
    QN_TRY(read_headers(http, headers, &options.n_headers, err));
    QN_TRY(qn_arguments_bool(arguments, "compressed", false, &options.compressed, err));
    QN_TRY(qn_arguments_int64(arguments, "max_size", 0, 1, MAX_MAX_SIZE, &options.max_size, err));
    QN_TRY(qn_arguments_int64(arguments, "time_limit", 0, 1, MAX_SECONDS, &time_limit, err));
    double silence_ms = opening->timeout * 1000;
    options.silence_ms = silence_ms < 1 ? 1 : silence_ms < 1e15 ? (int64_t)silence_ms : INT64_C(1000000000000000);
    options.time_limit_ms = time_limit * 1000;
    QN_TRY(qn_http_new(&options, &http->target, err));
    http->post = options.method != NULL && qn_text_equal(options.method, "POST");
    return QN_OK;
}

static enum qn_status read_flags(struct http *http, struct qn_error *err)
{
    const struct qn_format *ignored;
    const char *version = qn_arguments_text(&http->arguments, "version");
    http->format = qn_arguments_text(&http->arguments, "format");
    QN_TRY(qn_arguments_bool(&http->arguments, "copy", true, &http->copy, err));
    QN_TRY(qn_arguments_bool(&http->arguments, "stable", false, &http->stable, err));
    if (version != NULL && !qn_text_equal(version, "auto") && !qn_text_equal(version, "none")) {
        return qn_error_set(err, QN_ERR_CONFIG, "argument \"version\": \"%.100s\" is neither auto nor none", version);
    }
    http->versioned = !http->post && (version == NULL || qn_text_equal(version, "auto"));
    if ((http->stable || !http->copy) && (http->post || qn_http_has_secrets(http->target))) {
        (void)qn_error_set(err, QN_ERR_CONFIG, "%s cannot be a stable URL or a reference",
                           http->post ? "what a POST gives" : "a URL with secrets in it");
        qn_error_hint(err, "copy the data: leave \"stable\" and \"copy\" out");
        return QN_ERR_CONFIG;
    }
    return http->format != NULL ? qn_format_get(http->format, &ignored, err) : QN_OK;
}

static enum qn_status http_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                struct qn_error *err)
{
    (void)context;
    struct http *http = qn_calloc(1, sizeof *http);
    if (http == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_arguments_parse(opening->arguments, known, true, &http->arguments, err);
    status = status == QN_OK ? read_target(http, opening, err) : status;
    status = status == QN_OK ? read_flags(http, err) : status;
    if (status != QN_OK) {
        http_close(http);
        return status;
    }
    *self_out = http;
    return QN_OK;
}

/* ---- discovery and data ---- */

/* The path of the URL, whose suffix may tell the format. The caller's. */
static enum qn_status url_path(const struct http *http, char **out, struct qn_error *err)
{
    const char *url = qn_http_url(http->target);
    const char *path = strstr(url, "://");
    path = path != NULL ? strchr(path + 3, '/') : NULL;
    path = path != NULL ? path : "";
    *out = qn_strndup(path, strcspn(path, "?#"));
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

/* The format, as far as it can be told before the data: by what the server says, the URL, and the first bytes. */
static enum qn_status look_at_format(const struct http *http, const char *content_type, const char *path,
                                     const char **format_out, struct qn_error *err)
{
    char head[HEAD_SIZE];
    size_t used = 0;
    struct qn_builtin_file file = {
        .fd = -1, .name = path, .format = http->format, .content_type = content_type, .arguments = &http->arguments
    };
    *format_out = qn_builtin_format(&file);
    if (*format_out != NULL || http->post) {
        return QN_OK;
    }
    QN_TRY(qn_http_head(http->target, head, sizeof head, &used, err));
    const struct qn_format *found = qn_format_guess(NULL, NULL, head, used);
    *format_out = found != NULL ? found->name : NULL;
    return QN_OK;
}

static enum qn_status http_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                    void *each_context, struct qn_error *err)
{
    const struct http *http = self;
    struct qn_location location = QN_LOCATION_INIT;
    struct qn_reference_facts facts = { .size = -1 };
    char *path = NULL;
    const char *format = NULL;
    (void)attached;
    (void)n;
    QN_TRY(http->post ? QN_OK : qn_http_look(http->target, &facts, err));
    QN_TRY(url_path(http, &path, err));
    enum qn_status status = look_at_format(http, facts.content_type, path, &format, err);
    qn_free(path);
    QN_TRY(status);
    location.location = qn_http_shown(http->target);
    location.must_copy = http->copy || format == NULL;
    location.format = format != NULL ? format : "unknown";
    location.version = http->versioned ? facts.version : "";
    return each(each_context, &location, err);
}

static enum qn_status http_data(void *self, const struct qn_location *location, const struct qn_data_request *request,
                                struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    const struct http *http = self;
    struct qn_reference_facts facts;
    char *path = NULL;
    int fd = -1;
    if (!qn_text_equal(location->location, qn_http_shown(http->target))) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "this connector has one location, %.400s",
                            qn_http_shown(http->target));
    }
    QN_TRY(qn_http_fetch(http->target, http->versioned ? location->version : NULL, &fd, &facts, err));
    enum qn_status status = url_path(http, &path, err);
    if (status == QN_OK) {
        struct qn_builtin_file file = { .fd = fd,
                                        .name = path,
                                        .format = http->format,
                                        .content_type = facts.content_type,
                                        .arguments = &http->arguments };
        status = qn_builtin_read(&file, request, out, err);
    }
    qn_free(path);
    (void)close(fd); /* the format has its own */
    if (status == QN_OK) {
        *applied_out = QN_APPLIED_PROJECTION;
    }
    return status;
}

/* ---- the rest ---- */

static enum qn_status http_stable_url(void *self, const struct qn_location *location, char **out, struct qn_error *err)
{
    const struct http *http = self;
    (void)location;
    *out = NULL;
    return http->stable || !http->copy ? qn_builtin_text(qn_http_url(http->target), out, err) : QN_OK;
}

static enum qn_status http_describe(void *self, char **out, struct qn_error *err)
{
    (void)self;
    return qn_builtin_text(
        "{\"name\": \"http\", \"capabilities\": [\"projection\"], \"arguments\": {\"type\": \"object\", "
        "\"required\": [\"url\"], \"properties\": {"
        "\"url\": {\"type\": \"string\"}, "
        "\"method\": {\"type\": \"string\", \"enum\": [\"GET\", \"POST\"]}, "
        "\"body\": {\"type\": \"string\"}, "
        "\"format\": {\"type\": \"string\"}, "
        "\"copy\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
        "\"stable\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
        "\"version\": {\"type\": \"string\", \"enum\": [\"auto\", \"none\"]}, "
        "\"ca_file\": {\"type\": \"string\"}, "
        "\"compressed\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
        "\"max_size\": {\"type\": \"string\", \"description\": \"bytes\"}, "
        "\"time_limit\": {\"type\": \"string\", \"description\": \"seconds of a transfer\"}}}}",
        out, err);
}

const struct qn_connector_runtime qn__runtime_http = {
    .struct_size = sizeof qn__runtime_http,
    .abi = QN_CONNECTOR_ABI,
    .name = "http",
    .external = false,
    .open = http_open,
    .close = http_close,
    .discover = http_discover,
    .data = http_data,
    .stable_url = http_stable_url,
    .describe = http_describe,
};
