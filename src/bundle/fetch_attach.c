/*
 * fetch_attach.c: what a fetch has done, as changes of the bundle: blocks, and entries of the retry list.
 *
 * Changes come in the order in which the connector said its locations, however the threads were done with them. An entry of
 * the retry list is an object of the bundle; it goes when its location is attached, or is reported no more. Threads: the
 * caller's only.
 */
#include "base/memory.h"
#include "bundle/fetch_private.h"
#include "os/clock.h"

#include <jansson.h>

static const struct qn_state_entry *find_failure(struct qn_bundle *bundle, const char *name)
{
    const struct qn_bundle_state *state = NULL;
    if (qn__bundle_state(bundle, &state, NULL) != QN_OK) {
        return NULL; /* it is there while an operation is open */
    }
    return qn_bundle_state_object(state, QN_OBJECT_FAILURE, name);
}

/* ---- the retry list --------------------------------------------------------------------------------------------- */

static enum qn_status forget_failure(struct qn_bundle *bundle, const char *name, struct qn_error *err)
{
    const struct qn_change change = { .kind = QN_CHANGE_UNSET, .object = QN_OBJECT_FAILURE, .name = name };
    return find_failure(bundle, name) != NULL ? qn__bundle_add(bundle, &change, NULL, err) : QN_OK;
}

static enum qn_status forget_location(struct qn__fetch_source *run, const char *location, struct qn_error *err)
{
    char name[QN_SHA256_TEXT_SIZE];
    QN_TRY(qn__failure_name(run->source->id, location, name, err));
    return forget_failure(run->fetch->bundle, name, err);
}

static void put_member(struct qn_buffer *out, const char *key, const char *text)
{
    qn_buffer_printf(out, "%s\"%s\":", out->size > 1 ? "," : "", key);
    qn_commit_put_text(out, text);
}

/* Messages may have been cut by others in the middle of a character; a commit holds UTF-8 only. */
static void put_error(struct qn_buffer *out, const struct qn_error *error)
{
    char message[sizeof error->message];
    QN_ERROR_COPY(message, error->message, sizeof error->message);
    put_member(out, "error", message);
}

static enum qn_status note_failure(struct qn__fetch_source *run, const char *location, const char *version,
                                   const struct qn_error *error, struct qn_error *err)
{
    char name[QN_SHA256_TEXT_SIZE];
    QN_TRY(qn__failure_name(run->source->id, location, name, err));
    const struct qn_state_entry *before = find_failure(run->fetch->bundle, name);
    json_t *last = before != NULL ? json_loads(before->change.value, 0, NULL) : NULL;
    int64_t now = qn_clock_wall_micros();
    int64_t attempts = json_integer_value(json_object_get(last, "attempts"));
    const json_t *first = json_object_get(last, "first");
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_buffer_append_byte(&text, '{');
    put_member(&text, "source", run->source->id);
    put_member(&text, "pack", run->source->pack);
    put_member(&text, "location", location);
    put_member(&text, "version", version);
    put_error(&text, error);
    qn_buffer_printf(&text, ",\"attempts\":%lld,\"first\":%lld,\"last\":%lld}",
                     (long long)(attempts >= 0 && attempts < INT32_MAX ? attempts + 1 : INT32_MAX),
                     (long long)(json_is_integer(first) ? json_integer_value(first) : now), (long long)now);
    json_decref(last);
    QN_TRY(qn_buffer_check(&text, "an entry of the retry list", err));
    const struct qn_change change = {
        .kind = QN_CHANGE_SET, .object = QN_OBJECT_FAILURE, .name = name, .value = qn_buffer_text(&text)
    };
    return qn__bundle_add(run->fetch->bundle, &change, NULL, err);
}

enum qn_status qn__fetch_set_aside(struct qn__fetch_source *run, const struct qn_error *error, struct qn_error *err)
{
    return note_failure(run, "", "", error, err);
}

static enum qn_status forget_vanished(struct qn__fetch_source *run, struct qn_error *err)
{
    struct qn__vanished one;
    for (size_t at = 0; qn__fetch_next_vanished(run, &at, &one);) {
        QN_TRY(forget_failure(run->fetch->bundle, one.failure, err));
    }
    return QN_OK;
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

static enum qn_status attach_block(struct qn__fetch_source *run, const struct qn__job *job, struct qn_error *err)
{
    const struct qn_change change = { .kind = job->kind == QN__JOB_ADD ? QN_CHANGE_ADD : QN_CHANGE_REPLACE,
                                      .pack = run->source->pack,
                                      .location = job->location.location,
                                      .version = job->location.version,
                                      .source = run->source->id,
                                      .format = job->block.format,
                                      .sha256 = job->block.sha256,
                                      .url = job->url,
                                      .origin = job->origin,
                                      .rows = job->block.rows,
                                      .bytes = job->block.bytes };
    QN_TRY(qn__bundle_add(run->fetch->bundle, &change, job->block.schema, err));
    return forget_location(run, job->location.location, err);
}

/* The block of a source that is gone is what this source has too: it is this one's from now on. */
static enum qn_status adopt_block(struct qn__fetch_source *run, const char *location, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(run->fetch->bundle, &state, err));
    const struct qn_state_entry *entry = qn_bundle_state_block(state, run->source->pack, location);
    struct qn_state_entry *copy = NULL; /* the change moves the entry */
    QN_TRY(qn_state_entry_copy(&entry->change, entry->schema, entry->version, &copy, err));
    struct qn_change change = copy->change;
    change.kind = QN_CHANGE_REPLACE;
    change.source = run->source->id;
    enum qn_status status = qn__bundle_add(run->fetch->bundle, &change, copy->schema, err);
    qn_free(copy);
    return status == QN_OK ? forget_location(run, location, err) : status;
}

static bool is_adopted(const struct qn__job *job)
{
    return job->orphan && ((job->kind == QN__JOB_NOTHING && job->outcome == QN__JOB_WAITING) ||
                           (job->kind == QN__JOB_COMPARE && job->outcome == QN__JOB_SAME));
}

static enum qn_status remove_block(struct qn__fetch_source *run, const char *location, struct qn_error *err)
{
    const struct qn_change change = { .kind = QN_CHANGE_REMOVE, .pack = run->source->pack, .location = location };
    return qn__bundle_add(run->fetch->bundle, &change, NULL, err);
}

enum qn_status qn__fetch_attach(struct qn__fetch_source *run, bool whole, struct qn_error *err)
{
    for (size_t i = 0; i < run->n_jobs; i++) {
        const struct qn__job *job = &run->jobs[i];
        if (is_adopted(job)) {
            QN_TRY(adopt_block(run, job->location.location, err));
        }
        if (job->outcome == QN__JOB_DONE) {
            QN_TRY(attach_block(run, job, err));
        } else if (job->outcome == QN__JOB_FAILED && !job->nameless) {
            QN_TRY(note_failure(run, job->location.location, job->location.version, job->error, err));
        } else if (job->outcome == QN__JOB_SAME && job->kind == QN__JOB_COMPARE) {
            QN_TRY(forget_location(run, job->location.location, err));
        }
    }
    if (!whole) {
        return QN_OK;
    }
    for (size_t i = 0; i < run->n_removed; i++) {
        QN_TRY(remove_block(run, run->removed[i], err));
    }
    return forget_vanished(run, err);
}
