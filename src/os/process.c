/*
 * process.c: child processes.
 *
 * A child that has ended stays a zombie until qn_process_end has killed the rest of its group: as long as it is there,
 * neither its pid nor its group's can mean anything else. Only our own child is waited for, by its pidfd. Threads: one
 * at a time per child; any number of children.
 */
#include "os/process.h"

#include "os/clock.h"
#include "os/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define FIRST_FREE_FD 3 /* after standard input, output and error */

/* What a child is given. In the pipes [0] is read, [1] written. All numbers are above those that the child will have, so
 * that putting one in its place never overwrites another. */
struct pipes {
    int in[2];
    int out[2];
    int err[2];
    int extra[QN_PROCESS_MAX_FDS]; /* copies of the caller's */
    int n_extra;
};
#define PIPES_INIT                                                                                                     \
    {                                                                                                                  \
        .in = { -1, -1 }, .out = { -1, -1 }, .err = { -1, -1 }, .n_extra = 0                                           \
    }

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void close_pipes(struct pipes *pipes)
{
    for (int end = 0; end < 2; end++) {
        close_fd(&pipes->in[end]);
        close_fd(&pipes->out[end]);
        close_fd(&pipes->err[end]);
    }
    while (pipes->n_extra > 0) {
        close_fd(&pipes->extra[--pipes->n_extra]);
    }
}

/* Both ends get numbers from `lowest` on, even where the host has closed its own standard descriptors. */
static bool open_pipe(int ends[2], int lowest)
{
    int low[2];
    if (pipe2(low, O_CLOEXEC) != 0) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, lowest);
    }
    int failure = errno;
    (void)close(low[0]);
    (void)close(low[1]);
    errno = failure;
    return ends[0] >= 0 && ends[1] >= 0;
}

static bool open_pipes(struct pipes *pipes, const int *fds, size_t n_fds)
{
    int lowest = FIRST_FREE_FD + (int)n_fds;
    for (size_t i = 0; i < n_fds; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, lowest);
        if (copy < 0) {
            return false;
        }
        pipes->extra[pipes->n_extra++] = copy;
    }
    return open_pipe(pipes->in, lowest) && open_pipe(pipes->out, lowest) && open_pipe(pipes->err, lowest);
}

static int prepare_files(posix_spawn_file_actions_t *files, const char *folder, const struct pipes *pipes)
{
    int failure = folder != NULL ? posix_spawn_file_actions_addchdir_np(files, folder) : 0;
    if (failure == 0) {
        failure = posix_spawn_file_actions_adddup2(files, pipes->in[0], STDIN_FILENO);
    }
    if (failure == 0) {
        failure = posix_spawn_file_actions_adddup2(files, pipes->out[1], STDOUT_FILENO);
    }
    if (failure == 0) {
        failure = posix_spawn_file_actions_adddup2(files, pipes->err[1], STDERR_FILENO);
    }
    for (int i = 0; failure == 0 && i < pipes->n_extra; i++) {
        failure = posix_spawn_file_actions_adddup2(files, pipes->extra[i], FIRST_FREE_FD + i);
    }
    if (failure == 0) {
        failure = posix_spawn_file_actions_addclosefrom_np(files, FIRST_FREE_FD + pipes->n_extra);
    }
    return failure;
}

/* A group of its own, no signal blocked, none ignored: what the host has set up is not the child's. */
static int prepare_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int failure = posix_spawnattr_setpgroup(attributes, 0);
    if (failure == 0) {
        failure = posix_spawnattr_setsigmask(attributes, &none);
    }
    if (failure == 0) {
        failure = posix_spawnattr_setsigdefault(attributes, &all);
    }
    if (failure == 0) {
        failure = posix_spawnattr_setflags(attributes,
                                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    return failure;
}

/* 0 or an errno, that of exec among them. */
static int spawn(const char *folder, const char *const *argv, const char *const *environment, const struct pipes *pipes,
                 pid_t *pid_out)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int failure = posix_spawn_file_actions_init(&files);
    if (failure != 0) {
        return failure;
    }
    failure = posix_spawnattr_init(&attributes);
    if (failure == 0) {
        failure = prepare_files(&files, folder, pipes);
        if (failure == 0) {
            failure = prepare_attributes(&attributes);
        }
        if (failure == 0) {
            /* posix_spawn takes pointers to non-const for the sake of old callers; it changes nothing. */
            failure = posix_spawnp(pid_out, argv[0], &files, &attributes, (char *const *)(uintptr_t)argv,
                                   environment != NULL ? (char *const *)(uintptr_t)environment : environ);
        }
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&files);
    return failure;
}

