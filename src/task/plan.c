/*
 * plan.c: the task file, as JSON, turned into a task or refused with the key path that is wrong.
 *
 * The plan is checked in two passes: the shape (which tables and keys there are, of which types) by the rules below, as
 * data; then what the values mean together. Nothing is opened. Keys that the file format has for later parts of the
 * product are known here, so that they are refused for what they are and not as typing mistakes.
 */
#include "task/plan_private.h"

#include "base/memory.h"
#include "db/driver_table.h"
#include "db/sql.h"

#include <math.h>
#include <stdio.h>

#define PATH_SIZE QN__PATH_SIZE

/* ---- the shape ------------------------------------------------------------------------------------------------ */

static const struct qn__key_rule top_rules[] = {
    { "connections", QN__AS_TABLE, NULL },
    { "task", QN__AS_TABLE, NULL },
    { "source", QN__AS_TABLE, NULL },
    { "sink", QN__AS_TABLE, NULL },
    { "checkpoint", QN__AS_TABLE, NULL },
    { "process", QN__AS_ARRAY, NULL },
    { "schedule", 0, "schedules ([schedule])" },
    { NULL, 0, NULL },
};
static const struct qn__key_rule task_rules[] = {
    { "name", QN__AS_TEXT, NULL },
    { NULL, 0, NULL },
};
static const struct qn__key_rule source_rules[] = {
    { "connection", QN__AS_TEXT, NULL },
    { "query", QN__AS_TEXT, NULL },
    { "table", QN__AS_TEXT, NULL },
    { "types", QN__AS_TABLE, NULL },
    { "batch_rows", QN__AS_INTEGER, NULL },
    { "connector", QN__AS_TEXT, NULL },
    { "args", QN__AS_TABLE, NULL },
    { "folder", QN__AS_TEXT, NULL },
    { "bundle", QN__AS_TEXT, NULL },
    { "pack", QN__AS_TEXT, NULL },
    { "version", QN__AS_TEXT | QN__AS_INTEGER, NULL },
    { "mode", QN__AS_TEXT, NULL },
    { "files", 0, "files as a source (connector = \"files\" reads them)" },
    { "output", 0, "schemas by name" },
    { NULL, 0, NULL },
};
static const struct qn__key_rule sink_rules[] = {
    { "connection", QN__AS_TEXT, NULL },
    { "table", QN__AS_TEXT, NULL },
    { "mode", QN__AS_TEXT, NULL },
    { "key", QN__AS_TEXT | QN__AS_ARRAY, NULL },
    { "bundle", QN__AS_TEXT, NULL },
    { "pack", QN__AS_TEXT, NULL },
    { "format", QN__AS_TEXT, NULL },
    { "file", 0, "files as a sink" },
    { "on_new_column", 0, "changes of the schema" },
    { "on_type_change", 0, "changes of the schema" },
    { "on_bad_row", 0, "quarantine of rows" },
    { NULL, 0, NULL },
};
static const struct qn__key_rule checkpoint_rules[] = {
    { "column", QN__AS_TEXT, NULL },
    { "initial", QN__AS_TEXT | QN__AS_INTEGER | QN__AS_FLOAT | QN__AS_TABLE, NULL },
    { "every_rows", QN__AS_INTEGER, NULL },
    { "overlap", 0, "overlapping runs" },
    { NULL, 0, NULL },
};

static const struct {
    const char *path;
    const struct qn__key_rule *rules;
} table_rules[] = {
    { "task", task_rules }, { "source", source_rules }, { "sink", sink_rules }, { "checkpoint", checkpoint_rules }
};

/* ---- connections ---------------------------------------------------------------------------------------------- */

/* The text at one of the keys that start a configuration; NULL where the key is absent. */
static enum qn_status starter(json_t *table, const char *path, const char *key, const char **out, struct qn_error *err)
{
    json_t *value = json_object_get(table, key);
    if (value != NULL && !json_is_string(value)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s.%s is %s; it must be a string", path, key,
                            qn__task_toml_name(value));
    }
    *out = json_string_value(value);
    return QN_OK;
}

