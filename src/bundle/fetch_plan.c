/*
 * fetch_plan.c: what a connector has, beside what the pack has of it: what is to be done about each location.
 *
 * What a connector says is checked before anything is done: a location that is said twice, that no commit can hold or that
 * another source has put into the pack fails by itself, the others go on. Threads: the caller's only.
 */
#include "base/memory.h"
#include "base/text.h"
#include "bundle/fetch_private.h"
#include "connector/discover.h"

#include <jansson.h>
#include <stdlib.h>

/* ---- jobs ------------------------------------------------------------------------------------------------------- */

static struct qn_error out_of_memory = { .status = QN_ERR_NO_MEMORY, .row = -1, .message = "out of memory" };

void qn__job_fail(struct qn__job *job, const struct qn_error *error)
{
    struct qn_error *copy = qn_malloc(sizeof *copy);
    if (copy != NULL) {
        *copy = *error;
    }
    job->error = copy != NULL ? copy : &out_of_memory;
    job->outcome = QN__JOB_FAILED;
}

void qn__fetch_jobs_dispose(struct qn__fetch_source *run)
{
    for (size_t i = 0; i < run->n_jobs; i++) {
        struct qn__job *job = &run->jobs[i];
        qn__block_dispose(&job->block);
        if (job->error != &out_of_memory) {
            qn_free(job->error);
        }
        qn_free(job->url);
        qn_text_free(job->origin);
        qn_free(job->texts);
    }
    for (size_t i = 0; i < run->n_removed; i++) {
        qn_free(run->removed[i]);
    }
    qn_buffer_dispose(&run->vanished);
    qn_free(run->jobs);
    qn_free(run->by_location);
    qn_free(run->removed);
    run->jobs = NULL;
    run->by_location = NULL;
    run->removed = NULL;
    run->n_jobs = run->capacity = run->n_removed = 0;
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

static const char *keep(char **room, const char *text, size_t size)
{
    char *kept = *room;
    memcpy(kept, text, size);
    kept[size] = '\0';
    *room += size + 1;
    return kept;
}

static enum qn_status keep_location(struct qn__job *job, const struct qn_location *location, struct qn_error *err)
{
    const char *format = location->format != NULL ? location->format : "parquet";
    const char *version = location->version != NULL ? location->version : "";
    size_t n_location = strlen(location->location), n_format = strlen(format), n_version = strlen(version);
    job->texts = qn_malloc(n_location + n_format + n_version + 3);
    if (job->texts == NULL) {
        return qn__no_memory(err);
    }
    char *room = job->texts;
    job->location = (struct qn_location)QN_LOCATION_INIT;
    job->location.location = keep(&room, location->location, n_location);
    job->location.format = keep(&room, format, n_format);
    job->location.version = keep(&room, version, n_version);
    job->location.must_copy = location->must_copy;
    job->location.num_rows = location->num_rows;
    return QN_OK;
}

static enum qn_status note_location(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct qn__fetch_source *run = context;
    if (run->n_jobs == QN__FETCH_MAX_LOCATIONS) {
        return qn_error_set(err, QN_ERR_CONNECTOR, "connector \"%.80s\" reports more than %d locations",
                            run->source->connector, QN__FETCH_MAX_LOCATIONS);
    }
    if (run->n_jobs == run->capacity) {
        size_t capacity = run->capacity > 0 ? 2 * run->capacity : 64;
        struct qn__job *jobs = qn_realloc_array(run->jobs, capacity, sizeof *jobs);
        if (jobs == NULL) {
            return qn__no_memory(err);
        }
        run->jobs = jobs;
        run->capacity = capacity;
    }
    struct qn__job *job = &run->jobs[run->n_jobs];
    *job = (struct qn__job){ .kind = QN__JOB_NOTHING };
    QN_TRY(keep_location(job, location, err));
    run->n_jobs++;
    return QN_OK;
}

/* Ask, with the locations that this source has put into its pack. */
static enum qn_status discover(struct qn__fetch_source *run, const struct qn_bundle_state *state, struct qn_error *err)
{
    qn_auto_free const char **attached = qn_calloc(qn_bundle_state_count(state) + 1, sizeof *attached);
    if (attached == NULL) {
        return qn__no_memory(err);
    }
    size_t n = 0, place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        if (entry->change.kind == QN_CHANGE_ADD && qn_text_equal(entry->change.pack, run->source->pack) &&
            qn_text_equal(entry->change.source, run->source->id)) {
            attached[n++] = entry->change.location;
        }
    }
    return qn__connector_discover_twice(run->connector, attached, n, note_location, run, err);
}

