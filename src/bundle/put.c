/*
 * put.c: tables put into a pack by hand, and blocks taken out of it.
 *
 * Threads: see bundle_private.h.
 */
#include "arrow/stream.h"
#include "bundle/blocks.h"
#include "bundle/bundle_private.h"
#include "format/format.h"

static enum qn_status check_names(const char *pack, const char *location, const char *version, struct qn_error *err)
{
    if (!qn_commit_name_is_valid(pack)) {
        return qn_error_set(err, QN_ERR_CONFIG, "\"%.200s\" cannot be the name of a pack", pack);
    }
    return qn__location_check(location, version, err);
}

/* The format to write in: that which is named, or what there is. */
static enum qn_status find_format(const char *name, const char **out, struct qn_error *err)
{
    const struct qn_format *format = NULL;
    if (name == NULL) {
        name = qn_format_find("parquet") != NULL ? "parquet" : "arrow";
    }
    QN_TRY(qn_format_get(name, &format, err));
    if (format->writer_new == NULL) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "format \"%s\" is only read", name);
    }
    *out = format->name;
    return QN_OK;
}

/* The operation is open: where it is taken back, the lock goes with it. */
static enum qn_status write_and_add(struct qn_bundle *bundle, const struct qn_change *what,
                                    struct ArrowArrayStream *stream, int64_t *rows_out, struct qn_error *err)
{
    struct qn_change change = *what;
    struct qn__block block;
    bool bundle_failed;
    QN_TRY(qn__bundle_lock_blocks(bundle, err));
    const struct qn__block_writing writing = { .bundle_fd = bundle->fd, .format = what->format };
    QN_TRY(qn__block_write(&writing, stream, &block, &bundle_failed, err));
    change.format = block.format;
    change.sha256 = block.sha256;
    change.rows = block.rows;
    change.bytes = block.bytes;
    enum qn_status status = qn__bundle_add(bundle, &change, block.schema, err);
    *rows_out = block.rows;
    qn__block_dispose(&block);
    return status;
}

static enum qn_status put(struct qn_bundle *bundle, const struct qn_change *what, bool replace,
                          struct ArrowArrayStream *stream, int64_t *rows_out, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    struct qn_change change = *what;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    bool there = qn_bundle_state_block(state, what->pack, what->location) != NULL;
    if (there && !replace) {
        return qn_error_set(err, QN_ERR_CONFIG, "the pack has a block of this location already");
    }
    change.kind = there ? QN_CHANGE_REPLACE : QN_CHANGE_ADD;
    QN_TRY(qn__bundle_begin(bundle, "put", err));
    int64_t rows = 0;
    QN_TRY(qn__bundle_close(bundle, write_and_add(bundle, &change, stream, &rows, err)));
    if (rows_out != NULL) {
        *rows_out = rows;
    }
    return QN_OK;
}

enum qn_status qn_bundle_put(struct qn_bundle *bundle, const char *pack, const char *location, const char *version,
                             const char *format, bool replace, struct ArrowArrayStream *stream, int64_t *rows_out,
                             struct qn_error *err)
{
    struct qn_change what = {
        .pack = pack, .location = location, .version = version != NULL ? version : "", .source = ""
    };
    enum qn_status status = check_names(pack, location, what.version, err);
    if (status == QN_OK) {
        status = find_format(format, &what.format, err);
    }
    if (status == QN_OK) {
        status = qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err);
    }
    if (status == QN_OK) {
        status = put(bundle, &what, replace, stream, rows_out, err);
        qn__bundle_leave(bundle);
    }
    qn_stream_release(stream);
    if (status != QN_OK) {
        qn_error_prefix(err, "pack \"%.200s\": location \"%.200s\"", pack, location);
    }
    return status;
}

static enum qn_status take_out(struct qn_bundle *bundle, const char *pack, const char *location, struct qn_error *err)
{
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    if (qn_bundle_state_block(state, pack, location) == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the pack has no block of this location");
    }
    const struct qn_change change = { .kind = QN_CHANGE_REMOVE, .pack = pack, .location = location };
    QN_TRY(qn__bundle_begin(bundle, "remove", err));
    return qn__bundle_close(bundle, qn__bundle_add(bundle, &change, NULL, err));
}

enum qn_status qn_bundle_remove(struct qn_bundle *bundle, const char *pack, const char *location, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, QN__BUNDLE_CHANGES, err));
    enum qn_status status = take_out(bundle, pack, location, err);
    qn__bundle_leave(bundle);
    if (status != QN_OK) {
        qn_error_prefix(err, "pack \"%.200s\": location \"%.200s\"", pack, location);
    }
    return status;
}
