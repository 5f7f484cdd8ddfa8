/*
 * prepare.c: everything of a run that comes before its first row: connections, the stored checkpoint, the source's
 * statement and its schema. Nothing is written here.
 */
#include "base/memory.h"
#include "db/config.h"
#include "db/sql.h"
#include "task/sink.h"

/* ---- connections ---------------------------------------------------------------------------------------------- */

/* A mistyped path must not make an empty file. It is not opened read-only: whoever reads a SQLite file after its writer
 * was killed has to roll the journal back. */
static enum qn_status open_source(struct qn_run *run, struct qn_error *err)
{
    const struct qn_task_source *source = &run->task->source;
    struct qn_config *config = NULL;
    QN_TRY(qn_config_copy(source->config, &config, err));
    enum qn_status status = QN_OK;
    const char *path = qn_config_get(config, "path");
    bool is_file = path != NULL && path[0] != '\0' && strcmp(path, ":memory:") != 0;
    if (qn_task_is_sqlite(config) && is_file && qn_config_get(config, "create") == NULL) {
        status = qn_config_set(config, "create", "false", err);
    }
    if (status == QN_OK) {
        status = qn_connection_open_config(config, &run->source, err);
    }
    qn_config_free(config);
    if (status != QN_OK) {
        qn_error_prefix(err, "source \"%s\"", source->connection);
    }
    return status;
}

static enum qn_status open_places(struct qn_run *run, struct qn_error *err)
{
    if (!run->has_locations) {
        QN_TRY(open_source(run, err));
    } else {
        enum qn_status status = qn_source_locations_open(run, err);
        if (status != QN_OK) {
            qn_error_prefix(err, "source \"%s\"", run->task->source.connection);
            return status;
        }
    }
    enum qn_status status = run->to->open(run, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "sink \"%s\"", run->task->sink.connection);
    }
    return status;
}

/* ---- where the run begins ------------------------------------------------------------------------------------- */

/* Locations without a row make no table. */
static bool rows_were_moved(const struct qn_run *run)
{
    bool any = !run->has_locations;
    for (size_t i = 0; i < run->positions.n && !any; i++) {
        any = run->positions.items[i].rows > 0;
    }
    return any;
}

static enum qn_status check_stored(const struct qn_run *run, struct qn_error *err)
{
    const struct qn_task *task = run->task;
    const struct qn_checkpoint_row *stored = &run->stored;
    const char *column = run->has_locations ? QN_CHECKPOINT_LOCATIONS : task->checkpoint.column;
    if (strcmp(stored->column, column) != 0) {
        (void)qn_error_set(err, QN_ERR_CONFIG,
                           "checkpoint.column is \"%s\", but the stored checkpoint of the task \"%s\" is one of \"%s\"",
                           column, task->name, stored->column);
    } else if (strcmp(stored->sink_table, task->sink.table) != 0) {
        (void)qn_error_set(
            err, QN_ERR_CONFIG,
            "sink.table is \"%s\", but the stored checkpoint of the task \"%s\" follows the rows of \"%s\"",
            task->sink.table, task->name, stored->sink_table);
    } else if (!run->sink_exists && rows_were_moved(run)) {
        (void)qn_error_set(
            err, QN_ERR_CONFIG,
            "the table \"%s\" of the sink is gone, but the stored checkpoint of the task \"%s\" says that "
            "rows have been moved there",
            task->sink.table, task->name);
    } else {
        return QN_OK;
    }
    qn_error_hint(err, "move every row again with a full run (qanat run --full), or give the task another name");
    return QN_ERR_CONFIG;
}

/* A full run of a task that appends would put every row there a second time. */
static enum qn_status check_full(struct qn_run *run, struct qn_error *err)
{
    bool filled = false;
    if (run->task->sink.mode == QN_INGEST_APPEND && run->sink_exists) {
        QN_TRY(run->to->has_rows(run, &filled, err));
    }
    if (!filled) {
        return QN_OK;
    }
    (void)qn_error_set(err, QN_ERR_CONFIG, "a full run would append every row again to \"%s\", which holds rows",
                       run->task->sink.table);
    qn_error_hint(err, "empty or drop the table first, or use sink.mode upsert");
    return QN_ERR_CONFIG;
}

/* Emptying modes begin anew every time. */
static bool keeps_position(const struct qn_task *task)
{
    enum qn_ingest_mode mode = task->sink.mode;
    bool empties = mode == QN_INGEST_REPLACE || mode == QN_INGEST_TRUNCATE || mode == QN_INGEST_CREATE;
    return task->source.place != QN_PLACE_DATABASE ? !empties : task->checkpoint.column != NULL;
}

