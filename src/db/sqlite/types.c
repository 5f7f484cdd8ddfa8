/*
 * types.c (sqlite): declared types, affinities, and the texts and decimals of doubles.
 *
 * SQLite keeps the declared type as free text. Names that SQLAlchemy, Python's sqlite3 module and this driver write have a
 * meaning of their own; all others follow the affinity rules (https://www.sqlite.org/datatype3.html, section 3.1).
 * Tables that we create use names whose affinity keeps the value: DECIMAL_TEXT and JSON_TEXT are text to SQLite (they
 * hold "TEXT"), where DECIMAL and JSON would turn digits into doubles.
 */
#include "db/sqlite/sqlite.h"

#include "arrow/float_text.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_SIZE 64
#define EXACT_DIGITS  15 /* any decimal of so many digits survives a double */
#define MOST_DIGITS   17 /* any double survives a decimal of so many digits */

/* ---- declared types ---- */

static bool contains(const char *upper, const char *word)
{
    return strstr(upper, word) != NULL;
}

/* The declared type in capitals, single blanks, without arguments; false where it is too long to be one of ours. */
static bool normalise(const char *declared, char out[NAME_MAX_SIZE], const char **arguments_out)
{
    size_t n = 0;
    *arguments_out = NULL;
    for (const char *at = declared; *at; at++) {
        char c = *at;
        if (c == '(') {
            *arguments_out = *arguments_out == NULL ? at + 1 : *arguments_out;
            at += strcspn(at, ")");
            if (*at == '\0') {
                break;
            }
            continue;
        }
        if (qn_ascii_space(c)) {
            if (n == 0 || out[n - 1] == ' ') {
                continue;
            }
            c = ' ';
        }
        if (n + 1 >= NAME_MAX_SIZE) {
            return false;
        }
        out[n++] = c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
    }
    while (n > 0 && out[n - 1] == ' ') {
        n--;
    }
    out[n] = '\0';
    return true;
}

/* "10,2)" or "10)": precision and scale that a decimal128 can have. */
static bool parse_arguments(const char *arguments, struct qn_type *type)
{
    char *end = NULL;
    if (arguments == NULL) {
        return false;
    }
    long precision = strtol(arguments, &end, 10), scale = 0;
    while (qn_ascii_space(*end)) {
        end++;
    }
    if (*end == ',') {
        scale = strtol(end + 1, &end, 10);
    }
    while (qn_ascii_space(*end)) {
        end++;
    }
    if (*end != ')' || precision < 1 || precision > QN_DECIMAL_MAX_DIGITS || scale < 0 || scale > precision) {
        return false;
    }
    *type = qn_type_decimal((int)precision, (int)scale);
    return true;
}

static enum qn_sqlite_affinity affinity_of_name(const char *upper)
{
    if (contains(upper, "INT")) {
        return QN_SQLITE_AFFINITY_INTEGER;
    }
    if (contains(upper, "CHAR") || contains(upper, "CLOB") || contains(upper, "TEXT")) {
        return QN_SQLITE_AFFINITY_TEXT;
    }
    if (contains(upper, "BLOB") || upper[0] == '\0') {
        return QN_SQLITE_AFFINITY_BLOB;
    }
    if (contains(upper, "REAL") || contains(upper, "FLOA") || contains(upper, "DOUB")) {
        return QN_SQLITE_AFFINITY_REAL;
    }
    return QN_SQLITE_AFFINITY_NUMERIC;
}

enum qn_sqlite_affinity qn_sqlite_affinity_of(const char *declared)
{
    char upper[256];
    size_t n = 0;
    for (; declared != NULL && declared[n] && n + 1 < sizeof upper; n++) {
        char c = declared[n];
        upper[n] = c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
    }
    upper[n] = '\0';
    return affinity_of_name(upper);
}

