/*
 * connector_uri.h: the file that a connector's URI names: whether it is there, and in which folder.
 *
 * Nothing is run or loaded. Threads: no state but the current folder.
 */
#ifndef QN_BUNDLE_CONNECTOR_URI_H
#define QN_BUNDLE_CONNECTOR_URI_H

#include "base/status.h"

/* Look for the library of ffi::, the jar of java::, the script or program of ipc::, the recording of cassette::; a relative
 * path first in `folder` (NULL: the current one), then in the bundle's (*of_bundle_out). QN_ERR_CONFIG "not found". Other
 * URIs name no file. */
enum qn_status qn__connector_uri_find(const char *uri, const char *folder, const char *bundle_path, bool *of_bundle_out,
                                      struct qn_error *err) QN_MUST_CHECK;

#endif
