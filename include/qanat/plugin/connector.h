/*
 * plugin/connector.h: what a connector runtime implements: python::, ffi::, ipc:: and the built-in connectors do.
 *
 * A runtime opens connectors of its kind; the core (src/connector) does what is alike for all: permission, arguments,
 * projection, filter, limit and skip where the runtime did not, retries (an error says by `retryable` and
 * `retry_after_ms` whether and when), messages, recording. Of a runtime's errors QN_ERR_QUERY, QN_ERR_CONNECTION and
 * QN_ERR_PROTOCOL become QN_ERR_CONNECTOR. Functions are called by several threads at once unless `one_at_a_time` is
 * set; the streams of one connector are then also used one call at a time.
 */
#ifndef QANAT_PLUGIN_CONNECTOR_H
#define QANAT_PLUGIN_CONNECTOR_H

#include <qanat/connector.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QN_CONNECTOR_ABI 1

#define QN_APPLIED_PROJECTION 1U
#define QN_APPLIED_FILTER     2U
#define QN_APPLIED_LIMIT      4U
#define QN_APPLIED_SKIP       8U

struct qn_connector_opening {
    size_t struct_size;
    const char *name;                         /* for messages */
    const char *entrypoint;                   /* what follows "::" */
    const char *arguments;                    /* JSON object; never NULL */
    const char *folder;                       /* or NULL */
    const char *interpreter;                  /* or NULL */
    double timeout;                           /* seconds; more than 0 */
    int processes;                            /* at least 1 */
    const struct qn_connector_events *events; /* valid while the connector is open */
    const char *working_folder;               /* or NULL */
};

struct qn_connector_runtime {
    size_t struct_size;
    uint32_t abi;       /* QN_CONNECTOR_ABI */
    const char *name;   /* "python" */
    bool external;      /* runs code from outside: allow_external_code is needed */
    bool one_at_a_time; /* calls of one connector never overlap */
    /* REQUIRED. *self_out belongs to the core until close. */
    enum qn_status (*open)(void *context, const struct qn_connector_opening *opening, void **self_out,
                           struct qn_error *err);
    void (*close)(void *self); /* REQUIRED */
    enum qn_status (*discover)(void *self, const char *const *attached, size_t n, qn_location_callback each,
                               void *each_context, struct qn_error *err); /* REQUIRED */
    /* REQUIRED. *applied_out: QN_APPLIED_ bits of what the stream has done already; *out released: no data. */
    enum qn_status (*data)(void *self, const struct qn_location *location, const struct qn_data_request *request,
                           struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err);
    /* OPTIONAL. *out is malloc'ed or NULL. */
    enum qn_status (*stable_url)(void *self, const struct qn_location *location, char **out, struct qn_error *err);
    enum qn_status (*describe)(void *self, char **out, struct qn_error *err); /* OPTIONAL; JSON, malloc'ed */
    /* OPTIONAL: bit N is set for capability N of enum qn_capability. */
    enum qn_status (*capabilities)(void *self, uint32_t *out, struct qn_error *err);
    void *context; /* given to open */
};

/* Register a runtime; the struct must stay valid. QN_ERR_ARGUMENT where a required function is missing or the name is
 * taken. Any thread. */
QN_API enum qn_status qn_connector_runtime_register(const struct qn_connector_runtime *runtime,
                                                    struct qn_error *err) QN_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
