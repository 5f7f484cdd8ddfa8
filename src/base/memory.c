/*
 * memory.c: allocation, each with its fault point.
 *
 * A size of 0 is rounded up to 1, so that NULL always means failure. Threads: as malloc.
 */
#include "base/memory.h"

#include "base/fault.h"

#include <errno.h>
#include <qanat/qanat.h>
#include <stdlib.h>
#include <string.h>

static bool allocation_fails(void)
{
    if (qn_fault_hit(QN_FAULT_ALLOC)) {
        errno = ENOMEM;
        return true;
    }
    return false;
}

void *qn_malloc(size_t size)
{
    return allocation_fails() ? NULL : malloc(size > 0 ? size : 1);
}

void *qn_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (!qn_size_mul(count, size, &bytes)) { /* not left to calloc: a sanitizer ends the program there */
        errno = ENOMEM;
        return NULL;
    }
    return allocation_fails() ? NULL : calloc(1, bytes > 0 ? bytes : 1);
}

void *qn_realloc(void *memory, size_t size)
{
    return allocation_fails() ? NULL : realloc(memory, size > 0 ? size : 1);
}

void *qn_realloc_array(void *memory, size_t count, size_t size)
{
    size_t bytes;
    if (!qn_size_mul(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return qn_realloc(memory, bytes);
}

char *qn_strdup(const char *text)
{
    return text != NULL ? qn_strndup(text, strlen(text)) : NULL;
}

char *qn_strndup(const char *text, size_t size)
{
    size_t with_nul;
    if (!qn_size_add(size, 1, &with_nul)) {
        errno = ENOMEM;
        return NULL;
    }
    char *copy = qn_malloc(with_nul);
    if (copy == NULL) {
        return NULL;
    }
    if (size > 0) {
        memcpy(copy, text, size);
    }
    copy[size] = '\0';
    return copy;
}

void qn_free(void *memory)
{
    free(memory);
}

void qn_free_secret(void *memory, size_t size)
{
    if (memory != NULL) {
        explicit_bzero(memory, size);
        free(memory);
    }
}

/* Texts that the public API hands out: a URI among them may hold a password. */
void qn_free_text(char *text)
{
    qn_free_secret(text, text != NULL ? strlen(text) : 0);
}

void qn__free_pointer(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}
