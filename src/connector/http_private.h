/*
 * http_private.h: the target of HTTP requests, for the files that make them. Not for others.
 */
#ifndef QN_CONNECTOR_HTTP_PRIVATE_H
#define QN_CONNECTOR_HTTP_PRIVATE_H

#include "base/buffer.h"
#include "connector/http_client.h"

#include <curl/curl.h>

#define HTTP_MAX_SECRETS 256

struct qn_http {
    char *url;   /* without user information */
    char *shown; /* and without secret values */
    char *method, *body, *ca_file;
    char *user, *password;               /* of the URL, decoded; or NULL */
    struct curl_slist *headers;          /* all of them */
    struct curl_slist *harmless_headers; /* those that another host may see */
    char *secrets[HTTP_MAX_SECRETS];     /* texts that no message may hold */
    size_t n_secrets;
    bool url_has_secrets, compressed;
    int64_t max_size, silence_ms, time_limit_ms;
};

/* Every secret of the target in a text becomes "***". The text only gets shorter, or stays as long. */
void qn__http_scrub(const struct qn_http *http, char *text);

/* A URL without user information and secret values, for messages; "" where it cannot be read. The caller's. */
enum qn_status qn__http_show_url(const char *url, char **out, struct qn_error *err) QN_MUST_CHECK;

#endif
