/*
 * connectors.c: connectors by name: imported into the bundle or into this handle, for one platform or for any.
 *
 * A name has exactly one dot. What is kept of it is an object {platform: URI}, where the platform is as "linux/amd64", or
 * "any". A file that a URI names has to be there when it is imported for this platform. Threads: see bundle_private.h.
 */
#include "base/memory.h"
#include "base/text.h"
#include "bundle/bundle_private.h"
#include "bundle/connector_uri.h"
#include "connector/registry.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#define ANY          "any"
#define MAX_PLATFORM 64
#define MAX_URI      ((size_t)32 << 10)

/* ---- names and platforms ---------------------------------------------------------------------------------------- */

/* A name that no import can have was meant for a connector that is built in, if it is near one. */
static void hint_built_in(const char *name, struct qn_error *err)
{
    qn_auto_buffer names = QN_BUFFER_INIT;
    const char *near = NULL, *built_in;
    size_t least = QN_TEXT_FAR;
    for (size_t i = 0; (built_in = qn_connector_built_in(i)) != NULL; i++) {
        size_t far = qn_text_distance(name, built_in);
        if (far < least && qn_text_is_near(name, far)) {
            least = far;
            near = built_in;
        }
        qn_buffer_printf(&names, "%s%s", i > 0 ? ", " : "", built_in);
    }
    if (near != NULL) {
        qn_error_hint(err, "did you mean \"%s\"? Built in are %s", near, qn_buffer_text(&names));
    } else {
        qn_error_hint(err, "built in are %s", qn_buffer_text(&names));
    }
}

static enum qn_status check_name(const char *name, struct qn_error *err)
{
    const char *dot = strchr(name, '.');
    bool one = dot != NULL && strchr(dot + 1, '.') == NULL;
    if (!one || dot == name || dot[1] == '\0' || !qn_commit_name_is_valid(name) || strpbrk(name, ": \t") != NULL) {
        qn_error_set(err, QN_ERR_CONFIG,
                     "\"%.80s\" is not a name of a connector: it has exactly one dot, as in \"acme.weather\"", name);
        hint_built_in(name, err);
        return QN_ERR_CONFIG;
    }
    return QN_OK;
}

static enum qn_status check_platform(const char *platform, struct qn_error *err)
{
    size_t size = strnlen(platform, MAX_PLATFORM + 1);
    bool good = size > 0 && size <= MAX_PLATFORM;
    for (size_t i = 0; i < size && good; i++) {
        char c = platform[i];
        good = (c >= 'a' && c <= 'z') || qn_ascii_digit(c) || (c != '\0' && strchr("/._-", c) != NULL);
    }
    if (!good) {
        return qn_error_set(err, QN_ERR_CONFIG, "\"%.80s\" is not a platform, as \"linux/amd64\" is", platform);
    }
    return QN_OK;
}

/* What uname says, as images of containers are named: "linux/amd64". */
static void find_platform(char *out, size_t size)
{
    static const char *const machines[][2] = {
        { "x86_64", "amd64" }, { "aarch64", "arm64" }, { "armv7l", "arm" }, { "i686", "386" }, { "i386", "386" },
    };
    struct utsname facts;
    if (uname(&facts) != 0) {
        (void)snprintf(out, size, "unknown");
        return;
    }
    const char *machine = facts.machine;
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        if (qn_text_equal(facts.machine, machines[i][0])) {
            machine = machines[i][1];
        }
    }
    (void)snprintf(out, size, "%.60s/%.60s", facts.sysname, machine);
    for (char *c = out; *c != '\0'; c++) {
        *c = qn_ascii_lower(*c);
    }
}

/* ---- what is there ---------------------------------------------------------------------------------------------- */

/* {platform: URI} of a name; NULL where there is none. A new reference. */
static enum qn_status find_uris(struct qn_bundle *bundle, const char *name, bool temporary, json_t **out,
                                struct qn_error *err)
{
    *out = NULL;
    if (temporary) {
        *out = json_incref(json_object_get(bundle->temporary, name));
        return QN_OK;
    }
    const struct qn_bundle_state *state = NULL;
    QN_TRY(qn__bundle_state(bundle, &state, err));
    const struct qn_state_entry *entry = qn_bundle_state_object(state, QN_OBJECT_CONNECTOR, name);
    if (entry == NULL) {
        return QN_OK;
    }
    json_t *uris = json_loads(entry->change.value, 0, NULL);
    bool good = json_is_object(uris) && json_object_size(uris) > 0;
    const char *platform;
    json_t *uri;
    json_object_foreach(uris, platform, uri)
    {
        good = good && json_is_string(uri);
    }
    if (!good) {
        json_decref(uris);
        return qn_error_set(err, QN_ERR_DATA, "connector \"%.80s\" of the bundle is not {platform: URI}", name);
    }
    *out = uris;
    return QN_OK;
}

