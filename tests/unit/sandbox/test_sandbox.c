/*
 * test_sandbox.c: each wall of the sandbox, from the outside, in both tiers, as root and as an ordinary user.
 *
 * The launcher starts the jail (jail.c) instead of an interpreter, which tries things and says what came of them. What a
 * layer does is shown where the others are out of the way: a filter that allows everything, a rule set that lets all be
 * read.
 */
#include "base/buffer.h"
#include "base/memory.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/poll.h"
#include "os/process.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 60000
#define NOBODY      65534

static char folder[64]; /* holds copies of the launcher and the jail, so that every user reaches them */
static char launcher[PATH_MAX], jail[PATH_MAX], readable_file[PATH_MAX];
static enum qn_sandbox_tier tier; /* of the tests as they run now */
static struct qn_sandbox_support support;
static bool in_container; /* the tests run under a filter such as containers have */

/* ---- starting the jail ---- */

struct outcome {
    struct qn_buffer said;   /* lines, with a line break in front of the first */
    struct qn_buffer errors; /* standard error */
    struct qn_exit how;
};

static void outcome_dispose(struct outcome *outcome)
{
    qn_buffer_dispose(&outcome->said);
    qn_buffer_dispose(&outcome->errors);
}
#define auto_outcome __attribute__((cleanup(outcome_dispose))) struct outcome

struct started {
    struct qn_process process;
    int control; /* our end */
};

/* The folders of the system's libraries, as this system has them: a folder or a link. */
static void add_libraries(const char **readable, const char **links)
{
    static const char *const FOLDERS[] = { "/lib", "/lib64", "/usr/lib", "/usr/lib64" };
    static char texts[4][PATH_MAX];
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        char target[PATH_MAX / 2] = "";
        struct stat about;
        if (lstat(FOLDERS[i], &about) != 0) {
            continue;
        }
        if (S_ISLNK(about.st_mode)) {
            assert_true(readlink(FOLDERS[i], target, sizeof target - 1) > 0);
            (void)snprintf(texts[i], sizeof texts[i], "%s=%s", FOLDERS[i], target);
            *links++ = texts[i];
        } else {
            *readable++ = FOLDERS[i];
        }
    }
    *readable++ = jail;
    *readable++ = readable_file;
    *readable = NULL;
    *links = NULL;
}