static enum qn_status find_start(struct qn_run *run, struct qn_error *err)
{
    const struct qn_task *task = run->task;
    run->keeps = keeps_position(task);
    QN_TRY(run->to->load(run, err));
    if (!run->keeps) {
        return QN_OK;
    }
    bool goes_on = run->stored.exists && !run->options.full;
    if (goes_on) {
        QN_TRY(check_stored(run, err));
    } else if (run->options.full) {
        QN_TRY(check_full(run, err));
        qn_positions_dispose(&run->positions);
    }
    if (run->has_locations) {
        return QN_OK;
    }
    run->goes_on = goes_on;
    QN_TRY(qn_checkpoint_copy(&run->start, goes_on ? &run->stored.value : &task->checkpoint.initial, err));
    if (task->source.query != NULL && task->source.uses_checkpoint && run->start.kind == QN_CHECKPOINT_NONE) {
        (void)qn_error_set(err, QN_ERR_CONFIG,
                           "checkpoint.initial is missing: source.query uses :checkpoint, and %s, so it would compare "
                           "with null and find nothing",
                           run->options.full ? "a full run starts from it" : "this is the first run");
        qn_error_hint(err, "write checkpoint.initial, a value below the first row's");
        return QN_ERR_CONFIG;
    }
    return QN_OK;
}

/* ---- the source's statement ----------------------------------------------------------------------------------- */

/* select * from T where c > :checkpoint order by c. Rows without a value come too, so that they are refused and not
 * passed over. */
static enum qn_status table_query(struct qn_run *run, struct qn_buffer *out, struct qn_error *err)
{
    char *table = NULL;
    QN_TRY(qn_connection_quote_table(run->source, NULL, run->task->source.table, &table, err));
    qn_buffer_printf(out, "select * from %s", table);
    qn_free_text(table);
    if (run->task->checkpoint.column != NULL) {
        char *column = NULL;
        QN_TRY(qn_connection_quote(run->source, run->task->checkpoint.column, &column, err));
        if (run->start.kind != QN_CHECKPOINT_NONE) {
            qn_buffer_printf(out, " where %s > :checkpoint or %s is null", column, column);
        }
        qn_buffer_printf(out, " order by %s", column);
        qn_free_text(column);
    }
    return qn_buffer_check(out, "a statement", err);
}

enum qn_status qn_run_statement(struct qn_run *run, const struct qn_query_options *options,
                                struct ArrowArrayStream *out, struct qn_error *err)
{
    const struct qn_task_source *source = &run->task->source;
    qn_auto_buffer sql = QN_BUFFER_INIT;
    if (source->query == NULL) {
        QN_TRY(table_query(run, &sql, err));
    }
    static const char *const names[] = { "checkpoint" };
    struct qn_value value;
    qn_checkpoint_bind(&run->start, &value);
    struct qn_query query = QN_QUERY_INIT;
    query.sql = source->query != NULL ? source->query : qn_buffer_text(&sql);
    query.options = options;
    if (run->start.kind != QN_CHECKPOINT_NONE && source->uses_checkpoint) {
        query.values = &value;
        query.names = names;
        query.n_values = 1;
    }
    return qn_connection_query(run->source, &query, out, NULL, err);
}

static enum qn_status find_column(const struct qn_run *run, int64_t *out, struct qn_error *err)
{
    const char *column = run->task->checkpoint.column;
    *out = qn_schema_find(&run->schema, column);
    if (*out >= 0) {
        return QN_OK;
    }
    if (*out == -2) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "checkpoint.column \"%s\" is in the result of the source more than once", column);
    }
    qn_auto_buffer known = QN_BUFFER_INIT;
    for (int64_t i = 0; i < run->schema.n_children; i++) {
        qn_buffer_printf(&known, "%s%s", i > 0 ? ", " : "", run->schema.children[i]->name);
    }
    (void)qn_error_set(err, QN_ERR_CONFIG, "checkpoint.column \"%s\" is not in the result of the source", column);
    qn_error_hint(err, "the result has the columns %s", qn_buffer_text(&known));
    return QN_ERR_CONFIG;
}

/* A database that compares the unlike, as SQLite does with texts and numbers, finds too little and says nothing. */
static enum qn_status check_initial(const struct qn_run *run, struct qn_error *err)
{
    const struct qn_checkpoint *initial = &run->start;
    const struct qn_type *type = &run->feed.watch.last.type;
    if (initial->kind == QN_CHECKPOINT_NONE || !run->task->source.uses_checkpoint ||
        qn_checkpoint_suits(initial, type)) {
        return QN_OK;
    }
    char name[QN_TYPE_MAX_FORMAT];
    qn_type_to_text(&run->feed.watch.column.type, name);
    qn_auto_buffer literal = QN_BUFFER_INIT;
    qn_checkpoint_literal(initial, type, &literal);
    QN_TRY(qn_buffer_check(&literal, "a literal", err));
    (void)qn_error_set(err, QN_ERR_CONFIG,
                       "checkpoint.initial is %s, but checkpoint.column \"%s\" is of type %s: they are not compared "
                       "exactly",
                       qn_checkpoint_noun(&initial->type), run->task->checkpoint.column, name);
    qn_error_hint(err, "write %s: initial = %s", qn_checkpoint_noun(type), qn_buffer_text(&literal));
    return QN_ERR_CONFIG;
}

