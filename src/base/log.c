/*
 * log.c: where messages go: to the process's callback, or with QANAT_LOG in the environment to standard error.
 *
 * The threshold begins at 0, so that the first message of any level comes here and finds out what holds. Threads: the
 * callback is set before other threads use the library; the threshold is atomic, since the first message may come from
 * two threads at once.
 */
#include "base/log.h"

#include "base/text.h"
#include "base/utf8.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_OFF          INT_MAX
#define LONGEST_MESSAGE  2048
#define LONGEST_PREAMBLE 64

int qn__log_threshold = 0;

static qn_log_callback log_callback;
static void *log_context;
static pthread_once_t environment_once = PTHREAD_ONCE_INIT;
static int environment_level = LOG_OFF;

static const struct {
    const char *name;
    enum qn_log_level level;
} levels[] = {
    { "debug", QN_LOG_DEBUG },
    { "info", QN_LOG_INFO },
    { "warning", QN_LOG_WARNING },
    { "error", QN_LOG_ERROR },
};

static void read_environment(void)
{
    const char *wanted = getenv("QANAT_LOG");
    for (size_t i = 0; wanted != NULL && i < sizeof levels / sizeof levels[0]; i++) {
        if (qn_text_equal_nocase(wanted, levels[i].name)) {
            environment_level = levels[i].level;
        }
    }
}

static const char *level_name(enum qn_log_level level)
{
    for (size_t i = sizeof levels / sizeof levels[0]; i > 0; i--) {
        if (level >= levels[i - 1].level) {
            return levels[i - 1].name;
        }
    }
    return levels[0].name;
}

void qn_log_set(qn_log_callback callback, void *context, enum qn_log_level level)
{
    log_callback = callback;
    log_context = context;
    __atomic_store_n(&qn__log_threshold, callback != NULL ? (int)level : 0, __ATOMIC_RELAXED);
}

/* One write, so that lines of several threads and processes do not mix. */
static void write_line(enum qn_log_level level, const char *area, const char *message)
{
    char line[LONGEST_PREAMBLE + LONGEST_MESSAGE + 1];
    int length = snprintf(line, LONGEST_PREAMBLE, "qanat %s %s: ", level_name(level), area);
    size_t used = length < LONGEST_PREAMBLE ? (size_t)length : LONGEST_PREAMBLE - 1;
    size_t message_size = strlen(message);
    memcpy(line + used, message, message_size + 1);
    line[used + message_size] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used + message_size + 1);
    (void)written; /* a message that cannot be written has nowhere to be reported */
}

void qn__log_write(enum qn_log_level level, const char *area, const char *format, ...)
{
    int saved_errno = errno;
    if (log_callback == NULL) {
        (void)pthread_once(&environment_once, read_environment);
        __atomic_store_n(&qn__log_threshold, environment_level, __ATOMIC_RELAXED);
        if ((int)level < environment_level) {
            return;
        }
        errno = saved_errno; /* for %m */
    }
    char message[LONGEST_MESSAGE];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (length >= LONGEST_MESSAGE) {
        message[qn_utf8_floor(message, sizeof message - 1)] = '\0';
    } else if (length < 0) {
        message[0] = '\0';
    }
    for (char *c = message; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r') {
            *c = ' ';
        }
    }
    if (log_callback != NULL) {
        log_callback(log_context, level, area, message);
    } else {
        write_line(level, area, message);
    }
    errno = saved_errno;
}
