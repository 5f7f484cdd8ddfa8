/* builtin.c: see builtin.h. Threads: no state. */
#include "connector/builtin.h"

#include "arrow/type.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "format/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAD_SIZE  64 /* first bytes of a file that tell its format */
#define MAX_FORMAT 16 /* characters of a format's name */

/* Formats that come with the Python package: their names are known where they are not registered. */
static const char *const of_python[] = { "csv", "json", "jsonl", "parquet", NULL };

/* ---- arguments ---- */

static bool is_known_format(const char *name)
{
    for (size_t i = 0; of_python[i] != NULL; i++) {
        if (qn_text_equal(of_python[i], name)) {
            return true;
        }
    }
    return qn_format_find(name) != NULL;
}

/* "csv.delimiter": the part before the dot is a format, whose name is copied. */
static bool is_format_option(const char *key, char name[MAX_FORMAT + 1])
{
    size_t size = strcspn(key, ".");
    if (size == 0 || size > MAX_FORMAT || key[size] == '\0' || key[size + 1] == '\0') {
        return false;
    }
    memcpy(name, key, size);
    name[size] = '\0';
    return is_known_format(name);
}

static bool has_word(const char *words, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = words; *at != '\0'; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        if (length == size && memcmp(at, word, size) == 0) {
            return true;
        }
        at += length;
    }
    return false;
}

/* Whether the format has the option; what is not registered, or does not say, is asked when it reads. */
static enum qn_status check_option(const char *name, const char *option, struct qn_error *err)
{
    char shown[128];
    const struct qn_format *format = qn_format_find(name);
    if (format == NULL || format->options == NULL || has_word(format->options, option)) {
        return QN_OK;
    }
    (void)qn_error_set(err, QN_ERR_CONFIG, "argument \"%s.%s\": the format %s has no such option", name,
                       qn_shown(option, strlen(option), shown, sizeof shown), name);
    qn_error_hint(err, format->options[0] != '\0' ? "it has %s" : "it has none%s", format->options);
    return QN_ERR_CONFIG;
}

static bool is_known(const char *key, const char *const *known)
{
    for (size_t i = 0; known[i] != NULL; i++) {
        size_t size = strlen(known[i]);
        bool prefix = known[i][size - 1] == '.';
        if (prefix ? strncmp(key, known[i], size) == 0 && key[size] != '\0' : qn_text_equal(key, known[i])) {
            return true;
        }
    }
    return false;
}

static enum qn_status unknown_argument(const char *key, const char *const *known, bool formats, struct qn_error *err)
{
    char shown[128];
    qn_auto_buffer names = QN_BUFFER_INIT;
    for (size_t i = 0; known[i] != NULL; i++) {
        size_t size = strlen(known[i]);
        qn_buffer_printf(&names, "%s%s%s", i > 0 ? ", " : "", known[i], known[i][size - 1] == '.' ? "NAME" : "");
    }
    qn_buffer_append_text(&names, formats ? ", FORMAT.OPTION" : "");
    return qn_error_set(err, QN_ERR_CONFIG, "argument \"%s\" is not known; known are %s",
                        qn_shown(key, strlen(key), shown, sizeof shown), qn_buffer_text(&names));
}

static enum qn_status check_arguments(json_t *object, const char *const *known, bool formats, struct qn_error *err)
{
    const char *key;
    json_t *value;
    char format[MAX_FORMAT + 1];
    json_object_foreach(object, key, value)
    {
        if (formats && !is_known(key, known) && is_format_option(key, format)) {
            QN_TRY(check_option(format, key + strlen(format) + 1, err));
        } else if (!is_known(key, known)) {
            return unknown_argument(key, known, formats, err);
        }
        if (!json_is_string(value)) {
            return qn_error_set(err, QN_ERR_CONFIG, "argument \"%s\" is not a text", key);
        }
    }
    return QN_OK;
}

enum qn_status qn_arguments_parse(const char *json, const char *const *known, bool formats, struct qn_arguments *out,
                                  struct qn_error *err)
{
    json_error_t problem;
    json_t *object = json_loads(json, JSON_REJECT_DUPLICATES, &problem);
    if (object == NULL || !json_is_object(object)) {
        json_decref(object);
        return qn_error_set(err, QN_ERR_CONFIG, "the arguments are not a JSON object");
    }
    enum qn_status status = check_arguments(object, known, formats, err);
    if (status != QN_OK) {
        json_decref(object);
        return status;
    }
    out->object = object;
    return QN_OK;
}

void qn_arguments_dispose(struct qn_arguments *arguments)
{
    json_decref(arguments->object);
    arguments->object = NULL;
}

const char *qn_arguments_text(const struct qn_arguments *arguments, const char *name)
{
    const char *text = json_string_value(json_object_get(arguments->object, name));
    return text != NULL && text[0] != '\0' ? text : NULL;
}

enum qn_status qn_arguments_bool(const struct qn_arguments *arguments, const char *name, bool fallback, bool *out,
                                 struct qn_error *err)
{
    const char *text = qn_arguments_text(arguments, name);
    if (text == NULL) {
        *out = fallback;
    } else if (!qn_text_to_bool(text, out)) {
        return qn_error_set(err, QN_ERR_CONFIG, "argument \"%s\": \"%.100s\" is neither true nor false", name, text);
    }
    return QN_OK;
}

