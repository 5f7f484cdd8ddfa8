/*
 * network_policy.c: see network_policy.h. Classes of addresses are two tables of prefixes, the first that fits counts;
 * in IPv6 what no line names is public only inside 2000::/3, the block that global addresses are given from.
 * Sources: the IANA registries of special-purpose addresses (RFC 6890), RFC 6052, RFC 8215, clouds' documentation.
 */
#include "processor/network_policy.h"

#include "base/memory.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#define MAX_LABEL 63
#define ANY_PORT  0

struct entry {
    char name[QN_NETWORK_MAX_HOST + 1]; /* "": the address */
    struct qn_network_address address;
    uint16_t port; /* ANY_PORT: all */
};

struct qn_network_policy {
    enum qn_network_mode mode;
    size_t n_entries;
    struct entry entries[];
};

struct prefix {
    uint8_t bytes[16];
    uint8_t bits;
    enum qn_address_class class;
};

static const struct prefix ipv4_prefixes[] = {
    { { 0 }, 8, QN_ADDRESS_UNSPECIFIED },
    { { 127 }, 8, QN_ADDRESS_LOOPBACK },
    { { 169, 254, 169, 254 }, 32, QN_ADDRESS_METADATA }, /* AWS, Azure, Google and most others */
    { { 169, 254, 170, 2 }, 32, QN_ADDRESS_METADATA },   /* AWS, credentials of containers */
    { { 168, 63, 129, 16 }, 32, QN_ADDRESS_METADATA },   /* Azure, the host's own service */
    { { 100, 100, 100, 200 }, 32, QN_ADDRESS_METADATA }, /* Alibaba */
    { { 192, 0, 0, 192 }, 32, QN_ADDRESS_METADATA },     /* Oracle */
    { { 169, 254 }, 16, QN_ADDRESS_LINK_LOCAL },
    { { 10 }, 8, QN_ADDRESS_PRIVATE },
    { { 172, 16 }, 12, QN_ADDRESS_PRIVATE },
    { { 192, 168 }, 16, QN_ADDRESS_PRIVATE },
    { { 100, 64 }, 10, QN_ADDRESS_PRIVATE }, /* carrier-grade NAT */
    { { 224 }, 4, QN_ADDRESS_MULTICAST },
    { { 255, 255, 255, 255 }, 32, QN_ADDRESS_BROADCAST },
    { { 192, 0, 0 }, 24, QN_ADDRESS_RESERVED },    /* protocol assignments */
    { { 192, 0, 2 }, 24, QN_ADDRESS_RESERVED },    /* documentation */
    { { 198, 51, 100 }, 24, QN_ADDRESS_RESERVED }, /* documentation */
    { { 203, 0, 113 }, 24, QN_ADDRESS_RESERVED },  /* documentation */
    { { 198, 18 }, 15, QN_ADDRESS_RESERVED },      /* benchmarking */
    { { 192, 88, 99 }, 24, QN_ADDRESS_TUNNEL },    /* relays of 6to4 */
    { { 240 }, 4, QN_ADDRESS_RESERVED },
};

