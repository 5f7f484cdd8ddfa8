/*
 * type.c: struct qn_type from and to the format strings of the Arrow C data interface.
 *
 * Owns the grammar of format strings (specification: "Data type description - format strings"): single letters, "w:N",
 * "d:P,S[,BITS]", "t..." for times, "+..." for nested types. Texts that people write are in type_text.c. No state.
 */
#include "arrow/type.h"

#include "arrow/type_parse.h"

#include <stdio.h>
#include <string.h>

#define MAX_SCALE 1000 /* either way; the specification sets no bound */

struct letter {
    const char *format;
    enum qn_type_id id;
    enum qn_time_unit unit;
};

/* Formats without parameters. Timestamps carry a time zone after "tsu:" and are parsed apart, as are w, d and +w. */
static const struct letter letters[] = {
    { "n", QN_TYPE_NULL, 0 },
    { "b", QN_TYPE_BOOL, 0 },
    { "c", QN_TYPE_INT8, 0 },
    { "C", QN_TYPE_UINT8, 0 },
    { "s", QN_TYPE_INT16, 0 },
    { "S", QN_TYPE_UINT16, 0 },
    { "i", QN_TYPE_INT32, 0 },
    { "I", QN_TYPE_UINT32, 0 },
    { "l", QN_TYPE_INT64, 0 },
    { "L", QN_TYPE_UINT64, 0 },
    { "e", QN_TYPE_FLOAT16, 0 },
    { "f", QN_TYPE_FLOAT32, 0 },
    { "g", QN_TYPE_FLOAT64, 0 },
    { "u", QN_TYPE_STRING, 0 },
    { "U", QN_TYPE_LARGE_STRING, 0 },
    { "vu", QN_TYPE_STRING_VIEW, 0 },
    { "z", QN_TYPE_BINARY, 0 },
    { "Z", QN_TYPE_LARGE_BINARY, 0 },
    { "vz", QN_TYPE_BINARY_VIEW, 0 },
    { "tdD", QN_TYPE_DATE32, 0 },
    { "tdm", QN_TYPE_DATE64, 0 },
    { "tts", QN_TYPE_TIME32, QN_UNIT_SECOND },
    { "ttm", QN_TYPE_TIME32, QN_UNIT_MILLI },
    { "ttu", QN_TYPE_TIME64, QN_UNIT_MICRO },
    { "ttn", QN_TYPE_TIME64, QN_UNIT_NANO },
    { "tDs", QN_TYPE_DURATION, QN_UNIT_SECOND },
    { "tDm", QN_TYPE_DURATION, QN_UNIT_MILLI },
    { "tDu", QN_TYPE_DURATION, QN_UNIT_MICRO },
    { "tDn", QN_TYPE_DURATION, QN_UNIT_NANO },
    { "tiM", QN_TYPE_INTERVAL_MONTHS, 0 },
    { "tiD", QN_TYPE_INTERVAL_DAY_TIME, 0 },
    { "tin", QN_TYPE_INTERVAL_MONTH_DAY_NANO, 0 },
    { "+l", QN_TYPE_LIST, 0 },
    { "+L", QN_TYPE_LARGE_LIST, 0 },
    { "+s", QN_TYPE_STRUCT, 0 },
    { "+m", QN_TYPE_MAP, 0 },
    { "+r", QN_TYPE_OTHER, 0 },
    { "+vl", QN_TYPE_OTHER, 0 },
    { "+vL", QN_TYPE_OTHER, 0 },
};

static const char unit_letters[] = "smun";

void qn__type_quote(const char *text, char out[QN__QUOTED_SIZE])
{
    size_t n = 0;
    while (text[n] != '\0' && n < QN__QUOTED_SIZE - 4) {
        out[n] = (char)(text[n] >= ' ' && text[n] <= '~' ? text[n] : '?');
        n++;
    }
    memcpy(out + n, text[n] != '\0' ? "..." : "", text[n] != '\0' ? 4 : 1);
}

