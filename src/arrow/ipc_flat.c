/*
 * ipc_flat.c: reading FlatBuffers that nobody has verified, and writing small ones. The layout is in ipc_flat.h.
 *
 * Threads: no state.
 */
#include "arrow/ipc_flat.h"

static uint64_t load(const struct qn__flat *flat, size_t at, size_t width)
{
    uint64_t value = 0;
    memcpy(&value, flat->bytes + at, width);
    return value;
}

/* Whether `width` bytes at `at` lie inside; makes `bad` sticky where they do not. */
static bool inside(struct qn__flat *flat, size_t at, size_t width)
{
    if (flat->bad || at > flat->size || width > flat->size - at) {
        flat->bad = true;
        return false;
    }
    return true;
}

static struct qn__flat_table open_table(struct qn__flat *flat, size_t at)
{
    struct qn__flat_table none = { 0 };
    if (!inside(flat, at, 4)) {
        return none;
    }
    int64_t vtable = (int64_t)at - (int32_t)load(flat, at, 4);
    if (vtable < 0 || !inside(flat, (size_t)vtable, 4)) {
        flat->bad = true;
        return none;
    }
    struct qn__flat_table table = { .at = at,
                                    .vtable = (size_t)vtable,
                                    .vtable_size = load(flat, (size_t)vtable, 2),
                                    .size = load(flat, (size_t)vtable + 2, 2) };
    if (table.vtable_size < 4 || table.vtable_size % 2 != 0 || table.size < 4 ||
        !inside(flat, table.vtable, table.vtable_size) || !inside(flat, at, table.size)) {
        flat->bad = true;
        return none;
    }
    return table;
}

struct qn__flat_table qn__flat_root(struct qn__flat *flat)
{
    return inside(flat, 0, 4) ? open_table(flat, load(flat, 0, 4)) : (struct qn__flat_table){ 0 };
}

/* Where a field of `width` bytes stands; false where it is absent. */
static bool find_field(struct qn__flat *flat, const struct qn__flat_table *table, int field, size_t width, size_t *out)
{
    size_t slot = 4 + 2 * (size_t)field;
    if (flat->bad || slot + 2 > table->vtable_size) {
        return false;
    }
    size_t offset = load(flat, table->vtable + slot, 2);
    if (offset == 0) {
        return false;
    }
    if (offset < 4 || offset > table->size || width > table->size - offset) {
        flat->bad = true;
        return false;
    }
    *out = table->at + offset;
    return true;
}

bool qn__flat_has(struct qn__flat *flat, const struct qn__flat_table *table, int field)
{
    size_t at;
    return find_field(flat, table, field, 0, &at);
}

int64_t qn__flat_int(struct qn__flat *flat, const struct qn__flat_table *table, int field, size_t width, int64_t absent)
{
    size_t at;
    if (!find_field(flat, table, field, width, &at)) {
        return absent;
    }
    unsigned shift = 64 - 8 * (unsigned)width;
    return (int64_t)(load(flat, at, width) << shift) >> shift;
}

/* Where the offset of a field leads; false where it is absent. */
static bool follow(struct qn__flat *flat, const struct qn__flat_table *table, int field, size_t *out)
{
    size_t at;
    if (!find_field(flat, table, field, 4, &at)) {
        return false;
    }
    *out = at + load(flat, at, 4); /* neither is over 2^32 by much: no overflow */
    return inside(flat, *out, 4);
}

struct qn__flat_table qn__flat_child(struct qn__flat *flat, const struct qn__flat_table *table, int field)
{
    size_t at;
    return follow(flat, table, field, &at) ? open_table(flat, at) : (struct qn__flat_table){ 0 };
}

struct qn__flat_vector qn__flat_vector(struct qn__flat *flat, const struct qn__flat_table *table, int field,
                                       size_t width)
{
    struct qn__flat_vector none = { 0 };
    size_t at;
    if (!follow(flat, table, field, &at)) {
        return none;
    }
    struct qn__flat_vector vector = { .at = at + 4, .count = (uint32_t)load(flat, at, 4) };
    return inside(flat, vector.at, (size_t)vector.count * width) ? vector : none;
}

