/*
 * ingest.c: bulk writes into a table.
 *
 * The target is described first, columns are matched by name, and every column gets its encoder. Append is a COPY into
 * the target. Upsert, ignore, and columns whose type is only written as text go through a staging table: a temporary
 * table with the target's types (text for those columns) and, where a key is given, the row's number; COPY into it, one
 * INSERT ... SELECT out of it, which casts the texts, and it is dropped again.
 *
 * Invariant: everything runs in the transaction that the engine has opened; a failure leaves it to the engine to roll
 * back. Nothing here commits.
 */
#include "arrow/reader.h"
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "db/postgres/copy.h"
#include "db/postgres/encode.h"
#include "db/postgres/lookup.h"
#include "db/postgres/postgres.h"
#include "db/sql.h"

#include <inttypes.h>
#include <stdio.h>

#define COLUMNS_SHOWN 12 /* of the target in the hint about a column that is missing */

struct ingest_column {
    const char *name; /* of the schema of the rows; borrowed */
    uint32_t oid;     /* of the target's type */
    int32_t typmod;
    bool looked_up;
    bool text_like; /* its binary form is its text: enums, citext */
    char *cast;     /* the type's name, for a column that is staged as text; or NULL */
};

struct ingest_plan {
    struct qn_pg *pg;
    const struct qn_driver_ingest *ingest;
    struct qn_buffer target; /* quoted, with the schema where given */
    char *relation;          /* the table's bare name */
    struct qn_pg_description description;
    struct ingest_column *columns;
    int32_t n_columns;
    struct qn_batch_reader readers;
    struct qn_pg_encoder *encoders;
    bool staged;
    char stage[32];
};

/* Upsert and ignore: the staging table has the rows' numbers, so that repeated keys can be told. */
static bool has_key(const struct ingest_plan *plan)
{
    return plan->ingest->mode == QN_INGEST_UPSERT || plan->ingest->mode == QN_INGEST_IGNORE;
}

static void plan_dispose(struct ingest_plan *plan)
{
    for (int32_t i = 0; plan->columns != NULL && i < plan->n_columns; i++) {
        qn_free(plan->columns[i].cast);
    }
    qn_free(plan->columns);
    qn_free(plan->encoders);
    qn_free(plan->relation);
    qn_buffer_dispose(&plan->target);
    qn_pg_description_dispose(&plan->description);
    qn_batch_reader_dispose(&plan->readers);
}

/* ---- the target ---- */

static enum qn_status refuse_missing(const struct ingest_plan *plan, const char *name, struct qn_error *err)
{
    enum qn_status status = qn_error_set(err, QN_ERR_QUERY, "table \"%s\" has no column \"%s\"", plan->relation, name);
    qn_auto_buffer list = QN_BUFFER_INIT;
    for (int32_t i = 0; i < plan->description.n_fields && i < COLUMNS_SHOWN; i++) {
        qn_buffer_printf(&list, "%s\"%s\"", i > 0 ? ", " : "", plan->description.fields[i].name);
    }
    if (plan->description.n_fields > COLUMNS_SHOWN) {
        qn_buffer_append_text(&list, ", ...");
    }
    qn_error_hint(err, "it has %s; the case of letters counts", qn_buffer_text(&list));
    if (err != NULL) {
        QN_ERROR_COPY(err->sqlstate, "42703", 5);
        QN_ERROR_COPY(err->table_name, plan->relation, strlen(plan->relation));
        QN_ERROR_COPY(err->column_name, name, strlen(name));
    }
    return status;
}

/* Describe all columns of the target, so that a missing one is found here and the transaction goes on. */
static enum qn_status describe_target(struct ingest_plan *plan, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_buffer_printf(&sql, "select * from %s", qn_buffer_text(&plan->target));
    QN_TRY(qn_buffer_check(&sql, "the description of the table", err));
    QN_TRY(qn_pg_describe(plan->pg, qn_buffer_text(&sql), &plan->description, err));
    for (int32_t c = 0; c < plan->n_columns; c++) {
        struct ingest_column *column = &plan->columns[c];
        const struct qn_pg_field *field = NULL;
        for (int32_t i = 0; i < plan->description.n_fields && field == NULL; i++) {
            field = qn_text_equal(plan->description.fields[i].name, column->name) ? &plan->description.fields[i] : NULL;
        }
        if (field == NULL) {
            return refuse_missing(plan, column->name, err);
        }
        column->oid = field->oid;
        column->typmod = field->typmod;
    }
    return QN_OK;
}

