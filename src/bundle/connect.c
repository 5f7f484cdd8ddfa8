/*
 * connect.c: opens the connector of a name, as the configuration allows.
 *
 * What a connector says while it works goes to the log of the process. Threads: see bundle_private.h.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "bundle/bundle_private.h"
#include "bundle/connector_uri.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT 300.0 /* seconds */

static void log_message(void *context, const char *level, const char *message)
{
    (void)context;
    if (qn_text_equal(level, "error")) {
        QN_LOG(QN_LOG_ERROR, "connector", "%s", message);
    } else if (qn_text_equal(level, "warning")) {
        QN_LOG(QN_LOG_WARNING, "connector", "%s", message);
    } else if (qn_text_equal(level, "debug")) {
        QN_LOG(QN_LOG_DEBUG, "connector", "%s", message);
    } else {
        QN_LOG(QN_LOG_INFO, "connector", "%s", message);
    }
}

char *qn__current_folder(void)
{
    char *current = getcwd(NULL, 0);
    char *copy = current != NULL && qn_utf8_valid(current, strlen(current)) ? qn_strdup(current) : NULL;
    free(current); /* getcwd's */
    return copy;
}

/* `folder`, or NULL where it is not there any more, which the log is told. */
static const char *folder_that_is(const char *name, const char *folder)
{
    struct stat found;
    if (folder == NULL || (stat(folder, &found) == 0 && S_ISDIR(found.st_mode))) {
        return folder;
    }
    QN_LOG(QN_LOG_INFO, "connector",
           "connector \"%.80s\": relative paths begin in the current folder: \"%.300s\" is gone", name, folder);
    return NULL;
}

/* Processes run where the arguments' relative paths begin; what is in this process cannot, but for what is built in, whose
 * only paths are in its arguments. */
static enum qn_status place(struct qn_bundle *bundle, const char *uri, const struct qn__connecting *what,
                            struct qn_connector_options *options, struct qn_error *err)
{
    const char *current = folder_that_is(what->name, what->folder);
    const char *imported = qn__bundle_connector_folder(bundle, what->name);
    bool of_bundle = false;
    options->working_folder = current;
    options->folder = imported != NULL ? folder_that_is(what->name, imported) : current;
    if (strstr(uri, "::") == NULL) {
        options->folder = current;
        return QN_OK;
    }
    if (options->allow_external_code) { /* else the refusal is what the caller has to hear */
        enum qn_status status = qn__connector_uri_find(uri, options->folder, bundle->path, &of_bundle, err);
        if (status != QN_OK) {
            qn_error_prefix(err, "connector \"%.80s\"", options->name);
            return status;
        }
    }
    options->folder = of_bundle ? bundle->path : options->folder;
    return QN_OK;
}

/* A process that runs elsewhere is given absolute paths. */
static enum qn_status open_uri(struct qn_bundle *bundle, const char *uri, const struct qn__connecting *what,
                               struct qn_connector **out, struct qn_error *err)
{
    static const struct qn_connector_events to_log = { .struct_size = sizeof to_log, .log = log_message };
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    options.name = what->name;
    options.arguments = what->arguments;
    options.processes = what->processes;
    options.events = to_log;
    options.interpreter = bundle->interpreter;
    QN_TRY(qn__bundle_flag(bundle, "system.allow_external_code", false, &options.allow_external_code, err));
    QN_TRY(qn__bundle_timeout(bundle, TIMEOUT, &options.timeout, err));
    QN_TRY(place(bundle, uri, what, &options, err));
    qn_auto_free char *current = NULL;
    if (options.folder == NULL && options.working_folder != NULL) {
        current = qn__current_folder();
        options.folder = current;
    }
    return qn_connector_open(uri, &options, out, err);
}

enum qn_status qn__bundle_connector(struct qn_bundle *bundle, const struct qn__connecting *what,
                                    struct qn_connector **out, struct qn_error *err)
{
    qn_auto_free char *uri = NULL;
    QN_TRY(qn__bundle_connector_uri(bundle, what->name, &uri, err));
    return open_uri(bundle, uri, what, out, err);
}
