/*
 * remedy.c: the names of the layers, and what an administrator can do where the kernel does not give one.
 *
 * Threads: no state.
 */
#include "sandbox/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OR_REDUCED                                                                                                     \
    "; or the administrator allows the reduced tier: tier = \"reduced\" under [sandbox] in /etc/qanat/qanat.toml, or " \
    "QANAT_SANDBOX=reduced"

const char *qn_sandbox_layer_name(enum qn_sandbox_layer layer)
{
    static const char *const NAMES[QN_LAYERS] = {
        [QN_LAYER_USER_NAMESPACE] = "user namespaces",
        [QN_LAYER_MOUNT_NAMESPACE] = "mount namespaces",
        [QN_LAYER_PID_NAMESPACE] = "pid namespaces",
        [QN_LAYER_NETWORK_NAMESPACE] = "network namespaces",
        [QN_LAYER_LANDLOCK] = "Landlock",
        [QN_LAYER_SECCOMP] = "seccomp",
    };
    return (unsigned)layer < QN_LAYERS ? NAMES[layer] : "unknown layer";
}

/* The number after `key` in a small file below /proc; -1 where there is none. */
static long proc_number(int proc_fd, const char *path, const char *key)
{
    char text[4096];
    int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t got = read(fd, text, sizeof text - 1);
    (void)close(fd);
    text[got > 0 ? got : 0] = '\0';
    const char *at = strstr(text, key);
    return got > 0 && at != NULL ? strtol(at + strlen(key), NULL, 10) : -1;
}

static const char *namespace_remedy(enum qn_sandbox_layer layer, int proc_fd)
{
    static const struct {
        const char *path, *key;
        long wrong;
        const char *remedy;
    } CAUSES[] = {
        { "sys/user/max_user_namespaces", "", 0, "sysctl user.max_user_namespaces is 0: set it to 15000" OR_REDUCED },
        { "sys/user/max_mnt_namespaces", "", 0, "sysctl user.max_mnt_namespaces is 0: set it to 15000" OR_REDUCED },
        { "sys/user/max_pid_namespaces", "", 0, "sysctl user.max_pid_namespaces is 0: set it to 15000" OR_REDUCED },
        { "sys/user/max_net_namespaces", "", 0, "sysctl user.max_net_namespaces is 0: set it to 15000" OR_REDUCED },
        { "sys/kernel/unprivileged_userns_clone", "", 0,
          "sysctl kernel.unprivileged_userns_clone is 0: set it to 1" OR_REDUCED },
        { "sys/kernel/apparmor_restrict_unprivileged_userns", "", 1,
          "AppArmor restricts user namespaces: give the launcher a profile with \"userns,\" or set sysctl "
          "kernel.apparmor_restrict_unprivileged_userns to 0" OR_REDUCED },
        { "self/status", "\nSeccomp:\t", 2,
          "this looks like a container: start it with a seccomp profile that allows unshare, clone and mount (docker "
          "run "
          "--security-opt seccomp=unconfined --security-opt systempaths=unconfined)" OR_REDUCED },
    };
    for (size_t i = 0; i < sizeof CAUSES / sizeof *CAUSES; i++) {
        if (proc_number(proc_fd, CAUSES[i].path, CAUSES[i].key) == CAUSES[i].wrong) {
            return CAUSES[i].remedy;
        }
    }
    return layer == QN_LAYER_MOUNT_NAMESPACE
               ? "the kernel refuses mounts here: in a container allow it to mount (docker run --security-opt "
                 "apparmor=unconfined "
                 "--security-opt systempaths=unconfined)" OR_REDUCED
               : "run on a kernel with namespaces for ordinary users (CONFIG_USER_NS, CONFIG_PID_NS, "
                 "CONFIG_NET_NS)" OR_REDUCED;
}

static const char *remedy(enum qn_sandbox_layer layer, int proc_fd)
{
    switch (layer) {
    case QN_LAYER_LANDLOCK:
        return "run on Linux 5.13 or later with Landlock enabled (add \"landlock\" to the boot parameter lsm=; in a "
               "container allow the system calls landlock_*). Statements never run without it";
    case QN_LAYER_SECCOMP:
        return "run on a kernel with CONFIG_SECCOMP_FILTER, and in a container that allows the system call seccomp. "
               "Statements never run without it";
    default:
        return namespace_remedy(layer, proc_fd);
    }
}

enum qn_status qn__layer_failed(enum qn_sandbox_layer layer, int proc_fd, const char *what, struct qn_error *err)
{
    enum qn_status status = qn_error_set(err, QN_ERR_UNSUPPORTED, "%s: %s: %m", qn_sandbox_layer_name(layer), what);
    qn_error_hint(err, "%s", remedy(layer, proc_fd));
    return status;
}
