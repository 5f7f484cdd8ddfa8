/*
 * refused.c: whether this process was refused memory.
 *
 * A MemoryError is also what libraries raise where the sandbox refuses them something else, such as memory to put machine code
 * into. What the interpreter allocates itself comes from its raw allocator in the end, which is watched here: the arenas of
 * small objects fall back on it. Threads: any, without the GIL.
 */
#include "worker.h"

#include <stdatomic.h>
#include <sys/resource.h>

/* Of the memory that the run may use: who has had so much at once may well have been refused more by someone else than the
 * interpreter, a library or the rows. */
#define NEAR_PART 4

static PyMemAllocatorEx plain;
static atomic_bool refused;

static void *watched(void *got)
{
    if (got == NULL) {
        atomic_store(&refused, true);
    }
    return got;
}

static void *watch_malloc(void *context, size_t size)
{
    return watched(plain.malloc(context, size));
}

static void *watch_calloc(void *context, size_t n, size_t size)
{
    return watched(plain.calloc(context, n, size));
}

static void *watch_realloc(void *context, void *memory, size_t size)
{
    return watched(plain.realloc(context, memory, size));
}

void refused_watch(void)
{
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &plain);
    PyMemAllocatorEx ours = plain;
    ours.malloc = watch_malloc;
    ours.calloc = watch_calloc;
    ours.realloc = watch_realloc;
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &ours);
}

bool refused_memory(uint64_t limit)
{
    struct rusage usage = { .ru_maxrss = 0 };
    (void)getrusage(RUSAGE_SELF, &usage);
    return atomic_load(&refused) || (limit > 0 && (uint64_t)usage.ru_maxrss * 1024 >= limit / NEAR_PART);
}
