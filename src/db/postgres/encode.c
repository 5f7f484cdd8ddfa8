/*
 * encode.c: which encoder an Arrow type and a PostgreSQL type get, or why none.
 *
 * The rules, in one sentence: a value arrives as it is, or is refused.
 * - Numbers go into every number type that holds the value: integers by range, floats and decimals into integers where
 *   they are whole, anything into numeric with the places that the column has, doubles into real where both are written
 *   with the same digits, decimals into floats up to the 15 (real: 6) digits that floats keep, integers exactly.
 *   0 and 1 go into bool.
 * - Dates and times go where nothing is cut: a timestamp into date at midnight only, nanoseconds as whole microseconds,
 *   decimals of a second as the column has them. A wall clock is no point in time: timestamps with and without a zone do
 *   not meet.
 * - Text goes into text types, json, uuid and types whose input is text (format 0). Numbers, bools, dates and times go
 *   into text as PostgreSQL writes them. Text never becomes a date, bool or number of a fixed width in a table on the
 *   quiet: there the encoder has format 0, which is right for a parameter, and the caller that writes tables refuses it
 *   (qn_pg_encode_type_strict). Numeric and interval, which arrive as text, go back as checked text (encode_cast.c).
 * - Everything goes into json but binary; binary goes into bytea and, with 16 bytes, uuid.
 */
#include "db/postgres/encode.h"

#include "db/postgres/encode_parts.h"
#include "db/postgres/postgres.h"

#include <stdarg.h>
#include <stdio.h>

#define EPOCH_DAYS    INT64_C(10957)
#define DAY_MICROS    INT64_C(86400000000)
#define EPOCH_MICROS  (EPOCH_DAYS * DAY_MICROS)
#define DATE_LOW      INT64_C(-2451545)            /* 4714-11-24 BC, from 2000-01-01 */
#define DATE_HIGH     INT64_C(2145031948)          /* 5874897-12-31 */
#define STAMP_LOW     INT64_C(-211813488000000000) /* 4714-11-24 BC */
#define STAMP_HIGH    INT64_C(9223371331199999999) /* 294276-12-31 23:59:59.999999 */
#define JSONB_VERSION 1
#define ANY_FIELDS    0x7FFF /* of an interval's typmod */

static const struct {
    uint32_t oid;
    const char *name;
    bool strict;
} type_names[] = {
    { QN_PG_BOOL, "boolean", true },
    { QN_PG_BYTEA, "bytea", true },
    { QN_PG_CHAR, "\"char\"", false },
    { QN_PG_NAME, "name", false },
    { QN_PG_INT8, "bigint", true },
    { QN_PG_INT2, "smallint", true },
    { QN_PG_INT4, "integer", true },
    { QN_PG_TEXT, "text", false },
    { QN_PG_OID, "oid", true },
    { QN_PG_JSON, "json", false },
    { QN_PG_XML, "xml", false },
    { QN_PG_FLOAT4, "real", true },
    { QN_PG_FLOAT8, "double precision", true },
    { QN_PG_MONEY, "money", true },
    { QN_PG_INET, "inet", false },
    { QN_PG_BPCHAR, "character", false },
    { QN_PG_VARCHAR, "character varying", false },
    { QN_PG_DATE, "date", true },
    { QN_PG_TIME, "time", true },
    { QN_PG_TIMESTAMP, "timestamp", true },
    { QN_PG_TIMESTAMPTZ, "timestamp with time zone", true },
    { QN_PG_INTERVAL, "interval", true },
    { QN_PG_TIMETZ, "time with time zone", false },
    { QN_PG_BIT, "bit", false },
    { QN_PG_VARBIT, "bit varying", false },
    { QN_PG_NUMERIC, "numeric", true },
    { QN_PG_UUID, "uuid", false },
    { QN_PG_JSONB, "jsonb", false },
};

