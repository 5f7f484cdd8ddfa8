/*
 * jail_fixture.h: the sandbox from the outside, for its tests: each wall, in both tiers, as root and as an ordinary
 * user.
 *
 * The launcher starts the jail (jail.c) instead of an interpreter, which tries things and says what came of them. What a
 * layer does is shown where the others are out of the way: a filter that allows everything, a rule set that lets all be
 * read. A test program is given the launcher and the jail, and hands its tests to run_in_every_role.
 */
#ifndef QN_TEST_JAIL_FIXTURE_H
#define QN_TEST_JAIL_FIXTURE_H

#include "base/buffer.h"
#include "os/process.h"
#include "sandbox/sandbox.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DEADLINE_MS 60000
#define NOBODY      65534

extern char folder[64]; /* holds copies of the launcher and the jail, so that every user reaches them */
extern char launcher[PATH_MAX], jail[PATH_MAX], readable_file[PATH_MAX];
extern enum qn_sandbox_tier tier; /* of the tests as they run now */
extern struct qn_sandbox_support support;
extern bool in_container; /* the tests run under a filter such as containers have */

/* ---- starting the jail ---- */

struct outcome {
    struct qn_buffer said;   /* lines, with a line break in front of the first */
    struct qn_buffer errors; /* standard error */
    struct qn_exit how;
};

void outcome_dispose(struct outcome *outcome);
#define auto_outcome __attribute__((cleanup(outcome_dispose))) struct outcome

struct started {
    struct qn_process process;
    int control; /* our end */
};

int memfd_of(const struct qn_buffer *bytes);

/* Start the launcher with the policy of that descriptor, which is closed. */
void start_policy(int policy_fd, struct started *out);

/* Start the jail: what it does (jail.c), under which filter and rules, and with what. */
void start(const char *mode, const char *filter, const char *rules, const char *what, const char *argument,
           struct started *out);

/* Append what comes until the end, or until `until` has come. */
void read_until(int fd, const char *until, struct qn_buffer *out);

/* Read all that it says, and wait for its end. */
void finish(struct started *started, struct outcome *out);

/* Start and finish; a jail that could not do its part fails the test. */
void run_jail(const char *mode, const char *filter, const char *rules, const char *what, const char *argument,
              struct outcome *out);

/* The number said under a name; fails where nothing was. */
long said(const struct outcome *outcome, const char *name);

bool has_line(const struct outcome *outcome, const char *line);

struct expectation {
    const char *name;
    int full, reduced;
};

/* Try all of a list in one run; every one has to fail (or work) as it says. */
void expect_all(const char *filter, const char *rules, const char *argument, const struct expectation *list,
                size_t count);
#define EXPECT_ALL(filter, rules, argument, list)                                                                      \
    expect_all(filter, rules, argument, list, sizeof(list) / sizeof *(list))

/* ---- who runs the tests ---- */

/* Copy the programs of the command line into the folder; remove it again. */
bool prepare_folder(char **argv);
void remove_folder(void);

/* From here on an ordinary user; false with errno. */
bool become_nobody(void);

/* A test program's main: run a group of tests under the names given, in both tiers, as who we are, in a container, as an
 * ordinary user, and as a root that may not mount. */
int run_in_every_role(int argc, char **argv, int (*run_group)(const char *name));

#endif
