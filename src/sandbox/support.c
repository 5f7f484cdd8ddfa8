/*
 * support.c: asking the launcher which layers this kernel has. Threads: any; no state.
 */
#include "os/clock.h"
#include "os/poll.h"
#include "os/process.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PROBE_MS       ((int64_t)10000)
#define MAX_PROBE_TEXT 8192

/* What a program says until it ends, by a time: qn_file_read reads files, which keep nobody waiting. */
static enum qn_status read_all(int fd, int64_t deadline, struct qn_buffer *out, struct qn_error *err)
{
    char piece[1024];
    for (;;) {
        QN_TRY(qn_poll_one(fd, POLLIN, deadline, err));
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0) {
            return qn_error_set(err, QN_ERR_IO, "%m");
        }
        if (got == 0) {
            return qn_buffer_check(out, "its answer", err);
        }
        qn_buffer_append(out, piece, (size_t)got);
    }
}

/* One line of the launcher; see launcher.c. Counts the layers that it was told of. */
static void take_line(const char *line, struct qn_sandbox_support *out, unsigned *n_layers)
{
    unsigned layer;
    char word[8];
    if (sscanf(line, "layer %u %7s", &layer, word) == 2 && layer < QN_LAYERS) {
        out->has[layer] = strcmp(word, "ok") == 0;
        if (!out->has[layer] && out->missing == NULL) {
            out->missing = qn_sandbox_layer_name((enum qn_sandbox_layer)layer);
        }
        (*n_layers)++;
    } else if (strncmp(line, "remedy ", 7) == 0) {
        QN_ERROR_COPY(out->remedy, line + 7, strlen(line + 7));
    } else if (strncmp(line, "cause ", 6) == 0) {
        QN_ERROR_COPY(out->cause, line + 6, strlen(line + 6));
    } else if (strncmp(line, "landlock ", 9) == 0) {
        out->landlock_abi = (int)strtol(line + 9, NULL, 10);
    }
}

static enum qn_status ask(struct qn_process *process, struct qn_sandbox_support *out, struct qn_error *err)
{
    qn_auto_buffer text = { .limit = MAX_PROBE_TEXT };
    int64_t deadline = qn_deadline_after_ms(PROBE_MS);
    struct qn_exit how;
    QN_TRY(read_all(process->stdout_fd, deadline, &text, err));
    QN_TRY(qn_process_wait(process, deadline, &how, err));
    struct qn_sandbox_support support = { .missing = NULL };
    unsigned n_layers = 0;
    char *rest = NULL;
    for (char *line = text.size > 0 ? strtok_r(text.data, "\n", &rest) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        take_line(line, &support, &n_layers);
    }
    if (!how.exited || how.code != 0 || n_layers != QN_LAYERS) {
        return qn_error_set(err, QN_ERR_INTERNAL, "it ended with %d and told of %u layers", how.code, n_layers);
    }
    *out = support;
    return QN_OK;
}

enum qn_status qn_sandbox_support_probe(const char *launcher, struct qn_sandbox_support *out, struct qn_error *err)
{
    const char *const argv[] = { launcher, "--probe", NULL };
    const char *const environment[] = { NULL };
    struct qn_process process = QN_PROCESS_INIT;
    QN_TRY(qn_process_start(argv, environment, &process, err));
    enum qn_status status = ask(&process, out, err);
    qn_process_end(&process, 0);
    if (status != QN_OK) {
        qn_error_prefix(err, "asking the sandbox's launcher \"%s\"", launcher);
    }
    return status;
}
