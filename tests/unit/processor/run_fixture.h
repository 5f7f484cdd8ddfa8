/* Processors of fake_launcher.c, whose statements are scripts of what the run sends. Included by one test program each. */
#ifndef QN_TEST_RUN_FIXTURE_H
#define QN_TEST_RUN_FIXTURE_H

#include "arrow/column.h"
#include "arrow/stream.h"
#include "base/memory.h"

#include <jansson.h>
#include <qanat/qanat.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A plan: output {"id": "Int64!"}, the fake launcher, `more` (JSON members, or "") beside it. FAKE=`mode` is how the start
 * goes. By free(). */
static inline char *plan_text(const char *script, const char *mode, const char *more)
{
    char fake[64];
    (void)snprintf(fake, sizeof fake, "FAKE=%s", mode);
    const char *launcher = getenv("QANAT_TEST_FAKE_LAUNCHER");
    assert_non_null(launcher);
    json_t *plan =
        json_pack("{s:s, s:[{s:s, s:s}], s:{s:s, s:s, s:s, s:s, s:s, s:s, s:[s]}}", "statement", script, "output",
                  "name", "id", "type", "Int64!", "runtime", "name", "fake", "version", "3.11", "python", "/bin/sh",
                  "worker", "/", "extension", "/bin/sh", "launcher", launcher, "environment", fake);
    char members[4096];
    (void)snprintf(members, sizeof members, "{%s}", more);
    json_t *others = json_loads(members, 0, NULL);
    assert_non_null(plan);
    assert_non_null(others);
    assert_int_equal(json_object_update(plan, others), 0);
    char *text = json_dumps(plan, 0);
    json_decref(plan);
    json_decref(others);
    return text;
}

static inline struct qn_processor *processor_of(const char *script, const char *mode, const char *more)
{
    char *plan = plan_text(script, mode, more);
    struct qn_processor *made = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_processor_new(plan, strlen(plan), &made, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    free(plan);
    return made;
}

/* `batches` batches of `rows` rows {"x": Int64}; where `null_row` is not negative, that one of the first batch is null. */
static inline void numbers_with(int64_t batches, int64_t rows, int64_t null_row, struct ArrowArrayStream *out)
{
    struct ArrowSchema schema = { 0 };
    const struct qn_type type = qn_type_of(QN_TYPE_INT64);
    assert_int_equal(qn_schema_struct(&schema, 1, NULL), QN_OK);
    assert_int_equal(qn_schema_set(&schema, 0, "x", &type, NULL), QN_OK);
    struct ArrowArray *arrays = qn_calloc((size_t)batches + 1, sizeof *arrays);
    assert_non_null(arrays);
    for (int64_t i = 0; i < batches; i++) {
        struct qn_batch batch = { 0 };
        assert_int_equal(qn_batch_init(&batch, &schema, NULL), QN_OK);
        assert_int_equal(qn_batch_reserve(&batch, rows, NULL), QN_OK);
        for (int64_t row = 0; row < rows; row++) {
            if (i == 0 && row == null_row) {
                qn_column_put_null(&batch.columns[0]);
            } else {
                qn_column_put_int64(&batch.columns[0], i * rows + row);
            }
        }
        assert_int_equal(qn_batch_finish(&batch, rows, &arrays[i], NULL), QN_OK);
        qn_batch_dispose(&batch);
    }
    assert_int_equal(qn_stream_from_arrays(&schema, arrays, batches, out, NULL), QN_OK);
    qn_free(arrays);
}

static inline void numbers(int64_t batches, int64_t rows, struct ArrowArrayStream *out)
{
    numbers_with(batches, rows, -1, out);
}

/* Begin; fails the test where that does not work. */
static inline struct qn_execution *begin_with(struct qn_processor *processor, struct ArrowArrayStream *rows,
                                              const struct qn_execution_options *options)
{
    struct qn_execution *execution = NULL;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_execution_start(processor, rows, options, &execution, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    return execution;
}

/* Take all batches; the rows of them. */
static inline int64_t take_all(struct qn_execution *execution)
{
    int64_t rows = 0;
    for (;;) {
        qn_auto_array batch = { 0 };
        struct qn_error err = QN_ERROR_INIT;
        if (qn_execution_next(execution, &batch, &err) != QN_OK) {
            fail_msg("%s", err.message);
        }
        if (batch.release == NULL) {
            return rows;
        }
        rows += batch.length;
    }
}

/* Run a script without input to its end. */
static inline struct qn_execution *ended_with(const char *script, const char *more)
{
    struct qn_processor *processor = processor_of(script, "", more);
    struct qn_execution *execution = begin_with(processor, NULL, NULL);
    qn_processor_free(processor); /* the execution keeps it */
    (void)take_all(execution);
    return execution;
}

static inline struct qn_execution_result result_of(const struct qn_execution *execution)
{
    struct qn_execution_result result;
    qn_execution_result(execution, &result);
    return result;
}

static inline void expect_log(const struct qn_execution *execution, int64_t i, const char *level, const char *message)
{
    struct qn_execution_log log;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_execution_log(execution, i, &log, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(log.level, level);
    assert_string_equal(log.message, message);
}

static inline void expect_text(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" does not have \"%s\" in it", text, part);
    }
}

#endif
