/*
 * arrow_read.c: Arrow IPC files and streams in a file.
 *
 * Both are read message by message with pread into memory of their own, at most one message ahead of whoever reads: a mapping
 * would be quicker by a copy, but a file that somebody else cuts short while it is read would then kill the process. Every
 * size is held against the file's before memory is asked for. What is damaged is QN_ERR_DATA with the file's name.
 * Threads: one at a time per stream; the batches belong to whoever has them.
 */
#include "format/arrow.h"

#include "arrow/ipc.h"
#include "arrow/stream.h"
#include "base/block_pool.h"
#include "base/buffer.h"
#include "base/fault.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <qanat/plugin/driver.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_LOOK 4096 /* bytes: mostly all of a message's metadata */

struct arrow_file {
    int fd;
    char *name;
    int64_t at, end; /* of the messages, in the file */
    bool is_file;    /* of the file format: `footer` tells where the messages are */
    struct qn_ipc_footer footer;
    size_t next; /* of the footer's blocks: its dictionaries, then its batches */
    struct qn_ipc_decoder *decoder;
    struct qn_block_pool *pool;
    struct qn_buffer look; /* the beginning of a message */
};

static void file_free(void *self)
{
    struct arrow_file *file = self;
    if (file->fd >= 0) {
        close(file->fd);
    }
    qn_ipc_footer_dispose(&file->footer);
    qn_ipc_decoder_free(file->decoder);
    qn_block_pool_free(file->pool);
    qn_buffer_dispose(&file->look);
    qn_free(file->name);
    qn_free(file);
}

/* Say which file it is; what breaks the format is damage of the file. */
static enum qn_status in_file(const struct arrow_file *file, enum qn_status status, struct qn_error *err)
{
    if (status == QN_OK || status == QN_ERR_CANCELLED) {
        return status;
    }
    status = status == QN_ERR_PROTOCOL ? QN_ERR_DATA : status;
    if (err != NULL) {
        err->status = status;
        qn_error_prefix(err, "\"%s\": ", file->name);
    }
    return status;
}

static enum qn_status cut_short(struct qn_error *err)
{
    return qn_error_set(err, QN_ERR_DATA, "the Arrow data ends in the middle of a message");
}

static enum qn_status read_at(const struct arrow_file *file, int64_t at, void *into, size_t size, struct qn_error *err)
{
    char *to = into;
    while (size > 0) {
        ssize_t got = -1;
        if (qn_fault_hit(QN_FAULT_READ)) {
            errno = EIO;
        } else {
            got = pread(file->fd, to, size, at);
        }
        if (got == 0) {
            return cut_short(err); /* by somebody else, since its size was asked for */
        }
        if (got < 0 && errno != EINTR) {
            return qn_error_set(err, QN_ERR_IO, "reading: %m");
        }
        if (got > 0) {
            to += got;
            at += got;
            size -= (size_t)got;
        }
    }
    return QN_OK;
}

/* ---- messages ---- */

/* Look at the beginning of the message at `file->at`, which ends by file->end. */
static enum qn_status look(struct arrow_file *file, struct qn_ipc_head *out, struct qn_error *err)
{
    int64_t left = file->end - file->at;
    uint64_t wanted = FIRST_LOOK;
    qn_buffer_reset(&file->look);
    for (;;) {
        size_t size = (uint64_t)left < wanted ? (size_t)left : (size_t)wanted;
        size_t have = file->look.size;
        if (!qn_buffer_reserve(&file->look, size - have)) {
            return qn__no_memory(err);
        }
        QN_TRY(read_at(file, file->at + (int64_t)have, file->look.data + have, size - have, err));
        file->look.size = size;
        QN_TRY(qn_ipc_peek(file->decoder, file->look.data, size, out, err));
        if (out->needed <= size) {
            return out->size <= (uint64_t)left ? QN_OK : cut_short(err);
        }
        if (out->needed > (uint64_t)left) {
            return cut_short(err);
        }
        wanted = out->needed;
    }
}

/* A message in a block of the pool: behind what makes its body lie at a multiple of 64. */
struct taken {
    char *block;
    char *message;
    size_t size;
};

