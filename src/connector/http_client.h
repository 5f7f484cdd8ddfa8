/*
 * http_client.h: what the `http` connector and references know of HTTP: a target, what a server says of it, its bytes.
 *
 * A target is a URL with its method, headers and limits. What could be a secret of it (user information, headers besides a
 * few, query values named as secrets are) is neither in its shown text nor in an error, also where the server sends it back.
 * Redirects are followed here, at most HTTP_MAX_REDIRECTS, never from https to http; headers and user information are not
 * sent to another host. TLS is always verified.  Threads: a target is never changed.
 */
#ifndef QN_CONNECTOR_HTTP_CLIENT_H
#define QN_CONNECTOR_HTTP_CLIENT_H

#include "base/status.h"
#include "connector/reference.h"

#define HTTP_MAX_REDIRECTS 10
#define HTTP_MAX_RESUMES   100
#define HTTP_MAX_HEADERS   ((size_t)256 * 1024) /* bytes of the headers of a reply */
#define HTTP_MAX_SIZE      (INT64_C(1) << 40)   /* bytes of a body, where nothing else is said */

struct qn_http_header {
    const char *name, *value;
};

struct qn_http_options {
    const char *url;
    const char *method; /* NULL: GET */
    const char *body;   /* NULL: none */
    const struct qn_http_header *headers;
    size_t n_headers;
    const char *ca_file;   /* NULL: the system's */
    bool compressed;       /* ask for compressed replies: transfers cannot be resumed then */
    int64_t max_size;      /* bytes; 0: HTTP_MAX_SIZE */
    int64_t silence_ms;    /* how long the server may send nothing */
    int64_t time_limit_ms; /* of a whole transfer; 0: none */
};

struct qn_http;

/* Everything is copied. QN_ERR_CONFIG for what is not right. */
enum qn_status qn_http_new(const struct qn_http_options *options, struct qn_http **out,
                           struct qn_error *err) QN_MUST_CHECK;
void qn_http_free(struct qn_http *http); /* NULL is allowed */

const char *qn_http_shown(const struct qn_http *http); /* the URL without secrets */
const char *qn_http_url(const struct qn_http *http);   /* without user information */
bool qn_http_has_secrets(const struct qn_http *http);  /* in the URL */

/* What a server says of it: HEAD, or the first byte of a GET where HEAD is refused. Not for a POST. */
enum qn_status qn_http_look(const struct qn_http *http, struct qn_reference_facts *facts,
                            struct qn_error *err) QN_MUST_CHECK;

/* The first bytes, for what neither content type nor suffix tell. */
enum qn_status qn_http_head(const struct qn_http *http, char *head, size_t size, size_t *used_out,
                            struct qn_error *err) QN_MUST_CHECK;

/* The whole body in a temporary file, at its beginning. Transfers that break are resumed with If-Range where the server
 * allows it. `version` (NULL or "": any) is what the reply has to have. */
enum qn_status qn_http_fetch(const struct qn_http *http, const char *version, int *fd_out,
                             struct qn_reference_facts *facts, struct qn_error *err) QN_MUST_CHECK;

#endif
