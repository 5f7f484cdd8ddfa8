/*
 * tier.c: which tier of the sandbox runs are put into, and what this machine gives.
 *
 * Probing starts a process, so what it found is kept for the launcher that was last asked about.
 */
#include "processor/tier.h"

#include "base/memory.h"

#include <pthread.h>
#include <qanat/processor.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool reduced_allowed;

static struct {
    pthread_mutex_t lock;
    char *launcher; /* NULL: nothing was probed */
    struct qn_sandbox_support support;
} probed = { .lock = PTHREAD_MUTEX_INITIALIZER };

void qn_sandbox_allow_reduced(bool allow)
{
    atomic_store(&reduced_allowed, allow);
}

const char *qn_tier_name(enum qn_sandbox_tier tier)
{
    return tier == QN_SANDBOX_FULL ? "full" : "reduced";
}

static enum qn_status probe(const char *launcher, struct qn_sandbox_support *out, struct qn_error *err)
{
    (void)pthread_mutex_lock(&probed.lock);
    bool known = probed.launcher != NULL && strcmp(probed.launcher, launcher) == 0;
    if (known) {
        *out = probed.support;
    }
    (void)pthread_mutex_unlock(&probed.lock);
    if (known) {
        return QN_OK;
    }
    QN_TRY(qn_sandbox_support_probe(launcher, out, err));
    char *own = qn_strdup(launcher);
    (void)pthread_mutex_lock(&probed.lock);
    qn_free(probed.launcher);
    probed.launcher = own; /* NULL: it is found out again */
    probed.support = *out;
    (void)pthread_mutex_unlock(&probed.lock);
    return QN_OK;
}

/* Not without these two, on any tier. */
static bool gives_reduced(const struct qn_sandbox_support *support)
{
    return support->has[QN_LAYER_LANDLOCK] && support->has[QN_LAYER_SECCOMP];
}

enum wish { WISH_NONE, WISH_FULL, WISH_REDUCED };

static enum qn_status environment_wish(enum wish *out, struct qn_error *err)
{
    const char *text = getenv("QANAT_SANDBOX");
    *out = WISH_NONE;
    if (text == NULL || text[0] == '\0') {
        return QN_OK;
    }
    if (strcmp(text, "reduced") == 0) {
        *out = WISH_REDUCED;
    } else if (strcmp(text, "full") == 0) {
        *out = WISH_FULL;
    } else {
        return qn_error_set(err, QN_ERR_CONFIG, "QANAT_SANDBOX is \"%s\"; it must be \"full\" or \"reduced\"", text);
    }
    return QN_OK;
}

enum qn_status qn_tier_choose(const char *launcher, enum qn_sandbox_tier *out, struct qn_error *err)
{
    enum wish wish;
    QN_TRY(environment_wish(&wish, err));
    *out = wish == WISH_REDUCED ? QN_SANDBOX_REDUCED : QN_SANDBOX_FULL;
    if (wish == WISH_NONE && atomic_load(&reduced_allowed)) {
        struct qn_sandbox_support support;
        QN_TRY(probe(launcher, &support, err));
        *out = support.missing == NULL ? QN_SANDBOX_FULL : QN_SANDBOX_REDUCED;
    }
    return QN_OK;
}

void qn_tier_explain(const char *launcher, enum qn_sandbox_tier tier, struct qn_error *err)
{
    struct qn_sandbox_support support;
    struct qn_error unused = QN_ERROR_INIT;
    if (err == NULL || err->status != QN_ERR_UNSUPPORTED || probe(launcher, &support, &unused) != QN_OK ||
        support.missing == NULL || (tier == QN_SANDBOX_REDUCED && gives_reduced(&support))) {
        return;
    }
    (void)qn_error_set(err, QN_ERR_UNSUPPORTED, "the sandbox needs %s, which this machine does not give%s%s%s",
                       support.missing, support.cause[0] != '\0' ? " (" : "", support.cause,
                       support.cause[0] != '\0' ? ")" : "");
    qn_error_hint(err, "%s", support.remedy);
}

static void fill_report(const struct qn_sandbox_support *support, enum wish wish, struct qn_sandbox_report *out)
{
    bool full_works = support->missing == NULL;
    bool reduced = wish == WISH_REDUCED || (wish == WISH_NONE && !full_works && atomic_load(&reduced_allowed));
    out->tier = NULL;
    if (reduced && gives_reduced(support)) {
        out->tier = qn_tier_name(QN_SANDBOX_REDUCED);
    } else if (!reduced && full_works) {
        out->tier = qn_tier_name(QN_SANDBOX_FULL);
    }
    out->message[0] = '\0';
    if (!full_works) {
        struct qn_error text;
        (void)qn_error_set(&text, QN_ERR_UNSUPPORTED, "%s: not given by this machine%s%s%s. %s", support->missing,
                           support->cause[0] != '\0' ? " (" : "", support->cause, support->cause[0] != '\0' ? ")" : "",
                           support->remedy);
        qn__error_copy(out->message, sizeof out->message, text.message, sizeof text.message);
    }
    out->landlock_abi = support->landlock_abi;
    out->user_namespaces = support->has[QN_LAYER_USER_NAMESPACE];
    out->mount_namespaces = support->has[QN_LAYER_MOUNT_NAMESPACE];
    out->pid_namespaces = support->has[QN_LAYER_PID_NAMESPACE];
    out->network_namespaces = support->has[QN_LAYER_NETWORK_NAMESPACE];
    out->landlock = support->has[QN_LAYER_LANDLOCK];
    out->seccomp = support->has[QN_LAYER_SECCOMP];
}

enum qn_status qn_sandbox_report(const char *launcher, struct qn_sandbox_report *out, struct qn_error *err)
{
    struct qn_sandbox_support support;
    enum wish wish;
    QN_TRY(environment_wish(&wish, err));
    QN_TRY(qn_sandbox_support_probe(launcher, &support, err));
    struct qn_sandbox_report report = QN_SANDBOX_REPORT_INIT;
    fill_report(&support, wish, &report);
    size_t size = out->struct_size < sizeof report ? out->struct_size : sizeof report;
    report.struct_size = out->struct_size;
    memcpy(out, &report, size);
    return QN_OK;
}
