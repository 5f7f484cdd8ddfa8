/*
 * jail.c: a stand-in for the interpreter, which the tests of the sandbox give to the launcher.
 *
 *   jail MODE TIER FILTER RULES WHAT ARGUMENT READABLE...
 *
 * It forks runs as a zygote does and lets them try things. FILTER is "off" (no network), "net" or "none" (everything is
 * allowed, so that what is stopped is stopped by another layer); RULES is "strict" (Landlock as meant) or "open" (all may
 * be read). What happens goes as lines "name number" to the control socket; WHAT and ARGUMENT are the mode's.
 */
#include "attempts.h"

#include "sandbox/lockdown.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONTROL     QN_SANDBOX_FD_CONTROL
#define MEBIBYTE    ((size_t)1 << 20)
#define RUN_FILES   64
#define RUN_THREADS 8
#define EXTRA_KEPT  50

struct jail {
    const char *mode, *what, *argument;
    bool is_net, rules_open;
    struct qn_lockdown lockdown;
};

static void say(const char *name, long number)
{
    dprintf(CONTROL, "%s %ld\n", name, number);
}

static void fail(const char *what)
{
    dprintf(CONTROL, "failed: %s: %s\n", what, strerror(errno));
    _exit(1);
}

/* ---- what runs do ---- */

static void try_all(const struct jail *jail)
{
    char names[8192];
    char *rest = NULL;
    (void)snprintf(names, sizeof names, "%s", jail->what);
    for (char *name = strtok_r(names, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        say(name, attempt(name, jail->argument));
    }
}

/* Memory that has been written to, until there is no more. */
static void eat_memory(void)
{
    long eaten = 0;
    for (; eaten < 2048; eaten++) {
        char *piece = mmap(NULL, MEBIBYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) {
            break;
        }
        memset(piece, 1, MEBIBYTE);
    }
    say("mebibytes", eaten);
}

static void *wait_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        (void)pause();
    }
    return NULL;
}

static void start_threads(void)
{
    pthread_attr_t attributes;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, (size_t)1 << 16);
    long threads = 1;
    int why = 0;
    while (threads < 200) {
        pthread_t thread;
        why = pthread_create(&thread, &attributes, wait_for_ever, NULL);
        if (why != 0) {
            break;
        }
        threads++;
    }
    say("threads", threads);
    say("refused", why);
}

static void open_files(const char *path)
{
    long opened = 0;
    while (opened < 4096 && open(path, O_RDONLY | O_CLOEXEC) >= 0) {
        opened++;
    }
    say("files", opened);
    say("refused", errno);
}

static void tell_descriptors(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        struct stat about;
        if (fcntl(fd, F_GETFD) >= 0 && fstat(fd, &about) == 0) {
            say(S_ISCHR(about.st_mode) ? "device" : "descriptor", fd);
        }
    }
}

static void tell_limits(void)
{
    static const struct {
        const char *name;
        int resource;
    } LIMITS[] = {
        { "core", RLIMIT_CORE },         { "fsize", RLIMIT_FSIZE }, { "memlock", RLIMIT_MEMLOCK },
        { "msgqueue", RLIMIT_MSGQUEUE }, { "stack", RLIMIT_STACK }, { "sigpending", RLIMIT_SIGPENDING },
        { "nofile", RLIMIT_NOFILE },     { "nproc", RLIMIT_NPROC }, { "rtprio", RLIMIT_RTPRIO },
    };
    for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
        struct rlimit limit;
        (void)getrlimit((__rlimit_resource_t)LIMITS[i].resource, &limit);
        say(LIMITS[i].name, limit.rlim_cur == limit.rlim_max ? (long)limit.rlim_max : -2);
    }
}