/* ---- types that are not in our table ---- */

static enum qn_status take_type(void *context, const struct qn_pg_lookup_row *row, struct qn_error *err)
{
    struct ingest_plan *plan = context;
    if (row->n_fields != 3 || row->text[0] == NULL || row->text[2] == NULL) {
        return qn_error_set(err, QN_ERR_PROTOCOL, "the catalogue's answer about types is malformed");
    }
    uint64_t oid = 0;
    for (size_t i = 0; i < row->size[0] && qn_ascii_digit(row->text[0][i]) && oid < UINT32_MAX; i++) {
        oid = oid * 10 + (uint64_t)(row->text[0][i] - '0');
    }
    for (int32_t c = 0; c < plan->n_columns; c++) {
        struct ingest_column *column = &plan->columns[c];
        if (!column->looked_up || column->oid != oid || column->cast != NULL) {
            continue;
        }
        column->text_like = row->text[1] != NULL && row->size[1] == 1 && row->text[1][0] == 't';
        column->cast = qn_strndup(row->text[2], row->size[2]);
        if (column->cast == NULL) {
            return qn__no_memory(err);
        }
    }
    return QN_OK;
}

/* Names of the types that the encoders do not know in binary form, and whether text does for it. format_type without a
 * typmod names the unlimited type: the cast must not cut what the column's own limit would refuse. */
static enum qn_status look_up_types(struct ingest_plan *plan, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_buffer_append_text(&sql, "select t.oid, p.prosrc in ('textrecv', 'varcharrecv', 'bpcharrecv', 'enum_recv'), "
                                "pg_catalog.format_type(t.oid, -1) from pg_catalog.pg_type t "
                                "left join pg_catalog.pg_proc p on p.oid = t.typreceive where t.oid in (");
    bool any = false;
    for (int32_t c = 0; c < plan->n_columns; c++) {
        if (!qn_pg_encode_type_binary(plan->columns[c].oid)) {
            plan->columns[c].looked_up = true;
            qn_buffer_printf(&sql, "%s%" PRIu32, any ? ", " : "", plan->columns[c].oid);
            any = true;
        }
    }
    if (!any) {
        return QN_OK;
    }
    qn_buffer_append_text(&sql, ")");
    QN_TRY(qn_buffer_check(&sql, "the question about types", err));
    return qn_pg_lookup(plan->pg, qn_buffer_text(&sql), take_type, plan, err);
}

static enum qn_status choose_encoders(struct ingest_plan *plan, struct qn_error *err)
{
    for (int32_t c = 0; c < plan->n_columns; c++) {
        struct ingest_column *column = &plan->columns[c];
        struct qn_pg_encoder *encoder = &plan->encoders[c];
        uint32_t oid = column->text_like ? QN_PG_TEXT : column->oid;
        QN_TRY(qn_pg_encoder_choose(&plan->readers.columns[c], oid, column->typmod, encoder, err));
        if (encoder->format == 0) {
            const char *cast = qn_pg_encoder_cast(encoder);
            if (cast != NULL) {
                column->cast = qn_strdup(cast);
                if (column->cast == NULL) {
                    return qn__no_memory(err);
                }
            } else if (qn_pg_encode_type_strict(oid) || column->cast == NULL) {
                return qn_pg_encode_refuse(encoder, err);
            }
            plan->staged = true;
        }
    }
    return QN_OK;
}