static int memfd_of(const struct qn_buffer *bytes)
{
    int fd = memfd_create("policy", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(qn_fd_write_all(fd, bytes->data, bytes->size, "policy", NULL), QN_OK);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void start_policy(int policy_fd, struct started *out)
{
    int sockets[2];
    const char *const argv[] = { launcher, NULL };
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    const int fds[] = { sockets[1], policy_fd };
    out->process = (struct qn_process)QN_PROCESS_INIT;
    if (qn_process_start_with(argv, NULL, fds, 2, &out->process, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    (void)close(sockets[1]);
    (void)close(policy_fd);
    out->control = sockets[0];
}

static void start(const char *mode, const char *filter, const char *rules, const char *what, const char *argument,
                  struct started *out)
{
    const char *readable[8];
    const char *links[5];
    add_libraries(readable, links);
    const char *argv[16] = { jail, mode, tier == QN_SANDBOX_FULL ? "full" : "reduced", filter, rules, what, argument };
    for (size_t i = 0; readable[i] != NULL; i++) {
        argv[7 + i] = readable[i];
    }
    const char *const environment[] = { "LANG=C.UTF-8", NULL };
    const struct qn_sandbox_policy policy = {
        .tier = tier, .readable = readable, .links = links, .argv = argv, .environment = environment
    };
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_sandbox_policy_write(&policy, &bytes, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    start_policy(memfd_of(&bytes), out);
}

/* Append what comes until the end, or until `until` has come. */
static void read_until(int fd, const char *until, struct qn_buffer *out)
{
    int64_t deadline = qn_deadline_after_ms(DEADLINE_MS);
    char piece[4096];
    struct qn_error err = QN_ERROR_INIT;
    while (until == NULL || strstr(qn_buffer_text(out), until) == NULL) {
        if (qn_poll_one(fd, POLLIN, deadline, &err) != QN_OK) {
            fail_msg("%s", err.message);
        }
        ssize_t got = read(fd, piece, sizeof piece);
        assert_true(got >= 0);
        if (got == 0) {
            assert_null(until);
            return;
        }
        qn_buffer_append(out, piece, (size_t)got);
    }
}

static void finish(struct started *started, struct outcome *out)
{
    read_until(started->control, NULL, &out->said);
    read_until(started->process.stderr_fd, NULL, &out->errors);
    assert_int_equal(qn_process_wait(&started->process, qn_deadline_after_ms(DEADLINE_MS), &out->how, NULL), QN_OK);
    qn_process_end(&started->process, 0);
    (void)close(started->control);
}

static void run_jail(const char *mode, const char *filter, const char *rules, const char *what, const char *argument,
                     struct outcome *out)
{
    struct started started;
    *out = (struct outcome){ .how = { false, 0 } };
    qn_buffer_append_byte(&out->said, '\n');
    start(mode, filter, rules, what, argument, &started);
    finish(&started, out);
    if (out->errors.size > 0 || strstr(qn_buffer_text(&out->said), "\nfailed") != NULL) {
        fail_msg("%s%s", qn_buffer_text(&out->said), qn_buffer_text(&out->errors));
    }
}

/* The number said under a name; fails where nothing was. */
static long said(const struct outcome *outcome, const char *name)
{
    char line[128];
    (void)snprintf(line, sizeof line, "\n%s ", name);
    const char *found = strstr(qn_buffer_text(&outcome->said), line);
    if (found == NULL) {
        fail_msg("nothing was said of \"%s\": %s", name, qn_buffer_text(&outcome->said));
    }
    return strtol(found + strlen(line), NULL, 10);
}

static bool has_line(const struct outcome *outcome, const char *line)
{
    char whole[256];
    (void)snprintf(whole, sizeof whole, "\n%s\n", line);
    return strstr(qn_buffer_text(&outcome->said), whole) != NULL;
}

struct expectation {
    const char *name;
    int full, reduced;
};

/* Try all of a list in one run; every one has to fail (or work) as it says. */
static void expect_all(const char *filter, const char *rules, const char *argument, const struct expectation *list,
                       size_t count)
{
    qn_auto_buffer names = QN_BUFFER_INIT;
    for (size_t i = 0; i < count; i++) {
        qn_buffer_printf(&names, "%s%s", i > 0 ? "," : "", list[i].name);
    }
    auto_outcome outcome;
    run_jail("try", filter, rules, qn_buffer_text(&names), argument, &outcome);
    int wrong = 0;
    for (size_t i = 0; i < count; i++) {
        long why = said(&outcome, list[i].name);
        int expected = tier == QN_SANDBOX_FULL ? list[i].full : list[i].reduced;
        if (why != expected) {
            print_error("%s: %ld (%s), not %d\n", list[i].name, why, strerror((int)why), expected);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(said(&outcome, "exited"), 0);
}
#define EXPECT_ALL(filter, rules, argument, list)                                                                      \
    expect_all(filter, rules, argument, list, sizeof(list) / sizeof *(list))

/* ---- the zygote: namespaces, root, rights, environment ---- */

static void zygote__stands_in_namespaces_of_its_own(void **state)
{
    (void)state;
    if (tier == QN_SANDBOX_REDUCED) {
        return; /* has none */
    }
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", "", "", &outcome);
    static const char *const OWN[] = { "user", "mnt", "net", "ipc", "uts" };
    for (size_t i = 0; i < sizeof OWN / sizeof *OWN; i++) {
        char path[64];
        char target[64] = "ns ";
        (void)snprintf(path, sizeof path, "/proc/self/ns/%s", OWN[i]);
        assert_true(readlink(path, target + 3, sizeof target - 4) > 0);
        assert_false(has_line(&outcome, target)); /* ours */
        (void)snprintf(path, sizeof path, "\nns %s:[", OWN[i]);
        assert_non_null(strstr(qn_buffer_text(&outcome.said), path)); /* but one was told */
    }
    assert_true(has_line(&outcome, "host sandbox"));
}

static void zygote__sees_no_file_but_the_readable_ones(void **state)
{
    (void)state;
    if (tier == QN_SANDBOX_REDUCED) {
        return; /* Landlock is put on in each run */
    }
    static const char TRIED[] =
        "open_passwd,open_proc,open_null,mkdir,open_new,open_readable,open_writing,mount,hostname,"
        "unshare_user";
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", TRIED, readable_file, &outcome);
    assert_int_equal(said(&outcome, "open_passwd"), ENOENT);
    assert_int_equal(said(&outcome, "open_proc"), ENOENT);
    assert_int_equal(said(&outcome, "open_null"), ENOENT);
    assert_int_equal(said(&outcome, "mkdir"), EROFS);
    assert_int_equal(said(&outcome, "open_new"), EROFS);
    assert_int_equal(said(&outcome, "open_readable"), 0);
    assert_int_equal(said(&outcome, "open_writing"), EROFS);
    assert_int_equal(said(&outcome, "mount"), EPERM);
    assert_int_equal(said(&outcome, "hostname"), EPERM);
    for (const char *at = qn_buffer_text(&outcome.said); (at = strstr(at, "\nroot ")) != NULL; at += 6) {
        bool known = false;
        static const char *const ROOT[] = { ".", "..", "usr", "lib", "lib64", "tmp" };
        for (size_t i = 0; i < sizeof ROOT / sizeof *ROOT; i++) {
            known = known || (strncmp(at + 6, ROOT[i], strlen(ROOT[i])) == 0 && at[6 + strlen(ROOT[i])] == '\n');
        }
        assert_true(known);
    }
}

/* Root whose interpreter nobody else can reach: it stays root in the reduced tier, without any capability. */
static void zygote__stays_root_only_where_it_has_to(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        return; /* is not root */
    }
    assert_int_equal(chmod(folder, 0700), 0);
    auto_outcome zygote;
    auto_outcome run;
    run_jail("zygote", "off", "strict", "", "", &zygote);
    run_jail("try", "none", "strict", "open_passwd,open_root,open_new,hostname,setgroups,raise_limit", "", &run);
    assert_int_equal(chmod(folder, 0755), 0);
    bool may_mount = tier == QN_SANDBOX_FULL && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 1;
    assert_int_equal(said(&zygote, "uid"), may_mount ? NOBODY : 0);
    assert_int_equal(said(&zygote, "capabilities"), 0);
    assert_int_equal(said(&run, "open_passwd"), tier == QN_SANDBOX_FULL ? ENOENT : EACCES);
    assert_int_equal(said(&run, "open_root"), EACCES);
    assert_int_equal(said(&run, "open_new"), tier == QN_SANDBOX_FULL ? EROFS : EACCES);
    assert_int_equal(said(&run, "hostname"), EPERM);
    assert_int_equal(said(&run, "setgroups"), EPERM);
    assert_int_equal(said(&run, "raise_limit"), EPERM);
}

/* READ_IMPLIES_EXEC would make every page that can be read executable. */
static void zygote__has_the_usual_personality(void **state)
{
    (void)state;
    int ours = personality(UINT32_MAX);
    assert_true(personality((unsigned long)ours | READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE) >= 0);
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", "", "", &outcome);
    assert_true(personality((unsigned long)ours) >= 0);
    assert_int_equal(said(&outcome, "personality"), PER_LINUX);
}

static void zygote__has_no_rights_and_only_its_descriptors(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", "become_root,setgroups", "", &outcome);
    assert_int_equal(said(&outcome, "capabilities"), 0);
    assert_int_equal(said(&outcome, "no_new_privs"), 1);
    assert_int_equal(said(&outcome, "core"), 0);
    assert_int_equal(said(&outcome, "stack"), 8 << 20);
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(said(&outcome, "nofile"), (long)files.rlim_max);
    if (tier == QN_SANDBOX_FULL) {
        assert_int_equal(said(&outcome, "bounding"), 0);
        assert_int_equal(said(&outcome, "securebits"), 0xef);
    }
    assert_int_equal(said(&outcome, "uid"), geteuid() == 0 ? NOBODY : geteuid());
    assert_int_equal(said(&outcome, "become_root"), tier == QN_SANDBOX_FULL ? EINVAL : EPERM);
    assert_int_equal(said(&outcome, "setgroups"), EPERM);
    assert_int_equal(said(&outcome, "groups"), geteuid() == 0 ? 0 : getgroups(0, NULL));
    assert_non_null(strstr(qn_buffer_text(&outcome.said), "\ndevice 0\ndevice 1\ndescriptor 2\ndescriptor 3\n"
                                                          "descriptor 5\ndescriptor 6\ndescriptor 7\ndumpable"));
    assert_non_null(strstr(qn_buffer_text(&outcome.said), "\nenv LANG=C.UTF-8\nhost "));
}

/* ---- a run: seccomp alone (Landlock lets everything be read) and with the rest ---- */

static const char REFUSED_BY_FILTER[] =
    "execve,execveat,vfork,clone_process,clone_parent,unshare,unshare_user,setns,ptrace,"
    "process_vm_readv,process_vm_writev,pidfd_open,pidfd_getfd,pidfd_send_signal,kcmp,setpriority,"
    "sched_setaffinity,sched_setscheduler,setsid,setpgid,wait4,kill_group,kill_all,tkill,"
    "rt_sigqueueinfo,rt_tgsigqueueinfo,timer_create,tgkill_other,setuid,setgroups,setfsuid,capset,"
    "dumpable,death_signal,seccomp,seccomp_prctl,landlock,setrlimit,prlimit_set,prlimit_other,"
    "raise_limit,keyctl,add_key,request_key,mount,umount,pivot_root,chroot,open_tree,fsopen,"
    "bpf,perf_event_open,io_uring_enter,userfaultfd,fanotify_init,inotify_init1,name_to_handle_at,"
    "open_by_handle_at,init_module,kexec_load,syslog,sysinfo,add_watch,personality,memfd_create,"
    "memfd_secret,shmget,msgget,semget,mq_open,mlock,mlockall,remap_file_pages,process_madvise,"
    "merge_pages,bind_memory,memory_exec,memory_write_exec,memory_shared,memory_shared_read,"
    "memory_stack,memory_huge,memory_locked,protect_exec,protect_write_exec,text_writable,"
    "text_shared,text_patched,mkdir,unlink,rename,symlink,link,mknod,chmod,chown,truncate,"
    "ftruncate,utimensat,setxattr,chdir,copy_file_range,splice,vmsplice,flock,fcntl_lock,"
    "fcntl_owner,fcntl_async,fcntl_pipe_size,pipe_for_notifications,terminal_input,interfaces,"
    "open_path,open_new,open_unnamed,open_writing,open_both,open_truncate,socket_unix,socket_udp,"
    "socket_sctp,socket_mptcp,socket_raw,socket_netlink,socket_packet,socket_vsock,socket_alg,"
    "socketpair,bind,listen,accept4,sendmmsg,sendto_address,sendto_fast_open,sendmsg_fast_open,"
    "option_ulp,option_fast_open,option_device,option_zerocopy_receive,barrier_everywhere";
#if defined(__x86_64__) /* calls that newer machines never had */
static const char OLD_REFUSED_BY_FILTER[] =
    "creat,modify_ldt,arch_prctl,iopl,fork,mkdir_old,unlink_old,rename_old,rmdir_old,chmod_old";
#endif
static const struct expectation OTHERWISE_BY_FILTER[] = {
    { "clone3", ENOSYS, ENOSYS },
    { "io_uring_setup", ENOSYS, ENOSYS },
    { "openat2", ENOSYS, ENOSYS },
    { "open_readable", 0, 0 },
    { "kill_self", 0, 0 },
    { "tgkill_self", 0, 0 },
    { "prlimit_read", 0, 0 },
    { "sendto_no_address", EBADF, EBADF },
    { "memory_plain", 0, 0 },
    { "protect_read", 0, 0 },
    { "text_private", 0, 0 },
    { "file_shared", 0, 0 },
    { "getpid", 0, 0 },
    { "barrier_here", 0, 0 },
};

/* Every one of the names has to be refused by the filter. */
static void expect_refused(const char *filter, const char *rules, const char *argument, const char *names)
{
    static struct expectation list[256];
    size_t count = 0;
    qn_auto_free char *copy = qn_strdup(names);
    char *rest = NULL;
    for (char *name = strtok_r(copy, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        assert_true(count < sizeof list / sizeof *list);
        list[count++] = (struct expectation){ name, EPERM, EPERM };
    }
    expect_all(filter, rules, argument, list, count);
}

static void filter__refuses_what_runs_do_not_need(void **state)
{
    (void)state;
    static const char *const RULES[] = { "open", "strict" };
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES; i++) {
        expect_refused("off", RULES[i], readable_file, REFUSED_BY_FILTER);
#if defined(__x86_64__)
        expect_refused("off", RULES[i], readable_file, OLD_REFUSED_BY_FILTER);
#endif
        EXPECT_ALL("off", RULES[i], readable_file, OTHERWISE_BY_FILTER);
    }
}

static void filter__without_network_has_no_sockets(void **state)
{
    (void)state;
    expect_refused("off", "strict", "1", "socket_tcp,socket_tcp6,option_no_delay,connect");
}

static void filter__kills_other_architectures(void **state)
{
    (void)state;
#if defined(__x86_64__)
    auto_outcome outcome;
    run_jail("i386", "off", "strict", "", "", &outcome);
    assert_int_equal(said(&outcome, "signalled"), SIGSYS);
    auto_outcome x32;
    run_jail("try", "off", "strict", "x32", "", &x32);
    assert_int_equal(said(&x32, "signalled"), SIGSYS);
#else
    print_message("skipped: this machine has no 32-bit calls of another architecture\n");
#endif
}

static void filter__lets_libraries_be_loaded(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("library", "off", "strict", "", "libm.so.6", &outcome);
    assert_int_equal(said(&outcome, "library"), 1);
}

static int receive_listener(int control)
{
    char byte;
    int fd = -1;
    char space[CMSG_SPACE(sizeof fd)];
    struct iovec piece = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space
    };
    assert_int_equal(qn_poll_one(control, POLLIN, qn_deadline_after_ms(DEADLINE_MS), NULL), QN_OK);
    assert_int_equal(recvmsg(control, &message, MSG_CMSG_CLOEXEC), 1);
    if (byte != 'L') {
        qn_auto_buffer rest = QN_BUFFER_INIT;
        read_until(control, NULL, &rest);
        fail_msg("%c%s", byte, qn_buffer_text(&rest));
    }
    struct cmsghdr *attached = CMSG_FIRSTHDR(&message);
    assert_non_null(attached);
    memcpy(&fd, CMSG_DATA(attached), sizeof fd);
    return fd;
}

/* Send `count` descriptors that nobody receives: the kernel counts them for the user until both ends are closed. */
static void put_under_way(int count, int ends[2])
{
    char byte = 'x';
    char space[CMSG_SPACE(250 * sizeof(int))] = { 0 };
    struct iovec piece = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = { .msg_iov = &piece,
                              .msg_iovlen = 1,
                              .msg_control = space,
                              .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)) };
    struct cmsghdr *attached = CMSG_FIRSTHDR(&message);
    attached->cmsg_level = SOL_SOCKET;
    attached->cmsg_type = SCM_RIGHTS;
    attached->cmsg_len = CMSG_LEN((size_t)count * sizeof(int)); /* standard input, again and again */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(sendmsg(ends[0], &message, MSG_NOSIGNAL), 1);
}

/* Descriptors that other runs of the same user have under way keep no run from starting. */
static void lockdown__with_network_starts_whatever_others_send(void **state)
{
    (void)state;
    struct started started;
    auto_outcome outcome = { .how = { false, 0 } };
    int ends[2];
    put_under_way(200, ends);
    qn_buffer_append_byte(&outcome.said, '\n');
    start("files", "net", "strict", "", readable_file, &started);
    int listener = receive_listener(started.control);
    finish(&started, &outcome);
    (void)close(listener);
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(said(&outcome, "files"), 64 - 4); /* and the limit is there all the same */
    assert_int_equal(said(&outcome, "refused"), EMFILE);
}

static void filter__with_network_asks_for_each_connection(void **state)
{
    (void)state;
    static const char TRIED[] =
        "socket_tcp,socket_tcp6,option_no_delay,connect,socket_unix,socket_udp,socket_sctp,"
        "socket_mptcp,socket_netlink,bind,listen,accept4,sendto_fast_open,sendmsg_fast_open,"
        "option_ulp,option_fast_open,option_device,option_zerocopy_receive,interfaces,raise_limit,setrlimit";
    struct started started;
    auto_outcome outcome = { .how = { false, 0 } };
    qn_buffer_append_byte(&outcome.said, '\n');
    start("try", "net", "strict", TRIED, "1", &started);
    int listener = receive_listener(started.control);
    struct seccomp_notif question = { 0 };
    assert_int_equal(qn_poll_one(listener, POLLIN, qn_deadline_after_ms(DEADLINE_MS), NULL), QN_OK);
    assert_int_equal(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question), 0);
    assert_int_equal(question.data.nr, SYS_connect);
    /* The supervisor has to be able to read where to, whoever it is. */
    struct sockaddr_in address = { .sin_family = AF_UNSPEC };
    struct iovec here = { .iov_base = &address, .iov_len = sizeof address };
    struct iovec there = { .iov_base = (void *)(uintptr_t)question.data.args[1], .iov_len = sizeof address };
    assert_int_equal(process_vm_readv((pid_t)question.pid, &here, 1, &there, 1, 0), sizeof address);
    assert_int_equal(address.sin_family, AF_INET);
    assert_int_equal(ntohs(address.sin_port), 1);
    struct seccomp_notif_resp answer = { .id = question.id, .error = -EHOSTDOWN };
    assert_int_equal(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
    finish(&started, &outcome);
    (void)close(listener);
    assert_int_equal(said(&outcome, "exited"), 0);
    assert_int_equal(said(&outcome, "connect"), EHOSTDOWN);
    assert_int_equal(said(&outcome, "socket_tcp"), 0);
    assert_true(said(&outcome, "socket_tcp6") == 0 || said(&outcome, "socket_tcp6") == EAFNOSUPPORT);
    assert_int_equal(said(&outcome, "option_no_delay"), EBADF);
    static const char *const STILL[] = { "socket_unix",      "socket_udp",
                                         "socket_sctp",      "socket_mptcp",
                                         "socket_netlink",   "bind",
                                         "listen",           "accept4",
                                         "sendto_fast_open", "sendmsg_fast_open",
                                         "option_ulp",       "option_fast_open",
                                         "option_device",    "option_zerocopy_receive",
                                         "interfaces",       "raise_limit",
                                         "setrlimit" };
    for (size_t i = 0; i < sizeof STILL / sizeof *STILL; i++) {
        if (said(&outcome, STILL[i]) != EPERM) {
            fail_msg("%s: %ld", STILL[i], said(&outcome, STILL[i]));
        }
    }
}

/* ---- the other layers, with a filter that allows everything ---- */

static void landlock__alone_lets_nothing_but_the_readable_be_read(void **state)
{
    (void)state;
    char other[PATH_MAX];
    (void)snprintf(other, sizeof other, "%s/other", folder);
    static const struct expectation OTHER[] = {
        { "open_readable", ENOENT, EACCES }, { "open_passwd", ENOENT, EACCES }, { "open_root", EACCES, EACCES },
        { "open_proc", ENOENT, EACCES },     { "open_null", ENOENT, EACCES },   { "open_new", EROFS, EACCES },
        { "mkdir", EROFS, EACCES },
    };
    EXPECT_ALL("none", "strict", other, OTHER);
    /* Everybody may write to this file. */
    static const struct expectation READABLE[] = {
        { "open_readable", 0, 0 },
        { "open_writing", EROFS, EACCES },
        { "open_both", EROFS, EACCES },
    };
    EXPECT_ALL("none", "strict", readable_file, READABLE);
    /* And were it not for Landlock, the root could be listed. */
    static const struct expectation WITHOUT[] = { { "open_root", 0, 0 }, { "execve", ENOENT, ENOENT } };
    EXPECT_ALL("none", "open", "", WITHOUT);
}

static void landlock__alone_refuses_tcp(void **state)
{
    (void)state;
    if (support.landlock_abi < 4) {
        print_message("skipped: Landlock ABI %d knows nothing of TCP\n", support.landlock_abi);
        return;
    }
    static const struct expectation LIST[] = { { "connect", EACCES, EACCES } };
    EXPECT_ALL("none", "strict", "1", LIST);
}

static void network_namespace__alone_reaches_nobody(void **state)
{
    (void)state;
    if (tier == QN_SANDBOX_REDUCED) {
        return; /* has none */
    }
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server, 1), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&address, &size), 0);
    char port[16];
    (void)snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
    auto_outcome outcome;
    run_jail("zygote", "off", "strict", "connect", port, &outcome);
    assert_int_equal(said(&outcome, "connect"), ENETUNREACH);
    (void)close(server);
}

