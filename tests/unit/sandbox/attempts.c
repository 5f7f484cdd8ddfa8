/*
 * attempts.c: what the jail tries. Plain system calls are data, with arguments that the kernel itself would not refuse with
 * EPERM or that would work; the rest are functions.
 */
#include "attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

static int result(long value)
{
    return value < 0 ? errno : 0;
}

static char scratch[4096];
#define SCRATCH    ((long)(intptr_t)scratch)
#define TEXT(text) ((long)(intptr_t)(text))

static const struct {
    const char *name;
    long call;
    long arguments[6];
} CALLS[] = {
    /* programs and processes */
    { "execveat", SYS_execveat, { AT_FDCWD, TEXT("/none"), 0, 0, 0 } },
    { "clone3", SYS_clone3, { SCRATCH, 8 } },
    { "unshare", SYS_unshare, { CLONE_FILES } },
    { "unshare_user", SYS_unshare, { CLONE_NEWUSER } },
    { "setns", SYS_setns, { -1, 0 } },
    { "ptrace", SYS_ptrace, { 16 /* PTRACE_ATTACH */, 1 } },
    { "process_vm_readv", SYS_process_vm_readv, { 1, 0, 0, 0, 0, 0 } },
    { "process_vm_writev", SYS_process_vm_writev, { 1, 0, 0, 0, 0, 0 } },
    { "pidfd_open", SYS_pidfd_open, { 1, 0 } },
    { "pidfd_getfd", SYS_pidfd_getfd, { -1, 0, 0 } },
    { "pidfd_send_signal", SYS_pidfd_send_signal, { -1, 0, 0, 0 } },
    { "kcmp", SYS_kcmp, { 1, 1, 0, 0, 0 } },
    { "setpriority", SYS_setpriority, { PRIO_PROCESS, 0, 19 } },
    { "sched_setaffinity", SYS_sched_setaffinity, { 0, 0, SCRATCH } },
    { "sched_setscheduler", SYS_sched_setscheduler, { 0, SCHED_BATCH, SCRATCH } },
    { "setsid", SYS_setsid, { 0 } },
    { "setpgid", SYS_setpgid, { 0, 0 } },
    { "wait4", SYS_wait4, { -1, 0, WNOHANG, 0 } },
    /* signals to others */
    { "kill_group", SYS_kill, { 0, 0 } },
    { "kill_all", SYS_kill, { -1, 0 } },
    { "tkill", SYS_tkill, { 1, 0 } },
    { "rt_sigqueueinfo", SYS_rt_sigqueueinfo, { 1, 0, SCRATCH } },
    { "rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo, { 1, 1, 0, SCRATCH } },
    { "timer_create", SYS_timer_create, { 0, 0, SCRATCH } },
    /* rights */
    { "setuid", SYS_setuid, { 65534 } },
    { "setgroups", SYS_setgroups, { 0, 0 } },
    { "setfsuid", SYS_setfsuid, { 65534 } },
    { "capset", SYS_capset, { 0, 0 } },
    { "dumpable", SYS_prctl, { PR_SET_DUMPABLE, 1 } },
    { "death_signal", SYS_prctl, { PR_SET_PDEATHSIG, 0 } },
    { "seccomp", SYS_seccomp, { 1, 0, 0 } },
    { "seccomp_prctl", SYS_prctl, { PR_SET_SECCOMP, 2, 0 } },
    { "landlock", SYS_landlock_create_ruleset, { 0, 0, 1 } },
    { "setrlimit", SYS_setrlimit, { RLIMIT_NPROC, 0 } },
    { "prlimit_set", SYS_prlimit64, { 0, RLIMIT_NPROC, SCRATCH, 0 } },
    { "prlimit_other", SYS_prlimit64, { 1 << 30, RLIMIT_NPROC, 0, SCRATCH } },
    { "keyctl", SYS_keyctl, { 0, -3, 0 } },
    { "add_key", SYS_add_key, { TEXT("user"), TEXT("x"), TEXT("x"), 1, -3 } },
    { "request_key", SYS_request_key, { TEXT("user"), TEXT("x"), 0, -3 } },
    /* the kernel's doors */
    { "mount", SYS_mount, { TEXT("x"), TEXT("/"), TEXT("tmpfs"), 0, 0 } },
    { "umount", SYS_umount2, { TEXT("/none"), 0 } },
    { "pivot_root", SYS_pivot_root, { 0, 0 } },
    { "chroot", SYS_chroot, { 0 } },
    { "open_tree", SYS_open_tree, { -1, TEXT(""), 0 } },
    { "fsopen", SYS_fsopen, { 0, 0 } },
    { "bpf", SYS_bpf, { 0, 0, 0 } },
    { "perf_event_open", SYS_perf_event_open, { 0, 0, 0, 0, 0 } },
    { "io_uring_setup", SYS_io_uring_setup, { 1, 0 } },
    { "io_uring_enter", SYS_io_uring_enter, { -1, 0, 0, 0, 0, 0 } },
    { "userfaultfd", SYS_userfaultfd, { 1 /* user mode only */ } },
    { "fanotify_init", SYS_fanotify_init, { 0, 0 } },
    { "inotify_init1", SYS_inotify_init1, { 0 } },
    { "name_to_handle_at", SYS_name_to_handle_at, { AT_FDCWD, TEXT("/"), SCRATCH, SCRATCH, 0 } },
    { "open_by_handle_at", SYS_open_by_handle_at, { AT_FDCWD, 0, 0 } },
    { "init_module", SYS_init_module, { 0, 0, 0 } },
    { "kexec_load", SYS_kexec_load, { 0, 0, 0, 0 } },
    { "syslog", SYS_syslog, { 10, 0, 0 } },
    { "sysinfo", SYS_sysinfo, { SCRATCH } },
    { "add_watch", SYS_inotify_add_watch, { -1, 0, 0 } },
    { "personality", SYS_personality, { READ_IMPLIES_EXEC } },
    /* memory that nothing counts, or that others could see */
    { "memfd_create", SYS_memfd_create, { TEXT("x"), 0 } },
    { "memfd_secret", SYS_memfd_secret, { 0 } },
    { "shmget", SYS_shmget, { IPC_PRIVATE, 4096, 0600 } },
    { "msgget", SYS_msgget, { IPC_PRIVATE, 0600 } },
    { "semget", SYS_semget, { IPC_PRIVATE, 1, 0600 } },
    { "mq_open", SYS_mq_open, { TEXT("x"), O_RDWR | O_CREAT, 0600, 0 } },
    { "mlock", SYS_mlock, { SCRATCH, 4096 } },
    { "mlockall", SYS_mlockall, { 1 } },
    { "remap_file_pages", SYS_remap_file_pages, { SCRATCH, 4096, 0, 0, 0 } },
    { "process_madvise", SYS_process_madvise, { -1, 0, 0, 0, 0 } },
    { "merge_pages", SYS_madvise, { 0, 0, MADV_MERGEABLE } },
    { "bind_memory", SYS_mbind, { 0, 0, 0, 0, 0, 0 } },
    /* changing files */
    { "mkdir", SYS_mkdirat, { AT_FDCWD, TEXT("/tmp/qanat-jail"), 0700 } },
    { "unlink", SYS_unlinkat, { AT_FDCWD, TEXT("/none"), 0 } },
    { "rename", SYS_renameat2, { AT_FDCWD, TEXT("/none"), AT_FDCWD, TEXT("/none"), 0 } },
    { "symlink", SYS_symlinkat, { TEXT("/none"), AT_FDCWD, TEXT("/none/none") } },
    { "link", SYS_linkat, { AT_FDCWD, TEXT("/none"), AT_FDCWD, TEXT("/none"), 0 } },
    { "mknod", SYS_mknodat, { AT_FDCWD, TEXT("/tmp/qanat-jail"), S_IFREG | 0600, 0 } },
    { "chmod", SYS_fchmodat, { AT_FDCWD, TEXT("/none"), 0 } },
    { "chown", SYS_fchownat, { AT_FDCWD, TEXT("/none"), 0, 0, 0 } },
    { "truncate", SYS_truncate, { TEXT("/none"), 0 } },
    { "ftruncate", SYS_ftruncate, { 0, 0 } },
    { "utimensat", SYS_utimensat, { AT_FDCWD, TEXT("/none"), 0, 0 } },
    { "setxattr", SYS_setxattr, { TEXT("/none"), TEXT("user.x"), SCRATCH, 1, 0 } },
    { "openat2", SYS_openat2, { AT_FDCWD, TEXT("/"), SCRATCH, 24 } },
    { "chdir", SYS_chdir, { TEXT("/") } },
    { "copy_file_range", SYS_copy_file_range, { -1, 0, -1, 0, 0, 0 } },
    { "splice", SYS_splice, { -1, 0, -1, 0, 0, 0 } },
    { "vmsplice", SYS_vmsplice, { -1, 0, 0, 0 } },
    { "flock", SYS_flock, { 0, 1 } },
    { "fcntl_lock", SYS_fcntl, { 0, F_SETLK, SCRATCH } },
    { "fcntl_owner", SYS_fcntl, { 0, F_SETOWN, 1 } },
    { "fcntl_async", SYS_fcntl, { 0, F_SETFL, O_ASYNC } },
    { "fcntl_pipe_size", SYS_fcntl, { 0, F_SETPIPE_SZ, 1 << 20 } },
    { "pipe_for_notifications", SYS_pipe2, { SCRATCH, O_EXCL } },
    { "terminal_input", SYS_ioctl, { 0, TIOCSTI, SCRATCH } },
    { "interfaces", SYS_ioctl, { 0, 0x8912 /* SIOCGIFCONF */, SCRATCH } },
    /* sockets */
    { "socket_unix", SYS_socket, { AF_UNIX, SOCK_STREAM, 0 } },
    { "socket_tcp", SYS_socket, { AF_INET, SOCK_STREAM, 0 } },
    { "socket_tcp6", SYS_socket, { AF_INET6, SOCK_STREAM, IPPROTO_TCP } },
    { "socket_udp", SYS_socket, { AF_INET, SOCK_DGRAM, 0 } },
    { "socket_sctp", SYS_socket, { AF_INET, SOCK_STREAM, IPPROTO_SCTP } },
    { "socket_mptcp", SYS_socket, { AF_INET, SOCK_STREAM, 262 } },
    { "socket_raw", SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_ICMP } },
    { "socket_netlink", SYS_socket, { AF_NETLINK, SOCK_RAW, 0 } },
    { "socket_packet", SYS_socket, { AF_PACKET, SOCK_RAW, 0 } },
    { "socket_vsock", SYS_socket, { AF_VSOCK, SOCK_STREAM, 0 } },
    { "socket_alg", SYS_socket, { AF_ALG, SOCK_SEQPACKET, 0 } },
    { "socketpair", SYS_socketpair, { AF_UNIX, SOCK_STREAM, 0, SCRATCH } },
    { "bind", SYS_bind, { -1, 0, 0 } },
    { "listen", SYS_listen, { -1, 0 } },
    { "accept4", SYS_accept4, { -1, 0, 0, 0 } },
    { "sendmmsg", SYS_sendmmsg, { -1, 0, 0, 0 } },
    { "sendto_address", SYS_sendto, { -1, 0, 0, 0, SCRATCH, 16 } },
    { "sendto_fast_open", SYS_sendto, { -1, 0, 0, MSG_FASTOPEN, 0, 0 } },
    { "sendmsg_fast_open", SYS_sendmsg, { -1, SCRATCH, MSG_FASTOPEN } },
    { "option_ulp", SYS_setsockopt, { -1, IPPROTO_TCP, TCP_ULP, TEXT("tls"), 4 } },
    { "option_fast_open", SYS_setsockopt, { -1, IPPROTO_TCP, 30 /* TCP_FASTOPEN_CONNECT */, SCRATCH, 4 } },
    { "option_device", SYS_setsockopt, { -1, SOL_SOCKET, SO_BINDTODEVICE, TEXT("lo"), 3 } },
    { "option_zerocopy_receive", SYS_getsockopt, { -1, IPPROTO_TCP, 35, SCRATCH, SCRATCH } },
    /* what has to work: bad descriptors get to the kernel */
    { "option_no_delay", SYS_setsockopt, { -1, IPPROTO_TCP, TCP_NODELAY, SCRATCH, 4 } },
    { "sendto_no_address", SYS_sendto, { -1, 0, 0, MSG_NOSIGNAL, 0, 0 } },
    { "prlimit_read", SYS_prlimit64, { 0, RLIMIT_NPROC, 0, SCRATCH } },
    { "barrier_everywhere", SYS_membarrier, { 1 << 1 /* MEMBARRIER_CMD_GLOBAL_EXPEDITED */, 0, 0 } },
    { "barrier_here", SYS_membarrier, { 1 << 4 /* MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED */, 0, 0 } },
    { "getpid", SYS_getpid, { 0 } },
#if defined(__x86_64__)
    { "creat", SYS_creat, { TEXT("/tmp/qanat-jail"), 0600 } },
    { "modify_ldt", SYS_modify_ldt, { 0, SCRATCH, 0 } },
    { "arch_prctl", SYS_arch_prctl, { 0x1003 /* ARCH_GET_FS */, SCRATCH } },
    { "iopl", SYS_iopl, { 0 } },
    { "x32", 0x40000000 + 39, { 0 } },
    { "mkdir_old", SYS_mkdir, { TEXT("/tmp/qanat-jail"), 0700 } },
    { "unlink_old", SYS_unlink, { TEXT("/none") } },
    { "rename_old", SYS_rename, { TEXT("/none"), TEXT("/none") } },
    { "rmdir_old", SYS_rmdir, { TEXT("/none") } },
    { "chmod_old", SYS_chmod, { TEXT("/none"), 0 } },
    { "fork", SYS_fork, { 0 } },
#endif
};

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int why = result(fd);
    if (fd >= 0) {
        (void)close(fd);
    }
    return why;
}

