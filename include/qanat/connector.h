/*
 * connector.h: connectors: what delivers tables from somewhere, in this process or in one of its own.
 *
 * A connector discovers locations and gives the data of each as an Arrow stream. Where it runs is said by its URI:
 *   python::module:Class   in this process, by the Python package (a C program without Python gets a typed error)
 *   ipc::command ...       a process of its own that speaks the connector protocol (docs/protocol/connector.md)
 *   ffi::path.so[:symbol]  a shared library with the C ABI of sdk/c/qanat_connector.h
 *   java::x.jar            `java -jar x.jar`, as ipc::
 *   docker::image[:tag]    `docker run -i --rm image`, as ipc::
 *   cassette::file         replays a recorded conversation (docs/formats/cassette.md)
 *   files, http, database  built in, without "::"
 * All but those that are built in and cassettes run code from outside: they are refused unless allow_external_code is set.
 * Threads: a connector is used by any number of threads at once; a stream by one at a time.
 */
#ifndef QANAT_CONNECTOR_H
#define QANAT_CONNECTOR_H

#include <qanat/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

struct qn_connector;

/* One piece of data that a connector has. Texts are borrowed. */
struct qn_location {
    size_t struct_size;
    const char *location; /* its identifier: any text */
    bool must_copy;       /* the data has to be copied; otherwise a reference may do */
    const char *format;   /* "parquet" */
    const char *version;  /* "": unknown */
    int64_t num_rows;     /* -1: unknown */
};
#define QN_LOCATION_INIT                                                                                               \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_location), .must_copy = true, .format = "parquet", .version = "",              \
        .num_rows = -1                                                                                                 \
    }

/* What the other side says while it works. Called on the thread that waits. Texts are borrowed for the call. */
struct qn_connector_events {
    size_t struct_size;
    void *context;
    void (*log)(void *context, const char *level, const char *message); /* also lines of its standard error */
    void (*progress)(void *context, int64_t rows, int64_t total, const char *text);
};

struct qn_connector_options {
    size_t struct_size;
    const char *name;         /* for messages: "acme.weather"; NULL: the URI */
    const char *arguments;    /* JSON object of texts, given to every call; NULL: none */
    const char *folder;       /* where relative paths of the URI begin; NULL: the current one */
    const char *interpreter;  /* what runs a bare `script.py` of ipc::, cut into words as a command is; NULL: python3 */
    bool allow_external_code; /* an administrator's decision: never one that a task or a bundle carries */
    double timeout;           /* seconds that one call may go without a sign of life; 0: 300 */
    int processes;            /* of ipc::, java:: and docker:: at most, started as they are needed; 0: 16 */
    int retries;              /* of a call that failed with a retryable error; -1: none, 0: 3 */
    const char *record;       /* cassette to which everything asked and answered is appended; NULL: none */
    struct qn_connector_events events;
    const char *
        working_folder; /* the current folder of its processes; NULL: this process's. `folder` has to be absolute then */
};
#define QN_CONNECTOR_OPTIONS_INIT                                                                                      \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_connector_options)                                                             \
    }

/* Check the URI and open the connector. A process is started by the first call. QN_ERR_CONFIG for a URI or arguments that
 * are wrong; QN_ERR_FORBIDDEN where external code is not allowed; QN_ERR_UNSUPPORTED for a runtime that this build has not. */
QN_API enum qn_status qn_connector_open(const char *uri, const struct qn_connector_options *options,
                                        struct qn_connector **out, struct qn_error *err) QN_MUST_CHECK;

/* Ends its processes (end of file, SIGTERM, SIGKILL of the group). Streams that are open fail afterwards. NULL is allowed. */
QN_API void qn_connector_free(struct qn_connector *connector);

/* Called once a location; borrowed for the call. An error ends discovery with it. */
typedef enum qn_status (*qn_location_callback)(void *context, const struct qn_location *location, struct qn_error *err);

/* Ask for the locations, given those that are attached (n texts). Blocks. */
QN_API enum qn_status qn_connector_discover(struct qn_connector *connector, const char *const *attached, size_t n,
                                            qn_location_callback each, void *context,
                                            struct qn_error *err) QN_MUST_CHECK;

/* What of the data is needed. What the connector does not do itself is done here: the stream is always as asked. */
struct qn_data_request {
    size_t struct_size;
    const char *const *columns; /* NULL: all */
    size_t n_columns;
    const char *filter; /* JSON filter expression (docs/protocol/connector.md); NULL: none */
    int64_t limit;      /* rows; -1: all */
    int64_t skip_rows;  /* rows that the caller has already; QN_ERR_UNSUPPORTED where the order is not stable; 0 */
};
#define QN_DATA_REQUEST_INIT                                                                                           \
    {                                                                                                                  \
        .struct_size = sizeof(struct qn_data_request), .limit = -1                                                     \
    }

/* The data of a location. *out is released (its release is NULL) where there is none. The stream fails with the
 * connector's error (QN_ERR_CONNECTOR; QN_ERR_TIMEOUT where it gave no sign of life; QN_ERR_DATA for bad values); the
 * message names connector and location, the tail of its standard error is the detail. A retryable error is retried: before
 * the first row from the start, later only where the connector's order is stable, after the rows that were delivered.
 * Releasing it early cancels. It outlives the connector only to fail. `location` and `request` are borrowed for the call. */
QN_API enum qn_status qn_connector_data(struct qn_connector *connector, const struct qn_location *location,
                                        const struct qn_data_request *request, struct ArrowArrayStream *out,
                                        struct qn_error *err) QN_MUST_CHECK;

/* What a connector can do besides. Asking may start its process. */
enum qn_capability {
    QN_CAN_RESUME = 1,   /* the order of a location's rows is stable: skip_rows makes sense */
    QN_CAN_DISCOVER_MUCH /* locations come in pages: their number is not bounded by one message */
};
QN_API enum qn_status qn_connector_can(struct qn_connector *connector, enum qn_capability what, bool *out,
                                       struct qn_error *err) QN_MUST_CHECK;

/* The stable URL of a location: the caller's, freed by qn_text_free; *out is NULL where there is none. */
QN_API enum qn_status qn_connector_stable_url(struct qn_connector *connector, const struct qn_location *location,
                                              char **out, struct qn_error *err) QN_MUST_CHECK;

/* What it says of itself, as JSON: {"name", "arguments", "capabilities", "protocol"}. The caller's. */
QN_API enum qn_status qn_connector_describe(struct qn_connector *connector, char **out,
                                            struct qn_error *err) QN_MUST_CHECK;

QN_API void qn_text_free(char *text);

#ifdef __cplusplus
}
#endif
#endif
