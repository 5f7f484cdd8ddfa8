/*
 * connector_private.h: what the files of the connector core share. Not for other folders.
 *
 * A connector is counted: its owner has one reference until qn_connector_free, each stream has one. After
 * qn_connector_free what is left of it is a shell that says that it is closed.
 * Threads: `lock` guards `streams`, `closed` and the turn, which a thread has during every call of a runtime that takes one
 * at a time. Order: a stream's lock, then the turn; nothing is called under `lock`.
 */
#ifndef QN_CONNECTOR_PRIVATE_H
#define QN_CONNECTOR_PRIVATE_H

#include "base/status.h"

#include <pthread.h>
#include <qanat/plugin/connector.h>
#include <sys/types.h>

#define QN__SHOWN_NAME 256 /* bytes of a name in a message, with its NUL */

struct qn__data;

struct qn_connector {
    int references;
    pid_t owner;
    const struct qn_connector_runtime *runtime;
    void *self;
    char name[QN__SHOWN_NAME]; /* fit for a message */
    int64_t patience_ms;       /* options.timeout */
    int retries;
    struct qn_connector_events events;
    pthread_mutex_t lock;
    pthread_cond_t turn_ended;
    pthread_t turn; /* whose it is; where turns > 0 */
    int turns;      /* that this thread has taken: a callback may use the connector */
    struct qn__data *streams;
    bool closed;
};

void qn__connector_unref(struct qn_connector *connector);

/* QN_ERR_CLOSED after qn_connector_free and in another process. */
enum qn_status qn__connector_usable(struct qn_connector *connector, struct qn_error *err) QN_MUST_CHECK;

/* Around each call of the runtime and of its streams. Waits for its turn, asking qn_interrupt_poll. */
enum qn_status qn__connector_begin(struct qn_connector *connector, struct qn_error *err) QN_MUST_CHECK;
void qn__connector_begin_always(struct qn_connector *connector); /* waits, whatever is asked meanwhile */
void qn__connector_end(struct qn_connector *connector);

/* A text from outside made fit for a message: cut, and without what is not printable. */
void qn__shown_name(const char *text, char out[QN__SHOWN_NAME]);

/* A failure of the runtime as one of the connector: its status, and who and what (`location` may be NULL) before its
 * message. Returns the new status, which is in *err too. */
enum qn_status qn__connector_failed(const struct qn_connector *connector, const char *location, enum qn_status status,
                                    struct qn_error *err);

/* ---- retries ---- */

struct qn__retries {
    int used;
};

/* What the wait before a first retry is about; tests that retry much make it short. */
extern int64_t qn__connector_first_wait_ms;

/* Whether the call that failed with *err may be made again; where it may, the time until then has been waited. False where it
 * may not, *err being why, and where the wait was interrupted, *err being that. */
bool qn__connector_retry(const struct qn_connector *connector, struct qn__retries *retries, struct qn_error *err);

/* ---- streams ---- */

/* The streams that are open: they fail from now on. */
void qn__data_close_all(struct qn_connector *connector);

#endif
