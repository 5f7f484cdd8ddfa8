/*
 * policy.c: the launcher's policy as bytes, and back.
 *
 * NUL-ended records, in any order but with lists in theirs:
 *   tier=full | tier=reduced      once
 *   readable=PATH  link=PATH=TARGET  arg=TEXT  env=NAME=VALUE      any number of times, an arg at least once
 * Both sides check: what is written is what can be read. Threads: no state.
 */
#include "base/memory.h"
#include "base/text.h"
#include "sandbox/launcher.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

enum { READABLE, LINK, ARG, ENV, N_LISTS };
static const char *const LIST_KEYS[N_LISTS] = { "readable=", "link=", "arg=", "env=" };
static const char *const TIERS[] = { "tier=full", "tier=reduced" };

/* Absolute, no empty part, "." or "..", and not the root itself. */
static bool is_plain_path(const char *path, size_t size)
{
    if (size < 2 || size >= PATH_MAX || path[0] != '/' || path[size - 1] == '/') {
        return false;
    }
    for (size_t at = 0; at < size;) {
        size_t end = ++at;
        while (end < size && path[end] != '/') {
            end++;
        }
        size_t length = end - at;
        if (length == 0 || (path[at] == '.' && (length == 1 || (length == 2 && path[at + 1] == '.')))) {
            return false;
        }
        at = end;
    }
    return true;
}

/* Below these a folder would bring along what the root is not to have. */
static bool is_of_the_kernel(const char *path)
{
    static const char *const FOLDERS[] = { "/proc", "/sys", "/dev" };
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        size_t length = strlen(FOLDERS[i]);
        if (strncmp(path, FOLDERS[i], length) == 0 && (path[length] == '/' || path[length] == '\0')) {
            return true;
        }
    }
    return false;
}

static bool is_item(int list, const char *item)
{
    const char *equals = strchr(item, '=');
    switch (list) {
    case READABLE:
        return is_plain_path(item, strlen(item)) && !is_of_the_kernel(item);
    case LINK:
        return equals != NULL && equals[1] != '\0' && is_plain_path(item, (size_t)(equals - item));
    case ENV:
        return equals != NULL && equals != item;
    default:
        return true;
    }
}

static void lists_of(const struct qn_sandbox_policy *policy, const char *const *out[N_LISTS])
{
    out[READABLE] = policy->readable;
    out[LINK] = policy->links;
    out[ARG] = policy->argv;
    out[ENV] = policy->environment;
}

static enum qn_status check(const struct qn_sandbox_policy *policy, struct qn_error *err)
{
    const char *const *lists[N_LISTS];
    lists_of(policy, lists);
    for (int list = 0; list < N_LISTS; list++) {
        size_t count = 0;
        for (const char *const *item = lists[list]; *item != NULL; item++, count++) {
            if (!is_item(list, *item)) {
                return qn_error_set(err, QN_ERR_ARGUMENT, "sandbox policy: \"%s%s\" is not allowed", LIST_KEYS[list],
                                    *item);
            }
        }
        if (count > QN_SANDBOX_MAX_PATHS) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "sandbox policy: %zu records \"%s\" exceed %d", count,
                                LIST_KEYS[list], QN_SANDBOX_MAX_PATHS);
        }
    }
    if (policy->argv[0] == NULL || !is_plain_path(policy->argv[0], strlen(policy->argv[0]))) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "sandbox policy: the interpreter's path is missing or not absolute");
    }
    return QN_OK;
}

