/*
 * database_discover.c: the locations of the `database` connector: tables, and ranges of a table's key.
 *
 * All statements of one discovery are in one transaction that reads one state of the database, where it has such. Ranges
 * that are attached stay as they are: a location that was delivered never changes its rows by being cut anew. What lies
 * between, before and behind them is cut into ranges of `rows_per_range` rows (more where many rows have one key). Ranges
 * meet each other: the end of one is the beginning of the next, so that a row belongs to exactly one, whatever is inserted
 * between them later; only before the first and behind the last is there room for new ones. Rows without a key are a
 * location of their own. Keys are compared by the database alone, in its own order. Threads: one at a time per connection.
 */
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "connector/database_private.h"

#define MAX_ATTACHED 20000 /* ranges of a table: their values stand in one statement */

struct discovery {
    struct database *database;
    struct qn_connection *connection;
    const struct database_table *table;
    const char *const *attached;
    size_t n_attached;
    qn_location_callback each;
    void *context;
    bool key_is_number; /* of the present table */
};

struct ranges {
    struct database_range *items;
    size_t n, capacity;
};

static void ranges_dispose(struct ranges *ranges)
{
    for (size_t i = 0; i < ranges->n; i++) {
        qn__database_range_dispose(&ranges->items[i]);
    }
    qn_free(ranges->items);
    *ranges = (struct ranges){ 0 };
}

/* The range is taken over in any case. */
static enum qn_status ranges_add(struct ranges *ranges, struct database_range *range, struct qn_error *err)
{
    if (ranges->n == ranges->capacity) {
        size_t capacity = ranges->capacity * 2 + 16;
        struct database_range *longer = qn_realloc_array(ranges->items, capacity, sizeof *longer);
        if (longer == NULL) {
            qn__database_range_dispose(range);
            return qn__no_memory(err);
        }
        ranges->items = longer;
        ranges->capacity = capacity;
    }
    ranges->items[ranges->n++] = *range;
    *range = (struct database_range){ 0 };
    return QN_OK;
}

static enum qn_status copy_value(const struct database_value *from, struct database_value *to, struct qn_error *err)
{
    to->number = from->number;
    to->text = qn_strdup(from->text);
    return to->text != NULL || from->text == NULL ? QN_OK : qn__no_memory(err);
}

/* ---- facts ---- */

/* Rows and version of what a location has now. */
static enum qn_status look(const struct discovery *discovery, const struct database_range *range, int64_t *rows_out,
                           struct qn_buffer *version, struct qn_error *err)
{
    static const char *const names[] = { "n", "w" };
    const struct database *database = discovery->database;
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_auto_buffer column = QN_BUFFER_INIT;
    struct database_rows rows;
    size_t n = 0;
    const char *columns[2];
    *rows_out = -1;
    qn_buffer_append_text(version, "");
    if (database->watermark == NULL && !database->count) {
        return QN_OK;
    }
    qn_buffer_append_text(&sql, "select ");
    if (database->count) {
        qn_buffer_append_text(&sql, "count(*) as n");
        columns[n++] = names[0];
    }
    if (database->watermark != NULL) {
        qn_buffer_append_text(&column, "max(");
        qn__database_put_column(database, database->watermark, &column);
        qn_buffer_append_byte(&column, ')');
        QN_TRY(qn_buffer_check(&column, "a column", err));
        qn_buffer_append_text(&sql, n > 0 ? ", " : "");
        qn__database_put_text_of(database, column.data, &sql);
        qn_buffer_append_text(&sql, " as w");
        columns[n++] = names[1];
    }
    QN_TRY(qn__database_put_source(database, discovery->table, range, &sql, err));
    QN_TRY(qn__database_read(discovery->connection, sql.data, columns, n, &rows, err));
    long long count = -1;
    if (database->watermark != NULL) {
        const char *value = rows.n_rows == 1 ? rows.values[n - 1] : NULL;
        qn_buffer_printf(version, "max=%s", value != NULL ? value : "");
    }
    if (database->count && rows.n_rows == 1 && rows.values[0] != NULL) {
        (void)qn_text_to_int64(rows.values[0], 0, INT64_MAX, &count);
        qn_buffer_printf(version, "%srows=%lld", version->size > 0 ? " " : "", count);
    }
    qn__database_rows_dispose(&rows);
    *rows_out = count;
    return qn_buffer_check(version, "a version", err);
}