static enum qn_status watch_checkpoint(struct qn_run *run, struct qn_error *err)
{
    const struct qn_task *task = run->task;
    run->feed.column = -1;
    if (task->checkpoint.column == NULL) {
        return QN_OK;
    }
    int64_t column = 0;
    QN_TRY(find_column(run, &column, err));
    struct qn_checkpoint_watch *watch = &run->feed.watch;
    QN_TRY(qn_checkpoint_watch_init(watch, run->schema.children[column], err));
    run->feed.column = column;
    run->feed.every_rows = task->checkpoint.every_rows;
    watch->ordered = task->checkpoint.every_rows > 0;
    watch->from_statement = task->n_processes > 0;
    /* Where the statements alone decide what is new, and a row that comes again does no harm, the last row is believed. */
    watch->any_order =
        !task->source.uses_checkpoint && (task->sink.mode == QN_INGEST_UPSERT || task->sink.mode == QN_INGEST_IGNORE);
    if (watch->kind == QN_CHECKPOINT_NONE) {
        return QN_OK; /* nothing to compare with */
    }
    if (!run->stored.exists || run->options.full) {
        return check_initial(run, err);
    }
    if (run->stored.value.kind != watch->kind || !qn_checkpoint_suits(&run->stored.value, &watch->last.type)) {
        char was[QN_TYPE_MAX_FORMAT];
        char is[QN_TYPE_MAX_FORMAT];
        qn_type_to_text(&run->stored.value.type, was);
        qn_type_to_text(&watch->column.type, is);
        (void)qn_error_set(err, QN_ERR_CONFIG,
                           "checkpoint.column \"%s\" is now of type %s, the stored checkpoint is of "
                           "type %s",
                           task->checkpoint.column, is, was);
        qn_error_hint(err, "move every row again with a full run (qanat run --full)");
        return QN_ERR_CONFIG;
    }
    return task->sink.mode == QN_INGEST_APPEND ? qn_checkpoint_copy(&watch->floor, &run->stored.value, err) : QN_OK;
}

/* The schema that goes to the sink: the source's, or what the last step returns. */
static enum qn_status set_schema(struct qn_run *run, struct qn_error *err)
{
    size_t n = run->task->n_processes;
    qn_schema_release(&run->schema);
    return n == 0 ? qn_schema_copy(&run->source_schema, &run->schema, err)
                  : qn_processor_schema(run->task->processes[n - 1].processor, &run->schema, err);
}

static enum qn_status prepare_source(struct qn_run *run, struct qn_error *err)
{
    const struct qn_task_source *source = &run->task->source;
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    options.batch_rows = source->batch_rows;
    options.types = source->types;
    options.n_types = source->n_types;
    qn_schema_release(&run->source_schema);
    QN_TRY(qn_run_statement(run, &options, &run->rows, err));
    QN_TRY(qn_stream_schema(&run->rows, &run->source_schema, err));
    if (run->source_schema.n_children == 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "source.query returns no columns: it must be a select");
    }
    return set_schema(run, err);
}

static enum qn_status prepare_locations(struct qn_run *run, struct qn_error *err)
{
    bool follows = run->keeps && run->task->n_processes == 0; /* which rows are of which location */
    run->feed.column = -1;
    run->feed.every_rows = run->task->checkpoint.every_rows;
    QN_TRY(qn_source_locations_prepare(run, follows, err));
    bool any = run->source_schema.n_children > 0;
    run->feed.locations = follows || !any ? &run->locations : NULL;
    return any && run->task->n_processes > 0 ? qn_run_check_input(run, err) : QN_OK;
}

static enum qn_status prepare_rows(struct qn_run *run, struct qn_error *err)
{
    if (run->has_locations) {
        QN_TRY(prepare_locations(run, err));
        return set_schema(run, err);
    }
    QN_TRY(qn_run_check_one_file(run, err));
    QN_TRY(prepare_source(run, err));
    if (run->task->n_processes > 0) {
        QN_TRY(qn_run_check_input(run, err));
    }
    QN_TRY(watch_checkpoint(run, err));
    bool probed = false;
    QN_TRY(qn_run_check_order(run, &probed, err));
    return probed ? prepare_source(run, err) : QN_OK;
}

enum qn_status qn_run_prepare(struct qn_run *run, struct qn_error *err)
{
    QN_TRY(qn_run_progress(run, "connect", err));
    QN_TRY(qn_run_check_processes(run, err));
    QN_TRY(open_places(run, err));
    enum qn_status status = find_start(run, err);
    if (status != QN_OK) {
        if (status != QN_ERR_CONFIG) {
            qn_error_prefix(err, "sink \"%s\"", run->task->sink.connection);
        }
        return status;
    }
    QN_TRY(qn_run_progress(run, "read", err));
    status = prepare_rows(run, err);
    if (status != QN_OK && status != QN_ERR_CONFIG) {
        qn_error_prefix(err, "source \"%s\"", run->task->source.connection);
    }
    QN_TRY(status);
    bool any = run->source_schema.n_children > 0;
    return any && run->task->n_processes > 0 ? qn_run_start_processes(run, err) : QN_OK;
}
