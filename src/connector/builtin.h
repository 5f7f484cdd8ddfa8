/*
 * builtin.h: what the built-in connectors `files`, `http` and `database` share: their arguments, formats, and temporary
 * files. Each is a struct qn_connector_runtime; none runs code from outside.
 *
 * Arguments are a JSON object of texts. An argument that a connector does not know is QN_ERR_CONFIG and lists those that it
 * knows: a mistyped name never counts as "not given". Options of formats carry the format's name: "csv.delimiter".
 * Threads: parsed arguments are never changed.
 */
#ifndef QN_CONNECTOR_BUILTIN_H
#define QN_CONNECTOR_BUILTIN_H

#include "base/status.h"

#include <jansson.h>
#include <qanat/plugin/connector.h>

struct qn_arguments {
    json_t *object;
};

/* `known`: names ended by NULL; one that ends in "." is a prefix. With `formats` also options of formats. */
enum qn_status qn_arguments_parse(const char *json, const char *const *known, bool formats, struct qn_arguments *out,
                                  struct qn_error *err) QN_MUST_CHECK;
void qn_arguments_dispose(struct qn_arguments *arguments);
#define qn_auto_arguments __attribute__((cleanup(qn_arguments_dispose))) struct qn_arguments

/* Borrowed; NULL where it was not given, or is empty. */
const char *qn_arguments_text(const struct qn_arguments *arguments, const char *name);
enum qn_status qn_arguments_bool(const struct qn_arguments *arguments, const char *name, bool fallback, bool *out,
                                 struct qn_error *err) QN_MUST_CHECK;
enum qn_status qn_arguments_int64(const struct qn_arguments *arguments, const char *name, int64_t fallback, int64_t low,
                                  int64_t high, int64_t *out, struct qn_error *err) QN_MUST_CHECK;

/* The options of one format, {"delimiter": ";"} of "csv.delimiter", as JSON: the caller's (qn_free); *out is NULL where there
 * are none. */
enum qn_status qn_arguments_format_options(const struct qn_arguments *arguments, const char *format, char **out,
                                           struct qn_error *err) QN_MUST_CHECK;

/* A temporary file without a name, in $TMPDIR, /var/tmp or /tmp. */
enum qn_status qn_spool_open(int *fd_out, struct qn_error *err) QN_MUST_CHECK;

/* A text from outside, fit for a message: what is not printable ASCII or valid UTF-8 becomes \xNN; cut with "...". Returns
 * `out`. */
const char *qn_shown(const char *bytes, size_t size, char *out, size_t out_size);

/* A location to be read: what its format is and how its rows come. `fd` is borrowed. `format`: a name that was asked for, or
 * NULL: by content type, name and first bytes, any of which may be NULL. *out is the caller's. */
struct qn_builtin_file {
    int fd;
    const char *name; /* for messages and by its suffix */
    const char *format, *content_type;
    const struct qn_arguments *arguments;
};
enum qn_status qn_builtin_read(const struct qn_builtin_file *file, const struct qn_data_request *request,
                               struct ArrowArrayStream *out, struct qn_error *err) QN_MUST_CHECK;

/* The name of the file's format; NULL where nothing tells. Static. */
const char *qn_builtin_format(const struct qn_builtin_file *file);

/* A copy made with malloc, as what a runtime gives to the core. */
enum qn_status qn_builtin_text(const char *text, char **out, struct qn_error *err) QN_MUST_CHECK;

#endif