static const struct prefix ipv6_prefixes[] = {
    { { 0 }, 128, QN_ADDRESS_UNSPECIFIED },
    { { [15] = 1 }, 128, QN_ADDRESS_LOOPBACK },
    { { 0 }, 96, QN_ADDRESS_MAPPED },                                         /* compatible, ::192.0.2.1 */
    { { [10] = 0xff, 0xff }, 96, QN_ADDRESS_MAPPED },                         /* ::ffff:192.0.2.1 */
    { { [8] = 0xff, 0xff }, 96, QN_ADDRESS_MAPPED },                          /* ::ffff:0:192.0.2.1, RFC 2765 */
    { { 0x00, 0x64, 0xff, 0x9b, 0, 1 }, 48, QN_ADDRESS_TUNNEL },              /* NAT64 of local use */
    { { 0xfd, 0, 0x0e, 0xc2, [14] = 0x02, 0x54 }, 128, QN_ADDRESS_METADATA }, /* AWS, fd00:ec2::254 */
    { { 0xfd, 0x20, 0, 0xce, [14] = 0x02, 0x54 }, 128, QN_ADDRESS_METADATA }, /* Google, fd20:ce::254 */
    { { 0xfe, 0x80 }, 10, QN_ADDRESS_LINK_LOCAL },
    { { 0xfc }, 7, QN_ADDRESS_PRIVATE },
    { { 0xfe, 0xc0 }, 10, QN_ADDRESS_PRIVATE }, /* site-local, deprecated */
    { { 0xff }, 8, QN_ADDRESS_MULTICAST },
    { { 0x20, 0x01, 0, 0 }, 32, QN_ADDRESS_TUNNEL },         /* Teredo */
    { { 0x20, 0x02 }, 16, QN_ADDRESS_TUNNEL },               /* 6to4 */
    { { 0x20, 0x01, 0 }, 23, QN_ADDRESS_RESERVED },          /* protocol assignments, benchmarking among them */
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32, QN_ADDRESS_RESERVED }, /* documentation */
    { { 0x3f, 0xff, 0 }, 20, QN_ADDRESS_RESERVED },          /* documentation, RFC 9637 */
    { { 0x20 }, 3, QN_ADDRESS_PUBLIC },
    { { 0 }, 0, QN_ADDRESS_RESERVED },
};

static const uint8_t nat64_prefix[12] = { 0x00, 0x64, 0xff, 0x9b };

static bool has_prefix(const uint8_t *bytes, const struct prefix *prefix)
{
    size_t whole = prefix->bits / 8;
    if (memcmp(bytes, prefix->bytes, whole) != 0) {
        return false;
    }
    unsigned rest = prefix->bits % 8;
    return rest == 0 || (bytes[whole] ^ prefix->bytes[whole]) >> (8 - rest) == 0;
}

static enum qn_address_class classify_ipv4(const uint8_t *bytes)
{
    for (size_t i = 0; i < sizeof ipv4_prefixes / sizeof *ipv4_prefixes; i++) {
        if (has_prefix(bytes, &ipv4_prefixes[i])) {
            return ipv4_prefixes[i].class;
        }
    }
    return QN_ADDRESS_PUBLIC;
}

static enum qn_address_class classify_ipv6(const uint8_t *bytes)
{
    if (memcmp(bytes, nat64_prefix, sizeof nat64_prefix) == 0) {
        bool is_public = classify_ipv4(bytes + sizeof nat64_prefix) == QN_ADDRESS_PUBLIC;
        return is_public ? QN_ADDRESS_PUBLIC : QN_ADDRESS_TUNNEL;
    }
    for (size_t i = 0; i < sizeof ipv6_prefixes / sizeof *ipv6_prefixes; i++) {
        if (has_prefix(bytes, &ipv6_prefixes[i])) {
            return ipv6_prefixes[i].class;
        }
    }
    return QN_ADDRESS_RESERVED;
}

enum qn_address_class qn_network_classify(const struct qn_network_address *address)
{
    switch (address->family) {
    case AF_INET:
        return classify_ipv4(address->bytes);
    case AF_INET6:
        return classify_ipv6(address->bytes);
    default:
        return QN_ADDRESS_RESERVED;
    }
}

const char *qn_address_class_name(enum qn_address_class class)
{
    static const char *const names[] = {
        [QN_ADDRESS_PUBLIC] = "a public address",
        [QN_ADDRESS_UNSPECIFIED] = "an address that stands for none",
        [QN_ADDRESS_LOOPBACK] = "an address of this machine",
        [QN_ADDRESS_METADATA] = "an address where clouds keep secrets",
        [QN_ADDRESS_LINK_LOCAL] = "a link-local address",
        [QN_ADDRESS_PRIVATE] = "a private address",
        [QN_ADDRESS_MULTICAST] = "a multicast address",
        [QN_ADDRESS_BROADCAST] = "a broadcast address",
        [QN_ADDRESS_MAPPED] = "an IPv4 address written as IPv6",
        [QN_ADDRESS_TUNNEL] = "an address behind a relay",
        [QN_ADDRESS_RESERVED] = "a reserved address",
    };
    return (size_t) class < sizeof names / sizeof *names ? names[class] : "an unknown address";
}