/* A process that came to be is an answer too: it ends at once, and is reaped. */
static int try_process(long pid)
{
    int why = result(pid);
    if (pid == 0) {
        _exit(0);
    }
    if (pid > 0) {
        (void)waitpid((pid_t)pid, NULL, __WALL);
    }
    return why;
}

static int try_memory(int protection, int flags)
{
    void *memory = mmap(NULL, PAGE, protection, flags, -1, 0);
    int why = memory == MAP_FAILED ? errno : 0;
    if (why == 0) {
        (void)munmap(memory, PAGE);
    }
    return why;
}

static int try_protect(int protection)
{
    void *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int why = result(mprotect(memory, PAGE, protection));
    (void)munmap(memory, PAGE);
    return why;
}

static int try_file_memory(const char *path, int protection, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    void *memory = mmap(NULL, PAGE, protection, flags, fd, 0);
    int why = memory == MAP_FAILED ? errno : 0;
    (void)close(fd);
    if (why == 0) {
        (void)munmap(memory, PAGE);
    }
    return why;
}

/* Text becomes data, is changed, and is to become text again. */
static int try_patch_text(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *memory = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_READ | PROT_WRITE) != 0) {
        return -2; /* never right */
    }
    memory[0] = '\x90';
    return result(mprotect(memory, PAGE, PROT_READ | PROT_EXEC));
}

