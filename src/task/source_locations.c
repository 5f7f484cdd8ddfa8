/*
 * source_locations.c: the rows of a connector's locations, or of a bundle's blocks, as one stream.
 *
 * All locations of a run have the columns of the first that has data; another schema is an error that names the location. The
 * next location is opened when the one before has ended. Threads: made on the thread that runs the task, then the reader's.
 */
#include "arrow/stream.h"
#include "base/log.h"
#include "base/memory.h"
#include "bundle/walk.h"
#include "connector/take.h"
#include "task/run.h"

#include <string.h>

/* ---- the list ------------------------------------------------------------------------------------------------- */

static struct qn_locations_rules rules_of(const struct qn_run *run)
{
    enum qn_ingest_mode mode = run->task->sink.mode;
    return (struct qn_locations_rules){ .update = run->task->source.update,
                                        .repeating = mode == QN_INGEST_UPSERT || mode == QN_INGEST_IGNORE };
}

static enum qn_status add_location(void *context, const struct qn_location *location, struct qn_error *err)
{
    struct qn_run *run = context;
    struct qn_locations_rules rules = rules_of(run);
    return qn_locations_add(&run->locations, location, &run->positions, &rules, err);
}

static enum qn_status discover(struct qn_run *run, struct qn_error *err)
{
    if (run->source_bundle != NULL) {
        run->locations.stable = true; /* a block is never changed */
        return qn_bundle_each_block(run->source_bundle, run->task->source.pack, add_location, run, err);
    }
    QN_TRY(qn_connector_can(run->connector, QN_CAN_RESUME, &run->locations.stable, err));
    return qn_connector_discover(run->connector, NULL, 0, add_location, run, err);
}

static enum qn_status open_connector(struct qn_run *run, struct qn_error *err)
{
    const struct qn_task_source *source = &run->task->source;
    struct qn_connector_options options = QN_CONNECTOR_OPTIONS_INIT;
    options.name = source->connection;
    options.arguments = source->arguments;
    options.folder = source->folder;
    options.interpreter = run->options.interpreter;
    options.allow_external_code = run->options.allow_external_code;
    options.timeout = run->options.connector_timeout;
    return qn_connector_open(source->connection, &options, &run->connector, err);
}

enum qn_status qn_source_locations_open(struct qn_run *run, struct qn_error *err)
{
    const struct qn_task_source *source = &run->task->source;
    if (source->place == QN_PLACE_CONNECTOR) {
        return open_connector(run, err);
    }
    struct qn_bundle_options options = QN_BUNDLE_OPTIONS_INIT;
    options.version = source->version;
    return qn_bundle_open(source->connection, &options, &run->source_bundle, err);
}

void qn_source_locations_close(struct qn_run *run)
{
    qn_connector_free(run->connector);
    qn_bundle_free(run->source_bundle);
    qn_locations_dispose(&run->locations);
}

/* ---- the rows ------------------------------------------------------------------------------------------------- */

struct walk {
    struct qn_run *run;
    size_t at;                    /* the location that `rows` are of, or that comes next */
    struct ArrowArrayStream rows; /* released: it has to be opened */
    struct ArrowSchema schema;    /* of all of them; no columns: none has data */
    struct ArrowSchema pack;      /* of a bundle's pack */
    int64_t skip;                 /* rows of a block that earlier runs have moved */
    bool opened, ends;
};

static enum qn_status open_rows(struct walk *walk, struct qn_error *err)
{
    struct qn_run *run = walk->run;
    const struct qn_task_location *item = &run->locations.items[walk->at];
    if (run->source_bundle != NULL) {
        QN_TRY(qn_bundle_stream_block(run->source_bundle, run->task->source.pack, item->location, &walk->pack,
                                      &walk->rows, err));
        walk->skip = item->start;
    } else {
        struct qn_location location = { .struct_size = sizeof location,
                                        .location = item->location,
                                        .must_copy = item->must_copy,
                                        .format = item->format,
                                        .version = item->version,
                                        .num_rows = item->num_rows };
        struct qn_data_request request = QN_DATA_REQUEST_INIT;
        request.skip_rows = item->start;
        QN_TRY(qn_connector_data(run->connector, &location, &request, &walk->rows, err));
    }
    walk->opened = true;
    return QN_OK;
}

static bool has_column(const struct ArrowSchema *schema, const char *name)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (strcmp(schema->children[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The first column of `schema` that `other` does not have; NULL: none. */
static const char *lone_column(const struct ArrowSchema *schema, const struct ArrowSchema *other)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (!has_column(other, schema->children[i]->name)) {
            return schema->children[i]->name;
        }
    }
    return NULL;
}

static bool same_column(const struct ArrowSchema *is, const struct ArrowSchema *was, struct qn_buffer *is_text,
                        struct qn_buffer *was_text)
{
    qn_schema_field_to_text(is, is_text);
    qn_schema_field_to_text(was, was_text);
    return strcmp(is->name, was->name) == 0 && strcmp(qn_buffer_text(is_text), qn_buffer_text(was_text)) == 0;
}

/* Say how the columns of a location differ from those before it; QN_OK where they do not. */
static enum qn_status compare_columns(const struct ArrowSchema *is, const struct ArrowSchema *was, const char *location,
                                      struct qn_error *err)
{
    const char *new_column = lone_column(is, was);
    const char *missing = lone_column(was, is);
    if (new_column != NULL && missing != NULL) {
        return qn_error_set(err, QN_ERR_DATA,
                            "location \"%s\" has a column \"%s\" and no column \"%s\": the ones before it have the "
                            "second and not the first",
                            location, new_column, missing);
    }
    if (new_column != NULL) {
        return qn_error_set(err, QN_ERR_DATA,
                            "location \"%s\" has a column \"%s\", which the ones before it do not have", location,
                            new_column);
    }
    if (missing != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "location \"%s\" has no column \"%s\", which the ones before it have",
                            location, missing);
    }
    if (is->n_children != was->n_children) { /* a name that comes twice */
        return qn_error_set(err, QN_ERR_DATA, "location \"%s\" has %lld columns, the ones before it have %lld",
                            location, (long long)is->n_children, (long long)was->n_children);
    }
    for (int64_t i = 0; i < was->n_children; i++) {
        qn_auto_buffer is_text = QN_BUFFER_INIT;
        qn_auto_buffer was_text = QN_BUFFER_INIT;
        if (!same_column(is->children[i], was->children[i], &is_text, &was_text)) {
            return qn_error_set(err, QN_ERR_DATA,
                                "location \"%s\": column %lld is \"%s\" of type %s; before it was \"%s\" of "
                                "type %s",
                                location, (long long)i + 1, is->children[i]->name, qn_buffer_text(&is_text),
                                was->children[i]->name, qn_buffer_text(&was_text));
        }
    }
    return QN_OK;
}

