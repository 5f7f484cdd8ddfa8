/*
 * database.c: the built-in connector `database`: tables, ranges of tables, or a query of any database that is there.
 *
 * Data streams through the public API of databases, a connection for each stream; idle ones are kept. Where the connection
 * comes from is an argument: a URI, or a name, whose URI is in the environment (QANAT_CONNECTION_NAME), so that no password
 * has to stand in a bundle. Columns and the limit go into SQL, and as much of a filter as means the same there.
 * Threads: `lock` guards the idle connections.
 */
#include "connector/database_private.h"

#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "connector/locate.h"
#include "connector/registry.h"
#include "db/config.h"
#include "db/sql.h"

#include <stdlib.h>

#define DEFAULT_ROWS_PER_RANGE 1000000
#define MAX_NAME               128

static const char *const known[] = { "connection", "query", "name",    "table",          "tables",
                                     "schema",     "views", "key",     "rows_per_range", "watermark",
                                     "version",    "where", "numeric", "types.",         NULL };

/* ---- opening ---- */

static void database_close(void *self)
{
    struct database *database = self;
    for (size_t i = 0; i < database->n_idle; i++) {
        qn_connection_free(database->idle[i]);
    }
    for (size_t i = 0; i < database->n_tables; i++) {
        qn__database_table_dispose(&database->tables[i]);
    }
    qn_free(database->tables);
    qn_free(database->types);
    qn_config_free(database->config);
    qn_arguments_dispose(&database->arguments);
    (void)pthread_mutex_destroy(&database->lock);
    qn_free(database);
}

/* The URI of a name: QANAT_CONNECTION_WAREHOUSE of "warehouse". */
static enum qn_status uri_of_name(const char *name, const char **out, struct qn_error *err)
{
    char variable[MAX_NAME + 32] = "QANAT_CONNECTION_";
    size_t used = strlen(variable);
    for (const char *c = name; *c != '\0'; c++) {
        if (c - name >= MAX_NAME || (!qn_ascii_letter(*c) && !qn_ascii_digit(*c) && *c != '_')) {
            return qn_error_set(err, QN_ERR_CONFIG,
                                "the argument \"connection\" is neither a URI nor a name of letters, digits and _");
        }
        variable[used++] = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
    }
    variable[used] = '\0';
    *out = getenv(variable);
    if (*out == NULL || (*out)[0] == '\0') {
        enum qn_status status = qn_error_set(err, QN_ERR_CONFIG, "connection \"%s\" is not known", name);
        qn_error_hint(err, "set %s to its URI in the environment, or give a URI", variable);
        return status;
    }
    return QN_OK;
}

static enum qn_status read_connection(struct database *database, const struct qn_connector_opening *opening,
                                      struct qn_error *err)
{
    const char *given = qn_arguments_text(&database->arguments, "connection");
    const char *uri;
    given =
        given != NULL || opening->entrypoint == NULL || opening->entrypoint[0] == '\0' ? given : opening->entrypoint;
    if (given == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the argument \"connection\" is missing: a URI, or the name of one");
    }
    uri = given;
    if (strchr(given, ':') == NULL) {
        QN_TRY(uri_of_name(given, &uri, err));
    }
    QN_TRY(qn_config_from_uri(uri, &database->config, err));
    const char *type = qn_config_get(database->config, "type");
    const struct qn_driver *driver = NULL;
    for (size_t i = 0; (driver = qn_driver_at(i)) != NULL && !qn_text_equal(driver->name, type); i++) {
    }
    if (driver == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "there is no database of type \"%s\"", type);
    }
    database->dialect = driver->dialect;
    database->kind = qn_text_equal(type, "postgres") ? DATABASE_POSTGRES
                     : qn_text_equal(type, "sqlite") ? DATABASE_SQLITE
                                                     : DATABASE_OTHER;
    const char *path = qn_config_get(database->config, "path");
    if (database->kind == DATABASE_SQLITE && path != NULL && path[0] != ':' &&
        qn_config_get(database->config, "create") == NULL) { /* a path that is mistyped is no new database */
        QN_TRY(qn_config_set(database->config, "create", "false", err));
        path = qn_config_get(database->config, "path");
    }
    if (database->kind == DATABASE_SQLITE && opening->folder != NULL && path != NULL && path[0] != '/' &&
        path[0] != ':' && path[0] != '\0') {
        qn_auto_buffer whole = QN_BUFFER_INIT;
        QN_TRY(qn_locate_path(opening->folder, path, &whole, err));
        return qn_config_set(database->config, "path", whole.data, err);
    }
    return QN_OK;
}

