/*
 * hand.h: arrays written by hand over memory of the test, which nothing frees.
 */
#ifndef QN_TEST_ARROW_HAND_H
#define QN_TEST_ARROW_HAND_H

#include "fixture.h"

#define HAND_BUFFERS  8
#define HAND_CHILDREN 4

struct hand {
    struct ArrowArray array;
    const void *buffers[HAND_BUFFERS];
    struct ArrowArray *children[HAND_CHILDREN];
};

__attribute__((unused)) static void hand_release(struct ArrowArray *array)
{
    array->release = NULL;
}

/* An array of n_buffers buffers; fill hand->buffers and, for nested ones, hand->children and array.n_children. */
__attribute__((unused)) static void hand_make(struct hand *hand, int64_t length, int64_t n_buffers)
{
    *hand = (struct hand){ 0 };
    hand->array = (struct ArrowArray){ .length = length,
                                       .null_count = -1,
                                       .n_buffers = n_buffers,
                                       .buffers = hand->buffers,
                                       .children = hand->children,
                                       .release = hand_release };
}

/* A reader for a field of that format, without children. */
__attribute__((unused)) static void make_reader(struct qn_reader *reader, const char *format)
{
    qn_auto_schema schema = { 0 };
    make_schema(&schema, 1, "c", format);
    ok(qn_reader_init(reader, schema.children[0], &error));
}

#define expect_bytes(reader, row, text, length)                                                                        \
    do {                                                                                                               \
        const char *bytes_;                                                                                            \
        size_t size_;                                                                                                  \
        assert_true(qn_reader_bytes((reader), (row), &bytes_, &size_));                                                \
        assert_int_equal(size_, (length));                                                                             \
        assert_memory_equal(bytes_, (text), size_);                                                                    \
    } while (0)

#endif
