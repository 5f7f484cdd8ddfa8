/*
 * fixture.h (wire): bytes that come in pieces, and Arrow IPC streams to send.
 */
#ifndef QN_TEST_WIRE_FIXTURE_H
#define QN_TEST_WIRE_FIXTURE_H

#include "arrow/column.h"
#include "arrow/ipc.h"
#include "base/memory.h"
#include "wire/input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct qn_error error;

/* The call succeeds, or the test fails with the error's text. */
#define ok(call)                                                                                                       \
    do {                                                                                                               \
        error = (struct qn_error)QN_ERROR_INIT;                                                                        \
        if ((call) != QN_OK) {                                                                                         \
            fail_msg("%s: %s", #call, error.message);                                                                  \
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

/* Bytes in memory that come in pieces. The read that would pass `stall` bytes times out, once. */
struct memory {
    const char *bytes;
    size_t size, at, piece;
    size_t stall; /* 0: never */
};

static inline enum qn_status memory_read(void *context, void *into, size_t size, size_t *got_out, struct qn_error *err)
{
    struct memory *memory = context;
    size_t give = memory->size - memory->at;
    give = give < size ? give : size;
    give = memory->piece != 0 && give > memory->piece ? memory->piece : give;
    if (memory->stall != 0 && memory->at + give > memory->stall) {
        memory->stall = 0;
        return qn_error_set(err, QN_ERR_TIMEOUT, "the time limit has passed");
    }
    if (give > 0) {
        memcpy(into, memory->bytes + memory->at, give);
    }
    memory->at += give;
    *got_out = give;
    return QN_OK;
}

/* Append a batch of one Int64! column, `rows` values from `first`; begun by a schema where that is asked for. */
static inline void append_arrow(struct qn_buffer *out, bool with_schema, const char *column, int64_t first,
                                int64_t rows)
{
    struct ArrowSchema schema = { 0 };
    struct ArrowArray array = { 0 };
    struct qn_batch made;
    struct qn_ipc_encoder *encoder;
    ok(qn_schema_struct(&schema, 1, &error));
    ok(qn_schema_set_from_text(&schema, 0, column, "Int64!", &error));
    ok(qn_batch_init(&made, &schema, &error));
    ok(qn_batch_reserve(&made, rows, &error));
    for (int64_t row = 0; row < rows; row++) {
        qn_column_put_int64(&made.columns[0], first + row);
    }
    ok(qn_batch_finish(&made, rows, &array, &error));
    qn_batch_dispose(&made);
    ok(qn_ipc_encoder_new(&schema, &encoder, &error));
    if (with_schema) {
        ok(qn_ipc_encode_schema(encoder, out, &error));
    }
    ok(qn_ipc_encode_batch(encoder, &array, out, &error));
    qn_ipc_encoder_free(encoder);
    qn_array_release(&array);
    qn_schema_release(&schema);
}

#endif