/* The folder that was current when the connector of a name and platform was imported: where its paths begin. */
static void note_folder(struct qn_bundle *bundle, const char *name, const char *platform, const char *folder)
{
    char key[QN_COMMIT_MAX_NAME + MAX_PLATFORM + 2];
    (void)snprintf(key, sizeof key, "%s %s", name, platform); /* a name has no space */
    if (folder == NULL || json_object_set_new(bundle->folders, key, json_string(folder)) != 0) {
        (void)json_object_del(bundle->folders, key);
    }
}

static const char *noted_folder(const struct qn_bundle *bundle, const char *name, const char *platform)
{
    char key[QN_COMMIT_MAX_NAME + MAX_PLATFORM + 2];
    (void)snprintf(key, sizeof key, "%s %s", name, platform);
    return json_string_value(json_object_get(bundle->folders, key));
}

static enum qn_status unknown_name(const char *name, bool temporary, struct qn_error *err)
{
    qn_error_set(err, QN_ERR_CONFIG, "connector \"%.80s\" is unknown: no%s connector of this name was imported", name,
                 temporary ? " temporary" : "");
    qn_error_hint(err, "temporary ones are of one handle: import them again after opening the bundle");
    return QN_ERR_CONFIG;
}

/* Keep {platform: URI} under a name, or nothing (NULL or empty). The operation is open. Takes the reference over. */
static enum qn_status keep_uris(struct qn_bundle *bundle, const char *name, json_t *uris, struct qn_error *err)
{
    bool set = uris != NULL && json_object_size(uris) > 0;
    char *text = set ? json_dumps(uris, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(uris);
    if (set && text == NULL) {
        return qn__no_memory(err);
    }
    const struct qn_change change = {
        .kind = set ? QN_CHANGE_SET : QN_CHANGE_UNSET, .object = QN_OBJECT_CONNECTOR, .name = name, .value = text
    };
    enum qn_status status = qn__bundle_add(bundle, &change, NULL, err);
    free(text); /* jansson's */
    return status;
}

/* The same in an operation of its own, or for temporary ones in the handle. Takes the reference over. */
static enum qn_status put_uris(struct qn_bundle *bundle, const char *operation, const char *name, json_t *uris,
                               bool temporary, struct qn_error *err)
{
    if (temporary && json_object_size(uris) > 0) {
        return json_object_set_new(bundle->temporary, name, uris) == 0 ? QN_OK : qn__no_memory(err);
    }
    if (temporary) {
        json_decref(uris);
        (void)json_object_del(bundle->temporary, name); /* it is there */
        return QN_OK;
    }
    enum qn_status status = qn__bundle_begin(bundle, operation, err);
    if (status != QN_OK) {
        json_decref(uris);
        return status;
    }
    return qn__bundle_close(bundle, keep_uris(bundle, name, uris, err));
}

/* ---- importing -------------------------------------------------------------------------------------------------- */

/* python:: is taken without Python too: opening it says what to do then. */
static enum qn_status check_runtime(const char *name, const char *uri, struct qn_error *err)
{
    const char *colons = strstr(uri, "::");
    size_t size = colons != NULL ? (size_t)(colons - uri) : strlen(uri);
    bool python = colons != NULL && size == 6 && memcmp(uri, "python", size) == 0;
    if (python || qn_connector_runtime_find(uri, size) != NULL) {
        return QN_OK;
    }
    qn_auto_buffer names = QN_BUFFER_INIT;
    qn_connector_runtime_names(&names);
    return qn_error_set(err, QN_ERR_CONFIG, "connector \"%.80s\": \"%.200s\" %s; there are %s", name, uri,
                        colons != NULL ? "names a runtime that is not there" : "does not begin with a runtime and ::",
                        qn_buffer_text(&names));
}

static enum qn_status check_uri(struct qn_bundle *bundle, const char *name, const char *uri, const char *platform,
                                bool temporary, struct qn_error *err)
{
    char ours[2 * MAX_PLATFORM];
    if (strnlen(uri, MAX_URI + 1) > MAX_URI) {
        return qn_error_set(err, QN_ERR_CONFIG, "connector \"%.80s\": its URI is longer than %zu bytes", name, MAX_URI);
    }
    if (!temporary && strncmp(uri, "python::", 8) == 0) {
        qn_error_set(err, QN_ERR_CONFIG,
                     "connector \"%.80s\": python:: runs in this process and cannot be kept in a bundle", name);
        qn_error_hint(err, "import it as a temporary connector, or as a process of its own: ipc::script.py");
        return QN_ERR_CONFIG;
    }
    QN_TRY(check_runtime(name, uri, err));
    find_platform(ours, sizeof ours);
    if (!qn_text_equal(platform, ANY) && !qn_text_equal(platform, ours)) {
        return QN_OK; /* its file is of another machine */
    }
    bool of_bundle = false;
    enum qn_status status = qn__connector_uri_find(uri, NULL, bundle->path, &of_bundle, err);
    if (status != QN_OK) {
        qn_error_prefix(err, "connector \"%.80s\"", name);
    }
    return status;
}

static enum qn_status import(struct qn_bundle *bundle, const char *name, const char *uri, const char *platform,
                             bool temporary, struct qn_error *err)
{
    platform = platform != NULL ? platform : ANY;
    QN_TRY(check_name(name, err));
    QN_TRY(check_platform(platform, err));
    QN_TRY(check_uri(bundle, name, uri, platform, temporary, err));
    json_t *uris = NULL;
    QN_TRY(find_uris(bundle, name, temporary, &uris, err));
    json_t *copy = uris != NULL ? json_copy(uris) : json_object();
    json_decref(uris);
    json_t *text = json_string(uri);
    if (text == NULL) {
        json_decref(copy);
        return qn_error_set(err, QN_ERR_CONFIG, "connector \"%.80s\": its URI is not UTF-8", name);
    }
    if (copy == NULL || json_object_set_new(copy, platform, text) != 0) {
        json_decref(copy);
        return qn__no_memory(err);
    }
    QN_TRY(put_uris(bundle, "import_connector", name, copy, temporary, err));
    if (temporary) {
        qn_auto_free char *folder = qn__current_folder();
        note_folder(bundle, name, platform, folder);
    }
    return QN_OK;
}

enum qn_status qn_bundle_import_connector(struct qn_bundle *bundle, const char *name, const char *uri,
                                          const char *platform, bool temporary, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, temporary ? QN__BUNDLE_READS : QN__BUNDLE_CHANGES, err));
    enum qn_status status = import(bundle, name, uri, platform, temporary, err);
    qn__bundle_leave(bundle);
    return status;
}

