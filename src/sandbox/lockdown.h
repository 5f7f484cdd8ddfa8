/*
 * lockdown.h: the steps of the lock-down, one file each; lockdown.c puts them in order. The launcher and the worker.
 */
#ifndef QN_SANDBOX_LOCKDOWN_H
#define QN_SANDBOX_LOCKDOWN_H

#include "sandbox/sandbox.h"

#include <sys/resource.h>

#define QN_STACK_SIZE ((rlim_t)8 << 20)

/* limits.c: every limit of the process (RLIMIT_*). */
enum qn_status qn__limits_apply(const struct qn_lockdown *lockdown, struct qn_error *err) QN_MUST_CHECK;

/* capabilities.c: give up every capability for good, and check that none is left. */
enum qn_status qn__capabilities_drop(struct qn_error *err) QN_MUST_CHECK;

/* landlock.c: the ABI of this kernel, 0 where there is none with errno set; and putting this process under a rule set. */
int qn__landlock_abi(void);
enum qn_status qn__landlock_restrict(int ruleset_fd, struct qn_error *err) QN_MUST_CHECK;

/* fork.c: a descriptor (pidfd) of the process that forked this one; -1 in one that was not forked by qn_sandbox_fork. */
int qn__sandbox_parent_fd(void);

#endif
