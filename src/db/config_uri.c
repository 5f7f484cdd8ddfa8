/*
 * config_uri.c: configurations from URIs and back.
 *
 *   scheme://[user[:password]@][host[:port][,host[:port]...]][/database][?key=value&...]     servers
 *   sqlite:///relative, sqlite:////absolute, sqlite://relative, sqlite://:memory: [?key=value&...]     files
 *
 * Parts are percent-decoded after they are cut; a bad escape, %00 and bytes that are not UTF-8 are errors. `+` is itself.
 * The user's part ends at the last `@` before the path, so a password may hold an unescaped `@`. Several hosts become the
 * texts that libpq wants: host "a,b", port "1,2", an empty port meaning the default. What the authority cannot say (empty
 * texts, as many ports as not hosts) is written as ?key=value, so that every configuration has a URI that gives it back.
 * Errors never show the user's part, nor the value of a secret key.
 */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "db/config_entry.h"
#include "db/driver_table.h"

#include <string.h>

/* A piece of the URI. */
struct piece {
    const char *at;
    size_t size;
};

static bool is_file_database(const struct qn_config *config)
{
    return qn_text_equal(qn_config_get(config, "type"), "sqlite");
}

/* ---- percent-encoding ---- */

static int hex_digit(char c)
{
    if (qn_ascii_digit(c)) {
        return c - '0';
    }
    c = qn_ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum qn_status decode(struct piece piece, const char *what, struct qn_buffer *out, struct qn_error *err)
{
    qn_buffer_reset(out);
    for (size_t i = 0; i < piece.size; i++) {
        if (piece.at[i] != '%') {
            qn_buffer_append_byte(out, piece.at[i]);
            continue;
        }
        int high = i + 2 < piece.size ? hex_digit(piece.at[i + 1]) : -1;
        int low = i + 2 < piece.size ? hex_digit(piece.at[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return qn_error_set(err, QN_ERR_CONFIG, "URI: a %% in the %s is not followed by two hexadecimal digits",
                                what);
        }
        if (high == 0 && low == 0) {
            return qn_error_set(err, QN_ERR_CONFIG, "URI: the %s holds %%00, which no value can", what);
        }
        qn_buffer_append_byte(out, (char)(high * 16 + low));
        i += 2;
    }
    QN_TRY(qn_buffer_check(out, "a part of a URI", err));
    if (out->size > 0 && !qn_utf8_valid(out->data, out->size)) {
        return qn_error_set(err, QN_ERR_CONFIG, "URI: the %s is not valid UTF-8", what);
    }
    return QN_OK;
}

/* Set a key to the decoded piece. */
static enum qn_status set_decoded(struct qn_config *config, const char *key, struct piece piece, struct qn_error *err)
{
    qn_auto_buffer text = QN_BUFFER_INIT;
    enum qn_status status = decode(piece, key, &text, err);
    if (status == QN_OK) {
        status = qn_config_set(config, key, qn_buffer_text(&text), err);
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.size);
    }
    return status;
}

/* Letters, digits and -._~ stand for themselves everywhere; `more` names others that may in this place. */
static void encode(const char *text, const char *more, struct qn_buffer *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (const char *c = text; *c != '\0'; c++) {
        if (qn_ascii_letter(*c) || qn_ascii_digit(*c) || strchr("-._~", *c) != NULL || strchr(more, *c) != NULL) {
            qn_buffer_append_byte(out, *c);
        } else {
            qn_buffer_append_byte(out, '%');
            qn_buffer_append_byte(out, digits[(unsigned char)*c >> 4]);
            qn_buffer_append_byte(out, digits[(unsigned char)*c & 15]);
        }
    }
}

/* ---- parsing ---- */

static struct piece cut(struct piece *rest, const char *at)
{
    struct piece before = { rest->at, (size_t)(at - rest->at) };
    rest->size -= before.size + 1;
    rest->at = at + 1;
    return before;
}

static const char *find_byte(struct piece piece, char byte)
{
    return piece.size > 0 ? memchr(piece.at, byte, piece.size) : NULL;
}

static enum qn_status parse_option(struct qn_config *config, struct piece option, struct qn_error *err)
{
    const char *equals = find_byte(option, '=');
    qn_auto_buffer key = QN_BUFFER_INIT;
    if (equals == NULL) {
        QN_TRY(decode(option, "query", &key, err));
        return qn_error_set(err, QN_ERR_CONFIG, "URI: the option \"%.64s\" has no value: write key=value",
                            qn_buffer_text(&key));
    }
    QN_TRY(decode(cut(&option, equals), "query", &key, err));
    const char *name = qn_buffer_text(&key);
    if (name[0] == '\0') {
        return qn_error_set(err, QN_ERR_CONFIG, "URI: an option has no name before its =");
    }
    if (qn_config_get(config, name) != NULL) {
        bool is_type = qn_text_equal(name, "type") || qn_text_equal(name, "db_type");
        return qn_error_set(
            err, QN_ERR_CONFIG,
            is_type ? "URI: \"%.64s\": the scheme says what database it is" : "URI: \"%.64s\" is given twice", name);
    }
    return set_decoded(config, name, option, err);
}

static enum qn_status parse_query(struct qn_config *config, struct piece query, struct qn_error *err)
{
    while (query.size > 0) {
        const char *end = find_byte(query, '&');
        struct piece option = query;
        if (end != NULL) {
            option = cut(&query, end);
        } else {
            query.size = 0;
        }
        if (option.size > 0) {
            QN_TRY(parse_option(config, option, err));
        }
    }
    return QN_OK;
}

static enum qn_status parse_user(struct qn_config *config, struct piece user, struct qn_error *err)
{
    const char *colon = find_byte(user, ':');
    if (colon != NULL) {
        struct piece name = cut(&user, colon);
        QN_TRY(set_decoded(config, "password", user, err));
        user = name;
    }
    return user.size > 0 ? set_decoded(config, "username", user, err) : QN_OK;
}

/* "host", "host:port", "[v6]", "[v6]:port", ":port", "". */
static enum qn_status parse_host(struct piece host, struct qn_buffer *hosts, struct qn_buffer *ports,
                                 struct qn_error *err)
{
    struct piece name = host, port = { NULL, 0 };
    if (host.size > 0 && host.at[0] == '[') {
        const char *end = find_byte(host, ']');
        if (end == NULL) {
            return qn_error_set(err, QN_ERR_CONFIG, "URI: the address after [ has no ]");
        }
        (void)cut(&host, host.at);
        name = cut(&host, end);
        if (name.size == 0 || (host.size > 0 && host.at[0] != ':')) {
            return qn_error_set(err, QN_ERR_CONFIG,
                                name.size == 0 ? "URI: the address in [] is empty"
                                               : "URI: only :port may follow the ] of an address");
        }
        port = (struct piece){ host.at, host.size };
        if (port.size > 0) {
            (void)cut(&port, port.at);
        }
    } else if (find_byte(host, ':') != NULL) {
        name = cut(&host, find_byte(host, ':'));
        port = host;
        if (find_byte(port, ':') != NULL) {
            qn_error_set(err, QN_ERR_CONFIG, "URI: more than one : after a host");
            qn_error_hint(err, "an IPv6 address stands in brackets: [::1]:5432");
            return QN_ERR_CONFIG;
        }
    }
    qn_auto_buffer text = QN_BUFFER_INIT;
    QN_TRY(decode(name, "host", &text, err));
    if (strchr(qn_buffer_text(&text), ',') != NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "URI: the host \"%.128s\" holds a comma, which separates hosts",
                            qn_buffer_text(&text));
    }
    qn_buffer_append_text(hosts, qn_buffer_text(&text));
    QN_TRY(decode(port, "port", &text, err));
    if (strchr(qn_buffer_text(&text), ',') != NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "URI: the port \"%.32s\" is not a number", qn_buffer_text(&text));
    }
    qn_buffer_append_text(ports, qn_buffer_text(&text));
    return QN_OK;
}

