/*
 * location.c: what a connector may call a piece of its data, and where the retry list has it. Any text is fine that a commit
 * can hold: no file is named so. No state.
 */
#include "base/utf8.h"
#include "bundle/blocks.h"

#include <string.h>

static enum qn_status check_text(const char *what, const char *text, struct qn_error *err)
{
    size_t size = strnlen(text, QN_COMMIT_MAX_TEXT + 1);
    if (size > QN_COMMIT_MAX_TEXT) {
        return qn_error_set(err, QN_ERR_DATA, "a %s is longer than %zu bytes", what, QN_COMMIT_MAX_TEXT);
    }
    return qn_utf8_valid(text, size) ? QN_OK : qn_error_set(err, QN_ERR_DATA, "a %s is not UTF-8", what);
}

enum qn_status qn__location_check(const char *location, const char *version, struct qn_error *err)
{
    if (location[0] == '\0') {
        return qn_error_set(err, QN_ERR_DATA, "a location is empty");
    }
    QN_TRY(check_text("location", location, err));
    return check_text("version of a location", version, err);
}

enum qn_status qn__url_check(const char *url, struct qn_error *err)
{
    return url[0] == '\0' ? qn_error_set(err, QN_ERR_DATA, "the URL of a location is empty")
                          : check_text("URL of a location", url, err);
}

enum qn_status qn__failure_name(const char *source, const char *location, char out[QN_SHA256_TEXT_SIZE],
                                struct qn_error *err)
{
    struct evp_md_ctx_st *digest = NULL;
    struct qn_sha256 hash;
    QN_TRY(qn_digest_new(&digest, err));
    enum qn_status status = qn_digest_update(digest, source, strlen(source) + 1, err);
    if (status == QN_OK) {
        status = qn_digest_update(digest, location, strlen(location), err);
    }
    if (status == QN_OK) {
        status = qn_digest_finish(digest, &hash, err);
    }
    qn_digest_free(digest);
    if (status == QN_OK) {
        qn_sha256_format(&hash, out);
    }
    return status;
}