static void pid_namespace__hides_everybody_else(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("state", "none", "strict", "", "", &outcome);
    if (tier == QN_SANDBOX_FULL) {
        assert_int_equal(said(&outcome, "pid"), 1);
        assert_int_equal(said(&outcome, "thread"), 1);
        assert_int_equal(said(&outcome, "thread_of_libc"), 1);
        assert_int_equal(said(&outcome, "parent"), 0);
    } else {
        assert_true(said(&outcome, "pid") > 1);
    }
    if (tier == QN_SANDBOX_REDUCED && support.landlock_abi < 6) {
        print_message("skipped: Landlock ABI %d knows nothing of signals\n", support.landlock_abi);
        return;
    }
    char other[16]; /* a process of ours, of the same user where we are an ordinary one */
    (void)snprintf(other, sizeof other, "%ld", (long)getpid());
    static const struct expectation LIST[] = { { "tkill_argument", ESRCH, EPERM } };
    EXPECT_ALL("none", "strict", other, LIST);
}

static void lockdown__leaves_no_rights(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("state", "none", "strict", "", "", &outcome);
    assert_int_equal(said(&outcome, "capabilities"), 0);
    assert_int_equal(said(&outcome, "no_new_privs"), 1);
    assert_int_equal(said(&outcome, "dumpable"), 0);
    assert_int_equal(said(&outcome, "death_signal"), SIGKILL);
    assert_int_equal(said(&outcome, "seccomp"), 2);
    if (tier == QN_SANDBOX_FULL) {
        assert_int_equal(said(&outcome, "bounding"), 0);
        assert_int_equal(said(&outcome, "securebits"), 0xef); /* all, locked; but keep_caps is off, locked */
    }
    static const struct expectation LIST[] = {
        { "become_root", EINVAL, EPERM }, { "setgroups", EPERM, EPERM },   { "hostname", EPERM, EPERM },
        { "chroot", EFAULT, EFAULT },     { "raise_limit", EPERM, EPERM },
    };
    EXPECT_ALL("none", "strict", "", LIST);
}