/* All of a message whose beginning was looked at. The block is the caller's. */
static enum qn_status take_message(struct arrow_file *file, const struct qn_ipc_head *head, struct taken *out,
                                   struct qn_error *err)
{
    struct taken taken = { .size = (size_t)head->size };
    size_t have = file->look.size < taken.size ? file->look.size : taken.size;
    size_t ahead = (QN_BLOCK_ALIGN - (size_t)head->metadata % QN_BLOCK_ALIGN) % QN_BLOCK_ALIGN, capacity;
    taken.block = qn_block_pool_take(file->pool, taken.size + ahead, &capacity);
    if (taken.block == NULL) {
        return qn__no_memory(err);
    }
    taken.message = taken.block + ahead;
    memcpy(taken.message, file->look.data, have);
    enum qn_status status = read_at(file, file->at + (int64_t)have, taken.message + have, taken.size - have, err);
    if (status != QN_OK) {
        qn_block_pool_give(taken.block);
        return status;
    }
    file->at += (int64_t)taken.size;
    *out = taken;
    return QN_OK;
}

/* Look at the next message: the footer says where, or it is the next one of the stream. *out of kind QN_IPC_END: there is
 * none. */
static enum qn_status next_head(struct arrow_file *file, struct qn_ipc_head *out, struct qn_error *err)
{
    *out = (struct qn_ipc_head){ .kind = QN_IPC_END };
    QN_TRY(qn_interrupt_poll(err));
    if (!file->is_file) {
        if (file->at == file->end) {
            return QN_OK;
        }
        QN_TRY(look(file, out, err));
        return out->kind != QN_IPC_END || file->at + (int64_t)out->size == file->end
                   ? QN_OK
                   : qn_error_set(err, QN_ERR_DATA, "bytes follow the end of the Arrow stream");
    }
    bool dictionary = file->next < file->footer.n_dictionaries;
    size_t batch = file->next - file->footer.n_dictionaries;
    if (!dictionary && batch == file->footer.n_batches) {
        return QN_OK;
    }
    const struct qn_ipc_block *block =
        dictionary ? &file->footer.dictionaries[file->next] : &file->footer.batches[batch];
    file->next++;
    file->at = block->offset;
    file->end = block->offset + block->metadata + block->body;
    QN_TRY(look(file, out, err));
    return out->kind == (dictionary ? QN_IPC_DICTIONARY : QN_IPC_BATCH) &&
                   out->size == (uint64_t)(block->metadata + block->body)
               ? QN_OK
               : qn_error_set(err, QN_ERR_DATA, "the footer points at something that is no %s",
                              dictionary ? "dictionary" : "batch");
}

static enum qn_status read_batch(struct arrow_file *file, struct ArrowArray *out, struct qn_error *err)
{
    for (;;) {
        struct qn_ipc_head head;
        struct taken taken = { 0 };
        QN_TRY(next_head(file, &head, err));
        if (head.kind == QN_IPC_END) {
            return QN_OK;
        }
        QN_TRY(take_message(file, &head, &taken, err));
        if (head.kind != QN_IPC_DICTIONARY) {
            const struct qn_ipc_owner owner = { .release = qn_block_pool_give, .context = taken.block };
            return qn_ipc_decode_batch(file->decoder, taken.message, taken.size, owner, out, err);
        }
        enum qn_status status = qn_ipc_decode_dictionary(file->decoder, taken.message, taken.size, err);
        qn_block_pool_give(taken.block);
        QN_TRY(status);
    }
}

/* ---- beginning ---- */

static enum qn_status read_footer(struct arrow_file *file, struct qn_error *err)
{
    char tail[QN_IPC_FILE_TAIL];
    uint32_t size = 0;
    int64_t end = file->end - QN_IPC_FILE_TAIL;
    if (end >= QN_IPC_FILE_HEAD) {
        QN_TRY(read_at(file, end, tail, sizeof tail, err));
        size = qn_ipc_footer_size(tail);
    }
    if (size == 0 || (int64_t)size > end - QN_IPC_FILE_HEAD) {
        return qn_error_set(err, QN_ERR_DATA, "the Arrow file has no footer: it was not written to its end");
    }
    char *footer qn_auto_free = qn_malloc(size);
    if (footer == NULL) {
        return qn__no_memory(err);
    }
    QN_TRY(read_at(file, end - (int64_t)size, footer, size, err));
    return qn_ipc_decode_footer(file->decoder, footer, size, end - (int64_t)size, &file->footer, err);
}

static enum qn_status read_schema(struct arrow_file *file, struct qn_error *err)
{
    struct qn_ipc_head head;
    struct taken taken = { 0 };
    QN_TRY(next_head(file, &head, err));
    if (head.kind != QN_IPC_SCHEMA) {
        return qn_error_set(err, QN_ERR_DATA, "the Arrow stream does not begin with a schema");
    }
    QN_TRY(take_message(file, &head, &taken, err));
    enum qn_status status = qn_ipc_decode_schema(file->decoder, taken.message, taken.size, err);
    qn_block_pool_give(taken.block);
    return status;
}