static enum qn_status tell(const struct discovery *discovery, const struct database_range *range, const char *name,
                           struct qn_error *err)
{
    struct qn_location location = QN_LOCATION_INIT;
    qn_auto_buffer text = QN_BUFFER_INIT;
    qn_auto_buffer version = QN_BUFFER_INIT;
    QN_TRY(look(discovery, range, &location.num_rows, &version, err));
    if (range != NULL) {
        QN_TRY(qn__database_location(discovery->database, discovery->table, range, &text, err));
        name = text.data;
    }
    location.location = name;
    location.version = qn_buffer_text(&version);
    return discovery->each(discovery->context, &location, err);
}

/* ---- keys ---- */

/* A key as the database wrote it out. */
static enum qn_status read_key(const struct discovery *discovery, const char *text, struct database_value *out,
                               struct qn_error *err)
{
    if (text != NULL && discovery->database->kind == DATABASE_SQLITE) {
        bool infinite = qn_text_equal(text, "Inf") || qn_text_equal(text, "-Inf"); /* which no literal is */
        const char *at = !infinite ? text : text[0] == '-' ? "-9e999" : "9e999";
        bool taken = false;
        QN_TRY(qn__database_take_value(&at, out, &taken, err));
        if (taken && *at == '\0') {
            return QN_OK;
        }
        qn__free_pointer(&out->text);
    } else if (text != NULL) {
        out->number = discovery->key_is_number;
        out->text = qn_strdup(text);
        return out->text != NULL ? QN_OK : qn__no_memory(err);
    }
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "table %s: key \"%s\" has values that are neither numbers nor texts",
                        discovery->table->text, discovery->database->key);
}

/* Whether keys are written without quotes. SQLite says it value by value. */
static enum qn_status look_at_key(struct discovery *discovery, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_auto_stream stream = { .release = NULL };
    qn_auto_schema schema = { .release = NULL };
    struct qn_query query = QN_QUERY_INIT;
    struct qn_type type;
    qn_buffer_append_text(&sql, "select ");
    qn__database_put_column(discovery->database, discovery->database->key, &sql);
    QN_TRY(qn__database_put_source(discovery->database, discovery->table, NULL, &sql, err));
    qn_buffer_append_text(&sql, " and 1 = 0");
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    query.sql = sql.data;
    QN_TRY(qn_connection_query(discovery->connection, &query, &stream, NULL, err));
    QN_TRY(qn_stream_schema(&stream, &schema, err));
    QN_TRY(qn_type_from_format(schema.children[0]->format, &type, err));
    discovery->key_is_number = type.id >= QN_TYPE_INT8 && type.id <= QN_TYPE_UINT64;
    return QN_OK;
}

/* ---- attached ranges, in order ---- */

static enum qn_status collect_attached(const struct discovery *discovery, struct ranges *out, bool *nulls_out,
                                       struct qn_error *err)
{
    *nulls_out = false;
    for (size_t i = 0; i < discovery->n_attached; i++) {
        const char *text = NULL;
        struct database_range range;
        if (!qn__database_is_of(discovery->table, discovery->attached[i], &text) || text == NULL) {
            continue;
        }
        bool right = false;
        QN_TRY(qn__database_parse_range(discovery->database, text, &range, &right, err));
        if (!right) {
            return qn_error_set(err, QN_ERR_CONFIG, "the attached location \"%.300s\" is not a range of key \"%s\"",
                                discovery->attached[i], discovery->database->key);
        }
        if (range.nulls) {
            *nulls_out = true;
            qn__database_range_dispose(&range);
        } else {
            QN_TRY(ranges_add(out, &range, err));
        }
    }
    if (out->n > MAX_ATTACHED) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "table %s: more than %d ranges are attached",
                            discovery->table->text, MAX_ATTACHED);
    }
    return QN_OK;
}

