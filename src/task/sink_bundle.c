/*
 * sink_bundle.c: a pack of a bundle as the sink: each slice is a block, committed together with how far it came.
 *
 * A block's location is "TASK/<20 digits>", the number of the version that it was made for. The checkpoint of the task, and
 * "TASK#<hash>" for each location of its source, are entries of the same commit. Of two runs at once one has a conflict.
 */
#include "base/log.h"
#include "base/memory.h"
#include "bundle/commit.h"
#include "bundle/walk.h"
#include "task/sink.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_SIZE (QN_COMMIT_MAX_NAME + 1)

/* ---- opened --------------------------------------------------------------------------------------------------- */

static bool is_there(const char *path)
{
    char log[4096];
    struct stat found;
    int size = snprintf(log, sizeof log, "%s/_qanat/log", path);
    return size > 0 && (size_t)size < sizeof log && stat(log, &found) == 0;
}

static enum qn_status open_sink(struct qn_run *run, struct qn_error *err)
{
    const char *path = run->task->sink.connection;
    return is_there(path) ? qn_bundle_open(path, NULL, &run->sink_bundle, err)
                          : qn_bundle_create(path, NULL, &run->sink_bundle, err);
}

static void close_sink(struct qn_run *run)
{
    qn_bundle_free(run->sink_bundle);
}

/* ---- what is there -------------------------------------------------------------------------------------------- */

static enum qn_status refuse_foreign(const char *name, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "the bundle's checkpoint \"%s\" is not one that a task has written", name);
}

