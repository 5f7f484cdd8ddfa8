/*
 * commit.c: a commit's bytes, written in one way only and read back strictly.
 *
 * A file is {"commit":BODY,"sha256":"64 digits"} and a line feed; the digest is that of BODY's bytes. BODY is JSON of one
 * canonical form (no spaces, keys sorted, integers, the shortest escapes). What was parsed is written again and compared,
 * so that one commit has exactly one file. See docs/formats/bundle.md, "A commit". Threads: no state.
 */
#include "bundle/commit.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"

#include <jansson.h>
#include <stdlib.h>

#define HEAD      "{\"commit\":"
#define HEAD_SIZE (sizeof HEAD - 1)
#define MIDDLE    ",\"sha256\":\""
#define TAIL      "\"}\n"
#define TAIL_SIZE (sizeof MIDDLE - 1 + 64 + sizeof TAIL - 1)

static const char *const op_names[QN_CHANGE_KINDS] = { "add", "replace", "remove", "set", "unset" };
static const char *const object_names[QN_OBJECT_KINDS] = { "config", "connector", "source", "failure", "checkpoint" };

const char *qn_change_kind_name(enum qn_change_kind kind)
{
    return op_names[kind];
}

const char *qn_object_kind_name(enum qn_object_kind kind)
{
    return object_names[kind];
}

/* ---- what texts may be ------------------------------------------------------------------------------------------ */

bool qn_commit_name_is_valid(const char *name)
{
    size_t size = strnlen(name, QN_COMMIT_MAX_NAME + 1);
    if (size == 0 || size > QN_COMMIT_MAX_NAME || !qn_utf8_valid(name, size) || qn_text_equal(name, ".") ||
        qn_text_equal(name, "..")) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f || name[i] == '/' || name[i] == '\\') {
            return false;
        }
    }
    return true;
}

bool qn_commit_format_is_valid(const char *format)
{
    size_t size = strnlen(format, QN_COMMIT_MAX_SUFFIX + 1);
    if (size == 0 || size > QN_COMMIT_MAX_SUFFIX) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (!qn_ascii_digit(format[i]) && !(format[i] >= 'a' && format[i] <= 'z')) {
            return false;
        }
    }
    return true;
}

static bool text_is_valid(const char *text, size_t limit)
{
    size_t size = strnlen(text, limit + 1);
    return size <= limit && qn_utf8_valid(text, size);
}

static bool value_is_plain(const json_t *value, int depth)
{
    size_t i;
    const char *key;
    json_t *part;
    switch (json_typeof(value)) {
    case JSON_REAL:
        return false;
    case JSON_ARRAY:
        json_array_foreach((json_t *)(uintptr_t)value, i, part)
        {
            if (depth == 0 || !value_is_plain(part, depth - 1)) {
                return false;
            }
        }
        return true;
    case JSON_OBJECT:
        json_object_foreach((json_t *)(uintptr_t)value, key, part)
        {
            if (depth == 0 || !value_is_plain(part, depth - 1)) {
                return false;
            }
        }
        return true;
    default:
        return true;
    }
}

static enum qn_status refuse(struct qn_error *err, const char *what)
{
    return qn_error_set(err, QN_ERR_ARGUMENT, "%s", what);
}

static enum qn_status check_block(const struct qn_change *change, struct qn_error *err)
{
    if (!text_is_valid(change->version, QN_COMMIT_MAX_TEXT)) {
        return refuse(err, "the version is too long or not UTF-8");
    }
    if (change->source[0] != '\0' && !qn_commit_name_is_valid(change->source)) {
        return refuse(err, "not a name of a source");
    }
    if (!qn_commit_format_is_valid(change->format)) {
        return refuse(err, "not a name of a format");
    }
    if (change->url != NULL && (change->url[0] == '\0' || !text_is_valid(change->url, QN_COMMIT_MAX_TEXT))) {
        return refuse(err, "the URL is empty, too long or not UTF-8");
    }
    if (change->origin != NULL &&
        (change->url != NULL || change->origin[0] == '\0' || !text_is_valid(change->origin, QN_COMMIT_MAX_TEXT))) {
        return refuse(err, "the origin is empty, too long, not UTF-8, or beside a URL");
    }
    bool unknown_hash = change->url != NULL && change->sha256[0] == '\0';
    if (!unknown_hash && !qn_sha256_parse(change->sha256, NULL)) {
        return refuse(err, "the SHA-256 is not 64 lower-case hexadecimal digits");
    }
    if (change->rows < -1 || change->bytes < -1) {
        return refuse(err, "a number is below -1");
    }
    return QN_OK;
}