/* The beginnings of ranges with their numbers, as rows of the key's type and order. */
static enum qn_status put_beginnings(const struct discovery *discovery, const struct ranges *ranges,
                                     struct qn_buffer *sql, struct qn_error *err)
{
    const struct database *database = discovery->database;
    qn_auto_buffer first = QN_BUFFER_INIT;
    qn_buffer_append_text(&first, "select ");
    qn__database_put_column(database, database->key, &first);
    qn_buffer_append_text(&first, database->kind == DATABASE_SQLITE ? " as column1, -1 as column2" : "");
    QN_TRY(qn__database_put_source(database, discovery->table, NULL, &first, err));
    qn_buffer_append_text(&first, " and 1 = 0");
    QN_TRY(qn_buffer_check(&first, "a statement", err));
    /* the first row has the type and the collation of the column, and is none */
    qn_buffer_printf(sql, database->kind == DATABASE_SQLITE ? "%s union all values " : "values ((%s), -1)", first.data);
    for (size_t i = 0; i < ranges->n; i++) {
        qn_buffer_append_text(sql, i > 0 || database->kind != DATABASE_SQLITE ? ", (" : "(");
        qn__database_put_value(database, &ranges->items[i].from, sql);
        qn_buffer_printf(sql, ", %zu)", i);
    }
    return qn_buffer_check(sql, "a statement", err);
}

static enum qn_status sort_attached(const struct discovery *discovery, struct ranges *ranges, struct qn_error *err)
{
    static const char *const columns[] = { "i" };
    qn_auto_buffer sql = QN_BUFFER_INIT;
    struct database_rows rows;
    if (ranges->n < 2) {
        return QN_OK;
    }
    qn_buffer_append_text(&sql, "select column2 as i from (");
    QN_TRY(put_beginnings(discovery, ranges, &sql, err));
    qn_buffer_append_text(&sql, ") v where column2 >= 0 order by column1, column2");
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    QN_TRY(qn__database_read(discovery->connection, sql.data, columns, 1, &rows, err));
    struct database_range *sorted = qn_calloc(ranges->n, sizeof *sorted);
    bool right = sorted != NULL && rows.n_rows == ranges->n;
    for (size_t i = 0; right && i < rows.n_rows; i++) {
        long long from = -1;
        right = rows.values[i] != NULL && qn_text_to_int64(rows.values[i], 0, (long long)ranges->n - 1, &from);
        if (right) {
            sorted[i] = ranges->items[from];
        }
    }
    qn__database_rows_dispose(&rows);
    if (!right) {
        qn_free(sorted);
        return sorted == NULL ? qn__no_memory(err)
                              : qn_error_set(err, QN_ERR_INTERNAL, "the attached ranges cannot be put in order");
    }
    qn_free(ranges->items);
    ranges->items = sorted;
    ranges->capacity = ranges->n;
    return QN_OK;
}

/* ---- cutting what lies between ---- */

/* Every `rows_per_range`-th key of a gap, in order. One that many rows have may come more than once. */
static enum qn_status put_cuts(const struct discovery *discovery, const struct database_range *gap,
                               struct qn_buffer *sql, struct qn_error *err)
{
    const struct database *database = discovery->database;
    qn_auto_buffer key = QN_BUFFER_INIT;
    qn__database_put_column(database, database->key, &key);
    QN_TRY(qn_buffer_check(&key, "a column", err));
    qn_buffer_append_text(sql, "select ");
    qn__database_put_text_of(database, "k", sql);
    qn_buffer_printf(sql, " as k from (select %s as k, row_number() over (order by %s) as r", key.data, key.data);
    QN_TRY(qn__database_put_source(database, discovery->table, gap, sql, err));
    qn_buffer_printf(sql, ") a where (r - 1) %% %lld = 0 order by r", (long long)database->rows_per_range);
    return qn_buffer_check(sql, "a statement", err);
}

