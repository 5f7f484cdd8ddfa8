/*
 * launcher.c: the program between the engine and the zygote.
 *
 * `qanat-launcher`          builds the walls of the policy on descriptor 4 and becomes the interpreter. On failure: one line
 *                           on standard error, exit status 71.
 * `qanat-launcher --probe`  tries each layer, in a child process of its own, and prints what is there:
 *                           "layer NUMBER ok|missing", "landlock ABI", "cause TEXT" and "remedy TEXT" of the first
 *                           that is missing.
 * One thread, no untrusted input; nothing runs between here and the interpreter.
 */
#include "sandbox/launcher.h"
#include "sandbox/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_NO_WALLS 71

/* ---- becoming a zygote ---- */

/* Move a descriptor to its number, where it outlives execve. */
static enum qn_status place(int fd, int number, struct qn_error *err)
{
    if (fd < 0 || dup2(fd, number) < 0) {
        return qn_error_set(err, QN_ERR_IO, "descriptor %d: %m", number);
    }
    if (fd != number) {
        (void)close(fd);
    }
    return QN_OK;
}

/* Descriptors 0 to 7 as sandbox.h has them, and no other; the filters are made here. Policy (4) is closed. */
static enum qn_status prepare_descriptors(struct qn_error *err)
{
    int filter = -1;
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0) {
        return qn_error_set(err, QN_ERR_IO, "/dev/null: %m");
    }
    if (syscall(SYS_close_range, QN_SANDBOX_FD_POLICY, ~0U, 0) != 0) {
        return qn_error_set(err, QN_ERR_IO, "closing descriptors: %m");
    }
    QN_TRY(place(open("/proc", O_PATH | O_DIRECTORY), QN_SANDBOX_FD_PROC, err));
    QN_TRY(qn__filter_make(false, &filter, err));
    QN_TRY(place(filter, QN_SANDBOX_FD_FILTER, err));
    QN_TRY(qn__filter_make(true, &filter, err));
    return place(filter, QN_SANDBOX_FD_FILTER_NET, err);
}

/* What the engine's own settings must not decide, and what nobody gets back. The limit of the stack is glibc's for the
 * stacks of threads, which count as memory of a run, and where there is none the kernel lays memory out differently. The
 * zygote holds descriptors of every run, and what it may send is compared with its limit: it gets what can be had. */
static enum qn_status give_up_rights(struct qn_error *err)
{
    struct rlimit none = { 0, 0 };
    struct rlimit stack;
    struct rlimit files;
    bool fine = getrlimit(RLIMIT_STACK, &stack) == 0 && getrlimit(RLIMIT_NOFILE, &files) == 0;
    if (fine) {
        stack.rlim_max = stack.rlim_max < QN_STACK_SIZE ? stack.rlim_max : QN_STACK_SIZE;
        stack.rlim_cur = stack.rlim_max;
        files.rlim_cur = files.rlim_max;
        fine = setrlimit(RLIMIT_STACK, &stack) == 0 && setrlimit(RLIMIT_NOFILE, &files) == 0 &&
               setrlimit(RLIMIT_CORE, &none) == 0;
    }
    if (!fine || personality(PER_LINUX) < 0 || chdir("/") != 0) {
        return qn_error_set(err, QN_ERR_IO, "preparing the process: %m");
    }
    QN_TRY(qn__capabilities_drop(err));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return qn_error_set(err, QN_ERR_IO, "no_new_privs: %m");
    }
    return QN_OK;
}

/* Returns only on failure. */
static enum qn_status launch(struct qn_error *err)
{
    struct qn_policy_file file;
    QN_TRY(qn__policy_read(QN_SANDBOX_FD_POLICY, &file, err));
    const struct qn_sandbox_policy *policy = &file.policy;
    QN_TRY(prepare_descriptors(err));
    if (qn__landlock_abi() == 0) {
        return qn__layer_failed(QN_LAYER_LANDLOCK, QN_SANDBOX_FD_PROC, "create_ruleset", err);
    }
    (void)umask(S_IWGRP | S_IWOTH);
    if (policy->tier == QN_SANDBOX_FULL) {
        QN_TRY(qn__enter_namespaces(policy, QN_SANDBOX_FD_PROC, err));
    } else {
        QN_TRY(qn__become_nobody_if_reachable(policy, err));
    }
    QN_TRY(give_up_rights(err));
    (void)execve(policy->argv[0], (char *const *)(uintptr_t)policy->argv,
                 (char *const *)(uintptr_t)policy->environment);
    return qn_error_set(err, QN_ERR_IO, "executing \"%s\": %m", policy->argv[0]);
}

