/*
 * version.c: the version of the library, as the build says it (QN_VERSION). Threads: no state.
 */
#include <qanat/qanat.h>

const char *qn_version(void)
{
    return QN_VERSION;
}
