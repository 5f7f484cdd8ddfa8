/* library.c: see library.h. Threads: no state. */
#include "os/library.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/stat.h>

enum qn_status qn_library_load(const char *path, void **library_out, struct qn_error *err)
{
    struct stat found;
    if (stat(path, &found) != 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "shared library \"%s\": not found (%m)", path);
    }
    if (!S_ISREG(found.st_mode)) {
        return qn_error_set(err, QN_ERR_CONFIG, "shared library \"%s\": no file", path);
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL) {
        const char *why = dlerror();
        return qn_error_set(err, QN_ERR_CONFIG, "shared library \"%s\" cannot be loaded: %s", path,
                            why != NULL ? why : "no reason is given");
    }
    *library_out = library;
    return QN_OK;
}

void *qn_library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}
