/*
 * ipc_view.c: columns of views out of Arrow IPC (columnar format, "Variable-size Binary View Layout").
 *
 * A view is 16 bytes: an i32 length, then up to 12 bytes and zeros, or the first four bytes, an i32 number of one of the
 * column's data buffers and an i32 offset in it. Whoever compares views trusts prefix and zeros, so both are checked, and
 * views of null rows are made empty where they point anywhere else. Views may share bytes, hence checking text is counted.
 * Threads: no state.
 */
#include "arrow/ipc_decode.h"

#include "arrow/array.h"
#include "arrow/column.h"
#include "base/memory.h"
#include "base/utf8.h"

#define MAX_CHECKED (INT64_C(2) << 30) /* bytes of texts of a column that are looked at one by one */

struct views {
    const uint8_t *bytes;
    int64_t length;
    const uint8_t *validity;
    const struct qn__ipc_region *blocks;
    const bool *whole; /* for texts: the block is UTF-8 from its beginning to its end */
    int64_t n_blocks;
    bool text;
    int64_t checks_left;
};

static bool begins_character(const uint8_t *bytes, int64_t at, int64_t size)
{
    return at >= size || (bytes[at] & 0xC0) != 0x80;
}

/* Whether the bytes of a long view are text. */
static bool good_text(struct views *views, const struct qn__ipc_region *block, bool whole, int64_t offset, int64_t size)
{
    if (whole) {
        return begins_character(block->bytes, offset, block->size) &&
               begins_character(block->bytes, offset + size, block->size);
    }
    views->checks_left -= size;
    return views->checks_left >= 0 && qn_utf8_valid((const char *)block->bytes + offset, (size_t)size);
}

static const char *check_view(struct views *views, const union qn_view *view)
{
    int64_t size = view->inlined.size;
    if (size < 0) {
        return "a view of negative length";
    }
    if (size <= QN_VIEW_INLINE) {
        static const char zeros[QN_VIEW_INLINE];
        if (memcmp(view->inlined.data + size, zeros, (size_t)(QN_VIEW_INLINE - size)) != 0) {
            return "a short view that does not end in zeros";
        }
        return !views->text || qn_utf8_valid(view->inlined.data, (size_t)size) ? NULL : "text that is not UTF-8";
    }
    int64_t block = view->reference.block, offset = view->reference.offset;
    if (block < 0 || block >= views->n_blocks || offset < 0 || offset > views->blocks[block].size ||
        size > views->blocks[block].size - offset) {
        return "a view lies outside of its data";
    }
    if (memcmp(view->reference.prefix, views->blocks[block].bytes + offset, sizeof view->reference.prefix) != 0) {
        return "a view does not begin as its data does";
    }
    return !views->text || good_text(views, &views->blocks[block], views->whole[block], offset, size)
               ? NULL
               : "text that is not UTF-8";
}

/* Look at every view. *clean_out: those of null rows are good too. */
static const char *check_views(struct views *views, int64_t *row_out, bool *clean_out)
{
    *clean_out = true;
    for (int64_t row = 0; row < views->length; row++) {
        union qn_view view;
        memcpy(&view, views->bytes + (size_t)row * sizeof view, sizeof view);
        bool null = views->validity != NULL && !qn__ipc_bit(views->validity, row);
        if (null && view.words[0] == 0 && view.words[1] == 0) {
            continue;
        }
        const char *wrong = null ? NULL : check_view(views, &view);
        *clean_out = *clean_out && !null;
        if (wrong != NULL) {
            *row_out = row;
            return wrong;
        }
    }
    return NULL;
}

/* The views with those of null rows empty, as a buffer of the array. */
static enum qn_status clean_views(const struct views *views, struct ArrowArray *out, struct qn_error *err)
{
    size_t width = sizeof(union qn_view);
    uint8_t *copy = qn_malloc((size_t)views->length * width);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    memcpy(copy, views->bytes, (size_t)views->length * width);
    for (int64_t row = 0; row < views->length; row++) {
        if (!qn__ipc_bit(views->validity, row)) {
            memset(copy + (size_t)row * width, 0, width);
        }
    }
    out->buffers[1] = copy;
    return QN_OK;
}

/* `out` has room for the data buffers and their sizes. */
static enum qn_status take_blocks(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field,
                                  struct views *views, struct qn__ipc_region *blocks, bool *whole,
                                  struct ArrowArray *out)
{
    int64_t *sizes = qn_malloc((size_t)(views->n_blocks + 1) * sizeof *sizes);
    if (sizes == NULL) {
        return qn__no_memory(decoding->err);
    }
    out->buffers[2 + views->n_blocks] = sizes;
    for (int64_t i = 0; i < views->n_blocks; i++) {
        QN_TRY(qn__ipc_take_buffer(decoding, field, &blocks[i]));
        sizes[i] = blocks[i].size;
        whole[i] = views->text && qn_utf8_valid((const char *)blocks[i].bytes, (size_t)blocks[i].size);
        qn__array_borrow(out, 2 + i, blocks[i].bytes);
    }
    return QN_OK;
}

static enum qn_status fill(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, struct views *views,
                           struct ArrowArray *out)
{
    struct qn__ipc_region *blocks qn_auto_free = qn_calloc((size_t)views->n_blocks, sizeof *blocks);
    bool *whole qn_auto_free = qn_calloc((size_t)views->n_blocks, sizeof *whole);
    int64_t row = -1;
    bool clean;
    if (blocks == NULL || whole == NULL) {
        return qn__no_memory(decoding->err);
    }
    QN_TRY(take_blocks(decoding, field, views, blocks, whole, out));
    views->blocks = blocks;
    views->whole = whole;
    const char *wrong = check_views(views, &row, &clean);
    if (wrong != NULL) {
        return qn__ipc_bad_column(decoding, field, row, wrong);
    }
    if (!clean) {
        return clean_views(views, out, decoding->err);
    }
    qn__array_borrow(out, 1, views->bytes);
    return QN_OK;
}

enum qn_status qn__ipc_take_views(struct qn__ipc_decoding *decoding, const struct qn__ipc_field *field, int64_t length,
                                  const uint8_t *validity, struct ArrowArray *out)
{
    struct qn__ipc_region bytes;
    QN_TRY(qn__ipc_take_values(decoding, field, length, sizeof(union qn_view), &bytes));
    int64_t n_blocks = qn__ipc_next_variadic(decoding);
    if (n_blocks < 0) {
        return qn__ipc_bad_column(decoding, field, -1, "a bad number of data buffers");
    }
    int64_t nulls = out->null_count;
    qn_array_release(out);
    QN_TRY(qn__array_new(3 + n_blocks, 0, out, decoding->err));
    qn__ipc_body_retain(decoding->body, out);
    out->length = length;
    out->null_count = nulls;
    qn__array_borrow(out, 0, validity);
    struct views views = { .bytes = bytes.bytes,
                           .length = length,
                           .validity = validity,
                           .n_blocks = n_blocks,
                           .text = field->type.id == QN_TYPE_STRING_VIEW,
                           .checks_left = MAX_CHECKED };
    return fill(decoding, field, &views, out);
}