/* Ours alone, and young enough that its pid cannot have been given away. */
static void kill_unwatched(pid_t pid)
{
    (void)kill(-pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

enum qn_status qn_process_start(const char *const *argv, const char *const *environment, struct qn_process *out,
                                struct qn_error *err)
{
    return qn_process_start_with(argv, environment, NULL, 0, out, err);
}

enum qn_status qn_process_start_with(const char *const *argv, const char *const *environment, const int *fds,
                                     size_t n_fds, struct qn_process *out, struct qn_error *err)
{
    return qn_process_start_in(NULL, argv, environment, fds, n_fds, out, err);
}

enum qn_status qn_process_start_in(const char *folder, const char *const *argv, const char *const *environment,
                                   const int *fds, size_t n_fds, struct qn_process *out, struct qn_error *err)
{
    if (n_fds > QN_PROCESS_MAX_FDS) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "starting \"%s\": %zu descriptors exceed %d", argv[0], n_fds,
                            QN_PROCESS_MAX_FDS);
    }
    struct pipes pipes = PIPES_INIT;
    pid_t pid = 0;
    int pid_fd = -1;
    int failure = 0;
    if (!open_pipes(&pipes, fds, n_fds)) {
        failure = errno;
    } else {
        failure = spawn(folder, argv, environment, &pipes, &pid);
    }
    if (failure == 0) {
        pid_fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec as it is */
        if (pid_fd < 0) {
            failure = errno;
            kill_unwatched(pid);
        }
    }
    if (failure != 0) {
        close_pipes(&pipes);
        errno = failure;
        return qn_error_set(err, QN_ERR_IO, "starting \"%s\": %m", argv[0]);
    }
    *out = (struct qn_process){
        .pid = pid,
        .owner = getpid(),
        .pid_fd = pid_fd,
        .stdin_fd = pipes.in[1],
        .stdout_fd = pipes.out[0],
        .stderr_fd = pipes.err[0],
    };
    pipes.in[1] = -1;
    pipes.out[0] = -1;
    pipes.err[0] = -1;
    close_pipes(&pipes);
    return QN_OK;
}

enum qn_status qn_process_wait(struct qn_process *process, int64_t deadline, struct qn_exit *out, struct qn_error *err)
{
    if (process->pid == 0 || process->owner != getpid()) {
        return qn_error_set(err, QN_ERR_CLOSED, "no child process to wait for");
    }
    QN_TRY(qn_poll_one(process->pid_fd, POLLIN, deadline, err));
    siginfo_t info = { 0 };
    if (waitid(P_PIDFD, (id_t)process->pid_fd, &info, WEXITED | WNOWAIT) != 0) {
        return qn_error_set(err, QN_ERR_IO, "child process %ld: how it ended is lost: %m", (long)process->pid);
    }
    *out = (struct qn_exit){ .exited = info.si_code == CLD_EXITED, .code = info.si_status };
    return QN_OK;
}

/* Until the child has ended or the deadline passes; true where it has ended. Asks nobody. */
static bool wait_for_end(int pid_fd, int64_t deadline)
{
    for (;;) {
        struct pollfd entry = { .fd = pid_fd, .events = POLLIN };
        int64_t left = qn_deadline_remaining_ms(deadline);
        int ready = poll(&entry, 1, deadline == QN_NO_DEADLINE ? -1 : (int)left);
        if (ready > 0) {
            return true;
        }
        if ((ready == 0 && left == 0) || (ready < 0 && errno != EINTR)) {
            return false;
        }
    }
}

void qn_process_end(struct qn_process *process, int64_t grace_ms)
{
    close_fd(&process->stdin_fd);
    close_fd(&process->stdout_fd);
    close_fd(&process->stderr_fd);
    if (process->pid > 0 && process->owner == getpid()) {
        if (grace_ms > 0) {
            (void)kill(-process->pid, SIGTERM);
            (void)wait_for_end(process->pid_fd, qn_deadline_after_ms(grace_ms));
        }
        (void)kill(-process->pid, SIGKILL);
        siginfo_t info;
        while (waitid(P_PIDFD, (id_t)process->pid_fd, &info, WEXITED) != 0 && errno == EINTR) {
        }
    }
    close_fd(&process->pid_fd);
    *process = (struct qn_process)QN_PROCESS_INIT;
}
