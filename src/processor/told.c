/*
 * told.c: what a statement says, and how it ended, as lines. See told.h.
 */
#include "processor/told.h"

#include "base/buffer.h"
#include "base/log.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

static enum qn_log_level level_of(const char *level)
{
    static const struct {
        const char *name;
        enum qn_log_level level;
    } levels[] = { { "info", QN_LOG_INFO }, { "warn", QN_LOG_WARNING }, { "error", QN_LOG_ERROR } };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(levels[i].name, level) == 0) {
            return levels[i].level;
        }
    }
    return QN_LOG_DEBUG; /* trace too */
}

/* "late.py, line 3, row 7" */
static void place_text(const char *name, int32_t line, int64_t row, struct qn_buffer *out)
{
    qn_buffer_append_text(out, name);
    if (line > 0) {
        qn_buffer_printf(out, ", line %d", (int)line);
    }
    if (row >= 0) {
        qn_buffer_printf(out, ", row %lld", (long long)row);
    }
}

void qn_told_log(const struct qn_execution *execution, const char *name, const char *area, const char *prefix,
                 int64_t *told)
{
    struct qn_execution_result result = { .struct_size = sizeof result };
    qn_execution_result(execution, &result);
    for (; *told < result.n_logs; ++*told) {
        struct qn_execution_log entry;
        if (qn_execution_log(execution, *told, &entry, NULL) == QN_OK) {
            qn_auto_buffer place = QN_BUFFER_INIT;
            place_text(name, entry.line, entry.row, &place);
            QN_LOG(level_of(entry.level), area, "%s%s: %s", prefix, qn_buffer_text(&place), entry.message);
        }
    }
}

/* What went wrong in one line: of a traceback the last. */
static const char *last_line(const char *message)
{
    size_t size = strlen(message);
    while (size > 0 && message[size - 1] == '\n') {
        size--;
    }
    while (size > 0 && message[size - 1] != '\n') {
        size--;
    }
    return message + size;
}

const char *qn_told_without_line(const char *message, int32_t line)
{
    char prefix[32];
    int size = snprintf(prefix, sizeof prefix, "line %d: ", (int)line);
    return strncmp(message, prefix, (size_t)size) == 0 ? message + size : message;
}

enum qn_status qn_told_error(const struct qn_execution_result *result, const char *name, const char *prefix,
                             struct qn_error *err)
{
    static const enum qn_status statuses[] = {
        [QN_EXECUTION_TIMED_OUT] = QN_ERR_TIMEOUT,
        [QN_EXECUTION_MEMORY] = QN_ERR_NO_MEMORY,
        [QN_EXECUTION_OUTPUT_LIMIT] = QN_ERR_DATA,
        [QN_EXECUTION_REJECTED] = QN_ERR_QUERY,
    };
    size_t n = sizeof statuses / sizeof *statuses;
    enum qn_status status = (size_t)result->status < n ? statuses[result->status] : QN_OK;
    qn_auto_buffer place = QN_BUFFER_INIT;
    bool in_statement = result->line > 0; /* otherwise the message says which row */
    place_text(name, result->line, in_statement ? result->row : -1, &place);
    const char *line = qn_told_without_line(last_line(result->message), result->line);
    status =
        qn_error_set(err, status != QN_OK ? status : QN_ERR_QUERY, "%s%s: %s: %.*s", prefix, qn_buffer_text(&place),
                     qn_execution_status_name(result->status), (int)strcspn(line, "\n"), line);
    if (err != NULL && strchr(result->message, '\n') != NULL) { /* a traceback */
        QN_ERROR_COPY(err->detail, result->message, strlen(result->message));
    }
    qn_error_place(err, result->row, NULL);
    return status;
}