/* ---- dropping and renaming -------------------------------------------------------------------------------------- */

static enum qn_status drop(struct qn_bundle *bundle, const char *name, const char *platform, bool temporary,
                           struct qn_error *err)
{
    json_t *uris = NULL;
    QN_TRY(check_name(name, err));
    QN_TRY(find_uris(bundle, name, temporary, &uris, err));
    if (uris == NULL) {
        return unknown_name(name, temporary, err);
    }
    if (platform != NULL && json_object_get(uris, platform) == NULL) {
        json_decref(uris);
        return qn_error_set(err, QN_ERR_CONFIG, "connector \"%.80s\" was not imported for platform \"%.64s\"", name,
                            platform);
    }
    json_t *left = platform != NULL ? json_copy(uris) : json_object();
    json_decref(uris);
    if (left == NULL) {
        return qn__no_memory(err);
    }
    if (platform != NULL) {
        (void)json_object_del(left, platform); /* it is there */
    }
    return put_uris(bundle, "drop_connector", name, left, temporary, err);
}

enum qn_status qn_bundle_drop_connector(struct qn_bundle *bundle, const char *name, const char *platform,
                                        bool temporary, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, temporary ? QN__BUNDLE_READS : QN__BUNDLE_CHANGES, err));
    enum qn_status status = drop(bundle, name, platform, temporary, err);
    qn__bundle_leave(bundle);
    return status;
}

static enum qn_status is_taken(struct qn_bundle *bundle, const char *name, struct qn_error *err)
{
    json_t *uris = json_object_get(bundle->temporary, name);
    bool taken = uris != NULL;
    if (!taken) {
        QN_TRY(find_uris(bundle, name, false, &uris, err));
        taken = uris != NULL;
        json_decref(uris);
    }
    return taken ? qn_error_set(err, QN_ERR_CONFIG, "there is a connector \"%.80s\" already", name) : QN_OK;
}

/* A kept connector under another name; its sources follow. */
static enum qn_status rename_kept(struct qn_bundle *bundle, const char *name, const char *new_name, json_t *uris,
                                  struct qn_error *err)
{
    enum qn_status status = qn__bundle_begin(bundle, "rename_connector", err);
    if (status != QN_OK) {
        json_decref(uris);
        return status;
    }
    status = keep_uris(bundle, new_name, uris, err);
    if (status == QN_OK) {
        status = keep_uris(bundle, name, NULL, err);
    }
    if (status == QN_OK) {
        status = qn__sources_follow(bundle, name, new_name, err);
    }
    return qn__bundle_close(bundle, status);
}

