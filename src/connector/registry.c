/* registry.c: see registry.h. Threads: a lock around the table of registered runtimes; the built-in ones never change. */
#include "connector/registry.h"

#include "base/text.h"

#include <pthread.h>

#define RUNTIMES_MAX 64 /* registered ones */

static const struct qn_connector_runtime *const built_in[] = {
    &qn__runtime_cassette, &qn__runtime_database, &qn__runtime_docker,
    &qn__runtime_ffi,      &qn__runtime_files,    &qn__runtime_http,
    &qn__runtime_ipc,      &qn__runtime_java,     NULL,
};
static const struct qn_connector_runtime *registered[RUNTIMES_MAX];
static size_t n_registered;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The index-th runtime, built-in ones first; NULL past the last. Under the lock. */
static const struct qn_connector_runtime *runtime_at(size_t index)
{
    size_t n_built_in = sizeof built_in / sizeof built_in[0] - 1;
    if (index < n_built_in) {
        return built_in[index];
    }
    return index - n_built_in < n_registered ? registered[index - n_built_in] : NULL;
}

static const struct qn_connector_runtime *find(const char *name, size_t size)
{
    const struct qn_connector_runtime *runtime;
    for (size_t i = 0; (runtime = runtime_at(i)) != NULL; i++) {
        if (strlen(runtime->name) == size && memcmp(runtime->name, name, size) == 0) {
            break;
        }
    }
    return runtime;
}

const struct qn_connector_runtime *qn_connector_runtime_find(const char *name, size_t size)
{
    pthread_mutex_lock(&lock);
    const struct qn_connector_runtime *runtime = find(name, size);
    pthread_mutex_unlock(&lock);
    return runtime;
}

const char *qn_connector_built_in(size_t index)
{
    for (size_t i = 0; built_in[i] != NULL; i++) {
        bool needs_entrypoint = built_in[i]->external || built_in[i] == &qn__runtime_cassette;
        if (!needs_entrypoint && index-- == 0) {
            return built_in[i]->name;
        }
    }
    return NULL;
}

void qn_connector_runtime_names(struct qn_buffer *out)
{
    const struct qn_connector_runtime *runtime;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; (runtime = runtime_at(i)) != NULL; i++) {
        qn_buffer_printf(out, "%s%s%s", i > 0 ? ", " : "", runtime->name, runtime->external ? "::" : "");
    }
    pthread_mutex_unlock(&lock);
}

/* A name is what stands before "::" in a URI. */
static bool is_name(const char *name)
{
    if (name == NULL || !qn_ascii_letter(name[0])) {
        return false;
    }
    for (const char *c = name; *c != '\0'; c++) {
        if (!qn_ascii_letter(*c) && !qn_ascii_digit(*c) && *c != '_' && *c != '-') {
            return false;
        }
    }
    return true;
}

static enum qn_status check(const struct qn_connector_runtime *runtime, struct qn_error *err)
{
    if (runtime == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "connector runtime: NULL was given");
    }
    if (runtime->struct_size < sizeof *runtime || runtime->abi != QN_CONNECTOR_ABI) {
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            "connector runtime: made for version %u of the interface, this library has %d",
                            (unsigned)runtime->abi, QN_CONNECTOR_ABI);
    }
    if (!is_name(runtime->name)) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "connector runtime: \"%s\" is not a name that a URI may have",
                            runtime->name != NULL ? runtime->name : "");
    }
    const char *missing = runtime->open == NULL       ? "open"
                          : runtime->close == NULL    ? "close"
                          : runtime->discover == NULL ? "discover"
                          : runtime->data == NULL     ? "data"
                                                      : NULL;
    if (missing != NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "connector runtime \"%s\" lacks the required function %s",
                            runtime->name, missing);
    }
    return QN_OK;
}

enum qn_status qn_connector_runtime_register(const struct qn_connector_runtime *runtime, struct qn_error *err)
{
    enum qn_status status = QN_OK;
    QN_TRY(check(runtime, err));
    pthread_mutex_lock(&lock);
    if (find(runtime->name, strlen(runtime->name)) != NULL) {
        status = qn_error_set(err, QN_ERR_ARGUMENT,
                              "connector runtime \"%s\": a runtime of this name is registered already", runtime->name);
    } else if (n_registered == RUNTIMES_MAX) {
        status = qn_error_set(err, QN_ERR_NO_MEMORY,
                              "connector runtime \"%s\": %d runtimes are registered, which is the most", runtime->name,
                              RUNTIMES_MAX);
    } else {
        registered[n_registered++] = runtime;
    }
    pthread_mutex_unlock(&lock);
    return status;
}
