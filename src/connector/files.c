/*
 * files.c: the built-in connector `files`: the files of a folder, as they are or by a pattern.
 *
 * A location is a path relative to the folder. Its version is size and time of the last modification (to the nanosecond as
 * the file system has it: its clock may tick every few milliseconds), or a digest of the content where that was asked for.
 * A file that is not in the version that was discovered, or that changes while it is read, is a typed error: rows of two
 * states of a file are never mixed. No path and no link leads out of the folder unless links are followed.
 * Threads: what is opened is never changed.
 */
#include "arrow/stream.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "connector/builtin.h"
#include "connector/files_private.h"
#include "connector/locate.h"
#include "connector/registry.h"
#include "format/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum version_kind { VERSION_TIME, VERSION_DIGEST, VERSION_NONE };

struct files {
    struct qn_arguments arguments;
    char *root;    /* absolute */
    char *pattern; /* or NULL */
    char *only;    /* the one file that `path` named; or NULL */
    const char *format;
    bool recursive, hidden, follow_links, copy, count;
    enum version_kind version;
};

static const char *const known[] = { "path", "pattern", "recursive",    "hidden",  "format",
                                     "copy", "count",   "follow_links", "version", NULL };

/* ---- opening ---- */

static void files_close(void *self)
{
    struct files *files = self;
    qn_arguments_dispose(&files->arguments);
    qn_free(files->root);
    qn_free(files->pattern);
    qn_free(files->only);
    qn_free(files);
}

static enum qn_status read_flags(struct files *files, struct qn_error *err)
{
    const struct qn_arguments *arguments = &files->arguments;
    const char *version = qn_arguments_text(arguments, "version");
    files->format = qn_arguments_text(arguments, "format");
    QN_TRY(qn_arguments_bool(arguments, "recursive", false, &files->recursive, err));
    QN_TRY(qn_arguments_bool(arguments, "hidden", false, &files->hidden, err));
    QN_TRY(qn_arguments_bool(arguments, "follow_links", false, &files->follow_links, err));
    QN_TRY(qn_arguments_bool(arguments, "copy", true, &files->copy, err));
    QN_TRY(qn_arguments_bool(arguments, "count", false, &files->count, err));
    if (version == NULL || qn_text_equal(version, "time")) {
        files->version = VERSION_TIME;
    } else if (qn_text_equal(version, "content")) {
        files->version = VERSION_DIGEST;
    } else if (qn_text_equal(version, "none")) {
        files->version = VERSION_NONE;
    } else {
        return qn_error_set(err, QN_ERR_CONFIG, "argument \"version\": \"%.100s\" is none of time, content and none",
                            version);
    }
    const struct qn_format *ignored;
    return files->format != NULL ? qn_format_get(files->format, &ignored, err) : QN_OK;
}

/* The folder, absolute, of what `path` is: an existing folder or file, or a pattern below a folder. */
static enum qn_status set_root(struct files *files, const char *folder, struct qn_error *err)
{
    char *absolute = realpath(folder, NULL);
    if (absolute == NULL) {
        return qn_error_set(err, QN_ERR_IO, "argument \"path\": \"%.300s\": %s", folder, strerror(errno));
    }
    files->root = qn_strdup(absolute);
    free(absolute);
    return files->root != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status set_pattern(struct files *files, const char *pattern, struct qn_error *err)
{
    if (files->pattern != NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "argument \"path\" is a pattern, and there is a \"pattern\" besides");
    }
    files->pattern = qn_strdup(pattern);
    return files->pattern != NULL ? QN_OK : qn__no_memory(err);
}

/* Cut a path behind the last slash before `end`: what stands before it, "/" or ".". */
static enum qn_status set_root_before(struct files *files, const char *path, const char *end, const char **rest_out,
                                      struct qn_error *err)
{
    const char *slash = end;
    while (slash > path && slash[-1] != '/') {
        slash--;
    }
    *rest_out = slash;
    size_t size = slash > path + 1 ? (size_t)(slash - path - 1) : (size_t)(slash - path);
    char *folder = size > 0 ? qn_strndup(path, size) : qn_strdup(".");
    enum qn_status status = folder != NULL ? set_root(files, folder, err) : qn__no_memory(err);
    qn_free(folder);
    return status;
}

static enum qn_status resolve(struct files *files, const char *path, struct qn_error *err)
{
    struct stat found;
    const char *rest;
    if (stat(path, &found) == 0 && S_ISDIR(found.st_mode)) {
        return set_root(files, path, err);
    }
    if (stat(path, &found) == 0) {
        if (files->pattern != NULL) {
            return qn_error_set(err, QN_ERR_CONFIG,
                                "argument \"path\": \"%.300s\" is a file, and there is a "
                                "\"pattern\" besides",
                                path);
        }
        QN_TRY(set_root_before(files, path, path + strlen(path), &rest, err));
        files->only = qn_strdup(rest);
        return files->only != NULL ? QN_OK : qn__no_memory(err);
    }
    if (!qn__pattern_is_wild(path)) {
        return qn_error_set(err, QN_ERR_IO, "argument \"path\": \"%.300s\": %s", path, strerror(errno));
    }
    QN_TRY(set_root_before(files, path, path + strcspn(path, "*?["), &rest, err));
    return set_pattern(files, rest, err);
}

