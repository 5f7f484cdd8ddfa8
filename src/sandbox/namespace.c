/*
 * namespace.c: the launcher's namespaces, and the root that holds an interpreter and nothing else.
 *
 * The root is a tmpfs. It is mounted on /proc, a folder that every host has and no policy can name anything below, becomes
 * the root by pivot_root, and gets the readable paths from the old root, which a descriptor still reaches (looked up with
 * RESOLVE_IN_ROOT, so that the host's absolute links stay the host's). Then the old root is detached and the new one made
 * read-only. There is no /proc and no /dev in it.
 * Who may make mounts as it is (root) does all that first, since it alone may be able to read the sources, and then becomes
 * an unprivileged user and enters a user namespace: what follows has no rights over the mounts. Everybody else needs the
 * user namespace first. The id maps to itself either way: there is no root in there. Threads: one.
 */
#include "sandbox/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <sys/mount.h> has it, but cannot be had together with <linux/mount.h>. */
#define DETACH 2

#define NEW_ROOT "/proc"

bool qn__is_privileged(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, sets) == 0 &&
           (sets[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN)) != 0;
}

/* ---- ids ---- */

enum qn_status qn__become_nobody(struct qn_error *err)
{
    if (geteuid() != 0) {
        return QN_OK;
    }
    if (setresgid(QN_NOBODY, QN_NOBODY, QN_NOBODY) != 0 || setgroups(0, NULL) != 0 ||
        setresuid(QN_NOBODY, QN_NOBODY, QN_NOBODY) != 0) {
        if (errno == EINVAL) { /* root of a user namespace that has no such id: an ordinary user outside */
            return QN_OK;
        }
        return qn_error_set(err, QN_ERR_IO, "becoming user %d: %m", QN_NOBODY);
    }
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) { /* else /proc/self belongs to root */
        return qn_error_set(err, QN_ERR_IO, "dumpable: %m");
    }
    return QN_OK;
}

enum qn_status qn__become_nobody_if_reachable(const struct qn_sandbox_policy *policy, struct qn_error *err)
{
    if (geteuid() != 0 || setresgid(QN_NOBODY, QN_NOBODY, 0) != 0) {
        return QN_OK;
    }
    bool reachable = setgroups(0, NULL) == 0 && setresuid(QN_NOBODY, QN_NOBODY, 0) == 0 &&
                     faccessat(AT_FDCWD, policy->argv[0], R_OK | X_OK, AT_EACCESS) == 0;
    for (const char *const *path = policy->readable; reachable && *path != NULL; path++) {
        struct stat about;
        reachable = stat(*path, &about) == 0 &&
                    faccessat(AT_FDCWD, *path, S_ISDIR(about.st_mode) ? R_OK | X_OK : R_OK, AT_EACCESS) == 0;
    }
    if (setresuid(0, 0, 0) != 0 || setresgid(0, 0, 0) != 0) {
        return qn_error_set(err, QN_ERR_IO, "staying user 0: %m");
    }
    return reachable ? qn__become_nobody(err) : QN_OK;
}

static bool write_text(int proc_fd, const char *path, const char *text)
{
    int fd = openat(proc_fd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t written = write(fd, text, strlen(text));
    int failure = errno;
    (void)close(fd);
    errno = failure;
    return written == (ssize_t)strlen(text);
}

enum qn_status qn__enter_user_namespace(int proc_fd, struct qn_error *err)
{
    char users[64];
    char groups[64];
    (void)snprintf(users, sizeof users, "%u %u 1\n", (unsigned)geteuid(), (unsigned)geteuid());
    (void)snprintf(groups, sizeof groups, "%u %u 1\n", (unsigned)getegid(), (unsigned)getegid());
    if (unshare(CLONE_NEWUSER) != 0) {
        return qn__layer_failed(QN_LAYER_USER_NAMESPACE, proc_fd, "unshare", err);
    }
    if (!write_text(proc_fd, "self/setgroups", "deny") || !write_text(proc_fd, "self/uid_map", users) ||
        !write_text(proc_fd, "self/gid_map", groups)) {
        return qn__layer_failed(QN_LAYER_USER_NAMESPACE, proc_fd, "mapping the user", err);
    }
    return QN_OK;
}

/* ---- other namespaces ---- */

enum qn_status qn__enter_network_namespace(int proc_fd, struct qn_error *err)
{
    static const char NAME[] = "sandbox";
    if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0 || sethostname(NAME, sizeof NAME - 1) != 0) {
        return qn__layer_failed(QN_LAYER_NETWORK_NAMESPACE, proc_fd, "unshare", err);
    }
    return QN_OK;
}