static enum qn_status parse_hosts(struct qn_config *config, struct piece authority, struct qn_error *err)
{
    qn_auto_buffer hosts = QN_BUFFER_INIT;
    qn_auto_buffer ports = QN_BUFFER_INIT;
    size_t n = 0;
    for (bool more = true; more; n++) {
        const char *comma = find_byte(authority, ',');
        struct piece host = authority;
        more = comma != NULL;
        if (more) {
            host = cut(&authority, comma);
        }
        qn_buffer_append_text(&hosts, n > 0 ? "," : "");
        qn_buffer_append_text(&ports, n > 0 ? "," : "");
        QN_TRY(parse_host(host, &hosts, &ports, err));
    }
    QN_TRY(qn_buffer_check(&hosts, "the hosts of a URI", err));
    QN_TRY(qn_buffer_check(&ports, "the ports of a URI", err));
    if (hosts.size > 0) {
        QN_TRY(qn_config_set(config, "host", hosts.data, err));
    }
    bool has_port = ports.size >= n; /* more than the commas */
    return has_port ? qn_config_set(config, "port", ports.data, err) : QN_OK;
}

static enum qn_status parse_server(struct qn_config *config, struct piece rest, struct qn_error *err)
{
    struct piece path = { NULL, 0 };
    const char *slash = find_byte(rest, '/');
    struct piece authority = rest;
    if (slash != NULL) {
        authority = cut(&rest, slash);
        path = rest;
    }
    const char *at = authority.size > 0 ? memrchr(authority.at, '@', authority.size) : NULL;
    if (at != NULL) {
        QN_TRY(parse_user(config, cut(&authority, at), err));
    }
    if (authority.size > 0) {
        QN_TRY(parse_hosts(config, authority, err));
    }
    return path.size > 0 ? set_decoded(config, "database", path, err) : QN_OK;
}

