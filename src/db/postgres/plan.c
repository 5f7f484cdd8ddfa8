/*
 * plan.c: which Arrow type each result column gets, by its PostgreSQL type, its typmod and the caller's options, and the
 * schema that follows. Types that are not in the table are text in the server's own form; their names are asked once.
 */
#include "db/postgres/decode.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>

/* ---- names of types ---- */

static const char *cached_name(const struct qn_pg *pg, const struct qn_pg_field *field)
{
    for (int32_t i = 0; i < pg->n_type_names; i++) {
        if (pg->type_names[i].oid == field->oid && pg->type_names[i].typmod == field->typmod) {
            return pg->type_names[i].name;
        }
    }
    return NULL;
}

static enum qn_status keep_name(struct qn_pg *pg, uint32_t oid, int32_t typmod, const char *name, size_t size,
                                struct qn_error *err)
{
    struct qn_pg_type_name *names =
        qn_realloc_array(pg->type_names, (size_t)pg->n_type_names + 1, sizeof *pg->type_names);
    if (names == NULL) {
        return qn__no_memory(err);
    }
    pg->type_names = names;
    char *copy = qn_strndup(name, size);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    names[pg->n_type_names++] = (struct qn_pg_type_name){ .oid = oid, .typmod = typmod, .name = copy };
    return QN_OK;
}

/* One row of the answer: oid, typmod, name, all as text. */
static enum qn_status take_name(void *context, struct qn_pg *pg, const char *const *values, const size_t *sizes,
                                int32_t n, struct qn_error *err)
{
    (void)context;
    if (n != 3 || values[0] == NULL || values[1] == NULL || values[2] == NULL || sizes[0] > 11 || sizes[1] > 11) {
        return QN_OK;
    }
    char oid[12];
    char typmod[12];
    memcpy(oid, values[0], sizes[0]);
    oid[sizes[0]] = 0;
    memcpy(typmod, values[1], sizes[1]);
    typmod[sizes[1]] = 0;
    return keep_name(pg, (uint32_t)strtoul(oid, NULL, 10), (int32_t)strtol(typmod, NULL, 10), values[2], sizes[2], err);
}

/* Ask for the names that are missing, in one round trip. */
static enum qn_status learn_names(struct qn_pg *pg, const struct qn_pg_description *description, struct qn_error *err)
{
    qn_auto_buffer sql = QN_BUFFER_INIT;
    for (int32_t i = 0; i < description->n_fields; i++) {
        const struct qn_pg_field *field = &description->fields[i];
        if (qn_pg_type_find(field->oid) == NULL && cached_name(pg, field) == NULL) {
            qn_buffer_append_text(&sql,
                                  sql.size == 0 ? "select o, m, pg_catalog.format_type(o, m) from (values " : ", ");
            qn_buffer_printf(&sql, "(%u::pg_catalog.oid, %d)", field->oid, field->typmod);
        }
    }
    if (sql.size == 0) {
        return QN_OK;
    }
    qn_buffer_append_text(&sql, ") as v(o, m)");
    QN_TRY(qn_buffer_check(&sql, "a question for type names", err));
    return qn_pg_simple_rows(pg, qn_buffer_text(&sql), take_name, NULL, err);
}

/* Typmods of intervals and bit strings and so on are left out: the base name says enough there. */
static void type_text(const struct qn_pg *pg, const struct qn_pg_field *field, char *out, size_t size)
{
    const struct qn_pg_type *type = qn_pg_type_find(field->oid);
    int32_t typmod = field->typmod;
    if (type == NULL) {
        const char *name = cached_name(pg, field);
        (void)snprintf(out, size, "%s", name != NULL ? name : "unknown");
    } else if (field->oid == QN_PG_NUMERIC && typmod >= 4) {
        int32_t scale = (((typmod - 4) & 0x7ff) ^ 1024) - 1024;
        (void)snprintf(out, size, "numeric(%d,%d)", ((typmod - 4) >> 16) & 0xffff, scale);
    } else if ((field->oid == QN_PG_VARCHAR || field->oid == QN_PG_BPCHAR) && typmod >= 4) {
        (void)snprintf(out, size, "%s(%d)", type->name, typmod - 4);
    } else if ((field->oid == QN_PG_BIT || field->oid == QN_PG_VARBIT) && typmod >= 0) {
        (void)snprintf(out, size, "%s(%d)", type->name, typmod);
    } else if ((field->oid == QN_PG_TIMESTAMP || field->oid == QN_PG_TIMESTAMPTZ || field->oid == QN_PG_TIME ||
                field->oid == QN_PG_TIMETZ) &&
               typmod >= 0) {
        const char *space = strchr(type->name, ' ');
        (void)snprintf(out, size, "%.*s(%d)%s", (int)(space - type->name), type->name, typmod, space);
    } else {
        (void)snprintf(out, size, "%s", type->name);
    }
}