static enum qn_status rename_temporary(struct qn_bundle *bundle, const char *name, const char *new_name, json_t *uris,
                                       struct qn_error *err)
{
    json_t *kept = NULL;
    enum qn_status status = find_uris(bundle, name, false, &kept, err);
    bool follow = kept == NULL && !bundle->read_only; /* else they mean the one that the bundle has */
    json_decref(kept);
    if (status == QN_OK && json_object_set(bundle->temporary, new_name, uris) != 0) {
        status = qn__no_memory(err);
    }
    const char *platform;
    json_t *uri;
    json_object_foreach(uris, platform, uri)
    {
        note_folder(bundle, new_name, platform, noted_folder(bundle, name, platform));
    }
    json_decref(uris);
    QN_TRY(status);
    if (follow) {
        status = qn__bundle_begin(bundle, "rename_connector", err);
        if (status == QN_OK) {
            status = qn__bundle_close(bundle, qn__sources_follow(bundle, name, new_name, err));
        }
    }
    (void)json_object_del(bundle->temporary, status == QN_OK ? name : new_name); /* both are there */
    return status;
}

static enum qn_status rename_connector(struct qn_bundle *bundle, const char *name, const char *new_name, bool temporary,
                                       struct qn_error *err)
{
    json_t *uris = NULL;
    QN_TRY(check_name(name, err));
    QN_TRY(check_name(new_name, err));
    QN_TRY(find_uris(bundle, name, temporary, &uris, err));
    if (uris == NULL) {
        return unknown_name(name, temporary, err);
    }
    enum qn_status status = is_taken(bundle, new_name, err);
    if (status != QN_OK) {
        json_decref(uris);
        return status;
    }
    return temporary ? rename_temporary(bundle, name, new_name, uris, err)
                     : rename_kept(bundle, name, new_name, uris, err);
}

enum qn_status qn_bundle_rename_connector(struct qn_bundle *bundle, const char *name, const char *new_name,
                                          bool temporary, struct qn_error *err)
{
    QN_TRY(qn__bundle_enter(bundle, temporary ? QN__BUNDLE_READS : QN__BUNDLE_CHANGES, err));
    enum qn_status status = rename_connector(bundle, name, new_name, temporary, err);
    qn__bundle_leave(bundle);
    return status;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static enum qn_status no_platform(const char *name, const json_t *uris, const char *ours, struct qn_error *err)
{
    char there[256] = "";
    size_t used = 0;
    const char *platform;
    json_t *uri;
    json_object_foreach((json_t *)(uintptr_t)uris, platform, uri)
    {
        int more = snprintf(there + used, sizeof there - used, "%s%.64s", used > 0 ? ", " : "", platform);
        used = more > 0 && (size_t)more < sizeof there - used ? used + (size_t)more : sizeof there - 1;
    }
    return qn_error_set(err, QN_ERR_CONFIG, "connector \"%.80s\" is not there for this platform, %s, but for %s", name,
                        ours, there);
}

const char *qn__bundle_connector_folder(const struct qn_bundle *bundle, const char *name)
{
    char ours[2 * MAX_PLATFORM];
    const json_t *uris = json_object_get(bundle->temporary, name);
    find_platform(ours, sizeof ours);
    return uris == NULL ? NULL : noted_folder(bundle, name, json_object_get(uris, ours) != NULL ? ours : ANY);
}

static enum qn_status choose_uri(const char *name, const json_t *uris, char **out, struct qn_error *err)
{
    char ours[2 * MAX_PLATFORM];
    find_platform(ours, sizeof ours);
    const char *uri = json_string_value(json_object_get(uris, ours));
    if (uri == NULL) {
        uri = json_string_value(json_object_get(uris, ANY));
    }
    if (uri == NULL) {
        return no_platform(name, uris, ours, err);
    }
    *out = qn_strdup(uri);
    return *out != NULL ? QN_OK : qn__no_memory(err);
}

enum qn_status qn__bundle_connector_uri(struct qn_bundle *bundle, const char *name, char **out, struct qn_error *err)
{
    const char *built_in;
    for (size_t i = 0; (built_in = qn_connector_built_in(i)) != NULL; i++) {
        if (qn_text_equal(name, built_in)) {
            *out = qn_strdup(name);
            return *out != NULL ? QN_OK : qn__no_memory(err);
        }
    }
    QN_TRY(check_name(name, err));
    json_t *uris = NULL;
    QN_TRY(find_uris(bundle, name, true, &uris, err));
    if (uris == NULL) {
        QN_TRY(find_uris(bundle, name, false, &uris, err));
    }
    if (uris == NULL) {
        return unknown_name(name, false, err);
    }
    enum qn_status status = choose_uri(name, uris, out, err);
    json_decref(uris);
    return status;
}