/* Without a launcher before it: what the launcher has set already does not hide that it is not set again. */
static void lockdown__stands_on_its_own(void **state)
{
    (void)state;
    static const char *const READABLE[] = { "/usr", NULL };
    static const struct sock_filter ALLOW = { .code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW };
    struct qn_lockdown lockdown = {
        .tier = tier, .files = 64, .threads = 8, .proc_fd = -1, .filter = &ALLOW, .filter_size = sizeof ALLOW
    };
    int pid_fd = -1;
    assert_int_equal(qn_lockdown_ruleset(READABLE, &lockdown.ruleset_fd, NULL), QN_OK);
    pid_t pid = qn_sandbox_fork(tier, &pid_fd);
    if (pid == 0) {
        int listener = -1;
        if (qn_lockdown_apply(&lockdown, &listener, NULL) != QN_OK) {
            _exit(2);
        }
        _exit(listener == -1 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1);
    }
    assert_true(pid > 0);
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    (void)close(pid_fd);
    (void)close(lockdown.ruleset_fd);
}

static void lockdown__keeps_only_the_descriptors_that_it_is_told(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("descriptors", "off", "strict", "", "", &outcome);
    assert_string_equal(qn_buffer_text(&outcome.said),
                        "\ndevice 0\ndevice 1\ndevice 2\ndescriptor 3\ndescriptor 50\nexited 0\n");
}