static int try_connect(const char *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    int why = result(connect(fd, (const struct sockaddr *)&address, sizeof address));
    (void)close(fd);
    return why;
}

static int try_raise(void)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max = limit.rlim_max + 1;
    return result(setrlimit(RLIMIT_NOFILE, &limit));
}

static int try_function(const char *name, const char *argument)
{
#define IS(text) (strcmp(name, text) == 0)
    if (IS("open_passwd"))
        return try_open("/etc/passwd", O_RDONLY);
    if (IS("open_proc"))
        return try_open("/proc/self/environ", O_RDONLY);
    if (IS("open_root"))
        return try_open("/", O_RDONLY | O_DIRECTORY);
    if (IS("open_null"))
        return try_open("/dev/null", O_RDONLY);
    if (IS("open_path"))
        return try_open("/", O_PATH);
    if (IS("open_new"))
        return try_open("/tmp/qanat-jail", O_WRONLY | O_CREAT);
    if (IS("open_unnamed"))
        return try_open("/tmp", O_RDWR | O_TMPFILE);
    if (IS("open_readable"))
        return try_open(argument, O_RDONLY);
    if (IS("open_writing"))
        return try_open(argument, O_WRONLY);
    if (IS("open_both"))
        return try_open(argument, O_RDWR);
    if (IS("open_truncate"))
        return try_open(argument, O_RDONLY | O_TRUNC);
    if (IS("execve"))
        return result(syscall(SYS_execve, "/none", NULL, NULL));
    if (IS("vfork"))
        return try_process(vfork()); /* NOLINT: the child only exits */
    if (IS("clone_process"))
        return try_process(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    if (IS("clone_parent"))
        return try_process(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0));
    if (IS("tkill_argument"))
        return result(syscall(SYS_tkill, atoi(argument), 0));
    if (IS("kill_self"))
        return result(kill(getpid(), 0));
    if (IS("tgkill_self"))
        return result(syscall(SYS_tgkill, getpid(), gettid(), 0));
    if (IS("tgkill_other"))
        return result(syscall(SYS_tgkill, getpid() + 1, gettid(), 0));
    if (IS("memory_exec"))
        return try_memory(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS);
    if (IS("memory_write_exec"))
        return try_memory(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS);
    if (IS("memory_shared"))
        return try_memory(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
    if (IS("memory_shared_read"))
        return try_memory(PROT_READ, MAP_SHARED | MAP_ANONYMOUS);
    if (IS("memory_stack"))
        return try_memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN);
    if (IS("memory_huge"))
        return try_memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
    if (IS("memory_locked"))
        return try_memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED);
    if (IS("memory_plain"))
        return try_memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    if (IS("protect_exec"))
        return try_protect(PROT_READ | PROT_EXEC);
    if (IS("protect_write_exec"))
        return try_protect(PROT_READ | PROT_WRITE | PROT_EXEC);
    if (IS("protect_read"))
        return try_protect(PROT_READ);
    if (IS("text_private"))
        return try_file_memory(argument, PROT_READ | PROT_EXEC, MAP_PRIVATE);
    if (IS("text_writable"))
        return try_file_memory(argument, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE);
    if (IS("text_shared"))
        return try_file_memory(argument, PROT_READ | PROT_EXEC, MAP_SHARED);
    if (IS("text_patched"))
        return try_patch_text(argument);
    if (IS("file_shared"))
        return try_file_memory(argument, PROT_READ, MAP_SHARED);
    if (IS("raise_limit"))
        return try_raise();
    if (IS("connect"))
        return try_connect(argument);
    if (IS("hostname"))
        return result(sethostname("x", 1));
    if (IS("become_root"))
        return result(setresuid(0, 0, 0));
    return -1;
}

int attempt(const char *name, const char *argument)
{
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        if (strcmp(CALLS[i].name, name) == 0) {
            const long *with = CALLS[i].arguments;
            long value = syscall(CALLS[i].call, with[0], with[1], with[2], with[3], with[4], with[5]);
            int why = result(value);
            if (value > 2 && strncmp(name, "socket", 6) == 0) {
                (void)close((int)value);
            }
            return why;
        }
    }
    return try_function(name, argument);
}
