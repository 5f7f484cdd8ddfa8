/*
 * config.h: what the engine knows of a configuration besides include/qanat/database.h: the parser of URIs and the typed
 * readers of options that drivers use.
 */
#ifndef QN_DB_CONFIG_H
#define QN_DB_CONFIG_H

#include "base/status.h"

#include <qanat/database.h>

#define QN_URI_MAX         65536
#define QN_CONFIG_MAX_KEYS 256

enum qn_status qn_config_copy(const struct qn_config *config, struct qn_config **out,
                              struct qn_error *err) QN_MUST_CHECK;

/* Typed options; `fallback` where the key is absent. A value that does not parse is QN_ERR_CONFIG naming key and value. */
enum qn_status qn_config_bool(const struct qn_config *config, const char *key, bool fallback, bool *out,
                              struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_config_int64(const struct qn_config *config, const char *key, int64_t fallback, int64_t low,
                               int64_t high, int64_t *out, struct qn_error *err) QN_MUST_CHECK;
/* Seconds ("1.5", "30") or with a unit ("500ms", "30s", "5m"), in milliseconds. */
enum qn_status qn_config_duration_ms(const struct qn_config *config, const char *key, int64_t fallback, int64_t *out,
                                     struct qn_error *err) QN_MUST_CHECK;

#endif
