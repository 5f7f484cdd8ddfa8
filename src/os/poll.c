/*
 * poll.c: waiting in slices.
 *
 * What is ready wins over a deadline that has passed and over an interrupt: descriptors are looked at first. A caller
 * that loops over descriptors which are always ready asks qn_interrupt_poll itself. Threads: no state.
 */
#include "os/poll.h"

#include "os/clock.h"

#include <errno.h>
#include <qanat/plugin/driver.h>

enum qn_status qn_poll_many(struct pollfd *entries, size_t count, int64_t deadline, struct qn_error *err)
{
    for (;;) {
        int64_t left = qn_deadline_remaining_ms(deadline);
        int ready = poll(entries, count, (int)(left < QN_POLL_SLICE_MS ? left : QN_POLL_SLICE_MS));
        if (ready > 0) {
            return QN_OK;
        }
        if (ready < 0 && errno != EINTR) {
            return qn_error_set(err, QN_ERR_IO, "waiting for %zu descriptors: %m", count);
        }
        QN_TRY(qn_interrupt_poll(err));
        if (ready == 0 && left == 0) {
            return qn_error_set(err, QN_ERR_TIMEOUT, "the time limit has passed");
        }
    }
}

enum qn_status qn_poll_one(int fd, short events, int64_t deadline, struct qn_error *err)
{
    struct pollfd entry = { .fd = fd, .events = events };
    return qn_poll_many(&entry, 1, deadline, err);
}