static enum qn_status begin(struct arrow_file *file, struct qn_error *err)
{
    char head[QN_IPC_FILE_HEAD] = { 0 };
    size_t size = file->end < QN_IPC_FILE_HEAD ? (size_t)file->end : QN_IPC_FILE_HEAD;
    if (file->end == 0) {
        return qn_error_set(err, QN_ERR_DATA, "the file is empty: Arrow data has a schema at least");
    }
    QN_TRY(read_at(file, 0, head, size, err));
    if (memcmp(head, "FEA1", 4) == 0) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "Feather files of version 1 are not read");
    }
    if (memcmp(head, QN_IPC_MAGIC, QN_IPC_MAGIC_SIZE) == 0) {
        file->is_file = true;
        return read_footer(file, err);
    }
    if (memcmp(head, "\xff\xff\xff\xff", 4) != 0) {
        return qn_error_set(err, QN_ERR_DATA, "it is neither an Arrow file nor an Arrow stream");
    }
    return read_schema(file, err);
}

/* There are no options: NULL, nothing, or an empty object. */
static enum qn_status check_options(const char *options, struct qn_error *err)
{
    const char *at = options != NULL ? options + strspn(options, " \t\r\n{}") : "";
    return *at == '\0' ? QN_OK : qn_error_set(err, QN_ERR_CONFIG, "the format \"arrow\" has no options");
}

static enum qn_status open_file(const struct qn_format_input *input, struct arrow_file **out, struct qn_error *err)
{
    struct stat facts;
    QN_TRY(check_options(input->options, err));
    struct arrow_file *file = qn_calloc(1, sizeof *file);
    if (file == NULL) {
        return qn__no_memory(err);
    }
    file->fd = -1;
    file->name = qn_strdup(input->name != NULL ? input->name : "");
    file->pool = qn_block_pool_new();
    enum qn_status status =
        file->name != NULL && file->pool != NULL ? qn_ipc_decoder_new(0, &file->decoder, err) : qn__no_memory(err);
    if (status == QN_OK) {
        qn_ipc_decoder_expand(file->decoder, qn__format_decompress);
        file->fd = fcntl(input->fd, F_DUPFD_CLOEXEC, 0);
        if (file->fd < 0 || fstat(file->fd, &facts) != 0) {
            status = qn_error_set(err, QN_ERR_IO, "opening: %m");
        } else if (!S_ISREG(facts.st_mode)) {
            status = qn_error_set(err, QN_ERR_IO, "it is no file");
        } else {
            file->end = facts.st_size;
            status = begin(file, err);
        }
        status = in_file(file, status, err);
    }
    if (status != QN_OK) {
        file_free(file);
        return status;
    }
    *out = file;
    return QN_OK;
}

/* ---- the format ---- */

static enum qn_status file_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    const struct arrow_file *file = self;
    return qn_schema_copy(qn_ipc_decoder_schema(file->decoder), out, err);
}

static enum qn_status file_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct arrow_file *file = self;
    return in_file(file, read_batch(file, out, err), err);
}

enum qn_status qn__arrow_read(void *context, const struct qn_format_input *input, struct ArrowArrayStream *out,
                              bool *all_out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { file_schema, file_next, file_free };
    struct arrow_file *file;
    (void)context;
    QN_TRY(open_file(input, &file, err));
    enum qn_status status = qn_stream_make(&ops, file, out, err);
    if (status != QN_OK) {
        file_free(file);
        return status;
    }
    *all_out = true;
    return QN_OK;
}

static enum qn_status count_rows(struct arrow_file *file, int64_t *rows_out, struct qn_error *err)
{
    int64_t rows = 0;
    for (;;) {
        struct qn_ipc_head head;
        QN_TRY(next_head(file, &head, err));
        if (head.kind == QN_IPC_END) {
            *rows_out = rows;
            return QN_OK;
        }
        rows += head.rows; /* each costs the file 64 bytes and is below 2^31: no overflow */
        file->at += (int64_t)head.size;
    }
}

enum qn_status qn__arrow_count(void *context, const struct qn_format_input *input, int64_t *rows_out,
                               struct qn_error *err)
{
    struct arrow_file *file;
    (void)context;
    QN_TRY(open_file(input, &file, err));
    enum qn_status status = in_file(file, count_rows(file, rows_out, err), err);
    file_free(file);
    return status;
}
