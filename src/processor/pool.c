/*
 * pool.c: the table of zygotes.
 *
 * States of an entry: STARTING (one thread waits for its hello; others wait for that thread), READY (in the table, to be
 * found), RETIRED (ended with its last user), FAILED (kept for those who waited for it). Every child that is out, every
 * thread that starts or waits, holds a reference; entries leave the table under the lock and are ended outside of it.
 *
 * Fork: the handlers of pthread_atfork hold the lock across fork(), so that the child finds the table whole; there all
 * descriptors are closed at once. A copy of a control socket in a child would keep interpreters alive after their engine.
 */
#include "processor/pool.h"

#include "base/log.h"
#include "base/memory.h"
#include "os/clock.h"
#include "os/poll.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <qanat/plugin/driver.h>
#include <time.h>

#define BUSY_PAUSE_MS 1

enum state { STARTING, READY, RETIRED, FAILED };

struct qn_pool_entry {
    struct qn_pool_entry *next;
    char *key;
    size_t key_size;
    enum state state;
    size_t references;
    int64_t used_at;
    struct qn_zygote zygote;
    struct qn_child ready[QN_POOL_MAX_READY]; /* oldest first */
    size_t n_ready;
    struct qn_error failure; /* FAILED */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* an entry is STARTING no more */
    struct qn_pool_entry *entries;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* ---- entries (under the lock, but for end_entries) ---- */

static void unlink_entry(struct qn_pool_entry *entry)
{
    struct qn_pool_entry **place = &pool.entries;
    while (*place != NULL && *place != entry) {
        place = &(*place)->next;
    }
    if (*place != NULL) {
        *place = entry->next;
    }
    entry->next = NULL;
}

static void drop_ready(struct qn_pool_entry *entry, size_t i)
{
    qn_child_close(&entry->ready[i]); /* the zygote kills and reaps it */
    entry->n_ready--;
    memmove(&entry->ready[i], &entry->ready[i + 1], (entry->n_ready - i) * sizeof *entry->ready);
}

/* End what has been unlinked. Not under the lock. */
static void end_entries(struct qn_pool_entry *list)
{
    while (list != NULL) {
        struct qn_pool_entry *next = list->next;
        while (list->n_ready > 0) {
            drop_ready(list, list->n_ready - 1);
        }
        qn_zygote_end(&list->zygote);
        qn_free(list->key);
        qn_free(list);
        list = next;
    }
}

/* Out of the table with its last user; *dead_out collects what the caller ends outside of the lock. */
static void leave_entry(struct qn_pool_entry *entry, struct qn_pool_entry **dead_out)
{
    entry->references--;
    entry->used_at = qn_clock_nanos();
    if (entry->references == 0 && entry->state != READY) {
        unlink_entry(entry);
        entry->next = *dead_out;
        *dead_out = entry;
    }
}

static void retire(struct qn_pool_entry *entry, struct qn_pool_entry **dead_out)
{
    entry->state = RETIRED;
    entry->references++;
    leave_entry(entry, dead_out);
}

/* Retire what has been idle for too long, and, where another is to come, the least recently used idle ones beyond the
 * maximum. */
static void retire_idle(bool another, struct qn_pool_entry **dead_out)
{
    int64_t now = qn_clock_nanos();
    for (;;) {
        size_t n = 0;
        struct qn_pool_entry *oldest = NULL;
        for (struct qn_pool_entry *entry = pool.entries; entry != NULL; entry = entry->next) {
            n++;
            if (entry->state == READY && entry->references == 0 &&
                (oldest == NULL || entry->used_at < oldest->used_at)) {
                oldest = entry;
            }
        }
        bool full = another && n >= QN_POOL_MAX_ZYGOTES;
        if (oldest == NULL || (!full && now - oldest->used_at < QN_POOL_IDLE_NANOS)) {
            return;
        }
        retire(oldest, dead_out);
    }
}

static void unlock_and_end(struct qn_pool_entry *dead)
{
    (void)pthread_mutex_unlock(&pool.lock);
    end_entries(dead);
}

/* ---- fork ---- */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&pool.lock);
}

static void after_fork_parent(void)
{
    (void)pthread_mutex_unlock(&pool.lock);
}