static enum qn_status plan_prepare(struct ingest_plan *plan, struct qn_error *err)
{
    const struct qn_driver_ingest *ingest = plan->ingest;
    const struct ArrowSchema *schema = ingest->rows_schema;
    if (schema->n_children < 1 || schema->n_children > QN_PG_MAX_COLUMNS) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the rows for table \"%s\" have %" PRId64 " columns", ingest->table,
                            schema->n_children);
    }
    plan->n_columns = (int32_t)schema->n_children;
    plan->columns = qn_calloc((size_t)plan->n_columns, sizeof *plan->columns);
    plan->encoders = qn_calloc((size_t)plan->n_columns, sizeof *plan->encoders);
    if (plan->columns == NULL || plan->encoders == NULL) {
        return qn__no_memory(err);
    }
    for (int32_t c = 0; c < plan->n_columns; c++) {
        plan->columns[c].name = schema->children[c]->name != NULL ? schema->children[c]->name : "";
    }
    QN_TRY(qn_sql_table(&qn__dialect_postgres, ingest->schema, ingest->table, &plan->target, err));
    QN_TRY(qn_buffer_check(&plan->target, "the table's name", err));
    if (ingest->schema != NULL) {
        plan->relation = qn_strdup(ingest->table);
    } else {
        char *schema_name = NULL;
        QN_TRY(qn_sql_split_table(&qn__dialect_postgres, ingest->table, &schema_name, &plan->relation, err));
        qn_free(schema_name);
    }
    if (plan->relation == NULL) {
        return qn__no_memory(err);
    }
    plan->staged = has_key(plan);
    QN_TRY(describe_target(plan, err));
    QN_TRY(look_up_types(plan, err));
    QN_TRY(qn_batch_reader_init(&plan->readers, schema, err));
    return choose_encoders(plan, err);
}

/* ---- copying ---- */

static enum qn_status copy_stream(struct ingest_plan *plan, struct qn_pg_copy *copy, struct ArrowArrayStream *rows,
                                  struct qn_error *err)
{
    for (;;) {
        qn_auto_array array = { .release = NULL };
        enum qn_status status = qn_stream_next(rows, &array, err);
        if (status == QN_OK && array.release == NULL) {
            return QN_OK;
        }
        if (status == QN_OK) {
            status = qn_batch_reader_bind(&plan->readers, &array, err);
            if (status != QN_OK && err != NULL && err->row >= 0) {
                err->row += copy->rows;
            }
        }
        if (status != QN_OK) {
            qn_pg_copy_abort(copy);
            return status;
        }
        QN_TRY(qn_pg_copy_rows(copy, plan->readers.length, err));
    }
}

static enum qn_status copy_rows(struct ingest_plan *plan, const char *sql, const char *table,
                                struct ArrowArrayStream *rows, int64_t *rows_out, struct qn_error *err)
{
    struct qn_pg_copy copy;
    QN_TRY(qn_pg_copy_begin(plan->pg, sql, table, plan->encoders, plan->n_columns, has_key(plan), &copy, err));
    enum qn_status status = copy_stream(plan, &copy, rows, err);
    if (status == QN_OK) {
        status = qn_pg_copy_finish(&copy, rows_out, err);
    }
    qn_pg_copy_dispose(&copy);
    return status;
}

static void append_names(const struct ingest_plan *plan, struct qn_buffer *sql)
{
    for (int32_t c = 0; c < plan->n_columns; c++) {
        qn_buffer_append_text(sql, c > 0 ? ", " : "");
        qn_sql_identifier(&qn__dialect_postgres, plan->columns[c].name, sql);
    }
}

static enum qn_status append_direct(struct ingest_plan *plan, struct ArrowArrayStream *rows, int64_t *rows_out,
                                    struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    qn_buffer_printf(&sql, "copy %s (", qn_buffer_text(&plan->target));
    append_names(plan, &sql);
    qn_buffer_append_text(&sql, ") from stdin (format binary)");
    QN_TRY(qn_buffer_check(&sql, "the COPY statement", err));
    return copy_rows(plan, qn_buffer_text(&sql), plan->relation, rows, rows_out, err);
}

/* ---- staging: columns are c0, c1, ... and r, the row's number ---- */