static void lockdown__ends_where_the_zygote_has_ended(void **state)
{
    (void)state;
    struct started started;
    auto_outcome outcome = { .how = { false, 0 } };
    start("orphan", "off", "strict", "", "", &started);
    finish(&started, &outcome);
    assert_string_equal(qn_buffer_text(&outcome.said), "failed: lock-down: the zygote has ended\n");
}

static void run__ends_with_its_zygote(void **state)
{
    (void)state;
    struct started started;
    auto_outcome outcome = { .how = { false, 0 } };
    start("block", "off", "strict", "", "", &started);
    read_until(started.control, "blocking 1\n", &outcome.said);
    assert_int_equal(kill(started.process.pid, SIGKILL), 0);
    read_until(started.control, NULL, &outcome.said); /* its end comes when the run is gone, too */
    finish(&started, &outcome);
    assert_false(outcome.how.exited);
    assert_string_equal(qn_buffer_text(&outcome.said), "blocking 1\n");
}

/* Whatever the shared filter says, signals go to the process itself only. */
static void lockdown__keeps_signals_to_itself(void **state)
{
    (void)state;
    static const struct expectation LIST[] = {
        { "kill_group", EPERM, EPERM }, { "kill_all", EPERM, EPERM }, { "tgkill_other", EPERM, EPERM },
        { "kill_self", 0, 0 },          { "tgkill_self", 0, 0 },
    };
    EXPECT_ALL("none", "strict", "", LIST);
}

