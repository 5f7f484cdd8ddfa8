/*
 * connect.c: opens the connector of a name, as the configuration allows.
 *
 * What a connector says while it works goes to the log of the process, unless the caller listens itself. Threads: see
 * bundle_private.h.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/bundle_private.h"
#include "bundle/connector_uri.h"

#define TIMEOUT     300.0 /* seconds */
#define MAX_TIMEOUT 1e9

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

static enum qn_status open_uri(struct qn_bundle *bundle, const char *uri, struct qn_connector_options *options,
                               struct qn_connector **out, struct qn_error *err)
{
    bool of_bundle = false;
    QN_TRY(qn__bundle_flag(bundle, "system.allow_external_code", false, &options->allow_external_code, err));
    QN_TRY(qn__bundle_number(bundle, "system.connector_timeout", 0.001, MAX_TIMEOUT, TIMEOUT, &options->timeout, err));
    if (options->allow_external_code) { /* else the refusal is what the caller has to hear */
        enum qn_status status = qn__connector_uri_find(uri, bundle->path, &of_bundle, err);
        if (status != QN_OK) {
            qn_error_prefix(err, "connector \"%.80s\"", options->name);
            return status;
        }
    }
    options->folder = of_bundle ? bundle->path : NULL;
    options->interpreter = bundle->interpreter;
    return qn_connector_open(uri, options, out, err);
}

enum qn_status qn__bundle_connector(struct qn_bundle *bundle, const char *name, const char *arguments, int processes,
                                    const struct qn_connector_events *events, struct qn_connector **out,
                                    struct qn_error *err)
{
    static const struct qn_connector_events to_log = { .struct_size = sizeof to_log, .log = log_message };
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    qn_auto_free char *uri = NULL;
    QN_TRY(qn__bundle_connector_uri(bundle, name, &uri, err));
    options.name = name;
    options.arguments = arguments;
    options.processes = processes;
    options.events = events != NULL ? *events : to_log;
    return open_uri(bundle, uri, &options, out, err);
}