static enum qn_status add_table(struct database *database, const char *name, size_t size, struct qn_error *err)
{
    while (size > 0 && qn_ascii_space(*name)) {
        name++;
        size--;
    }
    while (size > 0 && qn_ascii_space(name[size - 1])) {
        size--;
    }
    if (database->n_tables == DATABASE_MAX_TABLES) {
        return qn_error_set(err, QN_ERR_CONFIG, "more than %d tables", DATABASE_MAX_TABLES);
    }
    struct database_table *longer =
        qn_realloc_array(database->tables, database->n_tables + 1, sizeof *database->tables);
    if (longer == NULL) {
        return qn__no_memory(err);
    }
    database->tables = longer;
    char *copy = qn_strndup(name, size);
    struct database_table table;
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn__database_table_new(database, NULL, copy, &table, err);
    qn_free(copy);
    QN_TRY(status);
    for (size_t i = 0; i < database->n_tables; i++) {
        if (qn_text_equal(database->tables[i].text, table.text)) {
            status = qn_error_set(err, QN_ERR_CONFIG, "table %s is named twice", table.text);
            qn__database_table_dispose(&table);
            return status;
        }
    }
    database->tables[database->n_tables++] = table;
    return QN_OK;
}

/* "a, b" with commas inside of quotes left alone. */
static enum qn_status read_tables(struct database *database, const char *list, struct qn_error *err)
{
    const char *begin = list;
    bool quoted = false;
    for (const char *c = list;; c++) {
        quoted = quoted != (*c == '"');
        if (*c == '\0' || (*c == ',' && !quoted)) {
            QN_TRY(add_table(database, begin, (size_t)(c - begin), err));
            begin = c + 1;
        }
        if (*c == '\0') {
            return QN_OK;
        }
    }
}

static enum qn_status read_sources(struct database *database, struct qn_error *err)
{
    const struct qn_arguments *arguments = &database->arguments;
    const char *table = qn_arguments_text(arguments, "table");
    const char *tables = qn_arguments_text(arguments, "tables");
    const char *name = qn_arguments_text(arguments, "name");
    database->query = qn_arguments_text(arguments, "query");
    database->schema = qn_arguments_text(arguments, "schema");
    database->query_name = name != NULL ? name : "query";
    int n = (table != NULL) + (tables != NULL) + (database->query != NULL) + (database->schema != NULL);
    if (n != 1) {
        return qn_error_set(err, QN_ERR_CONFIG, "%s of the arguments \"query\", \"table\", \"tables\" and \"schema\"",
                            n == 0 ? "one is needed" : "more than one is given");
    }
    if (name != NULL && database->query == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the argument \"name\" is the location of a query, and there is none");
    }
    QN_TRY(qn_arguments_bool(arguments, "views", false, &database->views, err));
    QN_TRY(tables != NULL ? read_tables(database, tables, err) : QN_OK);
    return table != NULL ? add_table(database, table, strlen(table), err) : QN_OK;
}

static enum qn_status read_version(struct database *database, struct qn_error *err)
{
    const char *version = qn_arguments_text(&database->arguments, "version");
    database->watermark = qn_arguments_text(&database->arguments, "watermark");
    if (version == NULL || qn_text_equal(version, "none")) {
        database->count = false;
    } else if (qn_text_equal(version, "count")) {
        database->count = true;
    } else {
        return qn_error_set(err, QN_ERR_CONFIG, "argument \"version\": \"%.100s\" is neither count nor none", version);
    }
    return QN_OK;
}

static enum qn_status read_ranges(struct database *database, struct qn_error *err)
{
    const struct qn_arguments *arguments = &database->arguments;
    database->key = qn_arguments_text(arguments, "key");
    database->where = qn_arguments_text(arguments, "where");
    QN_TRY(qn_arguments_int64(arguments, "rows_per_range", DEFAULT_ROWS_PER_RANGE, 1, INT64_MAX,
                              &database->rows_per_range, err));
    if (database->query != NULL && (database->key != NULL || database->where != NULL)) {
        return qn_error_set(err, QN_ERR_CONFIG, "the argument \"%s\" is for tables, not for a query",
                            database->key != NULL ? "key" : "where");
    }
    if (database->key == NULL && qn_arguments_text(arguments, "rows_per_range") != NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the argument \"rows_per_range\" needs a \"key\"");
    }
    if (database->key != NULL && database->kind == DATABASE_OTHER) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "key ranges are not made for databases of type \"%s\"",
                            database->dialect->name);
    }
    return QN_OK;
}

