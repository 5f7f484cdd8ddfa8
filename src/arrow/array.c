/*
 * array.c: ArrowArray structs that own buffers of ours: one allocation holds the owner, the pointer lists and the
 * child structs. Threads: release may run on any thread, as the C data interface has it.
 */
#include "arrow/array.h"

#include "base/memory.h"

#include <string.h>

const uint8_t qn__empty_buffer[QN__BUFFER_ALIGN] __attribute__((aligned(QN__BUFFER_ALIGN)));

struct owner {
    struct ArrowArray retained;
    struct ArrowArray dictionary; /* released, where the array has none */
    bool *borrowed;               /* by buffer */
};

static void release_array(struct ArrowArray *array)
{
    struct owner *owner = array->private_data;
    for (int64_t i = 0; i < array->n_buffers; i++) {
        if (array->buffers[i] != qn__empty_buffer && !owner->borrowed[i]) {
            void *buffer;
            memcpy(&buffer, &array->buffers[i], sizeof buffer);
            qn_free(buffer);
        }
    }
    for (int64_t i = 0; i < array->n_children; i++) {
        qn_array_release(array->children[i]);
    }
    qn_array_release(&owner->dictionary);
    qn_array_release(&owner->retained);
    array->release = NULL;
    qn_free(owner);
}

enum qn_status qn__array_new(int64_t n_buffers, int64_t n_children, struct ArrowArray *out, struct qn_error *err)
{
    size_t of_children, of_buffers, size;
    if (!qn_size_mul((size_t)n_children, sizeof(struct ArrowArray) + sizeof(struct ArrowArray *), &of_children) ||
        !qn_size_mul((size_t)n_buffers, sizeof(void *) + sizeof(bool), &of_buffers) ||
        !qn_size_add(of_children, of_buffers, &size) || !qn_size_add(size, sizeof(struct owner), &size)) {
        return qn__no_memory(err);
    }
    struct owner *owner = qn_calloc(1, size);
    if (owner == NULL) {
        return qn__no_memory(err);
    }
    struct ArrowArray *children = (struct ArrowArray *)(owner + 1);
    struct ArrowArray **child_list = (struct ArrowArray **)(children + n_children);
    const void **buffers = (const void **)(child_list + n_children);
    owner->borrowed = (bool *)(buffers + n_buffers);
    for (int64_t i = 0; i < n_children; i++) {
        child_list[i] = &children[i];
    }
    *out = (struct ArrowArray){ .n_buffers = n_buffers,
                                .n_children = n_children,
                                .buffers = n_buffers > 0 ? buffers : NULL,
                                .children = n_children > 0 ? child_list : NULL,
                                .release = release_array,
                                .private_data = owner };
    return QN_OK;
}

void qn__array_borrow(struct ArrowArray *array, int64_t i, const void *buffer)
{
    struct owner *owner = array->private_data;
    owner->borrowed[i] = true;
    array->buffers[i] = buffer;
}

void qn__array_retain(struct ArrowArray *array, struct ArrowArray *source)
{
    struct owner *owner = array->private_data;
    qn__array_move(source, &owner->retained);
}

void qn__array_dictionary(struct ArrowArray *array, struct ArrowArray *values)
{
    struct owner *owner = array->private_data;
    qn__array_move(values, &owner->dictionary);
    array->dictionary = &owner->dictionary;
}

void qn__array_move(struct ArrowArray *from, struct ArrowArray *to)
{
    *to = *from;
    from->release = NULL;
}

void qn__schema_move(struct ArrowSchema *from, struct ArrowSchema *to)
{
    *to = *from;
    from->release = NULL;
}