enum qn_status qn_commit_check_change(const struct qn_change *change, struct qn_error *err)
{
    if ((unsigned)change->kind >= QN_CHANGE_KINDS) {
        return refuse(err, "an unknown kind");
    }
    if (change->kind >= QN_CHANGE_SET) {
        if ((unsigned)change->object >= QN_OBJECT_KINDS || !qn_commit_name_is_valid(change->name)) {
            return refuse(err, "not a kind or a name of an object");
        }
        return QN_OK; /* the value is checked where it is written */
    }
    if (!qn_commit_name_is_valid(change->pack)) {
        return refuse(err, "not a name of a pack");
    }
    if (change->location[0] == '\0' || !text_is_valid(change->location, QN_COMMIT_MAX_TEXT)) {
        return refuse(err, "the location is empty, too long or not UTF-8");
    }
    return change->kind == QN_CHANGE_REMOVE ? QN_OK : check_block(change, err);
}

/* The same, with the schema that it names. */
static enum qn_status check_change(const struct qn_commit *commit, size_t index, struct qn_error *err)
{
    const struct qn_change *change = &commit->changes[index];
    enum qn_status status = qn_commit_check_change(change, err);
    bool block = change->kind == QN_CHANGE_ADD || change->kind == QN_CHANGE_REPLACE;
    if (status == QN_OK && block &&
        (change->schema < -1 || (change->schema >= 0 && (uint64_t)change->schema >= commit->n_schemas))) {
        status = refuse(err, "a schema that the commit does not have");
    }
    if (status != QN_OK) {
        qn_error_prefix(err, "change %zu of the commit", index);
    }
    return status;
}

static enum qn_status check_commit(const struct qn_commit *commit, struct qn_error *err)
{
    if (commit->version < 0 || commit->version > QN_COMMIT_MAX_VERSION) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "version %lld of a commit is out of range",
                            (long long)commit->version);
    }
    if (commit->timestamp < QN_COMMIT_MIN_TIME || commit->timestamp > QN_COMMIT_MAX_TIME) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "time %lld of a commit is not in the years 1 to 9999",
                            (long long)commit->timestamp);
    }
    if (!text_is_valid(commit->message, QN_COMMIT_MAX_TEXT)) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the commit's message is longer than %zu bytes or not UTF-8",
                            QN_COMMIT_MAX_TEXT);
    }
    if (commit->n_schemas > QN_COMMIT_MAX_SCHEMAS) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the commit has more than %d schemas", QN_COMMIT_MAX_SCHEMAS);
    }
    for (size_t i = 0; i < commit->n_schemas; i++) {
        if (!text_is_valid(commit->schemas[i], QN_COMMIT_MAX_SCHEMA)) {
            return qn_error_set(err, QN_ERR_ARGUMENT, "schema %zu of the commit is too long or not UTF-8", i);
        }
    }
    for (size_t i = 0; i < commit->n_changes; i++) {
        QN_TRY(check_change(commit, i, err));
    }
    return QN_OK;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

void qn_commit_put_text(struct qn_buffer *out, const char *text)
{
    qn_buffer_append_byte(out, '"');
    const char *start = text;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= ' ' && c != '"' && c != '\\') {
            continue;
        }
        qn_buffer_append(out, start, (size_t)(text - start));
        start = text + 1;
        static const char plain[] = "\"\\\b\f\n\r\t";
        static const char letters[] = "\"\\bfnrt";
        const char *found = strchr(plain, c);
        if (found != NULL) {
            qn_buffer_printf(out, "\\%c", letters[found - plain]);
        } else {
            qn_buffer_printf(out, "\\u%04X", c);
        }
    }
    qn_buffer_append(out, start, (size_t)(text - start));
    qn_buffer_append_byte(out, '"');
}

static void put_key_text(struct qn_buffer *out, const char *key, const char *text)
{
    qn_buffer_append_text(out, key);
    qn_commit_put_text(out, text);
}

static void put_block(struct qn_buffer *out, const struct qn_change *change)
{
    qn_buffer_printf(out, "{\"bytes\":%lld", (long long)change->bytes);
    put_key_text(out, ",\"format\":", change->format);
    put_key_text(out, ",\"location\":", change->location);
    put_key_text(out, ",\"op\":", op_names[change->kind]);
    if (change->origin != NULL) {
        put_key_text(out, ",\"origin\":", change->origin);
    }
    put_key_text(out, ",\"pack\":", change->pack);
    qn_buffer_printf(out, ",\"rows\":%lld,\"schema\":%lld", (long long)change->rows, (long long)change->schema);
    put_key_text(out, ",\"sha256\":", change->sha256);
    put_key_text(out, ",\"source\":", change->source);
    if (change->url != NULL) {
        put_key_text(out, ",\"url\":", change->url);
    }
    put_key_text(out, ",\"version\":", change->version);
    qn_buffer_append_byte(out, '}');
}