/* ---- choosing ---- */

static void choose_text(struct qn_pg_column *column, struct qn_type *type)
{
    column->decoder = QN_PG_DECODE_TEXT;
    *type = qn_type_of(QN_TYPE_STRING_VIEW);
}

static void choose_decimal(struct qn_pg_column *column, int32_t precision, int32_t scale, struct qn_type *type)
{
    column->decoder = QN_PG_DECODE_NUMERIC;
    column->precision = precision;
    column->scale = scale;
    *type = qn_type_decimal(precision, scale);
}

static void choose_numeric(struct qn_pg_column *column, const struct qn_pg_field *field,
                           const struct qn_query_options *options, struct qn_type *type)
{
    if (field->typmod >= 4) {
        int32_t precision = ((field->typmod - 4) >> 16) & 0xffff;
        int32_t scale = (((field->typmod - 4) & 0x7ff) ^ 1024) - 1024;
        precision = scale < 0 ? precision - scale : (scale > precision ? scale : precision);
        scale = scale < 0 ? 0 : scale;
        if (precision > QN_DECIMAL_MAX_DIGITS || precision < 1 || options->numeric_special == QN_POLICY_TEXT) {
            choose_text(column, type);
        } else {
            choose_decimal(column, precision, scale, type);
        }
    } else if (options->numeric == QN_NUMERIC_FLOAT64) {
        column->decoder = QN_PG_DECODE_NUMERIC_FLOAT8;
        *type = qn_type_of(QN_TYPE_FLOAT64);
    } else if (options->numeric == QN_NUMERIC_TEXT || options->result_mode != QN_RESULT_WHOLE) {
        choose_text(column, type);
    } else {
        choose_decimal(column, QN_DECIMAL_MAX_DIGITS, 0, type);
        column->decoder = QN_PG_DECODE_NUMERIC_WIDENED;
        column->empty = true;
    }
}

static void choose(struct qn_pg_column *column, const struct qn_pg_field *field, const struct qn_query_options *options,
                   struct qn_type *type)
{
    const struct qn_pg_type *known = qn_pg_type_find(field->oid);
    if (known == NULL) {
        choose_text(column, type);
        return;
    }
    column->decoder = known->decoder;
    *type = qn_type_of(known->arrow);
    switch (known->decoder) {
    case QN_PG_DECODE_NUMERIC:
        choose_numeric(column, field, options, type);
        break;
    case QN_PG_DECODE_DATE:
    case QN_PG_DECODE_TIME:
    case QN_PG_DECODE_TIMESTAMP:
        type->unit = QN_UNIT_MICRO;
        if (options->infinity == QN_POLICY_TEXT) {
            choose_text(column, type);
        } else if (field->oid == QN_PG_TIMESTAMPTZ) {
            *type = qn_type_timestamp(QN_UNIT_MICRO, "UTC");
        }
        break;
    default:
        break;
    }
}

/* ---- the caller's own choice ---- */

static bool is_string(enum qn_type_id id)
{
    return id == QN_TYPE_STRING_VIEW || id == QN_TYPE_STRING || id == QN_TYPE_LARGE_STRING;
}

static enum qn_status refuse_override(const struct qn_pg_field *field, const char *sql_type, const char *wanted,
                                      struct qn_error *err)
{
    enum qn_status status = qn_error_set(err, QN_ERR_UNSUPPORTED, "column \"%s\" of type %s cannot be read as %s",
                                         field->name, sql_type, wanted);
    qn_error_hint(err, "any column can be read as Utf8, numeric also as Decimal(p,s) or Float64; for other types "
                       "cast in the statement");
    qn_error_place(err, -1, field->name);
    return status;
}