static enum qn_status read_path(struct files *files, const struct qn_connector_opening *opening, struct qn_error *err)
{
    const char *path = qn_arguments_text(&files->arguments, "path");
    const char *pattern = qn_arguments_text(&files->arguments, "pattern");
    path = path != NULL || opening->entrypoint == NULL || opening->entrypoint[0] == '\0' ? path : opening->entrypoint;
    if (path == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the argument \"path\" is missing: a folder, a file or a pattern");
    }
    if (pattern != NULL) {
        if (pattern[0] == '/') {
            return qn_error_set(err, QN_ERR_CONFIG, "argument \"pattern\": \"%.300s\" is not below the folder",
                                pattern);
        }
        QN_TRY(set_pattern(files, pattern, err));
    }
    qn_auto_buffer whole = QN_BUFFER_INIT;
    QN_TRY(qn_locate_path(opening->folder, path, &whole, err));
    return resolve(files, whole.data, err);
}

static enum qn_status files_open(void *context, const struct qn_connector_opening *opening, void **self_out,
                                 struct qn_error *err)
{
    (void)context;
    struct files *files = qn_calloc(1, sizeof *files);
    if (files == NULL) {
        return qn__no_memory(err);
    }
    enum qn_status status = qn_arguments_parse(opening->arguments, known, true, &files->arguments, err);
    status = status == QN_OK ? read_flags(files, err) : status;
    status = status == QN_OK ? read_path(files, opening, err) : status;
    if (status != QN_OK) {
        files_close(files);
        return status;
    }
    *self_out = files;
    return QN_OK;
}

static enum qn_status open_root(const struct files *files, int *fd_out, struct qn_error *err)
{
    int fd = open(files->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return qn_error_set(err, QN_ERR_IO, "folder \"%.300s\": %s", files->root, strerror(errno));
    }
    *fd_out = fd;
    return QN_OK;
}

/* ---- discovery ---- */

struct discovery {
    const struct files *files;
    int root_fd;
    qn_location_callback each;
    void *each_context;
};

static enum qn_status version_of(const struct files *files, int fd, const struct stat *found, const char *shown,
                                 char out[QN_FILE_VERSION_SIZE], struct qn_error *err)
{
    out[0] = '\0';
    if (files->version == VERSION_DIGEST) {
        return qn__file_digest(fd, shown, out, err);
    }
    if (files->version == VERSION_TIME) {
        qn__file_version(found, out);
    }
    return QN_OK;
}

static enum qn_status count_rows(const struct files *files, const struct qn_builtin_file *file, int64_t *rows_out,
                                 struct qn_error *err)
{
    char *options = NULL;
    const struct qn_format *format = qn_format_find(qn_builtin_format(file));
    if (format == NULL) {
        return QN_OK;
    }
    QN_TRY(qn_arguments_format_options(&files->arguments, format->name, &options, err));
    struct qn_format_input input = {
        .struct_size = sizeof input, .fd = file->fd, .name = file->name, .options = options
    };
    enum qn_status status = qn_format_count(format, &input, rows_out, err);
    qn_free(options);
    return status;
}

/* What is known of a file that can be opened. A file that cannot, is told all the same: its data says why not. */
static enum qn_status look_at(const struct discovery *discovery, const char *path, const char *shown, int fd,
                              struct qn_location *location, char version[QN_FILE_VERSION_SIZE], struct qn_error *err)
{
    struct stat found;
    struct qn_builtin_file file = {
        .fd = fd, .name = path, .format = discovery->files->format, .arguments = &discovery->files->arguments
    };
    QN_TRY(qn__file_check(fd, shown, &found, err));
    QN_TRY(version_of(discovery->files, fd, &found, shown, version, err));
    const char *format = qn_builtin_format(&file);
    location->must_copy = discovery->files->copy || format == NULL;
    location->format = format != NULL ? format : "unknown";
    location->version = version;
    if (discovery->files->count && format != NULL && lseek(fd, 0, SEEK_SET) == 0) {
        return count_rows(discovery->files, &file, &location->num_rows, err);
    }
    return QN_OK;
}

