/*
 * retry.c: whether and when a call is made again.
 *
 * The wait doubles with each failure and has a random part, so that many callers do not come back at once; it is never
 * shorter than the connector has asked for. Who would have to wait longer than a call may be silent gets the error instead:
 * it still says that it is retryable, and when. Threads: no state.
 */
#include "connector/connector_private.h"
#include "os/clock.h"

#include <poll.h>
#include <qanat/plugin/driver.h>
#include <sys/random.h>

#define MAX_WAIT_MS   30000
#define MAX_DOUBLINGS 16
#define SLICE_MS      50

int64_t qn__connector_first_wait_ms = 100;

/* A number within [0, below). */
static int64_t random_below(int64_t below)
{
    uint32_t bits = 0;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits) {
        bits = (uint32_t)qn_clock_nanos();
    }
    return below > 0 ? (int64_t)(bits % (uint64_t)below) : 0;
}

static int64_t wait_of(int failures, int64_t asked_ms)
{
    int doublings = failures < MAX_DOUBLINGS ? failures : MAX_DOUBLINGS;
    int64_t base = qn__connector_first_wait_ms << doublings;
    base = base < MAX_WAIT_MS ? base : MAX_WAIT_MS;
    if (asked_ms >= base) {
        return asked_ms + random_below(asked_ms / 8 + 1);
    }
    int64_t chosen = base / 2 + random_below(base);
    return chosen > asked_ms ? chosen : asked_ms;
}

static enum qn_status wait_interruptibly(int64_t milliseconds, struct qn_error *err)
{
    int64_t deadline = qn_clock_nanos() + milliseconds * 1000000;
    for (;;) {
        int64_t left = (deadline - qn_clock_nanos() + 999999) / 1000000;
        if (left <= 0) {
            return QN_OK;
        }
        QN_TRY(qn_interrupt_poll(err));
        (void)poll(NULL, 0, (int)(left < SLICE_MS ? left : SLICE_MS));
    }
}

bool qn__connector_retry(const struct qn_connector *connector, struct qn__retries *retries, struct qn_error *err)
{
    if (!err->retryable || retries->used >= connector->retries || err->retry_after_ms > connector->patience_ms) {
        return false;
    }
    struct qn_error interrupted = QN_ERROR_INIT;
    if (wait_interruptibly(wait_of(retries->used, err->retry_after_ms), &interrupted) != QN_OK) {
        *err = interrupted;
        return false;
    }
    retries->used++;
    return true;
}
