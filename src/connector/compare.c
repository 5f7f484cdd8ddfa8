/* compare.c: see compare.h. All that is counted (whole numbers, decimals, dates, times) is compared as a whole number. */
#include "connector/compare.h"

#include "base/calendar.h"
#include "base/memory.h"

#define NANOS_PER_SECOND INT64_C(1000000000)
#define NANOS_PER_DAY    (86400 * NANOS_PER_SECOND)

enum family { NO_ORDER, NEVER, TRUTHS, NUMBERS, FLOATS, TEXTS, BINARIES, DATES, TIMES, TIMESTAMPS, DURATIONS };

static enum family family_of(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_NULL:
        return NEVER;
    case QN_TYPE_BOOL:
        return TRUTHS;
    case QN_TYPE_FLOAT16:
    case QN_TYPE_FLOAT32:
    case QN_TYPE_FLOAT64:
        return FLOATS;
    case QN_TYPE_STRING:
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_STRING_VIEW:
        return TEXTS;
    case QN_TYPE_BINARY:
    case QN_TYPE_LARGE_BINARY:
    case QN_TYPE_BINARY_VIEW:
    case QN_TYPE_FIXED_BINARY:
        return BINARIES;
    case QN_TYPE_DATE32:
    case QN_TYPE_DATE64:
        return DATES;
    case QN_TYPE_TIME32:
    case QN_TYPE_TIME64:
        return TIMES;
    case QN_TYPE_TIMESTAMP:
        return TIMESTAMPS;
    case QN_TYPE_DURATION:
        return DURATIONS;
    default:
        return (id >= QN_TYPE_INT8 && id <= QN_TYPE_UINT64) || (id >= QN_TYPE_DECIMAL32 && id <= QN_TYPE_DECIMAL256)
                   ? NUMBERS
                   : NO_ORDER;
    }
}

enum qn_status qn__compare_check(const struct qn_reader *reader, struct qn_error *err)
{
    if (family_of(reader->type.id) != NO_ORDER) {
        return QN_OK;
    }
    char type[QN_TYPE_MAX_FORMAT];
    qn_type_to_text(&reader->type, type);
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "filter: column \"%s\" of type %s cannot be compared", reader->name,
                        type);
}

void qn__comparand_dispose(struct qn__comparand *comparand)
{
    qn_free(comparand->bytes);
    comparand->bytes = NULL;
}

/* ---- values of filters ---- */

static enum qn_status no_value(const struct qn_reader *reader, const struct qn__filter_value *value, const char *what,
                               struct qn_error *err)
{
    char type[QN_TYPE_MAX_FORMAT];
    qn_type_to_text(&reader->type, type);
    const char *shown = value->kind == QN__VALUE_BOOL ? (value->truth ? "true" : "false") : value->text;
    const char *quote = value->kind == QN__VALUE_TEXT ? "\"" : "";
    return qn_error_set(err, QN_ERR_ARGUMENT, "filter: column \"%s\" of type %s cannot be compared with %s%.80s%s: %s",
                        reader->name, type, quote, shown, quote, what);
}

/* value / divisor, rounded down, and whether something was left. */
static qn_int128 divide_down(qn_int128 value, qn_int128 divisor, bool *rest_out)
{
    qn_int128 quotient = value / divisor;
    qn_int128 rest = value % divisor;
    *rest_out = rest != 0;
    return rest < 0 ? quotient - 1 : quotient;
}

/* A decimal in units of 10^-scale of the column, whose values have at most 38 digits. */
static void decimal_to_whole(qn_int128 value, int from, int to, struct qn__comparand *out)
{
    if (from > to) {
        bool small = from - to > QN_DECIMAL_MAX_DIGITS;
        if (small) {
            out->whole = value < 0 ? -1 : 0;
            out->above = value != 0;
        } else {
            out->whole = divide_down(value, qn_decimal_power(from - to), &out->above);
        }
    } else if (to - from > QN_DECIMAL_MAX_DIGITS ||
               __builtin_mul_overflow(value, qn_decimal_power(to - from), &out->whole)) {
        out->whole = 0;
        out->beyond = value < 0 ? -1 : value > 0;
    }
}

