/*
 * plugin/format.h: what a file format implements: how tables become bytes, and bytes tables.
 *
 * Arrow IPC ("arrow") is in the engine; the Python package registers "parquet", "csv", "json" and "jsonl" through pyarrow's
 * streaming readers and writers. From C alone these are a typed error that says so. Blocks of bundles, the `files`, `http`
 * and `database` connectors go through this table; none of them knows a format. Functions are called by any thread.
 */
#ifndef QANAT_PLUGIN_FORMAT_H
#define QANAT_PLUGIN_FORMAT_H

#include <qanat/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QN_FORMAT_ABI 1

/* A file to read. Everything is borrowed for the call. */
struct qn_format_input {
    size_t struct_size;
    int fd;                     /* a regular file, at its beginning; whoever needs it longer duplicates it */
    const char *name;           /* for messages */
    const char *const *columns; /* NULL: all; else these, in this order, where the format can leave others unread */
    size_t n_columns;
    const char *options; /* JSON object of texts, as the format documents it; NULL: none */
};

/* Where a writer's bytes go. Valid until the writer is freed. */
struct qn_format_sink {
    size_t struct_size;
    void *context;
    enum qn_status (*write)(void *context, const void *bytes, size_t size, struct qn_error *err);
};

struct qn_format {
    size_t struct_size;
    uint32_t abi;              /* QN_FORMAT_ABI */
    const char *name;          /* 1 to 16 of a-z0-9: also the suffix of its files */
    const char *suffixes;      /* others, between spaces: "parq pqt"; may be "" */
    const char *content_types; /* between spaces, as HTTP gives them; may be "" */
    const char *magic;         /* the bytes that its files begin with, or NULL */
    size_t magic_size;
    const char *options; /* names of its options, between spaces; NULL: it does not say */
    /* REQUIRED. The stream holds a few batches at a time. *all_out: it has all columns though some were asked for. */
    enum qn_status (*read)(void *context, const struct qn_format_input *input, struct ArrowArrayStream *out,
                           bool *all_out, struct qn_error *err);
    /* OPTIONAL: rows of a file without reading them; -1: unknown. */
    enum qn_status (*count)(void *context, const struct qn_format_input *input, int64_t *rows_out,
                            struct qn_error *err);
    /* OPTIONAL, all four or none: write. Memory is bounded by the row group. A failure is sticky. `write` leaves the batch
     * to the caller. `finish` gives the last bytes; `free` is called once, finished or not. */
    enum qn_status (*writer_new)(void *context, const struct ArrowSchema *schema, const struct qn_format_sink *sink,
                                 void **writer_out, struct qn_error *err);
    enum qn_status (*write)(void *writer, struct ArrowArray *batch, struct qn_error *err);
    enum qn_status (*finish)(void *writer, struct qn_error *err);
    void (*writer_free)(void *writer);
    void *context;
};

/* Register a format; the struct must stay valid. QN_ERR_ARGUMENT where a required function is missing or a name is taken.
 * Any thread. */
QN_API enum qn_status qn_format_register(const struct qn_format *format, struct qn_error *err) QN_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
