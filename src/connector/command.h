/*
 * command.h: the command line of an `ipc::` connector as words, cut as a shell cuts them, without a shell.
 *
 * Words are separated by white space. '...' is literal; "..." too, but for \ before " and \; outside of quotes \ makes the
 * next character literal. Nothing is expanded, and no other character means anything. Threads: no state.
 */
#ifndef QN_CONNECTOR_COMMAND_H
#define QN_CONNECTOR_COMMAND_H

#include "base/status.h"

#include <stddef.h>

#define QN_COMMAND_MAX_WORDS 1000

struct qn_command {
    char **argv; /* ended by NULL */
    size_t n;
    char *memory;
};

/* Cut `text`. Where the first word ends in ".py", `interpreter` (NULL: "python3") becomes the word before it. QN_ERR_CONFIG
 * where there is no word, a quote has no end, or there are too many words. */
enum qn_status qn_command_split(const char *text, const char *interpreter, struct qn_command *out,
                                struct qn_error *err) QN_MUST_CHECK;
void qn_command_dispose(struct qn_command *command);

#endif
