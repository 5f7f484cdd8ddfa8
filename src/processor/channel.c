/*
 * channel.c: see channel.h. EINTR is tried again: no call here blocks.
 */
#include "processor/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_FREE_FD 3

void qn_channel_close(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

enum qn_status qn_channel_pair(int type, int ends_out[2], struct qn_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) {
        return qn_error_set(err, QN_ERR_IO, "making a pair of sockets: %m");
    }
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= FIRST_FREE_FD) {
            continue;
        }
        int low = ends[i]; /* the host has closed a standard descriptor: its number is not ours */
        ends[i] = fcntl(low, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
        int failure = errno;
        (void)close(low);
        if (ends[i] < 0) {
            (void)close(ends[1 - i]);
            errno = failure;
            return qn_error_set(err, QN_ERR_IO, "making a pair of sockets: %m");
        }
    }
    ends_out[0] = ends[0];
    ends_out[1] = ends[1];
    return QN_OK;
}

union fd_room {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(QN_CHANNEL_MAX_FDS * sizeof(int))];
};

ssize_t qn_channel_send(int socket, struct iovec *pieces, size_t n_pieces, const int *fds, size_t n_fds)
{
    union fd_room room;
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = n_pieces };
    if (n_fds > 0) {
        memset(&room, 0, sizeof room);
        message.msg_control = room.bytes;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(head), fds, n_fds * sizeof(int));
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* The first descriptor of a message; all others are closed. */
static int first_fd(struct msghdr *message)
{
    int first = -1;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t n = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
            if (first < 0) {
                first = fd;
            } else {
                (void)close(fd);
            }
        }
    }
    return first;
}

/* An end that closes before it has read everything leaves a reset behind, which is told once and before the messages that it
 * sent. They are what counts. */
static bool is_passing(int error)
{
    return error == EINTR || error == ECONNRESET;
}

ssize_t qn_channel_receive_fd(int socket, void *bytes, size_t size, int *fd_out)
{
    union fd_room room;
    struct iovec piece = { bytes, size };
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = room.bytes, .msg_controllen = sizeof room.bytes
    };
    ssize_t received;
    do {
        received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (received < 0 && is_passing(errno));
    *fd_out = received >= 0 ? first_fd(&message) : -1;
    return received;
}

ssize_t qn_channel_receive(int socket, void *bytes, size_t size)
{
    ssize_t received;
    do {
        received = recv(socket, bytes, size, MSG_DONTWAIT);
    } while (received < 0 && is_passing(errno));
    return received;
}