/* `type` (or `db_type`) beside a `uri` must say the same. */
static enum qn_status check_type(const char *path, const char *key, const char *type, const struct qn_config *config,
                                 struct qn_error *err)
{
    const struct qn_driver *driver = qn_driver_find(type);
    const char *made = qn_config_get(config, "type");
    if (driver != NULL && strcmp(driver->name, made) == 0) {
        return QN_OK;
    }
    return qn_error_set(err, QN_ERR_CONFIG, "%s.%s is \"%s\", but the database is one of type \"%s\"", path, key, type,
                        made);
}

/* A new configuration by the table's `uri` or by its `type` (or `db_type`). */
static enum qn_status start_config(json_t *table, const char *path, struct qn_config **out, struct qn_error *err)
{
    static const char *const keys[] = { "uri", "type", "db_type" };
    struct qn_config *config = NULL;
    enum qn_status status = QN_OK;
    for (size_t i = 0; i < 3 && status == QN_OK; i++) {
        const char *text = NULL;
        status = starter(table, path, keys[i], &text, err);
        if (status != QN_OK || text == NULL) {
            continue;
        }
        if (config != NULL) {
            status = check_type(path, keys[i], text, config, err);
            continue;
        }
        status = i == 0 ? qn_config_from_uri(text, &config, err) : qn_config_new(text, &config, err);
        if (status != QN_OK) {
            char place[PATH_SIZE];
            qn__task_join_path(place, path, keys[i]);
            status = qn__task_refuse_value(place, status, err);
        }
    }
    if (status == QN_OK && config == NULL) {
        char known[128];
        qn_driver_names(known, sizeof known);
        status = qn_error_set(err, QN_ERR_CONFIG, "%s.type is missing; it must be one of %s", path, known);
    }
    if (status != QN_OK) {
        qn_config_free(config);
        return status;
    }
    *out = config;
    return QN_OK;
}

static enum qn_status fill_config(json_t *table, const char *path, struct qn_config *config, struct qn_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(table, key, value)
    {
        if (strcmp(key, "uri") == 0 || strcmp(key, "type") == 0 || strcmp(key, "db_type") == 0) {
            continue;
        }
        char number[64];
        char place[PATH_SIZE];
        const char *text = NULL;
        qn__task_join_path(place, path, key);
        QN_TRY(qn__task_option_text(place, value, number, &text, err));
        enum qn_status status = qn_config_set(config, key, text, err);
        if (status != QN_OK) {
            return qn__task_refuse_value(place, status, err);
        }
    }
    return QN_OK;
}

/* The configuration of [connections.NAME]. */
static enum qn_status read_connection(json_t *table, const char *name, struct qn_config **out, struct qn_error *err)
{
    char path[PATH_SIZE];
    qn__task_join_path(path, "connections", name);
    if (!json_is_object(table)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s is %s; it must be a table", path, qn__task_toml_name(table));
    }
    struct qn_config *config = NULL;
    QN_TRY(start_config(table, path, &config, err));
    enum qn_status status = fill_config(table, path, config, err);
    if (status != QN_OK) {
        qn_config_free(config);
        return status;
    }
    *out = config;
    return QN_OK;
}

static enum qn_status check_connections(json_t *connections, struct qn_error *err)
{
    const char *name;
    json_t *table;
    json_object_foreach(connections, name, table)
    {
        struct qn_config *config = NULL;
        QN_TRY(read_connection(table, name, &config, err));
        qn_config_free(config);
    }
    return QN_OK;
}

static enum qn_status find_connection(json_t *root, const char *user, const char *name, struct qn_config **out,
                                      struct qn_error *err)
{
    json_t *connections = json_object_get(root, "connections");
    json_t *table = json_object_get(connections, name);
    if (table != NULL) {
        return read_connection(table, name, out, err);
    }
    qn_auto_buffer known = QN_BUFFER_INIT;
    const char *key;
    json_t *value;
    json_object_foreach(connections, key, value)
    {
        qn_buffer_printf(&known, "%s%s", known.size > 0 ? ", " : "", key);
    }
    (void)qn_error_set(err, QN_ERR_CONFIG, "%s.connection is \"%s\", but there is no [connections.%s]", user, name,
                       name);
    if (known.size > 0) {
        qn_error_hint(err, "the connections of this file are %s", qn_buffer_text(&known));
    } else {
        qn_error_hint(err, "write [connections.%s] with its type, or include = \"database.toml\"", name);
    }
    return QN_ERR_CONFIG;
}