/* The schema of the run is that of the first location with data. */
static enum qn_status check_schema(struct walk *walk, struct qn_error *err)
{
    qn_auto_schema schema = { .release = NULL };
    QN_TRY(qn_stream_schema(&walk->rows, &schema, err));
    if (walk->schema.release == NULL) {
        walk->schema = schema;
        schema.release = NULL;
        return QN_OK;
    }
    const char *location = walk->run->locations.items[walk->at].location;
    enum qn_status status = compare_columns(&schema, &walk->schema, location, err);
    if (status != QN_OK) {
        qn_error_hint(err, "a bundle unites tables by name: fetch the connector into one and read that");
    }
    return status;
}

/* Open locations until one has data, or, with `ends`, one more location. */
static enum qn_status open_next(struct walk *walk, struct qn_error *err)
{
    QN_TRY(open_rows(walk, err));
    return walk->rows.release != NULL ? check_schema(walk, err) : QN_OK;
}

static void end_one(struct walk *walk)
{
    qn_stream_release(&walk->rows);
    walk->opened = false;
    walk->at++;
}

/* Drop the rows of a block that earlier runs have moved, and batches without rows. */
static enum qn_status skip_rows(struct walk *walk, struct ArrowArray *batch, struct qn_error *err)
{
    int64_t dropped = walk->skip < batch->length ? walk->skip : batch->length;
    walk->skip -= dropped;
    if (dropped == batch->length) {
        qn_array_release(batch);
        return QN_OK;
    }
    if (dropped == 0) {
        return QN_OK;
    }
    struct ArrowArray whole = *batch;
    batch->release = NULL;
    return qn_take_run(&whole, dropped, whole.length - dropped, batch, err);
}

static void release_end(struct ArrowArray *array)
{
    array->release = NULL;
}

/* The end of a location: a batch that only the queue's two sides see. It has no rows, and no columns either. */
static void end_batch(struct ArrowArray *out)
{
    static const void *no_buffers[1];
    *out = (struct ArrowArray){ .n_buffers = 1, .buffers = no_buffers, .release = release_end };
}

static enum qn_status walk_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct walk *walk = self;
    while (walk->at < walk->run->locations.n) {
        if (!walk->opened) {
            QN_TRY(open_next(walk, err));
        }
        if (walk->rows.release != NULL) {
            QN_TRY(qn_stream_next(&walk->rows, out, err));
            if (out->release != NULL) {
                QN_TRY(skip_rows(walk, out, err));
                if (out->release != NULL) {
                    return QN_OK;
                }
                continue;
            }
        }
        end_one(walk);
        if (walk->ends) {
            end_batch(out);
            return QN_OK;
        }
    }
    return QN_OK;
}

static enum qn_status walk_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct walk *walk = self;
    return qn_schema_copy(&walk->schema, out, err);
}

static void walk_free(void *self)
{
    struct walk *walk = self;
    qn_stream_release(&walk->rows);
    qn_schema_release(&walk->schema);
    qn_schema_release(&walk->pack);
    qn_free(walk);
}

/* Find the schema: the locations before the first that has data have none, which is known then. */
static enum qn_status begin(struct walk *walk, struct qn_error *err)
{
    struct qn_locations *locations = &walk->run->locations;
    while (walk->at < locations->n) {
        QN_TRY(open_next(walk, err));
        if (walk->rows.release != NULL) {
            return QN_OK;
        }
        end_one(walk);
    }
    return qn_schema_struct(&walk->schema, 0, err);
}

enum qn_status qn_source_locations_prepare(struct qn_run *run, bool ends, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { walk_schema, walk_next, walk_free };
    QN_TRY(discover(run, err));
    QN_LOG(QN_LOG_INFO, "task", "%s: %zu of %lld locations are to be moved", run->task->name, run->locations.n,
           (long long)run->locations.known);
    struct walk *walk = qn_calloc(1, sizeof *walk);
    if (walk == NULL) {
        return qn__no_memory(err);
    }
    walk->run = run;
    walk->ends = ends;
    enum qn_status status = QN_OK;
    if (run->source_bundle != NULL) {
        status = qn_bundle_schema(run->source_bundle, run->task->source.pack, &walk->pack, err);
    }
    if (status == QN_OK) {
        status = begin(walk, err);
    }
    if (status == QN_OK) {
        while (run->locations.writing < walk->at) {
            qn_locations_end_one(&run->locations);
        }
        status = qn_schema_copy(&walk->schema, &run->source_schema, err);
    }
    if (status == QN_OK) {
        status = qn_stream_make(&ops, walk, &run->rows, err);
    }
    if (status != QN_OK) {
        walk_free(walk);
    }
    return status;
}