/* Arrays, for messages only: nothing is written into them yet. OIDs of pg_type.dat. */
static const struct {
    uint32_t oid;
    const char *name;
} array_names[] = {
    { 1000, "boolean[]" },   { 1001, "bytea[]" },     { 1005, "smallint[]" }, { 1007, "integer[]" },
    { 1009, "text[]" },      { 1014, "character[]" }, { 1016, "bigint[]" },   { 1015, "character varying[]" },
    { 1021, "real[]" },      { 1182, "date[]" },      { 1183, "time[]" },     { 1022, "double precision[]" },
    { 1115, "timestamp[]" }, { 1231, "numeric[]" },   { 2951, "uuid[]" },     { 1185, "timestamp with time zone[]" },
    { 1187, "interval[]" },  { 199, "json[]" },       { 3807, "jsonb[]" },
};

const char *qn_pg_encode_type_name(uint32_t oid, char buffer[32])
{
    for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++) {
        if (type_names[i].oid == oid) {
            return type_names[i].name;
        }
    }
    for (size_t i = 0; i < sizeof array_names / sizeof array_names[0]; i++) {
        if (array_names[i].oid == oid) {
            return array_names[i].name;
        }
    }
    (void)snprintf(buffer, 32, "type %u", (unsigned)oid);
    return buffer;
}

bool qn_pg_encode_type_strict(uint32_t oid)
{
    for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++) {
        if (type_names[i].oid == oid) {
            return type_names[i].strict;
        }
    }
    return false;
}

bool qn_pg_encode_type_binary(uint32_t oid)
{
    switch (oid) {
    case QN_PG_XML: /* its binary input obeys the document's encoding declaration, its text input does not */
    case QN_PG_MONEY:
    case QN_PG_INET:
    case QN_PG_TIMETZ:
    case QN_PG_BIT:
    case QN_PG_VARBIT:
        return false;
    default:
        break;
    }
    for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++) {
        if (type_names[i].oid == oid) {
            return true;
        }
    }
    return false;
}

enum qn_status qn_pg_encode_misfit(const struct qn_pg_encoder *encoder, int64_t row, struct qn_error *err,
                                   const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (encoder->parameter > 0) {
        return qn_error_set(err, QN_ERR_DATA, "parameter %d: %s", (int)encoder->parameter, text);
    }
    enum qn_status status = qn_error_set(err, QN_ERR_DATA, "row %lld, column \"%s\": %s",
                                         (long long)encoder->row_base + row, encoder->reader->name, text);
    qn_error_place(err, encoder->row_base + row, encoder->reader->name);
    return status;
}

/* ---- kinds of Arrow types ---- */

enum kind {
    KIND_BOOL,
    KIND_INT,
    KIND_FLOAT,
    KIND_DECIMAL,
    KIND_STRING,
    KIND_BINARY,
    KIND_DATE,
    KIND_TIME,
    KIND_TIMESTAMP,
    KIND_INTERVAL,
    KIND_NESTED,
    KIND_NULL,
    KIND_OTHER
};

static enum kind kind_of(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_NULL:
        return KIND_NULL;
    case QN_TYPE_BOOL:
        return KIND_BOOL;
    case QN_TYPE_INT8:
    case QN_TYPE_INT16:
    case QN_TYPE_INT32:
    case QN_TYPE_INT64:
    case QN_TYPE_UINT8:
    case QN_TYPE_UINT16:
    case QN_TYPE_UINT32:
    case QN_TYPE_UINT64:
        return KIND_INT;
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        return KIND_FLOAT;
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return KIND_DECIMAL;
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return KIND_STRING;
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
    case QN_TYPE_FIXED_BINARY:
        return KIND_BINARY;
    case QN_TYPE_DATE32:
    case QN_TYPE_DATE64:
        return KIND_DATE;
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        return KIND_TIME;
    case QN_TYPE_TIMESTAMP:
        return KIND_TIMESTAMP;
    case QN_TYPE_DURATION:
    case QN_TYPE_INTERVAL_MONTHS:
    case QN_TYPE_INTERVAL_DAY_TIME:
    case QN_TYPE_INTERVAL_MONTH_DAY_NANO:
        return KIND_INTERVAL;
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_STRUCT:
    case QN_TYPE_MAP:
        return KIND_NESTED;
    case QN_TYPE_OTHER:
        break;
    }
    return KIND_OTHER;
}