enum qn_status qn__enter_mount_namespace(int proc_fd, struct qn_error *err)
{
    if (unshare(CLONE_NEWNS) != 0) {
        return qn__layer_failed(QN_LAYER_MOUNT_NAMESPACE, proc_fd, "unshare", err);
    }
    if (syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        syscall(SYS_mount, "qanat", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m") != 0) {
        return qn__layer_failed(QN_LAYER_MOUNT_NAMESPACE, proc_fd, "mounting a root", err);
    }
    return QN_OK;
}

/* ---- the root ---- */

/* Make every folder above `path`. */
static bool make_parents(const char *path)
{
    char folder[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        memcpy(folder, path, (size_t)(slash - path));
        folder[slash - path] = '\0';
        if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
            return false;
        }
    }
    return true;
}

/* An empty file or folder to mount on; what an earlier path has brought along is there already. */
static bool make_place(const char *path, mode_t kind)
{
    return make_parents(path) &&
           ((kind == S_IFDIR ? mkdir(path, 0755) : mknod(path, S_IFREG | 0444, 0)) == 0 || errno == EEXIST);
}

static enum qn_status make_link(const char *link, struct qn_error *err)
{
    const char *target = strchr(link, '=') + 1;
    char path[PATH_MAX];
    memcpy(path, link, (size_t)(target - 1 - link));
    path[target - 1 - link] = '\0';
    if (!make_parents(path) || symlink(target, path) != 0) {
        return qn_error_set(err, QN_ERR_IO, "root: link \"%s\" to \"%s\": %m", path, target);
    }
    return QN_OK;
}

/* A copy of the mount (with all below it) at `source`, read-only, put at `path`. */
static bool bind_read_only(int source, const char *path)
{
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        .propagation = MS_PRIVATE,
    };
    int tree =
        (int)syscall(SYS_open_tree, source, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0) {
        return false;
    }
    bool fine =
        syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) == 0 &&
        syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) == 0;
    int failure = errno;
    (void)close(tree);
    errno = failure;
    return fine;
}

static enum qn_status bring(int host_fd, const char *path, struct qn_error *err)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
    int source = (int)syscall(SYS_openat2, host_fd, path, &how, sizeof how);
    if (source < 0) {
        return qn_error_set(err, QN_ERR_IO, "root: readable path \"%s\": %m", path);
    }
    enum qn_status status = QN_OK;
    struct stat about = { 0 };
    (void)fstat(source, &about);
    mode_t kind = about.st_mode & S_IFMT;
    if (kind != S_IFDIR && kind != S_IFREG) {
        status = qn_error_set(err, QN_ERR_ARGUMENT, "root: readable path \"%s\" is neither a file nor a folder", path);
    } else if (!make_place(path, kind)) {
        status = qn_error_set(err, QN_ERR_IO, "root: making a place for \"%s\": %m", path);
    } else if (!bind_read_only(source, path)) {
        status = qn_error_set(err, QN_ERR_IO, "root: mounting \"%s\": %m", path);
    }
    (void)close(source);
    return status;
}

static enum qn_status build_root(const struct qn_sandbox_policy *policy, int proc_fd, struct qn_error *err)
{
    int host_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (host_fd < 0 || chdir(NEW_ROOT) != 0 || syscall(SYS_pivot_root, ".", ".") != 0) {
        return qn__layer_failed(QN_LAYER_MOUNT_NAMESPACE, proc_fd, "changing the root", err);
    }
    for (const char *const *link = policy->links; *link != NULL; link++) {
        QN_TRY(make_link(*link, err));
    }
    for (const char *const *path = policy->readable; *path != NULL; path++) {
        QN_TRY(bring(host_fd, *path, err));
    }
    (void)close(host_fd);
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
    if (syscall(SYS_umount2, ".", DETACH) != 0 || chdir("/") != 0 ||
        syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &read_only, sizeof read_only) != 0) {
        return qn__layer_failed(QN_LAYER_MOUNT_NAMESPACE, proc_fd, "leaving the old root", err);
    }
    return QN_OK;
}

enum qn_status qn__enter_namespaces(const struct qn_sandbox_policy *policy, int proc_fd, struct qn_error *err)
{
    bool privileged = qn__is_privileged();
    if (!privileged) {
        QN_TRY(qn__become_nobody_if_reachable(policy, err));
        QN_TRY(qn__enter_user_namespace(proc_fd, err));
    }
    QN_TRY(qn__enter_network_namespace(proc_fd, err));
    QN_TRY(qn__enter_mount_namespace(proc_fd, err));
    QN_TRY(build_root(policy, proc_fd, err));
    if (privileged) {
        QN_TRY(qn__become_nobody(err));
        QN_TRY(qn__enter_user_namespace(proc_fd, err));
    }
    return QN_OK;
}
