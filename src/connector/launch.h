/*
 * launch.h: the command lines of connectors that run in processes of their own, from what follows "::" in their URIs.
 *
 *   ipc::command ...       the words of the command; a bare `script.py` runs under the interpreter
 *   java::x.jar ...        java -jar x.jar ...
 *   docker::image ...      docker run -i --rm image ...
 * A relative path of a script, of a program with a "/" in it, or of a jar begins at `folder`. So does that of the first word
 * after a program on PATH and its options, where such a file is there: `python3 -u conn.py`. What is to be run has to be
 * there. Threads: no state.
 */
#ifndef QN_CONNECTOR_LAUNCH_H
#define QN_CONNECTOR_LAUNCH_H

#include "base/status.h"

#include <stdbool.h>

struct qn_launch {
    char **argv; /* ended by NULL; every word and the list are owned */
    int n;
};

/* `folder` and `interpreter` may be NULL. QN_ERR_CONFIG where the command is none or names what is not there. */
enum qn_status qn_launch_ipc(const char *entrypoint, const char *folder, const char *interpreter, struct qn_launch *out,
                             struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_launch_java(const char *entrypoint, const char *folder, struct qn_launch *out,
                              struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_launch_docker(const char *entrypoint, struct qn_launch *out, struct qn_error *err) QN_MUST_CHECK;
/* Whether PATH has a program of that name. */
bool qn_launch_is_on_path(const char *program);
void qn_launch_dispose(struct qn_launch *launch);

#endif
