/*
 * reference.h: data that stays where it is: a URL or path as the descriptor of a regular file.
 *
 * References are absolute paths, paths relative to a folder, `file://` URLs of this machine, and `http://` and `https://`
 * URLs. Anything else is QN_ERR_UNSUPPORTED. Texts of errors have no user information and no query values that are
 * secrets. Threads: any.
 */
#ifndef QN_CONNECTOR_REFERENCE_H
#define QN_CONNECTOR_REFERENCE_H

#include "base/status.h"

struct qn_reference_facts {
    int64_t size;           /* bytes; -1: unknown */
    char version[320];      /* as the `files` and `http` connectors say it; "": unknown */
    char content_type[128]; /* of HTTP; "": unknown */
};

/* Open for reading, at its beginning. `folder` (NULL: the current one) is where relative paths begin; `timeout` is how many
 * seconds a server may be silent (0: 300). What comes by HTTP is kept in an unlinked temporary file. *fd_out is the
 * caller's; `facts` may be NULL. */
enum qn_status qn_reference_open(const char *url, const char *folder, double timeout, int *fd_out,
                                 struct qn_reference_facts *facts, struct qn_error *err) QN_MUST_CHECK;

#endif