static enum qn_status read_types(struct database *database, struct qn_error *err)
{
    const char *key;
    json_t *value;
    const char *numeric = qn_arguments_text(&database->arguments, "numeric");
    if (numeric == NULL || qn_text_equal(numeric, "decimal")) {
        database->numeric = QN_NUMERIC_DECIMAL;
    } else if (qn_text_equal(numeric, "text") || qn_text_equal(numeric, "float64")) {
        database->numeric = qn_text_equal(numeric, "text") ? QN_NUMERIC_TEXT : QN_NUMERIC_FLOAT64;
    } else {
        return qn_error_set(err, QN_ERR_CONFIG, "argument \"numeric\": \"%.100s\" is none of decimal, text and float64",
                            numeric);
    }
    database->types = qn_calloc(json_object_size(database->arguments.object) + 1, sizeof *database->types);
    if (database->types == NULL) {
        return qn__no_memory(err);
    }
    json_object_foreach(database->arguments.object, key, value)
    {
        if (strncmp(key, "types.", strlen("types.")) == 0) {
            database->types[database->n_types++] =
                (struct qn_type_override){ .column = key + strlen("types."), .type = json_string_value(value) };
        }
    }
    return QN_OK;
}

static enum qn_status database_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                    struct qn_error *err)
{
    (void)context;
    struct database *database = qn_calloc(1, sizeof *database);
    if (database == NULL) {
        return qn__no_memory(err);
    }
    (void)pthread_mutex_init(&database->lock, NULL);
    enum qn_status status = qn_arguments_parse(opening->arguments, known, false, &database->arguments, err);
    status = status == QN_OK ? read_connection(database, opening, err) : status;
    status = status == QN_OK ? read_sources(database, err) : status;
    status = status == QN_OK ? read_version(database, err) : status;
    status = status == QN_OK ? read_ranges(database, err) : status;
    status = status == QN_OK ? read_types(database, err) : status;
    if (status != QN_OK) {
        database_close(database);
        return status;
    }
    *self_out = database;
    return QN_OK;
}

/* ---- connections ---- */

static struct qn_connection *take_idle(struct database *database)
{
    (void)pthread_mutex_lock(&database->lock);
    struct qn_connection *connection = database->n_idle > 0 ? database->idle[--database->n_idle] : NULL;
    (void)pthread_mutex_unlock(&database->lock);
    return connection;
}

static enum qn_status take_connection(struct database *database, struct qn_connection **out, struct qn_error *err)
{
    struct qn_connection *connection;
    while ((connection = take_idle(database)) != NULL) {
        if (qn_connection_is_alive(connection)) { /* it may have been lost while nobody used it */
            *out = connection;
            return QN_OK;
        }
        qn_connection_free(connection);
    }
    enum qn_status status = qn_connection_open_config(database->config, out, err);
    if (status == QN_ERR_CONNECTION && database->kind == DATABASE_SQLITE) {
        qn_error_hint(err, "sqlite:///x is relative, to the connector's folder; sqlite:////x is not");
    }
    return status;
}

/* Only one that did its work is kept. */
static void give_back(struct database *database, struct qn_connection *connection, bool good)
{
    good = good && !qn_connection_is_closed(connection) && qn_connection_depth(connection) == 0;
    (void)pthread_mutex_lock(&database->lock);
    if (good && database->n_idle < DATABASE_MAX_IDLE) {
        database->idle[database->n_idle++] = connection;
        connection = NULL;
    }
    (void)pthread_mutex_unlock(&database->lock);
    qn_connection_free(connection);
}

/* ---- discovery ---- */

static enum qn_status database_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                        void *each_context, struct qn_error *err)
{
    struct database *database = self;
    struct qn_connection *connection;
    QN_TRY(take_connection(database, &connection, err));
    enum qn_status status = qn__database_discover(database, connection, attached, n, each, each_context, err);
    give_back(database, connection, status == QN_OK);
    return status;
}

/* ---- data ---- */

/* Rows, and the connection that they come by. */
struct rows {
    struct ArrowArrayStream stream;
    struct database *database;
    struct qn_connection *connection;
    bool failed;
};

static enum qn_status rows_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct rows *rows = self;
    return qn_stream_schema(&rows->stream, out, err);
}

static enum qn_status rows_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct rows *rows = self;
    enum qn_status status = qn_stream_next(&rows->stream, out, err);
    rows->failed |= status != QN_OK;
    return status;
}

