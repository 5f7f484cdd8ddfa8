/*
 * landlock.c: the rule set of runs: reading below some paths, and nothing else that Landlock knows.
 *
 * Everything that this kernel's ABI can govern is governed, so a newer kernel gives stronger walls without a change here
 * (up to the ABI below). The numbers are the kernel's; older headers lack some. Threads: no state.
 */
#include "sandbox/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RIGHT_READ_FILE (UINT64_C(1) << 2)
#define RIGHT_READ_DIR  (UINT64_C(1) << 3)
#define RULE_PATH       1
#define ASK_FOR_VERSION 1U

struct ruleset { /* struct landlock_ruleset_attr */
    uint64_t files;
    uint64_t network;
    uint64_t scopes;
};
struct __attribute__((packed)) path_rule { /* struct landlock_path_beneath_attr */
    uint64_t allowed;
    int32_t parent_fd;
};

/* What each ABI governs, and how much of the struct it knows. */
static const struct {
    struct ruleset governs;
    size_t size;
} ABIS[] = {
    [1] = { { .files = (UINT64_C(1) << 13) - 1 }, 8 },                             /* execute ... make_sym */
    [2] = { { .files = (UINT64_C(1) << 14) - 1 }, 8 },                             /* refer */
    [3] = { { .files = (UINT64_C(1) << 15) - 1 }, 8 },                             /* truncate */
    [4] = { { .files = (UINT64_C(1) << 15) - 1, .network = 3 }, 16 },              /* bind and connect TCP */
    [5] = { { .files = (UINT64_C(1) << 16) - 1, .network = 3 }, 16 },              /* ioctl on devices */
    [6] = { { .files = (UINT64_C(1) << 16) - 1, .network = 3, .scopes = 3 }, 24 }, /* abstract sockets, signals */
};
#define NEWEST_ABI ((int)(sizeof ABIS / sizeof *ABIS) - 1)

int qn__landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_FOR_VERSION);
    return abi > 0 ? (int)abi : 0;
}

static enum qn_status allow_reading(int ruleset_fd, const char *path, struct qn_error *err)
{
    struct stat about;
    struct path_rule rule = { .parent_fd = open(path, O_PATH | O_CLOEXEC) };
    if (rule.parent_fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: Landlock: \"%s\": %m", path);
    }
    rule.allowed = RIGHT_READ_FILE;
    if (fstat(rule.parent_fd, &about) == 0 && S_ISDIR(about.st_mode)) {
        rule.allowed |= RIGHT_READ_DIR;
    }
    long failed = syscall(SYS_landlock_add_rule, ruleset_fd, RULE_PATH, &rule, 0);
    int failure = errno;
    (void)close(rule.parent_fd);
    errno = failure;
    return failed == 0 ? QN_OK : qn_error_set(err, QN_ERR_IO, "lock-down: Landlock: \"%s\": %m", path);
}

enum qn_status qn_lockdown_ruleset(const char *const *readable, int *ruleset_fd_out, struct qn_error *err)
{
    int abi = qn__landlock_abi();
    if (abi == 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "lock-down: Landlock: %m");
    }
    int known = abi < NEWEST_ABI ? abi : NEWEST_ABI;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &ABIS[known].governs, ABIS[known].size, 0);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: Landlock: %m");
    }
    for (const char *const *path = readable; *path != NULL; path++) {
        enum qn_status status = allow_reading(fd, *path, err);
        if (status != QN_OK) {
            (void)close(fd);
            return status;
        }
    }
    *ruleset_fd_out = fd;
    return QN_OK;
}

enum qn_status qn__landlock_restrict(int ruleset_fd, struct qn_error *err)
{
    if (syscall(SYS_landlock_restrict_self, ruleset_fd, 0) != 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: Landlock: %m");
    }
    return QN_OK;
}
