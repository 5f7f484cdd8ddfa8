/*
 * plan_places.c: [source] and [sink] where they are no databases: connectors and bundles.
 *
 * Such a source is read location by location, and what has been moved of each is the checkpoint: there is no column to
 * compare. Nothing is opened.
 */
#include "base/memory.h"
#include "bundle/commit.h"
#include "task/plan_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PACK         "base"
#define BUNDLE_TASK_NAME_MAX 180 /* "#" and a digest follow it */

static enum qn_status take_pack(json_t *root, const char *table, char **out, struct qn_error *err)
{
    QN_TRY(qn__task_take_text(root, table, "pack", out, err));
    return *out != NULL ? QN_OK : qn__task_copy_text(DEFAULT_PACK, out, err);
}

/* source.mode: add (default) or update. */
static enum qn_status read_update(json_t *root, bool *out, struct qn_error *err)
{
    const char *mode = json_string_value(json_object_get(json_object_get(root, "source"), "mode"));
    *out = mode != NULL && strcmp(mode, "update") == 0;
    return mode == NULL || *out || strcmp(mode, "add") == 0
               ? QN_OK
               : qn_error_set(err, QN_ERR_CONFIG, "source.mode is \"%s\"; it must be add or update", mode);
}

/* Arguments are texts; numbers and booleans of the file are written as such. */
static enum qn_status read_arguments(json_t *table, char **out, struct qn_error *err)
{
    json_t *texts = json_object();
    enum qn_status status = texts != NULL ? QN_OK : qn__no_memory(err);
    const char *key;
    json_t *value;
    json_object_foreach(table, key, value)
    {
        char path[QN__PATH_SIZE];
        char number[64];
        const char *text = NULL;
        (void)snprintf(path, sizeof path, "source.args.%.100s", key);
        status = qn__task_option_text(path, value, number, &text, err);
        if (status == QN_OK && json_object_set_new(texts, key, json_string(text)) != 0) {
            status = qn__no_memory(err);
        }
        if (status != QN_OK) {
            break;
        }
    }
    if (status == QN_OK) {
        char *text = json_dumps(texts, JSON_COMPACT);
        status = text != NULL ? qn__task_copy_text(text, out, err) : qn__no_memory(err);
        free(text);
    }
    json_decref(texts);
    return status;
}

enum qn_status qn__task_read_connector(json_t *root, struct qn_task_source *source, struct qn_error *err)
{
    QN_TRY(qn__task_require_text(root, "source", "connector", &source->connection, err));
    QN_TRY(qn__task_take_text(root, "source", "folder", &source->folder, err));
    QN_TRY(read_update(root, &source->update, err));
    return read_arguments(json_object_get(json_object_get(root, "source"), "args"), &source->arguments, err);
}

enum qn_status qn__task_read_bundle_source(json_t *root, struct qn_task_source *source, struct qn_error *err)
{
    QN_TRY(qn__task_require_text(root, "source", "bundle", &source->connection, err));
    QN_TRY(take_pack(root, "source", &source->pack, err));
    QN_TRY(read_update(root, &source->update, err));
    json_t *version = json_object_get(json_object_get(root, "source"), "version");
    char number[64];
    const char *text = NULL;
    if (version == NULL) {
        return QN_OK;
    }
    QN_TRY(qn__task_option_text("source.version", version, number, &text, err));
    return qn__task_copy_text(text, &source->version, err);
}

enum qn_status qn__task_read_bundle_sink(json_t *root, struct qn_task_sink *sink, struct qn_error *err)
{
    QN_TRY(qn__task_require_text(root, "sink", "bundle", &sink->connection, err));
    QN_TRY(take_pack(root, "sink", &sink->table, err));
    QN_TRY(qn__task_take_text(root, "sink", "format", &sink->format, err));
    if (sink->mode != QN_INGEST_APPEND && sink->mode != QN_INGEST_REPLACE) {
        (void)qn_error_set(err, QN_ERR_CONFIG, "sink.mode %s does not go with a bundle: its blocks are never changed",
                           qn_task_mode_name(sink->mode));
        qn_error_hint(err, "use append, or replace: what the task put there before goes with the commit");
        return QN_ERR_CONFIG;
    }
    return QN_OK;
}

enum qn_status qn__task_check_bundle_name(const struct qn_task *task, struct qn_error *err)
{
    if (task->sink.place != QN_PLACE_BUNDLE ||
        (qn_commit_name_is_valid(task->name) && strlen(task->name) <= BUNDLE_TASK_NAME_MAX)) {
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_CONFIG,
                        "task.name: with a bundle as the sink it has no / and no \\ and at most %d bytes",
                        BUNDLE_TASK_NAME_MAX);
}

static bool empties(enum qn_ingest_mode mode)
{
    return mode == QN_INGEST_REPLACE || mode == QN_INGEST_TRUNCATE || mode == QN_INGEST_CREATE;
}

enum qn_status qn__task_check_locations(json_t *root, const struct qn_task *task, struct qn_error *err)
{
    json_t *checkpoint = json_object_get(root, "checkpoint");
    if (json_object_get(checkpoint, "column") != NULL || json_object_get(checkpoint, "initial") != NULL) {
        (void)qn_error_set(err, QN_ERR_CONFIG,
                           "checkpoint.%s does not go with a source that has locations: which of them have been moved, "
                           "and how far, is the checkpoint",
                           json_object_get(checkpoint, "column") != NULL ? "column" : "initial");
        qn_error_hint(err, "leave it out; every_rows may stay");
        return QN_ERR_CONFIG;
    }
    if (task->checkpoint.every_rows > 0 && empties(task->sink.mode)) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "checkpoint.every_rows does not go with sink.mode %s: it begins anew each time",
                            qn_task_mode_name(task->sink.mode));
    }
    if (task->checkpoint.every_rows > 0 && json_array_size(json_object_get(root, "process")) > 0) {
        (void)qn_error_set(err, QN_ERR_CONFIG,
                           "checkpoint.every_rows does not go with [[process]] where the source has locations: after a "
                           "statement nothing tells which rows come from which");
        qn_error_hint(err, "leave it out: the run is one transaction");
        return QN_ERR_CONFIG;
    }
    const struct qn_task_sink *sink = &task->sink;
    bool doubles = sink->mode == QN_INGEST_APPEND || sink->mode == QN_INGEST_IGNORE;
    if (task->source.update && doubles) {
        (void)qn_error_set(
            err, QN_ERR_CONFIG,
            "source.mode update takes changed locations again, and sink.mode %s would keep their old rows "
            "beside the new ones",
            qn_task_mode_name(sink->mode));
        qn_error_hint(err, "use sink.mode upsert with a key; a bundle follows its sources by `qanat bundle fetch`");
        return QN_ERR_CONFIG;
    }
    if (sink->place == QN_PLACE_BUNDLE && task->source.place == QN_PLACE_BUNDLE &&
        strcmp(sink->connection, task->source.connection) == 0 && strcmp(sink->table, task->source.pack) == 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "source and sink are the same pack \"%s\" of one bundle", sink->table);
    }
    return QN_OK;
}