enum qn_sqlite_kind qn_sqlite_declared(const char *declared, struct qn_type *type_out)
{
    static const struct {
        const char *name;
        enum qn_sqlite_kind kind;
    } names[] = {
        { "BOOL", QN_SQLITE_BOOL },
        { "BOOLEAN", QN_SQLITE_BOOL },
        { "DATE", QN_SQLITE_DATE },
        { "TIME", QN_SQLITE_TIME },
        { "DATETIME", QN_SQLITE_TIMESTAMP },
        { "TIMESTAMP", QN_SQLITE_TIMESTAMP },
        { "TIMESTAMP WITHOUT TIME ZONE", QN_SQLITE_TIMESTAMP },
        { "TIMESTAMPTZ", QN_SQLITE_INSTANT },
        { "TIMESTAMP WITH TIME ZONE", QN_SQLITE_INSTANT },
        { "DATETIMEOFFSET", QN_SQLITE_INSTANT },
        { "DURATION", QN_SQLITE_DURATION },
        { "JSON", QN_SQLITE_TEXT },
        { "UUID", QN_SQLITE_TEXT },
        { "GUID", QN_SQLITE_TEXT },
        { "DECIMAL", QN_SQLITE_DECIMAL },
        { "DECIMAL_TEXT", QN_SQLITE_DECIMAL },
        { "DEC", QN_SQLITE_DECIMAL },
        { "NUMERIC", QN_SQLITE_DECIMAL },
    };
    char upper[NAME_MAX_SIZE];
    const char *arguments = NULL;
    if (declared == NULL) {
        return QN_SQLITE_BY_VALUE;
    }
    bool short_enough = normalise(declared, upper, &arguments);
    for (size_t i = 0; short_enough && i < sizeof names / sizeof names[0]; i++) {
        if (qn_text_equal(upper, names[i].name)) {
            if (names[i].kind != QN_SQLITE_DECIMAL) {
                return names[i].kind;
            }
            return parse_arguments(arguments, type_out) ? QN_SQLITE_DECIMAL : QN_SQLITE_BY_VALUE;
        }
    }
    switch (qn_sqlite_affinity_of(declared)) {
    case QN_SQLITE_AFFINITY_INTEGER:
        return QN_SQLITE_INT64;
    case QN_SQLITE_AFFINITY_REAL:
        return QN_SQLITE_FLOAT64;
    case QN_SQLITE_AFFINITY_TEXT:
        return QN_SQLITE_TEXT;
    case QN_SQLITE_AFFINITY_BLOB:
        return declared[0] == '\0' ? QN_SQLITE_BY_VALUE : QN_SQLITE_BINARY;
    default:
        return QN_SQLITE_BY_VALUE;
    }
}

struct qn_type qn_sqlite_kind_type(enum qn_sqlite_kind kind)
{
    switch (kind) {
    case QN_SQLITE_INT64:
        return qn_type_of(QN_TYPE_INT64);
    case QN_SQLITE_FLOAT64:
        return qn_type_of(QN_TYPE_FLOAT64);
    case QN_SQLITE_TEXT:
        return qn_type_of(QN_TYPE_STRING_VIEW);
    case QN_SQLITE_BINARY:
        return qn_type_of(QN_TYPE_BINARY_VIEW);
    case QN_SQLITE_BOOL:
        return qn_type_of(QN_TYPE_BOOL);
    case QN_SQLITE_DATE:
        return qn_type_of(QN_TYPE_DATE32);
    case QN_SQLITE_TIME:
        return (struct qn_type){ .id = QN_TYPE_TIME64, .unit = QN_UNIT_MICRO };
    case QN_SQLITE_TIMESTAMP:
        return qn_type_timestamp(QN_UNIT_MICRO, NULL);
    case QN_SQLITE_INSTANT:
        return qn_type_timestamp(QN_UNIT_MICRO, "UTC");
    case QN_SQLITE_DURATION:
        return (struct qn_type){ .id = QN_TYPE_DURATION, .unit = QN_UNIT_MICRO };
    default: /* decimals and overrides have a type of their own */
        return qn_type_of(QN_TYPE_NULL);
    }
}