static enum qn_status override(struct qn_pg_column *column, const struct qn_pg_field *field, const char *sql_type,
                               const char *wanted, struct qn_type *type, struct qn_error *err)
{
    struct qn_type asked;
    QN_TRY(qn_type_from_text(wanted, &asked, err));
    if (is_string(asked.id)) {
        choose_text(column, type);
    } else if (field->oid == QN_PG_NUMERIC && asked.id == QN_TYPE_DECIMAL128 && asked.scale >= 0) {
        choose_decimal(column, asked.precision, asked.scale, type);
    } else if (field->oid == QN_PG_NUMERIC && asked.id == QN_TYPE_FLOAT64) {
        column->decoder = QN_PG_DECODE_NUMERIC_FLOAT8;
        *type = asked;
    } else if (asked.id != type->id || asked.unit != type->unit ||
               (asked.id == QN_TYPE_TIMESTAMP && !qn_text_equal(asked.timezone, type->timezone))) {
        return refuse_override(field, sql_type, wanted, err);
    }
    return QN_OK;
}

static enum qn_status check_overrides(const struct qn_pg_description *description,
                                      const struct qn_query_options *options, struct qn_error *err)
{
    for (size_t i = 0; i < options->n_types; i++) {
        bool found = false;
        for (int32_t j = 0; j < description->n_fields && !found; j++) {
            found = qn_text_equal(description->fields[j].name, options->types[i].column);
        }
        if (!found) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "types: the result has no column \"%s\"",
                                options->types[i].column);
        }
    }
    return QN_OK;
}

static enum qn_status plan_column(struct qn_pg_rows *rows, struct qn_pg *pg, const struct qn_pg_field *field, int32_t i,
                                  const struct qn_query_options *options, struct qn_error *err)
{
    struct qn_pg_column *column = &rows->columns[i];
    struct qn_type type = { 0 };
    char sql_type[256];
    column->oid = field->oid;
    choose(column, field, options, &type);
    type_text(pg, field, sql_type, sizeof sql_type);
    for (size_t j = 0; j < options->n_types; j++) {
        if (qn_text_equal(options->types[j].column, field->name)) {
            QN_TRY(override(column, field, sql_type, options->types[j].type, &type, err));
        }
    }
    rows->by_values = rows->by_values || column->decoder == QN_PG_DECODE_NUMERIC_WIDENED;
    QN_TRY(qn_schema_set(&rows->schema, i, field->name, &type, err));
    column->name = rows->schema.children[i]->name;
    if (type.id == QN_TYPE_STRING_VIEW && qn_pg_type_text_exact(sql_type, strlen(sql_type))) {
        QN_TRY(qn_schema_metadata_set(rows->schema.children[i], QN_KEY_DATABASE, qn__dialect_postgres.name, err));
    }
    return qn_schema_metadata_set(rows->schema.children[i], QN_KEY_SQL_TYPE, sql_type, err);
}

static enum qn_status choose_all(struct qn_pg_rows *rows, struct qn_pg *pg, const struct qn_pg_description *description,
                                 const struct qn_query_options *options, struct qn_error *err)
{
    QN_TRY(check_overrides(description, options, err));
    QN_TRY(learn_names(pg, description, err));
    QN_TRY(qn_schema_struct(&rows->schema, description->n_fields, err));
    rows->columns = qn_calloc((size_t)description->n_fields + 1, sizeof *rows->columns);
    if (rows->columns == NULL) {
        return qn__no_memory(err);
    }
    rows->n_columns = description->n_fields;
    for (int32_t i = 0; i < rows->n_columns; i++) {
        QN_TRY(plan_column(rows, pg, &description->fields[i], i, options, err));
    }
    return qn_batch_init(&rows->batch, &rows->schema, err);
}

/* ---- the plan of the last time ---- */

void qn_pg_plan_free(struct qn_pg_plan *plan)
{
    if (plan != NULL) {
        qn_batch_dispose(&plan->batch);
        qn_schema_release(&plan->schema);
        qn_free(plan->columns);
        qn_free(plan);
    }
}

static bool plan_serves(const struct qn_pg_plan *plan, const struct qn_query_options *options)
{
    return plan != NULL && options->n_types == 0 && plan->numeric == options->numeric &&
           plan->numeric_special == options->numeric_special && plan->infinity == options->infinity &&
           plan->whole == (options->result_mode == QN_RESULT_WHOLE);
}