static enum qn_status init_number(struct qn__comparand *out, const struct qn_reader *reader,
                                  const struct qn__filter_value *value, struct qn_error *err)
{
    bool decimal = reader->type.id >= QN_TYPE_DECIMAL32 && reader->type.id <= QN_TYPE_DECIMAL256;
    if (value->kind != QN__VALUE_NUMBER) {
        return no_value(reader, value, "a number is needed", err);
    }
    if (!value->exact) {
        return no_value(reader, value, "it has more than 38 digits", err);
    }
    decimal_to_whole(value->value, value->scale, decimal ? reader->type.scale : 0, out);
    return QN_OK;
}

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Decode base64 (RFC 4648, padded) in place; false where it is none. */
static bool base64_decode(char *text, size_t *size)
{
    size_t n = *size;
    size_t used = 0;
    size_t padding = n >= 2 && text[n - 1] == '=' ? 1 + (text[n - 2] == '=') : 0;
    uint32_t word = 0;
    if (n % 4 != 0) {
        return false;
    }
    for (size_t i = 0; i < n - padding; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0) {
            return false;
        }
        word = word << 6 | (uint32_t)digit;
        if (i % 4 != 0) {
            text[used++] = (char)(word >> (2 * (3 - i % 4)));
        }
    }
    *size = used;
    return padding == 0 || (word & (padding == 1 ? 3U : 15U)) == 0;
}

static enum qn_status init_bytes(struct qn__comparand *out, const struct qn_reader *reader,
                                 const struct qn__filter_value *value, bool binary, struct qn_error *err)
{
    out->as = QN__AS_BYTES;
    if (value->kind != QN__VALUE_TEXT) {
        return no_value(reader, value, binary ? "a text in base64 is needed" : "a text is needed", err);
    }
    out->bytes = qn_strndup(value->text, value->size);
    out->size = value->size;
    if (out->bytes == NULL) {
        return qn__no_memory(err);
    }
    if (binary && !base64_decode(out->bytes, &out->size)) {
        qn__comparand_dispose(out);
        return no_value(reader, value, "it is not base64", err);
    }
    return QN_OK;
}

/* ---- times ---- */

/* Cut what comes after six digits of a fraction out of `text` and give it as nanoseconds; false for more than nine digits. */
static bool cut_nanos(char *text, int64_t *nanos_out)
{
    char *point = strchr(text, '.');
    *nanos_out = 0;
    if (point == NULL) {
        return true;
    }
    size_t digits = strspn(point + 1, "0123456789");
    if (digits <= 6) {
        return true;
    }
    size_t used = digits;
    while (used > 9 && point[used] == '0') {
        used--;
    }
    if (used > 9) {
        return false;
    }
    for (size_t i = 6; i < 9; i++) {
        *nanos_out = *nanos_out * 10 + (i < digits ? point[1 + i] - '0' : 0);
    }
    memmove(point + 7, point + 1 + digits, strlen(point + 1 + digits) + 1);
    return true;
}

/* "3.5" of a duration's part in nanoseconds of `unit`; moves past the letter. */
static bool duration_part(const char **at, char letter, qn_int128 unit, qn_int128 *total)
{
    qn_int128 value;
    int scale;
    size_t size = strspn(*at, "-0123456789.");
    if (size == 0 || (*at)[size] != letter) {
        return true; /* it is not there */
    }
    if (!qn_decimal_parse(*at, size, &value, &scale) || scale > 9 || qn_decimal_digits(value) > 18) {
        return false;
    }
    qn_int128 nanos = value * unit;
    if (nanos % qn_decimal_power(scale) != 0) {
        return false;
    }
    *total += nanos / qn_decimal_power(scale);
    *at += size + 1;
    return true;
}

