/*
 * reader_value.c: the getters of bound readers. A dictionary-encoded column is read through its dictionary.
 *
 * Every getter stays inside of what binding has checked; where a pair of offsets or a view may still be bad, it says so.
 * Threads: no state.
 */
#include "arrow/reader.h"

#include "arrow/type_parse.h"

/* The stored index of a row; a uint64 past INT64_MAX comes out negative, which is out of bounds too. */
static int64_t stored_index(const struct qn_reader *reader, int64_t row)
{
    switch (reader->index_type.id) {
    case QN_TYPE_INT8:
        return qn_reader_at_int8(reader, row);
    case QN_TYPE_UINT8:
        return qn_reader_at_uint8(reader, row);
    case QN_TYPE_INT16:
        return qn_reader_at_int16(reader, row);
    case QN_TYPE_UINT16:
        return qn_reader_at_uint16(reader, row);
    case QN_TYPE_INT32:
        return qn_reader_at_int32(reader, row);
    case QN_TYPE_UINT32:
        return qn_reader_at_uint32(reader, row);
    default:
        return qn_reader_at_int64(reader, row);
    }
}

int64_t qn__reader_index(const struct qn_reader *reader, int64_t row)
{
    int64_t at = reader->offset + row;
    if (reader->validity != NULL && !((reader->validity[at >> 3] >> (at & 7)) & 1)) {
        return -1;
    }
    int64_t index = stored_index(reader, row);
    return index >= 0 && index < reader->dictionary->length ? index : -1;
}

bool qn_reader_bool(const struct qn_reader *reader, int64_t row)
{
    if (reader->dictionary != NULL) {
        return qn_reader_bool(reader->dictionary, qn__reader_index(reader, row));
    }
    int64_t at = reader->offset + row;
    return (reader->data[at >> 3] >> (at & 7)) & 1;
}

int64_t qn_reader_int64(const struct qn_reader *reader, int64_t row)
{
    if (reader->dictionary != NULL) {
        return qn_reader_int64(reader->dictionary, qn__reader_index(reader, row));
    }
    switch (reader->type.id) {
    case QN_TYPE_INT8:
        return qn_reader_at_int8(reader, row);
    case QN_TYPE_UINT8:
        return qn_reader_at_uint8(reader, row);
    case QN_TYPE_INT16:
        return qn_reader_at_int16(reader, row);
    case QN_TYPE_UINT16:
        return qn_reader_at_uint16(reader, row);
    case QN_TYPE_INT32:
    case QN_TYPE_DATE32:
    case QN_TYPE_TIME32:
    case QN_TYPE_INTERVAL_MONTHS:
        return qn_reader_at_int32(reader, row);
    case QN_TYPE_UINT32:
        return qn_reader_at_uint32(reader, row);
    default:
        return qn_reader_at_int64(reader, row);
    }
}

uint64_t qn_reader_uint64(const struct qn_reader *reader, int64_t row)
{
    if (reader->dictionary != NULL) {
        return qn_reader_uint64(reader->dictionary, qn__reader_index(reader, row));
    }
    switch (reader->type.id) {
    case QN_TYPE_UINT8:
        return qn_reader_at_uint8(reader, row);
    case QN_TYPE_UINT16:
        return qn_reader_at_uint16(reader, row);
    case QN_TYPE_UINT32:
        return qn_reader_at_uint32(reader, row);
    default:
        return qn_reader_at_uint64(reader, row);
    }
}

/* IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits. Every one is exact as a double. */
static double from_half(uint16_t half)
{
    uint64_t sign = (uint64_t)(half >> 15) << 63;
    uint64_t exponent = (half >> 10) & 0x1F;
    uint64_t fraction = half & 0x3FF;
    uint64_t bits;
    if (exponent == 0) {
        double number = (double)fraction / 16777216.0; /* fraction * 2^-24 */
        return sign != 0 ? -number : number;
    }
    bits = sign | (exponent == 31 ? UINT64_C(0x7FF) : exponent + 1023 - 15) << 52 | fraction << 42;
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

double qn_reader_float64(const struct qn_reader *reader, int64_t row)
{
    if (reader->dictionary != NULL) {
        return qn_reader_float64(reader->dictionary, qn__reader_index(reader, row));
    }
    switch (reader->type.id) {
    case QN_TYPE_FLOAT16:
        return from_half(qn_reader_at_uint16(reader, row));
    case QN_TYPE_FLOAT32:
        return (double)qn_reader_at_float32(reader, row);
    default:
        return qn_reader_at_float64(reader, row);
    }
}

bool qn_reader_decimal(const struct qn_reader *reader, int64_t row, qn_int128 *out)
{
    if (reader->dictionary != NULL) {
        return qn_reader_decimal(reader->dictionary, qn__reader_index(reader, row), out);
    }
    switch (reader->type.id) {
    case QN_TYPE_DECIMAL32:
        *out = qn_reader_at_int32(reader, row);
        return true;
    case QN_TYPE_DECIMAL64:
        *out = qn_reader_at_int64(reader, row);
        return true;
    case QN_TYPE_DECIMAL128:
        *out = qn_reader_at_decimal128(reader, row);
        return true;
    default:
        break;
    }
    qn_int128 halves[2];
    memcpy(halves, reader->data + (size_t)(reader->offset + row) * sizeof halves, sizeof halves);
    qn_int128 sign = halves[0] < 0 ? -1 : 0;
    if (halves[1] != sign || qn_decimal_digits(halves[0]) > QN_DECIMAL_MAX_DIGITS) {
        return false;
    }
    *out = halves[0];
    return true;
}

static bool view_bytes(const struct qn_reader *reader, int64_t row, const char **bytes_out, size_t *size_out)
{
    const uint8_t *at = reader->data + (size_t)(reader->offset + row) * sizeof(union qn_view);
    union qn_view view;
    memcpy(&view, at, sizeof view);
    if (view.inlined.size < 0) {
        return false;
    }
    *size_out = (size_t)view.inlined.size;
    if (view.inlined.size <= QN_VIEW_INLINE) {
        *bytes_out = (const char *)at + offsetof(union qn_view, inlined.data);
        return true;
    }
    int64_t end = (int64_t)view.reference.offset + view.reference.size;
    if (view.reference.block < 0 || view.reference.block >= reader->n_blocks || view.reference.offset < 0 ||
        end > reader->block_sizes[view.reference.block]) {
        return false;
    }
    *bytes_out = reader->blocks[view.reference.block] + view.reference.offset;
    return true;
}

/* The pair of offsets of a row, within what binding has seen as the last. */
static bool offset_pair(const struct qn_reader *reader, int64_t row, bool wide, int64_t *begin_out, int64_t *end_out)
{
    if (wide) {
        *begin_out = qn_reader_at_int64(reader, row);
        *end_out = qn_reader_at_int64(reader, row + 1);
    } else {
        *begin_out = qn_reader_at_int32(reader, row);
        *end_out = qn_reader_at_int32(reader, row + 1);
    }
    return *begin_out >= 0 && *begin_out <= *end_out && *end_out <= reader->bytes_size;
}

bool qn_reader_bytes(const struct qn_reader *reader, int64_t row, const char **bytes_out, size_t *size_out)
{
    if (QN_UNLIKELY(reader->dictionary != NULL)) {
        return qn_reader_bytes(reader->dictionary, qn__reader_index(reader, row), bytes_out, size_out);
    }
    bool wide = false;
    switch (reader->type.id) {
    case QN_TYPE_STRING_VIEW:
    case QN_TYPE_BINARY_VIEW:
        return view_bytes(reader, row, bytes_out, size_out);
    case QN_TYPE_FIXED_BINARY:
        *size_out = (size_t)reader->type.width;
        *bytes_out = *size_out > 0 ? (const char *)reader->data + (size_t)(reader->offset + row) * *size_out : "";
        return true;
    case QN_TYPE_LARGE_STRING:
    case QN_TYPE_LARGE_BINARY:
        wide = true;
        break;
    default:
        break;
    }
    int64_t begin, end;
    if (!offset_pair(reader, row, wide, &begin, &end)) {
        return false;
    }
    *bytes_out = begin < end ? reader->bytes + begin : "";
    *size_out = (size_t)(end - begin);
    return true;
}

void qn_reader_interval(const struct qn_reader *reader, int64_t row, int32_t *months, int32_t *days, int64_t *nanos)
{
    if (reader->dictionary != NULL) {
        qn_reader_interval(reader->dictionary, qn__reader_index(reader, row), months, days, nanos);
        return;
    }
    int32_t words[2];
    *months = 0;
    *days = 0;
    *nanos = 0;
    switch (reader->type.id) {
    case QN_TYPE_INTERVAL_MONTHS:
        *months = qn_reader_at_int32(reader, row);
        break;
    case QN_TYPE_INTERVAL_DAY_TIME:
        memcpy(words, reader->data + (size_t)(reader->offset + row) * sizeof words, sizeof words);
        *days = words[0];
        *nanos = (int64_t)words[1] * 1000000;
        break;
    default: {
        const uint8_t *at = reader->data + (size_t)(reader->offset + row) * 16;
        memcpy(months, at, sizeof *months);
        memcpy(days, at + 4, sizeof *days);
        memcpy(nanos, at + 8, sizeof *nanos);
        break;
    }
    }
}

bool qn_reader_list(const struct qn_reader *reader, int64_t row, int64_t *first_out, int64_t *count_out)
{
    if (reader->dictionary != NULL) {
        return qn_reader_list(reader->dictionary, qn__reader_index(reader, row), first_out, count_out);
    }
    if (reader->type.id == QN_TYPE_FIXED_LIST) {
        *first_out = (reader->offset + row) * reader->type.width;
        *count_out = reader->type.width;
        return true;
    }
    int64_t end;
    if (!offset_pair(reader, row, reader->type.id == QN_TYPE_LARGE_LIST, first_out, &end)) {
        return false;
    }
    *count_out = end - *first_out;
    return true;
}

bool qn_reader_micros(const struct qn_reader *reader, int64_t row, int64_t *out)
{
    int64_t value = qn_reader_int64(reader, row);
    switch (reader->type.unit) {
    case QN_UNIT_SECOND:
        return !__builtin_mul_overflow(value, INT64_C(1000000), out);
    case QN_UNIT_MILLI:
        return !__builtin_mul_overflow(value, INT64_C(1000), out);
    case QN_UNIT_MICRO:
        *out = value;
        return true;
    case QN_UNIT_NANO:
        *out = value / 1000;
        return value % 1000 == 0;
    }
    return false;
}