/* The names of columns are texts of the schema, which all copies of it share. */
static enum qn_status copy_plan(struct qn_pg_rows *rows, const struct qn_pg_plan *plan, struct qn_error *err)
{
    size_t size = ((size_t)plan->n_columns + 1) * sizeof *rows->columns;
    QN_TRY(qn_schema_share(&plan->schema, &rows->schema, err));
    rows->columns = qn_malloc(size);
    if (rows->columns == NULL) {
        return qn__no_memory(err);
    }
    memcpy(rows->columns, plan->columns, size);
    rows->n_columns = plan->n_columns;
    QN_TRY(qn_batch_like(&plan->batch, &rows->batch, err));
    for (int32_t i = 0; i < rows->n_columns; i++) {
        rows->columns[i].name = rows->batch.columns[i].name = (char *)(uintptr_t)rows->schema.children[i]->name;
    }
    return QN_OK;
}

/* Make a plan of what was chosen, and rows->schema one that shares its texts. */
static enum qn_status keep_plan(struct qn_pg_rows *rows, struct qn_pg_prepared *prepared,
                                const struct qn_query_options *options, struct qn_error *err)
{
    QN_TRY(qn_schema_freeze(&rows->schema, err));
    struct qn_pg_plan *plan = qn_calloc(1, sizeof *plan);
    if (plan == NULL) {
        return qn__no_memory(err);
    }
    *plan = (struct qn_pg_plan){ .numeric = options->numeric,
                                 .numeric_special = options->numeric_special,
                                 .infinity = options->infinity,
                                 .whole = options->result_mode == QN_RESULT_WHOLE,
                                 .n_columns = rows->n_columns,
                                 .columns = rows->columns,
                                 .batch = rows->batch };
    plan->schema = rows->schema;
    rows->columns = NULL;
    rows->batch = (struct qn_batch){ 0 };
    rows->schema.release = NULL;
    rows->n_columns = 0;
    qn_pg_plan_free(prepared->plan);
    prepared->plan = plan;
    return copy_plan(rows, plan, err);
}

enum qn_status qn_pg_rows_init(struct qn_pg_rows *rows, struct qn_pg *pg, struct qn_pg_prepared *prepared,
                               const struct qn_query_options *options, struct qn_error *err)
{
    enum qn_status status;
    *rows = (struct qn_pg_rows){ .numeric_special = options->numeric_special, .infinity = options->infinity };
    if (plan_serves(prepared->plan, options)) {
        status = copy_plan(rows, prepared->plan, err);
    } else {
        status = choose_all(rows, pg, &prepared->description, options, err);
        if (status == QN_OK && !rows->by_values && options->n_types == 0) {
            status = keep_plan(rows, prepared, options, err);
        }
    }
    for (int32_t i = 0; i < rows->n_columns && status == QN_OK; i++) {
        rows->columns[i].column = &rows->batch.columns[i];
    }
    if (status != QN_OK) {
        qn_pg_rows_dispose(rows);
    }
    return status;
}

void qn_pg_rows_dispose(struct qn_pg_rows *rows)
{
    qn_batch_dispose(&rows->batch);
    qn_schema_release(&rows->schema);
    qn_buffer_dispose(&rows->scratch);
    qn_free(rows->columns);
    *rows = (struct qn_pg_rows){ 0 };
}

enum qn_status qn_pg_rows_schema(const struct qn_pg_rows *rows, struct ArrowSchema *out, struct qn_error *err)
{
    if (!rows->by_values) {
        return qn_schema_share(&rows->schema, out, err);
    }
    qn_auto_schema copy = { 0 };
    QN_TRY(qn_schema_copy(&rows->schema, &copy, err));
    for (int32_t i = 0; i < rows->n_columns; i++) {
        const struct qn_pg_column *column = &rows->columns[i];
        struct qn_type type = qn_type_decimal(QN_DECIMAL_MAX_DIGITS, column->scale);
        if (column->decoder == QN_PG_DECODE_NUMERIC_TEXT) {
            type = qn_type_of(QN_TYPE_STRING_VIEW);
        } else if (column->decoder != QN_PG_DECODE_NUMERIC_WIDENED) {
            continue;
        }
        char sql_type[] = "numeric";
        QN_TRY(qn_schema_set(&copy, i, column->name, &type, err));
        QN_TRY(qn_schema_metadata_set(copy.children[i], QN_KEY_SQL_TYPE, sql_type, err));
    }
    *out = copy;
    copy.release = NULL;
    return QN_OK;
}
