/*
 * format.c: the table of formats, and writers that keep their failure.
 *
 * Built-ins stand in one array; what is registered is added to a list under a lock and never removed, so that a pointer out
 * of the table is good for ever. Threads: any; a writer one at a time.
 */
#include "format/format.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>

#define MAX_NAME 16

static const struct qn_format *const built_in[] = { &qn__format_arrow, NULL };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct qn_format **registered;
static size_t n_registered;

/* The i-th format, built in or registered; NULL behind the last. Under the lock. */
static const struct qn_format *format_at(size_t i)
{
    size_t n_built_in = sizeof built_in / sizeof *built_in - 1;
    if (i < n_built_in) {
        return built_in[i];
    }
    return i - n_built_in < n_registered ? registered[i - n_built_in] : NULL;
}

static const struct qn_format *find_locked(const char *name)
{
    const struct qn_format *format;
    for (size_t i = 0; (format = format_at(i)) != NULL; i++) {
        if (strcmp(format->name, name) == 0) {
            return format;
        }
    }
    return NULL;
}

const struct qn_format *qn_format_find(const char *name)
{
    pthread_mutex_lock(&lock);
    const struct qn_format *found = find_locked(name);
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- registration ---- */

static bool good_name(const char *name)
{
    size_t size = name != NULL ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") : 0;
    return size >= 1 && size <= MAX_NAME && name[size] == '\0';
}

static enum qn_status check_format(const struct qn_format *format, struct qn_error *err)
{
    if (format == NULL || format->struct_size < sizeof *format || format->abi != QN_FORMAT_ABI) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "a format of another version of the plug-in interface than %d",
                            QN_FORMAT_ABI);
    }
    if (!good_name(format->name)) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the name of a format is 1 to %d of a-z0-9", MAX_NAME);
    }
    int writes = (format->writer_new != NULL) + (format->write != NULL) + (format->finish != NULL) +
                 (format->writer_free != NULL);
    if (format->read == NULL || (writes != 0 && writes != 4)) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "format \"%s\": %s is missing", format->name,
                            format->read == NULL ? "read" : "one of writer_new, write, finish and writer_free");
    }
    if (format->suffixes == NULL || format->content_types == NULL ||
        (format->magic == NULL) != (format->magic_size == 0)) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "format \"%s\": suffixes, content types or magic are missing",
                            format->name);
    }
    return QN_OK;
}

enum qn_status qn_format_register(const struct qn_format *format, struct qn_error *err)
{
    QN_TRY(check_format(format, err));
    enum qn_status status = QN_OK;
    pthread_mutex_lock(&lock);
    if (find_locked(format->name) != NULL) {
        status = qn_error_set(err, QN_ERR_ARGUMENT, "a format named \"%s\" is registered already", format->name);
    } else {
        const struct qn_format **longer = qn_realloc_array(registered, n_registered + 1, sizeof *registered);
        if (longer == NULL) {
            status = qn__no_memory(err);
        } else {
            registered = longer;
            registered[n_registered++] = format;
        }
    }
    pthread_mutex_unlock(&lock);
    return status;
}

enum qn_status qn_format_get(const char *name, const struct qn_format **out, struct qn_error *err)
{
    static const char *const of_python[] = { "parquet", "csv", "json", "jsonl" };
    const struct qn_format *format = qn_format_find(name);
    if (format != NULL) {
        *out = format;
        return QN_OK;
    }
    qn_auto_buffer names = QN_BUFFER_INIT;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; (format = format_at(i)) != NULL; i++) {
        qn_buffer_printf(&names, "%s%s", i > 0 ? ", " : "", format->name);
    }
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < sizeof of_python / sizeof *of_python; i++) {
        if (strcmp(name, of_python[i]) == 0) {
            enum qn_status status =
                qn_error_set(err, QN_ERR_UNSUPPORTED,
                             "format \"%s\" comes with the Python package and is not registered here; registered: %s",
                             name, qn_buffer_text(&names));
            qn_error_hint(err,
                          "in Python: pip install 'qanat[bundles]'; from C alone: keep data as \"arrow\", or register "
                          "a format (qanat/plugin/format.h)");
            return status;
        }
    }
    return qn_error_set(err, QN_ERR_UNSUPPORTED, "there is no format \"%s\"; registered: %s", name,
                        qn_buffer_text(&names));
}

/* ---- which one a file is ---- */