static enum qn_status parse_file(struct qn_config *config, struct piece path, struct qn_error *err)
{
    if (path.size > 0 && path.at[0] == '/') {
        (void)cut(&path, path.at); /* three slashes are relative, the fourth belongs to an absolute path */
    }
    return path.size > 0 ? set_decoded(config, "path", path, err) : QN_OK;
}

static enum qn_status check_scheme(struct piece scheme, char out[32], struct qn_error *err)
{
    const char *plus = find_byte(scheme, '+');
    size_t size = plus != NULL ? (size_t)(plus - scheme.at) : scheme.size;
    size_t kept = size < 31 ? size : 31;
    bool plain = size > 0 && size <= 31;
    for (size_t i = 0; i < kept; i++) {
        out[i] = scheme.at[i];
        plain = plain && (qn_ascii_letter(out[i]) || qn_ascii_digit(out[i]) || strchr("-.", out[i]) != NULL);
    }
    out[kept] = '\0';
    if (!plain || qn_driver_find(out) == NULL) {
        char names[512];
        qn_driver_names(names, sizeof names);
        if (!plain) {
            return qn_error_set(err, QN_ERR_CONFIG, "URI: what stands before :// is not a scheme; known are: %s",
                                names);
        }
        return qn_error_set(err, QN_ERR_CONFIG, "URI: the scheme \"%s\" is unknown; known are: %s", out, names);
    }
    if (plus != NULL) {
        qn_error_set(err, QN_ERR_CONFIG,
                     "URI: drop the +driver after \"%s\": it names a Python driver, and none is used", out);
        qn_error_hint(err, "write %s://", out);
        return QN_ERR_CONFIG;
    }
    return QN_OK;
}

