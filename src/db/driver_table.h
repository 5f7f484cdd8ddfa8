/*
 * driver_table.h: the drivers that this process has. Built-in ones stand in one array; qn_driver_register adds others.
 */
#ifndef QN_DB_DRIVER_TABLE_H
#define QN_DB_DRIVER_TABLE_H

#include "base/status.h"

#include <qanat/plugin/driver.h>

extern const struct qn_driver qn__driver_postgres;
extern const struct qn_driver qn__driver_sqlite;

/* By name or alias, any case; NULL where there is none. */
const struct qn_driver *qn_driver_find(const char *name);

/* "postgres, sqlite", for messages. */
void qn_driver_names(char *out, size_t size);

#endif
