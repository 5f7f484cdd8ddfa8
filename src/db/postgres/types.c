/*
 * types.c: the table of types that PostgreSQL has everywhere, by OID, and what Arrow fields are as parameters.
 *
 * A type that is not here arrives as a string in the server's own text form. Threads: constant data.
 */
#include "db/postgres/postgres.h"

#include "base/text.h"

static const struct qn_pg_type types[] = {
    { QN_PG_BOOL, "boolean", QN_PG_DECODE_BOOL, QN_TYPE_BOOL },
    { QN_PG_BYTEA, "bytea", QN_PG_DECODE_BYTES, QN_TYPE_BINARY_VIEW },
    { QN_PG_CHAR, "\"char\"", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_NAME, "name", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_INT8, "bigint", QN_PG_DECODE_INT8, QN_TYPE_INT64 },
    { QN_PG_INT2, "smallint", QN_PG_DECODE_INT2, QN_TYPE_INT16 },
    { QN_PG_INT4, "integer", QN_PG_DECODE_INT4, QN_TYPE_INT32 },
    { QN_PG_TEXT, "text", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_OID, "oid", QN_PG_DECODE_UINT4, QN_TYPE_UINT32 },
    { QN_PG_JSON, "json", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_XML, "xml", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_FLOAT4, "real", QN_PG_DECODE_FLOAT4, QN_TYPE_FLOAT32 },
    { QN_PG_FLOAT8, "double precision", QN_PG_DECODE_FLOAT8, QN_TYPE_FLOAT64 },
    { QN_PG_MONEY, "money", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_INET, "inet", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_BPCHAR, "character", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_VARCHAR, "character varying", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_DATE, "date", QN_PG_DECODE_DATE, QN_TYPE_DATE32 },
    { QN_PG_TIME, "time without time zone", QN_PG_DECODE_TIME, QN_TYPE_TIME64 },
    { QN_PG_TIMESTAMP, "timestamp without time zone", QN_PG_DECODE_TIMESTAMP, QN_TYPE_TIMESTAMP },
    { QN_PG_TIMESTAMPTZ, "timestamp with time zone", QN_PG_DECODE_TIMESTAMP, QN_TYPE_TIMESTAMP },
    { QN_PG_INTERVAL, "interval", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_TIMETZ, "time with time zone", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_BIT, "bit", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_VARBIT, "bit varying", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
    { QN_PG_NUMERIC, "numeric", QN_PG_DECODE_NUMERIC, QN_TYPE_DECIMAL128 },
    { QN_PG_UUID, "uuid", QN_PG_DECODE_UUID, QN_TYPE_STRING_VIEW },
    { QN_PG_JSONB, "jsonb", QN_PG_DECODE_TEXT, QN_TYPE_STRING_VIEW },
};

const struct qn_pg_type *qn_pg_type_find(uint32_t oid)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].oid == oid) {
            return &types[i];
        }
    }
    return NULL;
}

bool qn_pg_type_text_exact(const char *name, size_t size)
{
    static const char *const exact[] = { "numeric", "interval", "json", "jsonb",  "uuid",
                                         "xml",     "inet",     "cidr", "macaddr" };
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        if (strlen(exact[i]) == size && memcmp(exact[i], name, size) == 0) {
            return true;
        }
    }
    /* "numeric(50,10)", and nothing else that begins so: it becomes SQL */
    size_t at = strlen("numeric(");
    if (size > QN_PG_TYPE_TEXT_MAX || size <= at || memcmp(name, "numeric(", at) != 0 || name[size - 1] != ')') {
        return false;
    }
    while (at + 1 < size && (qn_ascii_digit(name[at]) || name[at] == ',' || name[at] == '-')) {
        at++;
    }
    return at + 1 == size;
}

static uint32_t oid_for_string(const struct ArrowSchema *field)
{
    const char *kind = NULL;
    size_t size = 0;
    if (qn_schema_metadata_get(field, QN_KEY_KIND, &kind, &size)) {
        if (size == 4 && memcmp(kind, "json", 4) == 0) {
            return QN_PG_JSON;
        }
        if (size == 4 && memcmp(kind, "uuid", 4) == 0) {
            return QN_PG_UUID;
        }
    }
    return QN_PG_TEXT;
}

uint32_t qn_pg_oid_for_field(const struct ArrowSchema *field)
{
    struct qn_type type;
    const struct ArrowSchema *values = field->dictionary != NULL ? field->dictionary : field;
    if (qn_type_from_format(values->format, &type, NULL) != QN_OK) {
        return 0;
    }
    switch (type.id) {
    case QN_TYPE_BOOL:
        return QN_PG_BOOL;
    case QN_TYPE_INT8:
    case QN_TYPE_INT16:
    case QN_TYPE_INT32:
    case QN_TYPE_INT64:
    case QN_TYPE_UINT8:
    case QN_TYPE_UINT16:
    case QN_TYPE_UINT32:
        return QN_PG_INT8;
    case QN_TYPE_UINT64:
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return QN_PG_NUMERIC;
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        return QN_PG_FLOAT8;
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return oid_for_string(field);
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
    case QN_TYPE_FIXED_BINARY:
        return QN_PG_BYTEA;
    case QN_TYPE_DATE32:
    case QN_TYPE_DATE64:
        return QN_PG_DATE;
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        return QN_PG_TIME;
    case QN_TYPE_TIMESTAMP:
        return type.timezone[0] != 0 ? QN_PG_TIMESTAMPTZ : QN_PG_TIMESTAMP;
    case QN_TYPE_DURATION:
    case QN_TYPE_INTERVAL_MONTHS:
    case QN_TYPE_INTERVAL_DAY_TIME:
    case QN_TYPE_INTERVAL_MONTH_DAY_NANO:
        return QN_PG_INTERVAL;
    default:
        return 0;
    }
}