void qn_network_host_text(const struct qn_network_address *address, char out[QN_NETWORK_TEXT])
{
    if (inet_ntop(address->family, address->bytes, out, QN_NETWORK_TEXT) == NULL) {
        (void)snprintf(out, QN_NETWORK_TEXT, "?");
    }
}

void qn_network_address_text(const struct qn_network_address *address, uint16_t port, char out[QN_NETWORK_TEXT])
{
    char text[QN_NETWORK_TEXT];
    qn_network_host_text(address, text);
    (void)snprintf(out, QN_NETWORK_TEXT, address->family == AF_INET6 ? "[%.46s]:%u" : "%.46s:%u", text, (unsigned)port);
}

bool qn_network_address_from(const struct sockaddr *from, size_t size, struct qn_network_address *out,
                             uint16_t *port_out)
{
    struct qn_network_address address = { .family = AF_UNSPEC };
    sa_family_t family = AF_UNSPEC;
    if (size < offsetof(struct sockaddr, sa_family) + sizeof family) {
        return false;
    }
    memcpy(&family, (const char *)from + offsetof(struct sockaddr, sa_family), sizeof family);
    if (family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        memcpy(address.bytes, &in.sin_addr, sizeof in.sin_addr);
        *port_out = ntohs(in.sin_port);
    } else if (family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, from, sizeof in6);
        memcpy(address.bytes, &in6.sin6_addr, sizeof in6.sin6_addr);
        *port_out = ntohs(in6.sin6_port);
    } else {
        return false;
    }
    address.family = family;
    *out = address;
    return true;
}

/* ---- names ---- */

static bool is_label_byte(char c)
{
    return qn_ascii_letter(c) || qn_ascii_digit(c) || c == '-' || c == '_';
}

/* "80", "0x50": what the last label of an IPv4 address in one of its odd forms looks like. */
static bool looks_like_number(const char *label, size_t size)
{
    if (size >= 2 && label[0] == '0' && qn_ascii_lower(label[1]) == 'x') {
        return true;
    }
    for (size_t i = 0; i < size; i++) {
        if (!qn_ascii_digit(label[i])) {
            return false;
        }
    }
    return true;
}

static size_t size_without_dot(const char *name)
{
    size_t size = strlen(name);
    return size > 1 && name[size - 1] == '.' ? size - 1 : size;
}

bool qn_network_name_is_proper(const char *name)
{
    size_t size = size_without_dot(name);
    if (size == 0 || size > QN_NETWORK_MAX_HOST) {
        return false;
    }
    size_t start = 0;
    for (size_t i = 0; i <= size; i++) {
        if (i < size && name[i] != '.') {
            if (!is_label_byte(name[i])) {
                return false;
            }
            continue;
        }
        if (i == start || i - start > MAX_LABEL || name[start] == '-') {
            return false;
        }
        if (i == size) {
            return !looks_like_number(name + start, i - start);
        }
        start = i + 1;
    }
    return false;
}

static bool names_equal(const char *a, const char *b)
{
    size_t size = size_without_dot(a);
    if (size != size_without_dot(b)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (qn_ascii_lower(a[i]) != qn_ascii_lower(b[i])) {
            return false;
        }
    }
    return true;
}

/* localhost and what is below it mean this machine, whoever says it (RFC 6761). */
static bool is_localhost(const char *name)
{
    static const char localhost[] = "localhost";
    size_t size = size_without_dot(name);
    size_t tail = sizeof localhost - 1;
    if (size < tail || (size > tail && name[size - tail - 1] != '.')) {
        return false;
    }
    for (size_t i = 0; i < tail; i++) {
        if (qn_ascii_lower(name[size - tail + i]) != localhost[i]) {
            return false;
        }
    }
    return true;
}

/* ---- parsing ---- */

