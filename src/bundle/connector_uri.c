/*
 * connector_uri.c: looks for the file that a connector's URI names (connector/locate.h), in two folders.
 */
#include "bundle/connector_uri.h"

#include "connector/launch.h"
#include "connector/locate.h"

#include <unistd.h>

static enum qn_status not_found(const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_CONFIG, "\"%.300s\" not found", what);
}

/* Whether a file is there, below `folder` (NULL: the current one) where its path is relative. */
static bool is_there(const char *folder, const char *path)
{
    qn_auto_buffer whole = QN_BUFFER_INIT;
    return qn_locate_path(folder, path, &whole, NULL) == QN_OK && access(whole.data, R_OK) == 0;
}

static enum qn_status find(const struct qn_needs *needs, const char *folder, const char *bundle_path,
                           bool *of_bundle_out, struct qn_error *err)
{
    bool of_bundle = false;
    if (needs->program != NULL && !qn_launch_is_on_path(needs->program)) {
        return not_found(needs->program, err);
    }
    if (needs->file != NULL && !is_there(folder, needs->file)) {
        of_bundle = needs->file[0] != '/' && is_there(bundle_path, needs->file);
        if (!of_bundle) {
            return not_found(needs->file, err);
        }
    }
    *of_bundle_out = of_bundle;
    return QN_OK;
}

enum qn_status qn__connector_uri_find(const char *uri, const char *folder, const char *bundle_path, bool *of_bundle_out,
                                      struct qn_error *err)
{
    struct qn_needs needs;
    QN_TRY(qn_locate_needs(uri, &needs, err));
    enum qn_status status = find(&needs, folder, bundle_path, of_bundle_out, err);
    qn_needs_dispose(&needs);
    return status;
}
