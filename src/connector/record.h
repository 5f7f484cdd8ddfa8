/*
 * record.h: a recorder between the core and the runtime of a connector: whatever is asked and answered goes to a cassette.
 *
 * A call whose recording fails fails with that error: a cassette has everything, or the caller knows. Threads: as the
 * runtime that is recorded.
 */
#ifndef QN_CONNECTOR_RECORD_H
#define QN_CONNECTOR_RECORD_H

#include "base/status.h"

#include <qanat/plugin/connector.h>

/* Stand in for the connector `*self` of `*runtime`, which was opened by `opening`; `name` may be NULL. On success both are
 * the recorder's, which closes the other; on failure they are as they were. */
enum qn_status qn_recorder_wrap(const char *path, const char *name, const struct qn_connector_opening *opening,
                                const struct qn_connector_runtime **runtime, void **self,
                                struct qn_error *err) QN_MUST_CHECK;

#endif