enum qn_status qn_commit_value(const char *text, char **out, struct qn_error *err)
{
    json_error_t failure;
    json_t *value = text_is_valid(text, QN_COMMIT_MAX_SCHEMA)
                        ? json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &failure)
                        : NULL;
    if (value == NULL || !value_is_plain(value, QN_COMMIT_MAX_DEPTH)) {
        json_decref(value);
        return qn_error_set(err, QN_ERR_ARGUMENT,
                            "a value of a commit is not JSON of at most %zu bytes, %d levels and no fractions",
                            QN_COMMIT_MAX_SCHEMA, QN_COMMIT_MAX_DEPTH);
    }
    char *canonical = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    json_decref(value);
    if (canonical == NULL) {
        return qn__no_memory(err);
    }
    *out = canonical;
    return QN_OK;
}

static enum qn_status put_object(struct qn_buffer *out, const struct qn_change *change, struct qn_error *err)
{
    put_key_text(out, "{\"kind\":", object_names[change->object]);
    put_key_text(out, ",\"name\":", change->name);
    put_key_text(out, ",\"op\":", op_names[change->kind]);
    if (change->kind == QN_CHANGE_SET) {
        char *value = NULL;
        QN_TRY(qn_commit_value(change->value, &value, err));
        qn_buffer_append_text(out, ",\"value\":");
        qn_buffer_append_text(out, value);
        free(value);
    }
    qn_buffer_append_byte(out, '}');
    return QN_OK;
}

static enum qn_status put_change(struct qn_buffer *out, const struct qn_change *change, struct qn_error *err)
{
    if (change->kind >= QN_CHANGE_SET) {
        return put_object(out, change, err);
    }
    if (change->kind == QN_CHANGE_REMOVE) {
        put_key_text(out, "{\"location\":", change->location);
        put_key_text(out, ",\"op\":", op_names[change->kind]);
        put_key_text(out, ",\"pack\":", change->pack);
        qn_buffer_append_byte(out, '}');
        return QN_OK;
    }
    put_block(out, change);
    return QN_OK;
}

static enum qn_status put_body(struct qn_buffer *out, const struct qn_commit *commit, struct qn_error *err)
{
    qn_buffer_append_text(out, "{\"changes\":[");
    for (size_t i = 0; i < commit->n_changes; i++) {
        if (i > 0) {
            qn_buffer_append_byte(out, ',');
        }
        QN_TRY(put_change(out, &commit->changes[i], err));
    }
    char previous[QN_SHA256_TEXT_SIZE];
    qn_sha256_format(&commit->previous, previous);
    qn_buffer_printf(out, "],\"format\":%d", QN_COMMIT_FORMAT);
    put_key_text(out, ",\"message\":", commit->message);
    put_key_text(out, ",\"previous\":", previous);
    qn_buffer_append_text(out, ",\"schemas\":[");
    for (size_t i = 0; i < commit->n_schemas; i++) {
        put_key_text(out, i > 0 ? "," : "", commit->schemas[i]);
    }
    qn_buffer_printf(out, "],\"timestamp\":%lld,\"version\":%lld}", (long long)commit->timestamp,
                     (long long)commit->version);
    return QN_OK;
}

enum qn_status qn_commit_encode(const struct qn_commit *commit, struct qn_buffer *out, struct qn_error *err)
{
    QN_TRY(check_commit(commit, err));
    qn_auto_buffer file = QN_BUFFER_INIT;
    file.limit = QN_COMMIT_MAX_BYTES;
    qn_buffer_append_text(&file, HEAD);
    QN_TRY(put_body(&file, commit, err));
    QN_TRY(qn_buffer_check(&file, "a commit", err));
    struct qn_sha256 digest;
    char text[QN_SHA256_TEXT_SIZE];
    QN_TRY(qn_sha256_of(file.data + HEAD_SIZE, file.size - HEAD_SIZE, &digest, err));
    qn_sha256_format(&digest, text);
    qn_buffer_append_text(&file, MIDDLE);
    qn_buffer_append_text(&file, text);
    qn_buffer_append_text(&file, TAIL);
    QN_TRY(qn_buffer_check(&file, "a commit", err));
    qn_buffer_append(out, file.data, file.size);
    return qn_buffer_check(out, "a commit", err);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* What holds a parsed commit's texts. */
struct commit_owner {
    json_t *root;
    char **values; /* of the SETs, by change; NULL elsewhere */
    size_t n_values;
};

static enum qn_status malformed(struct qn_error *err, const char *what)
{
    return qn_error_set(err, QN_ERR_DATA, "a malformed commit: %s", what);
}

static bool get_text(const json_t *object, const char *key, const char **out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) {
        return false;
    }
    *out = json_string_value(value);
    return true;
}

