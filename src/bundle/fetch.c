/*
 * fetch.c: a fetch as a whole: which sources, one after another, and what is said of them afterwards.
 *
 * A source that fails does not keep the others from running. What was attached stays pending, whatever happens after it.
 * Threads: see bundle_private.h; the threads of fetch_worker.c have ended whenever code of this file runs.
 */
#include "base/memory.h"
#include "base/text.h"
#include "bundle/fetch_private.h"
#include "os/clock.h"

#include <stdio.h>

/* ---- results ---------------------------------------------------------------------------------------------------- */

static void put_text(struct qn_buffer *out, const char *key, const char *text)
{
    qn_buffer_printf(out, "\"%s\":", key);
    qn_commit_put_text(out, text);
}

static bool is_added(const struct qn__fetch *fetch, const struct qn__job *job)
{
    bool taken = fetch->options.dry_run ? job->outcome == QN__JOB_WAITING : job->outcome == QN__JOB_DONE;
    return job->kind == QN__JOB_ADD && taken;
}

static bool is_replaced(const struct qn__fetch *fetch, const struct qn__job *job)
{
    if (job->kind == QN__JOB_REPLACE && fetch->options.dry_run) {
        return job->outcome == QN__JOB_WAITING;
    }
    return (job->kind == QN__JOB_REPLACE || job->kind == QN__JOB_COMPARE) && job->outcome == QN__JOB_DONE;
}

static bool is_failed(const struct qn__fetch *fetch, const struct qn__job *job)
{
    (void)fetch;
    return job->outcome == QN__JOB_FAILED;
}

static void put_failure(struct qn_buffer *out, const char *location, const struct qn_error *error)
{
    char message[sizeof error->message];
    char detail[sizeof error->detail];
    QN_ERROR_COPY(message, error->message, sizeof error->message);
    QN_ERROR_COPY(detail, error->detail, sizeof error->detail);
    qn_buffer_append_byte(out, '{');
    put_text(out, "location", location);
    qn_buffer_append_byte(out, ',');
    put_text(out, "error", message);
    if (detail[0] != '\0') {
        qn_buffer_append_byte(out, ',');
        put_text(out, "detail", detail);
    }
    qn_buffer_printf(out, ",\"retryable\":%s}", error->retryable ? "true" : "false");
}

/* The jobs of a kind, as locations or, those that failed, with their errors. */
static void put_jobs(struct qn_buffer *out, const char *key, const struct qn__fetch_source *run,
                     bool (*wanted)(const struct qn__fetch *fetch, const struct qn__job *job))
{
    const char *between = "";
    qn_buffer_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < run->n_jobs; i++) {
        const struct qn__job *job = &run->jobs[i];
        if (!wanted(run->fetch, job)) {
            continue;
        }
        qn_buffer_append_text(out, between);
        between = ",";
        if (job->error != NULL) {
            put_failure(out, job->location.location, job->error);
        } else {
            qn_commit_put_text(out, job->location.location);
        }
    }
}

static void put_vanished(struct qn_buffer *out, const struct qn__fetch_source *run, bool whole)
{
    const char *between = "";
    struct qn__vanished one;
    qn_buffer_append_text(out, ",\"vanished\":[");
    for (size_t at = 0; whole && qn__fetch_next_vanished(run, &at, &one);) {
        if (one.location[0] != '\0') {
            qn_buffer_append_text(out, between);
            qn_commit_put_text(out, one.location);
            between = ",";
        }
    }
    qn_buffer_append_byte(out, ']');
}