enum qn_status qn_task_dialect(const struct qn_config *config, const struct qn_dialect **out, struct qn_error *err)
{
    const char *type = qn_config_get(config, "type");
    const struct qn_driver *driver = type != NULL ? qn_driver_find(type) : NULL;
    if (driver == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "no driver for databases of type \"%s\"", type != NULL ? type : "");
    }
    *out = driver->dialect;
    return QN_OK;
}

/* ---- task, source, sink, checkpoint --------------------------------------------------------------------------- */

static enum qn_status read_name(json_t *root, struct qn_task *task, struct qn_error *err)
{
    QN_TRY(qn__task_require_text(root, "task", "name", &task->name, err));
    if (strlen(task->name) > QN_TASK_NAME_MAX) {
        return qn_error_set(err, QN_ERR_CONFIG, "task.name is longer than %d bytes", QN_TASK_NAME_MAX);
    }
    for (const char *c = task->name; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            return qn_error_set(err, QN_ERR_CONFIG, "task.name has a control character in it");
        }
    }
    return QN_OK;
}

static enum qn_status read_types(json_t *types, struct qn_task_source *source, struct qn_error *err)
{
    size_t n = json_object_size(types);
    if (n == 0) {
        return QN_OK;
    }
    if (n > QN_TASK_MAX_COLUMNS) {
        return qn_error_set(err, QN_ERR_CONFIG, "source.types names more than %d columns", QN_TASK_MAX_COLUMNS);
    }
    source->types = qn_calloc(n, sizeof *source->types);
    if (source->types == NULL) {
        return qn__no_memory(err);
    }
    const char *column;
    json_t *value;
    json_object_foreach(types, column, value)
    {
        if (!json_is_string(value)) {
            return qn_error_set(err, QN_ERR_CONFIG, "source.types.%s is %s; it must be a string", column,
                                qn__task_toml_name(value));
        }
        struct qn_type type;
        enum qn_status status = qn_type_from_text(json_string_value(value), &type, err);
        if (status != QN_OK) {
            char path[PATH_SIZE];
            qn__task_join_path(path, "source.types", column);
            return qn__task_refuse_value(path, status, err);
        }
        char *name_copy = NULL;
        char *type_copy = NULL;
        status = qn__task_copy_text(column, &name_copy, err);
        if (status == QN_OK) {
            status = qn__task_copy_text(json_string_value(value), &type_copy, err);
        }
        source->types[source->n_types++] = (struct qn_type_override){ .column = name_copy, .type = type_copy };
        QN_TRY(status);
    }
    return QN_OK;
}

/* Which of the keys that say where rows come from, or go to, a table has: exactly one. */
static enum qn_status find_place(json_t *root, const char *table, bool with_connector, enum qn_task_place *out,
                                 struct qn_error *err)
{
    static const char *const keys[] = { "connection", "connector", "bundle" };
    json_t *found = json_object_get(root, table);
    int n = 0;
    *out = QN_PLACE_DATABASE;
    for (int i = 0; i < 3; i++) {
        if (json_object_get(found, keys[i]) != NULL) {
            *out = (enum qn_task_place)i;
            n++;
        }
    }
    return n <= 1 ? QN_OK
                  : qn_error_set(err, QN_ERR_CONFIG, "[%s] has more than one of connection, %sbundle", table,
                                 with_connector ? "connector and " : "");
}

/* Keys that go with another place would be ignored without a word. */
static enum qn_status refuse_keys(json_t *root, const char *table, const char *place, const char *const *keys,
                                  struct qn_error *err)
{
    for (; *keys != NULL; keys++) {
        if (json_object_get(json_object_get(root, table), *keys) != NULL) {
            return qn_error_set(err, QN_ERR_CONFIG, "%s.%s does not go with %s", table, *keys, place);
        }
    }
    return QN_OK;
}

