/*
 * fixture.h: what the tests of src/arrow share: short makers of schemas, and nanoarrow's array view as the independent
 * reader of what our builders make.
 */
#ifndef QN_TEST_ARROW_FIXTURE_H
#define QN_TEST_ARROW_FIXTURE_H

#include "arrow/column.h"
#include "arrow/reader.h"
#include "arrow/stream.h"

#include <nanoarrow/nanoarrow.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The call succeeds, or the test fails with the error's text. */
#define ok(call)                                                                                                       \
    do {                                                                                                               \
        struct qn_error *shown_ = &error;                                                                              \
        error = (struct qn_error)QN_ERROR_INIT;                                                                        \
        if ((call) != QN_OK) {                                                                                         \
            fail_msg("%s: %s", #call, shown_->message);                                                                \
        }                                                                                                              \
    } while (0)

/* The call fails so, with a message that has the text. */
#define refused(call, wanted, text)                                                                                    \
    do {                                                                                                               \
        error = (struct qn_error)QN_ERROR_INIT;                                                                        \
        assert_int_equal((call), (wanted));                                                                            \
        assert_int_equal(error.status, (wanted));                                                                      \
        if (strstr(error.message, (text)) == NULL) {                                                                   \
            fail_msg("%s: message \"%s\" lacks \"%s\"", #call, error.message, (text));                                 \
        }                                                                                                              \
    } while (0)

static struct qn_error error;

/* A struct schema of n fields by format string: name and format in turn. */
__attribute__((unused)) static void make_schema(struct ArrowSchema *out, int n, ...)
{
    va_list args;
    va_start(args, n);
    ok(qn_schema_struct(out, n, &error));
    for (int i = 0; i < n; i++) {
        const char *name = va_arg(args, const char *);
        const char *format = va_arg(args, const char *);
        struct qn_type type;
        ok(qn_type_from_format(format, &type, &error));
        ok(qn_schema_set(out, i, name, &type, &error));
    }
    va_end(args);
}

/* A column for one field of that format, without children. */
__attribute__((unused)) static void make_column(struct qn_column *column, const char *format)
{
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 1, "c", format);
    ok(qn_column_init(column, schema.children[0], &error));
}

/* Nanoarrow's view of an array, validated in full. Reset it with ArrowArrayViewReset. */
__attribute__((unused)) static void make_view(struct ArrowArrayView *view, const struct ArrowSchema *schema,
                                              const struct ArrowArray *array)
{
    struct ArrowError nano = { "" };
    if (ArrowArrayViewInitFromSchema(view, schema, &nano) != NANOARROW_OK ||
        ArrowArrayViewSetArray(view, array, &nano) != NANOARROW_OK ||
        ArrowArrayViewValidate(view, NANOARROW_VALIDATION_LEVEL_FULL, &nano) != NANOARROW_OK) {
        fail_msg("nanoarrow: %s", nano.message);
    }
}

/* The same of a finished column. */
__attribute__((unused)) static void view_column(struct qn_column *column, const char *format, struct ArrowArray *array,
                                                struct ArrowArrayView *view)
{
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 1, "c", format);
    ok(qn_column_finish(column, array, &error));
    make_view(view, schema.children[0], array);
}

/* Deterministic numbers (xorshift64*). */
__attribute__((unused)) static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

#endif