/* A source that could not say what it has stands among what failed, without a location. */
static void put_lists(struct qn_buffer *out, const struct qn__fetch_source *run, bool whole,
                      const struct qn_error *source_error)
{
    put_jobs(out, "added", run, is_added);
    qn_buffer_append_byte(out, ']');
    put_jobs(out, "replaced", run, is_replaced);
    qn_buffer_append_text(out, "],\"removed\":[");
    for (size_t i = 0; whole && i < run->n_removed; i++) {
        qn_buffer_append_text(out, i > 0 ? "," : "");
        qn_commit_put_text(out, run->removed[i]);
    }
    qn_buffer_append_byte(out, ']');
    put_jobs(out, "failed", run, is_failed);
    if (source_error != NULL) {
        put_failure(out, "", source_error);
    }
    qn_buffer_append_byte(out, ']');
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static void add_rows(int64_t *sum, int64_t rows)
{
    if (*sum >= 0 && (rows < 0 || __builtin_add_overflow(*sum, rows, sum))) {
        *sum = -1;
    }
}

/* What a dry run leaves of a block: its rows as they would be. */
static int64_t rows_of_job(const struct qn__job *job)
{
    if (job->kind == QN__JOB_COMPARE && job->outcome == QN__JOB_DONE) {
        return job->block.rows;
    }
    return job->outcome == QN__JOB_WAITING ? job->location.num_rows : -1;
}

static bool is_removed(const struct qn__fetch_source *run, const char *location)
{
    return run->fetch->mode == QN_FETCH_SYNC && !run->retry && qn__fetch_find(run, location) == NULL;
}

/* The rows of the pack after this source; -1: unknown. Of a dry run as if it alone had been run. */
static enum qn_status rows_after(const struct qn__fetch_source *run, int64_t *out, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    bool dry = run->fetch->options.dry_run;
    int64_t sum = 0;
    size_t place = 0;
    const struct qn_state_entry *entry;
    QN_TRY(qn__bundle_state(run->fetch->bundle, &state, err));
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        const struct qn_change *block = &entry->change;
        if (block->kind != QN_CHANGE_ADD || !qn_text_equal(block->pack, run->source->pack)) {
            continue;
        }
        bool own = dry && qn_text_equal(block->source, run->source->id);
        const struct qn__job *job = own ? qn__fetch_find(run, block->location) : NULL;
        if (own && is_removed(run, block->location)) {
            continue;
        }
        add_rows(&sum, job != NULL && is_replaced(run->fetch, job) ? rows_of_job(job) : block->rows);
    }
    for (size_t i = 0; dry && i < run->n_jobs; i++) {
        if (is_added(run->fetch, &run->jobs[i])) {
            add_rows(&sum, rows_of_job(&run->jobs[i]));
        }
    }
    *out = sum;
    return QN_OK;
}

static enum qn_status put_result(struct qn__fetch_source *run, bool whole, const struct qn_error *source_error,
                                 struct qn_error *err)
{
    struct qn__fetch *fetch = run->fetch;
    struct qn_buffer *out = fetch->results;
    int64_t rows = 0, bytes = 0, after = -1;
    for (size_t i = 0; !fetch->options.dry_run && i < run->n_jobs; i++) {
        if (run->jobs[i].outcome == QN__JOB_DONE) {
            rows += run->jobs[i].block.rows > 0 ? run->jobs[i].block.rows : 0;
            bytes += run->jobs[i].block.bytes > 0 ? run->jobs[i].block.bytes : 0;
        }
    }
    if (source_error == NULL) {
        QN_TRY(rows_after(run, &after, err));
    }
    qn_buffer_append_text(out, fetch->n_results++ > 0 ? ",{" : "{");
    put_text(out, "connector", run->source->connector);
    qn_buffer_append_byte(out, ',');
    put_text(out, "source_id", run->source->id);
    qn_buffer_append_byte(out, ',');
    put_text(out, "pack", run->source->pack);
    put_lists(out, run, whole, source_error);
    int64_t micros = (qn_clock_nanos() - run->started) / 1000;
    qn_buffer_printf(out, ",\"rows\":%lld,\"bytes\":%lld,\"seconds\":%lld.%06lld,\"dry_run\":%s,\"rows_after\":",
                     (long long)rows, (long long)bytes, (long long)(micros / 1000000), (long long)(micros % 1000000),
                     fetch->options.dry_run ? "true" : "false");
    if (after >= 0) {
        qn_buffer_printf(out, "%lld", (long long)after);
    } else {
        qn_buffer_append_text(out, "null");
    }
    put_vanished(out, run, whole);
    qn_buffer_append_byte(out, '}');
    return qn_buffer_check(out, "the results of a fetch", err);
}

/* ---- one source ------------------------------------------------------------------------------------------------- */

static void count_failure(struct qn__fetch *fetch, const struct qn_error *error)
{
    if (fetch->failures++ == 0) {
        fetch->failure = *error;
    }
}

/* Whether an error ends the fetch, and is not of one source alone. */
static bool ends_fetch(enum qn_status status)
{
    return status == QN_ERR_CANCELLED || status == QN_ERR_CLOSED || status == QN_ERR_BUSY;
}

static enum qn_status open_and_plan(struct qn__fetch_source *run, struct qn_error *err)
{
    struct qn__fetch *fetch = run->fetch;
    const struct qn__connecting what = { .name = run->source->connector,
                                         .arguments = run->source->arguments,
                                         .folder = run->source->folder,
                                         .processes = fetch->parallel };
    enum qn_status status = qn__bundle_connector(fetch->bundle, &what, &run->connector, err);
    return status == QN_OK ? qn__fetch_plan(run, err) : status;
}