/* Whether `word` of that size is among `words`, which stand between spaces. */
static bool is_among(const char *words, const char *word, size_t size)
{
    while (*words != '\0') {
        size_t length = strcspn(words, " ");
        if (length == size && size > 0 && strncasecmp(words, word, size) == 0) {
            return true;
        }
        words += length;
        words += strspn(words, " ");
    }
    return false;
}

static bool has_content_type(const struct qn_format *format, const char *type)
{
    type += strspn(type, " \t");
    return is_among(format->content_types, type, strcspn(type, "; \t"));
}

static bool has_suffix(const struct qn_format *format, const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *dot = strrchr(slash != NULL ? slash : name, '.');
    return dot != NULL &&
           (is_among(format->name, dot + 1, strlen(dot + 1)) || is_among(format->suffixes, dot + 1, strlen(dot + 1)));
}

static bool has_magic(const struct qn_format *format, const void *head, size_t head_size)
{
    return format->magic != NULL && head_size >= format->magic_size &&
           memcmp(head, format->magic, format->magic_size) == 0;
}

const struct qn_format *qn_format_guess(const char *content_type, const char *name, const void *head, size_t head_size)
{
    const struct qn_format *format, *by_type = NULL, *by_suffix = NULL, *by_magic = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; (format = format_at(i)) != NULL; i++) {
        by_type = by_type == NULL && content_type != NULL && has_content_type(format, content_type) ? format : by_type;
        by_suffix = by_suffix == NULL && name != NULL && has_suffix(format, name) ? format : by_suffix;
        by_magic = by_magic == NULL && head != NULL && has_magic(format, head, head_size) ? format : by_magic;
    }
    pthread_mutex_unlock(&lock);
    return by_type != NULL ? by_type : by_suffix != NULL ? by_suffix : by_magic;
}

/* ---- counting and writing ---- */

enum qn_status qn_format_count(const struct qn_format *format, const struct qn_format_input *input, int64_t *rows_out,
                               struct qn_error *err)
{
    *rows_out = -1;
    return format->count != NULL ? format->count(format->context, input, rows_out, err) : QN_OK;
}

struct qn_format_writer {
    const struct qn_format *format;
    struct qn_format_sink sink;
    void *own; /* the format's */
    bool finished, failed;
    struct qn_error failure;
};

enum qn_status qn_format_writer_new(const struct qn_format *format, const struct ArrowSchema *schema,
                                    const struct qn_format_sink *sink, struct qn_format_writer **out,
                                    struct qn_error *err)
{
    if (format->writer_new == NULL) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "format \"%s\" is read, not written", format->name);
    }
    struct qn_format_writer *writer = qn_calloc(1, sizeof *writer);
    if (writer == NULL) {
        return qn__no_memory(err);
    }
    writer->format = format;
    writer->sink = *sink;
    enum qn_status status = format->writer_new(format->context, schema, &writer->sink, &writer->own, err);
    if (status != QN_OK) {
        qn_free(writer);
        return status;
    }
    *out = writer;
    return QN_OK;
}

/* The failure from before, where there is one. */
static enum qn_status may_write(const struct qn_format_writer *writer, struct qn_error *err)
{
    if (writer->failed) {
        if (err != NULL) {
            *err = writer->failure;
        }
        return writer->failure.status;
    }
    return writer->finished ? qn_error_set(err, QN_ERR_ARGUMENT, "the file is finished") : QN_OK;
}

/* Keep a failure. */
static enum qn_status written(struct qn_format_writer *writer, enum qn_status status, struct qn_error *failure,
                              struct qn_error *err)
{
    if (status != QN_OK) {
        failure->status = status;
        writer->failed = true;
        writer->failure = *failure;
        if (err != NULL) {
            *err = *failure;
        }
    }
    return status;
}

enum qn_status qn_format_writer_write(struct qn_format_writer *writer, struct ArrowArray *batch, struct qn_error *err)
{
    struct qn_error failure;
    qn_error_clear(&failure);
    QN_TRY(may_write(writer, err));
    return written(writer, writer->format->write(writer->own, batch, &failure), &failure, err);
}

enum qn_status qn_format_writer_finish(struct qn_format_writer *writer, struct qn_error *err)
{
    struct qn_error failure;
    qn_error_clear(&failure);
    QN_TRY(may_write(writer, err));
    QN_TRY(written(writer, writer->format->finish(writer->own, &failure), &failure, err));
    writer->finished = true;
    return QN_OK;
}

void qn_format_writer_free(struct qn_format_writer *writer)
{
    if (writer != NULL) {
        writer->format->writer_free(writer->own);
        qn_free(writer);
    }
}