static enum qn_status tell(void *context, const char *path, struct qn_error *err)
{
    const struct discovery *discovery = context;
    struct qn_location location = QN_LOCATION_INIT;
    char version[QN_FILE_VERSION_SIZE] = "";
    char shown[512];
    struct qn_error ignored;
    int fd = -1;
    (void)qn_shown(path, strlen(path), shown, sizeof shown);
    if (!qn_utf8_valid(path, strlen(path))) {
        (void)qn_error_set(err, QN_ERR_DATA, "the name of file \"%s\" is not UTF-8", shown);
        qn_error_hint(err, "rename the file, or leave it out by the argument \"pattern\"");
        return QN_ERR_DATA;
    }
    location.location = path;
    enum qn_status status =
        qn__files_open(discovery->root_fd, path, discovery->files->follow_links, shown, &fd, &ignored);
    if (status == QN_OK) {
        status = look_at(discovery, path, shown, fd, &location, version, &ignored);
        (void)close(fd);
    } else if (faccessat(discovery->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT) {
        return QN_OK; /* gone since its name was read */
    }
    if (status == QN_ERR_CANCELLED || status == QN_ERR_NO_MEMORY) {
        if (err != NULL) {
            *err = ignored;
        }
        return status;
    }
    if (status != QN_OK) {
        location = (struct qn_location)QN_LOCATION_INIT;
        location.location = path;
        location.format = "unknown";
    }
    return discovery->each(discovery->each_context, &location, err);
}

static enum qn_status files_discover(void *self, const char *const *attached, size_t n, qn_location_callback each,
                                     void *each_context, struct qn_error *err)
{
    const struct files *files = self;
    struct discovery discovery = { .files = files, .each = each, .each_context = each_context };
    (void)attached;
    (void)n;
    QN_TRY(open_root(files, &discovery.root_fd, err));
    struct qn_files_walk walk = { .root_fd = discovery.root_fd,
                                  .root = files->root,
                                  .pattern = files->pattern,
                                  .by_name = files->pattern != NULL && strchr(files->pattern, '/') == NULL &&
                                             !qn_text_equal(files->pattern, "**"),
                                  .recursive = files->recursive,
                                  .hidden = files->hidden,
                                  .follow_links = files->follow_links };
    enum qn_status status =
        files->only != NULL ? tell(&discovery, files->only, err) : qn__files_walk(&walk, tell, &discovery, err);
    (void)close(discovery.root_fd);
    return status;
}

/* ---- data ---- */

/* Rows of a file that is watched: it may not change while they are read. */
struct watch {
    struct ArrowArrayStream rows;
    int fd;
    struct stat before;
    char shown[256];
};

static bool has_changed(const struct watch *watch)
{
    struct stat now;
    return fstat(watch->fd, &now) != 0 || now.st_size != watch->before.st_size ||
           now.st_mtim.tv_sec != watch->before.st_mtim.tv_sec || now.st_mtim.tv_nsec != watch->before.st_mtim.tv_nsec;
}

static enum qn_status changed_while_read(const struct watch *watch, struct qn_error *err)
{
    enum qn_status status = qn_error_set(err, QN_ERR_IO, "\"%s\" changed while it was read", watch->shown);
    qn_error_hint(err, "write a new file and rename it over the old one; then discover again");
    return status;
}

static enum qn_status watch_schema(void *self, struct ArrowSchema *out, struct qn_error *err)
{
    struct watch *watch = self;
    return qn_stream_schema(&watch->rows, out, err);
}

static enum qn_status watch_next(void *self, struct ArrowArray *out, struct qn_error *err)
{
    struct watch *watch = self;
    qn_auto_array batch = { .release = NULL };
    enum qn_status status = qn_stream_next(&watch->rows, &batch, err);
    if (status != QN_ERR_CANCELLED && status != QN_ERR_NO_MEMORY && has_changed(watch)) {
        return changed_while_read(watch, err); /* also where what was half written could not be read */
    }
    if (status == QN_OK) {
        *out = batch;
        batch.release = NULL;
    }
    return status;
}

static void watch_free(void *self)
{
    struct watch *watch = self;
    qn_stream_release(&watch->rows);
    (void)close(watch->fd);
    qn_free(watch);
}

/* Open the rows of what `watch` is at. */
static enum qn_status open_rows(const struct files *files, const struct qn_location *location,
                                const struct qn_data_request *request, struct watch *watch, struct qn_error *err)
{
    char version[QN_FILE_VERSION_SIZE];
    struct qn_builtin_file file = {
        .fd = watch->fd, .name = location->location, .format = files->format, .arguments = &files->arguments
    };
    QN_TRY(qn__file_check(watch->fd, watch->shown, &watch->before, err));
    QN_TRY(version_of(files, watch->fd, &watch->before, watch->shown, version, err));
    bool known_version = location->version != NULL && location->version[0] != '\0' && version[0] != '\0';
    if (known_version && !qn_text_equal(location->version, version)) {
        enum qn_status status =
            qn_error_set(err, QN_ERR_IO, "\"%s\" changed since it was discovered: version %.100s, now %s", watch->shown,
                         location->version, version);
        qn_error_hint(err, "discover again");
        return status;
    }
    if (lseek(watch->fd, 0, SEEK_SET) != 0) {
        return qn_error_set(err, QN_ERR_IO, "\"%s\": %s", watch->shown, strerror(errno));
    }
    enum qn_status status = qn_builtin_read(&file, request, &watch->rows, err);
    if (status != QN_OK && status != QN_ERR_NO_MEMORY && has_changed(watch)) {
        return changed_while_read(watch, err);
    }
    return status;
}

static enum qn_status files_data(void *self, const struct qn_location *location, const struct qn_data_request *request,
                                 struct ArrowArrayStream *out, uint32_t *applied_out, struct qn_error *err)
{
    static const struct qn_stream_ops ops = { watch_schema, watch_next, watch_free };
    const struct files *files = self;
    int root_fd = -1;
    struct watch *watch = qn_calloc(1, sizeof *watch);
    if (watch == NULL) {
        return qn__no_memory(err);
    }
    watch->fd = -1;
    (void)qn_shown(location->location, strlen(location->location), watch->shown, sizeof watch->shown);
    enum qn_status status = open_root(files, &root_fd, err);
    if (status == QN_OK) {
        status = qn__files_open(root_fd, location->location, files->follow_links, watch->shown, &watch->fd, err);
        (void)close(root_fd);
    }
    if (status == QN_OK) {
        status = open_rows(files, location, request, watch, err);
    }
    if (status == QN_OK) {
        status = qn_stream_make(&ops, watch, out, err);
    }
    if (status != QN_OK) {
        qn_stream_release(&watch->rows);
        if (watch->fd >= 0) {
            (void)close(watch->fd);
        }
        qn_free(watch);
        return status;
    }
    *applied_out = QN_APPLIED_PROJECTION;
    return QN_OK;
}

/* ---- the rest ---- */

/* file:// and the absolute path, where a reference is what was asked for. */
static enum qn_status files_stable_url(void *self, const struct qn_location *location, char **out, struct qn_error *err)
{
    const struct files *files = self;
    qn_auto_buffer whole = QN_BUFFER_INIT;
    qn_auto_buffer url = QN_BUFFER_INIT;
    *out = NULL;
    if (files->copy) {
        return QN_OK;
    }
    qn_buffer_printf(&whole, "%s/%s", qn_text_equal(files->root, "/") ? "" : files->root, location->location);
    QN_TRY(qn_buffer_check(&whole, "a path", err));
    qn_buffer_append_text(&url, "file://");
    for (const char *c = whole.data; *c != '\0'; c++) {
        bool plain = qn_ascii_letter(*c) || qn_ascii_digit(*c) || strchr("/-._~", *c) != NULL;
        qn_buffer_printf(&url, plain ? "%c" : "%%%02X", plain ? *c : (unsigned char)*c);
    }
    QN_TRY(qn_buffer_check(&url, "a URL", err));
    return qn_builtin_text(url.data, out, err);
}

static enum qn_status files_describe(void *self, char **out, struct qn_error *err)
{
    (void)self;
    return qn_builtin_text("{\"name\": \"files\", \"capabilities\": [\"projection\", \"stable_order\"], \"arguments\": "
                           "{\"type\": \"object\", "
                           "\"required\": [\"path\"], \"properties\": {"
                           "\"path\": {\"type\": \"string\", \"description\": \"a folder, a file or a pattern\"}, "
                           "\"pattern\": {\"type\": \"string\", \"description\": \"which files of the folder\"}, "
                           "\"recursive\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
                           "\"hidden\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
                           "\"format\": {\"type\": \"string\"}, "
                           "\"copy\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
                           "\"count\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
                           "\"follow_links\": {\"type\": \"string\", \"enum\": [\"true\", \"false\"]}, "
                           "\"version\": {\"type\": \"string\", \"enum\": [\"time\", \"content\", \"none\"]}}}}",
                           out, err);
}

static enum qn_status files_capabilities(void *self, uint32_t *out, struct qn_error *err)
{
    const struct files *files = self;
    (void)err;
    *out = 1U << QN_CAN_DISCOVER_MUCH;
    *out |= files->version != VERSION_NONE ? 1U << QN_CAN_RESUME : 0; /* the version says that it is the same file */
    return QN_OK;
}

const struct qn_connector_runtime qn__runtime_files = {
    .struct_size = sizeof qn__runtime_files,
    .abi = QN_CONNECTOR_ABI,
    .name = "files",
    .external = false,
    .open = files_open,
    .close = files_close,
    .discover = files_discover,
    .data = files_data,
    .stable_url = files_stable_url,
    .describe = files_describe,
    .capabilities = files_capabilities,
};