/* What is left of a source that could not say what it has: it is set aside, as a location is. */
static enum qn_status give_up(struct qn__fetch_source *run, const struct qn_error *error, struct qn_error *err)
{
    struct qn__fetch *fetch = run->fetch;
    qn__fetch_jobs_dispose(run); /* what it said before it failed */
    if (ends_fetch(error->status)) {
        if (err != NULL) {
            *err = *error;
        }
        return error->status;
    }
    bool forbidden = error->status == QN_ERR_FORBIDDEN; /* nothing of the source's that could be better another time */
    if (forbidden && !fetch->forbidden && fetch->options.quarantine) {
        fetch->failure = *error; /* the others are none of the call */
        fetch->failures++;
    } else {
        count_failure(fetch, error);
    }
    fetch->forbidden = fetch->forbidden || forbidden;
    if (!fetch->options.dry_run && !forbidden) {
        QN_TRY(qn__fetch_set_aside(run, error, err));
    }
    return put_result(run, false, error, err);
}

static enum qn_status do_source(struct qn__fetch_source *run, struct qn_error *err)
{
    struct qn__fetch *fetch = run->fetch;
    struct qn_error error = QN_ERROR_INIT;
    enum qn_status status = open_and_plan(run, &error);
    if (status != QN_OK) {
        error.status = status;
        return give_up(run, &error, err);
    }
    status = qn__fetch_run(run, &error);
    for (size_t i = 0; i < run->n_jobs; i++) {
        if (run->jobs[i].outcome == QN__JOB_FAILED) {
            count_failure(fetch, run->jobs[i].error);
        }
    }
    bool whole = status == QN_OK;
    if (!fetch->options.dry_run) {
        QN_TRY(qn__fetch_attach(run, whole, err));
    }
    QN_TRY(put_result(run, whole, NULL, err));
    if (!whole && err != NULL) {
        *err = error;
    }
    return status;
}

static enum qn_status fetch_source(struct qn__fetch *fetch, struct qn__source *source, struct qn_error *err)
{
    struct qn__fetch_source run = {
        .fetch = fetch, .source = source, .vanished = QN_BUFFER_INIT, .started = qn_clock_nanos()
    };
    enum qn_status status = do_source(&run, err);
    qn_connector_free(run.connector);
    qn__fetch_jobs_dispose(&run);
    return status;
}

/* ---- which sources ---------------------------------------------------------------------------------------------- */

static bool is_source(const struct qn_state_entry *entry)
{
    return entry->change.kind == QN_CHANGE_SET && entry->change.object == QN_OBJECT_SOURCE;
}

static void dispose_sources(struct qn__source *sources, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        qn__source_dispose(&sources[i]);
    }
    qn_free(sources);
}

static enum qn_status no_sources(const struct qn__fetch *fetch, const struct qn_bundle_state *state, const char *pack,
                                 struct qn_error *err)
{
    const char *id = fetch->options.source;
    if (id != NULL) {
        qn_error_set(err, QN_ERR_CONFIG, "there is no source \"%.200s\"%s%.200s%s", id,
                     pack != NULL ? " of pack \"" : "", pack != NULL ? pack : "", pack != NULL ? "\"" : "");
        qn__bundle_hint_name(state, QN__NAMED_SOURCES, id, err);
        return QN_ERR_CONFIG;
    }
    if (pack != NULL) {
        qn_error_set(err, QN_ERR_CONFIG, "pack \"%.200s\" has no source to fetch from", pack);
        qn__bundle_hint_name(state, QN__NAMED_FED_PACKS, pack, err);
        return QN_ERR_CONFIG;
    }
    return QN_OK;
}

static enum qn_status find_sources(const struct qn__fetch *fetch, const char *pack, struct qn__source **out,
                                   size_t *n_out, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(fetch->bundle, &state, err));
    struct qn__source *sources = qn_calloc(qn_bundle_state_count(state) + 1, sizeof *sources);
    if (sources == NULL) {
        return qn__no_memory(err);
    }
    size_t n = 0, place = 0;
    enum qn_status status = QN_OK;
    const struct qn_state_entry *entry;
    while (status == QN_OK && (entry = qn_bundle_state_next(state, &place)) != NULL) {
        const char *id = fetch->options.source;
        if (!is_source(entry) || (id != NULL && !qn_text_equal(entry->change.name, id))) {
            continue;
        }
        status = qn__source_read(entry, &sources[n], err);
        if (status == QN_OK && pack != NULL && !qn_text_equal(sources[n].pack, pack)) {
            qn__source_dispose(&sources[n]);
        } else if (status == QN_OK) {
            n++;
        }
    }
    if (status == QN_OK && n == 0) {
        status = no_sources(fetch, state, pack, err);
    }
    if (status != QN_OK) {
        dispose_sources(sources, n);
        return status;
    }
    *out = sources;
    *n_out = n;
    return QN_OK;
}

