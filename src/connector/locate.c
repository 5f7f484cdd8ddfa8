/* locate.c: see locate.h. */
#include "connector/locate.h"

#include "base/memory.h"
#include "base/text.h"

enum qn_status qn_locate_path(const char *folder, const char *path, struct qn_buffer *out, struct qn_error *err)
{
    qn_buffer_reset(out);
    if (folder != NULL && folder[0] != '\0' && path[0] != '/') {
        qn_buffer_printf(out, "%s/", folder);
    }
    qn_buffer_append_text(out, path);
    return qn_buffer_check(out, "a path", err);
}

static bool is_symbol(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return size > 0 && size <= QN_LOCATE_MAX_PREFIX && text[size] == '\0';
}

enum qn_status qn_locate_library(const char *entrypoint, char **path_out, const char **prefix_out, struct qn_error *err)
{
    const char *colon = strrchr(entrypoint, ':');
    const char *prefix = colon != NULL && is_symbol(colon + 1) ? colon + 1 : NULL;
    size_t size = prefix != NULL ? (size_t)(colon - entrypoint) : strlen(entrypoint);
    if (size == 0) {
        return qn_error_set(err, QN_ERR_CONFIG, "\"ffi::%s\" names no shared library", entrypoint);
    }
    char *path = qn_strndup(entrypoint, size);
    if (path == NULL) {
        return qn__no_memory(err);
    }
    *path_out = path;
    *prefix_out = prefix;
    return QN_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    return size > strlen(end) && qn_text_equal(text + size - strlen(end), end);
}

const char *qn_locate_script(const struct qn_command *command)
{
    bool bare = command->n > 1 && qn_text_equal(command->argv[0], "") && ends_with(command->argv[1], ".py");
    return bare ? command->argv[1] : NULL;
}

/* ---- what a URI needs ---- */

void qn_needs_dispose(struct qn_needs *needs)
{
    qn_free(needs->file);
    qn_free(needs->program);
    *needs = (struct qn_needs){ .file = NULL };
}

static enum qn_status need(char **place, const char *name, struct qn_error *err)
{
    if (name[0] == '\0') {
        return qn_error_set(err, QN_ERR_CONFIG, "the URI names no file");
    }
    *place = qn_strdup(name);
    return *place != NULL ? QN_OK : qn__no_memory(err);
}

static enum qn_status library_needs(const char *entrypoint, struct qn_needs *out, struct qn_error *err)
{
    const char *prefix = NULL;
    return qn_locate_library(entrypoint, &out->file, &prefix, err);
}

static enum qn_status jar_needs(const char *entrypoint, struct qn_needs *out, struct qn_error *err)
{
    struct qn_command command;
    QN_TRY(qn_command_split(entrypoint, "", &command, err));
    enum qn_status status = need(&out->file, command.argv[0], err);
    qn_command_dispose(&command);
    return status;
}

static enum qn_status cassette_needs(const char *entrypoint, struct qn_needs *out, struct qn_error *err)
{
    return need(&out->file, entrypoint, err);
}

static enum qn_status command_needs(const char *entrypoint, struct qn_needs *out, struct qn_error *err)
{
    struct qn_command command;
    QN_TRY(qn_command_split(entrypoint, "", &command, err));
    const char *script = qn_locate_script(&command);
    const char *name = script != NULL ? script : command.argv[0];
    bool file = script != NULL || strchr(name, '/') != NULL;
    enum qn_status status = need(file ? &out->file : &out->program, name, err);
    qn_command_dispose(&command);
    return status;
}

enum qn_status qn_locate_needs(const char *uri, struct qn_needs *out, struct qn_error *err)
{
    static const struct {
        const char *prefix;
        enum qn_status (*needs)(const char *entrypoint, struct qn_needs *out, struct qn_error *err);
    } kinds[] = {
        { "ffi::", library_needs },
        { "java::", jar_needs },
        { "cassette::", cassette_needs },
        { "ipc::", command_needs },
    };
    struct qn_needs needs = { .file = NULL };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t size = strlen(kinds[i].prefix);
        if (strncmp(uri, kinds[i].prefix, size) == 0) {
            QN_TRY(kinds[i].needs(uri + size, &needs, err));
        }
    }
    *out = needs;
    return QN_OK;
}