/* "PT-0.5S", "P1DT2H", "-PT3M": ISO 8601 without years, months and weeks. */
static bool duration_parse(const char *text, qn_int128 *nanos_out)
{
    bool negative = *text == '-';
    const char *at = text + negative;
    qn_int128 total = 0;
    if (*at++ != 'P' || *at == '\0' || !duration_part(&at, 'D', NANOS_PER_DAY, &total)) {
        return false;
    }
    if (*at == 'T') {
        const char *begin = ++at;
        if (!duration_part(&at, 'H', 3600 * NANOS_PER_SECOND, &total) ||
            !duration_part(&at, 'M', 60 * NANOS_PER_SECOND, &total) ||
            !duration_part(&at, 'S', NANOS_PER_SECOND, &total) || at == begin) {
            return false;
        }
    }
    *nanos_out = negative ? -total : total;
    return *at == '\0';
}

static qn_int128 nanos_per(enum qn_time_unit unit)
{
    static const int64_t nanos[] = { NANOS_PER_SECOND, 1000000, 1000, 1 };
    return nanos[unit & 3];
}

/* The text's nanoseconds since midnight, or since 1970; what it lacks to be right, or NULL. */
static const char *read_time(const struct qn_reader *reader, enum family family, char *text, qn_int128 *nanos_out)
{
    int64_t micros, nanos;
    int32_t days;
    enum qn_zone zone = QN_ZONE_NONE;
    if (family == DURATIONS) {
        return duration_parse(text, nanos_out) ? NULL : "a duration of ISO 8601 is needed, such as \"PT1.5S\"";
    }
    if (family == DATES) {
        bool right = qn_date_parse(text, strlen(text), &days);
        *nanos_out = right ? (qn_int128)days * NANOS_PER_DAY : 0;
        return right ? NULL : "a date is needed, such as \"2026-01-31\"";
    }
    if (!cut_nanos(text, &nanos)) {
        return "a fraction has at most nine digits";
    }
    if (family == TIMES) {
        if (!qn_time_parse(text, strlen(text), &micros)) {
            return "a time is needed, such as \"12:30:00.5\"";
        }
    } else if (!qn_timestamp_parse(text, strlen(text), &micros, &zone)) {
        return "a timestamp is needed, such as \"2026-01-31T12:30:00Z\"";
    } else if (zone == QN_ZONE_OFFSET && reader->type.timezone[0] == '\0') {
        return "the column has no time zone, the value has one";
    }
    *nanos_out = (qn_int128)micros * 1000 + nanos;
    return NULL;
}

static enum qn_status init_time(struct qn__comparand *out, const struct qn_reader *reader, enum family family,
                                const struct qn__filter_value *value, struct qn_error *err)
{
    qn_int128 nanos;
    if (value->kind != QN__VALUE_TEXT) {
        return no_value(reader, value, "a text of ISO 8601 is needed", err);
    }
    qn_auto_free char *text = qn_strdup(value->text);
    if (text == NULL) {
        return qn__no_memory(err);
    }
    const char *why = read_time(reader, family, text, &nanos);
    if (why != NULL) {
        return no_value(reader, value, why, err);
    }
    qn_int128 unit = reader->type.id == QN_TYPE_DATE32   ? (qn_int128)NANOS_PER_DAY
                     : reader->type.id == QN_TYPE_DATE64 ? nanos_per(QN_UNIT_MILLI)
                                                         : nanos_per(reader->type.unit);
    out->whole = divide_down(nanos, unit, &out->above);
    return QN_OK;
}