static bool parse_port(const char *text, uint16_t *out)
{
    if (qn_text_equal(text, "*")) {
        *out = ANY_PORT;
        return true;
    }
    long long port = 0;
    if (!qn_ascii_digit(text[0]) || !qn_text_to_int64(text, 1, UINT16_MAX, &port)) {
        return false;
    }
    *out = (uint16_t)port;
    return true;
}

/* Where the host of "host:port" or "[host]:port" is, and where the port. */
static bool split_entry(const char *text, const char **host_out, size_t *host_size_out, const char **port_out)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL) {
        return false;
    }
    size_t size = (size_t)(colon - text);
    bool bracketed = text[0] == '[';
    if (bracketed && (size < 2 || text[size - 1] != ']')) {
        return false;
    }
    *host_out = bracketed ? text + 1 : text;
    *host_size_out = bracketed ? size - 2 : size;
    *port_out = colon + 1;
    return true;
}

static enum qn_status check_literal(const char *text, const struct qn_network_address *address, struct qn_error *err)
{
    enum qn_address_class class = qn_network_classify(address);
    switch (class) {
    case QN_ADDRESS_UNSPECIFIED:
    case QN_ADDRESS_MULTICAST:
    case QN_ADDRESS_BROADCAST:
        return qn_error_set(err, QN_ERR_CONFIG, "network entry \"%.300s\": %s cannot be connected to", text,
                            qn_address_class_name(class));
    case QN_ADDRESS_MAPPED:
        return qn_error_set(err, QN_ERR_CONFIG, "network entry \"%.300s\": write the IPv4 address as such", text);
    case QN_ADDRESS_LINK_LOCAL:
        if (address->family == AF_INET6) {
            return qn_error_set(err, QN_ERR_CONFIG,
                                "network entry \"%.300s\": link-local addresses of IPv6 need an interface, which an "
                                "entry cannot name",
                                text);
        }
        return QN_OK;
    default:
        return QN_OK;
    }
}

static enum qn_status parse_entry(const char *text, struct entry *out, struct qn_error *err)
{
    const char *host = NULL;
    const char *port = NULL;
    size_t host_size = 0;
    if (strstr(text, "://") != NULL) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "network entry \"%.300s\" is a URL: write its host and port, as in example.org:443", text);
    }
    if (!split_entry(text, &host, &host_size, &port)) {
        return qn_error_set(err, QN_ERR_CONFIG, "network entry \"%.300s\" is not of the form host:port", text);
    }
    if (!parse_port(port, &out->port)) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "network entry \"%.300s\": the port has to be a number from 1 to 65535, or *", text);
    }
    if (host_size == 0 || host_size > QN_NETWORK_MAX_HOST) {
        return qn_error_set(err, QN_ERR_CONFIG, "network entry \"%.300s\": the host has to be of 1 to %d characters",
                            text, QN_NETWORK_MAX_HOST);
    }
    char name[QN_NETWORK_MAX_HOST + 1] = "";
    memcpy(name, host, host_size);
    bool bracketed = text[0] == '[';
    if (bracketed || memchr(name, ':', host_size) != NULL) {
        out->address.family = AF_INET6;
        if (!bracketed || inet_pton(AF_INET6, name, out->address.bytes) != 1) {
            return qn_error_set(err, QN_ERR_CONFIG,
                                "network entry \"%.300s\": an IPv6 address is written as [2001:db8::1]:443", text);
        }
        return check_literal(text, &out->address, err);
    }
    if (inet_pton(AF_INET, name, out->address.bytes) == 1) {
        out->address.family = AF_INET;
        return check_literal(text, &out->address, err);
    }
    if (memchr(name, '*', host_size) != NULL) {
        return qn_error_set(err, QN_ERR_CONFIG,
                            "network entry \"%.300s\": hosts are named one by one, there are no wildcards", text);
    }
    if (!qn_network_name_is_proper(name)) {
        return qn_error_set(
            err, QN_ERR_CONFIG,
            "network entry \"%.300s\": the host is neither a name (letters, digits, hyphens, dots; xn-- "
            "for others) nor an IPv4 address of four numbers",
            text);
    }
    memcpy(out->name, name, sizeof name);
    return QN_OK;
}

