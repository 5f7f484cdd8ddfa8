/*
 * location_json.h: locations in JSON, as connectors tell them and are asked for them (docs/protocol/connector.md).
 *
 * What is read is hostile. Threads: no state.
 */
#ifndef QN_CONNECTOR_LOCATION_JSON_H
#define QN_CONNECTOR_LOCATION_JSON_H

#include "wire/rpc.h"

#include <qanat/connector.h>

#define QN_LOCATION_MAX_NAME (64u << 10) /* bytes of each of its texts */

/* One location; its texts are borrowed from `value`. What is missing, or null, has its default. QN_ERR_PROTOCOL. */
enum qn_status qn_location_read(const json_t *value, struct qn_location *out, struct qn_error *err) QN_MUST_CHECK;

/* The same as an object of the caller's; NULL where memory is out or a text is not UTF-8. */
json_t *qn_location_write(const struct qn_location *location);

/* The reply to `discover`: {"locations": [...]} and perhaps {"next": text}. Calls `each` for every location, whose error
 * ends it. *next_out: borrowed from the reply, or NULL: that was all. */
enum qn_status qn_locations_read(const json_t *reply, qn_location_callback each, void *context, const char **next_out,
                                 struct qn_error *err) QN_MUST_CHECK;

#endif
