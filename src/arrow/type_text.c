/*
 * type_text.c: type strings as people write them ("Int64", "Decimal(10,2)", "Timestamp[us, UTC]") to and from qn_type.
 *
 * The names and aliases are those of the connector SDK, case as given, plus those with parameters. No state.
 */
#include "arrow/type.h"

#include "arrow/type_parse.h"
#include "base/decimal.h"

#include <stdio.h>
#include <string.h>

struct named {
    const char *name;
    enum qn_type_id id;
};

/* The first name of an id is the one that qn_type_to_text writes. */
static const struct named names[] = {
    { "Null", QN_TYPE_NULL },          { "Boolean", QN_TYPE_BOOL },       { "bool", QN_TYPE_BOOL },
    { "Int8", QN_TYPE_INT8 },          { "Int16", QN_TYPE_INT16 },        { "Int32", QN_TYPE_INT32 },
    { "Int64", QN_TYPE_INT64 },        { "int", QN_TYPE_INT64 },          { "UInt8", QN_TYPE_UINT8 },
    { "UInt16", QN_TYPE_UINT16 },      { "UInt32", QN_TYPE_UINT32 },      { "UInt64", QN_TYPE_UINT64 },
    { "Float16", QN_TYPE_FLOAT16 },    { "Float32", QN_TYPE_FLOAT32 },    { "Float64", QN_TYPE_FLOAT64 },
    { "float", QN_TYPE_FLOAT64 },      { "double", QN_TYPE_FLOAT64 },     { "Utf8", QN_TYPE_STRING_VIEW },
    { "string", QN_TYPE_STRING_VIEW }, { "Binary", QN_TYPE_BINARY_VIEW }, { "bytes", QN_TYPE_BINARY_VIEW },
    { "Date32", QN_TYPE_DATE32 },      { "date", QN_TYPE_DATE32 },        { "Date64", QN_TYPE_DATE64 },
};

static const char known[] = "Utf8 (string), Int8, Int16, Int32, Int64 (int), UInt8, UInt16, UInt32, UInt64, Float16, "
                            "Float32, Float64 (float, double), Boolean (bool), Decimal(p,s), Date32 (date), Date64, "
                            "Time[unit], Timestamp[unit, tz], Duration[unit], Binary (bytes), Null; units are s, ms, "
                            "us, ns";

static const char *const unit_names[] = { "s", "ms", "us", "ns" };

/* A unit at *text, which moves past it. */
static bool parse_unit(const char **text, enum qn_time_unit *out)
{
    size_t size = strspn(*text, "smun");
    for (size_t i = 0; i < 4; i++) {
        if (strlen(unit_names[i]) == size && memcmp(*text, unit_names[i], size) == 0) {
            *text += size;
            *out = (enum qn_time_unit)i;
            return true;
        }
    }
    return false;
}

static const char *skip_spaces(const char *text)
{
    return text + strspn(text, " ");
}

/* After "Decimal": (p,s) with spaces allowed. */
static bool parse_decimal(const char *at, struct qn_type *out)
{
    if (*at++ != '(') {
        return false;
    }
    at = skip_spaces(at);
    if (!qn__type_int(&at, 1, QN_DECIMAL_MAX_DIGITS, &out->precision)) {
        return false;
    }
    at = skip_spaces(at);
    if (*at++ != ',') {
        return false;
    }
    at = skip_spaces(at);
    if (!qn__type_int(&at, 0, out->precision, &out->scale)) {
        return false;
    }
    at = skip_spaces(at);
    out->id = QN_TYPE_DECIMAL128;
    return at[0] == ')' && at[1] == '\0';
}

