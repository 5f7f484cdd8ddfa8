/*
 * channel.h: sockets to zygotes and runs: bytes and descriptors in and out, without blocking and without SIGPIPE.
 *
 * Descriptors are only taken from who is trusted with it: the zygote, and a run until it is told to start. Reads of what
 * a run sends after that offer no room for descriptors, so the kernel drops what it attaches. Threads: no state.
 */
#ifndef QN_PROCESSOR_CHANNEL_H
#define QN_PROCESSOR_CHANNEL_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define QN_CHANNEL_MAX_FDS 3

/* A pair of connected sockets (SOCK_STREAM or SOCK_SEQPACKET), close-on-exec, above the standard descriptors. */
enum qn_status qn_channel_pair(int type, int ends_out[2], struct qn_error *err) QN_MUST_CHECK;

/* One message or as much as fits, with n_fds descriptors. The number of bytes sent; -1: errno (EAGAIN: full). */
ssize_t qn_channel_send(int socket, struct iovec *pieces, size_t n_pieces, const int *fds, size_t n_fds);

/* Receive; *fd_out: the first descriptor attached, close-on-exec, or -1 (any others are closed). Bytes; 0: end; -1: errno
 * (EAGAIN: nothing there). */
ssize_t qn_channel_receive_fd(int socket, void *bytes, size_t size, int *fd_out);
/* The same without room for descriptors. */
ssize_t qn_channel_receive(int socket, void *bytes, size_t size);

void qn_channel_close(int *fd); /* sets it to -1 */

#endif