static enum qn_status check_file(const struct qn_config *config, struct qn_error *err)
{
    if (!is_file_database(config) || qn_config_get(config, "path") != NULL) {
        return QN_OK;
    }
    qn_error_set(err, QN_ERR_CONFIG, "URI: it names no file");
    qn_error_hint(err, "sqlite:///relative.db, sqlite:////absolute/path.db or sqlite://:memory:");
    return QN_ERR_CONFIG;
}

static enum qn_status parse(struct qn_config *config, struct piece rest, struct qn_error *err)
{
    const char *question = find_byte(rest, '?');
    struct piece query = { NULL, 0 };
    if (question != NULL) {
        struct piece before = cut(&rest, question);
        query = rest;
        rest = before;
    }
    QN_TRY(is_file_database(config) ? parse_file(config, rest, err) : parse_server(config, rest, err));
    QN_TRY(parse_query(config, query, err));
    return check_file(config, err);
}

enum qn_status qn_config_from_uri(const char *uri, struct qn_config **out, struct qn_error *err)
{
    if (uri == NULL || out == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the URI is NULL");
    }
    struct piece rest = { uri, strnlen(uri, QN_URI_MAX + 1) };
    if (rest.size > QN_URI_MAX) {
        return qn_error_set(err, QN_ERR_CONFIG, "URI: longer than %d bytes", QN_URI_MAX);
    }
    const char *separator = strstr(uri, "://");
    if (separator == NULL) {
        qn_error_set(err, QN_ERR_CONFIG, "URI: there is no :// in it");
        qn_error_hint(err, "for example postgresql://user@host/database or sqlite:///file.db");
        return QN_ERR_CONFIG;
    }
    char scheme[32];
    QN_TRY(check_scheme((struct piece){ uri, (size_t)(separator - uri) }, scheme, err));
    rest.size -= (size_t)(separator - uri) + 3;
    rest.at = separator + 3;
    struct qn_config *config = NULL;
    QN_TRY(qn_config_new(scheme, &config, err));
    enum qn_status status = parse(config, rest, err);
    if (status != QN_OK) {
        qn_config_free(config);
        return status;
    }
    *out = config;
    return QN_OK;
}

/* ---- writing ---- */

static const char *shown_value(const char *key, const char *value, enum qn_password_shown shown)
{
    return shown == QN_PASSWORD_MASKED && qn__config_is_secret(key) ? "***" : value;
}

static size_t count_items(const char *list)
{
    size_t n = 1;
    for (; *list != '\0'; list++) {
        n += *list == ',';
    }
    return n;
}

/* Whether host and port can stand in the authority and come back the same: as many ports as hosts, at least one port that
 * is not empty, not one host that is. */
static bool authority_fits(const char *host, const char *port)
{
    if (host != NULL && (host[0] == '\0' || strlen(host) == strspn(host, ","))) {
        return false;
    }
    if (port != NULL && (port[0] == '\0' || strlen(port) == strspn(port, ","))) {
        return false;
    }
    return port == NULL || count_items(host != NULL ? host : "") == count_items(port);
}

static void write_host(const char *host, size_t size, struct qn_buffer *out)
{
    char *text = qn_strndup(host, size);
    if (text == NULL) {
        out->failure = QN_BUFFER_NO_MEMORY;
        return;
    }
    bool brackets = strchr(text, ':') != NULL && text[0] != '/';
    qn_buffer_append_text(out, brackets ? "[" : "");
    encode(text, brackets ? ":" : "", out);
    qn_buffer_append_text(out, brackets ? "]" : "");
    qn_free(text);
}

static void write_hosts(const char *host, const char *port, struct qn_buffer *out)
{
    host = host != NULL ? host : "";
    for (;;) {
        size_t size = strcspn(host, ",");
        write_host(host, size, out);
        if (port != NULL) {
            size_t port_size = strcspn(port, ",");
            qn_buffer_append_text(out, port_size > 0 ? ":" : "");
            qn_buffer_append(out, port, port_size);
            port += port_size + (port[port_size] == ',');
        }
        if (host[size] == '\0') {
            return;
        }
        qn_buffer_append_byte(out, ',');
        host += size + 1;
    }
}