static enum qn_status malformed(const char *format, struct qn_error *err)
{
    char quoted[QN__QUOTED_SIZE];
    qn__type_quote(format, quoted);
    return qn_error_set(err, QN_ERR_DATA, "Arrow format \"%s\" is not one of the specification", quoted);
}

bool qn__type_int(const char **text, int32_t low, int32_t high, int32_t *out)
{
    const char *at = *text;
    bool negative = *at == '-';
    at += negative ? 1 : 0;
    int64_t value = 0;
    int digits = 0;
    while (*at >= '0' && *at <= '9') {
        value = value * 10 + (*at++ - '0');
        if (++digits > 10) {
            return false;
        }
    }
    value = negative ? -value : value;
    if (digits == 0 || value < low || value > high) {
        return false;
    }
    *text = at;
    *out = (int32_t)value;
    return true;
}

static int decimal_max_digits(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_DECIMAL32:
        return 9;
    case QN_TYPE_DECIMAL64:
        return 18;
    case QN_TYPE_DECIMAL128:
        return 38;
    default:
        return 76;
    }
}

/* After "d:": PRECISION,SCALE[,BITS]. */
static bool parse_decimal(const char *at, struct qn_type *out)
{
    int32_t bits = 128;
    if (!qn__type_int(&at, 1, 76, &out->precision) || *at++ != ',' ||
        !qn__type_int(&at, -MAX_SCALE, MAX_SCALE, &out->scale)) {
        return false;
    }
    if (*at == ',') {
        at++;
        if (!qn__type_int(&at, 32, 256, &bits)) {
            return false;
        }
    }
    switch (bits) {
    case 32:
        out->id = QN_TYPE_DECIMAL32;
        break;
    case 64:
        out->id = QN_TYPE_DECIMAL64;
        break;
    case 128:
        out->id = QN_TYPE_DECIMAL128;
        break;
    case 256:
        out->id = QN_TYPE_DECIMAL256;
        break;
    default:
        return false;
    }
    return *at == '\0' && out->precision <= decimal_max_digits(out->id);
}

/* After "ts": UNIT:TIMEZONE. */
static bool parse_timestamp(const char *at, struct qn_type *out)
{
    const char *unit = *at != '\0' ? strchr(unit_letters, *at) : NULL;
    if (unit == NULL || at[1] != ':') {
        return false;
    }
    size_t size = strlen(at + 2);
    if (size >= sizeof out->timezone) {
        return false;
    }
    out->id = QN_TYPE_TIMESTAMP;
    out->unit = (enum qn_time_unit)(unit - unit_letters);
    memcpy(out->timezone, at + 2, size + 1);
    return true;
}

/* "+ud:0,1" and "+us:0,1": type ids from 0 to 127 in a list. */
static bool parse_union(const char *at)
{
    for (int n = 0; n <= 128 && *at != '\0'; n++) {
        int32_t id;
        if (!qn__type_int(&at, 0, 127, &id)) {
            return false;
        }
        if (*at == ',' && at[1] != '\0') {
            at++;
        }
    }
    return *at == '\0';
}

enum qn_status qn_type_from_format(const char *format, struct qn_type *out, struct qn_error *err)
{
    if (format == NULL) {
        return qn_error_set(err, QN_ERR_DATA, "an Arrow schema has no format");
    }
    struct qn_type type = { .id = QN_TYPE_OTHER };
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++) {
        if (strcmp(format, letters[i].format) == 0) {
            type.id = letters[i].id;
            type.unit = letters[i].unit;
            *out = type;
            return QN_OK;
        }
    }
    bool good = false;
    const char *at = format + 2;
    if (strncmp(format, "w:", 2) == 0) {
        type.id = QN_TYPE_FIXED_BINARY;
        good = qn__type_int(&at, 0, INT32_MAX, &type.width) && *at == '\0';
    } else if (strncmp(format, "d:", 2) == 0) {
        good = parse_decimal(at, &type);
    } else if (strncmp(format, "ts", 2) == 0) {
        good = parse_timestamp(at, &type);
    } else if (strncmp(format, "+w:", 3) == 0) {
        type.id = QN_TYPE_FIXED_LIST;
        at++;
        good = qn__type_int(&at, 0, INT32_MAX, &type.width) && *at == '\0';
    } else if (strncmp(format, "+ud:", 4) == 0 || strncmp(format, "+us:", 4) == 0) {
        good = parse_union(format + 4);
    }
    if (!good) {
        return malformed(format, err);
    }
    *out = type;
    return QN_OK;
}