enum qn_status qn_network_policy_new(enum qn_network_mode mode, const char *const *entries, size_t n_entries,
                                     struct qn_network_policy **out, struct qn_error *err)
{
    if (mode != QN_NETWORK_LIST) {
        n_entries = 0;
    } else if (n_entries == 0 || n_entries > QN_NETWORK_MAX_ENTRIES) {
        return qn_error_set(err, QN_ERR_CONFIG, "network: a list has 1 to %d entries, not %zu; write \"off\" for none",
                            QN_NETWORK_MAX_ENTRIES, n_entries);
    }
    qn_auto_free struct qn_network_policy *policy = qn_calloc(1, sizeof *policy + n_entries * sizeof *policy->entries);
    if (policy == NULL) {
        return qn__no_memory(err);
    }
    policy->mode = mode;
    policy->n_entries = n_entries;
    for (size_t i = 0; i < n_entries; i++) {
        QN_TRY(parse_entry(entries[i], &policy->entries[i], err));
    }
    *out = qn_steal(&policy);
    return QN_OK;
}

void qn_network_policy_free(struct qn_network_policy *policy)
{
    qn_free(policy);
}

enum qn_network_mode qn_network_policy_mode(const struct qn_network_policy *policy)
{
    return policy != NULL ? policy->mode : QN_NETWORK_OFF;
}

/* ---- decisions ---- */

static bool same_address(const struct qn_network_address *a, const struct qn_network_address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool qn_network_allows_address(const struct qn_network_policy *policy, const struct qn_network_address *address,
                               enum qn_address_class class, uint16_t port)
{
    if (port == 0) {
        return false;
    }
    if (policy->mode == QN_NETWORK_PUBLIC) {
        return class == QN_ADDRESS_PUBLIC;
    }
    for (size_t i = 0; i < policy->n_entries; i++) {
        const struct entry *entry = &policy->entries[i];
        if (entry->name[0] == '\0' && (entry->port == ANY_PORT || entry->port == port) &&
            same_address(&entry->address, address)) {
            return true;
        }
    }
    return false;
}

bool qn_network_allows_name(const struct qn_network_policy *policy, const char *name)
{
    if (!qn_network_name_is_proper(name)) {
        return false;
    }
    if (policy->mode == QN_NETWORK_PUBLIC) {
        return true;
    }
    for (size_t i = 0; i < policy->n_entries; i++) {
        if (policy->entries[i].name[0] != '\0' && names_equal(policy->entries[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* What a name may turn out to be. */
static bool name_may_be(const struct qn_network_policy *policy, const char *name, enum qn_address_class class)
{
    switch (class) {
    case QN_ADDRESS_PUBLIC:
        return true;
    case QN_ADDRESS_PRIVATE:
        return policy->mode == QN_NETWORK_LIST;
    case QN_ADDRESS_LOOPBACK:
        return policy->mode == QN_NETWORK_LIST && is_localhost(name);
    default:
        return false;
    }
}

bool qn_network_allows_resolved(const struct qn_network_policy *policy, const char *name,
                                const struct qn_network_address *address, enum qn_address_class class, uint16_t port)
{
    if (qn_network_allows_address(policy, address, class, port)) {
        return true;
    }
    if (port == 0 || policy->mode != QN_NETWORK_LIST || !name_may_be(policy, name, class)) {
        return false;
    }
    for (size_t i = 0; i < policy->n_entries; i++) {
        const struct entry *entry = &policy->entries[i];
        if (entry->name[0] != '\0' && (entry->port == ANY_PORT || entry->port == port) &&
            names_equal(entry->name, name)) {
            return true;
        }
    }
    return false;
}

bool qn_network_allows_answer(const struct qn_network_policy *policy, const char *name, enum qn_address_class class)
{
    return qn_network_allows_name(policy, name) && name_may_be(policy, name, class);
}