static enum qn_status read_source(json_t *root, struct qn_task_source *source, struct qn_error *err)
{
    static const char *const not_database[] = { "args", "folder", "pack", "version", "mode", NULL };
    static const char *const not_connector[] = { "query", "table", "types", "batch_rows", "pack", "version", NULL };
    static const char *const not_bundle[] = { "query", "table", "types", "batch_rows", "args", "folder", NULL };
    QN_TRY(find_place(root, "source", true, &source->place, err));
    if (source->place == QN_PLACE_CONNECTOR) {
        QN_TRY(refuse_keys(root, "source", "connector", not_connector, err));
        return qn__task_read_connector(root, source, err);
    }
    if (source->place == QN_PLACE_BUNDLE) {
        QN_TRY(refuse_keys(root, "source", "bundle", not_bundle, err));
        return qn__task_read_bundle_source(root, source, err);
    }
    QN_TRY(refuse_keys(root, "source", "connection", not_database, err));
    QN_TRY(qn__task_require_text(root, "source", "connection", &source->connection, err));
    QN_TRY(find_connection(root, "source", source->connection, &source->config, err));
    QN_TRY(qn__task_take_text(root, "source", "query", &source->query, err));
    QN_TRY(qn__task_take_text(root, "source", "table", &source->table, err));
    QN_TRY(qn__task_take_integer(root, "source", "batch_rows", 1, QN_TASK_MAX_BATCH_ROWS, &source->batch_rows, err));
    QN_TRY(read_types(json_object_get(json_object_get(root, "source"), "types"), source, err));
    if ((source->query == NULL) == (source->table == NULL)) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s",
                            source->query != NULL ? "[source] has both query and table: it reads one of them"
                                                  : "[source] has neither query nor table: it must say what to read");
    }
    return QN_OK;
}

static const struct {
    const char *name;
    enum qn_ingest_mode mode;
} modes[] = { { "append", QN_INGEST_APPEND }, { "create", QN_INGEST_CREATE },     { "replace", QN_INGEST_REPLACE },
              { "upsert", QN_INGEST_UPSERT }, { "truncate", QN_INGEST_TRUNCATE }, { "ignore", QN_INGEST_IGNORE } };
#define N_MODES (sizeof modes / sizeof *modes)

const char *qn_task_mode_name(enum qn_ingest_mode mode)
{
    for (size_t i = 0; i < N_MODES; i++) {
        if (modes[i].mode == mode) {
            return modes[i].name;
        }
    }
    return "unknown";
}

static enum qn_status read_mode(json_t *root, enum qn_ingest_mode *out, struct qn_error *err)
{
    const char *given = json_string_value(json_object_get(json_object_get(root, "sink"), "mode"));
    if (given == NULL) {
        *out = QN_INGEST_APPEND;
        return QN_OK;
    }
    for (size_t i = 0; i < N_MODES; i++) {
        if (strcmp(modes[i].name, given) == 0) {
            *out = modes[i].mode;
            return QN_OK;
        }
    }
    if (strcmp(given, "sync") == 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "sink.mode: this version does not run sync yet");
    }
    return qn_error_set(err, QN_ERR_CONFIG,
                        "sink.mode is \"%s\"; it must be one of append, create, replace, truncate, upsert, ignore",
                        given);
}

static enum qn_status read_key(json_t *value, struct qn_task_sink *sink, struct qn_error *err)
{
    size_t n = value == NULL ? 0 : json_is_array(value) ? json_array_size(value) : 1;
    if (value != NULL && (n == 0 || n > QN_TASK_MAX_COLUMNS)) {
        return qn_error_set(err, QN_ERR_CONFIG, "sink.key has %zu columns; it must have 1 to %d", n,
                            QN_TASK_MAX_COLUMNS);
    }
    if (n == 0) {
        return QN_OK;
    }
    sink->key = qn_calloc(n, sizeof *sink->key);
    if (sink->key == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(item) || json_string_length(item) == 0) {
            return qn_error_set(err, QN_ERR_CONFIG, "sink.key[%zu] is %s; it must be the name of a column", i,
                                json_is_string(item) ? "empty" : qn__task_toml_name(item));
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(sink->key[j], json_string_value(item)) == 0) {
                return qn_error_set(err, QN_ERR_CONFIG, "sink.key names the column \"%s\" twice", sink->key[j]);
            }
        }
        QN_TRY(qn__task_copy_text(json_string_value(item), &sink->key[i], err));
        sink->n_key++;
    }
    return QN_OK;
}