/* Leave each key once: rows of one key are not cut apart. */
static void drop_repeated(struct database_rows *cuts)
{
    size_t n = 0;
    for (size_t i = 0; i < cuts->n_rows; i++) {
        char *value = cuts->values[i];
        if (n > 0 && value != NULL && cuts->values[n - 1] != NULL && qn_text_equal(value, cuts->values[n - 1])) {
            qn_free(value);
        } else {
            cuts->values[n++] = value;
        }
    }
    cuts->n_rows = n;
}

/* The greatest key of a gap that has rows. */
static enum qn_status read_last(const struct discovery *discovery, const struct database_range *gap,
                                struct database_value *out, struct qn_error *err)
{
    static const char *const columns[] = { "k" };
    const struct database *database = discovery->database;
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_auto_buffer key = QN_BUFFER_INIT;
    struct database_rows rows;
    qn__database_put_column(database, database->key, &key);
    QN_TRY(qn_buffer_check(&key, "a column", err));
    qn_buffer_append_text(&sql, "select ");
    qn__database_put_text_of(database, key.data, &sql);
    qn_buffer_append_text(&sql, " as k");
    QN_TRY(qn__database_put_source(database, discovery->table, gap, &sql, err));
    qn_buffer_printf(&sql, " order by %s desc limit 1", key.data);
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    QN_TRY(qn__database_read(discovery->connection, sql.data, columns, 1, &rows, err));
    enum qn_status status = read_key(discovery, rows.n_rows == 1 ? rows.values[0] : NULL, out, err);
    qn__database_rows_dispose(&rows);
    return status;
}

/* The i-th of the pieces of a gap; the outermost ones reach to its ends where it has them. */
static enum qn_status make_piece(const struct discovery *discovery, const struct database_range *gap,
                                 const struct database_rows *cuts, size_t i, struct database_range *out,
                                 struct qn_error *err)
{
    bool first = i == 0;
    bool last = i + 1 == cuts->n_rows;
    if (first && gap->low != BOUND_NONE) {
        out->low = gap->low;
        QN_TRY(copy_value(&gap->from, &out->from, err));
    } else {
        out->low = BOUND_INCLUSIVE;
        QN_TRY(read_key(discovery, cuts->values[i], &out->from, err));
    }
    if (!last) {
        out->high = BOUND_EXCLUSIVE;
        return read_key(discovery, cuts->values[i + 1], &out->to, err);
    }
    if (gap->high != BOUND_NONE) {
        out->high = gap->high;
        return copy_value(&gap->to, &out->to, err);
    }
    out->high = BOUND_INCLUSIVE;
    return read_last(discovery, gap, &out->to, err);
}

static enum qn_status cut_gap(const struct discovery *discovery, const struct database_range *gap, struct qn_error *err)
{
    static const char *const columns[] = { "k" };
    qn_auto_buffer sql = QN_BUFFER_INIT;
    struct database_rows cuts;
    QN_TRY(put_cuts(discovery, gap, &sql, err));
    QN_TRY(qn__database_read(discovery->connection, sql.data, columns, 1, &cuts, err));
    enum qn_status status = QN_OK;
    drop_repeated(&cuts);
    for (size_t i = 0; status == QN_OK && i < cuts.n_rows; i++) {
        struct database_range piece = { 0 };
        status = make_piece(discovery, gap, &cuts, i, &piece, err);
        status = status == QN_OK ? tell(discovery, &piece, NULL, err) : status;
        qn__database_range_dispose(&piece);
    }
    qn__database_rows_dispose(&cuts);
    return status;
}

static bool same_value(const struct database_value *a, const struct database_value *b)
{
    return a->number == b->number && qn_text_equal(a->text, b->text);
}

/* What begins where a range ends, and the other way round. */
static enum database_bound other_side(enum database_bound bound)
{
    return bound == BOUND_INCLUSIVE ? BOUND_EXCLUSIVE : BOUND_INCLUSIVE;
}

