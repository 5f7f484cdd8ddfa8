/*
 * config_entry.h: the inside of a configuration, shared by config.c and config_uri.c only.
 */
#ifndef QN_DB_CONFIG_ENTRY_H
#define QN_DB_CONFIG_ENTRY_H

#include "db/config.h"

struct qn_config {
    size_t n;
    struct {
        char *key, *value;
    } entries[QN_CONFIG_MAX_KEYS];
};

/* Whether the value of a key must not be shown. */
bool qn__config_is_secret(const char *key);

#endif
