/*
 * wire_source.h: the bytes of a fuzz target as the input of the wire, in pieces.
 */
#ifndef QN_FUZZ_WIRE_SOURCE_H
#define QN_FUZZ_WIRE_SOURCE_H

#include "wire/input.h"

#include <stdlib.h>
#include <string.h>

static inline void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

struct source {
    const uint8_t *bytes;
    size_t size, at, piece; /* piece: the most that one read gives */
};

/* For qn_wire_input_init, with a struct source. */
static inline enum qn_status read_source(void *context, void *into, size_t size, size_t *got_out, struct qn_error *err)
{
    (void)err;
    struct source *source = context;
    size_t give = source->size - source->at;
    give = give < size ? give : size;
    give = give < source->piece ? give : source->piece;
    must(size > 0);
    if (give > 0) {
        memcpy(into, source->bytes + source->at, give);
    }
    source->at += give;
    *got_out = give;
    return QN_OK;
}

#endif