/* Between two attached ranges, either of which may be missing. */
static enum qn_status cut_between(const struct discovery *discovery, const struct database_range *before,
                                  const struct database_range *after, struct qn_error *err)
{
    struct database_range gap = { 0 };
    if (before != NULL && after != NULL && after->low == other_side(before->high) &&
        same_value(&before->to, &after->from)) {
        return QN_OK; /* they meet */
    }
    if (before != NULL) { /* borrowed: the gap is not disposed of */
        gap.low = other_side(before->high);
        gap.from = before->to;
    }
    if (after != NULL) {
        gap.high = other_side(after->low);
        gap.to = after->from;
    }
    return cut_gap(discovery, &gap, err);
}

/* ---- tables ---- */

static enum qn_status tell_nulls(const struct discovery *discovery, bool attached, struct qn_error *err)
{
    static const char *const columns[] = { "n" };
    const struct database_range range = { .nulls = true };
    qn_auto_buffer sql = QN_BUFFER_INIT;
    struct database_rows rows;
    qn_buffer_append_text(&sql, "select 1 as n");
    QN_TRY(qn__database_put_source(discovery->database, discovery->table, &range, &sql, err));
    qn_buffer_append_text(&sql, " limit 1");
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    QN_TRY(qn__database_read(discovery->connection, sql.data, columns, 1, &rows, err));
    bool found = rows.n_rows > 0;
    qn__database_rows_dispose(&rows);
    return found || attached ? tell(discovery, &range, NULL, err) : QN_OK;
}

static enum qn_status discover_ranges(struct discovery *discovery, struct ranges *ranges, struct qn_error *err)
{
    bool nulls = false;
    QN_TRY(look_at_key(discovery, err));
    QN_TRY(collect_attached(discovery, ranges, &nulls, err));
    QN_TRY(sort_attached(discovery, ranges, err));
    for (size_t i = 0; i <= ranges->n; i++) {
        const struct database_range *before = i > 0 ? &ranges->items[i - 1] : NULL;
        const struct database_range *after = i < ranges->n ? &ranges->items[i] : NULL;
        QN_TRY(cut_between(discovery, before, after, err));
        QN_TRY(after != NULL ? tell(discovery, after, NULL, err) : QN_OK);
    }
    return tell_nulls(discovery, nulls, err);
}

/* A table that the arguments name has to be there, and its columns those of `where`: no row is read for it. */
static enum qn_status check_table(const struct discovery *discovery, const struct database_table *table,
                                  struct qn_error *err)
{
    static const char *const columns[] = { "n" };
    qn_auto_buffer sql = QN_BUFFER_INIT;
    struct database_rows rows;
    qn_buffer_append_text(&sql, "select 1 as n");
    QN_TRY(qn__database_put_source(discovery->database, table, NULL, &sql, err));
    qn_buffer_append_text(&sql, " and 1 = 0");
    QN_TRY(qn_buffer_check(&sql, "a statement", err));
    enum qn_status status = qn__database_read(discovery->connection, sql.data, columns, 1, &rows, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "table %s", table->text);
        return status;
    }
    qn__database_rows_dispose(&rows);
    return QN_OK;
}

static enum qn_status discover_table(struct discovery *discovery, const struct database_table *table,
                                     struct qn_error *err)
{
    struct ranges ranges = { 0 };
    discovery->table = table;
    if (discovery->database->key == NULL) {
        return tell(discovery, NULL, table->text, err);
    }
    enum qn_status status = discover_ranges(discovery, &ranges, err);
    ranges_dispose(&ranges);
    return status;
}

/* ---- schemas ---- */

/* The tables of a schema, as they are found. */
struct table_list {
    const struct database *database;
    struct database_table *tables; /* room for DATABASE_MAX_TABLES */
    size_t n;
};

