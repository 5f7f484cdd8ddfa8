/*
 * library.h: shared libraries that are loaded while we run.
 *
 * A library that was loaded stays in the process: what it started or gave away (threads, exit handlers, functions that
 * release memory) would not survive its end. Threads: no state.
 */
#ifndef QN_OS_LIBRARY_H
#define QN_OS_LIBRARY_H

#include "base/status.h"

/* Load the file at `path`, which needs a "/" to be one (nothing is searched). QN_ERR_CONFIG: not found, or no library. The
 * handle is never given back. */
enum qn_status qn_library_load(const char *path, void **library_out, struct qn_error *err) QN_MUST_CHECK;

/* What the library exports under that name; NULL: nothing. A function pointer is copied out of it. */
void *qn_library_symbol(void *library, const char *name);

#endif