/* What the lock-down has set, as the kernel tells it: only where the filter lets us ask (FILTER none). */
static void tell_state(void)
{
    int signal_number = 0;
    say("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    say("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("seccomp", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    say("death_signal", prctl(PR_GET_PDEATHSIG, &signal_number, 0, 0, 0) == 0 ? signal_number : -1);
    say("bounding", prctl(PR_CAPBSET_READ, 21 /* CAP_SYS_ADMIN */, 0, 0, 0));
    say("securebits", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
    uint32_t header[2] = { 0x20080522, 0 };
    uint32_t sets[6] = { 0 };
    (void)syscall(SYS_capget, header, sets);
    say("capabilities", (long)(sets[0] | sets[1] | sets[2] | sets[3] | sets[4] | sets[5]));
    say("pid", getpid());
    say("parent", getppid());
    say("thread", syscall(SYS_gettid));
    pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    (void)pthread_mutex_lock(&mutex);
    say("thread_of_libc", mutex.__data.__owner); /* what glibc believes */
    say("personality", personality(UINT32_MAX));
    tell_limits();
}

static void call_i386(void)
{
#if defined(__x86_64__)
    long number = 20; /* getpid */
    __asm__ volatile("int $0x80" : "+a"(number) : : "memory");
    say("i386", number);
#endif
}

static void send_listener(int listener)
{
    char byte = 'L';
    char space[CMSG_SPACE(sizeof listener)] = { 0 };
    struct iovec piece = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space
    };
    struct cmsghdr *attached = CMSG_FIRSTHDR(&message);
    attached->cmsg_level = SOL_SOCKET;
    attached->cmsg_type = SCM_RIGHTS;
    attached->cmsg_len = CMSG_LEN(sizeof listener);
    memcpy(CMSG_DATA(attached), &listener, sizeof listener);
    if (sendmsg(CONTROL, &message, MSG_NOSIGNAL) != 1) {
        fail("sending the listener");
    }
    (void)close(listener);
}

static void run(const struct jail *jail, int listener)
{
    struct qn_error err = QN_ERROR_INIT;
    if (listener >= 0) {
        send_listener(listener);
    }
    if (qn_lockdown_finish(&jail->lockdown, &err) != QN_OK) {
        fail(err.message);
    }
    if (strcmp(jail->mode, "try") == 0) {
        try_all(jail);
    } else if (strcmp(jail->mode, "memory") == 0) {
        eat_memory();
    } else if (strcmp(jail->mode, "threads") == 0) {
        start_threads();
    } else if (strcmp(jail->mode, "files") == 0) {
        open_files(jail->argument);
    } else if (strcmp(jail->mode, "descriptors") == 0) {
        tell_descriptors();
    } else if (strcmp(jail->mode, "state") == 0) {
        tell_state();
    } else if (strcmp(jail->mode, "i386") == 0) {
        call_i386();
    } else if (strcmp(jail->mode, "library") == 0) {
        say("library", dlopen(jail->argument, RTLD_NOW) != NULL);
    } else if (strcmp(jail->mode, "block") == 0) {
        say("blocking", 1);
        (void)wait_for_ever(NULL);
    }
}

/* ---- forking them ---- */

static void lock_down(struct jail *jail)
{
    int listener = -1;
    struct qn_error err = QN_ERROR_INIT;
    enum qn_status status = qn_lockdown_apply(&jail->lockdown, &listener, &err);
    if (status == QN_OK && jail->lockdown.filter_size > sizeof(struct sock_filter) && !jail->rules_open) {
        status = qn_lockdown_probe(&jail->lockdown, &err);
    }
    if (status != QN_OK) {
        dprintf(CONTROL, "failed: %s\n", err.message);
        _exit(1);
    }
    run(jail, listener);
    _exit(0);
}

static void tell_end(pid_t pid, int pid_fd)
{
    siginfo_t info = { 0 };
    if (pid < 0 || waitid(P_PIDFD, (id_t)pid_fd, &info, WEXITED) != 0) {
        fail("fork");
    }
    say(info.si_code == CLD_EXITED ? "exited" : "signalled", info.si_status);
}

static void fork_one(struct jail *jail)
{
    int pid_fd = -1;
    if (strcmp(jail->mode, "descriptors") == 0) { /* some to be closed, far and near, and one to be kept */
        if (dup2(CONTROL, 9) < 0 || dup2(CONTROL, EXTRA_KEPT) < 0 || dup2(CONTROL, 49) < 0 || dup2(CONTROL, 200) < 0) {
            fail("dup2");
        }
    }
    pid_t pid = qn_sandbox_fork(jail->lockdown.tier, &pid_fd);
    if (pid == 0) {
        lock_down(jail);
    }
    tell_end(pid, pid_fd);
}

/* The zygote ends before its run has asked to be told of it. */
static void fork_orphan(struct jail *jail)
{
    int pid_fd = -1;
    if (qn_sandbox_fork(jail->lockdown.tier, &pid_fd) == 0) {
        struct pollfd zygote = { .fd = qn__sandbox_parent_fd(), .events = POLLIN };
        (void)poll(&zygote, 1, -1);
        lock_down(jail);
    }
}

static double microseconds_since(const struct timespec *start)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) * 1e6 + (double)(now.tv_nsec - start->tv_nsec) / 1e3;
}

