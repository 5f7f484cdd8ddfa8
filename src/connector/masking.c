/* masking.c: see masking.h. Threads: no state. */
#include "connector/masking.h"

#include "base/memory.h"
#include "base/text.h"

/* ---- names ---- */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/* The size of the word at `name`: letters up to the next capital after a small one, or to what is no letter. */
static size_t word_size(const char *name)
{
    size_t size = 0;
    while (qn_ascii_letter(name[size]) && (size == 0 || is_lower(name[size]) || !is_lower(name[size - 1]))) {
        size++;
    }
    return size;
}

/* If the name, its letters alone, has one of the parts that only secrets have. */
static bool has_part(const char *name)
{
    static const char *const parts[] = { "password",   "passwd", "passphrase", "secret",       "token",
                                         "credential", "apikey", "accesskey",  "authorization" };
    char letters[256];
    size_t size = 0;
    for (; *name != '\0' && size < sizeof letters - 1; name++) {
        if (qn_ascii_letter(*name)) {
            letters[size++] = qn_ascii_lower(*name);
        }
    }
    letters[size] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr(letters, parts[i]) != NULL) {
            return true;
        }
    }
    return false;
}

size_t qn_mask_name(const char *name)
{
    static const char *const words[] = { "auth", "bearer", "cookie", "cookies", "header", "headers", "key",
                                         "keys", "pass",   "pin",    "pw",      "pwd",    "sas",     "signature" };
    if (strlen(name) >= 256 || has_part(name)) {
        return QN_MASK_LEAST;
    }
    while (*name != '\0') {
        size_t size = word_size(name);
        for (size_t i = 0; size > 0 && i < sizeof words / sizeof words[0]; i++) {
            if (strlen(words[i]) == size && qn_text_starts_nocase(name, words[i])) {
                return QN_MASK_LEAST_WORD;
            }
        }
        name += size > 0 ? size : 1;
    }
    return 0;
}

/* ---- secrets ---- */

static enum qn_status add_secret(struct qn_mask *mask, const char *text, size_t size, size_t least,
                                 struct qn_error *err)
{
    if (size < least) {
        return QN_OK;
    }
    char **secrets = qn_realloc_array(mask->secrets, mask->n + 1, sizeof *secrets);
    if (secrets == NULL) {
        return qn__no_memory(err);
    }
    mask->secrets = secrets;
    mask->secrets[mask->n] = qn_strndup(text, size);
    if (mask->secrets[mask->n] == NULL) {
        return qn__no_memory(err);
    }
    mask->n++;
    return QN_OK;
}

/* Append `text` with the passwords of its URLs masked and kept as secrets. */
static enum qn_status mask_urls(struct qn_mask *mask, const char *text, struct qn_buffer *out, struct qn_error *err)
{
    const char *slashes;
    while ((slashes = strstr(text, "://")) != NULL) {
        const char *authority = slashes + 3;
        size_t size = strcspn(authority, "/?# \t\r\n\"");
        const char *at = memrchr(authority, '@', size);
        const char *colon = at != NULL ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
        const char *end = authority;
        if (colon != NULL) {
            qn_buffer_append(out, text, (size_t)(colon + 1 - text));
            qn_buffer_append_text(out, QN_MASK_TEXT);
            QN_TRY(add_secret(mask, colon + 1, (size_t)(at - colon - 1), QN_MASK_LEAST, err));
            end = at;
        } else {
            qn_buffer_append(out, text, (size_t)(authority - text));
        }
        text = end;
    }
    qn_buffer_append_text(out, text);
    return QN_OK;
}

static enum qn_status mask_argument(struct qn_mask *mask, const char *name, const json_t *value, json_t *masked,
                                    struct qn_error *err)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    const char *given = json_is_string(value) ? json_string_value(value) : "";
    size_t least = qn_mask_name(name);
    if (least > 0) {
        qn_buffer_append_text(&text, QN_MASK_TEXT);
        QN_TRY(add_secret(mask, given, strlen(given), least, err));
    } else {
        QN_TRY(mask_urls(mask, given, &text, err));
    }
    QN_TRY(qn_buffer_check(&text, "an argument", err));
    return json_object_set_new(masked, name, json_string(qn_buffer_text(&text))) == 0 ? QN_OK : qn__no_memory(err);
}

enum qn_status qn_mask_init(struct qn_mask *mask, const json_t *arguments, json_t **masked_out, struct qn_error *err)
{
    struct qn_mask made = { 0 };
    qn_auto_json *masked = json_object();
    enum qn_status status = masked != NULL ? QN_OK : qn__no_memory(err);
    /* Read only: the iterator wants a pointer that is not const. */
    qn_auto_json *source = json_copy((json_t *)(uintptr_t)arguments);
    void *at = json_object_iter(source);
    for (; status == QN_OK && at != NULL; at = json_object_iter_next(source, at)) {
        status = mask_argument(&made, json_object_iter_key(at), json_object_iter_value(at), masked, err);
    }
    if (status != QN_OK) {
        qn_mask_dispose(&made);
        return status;
    }
    *mask = made;
    *masked_out = json_incref(masked);
    return QN_OK;
}

void qn_mask_dispose(struct qn_mask *mask)
{
    for (size_t i = 0; i < mask->n; i++) {
        qn_free_secret(mask->secrets[i], strlen(mask->secrets[i]));
    }
    qn_free(mask->secrets);
    *mask = (struct qn_mask){ 0 };
}

/* ---- texts ---- */

/* The longest secret that begins at `text`: 0, or its size. */
static size_t secret_at(const struct qn_mask *mask, const char *text)
{
    size_t longest = 0;
    for (size_t i = 0; i < mask->n; i++) {
        size_t size = strlen(mask->secrets[i]);
        if (size > longest && strncmp(text, mask->secrets[i], size) == 0) {
            longest = size;
        }
    }
    return longest;
}

static enum qn_status mask_text(const struct qn_mask *mask, json_t *value, struct qn_error *err)
{
    const char *text = json_string_value(value);
    bool found = false;
    for (size_t i = 0; i < mask->n && !found; i++) {
        found = strstr(text, mask->secrets[i]) != NULL;
    }
    if (!found) {
        return QN_OK;
    }
    qn_auto_buffer masked = QN_BUFFER_INIT;
    while (*text != '\0') {
        size_t size = secret_at(mask, text);
        if (size > 0) {
            qn_buffer_append_text(&masked, QN_MASK_TEXT);
        } else {
            qn_buffer_append_byte(&masked, *text);
        }
        text += size > 0 ? size : 1;
    }
    QN_TRY(qn_buffer_check(&masked, "a text", err));
    return json_string_set(value, qn_buffer_text(&masked)) == 0 ? QN_OK : qn__no_memory(err);
}

enum qn_status qn_mask_json(const struct qn_mask *mask, json_t *value, struct qn_error *err)
{
    if (json_is_string(value)) {
        return mask->n > 0 ? mask_text(mask, value, err) : QN_OK;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        QN_TRY(qn_mask_json(mask, json_array_get(value, i), err));
    }
    for (void *at = json_object_iter(value); at != NULL; at = json_object_iter_next(value, at)) {
        QN_TRY(qn_mask_json(mask, json_object_iter_value(at), err));
    }
    return QN_OK;
}
