/*
 * connector_uri.c: looks for the file that a connector's URI names.
 *
 * `ffi::path.so[:symbol]`, `java::x.jar`, `cassette::file`, `ipc::command ...`, where a command is a script (*.py), a path,
 * or a name that PATH has. Threads: no state but the current folder.
 */
#include "bundle/connector_uri.h"

#include "base/memory.h"
#include "base/text.h"
#include "connector/command.h"
#include "connector/launch.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define SCRIPT_MARK "qanat-script" /* stands for the interpreter, which is of no interest here */

/* Where relative paths may begin. */
struct places {
    const char *folder; /* NULL: the current one */
    const char *bundle;
};

static enum qn_status not_found(const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_CONFIG, "\"%.300s\" not found", what);
}

static bool is_below(const char *folder, const char *path)
{
    char below[PATH_MAX];
    int size = snprintf(below, sizeof below, "%s/%s", folder, path);
    return size > 0 && (size_t)size < sizeof below && access(below, R_OK) == 0;
}

static enum qn_status find_file(const char *path, const struct places *places, bool *of_bundle_out,
                                struct qn_error *err)
{
    if (path[0] == '\0') {
        return qn_error_set(err, QN_ERR_CONFIG, "the URI names no file");
    }
    bool whole = path[0] == '/' || places->folder == NULL;
    if (whole ? access(path, R_OK) == 0 : is_below(places->folder, path)) {
        *of_bundle_out = false;
        return QN_OK;
    }
    if (path[0] != '/' && is_below(places->bundle, path)) {
        *of_bundle_out = true;
        return QN_OK;
    }
    return not_found(path, err);
}

/* The path before ":symbol". */
static enum qn_status find_library(const char *entry, const struct places *places, bool *of_bundle_out,
                                   struct qn_error *err)
{
    size_t size = strlen(entry);
    const char *colon = strrchr(entry, ':');
    if (colon != NULL && strchr(colon, '/') == NULL) {
        size = (size_t)(colon - entry);
    }
    qn_auto_free char *path = qn_strndup(entry, size);
    return path != NULL ? find_file(path, places, of_bundle_out, err) : qn__no_memory(err);
}

static enum qn_status find_command(const char *entry, const struct places *places, bool *of_bundle_out,
                                   struct qn_error *err)
{
    struct qn_command command;
    QN_TRY(qn_command_split(entry, SCRIPT_MARK, &command, err));
    enum qn_status status;
    if (command.n > 1 && qn_text_equal(command.argv[0], SCRIPT_MARK)) {
        status = find_file(command.argv[1], places, of_bundle_out, err);
    } else if (strchr(command.argv[0], '/') != NULL) {
        status = find_file(command.argv[0], places, of_bundle_out, err);
    } else {
        status = qn_launch_is_on_path(command.argv[0]) ? QN_OK : not_found(command.argv[0], err);
    }
    qn_command_dispose(&command);
    return status;
}

enum qn_status qn__connector_uri_find(const char *uri, const char *folder, const char *bundle_path, bool *of_bundle_out,
                                      struct qn_error *err)
{
    static const struct {
        const char *prefix;
        enum qn_status (*find)(const char *entry, const struct places *places, bool *of_bundle_out,
                               struct qn_error *err);
    } kinds[] = {
        { "ffi::", find_library },
        { "java::", find_file },
        { "cassette::", find_file },
        { "ipc::", find_command },
    };
    const struct places places = { .folder = folder, .bundle = bundle_path };
    bool of_bundle = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t size = strlen(kinds[i].prefix);
        if (strncmp(uri, kinds[i].prefix, size) == 0) {
            QN_TRY(kinds[i].find(uri + size, &places, &of_bundle, err));
        }
    }
    *of_bundle_out = of_bundle;
    return QN_OK;
}
