/*
 * decompress.c: buffers of compressed Arrow files, by the system's liblz4 and libzstd.
 *
 * Both libraries are fuzzed by their makers and are given an output of fixed size, which the caller has held to its limits:
 * a frame that wants more is refused, and so is one that gives less. Threads: no state.
 */
#include "format/arrow.h"

#include <lz4frame.h>
#include <zstd.h>

static enum qn_status damaged(const char *what, struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_PROTOCOL, "a compressed buffer is damaged: %s", what);
}

static enum qn_status expand_lz4(const char *from, size_t size, char *to, size_t room, struct qn_error *err)
{
    LZ4F_dctx *context = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) {
        return qn__no_memory(err);
    }
    size_t hint = 1;
    while (hint != 0) {
        size_t used = size, made = room;
        hint = LZ4F_decompress(context, to, &made, from, &used, NULL);
        if (LZ4F_isError(hint) || (used == 0 && made == 0)) {
            break;
        }
        from += used;
        size -= used;
        to += made;
        room -= made;
    }
    enum qn_status status = QN_OK;
    if (LZ4F_isError(hint)) {
        status = damaged(LZ4F_getErrorName(hint), err);
    } else if (hint != 0 || size != 0 || room != 0) {
        status = damaged("it has another length than it says", err);
    }
    (void)LZ4F_freeDecompressionContext(context);
    return status;
}

static enum qn_status expand_zstd(const void *from, size_t size, void *to, size_t room, struct qn_error *err)
{
    size_t made = ZSTD_decompress(to, room, from, size);
    if (ZSTD_isError(made)) {
        return damaged(ZSTD_getErrorName(made), err);
    }
    return made == room ? QN_OK : damaged("it has another length than it says", err);
}

enum qn_status qn__format_decompress(enum qn_ipc_codec codec, const void *bytes, size_t size, void *into,
                                     size_t into_size, struct qn_error *err)
{
    return codec == QN_IPC_ZSTD ? expand_zstd(bytes, size, into, into_size, err)
                                : expand_lz4(bytes, size, into, into_size, err);
}