/* ---- types of new tables ---- */

static bool metadata_is(const struct ArrowSchema *field, const char *value)
{
    const char *found = NULL;
    size_t size = 0;
    return qn_schema_metadata_get(field, QN_KEY_KIND, &found, &size) && size == strlen(value) &&
           memcmp(found, value, size) == 0;
}

static const char *decimal_name(const struct qn_type *type, char buffer[64])
{
    if (type->precision > QN_DECIMAL_MAX_DIGITS || type->scale < 0) {
        return NULL;
    }
    bool keeps = type->precision <= EXACT_DIGITS || (type->scale == 0 && type->precision <= 18);
    (void)snprintf(buffer, 64, "%s(%d, %d)", keeps ? "DECIMAL" : "DECIMAL_TEXT", (int)type->precision,
                   (int)type->scale);
    return buffer;
}

const char *qn_sqlite_column_type(const struct ArrowSchema *field, char buffer[64])
{
    struct qn_type type;
    const struct ArrowSchema *values = field->dictionary != NULL ? field->dictionary : field;
    if (qn_type_from_format(values->format, &type, NULL) != QN_OK) {
        return NULL;
    }
    switch (type.id) {
    case QN_TYPE_BOOL:
        return "BOOLEAN";
    case QN_TYPE_INT8:
    case QN_TYPE_INT16:
    case QN_TYPE_INT32:
    case QN_TYPE_INT64:
    case QN_TYPE_UINT8:
    case QN_TYPE_UINT16:
    case QN_TYPE_UINT32:
    case QN_TYPE_UINT64:
        return "INTEGER";
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        return "REAL";
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return decimal_name(&type, buffer);
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return metadata_is(field, "json") ? "JSON_TEXT" : metadata_is(field, "uuid") ? "UUID" : "TEXT";
    case QN_TYPE_NULL:
        return "TEXT";
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
    case QN_TYPE_FIXED_BINARY:
        return metadata_is(field, "uuid") ? "UUID" : "BLOB";
    case QN_TYPE_DATE32:
    case QN_TYPE_DATE64:
        return "DATE";
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        return "TIME";
    case QN_TYPE_TIMESTAMP:
        return type.timezone[0] != '\0' ? "TIMESTAMPTZ" : "TIMESTAMP";
    case QN_TYPE_DURATION:
        return "DURATION";
    case QN_TYPE_LIST:
    case QN_TYPE_LARGE_LIST:
    case QN_TYPE_FIXED_LIST:
    case QN_TYPE_STRUCT:
    case QN_TYPE_MAP:
        return "JSON_TEXT";
    default:
        return NULL;
    }
}

/* ---- doubles ---- */

size_t qn_sqlite_float_text(double number, char out[QN_SQLITE_FLOAT_TEXT])
{
    size_t n = qn__float64_text(number, out);
    if (strspn(out, "-0123456789") == n) { /* a real stays a real to whoever reads the text */
        memcpy(out + n, ".0", 3);
        n += 2;
    }
    return n;
}

/* Past digits; their number is added to *count. */
static const char *skip_digits(const char *at, const char *end, int *count)
{
    while (at < end && qn_ascii_digit(*at)) {
        at++;
        *count += 1;
    }
    return at;
}

bool qn_sqlite_looks_numeric(const char *text, size_t size)
{
    const char *at = text, *end = text + size;
    int digits = 0, exponent = 0;
    while (at < end && qn_ascii_space(*at)) {
        at++;
    }
    if (at < end && (*at == '-' || *at == '+')) {
        at++;
    }
    at = skip_digits(at, end, &digits);
    if (at < end && *at == '.') {
        at = skip_digits(at + 1, end, &digits);
    }
    if (digits == 0) {
        return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '-' || *at == '+')) {
            at++;
        }
        at = skip_digits(at, end, &exponent);
        if (exponent == 0) {
            return false;
        }
    }
    while (at < end && qn_ascii_space(*at)) {
        at++;
    }
    return at == end;
}