enum qn_status qn__comparand_init(struct qn__comparand *comparand, const struct qn_reader *reader,
                                  const struct qn__filter_value *value, struct qn_error *err)
{
    enum family family = family_of(reader->type.id);
    *comparand = (struct qn__comparand){ .as = QN__AS_WHOLE };
    switch (family) {
    case TRUTHS:
        comparand->whole = value->truth;
        return value->kind == QN__VALUE_BOOL ? QN_OK : no_value(reader, value, "true or false is needed", err);
    case FLOATS:
        comparand->as = QN__AS_DOUBLE;
        comparand->number = value->nearest;
        return value->kind == QN__VALUE_NUMBER ? QN_OK : no_value(reader, value, "a number is needed", err);
    case NUMBERS:
        return init_number(comparand, reader, value, err);
    case TEXTS:
    case BINARIES:
        return init_bytes(comparand, reader, value, family == BINARIES, err);
    case DATES:
    case TIMES:
    case TIMESTAMPS:
    case DURATIONS:
        return init_time(comparand, reader, family, value, err);
    default:
        return QN_OK; /* there is no row that it will be compared with */
    }
}

/* ---- comparing ---- */

static int order_of_bytes(const char *a, size_t a_size, const char *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

int qn__comparand_order(const void *one, const void *other)
{
    const struct qn__comparand *a = one;
    const struct qn__comparand *b = other;
    if (a->as == QN__AS_BYTES) {
        return order_of_bytes(a->bytes, a->size, b->bytes, b->size);
    }
    if (a->as == QN__AS_DOUBLE) {
        return (a->number > b->number) - (a->number < b->number);
    }
    if (a->beyond != b->beyond) {
        return a->beyond - b->beyond;
    }
    if (a->whole != b->whole) {
        return a->whole < b->whole ? -1 : 1;
    }
    return (int)a->above - (int)b->above;
}

static enum qn_status bad_value(const struct qn_reader *reader, const char *what, struct qn_error *err)
{
    enum qn_status status = qn_error_set(err, QN_ERR_DATA, "filter: column \"%s\": %s", reader->name, what);
    qn_error_place(err, -1, reader->name);
    return status;
}

static enum qn_status whole_value(const struct qn_reader *reader, int64_t row, qn_int128 *out, struct qn_error *err)
{
    switch (reader->type.id) {
    case QN_TYPE_BOOL:
        *out = qn_reader_bool(reader, row);
        return QN_OK;
    case QN_TYPE_UINT64:
        *out = qn_reader_uint64(reader, row);
        return QN_OK;
    case QN_TYPE_DECIMAL32:
    case QN_TYPE_DECIMAL64:
    case QN_TYPE_DECIMAL128:
    case QN_TYPE_DECIMAL256:
        return qn_reader_decimal(reader, row, out) ? QN_OK
                                                   : bad_value(reader, "a decimal has more than 38 digits", err);
    default:
        *out = qn_reader_int64(reader, row);
        return QN_OK;
    }
}

enum qn_status qn__compare(const struct qn_reader *reader, int64_t row, const struct qn__comparand *comparand,
                           enum qn__order *out, struct qn_error *err)
{
    int order;
    if (comparand->as == QN__AS_BYTES) {
        const char *bytes;
        size_t size = 0;
        if (!qn_reader_bytes(reader, row, &bytes, &size)) {
            return bad_value(reader, "malformed Arrow array: a value lies outside of its buffers", err);
        }
        order = order_of_bytes(bytes, size, comparand->bytes, comparand->size);
    } else if (comparand->as == QN__AS_DOUBLE) {
        double number = qn_reader_float64(reader, row);
        if (number != number) {
            *out = QN__ORDER_NONE;
            return QN_OK;
        }
        order = (number > comparand->number) - (number < comparand->number);
    } else {
        qn_int128 whole;
        QN_TRY(whole_value(reader, row, &whole, err));
        order = comparand->beyond != 0      ? -comparand->beyond
                : whole != comparand->whole ? (whole < comparand->whole ? -1 : 1)
                                            : -(int)comparand->above;
    }
    *out = order < 0 ? QN__ORDER_LESS : order > 0 ? QN__ORDER_GREATER : QN__ORDER_EQUAL;
    return QN_OK;
}
