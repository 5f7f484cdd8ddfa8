/*
 * locate.h: the file that a connector's URI names, and where a path of a connector's begins.
 *
 * What follows "::" in the URI, `entrypoint` below: of ffi:: "path.so[:prefix]", of java:: a jar and its arguments, of
 * cassette:: a recording, of ipc:: a command (command.h): a script, a program with a "/" in it, or a name that PATH has.
 * Nothing is run or loaded. Threads: no state.
 */
#ifndef QN_CONNECTOR_LOCATE_H
#define QN_CONNECTOR_LOCATE_H

#include "base/buffer.h"
#include "connector/command.h"

#define QN_LOCATE_MAX_PREFIX 128

/* `path`, below `folder` (NULL or "": the current one) where it is relative. `out` is written anew. */
enum qn_status qn_locate_path(const char *folder, const char *path, struct qn_buffer *out,
                              struct qn_error *err) QN_MUST_CHECK;

/* Cut what follows ffi::: the path, which is the caller's, and the prefix, which lies in `entrypoint`, or NULL. */
enum qn_status qn_locate_library(const char *entrypoint, char **path_out, const char **prefix_out,
                                 struct qn_error *err) QN_MUST_CHECK;

/* The bare script that a command cut with "" as its interpreter begins with, borrowed; NULL: it begins with a program. */
const char *qn_locate_script(const struct qn_command *command);

/* What has to be there for a URI: a file, or a program on PATH; both NULL for other URIs. */
struct qn_needs {
    char *file, *program; /* owned */
};
enum qn_status qn_locate_needs(const char *uri, struct qn_needs *out, struct qn_error *err) QN_MUST_CHECK;
void qn_needs_dispose(struct qn_needs *needs);

#endif
