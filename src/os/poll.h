/*
 * poll.h: waiting for descriptors, with deadline and interrupt.
 *
 * Waits are cut into slices of at most QN_POLL_SLICE_MS, between which the interrupt callback is asked; EINTR is only a
 * reason to ask at once. Threads: no state.
 */
#ifndef QN_OS_POLL_H
#define QN_OS_POLL_H

#include "base/status.h"

#include <poll.h>
#include <stdint.h>

#define QN_POLL_SLICE_MS 50

/* Wait until `fd` is ready for `events` (POLLIN, POLLOUT), an error on it counting as ready. QN_ERR_TIMEOUT once the
 * deadline (clock.h) passes, QN_ERR_CANCELLED by the interrupt callback. */
enum qn_status qn_poll_one(int fd, short events, int64_t deadline, struct qn_error *err) QN_MUST_CHECK;

/* The same for several; revents are filled in. Entries with fd -1 are ignored. */
enum qn_status qn_poll_many(struct pollfd *entries, size_t count, int64_t deadline, struct qn_error *err) QN_MUST_CHECK;

#endif