/* ---- limits ---- */

static void limits__are_set_hard(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("state", "none", "strict", "", "", &outcome);
    assert_int_equal(said(&outcome, "core"), 0);
    assert_int_equal(said(&outcome, "fsize"), 0);
    assert_int_equal(said(&outcome, "memlock"), 0);
    assert_int_equal(said(&outcome, "msgqueue"), 0);
    assert_int_equal(said(&outcome, "rtprio"), 0);
    assert_int_equal(said(&outcome, "nofile"), 64);
    assert_int_equal(said(&outcome, "stack"), 8 << 20);
    assert_int_equal(said(&outcome, "sigpending"), 32);
    assert_int_equal(said(&outcome, "nproc"), tier == QN_SANDBOX_FULL ? 8 : 4096);
}

static void limits__memory_is_what_the_run_was_given(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("memory", "off", "strict", "100", "", &outcome);
    assert_true(said(&outcome, "mebibytes") >= 98 && said(&outcome, "mebibytes") <= 100);
    auto_outcome less;
    run_jail("memory", "none", "strict", "16", "", &less); /* the limit, not the filter */
    assert_true(said(&less, "mebibytes") >= 14 && said(&less, "mebibytes") <= 16);
}

static void limits__threads_are_counted_for_each_run(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("threads", "off", "strict", "", "", &outcome);
    if (tier == QN_SANDBOX_FULL) {
        assert_int_equal(said(&outcome, "threads"), 8);
        assert_int_equal(said(&outcome, "refused"), EAGAIN);
    } else { /* not per run here: bounded by memory, and by a number for all runs together */
        assert_int_equal(said(&outcome, "threads"), 200);
    }
}

static void limits__files_are_counted(void **state)
{
    (void)state;
    auto_outcome outcome;
    run_jail("files", "off", "strict", "", readable_file, &outcome);
    assert_int_equal(said(&outcome, "files"), 64 - 4);
    assert_int_equal(said(&outcome, "refused"), EMFILE);
}

/* As root of a container has it: namespaces may be had, but only as an ordinary user has them. */
static bool lose_admin(void)
{
    return prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) == 0;
}

