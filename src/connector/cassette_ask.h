/*
 * cassette_ask.h: requests as a cassette holds them; the recorder writes them, the replay looks for them.
 *
 * Threads: no state.
 */
#ifndef QN_CONNECTOR_CASSETTE_ASK_H
#define QN_CONNECTOR_CASSETTE_ASK_H

#include "base/status.h"

#include <jansson.h>
#include <qanat/connector.h>

/* Objects of the caller's. QN_ERR_ARGUMENT where a text is not UTF-8. What is attached has no order. */
enum qn_status qn_cassette_ask_discover(const char *const *attached, size_t n, json_t **out,
                                        struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_cassette_ask_data(const struct qn_location *location, const struct qn_data_request *request,
                                    json_t **out, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_cassette_ask_stable_url(const struct qn_location *location, json_t **out,
                                          struct qn_error *err) QN_MUST_CHECK;

#endif