static bool get_integer(const json_t *object, const char *key, int64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value)) {
        return false;
    }
    *out = json_integer_value(value);
    return true;
}

static int find_name(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (qn_text_equal(names[i], name)) {
            return i;
        }
    }
    return -1;
}

static enum qn_status read_object(const json_t *json, struct qn_change *change, char **value_out, struct qn_error *err)
{
    const char *kind = NULL;
    int object = get_text(json, "kind", &kind) ? find_name(object_names, QN_OBJECT_KINDS, kind) : -1;
    if (object < 0 || !get_text(json, "name", &change->name)) {
        return malformed(err, "a change without kind or name");
    }
    change->object = (enum qn_object_kind)object;
    if (change->kind == QN_CHANGE_SET) {
        const json_t *value = json_object_get(json, "value");
        if (value == NULL || !value_is_plain(value, QN_COMMIT_MAX_DEPTH)) {
            return malformed(err, "a value that is missing, too deep or has fractions");
        }
        *value_out = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        if (*value_out == NULL) {
            return qn__no_memory(err);
        }
        change->value = *value_out;
    }
    return QN_OK;
}

static enum qn_status read_change(const json_t *json, struct qn_change *change, char **value_out, struct qn_error *err)
{
    const char *op = NULL;
    int kind = get_text(json, "op", &op) ? find_name(op_names, QN_CHANGE_KINDS, op) : -1;
    if (kind < 0) {
        return malformed(err, "a change without a known \"op\"");
    }
    change->kind = (enum qn_change_kind)kind;
    if (kind >= QN_CHANGE_SET) {
        return read_object(json, change, value_out, err);
    }
    if (!get_text(json, "pack", &change->pack) || !get_text(json, "location", &change->location)) {
        return malformed(err, "a change without pack or location");
    }
    if (kind == QN_CHANGE_REMOVE) {
        return QN_OK;
    }
    if (json_object_get(json, "url") != NULL && !get_text(json, "url", &change->url)) {
        return malformed(err, "a URL that is not a text");
    }
    if (json_object_get(json, "origin") != NULL && !get_text(json, "origin", &change->origin)) {
        return malformed(err, "an origin that is not a text");
    }
    if (!get_text(json, "version", &change->version) || !get_text(json, "source", &change->source) ||
        !get_text(json, "format", &change->format) || !get_text(json, "sha256", &change->sha256) ||
        !get_integer(json, "rows", &change->rows) || !get_integer(json, "bytes", &change->bytes) ||
        !get_integer(json, "schema", &change->schema)) {
        return malformed(err, "a block that lacks a key or has one of another type");
    }
    return QN_OK;
}

static enum qn_status read_changes(const json_t *list, struct qn_commit *out, struct commit_owner *owner,
                                   struct qn_error *err)
{
    size_t count = json_array_size(list);
    out->changes = qn_calloc(count > 0 ? count : 1, sizeof *out->changes);
    owner->values = qn_calloc(count > 0 ? count : 1, sizeof *owner->values);
    if (out->changes == NULL || owner->values == NULL) {
        return qn__no_memory(err);
    }
    out->n_changes = owner->n_values = count;
    for (size_t i = 0; i < count; i++) {
        QN_TRY(read_change(json_array_get(list, i), &out->changes[i], &owner->values[i], err));
    }
    return QN_OK;
}

static enum qn_status read_schemas(const json_t *list, struct qn_commit *out, struct qn_error *err)
{
    size_t count = json_array_size(list);
    out->schemas = qn_calloc(count > 0 ? count : 1, sizeof *out->schemas);
    if (out->schemas == NULL) {
        return qn__no_memory(err);
    }
    out->n_schemas = count;
    for (size_t i = 0; i < count; i++) {
        out->schemas[i] = json_string_value(json_array_get(list, i));
        if (out->schemas[i] == NULL) {
            return malformed(err, "a schema that is not a text");
        }
    }
    return QN_OK;
}