/* ---- numbers ---- */

static void set_fixed(struct qn_pg_encoder *to, int width,
                      enum qn_status (*load)(const struct qn_pg_encoder *, int64_t, int64_t, uint64_t *,
                                             struct qn_error *))
{
    to->width = (uint8_t)width;
    to->load = load;
    to->put = qn_pg_put_fixed;
}

static bool choose_int(struct qn_pg_encoder *to, enum kind kind, int width, int64_t low, int64_t high)
{
    to->low = low;
    to->high = high;
    switch (kind) {
    case KIND_INT:
        if (to->reader->type.id == QN_TYPE_UINT64 && low < 0) {
            to->low = 0; /* past the range of int64 a uint64 looks negative */
        }
        set_fixed(to, width, qn_pg_load_int);
        return true;
    case KIND_FLOAT:
        set_fixed(to, width, qn_pg_load_int_from_float);
        return true;
    case KIND_DECIMAL:
        set_fixed(to, width, qn_pg_load_int_from_decimal);
        return true;
    default:
        return false;
    }
}

static bool choose_bool(struct qn_pg_encoder *to, enum kind kind)
{
    to->low = 0;
    to->high = 1;
    set_fixed(to, 1, kind == KIND_BOOL ? qn_pg_load_bool : qn_pg_load_bool_from_int);
    return kind == KIND_BOOL || kind == KIND_INT;
}

static bool choose_float(struct qn_pg_encoder *to, enum kind kind, int width)
{
    set_fixed(to, width,
              kind == KIND_FLOAT ? qn_pg_load_float
              : kind == KIND_INT ? qn_pg_load_float_from_int
                                 : qn_pg_load_float_from_decimal);
    return kind == KIND_FLOAT || kind == KIND_INT || kind == KIND_DECIMAL;
}

static bool choose_numeric(struct qn_pg_encoder *to, enum kind kind)
{
    if (to->typmod >= 4) {
        int32_t packed = to->typmod - 4;
        to->digits = (packed >> 16) & 0xFFFF;
        to->scale = ((packed & 0x7FF) ^ 1024) - 1024; /* eleven bits, signed from version 15 on */
    }
    to->put = kind == KIND_INT     ? qn_pg_put_numeric_int
              : kind == KIND_FLOAT ? qn_pg_put_numeric_float
                                   : qn_pg_put_numeric_decimal;
    return kind == KIND_INT || kind == KIND_FLOAT || kind == KIND_DECIMAL;
}

/* ---- dates and times ---- */

static int64_t unit_micros(enum qn_time_unit unit)
{
    return unit == QN_UNIT_SECOND ? 1000000 : unit == QN_UNIT_MILLI ? 1000 : unit == QN_UNIT_MICRO ? 0 : -1000;
}

/* How many of the unit a day has. */
static int64_t unit_day(enum qn_time_unit unit)
{
    return unit == QN_UNIT_SECOND  ? 86400
           : unit == QN_UNIT_MILLI ? 86400 * INT64_C(1000)
           : unit == QN_UNIT_MICRO ? DAY_MICROS
                                   : DAY_MICROS * 1000;
}

static int64_t precision_micros(int32_t places)
{
    int64_t micros = 1;
    for (int32_t i = places; i >= 0 && i < 6; i++) {
        micros *= 10;
    }
    return micros;
}

static bool choose_date(struct qn_pg_encoder *to, enum kind kind)
{
    const struct qn_type *type = &to->reader->type;
    to->low = DATE_LOW;
    to->high = DATE_HIGH;
    to->shift = EPOCH_DAYS;
    to->factor = type->id == QN_TYPE_DATE32   ? 0
                 : type->id == QN_TYPE_DATE64 ? -unit_day(QN_UNIT_MILLI)
                                              : -unit_day(type->unit);
    set_fixed(to, 4, qn_pg_load_time);
    return kind == KIND_DATE || (kind == KIND_TIMESTAMP && type->timezone[0] == '\0');
}

