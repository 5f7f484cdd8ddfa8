/*
 * unify_type.c: the narrowest type that holds all values of some types exactly.
 *
 * Looks at all types at once: pairs would make the answer depend on their order (Int32 and UInt32 are Int64, which Float64
 * does not hold, though it holds both). No state.
 */
#include "arrow/unify.h"

#include "arrow/type_parse.h"
#include "base/text.h"

#define BIT(id)     (UINT64_C(1) << (id))
#define SIGNED_BITS (BIT(QN_TYPE_INT8) | BIT(QN_TYPE_INT16) | BIT(QN_TYPE_INT32) | BIT(QN_TYPE_INT64))
#define INTEGER_BITS                                                                                                   \
    (SIGNED_BITS | BIT(QN_TYPE_UINT8) | BIT(QN_TYPE_UINT16) | BIT(QN_TYPE_UINT32) | BIT(QN_TYPE_UINT64))
#define FLOAT_BITS (BIT(QN_TYPE_FLOAT16) | BIT(QN_TYPE_FLOAT32) | BIT(QN_TYPE_FLOAT64))
#define DECIMAL_BITS                                                                                                   \
    (BIT(QN_TYPE_DECIMAL32) | BIT(QN_TYPE_DECIMAL64) | BIT(QN_TYPE_DECIMAL128) | BIT(QN_TYPE_DECIMAL256))
#define TEXT_BITS      (BIT(QN_TYPE_STRING) | BIT(QN_TYPE_LARGE_STRING) | BIT(QN_TYPE_STRING_VIEW))
#define BINARY_BITS    (BIT(QN_TYPE_BINARY) | BIT(QN_TYPE_LARGE_BINARY) | BIT(QN_TYPE_BINARY_VIEW))
#define TIME_BITS      (BIT(QN_TYPE_TIME32) | BIT(QN_TYPE_TIME64))
#define TIMESTAMP_BITS (BIT(QN_TYPE_DATE32) | BIT(QN_TYPE_DATE64) | BIT(QN_TYPE_TIMESTAMP))
#define LIST_BITS      (BIT(QN_TYPE_LIST) | BIT(QN_TYPE_LARGE_LIST))

/* What is known of some types. */
struct seen {
    uint64_t ids; /* without the null type */
    int integer_digits, scale;
    enum qn_time_unit unit;
    const char *timezone; /* of the first timestamp; NULL: none */
    bool timezones_differ;
    int32_t width; /* of fixed binaries and lists; -1: they differ */
    bool has_width;
};

static bool is_utc(const char *timezone)
{
    return qn_text_equal(timezone, "UTC") || qn_text_equal(timezone, "Etc/UTC") || qn_text_equal(timezone, "+00:00") ||
           qn_text_equal(timezone, "Z");
}

/* Decimal digits of the largest value of an integer type. */
static int digits_of(enum qn_type_id id)
{
    switch (id) {
    case QN_TYPE_INT8:
    case QN_TYPE_UINT8:
        return 3;
    case QN_TYPE_INT16:
    case QN_TYPE_UINT16:
        return 5;
    case QN_TYPE_INT32:
    case QN_TYPE_UINT32:
        return 10;
    case QN_TYPE_INT64:
        return 19;
    default:
        return 20;
    }
}

static void see(struct seen *seen, const struct qn_type *type)
{
    if (type->id == QN_TYPE_NULL) {
        return;
    }
    seen->ids |= BIT(type->id);
    bool decimal = (BIT(type->id) & DECIMAL_BITS) != 0;
    if (decimal || (BIT(type->id) & INTEGER_BITS) != 0) {
        int digits = decimal ? type->precision - type->scale : digits_of(type->id);
        seen->integer_digits = digits > seen->integer_digits ? digits : seen->integer_digits;
        seen->scale = decimal && type->scale > seen->scale ? type->scale : seen->scale;
    }
    enum qn_time_unit unit = type->id == QN_TYPE_DATE64 ? QN_UNIT_MILLI : type->unit;
    seen->unit = unit > seen->unit ? unit : seen->unit;
    if (type->id == QN_TYPE_TIMESTAMP) {
        if (seen->timezone == NULL) {
            seen->timezone = type->timezone;
        } else if (!qn_text_equal(seen->timezone, type->timezone) &&
                   !(is_utc(seen->timezone) && is_utc(type->timezone))) {
            seen->timezones_differ = true;
        }
    }
    if (type->id == QN_TYPE_FIXED_BINARY || type->id == QN_TYPE_FIXED_LIST) {
        seen->width = seen->has_width && seen->width != type->width ? -1 : type->width;
        seen->has_width = true;
    }
}