struct qn__flat_table qn__flat_item(struct qn__flat *flat, const struct qn__flat_vector *vector, uint32_t i)
{
    if (flat->bad || i >= vector->count) {
        flat->bad = true;
        return (struct qn__flat_table){ 0 };
    }
    size_t at = vector->at + (size_t)i * 4;
    return open_table(flat, at + load(flat, at, 4));
}

int64_t qn__flat_load64(const struct qn__flat *flat, size_t at)
{
    return (int64_t)load(flat, at, 8);
}

/* ---- writing ---- */

static void pad_to(const struct qn__flat_writer *to, size_t align, size_t ahead)
{
    static const char zeros[64];
    size_t over = (to->out->size - to->begin + ahead) % align;
    qn_buffer_append(to->out, zeros, over != 0 ? align - over : 0);
}

static void put_int(struct qn_buffer *out, uint64_t value, size_t width)
{
    qn_buffer_append(out, &value, width);
}

void qn__flat_pad(const struct qn__flat_writer *to, size_t align)
{
    pad_to(to, align, 0);
}

size_t qn__flat_begin(const struct qn__flat_writer *to)
{
    size_t at = to->out->size;
    put_int(to->out, 0, 4);
    return at;
}

size_t qn__flat_put_table(const struct qn__flat_writer *to, const struct qn__flat_slot *slots, int n_slots,
                          size_t *places_out)
{
    /* Fields by falling width after the 4 bytes that lead to the vtable, which the first of 8 bytes is padded behind. */
    uint16_t offsets[QN__FLAT_MAX_FIELDS] = { 0 };
    uint16_t size = 4;
    bool wide = false;
    for (size_t width = 8; width > 0; width /= 2) {
        for (int i = 0; i < n_slots; i++) {
            if (slots[i].width == width) {
                size = (uint16_t)((size + width - 1) / width * width);
                offsets[i] = size;
                size = (uint16_t)(size + width);
                wide = wide || width == 8;
            }
        }
    }
    uint16_t vtable_size = (uint16_t)(4 + 2 * n_slots);
    pad_to(to, wide ? 8 : 4, vtable_size);
    put_int(to->out, vtable_size, 2);
    put_int(to->out, size, 2);
    qn_buffer_append(to->out, offsets, 2 * (size_t)n_slots);
    size_t at = to->out->size;
    static const char zeros[4 + 8 * QN__FLAT_MAX_FIELDS + 8];
    qn_buffer_append(to->out, zeros, size);
    for (int i = 0; i < n_slots; i++) {
        places_out[i] = at + offsets[i];
    }
    if (to->out->failure == QN_BUFFER_FINE) {
        uint32_t back = vtable_size;
        memcpy(to->out->data + at, &back, 4);
        for (int i = 0; i < n_slots; i++) {
            memcpy(to->out->data + places_out[i], &slots[i].value, slots[i].width);
        }
    }
    return at;
}

size_t qn__flat_put_vector(const struct qn__flat_writer *to, uint32_t count)
{
    pad_to(to, 8, 4);
    size_t at = to->out->size;
    put_int(to->out, count, 4);
    return at;
}

size_t qn__flat_put_string(const struct qn__flat_writer *to, const char *text, size_t size)
{
    pad_to(to, 4, 0);
    size_t at = to->out->size;
    put_int(to->out, size, 4);
    qn_buffer_append(to->out, text, size);
    qn_buffer_append_byte(to->out, '\0');
    return at;
}

void qn__flat_patch(const struct qn__flat_writer *to, size_t place, size_t target)
{
    uint32_t distance = (uint32_t)(target - place);
    if (to->out->failure == QN_BUFFER_FINE) {
        memcpy(to->out->data + place, &distance, 4);
    }
}