/* Nanoseconds of the parent in fork, of a child from fork to the end of the probe, and of the child in the lock-down. */
static void bench(struct jail *jail)
{
    enum { RUNS = 300 };
    size_t size = 64 * MEBIBYTE; /* about what an interpreter has, so that copying page tables is in it */
    memset(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, size);
    for (int i = 0; i < RUNS; i++) {
        int pid_fd = -1;
        struct timespec start;
        (void)clock_gettime(CLOCK_MONOTONIC, &start);
        pid_t pid = qn_sandbox_fork(jail->lockdown.tier, &pid_fd);
        double forked = microseconds_since(&start);
        if (pid == 0) {
            struct timespec begin;
            int listener = -1;
            struct qn_error err = QN_ERROR_INIT;
            (void)clock_gettime(CLOCK_MONOTONIC, &begin);
            enum qn_status status = qn_lockdown_apply(&jail->lockdown, &listener, &err);
            double applied = microseconds_since(&begin);
            if (status != QN_OK || qn_lockdown_probe(&jail->lockdown, &err) != QN_OK) {
                dprintf(CONTROL, "failed: %s\n", err.message);
                _exit(1);
            }
            dprintf(CONTROL, "apply %.0f\nprobe %.0f\nready %.0f\n", applied, microseconds_since(&begin) - applied,
                    microseconds_since(&start));
            _exit(0);
        }
        siginfo_t info;
        (void)waitid(P_PIDFD, (id_t)pid_fd, &info, WEXITED);
        (void)close(pid_fd);
        dprintf(CONTROL, "fork %.0f\n", forked);
    }
}

/* ---- the zygote ---- */

static void tell_zygote(const struct jail *jail)
{
    static const char *const NAMESPACES[] = { "user", "mnt", "net", "ipc", "uts", "pid" };
    for (size_t i = 0; i < sizeof NAMESPACES / sizeof *NAMESPACES; i++) {
        char path[64];
        char target[64] = "";
        (void)snprintf(path, sizeof path, "self/ns/%s", NAMESPACES[i]);
        (void)readlinkat(QN_SANDBOX_FD_PROC, path, target, sizeof target - 1);
        dprintf(CONTROL, "ns %s\n", target);
    }
    say("uid", (long)getuid());
    say("gid", (long)getgid());
    say("groups", getgroups(0, NULL));
    tell_descriptors();
    tell_state();
    DIR *root = opendir("/");
    for (struct dirent *entry = readdir(root); entry != NULL; entry = readdir(root)) {
        dprintf(CONTROL, "root %s\n", entry->d_name);
    }
    (void)closedir(root);
    extern char **environ;
    for (char **variable = environ; *variable != NULL; variable++) {
        dprintf(CONTROL, "env %s\n", *variable);
    }
    char host[64] = "";
    (void)gethostname(host, sizeof host);
    dprintf(CONTROL, "host %s\n", host);
    try_all(jail);
}

static void read_filter(struct jail *jail, const char *which)
{
    static const struct sock_filter ALLOW = { .code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW };
    static char program[1 << 16];
    if (strcmp(which, "none") == 0) {
        jail->lockdown.filter = &ALLOW;
        jail->lockdown.filter_size = sizeof ALLOW;
        return;
    }
    ssize_t size = read(jail->is_net ? QN_SANDBOX_FD_FILTER_NET : QN_SANDBOX_FD_FILTER, program, sizeof program);
    if (size <= 0 || size == sizeof program) {
        fail("filter");
    }
    jail->lockdown.filter = program;
    jail->lockdown.filter_size = (size_t)size;
    jail->lockdown.network = jail->is_net;
}

int main(int argc, char **argv)
{
    static const char *const EVERYTHING[] = { "/", NULL };
    static const int KEEP[] = { CONTROL, EXTRA_KEPT };
    if (argc < 7) {
        return 2;
    }
    struct jail jail = { .mode = argv[1], .what = argv[5], .argument = argv[6] };
    jail.is_net = strcmp(argv[3], "net") == 0;
    jail.rules_open = strcmp(argv[4], "open") == 0;
    jail.lockdown = (struct qn_lockdown){
        .tier = strcmp(argv[2], "full") == 0 ? QN_SANDBOX_FULL : QN_SANDBOX_REDUCED,
        .memory = strcmp(jail.mode, "memory") == 0 ? (uint64_t)atoi(jail.what) * MEBIBYTE : 0,
        .files = RUN_FILES,
        .threads = RUN_THREADS,
        .keep = KEEP,
        .n_keep = strcmp(jail.mode, "descriptors") == 0 ? 2 : 1,
        .proc_fd = QN_SANDBOX_FD_PROC,
    };
    if (strcmp(jail.mode, "zygote") == 0) {
        tell_zygote(&jail);
        return 0;
    }
    struct qn_error err = QN_ERROR_INIT;
    read_filter(&jail, argv[3]);
    const char *const *readable = jail.rules_open ? EVERYTHING : (const char *const *)(uintptr_t)(argv + 7);
    if (qn_lockdown_ruleset(readable, &jail.lockdown.ruleset_fd, &err) != QN_OK) {
        dprintf(CONTROL, "failed: %s\n", err.message);
        return 1;
    }
    if (strcmp(jail.mode, "bench") == 0) {
        bench(&jail);
    } else if (strcmp(jail.mode, "orphan") == 0) {
        fork_orphan(&jail);
    } else {
        fork_one(&jail);
    }
    return 0;
}