static enum qn_status copy_member(json_t *root, const char *key, char **out, struct qn_error *err)
{
    const char *text = json_string_value(json_object_get(root, key));
    *out = qn_strdup(text != NULL ? text : "");
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status read_stored(json_t *root, const char *task, struct qn_checkpoint_row *out, struct qn_error *err)
{
    json_t *value = json_object_get(root, "value");
    const char *type = json_string_value(json_object_get(root, "type"));
    if (!json_is_string(value) || type == NULL) {
        return refuse_foreign(task, err);
    }
    QN_TRY(copy_member(root, "column", &out->column, err));
    QN_TRY(copy_member(root, "pack", &out->sink_table, err));
    QN_TRY(qn_checkpoint_parse(type, json_string_value(value), json_string_length(value), &out->value, err));
    out->commits = json_integer_value(json_object_get(root, "commits"));
    out->exists = out->table_exists = true;
    return QN_OK;
}

static enum qn_status load_stored(struct qn_run *run, struct qn_error *err)
{
    char *text = NULL;
    QN_TRY(qn_bundle_checkpoint(run->sink_bundle, run->task->name, &text, err));
    if (text == NULL) {
        return QN_OK;
    }
    json_t *root = json_loads(text, 0, NULL);
    qn_text_free(text);
    enum qn_status status =
        root != NULL ? read_stored(root, run->task->name, &run->stored, err) : refuse_foreign(run->task->name, err);
    json_decref(root);
    return status;
}

/* {"version", "rows", "done"} at "TASK#<hash>". */
static enum qn_status take_position(void *context, const char *name, const char *value, struct qn_error *err)
{
    struct qn_run *run = context;
    struct qn_position position = { .rows = -1 };
    json_t *root = json_loads(value, 0, NULL);
    const char *version = json_string_value(json_object_get(root, "version"));
    position.rows = json_integer_value(json_object_get(root, "rows"));
    position.done = json_is_true(json_object_get(root, "done"));
    position.version = (char *)(uintptr_t)version;
    bool good =
        version != NULL && position.rows >= 0 && qn_sha256_parse(name + strlen(run->task->name) + 1, &position.hash);
    enum qn_status status = good ? qn_positions_add(&run->positions, &position, err) : refuse_foreign(name, err);
    json_decref(root);
    return status;
}

static enum qn_status load(struct qn_run *run, struct qn_error *err)
{
    run->sink_exists = true;
    if (!run->keeps) {
        return QN_OK;
    }
    QN_TRY(load_stored(run, err));
    if (!run->has_locations) {
        return QN_OK;
    }
    char prefix[NAME_SIZE];
    (void)snprintf(prefix, sizeof prefix, "%s#", run->task->name);
    return qn_bundle_each_checkpoint(run->sink_bundle, prefix, take_position, run, err);
}

/* ---- what the task put there ------------------------------------------------------------------------------------ */

struct own_names {
    const char *task;
    char **texts; /* names of blocks or of checkpoints */
    size_t n, capacity;
};

static void own_dispose(struct own_names *own)
{
    for (size_t i = 0; i < own->n; i++) {
        qn_free(own->texts[i]);
    }
    qn_free((void *)own->texts);
}

static enum qn_status add_text(struct own_names *own, const char *text, struct qn_error *err)
{
    if (own->n == own->capacity) {
        size_t capacity = own->capacity > 0 ? own->capacity * 2 : 16;
        char **texts = qn_realloc_array((void *)own->texts, capacity, sizeof *texts);
        if (texts == NULL) {
            return qn__no_memory(err);
        }
        own->texts = texts;
        own->capacity = capacity;
    }
    own->texts[own->n] = qn_strdup(text);
    return own->texts[own->n++] != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status take_own(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct own_names *own = context;
    size_t size = strlen(own->task);
    bool is_own = strncmp(location->location, own->task, size) == 0 && location->location[size] == '/';
    return is_own ? add_text(own, location->location, err) : QN_OK;
}

static enum qn_status find_own(struct qn_run *run, struct own_names *out, struct qn_error *err)
{
    *out = (struct own_names){ .task = run->task->name };
    return qn_bundle_each_block(run->sink_bundle, run->task->sink.table, take_own, out, err);
}

static enum qn_status has_rows(struct qn_run *run, bool *out, struct qn_error *err)
{
    struct own_names own;
    enum qn_status status = find_own(run, &own, err);
    *out = own.n > 0;
    own_dispose(&own);
    return status;
}

static enum qn_status remove_own(struct qn_run *run, struct qn_error *err)
{
    struct own_names own;
    enum qn_status status = find_own(run, &own, err);
    for (size_t i = 0; i < own.n && status == QN_OK; i++) {
        status = qn_bundle_remove(run->sink_bundle, run->task->sink.table, own.texts[i], err);
    }
    own_dispose(&own);
    return status;
}

/* ---- a slice -------------------------------------------------------------------------------------------------- */

static enum qn_status begin(struct qn_run *run, struct qn_error *err)
{
    (void)run;
    (void)err;
    return QN_OK; /* what is pending is the transaction */
}

static enum qn_status write_slice(struct qn_run *run, struct ArrowArrayStream *slice, struct qn_error *err)
{
    const struct qn_task_sink *sink = &run->task->sink;
    if (sink->mode == QN_INGEST_REPLACE && run->result.commits == 0) {
        QN_TRY(remove_own(run, err));
    }
    char location[NAME_SIZE + 32];
    (void)snprintf(location, sizeof location, "%s/%020lld", run->task->name,
                   (long long)qn_bundle_version(run->sink_bundle) + 1);
    struct ArrowArrayStream taken = *slice;
    slice->release = NULL;
    return qn_bundle_put(run->sink_bundle, sink->table, location, "", sink->format, false, &taken, NULL, err);
}

/* A document as an entry of the commit; takes it over. */
static enum qn_status keep_entry(struct qn_run *run, const char *name, json_t *document, struct qn_error *err)
{
    char *text = document != NULL ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (text == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_bundle_set_checkpoint(run->sink_bundle, name, text, err);
    free(text);
    return status;
}

static enum qn_status keep_locations(struct qn_run *run, struct qn_error *err)
{
    const struct qn_locations *locations = &run->locations;
    size_t left = locations->touched;
    for (size_t i = locations->first_touched; left > 0; i++) {
        const struct qn_task_location *item = &locations->items[i];
        if (!item->touched) {
            continue;
        }
        char name[NAME_SIZE + QN_SHA256_TEXT_SIZE];
        char hash[QN_SHA256_TEXT_SIZE];
        qn_sha256_format(&item->hash, hash);
        (void)snprintf(name, sizeof name, "%s#%s", run->task->name, hash);
        QN_TRY(keep_entry(run, name,
                          json_pack("{s:s, s:s, s:I, s:b}", "location", item->location, "version", item->version,
                                    "rows", (json_int_t)item->rows, "done", (int)item->done),
                          err));
        left--;
    }
    return QN_OK;
}

static enum qn_status take_name(void *context, const char *name, const char *value, struct qn_error *err)
{
    (void)value;
    struct own_names *names = context;
    return add_text(names, name, err);
}

/* A full run forgets where locations were. */
static enum qn_status forget_locations(struct qn_run *run, struct qn_error *err)
{
    struct own_names names = { .task = run->task->name };
    char prefix[NAME_SIZE];
    (void)snprintf(prefix, sizeof prefix, "%s#", run->task->name);
    enum qn_status status = qn_bundle_each_checkpoint(run->sink_bundle, prefix, take_name, &names, err);
    for (size_t i = 0; i < names.n && status == QN_OK; i++) {
        status = qn_bundle_set_checkpoint(run->sink_bundle, names.texts[i], NULL, err);
    }
    own_dispose(&names);
    return status;
}

static enum qn_status keep(struct qn_run *run, struct qn_error *err)
{
    qn_auto_buffer value = QN_BUFFER_INIT;
    char type[QN_TYPE_MAX_FORMAT] = "Int64";
    if (run->has_locations) {
        qn_buffer_printf(&value, "%lld", (long long)qn_locations_moved(&run->locations));
        if (run->options.full && run->result.commits == 0) {
            QN_TRY(forget_locations(run, err));
        }
        QN_TRY(keep_locations(run, err));
    } else {
        qn_checkpoint_format(&run->feed.watch.last, &value);
        qn_type_to_text(&run->feed.watch.last.type, type);
    }
    QN_TRY(qn_buffer_check(&value, "a checkpoint", err));
    const char *column = run->has_locations ? QN_CHECKPOINT_LOCATIONS : run->task->checkpoint.column;
    int64_t commits = run->stored.exists ? run->stored.commits + 1 : 1;
    return keep_entry(run, run->task->name,
                      json_pack("{s:s, s:s, s:s, s:s, s:I}", "column", column, "value", qn_buffer_text(&value), "type",
                                type, "pack", run->task->sink.table, "commits", (json_int_t)commits),
                      err);
}

static enum qn_status commit(struct qn_run *run, struct qn_error *err)
{
    char message[NAME_SIZE + 64];
    (void)snprintf(message, sizeof message, "task %s: %lld rows", run->task->name, (long long)run->feed.slice_rows);
    enum qn_status status = qn_bundle_commit(run->sink_bundle, message, NULL, err);
    return status == QN_ERR_CONFLICT ? qn_sink_refuse_other_run(run->task->name, err) : status;
}

static void rollback(struct qn_run *run)
{
    if (qn_bundle_reset(run->sink_bundle, NULL, NULL) != QN_OK) {
        QN_LOG(QN_LOG_WARNING, "task", "%s: what is pending goes with the handle", run->task->name);
    }
}

const struct qn_sink_ops qn_sink_bundle = { open_sink, load,   has_rows, begin,     write_slice,
                                            keep,      commit, rollback, close_sink };
