/*
 * params.c: qn_value rows as one-row Arrow arrays.
 *
 * One block holds the Arrow structs, their buffers and formats; texts and bytes are not copied, the arrays point at the
 * caller's. So a row of parameters costs one allocation, and lives for the driver's call only: release does nothing.
 * Integers, floats and times are checked for what Arrow's types can hold, texts for UTF-8.
 */
#include "arrow/type.h"
#include "base/calendar.h"
#include "base/decimal.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "db/connection.h"

#include <stdio.h>
#include <string.h>

#define UUID_TEXT_SIZE 36

/* What one parameter needs; all of it is at an address that does not move. */
struct slot {
    struct ArrowSchema schema;
    struct ArrowArray array;
    const void *buffers[3];
    union {
        uint64_t words[2];
        int32_t int32;
        int64_t int64;
        double float64;
        uint8_t bits;
        int32_t offsets32[2];
        int64_t offsets64[2];
    } value;
    char text[40]; /* of a uuid, or the format of a decimal */
};

struct block {
    struct ArrowSchema **schemas;
    struct ArrowArray **arrays;
    struct slot *slots;
    const void *no_buffer[1];
};

/* Arrow metadata as the C data interface has it: count, then key and value with their lengths, in native order. */
struct __attribute__((packed)) kind_metadata {
    int32_t n, key_size;
    char key[10];
    int32_t value_size;
    char value[4];
};
static const struct kind_metadata kind_json = { 1, 10, "qanat.kind", 4, "json" };
static const struct kind_metadata kind_uuid = { 1, 10, "qanat.kind", 4, "uuid" };

/* The memory is the connection's, not the driver's: a release of the Arrow protocol has nothing to do. */
static void keep_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}
static void keep_array(struct ArrowArray *array)
{
    array->release = NULL;
}

static enum qn_status value_error(size_t index, char *const *names, const char *problem, struct qn_error *err)
{
    if (names != NULL) {
        return qn_error_set(err, QN_ERR_DATA, "parameter :%s: %s", names[index], problem);
    }
    return qn_error_set(err, QN_ERR_DATA, "parameter %zu: %s", index + 1, problem);
}

static void put_fixed(struct slot *slot, const char *format)
{
    slot->schema.format = format;
    slot->array.n_buffers = 2;
    slot->buffers[1] = &slot->value;
}

static void put_bytes(struct slot *slot, bool is_text, const char *data, size_t size)
{
    slot->array.n_buffers = 3;
    slot->buffers[1] = &slot->value;
    slot->buffers[2] = data != NULL ? data : "";
    if (size <= INT32_MAX) {
        slot->schema.format = is_text ? "u" : "z";
        slot->value.offsets32[1] = (int32_t)size;
    } else {
        slot->schema.format = is_text ? "U" : "Z";
        slot->value.offsets64[1] = (int64_t)size;
    }
}

static void put_uuid(struct slot *slot, const unsigned char *bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *to = slot->text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *to++ = '-';
        }
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    put_bytes(slot, true, slot->text, UUID_TEXT_SIZE);
    slot->schema.metadata = (const char *)&kind_uuid;
}

static const char *put_decimal(struct slot *slot, const struct qn_value *value)
{
    qn_int128 number = (qn_int128)(((qn_uint128)(uint64_t)value->as.decimal.high << 64) | value->as.decimal.low);
    qn_int128 limit = qn_decimal_power(QN_DECIMAL_MAX_DIGITS);
    if (value->scale < 0 || value->scale > QN_DECIMAL_MAX_DIGITS) {
        return "the scale of a decimal is 0 to 38";
    }
    if (number >= limit || number <= -limit) {
        return "a decimal has more than 38 digits";
    }
    (void)snprintf(slot->text, sizeof slot->text, "d:%d,%d", QN_DECIMAL_MAX_DIGITS, (int)value->scale);
    put_fixed(slot, slot->text);
    memcpy(slot->value.words, &number, sizeof number);
    return NULL;
}

static const char *put_text(struct slot *slot, const struct qn_value *value)
{
    if (value->as.bytes.size > 0 && value->as.bytes.data == NULL) {
        return "a text of a size but without bytes";
    }
    if (value->as.bytes.size > 0 && !qn_utf8_valid(value->as.bytes.data, value->as.bytes.size)) {
        return "the text is not valid UTF-8";
    }
    put_bytes(slot, true, value->as.bytes.data, value->as.bytes.size);
    if (value->kind == QN_VALUE_JSON) {
        slot->schema.metadata = (const char *)&kind_json;
    }
    return NULL;
}

static const char *put_number(struct slot *slot, const struct qn_value *value, const char *format)
{
    put_fixed(slot, format);
    slot->value.int64 = value->as.int64;
    return NULL;
}

