/*
 * tier.h: which tier of the sandbox runs are put into. Threads: any.
 */
#ifndef QN_PROCESSOR_TIER_H
#define QN_PROCESSOR_TIER_H

#include "sandbox/sandbox.h"

/* QANAT_SANDBOX=reduced: that. Where the administrator has allowed it otherwise: full where the machine gives all layers.
 * Without such a word: full, whatever comes of it. QN_ERR_CONFIG for another value of QANAT_SANDBOX. */
enum qn_status qn_tier_choose(const char *launcher, enum qn_sandbox_tier *out, struct qn_error *err) QN_MUST_CHECK;

/* A sandbox of this tier could not be started (*err says how it failed): where the machine lacks a layer, say which, and what
 * to do about it, instead. */
void qn_tier_explain(const char *launcher, enum qn_sandbox_tier tier, struct qn_error *err);

const char *qn_tier_name(enum qn_sandbox_tier tier); /* "full"; static */

#endif
