/*
 * catalogue.c: how SQL is written for PostgreSQL, and what the catalogue is asked. Constant data, and the types of new
 * tables' columns.
 */
#include "db/postgres/postgres.h"

static const char tables_sql[] =
    "select n.nspname::text as \"schema\", c.relname::text as \"name\", "
    "case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' "
    "when 'p' then 'partitioned table' else 'table' end as \"kind\" "
    "from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
    "where c.relkind in ('r', 'v', 'm', 'f', 'p') and n.nspname not in ('pg_catalog', 'information_schema') "
    "and n.nspname !~ '^pg_(toast|temp)' order by 1, 2";

static const char tables_in_schema_sql[] =
    "select n.nspname::text as \"schema\", c.relname::text as \"name\", "
    "case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' "
    "when 'p' then 'partitioned table' else 'table' end as \"kind\" "
    "from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
    "where c.relkind in ('r', 'v', 'm', 'f', 'p') and n.nspname = $1::text order by 1, 2";

/* A name without a schema is found as a statement would find it: the first table of that name on the search path. */
static const char columns_sql[] =
    "select a.attname::text as \"name\", pg_catalog.format_type(a.atttypid, a.atttypmod) as \"type\", "
    "not a.attnotnull as \"nullable\", pg_catalog.pg_get_expr(d.adbin, d.adrelid) as \"default\", "
    "pg_catalog.array_position(i.indkey::int2[], a.attnum) + 1 as \"primary_key\" "
    "from pg_catalog.pg_attribute a "
    "left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum and a.attgenerated = '' "
    "left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indisprimary "
    "where a.attrelid = (select c.oid from pg_catalog.pg_class c "
    "join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
    "where c.relname = $2::text and c.relkind in ('r', 'v', 'm', 'f', 'p') "
    "and (n.nspname = $1::text or ($1::text is null and pg_catalog.pg_table_is_visible(c.oid)))) "
    "and a.attnum > 0 and not a.attisdropped order by a.attnum";

static const char *decimal_type(const struct qn_type *type, char buffer[64])
{
    int precision = type->scale < 0 ? type->precision - type->scale : type->precision;
    (void)snprintf(buffer, 64, "numeric(%d,%d)", precision, type->scale < 0 ? 0 : type->scale);
    return buffer;
}

/* A type of PostgreSQL that was read as text gets the same type again: another database's type of that name may hold
 * anything. */
static const char *string_type(const struct ArrowSchema *field, char buffer[64])
{
    const char *text = NULL;
    size_t size = 0;
    const char *own = qn__dialect_postgres.name;
    if (qn_schema_metadata_get(field, QN_KEY_DATABASE, &text, &size) && size == strlen(own) &&
        memcmp(text, own, size) == 0 && qn_schema_metadata_get(field, QN_KEY_SQL_TYPE, &text, &size) &&
        qn_pg_type_text_exact(text, size)) {
        memcpy(buffer, text, size);
        buffer[size] = '\0';
        return buffer;
    }
    if (qn_schema_metadata_get(field, QN_KEY_KIND, &text, &size) && size == 4) {
        return memcmp(text, "json", 4) == 0 ? "jsonb" : (memcmp(text, "uuid", 4) == 0 ? "uuid" : "text");
    }
    return "text";
}

static const char *column_type(const struct ArrowSchema *field, char buffer[64])
{
    struct qn_type type;
    const struct ArrowSchema *values = field->dictionary != NULL ? field->dictionary : field;
    if (qn_type_from_format(values->format, &type, NULL) != QN_OK) {
        return NULL;
    }
    switch (type.id) {
    case QN_TYPE_BOOL:
        return "boolean";
    case QN_TYPE_INT8:
    case QN_TYPE_INT16:
    case QN_TYPE_UINT8:
        return "smallint";
    case QN_TYPE_INT32:
    case QN_TYPE_UINT16:
        return "integer";
    case QN_TYPE_INT64:
    case QN_TYPE_UINT32:
        return "bigint";
    case QN_TYPE_UINT64:
        return "numeric(20,0)";
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
        return "real";
    case QN_TYPE_FLOAT64:
        return "double precision";
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return decimal_type(&type, buffer);
    case QN_TYPE_NULL:
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return string_type(field, buffer);
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
    case QN_TYPE_FIXED_BINARY:
        return "bytea";
    case QN_TYPE_DATE32:
    case QN_TYPE_DATE64:
        return "date";
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        return "time";
    case QN_TYPE_TIMESTAMP:
        return type.timezone[0] != 0 ? "timestamptz" : "timestamp";
    case QN_TYPE_DURATION:
    case QN_TYPE_INTERVAL_MONTHS:
    case QN_TYPE_INTERVAL_DAY_TIME:
    case QN_TYPE_INTERVAL_MONTH_DAY_NANO:
        return "interval";
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_STRUCT:
    case QN_TYPE_MAP:
        return "jsonb"; /* lists too: arrays are not written */
    default:
        return NULL;
    }
}

const struct qn_dialect qn__dialect_postgres = {
    .struct_size = sizeof qn__dialect_postgres,
    .name = "postgres",
    .placeholder = QN_PLACEHOLDER_DOLLAR,
    .quote_open = '"',
    .quote_close = '"',
    .dollar_quotes = true,
    .escape_strings = true,
    .nested_comments = true,
    .question_operators = true,
    .begin = { "begin", "begin isolation level read committed", "begin isolation level repeatable read",
               "begin isolation level serializable" },
    .begin_read_only = { "begin read only", "begin isolation level read committed read only",
                         "begin isolation level repeatable read read only",
                         "begin isolation level serializable read only" },
    .tables_sql = tables_sql,
    .tables_in_schema_sql = tables_in_schema_sql,
    .columns_sql = columns_sql,
    .column_type = column_type,
    .max_identifier = 63, /* NAMEDATALEN - 1 */
};