/* ---- order ------------------------------------------------------------------------------------------------------ */

static int compare_jobs(const void *a, const void *b)
{
    const struct qn__job *x = *(const struct qn__job *const *)a, *y = *(const struct qn__job *const *)b;
    int order = strcmp(x->location.location, y->location.location);
    return order != 0 ? order : (x > y) - (x < y);
}

static enum qn_status sort_jobs(struct qn__fetch_source *run, struct qn_error *err)
{
    run->by_location = qn_calloc(run->n_jobs + 1, sizeof *run->by_location);
    if (run->by_location == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < run->n_jobs; i++) {
        run->by_location[i] = &run->jobs[i];
    }
    qsort(run->by_location, run->n_jobs, sizeof *run->by_location, compare_jobs);
    return QN_OK;
}

const struct qn__job *qn__fetch_find(const struct qn__fetch_source *run, const char *location)
{
    size_t low = 0, high = run->n_jobs;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(run->by_location[middle]->location.location, location);
        if (order == 0) {
            return run->by_location[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* ---- deciding --------------------------------------------------------------------------------------------------- */

static enum qn_status refuse(const struct qn__fetch_source *run, const struct qn__job *job, const char *what,
                             struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "connector \"%.80s\": location \"%.200s\": %s", run->source->connector,
                        job->location.location, what);
}

/* A block that this source has not put into the pack is nobody's to replace, unless its source is gone. */
static enum qn_status check_owner(const struct qn__fetch_source *run, const struct qn_bundle_state *state,
                                  struct qn__job *job, struct qn_error *err)
{
    const char *owner = job->known != NULL ? job->known->change.source : run->source->id;
    if (qn_text_equal(owner, run->source->id)) {
        return QN_OK;
    }
    if (owner[0] == '\0') {
        (void)refuse(run, job, "it was put into the pack by hand", err);
        qn_error_hint(err, "have the source feed another pack, or remove the location");
        return QN_ERR_DATA;
    }
    job->orphan = qn_bundle_state_object(state, QN_OBJECT_SOURCE, owner) == NULL;
    if (job->orphan) {
        return QN_OK;
    }
    (void)refuse(run, job, "another source has put it into the pack", err);
    qn_error_hint(err, "have one of the two feed another pack, or drop source %.80s", owner);
    return QN_ERR_DATA;
}

/* Whether a location can be taken at all. */
static enum qn_status check_job(const struct qn__fetch_source *run, const struct qn_bundle_state *state,
                                struct qn__job *job, struct qn_error *err)
{
    enum qn_status status = qn__location_check(job->location.location, job->location.version, err);
    if (status != QN_OK) {
        job->nameless = true;
        qn_error_prefix(err, "connector \"%.80s\": location \"%.200s\"", run->source->connector,
                        job->location.location);
        return status;
    }
    if (!job->location.must_copy && !qn_commit_format_is_valid(job->location.format)) {
        return refuse(run, job, "its format has no name that a format can have", err);
    }
    return check_owner(run, state, job, err);
}

/* Of those that are said more than once the first fails, the others are as if they had not been said. */
static void refuse_twice(struct qn__fetch_source *run)
{
    struct qn_error error = QN_ERROR_INIT;
    for (size_t i = 1; i < run->n_jobs; i++) {
        const struct qn__job *first = run->by_location[i - 1], *again = run->by_location[i];
        if (!qn_text_equal(first->location.location, again->location.location)) {
            continue;
        }
        run->jobs[again - run->jobs].outcome = QN__JOB_SAME;
        run->jobs[again - run->jobs].kind = QN__JOB_NOTHING;
        struct qn__job *job = &run->jobs[first - run->jobs];
        if (job->outcome == QN__JOB_WAITING) {
            (void)refuse(run, job, "the connector reports it more than once", &error);
            qn__job_fail(job, &error);
        }
    }
}

static enum qn__job_kind decide_known(const struct qn__fetch *fetch, const struct qn__job *job)
{
    if (fetch->mode == QN_FETCH_ADD && !job->orphan) {
        return QN__JOB_NOTHING;
    }
    const char *version = job->location.version;
    if (version[0] == '\0') {
        return QN__JOB_COMPARE;
    }
    return qn_text_equal(version, job->known->change.version) ? QN__JOB_NOTHING : QN__JOB_REPLACE;
}

static enum qn_status decide(const struct qn__fetch_source *run, const struct qn_bundle_state *state,
                             struct qn__job *job, struct qn_error *err)
{
    if (run->retry) {
        char name[QN_SHA256_TEXT_SIZE];
        QN_TRY(qn__failure_name(run->source->id, job->location.location, name, err));
        if (qn_bundle_state_object(state, QN_OBJECT_FAILURE, name) == NULL) {
            job->kind = QN__JOB_NOTHING;
        } else {
            job->kind = job->known != NULL ? QN__JOB_COMPARE : QN__JOB_ADD;
        }
        return QN_OK;
    }
    job->kind = job->known != NULL ? decide_known(run->fetch, job) : QN__JOB_ADD;
    return QN_OK;
}

/* What the pack has of this source and the connector has no more. */
static enum qn_status find_removed(struct qn__fetch_source *run, const struct qn_bundle_state *state,
                                   struct qn_error *err)
{
    if (run->fetch->mode != QN_FETCH_SYNC || run->retry) {
        return QN_OK;
    }
    run->removed = qn_calloc(qn_bundle_state_count(state) + 1, sizeof *run->removed);
    if (run->removed == NULL) {
        return qn__no_memory(err);
    }
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        const struct qn_change *block = &entry->change;
        if (block->kind == QN_CHANGE_ADD && qn_text_equal(block->pack, run->source->pack) &&
            qn_text_equal(block->source, run->source->id) && qn__fetch_find(run, block->location) == NULL) {
            run->removed[run->n_removed] = qn_strdup(block->location);
            if (run->removed[run->n_removed++] == NULL) {
                return qn__no_memory(err);
            }
        }
    }
    return QN_OK;
}

/* What the retry list has of this source and the connector reports no more; its entry of the source itself too, which has
 * just said what it has. */
static enum qn_status find_vanished(struct qn__fetch_source *run, const struct qn_bundle_state *state,
                                    struct qn_error *err)
{
    size_t place = 0;
    const struct qn_state_entry *entry;
    while ((entry = qn_bundle_state_next(state, &place)) != NULL) {
        if (entry->change.kind != QN_CHANGE_SET || entry->change.object != QN_OBJECT_FAILURE) {
            continue;
        }
        json_t *value = json_loads(entry->change.value, 0, NULL);
        const char *source = json_string_value(json_object_get(value, "source"));
        const char *location = json_string_value(json_object_get(value, "location"));
        if (source != NULL && location != NULL && qn_text_equal(source, run->source->id) &&
            qn__fetch_find(run, location) == NULL) {
            qn_buffer_append(&run->vanished, entry->change.name, strlen(entry->change.name) + 1);
            qn_buffer_append(&run->vanished, location, strlen(location) + 1);
        }
        json_decref(value);
    }
    return qn_buffer_check(&run->vanished, "locations that vanished", err);
}

bool qn__fetch_next_vanished(const struct qn__fetch_source *run, size_t *place, struct qn__vanished *out)
{
    if (*place >= run->vanished.size) {
        return false;
    }
    out->failure = run->vanished.data + *place;
    out->location = out->failure + strlen(out->failure) + 1;
    *place += strlen(out->failure) + strlen(out->location) + 2;
    return true;
}

enum qn_status qn__fetch_plan(struct qn__fetch_source *run, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    char itself[QN_SHA256_TEXT_SIZE];
    QN_TRY(qn__bundle_state(run->fetch->bundle, &state, err));
    QN_TRY(qn__failure_name(run->source->id, "", itself, err));
    run->retry = run->fetch->options.retry && qn_bundle_state_object(state, QN_OBJECT_FAILURE, itself) == NULL;
    QN_TRY(discover(run, state, err));
    for (size_t i = 0; i < run->n_jobs; i++) {
        struct qn__job *job = &run->jobs[i];
        struct qn_error error = QN_ERROR_INIT;
        job->known = qn_bundle_state_block(state, run->source->pack, job->location.location);
        if (check_job(run, state, job, &error) != QN_OK) {
            qn__job_fail(job, &error);
        } else {
            QN_TRY(decide(run, state, job, err));
        }
    }
    QN_TRY(sort_jobs(run, err));
    refuse_twice(run);
    QN_TRY(find_removed(run, state, err));
    return find_vanished(run, state, err);
}