static void rows_free(void *self)
{
    struct rows *rows = self;
    qn_stream_release(&rows->stream); /* cancels what still runs */
    give_back(rows->database, rows->connection, !rows->failed);
    qn_free(rows);
}

/* What a location is; a table that the arguments do not give is refused. */
struct target {
    struct database_table table; /* of its own, where it is one of a schema */
    const struct database_table *source;
    struct database_range range;
    bool ranged;
};

static void target_dispose(struct target *target)
{
    qn__database_table_dispose(&target->table);
    qn__database_range_dispose(&target->range);
}

/* The end of a table's name in a location: the first bracket outside of quotes. */
static size_t name_size(const char *location)
{
    bool quoted = false;
    size_t i = 0;
    for (; location[i] != '\0' && (quoted || location[i] != '['); i++) {
        quoted = quoted != (location[i] == '"');
    }
    return i;
}

/* A table of the schema that is given. */
static enum qn_status find_in_schema(const struct database *database, const char *location, struct target *target,
                                     const char **range_out, bool *found_out, struct qn_error *err)
{
    struct qn_error local = QN_ERROR_INIT;
    char *name = qn_strndup(location, name_size(location));
    if (name == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn__database_table_new(database, NULL, name, &target->table, &local);
    qn_free(name);
    if (status == QN_ERR_NO_MEMORY) {
        return qn__no_memory(err);
    }
    *found_out = status == QN_OK && target->table.schema != NULL &&
                 qn_text_equal(target->table.schema, database->schema) &&
                 qn__database_is_of(&target->table, location, range_out);
    target->source = &target->table;
    return QN_OK;
}

static enum qn_status find_target(const struct database *database, const char *location, struct target *target,
                                  struct qn_error *err)
{
    const char *range = NULL;
    bool found = database->query != NULL && qn_text_equal(location, database->query_name);
    for (size_t i = 0; !found && i < database->n_tables; i++) {
        found = qn__database_is_of(&database->tables[i], location, &range);
        target->source = found ? &database->tables[i] : NULL;
    }
    if (!found && database->schema != NULL) {
        QN_TRY(find_in_schema(database, location, target, &range, &found, err));
    }
    if (found && range != NULL) {
        QN_TRY(qn__database_parse_range(database, range, &target->range, &found, err));
    }
    target->ranged = range != NULL;
    return found ? QN_OK : qn_error_set(err, QN_ERR_ARGUMENT, "this is no location of the connector");
}

static enum qn_status run(const struct database *database, struct qn_connection *connection, const char *sql,
                          bool typed, struct ArrowArrayStream *out, struct qn_error *err)
{
    struct qn_query_options options = QN_QUERY_OPTIONS_INIT;
    struct qn_query query = QN_QUERY_INIT;
    options.numeric = database->numeric;
    options.types = typed ? database->types : NULL;
    options.n_types = typed ? database->n_types : 0;
    query.sql = sql;
    query.options = &options;
    return qn_connection_query(connection, &query, out, NULL, err);
}

/* The schema of a location's rows, for the filter: of columns that are not overridden. */
static enum qn_status read_schema(const struct database *database, struct qn_connection *connection,
                                  const struct target *target, struct ArrowSchema *out, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_auto_stream stream = { .release = NULL };
    qn_buffer_append_text(&sql, "select *");
    QN_TRY(qn__database_put_source(database, target->source, NULL, &sql, err));
    qn_buffer_append_text(&sql, " and 1 = 0");
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    QN_TRY(run(database, connection, sql.data, false, &stream, err));
    return qn_stream_schema(&stream, out, err);
}

static void put_columns(const struct database *database, const struct qn_data_request *request, struct qn_buffer *sql)
{
    for (size_t i = 0; i < request->n_columns; i++) {
        qn_buffer_append_text(sql, i > 0 ? ", " : "");
        qn__database_put_column(database, request->columns[i], sql);
    }
}

/* The statement of a request, and what of the request it does. */
static enum qn_status write_statement(const struct database *database, struct qn_connection *connection,
                                      const struct target *target, const struct qn_data_request *request,
                                      struct qn_buffer *sql, uint32_t *applied_out, struct qn_error *err)
{
    bool whole = true;
    bool picked = request->columns != NULL && request->n_columns > 0;
    *applied_out = picked ? QN_APPLIED_PROJECTION : 0;
    qn_buffer_append_text(sql, "select ");
    if (picked) {
        put_columns(database, request, sql);
    } else {
        qn_buffer_append_text(sql, "q.*");
    }
    QN_TRY(qn__database_put_source(database, target->source, target->ranged ? &target->range : NULL, sql, err));
    if (request->filter != NULL) {
        qn_auto_schema schema = { .release = NULL };
        QN_TRY(read_schema(database, connection, target, &schema, err));
        QN_TRY(qn__database_put_filter(database, request->filter, &schema, sql, &whole, err));
        *applied_out |= whole ? QN_APPLIED_FILTER : 0;
    }
    if (request->limit >= 0 && request->skip_rows == 0 && whole && database->kind != DATABASE_OTHER) {
        qn_buffer_printf(sql, " limit %lld", (long long)request->limit);
        *applied_out |= QN_APPLIED_LIMIT;
    }
    return qn_buffer_check(sql, "a statement", err);
}

static enum qn_status open_rows(const struct database *database, struct qn_connection *connection,
                                const struct qn_location *location, const struct qn_data_request *request,
                                struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    struct target target = { .ranged = false };
    qn_auto_buffer sql = QN_BUFFER_INIT;
    enum qn_status status = find_target(database, location->location, &target, err);
    bool as_given = database->query != NULL && request->columns == NULL && request->filter == NULL &&
                    request->limit < 0; /* with its own order */
    if (status == QN_OK && !as_given) {
        status = write_statement(database, connection, &target, request, &sql, applied_out, err);
    }
    if (status == QN_OK) {
        status = run(database, connection, as_given ? database->query : sql.data, true, out, err);
    }
    target_dispose(&target);
    return status;
}

static enum qn_status database_data(void *self, const struct qn_location *location,
                                    const struct qn_data_request *request, struct ArrowArrayStream *out,
                                    uint32_t *applied_out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { rows_schema, rows_next, rows_free };
    struct database *database = self;
    uint32_t applied = 0;
    struct rows *rows = qn_calloc(1, sizeof *rows);
    if (rows == NULL) {
        return qn__no_memory(err);
    }
    rows->database = database;
    enum qn_status status = take_connection(database, &rows->connection, err);
    if (status != QN_OK) {
        qn_free(rows);
        return status;
    }
    status = open_rows(database, rows->connection, location, request, &rows->stream, &applied, err);
    if (status == QN_OK) {
        status = qn_stream_make(&ops, rows, out, err);
    }
    if (status != QN_OK) {
        rows->failed = true;
        rows_free(rows);
        return status;
    }
    *applied_out = applied;
    return QN_OK;
}

/* ---- the rest ---- */

static enum qn_status database_describe(void *self, char **out, struct qn_error *err)
{
    (void)self;
    return qn_builtin_text(
        "{\"name\": \"database\", \"capabilities\": [\"projection\"], \"arguments\": {\"type\": \"object\", "
        "\"required\": [\"connection\"], \"properties\": {"
        "\"connection\": {\"type\": \"string\", \"description\": \"a URI, or the name of one in the environment\"}, "
        "\"query\": {\"type\": \"string\"}, "
        "\"name\": {\"type\": \"string\", \"description\": \"the location of the query\"}, "
        "\"table\": {\"type\": \"string\"}, "
        "\"tables\": {\"type\": \"string\", \"description\": \"names between commas\"}, "
        "\"schema\": {\"type\": \"string\"}, "
        "\"views\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
        "\"key\": {\"type\": \"string\"}, "
        "\"rows_per_range\": {\"type\": \"string\"}, "
        "\"watermark\": {\"type\": \"string\"}, "
        "\"version\": {\"type\": \"string\", \"enum\": [\"none\", \"count\"]}, "
        "\"where\": {\"type\": \"string\"}, "
        "\"numeric\": {\"type\": \"string\", \"enum\": [\"decimal\", \"text\", \"float64\"]}}}}",
        out, err);
}

static enum qn_status database_capabilities(void *self, uint32_t *out, struct qn_error *err)
{
    (void)self;
    (void)err;
    *out = 1U << QN_CAN_DISCOVER_MUCH;
    return QN_OK;
}

const struct qn_connector_runtime qn__runtime_database = {
    .struct_size = sizeof qn__runtime_database,
    .abi = QN_CONNECTOR_ABI,
    .name = "database",
    .external = false,
    .open = database_open,
    .close = database_close,
    .discover = database_discover,
    .data = database_data,
    .describe = database_describe,
    .capabilities = database_capabilities,
};