static enum qn_status read_sink(json_t *root, struct qn_task_sink *sink, struct qn_error *err)
{
    static const char *const not_database[] = { "pack", "format", NULL };
    static const char *const not_bundle[] = { "table", "key", NULL };
    QN_TRY(find_place(root, "sink", false, &sink->place, err));
    if (sink->place == QN_PLACE_BUNDLE) {
        QN_TRY(refuse_keys(root, "sink", "bundle", not_bundle, err));
        QN_TRY(read_mode(root, &sink->mode, err));
        return qn__task_read_bundle_sink(root, sink, err);
    }
    QN_TRY(refuse_keys(root, "sink", "connection", not_database, err));
    QN_TRY(qn__task_require_text(root, "sink", "connection", &sink->connection, err));
    QN_TRY(find_connection(root, "sink", sink->connection, &sink->config, err));
    QN_TRY(qn__task_require_text(root, "sink", "table", &sink->table, err));
    QN_TRY(read_mode(root, &sink->mode, err));
    QN_TRY(read_key(json_object_get(json_object_get(root, "sink"), "key"), sink, err));
    bool takes_key = sink->mode == QN_INGEST_UPSERT || sink->mode == QN_INGEST_IGNORE;
    const char *mode = qn_task_mode_name(sink->mode);
    if (takes_key && sink->n_key == 0) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "sink.key is missing: mode %s must know which columns say that two rows are the same one",
                            mode);
    }
    if (!takes_key && sink->n_key > 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "sink.key goes with the modes upsert and ignore, not with %s", mode);
    }
    const struct qn_dialect *dialect = NULL;
    QN_TRY(qn_task_dialect(sink->config, &dialect, err));
    qn_auto_buffer quoted = QN_BUFFER_INIT;
    enum qn_status status = qn_sql_table(dialect, NULL, sink->table, &quoted, err);
    return status == QN_OK ? QN_OK : qn__task_refuse_value("sink.table", status, err);
}

/* TOML's dates and times, which JSON does not have, come as a table of one key: {"$date": "2013-01-31"},
 * {"$timestamp": "2013-01-31 10:00:00"}, {"$instant": "2013-01-31 10:00:00Z"}. */
static enum qn_status read_initial_time(json_t *value, struct qn_checkpoint *out, struct qn_error *err)
{
    static const struct {
        const char *key, *type;
    } forms[] = { { "$date", "Date32" }, { "$timestamp", "Timestamp[us]" }, { "$instant", "Timestamp[us, UTC]" } };
    for (size_t i = 0; json_object_size(value) == 1 && i < 3; i++) {
        json_t *text = json_object_get(value, forms[i].key);
        if (json_is_string(text)) {
            return qn_checkpoint_parse(forms[i].type, json_string_value(text), json_string_length(text), out, err);
        }
    }
    return qn_error_set(err, QN_ERR_CONFIG, "it must be an integer, a float, a string, a date or a timestamp");
}

