/*
 * arrow.c: the format "arrow": Arrow IPC, both of its forms in, the file format out (arrow_read.c, arrow_write.c).
 */
#include "format/arrow.h"

#include "arrow/ipc.h"

const struct qn_format qn__format_arrow = {
    .struct_size = sizeof(struct qn_format),
    .abi = QN_FORMAT_ABI,
    .name = "arrow",
    .suffixes = "arrows feather ipc",
    .content_types = "application/vnd.apache.arrow.file application/vnd.apache.arrow.stream",
    .magic = QN_IPC_MAGIC,
    .magic_size = QN_IPC_MAGIC_SIZE,
    .read = qn__arrow_read,
    .count = qn__arrow_count,
    .writer_new = qn__arrow_writer_new,
    .write = qn__arrow_write,
    .finish = qn__arrow_finish,
    .writer_free = qn__arrow_writer_free,
};