/* After "Timestamp", "Time" or "Duration": nothing, or [unit], for timestamps [unit, tz]. */
static bool parse_temporal(const char *at, enum qn_type_id id, struct qn_type *out)
{
    out->id = id;
    out->unit = QN_UNIT_MICRO;
    if (*at == '\0') {
        return true;
    }
    if (*at++ != '[') {
        return false;
    }
    at = skip_spaces(at);
    if (!parse_unit(&at, &out->unit)) {
        return false;
    }
    at = skip_spaces(at);
    if (*at == ',' && id == QN_TYPE_TIMESTAMP) {
        at = skip_spaces(at + 1);
        size_t size = strcspn(at, " ]\t\r\n,\"");
        if (size == 0 || size >= sizeof out->timezone) {
            return false;
        }
        memcpy(out->timezone, at, size);
        out->timezone[size] = '\0';
        at = skip_spaces(at + size);
    }
    if (id == QN_TYPE_TIME64 && (out->unit == QN_UNIT_SECOND || out->unit == QN_UNIT_MILLI)) {
        out->id = QN_TYPE_TIME32;
    }
    return at[0] == ']' && at[1] == '\0';
}

enum qn_status qn_type_from_text(const char *text, struct qn_type *out, struct qn_error *err)
{
    struct qn_type type = { .id = QN_TYPE_OTHER };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i].name) == 0) {
            *out = qn_type_of(names[i].id);
            return QN_OK;
        }
    }
    bool good = false;
    if (strncmp(text, "Decimal", 7) == 0) {
        good = parse_decimal(text + 7, &type);
    } else if (strncmp(text, "Timestamp", 9) == 0) {
        good = parse_temporal(text + 9, QN_TYPE_TIMESTAMP, &type);
    } else if (strncmp(text, "Time", 4) == 0) {
        good = parse_temporal(text + 4, QN_TYPE_TIME64, &type);
    } else if (strncmp(text, "Duration", 8) == 0) {
        good = parse_temporal(text + 8, QN_TYPE_DURATION, &type);
    }
    if (!good) {
        char quoted[QN__QUOTED_SIZE];
        qn__type_quote(text, quoted);
        return qn_error_set(err, QN_ERR_CONFIG, "type \"%s\" is not known; known are %s", quoted, known);
    }
    *out = type;
    return QN_OK;
}

/* Names of what qn_type_from_text does not read, and of layouts whose text is that of the view. */
static const char *other_name(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
        return "Utf8";
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
        return "Binary";
    case QN_TYPE_INTERVAL_MONTHS:
        return "Interval[months]";
    case QN_TYPE_INTERVAL_DAY_TIME:
        return "Interval[days, ms]";
    case QN_TYPE_INTERVAL_MONTH_DAY_NANO:
        return "Interval[months, days, ns]";
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
        return "List";
    case QN_TYPE_STRUCT:
        return "Struct";
    case QN_TYPE_MAP:
        return "Map";
    default:
        return "Other";
    }
}

void qn_type_to_text(const struct qn_type *type, char out[QN_TYPE_MAX_FORMAT])
{
    const char *unit = unit_names[type->unit & 3];
    switch (type->id) {
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "Decimal(%d,%d)", (int)type->precision, (int)type->scale);
        return;
    case QN_TYPE_FIXED_BINARY:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "FixedBinary(%d)", (int)type->width);
        return;
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "Time[%s]", unit);
        return;
    case QN_TYPE_DURATION:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "Duration[%s]", unit);
        return;
    case QN_TYPE_TIMESTAMP:
        if (type->timezone[0] != '\0') {
            (void)snprintf(out, QN_TYPE_MAX_FORMAT, "Timestamp[%s, %.*s]", unit, QN_TIMEZONE_SIZE - 1, type->timezone);
        } else {
            (void)snprintf(out, QN_TYPE_MAX_FORMAT, "Timestamp[%s]", unit);
        }
        return;
    default:
        break;
    }
    const char *name = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && name == NULL; i++) {
        name = names[i].id == type->id ? names[i].name : NULL;
    }
    (void)snprintf(out, QN_TYPE_MAX_FORMAT, "%s", name != NULL ? name : other_name(type->id));
}