static enum qn_type_id highest(uint64_t ids)
{
    return (enum qn_type_id)(63 - __builtin_clzll(ids));
}

static bool unify_decimals(const struct seen *seen, struct qn_type *out)
{
    static const int digits[] = { 9, 18, 38, 76 };
    int precision = seen->integer_digits + seen->scale;
    enum qn_type_id id = (seen->ids & DECIMAL_BITS) != 0 ? highest(seen->ids & DECIMAL_BITS) : QN_TYPE_DECIMAL128;
    while (id < QN_TYPE_DECIMAL256 && precision > digits[id - QN_TYPE_DECIMAL32]) {
        id++;
    }
    if (precision > digits[id - QN_TYPE_DECIMAL32]) {
        return false;
    }
    *out = (struct qn_type){ .id = id, .precision = precision > 0 ? precision : 1, .scale = seen->scale };
    return true;
}

static bool unify_integers(const struct seen *seen, struct qn_type *out)
{
    uint64_t with_sign = seen->ids & SIGNED_BITS, without = seen->ids & ~SIGNED_BITS;
    if (with_sign == 0 || without == 0) {
        out->id = highest(seen->ids);
        return true;
    }
    if ((without & BIT(QN_TYPE_UINT64)) != 0) {
        return unify_decimals(seen, out);
    }
    enum qn_type_id wide = (enum qn_type_id)(highest(without) - QN_TYPE_UINT8 + QN_TYPE_INT16); /* the next wider one */
    out->id = highest(with_sign) > wide ? highest(with_sign) : wide;
    return true;
}

/* Floats, with integers that their digits hold: 24 bits of Float32, 53 of Float64. */
static bool unify_floats(const struct seen *seen, struct qn_type *out)
{
    const uint64_t in_float32 = BIT(QN_TYPE_INT8) | BIT(QN_TYPE_INT16) | BIT(QN_TYPE_UINT8) | BIT(QN_TYPE_UINT16);
    const uint64_t in_float64 = in_float32 | BIT(QN_TYPE_INT32) | BIT(QN_TYPE_UINT32);
    uint64_t integers = seen->ids & INTEGER_BITS;
    if ((integers & ~in_float64) != 0) {
        return false;
    }
    enum qn_type_id id = highest(seen->ids & FLOAT_BITS);
    enum qn_type_id least = QN_TYPE_FLOAT16;
    if (integers != 0) {
        least = (integers & ~in_float32) != 0 ? QN_TYPE_FLOAT64 : QN_TYPE_FLOAT32;
    }
    out->id = id > least ? id : least;
    return true;
}

static bool unify_numbers(const struct seen *seen, struct qn_type *out)
{
    if ((seen->ids & FLOAT_BITS) != 0) {
        return (seen->ids & DECIMAL_BITS) == 0 && unify_floats(seen, out);
    }
    return (seen->ids & DECIMAL_BITS) != 0 ? unify_decimals(seen, out) : unify_integers(seen, out);
}

/* Fixed binaries of one width, of several, or with others. */
static bool unify_binaries(const struct seen *seen, struct qn_type *out)
{
    uint64_t others = seen->ids & BINARY_BITS;
    bool fixed = (seen->ids & BIT(QN_TYPE_FIXED_BINARY)) != 0;
    if (others == 0 && seen->width >= 0) {
        *out = (struct qn_type){ .id = QN_TYPE_FIXED_BINARY, .width = seen->width };
        return true;
    }
    out->id = others == 0 ? QN_TYPE_BINARY : highest(others);
    if (fixed && out->id == QN_TYPE_BINARY_VIEW) {
        out->id = QN_TYPE_LARGE_BINARY;
    }
    return true;
}