/* ---- what this kernel gives ---- */

static enum qn_status try_seccomp(struct qn_error *err)
{
    static const uint32_t NEEDED[] = { SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ERRNO, SECCOMP_RET_USER_NOTIF };
    for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++) {
        if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &NEEDED[i]) != 0) {
            return qn__layer_failed(QN_LAYER_SECCOMP, -1, "an action", err);
        }
    }
    int filter = -1;
    return qn__filter_make(true, &filter, err);
}

static enum qn_status try_fork(int proc_fd, struct qn_error *err)
{
    int pid_fd = -1;
    pid_t pid = qn_sandbox_fork(QN_SANDBOX_FULL, &pid_fd);
    if (pid == 0) {
        _exit(getpid() == 1 ? 0 : 1);
    }
    siginfo_t info = { 0 };
    if (pid < 0 || waitid(P_PIDFD, (id_t)pid_fd, &info, WEXITED) != 0) {
        return qn__layer_failed(QN_LAYER_PID_NAMESPACE, proc_fd, "fork", err);
    }
    return info.si_status == 0 ? QN_OK : qn_error_set(err, QN_ERR_INTERNAL, "pid namespaces: a child is not pid 1");
}

/* In a process of its own. The same steps that a launch takes. */
static enum qn_status try_layer(enum qn_sandbox_layer layer, int proc_fd, struct qn_error *err)
{
    if (layer == QN_LAYER_LANDLOCK) {
        return qn__landlock_abi() > 0 ? QN_OK : qn__layer_failed(layer, proc_fd, "create_ruleset", err);
    }
    if (layer == QN_LAYER_SECCOMP) {
        return try_seccomp(err);
    }
    bool of_root = layer == QN_LAYER_MOUNT_NAMESPACE || layer == QN_LAYER_NETWORK_NAMESPACE;
    if (!of_root || !qn__is_privileged()) {
        QN_TRY(qn__become_nobody(err));
        QN_TRY(qn__enter_user_namespace(proc_fd, err));
    }
    switch (layer) {
    case QN_LAYER_MOUNT_NAMESPACE:
        return qn__enter_mount_namespace(proc_fd, err);
    case QN_LAYER_NETWORK_NAMESPACE:
        return qn__enter_network_namespace(proc_fd, err);
    case QN_LAYER_PID_NAMESPACE:
        return try_fork(proc_fd, err);
    default:
        return QN_OK;
    }
}

static int probe(void)
{
    int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool missing = false;
    for (int layer = 0; layer < QN_LAYERS; layer++) {
        (void)fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            struct qn_error err = QN_ERROR_INIT;
            enum qn_status status = try_layer((enum qn_sandbox_layer)layer, proc_fd, &err);
            if (status != QN_OK && !missing) {
                printf("cause %s\nremedy %s\n", err.message, err.hint);
                (void)fflush(stdout);
            }
            _exit(status == QN_OK ? 0 : 1);
        }
        int how = 0;
        if (pid < 0 || waitpid(pid, &how, 0) != pid) {
            return EXIT_NO_WALLS;
        }
        bool there = WIFEXITED(how) && WEXITSTATUS(how) == 0;
        missing = missing || !there;
        printf("layer %d %s\n", layer, there ? "ok" : "missing");
    }
    printf("landlock %d\n", qn__landlock_abi());
    return fflush(stdout) == 0 ? 0 : EXIT_NO_WALLS;
}

int main(int argc, char **argv)
{
    struct qn_error err = QN_ERROR_INIT;
    if (argc == 2 && strcmp(argv[1], "--probe") == 0) {
        return probe();
    }
    if (argc != 1) {
        (void)fprintf(stderr, "%s: started by qanat, with a policy; or with --probe\n", argv[0]);
        return EXIT_NO_WALLS;
    }
    (void)launch(&err);
    (void)fprintf(stderr, "sandbox: %s%s%s\n", err.message, err.hint[0] != '\0' ? "; " : "", err.hint);
    _exit(EXIT_NO_WALLS); /* at once: half of the walls may stand */
}
