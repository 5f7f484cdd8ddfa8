/*
 * plan_runtime.c: the description of a runtime (python/qanat/_runtime.py makes it).
 *
 * Keys that are not known are left alone: a description says more than the engine needs. Whether the files are there is
 * found out when an interpreter is started. Threads: no state.
 */
#include "base/memory.h"
#include "processor/plan.h"

#include <jansson.h>

static const char where[] = "runtime";

static enum qn_status required_path(const json_t *runtime, const char *key, char **out, struct qn_error *err)
{
    QN_TRY(qn__plan_text(runtime, where, key, out, err));
    if (*out == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s.%s is missing", where, key);
    }
    if ((*out)[0] != '/') {
        return qn_error_set(err, QN_ERR_CONFIG, "%s.%s is \"%s\"; it must be an absolute path", where, key, *out);
    }
    return QN_OK;
}

static enum qn_status text_or(const json_t *runtime, const char *key, const char *otherwise, char **out,
                              struct qn_error *err)
{
    QN_TRY(qn__plan_text(runtime, where, key, out, err));
    if (*out == NULL) {
        *out = qn_strdup(otherwise);
    }
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status fill(const json_t *json, struct qn_runtime *out, struct qn_error *err)
{
    QN_TRY(text_or(json, "name", "default", &out->name, err));
    QN_TRY(text_or(json, "version", "", &out->version, err));
    QN_TRY(required_path(json, "python", &out->python, err));
    QN_TRY(required_path(json, "worker", &out->worker, err));
    QN_TRY(required_path(json, "extension", &out->extension, err));
    QN_TRY(required_path(json, "launcher", &out->launcher, err));
    QN_TRY(qn__plan_texts(json, where, "paths", &out->paths, NULL, err));
    QN_TRY(qn__plan_texts(json, where, "readable", &out->readable, NULL, err));
    QN_TRY(qn__plan_texts(json, where, "links", &out->links, NULL, err));
    return qn__plan_texts(json, where, "environment", &out->environment, NULL, err);
}

enum qn_status qn__plan_runtime(const struct json_t *runtime, struct qn_runtime *out, struct qn_error *err)
{
    if (runtime == NULL || json_is_null(runtime)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s is missing", where);
    }
    if (!json_is_object(runtime)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s is %s; it must be an object", where, qn__plan_type_name(runtime));
    }
    struct qn_runtime made = { 0 };
    enum qn_status status = fill(runtime, &made, err);
    if (status != QN_OK) {
        qn__runtime_dispose(&made);
        return status;
    }
    *out = made;
    return QN_OK;
}

void qn__runtime_dispose(struct qn_runtime *runtime)
{
    qn_free(runtime->name);
    qn_free(runtime->python);
    qn_free(runtime->worker);
    qn_free(runtime->extension);
    qn_free(runtime->launcher);
    qn_free(runtime->version);
    qn_texts_dispose(&runtime->paths);
    qn_texts_dispose(&runtime->readable);
    qn_texts_dispose(&runtime->links);
    qn_texts_dispose(&runtime->environment);
    *runtime = (struct qn_runtime){ 0 };
}