static int decimal_bits(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_DECIMAL32:
        return 32;
    case QN_TYPE_DECIMAL64:
        return 64;
    default:
        return 256;
    }
}

void qn_type_to_format(const struct qn_type *type, char out[QN_TYPE_MAX_FORMAT])
{
    switch (type->id) {
    case QN_TYPE_FIXED_BINARY:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "w:%d", (int)type->width);
        return;
    case QN_TYPE_FIXED_LIST:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "+w:%d", (int)type->width);
        return;
    case QN_TYPE_DECIMAL128:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "d:%d,%d", (int)type->precision, (int)type->scale);
        return;
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL256:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "d:%d,%d,%d", (int)type->precision, (int)type->scale,
                       decimal_bits(type->id));
        return;
    case QN_TYPE_TIMESTAMP:
        (void)snprintf(out, QN_TYPE_MAX_FORMAT, "ts%c:%.*s", unit_letters[type->unit & 3], QN_TIMEZONE_SIZE - 1,
                       type->timezone);
        return;
    default:
        break;
    }
    bool has_unit = type->id == QN_TYPE_TIME32 || type->id == QN_TYPE_TIME64 || type->id == QN_TYPE_DURATION;
    const char *format = "n";
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++) {
        if (letters[i].id == type->id && (!has_unit || letters[i].unit == type->unit)) {
            format = letters[i].format;
            break;
        }
    }
    (void)snprintf(out, QN_TYPE_MAX_FORMAT, "%s", format);
}

struct qn_type qn_type_timestamp(enum qn_time_unit unit, const char *timezone)
{
    struct qn_type type = { .id = QN_TYPE_TIMESTAMP, .unit = unit };
    (void)snprintf(type.timezone, sizeof type.timezone, "%s", timezone != NULL ? timezone : "");
    return type;
}

bool qn__type_is_text(enum qn_type_id id)
{
    return id == QN_TYPE_STRING || id == QN_TYPE_LARGE_STRING || id == QN_TYPE_STRING_VIEW;
}

bool qn__type_is_binary(enum qn_type_id id)
{
    return id == QN_TYPE_BINARY || id == QN_TYPE_LARGE_BINARY || id == QN_TYPE_BINARY_VIEW;
}

uint32_t qn_type_width(const struct qn_type *type)
{
    switch (type->id) {
    case QN_TYPE_INT8:
    case QN_TYPE_UINT8:
        return 1;
    case QN_TYPE_INT16:
    case QN_TYPE_UINT16:
    case QN_TYPE_FLOAT16:
        return 2;
    case QN_TYPE_INT32:
    case QN_TYPE_UINT32:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DATE32:
    case QN_TYPE_TIME32:
    case QN_TYPE_INTERVAL_MONTHS:
        return 4;
    case QN_TYPE_INT64:
    case QN_TYPE_UINT64:
    case QN_TYPE_FLOAT64:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DATE64:
    case QN_TYPE_TIME64:
    case QN_TYPE_TIMESTAMP:
    case QN_TYPE_DURATION:
    case QN_TYPE_INTERVAL_DAY_TIME:
        return 8;
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_INTERVAL_MONTH_DAY_NANO:
    case QN_TYPE_STRING_VIEW:
    case QN_TYPE_BINARY_VIEW:
        return 16;
    case QN_TYPE_DECIMAL256:
        return 32;
    case QN_TYPE_FIXED_BINARY:
        return (uint32_t)type->width;
    default:
        return 0;
    }
}