static bool choose_time(struct qn_pg_encoder *to, enum kind kind)
{
    to->low = 0;
    to->high = DAY_MICROS;
    to->factor = unit_micros(to->reader->type.unit);
    to->precision = precision_micros(to->typmod);
    set_fixed(to, 8, qn_pg_load_time);
    return kind == KIND_TIME;
}

static bool choose_timestamp(struct qn_pg_encoder *to, enum kind kind, bool zoned)
{
    const struct qn_type *type = &to->reader->type;
    to->low = STAMP_LOW;
    to->high = STAMP_HIGH;
    to->shift = EPOCH_MICROS;
    to->factor = type->id == QN_TYPE_DATE32   ? DAY_MICROS
                 : type->id == QN_TYPE_DATE64 ? unit_micros(QN_UNIT_MILLI)
                                              : unit_micros(type->unit);
    to->precision = precision_micros(to->typmod);
    set_fixed(to, 8, qn_pg_load_time);
    if (kind == KIND_TIMESTAMP) {
        return zoned == (type->timezone[0] != '\0');
    }
    return kind == KIND_DATE && !zoned;
}

static bool choose_interval(struct qn_pg_encoder *to, enum kind kind)
{
    to->put = qn_pg_put_interval;
    if (to->typmod >= 0) {
        to->precision = precision_micros((to->typmod & 0xFFFF) == 0xFFFF ? 6 : to->typmod & 0xFFFF);
        if (((to->typmod >> 16) & ANY_FIELDS) != ANY_FIELDS) {
            return false; /* "interval hour to minute": the server would cut */
        }
    }
    return kind == KIND_INTERVAL;
}

/* ---- texts, bytes, documents ---- */

static void set_text(struct qn_pg_encoder *to, int16_t format)
{
    to->format = format;
    to->text = true;
    to->put = qn_pg_put_text;
}

static bool choose_text(struct qn_pg_encoder *to, enum kind kind)
{
    switch (kind) {
    case KIND_STRING:
        set_text(to, 1);
        return true;
    case KIND_BOOL:
    case KIND_INT:
    case KIND_FLOAT:
    case KIND_DECIMAL:
    case KIND_DATE:
    case KIND_TIME:
    case KIND_TIMESTAMP:
        to->put = qn_pg_put_as_text;
        return true;
    default:
        return false;
    }
}

static bool choose_json(struct qn_pg_encoder *to, enum kind kind, uint8_t version)
{
    to->version = version;
    if (kind == KIND_STRING) {
        set_text(to, 1);
        return true;
    }
    to->put = qn_pg_put_json;
    return kind != KIND_BINARY && kind != KIND_INTERVAL && kind != KIND_OTHER;
}

static bool choose_uuid(struct qn_pg_encoder *to, enum kind kind)
{
    to->put = kind == KIND_STRING ? qn_pg_put_uuid_text : qn_pg_put_uuid_bytes;
    return kind == KIND_STRING || kind == KIND_BINARY;
}

static bool choose_by_target(struct qn_pg_encoder *to, enum kind kind)
{
    switch (to->oid) {
    case QN_PG_BOOL:
        return choose_bool(to, kind);
    case QN_PG_INT2:
        return choose_int(to, kind, 2, INT16_MIN, INT16_MAX);
    case QN_PG_INT4:
        return choose_int(to, kind, 4, INT32_MIN, INT32_MAX);
    case QN_PG_INT8:
        return choose_int(to, kind, 8, INT64_MIN, INT64_MAX);
    case QN_PG_OID:
        return choose_int(to, kind, 4, 0, UINT32_MAX);
    case QN_PG_FLOAT4:
        return choose_float(to, kind, 4);
    case QN_PG_FLOAT8:
        return choose_float(to, kind, 8);
    case QN_PG_NUMERIC:
        return choose_numeric(to, kind);
    case QN_PG_DATE:
        return choose_date(to, kind);
    case QN_PG_TIME:
        return choose_time(to, kind);
    case QN_PG_TIMESTAMP:
        return choose_timestamp(to, kind, false);
    case QN_PG_TIMESTAMPTZ:
        return choose_timestamp(to, kind, true);
    case QN_PG_INTERVAL:
        return choose_interval(to, kind);
    case QN_PG_TEXT:
    case QN_PG_VARCHAR:
    case QN_PG_BPCHAR:
    case QN_PG_NAME:
    case QN_PG_UNKNOWN:
        return choose_text(to, kind);
    case QN_PG_CHAR:
        to->put = qn_pg_put_char;
        return kind == KIND_STRING;
    case QN_PG_BYTEA:
        to->put = qn_pg_put_bytes;
        return kind == KIND_BINARY;
    case QN_PG_UUID:
        return choose_uuid(to, kind);
    case QN_PG_JSON:
        return choose_json(to, kind, 0);
    case QN_PG_JSONB:
        return choose_json(to, kind, JSONB_VERSION);
    default: /* only text has a form that every type's input takes */
        return false;
    }
}