static bool become_nobody(void)
{
    return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
           setresuid(NOBODY, NOBODY, NOBODY) == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

/* ---- what the launcher says where it cannot ---- */

static void expect_launch_failure(const char *records, size_t size, const char *message)
{
    struct started started;
    auto_outcome outcome = { .how = { false, 0 } };
    const struct qn_buffer bytes = { .data = (char *)(uintptr_t)records, .size = size };
    start_policy(memfd_of(&bytes), &started);
    finish(&started, &outcome);
    assert_true(outcome.how.exited);
    assert_int_equal(outcome.how.code, 71);
    assert_int_equal(outcome.said.size, 0);
    assert_string_equal(qn_buffer_text(&outcome.errors), message);
}
#define EXPECT_LAUNCH_FAILURE(records, message) expect_launch_failure(records, sizeof(records), message)

static void launcher__refuses_a_broken_policy(void **state)
{
    (void)state;
    EXPECT_LAUNCH_FAILURE("tier=full", "sandbox: sandbox policy: the interpreter's path is missing or not absolute\n");
    EXPECT_LAUNCH_FAILURE("arg=/bin/true", "sandbox: sandbox policy: no tier\n");
    EXPECT_LAUNCH_FAILURE("tier=full\0tier=reduced\0arg=/bin/true",
                          "sandbox: sandbox policy: record \"tier=reduced\" is not known\n");
    EXPECT_LAUNCH_FAILURE("tier=full\0readable=/usr/../etc\0arg=/bin/true",
                          "sandbox: sandbox policy: \"readable=/usr/../etc\" is not allowed\n");
    EXPECT_LAUNCH_FAILURE("tier=full\0readable=/dev/null\0arg=/bin/true",
                          "sandbox: sandbox policy: \"readable=/dev/null\" is not allowed\n");
    expect_launch_failure("tier=full", 9, "sandbox: sandbox policy: it is cut off\n");
    expect_launch_failure("", 0, "sandbox: sandbox policy: it is cut off\n");
}

static void launcher__names_the_path_that_is_not_there(void **state)
{
    (void)state;
    if (tier == QN_SANDBOX_FULL) {
        EXPECT_LAUNCH_FAILURE("tier=full\0readable=/no/such/folder\0arg=/bin/true",
                              "sandbox: root: readable path \"/no/such/folder\": No such file or directory\n");
        EXPECT_LAUNCH_FAILURE("tier=full\0arg=/bin/true",
                              "sandbox: executing \"/bin/true\": No such file or directory\n");
    } else {
        EXPECT_LAUNCH_FAILURE("tier=reduced\0arg=/no/such/program",
                              "sandbox: executing \"/no/such/program\": No such file or directory\n");
    }
}

/* In a user namespace whose administrator has forbidden more of them. */
static void launcher__names_the_missing_layer_and_the_remedy(void **state)
{
    (void)state;
    if (in_container) {
        assert_string_equal(support.missing, "user namespaces");
        assert_non_null(strstr(support.cause, "user namespaces: unshare: Operation not permitted"));
        assert_non_null(strstr(support.remedy, "docker run --security-opt seccomp=unconfined"));
        assert_non_null(strstr(support.remedy, "QANAT_SANDBOX=reduced"));
        return;
    }
    if (!support.has[QN_LAYER_USER_NAMESPACE]) {
        print_message("skipped: %s\n", support.remedy);
        return;
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (unshare(CLONE_NEWUSER) != 0) {
            _exit(2);
        }
        int fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1) {
            _exit(3);
        }
        (void)close(fd);
        struct qn_sandbox_support found;
        struct qn_error err = QN_ERROR_INIT;
        if (qn_sandbox_support_probe(launcher, &found, &err) != QN_OK) {
            (void)fprintf(stderr, "%s\n", err.message);
            _exit(4);
        }
        bool right = found.missing == qn_sandbox_layer_name(QN_LAYER_USER_NAMESPACE) &&
                     !found.has[QN_LAYER_USER_NAMESPACE] && found.has[QN_LAYER_LANDLOCK] &&
                     found.has[QN_LAYER_SECCOMP] &&
                     strstr(found.remedy, "user.max_user_namespaces is 0: set it to") != NULL &&
                     strstr(found.remedy, "QANAT_SANDBOX=reduced") != NULL;
        _exit(right ? 0 : 5);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

static void probe__finds_every_layer_or_names_one(void **state)
{
    (void)state;
    struct qn_sandbox_support found;
    struct qn_error err = QN_ERROR_INIT;
    if (qn_sandbox_support_probe(launcher, &found, &err) != QN_OK) {
        fail_msg("%s", err.message);
    }
    bool all = true;
    for (int layer = 0; layer < QN_LAYERS; layer++) {
        all = all && found.has[layer];
    }
    /* Where all can be had at once, none may be called missing: the tests of the full tier would not run. */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool had = (geteuid() != 0 || become_nobody()) && unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID |
                                                                  CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == 0;
        _exit(had ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how == 0, found.has[QN_LAYER_USER_NAMESPACE] && found.has[QN_LAYER_MOUNT_NAMESPACE] &&
                                   found.has[QN_LAYER_PID_NAMESPACE] && found.has[QN_LAYER_NETWORK_NAMESPACE]);
    assert_int_equal(all, found.missing == NULL);
    assert_int_equal(all, found.remedy[0] == '\0');
    assert_int_equal(found.has[QN_LAYER_LANDLOCK], found.landlock_abi > 0);
}

static void probe__says_so_where_the_launcher_is_none(void **state)
{
    (void)state;
    struct qn_sandbox_support found = { .landlock_abi = -7 };
    struct qn_error err = QN_ERROR_INIT;
    assert_int_equal(qn_sandbox_support_probe("/no/launcher", &found, &err), QN_ERR_IO);
    assert_string_equal(err.message, "starting \"/no/launcher\": No such file or directory");
    assert_int_equal(qn_sandbox_support_probe("/bin/true", &found, &err), QN_ERR_INTERNAL);
    assert_string_equal(err.message,
                        "asking the sandbox's launcher \"/bin/true\": it ended with 0 and told of 0 layers");
    assert_int_equal(found.landlock_abi, -7); /* untouched */
}

/* ---- who runs them ---- */

static bool copy_program(const char *from, const char *name, char *to)
{
    qn_auto_buffer bytes = QN_BUFFER_INIT;
    (void)snprintf(to, PATH_MAX, "%s/%s", folder, name);
    return qn_file_read(AT_FDCWD, from, (size_t)1 << 28, &bytes, NULL) == QN_OK &&
           qn_file_replace(AT_FDCWD, to, bytes.data, bytes.size, 0755, NULL) == QN_OK && chmod(to, 0755) == 0;
}

static bool make_file(const char *name, char *path)
{
    static const char CONTENT[8192] = "content";
    (void)snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return qn_file_replace(AT_FDCWD, path, CONTENT, sizeof CONTENT, 0666, NULL) == QN_OK && chmod(path, 0666) == 0;
}

/* What the jail makes where a wall is missing. */
static void remove_traces(void)
{
    (void)unlink("/tmp/qanat-jail");
    (void)rmdir("/tmp/qanat-jail");
}

static bool prepare(char **argv)
{
    char other[PATH_MAX];
    remove_traces();
    (void)snprintf(folder, sizeof folder, "/tmp/qanat-sandbox-XXXXXX");
    return mkdtemp(folder) != NULL && chmod(folder, 0755) == 0 && copy_program(argv[1], "launcher", launcher) &&
           copy_program(argv[2], "jail", jail) && make_file("readable", readable_file) && make_file("other", other);
}

static void remove_folder(void)
{
    remove_traces();
    static const char *const NAMES[] = { "launcher", "jail", "readable", "other" };
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, NAMES[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static int run_all(const char *who)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zygote__stands_in_namespaces_of_its_own),
        cmocka_unit_test(zygote__sees_no_file_but_the_readable_ones),
        cmocka_unit_test(zygote__stays_root_only_where_it_has_to),
        cmocka_unit_test(zygote__has_the_usual_personality),
        cmocka_unit_test(zygote__has_no_rights_and_only_its_descriptors),
        cmocka_unit_test(filter__refuses_what_runs_do_not_need),
        cmocka_unit_test(filter__without_network_has_no_sockets),
        cmocka_unit_test(filter__kills_other_architectures),
        cmocka_unit_test(filter__lets_libraries_be_loaded),
        cmocka_unit_test(filter__with_network_asks_for_each_connection),
        cmocka_unit_test(lockdown__with_network_starts_whatever_others_send),
        cmocka_unit_test(landlock__alone_lets_nothing_but_the_readable_be_read),
        cmocka_unit_test(landlock__alone_refuses_tcp),
        cmocka_unit_test(network_namespace__alone_reaches_nobody),
        cmocka_unit_test(pid_namespace__hides_everybody_else),
        cmocka_unit_test(lockdown__leaves_no_rights),
        cmocka_unit_test(lockdown__stands_on_its_own),
        cmocka_unit_test(lockdown__keeps_only_the_descriptors_that_it_is_told),
        cmocka_unit_test(lockdown__ends_where_the_zygote_has_ended),
        cmocka_unit_test(lockdown__keeps_signals_to_itself),
        cmocka_unit_test(run__ends_with_its_zygote),
        cmocka_unit_test(limits__are_set_hard),
        cmocka_unit_test(limits__memory_is_what_the_run_was_given),
        cmocka_unit_test(limits__threads_are_counted_for_each_run),
        cmocka_unit_test(limits__files_are_counted),
        cmocka_unit_test(launcher__refuses_a_broken_policy),
        cmocka_unit_test(launcher__names_the_path_that_is_not_there),
        cmocka_unit_test(launcher__names_the_missing_layer_and_the_remedy),
        cmocka_unit_test(probe__finds_every_layer_or_names_one),
        cmocka_unit_test(probe__says_so_where_the_launcher_is_none),
    };
    struct qn_error err = QN_ERROR_INIT;
    int failed = 0;
    if (qn_sandbox_support_probe(launcher, &support, &err) != QN_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    for (int i = QN_SANDBOX_FULL; i <= QN_SANDBOX_REDUCED; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s, %s tier", who, i == QN_SANDBOX_FULL ? "full" : "reduced");
        if (!support.has[QN_LAYER_LANDLOCK] || !support.has[QN_LAYER_SECCOMP] ||
            (i == QN_SANDBOX_FULL && support.missing != NULL)) {
            (void)fprintf(stderr, "skipped: %s: %s\n", name, support.remedy);
            continue;
        }
        tier = (enum qn_sandbox_tier)i;
        failed += cmocka_run_group_tests_name(name, tests, NULL, NULL);
    }
    return failed > 0;
}

/* No namespaces, no mounts, and no clone3, as container engines have it for who has no CAP_SYS_ADMIN. */
static bool enter_container(void)
{
    const uint32_t namespaces = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, namespaces, 2, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog filter = { .len = sizeof program / sizeof *program, .filter = program };
    in_container = true;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

/* Run them all once more, after a step that cannot be taken back. */
static int run_all_after(bool (*step)(void), const char *who)
{
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!step()) {
            (void)fprintf(stderr, "skipped: %s: %s\n", who, strerror(errno));
            _exit(0);
        }
        int failed = run_all(who);
        (void)fflush(NULL);
        _exit(failed);
    }
    int how = 1;
    return waitpid(child, &how, 0) == child && how == 0 ? 0 : 1;
}

static int compare_longs(const void *a, const void *b)
{
    long x = *(const long *)a;
    long y = *(const long *)b;
    return (x > y) - (x < y);
}

/* Microseconds of each step of a run's start, in both tiers. */
static void print_times(void)
{
    static const char *const STEPS[] = { "fork", "apply", "probe", "ready" };
    for (int i = QN_SANDBOX_FULL; i <= QN_SANDBOX_REDUCED; i++) {
        auto_outcome outcome;
        tier = (enum qn_sandbox_tier)i;
        run_jail("bench", "off", "strict", "", "", &outcome);
        for (size_t step = 0; step < sizeof STEPS / sizeof *STEPS; step++) {
            static long times[1000];
            size_t count = 0;
            char line[32];
            (void)snprintf(line, sizeof line, "\n%s ", STEPS[step]);
            for (const char *at = qn_buffer_text(&outcome.said); (at = strstr(at, line)) != NULL && count < 1000;
                 at++) {
                times[count++] = strtol(at + strlen(line), NULL, 10);
            }
            qsort(times, count, sizeof *times, compare_longs);
            printf("%s tier: %s: p50 %ld us, p95 %ld us of %zu\n", i == QN_SANDBOX_FULL ? "full" : "reduced",
                   STEPS[step], times[count / 2], times[count * 95 / 100], count);
        }
    }
}

int main(int argc, char **argv)
{
    bool is_bench = argc == 4 && strcmp(argv[3], "--times") == 0;
    if (argc != 3 && !is_bench) {
        (void)fprintf(stderr, "usage: test_sandbox LAUNCHER JAIL [--times]\n");
        return 2;
    }
    int failed = prepare(argv) ? 0 : 1;
    if (failed == 0 && is_bench) {
        print_times();
        remove_folder();
        return 0;
    }
    if (failed == 0) {
        const char *who = geteuid() == 0 ? "root" : "an ordinary user";
        failed = run_all(who);
        failed |= run_all_after(enter_container, "in a container");
        if (geteuid() == 0) {
            failed |= run_all_after(become_nobody, "an ordinary user");
            failed |= run_all_after(lose_admin, "root without CAP_SYS_ADMIN");
        }
    }
    remove_folder();
    return failed;
}
