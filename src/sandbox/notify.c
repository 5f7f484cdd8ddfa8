/*
 * notify.c: the engine's end of the filter of runs with network: calls that the kernel holds back until they are
 * answered.
 *
 * It takes them, answers them and puts descriptors into the run (seccomp_unotify(2)); what they ask for, and what is
 * allowed, its callers know. A newer kernel may write more into its structures than our headers have: there is room for it.
 * Threads: no state; a listener belongs to one at a time.
 */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_NOTIFICATION 1024 /* bytes that a future kernel may write into one */

union notification {
    struct seccomp_notif request;
    char room[MAX_NOTIFICATION];
};

union response {
    struct seccomp_notif_resp response;
    char room[MAX_NOTIFICATION];
};

enum qn_status qn_sandbox_calls_check(struct qn_error *err)
{
    struct seccomp_notif_sizes sizes = { 0 };
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "this kernel has no seccomp user notification: %m");
    }
    if (sizes.seccomp_notif > MAX_NOTIFICATION || sizes.seccomp_notif_resp > MAX_NOTIFICATION) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "this kernel's notifications are larger than %d bytes",
                            MAX_NOTIFICATION);
    }
    return QN_OK;
}

enum qn_status qn_sandbox_call_take(int listener_fd, struct qn_sandbox_call *out, bool *taken_out, struct qn_error *err)
{
    union notification taken;
    memset(&taken, 0, sizeof taken); /* which the kernel insists on */
    if (ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_RECV, &taken) != 0) {
        if (errno != ENOENT && errno != EINTR) {
            return qn_error_set(err, QN_ERR_INTERNAL, "taking a notification: %m");
        }
        *taken_out = false;
        return QN_OK;
    }
    *out = (struct qn_sandbox_call){ .id = taken.request.id,
                                     .pid = (pid_t)taken.request.pid,
                                     .number = taken.request.data.nr };
    for (size_t i = 0; i < sizeof out->arguments / sizeof *out->arguments; i++) {
        out->arguments[i] = taken.request.data.args[i];
    }
    *taken_out = true;
    return QN_OK;
}

bool qn_sandbox_call_stands(int listener_fd, uint64_t id)
{
    return ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

void qn_sandbox_call_answer(int listener_fd, uint64_t id, int error)
{
    union response response;
    memset(&response, 0, sizeof response);
    response.response.id = id;
    response.response.error = -error;
    (void)ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

/* A run executes no program: close-on-exec is for form's sake. */
int qn_sandbox_call_place(int listener_fd, uint64_t id, int fd, int target_fd)
{
    struct seccomp_notif_addfd place = {
        .id = id,
        .flags = SECCOMP_ADDFD_FLAG_SETFD,
        .srcfd = (uint32_t)fd,
        .newfd = (uint32_t)target_fd,
        .newfd_flags = O_CLOEXEC,
    };
    return ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &place) >= 0 ? 0 : errno;
}