/* ---- refusals ---- */

static const char *way_out(const struct qn_pg_encoder *to, enum kind kind)
{
    if (kind == KIND_TIMESTAMP && to->oid == QN_PG_TIMESTAMPTZ) {
        return "say which zone the times are in (polars: dt.replace_time_zone(\"UTC\")), or make the target timestamp";
    }
    if (kind == KIND_DATE && to->oid == QN_PG_TIMESTAMPTZ) {
        return "make it a timestamp with a zone first: the midnight of a date depends on the zone";
    }
    if (kind == KIND_TIMESTAMP && (to->oid == QN_PG_TIMESTAMP || to->oid == QN_PG_DATE)) {
        return "convert to the zone whose wall clock is meant and drop the zone (polars: dt.convert_time_zone(...)"
               ".dt.replace_time_zone(None)), or make the target timestamp with time zone";
    }
    if (kind == KIND_STRING && to->oid == QN_PG_BYTEA) {
        return "encode the text to bytes, so that it is clear in which encoding (polars: cast(pl.Binary))";
    }
    if (kind == KIND_NESTED) {
        return "lists and structs go into json and jsonb columns";
    }
    return "cast the column to a type that goes there, or change the target's type";
}

enum qn_status qn_pg_encode_refuse(const struct qn_pg_encoder *encoder, struct qn_error *err)
{
    char from[QN_TYPE_MAX_FORMAT], name[32];
    enum kind kind = kind_of(encoder->reader->type.id);
    qn_type_to_text(&encoder->reader->type, from);
    bool later = kind == KIND_NESTED || kind == KIND_OTHER;
    enum qn_status status =
        qn_error_set(err, later ? QN_ERR_UNSUPPORTED : QN_ERR_DATA, "column \"%s\": %s does not go into %s",
                     encoder->reader->name, from, qn_pg_encode_type_name(encoder->oid, name));
    qn_error_hint(err, "%s", way_out(encoder, kind));
    qn_error_place(err, -1, encoder->reader->name);
    return status;
}

enum qn_status qn_pg_encoder_choose(const struct qn_reader *reader, uint32_t target_oid, int32_t typmod,
                                    struct qn_pg_encoder *out, struct qn_error *err)
{
    struct qn_pg_encoder chosen = {
        .format = 1, .reader = reader, .oid = target_oid, .typmod = typmod, .precision = 1
    };
    enum kind kind = kind_of(reader->type.id);
    bool fits;
    if (kind == KIND_NULL) {
        chosen.put = qn_pg_put_null;
        fits = true;
    } else {
        fits = choose_by_target(&chosen, kind);
    }
    if (kind == KIND_DECIMAL && (reader->type.scale < QN_PG_SCALE_MIN || reader->type.scale > QN_PG_SCALE_MAX)) {
        fits = false;
    }
    if (!fits && kind == KIND_STRING && target_oid != QN_PG_BYTEA) {
        chosen = (struct qn_pg_encoder){ .reader = reader, .oid = target_oid, .typmod = typmod, .precision = 1 };
        set_text(&chosen, 0);
        fits = true;
    }
    if (!fits) {
        return qn_pg_encode_refuse(&chosen, err);
    }
    *out = chosen;
    return QN_OK;
}
