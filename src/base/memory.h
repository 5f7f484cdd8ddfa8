/*
 * memory.h: allocation with overflow-checked sizes, fault points and cleanup attributes.
 *
 * All memory of the library comes from here. Every allocation is a fault point (fault.h). Functions return NULL on
 * failure and never abort. Threads: as malloc.
 */
#ifndef QN_BASE_MEMORY_H
#define QN_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *qn_malloc(size_t size);                /* size 0 gives a pointer that can be freed */
void *qn_calloc(size_t count, size_t size);  /* zeroed; NULL where count * size overflows */
void *qn_realloc(void *memory, size_t size); /* on failure `memory` stays as it was */
void *qn_realloc_array(void *memory, size_t count, size_t size);
char *qn_strdup(const char *text);               /* NULL in, NULL out */
char *qn_strndup(const char *text, size_t size); /* copies size bytes and ends them with NUL */
void qn_free(void *memory);
void qn_free_secret(void *memory, size_t size); /* overwrites first, in a way that is not optimised away */

static inline bool qn_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool qn_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

void qn__free_pointer(void *pointer_to_pointer);
#define qn_auto_free __attribute__((cleanup(qn__free_pointer)))

/* Take the pointer out of a qn_auto_free variable: it is not freed at the end of the scope. */
static inline void *qn__steal(void *pointer_to_pointer)
{
    void **place = (void **)pointer_to_pointer;
    void *taken = *place;
    *place = NULL;
    return taken;
}
#define qn_steal(pointer) ((__typeof__(*(pointer)))qn__steal(pointer))

#endif
