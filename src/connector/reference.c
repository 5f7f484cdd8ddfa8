/*
 * reference.c: see reference.h.
 *
 * The version of a file is that of the `files` connector (files_private.h), so that what was attached by one can be compared
 * by the other.
 */
#include "connector/reference.h"

#include "base/buffer.h"
#include "base/text.h"
#include "connector/builtin.h"
#include "connector/files_private.h"
#include "connector/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define DEFAULT_SECONDS 300.0
#define MAX_SECONDS     1e9

static bool is_web(const char *url)
{
    return qn_text_starts_nocase(url, "http://") || qn_text_starts_nocase(url, "https://");
}

/* "scheme:" of more than one letter. */
static bool has_scheme(const char *url)
{
    const char *c = url;
    while (qn_ascii_letter(*c) || (c > url && (qn_ascii_digit(*c) || *c == '+' || *c == '-' || *c == '.'))) {
        c++;
    }
    return c > url + 1 && c[0] == ':' && c[1] == '/' && c[2] == '/';
}

/* ---- file:// ---- */

static int hex_digit(char c)
{
    char lower = qn_ascii_lower(c);
    return qn_ascii_digit(c) ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The path of "file:///a%20b" or "file://localhost/a". */
static enum qn_status path_of_url(const char *url, struct qn_buffer *path, struct qn_error *err)
{
    char shown[256];
    const char *at = url + strlen("file://");
    if (qn_text_starts_nocase(at, "localhost/")) {
        at += strlen("localhost");
    }
    (void)qn_shown(url, strlen(url), shown, sizeof shown);
    if (*at != '/') {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "\"%s\" names a file of another machine", shown);
    }
    for (; *at != '\0'; at++) {
        int high = at[0] == '%' ? hex_digit(at[1]) : -1;
        int low = high >= 0 ? hex_digit(at[2]) : -1;
        if (at[0] == '%' && (low < 0 || high * 16 + low == 0)) {
            return qn_error_set(err, QN_ERR_CONFIG, "\"%s\": what follows a %% is not a byte of a path", shown);
        }
        qn_buffer_append_byte(path, at[0] == '%' ? (char)(high * 16 + low) : at[0]);
        at += at[0] == '%' ? 2 : 0;
    }
    return qn_buffer_check(path, "a path", err);
}

static enum qn_status open_file(const char *url, const char *folder, int *fd_out, struct qn_reference_facts *facts,
                                struct qn_error *err)
{
    char shown[256];
    struct stat found;
    qn_auto_buffer path = QN_BUFFER_INIT;
    (void)qn_shown(url, strlen(url), shown, sizeof shown);
    if (qn_text_starts_nocase(url, "file://")) {
        QN_TRY(path_of_url(url, &path, err));
    } else if (has_scheme(url)) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED,
                            "a reference is a file, file://, http:// or https://, not \"%.20s\"", url);
    } else {
        qn_buffer_printf(&path, "%s%s%s", url[0] != '/' && folder != NULL ? folder : "",
                         url[0] != '/' && folder != NULL ? "/" : "", url);
        QN_TRY(qn_buffer_check(&path, "a path", err));
    }
    int fd = open(path.data, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "\"%s\": %s", shown, strerror(errno));
    }
    enum qn_status status = qn__file_check(fd, shown, &found, err);
    if (status != QN_OK) {
        (void)close(fd);
        return status;
    }
    facts->size = found.st_size;
    qn__file_version(&found, facts->version);
    facts->content_type[0] = '\0';
    *fd_out = fd;
    return QN_OK;
}

/* ---- http and https ---- */

static enum qn_status target(const char *url, double timeout, struct qn_http **out, struct qn_error *err)
{
    double seconds = timeout > 0 ? (timeout < MAX_SECONDS ? timeout : MAX_SECONDS) : DEFAULT_SECONDS;
    struct qn_http_options options = { .url = url, .silence_ms = (int64_t)(seconds * 1000) };
    options.silence_ms = options.silence_ms > 0 ? options.silence_ms : 1;
    return qn_http_new(&options, out, err);
}

enum qn_status qn_reference_open(const char *url, const char *folder, double timeout, int *fd_out,
                                 struct qn_reference_facts *facts, struct qn_error *err)
{
    struct qn_http *http;
    struct qn_reference_facts ignored;
    facts = facts != NULL ? facts : &ignored;
    if (!is_web(url)) {
        return open_file(url, folder, fd_out, facts, err);
    }
    QN_TRY(target(url, timeout, &http, err));
    enum qn_status status = qn_http_fetch(http, NULL, fd_out, facts, err);
    qn_http_free(http);
    return status;
}
