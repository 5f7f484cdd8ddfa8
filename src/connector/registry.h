/*
 * registry.h: the connector runtimes of this process: the built-in ones and those that were registered.
 *
 * Threads: any. Runtimes are never taken away, so what is found stays valid.
 */
#ifndef QN_CONNECTOR_REGISTRY_H
#define QN_CONNECTOR_REGISTRY_H

#include "base/buffer.h"

#include <qanat/plugin/connector.h>

/* The runtime of that name, of exactly `size` bytes; NULL where there is none. */
const struct qn_connector_runtime *qn_connector_runtime_find(const char *name, size_t size);

/* The index-th connector whose name is a whole URI ("files"). NULL past the last. */
const char *qn_connector_built_in(size_t index);

/* Append the names of all runtimes, as a URI has them: "ipc::, files". */
void qn_connector_runtime_names(struct qn_buffer *out);

/* Built-in runtimes. */
extern const struct qn_connector_runtime qn__runtime_cassette;
extern const struct qn_connector_runtime qn__runtime_database;
extern const struct qn_connector_runtime qn__runtime_docker;
extern const struct qn_connector_runtime qn__runtime_ffi;
extern const struct qn_connector_runtime qn__runtime_files;
extern const struct qn_connector_runtime qn__runtime_http;
extern const struct qn_connector_runtime qn__runtime_ipc;
extern const struct qn_connector_runtime qn__runtime_java;

#endif
