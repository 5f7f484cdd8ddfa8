/*
 * fetch_worker.c: the threads of a fetch: each takes the next location, asks for its data and writes it as it comes.
 *
 * The caller's thread waits, shows progress and asks the interrupt callback; it tells the workers to stop by a flag, which
 * they see in whatever they wait (the wait hook of their thread), so that they end soon. It returns when all have ended.
 * Threads are started as they are needed, twice as many after each WAIT_MS in which locations wait: a thread may cost its
 * connector a process, which a few small locations are not worth.
 * Nothing is shared by the workers but the pool: the place in the queue, numbers for progress, the flag.
 */
#include "arrow/stream.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/text.h"
#include "bundle/fetch_private.h"
#include "os/clock.h"

#include <pthread.h>
#include <qanat/plugin/driver.h>
#include <stdlib.h>
#include <time.h>

#define WAIT_MS     20
#define PROGRESS_NS INT64_C(100000000)

struct pool {
    struct qn__fetch_source *run;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next;                               /* job; under the lock, as all down to `failure` */
    int64_t done, total;                       /* locations */
    int working;                               /* threads */
    pthread_t threads[QN__FETCH_MAX_PARALLEL]; /* the caller's, as `started` is */
    int started;
    bool failed; /* the bundle's folder did */
    struct qn_error failure;
    atomic_bool stop;
    atomic_int_least64_t rows, bytes;
};

/* ---- one location ----------------------------------------------------------------------------------------------- */

static enum qn_status watch_batch(void *context, int64_t rows, int64_t bytes, struct qn_error *err)
{
    struct pool *pool = context;
    atomic_fetch_add_explicit(&pool->rows, rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->bytes, bytes, memory_order_relaxed);
    return atomic_load_explicit(&pool->stop, memory_order_relaxed)
               ? qn_error_set(err, QN_ERR_CANCELLED, "the fetch was cancelled")
               : QN_OK;
}

static enum qn_status hear_stop(void *context, struct qn_error *err)
{
    return watch_batch(context, 0, 0, err);
}

/* A stream without columns and rows, for a location that has no data. */
static enum qn_status no_data(struct ArrowArrayStream *out, struct qn_error *err)
{
    qn_auto_schema schema = { 0 };
    QN_TRY(qn_schema_struct(&schema, 0, err));
    return qn_stream_from_arrays(&schema, NULL, 0, out, err);
}

/* A commit has to hold it. */
static enum qn_status check_url(const struct qn__job *job, const char *url, const struct pool *pool,
                                struct qn_error *err)
{
    enum qn_status status = qn__url_check(url, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "connector \"%.80s\": location \"%.200s\"", pool->run->source->connector,
                        job->location.location);
    }
    return status;
}

static enum qn_status copy_location(struct pool *pool, struct qn__job *job, bool *bundle_failed, struct qn_error *err)
{
    const struct qn__fetch_source *run = pool->run;
    const struct qn_data_request request = QN_DATA_REQUEST_INIT;
    qn_auto_stream stream = { 0 };
    QN_TRY(qn_connector_data(run->connector, &job->location, &request, &stream, err));
    if (stream.release == NULL) {
        QN_TRY(no_data(&stream, err));
    }
    const struct qn__block_writing writing = { .bundle_fd = run->fetch->bundle->fd,
                                               .format = run->source->save_as,
                                               .digest_only = run->fetch->options.dry_run,
                                               .watch = watch_batch,
                                               .context = pool };
    QN_TRY(qn__block_write(&writing, &stream, &job->block, bundle_failed, err));
    if (writing.digest_only) {
        return QN_OK;
    }
    QN_TRY(qn_connector_stable_url(run->connector, &job->location, &job->origin, err));
    return job->origin == NULL ? QN_OK : check_url(job, job->origin, pool, err);
}

/* A path that is not absolute is one of the source's folder or the current one, if it is there; else it is the bundle's. */
static enum qn_status whole_path(char **url, const char *folder, struct qn_error *err)
{
    if ((*url)[0] == '/' || strstr(*url, "://") != NULL) {
        return QN_OK;
    }
    qn_auto_buffer below = QN_BUFFER_INIT;
    qn_buffer_printf(&below, "%s/%s", folder != NULL ? folder : ".", *url);
    char *path = below.failure == QN_BUFFER_FINE ? realpath(qn_buffer_text(&below), NULL) : NULL;
    if (path == NULL) {
        path = realpath(*url, NULL);
    }
    if (path == NULL) {
        return QN_OK;
    }
    char *copy = qn_strdup(path);
    free(path); /* realpath's */
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    qn_free(*url);
    *url = copy;
    return QN_OK;
}