static void put_null(struct slot *slot)
{
    slot->schema.format = "n";
    slot->array.null_count = 1;
    slot->array.n_buffers = 0;
}

/* NULL, or what is wrong with the value. */
static const char *put_value(struct slot *slot, const struct qn_value *value)
{
    switch (value->kind) {
    case QN_VALUE_NULL:
        put_null(slot);
        return NULL;
    case QN_VALUE_BOOL:
        put_fixed(slot, "b");
        slot->value.bits = value->as.boolean ? 1 : 0;
        return NULL;
    case QN_VALUE_INT64:
        return put_number(slot, value, "l");
    case QN_VALUE_UINT64:
        return put_number(slot, value, "L");
    case QN_VALUE_FLOAT64:
        put_fixed(slot, "g");
        slot->value.float64 = value->as.float64;
        return NULL;
    case QN_VALUE_DECIMAL:
        return put_decimal(slot, value);
    case QN_VALUE_TEXT:
    case QN_VALUE_JSON:
        return put_text(slot, value);
    case QN_VALUE_BYTES:
        put_bytes(slot, false, value->as.bytes.data, value->as.bytes.size);
        return value->as.bytes.size > 0 && value->as.bytes.data == NULL ? "bytes of a size but without data" : NULL;
    case QN_VALUE_DATE:
        put_fixed(slot, "tdD");
        slot->value.int32 = (int32_t)value->as.int64;
        return slot->value.int32 != value->as.int64 ? "the date is out of range" : NULL;
    case QN_VALUE_TIME:
        (void)put_number(slot, value, "ttu");
        return value->as.int64 < 0 || value->as.int64 >= QN_MICROS_PER_DAY ? "the time is not within a day" : NULL;
    case QN_VALUE_TIMESTAMP:
        return put_number(slot, value, "tsu:");
    case QN_VALUE_INSTANT:
        return put_number(slot, value, "tsu:UTC");
    case QN_VALUE_DURATION:
        return put_number(slot, value, "tDu");
    case QN_VALUE_UUID:
        if (value->as.bytes.size != 16 || value->as.bytes.data == NULL) {
            return "a uuid has 16 bytes";
        }
        put_uuid(slot, (const unsigned char *)value->as.bytes.data);
        return NULL;
    }
    return "the kind of the value is unknown";
}

/* The layout of the one allocation: block, schema pointers, array pointers, slots. */
static struct block *new_block(size_t n, size_t *size_out)
{
    size_t slots, pointers, size;
    if (!qn_size_mul(n, sizeof(struct slot), &slots) || !qn_size_mul(n, 2 * sizeof(void *), &pointers) ||
        !qn_size_add(slots, pointers, &size) || !qn_size_add(size, sizeof(struct block), &size)) {
        return NULL;
    }
    struct block *block = qn_calloc(1, size);
    if (block != NULL) {
        block->slots = (struct slot *)(block + 1);
        block->schemas = (struct ArrowSchema **)(block->slots + n);
        block->arrays = (struct ArrowArray **)(block->schemas + n);
        *size_out = size;
    }
    return block;
}

enum qn_status qn__params_make(const struct qn_value *values, const int32_t *order, char *const *names, size_t n,
                               struct qn_params *out, struct qn_error *err)
{
    size_t size = 0;
    struct block *block = new_block(n, &size);
    if (block == NULL) {
        return qn__no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        struct slot *slot = &block->slots[i];
        slot->schema.name = names != NULL ? names[i] : "";
        slot->schema.flags = ARROW_FLAG_NULLABLE;
        slot->schema.release = keep_schema;
        slot->array.length = 1;
        slot->array.buffers = slot->buffers;
        slot->array.release = keep_array;
        block->schemas[i] = &slot->schema;
        block->arrays[i] = &slot->array;
        const char *problem = put_value(slot, &values[order != NULL ? order[i] : (int32_t)i]);
        if (problem != NULL) {
            qn_free_secret(block, size);
            return value_error(i, names, problem, err);
        }
    }
    out->memory = block;
    out->size = size;
    out->schema = (struct ArrowSchema){
        .format = "+s", .name = "", .n_children = (int64_t)n, .children = block->schemas, .release = keep_schema
    };
    out->array = (struct ArrowArray){ .length = 1,
                                      .n_buffers = 1,
                                      .n_children = (int64_t)n,
                                      .buffers = block->no_buffer,
                                      .children = block->arrays,
                                      .release = keep_array };
    return QN_OK;
}

void qn__params_dispose(struct qn_params *params)
{
    if (params->memory != NULL) {
        qn_free_secret(params->memory, params->size);
        params->memory = NULL;
    }
}