static enum qn_status create_stage(struct ingest_plan *plan, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    (void)snprintf(plan->stage, sizeof plan->stage, "qanat_stage_%" PRIu64, plan->pg->next_statement++);
    qn_buffer_printf(&sql, "create temporary table %s on commit drop as select ", plan->stage);
    for (int32_t c = 0; c < plan->n_columns; c++) {
        qn_buffer_append_text(&sql, c > 0 ? ", " : "");
        if (plan->encoders[c].format == 0) {
            qn_buffer_append_text(&sql, "null::pg_catalog.text");
        } else {
            qn_sql_identifier(&qn__dialect_postgres, plan->columns[c].name, &sql);
        }
        qn_buffer_printf(&sql, " as c%" PRId32, c);
    }
    if (has_key(plan)) {
        qn_buffer_append_text(&sql, ", 0::pg_catalog.int8 as r");
    }
    qn_buffer_printf(&sql, " from %s with no data", qn_buffer_text(&plan->target));
    QN_TRY(qn_buffer_check(&sql, "the staging table's statement", err));
    return qn_pg_simple(plan->pg, qn_buffer_text(&sql), NULL, err);
}

static enum qn_status fill_stage(struct ingest_plan *plan, struct ArrowArrayStream *rows, struct qn_error *err)
{
    char sql[96];
    int64_t staged = 0;
    (void)snprintf(sql, sizeof sql, "copy pg_temp.%s from stdin (format binary)", plan->stage);
    return copy_rows(plan, sql, plan->stage, rows, &staged, err);
}

struct twins {
    int64_t first, last;
};

static enum qn_status take_twins(void *context, const struct qn_pg_lookup_row *row, struct qn_error *err)
{
    struct twins *twins = context;
    char text[2][24];
    long long value[2];
    for (int i = 0; i < 2; i++) {
        size_t size = row->n_fields == 2 ? row->size[i] : 0;
        if (size == 0 || size >= sizeof text[i]) {
            return qn_error_set(err, QN_ERR_PROTOCOL, "the answer about repeated keys is malformed");
        }
        memcpy(text[i], row->text[i], size);
        text[i][size] = '\0';
        if (!qn_text_to_int64(text[i], 0, INT64_MAX, &value[i])) {
            return qn_error_set(err, QN_ERR_PROTOCOL, "the answer about repeated keys is malformed");
        }
    }
    *twins = (struct twins){ .first = value[0], .last = value[1] };
    return QN_OK;
}

/* A key that occurs twice in the rows is an error naming the first two places of the first such key. */
static enum qn_status refuse_twins(struct ingest_plan *plan, struct qn_error *err)
{
    const struct qn_driver_ingest *ingest = plan->ingest;
    qn_auto_buffer sql = QN_BUFFER_INIT, keys = QN_BUFFER_INIT, names = QN_BUFFER_INIT;
    qn_buffer_printf(&sql, "select pg_catalog.min(r), (pg_catalog.array_agg(r order by r))[2] from pg_temp.%s where ",
                     plan->stage);
    for (size_t k = 0; k < ingest->n_key; k++) {
        int64_t at = qn_schema_find(ingest->rows_schema, ingest->key[k]);
        if (at < 0) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "key column \"%s\" is not among the columns of the rows",
                                ingest->key[k]);
        }
        const char *cast = plan->encoders[at].format == 0 ? plan->columns[at].cast : NULL;
        qn_buffer_printf(&sql, "%sc%" PRId64 " is not null", k > 0 ? " and " : "", at);
        qn_buffer_printf(&keys, "%sc%" PRId64 "%s%s", k > 0 ? ", " : "", at, cast != NULL ? "::" : "",
                         cast != NULL ? cast : "");
        qn_buffer_printf(&names, "%s\"%s\"", k > 0 ? ", " : "", ingest->key[k]);
    }
    qn_buffer_printf(&sql, " group by %s having pg_catalog.count(*) > 1 order by 1 limit 1", qn_buffer_text(&keys));
    QN_TRY(qn_buffer_check(&sql, "the search for repeated keys", err));
    QN_TRY(qn_buffer_check(&keys, "the search for repeated keys", err));
    struct twins twins = { .first = -1, .last = -1 };
    QN_TRY(qn_pg_lookup(plan->pg, qn_buffer_text(&sql), take_twins, &twins, err));
    if (twins.first < 0) {
        return QN_OK;
    }
    enum qn_status status = qn_error_set(err, QN_ERR_DATA, "rows %" PRId64 " and %" PRId64 " have the same key (%s)",
                                         twins.first, twins.last, qn_buffer_text(&names));
    qn_error_hint(err, "keep one row for each key");
    qn_error_place(err, twins.last, ingest->n_key == 1 ? ingest->key[0] : NULL);
    if (err != NULL) {
        QN_ERROR_COPY(err->sqlstate, "21000", 5);
        QN_ERROR_COPY(err->table_name, plan->relation, strlen(plan->relation));
    }
    return status;
}