static enum qn_status refer_to_location(struct pool *pool, struct qn__job *job, struct qn_error *err)
{
    const struct qn__fetch_source *run = pool->run;
    char *stable = NULL;
    QN_TRY(qn_connector_stable_url(run->connector, &job->location, &stable, err));
    job->url = qn_strdup(stable != NULL ? stable : job->location.location);
    qn_text_free(stable);
    if (job->url == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn__url_check(job->url, err));
    if (!qn__reference_is_readable(job->url)) {
        return qn_error_set(err, QN_ERR_DATA,
                            "it is not to be copied, and \"%.300s\" is neither a file nor an http or https URL",
                            job->url);
    }
    QN_TRY(whole_path(&job->url, run->source->folder, err));
    QN_TRY(qn__reference_attach(job->url, run->fetch->place.folder, job->location.format, run->fetch->place.timeout,
                                &job->block, err));
    return watch_batch(pool, job->block.rows > 0 ? job->block.rows : 0, 0, err);
}

/* Another version is another block, whatever it holds: the commit says which one was seen last. */
static bool is_same(const struct qn__job *job)
{
    const struct qn_change *known = &job->known->change;
    if (job->location.version[0] != '\0' && !qn_text_equal(known->version, job->location.version)) {
        return false;
    }
    bool same_place = job->url != NULL ? known->url != NULL && qn_text_equal(known->url, job->url) : known->url == NULL;
    return same_place && qn_text_equal(known->sha256, job->block.sha256) &&
           qn_text_equal(known->format, job->block.format);
}

static void do_job(struct pool *pool, struct qn__job *job)
{
    struct qn_error error = QN_ERROR_INIT;
    bool bundle_failed = false, refer = !job->location.must_copy;
    qn_wait_hook_set(hear_stop, pool);
    enum qn_status status =
        refer ? refer_to_location(pool, job, &error) : copy_location(pool, job, &bundle_failed, &error);
    if (refer && status != QN_OK && status != QN_ERR_CANCELLED && error.status != QN_ERR_CONNECTOR) {
        qn_error_prefix(&error, "connector \"%.80s\": location \"%.200s\"", pool->run->source->connector,
                        job->location.location);
    }
    if (status == QN_OK) {
        job->outcome = job->kind == QN__JOB_COMPARE && is_same(job) ? QN__JOB_SAME : QN__JOB_DONE;
    } else if (bundle_failed) {
        (void)pthread_mutex_lock(&pool->lock);
        if (!pool->failed) {
            pool->failed = true;
            pool->failure = error;
        }
        (void)pthread_mutex_unlock(&pool->lock);
        atomic_store(&pool->stop, true);
    } else if (status != QN_ERR_CANCELLED || !atomic_load(&pool->stop)) {
        qn__job_fail(job, &error);
    }
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct pool *pool, const struct qn__job *job)
{
    if (job->outcome != QN__JOB_WAITING || job->kind == QN__JOB_NOTHING) {
        return false;
    }
    return !pool->run->fetch->options.dry_run || job->kind == QN__JOB_COMPARE;
}

