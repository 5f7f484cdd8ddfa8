/*
 * lockdown.c: what a run does to itself before it runs anything, and the proof that it holds.
 *
 * The order is the specification's: limits, not dumpable, parent-death signal, capabilities, descriptors, no_new_privs,
 * Landlock, seccomp. Any failure is final: the caller ends the process. Threads: the process has one.
 */
#include "sandbox/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In the reduced tier an engine that is an ordinary user could not read the addresses that a run with network connects
 * to, were it not dumpable: there is no user namespace over which the engine has rights. Other runs cannot look into it
 * either way: their filter has neither ptrace nor process_vm_readv. */
static enum qn_status forbid_dumps(const struct qn_lockdown *lockdown, struct qn_error *err)
{
    if (lockdown->tier == QN_SANDBOX_REDUCED && lockdown->network) {
        return QN_OK;
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: not dumpable: %m");
    }
    return QN_OK;
}

/* The signal comes when the parent ends from now on; that it has not ended before is seen on its pidfd. */
static enum qn_status die_with_parent(struct qn_error *err)
{
    struct pollfd parent = { .fd = qn__sandbox_parent_fd(), .events = POLLIN };
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || parent.fd < 0 || poll(&parent, 1, 0) < 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: parent-death signal: %m");
    }
    if (parent.revents != 0) {
        return qn_error_set(err, QN_ERR_CLOSED, "lock-down: the zygote has ended");
    }
    return QN_OK;
}

static bool is_kept(const struct qn_lockdown *lockdown, int fd)
{
    for (size_t i = 0; i < lockdown->n_keep; i++) {
        if (lockdown->keep[i] == fd) {
            return true;
        }
    }
    return fd == lockdown->ruleset_fd; /* until it has been used */
}

static enum qn_status close_descriptors(const struct qn_lockdown *lockdown, struct qn_error *err)
{
    int last = lockdown->ruleset_fd;
    if (lockdown->n_keep > 0 && lockdown->keep[lockdown->n_keep - 1] > last) {
        last = lockdown->keep[lockdown->n_keep - 1];
    }
    for (int fd = STDERR_FILENO + 1; fd <= last; fd++) {
        if (!is_kept(lockdown, fd)) {
            (void)close(fd);
        }
    }
    if (dup2(STDIN_FILENO, STDOUT_FILENO) < 0 || dup2(STDIN_FILENO, STDERR_FILENO) < 0 ||
        syscall(SYS_close_range, last + 1, ~0U, 0) != 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: descriptors: %m");
    }
    return QN_OK;
}

static int install(const struct sock_filter *program, size_t n_instructions, unsigned flags)
{
    /* The kernel only reads it. */
    struct sock_fprog filter = { .len = (unsigned short)n_instructions,
                                 .filter = (struct sock_filter *)(uintptr_t)program };
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
}

/* The shared filter lets kill and tgkill through, since it does not know this process; this one knows nothing else. The
 * machine's byte order is that of system call arguments; pids have 32 bits. */
static int install_own_pid_filter(void)
{
    const struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    return install(program, sizeof program / sizeof *program, 0);
}

static enum qn_status install_filters(const struct qn_lockdown *lockdown, int *notify_fd_out, struct qn_error *err)
{
    size_t n_instructions = lockdown->filter_size / sizeof(struct sock_filter);
    if (lockdown->filter_size % sizeof(struct sock_filter) != 0 || n_instructions == 0 ||
        n_instructions > BPF_MAXINSNS) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "lock-down: seccomp: a filter of %zu bytes", lockdown->filter_size);
    }
    int listener = install_own_pid_filter();
    if (listener == 0) {
        listener = install(lockdown->filter, n_instructions, lockdown->network ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0);
    }
    if (listener < 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: seccomp: %m");
    }
    *notify_fd_out = lockdown->network ? listener : -1;
    return QN_OK;
}

enum qn_status qn_lockdown_apply(const struct qn_lockdown *lockdown, int *notify_fd_out, struct qn_error *err)
{
    QN_TRY(qn__limits_apply(lockdown, err));
    QN_TRY(forbid_dumps(lockdown, err));
    QN_TRY(die_with_parent(err));
    QN_TRY(qn__capabilities_drop(err));
    QN_TRY(close_descriptors(lockdown, err));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return qn_error_set(err, QN_ERR_IO, "lock-down: no_new_privs: %m");
    }
    QN_TRY(qn__landlock_restrict(lockdown->ruleset_fd, err));
    (void)close(lockdown->ruleset_fd);
    return install_filters(lockdown, notify_fd_out, err);
}

/* ---- the proof ---- */

/* Each tries one thing and says whether it failed as the layer makes it fail. errno is 0 where it succeeded. Calls that
 * the filter refuses say EPERM before the kernel has looked at the arguments, which are wrong on purpose. */
static int refused(long result)
{
    if (result >= 0) {
        return 0;
    }
    return errno;
}

static bool no_host_file(const struct qn_lockdown *lockdown)
{
    (void)lockdown;
    int why = refused(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    return why == EACCES || why == ENOENT;
}

/* The root is there in every tier and is never readable as such: this is Landlock alone. */
static bool no_root_folder(const struct qn_lockdown *lockdown)
{
    (void)lockdown;
    return refused(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == EACCES;
}

static bool no_new_file(const struct qn_lockdown *lockdown)
{
    (void)lockdown;
    return refused(open("/qanat-probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) == EPERM;
}

static bool no_socket(const struct qn_lockdown *lockdown)
{
    return refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) == EPERM &&
           refused(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) == EPERM &&
           (lockdown->network || refused(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) == EPERM);
}

static bool no_program(const struct qn_lockdown *lockdown)
{
    (void)lockdown;
    return refused(syscall(SYS_execve, NULL, NULL, NULL)) == EPERM &&
           refused(syscall(SYS_execveat, -1, NULL, NULL, NULL, 0)) == EPERM;
}

static bool no_process(const struct qn_lockdown *lockdown)
{
    (void)lockdown;
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        _exit(0);
    }
    return refused(pid) == EPERM;
}

static bool no_executable_memory(const struct qn_lockdown *lockdown)
{
    (void)lockdown;
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED && errno == EPERM;
}

static bool no_signal_to_others(const struct qn_lockdown *lockdown)
{
    (void)lockdown;
    return refused(kill(0, 0)) == EPERM && refused(kill(getpid(), 0)) == 0;
}

static bool no_tracing(const struct qn_lockdown *lockdown)
{
    (void)lockdown;
    return refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL)) == EPERM;
}

enum qn_status qn_lockdown_probe(const struct qn_lockdown *lockdown, struct qn_error *err)
{
    static const struct {
        const char *what;
        bool (*holds)(const struct qn_lockdown *lockdown);
    } WALLS[] = {
        { "a file of the host can be opened", no_host_file },
        { "Landlock lets a folder through", no_root_folder },
        { "a file can be made", no_new_file },
        { "a socket can be made", no_socket },
        { "a program can be executed", no_program },
        { "a process can be forked", no_process },
        { "memory can be made executable", no_executable_memory },
        { "signals reach others", no_signal_to_others },
        { "tracing is possible", no_tracing },
    };
    for (size_t i = 0; i < sizeof WALLS / sizeof *WALLS; i++) {
        errno = 0;
        if (!WALLS[i].holds(lockdown)) {
            return qn_error_set(err, QN_ERR_INTERNAL, "lock-down: the probe found a hole: %s", WALLS[i].what);
        }
    }
    return QN_OK;
}