static enum qn_status insert_sql(struct ingest_plan *plan, struct qn_buffer *sql, struct qn_error *err)
{
    qn_buffer_printf(sql, "insert into %s (", qn_buffer_text(&plan->target));
    append_names(plan, sql);
    qn_buffer_append_text(sql, ") select ");
    for (int32_t c = 0; c < plan->n_columns; c++) {
        bool cast = plan->encoders[c].format == 0;
        qn_buffer_printf(sql, "%sc%" PRId32 "%s%s", c > 0 ? ", " : "", c, cast ? "::" : "",
                         cast ? plan->columns[c].cast : "");
    }
    qn_buffer_printf(sql, " from pg_temp.%s", plan->stage);
    if (has_key(plan)) {
        QN_TRY(qn_sql_on_conflict(&qn__dialect_postgres, plan->ingest, sql, err));
    }
    return qn_buffer_check(sql, "the INSERT statement", err);
}

/* After a failure of the INSERT: a repeated key is told with its rows. The savepoint lets the staging table be asked. */
static enum qn_status explain_insert(struct ingest_plan *plan, const struct qn_error *failure, struct qn_error *err)
{
    if (qn_text_equal(failure->sqlstate, "21000") &&
        qn_pg_simple(plan->pg, "rollback to savepoint qanat_upsert", NULL, NULL) == QN_OK) {
        struct qn_error found = QN_ERROR_INIT;
        if (refuse_twins(plan, &found) == QN_ERR_DATA) {
            if (err != NULL) {
                *err = found;
            }
            return QN_ERR_DATA;
        }
    }
    if (err != NULL) {
        *err = *failure;
        if (qn_text_equal(failure->sqlstate, "42P10")) {
            qn_error_hint(err,
                          "the key's columns need a primary key or unique index over exactly them: alter table %s "
                          "add unique (...)",
                          qn_buffer_text(&plan->target));
        }
    }
    return failure->status;
}

static enum qn_status insert_from_stage(struct ingest_plan *plan, int64_t *rows_out, struct qn_error *err)
{
    /* with nothing but the key there is nothing to update: then the server skips a repeated key as it does for ignore */
    bool upsert = plan->ingest->mode == QN_INGEST_UPSERT && (size_t)plan->n_columns > plan->ingest->n_key;
    qn_auto_buffer sql = QN_BUFFER_INIT;
    QN_TRY(insert_sql(plan, &sql, err));
    if (has_key(plan) && !upsert) {
        QN_TRY(refuse_twins(plan, err));
    }
    if (upsert) {
        QN_TRY(qn_pg_simple(plan->pg, "savepoint qanat_upsert", NULL, err));
    }
    struct qn_error failure = QN_ERROR_INIT;
    if (qn_pg_simple(plan->pg, qn_buffer_text(&sql), rows_out, &failure) != QN_OK) {
        return explain_insert(plan, &failure, err);
    }
    char drop[96];
    (void)snprintf(drop, sizeof drop, "%sdrop table pg_temp.%s", upsert ? "release savepoint qanat_upsert; " : "",
                   plan->stage);
    return qn_pg_simple(plan->pg, drop, NULL, err);
}

enum qn_status qn_pg_ingest(void *connection, const struct qn_driver_ingest *ingest, struct ArrowArrayStream *rows,
                            int64_t *rows_out, struct qn_error *err)
{
    struct ingest_plan plan = { .pg = connection, .ingest = ingest };
    int64_t written = 0;
    enum qn_status status = plan_prepare(&plan, err);
    if (status == QN_OK && !plan.staged) {
        status = append_direct(&plan, rows, &written, err);
    } else if (status == QN_OK) {
        status = create_stage(&plan, err);
        if (status == QN_OK) {
            status = fill_stage(&plan, rows, err);
        }
        if (status == QN_OK) {
            status = insert_from_stage(&plan, &written, err);
        }
    }
    plan_dispose(&plan);
    if (status == QN_OK) {
        *rows_out = written;
    }
    return status;
}