/* The interpreters are the parent's: close what leads to them, forget them. Entries in use are freed with their users. */
static void after_fork_child(void)
{
    struct qn_pool_entry *entry = pool.entries;
    pool.entries = NULL;
    while (entry != NULL) {
        struct qn_pool_entry *next = entry->next;
        entry->next = NULL;
        entry->state = RETIRED;
        while (entry->n_ready > 0) {
            drop_ready(entry, entry->n_ready - 1);
        }
        qn_zygote_end(&entry->zygote);
        if (entry->references == 0) {
            end_entries(entry);
        }
        entry = next;
    }
    pool.changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER; /* its waiters are not in this process */
    (void)pthread_mutex_unlock(&pool.lock);
}

static void watch_forks(void)
{
    (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ---- finding and starting ---- */

static struct qn_pool_entry *find_entry(const struct qn_buffer *key)
{
    for (struct qn_pool_entry *entry = pool.entries; entry != NULL; entry = entry->next) {
        if ((entry->state == STARTING || entry->state == READY) && entry->key_size == key->size &&
            memcmp(entry->key, key->data, key->size) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* Launch a zygote and put it into the table as STARTING, with a reference of the caller's. Under the lock: a fork must not
 * come between the socket and the table. */
static enum qn_status launch_entry(const struct qn_zygote_spec *spec, const struct qn_buffer *key,
                                   struct qn_pool_entry **out, struct qn_error *err)
{
    qn_auto_free struct qn_pool_entry *made = qn_calloc(1, sizeof *made);
    qn_auto_free char *own_key = qn_strndup(key->data, key->size);
    if (made == NULL || own_key == NULL) {
        return qn__no_memory(err);
    }
    made->zygote = (struct qn_zygote)QN_ZYGOTE_INIT;
    QN_TRY(qn_zygote_launch(spec, &made->zygote, err));
    made->key = qn_steal(&own_key);
    made->key_size = key->size;
    made->state = STARTING;
    made->references = 1;
    made->next = pool.entries;
    *out = pool.entries = qn_steal(&made);
    return QN_OK;
}

/* Wait for the hello of an entry of launch_entry. On failure the reference is given up. */
static enum qn_status start_entry(struct qn_pool_entry *entry, const struct qn_zygote_spec *spec, struct qn_error *err)
{
    struct qn_error error = QN_ERROR_INIT;
    enum qn_status status = qn_zygote_await(&entry->zygote, spec, &error);
    struct qn_pool_entry *dead = NULL;
    (void)pthread_mutex_lock(&pool.lock);
    if (status == QN_OK) {
        entry->state = entry->state == STARTING ? READY : entry->state; /* it may have been retired meanwhile */
    } else {
        entry->state = FAILED;
        entry->failure = error;
        leave_entry(entry, &dead);
    }
    (void)pthread_cond_broadcast(&pool.changed);
    unlock_and_end(dead);
    if (status != QN_OK && err != NULL) {
        *err = error;
    }
    return status;
}

/* Wait, with the lock, while another thread starts the entry; interrupts are asked for without it. What failed for the
 * other thread has failed for this one too, unless it was interrupted. */
static enum qn_status wait_for_start(struct qn_pool_entry *entry, struct qn_pool_entry **dead, struct qn_error *err)
{
    enum qn_status status = QN_OK;
    entry->references++;
    while (status == QN_OK && entry->state == STARTING) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += QN_POLL_SLICE_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        if (pthread_cond_timedwait(&pool.changed, &pool.lock, &until) == ETIMEDOUT) {
            (void)pthread_mutex_unlock(&pool.lock);
            status = qn_interrupt_poll(err);
            (void)pthread_mutex_lock(&pool.lock);
        }
    }
    if (status == QN_OK && entry->state == FAILED && entry->failure.status != QN_ERR_CANCELLED) {
        status = entry->failure.status;
        if (err != NULL) {
            *err = entry->failure;
        }
    }
    leave_entry(entry, dead);
    return status;
}

/* A zygote that is ready, with a reference. */
static enum qn_status enter(const struct qn_zygote_spec *spec, const struct qn_buffer *key, struct qn_pool_entry **out,
                            struct qn_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch_forks);
    struct qn_pool_entry *dead = NULL;
    struct qn_pool_entry *entry = NULL;
    enum qn_status status = QN_OK;
    bool launched = false;
    (void)pthread_mutex_lock(&pool.lock);
    while (status == QN_OK) {
        entry = find_entry(key);
        if (entry != NULL && entry->state == STARTING) {
            status = wait_for_start(entry, &dead, err);
        } else if (entry != NULL && qn_zygote_gone(&entry->zygote)) {
            if (qn_zygote_was_idle(&entry->zygote)) {
                QN_LOG(QN_LOG_DEBUG, "processor", "an interpreter that nobody used has ended; another is started");
            } else {
                QN_LOG(QN_LOG_WARNING, "processor", "an interpreter ended by itself; another is started");
            }
            retire(entry, &dead);
        } else {
            break;
        }
    }
    retire_idle(entry == NULL, &dead);
    if (status == QN_OK && entry != NULL) {
        entry->references++;
    } else if (status == QN_OK) {
        status = launch_entry(spec, key, &entry, err);
        launched = status == QN_OK;
    }
    unlock_and_end(dead);
    if (launched) {
        status = start_entry(entry, spec, err);
    }
    if (status == QN_OK) {
        *out = entry;
    }
    return status;
}

/* ---- children ---- */

static bool same_kind(struct qn_child_kind a, struct qn_child_kind b)
{
    return a.network == b.network && a.memory == b.memory;
}

/* The oldest that stands ready, claimed; those that have gone with an idle zygote are passed over. */
static bool pick_ready(struct qn_pool_entry *entry, struct qn_child_kind kind, struct qn_child *out)
{
    for (size_t i = 0; i < entry->n_ready;) {
        if (!same_kind(entry->ready[i].kind, kind)) {
            i++;
        } else if (!qn_child_claim(&entry->ready[i])) {
            drop_ready(entry, i);
        } else {
            *out = entry->ready[i];
            entry->n_ready--;
            memmove(&entry->ready[i], &entry->ready[i + 1], (entry->n_ready - i) * sizeof *entry->ready);
            return true;
        }
    }
    return false;
}

/* A child that was forked ahead, or a new one. QN_ERR_BUSY: the zygote does not read its requests just now. */
static enum qn_status pick_child(struct qn_pool_entry *entry, struct qn_child_kind kind, struct qn_child *out,
                                 struct qn_error *err)
{
    enum qn_status status = QN_OK;
    (void)pthread_mutex_lock(&pool.lock);
    if (!pick_ready(entry, kind, out)) {
        status = qn_child_request(&entry->zygote, kind, out, err);
        if (status == QN_OK) {
            (void)qn_child_claim(out); /* where it cannot be, its zygote has ended: waiting for it says so */
        }
    }
    (void)pthread_mutex_unlock(&pool.lock);
    return status;
}

/* A child of the entry that is locked down. */
static enum qn_status get_child(struct qn_pool_entry *entry, struct qn_child_kind kind, struct qn_child *out,
                                struct qn_error *err)
{
    int64_t deadline = qn_deadline_after_ms(QN_CHILD_START_MS);
    struct qn_child child = QN_CHILD_INIT;
    enum qn_status status = pick_child(entry, kind, &child, err);
    while (status == QN_ERR_BUSY) {
        if (qn_clock_nanos() >= deadline) {
            return QN_ERR_TIMEOUT; /* of a long time: what is the matter stands in err */
        }
        QN_TRY(qn_poll_one(entry->zygote.control, POLLOUT, deadline, NULL));
        (void)poll(NULL, 0, BUSY_PAUSE_MS); /* descriptors in flight are not waited for by a socket */
        status = pick_child(entry, kind, &child, err);
    }
    if (status == QN_OK) {
        status = qn_child_await(&child, err);
    }
    if (status != QN_OK) {
        qn_child_close(&child);
        return status;
    }
    *out = child;
    return QN_OK;
}

/* What fails so may be the interpreter's own: it has ended, it hangs, or it has run out of something. */
static bool blames_zygote(enum qn_status status)
{
    return status == QN_ERR_CLOSED || status == QN_ERR_TIMEOUT || status == QN_ERR_IO;
}

/* A child could not be had: leave the entry, which serves nobody else where it may be to blame. *said_out: what its
 * interpreter last said. */
static void leave_after_failure(struct qn_pool_entry *entry, enum qn_status why, char *said_out, size_t size)
{
    struct qn_pool_entry *dead = NULL;
    (void)pthread_mutex_lock(&pool.lock);
    qn_zygote_drain(&entry->zygote);
    qn_zygote_last_words(&entry->zygote, said_out, size);
    if (entry->state == READY && blames_zygote(why)) {
        QN_LOG(QN_LOG_WARNING, "processor", "an interpreter that gives no process is replaced");
        entry->state = RETIRED;
    }
    leave_entry(entry, &dead);
    unlock_and_end(dead);
}

/* Processes ended under our hands, again and again. */
static enum qn_status no_child(const struct qn_error *last, const char *said, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_IO, "no process for the run can be had: %s%s%s", last->message,
                        said[0] != '\0' ? ": " : "", said);
}

enum qn_status qn_pool_take(const struct qn_zygote_spec *spec, const struct qn_buffer *key, struct qn_child_kind kind,
                            struct qn_pool_child *out, struct qn_error *err)
{
    qn_auto_buffer whole = QN_BUFFER_INIT;
    qn_buffer_append(&whole, key->data, key->size);
    qn_buffer_printf(&whole, "\n%d\n%s", (int)spec->tier, spec->modules);
    QN_TRY(qn_buffer_check(&whole, "the key of an interpreter", err));
    struct qn_error error = QN_ERROR_INIT;
    char said[512] = "";
    for (int attempt = 0; attempt < QN_POOL_MAX_ATTEMPTS; attempt++) {
        struct qn_pool_entry *entry = NULL;
        QN_TRY(enter(spec, &whole, &entry, err));
        enum qn_status status = get_child(entry, kind, &out->child, &error);
        if (status == QN_OK) {
            out->home = entry;
            return QN_OK;
        }
        leave_after_failure(entry, status, said, sizeof said);
        if (status != QN_ERR_CLOSED) {
            if (err != NULL) {
                *err = error;
            }
            return status;
        }
    }
    return no_child(&error, said, err);
}

void qn_pool_refill(const struct qn_pool_child *taken)
{
    struct qn_pool_entry *entry = taken->home;
    struct qn_child_kind kind = taken->child.kind;
    (void)pthread_mutex_lock(&pool.lock);
    qn_zygote_drain(&entry->zygote);
    size_t same = 0;
    for (size_t i = 0; i < entry->n_ready; i++) {
        same += same_kind(entry->ready[i].kind, kind);
    }
    while (entry->state == READY && same < QN_POOL_READY) {
        if (entry->n_ready == QN_POOL_MAX_READY) {
            size_t oldest = 0;
            while (same_kind(entry->ready[oldest].kind, kind)) {
                oldest++; /* there is another kind: `same` is less than the maximum */
            }
            drop_ready(entry, oldest);
        }
        if (qn_child_request(&entry->zygote, kind, &entry->ready[entry->n_ready], NULL) != QN_OK) {
            break; /* the next run asks for itself */
        }
        entry->n_ready++;
        same++;
    }
    (void)pthread_mutex_unlock(&pool.lock);
}

void qn_pool_give_back(struct qn_pool_child *taken)
{
    qn_child_close(&taken->child);
    struct qn_pool_entry *dead = NULL;
    (void)pthread_mutex_lock(&pool.lock);
    leave_entry(taken->home, &dead);
    unlock_and_end(dead);
    taken->home = NULL;
}

void qn_processor_shutdown(void)
{
    struct qn_pool_entry *dead = NULL;
    (void)pthread_mutex_lock(&pool.lock);
    struct qn_pool_entry *entry = pool.entries;
    while (entry != NULL) {
        struct qn_pool_entry *next = entry->next;
        if (entry->state == READY) {
            retire(entry, &dead);
        }
        entry = next;
    }
    unlock_and_end(dead);
}

size_t qn__pool_size(void)
{
    (void)pthread_mutex_lock(&pool.lock);
    size_t n = 0;
    for (const struct qn_pool_entry *entry = pool.entries; entry != NULL; entry = entry->next) {
        n++;
    }
    (void)pthread_mutex_unlock(&pool.lock);
    return n;
}
