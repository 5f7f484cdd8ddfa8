/*
 * discover.h: discovery for callers who judge locations one by one.
 */
#ifndef QN_CONNECTOR_DISCOVER_H
#define QN_CONNECTOR_DISCOVER_H

#include <qanat/connector.h>

/* As qn_connector_discover, but what the connector says more than once is handed on as often: a bundle sets that location
 * aside and takes the others. */
enum qn_status qn__connector_discover_twice(struct qn_connector *connector, const char *const *attached, size_t n,
                                            qn_location_callback each, void *context,
                                            struct qn_error *err) QN_MUST_CHECK;

#endif