/* Up to MOST_DIGITS significant digits of a text that looks like a number, and the power of ten of the last of them. */
static bool significant_digits(const char *at, const char *end, char digits[MOST_DIGITS + 1], int64_t *exponent_out)
{
    size_t n = 0;
    int64_t zeros = 0, exponent = 0, written = 0;
    bool fraction = false, negative;
    for (; at < end && (qn_ascii_digit(*at) || *at == '.'); at++) {
        exponent -= fraction && *at != '.';
        fraction |= *at == '.';
        if (*at == '.' || (*at == '0' && n == 0)) {
            continue;
        }
        if (*at == '0') {
            zeros++;
            continue;
        }
        if (n + (size_t)zeros + 1 > MOST_DIGITS) {
            return false;
        }
        for (; zeros > 0; zeros--) {
            digits[n++] = '0';
        }
        digits[n++] = *at;
    }
    digits[n] = '\0';
    if (at < end && (*at == 'e' || *at == 'E')) {
        negative = *++at == '-';
        at += *at == '-' || *at == '+';
        for (; at < end && qn_ascii_digit(*at) && written < 100000; at++) {
            written = written * 10 + (*at - '0');
        }
        exponent += negative ? -written : written;
    }
    *exponent_out = exponent + zeros;
    return true;
}

bool qn_sqlite_text_to_double(const char *text, size_t size, double *out)
{
    char digits[MOST_DIGITS + 1], number[64], back[64];
    const char *at = text, *end = text + size;
    int64_t exponent;
    for (; at < end && qn_ascii_space(*at); at++) {
    }
    bool negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    if (!qn_sqlite_looks_numeric(text, size) || !significant_digits(at, end, digits, &exponent)) {
        return false;
    }
    size_t n = strlen(digits);
    if (n == 0) {
        *out = negative ? -0.0 : 0.0;
        return true;
    }
    /* an integer and an exponent: no decimal point that depends on the locale */
    (void)snprintf(number, sizeof number, "%se%lld", digits, (long long)exponent);
    double found = strtod(number, NULL);
    (void)snprintf(back, sizeof back, "%.*e", (int)n - 1, found);
    const char *mark = strchr(back, 'e');
    if (mark == NULL || back[0] != digits[0] || (n > 1 && strncmp(mark - (n - 1), digits + 1, n - 1) != 0) ||
        strtol(mark + 1, NULL, 10) != exponent + (int64_t)n - 1) {
        return false;
    }
    *out = negative ? -found : found;
    return true;
}

bool qn_sqlite_decimal_to_double(qn_int128 number, int scale, double *out)
{
    char text[QN_DECIMAL_TEXT_SIZE];
    for (; number != 0 && number % 10 == 0; number /= 10) {
        scale--; /* zeros at the end are not significant */
    }
    if (qn_decimal_digits(number) > EXACT_DIGITS) {
        return false;
    }
    /* an integer and an exponent: no decimal point that depends on the locale */
    (void)snprintf(text, sizeof text, "%llde%d", (long long)number, -scale);
    *out = strtod(text, NULL);
    return true;
}

bool qn_sqlite_double_to_decimal(double number, int precision, int scale, qn_int128 *out)
{
    static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    if (scale <= 22) {
        /* Two exact numbers divided give the double nearest to that decimal: where it is ours and the decimal has at most
         * 15 digits, no other decimal of so few digits is. */
        double scaled = nearbyint(number * powers[scale]);
        if (fabs(scaled) < 1e15 && scaled / powers[scale] == number) {
            *out = (qn_int128)(int64_t)scaled;
            return qn_decimal_digits(*out) <= precision;
        }
    }
    char text[QN_SQLITE_FLOAT_TEXT];
    size_t size = qn_sqlite_float_text(number, text);
    qn_int128 value;
    int found = 0;
    return qn_decimal_parse(text, size, &value, &found) && qn_decimal_rescale(value, found, scale, out) &&
           qn_decimal_digits(*out) <= precision;
}