/* The next job, or NULL. `ended`: the thread has done one. */
static struct qn__job *take_job(struct pool *pool, bool ended)
{
    struct qn__job *job = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    pool->done += ended;
    while (job == NULL && pool->next < pool->run->n_jobs && !atomic_load(&pool->stop)) {
        struct qn__job *next = &pool->run->jobs[pool->next++];
        job = is_wanted(pool, next) ? next : NULL;
    }
    if (job == NULL && --pool->working == 0) {
        (void)pthread_cond_signal(&pool->changed);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return job;
}

static void *work(void *context)
{
    struct pool *pool = context;
    struct qn__job *job = take_job(pool, false);
    while (job != NULL) {
        do_job(pool, job);
        job = take_job(pool, true);
    }
    qn_wait_hook_set(NULL, NULL);
    return NULL;
}

/* As many again as there are, while locations wait; fewer where the system gives no more, but one. */
static enum qn_status start_threads(struct pool *pool, struct qn_error *err)
{
    int most = pool->total < pool->run->fetch->parallel ? (int)pool->total : pool->run->fetch->parallel;
    int wanted = pool->started > 0 ? 2 * pool->started : 1;
    wanted = wanted < most ? wanted : most;
    bool more = pool->started < wanted;
    while (more && pool->started < wanted) {
        (void)pthread_mutex_lock(&pool->lock);
        pool->working++;
        (void)pthread_mutex_unlock(&pool->lock);
        more = pthread_create(&pool->threads[pool->started], NULL, work, pool) == 0;
        pool->started += more;
    }
    if (!more && pool->started < wanted) {
        (void)pthread_mutex_lock(&pool->lock);
        pool->working--;
        (void)pthread_mutex_unlock(&pool->lock);
    }
    return pool->started > 0 || most == 0 ? QN_OK : qn_error_set(err, QN_ERR_NO_MEMORY, "no thread could be started");
}

/* Say how it stands; whether the caller has had enough. */
static bool report(struct pool *pool, int64_t done)
{
    const struct qn__fetch *fetch = pool->run->fetch;
    if (fetch->options.progress == NULL) {
        return false;
    }
    const struct qn_fetch_progress progress = { .struct_size = sizeof progress,
                                                .source = pool->run->source->connector,
                                                .locations = done,
                                                .locations_total = pool->total,
                                                .rows = atomic_load(&pool->rows),
                                                .bytes = atomic_load(&pool->bytes),
                                                .seconds = (double)(qn_clock_nanos() - fetch->started) / 1e9 };
    return fetch->options.progress(fetch->options.progress_context, &progress) != 0;
}

/* Wait a little, or until the last thread has no more to do; whether it has. *waiting_out: locations that none has taken. */
static bool wait_for_end(struct pool *pool, int64_t *done_out, bool *waiting_out)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&pool->lock);
    int code = 0;
    while (pool->working > 0 && code == 0) {
        code = pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
    }
    bool ended = pool->working == 0;
    *done_out = pool->done;
    *waiting_out = pool->next < pool->run->n_jobs;
    (void)pthread_mutex_unlock(&pool->lock);
    return ended;
}

/* Until all threads have ended: progress and interrupts. */
static enum qn_status watch_pool(struct pool *pool, struct qn_error *err)
{
    enum qn_status status = QN_OK;
    int64_t said = 0, done = 0;
    bool ended = false, waiting = false;
    while (!ended) {
        ended = wait_for_end(pool, &done, &waiting);
        if (status != QN_OK) {
            continue;
        }
        status = qn_interrupt_poll(err);
        if (status == QN_OK && waiting && !ended && !atomic_load(&pool->stop)) {
            status = start_threads(pool, err);
        }
        int64_t now = qn_clock_nanos();
        if (status == QN_OK && (ended || now - said >= PROGRESS_NS)) {
            said = now;
            status = report(pool, done) ? qn_error_set(err, QN_ERR_CANCELLED, "the fetch was cancelled") : QN_OK;
        }
        if (status != QN_OK) {
            atomic_store(&pool->stop, true);
        }
    }
    return status;
}

static enum qn_status pool_init(struct pool *pool, struct qn__fetch_source *run, struct qn_error *err)
{
    pthread_condattr_t attributes;
    *pool = (struct pool){ .run = run };
    for (size_t i = 0; i < run->n_jobs; i++) {
        pool->total += is_wanted(pool, &run->jobs[i]);
    }
    if (pthread_condattr_init(&attributes) != 0) {
        return qn__no_memory(err);
    }
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    bool failed = pthread_mutex_init(&pool->lock, NULL) != 0;
    if (!failed && pthread_cond_init(&pool->changed, &attributes) != 0) {
        (void)pthread_mutex_destroy(&pool->lock);
        failed = true;
    }
    (void)pthread_condattr_destroy(&attributes);
    return failed ? qn__no_memory(err) : QN_OK;
}

enum qn_status qn__fetch_run(struct qn__fetch_source *run, struct qn_error *err)
{
    struct pool pool;
    QN_TRY(pool_init(&pool, run, err));
    enum qn_status status = start_threads(&pool, err);
    if (status == QN_OK) {
        status = watch_pool(&pool, err);
    }
    for (int i = 0; i < pool.started; i++) {
        (void)pthread_join(pool.threads[i], NULL);
    }
    if (pool.failed) {
        status = pool.failure.status;
        if (err != NULL) {
            *err = pool.failure;
        }
    }
    (void)pthread_cond_destroy(&pool.changed);
    (void)pthread_mutex_destroy(&pool.lock);
    return status;
}