/* Dates are midnights of the wall clock, so they go with timestamps that have no time zone. */
static bool unify_timestamps(const struct seen *seen, struct qn_type *out)
{
    if ((seen->ids & BIT(QN_TYPE_TIMESTAMP)) == 0) {
        out->id = highest(seen->ids);
        return true;
    }
    if (seen->timezones_differ || (seen->timezone[0] != '\0' && seen->ids != BIT(QN_TYPE_TIMESTAMP))) {
        return false;
    }
    *out = qn_type_timestamp(seen->unit, is_utc(seen->timezone) ? "UTC" : seen->timezone);
    return true;
}

static bool unify_seen(const struct seen *seen, struct qn_type *out)
{
    if ((seen->ids & ~(INTEGER_BITS | FLOAT_BITS | DECIMAL_BITS)) == 0) {
        return unify_numbers(seen, out);
    }
    if ((seen->ids & ~TEXT_BITS) == 0 || (seen->ids & ~LIST_BITS) == 0) {
        out->id = highest(seen->ids);
        return true;
    }
    if ((seen->ids & ~(BINARY_BITS | BIT(QN_TYPE_FIXED_BINARY))) == 0) {
        return unify_binaries(seen, out);
    }
    if ((seen->ids & ~TIMESTAMP_BITS) == 0) {
        return unify_timestamps(seen, out);
    }
    if ((seen->ids & ~TIME_BITS) == 0) {
        *out = (struct qn_type){ .id = highest(seen->ids), .unit = seen->unit };
        return true;
    }
    if ((seen->ids & (seen->ids - 1)) != 0) {
        return false; /* two kinds that have nothing in common */
    }
    *out = (struct qn_type){ .id = highest(seen->ids), .unit = seen->unit, .width = seen->width };
    return !seen->has_width || seen->width >= 0;
}

bool qn_unify_types(const struct qn_type *types, size_t n, struct qn_type *out)
{
    struct seen seen = { 0 };
    const struct qn_type *first = NULL;
    bool all_equal = true;
    for (size_t i = 0; i < n; i++) {
        see(&seen, &types[i]);
        if (types[i].id != QN_TYPE_NULL) {
            char a[QN_TYPE_MAX_FORMAT], b[QN_TYPE_MAX_FORMAT];
            first = first != NULL ? first : &types[i];
            qn_type_to_format(first, a);
            qn_type_to_format(&types[i], b);
            all_equal = all_equal && qn_text_equal(a, b);
        }
    }
    struct qn_type made = { .id = QN_TYPE_NULL };
    if (first != NULL && all_equal) {
        made = *first; /* as it is written, whatever it is */
    } else if (first != NULL && !unify_seen(&seen, &made)) {
        return false;
    }
    *out = made;
    return true;
}

static const char *text_of(const char *text)
{
    return text != NULL ? text : "";
}

static bool alike(const struct ArrowSchema *a, const struct ArrowSchema *b, int depth)
{
    if (depth > QN__MAX_NESTING || !qn_text_equal(a->format, b->format) || a->n_children != b->n_children ||
        (a->dictionary != NULL) != (b->dictionary != NULL)) {
        return false;
    }
    bool named = qn_text_equal(a->format, "+s");
    for (int64_t i = 0; i < a->n_children; i++) {
        const struct ArrowSchema *x = a->children[i], *y = b->children[i];
        if ((named && !qn_text_equal(text_of(x->name), text_of(y->name))) || !alike(x, y, depth + 1)) {
            return false;
        }
    }
    return a->dictionary == NULL || alike(a->dictionary, b->dictionary, depth + 1);
}

bool qn__schema_alike(const struct ArrowSchema *a, const struct ArrowSchema *b)
{
    return alike(a, b, 0);
}