/* ---- the call --------------------------------------------------------------------------------------------------- */

static enum qn_status read_options(struct qn__fetch *fetch, const struct qn_fetch_options *options,
                                   struct qn_error *err)
{
    double parallel = QN__FETCH_PARALLEL;
    fetch->options = (struct qn_fetch_options)QN_FETCH_OPTIONS_INIT;
    if (options != NULL) {
        size_t size = options->struct_size < sizeof *options ? options->struct_size : sizeof *options;
        memcpy(&fetch->options, options, size);
    }
    if (fetch->mode != QN_FETCH_ADD && fetch->mode != QN_FETCH_UPDATE && fetch->mode != QN_FETCH_SYNC) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "%d is not a mode of fetching", (int)fetch->mode);
    }
    if (fetch->options.parallel < 0 || fetch->options.parallel > QN__FETCH_MAX_PARALLEL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "%d locations at a time, not 1 to %d", fetch->options.parallel,
                            QN__FETCH_MAX_PARALLEL);
    }
    QN_TRY(
        qn__bundle_number(fetch->bundle, "system.fetch_parallel", 1, QN__FETCH_MAX_PARALLEL, parallel, &parallel, err));
    fetch->parallel = fetch->options.parallel > 0 ? fetch->options.parallel : (int)parallel;
    return qn__bundle_place(fetch->bundle, &fetch->place, err);
}

static enum qn_status run_sources(struct qn__fetch *fetch, struct qn__source *sources, size_t n, struct qn_error *err)
{
    if (!fetch->options.dry_run) {
        QN_TRY(qn__bundle_lock_blocks(fetch->bundle, err));
    }
    for (size_t i = 0; i < n; i++) {
        QN_TRY(fetch_source(fetch, &sources[i], err));
    }
    return QN_OK;
}

/* The error of the call: of the first that failed; how many others did is in the detail. */
static enum qn_status judge(const struct qn__fetch *fetch, struct qn_error *err)
{
    if (fetch->failures == 0 || (fetch->options.quarantine && !fetch->forbidden)) {
        return QN_OK;
    }
    if (err != NULL) {
        *err = fetch->failure;
        if (fetch->failures > 1) {
            char detail[2 * sizeof err->detail];
            (void)snprintf(detail, sizeof detail, "%lld failed in all%s%s", (long long)fetch->failures,
                           err->detail[0] != '\0' ? "; of the first: " : "", err->detail);
            QN_ERROR_COPY(err->detail, detail, sizeof detail);
        }
    }
    return fetch->failure.status;
}

static enum qn_status fetch_pack(struct qn__fetch *fetch, const char *pack, const struct qn_fetch_options *options,
                                 struct qn_error *err)
{
    struct qn__source *sources = NULL;
    size_t n = 0;
    QN_TRY(read_options(fetch, options, err));
    QN_TRY(find_sources(fetch, pack, &sources, &n, err));
    bool dry = fetch->options.dry_run;
    enum qn_status status = dry ? QN_OK : qn__bundle_begin(fetch->bundle, "fetch", err);
    if (status == QN_OK) {
        status = run_sources(fetch, sources, n, err);
        if (!dry) {
            qn__bundle_end(fetch->bundle); /* what was attached stays, whatever came after it */
        }
    }
    dispose_sources(sources, n);
    return status != QN_OK ? status : judge(fetch, err);
}

enum qn_status qn_bundle_fetch(struct qn_bundle *bundle, const char *pack, enum qn_fetch_mode mode,
                               const struct qn_fetch_options *options, char **results_out, struct qn_error *err)
{
    bool dry = options != NULL && options->dry_run;
    QN_TRY(qn__bundle_enter(bundle, dry ? QN__BUNDLE_READS : QN__BUNDLE_CHANGES, err));
    qn_auto_buffer results = QN_BUFFER_INIT;
    struct qn__fetch fetch = {
        .bundle = bundle, .mode = mode, .started = qn_clock_nanos(), .failure = QN_ERROR_INIT, .results = &results
    };
    qn_buffer_append_byte(&results, '[');
    enum qn_status status = fetch_pack(&fetch, pack, options, err);
    qn_buffer_append_byte(&results, ']');
    qn__bundle_leave(bundle);
    bool tell = results_out != NULL && (status == QN_OK || fetch.n_results > 0);
    if (tell) {
        enum qn_status told = qn__document_take(&results, results_out, status == QN_OK ? err : NULL);
        status = status == QN_OK ? told : status;
    }
    return status;
}
