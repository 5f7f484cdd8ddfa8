/*
 * convert_values.c: loops over values of fixed width: integers, floats, decimals, dates and times into wider types.
 *
 * The loops run over all slots, also those of nulls, whose values mean nothing: where a value can fail to fit, its row is
 * looked at before that counts. Decimals of 256 bits are four little-endian words in two's complement, as Arrow has them.
 * No state.
 */
#include "arrow/convert_values.h"

#include "arrow/array.h"
#include "base/memory.h"

#define WORDS 4 /* of 64 bits in a decimal256 */

static bool is_integer(enum qn_type_id id)
{
    return id >= QN_TYPE_INT8 && id <= QN_TYPE_UINT64;
}

static bool is_float(enum qn_type_id id)
{
    return id >= QN_TYPE_FLOAT16 && id <= QN_TYPE_FLOAT64;
}

static bool is_decimal(enum qn_type_id id)
{
    return id >= QN_TYPE_DECIMAL32 && id <= QN_TYPE_DECIMAL256;
}

static bool is_temporal(enum qn_type_id id)
{
    return id >= QN_TYPE_DATE32 && id <= QN_TYPE_DURATION;
}

bool qn__convert_is_fixed(const struct qn_type *from, const struct qn_type *to)
{
    bool number = is_integer(to->id) || is_float(to->id);
    return (is_integer(from->id) && number) || (is_float(from->id) && is_float(to->id)) ||
           ((is_integer(from->id) || is_decimal(from->id)) && is_decimal(to->id)) ||
           (is_temporal(from->id) && is_temporal(to->id));
}

/* ---- integers and floats ---------------------------------------------------------------------------------------- */

#define LOOP(ctype, load)                                                                                              \
    do {                                                                                                               \
        __typeof__(ctype) *values = out;                                                                               \
        for (int64_t row = 0; row < reader->length; row++) {                                                           \
            values[row] = (ctype)load(reader, row);                                                                    \
        }                                                                                                              \
    } while (0)

/* From values that `load` reads to the type `to`, which is one of those that can be wider than another. */
#define TO_NUMBER(load)                                                                                                \
    switch (to) {                                                                                                      \
    case QN_TYPE_INT16:                                                                                                \
        LOOP(int16_t, load);                                                                                           \
        break;                                                                                                         \
    case QN_TYPE_INT32:                                                                                                \
        LOOP(int32_t, load);                                                                                           \
        break;                                                                                                         \
    case QN_TYPE_INT64:                                                                                                \
        LOOP(int64_t, load);                                                                                           \
        break;                                                                                                         \
    case QN_TYPE_UINT16:                                                                                               \
        LOOP(uint16_t, load);                                                                                          \
        break;                                                                                                         \
    case QN_TYPE_UINT32:                                                                                               \
        LOOP(uint32_t, load);                                                                                          \
        break;                                                                                                         \
    case QN_TYPE_UINT64:                                                                                               \
        LOOP(uint64_t, load);                                                                                          \
        break;                                                                                                         \
    case QN_TYPE_FLOAT32:                                                                                              \
        LOOP(float, load);                                                                                             \
        break;                                                                                                         \
    default:                                                                                                           \
        LOOP(double, load);                                                                                            \
        break;                                                                                                         \
    }                                                                                                                  \
    break

static void to_number(const struct qn_reader *reader, enum qn_type_id to, void *out)
{
    switch (reader->type.id) {
    case QN_TYPE_INT8:
        TO_NUMBER(qn_reader_at_int8);
    case QN_TYPE_INT16:
        TO_NUMBER(qn_reader_at_int16);
    case QN_TYPE_INT32:
        TO_NUMBER(qn_reader_at_int32);
    case QN_TYPE_UINT8:
        TO_NUMBER(qn_reader_at_uint8);
    case QN_TYPE_UINT16:
        TO_NUMBER(qn_reader_at_uint16);
    case QN_TYPE_UINT32:
        TO_NUMBER(qn_reader_at_uint32);
    case QN_TYPE_FLOAT32:
        TO_NUMBER(qn_reader_at_float32);
    default: /* float16 */
        if (to == QN_TYPE_FLOAT32) {
            LOOP(float, qn_reader_float64);
        } else {
            LOOP(double, qn_reader_float64);
        }
        break;
    }
}