static enum qn_status read_initial(json_t *value, struct qn_checkpoint *out, struct qn_error *err)
{
    char number[64];
    switch (json_typeof(value)) {
    case JSON_INTEGER:
        (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        return qn_checkpoint_parse("Int64", number, strlen(number), out, err);
    case JSON_REAL:
        if (!isfinite(json_real_value(value))) {
            return qn_error_set(err, QN_ERR_CONFIG, "it must be a finite number");
        }
        out->kind = QN_CHECKPOINT_REAL;
        out->type = qn_type_of(QN_TYPE_FLOAT64);
        out->real = json_real_value(value);
        return QN_OK;
    case JSON_STRING:
        return qn_checkpoint_parse("Utf8", json_string_value(value), json_string_length(value), out, err);
    default:
        return read_initial_time(value, out, err);
    }
}

static enum qn_status read_checkpoint(json_t *root, struct qn_task *task, struct qn_error *err)
{
    json_t *table = json_object_get(root, "checkpoint");
    if (table == NULL) {
        return QN_OK;
    }
    struct qn_task_checkpoint *checkpoint = &task->checkpoint;
    if (task->source.place != QN_PLACE_DATABASE) {
        return qn__task_take_integer(root, "checkpoint", "every_rows", 1, INT64_C(1000000000000),
                                     &checkpoint->every_rows, err);
    }
    QN_TRY(qn__task_require_text(root, "checkpoint", "column", &checkpoint->column, err));
    json_t *initial = json_object_get(table, "initial");
    if (initial != NULL) {
        enum qn_status status = read_initial(initial, &checkpoint->initial, err);
        if (status != QN_OK) {
            return qn__task_refuse_value("checkpoint.initial", status, err);
        }
    }
    QN_TRY(qn__task_take_integer(root, "checkpoint", "every_rows", 1, INT64_C(1000000000000), &checkpoint->every_rows,
                                 err));
    enum qn_ingest_mode mode = task->sink.mode;
    if (mode == QN_INGEST_REPLACE || mode == QN_INGEST_TRUNCATE || mode == QN_INGEST_CREATE) {
        (void)qn_error_set(err, QN_ERR_CONFIG,
                           "sink.mode %s begins with an empty table, so with a [checkpoint] only the newest rows would "
                           "stay in it",
                           qn_task_mode_name(mode));
        qn_error_hint(err, "use append or upsert, or remove [checkpoint]");
        return QN_ERR_CONFIG;
    }
    return QN_OK;
}

/* What the source's query says about :checkpoint must agree with [checkpoint]. */
static enum qn_status check_placeholders(const struct qn_task *task, bool *uses_out, struct qn_error *err)
{
    const struct qn_dialect *dialect = NULL;
    QN_TRY(qn_task_dialect(task->source.config, &dialect, err));
    struct qn_rewritten rewritten = { .spelling = QN_SPELLING_NONE };
    const char *query = task->source.query;
    enum qn_status status = qn_sql_rewrite(dialect, query, strlen(query), false, &rewritten, err);
    if (status != QN_OK) {
        return qn__task_refuse_value("source.query", status, err);
    }
    *uses_out = false;
    for (size_t i = 0; i < rewritten.n_placeholders && status == QN_OK; i++) {
        if (rewritten.spelling == QN_SPELLING_NAMED && strcmp(rewritten.names[i], "checkpoint") == 0) {
            *uses_out = true;
        } else if (rewritten.spelling == QN_SPELLING_NAMED) {
            status = qn_error_set(err, QN_ERR_CONFIG, "source.query has the placeholder :%s; a task knows :checkpoint",
                                  rewritten.names[i]);
        } else {
            status = qn_error_set(err, QN_ERR_CONFIG,
                                  "source.query has a placeholder without a name; a task knows "
                                  ":checkpoint");
        }
    }
    qn_rewritten_dispose(&rewritten);
    return status;
}

static enum qn_status check_whole(struct qn_task *task, bool has_processes, struct qn_error *err)
{
    bool has_checkpoint = task->checkpoint.column != NULL;
    if (task->source.table != NULL) {
        task->source.uses_checkpoint = has_checkpoint;
        if (task->sink.place == QN_PLACE_DATABASE && strcmp(task->source.connection, task->sink.connection) == 0 &&
            strcmp(task->source.table, task->sink.table) == 0) {
            return qn_error_set(err, QN_ERR_CONFIG, "source.table and sink.table are the same table \"%s\"",
                                task->sink.table);
        }
        return QN_OK;
    }
    QN_TRY(check_placeholders(task, &task->source.uses_checkpoint, err));
    if (task->source.uses_checkpoint && !has_checkpoint) {
        (void)qn_error_set(err, QN_ERR_CONFIG, "source.query uses :checkpoint, but there is no [checkpoint]");
        qn_error_hint(err, "write [checkpoint] with column, the result's column that grows, and initial");
        return QN_ERR_CONFIG;
    }
    if (has_checkpoint && !task->source.uses_checkpoint && !has_processes) {
        (void)qn_error_set(err, QN_ERR_CONFIG,
                           "source.query does not use :checkpoint, so every run would move every row again");
        qn_error_hint(err, "write `where %s > :checkpoint order by %s`, or remove [checkpoint]",
                      task->checkpoint.column, task->checkpoint.column);
        return QN_ERR_CONFIG;
    }
    return QN_OK;
}

static enum qn_status read_plan(json_t *root, struct qn_task *task, struct qn_error *err)
{
    if (!json_is_object(root)) {
        return qn_error_set(err, QN_ERR_CONFIG, "a plan is a table, not %s", qn__task_toml_name(root));
    }
    if (json_object_get(root, "include") != NULL) {
        (void)qn_error_set(err, QN_ERR_CONFIG, "include: a plan has its connections in itself");
        qn_error_hint(err, "who reads the task file puts the included tables under \"connections\"");
        return QN_ERR_CONFIG;
    }
    QN_TRY(qn__task_check_shape(root, "", top_rules, err));
    for (size_t i = 0; i < sizeof table_rules / sizeof *table_rules; i++) {
        json_t *table = json_object_get(root, table_rules[i].path);
        if (table != NULL) {
            QN_TRY(qn__task_check_shape(table, table_rules[i].path, table_rules[i].rules, err));
        }
    }
    QN_TRY(check_connections(json_object_get(root, "connections"), err));
    QN_TRY(read_name(root, task, err));
    QN_TRY(read_source(root, &task->source, err));
    QN_TRY(read_sink(root, &task->sink, err));
    QN_TRY(qn__task_check_bundle_name(task, err));
    QN_TRY(read_checkpoint(root, task, err));
    if (task->source.place == QN_PLACE_DATABASE) {
        QN_TRY(check_whole(task, json_array_size(json_object_get(root, "process")) > 0, err));
    } else {
        QN_TRY(qn__task_check_locations(root, task, err));
    }
    QN_TRY(qn__task_read_processes(root, task, err));
    return qn__task_check_output(task, err);
}

enum qn_status qn_task_new(const char *json, size_t size, struct qn_task **out, struct qn_error *err)
{
    if (json == NULL || out == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a plan and a place for the task are needed");
    }
    if (size > QN_TASK_PLAN_MAX) {
        return qn_error_set(err, QN_ERR_CONFIG, "the plan has %zu bytes; at most %d are allowed", size,
                            QN_TASK_PLAN_MAX);
    }
    json_error_t problem;
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (root == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the plan is not JSON: line %d, column %d: %s", problem.line,
                            problem.column, problem.text);
    }
    struct qn_task *task = qn_calloc(1, sizeof *task);
    enum qn_status status = task != NULL ? read_plan(root, task, err) : qn__no_memory(err);
    json_decref(root);
    if (status != QN_OK) {
        qn_task_free(task);
        return status;
    }
    *out = task;
    return QN_OK;
}