static enum qn_status read_body(const json_t *root, struct qn_commit *out, struct commit_owner *owner,
                                struct qn_error *err)
{
    int64_t format = 0;
    if (!get_integer(root, "format", &format)) {
        return malformed(err, "no \"format\"");
    }
    if (format != QN_COMMIT_FORMAT) {
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "a commit of format %lld; this version reads format %d",
                            (long long)format, QN_COMMIT_FORMAT);
    }
    const char *previous = NULL;
    if (!get_text(root, "message", &out->message) || !get_text(root, "previous", &previous) ||
        !get_integer(root, "timestamp", &out->timestamp) || !get_integer(root, "version", &out->version)) {
        return malformed(err, "it lacks a key or has one of another type");
    }
    const json_t *changes = json_object_get(root, "changes");
    const json_t *schemas = json_object_get(root, "schemas");
    if (!qn_sha256_parse(previous, &out->previous) || !json_is_array(changes) || !json_is_array(schemas)) {
        return malformed(err, "\"previous\", \"changes\" or \"schemas\" is not what it should be");
    }
    QN_TRY(read_schemas(schemas, out, err));
    return read_changes(changes, out, owner, err);
}

/* The body's bytes, once what stands around them and their digest are right. */
static enum qn_status find_body(const char *bytes, size_t size, size_t *body_size_out, struct qn_error *err)
{
    if (size < HEAD_SIZE + 2 + TAIL_SIZE || size > QN_COMMIT_MAX_BYTES || memcmp(bytes, HEAD, HEAD_SIZE) != 0) {
        return malformed(err, "truncated, or not a commit");
    }
    const char *tail = bytes + size - TAIL_SIZE;
    if (memcmp(tail, MIDDLE, sizeof MIDDLE - 1) != 0 ||
        memcmp(bytes + size - (sizeof TAIL - 1), TAIL, sizeof TAIL - 1) != 0) {
        return malformed(err, "its end is missing");
    }
    char text[QN_SHA256_TEXT_SIZE] = { 0 };
    memcpy(text, tail + sizeof MIDDLE - 1, QN_SHA256_TEXT_SIZE - 1);
    struct qn_sha256 expected;
    struct qn_sha256 found;
    size_t body_size = size - HEAD_SIZE - TAIL_SIZE;
    QN_TRY(qn_sha256_of(bytes + HEAD_SIZE, body_size, &found, err));
    if (!qn_sha256_parse(text, &expected) || !qn_sha256_equal(&expected, &found)) {
        return malformed(err, "its bytes do not have the SHA-256 that it names");
    }
    *body_size_out = body_size;
    return QN_OK;
}

/* Written again it has to be the same bytes. */
static enum qn_status check_canonical(const struct qn_commit *commit, const void *bytes, size_t size,
                                      struct qn_error *err)
{
    qn_auto_buffer again = QN_BUFFER_INIT;
    enum qn_status status = qn_commit_encode(commit, &again, err);
    if (status == QN_ERR_ARGUMENT) {
        qn_error_prefix(err, "a malformed commit");
        if (err != NULL) {
            err->status = QN_ERR_DATA;
        }
        return QN_ERR_DATA;
    }
    QN_TRY(status);
    if (again.size != size || memcmp(again.data, bytes, size) != 0) {
        return malformed(err, "its JSON is not in the canonical form");
    }
    return QN_OK;
}

enum qn_status qn_commit_parse(const void *bytes, size_t size, struct qn_commit *out, struct qn_error *err)
{
    size_t body_size = 0;
    QN_TRY(find_body(bytes, size, &body_size, err));
    struct commit_owner *owner = qn_calloc(1, sizeof *owner);
    if (owner == NULL) {
        return qn__no_memory(err);
    }
    struct qn_commit commit = { .owner = owner };
    json_error_t failure;
    owner->root = json_loadb((const char *)bytes + HEAD_SIZE, body_size, JSON_REJECT_DUPLICATES, &failure);
    enum qn_status status;
    if (owner->root == NULL) {
        status = malformed(err, "not JSON");
    } else {
        status = read_body(owner->root, &commit, owner, err);
    }
    if (status == QN_OK) {
        status = check_canonical(&commit, bytes, size, err);
    }
    if (status != QN_OK) {
        qn_commit_dispose(&commit);
        return status;
    }
    *out = commit;
    return QN_OK;
}

void qn_commit_dispose(struct qn_commit *commit)
{
    struct commit_owner *owner = commit->owner;
    if (owner != NULL) {
        json_decref(owner->root);
        for (size_t i = 0; i < owner->n_values; i++) {
            free(owner->values[i]); /* jansson's */
        }
        qn_free(owner->values);
        qn_free(owner);
        qn_free(commit->changes);
        qn_free(commit->schemas);
    }
    *commit = (struct qn_commit){ 0 };
}