/* ---- decimals --------------------------------------------------------------------------------------------------- */

/* Multiply a magnitude by a factor; false where it passes 2^255. */
static bool words_times(uint64_t words[WORDS], uint64_t factor)
{
    qn_uint128 carry = 0;
    for (int i = 0; i < WORDS; i++) {
        carry += (qn_uint128)words[i] * factor;
        words[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return carry == 0 && words[WORDS - 1] >> 63 == 0;
}

static void words_negate(uint64_t words[WORDS])
{
    qn_uint128 carry = 1;
    for (int i = 0; i < WORDS; i++) {
        carry += (uint64_t)~words[i];
        words[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

static void load_words(const struct qn_reader *reader, int64_t row, uint64_t words[WORDS])
{
    if (reader->type.id == QN_TYPE_DECIMAL256) {
        memcpy(words, reader->data + (size_t)(reader->offset + row) * (WORDS * sizeof(uint64_t)),
               WORDS * sizeof(uint64_t));
        return;
    }
    qn_int128 value = 0;
    if (reader->type.id == QN_TYPE_UINT64) {
        value = qn_reader_at_uint64(reader, row);
    } else if (is_integer(reader->type.id)) {
        value = qn_reader_int64(reader, row);
    } else if (!qn_reader_decimal(reader, row, &value)) {
        value = 0; /* only decimals of 256 bits can fail */
    }
    words[0] = (uint64_t)value;
    words[1] = (uint64_t)(value >> 64);
    words[2] = words[3] = value < 0 ? UINT64_MAX : 0;
}

/* value * 10^by in 256 bits; false where that is too much. */
static bool shift_words(uint64_t words[WORDS], int by)
{
    bool negative = words[WORDS - 1] >> 63 != 0;
    if (negative) {
        words_negate(words);
    }
    bool fits = words[WORDS - 1] >> 63 == 0;
    for (; fits && by > 0; by--) {
        fits = words_times(words, 10);
    }
    if (negative) {
        words_negate(words);
    }
    return fits;
}

/* Store the low bytes; false where the rest is more than the sign. */
static bool store_words(const uint64_t words[WORDS], size_t width, uint8_t *out)
{
    uint8_t bytes[WORDS * sizeof(uint64_t)];
    memcpy(bytes, words, sizeof bytes);
    memcpy(out, bytes, width);
    uint8_t rest = (bytes[width - 1] & 0x80) != 0 ? 0xFF : 0;
    for (size_t i = width; i < sizeof bytes; i++) {
        if (bytes[i] != rest) {
            return false;
        }
    }
    return true;
}

static enum qn_status to_decimal(const struct qn_reader *reader, const struct qn_type *to,
                                 const struct qn__place *place, uint8_t *out, struct qn_error *err)
{
    size_t width = qn_type_width(to);
    int from_scale = is_decimal(reader->type.id) ? reader->type.scale : 0;
    int by = to->scale - from_scale;
    bool narrow = reader->type.id != QN_TYPE_DECIMAL256 && to->precision <= QN_DECIMAL_MAX_DIGITS;
    for (int64_t row = 0; row < reader->length; row++) {
        uint64_t words[WORDS];
        load_words(reader, row, words);
        bool fits;
        qn_int128 value = (qn_int128)((qn_uint128)words[1] << 64 | words[0]);
        if (narrow && by <= QN_DECIMAL_MAX_DIGITS) {
            fits = qn_decimal_rescale(value, 0, by, &value);
            words[0] = (uint64_t)value;
            words[1] = (uint64_t)(value >> 64);
            words[2] = words[3] = value < 0 ? UINT64_MAX : 0;
        } else {
            fits = shift_words(words, by);
        }
        fits = store_words(words, width, out + (size_t)row * width) && fits;
        if (QN_UNLIKELY(!fits) && !qn_reader_is_null(reader, row)) {
            return qn__place_error(place, row, "a decimal has more digits than its type", err);
        }
    }
    return QN_OK;
}

/* ---- dates and times -------------------------------------------------------------------------------------------- */

/* How many of the finer unit a coarser has. */
static int64_t factor_between(const struct qn_type *from, const struct qn_type *to)
{
    static const int64_t powers[] = { 1, 1000, 1000000, 1000000000 };
    if (from->id == QN_TYPE_DATE32) {
        return 86400 * powers[to->id == QN_TYPE_DATE64 ? QN_UNIT_MILLI : to->unit];
    }
    enum qn_time_unit unit = from->id == QN_TYPE_DATE64 ? QN_UNIT_MILLI : from->unit;
    return to->id == QN_TYPE_DATE64 ? 1 : powers[to->unit - unit];
}

static enum qn_status to_temporal(const struct qn_reader *reader, const struct qn_type *to,
                                  const struct qn__place *place, void *out, struct qn_error *err)
{
    int64_t factor = factor_between(&reader->type, to);
    bool narrow = qn_type_width(&reader->type) == sizeof(int32_t), narrow_out = qn_type_width(to) == sizeof(int32_t);
    for (int64_t row = 0; row < reader->length; row++) {
        int64_t value = narrow ? qn_reader_at_int32(reader, row) : qn_reader_at_int64(reader, row);
        bool fits = !__builtin_mul_overflow(value, factor, &value);
        fits = fits && (!narrow_out || (value >= INT32_MIN && value <= INT32_MAX));
        if (QN_UNLIKELY(!fits) && !qn_reader_is_null(reader, row)) {
            return qn__place_error(place, row, "a time is outside of what the finer unit of the other tables counts",
                                   err);
        }
        if (narrow_out) {
            ((int32_t *)out)[row] = (int32_t)value;
        } else {
            ((int64_t *)out)[row] = value;
        }
    }
    return QN_OK;
}

/* ---- arrays ----------------------------------------------------------------------------------------------------- */

enum qn_status qn__convert_fixed(const struct qn_reader *reader, const struct qn_type *to,
                                 const struct qn__place *place, struct ArrowArray *out, struct qn_error *err)
{
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(2, 0, &made, err));
    QN_TRY(qn__validity_copy(reader, &made, err));
    void *values = qn_calloc((size_t)reader->length, qn_type_width(to));
    if (values == NULL) {
        return qn__no_memory(err);
    }
    made.buffers[1] = values;
    if (is_decimal(to->id)) {
        QN_TRY(to_decimal(reader, to, place, values, err));
    } else if (is_temporal(to->id)) {
        QN_TRY(to_temporal(reader, to, place, values, err));
    } else {
        to_number(reader, to->id, values);
    }
    made.length = reader->length;
    qn__array_move(&made, out);
    return QN_OK;
}

static void gather_bits(const struct qn_reader *reader, uint8_t *bits)
{
    for (int64_t row = 0; row < reader->length; row++) {
        if (!qn_reader_is_null(reader, row) && qn_reader_bool(reader, row)) {
            bits[row >> 3] |= (uint8_t)(1U << (row & 7));
        }
    }
}

enum qn_status qn__decode_fixed(const struct qn_reader *reader, struct ArrowArray *out, struct qn_error *err)
{
    const struct qn_reader *values = reader->dictionary;
    size_t width = qn_type_width(&values->type);
    bool bits = values->type.id == QN_TYPE_BOOL;
    qn_auto_array made = { 0 };
    QN_TRY(qn__array_new(2, 0, &made, err));
    QN_TRY(qn__validity_copy(reader, &made, err));
    uint8_t *room = qn_calloc(bits ? ((size_t)reader->length + 7) / 8 : (size_t)reader->length, bits ? 1 : width);
    if (room == NULL) {
        return qn__no_memory(err);
    }
    made.buffers[1] = room;
    if (bits) {
        gather_bits(reader, room);
    }
    for (int64_t row = 0; !bits && row < reader->length; row++) {
        if (!qn_reader_is_null(reader, row)) {
            int64_t index = qn__reader_index(reader, row);
            memcpy(room + (size_t)row * width, values->data + (size_t)(values->offset + index) * width, width);
        }
    }
    made.length = reader->length;
    qn__array_move(&made, out);
    return QN_OK;
}