static enum qn_status add_table(struct table_list *list, const struct qn_batch_reader *batch, int64_t row,
                                struct qn_error *err)
{
    const struct database *database = list->database;
    const char *name = NULL, *kind = NULL;
    size_t name_size = 0, kind_size = 0;
    if (!qn_reader_bytes(&batch->columns[1], row, &name, &name_size) ||
        !qn_reader_bytes(&batch->columns[2], row, &kind, &kind_size)) {
        return qn_error_set(err, QN_ERR_DATA, "the list of tables cannot be read");
    }
    if (!database->views && !(kind_size == 5 && memcmp(kind, "table", 5) == 0)) {
        return QN_OK;
    }
    if (list->n == DATABASE_MAX_TABLES) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "schema \"%s\" has more than %d tables", database->schema,
                            DATABASE_MAX_TABLES);
    }
    qn_auto_free char *copy = qn_strndup(name, name_size);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(qn__database_table_new(database, database->schema, copy, &list->tables[list->n], err));
    list->n++;
    return QN_OK;
}

static enum qn_status add_tables(void *context, const struct qn_batch_reader *batch, struct qn_error *err)
{
    for (int64_t row = 0; row < batch->length; row++) {
        QN_TRY(add_table(context, batch, row, err));
    }
    return QN_OK;
}

/* The names of the tables, and of the views where they are wanted, in a schema. What was found is in *out on failure too. */
static enum qn_status list_tables(const struct discovery *discovery, struct database_table **out, size_t *n_out,
                                  struct qn_error *err)
{
    qn_auto_stream stream = { .release = NULL };
    struct table_list list = { .database = discovery->database,
                               .tables = qn_calloc(DATABASE_MAX_TABLES, sizeof *list.tables) };
    enum qn_status status = list.tables != NULL ? QN_OK : qn__no_memory(err);
    if (status == QN_OK) {
        status = qn_connection_tables(discovery->connection, discovery->database->schema, &stream, err);
    }
    if (status == QN_OK) {
        status = qn_stream_each_batch(&stream, add_tables, &list, err);
    }
    *out = list.tables;
    *n_out = list.n;
    return status;
}

static enum qn_status discover_schema(struct discovery *discovery, struct qn_error *err)
{
    struct database_table *tables = NULL;
    size_t n = 0;
    enum qn_status status = list_tables(discovery, &tables, &n, err);
    for (size_t i = 0; status == QN_OK && i < n; i++) {
        status = discover_table(discovery, &tables[i], err);
    }
    for (size_t i = 0; i < n; i++) {
        qn__database_table_dispose(&tables[i]);
    }
    qn_free(tables);
    return status;
}

static enum qn_status discover_all(struct discovery *discovery, struct qn_error *err)
{
    const struct database *database = discovery->database;
    if (database->query != NULL) {
        return tell(discovery, NULL, database->query_name, err);
    }
    if (database->schema != NULL) {
        return discover_schema(discovery, err);
    }
    for (size_t i = 0; i < database->n_tables; i++) {
        QN_TRY(check_table(discovery, &database->tables[i], err));
        QN_TRY(discover_table(discovery, &database->tables[i], err));
    }
    return QN_OK;
}

enum qn_status qn__database_discover(struct database *database, struct qn_connection *connection,
                                     const char *const *attached, size_t n, qn_location_callback each, void *context,
                                     struct qn_error *err)
{
    struct discovery discovery = { .database = database,
                                   .connection = connection,
                                   .attached = attached,
                                   .n_attached = n,
                                   .each = each,
                                   .context = context };
    enum qn_isolation isolation = database->dialect->begin_read_only[QN_ISOLATION_REPEATABLE_READ] != NULL
                                      ? QN_ISOLATION_REPEATABLE_READ
                                      : QN_ISOLATION_DEFAULT;
    QN_TRY(qn_connection_begin(connection, isolation, true, err));
    enum qn_status status = discover_all(&discovery, err);
    struct qn_error ignored = QN_ERROR_INIT;
    enum qn_status ended = qn_connection_rollback(connection, status == QN_OK ? err : &ignored);
    return status == QN_OK ? ended : status;
}
