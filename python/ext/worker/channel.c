/*
 * channel.c: frames on a run's channel (src/processor/protocol.h): a struct qn_frame, and its bytes.
 *
 * Blocking; partial reads and writes and signals are seen to; a descriptor without O_NONBLOCK and one with it serve alike. A
 * run whose channel is broken has nobody to tell and ends. No Python here. Threads: one at a time.
 */
#include "worker.h"

#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_PARTS        4
#define FLIGHT_PAUSE_MS  10
#define FLIGHT_MAX_TRIES 500
/* The engine's INPUT and START frames; more is not a frame of the engine. */
#define MAX_FRAME ((uint64_t)1 << 40)

static void wait_for(int fd, short events)
{
    struct pollfd ready = { .fd = fd, .events = events };
    (void)poll(&ready, 1, -1);
}

/* Whether a failed call is worth another try; waits where the socket would block, or where the user's processes have too many
 * descriptors in flight, which passes. */
static bool again(int fd, short events)
{
    if (errno == ETOOMANYREFS) {
        static int tries;
        (void)poll(NULL, 0, FLIGHT_PAUSE_MS);
        return ++tries < FLIGHT_MAX_TRIES;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait_for(fd, events);
        return true;
    }
    return errno == EINTR;
}

static size_t skip(struct iovec *parts, size_t n, size_t first, size_t size)
{
    while (first < n && size >= parts[first].iov_len) {
        size -= parts[first].iov_len;
        first++;
    }
    if (first < n) {
        parts[first].iov_base = (char *)parts[first].iov_base + size;
        parts[first].iov_len -= size;
    }
    return first;
}

void channel_send(int fd, uint32_t kind, const struct iovec *parts, size_t n, int attach)
{
    struct qn_frame frame = { .kind = kind };
    struct iovec all[MAX_PARTS] = { { .iov_base = &frame, .iov_len = sizeof frame } };
    size_t n_all = 1;
    for (size_t i = 0; i < n && n_all < MAX_PARTS; i++) {
        frame.size += parts[i].iov_len;
        all[n_all++] = parts[i];
    }
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    for (size_t first = 0; first < n_all;) {
        struct msghdr message = { .msg_iov = all + first, .msg_iovlen = n_all - first };
        if (attach >= 0) {
            message.msg_control = control.bytes;
            message.msg_controllen = sizeof control.bytes;
            struct cmsghdr *head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(head), &attach, sizeof attach);
        }
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent >= 0) {
            attach = -1;
            first = skip(all, n_all, first, (size_t)sent);
        } else if (!again(fd, POLLOUT)) {
            _exit(errno == ETOOMANYREFS ? WORKER_EXIT_FLIGHT : WORKER_EXIT_BROKEN);
        }
    }
}

static void take_attached(struct channel_in *channel, struct msghdr *message)
{
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t n = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
            if (channel->attached >= 0) {
                close(channel->attached);
            }
            channel->attached = fd;
        }
    }
}

/* Read `size` bytes. False at an end of file before the first of them. */
static bool receive(struct channel_in *channel, void *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        union {
            struct cmsghdr head;
            char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec part = { .iov_base = (char *)bytes + done, .iov_len = size - done };
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
        };
        ssize_t got = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC);
        if (got > 0) {
            take_attached(channel, &message);
            done += (size_t)got;
        } else if (got == 0) {
            if (done == 0) {
                return false;
            }
            _exit(WORKER_EXIT_BROKEN);
        } else if (!again(channel->fd, POLLIN)) {
            _exit(WORKER_EXIT_BROKEN);
        }
    }
    return true;
}

int channel_receive(struct channel_in *channel, struct qn_frame *frame_out, void **payload_out)
{
    struct qn_frame frame;
    if (!receive(channel, &frame, sizeof frame)) {
        return 0;
    }
    void *payload = NULL;
    if (frame.size > 0) {
        payload = frame.size <= MAX_FRAME ? qn_malloc((size_t)frame.size) : NULL;
        if (payload == NULL) {
            errno = ENOMEM;
            return -1;
        }
        if (!receive(channel, payload, (size_t)frame.size)) {
            _exit(WORKER_EXIT_BROKEN);
        }
    }
    *frame_out = frame;
    *payload_out = payload;
    return 1;
}
