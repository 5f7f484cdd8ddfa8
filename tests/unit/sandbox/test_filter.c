/*
 * test_filter.c: what seccomp alone (Landlock lets everything be read), and with the rest, refuses to a run.
 */
#include "jail_fixture.h"

#include "base/memory.h"
#include "os/clock.h"
#include "os/poll.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

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

static int run_group(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter__refuses_what_runs_do_not_need),
        cmocka_unit_test(filter__without_network_has_no_sockets),
        cmocka_unit_test(filter__kills_other_architectures),
        cmocka_unit_test(filter__lets_libraries_be_loaded),
        cmocka_unit_test(lockdown__with_network_starts_whatever_others_send),
        cmocka_unit_test(filter__with_network_asks_for_each_connection),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_in_every_role(argc, argv, run_group);
}