void qn_task_free(struct qn_task *task)
{
    if (task == NULL) {
        return;
    }
    struct qn_task_source *source = &task->source;
    for (size_t i = 0; i < source->n_types; i++) {
        qn_free((char *)(uintptr_t)source->types[i].column);
        qn_free((char *)(uintptr_t)source->types[i].type);
    }
    qn_free(source->types);
    qn_free(source->connection);
    qn_free(source->query);
    qn_free(source->table);
    qn_config_free(source->config);
    qn_free(source->arguments);
    qn_free(source->folder);
    qn_free(source->pack);
    qn_free(source->version);
    for (size_t i = 0; i < task->sink.n_key; i++) {
        qn_free(task->sink.key[i]);
    }
    qn_free((void *)task->sink.key);
    qn_free(task->sink.connection);
    qn_free(task->sink.table);
    qn_free(task->sink.format);
    qn_config_free(task->sink.config);
    for (size_t i = 0; i < task->n_processes; i++) {
        qn_processor_free(task->processes[i].processor);
    }
    qn_free(task->processes);
    qn_free(task->checkpoint.column);
    qn_checkpoint_dispose(&task->checkpoint.initial);
    qn_free(task->name);
    qn_free(task);
}

const char *qn_task_name(const struct qn_task *task)
{
    return task->name;
}
