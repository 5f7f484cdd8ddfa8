/*
 * launcher.h: what the files of the launcher share; nobody else includes it.
 *
 * All of it runs in the launcher's one thread, before any untrusted code. A failure carries its remedy as the hint.
 */
#ifndef QN_SANDBOX_LAUNCHER_H
#define QN_SANDBOX_LAUNCHER_H

#include "sandbox/sandbox.h"

#define QN_NOBODY 65534 /* the user and group that root becomes */

/* ---- policy.c ---- */

/* A policy as it was read; the texts of `policy` lie in `bytes`. */
struct qn_policy_file {
    struct qn_sandbox_policy policy;
    struct qn_buffer bytes;
    const char **lists; /* the four arrays, one behind the other */
};
void qn__policy_dispose(struct qn_policy_file *file);
/* Read, parse and check what qn_sandbox_policy_write wrote. */
enum qn_status qn__policy_read(int fd, struct qn_policy_file *out, struct qn_error *err) QN_MUST_CHECK;

/* ---- remedy.c ---- */

/* Fail for `layer` with errno's text, and what the administrator can do about it as the hint. proc_fd: on /proc. */
enum qn_status qn__layer_failed(enum qn_sandbox_layer layer, int proc_fd, const char *what, struct qn_error *err);

/* ---- namespace.c ---- */

/* True where this process may make mounts without a user namespace of its own. */
bool qn__is_privileged(void);
/* Become QN_NOBODY where this process is root and that user exists in its user namespace; nothing otherwise. */
enum qn_status qn__become_nobody(struct qn_error *err) QN_MUST_CHECK;
/* The same, but only where QN_NOBODY can reach what the policy needs. */
enum qn_status qn__become_nobody_if_reachable(const struct qn_sandbox_policy *policy,
                                              struct qn_error *err) QN_MUST_CHECK;
/* Enter a user namespace in which this process has the id that it has outside, and every capability. */
enum qn_status qn__enter_user_namespace(int proc_fd, struct qn_error *err) QN_MUST_CHECK;
/* Enter a mount namespace with an empty, writable root at /proc; or one for network, IPC and host name. */
enum qn_status qn__enter_mount_namespace(int proc_fd, struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn__enter_network_namespace(int proc_fd, struct qn_error *err) QN_MUST_CHECK;
/* All of the above and the root of the policy, in the order that this process's rights ask for. */
enum qn_status qn__enter_namespaces(const struct qn_sandbox_policy *policy, int proc_fd,
                                    struct qn_error *err) QN_MUST_CHECK;

/* ---- filter.c ---- */

/* Compile the rules and write the program into a new sealed memfd (not close-on-exec). */
enum qn_status qn__filter_make(bool network, int *fd_out, struct qn_error *err) QN_MUST_CHECK;

#endif