enum qn_status qn_arguments_int64(const struct qn_arguments *arguments, const char *name, int64_t fallback, int64_t low,
                                  int64_t high, int64_t *out, struct qn_error *err)
{
    long long value = fallback;
    const char *text = qn_arguments_text(arguments, name);
    if (text != NULL && !qn_text_to_int64(text, low, high, &value)) {
        return qn_error_set(err, QN_ERR_CONFIG, "argument \"%s\": \"%.100s\" is not a whole number from %lld to %lld",
                            name, text, (long long)low, (long long)high);
    }
    *out = value;
    return QN_OK;
}

enum qn_status qn_arguments_format_options(const struct qn_arguments *arguments, const char *format, char **out,
                                           struct qn_error *err)
{
    const char *key;
    json_t *value;
    size_t size = strlen(format);
    json_t *options = json_object();
    bool failed = options == NULL;
    json_object_foreach(arguments->object, key, value)
    {
        if (strncmp(key, format, size) == 0 && key[size] == '.') {
            failed |= json_object_set(options, key + size + 1, value) != 0;
        }
    }
    char *text = failed || json_object_size(options) == 0 ? NULL : json_dumps(options, JSON_COMPACT);
    failed |= text == NULL && json_object_size(options) > 0;
    json_decref(options);
    *out = qn_strdup(text); /* whoever gets it frees it as all memory of ours */
    failed |= text != NULL && *out == NULL;
    free(text);
    return failed ? qn__no_memory(err) : QN_OK;
}

/* ---- texts and files ---- */

const char *qn_shown(const char *bytes, size_t size, char *out, size_t out_size)
{
    size_t used = 0;
    for (size_t at = 0; at < size;) {
        size_t valid = qn_utf8_valid_prefix(bytes + at, size - at);
        unsigned char c = (unsigned char)bytes[at];
        bool plain = valid > 0 && c >= 0x20 && c != 0x7f;
        size_t step = plain && c >= 0x80 ? 1 + (c >= 0xc0) + (c >= 0xe0) + (c >= 0xf0) : 1;
        if (used + 4 + 4 > out_size) { /* four bytes at most, "..." and the NUL */
            memcpy(out + used, "...", 4);
            return out;
        }
        if (plain) {
            memcpy(out + used, bytes + at, step);
            used += step;
        } else {
            used += (size_t)snprintf(out + used, out_size - used, "\\x%02x", c);
        }
        at += step;
    }
    out[used] = '\0';
    return out;
}

static int open_spool(const char *folder)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) { /* a file system, or a kernel, without such files */
        char path[4096];
        int size = snprintf(path, sizeof path, "%s/.qanat-XXXXXX", folder);
        fd = size < (int)sizeof path ? mkostemp(path, O_CLOEXEC) : -1;
        if (fd >= 0) {
            (void)unlink(path);
        }
    }
    return fd;
}

enum qn_status qn_spool_open(int *fd_out, struct qn_error *err)
{
    const char *set = getenv("TMPDIR");
    const char *const folders[] = { set != NULL && set[0] != '\0' ? set : "/var/tmp", "/var/tmp", "/tmp" };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        int fd = open_spool(folders[i]);
        if (fd >= 0) {
            *fd_out = fd;
            return QN_OK;
        }
    }
    return qn_error_set(err, QN_ERR_IO, "no temporary file can be made in \"%.200s\", /var/tmp or /tmp: %s", folders[0],
                        strerror(errno));
}

enum qn_status qn_builtin_text(const char *text, char **out, struct qn_error *err)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        return qn__no_memory(err);
    }
    *out = copy;
    return QN_OK;
}

/* ---- formats ---- */

/* A suffix that names a format of the Python package. */
static const char *format_by_suffix(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *dot = strrchr(slash != NULL ? slash : name, '.');
    for (size_t i = 0; dot != NULL && of_python[i] != NULL; i++) {
        if (qn_text_equal_nocase(dot + 1, of_python[i])) {
            return of_python[i];
        }
    }
    return NULL;
}

const char *qn_builtin_format(const struct qn_builtin_file *file)
{
    char head[HEAD_SIZE];
    if (file->format != NULL) {
        return file->format;
    }
    const struct qn_format *found = qn_format_guess(file->content_type, file->name, NULL, 0);
    if (found != NULL) {
        return found->name;
    }
    const char *known = file->name != NULL ? format_by_suffix(file->name) : NULL;
    if (known != NULL || file->fd < 0) {
        return known;
    }
    ssize_t size = pread(file->fd, head, sizeof head, 0);
    found = size > 0 ? qn_format_guess(NULL, NULL, head, (size_t)size) : NULL;
    if (found != NULL) {
        return found->name;
    }
    return size >= 4 && memcmp(head, "PAR1", 4) == 0 ? "parquet" : NULL;
}

enum qn_status qn_builtin_read(const struct qn_builtin_file *file, const struct qn_data_request *request,
                               struct ArrowArrayStream *out, struct qn_error *err)
{
    const struct qn_format *format;
    char *options = NULL;
    const char *name = qn_builtin_format(file);
    if (name == NULL) {
        (void)qn_error_set(err, QN_ERR_DATA, "neither content type, nor suffix, nor its first bytes tell the format");
        qn_error_hint(err, "say it: the argument \"format\"");
        return QN_ERR_DATA;
    }
    QN_TRY(qn_format_get(name, &format, err));
    QN_TRY(qn_arguments_format_options(file->arguments, name, &options, err));
    struct qn_format_input input = { .struct_size = sizeof input,
                                     .fd = file->fd,
                                     .name = file->name,
                                     .columns = request->columns,
                                     .n_columns = request->n_columns,
                                     .options = options };
    enum qn_status status = qn_format_read(format, &input, out, err);
    qn_free(options);
    return status;
}