/* Keys that the part before the ? has written. */
struct written {
    const char *keys[6];
    size_t n;
};

static void write_server(const struct qn_config *config, enum qn_password_shown shown, struct written *written,
                         struct qn_buffer *out)
{
    const char *user = qn_config_get(config, "username");
    const char *password = qn_config_get(config, "password");
    const char *host = qn_config_get(config, "host");
    const char *port = qn_config_get(config, "port");
    const char *database = qn_config_get(config, "database");
    if (user != NULL && user[0] != '\0') {
        encode(user, "", out);
        written->keys[written->n++] = "username";
    }
    if (password != NULL) {
        qn_buffer_append_byte(out, ':');
        encode(shown_value("password", password, shown), "*", out);
        written->keys[written->n++] = "password";
    }
    if (written->n > 0) {
        qn_buffer_append_byte(out, '@');
    }
    if ((host != NULL || port != NULL) && authority_fits(host, port)) {
        write_hosts(host, port, out);
        written->keys[written->n++] = "host";
        written->keys[written->n++] = "port";
    }
    if (database != NULL && database[0] != '\0') {
        qn_buffer_append_byte(out, '/');
        encode(database, "", out);
        written->keys[written->n++] = "database";
    }
}

static enum qn_status write_file(const struct qn_config *config, struct written *written, struct qn_buffer *out,
                                 struct qn_error *err)
{
    const char *path = qn_config_get(config, "path");
    if (path == NULL) {
        return qn_error_set(err, QN_ERR_CONFIG, "the configuration has no \"path\", so it has no URI");
    }
    if (path[0] != '\0') {
        bool memory = qn_text_equal(path, ":memory:");
        qn_buffer_append_text(out, memory ? "" : "/");
        encode(path, memory ? ":" : "/", out);
        written->keys[written->n++] = "path";
    }
    return QN_OK;
}

static bool is_written(const struct written *written, const char *key)
{
    for (size_t i = 0; i < written->n; i++) {
        if (qn_text_equal(written->keys[i], key)) {
            return true;
        }
    }
    return qn_text_equal(key, "type");
}

static void write_query(const struct qn_config *config, enum qn_password_shown shown, const struct written *written,
                        struct qn_buffer *out)
{
    char before = '?';
    for (size_t i = 0; i < config->n; i++) {
        const char *key = config->entries[i].key;
        if (is_written(written, key)) {
            continue;
        }
        qn_buffer_append_byte(out, before);
        encode(key, "", out);
        qn_buffer_append_byte(out, '=');
        encode(shown_value(key, config->entries[i].value, shown), "/:,*", out);
        before = '&';
    }
}

/* The scheme that people write for the type. */
static const char *scheme_of(const char *type)
{
    return qn_text_equal(type, "postgres") && qn_driver_find("postgresql") != NULL ? "postgresql" : type;
}

enum qn_status qn_config_to_uri(const struct qn_config *config, enum qn_password_shown shown, char **out,
                                struct qn_error *err)
{
    if (config == NULL || out == NULL) {
        return qn_error_set(err, QN_ERR_ARGUMENT, "the configuration is NULL");
    }
    qn_auto_buffer uri = QN_BUFFER_INIT;
    struct written written = { .n = 0 };
    qn_buffer_printf(&uri, "%s://", scheme_of(qn_config_get(config, "type")));
    if (is_file_database(config)) {
        QN_TRY(write_file(config, &written, &uri, err));
    } else {
        write_server(config, shown, &written, &uri);
    }
    write_query(config, shown, &written, &uri);
    QN_TRY(qn_buffer_check(&uri, "a URI", err));
    char *text = qn_buffer_steal(&uri);
    if (text == NULL) {
        return qn__no_memory(err);
    }
    *out = text;
    return QN_OK;
}
