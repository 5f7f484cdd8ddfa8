/*
 * told.h: what a statement says and how it ended, for those who see a stream only: lines of the engine's log, and an error.
 *
 * `name` is the statement's, as messages have it. Threads: as the execution.
 */
#ifndef QN_PROCESSOR_TOLD_H
#define QN_PROCESSOR_TOLD_H

#include <qanat/processor.h>

/* Log what the statement has said since the last time, in the area `area`, each with its place: "late.py, line 3, row 7: ...".
 * `prefix` stands in front ("" or "task: "). *told counts messages. */
void qn_told_log(const struct qn_execution *execution, const char *name, const char *area, const char *prefix,
                 int64_t *told);

/* How it ended, where that is not well, as an error in one line; a traceback becomes its detail. */
enum qn_status qn_told_error(const struct qn_execution_result *result, const char *name, const char *prefix,
                             struct qn_error *err);

/* A message without "line 3: " where that line stands in front of it already. */
const char *qn_told_without_line(const char *message, int32_t line);

#endif