enum qn_status qn_sandbox_policy_write(const struct qn_sandbox_policy *policy, struct qn_buffer *out,
                                       struct qn_error *err)
{
    QN_TRY(check(policy, err));
    const char *const *lists[N_LISTS];
    lists_of(policy, lists);
    const char *tier = TIERS[policy->tier == QN_SANDBOX_REDUCED];
    qn_auto_buffer bytes = { .limit = QN_SANDBOX_MAX_POLICY };
    qn_buffer_append(&bytes, tier, strlen(tier) + 1);
    for (int list = 0; list < N_LISTS; list++) {
        for (const char *const *item = lists[list]; *item != NULL; item++) {
            qn_buffer_append_text(&bytes, LIST_KEYS[list]);
            qn_buffer_append(&bytes, *item, strlen(*item) + 1);
        }
    }
    QN_TRY(qn_buffer_check(&bytes, "sandbox policy", err));
    qn_buffer_append(out, bytes.data, bytes.size);
    return qn_buffer_check(out, "sandbox policy", err);
}

void qn__policy_dispose(struct qn_policy_file *file)
{
    qn_buffer_dispose(&file->bytes);
    qn_free((void *)file->lists);
    file->lists = NULL;
}

/* Of its own, since the launcher has nothing of src/os. */
static enum qn_status read_all(int fd, struct qn_buffer *out, struct qn_error *err)
{
    char piece[4096];
    ssize_t got;
    while ((got = read(fd, piece, sizeof piece)) > 0) {
        qn_buffer_append(out, piece, (size_t)got);
    }
    if (got < 0) {
        return qn_error_set(err, QN_ERR_IO, "sandbox policy: %m");
    }
    return qn_buffer_check(out, "sandbox policy", err);
}

static enum qn_status parse(struct qn_policy_file *file, struct qn_error *err)
{
    const char *const end = file->bytes.data + file->bytes.size;
    size_t n_records = 0;
    for (const char *at = file->bytes.data; at < end; at += strlen(at) + 1) {
        n_records++;
    }
    file->lists = qn_calloc(N_LISTS * (n_records + 1), sizeof *file->lists);
    if (file->lists == NULL) {
        return qn__no_memory(err);
    }
    size_t counts[N_LISTS] = { 0 };
    int tier = -1;
    for (const char *at = file->bytes.data; at < end; at += strlen(at) + 1) {
        int list = 0;
        while (list < N_LISTS && strncmp(at, LIST_KEYS[list], strlen(LIST_KEYS[list])) != 0) {
            list++;
        }
        if (list < N_LISTS) {
            file->lists[(size_t)list * (n_records + 1) + counts[list]++] = at + strlen(LIST_KEYS[list]);
        } else if (tier < 0 && qn_text_equal(at, TIERS[QN_SANDBOX_FULL])) {
            tier = QN_SANDBOX_FULL;
        } else if (tier < 0 && qn_text_equal(at, TIERS[QN_SANDBOX_REDUCED])) {
            tier = QN_SANDBOX_REDUCED;
        } else {
            return qn_error_set(err, QN_ERR_ARGUMENT, "sandbox policy: record \"%s\" is not known", at);
        }
    }
    if (tier < 0) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "sandbox policy: no tier");
    }
    file->policy = (struct qn_sandbox_policy){
        .tier = (enum qn_sandbox_tier)tier,
        .readable = file->lists + READABLE * (n_records + 1),
        .links = file->lists + LINK * (n_records + 1),
        .argv = file->lists + ARG * (n_records + 1),
        .environment = file->lists + ENV * (n_records + 1),
    };
    return check(&file->policy, err);
}

enum qn_status qn__policy_read(int fd, struct qn_policy_file *out, struct qn_error *err)
{
    struct qn_policy_file file = { .bytes = { .limit = QN_SANDBOX_MAX_POLICY } };
    enum qn_status status = read_all(fd, &file.bytes, err);
    if (status == QN_OK && (file.bytes.size == 0 || file.bytes.data[file.bytes.size - 1] != '\0')) {
        status = qn_error_set(err, QN_ERR_ARGUMENT, "sandbox policy: it is cut off");
    }
    if (status == QN_OK) {
        status = parse(&file, err);
    }
    if (status != QN_OK) {
        qn__policy_dispose(&file);
        return status;
    }
    *out = file;
    return QN_OK;
}
